/*
 * Fragments of IPv4 packets
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../bytes.h"
#include "fragment.h"
#include "port.h"

enum {
    IP_LEN = 20,                /* without options */
    IP_MAX_LEN = 60,
    IP_DF = 0x4000,
    IP_MF = 0x2000,
    IP_OFFSET = 0x1fff,         /* in units of eight bytes */

    OPT_END = 0,
    OPT_NOP = 1,
    OPT_COPIED = 0x80,          /* into every fragment */

    MIN_MTU = IP_MAX_LEN + 8,   /* RFC 791, 3.2: every module forwards that */
    PIECE_IOV = 16,
};

typedef struct Cut {
    const Packet *p;            /* where the payload is borrowed from */
    uint32_t begin;             /* of it in the frame */
    uint32_t end;
    uint32_t mtu;
    uint32_t off;               /* of what comes next, behind begin */
    uint16_t frag;              /* flags and offset of the whole */
    uint32_t first_len;         /* of the IP header */
    uint32_t rest_len;          /* of those that are not the first */
    uint8_t first[IP_MAX_LEN];
    uint8_t rest[IP_MAX_LEN];
    struct iovec iov[1 + PIECE_IOV];    /* header first */
    Packet piece;
} Cut;

bool fragment_is_allowed(const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint8_t buf[2];
    const uint8_t *b;

    if (l->src.family != IP_V4 || l->kind == PACKET_ARP ||
        (p->has_vnet && p->vnet.gso_type)) {
        return false;
    }
    b = packet_peek(p, l->l3 + 6, sizeof(buf), buf);
    return !(get16(b) & IP_DF);
}

/* --- headers ------------------------------------------------------------- */

/* RFC 791, 3.1: of the options only some are for every fragment. */
static uint32_t copy_options(uint8_t *to, const uint8_t *from, uint32_t len)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < len && from[i] != OPT_END; ) {
        uint32_t size = from[i] == OPT_NOP ? 1 :
                        i + 1 < len ? from[i + 1] : 0;

        if (!size || i + size > len || (from[i] != OPT_NOP && size < 2)) {
            break;              /* what cannot be read is not passed on */
        }
        if (from[i] & OPT_COPIED) {
            memcpy(to + n, from + i, size);
            n += size;
        }
        i += size;
    }
    while (n % 4) {
        to[n++] = OPT_END;
    }
    return n;
}

/* As parse_ipv4() saw it, unless somebody changed it since. */
static uint32_t header_len(const PacketLayers *l, const uint8_t *ip)
{
    uint32_t len = l->l4 ? l->l4 - l->l3 : (ip[0] & 0xf) * 4;

    return len < IP_LEN || len > l->end - l->l3 ? IP_LEN : len;
}

static void cut_headers(Cut *c)
{
    const PacketLayers *l = &c->p->layers;
    uint32_t len = l->end - l->l3;

    packet_copy_range(c->p, l->l3, MIN(len, IP_MAX_LEN), c->first);
    c->first_len = header_len(l, c->first);
    c->first[0] = 0x40 | c->first_len / 4;
    c->frag = get16(c->first + 6) & ~IP_DF;
    memcpy(c->rest, c->first, IP_LEN);
    c->rest_len = IP_LEN + copy_options(c->rest + IP_LEN, c->first + IP_LEN,
                                        c->first_len - IP_LEN);
    c->rest[0] = 0x40 | c->rest_len / 4;
}

static void finish_header(const Cut *c, uint8_t *ip, uint32_t header,
                          uint32_t len)
{
    bool more = c->begin + c->off + len < c->end;
    uint16_t frag = c->frag + c->off / 8;
    uint16_t sum;

    put16(ip + 2, header + len);
    put16(ip + 6, more ? frag | IP_MF : frag);
    memset(ip + 10, 0, 2);
    sum = csum_finish(csum_add(0, ip, header));
    memcpy(ip + 10, &sum, sizeof(sum));
}

/* --- pieces -------------------------------------------------------------- */

/* Append [@off, @off + @len) of @base, @have bytes long, to @iov. */
static uint32_t borrow_from(struct iovec *iov, const void *base, uint32_t have,
                            uint32_t off, uint32_t len)
{
    uint32_t n = MIN(len, have - off);

    *iov = (struct iovec) { (uint8_t *)base + off, n };
    return n;
}

/* The frame's bytes [@off, @off + @len), of at most PIECE_IOV elements. */
static uint32_t borrow(const Packet *p, uint32_t off, uint32_t len,
                       struct iovec *iov)
{
    const struct iovec *tail = p->tail;
    uint32_t n = 0;

    if (off < p->head_len) {
        len -= borrow_from(&iov[n++], p->head, p->head_len, off, len);
        off = p->head_len;
    }
    off = off - p->head_len + p->tail_off;
    for (; len; tail++) {
        if (off < tail->iov_len) {
            len -= borrow_from(&iov[n++], tail->iov_base, tail->iov_len, off,
                               len);
            off = tail->iov_len;
        }
        off -= tail->iov_len;
    }
    return n;
}

/* As packet_parse() would fill them in. */
static void finish_layers(Cut *c)
{
    PacketLayers *l = &c->piece.layers;

    l->kind = PACKET_IPV4;
    l->fragment = true;
    l->end = c->piece.len;
    if (l->l4 && !c->off) {
        return;
    }
    l->l4 = 0;
    l->src_port = 0;
    l->dst_port = 0;
}

static uint32_t make_piece(Cut *c)
{
    bool first = !c->off;
    uint32_t header = first ? c->first_len : c->rest_len;
    uint32_t l3 = c->p->layers.l3;
    uint32_t left = c->end - c->begin - c->off;
    uint32_t room = c->mtu - header;
    uint32_t len = left <= room ? left : room & ~7;
    Packet *piece = &c->piece;

    memcpy(piece, c->p, offsetof(Packet, scratch));
    packet_copy_range(c->p, 0, l3, piece->scratch);
    memcpy(piece->scratch + l3, first ? c->first : c->rest, header);
    finish_header(c, piece->scratch + l3, header, len);
    piece->head = piece->scratch;
    piece->head_len = l3 + header;
    c->iov[0] = (struct iovec) { piece->scratch, piece->head_len };
    piece->tail = c->iov + 1;
    piece->tail_off = 0;
    piece->tail_cnt = borrow(c->p, c->begin + c->off, len, c->iov + 1);
    piece->len = piece->head_len + len;
    piece->buf = NULL;
    invariant_made(piece);
    piece->vnet = (PacketVnet) { 0 };
    finish_layers(c);
    return len;
}

static LinkTx cut_send(Cut *c, FragmentEmit *emit, void *opaque)
{
    uint32_t len = make_piece(c);
    LinkTx tx = emit(opaque, &c->piece, false);

    if (tx == LINK_TX_BUSY) {
        return tx;
    }
    for (c->off = len; c->begin + c->off < c->end; c->off += len) {
        len = make_piece(c);
        emit(opaque, &c->piece, true);
    }
    return tx;
}

/* @p's checksum is complete. */
static LinkTx send_complete(const Packet *p, uint32_t mtu, FragmentEmit *emit,
                            void *opaque)
{
    g_autoptr(Packet) flat = NULL;
    UNINITIALIZED Cut c;

    if (p->tail_cnt >= PIECE_IOV) {
        flat = packet_copy(p, NULL);
        p = flat;
    }
    c.p = p;
    c.mtu = MAX(mtu, MIN_MTU);
    c.off = 0;
    cut_headers(&c);
    c.begin = p->layers.l3 + c.first_len;
    c.end = p->layers.end;
    return cut_send(&c, emit, opaque);
}

/* --- with a checksum that is to be completed ------------------------------ */

typedef struct Completion {
    uint32_t mtu;
    FragmentEmit *emit;
    void *opaque;
    LinkTx tx;
} Completion;

static bool emit_complete(void *opaque, Packet *p)
{
    Completion *c = opaque;

    c->tx = send_complete(p, c->mtu, c->emit, c->opaque);
    return c->tx != LINK_TX_BUSY;
}

LinkTx fragment_send(const Packet *p, uint32_t mtu, FragmentEmit *emit,
                     void *opaque)
{
    Completion c = { .mtu = mtu, .emit = emit, .opaque = opaque };
    UNINITIALIZED Packet view;

    if (!offload_needs(p)) {
        return send_complete(p, mtu, emit, opaque);
    }
    packet_view(&view, p);
    offload_send(&view, 0, emit_complete, &c);
    return c.tx;
}

/* --- out of the uplink --------------------------------------------------- */

typedef struct ToNeigh {
    IpvlanSlave *slave;
    const IpAddr *hop;
    unsigned emitted;
} ToNeigh;

static LinkTx emit_to_neigh(void *opaque, Packet *piece, bool rest)
{
    ToNeigh *to = opaque;
    LinkTx tx = (rest ? neigh_send_rest : neigh_send)(to->slave, to->hop,
                                                      piece);

    to->emitted += tx != LINK_TX_BUSY;
    return tx;
}

LinkTx fragment_to_neigh(IpvlanSlave *slave, const IpAddr *hop,
                         const Packet *p, uint32_t mtu)
{
    ToNeigh to = { .slave = slave, .hop = hop };
    LinkTx tx = fragment_send(p, mtu, emit_to_neigh, &to);

    link_count_pieces(slave->link, to.emitted, tx != LINK_TX_BUSY);
    if (tx != LINK_TX_BUSY) {
        invariant_ended(p);
    }
    return tx;
}
