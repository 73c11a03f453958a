/*
 * libvlink: l3, the port as the guests' router
 *
 * What the port answers, and where it sends what it routes.  How it finds its
 * neighbours on the uplink is in test-vlink-neigh.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "libvlink/ipvlan/answer.h"

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define A6 "fd00::a"
#define B6 "fd00::b"
#define FAR4 "198.51.100.9"
#define FAR6 "2001:db8:9::9"
#define GW4 "10.0.0.254"
#define GW6 "fd00::254"
#define ROUTER6 "fe80::1"

static const uint8_t group_mac[] = { 1, 0, 0x5e, 0, 0, 0x65 };
static const uint8_t all_nodes_mac[] = { 0x33, 0x33, 0, 0, 0, 1 };

typedef struct Routed {
    Net net;
    User *a, *b;
    char ll[2][IP_STR_MAX];     /* of the port's on the wire, of a's */
} Routed;

static User *add(Routed *r, const char *v4, const char *v6,
                 IpvlanConfig config)
{
    IpPrefix addrs[] = { prefix(v4), prefix(v6) };
    User *u;

    config.addrs = addrs;
    config.n_addrs = 2;
    u = net_add(&r->net, config);
    u->tells_mac = true;
    return u;
}

static void routed_init_with(Routed *r, IpvlanMode mode, IpvlanFlag flag,
                             IpvlanConfig config)
{
    IpAddr ll[2];

    net_init(&r->net, mode, flag);
    r->a = add(r, A4, A6, config);
    r->b = add(r, B4, B6, config);
    ll[0] = ip_link_local_from_mac(port_mac);
    ll[1] = ip_link_local_from_mac(r->a->mac);
    ip_format(&ll[0], r->ll[0]);
    ip_format(&ll[1], r->ll[1]);
}

static const IpvlanConfig *with_gateways(void)
{
    static IpAddr gateways[2];
    static IpvlanConfig config = { .gateways = gateways, .n_gateways = 2 };

    gateways[0] = ip(GW4);
    gateways[1] = ip(GW6);
    return &config;
}

static void routed_init(Routed *r)
{
    routed_init_with(r, IPVLAN_L3, IPVLAN_BRIDGE, *with_gateways());
}

static void routed_fini(Routed *r)
{
    net_assert_quiet(&r->net);
    net_fini(&r->net);
}

/* --- answers to guests ---------------------------------------------------- */

static void answered_arp(Routed *r, const char *sip, const char *tip)
{
    g_assert_cmpint(user_send(r->a, arp_request(r->a->mac, sip, tip)), ==,
                    LINK_TX_OK);
    assert_got(r->a, frame_arp(r->a->mac, port_mac, 2, tip, r->a->mac, sip));
    net_assert_quiet(&r->net);
}

static void silent(Routed *r, Frame *f)
{
    g_assert_cmpint(user_send(r->a, f), ==, LINK_TX_OK);
    net_assert_quiet(&r->net);
}

static void test_arp(void)
{
    Routed r;

    routed_init(&r);
    answered_arp(&r, A4, B4);
    answered_arp(&r, A4, FAR4);
    answered_arp(&r, A4, GW4);
    answered_arp(&r, A4, "169.254.1.1");
    /* Who asks for a duplicate finds only those of others. */
    answered_arp(&r, "0.0.0.0", B4);
    silent(&r, arp_probe(r.a->mac, A4));
    silent(&r, arp_probe(r.a->mac, FAR4));
    silent(&r, arp_announce(r.a->mac, A4));
    silent(&r, arp_request(r.a->mac, A4, "224.0.0.1"));
    silent(&r, arp_request(r.a->mac, A4, "255.255.255.255"));
    silent(&r, arp_reply(port_mac, r.a->mac, A4, FAR4));
    routed_fini(&r);
}

static Frame *advert(const uint8_t *dst, const char *target, const char *dip,
                     uint8_t flags)
{
    Frame *f = nd_advert(dst, port_mac, target, dip);

    return frame_checksum(frame_set8(f, frame_offsets(f).l4 + 4, flags));
}

static void answered_nd(Routed *r, const char *sip, const char *target)
{
    g_assert_cmpint(user_send(r->a, nd_solicit(r->a->mac, sip, target)), ==,
                    LINK_TX_OK);
    /* router, solicited, override */
    assert_got(r->a, advert(r->a->mac, target, sip, 0xe0));
    net_assert_quiet(&r->net);
}

static void test_nd(void)
{
    Routed r;

    routed_init(&r);
    answered_nd(&r, A6, B6);
    answered_nd(&r, A6, FAR6);
    answered_nd(&r, A6, GW6);
    answered_nd(&r, A6, ROUTER6);
    answered_nd(&r, r.ll[1], ROUTER6);
    answered_nd(&r, A6, "fe80::99");
    /* Everybody hears who has what the guest looks for a duplicate of. */
    user_send(r.a, nd_probe(r.a->mac, B6));
    assert_got(r.a, advert(all_nodes_mac, B6, "ff02::1", 0xa0));
    user_send(r.a, nd_probe(r.a->mac, ROUTER6));
    assert_got(r.a, advert(all_nodes_mac, ROUTER6, "ff02::1", 0xa0));
    silent(&r, nd_probe(r.a->mac, A6));
    silent(&r, nd_probe(r.a->mac, FAR6));
    silent(&r, nd_probe(r.a->mac, r.ll[1]));
    silent(&r, nd_solicit(r.a->mac, A6, r.ll[1]));
    silent(&r, nd_solicit(r.a->mac, A6, "ff02::1"));
    silent(&r, nd_advert(port_mac, r.a->mac, A6, FAR6));
    routed_fini(&r);
}

/* RFC 4861, 7.1: it has come through a router. */
static void test_nd_hop_limit(void)
{
    Routed r;

    routed_init(&r);
    user_send(r.a, frame_set8(nd_solicit(r.a->mac, A6, B6), 14 + 7, 254));
    assert_drops(r.a->link, BAD_HEADER, 1);
    wire_receive(&r.net.wire, frame_set8(nd_solicit(gateway_mac, GW6, A6),
                                         14 + 7, 254));
    assert_drops(r.net.wire.link, BAD_HEADER, 1);
    routed_fini(&r);
}

static Frame *router_advert(const uint8_t *dst, const char *dip)
{
    Frame *f = frame_nd(dst, port_mac, ROUTER6, dip, ND_ROUTER_ADVERT, NULL,
                        1, port_mac);
    const uint8_t mtu[8] = { 5, 1, [6] = 1500 >> 8, 1500 & 0xff };
    unsigned l4 = frame_offsets(f).l4;

    f = frame_insert(f, f->len, mtu, sizeof(mtu));
    frame_set16(f, 14 + 4, 16 + 8 + 8);
    frame_set8(f, l4 + 4, 64);
    frame_set16(f, l4 + 6, 1800);
    return frame_checksum(f);
}

static void test_ra(void)
{
    Routed r;

    routed_init(&r);
    user_send(r.a, nd_router_solicit(r.a->mac, r.ll[1]));
    assert_got(r.a, router_advert(r.a->mac, r.ll[1]));
    user_send(r.a, frame_nd(all_nodes_mac, r.a->mac, "::", "ff02::2",
                            ND_ROUTER_SOLICIT, NULL, 0, NULL));
    assert_got(r.a, router_advert(r.a->mac, "ff02::1"));
    net_assert_quiet(&r.net);

    /* Before the guest's default route has run out. */
    g_assert_cmpint(RA_INTERVAL, <, RA_LIFETIME * NS_PER_S);
    for (int i = 0; i < 3; i++) {
        clock_advance(RA_INTERVAL);
        assert_got(r.a, router_advert(all_nodes_mac, "ff02::1"));
        assert_got(r.b, router_advert(all_nodes_mac, "ff02::1"));
    }
    routed_fini(&r);
}

static void test_ra_off(void)
{
    const bool off = false;
    Routed r;

    routed_init_with(&r, IPVLAN_L3, IPVLAN_BRIDGE,
                     (IpvlanConfig) { .ra = &off });
    silent(&r, nd_router_solicit(r.a->mac, r.ll[1]));
    clock_advance(3 * RA_INTERVAL);
    routed_fini(&r);
}

/* --- between siblings ----------------------------------------------------- */

static Frame *routed(Frame *f, const User *to)
{
    frame_set_mac_dst(f, to->mac);
    return frame_set_mac_src(f, port_mac);
}

static void test_sibling(gconstpointer mode)
{
    Routed r;
    Frame *f;

    routed_init_with(&r, GPOINTER_TO_INT(mode), IPVLAN_BRIDGE,
                     *with_gateways());
    f = udp(port_mac, r.a->mac, A4, B4);
    user_send(r.a, frame_dup(f));
    assert_got(r.b, routed(f, r.b));

    f = frame_partial(frame_tcp(port_mac, r.b->mac, B6, A6, 60000));
    f->vnet.gso_type = PACKET_GSO_TCPV6;
    f->vnet.gso_size = 1440;
    user_send(r.b, frame_dup(f));
    g_assert_cmpuint(r.a->got->len, ==, 1);
    g_assert_cmpuint(((Frame *)r.a->got->pdata[0])->vnet.gso_size, ==, 1440);
    assert_got(r.a, routed(f, r.a));

    user_send(r.a, udp(port_mac, r.a->mac, A4, A4));
    assert_drops(r.a->link, TO_ITSELF, 1);
    routed_fini(&r);
}

/* Whatever MAC address it has learned before, it is the IP that counts. */
static void test_sibling_any_mac(void)
{
    Routed r;

    routed_init(&r);
    user_send(r.a, udp(r.b->mac, r.a->mac, A4, B4));
    assert_got(r.b, routed(udp(port_mac, r.a->mac, A4, B4), r.b));
    routed_fini(&r);
}

static void test_private(void)
{
    Routed r;

    routed_init_with(&r, IPVLAN_L3, IPVLAN_PRIVATE, *with_gateways());
    user_send(r.a, udp(port_mac, r.a->mac, A4, B4));
    assert_drops(r.a->link, PRIVATE, 1);
    routed_fini(&r);
}

/* The guest's MAC address is not known: it is asked, in its own family. */
static void test_unknown_guest(void)
{
    Routed r;
    Frame *f;

    routed_init(&r);
    r.b->tells_mac = false;
    user_send(r.a, udp(port_mac, r.a->mac, A4, B4));
    assert_drops(r.a->link, NO_NEIGHBOUR, 1);
    assert_got(r.b, arp_probe(port_mac, B4));
    user_send(r.a, udp(port_mac, r.a->mac, A6, B6));
    assert_drops(r.a->link, NO_NEIGHBOUR, 2);
    f = frame_nd(all_nodes_mac, port_mac, ROUTER6, "ff02::1",
                 ND_NEIGHBOUR_SOLICIT, B6, 1, port_mac);
    assert_got(r.b, f);
    /* its answer tells */
    user_send(r.b, arp_reply(port_mac, r.b->mac, B4, "0.0.0.0"));
    user_send(r.a, udp(port_mac, r.a->mac, A4, B4));
    assert_got(r.b, routed(udp(port_mac, r.a->mac, A4, B4), r.b));
    routed_fini(&r);
}

/* So it is for what comes from the uplink, with a filter and without. */
static void test_unknown_receiver(void)
{
    static const IpvlanMode modes[] = { IPVLAN_L3, IPVLAN_L3S };

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        Routed r;

        routed_init_with(&r, modes[i], IPVLAN_BRIDGE, *with_gateways());
        r.a->tells_mac = false;
        wire_receive(&r.net.wire, udp(port_mac, gateway_mac, FAR4, A4));
        assert_drops(r.a->link, NO_NEIGHBOUR, 1);
        assert_got(r.a, arp_probe(port_mac, A4));
        user_send(r.a, arp_reply(port_mac, r.a->mac, A4, "0.0.0.0"));
        wire_receive(&r.net.wire, udp(port_mac, gateway_mac, FAR4, A4));
        assert_got(r.a, routed(udp(port_mac, gateway_mac, FAR4, A4), r.a));
        assert_drops(r.a->link, NO_NEIGHBOUR, 1);
        routed_fini(&r);
    }
}

/* --- to the uplink -------------------------------------------------------- */

/* The wire asks for @hop with @u's frame; the host of @mac has it. */
static void resolve4(Routed *r, const char *sip, const char *hop,
                     const uint8_t *mac)
{
    assert_sent(&r->net.wire, arp_request(port_mac, sip, hop));
    wire_receive(&r->net.wire, arp_reply(port_mac, mac, hop, sip));
}

static void resolve6(Routed *r, const char *hop, const uint8_t *mac)
{
    Frame *na;

    assert_sent(&r->net.wire, nd_solicit(port_mac, r->ll[0], hop));
    na = nd_advert(port_mac, mac, hop, r->ll[0]);
    wire_receive(&r->net.wire,
                 frame_checksum(frame_set8(na, frame_offsets(na).l4 + 4,
                                           0x60)));
}

static Frame *out(Frame *f, const uint8_t *mac)
{
    frame_set_mac_dst(f, mac);
    return frame_set_mac_src(f, port_mac);
}

/* Everything else is as it was, the hop limit too. */
static void test_gateway(void)
{
    Routed r;
    Frame *f;

    routed_init(&r);
    f = udp(port_mac, r.a->mac, A4, FAR4);
    user_send(r.a, frame_dup(f));
    resolve4(&r, A4, GW4, gateway_mac);
    assert_sent(&r.net.wire, out(frame_dup(f), gateway_mac));
    user_send(r.a, frame_dup(f));
    assert_sent(&r.net.wire, out(f, gateway_mac));

    f = udp(port_mac, r.a->mac, A6, FAR6);
    user_send(r.a, frame_dup(f));
    resolve6(&r, GW6, gateway_mac);
    assert_sent(&r.net.wire, out(f, gateway_mac));
    routed_fini(&r);
}

static void test_on_link(void)
{
    static const uint8_t host_mac[] = { 0x52, 0x54, 0, 0x99, 0, 2 };
    Routed r;
    Frame *f;

    routed_init_with(&r, IPVLAN_L3, IPVLAN_BRIDGE,
                     (IpvlanConfig) { .n_gateways = 0 });
    f = udp(port_mac, r.b->mac, B4, FAR4);
    user_send(r.b, frame_dup(f));
    resolve4(&r, B4, FAR4, host_mac);
    assert_sent(&r.net.wire, out(f, host_mac));
    f = udp(port_mac, r.b->mac, B6, FAR6);
    user_send(r.b, frame_dup(f));
    resolve6(&r, FAR6, host_mac);
    assert_sent(&r.net.wire, out(f, host_mac));
    routed_fini(&r);
}

/* By way of the gateway, which sends it back. */
static void test_vepa(void)
{
    Routed r;
    Frame *f;

    routed_init_with(&r, IPVLAN_L3, IPVLAN_VEPA, *with_gateways());
    f = udp(port_mac, r.a->mac, A4, B4);
    user_send(r.a, frame_dup(f));
    resolve4(&r, A4, GW4, gateway_mac);
    assert_sent(&r.net.wire, out(f, gateway_mac));
    wire_receive(&r.net.wire, udp(port_mac, gateway_mac, A4, B4));
    assert_got(r.b, routed(udp(port_mac, gateway_mac, A4, B4), r.b));
    routed_fini(&r);
}

/* By way of a switch, which reflects what is for the port it came from. */
static void test_vepa_on_link(void)
{
    Routed r;
    Frame *f;

    routed_init_with(&r, IPVLAN_L3, IPVLAN_VEPA,
                     (IpvlanConfig) { .n_gateways = 0 });
    f = udp(port_mac, r.a->mac, A4, B4);
    user_send(r.a, frame_dup(f));
    assert_sent(&r.net.wire, out(frame_dup(f), port_mac));
    wire_receive(&r.net.wire, out(frame_dup(f), port_mac));
    assert_got(r.b, routed(f, r.b));
    routed_fini(&r);
}

static void refused(Routed *r, Frame *f, DropReason why)
{
    uint64_t before = r->a->link->stats.drops[why];

    g_assert_cmpint(user_send(r->a, f), ==, LINK_TX_DROPPED);
    g_assert_cmpuint(r->a->link->stats.drops[why], ==, before + 1);
    net_assert_quiet(&r->net);
}

static void test_not_routed(void)
{
    static const char *const pairs[][2] = {
        { A4, "255.255.255.255" }, { A4, "224.0.0.251" }, { A4, "127.0.0.1" },
        { A4, "0.0.0.0" }, { "0.0.0.0", FAR4 }, { A6, "ff02::fb" },
        { A6, "::1" }, { A6, "::" }, { A6, "fe80::99" }, { "fe80::99", FAR6 },
        { "::", FAR6 },
    };
    Routed r;

    routed_init(&r);
    for (unsigned i = 0; i < G_N_ELEMENTS(pairs); i++) {
        refused(&r, udp(port_mac, r.a->mac, pairs[i][0], pairs[i][1]),
                DROP_NOT_ROUTED);
    }
    /* unicast in a frame for many: RFC 1812, 5.3.4 */
    refused(&r, udp(mac_broadcast, r.a->mac, A4, FAR4), DROP_NOT_ROUTED);
    refused(&r, udp(group_mac, r.a->mac, A4, B4), DROP_NOT_ROUTED);
    refused(&r, dhcp_request(r.a->mac, 1), DROP_NOT_ROUTED);
    refused(&r, nd_router_advert(r.a->mac, r.ll[1]), DROP_NOT_ROUTED);
    refused(&r, nd_redirect(port_mac, r.a->mac, r.ll[1], A6, r.a->mac),
            DROP_NOT_ROUTED);
    refused(&r, frame_eth(port_mac, r.a->mac, 0x88cc, 46), DROP_NOT_IP);
    refused(&r, rarp_announce(r.a->mac), DROP_NOT_IP);
    refused(&r, frame_tag(udp(port_mac, r.a->mac, A4, B4), 0x8100, 5),
            DROP_NOT_IP);
    refused(&r, frame_tag(arp_request(r.a->mac, A4, B4), 0x8100, 5),
            DROP_NOT_IP);
    routed_fini(&r);
}

/* A sibling's address is no source, as in the other modes. */
static void test_not_owned(void)
{
    Routed r;

    routed_init(&r);
    refused(&r, udp(port_mac, r.a->mac, B4, FAR4), DROP_NOT_OWNED);
    refused(&r, arp_request(r.a->mac, B4, FAR4), DROP_NOT_OWNED);
    routed_fini(&r);
}

/* --- the uplink's MTU ----------------------------------------------------- */

/* The guest is told the MTU, at @mtu_at behind the error's first byte. */
static void told_mtu(Routed *r, uint16_t type, unsigned mtu_at)
{
    g_autoptr(Frame) error = user_take(r->a);
    unsigned l4 = frame_offsets(error).l4;

    g_assert_true(frame_checksum_ok(error));
    g_assert_cmphex(frame_get16(error, l4), ==, type);
    g_assert_cmpuint(frame_get16(error, l4 + mtu_at), ==, 1500);
    net_assert_quiet(&r->net);
}

static Frame *long4(const Routed *r, unsigned ip_len, uint16_t flags)
{
    Frame *f = frame_udp(port_mac, r->a->mac, A4, FAR4, 1000, 2000,
                         ip_len - 28);

    return frame_checksum(frame_set16(f, 14 + 6, flags));
}

static Frame *long6(const Routed *r, unsigned ip_len)
{
    return frame_udp(port_mac, r->a->mac, A6, FAR6, 1000, 2000, ip_len - 48);
}

/* The gateways' MAC addresses are known. */
static void resolve_gateways(Routed *r)
{
    user_send(r->a, udp(port_mac, r->a->mac, A4, FAR4));
    resolve4(r, A4, GW4, gateway_mac);
    user_send(r->a, udp(port_mac, r->a->mac, A6, FAR6));
    g_ptr_array_remove_index(r->net.wire.sent, 0);
    resolve6(r, GW6, gateway_mac);
    net_clear(&r->net);
}

static void test_mtu(void)
{
    const uint16_t df = 0x4000;
    Routed r;

    routed_init(&r);
    resolve_gateways(&r);
    user_send(r.a, long4(&r, 1500, df));
    assert_sent(&r.net.wire, out(long4(&r, 1500, df), gateway_mac));
    user_send(r.a, long6(&r, 1500));
    assert_sent(&r.net.wire, out(long6(&r, 1500), gateway_mac));

    user_send(r.a, long4(&r, 1501, df));
    assert_drops(r.a->link, TOO_BIG, 1);
    told_mtu(&r, 0x0304, 6);
    user_send(r.a, long6(&r, 1501));
    assert_drops(r.a->link, TOO_BIG, 2);
    told_mtu(&r, 0x0200, 6);

    /* siblings are not on the uplink */
    user_send(r.a, frame_udp(port_mac, r.a->mac, A4, B4, 1, 2, 8000));
    g_assert_cmpuint(r.b->got->len, ==, 1);
    net_clear(&r.net);
    routed_fini(&r);
}

/* What is cut later counts as what it is cut into. */
static void test_mtu_segments(void)
{
    Routed r;
    Frame *f;

    routed_init(&r);
    resolve_gateways(&r);
    f = frame_partial(frame_tcp(port_mac, r.a->mac, A4, FAR4, 60000));
    f->vnet.gso_type = PACKET_GSO_TCPV4;
    f->vnet.gso_size = 1460;
    user_send(r.a, frame_dup(f));
    g_assert_cmpuint(r.net.wire.sent->len, ==, 1);
    net_clear(&r.net);
    f->vnet.gso_size = 1461;
    user_send(r.a, f);
    assert_drops(r.a->link, TOO_BIG, 1);
    told_mtu(&r, 0x0304, 6);
    routed_fini(&r);
}

static void test_mtu_fragments(void)
{
    Routed r;

    routed_init(&r);
    resolve_gateways(&r);
    user_send(r.a, long4(&r, 4000, 0));
    g_assert_cmpuint(r.net.wire.sent->len, ==, 3);
    for (unsigned i = 0; i < 3; i++) {
        g_autoptr(Frame) f = wire_take(&r.net.wire);

        assert_mac(frame_dst(f), gateway_mac);
        assert_mac(frame_src(f), port_mac);
        g_assert_cmphex(frame_get16(f, 14 + 6), ==,
                        i * 1480 / 8 | (i < 2 ? 0x2000 : 0));
        g_assert_cmpuint(f->len, ==, 14 + (i < 2 ? 1500 : 20 + 1020));
    }
    net_assert_quiet(&r.net);
    routed_fini(&r);
}

/* --- from the uplink ------------------------------------------------------ */

static void test_receive(gconstpointer mode)
{
    Routed r;
    Frame *f;

    routed_init_with(&r, GPOINTER_TO_INT(mode), IPVLAN_BRIDGE,
                     *with_gateways());
    f = udp(port_mac, gateway_mac, FAR4, A4);
    wire_receive(&r.net.wire, frame_dup(f));
    assert_got(r.a, routed(f, r.a));
    f = frame_tcp(port_mac, gateway_mac, FAR6, B6, 100);
    wire_receive(&r.net.wire, frame_dup(f));
    assert_got(r.b, routed(f, r.b));
    routed_fini(&r);
}

static void dropped(Routed *r, Frame *f, DropReason why)
{
    Link *wire = r->net.wire.link;
    uint64_t before = wire->stats.drops[why];

    wire_receive(&r->net.wire, f);
    g_assert_cmpuint(wire->stats.drops[why], ==, before + 1);
    net_assert_quiet(&r->net);
}

static void test_receive_dropped(void)
{
    Routed r;

    routed_init(&r);
    dropped(&r, udp(port_mac, gateway_mac, FAR4, "10.0.0.99"), DROP_NO_OWNER);
    dropped(&r, udp(r.a->mac, gateway_mac, FAR4, A4), DROP_NOT_FOR_US);
    dropped(&r, udp(port_mac, port_mac, FAR4, A4), DROP_REFLECTED);
    dropped(&r, arp_request(port_mac, A4, GW4), DROP_REFLECTED);
    dropped(&r, udp(mac_broadcast, gateway_mac, FAR4, A4), DROP_NOT_ROUTED);
    dropped(&r, udp(group_mac, gateway_mac, FAR4, "224.0.0.101"),
            DROP_NOT_ROUTED);
    dropped(&r, frame_eth(port_mac, gateway_mac, 0x88cc, 46), DROP_NOT_IP);
    dropped(&r, frame_tag(udp(port_mac, gateway_mac, FAR4, A4), 0x8100, 5),
            DROP_NOT_IP);
    dropped(&r, frame_tag(arp_request(gateway_mac, GW4, A4), 0x8100, 5),
            DROP_NOT_IP);
    wire_receive(&r.net.wire, nd_router_advert(gateway_mac, "fe80::99"));
    routed_fini(&r);
}

static void test_default_slave(void)
{
    Routed r;
    User *c;
    Frame *f;

    routed_init(&r);
    c = net_add(&r.net, (IpvlanConfig) { .is_default = true });
    c->tells_mac = true;
    f = udp(port_mac, gateway_mac, FAR4, "10.0.0.99");
    wire_receive(&r.net.wire, frame_dup(f));
    assert_got(c, routed(f, c));
    routed_fini(&r);
}

/* What is single is found before the prefix around it. */
static void test_prefix(void)
{
    Routed r;
    User *c, *d;

    routed_init(&r);
    c = net_owner(&r.net, "10.1.0.0/24");
    d = net_owner(&r.net, "10.1.0.7");
    c->tells_mac = d->tells_mac = true;
    wire_receive(&r.net.wire, udp(port_mac, gateway_mac, FAR4, "10.1.0.6"));
    assert_got(c, routed(udp(port_mac, gateway_mac, FAR4, "10.1.0.6"), c));
    wire_receive(&r.net.wire, udp(port_mac, gateway_mac, FAR4, "10.1.0.7"));
    assert_got(d, routed(udp(port_mac, gateway_mac, FAR4, "10.1.0.7"), d));
    /* nested guests of c ask each other, not the port */
    user_send(c, arp_request(c->mac, "10.1.0.5", "10.1.0.6"));
    net_assert_quiet(&r.net);
    user_send(c, udp(port_mac, c->mac, "10.1.0.5", "10.1.0.7"));
    assert_got(d, routed(udp(port_mac, c->mac, "10.1.0.5", "10.1.0.7"), d));
    g_assert_cmpint(user_send(c, udp(port_mac, c->mac, "10.1.0.7", FAR4)), ==,
                    LINK_TX_DROPPED);
    assert_drops(c->link, NOT_OWNED, 1);
    routed_fini(&r);
}

/* --- the filter ----------------------------------------------------------- */

static IpvlanRule *add_rule(Routed *r, IpvlanDirection direction,
                            IpvlanAction action, const char *match)
{
    g_autoptr(GError) err = NULL;
    IpvlanRule *rule = ipvlan_rule_new(&(IpvlanRuleConfig) {
        .direction = direction, .action = action, .match = match,
    }, &err);

    g_assert_no_error(err);
    g_assert_cmpint(ipvlan_rule_attach(rule, r->net.wire.link, &err), ==, 0);
    return rule;
}

static void assert_counts(const IpvlanRule *rule, uint64_t n)
{
    uint64_t packets, bytes;

    ipvlan_rule_counts(rule, &packets, &bytes);
    g_assert_cmpuint(packets, ==, n);
    g_assert_cmpuint(!bytes, ==, !n);
}

static void filtered_init(Routed *r, IpvlanPolicy policy)
{
    IpvlanConfig config = *with_gateways();

    config.policy = &policy;
    routed_init_with(r, IPVLAN_L3S, IPVLAN_BRIDGE, config);
    /* so that the gateways are known, whatever is let through */
    user_send(r->a, udp(port_mac, r->a->mac, A4, FAR4));
    net_clear(&r->net);
}

/* Nothing, until a rule says so; then what it says, and what answers that. */
static void test_filter_drop(void)
{
    IpvlanRule *rule;
    Routed r;

    filtered_init(&r, IPVLAN_POLICY_DROP);
    refused(&r, udp(port_mac, r.a->mac, A4, B4), DROP_FILTER);
    wire_receive(&r.net.wire, udp(port_mac, gateway_mac, FAR4, A4));
    assert_drops(r.a->link, FILTER, 3);
    net_assert_quiet(&r.net);

    rule = add_rule(&r, IPVLAN_OUT, IPVLAN_ACCEPT, "udp");
    user_send(r.a, frame_udp(port_mac, r.a->mac, A4, FAR4, 1, 2, 9));
    resolve4(&r, A4, GW4, gateway_mac);
    g_assert_cmpuint(r.net.wire.sent->len, ==, 1);
    net_clear(&r.net);
    wire_receive(&r.net.wire,
                 frame_udp(port_mac, gateway_mac, FAR4, A4, 2, 1, 9));
    g_assert_cmpuint(r.a->got->len, ==, 1);
    wire_receive(&r.net.wire,
                 frame_udp(port_mac, gateway_mac, FAR4, A4, 3, 1, 9));
    g_assert_cmpuint(r.a->got->len, ==, 1);
    assert_drops(r.a->link, FILTER, 4);
    assert_counts(rule, 2);
    net_clear(&r.net);
    ipvlan_rule_free(rule);
    routed_fini(&r);
}

/* A frame that is refused because the uplink is busy is counted once. */
static void test_filter_busy(void)
{
    IpvlanRule *rule;
    Routed r;

    filtered_init(&r, IPVLAN_POLICY_ACCEPT);
    rule = add_rule(&r, IPVLAN_OUT, IPVLAN_ACCEPT, "udp");
    wire_receive(&r.net.wire, arp_reply(port_mac, gateway_mac, GW4, A4));
    g_assert_cmpuint(r.net.wire.sent->len, ==, 1);
    net_clear(&r.net);
    r.net.wire.room = 0;
    g_assert_cmpint(user_send(r.a, udp(port_mac, r.a->mac, A4, FAR4)), ==,
                    LINK_TX_BUSY);
    assert_counts(rule, 0);
    wire_make_room(&r.net.wire, NO_LIMIT);
    g_assert_cmpuint(r.net.wire.sent->len, ==, 1);
    assert_counts(rule, 1);
    net_clear(&r.net);
    ipvlan_rule_free(rule);
    routed_fini(&r);
}

/* The offset of TCP's flags in @f. */
static uint8_t tcp_flags(const Frame *f)
{
    return f->data[frame_offsets(f).l4 + 13];
}

static void assert_reset(Frame *f, const uint8_t *dst, const uint8_t *src)
{
    g_assert_true(frame_checksum_ok(f));
    assert_mac(frame_dst(f), dst);
    assert_mac(frame_src(f), src);
    g_assert_cmphex(tcp_flags(f) & 0x04, ==, 0x04);
    frame_free(f);
}

static Frame *syn(const uint8_t *src, const char *sip, const char *dip)
{
    Frame *f = frame_tcp(port_mac, src, sip, dip, 0);

    return frame_checksum(frame_set8(f, frame_offsets(f).l4 + 13, 0x02));
}

/* Who is refused is told, wherever he is: TCP by a reset. */
static void test_filter_reject(void)
{
    IpvlanRule *rule;
    Routed r;

    filtered_init(&r, IPVLAN_POLICY_ACCEPT);
    rule = add_rule(&r, IPVLAN_IN, IPVLAN_REJECT, "tcp dst port 80");
    user_send(r.a, syn(r.a->mac, A4, B4));
    assert_drops(r.a->link, FILTER, 1);
    g_assert_cmpuint(r.a->got->len, ==, 1);
    assert_reset(user_take(r.a), r.a->mac, port_mac);
    net_assert_quiet(&r.net);

    wire_receive(&r.net.wire, syn(gateway_mac, FAR6, B6));
    assert_drops(r.b->link, FILTER, 1);
    g_assert_cmpuint(r.net.wire.sent->len, ==, 1);
    assert_reset(wire_take(&r.net.wire), gateway_mac, port_mac);
    assert_counts(rule, 2);
    ipvlan_rule_free(rule);

    rule = add_rule(&r, IPVLAN_OUT, IPVLAN_REJECT, "tcp");
    user_send(r.b, syn(r.b->mac, B6, FAR6));
    assert_drops(r.b->link, FILTER, 2);
    g_assert_cmpuint(r.b->got->len, ==, 1);
    assert_reset(user_take(r.b), r.b->mac, port_mac);
    ipvlan_rule_free(rule);
    routed_fini(&r);
}

static Frame *on_its_way;

/* The guest writes to all of its frame. */
static void write_meanwhile(const LinkTrace *t)
{
    if (t->event == LINK_EVENT_FORWARD) {
        memset(on_its_way->data, 0xaa, on_its_way->len);
    }
}

/* What a rule has looked at, however deep, is what is sent. */
static void check_meanwhile(Routed *r, unsigned at)
{
    Frame *f = frame_udp(port_mac, r->a->mac, A4, B4, 1, 2, 1400);
    struct iovec iov = { f->data, f->len };
    g_autoptr(Frame) before = frame_set8(frame_dup(f), 34 + at, 7);
    g_autofree char *match = g_strdup_printf("udp[%u] = 7", at);
    IpvlanRule *rule = add_rule(r, IPVLAN_BOTH, IPVLAN_ACCEPT, match);
    g_autoptr(Frame) got = NULL;
    Packet p;

    frame_set8(f, 34 + at, 7);
    on_its_way = f;
    trace_hook = write_meanwhile;
    packet_init(&p, &iov, 1);
    g_assert_cmpint(link_xmit(r->a->link, &p), ==, LINK_TX_OK);
    trace_hook = NULL;
    g_assert_cmphex(f->data[34 + at], ==, 0xaa);
    got = user_take(r->b);
    g_assert_cmpmem(got->data + 12, 34 + at - 12 + 1,
                    before->data + 12, 34 + at - 12 + 1);
    ipvlan_rule_free(rule);
    frame_free(f);
}

static void test_filter_meanwhile(void)
{
    Routed r;

    filtered_init(&r, IPVLAN_POLICY_DROP);
    check_meanwhile(&r, 3);
    check_meanwhile(&r, 60);
    check_meanwhile(&r, 200);
    check_meanwhile(&r, 1300);
    routed_fini(&r);
}

/* A rule outlives the port, and is of use to the next one. */
static void test_filter_port_gone(void)
{
    g_autoptr(GError) err = NULL;
    IpvlanRule *rule;
    Routed r;

    filtered_init(&r, IPVLAN_POLICY_ACCEPT);
    rule = add_rule(&r, IPVLAN_BOTH, IPVLAN_DROP, NULL);
    net_del(r.a);
    net_del(r.b);
    g_assert_false(ipvlan_rule_is_attached(rule));
    r.a = add(&r, A4, A6, (IpvlanConfig) { .n_gateways = 0 });
    ipvlan_rule_attach(rule, r.net.wire.link, &err);
    g_assert_no_error(err);
    refused(&r, udp(port_mac, r.a->mac, A4, FAR4), DROP_FILTER);
    ipvlan_rule_free(rule);
    routed_fini(&r);
}

/* --- answers to the uplink ------------------------------------------------ */

static void test_proxy(void)
{
    Routed r;

    routed_init(&r);
    wire_receive(&r.net.wire, arp_request(gateway_mac, GW4, A4));
    assert_sent(&r.net.wire, arp_reply(gateway_mac, port_mac, A4, GW4));
    wire_receive(&r.net.wire, arp_probe(gateway_mac, B4));
    assert_sent(&r.net.wire, arp_reply(gateway_mac, port_mac, B4, "0.0.0.0"));
    wire_receive(&r.net.wire, arp_request(gateway_mac, GW4, "10.0.0.99"));
    wire_receive(&r.net.wire, arp_announce(gateway_mac, A4));
    net_assert_quiet(&r.net);

    wire_receive(&r.net.wire, nd_solicit(gateway_mac, GW6, A6));
    assert_sent(&r.net.wire, advert(gateway_mac, A6, GW6, 0x60));
    wire_receive(&r.net.wire, nd_probe(gateway_mac, B6));
    assert_sent(&r.net.wire, advert(all_nodes_mac, B6, "ff02::1", 0x20));
    wire_receive(&r.net.wire, nd_solicit(gateway_mac, GW6, r.ll[0]));
    assert_sent(&r.net.wire, advert(gateway_mac, r.ll[0], GW6, 0x60));
    wire_receive(&r.net.wire, nd_solicit(gateway_mac, GW6, "fd00::99"));
    wire_receive(&r.net.wire, nd_solicit(gateway_mac, GW6, r.ll[1]));
    wire_receive(&r.net.wire, nd_router_solicit(gateway_mac, "fe80::99"));
    routed_fini(&r);
}

/* The user-mode stack asks while it is being sent to, and is busy then. */
static void test_proxy_busy(void)
{
    Routed r;

    routed_init(&r);
    r.net.wire.room = 0;
    wire_receive(&r.net.wire, nd_solicit(gateway_mac, GW6, A6));
    wire_receive(&r.net.wire, arp_request(gateway_mac, GW4, A4));
    net_assert_quiet(&r.net);
    wire_make_room(&r.net.wire, 1);
    assert_sent(&r.net.wire, advert(gateway_mac, A6, GW6, 0x60));
    wire_make_room(&r.net.wire, NO_LIMIT);
    assert_sent(&r.net.wire, arp_reply(gateway_mac, port_mac, A4, GW4));

    /* no more than a few, and none when the port has gone */
    r.net.wire.room = 0;
    for (int i = 0; i < ANSWERS_MAX + 1; i++) {
        wire_receive(&r.net.wire, arp_request(gateway_mac, GW4, A4));
    }
    assert_drops(r.net.wire.link, NEIGH_QUEUE, 1);
    routed_fini(&r);
}

/* What was asked for on one wire is not answered on the next one. */
static void test_proxy_down(void)
{
    Routed r;

    routed_init(&r);
    r.net.wire.room = 0;
    wire_receive(&r.net.wire, arp_request(gateway_mac, GW4, A4));
    wire_receive(&r.net.wire, arp_request(gateway_mac, GW4, B4));
    link_set_carrier(r.net.wire.link, false);
    assert_drops(r.net.wire.link, LINK_DOWN, 2);
    link_set_carrier(r.net.wire.link, true);
    wire_make_room(&r.net.wire, NO_LIMIT);
    routed_fini(&r);
}

static void test_proxy_off(void)
{
    const bool off = false;
    Routed r;

    routed_init_with(&r, IPVLAN_L3, IPVLAN_BRIDGE,
                     (IpvlanConfig) { .proxy_arp = &off });
    wire_receive(&r.net.wire, arp_request(gateway_mac, GW4, A4));
    wire_receive(&r.net.wire, nd_solicit(gateway_mac, GW6, A6));
    net_assert_quiet(&r.net);
    /* for itself it has to answer, or nobody could answer it */
    wire_receive(&r.net.wire, nd_solicit(gateway_mac, GW6, r.ll[0]));
    assert_sent(&r.net.wire, advert(gateway_mac, r.ll[0], GW6, 0x60));
    routed_fini(&r);
}

/* --- configuration -------------------------------------------------------- */

typedef struct BadConfig {
    const char *what;
    IpvlanMode mode;
    IpvlanConfig config;
    const char *message;
} BadConfig;

static void test_config(void)
{
    static const bool on = true;
    static const IpvlanPolicy drop = IPVLAN_POLICY_DROP;
    IpAddr v4[] = { ip("192.0.2.1"), ip("192.0.2.2") };
    IpAddr group = ip("ff02::1");
    const BadConfig bad[] = {
        { "two of one family", IPVLAN_L3,
          { .gateways = v4, .n_gateways = 2 },
          "gateway=192.0.2.2: there is one for IPv4 already, 192.0.2.1" },
        { "a group", IPVLAN_L3, { .gateways = &group, .n_gateways = 1 },
          "gateway=ff02::1: it is not a unicast address of a host" },
        { "gateway in l2", IPVLAN_L2, { .gateways = v4, .n_gateways = 1 },
          "gateway=192.0.2.1: that is for mode=l3 and mode=l3s, and the mode "
          "is l2" },
        { "mtu in l2", IPVLAN_L2_MACNAT, { .mtu = 9000 },
          "mtu=9000: that is for mode=l3 and mode=l3s, and the mode is "
          "l2-macnat" },
        { "mtu", IPVLAN_L3, { .mtu = 1279 },
          "mtu=1279: it has to be between 1280 and 65535" },
        { "ra in l2", IPVLAN_L2, { .ra = &on },
          "ra=on: that is for mode=l3 and mode=l3s, and the mode is l2" },
        { "proxy-arp in l2", IPVLAN_L2, { .proxy_arp = &on },
          "proxy-arp=on: that is for mode=l3 and mode=l3s, and the mode is "
          "l2" },
        { "policy in l3", IPVLAN_L3, { .policy = &drop },
          "policy=drop: that is for mode=l3s, and the mode is l3" },
        { "learn", IPVLAN_L3S, { .learn = IPVLAN_LEARN_ON },
          "learn=on: mode=l3s does not learn addresses, give them with "
          "addr=" },
        { "learn", IPVLAN_L3, { .learn = IPVLAN_LEARN_DHCP },
          "learn=dhcp: mode=l3 does not learn addresses, give them with "
          "addr=" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        IpvlanConfig config = bad[i].config;
        g_autoptr(GError) err = NULL;
        Net net;

        net_init(&net, bad[i].mode, IPVLAN_BRIDGE);
        config.mode = &net.mode;
        config.default_mac = port_mac;
        config.max_addrs = 1;
        g_assert_null(link_new(&test_platform, "ipvlan", "n0", net.wire.link,
                               &config, &err));
        g_assert_cmpstr(err->message, ==, bad[i].message);
        g_assert_null(net.wire.link->rx_handler);
        net_fini(&net);
    }
}

static void contradiction(Net *net, IpvlanConfig config, const char *message)
{
    g_autoptr(GError) err = NULL;

    config.default_mac = port_mac;
    config.max_addrs = 1;
    g_assert_null(link_new(&test_platform, "ipvlan", "no", net->wire.link,
                           &config, &err));
    g_assert_cmpstr(err->message, ==, message);
}

/* A later slave may repeat what its port is, and nothing else. */
static void test_config_contradiction(void)
{
    static const bool off;
    static const IpvlanPolicy drop = IPVLAN_POLICY_DROP;
    IpAddr other = ip("192.0.2.2"), same = ip(GW4);
    Routed r;

    routed_init_with(&r, IPVLAN_L3S, IPVLAN_BRIDGE, *with_gateways());
    contradiction(&r.net, (IpvlanConfig) {
        .gateways = &other, .n_gateways = 1,
    }, "gateway=192.0.2.2 contradicts gateway=10.0.0.254 of the slaves that "
       "'up0' has");
    contradiction(&r.net, (IpvlanConfig) { .mtu = 9000 },
        "mtu=9000 contradicts mtu=1500 of the slaves that 'up0' has");
    contradiction(&r.net, (IpvlanConfig) { .ra = &off },
        "ra=off contradicts ra=on of the slaves that 'up0' has");
    contradiction(&r.net, (IpvlanConfig) { .proxy_arp = &off },
        "proxy-arp=off contradicts proxy-arp=on of the slaves that 'up0' "
        "has");
    contradiction(&r.net, (IpvlanConfig) { .policy = &drop },
        "policy=drop contradicts policy=accept of the slaves that 'up0' has");
    net_add(&r.net, (IpvlanConfig) {
        .gateways = &same, .n_gateways = 1, .mtu = 1500,
    });
    routed_fini(&r);
}

static uint32_t mtu_of(const Routed *r)
{
    IpvlanPortInfo info;

    g_assert_true(ipvlan_port_info(r->net.wire.link, &info));
    return info.mtu;
}

/* The uplink's own MTU is for who has given none. */
static void test_config_mtu(void)
{
    Routed r;

    routed_init_with(&r, IPVLAN_L3, IPVLAN_BRIDGE,
                     (IpvlanConfig) { .default_mtu = 9000 });
    g_assert_cmpuint(mtu_of(&r), ==, 9000);
    ipvlan_port_set_default_mtu(r.net.wire.link, 4000);
    g_assert_cmpuint(mtu_of(&r), ==, 4000);
    ipvlan_port_set_default_mtu(r.net.wire.link, 0);
    g_assert_cmpuint(mtu_of(&r), ==, IPVLAN_MTU);
    net_add(&r.net, (IpvlanConfig) { .default_mtu = 9000 });
    g_assert_cmpuint(mtu_of(&r), ==, IPVLAN_MTU);
    net_add(&r.net, (IpvlanConfig) { .mtu = IPVLAN_MTU });
    ipvlan_port_set_default_mtu(r.net.wire.link, 9000);
    g_assert_cmpuint(mtu_of(&r), ==, IPVLAN_MTU);
    routed_fini(&r);

    routed_init_with(&r, IPVLAN_L3, IPVLAN_BRIDGE,
                     (IpvlanConfig) { .mtu = 1400, .default_mtu = 9000 });
    ipvlan_port_set_default_mtu(r.net.wire.link, 9000);
    g_assert_cmpuint(mtu_of(&r), ==, 1400);
    routed_fini(&r);
}

/* What is not said is chosen for the mode. */
static void test_config_auto(void)
{
    static const struct {
        IpvlanMode mode;
        const char *addr;
        IpvlanLearn learn;
        IpvlanLearn is;
        IpvlanGuard guard;
        bool is_default;
    } cases[] = {
        { IPVLAN_L2_MACNAT, NULL, IPVLAN_LEARN_OFF, IPVLAN_LEARN_OFF,
          IPVLAN_GUARD_OFF, true },
        { IPVLAN_L3, NULL, IPVLAN_LEARN_AUTO, IPVLAN_LEARN_OFF,
          IPVLAN_GUARD_OFF, true },
        { IPVLAN_L3, A4, IPVLAN_LEARN_AUTO, IPVLAN_LEARN_OFF,
          IPVLAN_GUARD_ON, true },
        { IPVLAN_L2_MACNAT, NULL, IPVLAN_LEARN_AUTO, IPVLAN_LEARN_ON,
          IPVLAN_GUARD_OFF },
        { IPVLAN_L2_MACNAT, A4, IPVLAN_LEARN_AUTO, IPVLAN_LEARN_OFF,
          IPVLAN_GUARD_ON },
        { IPVLAN_L2, A4, IPVLAN_LEARN_ON, IPVLAN_LEARN_ON,
          IPVLAN_GUARD_OFF },
        { IPVLAN_L2_MACNAT, NULL, IPVLAN_LEARN_DHCP, IPVLAN_LEARN_DHCP,
          IPVLAN_GUARD_ON },
        { IPVLAN_L3, NULL, IPVLAN_LEARN_AUTO, IPVLAN_LEARN_OFF,
          IPVLAN_GUARD_ON },
        { IPVLAN_L3S, A4, IPVLAN_LEARN_AUTO, IPVLAN_LEARN_OFF,
          IPVLAN_GUARD_ON },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        IpPrefix p = prefix(cases[i].addr ?: A4);
        IpvlanSlaveInfo info;
        Net net;
        User *u;

        net_init(&net, cases[i].mode, IPVLAN_BRIDGE);
        u = net_add(&net, (IpvlanConfig) {
            .addrs = &p, .n_addrs = !!cases[i].addr,
            .learn = cases[i].learn, .guard = IPVLAN_GUARD_AUTO,
            .is_default = cases[i].is_default,
        });
        ipvlan_slave_info(u->link, &info);
        g_assert_cmpint(info.learn, ==, cases[i].is);
        g_assert_cmpint(info.guard, ==, cases[i].guard);
        net_fini(&net);
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/route/arp", test_arp);
    g_test_add_func("/route/nd", test_nd);
    g_test_add_func("/route/nd/hop-limit", test_nd_hop_limit);
    g_test_add_func("/route/ra", test_ra);
    g_test_add_func("/route/ra/off", test_ra_off);
    g_test_add_data_func("/route/sibling/l3", GINT_TO_POINTER(IPVLAN_L3),
                         test_sibling);
    g_test_add_data_func("/route/sibling/l3s", GINT_TO_POINTER(IPVLAN_L3S),
                         test_sibling);
    g_test_add_func("/route/sibling/any-mac", test_sibling_any_mac);
    g_test_add_func("/route/sibling/unknown", test_unknown_guest);
    g_test_add_func("/route/receive/unknown", test_unknown_receiver);
    g_test_add_func("/route/private", test_private);
    g_test_add_func("/route/vepa", test_vepa);
    g_test_add_func("/route/vepa/on-link", test_vepa_on_link);
    g_test_add_func("/route/gateway", test_gateway);
    g_test_add_func("/route/on-link", test_on_link);
    g_test_add_func("/route/not-routed", test_not_routed);
    g_test_add_func("/route/not-owned", test_not_owned);
    g_test_add_func("/route/mtu", test_mtu);
    g_test_add_func("/route/mtu/segments", test_mtu_segments);
    g_test_add_func("/route/mtu/fragments", test_mtu_fragments);
    g_test_add_data_func("/route/receive/l3", GINT_TO_POINTER(IPVLAN_L3),
                         test_receive);
    g_test_add_data_func("/route/receive/l3s", GINT_TO_POINTER(IPVLAN_L3S),
                         test_receive);
    g_test_add_func("/route/receive/dropped", test_receive_dropped);
    g_test_add_func("/route/receive/default", test_default_slave);
    g_test_add_func("/route/prefix", test_prefix);
    g_test_add_func("/route/filter/drop", test_filter_drop);
    g_test_add_func("/route/filter/busy", test_filter_busy);
    g_test_add_func("/route/filter/reject", test_filter_reject);
    g_test_add_func("/route/filter/meanwhile", test_filter_meanwhile);
    g_test_add_func("/route/filter/port-gone", test_filter_port_gone);
    g_test_add_func("/route/proxy", test_proxy);
    g_test_add_func("/route/proxy/busy", test_proxy_busy);
    g_test_add_func("/route/proxy/down", test_proxy_down);
    g_test_add_func("/route/proxy/off", test_proxy_off);
    g_test_add_func("/route/config", test_config);
    g_test_add_func("/route/config/contradiction", test_config_contradiction);
    g_test_add_func("/route/config/mtu", test_config_mtu);
    g_test_add_func("/route/config/auto", test_config_auto);
    return g_test_run();
}
