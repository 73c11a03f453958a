/*
 * Frames that we make ourselves
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <netinet/in.h>

#include "bytes.h"
#include "craft.h"
#include "offload.h"

uint8_t *craft_put(Craft *c, unsigned n)
{
    uint8_t *at = c->data + c->len;

    g_assert(n <= craft_room(c));
    memset(at, 0, n);
    c->len += n;
    return at;
}

void craft_eth(Craft *c, const uint8_t *dst, const uint8_t *src,
               uint16_t ethertype)
{
    uint8_t *eth;

    c->len = 0;
    c->ip_proto = 0;
    c->family = IP_NONE;
    eth = craft_put(c, PACKET_HEAD_LEN);
    memcpy(eth, dst, ETHER_ADDR_LEN);
    memcpy(eth + ETHER_ADDR_LEN, src, ETHER_ADDR_LEN);
    put16(eth + 2 * ETHER_ADDR_LEN, ethertype);
}

void craft_arp(Craft *c, const uint8_t *dst, uint16_t op, const uint8_t *sha,
               const IpAddr *spa, const uint8_t *tha, const IpAddr *tpa)
{
    uint8_t *arp;

    craft_eth(c, dst, sha, ETH_ARP);
    arp = craft_put(c, ARP_LEN);
    put16(arp, 1);                      /* Ethernet */
    put16(arp + 2, ETH_IPV4);
    arp[4] = ETHER_ADDR_LEN;
    arp[5] = 4;
    put16(arp + ARP_OP, op);
    memcpy(arp + ARP_SHA, sha, ETHER_ADDR_LEN);
    memcpy(arp + ARP_SPA, spa->b, 4);
    if (tha) {
        memcpy(arp + ARP_THA, tha, ETHER_ADDR_LEN);
    }
    memcpy(arp + ARP_TPA, tpa->b, 4);
}

static void craft_ipv4(Craft *c, const IpAddr *src, const IpAddr *dst,
                       uint8_t ttl)
{
    uint8_t *ip = craft_put(c, 20);

    ip[0] = 0x45;
    ip[6] = 0x40;                       /* DF; so RFC 6864 wants no ID */
    ip[8] = ttl;
    ip[9] = c->ip_proto;
    memcpy(ip + 12, src->b, 4);
    memcpy(ip + 16, dst->b, 4);
}

static void craft_ipv6(Craft *c, const IpAddr *src, const IpAddr *dst,
                       uint8_t ttl)
{
    uint8_t *ip = craft_put(c, 40);

    ip[0] = 0x60;
    ip[6] = c->ip_proto;
    ip[7] = ttl;
    memcpy(ip + 8, src->b, 16);
    memcpy(ip + 24, dst->b, 16);
}

void craft_ip(Craft *c, const uint8_t *dst_mac, const uint8_t *src_mac,
              const IpAddr *src, const IpAddr *dst, uint8_t proto,
              uint8_t ttl)
{
    bool v4 = dst->family == IP_V4;

    craft_eth(c, dst_mac, src_mac, v4 ? ETH_IPV4 : ETH_IPV6);
    c->family = dst->family;
    c->ip_proto = proto;
    (v4 ? craft_ipv4 : craft_ipv6)(c, src, dst, ttl);
    c->l4 = c->len;
}

void craft_nd_mac(Craft *c, uint8_t option, const uint8_t *mac)
{
    uint8_t *at = craft_put(c, ND_OPT_LEN);

    at[0] = option;
    at[1] = ND_OPT_LEN / 8;
    memcpy(at + 2, mac, ETHER_ADDR_LEN);
}

const uint8_t craft_all_nodes_mac[] = { 0x33, 0x33, 0, 0, 0, 1 };
const IpAddr craft_all_nodes = {
    .b = { 0xff, 2, [15] = 1 }, .family = IP_V6,
};

void craft_advert(Craft *c, const uint8_t *dst_mac, const uint8_t *mac,
                  const IpAddr *dst, const IpAddr *target, uint8_t flags)
{
    uint8_t *na;

    craft_ip(c, dst_mac, mac, target, dst, IPPROTO_ICMPV6, ND_HOP_LIMIT);
    na = craft_put(c, ND_LEN_NEIGHBOUR);
    na[0] = ND_NEIGHBOUR_ADVERT;
    na[ND_FLAGS] = flags;
    memcpy(na + ND_TARGET, target->b, 16);
    craft_nd_mac(c, ND_OPT_TARGET, mac);
    craft_finish(c);
}

void craft_announce(Craft *c, const uint8_t *mac, const IpAddr *addr,
                    bool router)
{
    static const uint8_t everybody[] = { 255, 255, 255, 255, 255, 255 };

    if (addr->family == IP_V4) {
        craft_arp(c, everybody, ARP_REQUEST, mac, addr, NULL, addr);
    } else {
        craft_advert(c, craft_all_nodes_mac, mac, &craft_all_nodes, addr,
                     NA_OVERRIDE | (router ? NA_ROUTER : 0));
    }
}

void craft_solicit(Craft *c, const uint8_t *dst_mac, const uint8_t *mac,
                   const IpAddr *src, const IpAddr *dst, const IpAddr *target)
{
    uint8_t *ns;

    craft_ip(c, dst_mac, mac, src, dst, IPPROTO_ICMPV6, ND_HOP_LIMIT);
    ns = craft_put(c, ND_LEN_NEIGHBOUR);
    ns[0] = ND_NEIGHBOUR_SOLICIT;
    memcpy(ns + ND_TARGET, target->b, 16);
    craft_nd_mac(c, ND_OPT_SOURCE, mac);
    craft_finish(c);
}

/* RFC 1071's sum over the pseudo header, which ICMP has none of. */
static uint64_t pseudo_sum(const Craft *c)
{
    uint64_t sum = c->len - c->l4 + c->ip_proto;

    if (c->ip_proto == IPPROTO_ICMP) {
        return 0;
    }
    sum = GUINT16_TO_BE(sum);
    return c->family == IP_V4 ?
        csum_add(sum, c->data + PACKET_HEAD_LEN + 12, 8) :
        csum_add(sum, c->data + PACKET_HEAD_LEN + 8, 32);
}

void craft_finish(Craft *c)
{
    uint8_t *ip = c->data + PACKET_HEAD_LEN;
    uint8_t *l4 = c->data + c->l4;
    uint16_t sum = csum_finish(csum_add(pseudo_sum(c), l4, c->len - c->l4));

    memcpy(l4 + (c->ip_proto == IPPROTO_TCP ? 16 : 2), &sum, sizeof(sum));
    if (c->family == IP_V6) {
        put16(ip + 4, c->len - c->l4);
        return;
    }
    put16(ip + 2, c->len - PACKET_HEAD_LEN);
    sum = csum_finish(csum_add(0, ip, 20));
    memcpy(ip + 10, &sum, sizeof(sum));
}

void craft_packet(const Craft *c, struct iovec *iov, Packet *p)
{
    DropReason why;

    *iov = (struct iovec) {
        .iov_base = (void *)c->data, .iov_len = c->len,
    };
    packet_init(p, iov, 1);
    why = packet_parse(p);
    g_assert(!why);
}
