/*
 * libvlink: guards, and each way to get around them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"

#define A4 "10.0.0.1"
#define A6 "fd00::a"
#define B4 "10.0.0.2"
#define B6 "fd00::b"
#define NET4 "10.9.0.0/24"      /* a's, too */
#define IN_NET4 "10.9.0.77"
#define X4 "10.0.0.66"          /* nobody's */
#define X6 "fd00::66"
#define FAR4 "192.0.2.9"
#define FAR6 "2001:db8::9"

static const uint8_t other_mac[] = { 0x52, 0x54, 0, 0x99, 0, 1 };

/* a has a guard, b has none. */
typedef struct Trial {
    Net net;
    User *a, *b;
} Trial;

/* @addrs: prefixes, with a blank between them. */
static User *add(Net *net, const char *addrs, IpvlanGuard guard)
{
    g_auto(GStrv) words = g_strsplit(addrs, " ", 0);
    unsigned n = g_strv_length(words);
    IpPrefix prefixes[4];

    g_assert_cmpuint(n, <=, G_N_ELEMENTS(prefixes));
    for (unsigned i = 0; i < n; i++) {
        prefixes[i] = prefix(words[i]);
    }
    return net_add(net, (IpvlanConfig) {
        .addrs = prefixes, .n_addrs = n, .guard = guard,
    });
}

static void trial_init(Trial *t, IpvlanMode mode, IpvlanGuard guard)
{
    net_init(&t->net, mode, IPVLAN_BRIDGE);
    t->a = add(&t->net, A4 " " A6 " " NET4, guard);
    t->b = add(&t->net, B4 " " B6, IPVLAN_GUARD_OFF);
}

static void trial_fini(Trial *t)
{
    net_clear(&t->net);
    net_fini(&t->net);
}

/* Dropped for @why and no other reason, and seen by nobody.  Frees @f. */
static void refused(Trial *t, DropReason why, Frame *f)
{
    const LinkStats *stats = &t->a->link->stats;
    uint64_t all = link_stats_drops(stats), these = stats->drops[why];

    user_send(t->a, f);
    g_assert_cmpuint(stats->drops[why], ==, these + 1);
    g_assert_cmpuint(link_stats_drops(stats), ==, all + 1);
    net_assert_quiet(&t->net);
}

/* Not dropped, and somebody sees it. */
static void passes(Trial *t, Frame *f)
{
    const LinkStats *stats = &t->a->link->stats;
    uint64_t all = link_stats_drops(stats);

    user_send(t->a, f);
    clock_run_pending();
    g_assert_cmpuint(link_stats_drops(stats), ==, all);
    g_assert_cmpuint(t->net.wire.sent->len + t->b->got->len, >, 0);
    net_clear(&t->net);
}

#define REFUSED(t, why, f) refused(t, DROP_##why, f)

/* The text of the link-local address of @mac; in a static buffer. */
static const char *local_of(const uint8_t *mac)
{
    static char text[IP_STR_MAX];
    IpAddr addr = ip_link_local_from_mac(mac);

    return ip_format(&addr, text);
}

static Frame *from(const Trial *t, const char *sip)
{
    return udp(gateway_mac, t->a->mac, sip,
               strchr(sip, ':') ? FAR6 : FAR4);
}

static IpvlanMode mode_of(gconstpointer data)
{
    return GPOINTER_TO_INT(data);
}

/* --- IP ------------------------------------------------------------------- */

static void test_ip(gconstpointer data)
{
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    passes(&t, from(&t, A4));
    passes(&t, from(&t, A6));
    passes(&t, from(&t, IN_NET4));
    REFUSED(&t, GUARD_SOURCE, from(&t, X4));
    REFUSED(&t, GUARD_SOURCE, from(&t, X6));
    REFUSED(&t, GUARD_SOURCE, from(&t, "10.9.1.1"));
    REFUSED(&t, GUARD_SOURCE, from(&t, "224.0.0.5"));
    REFUSED(&t, GUARD_SOURCE, from(&t, "127.0.0.1"));
    REFUSED(&t, GUARD_SOURCE, from(&t, "255.255.255.255"));
    REFUSED(&t, GUARD_SOURCE, from(&t, "::1"));
    REFUSED(&t, GUARD_SOURCE, from(&t, "ff02::1"));
    REFUSED(&t, GUARD_SOURCE, from(&t, "::ffff:10.0.0.1"));
    /* that it is another's weighs more */
    REFUSED(&t, NOT_OWNED, from(&t, B4));
    REFUSED(&t, NOT_OWNED, from(&t, B6));
    /* to whomever */
    REFUSED(&t, GUARD_SOURCE, udp(mac_broadcast, t.a->mac, X4,
                                  "255.255.255.255"));
    REFUSED(&t, GUARD_SOURCE, udp(t.b->mac, t.a->mac, X4, B4));
    REFUSED(&t, GUARD_SOURCE, udp_group(t.a->mac, X6, "ff02::1"));
    g_assert_cmpuint(net_addresses(t.a), ==, 3);
    trial_fini(&t);
}

static void test_tagged(gconstpointer data)
{
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    passes(&t, frame_tag(from(&t, A4), 0x8100, 5));
    passes(&t, frame_tag(frame_tag(from(&t, A6), 0x8100, 5), 0x88a8, 6));
    REFUSED(&t, GUARD_SOURCE, frame_tag(from(&t, X4), 0x8100, 5));
    REFUSED(&t, GUARD_SOURCE, frame_tag(from(&t, X4), 0x8100, 0));
    REFUSED(&t, GUARD_SOURCE,
            frame_tag(frame_tag(from(&t, X6), 0x8100, 5), 0x88a8, 6));
    REFUSED(&t, GUARD_ARP,
            frame_tag(arp_announce(t.a->mac, X4), 0x8100, 5));
    REFUSED(&t, GUARD_ND, frame_tag(nd_probe(t.a->mac, X6), 0x88a8, 5));
    trial_fini(&t);
}

static Frame *thrice(Frame *f, uint16_t outermost)
{
    frame_tag(frame_tag(f, 0x8100, 1), 0x88a8, 2);
    return frame_tag(f, outermost, 3);
}

/* Behind an 802.3 length and a SNAP header; 0: RFC 1042, 0xf8: 802.1H. */
static Frame *in_snap_of(Frame *f, uint8_t oui)
{
    const uint8_t snap[] = { 0xaa, 0xaa, 3, 0, 0, oui };
    uint8_t head[8];

    head[0] = (f->len - 14 + 8) >> 8;
    head[1] = f->len - 14 + 8;
    memcpy(head + 2, snap, sizeof(snap));
    return frame_insert(f, 12, head, sizeof(head));
}

static Frame *in_snap(Frame *f)
{
    return in_snap_of(f, 0);
}

/* What cannot be looked into does not pass, whatever may be inside. */
static void test_too_deep(gconstpointer data)
{
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    REFUSED(&t, GUARD_TAGS, thrice(from(&t, X4), 0x8100));
    REFUSED(&t, GUARD_TAGS, thrice(from(&t, A4), 0x88a8));
    REFUSED(&t, GUARD_TAGS, frame_tag(from(&t, X4), 0x9100, 1));
    REFUSED(&t, GUARD_TAGS, frame_tag(from(&t, X4), 0x9200, 1));
    REFUSED(&t, GUARD_TAGS, in_snap(from(&t, X4)));
    REFUSED(&t, GUARD_TAGS, in_snap(arp_announce(t.a->mac, X4)));
    REFUSED(&t, GUARD_TAGS, in_snap_of(arp_announce(t.a->mac, X4), 0xf8));
    REFUSED(&t, GUARD_TAGS, frame_tag(in_snap(from(&t, X4)), 0x8100, 1));
    /* a bare tag, cut off behind it */
    REFUSED(&t, GUARD_TAGS, frame_cut(thrice(from(&t, X4), 0x8100), 26));
    /* neither IP nor disguised */
    passes(&t, frame_eth(gateway_mac, t.a->mac, 0x88cc, 60));
    passes(&t, frame_eth(gateway_mac, t.a->mac, 60, 60));
    passes(&t, in_snap_of(frame_eth(gateway_mac, t.a->mac, 0x2000, 60), 12));
    trial_fini(&t);
}

static void test_fragment(gconstpointer data)
{
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    passes(&t, frame_fragment(from(&t, A4), 0, true));
    passes(&t, frame_fragment(from(&t, A4), 800, false));
    passes(&t, frame_fragment(from(&t, A6), 0, true));
    passes(&t, frame_fragment(from(&t, A6), 800, false));
    REFUSED(&t, GUARD_SOURCE, frame_fragment(from(&t, X4), 0, true));
    REFUSED(&t, GUARD_SOURCE, frame_fragment(from(&t, X4), 800, false));
    REFUSED(&t, GUARD_SOURCE, frame_fragment(from(&t, X6), 0, true));
    REFUSED(&t, GUARD_SOURCE, frame_fragment(from(&t, X6), 800, false));
    REFUSED(&t, GUARD_SOURCE, frame_fragment(from(&t, X6), 0, false));
    /* RFC 6980: refused by the parser, for everybody */
    REFUSED(&t, BAD_FRAGMENT,
            frame_fragment(nd_advert(gateway_mac, t.a->mac, X6, FAR6), 0,
                           true));
    REFUSED(&t, BAD_FRAGMENT,
            frame_fragment(nd_advert(gateway_mac, t.a->mac, X6, FAR6), 0,
                           false));
    trial_fini(&t);
}

static void test_extension(gconstpointer data)
{
    static const uint8_t types[] = { 0, 43, 51, 60 };
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        passes(&t, frame_ext(from(&t, A6), types[i], 24));
        REFUSED(&t, GUARD_SOURCE, frame_ext(from(&t, X6), types[i], 24));
        REFUSED(&t, GUARD_ND,
                frame_ext(nd_advert(gateway_mac, t.a->mac, X6, FAR6),
                          types[i], 16));
        REFUSED(&t, GUARD_MAC,
                frame_ext(frame_nd(gateway_mac, t.a->mac, A6, FAR6,
                                   ND_NEIGHBOUR_ADVERT, A6, 2, other_mac),
                          types[i], 64));
    }
    REFUSED(&t, GUARD_SOURCE, frame_options(from(&t, X4), 40));
    trial_fini(&t);
}

/* Nobody at all: only who looks for an address, or joins before it has one. */
static void test_unspecified(gconstpointer data)
{
    static const char *const any = "0.0.0.0", *const any6 = "::";
    const uint8_t *mac;
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    mac = t.a->mac;
    passes(&t, dhcp_request(mac, 1));
    passes(&t, igmp(mac, any, "224.0.0.251", 0x16, 0, "224.0.0.251"));
    passes(&t, igmp(mac, any, "224.0.0.251", 0x12, 0, "224.0.0.251"));
    passes(&t, igmp(mac, any, "224.0.0.2", 0x17, 0, "224.0.0.251"));
    passes(&t, igmp(mac, any, "224.0.0.22", 0x22, 0, any));
    passes(&t, mld(mac, any6, "ff02::fb", 131, 0, "ff02::fb"));
    passes(&t, mld(mac, any6, "ff02::2", 132, 0, "ff02::fb"));
    passes(&t, mld(mac, any6, "ff02::16", 143, 0, any6));
    passes(&t, nd_probe(mac, A6));
    passes(&t, frame_nd(gateway_mac, mac, any6, "ff02::2",
                        ND_ROUTER_SOLICIT, NULL, 0, NULL));

    REFUSED(&t, GUARD_SOURCE, from(&t, any));
    REFUSED(&t, GUARD_SOURCE, from(&t, "0.0.0.1"));
    REFUSED(&t, GUARD_SOURCE, from(&t, any6));
    REFUSED(&t, GUARD_SOURCE,
            frame_udp(mac_broadcast, mac, any, "255.255.255.255", 67, 68,
                      300));
    REFUSED(&t, GUARD_SOURCE,
            frame_fragment(dhcp_request(mac, 1), 0, true));
    REFUSED(&t, GUARD_SOURCE,
            igmp(mac, any, "224.0.0.1", 0x11, 10, any));
    REFUSED(&t, GUARD_SOURCE,
            mld(mac, any6, "ff02::1", 130, 10, any6));
    REFUSED(&t, GUARD_SOURCE,
            frame_ip(gateway_mac, mac, any, FAR4, 1, 20));
    REFUSED(&t, GUARD_ND,
            frame_nd(gateway_mac, mac, any6, "ff02::1",
                     ND_ROUTER_ADVERT, NULL, 0, NULL));
    REFUSED(&t, GUARD_ND,
            frame_nd(gateway_mac, mac, any6, "ff02::1",
                     ND_NEIGHBOUR_ADVERT, A6, 0, NULL));
    REFUSED(&t, GUARD_ND,
            frame_nd(gateway_mac, mac, any6, FAR6, ND_REDIRECT, A6, 0, NULL));
    trial_fini(&t);
}

/* --- ARP and RARP --------------------------------------------------------- */

static void test_arp(gconstpointer data)
{
    const uint8_t *mac;
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    mac = t.a->mac;
    passes(&t, arp_request(mac, A4, X4));
    passes(&t, arp_announce(mac, A4));
    passes(&t, arp_announce(mac, IN_NET4));
    passes(&t, arp_reply(gateway_mac, mac, A4, FAR4));
    REFUSED(&t, GUARD_ARP, arp_request(mac, X4, FAR4));
    REFUSED(&t, GUARD_ARP, arp_announce(mac, X4));
    REFUSED(&t, GUARD_ARP, arp_reply(gateway_mac, mac, X4, FAR4));
    REFUSED(&t, GUARD_ARP, arp_reply(t.b->mac, mac, X4, B4));
    REFUSED(&t, GUARD_ARP, arp_reply(mac_broadcast, mac, X4, X4));
    REFUSED(&t, GUARD_ARP, arp_request(mac, "255.255.255.255", FAR4));
    REFUSED(&t, NOT_OWNED, arp_announce(mac, B4));
    REFUSED(&t, NOT_OWNED, arp_reply(gateway_mac, mac, B4, FAR4));
    trial_fini(&t);
}

static void test_arp_probe(gconstpointer data)
{
    const uint8_t *mac;
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    mac = t.a->mac;
    passes(&t, arp_probe(mac, A4));
    passes(&t, arp_probe(mac, IN_NET4));
    passes(&t, arp_probe(mac, B4));
    REFUSED(&t, GUARD_ARP, arp_probe(mac, X4));
    REFUSED(&t, GUARD_ARP, arp_probe(mac, "0.0.0.0"));
    trial_fini(&t);
}

/* Somebody else's hardware address inside of the message. */
static void test_arp_mac(gconstpointer data)
{
    static const uint8_t ops[] = { 1, 2 };
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    for (unsigned i = 0; i < G_N_ELEMENTS(ops); i++) {
        Frame *f = frame_arp(gateway_mac, other_mac, ops[i], A4, gateway_mac,
                             FAR4);

        frame_set_mac_src(f, t.a->mac);
        REFUSED(&t, GUARD_MAC, frame_dup(f));
        REFUSED(&t, GUARD_MAC, frame_tag(f, 0x8100, 9));
    }
    trial_fini(&t);
}

static void test_rarp(gconstpointer data)
{
    const uint8_t *mac;
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    mac = t.a->mac;
    passes(&t, rarp_announce(mac));
    passes(&t, frame_set16(frame_arp(mac_broadcast, mac, 3, A4, mac,
                                     "0.0.0.0"), 12, 0x8035));
    REFUSED(&t, GUARD_MAC, frame_set_mac_src(rarp_announce(other_mac), mac));
    REFUSED(&t, GUARD_ARP,
            frame_set16(frame_arp(gateway_mac, mac, 4, X4, gateway_mac,
                                  FAR4), 12, 0x8035));
    REFUSED(&t, NOT_OWNED,
            frame_set16(frame_arp(gateway_mac, mac, 4, B4, gateway_mac,
                                  FAR4), 12, 0x8035));
    trial_fini(&t);
}

/* --- neighbour discovery -------------------------------------------------- */

static void test_nd(gconstpointer data)
{
    const uint8_t *mac;
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    mac = t.a->mac;
    passes(&t, nd_advert(gateway_mac, mac, A6, FAR6));
    passes(&t, nd_solicit(mac, A6, X6));
    passes(&t, nd_router_solicit(mac, A6));
    /* the target that is not its own, from its own address */
    REFUSED(&t, GUARD_ND, frame_nd(gateway_mac, mac, A6, FAR6,
                                   ND_NEIGHBOUR_ADVERT, X6, 2, mac));
    REFUSED(&t, NOT_OWNED, frame_nd(gateway_mac, mac, A6, FAR6,
                                    ND_NEIGHBOUR_ADVERT, B6, 2, mac));
    /* and the other way round */
    REFUSED(&t, GUARD_ND, frame_nd(gateway_mac, mac, X6, FAR6,
                                   ND_NEIGHBOUR_ADVERT, A6, 2, mac));
    REFUSED(&t, GUARD_ND, nd_advert(gateway_mac, mac, X6, FAR6));
    REFUSED(&t, GUARD_ND, nd_solicit(mac, X6, FAR6));
    REFUSED(&t, GUARD_ND, nd_router_solicit(mac, X6));
    REFUSED(&t, NOT_OWNED, nd_solicit(mac, B6, FAR6));
    trial_fini(&t);
}

static void test_dad(gconstpointer data)
{
    const uint8_t *mac;
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    mac = t.a->mac;
    passes(&t, nd_probe(mac, A6));
    passes(&t, nd_probe(mac, B6));
    REFUSED(&t, GUARD_ND, nd_probe(mac, X6));
    REFUSED(&t, GUARD_ND, frame_ext(nd_probe(mac, X6), 0, 8));
    g_assert_cmpuint(net_addresses(t.a), ==, 3);
    trial_fini(&t);
}

/* A second option, behind one that nobody minds. */
static Frame *with_nonce(Frame *f, unsigned fixed)
{
    static const uint8_t nonce[8] = { 14, 1, 1, 2, 3, 4, 5, 6 };
    FrameOffsets o = frame_offsets(f);

    frame_insert(f, o.l4 + fixed, nonce, sizeof(nonce));
    frame_set16(f, o.l3 + 4, o.end - o.l3 - 40 + sizeof(nonce));
    return frame_checksum(f);
}

static void test_nd_options(gconstpointer data)
{
    const uint8_t *mac;
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    mac = t.a->mac;
    passes(&t, with_nonce(nd_solicit(mac, A6, FAR6), 24));
    REFUSED(&t, GUARD_MAC, frame_nd(gateway_mac, mac, A6, FAR6,
                                    ND_NEIGHBOUR_SOLICIT, FAR6, 1,
                                    other_mac));
    REFUSED(&t, GUARD_MAC, frame_nd(gateway_mac, mac, A6, FAR6,
                                    ND_NEIGHBOUR_ADVERT, A6, 2, other_mac));
    REFUSED(&t, GUARD_MAC, frame_nd(gateway_mac, mac, A6, "ff02::2",
                                    ND_ROUTER_SOLICIT, NULL, 1, other_mac));
    REFUSED(&t, GUARD_MAC, frame_nd(gateway_mac, mac, A6, "ff02::1",
                                    ND_ROUTER_ADVERT, NULL, 1, other_mac));
    REFUSED(&t, GUARD_MAC,
            with_nonce(frame_nd(gateway_mac, mac, A6, FAR6,
                                ND_NEIGHBOUR_ADVERT, A6, 2, other_mac), 24));
    REFUSED(&t, GUARD_MAC,
            frame_tag(frame_nd(gateway_mac, mac, A6, FAR6,
                               ND_NEIGHBOUR_ADVERT, A6, 2, other_mac),
                      0x8100, 3));
    /* a redirect's target is another host: see strict */
    passes(&t, nd_redirect(gateway_mac, mac, A6, FAR6, other_mac));
    trial_fini(&t);
}

/* --- the link-local address ----------------------------------------------- */

static void test_local(gconstpointer data)
{
    const char *local;
    const uint8_t *mac;
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    mac = t.a->mac;
    local = local_of(mac);
    passes(&t, nd_probe(mac, local));
    passes(&t, nd_solicit(mac, local, FAR6));
    passes(&t, from(&t, local));
    passes(&t, frame_nd(gateway_mac, mac, local, FAR6, ND_NEIGHBOUR_ADVERT,
                        local, 2, mac));
    /* "one table answers both": what it may send is delivered to it */
    g_assert_true(net_owner_of(&t.net, local) == t.a);
    wire_receive(&t.net.wire, udp(port_mac, gateway_mac, FAR6, local));
    g_assert_cmpuint(t.a->got->len, ==, 1);
    net_clear(&t.net);
    trial_fini(&t);
}

/* Privacy addresses (RFC 7217, RFC 8981) have to be given. */
static void test_local_other(gconstpointer data)
{
    static const char private[] = "fe80::1234:5678:9abc:def0";
    const uint8_t *mac;
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    mac = t.a->mac;
    REFUSED(&t, GUARD_ND, nd_probe(mac, private));
    REFUSED(&t, GUARD_ND, nd_solicit(mac, private, FAR6));
    REFUSED(&t, GUARD_ND, nd_advert(gateway_mac, mac, private, FAR6));
    REFUSED(&t, GUARD_SOURCE, from(&t, private));
    REFUSED(&t, GUARD_ND, nd_probe(mac, local_of(other_mac)));
    REFUSED(&t, GUARD_SOURCE, from(&t, local_of(gateway_mac)));
    /* nor is it another prefix's */
    REFUSED(&t, GUARD_SOURCE, from(&t, "fd00::5054:ff:fe12:3456"));
    trial_fini(&t);
}

/* It takes no lease's place, and can be used all the same. */
static void test_local_room(void)
{
    User *a;
    Trial t;

    net_init(&t.net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    t.a = a = net_add(&t.net, (IpvlanConfig) {
        .learn = IPVLAN_LEARN_DHCP, .guard = IPVLAN_GUARD_ON, .max_addrs = 1,
    });
    t.b = net_owner(&t.net, B4);
    passes(&t, dhcp_request(a->mac, 7));
    wire_receive(&t.net.wire, dhcp_reply(mac_broadcast, gateway_mac, DHCPACK,
                                         A4, a->mac, 7, 60));
    net_clear(&t.net);
    passes(&t, nd_probe(a->mac, local_of(a->mac)));
    passes(&t, from(&t, local_of(a->mac)));
    g_assert_true(net_owner_of(&t.net, A4) == a);
    passes(&t, from(&t, A4));
    trial_fini(&t);
}

/* --- one MAC -------------------------------------------------------------- */

static void test_mac_l2(void)
{
    Trial t;

    trial_init(&t, IPVLAN_L2, IPVLAN_GUARD_ON);
    REFUSED(&t, FOREIGN_MAC, frame_set_mac_src(from(&t, A4), other_mac));
    passes(&t, from(&t, A4));
    REFUSED(&t, FOREIGN_MAC, frame_set_mac_src(from(&t, A4), other_mac));
    trial_fini(&t);
}

/* What its NIC tells is not what a guest in l2 uses. */
static void test_mac_l2_nic(void)
{
    Trial t;

    trial_init(&t, IPVLAN_L2, IPVLAN_GUARD_ON);
    memcpy(t.a->mac, other_mac, ETHER_ADDR_LEN);
    t.a->tells_mac = true;
    passes(&t, udp(gateway_mac, port_mac, A4, FAR4));
    passes(&t, arp_announce(port_mac, A4));
    trial_fini(&t);
}

static void test_mac_second(void)
{
    const uint8_t *mac;
    Trial t;

    trial_init(&t, IPVLAN_L2_MACNAT, IPVLAN_GUARD_ON);
    mac = t.a->mac;
    passes(&t, from(&t, A4));
    REFUSED(&t, GUARD_MAC, frame_set_mac_src(from(&t, A4), other_mac));
    REFUSED(&t, GUARD_MAC, frame_eth(gateway_mac, other_mac, 0x88cc, 50));
    REFUSED(&t, GUARD_MAC, arp_announce(other_mac, A4));
    REFUSED(&t, GUARD_MAC, frame_tag(frame_eth(gateway_mac, other_mac,
                                               0x88cc, 50), 0x8100, 7));
    passes(&t, udp(gateway_mac, mac, A4, FAR4));
    trial_fini(&t);
}

/* Nobody takes a sibling's frames by using its MAC. */
static void test_mac_sibling(void)
{
    Trial t;

    trial_init(&t, IPVLAN_L2_MACNAT, IPVLAN_GUARD_ON);
    passes(&t, from(&t, A4));
    REFUSED(&t, GUARD_MAC, frame_eth(gateway_mac, t.b->mac, 0x88cc, 50));
    user_send(t.b, frame_eth(gateway_mac, t.b->mac, 0x88cc, 50));
    net_clear(&t.net);
    REFUSED(&t, GUARD_MAC, frame_eth(gateway_mac, t.b->mac, 0x88cc, 50));
    user_send(t.a, frame_eth(t.b->mac, t.a->mac, 0x88cc, 50));
    assert_got(t.b, frame_eth(t.b->mac, t.a->mac, 0x88cc, 50));
    trial_fini(&t);
}

/* The NIC's, as it is when the guest first speaks. */
static void test_mac_nic(void)
{
    uint8_t first[ETHER_ADDR_LEN];
    Trial t;

    trial_init(&t, IPVLAN_L2_MACNAT, IPVLAN_GUARD_ON);
    memcpy(first, t.a->mac, ETHER_ADDR_LEN);
    t.a->tells_mac = true;
    REFUSED(&t, GUARD_MAC, frame_set_mac_src(from(&t, A4), other_mac));
    passes(&t, from(&t, A4));
    /* a guest may have told it something else */
    memcpy(t.a->mac, other_mac, ETHER_ADDR_LEN);
    REFUSED(&t, GUARD_MAC, from(&t, A4));
    passes(&t, udp(gateway_mac, first, A4, FAR4));
    trial_fini(&t);
}

/* A NIC that tells nonsense is not believed. */
static void test_mac_nic_zero(void)
{
    uint8_t mac[ETHER_ADDR_LEN];
    Trial t;

    trial_init(&t, IPVLAN_L2_MACNAT, IPVLAN_GUARD_ON);
    memcpy(mac, t.a->mac, ETHER_ADDR_LEN);
    memset(t.a->mac, 0, ETHER_ADDR_LEN);
    t.a->tells_mac = true;
    passes(&t, udp(gateway_mac, mac, A4, FAR4));
    REFUSED(&t, GUARD_MAC, udp(gateway_mac, other_mac, A4, FAR4));
    trial_fini(&t);
}

/* Another NIC, another address. */
static void test_mac_changed(void)
{
    Trial t;

    trial_init(&t, IPVLAN_L2_MACNAT, IPVLAN_GUARD_ON);
    t.a->tells_mac = true;
    passes(&t, from(&t, A4));
    passes(&t, from(&t, local_of(t.a->mac)));
    link_user_changed(t.a->link);
    memcpy(t.a->mac, other_mac, ETHER_ADDR_LEN);
    passes(&t, from(&t, A4));
    passes(&t, from(&t, local_of(other_mac)));
    link_user_changed(t.b->link);       /* nothing to forget */
    trial_fini(&t);
}

/* --- with learning -------------------------------------------------------- */

/* On its own word a guest gets nothing, from a server it does. */
static void test_dhcp(gconstpointer data)
{
    const uint8_t *mac;
    Trial t;

    net_init(&t.net, mode_of(data), IPVLAN_BRIDGE);
    t.a = net_add(&t.net, (IpvlanConfig) {
        .learn = IPVLAN_LEARN_DHCP, .guard = IPVLAN_GUARD_ON,
    });
    t.b = net_owner(&t.net, B4);
    mac = t.a->mac;
    REFUSED(&t, GUARD_SOURCE, from(&t, A4));
    REFUSED(&t, GUARD_ARP, arp_probe(mac, A4));
    passes(&t, dhcp_request(mac, 7));
    REFUSED(&t, GUARD_ARP, arp_announce(mac, A4));
    wire_receive(&t.net.wire, dhcp_reply(mac_broadcast, gateway_mac, DHCPACK,
                                         A4, mac, 7, 600));
    net_clear(&t.net);
    passes(&t, arp_probe(mac, A4));
    passes(&t, arp_announce(mac, A4));
    passes(&t, from(&t, A4));
    passes(&t, from(&t, local_of(mac)));
    REFUSED(&t, GUARD_SOURCE, from(&t, X4));
    REFUSED(&t, GUARD_SOURCE, from(&t, A6));
    /* until it ends */
    clock_advance(1000 * NS_PER_S);
    REFUSED(&t, GUARD_SOURCE, from(&t, A4));
    trial_fini(&t);
}

/* What it is seen to use is its own; what is another's is not. */
static void test_learn(gconstpointer data)
{
    Trial t;

    net_init(&t.net, mode_of(data), IPVLAN_BRIDGE);
    t.a = net_add(&t.net, (IpvlanConfig) {
        .learn = IPVLAN_LEARN_ON, .guard = IPVLAN_GUARD_ON,
    });
    t.b = net_owner(&t.net, B4);
    passes(&t, arp_probe(t.a->mac, A4));
    passes(&t, nd_probe(t.a->mac, A6));
    passes(&t, from(&t, A4));
    g_assert_cmpuint(net_addresses(t.a), ==, 2);
    REFUSED(&t, NOT_OWNED, from(&t, B4));
    REFUSED(&t, GUARD_SOURCE, from(&t, "224.0.0.1"));
    REFUSED(&t, GUARD_SOURCE, from(&t, "0.0.0.0"));
    trial_fini(&t);
}

static void test_default(void)
{
    static const IpvlanLearn learns[] = {
        IPVLAN_LEARN_AUTO, IPVLAN_LEARN_ON, IPVLAN_LEARN_DHCP,
        IPVLAN_LEARN_OFF,
    };
    static const IpvlanGuard guards[] = {
        IPVLAN_GUARD_OFF, IPVLAN_GUARD_OFF, IPVLAN_GUARD_ON, IPVLAN_GUARD_ON,
    };
    Trial t;

    trial_init(&t, IPVLAN_L2_MACNAT, IPVLAN_GUARD_AUTO);
    REFUSED(&t, GUARD_SOURCE, from(&t, X4));
    for (unsigned i = 0; i < G_N_ELEMENTS(learns); i++) {
        User *u = net_add(&t.net, (IpvlanConfig) {
            .learn = learns[i], .guard = IPVLAN_GUARD_AUTO,
        });
        IpvlanSlaveInfo info;

        ipvlan_slave_info(u->link, &info);
        g_assert_cmpint(info.guard, ==, guards[i]);
    }
    trial_fini(&t);
}

/* Without one all of it passes that passed before. */
static void test_off(gconstpointer data)
{
    const uint8_t *mac;
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_OFF);
    mac = t.a->mac;
    passes(&t, from(&t, X4));
    passes(&t, from(&t, X6));
    passes(&t, from(&t, "0.0.0.0"));
    passes(&t, arp_announce(mac, X4));
    passes(&t, arp_probe(mac, X4));
    passes(&t, rarp_announce(mac));
    passes(&t, nd_probe(mac, X6));
    passes(&t, nd_advert(gateway_mac, mac, X6, FAR6));
    passes(&t, thrice(from(&t, X4), 0x8100));
    passes(&t, in_snap(from(&t, X4)));
    passes(&t, nd_router_advert(mac, X6));
    passes(&t, frame_udp(gateway_mac, mac, X4, FAR4, 67, 68, 300));
    g_assert_cmpuint(trace_count(LINK_EVENT_GUARD, NULL), ==, 0);
    trial_fini(&t);
}

/* --- strict --------------------------------------------------------------- */

static Frame *icmp(const Trial *t, uint8_t type)
{
    Frame *f = frame_ip(gateway_mac, t->a->mac, A4, FAR4, 1, 36);

    return frame_set8(f, frame_offsets(f).l4, type);
}

/* All as itself: without strict none of it is refused. */
static void check_servers(Trial *t, void (*check)(Trial *, DropReason,
                                                  Frame *))
{
    const uint8_t *mac = t->a->mac;

    /* DHCP: answers, relayed ones, from wherever they come */
    check(t, DROP_GUARD_DHCP, frame_udp(mac_broadcast, mac, A4,
                                        "255.255.255.255", 67, 68, 300));
    check(t, DROP_GUARD_DHCP, frame_udp(gateway_mac, mac, A4, FAR4, 67, 67,
                                        300));
    check(t, DROP_GUARD_DHCP, frame_udp(gateway_mac, mac, A4, FAR4, 67, 1024,
                                        300));
    check(t, DROP_GUARD_DHCP, frame_udp(t->b->mac, mac, A4, B4, 1024, 68,
                                        300));
    check(t, DROP_GUARD_DHCP,
          frame_fragment(frame_udp(gateway_mac, mac, A4, FAR4, 67, 68, 312),
                         0, true));
    check(t, DROP_GUARD_DHCP,
          frame_options(frame_udp(gateway_mac, mac, A4, FAR4, 67, 68, 300),
                        40));
    check(t, DROP_GUARD_DHCP,
          frame_tag(frame_udp(gateway_mac, mac, A4, FAR4, 67, 68, 300),
                    0x8100, 4));
    check(t, DROP_GUARD_DHCP,
          frame_set16(frame_arp(gateway_mac, mac, 4, A4, gateway_mac, FAR4),
                      12, 0x8035));
    /* DHCPv6 */
    check(t, DROP_GUARD_DHCP, frame_udp(gateway_mac, mac, A6, FAR6, 547, 546,
                                        60));
    check(t, DROP_GUARD_DHCP, frame_udp(gateway_mac, mac, A6, FAR6, 547, 547,
                                        60));
    check(t, DROP_GUARD_DHCP, frame_udp(gateway_mac, mac, A6, FAR6, 1024,
                                        546, 60));
    check(t, DROP_GUARD_DHCP,
          frame_ext(frame_udp(gateway_mac, mac, A6, FAR6, 547, 546, 60), 60,
                    8));
    check(t, DROP_GUARD_DHCP,
          frame_fragment(frame_udp(gateway_mac, mac, A6, FAR6, 547, 546, 56),
                         0, true));
    /* routers */
    check(t, DROP_GUARD_RA, nd_router_advert(mac, A6));
    check(t, DROP_GUARD_RA, frame_ext(nd_router_advert(mac, A6), 0, 8));
    check(t, DROP_GUARD_RA, frame_ext(nd_router_advert(mac, A6), 60, 256));
    check(t, DROP_GUARD_RA, frame_tag(nd_router_advert(mac, A6), 0x8100, 4));
    check(t, DROP_GUARD_RA, icmp(t, 9));
    check(t, DROP_GUARD_REDIRECT, icmp(t, 5));
    check(t, DROP_GUARD_REDIRECT, frame_options(icmp(t, 5), 8));
    check(t, DROP_GUARD_REDIRECT, frame_fragment(icmp(t, 5), 0, true));
    check(t, DROP_GUARD_REDIRECT, nd_redirect(gateway_mac, mac, A6, FAR6,
                                              other_mac));
    check(t, DROP_GUARD_REDIRECT,
          frame_ext(nd_redirect(gateway_mac, mac, A6, FAR6, other_mac), 60,
                    16));
}

static void check_passes(Trial *t, DropReason why, Frame *f)
{
    passes(t, f);
}

static void test_strict(gconstpointer data)
{
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_STRICT);
    check_servers(&t, refused);
    trial_fini(&t);
}

static void test_not_strict(gconstpointer data)
{
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_ON);
    check_servers(&t, check_passes);
    trial_fini(&t);
}

/* Clients, hosts, and what only looks like it. */
static void test_strict_passes(gconstpointer data)
{
    const uint8_t *mac;
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_STRICT);
    mac = t.a->mac;
    passes(&t, from(&t, A4));
    passes(&t, from(&t, A6));
    passes(&t, from(&t, local_of(mac)));
    passes(&t, dhcp_request(mac, 5));
    passes(&t, frame_udp(gateway_mac, mac, A4, FAR4, 68, 67, 300));
    passes(&t, frame_udp(gateway_mac, mac, A6, FAR6, 546, 547, 60));
    passes(&t, frame_udp(gateway_mac, mac, A4, FAR4, 547, 546, 60));
    passes(&t, frame_udp(gateway_mac, mac, A6, FAR6, 67, 68, 60));
    passes(&t, frame_tcp(gateway_mac, mac, A4, FAR4, 20));
    /* no ports there, and no type */
    passes(&t, frame_fragment(frame_udp(gateway_mac, mac, A4, FAR4, 67, 68,
                                        60), 800, false));
    passes(&t, frame_fragment(icmp(&t, 5), 800, false));
    passes(&t, icmp(&t, 8));
    passes(&t, icmp(&t, 3));
    passes(&t, frame_ip(gateway_mac, mac, A4, FAR4, 1, 0));
    passes(&t, frame_ip(gateway_mac, mac, A6, FAR6, 1, 8));
    passes(&t, nd_router_solicit(mac, A6));
    passes(&t, nd_solicit(mac, A6, FAR6));
    passes(&t, nd_advert(gateway_mac, mac, A6, FAR6));
    passes(&t, rarp_announce(mac));
    passes(&t, frame_eth(gateway_mac, mac, 0x88cc, 40));
    /* and all that the guard refuses anyway */
    REFUSED(&t, GUARD_SOURCE, from(&t, X4));
    REFUSED(&t, GUARD_ARP, arp_announce(mac, X4));
    REFUSED(&t, GUARD_ND, nd_probe(mac, X6));
    REFUSED(&t, GUARD_TAGS, thrice(from(&t, A4), 0x8100));
    trial_fini(&t);
}

/* --- events --------------------------------------------------------------- */

static unsigned events(TraceRecord *last)
{
    unsigned n = trace_count(LINK_EVENT_GUARD, last);

    trace_reset();
    return n;
}

static void assert_event(Trial *t, DropReason why, const char *addr)
{
    TraceRecord r;

    g_assert_cmpuint(events(&r), ==, 1);
    g_assert_true(r.link == t->a->link);
    g_assert_cmpint(r.reason, ==, why);
    if (addr) {
        IpAddr a = ip(addr);

        g_assert_true(ip_equal(&r.addr.addr, &a));
        g_assert_cmpuint(r.addr.len, ==, ip_bits(a.family));
    } else {
        g_assert_cmpuint(r.addr.addr.family, ==, IP_NONE);
    }
}

static void test_events(void)
{
    const uint8_t *mac;
    Trial t;

    trial_init(&t, IPVLAN_L2_MACNAT, IPVLAN_GUARD_STRICT);
    mac = t.a->mac;
    passes(&t, from(&t, A4));
    user_send(t.a, from(&t, X4));
    assert_event(&t, DROP_GUARD_SOURCE, X4);
    user_send(t.a, arp_announce(mac, X4));
    assert_event(&t, DROP_GUARD_ARP, X4);
    user_send(t.a, nd_probe(mac, X6));
    assert_event(&t, DROP_GUARD_ND, X6);
    user_send(t.a, frame_set_mac_src(from(&t, A4), other_mac));
    assert_event(&t, DROP_GUARD_MAC, NULL);
    user_send(t.a, thrice(from(&t, A4), 0x8100));
    assert_event(&t, DROP_GUARD_TAGS, NULL);
    user_send(t.a, frame_udp(gateway_mac, mac, A4, FAR4, 67, 68, 20));
    assert_event(&t, DROP_GUARD_DHCP, NULL);
    user_send(t.a, nd_router_advert(mac, A6));
    assert_event(&t, DROP_GUARD_RA, NULL);
    user_send(t.a, icmp(&t, 5));
    assert_event(&t, DROP_GUARD_REDIRECT, NULL);
    trial_fini(&t);
}

/* Once a second for each slave and reason, however much there is. */
static void test_events_rate(void)
{
    Trial t;
    User *c;

    trial_init(&t, IPVLAN_L2_MACNAT, IPVLAN_GUARD_ON);
    c = add(&t.net, "10.0.0.3", IPVLAN_GUARD_ON);
    for (unsigned i = 0; i < 1000; i++) {
        REFUSED(&t, GUARD_SOURCE, from(&t, X4));
    }
    g_assert_cmpuint(events(NULL), ==, 1);
    /* nobody waits for another's second, nor for another reason's */
    user_send(c, udp(gateway_mac, c->mac, X4, FAR4));
    REFUSED(&t, GUARD_ARP, arp_announce(t.a->mac, X4));
    g_assert_cmpuint(events(NULL), ==, 2);

    clock_advance(NS_PER_S - 1);
    REFUSED(&t, GUARD_SOURCE, from(&t, X4));
    g_assert_cmpuint(events(NULL), ==, 0);
    clock_advance(1);
    REFUSED(&t, GUARD_SOURCE, from(&t, X6));
    assert_event(&t, DROP_GUARD_SOURCE, X6);
    for (unsigned i = 0; i < 10000; i++) {
        user_send(t.a, from(&t, X4));
        clock_advance(NS_PER_S / 1000);
    }
    g_assert_cmpuint(events(NULL), ==, 9);
    trial_fini(&t);
}

/* A flood that is refused costs siblings nothing, nor the uplink. */
static void test_flood(gconstpointer data)
{
    static const char b[] = B4;
    IpvlanPortInfo info;
    uint64_t received;
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_STRICT);
    passes(&t, from(&t, A4));
    received = t.b->link->stats.rx_packets;
    for (unsigned i = 0; i < 3000; i++) {
        char addr[IP_STR_MAX];

        g_snprintf(addr, sizeof(addr), "10.%u.%u.7", 16 + i / 256, i % 256);
        user_send(t.a, arp_announce(t.a->mac, addr));
        user_send(t.a, udp(mac_broadcast, t.a->mac, addr, "10.0.0.255"));
        user_send(t.a, udp(t.b->mac, t.a->mac, addr, b));
        user_send(t.a, nd_router_advert(t.a->mac, A6));
        user_send(t.a, igmp(t.a->mac, addr, "239.1.1.1", 0x16, 0,
                            "239.1.1.1"));
    }
    assert_drops(t.a->link, GUARD_ARP, 3000);
    assert_drops(t.a->link, GUARD_SOURCE, 9000);
    assert_drops(t.a->link, GUARD_RA, 3000);
    g_assert_true(ipvlan_port_info(t.net.wire.link, &info));
    g_assert_cmpuint(info.backlog, ==, 0);
    g_assert_cmpuint(info.addresses, ==, 5);
    net_assert_quiet(&t.net);
    g_assert_cmpuint(t.b->link->stats.rx_packets, ==, received);
    g_assert_cmpuint(link_stats_drops(&t.b->link->stats), ==, 0);
    g_assert_cmpuint(link_stats_drops(&t.net.wire.link->stats), ==, 0);
    /* the sibling goes on as if nothing was */
    user_send(t.b, udp(gateway_mac, t.b->mac, b, FAR4));
    g_assert_cmpuint(t.net.wire.sent->len, ==, 1);
    net_clear(&t.net);
    trial_fini(&t);
}

/* Frames in as many pieces as they have bytes are looked at all the same. */
static void test_pieces(void)
{
    Trial t;

    trial_init(&t, IPVLAN_L2_MACNAT, IPVLAN_GUARD_STRICT);
    passes(&t, from(&t, A4));
    for (unsigned i = 0; i < 4; i++) {
        Frame *f[] = {
            frame_set_mac_src(frame_arp(gateway_mac, other_mac, 2, A4,
                                        gateway_mac, FAR4), t.a->mac),
            frame_nd(gateway_mac, t.a->mac, A6, FAR6, ND_NEIGHBOUR_ADVERT,
                     A6, 2, other_mac),
            nd_router_advert(t.a->mac, A6),
            in_snap(from(&t, X4)),
        };
        g_autofree struct iovec *iov = g_new(struct iovec, f[i]->len);
        uint64_t drops = link_stats_drops(&t.a->link->stats);
        Packet p;

        for (unsigned j = 0; j < f[i]->len; j++) {
            iov[j] = (struct iovec) { f[i]->data + j, 1 };
        }
        packet_init(&p, iov, f[i]->len);
        g_assert_cmpint(link_xmit(t.a->link, &p), ==, LINK_TX_DROPPED);
        g_assert_cmpuint(link_stats_drops(&t.a->link->stats), ==, drops + 1);
        for (unsigned j = 0; j < G_N_ELEMENTS(f); j++) {
            frame_free(f[j]);
        }
    }
    assert_drops(t.a->link, GUARD_MAC, 2);
    assert_drops(t.a->link, GUARD_RA, 1);
    assert_drops(t.a->link, GUARD_TAGS, 1);
    net_assert_quiet(&t.net);
    trial_fini(&t);
}

/* --- l3 ------------------------------------------------------------------- */

static User *add_l3(Net *net, const char *addr, const char *addr6)
{
    static const bool off;
    IpPrefix prefixes[] = { prefix(addr), prefix(addr6) };
    IpAddr gateways[] = { ip("10.0.0.254"), ip("fd00::fe") };

    return net_add(net, (IpvlanConfig) {
        .addrs = prefixes, .n_addrs = 2, .guard = IPVLAN_GUARD_AUTO,
        .gateways = gateways, .n_gateways = 2, .ra = &off,
    });
}

static uint64_t guard_drops(const User *u)
{
    uint64_t n = u->link->stats.drops[DROP_NOT_OWNED];

    for (DropReason r = DROP_GUARD_MAC; r <= DROP_GUARD_REDIRECT; r++) {
        n += u->link->stats.drops[r];
    }
    return n;
}

/* Whether it is routed, answered or neither is not the guard's. */
static void unguarded(Trial *t, Frame *f)
{
    uint64_t before = guard_drops(t->a);

    user_send(t->a, f);
    g_assert_cmpuint(guard_drops(t->a), ==, before);
    net_clear(&t->net);
}

static void test_l3(gconstpointer data)
{
    const char *local;
    const uint8_t *mac;
    Trial t;

    net_init(&t.net, mode_of(data), IPVLAN_BRIDGE);
    t.a = add_l3(&t.net, A4, A6);
    t.b = add_l3(&t.net, B4, B6);
    mac = t.a->mac;
    unguarded(&t, udp(port_mac, mac, A4, FAR4));
    unguarded(&t, udp(port_mac, mac, A6, FAR6));
    unguarded(&t, arp_request(mac, A4, "10.0.0.254"));
    unguarded(&t, arp_probe(mac, A4));
    unguarded(&t, arp_probe(mac, B4));
    local = local_of(mac);
    unguarded(&t, nd_probe(mac, local));
    unguarded(&t, nd_solicit(mac, local, "fe80::1"));
    unguarded(&t, nd_router_solicit(mac, local));
    unguarded(&t, udp(port_mac, mac, local, FAR6));
    unguarded(&t, dhcp_request(mac, 3));
    /* what it may use all the same is not its own */
    g_assert_cmpuint(net_addresses(t.a), ==, 2);

    /* the neighbours that were looked for are given up meanwhile */
    clock_advance(60 * NS_PER_S);
    net_clear(&t.net);
    REFUSED(&t, GUARD_SOURCE, udp(port_mac, mac, X4, FAR4));
    REFUSED(&t, GUARD_SOURCE, udp(port_mac, mac, X4, B4));
    REFUSED(&t, GUARD_SOURCE, udp(port_mac, mac, X6, FAR6));
    REFUSED(&t, GUARD_SOURCE, udp(port_mac, mac, "0.0.0.0", FAR4));
    REFUSED(&t, GUARD_SOURCE, udp(port_mac, mac, local_of(other_mac), FAR6));
    REFUSED(&t, NOT_OWNED, udp(port_mac, mac, B4, FAR4));
    REFUSED(&t, GUARD_ARP, arp_announce(mac, X4));
    REFUSED(&t, GUARD_ARP, arp_probe(mac, X4));
    REFUSED(&t, GUARD_ND, nd_probe(mac, X6));
    REFUSED(&t, GUARD_ND, nd_advert(port_mac, mac, X6, FAR6));
    REFUSED(&t, GUARD_MAC, udp(port_mac, other_mac, A4, FAR4));
    REFUSED(&t, GUARD_TAGS, thrice(udp(port_mac, mac, A4, FAR4), 0x8100));
    trial_fini(&t);
}

/* --- a guest that writes to what is on its way ---------------------------- */

static Frame *on_its_way, *instead;

/* It has been checked, and not been copied yet. */
static void write_meanwhile(const LinkTrace *t)
{
    if (t->event == LINK_EVENT_FORWARD || t->event == LINK_EVENT_SEND ||
        t->event == LINK_EVENT_DEFER) {
        memcpy(on_its_way->data, instead->data, on_its_way->len);
    }
}

/* The first @len bytes, all but MAC addresses, are still @good's. */
static void check_got(const Frame *good, GPtrArray *got, unsigned len)
{
    for (unsigned i = 0; i < got->len; i++) {
        const Frame *f = got->pdata[i];

        g_assert_cmpmem(f->data + 12, len - 12, good->data + 12, len - 12);
        g_assert_false(mac_equal(frame_src(f), other_mac));
    }
}

/*
 * @good becomes @evil, of the same length, behind the guard's back.  Nobody
 * sees any of @evil's first @len bytes.  Frees both.
 */
static void check_meanwhile(Trial *t, Frame *good, Frame *evil, unsigned len)
{
    g_autoptr(Frame) before = frame_dup(good);
    struct iovec iov = { good->data, good->len };
    Packet p;

    g_assert_cmpuint(good->len, ==, evil->len);
    g_assert_true(memcmp(good->data + 12, evil->data + 12, len - 12) ||
                  !mac_equal(frame_src(good), frame_src(evil)));
    on_its_way = good;
    instead = evil;
    trace_hook = write_meanwhile;
    packet_init(&p, &iov, 1);
    g_assert_cmpint(link_xmit(t->a->link, &p), ==, LINK_TX_OK);
    trace_hook = NULL;
    g_assert_cmpmem(good->data, good->len, evil->data, evil->len);
    clock_run_pending();
    g_assert_cmpuint(t->net.wire.sent->len + t->b->got->len, >, 0);
    check_got(before, t->net.wire.sent, len);
    check_got(before, t->b->got, len);
    net_clear(&t->net);
    frame_free(good);
    frame_free(evil);
}

static Frame *deep(Frame *f)
{
    return frame_ext(frame_ext(f, 60, 200), 43, 16);
}

static void test_meanwhile(gconstpointer data)
{
    const uint8_t *mac, *to;
    Trial t;

    trial_init(&t, mode_of(data), IPVLAN_GUARD_STRICT);
    user_send(t.b, udp(gateway_mac, t.b->mac, B4, FAR4));
    net_clear(&t.net);
    mac = t.a->mac;
    to = t.b->mac;
    /* to the uplink, to a sibling, to many */
    check_meanwhile(&t, from(&t, A4), from(&t, X4), 42);
    check_meanwhile(&t, udp(to, mac, A4, B4), udp(to, mac, X4, B4), 42);
    check_meanwhile(&t, udp(mac_broadcast, mac, A4, "10.0.0.255"),
                    udp(mac_broadcast, mac, X4, "10.0.0.255"), 42);
    /* longer than what is copied first; ports */
    check_meanwhile(&t, frame_udp(to, mac, A6, B6, 4, 5, 1400),
                    frame_udp(to, mac, X6, B6, 547, 546, 1400), 62);
    check_meanwhile(&t, frame_tag(frame_udp(to, mac, A4, B4, 4, 5, 1400),
                                  0x8100, 2),
                    frame_tag(frame_udp(to, mac, X4, B4, 67, 68, 1400),
                              0x8100, 3), 46);
    check_meanwhile(&t, deep(frame_udp(to, mac, A6, B6, 4, 5, 1000)),
                    deep(frame_udp(to, mac, A6, B6, 547, 546, 1000)), 278);
    check_meanwhile(&t, frame_ext(frame_fragment(udp(to, mac, A6, B6), 800,
                                                 true), 60, 80),
                    frame_ext(frame_fragment(frame_udp(to, mac, A6, B6, 547,
                                                       546, 21), 0, true),
                              60, 80), 163);
    /* ARP to a sibling, for which nothing is rewritten */
    check_meanwhile(&t, arp_reply(to, mac, A4, B4),
                    arp_reply(to, mac, X4, B4), 42);
    /* neighbour discovery, to the end of it */
    check_meanwhile(&t, nd_probe(mac, A6), nd_probe(mac, X6), 78);
    check_meanwhile(&t, frame_ext(nd_solicit(mac, A6, FAR6), 0, 104),
                    frame_ext(nd_solicit(mac, X6, FAR6), 0, 104), 62);
    check_meanwhile(&t, frame_eth(gateway_mac, mac, 0x88cc, 90),
                    frame_eth(gateway_mac, other_mac, 0x88cc, 90), 14);
    trial_fini(&t);
}

static void each_mode(const char *name, GTestDataFunc fn)
{
    static const IpvlanMode modes[] = { IPVLAN_L2, IPVLAN_L2_MACNAT };

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        g_autofree char *path = g_strdup_printf("/guard/%s/%s",
                                                ipvlan_mode_name(modes[i]),
                                                name);

        g_test_add_data_func(path, GINT_TO_POINTER(modes[i]), fn);
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_data_func("/guard/l3/all", GINT_TO_POINTER(IPVLAN_L3),
                         test_l3);
    g_test_add_data_func("/guard/l3s/all", GINT_TO_POINTER(IPVLAN_L3S),
                         test_l3);
    each_mode("ip/spoofed", test_ip);
    each_mode("ip/tagged", test_tagged);
    each_mode("ip/too-deep", test_too_deep);
    each_mode("ip/fragment", test_fragment);
    each_mode("ip/extension", test_extension);
    each_mode("ip/unspecified", test_unspecified);
    each_mode("arp/spoofed", test_arp);
    each_mode("arp/probe", test_arp_probe);
    each_mode("arp/mac", test_arp_mac);
    each_mode("arp/rarp", test_rarp);
    each_mode("nd/spoofed", test_nd);
    each_mode("nd/dad", test_dad);
    each_mode("nd/options", test_nd_options);
    each_mode("local/own", test_local);
    each_mode("local/other", test_local_other);
    g_test_add_func("/guard/local/room", test_local_room);
    g_test_add_func("/guard/mac/l2", test_mac_l2);
    g_test_add_func("/guard/mac/l2-nic", test_mac_l2_nic);
    g_test_add_func("/guard/mac/second", test_mac_second);
    g_test_add_func("/guard/mac/sibling", test_mac_sibling);
    g_test_add_func("/guard/mac/nic", test_mac_nic);
    g_test_add_func("/guard/mac/nic-zero", test_mac_nic_zero);
    g_test_add_func("/guard/mac/changed", test_mac_changed);
    each_mode("learn/dhcp", test_dhcp);
    each_mode("learn/on", test_learn);
    g_test_add_func("/guard/default", test_default);
    each_mode("off", test_off);
    each_mode("strict/refused", test_strict);
    each_mode("strict/not", test_not_strict);
    each_mode("strict/passes", test_strict_passes);
    g_test_add_func("/guard/events/each", test_events);
    g_test_add_func("/guard/events/rate", test_events_rate);
    each_mode("flood", test_flood);
    g_test_add_func("/guard/pieces", test_pieces);
    each_mode("meanwhile", test_meanwhile);
    return g_test_run();
}
