/*
 * l3 and l3s: the port is the guests' router
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_ROUTE_H
#define LIBVLINK_IPVLAN_ROUTE_H

#include "ipvlan.h"

typedef struct IpvlanPort IpvlanPort;
typedef struct IpvlanSlave IpvlanSlave;

/* send.c: @p, parsed, comes from the guest of @slave, who may send it. */
LinkTx route_send(IpvlanSlave *slave, Packet *p);

/* receive.c: @p, parsed, has come in from the uplink. */
RxHandlerResult route_receive(IpvlanPort *port, Packet *p);

#endif
