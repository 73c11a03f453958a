/*
 * Limits to what a link carries, in each direction
 *
 * What is over the limit on its way out is refused and waits with its sender;
 * on its way to the user it waits in the queue there.  A timer, which is only
 * there for who has a limit, goes on when the bucket has been filled a bit.
 *
 * For link.c and rx.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_SHAPE_H
#define LIBVLINK_SHAPE_H

#include "bucket.h"

/* What is sent at once after a wait: fewer wakes, and a delay that is small. */
#define SHAPE_STEP_NS (NS_PER_S / 1000)

/* What a link may carry at most; 0: no limit. */
typedef struct LinkRates {
    uint64_t tx_bps, rx_bps;    /* bits a second, from and to the user */
    uint32_t burst;             /* bytes; 0: what 10 ms carry */
} LinkRates;

typedef struct Shaper {
    Bucket bucket;
    LinkWork *work;             /* NULL before there was a limit */
    bool waiting;               /* somebody does, for the work */
} Shaper;

void shaper_destroy(Shaper *s, const LinkPlatform *platform);

/* @again is called with @link when there are tokens after shaper_allows(). */
void shaper_set(Shaper *s, Link *link, uint64_t bps, uint32_t burst,
                void (*again)(void *link));

static inline bool shaper_is_on(const Shaper *s)
{
    return s->bucket.rate;
}

/* False: there will be a call. */
bool shaper_allows(Shaper *s, const LinkPlatform *platform);

static inline void shaper_take(Shaper *s, uint32_t bytes)
{
    if (shaper_is_on(s)) {
        bucket_take(&s->bucket, bytes);
    }
}

#endif
