/*
 * libvlink: slaves and ports that are changed while they run
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>

#include "harness.h"
#include "libvlink/ipvlan/answer.h"
#include "libvlink/ipvlan/port.h"

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define C4 "10.0.0.3"
#define A6 "fd00::a"
#define FAR4 "198.51.100.9"
#define GW4 "10.0.0.254"
#define NEW_GW4 "10.0.0.253"
#define GW6 "fd00::254"
#define NOBODY4 "10.0.0.200"
#define ROUTER6 "fe80::1"

#define N_MODES 4
#define N_SLAVES 3

static const uint8_t hop_mac[] = { 0x52, 0x55, 0, 0, 0, 0x77 };
static const uint8_t new_hop_mac[] = { 0x52, 0x55, 0, 0, 0, 0x78 };

static const bool on = true, off;
static const IpvlanMode modes[N_MODES] = {
    IPVLAN_L2, IPVLAN_L2_MACNAT, IPVLAN_L3, IPVLAN_L3S,
};
static const IpvlanFlag private = IPVLAN_PRIVATE, vepa = IPVLAN_VEPA;
static const IpvlanPolicy policy_drop = IPVLAN_POLICY_DROP;

/* n0 has A4, n1 has B4, and n2 what it learns. */
static Net net;
static User *a, *b, *c;

static IpvlanPort *port(void)
{
    return ipvlan_port(net.wire.link);
}

static IpvlanSlave *slave_of(const User *u)
{
    return link_priv(u->link);
}

static void start(IpvlanMode mode)
{
    net_init(&net, mode, IPVLAN_BRIDGE);
    a = net_add(&net, (IpvlanConfig) {
        .addrs = (IpPrefix[]) { prefix(A4), prefix(A6) }, .n_addrs = 2,
        .learn = IPVLAN_LEARN_AUTO, .guard = IPVLAN_GUARD_AUTO,
    });
    b = net_add(&net, (IpvlanConfig) {
        .addrs = (IpPrefix[]) { prefix(B4) }, .n_addrs = 1,
        .learn = IPVLAN_LEARN_AUTO, .guard = IPVLAN_GUARD_AUTO,
    });
    c = net_add(&net, (IpvlanConfig) {
        .learn = IPVLAN_LEARN_AUTO, .guard = IPVLAN_GUARD_AUTO,
    });
    for (unsigned i = 0; i < N_SLAVES; i++) {
        net.user[i].tells_mac = true;
    }
}

static void stop(void)
{
    net_assert_quiet(&net);
    net_fini(&net);
}

/* Each guest's NIC is given the address that @mode wants. */
static void give_macs(IpvlanMode mode)
{
    for (unsigned i = 0; i < N_SLAVES; i++) {
        User *u = &net.user[i];

        if (mode == IPVLAN_L2) {
            memcpy(u->mac, port_mac, ETHER_ADDR_LEN);
        } else {
            memcpy(u->mac, "\x52\x54\x00\x12\x34", 5);
            u->mac[5] = 0x56 + i;
        }
    }
}

static void change(IpvlanConfig config)
{
    g_autoptr(GError) err = NULL;
    int ret = ipvlan_port_change(net.wire.link, &config, &err);

    g_assert_no_error(err);
    g_assert_cmpint(ret, ==, 0);
}

static void change_mode(IpvlanMode mode)
{
    give_macs(mode);
    change((IpvlanConfig) { .mode = &mode });
    g_assert_cmpint(port()->mode, ==, mode);
}

/* --- all that can be seen ------------------------------------------------ */

static void dump_addr(const IpvlanAddrInfo *info, void *opaque)
{
    char text[IP_STR_MAX];

    g_string_append_printf(opaque, " %s %s %" PRId64 " %" PRId64,
                           ip_prefix_format(&info->prefix, text),
                           ipvlan_origin_name(info->origin), info->learned,
                           info->used);
}

static void dump_group(const IpAddr *group, void *opaque)
{
    g_string_append_printf(opaque, " %s", ip_format(group,
                                                    (char[IP_STR_MAX]) { }));
}

static void dump_neigh(const IpvlanNeighInfo *info, void *opaque)
{
    char text[IP_STR_MAX];

    g_string_append_printf(opaque, " %s %s %d %u",
                           ip_format(&info->addr, text),
                           neigh_state_name(info->state), info->gateway,
                           info->waiting);
}

static void dump_slave(const User *u, GString *out)
{
    IpvlanSlaveInfo info;
    char mac[MAC_STR_MAX];

    ipvlan_slave_info(u->link, &info);
    g_string_append_printf(out, "\n%s %s %s %s %u %" PRIu64 ":", u->name,
                           info.mac ? mac_format(info.mac, mac) : "-",
                           ipvlan_learn_name(info.learn),
                           ipvlan_guard_name(info.guard), info.flows,
                           info.contested);
    ipvlan_foreach_addr(u->link, dump_addr, out);
    ipvlan_foreach_group(u->link, dump_group, out);
    u->link->ops->fill_info(u->link, out);
}

static char *dump(void)
{
    GString *out = g_string_new(NULL);
    char gw4[IP_STR_MAX], gw6[IP_STR_MAX];
    IpvlanPortInfo info;

    g_assert_true(ipvlan_port_info(net.wire.link, &info));
    g_string_append_printf(out, "%s %s %u %u %s %s %u %d %d %s %u:",
                           ipvlan_mode_name(info.mode),
                           ipvlan_flag_name(info.flag), info.addresses,
                           info.backlog,
                           info.gateway4 ? ip_format(info.gateway4, gw4) : "",
                           info.gateway6 ? ip_format(info.gateway6, gw6) : "",
                           info.mtu, info.ra, info.proxy_arp,
                           ipvlan_policy_name(info.policy), info.flows);
    ipvlan_foreach_neigh(net.wire.link, dump_neigh, out);
    for (unsigned i = 0; i < net.n; i++) {
        dump_slave(&net.user[i], out);
    }
    return g_string_free(out, FALSE);
}

static void assert_refused(IpvlanConfig config, const char *message)
{
    g_autofree char *before = dump(), *after = NULL;
    g_autoptr(GError) err = NULL;

    g_assert_cmpint(ipvlan_port_change(net.wire.link, &config, &err), ==,
                    -EINVAL);
    g_assert_error(err, LINK_ERROR, EINVAL);
    if (message) {
        g_assert_cmpstr(err->message, ==, message);
    }
    after = dump();
    g_assert_cmpstr(before, ==, after);
}

/* --- traffic as each mode has it ----------------------------------------- */

/* Where a guest sends what is for @mac, in l2; in l3 to its router. */
static const uint8_t *via(const uint8_t *mac)
{
    return ipvlan_is_l3(port()) ? port_mac : mac;
}

/* What a guest sees as the sender of what @mac has sent. */
static const uint8_t *seen_as(const uint8_t *mac)
{
    return ipvlan_is_l3(port()) ? port_mac : mac;
}

static void siblings_talk(void)
{
    user_send(a, udp(via(b->mac), a->mac, A4, B4));
    assert_got(b, udp(b->mac, seen_as(a->mac), A4, B4));
    user_send(b, udp(via(a->mac), b->mac, B4, A4));
    assert_got(a, udp(a->mac, seen_as(b->mac), B4, A4));
}

/* Whom the port does not know yet it asks for. */
static bool asks(void)
{
    const Frame *f = net.wire.sent->len ? net.wire.sent->pdata[0] : NULL;

    return f && frame_get16(f, 12) == 0x0806;
}

static void goes_out(void)
{
    user_send(a, udp(via(gateway_mac), a->mac, A4, GW4));
    if (ipvlan_is_l3(port()) && asks()) {
        assert_sent(&net.wire, arp_request(port_mac, A4, GW4));
        wire_receive(&net.wire, arp_reply(port_mac, gateway_mac, GW4, A4));
    }
    assert_sent(&net.wire, udp(gateway_mac, port_mac, A4, GW4));
}

static void comes_in(void)
{
    wire_receive(&net.wire, udp(port_mac, gateway_mac, GW4, A4));
    assert_got(a, udp(a->mac, seen_as(gateway_mac), GW4, A4));
}

static void broadcast_as_in_l2(void)
{
    user_send(a, udp(mac_broadcast, a->mac, A4, "255.255.255.255"));
    assert_sent(&net.wire, udp(mac_broadcast, port_mac, A4,
                               "255.255.255.255"));
    clock_run_pending();
    assert_got(b, udp(mac_broadcast, a->mac, A4, "255.255.255.255"));
    assert_got(c, udp(mac_broadcast, a->mac, A4, "255.255.255.255"));
}

static void broadcast_works(void)
{
    uint64_t dropped = a->link->stats.drops[DROP_NOT_ROUTED];

    if (!ipvlan_is_l3(port())) {
        broadcast_as_in_l2();
        return;
    }
    user_send(a, udp(mac_broadcast, a->mac, A4, "255.255.255.255"));
    assert_drops(a->link, NOT_ROUTED, dropped + 1);
    user_send(a, arp_request(a->mac, A4, B4));
    assert_got(a, arp_reply(a->mac, port_mac, B4, A4));
    wire_receive(&net.wire, arp_request(gateway_mac, GW4, A4));
    assert_sent(&net.wire, arp_reply(gateway_mac, port_mac, A4, GW4));
}

/* An owned MAC is a destination in l2-macnat, and nowhere else. */
static void macs_are_right(void)
{
    IpvlanMode mode = port()->mode;

    g_assert_cmpint(macnat_find(port(), a->mac) == slave_of(a), ==,
                    mode != IPVLAN_L2);
}

static void traffic(void)
{
    user_send(a, arp_announce(a->mac, A4));
    user_send(b, arp_announce(b->mac, B4));
    net_clear(&net);
    siblings_talk();
    goes_out();
    comes_in();
    broadcast_works();
    macs_are_right();
    net_assert_quiet(&net);
}

/* --- modes --------------------------------------------------------------- */

/*
 * A guest that has only been sent to, while it was routed, is known by its
 * NIC's word: that is as good in l2-macnat as what it says itself.
 */
static void test_silent(void)
{
    start(IPVLAN_L3);
    b->tells_mac = true;
    user_send(a, udp(port_mac, a->mac, A4, B4));
    net_clear(&net);
    change_mode(IPVLAN_L2_MACNAT);
    net_clear(&net);
    user_send(a, udp(b->mac, a->mac, A4, B4));
    assert_got(b, udp(b->mac, a->mac, A4, B4));
    user_send(b, udp(a->mac, b->mac, B4, A4));
    net_clear(&net);
    user_send(a, udp(b->mac, a->mac, A4, B4));
    assert_got(b, udp(b->mac, a->mac, A4, B4));
    net_assert_quiet(&net);
    net_fini(&net);
}

/* There and back again, twice, and a day for timers that were left behind. */
static void test_modes(gconstpointer data)
{
    unsigned pair = GPOINTER_TO_UINT(data);
    IpvlanMode from = modes[pair / N_MODES], to = modes[pair % N_MODES];
    unsigned works;

    start(from);
    works = clock_works();
    traffic();
    for (int i = 0; i < 2; i++) {
        change_mode(to);
        net_clear(&net);
        traffic();
        clock_advance(86400 * NS_PER_S);
        net_clear(&net);
        change_mode(from);
        net_clear(&net);
        g_assert_cmpuint(clock_works(), ==, works);
        traffic();
    }
    clock_advance(86400 * NS_PER_S);
    net_clear(&net);
    stop();
}

/* The same mode again is no change: nothing is sent, and nothing forgotten. */
static void test_same_mode(void)
{
    for (unsigned i = 0; i < N_MODES; i++) {
        g_autofree char *before = NULL, *after = NULL;

        start(modes[i]);
        traffic();
        before = dump();
        change_mode(modes[i]);
        change((IpvlanConfig) { .flag = &net.flag });
        change((IpvlanConfig) { .mtu = 0 });
        after = dump();
        g_assert_cmpstr(before, ==, after);
        stop();
    }
}

/* What only l3 has goes back to its defaults. */
static void test_defaults(void)
{
    IpAddr gateways[] = { ip(GW4), ip(GW6) };
    g_autofree char *set = NULL, *kept = NULL, *back = NULL;

    start(IPVLAN_L2_MACNAT);
    change((IpvlanConfig) {
        .mode = &modes[IPVLAN_L3S], .gateways = gateways, .n_gateways = 2,
        .mtu = 9000, .ra = &off, .proxy_arp = &off, .policy = &policy_drop,
    });
    set = dump();
    g_assert_nonnull(strstr(set, "l3s bridge 3 0 10.0.0.254 fd00::254 9000 "
                            "0 0 drop"));
    change_mode(IPVLAN_L3);
    kept = dump();
    g_assert_nonnull(strstr(kept, "l3 bridge 3 0 10.0.0.254 fd00::254 9000 "
                            "0 0 accept"));
    change_mode(IPVLAN_L2_MACNAT);
    back = dump();
    g_assert_nonnull(strstr(back, "l2-macnat bridge 3 0   1500 1 1 accept"));
    stop();
}

static void test_flag(void)
{
    start(IPVLAN_L2_MACNAT);
    traffic();
    change((IpvlanConfig) { .flag = &private });
    user_send(a, udp(b->mac, a->mac, A4, B4));
    assert_drops(a->link, PRIVATE, 1);
    change((IpvlanConfig) { .flag = &vepa });
    user_send(a, udp(b->mac, a->mac, A4, B4));
    assert_sent(&net.wire, udp(b->mac, port_mac, A4, B4));
    change((IpvlanConfig) { .flag = &net.flag });
    traffic();
    stop();
}

/* --- what waits ---------------------------------------------------------- */

static void test_backlog(void)
{
    start(IPVLAN_L2_MACNAT);
    traffic();
    user_send(a, udp(mac_broadcast, a->mac, A4, "255.255.255.255"));
    user_send(a, udp(mac_broadcast, a->mac, A4, "255.255.255.255"));
    wire_receive(&net.wire, udp(mac_broadcast, gateway_mac, GW4,
                                "255.255.255.255"));
    g_assert_cmpuint(port()->backlog, ==, 3);
    change((IpvlanConfig) { .mode = &modes[IPVLAN_L3], .ra = &off });
    g_assert_cmpuint(port()->backlog, ==, 0);
    assert_drops(a->link, NOT_ROUTED, 2);
    assert_drops(net.wire.link, NOT_ROUTED, 1);
    g_assert_cmpuint(net.wire.sent->len, ==, 2);    /* that was before */
    g_ptr_array_set_size(net.wire.sent, 0);
    net_assert_quiet(&net);

    /* between modes that have broadcast it stays */
    change_mode(IPVLAN_L2_MACNAT);
    user_send(a, udp(mac_broadcast, a->mac, A4, "255.255.255.255"));
    change_mode(IPVLAN_L2);
    g_assert_cmpuint(port()->backlog, ==, 1);
    clock_run_pending();
    g_assert_cmpuint(b->got->len, ==, 1);
    g_assert_cmpuint(c->got->len, ==, 1);
    net_clear(&net);
    stop();
}

static void count_neigh(const IpvlanNeighInfo *info, void *opaque)
{
    ++*(unsigned *)opaque;
}

static unsigned n_neighs(void)
{
    unsigned n = 0;

    ipvlan_foreach_neigh(net.wire.link, count_neigh, &n);
    return n;
}

/* What waits for a neighbour, and one that waits for the uplink. */
static void test_neighbours(void)
{
    start(IPVLAN_L3);
    traffic();
    for (unsigned i = 0; i < 5; i++) {
        user_send(a, udp(port_mac, a->mac, A4, FAR4));
    }
    user_send(b, udp(port_mac, b->mac, B4, NOBODY4));
    g_assert_cmpuint(n_neighs(), ==, 3);
    net_clear(&net);
    change((IpvlanConfig) { .ra = &off });
    net_clear(&net);
    change_mode(IPVLAN_L2_MACNAT);
    g_assert_cmpuint(n_neighs(), ==, 0);
    assert_drops(a->link, NO_NEIGHBOUR, 5);
    assert_drops(b->link, NO_NEIGHBOUR, 1);
    g_assert_cmpuint(slave_of(a)->neigh.waiting, ==, 0);
    net_clear(&net);

    /* who answers now is too late, and no packet comes back to life */
    wire_receive(&net.wire, arp_reply(port_mac, hop_mac, FAR4, A4));
    assert_got(a, frame_arp(a->mac, hop_mac, 2, FAR4, a->mac, A4));
    clock_advance(600 * NS_PER_S);
    net_assert_quiet(&net);

    /* and is asked again, when there are neighbours again */
    change((IpvlanConfig) { .mode = &modes[IPVLAN_L3S], .ra = &off });
    user_send(a, udp(port_mac, a->mac, A4, FAR4));
    assert_sent(&net.wire, arp_request(port_mac, A4, FAR4));
    change((IpvlanConfig) { .mode = &modes[IPVLAN_L3] });
    wire_receive(&net.wire, arp_reply(port_mac, hop_mac, FAR4, A4));
    assert_sent(&net.wire, udp(hop_mac, port_mac, A4, FAR4));
    stop();
}

static void test_answers(void)
{
    start(IPVLAN_L3);
    change((IpvlanConfig) { .ra = &off });
    net_clear(&net);
    net.wire.room = 0;
    wire_receive(&net.wire, arp_request(gateway_mac, GW4, A4));
    wire_receive(&net.wire, arp_request(gateway_mac, GW4, B4));
    change_mode(IPVLAN_L2);
    assert_drops(net.wire.link, NOT_ROUTED, 2);
    wire_make_room(&net.wire, NO_LIMIT);
    stop();
}

/* Guests, to whom all have been at the port, are told where they are. */
static void test_introduced(void)
{
    IpAddr gateways[] = { ip(GW4), ip(GW6) };

    start(IPVLAN_L3);
    change((IpvlanConfig) { .ra = &off });
    net_clear(&net);
    user_send(a, udp(port_mac, a->mac, A4, FAR4));
    wire_receive(&net.wire, arp_reply(port_mac, hop_mac, FAR4, A4));
    change((IpvlanConfig) { .gateways = gateways, .n_gateways = 2 });
    user_send(a, udp(port_mac, a->mac, A4, "192.0.2.1"));
    wire_receive(&net.wire, arp_reply(port_mac, gateway_mac, GW4, A4));
    user_send(a, udp(port_mac, a->mac, A6, "2001:db8::1"));
    wire_receive(&net.wire, nd_solicit(new_hop_mac, GW6, A6));
    net_clear(&net);
    change_mode(IPVLAN_L2_MACNAT);
    g_assert_cmpuint(b->got->len, ==, 3);
    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(Frame) f = user_take(b);

        /* the gateways first, of which one is IPv6's, a router */
        if (frame_get16(f, 12) == 0x0806) {
            assert_same(frame_dup(f), arp_announce(gateway_mac, GW4));
        } else {
            assert_mac(frame_src(f), new_hop_mac);
            g_assert_true(frame_checksum_ok(f));
            g_assert_cmphex(f->data[frame_offsets(f).l4 + 4], ==, 0xa0);
        }
    }
    assert_same(user_take(b), arp_announce(hop_mac, FAR4));
    net_clear(&net);
    stop();
}

/* A neighbour that the uplink was too busy to ask for. */
static void test_owed(void)
{
    start(IPVLAN_L3);
    change((IpvlanConfig) { .ra = &off });
    net_clear(&net);
    net.wire.room = 0;
    user_send(a, udp(port_mac, a->mac, A4, FAR4));
    g_assert_cmpuint(port()->neigh.owed.length, ==, 1);
    change_mode(IPVLAN_L2_MACNAT);
    g_assert_cmpuint(port()->neigh.owed.length, ==, 0);
    wire_make_room(&net.wire, NO_LIMIT);
    assert_drops(a->link, NO_NEIGHBOUR, 1);
    stop();
}

/* --- router advertisements ----------------------------------------------- */

/* The lifetime in the one that @u got, and nothing else. */
static unsigned take_ra(User *u, unsigned mtu)
{
    g_autoptr(Frame) f = NULL;
    FrameOffsets o;

    g_assert_cmpuint(u->got->len, ==, 1);
    f = user_take(u);
    o = frame_offsets(f);
    g_assert_true(frame_checksum_ok(f));
    g_assert_cmpuint(f->data[o.l4], ==, ND_ROUTER_ADVERT);
    g_assert_cmpuint(frame_get16(f, f->len - 2), ==, mtu);
    return frame_get16(f, o.l4 + 6);
}

static void assert_ra(unsigned lifetime, unsigned mtu)
{
    g_assert_cmpuint(take_ra(a, mtu), ==, lifetime);
    g_assert_cmpuint(take_ra(b, mtu), ==, lifetime);
    g_assert_cmpuint(take_ra(c, mtu), ==, lifetime);
    net_assert_quiet(&net);
}

static void test_ra(void)
{
    start(IPVLAN_L2_MACNAT);
    clock_advance(3600 * NS_PER_S);
    net_assert_quiet(&net);
    change((IpvlanConfig) { .mode = &modes[IPVLAN_L3], .mtu = 1400 });
    assert_ra(RA_LIFETIME, 1400);
    clock_advance(RA_INTERVAL);
    assert_ra(RA_LIFETIME, 1400);

    /* what they have been told is told again only where it is not so */
    change_mode(IPVLAN_L3S);
    change((IpvlanConfig) { .ra = &on, .mtu = 1400 });
    net_assert_quiet(&net);
    change((IpvlanConfig) { .mtu = 1500 });
    assert_ra(RA_LIFETIME, 1500);

    change((IpvlanConfig) { .ra = &off });
    assert_ra(0, 1500);
    clock_advance(3600 * NS_PER_S);
    user_send(a, nd_router_solicit(a->mac, "fe80::5054:ff:fe12:3456"));
    net_assert_quiet(&net);
    change((IpvlanConfig) { .ra = &on });
    assert_ra(RA_LIFETIME, 1500);

    change_mode(IPVLAN_L2);
    assert_ra(0, 1500);
    clock_advance(3600 * NS_PER_S);
    net_assert_quiet(&net);

    /* no timer of old times makes it twice as many */
    change_mode(IPVLAN_L3);
    assert_ra(RA_LIFETIME, 1500);
    for (unsigned i = 0; i < 3; i++) {
        clock_advance(RA_INTERVAL);
        assert_ra(RA_LIFETIME, 1500);
    }
    change_mode(IPVLAN_L2);
    assert_ra(0, 1500);
    stop();
}

/* Nobody is told that a router goes that has never been one to them. */
static void test_ra_never(void)
{
    start(IPVLAN_L2_MACNAT);
    change((IpvlanConfig) { .mode = &modes[IPVLAN_L3], .ra = &off });
    change_mode(IPVLAN_L3S);
    change_mode(IPVLAN_L2);
    clock_advance(3600 * NS_PER_S);
    stop();
}

/* --- gateways ------------------------------------------------------------ */

static bool is_gateway(const char *addr)
{
    g_autofree char *text = dump();
    g_autofree char *search = g_strdup_printf(" %s ", addr);
    const char *at = strstr(text, search);

    g_assert_nonnull(at);
    /* behind the state */
    return strchr(at + strlen(search), ' ')[1] == '1';
}

static void gateway_is(const char *addr)
{
    IpAddr gateway = ip(addr);

    change((IpvlanConfig) { .gateways = &gateway, .n_gateways = 1 });
}

static void no_gateway(void)
{
    change((IpvlanConfig) { .gateways = (IpAddr[1]) { } });
    g_assert_cmpint(port()->gateway4.family, ==, IP_NONE);
    g_assert_cmpint(port()->gateway6.family, ==, IP_NONE);
}

static void quiet_l3(void)
{
    start(IPVLAN_L3);
    change((IpvlanConfig) { .ra = &off });
    net_clear(&net);
}

/* What was to be passed on goes the other way, what is for itself does not. */
static void test_gateway_moved(void)
{
    quiet_l3();
    gateway_is(GW4);
    user_send(a, udp(port_mac, a->mac, A4, FAR4));
    user_send(b, udp(port_mac, b->mac, B4, GW4));
    user_send(b, udp(port_mac, b->mac, B4, FAR4));
    assert_sent(&net.wire, arp_request(port_mac, A4, GW4));
    g_assert_true(is_gateway(GW4));

    gateway_is(NEW_GW4);
    assert_sent(&net.wire, arp_request(port_mac, A4, NEW_GW4));
    g_assert_false(is_gateway(GW4));
    g_assert_true(is_gateway(NEW_GW4));
    wire_receive(&net.wire, arp_reply(port_mac, new_hop_mac, NEW_GW4, A4));
    assert_same(wire_take(&net.wire), udp(new_hop_mac, port_mac, A4, FAR4));
    assert_sent(&net.wire, udp(new_hop_mac, port_mac, B4, FAR4));
    wire_receive(&net.wire, arp_reply(port_mac, hop_mac, GW4, B4));
    assert_sent(&net.wire, udp(hop_mac, port_mac, B4, GW4));
    net_assert_quiet(&net);

    /* the one is forgotten as any other host, the other never */
    clock_advance(600 * NS_PER_S);
    g_assert_cmpuint(n_neighs(), ==, 1);
    g_assert_true(is_gateway(NEW_GW4));
    g_assert_cmpuint(link_stats_drops(&a->link->stats), ==, 0);
    g_assert_cmpuint(link_stats_drops(&b->link->stats), ==, 0);
    net_clear(&net);
    stop();
}

/* Without one, what waits is for hosts on the link. */
static void test_gateway_none(void)
{
    quiet_l3();
    gateway_is(GW4);
    user_send(a, udp(port_mac, a->mac, A4, FAR4));
    assert_sent(&net.wire, arp_request(port_mac, A4, GW4));
    no_gateway();
    assert_sent(&net.wire, arp_request(port_mac, A4, FAR4));
    g_assert_cmpuint(n_neighs(), ==, 1);    /* nobody waits for the other */
    wire_receive(&net.wire, arp_reply(port_mac, hop_mac, FAR4, A4));
    assert_sent(&net.wire, udp(hop_mac, port_mac, A4, FAR4));
    stop();
}

/* Who is known already need not be asked. */
static void test_gateway_known(void)
{
    quiet_l3();
    user_send(a, udp(port_mac, a->mac, A4, NEW_GW4));
    wire_receive(&net.wire, arp_reply(port_mac, new_hop_mac, NEW_GW4, A4));
    net_clear(&net);
    gateway_is(GW4);
    user_send(a, udp(port_mac, a->mac, A4, FAR4));
    assert_sent(&net.wire, arp_request(port_mac, A4, GW4));
    gateway_is(NEW_GW4);
    assert_sent(&net.wire, udp(new_hop_mac, port_mac, A4, FAR4));
    g_assert_true(is_gateway(NEW_GW4));
    /* nobody pays for it any more */
    g_assert_cmpuint(slave_of(a)->neigh.made[NEIGH_USED].length, ==, 0);
    g_assert_cmpuint(slave_of(a)->neigh.made[NEIGH_UNUSED].length, ==, 0);

    /* one that is known, and no gateway any more, is nobody's */
    gateway_is(GW4);
    g_assert_false(is_gateway(NEW_GW4));
    clock_advance(600 * NS_PER_S);
    g_assert_cmpuint(n_neighs(), ==, 0);
    net_clear(&net);
    stop();
}

/* The uplink is busy while they move. */
static void test_gateway_busy(void)
{
    quiet_l3();
    user_send(a, udp(port_mac, a->mac, A4, NEW_GW4));
    wire_receive(&net.wire, arp_reply(port_mac, new_hop_mac, NEW_GW4, A4));
    net_clear(&net);
    gateway_is(GW4);
    for (unsigned i = 0; i < 3; i++) {
        user_send(a, udp(port_mac, a->mac, A4, FAR4));
    }
    net_clear(&net);
    net.wire.room = 1;
    gateway_is(NEW_GW4);
    assert_sent(&net.wire, udp(new_hop_mac, port_mac, A4, FAR4));
    wire_make_room(&net.wire, NO_LIMIT);
    g_assert_cmpuint(net.wire.sent->len, ==, 2);
    g_assert_cmpuint(link_stats_drops(&a->link->stats), ==, 0);
    net_clear(&net);
    stop();
}

/* --- l3s: rules, flows --------------------------------------------------- */

static void test_rules(void)
{
    g_autoptr(GError) err = NULL;
    IpvlanRule *rule = ipvlan_rule_new(&(IpvlanRuleConfig) {
        .slave = "n0", .direction = IPVLAN_OUT, .action = IPVLAN_ACCEPT,
        .match = "udp",
    }, NULL);

    start(IPVLAN_L3S);
    change((IpvlanConfig) { .policy = &policy_drop });
    g_assert_cmpint(ipvlan_rule_attach(rule, net.wire.link, NULL), ==, 0);
    for (unsigned i = 0; i < IPVLAN_L3S; i++) {
        g_autofree char *message = g_strdup_printf(
            "mode=%s: 'up0' has 1 rules, which need mode=l3s",
            ipvlan_mode_name(modes[i]));

        assert_refused((IpvlanConfig) { .mode = &modes[i] }, message);
    }
    user_send(a, udp(port_mac, a->mac, A4, FAR4));
    g_assert_cmpuint(filter_flows(port()), ==, 1);
    g_assert_cmpuint(filter_slave_flows(slave_of(a)), ==, 1);
    user_send(b, udp(port_mac, b->mac, B4, FAR4));
    assert_drops(b->link, FILTER, 1);

    ipvlan_rule_free(rule);
    change_mode(IPVLAN_L3);
    g_assert_cmpuint(filter_flows(port()), ==, 0);
    g_assert_cmpuint(filter_slave_flows(slave_of(a)), ==, 0);
    user_send(b, udp(port_mac, b->mac, B4, FAR4));
    assert_drops(b->link, FILTER, 1);

    /* rules are for all slaves that there are then */
    change((IpvlanConfig) {
        .mode = &modes[IPVLAN_L3S], .policy = &policy_drop,
    });
    rule = ipvlan_rule_new(&(IpvlanRuleConfig) {
        .slave = "n1", .direction = IPVLAN_OUT, .action = IPVLAN_ACCEPT,
    }, NULL);
    g_assert_cmpint(ipvlan_rule_attach(rule, net.wire.link, &err), ==, 0);
    user_send(b, udp(port_mac, b->mac, B4, FAR4));
    assert_drops(b->link, FILTER, 1);
    user_send(a, udp(port_mac, a->mac, A4, FAR4));
    assert_drops(a->link, FILTER, 1);
    g_assert_cmpuint(filter_slave_flows(slave_of(b)), ==, 1);
    net_clear(&net);
    clock_advance(3600 * NS_PER_S);
    net_clear(&net);
    net_fini(&net);
    ipvlan_rule_free(rule);
}

/* The filter's timer is under way when it goes. */
static void test_flows_timer(void)
{
    IpvlanRule *rule;

    for (unsigned i = 0; i < IPVLAN_L3S; i++) {
        start(IPVLAN_L3S);
        rule = ipvlan_rule_new(&(IpvlanRuleConfig) {
            .direction = IPVLAN_BOTH, .action = IPVLAN_ACCEPT,
        }, NULL);
        ipvlan_rule_attach(rule, net.wire.link, NULL);
        for (unsigned n = 0; n < 100; n++) {
            user_send(a, frame_udp(port_mac, a->mac, A4, B4, 1000 + n, 7, 4));
        }
        g_assert_cmpuint(filter_flows(port()), ==, 100);
        ipvlan_rule_free(rule);
        change_mode(modes[i]);
        clock_advance(3600 * NS_PER_S);
        net_clear(&net);
        stop();
    }
}

/* --- what slaves choose -------------------------------------------------- */

static void assert_chosen(const User *u, IpvlanLearn learn, IpvlanGuard guard)
{
    IpvlanSlaveInfo info;

    ipvlan_slave_info(u->link, &info);
    g_assert_cmpint(info.learn, ==, learn);
    g_assert_cmpint(info.guard, ==, guard);
}

static void test_choice(void)
{
    User *d, *e;

    start(IPVLAN_L2_MACNAT);
    d = net_add(&net, (IpvlanConfig) {
        .learn = IPVLAN_LEARN_AUTO, .guard = IPVLAN_GUARD_AUTO,
        .is_default = true,
    });
    e = net_add(&net, (IpvlanConfig) {
        .learn = IPVLAN_LEARN_OFF, .guard = IPVLAN_GUARD_STRICT,
    });
    for (unsigned i = 0; i < 2; i++) {
        assert_chosen(a, IPVLAN_LEARN_OFF, IPVLAN_GUARD_ON);
        assert_chosen(c, IPVLAN_LEARN_ON, IPVLAN_GUARD_OFF);
        assert_chosen(d, IPVLAN_LEARN_ON, IPVLAN_GUARD_OFF);
        assert_chosen(e, IPVLAN_LEARN_OFF, IPVLAN_GUARD_STRICT);
        change_mode(i ? IPVLAN_L3S : IPVLAN_L3);
        assert_chosen(a, IPVLAN_LEARN_OFF, IPVLAN_GUARD_ON);
        assert_chosen(c, IPVLAN_LEARN_OFF, IPVLAN_GUARD_ON);
        /* it gets what nobody owns, and may be anybody */
        assert_chosen(d, IPVLAN_LEARN_OFF, IPVLAN_GUARD_OFF);
        assert_chosen(e, IPVLAN_LEARN_OFF, IPVLAN_GUARD_STRICT);
        change_mode(i ? IPVLAN_L2 : IPVLAN_L2_MACNAT);
    }
    net_clear(&net);
    stop();
}

/* What it has learned it keeps as long as it uses it. */
static void test_learned(void)
{
    start(IPVLAN_L2_MACNAT);
    user_send(c, arp_announce(c->mac, C4));
    user_send(c, arp_announce(c->mac, "10.0.0.4"));
    net_clear(&net);
    change((IpvlanConfig) { .mode = &modes[IPVLAN_L3], .ra = &off });
    g_assert_cmpuint(net_addresses(c), ==, 2);
    user_send(c, udp(port_mac, c->mac, C4, A4));
    assert_got(a, udp(a->mac, port_mac, C4, A4));
    /* and no more of them */
    user_send(c, udp(port_mac, c->mac, "10.0.0.5", A4));
    assert_drops(c->link, GUARD_SOURCE, 1);
    clock_advance(200 * NS_PER_S);
    user_send(c, udp(port_mac, c->mac, C4, A4));
    clock_advance(200 * NS_PER_S);
    g_assert_cmpuint(net_addresses(c), ==, 1);
    g_assert_true(net_owner_of(&net, C4) == c);
    clock_advance(200 * NS_PER_S);
    g_assert_cmpuint(net_addresses(c), ==, 0);
    change_mode(IPVLAN_L2_MACNAT);
    user_send(c, arp_announce(c->mac, C4));
    g_assert_true(net_owner_of(&net, C4) == c);
    net_clear(&net);
    stop();
}

static void test_learn_asked(void)
{
    static const IpvlanLearn asked[] = {
        IPVLAN_LEARN_ON, IPVLAN_LEARN_DHCP,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(asked); i++) {
        g_autofree char *message = g_strdup_printf(
            "mode=l3: slave 'n3' has learn=%s, and mode=l3 does not learn "
            "addresses", ipvlan_learn_name(asked[i]));

        start(IPVLAN_L2_MACNAT);
        net_add(&net, (IpvlanConfig) { .learn = asked[i] });
        assert_refused((IpvlanConfig) {
            .mode = &modes[IPVLAN_L3], .flag = &private, .mtu = 9000,
        }, message);
        goes_out();
        change_mode(IPVLAN_L2);
        change_mode(IPVLAN_L2_MACNAT);
        net_clear(&net);
        net_del(&net.user[3]);
        change_mode(IPVLAN_L3);
        net_clear(&net);
        stop();
    }
}

/* In l3 nobody is a member of anything, and nobody was asked. */
static void test_groups(void)
{
    unsigned n = 0;

    start(IPVLAN_L2_MACNAT);
    wire_receive(&net.wire, group_query(gateway_mac, GW4, NULL));
    clock_run_pending();
    user_send(a, group_join(a->mac, A4, "239.1.2.3"));
    clock_advance(20 * NS_PER_S);
    net_clear(&net);
    wire_receive(&net.wire, udp_group(gateway_mac, GW4, "239.1.2.3"));
    clock_run_pending();
    g_assert_cmpuint(a->got->len, ==, 1);
    g_assert_cmpuint(b->got->len, ==, 0);
    change_mode(IPVLAN_L3);
    ipvlan_foreach_group(a->link, (void *)count_neigh, &n);
    g_assert_cmpuint(n, ==, 0);
    change_mode(IPVLAN_L2_MACNAT);
    net_clear(&net);
    /* without a querier, all get them */
    wire_receive(&net.wire, udp_group(gateway_mac, GW4, "239.1.2.3"));
    clock_run_pending();
    g_assert_cmpuint(a->got->len, ==, 1);
    g_assert_cmpuint(b->got->len, ==, 1);
    net_clear(&net);
    stop();
}

/* --- MACs ---------------------------------------------------------------- */

/* Two guests with one MAC: the heir of the one must not be found in l2. */
static void test_same_mac(void)
{
    static const uint8_t same[] = { 0x52, 0x54, 0, 0, 0, 0x99 };

    start(IPVLAN_L2_MACNAT);
    a->tells_mac = b->tells_mac = c->tells_mac = false;
    user_send(a, udp(gateway_mac, same, A4, FAR4));
    user_send(b, udp(gateway_mac, same, B4, FAR4));
    user_send(c, udp(gateway_mac, same, C4, FAR4));
    g_assert_true(macnat_find(port(), same) == slave_of(a));
    change_mode(IPVLAN_L2);
    g_assert_null(macnat_find(port(), same));
    change_mode(IPVLAN_L2_MACNAT);
    g_assert_true(macnat_find(port(), same) == slave_of(a));
    net_clear(&net);
    net_del(a);
    g_assert_true(macnat_find(port(), same) == slave_of(b));
    change_mode(IPVLAN_L3);
    change_mode(IPVLAN_L2);
    g_assert_null(macnat_find(port(), same));
    net_clear(&net);
    stop();
}

/* A guest that had one of its own, and has the port's now, is found by DHCP. */
static void test_l2_dhcp(void)
{
    start(IPVLAN_L2_MACNAT);
    user_send(c, udp(gateway_mac, c->mac, C4, FAR4));
    change_mode(IPVLAN_L2);
    user_send(c, dhcp_request(c->mac, 7));
    net_clear(&net);
    wire_receive(&net.wire, dhcp_reply(mac_broadcast, gateway_mac, 5,
                                       "10.0.0.33", c->mac, 7, 3600));
    g_assert_cmpuint(c->got->len, ==, 1);
    g_assert_true(net_owner_of(&net, "10.0.0.33") == c);
    net_clear(&net);
    stop();
}

/* A guest's MAC is pinned for all modes but l2, where it is the port's. */
static void test_pinned(void)
{
    static const uint8_t other[] = { 0x52, 0x54, 0, 0, 0, 0x99 };

    start(IPVLAN_L2_MACNAT);
    traffic();                              /* a has a guard */
    change_mode(IPVLAN_L2);
    traffic();
    change_mode(IPVLAN_L3);
    net_clear(&net);
    traffic();
    user_send(a, udp(port_mac, other, A4, B4));
    assert_drops(a->link, GUARD_MAC, 1);
    user_send(a, udp(port_mac, port_mac, A4, B4));
    assert_drops(a->link, GUARD_MAC, 2);
    net_clear(&net);
    stop();

    /* who has only been in l2 has what its NIC tells, or keeps the port's */
    start(IPVLAN_L2);
    b->tells_mac = false;
    traffic();
    change_mode(IPVLAN_L2_MACNAT);
    user_send(a, udp(gateway_mac, port_mac, A4, FAR4));
    assert_drops(a->link, GUARD_MAC, 1);
    user_send(a, udp(gateway_mac, a->mac, A4, FAR4));
    user_send(b, udp(gateway_mac, port_mac, B4, FAR4));
    g_assert_cmpuint(net.wire.sent->len, ==, 2);
    user_send(b, udp(gateway_mac, b->mac, B4, FAR4));
    assert_drops(b->link, GUARD_MAC, 1);
    net_clear(&net);
    stop();
}

/* --- guards at run time -------------------------------------------------- */

static void test_guard(void)
{
    static const uint8_t other[] = { 0x52, 0x54, 0, 0, 0, 0x99 };

    start(IPVLAN_L2_MACNAT);
    /* somebody else's while nobody looks: not after that, where a NIC tells */
    c->tells_mac = true;
    user_send(c, udp(gateway_mac, other, C4, FAR4));
    g_assert_true(macnat_find(port(), other) == slave_of(c));
    ipvlan_set_guard(c->link, IPVLAN_GUARD_ON);
    assert_chosen(c, IPVLAN_LEARN_ON, IPVLAN_GUARD_ON);
    g_assert_null(macnat_find(port(), other));
    g_assert_true(macnat_find(port(), c->mac) == slave_of(c));
    user_send(c, udp(gateway_mac, other, C4, FAR4));
    assert_drops(c->link, GUARD_MAC, 1);
    user_send(c, udp(gateway_mac, c->mac, C4, FAR4));
    assert_drops(c->link, GUARD_MAC, 1);

    /* strict is the same guard, and a bit more */
    ipvlan_set_guard(c->link, IPVLAN_GUARD_STRICT);
    user_send(c, nd_router_advert(c->mac, "fe80::5054:ff:fe12:3458"));
    assert_drops(c->link, GUARD_RA, 1);
    user_send(c, udp(gateway_mac, other, C4, FAR4));
    assert_drops(c->link, GUARD_MAC, 2);

    ipvlan_set_guard(c->link, IPVLAN_GUARD_OFF);
    user_send(c, udp(gateway_mac, other, C4, FAR4));
    assert_drops(c->link, GUARD_MAC, 2);

    /* where no NIC tells, the next frame does, and not one of long ago */
    c->tells_mac = false;
    ipvlan_set_guard(c->link, IPVLAN_GUARD_ON);
    user_send(c, udp(gateway_mac, other, C4, FAR4));
    user_send(c, udp(gateway_mac, c->mac, C4, FAR4));
    assert_drops(c->link, GUARD_MAC, 3);

    /* what was set stays so whatever the mode */
    ipvlan_set_guard(c->link, IPVLAN_GUARD_OFF);
    change_mode(IPVLAN_L3);
    assert_chosen(c, IPVLAN_LEARN_OFF, IPVLAN_GUARD_OFF);
    ipvlan_set_guard(c->link, IPVLAN_GUARD_AUTO);
    assert_chosen(c, IPVLAN_LEARN_OFF, IPVLAN_GUARD_ON);
    net_clear(&net);
    stop();
}

/* --- addresses ----------------------------------------------------------- */

static void assert_add_fails(User *u, const char *addr, int ret,
                             const char *message)
{
    g_autofree char *before = dump(), *after = NULL;
    g_autoptr(GError) err = NULL;
    IpPrefix p = prefix(addr);

    g_assert_cmpint(ipvlan_addr_add(u->link, &p, &err), ==, ret);
    g_assert_cmpstr(err->message, ==, message);
    after = dump();
    g_assert_cmpstr(before, ==, after);
}

static void assert_del_fails(User *u, const char *addr, const char *message)
{
    g_autofree char *before = dump(), *after = NULL;
    g_autoptr(GError) err = NULL;
    IpPrefix p = prefix(addr);

    g_assert_cmpint(ipvlan_addr_del(u->link, &p, &err), ==, -ENOENT);
    g_assert_cmpstr(err->message, ==, message);
    after = dump();
    g_assert_cmpstr(before, ==, after);
}

static void test_addr(void)
{
    IpPrefix c4 = prefix(C4), net4 = prefix("10.0.0.0/24");

    start(IPVLAN_L2_MACNAT);
    user_send(c, arp_announce(c->mac, C4));
    assert_add_fails(a, C4, -EEXIST, "address=10.0.0.3: slave 'n2' owns it");
    assert_add_fails(a, A4, -EEXIST, "address=10.0.0.1: slave 'n0' owns it "
                     "for good already");
    assert_del_fails(a, C4, "address=10.0.0.3: slave 'n2' owns it");
    assert_del_fails(a, NOBODY4, "address=10.0.0.200: slave 'n0' does not "
                     "own it");
    assert_del_fails(a, "10.0.0.0/24", "address=10.0.0.0/24: slave 'n0' does "
                     "not own it");
    /* a longer one may be another's */
    g_assert_cmpint(ipvlan_addr_add(a->link, &net4, NULL), ==, 0);
    g_assert_true(net_owner_of(&net, C4) == c);
    g_assert_cmpint(ipvlan_addr_del(a->link, &net4, NULL), ==, 0);

    /* learned, and pinned: it does not expire, and makes no room */
    g_assert_cmpint(ipvlan_addr_add(c->link, &c4, NULL), ==, 0);
    g_assert_cmpuint(slave_of(c)->learned.length, ==, 0);
    for (unsigned i = 0; i < 40; i++) {
        g_autofree char *addr = g_strdup_printf("10.0.1.%u", i);

        user_send(c, arp_announce(c->mac, addr));
    }
    clock_advance(3600 * NS_PER_S);
    g_assert_cmpuint(net_addresses(c), ==, 1);
    g_assert_true(net_owner_of(&net, C4) == c);
    assert_add_fails(c, C4, -EEXIST, "address=10.0.0.3: slave 'n2' owns it "
                     "for good already");

    /* given up, and learned again */
    g_assert_cmpint(ipvlan_addr_del(c->link, &c4, NULL), ==, 0);
    g_assert_null(net_owner_of(&net, C4));
    user_send(c, arp_announce(c->mac, C4));
    g_assert_true(net_owner_of(&net, C4) == c);
    trace_reset();
    g_assert_cmpint(ipvlan_addr_del(c->link, &c4, NULL), ==, 0);
    g_assert_cmpuint(trace_count(LINK_EVENT_EXPIRE, NULL), ==, 1);
    net_clear(&net);
    stop();
}

/* --- telling ------------------------------------------------------------- */

static unsigned told[LINK_EVENT_GUARD + 1];

static void count_told(const LinkTrace *t)
{
    told[t->event] += !t->excess;
}

static void learn_many(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *addr = g_strdup_printf("10.%u.%u.9", i / 250,
                                                i % 250);

        user_send(c, arp_announce(c->mac, addr));
    }
}

static void test_told(void)
{
    TraceRecord last;

    start(IPVLAN_L2_MACNAT);
    memset(told, 0, sizeof(told));
    trace_hook = count_told;
    user_send(c, arp_announce(c->mac, C4));
    g_assert_cmpuint(trace_count(LINK_EVENT_LEARN, &last), ==, 1);
    g_assert_cmpuint(last.origin, ==, IPVLAN_ORIGIN_ARP);
    g_assert_false(last.excess);

    /* all are traced; of learned and expired ones a few are told */
    learn_many(1000);
    g_assert_cmpuint(trace_count(LINK_EVENT_LEARN, NULL), ==, 1001);
    g_assert_cmpuint(trace_count(LINK_EVENT_EXPIRE, NULL), ==,
                     1001 - IPVLAN_MAX_ADDRS);
    g_assert_cmpuint(told[LINK_EVENT_LEARN] + told[LINK_EVENT_EXPIRE], ==,
                     IPVLAN_EVENTS_MAX);
    clock_advance(IPVLAN_EVENTS_NS);
    learn_many(1000);
    g_assert_cmpuint(told[LINK_EVENT_LEARN] + told[LINK_EVENT_EXPIRE], ==,
                     2 * IPVLAN_EVENTS_MAX);

    /* one slave's flood leaves another's alone */
    net_clear(&net);
    memset(told, 0, sizeof(told));
    user_send(net_learner(&net), arp_announce(c->mac, "10.99.0.1"));
    g_assert_cmpuint(told[LINK_EVENT_LEARN], ==, 1);

    for (unsigned i = 0; i < 1000; i++) {
        user_send(c, udp(gateway_mac, c->mac, A4, FAR4));
    }
    g_assert_cmpuint(told[LINK_EVENT_CONTEST], ==, IPVLAN_EVENTS_MAX);
    g_assert_cmpuint(slave_of(c)->contested, ==, 1000);

    /* that a slave goes says enough */
    clock_advance(IPVLAN_EVENTS_NS);
    memset(told, 0, sizeof(told));
    trace_reset();
    net_del(c);
    g_assert_cmpuint(trace_count(LINK_EVENT_EXPIRE, NULL), ==,
                     IPVLAN_MAX_ADDRS);
    g_assert_cmpuint(told[LINK_EVENT_EXPIRE], ==, 0);
    trace_hook = NULL;
    net_clear(&net);
    stop();
}

/* --- refused ------------------------------------------------------------- */

typedef struct Bad {
    IpvlanMode mode;            /* that the port is in */
    IpvlanConfig config;
    const char *message;
} Bad;

static void test_refused(void)
{
    IpAddr v4[] = { ip("192.0.2.1"), ip("192.0.2.2") };
    IpAddr group = ip("ff02::1");
    const Bad bad[] = {
        { IPVLAN_L3, { .gateways = v4, .n_gateways = 2, .flag = &private },
          "gateway=192.0.2.2: there is one for IPv4 already, 192.0.2.1" },
        { IPVLAN_L3, { .gateways = &group, .n_gateways = 1, .ra = &off },
          "gateway=ff02::1: it is not a unicast address of a host" },
        { IPVLAN_L2, { .gateways = v4, .n_gateways = 1, .flag = &private },
          "gateway=192.0.2.1: that is for mode=l3 and mode=l3s, and the mode "
          "is l2" },
        { IPVLAN_L2, { .gateways = v4, .flag = &private },
          "gateway=: that is for mode=l3 and mode=l3s, and the mode is l2" },
        { IPVLAN_L3, { .mode = &modes[IPVLAN_L2_MACNAT], .mtu = 9000 },
          "mtu=9000: that is for mode=l3 and mode=l3s, and the mode is "
          "l2-macnat" },
        { IPVLAN_L2, { .mode = &modes[IPVLAN_L3], .mtu = 1279 },
          "mtu=1279: it has to be between 1280 and 65535" },
        { IPVLAN_L2, { .ra = &on },
          "ra=on: that is for mode=l3 and mode=l3s, and the mode is l2" },
        { IPVLAN_L3S, { .mode = &modes[IPVLAN_L2], .proxy_arp = &off },
          "proxy-arp=off: that is for mode=l3 and mode=l3s, and the mode is "
          "l2" },
        { IPVLAN_L3S, { .mode = &modes[IPVLAN_L3], .policy = &policy_drop },
          "policy=drop: that is for mode=l3s, and the mode is l3" },
        { IPVLAN_L2_MACNAT, { .policy = &policy_drop, .flag = &vepa },
          "policy=drop: that is for mode=l3s, and the mode is l2-macnat" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        start(bad[i].mode);
        traffic();
        user_send(a, udp(port_mac, a->mac, A4, FAR4));
        clock_run_pending();
        net_clear(&net);
        assert_refused(bad[i].config, bad[i].message);
        net_assert_quiet(&net);
        traffic();
        net_clear(&net);
        stop();
    }
}

static void test_no_port(void)
{
    g_autoptr(GError) err = NULL;
    Wire w;

    wire_init(&w, "up0");
    g_assert_cmpint(ipvlan_port_change(w.link, &(IpvlanConfig) {
        .mode = &modes[IPVLAN_L2],
    }, &err), ==, -EINVAL);
    g_assert_cmpstr(err->message, ==, "'up0' is no master of ipvlan's slaves");
    wire_fini(&w);
}

/* --- whatever happens ---------------------------------------------------- */

#define STORM_STEPS 150000
#define STORM_IPS 6             /* of three slaves, and three others */

/* What has become of each frame. */
typedef struct Fate {
    uint8_t wire, users, drops;
    bool for_many;
} Fate;

typedef struct Storm {
    GRand *rand;
    GArray *fates;              /* of Fate, by the number in the frame */
    IpvlanRule *rule;           /* attached, or NULL */
    unsigned changed, refused;
} Storm;

static Storm storm;

static unsigned pick(unsigned n)
{
    return g_rand_int_range(storm.rand, 0, n);
}

static Fate *fate_at(unsigned number)
{
    g_assert_cmpuint(number, <, storm.fates->len);
    return &g_array_index(storm.fates, Fate, number);
}

/* Of a frame that the storm has sent; NULL: of another one. */
static Fate *fate_of(const uint8_t *b, unsigned len)
{
    if (len != 14 + 20 + 8 + 4 || b[12] != 8 || b[13] || b[23] != 17) {
        return NULL;
    }
    return fate_at((uint32_t)b[42] << 24 | b[43] << 16 | b[44] << 8 | b[45]);
}

static void storm_dropped(const LinkTrace *t)
{
    uint8_t b[64];
    Fate *fate;

    if (t->event == LINK_EVENT_DROP && t->packet->len <= sizeof(b)) {
        packet_copy_range(t->packet, 0, t->packet->len, b);
        fate = fate_of(b, t->packet->len);
        if (fate) {
            fate->drops++;
        }
    }
}

static void storm_look(GPtrArray *frames, bool wire)
{
    for (unsigned i = 0; i < frames->len; i++) {
        const Frame *f = frames->pdata[i];
        Fate *fate = fate_of(f->data, f->len);

        if (fate) {
            *(wire ? &fate->wire : &fate->users) += 1;
            g_assert_true(frame_checksum_ok(f));
        }
        if (wire) {
            assert_mac(frame_src(f), port_mac);
        }
    }
    g_ptr_array_set_size(frames, 0);
}

static Frame *storm_frame(const uint8_t *dst, const uint8_t *src,
                          const char *sip, const char *dip, bool for_many)
{
    Frame *f = frame_udp(dst, src, sip, dip, 1000 + pick(4), 2000, 4);
    Fate fate = { .for_many = for_many };

    frame_set16(f, 42, storm.fates->len >> 16);
    frame_set16(f, 44, storm.fates->len);
    g_array_append_val(storm.fates, fate);
    return frame_checksum(f);
}

static const char *storm_ip(unsigned i)
{
    static const char *const ips[STORM_IPS] = {
        A4, B4, C4, GW4, NEW_GW4, FAR4,
    };

    return ips[i];
}

static void storm_send(void)
{
    unsigned from = pick(N_SLAVES), to = pick(STORM_IPS);
    User *u = &net.user[from];
    const uint8_t *dst = to < N_SLAVES ? net.user[to].mac : gateway_mac;

    if (!pick(8)) {
        user_send(u, storm_frame(mac_broadcast, u->mac, storm_ip(from),
                                 "255.255.255.255", true));
    } else {
        user_send(u, storm_frame(pick(3) ? via(dst) : dst, u->mac,
                                 storm_ip(from), storm_ip(to), false));
    }
}

static void storm_receive(void)
{
    unsigned to = pick(N_SLAVES);

    if (!pick(8)) {
        wire_receive(&net.wire, storm_frame(mac_broadcast, gateway_mac, GW4,
                                            "255.255.255.255", true));
    } else {
        wire_receive(&net.wire, storm_frame(port_mac, gateway_mac, GW4,
                                            storm_ip(to), false));
    }
}

static void storm_talk(void)
{
    const char *host = storm_ip(N_SLAVES + pick(STORM_IPS - N_SLAVES));
    const char *guest = storm_ip(pick(N_SLAVES));

    if (pick(2)) {
        wire_receive(&net.wire, arp_reply(port_mac, hop_mac, host, guest));
    } else {
        wire_receive(&net.wire, arp_request(hop_mac, host, guest));
    }
}

static void storm_room(void)
{
    User *u = &net.user[pick(N_SLAVES)];

    switch (pick(4)) {
    case 0:
        net.wire.room = pick(8);
        break;
    case 1:
        wire_make_room(&net.wire, pick(2) ? NO_LIMIT : pick(8));
        break;
    case 2:
        u->room = pick(8);
        break;
    default:
        user_make_room(u, pick(2) ? NO_LIMIT : pick(8));
        break;
    }
}

/* Rules come and go; those that are on a port forbid to leave l3s. */
static void storm_rule(void)
{
    if (storm.rule) {
        ipvlan_rule_free(storm.rule);
        storm.rule = NULL;
    } else if (port()->mode == IPVLAN_L3S) {
        storm.rule = ipvlan_rule_new(&(IpvlanRuleConfig) {
            .direction = IPVLAN_BOTH, .match = "src port 1000 or 1001",
            .action = IPVLAN_ACCEPT,
        }, NULL);
        g_assert_cmpint(ipvlan_rule_attach(storm.rule, net.wire.link, NULL),
                        ==, 0);
    }
}

static void storm_change(void)
{
    static const uint32_t mtus[] = { 0, 0, 0, 1400, 1500, 70000 };
    static const IpvlanFlag flags[] = {
        IPVLAN_BRIDGE, IPVLAN_PRIVATE, IPVLAN_VEPA,
    };
    static const IpvlanPolicy policies[] = {
        IPVLAN_POLICY_ACCEPT, IPVLAN_POLICY_DROP,
    };
    IpAddr gateway = ip(pick(2) ? GW4 : NEW_GW4);
    IpvlanConfig config = {
        .mode = pick(2) ? &modes[pick(N_MODES)] : NULL,
        .flag = pick(2) ? NULL : &flags[pick(8) < 6 ? 0 : 1 + pick(2)],
        .policy = pick(4) ? NULL : &policies[!pick(4)],
        .gateways = pick(4) ? NULL : &gateway,
        .n_gateways = pick(3) != 0,
        .ra = pick(8) ? NULL : pick(2) ? &on : &off,
        .proxy_arp = pick(8) ? NULL : pick(2) ? &on : &off,
        .mtu = mtus[pick(G_N_ELEMENTS(mtus))],
    };
    g_autofree char *before = dump();
    g_autoptr(GError) err = NULL;

    if (!config.gateways) {
        config.n_gateways = 0;
    }
    if (ipvlan_port_change(net.wire.link, &config, &err) == 0) {
        storm.changed++;
        give_macs(port()->mode);
    } else {
        g_autofree char *after = dump();

        storm.refused++;
        g_assert_cmpstr(before, ==, after);
        g_assert_nonnull(err->message);
    }
}

static void storm_slave(void)
{
    static const IpvlanGuard guards[] = {
        IPVLAN_GUARD_OFF, IPVLAN_GUARD_ON, IPVLAN_GUARD_STRICT,
        IPVLAN_GUARD_AUTO,
    };
    unsigned i = pick(N_SLAVES);
    User *u = &net.user[i];
    IpPrefix p = prefix(storm_ip(i));

    switch (pick(8)) {
    case 0:
        ipvlan_set_guard(u->link, guards[pick(G_N_ELEMENTS(guards))]);
        break;
    case 1:
        ipvlan_addr_del(u->link, &p, NULL);
        break;
    case 2:
        link_set_rx_queue(u->link, 1 + pick(40));
        break;
    default:
        ipvlan_addr_add(u->link, &p, NULL);
        break;
    }
}

/* What a mode does not have is empty. */
static void storm_check(void)
{
    const IpvlanPort *p = port();

    if (ipvlan_is_l3(p)) {
        g_assert_cmpuint(p->backlog, ==, 0);
    } else {
        g_assert_cmpuint(n_neighs(), ==, 0);
        g_assert_cmpuint(p->neigh.owed.length, ==, 0);
        g_assert_cmpuint(p->answers.length, ==, 0);
        g_assert_cmpint(p->gateway4.family, ==, IP_NONE);
    }
    g_assert_cmpint(p->filter.rules != NULL, ==, p->mode == IPVLAN_L3S);
    for (unsigned i = 0; i < N_SLAVES; i++) {
        const IpvlanSlave *s = slave_of(&net.user[i]);

        g_assert_cmpint(s->filter.id != 0, ==, p->mode == IPVLAN_L3S);
        g_assert_false(p->mode == IPVLAN_L2 && s->owns_mac);
        g_assert_false(!ipvlan_is_l3(p) && s->neigh.waiting);
    }
}

static void storm_step(void)
{
    static const int64_t times[] = {
        1, NS_PER_S / 10, NS_PER_S, 20 * NS_PER_S, 700 * NS_PER_S,
    };

    switch (pick(24)) {
    case 0:
        clock_advance(times[pick(G_N_ELEMENTS(times))]);
        break;
    case 1:
        clock_run_pending();
        break;
    case 2:
    case 3:
        storm_room();
        break;
    case 4:
        storm_talk();
        break;
    case 5:
        storm_change();
        break;
    case 6:
        storm_slave();
        break;
    case 7:
        storm_rule();
        break;
    case 8:
    case 9:
    case 10:
        storm_receive();
        break;
    default:
        storm_send();
        break;
    }
    storm_look(net.wire.sent, true);
    for (unsigned i = 0; i < N_SLAVES; i++) {
        storm_look(net.user[i].got, false);
    }
    storm_check();
    trace_reset();
}

/* No frame is lost that was not counted, and none comes twice. */
static void storm_count(void)
{
    unsigned wire = 0, users = 0, drops = 0;

    for (unsigned i = 0; i < storm.fates->len; i++) {
        const Fate *f = fate_at(i);

        wire += f->wire;
        users += f->users;
        drops += f->drops;
        g_assert_cmpuint(f->wire, <=, 1);
        if (f->for_many) {
            g_assert_cmpuint(f->users + f->drops, <=, N_SLAVES + 1);
            g_assert_cmpuint(f->wire + f->users + f->drops, >, 0);
        } else {
            g_assert_cmpuint(f->wire + f->users + f->drops, ==, 1);
        }
    }
    g_test_message("%u frames: %u out, %u to users, %u dropped; %u changes, "
                   "%u refused", storm.fates->len, wire, users, drops,
                   storm.changed, storm.refused);
    g_assert_cmpuint(wire, >, storm.fates->len / 10);
    g_assert_cmpuint(users, >, storm.fates->len / 10);
    g_assert_cmpuint(storm.changed, >, STORM_STEPS / 100);
    g_assert_cmpuint(storm.refused, >, STORM_STEPS / 1000);
}

static void storm_end(void)
{
    wire_make_room(&net.wire, NO_LIMIT);
    for (unsigned i = 0; i < N_SLAVES; i++) {
        user_make_room(&net.user[i], NO_LIMIT);
    }
    clock_advance(3600 * NS_PER_S);
    storm_look(net.wire.sent, true);
    for (unsigned i = 0; i < N_SLAVES; i++) {
        g_assert_true(g_queue_is_empty(&net.user[i].unsent));
        storm_look(net.user[i].got, false);
    }
}

static void test_storm(void)
{
    storm = (Storm) {
        .rand = g_rand_new_with_seed(11),
        .fates = g_array_new(FALSE, FALSE, sizeof(Fate)),
    };
    start(IPVLAN_L2_MACNAT);
    trace_hook = storm_dropped;
    for (unsigned i = 0; i < STORM_STEPS; i++) {
        storm_step();
    }
    storm_end();
    trace_hook = NULL;
    storm_count();
    net_clear(&net);
    net_fini(&net);
    if (storm.rule) {
        ipvlan_rule_free(storm.rule);
    }
    g_array_unref(storm.fates);
    g_rand_free(storm.rand);
}

static void add_modes(void)
{
    for (unsigned i = 0; i < N_MODES * N_MODES; i++) {
        g_autofree char *path = g_strdup_printf(
            "/change/mode/%s/%s", ipvlan_mode_name(modes[i / N_MODES]),
            ipvlan_mode_name(modes[i % N_MODES]));

        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_modes);
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    add_modes();
    g_test_add_func("/change/mode/silent", test_silent);
    g_test_add_func("/change/mode/same", test_same_mode);
    g_test_add_func("/change/mode/defaults", test_defaults);
    g_test_add_func("/change/flag", test_flag);
    g_test_add_func("/change/waiting/backlog", test_backlog);
    g_test_add_func("/change/waiting/neighbours", test_neighbours);
    g_test_add_func("/change/waiting/answers", test_answers);
    g_test_add_func("/change/waiting/owed", test_owed);
    g_test_add_func("/change/introduced", test_introduced);
    g_test_add_func("/change/ra", test_ra);
    g_test_add_func("/change/ra/never", test_ra_never);
    g_test_add_func("/change/gateway/moved", test_gateway_moved);
    g_test_add_func("/change/gateway/none", test_gateway_none);
    g_test_add_func("/change/gateway/known", test_gateway_known);
    g_test_add_func("/change/gateway/busy", test_gateway_busy);
    g_test_add_func("/change/rules", test_rules);
    g_test_add_func("/change/rules/timer", test_flows_timer);
    g_test_add_func("/change/choice", test_choice);
    g_test_add_func("/change/learned", test_learned);
    g_test_add_func("/change/learn-asked", test_learn_asked);
    g_test_add_func("/change/groups", test_groups);
    g_test_add_func("/change/same-mac", test_same_mac);
    g_test_add_func("/change/l2-dhcp", test_l2_dhcp);
    g_test_add_func("/change/pinned", test_pinned);
    g_test_add_func("/change/guard", test_guard);
    g_test_add_func("/change/addr", test_addr);
    g_test_add_func("/change/told", test_told);
    g_test_add_func("/change/refused", test_refused);
    g_test_add_func("/change/no-port", test_no_port);
    g_test_add_func("/change/storm", test_storm);
    return g_test_run();
}
