/*
 * Generic receive offload for TCP
 *
 * A flow's first segment is copied into a buffer with room for 64 KiB, and
 * the payload of those that follow behind it.  Whatever makes them differ in
 * more than offload_send() can restore ends the run: cut again, what comes
 * out is what went in.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>

#include "bytes.h"
#include "coalesce.h"

enum {
    IPV4_LEN = 20,
    IPV6_LEN = 40,
    TCP_LEN = 20,               /* without options */
    TCP_MAX_LEN = 60,
    HEADERS_MAX = PACKET_HEAD_LEN + IPV6_LEN + TCP_MAX_LEN,

    IP_DF = 0x40,               /* in the first byte of the field */

    TCP_FIN = 1 << 0,
    TCP_SYN = 1 << 1,
    TCP_RST = 1 << 2,
    TCP_PSH = 1 << 3,
    TCP_URG = 1 << 5,
    TCP_CWR = 1 << 7,

    MAX_FLOWS = 8,
    MAX_DATAGRAM = 65535,       /* bytes, with the IP header */
};

/* What is about to be kept: its headers, and what they say. */
typedef struct Segment {
    const Packet *p;
    uint32_t len;               /* of the headers */
    uint32_t payload;
    uint32_t seq;
    uint16_t id;                /* IPv4 */
    uint8_t flags;              /* TCP's */
    bool v6;
    uint8_t b[HEADERS_MAX];
} Segment;

/* A run of segments, of which the first one is whole. */
typedef struct Flow {
    uint8_t *data;              /* PACKET_MAX_LEN bytes */
    uint32_t len;               /* without the padding of the first */
    uint32_t segments;
    uint32_t size;              /* payload of all but the last */
    uint32_t seq;               /* that comes next */
    uint16_t id;                /* IPv4, of the first */
    bool same_id;               /* all of them have that one */
    struct iovec iov;
    Packet p;
} Flow;

struct Coalescer {
    CoalesceEmit *emit;
    void *opaque;
    unsigned n;                 /* flows in use, which come first */
    Flow *flows[MAX_FLOWS];     /* oldest first */
    uint64_t merged;
};

Coalescer *coalescer_new(CoalesceEmit *emit, void *opaque)
{
    Coalescer *c = g_new0(Coalescer, 1);

    c->emit = emit;
    c->opaque = opaque;
    for (int i = 0; i < MAX_FLOWS; i++) {
        c->flows[i] = g_new0(Flow, 1);
        c->flows[i]->data = g_malloc(PACKET_MAX_LEN);
    }
    return c;
}

void coalescer_free(Coalescer *c)
{
    if (!c) {
        return;
    }
    for (int i = 0; i < MAX_FLOWS; i++) {
        g_free(c->flows[i]->data);
        g_free(c->flows[i]);
    }
    g_free(c);
}

bool coalescer_is_empty(const Coalescer *c)
{
    return !c->n;
}

unsigned coalescer_kept(const Coalescer *c)
{
    return c->n;
}

uint64_t coalescer_merged(const Coalescer *c)
{
    return c->merged;
}

/* --- sums ----------------------------------------------------------------- */

/* The pseudo header's, for @len bytes of TCP; @b are the frame's headers. */
static uint64_t sum_pseudo(const uint8_t *b, bool v6, uint32_t len)
{
    uint64_t sum = htons(IPPROTO_TCP) + (uint64_t)htons(len);

    return v6 ? csum_add(sum, b + PACKET_HEAD_LEN + 8, 32)
              : csum_add(sum, b + PACKET_HEAD_LEN + 12, 8);
}

/* @payload: the copy of what is behind the headers. */
static bool checksum_is_right(const Segment *s, const uint8_t *payload)
{
    uint32_t l4 = s->p->layers.l4, len = s->len - l4;
    uint64_t sum;

    if (!s->v6 &&
        csum_finish(csum_add(0, s->b + PACKET_HEAD_LEN, IPV4_LEN))) {
        return false;
    }
    if (s->p->has_vnet && (s->p->vnet.flags & PACKET_VNET_DATA_VALID)) {
        return true;
    }
    sum = sum_pseudo(s->b, s->v6, len + s->payload);
    sum = csum_add(sum, s->b + l4, len);
    return !csum_finish(csum_add(sum, payload, s->payload));
}

/* --- giving back ---------------------------------------------------------- */

/* Flow @i is no longer in use; its bytes stay until another one begins. */
static Flow *take_flow(Coalescer *c, unsigned i)
{
    Flow *f = c->flows[i];

    c->n--;
    memmove(&c->flows[i], &c->flows[i + 1],
            (c->n - i) * sizeof(c->flows[0]));
    c->flows[c->n] = f;
    return f;
}

/* One datagram, whose TCP checksum is left to be completed. */
static void finish_headers(Flow *f, bool v6, uint32_t l4)
{
    uint8_t *ip = f->data + PACKET_HEAD_LEN;
    uint32_t total = f->len - PACKET_HEAD_LEN;
    uint16_t sum;

    if (v6) {
        put16(ip + 4, total - IPV6_LEN);
    } else {
        put16(ip + 2, total);
        memset(ip + 10, 0, 2);
        sum = csum_finish(csum_add(0, ip, IPV4_LEN));
        memcpy(ip + 10, &sum, sizeof(sum));
    }
    sum = ~csum_finish(sum_pseudo(f->data, v6, f->len - l4));
    memcpy(f->data + l4 + 16, &sum, sizeof(sum));
}

static void merge_segments(Flow *f)
{
    Packet *p = &f->p;
    bool v6 = p->layers.src.family == IP_V6;
    uint32_t l4 = p->layers.l4;
    const uint8_t *tcp = f->data + l4;

    finish_headers(f, v6, l4);
    p->vnet = (PacketVnet) {
        .flags = PACKET_VNET_NEEDS_CSUM,
        .gso_type = (v6 ? PACKET_GSO_TCPV6 : PACKET_GSO_TCPV4) |
                    (tcp[13] & TCP_CWR ? PACKET_GSO_ECN : 0),
        .hdr_len = l4 + (tcp[12] >> 4) * 4,
        .gso_size = f->size,
        .csum_start = l4,
        .csum_offset = 16,
    };
    p->layers.end = f->len;
    p->len = p->head_len = f->iov.iov_len = f->len;
}

static void emit_flow(Coalescer *c, unsigned i)
{
    Flow *f = take_flow(c, i);

    if (f->segments > 1) {
        merge_segments(f);
    }
    c->emit(c->opaque, &f->p);
}

void coalescer_flush(Coalescer *c)
{
    while (c->n) {
        emit_flow(c, 0);
    }
}

/* --- what is in a segment ------------------------------------------------- */

/*
 * Neither tags, IP options nor extension headers; data and nothing special.
 * False, too, where the receiver could not take what it would become.
 */
static bool is_plain(const Packet *p, unsigned can)
{
    const PacketLayers *l = &p->layers;
    bool v6 = l->src.family == IP_V6;
    unsigned need = OFFLOAD_CSUM | (v6 ? OFFLOAD_TSO6 : OFFLOAD_TSO4);

    return l->l3 == PACKET_HEAD_LEN && !l->fragment && !p->for_many &&
           l->l4 == l->l3 + (v6 ? IPV6_LEN : IPV4_LEN) &&
           !offload_needs(p) && (can & need) == need;
}

/* Copy the headers, which the sender may change: what counts is the copy. */
static bool read_segment(Segment *s, const Packet *p, unsigned can)
{
    const PacketLayers *l = &p->layers;
    const uint8_t *tcp = s->b + l->l4;
    uint8_t refused = TCP_SYN | TCP_RST | TCP_URG;
    uint32_t least = l->l4 + TCP_LEN, most = l->l4 + TCP_MAX_LEN;

    packet_copy_range(p, 0, MIN(l->end, most), s->b);
    s->p = p;
    s->len = l->l4 + (tcp[12] >> 4) * 4;
    if (s->len < least || s->len >= l->end) {
        return false;           /* no data */
    }
    s->payload = l->end - s->len;
    s->seq = get32(tcp + 4);
    s->flags = tcp[13];
    s->v6 = l->src.family == IP_V6;
    s->id = get16(s->b + PACKET_HEAD_LEN + 4);
    if (!(can & OFFLOAD_ECN)) {
        refused |= TCP_CWR;
    }
    return !(s->flags & refused);
}

/* --- merging -------------------------------------------------------------- */

static bool is_equal(const uint8_t *a, const uint8_t *b, unsigned from,
                     unsigned to)
{
    return !memcmp(a + from, b + from, to - from);
}

/* All of Ethernet and IP but length, identification and checksum. */
static bool same_network(const uint8_t *a, const uint8_t *b, bool v6)
{
    return v6 ? is_equal(a, b, 0, 18) && is_equal(a, b, 20, 54)
              : is_equal(a, b, 0, 16) && is_equal(a, b, 20, 24) &&
                is_equal(a, b, 26, 34);
}

/* All of TCP but sequence number, checksum and the flags that may differ. */
static bool same_upper(const uint8_t *a, const uint8_t *b, unsigned len)
{
    return is_equal(a, b, 0, 4) && is_equal(a, b, 8, 13) &&
           !((a[13] ^ b[13]) & ~(TCP_CWR | TCP_FIN | TCP_PSH)) &&
           is_equal(a, b, 14, 16) && is_equal(a, b, 18, len);
}

/*
 * RFC 6864: of datagrams that are not fragmented it means nothing, and senders
 * either count or do not.  Anything else is not what we would make of it.
 */
static bool id_follows(Flow *f, const Segment *s)
{
    bool same = s->id == f->id;

    if (s->v6) {
        return true;
    }
    if (same && !(s->b[PACKET_HEAD_LEN + 6] & IP_DF)) {
        return false;
    }
    if (f->segments == 1) {
        f->same_id = same;
    }
    return f->same_id ? same : s->id == (uint16_t)(f->id + f->segments);
}

static bool follows(Flow *f, const Segment *s)
{
    uint32_t l4 = f->p.layers.l4;

    return s->seq == f->seq && s->payload <= f->size &&
           !(s->flags & TCP_CWR) &&
           f->len + s->payload <= PACKET_HEAD_LEN + MAX_DATAGRAM &&
           same_network(f->data, s->b, s->v6) &&
           same_upper(f->data + l4, s->b + l4, s->len - l4) &&
           id_follows(f, s);
}

/* False: not merged, and the flow is as it was. */
static bool merge(Flow *f, const Segment *s)
{
    uint8_t *to = f->data + f->len;

    if (!follows(f, s)) {
        return false;
    }
    packet_copy_range(s->p, s->len, s->payload, to);
    if (!checksum_is_right(s, to)) {
        return false;
    }
    f->data[f->p.layers.l4 + 13] |= s->flags & (TCP_FIN | TCP_PSH);
    f->len += s->payload;
    f->seq += s->payload;
    f->segments++;
    return true;
}

/* The next one would not fit, or nobody should wait for it. */
static bool is_over(const Segment *s, uint32_t size)
{
    return s->payload < size || (s->flags & (TCP_FIN | TCP_PSH));
}

static bool begin(Coalescer *c, const Segment *s)
{
    const Packet *p = s->p;
    Flow *f;

    if (s->flags & (TCP_FIN | TCP_PSH)) {
        return false;
    }
    if (c->n == MAX_FLOWS) {
        emit_flow(c, 0);
    }
    f = c->flows[c->n];
    memcpy(f->data, s->b, s->len);
    packet_copy_range(p, s->len, p->len - s->len, f->data + s->len);
    if (!checksum_is_right(s, f->data + s->len)) {
        return false;
    }
    c->n++;
    f->len = p->layers.end;
    f->segments = 1;
    f->size = s->payload;
    f->seq = s->seq + s->payload;
    f->id = s->id;
    f->iov = (struct iovec) { f->data, p->len };
    packet_init(&f->p, &f->iov, 1);
    f->p.link = p->link;
    f->p.queue = p->queue;
    f->p.layers = p->layers;
    f->p.has_vnet = true;
    f->p.vnet.flags = PACKET_VNET_DATA_VALID;
    return true;
}

/* --- flows ---------------------------------------------------------------- */

/* A fragment has no ports: it may be of any flow between the two. */
static bool is_of(const Flow *f, const PacketLayers *l)
{
    const PacketLayers *fl = &f->p.layers;

    return (l->fragment || (fl->src_port == l->src_port &&
                            fl->dst_port == l->dst_port)) &&
           ip_equal(&fl->src, &l->src) && ip_equal(&fl->dst, &l->dst);
}

/* The index of what is kept of @p's flow, or -1. */
static int find_flow(const Coalescer *c, const Packet *p)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (is_of(c->flows[i], &p->layers)) {
            return i;
        }
    }
    return -1;
}

static void emit_all_of(Coalescer *c, const Packet *p)
{
    int i;

    while ((i = find_flow(c, p)) >= 0) {
        emit_flow(c, i);
    }
}

bool coalescer_add(Coalescer *c, const Packet *p, unsigned can)
{
    Segment s;
    int i;

    if (p->layers.ip_proto != IPPROTO_TCP) {
        return false;
    }
    if (!is_plain(p, can) || !read_segment(&s, p, can)) {
        emit_all_of(c, p);
        return false;
    }
    i = find_flow(c, p);
    if (i >= 0) {
        Flow *f = c->flows[i];

        if (merge(f, &s)) {
            c->merged++;
            if (is_over(&s, f->size)) {
                emit_flow(c, i);
            }
            return true;
        }
        emit_flow(c, i);
    }
    return begin(c, &s);
}
