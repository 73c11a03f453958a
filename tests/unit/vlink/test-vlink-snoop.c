/*
 * libvlink: learning addresses from what guests send
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define FAR4 "192.0.2.9"
#define A6 "fd00::a"
#define B6 "fd00::b"
#define SECONDS(n) ((n) * NS_PER_S)

typedef struct Pair {
    Net net;
    User *a, *b;
} Pair;

static void pair_init_mode(Pair *p, IpvlanMode mode)
{
    net_init(&p->net, mode, IPVLAN_BRIDGE);
    p->a = net_learner(&p->net);
    p->b = net_learner(&p->net);
}

static void pair_init(Pair *p)
{
    pair_init_mode(p, IPVLAN_L2_MACNAT);
}

static void pair_fini(Pair *p)
{
    net_clear(&p->net);
    net_fini(&p->net);
}

static uint64_t contested(const User *u)
{
    IpvlanSlaveInfo info;

    ipvlan_slave_info(u->link, &info);
    return info.contested;
}

/* Learned, from what, and told to who listens. */
static void check_learned(Pair *p, Frame *f, const char *addr)
{
    IpPrefix wanted = prefix(addr);
    TraceRecord r;

    trace_reset();
    user_send(p->a, f);
    g_assert_true(net_owner_of(&p->net, addr) == p->a);
    g_assert_cmpuint(trace_count(LINK_EVENT_LEARN, &r), ==, 1);
    g_assert_true(r.link == p->a->link);
    g_assert_true(ip_equal(&r.addr.addr, &wanted.addr));
    g_assert_cmpuint(r.addr.len, ==, wanted.len);
}

static void origin_of(const IpvlanAddrInfo *info, void *opaque)
{
    *(IpvlanOrigin *)opaque = info->origin;
}

static IpvlanOrigin last_origin(const User *u)
{
    IpvlanOrigin origin = IPVLAN_ORIGIN_STATIC;

    ipvlan_foreach_addr(u->link, origin_of, &origin);
    return origin;
}

/* --- what is learned ------------------------------------------------------ */

static void test_arp(void)
{
    Pair p;

    pair_init(&p);
    check_learned(&p, arp_request(p.a->mac, A4, FAR4), A4);
    g_assert_cmpint(last_origin(p.a), ==, IPVLAN_ORIGIN_ARP);
    check_learned(&p, arp_reply(gateway_mac, p.a->mac, "10.0.0.3", FAR4),
                  "10.0.0.3");
    check_learned(&p, arp_announce(p.a->mac, "10.0.0.4"), "10.0.0.4");
    g_assert_cmpuint(net_addresses(p.a), ==, 3);
    pair_fini(&p);
}

static void test_arp_probe(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.a, arp_probe(p.a->mac, A4));
    g_assert_cmpuint(net_addresses(p.a), ==, 0);
    pair_fini(&p);
}

static void test_nd(void)
{
    Pair p;

    pair_init(&p);
    check_learned(&p, nd_solicit(p.a->mac, A6, "fd00::1"), A6);
    g_assert_cmpint(last_origin(p.a), ==, IPVLAN_ORIGIN_ND);
    check_learned(&p, nd_advert(gateway_mac, p.a->mac, "fd00::c", "fd00::1"),
                  "fd00::c");
    check_learned(&p, nd_probe(p.a->mac, "fe80::1"), "fe80::1");
    check_learned(&p, nd_router_solicit(p.a->mac, "fe80::2"), "fe80::2");
    g_assert_cmpuint(net_addresses(p.a), ==, 4);
    pair_fini(&p);
}

static void test_ip(void)
{
    Pair p;

    pair_init(&p);
    check_learned(&p, udp(gateway_mac, p.a->mac, A4, FAR4), A4);
    g_assert_cmpint(last_origin(p.a), ==, IPVLAN_ORIGIN_IP);
    check_learned(&p, udp(gateway_mac, p.a->mac, A6, "2001:db8::1"), A6);
    check_learned(&p, frame_fragment(frame_ip(gateway_mac, p.a->mac,
                                              "10.0.0.5", FAR4, 17, 64), 640,
                                     false), "10.0.0.5");
    check_learned(&p, frame_tag(udp(gateway_mac, p.a->mac, "10.0.0.6", FAR4),
                                0x8100, 4), "10.0.0.6");
    pair_fini(&p);
}

static void test_l2(void)
{
    Pair p;

    pair_init_mode(&p, IPVLAN_L2);
    check_learned(&p, arp_announce(port_mac, A4), A4);
    wire_receive(&p.net.wire, udp(port_mac, gateway_mac, FAR4, A4));
    g_assert_cmpuint(p.a->got->len, ==, 1);
    pair_fini(&p);
}

static void test_never(void)
{
    static const char *const v4[] = {
        "0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.1.1",
        "255.255.255.255",
    };
    static const char *const v6[] = { "::", "::1", "ff02::1" };
    Pair p;

    pair_init(&p);
    for (unsigned i = 0; i < G_N_ELEMENTS(v4); i++) {
        user_send(p.a, udp(gateway_mac, p.a->mac, v4[i], FAR4));
        user_send(p.a, arp_request(p.a->mac, v4[i], FAR4));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(v6); i++) {
        user_send(p.a, udp(gateway_mac, p.a->mac, v6[i], "fd00::1"));
        user_send(p.a, nd_probe(p.a->mac, v6[i]));
    }
    g_assert_cmpuint(net_addresses(p.a), ==, 0);
    pair_fini(&p);
}

/* What comes from outside is nobody's here. */
static void test_not_inbound(void)
{
    IpvlanPortInfo info;
    Pair p;

    pair_init(&p);
    wire_receive(&p.net.wire, arp_announce(gateway_mac, "10.0.0.254"));
    wire_receive(&p.net.wire, nd_advert(port_mac, gateway_mac, "fd00::1",
                                        A6));
    g_assert_true(ipvlan_port_info(p.net.wire.link, &info));
    g_assert_cmpuint(info.addresses, ==, 0);
    pair_fini(&p);
}

/* --- whose it is ---------------------------------------------------------- */

static void test_first_come(void)
{
    TraceRecord r;
    Pair p;

    pair_init(&p);
    user_send(p.a, arp_announce(p.a->mac, A4));
    net_clear(&p.net);
    g_assert_cmpint(user_send(p.b, arp_announce(p.b->mac, A4)), ==,
                    LINK_TX_DROPPED);
    g_assert_cmpuint(trace_count(LINK_EVENT_CONTEST, &r), ==, 1);
    g_assert_true(r.link == p.b->link && r.other == p.a->link);
    user_send(p.b, udp(gateway_mac, p.b->mac, A4, FAR4));
    user_send(p.b, nd_advert(gateway_mac, p.b->mac, A6, "fd00::1"));
    net_clear(&p.net);
    user_send(p.a, nd_advert(gateway_mac, p.a->mac, A6, "fd00::1"));
    assert_drops(p.b->link, NOT_OWNED, 2);
    assert_drops(p.a->link, NOT_OWNED, 1);
    g_assert_cmpuint(contested(p.b), ==, 2);
    g_assert_cmpuint(contested(p.a), ==, 1);
    g_assert_true(net_owner_of(&p.net, A4) == p.a);
    g_assert_true(net_owner_of(&p.net, A6) == p.b);
    net_assert_quiet(&p.net);
    pair_fini(&p);
}

/* Asking for an owned address is no crime: its owner defends it. */
static void test_dad_owned(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.a, nd_probe(p.a->mac, A6));
    net_clear(&p.net);
    user_send(p.b, nd_probe(p.b->mac, A6));
    clock_run_pending();
    assert_got(p.a, nd_probe(p.b->mac, A6));
    net_assert_quiet(&p.net);
    g_assert_cmpuint(contested(p.b), ==, 0);
    g_assert_true(net_owner_of(&p.net, A6) == p.a);
    user_send(p.b, arp_probe(p.b->mac, A4));
    user_send(p.a, arp_announce(p.a->mac, A4));
    net_clear(&p.net);
    user_send(p.b, arp_probe(p.b->mac, A4));
    clock_run_pending();
    assert_got(p.a, arp_probe(p.b->mac, A4));
    net_assert_quiet(&p.net);
    pair_fini(&p);
}

static void test_slave_goes(void)
{
    IpvlanPortInfo info;
    Pair p;

    pair_init(&p);
    user_send(p.a, arp_announce(p.a->mac, A4));
    user_send(p.a, nd_probe(p.a->mac, A6));
    net_del(p.a);
    ipvlan_port_info(p.net.wire.link, &info);
    g_assert_cmpuint(info.addresses, ==, 0);
    user_send(p.b, arp_announce(p.b->mac, A4));
    g_assert_true(net_owner_of(&p.net, A4) == p.b);
    clock_advance(SECONDS(400));
    pair_fini(&p);
}

/* --- how many and how long ------------------------------------------------ */

static char *nth(unsigned n)
{
    return g_strdup_printf("10.0.1.%u", n);
}

static void use_nth(User *u, unsigned n)
{
    g_autofree char *addr = nth(n);

    user_send(u, udp(gateway_mac, u->mac, addr, FAR4));
}

static bool owns_nth(Net *net, User *u, unsigned n)
{
    g_autofree char *addr = nth(n);

    return net_owner_of(net, addr) == u;
}

static void test_max_addrs(void)
{
    Net net;
    User *u;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    u = net_add(&net, (IpvlanConfig) {
        .learn = IPVLAN_LEARN_ON, .max_addrs = 3,
    });
    for (unsigned i = 1; i <= 3; i++) {
        use_nth(u, i);
        clock_advance(SECONDS(1));
    }
    use_nth(u, 1);              /* 2 is the longest unused now */
    use_nth(u, 4);
    g_assert_cmpuint(net_addresses(u), ==, 3);
    g_assert_false(owns_nth(&net, u, 2));
    g_assert_true(owns_nth(&net, u, 1) && owns_nth(&net, u, 4));
    use_nth(u, 5);
    g_assert_false(owns_nth(&net, u, 3));
    g_assert_cmpuint(trace_count(LINK_EVENT_EXPIRE, NULL), ==, 2);
    net_clear(&net);
    net_fini(&net);
}

/* Who makes room, when they were all used again and in what order. */
static void test_max_addrs_order(void)
{
    static const unsigned again[] = { 3, 1, 4, 2 };
    Net net;
    User *u;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    u = net_add(&net, (IpvlanConfig) {
        .learn = IPVLAN_LEARN_ON, .max_addrs = 4,
    });
    for (unsigned i = 1; i <= 4; i++) {
        use_nth(u, i);
        clock_advance(SECONDS(1));
    }
    for (unsigned i = 0; i < 4; i++) {
        use_nth(u, again[i]);
        clock_advance(SECONDS(1));
    }
    for (unsigned i = 0; i < 4; i++) {
        use_nth(u, 5 + i);
        clock_advance(SECONDS(1));
        g_assert_false(owns_nth(&net, u, again[i]));
        g_assert_true(i == 3 || owns_nth(&net, u, again[i + 1]));
        g_assert_cmpuint(net_addresses(u), ==, 4);
    }
    net_clear(&net);
    net_fini(&net);
}

static void last_used(const IpvlanAddrInfo *info, void *opaque)
{
    *(int64_t *)opaque = info->used;
}

/* No earlier than it was learned, and no more than a second behind. */
static void test_used(void)
{
    int64_t used = -1, learned;
    Pair p;

    pair_init(&p);
    clock_advance(SECONDS(5));
    use_nth(p.b, 1);            /* the clock is read */
    use_nth(p.b, 1);
    clock_advance(NS_PER_S / 2);
    learned = test_platform.now();
    use_nth(p.a, 2);
    use_nth(p.a, 2);
    ipvlan_foreach_addr(p.a->link, last_used, &used);
    g_assert_cmpint(used, ==, learned);
    for (unsigned i = 0; i < 40; i++) {
        clock_advance(NS_PER_S / 8);
        use_nth(p.a, 2);
        ipvlan_foreach_addr(p.a->link, last_used, &used);
        g_assert_cmpint(used, <=, test_platform.now());
        g_assert_cmpint(used, >=, test_platform.now() - NS_PER_S);
    }
    /* after a pause it is exact */
    clock_advance(SECONDS(10));
    use_nth(p.a, 2);
    ipvlan_foreach_addr(p.a->link, last_used, &used);
    g_assert_cmpint(used, ==, test_platform.now());
    pair_fini(&p);
}

static void test_max_addrs_default(void)
{
    Pair p;

    pair_init(&p);
    for (unsigned i = 1; i <= 40; i++) {
        use_nth(p.a, i);
    }
    g_assert_cmpuint(net_addresses(p.a), ==, 16);
    g_assert_true(owns_nth(&p.net, p.a, 40) && owns_nth(&p.net, p.a, 25));
    pair_fini(&p);
}

static void test_expiry(void)
{
    Pair p;

    pair_init(&p);
    use_nth(p.a, 1);
    use_nth(p.a, 2);
    clock_advance(SECONDS(200));
    use_nth(p.a, 2);
    clock_advance(SECONDS(99));
    g_assert_true(owns_nth(&p.net, p.a, 1));
    clock_advance(SECONDS(2));
    g_assert_false(owns_nth(&p.net, p.a, 1));
    g_assert_true(owns_nth(&p.net, p.a, 2));
    clock_advance(SECONDS(198));
    g_assert_true(owns_nth(&p.net, p.a, 2));
    clock_advance(SECONDS(2));
    g_assert_false(owns_nth(&p.net, p.a, 2));
    g_assert_cmpuint(trace_count(LINK_EVENT_EXPIRE, NULL), ==, 2);
    pair_fini(&p);
}

/* --- DHCP ----------------------------------------------------------------- */

static Frame *ack(const User *u, const char *addr, uint32_t xid,
                  uint32_t lease)
{
    return dhcp_reply(mac_broadcast, gateway_mac, DHCPACK, addr, u->mac, xid,
                      lease);
}

static void test_dhcp_ack(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.a, dhcp_request(p.a->mac, 77));
    net_clear(&p.net);
    wire_receive(&p.net.wire, ack(p.a, A4, 77, 3600));
    clock_run_pending();
    g_assert_true(net_owner_of(&p.net, A4) == p.a);
    g_assert_cmpint(last_origin(p.a), ==, IPVLAN_ORIGIN_DHCP);
    /* to its client alone */
    assert_got(p.a, ack(p.a, A4, 77, 3600));
    net_assert_quiet(&p.net);
    pair_fini(&p);
}

static void check_not_believed(Pair *p, Frame *f)
{
    wire_receive(&p->net.wire, f);
    clock_run_pending();
    g_assert_cmpuint(net_addresses(p->a) + net_addresses(p->b), ==, 0);
    net_clear(&p->net);
}

static void test_dhcp_not_believed(void)
{
    Pair p;

    pair_init(&p);
    /* nobody has asked */
    check_not_believed(&p, ack(p.a, A4, 77, 60));
    user_send(p.a, dhcp_request(p.a->mac, 77));
    net_clear(&p.net);
    /* another transaction, another client, not an acknowledgement */
    check_not_believed(&p, ack(p.a, A4, 78, 60));
    check_not_believed(&p, ack(p.b, A4, 77, 60));
    check_not_believed(&p, dhcp_reply(mac_broadcast, gateway_mac, 2, A4,
                                      p.a->mac, 77, 60));
    check_not_believed(&p, ack(p.a, "224.0.0.1", 77, 60));
    pair_fini(&p);
}

/* Not of Ethernet, or too short to say whose it is: nobody has that lease. */
static void test_dhcp_unreadable(void)
{
    const unsigned bootp = 14 + 20 + 8;
    Pair p;

    pair_init(&p);
    user_send(p.a, dhcp_request(p.a->mac, 77));
    net_clear(&p.net);
    check_not_believed(&p, frame_checksum(frame_set8(ack(p.a, A4, 77, 60),
                                                     bootp + 1, 6)));
    check_not_believed(&p, frame_checksum(frame_set8(ack(p.a, A4, 77, 60),
                                                     bootp + 2, 16)));
    /* but a guest may wait for such an answer, to all or to its address */
    wire_receive(&p.net.wire,
                 frame_checksum(frame_set8(ack(p.a, A4, 77, 60),
                                           bootp + 1, 6)));
    clock_run_pending();
    g_assert_cmpuint(p.a->got->len, ==, 1);
    g_assert_cmpuint(p.b->got->len, ==, 1);
    pair_fini(&p);
}

/* A sibling is not believed to be a server, but heard. */
static void test_dhcp_sibling(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.a, dhcp_request(p.a->mac, 77));
    net_clear(&p.net);
    user_send(p.b, dhcp_reply(p.a->mac, p.b->mac, DHCPACK, A4, p.a->mac, 77,
                              60));
    g_assert_cmpuint(p.a->got->len, ==, 1);
    g_assert_cmpuint(net_addresses(p.a), ==, 0);
    pair_fini(&p);
}

static void test_dhcp_owned(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.b, arp_announce(p.b->mac, A4));
    user_send(p.a, dhcp_request(p.a->mac, 77));
    net_clear(&p.net);
    wire_receive(&p.net.wire, ack(p.a, A4, 77, 60));
    g_assert_true(net_owner_of(&p.net, A4) == p.b);
    g_assert_cmpuint(contested(p.a), ==, 1);
    pair_fini(&p);
}

static void test_dhcp_lease(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.a, dhcp_request(p.a->mac, 77));
    wire_receive(&p.net.wire, ack(p.a, A4, 77, 3600));
    clock_advance(SECONDS(3599));
    g_assert_true(net_owner_of(&p.net, A4) == p.a);
    clock_advance(SECONDS(2));
    g_assert_null(net_owner_of(&p.net, A4));
    pair_fini(&p);
}

/* Renewed in time; and used after its end, as any other address. */
static void test_dhcp_renewed(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.a, dhcp_request(p.a->mac, 77));
    wire_receive(&p.net.wire, ack(p.a, A4, 77, 1000));
    clock_advance(SECONDS(500));
    user_send(p.a, dhcp_request(p.a->mac, 78));
    wire_receive(&p.net.wire, ack(p.a, A4, 78, 1000));
    clock_advance(SECONDS(900));
    g_assert_true(net_owner_of(&p.net, A4) == p.a);
    user_send(p.a, udp(gateway_mac, p.a->mac, A4, FAR4));
    clock_advance(SECONDS(299));
    g_assert_true(net_owner_of(&p.net, A4) == p.a);
    clock_advance(SECONDS(2));
    g_assert_null(net_owner_of(&p.net, A4));
    pair_fini(&p);
}

/* A long lease does not keep others longer. */
static void test_dhcp_lease_and_others(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.a, dhcp_request(p.a->mac, 77));
    wire_receive(&p.net.wire, ack(p.a, A4, 77, 86400));
    clock_advance(SECONDS(400));
    use_nth(p.b, 1);
    clock_advance(SECONDS(301));
    g_assert_false(owns_nth(&p.net, p.b, 1));
    g_assert_true(net_owner_of(&p.net, A4) == p.a);
    pair_fini(&p);
}

static void test_dhcp_forever(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.a, dhcp_request(p.a->mac, 77));
    wire_receive(&p.net.wire, ack(p.a, A4, 77, UINT32_MAX));
    clock_advance(SECONDS(1000000));
    g_assert_true(net_owner_of(&p.net, A4) == p.a);
    pair_fini(&p);
}

/* --- learn=off and learn=dhcp --------------------------------------------- */

static void test_learn_off(void)
{
    User *u;
    Net net;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    u = net_owner(&net, A4);
    user_send(u, arp_announce(u->mac, "10.0.0.9"));
    user_send(u, nd_probe(u->mac, A6));
    user_send(u, udp(gateway_mac, u->mac, "10.0.0.9", FAR4));
    user_send(u, dhcp_request(u->mac, 7));
    wire_receive(&net.wire, ack(u, "10.0.0.10", 7, 60));
    g_assert_cmpuint(net_addresses(u), ==, 1);
    clock_advance(SECONDS(1000));
    g_assert_true(net_owner_of(&net, A4) == u);
    net_clear(&net);
    net_fini(&net);
}

static void test_learn_dhcp(void)
{
    char local[IP_STR_MAX];
    IpAddr addr;
    User *u;
    Net net;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    u = net_add(&net, (IpvlanConfig) { .learn = IPVLAN_LEARN_DHCP });
    addr = ip_link_local_from_mac(u->mac);
    ip_format(&addr, local);
    user_send(u, arp_announce(u->mac, A4));
    user_send(u, nd_probe(u->mac, A6));
    user_send(u, nd_probe(u->mac, "fe80::1"));
    g_assert_cmpuint(net_addresses(u), ==, 0);
    user_send(u, nd_probe(u->mac, local));
    g_assert_true(net_owner_of(&net, local) == u);
    user_send(u, dhcp_request(u->mac, 7));
    wire_receive(&net.wire, ack(u, B4, 7, 60));
    g_assert_true(net_owner_of(&net, B4) == u);
    g_assert_cmpuint(net_addresses(u), ==, 2);
    net_clear(&net);
    net_fini(&net);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/snoop/learn/arp", test_arp);
    g_test_add_func("/snoop/learn/arp-probe", test_arp_probe);
    g_test_add_func("/snoop/learn/nd", test_nd);
    g_test_add_func("/snoop/learn/ip", test_ip);
    g_test_add_func("/snoop/learn/l2", test_l2);
    g_test_add_func("/snoop/learn/never", test_never);
    g_test_add_func("/snoop/learn/not-inbound", test_not_inbound);
    g_test_add_func("/snoop/learn/off", test_learn_off);
    g_test_add_func("/snoop/learn/dhcp", test_learn_dhcp);
    g_test_add_func("/snoop/own/first-come", test_first_come);
    g_test_add_func("/snoop/own/dad", test_dad_owned);
    g_test_add_func("/snoop/own/slave-goes", test_slave_goes);
    g_test_add_func("/snoop/own/max-addrs", test_max_addrs);
    g_test_add_func("/snoop/own/max-addrs-default", test_max_addrs_default);
    g_test_add_func("/snoop/own/max-addrs-order", test_max_addrs_order);
    g_test_add_func("/snoop/own/used", test_used);
    g_test_add_func("/snoop/own/expiry", test_expiry);
    g_test_add_func("/snoop/dhcp/ack", test_dhcp_ack);
    g_test_add_func("/snoop/dhcp/not-believed", test_dhcp_not_believed);
    g_test_add_func("/snoop/dhcp/unreadable", test_dhcp_unreadable);
    g_test_add_func("/snoop/dhcp/sibling", test_dhcp_sibling);
    g_test_add_func("/snoop/dhcp/owned", test_dhcp_owned);
    g_test_add_func("/snoop/dhcp/lease", test_dhcp_lease);
    g_test_add_func("/snoop/dhcp/renewed", test_dhcp_renewed);
    g_test_add_func("/snoop/dhcp/lease-and-others",
                    test_dhcp_lease_and_others);
    g_test_add_func("/snoop/dhcp/forever", test_dhcp_forever);
    return g_test_run();
}
