/*
 * libvlink: memory that there is no more of, an uplink that is busy for ever,
 * time that passes at once
 *
 * Who deletes what in the midst of a frame is in test-vlink-delete.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <pcap/pcap.h>

#include "harness.h"
#include "fault-malloc.h"
#include "libvlink/offload.h"

#define SLAVES 3
#define FAR4 "10.0.0.100"

static const char *const addrs[SLAVES] = { "10.0.0.1", "10.0.0.2",
                                           "10.0.0.3" };

/* --- memory --------------------------------------------------------------- */

static IpvlanRule *rule_new(const char *match, GError **err)
{
    return ipvlan_rule_new(&(IpvlanRuleConfig) {
        .action = IPVLAN_DROP, .match = match,
    }, err);
}

/*
 * GLib ends the program where there is no memory, and so do the tables, which
 * are aligned.  Of libpcap that is tried which does not do so either, its
 * handle: there is no rule then, one sentence, and nothing left behind.
 */
static void test_rules(void)
{
    static const char *const matches[] = {
        "udp", "tcp dst port 80", "host 10.0.0.1 and not port 22",
    };
    long before = fault_malloc_live();

    for (unsigned i = 0; i < G_N_ELEMENTS(matches); i++) {
        g_autofree char *sentence = g_strdup_printf("match='%s': %s",
                                                    matches[i],
                                                    g_strerror(ENOMEM));
        g_autoptr(GError) err = NULL;
        IpvlanRule *rule;

        fault_malloc(pcap_open_dead, 1);
        g_assert_null(rule_new(matches[i], &err));
        g_assert_cmpuint(fault_malloc_seen(), ==, 1);
        g_assert_error(err, LINK_ERROR, ENOMEM);
        g_assert_cmpstr(err->message, ==, sentence);

        fault_malloc(NULL, 0);
        rule = rule_new(matches[i], NULL);
        g_assert_nonnull(rule);
        ipvlan_rule_free(rule);
    }
    g_assert_cmpint(fault_malloc_live(), <=, before + 8);
}

/* --- busy for ever -------------------------------------------------------- */

#define ROUNDS 60
#define LOCAL 2                 /* the slave that has nothing for the wire */

static bool is_l3(const Net *net)
{
    return net->mode >= IPVLAN_L3;
}

static const uint8_t *mac_of(const Net *net, unsigned slave)
{
    return is_l3(net) ? port_mac : net->user[slave].mac;
}

static unsigned tried;          /* frames */

/* As a guest with a ring does: what is refused stays there. */
static LinkTx try_send(User *u, Frame *f)
{
    struct iovec iov = { f->data, f->len };
    LinkTx tx;
    Packet p;

    packet_init(&p, &iov, 1);
    tx = link_xmit(u->link, &p);
    frame_free(f);
    tried++;
    return tx;
}

static Frame *to_outside(const Net *net, unsigned from, const char *dip)
{
    return frame_udp(is_l3(net) ? port_mac : gateway_mac,
                     net->user[from].mac, addrs[from], dip, 1, 2, 1000);
}

static void busy_init(Net *net, IpvlanMode mode)
{
    net_init(net, mode, IPVLAN_BRIDGE);
    for (unsigned i = 0; i < SLAVES; i++) {
        IpPrefix addr = prefix(addrs[i]);
        User *u = net_add(net, (IpvlanConfig) {
            .addrs = &addr, .n_addrs = 1, .guard = IPVLAN_GUARD_ON,
        });

        user_send(u, arp_announce(u->mac, addrs[i]));
    }
    if (is_l3(net)) {
        user_send(&net->user[0], to_outside(net, 0, FAR4));
        wire_receive(&net->wire, arp_reply(port_mac, gateway_mac, FAR4,
                                           addrs[0]));
    }
    net_clear(net);
}

/* All that a guest, and the network, can have the port want to send. */
static void press(Net *net, unsigned round)
{
    for (unsigned i = 0; i < 50; i++) {
        unsigned from = i % LOCAL;
        User *u = &net->user[from];
        g_autofree char *nobody = g_strdup_printf("10.1.%u.%u", round % 250,
                                                  i);

        if (!u->link) {
            continue;
        }
        try_send(u, to_outside(net, from, FAR4));
        try_send(u, to_outside(net, from, nobody));
        try_send(u, arp_request(u->mac, addrs[from], nobody));
        try_send(u, nd_router_solicit(u->mac, "::"));
        try_send(u, udp(mac_broadcast, u->mac, addrs[from],
                        "255.255.255.255"));
        wire_receive(&net->wire, arp_request(gateway_mac, FAR4, addrs[from]));
        wire_receive(&net->wire, udp(mac_broadcast, gateway_mac, FAR4,
                                     "255.255.255.255"));
    }
}

/* What needs not go out of the wire: from outside, and from LOCAL. */
static void assert_local(Net *net)
{
    User *from = &net->user[LOCAL];

    for (unsigned to = 0; to < SLAVES; to++) {
        User *u = &net->user[to];

        if (!u->link) {
            continue;
        }
        g_ptr_array_set_size(u->got, 0);
        wire_receive(&net->wire, udp(is_l3(net) ? port_mac : u->mac,
                                     gateway_mac, FAR4, addrs[to]));
        g_assert_cmpuint(u->got->len, ==, 1);
        if (u != from) {
            user_send(from, udp(mac_of(net, to), from->mac, addrs[LOCAL],
                                addrs[to]));
            clock_run_pending();
            g_assert_cmpuint(u->got->len, >=, 2);
        }
    }
}

/* How much is in use once what is handed out has been. */
static long press_on(Net *net, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        press(net, i);
        clock_advance(NS_PER_S / 20);
        assert_local(net);
        net_clear(net);
    }
    return fault_malloc_live();
}

static void open_again(Net *net)
{
    wire_make_room(&net->wire, NO_LIMIT);
    clock_advance(10 * NS_PER_S);
    net_clear(net);
    if (is_l3(net)) {
        user_send(&net->user[0], to_outside(net, 0, FAR4));
        wire_receive(&net->wire, arp_reply(port_mac, gateway_mac, FAR4,
                                           addrs[0]));
        net_clear(net);
    }
    for (unsigned i = 0; i < SLAVES; i++) {
        if (net->user[i].link) {
            user_send(&net->user[i], to_outside(net, i, FAR4));
            clock_run_pending();
            g_assert_cmpuint(net->wire.sent->len, ==, 1);
            frame_free(wire_take(&net->wire));
        }
    }
    assert_local(net);
    net_clear(net);
}

/* Returns what is left behind. */
static long check_busy(IpvlanMode mode, bool again)
{
    long before = fault_malloc_live(), half, end;
    Net net;

    busy_init(&net, mode);
    net.wire.room = 0;
    tried = 0;
    half = press_on(&net, ROUNDS / 2);
    end = press_on(&net, ROUNDS / 2);
    g_test_message("%s: %u frames, %ld pieces of memory after one half of "
                   "them, %ld at the end", ipvlan_mode_name(mode), tried,
                   half - before, end - before);
    g_assert_cmpint(end - half, <=, (half - before) / 10);
    net_del(&net.user[1]);
    press_on(&net, 2);
    if (again) {
        open_again(&net);
    }
    net_fini(&net);
    return fault_malloc_live() - before;
}

/*
 * The wire takes nothing any more, whatever is to be sent: what is local goes
 * on, what is kept for it is bounded, and who goes leaves nothing behind.
 */
static void test_busy(const void *mode)
{
    /* GLib, and the harness, keep something for the next time */
    check_busy(GPOINTER_TO_INT(mode), false);
    g_assert_cmpint(check_busy(GPOINTER_TO_INT(mode), false), ==, 0);
    g_assert_cmpint(check_busy(GPOINTER_TO_INT(mode), true), ==, 0);
}

/*
 * Of two who are refused and one who has nothing for the wire, the third
 * sends to a sibling, more than any turn is long.
 */
static void test_busy_local(void)
{
    Net net;
    User *u;

    busy_init(&net, IPVLAN_L2_MACNAT);
    u = &net.user[2];
    net.wire.room = 0;
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmpint(try_send(&net.user[i], to_outside(&net, i, FAR4)), ==,
                        LINK_TX_BUSY);
    }
    for (unsigned i = 0; i < 5000; i++) {
        user_send(u, frame_udp(net.user[0].mac, u->mac, addrs[2], addrs[0], 1,
                               2, 1000));
    }
    clock_advance(NS_PER_S);
    g_assert_cmpuint(g_queue_get_length(&u->unsent), ==, 0);
    g_assert_cmpuint(net.user[0].got->len, ==, 5000);
    net_clear(&net);
    net_fini(&net);
}

/* The same where their master is a slave itself. */
static void test_busy_nested(void)
{
    Net net, top;

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    net.injects = true;         /* "all" counts for the port on it, too */
    memset(&top, 0, sizeof(top));
    top.mode = IPVLAN_L2_MACNAT;
    top.wire.link = link_new(&test_platform, "ipvlan", "all", net.wire.link,
                             &(IpvlanConfig) {
                                 .default_mac = port_mac, .max_addrs = 1,
                                 .learn = IPVLAN_LEARN_OFF,
                             }, NULL);
    link_set_offloads(top.wire.link, OFFLOAD_ALL);
    for (unsigned i = 0; i < SLAVES; i++) {
        User *u = net_owner(&top, addrs[i]);

        user_send(u, arp_announce(u->mac, addrs[i]));
    }
    net_clear(&net);
    net.wire.room = 0;
    for (unsigned i = 0; i < LOCAL; i++) {
        g_assert_cmpint(try_send(&top.user[i], to_outside(&top, i, FAR4)), ==,
                        LINK_TX_BUSY);
    }
    g_ptr_array_set_size(top.user[0].got, 0);
    for (unsigned i = 0; i < 5000; i++) {
        user_send(&top.user[LOCAL], frame_udp(top.user[0].mac,
                                              top.user[LOCAL].mac,
                                              addrs[LOCAL], addrs[0], 1, 2,
                                              1000));
    }
    clock_advance(NS_PER_S);
    g_assert_cmpuint(top.user[0].got->len, ==, 5000);
    for (unsigned i = 0; i < SLAVES; i++) {
        net_del(&top.user[i]);
    }
    link_del(top.wire.link);
    net_clear(&net);
    net_fini(&net);
}

/* --- time ----------------------------------------------------------------- */

#define YEAR (365 * 24 * 3600 * NS_PER_S)
#define RATE UINT64_C(1000000)  /* bits a second */
#define BURST 10000             /* bytes */

static const int64_t jumps[] = {
    0, 1, NS_PER_S / 1000, NS_PER_S, 60 * NS_PER_S, 3600 * NS_PER_S,
    24 * 3600 * NS_PER_S, YEAR, 10 * YEAR,
};

/* As much as it may, in one go. */
static unsigned send_all(Net *net)
{
    unsigned bytes = 0;

    while (try_send(&net->user[0], to_outside(net, 0, FAR4)) == LINK_TX_OK) {
        g_assert_cmpuint(++bytes, <, 1000);
    }
    bytes = 0;
    while (net->wire.sent->len) {
        g_autoptr(Frame) f = wire_take(&net->wire);

        bytes += f->len;
    }
    return bytes;
}

/* Something of each sort that has a timer, a deadline or an age. */
static void time_everything(Net *net, User *learner)
{
    user_send(learner, arp_announce(learner->mac, "10.0.0.7"));
    user_send(learner, dhcp_request(learner->mac, 1));
    wire_receive(&net->wire, dhcp_reply(learner->mac, gateway_mac, 5,
                                        "10.0.0.8", learner->mac, 1, 3600));
    user_send(learner, group_join(learner->mac, "10.0.0.7", "239.1.2.3"));
    wire_receive(&net->wire, group_query(gateway_mac, FAR4, NULL));
    for (unsigned i = 0; i < 100; i++) {
        /* contested, and refused by a guard */
        user_send(learner, udp(gateway_mac, learner->mac, addrs[1], FAR4));
        user_send(&net->user[1], udp(gateway_mac, net->user[1].mac,
                                     "10.0.0.66", FAR4));
        /* as urgent as can be */
        user_send(learner, arp_request(learner->mac, "10.0.0.7", FAR4));
    }
    for (unsigned i = 1; i < 20; i++) {
        g_autofree char *hop = g_strdup_printf("10.2.0.%u", i);

        user_send(&net->user[1], to_outside(net, 1, hop));
    }
    net->user[2].room = 0;
    for (unsigned i = 0; i < 100; i++) {
        user_send(&net->user[1], udp(mac_of(net, 2), net->user[1].mac,
                                     addrs[1], addrs[2]));
    }
}

static void assert_told_again(Net *net, User *learner)
{
    /* events are bounded to so many a second, and no more than that */
    clock_advance(2 * NS_PER_S);
    trace_reset();
    user_send(&net->user[1], udp(gateway_mac, net->user[1].mac, "10.0.0.66",
                                 FAR4));
    clock_run_pending();
    g_assert_cmpuint(trace_count(LINK_EVENT_GUARD, NULL), ==, 1);
    if (!is_l3(net)) {
        TraceRecord r;

        user_send(learner, udp(gateway_mac, learner->mac, addrs[1], FAR4));
        clock_run_pending();
        g_assert_cmpuint(trace_count(LINK_EVENT_CONTEST, &r), ==, 1);
        g_assert_false(r.excess);
    }
}

static void check_jump(IpvlanMode mode, int64_t ns)
{
    User *learner;
    unsigned bytes;
    Net net;

    busy_init(&net, mode);
    learner = net_add(&net, (IpvlanConfig) {
        .learn = is_l3(&net) ? IPVLAN_LEARN_OFF : IPVLAN_LEARN_ON,
    });
    link_set_rates(net.user[0].link, &(LinkRates) {
        .tx_bps = RATE, .rx_bps = RATE, .burst = BURST,
    });
    send_all(&net);
    time_everything(&net, learner);

    clock_jump(ns);
    clock_run_pending();
    /* no more than has come together in the bucket, and one frame */
    net_clear(&net);
    bytes = send_all(&net);
    g_assert_cmpuint(bytes, <=, BURST + 1100);
    net_clear(&net);

    /* nobody stalls */
    user_make_room(&net.user[2], NO_LIMIT);
    clock_advance(2 * NS_PER_S);
    g_assert_cmpuint(net.user[2].got->len, >, 0);
    assert_told_again(&net, learner);
    net_clear(&net);
    open_again(&net);
    net_fini(&net);
}

/* The program's loop is held up, or the host is: nothing ran meanwhile. */
static void test_jump(const void *mode)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(jumps); i++) {
        check_jump(GPOINTER_TO_INT(mode), jumps[i]);
    }
    g_test_message("%zu jumps survived, by up to 10 years",
                   G_N_ELEMENTS(jumps));
}

static void add_for_modes(const char *what, GTestDataFunc test)
{
    for (IpvlanMode mode = IPVLAN_L2; mode <= IPVLAN_L3S; mode++) {
        g_autofree char *path = g_strdup_printf("/fault/%s/%s", what,
                                                ipvlan_mode_name(mode));

        g_test_add_data_func(path, GINT_TO_POINTER(mode), test);
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/fault/memory/rules", test_rules);
    add_for_modes("busy", test_busy);
    g_test_add_func("/fault/busy/local", test_busy_local);
    g_test_add_func("/fault/busy/nested", test_busy_nested);
    add_for_modes("jump", test_jump);
    return g_test_run();
}
