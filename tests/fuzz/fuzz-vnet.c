/*
 * The virtio-net header: what a guest says of its frame, and what becomes of it
 *
 * A guest sends one frame behind a header of any length and byte order, to a
 * sibling or out of the uplink, either of which takes any Offloads.  What comes
 * out needs no more than those, no piece is longer than the guest said, all of
 * them together have the same payload, and their checksums are right.  Pieces
 * of TCP then come in from the uplink, and are put together again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <netinet/in.h>

#include "fuzz.h"
#include "grammar.h"
#include "libvlink/vnet.h"

#define FROM "10.0.0.1"
#define TO "10.0.0.2"
#define FROM6 "fd00::1"
#define TO6 "fd00::2"

typedef struct Run {
    Net net;
    User *from, *to;
    GPtrArray *out;             /* of Frame */
    unsigned can;               /* who gets it */
    bool sound;
} Run;

static DropReason look(const Frame *f, Packet *p, struct iovec *iov)
{
    *iov = (struct iovec) { f->data, f->len };
    packet_init(p, iov, 1);
    p->has_vnet = f->has_vnet;
    p->vnet = f->vnet;
    return packet_parse(p);
}

/* --- one frame ------------------------------------------------------------ */

static void set_ip(Frame *f, unsigned off, const char *addr)
{
    IpAddr a = ip(addr);

    memcpy(f->data + off, a.b, ip_bits(a.family) / 8);
}

/* Between the two, whose addresses these are. */
static void address(Run *r, Frame *f, bool to_sibling)
{
    FrameOffsets o = frame_offsets(f);
    bool partial = f->has_vnet;
    PacketVnet vnet = f->vnet;

    set_ip(f, o.l3 + (o.v6 ? 8 : 12), o.v6 ? FROM6 : FROM);
    set_ip(f, o.l3 + (o.v6 ? 24 : 16), o.v6 ? TO6 : TO);
    frame_set_mac_dst(f, to_sibling ? port_mac : gateway_mac);
    frame_set_mac_src(f, r->from->mac);
    f->has_vnet = false;
    frame_checksum(f);
    if (partial) {
        frame_partial(f);
        f->vnet = vnet;
    }
}

static void poke(Run *r, Input *in, Frame *f)
{
    unsigned n = in_below(in, 4);

    while (n--) {
        unsigned off = 12 + in8(in);

        if (off < f->len) {
            f->data[off] = in8(in);
            r->sound = false;
        }
    }
}

/* The header as it lies before the frame, after the guest has lied in it. */
static unsigned make_header(Run *r, Input *in, const Frame *f, uint8_t *b,
                            bool big_endian)
{
    static const uint8_t lens[] = { 10, 12, 20 };
    unsigned len = in_pick(in, lens), n = in_below(in, 4);
    PacketVnet again;

    vnet_put(b, len, &f->vnet, big_endian);
    while (n--) {
        b[in_below(in, len)] = in8(in);
    }
    again = vnet_get(b, big_endian);
    r->sound &= !memcmp(&again, &f->vnet, sizeof(again));
    return len;
}

/* As QEMU's side takes it: see vlink_take(). */
static LinkTx send_raw(Run *r, Frame *f, const uint8_t *header, unsigned len,
                       bool big_endian)
{
    g_autoptr(Frame) raw = frame_dup(f);
    FramePieces pieces;
    uint8_t pulled[VNET_HDR_MAX];
    Packet p;
    LinkTx tx;

    frame_insert(raw, 0, header, len);
    frame_pieces(raw, &pieces);
    packet_init(&p, pieces.iov, pieces.n);
    g_assert_true(packet_pull(&p, len, pulled));
    g_assert_cmpmem(pulled, len, header, len);
    f->has_vnet = p.has_vnet = true;
    p.vnet = vnet_get(pulled, big_endian);
    p.vnet.flags &= PACKET_VNET_NEEDS_CSUM;
    f->vnet = p.vnet;
    tx = link_xmit(r->from->link, &p);
    g_assert_true(frame_pieces_equal(raw, &pieces));
    frame_pieces_free(&pieces);
    return tx;
}

/* --- what comes of it ----------------------------------------------------- */

static void check_piece(const Run *r, const Frame *f)
{
    struct iovec iov;
    Packet p;

    g_assert_cmpint(look(f, &p, &iov), ==, DROP_NONE);
    g_assert_cmphex(offload_needs(&p) & ~r->can, ==, 0);
    if (r->sound && !p.layers.fragment) {
        g_assert_true(frame_checksum_ok(f));
    }
    fuzz_note(f);
}

/* Where the payload of a datagram begins that is cut as @v says. */
static uint32_t payload_of(const Frame *f, const Packet *p, const PacketVnet *v)
{
    const PacketLayers *l = &p->layers;

    switch (v->gso_type & ~PACKET_GSO_ECN) {
    case PACKET_GSO_UDP_L4:
        return l->l4 + 8;
    case PACKET_GSO_UDP:
        /* each fragment has the part that is before the fragment header */
        return l->frag_header ? l->frag_header + 8 :
               l->src.family == IP_V4 ? l->l3 + (f->data[l->l3] & 15) * 4 :
                                        l->l4;
    default:
        return l->l4 + (f->data[l->l4 + 12] >> 4) * 4;
    }
}

/* All pieces' payload is that of @f, in order, and none is too long. */
static void check_payload(const Run *r, const Frame *f, const Packet *whole)
{
    const PacketVnet *v = &f->vnet;
    bool ufo = v->gso_type == PACKET_GSO_UDP;
    uint32_t from = payload_of(f, whole, v), off = from;
    uint32_t max = ufo ? MAX(v->gso_size & ~7, 8) : v->gso_size;

    for (unsigned i = 0; i < r->out->len; i++) {
        const Frame *piece = r->out->pdata[i];
        struct iovec iov;
        uint32_t begin, len, skip;
        Packet p;

        look(piece, &p, &iov);
        begin = payload_of(piece, &p, v);
        len = p.layers.end - begin;
        if (r->out->len > 1) {
            /* of IPv6 all headers that have to be are in the first one */
            g_assert_true(len <= max || (ufo && !i && p.layers.l4));
        }
        /* a checksum that was completed differs */
        skip = ufo && !i && p.layers.l4 ? p.layers.l4 + 8 - begin : 0;
        g_assert_cmpuint(len, <=, whole->layers.end - off);
        g_assert_cmpmem(piece->data + begin + skip, len - skip,
                        f->data + off + skip, len - skip);
        off += len;
    }
    g_assert_cmpuint(off, ==, whole->layers.end);
}

/* The datagram that was cut into fragments has the right checksum. */
static void check_fragments(const Run *r, const Frame *f, const Packet *whole)
{
    const PacketLayers *l = &whole->layers;
    const Frame *first = r->out->pdata[0];
    g_autoptr(Frame) again = frame_dup(f);
    struct iovec iov;
    Packet p;

    look(first, &p, &iov);
    if (!p.layers.fragment || !p.layers.l4) {
        return;
    }
    memcpy(again->data + l->l4, first->data + p.layers.l4, 8);
    again->has_vnet = false;
    g_assert_true(frame_checksum_ok(again));
}

static void check_result(const Run *r, const Frame *f)
{
    struct iovec iov;
    Packet p;

    if (look(f, &p, &iov) != DROP_NONE) {
        g_assert_cmpuint(r->out->len, ==, 0);
        return;
    }
    for (unsigned i = 0; i < r->out->len; i++) {
        check_piece(r, r->out->pdata[i]);
    }
    if (!r->out->len) {
        return;
    }
    if (!(offload_needs(&p) & ~r->can)) {
        const Frame *same = r->out->pdata[0];

        g_assert_cmpuint(r->out->len, ==, 1);
        g_assert_cmpmem(same->data, same->len, f->data, f->len);
    } else if (f->vnet.gso_type) {
        check_payload(r, f, &p);
        if (r->sound && f->vnet.gso_type == PACKET_GSO_UDP) {
            check_fragments(r, f, &p);
        }
    } else {
        g_assert_cmpuint(r->out->len, ==, 1);
    }
}

/* --- put together again --------------------------------------------------- */

/* Is all that went out TCP, and would be for the other one? */
static bool is_tcp(const Run *r)
{
    IpAddr to4 = ip(TO), to6 = ip(TO6);
    struct iovec iov;
    Packet p;

    for (unsigned i = 0; i < r->out->len; i++) {
        look(r->out->pdata[i], &p, &iov);
        if (p.layers.ip_proto != IPPROTO_TCP || p.layers.fragment ||
            !p.layers.l4 || (!ip_equal(&p.layers.dst, &to4) &&
                             !ip_equal(&p.layers.dst, &to6))) {
            return false;
        }
    }
    return r->out->len;
}

static GByteArray *payload(GPtrArray *frames)
{
    GByteArray *bytes = g_byte_array_new();
    PacketVnet v = { .gso_type = PACKET_GSO_TCPV4 };

    for (unsigned i = 0; i < frames->len; i++) {
        const Frame *f = frames->pdata[i];
        struct iovec iov;
        uint32_t begin;
        Packet p;

        g_assert_cmpint(look(f, &p, &iov), ==, DROP_NONE);
        begin = payload_of(f, &p, &v);
        g_byte_array_append(bytes, f->data + begin, p.layers.end - begin);
    }
    return bytes;
}

/* From outside, without a header where it says nothing. */
static void send_back(Run *r, const Frame *f)
{
    Frame *copy = frame_dup(f);

    frame_set_mac_dst(copy, port_mac);
    frame_set_mac_src(copy, gateway_mac);
    copy->has_vnet = copy->vnet.flags & PACKET_VNET_NEEDS_CSUM ||
                     copy->vnet.gso_type;
    wire_receive(&r->net.wire, copy);
}

static void check_coalesced(Run *r, Input *in)
{
    g_autoptr(GByteArray) sent = NULL, got = NULL;

    if (!is_tcp(r)) {
        return;
    }
    g_ptr_array_set_size(r->to->got, 0);
    link_set_offloads(r->to->link, grammar_offloads(in));
    for (unsigned i = 0; i < r->out->len; i++) {
        send_back(r, r->out->pdata[i]);
    }
    clock_run_pending();
    r->can = r->to->link->offloads;
    for (unsigned i = 0; i < r->to->got->len; i++) {
        check_piece(r, r->to->got->pdata[i]);
    }
    sent = payload(r->out);
    got = payload(r->to->got);
    g_assert_cmpmem(got->data, got->len, sent->data, sent->len);
}

/* --- all of it ------------------------------------------------------------ */

static void run_init(Run *r, Input *in, bool to_sibling)
{
    unsigned offloads = grammar_offloads(in);
    IpPrefix from[] = { prefix(FROM), prefix(FROM6) };
    IpPrefix to[] = { prefix(TO), prefix(TO6) };

    *r = (Run) { .can = offloads, .sound = true };
    net_init(&r->net, IPVLAN_L2, IPVLAN_BRIDGE);
    r->from = net_add(&r->net, (IpvlanConfig) {
        .addrs = from, .n_addrs = 2, .guard = in8(in) & 1,
    });
    r->to = net_add(&r->net, (IpvlanConfig) { .addrs = to, .n_addrs = 2 });
    if (to_sibling) {
        link_set_offloads(r->to->link, offloads);
        r->out = r->to->got;
    } else {
        link_set_offloads(r->net.wire.link, offloads);
        r->out = r->net.wire.sent;
    }
    r->out = g_ptr_array_ref(r->out);
}

static void send_one(Run *r, Input *in, bool to_sibling)
{
    static const Speaker nobody = { .mac = port_mac };
    uint8_t header[VNET_HDR_MAX];
    bool big_endian = in8(in) & 1;
    Made m = grammar_segment(in, &nobody, 65000);
    g_autoptr(Frame) f = m.frame;
    unsigned len;

    address(r, f, to_sibling);
    poke(r, in, f);
    grammar_cut(in, f);
    len = make_header(r, in, f, header, big_endian);
    send_raw(r, f, header, len, big_endian);
    check_result(r, f);
}

void fuzz_one(Input *in)
{
    bool to_sibling = in8(in) & 1;
    Run r;

    run_init(&r, in, to_sibling);
    send_one(&r, in, to_sibling);
    if (!to_sibling) {
        check_coalesced(&r, in);
    }
    net_clear(&r.net);
    g_ptr_array_unref(r.out);
    net_fini(&r.net);
}
