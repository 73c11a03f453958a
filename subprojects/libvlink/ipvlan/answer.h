/*
 * What the port answers as a router: ARP, neighbour discovery, and router
 * solicitations, in l3 and l3s
 *
 * To a guest the port is every other host (RFC 1027, RFC 4389); to the uplink
 * it is every guest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_ANSWER_H
#define LIBVLINK_IPVLAN_ANSWER_H

#include "ipvlan.h"

typedef struct IpvlanPort IpvlanPort;
typedef struct IpvlanSlave IpvlanSlave;

/* RFC 4861, 6.2.1: between two advertisements, and how long one is good. */
#define RA_INTERVAL     (600 * NS_PER_S)
#define RA_LIFETIME     1800        /* seconds */
#define RA_HOP_LIMIT    64

#define ANSWERS_MAX     64          /* that wait for a busy uplink */

/* @p, PACKET_ARP or PACKET_ND, comes from @slave's guest. */
LinkTx answer_guest(IpvlanSlave *slave, const Packet *p);

/* @p, PACKET_ARP or PACKET_ND, has come in from the uplink. */
void answer_uplink(IpvlanPort *port, const Packet *p);

/* The uplink, which was busy, can send again. */
void answer_wake(IpvlanPort *port);
/* What waits for the uplink goes nowhere. */
void answer_drop(IpvlanPort *port, DropReason why);
/* The port goes. */
void answer_destroy(IpvlanPort *port);

/* Ask @slave's guest, whose MAC address is not known, for that of @addr. */
void answer_ask_guest(IpvlanSlave *slave, const IpAddr *addr);

/*
 * For the port's ra_work, too: advertise the router to all guests, and again,
 * as long as it is to.
 */
void answer_advertise(void *port);
/* Tell all guests that @addr, which the port has stood for, is at @mac. */
void answer_introduce(IpvlanPort *port, const IpAddr *addr,
                      const uint8_t *mac, bool router);
/* RFC 4861, 6.2.5: guests are told that there will be no router any more. */
void answer_retire(IpvlanPort *port);

#endif
