/*
 * libvlink: what links know is taken elsewhere
 *
 * "There" is a port with what it has seen, "here" another one, which is given
 * what there has saved.  It travels as bytes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>

#include "harness.h"
#include "libvlink/ipvlan/flow.h"
#include "libvlink/state.h"

#define A "10.0.0.1"
#define B "10.0.0.2"
#define R "192.0.2.9"           /* somebody behind the uplink */

static Net there, here;

static GVariant *from_bytes(GBytes *bytes)
{
    return g_variant_ref_sink(g_variant_new_from_bytes(LINK_STATE_TYPE, bytes,
                                                       false));
}

static GBytes *save(void)
{
    g_autoptr(GVariant) v =
        g_variant_ref_sink(link_state_save(there.wire.link));

    return g_variant_get_data_as_bytes(v);
}

/* What does not fit; NULL: all of it does. */
static char *load(GBytes *bytes)
{
    g_autoptr(GVariant) v = from_bytes(bytes);
    g_autoptr(GError) err = NULL;

    g_assert_true(g_variant_is_normal_form(v));
    return link_state_load(here.wire.link, v, &err) ? NULL :
           g_strdup(err->message);
}

static void assert_fits(void)
{
    g_autoptr(GBytes) bytes = save();
    g_autofree char *misfit = load(bytes);

    g_assert_cmpstr(misfit, ==, NULL);
}

static void assert_misfit(const char *sentence)
{
    g_autoptr(GBytes) bytes = save();
    g_autofree char *misfit = load(bytes);

    g_assert_cmpstr(misfit, ==, sentence);
}

static void start(IpvlanMode mode)
{
    net_init(&there, mode, IPVLAN_BRIDGE);
    net_init(&here, mode, IPVLAN_BRIDGE);
    here.injects = true;
}

static void stop(void)
{
    net_close(&there);
    net_fini(&here);
}

static void start_learners(void)
{
    start(IPVLAN_L2_MACNAT);
    for (int i = 0; i < 2; i++) {
        net_learner(&there);
        net_learner(&here);
    }
}

/* --- addresses ----------------------------------------------------------- */

static void describe(const IpvlanAddrInfo *info, void *opaque)
{
    char text[IP_STR_MAX];

    g_string_append_printf(opaque, "%s %s %" PRId64 " %" PRId64 "\n",
                           ip_prefix_format(&info->prefix, text),
                           ipvlan_origin_name(info->origin), info->learned,
                           info->used);
}

static char *addresses(const User *u)
{
    GString *text = g_string_new(NULL);

    ipvlan_foreach_addr(u->link, describe, text);
    return g_string_free(text, false);
}

static void assert_same_addresses(unsigned user)
{
    g_autofree char *a = addresses(&there.user[user]);
    g_autofree char *b = addresses(&here.user[user]);

    g_assert_cmpstr(a, ==, b);
}

static void lease(Net *net, User *u, const char *addr, uint32_t seconds)
{
    user_send(u, dhcp_request(u->mac, 77));
    wire_receive(&net->wire, dhcp_reply(port_mac, gateway_mac, 5, addr,
                                        u->mac, 77, seconds));
}

/* Of every origin, learned and used at different times. */
static void test_addresses(void)
{
    User *u;

    start_learners();
    u = &there.user[0];
    user_send(u, arp_announce(u->mac, "10.0.0.1"));
    clock_advance(10 * NS_PER_S);
    user_send(u, udp(gateway_mac, u->mac, "10.0.0.2", R));
    user_send(u, nd_advert(gateway_mac, u->mac, "fe80::1", "fe80::9"));
    lease(&there, u, "10.0.0.3", 3600);
    user_send(&there.user[1], arp_announce(there.user[1].mac, "10.0.0.4"));
    clock_advance(20 * NS_PER_S);
    user_send(u, udp(gateway_mac, u->mac, "10.0.0.1", R));

    assert_fits();
    g_assert_cmpuint(net_addresses(&here.user[0]), ==, 4);
    assert_same_addresses(0);
    assert_same_addresses(1);

    /* and frames find their way at once, to guests that were silent here */
    net_clear(&here);
    wire_receive(&here.wire, udp(port_mac, gateway_mac, R, "10.0.0.2"));
    assert_got(&here.user[0], udp(here.user[0].mac, gateway_mac, R,
                                  "10.0.0.2"));
    user_send(&here.user[1], udp(here.user[0].mac, here.user[1].mac,
                                 "10.0.0.4", "10.0.0.1"));
    assert_got(&here.user[0], udp(here.user[0].mac, here.user[1].mac,
                                  "10.0.0.4", "10.0.0.1"));
    stop();
}

/* What was unused there for so long expires here that much earlier. */
static void test_expiry(void)
{
    User *u;

    start_learners();
    u = &there.user[0];
    user_send(u, arp_announce(u->mac, A));
    lease(&there, u, B, 1000);
    clock_advance(IPVLAN_EXPIRY - 10 * NS_PER_S);
    assert_fits();
    g_assert_nonnull(net_owner_of(&here, A));
    clock_advance(9 * NS_PER_S);
    g_assert_nonnull(net_owner_of(&here, A));
    clock_advance(NS_PER_S);
    g_assert_null(net_owner_of(&here, A));
    g_assert_nonnull(net_owner_of(&here, B));
    clock_advance(1001 * NS_PER_S - IPVLAN_EXPIRY);
    g_assert_null(net_owner_of(&here, B));
    stop();
}

/* Here is as there was, and not both. */
static void test_replaces(void)
{
    User *u;

    start_learners();
    u = &there.user[0];
    user_send(u, arp_announce(u->mac, A));
    user_send(&here.user[0], arp_announce(u->mac, B));
    user_send(&here.user[1], arp_announce(here.user[1].mac, "10.0.0.9"));
    assert_fits();
    g_assert_true(net_owner_of(&here, A) == &here.user[0]);
    g_assert_null(net_owner_of(&here, B));
    g_assert_null(net_owner_of(&here, "10.0.0.9"));
    stop();
}

/* A request that was sent there is answered here. */
static void test_dhcp(void)
{
    User *u;

    start(IPVLAN_L2_MACNAT);
    u = net_add(&there, (IpvlanConfig) { .learn = IPVLAN_LEARN_DHCP });
    net_add(&here, (IpvlanConfig) { .learn = IPVLAN_LEARN_DHCP });
    user_send(u, dhcp_request(u->mac, 5));
    assert_fits();
    wire_receive(&here.wire, dhcp_reply(port_mac, gateway_mac, 5, A, u->mac,
                                        5, 60));
    g_assert_true(net_owner_of(&here, A) == &here.user[0]);
    /* and a lease goes on where there is a guard */
    lease(&there, u, B, 60);
    assert_fits();
    g_assert_null(net_owner_of(&here, A));
    g_assert_true(net_owner_of(&here, B) == &here.user[0]);
    stop();
}

/* What may not be owned here is not, whatever was the case there. */
static void test_not_owned(void)
{
    User *u;

    start(IPVLAN_L2_MACNAT);
    u = net_learner(&there);
    net_add(&here, (IpvlanConfig) {
        .learn = IPVLAN_LEARN_ON, .max_addrs = 2,
    });
    net_owner(&here, B);
    user_send(u, arp_announce(u->mac, A));
    assert_fits();
    user_send(u, arp_announce(u->mac, B));
    assert_misfit("'up0': 'n0' may not own 10.0.0.2 here");
    g_assert_true(net_owner_of(&here, A) == &here.user[0]);
    g_assert_true(net_owner_of(&here, B) == &here.user[1]);
    user_send(u, arp_announce(u->mac, "10.0.0.3"));
    user_send(u, arp_announce(u->mac, "10.0.0.4"));
    assert_misfit("'up0': 'n0' may not own 10.0.0.2 here (and 1 more)");
    g_assert_cmpuint(net_addresses(&here.user[0]), ==, 2);
    stop();
}

/* Where here it has been given what was learned there, all is well. */
static void test_static_here(void)
{
    User *u;

    start(IPVLAN_L2_MACNAT);
    u = net_learner(&there);
    net_owner(&here, A);
    user_send(u, arp_announce(u->mac, A));
    assert_fits();
    user_send(u, arp_announce(u->mac, B));
    assert_misfit("'up0': 'n0' may not own 10.0.0.2 here");
    stop();
}

/* --- who is who ----------------------------------------------------------- */

static void test_other_slaves(void)
{
    start_learners();
    net_learner(&there);
    user_send(&there.user[1], arp_announce(there.user[1].mac, B));
    net_del(&there.user[0]);
    assert_misfit("'up0': it has no 'n2' here");
    g_assert_true(net_owner_of(&here, B) == &here.user[1]);
    stop();
}

/* The port keeps its MAC address, unless it was given one here. */
static void test_port_mac(void)
{
    static const uint8_t own[] = { 2, 0, 0, 0, 0, 9 };
    IpvlanPortInfo info;

    start(IPVLAN_L2_MACNAT);
    net_add(&there, (IpvlanConfig) { .mac = own });
    net_learner(&here);
    assert_fits();
    g_assert_true(ipvlan_port_info(here.wire.link, &info));
    assert_mac(info.mac, own);
    stop();

    start(IPVLAN_L2_MACNAT);
    net_learner(&there);
    net_add(&here, (IpvlanConfig) { .mac = own });
    assert_fits();
    g_assert_true(ipvlan_port_info(here.wire.link, &info));
    assert_mac(info.mac, own);
    stop();
}

/* A guard knows which MAC address is the guest's. */
static void test_guard(void)
{
    IpPrefix a = prefix(A);
    IpvlanConfig config = {
        .addrs = &a, .n_addrs = 1, .guard = IPVLAN_GUARD_ON,
    };
    static const uint8_t other[] = { 2, 0, 0, 0, 0, 9 };
    User *u;

    start(IPVLAN_L2_MACNAT);
    u = net_add(&there, config);
    net_add(&here, config);
    user_send(u, udp(gateway_mac, u->mac, A, R));
    assert_fits();
    user_send(&here.user[0], udp(gateway_mac, other, A, R));
    assert_drops(here.user[0].link, GUARD_MAC, 1);
    user_send(&here.user[0], udp(gateway_mac, u->mac, A, R));
    assert_sent(&here.wire, udp(gateway_mac, port_mac, A, R));
    stop();
}

/* --- counters ------------------------------------------------------------- */

static void test_counters(void)
{
    IpvlanSlaveInfo info;
    User *u;

    start_learners();
    u = net_learner(&there);
    user_send(u, udp(gateway_mac, u->mac, "10.0.0.3", R));
    net_del(u);
    u = &there.user[0];
    user_send(u, arp_announce(u->mac, A));
    clock_run_pending();
    user_send(u, udp(u->mac, u->mac, A, A));
    user_send(&there.user[1], udp(gateway_mac, there.user[1].mac, A, R));
    wire_receive(&there.wire, udp(port_mac, gateway_mac, R, "10.9.9.9"));
    user_send(&here.user[0], udp(u->mac, u->mac, B, B));
    assert_fits();
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmpmem(&here.user[i].link->stats, sizeof(LinkStats),
                        &there.user[i].link->stats, sizeof(LinkStats));
    }
    g_assert_cmpmem(&here.wire.link->stats, sizeof(LinkStats),
                    &there.wire.link->stats, sizeof(LinkStats));
    g_assert_cmpmem(&here.wire.link->deleted, sizeof(LinkStats),
                    &there.wire.link->deleted, sizeof(LinkStats));
    g_assert_cmpuint(here.wire.link->deleted.tx_packets, ==, 1);
    g_assert_cmpuint(here.wire.link->stats.absorbed, ==, 1);
    assert_drops(here.user[0].link, TO_ITSELF, 1);
    assert_drops(here.user[1].link, NOT_OWNED, 1);
    assert_drops(here.wire.link, NO_OWNER, 1);
    ipvlan_slave_info(here.user[1].link, &info);
    g_assert_cmpuint(info.contested, ==, 1);
    stop();
}

/* A reason that only the other version has is not taken for one of ours. */
static void test_unknown_reason(void)
{
    g_autoptr(GVariant) v = g_variant_ref_sink(g_variant_new_parsed(
        "{'stats': <(@t 1, @t 2, @t 3, @t 4,"
        " {'no-owner': @t 5, 'of-tomorrow': @t 6, '': @t 7})>}"));

    start_learners();
    g_assert_true(link_state_load(here.wire.link, v, NULL));
    g_assert_cmpuint(here.wire.link->stats.rx_packets, ==, 1);
    g_assert_cmpuint(here.wire.link->stats.tx_bytes, ==, 4);
    assert_drops(here.wire.link, NO_OWNER, 5);
    g_assert_cmpuint(link_stats_drops(&here.wire.link->stats), ==, 5);
    stop();
}

/* --- what a slave's user knows -------------------------------------------- */

typedef struct Note {
    uint32_t written, read;
} Note;

static void note_save(void *opaque, GVariantBuilder *out)
{
    const Note *note = opaque;

    g_variant_builder_add(out, "{sv}", "note",
                          g_variant_new_uint32(note->written));
}

static void note_load(void *opaque, GVariant *state)
{
    Note *note = opaque;

    g_assert_true(g_variant_lookup(state, "note", "u", &note->read));
}

static const LinkUserOps note_ops = { .save = note_save, .load = note_load };
static const LinkUserOps deaf_ops = { .save = note_save };

/* It has the same dictionary as the slave, and each its own. */
static void test_user(void)
{
    Note ours[2] = { { 11 }, { 22 } }, theirs[2] = { { 33 }, { 44 } };

    start_learners();
    user_send(&there.user[0], arp_announce(there.user[0].mac, A));
    for (unsigned i = 0; i < 2; i++) {
        link_set_user(there.user[i].link, &note_ops, &theirs[i]);
    }
    link_set_user(here.user[0].link, &note_ops, &ours[0]);
    link_set_user(here.user[1].link, &deaf_ops, &ours[1]);
    assert_fits();
    g_assert_cmpuint(ours[0].read, ==, 33);
    g_assert_cmpuint(ours[1].read, ==, 0);
    g_assert_cmpuint(theirs[0].read, ==, 0);
    g_assert_nonnull(net_owner_of(&here, A));
    stop();
}

/* Which MAC address a guest has is told in l2, too: it may be another. */
static void test_mac_l2(void)
{
    static const uint8_t own_mac[] = { 0x52, 0x54, 0, 0x12, 0x34, 0x99 };
    IpvlanSlaveInfo info;

    start(IPVLAN_L2);
    net_learner(&there);
    net_learner(&here);
    user_send(&there.user[0], arp_announce(own_mac, A));
    assert_fits();
    ipvlan_slave_info(here.user[0].link, &info);
    g_assert_nonnull(info.mac);
    assert_mac(info.mac, own_mac);
    stop();
}

/* --- flows ---------------------------------------------------------------- */

static GPtrArray *rules;        /* of IpvlanRule, of both */

static IpvlanRule *rule(Net *net, const char *name, const char *match)
{
    g_autoptr(GError) err = NULL;
    IpvlanRule *r = ipvlan_rule_new(&(IpvlanRuleConfig) {
        .name = name, .direction = IPVLAN_OUT, .action = IPVLAN_ACCEPT,
        .match = match,
    }, &err);

    g_assert_no_error(err);
    ipvlan_rule_attach(r, net->wire.link, &err);
    g_assert_no_error(err);
    g_ptr_array_add(rules, r);
    return r;
}

/* Slaves in another order here. */
static void start_filters(void)
{
    IpPrefix a = prefix(A), b = prefix(B);
    IpvlanPolicy drop = IPVLAN_POLICY_DROP;
    IpvlanConfig config = { .n_addrs = 1, .policy = &drop };

    start(IPVLAN_L3S);
    rules = g_ptr_array_new_with_free_func((GDestroyNotify)ipvlan_rule_free);
    config.addrs = &a;
    net_add(&there, config);
    config.addrs = &b;
    net_add(&there, config);
    here.n = 1;
    net_add(&here, config);
    config.addrs = &a;
    here.n = 0;
    net_add(&here, config);
    here.n = 2;
    for (int i = 0; i < 2; i++) {
        there.user[i].tells_mac = true;
    }
}

static void stop_filters(void)
{
    g_ptr_array_unref(rules);
    stop();
}

static Frame *from_outside(const char *to, uint16_t dport)
{
    return frame_udp(port_mac, gateway_mac, R, to, 53, dport, 40);
}

static void ask_outside(User *u, const char *from, uint16_t sport)
{
    user_send(u, frame_udp(port_mac, u->mac, from, R, sport, 53, 40));
}

static unsigned got(User *u)
{
    unsigned n = u->got->len;

    g_ptr_array_set_size(u->got, 0);
    return n;
}

static unsigned flows(Net *net)
{
    IpvlanPortInfo info;

    g_assert_true(ipvlan_port_info(net->wire.link, &info));
    return info.flows;
}

/* An answer to what was asked there comes in here; nothing else does. */
static void test_flows(void)
{
    uint64_t packets, bytes;
    IpvlanRule *dns;

    start_filters();
    rule(&there, "dns", "udp dst port 53");
    rule(&here, "first", "tcp");
    dns = rule(&here, "dns", "udp dst port 53");
    ask_outside(&there.user[0], A, 1000);
    ask_outside(&there.user[0], A, 1001);
    ask_outside(&there.user[1], B, 1000);
    assert_fits();
    net_clear(&here);

    g_assert_cmpuint(flows(&here), ==, 3);
    ipvlan_rule_counts(dns, &packets, &bytes);
    g_assert_cmpuint(packets, ==, 3);
    wire_receive(&here.wire, from_outside(A, 1000));
    wire_receive(&here.wire, from_outside(A, 1001));
    wire_receive(&here.wire, from_outside(A, 1002));
    wire_receive(&here.wire, from_outside(B, 1000));
    wire_receive(&here.wire, from_outside(B, 1001));
    g_assert_cmpuint(got(&here.user[0]), ==, 2);
    g_assert_cmpuint(got(&here.user[1]), ==, 1);
    ipvlan_rule_counts(dns, &packets, &bytes);
    g_assert_cmpuint(packets, ==, 6);
    stop_filters();
}

/* Whose flow it is not cannot have to pay for it: it would outlive its payer. */
static void test_foreign_payer(void)
{
    g_autoptr(GVariant) saved = NULL, forged = NULL;
    g_autoptr(GString) text = NULL;

    start_filters();
    rule(&there, "dns", "udp dst port 53");
    rule(&here, "dns", "udp dst port 53");
    ask_outside(&there.user[0], A, 1000);
    saved = g_variant_ref_sink(link_state_save(there.wire.link));
    text = g_variant_print_string(saved, NULL, true);
    g_assert_cmpuint(g_string_replace(text, "uint16 1, uint16 0)]",
                                      "uint16 2, uint16 0)]", 0), ==, 1);
    forged = g_variant_ref_sink(g_variant_new_parsed(text->str));
    g_assert_false(link_state_load(here.wire.link, forged, NULL));
    g_assert_cmpuint(flows(&here), ==, 0);
    stop_filters();
}

/* Who pays there pays here, and it expires as it would have there. */
static void test_flow_expiry(void)
{
    IpvlanSlaveInfo info;

    start_filters();
    rule(&there, "dns", "udp dst port 53");
    rule(&here, "dns", "udp dst port 53");
    ask_outside(&there.user[1], B, 1000);
    clock_advance(20 * NS_PER_S);
    assert_fits();
    ipvlan_slave_info(here.user[1].link, &info);
    g_assert_cmpuint(info.flows, ==, 1);
    clock_advance(9 * NS_PER_S);
    g_assert_cmpuint(flows(&here), ==, 1);
    clock_advance(2 * NS_PER_S);
    g_assert_cmpuint(flows(&there), ==, 0);
    g_assert_cmpuint(flows(&here), ==, 0);
    stop_filters();
}

/* A rule that says something else here has not accepted it. */
static void test_other_rule(void)
{
    start_filters();
    rule(&there, "dns", "udp dst port 53");
    rule(&here, "dns", "udp port 53");
    ask_outside(&there.user[0], A, 1000);
    assert_misfit("'up0': it has no rule slave=,direction=out,action=accept,"
                  "match='udp dst port 53',id=dns here (and 1 more)");
    g_assert_cmpuint(flows(&here), ==, 0);
    stop_filters();
}

/* Between siblings, each of whom has been accepted for. */
static void test_sibling_flow(void)
{
    start_filters();
    rule(&there, "all", NULL);
    rule(&here, "all", NULL);
    for (Net *net = &there; net; net = net == &there ? &here : NULL) {
        IpvlanRule *in = ipvlan_rule_new(&(IpvlanRuleConfig) {
            .name = "in", .direction = IPVLAN_IN, .match = "udp dst port 7",
        }, NULL);

        ipvlan_rule_attach(in, net->wire.link, NULL);
        g_ptr_array_add(rules, in);
    }
    user_send(&there.user[0], frame_udp(port_mac, there.user[0].mac, A, B, 9,
                                        7, 40));
    assert_fits();
    net_clear(&here);
    user_send(&here.user[1], frame_udp(port_mac, here.user[1].mac, B, A, 7, 9,
                                       40));
    g_assert_cmpuint(got(&here.user[0]), ==, 1);
    user_send(&here.user[1], frame_udp(port_mac, here.user[1].mac, B, A, 8, 9,
                                       40));
    g_assert_cmpuint(got(&here.user[0]), ==, 0);
    stop_filters();
}

/* A full table, in a reasonable time and size. */
static void test_full_table(void)
{
    g_autoptr(GBytes) bytes = NULL;

    start_filters();
    rule(&there, "all", NULL);
    rule(&here, "all", NULL);
    for (unsigned i = 0; i < FLOW_MAX; i++) {
        user_send(&there.user[0],
                  frame_udp(port_mac, there.user[0].mac, A, R, i, 1000, 40));
        if (i % 4096 == 0) {
            net_clear(&there);
        }
    }
    g_assert_cmpuint(flows(&there), ==, FLOW_MAX);
    bytes = save();
    g_test_message("%zu bytes", g_bytes_get_size(bytes));
    g_assert_cmpuint(g_bytes_get_size(bytes), <, FLOW_MAX * 64);
    assert_fits();
    g_assert_cmpuint(flows(&here), ==, FLOW_MAX);
    stop_filters();
}

/* l2 here, l3s there: what there is no use for is left alone. */
static void test_other_mode(void)
{
    start_filters();
    rule(&there, "dns", "udp dst port 53");
    ask_outside(&there.user[0], A, 1000);
    net_close(&here);
    net_init(&here, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    here.injects = true;
    net_learner(&here);
    net_learner(&here);
    assert_fits();
    stop_filters();
}

/* --- what cannot be ------------------------------------------------------- */

static void test_empty(void)
{
    g_autoptr(GVariant) v = g_variant_ref_sink(
        g_variant_new_parsed("@a{sv} {}"));

    start_learners();
    user_send(&here.user[0], arp_announce(here.user[0].mac, A));
    g_assert_true(link_state_load(here.wire.link, v, NULL));
    g_assert_nonnull(net_owner_of(&here, A));
    stop();
}

/* Entries of other types, and that nobody knows. */
static void test_other_types(void)
{
    g_autoptr(GVariant) v = g_variant_ref_sink(g_variant_new_parsed(
        "{'stats': <'no'>, 'port': <{'mac': <[byte 1, 2]>, 'flows': <7>}>,"
        " 'links': <[('n0', 'ipvlan', {'addresses': <'none'>, 'x': <1>,"
        " 'mac': <[byte 1, 2, 3, 4, 5, 6]>, 'contested': <-1>})]>}"));
    IpvlanSlaveInfo info;

    start_learners();
    g_assert_true(link_state_load(here.wire.link, v, NULL));
    ipvlan_slave_info(here.user[0].link, &info);
    g_assert_null(info.mac);
    stop();
}

/* Of one address of n0's. */
static GVariant *address_state(const char *addr)
{
    g_autofree char *text = g_strdup_printf(
        "{'links': <[('n0', 'ipvlan', {'addresses': <@a(ayyxxx) [%s]>})]>}",
        addr);

    return g_variant_ref_sink(g_variant_new_parsed(text));
}

/* However old it says it is, and however long it is leased. */
static void test_far_times(void)
{
    static const char *const times[] = {
        "9223372036854775807, 9223372036854775807, 9223372036854775807",
        "-9223372036854775808, -9223372036854775808, -9223372036854775808",
        "0, 0, 9223372036854775807",
        "0, 9223372036854775807, 9223372036854775000",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(times); i++) {
        g_autofree char *text = g_strdup_printf("([byte 10, 0, 0, 1], 3, %s)",
                                                times[i]);
        g_autoptr(GVariant) v = address_state(text);

        start_learners();
        g_assert_true(link_state_load(here.wire.link, v, NULL));
        g_assert_cmpuint(net_addresses(&here.user[0]), ==, 1);
        clock_advance(NS_PER_S);
        g_variant_unref(g_variant_ref_sink(link_state_save(here.wire.link)));
        stop();
    }
}

/* A lease is no longer than DHCP can say. */
static void test_long_lease(void)
{
    g_autoptr(GVariant) v = address_state(
        "([byte 10, 0, 0, 1], 3, 0, 0, 9223372036854775807)");

    start_learners();
    g_assert_true(link_state_load(here.wire.link, v, NULL));
    clock_advance((UINT32_MAX - INT64_C(1)) * NS_PER_S);
    g_assert_cmpuint(net_addresses(&here.user[0]), ==, 1);
    clock_advance(NS_PER_S);
    g_assert_cmpuint(net_addresses(&here.user[0]), ==, 0);
    stop();
    harness_reset();            /* that was 136 years */
}

static void test_lies(void)
{
    static const char *const lies[] = {
        "([byte 1, 2, 3], 1, 0, 0, 0)",
        "([byte 127, 0, 0, 1], 1, 0, 0, 0)",
        "([byte 10, 0, 0, 1], 0, 0, 0, 0)",
        "([byte 10, 0, 0, 1], 200, 0, 0, 0)",
    };

    start_learners();
    for (unsigned i = 0; i < G_N_ELEMENTS(lies); i++) {
        g_autoptr(GVariant) v = address_state(lies[i]);

        g_assert_false(link_state_load(here.wire.link, v, NULL));
        g_assert_cmpuint(net_addresses(&here.user[0]), ==, 0);
    }
    stop();
}

/* Bytes that have changed on the way: whatever comes of it, we go on. */
static void test_damaged(void)
{
    g_autoptr(GBytes) bytes = NULL;
    unsigned loaded = 0;

    start_filters();
    rule(&there, "all", NULL);
    rule(&here, "all", NULL);
    for (unsigned i = 0; i < 20; i++) {
        ask_outside(&there.user[i % 2], i % 2 ? B : A, i);
    }
    net_clear(&there);
    bytes = save();
    for (unsigned i = 0; i < 20000; i++) {
        gsize len;
        g_autofree uint8_t *copy = NULL;
        g_autoptr(GBytes) damaged = NULL;
        g_autoptr(GVariant) v = NULL;
        const uint8_t *data = g_bytes_get_data(bytes, &len);

        copy = g_memdup2(data, len);
        for (int n = g_test_rand_int_range(1, 4); n; n--) {
            copy[g_test_rand_int_range(0, len)] ^=
                1 << g_test_rand_int_range(0, 8);
        }
        damaged = g_bytes_new(copy, len);
        v = from_bytes(damaged);
        if (g_variant_is_normal_form(v)) {
            link_state_load(here.wire.link, v, NULL);
            loaded++;
        }
    }
    g_assert_cmpuint(loaded, >, 1000);
    /* and what is whole makes up for it */
    assert_fits();
    net_clear(&here);
    wire_receive(&here.wire, from_outside(A, 2));
    g_assert_cmpuint(got(&here.user[0]), ==, 1);
    stop_filters();
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/vlink/state/addresses", test_addresses);
    g_test_add_func("/vlink/state/expiry", test_expiry);
    g_test_add_func("/vlink/state/replaces", test_replaces);
    g_test_add_func("/vlink/state/dhcp", test_dhcp);
    g_test_add_func("/vlink/state/not-owned", test_not_owned);
    g_test_add_func("/vlink/state/static-here", test_static_here);
    g_test_add_func("/vlink/state/other-slaves", test_other_slaves);
    g_test_add_func("/vlink/state/port-mac", test_port_mac);
    g_test_add_func("/vlink/state/guard", test_guard);
    g_test_add_func("/vlink/state/counters", test_counters);
    g_test_add_func("/vlink/state/unknown-reason", test_unknown_reason);
    g_test_add_func("/vlink/state/user", test_user);
    g_test_add_func("/vlink/state/mac-l2", test_mac_l2);
    g_test_add_func("/vlink/state/flows", test_flows);
    g_test_add_func("/vlink/state/foreign-payer", test_foreign_payer);
    g_test_add_func("/vlink/state/flow-expiry", test_flow_expiry);
    g_test_add_func("/vlink/state/other-rule", test_other_rule);
    g_test_add_func("/vlink/state/sibling-flow", test_sibling_flow);
    g_test_add_func("/vlink/state/full-table", test_full_table);
    g_test_add_func("/vlink/state/other-mode", test_other_mode);
    g_test_add_func("/vlink/state/empty", test_empty);
    g_test_add_func("/vlink/state/other-types", test_other_types);
    g_test_add_func("/vlink/state/far-times", test_far_times);
    g_test_add_func("/vlink/state/long-lease", test_long_lease);
    g_test_add_func("/vlink/state/lies", test_lies);
    g_test_add_func("/vlink/state/damaged", test_damaged);
    return g_test_run();
}
