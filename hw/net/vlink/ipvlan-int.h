/*
 * Inside of -netdev ipvlan: what its options may be, and its ports' rules
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_NET_VLINK_IPVLAN_INT_H
#define HW_NET_VLINK_IPVLAN_INT_H

#include "hw/net/vlink/endpoint.h"
#include "libvlink/ipvlan/ipvlan.h"
#include "qapi/qapi-types-net.h"

/* --- ipvlan-parse.c: false, and @errp names option and value ------------- */

bool ipvlan_parse_prefix(const char *option, const char *text,
                         IpPrefix *prefix, Error **errp);
/* Into an array of IpAddr. */
bool ipvlan_parse_gateways(strList *list, GArray *gateways, Error **errp);

bool ipvlan_check_range(const char *option, uint64_t value, uint64_t min,
                        uint64_t max, Error **errp);
bool ipvlan_check_weight(uint64_t weight, Error **errp);
bool ipvlan_check_rx_queue(uint64_t packets, Error **errp);
bool ipvlan_check_mtu(uint64_t mtu, Error **errp);
bool ipvlan_check_rate(const char *option, uint64_t bps, Error **errp);
/* @limited: there is a rate that may be exceeded. */
bool ipvlan_check_burst(uint64_t burst, bool limited, Error **errp);

/* --- ipvlan-rule.c: rules are objects, and outlive ports ------------------ */

/*
 * May @master, where it has no port yet, get one in @mode?  NULL: the default.
 * Rules that wait for it and would have no effect forbid it.
 */
bool ipvlan_rules_permit(const char *master, const IpvlanMode *mode,
                         Error **errp);

/* May the port of @lower be in @mode?  Rules forbid all but l3s. */
bool ipvlan_rules_permit_change(const Link *lower, IpvlanMode mode,
                                Error **errp);

/* Put the rules that wait for it on the port of @lower, before any frame. */
bool ipvlan_rules_attach(Link *lower, Error **errp);

/* The rules on the port of @lower, in the order in which they are asked. */
IpvlanRuleStatusList *ipvlan_rules_query(const Link *lower);

#endif
