/*
 * IPv4 and IPv6 addresses and prefixes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>
#include <stdio.h>

#include "ipaddr.h"
#include "link.h"

bool ip_is_ownable(const IpAddr *a)
{
    static const IpAddr loopback6 = { .b[15] = 1, .family = IP_V6 };

    switch (a->family) {
    case IP_V4:
        return a->b[0] != 0 && a->b[0] != 127 &&
               (a->b[0] & 0xf0) != 0xe0 && a->w[0] != 0xffffffff;
    case IP_V6:
        return a->b[0] != 0xff && !ip_is_unspecified(a) &&
               !ip_equal(a, &loopback6);
    default:
        return false;
    }
}

IpAddr ip_link_local_from_mac(const uint8_t mac[ETHER_ADDR_LEN])
{
    IpAddr a = {
        .b = { 0xfe, 0x80, [8] = mac[0] ^ 2, mac[1], mac[2], 0xff,
               0xfe, mac[3], mac[4], mac[5] },
        .family = IP_V6,
    };

    return a;
}

IpAddr ip_mask(const IpAddr *a, uint8_t len)
{
    IpAddr masked = { .family = a->family };
    unsigned bytes = len / 8;

    memcpy(masked.b, a->b, bytes);
    if (len % 8) {
        masked.b[bytes] = a->b[bytes] & (0xff00 >> (len % 8));
    }
    return masked;
}

bool ip_parse(const char *text, IpAddr *a)
{
    *a = (IpAddr) { .family = strchr(text, ':') ? IP_V6 : IP_V4 };
    return inet_pton(a->family == IP_V6 ? AF_INET6 : AF_INET, text, a->b) == 1;
}

bool ip_prefix_parse(const char *text, IpPrefix *prefix, GError **err)
{
    g_auto(GStrv) part = g_strsplit(text, "/", 2);
    guint64 len;
    IpAddr masked;

    if (!part[0] || !ip_parse(part[0], &prefix->addr)) {
        g_set_error(err, LINK_ERROR, EINVAL,
                    "it is not an IPv4 or IPv6 address or prefix");
        return false;
    }
    len = ip_bits(prefix->addr.family);
    if (part[1] && !g_ascii_string_to_unsigned(part[1], 10, 1, len, &len,
                                               NULL)) {
        g_set_error(err, LINK_ERROR, EINVAL,
                    "its prefix length is not between 1 and %u",
                    ip_bits(prefix->addr.family));
        return false;
    }
    prefix->len = len;
    masked = ip_mask(&prefix->addr, prefix->len);
    if (!ip_equal(&masked, &prefix->addr)) {
        g_set_error(err, LINK_ERROR, EINVAL,
                    "it has bits set behind its prefix length");
        return false;
    }
    if (!ip_is_ownable(&prefix->addr)) {
        g_set_error(err, LINK_ERROR, EINVAL,
                    "it is not a unicast address that a guest can own");
        return false;
    }
    return true;
}

char *ip_format(const IpAddr *a, char out[IP_STR_MAX])
{
    if (a->family == IP_NONE) {
        g_strlcpy(out, "none", IP_STR_MAX);
    } else {
        inet_ntop(a->family == IP_V6 ? AF_INET6 : AF_INET, a->b, out,
                  IP_STR_MAX);
    }
    return out;
}

char *ip_prefix_format(const IpPrefix *p, char out[IP_STR_MAX])
{
    ip_format(&p->addr, out);
    if (p->len != ip_bits(p->addr.family)) {
        size_t n = strlen(out);

        snprintf(out + n, IP_STR_MAX - n, "/%u", p->len);
    }
    return out;
}

char *mac_format(const uint8_t mac[ETHER_ADDR_LEN], char out[MAC_STR_MAX])
{
    snprintf(out, MAC_STR_MAX, "%02x:%02x:%02x:%02x:%02x:%02x",
             mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    return out;
}
