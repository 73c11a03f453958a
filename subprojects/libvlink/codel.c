/*
 * Controlled delay: which of the frames that wait have waited too long
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "codel.h"

/* The integer part of the square root. */
static uint64_t square_root(uint64_t x)
{
    uint64_t root = 0;

    for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1) {
        if ((root + bit) * (root + bit) <= x) {
            root += bit;
        }
    }
    return root;
}

/* 3.3: the interval by the square root of the drops, to 16 bits */
static int64_t control_law(int64_t t, uint32_t count)
{
    return t + (CODEL_INTERVAL_NS << 16) /
               (int64_t)square_root((uint64_t)count << 32);
}

/* Have frames waited too long for an interval?  5.4's dodequeue() */
static bool is_standing(Codel *c, int64_t now, int64_t queued, uint64_t left)
{
    if (now - queued < CODEL_TARGET_NS || left <= CODEL_MTU) {
        c->above_until = 0;
        return false;
    }
    if (!c->above_until) {
        c->above_until = now + CODEL_INTERVAL_NS;
        return false;
    }
    return now >= c->above_until;
}

/* 5.5: begin where the last time ended, if that is not long ago. */
static void begin_to_drop(Codel *c, int64_t now)
{
    uint32_t more = c->count - c->last_count;
    bool recent = now - c->drop_next < 16 * CODEL_INTERVAL_NS;

    c->dropping = true;
    c->count = recent && more > 1 ? more : 1;
    c->last_count = c->count;
    c->drop_next = control_law(now, c->count);
}

bool codel_drops(Codel *c, int64_t now, int64_t queued, uint64_t left)
{
    if (!is_standing(c, now, queued, left)) {
        c->dropping = false;
        return false;
    }
    if (!c->dropping) {
        begin_to_drop(c, now);
        return true;
    }
    if (now < c->drop_next) {
        return false;
    }
    c->count++;
    c->drop_next = control_law(c->drop_next, c->count);
    return true;
}
