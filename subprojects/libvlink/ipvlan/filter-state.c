/*
 * The flows that a filter keeps track of, to be taken elsewhere
 *
 * Slaves and rules have other numbers and addresses elsewhere.  So flows name
 * slaves by their places in a list of names, and rules by theirs in a list of
 * what they say: a flow goes on where the rule that has accepted it is the
 * same.  Fragments of datagrams that are on their way stay behind.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../state.h"
#include "port.h"

/* As its type says, so that an array of them is copied and not built. */
typedef struct FlowRecord {
    uint64_t addr[4];           /* of both ends, as big-endian numbers */
    uint16_t port[2];
    uint16_t slave[2];          /* place in the list, from 1 on; 0: uplink */
    uint16_t kind;
    uint8_t state;
    uint8_t originator;
    uint32_t left;              /* ticks until it expires */
    uint16_t rule[2];           /* place in the list, from 1 on; 0: none */
    uint16_t payer;             /* as slave[] */
    uint16_t zero;
} FlowRecord;

#define RECORD_TYPE G_VARIANT_TYPE("(ttttqqqqqyyuqqqq)")

G_STATIC_ASSERT(sizeof(FlowRecord) == 56);

/* --- saving --------------------------------------------------------------- */

/* What is at a place in a list has an index there; 0 is nothing. */
static uint16_t place(GHashTable *places, const void *what)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(places, what));
}

static void put_place(GHashTable *places, void *what)
{
    g_hash_table_insert(places, what,
                        GUINT_TO_POINTER(g_hash_table_size(places) + 1));
}

static FlowRecord record_of(const Flow *f, uint16_t payer,
                            const uint16_t *by_id, GHashTable *rules,
                            uint32_t now)
{
    FlowRecord r = {
        .port = { f->q[4], f->q[4] >> 16 },
        .slave = { by_id[flow_slave(f, 0)], by_id[flow_slave(f, 1)] },
        .kind = f->kind, .state = f->state, .originator = f->originator,
        .left = f->deadline - now,
        .rule = { place(rules, f->rule[0]), place(rules, f->rule[1]) },
        .payer = payer,
    };

    for (int i = 0; i < 4; i++) {
        r.addr[i] = GUINT64_FROM_BE(f->q[i]);
    }
    return r;
}

static GVariant *save_flows(const IpvlanPort *port, const uint16_t *by_id,
                            GHashTable *rules)
{
    const FlowTable *t = &port->filter.flows;
    g_autoptr(GArray) records = g_array_new(false, false, sizeof(FlowRecord));
    uint32_t now = filter_tick(port);

    for (GList *l = port->slaves.head; l; l = l->next) {
        const FilterSlave *slave = &((IpvlanSlave *)l->data)->filter;

        for (const Flow *f = NULL; (f = flow_next(t, &slave->payer, f)); ) {
            if (flow_is_live(f, now)) {
                FlowRecord r = record_of(f, by_id[slave->id], by_id, rules,
                                         now);

                g_array_append_val(records, r);
            }
        }
    }
    return g_variant_new_fixed_array(RECORD_TYPE, records->data, records->len,
                                     sizeof(FlowRecord));
}

static GVariant *save_slaves(const IpvlanPort *port, uint16_t *by_id)
{
    GVariantBuilder names;
    uint16_t n = 0;

    g_variant_builder_init(&names, G_VARIANT_TYPE_STRING_ARRAY);
    for (GList *l = port->slaves.head; l; l = l->next) {
        const IpvlanSlave *slave = l->data;

        g_variant_builder_add(&names, "s", slave->link->name);
        by_id[slave->filter.id] = ++n;
    }
    return g_variant_builder_end(&names);
}

static GVariant *save_rules(const Filter *f, GHashTable *places)
{
    GVariantBuilder rules;

    g_variant_builder_init(&rules, G_VARIANT_TYPE("a(stt)"));
    for (unsigned i = 0; i < f->rules->len; i++) {
        IpvlanRule *rule = g_ptr_array_index(f->rules, i);
        uint64_t packets, bytes;

        ipvlan_rule_counts(rule, &packets, &bytes);
        g_variant_builder_add(&rules, "(stt)", filter_rule_text(rule),
                              packets, bytes);
        put_place(places, rule);
    }
    return g_variant_builder_end(&rules);
}

void filter_save(const IpvlanPort *port, GVariantBuilder *out)
{
    const Filter *f = &port->filter;
    g_autoptr(GHashTable) rules = NULL;
    g_autofree uint16_t *by_id = NULL;

    if (port->mode != IPVLAN_L3S) {
        return;
    }
    rules = g_hash_table_new(NULL, NULL);
    by_id = g_new0(uint16_t, f->slaves->len);
    g_variant_builder_add(out, "{sv}", "slaves", save_slaves(port, by_id));
    g_variant_builder_add(out, "{sv}", "rules", save_rules(f, rules));
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): g_autofree frees by_id */
    g_variant_builder_add(out, "{sv}", "flows",
                          save_flows(port, by_id, rules));
}

/* --- loading -------------------------------------------------------------- */

/* What is here at the places that records have; NULL: not here. */
typedef struct Places {
    IpvlanPort *port;
    GPtrArray *slaves;          /* of IpvlanSlave; [0]: NULL */
    GPtrArray *rules;           /* of IpvlanRule; [0]: NULL */
} Places;

/* False where there should be something, and it is not here. */
static bool look_up(const GPtrArray *places, uint16_t at, void *found)
{
    void *what = at < places->len ? g_ptr_array_index(places, at) : NULL;

    *(void **)found = what;
    return what || !at;
}

static IpvlanRule *find_rule(const Filter *f, const char *text)
{
    for (unsigned i = 0; i < f->rules->len; i++) {
        IpvlanRule *rule = g_ptr_array_index(f->rules, i);

        if (g_str_equal(filter_rule_text(rule), text)) {
            return rule;
        }
    }
    return NULL;
}

static void load_slaves(Places *here, GVariant *state)
{
    g_autoptr(GVariantIter) names = NULL;
    const char *name;

    g_ptr_array_add(here->slaves, NULL);
    if (g_variant_lookup(state, "slaves", "as", &names)) {
        while (g_variant_iter_next(names, "&s", &name)) {
            Link *link = link_find_upper(here->port->lower, name);

            g_ptr_array_add(here->slaves, link ? link_priv(link) : NULL);
        }
    }
}

static void load_rules(Places *here, GVariant *state, LinkMisfits *m)
{
    g_autoptr(GVariantIter) rules = NULL;
    uint64_t packets, bytes;
    const char *text;

    g_ptr_array_add(here->rules, NULL);
    if (!g_variant_lookup(state, "rules", "a(stt)", &rules)) {
        return;
    }
    while (g_variant_iter_next(rules, "(&stt)", &text, &packets, &bytes)) {
        IpvlanRule *rule = find_rule(&here->port->filter, text);

        g_ptr_array_add(here->rules, rule);
        if (rule) {
            filter_rule_set_counts(rule, packets, bytes);
        } else {
            link_misfit(m, "it has no rule %s here", text);
        }
    }
}

static bool record_is_sound(const FlowRecord *r)
{
    uint8_t proto = r->kind >> 8;
    IpFamily family = r->kind >> 4 & 15;

    return r->kind == flow_kind(family, proto, FLOW_CLASS_WHOLE) &&
           (family == IP_V4 || family == IP_V6) && r->originator <= 1 &&
           track_is_state_of(r->state, proto) && r->left;
}

/*
 * Which end of a key is the first depends on the order of the host's bytes, so
 * it is made anew.  Returns which one the record's first end is.
 */
static unsigned record_key(const FlowRecord *r, const IpvlanSlave *ends[2],
                           FlowKey *key)
{
    IpAddr addr[2];

    for (int i = 0; i < 2; i++) {
        addr[i] = (IpAddr) {
            .q = { GUINT64_TO_BE(r->addr[2 * i]),
                   GUINT64_TO_BE(r->addr[2 * i + 1]) },
            .family = r->kind >> 4 & 15,
        };
    }
    key->kind = r->kind;
    return flow_key(key, &addr[0], &addr[1], r->port[0], r->port[1],
                    ends[0] ? ends[0]->filter.id : 0,
                    ends[1] ? ends[1]->filter.id : 0);
}

/* False: it does not fit here. */
static bool load_flow(const Places *here, const FlowRecord *r, uint32_t now)
{
    FlowTable *t = &here->port->filter.flows;
    const IpvlanSlave *ends[2];
    IpvlanSlave *payer;
    IpvlanRule *rule[2];
    FlowKey key;
    unsigned first;
    uint32_t hash;
    Flow *f;

    if (!record_is_sound(r) || t->n >= FLOW_MAX ||
        !look_up(here->slaves, r->slave[0], &ends[0]) ||
        !look_up(here->slaves, r->slave[1], &ends[1]) ||
        !look_up(here->slaves, r->payer, &payer) || !payer ||
        (payer != ends[0] && payer != ends[1]) ||
        !look_up(here->rules, r->rule[0], &rule[0]) ||
        !look_up(here->rules, r->rule[1], &rule[1])) {
        return false;
    }
    first = record_key(r, ends, &key);
    hash = flow_hash(t, key.q, key.kind);
    if (flow_find(t, &key, hash)) {
        return false;
    }
    f = flow_insert(t, &key, hash, &payer->filter.payer, r->state, now);
    f->originator = r->originator ^ first;
    f->rule[first] = rule[0];
    f->rule[!first] = rule[1];
    flow_set_deadline(t, f, MIN(f->deadline, now + r->left));
    return true;
}

static void load_flows(const Places *here, GVariant *state, LinkMisfits *m)
{
    g_autoptr(GVariantType) type = g_variant_type_new_array(RECORD_TYPE);
    g_autoptr(GVariant) v = g_variant_lookup_value(state, "flows", type);
    uint32_t now = filter_tick(here->port);
    unsigned left_out = 0;
    const FlowRecord *r;
    gsize n = 0;

    r = v ? g_variant_get_fixed_array(v, &n, sizeof(*r)) : NULL;
    for (gsize i = 0; i < n; i++) {
        left_out += !load_flow(here, &r[i], now);
    }
    if (left_out) {
        link_misfit(m, "%u of %zu flows cannot go on here", left_out, n);
    }
}

void filter_load(IpvlanPort *port, GVariant *state, LinkMisfits *m)
{
    g_autoptr(GPtrArray) slaves = g_ptr_array_new();
    g_autoptr(GPtrArray) rules = g_ptr_array_new();
    Places here = { .port = port, .slaves = slaves, .rules = rules };

    if (port->mode == IPVLAN_L3S) {
        flow_forget_all(&port->filter.flows);
        load_slaves(&here, state);
        load_rules(&here, state, m);
        load_flows(&here, state, m);
        filter_loaded(port);
    }
}
