/*
 * Inside of the kind "ipvlan": ports, slaves, and who may call what
 *
 *      send.c      from a slave          multicast.c  to many, deferred
 *      receive.c   from the uplink       macnat.c     one MAC on the wire
 *      snoop.c     what frames tell      port.c       life and death
 *      addr.c      who owns what        owners.c     the table for that
 *      guard.c     what guests may say  group.c      who wants which group
 *      announce.c  where addresses are  state.c      to be taken elsewhere
 *      check.c     configurations       change.c     others, at run time
 *
 *      l3:         route.c     where to         neigh.c      on the uplink
 *                  answer.c    ARP, ND, RA      icmp.c       errors
 *                  fragment.c  of IPv4
 *
 *      l3s:        filter.c    rules, passes    match.c      what rules match
 *                  flow.c      the flows        track.c      whose packets
 *                  filter-state.c  to be taken elsewhere
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_PORT_H
#define LIBVLINK_IPVLAN_PORT_H

#include "addr.h"
#include "filter.h"
#include "group.h"
#include "guard.h"
#include "icmp.h"
#include "neigh.h"

typedef struct IpvlanPort IpvlanPort;

/* What a guest can make happen as often as it likes is told so often. */
#define IPVLAN_EVENTS_MAX 16
#define IPVLAN_EVENTS_NS NS_PER_S

typedef struct EventLimit {
    int64_t since;
    unsigned n;                 /* events since then */
} EventLimit;

/* Where deferred broadcast comes from: a slave, or the uplink. */
typedef struct BroadcastSource {
    Poll poll;
    GQueue packets;
    GList node;                 /* in port->sources while it has packets */
    IpvlanPort *port;
    IpvlanSlave *slave;         /* NULL: the uplink */
} BroadcastSource;

struct IpvlanSlave {
    Link *link;
    IpvlanPort *port;
    GList node;                 /* in port->slaves */
    uint8_t mac[ETHER_ADDR_LEN];
    bool has_mac;
    bool owns_mac;              /* is in port->macs */
    bool has_port_mac;          /* l2: mac is the port's, as it should be */
    bool is_default;
    bool configured;            /* was made with addresses */
    IpvlanLearn learn;
    IpvlanLearn learn_asked;    /* what its options say */
    unsigned max_addrs;
    GQueue fixed;               /* of IpvlanAddr, static */
    GQueue learned;             /* by sorted_by, longest unused first */
    EventLimit told_addrs;      /* learned and expired ones */
    EventLimit told_contests;
    uint64_t contested;
    BroadcastSource broadcast;
    uint32_t dhcp_xid;          /* of its last DHCP request */
    bool has_dhcp_xid;
    bool is_router;             /* its guest sends router advertisements */
    IpAddr probed;              /* asked for as a duplicate, not used yet */
    IpvlanGuard guard;
    IpvlanGuard guard_asked;    /* what its options say */
    GuardSlave guarded;
    GroupMember member;         /* l2, l2-macnat */
    NeighSlave neigh;
    IcmpLimit icmp;
    FilterSlave filter;
};

/* The lower link's receive handler data: created and freed by port.c. */
struct IpvlanPort {
    Link *lower;
    IpvlanMode mode;
    IpvlanFlag flag;
    uint8_t mac[ETHER_ADDR_LEN];
    bool has_own_mac;           /* that it was given */
    int64_t expiry;
    GQueue slaves;
    IpvlanSlave *default_slave;
    AddrTable addrs;
    OwnerTable macs;            /* l2-macnat: own MAC to slave */
    BroadcastSource external;
    GQueue sources;             /* of BroadcastSource with packets */
    unsigned backlog;           /* packets in all sources */
    LinkWork *expiry_work;
    int64_t expiry_at;          /* when expiry_work runs, 0: it does not */
    LinkWork *clock_work;
    uint64_t clock;             /* IPVLAN_TICK of now, 0: to be read */
    IpAddr gateway4, gateway6;  /* of family IP_NONE: there is none */
    uint32_t mtu;
    bool mtu_given;             /* by an option, whatever the uplink is */
    bool ra, proxy_arp;
    IpvlanPolicy policy;
    NeighTable neigh;           /* l3, l3s */
    Filter filter;              /* l3s */
    LinkWork *ra_work;
    Poll announce;
    GQueue announcing;          /* of IpvlanAddr, yet to be announced */
    GQueue answers;             /* of Packet, that wait for the uplink */
};

static inline bool ipvlan_is_l3(const IpvlanPort *port)
{
    return port->mode >= IPVLAN_L3;
}

/* The unit of OwnerSlot.used, which tells when an address was a source. */
#define IPVLAN_TICK (NS_PER_S / 1000)

/*
 * While frames are sent the clock is read so often, and not for each.  So who
 * makes room, and when an address expires, is right to this.
 */
#define IPVLAN_CLOCK_AGE NS_PER_S

static inline IpvlanPort *ipvlan_port(const Link *lower)
{
    return link_rx_handler_data(lower);
}

/* Of IP_NONE: there is none. */
static inline const IpAddr *ipvlan_gateway(const IpvlanPort *port,
                                           IpFamily family)
{
    return family == IP_V4 ? &port->gateway4 : &port->gateway6;
}

/* receive.c: the lower link's receive handler */
RxHandler ipvlan_handle_frame;

/* receive.c: @p goes up to @slave; rewritten as its guest expects it */
void ipvlan_deliver(IpvlanSlave *slave, Packet *p);

/* Whose is @addr?  NULL: nobody's. */
static inline IpvlanSlave *ipvlan_owner_of(const IpvlanPort *port,
                                           const IpAddr *addr)
{
    const OwnerSlot *slot = addr_table_lookup(&port->addrs, addr);

    return slot ? slot->slave : NULL;
}

/* Whose is the destination that the layers name? */
static inline IpvlanSlave *ipvlan_owner(const IpvlanPort *port,
                                        const Packet *p)
{
    return ipvlan_owner_of(port, &p->layers.dst);
}

/* receive.c: which slave has sent @p, that came back?  NULL: not known */
IpvlanSlave *ipvlan_sender(const IpvlanPort *port, const Packet *p);

/* send.c: a slave's xmit */
LinkTx ipvlan_xmit(Link *link, Packet *p);

/* multicast.c */
void broadcast_source_init(BroadcastSource *source, IpvlanPort *port,
                           IpvlanSlave *slave);
void broadcast_source_destroy(BroadcastSource *source);
/* What waits goes to nobody; counted where it came from. */
void broadcast_source_drop(BroadcastSource *source, DropReason why);
/* Deliver @p later to every slave but the source's own that wants it. */
void ipvlan_defer(BroadcastSource *source, const Packet *p);
/* What waits goes nowhere any more, and is counted under @why. */
void broadcast_drop(IpvlanPort *port, DropReason why);

/* announce.c: tell the uplink where the addresses of a slave are */
void ipvlan_announce(Link *link);
void announce_init(IpvlanPort *port);
void announce_destroy(IpvlanPort *port);
/* announce.c: the uplink, which was busy, can send again */
void announce_wake(IpvlanPort *port);
/* announce.c: @a is about to be freed */
void announce_forget(IpvlanAddr *a);

/* state.c: the kind's save() and load() */
void ipvlan_save(const Link *link, GVariantBuilder *out);
void ipvlan_load(Link *link, GVariant *state, LinkMisfits *m);
void ipvlan_save_port(const Link *lower, GVariantBuilder *out);
void ipvlan_load_port(Link *lower, GVariant *state, LinkMisfits *m);

/* macnat.c: the table of slaves' own MACs */
IpvlanSlave *macnat_find(const IpvlanPort *port, const uint8_t *mac);
void macnat_change(IpvlanSlave *slave, const uint8_t *mac);
void macnat_forget(IpvlanSlave *slave);
/* The port goes to mode l2, where nobody has a MAC of its own, or leaves it. */
void macnat_forget_all(IpvlanPort *port);
void macnat_recall(IpvlanPort *port);

/* @slave's guest has sent from @mac; remember it, and where it is. */
static inline void macnat_see(IpvlanSlave *slave, const uint8_t *mac)
{
    if (G_UNLIKELY(!slave->has_mac || !mac_equal(slave->mac, mac))) {
        macnat_change(slave, mac);
    }
}

/* @slave's guest has not sent yet, but may have told its NIC; false: neither */
bool macnat_ask(IpvlanSlave *slave);

/* Send @p out of the uplink as coming from the port. */
LinkTx macnat_transmit(IpvlanSlave *slave, Packet *p);
/* Make @p, addressed to the port, one addressed to @slave's guest. */
void macnat_receive(IpvlanSlave *slave, Packet *p);

/*
 * snoop.c: learn from, and check, what @slave says it is.  DROP_NONE, or why
 * the frame must not go anywhere.
 */
DropReason snoop_sent(IpvlanSlave *slave, const Packet *p);
/* snoop.c: @slave's guest has @mac, as is known from elsewhere */
void snoop_known_mac(IpvlanSlave *slave, const uint8_t *mac);
/*
 * snoop.c: a DHCP answer from the uplink.  Learns what it gives, and returns
 * the slave whose request it answers, or NULL.
 */
IpvlanSlave *snoop_dhcp_reply(IpvlanPort *port, const Packet *p);
/* snoop.c: the slave that a DHCP answer is for, or NULL.  Learns nothing. */
IpvlanSlave *snoop_dhcp_client(const IpvlanPort *port, const Packet *p);

/*
 * snoop.c: @slave takes @prefix, that is not in the table, from @origin.  The
 * longest unused of its learned ones makes room where it has too many.
 */
IpvlanAddr *ipvlan_own(IpvlanSlave *slave, const IpPrefix *prefix,
                       IpvlanOrigin origin);
/*
 * snoop.c: @slave takes back what it had learned elsewhere, @info, with a lease
 * until @lease_end (0: none).  False where it may not own that here.
 */
bool ipvlan_own_again(IpvlanSlave *slave, const IpvlanAddrInfo *info,
                      int64_t lease_end);
void ipvlan_disown(IpvlanAddr *a);
/* snoop.c: @slave goes, and all that it owns; that is no news of addresses */
void ipvlan_disown_all(IpvlanSlave *slave);
/* snoop.c: @a, that was learned, is owned for good from now on */
void ipvlan_pin(IpvlanAddr *a);
/* snoop.c: when @a was last a source, or up to IPVLAN_CLOCK_AGE before; ns */
int64_t ipvlan_used(const IpvlanAddr *a);
/* snoop.c: for the port's expiry_work and clock_work */
void ipvlan_expire(void *port);
void ipvlan_clock_over(void *port);

/*
 * port.c: what @slave learns and whether it has a guard, as its options say, or
 * as the port's mode has it
 */
void ipvlan_choose(IpvlanSlave *slave);
/* port.c: what @config says of a router, and the defaults of the rest */
void ipvlan_set_router(IpvlanPort *port, const IpvlanConfig *config);
/* port.c: the gateways that @config has, and no others */
void ipvlan_set_gateways(IpvlanPort *port, const IpvlanConfig *config);

static inline int64_t ipvlan_now(const IpvlanPort *port)
{
    return port->lower->platform->now();
}

#endif
