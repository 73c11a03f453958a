/*
 * What is always true of ports, checked while they run
 *
 * Nothing of what is checked is made use of here: frames are parsed, and
 * owners are found, in the simplest way that there is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "invariant.h"

#ifdef VLINK_INVARIANTS

#include "answer.h"

/* --- limits --------------------------------------------------------------- */

static void check_backlog(const IpvlanPort *port)
{
    unsigned n = port->external.packets.length;

    for (GList *l = port->slaves.head; l; l = l->next) {
        n += ((const IpvlanSlave *)l->data)->broadcast.packets.length;
    }
    invariant(n == port->backlog && n <= IPVLAN_BACKLOG,
              "%u frames for many wait on '%s', and %u are counted", n,
              port->lower->name, port->backlog);
}

static void check_slave(const IpvlanSlave *slave)
{
    invariant(slave->learned.length <= slave->max_addrs,
              "'%s' has learned %u addresses, and may learn %u",
              slave->link->name, slave->learned.length, slave->max_addrs);
    invariant(slave->neigh.waiting <= NEIGH_WAITING_BYTES,
              "packets of '%s' that wait for neighbours take %zu bytes",
              slave->link->name, slave->neigh.waiting);
}

static void check_addresses(const IpvlanPort *port)
{
    unsigned n = 0;

    for (GList *l = port->slaves.head; l; l = l->next) {
        const IpvlanSlave *slave = l->data;

        check_slave(slave);
        n += slave->fixed.length + slave->learned.length;
    }
    invariant(n == addr_table_count(&port->addrs) && n <= IPVLAN_TABLE_LIMIT,
              "slaves of '%s' own %u addresses, and %u are in its table",
              port->lower->name, n, addr_table_count(&port->addrs));
}

static void check_router(const IpvlanPort *port)
{
    unsigned gateways = !!port->gateway4.family + !!port->gateway6.family;

    invariant(port->neigh.table.n <= NEIGH_MAX + gateways,
              "'%s' knows %u neighbours", port->lower->name,
              port->neigh.table.n);
    invariant(port->answers.length <= ANSWERS_MAX,
              "%u answers wait for '%s'", port->answers.length,
              port->lower->name);
    invariant(filter_flows(port) <= FLOW_MAX,
              "'%s' keeps track of %u flows", port->lower->name,
              filter_flows(port));
}

/* --- one MAC address ------------------------------------------------------ */

static void check_sent(const IpvlanPort *port, const Packet *p)
{
    char text[MAC_STR_MAX];
    uint8_t buf[ETHER_ADDR_LEN];
    const uint8_t *src = packet_peek(p, ETHER_ADDR_LEN, sizeof(buf), buf);

    invariant(src && mac_equal(src, port->mac),
              "a frame leaves '%s' with the source MAC address %s",
              port->lower->name, src ? mac_format(src, text) : "of none");
}

void ipvlan_check(const Link *lower, const Packet *p)
{
    const IpvlanPort *port = ipvlan_port(lower);

    if (lower->rx_handler != ipvlan_handle_frame) {
        return;
    }
    if (p) {
        check_sent(port, p);
        return;
    }
    check_backlog(port);
    check_addresses(port);
    check_router(port);
}

/* --- guards --------------------------------------------------------------- */

static bool covers(const IpPrefix *prefix, const IpAddr *addr)
{
    unsigned whole = prefix->len / 8, bits = prefix->len % 8;

    return prefix->addr.family == addr->family &&
           !memcmp(prefix->addr.b, addr->b, whole) &&
           (!bits || (prefix->addr.b[whole] ^ addr->b[whole]) >>
                     (8 - bits) == 0);
}

static void find_longest(const GQueue *owned, const IpAddr *addr,
                         const IpvlanAddr **best)
{
    for (GList *l = owned->head; l; l = l->next) {
        const IpvlanAddr *a = l->data;

        if (covers(&a->prefix, addr) &&
            (!*best || a->prefix.len > (*best)->prefix.len)) {
            *best = a;
        }
    }
}

static const IpvlanSlave *owner_of(const IpvlanPort *port, const IpAddr *addr)
{
    const IpvlanAddr *best = NULL;

    for (GList *l = port->slaves.head; l; l = l->next) {
        const IpvlanSlave *slave = l->data;

        find_longest(&slave->fixed, addr, &best);
        find_longest(&slave->learned, addr, &best);
    }
    return best ? best->slave : NULL;
}

/* The frame's source, whatever it is; IP_NONE: it has none. */
static IpAddr source_of(const uint8_t *b, uint32_t len)
{
    uint32_t type = PACKET_HEAD_LEN - 2;

    while (type + 4 < len && ((b[type] == 0x81 && b[type + 1] == 0) ||
                              (b[type] == 0x88 && b[type + 1] == 0xa8))) {
        type += 4;
    }
    if (type + 2 + 40 <= len && b[type] == 0x86 && b[type + 1] == 0xdd) {
        return ip_v6(b + type + 2 + 8);
    }
    if (type + 2 + 20 <= len && b[type] == 0x08 && b[type + 1] == 0x00) {
        return ip_v4(b + type + 2 + 12);
    }
    if (type + 2 + 28 <= len && b[type] == 0x08 && b[type + 1] == 0x06) {
        return ip_v4(b + type + 2 + 14);
    }
    return (IpAddr) { 0 };
}

/* From nobody, as who asks for an address is; and its own link-local one. */
static bool needs_no_owner(const IpvlanSlave *slave, const IpAddr *addr)
{
    IpAddr local = ip_link_local_from_mac(slave->guarded.mac);

    return ip_is_unspecified(addr) || ip_equal(addr, &local);
}

void invariant_may_send(const IpvlanSlave *slave, const Packet *p)
{
    uint8_t b[PACKET_HEAD_LEN + 2 * 4 + 40];
    uint32_t len = MIN(p->len, sizeof(b));
    char text[IP_STR_MAX];
    IpAddr src;

    if (slave->guard == IPVLAN_GUARD_OFF) {
        return;
    }
    packet_copy_range(p, 0, len, b);
    src = source_of(b, len);
    invariant(!slave->guarded.has_mac ||
              mac_equal(b + ETHER_ADDR_LEN, slave->guarded.mac),
              "'%s', which has a guard, sends from another MAC address",
              slave->link->name);
    invariant(!src.family || needs_no_owner(slave, &src) ||
              owner_of(slave->port, &src) == slave,
              "'%s', which has a guard, sends from %s", slave->link->name,
              ip_format(&src, text));
}

#endif
