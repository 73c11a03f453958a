/*
 * info ipvlan
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/qapi-commands-net.h"

static void print_row(Monitor *mon, const char *name, const char *mac,
                      bool up, const IpvlanStats *stats)
{
    uint64_t drops = 0;

    for (IpvlanDropList *d = stats->drops; d; d = d->next) {
        drops += d->value->packets;
    }
    monitor_printf(mon, "  %-10s %-17s %-4s %8" PRIu64 " %9" PRIu64
                   " %8" PRIu64 " %9" PRIu64 " %5" PRIu64 "\n",
                   name, mac, up ? "up" : "down",
                   stats->rx_packets, stats->rx_bytes,
                   stats->tx_packets, stats->tx_bytes, drops);
}

static void print_drops(Monitor *mon, const IpvlanStats *stats)
{
    for (IpvlanDropList *d = stats->drops; d; d = d->next) {
        monitor_printf(mon, "      dropped: %" PRIu64 " %s\n",
                       d->value->packets, d->value->reason);
    }
}

/* "name value, name value", of which the first comma is yet to be skipped. */
static void print_list(Monitor *mon, const char *indent, const GString *text)
{
    if (text->len) {
        monitor_printf(mon, "%s%s\n", indent, text->str + strlen(", "));
    }
}

/* What is as usual is left out. */
static void print_shares(Monitor *mon, const IpvlanSlaveStatus *slave)
{
    g_autoptr(GString) text = g_string_new(NULL);

    if (slave->queues > 1) {
        g_string_append_printf(text, ", queues %u", slave->queues);
    }
    if (slave->weight > 1) {
        g_string_append_printf(text, ", weight %u", slave->weight);
    }
    if (slave->has_tx_bps) {
        g_string_append_printf(text, ", tx-bps %" PRIu64, slave->tx_bps);
    }
    if (slave->has_rx_bps) {
        g_string_append_printf(text, ", rx-bps %" PRIu64, slave->rx_bps);
    }
    if (slave->has_burst) {
        g_string_append_printf(text, ", burst %" PRIu64, slave->burst);
    }
    print_list(mon, "      ", text);
}

/* Groups may be many, and come in no order: query-ipvlan has them. */
static void print_guard(Monitor *mon, const IpvlanSlaveStatus *slave)
{
    g_autoptr(GString) text = g_string_new(NULL);

    if (slave->guard != NETDEV_IPVLAN_GUARD_OFF) {
        g_string_append_printf(text, ", guard %s",
                               NetdevIpvlanGuard_str(slave->guard));
    }
    if (slave->has_flows) {
        g_string_append_printf(text, ", flows %u", slave->flows);
    }
    if (slave->groups) {
        g_string_append_printf(text, ", groups %zu",
                               QAPI_LIST_LENGTH(slave->groups));
    }
    print_list(mon, "      ", text);
}

static void print_slave(Monitor *mon, const IpvlanSlaveStatus *slave)
{
    print_row(mon, slave->id, slave->mac ?: "-", slave->link_up,
              slave->stats);
    print_shares(mon, slave);
    print_guard(mon, slave);
    for (IpvlanAddressList *a = slave->addresses; a; a = a->next) {
        monitor_printf(mon, "      %s (%s", a->value->address,
                       IpvlanAddressOrigin_str(a->value->origin));
        if (a->value->has_idle) {
            monitor_printf(mon, ", age %" PRId64 " s, idle %" PRId64 " s",
                           a->value->age, a->value->idle);
        }
        monitor_printf(mon, ")\n");
    }
    print_drops(mon, slave->stats);
}

/* --- a port that routes -------------------------------------------------- */

static const char *on_off(bool on)
{
    return on ? "on" : "off";
}

static void print_router(Monitor *mon, const IpvlanPortStatus *port)
{
    g_autoptr(GString) text = g_string_new(NULL);

    if (!port->has_mtu) {
        return;
    }
    for (strList *g = port->gateways; g; g = g->next) {
        g_string_append_printf(text, ", gateway %s", g->value);
    }
    g_string_append_printf(text, ", mtu %u, ra %s, proxy-arp %s", port->mtu,
                           on_off(port->ra), on_off(port->proxy_arp));
    print_list(mon, "  ", text);
    if (port->has_policy) {
        monitor_printf(mon, "  policy %s, flows %u\n",
                       NetdevIpvlanPolicy_str(port->policy), port->flows);
    }
}

static void print_neighbours(Monitor *mon, const IpvlanPortStatus *port)
{
    if (port->neighbours) {
        monitor_printf(mon, "  %-26s %-17s %s\n", "neighbour", "MAC",
                       "state");
    }
    for (IpvlanNeighbourList *l = port->neighbours; l; l = l->next) {
        const IpvlanNeighbour *n = l->value;

        monitor_printf(mon, "  %-26s %-17s %s", n->address, n->mac ?: "-",
                       IpvlanNeighbourState_str(n->state));
        if (n->gateway) {
            monitor_printf(mon, ", gateway");
        }
        if (n->waiting) {
            monitor_printf(mon, ", waiting %u", n->waiting);
        }
        monitor_printf(mon, "\n");
    }
}

/* The expression may be long: it has a line of its own. */
static void print_rules(Monitor *mon, const IpvlanPortStatus *port)
{
    if (port->rules) {
        monitor_printf(mon, "  %-10s %5s %-10s %-4s %-6s %8s %9s\n", "rule",
                       "prio", "slave", "dir", "action", "packets", "bytes");
    }
    for (IpvlanRuleStatusList *l = port->rules; l; l = l->next) {
        const IpvlanRuleStatus *r = l->value;

        monitor_printf(mon, "  %-10s %5u %-10s %-4s %-6s %8" PRIu64
                       " %9" PRIu64 "\n", r->id, r->priority,
                       r->slave ?: "-", IpvlanRuleDirection_str(r->direction),
                       IpvlanRuleAction_str(r->action), r->packets, r->bytes);
        if (*r->match) {
            monitor_printf(mon, "      match %s\n", r->match);
        }
    }
}

void hmp_info_ipvlan(Monitor *mon, const QDict *qdict)
{
    g_autoptr(IpvlanPortStatusList) list = qmp_query_ipvlan(NULL);

    for (IpvlanPortStatusList *l = list; l; l = l->next) {
        const IpvlanPortStatus *port = l->value;

        monitor_printf(mon, "%s: mode %s, flag %s, backlog %u\n",
                       port->master, NetdevIpvlanMode_str(port->mode),
                       NetdevIpvlanFlag_str(port->flag), port->backlog);
        print_router(mon, port);
        monitor_printf(mon, "  %-10s %-17s %-4s %8s %9s %8s %9s %5s\n",
                       "", "MAC", "link", "rx pkts", "rx bytes", "tx pkts",
                       "tx bytes", "drops");
        print_row(mon, port->master, port->mac, port->link_up, port->stats);
        print_drops(mon, port->stats);
        for (IpvlanSlaveStatusList *s = port->slaves; s; s = s->next) {
            print_slave(mon, s->value);
        }
        print_neighbours(mon, port);
        print_rules(mon, port);
    }
}
