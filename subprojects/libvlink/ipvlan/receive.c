/*
 * From the uplink: whose is it?
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "port.h"
#include "route.h"

IpvlanSlave *ipvlan_sender(const IpvlanPort *port, const Packet *p)
{
    const IpAddr *src = &p->layers.src;

    if (src->family == IP_NONE || !ip_is_unspecified(src)) {
        return ipvlan_owner_of(port, src);
    }
    /* a probe for a duplicate address says only whom it looks for */
    for (GList *l = port->slaves.head; l; l = l->next) {
        IpvlanSlave *slave = l->data;

        if (ip_equal(&slave->probed, &p->layers.dst)) {
            return slave;
        }
    }
    return NULL;
}

/* Rewrite @p as @slave's guest expects it. */
static inline void to_guest(IpvlanSlave *slave, Packet *p)
{
    if (slave->port->mode == IPVLAN_L2_MACNAT) {
        macnat_receive(slave, p);
    }
}

void ipvlan_deliver(IpvlanSlave *slave, Packet *p)
{
    to_guest(slave, p);
    link_receive(slave->link, p);
}

static SLOW_PATH void drop(IpvlanPort *port, const Packet *p, DropReason why)
{
    link_drop(port->lower, p, why);
}

/* Point the frame at @slave, for link_receive() to go on with. */
static inline RxHandlerResult to_slave(IpvlanSlave *slave, Packet *p)
{
    link_trace(p->link, LINK_EVENT_RECEIVE, slave->link, p);
    to_guest(slave, p);
    p->link = slave->link;
    return RX_HANDLER_ANOTHER;
}

/* @asked: the slave whose DHCP request this answers, or NULL. */
static SLOW_PATH RxHandlerResult receive_broadcast(IpvlanPort *port,
                                                   IpvlanSlave *asked,
                                                   Packet *p)
{
    bool ours = mac_equal(packet_src_mac(p), port->mac);
    IpvlanSlave *owner;

    if (ours && port->flag != IPVLAN_VEPA) {
        drop(port, p, DROP_REFLECTED);
        return RX_HANDLER_CONSUMED;
    }
    owner = asked ?: ipvlan_owner(port, p);
    /* a guest that hears itself would see an address conflict */
    if (owner && !(ours && owner == ipvlan_sender(port, p))) {
        return to_slave(owner, p);
    }
    ipvlan_defer(&port->external, p);
    return RX_HANDLER_CONSUMED;
}

/*
 * A guest's own ARP, by way of an access point that answers for others: it
 * would see an address conflict in it.
 */
static bool is_proxied(const IpvlanSlave *owner, const Packet *p)
{
    const IpvlanPort *port = owner->port;

    return p->layers.kind == PACKET_ARP && port->mode == IPVLAN_L2_MACNAT &&
           mac_equal(packet_src_mac(p), port->mac) &&
           owner == ipvlan_sender(port, p);
}

static inline RxHandlerResult receive_unicast(IpvlanPort *port,
                                              IpvlanSlave *asked, Packet *p)
{
    IpvlanSlave *by_mac = NULL;
    IpvlanSlave *owner;

    if (!mac_equal(packet_dst_mac(p), port->mac)) {
        by_mac = macnat_find(port, packet_dst_mac(p));
        if (!by_mac) {
            drop(port, p, DROP_NOT_FOR_US);
            return RX_HANDLER_CONSUMED;
        }
    }
    owner = asked ?: ipvlan_owner(port, p) ?: by_mac ?: port->default_slave;
    if (G_UNLIKELY(!owner)) {
        drop(port, p, DROP_NO_OWNER);
        return RX_HANDLER_CONSUMED;
    }
    if (G_LIKELY(!is_proxied(owner, p))) {
        return to_slave(owner, p);
    }
    drop(port, p, DROP_REFLECTED);
    return RX_HANDLER_CONSUMED;
}

RxHandlerResult ipvlan_handle_frame(Link *lower, Packet *p)
{
    IpvlanPort *port = ipvlan_port(lower);
    DropReason why = packet_parse(p);
    IpvlanSlave *asked = NULL;

    if (G_UNLIKELY(why)) {
        drop(port, p, why);
        return RX_HANDLER_CONSUMED;
    }
    if (ipvlan_is_l3(port)) {
        return route_receive(port, p);
    }
    if (p->layers.kind == PACKET_DHCP_REPLY) {
        asked = snoop_dhcp_reply(port, p);
    }
    if (mac_is_group(packet_dst_mac(p))) {
        return receive_broadcast(port, asked, p);
    }
    return receive_unicast(port, asked, p);
}
