/*
 * Who wants which multicast group: IGMP and MLD snooping, RFC 4541
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_GROUP_H
#define LIBVLINK_IPVLAN_GROUP_H

#include "ipvlan.h"

typedef struct IpvlanPort IpvlanPort;
typedef struct IpvlanSlave IpvlanSlave;

/* Of a port; group.c's own. */
typedef struct Groups {
    unsigned n;
} Groups;

/* Of a slave; group.c's own. */
typedef struct GroupMember {
    unsigned n;
} GroupMember;

void group_init(IpvlanSlave *slave);
void group_destroy(IpvlanSlave *slave);

/* @p, parsed, comes from @slave, NULL: from the uplink.  Learn from it. */
void group_snoop(IpvlanPort *port, IpvlanSlave *slave, const Packet *p);

/*
 * Is @p, for many, for @slave?  Not asked where the NIC's own filter does not
 * want it.
 */
bool group_wants(const IpvlanSlave *slave, const Packet *p);

#endif
