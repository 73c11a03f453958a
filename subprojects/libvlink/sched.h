/*
 * Whose turn it is
 *
 * Deferred work runs in polls with a budget, as Linux's NAPI does it: whoever
 * has work schedules its Poll, a round serves the scheduled ones in turn, at
 * most its weight in units each and POLL_BUDGET together, and gives the main
 * loop a chance before the next round.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_SCHED_H
#define LIBVLINK_SCHED_H

#include <stddef.h>

#include "platform.h"

#define POLL_WEIGHT 64
#define POLL_BUDGET 300

/*
 * Units of work that a frame of @len bytes is: to decide where it goes takes
 * as long as to copy 4 KiB or so.
 */
static inline unsigned poll_cost(uint32_t len)
{
    return 1 + len / 4096;
}

typedef struct Poll Poll;

/* One for all links that stand on one lowest one. */
typedef struct Poller {
    const LinkPlatform *platform;
    LinkWork *work;
    GQueue scheduled;           /* of Poll */
    Poll *running;              /* NULL once it has been cancelled */
    unsigned calls;             /* of the links' users, that are under way */
} Poller;

/*
 * Do at most about @budget units of work, see poll_cost().  Returns the units
 * done, at least @budget where there is more to do, and then is called again.
 */
typedef unsigned PollFunc(Poll *poll, unsigned budget);

struct Poll {
    PollFunc *func;
    Poller *poller;
    unsigned weight;            /* units in one turn: POLL_WEIGHT, or set so */
    GList node;                 /* data: this Poll, while it is scheduled */
};

/* The structure that has @poll as its member @member. */
#define poll_owner(poll, type, member) \
    ((type *)((char *)(poll) - offsetof(type, member)))

/* One round-robin of Polls, on one work item of @platform. */
Poller *poller_new(const LinkPlatform *platform);
void poller_free(Poller *poller);

void poll_init(Poll *poll, Poller *poller, PollFunc *func);

/* Have @poll called soon; scheduled twice is scheduled once. */
void poll_schedule(Poll *poll);

/* Never call @poll again, unless it is scheduled again. */
void poll_cancel(Poll *poll);

#endif
