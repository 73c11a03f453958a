/*
 * The stateful filter of l3s: rules, and the flows that they have accepted
 *
 * A flow is remembered once a rule has accepted it, for the slave that it has
 * accepted it for.  A flow between siblings has two ends to be accepted for,
 * and one entry.  What the policy lets through is not remembered: a rule that
 * comes later counts for it at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "match.h"
#include "port.h"

/* Flows that may expire in one call; then others have a turn. */
#define EXPIRE_BUDGET 512

struct IpvlanRule {
    IpvlanPort *port;           /* that it is on, or NULL */
    IpvlanSlave *slave;         /* of slave_name, while there is one */
    char *slave_name;           /* NULL: for all */
    char *text;                 /* see filter_rule_text() */
    uint32_t priority;
    IpvlanDirection direction;
    IpvlanAction action;
    Match match;
    uint64_t packets, bytes;
};

static inline IpvlanRule *rule_at(const Filter *f, unsigned i)
{
    return g_ptr_array_index(f->rules, i);
}

/* --- the clock ----------------------------------------------------------- */

uint32_t filter_tick(const IpvlanPort *port)
{
    return ipvlan_now(port) / FLOW_TICK + 1;
}

/* @port's work is to run at @tick or before. */
static void filter_arm(IpvlanPort *port, uint32_t tick)
{
    Filter *f = &port->filter;

    if (!f->work_tick || tick < f->work_tick) {
        f->work_tick = tick;
        port->lower->platform->work_at(f->work, (tick - 1) * FLOW_TICK);
    }
}

static SLOW_PATH void clock_read(IpvlanPort *port)
{
    port->filter.clock = filter_tick(port);
    filter_arm(port, port->filter.clock + 1);
}

/* Read once a tick at most, and then only when there are packets. */
static inline uint32_t filter_clock(IpvlanPort *port)
{
    if (G_UNLIKELY(!port->filter.clock)) {
        clock_read(port);
    }
    return port->filter.clock;
}

static void filter_work(void *opaque)
{
    IpvlanPort *port = opaque;
    Filter *f = &port->filter;
    uint32_t next;

    f->clock = 0;
    f->work_tick = 0;
    if (!flow_expire(&f->flows, filter_tick(port), EXPIRE_BUDGET)) {
        filter_arm(port, 1);    /* is past, so as soon as possible */
        return;
    }
    next = flow_next_expiry(&f->flows);
    if (next) {
        filter_arm(port, next);
    }
}

void filter_loaded(IpvlanPort *port)
{
    port->filter.clock = 0;
    filter_arm(port, filter_tick(port) + 1);
}

/* --- life and death ------------------------------------------------------ */

static bool has_filter(const IpvlanPort *port)
{
    return port->mode == IPVLAN_L3S;
}

void filter_init(IpvlanPort *port)
{
    Filter *f = &port->filter;

    if (has_filter(port)) {
        f->rules = g_ptr_array_new();
        f->slaves = g_ptr_array_new();
        g_ptr_array_add(f->slaves, NULL);
        f->work = port->lower->platform->work_new(filter_work, port);
        flow_table_init(&f->flows, port->lower->platform);
    }
}

static void filter_set_reach(Filter *f)
{
    f->reach = 0;
    for (unsigned i = 0; i < f->rules->len; i++) {
        f->reach = MAX(f->reach, rule_at(f, i)->match.reach);
    }
}

static void rule_detach(IpvlanRule *rule)
{
    g_ptr_array_remove(rule->port->filter.rules, rule);
    filter_set_reach(&rule->port->filter);
    rule->port = NULL;
    rule->slave = NULL;
}

void filter_destroy(IpvlanPort *port)
{
    Filter *f = &port->filter;

    if (has_filter(port)) {
        while (f->rules->len) {
            rule_detach(rule_at(f, f->rules->len - 1));
        }
        port->lower->platform->work_free(f->work);
        flow_table_destroy(&f->flows);
        g_ptr_array_unref(f->rules);
        g_ptr_array_unref(f->slaves);
        g_free(f->whole);
        *f = (Filter) { .rules = NULL };
    }
}

static void rule_resolve(IpvlanRule *rule, IpvlanSlave *slave)
{
    if (rule->slave_name && g_str_equal(rule->slave_name, slave->link->name)) {
        rule->slave = slave;
    }
}

/* The lowest that is free.  There is memory for fewer slaves than ids. */
static uint16_t slave_id_new(Filter *f)
{
    unsigned id = 1;

    while (id < f->slaves->len && g_ptr_array_index(f->slaves, id)) {
        id++;
    }
    if (id == f->slaves->len) {
        g_assert(id <= UINT16_MAX);
        g_ptr_array_add(f->slaves, NULL);
    }
    return id;
}

void filter_add_slave(IpvlanSlave *slave)
{
    Filter *f = &slave->port->filter;

    if (!has_filter(slave->port)) {
        return;
    }
    slave->filter.id = slave_id_new(f);
    g_ptr_array_index(f->slaves, slave->filter.id) = slave;
    flow_payer_add(&f->flows, &slave->filter.payer);
    for (unsigned i = 0; i < f->rules->len; i++) {
        rule_resolve(rule_at(f, i), slave);
    }
}

void filter_del_slave(IpvlanSlave *slave)
{
    Filter *f = &slave->port->filter;

    if (!has_filter(slave->port)) {
        return;
    }
    flow_forget_slave(&f->flows, slave->filter.id);
    flow_payer_del(&f->flows, &slave->filter.payer);
    g_ptr_array_index(f->slaves, slave->filter.id) = NULL;
    for (unsigned i = 0; i < f->rules->len; i++) {
        if (rule_at(f, i)->slave == slave) {
            rule_at(f, i)->slave = NULL;
        }
    }
    slave->filter = (FilterSlave) { .id = 0 };
}

unsigned filter_flows(const IpvlanPort *port)
{
    return port->filter.flows.n;
}

unsigned filter_slave_flows(const IpvlanSlave *slave)
{
    return slave->filter.payer.n;
}

/* --- rules --------------------------------------------------------------- */

/* The name is last, as it may be anything. */
static char *rule_text(const IpvlanRuleConfig *config)
{
    static const char *const directions[] = { "out", "in", "both" };
    static const char *const actions[] = { "accept", "drop", "reject" };

    return g_strdup_printf("slave=%s,direction=%s,action=%s,match='%s',id=%s",
                           config->slave ?: "", directions[config->direction],
                           actions[config->action], config->match ?: "",
                           config->name ?: "");
}

const char *filter_rule_text(const IpvlanRule *rule)
{
    return rule->text;
}

void filter_rule_set_counts(IpvlanRule *rule, uint64_t packets, uint64_t bytes)
{
    rule->packets = packets;
    rule->bytes = bytes;
}

IpvlanRule *ipvlan_rule_new(const IpvlanRuleConfig *config, GError **err)
{
    IpvlanRule *rule = g_new0(IpvlanRule, 1);

    if (!match_compile(&rule->match, config->match, err)) {
        g_free(rule);
        return NULL;
    }
    rule->slave_name = g_strdup(config->slave);
    rule->text = rule_text(config);
    rule->priority = config->priority;
    rule->direction = config->direction;
    rule->action = config->action;
    return rule;
}

void ipvlan_rule_free(IpvlanRule *rule)
{
    if (rule->port) {
        flow_forget_rule(&rule->port->filter.flows, rule);
        rule_detach(rule);
    }
    match_free(&rule->match);
    g_free(rule->slave_name);
    g_free(rule->text);
    g_free(rule);
}

/* Behind those of its own priority, which are older. */
static void rule_insert(Filter *f, IpvlanRule *rule)
{
    unsigned i = f->rules->len;

    while (i && rule_at(f, i - 1)->priority > rule->priority) {
        i--;
    }
    g_ptr_array_insert(f->rules, i, rule);
}

static int check_attach(const IpvlanRule *rule, const Link *lower,
                        GError **err)
{
    if (rule->port) {
        g_set_error(err, LINK_ERROR, EBUSY, "the rule is on '%s' already",
                    rule->port->lower->name);
        return -EBUSY;
    }
    if (lower->rx_handler != ipvlan_handle_frame) {
        g_set_error(err, LINK_ERROR, EINVAL,
                    "'%s' is no master of ipvlan's slaves", lower->name);
        return -EINVAL;
    }
    if (!has_filter(ipvlan_port(lower))) {
        g_set_error(err, LINK_ERROR, EINVAL, "rules are for mode=l3s, and the "
                    "mode of '%s' is %s", lower->name,
                    ipvlan_mode_name(ipvlan_port(lower)->mode));
        return -EINVAL;
    }
    return 0;
}

int ipvlan_rule_attach(IpvlanRule *rule, Link *lower, GError **err)
{
    int ret = check_attach(rule, lower, err);
    IpvlanPort *port;

    if (ret < 0) {
        return ret;
    }
    port = ipvlan_port(lower);
    rule->port = port;
    rule_insert(&port->filter, rule);
    filter_set_reach(&port->filter);
    for (GList *l = port->slaves.head; l; l = l->next) {
        rule_resolve(rule, l->data);
    }
    if (match_is_far(&rule->match) && !port->filter.whole) {
        port->filter.whole = g_malloc(PACKET_MAX_LEN);
    }
    return 0;
}

bool ipvlan_rule_is_attached(const IpvlanRule *rule)
{
    return rule->port;
}

void ipvlan_rule_counts(const IpvlanRule *rule, uint64_t *packets,
                        uint64_t *bytes)
{
    *packets = rule->packets;
    *bytes = rule->bytes;
}

static inline void rule_count(IpvlanRule *rule, const Packet *p)
{
    rule->packets++;
    rule->bytes += p->len;
}

/* Is it for what goes @direction, OUT or IN, of @slave? */
static bool rule_is_for(const IpvlanRule *rule, const IpvlanSlave *slave,
                        IpvlanDirection direction)
{
    return (rule->direction == direction ||
            rule->direction == IPVLAN_BOTH) &&
           (!rule->slave_name || rule->slave == slave);
}

/* The first one that matches @p; NULL: none, so it is the policy's. */
static SLOW_PATH IpvlanRule *find_rule(const Filter *f, const Packet *p,
                                       const IpvlanSlave *slave,
                                       IpvlanDirection direction)
{
    UNINITIALIZED MatchView view;

    match_view(&view, p, f->whole);
    for (unsigned i = 0; i < f->rules->len; i++) {
        IpvlanRule *rule = rule_at(f, i);

        if (rule_is_for(rule, slave, direction) &&
            match_run(&rule->match, &view)) {
            return rule;
        }
    }
    return NULL;
}

/* --- flows --------------------------------------------------------------- */

static inline uint16_t slave_id(const IpvlanSlave *slave)
{
    return slave ? slave->filter.id : 0;
}

/* The flow of the key, if it has not expired. */
static inline Flow *find_live(IpvlanPort *port, const FlowKey *key,
                              uint32_t hash)
{
    Flow *flow = flow_find(&port->filter.flows, key, hash);

    return flow && G_LIKELY(flow_is_live(flow, filter_clock(port))) ? flow :
           NULL;
}

/* Who has sent the first packet pays, or who has got it. */
static FlowPayer *pass_payer(const FilterPass *pass)
{
    return pass->from ? &pass->from->filter.payer : &pass->to->filter.payer;
}

/* A new flow by @t's key, in the place of what there was before. */
static Flow *flow_new(FilterPass *pass, const Track *t, FlowState state)
{
    Filter *f = &pass->port->filter;
    uint32_t hash = flow_hash(&f->flows, t->key.q, t->key.kind);
    Flow *flow = flow_find(&f->flows, &t->key, hash);

    if (flow) {
        flow_remove(&f->flows, flow);
    }
    flow = flow_insert(&f->flows, &t->key, hash, pass_payer(pass), state,
                       filter_clock(pass->port));
    flow->originator = t->sender;
    flow->rule[0] = pass->rule[0];
    flow->rule[1] = pass->rule[1];
    return flow;
}

/*
 * Is there a flow of @pass's key that goes on, though this packet is no part
 * of it?  A connection that was closed may be opened again.
 */
static bool is_taken(const FilterPass *pass)
{
    const Flow *flow = find_live(pass->port, &pass->track.key, pass->hash);

    return flow && flow->state != FLOW_TCP_TIME_WAIT &&
           flow->state != FLOW_TCP_CLOSE;
}

/*
 * A rule has accepted the packet, all others who were asked have not refused
 * it, and it is about to go.  The flow has to be there before it does: whoever
 * gets it may answer before it comes back.
 */
static SLOW_PATH void remember(FilterPass *pass)
{
    FlowState state;

    if (pass->track.kind != TRACK_PACKET) {
        return;
    }
    if (pass->flow) {
        for (int end = 0; end < 2; end++) {
            pass->flow->rule[end] = pass->flow->rule[end] ?: pass->rule[end];
        }
        return;
    }
    state = track_begin(pass->track.event);
    if (state && !is_taken(pass)) {
        pass->flow = flow_new(pass, &pass->track, state);
        pass->state = state;
        pass->next = state;
        pass->epoch = pass->port->filter.flows.epoch;
    }
}

/* --- passes -------------------------------------------------------------- */

/* Find the flow of which the packet is, and where it leads to. */
static inline void pass_track(FilterPass *pass)
{
    const Track *t = &pass->track;
    Flow *flow = find_live(pass->port, &t->key, pass->hash);

    pass->epoch = pass->port->filter.flows.epoch;
    pass->flow = NULL;
    if (!flow) {
        return;
    }
    pass->state = flow->state;
    pass->next = flow->state;
    if (G_LIKELY(t->kind == TRACK_PACKET)) {
        pass->next = track_next(flow->state, t->event,
                                t->sender != flow->originator);
    }
    pass->flow = pass->next ? flow : NULL;
}

/* The other fragments of the datagram that @p begins are to pass as it does. */
static SLOW_PATH void remember_fragment(FilterPass *pass, const Packet *p)
{
    Track t;

    if (p->layers.l4 && (pass->rule[0] || pass->rule[1])) {
        track_fragment(&t, p, slave_id(pass->from), slave_id(pass->to));
        flow_new(pass, &t, FLOW_FRAGMENT);
    }
}

void filter_begin(FilterPass *pass, IpvlanPort *port, IpvlanSlave *from,
                  IpvlanSlave *to, const Packet *p)
{
    Filter *f = &port->filter;

    pass->from = from;
    pass->to = to;
    pass->port = port;
    pass->flow = NULL;
    pass->rule[0] = NULL;
    pass->rule[1] = NULL;
    pass->fresh = false;
    pass->ruled = f->rules->len;
    pass->track.sender = 0;
    if (!pass->ruled) {
        return;
    }
    track_packet(&pass->track, p, slave_id(from), slave_id(to));
    if (G_LIKELY(pass->track.kind != TRACK_NOTHING)) {
        pass->hash = flow_hash(&f->flows, pass->track.key.q,
                               pass->track.key.kind);
        pass_track(pass);
    }
}

/*
 * @rule, or the policy where it is NULL, refuses @p.  It goes nowhere, so
 * this is all that there is to count.
 */
static IpvlanAction refuse(FilterPass *pass, IpvlanRule *rule,
                           const Packet *p)
{
    IpvlanRule *other = pass->rule[0] ?: pass->rule[1];

    if (rule) {
        rule_count(rule, p);
    }
    if (other && other != rule) {
        rule_count(other, p);
    }
    return rule ? rule->action : IPVLAN_DROP;
}

static IpvlanAction ask(FilterPass *pass, unsigned end, const Packet *p,
                        const IpvlanSlave *slave, IpvlanDirection direction)
{
    IpvlanPolicy policy = pass->port->policy;
    IpvlanRule *rule = NULL;

    if (pass->ruled) {
        rule = find_rule(&pass->port->filter, p, slave, direction);
    }
    if (rule ? rule->action != IPVLAN_ACCEPT
             : policy != IPVLAN_POLICY_ACCEPT) {
        return refuse(pass, rule, p);
    }
    pass->rule[end] = rule;
    pass->fresh |= rule != NULL;
    return IPVLAN_ACCEPT;
}

/* May @p go @direction of @slave, who is at @end of its flow? */
static inline IpvlanAction cross(FilterPass *pass, unsigned end,
                                 const Packet *p, const IpvlanSlave *slave,
                                 IpvlanDirection direction)
{
    const Flow *flow = pass->flow;

    if (G_LIKELY(flow && flow->rule[end])) {
        pass->rule[end] = flow->rule[end];
        return IPVLAN_ACCEPT;
    }
    return ask(pass, end, p, slave, direction);
}

/* Nobody else is to be asked. */
static inline void cross_last(FilterPass *pass, const Packet *p)
{
    if (G_UNLIKELY(pass->fresh)) {
        remember(pass);
    }
    if (G_UNLIKELY(p->layers.fragment)) {
        remember_fragment(pass, p);
    }
}

IpvlanAction filter_out(FilterPass *pass, const Packet *p)
{
    IpvlanAction action = cross(pass, pass->track.sender, p, pass->from,
                                IPVLAN_OUT);

    if (!pass->to && action == IPVLAN_ACCEPT) {
        cross_last(pass, p);
    }
    return action;
}

IpvlanAction filter_in(FilterPass *pass, Packet *p)
{
    IpvlanAction action = cross(pass, !pass->track.sender, p, pass->to,
                                IPVLAN_IN);

    if (action == IPVLAN_ACCEPT) {
        cross_last(pass, p);
    }
    return action;
}

/*
 * Flows were removed while the packet was on its way: its own perhaps, to make
 * room.
 */
static SLOW_PATH void pass_track_again(FilterPass *pass)
{
    pass->hash = flow_hash(&pass->port->filter.flows, pass->track.key.q,
                           pass->track.key.kind);
    pass_track(pass);
}

/* Written to only where it is not so already, which is seldom. */
static inline void flow_go_on(FilterPass *pass)
{
    Flow *flow = pass->flow;
    uint32_t now = filter_clock(pass->port);

    /* unless an answer has come already, and was later than this */
    if (G_UNLIKELY(pass->next != pass->state && flow->state == pass->state)) {
        flow_set_state(&pass->port->filter.flows, flow, pass->next, now);
    } else if (flow->deadline != flow_deadline(flow->state, now)) {
        flow->deadline = flow_deadline(flow->state, now);
    }
}

/* A rule that has let it out and in has decided about one packet. */
void filter_end(FilterPass *pass, const Packet *p)
{
    if (pass->flow &&
        G_UNLIKELY(pass->epoch != pass->port->filter.flows.epoch)) {
        pass_track_again(pass);
    }
    if (pass->flow && pass->track.kind != TRACK_ERROR) {
        flow_go_on(pass);
    }
    if (pass->rule[0]) {
        rule_count(pass->rule[0], p);
    }
    if (pass->rule[1] && pass->rule[1] != pass->rule[0]) {
        rule_count(pass->rule[1], p);
    }
}
