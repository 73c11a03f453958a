/*
 * Changes and frames, against a model that is as simple as can be
 *
 * The input adds and deletes slaves and addresses, changes mode, flag and
 * guards, lets time pass, and sends.  A list of who owns what says what must
 * come of it: which of the changes is refused, who owns what afterwards, and
 * who gets each frame.
 *
 * Time passes in steps of two seconds, because the port reads its clock once a
 * second, and what it knows is to be exact.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fuzz.h"
#include "grammar.h"

#define STEPS_MAX 200
#define STEP_NS (2 * NS_PER_S)
#define MAX_ADDRS 3             /* learned ones of a slave */
#define SLAVES 4
#define NOBODY -1

/* --- the model ------------------------------------------------------------ */

typedef struct Owned {
    IpPrefix prefix;
    int slave;
    bool learned;
    int64_t used;
} Owned;

typedef enum Seen {             /* as what MAC address the port has seen it */
    SEEN_NOT,
    SEEN_OWN,
    SEEN_PORT,
} Seen;

typedef struct ModelSlave {
    bool exists;
    bool configured;            /* was made with addresses */
    IpvlanLearn learn_asked;
    IpvlanGuard guard_asked;
    bool is_default;
    Seen seen;
} ModelSlave;

typedef struct Model {
    IpvlanMode mode;
    IpvlanFlag flag;
    ModelSlave slave[SLAVES];
    GArray *owned;              /* of Owned */
} Model;

typedef struct Run {
    Input *in;
    Net net;
    Model m;
} Run;

static bool is_l3(const Model *m)
{
    return m->mode >= IPVLAN_L3;
}

static bool covers(const IpPrefix *p, const IpAddr *a)
{
    if (p->addr.family != a->family) {
        return false;
    }
    for (unsigned bit = 0; bit < p->len; bit++) {
        if ((p->addr.b[bit / 8] ^ a->b[bit / 8]) >> (7 - bit % 8) & 1) {
            return false;
        }
    }
    return true;
}

static Owned *owned_at(const Model *m, unsigned i)
{
    return &g_array_index(m->owned, Owned, i);
}

/* The longest that covers @a; NULL: nobody owns it. */
static Owned *find_longest(const Model *m, const IpAddr *a)
{
    Owned *best = NULL;

    for (unsigned i = 0; i < m->owned->len; i++) {
        Owned *o = owned_at(m, i);

        if (covers(&o->prefix, a) && (!best ||
                                      o->prefix.len > best->prefix.len)) {
            best = o;
        }
    }
    return best;
}

static int owner(const Model *m, const IpAddr *a)
{
    const Owned *o = find_longest(m, a);

    return o ? o->slave : NOBODY;
}

static Owned *find_exact(const Model *m, const IpPrefix *p)
{
    for (unsigned i = 0; i < m->owned->len; i++) {
        Owned *o = owned_at(m, i);

        if (o->prefix.len == p->len && ip_equal(&o->prefix.addr, &p->addr)) {
            return o;
        }
    }
    return NULL;
}

static void own(Model *m, int slave, const IpPrefix *p, bool learned)
{
    Owned o = { *p, slave, learned, clock_now() };

    g_array_append_val(m->owned, o);
}

static void disown(Model *m, Owned *o)
{
    g_array_remove_index(m->owned, o - owned_at(m, 0));
}

static void disown_all(Model *m, int slave)
{
    for (unsigned i = m->owned->len; i-- > 0; ) {
        if (owned_at(m, i)->slave == slave) {
            g_array_remove_index(m->owned, i);
        }
    }
}

static void expire(Model *m)
{
    for (unsigned i = m->owned->len; i-- > 0; ) {
        const Owned *o = owned_at(m, i);

        if (o->learned && clock_now() >= o->used + IPVLAN_EXPIRY) {
            g_array_remove_index(m->owned, i);
        }
    }
}

static IpvlanLearn learn(const Model *m, int slave)
{
    const ModelSlave *s = &m->slave[slave];

    if (s->learn_asked != IPVLAN_LEARN_AUTO) {
        return s->learn_asked;
    }
    return s->configured || is_l3(m) ? IPVLAN_LEARN_OFF : IPVLAN_LEARN_ON;
}

static bool guarded(const Model *m, int slave)
{
    const ModelSlave *s = &m->slave[slave];

    if (s->guard_asked != IPVLAN_GUARD_AUTO) {
        return s->guard_asked != IPVLAN_GUARD_OFF;
    }
    return learn(m, slave) != IPVLAN_LEARN_ON &&
           !(s->is_default && !s->configured &&
             learn(m, slave) == IPVLAN_LEARN_OFF);
}

static int default_slave(const Model *m)
{
    for (int i = 0; i < SLAVES; i++) {
        if (m->slave[i].exists && m->slave[i].is_default) {
            return i;
        }
    }
    return NOBODY;
}

static unsigned n_slaves(const Model *m)
{
    unsigned n = 0;

    for (int i = 0; i < SLAVES; i++) {
        n += m->slave[i].exists;
    }
    return n;
}

static unsigned n_learned(const Model *m, int slave)
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->owned->len; i++) {
        n += owned_at(m, i)->slave == slave && owned_at(m, i)->learned;
    }
    return n;
}

/* --- the port agrees ------------------------------------------------------ */

typedef struct Comparison {
    Model *m;
    int slave;
    unsigned n;
} Comparison;

static void compare(const IpvlanAddrInfo *info, void *opaque)
{
    Comparison *c = opaque;
    const Owned *o = find_exact(c->m, &info->prefix);

    g_assert_nonnull(o);
    g_assert_cmpint(o->slave, ==, c->slave);
    g_assert_true(o->learned == (info->origin != IPVLAN_ORIGIN_STATIC));
    if (o->learned) {
        g_assert_cmpint(o->used, ==, info->used);
    }
    c->n++;
}

static void check_owned(Run *r)
{
    Comparison c = { .m = &r->m };

    for (c.slave = 0; c.slave < SLAVES; c.slave++) {
        if (r->m.slave[c.slave].exists) {
            ipvlan_foreach_addr(r->net.user[c.slave].link, compare, &c);
        }
    }
    g_assert_cmpuint(c.n, ==, r->m.owned->len);
}

static void check_slaves(Run *r)
{
    for (int i = 0; i < SLAVES; i++) {
        IpvlanSlaveInfo info;

        if (!r->m.slave[i].exists) {
            continue;
        }
        ipvlan_slave_info(r->net.user[i].link, &info);
        g_assert_cmpint(info.learn, ==, learn(&r->m, i));
        g_assert_true((info.guard != IPVLAN_GUARD_OFF) == guarded(&r->m, i));
        g_assert_true(info.is_default == r->m.slave[i].is_default);
        g_assert_true(!info.mac == (r->m.slave[i].seen == SEEN_NOT));
    }
}

static void check_port(Run *r)
{
    IpvlanPortInfo info;
    bool exists = ipvlan_port_info(r->net.wire.link, &info);

    g_assert_true(exists == (n_slaves(&r->m) > 0));
    if (exists) {
        g_assert_cmpint(info.mode, ==, r->m.mode);
        g_assert_cmpint(info.flag, ==, r->m.flag);
        g_assert_cmpuint(info.addresses, ==, r->m.owned->len);
    }
}

static void check(Run *r)
{
    check_port(r);
    check_slaves(r);
    check_owned(r);
}

/* --- slaves --------------------------------------------------------------- */

static IpPrefix any_prefix(Input *in)
{
    static const char *const prefixes[] = {
        "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5",
        "10.0.0.6", "10.0.0.0/30", "10.0.0.0/24", "10.0.0.4/31",
        "fd00::1", "fd00::2", "fd00::3", "fd00::/64", "fd00::2/127",
    };

    return prefix(in_pick(in, prefixes));
}

static IpAddr any_host(Input *in, bool v6)
{
    static const char *const hosts4[] = {
        "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5",
        "10.0.0.6", "10.0.0.7", "10.0.0.99",
    };
    static const char *const hosts6[] = {
        "fd00::1", "fd00::2", "fd00::3", "fd00::4", "fd00:9::1",
    };

    return ip(v6 ? in_pick(in, hosts6) : in_pick(in, hosts4));
}

/* May a slave with these be made? */
static bool config_is_right(const Model *m, const IpvlanConfig *config)
{
    if (config->is_default && default_slave(m) != NOBODY) {
        return false;
    }
    if (is_l3(m) && config->learn != IPVLAN_LEARN_AUTO &&
        config->learn != IPVLAN_LEARN_OFF) {
        return false;
    }
    for (unsigned i = 0; i < config->n_addrs; i++) {
        const IpPrefix *a = &config->addrs[i], *first = config->addrs;

        if (find_exact(m, a) ||
            (i && a->len == first->len && ip_equal(&a->addr, &first->addr))) {
            return false;
        }
    }
    return true;
}

static void model_new(Run *r, int i, const IpvlanConfig *config)
{
    r->m.slave[i] = (ModelSlave) {
        .exists = true, .configured = config->n_addrs,
        .learn_asked = config->learn, .guard_asked = config->guard,
        .is_default = config->is_default,
    };
    for (unsigned a = 0; a < config->n_addrs; a++) {
        own(&r->m, i, &config->addrs[a], false);
    }
}

/* User @i as net_add() makes them, which makes no user twice. */
static void start_user(Run *r, int i, Link *link)
{
    User *u = &r->net.user[i];

    user_init(u, link);
    memcpy(u->mac, "\x52\x54\x00\x12\x34", 5);
    u->mac[5] = 0x56 + i;
    u->tells_mac = true;
}

static void new_slave(Run *r)
{
    static const char *const names[] = { "n0", "n1", "n2", "n3" };
    int i = in_below(r->in, SLAVES);
    unsigned how = in8(r->in), mode = in8(r->in);
    IpPrefix addrs[2] = { any_prefix(r->in), any_prefix(r->in) };
    IpvlanConfig config = {
        .mode = &r->m.mode, .flag = &r->m.flag, .default_mac = port_mac,
        .max_addrs = MAX_ADDRS, .addrs = addrs, .n_addrs = how % 3,
        .learn = (how >> 2) & 3, .guard = (how >> 4) & 3,
        .is_default = how & 64,
    };
    bool right;
    Link *link;

    if (r->m.slave[i].exists) {
        return;
    }
    if (!n_slaves(&r->m)) {
        r->m.mode = mode & 3;
        r->m.flag = (mode >> 2) % 3;
    }
    right = config_is_right(&r->m, &config);
    link = link_new(&test_platform, "ipvlan", names[i], r->net.wire.link,
                    &config, NULL);
    g_assert_true(right == !!link);
    if (link) {
        model_new(r, i, &config);
        start_user(r, i, link);
    }
}

static void del_slave(Run *r)
{
    int i = in_below(r->in, SLAVES);

    if (r->m.slave[i].exists) {
        net_del(&r->net.user[i]);
        disown_all(&r->m, i);
        r->m.slave[i].exists = false;
        r->m.slave[i].is_default = false;
    }
}

/* --- addresses, modes, guards --------------------------------------------- */

static void add_address(Run *r)
{
    int i = in_below(r->in, SLAVES), ret, expected = 0;
    IpPrefix p = any_prefix(r->in);
    Owned *o = find_exact(&r->m, &p);

    if (!r->m.slave[i].exists) {
        return;
    }
    if (!o) {
        own(&r->m, i, &p, false);
    } else if (o->slave == i && o->learned) {
        o->learned = false;
    } else {
        expected = -EEXIST;
    }
    ret = ipvlan_addr_add(r->net.user[i].link, &p, NULL);
    g_assert_cmpint(ret, ==, expected);
}

static void del_address(Run *r)
{
    int i = in_below(r->in, SLAVES), ret;
    IpPrefix p = any_prefix(r->in);
    Owned *o = find_exact(&r->m, &p);
    bool has = o && o->slave == i;

    if (!r->m.slave[i].exists) {
        return;
    }
    ret = ipvlan_addr_del(r->net.user[i].link, &p, NULL);
    g_assert_cmpint(ret, ==, has ? 0 : -ENOENT);
    if (has) {
        disown(&r->m, o);
    }
}

/* A guard that begins asks the NIC, which tells; in l2 it does not matter. */
static void guards_begin(Model *m, const bool before[SLAVES])
{
    for (int i = 0; i < SLAVES; i++) {
        if (m->slave[i].exists && !before[i] && guarded(m, i) &&
            m->mode != IPVLAN_L2) {
            m->slave[i].seen = SEEN_OWN;
        }
    }
}

static void note_guards(const Model *m, bool guards[SLAVES])
{
    for (int i = 0; i < SLAVES; i++) {
        guards[i] = m->slave[i].exists && guarded(m, i);
    }
}

static bool mode_is_right(const Model *m, IpvlanMode mode)
{
    for (int i = 0; mode >= IPVLAN_L3 && i < SLAVES; i++) {
        if (m->slave[i].exists && m->slave[i].learn_asked &&
            m->slave[i].learn_asked != IPVLAN_LEARN_AUTO) {
            return false;
        }
    }
    return true;
}

static void change_port(Run *r)
{
    unsigned how = in8(r->in);
    IpvlanMode mode = how & 3;
    IpvlanFlag flag = (how >> 2) % 3;
    IpvlanConfig config = { .mode = &mode, .flag = &flag };
    bool guards[SLAVES], right = n_slaves(&r->m) &&
                                 mode_is_right(&r->m, mode);

    note_guards(&r->m, guards);
    g_assert_true(right == !ipvlan_port_change(r->net.wire.link, &config,
                                               NULL));
    if (right) {
        r->m.mode = mode;
        r->m.flag = flag;
        guards_begin(&r->m, guards);
    }
}

static void change_guard(Run *r)
{
    int i = in_below(r->in, SLAVES);
    IpvlanGuard guard = in_below(r->in, 4);
    bool guards[SLAVES];

    if (r->m.slave[i].exists) {
        note_guards(&r->m, guards);
        r->m.slave[i].guard_asked = guard;
        guards_begin(&r->m, guards);
        ipvlan_set_guard(r->net.user[i].link, guard);
    }
}

static void pass_time(Run *r)
{
    unsigned steps = in8(r->in);

    clock_advance((steps < 200 ? 1 : steps - 199) * STEP_NS);
    expire(&r->m);
}

/* --- frames --------------------------------------------------------------- */

#define TO_UPLINK (1 << SLAVES)

/* Slave @i has learned too much: what it has no longer was used before all. */
static void make_room(Run *r, int i)
{
    int64_t oldest = INT64_MAX;
    Owned *lost = NULL;

    for (unsigned n = 0; n < r->m.owned->len; n++) {
        Owned *o = owned_at(&r->m, n);
        char text[IP_STR_MAX];

        if (o->slave != i || !o->learned) {
            continue;
        }
        oldest = MIN(oldest, o->used);
        if (net_owner_of(&r->net, ip_prefix_format(&o->prefix, text)) !=
            &r->net.user[i]) {
            g_assert_null(lost);
            lost = o;
        }
    }
    g_assert_nonnull(lost);
    g_assert_cmpint(lost->used, ==, oldest);
    disown(&r->m, lost);
}

/* May slave @i send from @src?  It owns that from then on, where it learns. */
static bool claim(Run *r, int i, const IpAddr *src, bool *learned)
{
    Owned *o = find_longest(&r->m, src);
    IpPrefix p = { *src, ip_bits(src->family) };

    *learned = false;
    if (o && o->slave == i) {
        o->used = clock_now();
        return true;
    }
    if (o) {
        return false;
    }
    if (learn(&r->m, i) == IPVLAN_LEARN_ON) {
        *learned = true;
        own(&r->m, i, &p, true);
        return true;
    }
    return !guarded(&r->m, i);
}

/* To sibling @to, as the flag says. */
static unsigned to_sibling(const Model *m, int from, int to)
{
    if (m->flag == IPVLAN_PRIVATE) {
        return 0;
    }
    return m->flag == IPVLAN_VEPA ? TO_UPLINK : from == to ? 0 : 1u << to;
}

typedef enum Target {
    TARGET_PORT,
    TARGET_OUTSIDE,
    TARGET_SIBLING,             /* a MAC address of one; +0, +1, ... */
} Target;

static unsigned route_l2(const Model *m, int from, const IpAddr *dst,
                         unsigned target)
{
    int to = owner(m, dst), sibling = target - TARGET_SIBLING;

    if (target == TARGET_PORT) {
        if (to != NOBODY) {
            return to_sibling(m, from, to);
        }
        if (m->flag == IPVLAN_VEPA) {
            return TO_UPLINK;
        }
        to = default_slave(m);
        return to == NOBODY || to == from ? 0 : 1u << to;
    }
    if (target >= TARGET_SIBLING && m->mode == IPVLAN_L2_MACNAT &&
        m->slave[sibling].exists && m->slave[sibling].seen == SEEN_OWN) {
        return to_sibling(m, from, sibling);
    }
    return TO_UPLINK;
}

static unsigned route_l3(const Model *m, int from, const IpAddr *dst)
{
    int to = owner(m, dst);

    if (to == NOBODY || m->flag == IPVLAN_VEPA) {
        return TO_UPLINK;
    }
    return to == from ? 0 : to_sibling(m, from, to);
}

static const uint8_t *target_mac(const Run *r, unsigned target)
{
    return target == TARGET_PORT ? port_mac :
           target == TARGET_OUTSIDE ? gateway_mac :
           r->net.user[target - TARGET_SIBLING].mac;
}

static void see(Model *m, int i)
{
    m->slave[i].seen = m->mode == IPVLAN_L2 ? SEEN_PORT : SEEN_OWN;
}

/* Who has got frames; their number is one each.  Takes them. */
static unsigned got(Run *r)
{
    unsigned mask = 0;

    clock_run_pending();
    for (int i = 0; i < SLAVES; i++) {
        User *u = &r->net.user[i];

        if (r->m.slave[i].exists && u->got->len) {
            g_assert_cmpuint(u->got->len, ==, 1);
            fuzz_note(u->got->pdata[0]);
            mask |= 1u << i;
        }
    }
    if (r->net.wire.sent->len) {
        g_assert_cmpuint(r->net.wire.sent->len, ==, 1);
        assert_mac(frame_src(r->net.wire.sent->pdata[0]), port_mac);
        fuzz_note(r->net.wire.sent->pdata[0]);
        mask |= TO_UPLINK;
    }
    net_clear(&r->net);
    return mask;
}

static Frame *datagram(const uint8_t *dst, const uint8_t *src,
                       const IpAddr *sip, const IpAddr *dip)
{
    char from[IP_STR_MAX], to[IP_STR_MAX];

    return udp(dst, src, ip_format(sip, from), ip_format(dip, to));
}

/*
 * To whoever gets a frame that is for the port, or ARP, it has to be put a MAC
 * address: its NIC is asked, if it has not been seen.
 */
static void see_receivers(Model *m, unsigned mask)
{
    for (int i = 0; m->mode != IPVLAN_L2 && i < SLAVES; i++) {
        if ((mask >> i & 1) && m->slave[i].seen == SEEN_NOT) {
            m->slave[i].seen = SEEN_OWN;
        }
    }
}

/*
 * In l3 what goes out of the uplink needs a neighbour: it is asked for, or the
 * packet waits for it, and what matters here is that no slave gets it.
 */
static void check_got(Run *r, unsigned expected)
{
    unsigned mask = got(r);

    if (is_l3(&r->m) && (expected & TO_UPLINK)) {
        mask |= TO_UPLINK;
    }
    g_assert_cmphex(mask, ==, expected);
}

static void send_unicast(Run *r)
{
    int i = in_below(r->in, SLAVES);
    unsigned how = in8(r->in), target = (how >> 1) % (TARGET_SIBLING + SLAVES);
    IpAddr src = any_host(r->in, how & 1), dst = any_host(r->in, how & 1);
    User *u = &r->net.user[i];
    unsigned expected = 0;
    bool learned;

    if (!r->m.slave[i].exists ||
        (target >= TARGET_SIBLING &&
         !r->m.slave[target - TARGET_SIBLING].exists)) {
        return;
    }
    see(&r->m, i);
    user_send(u, datagram(target_mac(r, target),
                          r->m.mode == IPVLAN_L2 ? port_mac : u->mac,
                          &src, &dst));
    if (claim(r, i, &src, &learned)) {
        if (learned && n_learned(&r->m, i) > MAX_ADDRS) {
            make_room(r, i);
        }
        expected = is_l3(&r->m) ? route_l3(&r->m, i, &dst)
                                : route_l2(&r->m, i, &dst, target);
    }
    if (is_l3(&r->m) || target == TARGET_PORT) {
        see_receivers(&r->m, expected);
    }
    check_got(r, expected);
}

/* An address is announced: everybody has to know. */
static unsigned to_all(const Model *m, int from)
{
    unsigned mask = TO_UPLINK;

    for (int i = 0; m->flag == IPVLAN_BRIDGE && i < SLAVES; i++) {
        mask |= m->slave[i].exists && i != from ? 1u << i : 0;
    }
    return mask;
}

static void send_announcement(Run *r)
{
    int i = in_below(r->in, SLAVES);
    IpAddr src = any_host(r->in, false);
    User *u = &r->net.user[i];
    unsigned expected = 0;
    char text[IP_STR_MAX];
    bool learned;

    if (!r->m.slave[i].exists) {
        return;
    }
    see(&r->m, i);
    user_send(u, arp_announce(r->m.mode == IPVLAN_L2 ? port_mac : u->mac,
                              ip_format(&src, text)));
    if (claim(r, i, &src, &learned)) {
        if (learned && n_learned(&r->m, i) > MAX_ADDRS) {
            make_room(r, i);
        }
        /* in l3 it says only who it is, which the port knows */
        expected = is_l3(&r->m) ? 0 : to_all(&r->m, i);
    }
    see_receivers(&r->m, expected);
    check_got(r, expected);
}

static void receive_unicast(Run *r)
{
    unsigned how = in8(r->in);
    IpAddr src = ip(how & 1 ? "fd00:9::9" : "10.9.9.9");
    IpAddr dst = any_host(r->in, how & 1);
    int to = owner(&r->m, &dst);
    unsigned expected;

    if (!n_slaves(&r->m)) {
        return;
    }
    if (to == NOBODY) {
        to = default_slave(&r->m);
    }
    expected = to == NOBODY ? 0 : 1u << to;
    wire_receive(&r->net.wire, datagram(port_mac, gateway_mac, &src, &dst));
    see_receivers(&r->m, expected);
    check_got(r, expected);
}

/* --- all of it ------------------------------------------------------------ */

static void step(Run *r)
{
    static void (*const ops[])(Run *) = {
        send_unicast, send_unicast, send_unicast, receive_unicast,
        send_announcement, new_slave, del_slave, add_address, del_address,
        change_port, change_guard, pass_time,
    };

    in_pick(r->in, ops)(r);
    /* routers' advertisements, and what the port tells guests */
    net_clear(&r->net);
    check(r);
}

void fuzz_one(Input *in)
{
    Run r = { .in = in };

    net_init(&r.net, IPVLAN_L2, IPVLAN_BRIDGE);
    r.net.n = SLAVES;
    r.m.owned = g_array_new(false, false, sizeof(Owned));
    for (unsigned i = 0; in->len && i < STEPS_MAX; i++) {
        step(&r);
    }
    net_fini(&r.net);
    g_array_unref(r.m.owned);
}
