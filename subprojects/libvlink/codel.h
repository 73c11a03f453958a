/*
 * Controlled delay: which of the frames that wait have waited too long
 *
 * RFC 8289.  A queue that takes up bursts is good, one that stands is not:
 * when frames have waited longer than the target for a whole interval, one is
 * dropped, and then one after the other in ever shorter time until they wait
 * no longer than that.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_CODEL_H
#define LIBVLINK_CODEL_H

#include "platform.h"

#define CODEL_TARGET_NS (5 * NS_PER_S / 1000)
#define CODEL_INTERVAL_NS (100 * NS_PER_S / 1000)
#define CODEL_MTU 1514          /* no more than that, behind, is no queue */

typedef struct Codel {
    int64_t above_until;        /* of an interval above the target; 0: none */
    int64_t drop_next;
    uint32_t count;             /* drops since it began to drop */
    uint32_t last_count;        /* what that was when it began */
    bool dropping;
} Codel;

/*
 * Asked about each frame in turn that leaves the queue at @now, where it came
 * in at @queued and leaves @left bytes behind.  True: drop it, and ask about
 * the next one.
 */
bool codel_drops(Codel *c, int64_t now, int64_t queued, uint64_t left);

#endif
