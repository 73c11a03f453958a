/*
 * Checksums and segments, beside memcpy()
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "libvlink/offload.h"

#include "common.h"

#define BIG 65536
#define SMALL 1448              /* bytes of a segment's payload */

typedef struct Bytes {
    uint8_t *from, *to;
    unsigned len;
} Bytes;

static void run_memcpy(void *opaque, unsigned n)
{
    Bytes *b = opaque;

    while (n--) {
        memcpy(b->to, b->from, b->len);
        __asm__ volatile("" : : "r" (b->to) : "memory");
    }
}

static void run_csum(void *opaque, unsigned n)
{
    Bytes *b = opaque;

    while (n--) {
        uint64_t sum = csum_add(0, b->from, b->len);

        __asm__ volatile("" : : "r" (sum) : "memory");
    }
}

static Bytes *bytes_new(unsigned len)
{
    Bytes *b = g_new0(Bytes, 1);

    b->len = len;
    b->from = g_malloc(len);
    b->to = g_malloc0(len);
    for (unsigned i = 0; i < len; i++) {
        b->from[i] = i * 7;
    }
    return b;
}

static void bytes_free(Bytes *b)
{
    g_free(b->from);
    g_free(b->to);
    g_free(b);
}

/* --- segments ------------------------------------------------------------- */

typedef struct Segments {
    Frame *frame;
    uint8_t *to;                /* PACKET_MAX_LEN bytes */
    bool copies;
    uint64_t pieces;
} Segments;

static bool take_piece(void *opaque, Packet *piece)
{
    Segments *s = opaque;

    if (s->copies) {
        packet_copy_bytes(piece, s->to);
    }
    s->pieces++;
    return true;
}

static void run_segments(void *opaque, unsigned n)
{
    Segments *s = opaque;
    struct iovec iov = { s->frame->data, s->frame->len };
    Packet p;

    while (n--) {
        packet_init(&p, &iov, 1);
        p.has_vnet = true;
        p.vnet = s->frame->vnet;
        if (packet_parse(&p) || !offload_send(&p, 0, take_piece, s)) {
            g_error("a packet was refused");
        }
    }
}

static Frame *big_frame(uint8_t family, unsigned payload)
{
    Frame *f = frame_partial(family == IP_V4 ?
        frame_tcp(bench_port_mac, bench_gateway_mac, "192.0.2.1",
                  "192.0.2.2", payload) :
        frame_tcp(bench_port_mac, bench_gateway_mac, "2001:db8::1",
                  "2001:db8::2", payload));

    if (payload > SMALL) {
        f->vnet.gso_type = family == IP_V4 ? PACKET_GSO_TCPV4
                                           : PACKET_GSO_TCPV6;
        f->vnet.gso_size = SMALL;
        f->vnet.hdr_len = family == IP_V4 ? 54 : 74;
    }
    return f;
}

static Segments *segments_new(uint8_t family, unsigned payload, bool copies)
{
    Segments *s = g_new0(Segments, 1);

    s->frame = big_frame(family, payload);
    s->to = g_malloc0(PACKET_MAX_LEN);
    s->copies = copies;
    run_segments(s, 1);
    if (s->pieces != (payload + SMALL - 1) / SMALL) {
        g_error("%u bytes were cut into %" PRIu64 " pieces", payload,
                s->pieces);
    }
    return s;
}

static void segments_free(Segments *s)
{
    frame_free(s->frame);
    g_free(s->to);
    g_free(s);
}

/* --- all ------------------------------------------------------------------ */

static void add(GArray *cases, const char *what, double bytes,
                void (*run)(void *, unsigned), void *opaque)
{
    bench_add(cases, (BenchCase) {
        .what = g_strdup(what), .unit = "GB/s", .bytes = bytes, .run = run,
        .opaque = opaque,
    });
}

int main(int argc, char **argv)
{
    enum { PAYLOAD = 44 * SMALL };
    GArray *cases = bench_cases_new();
    Bytes *big = bytes_new(BIG), *small = bytes_new(SMALL);
    Segments *v4 = segments_new(IP_V4, PAYLOAD, false);
    Segments *v6 = segments_new(IP_V6, PAYLOAD, false);
    Segments *v4_copied = segments_new(IP_V4, PAYLOAD, true);
    Segments *v6_copied = segments_new(IP_V6, PAYLOAD, true);
    Segments *one = segments_new(IP_V4, SMALL, false);

    bench_init(argc, argv);
    add(cases, "offload/memcpy/65536", BIG, run_memcpy, big);
    add(cases, "offload/checksum/65536", BIG, run_csum, big);
    add(cases, "offload/memcpy/1448", SMALL, run_memcpy, small);
    add(cases, "offload/checksum/1448", SMALL, run_csum, small);
    add(cases, "offload/complete/1448", SMALL, run_segments, one);
    add(cases, "offload/cut IPv4/65536", PAYLOAD, run_segments, v4);
    add(cases, "offload/cut IPv6/65536", PAYLOAD, run_segments, v6);
    add(cases, "offload/cut and copy IPv4/65536", PAYLOAD, run_segments,
        v4_copied);
    add(cases, "offload/cut and copy IPv6/65536", PAYLOAD, run_segments,
        v6_copied);
    bench_run(cases);

    bench_cases_free(cases);
    bytes_free(big);
    bytes_free(small);
    segments_free(v4);
    segments_free(v6);
    segments_free(v4_copied);
    segments_free(v6_copied);
    segments_free(one);
    return 0;
}
