/*
 * What the benches of libvlink share: a platform, a wire, cases in turn
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BENCH_VLINK_COMMON_H
#define BENCH_VLINK_COMMON_H

#include <inttypes.h>

#include "libvlink/ipvlan/ipvlan.h"
#include "libvlink/link.h"
#include "../../unit/vlink/frame.h"

/* --- time ----------------------------------------------------------------- */

/* Monotonic, in nanoseconds. */
int64_t bench_now(void);
/* Of the processor's time, what this thread has had. */
int64_t bench_worked(void);

/*
 * A random number of a sequence, xorshift64: it costs a nanosecond, so that
 * what is drawn need not be stored, and does not push the tables that are
 * measured out of the cache.
 */
static inline uint64_t bench_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* --- the platform --------------------------------------------------------- */

/* The real clock; work runs when bench_run_work() says so. */
extern const LinkPlatform bench_platform;

/*
 * Run what is due until nothing is.  Returns how much of the processor's time
 * the longest of the calls took, in nanoseconds.
 */
int64_t bench_run_work(void);

/* --- a net ---------------------------------------------------------------- */

/* A guest that takes all frames at once, and no others. */
typedef struct BenchUser {
    Link *link;
    uint8_t mac[ETHER_ADDR_LEN];
    uint64_t got;               /* frames */
    uint8_t *copy_to;           /* PACKET_MAX_LEN bytes, or NULL: only count */
    bool busy;                  /* takes no more */
    const Frame *unsent;        /* was refused, and goes when it is woken */
} BenchUser;

/* A port with slaves on a wire that swallows all frames. */
typedef struct BenchNet {
    Link *wire;
    uint64_t sent;              /* frames that went out of it */
    IpvlanMode mode;
    BenchUser *user;
    unsigned n_users;
} BenchNet;

extern const uint8_t bench_port_mac[ETHER_ADDR_LEN];
extern const uint8_t bench_gateway_mac[ETHER_ADDR_LEN];

/* @n slaves of one @config, which says nothing of mode and default MAC. */
BenchNet *bench_net_new_with(IpvlanMode mode, unsigned n, IpvlanConfig config);

/* @n slaves that learn up to @max_addrs addresses each. */
BenchNet *bench_net_new(IpvlanMode mode, unsigned n, unsigned max_addrs);
void bench_net_free(BenchNet *net);

/*
 * Make a Packet of a frame and hand it to the library.  Who may not send now
 * waits for its turn.
 */
void bench_receive(BenchNet *net, const Frame *f);
void bench_xmit(BenchUser *u, const Frame *f);

/* The compiler must not leave out what nobody reads. */
static inline void bench_keep(const void *p)
{
    __asm__ volatile("" : : "r" (p) : "memory");
}

/* --- measuring ------------------------------------------------------------ */

#define BENCH_MAX_SAMPLES 64

/* Something to measure: @run does @n units of it. */
typedef struct BenchCase {
    char *what;                 /* the name in the results, from malloc() */
    const char *unit;           /* of a sample: "ns", "GB/s" */
    void (*run)(void *opaque, unsigned n);
    void *opaque;
    /* What the loop costs without the library; its time is taken off. */
    void (*overhead)(void *opaque, unsigned n);
    double bytes;               /* of a unit, where the unit is "GB/s" */
    unsigned max;               /* units at once, 0: no limit */

    unsigned n;                 /* units of a sample */
    double sample[BENCH_MAX_SAMPLES];
    double instructions[BENCH_MAX_SAMPLES];
} BenchCase;

/*
 * Take the options of the command line: --rounds N, --ms N for each sample,
 * and --count to count instructions under callgrind in place of all that.
 */
void bench_init(int argc, char **argv);

extern unsigned bench_rounds;
extern bool bench_counting;

/*
 * Measure all cases in turn, round after round, and print each as a line of
 * JSON.
 */
void bench_run(GArray *cases);

GArray *bench_cases_new(void);
void bench_add(GArray *cases, BenchCase c);
void bench_cases_free(GArray *cases);

/* Print samples that were not taken by bench_run(). */
void bench_emit(const char *what, const char *unit, const double *sample,
                unsigned n);
/* Say why there are none. */
void bench_emit_note(const char *what, const char *note);

#endif
