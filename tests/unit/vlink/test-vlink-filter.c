/*
 * The stateful filter of l3s: rules, flows, replies
 *
 * Packets are put to the filter as route.c does it, and nothing is sent: what
 * counts is what the filter says.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "libvlink/ipvlan/port.h"

#define SYN 2
#define SYNACK 0x12
#define ACK 0x10
#define DATA 0x18
#define FIN 0x11
#define RST 4

#define A "10.0.0.1"            /* the first user's */
#define B "10.0.0.2"            /* the second one's */
#define R "192.0.2.9"           /* somebody behind the uplink */
#define R2 "192.0.2.10"
#define A6 "2001:db8::1"
#define R6 "2001:db8:9::9"

static Net net;
static User *a, *b;
static GPtrArray *rules;        /* of IpvlanRule, attached */

static void start(IpvlanPolicy policy)
{
    IpPrefix pa = prefix(A), pb = prefix(B);

    net_init(&net, IPVLAN_L3S, IPVLAN_BRIDGE);
    a = net_add(&net, (IpvlanConfig) {
        .addrs = &pa, .n_addrs = 1, .policy = &policy,
    });
    b = net_add(&net, (IpvlanConfig) { .addrs = &pb, .n_addrs = 1 });
    rules = g_ptr_array_new_with_free_func((GDestroyNotify)ipvlan_rule_free);
}

static void stop(void)
{
    g_ptr_array_unref(rules);
    net_fini(&net);
}

static IpvlanPort *port(void)
{
    return ipvlan_port(net.wire.link);
}

static IpvlanSlave *slave_of(const User *u)
{
    return u ? link_priv(u->link) : NULL;
}

static unsigned flows(void)
{
    IpvlanPortInfo info;

    g_assert_true(ipvlan_port_info(net.wire.link, &info));
    return info.flows;
}

static unsigned flows_of(const User *u)
{
    IpvlanSlaveInfo info;

    ipvlan_slave_info(u->link, &info);
    return info.flows;
}

static IpvlanRule *rule_new(IpvlanRuleConfig config)
{
    g_autoptr(GError) err = NULL;
    IpvlanRule *rule = ipvlan_rule_new(&config, &err);

    g_assert_no_error(err);
    return rule;
}

static IpvlanRule *rule(uint32_t priority, IpvlanDirection direction,
                        const char *match, IpvlanAction action)
{
    g_autoptr(GError) err = NULL;
    IpvlanRule *r = rule_new((IpvlanRuleConfig) {
        .priority = priority, .direction = direction, .match = match,
        .action = action,
    });

    ipvlan_rule_attach(r, net.wire.link, &err);
    g_assert_no_error(err);
    g_ptr_array_add(rules, r);
    return r;
}

static void assert_counts(const IpvlanRule *r, uint64_t packets,
                          uint64_t bytes)
{
    uint64_t p, n;

    ipvlan_rule_counts(r, &p, &n);
    g_assert_cmpuint(p, ==, packets);
    g_assert_cmpuint(n, ==, bytes);
}

static uint64_t packets(const IpvlanRule *r)
{
    uint64_t p, n;

    ipvlan_rule_counts(r, &p, &n);
    return p;
}

/* --- packets ------------------------------------------------------------- */

static Frame *tcp(const char *sip, uint16_t sport, const char *dip,
                  uint16_t dport, uint8_t flags)
{
    Frame *f = frame_tcp(gateway_mac, port_mac, sip, dip, 30);
    unsigned l4 = frame_offsets(f).l4;

    frame_set16(f, l4, sport);
    frame_set16(f, l4 + 2, dport);
    frame_set8(f, l4 + 13, flags);
    return f;
}

static Frame *udp_ports(const char *sip, uint16_t sport, const char *dip,
                        uint16_t dport)
{
    return frame_udp(gateway_mac, port_mac, sip, dip, sport, dport, 40);
}

static Frame *icmp(const char *sip, const char *dip, uint8_t type,
                   uint16_t id, unsigned payload)
{
    uint8_t proto = strchr(sip, ':') ? 58 : 1;
    Frame *f = frame_ip(gateway_mac, port_mac, sip, dip, proto, 8 + payload);
    unsigned l4 = frame_offsets(f).l4;

    frame_set8(f, l4, type);
    frame_set8(f, l4 + 1, 0);
    return frame_set16(f, l4 + 4, id);
}

static Frame *echo(const char *sip, const char *dip, uint16_t id)
{
    return icmp(sip, dip, strchr(sip, ':') ? 128 : 8, id, 48);
}

static Frame *echo_reply(const char *sip, const char *dip, uint16_t id)
{
    return icmp(sip, dip, strchr(sip, ':') ? 129 : 0, id, 48);
}

/* An error of @type that quotes @len bytes of @f's, which is freed. */
static Frame *icmp_error(const char *sip, const char *dip, uint8_t type,
                         Frame *f, unsigned len)
{
    Frame *e = icmp(sip, dip, type, 0, len);

    g_assert_cmpuint(len, <=, f->len - 14);
    memcpy(e->data + frame_offsets(e).l4 + 8, f->data + 14, len);
    frame_free(f);
    return e;
}

/* --- putting them to the filter ------------------------------------------ */

static unsigned piece;          /* bytes in each iovec, 0: all in one */

static void packet_of(Packet *p, const Frame *f, struct iovec *iov)
{
    unsigned cnt = 0;

    for (unsigned off = 0; off < f->len; off += iov[cnt++].iov_len) {
        iov[cnt] = (struct iovec) {
            f->data + off, piece ? MIN(piece, f->len - off) : f->len,
        };
    }
    packet_init(p, iov, cnt);
    g_assert_cmpint(packet_parse(p), ==, DROP_NONE);
}

static IpvlanAction ask(FilterPass *pass, User *from, User *to, Packet *p)
{
    IpvlanAction action = IPVLAN_ACCEPT;

    memset(pass, 0xa5, sizeof(*pass));
    filter_begin(pass, port(), slave_of(from), slave_of(to), p);
    if (from) {
        action = filter_out(pass, p);
    }
    if (to && action == IPVLAN_ACCEPT) {
        action = filter_in(pass, p);
    }
    return action;
}

/* @f goes, or does not; it is freed. */
static IpvlanAction cross(User *from, User *to, Frame *f)
{
    g_autofree struct iovec *iov = g_new(struct iovec, f->len);
    FilterPass pass;
    Packet p;
    IpvlanAction action;

    packet_of(&p, f, iov);
    action = ask(&pass, from, to, &p);
    if (action == IPVLAN_ACCEPT) {
        filter_end(&pass, &p);
    }
    frame_free(f);
    return action;
}

/* It is accepted, and then whoever was to take it is busy. */
static void cross_busy(User *from, User *to, Frame *f)
{
    g_autofree struct iovec *iov = g_new(struct iovec, f->len);
    FilterPass pass;
    Packet p;

    packet_of(&p, f, iov);
    g_assert_cmpint(ask(&pass, from, to, &p), ==, IPVLAN_ACCEPT);
    frame_free(f);
}

#define assert_passes(from, to, f) \
    g_assert_cmpint(cross(from, to, f), ==, IPVLAN_ACCEPT)
#define assert_dropped(from, to, f) \
    g_assert_cmpint(cross(from, to, f), ==, IPVLAN_DROP)

/* TCP between port 4000 of A and port 80 of R, out and in. */
static IpvlanAction out(uint8_t flags)
{
    return cross(a, NULL, tcp(A, 4000, R, 80, flags));
}

static IpvlanAction in(uint8_t flags)
{
    return cross(NULL, a, tcp(R, 80, A, 4000, flags));
}

#define assert_out(flags) g_assert_cmpint(out(flags), ==, IPVLAN_ACCEPT)
#define assert_in(flags) g_assert_cmpint(in(flags), ==, IPVLAN_ACCEPT)
#define refuse_out(flags) g_assert_cmpint(out(flags), ==, IPVLAN_DROP)
#define refuse_in(flags) g_assert_cmpint(in(flags), ==, IPVLAN_DROP)

/* The only flow expires @s seconds from now, and not before. */
static void assert_expires_in(unsigned s)
{
    g_assert_cmpuint(flows(), ==, 1);
    clock_advance(s * NS_PER_S - NS_PER_S / 10);
    g_assert_cmpuint(flows(), ==, 1);
    clock_advance(NS_PER_S);
    g_assert_cmpuint(flows(), ==, 0);
}

/* --- rules --------------------------------------------------------------- */

static void test_policy(void)
{
    start(IPVLAN_POLICY_ACCEPT);
    assert_passes(a, NULL, udp_ports(A, 1, R, 2));
    assert_passes(NULL, b, udp_ports(R, 1, B, 2));
    assert_passes(a, b, udp_ports(A, 1, B, 2));
    rule(1, IPVLAN_BOTH, "tcp", IPVLAN_ACCEPT);
    assert_passes(a, NULL, udp_ports(A, 1, R, 2));
    g_assert_cmpuint(flows(), ==, 0);
    stop();

    start(IPVLAN_POLICY_DROP);
    assert_dropped(a, NULL, udp_ports(A, 1, R, 2));
    assert_dropped(NULL, b, udp_ports(R, 1, B, 2));
    assert_dropped(a, b, udp_ports(A, 1, B, 2));
    rule(1, IPVLAN_BOTH, "tcp", IPVLAN_ACCEPT);
    assert_dropped(a, NULL, udp_ports(A, 1, R, 2));
    g_assert_cmpuint(flows(), ==, 0);
    stop();
}

static void test_priority(void)
{
    IpvlanRule *late, *early, *first, *second;

    start(IPVLAN_POLICY_ACCEPT);
    late = rule(20, IPVLAN_BOTH, "udp", IPVLAN_DROP);
    assert_dropped(a, NULL, udp_ports(A, 1, R, 2));
    early = rule(10, IPVLAN_BOTH, "udp", IPVLAN_REJECT);
    g_assert_cmpint(cross(a, NULL, udp_ports(A, 1, R, 2)), ==,
                    IPVLAN_REJECT);
    assert_counts(late, 1, 82);
    assert_counts(early, 1, 82);

    /* of two with the same, the older one */
    first = rule(5, IPVLAN_BOTH, "udp dst port 2", IPVLAN_ACCEPT);
    second = rule(5, IPVLAN_BOTH, "udp", IPVLAN_DROP);
    assert_passes(a, NULL, udp_ports(A, 1, R, 2));
    assert_dropped(a, NULL, udp_ports(A, 1, R, 3));
    assert_counts(first, 1, 82);
    assert_counts(second, 1, 82);
    assert_counts(early, 1, 82);

    /* no expression: every packet */
    rule(0, IPVLAN_BOTH, NULL, IPVLAN_DROP);
    assert_dropped(NULL, a, tcp(R, 1, A, 2, SYN));
    rule(UINT32_MAX, IPVLAN_BOTH, "", IPVLAN_ACCEPT);
    assert_dropped(NULL, a, tcp(R, 1, A, 2, SYN));
    stop();
}

static void test_direction(void)
{
    IpvlanRule *r_out, *r_in;

    start(IPVLAN_POLICY_DROP);
    r_out = rule(1, IPVLAN_OUT, "udp port 5", IPVLAN_ACCEPT);
    r_in = rule(1, IPVLAN_IN, "udp port 6", IPVLAN_ACCEPT);
    assert_passes(a, NULL, udp_ports(A, 1, R, 5));
    assert_dropped(NULL, a, udp_ports(R, 1, A, 5));
    assert_passes(NULL, a, udp_ports(R, 1, A, 6));
    assert_dropped(a, NULL, udp_ports(A, 1, R, 6));
    g_assert_cmpuint(packets(r_out), ==, 1);
    g_assert_cmpuint(packets(r_in), ==, 1);
    stop();
}

static void test_slave_rule(void)
{
    g_autoptr(GError) err = NULL;
    IpPrefix pc = prefix("10.0.0.3");
    IpvlanRule *r;
    User *c;

    start(IPVLAN_POLICY_DROP);
    r = rule_new((IpvlanRuleConfig) {
        .slave = "n2", .direction = IPVLAN_BOTH, .action = IPVLAN_ACCEPT,
    });
    ipvlan_rule_attach(r, net.wire.link, &err);
    g_assert_no_error(err);
    assert_dropped(a, NULL, udp_ports(A, 1, R, 5));

    /* it is for whoever comes by that name */
    c = net_add(&net, (IpvlanConfig) { .addrs = &pc, .n_addrs = 1 });
    g_assert_cmpstr(c->link->name, ==, "n2");
    assert_passes(c, NULL, udp_ports("10.0.0.3", 1, R, 5));
    assert_passes(NULL, c, udp_ports(R, 7, "10.0.0.3", 1));
    assert_dropped(a, NULL, udp_ports(A, 1, R, 5));
    assert_dropped(a, c, udp_ports(A, 1, "10.0.0.3", 5));
    assert_dropped(c, a, udp_ports("10.0.0.3", 1, A, 5));
    net_del(c);
    g_assert_true(ipvlan_rule_is_attached(r));
    g_assert_cmpuint(flows(), ==, 0);
    net.n--;
    c = net_add(&net, (IpvlanConfig) { .addrs = &pc, .n_addrs = 1 });
    assert_passes(c, NULL, udp_ports("10.0.0.3", 1, R, 5));
    g_assert_cmpuint(packets(r), ==, 4);
    ipvlan_rule_free(r);
    assert_dropped(c, NULL, udp_ports("10.0.0.3", 1, R, 5));
    stop();
}

static void test_siblings(void)
{
    IpvlanRule *r_out, *r_in, *r;

    start(IPVLAN_POLICY_DROP);
    r_out = rule(1, IPVLAN_OUT, "tcp dst port 80", IPVLAN_ACCEPT);
    assert_dropped(a, b, tcp(A, 4000, B, 80, SYN));
    g_assert_cmpuint(flows(), ==, 0);
    r_in = rule(1, IPVLAN_IN, "tcp dst port 80", IPVLAN_ACCEPT);
    assert_passes(a, b, tcp(A, 4000, B, 80, SYN));
    g_assert_cmpuint(flows(), ==, 1);
    g_assert_cmpuint(flows_of(a), ==, 1);
    g_assert_cmpuint(flows_of(b), ==, 0);
    assert_passes(b, a, tcp(B, 80, A, 4000, SYNACK));
    assert_passes(a, b, tcp(A, 4000, B, 80, ACK));
    g_assert_cmpuint(packets(r_out), ==, 4);
    g_assert_cmpuint(packets(r_in), ==, 3);

    /* it was accepted as sibling traffic, not as the uplink's */
    assert_dropped(NULL, a, tcp(B, 80, A, 4000, ACK));
    assert_dropped(b, NULL, tcp(B, 80, A, 4000, ACK));

    /* the rule that has accepted it for one end goes */
    g_ptr_array_remove(rules, r_in);
    g_assert_cmpuint(flows(), ==, 0);
    assert_dropped(a, b, tcp(A, 4000, B, 80, ACK));
    assert_dropped(b, a, tcp(B, 80, A, 4000, ACK));

    /* one for both directions counts a packet once */
    r = rule(0, IPVLAN_BOTH, "udp", IPVLAN_ACCEPT);
    assert_passes(a, b, udp_ports(A, 1, B, 2));
    assert_passes(b, a, udp_ports(B, 2, A, 1));
    assert_counts(r, 2, 164);
    stop();
}

/* One end by a rule, the other one by the policy: rules that come count. */
static void test_half_flow(void)
{
    IpvlanRule *drop, *accept;

    start(IPVLAN_POLICY_ACCEPT);
    rule(1, IPVLAN_OUT, "tcp dst port 80", IPVLAN_ACCEPT);
    assert_passes(a, b, tcp(A, 4000, B, 80, SYN));
    assert_passes(b, a, tcp(B, 80, A, 4000, SYNACK));
    assert_passes(a, b, tcp(A, 4000, B, 80, ACK));
    drop = rule(1, IPVLAN_BOTH, "tcp port 80", IPVLAN_DROP);
    assert_dropped(a, b, tcp(A, 4000, B, 80, ACK));
    assert_dropped(b, a, tcp(B, 80, A, 4000, ACK));
    g_assert_cmpuint(packets(drop), ==, 2);
    g_assert_cmpuint(flows(), ==, 1);
    g_ptr_array_remove(rules, drop);

    /* one that accepts the other end later does it for good, too */
    accept = rule(1, IPVLAN_IN, "tcp port 80", IPVLAN_ACCEPT);
    assert_passes(a, b, tcp(A, 4000, B, 80, ACK));
    drop = rule(0, IPVLAN_BOTH, "tcp port 80", IPVLAN_DROP);
    assert_passes(a, b, tcp(A, 4000, B, 80, ACK));
    assert_passes(b, a, tcp(B, 80, A, 4000, ACK));
    g_assert_cmpuint(packets(accept), ==, 3);
    g_assert_cmpuint(packets(drop), ==, 0);
    stop();
}

static void test_replies(void)
{
    IpvlanRule *r;

    start(IPVLAN_POLICY_DROP);
    r = rule(1, IPVLAN_OUT, "tcp dst port 80", IPVLAN_ACCEPT);
    refuse_in(SYNACK);
    assert_out(SYN);
    assert_in(SYNACK);
    assert_out(ACK);
    for (int i = 0; i < 10; i++) {
        assert_in(DATA);
        assert_out(ACK);
    }
    assert_counts(r, 23, 23 * 84);
    /* other ports, other addresses, other slaves */
    assert_dropped(NULL, a, tcp(R, 81, A, 4000, ACK));
    assert_dropped(NULL, a, tcp(R, 80, A, 4001, ACK));
    assert_dropped(NULL, a, tcp(R2, 80, A, 4000, ACK));
    assert_dropped(NULL, b, tcp(R, 80, A, 4000, ACK));
    assert_dropped(NULL, a, udp_ports(R, 80, A, 4000));
    g_assert_cmpuint(flows(), ==, 1);
    assert_counts(r, 23, 23 * 84);

    /* what begins outside is refused until it is asked for */
    assert_dropped(NULL, a, tcp(R, 80, A, 5000, SYN));
    assert_passes(a, NULL, tcp(A, 5000, R, 80, SYN));
    assert_passes(NULL, a, tcp(R, 80, A, 5000, SYNACK));
    g_assert_cmpuint(flows(), ==, 2);
    stop();
}

static void test_accept_later(void)
{
    IpvlanRule *r;

    /* a stream that was there before is picked up in the middle */
    start(IPVLAN_POLICY_DROP);
    refuse_out(DATA);
    r = rule(1, IPVLAN_OUT, "tcp dst port 80", IPVLAN_ACCEPT);
    refuse_in(DATA);
    assert_out(DATA);
    assert_in(DATA);
    assert_out(ACK);
    g_assert_cmpuint(packets(r), ==, 3);
    /* and goes on if another rule would refuse it now */
    rule(0, IPVLAN_BOTH, "tcp", IPVLAN_DROP);
    assert_in(DATA);
    assert_out(DATA);
    stop();
}

static void test_rule_life(void)
{
    g_autoptr(GError) err = NULL;
    IpvlanMode l2 = IPVLAN_L2;
    Wire wire;
    Link *slave;
    IpvlanRule *r;

    r = rule_new((IpvlanRuleConfig) { .action = IPVLAN_DROP });
    wire_init(&wire, "w");
    g_assert_cmpint(ipvlan_rule_attach(r, wire.link, &err), ==, -EINVAL);
    g_assert_cmpstr(err->message, ==, "'w' is no master of ipvlan's slaves");
    g_clear_error(&err);

    slave = link_new(&test_platform, "ipvlan", "s", wire.link,
                     &(IpvlanConfig) {
                         .mode = &l2, .default_mac = port_mac, .max_addrs = 1,
                     }, &err);
    g_assert_no_error(err);
    g_assert_cmpint(ipvlan_rule_attach(r, wire.link, &err), ==, -EINVAL);
    g_assert_cmpstr(err->message, ==,
                    "rules are for mode=l3s, and the mode of 'w' is l2");
    g_clear_error(&err);
    g_assert_false(ipvlan_rule_is_attached(r));
    link_del(slave);
    wire_fini(&wire);

    /* from port to port */
    for (int i = 0; i < 2; i++) {
        start(IPVLAN_POLICY_ACCEPT);
        g_assert_cmpint(ipvlan_rule_attach(r, net.wire.link, &err), ==, 0);
        g_assert_true(ipvlan_rule_is_attached(r));
        assert_dropped(a, NULL, udp_ports(A, 1, R, 2));
        g_assert_cmpint(ipvlan_rule_attach(r, net.wire.link, &err), ==,
                        -EBUSY);
        g_assert_cmpstr(err->message, ==, "the rule is on 'up0' already");
        g_clear_error(&err);
        stop();
        g_assert_false(ipvlan_rule_is_attached(r));
    }
    g_assert_cmpuint(packets(r), ==, 2);
    ipvlan_rule_free(r);
}

static void test_rule_free(void)
{
    IpvlanRule *r, *other;

    start(IPVLAN_POLICY_DROP);
    r = rule(1, IPVLAN_OUT, "tcp", IPVLAN_ACCEPT);
    other = rule(2, IPVLAN_OUT, "udp", IPVLAN_ACCEPT);
    assert_out(SYN);
    assert_passes(a, NULL, udp_ports(A, 1, R, 2));
    g_assert_cmpuint(flows(), ==, 2);
    g_ptr_array_remove(rules, r);
    g_assert_cmpuint(flows(), ==, 1);
    refuse_in(SYNACK);
    assert_passes(NULL, a, udp_ports(R, 2, A, 1));
    g_assert_cmpuint(packets(other), ==, 2);
    stop();
}

static void test_slave_del(void)
{
    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_BOTH, "udp", IPVLAN_ACCEPT);
    assert_passes(a, b, udp_ports(A, 1, B, 2));
    assert_passes(b, a, udp_ports(B, 3, A, 4));
    assert_passes(a, NULL, udp_ports(A, 5, R, 6));
    g_assert_cmpuint(flows_of(a), ==, 2);
    g_assert_cmpuint(flows_of(b), ==, 1);
    net_del(b);
    g_assert_cmpuint(flows(), ==, 1);
    g_assert_cmpuint(flows_of(a), ==, 1);
    assert_passes(NULL, a, udp_ports(R, 6, A, 5));
    stop();
}

static void test_address_moves(void)
{
    IpPrefix pa = prefix(A);
    IpvlanRule *r;

    start(IPVLAN_POLICY_DROP);
    r = rule(1, IPVLAN_OUT, "tcp", IPVLAN_ACCEPT);
    assert_out(SYN);
    assert_in(SYNACK);
    ipvlan_addr_del(a->link, &pa, NULL);
    ipvlan_addr_add(b->link, &pa, NULL);
    /* b has accepted nothing */
    assert_dropped(NULL, b, tcp(R, 80, A, 4000, ACK));
    assert_passes(b, NULL, tcp(A, 4000, R, 80, ACK));
    assert_passes(NULL, b, tcp(R, 80, A, 4000, ACK));
    g_assert_cmpuint(packets(r), ==, 4);
    g_assert_cmpuint(flows_of(b), ==, 1);
    stop();
}

/* In vepa one packet crosses twice, out to the switch and in again. */
static void test_reflected(void)
{
    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_BOTH, "tcp dst port 80", IPVLAN_ACCEPT);
    for (int i = 0; i < 2; i++) {
        assert_passes(a, NULL, tcp(A, 4000, B, 80, i ? ACK : SYN));
        assert_passes(NULL, b, tcp(A, 4000, B, 80, i ? ACK : SYN));
        assert_passes(b, NULL, tcp(B, 80, A, 4000, i ? ACK : SYNACK));
        assert_passes(NULL, a, tcp(B, 80, A, 4000, i ? ACK : SYNACK));
    }
    g_assert_cmpuint(flows(), ==, 2);
    stop();
}

/* --- expressions --------------------------------------------------------- */

static void test_bad_match(void)
{
    static const struct {
        const char *match, *error;
    } bad[] = {
        { "tcp dst port", "can't parse filter expression: syntax error at its "
                          "end (character 13)" },
        { "tcp prt 22", "can't parse filter expression: syntax error at 'prt' "
                        "(character 5)" },
        { "tcp dst prt 22", "unknown host 'prt' (character 9), names are not "
                            "looked up" },
        { "udp and (tcp", "can't parse filter expression: syntax error at its "
                          "end (character 13)" },
        { "(tcp) and udp) or ip", "can't parse filter expression: syntax "
                                  "error at ')' (character 14)" },
        { "port 99999", "illegal port number 99999 > 65535 at '99999' "
                        "(character 6)" },
        { "net 10.0.0.0/33", "mask length must be <= 32 at '33' "
                             "(character 14)" },
        { "tcp[13 & 2 != 0", "can't parse filter expression: syntax error at "
                             "'!' (character 12)" },
        { "tcp port 22 23", "can't parse filter expression: syntax error at "
                            "'23' (character 13)" },
        { "tcp port nonsense", "unknown port 'nonsense' at 'nonsense' "
                               "(character 10)" },
        { "ip and ip6", "expression rejects all packets (character 1 to 10)" },
        { "host 1.2.3.400", "invalid IPv4 address '1.2.3.400' at '1.2.3.400' "
                            "(character 6)" },
        { "host localhost", "unknown host 'localhost' (character 6), names "
                            "are not looked up" },
        { "host 1.2.3.4 or localhost", "unknown host 'localhost' (character "
                                       "17), names are not looked up" },
        { "src net loopback", "unknown network 'loopback' (character 9), "
                              "names are not looked up" },
        { "inbound", "it asks for what is not in a frame; for which way it "
                     "goes there is direction=" },
        { "ip6 protochain 6", "protochain is a loop that a packet could keep "
                              "running" },
        { "udp or ip protochain 6", "protochain is a loop that a packet could "
                                    "keep running" },
        { "tcp && 'udp'", "can't parse filter expression: syntax error at "
                          "''udp'' (character 8)" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) err = NULL;
        g_autofree char *want = g_strdup_printf("match='%s': %s",
                                                bad[i].match, bad[i].error);
        IpvlanRule *r = ipvlan_rule_new(&(IpvlanRuleConfig) {
            .match = bad[i].match,
        }, &err);

        g_assert_null(r);
        g_assert_cmpstr(err->message, ==, want);
    }
}

/* Every word that is no name of a host. */
static void test_good_match(void)
{
    static const char *const good[] = {
        "tcp dst port 22", "port http or domain", "  ", "ip",
        "host 10.0.0.1 and tcp", "src 1.2.3.4 or dst net 10.0.0.0/8",
        "ether host 00:11:22:33:44:55 and udp", "host fe80::1",
        "dst host 1.2.3.4 and tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
        "src net 10.1 and icmp[icmptype] = icmp-echo", "ip proto \\tcp",
        "dst 1.2.3.4 and (port ftp or ssh)", "src host 1.2.3.4 and len > 0x40",
        "net 10.0.0.0 mask 255.0.0.0 and not icmp",
        "ether src aabbccddeeff or vlan 5",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        ipvlan_rule_free(rule_new((IpvlanRuleConfig) { .match = good[i] }));
    }
}

/* Thousands of words, the wrong one among them, are looked through quickly. */
static void test_long_match(void)
{
    g_autoptr(GString) s = g_string_new("port 1");
    g_autoptr(GError) err = NULL;

    for (int i = 2; i < 300; i++) {
        g_string_append_printf(s, " or port %d%s", i, i == 200 ? " 7" : "");
    }
    g_assert_null(ipvlan_rule_new(&(IpvlanRuleConfig) { .match = s->str },
                                  &err));
    g_assert_nonnull(strstr(err->message, "syntax error at '7' (character "));
}

/* What lies deep in the frame, wherever the pieces end. */
static void test_deep(void)
{
    static const char *const deep[] = {
        "udp[608:2] = 0x1234", "ip[628:2] = 0x1234",
        "udp[udp[8] + 353:2] = 0x1234",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(deep); i++) {
        for (piece = 0; piece < 700; piece += piece ? 133 : 1) {
            IpvlanRule *r;

            start(IPVLAN_POLICY_DROP);
            r = rule(1, IPVLAN_OUT, deep[i], IPVLAN_ACCEPT);
            for (int hit = 0; hit < 2; hit++) {
                Frame *f = frame_udp(gateway_mac, port_mac, A, R, 1, 2, 900);

                frame_set8(f, 42, 255);
                frame_set16(f, 34 + 608, hit ? 0x1234 : 0x1235);
                g_assert_cmpint(cross(a, NULL, f), ==,
                                hit ? IPVLAN_ACCEPT : IPVLAN_DROP);
            }
            /* behind the end of a frame there is nothing */
            assert_dropped(a, NULL, udp_ports(A, 1, R, 3));
            g_assert_cmpuint(packets(r), ==, 1);
            stop();
        }
    }
    piece = 0;
}

/* How far a match reads depends on how long the packet's IP header is. */
static void test_options(void)
{
    for (piece = 0; piece < 100; piece += 33) {
        for (unsigned options = 0; options <= 40; options += 20) {
            Frame *f = frame_udp(gateway_mac, port_mac, A, R, 1, 2, 900);

            frame_set16(f, 34 + 200, 0x1234);
            frame_options(f, options);
            start(IPVLAN_POLICY_DROP);
            rule(1, IPVLAN_OUT, "udp[200:2] = 0x1234", IPVLAN_ACCEPT);
            assert_passes(a, NULL, f);
            stop();
        }
    }
    piece = 0;
}

/* --- flows --------------------------------------------------------------- */

/* A packet that was refused by who is busy changes and counts nothing. */
static void test_busy(void)
{
    IpvlanRule *r;

    start(IPVLAN_POLICY_DROP);
    r = rule(1, IPVLAN_OUT, "tcp", IPVLAN_ACCEPT);
    cross_busy(a, NULL, tcp(A, 4000, R, 80, SYN));
    assert_counts(r, 0, 0);
    assert_out(SYN);
    assert_counts(r, 1, 84);
    assert_in(SYNACK);
    assert_out(ACK);
    cross_busy(a, NULL, tcp(A, 4000, R, 80, RST));
    assert_counts(r, 3, 3 * 84);
    /* it is established still */
    clock_advance(3600 * NS_PER_S);
    assert_in(DATA);
    stop();
}

/* Who gets a packet answers before the one who sent it is done. */
static void test_answer_at_once(void)
{
    struct iovec iov;
    g_autoptr(Frame) syn = NULL;
    FilterPass pass;
    IpvlanRule *r;
    Packet p;

    start(IPVLAN_POLICY_DROP);
    r = rule(1, IPVLAN_OUT, "tcp", IPVLAN_ACCEPT);
    syn = tcp(A, 4000, R, 80, SYN);
    iov = (struct iovec) { syn->data, syn->len };
    packet_init(&p, &iov, 1);
    g_assert_cmpint(packet_parse(&p), ==, DROP_NONE);
    g_assert_cmpint(ask(&pass, a, NULL, &p), ==, IPVLAN_ACCEPT);
    assert_in(SYNACK);
    assert_out(ACK);
    filter_end(&pass, &p);
    assert_counts(r, 3, 3 * 84);
    /* established, not SYN_SENT again */
    clock_advance(3600 * NS_PER_S);
    assert_in(DATA);
    stop();
}

/* A flow goes while one of its packets is on its way. */
static void test_gone_meanwhile(void)
{
    struct iovec iov;
    g_autoptr(Frame) f = NULL;
    FilterPass pass;
    Packet p;

    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_OUT, "udp", IPVLAN_ACCEPT);
    f = udp_ports(A, 1, R, 2);
    iov = (struct iovec) { f->data, f->len };
    packet_init(&p, &iov, 1);
    g_assert_cmpint(packet_parse(&p), ==, DROP_NONE);
    g_assert_cmpint(ask(&pass, a, NULL, &p), ==, IPVLAN_ACCEPT);
    flow_forget_slave(&port()->filter.flows, slave_of(a)->filter.id);
    assert_passes(b, NULL, udp_ports(B, 1, R, 2));
    clock_advance(10 * NS_PER_S);
    filter_end(&pass, &p);
    g_assert_cmpuint(flows_of(a), ==, 0);
    /* b's, which is in its place, has not been touched */
    assert_expires_in(20);
    stop();
}

static void tcp_open(void)
{
    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_OUT, "tcp dst port 80", IPVLAN_ACCEPT);
    assert_out(SYN);
}

static void tcp_establish(void)
{
    tcp_open();
    assert_in(SYNACK);
    assert_out(ACK);
}

static void test_tcp_timeouts(void)
{
    tcp_open();
    assert_expires_in(120);     /* SYN_SENT */
    refuse_in(SYNACK);
    stop();

    tcp_open();
    assert_in(SYNACK);
    assert_expires_in(60);      /* SYN_RECV */
    stop();

    tcp_establish();
    assert_expires_in(5 * 24 * 3600);
    stop();

    tcp_establish();
    assert_out(FIN);
    assert_expires_in(120);     /* FIN_WAIT */
    stop();

    tcp_establish();
    assert_in(FIN);
    assert_expires_in(120);
    stop();

    tcp_establish();
    assert_out(FIN);
    assert_in(ACK);
    assert_expires_in(60);      /* CLOSE_WAIT */
    stop();

    tcp_establish();
    assert_in(FIN);
    assert_in(DATA);            /* its own is no acknowledgement */
    assert_in(FIN);
    assert_out(ACK);
    assert_out(DATA);
    assert_expires_in(60);
    stop();

    tcp_establish();
    assert_out(FIN);
    assert_out(FIN);            /* the same once more */
    assert_in(ACK);
    assert_in(FIN);
    assert_expires_in(30);      /* LAST_ACK */
    stop();

    tcp_establish();
    assert_in(FIN);
    assert_out(FIN);
    assert_in(ACK);
    assert_expires_in(120);     /* TIME_WAIT */
    stop();

    tcp_establish();
    assert_in(RST);
    assert_expires_in(10);      /* CLOSE */
    stop();

    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_OUT, "tcp", IPVLAN_ACCEPT);
    assert_out(DATA);
    assert_expires_in(300);     /* in the middle, one end only */
    stop();
}

/* Every packet begins the time anew. */
static void test_tcp_goes_on(void)
{
    tcp_establish();
    for (int i = 0; i < 10; i++) {
        clock_advance(4 * 24 * 3600 * NS_PER_S);
        if (i % 2) {
            assert_out(ACK);
        } else {
            assert_in(DATA);
        }
    }
    g_assert_cmpuint(flows(), ==, 1);
    assert_expires_in(5 * 24 * 3600);
    stop();
}

static void test_tcp_invalid(void)
{
    IpvlanRule *r;

    /* what begins no connection is remembered by nobody */
    start(IPVLAN_POLICY_DROP);
    r = rule(1, IPVLAN_OUT, "tcp", IPVLAN_ACCEPT);
    assert_out(RST);
    assert_out(SYNACK);
    assert_out(FIN);
    assert_out(SYN | 1);
    assert_out(0);
    assert_out(0x3f);
    g_assert_cmpuint(flows(), ==, 0);
    refuse_in(ACK);
    g_assert_cmpuint(packets(r), ==, 6);
    stop();

    /* nor is it part of one that there is */
    tcp_establish();
    refuse_in(SYN);
    refuse_in(SYN | 1);
    refuse_in(0);
    assert_in(DATA);
    stop();

    /* the other end has an old connection, and says so (RFC 9293, 3.5.1) */
    tcp_open();
    g_ptr_array_set_size(rules, 1);
    rule(0, IPVLAN_OUT, "tcp", IPVLAN_REJECT);
    assert_in(ACK);
    g_assert_cmpint(out(ACK), ==, IPVLAN_REJECT);
    g_assert_cmpint(out(SYNACK), ==, IPVLAN_REJECT);
    g_assert_cmpint(out(FIN), ==, IPVLAN_REJECT);
    refuse_in(FIN);
    assert_out(RST);
    assert_in(FIN);
    assert_expires_in(10);
    stop();

    /* what gets lost is sent once more */
    tcp_open();
    assert_out(SYN);
    assert_in(SYNACK);
    assert_in(SYNACK);
    assert_out(SYN);
    assert_out(ACK);
    assert_in(SYNACK);
    assert_out(FIN);
    assert_in(FIN);
    assert_in(FIN);
    assert_out(ACK);
    assert_in(FIN);
    assert_expires_in(120);
    stop();

    /* two SYNs that cross open one connection, RFC 9293 */
    tcp_open();
    assert_in(SYN);
    assert_out(SYNACK);
    assert_in(SYNACK);
    assert_out(ACK);
    assert_expires_in(5 * 24 * 3600);
    stop();
}

static void test_tcp_again(void)
{
    IpvlanRule *drop;

    /* a closed connection is opened again only if a rule accepts it again */
    tcp_establish();
    assert_out(FIN);
    assert_in(FIN);
    assert_out(ACK);
    drop = rule(0, IPVLAN_OUT, "tcp", IPVLAN_DROP);
    assert_in(ACK);
    refuse_out(SYN);
    g_ptr_array_remove(rules, drop);
    assert_out(SYN);
    g_assert_cmpuint(flows(), ==, 1);
    assert_in(SYNACK);
    assert_out(ACK);
    assert_expires_in(5 * 24 * 3600);
    stop();

    /* who answered may not open one on what is left of it */
    tcp_establish();
    assert_in(RST);
    refuse_in(SYN);
    assert_out(SYN);
    assert_expires_in(120);
    stop();

    /* a SYN in the midst of a connection leaves it as it is */
    tcp_establish();
    assert_out(SYN);
    assert_in(ACK);
    assert_expires_in(5 * 24 * 3600);
    stop();
}

static void test_udp(void)
{
    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_OUT, "udp", IPVLAN_ACCEPT);
    assert_passes(a, NULL, udp_ports(A, 1, R, 2));
    assert_passes(a, NULL, udp_ports(A, 1, R, 2));
    assert_expires_in(30);
    assert_dropped(NULL, a, udp_ports(R, 2, A, 1));

    assert_passes(a, NULL, udp_ports(A, 1, R, 2));
    assert_passes(NULL, a, udp_ports(R, 2, A, 1));
    assert_expires_in(30);      /* a question and an answer */

    assert_passes(a, NULL, udp_ports(A, 1, R, 2));
    assert_passes(NULL, a, udp_ports(R, 2, A, 1));
    assert_passes(a, NULL, udp_ports(A, 1, R, 2));
    assert_passes(NULL, a, udp_ports(R, 2, A, 1));
    assert_expires_in(120);
    stop();
}

static void test_other_protocol(void)
{
    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_OUT, "ip proto 47", IPVLAN_ACCEPT);
    assert_passes(a, NULL, frame_ip(gateway_mac, port_mac, A, R, 47, 60));
    assert_passes(NULL, a, frame_ip(gateway_mac, port_mac, R, A, 47, 60));
    assert_dropped(NULL, a, frame_ip(gateway_mac, port_mac, R, A, 50, 60));
    assert_dropped(NULL, a, frame_ip(gateway_mac, port_mac, R2, A, 47, 60));
    assert_expires_in(600);
    stop();
}

static void test_echo(void)
{
    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_OUT, "icmp or icmp6", IPVLAN_ACCEPT);
    assert_dropped(NULL, a, echo_reply(R, A, 7));
    assert_passes(a, NULL, echo(A, R, 7));
    assert_passes(NULL, a, echo_reply(R, A, 7));
    assert_dropped(NULL, a, echo_reply(R, A, 8));
    assert_dropped(NULL, a, echo_reply(R2, A, 7));
    /* who answers does not get to ask */
    assert_dropped(NULL, a, echo(R, A, 7));
    assert_dropped(NULL, a, echo(R, A, 8));
    assert_expires_in(30);

    assert_passes(a, NULL, echo(A6, R6, 7));
    assert_passes(NULL, a, echo_reply(R6, A6, 7));
    assert_dropped(NULL, a, echo(R6, A6, 7));
    assert_expires_in(30);

    /* an answer that nobody asked for makes no flow, nor does a redirect */
    assert_passes(a, NULL, echo_reply(A, R, 9));
    assert_passes(a, NULL, icmp(A, R, 5, 9, 28));
    assert_passes(a, NULL, icmp(A, R, 13, 9, 28));
    g_assert_cmpuint(flows(), ==, 0);
    stop();
}

static void test_icmp_error(void)
{
    IpvlanRule *r;
    Frame *cut;

    start(IPVLAN_POLICY_DROP);
    r = rule(1, IPVLAN_OUT, "udp dst port 33434", IPVLAN_ACCEPT);
    assert_dropped(NULL, a, icmp_error("203.0.113.1", A, 11,
                                       udp_ports(A, 9, R, 33434), 28));
    assert_passes(a, NULL, udp_ports(A, 9, R, 33434));
    /* from a router on the way, from where it was for, whole or 8 bytes */
    assert_passes(NULL, a, icmp_error("203.0.113.1", A, 11,
                                      udp_ports(A, 9, R, 33434), 28));
    assert_passes(NULL, a, icmp_error(R, A, 3,
                                      udp_ports(A, 9, R, 33434), 68));
    g_assert_cmpuint(packets(r), ==, 3);

    /* forged: not what was sent */
    assert_dropped(NULL, a, icmp_error(R, A, 3,
                                       udp_ports(A, 9, R, 33435), 28));
    assert_dropped(NULL, a, icmp_error(R, A, 3,
                                       udp_ports(A, 8, R, 33434), 28));
    assert_dropped(NULL, a, icmp_error(R, A, 3,
                                       udp_ports(A, 9, R2, 33434), 28));
    assert_dropped(NULL, a, icmp_error(R, A, 3,
                                       tcp(A, 9, R, 33434, ACK), 28));
    /* for somebody else, or as if the other end had sent it */
    assert_dropped(NULL, b, icmp_error(R, B, 3,
                                       udp_ports(A, 9, R, 33434), 28));
    assert_dropped(NULL, b, icmp_error(R, A, 3,
                                       udp_ports(A, 9, R, 33434), 28));
    assert_dropped(NULL, a, icmp_error(R, A, 3,
                                       udp_ports(R, 33434, A, 9), 28));
    assert_dropped(b, a, icmp_error(B, A, 3,
                                    udp_ports(A, 9, R, 33434), 28));
    assert_dropped(NULL, a, icmp_error(R, "10.0.0.9", 3,
                                       udp_ports(A, 9, R, 33434), 28));
    /* what is behind the end of the packet is not quoted */
    cut = icmp_error(R, A, 3, udp_ports(A, 9, R, 33434), 28);
    assert_dropped(NULL, a, frame_set16(cut, 16, 20 + 8 + 27));
    /* cut off, a fragment that is not the first, no error */
    for (unsigned len = 0; len < 28; len++) {
        assert_dropped(NULL, a, icmp_error(R, A, 3,
                                           udp_ports(A, 9, R, 33434), len));
    }
    assert_dropped(NULL, a, icmp_error(R, A, 3,
        frame_fragment(udp_ports(A, 9, R, 33434), 8, false), 28));
    assert_dropped(NULL, a, icmp_error(R, A, 5,
                                       udp_ports(A, 9, R, 33434), 28));

    /* they keep nothing alive */
    clock_advance(20 * NS_PER_S);
    assert_passes(NULL, a, icmp_error(R, A, 3,
                                      udp_ports(A, 9, R, 33434), 28));
    assert_expires_in(10);
    stop();
}

/* A rule that accepts an error has not accepted what it quotes. */
static void test_icmp_error_rule(void)
{
    start(IPVLAN_POLICY_ACCEPT);
    rule(1, IPVLAN_OUT, "udp dst port 2", IPVLAN_ACCEPT);
    rule(1, IPVLAN_OUT, "icmp", IPVLAN_ACCEPT);
    assert_passes(a, b, udp_ports(A, 1, B, 2));
    assert_passes(b, a, icmp_error(B, A, 3, udp_ports(A, 1, B, 2), 28));
    assert_passes(b, a, udp_ports(B, 2, A, 1));
    rule(0, IPVLAN_BOTH, "udp", IPVLAN_DROP);
    assert_dropped(b, a, udp_ports(B, 2, A, 1));
    assert_passes(b, a, icmp_error(B, A, 3, udp_ports(A, 5, B, 6), 28));
    g_assert_cmpuint(flows(), ==, 1);
    stop();
}

/* The other way round: what came in is refused by the guest. */
static void test_icmp_error_out(void)
{
    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_IN, "udp", IPVLAN_ACCEPT);
    assert_dropped(a, NULL, icmp_error(A, R, 3, udp_ports(R, 1, A, 2), 28));
    assert_passes(NULL, a, udp_ports(R, 1, A, 2));
    assert_passes(a, NULL, icmp_error(A, R, 3, udp_ports(R, 1, A, 2), 28));
    assert_dropped(a, NULL, icmp_error(A, R, 3, udp_ports(R, 1, A, 3), 28));

    /* between siblings both have to have been accepted */
    rule(1, IPVLAN_OUT, "udp", IPVLAN_ACCEPT);
    assert_passes(a, b, udp_ports(A, 1, B, 2));
    assert_passes(b, a, icmp_error(B, A, 3, udp_ports(A, 1, B, 2), 28));
    stop();
}

static void test_icmp_error_echo(void)
{
    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_OUT, "icmp[icmptype] = icmp-echo or icmp6 or ip6 proto 17",
         IPVLAN_ACCEPT);
    assert_passes(a, NULL, echo(A, R, 7));
    assert_passes(NULL, a, icmp_error(R2, A, 11, echo(A, R, 7), 28));
    assert_dropped(NULL, a, icmp_error(R2, A, 11, echo(A, R, 8), 28));
    assert_dropped(NULL, a, icmp_error(R2, A, 11, icmp(A, R, 13, 7, 0), 28));

    assert_passes(a, NULL, echo(A6, R6, 7));
    assert_passes(NULL, a, icmp_error(R6, A6, 3, echo(A6, R6, 7), 96));
    assert_dropped(NULL, a, icmp_error(R6, A6, 3, echo(A6, R6, 8), 96));
    assert_dropped(NULL, a, icmp_error(R6, A6, 5, echo(A6, R6, 7), 96));

    /* behind extension headers, and behind too many of them */
    assert_passes(a, NULL, udp_ports(A6, 1, R6, 2));
    for (int n = 0; n < 12; n++) {
        Frame *f = udp_ports(A6, 1, R6, 2);

        for (int i = 0; i < n; i++) {
            frame_ext(f, 60, 8);
        }
        g_assert_cmpint(cross(NULL, a, icmp_error(R6, A6, 2, f, 48 + 8 * n)),
                        ==, n <= 8 ? IPVLAN_ACCEPT : IPVLAN_DROP);
    }
    assert_passes(NULL, a, icmp_error(R6, A6, 2,
        frame_fragment(udp_ports(A6, 1, R6, 2), 0, true), 56));
    assert_dropped(NULL, a, icmp_error(R6, A6, 2,
        frame_fragment(udp_ports(A6, 1, R6, 2), 8, true), 56));
    stop();
}

/* --- fragments ----------------------------------------------------------- */

static Frame *fragment(const char *sip, const char *dip, uint16_t dport,
                       unsigned off, bool more, uint16_t id)
{
    Frame *f = udp_ports(sip, 1, dip, dport);

    frame_fragment(f, off, more);
    return frame_set16(f, strchr(sip, ':') ? 14 + 46 : 14 + 4, id);
}

static void check_fragments(const char *sip, const char *dip)
{
    IpvlanRule *r;

    start(IPVLAN_POLICY_DROP);
    r = rule(1, IPVLAN_OUT, "udp dst port 53 or "
             "(ip6[42:2] & 0xfff8 = 0 and ip6[48:4] = 0x00010035)",
             IPVLAN_ACCEPT);
    /* before the first one has come nobody knows what it is */
    assert_dropped(a, NULL, fragment(sip, dip, 53, 8, false, 5));
    assert_passes(a, NULL, fragment(sip, dip, 53, 0, true, 5));
    assert_passes(a, NULL, fragment(sip, dip, 53, 16, false, 5));
    assert_passes(a, NULL, fragment(sip, dip, 53, 8, true, 5));
    g_assert_cmpuint(packets(r), ==, 3);
    /* another datagram, another way */
    assert_dropped(a, NULL, fragment(sip, dip, 53, 8, false, 6));
    assert_dropped(NULL, a, fragment(dip, sip, 53, 8, false, 5));
    assert_dropped(b, NULL, fragment(sip, dip, 53, 8, false, 5));

    /* what is refused drags nothing along */
    assert_dropped(a, NULL, fragment(sip, dip, 54, 0, true, 7));
    assert_dropped(a, NULL, fragment(sip, dip, 54, 8, false, 7));

    /* a reply in fragments, which has the flow */
    {
        Frame *f = frame_udp(gateway_mac, port_mac, dip, sip, 53, 1, 40);

        frame_fragment(f, 0, true);
        frame_set16(f, strchr(sip, ':') ? 14 + 46 : 14 + 4, 9);
        assert_passes(NULL, a, f);
    }
    assert_passes(NULL, a, fragment(dip, sip, 1, 24, false, 9));
    g_assert_cmpuint(packets(r), ==, 5);

    /* the flow and two datagrams */
    g_assert_cmpuint(flows(), ==, 3);
    clock_advance(31 * NS_PER_S);
    g_assert_cmpuint(flows(), ==, 0);
    assert_dropped(a, NULL, fragment(sip, dip, 53, 24, false, 5));
    stop();
}

static void test_fragments(void)
{
    check_fragments(A, R);
}

static void test_fragments6(void)
{
    Frame *f;

    check_fragments(A6, R6);

    /* other headers stand before the fragment header */
    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_OUT, "ip6[50:2] = 1 and ip6[56:4] = 0x00010035",
         IPVLAN_ACCEPT);
    f = frame_ext(fragment(A6, R6, 53, 0, true, 5), 60, 8);
    assert_passes(a, NULL, f);
    f = frame_ext(fragment(A6, R6, 53, 8, false, 5), 60, 8);
    frame_set16(f, 14 + 56, 0);
    assert_passes(a, NULL, f);
    f = frame_ext(fragment(A6, R6, 53, 8, false, 6), 60, 8);
    frame_set16(f, 14 + 56, 0);
    assert_dropped(a, NULL, f);

    /* an atomic fragment is whole, RFC 6946 */
    rule(1, IPVLAN_OUT, "ip6[48:4] = 0x00010035", IPVLAN_ACCEPT);
    assert_passes(a, NULL, fragment(A6, R6, 53, 0, false, 7));
    assert_passes(NULL, a, udp_ports(R6, 53, A6, 1));
    stop();
}

/* All of it again with frames in small pieces. */
static void test_pieces(void)
{
    for (piece = 1; piece < 40; piece += 6) {
        test_replies();
        test_siblings();
        test_echo();
        test_icmp_error();
        test_icmp_error_echo();
        test_fragments();
        test_fragments6();
        test_tcp_again();
    }
    piece = 0;
}

/* --- bounds -------------------------------------------------------------- */

/* A packet of its own flow for each @n. */
static Frame *nth(const char *sip, unsigned n)
{
    return udp_ports(sip, n, n & 0x10000 ? R2 : R, n >> 17);
}

static void test_flood(void)
{
    unsigned survived = 0;
    gint64 begin, end;

    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_OUT, "udp", IPVLAN_ACCEPT);
    for (unsigned i = 0; i < 1000; i++) {
        assert_passes(b, NULL, nth(B, i));
    }
    begin = g_get_monotonic_time();
    for (unsigned i = 0; i < 100000; i++) {
        assert_passes(a, NULL, nth(A, i));
    }
    end = g_get_monotonic_time();
    g_assert_cmpuint(flows(), ==, FLOW_MAX);
    for (unsigned i = 0; i < 1000; i++) {
        Frame *f = udp_ports(i & 0x10000 ? R2 : R, 0, B, i);

        survived += cross(NULL, b, f) == IPVLAN_ACCEPT;
    }
    g_assert_cmpuint(survived, ==, 1000);
    g_assert_cmpuint(flows_of(b), ==, 1000);
    g_assert_cmpuint(flows_of(a), ==, FLOW_MAX - 1000);
    /* its own oldest have gone */
    assert_dropped(NULL, a, udp_ports(R, 0, A, 0));
    assert_passes(NULL, a, udp_ports(R2, 0, A, 99999 & 0xffff));
    g_test_message("100000 flows of one slave: all %u flows of the other "
                   "stay, %u of its own; %.0f ns a packet of a new flow",
                   survived, flows_of(a), (end - begin) / 100.0);

    /* and all of them expire, a part at a time */
    clock_advance(32 * NS_PER_S);
    g_assert_cmpuint(flows(), ==, 0);
    stop();
}

/* From outside it is who gets it that pays. */
static void test_flood_in(void)
{
    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_BOTH, "udp", IPVLAN_ACCEPT);
    assert_passes(b, NULL, nth(B, 5));
    for (unsigned i = 0; i < FLOW_MAX + 100; i++) {
        Frame *f = udp_ports(i & 0x10000 ? R2 : R, i, A, 5);

        assert_passes(NULL, a, f);
    }
    g_assert_cmpuint(flows_of(b), ==, 1);
    g_assert_cmpuint(flows_of(a), ==, FLOW_MAX - 1);
    /* who comes later is not turned away */
    for (unsigned i = 0; i < 1000; i++) {
        assert_passes(b, NULL, nth(B, 1000 + i));
    }
    g_assert_cmpuint(flows_of(b), ==, 1001);
    stop();
}

/* Who is in use stays, who is idle goes. */
static void test_idle_goes(void)
{
    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_OUT, "udp or tcp", IPVLAN_ACCEPT);
    assert_out(SYN);
    assert_in(SYNACK);
    assert_out(ACK);
    for (unsigned i = 0; i < 2 * FLOW_MAX; i++) {
        assert_passes(a, NULL, nth(A, i));
        if (i % 1000 == 0) {
            clock_advance(NS_PER_S / 100);
            assert_in(DATA);
        }
    }
    g_assert_cmpuint(flows(), ==, FLOW_MAX);
    assert_in(DATA);
    stop();
}

/* Datagrams in fragments do not drive out connections. */
static void test_fragment_flood(void)
{
    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_OUT, "udp dst port 53 or tcp", IPVLAN_ACCEPT);
    assert_out(SYN);
    for (unsigned i = 0; i < 65536; i++) {
        assert_passes(a, NULL, fragment(A, R, 53, 0, true, i));
    }
    g_assert_cmpuint(flows(), ==, 2 + FLOW_MAX_FRAGMENTS);
    assert_in(SYNACK);
    assert_passes(a, NULL, fragment(A, R, 53, 8, false, 65535));
    assert_dropped(a, NULL, fragment(A, R, 53, 8, false, 0));
    stop();
}

/* What makes room for its fragments may be their own flow. */
static void test_fragment_full(void)
{
    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_OUT, "udp", IPVLAN_ACCEPT);
    assert_passes(a, NULL, udp_ports(A, 1, R, 53));
    for (unsigned i = 0; flows() < FLOW_MAX; i++) {
        assert_passes(a, NULL, nth(A, 2 + i));
    }
    assert_passes(NULL, a, udp_ports(R, 53, A, 1));
    assert_passes(a, NULL, fragment(A, R, 53, 0, true, 5));
    assert_dropped(NULL, a, udp_ports(R, 53, A, 1));
    assert_passes(a, NULL, fragment(A, R, 53, 8, false, 5));
    g_assert_cmpuint(flows(), ==, FLOW_MAX);
    clock_advance(32 * NS_PER_S);
    g_assert_cmpuint(flows(), ==, 0);
    stop();
}

/* --- anything ------------------------------------------------------------ */

/* No frame, however broken, does more than be refused. */
static void test_garbage(void)
{
    start(IPVLAN_POLICY_ACCEPT);
    rule(1, IPVLAN_BOTH, "port 53 or udp[udp[4]] = 1 or icmp", IPVLAN_ACCEPT);
    rule(2, IPVLAN_BOTH, "ip[ip[9]] = 5", IPVLAN_DROP);
    for (unsigned i = 0; i < 50000; i++) {
        bool v6 = g_test_rand_int() & 1;
        static const uint8_t protos[] = { 1, 6, 17, 58, 44, 60, 0, 51, 47 };
        unsigned n = g_test_rand_int_range(0, 200);
        Frame *f = frame_ip(gateway_mac, port_mac, v6 ? A6 : A, v6 ? R6 : R,
                            47, n);
        struct iovec iov[2];
        FilterPass pass;
        Packet p;

        for (unsigned k = v6 ? 54 : 34; k < f->len; k++) {
            f->data[k] = g_test_rand_int() & 1 ? g_test_rand_int() :
                         protos[g_test_rand_int_range(0, 9)];
        }
        f->data[v6 ? 20 : 23] = protos[g_test_rand_int_range(0, 9)];
        if (!v6 && i % 3 == 0) {
            frame_set16(f, 20, g_test_rand_int());
        }
        if (n > 60 && i % 2) {
            memcpy(f->data + (v6 ? 54 + 8 : 34 + 8), f->data + 14,
                   v6 ? 40 : 20);
        }
        n = g_test_rand_int_range(1, f->len);
        iov[0] = (struct iovec) { f->data, n };
        iov[1] = (struct iovec) { f->data + n, f->len - n };
        packet_init(&p, iov, 2);
        if (packet_parse(&p) == DROP_NONE &&
            ask(&pass, i & 1 ? a : NULL, i & 1 ? i & 2 ? b : NULL : a, &p) ==
            IPVLAN_ACCEPT) {
            filter_end(&pass, &p);
        }
        frame_free(f);
    }
    stop();
}

/*
 * Two siblings and somebody outside, and a filter that is easily understood:
 * for each pair of ends, when a packet went last and which ends have accepted
 * it.
 */
#define MODEL_PORTS 6

typedef struct ModelFlow {
    int64_t last;
    bool marks[2];
    bool replied, stream, is;
    int originator;
} ModelFlow;

static bool model_live(const ModelFlow *f)
{
    return f->is &&
           clock_now() - f->last < (f->stream ? 120 : 30) * NS_PER_S;
}

/* Not where the end of a tick decides. */
static bool model_near(const ModelFlow *f)
{
    int64_t left = f->last + (f->stream ? 120 : 30) * NS_PER_S - clock_now();

    return f->is && left <= 0 && left > -NS_PER_S / 2;
}

static void test_model(void)
{
    static const char *const addr[] = { A, B, R };
    ModelFlow model[3][3][MODEL_PORTS][MODEL_PORTS] = { 0 };
    unsigned accepted = 0, by_flow = 0;

    start(IPVLAN_POLICY_DROP);
    rule(1, IPVLAN_OUT, "udp dst port 0 or udp dst port 1", IPVLAN_ACCEPT);
    rule(2, IPVLAN_IN, "udp dst port 1 or udp dst port 2", IPVLAN_ACCEPT);
    for (unsigned i = 0; i < 100000; i++) {
        User *users[] = { a, b, NULL };
        int from = g_test_rand_int_range(0, 3);
        int to = (from + g_test_rand_int_range(1, 3)) % 3;
        uint16_t sport = g_test_rand_int_range(0, MODEL_PORTS);
        uint16_t dport = g_test_rand_int_range(0, MODEL_PORTS);
        ModelFlow *f = from < to ? &model[from][to][sport][dport]
                                 : &model[to][from][dport][sport];
        int s = from > to;
        bool live = model_live(f);
        bool ok_out = (live && f->marks[s]), ok_in = (live && f->marks[!s]);
        bool rule_out = !ok_out && from != 2 && dport <= 1;
        bool rule_in = !ok_in && to != 2 && (dport == 1 || dport == 2);
        bool ok = (ok_out || rule_out || from == 2) &&
                  (ok_in || rule_in || to == 2);

        clock_advance(g_test_rand_int_range(0, 1000) * NS_PER_S / 1000);
        if (model_near(f) || live != model_live(f)) {
            continue;
        }
        g_assert_cmpint(cross(users[from], users[to],
                              udp_ports(addr[from], sport, addr[to], dport)),
                        ==, ok ? IPVLAN_ACCEPT : IPVLAN_DROP);
        if (!ok) {
            continue;
        }
        accepted++;
        by_flow += live && !rule_out && !rule_in;
        if (!live) {
            *f = (ModelFlow) { .originator = s, .is = true };
        }
        f->marks[s] |= rule_out;
        f->marks[!s] |= rule_in;
        f->last = clock_now();
        if (s != f->originator) {
            f->replied = true;
        } else if (f->replied) {
            f->stream = true;
        }
    }
    g_test_message("%u packets accepted, %u by their flows alone", accepted,
                   by_flow);
    g_assert_cmpuint(by_flow, >, 1000);
    g_assert_cmpuint(accepted - by_flow, >, 1000);
    stop();
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/filter/policy", test_policy);
    g_test_add_func("/filter/priority", test_priority);
    g_test_add_func("/filter/direction", test_direction);
    g_test_add_func("/filter/slave", test_slave_rule);
    g_test_add_func("/filter/siblings", test_siblings);
    g_test_add_func("/filter/half-flow", test_half_flow);
    g_test_add_func("/filter/replies", test_replies);
    g_test_add_func("/filter/accept-later", test_accept_later);
    g_test_add_func("/filter/rule-life", test_rule_life);
    g_test_add_func("/filter/rule-free", test_rule_free);
    g_test_add_func("/filter/slave-del", test_slave_del);
    g_test_add_func("/filter/address-moves", test_address_moves);
    g_test_add_func("/filter/reflected", test_reflected);
    g_test_add_func("/filter/match/bad", test_bad_match);
    g_test_add_func("/filter/match/good", test_good_match);
    g_test_add_func("/filter/match/long", test_long_match);
    g_test_add_func("/filter/match/deep", test_deep);
    g_test_add_func("/filter/match/options", test_options);
    g_test_add_func("/filter/busy", test_busy);
    g_test_add_func("/filter/answer-at-once", test_answer_at_once);
    g_test_add_func("/filter/gone-meanwhile", test_gone_meanwhile);
    g_test_add_func("/filter/tcp/timeouts", test_tcp_timeouts);
    g_test_add_func("/filter/tcp/goes-on", test_tcp_goes_on);
    g_test_add_func("/filter/tcp/invalid", test_tcp_invalid);
    g_test_add_func("/filter/tcp/again", test_tcp_again);
    g_test_add_func("/filter/udp", test_udp);
    g_test_add_func("/filter/other", test_other_protocol);
    g_test_add_func("/filter/echo", test_echo);
    g_test_add_func("/filter/icmp-error/in", test_icmp_error);
    g_test_add_func("/filter/icmp-error/out", test_icmp_error_out);
    g_test_add_func("/filter/icmp-error/rule", test_icmp_error_rule);
    g_test_add_func("/filter/icmp-error/echo", test_icmp_error_echo);
    g_test_add_func("/filter/fragments/ipv4", test_fragments);
    g_test_add_func("/filter/fragments/ipv6", test_fragments6);
    g_test_add_func("/filter/pieces", test_pieces);
    g_test_add_func("/filter/flood/out", test_flood);
    g_test_add_func("/filter/flood/in", test_flood_in);
    g_test_add_func("/filter/flood/idle", test_idle_goes);
    g_test_add_func("/filter/flood/fragments", test_fragment_flood);
    g_test_add_func("/filter/flood/fragment-full", test_fragment_full);
    g_test_add_func("/filter/garbage", test_garbage);
    g_test_add_func("/filter/model", test_model);
    return g_test_run();
}
