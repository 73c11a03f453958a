/*
 * What links know, to be taken elsewhere: by live migration, or in a file
 *
 * What is configured does not travel: who goes on elsewhere has the same
 * options there.  What has been learned, counted and kept track of does, as a
 * dictionary, in which anything may be missing and what is unknown is ignored.
 * So a newer version can add to it, and an older one still reads it.  Nothing
 * in it is believed before it has been checked.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_STATE_H
#define LIBVLINK_STATE_H

#include "link.h"

#define LINK_STATE_TYPE G_VARIANT_TYPE_VARDICT

/* What of a state does not fit where it was loaded, and was left out. */
struct LinkMisfits {
    unsigned n;
    char *first;                /* in words, NULL: all fits */
};

/*
 * Of @lower, a root, and of all links on top of it, but not of those on top
 * of these.  Floating, of LINK_STATE_TYPE.
 */
GVariant *link_state_save(const Link *lower);

/*
 * Go on from @state, of LINK_STATE_TYPE and in normal form, in place of what
 * @lower and the links on top of it have learned and counted.  False where
 * something does not fit, as @err says in one sentence; the rest is loaded.
 */
bool link_state_load(Link *lower, GVariant *state, GError **err);

/* For the kinds' load(): this does not fit. */
void link_misfit(LinkMisfits *m, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/*
 * Exactly @len bytes by the name of @key, which the dictionary @state owns;
 * NULL where there are none.
 */
const uint8_t *state_bytes(GVariant *state, const char *key, size_t len);

#endif
