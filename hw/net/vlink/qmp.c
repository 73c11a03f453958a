/*
 * query-ipvlan
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "ipvlan-int.h"
#include "qapi/qapi-commands-net.h"
#include "qemu/timer.h"

QEMU_BUILD_BUG_ON((int)IPVLAN_ADDRESS_ORIGIN_STATIC != IPVLAN_ORIGIN_STATIC);
QEMU_BUILD_BUG_ON((int)IPVLAN_ADDRESS_ORIGIN_IP != IPVLAN_ORIGIN_IP);
QEMU_BUILD_BUG_ON((int)IPVLAN_NEIGHBOUR_STATE_INCOMPLETE != NEIGH_INCOMPLETE);
QEMU_BUILD_BUG_ON((int)IPVLAN_NEIGHBOUR_STATE_PROBE != NEIGH_PROBE);

QEMU_BUILD_BUG_ON((int)IPVLAN_WAIT_TURN != LINK_WAIT_TURN - 1);
QEMU_BUILD_BUG_ON((int)IPVLAN_WAIT_UPLINK != LINK_WAIT_LOWER - 1);
QEMU_BUILD_BUG_ON((int)IPVLAN_WAIT_RATE != LINK_WAIT_RATE - 1);

static IpvlanStats *fill_stats(const LinkStats *counted)
{
    IpvlanStats *stats = g_new0(IpvlanStats, 1);
    IpvlanDropList **tail = &stats->drops;

    stats->rx_packets = counted->rx_packets;
    stats->rx_bytes = counted->rx_bytes;
    stats->tx_packets = counted->tx_packets;
    stats->tx_bytes = counted->tx_bytes;
    stats->made = counted->made;
    stats->absorbed = counted->absorbed;
    for (int i = DROP_NONE + 1; i < DROP__MAX; i++) {
        if (counted->drops[i]) {
            IpvlanDrop *drop = g_new0(IpvlanDrop, 1);

            drop->reason = g_strdup(drop_reason_name(i));
            drop->packets = counted->drops[i];
            QAPI_LIST_APPEND(tail, drop);
        }
    }
    return stats;
}

typedef struct AddrWalk {
    IpvlanAddressList **tail;
    int64_t now;
} AddrWalk;

static void append_addr(const IpvlanAddrInfo *info, void *opaque)
{
    AddrWalk *walk = opaque;
    IpvlanAddress *a = g_new0(IpvlanAddress, 1);

    a->address = g_strdup(ip_prefix_format(&info->prefix,
                                           (char[IP_STR_MAX]) { }));
    a->origin = (IpvlanAddressOrigin)info->origin;
    a->age = (walk->now - info->learned) / NS_PER_S;
    a->has_idle = info->origin != IPVLAN_ORIGIN_STATIC;
    a->idle = (walk->now - info->used) / NS_PER_S;
    QAPI_LIST_APPEND(walk->tail, a);
}

static void append_group(const IpAddr *group, void *opaque)
{
    strList ***tail = opaque;

    QAPI_LIST_APPEND(*tail, g_strdup(ip_format(group,
                                               (char[IP_STR_MAX]) { })));
}

static IpvlanQueueStatus *fill_queue(const Link *link, unsigned i)
{
    IpvlanQueueStatus *queue = g_new0(IpvlanQueueStatus, 1);
    LinkQueueInfo info;

    link_queue_info(link, i, &info);
    queue->rx_packets = info.rx_packets;
    queue->rx_bytes = info.rx_bytes;
    vlink_queue_sent(link, i, &queue->tx_packets, &queue->tx_bytes);
    queue->waiting = info.waiting;
    queue->delay = info.delay / SCALE_US;
    queue->last_delay = info.last_delay / SCALE_US;
    return queue;
}

static void fill_queues(const Link *link, IpvlanSlaveStatus *slave)
{
    IpvlanQueueStatusList **tail = &slave->per_queue;

    slave->rx_queue = link_rx_waiting(link);
    slave->rx_queue_max = link->rx.max;
    slave->queues = link->n_queues;
    for (unsigned i = 0; i < vlink_n_queues(link); i++) {
        QAPI_LIST_APPEND(tail, fill_queue(link, i));
    }
}

/* In per cent, of all who stand on the same master. */
static double share_of(const Link *link)
{
    uint64_t sum = 0;

    for (GList *l = link->lower->uppers.head; l; l = l->next) {
        const Link *other = l->data;

        sum += other->weight;
    }
    return 100.0 * link->weight / sum;
}

static void fill_shares(const Link *link, IpvlanSlaveStatus *slave)
{
    const LinkRates *rates = &link->rates;
    LinkWait wait = link_waits_for(link);

    slave->weight = link->weight;
    slave->share = share_of(link);
    slave->has_waits_for = wait != LINK_WAIT_NONE;
    slave->waits_for = (IpvlanWait)(wait - 1);
    slave->has_tx_bps = rates->tx_bps;
    slave->tx_bps = rates->tx_bps;
    slave->has_rx_bps = rates->rx_bps;
    slave->rx_bps = rates->rx_bps;
    slave->has_burst = rates->burst;
    slave->burst = rates->burst;
}

static IpvlanSlaveStatus *fill_slave(const Link *link, IpvlanMode mode)
{
    IpvlanSlaveStatus *slave = g_new0(IpvlanSlaveStatus, 1);
    AddrWalk walk = {
        .tail = &slave->addresses, .now = link->platform->now(),
    };
    strList **groups = &slave->groups;
    IpvlanSlaveInfo info;

    ipvlan_slave_info(link, &info);
    slave->id = g_strdup(link->name);
    slave->mac = info.mac ? qemu_mac_strdup_printf(info.mac) : NULL;
    slave->link_up = link_is_up(link);
    slave->q_default = info.is_default;
    slave->learn = (NetdevIpvlanLearn)info.learn;
    slave->max_addrs = info.max_addrs;
    slave->guard = (NetdevIpvlanGuard)info.guard;
    slave->contested = info.contested;
    slave->has_flows = mode == IPVLAN_L3S;
    slave->flows = info.flows;
    fill_queues(link, slave);
    fill_shares(link, slave);
    slave->stats = fill_stats(&link->stats);
    ipvlan_foreach_addr(link, append_addr, &walk);
    slave->has_groups = mode < IPVLAN_L3;
    ipvlan_foreach_group(link, append_group, &groups);
    return slave;
}

static void append_neigh(const IpvlanNeighInfo *info, void *opaque)
{
    IpvlanNeighbourList ***tail = opaque;
    IpvlanNeighbour *n = g_new0(IpvlanNeighbour, 1);

    n->address = g_strdup(ip_format(&info->addr, (char[IP_STR_MAX]) { }));
    n->mac = info->mac ? qemu_mac_strdup_printf(info->mac) : NULL;
    n->state = (IpvlanNeighbourState)info->state;
    n->gateway = info->gateway;
    n->waiting = info->waiting;
    QAPI_LIST_APPEND(*tail, n);
}

static strList *fill_gateways(const IpvlanPortInfo *info)
{
    const IpAddr *gateways[] = { info->gateway4, info->gateway6 };
    strList *list = NULL, **tail = &list;
    char text[IP_STR_MAX];

    for (int i = 0; i < ARRAY_SIZE(gateways); i++) {
        if (gateways[i]) {
            QAPI_LIST_APPEND(tail, g_strdup(ip_format(gateways[i], text)));
        }
    }
    return list;
}

static void fill_router(const Link *lower, const IpvlanPortInfo *info,
                        IpvlanPortStatus *port)
{
    IpvlanNeighbourList **tail = &port->neighbours;

    port->has_gateways = port->has_mtu = port->has_ra = true;
    port->has_proxy_arp = port->has_neighbours = true;
    port->gateways = fill_gateways(info);
    port->mtu = info->mtu;
    port->ra = info->ra;
    port->proxy_arp = info->proxy_arp;
    ipvlan_foreach_neigh(lower, append_neigh, &tail);
}

static void fill_filter(const Link *lower, const IpvlanPortInfo *info,
                        IpvlanPortStatus *port)
{
    port->has_policy = port->has_flows = port->has_rules = true;
    port->policy = (NetdevIpvlanPolicy)info->policy;
    port->flows = info->flows;
    port->rules = ipvlan_rules_query(lower);
}

static IpvlanPortStatus *fill_port(const Link *lower,
                                   const IpvlanPortInfo *info)
{
    IpvlanPortStatus *port = g_new0(IpvlanPortStatus, 1);
    IpvlanSlaveStatusList **tail = &port->slaves;

    port->master = g_strdup(vlink_master_id(lower));
    port->mode = (NetdevIpvlanMode)info->mode;
    port->flag = (NetdevIpvlanFlag)info->flag;
    port->mac = qemu_mac_strdup_printf(info->mac);
    port->link_up = link_is_up(lower);
    port->backlog = info->backlog;
    port->waiting = info->waiting;
    if (info->mode >= IPVLAN_L3) {
        fill_router(lower, info, port);
    }
    if (info->mode == IPVLAN_L3S) {
        fill_filter(lower, info, port);
    }
    port->stats = fill_stats(&lower->stats);
    port->deleted = fill_stats(&lower->deleted);
    for (GList *l = lower->uppers.head; l; l = l->next) {
        QAPI_LIST_APPEND(tail, fill_slave(l->data, info->mode));
    }
    return port;
}

IpvlanPortStatusList *qmp_query_ipvlan(Error **errp)
{
    IpvlanPortStatusList *list = NULL, **tail = &list;
    IpvlanPortInfo info;

    for (Link *l = NULL; (l = vlink_next_lower(l)); ) {
        if (ipvlan_port_info(l, &info)) {
            QAPI_LIST_APPEND(tail, fill_port(l, &info));
        }
    }
    return list;
}
