/*
 * What a machine that comes here says that its links know
 *
 * A port with some history is given a state: any bytes, its own with some of
 * them changed, or one that is made up entry by entry.  migrate.c loads only
 * what has the right digest and is in normal form; whoever forges a stream has
 * both, so here everything is put into normal form and loaded.
 *
 * Then frames pass, and what the port saves can be loaded by it again, as a
 * whole, and saved as the same bytes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fuzz.h"
#include "grammar.h"
#include "libvlink/ipvlan/port.h"
#include "libvlink/state.h"

#define CHANGES_MAX 32
#define ENTRIES_MAX 8
#define RULE "tcp or udp"

typedef struct Run {
    Input *in;
    Net net;
    IpvlanRule *rule;
} Run;

/* --- a port with a history ------------------------------------------------ */

static void add_rule(Run *r)
{
    IpvlanRuleConfig config = { .match = RULE, .direction = IPVLAN_BOTH };

    if (r->net.mode == IPVLAN_L3S) {
        r->rule = ipvlan_rule_new(&config, NULL);
        ipvlan_rule_attach(r->rule, r->net.wire.link, NULL);
    }
}

static void note_all(Run *r)
{
    for (unsigned i = 0; i < r->net.wire.sent->len; i++) {
        fuzz_note(r->net.wire.sent->pdata[i]);
    }
    for (unsigned i = 0; i < r->net.n; i++) {
        GPtrArray *got = r->net.user[i].got;

        for (unsigned j = 0; j < got->len; j++) {
            fuzz_note(got->pdata[j]);
        }
    }
    net_clear(&r->net);
}

static void send_some(Run *r)
{
    unsigned n = in_below(r->in, 8);

    while (n--) {
        unsigned who = in_below(r->in, NET_USERS);
        Speaker s = who >= r->net.n ? grammar_outsider(r->in)
                                    : grammar_speaker(r->in, &r->net, who);
        Made m = grammar_frame(r->in, &s);

        if (who >= r->net.n) {
            wire_receive(&r->net.wire, m.frame);
        } else {
            user_send(&r->net.user[who], m.frame);
        }
    }
    note_all(r);
    clock_advance(in8(r->in) * NS_PER_S / 8);
}

/* --- states --------------------------------------------------------------- */

static GBytes *save(const Run *r)
{
    g_autoptr(GVariant) v =
        g_variant_ref_sink(link_state_save(r->net.wire.link));

    return g_variant_get_data_as_bytes(v);
}

/*
 * Counters may say anything.  But the harness counts, too, what has passed
 * here, so afterwards they are again what they were.
 */
static bool load_state(Run *r, GVariant *state, GError **err)
{
    Link *link = r->net.wire.link;
    LinkStats lower = link->stats, deleted = link->deleted, stats[NET_USERS];
    bool all;

    for (unsigned i = 0; i < r->net.n; i++) {
        stats[i] = r->net.user[i].link->stats;
    }
    all = link_state_load(link, state, err);
    link->stats = lower;
    link->deleted = deleted;
    for (unsigned i = 0; i < r->net.n; i++) {
        r->net.user[i].link->stats = stats[i];
    }
    return all;
}

/* False where not all of it fits. */
static bool load(Run *r, GBytes *bytes)
{
    g_autoptr(GVariant) v = g_variant_ref_sink(
        g_variant_new_from_bytes(LINK_STATE_TYPE, bytes, false));
    g_autoptr(GVariant) normal = g_variant_get_normal_form(v);
    g_autoptr(GError) err = NULL;
    bool all = load_state(r, normal, &err);

    g_assert_true(all == !err);
    return all;
}

static GBytes *any_bytes(Input *in)
{
    g_autofree uint8_t *b = g_malloc(in->len + 1);
    size_t len = in->len;

    in_bytes(in, b, len);
    return g_bytes_new(b, len);
}

/* Its own, but for some bytes. */
static GBytes *changed(Run *r)
{
    g_autoptr(GBytes) own = save(r);
    gsize len;
    const void *data = g_bytes_get_data(own, &len);
    uint8_t *b = g_memdup2(data, len);
    unsigned n = in_below(r->in, CHANGES_MAX);

    while (n-- && len) {
        unsigned at = in16(r->in) % len;

        b[at] = in8(r->in);
    }
    return g_bytes_new_take(b, len);
}

/* --- entry by entry ------------------------------------------------------- */

/* Durations: none, ordinary ones, and those at the end of what there is. */
static int64_t any_time(Input *in)
{
    unsigned n = in8(in);

    switch (n % 5) {
    case 0:
        return n * NS_PER_S;
    case 1:
        return INT64_MAX - n;
    case 2:
        return INT64_MIN + n;
    case 3:
        return -(int64_t)n;
    default:
        return n;
    }
}

static GVariant *any_array(Input *in, unsigned len)
{
    uint8_t b[32];

    in_bytes(in, b, sizeof(b));
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, b,
                                     MIN(len, sizeof(b)), 1);
}

static GVariant *any_address(Input *in)
{
    unsigned how = in8(in);
    IpAddr a;

    if (how >= 224) {
        return any_array(in, how % 20);
    }
    a = ip(grammar_ip(in, how & 1));
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, a.b,
                                     ip_bits(a.family) / 8, 1);
}

static GVariant *any_addresses(Input *in)
{
    unsigned n = in_below(in, ENTRIES_MAX);
    GVariantBuilder b;

    g_variant_builder_init(&b, G_VARIANT_TYPE("a(ayyxxx)"));
    while (n--) {
        GVariant *addr = any_address(in);
        uint8_t origin = in_below(in, 7);
        int64_t age = any_time(in), idle = any_time(in), lease = any_time(in);

        g_variant_builder_add(&b, "(@ayyxxx)", addr, origin, age, idle,
                              lease);
    }
    return g_variant_builder_end(&b);
}

static const char *any_name(Input *in)
{
    static const char *const names[] = { "n0", "n1", "n2", "n3", "up0", "" };

    return in_pick(in, names);
}

static void add_entry(Input *in, GVariantBuilder *b)
{
    static const char *const keys[] = {
        "mac", "guard-mac", "dhcp-xid", "router", "contested", "stats",
    };
    const char *key = in_pick(in, keys);

    switch (in8(in) % 6) {
    case 0:
        g_variant_builder_add(b, "{sv}", key, any_array(in, 6));
        break;
    case 1:
        g_variant_builder_add(b, "{sv}", key, any_array(in, in_below(in, 8)));
        break;
    case 2:
        g_variant_builder_add(b, "{sv}", key,
                              g_variant_new_boolean(in8(in) & 1));
        break;
    case 3:
        g_variant_builder_add(b, "{sv}", key,
                              g_variant_new_uint64(any_time(in)));
        break;
    default:
        g_variant_builder_add(b, "{sv}", "addresses", any_addresses(in));
    }
}

static GVariant *any_link(Input *in)
{
    unsigned n = in_below(in, ENTRIES_MAX);
    const char *name = any_name(in);
    GVariantBuilder b;

    g_variant_builder_init(&b, LINK_STATE_TYPE);
    while (n--) {
        add_entry(in, &b);
    }
    return g_variant_new("(ssa{sv})", name, in8(in) < 250 ? "ipvlan" : "veth",
                         &b);
}

/* As filter-state.c has them. */
static GVariant *any_flow(Input *in)
{
    uint64_t addr[4];
    uint16_t port[2] = { in16(in), in16(in) };
    bool v6 = in8(in) & 1;
    static const uint8_t protos[] = { 6, 17, 1, 58, 47 };
    uint8_t proto = in_pick(in, protos);
    uint16_t kind = flow_kind(v6 ? IP_V6 : IP_V4, proto, FLOW_CLASS_WHOLE);
    uint8_t state, originator;

    for (int i = 0; i < 2; i++) {
        IpAddr a = ip(grammar_ip(in, v6));

        addr[2 * i] = GUINT64_FROM_BE(a.q[0]);
        addr[2 * i + 1] = GUINT64_FROM_BE(a.q[1]);
    }
    if (in8(in) >= 240) {
        kind = in16(in);
    }
    state = in_below(in, 24);
    originator = in_below(in, 3);
    return g_variant_new("(ttttqqqqqyyuqqqq)", addr[0], addr[1], addr[2],
                         addr[3], port[0], port[1], in_below(in, 5),
                         in_below(in, 5), kind, state, originator,
                         (uint32_t)any_time(in), in_below(in, 3),
                         in_below(in, 3), in_below(in, 5), 0);
}

static void add_flows(Run *r, GVariantBuilder *b)
{
    unsigned n = in_below(r->in, 2 * ENTRIES_MAX);
    const char *text = r->rule ? filter_rule_text(r->rule) : RULE;
    const char *slaves[] = {
        any_name(r->in), any_name(r->in), any_name(r->in),
    };
    GVariantBuilder flows;

    g_variant_builder_add(b, "{sv}", "slaves",
                          g_variant_new_strv(slaves, 3));
    g_variant_builder_add(b, "{sv}", "rules",
                          g_variant_new_parsed("[(%s, %t, %t)]", text,
                                               (guint64)any_time(r->in),
                                               (guint64)any_time(r->in)));
    g_variant_builder_init(&flows, G_VARIANT_TYPE("a(ttttqqqqqyyuqqqq)"));
    while (n--) {
        g_variant_builder_add_value(&flows, any_flow(r->in));
    }
    g_variant_builder_add(b, "{sv}", "flows", g_variant_builder_end(&flows));
}

static GVariant *any_port(Run *r)
{
    GVariantBuilder b;

    g_variant_builder_init(&b, LINK_STATE_TYPE);
    if (in8(r->in) & 1) {
        g_variant_builder_add(&b, "{sv}", "mac", any_array(r->in, 6));
    }
    add_flows(r, &b);
    return g_variant_builder_end(&b);
}

static GBytes *made_up(Run *r)
{
    unsigned n = in_below(r->in, ENTRIES_MAX);
    g_autoptr(GVariant) v = NULL;
    GVariantBuilder b, links;

    g_variant_builder_init(&b, LINK_STATE_TYPE);
    g_variant_builder_add(&b, "{sv}", "port", any_port(r));
    g_variant_builder_init(&links, G_VARIANT_TYPE("a(ssa{sv})"));
    while (n--) {
        g_variant_builder_add_value(&links, any_link(r->in));
    }
    g_variant_builder_add(&b, "{sv}", "links", g_variant_builder_end(&links));
    v = g_variant_ref_sink(g_variant_builder_end(&b));
    return g_variant_get_data_as_bytes(v);
}

static GBytes *any_state(Run *r)
{
    unsigned how = in8(r->in);

    return how < 96 ? changed(r) : how < 208 ? made_up(r) : any_bytes(r->in);
}

/* --- all of it ------------------------------------------------------------ */

/*
 * What it knows need not fit, because it may have been told nonsense; what is
 * left of it does.
 */
static void check_stable(Run *r)
{
    g_autoptr(GBytes) first = save(r), second = NULL, third = NULL;

    load(r, first);
    second = save(r);
    g_assert_true(load(r, second));
    third = save(r);
    g_assert_true(g_bytes_equal(second, third));
    fuzz_note_bytes(g_bytes_get_data(third, NULL), g_bytes_get_size(third));
}

void fuzz_one(Input *in)
{
    Run r = { .in = in };
    g_autoptr(GBytes) state = NULL;

    grammar_net(in, &r.net, 4);
    add_rule(&r);
    send_some(&r);
    state = any_state(&r);
    load(&r, state);
    send_some(&r);
    check_stable(&r);
    net_clear(&r.net);
    if (r.rule) {
        ipvlan_rule_free(r.rule);
    }
    net_fini(&r.net);
}
