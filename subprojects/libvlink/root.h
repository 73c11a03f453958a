/*
 * Down: out of a root link
 *
 * A root passes frames to something that is no link any more.  What its far
 * end cannot take whole is cut on the way, and where that gets busy in the
 * middle, the root keeps the rest: its sender has been told that the frame is
 * gone, and nobody else's may come in between.
 *
 * For link.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_ROOT_H
#define LIBVLINK_ROOT_H

#include "platform.h"

#define ROOT_MAX_QUEUES 1024

typedef struct Root {
    GQueue rests;               /* of held Packets, one for a queue */
    uint64_t busy[ROOT_MAX_QUEUES / 64];    /* since it was woken; bits */
    uint16_t refused;           /* the queue that was busy last */
} Root;

/* Has it been busy in @queue since it was woken? */
static inline bool root_is_busy(const Root *root, unsigned queue)
{
    return queue < ROOT_MAX_QUEUES &&
           (root->busy[queue / 64] >> queue % 64 & 1);
}

LinkTx root_xmit(Link *link, Packet *p);

/* It can send again: begin with what is left from before. */
void root_wake(Link *link);

/* The number of queues is another one. */
void root_steer(Link *link);

/* What is left goes nowhere any more. */
void root_drop(Link *link);

#endif
