/*
 * What the port answers as a router
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <netinet/in.h>

#include "../bytes.h"
#include "../craft.h"
#include "answer.h"
#include "port.h"

/* --- where answers go ---------------------------------------------------- */

static void to_guest(IpvlanSlave *slave, const Craft *c)
{
    UNINITIALIZED Packet p;
    struct iovec iov;

    craft_packet(c, &iov, &p);
    slave->link->stats.made++;
    link_receive(slave->link, &p);
}

/*
 * What a busy uplink does not take waits for it: the user-mode stack asks while
 * it is being sent to, and does not ask again before it has lost a packet.
 */
static void to_uplink(IpvlanPort *port, const Craft *c)
{
    UNINITIALIZED Packet p;
    struct iovec iov;

    craft_packet(c, &iov, &p);
    port->lower->stats.made++;
    link_trace(port->lower, LINK_EVENT_SEND, NULL, &p);
    if (link_xmit(port->lower, &p) != LINK_TX_BUSY) {
        return;
    }
    if (port->answers.length < ANSWERS_MAX) {
        packet_queue_push(&port->answers, packet_hold(&p));
    } else {
        link_drop(port->lower, &p, DROP_NEIGH_QUEUE);
    }
}

void answer_wake(IpvlanPort *port)
{
    Packet *p;

    while ((p = packet_queue_pop(&port->answers))) {
        if (link_xmit(port->lower, p) == LINK_TX_BUSY) {
            packet_queue_push_front(&port->answers, p);
            return;
        }
        packet_put(p);
    }
}

void answer_drop(IpvlanPort *port, DropReason why)
{
    Packet *p;

    while ((p = packet_queue_pop(&port->answers))) {
        link_drop(port->lower, p, why);
        packet_put(p);
    }
}

void answer_destroy(IpvlanPort *port)
{
    answer_drop(port, DROP_LINK_DOWN);
}

/* --- making them --------------------------------------------------------- */

static void make_arp_reply(Craft *c, const IpvlanPort *port, const Packet *p)
{
    const PacketLayers *l = &p->layers;
    const uint8_t *to = packet_src_mac(p);

    craft_arp(c, to, ARP_REPLY, port->mac, &l->dst, to, &l->src);
}

/*
 * To whom has asked.  Who looks for a duplicate has no address yet: then to
 * everybody (7.2.4).
 */
static void make_advert(Craft *c, const IpvlanPort *port, const Packet *p,
                        uint8_t flags)
{
    const PacketLayers *l = &p->layers;
    bool probe = ip_is_unspecified(&l->src);

    craft_advert(c, probe ? craft_all_nodes_mac : packet_src_mac(p),
                 port->mac, probe ? &craft_all_nodes : &l->src, &l->target,
                 flags | NA_OVERRIDE | (probe ? 0 : NA_SOLICITED));
}

/* RFC 4861, 4.2; without prefixes: a guest's addresses are configured. */
static void make_router_advert(Craft *c, const IpvlanPort *port,
                               const uint8_t *dst_mac, const IpAddr *dst,
                               uint16_t lifetime)
{
    uint8_t *ra, *mtu;

    craft_ip(c, dst_mac, port->mac, &ipvlan_router_ll, dst, IPPROTO_ICMPV6,
             ND_HOP_LIMIT);
    ra = craft_put(c, ND_LEN_ROUTER_ADVERT);
    ra[0] = ND_ROUTER_ADVERT;
    ra[4] = RA_HOP_LIMIT;
    put16(ra + 6, lifetime);
    craft_nd_mac(c, ND_OPT_SOURCE, port->mac);
    mtu = craft_put(c, ND_OPT_LEN);
    mtu[0] = ND_OPT_MTU;
    mtu[1] = ND_OPT_LEN / 8;
    put32(mtu + 4, port->mtu);
    craft_finish(c);
}

/* --- to guests ----------------------------------------------------------- */

/*
 * Would @addr, which @slave's guest asks for, be reached through the port?
 * Who looks for a duplicate of its own address must not find the port.
 */
static bool is_behind_port(const IpvlanSlave *slave, const IpAddr *asker,
                           const IpAddr *addr)
{
    const IpvlanSlave *owner = ipvlan_owner_of(slave->port, addr);

    if (owner == slave || !ip_is_ownable(addr)) {
        return false;
    }
    return owner || ip_equal(addr, &ipvlan_router_ll) ||
           (!ip_is_unspecified(asker) && !ip_equal(asker, addr));
}

static void answer_guest_arp(IpvlanSlave *slave, const Packet *p)
{
    const PacketLayers *l = &p->layers;
    UNINITIALIZED Craft c;

    if (l->arp_op == ARP_REQUEST && is_behind_port(slave, &l->src, &l->dst)) {
        make_arp_reply(&c, slave->port, p);
        to_guest(slave, &c);
    }
}

static void answer_solicit(IpvlanSlave *slave, const Packet *p)
{
    const PacketLayers *l = &p->layers;
    IpAddr own = ip_link_local_from_mac(packet_src_mac(p));
    UNINITIALIZED Craft c;

    if (is_behind_port(slave, &l->src, &l->target) &&
        !ip_equal(&own, &l->target)) {
        make_advert(&c, slave->port, p, NA_ROUTER);
        to_guest(slave, &c);
    }
}

static void answer_router_solicit(IpvlanSlave *slave, const Packet *p)
{
    const IpAddr *src = &p->layers.src;
    UNINITIALIZED Craft c;

    if (slave->port->ra) {
        make_router_advert(&c, slave->port, packet_src_mac(p),
                           ip_is_unspecified(src) ? &craft_all_nodes : src,
                           RA_LIFETIME);
        to_guest(slave, &c);
    }
}

static LinkTx answer_guest_nd(IpvlanSlave *slave, const Packet *p)
{
    if (packet_hop_limit(p) != ND_HOP_LIMIT) {
        return link_drop(slave->link, p, DROP_BAD_HEADER);
    }
    switch (p->layers.nd_type) {
    case ND_NEIGHBOUR_SOLICIT:
        answer_solicit(slave, p);
        return LINK_TX_OK;
    case ND_ROUTER_SOLICIT:
        answer_router_solicit(slave, p);
        return LINK_TX_OK;
    case ND_NEIGHBOUR_ADVERT:
        return LINK_TX_OK;              /* its MAC has been seen */
    default:
        return link_drop(slave->link, p, DROP_NOT_ROUTED);
    }
}

LinkTx answer_guest(IpvlanSlave *slave, const Packet *p)
{
    LinkTx tx = LINK_TX_OK;

    if (p->layers.kind == PACKET_ND) {
        tx = answer_guest_nd(slave, p);
    } else {
        answer_guest_arp(slave, p);
    }
    if (tx == LINK_TX_OK) {
        link_absorb(slave->link, p);
    }
    return tx;
}

/* --- to the uplink ------------------------------------------------------- */

static bool answers_for(const IpvlanPort *port, const IpAddr *addr)
{
    return port->proxy_arp && ipvlan_owner_of(port, addr);
}

static void answer_uplink_arp(IpvlanPort *port, const Packet *p)
{
    const PacketLayers *l = &p->layers;
    UNINITIALIZED Craft c;

    /* RFC 5227: an announcement wants no answer */
    if (l->arp_op == ARP_REQUEST && !ip_equal(&l->src, &l->dst) &&
        answers_for(port, &l->dst)) {
        make_arp_reply(&c, port, p);
        to_uplink(port, &c);
    }
}

/* The port's own link-local address is what it asks neighbours with. */
static void answer_uplink_nd(IpvlanPort *port, const Packet *p)
{
    const IpAddr *target = &p->layers.target;
    IpAddr own = ip_link_local_from_mac(port->mac);
    UNINITIALIZED Craft c;

    if (p->layers.nd_type == ND_NEIGHBOUR_SOLICIT &&
        (ip_equal(target, &own) || answers_for(port, target))) {
        make_advert(&c, port, p, 0);
        to_uplink(port, &c);
    }
}

void answer_uplink(IpvlanPort *port, const Packet *p)
{
    if (p->layers.kind == PACKET_ND && packet_hop_limit(p) != ND_HOP_LIMIT) {
        link_drop(port->lower, p, DROP_BAD_HEADER);
        return;
    }
    link_absorb(port->lower, p);
    neigh_input(port, p);
    if (p->layers.kind == PACKET_ARP) {
        answer_uplink_arp(port, p);
    } else {
        answer_uplink_nd(port, p);
    }
}

/* --- on its own ---------------------------------------------------------- */

/* RFC 5227's probe; a host answers it whoever asks. */
static void make_guest_arp(Craft *c, const IpvlanPort *port,
                           const IpAddr *addr)
{
    static const uint8_t everybody[] = { 255, 255, 255, 255, 255, 255 };
    static const IpAddr nobody = { .family = IP_V4 };

    craft_arp(c, everybody, ARP_REQUEST, port->mac, &nobody, NULL, addr);
}

void answer_ask_guest(IpvlanSlave *slave, const IpAddr *addr)
{
    UNINITIALIZED Craft c;

    if (addr->family == IP_V4) {
        make_guest_arp(&c, slave->port, addr);
    } else {
        craft_solicit(&c, craft_all_nodes_mac, slave->port->mac,
                      &ipvlan_router_ll, &craft_all_nodes, addr);
    }
    to_guest(slave, &c);
}

static void to_guests(IpvlanPort *port, const Craft *c)
{
    for (GList *l = port->slaves.head; l; l = l->next) {
        to_guest(l->data, c);
    }
}

void answer_introduce(IpvlanPort *port, const IpAddr *addr,
                      const uint8_t *mac, bool router)
{
    UNINITIALIZED Craft c;

    craft_announce(&c, mac, addr, router);
    to_guests(port, &c);
}

static void advertise(IpvlanPort *port, uint16_t lifetime)
{
    UNINITIALIZED Craft c;

    make_router_advert(&c, port, craft_all_nodes_mac, &craft_all_nodes,
                       lifetime);
    to_guests(port, &c);
}

void answer_retire(IpvlanPort *port)
{
    advertise(port, 0);
}

void answer_advertise(void *opaque)
{
    IpvlanPort *port = opaque;

    if (!ipvlan_is_l3(port) || !port->ra) {
        return;                         /* it has been changed */
    }
    advertise(port, RA_LIFETIME);
    port->lower->platform->work_at(port->ra_work,
                                   ipvlan_now(port) + RA_INTERVAL);
}
