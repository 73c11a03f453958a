/*
 * Guards: what a slave's guest may say that it is
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_GUARD_H
#define LIBVLINK_IPVLAN_GUARD_H

#include "ipvlan.h"

typedef struct IpvlanSlave IpvlanSlave;

#define GUARD_EVENT_NS NS_PER_S     /* between two of one slave and reason */

/* Of a slave; guard.c's own. */
typedef struct GuardSlave {
    bool has_mac;
} GuardSlave;

/*
 * @p, parsed, comes from the guest of @slave, whose guard is not off.  Checks
 * all but whether it owns the addresses that it uses.
 */
DropReason guard_frame(IpvlanSlave *slave, const Packet *p);

/*
 * Nobody owns @addr, and it is not learned: may @slave use it all the same?
 * True for the link-local address that RFC 4291 forms from its MAC.
 */
bool guard_allows(const IpvlanSlave *slave, const IpAddr *addr);

/*
 * @p of @slave is refused for @why: tell whoever listens, at most once in
 * GUARD_EVENT_NS for each reason.  @addr: that it must not use, or NULL.
 */
void guard_report(IpvlanSlave *slave, const Packet *p, DropReason why,
                  const IpAddr *addr);

#endif
