/*
 * libvlink: ipvlan's ports and slaves, and the tables of modes and flags
 *
 * The cases are the rows of the two tables in the documentation, for each
 * mode and flag.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"

typedef struct Case {
    IpvlanMode mode;
    IpvlanFlag flag;
} Case;

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define C4 "10.0.0.3"
#define FAR4 "192.0.2.9"

static const uint8_t stranger_mac[] = { 0x52, 0x54, 0, 0x99, 0, 1 };
static const uint8_t group_mac[] = { 1, 0, 0x5e, 0, 0, 0x65 };

/* Three slaves, with an address each. */
typedef struct Trio {
    Net net;
    User *a, *b, *c;
} Trio;

static void trio_init(Trio *t, const Case *c)
{
    net_init(&t->net, c->mode, c->flag);
    t->a = net_owner(&t->net, A4);
    t->b = net_owner(&t->net, B4);
    t->c = net_owner(&t->net, C4);
}

static void trio_fini(Trio *t)
{
    net_assert_quiet(&t->net);
    net_fini(&t->net);
}

/* In l2-macnat nobody knows a guest's MAC before it has spoken. */
static void trio_speak(Trio *t)
{
    user_send(t->a, udp(gateway_mac, t->a->mac, A4, FAR4));
    user_send(t->b, udp(gateway_mac, t->b->mac, B4, FAR4));
    user_send(t->c, udp(gateway_mac, t->c->mac, C4, FAR4));
    net_clear(&t->net);
}

/* As the wire sees a guest's frame that has no MAC deeper inside. */
static Frame *outside(Frame *f)
{
    return frame_set_mac_src(f, port_mac);
}

/* --- sending ------------------------------------------------------------- */

static void check_sent_sibling(Trio *t, const Case *c, Frame *f)
{
    g_assert_cmpint(user_send(t->a, frame_dup(f)), ==,
                    c->flag == IPVLAN_PRIVATE ? LINK_TX_DROPPED : LINK_TX_OK);
    switch (c->flag) {
    case IPVLAN_BRIDGE:
        assert_got(t->b, f);
        break;
    case IPVLAN_PRIVATE:
        assert_drops(t->a->link, PRIVATE, 1);
        frame_free(f);
        break;
    case IPVLAN_VEPA:
        assert_sent(&t->net.wire, outside(f));
        break;
    }
}

static void test_send_sibling(const void *opaque)
{
    const Case *c = opaque;
    Trio t;

    trio_init(&t, c);
    trio_speak(&t);
    check_sent_sibling(&t, c, udp(t.b->mac, t.a->mac, A4, B4));
    trio_fini(&t);
}

/* To the port's MAC, as whoever has its ARP from a reflection would. */
static void test_send_sibling_by_port(const void *opaque)
{
    const Case *c = opaque;
    Frame *f;
    Trio t;

    trio_init(&t, c);
    trio_speak(&t);
    f = udp(port_mac, t.a->mac, A4, B4);
    if (c->flag == IPVLAN_BRIDGE) {
        user_send(t.a, f);
        assert_got(t.b, udp(t.b->mac, t.a->mac, A4, B4));
    } else {
        check_sent_sibling(&t, c, f);
    }
    trio_fini(&t);
}

static void test_send_sibling_vlan(const void *opaque)
{
    const Case *c = opaque;
    Frame *f;
    Trio t;

    trio_init(&t, c);
    trio_speak(&t);
    f = frame_tag(udp(t.b->mac, t.a->mac, A4, B4), 0x8100, 7);
    check_sent_sibling(&t, c, frame_tag(f, 0x88a8, 9));
    trio_fini(&t);
}

static void test_send_sibling_fragment(const void *opaque)
{
    const Case *c = opaque;
    Frame *f;
    Trio t;

    trio_init(&t, c);
    trio_speak(&t);
    f = frame_ip(t.b->mac, t.a->mac, A4, B4, 17, 64);
    check_sent_sibling(&t, c, frame_fragment(f, 800, false));
    trio_fini(&t);
}

static void test_send_broadcast(const void *opaque)
{
    const Case *c = opaque;
    Frame *f;
    Trio t;

    trio_init(&t, c);
    f = udp(mac_broadcast, t.a->mac, A4, "10.0.0.255");
    g_assert_cmpint(user_send(t.a, frame_dup(f)), ==, LINK_TX_OK);
    g_assert_cmpuint(t.b->got->len, ==, 0);
    clock_run_pending();
    if (c->flag == IPVLAN_BRIDGE) {
        assert_got(t.b, frame_dup(f));
        assert_got(t.c, frame_dup(f));
    }
    assert_sent(&t.net.wire, outside(f));
    trio_fini(&t);
}

static void test_send_multicast(const void *opaque)
{
    const Case *c = opaque;
    Frame *f;
    Trio t;

    trio_init(&t, c);
    t.b->filters = t.c->filters = true;
    memcpy(t.b->group, group_mac, ETHER_ADDR_LEN);
    f = udp(group_mac, t.a->mac, A4, "224.0.0.101");
    user_send(t.a, frame_dup(f));
    clock_run_pending();
    if (c->flag == IPVLAN_BRIDGE) {
        assert_got(t.b, frame_dup(f));
    }
    assert_sent(&t.net.wire, outside(f));
    trio_fini(&t);
}

/* An ARP request whose target is owned goes to its owner alone. */
static void test_send_arp(const void *opaque)
{
    const Case *c = opaque;
    Trio t;

    trio_init(&t, c);
    user_send(t.a, arp_request(t.a->mac, A4, B4));
    clock_run_pending();
    if (c->flag == IPVLAN_BRIDGE) {
        assert_got(t.b, arp_request(t.a->mac, A4, B4));
    } else if (c->flag == IPVLAN_VEPA) {
        assert_sent(&t.net.wire, arp_request(port_mac, A4, B4));
    }
    trio_fini(&t);
}

/* An announcement is for all. */
static void test_send_announce(const void *opaque)
{
    const Case *c = opaque;
    Trio t;

    trio_init(&t, c);
    user_send(t.a, arp_announce(t.a->mac, A4));
    clock_run_pending();
    if (c->flag == IPVLAN_BRIDGE) {
        assert_got(t.b, arp_announce(t.a->mac, A4));
        assert_got(t.c, arp_announce(t.a->mac, A4));
    }
    assert_sent(&t.net.wire, arp_announce(port_mac, A4));
    trio_fini(&t);
}

static void test_send_port_default(const void *opaque)
{
    const Case *c = opaque;
    User *d;
    Trio t;

    trio_init(&t, c);
    d = net_add(&t.net, (IpvlanConfig) { .is_default = true });
    d->tells_mac = true;
    user_send(t.a, udp(port_mac, t.a->mac, A4, FAR4));
    if (c->flag == IPVLAN_VEPA) {
        /* all that is not external goes by way of the switch */
        assert_sent(&t.net.wire, udp(port_mac, port_mac, A4, FAR4));
    } else {
        assert_got(d, udp(d->mac, t.a->mac, A4, FAR4));
    }
    trio_fini(&t);
}

static void test_send_port_nobody(const void *opaque)
{
    const Case *c = opaque;
    Trio t;

    trio_init(&t, c);
    user_send(t.a, udp(port_mac, t.a->mac, A4, FAR4));
    if (c->flag == IPVLAN_VEPA) {
        assert_sent(&t.net.wire, udp(port_mac, port_mac, A4, FAR4));
    } else {
        assert_drops(t.a->link, NO_OWNER, 1);
    }
    trio_fini(&t);
}

static void test_send_else(const void *opaque)
{
    const Case *c = opaque;
    Trio t;

    trio_init(&t, c);
    user_send(t.a, udp(gateway_mac, t.a->mac, A4, FAR4));
    assert_sent(&t.net.wire, udp(gateway_mac, port_mac, A4, FAR4));
    user_send(t.a, frame_eth(gateway_mac, t.a->mac, 0x88cc, 30));
    assert_sent(&t.net.wire, frame_eth(gateway_mac, port_mac, 0x88cc, 30));
    trio_fini(&t);
}

static void test_send_itself(const void *opaque)
{
    const Case *c = opaque;
    Trio t;

    trio_init(&t, c);
    trio_speak(&t);
    user_send(t.a, udp(t.a->mac, t.a->mac, A4, A4));
    g_assert_cmpuint(t.a->got->len, ==, 0);
    net_clear(&t.net);
    trio_fini(&t);
}

/* An address that another slave owns cannot be used as a source. */
static void test_send_spoofed(const void *opaque)
{
    const Case *c = opaque;
    IpvlanSlaveInfo info;
    Trio t;

    trio_init(&t, c);
    user_send(t.a, udp(gateway_mac, t.a->mac, B4, FAR4));
    user_send(t.a, arp_announce(t.a->mac, B4));
    user_send(t.a, arp_reply(gateway_mac, t.a->mac, B4, FAR4));
    assert_drops(t.a->link, NOT_OWNED, 3);
    ipvlan_slave_info(t.a->link, &info);
    g_assert_cmpuint(info.contested, ==, 3);
    trio_fini(&t);
}

/* There is no sibling that private could keep apart: the reason is another. */
static void check_to_itself(IpvlanFlag flag)
{
    Frame *f = udp(port_mac, port_mac, A4, A4);
    Trio t;

    trio_init(&t, &(Case) { IPVLAN_L2, flag });
    user_send(t.a, frame_dup(f));
    if (flag == IPVLAN_VEPA) {
        assert_sent(&t.net.wire, f);
    } else {
        assert_drops(t.a->link, TO_ITSELF, 1);
        assert_drops(t.a->link, PRIVATE, 0);
        frame_free(f);
    }
    trio_fini(&t);
}

static void test_to_itself(void)
{
    check_to_itself(IPVLAN_BRIDGE);
    check_to_itself(IPVLAN_PRIVATE);
    check_to_itself(IPVLAN_VEPA);
}

/* --- receiving ----------------------------------------------------------- */

static void test_receive_owned(const void *opaque)
{
    const Case *c = opaque;
    Frame *f;
    Trio t;

    trio_init(&t, c);
    trio_speak(&t);
    wire_receive(&t.net.wire, udp(port_mac, gateway_mac, FAR4, B4));
    assert_got(t.b, udp(t.b->mac, gateway_mac, FAR4, B4));
    f = frame_tag(udp(port_mac, gateway_mac, FAR4, C4), 0x8100, 3);
    wire_receive(&t.net.wire, f);
    f = frame_tag(udp(t.c->mac, gateway_mac, FAR4, C4), 0x8100, 3);
    assert_got(t.c, f);
    f = frame_fragment(frame_ip(port_mac, gateway_mac, FAR4, A4, 17, 64),
                       800, true);
    wire_receive(&t.net.wire, frame_dup(f));
    assert_got(t.a, frame_set_mac_dst(f, t.a->mac));
    trio_fini(&t);
}

static void test_receive_broadcast(const void *opaque)
{
    const Case *c = opaque;
    Frame *f = udp(mac_broadcast, gateway_mac, FAR4, "10.0.0.255");
    Trio t;

    trio_init(&t, c);
    wire_receive(&t.net.wire, frame_dup(f));
    g_assert_cmpuint(t.a->got->len, ==, 0);
    clock_run_pending();
    assert_got(t.a, frame_dup(f));
    assert_got(t.b, frame_dup(f));
    assert_got(t.c, f);
    trio_fini(&t);
}

/* Who wants the group, and the default slave in any case. */
static void test_receive_multicast(const void *opaque)
{
    const Case *c = opaque;
    Frame *f = udp(group_mac, gateway_mac, FAR4, "224.0.0.101");
    User *d;
    Trio t;

    trio_init(&t, c);
    d = net_add(&t.net, (IpvlanConfig) { .is_default = true });
    t.a->filters = t.b->filters = t.c->filters = d->filters = true;
    memcpy(t.b->group, group_mac, ETHER_ADDR_LEN);
    wire_receive(&t.net.wire, frame_dup(f));
    clock_run_pending();
    assert_got(t.b, frame_dup(f));
    assert_got(d, f);
    trio_fini(&t);
}

static void test_receive_arp(const void *opaque)
{
    const Case *c = opaque;
    Trio t;

    trio_init(&t, c);
    wire_receive(&t.net.wire, arp_request(gateway_mac, FAR4, B4));
    clock_run_pending();
    assert_got(t.b, arp_request(gateway_mac, FAR4, B4));
    trio_fini(&t);
}

static void test_receive_reflected(const void *opaque)
{
    const Case *c = opaque;
    Frame *f = udp(mac_broadcast, port_mac, A4, "10.0.0.255");
    Trio t;

    trio_init(&t, c);
    wire_receive(&t.net.wire, frame_dup(f));
    clock_run_pending();
    if (c->flag == IPVLAN_VEPA) {
        assert_got(t.b, frame_dup(f));
        assert_got(t.c, f);
    } else {
        assert_drops(t.net.wire.link, REFLECTED, 1);
        frame_free(f);
    }
    trio_fini(&t);
}

/* To the owner alone, but not to the sender, who would see a conflict. */
static void test_receive_reflected_announce(const void *opaque)
{
    const Case *c = opaque;
    Trio t;

    trio_init(&t, c);
    wire_receive(&t.net.wire, arp_announce(port_mac, A4));
    clock_run_pending();
    g_assert_cmpuint(t.a->got->len, ==, 0);
    if (c->flag == IPVLAN_VEPA) {
        assert_got(t.b, arp_announce(port_mac, A4));
        assert_got(t.c, arp_announce(port_mac, A4));
    }
    trio_fini(&t);
}

/* vepa: nobody sees its own probe, nor is kept from seeing a sibling's. */
static void check_reflected_probe(IpvlanMode mode)
{
    User *a, *b;
    Net net;

    net_init(&net, mode, IPVLAN_VEPA);
    a = net_learner(&net);
    b = net_learner(&net);
    user_send(a, arp_probe(a->mac, A4));
    wire_receive(&net.wire, wire_take(&net.wire));
    clock_run_pending();
    g_assert_cmpuint(a->got->len, ==, 0);
    g_assert_cmpuint(b->got->len, ==, 1);
    net_clear(&net);
    user_send(a, nd_probe(a->mac, "fd00::a"));
    wire_receive(&net.wire, wire_take(&net.wire));
    clock_run_pending();
    g_assert_cmpuint(a->got->len, ==, 0);
    g_assert_cmpuint(b->got->len, ==, 1);
    /* now it is used, and a has to hear who else wants it */
    user_send(a, nd_solicit(a->mac, "fd00::a", "fd00::1"));
    net_clear(&net);
    user_send(b, nd_probe(b->mac, "fd00::a"));
    wire_receive(&net.wire, wire_take(&net.wire));
    clock_run_pending();
    g_assert_cmpuint(a->got->len, ==, 1);
    g_assert_cmpuint(b->got->len, ==, 0);
    net_clear(&net);
    /* that nobody here has sent: whose the address is hears it, too */
    user_send(a, nd_solicit(a->mac, "fd00::c", "fd00::1"));
    net_clear(&net);
    wire_receive(&net.wire, nd_probe(port_mac, "fd00::c"));
    clock_run_pending();
    g_assert_cmpuint(a->got->len, ==, 1);
    g_assert_cmpuint(b->got->len, ==, 0);
    net_clear(&net);
    net_fini(&net);
}

static void test_reflected_probe_l2(void)
{
    check_reflected_probe(IPVLAN_L2);
}

/* What cannot be read goes to nobody, and is counted at the uplink. */
static void test_receive_malformed(void)
{
    Net net;
    User *u;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    u = net_add(&net, (IpvlanConfig) {
        .learn = IPVLAN_LEARN_ON, .is_default = true,
    });
    user_send(u, arp_announce(u->mac, A4));
    net_clear(&net);
    wire_receive(&net.wire, frame_cut(udp(port_mac, gateway_mac, FAR4, A4),
                                      30));
    wire_receive(&net.wire, frame_cut(arp_request(gateway_mac, FAR4, A4),
                                      20));
    wire_receive(&net.wire, frame_set8(udp(port_mac, gateway_mac, FAR4, A4),
                                       14, 0x44));
    assert_drops(net.wire.link, TRUNCATED, 2);
    assert_drops(net.wire.link, BAD_HEADER, 1);
    net_assert_quiet(&net);
    net_fini(&net);
}

static void test_reflected_probe_macnat(void)
{
    check_reflected_probe(IPVLAN_L2_MACNAT);
}

/* By way of the switch, as vepa wants it. */
static void test_receive_reflected_unicast(const void *opaque)
{
    const Case *c = opaque;
    Trio t;

    trio_init(&t, c);
    trio_speak(&t);
    wire_receive(&t.net.wire, udp(port_mac, port_mac, A4, B4));
    assert_got(t.b, udp(t.b->mac, port_mac, A4, B4));
    trio_fini(&t);
}

static void test_receive_nobody(const void *opaque)
{
    const Case *c = opaque;
    Trio t;

    trio_init(&t, c);
    wire_receive(&t.net.wire, udp(port_mac, gateway_mac, FAR4, "10.0.0.77"));
    assert_drops(t.net.wire.link, NO_OWNER, 1);
    trio_fini(&t);
}

static void test_receive_default(const void *opaque)
{
    const Case *c = opaque;
    User *d;
    Trio t;

    trio_init(&t, c);
    d = net_add(&t.net, (IpvlanConfig) { .is_default = true });
    d->tells_mac = true;
    wire_receive(&t.net.wire, udp(port_mac, gateway_mac, FAR4, "10.0.0.77"));
    assert_got(d, udp(d->mac, gateway_mac, FAR4, "10.0.0.77"));
    wire_receive(&t.net.wire, frame_eth(port_mac, gateway_mac, 0x88cc, 30));
    assert_got(d, frame_eth(d->mac, gateway_mac, 0x88cc, 30));
    trio_fini(&t);
}

static void test_receive_not_for_us(const void *opaque)
{
    const Case *c = opaque;
    Trio t;

    trio_init(&t, c);
    net_add(&t.net, (IpvlanConfig) { .is_default = true });
    wire_receive(&t.net.wire, udp(stranger_mac, gateway_mac, FAR4, B4));
    assert_drops(t.net.wire.link, NOT_FOR_US, 1);
    trio_fini(&t);
}

/* --- addresses ----------------------------------------------------------- */

/* Two prefixes and an address in them: the longest match gets it. */
static void test_prefix(const void *opaque)
{
    const Case *c = opaque;
    IpPrefix wide[] = { prefix("10.1.0.0/16"), prefix("fd00:1::/32") };
    IpPrefix narrow[] = { prefix("10.1.2.0/24"), prefix("fd00:1:2::/48") };
    User *w, *n, *x;
    Net net;

    net_init(&net, c->mode, c->flag);
    w = net_add(&net, (IpvlanConfig) { .addrs = wide, .n_addrs = 2 });
    n = net_add(&net, (IpvlanConfig) { .addrs = narrow, .n_addrs = 2 });
    x = net_owner(&net, "10.1.2.3");
    w->tells_mac = n->tells_mac = x->tells_mac = true;
    wire_receive(&net.wire, udp(port_mac, gateway_mac, FAR4, "10.1.9.9"));
    assert_got(w, udp(w->mac, gateway_mac, FAR4, "10.1.9.9"));
    wire_receive(&net.wire, udp(port_mac, gateway_mac, FAR4, "10.1.2.9"));
    assert_got(n, udp(n->mac, gateway_mac, FAR4, "10.1.2.9"));
    wire_receive(&net.wire, udp(port_mac, gateway_mac, FAR4, "10.1.2.3"));
    assert_got(x, udp(x->mac, gateway_mac, FAR4, "10.1.2.3"));
    wire_receive(&net.wire, udp(port_mac, gateway_mac, "2001:db8::1",
                                "fd00:1:2::9"));
    g_assert_cmpuint(n->got->len, ==, 1);
    net_clear(&net);
    /* what would not be delivered to it, it cannot send */
    user_send(w, udp(gateway_mac, w->mac, "10.1.2.3", FAR4));
    assert_drops(w->link, NOT_OWNED, 1);
    user_send(w, udp(gateway_mac, w->mac, "10.1.7.7", FAR4));
    g_assert_cmpuint(net.wire.sent->len, ==, 1);
    net_clear(&net);
    net_fini(&net);
}

static void test_addr_add_del(void)
{
    g_autoptr(GError) err = NULL;
    IpPrefix p = prefix("10.0.0.9"), b4 = prefix(B4);
    IpvlanPortInfo info;
    Trio t;

    trio_init(&t, &(Case) { IPVLAN_L2, IPVLAN_BRIDGE });
    g_assert_cmpint(ipvlan_addr_add(t.a->link, &p, NULL), ==, 0);
    g_assert_true(net_owner_of(&t.net, "10.0.0.9") == t.a);
    g_assert_true(ipvlan_port_info(t.net.wire.link, &info));
    g_assert_cmpuint(info.addresses, ==, 4);
    g_assert_cmpint(ipvlan_addr_add(t.a->link, &p, NULL), ==, -EEXIST);
    g_assert_cmpint(ipvlan_addr_add(t.a->link, &b4, &err), ==, -EEXIST);
    g_assert_error(err, LINK_ERROR, EEXIST);
    g_assert_cmpstr(err->message, ==, "address=10.0.0.2: slave 'n1' owns it");
    g_clear_error(&err);
    g_assert_cmpint(ipvlan_addr_del(t.a->link, &b4, &err), ==, -ENOENT);
    g_assert_cmpstr(err->message, ==, "address=10.0.0.2: slave 'n1' owns it");
    g_clear_error(&err);
    g_assert_cmpint(ipvlan_addr_del(t.a->link, &p, NULL), ==, 0);
    g_assert_null(net_owner_of(&t.net, "10.0.0.9"));
    g_assert_cmpint(ipvlan_addr_del(t.a->link, &p, NULL), ==, -ENOENT);
    trio_fini(&t);
}

/* l2: the guest has to use the port's MAC. */
static void test_foreign_mac(void)
{
    Trio t;

    trio_init(&t, &(Case) { IPVLAN_L2, IPVLAN_BRIDGE });
    user_send(t.a, udp(gateway_mac, stranger_mac, A4, FAR4));
    assert_drops(t.a->link, FOREIGN_MAC, 1);
    trio_fini(&t);
}

/* The user-mode stack sends to the guest's own MAC after DHCP. */
static void test_slirp(void)
{
    User *a;
    Net net;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    a = net_learner(&net);
    user_send(a, dhcp_request(a->mac, 9));
    net_clear(&net);
    wire_receive(&net.wire, dhcp_reply(a->mac, gateway_mac, 2, A4, a->mac, 9,
                                       60));
    assert_got(a, dhcp_reply(a->mac, gateway_mac, 2, A4, a->mac, 9, 60));
    wire_receive(&net.wire, udp(a->mac, gateway_mac, FAR4, A4));
    assert_got(a, udp(a->mac, gateway_mac, FAR4, A4));
    net_assert_quiet(&net);
    net_fini(&net);
}

/* l2: all guests have the same MAC, so the transaction tells who asked. */
static void test_dhcp_l2(void)
{
    Trio t;

    trio_init(&t, &(Case) { IPVLAN_L2, IPVLAN_BRIDGE });
    user_send(t.a, dhcp_request(port_mac, 1));
    user_send(t.b, dhcp_request(port_mac, 2));
    net_clear(&t.net);
    wire_receive(&t.net.wire, dhcp_reply(port_mac, gateway_mac, 2,
                                         "10.0.0.50", port_mac, 2, 60));
    g_assert_cmpuint(t.b->got->len, ==, 1);
    net_clear(&t.net);
    wire_receive(&t.net.wire, dhcp_reply(mac_broadcast, gateway_mac, 2,
                                         "10.0.0.50", port_mac, 1, 60));
    clock_run_pending();
    g_assert_cmpuint(t.a->got->len, ==, 1);
    g_assert_cmpuint(t.b->got->len, ==, 0);
    net_clear(&t.net);
    trio_fini(&t);
}

/* The client is whom DHCP is for, whatever the server offers. */
static void test_dhcp_offer_owned(void)
{
    Trio t;

    trio_init(&t, &(Case) { IPVLAN_L2_MACNAT, IPVLAN_BRIDGE });
    user_send(t.a, dhcp_request(t.a->mac, 1));
    net_clear(&t.net);
    wire_receive(&t.net.wire, dhcp_reply(port_mac, gateway_mac, 2, B4,
                                         t.a->mac, 1, 60));
    g_assert_cmpuint(t.a->got->len, ==, 1);
    g_assert_cmpuint(t.b->got->len, ==, 0);
    net_clear(&t.net);
    trio_fini(&t);
}

/* A DHCP server in a guest answers its sibling by unicast. */
static void test_dhcp_sibling(const void *opaque)
{
    const Case *c = opaque;
    IpPrefix server = prefix("10.0.0.254");
    User *a, *s;
    Net net;

    net_init(&net, c->mode, c->flag);
    a = net_learner(&net);
    s = net_add(&net, (IpvlanConfig) { .addrs = &server, .n_addrs = 1 });
    user_send(a, dhcp_request(a->mac, 5));
    net_clear(&net);
    user_send(s, dhcp_reply(a->mac, s->mac, 2, "10.0.0.50", a->mac, 5, 60));
    if (c->flag == IPVLAN_BRIDGE) {
        assert_got(a, dhcp_reply(a->mac, s->mac, 2, "10.0.0.50", a->mac, 5,
                                 60));
    }
    g_assert_cmpuint(a->got->len, ==, 0);
    net_clear(&net);
    net_fini(&net);
}

/* --- the busy uplink ----------------------------------------------------- */

static void test_busy_unicast(const void *opaque)
{
    const Case *c = opaque;
    Trio t;

    trio_init(&t, c);
    t.net.wire.room = 0;
    g_assert_cmpint(user_send(t.a, udp(gateway_mac, t.a->mac, A4, FAR4)), ==,
                    LINK_TX_BUSY);
    wire_make_room(&t.net.wire, 1);
    assert_sent(&t.net.wire, udp(gateway_mac, port_mac, A4, FAR4));
    g_assert_cmpuint(t.a->link->stats.tx_packets, ==, 1);
    trio_fini(&t);
}

/* A refused broadcast has reached nobody, and reaches all once later. */
static void test_busy_broadcast(const void *opaque)
{
    const Case *c = opaque;
    Frame *f;
    Trio t;

    trio_init(&t, c);
    t.net.wire.room = 0;
    f = udp(mac_broadcast, t.a->mac, A4, "10.0.0.255");
    for (int i = 0; i < 3; i++) {
        g_assert_cmpint(user_send(t.a, frame_dup(f)), ==, LINK_TX_BUSY);
        frame_free(g_queue_pop_tail(&t.a->unsent));
        net_assert_quiet(&t.net);
    }
    user_send(t.a, frame_dup(f));
    wire_make_room(&t.net.wire, 5);
    clock_run_pending();
    if (c->flag == IPVLAN_BRIDGE) {
        assert_got(t.b, frame_dup(f));
        assert_got(t.c, frame_dup(f));
    }
    assert_sent(&t.net.wire, outside(f));
    trio_fini(&t);
}

static Frame *whole_turn(const uint8_t *src, const char *sip)
{
    return frame_udp(gateway_mac, src, sip, FAR4, 4000, 5000,
                     LINK_QUANTUM - 42);
}

/* Nothing is lost, and each slave has its turn. */
static void test_busy_turns(const void *opaque)
{
    const Case *c = opaque;
    Trio t;

    trio_init(&t, c);
    t.net.wire.room = 0;
    for (int i = 0; i < 5; i++) {
        user_send(t.a, whole_turn(t.a->mac, A4));
        user_send(t.b, whole_turn(t.b->mac, B4));
        user_send(t.c, whole_turn(t.c->mac, C4));
    }
    for (int i = 0; i < 15; i++) {
        static const char *const from[] = { A4, B4, C4 };

        wire_make_room(&t.net.wire, 1);
        assert_sent(&t.net.wire, whole_turn(port_mac, from[i % 3]));
    }
    trio_fini(&t);
}

/* A sibling is not the uplink: its frames go on. */
static void test_busy_siblings(void)
{
    Trio t;

    trio_init(&t, &(Case) { IPVLAN_L2_MACNAT, IPVLAN_BRIDGE });
    trio_speak(&t);
    t.net.wire.room = 0;
    user_send(t.a, udp(gateway_mac, t.a->mac, A4, FAR4));
    g_assert_cmpint(user_send(t.a, udp(t.b->mac, t.a->mac, A4, B4)), ==,
                    LINK_TX_OK);
    assert_got(t.b, udp(t.b->mac, t.a->mac, A4, B4));
    trio_fini(&t);
}

/* A guest that takes nothing delays nobody. */
static void test_slow_receiver(void)
{
    Trio t;

    trio_init(&t, &(Case) { IPVLAN_L2_MACNAT, IPVLAN_BRIDGE });
    trio_speak(&t);
    t.b->room = 0;
    link_set_rx_queue(t.b->link, 4);
    for (int i = 0; i < 10; i++) {
        g_assert_cmpint(user_send(t.a, udp(t.b->mac, t.a->mac, A4, B4)), ==,
                        LINK_TX_OK);
    }
    assert_drops(t.b->link, RX_QUEUE, 6);
    user_send(t.a, udp(t.c->mac, t.a->mac, A4, C4));
    assert_got(t.c, udp(t.c->mac, t.a->mac, A4, C4));
    user_make_room(t.b, NO_LIMIT);
    clock_run_pending();
    g_assert_cmpuint(t.b->got->len, ==, 4);
    net_clear(&t.net);
    trio_fini(&t);
}

/* --- life and death ------------------------------------------------------ */

static void test_delete_queued(void)
{
    Trio t;

    trio_init(&t, &(Case) { IPVLAN_L2_MACNAT, IPVLAN_BRIDGE });
    trio_speak(&t);
    t.b->room = 0;
    user_send(t.a, udp(t.b->mac, t.a->mac, A4, B4));
    user_send(t.b, udp(mac_broadcast, t.b->mac, B4, "10.0.0.255"));
    user_send(t.a, udp(mac_broadcast, t.a->mac, A4, "10.0.0.255"));
    t.net.wire.room = 0;
    user_send(t.b, udp(gateway_mac, t.b->mac, B4, FAR4));
    net_del(t.b);
    wire_make_room(&t.net.wire, NO_LIMIT);
    clock_run_pending();
    g_assert_cmpuint(t.c->got->len, ==, 1);
    g_assert_cmpuint(t.a->got->len, ==, 0);
    g_assert_null(net_owner_of(&t.net, B4));
    net_clear(&t.net);
    wire_receive(&t.net.wire, udp(port_mac, gateway_mac, FAR4, B4));
    assert_drops(t.net.wire.link, NO_OWNER, 1);
    trio_fini(&t);
}

static void test_delete_scheduled(void)
{
    Trio t;

    trio_init(&t, &(Case) { IPVLAN_L2_MACNAT, IPVLAN_BRIDGE });
    trio_speak(&t);
    t.b->room = 1;
    user_send(t.a, udp(t.b->mac, t.a->mac, A4, B4));
    user_send(t.a, udp(t.b->mac, t.a->mac, A4, B4));
    user_make_room(t.b, NO_LIMIT);
    net_del(t.b);
    trio_fini(&t);
}

static void test_port_life(void)
{
    IpvlanPortInfo info;
    Net net;

    net_init(&net, IPVLAN_L2, IPVLAN_VEPA);
    g_assert_false(ipvlan_port_info(net.wire.link, &info));
    net_owner(&net, A4);
    net_owner(&net, B4);
    g_assert_true(ipvlan_port_info(net.wire.link, &info));
    g_assert_cmpint(info.mode, ==, IPVLAN_L2);
    g_assert_cmpint(info.flag, ==, IPVLAN_VEPA);
    assert_mac(info.mac, port_mac);
    wire_receive(&net.wire, udp(mac_broadcast, gateway_mac, FAR4,
                                "10.0.0.255"));
    net_del(&net.user[0]);
    g_assert_true(ipvlan_port_info(net.wire.link, &info));
    net_del(&net.user[1]);
    g_assert_false(ipvlan_port_info(net.wire.link, &info));
    g_assert_null(net.wire.link->rx_handler);
    /* another one, that is not what the first was */
    net.mode = IPVLAN_L2_MACNAT;
    net.flag = IPVLAN_BRIDGE;
    net_owner(&net, A4);
    g_assert_true(ipvlan_port_info(net.wire.link, &info));
    g_assert_cmpint(info.mode, ==, IPVLAN_L2_MACNAT);
    g_assert_cmpuint(info.addresses, ==, 1);
    net_assert_quiet(&net);
    net_fini(&net);
}

static void test_port_defaults(void)
{
    IpvlanConfig config = { .default_mac = gateway_mac, .max_addrs = 1 };
    IpvlanPortInfo info;
    Link *link;
    Wire w;

    wire_init(&w, "up0");
    link = link_new(&test_platform, "ipvlan", "n0", w.link, &config, NULL);
    g_assert_true(ipvlan_port_info(w.link, &info));
    g_assert_cmpint(info.mode, ==, IPVLAN_L2_MACNAT);
    g_assert_cmpint(info.flag, ==, IPVLAN_BRIDGE);
    assert_mac(info.mac, gateway_mac);
    link_del(link);
    wire_fini(&w);
}

static void test_default_goes(void)
{
    User *d;
    Net net;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    net_owner(&net, A4);
    d = net_add(&net, (IpvlanConfig) { .is_default = true });
    net_del(d);
    wire_receive(&net.wire, udp(port_mac, gateway_mac, FAR4, B4));
    assert_drops(net.wire.link, NO_OWNER, 1);
    net_add(&net, (IpvlanConfig) { .is_default = true });
    net_assert_quiet(&net);
    net_fini(&net);
}

/* --- what newlink refuses ------------------------------------------------ */

/* Refused with a sentence that has all of @words, and nothing is left. */
static void check_refused(Net *net, IpvlanConfig config, int code,
                          const char *const *words)
{
    g_autoptr(GError) err = NULL;
    IpvlanPortInfo before = { 0 }, after = { 0 };
    Link *link;

    ipvlan_port_info(net->wire.link, &before);
    config.default_mac = port_mac;
    config.max_addrs = config.max_addrs ?: IPVLAN_MAX_ADDRS;
    link = link_new(&test_platform, "ipvlan", "new", net->wire.link, &config,
                    &err);
    g_assert_null(link);
    g_assert_error(err, LINK_ERROR, code);
    for (; *words; words++) {
        g_test_message("'%s' has '%s'", err->message, *words);
        g_assert_nonnull(strstr(err->message, *words));
    }
    ipvlan_port_info(net->wire.link, &after);
    g_assert_cmpuint(before.addresses, ==, after.addresses);
    g_assert_cmpuint(net->wire.link->uppers.length, ==, net->n);
}

#define WORDS(...) ((const char *const []) { __VA_ARGS__, NULL })

static void test_refuse_contradiction(void)
{
    IpvlanMode mode = IPVLAN_L2;
    IpvlanFlag flag = IPVLAN_PRIVATE;
    Net net;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    net_owner(&net, A4);
    check_refused(&net, (IpvlanConfig) { .mode = &mode }, EINVAL,
                  WORDS("mode=l2", "mode=l2-macnat", "up0"));
    check_refused(&net, (IpvlanConfig) { .flag = &flag }, EINVAL,
                  WORDS("flag=private", "flag=bridge"));
    check_refused(&net, (IpvlanConfig) { .mac = gateway_mac }, EINVAL,
                  WORDS("mac=52:55:0a:00:00:fe", "mac=02:aa:bb:cc:dd:01"));
    /* repeating is fine */
    net_add(&net, (IpvlanConfig) { .mac = port_mac });
    net_fini(&net);
}

static void test_refuse_default(void)
{
    Net net;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    net_add(&net, (IpvlanConfig) { .is_default = true });
    check_refused(&net, (IpvlanConfig) { .is_default = true }, EINVAL,
                  WORDS("default=on", "n0"));
    net_fini(&net);
}

static void test_refuse_addr(void)
{
    IpPrefix p[] = { prefix("10.0.0.8"), prefix(A4) };
    IpPrefix twice[] = { prefix("10.0.0.0/24"), prefix("fd00::1"),
                         prefix("10.0.0.0/24") };
    Net net;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    net_owner(&net, A4);
    check_refused(&net, (IpvlanConfig) { .addrs = p, .n_addrs = 2 }, EEXIST,
                  WORDS("addr=10.0.0.1", "n0"));
    check_refused(&net, (IpvlanConfig) { .addrs = twice, .n_addrs = 3 },
                  EEXIST, WORDS("addr=10.0.0.0/24", "twice"));
    net_fini(&net);
}

/* The first slave's port goes with it. */
static void test_refuse_first(void)
{
    IpPrefix twice[] = { prefix(A4), prefix(A4) };
    IpvlanPortInfo info;
    Net net;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    check_refused(&net, (IpvlanConfig) { .addrs = twice, .n_addrs = 2 },
                  EEXIST, WORDS("twice"));
    g_assert_false(ipvlan_port_info(net.wire.link, &info));
    net_owner(&net, A4);
    net_fini(&net);
}

static RxHandlerResult ignore(Link *lower, Packet *p)
{
    invariant_ended(p);
    return RX_HANDLER_CONSUMED;
}

static void test_refuse_handler(void)
{
    Net net;
    User u;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    link_rx_handler_register(net.wire.link, ignore, NULL);
    check_refused(&net, (IpvlanConfig) { .n_addrs = 0 }, EBUSY,
                  WORDS("up0"));
    link_rx_handler_unregister(net.wire.link);
    user_init(&u, net.wire.link);
    check_refused(&net, (IpvlanConfig) { .n_addrs = 0 }, EINVAL,
                  WORDS("up0"));
    user_fini(&u);
    net_fini(&net);
}

/* newlink() checks its configuration itself, link.h says. */
static void test_refuse_values(void)
{
    static const uint8_t group[] = { 3, 0, 0, 0, 0, 1 };
    IpvlanConfig config = { .default_mac = port_mac };
    g_autoptr(GError) err = NULL;
    Net net;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    check_refused(&net, (IpvlanConfig) { .max_addrs = 1025 }, EINVAL,
                  WORDS("max-addrs=1025", "1024"));
    g_assert_null(link_new(&test_platform, "ipvlan", "x", net.wire.link,
                           &config, &err));
    g_assert_error(err, LINK_ERROR, EINVAL);
    check_refused(&net, (IpvlanConfig) { .mac = group }, EINVAL,
                  WORDS("mac=03:00:00:00:00:01"));
    check_refused(&net, (IpvlanConfig) { .mac = mac_zero }, EINVAL,
                  WORDS("mac=00:00:00:00:00:00"));
    net_fini(&net);
}

static void test_refuse_no_lower(void)
{
    IpvlanConfig config = { .default_mac = port_mac, .max_addrs = 1 };
    g_autoptr(GError) err = NULL;

    g_assert_null(link_new(&test_platform, "ipvlan", "x", NULL, &config,
                           &err));
    g_assert_error(err, LINK_ERROR, EINVAL);
    g_assert_cmpuint(clock_works(), ==, 0);
}

static void test_info(void)
{
    g_autoptr(GString) s = g_string_new(NULL);
    Net net;
    User *u;

    net_init(&net, IPVLAN_L2, IPVLAN_PRIVATE);
    u = net_add(&net, (IpvlanConfig) {
        .is_default = true, .learn = IPVLAN_LEARN_DHCP,
    });
    u->link->ops->fill_info(u->link, s);
    g_assert_cmpstr(s->str, ==, "mode=l2,flag=private,mac=02:aa:bb:cc:dd:01,"
                    "learn=dhcp,default=on");
    g_assert_cmpstr(ipvlan_origin_name(IPVLAN_ORIGIN_DHCP), ==, "dhcp");
    net_fini(&net);
}

/* A slave can be the lower link of another port. */
static void test_nested(void)
{
    IpvlanConfig config = {
        .default_mac = gateway_mac, .max_addrs = 4,
        .learn = IPVLAN_LEARN_ON,
    };
    Link *low, *high;
    User u;
    Wire w;

    wire_init(&w, "up0");
    low = link_new(&test_platform, "ipvlan", "low", w.link, &config, NULL);
    config.default_mac = stranger_mac;
    high = link_new(&test_platform, "ipvlan", "high", low, &config, NULL);
    user_init(&u, high);
    memcpy(u.mac, "\x52\x54\0\0\0\x1", ETHER_ADDR_LEN);
    user_send(&u, udp(port_mac, u.mac, A4, FAR4));
    assert_sent(&w, udp(port_mac, gateway_mac, A4, FAR4));
    wire_receive(&w, udp(gateway_mac, port_mac, FAR4, A4));
    assert_got(&u, udp(u.mac, port_mac, FAR4, A4));
    link_del(high);
    link_del(low);
    user_fini(&u);
    wire_fini(&w);
    g_assert_cmpuint(clock_works(), ==, 0);
}

/* --- all cases ----------------------------------------------------------- */

static const struct {
    const char *name;
    GTestDataFunc func;
} rows[] = {
    { "send/sibling", test_send_sibling },
    { "send/sibling-by-port", test_send_sibling_by_port },
    { "send/sibling-vlan", test_send_sibling_vlan },
    { "send/sibling-fragment", test_send_sibling_fragment },
    { "send/broadcast", test_send_broadcast },
    { "send/multicast", test_send_multicast },
    { "send/arp", test_send_arp },
    { "send/announce", test_send_announce },
    { "send/port-default", test_send_port_default },
    { "send/port-nobody", test_send_port_nobody },
    { "send/else", test_send_else },
    { "send/itself", test_send_itself },
    { "send/spoofed", test_send_spoofed },
    { "send/dhcp-sibling", test_dhcp_sibling },
    { "receive/owned", test_receive_owned },
    { "receive/broadcast", test_receive_broadcast },
    { "receive/multicast", test_receive_multicast },
    { "receive/arp", test_receive_arp },
    { "receive/reflected", test_receive_reflected },
    { "receive/reflected-announce", test_receive_reflected_announce },
    { "receive/reflected-unicast", test_receive_reflected_unicast },
    { "receive/nobody", test_receive_nobody },
    { "receive/default", test_receive_default },
    { "receive/not-for-us", test_receive_not_for_us },
    { "prefix", test_prefix },
    { "busy/unicast", test_busy_unicast },
    { "busy/broadcast", test_busy_broadcast },
    { "busy/turns", test_busy_turns },
};

/* /ipvlan/ROW/MODE/FLAG */
static void add_row(unsigned i)
{
    static const Case cases[] = {
        { IPVLAN_L2, IPVLAN_BRIDGE },
        { IPVLAN_L2, IPVLAN_PRIVATE },
        { IPVLAN_L2, IPVLAN_VEPA },
        { IPVLAN_L2_MACNAT, IPVLAN_BRIDGE },
        { IPVLAN_L2_MACNAT, IPVLAN_PRIVATE },
        { IPVLAN_L2_MACNAT, IPVLAN_VEPA },
    };

    for (unsigned c = 0; c < G_N_ELEMENTS(cases); c++) {
        g_autofree char *path =
            g_strdup_printf("/ipvlan/%s/%s/%s", rows[i].name,
                            ipvlan_mode_name(cases[c].mode),
                            ipvlan_flag_name(cases[c].flag));

        g_test_add_data_func(path, &cases[c], rows[i].func);
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        add_row(i);
    }
    g_test_add_func("/ipvlan/receive/reflected-probe/l2",
                    test_reflected_probe_l2);
    g_test_add_func("/ipvlan/receive/reflected-probe/l2-macnat",
                    test_reflected_probe_macnat);
    g_test_add_func("/ipvlan/receive/malformed", test_receive_malformed);
    g_test_add_func("/ipvlan/addr/add-del", test_addr_add_del);
    g_test_add_func("/ipvlan/to-itself", test_to_itself);
    g_test_add_func("/ipvlan/foreign-mac", test_foreign_mac);
    g_test_add_func("/ipvlan/slirp", test_slirp);
    g_test_add_func("/ipvlan/dhcp/l2", test_dhcp_l2);
    g_test_add_func("/ipvlan/dhcp/offer-owned", test_dhcp_offer_owned);
    g_test_add_func("/ipvlan/busy/siblings", test_busy_siblings);
    g_test_add_func("/ipvlan/slow-receiver", test_slow_receiver);
    g_test_add_func("/ipvlan/delete/queued", test_delete_queued);
    g_test_add_func("/ipvlan/delete/scheduled", test_delete_scheduled);
    g_test_add_func("/ipvlan/port/life", test_port_life);
    g_test_add_func("/ipvlan/port/defaults", test_port_defaults);
    g_test_add_func("/ipvlan/port/default-goes", test_default_goes);
    g_test_add_func("/ipvlan/refuse/contradiction",
                    test_refuse_contradiction);
    g_test_add_func("/ipvlan/refuse/default", test_refuse_default);
    g_test_add_func("/ipvlan/refuse/addr", test_refuse_addr);
    g_test_add_func("/ipvlan/refuse/first", test_refuse_first);
    g_test_add_func("/ipvlan/refuse/handler", test_refuse_handler);
    g_test_add_func("/ipvlan/refuse/values", test_refuse_values);
    g_test_add_func("/ipvlan/refuse/no-lower", test_refuse_no_lower);
    g_test_add_func("/ipvlan/info", test_info);
    g_test_add_func("/ipvlan/nested", test_nested);
    return g_test_run();
}
