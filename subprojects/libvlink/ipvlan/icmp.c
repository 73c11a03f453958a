/*
 * What a router tells a sender
 *
 * What is told to a guest comes from the port.  It has no IPv4 address: then
 * it is 192.0.0.8, the dummy that RFC 7600, 4.8, has for it, as in Linux.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <netinet/in.h>

#include "../bytes.h"
#include "../craft.h"
#include "port.h"

enum {
    TTL = 64,
    ICMP_LEN = 8,               /* in front of the quotation, both versions */
    TCP_LEN = 20,
    MAX_V4 = 576,               /* RFC 1812, 4.3.2.3; with the IP header */
    MAX_V6 = 1280,              /* RFC 4443, 2.4 (c) */

    TCP_FIN = 1 << 0,
    TCP_SYN = 1 << 1,
    TCP_RST = 1 << 2,
    TCP_ACK = 1 << 4,

    ICMPV6_INFORMATIONAL = 128, /* and what is less is an error */
};

const IpAddr ipvlan_router_ll = {
    .b = { 0xfe, 0x80, [15] = 1 }, .family = IP_V6,
};

static const IpAddr dummy4 = { .b = { 192, 0, 0, 8 }, .family = IP_V4 };

/* --- to be answered at all? ---------------------------------------------- */

static bool is_icmp_error(const Packet *p)
{
    const PacketLayers *l = &p->layers;
    bool v6 = l->ip_proto == IPPROTO_ICMPV6 && l->src.family == IP_V6;
    uint8_t buf;
    const uint8_t *type;

    if (!v6 && (l->ip_proto != IPPROTO_ICMP || l->src.family == IP_V6)) {
        return false;
    }
    type = l->l4 < l->end ? packet_peek(p, l->l4, 1, &buf) : NULL;
    if (!type) {
        return true;            /* who knows */
    }
    if (v6) {
        return *type < ICMPV6_INFORMATIONAL;
    }
    /* RFC 1122, 3.2.2: unreachable, quench, redirect, time, parameter */
    return *type == 3 || *type == 4 || *type == 5 || *type == 11 ||
           *type == 12;
}

/* RFC 1812, 4.3.2.7, and RFC 4443, 2.4 (e) */
static bool is_answerable(const Packet *p)
{
    const PacketLayers *l = &p->layers;

    switch (l->kind) {
    case PACKET_IPV4:
    case PACKET_IPV6:
    case PACKET_DHCP_REQUEST:
    case PACKET_DHCP_REPLY:
        return l->l4 && !mac_is_group(packet_dst_mac(p)) &&
               ip_is_ownable(&l->src) && ip_is_ownable(&l->dst) &&
               !is_icmp_error(p);
    default:
        return false;
    }
}

/* One every so often, and a burst of them: no clock has to tick for that. */
static bool is_within_limit(IpvlanSlave *slave)
{
    const int64_t interval = NS_PER_S / ICMP_ERRORS_PER_S;
    int64_t now = ipvlan_now(slave->port);
    IcmpLimit *limit = &slave->icmp;

    if (limit->when - now > (ICMP_ERRORS_BURST - 1) * interval) {
        return false;
    }
    limit->when = MAX(limit->when, now) + interval;
    return true;
}

/* --- what is told -------------------------------------------------------- */

/* Who tells it, and to which MAC address. */
typedef struct Teller {
    const uint8_t *dst_mac;
    const uint8_t *src_mac;
    const IpAddr *addr;
} Teller;

/* As much of @p as the answer has room for: of its IP packet. */
static void craft_quote(Craft *c, const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint32_t room = craft_room(c);
    uint32_t len = l->end - l->l3;

    if (c->family == IP_V4) {
        room = PACKET_HEAD_LEN + MAX_V4 - c->len;
    }
    len = MIN(len, room);
    packet_copy_range(p, l->l3, len, craft_put(c, len));
}

static void craft_icmp4(Craft *c, const Packet *p, IcmpError error,
                        uint32_t mtu)
{
    static const uint8_t codes[] = {
        [ICMP_HOST_UNREACHABLE] = 1, [ICMP_PROHIBITED] = 13,
        [ICMP_TOO_BIG] = 4,
    };
    uint8_t *icmp = craft_put(c, ICMP_LEN);

    icmp[0] = 3;                /* destination unreachable */
    icmp[1] = codes[error];
    if (error == ICMP_TOO_BIG) {
        put16(icmp + 6, MIN(mtu, UINT16_MAX));  /* RFC 1191, section 4 */
    }
    craft_quote(c, p);
}

static void craft_icmp6(Craft *c, const Packet *p, IcmpError error,
                        uint32_t mtu)
{
    uint8_t *icmp = craft_put(c, ICMP_LEN);

    if (error == ICMP_TOO_BIG) {
        icmp[0] = 2;            /* packet too big */
        put32(icmp + 4, mtu);
    } else {
        icmp[0] = 1;            /* destination unreachable */
        icmp[1] = error == ICMP_PROHIBITED ? 1 : 3;
    }
    craft_quote(c, p);
}

static void craft_error(Craft *c, const Teller *teller, const Packet *p,
                        IcmpError error, uint32_t mtu)
{
    bool v4 = p->layers.src.family == IP_V4;

    craft_ip(c, teller->dst_mac, teller->src_mac, teller->addr,
             &p->layers.src, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, TTL);
    (v4 ? craft_icmp4 : craft_icmp6)(c, p, error, mtu);
    craft_finish(c);
}

/* How many sequence numbers a segment with the header @tcp takes. */
static uint32_t segment_len(const Packet *p, const uint8_t *tcp)
{
    uint32_t len = p->layers.end - p->layers.l4;
    uint32_t header = (tcp[12] >> 4) * 4;

    return len - MIN(len, header) + !!(tcp[13] & TCP_SYN) +
           !!(tcp[13] & TCP_FIN);
}

/* RFC 9293, 3.10.7.1, as who @p was for.  False: a reset is not answered. */
static bool craft_reset(Craft *c, const Teller *teller, const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint8_t tcp[TCP_LEN], *reset;

    packet_copy_range(p, l->l4, TCP_LEN, tcp);
    if (tcp[13] & TCP_RST) {
        return false;
    }
    craft_ip(c, teller->dst_mac, teller->src_mac, &l->dst, &l->src,
             IPPROTO_TCP, TTL);
    reset = craft_put(c, TCP_LEN);
    put16(reset, l->dst_port);
    put16(reset + 2, l->src_port);
    reset[12] = TCP_LEN / 4 << 4;
    if (tcp[13] & TCP_ACK) {
        memcpy(reset + 4, tcp + 8, 4);
        reset[13] = TCP_RST;
    } else {
        put32(reset + 8, get32(tcp + 4) + segment_len(p, tcp));
        reset[13] = TCP_RST | TCP_ACK;
    }
    craft_finish(c);
    return true;
}

/* False: there is nothing to be said. */
static bool craft_answer(Craft *c, IpvlanSlave *slave, const Teller *teller,
                         const Packet *p, IcmpError error, uint32_t mtu)
{
    if (!is_answerable(p) || !is_within_limit(slave)) {
        return false;
    }
    if (error == ICMP_PROHIBITED && p->layers.ip_proto == IPPROTO_TCP) {
        return craft_reset(c, teller, p);
    }
    craft_error(c, teller, p, error, mtu);
    return true;
}

/* --- to whom ------------------------------------------------------------- */

SLOW_PATH void icmp_error_to_guest(IpvlanSlave *slave, const Packet *p,
                                   IcmpError error, uint32_t mtu)
{
    bool v4 = p->layers.src.family == IP_V4;
    Teller teller = {
        .dst_mac = slave->has_mac ? slave->mac : packet_src_mac(p),
        .src_mac = slave->port->mac,
        .addr = v4 ? &dummy4 : &ipvlan_router_ll,
    };
    UNINITIALIZED Packet answer;
    UNINITIALIZED Craft c;
    struct iovec iov;

    if (craft_answer(&c, slave, &teller, p, error, mtu)) {
        craft_packet(&c, &iov, &answer);
        slave->link->stats.made++;
        link_receive(slave->link, &answer);
    }
}

SLOW_PATH void icmp_error_to_uplink(IpvlanSlave *slave, const Packet *p,
                                    IcmpError error)
{
    Teller teller = {
        .dst_mac = packet_src_mac(p),
        .src_mac = slave->port->mac,
        .addr = &p->layers.dst,
    };
    UNINITIALIZED Packet answer;
    UNINITIALIZED Craft c;
    struct iovec iov;

    if (craft_answer(&c, slave, &teller, p, error, 0)) {
        craft_packet(&c, &iov, &answer);
        link_xmit_made(slave->port->lower, &answer);    /* or it is lost */
    }
}
