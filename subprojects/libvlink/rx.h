/*
 * Up: what waits for a link's user
 *
 * A user may take its frames in several queues, as a NIC with several rings
 * does, and be busy in one of them.  Each has its own bounded queue here, its
 * own poll and its own place in the round, so that a busy one holds up none
 * of the others.  What is urgent waits in a short queue before the others; of
 * those, CoDel drops who has waited too long.  For link.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_RX_H
#define LIBVLINK_RX_H

#include "coalesce.h"
#include "codel.h"
#include "queue.h"
#include "sched.h"

#define RX_URGENT_MAX 32        /* packets; what is more waits as the others */

typedef struct RxQueue {
    Link *link;
    uint16_t index;
    bool busy;                  /* the user said so */
    bool passed;                /* CoDel has seen the first of the packets */
    bool full;                  /* until half of it is empty */
    GQueue urgent;
    GQueue packets;             /* held, the oldest first */
    uint64_t bytes;             /* of the packets */
    uint64_t got_packets;       /* by the user, ever */
    uint64_t got_bytes;
    int64_t delay;              /* of the last one that had to wait */
    Codel codel;
    Poll poll;
} RxQueue;

typedef struct LinkRx {
    RxQueue **queue;
    unsigned made;              /* never fewer: a poll may be under way */
    unsigned max;               /* packets in each */
    unsigned first;             /* who has the tokens first */
    unsigned n_full;            /* queues */
    bool coalesces;             /* the user takes long segments of TCP */
    Coalescer *coalescer;       /* NULL before there was anything for it */
    Poll flush;
} LinkRx;

void rx_init(Link *link);
void rx_destroy(Link *link);

/* The number of queues in use is another: steer what waits anew. */
void rx_steer(Link *link);

/* The user's offloads are others. */
void rx_set_offloads(Link *link, unsigned offloads);

/* Nobody will take what waits: drop it under @reason. */
void rx_purge(Link *link, DropReason reason);

/* Has no queue room for more? */
bool rx_is_full(const Link *link);

/* The user is a new one, who has refused nothing yet. */
void rx_reset(Link *link);

/* @p has arrived: to the user, or to wait for it behind the others. */
void rx_deliver(Link *link, Packet *p);

/* There are tokens again for what waits for them. */
void rx_again(void *link);

#endif
