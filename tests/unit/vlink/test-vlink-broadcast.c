/*
 * libvlink: broadcast is deferred, bounded and fair
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define C4 "10.0.0.3"
#define D4 "10.0.0.4"
#define FAR4 "192.0.2.9"
#define ALL4 "10.0.0.255"

typedef struct Four {
    Net net;
    User *a, *b, *c, *d;
} Four;

static void four_init(Four *q)
{
    net_init(&q->net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    q->a = net_owner(&q->net, A4);
    q->b = net_owner(&q->net, B4);
    q->c = net_owner(&q->net, C4);
    q->d = net_owner(&q->net, D4);
}

static void four_fini(Four *q)
{
    net_assert_quiet(&q->net);
    net_fini(&q->net);
}

static void shout(User *u, const char *sip, unsigned n)
{
    while (n--) {
        user_send(u, udp(mac_broadcast, u->mac, sip, ALL4));
    }
}

static unsigned backlog(Net *net)
{
    IpvlanPortInfo info;

    g_assert_true(ipvlan_port_info(net->wire.link, &info));
    return info.backlog;
}

/* Frames of @u's that came from @sip. */
static unsigned got_from(const User *u, const char *sip)
{
    IpAddr src = ip(sip);
    unsigned n = 0;

    for (unsigned i = 0; i < u->got->len; i++) {
        const Frame *f = u->got->pdata[i];

        n += !memcmp(f->data + 26, src.b, 4);
    }
    return n;
}

static void test_deferred(void)
{
    Four q;

    four_init(&q);
    shout(q.a, A4, 3);
    g_assert_cmpuint(backlog(&q.net), ==, 3);
    g_assert_cmpuint(q.b->got->len, ==, 0);
    g_assert_cmpuint(q.net.wire.sent->len, ==, 3);
    g_assert_cmpuint(trace_count(LINK_EVENT_DEFER, NULL), ==, 3);
    clock_run_pending();
    g_assert_cmpuint(backlog(&q.net), ==, 0);
    g_assert_cmpuint(q.b->got->len, ==, 3);
    g_assert_cmpuint(q.d->got->len, ==, 3);
    g_assert_cmpuint(q.a->got->len, ==, 0);
    g_assert_cmpuint(q.b->link->stats.rx_packets, ==, 3);
    net_clear(&q.net);
    four_fini(&q);
}

/* What came from a wire goes with it; what guests say to each other stays. */
static void test_link_down(void)
{
    Four q;

    four_init(&q);
    shout(q.a, A4, 1);
    for (int i = 0; i < 3; i++) {
        wire_receive(&q.net.wire, udp(mac_broadcast, gateway_mac, FAR4, ALL4));
    }
    link_set_carrier(q.net.wire.link, false);
    g_assert_cmpuint(backlog(&q.net), ==, 1);
    assert_drops(q.net.wire.link, LINK_DOWN, 3);
    link_set_carrier(q.net.wire.link, true);
    clock_run_pending();
    g_assert_cmpuint(got_from(q.b, A4), ==, 1);
    g_assert_cmpuint(q.b->got->len, ==, 1);
    net_clear(&q.net);
    four_fini(&q);
}

/* Nobody is there to hear it: nothing waits. */
static void test_alone(void)
{
    Net net;
    User *u;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    u = net_owner(&net, A4);
    shout(u, A4, 1);
    g_assert_cmpuint(backlog(&net), ==, 0);
    g_assert_cmpuint(net.wire.sent->len, ==, 1);
    net_clear(&net);
    net_fini(&net);
}

static void test_bound(void)
{
    Four q;

    four_init(&q);
    shout(q.a, A4, 1005);
    g_assert_cmpuint(backlog(&q.net), ==, IPVLAN_BACKLOG);
    assert_drops(q.a->link, BACKLOG, 5);
    /* the uplink's copies went out before */
    g_assert_cmpuint(q.net.wire.sent->len, ==, 1005);
    clock_run_pending();
    g_assert_cmpuint(q.b->got->len, ==, 1000);
    net_clear(&q.net);
    four_fini(&q);
}

static void test_bound_uplink(void)
{
    Four q;

    four_init(&q);
    for (int i = 0; i < 1005; i++) {
        wire_receive(&q.net.wire, udp(mac_broadcast, gateway_mac, FAR4,
                                      ALL4));
    }
    g_assert_cmpuint(backlog(&q.net), ==, IPVLAN_BACKLOG);
    assert_drops(q.net.wire.link, BACKLOG, 5);
    net_clear(&q.net);
    four_fini(&q);
}

/* The storm loses its youngest frame to make room, not the sibling. */
static void test_storm(void)
{
    Four q;

    four_init(&q);
    shout(q.a, A4, 3000);
    shout(q.b, B4, 10);
    wire_receive(&q.net.wire, udp(mac_broadcast, gateway_mac, FAR4, ALL4));
    shout(q.a, A4, 100);
    assert_drops(q.b->link, BACKLOG, 0);
    assert_drops(q.net.wire.link, BACKLOG, 0);
    assert_drops(q.a->link, BACKLOG, 2000 + 11 + 100);
    g_assert_cmpuint(backlog(&q.net), ==, IPVLAN_BACKLOG);
    clock_run_pending();
    g_assert_cmpuint(got_from(q.c, B4), ==, 10);
    g_assert_cmpuint(got_from(q.c, FAR4), ==, 1);
    g_assert_cmpuint(got_from(q.c, A4), ==, 989);
    net_clear(&q.net);
    four_fini(&q);
}

/* It does so wherever it stands among those who have something there. */
static void test_storm_of_another(void)
{
    Four q;

    four_init(&q);
    shout(q.a, A4, 10);
    shout(q.b, B4, IPVLAN_BACKLOG - 20);
    shout(q.c, C4, 10);
    shout(q.a, A4, 3);
    shout(q.c, C4, 3);
    assert_drops(q.a->link, BACKLOG, 0);
    assert_drops(q.b->link, BACKLOG, 6);
    assert_drops(q.c->link, BACKLOG, 0);
    clock_run_pending();
    g_assert_cmpuint(got_from(q.d, A4), ==, 13);
    g_assert_cmpuint(got_from(q.d, B4), ==, IPVLAN_BACKLOG - 26);
    g_assert_cmpuint(got_from(q.d, C4), ==, 13);
    net_clear(&q.net);
    four_fini(&q);
}

/* Two storms share the backlog, and the quiet one has its place. */
static void test_two_storms(void)
{
    Four q;

    four_init(&q);
    shout(q.a, A4, 1000);
    shout(q.b, B4, 1000);
    shout(q.c, C4, 5);
    clock_run_pending();
    g_assert_cmpuint(got_from(q.d, C4), ==, 5);
    g_assert_cmpuint(got_from(q.d, B4), >=, 490);
    g_assert_cmpuint(got_from(q.d, A4), >=, 490);
    net_clear(&q.net);
    four_fini(&q);
}

/* A sibling is served in the first round, behind one turn of the storm. */
static void test_storm_turns(void)
{
    Four q;

    four_init(&q);
    shout(q.a, A4, 1000);
    shout(q.b, B4, 1);
    g_assert_true(clock_run_one());
    g_assert_cmpuint(got_from(q.c, B4), ==, 1);
    g_assert_cmpuint(got_from(q.c, A4), <=, POLL_WEIGHT);
    net_clear(&q.net);
    four_fini(&q);
}

static void test_storm_unicast(void)
{
    Four q;

    four_init(&q);
    user_send(q.b, udp(gateway_mac, q.b->mac, B4, FAR4));
    user_send(q.c, udp(gateway_mac, q.c->mac, C4, FAR4));
    net_clear(&q.net);
    shout(q.a, A4, 1000);
    g_ptr_array_set_size(q.net.wire.sent, 0);
    user_send(q.b, udp(q.c->mac, q.b->mac, B4, C4));
    assert_got(q.c, udp(q.c->mac, q.b->mac, B4, C4));
    wire_receive(&q.net.wire, udp(port_mac, gateway_mac, FAR4, B4));
    assert_got(q.b, udp(q.b->mac, gateway_mac, FAR4, B4));
    user_send(q.b, udp(gateway_mac, q.b->mac, B4, FAR4));
    assert_sent(&q.net.wire, udp(gateway_mac, port_mac, B4, FAR4));
    net_clear(&q.net);
    four_fini(&q);
}

/* Deliveries count: with three receivers, 22 frames are a turn. */
static void test_budget(void)
{
    Four q;

    four_init(&q);
    shout(q.a, A4, 100);
    g_assert_true(clock_run_one());
    g_assert_cmpuint(q.b->got->len, ==, 22);
    g_assert_cmpuint(q.d->got->len, ==, 22);
    g_assert_cmpuint(backlog(&q.net), ==, 78);
    g_assert_true(clock_run_one());
    g_assert_cmpuint(q.b->got->len, ==, 44);
    net_clear(&q.net);
    four_fini(&q);
}

static unsigned deliveries(Net *net)
{
    unsigned n = 0;

    for (unsigned i = 0; i < net->n; i++) {
        n += net->user[i].got->len;
    }
    return n;
}

/* All shout: a round is 300 deliveries, and at most one fan-out more. */
static void test_budget_round(void)
{
    static const char *const addrs[] = {
        "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4",
        "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8",
    };
    Net net;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    for (unsigned i = 0; i < NET_USERS; i++) {
        net_owner(&net, addrs[i]);
    }
    for (unsigned i = 0; i < NET_USERS; i++) {
        shout(&net.user[i], addrs[i], 50);
    }
    g_assert_true(clock_run_one());
    g_assert_cmpuint(deliveries(&net), >=, POLL_BUDGET);
    g_assert_cmpuint(deliveries(&net), <, POLL_BUDGET + 5 * NET_USERS);
    clock_run_pending();
    g_assert_cmpuint(deliveries(&net), ==, 50 * 8 * 7);
    net_clear(&net);
    net_fini(&net);
}

/* Frames that nobody wants cost something, too. */
static void test_budget_unwanted(void)
{
    static const uint8_t group[] = { 1, 0, 0x5e, 0, 0, 9 };
    Four q;

    four_init(&q);
    q.b->filters = q.c->filters = q.d->filters = true;
    for (int i = 0; i < 100; i++) {
        user_send(q.a, udp(group, q.a->mac, A4, "224.0.0.9"));
    }
    g_assert_true(clock_run_one());
    g_assert_cmpuint(backlog(&q.net), ==, 100 - POLL_WEIGHT);
    g_assert_cmpuint(q.b->got->len, ==, 0);
    net_clear(&q.net);
    four_fini(&q);
}

/*
 * One slow guest's copies wait in its own queue, in one half of it: there is
 * room for unicast, and for the request that is broadcast but for it alone.
 */
static void test_slow_receiver(void)
{
    Four q;

    four_init(&q);
    link_set_rx_queue(q.b->link, 5);
    q.b->room = 0;
    shout(q.a, A4, 10);
    clock_run_pending();
    g_assert_cmpuint(q.c->got->len, ==, 10);
    assert_drops(q.b->link, RX_QUEUE, 7);
    user_send(q.a, udp(port_mac, q.a->mac, A4, B4));
    user_send(q.a, arp_request(q.a->mac, A4, B4));
    assert_drops(q.b->link, RX_QUEUE, 7);
    user_make_room(q.b, NO_LIMIT);
    clock_run_pending();
    g_assert_cmpuint(q.b->got->len, ==, 5);
    net_clear(&q.net);
    four_fini(&q);
}

/* What a slave has said goes with it, and its place in the backlog. */
static void test_source_goes(void)
{
    Four q;

    four_init(&q);
    shout(q.a, A4, 600);
    shout(q.b, B4, 100);
    net_del(q.a);
    g_assert_cmpuint(backlog(&q.net), ==, 100);
    clock_run_pending();
    g_assert_cmpuint(got_from(q.c, B4), ==, 100);
    g_assert_cmpuint(got_from(q.c, A4), ==, 0);
    net_clear(&q.net);
    four_fini(&q);
}

static void test_port_goes(void)
{
    Four q;

    four_init(&q);
    shout(q.a, A4, 100);
    wire_receive(&q.net.wire, udp(mac_broadcast, gateway_mac, FAR4, ALL4));
    net_del(q.b);
    net_del(q.c);
    net_del(q.d);
    net_del(q.a);
    clock_run_pending();
    net_fini(&q.net);
}

/* The sender's memory is its own once the call returns. */
static void test_held(void)
{
    Frame *f;
    Four q;

    four_init(&q);
    f = frame_udp(mac_broadcast, q.a->mac, A4, ALL4, 1, 2, 1400);
    user_send(q.a, frame_dup(f));       /* freed in there */
    clock_run_pending();
    assert_got(q.b, frame_dup(f));
    assert_got(q.c, frame_dup(f));
    assert_got(q.d, f);
    net_clear(&q.net);
    four_fini(&q);
}

/* The header that goes with a frame comes with every copy of it. */
static void test_vnet(void)
{
    Frame *f;
    Four q;

    four_init(&q);
    f = frame_partial(udp(mac_broadcast, q.a->mac, A4, ALL4));
    user_send(q.a, f);
    clock_run_pending();
    for (User *u = q.b; u <= q.d; u++) {
        g_autoptr(Frame) got = user_take(u);

        g_assert_true(got->has_vnet);
        g_assert_true(frame_checksum_ok(got));
    }
    net_clear(&q.net);
    four_fini(&q);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/broadcast/deferred", test_deferred);
    g_test_add_func("/broadcast/link-down", test_link_down);
    g_test_add_func("/broadcast/alone", test_alone);
    g_test_add_func("/broadcast/bound/slave", test_bound);
    g_test_add_func("/broadcast/bound/uplink", test_bound_uplink);
    g_test_add_func("/broadcast/storm/sibling", test_storm);
    g_test_add_func("/broadcast/storm/another", test_storm_of_another);
    g_test_add_func("/broadcast/storm/two", test_two_storms);
    g_test_add_func("/broadcast/storm/turns", test_storm_turns);
    g_test_add_func("/broadcast/storm/unicast", test_storm_unicast);
    g_test_add_func("/broadcast/budget/turn", test_budget);
    g_test_add_func("/broadcast/budget/round", test_budget_round);
    g_test_add_func("/broadcast/budget/unwanted", test_budget_unwanted);
    g_test_add_func("/broadcast/slow-receiver", test_slow_receiver);
    g_test_add_func("/broadcast/gone/source", test_source_goes);
    g_test_add_func("/broadcast/gone/port", test_port_goes);
    g_test_add_func("/broadcast/held", test_held);
    g_test_add_func("/broadcast/vnet", test_vnet);
    return g_test_run();
}
