/*
 * Frames for tests: builders, and checksums from scratch
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>
#include <stdlib.h>

#include "frame.h"

const uint8_t mac_broadcast[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
const uint8_t mac_zero[ETHER_ADDR_LEN];

/* malloc(), so that a sanitizer sees one byte too many. */
static uint8_t *bytes_new(unsigned len)
{
    uint8_t *b = malloc(len ? len : 1);

    g_assert_nonnull(b);
    return b;
}

void frame_free(Frame *f)
{
    if (f) {
        free(f->data);
        g_free(f);
    }
}

Frame *frame_new(const void *data, unsigned len)
{
    Frame *f = g_new0(Frame, 1);

    f->data = bytes_new(len);
    f->len = len;
    if (data) {
        memcpy(f->data, data, len);
    } else {
        memset(f->data, 0, len);
    }
    return f;
}

DropReason frame_parse(const Frame *f, Packet *p, struct iovec *iov)
{
    *iov = (struct iovec) { f->data, f->len };
    packet_init(p, iov, 1);
    p->has_vnet = f->has_vnet;
    p->vnet = f->vnet;
    return packet_parse(p);
}

Frame *frame_dup(const Frame *f)
{
    Frame *copy = frame_new(f->data, f->len);

    copy->has_vnet = f->has_vnet;
    copy->vnet = f->vnet;
    memcpy(copy->cuts, f->cuts, sizeof(f->cuts));
    return copy;
}

Frame *frame_from_packet(const Packet *p)
{
    Frame *f = frame_new(NULL, p->len);

    packet_copy_bytes(p, f->data);
    f->has_vnet = p->has_vnet;
    f->vnet = p->vnet;
    return f;
}

static void add_piece(FramePieces *pieces, const Frame *f, unsigned from,
                      unsigned to)
{
    struct iovec *iov = &pieces->iov[pieces->n++];

    iov->iov_len = to - from;
    iov->iov_base = bytes_new(iov->iov_len);
    memcpy(iov->iov_base, f->data + from, iov->iov_len);
}

void frame_pieces(const Frame *f, FramePieces *pieces)
{
    unsigned from = 0;

    pieces->n = 0;
    for (unsigned i = 0; i < FRAME_CUTS; i++) {
        unsigned cut = f->cuts[i];

        if (cut > from && cut < f->len) {
            add_piece(pieces, f, from, cut);
            from = cut;
        }
    }
    add_piece(pieces, f, from, f->len);
}

bool frame_pieces_equal(const Frame *f, const FramePieces *pieces)
{
    unsigned off = 0;

    for (unsigned i = 0; i < pieces->n; i++) {
        const struct iovec *iov = &pieces->iov[i];

        if (memcmp(iov->iov_base, f->data + off, iov->iov_len)) {
            return false;
        }
        off += iov->iov_len;
    }
    return off == f->len;
}

void frame_pieces_free(FramePieces *pieces)
{
    for (unsigned i = 0; i < pieces->n; i++) {
        free(pieces->iov[i].iov_base);
    }
}

IpPrefix prefix(const char *text)
{
    g_autoptr(GError) err = NULL;
    IpPrefix p;
    bool ok = ip_prefix_parse(text, &p, &err);

    g_assert_no_error(err);
    g_assert_true(ok);
    return p;
}

/* Also for addresses that nobody can own. */
IpAddr ip(const char *text)
{
    IpAddr a = { .family = strchr(text, ':') ? IP_V6 : IP_V4 };
    int family = a.family == IP_V6 ? AF_INET6 : AF_INET;

    g_assert_cmpint(inet_pton(family, text, a.b), ==, 1);
    return a;
}

static void put16(uint8_t *b, uint16_t v)
{
    b[0] = v >> 8;
    b[1] = v;
}

static void put32(uint8_t *b, uint32_t v)
{
    put16(b, v >> 16);
    put16(b + 2, v);
}

/* --- changing ------------------------------------------------------------- */

Frame *frame_set8(Frame *f, unsigned off, uint8_t v)
{
    g_assert_cmpuint(off, <, f->len);
    f->data[off] = v;
    return f;
}

Frame *frame_set16(Frame *f, unsigned off, uint16_t v)
{
    g_assert_cmpuint(off + 1, <, f->len);
    put16(f->data + off, v);
    return f;
}

Frame *frame_insert(Frame *f, unsigned off, const void *data, unsigned len)
{
    uint8_t *b = bytes_new(f->len + len);

    g_assert_cmpuint(off, <=, f->len);
    memcpy(b, f->data, off);
    memcpy(b + off, data, len);
    memcpy(b + off + len, f->data + off, f->len - off);
    free(f->data);
    f->data = b;
    f->len += len;
    return f;
}

Frame *frame_cut(Frame *f, unsigned len)
{
    uint8_t *b = bytes_new(len);

    g_assert_cmpuint(len, <=, f->len);
    memcpy(b, f->data, len);
    free(f->data);
    f->data = b;
    f->len = len;
    return f;
}

Frame *frame_tag(Frame *f, uint16_t tpid, uint16_t vid)
{
    uint8_t tag[4];

    put16(tag, tpid);
    put16(tag + 2, vid);
    if (f->has_vnet) {
        f->vnet.csum_start += 4;
    }
    return frame_insert(f, 12, tag, sizeof(tag));
}

Frame *frame_options(Frame *f, unsigned len)
{
    FrameOffsets o = frame_offsets(f);
    uint8_t nop[40];

    g_assert_true(!o.v6 && len % 4 == 0 && len <= sizeof(nop));
    memset(nop, 1, sizeof(nop));
    frame_insert(f, o.l3 + 20, nop, len);
    f->data[o.l3] += len / 4;
    frame_set16(f, o.l3 + 2, o.end - o.l3 + len);
    return frame_checksum(f);
}

Frame *frame_ext(Frame *f, uint8_t type, unsigned len)
{
    FrameOffsets o = frame_offsets(f);
    g_autofree uint8_t *ext = g_malloc0(len);

    g_assert_true(o.v6 && len % 8 == 0);
    ext[0] = f->data[o.l3 + 6];
    ext[1] = type == 44 ? 0 : type == 51 ? len / 4 - 2 : len / 8 - 1;
    f->data[o.l3 + 6] = type;
    frame_insert(f, o.l3 + 40, ext, len);
    return frame_set16(f, o.l3 + 4, o.end - o.l3 - 40 + len);
}

Frame *frame_fragment(Frame *f, unsigned off, bool more)
{
    FrameOffsets o = frame_offsets(f);

    g_assert_cmpuint(off % 8, ==, 0);
    if (o.v6) {
        frame_ext(f, 44, 8);
        return frame_set16(f, o.l3 + 42, off | more);
    }
    frame_set16(f, o.l3 + 6, off / 8 | more << 13);
    return frame_checksum(f);
}

Frame *frame_set_mac_src(Frame *f, const uint8_t *mac)
{
    memcpy(f->data + ETHER_ADDR_LEN, mac, ETHER_ADDR_LEN);
    return f;
}

Frame *frame_set_mac_dst(Frame *f, const uint8_t *mac)
{
    memcpy(f->data, mac, ETHER_ADDR_LEN);
    return f;
}

/* --- checksums ------------------------------------------------------------ */

uint16_t frame_get16(const Frame *f, unsigned off)
{
    g_assert_cmpuint(off + 1, <, f->len);
    return f->data[off] << 8 | f->data[off + 1];
}

static bool is_ext(uint8_t next)
{
    return next == 0 || next == 43 || next == 44 || next == 51 || next == 60;
}

static void skip_ext(const Frame *f, FrameOffsets *o)
{
    while (is_ext(o->proto)) {
        const uint8_t *b = f->data + o->l4;

        o->l4 += o->proto == 44 ? 8 : o->proto == 51 ? (b[1] + 2) * 4
                                                     : (b[1] + 1) * 8;
        o->proto = b[0];
    }
}

FrameOffsets frame_offsets(const Frame *f)
{
    FrameOffsets o = { .l3 = 14 };
    const uint8_t *b;

    while (frame_get16(f, o.l3 - 2) == 0x8100 ||
           frame_get16(f, o.l3 - 2) == 0x88a8) {
        o.l3 += 4;
    }
    b = f->data + o.l3;
    o.v6 = frame_get16(f, o.l3 - 2) == 0x86dd;
    if (o.v6) {
        o.l4 = o.l3 + 40;
        o.end = o.l4 + frame_get16(f, o.l3 + 4);
        o.proto = b[6];
        skip_ext(f, &o);
    } else {
        g_assert_cmphex(frame_get16(f, o.l3 - 2), ==, 0x0800);
        o.l4 = o.l3 + (b[0] & 15) * 4;
        o.end = o.l3 + frame_get16(f, o.l3 + 2);
        o.proto = b[9];
    }
    g_assert_cmpuint(o.end, <=, f->len);
    return o;
}

static uint32_t sum_bytes(const uint8_t *b, unsigned len, uint32_t sum)
{
    for (unsigned i = 0; i < len; i++) {
        sum += i % 2 ? b[i] : b[i] << 8;
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static uint32_t sum_pseudo(const Frame *f, const FrameOffsets *o)
{
    const uint8_t *l3 = f->data + o->l3;
    uint32_t sum = o->proto + (o->end - o->l4);

    if (o->proto == 2) {
        return 0;               /* IGMP's covers the message alone */
    }
    return o->v6 ? sum_bytes(l3 + 8, 32, sum) : sum_bytes(l3 + 12, 8, sum);
}

static uint32_t sum_upper(const Frame *f, const FrameOffsets *o)
{
    return sum_bytes(f->data + o->l4, o->end - o->l4, 0);
}

/* In the upper layer's header; 0: it has none that we know. */
static unsigned csum_field(const FrameOffsets *o)
{
    return o->proto == 6 ? 16 : o->proto == 17 ? 6 :
           (o->proto == 58 && o->v6) || (o->proto == 2 && !o->v6) ? 2 : 0;
}

unsigned frame_csum_offset(const Frame *f)
{
    FrameOffsets o = frame_offsets(f);

    g_assert_cmpuint(csum_field(&o), !=, 0);
    return o.l4 + csum_field(&o);
}

static bool has_upper_csum(const Frame *f, const FrameOffsets *o)
{
    bool fragment = !o->v6 && (frame_get16(f, o->l3 + 6) & 0x3fff);

    return !fragment && csum_field(o) &&
           o->l4 + csum_field(o) + 2 <= o->end;
}

bool frame_has_checksum(const Frame *f)
{
    FrameOffsets o = frame_offsets(f);

    return has_upper_csum(f, &o);
}

Frame *frame_checksum(Frame *f)
{
    FrameOffsets o = frame_offsets(f);
    uint16_t sum;

    if (!o.v6) {
        frame_set16(f, o.l3 + 10, 0);
        sum = ~sum_bytes(f->data + o.l3, o.l4 - o.l3, 0);
        frame_set16(f, o.l3 + 10, sum);
    }
    if (has_upper_csum(f, &o)) {
        frame_set16(f, o.l4 + csum_field(&o), 0);
        sum = ~sum_bytes(NULL, 0, sum_pseudo(f, &o) + sum_upper(f, &o));
        sum = !sum && o.proto == 17 ? 0xffff : sum;
        frame_set16(f, o.l4 + csum_field(&o), sum);
    }
    return f;
}

Frame *frame_partial(Frame *f)
{
    FrameOffsets o = frame_offsets(f);

    g_assert_true(has_upper_csum(f, &o));
    f->has_vnet = true;
    f->vnet = (PacketVnet) {
        .flags = PACKET_VNET_NEEDS_CSUM,
        .csum_start = o.l4, .csum_offset = csum_field(&o),
    };
    return frame_set16(f, o.l4 + csum_field(&o), sum_pseudo(f, &o));
}

static bool upper_ok(const Frame *f, const FrameOffsets *o)
{
    uint32_t pseudo = sum_pseudo(f, o);
    uint16_t field = frame_get16(f, o->l4 + csum_field(o));

    if (f->has_vnet && (f->vnet.flags & PACKET_VNET_NEEDS_CSUM)) {
        /* Whoever completes it sums over what is in the field now. */
        return f->vnet.csum_start == o->l4 &&
               f->vnet.csum_offset == csum_field(o) &&
               field == sum_bytes(NULL, 0, pseudo);
    }
    if (o->proto == 17 && !o->v6 && !field) {
        return true;
    }
    return sum_bytes(NULL, 0, pseudo + sum_upper(f, o)) == 0xffff;
}

bool frame_checksum_ok(const Frame *f)
{
    FrameOffsets o = frame_offsets(f);

    if (!o.v6 &&
        sum_bytes(f->data + o.l3, o.l4 - o.l3, 0) != 0xffff) {
        return false;
    }
    return !has_upper_csum(f, &o) || upper_ok(f, &o);
}

/* --- builders ------------------------------------------------------------- */

Frame *frame_eth(const uint8_t *dst, const uint8_t *src, uint16_t type,
                 unsigned payload)
{
    Frame *f = frame_new(NULL, 14 + payload);

    frame_set_mac_dst(f, dst);
    frame_set_mac_src(f, src);
    frame_set16(f, 12, type);
    for (unsigned i = 0; i < payload; i++) {
        f->data[14 + i] = i * 7 + 3;
    }
    return f;
}

Frame *frame_arp(const uint8_t *dst, const uint8_t *src, uint16_t op,
                 const char *sip, const uint8_t *tha, const char *tip)
{
    static const uint8_t head[] = { 0, 1, 8, 0, 6, 4 };
    Frame *f = frame_eth(dst, src, 0x0806, 28);
    IpAddr spa = ip(sip), tpa = ip(tip);

    memcpy(f->data + 14, head, sizeof(head));
    put16(f->data + 20, op);
    memcpy(f->data + 22, src, 6);
    memcpy(f->data + 28, spa.b, 4);
    memcpy(f->data + 32, tha, 6);
    memcpy(f->data + 38, tpa.b, 4);
    return f;
}

Frame *arp_request(const uint8_t *src, const char *sip, const char *tip)
{
    return frame_arp(mac_broadcast, src, 1, sip, mac_zero, tip);
}

Frame *arp_reply(const uint8_t *dst, const uint8_t *src, const char *sip,
                 const char *tip)
{
    return frame_arp(dst, src, 2, sip, dst, tip);
}

Frame *arp_probe(const uint8_t *src, const char *tip)
{
    return arp_request(src, "0.0.0.0", tip);
}

Frame *arp_announce(const uint8_t *src, const char *addr)
{
    return arp_request(src, addr, addr);
}

Frame *rarp_announce(const uint8_t *src)
{
    Frame *f = frame_arp(mac_broadcast, src, 3, "0.0.0.0", src, "0.0.0.0");

    return frame_set16(f, 12, 0x8035);
}

static Frame *frame_ip6(Frame *f, const char *sip, const char *dip,
                        uint8_t proto, unsigned payload)
{
    uint8_t h[40] = { 0x60, [6] = proto, [7] = 64 };
    IpAddr src = ip(sip), dst = ip(dip);

    put16(h + 4, payload);
    memcpy(h + 8, src.b, 16);
    memcpy(h + 24, dst.b, 16);
    frame_set16(f, 12, 0x86dd);
    return frame_insert(f, 14, h, sizeof(h));
}

static Frame *frame_ip4(Frame *f, const char *sip, const char *dip,
                        uint8_t proto, unsigned payload)
{
    uint8_t h[20] = { 0x45, [8] = 64, [9] = proto };
    IpAddr src = ip(sip), dst = ip(dip);

    put16(h + 2, payload + 20);
    memcpy(h + 12, src.b, 4);
    memcpy(h + 16, dst.b, 4);
    frame_set16(f, 12, 0x0800);
    return frame_insert(f, 14, h, sizeof(h));
}

static Frame *ip_header(const uint8_t *dst, const uint8_t *src,
                        const char *sip, const char *dip, uint8_t proto,
                        unsigned payload)
{
    Frame *f = frame_eth(dst, src, 0, payload);

    return strchr(dip, ':') ? frame_ip6(f, sip, dip, proto, payload)
                            : frame_ip4(f, sip, dip, proto, payload);
}

Frame *frame_ip(const uint8_t *dst, const uint8_t *src, const char *sip,
                const char *dip, uint8_t proto, unsigned payload)
{
    return frame_checksum(ip_header(dst, src, sip, dip, proto, payload));
}

Frame *frame_udp(const uint8_t *dst, const uint8_t *src, const char *sip,
                 const char *dip, uint16_t sport, uint16_t dport,
                 unsigned payload)
{
    Frame *f = ip_header(dst, src, sip, dip, 17, payload + 8);
    unsigned l4 = frame_offsets(f).l4;

    frame_set16(f, l4, sport);
    frame_set16(f, l4 + 2, dport);
    frame_set16(f, l4 + 4, payload + 8);
    return frame_checksum(f);
}

Frame *udp(const uint8_t *dst, const uint8_t *src, const char *sip,
           const char *dip)
{
    return frame_udp(dst, src, sip, dip, 4000, 5000, 21);
}

Frame *frame_tcp(const uint8_t *dst, const uint8_t *src, const char *sip,
                 const char *dip, unsigned payload)
{
    Frame *f = ip_header(dst, src, sip, dip, 6, payload + 20);
    unsigned l4 = frame_offsets(f).l4;

    frame_set16(f, l4, 4000);
    frame_set16(f, l4 + 2, 80);
    frame_set8(f, l4 + 12, 0x50);
    return frame_checksum(f);
}

static unsigned nd_message_len(uint8_t type)
{
    switch (type) {
    case ND_ROUTER_SOLICIT:
        return 8;
    case ND_ROUTER_ADVERT:
        return 16;
    case ND_REDIRECT:
        return 40;
    default:
        return 24;
    }
}

Frame *frame_nd(const uint8_t *dst, const uint8_t *src, const char *sip,
                const char *dip, uint8_t type, const char *target,
                uint8_t option, const uint8_t *lla)
{
    unsigned fixed = nd_message_len(type);
    unsigned len = fixed + (lla ? 8 : 0);
    Frame *f = ip_header(dst, src, sip, dip, 58, len);
    uint8_t *b = f->data + frame_offsets(f).l4;

    f->data[14 + 7] = 255;      /* hop limit, RFC 4861 */
    memset(b, 0, len);
    b[0] = type;
    if (target) {
        IpAddr t = ip(target);

        memcpy(b + 8, t.b, 16);
    }
    if (lla) {
        b[fixed] = option;
        b[fixed + 1] = 1;
        memcpy(b + fixed + 2, lla, ETHER_ADDR_LEN);
    }
    return frame_checksum(f);
}

/* To the solicited-node group of @target, RFC 4291 2.7.1 */
static Frame *nd_to_group(const uint8_t *src, const char *sip,
                          const char *target, const uint8_t *lla)
{
    IpAddr t = ip(target);
    uint8_t mac[] = { 0x33, 0x33, 0xff, t.b[13], t.b[14], t.b[15] };
    char group[IP_STR_MAX];
    IpAddr g = ip("ff02::1:ff00:0");

    memcpy(g.b + 13, t.b + 13, 3);
    return frame_nd(mac, src, sip, ip_format(&g, group),
                    ND_NEIGHBOUR_SOLICIT, target, 1, lla);
}

Frame *nd_solicit(const uint8_t *src, const char *sip, const char *target)
{
    return nd_to_group(src, sip, target, src);
}

Frame *nd_probe(const uint8_t *src, const char *target)
{
    return nd_to_group(src, "::", target, NULL);
}

Frame *nd_advert(const uint8_t *dst, const uint8_t *src, const char *sip,
                 const char *dip)
{
    return frame_nd(dst, src, sip, dip, ND_NEIGHBOUR_ADVERT, sip, 2, src);
}

static const uint8_t all_routers[] = { 0x33, 0x33, 0, 0, 0, 2 };
static const uint8_t all_nodes[] = { 0x33, 0x33, 0, 0, 0, 1 };

Frame *nd_router_solicit(const uint8_t *src, const char *sip)
{
    return frame_nd(all_routers, src, sip, "ff02::2", ND_ROUTER_SOLICIT,
                    NULL, 1, src);
}

Frame *nd_router_advert(const uint8_t *src, const char *sip)
{
    return frame_nd(all_nodes, src, sip, "ff02::1", ND_ROUTER_ADVERT, NULL,
                    1, src);
}

Frame *nd_redirect(const uint8_t *dst, const uint8_t *src, const char *sip,
                   const char *dip, const uint8_t *lla)
{
    return frame_nd(dst, src, sip, dip, ND_REDIRECT, sip, 2, lla);
}

/* BOOTP with room for the options; returns where they begin. */
static uint8_t *bootp(Frame *f, uint8_t op, const uint8_t *chaddr,
                      uint32_t xid)
{
    uint8_t *b = f->data + frame_offsets(f).l4 + 8;

    memset(b, 0, f->len - (b - f->data));
    b[0] = op;
    b[1] = 1;
    b[2] = ETHER_ADDR_LEN;
    put32(b + 4, xid);
    memcpy(b + 28, chaddr, ETHER_ADDR_LEN);
    put32(b + 236, 0x63825363);
    return b + 240;
}

Frame *dhcp_request(const uint8_t *src, uint32_t xid)
{
    Frame *f = frame_udp(mac_broadcast, src, "0.0.0.0", "255.255.255.255",
                         68, 67, 300);
    uint8_t *o = bootp(f, 1, src, xid);

    memcpy(o, (const uint8_t[]) { 53, 1, 3, 255 }, 4);
    return frame_checksum(f);
}

Frame *dhcp_reply(const uint8_t *dst, const uint8_t *src, uint8_t type,
                  const char *yiaddr, const uint8_t *chaddr, uint32_t xid,
                  uint32_t lease)
{
    const char *dip = mac_is_group(dst) ? "255.255.255.255" : yiaddr;
    Frame *f = frame_udp(dst, src, "10.0.0.254", dip, 67, 68, 300);
    uint8_t *o = bootp(f, 2, chaddr, xid);
    IpAddr y = ip(yiaddr);

    memcpy(o - 240 + 16, y.b, 4);
    memcpy(o, (const uint8_t[]) { 53, 1, type, 51, 4 }, 5);
    put32(o + 5, lease);
    o[9] = 255;
    return frame_checksum(f);
}

/* --- groups --------------------------------------------------------------- */

void mac_of_group(const char *group, uint8_t mac[ETHER_ADDR_LEN])
{
    IpAddr g = ip(group);

    if (g.family == IP_V6) {            /* RFC 2464, section 7 */
        memset(mac, 0x33, 2);
        memcpy(mac + 2, g.b + 12, 4);
    } else {                            /* RFC 1112, section 6.4 */
        memcpy(mac, (const uint8_t[]) { 1, 0, 0x5e }, 3);
        memcpy(mac + 3, g.b + 1, 3);
        mac[3] &= 0x7f;
    }
}

Frame *udp_group(const uint8_t *src, const char *sip, const char *group)
{
    uint8_t mac[ETHER_ADDR_LEN];

    mac_of_group(group, mac);
    return udp(mac, src, sip, group);
}

/*
 * An IP header as IGMP and MLD have it, hop limit 1 and Router Alert, and
 * @len bytes of zero behind that.  Returns where they begin.
 */
static uint8_t *group_message(Frame **f, const uint8_t *src, const char *sip,
                              const char *dip, unsigned len)
{
    bool v6 = strchr(dip, ':');
    uint8_t mac[ETHER_ADDR_LEN];
    uint8_t *b;

    mac_of_group(dip, mac);
    *f = frame_ip(mac, src, sip, dip, v6 ? 58 : 2, len);
    if (v6) {
        frame_ext(*f, 0, 8);
        (*f)->data[14 + 7] = 1;
        memcpy((*f)->data + 14 + 42, (const uint8_t[]) { 5, 2, 0, 0, 1 }, 5);
    } else {
        frame_options(*f, 4);
        (*f)->data[14 + 8] = 1;
        memcpy((*f)->data + 14 + 20, (const uint8_t[]) { 148, 4, 0, 0 }, 4);
    }
    b = (*f)->data + frame_offsets(*f).l4;
    memset(b, 0, len);
    return b;
}

static unsigned put_addr(uint8_t *b, const char *addr)
{
    IpAddr a = ip(addr);

    memcpy(b, a.b, ip_bits(a.family) / 8);
    return ip_bits(a.family) / 8;
}

Frame *igmp(const uint8_t *src, const char *sip, const char *dip,
            uint8_t type, uint8_t max, const char *group)
{
    Frame *f;
    uint8_t *b = group_message(&f, src, sip, dip, 8);

    b[0] = type;
    b[1] = max;
    put_addr(b + 4, group);
    return frame_checksum(f);
}

Frame *mld(const uint8_t *src, const char *sip, const char *dip,
           uint8_t type, uint16_t max, const char *group)
{
    Frame *f;
    uint8_t *b = group_message(&f, src, sip, dip, 24);

    b[0] = type;
    put16(b + 4, max);
    put_addr(b + 8, group);
    return frame_checksum(f);
}

Frame *group_query(const uint8_t *src, const char *sip, const char *group)
{
    bool v6 = strchr(sip, ':');

    if (v6) {
        return mld(src, sip, group ?: "ff02::1", 130, 10000, group ?: "::");
    }
    return igmp(src, sip, group ?: "224.0.0.1", 0x11, 100,
                group ?: "0.0.0.0");
}

Frame *group_query_long(const uint8_t *src, const char *sip, uint8_t qrv,
                        uint8_t qqic)
{
    bool v6 = strchr(sip, ':');
    unsigned fixed = v6 ? 24 : 8;
    Frame *f;
    uint8_t *b = group_message(&f, src, sip, v6 ? "ff02::1" : "224.0.0.1",
                               fixed + 4);

    b[0] = v6 ? 130 : 0x11;
    if (v6) {
        put16(b + 4, 10000);
    } else {
        b[1] = 100;
    }
    b[fixed] = qrv;
    b[fixed + 1] = qqic;
    return frame_checksum(f);
}

Frame *group_join(const uint8_t *src, const char *sip, const char *group)
{
    return strchr(group, ':') ? mld(src, sip, group, 131, 0, group)
                              : igmp(src, sip, group, 0x16, 0, group);
}

Frame *group_leave(const uint8_t *src, const char *sip, const char *group)
{
    return strchr(group, ':') ? mld(src, sip, "ff02::2", 132, 0, group)
                              : igmp(src, sip, "224.0.0.2", 0x17, 0, group);
}

Frame *group_report(const uint8_t *src, const char *sip,
                    const GroupRecord *r, unsigned n)
{
    bool v6 = strchr(sip, ':');
    unsigned size = v6 ? 16 : 4, len = 8;
    Frame *f;
    uint8_t *b;

    for (unsigned i = 0; i < n; i++) {
        len += 4 + size * (1 + r[i].sources) + 4 * r[i].aux;
    }
    b = group_message(&f, src, sip, v6 ? "ff02::16" : "224.0.0.22", len);
    b[0] = v6 ? 143 : 0x22;
    put16(b + 6, n);
    b += 8;
    for (unsigned i = 0; i < n; i++) {
        b[0] = r[i].type;
        b[1] = r[i].aux;
        put16(b + 2, r[i].sources);
        b += 4;
        b += put_addr(b, r[i].group);
        b += size * r[i].sources + 4 * r[i].aux;
    }
    return frame_checksum(f);
}
