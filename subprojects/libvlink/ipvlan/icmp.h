/*
 * What a router tells a sender: ICMP, ICMPv6 and TCP resets
 *
 * RFC 792, RFC 1812 (4.3.2), RFC 4443 (2.4).  No answer is given to another
 * error, to what is for many, to a fragment that is not the first, or to a
 * sender who cannot be answered; and each slave's are limited in rate.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_ICMP_H
#define LIBVLINK_IPVLAN_ICMP_H

#include "ipvlan.h"

typedef struct IpvlanPort IpvlanPort;
typedef struct IpvlanSlave IpvlanSlave;

#define ICMP_ERRORS_PER_S 100       /* to or on behalf of one slave */
#define ICMP_ERRORS_BURST 50

/* Of a slave; icmp.c's own. */
typedef struct IcmpLimit {
    int64_t when;               /* the next one would be at regular intervals */
} IcmpLimit;

/* As whom the port talks to its guests: fe80::1, the guests' router. */
extern const IpAddr ipvlan_router_ll;

typedef enum IcmpError {
    ICMP_HOST_UNREACHABLE,      /* the next hop does not answer */
    ICMP_PROHIBITED,            /* by a rule; TCP gets a reset instead */
    ICMP_TOO_BIG,               /* for the mtu that is given */
} IcmpError;

/*
 * Tell the guest of @slave, which has sent @p, that it does not go on.  The
 * error comes from the port, a reset from whom @p was for.  @mtu in bytes, of
 * ICMP_TOO_BIG.
 */
void icmp_error_to_guest(IpvlanSlave *slave, const Packet *p, IcmpError error,
                         uint32_t mtu);

/*
 * Tell the sender of @p, which came in from the uplink for @slave, to the MAC
 * address that it came from; as coming from the address that @p was for.
 */
void icmp_error_to_uplink(IpvlanSlave *slave, const Packet *p,
                          IcmpError error);

#endif
