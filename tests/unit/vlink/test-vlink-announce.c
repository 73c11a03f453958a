/*
 * libvlink: telling the uplink where addresses are
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"

static const uint8_t all_nodes_mac[] = { 0x33, 0x33, 0, 0, 0, 1 };

/* Two learners on an uplink that has forgotten what it saw. */
static void start(Net *net, IpvlanMode mode)
{
    net_init(net, mode, IPVLAN_BRIDGE);
    net_learner(net);
    net_learner(net);
    user_send(&net->user[0], arp_announce(net->user[0].mac, "192.0.2.10"));
    user_send(&net->user[1], arp_announce(net->user[1].mac, "192.0.2.11"));
    clock_run_pending();
    net_clear(net);
}

static Frame *advert(const char *addr, uint8_t flags)
{
    Frame *f = frame_nd(all_nodes_mac, port_mac, addr, "ff02::1", 136, addr,
                        2, port_mac);

    return frame_checksum(frame_set8(f, 14 + 40 + 4, flags));
}

static void announce(Net *net, unsigned user)
{
    link_announce(net->user[user].link);
    clock_run_pending();
}

/* RFC 5227, section 3; and of its own addresses only. */
static void test_arp(void)
{
    Net net;

    start(&net, IPVLAN_L2_MACNAT);
    announce(&net, 0);
    assert_sent(&net.wire, arp_announce(port_mac, "192.0.2.10"));
    net_assert_quiet(&net);
    announce(&net, 1);
    assert_sent(&net.wire, arp_announce(port_mac, "192.0.2.11"));
    net_assert_quiet(&net);
    net_fini(&net);
}

/* RFC 4861, 7.2.6: not solicited, and overriding. */
static void test_nd(void)
{
    User *u;
    Net net;

    start(&net, IPVLAN_L2_MACNAT);
    u = net_add(&net, (IpvlanConfig) {
        .addrs = (IpPrefix[]) { prefix("2001:db8::10") }, .n_addrs = 1,
        .learn = IPVLAN_LEARN_ON,
    });
    announce(&net, 2);
    assert_sent(&net.wire, advert("2001:db8::10", 0x20));
    net_assert_quiet(&net);

    /* Hosts would forget a router that does not say that it is one. */
    user_send(u, nd_router_advert(u->mac, "fe80::10"));
    clock_run_pending();
    net_clear(&net);
    announce(&net, 2);
    assert_same(wire_take(&net.wire), advert("2001:db8::10", 0xa0));
    assert_sent(&net.wire, advert("fe80::10", 0xa0));
    net_assert_quiet(&net);

    /* Another guest need not be one. */
    link_user_changed(u->link);
    announce(&net, 2);
    assert_same(wire_take(&net.wire), advert("2001:db8::10", 0x20));
    assert_sent(&net.wire, advert("fe80::10", 0x20));
    net_assert_quiet(&net);
    net_fini(&net);
}

static void test_prefix(void)
{
    Net net;

    start(&net, IPVLAN_L2_MACNAT);
    net_owner(&net, "198.51.100.0/24");
    announce(&net, 2);
    net_assert_quiet(&net);
    net_fini(&net);
}

/* In l3 it is the port that answers, so the port announces. */
static void test_l3(void)
{
    Net net;

    net_init(&net, IPVLAN_L3, IPVLAN_BRIDGE);
    net_owner(&net, "192.0.2.10");
    net_clear(&net);
    announce(&net, 0);
    assert_sent(&net.wire, arp_announce(port_mac, "192.0.2.10"));
    net_assert_quiet(&net);
    net_fini(&net);
}

static void test_l3_silent(void)
{
    Net net;

    net_init(&net, IPVLAN_L3, IPVLAN_BRIDGE);
    net_add(&net, (IpvlanConfig) {
        .addrs = (IpPrefix[]) { prefix("192.0.2.10") }, .n_addrs = 1,
        .proxy_arp = &(bool) { false }, .learn = IPVLAN_LEARN_OFF,
    });
    net_clear(&net);
    announce(&net, 0);
    net_assert_quiet(&net);
    net_fini(&net);
}

/* None is lost to a busy uplink, and none is sent twice. */
static void test_busy(void)
{
    Net net;

    start(&net, IPVLAN_L2_MACNAT);
    net.wire.room = 0;
    announce(&net, 0);
    announce(&net, 0);
    announce(&net, 1);
    net_assert_quiet(&net);
    wire_make_room(&net.wire, 1);
    clock_run_pending();
    assert_sent(&net.wire, arp_announce(port_mac, "192.0.2.10"));
    net_assert_quiet(&net);
    wire_make_room(&net.wire, NO_LIMIT);
    clock_run_pending();
    assert_sent(&net.wire, arp_announce(port_mac, "192.0.2.11"));
    net_assert_quiet(&net);
    net_fini(&net);
}

/* What goes meanwhile is not announced: an address, a slave, the port. */
static void test_gone(void)
{
    IpPrefix addr = prefix("192.0.2.10");
    Net net;

    start(&net, IPVLAN_L2_MACNAT);
    net.wire.room = 0;
    announce(&net, 0);
    announce(&net, 1);
    ipvlan_addr_del(net.user[0].link, &addr, NULL);
    net_del(&net.user[1]);
    wire_make_room(&net.wire, NO_LIMIT);
    clock_run_pending();
    net_assert_quiet(&net);
    net.wire.room = 0;
    announce(&net, 0);
    net_fini(&net);
}

/* As many as there are, without holding up the loop. */
static void test_many(void)
{
    enum { N = 1000 };
    IpPrefix *addrs = g_new(IpPrefix, N);
    unsigned rounds = 0;
    Net net;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    for (unsigned i = 0; i < N; i++) {
        g_autofree char *text = g_strdup_printf("10.0.%u.%u", i / 250,
                                                i % 250 + 1);

        addrs[i] = prefix(text);
    }
    net_add(&net, (IpvlanConfig) {
        .addrs = addrs, .n_addrs = N, .learn = IPVLAN_LEARN_OFF,
    });
    link_announce(net.user[0].link);
    while (clock_run_one()) {
        rounds++;
    }
    g_assert_cmpuint(net.wire.sent->len, ==, N);
    g_assert_cmpuint(rounds, >, N / POLL_BUDGET);
    net_clear(&net);
    net_fini(&net);
    g_free(addrs);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/vlink/announce/arp", test_arp);
    g_test_add_func("/vlink/announce/nd", test_nd);
    g_test_add_func("/vlink/announce/prefix", test_prefix);
    g_test_add_func("/vlink/announce/l3", test_l3);
    g_test_add_func("/vlink/announce/l3-silent", test_l3_silent);
    g_test_add_func("/vlink/announce/busy", test_busy);
    g_test_add_func("/vlink/announce/gone", test_gone);
    g_test_add_func("/vlink/announce/many", test_many);
    return g_test_run();
}
