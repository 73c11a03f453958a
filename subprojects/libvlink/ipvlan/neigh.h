/*
 * Neighbours on the uplink: which MAC a next hop has, in l3 and l3s
 *
 * A cache with the states and the timers of RFC 4861, section 7.3, for IPv6
 * and for IPv4, where ARP takes the place of solicitations.  It only ever has
 * whom a slave has sent to: nothing is made from the network's word alone.
 *
 * Who makes an entry is charged for it, and who has a packet wait, for that.
 * The gateways' entries are the port's: no slave pays for them, and they are
 * not forgotten.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_NEIGH_H
#define LIBVLINK_IPVLAN_NEIGH_H

#include "ipvlan.h"
#include "owners.h"

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
#define NEIGH_MAX           4096                /* of a port, and gateways */
#define NEIGH_INTRODUCED    64                  /* at most, to guests */

#define NEIGH_STATES (NEIGH_PROBE + 1)

typedef struct Neigh Neigh;

/* What is to make room first, of those that a slave has made. */
typedef enum NeighUse {
    NEIGH_UNUSED,               /* STALE */
    NEIGH_USED,
    NEIGH_UNKNOWN,              /* INCOMPLETE: somebody waits for it */
    NEIGH_USES
} NeighUse;

/* Of a slave; neigh.c's own. */
typedef struct NeighSlave {
    GQueue made[NEIGH_USES];    /* of Neigh, longest in its state first */
    size_t waiting;             /* bytes of memory that its packets take */
    unsigned here;              /* packets in the one queue that is looked at */
} NeighSlave;

/* Of a port; neigh.c's own. */
typedef struct NeighTable {
    OwnerTable table;
    GQueue states[NEIGH_STATES];    /* of Neigh, the first to be due first */
    GQueue owed;                /* of Neigh: what the uplink was too busy for */
    NeighSlave orphans;         /* made by slaves that are gone */
    int64_t reachable;          /* RFC 4861's ReachableTime, ns */
    LinkWork *work;
    int64_t work_at;            /* when it runs, 0: it does not */
} NeighTable;

void neigh_init(IpvlanPort *port);
void neigh_destroy(IpvlanPort *port);

/* The uplink, which was busy, can send again. */
void neigh_wake(IpvlanPort *port);

/*
 * The port will be no router any more.  Guests, to whom it has been all of its
 * neighbours, are told where these are, gateways first.
 */
void neigh_introduce(IpvlanPort *port);

/* Forget who is there.  What waits is dropped for @why. */
void neigh_flush(IpvlanPort *port, DropReason why);

/*
 * The port has got other gateways.  What waits for those that it had, to be
 * passed on, goes the way that it would go now.
 */
void neigh_gateways_changed(IpvlanPort *port);

/* Packets that wait for neighbours. */
unsigned neigh_waiting(const IpvlanPort *port);

/* @slave goes: what it waits for, and what it has made, goes too. */
void neigh_forget(IpvlanSlave *slave);

/*
 * Send @p, an IP packet of @slave's, out of the uplink to the next hop @hop:
 * writes both MAC addresses.  Where the hop's is not known the packet waits
 * for it, or is dropped and counted; LINK_TX_BUSY as link_xmit().
 */
LinkTx neigh_send(IpvlanSlave *slave, const IpAddr *hop, Packet *p);

/*
 * The same of a fragment, whose first one is sent already: never busy.  What
 * the uplink does not take it gets before anything else for that hop.
 */
LinkTx neigh_send_rest(IpvlanSlave *slave, const IpAddr *hop, Packet *p);

/*
 * An ARP frame, or a message of neighbour discovery, has come in from the
 * uplink, for the port or for many.
 */
void neigh_input(IpvlanPort *port, const Packet *p);

#endif
