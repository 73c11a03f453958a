/*
 * What frames tell: learning addresses, and who may not use them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "port.h"

/* --- telling ------------------------------------------------------------- */

static bool is_excess(EventLimit *l, int64_t now)
{
    if (now - l->since >= IPVLAN_EVENTS_NS) {
        *l = (EventLimit) { .since = now };
    }
    return l->n++ >= IPVLAN_EVENTS_MAX;
}

/* @slave's: @a is its own from now on, or no longer. */
static void trace_addr(const IpvlanAddr *a, LinkEvent event)
{
    IpvlanSlave *slave = a->slave;
    const LinkPlatform *platform = slave->link->platform;

    if (platform->trace) {
        platform->trace(&(LinkTrace) {
            .event = event, .link = slave->link, .addr = &a->prefix,
            .origin = a->origin,
            .excess = is_excess(&slave->told_addrs, platform->now()),
        });
    }
}

/* @slave has used @a, which is another's. */
static void trace_contest(IpvlanSlave *slave, const IpvlanAddr *a)
{
    const LinkPlatform *platform = slave->link->platform;

    if (platform->trace) {
        platform->trace(&(LinkTrace) {
            .event = LINK_EVENT_CONTEST, .link = slave->link,
            .other = a->slave->link, .addr = &a->prefix,
            .origin = a->origin,
            .excess = is_excess(&slave->told_contests, platform->now()),
        });
    }
}

/* --- when it was used ---------------------------------------------------- */

void ipvlan_clock_over(void *opaque)
{
    IpvlanPort *port = opaque;

    port->clock = 0;
}

static SLOW_PATH void clock_read(IpvlanPort *port)
{
    int64_t now = ipvlan_now(port);

    port->clock = MAX(now / IPVLAN_TICK, 1);
    port->lower->platform->work_at(port->clock_work, now + IPVLAN_CLOCK_AGE);
}

/*
 * Each frame that is sent comes by here: it reads no clock, and where its
 * address lies only once in IPVLAN_CLOCK_AGE has something to be written.
 */
static inline void touch(IpvlanPort *port, OwnerSlot *slot)
{
    if (G_UNLIKELY(!port->clock)) {
        clock_read(port);
    }
    if (G_UNLIKELY(slot->used < port->clock)) {
        slot->used = port->clock;
    }
}

static OwnerSlot *slot_of(const IpvlanAddr *a)
{
    return addr_table_find(&a->slave->port->addrs, &a->prefix);
}

int64_t ipvlan_used(const IpvlanAddr *a)
{
    return slot_of(a)->used * IPVLAN_TICK;
}

/* Where it belongs in its queue since it was used: near the end mostly. */
static void resort(IpvlanAddr *a, uint64_t used)
{
    GQueue *learned = &a->slave->learned;
    GList *before;

    g_queue_unlink(learned, &a->node);
    a->sorted_by = used;
    before = learned->tail;
    while (before && ((IpvlanAddr *)before->data)->sorted_by > used) {
        before = before->prev;
    }
    g_queue_insert_after_link(learned, before, &a->node);
}

/*
 * The longest unused of what @slave has learned.  The queue is put in order
 * only here, and only as far as its first one has been used since.
 */
static IpvlanAddr *longest_unused(IpvlanSlave *slave)
{
    for (;;) {
        IpvlanAddr *a = slave->learned.head->data;
        uint64_t used = slot_of(a)->used;

        if (a->sorted_by == used) {
            return a;
        }
        resort(a, used);
    }
}

/* --- owning -------------------------------------------------------------- */

static int64_t addr_expiry(const IpvlanAddr *a)
{
    int64_t unused = ipvlan_used(a) + a->slave->port->expiry;

    return MAX(unused, a->lease_end);
}

static void expiry_arm(IpvlanPort *port, int64_t when)
{
    if (!port->expiry_at || when < port->expiry_at) {
        port->expiry_at = when;
        port->lower->platform->work_at(port->expiry_work, when);
    }
}

IpvlanAddr *ipvlan_own(IpvlanSlave *slave, const IpPrefix *prefix,
                       IpvlanOrigin origin)
{
    IpvlanPort *port = slave->port;
    IpvlanAddr *a = g_new0(IpvlanAddr, 1);

    a->prefix = *prefix;
    a->origin = origin;
    a->slave = slave;
    a->learned = ipvlan_now(port);
    a->sorted_by = a->learned / IPVLAN_TICK;
    a->node.data = a;
    addr_table_insert(&port->addrs, a)->used = a->sorted_by;
    if (origin == IPVLAN_ORIGIN_STATIC) {
        g_queue_push_tail_link(&slave->fixed, &a->node);
        return a;
    }
    if (slave->learned.length >= slave->max_addrs) {
        ipvlan_disown(longest_unused(slave));
    }
    g_queue_push_tail_link(&slave->learned, &a->node);
    trace_addr(a, LINK_EVENT_LEARN);
    expiry_arm(port, addr_expiry(a));
    return a;
}

void ipvlan_disown(IpvlanAddr *a)
{
    IpvlanSlave *slave = a->slave;

    announce_forget(a);
    addr_table_remove(&slave->port->addrs, a);
    if (a->origin == IPVLAN_ORIGIN_STATIC) {
        g_queue_unlink(&slave->fixed, &a->node);
    } else {
        g_queue_unlink(&slave->learned, &a->node);
        trace_addr(a, LINK_EVENT_EXPIRE);
    }
    g_free(a);
}

void ipvlan_disown_all(IpvlanSlave *slave)
{
    slave->told_addrs = (EventLimit) {
        .since = ipvlan_now(slave->port), .n = IPVLAN_EVENTS_MAX,
    };
    while (!g_queue_is_empty(&slave->fixed)) {
        ipvlan_disown(slave->fixed.head->data);
    }
    while (!g_queue_is_empty(&slave->learned)) {
        ipvlan_disown(slave->learned.head->data);
    }
}

void ipvlan_pin(IpvlanAddr *a)
{
    g_queue_unlink(&a->slave->learned, &a->node);
    a->origin = IPVLAN_ORIGIN_STATIC;
    a->lease_end = 0;
    g_queue_push_tail_link(&a->slave->fixed, &a->node);
}

/* Expire what is due on @slave.  Returns when to look again, or INT64_MAX. */
static int64_t expire_slave(IpvlanSlave *slave, int64_t now)
{
    int64_t next = INT64_MAX;

    for (GList *l = slave->learned.head, *after; l; l = after) {
        int64_t when = addr_expiry(l->data);

        after = l->next;
        if (when <= now) {
            ipvlan_disown(l->data);
        } else {
            next = MIN(next, when);
        }
    }
    return next;
}

void ipvlan_expire(void *opaque)
{
    IpvlanPort *port = opaque;
    int64_t now = ipvlan_now(port);
    int64_t next = INT64_MAX;

    port->expiry_at = 0;
    for (GList *l = port->slaves.head; l; l = l->next) {
        int64_t when = expire_slave(l->data, now);

        next = MIN(next, when);
    }
    if (next != INT64_MAX) {
        expiry_arm(port, next);
    }
}

/* --- learning ------------------------------------------------------------ */

/* What needs not be given: the link-local address of its MAC. */
static bool may_learn_local(const IpvlanSlave *slave, const IpAddr *addr)
{
    IpAddr local;

    if (slave->guard != IPVLAN_GUARD_OFF) {
        /* It may use it anyway, and does not displace what it leased. */
        return !ipvlan_is_l3(slave->port) && guard_allows(slave, addr) &&
               slave->learned.length < slave->max_addrs;
    }
    local = ip_link_local_from_mac(slave->mac);
    return slave->learn == IPVLAN_LEARN_DHCP && slave->has_mac &&
           ip_equal(addr, &local);
}

static bool may_learn(const IpvlanSlave *slave, const IpAddr *addr)
{
    if (!ip_is_ownable(addr) ||
        addr_table_count(&slave->port->addrs) >= IPVLAN_TABLE_LIMIT) {
        return false;
    }
    return slave->learn == IPVLAN_LEARN_ON || may_learn_local(slave, addr);
}

static SLOW_PATH void contest(IpvlanSlave *slave, const OwnerSlot *slot)
{
    const IpvlanAddr *a = addr_table_entry(&slave->port->addrs, slot);

    slave->contested++;
    trace_contest(slave, a);
}

static SLOW_PATH DropReason refuse(IpvlanSlave *slave, const Packet *p,
                                   const IpAddr *addr, IpvlanOrigin origin)
{
    DropReason why = origin == IPVLAN_ORIGIN_ARP ? DROP_GUARD_ARP :
                     origin == IPVLAN_ORIGIN_ND ? DROP_GUARD_ND :
                                                  DROP_GUARD_SOURCE;

    guard_report(slave, p, why, addr);
    return why;
}

/*
 * Nobody's, and learned where that is allowed, refused where there is a
 * guard; or another's, and refused.
 */
static SLOW_PATH DropReason claim_foreign(IpvlanSlave *slave, const Packet *p,
                                          const OwnerSlot *slot,
                                          const IpAddr *addr,
                                          IpvlanOrigin origin)
{
    if (slot) {
        contest(slave, slot);
        return DROP_NOT_OWNED;
    }
    if (may_learn(slave, addr)) {
        ipvlan_own(slave, &(IpPrefix) { *addr, ip_bits(addr->family) },
                   origin);
        return DROP_NONE;
    }
    if (slave->guard == IPVLAN_GUARD_OFF || guard_allows(slave, addr)) {
        return DROP_NONE;
    }
    return refuse(slave, p, addr, origin);
}

/* @slave uses @addr in @p: DROP_NONE, or why the frame is refused. */
static inline DropReason claim(IpvlanSlave *slave, const Packet *p,
                               const IpAddr *addr, IpvlanOrigin origin)
{
    IpvlanPort *port = slave->port;
    OwnerSlot *slot = addr_table_lookup(&port->addrs, addr);

    if (slave->probed.family && ip_equal(&slave->probed, addr)) {
        slave->probed.family = IP_NONE;
    }
    if (G_LIKELY(slot && slot->slave == slave)) {
        touch(port, slot);
        return DROP_NONE;
    }
    return claim_foreign(slave, p, slot, addr, origin);
}

/*
 * A duplicate address probe asks; who asks for what another slave owns is
 * answered by its owner, and has done nothing wrong.
 */
static DropReason claim_probed(IpvlanSlave *slave, const Packet *p)
{
    const IpAddr *addr = &p->layers.target;

    if (addr_table_lookup(&slave->port->addrs, addr)) {
        return DROP_NONE;
    }
    return claim(slave, p, addr, IPVLAN_ORIGIN_ND);
}

/* From nobody: a solicitation that looks for a duplicate, or for a router. */
static DropReason snoop_nd_unspecified(IpvlanSlave *slave, const Packet *p)
{
    const PacketLayers *l = &p->layers;
    DropReason why;

    if (l->nd_type == ND_NEIGHBOUR_SOLICIT) {
        why = claim_probed(slave, p);
        if (!why) {
            slave->probed = l->target;
        }
        return why;
    }
    if (slave->guard == IPVLAN_GUARD_OFF || l->nd_type == ND_ROUTER_SOLICIT) {
        return DROP_NONE;
    }
    return refuse(slave, p, &l->src, IPVLAN_ORIGIN_ND);
}

static SLOW_PATH DropReason snoop_nd(IpvlanSlave *slave, const Packet *p)
{
    const PacketLayers *l = &p->layers;

    slave->is_router |= l->nd_type == ND_ROUTER_ADVERT;
    if (l->nd_type == ND_NEIGHBOUR_ADVERT) {
        DropReason why = claim(slave, p, &l->target, IPVLAN_ORIGIN_ND);

        if (why) {
            return why;
        }
    }
    if (!ip_is_unspecified(&l->src)) {
        return claim(slave, p, &l->src, IPVLAN_ORIGIN_ND);
    }
    return snoop_nd_unspecified(slave, p);
}

/*
 * RFC 5227: a probe's sender is 0.0.0.0, it does not use it yet.  Who might
 * not use it then either need not ask.
 */
static DropReason snoop_arp_probe(IpvlanSlave *slave, const Packet *p)
{
    const IpAddr *addr = &p->layers.dst;

    if (slave->guard != IPVLAN_GUARD_OFF && !may_learn(slave, addr) &&
        !addr_table_lookup(&slave->port->addrs, addr)) {
        return refuse(slave, p, addr, IPVLAN_ORIGIN_ARP);
    }
    slave->probed = *addr;
    return DROP_NONE;
}

static SLOW_PATH DropReason snoop_arp(IpvlanSlave *slave, const Packet *p)
{
    const PacketLayers *l = &p->layers;

    return ip_is_unspecified(&l->src) ? snoop_arp_probe(slave, p) :
           claim(slave, p, &l->src, IPVLAN_ORIGIN_ARP);
}

/* Nobody learns from it, but who asks in it, or answers, is a sender. */
static SLOW_PATH DropReason snoop_rarp(IpvlanSlave *slave, const Packet *p)
{
    uint8_t buf[4];
    const uint8_t *b = packet_peek(p, p->layers.l3 + ARP_SPA, sizeof(buf),
                                   buf);
    IpAddr sender;

    if (slave->guard == IPVLAN_GUARD_OFF) {
        return DROP_NONE;
    }
    sender = ip_v4(b);
    return ip_is_unspecified(&sender) ? DROP_NONE :
           claim(slave, p, &sender, IPVLAN_ORIGIN_ARP);
}

static SLOW_PATH DropReason snoop_unspecified(IpvlanSlave *slave,
                                              const Packet *p)
{
    if (slave->guard == IPVLAN_GUARD_OFF || guard_allows_unspecified(p)) {
        return DROP_NONE;
    }
    return refuse(slave, p, &p->layers.src, IPVLAN_ORIGIN_IP);
}

static SLOW_PATH void snoop_dhcp_request(IpvlanSlave *slave, const Packet *p)
{
    DhcpMessage m;

    if (packet_parse_dhcp(p, &m)) {
        slave->dhcp_xid = m.xid;
        slave->has_dhcp_xid = true;
    }
}

static SLOW_PATH void see_l2_mac(IpvlanSlave *slave, const uint8_t *mac)
{
    memcpy(slave->mac, mac, ETHER_ADDR_LEN);
    slave->has_mac = true;
    slave->has_port_mac = mac_equal(mac, slave->port->mac);
}

void snoop_known_mac(IpvlanSlave *slave, const uint8_t *mac)
{
    if (slave->port->mode == IPVLAN_L2) {
        see_l2_mac(slave, mac);
    } else {
        macnat_see(slave, mac);
    }
}

/* Of several wrong ones the first is remembered. */
static inline DropReason snoop_mac(IpvlanSlave *slave, const uint8_t *mac)
{
    if (slave->port->mode != IPVLAN_L2) {
        macnat_see(slave, mac);
        return DROP_NONE;
    }
    if (G_UNLIKELY(!mac_equal(mac, slave->port->mac))) {
        if (!slave->has_mac) {
            see_l2_mac(slave, mac);
        }
        return DROP_FOREIGN_MAC;
    }
    if (G_UNLIKELY(!slave->has_port_mac)) {
        see_l2_mac(slave, mac);
    }
    return DROP_NONE;
}

/* What guards cost an ordinary frame: its MAC address is compared. */
static inline DropReason check_guard(IpvlanSlave *slave, const Packet *p)
{
    if (slave->guard == IPVLAN_GUARD_OFF ||
        (slave->guard == IPVLAN_GUARD_ON && slave->guarded.has_mac &&
         (p->layers.kind == PACKET_IPV4 || p->layers.kind == PACKET_IPV6) &&
         mac_equal(packet_src_mac(p), slave->guarded.mac))) {
        return DROP_NONE;
    }
    return guard_frame(slave, p);
}

DropReason snoop_sent(IpvlanSlave *slave, const Packet *p)
{
    const PacketLayers *l = &p->layers;
    DropReason why;

    /* first: a MAC address that is not its own must not be learned */
    why = check_guard(slave, p);
    if (G_LIKELY(!why)) {
        why = snoop_mac(slave, packet_src_mac(p));
    }
    if (G_UNLIKELY(why)) {
        return why;
    }
    switch (l->kind) {
    case PACKET_ND:
        return snoop_nd(slave, p);
    case PACKET_ARP:
        return snoop_arp(slave, p);
    case PACKET_RARP:
        return snoop_rarp(slave, p);
    case PACKET_DHCP_REQUEST:
        snoop_dhcp_request(slave, p);
        /* fall through */
    case PACKET_IPV4:
    case PACKET_IPV6:
    case PACKET_DHCP_REPLY:
        return G_UNLIKELY(ip_is_unspecified(&l->src)) ?
               snoop_unspecified(slave, p) :
               claim(slave, p, &l->src, IPVLAN_ORIGIN_IP);
    default:
        return DROP_NONE;
    }
}

/* --- learned elsewhere --------------------------------------------------- */

static bool may_own_again(const IpvlanSlave *slave,
                          const IpvlanAddrInfo *info)
{
    const IpvlanPort *port = slave->port;

    if (info->origin <= IPVLAN_ORIGIN_STATIC ||
        info->origin > IPVLAN_ORIGIN_IP ||
        slave->learned.length >= slave->max_addrs ||
        addr_table_lookup(&port->addrs, &info->prefix.addr)) {
        return false;
    }
    if (info->origin == IPVLAN_ORIGIN_DHCP) {
        return slave->learn != IPVLAN_LEARN_OFF &&
               ip_is_ownable(&info->prefix.addr) &&
               addr_table_count(&port->addrs) < IPVLAN_TABLE_LIMIT;
    }
    return may_learn(slave, &info->prefix.addr);
}

bool ipvlan_own_again(IpvlanSlave *slave, const IpvlanAddrInfo *info,
                      int64_t lease_end)
{
    IpvlanAddr *a;

    if (!may_own_again(slave, info)) {
        return ipvlan_owner_of(slave->port, &info->prefix.addr) == slave;
    }
    a = ipvlan_own(slave, &info->prefix, info->origin);
    a->learned = info->learned;
    a->lease_end = lease_end;
    a->sorted_by = MAX(info->used, 0) / IPVLAN_TICK;
    slot_of(a)->used = a->sorted_by;
    expiry_arm(slave->port, addr_expiry(a));
    return true;
}

/* --- DHCP ---------------------------------------------------------------- */

/* In l2 all guests have the same MAC: the transaction tells them apart. */
static IpvlanSlave *find_dhcp_client(const IpvlanPort *port,
                                     const DhcpMessage *m)
{
    IpvlanSlave *by_mac = NULL;

    for (GList *l = port->slaves.head; l; l = l->next) {
        IpvlanSlave *slave = l->data;

        if (!slave->has_mac || !mac_equal(slave->mac, m->chaddr)) {
            continue;
        }
        if (slave->has_dhcp_xid && slave->dhcp_xid == m->xid) {
            return slave;
        }
        by_mac = slave;
    }
    return port->mode == IPVLAN_L2_MACNAT ? by_mac : NULL;
}

/* A server's word holds for the lease, however quiet the guest is. */
static void learn_lease(IpvlanSlave *slave, const DhcpMessage *m)
{
    IpvlanPort *port = slave->port;
    IpPrefix prefix = { m->yiaddr, ip_bits(IP_V4) };
    OwnerSlot *slot = addr_table_lookup(&port->addrs, &m->yiaddr);
    IpvlanAddr *a = addr_table_entry(&port->addrs, slot);

    if (slave->learn == IPVLAN_LEARN_OFF || !ip_is_ownable(&m->yiaddr)) {
        return;
    }
    if (a && a->slave != slave) {
        contest(slave, slot);
        return;
    }
    if (!a) {
        if (addr_table_count(&port->addrs) >= IPVLAN_TABLE_LIMIT) {
            return;
        }
        a = ipvlan_own(slave, &prefix, IPVLAN_ORIGIN_DHCP);
    }
    if (a->origin != IPVLAN_ORIGIN_STATIC) {
        a->origin = IPVLAN_ORIGIN_DHCP;
        a->lease_end = ipvlan_now(port) + m->lease * NS_PER_S;
        touch(port, slot_of(a));
    }
}

IpvlanSlave *snoop_dhcp_client(const IpvlanPort *port, const Packet *p)
{
    DhcpMessage m;

    return packet_parse_dhcp(p, &m) ? find_dhcp_client(port, &m) : NULL;
}

IpvlanSlave *snoop_dhcp_reply(IpvlanPort *port, const Packet *p)
{
    DhcpMessage m;
    IpvlanSlave *slave;

    if (!packet_parse_dhcp(p, &m)) {
        return NULL;
    }
    slave = find_dhcp_client(port, &m);
    /* Only an answer to what this guest has asked is believed. */
    if (slave && m.type == DHCPACK && slave->has_dhcp_xid &&
        slave->dhcp_xid == m.xid) {
        learn_lease(slave, &m);
    }
    return slave;
}
