/*
 * libvlink: rates, and how long frames wait for their user
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <math.h>

#include "sim.h"

#define GIGABIT UINT64_C(1000000000)
#define MEGABIT UINT64_C(1000000)

static const unsigned tiny[] = { 64 };
static const unsigned full[] = { 1514 };
static const unsigned huge[] = { 65000 };
static const unsigned any[] = { 64, 1514, 65000, 300, 9014, 64, 65549 };

static const uint8_t far_mac[] = { 0x52, 0x54, 0, 0, 0, 0xf };

/* --- the bucket ---------------------------------------------------------- */

/* Nothing is lost in how often it is looked at, and nothing overflows. */
static void check_bucket(uint64_t rate, uint32_t burst, uint32_t frame,
                         int64_t step)
{
    uint64_t sent = 0, due;
    int64_t now = 0;
    Bucket b;

    bucket_init(&b, rate, burst, now);
    while (bucket_allows(&b, now)) {
        bucket_take(&b, frame);
        sent += frame;
    }
    g_assert_cmpuint(sent, >=, burst);
    g_assert_cmpuint(sent, <, (uint64_t)burst + frame);
    for (unsigned i = 0; i < 20000; i++) {
        now += step;
        while (bucket_allows(&b, now)) {
            bucket_take(&b, frame);
            sent += frame;
        }
    }
    /* 64 bits are not enough for the product */
    due = burst + (uint64_t)((long double)rate * now / NS_PER_S / 8);
    g_assert_cmpuint(sent, >=, due);
    g_assert_cmpuint(sent, <=, due + frame);
}

static void test_bucket(void)
{
    check_bucket(8000, 1514, 64, 7777777);
    check_bucket(8001, 1514, 65549, 13);
    check_bucket(999999937, 65575, 1514, 999);
    check_bucket(LINK_RATE_MAX, LINK_BURST_MAX, 65549, 1001);
    check_bucket(LINK_RATE_MIN, LINK_BURST_MAX, 65549, NS_PER_S);
}

/* A week without a look at it fills it, and no more than that. */
static void check_bucket_full(uint64_t rate, uint32_t burst)
{
    int64_t now = INT64_C(7) * 24 * 3600 * NS_PER_S;
    Bucket b;

    bucket_init(&b, rate, burst, 0);
    g_assert_true(bucket_allows(&b, now));
    g_assert_cmpint(b.tokens, ==, b.depth);
    bucket_take(&b, burst);
    bucket_take(&b, 1);
    g_assert_false(bucket_allows(&b, now));
    g_assert_false(bucket_allows(&b, now));
    now = bucket_when(&b, SHAPE_STEP_NS);
    g_assert_true(bucket_allows(&b, now));
}

static void test_bucket_full(void)
{
    check_bucket_full(LINK_RATE_MIN, LINK_BURST_MIN);
    check_bucket_full(LINK_RATE_MIN, LINK_BURST_MAX);
    check_bucket_full(LINK_RATE_MAX, LINK_BURST_MIN);
    check_bucket_full(LINK_RATE_MAX, LINK_BURST_MAX);
}

static void test_bucket_default(void)
{
    g_assert_cmpuint(bucket_default_burst(GIGABIT), ==, 1250000);
    g_assert_cmpuint(bucket_default_burst(LINK_RATE_MIN), ==, PACKET_MAX_LEN);
    g_assert_cmpuint(bucket_default_burst(LINK_RATE_MAX), ==, LINK_BURST_MAX);
}

/* --- sending ------------------------------------------------------------- */

/* Ten seconds at @bps; what was sent, counted from when the burst is over. */
static void check_tx_rate(uint64_t bps, uint32_t burst, const unsigned *lens,
                          unsigned n, uint64_t wire)
{
    LinkRates rates = { .tx_bps = bps, .burst = burst };
    uint64_t start;
    double got, due = bps / 8 * 10.0;
    SimUser *u;
    Sim s;

    sim_init(&s, wire);
    u = sim_greedy(&s, 1, lens, n);
    link_set_rates(u->link, &rates);
    sim_start(u);
    clock_advance(NS_PER_S);
    start = u->link->stats.tx_bytes;
    clock_advance(10 * NS_PER_S);
    got = u->link->stats.tx_bytes - start;
    /* and not more than one frame, and one step, to the left or right */
    g_assert_cmpfloat(fabs(got - due), <=,
                      due * 0.001 + 65549 + bps / 8 * 0.001);
    sim_fini(&s);
}

static void test_tx_rate(void)
{
    check_tx_rate(100 * MEGABIT, 0, full, 1, GIGABIT);
    check_tx_rate(100 * MEGABIT, 0, huge, 1, GIGABIT);
    check_tx_rate(100 * MEGABIT, 0, any, G_N_ELEMENTS(any), 0);
    check_tx_rate(7777777, 1514, full, 1, 0);
    check_tx_rate(MEGABIT, 1514, huge, 1, 0);
    check_tx_rate(2 * MEGABIT, 0, tiny, 1, GIGABIT);
}

/* The burst, and at once. */
static void test_tx_burst(void)
{
    LinkRates rates = { .tx_bps = MEGABIT, .burst = 100 * 1514 };
    SimUser *u;
    Sim s;

    sim_init(&s, 0);
    u = sim_greedy(&s, 1, full, 1);
    link_set_rates(u->link, &rates);
    sim_start(u);
    clock_advance(SIM_LOOP_NS);
    g_assert_cmpuint(u->link->stats.tx_packets, ==, 100);
    sim_fini(&s);
}

/* One has a limit, and the others have what it leaves. */
static void test_tx_others(void)
{
    LinkRates rates = { .tx_bps = 100 * MEGABIT };
    SimUser *slow, *fast;
    Sim s;

    sim_init(&s, GIGABIT);
    slow = sim_greedy(&s, 4, full, 1);
    fast = sim_greedy(&s, 1, full, 1);
    link_set_rates(slow->link, &rates);
    sim_start_all(&s);
    clock_advance(2 * NS_PER_S);
    g_assert_cmpfloat(fabs(slow->link->stats.tx_bytes / 25e6 - 1), <, 0.01);
    g_assert_cmpfloat(fabs(fast->link->stats.tx_bytes / 225e6 - 1), <, 0.01);
    sim_fini(&s);
}

/* Eight in their own limits, who fill the wire: a sparse one waits little. */
static void test_tx_sparse(void)
{
    LinkRates rates = { .tx_bps = 120 * MEGABIT };
    SimUser *sparse;
    Sim s;

    sim_init(&s, GIGABIT);
    for (int i = 0; i < 8; i++) {
        link_set_rates(sim_greedy(&s, 1, full, 1)->link, &rates);
    }
    sparse = sim_sparse(&s, 1, tiny, NS_PER_S / 3001);
    sim_start_all(&s);
    clock_advance(NS_PER_S);
    /* some of those wait before it that have not had their share, either */
    g_assert_cmpint(sim_delay(sparse, 99), <=, 3 * 1514 * 8);
    sim_fini(&s);
}

/* The root's own limit holds for all together, by their weights. */
static void test_tx_root(void)
{
    LinkRates rates = { .tx_bps = 300 * MEGABIT };
    SimUser *a, *b;
    Sim s;

    sim_init(&s, GIGABIT);
    a = sim_greedy(&s, 1, full, 1);
    b = sim_greedy(&s, 2, full, 1);
    link_set_rates(s.wire.link, &rates);
    sim_start_all(&s);
    clock_advance(4 * NS_PER_S);
    g_assert_cmpfloat(fabs(a->link->stats.tx_bytes / 50e6 - 1), <, 0.01);
    g_assert_cmpfloat(fabs(b->link->stats.tx_bytes / 100e6 - 1), <, 0.01);
    sim_fini(&s);
}

/* Who waits for tokens does not wait for what is not a limit any more. */
static void test_tx_change(void)
{
    LinkRates rates = { .tx_bps = LINK_RATE_MIN };
    uint64_t sent;
    SimUser *u;
    Sim s;

    sim_init(&s, GIGABIT);
    u = sim_greedy(&s, 1, full, 1);
    link_set_rates(u->link, &rates);
    sim_start(u);
    clock_advance(NS_PER_S);
    sent = u->link->stats.tx_bytes;
    g_assert_cmpuint(sent, <, 100000);
    g_assert_true(u->blocked);
    g_assert_cmpint(link_waits_for(u->link), ==, LINK_WAIT_RATE);
    /* the same again, or another for the other way, is no new bucket */
    for (unsigned i = 0; i < 10; i++) {
        rates.rx_bps = LINK_RATE_MIN * (1 + i % 2);
        link_set_rates(u->link, &rates);
        clock_advance(1000);
    }
    g_assert_cmpuint(u->link->stats.tx_bytes, ==, sent);
    link_set_rates(u->link, &(LinkRates) { .tx_bps = 0 });
    clock_advance(NS_PER_S);
    g_assert_cmpuint(u->link->stats.tx_bytes - sent, >, GIGABIT / 8 * 0.99);
    sim_fini(&s);
}

/* Nobody waits for tokens of a link that is down. */
static void test_tx_down(void)
{
    LinkRates rates = { .tx_bps = LINK_RATE_MIN };
    Net net;
    User *u;

    net_init(&net, IPVLAN_L2, IPVLAN_BRIDGE);
    u = net_owner(&net, "10.0.0.1");
    link_set_rates(u->link, &rates);
    while (user_send(u, frame_udp(gateway_mac, port_mac, "10.0.0.1",
                                  "10.9.9.9", 1, 2, 1400)) == LINK_TX_OK) {
        continue;
    }
    link_set_admin(u->link, false);
    g_assert_true(g_queue_is_empty(&u->unsent));
    assert_drops(u->link, LINK_DOWN, 1);
    net_clear(&net);
    net_fini(&net);             /* and the timer goes, too */
}

/* Address resolution passes an empty bucket, so many times. */
static void test_tx_urgent(void)
{
    LinkRates rates = { .tx_bps = LINK_RATE_MIN, .burst = LINK_BURST_MIN };
    unsigned sent = 0;
    Net net;
    User *u;

    net_init(&net, IPVLAN_L2, IPVLAN_BRIDGE);
    u = net_owner(&net, "10.0.0.1");
    link_set_rates(u->link, &rates);
    while (user_send(u, frame_udp(gateway_mac, port_mac, "10.0.0.1",
                                  "10.9.9.9", 1, 2, 1400)) == LINK_TX_OK) {
        continue;
    }
    net_clear(&net);
    while (user_send(u, arp_request(port_mac, "10.0.0.1", "10.9.9.9")) ==
           LINK_TX_OK) {
        sent++;
    }
    g_assert_cmpuint(sent, ==, LINK_URGENT_FRAMES);
    net_clear(&net);
    net_fini(&net);
}

/* --- receiving ----------------------------------------------------------- */

static Frame *data(unsigned flow, unsigned len)
{
    return frame_udp(port_mac, far_mac, "10.9.9.9", "10.0.0.1", 1000 + flow,
                     5000, len - 42);
}

static User *rx_begin(Net *net, uint64_t bps, uint32_t burst)
{
    LinkRates rates = { .rx_bps = bps, .burst = burst };
    User *u;

    net_init(net, IPVLAN_L2, IPVLAN_BRIDGE);
    u = net_owner(net, "10.0.0.1");
    link_set_rates(u->link, &rates);
    return u;
}

static void rx_end(Net *net)
{
    net_clear(net);
    net_fini(net);
}

static uint64_t got_bytes(User *u)
{
    g_ptr_array_set_size(u->got, 0);
    trace_reset();
    return u->link->stats.rx_bytes;
}

/* A little more than the rate comes in; the rate, no more, goes on. */
static void check_rx_rate(uint64_t bps, unsigned len)
{
    int64_t interval = len * 8 * NS_PER_S / bps * 10 / 11;
    int64_t end = clock_now() + 3 * NS_PER_S;
    uint64_t start = 0;
    double due = bps / 8 * 2.0;
    Net net;
    User *u = rx_begin(&net, bps, LINK_BURST_MIN);

    for (int64_t t = clock_now(); t < end; t += interval) {
        clock_run_until(t);
        wire_receive(&net.wire, data(0, len));
        if (!start && t >= end - 2 * NS_PER_S) {
            start = got_bytes(u);
        }
    }
    g_assert_cmpfloat(fabs(got_bytes(u) - start - due), <,
                      due * 0.001 + 2 * len + bps / 8 * 0.001);
    g_assert_cmpuint(u->link->stats.drops[DROP_CODEL] +
                     u->link->stats.drops[DROP_RX_QUEUE], >, 0);
    rx_end(&net);
}

static void test_rx_rate(void)
{
    check_rx_rate(10 * MEGABIT, 1514);
    check_rx_rate(10 * MEGABIT, 9014);
    check_rx_rate(999983, 100);
}

/* Below its limit nothing waits, and nothing is lost. */
static void test_rx_below(void)
{
    Net net;
    User *u = rx_begin(&net, 10 * MEGABIT, 0);

    for (unsigned i = 0; i < 1000; i++) {
        wire_receive(&net.wire, data(0, 1250));
        g_assert_cmpuint(link_rx_waiting(u->link), ==, 0);
        clock_advance(NS_PER_S / 900);
    }
    g_assert_cmpuint(u->got->len, ==, 1000);
    rx_end(&net);
}

/* All queues have a share of the tokens. */
static void test_rx_queues(void)
{
    Net net;
    User *u = rx_begin(&net, 10 * MEGABIT, 1514);

    link_set_queues(u->link, 4);
    for (int round = 0; round < 2000; round++) {
        for (unsigned flow = 0; flow < 16; flow++) {
            wire_receive(&net.wire, data(flow, 1000));
        }
        clock_advance(NS_PER_S / 1000);
    }
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpuint(u->got_in[i], >, 2500 / 4 * 0.9);
    }
    rx_end(&net);
}

/* The limit goes, and so does what waits for it. */
static void test_rx_change(void)
{
    Net net;
    User *u = rx_begin(&net, LINK_RATE_MIN, LINK_BURST_MIN);

    for (unsigned i = 0; i < 20; i++) {
        wire_receive(&net.wire, data(0, 1000));
    }
    g_assert_cmpuint(link_rx_waiting(u->link), ==, 18);
    link_set_rates(u->link, &(LinkRates) { .rx_bps = 0 });
    clock_run_pending();
    g_assert_cmpuint(u->got->len, ==, 20);
    rx_end(&net);
}

/* --- urgent ones --------------------------------------------------------- */

/* Before all that waits, in their order, in a queue that is short. */
static void test_rx_urgent(void)
{
    Net net;
    User *u = rx_begin(&net, 0, 0);

    u->room = 0;
    link_set_rx_queue(u->link, 10);
    for (unsigned i = 0; i < 12; i++) {
        wire_receive(&net.wire, data(0, 1000));
    }
    assert_drops(u->link, RX_QUEUE, 2);
    for (unsigned i = 0; i < 3; i++) {
        wire_receive(&net.wire, frame_set8(arp_reply(port_mac, far_mac,
                                                     "10.9.9.9", "10.0.0.1"),
                                           27, i));
    }
    user_make_room(u, NO_LIMIT);
    clock_run_pending();
    g_assert_cmpuint(u->got->len, ==, 13);
    for (unsigned i = 0; i < 13; i++) {
        const Frame *f = u->got->pdata[i];

        g_assert_cmpint(frame_get16(f, 12), ==, i < 3 ? 0x0806 : 0x0800);
        g_assert_true(i >= 3 || f->data[27] == i);
    }
    rx_end(&net);
}

static void test_rx_urgent_bounded(void)
{
    Net net;
    User *u = rx_begin(&net, 0, 0);

    u->room = 0;
    link_set_rx_queue(u->link, 10);
    for (unsigned i = 0; i < 100; i++) {
        wire_receive(&net.wire, arp_reply(port_mac, far_mac, "10.9.9.9",
                                          "10.0.0.1"));
    }
    g_assert_cmpuint(link_rx_waiting(u->link), ==, RX_URGENT_MAX + 10);
    assert_drops(u->link, RX_QUEUE, 100 - RX_URGENT_MAX - 10);
    link_set_queues(u->link, 3);
    g_assert_cmpuint(link_rx_waiting(u->link), ==, RX_URGENT_MAX + 10);
    link_set_admin(u->link, false);
    g_assert_cmpuint(link_rx_waiting(u->link), ==, 0);
    assert_drops(u->link, LINK_DOWN, RX_URGENT_MAX + 10);
    rx_end(&net);
}

/* --- CoDel --------------------------------------------------------------- */

/* Nothing within an interval, then at 1, 1 + 1/sqrt 2, ... intervals. */
static void test_codel_law(void)
{
    static const double root[] = { 0, 1, 1.41421356, 1.73205081, 2 };
    const int64_t ms = NS_PER_S / 1000;
    int64_t drops[5];
    unsigned n = 0;
    Codel c = { 0 };

    for (int64_t now = ms; n < 5; now += ms / 100) {
        if (codel_drops(&c, now, now - 6 * ms, 100000)) {
            drops[n++] = now - ms;
        }
    }
    g_assert_cmpint(drops[0], ==, 100 * ms);
    for (unsigned i = 1; i < 5; i++) {
        double due = CODEL_INTERVAL_NS / root[i];

        g_assert_cmpfloat(fabs(drops[i] - drops[i - 1] - due), <, ms / 40);
    }
}

/* One frame that goes in time, or a queue of one, ends it. */
static void test_codel_ends(void)
{
    const int64_t ms = NS_PER_S / 1000;
    Codel c = { 0 };

    for (int64_t now = ms; now < 99 * ms; now += ms) {
        g_assert_false(codel_drops(&c, now, now - 9 * ms, 100000));
    }
    g_assert_false(codel_drops(&c, 99 * ms, 95 * ms, 100000));
    for (int64_t now = 100 * ms; now < 199 * ms; now += ms) {
        g_assert_false(codel_drops(&c, now, now - 9 * ms, 100000));
    }
    g_assert_false(codel_drops(&c, 199 * ms, 100 * ms, 1514));
    g_assert_false(codel_drops(&c, 200 * ms, 100 * ms, 100000));
    g_assert_true(codel_drops(&c, 300 * ms, 100 * ms, 100000));
}

/* Not long after it ended it begins where it was. */
static void test_codel_again(void)
{
    const int64_t ms = NS_PER_S / 1000;
    unsigned first = 0, second = 0;
    Codel c = { 0 };

    for (int64_t now = ms; now < 1000 * ms; now += ms) {
        first += codel_drops(&c, now, now - 9 * ms, 100000);
    }
    codel_drops(&c, 1000 * ms, 999 * ms, 100000);
    for (int64_t now = 1001 * ms; now < 1200 * ms; now += ms) {
        second += codel_drops(&c, now, now - 9 * ms, 100000);
    }
    g_assert_cmpuint(first, >, 20);
    g_assert_cmpuint(second, >=, 5);
}

/*
 * A guest that takes 1000 frames a second, and a sender that adapts as TCP
 * does: one frame more for each round trip of 20 ms, half as many for a loss.
 */
typedef struct Flow {
    Net net;
    User *u;
    double window;
    unsigned in_flight, sent, taken;
    int64_t last_cut;
    GArray *waited;             /* ms */
    uint64_t drops;
} Flow;

static uint64_t flow_drops(const Flow *f)
{
    return f->u->link->stats.drops[DROP_CODEL] +
           f->u->link->stats.drops[DROP_RX_QUEUE];
}

static void flow_lost(Flow *f)
{
    uint64_t lost = flow_drops(f) - f->drops;

    f->drops += lost;
    f->in_flight -= lost;
    if (lost && clock_now() - f->last_cut > NS_PER_S / 50) {
        f->window = MAX(f->window / 2, 2);
        f->last_cut = clock_now();
    }
}

/* Frames carry the time at which they came, in ms. */
static void flow_send(Flow *f)
{
    while (f->in_flight < (unsigned)f->window) {
        Frame *frame = data(0, 1000);

        frame_set16(frame, 42, clock_now() / (NS_PER_S / 1000));
        wire_receive(&f->net.wire, frame);
        f->in_flight++;
        flow_lost(f);
    }
}

static void flow_take(Flow *f)
{
    uint16_t now = clock_now() / (NS_PER_S / 1000);

    user_make_room(f->u, 1);
    clock_run_pending();
    flow_lost(f);
    while (f->u->got->len) {
        g_autoptr(Frame) frame = user_take(f->u);
        unsigned waited = (uint16_t)(now - frame_get16(frame, 42));

        g_array_append_val(f->waited, waited);
        f->in_flight--;
        f->window += 1 / f->window;
    }
    trace_reset();
}

static int compare_unsigned(gconstpointer a, gconstpointer b)
{
    return *(const unsigned *)a - *(const unsigned *)b;
}

static unsigned flow_waited(Flow *f, unsigned percent)
{
    g_array_sort(f->waited, compare_unsigned);
    return g_array_index(f->waited, unsigned,
                         (f->waited->len - 1) * percent / 100);
}

static void test_codel_delay(void)
{
    Flow f = { .window = 2 };

    f.u = rx_begin(&f.net, 0, 0);
    f.waited = g_array_new(FALSE, FALSE, sizeof(unsigned));
    f.u->room = 0;
    for (unsigned ms = 0; ms < 40000; ms++) {
        if (ms == 10000) {
            g_array_set_size(f.waited, 0);
        }
        flow_send(&f);
        clock_advance(NS_PER_S / 1000);
        flow_take(&f);
    }
    /* near the target, and the guest has something to do all the time */
    g_assert_cmpuint(flow_waited(&f, 50), <=, 10);
    g_assert_cmpuint(flow_waited(&f, 95), <=, 25);
    g_assert_cmpuint(f.waited->len, >, 30000 * 0.85);
    g_assert_cmpuint(f.u->link->stats.drops[DROP_CODEL], >, 0);
    assert_drops(f.u->link, RX_QUEUE, 0);
    g_array_unref(f.waited);
    rx_end(&f.net);
}

/* A burst that is gone in time costs nothing. */
static void test_codel_burst(void)
{
    Net net;
    User *u = rx_begin(&net, 0, 0);

    for (unsigned round = 0; round < 20; round++) {
        u->room = 0;
        for (unsigned i = 0; i < 80; i++) {
            wire_receive(&net.wire, data(0, 1000));
        }
        for (unsigned i = 0; i < 80; i++) {
            clock_advance(NS_PER_S / 1000);
            user_make_room(u, 1);
            clock_run_pending();
        }
    }
    g_assert_cmpuint(link_stats_drops(&u->link->stats), ==, 0);
    g_assert_cmpuint(u->got->len, ==, 1600);
    rx_end(&net);
}

/* A guest that took nothing for long gets the last that was for it. */
static void test_codel_last(void)
{
    Net net;
    User *u = rx_begin(&net, 0, 0);

    u->room = 0;
    wire_receive(&net.wire, data(0, 1000));
    clock_advance(100 * NS_PER_S);
    user_make_room(u, 1);
    clock_run_pending();
    g_assert_cmpuint(u->got->len, ==, 1);
    rx_end(&net);
}

static void add_tests(void)
{
    g_test_add_func("/shape/tx/rate", test_tx_rate);
    g_test_add_func("/shape/tx/burst", test_tx_burst);
    g_test_add_func("/shape/tx/others", test_tx_others);
    g_test_add_func("/shape/tx/sparse", test_tx_sparse);
    g_test_add_func("/shape/tx/root", test_tx_root);
    g_test_add_func("/shape/tx/change", test_tx_change);
    g_test_add_func("/shape/tx/down", test_tx_down);
    g_test_add_func("/shape/tx/urgent", test_tx_urgent);
    g_test_add_func("/shape/rx/rate", test_rx_rate);
    g_test_add_func("/shape/rx/below", test_rx_below);
    g_test_add_func("/shape/rx/queues", test_rx_queues);
    g_test_add_func("/shape/rx/change", test_rx_change);
    g_test_add_func("/shape/rx/urgent", test_rx_urgent);
    g_test_add_func("/shape/rx/urgent-bounded", test_rx_urgent_bounded);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    sim_register();
    g_test_add_func("/shape/bucket/exact", test_bucket);
    g_test_add_func("/shape/bucket/full", test_bucket_full);
    g_test_add_func("/shape/bucket/default", test_bucket_default);
    add_tests();
    g_test_add_func("/shape/codel/law", test_codel_law);
    g_test_add_func("/shape/codel/ends", test_codel_ends);
    g_test_add_func("/shape/codel/again", test_codel_again);
    g_test_add_func("/shape/codel/delay", test_codel_delay);
    g_test_add_func("/shape/codel/burst", test_codel_burst);
    g_test_add_func("/shape/codel/last", test_codel_last);
    return g_test_run();
}
