/*
 * libvlink: who gets busy in the middle of a long segment
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "libvlink/offload.h"

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define FAR4 "10.9.9.9"

#define MSS 1000
#define SEGMENTS 10
#define HEADERS 54

/* TCP, ten segments in one, each with its number in its first two bytes. */
static Frame *segments(const uint8_t *dst, const uint8_t *src,
                       const char *sip, const char *dip)
{
    Frame *f = frame_tcp(dst, src, sip, dip, MSS * SEGMENTS);

    for (unsigned i = 0; i < SEGMENTS; i++) {
        frame_set16(f, HEADERS + i * MSS, i);
    }
    frame_partial(f);
    f->vnet.gso_type = PACKET_GSO_TCPV4;
    f->vnet.gso_size = MSS;
    f->vnet.hdr_len = HEADERS;
    return f;
}

static bool is_segment(const Frame *f, unsigned n)
{
    return f->len == HEADERS + MSS && frame_checksum_ok(f) &&
           frame_get16(f, HEADERS) == n;
}

/* [@from, @from + @n) of the segments, and nothing else; taken. */
static void assert_segments(GPtrArray *got, unsigned from, unsigned n)
{
    g_assert_cmpuint(got->len, ==, n);
    for (unsigned i = 0; i < n; i++) {
        g_assert_true(is_segment(got->pdata[i], from + i));
    }
    g_ptr_array_set_size(got, 0);
}

typedef struct Two {
    Net net;
    User *a, *b;
} Two;

static void two_init(Two *t)
{
    net_init(&t->net, IPVLAN_L2, IPVLAN_BRIDGE);
    t->a = net_owner(&t->net, A4);
    t->b = net_owner(&t->net, B4);
    link_set_offloads(t->a->link, 0);
    link_set_offloads(t->b->link, 0);
    link_set_offloads(t->net.wire.link, 0);
}

static Frame *sibling_frame(void)
{
    return segments(port_mac, port_mac, A4, B4);
}

static Frame *out_frame(const char *sip)
{
    return segments(gateway_mac, port_mac, sip, FAR4);
}

static Frame *small_frame(const char *sip)
{
    return udp(gateway_mac, port_mac, sip, FAR4);
}

/* --- towards a user ------------------------------------------------------- */

static void test_rx_cut(void)
{
    Two t;

    two_init(&t);
    user_send(t.a, sibling_frame());
    assert_segments(t.b->got, 0, SEGMENTS);
    g_assert_cmpuint(t.b->link->stats.rx_packets, ==, SEGMENTS);
    net_fini(&t.net);
}

static void test_rx_whole(void)
{
    Two t;

    two_init(&t);
    link_set_offloads(t.b->link, OFFLOAD_CSUM | OFFLOAD_TSO4);
    user_send(t.a, sibling_frame());
    g_assert_cmpuint(t.b->got->len, ==, 1);
    assert_got(t.b, sibling_frame());
    net_fini(&t.net);
}

/* Segments go in as there is room, and what comes later does not overtake. */
static void test_rx_resume(void)
{
    Two t;

    two_init(&t);
    t.b->room = 3;
    user_send(t.a, sibling_frame());
    assert_segments(t.b->got, 0, 3);
    user_send(t.a, udp(port_mac, port_mac, A4, B4));
    g_assert_cmpuint(link_rx_waiting(t.b->link), ==, 2);
    user_make_room(t.b, 5);
    clock_run_pending();
    assert_segments(t.b->got, 3, 5);
    user_make_room(t.b, 2);
    clock_run_pending();
    assert_segments(t.b->got, 8, 2);
    user_make_room(t.b, NO_LIMIT);
    clock_run_pending();
    assert_got(t.b, udp(port_mac, port_mac, A4, B4));
    g_assert_cmpuint(link_stats_drops(&t.b->link->stats), ==, 0);
    net_fini(&t.net);
}

/* Behind others in the queue from the start. */
static void test_rx_queued(void)
{
    Two t;

    two_init(&t);
    t.b->room = 0;
    user_send(t.a, udp(port_mac, port_mac, A4, B4));
    user_send(t.a, sibling_frame());
    user_make_room(t.b, 5);
    clock_run_pending();
    frame_free(user_take(t.b));
    assert_segments(t.b->got, 0, 4);
    user_make_room(t.b, NO_LIMIT);
    clock_run_pending();
    assert_segments(t.b->got, 4, 6);
    net_fini(&t.net);
}

/* The guest begins to take whole segments when half of one is there. */
static void test_rx_offloads_change(void)
{
    Two t;

    two_init(&t);
    t.b->room = 4;
    user_send(t.a, sibling_frame());
    user_send(t.a, sibling_frame());
    link_set_offloads(t.b->link, OFFLOAD_ALL);
    user_make_room(t.b, NO_LIMIT);
    clock_run_pending();
    g_assert_cmpuint(t.b->got->len, ==, 11);
    assert_same(g_ptr_array_steal_index(t.b->got, 10), sibling_frame());
    for (unsigned i = 0; i < SEGMENTS; i++) {
        g_assert_cmpuint(frame_get16(t.b->got->pdata[i], HEADERS), ==, i);
        g_assert_true(frame_checksum_ok(t.b->got->pdata[i]));
    }
    g_ptr_array_set_size(t.b->got, 0);
    net_fini(&t.net);
}

/* One of several queues is busy, and then there is only one. */
static void test_rx_steer(void)
{
    Two t;

    two_init(&t);
    link_set_queues(t.b->link, 4);
    t.b->room = 3;
    user_send(t.a, sibling_frame());
    link_set_queues(t.b->link, 1);
    t.b->room = NO_LIMIT;
    user_make_room(t.b, NO_LIMIT);
    clock_run_pending();
    assert_segments(t.b->got, 0, SEGMENTS);
    net_fini(&t.net);
}

/* Nobody else's copy of a broadcast is shorter for one who got busy. */
static void test_rx_many(void)
{
    User *c;
    Two t;

    two_init(&t);
    c = net_owner(&t.net, "10.0.0.3");
    link_set_offloads(c->link, 0);
    t.b->room = 3;
    wire_receive(&t.net.wire, segments(mac_broadcast, gateway_mac, FAR4,
                                       "10.0.0.255"));
    clock_run_pending();
    assert_segments(t.a->got, 0, SEGMENTS);
    assert_segments(t.b->got, 0, 3);
    assert_segments(c->got, 0, SEGMENTS);
    user_make_room(t.b, NO_LIMIT);
    clock_run_pending();
    assert_segments(t.b->got, 3, SEGMENTS - 3);
    net_fini(&t.net);
}

/* --- towards the wire ----------------------------------------------------- */

static void test_tx_cut(void)
{
    Two t;

    two_init(&t);
    g_assert_cmpint(user_send(t.a, out_frame(A4)), ==, LINK_TX_OK);
    assert_segments(t.net.wire.sent, 0, SEGMENTS);
    g_assert_cmpuint(t.a->link->stats.tx_packets, ==, 1);
    net_fini(&t.net);
}

/* Nothing of it is gone: the sender keeps all of it. */
static void test_tx_refused(void)
{
    Two t;

    two_init(&t);
    t.net.wire.room = 0;
    g_assert_cmpint(user_send(t.a, out_frame(A4)), ==, LINK_TX_BUSY);
    wire_make_room(&t.net.wire, NO_LIMIT);
    assert_segments(t.net.wire.sent, 0, SEGMENTS);
    net_fini(&t.net);
}

/*
 * The wire gets busy in the middle: the sender is rid of it, the rest goes
 * first when there is room, and who came meanwhile waits.
 */
static void test_tx_rest(void)
{
    Two t;

    two_init(&t);
    t.net.wire.room = 4;
    g_assert_cmpint(user_send(t.a, out_frame(A4)), ==, LINK_TX_OK);
    assert_segments(t.net.wire.sent, 0, 4);
    t.net.wire.room = 1;        /* there is, but nobody knows yet */
    g_assert_cmpint(user_send(t.b, small_frame(B4)), ==, LINK_TX_BUSY);
    g_assert_cmpint(user_send(t.a, small_frame(A4)), ==, LINK_TX_BUSY);
    wire_make_room(&t.net.wire, 5);
    assert_segments(t.net.wire.sent, 4, 5);
    wire_make_room(&t.net.wire, 2);
    g_assert_cmpuint(t.net.wire.sent->len, ==, 2);
    g_assert_true(is_segment(t.net.wire.sent->pdata[0], 9));
    frame_free(wire_take(&t.net.wire));
    assert_sent(&t.net.wire, small_frame(B4));
    wire_make_room(&t.net.wire, NO_LIMIT);
    assert_sent(&t.net.wire, small_frame(A4));
    net_fini(&t.net);
}

/* Room for one frame at a time: nothing is lost, nothing comes twice. */
static void test_tx_trickle(void)
{
    unsigned n = 0;
    Two t;

    two_init(&t);
    t.net.wire.room = 0;
    for (unsigned i = 0; i < 20; i++) {
        user_send(t.a, out_frame(A4));
        user_send(t.b, out_frame(B4));
    }
    for (unsigned i = 0; i < 40 * SEGMENTS; i++, n++) {
        g_autoptr(Frame) f = NULL;

        wire_make_room(&t.net.wire, 1);
        g_assert_cmpuint(t.net.wire.sent->len, ==, 1);
        f = wire_take(&t.net.wire);
        g_assert_true(is_segment(f, i % SEGMENTS));
    }
    wire_make_room(&t.net.wire, NO_LIMIT);
    g_assert_cmpuint(t.net.wire.sent->len, ==, 0);
    g_assert_cmpuint(t.a->link->stats.tx_packets, ==, 20);
    g_assert_cmpuint(t.b->link->stats.tx_packets, ==, 20);
    net_fini(&t.net);
}

static void test_tx_rest_down(void)
{
    Two t;

    two_init(&t);
    t.net.wire.room = 4;
    user_send(t.a, out_frame(A4));
    assert_segments(t.net.wire.sent, 0, 4);
    link_set_carrier(t.net.wire.link, false);
    assert_drops(t.net.wire.link, LINK_DOWN, 1);
    link_set_carrier(t.net.wire.link, true);
    t.net.wire.room = NO_LIMIT;
    g_assert_cmpint(user_send(t.a, small_frame(A4)), ==, LINK_TX_OK);
    assert_sent(&t.net.wire, small_frame(A4));
    net_fini(&t.net);
}

static void test_tx_rest_deleted(void)
{
    Two t;

    two_init(&t);
    t.net.wire.room = 4;
    user_send(t.a, out_frame(A4));
    net_clear(&t.net);
    net_del(t.a);
    net_del(t.b);
    trace_reset();
    net_fini(&t.net);
    g_assert_cmpuint(trace_count(LINK_EVENT_DROP, NULL), ==, 1);
}

/* A rest holds up its own queue, and no other. */
static void test_tx_rest_queues(void)
{
    unsigned others = 0;
    Two t;

    two_init(&t);
    link_set_queues(t.net.wire.link, 4);
    t.net.wire.room = 4;
    user_send(t.a, out_frame(A4));
    t.net.wire.room = NO_LIMIT;
    net_clear(&t.net);
    for (unsigned i = 0; i < 16; i++) {
        Frame *f = frame_udp(gateway_mac, port_mac, B4, FAR4, 2000 + i, 53,
                             100);

        others += user_send(t.b, f) == LINK_TX_OK;
    }
    g_assert_cmpuint(others, >, 0);
    g_assert_cmpuint(others, <, 16);
    g_assert_cmpuint(t.net.wire.sent->len, ==, others);
    net_clear(&t.net);
    link_set_queues(t.net.wire.link, 1);        /* which also asks again */
    g_assert_cmpuint(t.net.wire.sent->len, ==, SEGMENTS - 4 + 16 - others);
    for (unsigned i = 4; i < SEGMENTS; i++) {
        g_autoptr(Frame) f = wire_take(&t.net.wire);

        g_assert_true(is_segment(f, i));
    }
    net_clear(&t.net);
    net_fini(&t.net);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/pieces/rx/cut", test_rx_cut);
    g_test_add_func("/pieces/rx/whole", test_rx_whole);
    g_test_add_func("/pieces/rx/resume", test_rx_resume);
    g_test_add_func("/pieces/rx/queued", test_rx_queued);
    g_test_add_func("/pieces/rx/offloads-change", test_rx_offloads_change);
    g_test_add_func("/pieces/rx/steer", test_rx_steer);
    g_test_add_func("/pieces/rx/many", test_rx_many);
    g_test_add_func("/pieces/tx/cut", test_tx_cut);
    g_test_add_func("/pieces/tx/refused", test_tx_refused);
    g_test_add_func("/pieces/tx/rest", test_tx_rest);
    g_test_add_func("/pieces/tx/trickle", test_tx_trickle);
    g_test_add_func("/pieces/tx/rest-down", test_tx_rest_down);
    g_test_add_func("/pieces/tx/rest-deleted", test_tx_rest_deleted);
    g_test_add_func("/pieces/tx/rest-queues", test_tx_rest_queues);
    return g_test_run();
}
