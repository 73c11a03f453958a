/*
 * Up: what waits for a link's user
 *
 * A user may take its frames in several queues, as a NIC with several rings
 * does, and be busy in one of them.  Each has its own bounded queue here, its
 * own poll and its own place in the round, so that a busy one holds up none
 * of the others.  For link.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_RX_H
#define LIBVLINK_RX_H

#include "queue.h"
#include "sched.h"

typedef struct RxQueue {
    Link *link;
    uint16_t index;
    bool busy;                  /* the user said so */
    GQueue packets;             /* held, the oldest first */
    Poll poll;
} RxQueue;

typedef struct LinkRx {
    RxQueue **queue;
    unsigned made;              /* never fewer: a poll may be under way */
    unsigned max;               /* packets in each */
} LinkRx;

void rx_init(Link *link);
void rx_destroy(Link *link);

/* The number of queues in use is another: steer what waits anew. */
void rx_steer(Link *link);

/* Nobody will take what waits: drop it under @reason. */
void rx_purge(Link *link, DropReason reason);

/* The user is a new one, who has refused nothing yet. */
void rx_reset(Link *link);

/* @p has arrived: to the user, or to wait for it behind the others. */
void rx_deliver(Link *link, Packet *p);

#endif
