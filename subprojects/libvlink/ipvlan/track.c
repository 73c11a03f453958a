/*
 * Which flow a packet is of, and what it does to it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../bytes.h"
#include "../platform.h"
#include "track.h"

enum {
    ICMP4_ECHO_REPLY = 0,
    ICMP4_UNREACHABLE = 3,
    ICMP4_SOURCE_QUENCH = 4,
    ICMP4_ECHO = 8,
    ICMP4_TIME_EXCEEDED = 11,
    ICMP4_PARAMETER = 12,

    ICMP6_UNREACHABLE = 1,
    ICMP6_PARAMETER = 4,
    ICMP6_ECHO = 128,
    ICMP6_ECHO_REPLY = 129,

    /* before what an error quotes, RFC 792 and RFC 4443 */
    ICMP_HEAD_LEN = 8,
};

/* --- states -------------------------------------------------------------- */

#define FIN 1
#define SYN 2
#define RST 4
#define PSH 8
#define ACK 16

/* What is not here no end sends, but who looks for a way round a filter. */
const uint8_t track_tcp_events[32] = {
    [SYN] = TRACK_SYN,
    [SYN | ACK] = TRACK_SYN_ACK, [SYN | ACK | PSH] = TRACK_SYN_ACK,
    [ACK] = TRACK_ACK, [ACK | PSH] = TRACK_ACK,
    [FIN | ACK] = TRACK_FIN, [FIN | ACK | PSH] = TRACK_FIN,
    [RST] = TRACK_RST, [RST | ACK] = TRACK_RST,
    [RST | PSH] = TRACK_RST, [RST | ACK | PSH] = TRACK_RST,
};

FlowState track_begin(TrackEvent event)
{
    switch (event) {
    case TRACK_SYN:
        return FLOW_TCP_SYN_SENT;
    case TRACK_ACK:
        return FLOW_TCP_MIDDLE;
    case TRACK_UDP:
        return FLOW_UDP;
    case TRACK_ECHO:
        return FLOW_ECHO;
    case TRACK_OTHER:
        return FLOW_OTHER;
    default:
        return FLOW_NONE;
    }
}

/*
 * A SYN where there is a connection, or was one: a new one, which somebody has
 * to accept first.  While it is being opened it is the same again, or the
 * other end's, who opens it, too (RFC 9293, section 3.5).
 */
static FlowState next_syn(FlowState state, bool reply)
{
    if (state == FLOW_TCP_SYN_SENT && reply) {
        return FLOW_TCP_SYN_RECV;
    }
    return state == FLOW_TCP_SYN_SENT || state == FLOW_TCP_SYN_RECV ? state :
           FLOW_NONE;
}

static FlowState next_syn_ack(FlowState state, bool reply)
{
    switch (state) {
    case FLOW_TCP_SYN_SENT:
        return reply ? FLOW_TCP_SYN_RECV : FLOW_NONE;
    case FLOW_TCP_SYN_RECV:
        return state;
    default:
        return reply ? state : FLOW_NONE;       /* once more */
    }
}

static FlowState next_ack(FlowState state, bool reply)
{
    switch (state) {
    case FLOW_TCP_SYN_SENT:
        /* the other end has an old connection, RFC 9293, 3.5.1 */
        return reply ? state : FLOW_NONE;
    case FLOW_TCP_SYN_RECV:
        return reply ? state : FLOW_TCP_ESTABLISHED;
    case FLOW_TCP_MIDDLE:
        return reply ? FLOW_TCP_ESTABLISHED : state;
    case FLOW_TCP_FIN_WAIT:
        return reply ? FLOW_TCP_CLOSE_WAIT : state;
    case FLOW_TCP_FIN_WAIT_R:
        return reply ? state : FLOW_TCP_CLOSE_WAIT_R;
    case FLOW_TCP_LAST_ACK:
        return FLOW_TCP_TIME_WAIT;
    default:
        return state;
    }
}

static FlowState next_fin(FlowState state, bool reply)
{
    switch (state) {
    case FLOW_TCP_SYN_SENT:
        return FLOW_NONE;
    case FLOW_TCP_SYN_RECV:
    case FLOW_TCP_MIDDLE:
    case FLOW_TCP_ESTABLISHED:
        return reply ? FLOW_TCP_FIN_WAIT_R : FLOW_TCP_FIN_WAIT;
    case FLOW_TCP_FIN_WAIT:
    case FLOW_TCP_CLOSE_WAIT:
        return reply ? FLOW_TCP_LAST_ACK : state;
    case FLOW_TCP_FIN_WAIT_R:
    case FLOW_TCP_CLOSE_WAIT_R:
        return reply ? state : FLOW_TCP_LAST_ACK;
    default:
        return state;
    }
}

static FlowState next_udp(FlowState state, bool reply)
{
    if (reply) {
        return state == FLOW_UDP ? FLOW_UDP_REPLIED : state;
    }
    return state == FLOW_UDP_REPLIED ? FLOW_UDP_STREAM : state;
}

FlowState track_next_slow(FlowState state, TrackEvent event, bool reply)
{
    switch (event) {
    case TRACK_SYN:
        return next_syn(state, reply);
    case TRACK_SYN_ACK:
        return next_syn_ack(state, reply);
    case TRACK_ACK:
        return next_ack(state, reply);
    case TRACK_FIN:
        return next_fin(state, reply);
    case TRACK_RST:
        return FLOW_TCP_CLOSE;
    case TRACK_UDP:
        return next_udp(state, reply);
    case TRACK_ECHO:
    case TRACK_ECHO_REPLY:
    case TRACK_OTHER:
        return state;
    default:
        return FLOW_NONE;
    }
}

bool track_is_state_of(uint8_t state, uint8_t proto)
{
    switch (proto) {
    case IPPROTO_TCP:
        return state >= FLOW_TCP_SYN_SENT && state <= FLOW_TCP_CLOSE;
    case IPPROTO_UDP:
        return state >= FLOW_UDP && state <= FLOW_UDP_STREAM;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        return state == FLOW_ECHO || state == FLOW_OTHER;
    default:
        return state == FLOW_OTHER;
    }
}

/* --- ICMP ---------------------------------------------------------------- */

/*
 * An echo's flow has the identifier as the port of who asks, and the type as
 * that of who answers: who asks back under the same identifier is in another
 * one.
 */
typedef struct Ports {
    uint16_t src, dst;
} Ports;

/* @b: the first 8 bytes of ICMP or ICMPv6.  False where it is no echo. */
static bool echo_ports(uint8_t proto, const uint8_t *b, Ports *ports,
                       TrackEvent *event)
{
    uint8_t echo = proto == IPPROTO_ICMP ? ICMP4_ECHO : ICMP6_ECHO;
    uint8_t reply = proto == IPPROTO_ICMP ? ICMP4_ECHO_REPLY
                                          : ICMP6_ECHO_REPLY;
    uint16_t id = get16(b + 4);

    if (b[0] == echo) {
        *ports = (Ports) { id, echo };
        *event = TRACK_ECHO;
        return true;
    }
    *ports = (Ports) { echo, id };
    *event = TRACK_ECHO_REPLY;
    return b[0] == reply;
}

static bool is_icmp(IpFamily family, uint8_t proto)
{
    return proto == (family == IP_V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/* Not redirects: they are no errors, and change where packets go. */
static bool is_error(IpFamily family, uint8_t type)
{
    if (family == IP_V6) {
        return type >= ICMP6_UNREACHABLE && type <= ICMP6_PARAMETER;
    }
    return type == ICMP4_UNREACHABLE || type == ICMP4_SOURCE_QUENCH ||
           type == ICMP4_TIME_EXCEEDED || type == ICMP4_PARAMETER;
}

/* --- what an error quotes ------------------------------------------------ */

typedef struct Quote {
    IpAddr src, dst;
    uint8_t proto;
    uint32_t l4;                /* offset */
} Quote;

static bool quoted_ipv4(const Packet *p, uint32_t off, Quote *q)
{
    uint8_t buf[20];
    const uint8_t *b = packet_peek(p, off, sizeof(buf), buf);
    uint32_t ihl;

    if (!b || b[0] >> 4 != 4) {
        return false;
    }
    ihl = (b[0] & 15) * 4;
    *q = (Quote) { ip_v4(b + 12), ip_v4(b + 16), b[9], off + ihl };
    return ihl >= sizeof(buf) && !(get16(b + 6) & 0x1fff);
}

/* Walk the extension headers from q->proto at q->l4 to the upper layer. */
static bool skip_ext_headers(const Packet *p, Quote *q)
{
    uint8_t buf[8];

    for (int n = 0; ipv6_is_ext_header(q->proto); n++) {
        const uint8_t *b = packet_peek(p, q->l4, sizeof(buf), buf);

        if (n == IPV6_MAX_EXT_HEADERS || !b ||
            (q->proto == IPPROTO_FRAGMENT && (get16(b + 2) & 0xfff8))) {
            return false;
        }
        q->l4 += ipv6_ext_len(q->proto, b);
        q->proto = b[0];
    }
    return true;
}

static bool quoted_ipv6(const Packet *p, uint32_t off, Quote *q)
{
    uint8_t buf[40];
    const uint8_t *b = packet_peek(p, off, sizeof(buf), buf);

    if (!b || b[0] >> 4 != 6) {
        return false;
    }
    *q = (Quote) { ip_v6(b + 8), ip_v6(b + 24), b[6], off + sizeof(buf) };
    return skip_ext_headers(p, q);
}

/* What TCP, UDP and echoes have; others have none.  False: cut off. */
static bool quoted_ports(const Packet *p, const Quote *q, Ports *ports)
{
    TrackEvent event;
    uint8_t buf[8];
    const uint8_t *b = packet_peek(p, q->l4, sizeof(buf), buf);

    *ports = (Ports) { 0, 0 };
    if (!b || q->l4 + sizeof(buf) > p->layers.end) {
        return false;
    }
    if (q->proto == IPPROTO_TCP || q->proto == IPPROTO_UDP) {
        *ports = (Ports) { get16(b), get16(b + 2) };
    } else if (is_icmp(q->src.family, q->proto)) {
        return echo_ports(q->proto, b, ports, &event);
    }
    return true;
}

/*
 * The packet that is quoted was sent by who gets this error, to who sends it
 * or to somebody behind (RFC 5927, section 4.1, for what else to expect).
 */
static void track_error(Track *t, const Packet *p, uint16_t from, uint16_t to)
{
    const PacketLayers *l = &p->layers;
    uint32_t off = l->l4 + ICMP_HEAD_LEN;
    Quote q;
    Ports ports;

    t->kind = TRACK_NOTHING;
    if (!(l->src.family == IP_V4 ? quoted_ipv4(p, off, &q)
                                 : quoted_ipv6(p, off, &q)) ||
        !ip_equal(&q.src, &l->dst) || !quoted_ports(p, &q, &ports)) {
        return;
    }
    t->kind = TRACK_ERROR;
    t->sender = !flow_key(&t->key, &q.src, &q.dst, ports.src, ports.dst, to,
                          from);
    t->key.kind = flow_kind(q.src.family, q.proto, FLOW_CLASS_WHOLE);
}

static void track_icmp(Track *t, const Packet *p, uint16_t from, uint16_t to)
{
    const PacketLayers *l = &p->layers;
    TrackEvent event;
    uint8_t buf[8];
    const uint8_t *b = packet_peek(p, l->l4, sizeof(buf), buf);
    Ports ports;

    t->kind = TRACK_NOTHING;
    if (!b || l->l4 + sizeof(buf) > l->end) {
        return;
    }
    if (is_error(l->src.family, b[0])) {
        track_error(t, p, from, to);
    } else if (echo_ports(l->ip_proto, b, &ports, &event)) {
        t->kind = TRACK_PACKET;
        t->event = event;
        t->sender = flow_key(&t->key, &l->src, &l->dst, ports.src, ports.dst,
                             from, to);
        t->key.kind = flow_kind(l->src.family, l->ip_proto, FLOW_CLASS_WHOLE);
    }
}

/* --- fragments ----------------------------------------------------------- */

/*
 * What fragments are put together by: the protocol is part of it in IPv4 (RFC
 * 791) and not in IPv6 (RFC 8200, section 4.5).
 */
static uint32_t fragment_id(const Packet *p, uint8_t *proto)
{
    const PacketLayers *l = &p->layers;
    uint8_t buf[4];

    if (l->src.family == IP_V4) {
        *proto = l->ip_proto;
        return get16(packet_peek(p, l->l3 + 4, 2, buf));
    }
    *proto = IPPROTO_FRAGMENT;
    return get32(packet_peek(p, l->frag_header + 4, 4, buf));
}

void track_fragment(Track *t, const Packet *p, uint16_t from, uint16_t to)
{
    const PacketLayers *l = &p->layers;
    uint8_t proto;
    uint32_t id = fragment_id(p, &proto);

    t->kind = TRACK_FRAGMENT;
    t->sender = flow_key(&t->key, &l->src, &l->dst, 0, 0, from, to);
    t->key.q[4] |= id;
    t->key.kind = flow_kind(l->src.family, proto,
                            t->sender ? FLOW_CLASS_FRAGMENT_R
                                      : FLOW_CLASS_FRAGMENT);
}

/* --- all else ------------------------------------------------------------ */

SLOW_PATH void track_packet_slow(Track *t, const Packet *p, uint16_t from,
                                 uint16_t to)
{
    const PacketLayers *l = &p->layers;

    t->kind = TRACK_NOTHING;
    if (!l->l4) {
        if (l->fragment) {
            track_fragment(t, p, from, to);
        }
    } else if (is_icmp(l->src.family, l->ip_proto)) {
        track_icmp(t, p, from, to);
    } else {
        t->kind = TRACK_PACKET;
        t->event = TRACK_OTHER;
        t->sender = flow_key(&t->key, &l->src, &l->dst, 0, 0, from, to);
        t->key.kind = flow_kind(l->src.family, l->ip_proto,
                                FLOW_CLASS_WHOLE);
    }
}
