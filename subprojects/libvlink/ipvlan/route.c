/*
 * l3 and l3s: to a sibling, to the next hop, or nowhere
 *
 * As in Linux's ipvlan the hop limit stays as it is, and nothing crosses but
 * unicast IP.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "answer.h"
#include "fragment.h"
#include "port.h"
#include "route.h"

/* --- what crosses -------------------------------------------------------- */

/* A tagged frame belongs to a VLAN that the port is no router of. */
static inline bool is_tagged(const Packet *p)
{
    return p->layers.l3 != PACKET_HEAD_LEN;
}

/* What the port answers itself. */
static bool is_resolution(const Packet *p)
{
    return (p->layers.kind == PACKET_ARP || p->layers.kind == PACKET_ND) &&
           !is_tagged(p);
}

static inline bool is_ip(const Packet *p)
{
    return p->layers.src.family && p->layers.kind != PACKET_ARP &&
           p->layers.kind != PACKET_ND && !is_tagged(p);
}

/* --- the way to a guest -------------------------------------------------- */

/* It has not spoken yet, and its NIC does not tell: then it has to be asked. */
static SLOW_PATH bool learn_mac(IpvlanSlave *slave, const Packet *p)
{
    if (!macnat_ask(slave)) {
        answer_ask_guest(slave, &p->layers.dst);
    }
    return slave->has_mac;
}

/* The port's Ethernet header; false: nobody knows the guest's MAC address. */
static inline bool put_header(IpvlanSlave *to, Packet *p)
{
    uint8_t *eth;

    if (G_UNLIKELY(!to->has_mac) && !learn_mac(to, p)) {
        return false;
    }
    eth = packet_cow_eth(p);
    memcpy(eth, to->mac, ETHER_ADDR_LEN);
    memcpy(eth + ETHER_ADDR_LEN, to->port->mac, ETHER_ADDR_LEN);
    return true;
}

/* --- the filter ---------------------------------------------------------- */

static inline bool is_filtered(const IpvlanPort *port)
{
    return port->mode == IPVLAN_L3S;
}

/* The filter does not let @p, which @slave has sent, pass. */
static SLOW_PATH LinkTx refuse(IpvlanSlave *slave, const Packet *p,
                               IpvlanAction action)
{
    if (action == IPVLAN_REJECT) {
        icmp_error_to_guest(slave, p, ICMP_PROHIBITED, 0);
    }
    return link_drop(slave->link, p, DROP_FILTER);
}

/* --- from a guest -------------------------------------------------------- */

static LinkTx route_to_sibling(IpvlanSlave *slave, IpvlanSlave *to, Packet *p)
{
    bool filtered = is_filtered(slave->port);
    UNINITIALIZED FilterPass pass;
    IpvlanAction action;

    link_trace(slave->link, LINK_EVENT_FORWARD, to->link, p);
    if (filtered) {
        filter_begin(&pass, slave->port, slave, to, p);
        action = filter_out(&pass, p);
        if (action != IPVLAN_ACCEPT) {
            return refuse(slave, p, action);
        }
    }
    if (!put_header(to, p)) {
        return link_drop(slave->link, p, DROP_NO_NEIGHBOUR);
    }
    if (filtered) {
        action = filter_in(&pass, p);
        if (action != IPVLAN_ACCEPT) {
            return refuse(slave, p, action);
        }
    }
    link_receive(to->link, p);
    if (filtered) {
        filter_end(&pass, p);
    }
    return LINK_TX_OK;
}

/* To its gateway, or to its destination where there is none. */
static const IpAddr *next_hop(const IpvlanPort *port, const Packet *p)
{
    const IpAddr *dst = &p->layers.dst;
    const IpAddr *gateway = ipvlan_gateway(port, dst->family);

    return gateway->family ? gateway : dst;
}

/* RFC 1812, 4.2.2.7, and RFC 8200, 5: only IPv4 is fragmented on its way. */
static SLOW_PATH LinkTx send_too_long(IpvlanSlave *slave, Packet *p)
{
    uint32_t mtu = slave->port->mtu;

    if (!fragment_is_allowed(p)) {
        icmp_error_to_guest(slave, p, ICMP_TOO_BIG, mtu);
        return link_drop(slave->link, p, DROP_TOO_BIG);
    }
    return fragment_to_neigh(slave, next_hop(slave->port, p), p, mtu);
}

/* vepa: to the port itself, by way of a switch that reflects (802.1Qbg). */
static SLOW_PATH LinkTx send_reflected(IpvlanPort *port, Packet *p)
{
    uint8_t *eth = packet_cow_eth(p);

    memcpy(eth, port->mac, ETHER_ADDR_LEN);
    memcpy(eth + ETHER_ADDR_LEN, port->mac, ETHER_ADDR_LEN);
    return link_xmit(port->lower, p);
}

static inline LinkTx route_out(IpvlanSlave *slave, Packet *p)
{
    IpvlanPort *port = slave->port;
    const IpAddr *hop = next_hop(port, p);

    link_trace(port->lower, LINK_EVENT_SEND, slave->link, p);
    if (G_UNLIKELY(packet_ip_len(p) > port->mtu)) {
        return send_too_long(slave, p);
    }
    if (G_UNLIKELY(port->flag == IPVLAN_VEPA) &&
        addr_table_lookup(&port->addrs, hop)) {
        return send_reflected(port, p);
    }
    return neigh_send(slave, hop, p);
}

static LinkTx route_to_uplink(IpvlanSlave *slave, Packet *p)
{
    UNINITIALIZED FilterPass pass;
    IpvlanAction action;
    LinkTx tx;

    if (!is_filtered(slave->port)) {
        return route_out(slave, p);
    }
    filter_begin(&pass, slave->port, slave, NULL, p);
    action = filter_out(&pass, p);
    if (action != IPVLAN_ACCEPT) {
        return refuse(slave, p, action);
    }
    tx = route_out(slave, p);
    if (tx == LINK_TX_OK) {
        filter_end(&pass, p);
    }
    return tx;
}

/*
 * RFC 4291, 2.5.6: a router does not forward what is link-local.  Nor does it
 * what comes from nobody, or, RFC 1812, 5.3.7, from who can be nobody: a guard
 * has seen to that.
 */
static inline bool has_source(const IpvlanSlave *slave, const PacketLayers *l)
{
    return !ip_is_link_local6(&l->src) && !ip_is_unspecified(&l->src) &&
           (slave->guard != IPVLAN_GUARD_OFF || ip_is_ownable(&l->src));
}

/* Nor does it what is for many, or for its own host; @to owns it. */
static inline bool has_destination(const IpvlanSlave *to,
                                   const PacketLayers *l)
{
    return !ip_is_link_local6(&l->dst) && (to || ip_is_ownable(&l->dst));
}

static LinkTx route_packet(IpvlanSlave *slave, Packet *p)
{
    IpvlanPort *port = slave->port;
    IpvlanSlave *to = ipvlan_owner(port, p);

    if (G_UNLIKELY(mac_is_group(packet_dst_mac(p)) ||
                   !has_source(slave, &p->layers) ||
                   !has_destination(to, &p->layers))) {
        return link_drop(slave->link, p, DROP_NOT_ROUTED);
    }
    if (!to || port->flag == IPVLAN_VEPA) {
        return route_to_uplink(slave, p);
    }
    if (to == slave) {
        return link_drop(slave->link, p, DROP_TO_ITSELF);
    }
    if (port->flag == IPVLAN_PRIVATE) {
        return link_drop(slave->link, p, DROP_PRIVATE);
    }
    return route_to_sibling(slave, to, p);
}

LinkTx route_send(IpvlanSlave *slave, Packet *p)
{
    if (G_LIKELY(is_ip(p))) {
        return route_packet(slave, p);
    }
    if (is_resolution(p)) {
        return answer_guest(slave, p);
    }
    return link_drop(slave->link, p, DROP_NOT_IP);
}

/* --- from the uplink ----------------------------------------------------- */

static SLOW_PATH RxHandlerResult drop(Link *link, const Packet *p,
                                      DropReason why)
{
    link_drop(link, p, why);
    return RX_HANDLER_CONSUMED;
}

/* @sender: the MAC address that @p came from, before put_header(). */
static SLOW_PATH RxHandlerResult refuse_in(IpvlanSlave *to, Packet *p,
                                           const uint8_t *sender,
                                           IpvlanAction action)
{
    if (action == IPVLAN_REJECT) {
        memcpy(packet_cow_eth(p) + ETHER_ADDR_LEN, sender, ETHER_ADDR_LEN);
        icmp_error_to_uplink(to, p, ICMP_PROHIBITED);
    }
    return drop(to->link, p, DROP_FILTER);
}

static RxHandlerResult filter_to_guest(IpvlanSlave *to, Packet *p)
{
    UNINITIALIZED FilterPass pass;
    uint8_t sender[ETHER_ADDR_LEN];
    IpvlanAction action;

    memcpy(sender, packet_src_mac(p), sizeof(sender));
    filter_begin(&pass, to->port, NULL, to, p);
    if (!put_header(to, p)) {
        return drop(to->link, p, DROP_NO_NEIGHBOUR);
    }
    action = filter_in(&pass, p);
    if (action != IPVLAN_ACCEPT) {
        return refuse_in(to, p, sender, action);
    }
    filter_end(&pass, p);
    p->link = to->link;
    return RX_HANDLER_ANOTHER;
}

static RxHandlerResult route_to_guest(IpvlanPort *port, Packet *p)
{
    IpvlanSlave *to = ipvlan_owner(port, p) ?: port->default_slave;

    if (G_UNLIKELY(!to)) {
        return drop(port->lower, p, DROP_NO_OWNER);
    }
    link_trace(port->lower, LINK_EVENT_RECEIVE, to->link, p);
    if (is_filtered(port)) {
        return filter_to_guest(to, p);
    }
    if (!put_header(to, p)) {
        return drop(to->link, p, DROP_NO_NEIGHBOUR);
    }
    p->link = to->link;
    return RX_HANDLER_ANOTHER;
}

static SLOW_PATH RxHandlerResult receive_other(IpvlanPort *port, Packet *p)
{
    if (!is_resolution(p)) {
        return drop(port->lower, p, DROP_NOT_IP);
    }
    answer_uplink(port, p);
    return RX_HANDLER_CONSUMED;
}

RxHandlerResult route_receive(IpvlanPort *port, Packet *p)
{
    const uint8_t *dst = packet_dst_mac(p);
    bool for_many = mac_is_group(dst);

    if (G_UNLIKELY(!for_many && !mac_equal(dst, port->mac))) {
        return drop(port->lower, p, DROP_NOT_FOR_US);
    }
    if (G_UNLIKELY(mac_equal(packet_src_mac(p), port->mac)) &&
        (for_many || port->flag != IPVLAN_VEPA)) {
        return drop(port->lower, p, DROP_REFLECTED);
    }
    if (G_UNLIKELY(!is_ip(p))) {
        return receive_other(port, p);
    }
    if (G_UNLIKELY(for_many)) {
        return drop(port->lower, p, DROP_NOT_ROUTED);
    }
    return route_to_guest(port, p);
}
