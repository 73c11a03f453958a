/*
 * One bounded pass over a frame's headers
 *
 * Whatever lies about its own length is refused here, so that nothing behind
 * has to ask again: offsets in PacketLayers are inside the frame.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <netinet/in.h>

#include "bytes.h"
#include "offload.h"
#include "platform.h"

enum {
    BOOTP_LEN = 236,            /* before the options */
    DHCP_COOKIE = 0x63825363,

    MAX_TAGS = 2,
    MAX_DHCP_OPTIONS = 64,
};

/* Ethernet and tags: sets ethertype and l3. */
static DropReason parse_ethernet(Packet *p)
{
    PacketLayers *l = &p->layers;
    uint32_t off = PACKET_HEAD_LEN - 2;
    uint8_t buf[2];
    const uint8_t *b;

    for (int tags = 0; ; tags++) {
        b = packet_peek(p, off, 2, buf);
        if (!b) {
            return DROP_TRUNCATED;
        }
        l->ethertype = get16(b);
        if (tags == MAX_TAGS ||
            (l->ethertype != ETH_8021Q && l->ethertype != ETH_8021AD)) {
            break;
        }
        off += 4;
    }
    l->l3 = off + 2;
    l->end = p->len;
    return DROP_NONE;
}

static SLOW_PATH DropReason parse_arp(Packet *p)
{
    PacketLayers *l = &p->layers;
    uint8_t buf[ARP_LEN];
    const uint8_t *b = packet_peek(p, l->l3, ARP_LEN, buf);

    if (!b) {
        return DROP_TRUNCATED;
    }
    if (get16(b) != 1 || get16(b + 2) != ETH_IPV4 || b[4] != 6 || b[5] != 4) {
        return DROP_BAD_HEADER;
    }
    l->arp_op = get16(b + ARP_OP);
    if (l->ethertype == ETH_RARP) {
        l->kind = PACKET_RARP;
        return DROP_NONE;
    }
    l->kind = PACKET_ARP;
    l->src = ip_v4(b + ARP_SPA);
    l->dst = ip_v4(b + ARP_TPA);
    return DROP_NONE;
}

/* Options are checked here so that a rewriter can walk them blindly. */
static DropReason check_nd_options(const Packet *p, uint32_t off)
{
    const PacketLayers *l = &p->layers;
    uint8_t buf[2];

    while (off < l->end) {
        const uint8_t *b = packet_peek(p, off, 2, buf);

        /* RFC 4861, 4.6: a length of zero is not an option */
        if (!b || !b[1] || off + b[1] * 8 > l->end) {
            return DROP_BAD_HEADER;
        }
        off += b[1] * 8;
    }
    return DROP_NONE;
}

static SLOW_PATH DropReason parse_icmpv6(Packet *p)
{
    PacketLayers *l = &p->layers;
    uint8_t buf[24];
    const uint8_t *b = packet_peek(p, l->l4, 1, buf);
    uint32_t fixed;

    if (l->end - l->l4 < 4 || !b) {
        return DROP_TRUNCATED;
    }
    if (b[0] < ND_ROUTER_SOLICIT || b[0] > ND_REDIRECT) {
        return DROP_NONE;
    }
    if (l->frag_header) {
        return DROP_BAD_FRAGMENT;       /* RFC 6980, section 5 */
    }
    l->kind = PACKET_ND;
    l->nd_type = b[0];
    fixed = nd_fixed_len(l->nd_type);
    if (l->l4 + fixed > l->end) {
        return DROP_TRUNCATED;
    }
    if (l->nd_type == ND_NEIGHBOUR_SOLICIT ||
        l->nd_type == ND_NEIGHBOUR_ADVERT) {
        b = packet_peek(p, l->l4, sizeof(buf), buf);
        l->target = ip_v6(b + ND_TARGET);
        if (l->nd_type == ND_NEIGHBOUR_SOLICIT) {
            l->dst = l->target;
        }
    }
    return check_nd_options(p, l->l4 + fixed);
}

/* What is in @l was written just now, and is not good to be read yet. */
static inline DropReason parse_udp(PacketLayers *l, const uint8_t *b,
                                   uint32_t payload)
{
    uint16_t src_port = get16(b);
    uint16_t dst_port = get16(b + 2);
    uint16_t len = get16(b + 4);

    /* zero: a jumbogram's, or a segmented datagram's that is not cut yet */
    if (!l->fragment && len && (len < 8 || len > payload)) {
        return DROP_BAD_HEADER;
    }
    if (l->kind != PACKET_IPV4 || l->fragment) {
        return DROP_NONE;
    }
    if (dst_port == 67 && src_port == 68) {
        l->kind = PACKET_DHCP_REQUEST;
    } else if (src_port == 67 && dst_port == 68) {
        l->kind = PACKET_DHCP_REPLY;
    }
    return DROP_NONE;
}

/* l4 and ip_proto are set; the first fragment or the whole datagram. */
static DropReason parse_upper(Packet *p)
{
    PacketLayers *l = &p->layers;
    uint32_t payload = l->end - l->l4;
    DropReason cut = l->fragment ? DROP_BAD_FRAGMENT : DROP_TRUNCATED;
    UNINITIALIZED uint8_t buf[20];
    const uint8_t *b;
    uint32_t need;

    switch (l->ip_proto) {
    case IPPROTO_TCP:
        need = 20;
        break;
    case IPPROTO_UDP:
        need = 8;
        break;
    case IPPROTO_ICMPV6:
        return l->src.family == IP_V6 ? parse_icmpv6(p) : DROP_NONE;
    default:
        return DROP_NONE;
    }
    /* A first fragment without ports is RFC 1858's tiny fragment. */
    if (payload < need) {
        return cut;
    }
    b = packet_peek(p, l->l4, need, buf);
    l->src_port = get16(b);
    l->dst_port = get16(b + 2);
    if (l->ip_proto == IPPROTO_UDP) {
        return parse_udp(l, b, payload);
    }
    if ((b[12] >> 4) < 5) {
        return DROP_BAD_HEADER;
    }
    if ((uint32_t)(b[12] >> 4) * 4 > payload) {
        return cut;
    }
    return DROP_NONE;
}

/*
 * @off: of the fragment in its datagram; @size: what it adds behind that to
 * the datagram's length field; in bytes.  RFC 3128: no fragment of TCP may
 * begin inside of the TCP header.
 */
static DropReason check_fragment(const PacketLayers *l, uint32_t off,
                                 uint32_t size)
{
    if (off + size > 65535) {
        return DROP_BAD_FRAGMENT;
    }
    if (off && off < 20 && l->ip_proto == IPPROTO_TCP) {
        return DROP_BAD_FRAGMENT;
    }
    return DROP_NONE;
}

static DropReason parse_ipv4(Packet *p)
{
    PacketLayers *l = &p->layers;
    UNINITIALIZED uint8_t buf[20];
    const uint8_t *b = packet_peek(p, l->l3, sizeof(buf), buf);
    uint32_t ihl, total, frag;
    DropReason why;

    if (!b) {
        return DROP_TRUNCATED;
    }
    ihl = (b[0] & 0xf) * 4;
    total = get16(b + 2);
    if (b[0] >> 4 != 4 || ihl < 20 || total < ihl) {
        return DROP_BAD_HEADER;
    }
    if (l->l3 + total > p->len) {
        return DROP_TRUNCATED;
    }
    l->kind = PACKET_IPV4;
    l->end = l->l3 + total;
    l->ip_proto = b[9];
    l->src = ip_v4(b + 12);
    l->dst = ip_v4(b + 16);
    frag = get16(b + 6) & 0x3fff;       /* more fragments, offset */
    if (frag) {
        l->fragment = true;
        frag = (frag & 0x1fff) * 8;
        why = check_fragment(l, frag, total);
        if (why || frag) {
            return why;
        }
    }
    l->l4 = l->l3 + ihl;
    return parse_upper(p);
}

/* The chain of RFC 8200, section 4, from @next at @off. */
static DropReason parse_ext_headers(Packet *p, uint8_t next, uint32_t off)
{
    PacketLayers *l = &p->layers;
    uint8_t buf[8];
    const uint8_t *b;

    for (int n = 0; ipv6_is_ext_header(next); n++) {
        uint32_t len;

        if (n == IPV6_MAX_EXT_HEADERS) {
            return DROP_BAD_HEADER;     /* RFC 7113: hides what follows */
        }
        b = packet_peek(p, off, sizeof(buf), buf);
        if (!b) {
            return DROP_TRUNCATED;
        }
        len = ipv6_ext_len(next, b);
        if (off + len > l->end) {
            return DROP_TRUNCATED;
        }
        if (next == IPPROTO_FRAGMENT && !l->frag_header) {
            l->frag_header = off;
        }
        if (next == IPPROTO_FRAGMENT && (get16(b + 2) & 0xfff9)) {
            uint32_t frag = get16(b + 2) & 0xfff8;
            DropReason why;

            l->fragment = true;
            l->ip_proto = b[0];
            /* neither fixed nor fragment header count when it is whole */
            why = check_fragment(l, frag, l->end - l->l3 - 40 - len);
            if (why || frag) {
                return why;
            }
        }
        next = b[0];
        off += len;
    }
    l->ip_proto = next;
    l->l4 = off;
    return parse_upper(p);
}

static DropReason parse_ipv6(Packet *p)
{
    PacketLayers *l = &p->layers;
    UNINITIALIZED uint8_t buf[40];
    const uint8_t *b = packet_peek(p, l->l3, sizeof(buf), buf);

    if (!b) {
        return DROP_TRUNCATED;
    }
    if (b[0] >> 4 != 6) {
        return DROP_BAD_HEADER;
    }
    l->end = l->l3 + sizeof(buf) + get16(b + 4);
    if (l->end > p->len) {
        return DROP_TRUNCATED;
    }
    l->kind = PACKET_IPV6;
    l->src = ip_v6(b + 8);
    l->dst = ip_v6(b + 24);
    return parse_ext_headers(p, b[6], l->l3 + sizeof(buf));
}

static DropReason parse_layers(Packet *p)
{
    PacketLayers *l = &p->layers;
    DropReason why;

    packet_layers_reset(l);
    if (p->len > PACKET_MAX_LEN) {
        return DROP_OVERSIZED;
    }
    if (p->len < PACKET_HEAD_LEN) {
        return DROP_TRUNCATED;
    }
    if (G_UNLIKELY(p->head_len < PACKET_HEAD_LEN)) {
        packet_cow_head(p, PACKET_HEAD_LEN);
    }
    why = parse_ethernet(p);
    if (why) {
        return why;
    }
    if (mac_is_group(packet_src_mac(p)) || mac_is_zero(packet_src_mac(p))) {
        return DROP_BAD_SOURCE;
    }
    switch (l->ethertype) {
    case ETH_IPV4:
        return parse_ipv4(p);
    case ETH_IPV6:
        return parse_ipv6(p);
    case ETH_ARP:
    case ETH_RARP:
        return parse_arp(p);
    default:
        return DROP_NONE;
    }
}

DropReason packet_parse(Packet *p)
{
    DropReason why = parse_layers(p);

    return why || !p->has_vnet ? why : offload_check(p);
}

/* --- what the layers tell ------------------------------------------------ */

bool packet_is_urgent(const Packet *p)
{
    switch (p->layers.kind) {
    case PACKET_ARP:
    case PACKET_RARP:
    case PACKET_ND:
    case PACKET_DHCP_REQUEST:
    case PACKET_DHCP_REPLY:
        return true;
    default:
        return false;
    }
}

/*
 * Both directions add up to the same, whichever is the source.  Who wants all
 * of its flows in one queue can have it: nobody else's go there.
 */
uint32_t packet_flow_hash(const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint64_t h;

    if (l->src.family == IP_NONE) {
        return 0;
    }
    h = (l->src.q[0] + l->dst.q[0]) ^ (l->src.q[1] + l->dst.q[1]);
    if (!l->fragment) {
        h += ((uint64_t)l->ip_proto << 17) + l->src_port + l->dst_port;
    }
    /* Fibonacci hashing: the upper half depends on all bits below */
    h *= UINT64_C(0x9e3779b97f4a7c15);
    return h >> 32 ^ h >> 51;
}

/* --- BOOTP --------------------------------------------------------------- */

/* Options of RFC 2132 that matter here; what does not parse ends the walk. */
static void parse_dhcp_options(const Packet *p, uint32_t off, DhcpMessage *m)
{
    uint8_t buf[6];

    for (int n = 0; n < MAX_DHCP_OPTIONS; n++) {
        const uint8_t *b = packet_peek(p, off, 1, buf);

        if (!b || b[0] == 255) {
            return;
        }
        if (b[0] == 0) {
            off++;
            continue;
        }
        b = packet_peek(p, off, 3, buf);
        if (!b || off + 2 + b[1] > p->layers.end) {
            return;
        }
        if (b[0] == 53 && b[1] == 1) {
            m->type = b[2];
        } else if (b[0] == 51 && b[1] == 4) {
            b = packet_peek(p, off, 6, buf);
            m->lease = get32(b + 2);
        }
        off += 2 + b[1];
    }
}

bool packet_parse_dhcp(const Packet *p, DhcpMessage *m)
{
    uint32_t off = p->layers.l4 + 8;
    uint8_t buf[44];
    const uint8_t *b;

    *m = (DhcpMessage) { 0 };
    if (off + BOOTP_LEN > p->layers.end) {
        return false;
    }
    b = packet_peek(p, off, sizeof(buf), buf);
    if (b[1] != 1 || b[2] != ETHER_ADDR_LEN) {
        return false;
    }
    memcpy(&m->xid, b + 4, sizeof(m->xid));
    m->broadcast = b[DHCP_FLAGS_OFFSET] & 0x80;
    m->yiaddr = ip_v4(b + 16);
    m->relayed = get32(b + 24) != 0;
    memcpy(m->chaddr, b + DHCP_CHADDR_OFFSET, ETHER_ADDR_LEN);

    b = packet_peek(p, off + BOOTP_LEN, 4, buf);
    if (b && get32(b) == DHCP_COOKIE) {
        parse_dhcp_options(p, off + BOOTP_LEN + 4, m);
    }
    return true;
}
