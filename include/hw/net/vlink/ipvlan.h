/*
 * -netdev ipvlan, for net/net.c
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_NET_VLINK_IPVLAN_H
#define HW_NET_VLINK_IPVLAN_H

#include "net/net.h"

int net_init_ipvlan(const Netdev *netdev, const char *name,
                    NetClientState *peer, Error **errp);

#endif
