/*
 * Senders on a wire of some speed, on the virtual clock
 *
 * A sender behaves as virtio-net does: it sends up to 256 frames in one go,
 * and the rest when the main loop comes round; what is refused it keeps and
 * sends first when it is woken.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VLINK_SIM_H
#define TESTS_VLINK_SIM_H

#include "harness.h"

#define SIM_BURST 256
#define SIM_LOOP_NS 1000        /* the main loop comes round */
#define SIM_USERS 16

/* A root that sends one frame after the other. */
typedef struct SimWire {
    Link *link;
    uint64_t bps;               /* 0: never busy */
    LinkWork *sent;             /* the frame on the wire is over */
    bool busy;
    uint64_t bytes, frames;
    unsigned refused;
} SimWire;

typedef struct SimUser {
    Link *link;
    /* greedy: frames of these lengths, over and over, and no end of them */
    const unsigned *lens;
    unsigned n_lens;
    unsigned next;
    /* else one frame of lens[0] at each tick, and how long each one waited */
    int64_t interval;
    LinkWork *tick;
    GQueue born;                /* of int64_t *, the oldest first */
    GArray *delays;             /* of int64_t */
    bool urgent;                /* they are ARP requests */

    LinkWork *run;
    bool blocked;
    bool stopped;
    unsigned wakes;
    unsigned refused;
} SimUser;

typedef struct Sim {
    SimWire wire;
    SimUser user[SIM_USERS];
    unsigned n;
} Sim;

void sim_register(void);

void sim_init(Sim *s, uint64_t bps);
void sim_fini(Sim *s);

/* A user on a link of its own, which does not send before sim_start(). */
SimUser *sim_greedy(Sim *s, unsigned weight, const unsigned *lens,
                    unsigned n_lens);
/* @interval in nanoseconds */
SimUser *sim_sparse(Sim *s, unsigned weight, const unsigned *len,
                    int64_t interval);

void sim_start(SimUser *u);
void sim_start_all(Sim *s);
/* It has no more to send. */
void sim_stop(SimUser *u);

/* The delay, in nanoseconds, that @percent of its frames did not exceed. */
int64_t sim_delay(SimUser *u, double percent);

#endif
