/*
 * Numbers of protocols: Ethertypes, ARP, extension headers, IGMP, MLD,
 * neighbour discovery
 *
 * Those that more than one file needs and <netinet/in.h> does not have.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_PROTO_H
#define LIBVLINK_PROTO_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    ETH_IPV4 = 0x0800,
    ETH_ARP = 0x0806,
    ETH_RARP = 0x8035,
    ETH_8021Q = 0x8100,
    ETH_IPV6 = 0x86dd,
    ETH_8021AD = 0x88a8,
};

/* RFC 826 and RFC 903: operations; offsets in the message, addresses last */
enum {
    ARP_REQUEST = 1,
    ARP_REPLY = 2,
    RARP_REQUEST = 3,

    ARP_OP = 6,
    ARP_SHA = 8,                /* sender's: hardware address, protocol's */
    ARP_SPA = 14,
    ARP_THA = 18,               /* target's */
    ARP_TPA = 24,
    ARP_LEN = 28,               /* for Ethernet and IPv4 */
};

/* Of those that may stand before the payload; RFC 7112: they are not many. */
#define IPV6_MAX_EXT_HEADERS 8

static inline bool ipv6_is_ext_header(uint8_t next)
{
    return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING ||
           next == IPPROTO_FRAGMENT || next == IPPROTO_AH ||
           next == IPPROTO_DSTOPTS;
}

/* Bytes of the extension header of type @type whose first two are @b. */
static inline uint32_t ipv6_ext_len(uint8_t type, const uint8_t *b)
{
    return type == IPPROTO_FRAGMENT ? 8 :
           type == IPPROTO_AH ? (b[1] + 2) * 4 : (b[1] + 1) * 8;
}

/* Types of IGMP (RFC 3376, section 4) and of MLD in ICMPv6 (RFC 3810, 5) */
enum {
    IGMP_QUERY = 0x11,
    IGMP_V1_REPORT = 0x12,
    IGMP_V2_REPORT = 0x16,
    IGMP_LEAVE = 0x17,
    IGMP_V3_REPORT = 0x22,

    MLD_QUERY = 130,
    MLD_V1_REPORT = 131,
    MLD_DONE = 132,
    MLD_V2_REPORT = 143,
};

/* RFC 4861, section 4 */
enum {
    ND_HOP_LIMIT = 255,         /* nobody has routed it */
    ND_FLAGS = 4,               /* offsets in solicitation and advertisement */
    ND_TARGET = 8,

    ND_OPT_SOURCE = 1,          /* link-layer addresses */
    ND_OPT_TARGET = 2,
    ND_OPT_MTU = 5,
    ND_OPT_LEN = 8,             /* of each of these */

    ND_LEN_ROUTER_SOLICIT = 8,  /* without options */
    ND_LEN_ROUTER_ADVERT = 16,
    ND_LEN_NEIGHBOUR = 24,      /* solicitation and advertisement */
    ND_LEN_REDIRECT = 40,
};

/* Of neighbour advertisements, section 4.4 */
enum {
    NA_ROUTER = 0x80,
    NA_SOLICITED = 0x40,
    NA_OVERRIDE = 0x20,
};

#endif
