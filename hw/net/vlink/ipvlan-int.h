/*
 * Inside of -netdev ipvlan: the rules of its ports
 *
 * A rule is an object of its own, and outlives the port that it is for.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_NET_VLINK_IPVLAN_INT_H
#define HW_NET_VLINK_IPVLAN_INT_H

#include "hw/net/vlink/endpoint.h"
#include "libvlink/ipvlan/ipvlan.h"
#include "qapi/qapi-types-net.h"

/*
 * May @master, where it has no port yet, get one in @mode?  NULL: the default.
 * Rules that wait for it and would have no effect forbid it.
 */
bool ipvlan_rules_permit(const char *master, const IpvlanMode *mode,
                         Error **errp);

/* Put the rules that wait for it on the port of @lower, before any frame. */
bool ipvlan_rules_attach(Link *lower, Error **errp);

/* The rules on the port of @lower, in the order in which they are asked. */
IpvlanRuleStatusList *ipvlan_rules_query(const Link *lower);

#endif
