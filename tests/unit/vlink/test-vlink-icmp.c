/*
 * libvlink: what a router tells a sender
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "libvlink/craft.h"
#include "libvlink/ipvlan/port.h"

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define FAR4 "10.9.9.9"
#define A6 "2001:db8::1"
#define FAR6 "2001:db8:9::9"

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

typedef struct One {
    Net net;
    User *u, *other;
    IpvlanSlave *slave;
} One;

static void one_init(One *o)
{
    static const bool off;
    IpPrefix p = prefix(A4);

    net_init(&o->net, IPVLAN_L3, IPVLAN_BRIDGE);
    o->u = net_add(&o->net, (IpvlanConfig) {
        .addrs = &p, .n_addrs = 1, .ra = &off,
    });
    o->other = net_owner(&o->net, B4);
    o->slave = link_priv(o->u->link);
    memcpy(o->slave->mac, o->u->mac, ETHER_ADDR_LEN);
    o->slave->has_mac = true;
}

static Packet parsed(const Frame *f, struct iovec *iov)
{
    Packet p;

    g_assert_cmpint(frame_parse(f, &p, iov), ==, DROP_NONE);
    return p;
}

/* About @f, which the guest has sent.  NULL: it is told nothing. */
static Frame *to_guest(One *o, const Frame *f, IcmpError error, uint32_t mtu)
{
    struct iovec iov;
    Packet p = parsed(f, &iov);

    icmp_error_to_guest(o->slave, &p, error, mtu);
    g_assert_cmpuint(o->net.wire.sent->len, ==, 0);
    g_assert_cmpuint(o->other->got->len, ==, 0);
    return o->u->got->len ? user_take(o->u) : NULL;
}

/* About @f, which came in. */
static Frame *to_uplink(One *o, const Frame *f, IcmpError error)
{
    struct iovec iov;
    Packet p = parsed(f, &iov);

    icmp_error_to_uplink(o->slave, &p, error);
    g_assert_cmpuint(o->u->got->len, ==, 0);
    return o->net.wire.sent->len ? wire_take(&o->net.wire) : NULL;
}

static void rest(void)
{
    clock_advance(NS_PER_S);
}

/* RFC 1071, from scratch; ICMP's covers no pseudo header. */
static bool icmp4_checksum_ok(const Frame *f)
{
    FrameOffsets o = frame_offsets(f);
    uint32_t sum = 0;

    for (unsigned i = o.l4; i < o.end; i++) {
        sum += (i - o.l4) % 2 ? f->data[i] : f->data[i] << 8;
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum == 0xffff;
}

static void assert_from_to(const Frame *f, const uint8_t *src_mac,
                           const uint8_t *dst_mac, const char *src,
                           const char *dst)
{
    FrameOffsets o = frame_offsets(f);
    unsigned at = o.v6 ? 8 : 12, len = o.v6 ? 16 : 4;
    IpAddr s = ip(src), d = ip(dst);

    assert_mac(frame_src(f), src_mac);
    assert_mac(frame_dst(f), dst_mac);
    g_assert_cmpmem(f->data + o.l3 + at, len, s.b, len);
    g_assert_cmpmem(f->data + o.l3 + at + len, len, d.b, len);
    g_assert_cmpuint(f->len, ==, o.end);
    g_assert_false(f->has_vnet);
    g_assert_true(frame_checksum_ok(f));
}

/* @f is an error about @about, of which it quotes @quoted bytes. */
static void assert_error(const Frame *f, uint8_t type, uint8_t code,
                         const Frame *about, unsigned quoted)
{
    FrameOffsets o = frame_offsets(f), a = frame_offsets(about);

    g_assert_cmpuint(o.proto, ==, o.v6 ? 58 : 1);
    g_assert_true(o.v6 || icmp4_checksum_ok(f));
    g_assert_cmpuint(f->data[o.l4], ==, type);
    g_assert_cmpuint(f->data[o.l4 + 1], ==, code);
    g_assert_cmpmem(f->data + o.l4 + 8, o.end - o.l4 - 8,
                    about->data + a.l3, quoted);
}

/* --- to guests ------------------------------------------------------------ */

static void test_guest4(void)
{
    static const uint8_t codes[] = {
        [ICMP_HOST_UNREACHABLE] = 1, [ICMP_PROHIBITED] = 13,
        [ICMP_TOO_BIG] = 4,
    };
    One o;

    one_init(&o);
    for (IcmpError e = 0; e <= ICMP_TOO_BIG; e++) {
        g_autoptr(Frame) f = udp(port_mac, o.u->mac, A4, FAR4);
        g_autoptr(Frame) told = to_guest(&o, f, e, 1400);

        assert_from_to(told, port_mac, o.u->mac, "192.0.0.8", A4);
        assert_error(told, 3, codes[e], f, f->len - 14);
        g_assert_cmphex(frame_get16(told, 38), ==, 0);
        g_assert_cmpuint(frame_get16(told, 40), ==,
                         e == ICMP_TOO_BIG ? 1400 : 0);
    }
    net_fini(&o.net);
}

static void test_guest6(void)
{
    static const uint8_t types[] = {
        [ICMP_HOST_UNREACHABLE] = 1, [ICMP_PROHIBITED] = 1,
        [ICMP_TOO_BIG] = 2,
    };
    static const uint8_t codes[] = {
        [ICMP_HOST_UNREACHABLE] = 3, [ICMP_PROHIBITED] = 1,
        [ICMP_TOO_BIG] = 0,
    };
    One o;

    one_init(&o);
    for (IcmpError e = 0; e <= ICMP_TOO_BIG; e++) {
        g_autoptr(Frame) f = udp(port_mac, o.u->mac, A6, FAR6);
        g_autoptr(Frame) told = to_guest(&o, f, e, 1280);

        assert_from_to(told, port_mac, o.u->mac, "fe80::1", A6);
        assert_error(told, types[e], codes[e], f, f->len - 14);
        g_assert_cmpuint(frame_get16(told, 58), ==, 0);
        g_assert_cmpuint(frame_get16(told, 60), ==,
                         e == ICMP_TOO_BIG ? 1280 : 0);
    }
    net_fini(&o.net);
}

/* A quotation ends where the error would be too long for everybody. */
static void test_quote(void)
{
    One o;

    one_init(&o);
    for (unsigned n = 500; n <= 1500; n++) {
        g_autoptr(Frame) f4 = frame_udp(port_mac, o.u->mac, A4, FAR4, 1, 2, n);
        g_autoptr(Frame) f6 = frame_udp(port_mac, o.u->mac, A6, FAR6, 1, 2, n);
        g_autoptr(Frame) told4 = to_guest(&o, f4, ICMP_TOO_BIG, 1300);
        g_autoptr(Frame) told6 = to_guest(&o, f6, ICMP_TOO_BIG, 1300);
        unsigned q4 = MIN(f4->len - 14, 576 - 28);
        unsigned q6 = MIN(f6->len - 14, 1280 - 48);

        assert_from_to(told4, port_mac, o.u->mac, "192.0.0.8", A4);
        assert_from_to(told6, port_mac, o.u->mac, "fe80::1", A6);
        assert_error(told4, 3, 4, f4, q4);
        assert_error(told6, 2, 0, f6, q6);
        rest();
    }
    net_fini(&o.net);
}

/* Padding is not quoted; a tag, options, extension headers, a segment. */
static void test_quote_odd(void)
{
    g_autoptr(Frame) padded = NULL, options = NULL, tagged = NULL, ext = NULL;
    g_autoptr(Frame) gso = NULL;
    uint8_t zeros[20] = { 0 };
    One o;

    one_init(&o);
    padded = frame_ip(port_mac, o.u->mac, A4, FAR4, 99, 5);
    frame_insert(padded, padded->len, zeros, sizeof(zeros));
    options = frame_options(udp(port_mac, o.u->mac, A4, FAR4), 40);
    tagged = frame_tag(udp(port_mac, o.u->mac, A4, FAR4), 0x8100, 5);
    ext = frame_ext(udp(port_mac, o.u->mac, A6, FAR6), 0, 16);
    gso = frame_partial(frame_udp(port_mac, o.u->mac, A4, FAR4, 1, 2, 9000));
    gso->vnet.gso_type = PACKET_GSO_UDP_L4;
    gso->vnet.gso_size = 1000;
    for (int i = 0; i < 5; i++) {
        const Frame *f = i == 0 ? padded : i == 1 ? options : i == 2 ? tagged
                                                  : i == 3 ? ext : gso;
        FrameOffsets at = frame_offsets(f);
        g_autoptr(Frame) told = to_guest(&o, f, ICMP_HOST_UNREACHABLE, 0);

        assert_from_to(told, port_mac, o.u->mac,
                       at.v6 ? "fe80::1" : "192.0.0.8", at.v6 ? A6 : A4);
        assert_error(told, at.v6 ? 1 : 3, at.v6 ? 3 : 1, f,
                     MIN(at.end - at.l3, 548));
    }
    net_fini(&o.net);
}

/* --- to the uplink -------------------------------------------------------- */

static void test_uplink(void)
{
    g_autoptr(Frame) f4 = udp(port_mac, gateway_mac, FAR4, A4);
    g_autoptr(Frame) f6 = udp(port_mac, gateway_mac, FAR6, A6);
    g_autoptr(Frame) told4 = NULL, told6 = NULL, reset = NULL, tcp = NULL;
    One o;

    one_init(&o);
    told4 = to_uplink(&o, f4, ICMP_PROHIBITED);
    assert_from_to(told4, port_mac, gateway_mac, A4, FAR4);
    assert_error(told4, 3, 13, f4, f4->len - 14);
    told6 = to_uplink(&o, f6, ICMP_PROHIBITED);
    assert_from_to(told6, port_mac, gateway_mac, A6, FAR6);
    assert_error(told6, 1, 1, f6, f6->len - 14);
    tcp = frame_set8(frame_tcp(port_mac, gateway_mac, FAR4, A4, 0), 47, SYN);
    reset = to_uplink(&o, tcp, ICMP_PROHIBITED);
    assert_from_to(reset, port_mac, gateway_mac, A4, FAR4);
    g_assert_cmpuint(frame_offsets(reset).proto, ==, 6);

    /* an uplink that is busy: it is lost, and nobody waits for it */
    o.net.wire.room = 0;
    g_assert_null(to_uplink(&o, f4, ICMP_PROHIBITED));
    wire_make_room(&o.net.wire, NO_LIMIT);
    net_assert_quiet(&o.net);
    net_fini(&o.net);
}

/* --- resets --------------------------------------------------------------- */

static void put32(Frame *f, unsigned off, uint32_t v)
{
    frame_set16(f, off, v >> 16);
    frame_set16(f, off + 2, v);
}

static uint32_t get32(const Frame *f, unsigned off)
{
    return (uint32_t)frame_get16(f, off) << 16 | frame_get16(f, off + 2);
}

static Frame *segment(const User *u, bool v6, uint8_t flags, unsigned payload,
                      uint32_t seq, uint32_t ack)
{
    Frame *f = v6 ? frame_tcp(port_mac, u->mac, A6, FAR6, payload)
                  : frame_tcp(port_mac, u->mac, A4, FAR4, payload);
    unsigned l4 = frame_offsets(f).l4;

    put32(f, l4 + 4, seq);
    put32(f, l4 + 8, ack);
    f->data[l4 + 13] = flags;
    return frame_checksum(f);
}

/* RFC 9293, 3.10.7.1: one that the sender's stack believes. */
static void assert_reset(const Frame *f, const User *u, bool v6,
                         uint8_t flags, uint32_t seq, uint32_t ack)
{
    FrameOffsets o = frame_offsets(f);

    assert_from_to(f, port_mac, u->mac, v6 ? FAR6 : FAR4, v6 ? A6 : A4);
    g_assert_cmpuint(o.proto, ==, 6);
    g_assert_cmpuint(o.end - o.l4, ==, 20);
    g_assert_cmpuint(frame_get16(f, o.l4), ==, 80);
    g_assert_cmpuint(frame_get16(f, o.l4 + 2), ==, 4000);
    g_assert_cmphex(get32(f, o.l4 + 4), ==, seq);
    g_assert_cmphex(get32(f, o.l4 + 8), ==, ack);
    g_assert_cmphex(f->data[o.l4 + 12], ==, 0x50);
    g_assert_cmphex(f->data[o.l4 + 13], ==, flags);
    g_assert_cmpuint(frame_get16(f, o.l4 + 14), ==, 0);
}

static void test_reset(void)
{
    static const struct {
        uint8_t flags;
        unsigned payload;
        uint8_t answer;
        uint32_t seq, ack;
    } cases[] = {
        { SYN, 0, RST | ACK, 0, 0xfffffff1 },
        { SYN | FIN, 0, RST | ACK, 0, 0xfffffff2 },
        { SYN, 100, RST | ACK, 0, 0x55 },
        { FIN, 15, RST | ACK, 0, 0 },
        { 0, 7, RST | ACK, 0, 0xfffffff7 },
        { ACK, 7, RST, 0x12345678, 0 },
        { SYN | ACK, 0, RST, 0x12345678, 0 },
        { FIN | ACK, 0, RST, 0x12345678, 0 },
    };
    One o;

    one_init(&o);
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(cases); i++) {
        unsigned n = i / 2;
        bool v6 = i % 2;
        g_autoptr(Frame) f = segment(o.u, v6, cases[n].flags,
                                     cases[n].payload, 0xfffffff0, 0x12345678);
        g_autoptr(Frame) told = to_guest(&o, f, ICMP_PROHIBITED, 0);

        assert_reset(told, o.u, v6, cases[n].answer, cases[n].seq,
                     cases[n].ack);
    }
    net_fini(&o.net);
}

static void test_reset_not(void)
{
    g_autoptr(Frame) rst = NULL, ack = NULL, syn = NULL, told = NULL;
    One o;

    one_init(&o);
    rst = segment(o.u, false, RST, 0, 1, 2);
    ack = segment(o.u, true, RST | ACK, 0, 1, 2);
    g_assert_null(to_guest(&o, rst, ICMP_PROHIBITED, 0));
    g_assert_null(to_guest(&o, ack, ICMP_PROHIBITED, 0));
    /* for all else TCP is told as others are */
    syn = segment(o.u, false, SYN, 0, 1, 2);
    told = to_guest(&o, syn, ICMP_HOST_UNREACHABLE, 0);
    assert_error(told, 3, 1, syn, 40);
    net_fini(&o.net);
}

/* Options are no payload, and a data offset that lies has none. */
static void test_reset_options(void)
{
    g_autoptr(Frame) f = NULL, told = NULL;
    uint8_t options[12] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    One o;

    one_init(&o);
    f = segment(o.u, false, SYN, 3, 100, 0);
    frame_insert(f, 54, options, sizeof(options));
    frame_set16(f, 16, 55 - 14 + 14);
    frame_set8(f, 46, 0x80);
    frame_checksum(f);
    told = to_guest(&o, f, ICMP_PROHIBITED, 0);
    assert_reset(told, o.u, false, RST | ACK, 0, 104);
    net_fini(&o.net);
}

/* --- who is told nothing -------------------------------------------------- */

static Frame *icmp(const User *u, bool v6, uint8_t type)
{
    Frame *f = v6 ? frame_ip(port_mac, u->mac, A6, FAR6, 58, 16)
                  : frame_ip(port_mac, u->mac, A4, FAR4, 1, 16);

    frame_set8(f, frame_offsets(f).l4, type);
    return frame_checksum(f);
}

/* Frees @f. */
static bool is_told(One *o, Frame *f)
{
    g_autoptr(Frame) told = to_guest(o, f, ICMP_HOST_UNREACHABLE, 0);

    frame_free(f);
    rest();
    return told;
}

static void test_not_about_errors(void)
{
    One o;

    one_init(&o);
    for (unsigned type = 0; type < 256; type++) {
        bool error4 = type == 3 || type == 4 || type == 5 || type == 11 ||
                      type == 12;
        bool nd = type >= ND_ROUTER_SOLICIT && type <= ND_REDIRECT;

        g_assert_cmpint(is_told(&o, icmp(o.u, false, type)), ==, !error4);
        if (!nd) {
            g_assert_cmpint(is_told(&o, icmp(o.u, true, type)), ==,
                            type >= 128);
        }
    }
    /* one that is too short to have a type; other versions' numbers */
    g_assert_false(is_told(&o, frame_ip(port_mac, o.u->mac, A4, FAR4, 1, 0)));
    g_assert_true(is_told(&o, frame_ip(port_mac, o.u->mac, A4, FAR4, 58, 0)));
    g_assert_true(is_told(&o, frame_ip(port_mac, o.u->mac, A6, FAR6, 1, 0)));
    g_assert_false(is_told(&o, nd_solicit(o.u->mac, A6, FAR6)));
    g_assert_false(is_told(&o, arp_request(o.u->mac, A4, FAR4)));
    net_fini(&o.net);
}

static void test_not_fragments(void)
{
    One o;

    one_init(&o);
    g_assert_true(is_told(&o, frame_fragment(
        frame_udp(port_mac, o.u->mac, A4, FAR4, 1, 2, 100), 0, true)));
    g_assert_false(is_told(&o, frame_fragment(
        frame_udp(port_mac, o.u->mac, A4, FAR4, 1, 2, 100), 800, true)));
    g_assert_false(is_told(&o, frame_fragment(
        frame_udp(port_mac, o.u->mac, A4, FAR4, 1, 2, 100), 800, false)));
    g_assert_true(is_told(&o, frame_fragment(
        frame_udp(port_mac, o.u->mac, A6, FAR6, 1, 2, 96), 0, true)));
    g_assert_false(is_told(&o, frame_fragment(
        frame_udp(port_mac, o.u->mac, A6, FAR6, 1, 2, 96), 800, false)));
    net_fini(&o.net);
}

static void test_not_for_many(void)
{
    static const uint8_t group[] = { 1, 0, 0x5e, 1, 2, 3 };
    static const char *const bad[][2] = {
        { A4, "224.0.0.251" }, { A4, "255.255.255.255" }, { A4, "127.0.0.1" },
        { "0.0.0.0", FAR4 }, { "224.0.0.1", FAR4 }, { "127.0.0.1", FAR4 },
        { "255.255.255.255", FAR4 }, { A6, "ff02::1" }, { "::", FAR6 },
        { "ff05::2", FAR6 }, { "::1", FAR6 },
    };
    One o;

    one_init(&o);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(is_told(&o, udp(port_mac, o.u->mac, bad[i][0],
                                       bad[i][1])));
    }
    g_assert_false(is_told(&o, udp(group, o.u->mac, A4, FAR4)));
    g_assert_false(is_told(&o, udp(mac_broadcast, o.u->mac, A4, FAR4)));
    g_assert_true(is_told(&o, udp(port_mac, o.u->mac, A4, FAR4)));
    net_fini(&o.net);
}

/* --- how often ------------------------------------------------------------ */

static unsigned told_of(One *o, unsigned tries)
{
    g_autoptr(Frame) f = udp(port_mac, o->u->mac, A4, FAR4);
    unsigned n = 0;

    for (unsigned i = 0; i < tries; i++) {
        g_autoptr(Frame) told = to_guest(o, f, ICMP_HOST_UNREACHABLE, 0);

        n += told != NULL;
    }
    return n;
}

static void test_limit(void)
{
    const int64_t interval = NS_PER_S / ICMP_ERRORS_PER_S;
    g_autoptr(Frame) f = NULL;
    struct iovec iov;
    unsigned n = 0;
    Packet p;
    One o;

    one_init(&o);
    clock_advance(3600 * NS_PER_S);
    g_assert_cmpuint(told_of(&o, 1000), ==, ICMP_ERRORS_BURST);
    clock_advance(interval - 1);
    g_assert_cmpuint(told_of(&o, 10), ==, 0);
    clock_advance(1);
    g_assert_cmpuint(told_of(&o, 10), ==, 1);
    clock_advance(5 * interval);
    g_assert_cmpuint(told_of(&o, 10), ==, 5);
    for (int i = 0; i < 1000; i++) {
        clock_advance(10 * NS_PER_S / 1000);
        n += told_of(&o, 3);
    }
    g_assert_cmpuint(n, ==, 10 * ICMP_ERRORS_PER_S);

    /* what is not said costs nothing; and the sibling has its own */
    clock_advance(interval);
    g_assert_false(is_told(&o, icmp(o.u, false, 3)));
    f = udp(port_mac, o.other->mac, B4, FAR4);
    p = parsed(f, &iov);
    told_of(&o, 1000);
    icmp_error_to_guest(link_priv(o.other->link), &p, ICMP_HOST_UNREACHABLE,
                        0);
    g_assert_cmpuint(o.other->got->len, ==, 1);
    net_fini(&o.net);
}

/* A guest whose MAC is not known yet: where the frame came from. */
static void test_unknown_mac(void)
{
    g_autoptr(Frame) f = NULL, told = NULL;
    One o;

    one_init(&o);
    o.slave->has_mac = false;
    f = udp(port_mac, o.u->mac, A4, FAR4);
    told = to_guest(&o, f, ICMP_HOST_UNREACHABLE, 0);
    assert_from_to(told, port_mac, o.u->mac, "192.0.0.8", A4);
    net_fini(&o.net);
}

/* --- frames that are made here -------------------------------------------- */

/* What craft.c builds is what others build from scratch. */
static void test_craft(void)
{
    IpAddr a4 = ip(A4), far4 = ip(FAR4), a6 = ip(A6), far6 = ip(FAR6);
    g_autoptr(Frame) tcp = frame_tcp(gateway_mac, port_mac, A6, FAR6, 3);
    Craft c;

    craft_arp(&c, mac_broadcast, 1, port_mac, &a4, NULL, &far4);
    assert_same(frame_new(c.data, c.len), arp_request(port_mac, A4, FAR4));
    craft_arp(&c, gateway_mac, 2, port_mac, &a4, gateway_mac, &far4);
    assert_same(frame_new(c.data, c.len),
                arp_reply(gateway_mac, port_mac, A4, FAR4));

    craft_ip(&c, gateway_mac, port_mac, &a4, &far4, 1, 64);
    memcpy(craft_put(&c, 8), "\x08\0\0\0\x12\x34\x56\x78", 8);
    craft_finish(&c);
    g_assert_cmpuint(craft_room(&c), ==, CRAFT_MAX - 42);
    for (unsigned odd = 0; odd < 2; odd++) {
        g_autoptr(Frame) f = frame_new(c.data, c.len);

        assert_from_to(f, port_mac, gateway_mac, A4, FAR4);
        g_assert_true(icmp4_checksum_ok(f));
        craft_ip(&c, gateway_mac, port_mac, &a4, &far4, 1, 64);
        memcpy(craft_put(&c, 8), "\x08\0\0\0\x12\x34\x56\x78", 8);
        craft_put(&c, 1)[0] = 0x99;
        craft_finish(&c);
    }

    craft_ip(&c, gateway_mac, port_mac, &a6, &far6, 6, 64);
    memcpy(craft_put(&c, 23), tcp->data + 54, 23);
    memset(c.data + 54 + 16, 0, 2);
    craft_finish(&c);
    assert_same(frame_new(c.data, c.len), g_steal_pointer(&tcp));
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/vlink/icmp/guest/4", test_guest4);
    g_test_add_func("/vlink/icmp/guest/6", test_guest6);
    g_test_add_func("/vlink/icmp/quote", test_quote);
    g_test_add_func("/vlink/icmp/quote/odd", test_quote_odd);
    g_test_add_func("/vlink/icmp/uplink", test_uplink);
    g_test_add_func("/vlink/icmp/reset", test_reset);
    g_test_add_func("/vlink/icmp/reset/not", test_reset_not);
    g_test_add_func("/vlink/icmp/reset/options", test_reset_options);
    g_test_add_func("/vlink/icmp/not/errors", test_not_about_errors);
    g_test_add_func("/vlink/icmp/not/fragments", test_not_fragments);
    g_test_add_func("/vlink/icmp/not/for-many", test_not_for_many);
    g_test_add_func("/vlink/icmp/limit", test_limit);
    g_test_add_func("/vlink/icmp/unknown-mac", test_unknown_mac);
    g_test_add_func("/vlink/craft", test_craft);
    return g_test_run();
}
