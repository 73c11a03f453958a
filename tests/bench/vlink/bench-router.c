/*
 * l3 and l3s beside l2: what it costs to be a router, and a filter
 *
 * As in bench-path.c each iteration takes a frame of a small ring and writes
 * something random into it, here one of 10,000 flows: which slaves, and the
 * source port.  All modes get the same flows.
 *
 *   sibling  from one slave to the next
 *   send     from a slave to the gateway
 *   receive  from the gateway to a slave
 *
 * In l3s there are ten rules, of which the last one accepts; the flows that
 * are "tracked" have been seen before, "by rules" means that they come to the
 * policy, behind all of the rules, each time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "common.h"

#define RING 64
#define FLOWS 10000
#define SLAVES 16
#define RULES 10
#define FIRST_PORT 2000

typedef enum Way {
    SIBLING,
    SEND,
    RECEIVE,
} Way;

/* How a port is set up. */
typedef struct Kind {
    const char *name;
    IpvlanMode mode;
    bool tracks;                /* the last of its rules accepts */
} Kind;

static const Kind kinds[] = {
    { "l2", IPVLAN_L2 },
    { "l2-macnat", IPVLAN_L2_MACNAT },
    { "l3", IPVLAN_L3 },
    { "l3s tracked", IPVLAN_L3S, true },
    { "l3s by rules", IPVLAN_L3S },
};

/* A net with its addresses and rules, and the flows that go through it. */
typedef struct Flows {
    const Kind *kind;
    BenchNet *net;
    IpvlanRule *rules[RULES];
    Way way;
    uint8_t family;
    Frame *ring[RING];
    unsigned at;
    uint64_t x;
    unsigned src, dst;          /* where the last byte of an address is */
} Flows;

/* --- flows ---------------------------------------------------------------- */

/* A slave's addresses end in its number, and one more. */
static uint8_t last_byte(unsigned slave)
{
    return slave + 1;
}

static const uint8_t *dst_mac(const Flows *flows, unsigned to)
{
    const BenchNet *net = flows->net;
    bool own = net->mode == IPVLAN_L2_MACNAT;

    if (flows->way == SEND && net->mode < IPVLAN_L3) {
        return bench_gateway_mac;
    }
    return own && flows->way == SIBLING ? net->user[to].mac : bench_port_mac;
}

/* Packets of one flow go in one direction here, and that is the first one's. */
static inline Frame *make(Flows *flows, BenchUser **user)
{
    BenchNet *net = flows->net;
    Frame *f = flows->ring[flows->at++ % RING];
    unsigned i = bench_random(&flows->x) % FLOWS;
    unsigned from = i % SLAVES, to = from ^ 1;
    unsigned port = FIRST_PORT + i / SLAVES;
    uint8_t *l4 = f->data + flows->dst + 1;

    *user = &net->user[from];
    memcpy(f->data, dst_mac(flows, to), ETHER_ADDR_LEN);
    memcpy(f->data + ETHER_ADDR_LEN,
           flows->way == RECEIVE ? bench_gateway_mac : (*user)->mac,
           ETHER_ADDR_LEN);
    if (flows->way != RECEIVE) {
        f->data[flows->src] = last_byte(from);
    }
    if (flows->way != SEND) {
        f->data[flows->dst] = last_byte(to);
    }
    l4[0] = port >> 8;
    l4[1] = port;
    return f;
}

static void run(void *opaque, unsigned n)
{
    Flows *flows = opaque;

    while (n--) {
        BenchUser *user;
        const Frame *f = make(flows, &user);

        if (flows->way == RECEIVE) {
            bench_receive(flows->net, f);
        } else {
            bench_xmit(user, f);
        }
    }
}

static void overhead(void *opaque, unsigned n)
{
    Flows *flows = opaque;

    while (n--) {
        BenchUser *user;

        bench_keep(make(flows, &user)->data);
        bench_keep(user);
    }
}

/* --- a router ------------------------------------------------------------- */

static void add_address(Link *link, const char *text, unsigned slave)
{
    IpPrefix p = prefix(text);
    g_autoptr(GError) err = NULL;

    p.addr.b[p.addr.family == IP_V4 ? 3 : 15] = last_byte(slave);
    if (ipvlan_addr_add(link, &p, &err) < 0) {
        g_error("%s", err->message);
    }
}

static void add_rules(Flows *r)
{
    for (unsigned i = 0; i < RULES; i++) {
        bool last = r->kind->tracks && i == RULES - 1;
        g_autofree char *match = g_strdup_printf("tcp dst port %u", 7000 + i);
        g_autoptr(GError) err = NULL;

        r->rules[i] = ipvlan_rule_new(&(IpvlanRuleConfig) {
            .priority = i, .direction = IPVLAN_BOTH,
            .action = last ? IPVLAN_ACCEPT : IPVLAN_DROP,
            .match = last ? NULL : match,
        }, &err);
        if (!r->rules[i] ||
            ipvlan_rule_attach(r->rules[i], r->net->wire, &err) < 0) {
            g_error("%s", err->message);
        }
    }
}

/* The guests' MAC addresses, and in l3 the gateways', are known from here. */
static void introduce(Flows *r)
{
    BenchNet *net = r->net;
    IpAddr own = ip_link_local_from_mac(bench_port_mac);
    char ll[IP_STR_MAX];
    Frame *f;

    for (unsigned i = 0; i < SLAVES; i++) {
        BenchUser *u = &net->user[i];
        char addr[32];

        g_snprintf(addr, sizeof(addr), "10.0.0.%u", last_byte(i));
        f = udp(bench_port_mac, u->mac, addr, "198.51.100.9");
        bench_xmit(u, f);
        frame_free(f);
    }
    f = udp(bench_port_mac, net->user[0].mac, "fd00::1", "2001:db8::9");
    bench_xmit(&net->user[0], f);
    frame_free(f);
    f = arp_reply(bench_port_mac, bench_gateway_mac, "10.0.0.254",
                  "10.0.0.1");
    bench_receive(net, f);
    frame_free(f);
    f = nd_advert(bench_port_mac, bench_gateway_mac, "fd00::fe",
                  ip_format(&own, ll));
    frame_set8(f, frame_offsets(f).l4 + 4, 0x60);
    bench_receive(net, frame_checksum(f));
    frame_free(f);
    bench_run_work();
}

static void router_init(Flows *r)
{
    IpAddr gateways[] = { ip("10.0.0.254"), ip("fd00::fe") };
    IpvlanConfig config = {
        .learn = IPVLAN_LEARN_OFF, .guard = IPVLAN_GUARD_ON, .max_addrs = 1,
    };

    if (r->kind->mode >= IPVLAN_L3) {
        config.gateways = gateways;
        config.n_gateways = G_N_ELEMENTS(gateways);
    }
    r->net = bench_net_new_with(r->kind->mode, SLAVES, config);
    for (unsigned i = 0; i < SLAVES; i++) {
        add_address(r->net->user[i].link, "10.0.0.1", i);
        add_address(r->net->user[i].link, "fd00::1", i);
    }
    introduce(r);
    if (r->kind->mode == IPVLAN_L3S) {
        add_rules(r);
    }
}

static void router_fini(Flows *r)
{
    for (unsigned i = 0; i < RULES; i++) {
        g_clear_pointer(&r->rules[i], ipvlan_rule_free);
    }
    bench_net_free(r->net);
}

/* --- cases ---------------------------------------------------------------- */

static Frame *flow_frame(uint8_t family, Way way, bool tcp)
{
    bool v4 = family == IP_V4;
    const char *near = v4 ? "10.0.0.1" : "fd00::1";
    const char *far = way == SIBLING ? near :
                      v4 ? "198.51.100.9" : "2001:db8::9";
    const char *src = way == RECEIVE ? far : near;
    const char *dst = way == RECEIVE ? near : far;
    Frame *f;

    if (!tcp) {
        return udp(bench_port_mac, bench_gateway_mac, src, dst);
    }
    f = frame_tcp(bench_port_mac, bench_gateway_mac, src, dst, 10);
    return frame_checksum(frame_set8(f, frame_offsets(f).l4 + 13, 0x10));
}

/* Is what is measured what was meant?  Every flow is seen once by this. */
static void check(Flows *flows)
{
    BenchNet *net = flows->net;
    unsigned n = 20 * FLOWS;
    uint64_t before = net->sent, got = 0;
    bool out = flows->way == SEND;

    for (unsigned i = 0; i < net->n_users; i++) {
        net->user[i].got = 0;
    }
    run(flows, n);
    for (unsigned i = 0; i < net->n_users; i++) {
        got += net->user[i].got;
    }
    if (net->sent - before != (out ? n : 0) || got != (out ? 0 : n)) {
        g_error("%s: of %u frames, %" PRIu64 " were sent and %" PRIu64
                " delivered", flows->kind->name, n, net->sent - before,
                got);
    }
}

static void add_case(GArray *cases, GPtrArray *all, const Kind *kind,
                     Way way, uint8_t family, bool tcp)
{
    static const char *const ways[] = { "sibling", "send", "receive" };
    Flows *flows = g_new0(Flows, 1);

    *flows = (Flows) {
        .kind = kind, .way = way, .family = family, .x = 88172645463325252,
        .src = 14 + (family == IP_V4 ? 15 : 23),
        .dst = 14 + (family == IP_V4 ? 19 : 39),
    };
    for (unsigned i = 0; i < RING; i++) {
        flows->ring[i] = flow_frame(family, way, tcp);
    }
    router_init(flows);
    check(flows);
    g_ptr_array_add(all, flows);
    bench_add(cases, (BenchCase) {
        .what = g_strdup_printf("router/%s/IPv%d/%s/%s", ways[way], family,
                                tcp ? "TCP" : "UDP", kind->name),
        .unit = "ns", .run = run, .overhead = overhead, .opaque = flows,
    });
}

static void flows_free(void *opaque)
{
    Flows *flows = opaque;

    for (unsigned i = 0; i < RING; i++) {
        frame_free(flows->ring[i]);
    }
    router_fini(flows);
    g_free(flows);
}

/* In turn for each kind of packet, so that what is compared is side by side. */
static void add_cases(GArray *cases, GPtrArray *all, Way way, uint8_t family)
{
    for (int tcp = 0; tcp <= 1; tcp++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
            add_case(cases, all, &kinds[i], way, family, tcp);
        }
    }
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(flows_free);
    GArray *cases;

    bench_init(argc, argv);
    cases = bench_cases_new();
    for (Way way = SIBLING; way <= RECEIVE; way++) {
        add_cases(cases, all, way, IP_V4);
        add_cases(cases, all, way, IP_V6);
    }
    bench_run(cases);
    bench_cases_free(cases);
    return 0;
}
