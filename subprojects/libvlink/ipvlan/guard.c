/*
 * Guards: what a slave's guest may say that it is
 *
 * The parser has refused whatever hides a header already: fragments without
 * ports (RFC 1858), neighbour discovery in fragments (RFC 6980), too many
 * extension headers.  So what is looked at here is all that there is; only
 * what the parser does not follow, tags in particular, is refused here.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <netinet/in.h>

#include "port.h"

enum {
    BOOTP_SERVER = 67,
    BOOTP_CLIENT = 68,
    DHCPV6_CLIENT = 546,
    DHCPV6_SERVER = 547,        /* relays, too */

    ICMP_REDIRECT = 5,
    ICMP_ROUTER_ADVERT = 9,     /* RFC 1256 */
};

/* --- reports ------------------------------------------------------------- */

SLOW_PATH void guard_report(IpvlanSlave *slave, const Packet *p,
                            DropReason why, const IpAddr *addr)
{
    const LinkPlatform *platform = slave->link->platform;
    int64_t *quiet = &slave->guarded.quiet[why - DROP_GUARD_MAC];
    int64_t now = ipvlan_now(slave->port);
    IpPrefix prefix;

    if (now < *quiet || !platform->trace) {
        return;
    }
    *quiet = now + GUARD_EVENT_NS;
    if (addr) {
        prefix = (IpPrefix) { *addr, ip_bits(addr->family) };
    }
    platform->trace(&(LinkTrace) {
        .event = LINK_EVENT_GUARD, .link = slave->link, .packet = p,
        .reason = why, .addr = addr ? &prefix : NULL,
    });
}

/* --- one MAC ------------------------------------------------------------- */

void guard_forget(IpvlanSlave *slave)
{
    slave->guarded.has_mac = false;
    slave->guarded.has_own = false;
}

/* In l2 it is the port's, whatever the NIC tells. */
static bool pin_to_nic(IpvlanSlave *slave)
{
    uint8_t mac[ETHER_ADDR_LEN];

    if (slave->port->mode == IPVLAN_L2 ||
        !link_user_address(slave->link, mac) || mac_is_zero(mac) ||
        mac_is_group(mac)) {
        return false;
    }
    memcpy(slave->guarded.mac, mac, ETHER_ADDR_LEN);
    slave->guarded.has_mac = true;
    return true;
}

static SLOW_PATH void pin(IpvlanSlave *slave, const uint8_t *seen)
{
    if (!pin_to_nic(slave)) {
        memcpy(slave->guarded.mac, seen, ETHER_ADDR_LEN);
        slave->guarded.has_mac = true;
    }
}

void guard_set(IpvlanSlave *slave, IpvlanGuard guard)
{
    bool begins = slave->guard == IPVLAN_GUARD_OFF &&
                  guard != IPVLAN_GUARD_OFF;

    slave->guard = guard;
    if (begins) {
        guard_forget(slave);
        /* what it has taken of somebody else's it has no longer */
        if (pin_to_nic(slave)) {
            macnat_see(slave, slave->guarded.mac);
        }
    }
}

void guard_enter_l2(IpvlanSlave *slave)
{
    GuardSlave *g = &slave->guarded;

    if (g->has_mac) {
        memcpy(g->own, g->mac, ETHER_ADDR_LEN);
        memcpy(g->mac, slave->port->mac, ETHER_ADDR_LEN);
        g->has_own = true;
    }
}

void guard_leave_l2(IpvlanSlave *slave)
{
    GuardSlave *g = &slave->guarded;

    if (g->has_own) {
        memcpy(g->mac, g->own, ETHER_ADDR_LEN);
        g->has_own = false;
    } else {
        pin_to_nic(slave);      /* or it stays with the port's */
    }
}

static bool is_mac(const IpvlanSlave *slave, const Packet *p, uint32_t off)
{
    uint8_t buf[ETHER_ADDR_LEN];
    const uint8_t *b = packet_peek(p, off, sizeof(buf), buf);

    return b && mac_equal(b, slave->guarded.mac);
}

/*
 * Whoever sends solicitations and advertisements tells its own address in
 * them.  A redirect tells another's mostly.
 */
static bool check_nd_options(const IpvlanSlave *slave, const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint32_t off;
    uint8_t buf[2];

    if (l->nd_type == ND_REDIRECT) {
        return true;
    }
    off = l->l4 + nd_fixed_len(l->nd_type);
    while (off < l->end) {
        const uint8_t *b = packet_peek(p, off, sizeof(buf), buf);
        uint8_t type = b ? b[0] : 0, len = b ? b[1] : 0;

        /* checked by the parser; but a guest may write meanwhile */
        if (!len) {
            return false;
        }
        if ((type == ND_OPT_SOURCE || type == ND_OPT_TARGET) &&
            !is_mac(slave, p, off + 2)) {
            return false;
        }
        off += len * 8;
    }
    return true;
}

/*
 * What is behind these, somebody else on the network may take for more tags
 * (0x9100 and its like were in use before 802.1ad), or for the frame's
 * Ethertype: RFC 1122, 2.3.3, has hosts accept RFC 1042, and 802.11 makes
 * Ethernet of it and of 802.1H.
 */
static bool is_disguised(const Packet *p)
{
    static const uint8_t snap[] = { 0xaa, 0xaa, 3, 0, 0 };
    const PacketLayers *l = &p->layers;
    uint8_t buf[sizeof(snap) + 1];
    const uint8_t *b;

    switch (l->ethertype) {
    case ETH_8021Q:
    case ETH_8021AD:
    case 0x9100:
    case 0x9200:
    case 0x9300:
        return true;
    }
    if (l->ethertype > 1500) {
        return false;
    }
    b = packet_peek(p, l->l3, sizeof(buf), buf);
    return b && !memcmp(b, snap, sizeof(snap)) && (b[5] == 0 || b[5] == 0xf8);
}

static DropReason check_identity(const IpvlanSlave *slave, const Packet *p)
{
    bool ok;

    if (!mac_equal(packet_src_mac(p), slave->guarded.mac)) {
        return DROP_GUARD_MAC;
    }
    switch (p->layers.kind) {
    case PACKET_ARP:
    case PACKET_RARP:
        ok = is_mac(slave, p, p->layers.l3 + ARP_SHA);
        return ok ? DROP_NONE : DROP_GUARD_MAC;
    case PACKET_ND:
        return check_nd_options(slave, p) ? DROP_NONE : DROP_GUARD_MAC;
    case PACKET_OTHER:
        return is_disguised(p) ? DROP_GUARD_TAGS : DROP_NONE;
    default:
        return DROP_NONE;
    }
}

/* --- no servers, no routers ---------------------------------------------- */

/* First byte of the upper layer's header; -1: it is not in this frame. */
static int upper_type(const Packet *p)
{
    uint8_t buf[1];
    const uint8_t *b = p->layers.l4 && p->layers.l4 < p->layers.end ?
                       packet_peek(p, p->layers.l4, 1, buf) : NULL;

    return b ? *b : -1;
}

/*
 * A server's or relay's port, or one for clients alone: not every client asks
 * from which port an answer comes.
 */
static DropReason check_udp(const PacketLayers *l)
{
    bool v4 = l->src.family == IP_V4;

    if (l->src_port == (v4 ? BOOTP_SERVER : DHCPV6_SERVER) ||
        l->dst_port == (v4 ? BOOTP_CLIENT : DHCPV6_CLIENT)) {
        return DROP_GUARD_DHCP;
    }
    return DROP_NONE;
}

static DropReason check_icmp(const Packet *p)
{
    if (p->layers.src.family != IP_V4) {
        return DROP_NONE;
    }
    switch (upper_type(p)) {
    case ICMP_REDIRECT:
        return DROP_GUARD_REDIRECT;
    case ICMP_ROUTER_ADVERT:
        return DROP_GUARD_RA;
    default:
        return DROP_NONE;
    }
}

static DropReason check_nd_type(const PacketLayers *l)
{
    return l->nd_type == ND_ROUTER_ADVERT ? DROP_GUARD_RA :
           l->nd_type == ND_REDIRECT ? DROP_GUARD_REDIRECT : DROP_NONE;
}

static DropReason check_role(const Packet *p)
{
    const PacketLayers *l = &p->layers;

    if (l->kind == PACKET_ND) {
        return check_nd_type(l);
    }
    if (l->kind == PACKET_RARP) {
        return l->arp_op == RARP_REQUEST ? DROP_NONE : DROP_GUARD_DHCP;
    }
    if (!l->l4) {
        return DROP_NONE;
    }
    switch (l->ip_proto) {
    case IPPROTO_UDP:
        return check_udp(l);
    case IPPROTO_ICMP:
        return check_icmp(p);
    default:
        return DROP_NONE;
    }
}

/* --- for snoop.c --------------------------------------------------------- */

DropReason guard_frame(IpvlanSlave *slave, const Packet *p)
{
    DropReason why;

    /* in l2 that is refused in any case, and before all else */
    if (slave->port->mode == IPVLAN_L2 &&
        !mac_equal(packet_src_mac(p), slave->port->mac)) {
        return DROP_NONE;
    }
    if (G_UNLIKELY(!slave->guarded.has_mac)) {
        pin(slave, packet_src_mac(p));
    }
    why = check_identity(slave, p);
    if (!why && slave->guard == IPVLAN_GUARD_STRICT) {
        why = check_role(p);
    }
    if (G_UNLIKELY(why)) {
        guard_report(slave, p, why, NULL);
    }
    return why;
}

bool guard_allows(const IpvlanSlave *slave, const IpAddr *addr)
{
    IpAddr local;

    if (!slave->guarded.has_mac || addr->family != IP_V6) {
        return false;
    }
    local = ip_link_local_from_mac(slave->guarded.mac);
    return ip_equal(addr, &local);
}

static bool is_igmp_report(int type)
{
    return type == IGMP_V1_REPORT || type == IGMP_V2_REPORT ||
           type == IGMP_LEAVE || type == IGMP_V3_REPORT;
}

static bool is_mld_report(int type)
{
    return type == MLD_V1_REPORT || type == MLD_DONE ||
           type == MLD_V2_REPORT;
}

bool guard_allows_unspecified(const Packet *p)
{
    const PacketLayers *l = &p->layers;

    if (l->src.family == IP_V4) {
        return l->kind == PACKET_DHCP_REQUEST ||
               (l->ip_proto == IPPROTO_IGMP && is_igmp_report(upper_type(p)));
    }
    return l->ip_proto == IPPROTO_ICMPV6 && is_mld_report(upper_type(p));
}
