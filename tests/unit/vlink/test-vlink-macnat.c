/*
 * libvlink: l2-macnat, one MAC address on the wire
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define FAR4 "192.0.2.9"
#define A6 "fd00::a"
#define B6 "fd00::b"

static const uint8_t other_mac[] = { 0x52, 0x54, 0, 0x99, 0, 1 };

typedef struct Pair {
    Net net;
    User *a, *b;
} Pair;

static void pair_init(Pair *p)
{
    net_init(&p->net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    p->a = net_learner(&p->net);
    p->b = net_learner(&p->net);
}

static void pair_fini(Pair *p)
{
    net_assert_quiet(&p->net);
    net_fini(&p->net);
}

/* Send from a; returns what the wire sees, and drops what b sees. */
static Frame *sent(Pair *p, Frame *f)
{
    Frame *out;

    user_send(p->a, f);
    g_assert_cmpuint(p->net.wire.sent->len, ==, 1);
    out = wire_take(&p->net.wire);
    net_clear(&p->net);
    return out;
}

/* --- ARP and RARP --------------------------------------------------------- */

static void test_arp(void)
{
    Pair p;

    pair_init(&p);
    assert_same(sent(&p, arp_request(p.a->mac, A4, FAR4)),
                arp_request(port_mac, A4, FAR4));
    assert_same(sent(&p, arp_reply(gateway_mac, p.a->mac, A4, FAR4)),
                arp_reply(gateway_mac, port_mac, A4, FAR4));
    assert_same(sent(&p, arp_probe(p.a->mac, A4)), arp_probe(port_mac, A4));
    assert_same(sent(&p, arp_announce(p.a->mac, A4)),
                arp_announce(port_mac, A4));
    pair_fini(&p);
}

/* A gratuitous reply may name its sender twice. */
static void test_arp_target(void)
{
    Pair p;

    pair_init(&p);
    assert_same(sent(&p, frame_arp(mac_broadcast, p.a->mac, 2, A4, p.a->mac,
                                   A4)),
                frame_arp(mac_broadcast, port_mac, 2, A4, port_mac, A4));
    pair_fini(&p);
}

static void test_arp_tagged(void)
{
    Frame *f, *g;
    Pair p;

    pair_init(&p);
    f = frame_tag(arp_request(p.a->mac, A4, FAR4), 0x8100, 5);
    g = frame_tag(arp_request(port_mac, A4, FAR4), 0x8100, 5);
    assert_same(sent(&p, frame_dup(f)), frame_dup(g));
    assert_same(sent(&p, frame_tag(f, 0x88a8, 6)), frame_tag(g, 0x88a8, 6));
    pair_fini(&p);
}

static void test_rarp(void)
{
    Pair p;

    pair_init(&p);
    assert_same(sent(&p, rarp_announce(p.a->mac)), rarp_announce(port_mac));
    pair_fini(&p);
}

/* --- neighbour discovery -------------------------------------------------- */

/* What the wire must see has its checksum made from scratch. */
static void check_nd(Pair *p, Frame *f, Frame *wanted)
{
    Frame *full = frame_dup(f), *out;
    unsigned csum = frame_csum_offset(f);
    uint16_t left;

    out = sent(p, full);
    g_assert_true(frame_checksum_ok(out));
    assert_same(out, frame_dup(wanted));

    out = sent(p, frame_tag(frame_dup(f), 0x8100, 3));
    g_assert_true(frame_checksum_ok(out));
    assert_same(out, frame_tag(frame_dup(wanted), 0x8100, 3));

    frame_partial(f);
    left = frame_get16(f, csum);
    out = sent(p, f);
    g_assert_cmphex(frame_get16(out, csum), ==, left);
    g_assert_true(frame_checksum_ok(out));
    assert_same(out, frame_partial(wanted));
}

static void test_nd_solicit(void)
{
    Pair p;

    pair_init(&p);
    check_nd(&p, nd_solicit(p.a->mac, A6, "fd00::1"),
             nd_solicit(port_mac, A6, "fd00::1"));
    check_nd(&p, nd_probe(p.a->mac, A6), nd_probe(port_mac, A6));
    pair_fini(&p);
}

static void test_nd_advert(void)
{
    Pair p;

    pair_init(&p);
    check_nd(&p, nd_advert(gateway_mac, p.a->mac, A6, "fd00::1"),
             nd_advert(gateway_mac, port_mac, A6, "fd00::1"));
    pair_fini(&p);
}

static void test_nd_router(void)
{
    Pair p;

    pair_init(&p);
    check_nd(&p, nd_router_solicit(p.a->mac, A6),
             nd_router_solicit(port_mac, A6));
    check_nd(&p, nd_router_advert(p.a->mac, A6),
             nd_router_advert(port_mac, A6));
    pair_fini(&p);
}

/* A redirect's target is another host, mostly. */
static void test_nd_redirect(void)
{
    Pair p;

    pair_init(&p);
    check_nd(&p, nd_redirect(gateway_mac, p.a->mac, A6, B6, p.a->mac),
             nd_redirect(gateway_mac, port_mac, A6, B6, port_mac));
    check_nd(&p, nd_redirect(gateway_mac, p.a->mac, A6, B6, other_mac),
             nd_redirect(gateway_mac, port_mac, A6, B6, other_mac));
    pair_fini(&p);
}

static void test_nd_extended(void)
{
    Pair p;

    pair_init(&p);
    check_nd(&p, frame_ext(nd_solicit(p.a->mac, A6, "fd00::1"), 0, 16),
             frame_ext(nd_solicit(port_mac, A6, "fd00::1"), 0, 16));
    pair_fini(&p);
}

/* Any bytes: incremental and from scratch are the same sum. */
static void test_nd_random(void)
{
    Pair p;

    pair_init(&p);
    for (int i = 0; i < 2000; i++) {
        Frame *f = nd_advert(gateway_mac, p.a->mac, A6, "fd00::1"), *g;
        unsigned l4 = frame_offsets(f).l4;

        frame_set16(f, l4 + 4, g_test_rand_int());
        frame_set16(f, l4 + 6, g_test_rand_int());
        frame_checksum(f);
        g = frame_set_mac_src(frame_dup(f), port_mac);
        memcpy(g->data + l4 + 26, port_mac, ETHER_ADDR_LEN);
        f = sent(&p, f);
        g_assert_true(frame_checksum_ok(f));
        frame_free(f);
        frame_free(g);
    }
    pair_fini(&p);
}

/* --- DHCP ----------------------------------------------------------------- */

#define FLAGS 10                /* in the BOOTP message */
#define HOPS_GIADDR 24
#define CHADDR 28

static Frame *bootp_set(Frame *f, unsigned off, uint8_t v)
{
    return frame_set8(f, frame_offsets(f).l4 + 8 + off, v);
}

static Frame *flagged(Frame *f)
{
    bool partial = f->has_vnet;

    frame_checksum(bootp_set(frame_set_mac_src(f, port_mac), FLAGS, 0x80));
    return partial ? frame_partial(f) : f;
}

static void test_dhcp_flag(void)
{
    Frame *f;
    Pair p;

    pair_init(&p);
    for (int i = 0; i < 2000; i++) {
        f = dhcp_request(p.a->mac, g_test_rand_int());
        assert_same(sent(&p, frame_dup(f)), flagged(frame_dup(f)));
        frame_free(f);
    }
    f = frame_tag(dhcp_request(p.a->mac, 7), 0x8100, 2);
    assert_same(sent(&p, frame_dup(f)), flagged(frame_dup(f)));
    frame_free(f);
    pair_fini(&p);
}

/* Zero: the sender has not computed a checksum, and nor do we. */
static void test_dhcp_no_checksum(void)
{
    Frame *f, *wanted;
    unsigned csum;
    Pair p;

    pair_init(&p);
    f = dhcp_request(p.a->mac, 7);
    csum = frame_csum_offset(f);
    frame_set16(f, csum, 0);
    wanted = bootp_set(frame_dup(f), FLAGS, 0x80);
    assert_same(sent(&p, f), frame_set_mac_src(wanted, port_mac));
    pair_fini(&p);
}

static void test_dhcp_partial(void)
{
    Frame *f, *out;
    unsigned csum;
    Pair p;

    pair_init(&p);
    f = frame_partial(dhcp_request(p.a->mac, 7));
    csum = frame_csum_offset(f);
    out = sent(&p, frame_dup(f));
    g_assert_cmphex(frame_get16(out, csum), ==, frame_get16(f, csum));
    g_assert_true(frame_checksum_ok(out));
    assert_same(out, flagged(f));
    pair_fini(&p);
}

/* Only the frame's own source changes. */
static void check_dhcp_untouched(Pair *p, Frame *f)
{
    assert_same(sent(p, frame_dup(f)),
                frame_set_mac_src(frame_dup(f), port_mac));
    frame_free(f);
}

static void test_dhcp_untouched(void)
{
    Frame *f;
    Pair p;

    pair_init(&p);
    f = bootp_set(dhcp_request(p.a->mac, 7), HOPS_GIADDR, 10);
    check_dhcp_untouched(&p, frame_checksum(f));
    f = bootp_set(dhcp_request(p.a->mac, 7), CHADDR + 5, 0x77);
    check_dhcp_untouched(&p, frame_checksum(f));
    f = bootp_set(dhcp_request(p.a->mac, 7), FLAGS, 0x80);
    check_dhcp_untouched(&p, frame_checksum(f));
    /* not long enough to be BOOTP */
    f = frame_udp(mac_broadcast, p.a->mac, "0.0.0.0", "255.255.255.255",
                  68, 67, 40);
    check_dhcp_untouched(&p, f);
    pair_fini(&p);
}

/* --- the rest towards the wire -------------------------------------------- */

static void test_others(void)
{
    Frame *f;
    Pair p;

    pair_init(&p);
    f = frame_tcp(gateway_mac, p.a->mac, A4, FAR4, 3000);
    frame_partial(f);
    f->vnet.gso_type = 1;
    f->vnet.gso_size = 1448;
    assert_same(sent(&p, frame_dup(f)),
                frame_set_mac_src(frame_dup(f), port_mac));
    f = frame_set_mac_src(f, p.a->mac);
    user_send(p.a, f);
    g_autoptr(Frame) out = wire_take(&p.net.wire);
    g_assert_cmpuint(out->vnet.gso_size, ==, 1448);
    g_assert_true(frame_checksum_ok(out));
    assert_same(sent(&p, frame_eth(gateway_mac, p.a->mac, 0x88cc, 9)),
                frame_eth(gateway_mac, port_mac, 0x88cc, 9));
    pair_fini(&p);
}

static void test_siblings(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.a, arp_announce(p.a->mac, A4));
    clock_run_pending();
    assert_got(p.b, arp_announce(p.a->mac, A4));
    user_send(p.a, nd_solicit(p.a->mac, A6, "fd00::1"));
    clock_run_pending();
    assert_got(p.b, nd_solicit(p.a->mac, A6, "fd00::1"));
    user_send(p.a, dhcp_request(p.a->mac, 3));
    clock_run_pending();
    assert_got(p.b, dhcp_request(p.a->mac, 3));
    user_send(p.a, rarp_announce(p.a->mac));
    clock_run_pending();
    assert_got(p.b, rarp_announce(p.a->mac));
    net_clear(&p.net);
    user_send(p.b, arp_reply(p.a->mac, p.b->mac, B4, A4));
    assert_got(p.a, arp_reply(p.a->mac, p.b->mac, B4, A4));
    /* by MAC alone: no address tells where it goes */
    user_send(p.b, frame_eth(p.a->mac, p.b->mac, 0x88cc, 9));
    assert_got(p.a, frame_eth(p.a->mac, p.b->mac, 0x88cc, 9));
    user_send(p.b, udp(p.a->mac, p.b->mac, B4, FAR4));
    assert_got(p.a, udp(p.a->mac, p.b->mac, B4, FAR4));
    pair_fini(&p);
}

/* --- whose MAC is it ------------------------------------------------------ */

/* Two guests with QEMU's default MAC: the IP address decides. */
static void test_same_mac(void)
{
    Pair p;

    pair_init(&p);
    memcpy(p.b->mac, p.a->mac, ETHER_ADDR_LEN);
    user_send(p.a, udp(gateway_mac, p.a->mac, A4, FAR4));
    user_send(p.b, udp(gateway_mac, p.b->mac, B4, FAR4));
    net_clear(&p.net);
    wire_receive(&p.net.wire, udp(p.a->mac, gateway_mac, FAR4, B4));
    assert_got(p.b, udp(p.b->mac, gateway_mac, FAR4, B4));
    wire_receive(&p.net.wire, udp(port_mac, gateway_mac, FAR4, A4));
    assert_got(p.a, udp(p.a->mac, gateway_mac, FAR4, A4));
    user_send(p.a, udp(p.b->mac, p.a->mac, A4, B4));
    assert_got(p.b, udp(p.b->mac, p.a->mac, A4, B4));
    user_send(p.b, udp(p.a->mac, p.b->mac, B4, A4));
    assert_got(p.a, udp(p.a->mac, p.b->mac, B4, A4));
    /* the first one goes, and the other still has its MAC */
    net_del(p.a);
    wire_receive(&p.net.wire, udp(p.b->mac, gateway_mac, FAR4, B4));
    assert_got(p.b, udp(p.b->mac, gateway_mac, FAR4, B4));
    pair_fini(&p);
}

static void test_mac_change(void)
{
    IpvlanSlaveInfo info;
    Pair p;

    pair_init(&p);
    user_send(p.a, udp(gateway_mac, p.a->mac, A4, FAR4));
    user_send(p.a, udp(gateway_mac, other_mac, A4, FAR4));
    net_clear(&p.net);
    ipvlan_slave_info(p.a->link, &info);
    assert_mac(info.mac, other_mac);
    wire_receive(&p.net.wire, udp(port_mac, gateway_mac, FAR4, A4));
    assert_got(p.a, udp(other_mac, gateway_mac, FAR4, A4));
    wire_receive(&p.net.wire, udp(p.a->mac, gateway_mac, FAR4, A4));
    assert_drops(p.net.wire.link, NOT_FOR_US, 1);
    user_send(p.b, udp(other_mac, p.b->mac, B4, A4));
    assert_got(p.a, udp(other_mac, p.b->mac, B4, A4));
    pair_fini(&p);
}

/* --- towards the guest ---------------------------------------------------- */

static void test_receive_arp(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.a, arp_announce(p.a->mac, A4));
    net_clear(&p.net);
    wire_receive(&p.net.wire, arp_reply(port_mac, gateway_mac, FAR4, A4));
    assert_got(p.a, arp_reply(p.a->mac, gateway_mac, FAR4, A4));
    /* a broadcast reply has it in the message only */
    wire_receive(&p.net.wire, frame_arp(mac_broadcast, gateway_mac, 2, FAR4,
                                        port_mac, A4));
    clock_run_pending();
    assert_got(p.a, frame_arp(mac_broadcast, gateway_mac, 2, FAR4, p.a->mac,
                              A4));
    wire_receive(&p.net.wire, frame_tag(frame_tag(
        arp_reply(port_mac, gateway_mac, FAR4, A4), 0x8100, 1), 0x88a8, 2));
    assert_got(p.a, frame_tag(frame_tag(
        arp_reply(p.a->mac, gateway_mac, FAR4, A4), 0x8100, 1), 0x88a8, 2));
    pair_fini(&p);
}

/* A guest that has not spoken yet may have told its NIC. */
static void test_receive_silent(void)
{
    User *a, *b;
    Net net;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    a = net_owner(&net, A4);
    b = net_owner(&net, B4);
    b->tells_mac = true;
    wire_receive(&net.wire, udp(port_mac, gateway_mac, FAR4, A4));
    assert_got(a, udp(port_mac, gateway_mac, FAR4, A4));
    wire_receive(&net.wire, udp(port_mac, gateway_mac, FAR4, B4));
    assert_got(b, udp(b->mac, gateway_mac, FAR4, B4));
    net_assert_quiet(&net);
    net_fini(&net);
}

/* One frame for many, each with its own MAC in the queue. */
static void test_receive_queued(void)
{
    Frame *f;
    Pair p;

    pair_init(&p);
    user_send(p.a, arp_announce(p.a->mac, A4));
    user_send(p.b, arp_announce(p.b->mac, B4));
    net_clear(&p.net);
    p.a->room = p.b->room = 0;
    f = frame_arp(mac_broadcast, gateway_mac, 2, FAR4, port_mac, FAR4);
    wire_receive(&p.net.wire, f);
    clock_run_pending();
    user_make_room(p.a, NO_LIMIT);
    user_make_room(p.b, NO_LIMIT);
    clock_run_pending();
    assert_got(p.a, frame_arp(mac_broadcast, gateway_mac, 2, FAR4, p.a->mac,
                              FAR4));
    assert_got(p.b, frame_arp(mac_broadcast, gateway_mac, 2, FAR4, p.b->mac,
                              FAR4));
    pair_fini(&p);
}

/* --- where Linux's l2_macnat does otherwise ------------------------------- */

/* Who is behind a router is the router's to say, not the address's. */
static void test_linux_router(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.b, udp(gateway_mac, p.b->mac, B4, FAR4));
    net_clear(&p.net);
    assert_same(sent(&p, udp(gateway_mac, p.a->mac, A4, B4)),
                udp(gateway_mac, port_mac, A4, B4));
    pair_fini(&p);
}

/* RFC 1122, 3.3.6: what is for many must not come to one alone. */
static void test_linux_multicast(void)
{
    Pair p;

    pair_init(&p);
    wire_receive(&p.net.wire, udp(port_mac, gateway_mac, FAR4, "224.0.0.9"));
    wire_receive(&p.net.wire, udp(port_mac, gateway_mac, FAR4,
                                  "255.255.255.255"));
    clock_run_pending();
    assert_drops(p.net.wire.link, NO_OWNER, 2);
    pair_fini(&p);
}

/* A guest may have the port's own MAC: the wire sees no other. */
static void test_linux_port_mac(void)
{
    Pair p;

    pair_init(&p);
    memcpy(p.a->mac, port_mac, ETHER_ADDR_LEN);
    assert_same(sent(&p, udp(gateway_mac, port_mac, A4, FAR4)),
                udp(gateway_mac, port_mac, A4, FAR4));
    wire_receive(&p.net.wire, udp(port_mac, gateway_mac, FAR4, A4));
    assert_got(p.a, udp(port_mac, gateway_mac, FAR4, A4));
    pair_fini(&p);
}

/* An access point that answers for others sends it back, to us alone. */
static void test_linux_proxied(void)
{
    static const uint8_t unknown[ETHER_ADDR_LEN];
    Pair p;

    pair_init(&p);
    user_send(p.a, arp_announce(p.a->mac, A4));
    net_clear(&p.net);
    wire_receive(&p.net.wire, frame_arp(port_mac, port_mac, 1, A4, unknown,
                                        A4));
    wire_receive(&p.net.wire, frame_arp(port_mac, port_mac, 2, A4, port_mac,
                                        A4));
    assert_drops(p.net.wire.link, REFLECTED, 2);
    /* somebody else who has the address is heard */
    wire_receive(&p.net.wire, frame_arp(port_mac, gateway_mac, 2, A4,
                                        port_mac, A4));
    assert_got(p.a, frame_arp(p.a->mac, gateway_mac, 2, A4, p.a->mac, A4));
    pair_fini(&p);
}

/* What was learned stays, for when the link is up again. */
static void test_linux_down(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.a, arp_announce(p.a->mac, A4));
    net_clear(&p.net);
    link_set_admin(p.a->link, false);
    link_set_admin(p.a->link, true);
    wire_receive(&p.net.wire, udp(port_mac, gateway_mac, FAR4, A4));
    assert_got(p.a, udp(p.a->mac, gateway_mac, FAR4, A4));
    pair_fini(&p);
}

/* Whose MAC address it comes with makes no difference: A was first. */
static void test_linux_takeover(void)
{
    Pair p;

    pair_init(&p);
    user_send(p.a, arp_announce(p.a->mac, A4));
    user_send(p.b, arp_announce(p.b->mac, A4));
    user_send(p.b, udp(gateway_mac, other_mac, A4, FAR4));
    net_clear(&p.net);
    assert_drops(p.b->link, NOT_OWNED, 2);
    wire_receive(&p.net.wire, udp(port_mac, gateway_mac, FAR4, A4));
    assert_got(p.a, udp(p.a->mac, gateway_mac, FAR4, A4));
    pair_fini(&p);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/macnat/arp/all", test_arp);
    g_test_add_func("/macnat/arp/target", test_arp_target);
    g_test_add_func("/macnat/arp/tagged", test_arp_tagged);
    g_test_add_func("/macnat/rarp", test_rarp);
    g_test_add_func("/macnat/nd/solicit", test_nd_solicit);
    g_test_add_func("/macnat/nd/advert", test_nd_advert);
    g_test_add_func("/macnat/nd/router", test_nd_router);
    g_test_add_func("/macnat/nd/redirect", test_nd_redirect);
    g_test_add_func("/macnat/nd/extended", test_nd_extended);
    g_test_add_func("/macnat/nd/random", test_nd_random);
    g_test_add_func("/macnat/dhcp/flag", test_dhcp_flag);
    g_test_add_func("/macnat/dhcp/no-checksum", test_dhcp_no_checksum);
    g_test_add_func("/macnat/dhcp/partial", test_dhcp_partial);
    g_test_add_func("/macnat/dhcp/untouched", test_dhcp_untouched);
    g_test_add_func("/macnat/others", test_others);
    g_test_add_func("/macnat/siblings", test_siblings);
    g_test_add_func("/macnat/same-mac", test_same_mac);
    g_test_add_func("/macnat/mac-change", test_mac_change);
    g_test_add_func("/macnat/receive/arp", test_receive_arp);
    g_test_add_func("/macnat/receive/silent", test_receive_silent);
    g_test_add_func("/macnat/receive/queued", test_receive_queued);
    g_test_add_func("/macnat/linux/router", test_linux_router);
    g_test_add_func("/macnat/linux/multicast", test_linux_multicast);
    g_test_add_func("/macnat/linux/port-mac", test_linux_port_mac);
    g_test_add_func("/macnat/linux/proxied", test_linux_proxied);
    g_test_add_func("/macnat/linux/down", test_linux_down);
    g_test_add_func("/macnat/linux/takeover", test_linux_takeover);
    return g_test_run();
}
