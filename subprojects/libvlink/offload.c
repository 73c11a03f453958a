/*
 * Checksums completed, segments cut
 *
 * A piece is headers of its own, made from a template, and payload that stays
 * where the sender has it.  What all pieces have in common is summed once.
 *
 * The sender may be a guest that changes its memory meanwhile.  What was
 * checked once is therefore taken from the layers, and what is read a second
 * time is never trusted with a length.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>
#include <stddef.h>

#include "bytes.h"
#include "invariant.h"
#include "offload.h"

enum {
    IPV6_LEN = 40,
    FRAG_LEN = 8,               /* IPv6's fragment header */
    TCP_CSUM = 16,              /* of the field in its header */
    UDP_CSUM = 6,
    ICMPV6_CSUM = 2,
    UDP_LEN = 8,

    TCP_FIN = 1 << 0,
    TCP_PSH = 1 << 3,
    TCP_CWR = 1 << 7,

    MAX_DATAGRAM = 65535,       /* bytes, with the IP header */
    PIECE_IOV = 16,             /* elements; a segment spans two or three */
};

/* --- sums ----------------------------------------------------------------- */

static inline uint64_t add_carry(uint64_t a, uint64_t b)
{
    a += b;
    return a + (a < b);
}

static inline uint64_t load64(const uint8_t *b)
{
    uint64_t v;

    memcpy(&v, b, sizeof(v));
    return v;
}

/* Four sums, so that no addition has to wait for the one before. */
uint64_t csum_add(uint64_t sum, const void *data, size_t len)
{
    const uint8_t *b = data;
    uint64_t s[4] = { 0 }, rest = 0;

    for (; len >= 32; len -= 32, b += 32) {
        s[0] = add_carry(s[0], load64(b));
        s[1] = add_carry(s[1], load64(b + 8));
        s[2] = add_carry(s[2], load64(b + 16));
        s[3] = add_carry(s[3], load64(b + 24));
    }
    for (; len >= 8; len -= 8, b += 8) {
        s[0] = add_carry(s[0], load64(b));
    }
    memcpy(&rest, b, len);      /* zeros behind it, as RFC 1071 wants */
    s[0] = add_carry(add_carry(s[0], s[1]), add_carry(s[2], s[3]));
    s[0] = add_carry(s[0], rest);
    /* to 33 bits: no number of calls overflows */
    return sum + (s[0] & 0xffffffff) + (s[0] >> 32);
}

static inline uint16_t fold(uint64_t sum)
{
    return ~csum_finish(sum);
}

/* Add @len bytes at @data, which @pos bytes precede: any may be odd. */
static uint64_t sum_chunk(uint64_t sum, uint32_t pos, const void *data,
                          size_t len)
{
    /* RFC 1071, 2.B: swapped bytes have the swapped sum */
    return pos & 1 ? sum + GUINT16_SWAP_LE_BE(fold(csum_add(0, data, len)))
                   : csum_add(sum, data, len);
}

/*
 * Where in a frame: the rest of the current element, and what is behind
 * @skip bytes of those that follow.
 */
typedef struct Cursor {
    const uint8_t *at;
    size_t left;
    const struct iovec *next;
    uint32_t skip;
} Cursor;

static Cursor cursor_at(const Packet *p, uint32_t off)
{
    Cursor c = { .next = p->tail, .skip = p->tail_off };

    if (off < p->head_len) {
        c.at = p->head + off;
        c.left = p->head_len - off;
    } else {
        c.skip += off - p->head_len;
    }
    return c;
}

static void cursor_next(Cursor *c)
{
    const struct iovec *iov = c->next++;

    if (c->skip < iov->iov_len) {
        c->at = (const uint8_t *)iov->iov_base + c->skip;
        c->left = iov->iov_len - c->skip;
        c->skip = 0;
    } else {
        c->skip -= iov->iov_len;
    }
}

/* At most @max bytes that lie in one piece, of which there are some. */
static struct iovec cursor_take(Cursor *c, uint32_t max)
{
    struct iovec chunk;

    while (!c->left) {
        cursor_next(c);
    }
    chunk.iov_base = (void *)c->at;
    chunk.iov_len = MIN(max, c->left);
    c->at += chunk.iov_len;
    c->left -= chunk.iov_len;
    return chunk;
}

/* The sum of the frame's bytes [@off, @end). */
static uint64_t sum_range(const Packet *p, uint32_t off, uint32_t end)
{
    Cursor c = cursor_at(p, off);
    uint32_t pos = 0;
    uint64_t sum = 0;

    while (off + pos < end) {
        struct iovec chunk = cursor_take(&c, end - off - pos);

        sum = sum_chunk(sum, pos, chunk.iov_base, chunk.iov_len);
        pos += chunk.iov_len;
    }
    return sum;
}

/* --- does the header tell the truth? -------------------------------------- */

/*
 * Does the checksum field, @field bytes behind the upper layer's start, leave
 * alone what others decided by?  Else a sender could have a port or an
 * address written that it would not be allowed to send.
 */
static bool field_is_harmless(const Packet *p, uint32_t start, uint32_t field)
{
    const PacketLayers *l = &p->layers;

    switch (l->ip_proto) {
    case IPPROTO_TCP:
        return !start && field == TCP_CSUM;
    case IPPROTO_ICMPV6:
        return (!start && field == ICMPV6_CSUM) || l->src.family == IP_V4;
    case IPPROTO_UDP:
        /* behind UDP's header there may be a tunnel */
        return (!start && field == UDP_CSUM) ||
               (start >= UDP_LEN && l->kind != PACKET_DHCP_REQUEST &&
                l->kind != PACKET_DHCP_REPLY);
    default:
        return true;
    }
}

/* What is summed ends with the IP datagram: what follows is padding. */
static bool partial_is_true(const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint32_t from = l->l4 ? l->l4 : l->l3;
    uint32_t start = p->vnet.csum_start;
    uint32_t field = start + p->vnet.csum_offset;

    /* A part of a datagram does not have its sum, and ARP has none. */
    if (l->fragment || l->kind == PACKET_ARP || l->kind == PACKET_RARP) {
        return false;
    }
    return start >= from && field + 2 <= l->end &&
           field_is_harmless(p, start - from, field - from);
}

/* @proto over @family, any if IP_NONE, and in this frame as a whole. */
static bool carries(const Packet *p, IpFamily family, uint8_t proto)
{
    const PacketLayers *l = &p->layers;

    return l->l4 && !l->fragment && l->ip_proto == proto &&
           l->src.family != IP_NONE &&
           (family == IP_NONE || l->src.family == family);
}

static bool type_is_true(const Packet *p)
{
    switch (p->vnet.gso_type) {
    case PACKET_GSO_TCPV4:
    case PACKET_GSO_TCPV4 | PACKET_GSO_ECN:
        return carries(p, IP_V4, IPPROTO_TCP);
    case PACKET_GSO_TCPV6:
    case PACKET_GSO_TCPV6 | PACKET_GSO_ECN:
        return carries(p, IP_V6, IPPROTO_TCP);
    case PACKET_GSO_UDP_L4:
        return carries(p, IP_NONE, IPPROTO_UDP);
    case PACKET_GSO_UDP:
        /* an atomic fragment cannot get a second fragment header */
        return carries(p, IP_NONE, IPPROTO_UDP) && !p->layers.frag_header;
    default:
        return false;
    }
}

static bool segments_are_true(const Packet *p)
{
    const PacketLayers *l = &p->layers;
    const PacketVnet *v = &p->vnet;

    if (!type_is_true(p) || !v->gso_size || v->gso_size > p->len ||
        l->end - l->l3 > MAX_DATAGRAM ||
        (l->end - l->l4) / v->gso_size > OFFLOAD_MAX_PIECES) {
        return false;
    }
    return !(v->flags & PACKET_VNET_NEEDS_CSUM) ||
           (v->csum_start == l->l4 &&
            v->csum_offset == (l->ip_proto == IPPROTO_TCP ? TCP_CSUM
                                                        : UDP_CSUM));
}

/* hdr_len is a hint (virtio 1.2, 5.1.6.2), and nobody here takes it. */
DropReason offload_check(const Packet *p)
{
    if ((p->vnet.flags & PACKET_VNET_NEEDS_CSUM) && !partial_is_true(p)) {
        return DROP_BAD_VNET;
    }
    if (p->vnet.gso_type && !segments_are_true(p)) {
        return DROP_BAD_VNET;
    }
    return DROP_NONE;
}

unsigned offload_needs_slow(const Packet *p)
{
    unsigned ecn = p->vnet.gso_type & PACKET_GSO_ECN ? OFFLOAD_ECN : 0;

    switch (p->vnet.gso_type & ~PACKET_GSO_ECN) {
    case PACKET_GSO_TCPV4:
        return OFFLOAD_CSUM | OFFLOAD_TSO4 | ecn;
    case PACKET_GSO_TCPV6:
        return OFFLOAD_CSUM | OFFLOAD_TSO6 | ecn;
    case PACKET_GSO_UDP:
        return OFFLOAD_CSUM | OFFLOAD_UFO;
    case PACKET_GSO_UDP_L4:
        return OFFLOAD_CSUM | (p->layers.src.family == IP_V4 ? OFFLOAD_USO4
                                                             : OFFLOAD_USO6);
    default:
        return OFFLOAD_CSUM;
    }
}

/* --- one frame whose checksum is completed -------------------------------- */

/*
 * Zero becomes 0xffff, which is the same number in ones' complement: UDP's
 * zero is no checksum (RFC 768), and UDP may be inside of anything.
 */
static uint16_t completed(const Packet *p, uint32_t start)
{
    uint16_t sum = csum_finish(sum_range(p, start, p->layers.end));

    return sum ? sum : 0xffff;
}

/* All that is left to say of a frame that needs nothing of its receiver. */
static uint8_t checked_flag(const Packet *p, unsigned can)
{
    return can & OFFLOAD_CSUM ? p->vnet.flags & PACKET_VNET_DATA_VALID : 0;
}

static bool send_whole(const Packet *p, unsigned can, OffloadEmit *emit,
                       void *opaque)
{
    uint32_t field = p->vnet.csum_start + p->vnet.csum_offset;
    g_autoptr(Packet) copy = NULL;
    UNINITIALIZED Packet view;
    uint16_t sum;
    uint8_t *b;

    packet_view(&view, p);
    if (p->vnet.flags & PACKET_VNET_NEEDS_CSUM) {
        sum = completed(p, p->vnet.csum_start);
        if (field + 2 <= PACKET_SCRATCH_LEN) {
            b = packet_cow_head(&view, field + 2);
        } else {
            copy = packet_copy(p, &b);
            packet_view(&view, copy);
        }
        memcpy(b + field, &sum, sizeof(sum));
    }
    view.pieces = 0;
    invariant_made(&view);
    view.vnet = (PacketVnet) { .flags = checked_flag(p, can) };
    return emit(opaque, &view);
}

/* --- the template --------------------------------------------------------- */

typedef struct Cut {
    const Packet *p;            /* where the payload is borrowed from */
    Packet *flat;               /* that, where it had to be put in one piece */
    Cursor cursor;

    /* The bytes [begin, end) of the frame are dealt out @size a piece. */
    uint32_t begin;
    uint32_t end;
    uint32_t size;
    uint32_t count;

    /* Headers: the first fragment's go on with the upper layer's. */
    uint32_t first_len;
    uint32_t rest_len;
    uint32_t l3;
    uint32_t l4;                /* in the template */
    uint32_t frag;              /* IPv6: of the fragment header, or 0 */
    uint8_t *template;          /* small, or the first half of big */
    uint8_t *big;

    uint64_t ip_sum;            /* IPv4's header without what changes */
    uint64_t pseudo;            /* header, without the length */
    uint64_t l4_sum;            /* that, and the header */
    uint32_t seq;
    uint16_t id;
    uint8_t tcp_flags;
    uint8_t type;               /* PacketVnet.gso_type without ECN */
    bool v6;
    bool partial;               /* the receiver completes checksums */

    struct iovec iov[1 + PIECE_IOV];    /* headers first */
    Packet piece;
    uint8_t small[PACKET_SCRATCH_LEN];
} Cut;

/* As parse_upper() saw it, unless somebody changed it since. */
static uint32_t tcp_header_len(const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint8_t buf;
    const uint8_t *b = packet_peek(p, l->l4 + 12, 1, &buf);
    uint32_t len = (*b >> 4) * 4;

    return len < 20 || len > l->end - l->l4 ? 20 : len;
}

/* RFC 8200, 8.1.  A solicitation's layers say its target, not its address. */
static uint64_t pseudo_sum6(const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint8_t pseudo[40] = { [39] = l->ip_proto };

    packet_copy_range(p, l->l3 + 8, 32, pseudo);
    put32(pseudo + 32, l->end - l->l4);
    return csum_add(0, pseudo, sizeof(pseudo));
}

bool offload_csum_is_right(const Packet *p)
{
    const PacketLayers *l = &p->layers;
    UNINITIALIZED uint8_t buf[512];
    uint64_t sum = l->src.family == IP_V6 ? pseudo_sum6(p) : 0;

    if (p->has_vnet && (p->vnet.flags & (PACKET_VNET_NEEDS_CSUM |
                                         PACKET_VNET_DATA_VALID))) {
        return true;
    }
    for (uint32_t off = l->l4; off < l->end; off += sizeof(buf)) {
        uint32_t n = MIN(l->end - off, sizeof(buf));

        packet_copy_range(p, off, n, buf);
        sum = csum_add(sum, buf, n);
    }
    return csum_finish(sum) == 0;
}

uint32_t packet_ip_len_slow(const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint32_t size = p->vnet.gso_size;
    uint32_t whole = l->end - l->l3;
    uint32_t headers = l->l4 - l->l3;

    switch (p->vnet.gso_type & ~PACKET_GSO_ECN) {
    case PACKET_GSO_UDP:
        /* as prepare_fragments() has it, were all headers in each */
        headers += l->src.family == IP_V6 ? FRAG_LEN : 0;
        size = MAX(size & ~7, UDP_LEN);
        return l->end - l->l4 <= size ? whole : headers + size;
    case PACKET_GSO_UDP_L4:
        headers += UDP_LEN;
        break;
    default:
        headers += tcp_header_len(p);
        break;
    }
    return MIN(headers + size, whole);
}

static uint8_t *template_new(Cut *c, uint32_t len)
{
    c->big = NULL;
    c->template = c->small;
    if (len > PACKET_SCRATCH_LEN) {
        c->big = g_malloc(2 * len);
        c->template = c->big;
    }
    return c->template;
}

/* The pseudo header's sum without its length, RFC 9293 3.1 and RFC 8200 8.1. */
static uint64_t sum_pseudo(const Packet *p, const uint8_t *field)
{
    const PacketLayers *l = &p->layers;
    uint32_t addr_len = l->src.family == IP_V4 ? 4 : 16;
    uint16_t sum;

    if (p->vnet.flags & PACKET_VNET_NEEDS_CSUM) {
        /* The sender knows better: a routing header has the destination. */
        memcpy(&sum, field, sizeof(sum));
        return (uint64_t)sum + (uint16_t)~htons(l->end - l->l4);
    }
    return csum_add(csum_add(htons(l->ip_proto), l->src.b, addr_len),
                    l->dst.b, addr_len);
}

/* Take out what differs between pieces, and sum up the rest. */
static void prepare_ipv4(Cut *c)
{
    uint8_t *ip = c->template + c->l3;

    c->id = get16(ip + 4);
    memset(ip + 2, 0, 4);       /* length, identification */
    memset(ip + 10, 0, 2);      /* checksum */
    if (c->type == PACKET_GSO_UDP) {
        memset(ip + 6, 0, 2);   /* DF would be a lie */
    }
    c->ip_sum = csum_add(0, ip, c->l4 - c->l3);
}

static void prepare_upper(Cut *c)
{
    const Packet *p = c->p;
    uint8_t *b = c->template + c->l4;
    bool tcp = p->layers.ip_proto == IPPROTO_TCP;
    uint8_t *field = b + (tcp ? TCP_CSUM : UDP_CSUM);

    c->pseudo = sum_pseudo(p, field);
    memset(field, 0, 2);
    if (tcp) {
        c->seq = get32(b + 4);
        c->tcp_flags = b[13];
        memset(b + 4, 0, 4);
        b[13] = 0;
    } else {
        memset(b + 4, 0, 2);    /* length */
    }
    c->l4_sum = csum_add(c->pseudo, b, c->first_len - c->l4);
}

static void prepare_segments(Cut *c)
{
    const Packet *p = c->p;
    const PacketLayers *l = &p->layers;

    c->l4 = l->l4;
    c->begin = l->l4 + (l->ip_proto == IPPROTO_TCP ? tcp_header_len(p)
                                                 : UDP_LEN);
    c->size = p->vnet.gso_size;
    c->first_len = c->rest_len = c->begin;
    packet_copy_range(p, 0, c->begin, template_new(c, c->begin));
    prepare_upper(c);
}

/* --- fragments ------------------------------------------------------------ */

/*
 * RFC 8200, 4.5: which headers go before the fragment header, up to the
 * routing header or else the hop-by-hop options.  @next: offset of the field
 * that names what follows them.
 */
static uint32_t per_fragment_len(const Packet *p, uint32_t *next)
{
    const PacketLayers *l = &p->layers;
    uint32_t last = l->l3 + 6, off = l->l3 + IPV6_LEN, end = off;
    uint8_t buf[2];
    uint8_t proto = *(uint8_t *)packet_peek(p, last, 1, buf);

    *next = last;
    while (off < l->l4 &&
           (proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING ||
            proto == IPPROTO_DSTOPTS)) {
        const uint8_t *b = packet_peek(p, off, 2, buf);
        bool counts = proto != IPPROTO_DSTOPTS;

        last = off;
        off += (b[1] + 1) * 8;
        proto = b[0];
        if (counts && off <= l->l4) {
            *next = last;
            end = off;
        }
    }
    return end;
}

/*
 * RFC 8200, 4.5: different for datagrams with the same addresses.  There is
 * no counter to take it from, and a packet that is sent in two goes needs it
 * twice: it is hashed from the headers, the completed checksum among them,
 * and where most protocols have their own counters.
 */
static uint32_t fragment_id(const Packet *p, const uint8_t *udp)
{
    const PacketLayers *l = &p->layers;
    uint32_t off = l->l4 + UDP_LEN, n = MIN(l->end - off, 32);
    uint64_t h = packet_flow_hash(p);
    uint8_t buf[32];
    const uint8_t *b = packet_peek(p, off, n, buf);

    for (uint32_t i = 0; i < UDP_LEN; i++) {
        h = (h ^ udp[i]) * UINT64_C(0x100000001b3);     /* FNV-1a */
    }
    for (uint32_t i = 0; i < n; i++) {
        h = (h ^ b[i]) * UINT64_C(0x100000001b3);
    }
    return h ^ h >> 32;
}

/* Put a fragment header into the template, where the frame has none. */
static void insert_fragment_header(Cut *c, uint32_t next)
{
    uint8_t *b = c->template + c->frag;

    b[0] = c->template[next];
    c->template[next] = IPPROTO_FRAGMENT;
    memset(b + 1, 0, 3);        /* reserved, offset */
    put32(b + 4, fragment_id(c->p, c->template + c->l4));
}

/* The UDP checksum is the whole datagram's, and is only in the first. */
static void fill_fragment_template(Cut *c, uint32_t next)
{
    const Packet *p = c->p;
    uint8_t *b = template_new(c, c->first_len);
    uint16_t sum;

    packet_copy_range(p, 0, c->begin, b);
    packet_copy_range(p, c->begin, c->first_len - c->rest_len,
                      b + c->rest_len);
    if (p->vnet.flags & PACKET_VNET_NEEDS_CSUM) {
        sum = completed(p, p->layers.l4);
        memcpy(b + c->l4 + UDP_CSUM, &sum, sizeof(sum));
    }
    if (c->v6) {
        insert_fragment_header(c, next);
    }
}

static void prepare_fragments(Cut *c)
{
    const PacketLayers *l = &c->p->layers;
    uint32_t next = 0, insert = c->v6 ? FRAG_LEN : 0;

    c->begin = c->v6 ? per_fragment_len(c->p, &next) : l->l4;
    c->frag = c->v6 ? c->begin : 0;
    c->l4 = l->l4 + insert;
    c->first_len = c->l4 + UDP_LEN;
    c->rest_len = c->begin + insert;
    /* RFC 791: in units of eight; RFC 7112: all headers in the first */
    c->size = MAX(c->p->vnet.gso_size & ~7,
                  (c->first_len - c->rest_len + 7) & ~7);
    if (c->end - c->begin > c->size) {
        fill_fragment_template(c, next);
    }
}

/* --- pieces --------------------------------------------------------------- */

static bool is_last(const Cut *c, uint32_t n)
{
    return n + 1 == c->count;
}

/* Let the piece have @len more bytes.  False: they are in too many places. */
static bool borrow(Cut *c, uint32_t len)
{
    Packet *piece = &c->piece;

    while (len) {
        struct iovec *chunk = &c->iov[1 + piece->tail_cnt];

        if (piece->tail_cnt == PIECE_IOV) {
            return false;
        }
        *chunk = cursor_take(&c->cursor, len);
        piece->tail_cnt++;
        len -= chunk->iov_len;
    }
    return true;
}

/* The frame's bytes [@off, @off + @len) as the piece's tail. */
static void take_payload(Cut *c, uint32_t off, uint32_t len)
{
    c->piece.tail = c->iov + 1;
    c->piece.tail_cnt = 0;
    c->piece.tail_off = 0;
    if (!borrow(c, len)) {
        c->flat = packet_copy(c->p, NULL);
        c->p = c->flat;
        c->cursor = cursor_at(c->p, off);
        c->piece.tail_cnt = 0;
        borrow(c, len);
    }
}

static uint64_t sum_payload(const Cut *c)
{
    uint32_t pos = 0;
    uint64_t sum = 0;

    for (uint32_t i = 1; i <= c->piece.tail_cnt; i++) {
        sum = sum_chunk(sum, pos, c->iov[i].iov_base, c->iov[i].iov_len);
        pos += c->iov[i].iov_len;
    }
    return sum;
}

/* The receiver may write to a piece's headers: each has new ones. */
static uint8_t *take_headers(Cut *c, uint32_t len)
{
    Packet *piece = &c->piece;
    uint8_t *b = c->big ? c->big + c->first_len : piece->scratch;

    memcpy(b, c->template, len);
    c->iov[0] = (struct iovec) { b, len };
    piece->head = b;
    piece->head_len = len;
    return b;
}

static void finish_ipv4(const Cut *c, uint8_t *ip, uint32_t n, uint32_t total)
{
    uint16_t id = c->type == PACKET_GSO_UDP ? c->id : c->id + n;
    uint16_t frag = 0, sum;

    if (c->type == PACKET_GSO_UDP) {
        frag = n * c->size / 8 | !is_last(c, n) << 13;
        put16(ip + 6, frag);
    }
    put16(ip + 2, total);
    put16(ip + 4, id);
    sum = csum_finish(c->ip_sum + htons(total) + htons(id) + htons(frag));
    memcpy(ip + 10, &sum, sizeof(sum));
}

static void finish_ipv6(const Cut *c, uint8_t *b, uint32_t n, uint32_t total)
{
    put16(b + c->l3 + 4, total - IPV6_LEN);
    if (c->frag) {
        put16(b + c->frag + 2, n * c->size | (!is_last(c, n)));
    }
}

/* RFC 3168, 6.1.2: the window was reduced once. */
static uint64_t finish_tcp(const Cut *c, uint8_t *tcp, uint32_t n)
{
    uint8_t flags = c->tcp_flags;
    uint32_t seq = c->seq + n * c->size;

    if (n) {
        flags &= ~TCP_CWR;
    }
    if (!is_last(c, n)) {
        flags &= ~(TCP_FIN | TCP_PSH);
    }
    put32(tcp + 4, seq);
    tcp[13] = flags;
    return (uint64_t)htonl(seq) + htons(flags);
}

/* Returns what is not in l4_sum: the length is also in UDP's header. */
static uint64_t finish_udp(uint8_t *udp, uint32_t len)
{
    put16(udp + 4, len);
    return htons(len);
}

static void finish_upper(Cut *c, uint8_t *b, uint32_t n)
{
    Packet *piece = &c->piece;
    uint32_t len = piece->len - c->l4;
    bool tcp = c->type != PACKET_GSO_UDP_L4;
    uint32_t off = tcp ? TCP_CSUM : UDP_CSUM;
    uint64_t own = tcp ? finish_tcp(c, b + c->l4, n)
                       : finish_udp(b + c->l4, len);
    uint16_t sum;

    if (c->partial) {
        piece->vnet.flags = PACKET_VNET_NEEDS_CSUM;
        piece->vnet.csum_start = c->l4;
        piece->vnet.csum_offset = off;
        sum = fold(c->pseudo + htons(len));
    } else {
        sum = csum_finish(c->l4_sum + htons(len) + own + sum_payload(c));
        if (!sum && !tcp) {
            sum = 0xffff;
        }
    }
    memcpy(b + c->l4 + off, &sum, sizeof(sum));
}

/* As packet_parse() would fill in the layers of fragment @n. */
static void finish_fragment(Cut *c, const uint8_t *b, uint32_t n)
{
    PacketLayers *l = &c->piece.layers;

    l->kind = c->v6 ? PACKET_IPV6 : PACKET_IPV4;
    l->fragment = true;
    l->frag_header = c->v6 ? c->frag : 0;
    l->l4 = c->l4;
    if (n) {
        l->l4 = 0;
        l->src_port = 0;
        l->dst_port = 0;
        l->ip_proto = c->v6 ? b[c->frag] : IPPROTO_UDP;
    }
}

static void make_piece(Cut *c, uint32_t n)
{
    Packet *piece = &c->piece;
    uint32_t skip = n ? 0 : c->first_len - c->rest_len;
    uint32_t off = c->begin + n * c->size;
    uint32_t len = MIN(c->size, c->end - off);
    uint8_t *b;

    memcpy(piece, c->p, offsetof(Packet, scratch));
    b = take_headers(c, c->rest_len + skip);
    take_payload(c, off + skip, len - skip);
    piece->len = c->rest_len + len;
    piece->buf = NULL;
    piece->pieces = 0;
    invariant_made(piece);
    piece->vnet = (PacketVnet) { 0 };
    piece->layers.end = piece->len;
    if (c->v6) {
        finish_ipv6(c, b, n, piece->len - c->l3);
    } else {
        finish_ipv4(c, b + c->l3, n, piece->len - c->l3);
    }
    if (c->type == PACKET_GSO_UDP) {
        finish_fragment(c, b, n);
    } else {
        finish_upper(c, b, n);
    }
}

/* Begin with piece @n. */
static void cut_seek(Cut *c, uint32_t n)
{
    uint32_t skip = n ? 0 : c->first_len - c->rest_len;
    uint32_t len = c->end - c->begin;

    c->count = len ? (len + c->size - 1) / c->size : 1;
    if (n < c->count) {
        c->cursor = cursor_at(c->p, c->begin + n * c->size + skip);
    }
}

/* False where there is only one piece, which is all of @p. */
static bool cut_begin(Cut *c, const Packet *p, unsigned can)
{
    memset(c, 0, offsetof(Cut, iov));
    c->p = p;
    c->type = p->vnet.gso_type & ~PACKET_GSO_ECN;
    c->v6 = p->layers.src.family == IP_V6;
    c->l3 = p->layers.l3;
    c->end = p->layers.end;
    if (c->type == PACKET_GSO_UDP) {
        prepare_fragments(c);
        if (c->end - c->begin <= c->size) {
            return false;
        }
    } else {
        prepare_segments(c);
        c->partial = can & OFFLOAD_CSUM;
    }
    if (!c->v6) {
        prepare_ipv4(c);
    }
    return true;
}

static void cut_end(Cut *c)
{
    packet_put(c->flat);
    g_free(c->big);
}

/*
 * It takes segments of any length, once their checksum is there.  Where
 * others were cut off before, the rest are cut, too.
 */
static bool lacks_only_checksum(const Packet *p, unsigned can)
{
    return !p->pieces && (p->vnet.flags & PACKET_VNET_NEEDS_CSUM) &&
           !(offload_needs(p) & ~(can | OFFLOAD_CSUM));
}

bool offload_send(Packet *p, unsigned can, OffloadEmit *emit, void *opaque)
{
    UNINITIALIZED Cut c;
    bool taken = true;

    if (!p->vnet.gso_type || lacks_only_checksum(p, can) ||
        !cut_begin(&c, p, can)) {
        if (!p->pieces) {
            taken = send_whole(p, can, emit, opaque);
            p->pieces += taken;
        }
        return taken;
    }
    cut_seek(&c, p->pieces);
    while (taken && p->pieces < c.count) {
        make_piece(&c, p->pieces);
        taken = emit(opaque, &c.piece);
        p->pieces += taken;
    }
    cut_end(&c);
    return taken;
}
