/*
 * l2-macnat: every guest keeps its own MAC, the wire sees only the port's
 *
 * Rewritten towards the wire: the source MAC, the hardware addresses of the
 * sender in ARP and RARP, link-layer address options in neighbour discovery,
 * and "answer by broadcast" in a DHCP client's request, because an answer to
 * the guest's own MAC would not find its way here.  Rewritten towards the
 * guest: the destination MAC, and the target hardware address in ARP.
 * Checksums are updated incrementally (RFC 1624), except where the guest has
 * left them to be completed: then the field does not cover the payload yet.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "port.h"

#define UDP_CSUM        6
#define ICMPV6_CSUM     2

/* --- whose MAC is it ----------------------------------------------------- */

#define KIND_MAC 1              /* the only one in port->macs */

/* Of loads alone: what is stored piece by piece cannot be read at once. */
static inline uint64_t mac_to_key(const uint8_t *mac)
{
    uint32_t head;
    uint16_t tail;

    memcpy(&head, mac, sizeof(head));
    memcpy(&tail, mac + sizeof(head), sizeof(tail));
    return head | (uint64_t)tail << 32;
}

static inline OwnerSlot *macs_find(const IpvlanPort *port, const uint8_t *mac)
{
    return owner_table_find(&port->macs, mac_to_key(mac), 0, KIND_MAC);
}

IpvlanSlave *macnat_find(const IpvlanPort *port, const uint8_t *mac)
{
    const OwnerSlot *slot = macs_find(port, mac);

    return slot ? slot->slave : NULL;
}

static void macs_insert(IpvlanSlave *slave)
{
    OwnerKey key = { .q = { mac_to_key(slave->mac) }, .kind = KIND_MAC };

    owner_table_insert(&slave->port->macs, &key, slave, NULL);
    slave->owns_mac = true;
}

/* Who has had the same MAC all the time is who has it now. */
static void macs_inherit(const IpvlanSlave *slave)
{
    for (GList *l = slave->port->slaves.head; l; l = l->next) {
        IpvlanSlave *heir = l->data;

        if (heir != slave && heir->has_mac &&
            mac_equal(heir->mac, slave->mac)) {
            macs_insert(heir);
            return;
        }
    }
}

void macnat_forget(IpvlanSlave *slave)
{
    IpvlanPort *port = slave->port;

    if (slave->owns_mac) {
        owner_table_remove(&port->macs, macs_find(port, slave->mac));
        slave->owns_mac = false;
        macs_inherit(slave);
    }
}

/* One by one, they would inherit from each other. */
void macnat_forget_all(IpvlanPort *port)
{
    for (GList *l = port->slaves.head; l; l = l->next) {
        IpvlanSlave *slave = l->data;

        slave->has_port_mac = false;
        if (slave->owns_mac) {
            owner_table_remove(&port->macs, macs_find(port, slave->mac));
            slave->owns_mac = false;
        }
    }
}

/* First come, first owned; and the port's is everybody's. */
static void macs_claim(IpvlanSlave *slave)
{
    IpvlanPort *port = slave->port;

    if (!mac_equal(slave->mac, port->mac) && !macnat_find(port, slave->mac)) {
        macs_insert(slave);
    }
}

void macnat_recall(IpvlanPort *port)
{
    for (GList *l = port->slaves.head; l; l = l->next) {
        IpvlanSlave *slave = l->data;

        if (slave->has_mac) {
            macs_claim(slave);
        }
    }
}

void macnat_change(IpvlanSlave *slave, const uint8_t *mac)
{
    macnat_forget(slave);
    memcpy(slave->mac, mac, ETHER_ADDR_LEN);
    slave->has_mac = true;
    macs_claim(slave);
}

/* --- towards the wire ---------------------------------------------------- */

/* Replace six bytes at @at; @csum, if any, covers them at an even offset. */
static void mac_replace(uint8_t *at, const uint8_t *mac, uint8_t *csum)
{
    uint32_t sum;

    if (csum) {
        sum = (uint16_t)~(csum[0] << 8 | csum[1]);
        for (int i = 0; i < ETHER_ADDR_LEN; i += 2) {
            sum += (uint16_t)~(at[i] << 8 | at[i + 1]);
            sum += mac[i] << 8 | mac[i + 1];
        }
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        csum[0] = ~sum >> 8;
        csum[1] = ~sum;
    }
    memcpy(at, mac, ETHER_ADDR_LEN);
}

static bool checksum_is_partial(const Packet *p)
{
    return p->has_vnet && (p->vnet.flags & PACKET_VNET_NEEDS_CSUM);
}

static void rewrite_arp(const IpvlanSlave *slave, Packet *p)
{
    uint8_t *eth = packet_cow_head(p, p->layers.l3 + ARP_LEN);
    uint8_t *arp = eth + p->layers.l3;

    memcpy(eth + ETHER_ADDR_LEN, slave->port->mac, ETHER_ADDR_LEN);
    memcpy(arp + ARP_SHA, slave->port->mac, ETHER_ADDR_LEN);
    /* An announcement may name its sender as the target, too. */
    if (mac_equal(arp + ARP_THA, slave->mac)) {
        memcpy(arp + ARP_THA, slave->port->mac, ETHER_ADDR_LEN);
    }
}

/*
 * The options of @p, which packet_parse() has checked.  A redirect's target
 * is another host mostly: rewritten only where it names the guest itself.
 */
static void rewrite_nd(const IpvlanSlave *slave, const PacketLayers *l,
                       uint8_t *frame, bool partial)
{
    uint32_t off = l->l4 + nd_fixed_len(l->nd_type);
    uint8_t *csum = partial ? NULL : frame + l->l4 + ICMPV6_CSUM;

    for (; off < l->end; off += frame[off + 1] * 8) {
        uint8_t *mac = frame + off + 2;

        if (frame[off] != ND_OPT_SOURCE && frame[off] != ND_OPT_TARGET) {
            continue;
        }
        if (l->nd_type == ND_REDIRECT && !mac_equal(mac, slave->mac)) {
            continue;
        }
        mac_replace(mac, slave->port->mac, csum);
    }
}

/* RFC 2131, section 4.1: the BROADCAST bit asks for an answer to all. */
static void rewrite_dhcp(const PacketLayers *l, uint8_t *frame, bool partial)
{
    uint8_t *udp = frame + l->l4;
    uint8_t *flags = udp + 8 + DHCP_FLAGS_OFFSET;
    uint32_t sum = udp[UDP_CSUM] << 8 | udp[UDP_CSUM + 1];

    flags[0] |= 0x80;
    if (partial || !sum) {
        return;                 /* zero: the sender did not compute one */
    }
    /* The bit was clear: the sum grows by 0x8000, its complement shrinks. */
    sum = (uint16_t)~sum + 0x8000;
    sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
    sum = sum ?: 0xffff;
    udp[UDP_CSUM] = sum >> 8;
    udp[UDP_CSUM + 1] = sum;
}

static bool needs_dhcp_flag(const IpvlanSlave *slave, const Packet *p)
{
    DhcpMessage m;

    return packet_parse_dhcp(p, &m) && !m.relayed && !m.broadcast &&
           mac_equal(m.chaddr, slave->mac);
}

/* Rare frames with hardware addresses deep inside: edit a copy. */
static LinkTx transmit_copy(IpvlanSlave *slave, Packet *p)
{
    bool partial = checksum_is_partial(p);
    uint8_t *frame;
    g_autoptr(Packet) copy = packet_copy(p, &frame);

    memcpy(frame + ETHER_ADDR_LEN, slave->port->mac, ETHER_ADDR_LEN);
    if (p->layers.kind == PACKET_ND) {
        rewrite_nd(slave, &p->layers, frame, partial);
    } else {
        rewrite_dhcp(&p->layers, frame, partial);
    }
    return link_xmit(slave->port->lower, copy);
}

LinkTx macnat_transmit(IpvlanSlave *slave, Packet *p)
{
    switch (p->layers.kind) {
    case PACKET_ARP:
    case PACKET_RARP:
        rewrite_arp(slave, p);
        break;
    case PACKET_DHCP_REQUEST:
        if (needs_dhcp_flag(slave, p)) {
            return transmit_copy(slave, p);
        }
        /* fall through */
    default:
        memcpy(packet_cow_eth(p) + ETHER_ADDR_LEN, slave->port->mac,
               ETHER_ADDR_LEN);
        break;
    case PACKET_ND:
        return transmit_copy(slave, p);
    }
    return link_xmit(slave->port->lower, p);
}

/* --- towards the guest --------------------------------------------------- */

SLOW_PATH bool macnat_ask(IpvlanSlave *slave)
{
    uint8_t mac[ETHER_ADDR_LEN];

    if (link_user_address(slave->link, mac)) {
        macnat_see(slave, mac);
    }
    return slave->has_mac;
}

static void receive_arp(const IpvlanSlave *slave, Packet *p,
                                  bool to_port)
{
    uint8_t *eth = packet_cow_head(p, p->layers.l3 + ARP_LEN);
    uint8_t *target = eth + p->layers.l3 + ARP_THA;

    if (to_port) {
        memcpy(eth, slave->mac, ETHER_ADDR_LEN);
    }
    if (mac_equal(target, slave->port->mac)) {
        memcpy(target, slave->mac, ETHER_ADDR_LEN);
    }
}

void macnat_receive(IpvlanSlave *slave, Packet *p)
{
    bool to_port = mac_equal(packet_dst_mac(p), slave->port->mac);
    bool is_arp = p->layers.kind == PACKET_ARP;

    if ((!to_port && !is_arp) || (!slave->has_mac && !macnat_ask(slave))) {
        return;
    }
    if (G_UNLIKELY(is_arp)) {
        receive_arp(slave, p, to_port);
        return;
    }
    memcpy(packet_cow_eth(p), slave->mac, ETHER_ADDR_LEN);
}
