/*
 * What is wrong with a configuration
 *
 * False and @err: one sentence that names option and value.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_CHECK_H
#define LIBVLINK_IPVLAN_CHECK_H

#include "ipvlan.h"

typedef struct IpvlanPort IpvlanPort;

/* @config of a slave that is to be @link, whatever the port is. */
bool check_values(const Link *link, const IpvlanConfig *config, GError **err);

/* A new slave may repeat what its port is, and nothing else. */
bool check_port(const IpvlanPort *port, const IpvlanConfig *config,
                GError **err);

/* Is @prefix nobody's?  @option is what the user calls it. */
bool check_owner(const IpvlanPort *port, const char *option,
                 const IpPrefix *prefix, GError **err);
/* Has the port room for @n more, of which @prefixes is the first? */
bool check_room(const IpvlanPort *port, const char *option,
                const IpPrefix *prefixes, unsigned n, GError **err);
/* Both of a new slave's addresses, none of which is given twice. */
bool check_addrs(const IpvlanPort *port, const IpvlanConfig *config,
                 GError **err);

/*
 * May @port become what @config says, with the slaves and the rules that it
 * has?  Of @config only the port's part is looked at.
 */
bool check_change(const IpvlanPort *port, const IpvlanConfig *config,
                  GError **err);

#endif
