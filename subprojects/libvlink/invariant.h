/*
 * What is always true of frames and links, checked while it runs
 *
 * With -Dinvariants=true whatever of it is not so ends the program with one
 * sentence.  Without, nothing of this is compiled, not one instruction.
 *
 * Books are kept on each frame that enters: on a link by its user, on a root
 * from outside, and those that are made in between.  When it is over with the
 * frame, which is when its last copy is gone,
 *
 *   - it has been delivered, has been sent, has been dropped under one reason,
 *     or has come to an end that somebody has named (invariant_ended());
 *   - only one of these, and at one link, unless it is for many;
 *   - for many: each link got it, or dropped it, once at most;
 *   - it has not been delivered to whoever sent it;
 *   - if it was refused, it has been nowhere.
 *
 * Beside these, what waits is within its limits, and a kind of link checks
 * what is its own: see ipvlan/invariant.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_INVARIANT_H
#define LIBVLINK_INVARIANT_H

#include "platform.h"

#ifdef VLINK_INVARIANTS

/* Abort, where @what is not true, with a sentence in printf()'s manner. */
#define invariant(what, ...)                                            \
    do {                                                                \
        if (G_UNLIKELY(!(what))) {                                      \
            invariant_failed(#what, __VA_ARGS__);                       \
        }                                                               \
    } while (0)
void invariant_failed(const char *what, const char *format, ...)
    G_GNUC_PRINTF(2, 3) G_GNUC_NORETURN;

/*
 * @p enters, sent by the user of @from (NULL: nobody's), unless it is on its
 * way already: then false.  What this returns is for invariant_leave(), with
 * what has come of it.
 */
bool invariant_enter(const Link *from, Packet *p);
void invariant_leave(const Link *link, Packet *p, bool entered, LinkTx tx);

/* It goes no further, and that is as it should be. */
void invariant_ended(const Packet *p);
/* @link has counted it as dropped. */
void invariant_dropped(const Link *link, const Packet *p);

/*
 * @p, or a piece of it, is given to whoever is behind @link, whose business it
 * is from here on, and this is the answer.
 */
uint64_t invariant_out(const Link *link, const Packet *p);
void invariant_back(const Link *link, const Packet *p, uint64_t entry,
                    LinkTx tx);
/* All pieces of @p have been taken. */
void invariant_in_pieces(const Link *link, const Packet *p);
/* What is made from another packet has books of its own. */
void invariant_made(Packet *p);

/* For packet.c: @copy is one; @held one that waits, and no longer. */
void invariant_copy(Packet *copy);
void invariant_hold(Packet *held);
void invariant_put(const Packet *held);

/* @link's limits are about to change: what waits already may stay. */
void invariant_limits(Link *link);

/* What waits for a link that is deleted, or in its name, goes with it. */
void invariant_delete(bool begin);

#else

#define invariant_enter(from, p) false
#define invariant_leave(link, p, entered, tx) ((void)(entered))
#define invariant_ended(p) ((void)(p))
#define invariant_dropped(link, p) ((void)0)
#define invariant_out(link, p) 0
#define invariant_back(link, p, entry, tx) ((void)(entry))
#define invariant_in_pieces(link, p) ((void)0)
#define invariant_made(p) ((void)0)
#define invariant_copy(copy) ((void)0)
#define invariant_hold(held) ((void)0)
#define invariant_put(held) ((void)0)
#define invariant_limits(link) ((void)0)
#define invariant_delete(begin) ((void)0)

#endif

#endif
