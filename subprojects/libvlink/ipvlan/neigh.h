/*
 * Neighbours on the uplink: which MAC a next hop has, in l3 and l3s
 *
 * A cache with the states and the timers of RFC 4861, section 7.3, for IPv6
 * and for IPv4, where ARP takes the place of solicitations.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_NEIGH_H
#define LIBVLINK_IPVLAN_NEIGH_H

#include "ipvlan.h"

typedef struct IpvlanPort IpvlanPort;
typedef struct IpvlanSlave IpvlanSlave;

/* RFC 4861, section 10 */
#define NEIGH_RETRANS       NS_PER_S
#define NEIGH_REACHABLE_NS  (30 * NS_PER_S)
#define NEIGH_DELAY_NS      (5 * NS_PER_S)
#define NEIGH_TRIES         3

#define NEIGH_STALE_NS      (60 * NS_PER_S)     /* unused; then forgotten */
#define NEIGH_WAITING       64                  /* packets for one of them */
#define NEIGH_WAITING_BYTES (1 << 20)           /* of one slave, for all */
#define NEIGH_UNKNOWN_MAX   128                 /* INCOMPLETE ones of a slave */
#define NEIGH_MAX           4096                /* of a port */

typedef struct Neigh Neigh;

/* Of a port; neigh.c's own. */
typedef struct NeighTable {
    unsigned n;
} NeighTable;

/* Of a slave; neigh.c's own. */
typedef struct NeighSlave {
    unsigned n;
} NeighSlave;

void neigh_init(IpvlanPort *port);
void neigh_destroy(IpvlanPort *port);

/* @slave goes: what it waits for, and what it has made, goes too. */
void neigh_forget(IpvlanSlave *slave);

/*
 * Send @p, an IP packet of @slave's, out of the uplink to the next hop @hop:
 * writes both MAC addresses.  Where the hop's is not known the packet waits
 * for it, or is dropped and counted; LINK_TX_BUSY as link_xmit().
 */
LinkTx neigh_send(IpvlanSlave *slave, const IpAddr *hop, Packet *p);

/* An ARP frame, or a neighbour advertisement or solicitation, has come in. */
void neigh_input(IpvlanPort *port, const Packet *p);

#endif
