/*
 * libvlink: when what is put together arrives
 *
 * What is put together with what is test-vlink-coalesce's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "libvlink/offload.h"

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define FAR4 "10.9.9.9"
#define LEN 1000
#define HEADERS 54

static const uint8_t far_mac[] = { 0x52, 0x54, 0, 0, 0, 0xf };

/* Segment number @n of the flow to port @flow; @flags of TCP. */
static Frame *segment(const char *dip, unsigned flow, unsigned n,
                      uint8_t flags)
{
    Frame *f = frame_tcp(port_mac, far_mac, FAR4, dip, LEN);

    frame_set16(f, 18, n);      /* identification */
    frame_set16(f, 36, flow);
    frame_set16(f, 38, n * LEN >> 16);
    frame_set16(f, 40, n * LEN);
    frame_set8(f, 47, flags);
    frame_set16(f, HEADERS, n);
    return frame_checksum(f);
}

#define ACK 0x10
#define PSH 0x18

typedef struct Two {
    Net net;
    User *a, *b;
} Two;

static void two_init(Two *t)
{
    net_init(&t->net, IPVLAN_L2, IPVLAN_BRIDGE);
    t->a = net_owner(&t->net, A4);
    t->b = net_owner(&t->net, B4);
}

static void two_fini(Two *t)
{
    net_clear(&t->net);
    net_fini(&t->net);
}

/* [@from, @from + @n) of @flow to @t->a */
static void receive(Two *t, unsigned flow, unsigned from, unsigned n)
{
    for (unsigned i = from; i < from + n; i++) {
        wire_receive(&t->net.wire, segment(A4, flow, i, ACK));
    }
}

/* The oldest that @u got is [@from, @from + @n), in one; taken. */
static void assert_merged(User *u, unsigned from, unsigned n)
{
    g_autoptr(Frame) f = user_take(u);

    g_assert_cmpuint(f->len, ==, HEADERS + n * LEN);
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmpuint(frame_get16(f, HEADERS + i * LEN), ==, from + i);
    }
    g_assert_cmpint(f->vnet.gso_type, ==,
                    n > 1 ? PACKET_GSO_TCPV4 : PACKET_GSO_NONE);
}

/* In one, and not later than when the loop comes round. */
static void test_next_round(void)
{
    int64_t now = clock_now();
    Two t;

    two_init(&t);
    receive(&t, 80, 0, 5);
    g_assert_cmpuint(t.a->got->len, ==, 0);
    g_assert_true(clock_run_one());
    g_assert_cmpint(clock_now(), ==, now);
    g_assert_cmpuint(t.a->got->len, ==, 1);
    assert_merged(t.a, 0, 5);
    g_assert_false(clock_run_one());
    g_assert_cmpuint(t.a->link->stats.rx_packets, ==, 1);
    two_fini(&t);
}

/* For each user what it takes. */
static void test_cannot(void)
{
    Two t;

    two_init(&t);
    link_set_offloads(t.a->link, OFFLOAD_CSUM);
    receive(&t, 80, 0, 5);
    g_assert_cmpuint(t.a->got->len, ==, 5);
    link_set_offloads(t.a->link, OFFLOAD_TSO4);
    receive(&t, 80, 5, 5);
    g_assert_cmpuint(t.a->got->len, ==, 10);
    link_set_offloads(t.a->link, OFFLOAD_CSUM | OFFLOAD_TSO6);
    receive(&t, 80, 10, 5);
    g_assert_cmpuint(t.a->got->len, ==, 15);
    two_fini(&t);
}

/* Nothing else waits with them. */
static void test_others(void)
{
    Two t;

    two_init(&t);
    receive(&t, 80, 0, 2);
    wire_receive(&t.net.wire, udp(port_mac, far_mac, FAR4, A4));
    assert_got(t.a, udp(port_mac, far_mac, FAR4, A4));
    wire_receive(&t.net.wire, segment(B4, 80, 0, PSH));
    g_assert_cmpuint(t.b->got->len, ==, 1);
    clock_run_pending();
    assert_merged(t.a, 0, 2);
    two_fini(&t);
}

/* What is not for merging does not overtake what was kept of its flow. */
static void test_order(void)
{
    Two t;

    two_init(&t);
    receive(&t, 80, 0, 3);
    receive(&t, 80, 7, 1);      /* not the next one */
    g_assert_cmpuint(t.a->got->len, ==, 1);
    assert_merged(t.a, 0, 3);
    wire_receive(&t.net.wire, segment(A4, 80, 8, PSH));
    assert_merged(t.a, 7, 2);
    wire_receive(&t.net.wire, frame_fragment(segment(A4, 80, 9, ACK), 0,
                                             true));
    g_assert_cmpuint(t.a->got->len, ==, 1);
    two_fini(&t);
}

/* Nor does what comes with a virtio-net header. */
static void test_order_header(void)
{
    Frame *f = segment(A4, 80, 2, ACK);
    Two t;

    two_init(&t);
    f->has_vnet = true;
    receive(&t, 80, 0, 2);
    wire_receive(&t.net.wire, f);
    clock_run_pending();
    assert_merged(t.a, 0, 3);
    f = segment(A4, 80, 3, ACK);
    f->has_vnet = true;
    wire_receive(&t.net.wire, f);
    g_assert_cmpuint(t.a->got->len, ==, 1);     /* at once */
    two_fini(&t);
}

/* The user is busy: they wait where all others do. */
static void test_busy(void)
{
    Two t;

    two_init(&t);
    t.a->room = 0;
    receive(&t, 80, 0, 4);
    clock_run_pending();
    receive(&t, 80, 4, 4);
    clock_run_pending();
    g_assert_cmpuint(link_rx_waiting(t.a->link), ==, 2);
    user_make_room(t.a, NO_LIMIT);
    clock_run_pending();
    assert_merged(t.a, 0, 4);
    assert_merged(t.a, 4, 4);
    two_fini(&t);
}

/* Each flow in its queue. */
static void test_queues(void)
{
    Two t;

    two_init(&t);
    link_set_queues(t.a->link, 4);
    for (unsigned n = 0; n < 3; n++) {
        for (unsigned flow = 1; flow <= 8; flow++) {
            receive(&t, flow, n, 1);
        }
    }
    clock_run_pending();
    g_assert_cmpuint(t.a->got->len, ==, 8);
    g_assert_cmpuint(t.a->got_in[0], <, 8);
    while (t.a->got->len) {
        assert_merged(t.a, 0, 3);
    }
    two_fini(&t);
}

/* The guest takes them no longer when they are put together already. */
static void test_offloads_go(void)
{
    Two t;

    two_init(&t);
    t.a->room = 0;
    receive(&t, 80, 0, 4);
    clock_run_pending();
    receive(&t, 80, 4, 4);
    link_set_offloads(t.a->link, 0);
    receive(&t, 80, 8, 1);
    user_make_room(t.a, NO_LIMIT);
    clock_run_pending();
    g_assert_cmpuint(t.a->got->len, ==, 9);
    for (unsigned i = 0; i < 9; i++) {
        g_assert_true(frame_checksum_ok(t.a->got->pdata[0]));
        assert_merged(t.a, i, 1);
    }
    two_fini(&t);
}

static void test_broadcast(void)
{
    Two t;

    two_init(&t);
    for (unsigned i = 0; i < 3; i++) {
        wire_receive(&t.net.wire, frame_set_mac_dst(segment(FAR4, 80, i, ACK),
                                                    mac_broadcast));
    }
    clock_run_pending();
    g_assert_cmpuint(t.a->got->len, ==, 3);
    g_assert_cmpuint(t.b->got->len, ==, 3);
    two_fini(&t);
}

static void test_down(void)
{
    Two t;

    two_init(&t);
    receive(&t, 80, 0, 3);
    link_set_admin(t.a->link, false);
    clock_run_pending();
    g_assert_cmpuint(t.a->link->stats.rx_packets +
                     t.a->link->stats.drops[DROP_LINK_DOWN], ==, 1);
    two_fini(&t);
}

static void test_new_user(void)
{
    User next;
    Two t;

    two_init(&t);
    receive(&t, 80, 0, 3);
    user_init(&next, t.a->link);
    clock_run_pending();
    g_assert_cmpuint(t.a->got->len, ==, 1);
    g_assert_cmpuint(next.got->len, ==, 0);
    link_set_user(t.a->link, NULL, NULL);
    receive(&t, 80, 3, 3);
    assert_drops(t.a->link, NO_RECEIVER, 3);
    user_fini(&next);
    two_fini(&t);
}

static void test_deleted(void)
{
    Two t;

    two_init(&t);
    receive(&t, 80, 0, 3);
    net_del(t.a);
    clock_run_pending();
    two_fini(&t);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/merge/next-round", test_next_round);
    g_test_add_func("/merge/cannot", test_cannot);
    g_test_add_func("/merge/others", test_others);
    g_test_add_func("/merge/order", test_order);
    g_test_add_func("/merge/order-header", test_order_header);
    g_test_add_func("/merge/busy", test_busy);
    g_test_add_func("/merge/queues", test_queues);
    g_test_add_func("/merge/offloads-go", test_offloads_go);
    g_test_add_func("/merge/broadcast", test_broadcast);
    g_test_add_func("/merge/down", test_down);
    g_test_add_func("/merge/new-user", test_new_user);
    g_test_add_func("/merge/deleted", test_deleted);
    return g_test_run();
}
