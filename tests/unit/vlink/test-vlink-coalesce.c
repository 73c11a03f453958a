/*
 * Coalescing: what comes out, cut again, is what went in
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>

#include "harness.h"
#include "libvlink/coalesce.h"

static const uint8_t a_mac[] = { 0x52, 0x54, 0, 0, 0, 0xa };
static const uint8_t b_mac[] = { 0x52, 0x54, 0, 0, 0, 0xb };

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define A6 "fd00::a"
#define B6 "fd00::b"

enum {
    FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32, ECE = 64,
    CWR = 128,
};

#define MSS 100
#define MAX_FLOWS 8

static unsigned pick(unsigned from, unsigned to)
{
    return g_test_rand_int_range(from, to + 1);
}

/* --- segments ------------------------------------------------------------- */

/* A sender: what its next segment begins with. */
typedef struct Sender {
    bool v6;
    uint16_t port;
    uint32_t seq;
    uint16_t id;
    bool same_id;
} Sender;

static unsigned l4_of(const Sender *s)
{
    return s->v6 ? 54 : 34;
}

static Frame *set_seq(Frame *f, unsigned l4, uint32_t seq)
{
    frame_set16(f, l4 + 4, seq >> 16);
    return frame_set16(f, l4 + 6, seq);
}

/* The next @len bytes of @s, with @flags. */
static Frame *segment(Sender *s, unsigned len, uint8_t flags)
{
    unsigned l4 = l4_of(s);
    Frame *f = frame_tcp(b_mac, a_mac, s->v6 ? A6 : A4, s->v6 ? B6 : B4,
                         12 + len);

    frame_set16(f, l4, s->port);
    set_seq(f, l4, s->seq);
    frame_set8(f, l4 + 11, 9);          /* acknowledgement */
    frame_set8(f, l4 + 12, 0x80);
    frame_set8(f, l4 + 13, flags);
    frame_set16(f, l4 + 14, 1000);
    memset(f->data + l4 + 20, 1, 12);
    for (unsigned i = l4 + 32; i < f->len; i++) {
        f->data[i] = g_test_rand_int();
    }
    if (!s->v6) {
        frame_set16(f, 18, s->id);
        frame_set8(f, 20, s->same_id ? 0x40 : 0);
        s->id += !s->same_id;
    }
    s->seq += len;
    return frame_checksum(f);
}

static Sender sender(bool v6)
{
    return (Sender) {
        .v6 = v6, .port = 4000, .seq = 0xfffffff0, .id = 0xfffe,
    };
}

/* --- what comes out ------------------------------------------------------- */

typedef struct Out {
    Coalescer *c;
    unsigned can;
    bool for_many;              /* what comes in is */
    GPtrArray *got;             /* of Frame, as emitted or passed on */
    unsigned emitted;
} Out;

static void assert_layers(const Packet *p, const Frame *f)
{
    struct iovec iov;
    Packet again;

    g_assert_cmpint(frame_parse(f, &again, &iov), ==, DROP_NONE);
    g_assert_cmpuint(p->layers.end, ==, again.layers.end);
    g_assert_cmpuint(p->layers.l3, ==, again.layers.l3);
    g_assert_cmpuint(p->layers.l4, ==, again.layers.l4);
    g_assert_cmpuint(p->layers.kind, ==, again.layers.kind);
    g_assert_cmpuint(p->layers.src_port, ==, again.layers.src_port);
    g_assert_true(ip_equal(&p->layers.src, &again.layers.src));
    g_assert_true(ip_equal(&p->layers.dst, &again.layers.dst));
}

static void out_emit(void *opaque, Packet *p)
{
    Out *out = opaque;
    Frame *f = frame_from_packet(p);
    g_autoptr(Packet) held = packet_hold(p);
    g_autoptr(Frame) kept = frame_from_packet(held);

    g_assert_cmpmem(kept->data, kept->len, f->data, f->len);
    g_assert_true(f->has_vnet && p->link == (Link *)out && p->queue == 5);
    g_assert_true(frame_checksum_ok(f));
    assert_layers(p, f);
    g_ptr_array_add(out->got, f);
    out->emitted++;
    /* as a receiver that is behind MAC translation */
    memset(packet_cow_head(p, PACKET_HEAD_LEN), 0xee, 12);
}

static void out_init(Out *out)
{
    *out = (Out) {
        .c = coalescer_new(out_emit, out), .can = OFFLOAD_ALL,
        .got = g_ptr_array_new_with_free_func((GDestroyNotify)frame_free),
    };
}

static const Frame *out_frame(const Out *out, unsigned i)
{
    g_assert_cmpuint(i, <, out->got->len);
    return g_ptr_array_index(out->got, i);
}

static void out_fini(Out *out)
{
    coalescer_free(out->c);
    g_ptr_array_unref(out->got);
}

/* @f, freed here, comes in; what is not taken is delivered at once. */
static bool feed(Out *out, Frame *f)
{
    unsigned cut = pick(0, f->len);
    uint8_t *second = malloc(f->len - cut + !(f->len - cut));
    struct iovec iov[] = { { f->data, cut }, { second, f->len - cut } };
    bool taken;
    Packet p;

    memcpy(second, f->data + cut, f->len - cut);
    packet_init(&p, iov, 2);
    p.has_vnet = f->has_vnet;
    p.vnet = f->vnet;
    p.link = (Link *)out;
    p.queue = 5;
    p.for_many = out->for_many;
    g_assert_cmpint(packet_parse(&p), ==, DROP_NONE);
    taken = coalescer_add(out->c, &p, out->can);
    if (!taken) {
        g_ptr_array_add(out->got, frame_from_packet(&p));
    }
    free(second);
    frame_free(f);
    return taken;
}

static void flush(Out *out)
{
    coalescer_flush(out->c);
    g_assert_true(coalescer_is_empty(out->c));
}

/* Emitted frame @i is @n segments of @size bytes and less. */
static void assert_merged(const Out *out, unsigned i, unsigned n,
                          unsigned size, unsigned payload)
{
    const Frame *f = out_frame(out, i);
    FrameOffsets o = frame_offsets(f);
    unsigned head = o.l4 + 32;

    g_assert_cmpuint(f->len, ==, head + payload);
    if (n == 1) {
        g_assert_cmphex(f->vnet.flags, ==, PACKET_VNET_DATA_VALID);
        g_assert_cmpuint(f->vnet.gso_type, ==, PACKET_GSO_NONE);
        return;
    }
    g_assert_cmphex(f->vnet.flags, ==, PACKET_VNET_NEEDS_CSUM);
    g_assert_cmpuint(f->vnet.gso_type & ~PACKET_GSO_ECN, ==,
                     o.v6 ? PACKET_GSO_TCPV6 : PACKET_GSO_TCPV4);
    g_assert_cmpuint(f->vnet.gso_size, ==, size);
    g_assert_cmpuint(f->vnet.hdr_len, ==, head);
    g_assert_cmpuint(f->vnet.csum_start, ==, o.l4);
    g_assert_cmpuint(f->vnet.csum_offset, ==, 16);
    g_assert_cmpuint((payload + size - 1) / size, ==, n);
}

/* --- runs ----------------------------------------------------------------- */

static void test_run(void)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        Sender s = sender(v6);
        Out out;

        out_init(&out);
        g_assert_true(coalescer_is_empty(out.c));
        for (unsigned i = 0; i < 7; i++) {
            g_assert_true(feed(&out, segment(&s, MSS, ACK)));
            g_assert_false(coalescer_is_empty(out.c));
        }
        g_assert_cmpuint(out.got->len, ==, 0);
        flush(&out);
        g_assert_cmpuint(out.got->len, ==, 1);
        assert_merged(&out, 0, 7, MSS, 7 * MSS);
        flush(&out);
        g_assert_cmpuint(out.got->len, ==, 1);
        out_fini(&out);
    }
}

/* What is alone comes out as it was, and was checked. */
static void test_single(void)
{
    static const uint8_t padding[7] = { 1, 2, 3 };

    for (unsigned v6 = 0; v6 < 2; v6++) {
        Sender s = sender(v6);
        Frame *f = segment(&s, 3, ACK);
        g_autoptr(Frame) same = NULL;
        Out out;

        out_init(&out);
        frame_insert(f, f->len, padding, sizeof(padding));
        same = frame_dup(f);
        g_assert_true(feed(&out, f));
        flush(&out);
        g_assert_cmpmem(out_frame(&out, 0)->data, out_frame(&out, 0)->len,
                        same->data, same->len);
        g_assert_cmphex(out_frame(&out, 0)->vnet.flags, ==,
                        PACKET_VNET_DATA_VALID);
        out_fini(&out);
    }
}

/* Padding is of a frame, not of the data. */
static void test_padded(void)
{
    static const uint8_t padding[7] = { 1, 2, 3 };
    Sender s = sender(false);
    Out out;

    out_init(&out);
    for (unsigned i = 0; i < 3; i++) {
        Frame *f = segment(&s, 3, ACK);

        feed(&out, frame_insert(f, f->len, padding, sizeof(padding)));
    }
    flush(&out);
    assert_merged(&out, 0, 3, 3, 9);
    out_fini(&out);
}

/* A shorter one is the last; a longer one is the first of the next. */
static void test_sizes(void)
{
    Sender s = sender(false);
    Out out;

    out_init(&out);
    feed(&out, segment(&s, MSS, ACK));
    feed(&out, segment(&s, MSS, ACK));
    g_assert_true(feed(&out, segment(&s, MSS - 1, ACK)));
    g_assert_true(coalescer_is_empty(out.c));
    assert_merged(&out, 0, 3, MSS, 3 * MSS - 1);

    feed(&out, segment(&s, MSS, ACK));
    g_assert_true(feed(&out, segment(&s, MSS + 1, ACK)));
    assert_merged(&out, 1, 1, 0, MSS);
    feed(&out, segment(&s, 1, ACK));
    assert_merged(&out, 2, 2, MSS + 1, MSS + 2);
    g_assert_true(coalescer_is_empty(out.c));
    out_fini(&out);
}

/* FIN and PSH are the last's: nobody waits for more. */
static void test_last(void)
{
    static const uint8_t flags[] = { PSH, FIN, FIN | PSH };

    for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++) {
        Sender s = sender(i & 1);
        Out out;

        out_init(&out);
        feed(&out, segment(&s, MSS, ACK));
        g_assert_true(feed(&out, segment(&s, MSS, ACK | flags[i])));
        g_assert_true(coalescer_is_empty(out.c));
        assert_merged(&out, 0, 2, MSS, 2 * MSS);
        g_assert_cmphex(out_frame(&out, 0)->data[l4_of(&s) + 13], ==,
                        ACK | flags[i]);
        /* and the first is not kept when it is the last, too */
        g_assert_false(feed(&out, segment(&s, MSS, ACK | flags[i])));
        g_assert_true(coalescer_is_empty(out.c));
        out_fini(&out);
    }
}

/* As much as fits into one datagram, and no byte more. */
static void test_longest(void)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        unsigned room = 65535 - (v6 ? 40 : 20) - 32;

        for (unsigned more = 0; more < 2; more++) {
            unsigned size = 2000;
            Sender s = sender(v6);
            Out out;

            out_init(&out);
            for (unsigned n = 0; n < room / size; n++) {
                feed(&out, segment(&s, size, ACK));
            }
            g_assert_cmpuint(out.got->len, ==, 0);
            feed(&out, segment(&s, room % size + more, ACK));
            flush(&out);
            g_assert_cmpuint(out.got->len, ==, 1 + more);
            assert_merged(&out, 0, room / size + !more, size,
                          room - more * (room % size));
            out_fini(&out);
        }
    }
}

/* --- what ends a run ------------------------------------------------------ */

typedef struct Difference {
    int off4, off6;             /* in the frame, -1: not in that family */
    uint8_t flip;
} Difference;

/* Each of these bits makes two segments differ in what must be equal. */
static const Difference differences[] = {
    { 0, 0, 4 }, { 5, 5, 1 }, { 6, 6, 4 }, { 11, 11, 1 },       /* MACs */
    { 15, 14, 1 }, { 15, 15, 0x10 },        /* DSCP and ECN */
    { -1, 17, 1 },                          /* flow label */
    { 18, -1, 1 },                          /* identification */
    { 20, -1, 0x40 }, { 20, -1, 0x80 },     /* DF; reserved */
    { 22, 21, 1 },                          /* TTL */
    { 38, 58, 1 }, { 41, 61, 1 },           /* sequence number */
    { 42, 62, 1 }, { 45, 65, 1 },           /* acknowledgement */
    { 46, 66, 1 },                          /* flag AE */
    { 47, 67, ECE }, { 47, 67, ACK },
    { 48, 68, 1 }, { 49, 69, 1 },           /* window */
    { 52, 72, 1 }, { 53, 73, 1 },           /* urgent pointer */
    { 54, 74, 1 }, { 65, 85, 1 },           /* options */
};

static void check_difference(bool v6, const Difference *d, unsigned before)
{
    int off = v6 ? d->off6 : d->off4;
    Sender s = sender(v6);
    g_autoptr(Frame) same = NULL;
    Frame *f;
    Out out;

    if (off < 0) {
        return;
    }
    out_init(&out);
    for (unsigned i = 0; i < before; i++) {
        feed(&out, segment(&s, MSS, ACK));
    }
    f = segment(&s, MSS, ACK);
    f->data[off] ^= d->flip;
    same = frame_dup(frame_checksum(f));
    feed(&out, f);
    flush(&out);
    g_test_message("offset %d, flip 0x%x", off, d->flip);
    g_assert_cmpuint(out.got->len, ==, 2);
    assert_merged(&out, 0, before, MSS, before * MSS);
    g_assert_cmpmem(out_frame(&out, 1)->data, out_frame(&out, 1)->len,
                    same->data, same->len);
    out_fini(&out);
}

static void test_differences(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(differences); i++) {
        for (unsigned before = 1; before < 4; before++) {
            check_difference(false, &differences[i], before);
            check_difference(true, &differences[i], before);
        }
    }
}

/* What is of the flow, but nothing to merge, comes behind what was kept. */
static void check_passed(Sender *s, Frame *f, unsigned can)
{
    g_autoptr(Frame) same = frame_dup(f);
    Out out;

    out_init(&out);
    feed(&out, segment(s, MSS, ACK));
    feed(&out, segment(s, MSS, ACK));
    out.can = can;
    g_assert_false(feed(&out, f));
    g_assert_true(coalescer_is_empty(out.c));
    g_assert_cmpuint(out.got->len, ==, 2);
    assert_merged(&out, 0, 2, MSS, 2 * MSS);
    g_assert_cmpmem(out_frame(&out, 1)->data, out_frame(&out, 1)->len,
                    same->data, same->len);
    g_assert_cmpmem(&out_frame(&out, 1)->vnet, sizeof(PacketVnet),
                    &same->vnet, sizeof(PacketVnet));
    out_fini(&out);
}

static Frame *third(Sender *s, unsigned len, uint8_t flags)
{
    Frame *f;

    *s = sender(s->v6);
    s->seq += 2 * MSS;
    s->id += 2;
    f = segment(s, len, flags);
    *s = sender(s->v6);
    return f;
}

static void test_passed(void)
{
    static const uint8_t flags[] = { SYN, RST, URG, SYN | FIN };

    for (unsigned v6 = 0; v6 < 2; v6++) {
        Sender s = sender(v6);
        Frame *f;

        for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++) {
            check_passed(&s, third(&s, MSS, ACK | flags[i]), OFFLOAD_ALL);
        }
        check_passed(&s, third(&s, 0, ACK), OFFLOAD_ALL);
        check_passed(&s, third(&s, 0, ACK | FIN), OFFLOAD_ALL);
        check_passed(&s, frame_tag(third(&s, MSS, ACK), 0x8100, 3),
                     OFFLOAD_ALL);
        check_passed(&s, frame_fragment(third(&s, MSS, ACK), 0, true),
                     OFFLOAD_ALL);
        check_passed(&s, frame_fragment(third(&s, MSS, ACK), 800, false),
                     OFFLOAD_ALL);
        check_passed(&s, frame_partial(third(&s, MSS, ACK)), OFFLOAD_ALL);
        f = frame_partial(third(&s, MSS, ACK));
        f->vnet.gso_type = v6 ? PACKET_GSO_TCPV6 : PACKET_GSO_TCPV4;
        f->vnet.gso_size = 30;
        check_passed(&s, f, OFFLOAD_ALL);
        /* a receiver that changed its mind */
        check_passed(&s, third(&s, MSS, ACK), 0);
        check_passed(&s, third(&s, MSS, ACK), OFFLOAD_CSUM);
        check_passed(&s, third(&s, MSS, ACK), OFFLOAD_CSUM |
                     (v6 ? OFFLOAD_TSO4 : OFFLOAD_TSO6));
    }
}

static void test_passed_options(void)
{
    Sender s = sender(false);

    check_passed(&s, frame_options(third(&s, MSS, ACK), 4), OFFLOAD_ALL);
    s = sender(true);
    check_passed(&s, frame_ext(third(&s, MSS, ACK), 60, 8), OFFLOAD_ALL);
}

/* Tags are not looked through, even where no sum would tell. */
static void test_passed_tagged(void)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        Sender s = sender(v6);
        Out out;

        out_init(&out);
        for (unsigned i = 0; i < 2; i++) {
            Frame *f = frame_tag(segment(&s, MSS, ACK), 0x8100, 3);

            f->has_vnet = true;
            f->vnet.flags = PACKET_VNET_DATA_VALID;
            g_assert_false(feed(&out, f));
        }
        out_fini(&out);
    }
}

static void test_passed_many(void)
{
    Sender s = sender(false);
    Out out;

    out_init(&out);
    out.for_many = true;
    g_assert_false(feed(&out, segment(&s, MSS, ACK)));
    out_fini(&out);
}

/* What is wrong stays wrong, whatever it is: first, second, in between. */
static void test_wrong_checksum(void)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        for (unsigned before = 0; before < 3; before++) {
            Sender s = sender(v6);
            g_autoptr(Frame) same = NULL;
            Frame *f;
            Out out;

            out_init(&out);
            for (unsigned i = 0; i < before; i++) {
                feed(&out, segment(&s, MSS, ACK));
            }
            f = segment(&s, MSS, ACK);
            f->data[f->len - 1] ^= 4;
            same = frame_dup(f);
            g_assert_false(feed(&out, f));
            g_assert_true(coalescer_is_empty(out.c));
            feed(&out, segment(&s, MSS, ACK));
            flush(&out);
            g_assert_cmpuint(out.got->len, ==, !!before + 2);
            f = out.got->pdata[!!before];
            g_assert_cmpmem(f->data, f->len, same->data, same->len);
            g_assert_cmphex(f->vnet.flags, ==, 0);
            out_fini(&out);
        }
    }
}

static void test_wrong_ip_checksum(void)
{
    Sender s = sender(false);
    Frame *f = third(&s, MSS, ACK);

    f->data[24] ^= 1;
    check_passed(&s, f, OFFLOAD_ALL);
}

/* Somebody has checked it already. */
static void test_data_valid(void)
{
    Sender s = sender(true);
    Out out;

    out_init(&out);
    for (unsigned i = 0; i < 3; i++) {
        Frame *f = segment(&s, MSS, ACK);

        f->has_vnet = true;
        f->vnet.flags = PACKET_VNET_DATA_VALID;
        frame_set16(f, 54 + 16, 0xdead);        /* nobody looks */
        g_assert_true(feed(&out, f));
    }
    flush(&out);
    assert_merged(&out, 0, 3, MSS, 3 * MSS);
    out_fini(&out);
}

static void test_ecn(void)
{
    Sender s = sender(false);
    Out out;

    out_init(&out);
    g_assert_true(feed(&out, segment(&s, MSS, ACK | CWR)));
    feed(&out, segment(&s, MSS, ACK));
    g_assert_true(feed(&out, segment(&s, MSS, ACK | CWR)));
    g_assert_cmpuint(out.got->len, ==, 1);
    assert_merged(&out, 0, 2, MSS, 2 * MSS);
    g_assert_cmphex(out_frame(&out, 0)->vnet.gso_type, ==,
                    PACKET_GSO_TCPV4 | PACKET_GSO_ECN);
    flush(&out);
    assert_merged(&out, 1, 1, MSS, MSS);

    /* not for who cannot take it */
    out.can = OFFLOAD_CSUM | OFFLOAD_TSO4;
    feed(&out, segment(&s, MSS, ACK));
    g_assert_false(feed(&out, segment(&s, MSS, ACK | CWR)));
    g_assert_true(coalescer_is_empty(out.c));
    assert_merged(&out, 2, 1, MSS, MSS);
    out_fini(&out);
}

/* RFC 6864: an identification that means nothing may stay the same. */
static void test_same_id(void)
{
    Sender s = sender(false);
    Frame *f;
    Out out;

    out_init(&out);
    s.same_id = true;
    for (unsigned i = 0; i < 4; i++) {
        feed(&out, segment(&s, MSS, ACK));
    }
    s.id++;
    feed(&out, segment(&s, MSS, ACK));
    assert_merged(&out, 0, 4, MSS, 4 * MSS);
    /* but not where it could be fragmented */
    flush(&out);
    s.same_id = false;
    feed(&out, segment(&s, MSS, ACK));
    f = segment(&s, MSS, ACK);
    frame_set16(f, 18, s.id - 2);
    feed(&out, frame_checksum(f));
    flush(&out);
    g_assert_cmpuint(out.got->len, ==, 4);
    out_fini(&out);
}

/* --- flows ---------------------------------------------------------------- */

static void test_flows(void)
{
    Sender s[MAX_FLOWS + 1];
    Out out;

    out_init(&out);
    for (unsigned i = 0; i <= MAX_FLOWS; i++) {
        s[i] = sender(i & 1);
        s[i].port = 1000 + i;
    }
    for (unsigned n = 0; n < 3; n++) {
        for (unsigned i = 0; i < MAX_FLOWS; i++) {
            g_assert_true(feed(&out, segment(&s[i], MSS, ACK)));
        }
    }
    g_assert_cmpuint(out.got->len, ==, 0);
    /* the first makes room for one more */
    g_assert_true(feed(&out, segment(&s[MAX_FLOWS], MSS, ACK)));
    g_assert_cmpuint(out.got->len, ==, 1);
    /* the third has to go, and is none of the oldest any more */
    g_assert_false(feed(&out, segment(&s[2], 0, ACK)));
    feed(&out, segment(&s[2], MSS, ACK));
    flush(&out);
    g_assert_cmpuint(out.got->len, ==, MAX_FLOWS + 3);
    static const unsigned order[] = { 0, 2, 2, 1, 3, 4, 5, 6, 7, 8, 2 };
    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        const Frame *f = out_frame(&out, i);

        g_assert_cmpuint(frame_get16(f, frame_offsets(f).l4), ==,
                         1000 + order[i]);
    }
    out_fini(&out);
}

/* What is none of TCP's neither waits nor makes others come out. */
static void test_others(void)
{
    Sender s = sender(false);
    Out out;

    out_init(&out);
    feed(&out, segment(&s, MSS, ACK));
    g_assert_false(feed(&out, udp(b_mac, a_mac, A4, B4)));
    g_assert_false(feed(&out, arp_request(a_mac, A4, B4)));
    g_assert_false(feed(&out, frame_ip(b_mac, a_mac, A4, B4, 1, 64)));
    feed(&out, segment(&s, MSS, ACK));
    g_assert_cmpuint(out.got->len, ==, 3);
    flush(&out);
    assert_merged(&out, 3, 2, MSS, 2 * MSS);
    out_fini(&out);
}

/* What is kept when nobody flushes is freed. */
static void test_free(void)
{
    Sender s = sender(false);
    Out out;

    out_init(&out);
    feed(&out, segment(&s, MSS, ACK));
    feed(&out, segment(&s, MSS, ACK));
    out_fini(&out);
    g_assert_cmpuint(out.emitted, ==, 0);
    coalescer_free(NULL);
}

/* --- there and back ------------------------------------------------------- */

static bool feed_piece(void *opaque, Packet *piece)
{
    Out *out = opaque;

    g_assert_true(feed(out, frame_from_packet(piece)));
    return true;
}

static void check_round_trip(bool v6, unsigned payload, unsigned size,
                             uint8_t flags)
{
    Sender s = sender(v6);
    g_autoptr(Frame) f = segment(&s, payload, flags);
    struct iovec iov = { f->data, f->len };
    Packet p;
    Out out;

    frame_partial(f);
    f->vnet.gso_type = (v6 ? PACKET_GSO_TCPV6 : PACKET_GSO_TCPV4) |
                       (flags & CWR ? PACKET_GSO_ECN : 0);
    f->vnet.gso_size = size;
    f->vnet.hdr_len = l4_of(&s) + 32;
    packet_init(&p, &iov, 1);
    p.has_vnet = true;
    p.vnet = f->vnet;
    g_assert_cmpint(packet_parse(&p), ==, DROP_NONE);
    out_init(&out);
    g_assert_true(offload_send(&p, 0, feed_piece, &out));
    flush(&out);
    g_assert_cmpuint(out.got->len, ==, 1);
    g_assert_cmpmem(out_frame(&out, 0)->data, out_frame(&out, 0)->len,
                    f->data, f->len);
    g_assert_cmpmem(&out_frame(&out, 0)->vnet, sizeof(f->vnet),
                    &f->vnet, sizeof(f->vnet));
    out_fini(&out);
}

static void test_round_trip(void)
{
    check_round_trip(false, 65483, 1448, ACK);
    check_round_trip(true, 65463, 1428, ACK | PSH);
    for (unsigned i = 0; i < 300; i++) {
        unsigned payload = pick(2, pick(0, 3) ? 3000 : 65463);
        unsigned size = pick(payload / 100 + 1, payload - 1);
        static const uint8_t flags[] = { PSH, FIN, CWR, ECE };

        check_round_trip(i & 1, payload, size,
                         ACK | (pick(0, 1) ? flags[pick(0, 3)] : 0));
    }
}

/* --- anything, in any order ----------------------------------------------- */

enum { FLOWS = 12 };

/* What went into the flows and what came out of them, in turn. */
typedef struct Streams {
    GPtrArray *in[FLOWS], *out[FLOWS];
} Streams;

static unsigned flow_of(const Frame *f)
{
    unsigned port = frame_get16(f, frame_offsets(f).l4);

    g_assert_cmpuint(port - 1000, <, FLOWS);
    return port - 1000;
}

static bool append_piece(void *opaque, Packet *piece)
{
    Streams *all = opaque;
    Frame *f = frame_from_packet(piece);

    frame_cut(f, frame_offsets(f).end);
    g_ptr_array_add(all->out[flow_of(f)], f);
    return true;
}

/* What came out, as segments. */
static void split(Streams *all, const Frame *f)
{
    struct iovec iov;
    Packet p;

    g_assert_cmpint(frame_parse(f, &p, &iov), ==, DROP_NONE);
    if (offload_needs(&p)) {
        g_assert_true(offload_send(&p, 0, append_piece, all));
    } else {
        append_piece(all, &p);
    }
}

/* Mostly the next segment, sometimes not quite. */
static Frame *disturbed(Sender *s)
{
    static const uint8_t odd[] = { FIN, SYN, RST, PSH, URG, ECE, CWR };
    uint8_t flags = ACK | (pick(0, 9) ? 0 : odd[pick(0, 6)]);
    Frame *f = segment(s, pick(0, 9) ? MSS : pick(0, MSS + 50), flags);
    static const uint8_t junk[9] = { 5, 4, 3 };

    switch (pick(0, 40)) {
    case 0:                     /* lost */
        frame_free(f);
        return segment(s, MSS, ACK);
    case 1:                     /* sent again */
        s->seq -= 2 * MSS;
        return f;
    case 2:                     /* corrupted */
        f->data[pick(l4_of(s) + 16, f->len - 1)] ^= 1 << pick(0, 7);
        frame_set8(f, l4_of(s) + 12, 0x80);
        return f;
    case 3:
        return frame_insert(f, f->len, junk, sizeof(junk));
    case 4:                     /* delayed, congested, far away */
        f->data[pick(14, s->v6 ? 15 : 14) + !s->v6] ^= pick(0, 1);
        return frame_checksum(f);
    case 5:
        return frame_checksum(frame_set16(f, l4_of(s) + 14, pick(0, 9)));
    default:
        return f;
    }
}

static void compare_streams(Streams *all)
{
    for (unsigned i = 0; i < FLOWS; i++) {
        g_assert_cmpuint(all->in[i]->len, ==, all->out[i]->len);
        for (unsigned n = 0; n < all->in[i]->len; n++) {
            const Frame *a = all->in[i]->pdata[n], *b = all->out[i]->pdata[n];

            g_assert_cmpmem(a->data, a->len, b->data, b->len);
        }
        g_ptr_array_unref(all->in[i]);
        g_ptr_array_unref(all->out[i]);
    }
}

/* Returns how many frames came out of @steps that went in. */
static unsigned interleave(unsigned flows, unsigned steps)
{
    Sender s[FLOWS];
    Streams all;
    unsigned count;
    Out out;

    out_init(&out);
    for (unsigned i = 0; i < FLOWS; i++) {
        s[i] = sender(pick(0, 1));
        s[i].port = 1000 + i;
        all.in[i] = g_ptr_array_new_with_free_func(
            (GDestroyNotify)frame_free);
        all.out[i] = g_ptr_array_new_with_free_func(
            (GDestroyNotify)frame_free);
    }
    for (unsigned n = 0; n < steps; n++) {
        Frame *f = disturbed(&s[pick(0, flows - 1)]);
        Frame *trimmed = frame_cut(frame_dup(f), frame_offsets(f).end);

        g_ptr_array_add(all.in[flow_of(f)], trimmed);
        feed(&out, f);
        if (!pick(0, 60)) {
            flush(&out);
        }
    }
    flush(&out);
    for (unsigned i = 0; i < out.got->len; i++) {
        split(&all, out_frame(&out, i));
    }
    compare_streams(&all);
    count = out.got->len;
    out_fini(&out);
    return count;
}

static void test_interleaved(void)
{
    for (unsigned i = 0; i < 60; i++) {
        g_assert_cmpuint(interleave(pick(1, MAX_FLOWS), 500), <, 400);
        interleave(FLOWS, 500);
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/coalesce/run", test_run);
    g_test_add_func("/coalesce/single", test_single);
    g_test_add_func("/coalesce/padded", test_padded);
    g_test_add_func("/coalesce/sizes", test_sizes);
    g_test_add_func("/coalesce/last", test_last);
    g_test_add_func("/coalesce/longest", test_longest);
    g_test_add_func("/coalesce/differences", test_differences);
    g_test_add_func("/coalesce/passed/special", test_passed);
    g_test_add_func("/coalesce/passed/options", test_passed_options);
    g_test_add_func("/coalesce/passed/tagged", test_passed_tagged);
    g_test_add_func("/coalesce/passed/many", test_passed_many);
    g_test_add_func("/coalesce/wrong/checksum", test_wrong_checksum);
    g_test_add_func("/coalesce/wrong/ip-checksum", test_wrong_ip_checksum);
    g_test_add_func("/coalesce/data-valid", test_data_valid);
    g_test_add_func("/coalesce/ecn", test_ecn);
    g_test_add_func("/coalesce/same-id", test_same_id);
    g_test_add_func("/coalesce/flows/oldest", test_flows);
    g_test_add_func("/coalesce/flows/others", test_others);
    g_test_add_func("/coalesce/free", test_free);
    g_test_add_func("/coalesce/random/round-trip", test_round_trip);
    g_test_add_func("/coalesce/random/interleaved", test_interleaved);
    return g_test_run();
}
