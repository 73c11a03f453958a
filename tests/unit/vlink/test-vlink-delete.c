/*
 * libvlink: links that are deleted in the midst of a frame
 *
 * A frame makes its way to a user or to the wire, who deletes a slave, or the
 * port with all of them, or the master with the port, before he returns.  What
 * has been deleted is not called any more, the others go on, and its address
 * is somebody else's as soon as the loop has come round.  The sanitizers see
 * to the rest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "libvlink/offload.h"

#define ADDRS 3
#define FAR4 "10.0.0.100"

static const char *const addrs[ADDRS] = { "10.0.0.1", "10.0.0.2", "10.0.0.3" };

enum { SENDER, RECEIVER, BYSTANDER };

/* Who is deleted. */
typedef enum Target {
    DELETE_SENDER,
    DELETE_RECEIVER,
    DELETE_BYSTANDER,
    DELETE_PORT,
    DELETE_MASTER,
    N_TARGETS
} Target;

static const char *const names[] = {
    "sender", "receiver", "bystander", "port", "master",
};

typedef struct Trap {
    Net net;
    Target target;
    bool set;
    unsigned sprung;
    bool busy;                  /* the receiver, until it is ready */
} Trap;

static unsigned survived;

static void delete_slave(Trap *t, unsigned i)
{
    if (t->net.user[i].link) {
        net_del(&t->net.user[i]);
    }
}

static void spring(Trap *t)
{
    if (!t->set) {
        return;
    }
    t->set = false;
    t->sprung++;
    switch (t->target) {
    case DELETE_SENDER:
    case DELETE_RECEIVER:
    case DELETE_BYSTANDER:
        delete_slave(t, t->target);
        break;
    case DELETE_PORT:
    case DELETE_MASTER:
        for (unsigned i = 0; i < t->net.n; i++) {
            delete_slave(t, i);
        }
        if (t->target == DELETE_MASTER) {
            wire_fini(&t->net.wire);
            t->net.wire.link = NULL;
        }
        break;
    default:
        g_assert_not_reached();
    }
}

/* --- users and wires that do so ------------------------------------------- */

static Trap *trap;              /* that is under way */

static User *user_of(Link *link)
{
    for (unsigned i = 0; i < trap->net.n; i++) {
        if (trap->net.user[i].link == link) {
            return &trap->net.user[i];
        }
    }
    return NULL;
}

/* @opaque is the link, which may be nobody's by now: that is a fault. */
static LinkTx trap_deliver(void *opaque, const Packet *p)
{
    User *u = user_of(opaque);

    g_assert_nonnull(u);
    if (trap->busy && u == &trap->net.user[RECEIVER]) {
        return LINK_TX_BUSY;
    }
    g_ptr_array_add(u->got, frame_from_packet(p));
    spring(trap);
    return LINK_TX_OK;
}

static void trap_wake(void *opaque)
{
    g_assert_nonnull(user_of(opaque));
    spring(trap);
}

static const LinkUserOps trap_ops = {
    .deliver = trap_deliver,
    .wake = trap_wake,
    .link_state = trap_wake,
};

static LinkTx trap_xmit(Link *link, Packet *p)
{
    Wire *w = &trap->net.wire;

    g_assert_true(link == w->link);
    if (!w->room) {
        return LINK_TX_BUSY;
    }
    g_ptr_array_add(w->sent, frame_from_packet(p));
    spring(trap);
    return LINK_TX_OK;
}

static void trap_resume(Link *link)
{
    g_assert_true(link == trap->net.wire.link);
    spring(trap);
}

static const LinkOps trap_wire_ops = {
    .kind = "trap",
    .xmit = trap_xmit,
    .resume = trap_resume,
};

/* --- setting it ----------------------------------------------------------- */

static bool is_l3(const Trap *t)
{
    return t->net.mode >= IPVLAN_L3;
}

static const uint8_t *mac_of(const Trap *t, unsigned i)
{
    return t->net.user[i].mac;
}

/* To whom a guest sends, as its own ARP would tell it. */
static const uint8_t *mac_to(const Trap *t, unsigned i)
{
    return is_l3(t) ? port_mac : mac_of(t, i);
}

static void trap_add(Trap *t, const char *addr)
{
    User *u = net_owner(&t->net, addr);

    link_set_user(u->link, &trap_ops, u->link);
    user_send(u, arp_announce(u->mac, addr));
}

/* @u asks for who is there, and is answered. */
static void meet_outside(Trap *t, User *u)
{
    user_send(u, udp(port_mac, u->mac, addrs[SENDER], FAR4));
    wire_receive(&t->net.wire, arp_reply(port_mac, gateway_mac, FAR4,
                                         addrs[SENDER]));
}

static void trap_init(Trap *t, IpvlanMode mode, Target target)
{
    memset(t, 0, sizeof(*t));
    trap = t;
    t->target = target;
    t->net.mode = mode;
    t->net.wire = (Wire) {
        .room = NO_LIMIT,
        .sent = g_ptr_array_new_with_free_func((GDestroyNotify)frame_free),
        .link = link_new(&test_platform, "trap", "up0", NULL, NULL, NULL),
    };
    link_set_offloads(t->net.wire.link, OFFLOAD_ALL);
    for (unsigned i = 0; i < ADDRS; i++) {
        trap_add(t, addrs[i]);
    }
    if (is_l3(t)) {
        meet_outside(t, &t->net.user[SENDER]);
    }
    net_clear(&t->net);
}

static Frame *between(Trap *t, unsigned from, unsigned to)
{
    return udp(mac_to(t, to), mac_of(t, from), addrs[from], addrs[to]);
}

/* All reach each other, and the outside, whoever is new among them. */
static void assert_all_talk(Trap *t)
{
    for (unsigned from = 0; from < ADDRS; from++) {
        User *u = net_owner_of(&t->net, addrs[from]);

        for (unsigned to = 0; to < ADDRS; to++) {
            User *other = net_owner_of(&t->net, addrs[to]);
            const uint8_t *mac = is_l3(t) ? port_mac : other->mac;

            if (to != from) {
                user_send(u, udp(mac, u->mac, addrs[from], addrs[to]));
                g_assert_cmpuint(other->got->len, ==, 1);
                frame_free(user_take(other));
            }
        }
        user_send(u, udp(is_l3(t) ? port_mac : gateway_mac, u->mac,
                         addrs[from], FAR4));
        g_assert_cmpuint(t->net.wire.sent->len, ==, 1);
        frame_free(wire_take(&t->net.wire));
    }
    net_assert_quiet(&t->net);
}

/* The deleted one's address is free for somebody else. */
static void assert_goes_on(Trap *t)
{
    if (!link_is_up(t->net.wire.link)) {
        link_set_admin(t->net.wire.link, true);
    }
    for (unsigned i = 0; i < ADDRS; i++) {
        if (!net_owner_of(&t->net, addrs[i])) {
            trap_add(t, addrs[i]);
        }
    }
    if (is_l3(t)) {
        meet_outside(t, net_owner_of(&t->net, addrs[SENDER]));
    }
    net_clear(&t->net);
    assert_all_talk(t);
}

static void trap_fini(Trap *t)
{
    g_assert_cmpuint(t->sprung, ==, 1);
    clock_run_pending();
    if (t->net.wire.link) {
        assert_goes_on(t);
        net_close(&t->net);
    }
    g_assert_cmpuint(clock_works(), ==, 0);
    survived++;
    trap = NULL;
}

/* --- ways of a frame ------------------------------------------------------ */

static void way_sibling(Trap *t)
{
    t->set = true;
    user_send(&t->net.user[SENDER], between(t, SENDER, RECEIVER));
}

static void way_segments(Trap *t)
{
    Frame *f = frame_udp(mac_to(t, RECEIVER), mac_of(t, SENDER),
                         addrs[SENDER], addrs[RECEIVER], 1, 2, 5000);

    frame_partial(f);
    f->vnet.gso_type = PACKET_GSO_UDP_L4;
    f->vnet.gso_size = 1000;
    f->vnet.hdr_len = 42;
    link_set_offloads(t->net.user[RECEIVER].link, 0);
    t->set = true;
    user_send(&t->net.user[SENDER], f);
}

static Frame *from_outside(Trap *t)
{
    return udp(is_l3(t) ? port_mac : mac_of(t, RECEIVER), gateway_mac, FAR4,
               addrs[RECEIVER]);
}

static void way_uplink(Trap *t)
{
    t->set = true;
    wire_receive(&t->net.wire, from_outside(t));
}

/* A segment of TCP waits a moment for more of them. */
static void way_merged(Trap *t)
{
    Frame *f = frame_tcp(is_l3(t) ? port_mac : mac_of(t, RECEIVER),
                         gateway_mac, FAR4, addrs[RECEIVER], 1000);

    wire_receive(&t->net.wire, frame_checksum(frame_set8(f, 47, 0x10)));
    g_assert_cmpuint(t->net.user[RECEIVER].got->len, ==, 0);
    t->set = true;
    clock_run_pending();
}

/* Handed out later, to each in turn. */
static void way_broadcast(Trap *t)
{
    user_send(&t->net.user[SENDER], udp(mac_broadcast, mac_of(t, SENDER),
                                        addrs[SENDER], "255.255.255.255"));
    user_send(&t->net.user[SENDER], udp(mac_broadcast, mac_of(t, SENDER),
                                        addrs[SENDER], "255.255.255.255"));
    t->set = true;
    clock_run_pending();
}

static void way_broadcast_uplink(Trap *t)
{
    for (unsigned i = 0; i < 2; i++) {
        wire_receive(&t->net.wire, udp(mac_broadcast, gateway_mac, FAR4,
                                       "255.255.255.255"));
    }
    t->set = true;
    clock_run_pending();
}

/* The receiver was busy, and is given what has waited. */
static void way_resumed(Trap *t)
{
    t->busy = true;
    for (unsigned i = 0; i < 5; i++) {
        user_send(&t->net.user[SENDER], between(t, SENDER, RECEIVER));
    }
    t->busy = false;
    t->set = true;
    link_rx_ready(t->net.user[RECEIVER].link, 0);
    clock_run_pending();
}

static Frame *to_outside(Trap *t, unsigned from)
{
    return udp(is_l3(t) ? port_mac : gateway_mac, mac_of(t, from),
               addrs[from], FAR4);
}

static void way_xmit(Trap *t)
{
    t->set = true;
    user_send(&t->net.user[SENDER], to_outside(t, SENDER));
}

/* All were refused, and are told that there is room. */
static void way_wake(Trap *t)
{
    t->net.wire.room = 0;
    for (unsigned i = 0; i < ADDRS; i++) {
        user_send(&t->net.user[i], to_outside(t, i));
    }
    t->set = true;
    wire_make_room(&t->net.wire, NO_LIMIT);
}

static void way_state(Trap *t)
{
    t->set = true;
    link_set_admin(t->net.wire.link, false);
}

/* The addresses of all are told, one after the other. */
static void way_announced(Trap *t)
{
    for (unsigned i = 0; i < ADDRS; i++) {
        link_announce(t->net.user[i].link);
    }
    t->set = true;
    clock_run_pending();
}

/* All slaves were full, and the receiver no longer is. */
static void way_full(Trap *t)
{
    Link *link = t->net.user[RECEIVER].link;

    for (unsigned i = 0; i < ADDRS; i++) {
        link_set_rx_queue(t->net.user[i].link, 0);
    }
    g_assert_true(link_is_full(t->net.wire.link));
    link_set_rx_queue(link, 10);
    t->set = true;
    clock_run_pending();
}

/* What has waited for a next hop goes, all at once. */
static void way_neighbour(Trap *t)
{
    static const char hop[] = "10.0.0.77";

    for (unsigned i = 0; i < 2 * ADDRS; i++) {
        unsigned from = i % ADDRS;

        user_send(&t->net.user[from], udp(port_mac, mac_of(t, from),
                                          addrs[from], hop));
    }
    t->set = true;
    wire_receive(&t->net.wire, arp_reply(port_mac, gateway_mac, hop,
                                         addrs[SENDER]));
}

/* Nobody has answered, and those who wait are told by ICMP. */
static void way_unreachable(Trap *t)
{
    for (unsigned i = 0; i < ADDRS; i++) {
        user_send(&t->net.user[i], udp(port_mac, mac_of(t, i), addrs[i],
                                       "10.0.0.78"));
    }
    clock_advance(5 * NS_PER_S / 2);
    t->set = true;
    clock_advance(NS_PER_S);
}

/* The port tells all of its guests that it is their router. */
static void way_advertised(Trap *t)
{
    t->set = true;
    clock_advance(600 * NS_PER_S);
}

typedef struct Way {
    const char *name;
    void (*go)(Trap *t);
    IpvlanMode first, last;     /* that have it */
} Way;

static const Way ways[] = {
    { "sibling", way_sibling, IPVLAN_L2, IPVLAN_L3S },
    { "segments", way_segments, IPVLAN_L2, IPVLAN_L3S },
    { "uplink", way_uplink, IPVLAN_L2, IPVLAN_L3S },
    { "merged", way_merged, IPVLAN_L2, IPVLAN_L3S },
    { "broadcast", way_broadcast, IPVLAN_L2, IPVLAN_L2_MACNAT },
    { "broadcast-uplink", way_broadcast_uplink, IPVLAN_L2, IPVLAN_L2_MACNAT },
    { "resumed", way_resumed, IPVLAN_L2, IPVLAN_L3S },
    { "xmit", way_xmit, IPVLAN_L2, IPVLAN_L3S },
    { "wake", way_wake, IPVLAN_L2, IPVLAN_L3S },
    { "state", way_state, IPVLAN_L2, IPVLAN_L3S },
    { "announced", way_announced, IPVLAN_L2, IPVLAN_L3S },
    { "full", way_full, IPVLAN_L2, IPVLAN_L3S },
    { "neighbour", way_neighbour, IPVLAN_L3, IPVLAN_L3S },
    { "unreachable", way_unreachable, IPVLAN_L3, IPVLAN_L3S },
    { "advertised", way_advertised, IPVLAN_L3, IPVLAN_L3S },
};

static void test_way(const void *data)
{
    const Way *way = data;

    survived = 0;
    for (IpvlanMode mode = way->first; mode <= way->last; mode++) {
        for (Target target = 0; target < N_TARGETS; target++) {
            Trap t;

            g_test_message("%s: %s is deleted", ipvlan_mode_name(mode),
                           names[target]);
            trap_init(&t, mode, target);
            way->go(&t);
            trap_fini(&t);
        }
    }
    g_test_message("%u deletions survived", survived);
}

/* What is dead is not found, and nothing has to be done for it to be free. */
static void test_out_of_use(void)
{
    Trap t;
    Link *lower;

    trap_init(&t, IPVLAN_L2_MACNAT, DELETE_RECEIVER);
    lower = t.net.wire.link;
    way_sibling(&t);
    g_assert_null(link_find_upper(lower, "n1"));
    g_assert_nonnull(link_find_upper(lower, "n0"));
    g_assert_true(link_has_uppers(lower));
    /* a frame for it goes to nobody */
    user_send(&t.net.user[SENDER], between(&t, SENDER, BYSTANDER));
    g_assert_cmpuint(t.net.user[BYSTANDER].got->len, ==, 1);
    wire_receive(&t.net.wire, udp(port_mac, gateway_mac, FAR4,
                                  addrs[RECEIVER]));
    trap_fini(&t);
}

/* The loop has not come round when the rest is deleted, too. */
static void test_rest(void)
{
    Trap t;

    trap_init(&t, IPVLAN_L2_MACNAT, DELETE_RECEIVER);
    way_sibling(&t);
    net_close(&t.net);
    g_assert_cmpuint(clock_works(), ==, 0);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_assert_cmpint(link_kind_register(&trap_wire_ops), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autofree char *path = g_strdup_printf("/delete/%s", ways[i].name);

        g_test_add_data_func(path, &ways[i], test_way);
    }
    g_test_add_func("/delete/out-of-use", test_out_of_use);
    g_test_add_func("/delete/rest", test_rest);
    return g_test_run();
}
