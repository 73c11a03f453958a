/*
 * libvlink: turns on one wire, by weight
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <math.h>

#include "sim.h"

#define GIGABIT UINT64_C(1000000000)

static const unsigned tiny[] = { 64 };
static const unsigned small[] = { 300 };
static const unsigned full[] = { 1514 };
static const unsigned huge[] = { 65000 };
static const unsigned any[] = { 64, 1514, 65000, 300, 9014, 64, 65549 };
static const unsigned odd[] = { 1000, 77 };

typedef struct Mix {
    const unsigned *lens;
    unsigned n;
} Mix;

static const Mix mixes[] = {
    { tiny, 1 }, { full, 1 }, { huge, 1 }, { any, G_N_ELEMENTS(any) },
    { odd, G_N_ELEMENTS(odd) },
};

/* --- shares --------------------------------------------------------------- */

typedef struct Shares {
    const char *name;
    unsigned n;
    unsigned weight[8];
} Shares;

static const Shares shares[] = {
    { "1-1", 2, { 1, 1 } },
    { "1-2-4-8", 4, { 1, 2, 4, 8 } },
    { "1-256", 2, { 1, 256 } },
    { "8-equal", 8, { 1, 1, 1, 1, 1, 1, 1, 1 } },
};

/*
 * Run until the lightest has sent @bytes more than at the start, then compare
 * what each has sent since the start with its weight.
 */
static void assert_shares(Sim *s, const Shares *c, uint64_t bytes)
{
    uint64_t start[SIM_USERS], sum = 0, weights = 0;

    clock_advance(NS_PER_S / 100);
    for (unsigned i = 0; i < c->n; i++) {
        start[i] = s->user[i].link->stats.tx_bytes;
        weights += c->weight[i];
    }
    while (s->user[0].link->stats.tx_bytes - start[0] < bytes) {
        clock_advance(NS_PER_S / 1000);
    }
    for (unsigned i = 0; i < c->n; i++) {
        sum += s->user[i].link->stats.tx_bytes - start[i];
    }
    for (unsigned i = 0; i < c->n; i++) {
        double got = s->user[i].link->stats.tx_bytes - start[i];
        double due = (double)sum * c->weight[i] / weights;

        if (g_test_verbose()) {
            g_test_message("weight %u: %.4f of its share", c->weight[i],
                           got / due);
        }
        g_assert_cmpfloat(fabs(got / due - 1), <, 0.01);
    }
}

static unsigned longest(const Mix *m)
{
    unsigned len = 0;

    for (unsigned i = 0; i < m->n; i++) {
        len = MAX(len, m->lens[i]);
    }
    return len;
}

/* User i sends frames of mix[i % n_mixes]. */
static void check_shares(const Shares *c, uint64_t bps, const Mix *mix,
                         unsigned n_mixes)
{
    unsigned len = LINK_QUANTUM;
    Sim s;

    sim_init(&s, bps);
    for (unsigned i = 0; i < c->n; i++) {
        const Mix *m = &mix[i % n_mixes];

        sim_greedy(&s, c->weight[i], m->lens, m->n);
        len = MAX(len, longest(m));
    }
    if (!bps) {
        len = MAX(len, LINK_TURN / c->weight[c->n - 1]);
    }
    sim_start_all(&s);
    assert_shares(&s, c, (uint64_t)len * 120);
    sim_fini(&s);
}

static void test_shares_busy(const void *opaque)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(mixes); i++) {
        check_shares(opaque, 10 * GIGABIT, &mixes[i], 1);
    }
    check_shares(opaque, 10 * GIGABIT, mixes, 3);
    check_shares(opaque, 10 * GIGABIT, mixes + 1, 4);
}

/* The wire takes all, and the main loop is what they compete for. */
static void test_shares_loop(const void *opaque)
{
    static const Mix unlike[] = { { small, 1 }, { full, 1 }, { huge, 1 } };

    for (unsigned i = 1; i < G_N_ELEMENTS(mixes); i++) {
        check_shares(opaque, 0, &mixes[i], 1);
    }
    check_shares(opaque, 0, unlike, 3);
    check_shares(opaque, 0, mixes + 1, 4);
}

/* A turn is thousands of frames, and hundreds of trips round the loop. */
static void test_shares_tiny(void)
{
    static const Mix unlike[] = { { tiny, 1 }, { huge, 1 } };

    check_shares(&shares[0], 0, unlike, 1);
    check_shares(&shares[0], 0, unlike, 2);
}

/* --- a sparse one beside greedy ones -------------------------------------- */

#define SPARSE_NS (NS_PER_S / 3001)     /* in step with nothing */

/* At 1 Gbit/s, with @n greedy ones: the delay that 99 % do not exceed. */
static int64_t sparse_delay(unsigned n, const unsigned *len, unsigned weight)
{
    SimUser *sparse;
    int64_t delay;
    Sim s;

    sim_init(&s, GIGABIT);
    for (unsigned i = 0; i < n; i++) {
        sim_greedy(&s, weight, len, 1);
    }
    sparse = sim_sparse(&s, 1, tiny, SPARSE_NS);
    sim_start_all(&s);
    clock_advance(NS_PER_S);
    g_assert_cmpuint(sparse->delays->len, >=, 2999);
    delay = sim_delay(sparse, 99);
    sim_fini(&s);
    return delay;
}

/* It waits for the frame that is on the wire, whoever else waits. */
static void test_sparse(void)
{
    const int64_t on_wire = 1514 * 8;

    g_assert_cmpint(sparse_delay(8, full, 1), <=, on_wire);
    g_assert_cmpint(sparse_delay(15, full, 1), <=, on_wire);
    g_assert_cmpint(sparse_delay(8, full, 16), <=, on_wire);
    g_assert_cmpint(sparse_delay(8, huge, 1), <=, 65000 * 8);
}

/* Who comes and goes gets no more than its share for it. */
static void test_sparse_bounded(void)
{
    static const unsigned bit_less[] = { 1500 };
    const int64_t interval = 1500 * 8;  /* all that the wire can carry */
    SimUser *greedy, *often;
    Sim s;

    sim_init(&s, GIGABIT);
    greedy = sim_greedy(&s, 1, full, 1);
    often = sim_sparse(&s, 1, bit_less, interval);
    sim_start_all(&s);
    clock_advance(NS_PER_S);
    g_assert_cmpfloat(fabs((double)greedy->link->stats.tx_bytes /
                           often->link->stats.tx_bytes - 1), <, 0.01);
    sim_fini(&s);
}

/* Many that come and go do not starve the one who always waits. */
static void test_sparse_many(void)
{
    const int64_t interval = 1514 * 8 * 10;     /* together 1.4 times all */
    SimUser *greedy;
    uint64_t due;
    Sim s;

    sim_init(&s, GIGABIT);
    greedy = sim_greedy(&s, 1, full, 1);
    for (unsigned i = 0; i < 14; i++) {
        sim_sparse(&s, 1, full, interval + i);
    }
    sim_start_all(&s);
    clock_advance(NS_PER_S);
    due = GIGABIT / 8 / 15;
    g_assert_cmpfloat(greedy->link->stats.tx_bytes, >, due * 0.99);
    sim_fini(&s);
}

/* The wire is never idle while somebody waits. */
static void test_work_conserving(void)
{
    Sim s;

    sim_init(&s, GIGABIT);
    sim_greedy(&s, 1, tiny, 1);
    sim_greedy(&s, 256, any, G_N_ELEMENTS(any));
    sim_sparse(&s, 1, huge, NS_PER_S / 1000);
    sim_start_all(&s);
    clock_advance(NS_PER_S);
    g_assert_cmpuint(s.wire.bytes, >, GIGABIT / 8 * 0.999);
    sim_fini(&s);
}

/* --- alone ---------------------------------------------------------------- */

/* Who is alone is refused by nothing but the wire. */
static void test_alone(void)
{
    SimUser *u;
    Sim s;

    sim_init(&s, 0);
    u = sim_greedy(&s, 1, huge, 1);
    sim_greedy(&s, 1, huge, 1);         /* never starts */
    sim_start(u);
    clock_advance(NS_PER_S / 100);
    g_assert_cmpuint(u->refused, ==, 0);
    g_assert_cmpuint(u->link->stats.tx_packets, >, 1000 * SIM_BURST);
    sim_fini(&s);
}

/* A little of somebody else's does not cost the greedy one its speed. */
static void test_nearly_alone(void)
{
    SimUser *u;
    Sim s;

    sim_init(&s, 0);
    u = sim_greedy(&s, 1, huge, 1);
    sim_sparse(&s, 1, tiny, 10 * SIM_LOOP_NS);
    sim_start_all(&s);
    clock_advance(NS_PER_S / 100);
    g_assert_cmpuint(u->refused * 1000, <, u->link->stats.tx_packets);
    sim_fini(&s);
}

/* When the others are gone it is alone again. */
static void test_alone_again(void)
{
    uint64_t sent;
    SimUser *u, *v;
    Sim s;

    sim_init(&s, 0);
    u = sim_greedy(&s, 1, full, 1);
    v = sim_greedy(&s, 1, huge, 1);
    sim_start_all(&s);
    clock_advance(NS_PER_S / 1000);
    sim_stop(v);
    clock_advance(NS_PER_S / 10000);
    u->refused = 0;
    sent = u->link->stats.tx_packets;
    clock_advance(NS_PER_S / 1000);
    g_assert_cmpuint(u->refused, ==, 0);
    g_assert_cmpuint(u->link->stats.tx_packets - sent, >, 900 * SIM_BURST);
    sim_fini(&s);
}

/* --- urgent frames -------------------------------------------------------- */

/* How many of @n requests go out of @u at once. */
static unsigned send_requests(SimUser *u, unsigned n)
{
    unsigned sent = 0;

    while (n--) {
        g_autoptr(Frame) f = arp_request(gateway_mac, "10.0.0.1", "10.0.0.2");
        struct iovec iov = { f->data, f->len };
        Packet p;

        packet_init(&p, &iov, 1);
        sent += link_xmit(u->link, &p) == LINK_TX_OK;
    }
    return sent;
}

/*
 * Who has used up its turn may resolve addresses all the same, so many times
 * and no more.
 */
static void test_urgent_passes(void)
{
    SimUser *u;
    Sim s;

    sim_init(&s, 0);
    u = sim_greedy(&s, 1, full, 1);
    sim_greedy(&s, 256, full, 1);
    sim_start_all(&s);
    for (int i = 0; i < 3; i++) {
        clock_advance(LINK_URGENT_NS);
        while (!u->link->turn.waiting || u->link->turn.deficit > 0) {
            clock_advance(SIM_LOOP_NS);
        }
        g_assert_cmpuint(send_requests(u, 100), ==, LINK_URGENT_FRAMES);
        g_assert_cmpuint(send_requests(u, 100), ==, 0);
    }
    sim_fini(&s);
}

/* The wire is busy, its turn is over, and there are 14 others before it. */
static void test_urgent_first(void)
{
    SimUser *u;
    Sim s;

    sim_init(&s, GIGABIT);
    for (int i = 0; i < 14; i++) {
        sim_greedy(&s, 1, full, 1);
    }
    u = sim_sparse(&s, 1, full, NS_PER_S / 7777);   /* more than its share */
    sim_start_all(&s);
    clock_advance(NS_PER_S / 4);
    g_assert_cmpuint(u->born.length, >, 10);
    g_queue_clear_full(&u->born, g_free);
    u->interval = NS_PER_S / 131;
    u->urgent = true;
    clock_advance(NS_PER_S / 4);
    g_array_set_size(u->delays, 0);
    clock_advance(NS_PER_S);
    g_assert_cmpuint(u->delays->len, >, 100);
    g_assert_cmpint(sim_delay(u, 99), <=, 1514 * 8);
    sim_fini(&s);
}

/* Nobody gets more than its share by calling all of it urgent. */
static void test_urgent_bounded(void)
{
    SimUser *u, *v;
    Sim s;

    sim_init(&s, GIGABIT);
    u = sim_greedy(&s, 1, full, 1);
    v = sim_greedy(&s, 1, full, 1);
    v->urgent = true;
    sim_start_all(&s);
    clock_advance(NS_PER_S);
    g_assert_cmpfloat(fabs((double)v->link->stats.tx_bytes /
                           u->link->stats.tx_bytes - 1), <, 0.01);
    sim_fini(&s);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    sim_register();
    for (unsigned i = 0; i < G_N_ELEMENTS(shares); i++) {
        g_autofree char *busy = g_strdup_printf("/turn/shares/busy/%s",
                                                shares[i].name);
        g_autofree char *loop = g_strdup_printf("/turn/shares/loop/%s",
                                                shares[i].name);

        g_test_add_data_func(busy, &shares[i], test_shares_busy);
        g_test_add_data_func(loop, &shares[i], test_shares_loop);
    }
    g_test_add_func("/turn/shares/loop/tiny", test_shares_tiny);
    g_test_add_func("/turn/sparse/delay", test_sparse);
    g_test_add_func("/turn/sparse/bounded", test_sparse_bounded);
    g_test_add_func("/turn/sparse/many", test_sparse_many);
    g_test_add_func("/turn/work-conserving", test_work_conserving);
    g_test_add_func("/turn/alone", test_alone);
    g_test_add_func("/turn/alone/nearly", test_nearly_alone);
    g_test_add_func("/turn/alone/again", test_alone_again);
    g_test_add_func("/turn/urgent/passes", test_urgent_passes);
    g_test_add_func("/turn/urgent/first", test_urgent_first);
    g_test_add_func("/turn/urgent/bounded", test_urgent_bounded);
    return g_test_run();
}
