/*
 * Offloads: what is cut and completed is what a sender without them had sent
 *
 * The pieces are compared with frames that are built here in the slow and
 * obvious way: copy the headers, change the fields, sum byte after byte.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>

#include "harness.h"
#include "libvlink/offload.h"

static const uint8_t a_mac[] = { 0x52, 0x54, 0, 0, 0, 0xa };
static const uint8_t b_mac[] = { 0x52, 0x54, 0, 0, 0, 0xb };

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define A6 "fd00::a"
#define B6 "fd00::b"

enum { TCP_FIN = 1, TCP_PSH = 8, TCP_ACK = 16, TCP_CWR = 128 };

#define TSO (OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6)

static unsigned pick(unsigned from, unsigned to)
{
    return g_test_rand_int_range(from, to + 1);
}

/* --- frames with work left to do ------------------------------------------ */

static void fill(Frame *f, unsigned off)
{
    for (unsigned i = off; i < f->len; i++) {
        f->data[i] = g_test_rand_int();
    }
}

/* @payload random bytes of @proto, its header with @opts bytes of options. */
static Frame *upper(bool v6, uint8_t proto, unsigned opts, unsigned payload)
{
    const char *src = v6 ? A6 : A4, *dst = v6 ? B6 : B4;
    Frame *f = proto == 6
        ? frame_tcp(b_mac, a_mac, src, dst, opts + payload)
        : frame_udp(b_mac, a_mac, src, dst, 4000, 5000, payload);
    unsigned l4 = frame_offsets(f).l4;

    if (proto == 6) {
        fill(f, l4 + 4);
        memset(f->data + l4 + 20, 1, opts);
        frame_set8(f, l4 + 12, (20 + opts) / 4 << 4);
        frame_set8(f, l4 + 13, TCP_ACK);
    } else {
        fill(f, l4 + 8);
    }
    if (!v6) {
        frame_set16(f, 14 + 4, g_test_rand_int());
    }
    return frame_checksum(f);
}

/* A partial checksum, and to be cut at @size. */
static Frame *gso(Frame *f, uint8_t type, uint16_t size)
{
    frame_partial(f);
    f->vnet.gso_type = type;
    f->vnet.gso_size = size;
    f->vnet.hdr_len = 7;        /* a hint, and a bad one */
    return f;
}

static Frame *gso_tcp(bool v6, unsigned payload, uint16_t size)
{
    return gso(upper(v6, 6, 12, payload),
               v6 ? PACKET_GSO_TCPV6 : PACKET_GSO_TCPV4, size);
}

static Frame *gso_udp(bool v6, uint8_t type, unsigned payload, uint16_t size)
{
    return gso(upper(v6, 17, 0, payload), type, size);
}

/* --- packets in many places ----------------------------------------------- */

typedef struct Scattered {
    Packet p;
    struct iovec *iov;
    unsigned cnt;
} Scattered;

/* Cut @f before each of @cuts, which ascend. */
static void scatter(Scattered *s, const Frame *f, const unsigned *cuts,
                    unsigned n_cuts)
{
    unsigned at = 0;

    s->cnt = n_cuts + 1;
    s->iov = g_new(struct iovec, s->cnt);
    for (unsigned i = 0; i < s->cnt; i++) {
        unsigned end = i < n_cuts ? cuts[i] : f->len;
        uint8_t *b = malloc(end - at + !(end - at));

        memcpy(b, f->data + at, end - at);
        s->iov[i] = (struct iovec) { b, end - at };
        at = end;
    }
    packet_init(&s->p, s->iov, s->cnt);
    s->p.has_vnet = f->has_vnet;
    s->p.vnet = f->vnet;
    g_assert_cmpint(packet_parse(&s->p), ==, DROP_NONE);
}

static void scatter_free(Scattered *s)
{
    for (unsigned i = 0; i < s->cnt; i++) {
        free(s->iov[i].iov_base);
    }
    g_free(s->iov);
}

static int by_value(const void *a, const void *b)
{
    return *(const unsigned *)a - *(const unsigned *)b;
}

static void scatter_randomly(Scattered *s, const Frame *f, unsigned n_cuts)
{
    g_autofree unsigned *cuts = g_new(unsigned, n_cuts + 1);

    for (unsigned i = 0; i < n_cuts; i++) {
        cuts[i] = pick(0, f->len);
    }
    qsort(cuts, n_cuts, sizeof(*cuts), by_value);
    scatter(s, f, cuts, n_cuts);
}

/* --- a receiver ----------------------------------------------------------- */

typedef struct Sink {
    GPtrArray *got;             /* of Frame */
    unsigned room;
} Sink;

static void assert_equal_layers(const PacketLayers *a, const PacketLayers *b)
{
    g_assert_cmpuint(a->kind, ==, b->kind);
    g_assert_cmpuint(a->ip_proto, ==, b->ip_proto);
    g_assert_cmpuint(a->nd_type, ==, b->nd_type);
    g_assert_cmpuint(a->fragment, ==, b->fragment);
    g_assert_cmpuint(a->frag_header, ==, b->frag_header);
    g_assert_cmpuint(a->ethertype, ==, b->ethertype);
    g_assert_cmpuint(a->l3, ==, b->l3);
    g_assert_cmpuint(a->l4, ==, b->l4);
    g_assert_cmpuint(a->src_port, ==, b->src_port);
    g_assert_cmpuint(a->dst_port, ==, b->dst_port);
    g_assert_cmpuint(a->end, ==, b->end);
    g_assert_true(ip_equal(&a->src, &b->src));
    g_assert_true(ip_equal(&a->dst, &b->dst));
}

static void assert_equal_frames(const Frame *a, const Frame *b)
{
    g_assert_cmpmem(a->data, a->len, b->data, b->len);
    g_assert_cmpuint(a->has_vnet, ==, b->has_vnet);
    g_assert_cmpmem(&a->vnet, sizeof(a->vnet), &b->vnet, sizeof(b->vnet));
}

/* All that can be done with a Packet can be done with a piece. */
static void check_piece(Packet *piece, const Frame *f)
{
    struct iovec iov[64];
    int n = packet_to_iov(piece, iov, G_N_ELEMENTS(iov));
    g_autoptr(Packet) held = packet_hold(piece);
    g_autoptr(Frame) kept = frame_from_packet(held), seen = NULL;
    Packet again, view;

    g_assert_cmpint(n, >, 0);
    packet_init(&again, iov, n);
    again.has_vnet = piece->has_vnet;
    again.vnet = piece->vnet;
    g_assert_cmpuint(again.len, ==, f->len);
    g_assert_cmpint(packet_parse(&again), ==, DROP_NONE);
    assert_equal_layers(&again.layers, &piece->layers);
    g_assert_cmpuint(piece->pieces, ==, 0);
    assert_equal_frames(kept, f);

    packet_view(&view, piece);
    memset(packet_cow_head(&view, MIN(f->len, 200)), 0xee, 14);
    seen = frame_from_packet(&view);
    g_assert_cmpmem(seen->data + 14, seen->len - 14, f->data + 14,
                    f->len - 14);
}

static bool sink_emit(void *opaque, Packet *piece)
{
    Sink *sink = opaque;
    Frame *f;

    if (!sink->room) {
        return false;
    }
    sink->room--;
    f = frame_from_packet(piece);
    g_ptr_array_add(sink->got, f);
    check_piece(piece, f);
    /* and now it is rewritten, as a slave does with its MAC */
    memset(packet_cow_head(piece, MIN(f->len, PACKET_SCRATCH_LEN)), 0xee,
           MIN(f->len, 60));
    return true;
}

static Sink sink_new(unsigned room)
{
    return (Sink) {
        g_ptr_array_new_with_free_func((GDestroyNotify)frame_free), room,
    };
}

static const Frame *sink_frame(const Sink *sink, unsigned i)
{
    g_assert_cmpuint(i, <, sink->got->len);
    return g_ptr_array_index(sink->got, i);
}

static void sink_free(Sink *sink)
{
    g_ptr_array_unref(sink->got);
}

/* All pieces of @f. */
static Sink cut(const Frame *f, unsigned can, unsigned n_cuts)
{
    Sink sink = sink_new(NO_LIMIT);
    Scattered s;

    scatter_randomly(&s, f, n_cuts);
    g_assert_cmphex(offload_needs(&s.p) & ~can, !=, 0);
    g_assert_true(offload_send(&s.p, can, sink_emit, &sink));
    g_assert_cmpuint(s.p.pieces, ==, sink.got->len);
    scatter_free(&s);
    return sink;
}

/* --- what the pieces should be -------------------------------------------- */

static unsigned header_len(const Frame *f)
{
    FrameOffsets o = frame_offsets(f);

    return o.l4 + (o.proto == 6 ? (f->data[o.l4 + 12] >> 4) * 4 : 8);
}

static void set_ip_len(Frame *f, const FrameOffsets *o)
{
    frame_set16(f, o->l3 + (o->v6 ? 4 : 2), f->len - o->l3 - (o->v6 ? 40 : 0));
}

static void set_tcp(Frame *f, unsigned l4, unsigned from, bool first,
                    bool last)
{
    uint32_t seq = ((uint32_t)frame_get16(f, l4 + 4) << 16 |
                    frame_get16(f, l4 + 6)) + from;
    uint8_t flags = f->data[l4 + 13];

    frame_set16(f, l4 + 4, seq >> 16);
    frame_set16(f, l4 + 6, seq);
    flags &= first ? 0xff : ~TCP_CWR;
    flags &= last ? 0xff : ~(TCP_FIN | TCP_PSH);
    frame_set8(f, l4 + 13, flags);
}

/* Segment @n of @f, with @partial checksum. */
static Frame *segment(const Frame *f, unsigned n, bool partial)
{
    FrameOffsets o = frame_offsets(f);
    unsigned head = header_len(f), from = n * f->vnet.gso_size;
    unsigned payload = o.end - head;
    unsigned len = MIN(payload - from, f->vnet.gso_size);
    Frame *s = frame_new(f->data, head + len);

    memcpy(s->data + head, f->data + head + from, len);
    set_ip_len(s, &o);
    if (!o.v6) {
        frame_set16(s, o.l3 + 4, frame_get16(s, o.l3 + 4) + n);
    }
    if (o.proto == 6) {
        set_tcp(s, o.l4, from, n == 0, from + len == payload);
    } else {
        frame_set16(s, o.l4 + 4, s->len - o.l4);
    }
    frame_checksum(s);
    s->has_vnet = true;
    return partial ? frame_partial(s) : s;
}

static void check_segments(const Frame *f, const Sink *sink, bool partial)
{
    unsigned payload = frame_offsets(f).end - header_len(f);
    unsigned size = f->vnet.gso_size;

    g_assert_cmpuint(sink->got->len, ==,
                     payload ? (payload + size - 1) / size : 1);
    for (unsigned i = 0; i < sink->got->len; i++) {
        g_autoptr(Frame) wanted = segment(f, i, partial);

        g_assert_true(frame_checksum_ok(wanted));
        assert_equal_frames(sink_frame(sink, i), wanted);
    }
}

static void check_cut(Frame *f, unsigned can, unsigned n_cuts)
{
    Sink sink = cut(f, can, n_cuts);

    check_segments(f, &sink, can & OFFLOAD_CSUM);
    sink_free(&sink);
    frame_free(f);
}

/* --- sums ----------------------------------------------------------------- */

static uint16_t slow_sum(const uint8_t *b, unsigned len)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < len; i++) {
        sum += i % 2 ? b[i] : b[i] << 8;
    }
    return sum ? (sum - 1) % 0xffff + 1 : 0;
}

static void check_sum(const uint8_t *b, unsigned len)
{
    g_assert_cmphex(g_ntohs((uint16_t)~csum_finish(csum_add(0, b, len))), ==,
                    slow_sum(b, len));
}

/* Every length and alignment, with and without carries. */
static void test_sum(void)
{
    uint8_t b[300];

    for (unsigned kind = 0; kind < 3; kind++) {
        for (unsigned i = 0; i < sizeof(b); i++) {
            b[i] = kind == 0 ? 0xff : kind == 1 ? 0 : g_test_rand_int();
        }
        for (unsigned off = 0; off < 9; off++) {
            for (unsigned len = 0; off + len <= sizeof(b); len++) {
                check_sum(b + off, len);
            }
        }
    }
}

static void test_sum_parts(void)
{
    g_autofree uint8_t *b = g_malloc(65536);

    memset(b, 0xff, 65536);
    for (unsigned i = 0; i < 1000; i++) {
        unsigned at = pick(0, 32768) & ~1;
        uint64_t sum = csum_add(UINT32_MAX, b, at);

        b[pick(0, 65535)] = g_test_rand_int();
        sum = csum_add(csum_add(0, b, at), b + at, 65535 - at);
        g_assert_cmphex(g_ntohs((uint16_t)~csum_finish(sum)), ==,
                        slow_sum(b, 65535));
    }
    g_assert_cmphex(csum_finish(UINT64_MAX), ==, 0);
    g_assert_cmphex(csum_finish(0), ==, 0xffff);
}

/* --- TCP ------------------------------------------------------------------ */

static void test_tcp(void)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        for (unsigned payload = 1; payload < 40; payload++) {
            check_cut(gso_tcp(v6, payload, 7), 0, 0);
            check_cut(gso_tcp(v6, payload, 8), OFFLOAD_CSUM, 2);
        }
        check_cut(gso_tcp(v6, 0, 7), 0, 0);
        check_cut(gso_tcp(v6, 65000, 1448), 0, 17);
        check_cut(gso_tcp(v6, 65000, 1448), OFFLOAD_CSUM, 17);
        check_cut(gso_tcp(v6, 64000, 32), 0, 17);
    }
}

/* The user-mode stack cannot complete checksums, and takes any length. */
static void check_whole(Frame *f, unsigned can)
{
    g_autoptr(Frame) wanted = frame_checksum(frame_dup(f));
    Sink sink = cut(f, can, 3);

    g_assert_cmpuint(sink.got->len, ==, 1);
    g_assert_cmpmem(sink_frame(&sink, 0)->data, f->len,
                    wanted->data, wanted->len);
    g_assert_cmpuint(sink_frame(&sink, 0)->vnet.gso_type, ==, 0);
    sink_free(&sink);
    frame_free(f);
}

static void test_tcp_whole(void)
{
    Frame *f = gso_tcp(false, 30000, 1448);

    check_whole(gso_tcp(false, 30000, 1448), OFFLOAD_TSO4);
    check_whole(gso_tcp(true, 30000, 1448), OFFLOAD_TSO6);
    check_cut(gso_tcp(true, 30000, 1448), OFFLOAD_TSO4, 3);
    f->vnet.gso_type |= PACKET_GSO_ECN;
    check_whole(frame_dup(f), OFFLOAD_TSO4 | OFFLOAD_ECN);
    check_cut(f, OFFLOAD_TSO4, 3);
}

/* Which receivers take it whole, and which do not. */
static void test_tcp_needs(void)
{
    g_autoptr(Frame) four = gso_tcp(false, 5000, 1448);
    g_autoptr(Frame) six = gso_tcp(true, 5000, 1448);
    Scattered s;

    scatter(&s, four, NULL, 0);
    g_assert_cmphex(offload_needs(&s.p), ==, OFFLOAD_CSUM | OFFLOAD_TSO4);
    s.p.vnet.gso_type |= PACKET_GSO_ECN;
    g_assert_cmphex(offload_needs(&s.p), ==,
                    OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_ECN);
    s.p.has_vnet = false;
    g_assert_cmphex(offload_needs(&s.p), ==, 0);
    scatter_free(&s);
    scatter(&s, six, NULL, 0);
    g_assert_cmphex(offload_needs(&s.p), ==, OFFLOAD_CSUM | OFFLOAD_TSO6);
    s.p.vnet.gso_type = PACKET_GSO_NONE;
    g_assert_cmphex(offload_needs(&s.p), ==, OFFLOAD_CSUM);
    s.p.vnet.flags = PACKET_VNET_DATA_VALID;
    g_assert_cmphex(offload_needs(&s.p), ==, 0);
    scatter_free(&s);
}

static void test_tcp_flags(void)
{
    for (unsigned flags = 0; flags < 256; flags++) {
        for (unsigned payload = 10; payload <= 30; payload += 10) {
            Frame *f = upper(flags & 1, 6, 0, payload);
            uint8_t type = flags & 1 ? PACKET_GSO_TCPV6 : PACKET_GSO_TCPV4;

            frame_set8(f, frame_offsets(f).l4 + 13, flags);
            frame_checksum(f);
            /* who takes segments, but not those, gets pieces as well */
            check_cut(gso(f, type | PACKET_GSO_ECN, 10),
                      flags & 2 ? TSO : 0, 3);
        }
    }
}

/* Sequence numbers, identification: what wraps goes on at zero. */
static void test_tcp_wraps(void)
{
    Frame *f = upper(false, 6, 0, 4000);

    frame_set16(f, 14 + 4, 65534);
    frame_set16(f, 34 + 4, 0xffff);
    frame_set16(f, 34 + 6, 0xff00);
    check_cut(gso(frame_checksum(f), PACKET_GSO_TCPV4, 1000), 0, 0);
}

/* Nobody said that the checksum is partial: it is made anew all the same. */
static void test_tcp_complete(void)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        for (unsigned can = 0; can <= OFFLOAD_CSUM; can += OFFLOAD_CSUM) {
            Frame *f = frame_checksum(gso_tcp(v6, 5000, 1448));

            f->vnet.flags = PACKET_VNET_DATA_VALID;
            f->vnet.csum_start = 3;
            check_cut(f, can, 3);
        }
    }
}

/* Behind the datagram there is padding, which belongs to nobody. */
static void test_tcp_padding(void)
{
    static const uint8_t junk[10] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
    Frame *f = gso_tcp(false, 100, 30);

    check_cut(frame_insert(f, f->len, junk, sizeof(junk)), 0, 3);
}

static Frame *extended(Frame *f, unsigned each)
{
    frame_ext(f, 60, each);
    frame_ext(f, 43, each);
    frame_ext(f, 60, each);
    return frame_ext(f, 0, each);
}

/* Headers too long for a Packet's own bytes. */
static void test_tcp_long_headers(void)
{
    for (unsigned each = 8; each <= 120; each += 8) {
        check_cut(gso(extended(upper(true, 6, 40, 5000), each),
                      PACKET_GSO_TCPV6, 1220), 0, each % 3);
        check_cut(gso(extended(upper(true, 6, 40, 5000), each),
                      PACKET_GSO_TCPV6, 1220), OFFLOAD_CSUM, each % 7);
    }
}

static void test_tcp_routed(void)
{
    /* The destination in the pseudo header is the routing header's. */
    g_autoptr(Frame) f = extended(upper(true, 6, 0, 100), 24);
    FrameOffsets o = frame_offsets(f);
    Sink sink;

    gso(f, PACKET_GSO_TCPV6, 60);
    f->data[o.l4 + 17] += 3;    /* as if the last address were 3 higher */
    sink = cut(f, 0, 0);
    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(Frame) piece = frame_dup(sink_frame(&sink, i));

        g_assert_false(frame_checksum_ok(piece));
        piece->data[o.l3 + 39] += 3;
        g_assert_true(frame_checksum_ok(piece));
    }
    sink_free(&sink);
}

/* --- cut in all places ---------------------------------------------------- */

static void check_scattered(const Frame *f, const unsigned *cuts, unsigned n)
{
    for (unsigned can = 0; can <= OFFLOAD_CSUM; can += OFFLOAD_CSUM) {
        Sink sink = sink_new(NO_LIMIT);
        Scattered s;

        scatter(&s, f, cuts, n);
        g_assert_true(offload_send(&s.p, can, sink_emit, &sink));
        check_segments(f, &sink, can);
        scatter_free(&s);
        sink_free(&sink);
    }
}

static void test_scattered(void)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        g_autoptr(Frame) f = gso_tcp(v6, 100, 33);

        for (unsigned at = 0; at <= f->len; at++) {
            unsigned cuts[] = { at, at, MIN(at + 1, f->len) };

            check_scattered(f, cuts, 1);
            check_scattered(f, cuts, 3);
        }
    }
}

/* More elements than a piece can have: 1, 2, ... bytes each. */
static void test_scattered_dust(void)
{
    g_autoptr(Frame) f = gso_tcp(false, 3000, 200);

    for (unsigned each = 1; each < 30; each++) {
        g_autofree unsigned *cuts = g_new(unsigned, f->len / each);

        for (unsigned i = 0; i < f->len / each; i++) {
            cuts[i] = (i + 1) * each;
        }
        check_scattered(f, cuts, f->len / each);
    }
}

/* A packet that was rewritten before: its head is its own already. */
static void test_scattered_cow(void)
{
    g_autoptr(Frame) f = gso_tcp(false, 3000, 200);

    for (unsigned own = 1; own <= PACKET_SCRATCH_LEN; own++) {
        Sink sink = sink_new(NO_LIMIT);
        Scattered s;

        scatter_randomly(&s, f, own % 5);
        packet_cow_head(&s.p, own);
        g_assert_true(offload_send(&s.p, 0, sink_emit, &sink));
        check_segments(f, &sink, false);
        scatter_free(&s);
        sink_free(&sink);
    }
}

/* --- resuming ------------------------------------------------------------- */

/* Refuse after @room pieces, then go on, with a copy if @hold. */
static void check_resume(const Frame *f, const Sink *all, unsigned can,
                         unsigned room, bool hold)
{
    Sink sink = sink_new(room);
    g_autoptr(Packet) held = NULL;
    Packet *p;
    Scattered s;

    scatter_randomly(&s, f, 5);
    p = &s.p;
    g_assert_cmpint(offload_send(p, can, sink_emit, &sink), ==,
                    room >= all->got->len);
    if (hold) {
        p = held = packet_hold(p);
        scatter_free(&s);
    }
    while (!offload_send(p, can, sink_emit, &sink)) {
        g_assert_cmpuint(p->pieces, ==, sink.got->len);
        sink.room = 1;
    }
    g_assert_cmpuint(sink.got->len, ==, all->got->len);
    for (unsigned i = 0; i < all->got->len; i++) {
        assert_equal_frames(sink_frame(&sink, i), sink_frame(all, i));
    }
    /* nothing is left */
    sink.room = NO_LIMIT;
    g_assert_true(offload_send(p, can, sink_emit, &sink));
    g_assert_cmpuint(sink.got->len, ==, all->got->len);
    if (!hold) {
        scatter_free(&s);
    }
    sink_free(&sink);
}

static void test_resume(void)
{
    Frame *frames[] = {
        gso_tcp(false, 5000, 999), gso_tcp(true, 5000, 999),
        gso_udp(false, PACKET_GSO_UDP_L4, 5000, 1001),
        gso_udp(true, PACKET_GSO_UDP_L4, 5000, 1001),
        gso_udp(false, PACKET_GSO_UDP, 5000, 1001),
        gso_udp(true, PACKET_GSO_UDP, 5000, 1001),
        gso(extended(upper(true, 17, 0, 5000), 80), PACKET_GSO_UDP, 1001),
        frame_partial(upper(true, 17, 0, 500)),
        frame_partial(extended(upper(true, 17, 0, 500), 80)),
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(frames); i++) {
        Sink all = cut(frames[i], 0, 0);

        for (unsigned room = 0; room <= all.got->len; room++) {
            check_resume(frames[i], &all, 0, room, false);
            check_resume(frames[i], &all, 0, room, true);
        }
        sink_free(&all);
        frame_free(frames[i]);
    }
}

/* --- UDP ------------------------------------------------------------------ */

static void test_udp_segments(void)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        for (unsigned can = 0; can <= OFFLOAD_CSUM; can += OFFLOAD_CSUM) {
            for (unsigned payload = 8; payload < 40; payload++) {
                check_cut(gso_udp(v6, PACKET_GSO_UDP_L4, payload, 8), can, 3);
            }
            check_cut(gso_udp(v6, PACKET_GSO_UDP_L4, 65000, 1472), can, 9);
        }
    }
}

static void test_udp_needs(void)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        g_autoptr(Frame) uso = gso_udp(v6, PACKET_GSO_UDP_L4, 500, 100);
        g_autoptr(Frame) ufo = gso_udp(v6, PACKET_GSO_UDP, 500, 100);
        Scattered s;

        scatter(&s, uso, NULL, 0);
        g_assert_cmphex(offload_needs(&s.p), ==,
                        OFFLOAD_CSUM | (v6 ? OFFLOAD_USO6 : OFFLOAD_USO4));
        scatter_free(&s);
        scatter(&s, ufo, NULL, 0);
        g_assert_cmphex(offload_needs(&s.p), ==, OFFLOAD_CSUM | OFFLOAD_UFO);
        scatter_free(&s);
    }
}

/* The two bytes at @off are such that the checksum becomes zero. */
static Frame *zero_sum(Frame *f, unsigned off)
{
    frame_set16(f, off, 0);
    frame_checksum(f);
    frame_set16(f, off, frame_get16(f, frame_csum_offset(f)));
    frame_checksum(f);
    g_assert_cmphex(frame_get16(f, frame_csum_offset(f)), ==, 0xffff);
    return f;
}

static void test_udp_zero(void)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        Frame *f = upper(v6, 17, 0, 100);
        unsigned head = header_len(f);
        g_autoptr(Frame) first = frame_cut(frame_dup(f), head + 50);
        g_autoptr(Frame) whole = zero_sum(upper(v6, 17, 0, 100), head + 4);
        g_autoptr(Frame) left = frame_partial(frame_dup(whole));
        FrameOffsets o = frame_offsets(f);
        Sink sink;

        /* as a frame of its own ... */
        sink = cut(left, 0, 2);
        left->vnet = (PacketVnet) { 0 };
        memcpy(left->data, whole->data, whole->len);
        assert_equal_frames(sink_frame(&sink, 0), left);
        sink_free(&sink);

        /* ... and as the first of two segments */
        set_ip_len(first, &o);
        frame_set16(first, o.l4 + 4, 58);
        zero_sum(first, head);
        memcpy(f->data + head, first->data + head, 2);
        gso(frame_checksum(f), PACKET_GSO_UDP_L4, 50);
        sink = cut(f, 0, 0);
        g_assert_cmphex(frame_get16(sink_frame(&sink, 0), o.l4 + 6), ==,
                        0xffff);
        sink_free(&sink);
        check_cut(f, 0, 0);
    }
}

/* --- fragments ------------------------------------------------------------ */

typedef struct Fragment {
    unsigned off, head, len;
    bool more;
    uint32_t id;
} Fragment;

/* A fragment of what has these offsets; its end is the frame's. */
static Fragment fragment_of(const Frame *f, FrameOffsets o, unsigned unfrag)
{
    uint16_t field = frame_get16(f, o.v6 ? unfrag + 2 : o.l3 + 6);

    if (o.v6) {
        g_assert_cmphex(field & 6, ==, 0);
        return (Fragment) {
            field & ~7, unfrag + 8, f->len - unfrag - 8, field & 1,
            (uint32_t)frame_get16(f, unfrag + 4) << 16 |
            frame_get16(f, unfrag + 6),
        };
    }
    g_assert_cmphex(field & 0xc000, ==, 0);
    g_assert_true(frame_checksum_ok(f));
    return (Fragment) {
        (field & 0x1fff) * 8, unfrag, f->len - unfrag, field >> 13,
        frame_get16(f, o.l3 + 4),
    };
}

/* Of what is before the fragment header nothing but this may differ. */
static void check_fragment_header(const Frame *f, const Frame *piece,
                                  unsigned unfrag, unsigned next)
{
    FrameOffsets o = frame_offsets(f);
    g_autofree uint8_t *head = g_memdup2(f->data, unfrag);
    unsigned len = o.l3 + (o.v6 ? 4 : 2);

    memcpy(head + len, piece->data + len, 2);
    g_assert_cmpuint(frame_get16(piece, len), ==,
                     piece->len - o.l3 - (o.v6 ? 40 : 0));
    if (o.v6) {
        g_assert_cmpuint(piece->data[next], ==, 44);
        g_assert_cmpuint(piece->data[unfrag], ==, f->data[next]);
        g_assert_cmpuint(piece->data[unfrag + 1], ==, 0);
        head[next] = 44;
    } else {
        memcpy(head + o.l3 + 6, piece->data + o.l3 + 6, 2);
        memcpy(head + o.l3 + 10, piece->data + o.l3 + 10, 2);
    }
    g_assert_cmpmem(head, unfrag, piece->data, unfrag);
}

/*
 * Put the fragments of @f together; the fragment header is at @unfrag and
 * named at @next.
 */
static uint32_t check_fragments(const Frame *f, const Sink *sink,
                                unsigned unfrag, unsigned next)
{
    g_autoptr(Frame) whole = frame_dup(f);
    FrameOffsets o = frame_offsets(f);
    unsigned at = unfrag, end = o.end;
    Fragment first = fragment_of(sink_frame(sink, 0), o, unfrag);

    memset(whole->data + unfrag, 0, whole->len - unfrag);
    for (unsigned i = 0; i < sink->got->len; i++) {
        const Frame *piece = sink_frame(sink, i);
        Fragment g = fragment_of(piece, o, unfrag);

        check_fragment_header(f, piece, unfrag, next);
        g_assert_cmpuint(g.off, ==, at - unfrag);
        g_assert_cmpuint(g.id, ==, first.id);
        g_assert_cmpint(g.more, ==, i + 1 < sink->got->len);
        if (g.more) {
            g_assert_cmpuint(g.len, ==, f->vnet.gso_size & ~7);
        }
        g_assert_cmpuint(at + g.len, <=, end);
        g_assert_cmphex(piece->vnet.flags | piece->vnet.gso_type, ==, 0);
        memcpy(whole->data + at, piece->data + g.head, g.len);
        at += g.len;
    }
    g_assert_cmpuint(at, ==, end);
    whole->vnet.flags = 0;
    g_assert_true(frame_checksum_ok(whole));
    /* all but the checksum is what was sent */
    memcpy(whole->data + frame_csum_offset(f),
           f->data + frame_csum_offset(f), 2);
    g_assert_cmpmem(whole->data, end, f->data, end);
    return first.id;
}

static uint32_t check_fragmented(Frame *f, unsigned can, unsigned unfrag,
                                 unsigned next)
{
    Sink sink = cut(f, can, 7);
    uint32_t id;

    g_assert_cmpuint(sink.got->len, >, 1);
    id = check_fragments(f, &sink, unfrag, next);
    sink_free(&sink);
    frame_free(f);
    return id;
}

static void test_fragments_ipv4(void)
{
    for (unsigned payload = 100; payload < 120; payload++) {
        for (unsigned can = 0; can <= OFFLOAD_CSUM; can += OFFLOAD_CSUM) {
            Frame *f = upper(false, 17, 0, payload);

            check_fragmented(gso(f, PACKET_GSO_UDP, 16 + payload % 8), can,
                             34, 0);
        }
    }
    check_fragmented(gso(frame_options(upper(false, 17, 0, 65000), 40),
                         PACKET_GSO_UDP, 1440), 0, 74, 0);
}

static void test_fragments_df(void)
{
    g_autoptr(Frame) f = frame_set8(upper(false, 17, 0, 100), 20, 0x40);
    Sink sink = cut(gso(frame_checksum(f), PACKET_GSO_UDP, 64), 0, 0);

    g_assert_cmphex(frame_get16(sink_frame(&sink, 0), 20), ==, 0x2000);
    g_assert_cmphex(frame_get16(sink_frame(&sink, 1), 20), ==, 8);
    sink_free(&sink);
}

static void test_fragments_ipv6(void)
{
    for (unsigned payload = 100; payload < 120; payload++) {
        check_fragmented(gso_udp(true, PACKET_GSO_UDP, payload,
                                 16 + payload % 8), 0, 54, 20);
    }
    check_fragmented(gso_udp(true, PACKET_GSO_UDP, 65000, 1448), 0, 54, 20);
}

/* RFC 8200, 4.5: which headers stand before the fragment header. */
static void test_fragments_extended(void)
{
    /* hop-by-hop, destination, routing | destination, UDP */
    check_fragmented(gso(extended(upper(true, 17, 0, 500), 16),
                         PACKET_GSO_UDP, 64), 0, 54 + 48, 54 + 32);
    check_fragmented(gso(extended(upper(true, 17, 0, 500), 80),
                         PACKET_GSO_UDP, 160), 0, 54 + 240, 54 + 160);
    /* hop-by-hop | destination, UDP */
    check_fragmented(gso(frame_ext(frame_ext(upper(true, 17, 0, 500), 60, 8),
                                   0, 24), PACKET_GSO_UDP, 64),
                     0, 54 + 24, 54);
    /* | destination, UDP */
    check_fragmented(gso(frame_ext(upper(true, 17, 0, 500), 60, 24),
                         PACKET_GSO_UDP, 64), 0, 54, 20);
    /* | authentication, UDP */
    check_fragmented(gso(frame_ext(upper(true, 17, 0, 500), 51, 24),
                         PACKET_GSO_UDP, 64), 0, 54, 20);
}

/* RFC 7112: a first fragment has all headers, however small it should be. */
static void test_fragments_tiny(void)
{
    for (unsigned size = 1; size <= 40; size++) {
        g_autoptr(Frame) f = gso(frame_ext(upper(true, 17, 0, 100), 60, 24),
                                 PACKET_GSO_UDP, size);
        Sink sink = cut(f, 0, 0);

        g_assert_cmpuint(fragment_of(sink_frame(&sink, 0), frame_offsets(f),
                                     54).len, ==, MAX(size & ~7, 32));
        sink_free(&sink);
    }
}

static void test_fragments_id(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);

    for (unsigned i = 0; i < 200; i++) {
        Frame *f = upper(true, 17, 0, 100);
        uint32_t id;

        memset(f->data + header_len(f), 0, 100);
        f->data[header_len(f) + 3] = i;
        f->data[header_len(f) + 5] = -i;        /* the same checksum */
        id = check_fragmented(gso(frame_checksum(f), PACKET_GSO_UDP, 56), 0,
                              54, 20);
        g_assert_true(g_hash_table_add(seen, GUINT_TO_POINTER(id)));
    }
}

/* What fits into one fragment is none. */
static void test_fragments_one(void)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        g_autoptr(Frame) f = upper(v6, 17, 0, 100);
        g_autoptr(Frame) sent = gso(frame_dup(f), PACKET_GSO_UDP, 112);
        Sink sink = cut(sent, 0, 1);

        g_assert_cmpuint(sink.got->len, ==, 1);
        f->has_vnet = true;
        assert_equal_frames(sink_frame(&sink, 0), f);
        sink_free(&sink);
    }
}

/* --- checksums alone ------------------------------------------------------ */

/* Complete it in a scattered frame, and compare with @f. */
static void check_completed(const Frame *left, const Frame *f)
{
    for (unsigned cuts = 0; cuts < 8; cuts++) {
        Sink sink = cut(left, 0, cuts);

        g_assert_cmpuint(sink.got->len, ==, 1);
        g_assert_cmpmem(sink_frame(&sink, 0)->data, left->len,
                        f->data, f->len);
        g_assert_cmpuint(sink_frame(&sink, 0)->vnet.flags, ==, 0);
        g_assert_cmpuint(sink_frame(&sink, 0)->vnet.csum_start, ==, 0);
        sink_free(&sink);
    }
}

static void check_completes(Frame *f)
{
    g_autoptr(Frame) left = frame_partial(frame_dup(f));

    check_completed(left, f);
    frame_free(f);
}

static void test_complete(void)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        for (unsigned n = 0; n < 20; n++) {
            check_completes(upper(v6, 6, 8, n));
            check_completes(upper(v6, 17, 0, n));
            check_completes(frame_tag(upper(v6, 17, 0, n), 0x8100, 5));
        }
    }
    check_completes(nd_solicit(a_mac, A6, B6));
    check_completes(frame_options(upper(false, 6, 40, 9), 40));
    check_completes(extended(upper(true, 6, 40, 9), 8));
    check_completes(extended(upper(true, 6, 40, 9), 80));
}

/* The sum of [@start, end) is put to @field; nobody knows what it is. */
static void check_generic(Frame *f, unsigned start, unsigned field,
                          unsigned end)
{
    g_autoptr(Frame) left = frame_dup(f);
    uint16_t sum = ~slow_sum(f->data + start, end - start);

    left->has_vnet = true;
    left->vnet = (PacketVnet) {
        .flags = PACKET_VNET_NEEDS_CSUM,
        .csum_start = start, .csum_offset = field - start,
    };
    frame_set16(f, field, sum ? sum : 0xffff);
    check_completed(left, f);
    frame_free(f);
}

static void test_complete_generic(void)
{
    Frame *f;

    /* not IP: to the frame's end */
    f = frame_eth(b_mac, a_mac, 0x88cc, 101);
    check_generic(f, 14, 16, f->len);
    f = frame_tag(frame_eth(b_mac, a_mac, 0x88cc, 101), 0x8100, 5);
    check_generic(f, 19, 27, f->len);
    f = frame_eth(b_mac, a_mac, 0x88cc, 600);
    check_generic(f, 14, 500, f->len);
    /* protocols that nobody knows */
    f = frame_ip(b_mac, a_mac, A4, B4, 132, 80);
    check_generic(f, 34, 42, f->len);
    f = frame_ip(b_mac, a_mac, A6, B6, 47, 80);
    check_generic(f, 54, 56, f->len);
    /* in a tunnel */
    f = upper(false, 17, 0, 100);
    check_generic(f, 42 + 8 + 34, 42 + 8 + 34 + 16, f->len);
    f = upper(true, 17, 0, 1000);
    check_generic(f, 62 + 8 + 254, 62 + 8 + 254 + 6, f->len);
}

/* Whatever is in the padding. */
static void test_complete_padding(void)
{
    static const uint8_t junk[13] = { 9, 8, 7, 6, 5, 4, 3, 2, 1, 2, 3, 4, 5 };

    for (unsigned n = 1; n <= sizeof(junk); n++) {
        Frame *f = upper(n & 1, 17, 0, 5);

        check_completes(frame_insert(f, f->len, junk, n));
    }
}

static void test_data_valid(void)
{
    g_autoptr(Frame) f = frame_partial(upper(false, 6, 0, 30));
    g_autoptr(Frame) ufo = gso_udp(false, PACKET_GSO_UDP, 100, 112);
    Sink sink;

    f->vnet.flags |= PACKET_VNET_DATA_VALID;
    sink = cut(f, 0, 0);
    g_assert_cmphex(sink_frame(&sink, 0)->vnet.flags, ==, 0);
    sink_free(&sink);

    ufo->vnet.flags |= PACKET_VNET_DATA_VALID;
    sink = cut(ufo, OFFLOAD_CSUM, 0);
    g_assert_cmphex(sink_frame(&sink, 0)->vnet.flags, ==,
                    PACKET_VNET_DATA_VALID);
    sink_free(&sink);
}

/* --- what belongs to the packet belongs to its pieces --------------------- */

static bool check_inherited(void *opaque, Packet *piece)
{
    const Packet *p = opaque;

    g_assert_true(piece->link == p->link && piece->for_many == p->for_many);
    g_assert_cmpuint(piece->queue, ==, p->queue);
    g_assert_true(piece->has_vnet);
    return true;
}

static void test_inherited(void)
{
    Frame *frames[] = {
        gso_tcp(false, 500, 100), gso_udp(true, PACKET_GSO_UDP, 500, 96),
        frame_partial(upper(false, 6, 0, 30)),
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(frames); i++) {
        Scattered s;

        scatter(&s, frames[i], NULL, 0);
        s.p.link = (Link *)&s;
        s.p.for_many = true;
        s.p.queue = 3;
        g_assert_true(offload_send(&s.p, 0, check_inherited, &s.p));
        g_assert_cmpuint(s.p.pieces, >, 0);
        scatter_free(&s);
        frame_free(frames[i]);
    }
}

/* --- kept for longer than the packet -------------------------------------- */

static bool keep_piece(void *opaque, Packet *piece)
{
    packet_queue_push(opaque, packet_hold(piece));
    return true;
}

/* Of a packet that was held itself, which is freed before its pieces. */
static void check_kept(const Frame *f, const Sink *all)
{
    GQueue kept = G_QUEUE_INIT;
    Packet *p;
    Scattered s;

    scatter_randomly(&s, f, 3);
    p = packet_hold(&s.p);
    scatter_free(&s);
    g_assert_true(offload_send(p, 0, keep_piece, &kept));
    packet_put(p);
    for (unsigned i = 0; i < all->got->len; i++) {
        g_autoptr(Packet) piece = packet_queue_pop(&kept);
        g_autoptr(Frame) seen = frame_from_packet(piece);

        assert_equal_frames(seen, sink_frame(all, i));
    }
    g_assert_null(packet_queue_pop(&kept));
}

static void test_kept(void)
{
    Frame *frames[] = {
        gso_tcp(false, 5000, 999), gso_udp(true, PACKET_GSO_UDP, 5000, 1001),
        gso(extended(upper(true, 6, 40, 5000), 80), PACKET_GSO_TCPV6, 999),
        frame_partial(upper(true, 17, 0, 500)),
        frame_partial(extended(upper(true, 17, 0, 500), 80)),
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(frames); i++) {
        Sink all = cut(frames[i], 0, 0);

        check_kept(frames[i], &all);
        sink_free(&all);
        frame_free(frames[i]);
    }
}

/* --- headers that lie ----------------------------------------------------- */

typedef enum Sample {
    TCP4, TCP6, USO4, USO6, UFO4, UFO6, CSUM4, CSUM6, ARP, FRAG4, FRAG6,
    ATOMIC, TAGGED, DHCP, ND,
} Sample;

static Frame *sample(Sample which)
{
    switch (which) {
    case TCP4:
        return gso_tcp(false, 1000, 100);
    case TCP6:
        return gso_tcp(true, 1000, 100);
    case USO4:
        return gso_udp(false, PACKET_GSO_UDP_L4, 1000, 100);
    case USO6:
        return gso_udp(true, PACKET_GSO_UDP_L4, 1000, 100);
    case UFO4:
        return gso_udp(false, PACKET_GSO_UDP, 1000, 100);
    case UFO6:
        return gso_udp(true, PACKET_GSO_UDP, 1000, 100);
    case CSUM4:
        return frame_partial(upper(false, 6, 0, 100));
    case CSUM6:
        return frame_partial(upper(true, 17, 0, 100));
    case ARP:
        return arp_request(a_mac, A4, B4);
    case FRAG4:
        return frame_fragment(gso_udp(false, PACKET_GSO_UDP, 1000, 100), 0,
                              true);
    case FRAG6:
        return frame_fragment(upper(true, 17, 0, 1000), 800, false);
    case ATOMIC:
        return gso(frame_ext(upper(true, 17, 0, 1000), 44, 8),
                   PACKET_GSO_UDP, 100);
    case TAGGED:
        return frame_tag(frame_partial(upper(true, 6, 0, 100)), 0x8100, 3);
    case DHCP:
        return frame_partial(dhcp_request(a_mac, 1));
    case ND:
        return frame_partial(nd_solicit(a_mac, A6, B6));
    }
    g_assert_not_reached();
}

typedef struct Claim {
    Sample sample;
    enum { FLAGS, TYPE, SIZE, START, OFFSET, NOTHING } field;
    int value;
    bool true_;
} Claim;

static const Claim claims[] = {
    { TCP4, NOTHING, 0, true }, { TCP6, NOTHING, 0, true },
    { USO4, NOTHING, 0, true }, { USO6, NOTHING, 0, true },
    { UFO4, NOTHING, 0, true }, { UFO6, NOTHING, 0, true },
    { CSUM4, NOTHING, 0, true }, { CSUM6, NOTHING, 0, true },
    { TAGGED, NOTHING, 0, true }, { ND, NOTHING, 0, true },
    { ARP, NOTHING, 0, true }, { FRAG6, NOTHING, 0, true },
    /* sizes */
    { TCP4, SIZE, 0 }, { TCP6, SIZE, 0 }, { USO4, SIZE, 0 },
    { UFO6, SIZE, 0 }, { TCP4, SIZE, 1, true }, { USO4, SIZE, 1, true },
    { UFO4, SIZE, 1, true }, { TCP4, SIZE, 1000, true },
    { TCP4, SIZE, 1066, true }, { TCP4, SIZE, 1067 }, { TCP4, SIZE, 65535 },
    { UFO4, SIZE, 65535 }, { CSUM4, SIZE, 65535, true },
    /* types that do not match */
    { TCP4, TYPE, PACKET_GSO_NONE, true },
    { TCP4, TYPE, PACKET_GSO_TCPV6 }, { TCP6, TYPE, PACKET_GSO_TCPV4 },
    { TCP4, TYPE, PACKET_GSO_UDP }, { TCP6, TYPE, PACKET_GSO_UDP_L4 },
    { USO4, TYPE, PACKET_GSO_TCPV4 }, { USO6, TYPE, PACKET_GSO_TCPV6 },
    { TCP4, TYPE, 2 }, { TCP4, TYPE, 6 }, { TCP4, TYPE, 0x7f },
    { TCP4, TYPE, PACKET_GSO_TCPV4 | PACKET_GSO_ECN, true },
    { TCP6, TYPE, PACKET_GSO_TCPV6 | PACKET_GSO_ECN, true },
    { TCP6, TYPE, PACKET_GSO_TCPV4 | PACKET_GSO_ECN },
    { CSUM4, TYPE, PACKET_GSO_ECN },
    { USO4, TYPE, PACKET_GSO_UDP_L4 | PACKET_GSO_ECN },
    { UFO4, TYPE, PACKET_GSO_UDP | PACKET_GSO_ECN },
    { ARP, TYPE, PACKET_GSO_TCPV4 }, { ND, TYPE, PACKET_GSO_UDP },
    { FRAG4, NOTHING }, { FRAG6, TYPE, PACKET_GSO_UDP },
    { ATOMIC, NOTHING }, { ATOMIC, TYPE, PACKET_GSO_UDP_L4, true },
    /* where the checksum is */
    { TCP4, START, 33 }, { TCP4, START, 35 }, { TCP4, OFFSET, 6 },
    { USO4, OFFSET, 16 }, { UFO6, START, 0 }, { UFO6, OFFSET, 8 },
    { CSUM4, START, 0 }, { CSUM4, START, 13 }, { CSUM4, START, 14 },
    { CSUM4, START, 33 }, { CSUM4, START, 34, true }, { CSUM4, START, 35 },
    { CSUM4, START, 65535 }, { CSUM4, OFFSET, 65535 },
    { CSUM6, START, 53 }, { CSUM6, START, 40 }, { TAGGED, START, 54 },
    /* in a tunnel, up to the end */
    { CSUM6, START, 61 }, { CSUM6, START, 62, true },
    { CSUM6, START, 154, true }, { CSUM6, START, 155 },
    /* over what others decided by */
    { CSUM4, OFFSET, 0 }, { CSUM4, OFFSET, 13 }, { CSUM6, OFFSET, 2 },
    { CSUM6, OFFSET, 8 }, { ND, OFFSET, 8 }, { ND, OFFSET, 0 },
    { DHCP, START, 60 }, { DHCP, OFFSET, 28 }, { DHCP, NOTHING, 0, true },
    { ARP, START, 13 }, { ARP, START, 22 }, { ARP, START, 14 },
    { FRAG6, START, 53 }, { FRAG6, START, 54 }, { FRAG6, START, 62 },
    /* a hint, or nothing at all */
    { TCP4, FLAGS, 0, true }, { CSUM4, FLAGS, 0xf0, true },
};

static void claim(Frame *f, const Claim *c)
{
    f->has_vnet = true;
    switch (c->field) {
    case FLAGS:
        f->vnet.flags = c->value;
        f->vnet.csum_start = f->vnet.csum_offset = 65535;
        break;
    case TYPE:
        f->vnet.gso_type = c->value;
        f->vnet.gso_size = 100;
        f->vnet.flags |= PACKET_VNET_NEEDS_CSUM;
        if (!f->vnet.csum_start) {
            f->vnet.csum_start = 34;
        }
        break;
    case SIZE:
        f->vnet.gso_size = c->value;
        break;
    case START:
        f->vnet.flags |= PACKET_VNET_NEEDS_CSUM;
        f->vnet.csum_start = c->value;
        break;
    case OFFSET:
        f->vnet.csum_offset = c->value;
        break;
    case NOTHING:
        break;
    }
}

static DropReason verdict(const Frame *f)
{
    struct iovec iov;
    Packet p;

    return frame_parse(f, &p, &iov);
}

static void test_claims(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(claims); i++) {
        const Claim *c = &claims[i];
        g_autoptr(Frame) f = sample(c->sample);

        claim(f, c);
        g_test_message("claim %u: sample %d, field %d, %d", i, c->sample,
                       c->field, c->value);
        g_assert_cmpint(verdict(f), ==,
                        c->true_ ? DROP_NONE : DROP_BAD_VNET);
        /* without a header nothing is claimed */
        f->has_vnet = false;
        g_assert_cmpint(verdict(f), ==, DROP_NONE);
    }
}

/* IPv6 can have more, but no segment to be cut has. */
static void test_too_long(void)
{
    for (unsigned payload = 65450; payload <= 65501; payload++) {
        g_autoptr(Frame) f = upper(true, 6, 0, payload);
        unsigned total = 40 + 20 + payload;

        gso(f, PACKET_GSO_TCPV6, 1440);
        g_assert_cmpint(verdict(f), ==,
                        total > 65535 ? DROP_BAD_VNET : DROP_NONE);
    }
}

/* One packet does not keep us busy with tens of thousands. */
static void test_too_many(void)
{
    g_autoptr(Frame) f = gso_tcp(false, 64000, 32);

    g_assert_cmpint(verdict(f), ==, DROP_NONE);
    f->vnet.gso_size = 31;
    g_assert_cmpint(verdict(f), ==, DROP_BAD_VNET);
}

/* A header that is not to be believed is refused for itself. */
static void test_layers_first(void)
{
    g_autoptr(Frame) f = sample(TCP4);

    f->vnet.gso_size = 0;
    frame_set8(f, 14, 0x44);
    g_assert_cmpint(verdict(f), ==, DROP_BAD_HEADER);
    g_assert_cmpstr(drop_reason_name(DROP_BAD_VNET), ==, "bad-vnet-header");
}

/* --- the same for anything ------------------------------------------------ */

static Frame *random_headers(bool v6, uint8_t proto)
{
    static const uint8_t types[] = { 0, 43, 51, 60 };
    unsigned payload = pick(0, 3) ? pick(0, 3000) : pick(0, 64000);
    Frame *f = upper(v6, proto, pick(0, 10) * 4, payload);

    if (v6) {
        for (unsigned n = pick(0, 1) * pick(0, 5); n; n--) {
            frame_ext(f, types[pick(0, 3)], pick(1, 10) * 8);
        }
    } else {
        frame_options(f, pick(0, 1) * pick(0, 10) * 4);
        frame_set8(f, 14 + 6, pick(0, 1) << 6);
        frame_set8(f, 14 + 1, g_test_rand_int());
    }
    if (proto == 6) {
        frame_set8(f, frame_offsets(f).l4 + 13, g_test_rand_int());
    }
    frame_checksum(f);
    for (unsigned n = pick(0, 4); n > 2; n--) {
        frame_tag(f, pick(0, 1) ? 0x8100 : 0x88a8, pick(0, 4095));
    }
    return f;
}

static void test_random_segments(void)
{
    for (unsigned i = 0; i < 1500; i++) {
        bool v6 = pick(0, 1);
        uint8_t proto = pick(0, 1) ? 6 : 17;
        Frame *f = random_headers(v6, proto);
        uint8_t type = proto == 17 ? PACKET_GSO_UDP_L4 :
                       v6 ? PACKET_GSO_TCPV6 : PACKET_GSO_TCPV4;

        if (proto == 6 && pick(0, 1)) {
            type |= PACKET_GSO_ECN;
        }
        gso(f, type, pick(f->len / 100 + 1, f->len));
        check_cut(f, pick(0, 1), pick(0, 3) ? pick(0, 20) : pick(0, 1023));
    }
}

/* Hop-by-hop options are the last that may stand before the fragments. */
static void test_random_fragments(void)
{
    for (unsigned i = 0; i < 500; i++) {
        bool v6 = pick(0, 1);
        unsigned payload = pick(600, pick(0, 3) ? 3000 : 64000);
        Frame *f = upper(v6, 17, 0, payload);
        unsigned ext = v6 ? pick(0, 25) * 8 : pick(0, 10) * 4;
        unsigned tag = pick(0, 1) * 4;

        if (v6 && ext) {
            frame_ext(f, pick(0, 1) ? 0 : 43, ext);
        } else if (!v6) {
            frame_options(f, ext);
        }
        if (tag) {
            frame_tag(f, 0x8100, 7);
        }
        gso(f, PACKET_GSO_UDP, pick(payload / 100 + 8, payload));
        check_fragmented(f, pick(0, 1), tag + (v6 ? 54 : 34) + ext,
                         v6 && ext ? tag + 54 : tag + 20);
    }
}

/* A header of random bytes, now and then nearly right, ends nothing. */
static void test_random_claims(void)
{
    unsigned accepted = 0;

    for (unsigned i = 0; i < 20000; i++) {
        g_autoptr(Frame) f = sample(pick(0, ND));
        uint8_t *v = (uint8_t *)&f->vnet;
        Sink sink = sink_new(NO_LIMIT);
        Scattered s;

        f->has_vnet = true;
        for (unsigned n = pick(1, 3); n; n--) {
            v[pick(0, sizeof(f->vnet) - 1)] = pick(0, pick(0, 1) ? 255 : 5);
        }
        if (verdict(f) == DROP_NONE) {
            accepted++;
            scatter_randomly(&s, f, 3);
            g_assert_true(offload_send(&s.p, pick(0, OFFLOAD_ALL), sink_emit,
                                       &sink));
            g_assert_cmpuint(sink.got->len, >, 0);
            scatter_free(&s);
        }
        sink_free(&sink);
    }
    g_assert_cmpuint(accepted, >, 1000);
}

/* The guest changes what was checked; nobody reads past the end for it. */
static void test_changing(void)
{
    for (unsigned i = 0; i < 5000; i++) {
        g_autoptr(Frame) f = sample(pick(0, UFO6));
        Scattered s;
        unsigned n;
        Frame *junk;

        if (i & 1 && frame_offsets(f).v6) {
            PacketVnet vnet = f->vnet;

            extended(f, 16);
            f->vnet = vnet;
            f->vnet.csum_start += 64;
        }
        scatter_randomly(&s, f, 3);
        junk = frame_dup(f);
        fill(junk, 0);
        for (unsigned k = n = 0; k < s.cnt; k++) {
            memcpy(s.iov[k].iov_base, junk->data + n, s.iov[k].iov_len);
            n += s.iov[k].iov_len;
        }
        frame_free(junk);
        n = s.p.layers.end;
        g_assert_true(offload_send(&s.p, pick(0, 1), check_inherited, &s.p));
        g_assert_cmpuint(s.p.pieces, <=, n);
        scatter_free(&s);
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/offload/sum/lengths", test_sum);
    g_test_add_func("/offload/sum/parts", test_sum_parts);
    g_test_add_func("/offload/tcp/sizes", test_tcp);
    g_test_add_func("/offload/tcp/whole", test_tcp_whole);
    g_test_add_func("/offload/tcp/needs", test_tcp_needs);
    g_test_add_func("/offload/tcp/flags", test_tcp_flags);
    g_test_add_func("/offload/tcp/wraps", test_tcp_wraps);
    g_test_add_func("/offload/tcp/complete", test_tcp_complete);
    g_test_add_func("/offload/tcp/padding", test_tcp_padding);
    g_test_add_func("/offload/tcp/long-headers", test_tcp_long_headers);
    g_test_add_func("/offload/tcp/routed", test_tcp_routed);
    g_test_add_func("/offload/scattered/everywhere", test_scattered);
    g_test_add_func("/offload/scattered/dust", test_scattered_dust);
    g_test_add_func("/offload/scattered/cow", test_scattered_cow);
    g_test_add_func("/offload/resume", test_resume);
    g_test_add_func("/offload/udp/segments", test_udp_segments);
    g_test_add_func("/offload/udp/needs", test_udp_needs);
    g_test_add_func("/offload/udp/zero", test_udp_zero);
    g_test_add_func("/offload/fragments/ipv4", test_fragments_ipv4);
    g_test_add_func("/offload/fragments/df", test_fragments_df);
    g_test_add_func("/offload/fragments/ipv6", test_fragments_ipv6);
    g_test_add_func("/offload/fragments/extended", test_fragments_extended);
    g_test_add_func("/offload/fragments/tiny", test_fragments_tiny);
    g_test_add_func("/offload/fragments/id", test_fragments_id);
    g_test_add_func("/offload/fragments/one", test_fragments_one);
    g_test_add_func("/offload/checksum/complete", test_complete);
    g_test_add_func("/offload/checksum/generic", test_complete_generic);
    g_test_add_func("/offload/checksum/padding", test_complete_padding);
    g_test_add_func("/offload/checksum/data-valid", test_data_valid);
    g_test_add_func("/offload/inherited", test_inherited);
    g_test_add_func("/offload/kept", test_kept);
    g_test_add_func("/offload/lie/claims", test_claims);
    g_test_add_func("/offload/lie/too-long", test_too_long);
    g_test_add_func("/offload/lie/too-many", test_too_many);
    g_test_add_func("/offload/lie/layers-first", test_layers_first);
    g_test_add_func("/offload/random/segments", test_random_segments);
    g_test_add_func("/offload/random/fragments", test_random_fragments);
    g_test_add_func("/offload/random/claims", test_random_claims);
    g_test_add_func("/offload/random/changing", test_changing);
    return g_test_run();
}
