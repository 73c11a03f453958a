/*
 * libvlink: fragments of IPv4 packets, put together again
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "libvlink/ipvlan/fragment.h"
#include "libvlink/ipvlan/port.h"

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define HOP4 "10.0.0.77"
#define FAR4 "10.9.9.9"
#define A6 "2001:db8::1"
#define FAR6 "2001:db8:9::9"

static const uint8_t guest_mac[] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };

/* --- packets in many places ----------------------------------------------- */

#define MAX_IOV 40

typedef struct Scattered {
    Packet p;
    struct iovec iov[MAX_IOV];
    uint8_t *part[MAX_IOV];
    unsigned n;
} Scattered;

/*
 * @f in @n parts, each exactly as long as malloc() was told: @first bytes,
 * then @each, 0: as many in all of them, and the rest in the last one.
 */
static void scatter_as(Scattered *s, const Frame *f, unsigned n,
                       unsigned first, unsigned each)
{
    unsigned at = 0;

    s->n = n;
    for (unsigned i = 0; i < n; i++) {
        unsigned left = f->len - at;
        unsigned len = i + 1 == n ? left :
                       i == 0 ? MIN(first, left) :
                       MIN(left, each ?: left / (n - i) | 1);

        s->part[i] = malloc(len ? len : 1);
        memcpy(s->part[i], f->data + at, len);
        s->iov[i] = (struct iovec) { s->part[i], len };
        at += len;
    }
    g_assert_cmpuint(at, ==, f->len);
    packet_init(&s->p, s->iov, n);
    s->p.has_vnet = f->has_vnet;
    s->p.vnet = f->vnet;
    g_assert_cmpint(packet_parse(&s->p), ==, DROP_NONE);
}

static void scatter(Scattered *s, const Frame *f, unsigned n)
{
    scatter_as(s, f, n, 14, 0);
}

static void gather(Scattered *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        free(s->part[i]);
    }
}

/* --- putting together ----------------------------------------------------- */

typedef struct Collector {
    GPtrArray *got;             /* of Frame */
    unsigned room;              /* then BUSY, but not for the rest */
    unsigned rests;
} Collector;

/* What it says of itself is what a parser would say. */
static void assert_layers(const Packet *piece, const Frame *f)
{
    struct iovec iov = { f->data, f->len };
    const PacketLayers *l = &piece->layers;
    Packet p;

    packet_init(&p, &iov, 1);
    g_assert_cmpint(packet_parse(&p), ==, DROP_NONE);
    g_assert_cmpint(l->kind, ==, p.layers.kind);
    g_assert_cmpint(l->ip_proto, ==, p.layers.ip_proto);
    g_assert_cmpint(l->fragment, ==, p.layers.fragment);
    g_assert_cmpuint(l->l3, ==, p.layers.l3);
    g_assert_cmpuint(l->l4, ==, p.layers.l4);
    g_assert_cmpuint(l->end, ==, p.layers.end);
    g_assert_cmpuint(l->src_port, ==, p.layers.src_port);
    g_assert_cmpuint(l->dst_port, ==, p.layers.dst_port);
    g_assert_true(ip_equal(&l->src, &p.layers.src));
    g_assert_true(ip_equal(&l->dst, &p.layers.dst));
}

static LinkTx collect(void *opaque, Packet *piece, bool rest)
{
    Collector *c = opaque;
    Frame *f = frame_from_packet(piece);
    unsigned len = piece->len;

    g_assert_cmpint(rest, ==, c->got->len > 0);
    c->rests += rest;
    if (!rest && !c->room) {
        frame_free(f);
        return LINK_TX_BUSY;
    }
    assert_layers(piece, f);
    g_assert_true(frame_checksum_ok(f));
    g_assert_false(offload_needs(piece));
    g_assert_cmpuint(piece->vnet.flags, ==, 0);
    f->has_vnet = false;
    g_ptr_array_add(c->got, f);

    /* who gets it may write to its headers */
    memset(packet_cow_eth(piece), 0xee, PACKET_HEAD_LEN);
    g_assert_cmpuint(piece->len, ==, len);
    return LINK_TX_OK;
}

/* Bytes that follow the IP header, by all of the pieces, which are checked. */
static GByteArray *reassemble(const GPtrArray *got, const Frame *whole,
                              unsigned mtu)
{
    GByteArray *all = g_byte_array_new();
    FrameOffsets w = frame_offsets(whole);
    unsigned frag = frame_get16(whole, w.l3 + 6);

    for (unsigned i = 0; i < got->len; i++) {
        const Frame *f = got->pdata[i];
        FrameOffsets o = frame_offsets(f);
        unsigned here = frame_get16(f, o.l3 + 6);
        bool last = i + 1 == got->len;

        g_assert_cmpmem(f->data, o.l3, whole->data, w.l3);
        g_assert_cmpuint(o.end, ==, f->len);
        g_assert_cmpuint(o.end - o.l3, <=, mtu);
        g_assert_cmpuint((here & 0x1fff) * 8, ==,
                         (frag & 0x1fff) * 8 + all->len);
        g_assert_cmpint(!!(here & 0x2000), ==, !last || (frag & 0x2000));
        /* type of service, identification, time to live, protocol */
        g_assert_cmphex(f->data[o.l3 + 1], ==, whole->data[w.l3 + 1]);
        g_assert_cmpmem(f->data + o.l3 + 4, 2, whole->data + w.l3 + 4, 2);
        g_assert_cmpmem(f->data + o.l3 + 8, 2, whole->data + w.l3 + 8, 2);
        g_assert_cmpmem(f->data + o.l3 + 12, 8, whole->data + w.l3 + 12, 8);
        if (!last) {
            /* as long as can be, and the rest would have been too long */
            g_assert_cmpuint(w.end - w.l4 - all->len, >,
                             mtu - (o.l4 - o.l3));
            g_assert_cmpuint((o.end - o.l4) % 8, ==, 0);
            g_assert_cmpuint(o.end - o.l3 + 8, >, mtu);
        }
        g_byte_array_append(all, f->data + o.l4, o.end - o.l4);
    }
    return all;
}

/* Cut @f, which is freed, and compare what comes of it with @expected. */
static GPtrArray *cut(Frame *f, const Frame *expected, unsigned mtu,
                      unsigned parts)
{
    FrameOffsets o = frame_offsets(expected);
    Collector c = {
        .got = g_ptr_array_new_with_free_func((GDestroyNotify)frame_free),
        .room = NO_LIMIT,
    };
    g_autoptr(GByteArray) all = NULL;
    g_autoptr(Frame) before = frame_dup(f);
    Scattered s;

    scatter(&s, f, parts);
    g_assert_true(fragment_is_allowed(&s.p));
    g_assert_cmpint(fragment_send(&s.p, mtu, collect, &c), ==, LINK_TX_OK);
    all = reassemble(c.got, expected, mtu);
    g_assert_cmpmem(all->data, all->len, expected->data + o.l4,
                    o.end - o.l4);
    g_assert_cmpuint(c.rests, ==, c.got->len - 1);
    packet_copy_bytes(&s.p, f->data);
    g_assert_cmpmem(f->data, f->len, before->data, before->len);
    gather(&s);
    frame_free(f);
    return c.got;
}

static Frame *datagram(unsigned payload)
{
    Frame *f = frame_udp(port_mac, guest_mac, A4, FAR4, 1, 2, payload);

    frame_set8(f, 15, 0xb8);
    frame_set16(f, 18, 0x1234);
    return frame_checksum(f);
}

static void cut_and_check(Frame *f, unsigned mtu, unsigned parts)
{
    g_autoptr(Frame) expected = frame_dup(f);

    g_ptr_array_unref(cut(f, expected, mtu, parts));
}

/* --- the tests ------------------------------------------------------------ */

/* Every length around every boundary. */
static void test_lengths(void)
{
    for (unsigned mtu = 1280; mtu < 1296; mtu++) {
        for (unsigned n = mtu - 27; n < 2 * mtu; n += n % 97 ? 1 : 41) {
            cut_and_check(datagram(n), mtu, 1);
        }
    }
    cut_and_check(datagram(65507), 1280, 1);
    cut_and_check(datagram(65507), 65534, 1);
    cut_and_check(datagram(65507), 68, 1);
}

static void test_exact(void)
{
    static const unsigned lens[] = { 1476, 1476, 108 };
    g_autoptr(Frame) expected = datagram(2992);
    GPtrArray *got = cut(datagram(2992), expected, 1476, 1);

    g_assert_cmpuint(got->len, ==, 3);
    for (unsigned i = 0; i < 3; i++) {
        const Frame *f = got->pdata[i];

        g_assert_cmpuint(f->len, ==, 14 + lens[i]);
    }
    g_ptr_array_unref(got);
}

/* Wherever the bytes lie, and in more places than a piece has room for. */
static void test_scattered(void)
{
    for (unsigned parts = 1; parts <= MAX_IOV; parts++) {
        for (unsigned n = 1473; n < 9000; n += 501) {
            cut_and_check(datagram(n), 1500, parts);
            cut_and_check(frame_tag(datagram(n), 0x8100, 7), 1400, parts);
        }
    }
}

/* As many places as a piece has room for, and one more; all in one piece. */
static void test_scattered_tiny(void)
{
    for (unsigned parts = 2; parts <= MAX_IOV; parts++) {
        for (unsigned first = 14; first < 80; first += 11) {
            Collector c = {
                .got = g_ptr_array_new_with_free_func(
                    (GDestroyNotify)frame_free),
                .room = NO_LIMIT,
            };
            g_autoptr(GByteArray) all = NULL;
            g_autoptr(Frame) f = datagram(3000);
            Scattered s;

            scatter_as(&s, f, parts, first, 3);
            fragment_send(&s.p, 1500, collect, &c);
            all = reassemble(c.got, f, 1500);
            g_assert_cmpmem(all->data, all->len, f->data + 34, 3008);
            g_ptr_array_unref(c.got);
            gather(&s);
        }
    }
}

/* A checksum that was left to be completed is; and the frame is not touched */
static void test_partial(void)
{
    for (unsigned parts = 1; parts < 6; parts++) {
        for (unsigned n = 1500; n < 4000; n += 333) {
            g_autoptr(Frame) expected = datagram(n);

            g_ptr_array_unref(cut(frame_partial(datagram(n)), expected, 1500,
                                  parts));
        }
    }
}

/* What somebody has checked was the whole. */
static void test_data_valid(void)
{
    Frame *f = datagram(3000);

    f->has_vnet = true;
    f->vnet.flags = PACKET_VNET_DATA_VALID;
    cut_and_check(f, 1500, 2);
}

static void test_tcp(void)
{
    g_autoptr(Frame) expected = frame_tcp(port_mac, guest_mac, A4, FAR4, 3000);
    Frame *f = frame_partial(frame_dup(expected));

    g_ptr_array_unref(cut(f, expected, 1500, 3));
}

/* Padding of Ethernet's is not a part of the packet. */
static void test_padding(void)
{
    uint8_t zeros[50] = { 0 };
    Frame *f = datagram(2000);

    frame_insert(f, f->len, zeros, sizeof(zeros));
    cut_and_check(f, 1500, 2);
}

/* What is one already: those that it is cut into go on from where it is. */
static void test_fragments(void)
{
    for (unsigned more = 0; more < 2; more++) {
        for (unsigned off = 0; off <= 40000; off += 8000) {
            if (off || more) {
                cut_and_check(frame_fragment(datagram(4000), off, more), 1500,
                              4);
            }
        }
    }
}

/* --- options -------------------------------------------------------------- */

static Frame *with_options(const uint8_t *options, unsigned len)
{
    Frame *f = frame_options(datagram(3000), len);

    memcpy(f->data + 34, options, len);
    return frame_checksum(f);
}

/* Those of the first piece, and those of the others. */
static void assert_options(const uint8_t *options, unsigned len,
                           const uint8_t *copied, unsigned n)
{
    g_autoptr(Frame) expected = with_options(options, len);
    GPtrArray *got = cut(with_options(options, len), expected, 1500, 2);

    g_assert_cmpuint(got->len, ==, 3);
    for (unsigned i = 0; i < got->len; i++) {
        const Frame *f = got->pdata[i];
        unsigned have = frame_offsets(f).l4 - 34;

        if (!i) {
            g_assert_cmpmem(f->data + 34, have, options, len);
        } else {
            g_assert_cmpmem(f->data + 34, have, copied, n);
        }
    }
    g_ptr_array_unref(got);
}

static void test_options(void)
{
    /* record route: not copied; router alert and source route: copied */
    static const uint8_t record[] = { 7, 7, 4, 0, 0, 0, 0, 0 };
    static const uint8_t alert[] = { 0x94, 4, 0, 0 };
    static const uint8_t mixed[] = {
        1, 7, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, 1, 0x83, 7, 4, 1, 2, 3, 4, 0,
        0, 0, 0,
    };
    static const uint8_t mixed_copied[] = {
        0x94, 4, 0, 0, 0x83, 7, 4, 1, 2, 3, 4, 0,
    };
    static const uint8_t ends[] = { 0, 0x94, 4, 0, 0, 0, 0, 0 };
    uint8_t full[40] = { 0x83, 40 };

    assert_options(record, sizeof(record), NULL, 0);
    assert_options(alert, sizeof(alert), alert, sizeof(alert));
    assert_options(mixed, sizeof(mixed), mixed_copied, sizeof(mixed_copied));
    assert_options(ends, sizeof(ends), NULL, 0);
    assert_options(full, sizeof(full), full, sizeof(full));
}

/* Lengths that lie: no more of them is passed on, and nothing is read past. */
static void test_options_lie(void)
{
    static const uint8_t cases[][4] = {
        { 0x94, 0, 0, 0 }, { 0x94, 1, 0, 0 }, { 0x94, 5, 0, 0 },
        { 0x94, 255, 0, 0 }, { 1, 1, 1, 0x94 }, { 7, 0, 0x94, 2 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        assert_options(cases[i], 4, NULL, 0);
    }
    assert_options((const uint8_t[]) { 0x94, 2, 7, 9 }, 4,
                   (const uint8_t[]) { 0x94, 2, 0, 0 }, 4);
}

/* Whatever the options say. */
static void test_options_random(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(42);

    for (unsigned i = 0; i < 20000; i++) {
        unsigned len = 4 * g_rand_int_range(rand, 1, 11);
        uint8_t options[40];
        Frame *f;

        for (unsigned j = 0; j < len; j++) {
            static const uint8_t likely[] = { 0, 1, 2, 4, 7, 0x83, 0x94, 40 };
            unsigned r = g_rand_int_range(rand, 0, 12);

            options[j] = r < 8 ? likely[r] : g_rand_int_range(rand, 0, 256);
        }
        f = with_options(options, len);
        cut_and_check(f, g_rand_int_range(rand, 68, 1600), 1 + i % 3);
    }
}

/* --- what is not cut ------------------------------------------------------ */

static bool is_allowed(Frame *f)
{
    Scattered s;
    bool allowed;

    scatter(&s, f, 2);
    allowed = fragment_is_allowed(&s.p);
    gather(&s);
    frame_free(f);
    return allowed;
}

static void test_allowed(void)
{
    Frame *f = frame_partial(datagram(9000));

    g_assert_true(is_allowed(datagram(9000)));
    g_assert_true(is_allowed(frame_dup(f)));
    g_assert_true(is_allowed(frame_fragment(datagram(9000), 800, true)));
    f->vnet.gso_type = PACKET_GSO_UDP_L4;
    f->vnet.gso_size = 1000;
    g_assert_false(is_allowed(f));
    f = frame_checksum(frame_set16(datagram(9000), 20, 0x4000));
    g_assert_false(is_allowed(f));
    f = frame_udp(port_mac, guest_mac, A6, FAR6, 1, 2, 9000);
    g_assert_false(is_allowed(f));
    g_assert_false(is_allowed(arp_request(guest_mac, A4, FAR4)));
}

/* --- an uplink that is busy ----------------------------------------------- */

static void test_busy_first(void)
{
    Collector c = { .got = g_ptr_array_new(), .room = 0 };
    Frame *f[] = { datagram(5000), frame_partial(datagram(5000)) };

    for (unsigned i = 0; i < 2; i++) {
        Scattered s;

        scatter(&s, f[i], 3);
        g_assert_cmpint(fragment_send(&s.p, 1500, collect, &c), ==,
                        LINK_TX_BUSY);
        g_assert_cmpuint(c.got->len, ==, 0);
        g_assert_cmpuint(s.p.pieces, ==, 0);
        gather(&s);
        frame_free(f[i]);
    }
    g_ptr_array_unref(c.got);
}

typedef struct Path {
    Net net;
    User *u;
    IpvlanSlave *slave;
    IpAddr hop;
} Path;

static void path_init(Path *t)
{
    static const uint8_t hop_mac[] = { 0x52, 0x55, 0x0a, 0, 0, 0x77 };
    Frame *reply = arp_reply(port_mac, hop_mac, HOP4, A4);
    Frame *f = datagram(1);
    Scattered s;

    net_init(&t->net, IPVLAN_L3, IPVLAN_BRIDGE);
    t->net.injects = true;
    t->u = net_owner(&t->net, A4);
    t->slave = link_priv(t->u->link);
    t->hop = ip(HOP4);
    scatter(&s, f, 1);
    neigh_send(t->slave, &t->hop, &s.p);
    gather(&s);
    scatter(&s, reply, 1);
    neigh_input(t->slave->port, &s.p);
    gather(&s);
    net_clear(&t->net);
    frame_free(reply);
    frame_free(f);
}

static LinkTx path_send(Path *t, Frame *f, unsigned mtu)
{
    Scattered s;
    LinkTx tx;

    scatter(&s, f, 5);
    tx = fragment_to_neigh(t->slave, &t->hop, &s.p, mtu);
    for (unsigned i = 0; i < s.n; i++) {
        memset(s.part[i], 0xcc, s.iov[i].iov_len);      /* only borrowed */
    }
    gather(&s);
    frame_free(f);
    return tx;
}

/* However far it got: all of it arrives, in order, and nothing twice. */
static void test_busy_middle(void)
{
    unsigned n_pieces = (65507 + 8 + 1255) / 1256;

    for (unsigned room = 0; room <= n_pieces; room++) {
        g_autoptr(Frame) expected = datagram(65507);
        g_autoptr(GByteArray) all = NULL;
        bool busy = false;
        Path t;

        path_init(&t);
        t.net.wire.room = room;
        busy = path_send(&t, datagram(65507), 1280) == LINK_TX_BUSY;
        g_assert_cmpint(busy, ==, !room);
        g_assert_cmpuint(t.net.wire.sent->len, ==, room);
        if (busy) {
            t.net.wire.room = NO_LIMIT;
            path_send(&t, datagram(65507), 1280);
        } else {
            /* nobody else's comes in between */
            g_assert_cmpint(path_send(&t, datagram(10), 1280), ==,
                            LINK_TX_BUSY);
            wire_make_room(&t.net.wire, 1);
            wire_make_room(&t.net.wire, NO_LIMIT);
        }
        g_assert_cmpuint(t.net.wire.sent->len, ==, n_pieces);
        for (unsigned i = 0; i < n_pieces; i++) {
            memcpy(((Frame *)t.net.wire.sent->pdata[i])->data, expected->data,
                   2 * ETHER_ADDR_LEN);
        }
        all = reassemble(t.net.wire.sent, expected, 1280);
        g_assert_cmpmem(all->data, all->len, expected->data + 34, 65515);
        g_assert_cmpuint(link_stats_drops(&t.u->link->stats), ==, 0);
        g_assert_cmpuint(t.slave->neigh.waiting, ==, 0);
        net_fini(&t.net);
    }
}

/* To who is not known yet: all wait, and all go. */
static void test_unknown_hop(void)
{
    g_autoptr(Frame) expected = datagram(65507);
    g_autoptr(GByteArray) all = NULL;
    Frame *reply;
    Scattered s;
    Path t;

    path_init(&t);
    t.hop = ip("10.0.0.78");
    g_assert_cmpint(path_send(&t, datagram(65507), 1280), ==, LINK_TX_OK);
    net_clear(&t.net);
    reply = arp_reply(port_mac, gateway_mac, "10.0.0.78", A4);
    scatter(&s, reply, 1);
    neigh_input(t.slave->port, &s.p);
    gather(&s);
    frame_free(reply);
    for (unsigned i = 0; i < t.net.wire.sent->len; i++) {
        memcpy(((Frame *)t.net.wire.sent->pdata[i])->data, expected->data,
               2 * ETHER_ADDR_LEN);
    }
    all = reassemble(t.net.wire.sent, expected, 1280);
    g_assert_cmpmem(all->data, all->len, expected->data + 34, 65515);
    net_fini(&t.net);
}

/* --- how long is it on the wire ------------------------------------------- */

static bool measure(void *opaque, Packet *piece)
{
    unsigned *longest = opaque, len = piece->layers.end - piece->layers.l3;

    *longest = MAX(*longest, len);
    return true;
}

/* What packet_ip_len() says is what the cutter does. */
static void assert_ip_len(Frame *f, uint8_t type, uint16_t size)
{
    unsigned longest = 0, len;
    Scattered s;

    frame_partial(f);
    f->vnet.gso_type = type;
    f->vnet.gso_size = size;
    scatter(&s, f, 1);
    len = packet_ip_len(&s.p);
    offload_send(&s.p, 0, measure, &longest);
    g_assert_cmpuint(len, ==, longest);
    gather(&s);
    frame_free(f);
}

static void test_ip_len(void)
{
    for (unsigned n = 1; n < 4000; n += 111) {
        for (unsigned size = 8; size < 2000; size += 61) {
            assert_ip_len(frame_tcp(port_mac, guest_mac, A4, FAR4, n),
                          PACKET_GSO_TCPV4, MIN(size, n + 20));
            assert_ip_len(frame_tcp(port_mac, guest_mac, A6, FAR6, n),
                          PACKET_GSO_TCPV6 | PACKET_GSO_ECN,
                          MIN(size, n + 20));
            assert_ip_len(datagram(n), PACKET_GSO_UDP_L4, MIN(size, n + 8));
            assert_ip_len(datagram(n), PACKET_GSO_UDP, MIN(size, n + 8));
            assert_ip_len(frame_udp(port_mac, guest_mac, A6, FAR6, 1, 2, n),
                          PACKET_GSO_UDP, MIN(size, n + 8));
            assert_ip_len(frame_options(datagram(n), 8), PACKET_GSO_UDP_L4,
                          MIN(size, n + 8));
        }
    }
}

static void test_ip_len_whole(void)
{
    uint8_t zeros[20] = { 0 };
    Frame *f = datagram(100);
    Scattered s;

    frame_insert(f, f->len, zeros, sizeof(zeros));
    scatter(&s, f, 2);
    g_assert_cmpuint(packet_ip_len(&s.p), ==, 128);
    gather(&s);
    frame_free(f);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/vlink/fragment/lengths", test_lengths);
    g_test_add_func("/vlink/fragment/exact", test_exact);
    g_test_add_func("/vlink/fragment/scattered", test_scattered);
    g_test_add_func("/vlink/fragment/scattered/tiny", test_scattered_tiny);
    g_test_add_func("/vlink/fragment/partial", test_partial);
    g_test_add_func("/vlink/fragment/data-valid", test_data_valid);
    g_test_add_func("/vlink/fragment/tcp", test_tcp);
    g_test_add_func("/vlink/fragment/padding", test_padding);
    g_test_add_func("/vlink/fragment/fragments", test_fragments);
    g_test_add_func("/vlink/fragment/options", test_options);
    g_test_add_func("/vlink/fragment/options/lie", test_options_lie);
    g_test_add_func("/vlink/fragment/options/random", test_options_random);
    g_test_add_func("/vlink/fragment/allowed", test_allowed);
    g_test_add_func("/vlink/fragment/busy/first", test_busy_first);
    g_test_add_func("/vlink/fragment/busy/middle", test_busy_middle);
    g_test_add_func("/vlink/fragment/unknown-hop", test_unknown_hop);
    g_test_add_func("/vlink/fragment/ip-len", test_ip_len);
    g_test_add_func("/vlink/fragment/ip-len/whole", test_ip_len_whole);
    return g_test_run();
}
