/*
 * libvlink: neighbours on the uplink, of l3 and l3s
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "libvlink/ipvlan/port.h"

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define C4 "10.0.0.3"
#define HOP4 "10.0.0.77"
#define GW4 "10.0.0.254"
#define FAR4 "10.9.9.9"
#define A6 "2001:db8::1"
#define B6 "2001:db8::2"
#define HOP6 "2001:db8::77"
#define GW6 "fe80::fe"
#define PORT_LL "fe80::aa:bbff:fecc:dd01"

static const uint8_t hop_mac[] = { 0x52, 0x55, 0x0a, 0, 0, 0x77 };
static const uint8_t new_mac[] = { 0x52, 0x55, 0x0a, 0, 0, 0x78 };

/* --- what is the same for both families ---------------------------------- */

typedef struct Family {
    const char *a, *b, *hop, *far;
} Family;

static const Family v4 = { A4, B4, HOP4, FAR4 };
static const Family v6 = { A6, B6, HOP6, "2001:db8:9::9" };

static bool is_v6(const Family *f)
{
    return f == &v6;
}

typedef struct Two {
    Net net;
    const Family *f;
    User *a, *b;
    IpvlanPort *port;
} Two;

static void two_init(Two *t, const Family *f)
{
    net_init(&t->net, IPVLAN_L3, IPVLAN_BRIDGE);
    t->net.injects = true;
    t->f = f;
    t->a = net_owner(&t->net, f->a);
    t->b = net_owner(&t->net, f->b);
    t->port = ipvlan_port(t->net.wire.link);
}

/* With gateways. */
static void two_init_gw(Two *t)
{
    IpAddr gateways[] = { ip(GW4), ip(GW6) };
    IpPrefix a = prefix(A4);

    net_init(&t->net, IPVLAN_L3, IPVLAN_BRIDGE);
    t->net.injects = true;
    t->f = &v4;
    t->a = net_add(&t->net, (IpvlanConfig) {
        .addrs = &a, .n_addrs = 1, .gateways = gateways, .n_gateways = 2,
    });
    t->b = net_owner(&t->net, B4);
    t->port = ipvlan_port(t->net.wire.link);
}

static IpvlanSlave *slave_of(const User *u)
{
    return link_priv(u->link);
}

static Packet parsed(const Frame *f, struct iovec *iov)
{
    Packet p;

    g_assert_cmpint(frame_parse(f, &p, iov), ==, DROP_NONE);
    return p;
}

/* Frees @f. */
static LinkTx send_to(User *u, const char *hop, Frame *f)
{
    g_autoptr(Frame) before = frame_dup(f);
    IpAddr addr = ip(hop);
    struct iovec iov;
    Packet p = parsed(f, &iov);
    LinkTx tx = neigh_send(slave_of(u), &addr, &p);

    g_assert_cmpmem(f->data, f->len, before->data, before->len);
    frame_free(f);
    return tx;
}

static Frame *numbered(User *u, const char *sip, const char *dip, unsigned n)
{
    return frame_udp(port_mac, u->mac, sip, dip, 4000, 5000 + n, 21);
}

/* The frame with which @u's user begins @n. */
static Frame *from(const Two *t, User *u, unsigned n)
{
    return numbered(u, u == t->a ? t->f->a : t->f->b, t->f->far, n);
}

static LinkTx say(Two *t, User *u, unsigned n)
{
    return send_to(u, t->f->hop, from(t, u, n));
}

/* The same as it goes out. */
static Frame *out(const Two *t, User *u, unsigned n, const uint8_t *mac)
{
    return frame_set_mac_src(frame_set_mac_dst(from(t, u, n), mac), port_mac);
}

/* @f, freed, comes in from the uplink. */
static void hear(Two *t, Frame *f)
{
    struct iovec iov;
    Packet p = parsed(f, &iov);

    neigh_input(t->port, &p);
    frame_free(f);
}

/* What is asked for @sip of @target; by probe of @mac, else NULL. */
static Frame *question(const Two *t, const char *sip, const char *target,
                       const uint8_t *mac)
{
    if (!is_v6(t->f)) {
        return frame_arp(mac ?: mac_broadcast, port_mac, 1, sip, mac_zero,
                         target);
    }
    return mac ? frame_nd(mac, port_mac, PORT_LL, target,
                          ND_NEIGHBOUR_SOLICIT, target, 1, port_mac)
               : nd_solicit(port_mac, PORT_LL, target);
}

static Frame *flags(Frame *f, uint8_t value)
{
    return frame_checksum(frame_set8(f, frame_offsets(f).l4 + 4, value));
}

#define SOLICITED 0x40
#define OVERRIDE 0x20

static Frame *advert(const char *target, const uint8_t *mac, uint8_t value)
{
    return flags(frame_nd(port_mac, hop_mac, target, PORT_LL,
                          ND_NEIGHBOUR_ADVERT, target, 2, mac), value);
}

static Frame *answer(const Two *t, const uint8_t *mac)
{
    return is_v6(t->f) ? advert(t->f->hop, mac, SOLICITED | OVERRIDE)
                       : arp_reply(port_mac, mac, t->f->hop, t->f->a);
}

/* --- looking -------------------------------------------------------------- */

typedef struct Look {
    IpAddr addr;
    IpvlanNeighInfo info;
    unsigned found, n;
} Look;

static void look_at(const IpvlanNeighInfo *info, void *opaque)
{
    Look *l = opaque;

    l->n++;
    if (ip_equal(&info->addr, &l->addr)) {
        l->found++;
        l->info = *info;
    }
}

static Look look(const Two *t, const char *addr)
{
    Look l = { .addr = ip(addr) };

    ipvlan_foreach_neigh(t->net.wire.link, look_at, &l);
    g_assert_cmpuint(l.found, <=, 1);
    return l;
}

static unsigned n_neighs(const Two *t)
{
    return look(t, "0.0.0.0").n;
}

#define assert_state(t, addr_, state_) do { \
        Look l_ = look(t, addr_); \
        g_assert_cmpuint(l_.found, ==, 1); \
        g_assert_cmpstr(neigh_state_name(l_.info.state), ==, #state_); \
    } while (0)

#define assert_unknown(t, addr_) \
    g_assert_cmpuint(look(t, addr_).found, ==, 0)

#define assert_waiting(t, addr_, n_) \
    g_assert_cmpuint(look(t, addr_).info.waiting, ==, n_)

static void assert_mac_is(const Two *t, const char *addr, const uint8_t *mac)
{
    Look l = look(t, addr);

    g_assert_nonnull(l.info.mac);
    assert_mac(l.info.mac, mac);
}

static void assert_silent(Two *t)
{
    g_assert_cmpuint(t->net.wire.sent->len, ==, 0);
}

/* Have @t's hop REACHABLE. */
static void resolve(Two *t)
{
    say(t, t->a, 0);
    hear(t, answer(t, hop_mac));
    assert_state(t, t->f->hop, REACHABLE);
    net_clear(&t->net);
}

/* And STALE. */
static void let_stale(Two *t)
{
    resolve(t);
    clock_advance(t->port->neigh.reachable);
    assert_state(t, t->f->hop, STALE);
}

static void let_probe(Two *t)
{
    let_stale(t);
    say(t, t->a, 0);
    clock_advance(NEIGH_DELAY_NS - 1);
    net_clear(&t->net);
    assert_state(t, t->f->hop, DELAY);
    clock_advance(1);
    assert_state(t, t->f->hop, PROBE);
    net_clear(&t->net);
}

/* --- states --------------------------------------------------------------- */

static void test_resolve(const void *family)
{
    Two t;

    two_init(&t, family);
    g_assert_cmpint(say(&t, t.a, 1), ==, LINK_TX_OK);
    assert_sent(&t.net.wire, question(&t, t.f->a, t.f->hop, NULL));
    assert_state(&t, t.f->hop, INCOMPLETE);
    g_assert_null(look(&t, t.f->hop).info.mac);
    g_assert_false(look(&t, t.f->hop).info.gateway);

    /* the second one has the same question */
    g_assert_cmpint(say(&t, t.b, 2), ==, LINK_TX_OK);
    assert_silent(&t);
    assert_waiting(&t, t.f->hop, 2);

    hear(&t, answer(&t, hop_mac));
    assert_state(&t, t.f->hop, REACHABLE);
    assert_mac_is(&t, t.f->hop, hop_mac);
    assert_waiting(&t, t.f->hop, 0);
    assert_same(wire_take(&t.net.wire), out(&t, t.a, 1, hop_mac));
    assert_sent(&t.net.wire, out(&t, t.b, 2, hop_mac));

    g_assert_cmpint(say(&t, t.a, 3), ==, LINK_TX_OK);
    assert_sent(&t.net.wire, out(&t, t.a, 3, hop_mac));
    net_fini(&t.net);
}

/* Three questions a second apart, and at the end of the third it fails. */
static void test_incomplete_fails(const void *family)
{
    g_autoptr(Frame) told = NULL;
    int64_t begin;
    Two t;

    two_init(&t, family);
    begin = clock_now();
    memcpy(slave_of(t.b)->mac, t.b->mac, ETHER_ADDR_LEN);
    slave_of(t.b)->has_mac = true;
    say(&t, t.a, 1);
    say(&t, t.b, 2);
    for (int i = 0; i < NEIGH_TRIES; i++) {
        /* in the name of who wanted it last */
        assert_sent(&t.net.wire, question(&t, i ? t.f->b : t.f->a, t.f->hop,
                                          NULL));
        clock_run_until(begin + (i + 1) * NEIGH_RETRANS - 1);
        assert_silent(&t);
        assert_state(&t, t.f->hop, INCOMPLETE);
        g_assert_cmpuint(t.a->got->len, ==, 0);
        clock_advance(1);
    }
    assert_unknown(&t, t.f->hop);
    assert_silent(&t);
    assert_drops(t.a->link, NO_NEIGHBOUR, 1);
    assert_drops(t.b->link, NO_NEIGHBOUR, 1);
    g_assert_cmpuint(t.a->got->len, ==, 1);
    g_assert_cmpuint(t.b->got->len, ==, 1);
    told = user_take(t.b);
    assert_mac(frame_dst(told), t.b->mac);
    assert_mac(frame_src(told), port_mac);
    g_assert_true(frame_checksum_ok(told));
    g_assert_cmpuint(t.port->neigh.table.n, ==, 0);
    g_assert_cmpuint(slave_of(t.a)->neigh.waiting, ==, 0);

    /* and the next one begins anew */
    net_clear(&t.net);
    say(&t, t.a, 3);
    assert_sent(&t.net.wire, question(&t, t.f->a, t.f->hop, NULL));
    net_fini(&t.net);
}

/* REACHABLE, STALE, DELAY, PROBE, REACHABLE: each to the nanosecond. */
static void test_circle(const void *family)
{
    int64_t reachable;
    Two t;

    two_init(&t, family);
    reachable = t.port->neigh.reachable;
    g_assert_cmpint(reachable, >=, NEIGH_REACHABLE_NS / 2);
    g_assert_cmpint(reachable, <=, NEIGH_REACHABLE_NS * 3 / 2);
    resolve(&t);
    clock_advance(reachable - 1);
    assert_state(&t, t.f->hop, REACHABLE);
    clock_advance(1);
    assert_state(&t, t.f->hop, STALE);
    assert_silent(&t);

    /* used: it goes at once, and five seconds are given to hear of it */
    clock_advance(NEIGH_STALE_NS - 1);
    assert_state(&t, t.f->hop, STALE);
    say(&t, t.b, 1);
    assert_sent(&t.net.wire, out(&t, t.b, 1, hop_mac));
    assert_state(&t, t.f->hop, DELAY);
    clock_advance(NEIGH_DELAY_NS - 1);
    assert_state(&t, t.f->hop, DELAY);
    say(&t, t.b, 2);
    assert_sent(&t.net.wire, out(&t, t.b, 2, hop_mac));
    clock_advance(1);
    assert_state(&t, t.f->hop, PROBE);
    assert_sent(&t.net.wire, question(&t, t.f->b, t.f->hop, hop_mac));

    say(&t, t.a, 3);
    assert_sent(&t.net.wire, out(&t, t.a, 3, hop_mac));
    hear(&t, answer(&t, hop_mac));
    assert_state(&t, t.f->hop, REACHABLE);
    clock_advance(reachable - 1);
    assert_state(&t, t.f->hop, REACHABLE);
    assert_silent(&t);
    net_fini(&t.net);
}

/* It is somewhere else now and has not told: three probes find out. */
static void test_probe_fails(const void *family)
{
    Two t;

    two_init(&t, family);
    let_probe(&t);
    for (int i = 1; i < NEIGH_TRIES; i++) {
        clock_advance(NEIGH_RETRANS - 1);
        assert_silent(&t);
        clock_advance(1);
        assert_sent(&t.net.wire, question(&t, t.f->a, t.f->hop, hop_mac));
        say(&t, t.a, i);
        assert_sent(&t.net.wire, out(&t, t.a, i, hop_mac));
    }
    clock_advance(NEIGH_RETRANS - 1);
    assert_state(&t, t.f->hop, PROBE);
    clock_advance(1);
    assert_unknown(&t, t.f->hop);
    assert_silent(&t);
    g_assert_cmpuint(t.a->got->len, ==, 0);

    say(&t, t.a, 9);
    assert_sent(&t.net.wire, question(&t, t.f->a, t.f->hop, NULL));
    hear(&t, answer(&t, new_mac));
    assert_sent(&t.net.wire, out(&t, t.a, 9, new_mac));
    net_fini(&t.net);
}

static void test_forgotten(const void *family)
{
    Two t;

    two_init(&t, family);
    let_stale(&t);
    clock_advance(NEIGH_STALE_NS - 1);
    assert_state(&t, t.f->hop, STALE);
    clock_advance(1);
    assert_unknown(&t, t.f->hop);
    g_assert_cmpuint(n_neighs(&t), ==, 0);
    assert_silent(&t);
    net_fini(&t.net);
}

static void test_gateway_stays(void)
{
    Two t;

    two_init_gw(&t);
    send_to(t.a, GW4, from(&t, t.a, 1));
    send_to(t.a, GW6, numbered(t.a, A6, "2001:db8:9::9", 1));
    hear(&t, arp_reply(port_mac, gateway_mac, GW4, A4));
    hear(&t, advert(GW6, gateway_mac, SOLICITED | OVERRIDE));
    g_assert_true(look(&t, GW4).info.gateway);
    g_assert_true(look(&t, GW6).info.gateway);
    net_clear(&t.net);
    clock_advance(3600 * NS_PER_S);
    assert_state(&t, GW4, STALE);
    assert_state(&t, GW6, STALE);
    assert_silent(&t);
    send_to(t.a, GW4, from(&t, t.a, 2));
    assert_sent(&t.net.wire, out(&t, t.a, 2, gateway_mac));
    assert_state(&t, GW4, DELAY);

    /* but one that does not answer is not known any more */
    clock_advance(NEIGH_DELAY_NS + NEIGH_TRIES * NEIGH_RETRANS);
    assert_unknown(&t, GW4);
    g_assert_cmpuint(t.net.wire.sent->len, ==, NEIGH_TRIES);
    net_fini(&t.net);
}

/* --- what the network says ------------------------------------------------ */

/* Nothing is made from it, and who has not asked believes no MAC that lies. */
static void test_not_believed(void)
{
    static const uint8_t group[] = { 1, 0, 0x5e, 0, 0, 1 };
    Two t;

    two_init(&t, &v4);
    hear(&t, arp_announce(hop_mac, HOP4));
    hear(&t, arp_reply(port_mac, hop_mac, HOP4, A4));
    hear(&t, arp_request(hop_mac, HOP4, A4));
    hear(&t, advert(HOP6, hop_mac, SOLICITED | OVERRIDE));
    hear(&t, nd_solicit(hop_mac, HOP6, A6));
    hear(&t, nd_router_advert(hop_mac, GW6));
    g_assert_cmpuint(n_neighs(&t), ==, 0);

    say(&t, t.a, 1);
    net_clear(&t.net);
    hear(&t, frame_set8(arp_reply(port_mac, hop_mac, HOP4, A4), 22, 1));
    hear(&t, arp_reply(port_mac, hop_mac, C4, A4));
    for (int i = 0; i < 3; i++) {
        Frame *f = arp_reply(port_mac, hop_mac, HOP4, A4);

        memcpy(f->data + 22, i == 0 ? group : i == 1 ? mac_zero : port_mac,
               ETHER_ADDR_LEN);
        hear(&t, f);
    }
    assert_state(&t, HOP4, INCOMPLETE);
    assert_silent(&t);
    net_fini(&t.net);
}

static void test_arp(void)
{
    Two t;

    two_init(&t, &v4);
    resolve(&t);

    /* what it says again changes nothing, and does not keep it either */
    clock_advance(t.port->neigh.reachable - 1);
    hear(&t, arp_announce(hop_mac, HOP4));
    hear(&t, arp_request(hop_mac, HOP4, B4));
    hear(&t, arp_reply(port_mac, hop_mac, HOP4, A4));
    clock_advance(1);
    assert_state(&t, HOP4, STALE);

    /* it has moved, and says so */
    hear(&t, arp_announce(new_mac, HOP4));
    assert_state(&t, HOP4, STALE);
    assert_mac_is(&t, HOP4, new_mac);
    say(&t, t.a, 1);
    assert_sent(&t.net.wire, out(&t, t.a, 1, new_mac));
    assert_state(&t, HOP4, DELAY);
    hear(&t, arp_reply(port_mac, hop_mac, HOP4, A4));
    assert_state(&t, HOP4, STALE);
    assert_mac_is(&t, HOP4, hop_mac);
    net_fini(&t.net);
}

/* It tells where it is, but not that it hears us. */
static void test_arp_crossing(void)
{
    Frame *frames[] = {
        arp_request(hop_mac, HOP4, A4),
        frame_set_mac_dst(arp_request(hop_mac, HOP4, A4), port_mac),
        frame_set_mac_dst(arp_reply(port_mac, hop_mac, HOP4, A4),
                          mac_broadcast),
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(frames); i++) {
        Two t;

        two_init(&t, &v4);
        say(&t, t.a, 1);
        net_clear(&t.net);
        hear(&t, frames[i]);
        assert_sent(&t.net.wire, out(&t, t.a, 1, hop_mac));
        assert_state(&t, HOP4, DELAY);
        net_fini(&t.net);
    }
}

/* Nor is that an answer which comes before the question has gone out. */
static void test_arp_unasked(void)
{
    Two t;

    two_init(&t, &v4);
    t.net.wire.room = 0;
    say(&t, t.a, 1);
    t.net.wire.room = NO_LIMIT;
    hear(&t, arp_reply(port_mac, hop_mac, HOP4, A4));
    assert_sent(&t.net.wire, out(&t, t.a, 1, hop_mac));
    assert_state(&t, HOP4, DELAY);
    link_wake(t.net.wire.link);
    assert_silent(&t);
    net_fini(&t.net);
}

/* RFC 4861, 7.2.5 */
static void test_advert_incomplete(void)
{
    Two t;

    two_init(&t, &v6);
    say(&t, t.a, 1);
    net_clear(&t.net);
    hear(&t, advert(HOP6, NULL, SOLICITED | OVERRIDE));
    assert_state(&t, HOP6, INCOMPLETE);
    hear(&t, advert(HOP6, hop_mac, 0));
    assert_sent(&t.net.wire, out(&t, t.a, 1, hop_mac));
    assert_state(&t, HOP6, DELAY);
    net_fini(&t.net);
}

static void test_advert_invalid(void)
{
    static const uint8_t all_nodes[] = { 0x33, 0x33, 0, 0, 0, 1 };
    Frame *f;
    Two t;

    two_init(&t, &v6);
    say(&t, t.a, 1);
    net_clear(&t.net);
    hear(&t, frame_set8(answer(&t, hop_mac), 14 + 7, 254));
    f = answer(&t, hop_mac);
    f->data[f->len - 1] ^= 1;
    hear(&t, f);
    hear(&t, frame_checksum(frame_set8(answer(&t, hop_mac), 55, 1)));
    hear(&t, answer(&t, port_mac));
    hear(&t, answer(&t, mac_zero));
    hear(&t, answer(&t, all_nodes));
    /* what is for many cannot be an answer */
    hear(&t, flags(frame_nd(all_nodes, hop_mac, HOP6, "ff02::1",
                            ND_NEIGHBOUR_ADVERT, HOP6, 2, hop_mac),
                   SOLICITED | OVERRIDE));
    hear(&t, flags(frame_nd(all_nodes, hop_mac, HOP6, "ff02::1",
                            ND_NEIGHBOUR_ADVERT, "ff02::77", 2, hop_mac),
                   OVERRIDE));
    assert_state(&t, HOP6, INCOMPLETE);
    assert_silent(&t);

    /* whose checksum the host has seen, or is still to be completed */
    f = answer(&t, hop_mac);
    f->data[f->len - 1] ^= 1;
    f->has_vnet = true;
    f->vnet.flags = PACKET_VNET_DATA_VALID;
    hear(&t, f);
    assert_state(&t, HOP6, REACHABLE);
    net_fini(&t.net);
}

static void test_advert_known(void)
{
    Two t;

    two_init(&t, &v6);
    resolve(&t);

    /* another one, that does not insist: it is only doubted */
    hear(&t, advert(HOP6, new_mac, SOLICITED));
    assert_state(&t, HOP6, STALE);
    assert_mac_is(&t, HOP6, hop_mac);
    hear(&t, advert(HOP6, new_mac, SOLICITED));
    hear(&t, advert(HOP6, new_mac, 0));
    assert_state(&t, HOP6, STALE);
    assert_mac_is(&t, HOP6, hop_mac);

    /* the same one, unasked: nothing; asked: it is there */
    hear(&t, advert(HOP6, hop_mac, OVERRIDE));
    assert_state(&t, HOP6, STALE);
    hear(&t, advert(HOP6, hop_mac, SOLICITED));
    assert_state(&t, HOP6, REACHABLE);
    hear(&t, advert(HOP6, hop_mac, 0));
    assert_state(&t, HOP6, REACHABLE);

    /* it insists: it is there, and whether it hears us is seen */
    hear(&t, advert(HOP6, new_mac, OVERRIDE));
    assert_state(&t, HOP6, STALE);
    assert_mac_is(&t, HOP6, new_mac);
    hear(&t, advert(HOP6, NULL, SOLICITED));
    assert_state(&t, HOP6, REACHABLE);
    assert_mac_is(&t, HOP6, new_mac);
    hear(&t, advert(HOP6, hop_mac, SOLICITED | OVERRIDE));
    assert_state(&t, HOP6, REACHABLE);
    assert_mac_is(&t, HOP6, hop_mac);
    say(&t, t.a, 1);
    assert_sent(&t.net.wire, out(&t, t.a, 1, hop_mac));
    net_fini(&t.net);
}

/* 7.2.3, 6.2.6, 6.3.4: what a sender says of itself. */
static void test_source_option(void)
{
    Two t;

    two_init(&t, &v6);
    resolve(&t);
    hear(&t, nd_solicit(hop_mac, HOP6, A6));
    assert_state(&t, HOP6, REACHABLE);
    hear(&t, nd_solicit(new_mac, HOP6, A6));
    assert_state(&t, HOP6, STALE);
    assert_mac_is(&t, HOP6, new_mac);
    hear(&t, nd_router_advert(hop_mac, HOP6));
    assert_mac_is(&t, HOP6, hop_mac);
    hear(&t, nd_router_solicit(new_mac, HOP6));
    assert_mac_is(&t, HOP6, new_mac);
    hear(&t, frame_set8(nd_solicit(hop_mac, HOP6, A6), 14 + 7, 64));
    hear(&t, frame_nd(port_mac, hop_mac, HOP6, PORT_LL, ND_NEIGHBOUR_SOLICIT,
                      A6, 2, hop_mac));
    assert_mac_is(&t, HOP6, new_mac);
    hear(&t, nd_probe(hop_mac, HOP6));
    assert_mac_is(&t, HOP6, new_mac);
    net_fini(&t.net);
}

/* --- queues and limits ---------------------------------------------------- */

#define CROWD 40

static Link *crowd_new(Link *lower, unsigned i)
{
    g_autofree char *addr = g_strdup_printf("10.1.0.%u", 1 + i);
    IpvlanMode mode = IPVLAN_L3;
    IpPrefix own = prefix(addr);
    IpvlanConfig config = {
        .mode = &mode, .default_mac = port_mac, .max_addrs = 1,
        .addrs = &own, .n_addrs = 1,
    };

    return link_new(&test_platform, "ipvlan", addr, lower, &config, NULL);
}

/* The oldest one makes room. */
static void test_queue_full(void)
{
    Two t;

    two_init(&t, &v4);
    for (unsigned i = 0; i < NEIGH_WAITING + 10; i++) {
        g_assert_cmpint(say(&t, t.a, i), ==, LINK_TX_OK);
    }
    assert_waiting(&t, HOP4, NEIGH_WAITING);
    assert_drops(t.a->link, NEIGH_QUEUE, 10);
    net_clear(&t.net);
    hear(&t, answer(&t, hop_mac));
    g_assert_cmpuint(t.net.wire.sent->len, ==, NEIGH_WAITING);
    for (unsigned i = 0; i < NEIGH_WAITING; i++) {
        assert_same(wire_take(&t.net.wire), out(&t, t.a, 10 + i, hop_mac));
    }
    g_assert_cmpuint(slave_of(t.a)->neigh.waiting, ==, 0);
    net_fini(&t.net);
}

/* A flood towards the gateway pushes out the flood, and nobody else's. */
static void test_queue_fair(void)
{
    Two t;

    two_init(&t, &v4);
    say(&t, t.b, 1);
    for (unsigned i = 0; i < 1000; i++) {
        say(&t, t.a, i);
    }
    say(&t, t.b, 2);
    assert_waiting(&t, HOP4, NEIGH_WAITING);
    assert_drops(t.b->link, NEIGH_QUEUE, 0);
    assert_drops(t.a->link, NEIGH_QUEUE, 1000 + 2 - NEIGH_WAITING);
    net_clear(&t.net);
    hear(&t, answer(&t, hop_mac));
    assert_same(wire_take(&t.net.wire), out(&t, t.b, 1, hop_mac));
    for (unsigned i = 0; i < NEIGH_WAITING - 2; i++) {
        assert_same(wire_take(&t.net.wire),
                    out(&t, t.a, 1000 + 2 - NEIGH_WAITING + i, hop_mac));
    }
    assert_sent(&t.net.wire, out(&t, t.b, 2, hop_mac));
    net_fini(&t.net);
}

/* Who would have as many as the one with the most makes room itself. */
static void test_queue_tie(void)
{
    User *c;
    Two t;

    two_init(&t, &v4);
    c = net_owner(&t.net, C4);
    send_to(c, HOP4, numbered(c, C4, FAR4, 0));
    for (unsigned i = 0; i < NEIGH_WAITING / 2 - 1; i++) {
        say(&t, t.b, i);
    }
    for (unsigned i = 0; i < NEIGH_WAITING / 2; i++) {
        say(&t, t.a, i);
    }
    say(&t, t.b, 99);
    assert_drops(t.a->link, NEIGH_QUEUE, 0);
    assert_drops(t.b->link, NEIGH_QUEUE, 1);
    send_to(c, HOP4, numbered(c, C4, FAR4, 1));
    assert_drops(t.a->link, NEIGH_QUEUE, 1);
    assert_drops(c->link, NEIGH_QUEUE, 0);
    net_fini(&t.net);
}

/* Nobody has more there than another: the oldest of all makes room. */
static void test_queue_crowd(void)
{
    User crowd[NEIGH_WAITING];
    Two t;

    two_init(&t, &v4);
    for (unsigned i = 0; i < NEIGH_WAITING; i++) {
        user_init(&crowd[i], crowd_new(t.net.wire.link, i));
        memcpy(crowd[i].mac, hop_mac, ETHER_ADDR_LEN);
        send_to(&crowd[i], HOP4, numbered(&crowd[i], A4, FAR4, i));
    }
    say(&t, t.a, 0);
    assert_waiting(&t, HOP4, NEIGH_WAITING);
    assert_drops(t.a->link, NEIGH_QUEUE, 0);
    for (unsigned i = 0; i < NEIGH_WAITING; i++) {
        assert_drops(crowd[i].link, NEIGH_QUEUE, i == 0);
        link_del(crowd[i].link);
        user_fini(&crowd[i]);
    }
    net_clear(&t.net);
    net_fini(&t.net);
}

/* As many bytes as a slave may have, and a sibling is not asked for them. */
static void test_queue_bytes(void)
{
    unsigned sent = 0, size = 14 + 28 + 60000 + sizeof(Packet);
    Two t;

    two_init(&t, &v4);
    for (unsigned i = 0; i < 50; i++) {
        g_autofree char *hop = g_strdup_printf("10.0.1.%u", i);
        LinkTx tx = send_to(t.a, hop, frame_udp(port_mac, t.a->mac, A4, FAR4,
                                                1, 2, 60000));

        g_assert_cmpint(tx, ==, sent < NEIGH_WAITING_BYTES / size ?
                        LINK_TX_OK : LINK_TX_DROPPED);
        sent += tx == LINK_TX_OK;
    }
    assert_drops(t.a->link, NEIGH_QUEUE, 50 - sent);
    g_assert_cmpuint(slave_of(t.a)->neigh.waiting, ==, sent * size);
    g_assert_cmpint(say(&t, t.b, 1), ==, LINK_TX_OK);
    clock_advance(NEIGH_TRIES * NEIGH_RETRANS);
    g_assert_cmpuint(slave_of(t.a)->neigh.waiting, ==, 0);
    g_assert_cmpuint(n_neighs(&t), ==, 0);
    net_fini(&t.net);
}

static const char *nth_host(unsigned i)
{
    static char text[IP_STR_MAX];

    g_snprintf(text, sizeof(text), "10.77.%u.%u", i / 250, 1 + i % 250);
    return text;
}

/* Asking for 10,000 who are not there costs the others nothing. */
static void test_flood(void)
{
    unsigned asked;
    Two t;

    two_init(&t, &v4);
    for (unsigned i = 0; i < 10000; i++) {
        send_to(t.a, nth_host(i), from(&t, t.a, i));
    }
    asked = t.net.wire.sent->len;
    g_assert_cmpuint(asked, ==, NEIGH_UNKNOWN_MAX);
    assert_drops(t.a->link, NEIGH_LIMIT, 10000 - NEIGH_UNKNOWN_MAX);
    g_assert_cmpuint(n_neighs(&t), ==, NEIGH_UNKNOWN_MAX);
    net_clear(&t.net);

    say(&t, t.b, 1);
    assert_sent(&t.net.wire, question(&t, B4, HOP4, NULL));
    hear(&t, arp_reply(port_mac, hop_mac, HOP4, B4));
    assert_sent(&t.net.wire, out(&t, t.b, 1, hop_mac));
    net_clear(&t.net);

    /* whom the others know, the flooder may send to as well */
    g_assert_cmpint(say(&t, t.a, 2), ==, LINK_TX_OK);
    assert_sent(&t.net.wire, out(&t, t.a, 2, hop_mac));

    clock_advance(NEIGH_TRIES * NEIGH_RETRANS);
    asked += t.net.wire.sent->len;
    g_assert_cmpuint(asked, ==, NEIGH_TRIES * NEIGH_UNKNOWN_MAX);
    g_assert_cmpuint(n_neighs(&t), ==, 1);
    assert_drops(t.a->link, NO_NEIGHBOUR, NEIGH_UNKNOWN_MAX);
    g_assert_cmpuint(t.a->got->len, ==, ICMP_ERRORS_BURST);
    g_test_message("10,000 unknown hosts: %u requests in 3 s, %u dropped at "
                   "once, %u after 3 s, %u errors to the guest", asked,
                   10000 - NEIGH_UNKNOWN_MAX, NEIGH_UNKNOWN_MAX,
                   t.a->got->len);
    net_fini(&t.net);
}

/* What is due at once is not done in one go: the main loop has its turn. */
static void test_budget(void)
{
    int64_t begin;
    Two t;

    two_init(&t, &v4);
    begin = clock_now();
    for (unsigned i = 0; i < NEIGH_UNKNOWN_MAX; i++) {
        send_to(t.a, nth_host(i), from(&t, t.a, i));
        send_to(t.b, nth_host(1000 + i), from(&t, t.b, i));
    }
    net_clear(&t.net);
    clock_set_loop(1000);
    clock_run_until(begin + NEIGH_RETRANS);
    g_assert_cmpuint(t.net.wire.sent->len, ==, 64);
    clock_advance(1000);
    g_assert_cmpuint(t.net.wire.sent->len, ==, 128);
    clock_advance(2000);
    g_assert_cmpuint(t.net.wire.sent->len, ==, 2 * NEIGH_UNKNOWN_MAX);
    clock_advance(NEIGH_RETRANS / 2);
    g_assert_cmpuint(t.net.wire.sent->len, ==, 2 * NEIGH_UNKNOWN_MAX);
    clock_set_loop(0);
    net_clear(&t.net);
    net_fini(&t.net);
}

/* @u fills the table, with a network that answers for everybody. */
static void fill(Two *t, User *u, const char *sip, unsigned begin, unsigned n)
{
    for (unsigned i = begin; i < begin + n; i++) {
        send_to(u, nth_host(i), numbered(u, sip, FAR4, 0));
        hear(t, arp_reply(port_mac, hop_mac, nth_host(i), sip));
        g_ptr_array_set_size(t->net.wire.sent, 0);
    }
}

/* The table is full: who has the most has one less, and never a gateway. */
static void test_table_full(void)
{
    Two t;

    two_init_gw(&t);
    send_to(t.a, GW4, from(&t, t.a, 1));
    hear(&t, arp_reply(port_mac, gateway_mac, GW4, A4));
    fill(&t, t.b, B4, 9000, 10);
    fill(&t, t.a, A4, 0, NEIGH_MAX + 100);
    g_assert_cmpuint(n_neighs(&t), ==, NEIGH_MAX);
    assert_state(&t, GW4, REACHABLE);
    assert_unknown(&t, nth_host(0));
    assert_state(&t, nth_host(NEIGH_MAX + 99), REACHABLE);
    for (unsigned i = 0; i < 10; i++) {
        assert_state(&t, nth_host(9000 + i), REACHABLE);
    }

    /* the other's half */
    fill(&t, t.b, B4, 6000, NEIGH_MAX / 2);
    g_assert_cmpuint(n_neighs(&t), ==, NEIGH_MAX);
    for (unsigned i = 0; i < NEIGH_MAX / 2 - 10; i++) {
        assert_state(&t, nth_host(6000 + 10 + i), REACHABLE);
    }
    assert_state(&t, nth_host(NEIGH_MAX + 99), REACHABLE);
    assert_state(&t, GW4, REACHABLE);
    net_fini(&t.net);
}

/* More ask for nobody than the table holds: the shares are equal. */
static void test_table_full_unknown(void)
{
    User crowd[CROWD];
    uint64_t lost = 0;
    Two t;

    two_init(&t, &v4);
    for (unsigned i = 0; i < CROWD; i++) {
        user_init(&crowd[i], crowd_new(t.net.wire.link, i));
        memcpy(crowd[i].mac, hop_mac, ETHER_ADDR_LEN);
        for (unsigned n = 0; n < NEIGH_UNKNOWN_MAX; n++) {
            send_to(&crowd[i], nth_host(i * 200 + n),
                    numbered(&crowd[i], "10.1.0.1", FAR4, n));
        }
    }
    g_assert_cmpuint(n_neighs(&t), ==, NEIGH_MAX);
    net_clear(&t.net);
    say(&t, t.a, 1);
    hear(&t, answer(&t, hop_mac));
    g_assert_cmpuint(t.net.wire.sent->len, ==, 2);
    g_assert_cmpuint(n_neighs(&t), ==, NEIGH_MAX);
    clock_advance(NEIGH_TRIES * NEIGH_RETRANS);
    g_assert_cmpuint(n_neighs(&t), ==, 1);
    for (unsigned i = 0; i < CROWD; i++) {
        uint64_t n = link_stats_drops(&crowd[i].link->stats);

        g_assert_cmpuint(n, ==, NEIGH_UNKNOWN_MAX);
        n = crowd[i].link->stats.drops[DROP_NEIGH_LIMIT];
        g_assert_cmpuint(n, <=, NEIGH_UNKNOWN_MAX - NEIGH_MAX / (CROWD + 2));
        lost += n;
        link_del(crowd[i].link);
        user_fini(&crowd[i]);
    }
    g_assert_cmpuint(lost, ==, CROWD * NEIGH_UNKNOWN_MAX + 1 - NEIGH_MAX);
    net_clear(&t.net);
    net_fini(&t.net);
}

/* What is not used goes before what is. */
static void test_table_full_stale(void)
{
    Two t;

    two_init_gw(&t);
    fill(&t, t.a, A4, 0, 2);
    clock_advance(t.port->neigh.reachable);
    assert_state(&t, nth_host(0), STALE);
    fill(&t, t.a, A4, 2, NEIGH_MAX - 2);
    send_to(t.a, nth_host(0), from(&t, t.a, 1));
    fill(&t, t.b, B4, 9000, 2);
    assert_unknown(&t, nth_host(1));        /* STALE */
    assert_unknown(&t, nth_host(2));        /* then the longest known */
    assert_state(&t, nth_host(0), DELAY);
    g_assert_cmpuint(n_neighs(&t), ==, NEIGH_MAX);
    net_fini(&t.net);
}

/* --- an uplink that is busy ----------------------------------------------- */

static void test_busy_flush(const void *family)
{
    Two t;

    two_init(&t, family);
    for (unsigned i = 0; i < 5; i++) {
        say(&t, t.a, i);
    }
    net_clear(&t.net);
    t.net.wire.room = 2;
    hear(&t, answer(&t, hop_mac));
    assert_state(&t, t.f->hop, REACHABLE);
    assert_waiting(&t, t.f->hop, 3);
    g_assert_cmpuint(t.net.wire.sent->len, ==, 2);

    /* nobody overtakes */
    g_assert_cmpint(say(&t, t.b, 9), ==, LINK_TX_BUSY);
    wire_make_room(&t.net.wire, 1);
    g_assert_cmpuint(t.net.wire.sent->len, ==, 3);
    g_assert_cmpint(say(&t, t.b, 9), ==, LINK_TX_BUSY);
    t.net.wire.room = 3;
    g_assert_cmpint(say(&t, t.b, 9), ==, LINK_TX_OK);
    for (unsigned i = 0; i < 5; i++) {
        assert_same(wire_take(&t.net.wire), out(&t, t.a, i, hop_mac));
    }
    assert_sent(&t.net.wire, out(&t, t.b, 9, hop_mac));
    g_assert_cmpint(say(&t, t.b, 10), ==, LINK_TX_BUSY);
    wire_make_room(&t.net.wire, NO_LIMIT);
    g_assert_cmpint(say(&t, t.b, 10), ==, LINK_TX_OK);
    g_assert_cmpuint(link_stats_drops(&t.a->link->stats), ==, 0);
    g_assert_cmpuint(slave_of(t.a)->neigh.waiting, ==, 0);
    net_fini(&t.net);
}

static unsigned queue_of(Frame *f)
{
    struct iovec iov;
    Packet p = parsed(f, &iov);
    unsigned queue = packet_flow_hash(&p) % 2;

    frame_free(f);
    return queue;
}

/* However long it takes. */
static void test_busy_long(const void *family)
{
    Two t;

    two_init(&t, family);
    say(&t, t.a, 1);
    net_clear(&t.net);
    t.net.wire.room = 0;
    hear(&t, answer(&t, hop_mac));
    clock_advance(3600 * NS_PER_S);
    assert_waiting(&t, t.f->hop, 1);
    wire_make_room(&t.net.wire, NO_LIMIT);
    assert_same(wire_take(&t.net.wire), out(&t, t.a, 1, hop_mac));
    assert_sent(&t.net.wire, question(&t, t.f->a, t.f->hop, hop_mac));
    net_fini(&t.net);
}

/* Another queue of the uplink's, and another neighbour, do not wait. */
static void test_busy_queue(void)
{
    static const uint8_t other_mac[] = { 0x52, 0x55, 0x0a, 0, 0, 0x99 };
    unsigned queue, n = 0, sent = 0;
    Two t;

    two_init(&t, &v4);
    link_set_queues(t.net.wire.link, 2);
    queue = queue_of(from(&t, t.a, 0));
    while (queue_of(from(&t, t.b, n)) == queue) {
        n++;
    }
    say(&t, t.a, 0);
    send_to(t.b, C4, from(&t, t.b, n));
    net_clear(&t.net);
    t.net.wire.busy_queues = 1 << queue;
    hear(&t, answer(&t, hop_mac));
    assert_silent(&t);
    hear(&t, arp_reply(port_mac, other_mac, C4, B4));
    assert_sent(&t.net.wire, out(&t, t.b, n, other_mac));
    for (unsigned i = 0; i < 20; i++) {
        bool other = queue_of(from(&t, t.b, i)) != queue;

        g_assert_cmpint(send_to(t.b, C4, from(&t, t.b, i)), ==,
                        other ? LINK_TX_OK : LINK_TX_BUSY);
        sent += other;
    }
    g_assert_cmpuint(t.net.wire.sent->len, ==, sent);
    net_clear(&t.net);
    t.net.wire.busy_queues = 0;
    link_wake(t.net.wire.link);
    assert_sent(&t.net.wire, out(&t, t.a, 0, hop_mac));
    net_fini(&t.net);
}

/* A queue that is busy holds up those behind it, and not those of others. */
static void test_busy_queue_wake(void)
{
    unsigned n = 0, others = 0;
    Two t;

    two_init(&t, &v4);
    link_set_queues(t.net.wire.link, 2);
    t.net.wire.busy_queues = 3;
    for (; n < 20; n++) {
        send_to(t.b, nth_host(n), from(&t, t.b, n));
        hear(&t, arp_reply(port_mac, hop_mac, nth_host(n), B4));
        others += queue_of(from(&t, t.b, n)) == 1;
    }
    g_assert_cmpuint(t.net.wire.sent->len, ==, 0);
    g_assert_cmpuint(others, >, 0);
    g_assert_cmpuint(others, <, n);

    t.net.wire.busy_queues = 1;
    link_wake(t.net.wire.link);
    g_assert_cmpuint(t.net.wire.sent->len, ==, others);
    t.net.wire.busy_queues = 0;
    link_wake(t.net.wire.link);
    g_assert_cmpuint(t.net.wire.sent->len, ==, n);
    g_assert_cmpuint(slave_of(t.b)->neigh.waiting, ==, 0);
    net_clear(&t.net);
    net_fini(&t.net);
}

/* A question that does not get out is asked as soon as it can be. */
static void test_busy_question(const void *family)
{
    Two t;

    two_init(&t, family);
    t.net.wire.room = 0;
    g_assert_cmpint(say(&t, t.a, 1), ==, LINK_TX_OK);
    clock_advance(100 * NS_PER_S + NS_PER_S / 2);
    assert_state(&t, t.f->hop, INCOMPLETE);
    wire_make_room(&t.net.wire, 2);
    assert_sent(&t.net.wire, question(&t, t.f->a, t.f->hop, NULL));
    clock_advance(NEIGH_RETRANS - 1);
    assert_silent(&t);
    clock_advance(1);
    assert_sent(&t.net.wire, question(&t, t.f->a, t.f->hop, NULL));
    clock_advance(NEIGH_RETRANS);
    assert_silent(&t);
    wire_make_room(&t.net.wire, NO_LIMIT);
    assert_sent(&t.net.wire, question(&t, t.f->a, t.f->hop, NULL));
    hear(&t, answer(&t, hop_mac));
    assert_sent(&t.net.wire, out(&t, t.a, 1, hop_mac));
    net_fini(&t.net);
}

/* Nor does a gateway seem gone because the uplink has no room for probes. */
static void test_busy_probe(void)
{
    Two t;

    two_init(&t, &v4);
    let_stale(&t);
    say(&t, t.a, 0);
    net_clear(&t.net);
    t.net.wire.room = 0;
    clock_advance(60 * NS_PER_S);
    assert_state(&t, HOP4, PROBE);
    wire_make_room(&t.net.wire, NO_LIMIT);
    assert_sent(&t.net.wire, question(&t, A4, HOP4, hop_mac));
    clock_advance(NEIGH_TRIES * NEIGH_RETRANS - 1);
    assert_state(&t, HOP4, PROBE);
    clock_advance(1);
    assert_unknown(&t, HOP4);
    net_fini(&t.net);
}

/* More than one round's worth of neighbours are owed something. */
static void test_busy_many(void)
{
    Two t;

    two_init(&t, &v4);
    t.net.wire.room = 0;
    for (unsigned i = 0; i < 100; i++) {
        send_to(t.a, nth_host(i), from(&t, t.a, i));
        send_to(t.b, nth_host(200 + i), from(&t, t.b, i));
    }
    for (unsigned i = 0; i < 10; i++) {
        wire_make_room(&t.net.wire, 10);
    }
    g_assert_cmpuint(t.net.wire.sent->len, ==, 100);
    wire_make_room(&t.net.wire, NO_LIMIT);
    g_assert_cmpuint(t.net.wire.sent->len, ==, 200);
    net_fini(&t.net);
}

/* A user that was refused is woken, and what had to wait goes first. */
static void test_busy_rest(void)
{
    IpAddr hop = ip(HOP4);
    Two t;

    two_init(&t, &v4);
    resolve(&t);
    t.net.wire.room = 1;
    g_assert_cmpint(say(&t, t.a, 0), ==, LINK_TX_OK);
    for (unsigned i = 1; i < 4; i++) {
        g_autoptr(Frame) f = from(&t, t.a, i);
        struct iovec iov;
        Packet p = parsed(f, &iov);

        g_assert_cmpint(neigh_send_rest(slave_of(t.a), &hop, &p), ==,
                        LINK_TX_OK);
        memset(f->data, 0xff, f->len);
    }
    g_assert_cmpint(say(&t, t.b, 9), ==, LINK_TX_BUSY);
    wire_make_room(&t.net.wire, NO_LIMIT);
    for (unsigned i = 0; i < 4; i++) {
        assert_same(wire_take(&t.net.wire), out(&t, t.a, i, hop_mac));
    }
    assert_silent(&t);
    net_fini(&t.net);
}

/* What has waited goes before those whom the wake is for. */
static void test_busy_order(void)
{
    Two t;

    two_init(&t, &v4);
    user_send(t.a, numbered(t.a, A4, HOP4, 1));
    user_send(t.a, numbered(t.a, A4, HOP4, 2));
    net_clear(&t.net);
    t.net.wire.room = 0;
    hear(&t, answer(&t, hop_mac));
    g_assert_cmpint(user_send(t.b, numbered(t.b, B4, HOP4, 3)), ==,
                    LINK_TX_BUSY);
    wire_make_room(&t.net.wire, 1);
    g_assert_cmpuint(t.net.wire.sent->len, ==, 1);
    wire_make_room(&t.net.wire, NO_LIMIT);
    clock_run_pending();
    g_assert_cmpuint(t.net.wire.sent->len, ==, 3);
    for (unsigned i = 1; i <= 3; i++) {
        g_autoptr(Frame) f = wire_take(&t.net.wire);

        g_assert_cmpuint(frame_get16(f, 36), ==, 5000 + i);
    }
    net_fini(&t.net);
}

/* The next wire may be another: all is forgotten, and asked for again. */
static void test_link_down(void)
{
    Two t;

    two_init_gw(&t);
    send_to(t.a, GW4, from(&t, t.a, 1));
    hear(&t, arp_reply(port_mac, gateway_mac, GW4, A4));
    say(&t, t.a, 2);
    t.net.wire.room = 0;
    hear(&t, answer(&t, hop_mac));
    assert_waiting(&t, HOP4, 1);
    send_to(t.b, C4, from(&t, t.b, 3));
    send_to(t.b, C4, from(&t, t.b, 4));
    net_clear(&t.net);

    link_set_carrier(t.net.wire.link, false);
    assert_drops(t.a->link, LINK_DOWN, 1);
    assert_drops(t.b->link, LINK_DOWN, 2);
    assert_unknown(&t, HOP4);
    assert_unknown(&t, C4);
    assert_unknown(&t, GW4);
    g_assert_cmpuint(t.port->neigh.table.n, ==, 0);
    g_assert_cmpuint(slave_of(t.a)->neigh.waiting, ==, 0);
    clock_advance(NEIGH_TRIES * NEIGH_RETRANS);
    net_assert_quiet(&t.net);

    link_set_carrier(t.net.wire.link, true);
    t.net.wire.room = NO_LIMIT;
    say(&t, t.a, 5);
    assert_sent(&t.net.wire, question(&t, A4, HOP4, NULL));
    hear(&t, answer(&t, new_mac));
    assert_sent(&t.net.wire, out(&t, t.a, 5, new_mac));
    net_fini(&t.net);
}

/* --- slaves that go ------------------------------------------------------- */

static void test_forget(void)
{
    Two t;

    two_init(&t, &v4);
    send_to(t.a, HOP4, from(&t, t.a, 1));
    send_to(t.b, HOP4, from(&t, t.b, 2));
    send_to(t.a, C4, from(&t, t.a, 3));
    send_to(t.a, GW4, from(&t, t.a, 4));
    hear(&t, arp_reply(port_mac, gateway_mac, GW4, A4));
    net_clear(&t.net);
    net_del(t.a);
    assert_unknown(&t, C4);
    assert_state(&t, GW4, REACHABLE);
    assert_state(&t, HOP4, INCOMPLETE);
    assert_waiting(&t, HOP4, 1);
    g_assert_cmpuint(slave_of(t.b)->neigh.made[NEIGH_UNKNOWN].length, ==, 1);
    clock_advance(NEIGH_RETRANS);
    assert_sent(&t.net.wire, question(&t, B4, HOP4, NULL));
    hear(&t, arp_reply(port_mac, hop_mac, HOP4, B4));
    assert_sent(&t.net.wire, out(&t, t.b, 2, hop_mac));

    /* what nobody pays for any more makes room first */
    fill(&t, t.b, B4, 0, NEIGH_MAX - 1);
    assert_unknown(&t, GW4);
    assert_state(&t, HOP4, REACHABLE);
    net_fini(&t.net);
}

/* Who goes on to use what somebody has left pays for it from then on. */
static void test_adopt(void)
{
    Two t;

    two_init(&t, &v4);
    let_stale(&t);
    net_del(t.a);
    g_assert_cmpuint(t.port->neigh.orphans.made[NEIGH_UNUSED].length, ==, 1);
    say(&t, t.b, 1);
    assert_sent(&t.net.wire, out(&t, t.b, 1, hop_mac));
    g_assert_cmpuint(t.port->neigh.orphans.made[NEIGH_UNUSED].length, ==, 0);
    g_assert_cmpuint(slave_of(t.b)->neigh.made[NEIGH_USED].length, ==, 1);
    net_fini(&t.net);
}

/* In whose name is asked?  Not in one that is somewhere else now. */
static void test_forget_asker(void)
{
    Two t;

    two_init(&t, &v4);
    let_stale(&t);
    say(&t, t.a, 1);
    net_clear(&t.net);
    net_del(t.a);
    clock_advance(NEIGH_DELAY_NS);
    assert_sent(&t.net.wire, question(&t, "0.0.0.0", HOP4, hop_mac));
    hear(&t, arp_reply(port_mac, hop_mac, HOP4, "0.0.0.0"));
    assert_state(&t, HOP4, REACHABLE);
    net_fini(&t.net);
}

static void test_forget_busy(void)
{
    Two t;

    two_init(&t, &v4);
    say(&t, t.a, 1);
    say(&t, t.b, 2);
    say(&t, t.a, 3);
    net_clear(&t.net);
    t.net.wire.room = 0;
    hear(&t, answer(&t, hop_mac));
    net_del(t.a);
    wire_make_room(&t.net.wire, NO_LIMIT);
    assert_sent(&t.net.wire, out(&t, t.b, 2, hop_mac));
    net_fini(&t.net);
}

/* The last slave, and the port, go while all sorts of things wait. */
static void test_destroy(void)
{
    Two t;

    two_init(&t, &v4);
    for (unsigned i = 0; i < 300; i++) {
        send_to(i % 2 ? t.a : t.b, nth_host(i), from(&t, t.a, i));
    }
    for (unsigned i = 0; i < 100; i++) {
        t.net.wire.room = i % 3 ? NO_LIMIT : 0;
        hear(&t, arp_reply(port_mac, hop_mac, nth_host(i), A4));
    }
    clock_advance(NEIGH_RETRANS);
    t.net.wire.room = NO_LIMIT;
    net_fini(&t.net);
}

/* --- what waits is what was sent ------------------------------------------ */

static void test_gso_waits(void)
{
    Frame *f, *expected;
    Two t;

    two_init(&t, &v4);
    f = frame_partial(frame_tcp(port_mac, t.a->mac, A4, FAR4, 20000));
    f->vnet.gso_type = PACKET_GSO_TCPV4;
    f->vnet.gso_size = 1000;
    f->vnet.hdr_len = 54;
    expected = frame_set_mac_src(frame_set_mac_dst(frame_dup(f), hop_mac),
                                 port_mac);
    send_to(t.a, HOP4, f);
    net_clear(&t.net);
    hear(&t, answer(&t, hop_mac));
    g_assert_cmpuint(t.net.wire.sent->len, ==, 1);
    f = wire_take(&t.net.wire);
    g_assert_true(f->has_vnet);
    g_assert_cmpmem(&f->vnet, sizeof(f->vnet), &expected->vnet,
                    sizeof(expected->vnet));
    assert_same(f, expected);

    /* and cut for an uplink that wants it so, busy in the middle */
    link_set_offloads(t.net.wire.link, 0);
    f = frame_partial(frame_tcp(port_mac, t.a->mac, A4, FAR4, 20000));
    f->vnet.gso_type = PACKET_GSO_TCPV4;
    f->vnet.gso_size = 1000;
    send_to(t.a, C4, f);
    send_to(t.a, C4, from(&t, t.a, 1));
    net_clear(&t.net);
    t.net.wire.room = 5;
    hear(&t, arp_reply(port_mac, hop_mac, C4, A4));
    g_assert_cmpuint(t.net.wire.sent->len, ==, 5);
    wire_make_room(&t.net.wire, NO_LIMIT);
    g_assert_cmpuint(t.net.wire.sent->len, ==, 21);
    assert_same(g_ptr_array_steal_index(t.net.wire.sent, 20),
                out(&t, t.a, 1, hop_mac));
    net_fini(&t.net);
}

/* --- a network that answers before the question is sent ------------------- */

typedef struct Echo {
    IpvlanPort *port;
    IpvlanSlave *slave;
    bool mute;                  /* does not answer questions */
    bool talks;                 /* sends from there once */
    unsigned questions, packets;
    uint16_t got[32];           /* UDP ports, in order */
} Echo;

static void echo_say(Echo *e, Frame *f)
{
    struct iovec iov;
    Packet p = parsed(f, &iov);

    neigh_input(e->port, &p);
    frame_free(f);
}

static void echo_send(Echo *e, const char *hop, uint16_t n)
{
    Frame *f = frame_udp(port_mac, new_mac, A4, hop, 1, n, 4);
    IpAddr addr = ip(hop);
    struct iovec iov;
    Packet p = parsed(f, &iov);

    g_assert_cmpint(neigh_send(e->slave, &addr, &p), ==, LINK_TX_OK);
    frame_free(f);
}

/* While it sends, there is an answer, and who is on top of it talks. */
static LinkTx echo_xmit(Link *link, Packet *p)
{
    Echo *e = *(Echo **)link_priv(link);
    char target[IP_STR_MAX], sender[IP_STR_MAX];

    ip_format(&p->layers.dst, target);
    ip_format(&p->layers.src, sender);
    if (p->layers.kind == PACKET_ARP) {
        e->questions++;
        if (!e->mute) {
            echo_say(e, arp_reply(port_mac, hop_mac, target, sender));
        }
        return LINK_TX_OK;
    }
    if (e->talks) {
        e->talks = false;
        echo_send(e, target, 1000);
    }
    echo_say(e, arp_announce(p->layers.dst_port % 2 ? new_mac : hop_mac,
                             target));
    e->got[e->packets++] = p->layers.dst_port;
    return LINK_TX_OK;
}

static int echo_newlink(Link *link, const void *config, GError **err)
{
    *(Echo **)link_priv(link) = (Echo *)config;
    return 0;
}

static const LinkOps echo_ops = {
    .kind = "echo", .priv_size = sizeof(Echo *), .newlink = echo_newlink,
    .xmit = echo_xmit,
};

static void test_reentrant(void)
{
    IpvlanMode mode = IPVLAN_L3;
    IpvlanConfig config = {
        .mode = &mode, .default_mac = port_mac, .max_addrs = 1,
    };
    Echo e = { 0 };
    Link *lower = link_new(&test_platform, "echo", "up0", NULL, &e, NULL);
    Link *upper = link_new(&test_platform, "ipvlan", "n0", lower, &config,
                           NULL);

    e.slave = link_priv(upper);
    e.port = ipvlan_port(lower);
    for (unsigned i = 0; i < 10; i++) {
        echo_send(&e, nth_host(i), 0);
        echo_send(&e, nth_host(i), 1);
    }
    g_assert_cmpuint(e.questions, ==, 10);
    g_assert_cmpuint(e.packets, ==, 20);

    /* what has waited stays in order, and before what comes meanwhile */
    e.mute = true;
    e.talks = true;
    e.packets = 0;
    for (unsigned i = 0; i < 5; i++) {
        echo_send(&e, HOP4, i);
    }
    echo_say(&e, arp_reply(port_mac, hop_mac, HOP4, A4));
    g_assert_cmpuint(e.packets, ==, 6);
    for (unsigned i = 0; i < 5; i++) {
        g_assert_cmpuint(e.got[i], ==, i);
    }
    g_assert_cmpuint(e.got[5], ==, 1000);
    g_assert_cmpuint(link_stats_drops(&upper->stats), ==, 0);
    link_del(upper);
    link_del(lower);
}

/* --- whatever happens ----------------------------------------------------- */

#define HOSTS 40
#define SLAVES 4

/* Each packet says which one it is of its slave's to its host. */
typedef struct Storm {
    Two two;
    GRand *rand;
    uint32_t next[SLAVES][HOSTS];       /* number of the next to be sent */
    uint32_t seen[SLAVES][HOSTS];       /* last one on the wire, plus one */
    unsigned accepted, dropped, out;
} Storm;

static unsigned storm_random(Storm *s, unsigned n)
{
    return g_rand_int_range(s->rand, 0, n);
}

static void storm_send(Storm *s)
{
    unsigned from = storm_random(s, SLAVES), to = storm_random(s, HOSTS);
    User *u = &s->two.net.user[from];
    g_autofree char *src = g_strdup_printf("10.0.0.%u", 1 + from);
    Frame *f = frame_udp(port_mac, u->mac, src, nth_host(to), from, to, 4);
    LinkTx tx;

    frame_set16(f, 42, s->next[from][to] >> 16);
    frame_set16(f, 44, s->next[from][to]);
    tx = send_to(u, nth_host(to), frame_checksum(f));
    if (tx != LINK_TX_BUSY) {
        s->next[from][to]++;
        s->accepted++;
    }
    s->dropped += tx == LINK_TX_DROPPED;
}

/* In the order in which they were sent, to whom they are for, only once. */
static void storm_look(Storm *s)
{
    GPtrArray *sent = s->two.net.wire.sent;

    for (unsigned i = 0; i < sent->len; i++) {
        const Frame *f = sent->pdata[i];
        unsigned from, to, n;

        if (frame_get16(f, 12) != 0x0800) {
            continue;
        }
        from = frame_get16(f, 34);
        to = frame_get16(f, 36);
        n = (uint32_t)frame_get16(f, 42) << 16 | frame_get16(f, 44);
        g_assert_cmpuint(n, <, s->next[from][to] + 1);
        g_assert_cmpuint(n, >=, s->seen[from][to]);
        s->seen[from][to] = n + 1;
        s->out++;
        assert_mac(frame_src(f), port_mac);
        g_assert_cmpuint(f->data[4], ==, to);
        g_assert_true(frame_checksum_ok(f));
    }
    g_ptr_array_set_size(sent, 0);
}

static void storm_hear(Storm *s)
{
    unsigned host = storm_random(s, HOSTS);
    uint8_t mac[] = { 0x52, 0x55, 0, 0, host, storm_random(s, 2) };

    if (storm_random(s, 3)) {
        hear(&s->two, arp_reply(port_mac, mac, nth_host(host), A4));
    } else {
        hear(&s->two, arp_announce(mac, nth_host(host)));
    }
}

static void storm_wait(Storm *s)
{
    static const int64_t times[] = {
        1, NS_PER_S / 10, NS_PER_S / 2, NEIGH_RETRANS, NEIGH_DELAY_NS,
        20 * NS_PER_S, NEIGH_STALE_NS,
    };

    clock_advance(times[storm_random(s, G_N_ELEMENTS(times))]);
}

/* Everything is in its queues, in order, and all counts add up. */
static void storm_check(Storm *s)
{
    NeighTable *t = &s->two.port->neigh;
    unsigned n = 0, made = 0;

    for (NeighState state = 0; state < NEIGH_STATES; state++) {
        n += t->states[state].length;
    }
    for (unsigned i = 0; i < SLAVES; i++) {
        const NeighSlave *ns = &slave_of(&s->two.net.user[i])->neigh;

        for (NeighUse use = 0; use < NEIGH_USES; use++) {
            made += ns->made[use].length;
        }
        g_assert_cmpuint(ns->waiting, <=, NEIGH_WAITING_BYTES);
    }
    g_assert_cmpuint(n, ==, t->table.n);
    g_assert_cmpuint(made, ==, n);
    g_assert_cmpuint(t->owed.length, <=, n);
    g_assert_cmpint(t->work_at != 0, ==, n != 0);
}

static void storm_step(Storm *s)
{
    Wire *w = &s->two.net.wire;

    switch (storm_random(s, 12)) {
    case 0:
        storm_wait(s);
        break;
    case 1:
        w->room = storm_random(s, 20);
        break;
    case 2:
        wire_make_room(w, storm_random(s, 2) ? NO_LIMIT
                                             : storm_random(s, 20));
        break;
    case 3:
    case 4:
    case 5:
        storm_hear(s);
        break;
    default:
        storm_send(s);
        break;
    }
    storm_look(s);
    storm_check(s);
}

static void test_storm(void)
{
    Storm s = { .rand = g_rand_new_with_seed(4) };
    unsigned drops = 0, steps = 200000;

    net_init(&s.two.net, IPVLAN_L3, IPVLAN_BRIDGE);
    s.two.net.injects = true;
    s.two.f = &v4;
    for (unsigned i = 0; i < SLAVES; i++) {
        g_autofree char *addr = g_strdup_printf("10.0.0.%u", 1 + i);

        net_owner(&s.two.net, addr);
    }
    s.two.port = ipvlan_port(s.two.net.wire.link);
    for (unsigned i = 0; i < steps; i++) {
        storm_step(&s);
        trace_reset();
    }
    wire_make_room(&s.two.net.wire, NO_LIMIT);
    clock_advance(600 * NS_PER_S);
    storm_look(&s);
    storm_check(&s);
    g_assert_cmpuint(n_neighs(&s.two), ==, 0);

    /* nothing is lost but what was counted */
    for (unsigned i = 0; i < SLAVES; i++) {
        drops += link_stats_drops(&s.two.net.user[i].link->stats);
    }
    g_assert_cmpuint(s.accepted, ==, s.out + drops);
    g_assert_cmpuint(s.out, >, s.accepted / 4);
    g_assert_cmpuint(drops, >, 0);
    g_test_message("%u steps: %u packets sent, %u out, %u dropped", steps,
                   s.accepted, s.out, drops);
    g_rand_free(s.rand);
    net_clear(&s.two.net);
    net_fini(&s.two.net);
}

/* Frames that somebody has spoilt, while there are entries to be spoilt. */
static Frame *spoilt(const Two *t, GRand *rand)
{
    Frame *f;

    switch (g_rand_int_range(rand, 0, 6)) {
    case 0:
        f = arp_reply(port_mac, hop_mac, HOP4, A4);
        break;
    case 1:
        f = nd_solicit(hop_mac, HOP6, PORT_LL);
        break;
    case 2:
        f = nd_router_advert(hop_mac, HOP6);
        break;
    default:
        f = advert(HOP6, hop_mac, g_rand_int_range(rand, 0, 8) << 5);
        break;
    }
    for (int i = g_rand_int_range(rand, 0, 4); i; i--) {
        f->data[g_rand_int_range(rand, 14, f->len)] =
            g_rand_int_range(rand, 0, 256);
    }
    if (frame_get16(f, 12) == 0x86dd && g_rand_boolean(rand)) {
        f->has_vnet = true;
        f->vnet.flags = PACKET_VNET_DATA_VALID;
    }
    if (!g_rand_int_range(rand, 0, 4)) {
        frame_cut(f, g_rand_int_range(rand, 14, f->len + 1));
    }
    return f;
}

static void test_spoilt(void)
{
    GRand *rand = g_rand_new_with_seed(5);
    unsigned heard = 0;
    Two t;

    two_init(&t, &v4);
    for (unsigned i = 0; i < 200000; i++) {
        Frame *f = spoilt(&t, rand);
        unsigned head = g_rand_int_range(rand, 14, f->len + 1);
        g_autofree uint8_t *tail = g_memdup2(f->data + head, f->len - head);
        struct iovec iov[] = {
            { f->data, head }, { tail, f->len - head },
        };
        Packet p;

        if (i % 50 == 0) {
            send_to(t.a, HOP4, numbered(t.a, A4, FAR4, 1));
            send_to(t.a, HOP6, numbered(t.a, A6, "2001:db8:9::9", 1));
            clock_advance(g_rand_int_range(rand, 0, 20) * NS_PER_S);
            net_clear(&t.net);
        }
        packet_init(&p, iov, 2);
        p.has_vnet = f->has_vnet;
        p.vnet = f->vnet;
        if (!packet_parse(&p)) {
            heard++;
            neigh_input(t.port, &p);
        }
        g_assert_cmpuint(n_neighs(&t), <=, 2);
        frame_free(f);
    }
    g_assert_cmpuint(heard, >, 100000);
    g_rand_free(rand);
    net_clear(&t.net);
    net_fini(&t.net);
}

/* --- all of them -------------------------------------------------------- */

static void add_both(const char *name, GTestDataFunc func)
{
    g_autofree char *n4 = g_strdup_printf("/vlink/neigh/%s/4", name);
    g_autofree char *n6 = g_strdup_printf("/vlink/neigh/%s/6", name);

    g_test_add_data_func(n4, &v4, func);
    g_test_add_data_func(n6, &v6, func);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    link_kind_register(&echo_ops);
    add_both("resolve", test_resolve);
    add_both("incomplete-fails", test_incomplete_fails);
    add_both("circle", test_circle);
    add_both("probe-fails", test_probe_fails);
    add_both("forgotten", test_forgotten);
    g_test_add_func("/vlink/neigh/gateway-stays", test_gateway_stays);
    g_test_add_func("/vlink/neigh/not-believed", test_not_believed);
    g_test_add_func("/vlink/neigh/arp", test_arp);
    g_test_add_func("/vlink/neigh/arp/crossing", test_arp_crossing);
    g_test_add_func("/vlink/neigh/arp/unasked", test_arp_unasked);
    g_test_add_func("/vlink/neigh/advert/incomplete", test_advert_incomplete);
    g_test_add_func("/vlink/neigh/advert/invalid", test_advert_invalid);
    g_test_add_func("/vlink/neigh/advert/known", test_advert_known);
    g_test_add_func("/vlink/neigh/source-option", test_source_option);
    g_test_add_func("/vlink/neigh/queue/full", test_queue_full);
    g_test_add_func("/vlink/neigh/queue/fair", test_queue_fair);
    g_test_add_func("/vlink/neigh/queue/tie", test_queue_tie);
    g_test_add_func("/vlink/neigh/queue/crowd", test_queue_crowd);
    g_test_add_func("/vlink/neigh/queue/bytes", test_queue_bytes);
    g_test_add_func("/vlink/neigh/flood", test_flood);
    g_test_add_func("/vlink/neigh/budget", test_budget);
    g_test_add_func("/vlink/neigh/table-full", test_table_full);
    g_test_add_func("/vlink/neigh/table-full/stale", test_table_full_stale);
    g_test_add_func("/vlink/neigh/table-full/unknown",
                    test_table_full_unknown);
    add_both("busy/flush", test_busy_flush);
    add_both("busy/long", test_busy_long);
    add_both("busy/question", test_busy_question);
    g_test_add_func("/vlink/neigh/busy/queue", test_busy_queue);
    g_test_add_func("/vlink/neigh/busy/queue-wake", test_busy_queue_wake);
    g_test_add_func("/vlink/neigh/busy/probe", test_busy_probe);
    g_test_add_func("/vlink/neigh/busy/many", test_busy_many);
    g_test_add_func("/vlink/neigh/busy/rest", test_busy_rest);
    g_test_add_func("/vlink/neigh/busy/order", test_busy_order);
    g_test_add_func("/vlink/neigh/storm", test_storm);
    g_test_add_func("/vlink/neigh/spoilt", test_spoilt);
    g_test_add_func("/vlink/neigh/link-down", test_link_down);
    g_test_add_func("/vlink/neigh/forget", test_forget);
    g_test_add_func("/vlink/neigh/forget/adopt", test_adopt);
    g_test_add_func("/vlink/neigh/forget/asker", test_forget_asker);
    g_test_add_func("/vlink/neigh/forget/busy", test_forget_busy);
    g_test_add_func("/vlink/neigh/destroy", test_destroy);
    g_test_add_func("/vlink/neigh/gso", test_gso_waits);
    g_test_add_func("/vlink/neigh/reentrant", test_reentrant);
    return g_test_run();
}
