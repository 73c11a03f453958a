/*
 * IPv4 and IPv6 addresses and prefixes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPADDR_H
#define LIBVLINK_IPADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <glib.h>

#define ETHER_ADDR_LEN 6

typedef enum IpFamily {
    IP_NONE = 0,
    IP_V4 = 4,
    IP_V6 = 6,
} IpFamily;

/*
 * An address in network byte order.  An IPv4 address fills the first four
 * bytes and the others are zero, so that comparing and hashing need not ask
 * for the family first.
 */
typedef struct IpAddr {
    union {
        uint8_t b[16];
        uint32_t w[4];
        uint64_t q[2];
    };
    uint8_t family;             /* IpFamily */
} IpAddr;

typedef struct IpPrefix {
    IpAddr addr;                /* bits behind @len are zero */
    uint8_t len;                /* in bits */
} IpPrefix;

/* Enough for any address with "/128" and the final NUL. */
#define IP_STR_MAX 52
#define MAC_STR_MAX 18

static inline uint8_t ip_bits(IpFamily family)
{
    return family == IP_V4 ? 32 : 128;
}

/*
 * Built of whole words: who writes an address in small pieces and reads it in
 * larger ones at once waits until it has got to the cache.
 */
static inline IpAddr ip_v4(const void *bytes)
{
    uint32_t w;

    memcpy(&w, bytes, sizeof(w));
    return (IpAddr) {
        .q = { G_BYTE_ORDER == G_BIG_ENDIAN ? (uint64_t)w << 32 : w, 0 },
        .family = IP_V4,
    };
}

static inline IpAddr ip_v6(const void *bytes)
{
    uint64_t q[2];

    memcpy(q, bytes, sizeof(q));
    return (IpAddr) { .q = { q[0], q[1] }, .family = IP_V6 };
}

static inline bool ip_equal(const IpAddr *a, const IpAddr *b)
{
    return a->q[0] == b->q[0] && a->q[1] == b->q[1] && a->family == b->family;
}

static inline bool ip_is_unspecified(const IpAddr *a)
{
    return !(a->q[0] | a->q[1]);
}

/* fe80::/10, RFC 4291 section 2.5.6 */
static inline bool ip_is_link_local6(const IpAddr *a)
{
    return a->family == IP_V6 && a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

/*
 * Can one host own @a?  False for unspecified (0.0.0.0/8, RFC 1122 3.2.1.3),
 * loopback, multicast and limited broadcast addresses.
 */
bool ip_is_ownable(const IpAddr *a);

/* The link-local address that RFC 4291, appendix A, forms from @mac. */
IpAddr ip_link_local_from_mac(const uint8_t mac[ETHER_ADDR_LEN]);

/* @a with the bits behind the first @len set to zero. */
IpAddr ip_mask(const IpAddr *a, uint8_t len);

/* Parse "ADDRESS", whoever it may belong to. */
bool ip_parse(const char *text, IpAddr *a);

/*
 * Parse "ADDRESS" or "ADDRESS/LENGTH".  False, with @err set to what is wrong
 * with "it", where it is neither, has host bits set, or can be owned by nobody.
 */
bool ip_prefix_parse(const char *text, IpPrefix *prefix, GError **err);

/* Write @a, or @a/@len where @len is shorter than the address; returns @out. */
char *ip_format(const IpAddr *a, char out[IP_STR_MAX]);
char *ip_prefix_format(const IpPrefix *p, char out[IP_STR_MAX]);

/* A MAC address as six pairs of lower case hexadecimal digits. */
char *mac_format(const uint8_t mac[ETHER_ADDR_LEN], char out[MAC_STR_MAX]);

static inline bool mac_is_group(const uint8_t *mac)
{
    return mac[0] & 1;
}

static inline bool mac_equal(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, ETHER_ADDR_LEN) == 0;
}

static inline bool mac_is_zero(const uint8_t *mac)
{
    static const uint8_t zero[ETHER_ADDR_LEN];

    return mac_equal(mac, zero);
}

static inline bool mac_is_broadcast(const uint8_t *mac)
{
    return (mac[0] & mac[1] & mac[2] & mac[3] & mac[4] & mac[5]) == 0xff;
}

#endif
