/*
 * The scheduler on a virtual clock: the same figures on every machine
 *
 * Shares against weights, the delay of a sparse slave beside greedy ones, with
 * and without limits, and whether anything is lost towards a busy uplink.
 * One line of JSON for each case.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "../../unit/vlink/sim.h"

#define GIGABIT UINT64_C(1000000000)
#define MEGABIT UINT64_C(1000000)
#define GREEDY 8

static const unsigned tiny[] = { 64 };
static const unsigned small[] = { 300 };
static const unsigned full[] = { 1514 };
static const unsigned huge[] = { 65000 };
static const unsigned any[] = { 64, 1514, 65000, 300, 9014, 64, 65549 };

typedef struct Mix {
    const char *name;
    const unsigned *lens[4];    /* of the users in turn */
    unsigned n_lens[4];
    unsigned n;
} Mix;

static const Mix mixes[] = {
    { "300", { small }, { 1 }, 1 },
    { "1514", { full }, { 1 }, 1 },
    { "65000", { huge }, { 1 }, 1 },
    { "all lengths", { any }, { G_N_ELEMENTS(any) }, 1 },
    { "300, 1514 or 65000", { small, full, huge }, { 1, 1, 1 }, 3 },
};

typedef struct Weights {
    unsigned n;
    unsigned weight[GREEDY];
} Weights;

static const Weights weights[] = {
    { 2, { 1, 1 } },
    { 4, { 1, 2, 4, 8 } },
    { 2, { 1, 256 } },
    { 8, { 1, 1, 1, 1, 1, 1, 1, 1 } },
};

/* --- shares --------------------------------------------------------------- */

static unsigned longest_turn(const Sim *s, const Weights *w)
{
    unsigned len = LINK_QUANTUM;

    for (unsigned i = 0; i < s->n; i++) {
        for (unsigned k = 0; k < s->user[i].n_lens; k++) {
            len = MAX(len, s->user[i].lens[k]);
        }
    }
    return s->wire.bps ? len : MAX(len, LINK_TURN / w->weight[w->n - 1]);
}

/* Until the lightest has had @turns; what was sent since the start. */
static void run_turns(Sim *s, const Weights *w, unsigned turns,
                      uint64_t *sent)
{
    uint64_t bytes = (uint64_t)longest_turn(s, w) * turns;
    uint64_t start[GREEDY] = { 0 };

    sim_start_all(s);
    clock_advance(NS_PER_S / 100);
    for (unsigned i = 0; i < w->n; i++) {
        start[i] = s->user[i].link->stats.tx_bytes;
    }
    while (s->user[0].link->stats.tx_bytes - start[0] < bytes) {
        clock_advance(NS_PER_S / 10000);
    }
    for (unsigned i = 0; i < w->n; i++) {
        sent[i] = s->user[i].link->stats.tx_bytes - start[i];
    }
}

/* How far the worst off is from its share, as a part of that. */
static double worst_error(const Weights *w, const uint64_t *sent)
{
    double worst = 0, sum = 0, all = 0;

    for (unsigned i = 0; i < w->n; i++) {
        sum += w->weight[i];
        all += sent[i];
    }
    for (unsigned i = 0; i < w->n; i++) {
        worst = MAX(worst, fabs(sent[i] / (all * w->weight[i] / sum) - 1));
    }
    return worst;
}

static void print_list(const char *name, const Weights *w,
                       const uint64_t *sent)
{
    double sum = 0;

    for (unsigned i = 0; i < w->n; i++) {
        sum += sent ? sent[i] : w->weight[i];
    }
    printf("\"%s\": [", name);
    for (unsigned i = 0; i < w->n; i++) {
        printf("%s%.5f", i ? ", " : "",
               (sent ? sent[i] : w->weight[i]) / sum);
    }
    printf("], ");
}

/* Returns the frames that were lost. */
static uint64_t lost(const Sim *s)
{
    uint64_t taken = 0;

    for (unsigned i = 0; i < s->n; i++) {
        taken += s->user[i].link->stats.tx_packets;
    }
    return taken - s->wire.frames;
}

static void bench_shares(const Weights *w, const Mix *m, uint64_t bps)
{
    uint64_t sent[GREEDY];
    Sim s;

    sim_init(&s, bps);
    for (unsigned i = 0; i < w->n; i++) {
        sim_greedy(&s, w->weight[i], m->lens[i % m->n], m->n_lens[i % m->n]);
    }
    run_turns(&s, w, 200, sent);
    printf("{\"part\": \"sched\", \"case\": \"shares\", "
           "\"limit\": \"%s\", \"lengths\": \"%s\", ",
           bps ? "uplink" : "main loop", m->name);
    print_list("due", w, NULL);
    print_list("shares", w, sent);
    printf("\"error\": %.5f, \"lost\": %" PRIu64 "}\n", worst_error(w, sent),
           lost(&s));
    sim_fini(&s);
}

/* --- delay ---------------------------------------------------------------- */

/*
 * A sparse slave, one small frame about each third of a millisecond, beside
 * greedy ones, for ten seconds; @mbps: what each of those is limited to.
 */
static void bench_delay(unsigned greedy, const unsigned *len, uint64_t mbps)
{
    LinkRates rates = { .tx_bps = mbps * MEGABIT };
    SimUser *sparse;
    Sim s;

    sim_init(&s, GIGABIT);
    for (unsigned i = 0; i < greedy; i++) {
        link_set_rates(sim_greedy(&s, 1, len, 1)->link, &rates);
    }
    sparse = sim_sparse(&s, 1, tiny, NS_PER_S / 3001);
    sim_start_all(&s);
    clock_advance(10 * NS_PER_S);
    printf("{\"part\": \"sched\", \"case\": \"delay\", \"greedy\": %u, "
           "\"length\": %u, \"limit_mbps\": %" PRIu64 ", "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, "
           "\"lost\": %" PRIu64 "}\n", greedy, len[0], mbps,
           sim_delay(sparse, 50) / 1e3, sim_delay(sparse, 99) / 1e3,
           sim_delay(sparse, 100) / 1e3, lost(&s));
    sim_fini(&s);
}

/* --- rates ---------------------------------------------------------------- */

static void bench_rate(uint64_t bps, const Mix *m)
{
    LinkRates rates = { .tx_bps = bps };
    uint64_t start;
    SimUser *u;
    Sim s;

    sim_init(&s, 0);
    u = sim_greedy(&s, 1, m->lens[0], m->n_lens[0]);
    link_set_rates(u->link, &rates);
    sim_start(u);
    clock_advance(NS_PER_S);
    start = u->link->stats.tx_bytes;
    clock_advance(10 * NS_PER_S);
    printf("{\"part\": \"sched\", \"case\": \"rate\", \"bps\": %" PRIu64 ", "
           "\"lengths\": \"%s\", \"got\": %.5f}\n", bps, m->name,
           (u->link->stats.tx_bytes - start) * 8.0 / bps / 10);
    sim_fini(&s);
}

int main(void)
{
    sim_register();
    for (unsigned i = 0; i < G_N_ELEMENTS(weights); i++) {
        for (unsigned k = 0; k < G_N_ELEMENTS(mixes); k++) {
            bench_shares(&weights[i], &mixes[k], 10 * GIGABIT);
            bench_shares(&weights[i], &mixes[k], 0);
        }
    }
    bench_delay(0, full, 0);
    bench_delay(GREEDY, full, 0);
    bench_delay(GREEDY, full, 120);
    bench_delay(GREEDY, full, 200);
    bench_delay(GREEDY, huge, 0);
    bench_delay(GREEDY, huge, 120);
    bench_rate(100 * MEGABIT, &mixes[1]);
    bench_rate(100 * MEGABIT, &mixes[3]);
    bench_rate(GIGABIT, &mixes[3]);
    return 0;
}
