/*
 * libvlink: several queues, towards users and towards the wire
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"

#define QUEUES 4
#define FLOWS 64

static const uint8_t far_mac[] = { 0x52, 0x54, 0, 0, 0, 0xf };

/* Frame number @n of flow @flow towards @dst. */
static Frame *flow_frame(const uint8_t *src, unsigned flow, unsigned n)
{
    Frame *f = frame_udp(port_mac, src, "10.9.9.9", "10.0.0.1",
                         1000 + flow, 5000, 8);

    frame_set16(f, 42, flow);
    return frame_set16(f, 44, n);
}

/* The queue out of @n that @flow goes through. */
static unsigned queue_of(unsigned flow, unsigned n)
{
    g_autoptr(Frame) f = flow_frame(far_mac, flow, 0);
    struct iovec iov = { f->data, f->len };
    Packet p;

    packet_init(&p, &iov, 1);
    g_assert_cmpint(packet_parse(&p), ==, DROP_NONE);
    return packet_flow_hash(&p) % n;
}

/* Some flow that goes through @queue of @n. */
static unsigned flow_of(unsigned queue, unsigned n)
{
    unsigned flow = 0;

    while (queue_of(flow, n) != queue) {
        g_assert_cmpuint(++flow, <, FLOWS);
    }
    return flow;
}

static User *begin(Net *net, unsigned queues)
{
    User *u;

    net_init(net, IPVLAN_L2, IPVLAN_BRIDGE);
    u = net_owner(net, "10.0.0.1");
    link_set_queues(u->link, queues);
    return u;
}

static void receive(Net *net, unsigned flow, unsigned n)
{
    wire_receive(&net->wire, flow_frame(far_mac, flow, n));
}

/* All @n frames of each flow are there, each flow's in order. */
static void assert_flows(GPtrArray *got, unsigned flows, unsigned n)
{
    unsigned next[FLOWS] = { 0 };

    g_assert_cmpuint(got->len, ==, flows * n);
    for (unsigned i = 0; i < got->len; i++) {
        const Frame *f = got->pdata[i];
        unsigned flow = frame_get16(f, 42);

        g_assert_cmpuint(flow, <, flows);
        g_assert_cmpuint(frame_get16(f, 44), ==, next[flow]++);
    }
}

/* --- towards a user ------------------------------------------------------ */

static void test_spread(void)
{
    Net net;
    User *u = begin(&net, QUEUES);

    for (unsigned flow = 0; flow < FLOWS; flow++) {
        receive(&net, flow, 0);
    }
    assert_flows(u->got, FLOWS, 1);
    for (unsigned i = 0; i < QUEUES; i++) {
        g_assert_cmpuint(u->got_in[i], >, FLOWS / QUEUES / 4);
    }
    net_clear(&net);
    net_fini(&net);
}

/* What is no IP has no flow, and goes through the first queue. */
static void test_no_flow(void)
{
    Net net;
    User *u = begin(&net, QUEUES);

    wire_receive(&net.wire, frame_eth(port_mac, far_mac, 0x88b5, 46));
    g_assert_cmpuint(u->got->len, ==, 0);       /* nobody owns that */
    wire_receive(&net.wire, rarp_announce(far_mac));
    clock_run_pending();
    g_assert_cmpuint(u->got->len, ==, 1);
    g_assert_cmpuint(u->got_in[0], ==, 1);
    net_clear(&net);
    net_fini(&net);
}

/* One queue is busy: its flows wait, in order, and nobody else's do. */
static void test_one_busy(void)
{
    Net net;
    User *u = begin(&net, QUEUES);
    unsigned waiting = 0;

    user_close_queue(u, 2);
    for (unsigned n = 0; n < 3; n++) {
        for (unsigned flow = 0; flow < FLOWS; flow++) {
            receive(&net, flow, n);
            waiting += queue_of(flow, QUEUES) == 2;
        }
    }
    g_assert_cmpuint(waiting, >, 0);
    g_assert_cmpuint(link_rx_waiting(u->link), ==, waiting);
    g_assert_cmpuint(u->got->len, ==, 3 * FLOWS - waiting);
    user_open_queue(u, 2);
    clock_run_pending();
    assert_flows(u->got, FLOWS, 3);
    net_clear(&net);
    net_fini(&net);
}

/* The limit is each queue's own. */
static void test_one_full(void)
{
    Net net;
    User *u = begin(&net, 2);

    link_set_rx_queue(u->link, 4);
    user_close_queue(u, 0);
    user_close_queue(u, 1);
    for (unsigned n = 0; n < 10; n++) {
        receive(&net, flow_of(0, 2), n);
    }
    receive(&net, flow_of(1, 2), 0);
    assert_drops(u->link, RX_QUEUE, 6);
    g_assert_cmpuint(link_rx_waiting(u->link), ==, 5);
    net_clear(&net);
    net_fini(&net);
}

/* --- full: what comes in is better left where it is ---------------------- */

static void fill(Net *net, User *u, unsigned flow, unsigned n)
{
    link_set_rx_queue(u->link, n);
    for (unsigned i = 0; i < n; i++) {
        g_assert_false(link_is_full(net->wire.link));
        receive(net, flow, i);
    }
}

/* Once it was full, half of the queue has to go before it is asked for more. */
static void test_full(void)
{
    Net net;
    User *u = begin(&net, 1);

    u->room = 0;
    fill(&net, u, 0, 4);
    g_assert_true(link_is_full(net.wire.link));
    user_make_room(u, 1);
    clock_run_pending();
    g_assert_true(link_is_full(net.wire.link));
    g_assert_cmpuint(net.wire.resumes, ==, 0);
    user_make_room(u, 1);
    clock_run_pending();
    g_assert_cmpuint(net.wire.resumes, ==, 1);
    g_assert_false(link_is_full(net.wire.link));
    user_make_room(u, NO_LIMIT);
    clock_run_pending();
    g_assert_cmpuint(net.wire.resumes, ==, 1);
    g_assert_cmpuint(u->got->len, ==, 4);
    g_assert_cmpuint(link_stats_drops(&u->link->stats), ==, 0);
    net_clear(&net);
    net_fini(&net);
}

/* Nobody waits for a sibling: only when all are full. */
static void test_full_siblings(void)
{
    Net net;
    User *u = begin(&net, 1), *other = net_owner(&net, "10.0.0.2");

    u->room = 0;
    fill(&net, u, 0, 4);
    g_assert_false(link_is_full(net.wire.link));
    receive(&net, 0, 4);
    assert_drops(u->link, RX_QUEUE, 1);
    net_del(other);
    g_assert_true(link_is_full(net.wire.link));
    /* there is somebody else now, who is not full */
    net_owner(&net, "10.0.0.3");
    clock_run_pending();
    g_assert_cmpuint(net.wire.resumes, ==, 1);
    g_assert_false(link_is_full(net.wire.link));
    net_clear(&net);
    net_fini(&net);
}

/* Nor for one queue of several. */
static void test_full_queues(void)
{
    Net net;
    User *u = begin(&net, 2);

    user_close_queue(u, 0);
    user_close_queue(u, 1);
    fill(&net, u, flow_of(0, 2), 4);
    fill(&net, u, flow_of(1, 2), 4);
    g_assert_true(link_is_full(net.wire.link));
    user_open_queue(u, 1);
    clock_run_pending();
    g_assert_cmpuint(net.wire.resumes, ==, 1);
    g_assert_false(link_is_full(net.wire.link));
    /* all in one queue, which is more than full, and stays so */
    link_set_queues(u->link, 1);
    g_assert_true(link_is_full(net.wire.link));
    user_open_queue(u, 0);
    clock_run_pending();
    g_assert_cmpuint(net.wire.resumes, ==, 2);
    g_assert_cmpuint(u->got->len, ==, 8);
    net_clear(&net);
    net_fini(&net);
}

/* More room is there at once; what waits where there is less now stays. */
static void test_full_change(void)
{
    Net net;
    User *u = begin(&net, 1);

    u->room = 0;
    fill(&net, u, 0, 4);
    g_assert_true(link_is_full(net.wire.link));
    link_set_rx_queue(u->link, 6);
    clock_run_pending();
    g_assert_cmpuint(net.wire.resumes, ==, 1);
    g_assert_false(link_is_full(net.wire.link));
    receive(&net, 0, 4);
    link_set_rx_queue(u->link, 2);
    g_assert_true(link_is_full(net.wire.link));
    receive(&net, 0, 5);
    assert_drops(u->link, RX_QUEUE, 1);
    g_assert_cmpuint(link_rx_waiting(u->link), ==, 5);
    user_make_room(u, NO_LIMIT);
    clock_run_pending();
    g_assert_cmpuint(u->got->len, ==, 5);
    g_assert_cmpuint(net.wire.resumes, ==, 2);
    net_clear(&net);
    net_fini(&net);
}

static void assert_info(User *u, unsigned queue, LinkQueueInfo expected)
{
    LinkQueueInfo info;

    link_queue_info(u->link, queue, &info);
    g_assert_cmpuint(info.rx_packets, ==, expected.rx_packets);
    g_assert_cmpuint(info.rx_bytes, ==, expected.rx_packets * 50);
    g_assert_cmpuint(info.waiting, ==, expected.waiting);
    g_assert_cmpint(info.delay, ==, expected.delay);
    g_assert_cmpint(info.last_delay, ==, expected.last_delay);
}

static void test_info(void)
{
    Net net;
    User *u = begin(&net, 2);
    unsigned flows[] = { flow_of(0, 2), flow_of(1, 2) };

    receive(&net, flows[0], 0);
    receive(&net, flows[1], 0);
    receive(&net, flows[1], 1);
    assert_info(u, 0, (LinkQueueInfo) { .rx_packets = 1 });
    assert_info(u, 1, (LinkQueueInfo) { .rx_packets = 2 });
    assert_info(u, 2, (LinkQueueInfo) { .rx_packets = 0 });
    assert_info(u, 1000, (LinkQueueInfo) { .rx_packets = 0 });

    user_close_queue(u, 1);
    receive(&net, flows[1], 2);
    clock_advance(3000);
    receive(&net, flows[1], 3);
    receive(&net, flows[0], 1);
    clock_advance(4000);
    assert_info(u, 0, (LinkQueueInfo) { .rx_packets = 2 });
    assert_info(u, 1, (LinkQueueInfo) {
        .rx_packets = 2, .waiting = 2, .delay = 7000,
    });
    user_open_queue(u, 1);
    clock_run_pending();
    assert_info(u, 1, (LinkQueueInfo) { .rx_packets = 4, .last_delay = 4000 });

    /* who has not had to wait says nothing of that */
    receive(&net, flows[1], 4);
    assert_info(u, 1, (LinkQueueInfo) { .rx_packets = 5, .last_delay = 4000 });
    /* and what was counted stays where it was */
    link_set_queues(u->link, 1);
    assert_info(u, 1, (LinkQueueInfo) { .rx_packets = 5, .last_delay = 4000 });
    net_clear(&net);
    net_fini(&net);
}

/* Whatever empties the queue: the link going down, a new user, its end. */
static void test_full_emptied(void)
{
    Net net;
    User *u = begin(&net, 1);

    u->room = 0;
    fill(&net, u, 0, 4);
    g_assert_true(link_is_full(net.wire.link));
    link_set_admin(u->link, false);
    clock_run_pending();
    g_assert_cmpuint(net.wire.resumes, ==, 1);
    link_set_admin(u->link, true);

    fill(&net, u, 0, 4);
    g_assert_true(link_is_full(net.wire.link));
    net_del(u);
    clock_run_pending();
    g_assert_cmpuint(net.wire.resumes, ==, 2);
    g_assert_false(link_is_full(net.wire.link));
    net_fini(&net);
}

/* The user says of a queue that it does not use that it has room. */
static void test_ready_unknown(void)
{
    Net net;
    User *u = begin(&net, 1);

    u->room = 0;
    receive(&net, 0, 0);
    u->room = NO_LIMIT;
    link_rx_ready(u->link, 7);
    clock_run_pending();
    g_assert_cmpuint(u->got->len, ==, 0);
    link_rx_ready(u->link, 0);
    clock_run_pending();
    assert_flows(u->got, 1, 1);
    net_clear(&net);
    net_fini(&net);
}

/* From @before to @after queues, while frames wait in them. */
static void check_steer(unsigned before, unsigned after)
{
    Net net;
    User *u = begin(&net, before);

    u->room = 0;
    for (unsigned n = 0; n < 5; n++) {
        for (unsigned flow = 0; flow < 16; flow++) {
            receive(&net, flow, n);
        }
        clock_advance(10);
    }
    g_assert_cmpuint(link_rx_waiting(u->link), ==, 80);
    link_set_queues(u->link, after);
    g_assert_cmpuint(link_rx_waiting(u->link), ==, 80);
    u->room = NO_LIMIT;
    user_make_room(u, NO_LIMIT);
    clock_run_pending();
    assert_flows(u->got, 16, 5);
    for (unsigned i = 0; i < 32; i++) {
        g_assert_cmpuint(u->got_in[i] > 0, ==, i < after);
    }
    g_assert_cmpuint(link_stats_drops(&u->link->stats), ==, 0);
    net_clear(&net);
    net_fini(&net);
}

static void test_steer(void)
{
    check_steer(1, 4);
    check_steer(4, 1);
    check_steer(4, 3);
    check_steer(2, 8);
}

/* One queue out of several: the older frames of the others come first. */
static void test_steer_order(void)
{
    Net net;
    User *u = begin(&net, 2);
    unsigned flow[] = { flow_of(1, 2), flow_of(0, 2) };

    u->room = 0;
    for (unsigned n = 0; n < 10; n++) {
        receive(&net, flow[n % 2], n);
        clock_advance(1);
    }
    link_set_queues(u->link, 1);
    user_make_room(u, NO_LIMIT);
    clock_run_pending();
    g_assert_cmpuint(u->got->len, ==, 10);
    for (unsigned n = 0; n < 10; n++) {
        g_assert_cmpuint(frame_get16(u->got->pdata[n], 44), ==, n);
    }
    net_clear(&net);
    net_fini(&net);
}

/* To and fro while some are taken, and a queue that was busy is out of use. */
static void test_steer_again(void)
{
    static const unsigned queues[] = { 4, 1, 3, 8, 2, 4 };
    Net net;
    User *u = begin(&net, 4);
    unsigned n = 0;

    user_close_queue(u, 3);
    for (unsigned i = 0; i < G_N_ELEMENTS(queues); i++) {
        link_set_queues(u->link, queues[i]);
        for (unsigned k = 0; k < 4; k++, n++) {
            u->room = 7;
            for (unsigned flow = 0; flow < 16; flow++) {
                receive(&net, flow, n);
            }
            clock_advance(1);
        }
    }
    user_open_queue(u, 3);
    user_make_room(u, NO_LIMIT);
    clock_run_pending();
    assert_flows(u->got, 16, n);
    net_clear(&net);
    net_fini(&net);
}

/* --- towards the wire ---------------------------------------------------- */

typedef struct Pair {
    Net net;
    User *a, *b;
} Pair;

static void pair_init(Pair *p)
{
    net_init(&p->net, IPVLAN_L2, IPVLAN_BRIDGE);
    p->a = net_owner(&p->net, "10.9.0.0/16");
    p->b = net_owner(&p->net, "10.8.0.0/16");
    link_set_queues(p->net.wire.link, 2);
}

static Frame *out_frame(const char *sip, unsigned flow, unsigned n)
{
    Frame *f = frame_udp(gateway_mac, port_mac, sip, "10.0.0.1",
                         1000 + flow, 5000, 8);

    frame_set16(f, 42, flow);
    return frame_set16(f, 44, n);
}

/* Some flow from @sip that goes through @queue of two. */
static unsigned out_flow(const char *sip, unsigned queue)
{
    for (unsigned flow = 0; ; flow++) {
        g_autoptr(Frame) f = out_frame(sip, flow, 0);
        struct iovec iov = { f->data, f->len };
        Packet p;

        packet_init(&p, &iov, 1);
        packet_parse(&p);
        if (packet_flow_hash(&p) % 2 == queue) {
            return flow;
        }
    }
}

/* One queue of the uplink is busy: who wants the other one goes on. */
static void test_tx_one_busy(void)
{
    unsigned stuck, free_flow;
    Pair p;

    pair_init(&p);
    stuck = out_flow("10.9.0.1", 1);
    free_flow = out_flow("10.8.0.1", 0);
    p.net.wire.busy_queues = 2;
    user_send(p.a, out_frame("10.9.0.1", stuck, 0));
    g_assert_cmpuint(p.net.wire.sent->len, ==, 0);
    g_assert_cmpint(link_waits_for(p.a->link), ==, LINK_WAIT_LOWER);
    g_assert_cmpint(link_waits_for(p.b->link), ==, LINK_WAIT_NONE);
    g_assert_cmpint(user_send(p.b, out_frame("10.8.0.1", free_flow, 0)), ==,
                    LINK_TX_OK);
    g_assert_cmpuint(p.net.wire.sent->len, ==, 1);
    p.net.wire.busy_queues = 0;
    link_wake(p.net.wire.link);
    g_assert_cmpuint(p.net.wire.sent->len, ==, 2);
    net_clear(&p.net);
    net_fini(&p.net);
}

/* Both are busy, and only the second one's queue has room again. */
static void test_tx_wake_behind(void)
{
    unsigned stuck, other;
    Pair p;

    pair_init(&p);
    stuck = out_flow("10.9.0.1", 1);
    other = out_flow("10.8.0.1", 0);
    p.net.wire.busy_queues = 3;
    user_send(p.a, out_frame("10.9.0.1", stuck, 0));
    user_send(p.b, out_frame("10.8.0.1", other, 0));
    p.net.wire.busy_queues = 2;
    link_wake(p.net.wire.link);
    g_assert_cmpuint(p.net.wire.sent->len, ==, 1);
    g_assert_true(g_queue_is_empty(&p.b->unsent));
    p.net.wire.busy_queues = 0;
    link_wake(p.net.wire.link);
    g_assert_cmpuint(p.net.wire.sent->len, ==, 2);
    net_clear(&p.net);
    net_fini(&p.net);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/queue/rx/spread", test_spread);
    g_test_add_func("/queue/rx/no-flow", test_no_flow);
    g_test_add_func("/queue/rx/one-busy", test_one_busy);
    g_test_add_func("/queue/rx/one-full", test_one_full);
    g_test_add_func("/queue/full/one", test_full);
    g_test_add_func("/queue/full/siblings", test_full_siblings);
    g_test_add_func("/queue/full/queues", test_full_queues);
    g_test_add_func("/queue/full/emptied", test_full_emptied);
    g_test_add_func("/queue/full/change", test_full_change);
    g_test_add_func("/queue/info", test_info);
    g_test_add_func("/queue/rx/ready-unknown", test_ready_unknown);
    g_test_add_func("/queue/rx/steer", test_steer);
    g_test_add_func("/queue/rx/steer-order", test_steer_order);
    g_test_add_func("/queue/rx/steer-again", test_steer_again);
    g_test_add_func("/queue/tx/one-busy", test_tx_one_busy);
    g_test_add_func("/queue/tx/wake-behind", test_tx_wake_behind);
    return g_test_run();
}
