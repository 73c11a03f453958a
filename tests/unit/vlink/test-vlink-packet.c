/*
 * libvlink: frames, how they are parsed, split and kept
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>

#include "harness.h"
#include "libvlink/vnet.h"

static const uint8_t a_mac[] = { 0x52, 0x54, 0, 0, 0, 0xa };
static const uint8_t b_mac[] = { 0x52, 0x54, 0, 0, 0, 0xb };

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define A6 "fd00::a"
#define B6 "fd00::b"

/* --- samples -------------------------------------------------------------- */

static Frame *tagged(Frame *f)
{
    return frame_tag(f, 0x8100, 5);
}

static Frame *qinq(Frame *f)
{
    return frame_tag(tagged(f), 0x88a8, 7);
}

static Frame *extended(Frame *f)
{
    frame_ext(f, 60, 16);
    frame_ext(f, 51, 24);
    frame_ext(f, 43, 8);
    return frame_ext(f, 0, 8);
}

static GPtrArray *samples(void)
{
    Frame *all[] = {
        frame_eth(b_mac, a_mac, 0x88cc, 10),
        arp_request(a_mac, A4, B4),
        arp_reply(b_mac, a_mac, A4, B4),
        rarp_announce(a_mac),
        udp(b_mac, a_mac, A4, B4),
        udp(b_mac, a_mac, A6, B6),
        frame_tcp(b_mac, a_mac, A4, B4, 30),
        frame_tcp(b_mac, a_mac, A6, B6, 30),
        frame_ip(b_mac, a_mac, A4, B4, 1, 16),
        frame_ip(b_mac, a_mac, A6, B6, 59, 0),
        frame_options(frame_tcp(b_mac, a_mac, A4, B4, 4), 40),
        frame_fragment(frame_tcp(b_mac, a_mac, A4, B4, 28), 0, true),
        frame_fragment(udp(b_mac, a_mac, A4, B4), 64, false),
        frame_fragment(frame_tcp(b_mac, a_mac, A6, B6, 28), 0, true),
        frame_fragment(udp(b_mac, a_mac, A6, B6), 64, false),
        extended(udp(b_mac, a_mac, A6, B6)),
        nd_solicit(a_mac, A6, B6), nd_probe(a_mac, A6),
        nd_advert(b_mac, a_mac, A6, B6), nd_router_solicit(a_mac, A6),
        nd_router_advert(a_mac, A6),
        nd_redirect(b_mac, a_mac, A6, B6, a_mac),
        extended(nd_solicit(a_mac, A6, B6)),
        dhcp_request(a_mac, 77),
        dhcp_reply(b_mac, a_mac, 5, B4, b_mac, 77, 60),
        tagged(arp_request(a_mac, A4, B4)),
        qinq(arp_request(a_mac, A4, B4)),
        qinq(udp(b_mac, a_mac, A4, B4)),
        qinq(extended(nd_solicit(a_mac, A6, B6))),
        tagged(dhcp_request(a_mac, 77)),
    };
    GPtrArray *list = g_ptr_array_new_with_free_func(
        (GDestroyNotify)frame_free);

    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        g_ptr_array_add(list, all[i]);
    }
    return list;
}

static DropReason parse_bytes(const uint8_t *data, unsigned len,
                              PacketLayers *l)
{
    struct iovec iov = { (void *)data, len };
    Packet p;
    DropReason why;

    packet_init(&p, &iov, 1);
    why = packet_parse(&p);
    *l = p.layers;
    return why;
}

static PacketLayers layers_of(Frame *f)
{
    PacketLayers l;

    g_assert_cmpint(parse_bytes(f->data, f->len, &l), ==, DROP_NONE);
    frame_free(f);
    return l;
}

static DropReason refusal(Frame *f)
{
    PacketLayers l;
    DropReason why = parse_bytes(f->data, f->len, &l);

    frame_free(f);
    return why;
}

static void assert_addr(const IpAddr *a, const char *text)
{
    IpAddr wanted = ip(text);

    g_assert_true(ip_equal(a, &wanted));
}

static void assert_equal_layers(const PacketLayers *a, const PacketLayers *b)
{
    g_assert_cmpuint(a->kind, ==, b->kind);
    g_assert_cmpuint(a->ip_proto, ==, b->ip_proto);
    g_assert_cmpuint(a->nd_type, ==, b->nd_type);
    g_assert_cmpuint(a->fragment, ==, b->fragment);
    g_assert_cmpuint(a->ethertype, ==, b->ethertype);
    g_assert_cmpuint(a->l3, ==, b->l3);
    g_assert_cmpuint(a->l4, ==, b->l4);
    g_assert_cmpuint(a->arp_op, ==, b->arp_op);
    g_assert_cmpuint(a->src_port, ==, b->src_port);
    g_assert_cmpuint(a->dst_port, ==, b->dst_port);
    g_assert_cmpuint(a->end, ==, b->end);
    g_assert_true(ip_equal(&a->src, &b->src));
    g_assert_true(ip_equal(&a->dst, &b->dst));
    g_assert_true(ip_equal(&a->target, &b->target));
}

/* --- kinds ---------------------------------------------------------------- */

static void test_parse_other(void)
{
    PacketLayers l = layers_of(frame_eth(b_mac, a_mac, 0x88cc, 10));

    g_assert_cmpuint(l.kind, ==, PACKET_OTHER);
    g_assert_cmphex(l.ethertype, ==, 0x88cc);
    g_assert_cmpuint(l.ip_proto, ==, IP_PROTO_UNKNOWN);
    g_assert_cmpuint(l.src.family, ==, IP_NONE);
    g_assert_cmpuint(l.dst.family, ==, IP_NONE);
    g_assert_cmpuint(l.end, ==, 24);
}

static void test_parse_arp(void)
{
    PacketLayers l = layers_of(arp_request(a_mac, A4, B4));

    g_assert_cmpuint(l.kind, ==, PACKET_ARP);
    g_assert_cmpuint(l.arp_op, ==, 1);
    assert_addr(&l.src, A4);
    assert_addr(&l.dst, B4);
    l = layers_of(arp_reply(b_mac, a_mac, A4, B4));
    g_assert_cmpuint(l.arp_op, ==, 2);
    assert_addr(&l.dst, B4);
}

static void test_parse_rarp(void)
{
    PacketLayers l = layers_of(rarp_announce(a_mac));

    g_assert_cmpuint(l.kind, ==, PACKET_RARP);
    g_assert_cmpuint(l.src.family, ==, IP_NONE);
}

static void test_parse_ipv4(void)
{
    PacketLayers l = layers_of(udp(b_mac, a_mac, A4, B4));

    g_assert_cmpuint(l.kind, ==, PACKET_IPV4);
    g_assert_cmpuint(l.ip_proto, ==, 17);
    g_assert_cmpuint(l.l3, ==, 14);
    g_assert_cmpuint(l.l4, ==, 34);
    g_assert_cmpuint(l.src_port, ==, 4000);
    g_assert_cmpuint(l.dst_port, ==, 5000);
    assert_addr(&l.src, A4);
    assert_addr(&l.dst, B4);
    l = layers_of(frame_options(frame_tcp(b_mac, a_mac, A4, B4, 4), 40));
    g_assert_cmpuint(l.l4, ==, 74);
    g_assert_cmpuint(l.dst_port, ==, 80);
}

static void test_parse_ipv6(void)
{
    PacketLayers l = layers_of(frame_tcp(b_mac, a_mac, A6, B6, 4));

    g_assert_cmpuint(l.kind, ==, PACKET_IPV6);
    g_assert_cmpuint(l.ip_proto, ==, 6);
    g_assert_cmpuint(l.l4, ==, 54);
    assert_addr(&l.src, A6);
    assert_addr(&l.dst, B6);
    l = layers_of(extended(udp(b_mac, a_mac, A6, B6)));
    g_assert_cmpuint(l.ip_proto, ==, 17);
    g_assert_cmpuint(l.l4, ==, 54 + 56);
    g_assert_cmpuint(l.dst_port, ==, 5000);
}

static void test_parse_padding(void)
{
    Frame *f = udp(b_mac, a_mac, A4, B4);
    unsigned len = f->len;
    PacketLayers l;

    l = layers_of(frame_insert(f, len, "\0\0\0\0\0\0\0", 7));
    g_assert_cmpuint(l.end, ==, len);
}

static void test_parse_nd(void)
{
    PacketLayers l = layers_of(nd_solicit(a_mac, A6, B6));

    g_assert_cmpuint(l.kind, ==, PACKET_ND);
    g_assert_cmpuint(l.nd_type, ==, ND_NEIGHBOUR_SOLICIT);
    assert_addr(&l.src, A6);
    assert_addr(&l.dst, B6);
    assert_addr(&l.target, B6);
    l = layers_of(nd_advert(b_mac, a_mac, A6, B6));
    g_assert_cmpuint(l.nd_type, ==, ND_NEIGHBOUR_ADVERT);
    assert_addr(&l.target, A6);
    assert_addr(&l.dst, B6);
    l = layers_of(nd_router_solicit(a_mac, A6));
    g_assert_cmpuint(l.nd_type, ==, ND_ROUTER_SOLICIT);
    l = layers_of(nd_router_advert(a_mac, A6));
    g_assert_cmpuint(l.nd_type, ==, ND_ROUTER_ADVERT);
    l = layers_of(nd_redirect(b_mac, a_mac, A6, B6, a_mac));
    g_assert_cmpuint(l.nd_type, ==, ND_REDIRECT);
    assert_addr(&l.dst, B6);
}

static void test_parse_dhcp(void)
{
    PacketLayers l = layers_of(dhcp_request(a_mac, 77));

    g_assert_cmpuint(l.kind, ==, PACKET_DHCP_REQUEST);
    assert_addr(&l.dst, "255.255.255.255");
    l = layers_of(dhcp_reply(b_mac, a_mac, 5, B4, b_mac, 77, 60));
    g_assert_cmpuint(l.kind, ==, PACKET_DHCP_REPLY);
}

static DhcpMessage dhcp_of(Frame *f, bool *ok)
{
    struct iovec iov = { f->data, f->len };
    DhcpMessage m;
    Packet p;

    packet_init(&p, &iov, 1);
    g_assert_cmpint(packet_parse(&p), ==, DROP_NONE);
    *ok = packet_parse_dhcp(&p, &m);
    frame_free(f);
    return m;
}

static void test_dhcp_message(void)
{
    bool ok;
    DhcpMessage m = dhcp_of(dhcp_reply(b_mac, a_mac, 5, B4, b_mac,
                                       0x01020304, 3600), &ok);

    g_assert_true(ok);
    g_assert_cmpuint(m.type, ==, DHCPACK);
    g_assert_cmpuint(m.lease, ==, 3600);
    g_assert_cmphex(m.xid, ==, GUINT32_TO_BE(0x01020304));
    assert_mac(m.chaddr, b_mac);
    assert_addr(&m.yiaddr, B4);
    g_assert_false(m.relayed);
    g_assert_false(m.broadcast);
    m = dhcp_of(frame_set8(dhcp_request(a_mac, 1), 42 + 10, 0x80), &ok);
    g_assert_true(ok && m.broadcast && m.type == 3 && !m.lease);
    m = dhcp_of(frame_set8(dhcp_request(a_mac, 1), 42 + 27, 9), &ok);
    g_assert_true(ok && m.relayed);
}

static void test_dhcp_malformed(void)
{
    Frame *f;
    bool ok;
    DhcpMessage m;

    /* Ethernet alone, and with addresses of six bytes */
    dhcp_of(frame_set8(dhcp_request(a_mac, 1), 42 + 1, 6), &ok);
    g_assert_false(ok);
    dhcp_of(frame_set8(dhcp_request(a_mac, 1), 42 + 2, 16), &ok);
    g_assert_false(ok);
    /* one byte less than BOOTP has */
    dhcp_of(frame_udp(b_mac, a_mac, A4, B4, 68, 67, 235), &ok);
    g_assert_false(ok);
    /* an option that leaves the datagram ends the walk */
    f = dhcp_reply(b_mac, a_mac, 5, B4, b_mac, 7, 60);
    m = dhcp_of(frame_set8(f, 42 + 240 + 4, 255), &ok);
    g_assert_true(ok);
    g_assert_cmpuint(m.lease, ==, 0);
    g_assert_cmpuint(m.type, ==, DHCPACK);
}

static void test_parse_tags(void)
{
    PacketLayers l = layers_of(tagged(udp(b_mac, a_mac, A4, B4)));

    g_assert_cmpuint(l.kind, ==, PACKET_IPV4);
    g_assert_cmpuint(l.l3, ==, 18);
    assert_addr(&l.dst, B4);
    l = layers_of(qinq(arp_request(a_mac, A4, B4)));
    g_assert_cmpuint(l.kind, ==, PACKET_ARP);
    g_assert_cmpuint(l.l3, ==, 22);
    assert_addr(&l.dst, B4);
}

/* Two tags are parsed, DESIGN.md section 3; what is behind a third is not. */
static void test_parse_third_tag(void)
{
    PacketLayers l = layers_of(tagged(qinq(udp(b_mac, a_mac, A4, B4))));

    g_assert_cmpuint(l.kind, ==, PACKET_OTHER);
    g_assert_cmphex(l.ethertype, ==, 0x8100);
    g_assert_cmpuint(l.dst.family, ==, IP_NONE);
}

/* --- split and truncated -------------------------------------------------- */

/* Each piece in memory of its own, for a sanitizer to see its ends. */
static unsigned scatter(const Frame *f, const unsigned *cuts, unsigned n_cuts,
                        struct iovec *iov)
{
    unsigned at = 0;

    for (unsigned i = 0; i <= n_cuts; i++) {
        unsigned end = i < n_cuts ? cuts[i] : f->len;

        iov[i].iov_len = end - at;
        iov[i].iov_base = malloc(end - at);
        memcpy(iov[i].iov_base, f->data + at, end - at);
        at = end;
    }
    return n_cuts + 1;
}

static void scatter_free(struct iovec *iov, unsigned n)
{
    while (n--) {
        free(iov[n].iov_base);
    }
}

static void check_scattered(const Frame *f, const unsigned *cuts, unsigned n)
{
    g_autofree struct iovec *iov = g_new(struct iovec, n + 1);
    g_autofree uint8_t *flat = g_malloc(f->len);
    PacketLayers whole;
    DropReason why = parse_bytes(f->data, f->len, &whole);
    Packet p;

    n = scatter(f, cuts, n, iov);
    packet_init(&p, iov, n);
    g_assert_cmpuint(p.len, ==, f->len);
    g_assert_cmpint(packet_parse(&p), ==, why);
    assert_equal_layers(&p.layers, &whole);
    packet_copy_bytes(&p, flat);
    g_assert_cmpmem(flat, f->len, f->data, f->len);
    assert_mac(packet_dst_mac(&p), f->data);
    assert_mac(packet_src_mac(&p), f->data + 6);
    scatter_free(iov, n);
}

static void check_every_split(const Frame *f)
{
    g_autofree unsigned *bytes = g_new(unsigned, f->len);

    for (unsigned cut = 0; cut <= f->len; cut++) {
        check_scattered(f, &cut, 1);
    }
    for (unsigned i = 0; i + 1 < f->len; i++) {
        bytes[i] = i + 1;
    }
    check_scattered(f, bytes, f->len - 1);
}

static void test_split(void)
{
    g_autoptr(GPtrArray) all = samples();

    for (unsigned i = 0; i < all->len; i++) {
        check_every_split(all->pdata[i]);
    }
}

static void assert_promises(const Packet *p, DropReason why)
{
    const PacketLayers *l = &p->layers;

    g_assert_cmpint(why, <, DROP__MAX);
    if (why) {
        return;
    }
    g_assert_cmpuint(l->end, <=, p->len);
    g_assert_cmpuint(l->l3, >=, PACKET_HEAD_LEN);
    g_assert_cmpuint(l->l3, <=, l->end);
    g_assert_cmpuint(p->head_len, >=, PACKET_HEAD_LEN);
    if (l->l4) {
        g_assert_cmpuint(l->l4, >=, l->l3 + 20);
        g_assert_cmpuint(l->l4, <=, l->end);
    }
    if (l->kind == PACKET_ARP || l->kind == PACKET_RARP) {
        g_assert_cmpuint(l->l3 + 28, <=, p->len);
    }
    if (l->kind == PACKET_ND) {
        g_assert_cmpuint(l->l4, !=, 0);
        g_assert_false(l->fragment);
    }
}

/* Whatever else the library does with a frame that it has accepted. */
static void use_packet(Packet *p, DropReason why)
{
    char text[256];
    DhcpMessage m;

    if (why) {
        return;
    }
    packet_describe(p, text, sizeof(text));
    if (p->layers.kind == PACKET_DHCP_REQUEST ||
        p->layers.kind == PACKET_DHCP_REPLY) {
        packet_parse_dhcp(p, &m);
    }
}

static void check_bytes(const uint8_t *data, unsigned len)
{
    uint8_t *exact = malloc(MAX(len, 1));
    struct iovec iov = { exact, len };
    Packet p;
    DropReason why;

    memcpy(exact, data, len);
    packet_init(&p, &iov, 1);
    why = packet_parse(&p);
    assert_promises(&p, why);
    use_packet(&p, why);
    free(exact);
}

/* Not one byte may be missing of what a header says is there. */
static void check_truncated(const Frame *f)
{
    PacketLayers l;

    for (unsigned len = 0; len < f->len; len++) {
        check_bytes(f->data, len);
    }
    g_assert_cmpint(parse_bytes(f->data, f->len, &l), ==, DROP_NONE);
    if (l.kind != PACKET_OTHER) {
        for (unsigned len = 0; len < f->len; len++) {
            PacketLayers cut;

            g_assert_cmpint(parse_bytes(f->data, len, &cut), !=, DROP_NONE);
        }
    }
}

static void test_truncated(void)
{
    g_autoptr(GPtrArray) all = samples();

    for (unsigned i = 0; i < all->len; i++) {
        check_truncated(all->pdata[i]);
    }
}

static void test_empty(void)
{
    struct iovec iov[3] = { { NULL, 0 }, { NULL, 0 }, { NULL, 0 } };
    char text[64];
    Packet p;

    packet_init(&p, NULL, 0);
    g_assert_cmpint(packet_parse(&p), ==, DROP_TRUNCATED);
    packet_init(&p, iov, 3);
    g_assert_cmpint(packet_parse(&p), ==, DROP_TRUNCATED);
    g_assert_cmpint(packet_to_iov(&p, iov, 0), ==, 0);
    packet_put(packet_hold(&p));
    g_assert_cmpstr(packet_describe(&p, text, sizeof(text)), ==, "0 bytes");
}

static void test_mutated(void)
{
    g_autoptr(GPtrArray) all = samples();

    for (unsigned i = 0; i < 100000; i++) {
        const Frame *f = all->pdata[i % all->len];
        g_autoptr(Frame) m = frame_dup(f);
        unsigned n = g_test_rand_int_range(1, 9);

        while (n--) {
            /* headers mostly: that is where it can hurt */
            unsigned max = n % 2 ? MIN(f->len, 100) : f->len;

            m->data[g_test_rand_int_range(0, max)] = g_test_rand_int();
        }
        check_bytes(m->data, g_test_rand_int_range(0, 4) ? m->len :
                    (unsigned)g_test_rand_int_range(0, m->len + 1));
    }
}

/* --- lies ----------------------------------------------------------------- */

static void test_lie_ipv4(void)
{
    /* header length: less than five words, more than the datagram */
    g_assert_cmpint(refusal(frame_set8(udp(b_mac, a_mac, A4, B4), 14, 0x44)),
                    ==, DROP_BAD_HEADER);
    g_assert_cmpint(refusal(frame_set8(frame_ip(b_mac, a_mac, A4, B4, 1, 0),
                                       14, 0x4f)), ==, DROP_BAD_HEADER);
    g_assert_cmpint(refusal(frame_set8(udp(b_mac, a_mac, A4, B4), 14, 0x65)),
                    ==, DROP_BAD_HEADER);
    /* total length: less than the header, more than the frame */
    g_assert_cmpint(refusal(frame_set16(udp(b_mac, a_mac, A4, B4), 16, 19)),
                    ==, DROP_BAD_HEADER);
    g_assert_cmpint(refusal(frame_set16(udp(b_mac, a_mac, A4, B4), 16, 0)),
                    ==, DROP_BAD_HEADER);
    g_assert_cmpint(refusal(frame_set16(udp(b_mac, a_mac, A4, B4), 16, 50)),
                    ==, DROP_TRUNCATED);
    g_assert_cmpint(refusal(frame_set16(udp(b_mac, a_mac, A4, B4), 16,
                                        65535)), ==, DROP_TRUNCATED);
}

static void test_lie_ipv6(void)
{
    g_assert_cmpint(refusal(frame_set8(udp(b_mac, a_mac, A6, B6), 14, 0x40)),
                    ==, DROP_BAD_HEADER);
    g_assert_cmpint(refusal(frame_set16(udp(b_mac, a_mac, A6, B6), 18, 30)),
                    ==, DROP_TRUNCATED);
    g_assert_cmpint(refusal(frame_set16(udp(b_mac, a_mac, A6, B6), 18, 7)),
                    ==, DROP_TRUNCATED);
    g_assert_cmpint(refusal(frame_set16(udp(b_mac, a_mac, A6, B6), 18,
                                        65535)), ==, DROP_TRUNCATED);
    /* an extension header that ends behind the payload */
    g_assert_cmpint(refusal(frame_set8(frame_ext(udp(b_mac, a_mac, A6, B6),
                                                 60, 8), 55, 200)),
                    ==, DROP_TRUNCATED);
}

static void test_lie_udp(void)
{
    g_assert_cmpint(refusal(frame_set16(udp(b_mac, a_mac, A4, B4), 38, 7)),
                    ==, DROP_BAD_HEADER);
    g_assert_cmpint(refusal(frame_set16(udp(b_mac, a_mac, A4, B4), 38, 30)),
                    ==, DROP_BAD_HEADER);
    g_assert_cmpint(refusal(frame_set16(udp(b_mac, a_mac, A6, B6), 58, 30)),
                    ==, DROP_BAD_HEADER);
    g_assert_cmpint(refusal(frame_set16(udp(b_mac, a_mac, A4, B4), 38, 29)),
                    ==, DROP_NONE);
}

static void test_lie_tcp(void)
{
    Frame *f = frame_tcp(b_mac, a_mac, A4, B4, 0);

    g_assert_cmpint(refusal(frame_set8(f, 46, 0x40)), ==, DROP_BAD_HEADER);
    f = frame_tcp(b_mac, a_mac, A4, B4, 0);
    g_assert_cmpint(refusal(frame_set8(f, 46, 0x60)), ==, DROP_TRUNCATED);
    f = frame_tcp(b_mac, a_mac, A6, B6, 3);
    g_assert_cmpint(refusal(frame_set8(f, 66, 0xf0)), ==, DROP_TRUNCATED);
    f = frame_tcp(b_mac, a_mac, A4, B4, 40);
    g_assert_cmpint(refusal(frame_set8(f, 46, 0xf0)), ==, DROP_NONE);
}

static void test_lie_arp(void)
{
    static const struct {
        unsigned off;
        uint8_t value;
    } lies[] = { { 15, 6 }, { 16, 0x86 }, { 18, 8 }, { 18, 0 }, { 19, 16 },
                 { 19, 0 } };

    for (unsigned i = 0; i < G_N_ELEMENTS(lies); i++) {
        Frame *f = arp_request(a_mac, A4, B4);

        frame_set8(f, lies[i].off, lies[i].value);
        g_assert_cmpint(refusal(f), ==, DROP_BAD_HEADER);
    }
}

static void test_lie_nd_option(void)
{
    unsigned off = 14 + 40 + 24 + 1;

    g_assert_cmpint(refusal(frame_set8(nd_solicit(a_mac, A6, B6), off, 0)),
                    ==, DROP_BAD_HEADER);
    g_assert_cmpint(refusal(frame_set8(nd_solicit(a_mac, A6, B6), off, 2)),
                    ==, DROP_BAD_HEADER);
    g_assert_cmpint(refusal(frame_set8(nd_solicit(a_mac, A6, B6), off, 255)),
                    ==, DROP_BAD_HEADER);
    /* half of an option */
    g_assert_cmpint(refusal(frame_set16(nd_solicit(a_mac, A6, B6), 18, 28)),
                    ==, DROP_BAD_HEADER);
    g_assert_cmpint(refusal(frame_set16(nd_solicit(a_mac, A6, B6), 18, 25)),
                    ==, DROP_BAD_HEADER);
    /* less than the message's fixed part */
    g_assert_cmpint(refusal(frame_set16(nd_solicit(a_mac, A6, B6), 18, 23)),
                    ==, DROP_TRUNCATED);
}

static void test_too_many_headers(void)
{
    Frame *f = udp(b_mac, a_mac, A6, B6);

    for (int i = 0; i < 8; i++) {
        frame_ext(f, 60, 8);
    }
    g_assert_cmpint(layers_of(frame_dup(f)).dst_port, ==, 5000);
    g_assert_cmpint(refusal(frame_ext(f, 60, 8)), ==, DROP_BAD_HEADER);
}

static void test_source_mac(void)
{
    static const uint8_t group[] = { 1, 0, 0x5e, 0, 0, 1 };

    g_assert_cmpint(refusal(udp(b_mac, group, A4, B4)), ==, DROP_BAD_SOURCE);
    g_assert_cmpint(refusal(udp(b_mac, mac_broadcast, A4, B4)), ==,
                    DROP_BAD_SOURCE);
    g_assert_cmpint(refusal(udp(b_mac, mac_zero, A4, B4)), ==,
                    DROP_BAD_SOURCE);
    g_assert_cmpint(refusal(udp(group, a_mac, A4, B4)), ==, DROP_NONE);
}

static void test_oversized(void)
{
    Frame *f = frame_eth(b_mac, a_mac, 0x88cc, PACKET_MAX_LEN - 14);

    g_assert_cmpint(refusal(f), ==, DROP_NONE);
    f = frame_eth(b_mac, a_mac, 0x88cc, PACKET_MAX_LEN - 13);
    g_assert_cmpint(refusal(f), ==, DROP_OVERSIZED);
    f = frame_tcp(b_mac, a_mac, A4, B4, 65535 - 40);
    g_assert_cmpint(refusal(qinq(f)), ==, DROP_NONE);
}

/* A vector whose lengths add up to more than 32 bits. */
static void test_overflowing(void)
{
    g_autoptr(Frame) f = udp(b_mac, a_mac, A4, B4);
    struct iovec iov[2] = {
        { f->data, f->len },
        { f->data, (size_t)UINT32_MAX + 1 - f->len },
    };
    Packet p;

    packet_init(&p, iov, 2);
    g_assert_cmpint(packet_parse(&p), ==, DROP_OVERSIZED);
    iov[1].iov_len = (size_t)UINT32_MAX + 1;
    packet_init(&p, iov, 2);
    g_assert_cmpint(packet_parse(&p), ==, DROP_OVERSIZED);
    iov[0].iov_len = (size_t)UINT32_MAX + 61;
    packet_init(&p, iov, 1);
    g_assert_cmpint(packet_parse(&p), ==, DROP_OVERSIZED);
}

/* --- fragments ------------------------------------------------------------ */

static void check_fragment(Frame *f, bool has_upper)
{
    PacketLayers l = layers_of(f);

    g_assert_true(l.fragment);
    g_assert_cmpint(l.l4 != 0, ==, has_upper);
    g_assert_cmpuint(l.ip_proto, ==, 17);
    g_assert_cmpuint(l.dst_port, ==, has_upper ? 5000 : 0);
    assert_addr(&l.dst, l.dst.family == IP_V4 ? B4 : B6);
}

static void test_fragments(void)
{
    check_fragment(frame_fragment(udp(b_mac, a_mac, A4, B4), 0, true), true);
    check_fragment(frame_fragment(udp(b_mac, a_mac, A4, B4), 800, true),
                   false);
    check_fragment(frame_fragment(udp(b_mac, a_mac, A4, B4), 800, false),
                   false);
    check_fragment(frame_fragment(udp(b_mac, a_mac, A6, B6), 0, true), true);
    check_fragment(frame_fragment(udp(b_mac, a_mac, A6, B6), 800, true),
                   false);
    check_fragment(frame_fragment(udp(b_mac, a_mac, A6, B6), 800, false),
                   false);
}

/* RFC 6946: a fragment header on what is whole. */
static void test_fragment_atomic(void)
{
    PacketLayers l = layers_of(frame_fragment(udp(b_mac, a_mac, A6, B6), 0,
                                              false));

    g_assert_false(l.fragment);
    g_assert_cmpuint(l.dst_port, ==, 5000);
}

/* RFC 1858: a first fragment that does not have the whole upper header */
static void test_fragment_tiny(void)
{
    Frame *f = frame_ip(b_mac, a_mac, A4, B4, 6, 16);

    g_assert_cmpint(refusal(frame_fragment(f, 0, true)), ==,
                    DROP_BAD_FRAGMENT);
    f = frame_ip(b_mac, a_mac, A6, B6, 6, 16);
    g_assert_cmpint(refusal(frame_fragment(f, 0, true)), ==,
                    DROP_BAD_FRAGMENT);
    f = frame_tcp(b_mac, a_mac, A4, B4, 4);
    frame_set8(f, 46, 0xa0);
    g_assert_cmpint(refusal(frame_fragment(f, 0, true)), ==,
                    DROP_BAD_FRAGMENT);
}

/* RFC 3128: a later one that begins inside of the TCP header */
static void test_fragment_overlap(void)
{
    Frame *f = frame_tcp(b_mac, a_mac, A4, B4, 4);

    g_assert_cmpint(refusal(frame_fragment(f, 8, false)), ==,
                    DROP_BAD_FRAGMENT);
    f = frame_tcp(b_mac, a_mac, A6, B6, 4);
    g_assert_cmpint(refusal(frame_fragment(f, 16, true)), ==,
                    DROP_BAD_FRAGMENT);
    f = frame_tcp(b_mac, a_mac, A4, B4, 4);
    g_assert_cmpint(refusal(frame_fragment(f, 24, false)), ==, DROP_NONE);
}

/* The ping of death. */
static void test_fragment_past_end(void)
{
    Frame *f = frame_ip(b_mac, a_mac, A4, B4, 1, 64);

    g_assert_cmpint(refusal(frame_fragment(f, 65528, false)), ==,
                    DROP_BAD_FRAGMENT);
    f = frame_ip(b_mac, a_mac, A6, B6, 59, 64);
    g_assert_cmpint(refusal(frame_fragment(f, 65480, false)), ==,
                    DROP_BAD_FRAGMENT);
    f = frame_ip(b_mac, a_mac, A4, B4, 1, 64);
    g_assert_cmpint(refusal(frame_fragment(f, 65400, false)), ==, DROP_NONE);
    /* 65535 is the length with the header */
    f = frame_ip(b_mac, a_mac, A4, B4, 1, 64);
    g_assert_cmpint(refusal(frame_fragment(f, 65456, false)), ==,
                    DROP_BAD_FRAGMENT);
}

/* RFC 6980: neighbour discovery is never in fragments */
static void test_fragment_nd(void)
{
    g_assert_cmpint(refusal(frame_fragment(nd_solicit(a_mac, A6, B6), 0,
                                           true)), ==, DROP_BAD_FRAGMENT);
    g_assert_cmpint(refusal(frame_fragment(nd_solicit(a_mac, A6, B6), 0,
                                           false)), ==, DROP_BAD_FRAGMENT);
}

/* Not DHCP either: nobody looks into a part of a message. */
static void test_fragment_dhcp(void)
{
    PacketLayers l = layers_of(frame_fragment(dhcp_request(a_mac, 1), 0,
                                              true));

    g_assert_cmpuint(l.kind, ==, PACKET_IPV4);
}

/* --- keeping -------------------------------------------------------------- */

static Packet packet_of(const Frame *f, struct iovec *iov)
{
    Packet p;

    *iov = (struct iovec) { f->data, f->len };
    packet_init(&p, iov, 1);
    g_assert_cmpint(packet_parse(&p), ==, DROP_NONE);
    return p;
}

static void assert_bytes(const Packet *p, const Frame *f)
{
    g_autofree uint8_t *flat = g_malloc(p->len);

    packet_copy_bytes(p, flat);
    g_assert_cmpmem(flat, p->len, f->data, f->len);
}

static void test_hold(void)
{
    Frame *f = udp(b_mac, a_mac, A4, B4);
    g_autoptr(Frame) same = frame_dup(f);
    struct iovec iov;
    Packet p = packet_of(f, &iov);
    Packet *one, *two;

    p.has_vnet = true;
    p.vnet.gso_size = 1448;
    one = packet_hold(&p);
    frame_free(f);              /* the sender's memory is its own again */
    two = packet_hold(one);
    g_assert_true(one->buf && one->buf == two->buf);
    g_assert_cmpuint(two->vnet.gso_size, ==, 1448);
    g_assert_cmpuint(two->layers.dst_port, ==, 5000);
    packet_put(one);
    assert_bytes(two, same);
    packet_put(two);
    packet_put(NULL);
}

/* What one clone rewrites, the other does not see. */
static void test_hold_is_private(void)
{
    g_autoptr(Frame) f = arp_request(a_mac, A4, B4);
    struct iovec iov;
    Packet p = packet_of(f, &iov);
    g_autoptr(Packet) one = packet_hold(&p);
    g_autoptr(Packet) two = packet_hold(one);

    memset(packet_cow_head(one, 42), 0xee, 42);
    assert_bytes(two, f);
    g_autoptr(Packet) three = packet_hold(one);
    memset(packet_cow_head(three, 42), 0xdd, 14);
    g_assert_cmphex(*(uint8_t *)packet_peek(one, 0, 1, NULL), ==, 0xee);
    g_assert_cmphex(*(uint8_t *)packet_peek(three, 0, 1, NULL), ==, 0xdd);
    g_assert_cmphex(*(uint8_t *)packet_peek(three, 14, 1, NULL), ==, 0xee);
}

static void test_hold_cow(void)
{
    g_autoptr(Frame) f = udp(b_mac, a_mac, A4, B4);
    g_autoptr(Frame) changed = frame_set_mac_src(frame_dup(f), b_mac);
    struct iovec iov;
    Packet p = packet_of(f, &iov);

    memcpy(packet_cow_head(&p, 14) + 6, b_mac, 6);
    assert_bytes(&p, changed);
    g_autoptr(Packet) held = packet_hold(&p);
    assert_bytes(held, changed);
    g_assert_cmpmem(f->data + 6, 6, a_mac, 6);
}

static void test_view(void)
{
    g_autoptr(Frame) f = udp(b_mac, a_mac, A4, B4);
    struct iovec iov;
    Packet p = packet_of(f, &iov), view, second;

    packet_view(&view, &p);
    packet_cow_head(&view, 14)[0] = 0x77;
    packet_view(&second, &view);
    packet_cow_head(&second, 14)[0] = 0x99;
    assert_bytes(&p, f);
    g_assert_cmphex(view.head[0], ==, 0x77);
    g_assert_cmphex(second.head[0], ==, 0x99);
}

static void test_copy(void)
{
    g_autoptr(Frame) f = udp(b_mac, a_mac, A4, B4);
    g_autoptr(Frame) same = frame_dup(f);
    struct iovec iov;
    Packet p = packet_of(f, &iov);
    uint8_t *data;
    g_autoptr(Packet) copy = packet_copy(&p, &data);

    memset(data, 0, copy->len);
    g_assert_cmpmem(f->data, f->len, same->data, same->len);
    g_assert_cmpuint(copy->len, ==, f->len);
    g_assert_cmphex(copy->head[0], ==, 0);
}

/* Every length of private head, over every split of the frame. */
static void check_cow(const Frame *f, unsigned cut, unsigned len,
                      unsigned then)
{
    g_autoptr(Frame) changed = frame_dup(f);
    struct iovec iov[2], out[4];
    unsigned total = 0;
    Packet p;
    int n;

    scatter(f, &cut, 1, iov);
    packet_init(&p, iov, 2);
    memset(packet_cow_head(&p, len), 0xcc, len);
    memset(packet_cow_head(&p, then), 0xdd, then);
    memset(changed->data, 0xcc, len);
    memset(changed->data, 0xdd, then);
    assert_bytes(&p, changed);
    n = packet_to_iov(&p, out, 4);
    g_assert_cmpint(n, >, 0);
    for (int i = 0; i < n; i++) {
        g_assert_cmpmem(out[i].iov_base, out[i].iov_len,
                        changed->data + total, out[i].iov_len);
        total += out[i].iov_len;
    }
    g_assert_cmpuint(total, ==, f->len);
    scatter_free(iov, 2);
}

static void test_cow(void)
{
    g_autoptr(Frame) f = frame_eth(b_mac, a_mac, 0x88cc,
                                    PACKET_SCRATCH_LEN + 2);

    for (unsigned cut = 0; cut <= f->len; cut++) {
        for (unsigned len = 1; len <= PACKET_SCRATCH_LEN; len += 3) {
            check_cow(f, cut, len, 1);
            check_cow(f, cut, len, PACKET_SCRATCH_LEN);
        }
    }
}

/* What a guest puts before its frame, cut anywhere, in one-byte pieces too. */
static void check_pull(const Frame *f, unsigned cut, unsigned len)
{
    unsigned cuts[VNET_HDR_MAX + 1];
    unsigned n = cut ? 1 : VNET_HDR_MAX + 1;
    struct iovec iov[VNET_HDR_MAX + 2];
    uint8_t pulled[VNET_HDR_MAX];
    Packet p;

    for (unsigned i = 0; i < n; i++) {
        cuts[i] = cut ?: i + 1;
    }
    n = scatter(f, cuts, n, iov);
    packet_init(&p, iov, n);
    g_assert_true(packet_pull(&p, len, pulled));
    g_assert_cmpmem(pulled, len, f->data, len);
    g_assert_cmpuint(p.len, ==, f->len - len);
    g_autoptr(Frame) rest = frame_from_packet(&p);
    g_assert_cmpmem(rest->data, rest->len, f->data + len, f->len - len);

    packet_cow_head(&p, 20)[3] ^= 0xff;
    g_autoptr(Frame) changed = frame_from_packet(&p);
    g_assert_cmpuint(changed->len, ==, rest->len);
    rest->data[3] ^= 0xff;
    g_assert_cmpmem(rest->data, rest->len, changed->data, changed->len);
    scatter_free(iov, n);
}

static void test_pull(void)
{
    g_autoptr(Frame) f = frame_eth(b_mac, a_mac, 0x88cc, 60);
    struct iovec iov = { .iov_base = f->data, .iov_len = VNET_HDR_MIN };
    uint8_t pulled[VNET_HDR_MAX];
    Packet p;

    for (unsigned cut = 0; cut < f->len; cut++) {
        check_pull(f, cut, VNET_HDR_MIN);
        check_pull(f, cut, VNET_HDR_MAX);
    }
    packet_init(&p, &iov, 1);
    g_assert_false(packet_pull(&p, VNET_HDR_MIN, pulled));
    g_assert_cmpuint(p.len, ==, VNET_HDR_MIN);
}

/* Written and read in both byte orders, against the bytes of the standard. */
static void test_vnet_header(void)
{
    const PacketVnet v = {
        .flags = 1, .gso_type = 0x81, .hdr_len = 0x0102, .gso_size = 0x0304,
        .csum_start = 0x0506, .csum_offset = 0x0708,
    };
    static const uint8_t bytes[2][12] = {
        { 1, 0x81, 2, 1, 4, 3, 6, 5, 8, 7, 0, 0 },
        { 1, 0x81, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0 },
    };

    for (int be = 0; be < 2; be++) {
        uint8_t b[12];
        PacketVnet back;

        memset(b, 0xff, sizeof(b));
        vnet_put(b, sizeof(b), &v, be);
        g_assert_cmpmem(b, sizeof(b), bytes[be], sizeof(bytes[be]));
        back = vnet_get(b, be);
        g_assert_cmpmem(&back, sizeof(back), &v, sizeof(v));
    }
}

static void test_peek(void)
{
    g_autoptr(Frame) f = frame_eth(b_mac, a_mac, 0x88cc, 16);
    unsigned cuts[] = { 3, 3, 17 };
    struct iovec iov[4];
    uint8_t buf[64];
    Packet p;

    scatter(f, cuts, 3, iov);
    packet_init(&p, iov, 4);
    for (unsigned off = 0; off <= f->len; off++) {
        for (unsigned len = 0; off + len <= f->len; len++) {
            const void *b = packet_peek(&p, off, len, buf);

            g_assert_nonnull(b);
            g_assert_cmpmem(b, len, f->data + off, len);
        }
        g_assert_null(packet_peek(&p, off, f->len + 1 - off, buf));
    }
    g_assert_null(packet_peek(&p, f->len + 1, 0, buf));
    g_assert_null(packet_peek_slow(&p, 1, UINT32_MAX, buf));
    scatter_free(iov, 4);
}

static void test_to_iov(void)
{
    g_autoptr(Frame) f = frame_eth(b_mac, a_mac, 0x88cc, 16);
    unsigned cuts[] = { 5, 9, 14 };
    struct iovec iov[4], out[4];
    Packet p;

    scatter(f, cuts, 3, iov);
    packet_init(&p, iov, 4);
    g_assert_cmpint(packet_to_iov(&p, out, 3), ==, -ENOBUFS);
    g_assert_cmpint(packet_to_iov(&p, out, 0), ==, -ENOBUFS);
    g_assert_cmpint(packet_to_iov(&p, out, 4), ==, 4);
    scatter_free(iov, 4);
}

static void test_queue(void)
{
    g_autoptr(Frame) f = frame_eth(b_mac, a_mac, 0x88cc, 16);
    GQueue q = G_QUEUE_INIT;
    struct iovec iov;
    Packet p = packet_of(f, &iov);
    Packet *first = packet_hold(&p), *last;

    packet_queue_push(&q, first);
    packet_queue_push(&q, packet_hold(&p));
    last = packet_hold(first);
    packet_queue_push(&q, last);
    g_assert_true(packet_queue_pop(&q) == first);
    g_assert_true(packet_queue_pop_tail(&q) == last);
    packet_put(first);
    packet_put(last);
    g_assert_cmpuint(packet_queue_purge(&q), ==, 1);
    g_assert_null(packet_queue_pop(&q));
    g_assert_null(packet_queue_pop_tail(&q));
}

static void check_described(Frame *f, const char *wanted)
{
    struct iovec iov;
    Packet p = packet_of(f, &iov);
    char text[256], tiny[8];

    g_assert_cmpstr(packet_describe(&p, text, sizeof(text)), ==, wanted);
    g_assert_cmpuint(strlen(packet_describe(&p, tiny, sizeof(tiny))), ==, 7);
    frame_free(f);
}

static void test_describe(void)
{
    check_described(udp(b_mac, a_mac, A4, B4),
                    "52:54:00:00:00:0a > 52:54:00:00:00:0b IPv4 "
                    "10.0.0.1.4000 > 10.0.0.2.5000 length 63");
    check_described(arp_request(a_mac, A4, B4),
                    "52:54:00:00:00:0a > ff:ff:ff:ff:ff:ff ARP request "
                    "10.0.0.1 > 10.0.0.2 length 42");
    check_described(frame_eth(b_mac, a_mac, 0x88cc, 10),
                    "52:54:00:00:00:0a > 52:54:00:00:00:0b "
                    "ethertype 0x88cc length 24");
}

/* --- addresses as text ---------------------------------------------------- */

static void check_prefix_error(const char *text)
{
    g_autoptr(GError) err = NULL;
    IpPrefix p;

    g_assert_false(ip_prefix_parse(text, &p, &err));
    g_assert_error(err, LINK_ERROR, EINVAL);
    g_assert_true(g_str_has_prefix(err->message, "it"));
}

static void test_prefix_text(void)
{
    static const char *const good[] = {
        "10.0.0.1", "10.0.0.0/8", "fd00::1", "fd00::/64", "128.0.0.0/1",
    };
    static const char *const bad[] = {
        "", "x", "10.0.0", "10.0.0.1/33", "10.0.0.1/0", "10.0.0.1/24",
        "10.0.0.1/", "10.0.0.1/x", "10.0.0.1/8/8", "fd00::1/129",
        "fd00::1/64", "0.0.0.0", "127.0.0.1", "224.0.0.1", "::", "::1",
        "255.255.255.255", "ff02::1", "10.0.0.1/-1", "10.0.0.1 ",
    };
    char out[IP_STR_MAX];

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        IpPrefix p = prefix(good[i]);

        g_assert_cmpstr(ip_prefix_format(&p, out), ==, good[i]);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        check_prefix_error(bad[i]);
    }
}

static void test_link_local(void)
{
    IpAddr a = ip_link_local_from_mac(a_mac);

    assert_addr(&a, "fe80::5054:ff:fe00:a");
    g_assert_true(ip_is_link_local6(&a));
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/packet/parse/other", test_parse_other);
    g_test_add_func("/packet/parse/arp", test_parse_arp);
    g_test_add_func("/packet/parse/rarp", test_parse_rarp);
    g_test_add_func("/packet/parse/ipv4", test_parse_ipv4);
    g_test_add_func("/packet/parse/ipv6", test_parse_ipv6);
    g_test_add_func("/packet/parse/padding", test_parse_padding);
    g_test_add_func("/packet/parse/nd", test_parse_nd);
    g_test_add_func("/packet/parse/dhcp", test_parse_dhcp);
    g_test_add_func("/packet/parse/tags", test_parse_tags);
    g_test_add_func("/packet/parse/third-tag", test_parse_third_tag);
    g_test_add_func("/packet/parse/empty", test_empty);
    g_test_add_func("/packet/parse/split", test_split);
    g_test_add_func("/packet/parse/truncated", test_truncated);
    g_test_add_func("/packet/parse/mutated", test_mutated);
    g_test_add_func("/packet/parse/too-many-headers", test_too_many_headers);
    g_test_add_func("/packet/parse/source-mac", test_source_mac);
    g_test_add_func("/packet/parse/oversized", test_oversized);
    g_test_add_func("/packet/parse/overflowing", test_overflowing);
    g_test_add_func("/packet/lie/ipv4", test_lie_ipv4);
    g_test_add_func("/packet/lie/ipv6", test_lie_ipv6);
    g_test_add_func("/packet/lie/udp", test_lie_udp);
    g_test_add_func("/packet/lie/tcp", test_lie_tcp);
    g_test_add_func("/packet/lie/arp", test_lie_arp);
    g_test_add_func("/packet/lie/nd-option", test_lie_nd_option);
    g_test_add_func("/packet/fragment/parse", test_fragments);
    g_test_add_func("/packet/fragment/atomic", test_fragment_atomic);
    g_test_add_func("/packet/fragment/tiny", test_fragment_tiny);
    g_test_add_func("/packet/fragment/overlap", test_fragment_overlap);
    g_test_add_func("/packet/fragment/past-end", test_fragment_past_end);
    g_test_add_func("/packet/fragment/nd", test_fragment_nd);
    g_test_add_func("/packet/fragment/dhcp", test_fragment_dhcp);
    g_test_add_func("/packet/dhcp/message", test_dhcp_message);
    g_test_add_func("/packet/dhcp/malformed", test_dhcp_malformed);
    g_test_add_func("/packet/keep/hold", test_hold);
    g_test_add_func("/packet/keep/private", test_hold_is_private);
    g_test_add_func("/packet/keep/hold-cow", test_hold_cow);
    g_test_add_func("/packet/keep/view", test_view);
    g_test_add_func("/packet/keep/copy", test_copy);
    g_test_add_func("/packet/keep/cow", test_cow);
    g_test_add_func("/packet/keep/pull", test_pull);
    g_test_add_func("/packet/vnet-header", test_vnet_header);
    g_test_add_func("/packet/peek", test_peek);
    g_test_add_func("/packet/to-iov", test_to_iov);
    g_test_add_func("/packet/queue", test_queue);
    g_test_add_func("/packet/describe", test_describe);
    g_test_add_func("/packet/text/prefix", test_prefix_text);
    g_test_add_func("/packet/text/link-local", test_link_local);
    return g_test_run();
}
