/*
 * Frames that we make ourselves: address resolution, ICMP, resets
 *
 * From the outside in: craft_eth(), then a network header, then what follows
 * with craft_put(), then craft_finish() for lengths and checksums.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_CRAFT_H
#define LIBVLINK_CRAFT_H

#include "packet.h"

/* RFC 4443, section 2.4 (c): an error is at most as long as this. */
#define CRAFT_MAX (PACKET_HEAD_LEN + 1280)

typedef struct Craft {
    uint32_t len;
    uint8_t ip_proto;           /* 0: not IP */
    uint8_t family;             /* IpFamily */
    uint16_t l4;                /* offset of what is behind the IP header */
    uint8_t data[CRAFT_MAX];
} Craft;

/* Begin a frame.  MACs have ETHER_ADDR_LEN bytes. */
void craft_eth(Craft *c, const uint8_t *dst, const uint8_t *src,
               uint16_t ethertype);

/* A whole ARP frame (RFC 826); @tha NULL: zeros.  Needs no craft_finish(). */
void craft_arp(Craft *c, const uint8_t *dst, uint16_t op, const uint8_t *sha,
               const IpAddr *spa, const uint8_t *tha, const IpAddr *tpa);

/*
 * Begin a frame with an IPv4 or IPv6 header, as the addresses say.  IPv4 gets
 * Don't Fragment.
 */
void craft_ip(Craft *c, const uint8_t *dst_mac, const uint8_t *src_mac,
              const IpAddr *src, const IpAddr *dst, uint8_t proto,
              uint8_t ttl);

/* @n bytes more, all zero; they are to be written before the next call. */
uint8_t *craft_put(Craft *c, unsigned n);

/* How many bytes fit behind what is there. */
static inline unsigned craft_room(const Craft *c)
{
    return CRAFT_MAX - c->len;
}

/* One option of neighbour discovery, ND_OPT_SOURCE or ND_OPT_TARGET. */
void craft_nd_mac(Craft *c, uint8_t option, const uint8_t *mac);

/* ff02::1, and the MAC address of that group. */
extern const uint8_t craft_all_nodes_mac[];
extern const IpAddr craft_all_nodes;

/*
 * A whole neighbour advertisement (RFC 4861, 4.4) that @target is at @mac, to
 * @dst at @dst_mac.  @flags: NA_ROUTER and so on.  Needs no craft_finish().
 */
void craft_advert(Craft *c, const uint8_t *dst_mac, const uint8_t *mac,
                  const IpAddr *dst, const IpAddr *target, uint8_t flags);

/*
 * A whole announcement to everybody that @addr is at @mac: gratuitous ARP (RFC
 * 5227, section 3), or an unsolicited advertisement (RFC 4861, 7.2.6) of a
 * @router.  Needs no craft_finish().
 */
void craft_announce(Craft *c, const uint8_t *mac, const IpAddr *addr,
                    bool router);

/*
 * A whole neighbour solicitation (RFC 4861, 4.3) of who is at @mac, to @dst at
 * @dst_mac.  Needs no craft_finish().
 */
void craft_solicit(Craft *c, const uint8_t *dst_mac, const uint8_t *mac,
                   const IpAddr *src, const IpAddr *dst, const IpAddr *target);

/*
 * Fill in the lengths, IPv4's header checksum, and the checksum of ICMP,
 * ICMPv6 or TCP, whose field has to be zero.
 */
void craft_finish(Craft *c);

/*
 * Make @p a view of @c, parsed, with @iov, which the caller provides.  Both
 * have to stay as long as @p is used.
 */
void craft_packet(const Craft *c, struct iovec *iov, Packet *p);

#endif
