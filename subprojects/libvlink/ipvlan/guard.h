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

/* The reasons that guards have are one behind another. */
#define GUARD_REASONS (DROP_GUARD_REDIRECT - DROP_GUARD_MAC + 1)

/* Of a slave; guard.c's own. */
typedef struct GuardSlave {
    bool has_mac;
    uint8_t mac[ETHER_ADDR_LEN];    /* that its guest's frames carry */
    bool has_own;
    uint8_t own[ETHER_ADDR_LEN];    /* in l2: and will carry in other modes */
    int64_t quiet[GUARD_REASONS];   /* until then */
} GuardSlave;

/*
 * @p, parsed, comes from the guest of @slave, whose guard is not off.  Checks
 * all but whether it owns the addresses that it uses, and reports what it
 * refuses.  The first frame decides which MAC address all of them carry: that
 * of the slave's NIC, or its own where there is none.  What the NIC tells
 * later is not asked for, as a guest may be able to change that.
 */
DropReason guard_frame(IpvlanSlave *slave, const Packet *p);

/*
 * Nobody owns @addr, and it is not learned: may @slave use it all the same?
 * True for the link-local address that RFC 4291 forms from its MAC.
 */
bool guard_allows(const IpvlanSlave *slave, const IpAddr *addr);

/*
 * May @p come from nobody?  As a DHCP request (RFC 2131, 4.1), a report of
 * IGMP (RFC 3376, 4.2.13) or MLD (RFC 3590, section 4).  Not asked of ARP and
 * neighbour discovery.
 */
bool guard_allows_unspecified(const Packet *p);

/*
 * @p of @slave is refused for @why: tell whoever listens, at most once in
 * GUARD_EVENT_NS for each reason.  @addr: that it must not use, or NULL.
 */
void guard_report(IpvlanSlave *slave, const Packet *p, DropReason why,
                  const IpAddr *addr);

/*
 * @slave's guard is @guard from now on.  One that was off begins with whoever
 * is there: whom its guest has been before says nothing.
 */
void guard_set(IpvlanSlave *slave, IpvlanGuard guard);

/*
 * The port is in mode l2 from now on, where all carry its MAC, or is no longer:
 * a guest that has had its own before is to have that one again.
 */
void guard_enter_l2(IpvlanSlave *slave);
void guard_leave_l2(IpvlanSlave *slave);

/* Another guest may be behind @slave from now on. */
void guard_forget(IpvlanSlave *slave);

#endif
