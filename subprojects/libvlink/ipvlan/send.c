/*
 * From a slave: to a sibling, to many, or out of the uplink
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <netinet/in.h>

#include "invariant.h"
#include "port.h"
#include "route.h"

/* Out of the uplink, under the port's MAC. */
static LinkTx ipvlan_transmit(IpvlanSlave *slave, Packet *p)
{
    Link *lower = slave->port->lower;

    link_trace(lower, LINK_EVENT_SEND, slave->link, p);
    if (slave->port->mode == IPVLAN_L2_MACNAT) {
        return macnat_transmit(slave, p);
    }
    return link_xmit(lower, p);
}

static LinkTx ipvlan_forward(IpvlanSlave *slave, IpvlanSlave *to, Packet *p)
{
    if (slave == to) {
        return link_drop(slave->link, p, DROP_TO_ITSELF);
    }
    link_trace(slave->link, LINK_EVENT_FORWARD, to->link, p);
    ipvlan_deliver(to, p);
    return LINK_TX_OK;
}

/* DHCP is for its client, whatever address the server gives it. */
static IpvlanSlave *destination(const IpvlanPort *port, const Packet *p)
{
    IpvlanSlave *client = NULL;

    if (G_UNLIKELY(p->layers.kind == PACKET_DHCP_REPLY)) {
        client = snoop_dhcp_client(port, p);
    }
    return client ?: ipvlan_owner(port, p);
}

/* The first row of the table: the destination is a sibling's. */
static LinkTx ipvlan_send_sibling(IpvlanSlave *slave, IpvlanSlave *to,
                                  Packet *p)
{
    switch (slave->port->flag) {
    case IPVLAN_PRIVATE:
        return link_drop(slave->link, p,
                         slave == to ? DROP_TO_ITSELF : DROP_PRIVATE);
    case IPVLAN_VEPA:
        return ipvlan_transmit(slave, p);
    default:
        return ipvlan_forward(slave, to, p);
    }
}

/*
 * The uplink's copy goes first and at once: where the uplink is busy, the
 * whole frame is refused and comes again, and nobody has seen it twice.
 */
static SLOW_PATH LinkTx ipvlan_send_broadcast(IpvlanSlave *slave, Packet *p)
{
    IpvlanPort *port = slave->port;
    IpvlanSlave *owner = destination(port, p);
    UNINITIALIZED Packet out;
    LinkTx tx;

    if (owner && owner != slave) {
        return ipvlan_send_sibling(slave, owner, p);
    }
    group_snoop(slave, p);
    packet_view(&out, p);
    tx = ipvlan_transmit(slave, &out);
    if (tx != LINK_TX_BUSY && port->flag == IPVLAN_BRIDGE &&
        port->slaves.length > 1) {
        slave->link->stats.made++;
        ipvlan_defer(&slave->broadcast, p);
        return LINK_TX_OK;
    }
    return tx;
}

/* To the port's own MAC. */
static SLOW_PATH LinkTx ipvlan_send_port(IpvlanSlave *slave, Packet *p)
{
    IpvlanPort *port = slave->port;
    IpvlanSlave *owner = destination(port, p);

    if (owner) {
        return ipvlan_send_sibling(slave, owner, p);
    }
    if (port->flag == IPVLAN_VEPA) {
        return ipvlan_transmit(slave, p);
    }
    if (port->default_slave) {
        return ipvlan_forward(slave, port->default_slave, p);
    }
    return link_drop(slave->link, p, DROP_NO_OWNER);
}

/*
 * To a sibling's own MAC.  Where two guests have the same, which happens to
 * whoever starts two virtual machines with defaults, the IP address decides.
 */
static LinkTx ipvlan_send_mac(IpvlanSlave *slave, IpvlanSlave *to, Packet *p)
{
    IpvlanSlave *owner = ipvlan_owner(slave->port, p);

    if (owner && owner->has_mac && mac_equal(owner->mac, packet_dst_mac(p))) {
        to = owner;
    }
    return ipvlan_send_sibling(slave, to, p);
}

/* --- what is checked is what is sent -------------------------------------- */

/*
 * Headers with two tags, of IPv6, and of TCP; ARP's, too; and what an error of
 * ICMPv6 quotes of another packet's.
 */
#define SETTLED_LEN 128

/* The upper layer's header, and what is in it: of TCP; of an ICMP error. */
#define LOOK_UPPER 20
#define LOOK_ICMP 128

/*
 * A guest may write to its frame while it is on its way.  Where it matters
 * what was checked, that is copied first.  A held packet is a copy.
 */
static inline void settle(Packet *p)
{
    if (p->buf) {
        return;
    }
    if (G_LIKELY(p->head != p->scratch && p->head_len > SETTLED_LEN)) {
        memcpy(p->scratch, p->head, SETTLED_LEN);
        packet_use_scratch(p, SETTLED_LEN);
    } else {
        packet_cow_head(p, MIN(p->len, SETTLED_LEN));
    }
}

static bool is_icmp(const PacketLayers *l)
{
    return l->ip_proto == IPPROTO_ICMP || l->ip_proto == IPPROTO_ICMPV6;
}

/* How many bytes of it decide what becomes of it. */
static inline uint32_t looked_at(const IpvlanPort *port, const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint32_t len;

    if (G_UNLIKELY(!l->l4 || l->kind == PACKET_ND)) {
        /* its options; extension headers before a fragment */
        len = l->kind == PACKET_ND || l->kind == PACKET_IPV6 ? l->end : 0;
    } else {
        len = l->l4 + LOOK_UPPER;
    }
    if (port->mode == IPVLAN_L3S) {
        len = G_UNLIKELY(is_icmp(l)) ? len + LOOK_ICMP : len;
        len = MAX(len, port->filter.reach);
    }
    return MIN(len, p->len);
}

/* Headers that are deeper, and rare. */
static SLOW_PATH LinkTx ipvlan_xmit_copy(Link *link, const Packet *p)
{
    g_autoptr(Packet) copy = packet_copy(p, NULL);

    return ipvlan_xmit(link, copy);
}

LinkTx ipvlan_xmit(Link *link, Packet *p)
{
    IpvlanSlave *slave = link_priv(link);
    IpvlanPort *port = slave->port;
    bool checked = slave->guard != IPVLAN_GUARD_OFF ||
                   port->mode == IPVLAN_L3S;
    const uint8_t *dst;
    IpvlanSlave *to;
    DropReason why;

    if (checked) {
        settle(p);
    }
    why = packet_parse(p);
    if (!why && checked && !p->buf &&
        G_UNLIKELY(looked_at(port, p) > p->head_len)) {
        return ipvlan_xmit_copy(link, p);
    }
    if (!why) {
        why = snoop_sent(slave, p);
    }
    if (G_UNLIKELY(why)) {
        return link_drop(link, p, why);
    }
    invariant_may_send(slave, p);
    if (ipvlan_is_l3(port)) {
        return route_send(slave, p);
    }
    dst = packet_dst_mac(p);
    if (mac_is_group(dst)) {
        return ipvlan_send_broadcast(slave, p);
    }
    if (mac_equal(dst, port->mac)) {
        return ipvlan_send_port(slave, p);
    }
    to = macnat_find(port, dst);
    if (to) {
        return ipvlan_send_mac(slave, to, p);
    }
    return ipvlan_transmit(slave, p);
}
