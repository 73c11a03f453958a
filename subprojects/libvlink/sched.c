/*
 * Whose turn it is
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "sched.h"

/* One turn of the first Poll, which goes to the end if it has more to do. */
static unsigned poller_turn(Poller *poller, unsigned left)
{
    Poll *poll = g_queue_pop_head_link(&poller->scheduled)->data;
    unsigned budget = MIN(left, poll->weight);
    unsigned done;

    poll->node.data = NULL;
    poller->running = poll;
    done = poll->func(poll, budget);
    if (poller->running && done >= budget) {
        poll_schedule(poll);
    }
    poller->running = NULL;
    return done;
}

static void poller_round(void *opaque)
{
    Poller *poller = opaque;
    unsigned left = POLL_BUDGET;
    /* Who is scheduled during this round has its turn in the next one. */
    unsigned turns = poller->scheduled.length;

    while (turns-- && left && !g_queue_is_empty(&poller->scheduled)) {
        unsigned done = poller_turn(poller, left);

        left -= MIN(left, done);
    }
    if (!g_queue_is_empty(&poller->scheduled)) {
        poller->platform->work_at(poller->work, 0);
    }
}

Poller *poller_new(const LinkPlatform *platform)
{
    Poller *poller = g_new0(Poller, 1);

    poller->platform = platform;
    poller->work = platform->work_new(poller_round, poller);
    return poller;
}

void poller_free(Poller *poller)
{
    g_assert(g_queue_is_empty(&poller->scheduled));
    poller->platform->work_free(poller->work);
    g_free(poller);
}

void poll_init(Poll *poll, Poller *poller, PollFunc *func)
{
    *poll = (Poll) {
        .func = func, .poller = poller, .weight = POLL_WEIGHT,
    };
}

void poll_schedule(Poll *poll)
{
    Poller *poller = poll->poller;

    if (poll->node.data) {
        return;
    }
    if (g_queue_is_empty(&poller->scheduled)) {
        poller->platform->work_at(poller->work, 0);
    }
    poll->node = (GList) { .data = poll };
    g_queue_push_tail_link(&poller->scheduled, &poll->node);
}

void poll_cancel(Poll *poll)
{
    Poller *poller = poll->poller;

    if (poller->running == poll) {
        poller->running = NULL;
    }
    if (poll->node.data) {
        g_queue_unlink(&poller->scheduled, &poll->node);
        poll->node.data = NULL;
    }
}
