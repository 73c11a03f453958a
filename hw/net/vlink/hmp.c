/*
 * info ipvlan
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/qapi-commands-net.h"

/*
 * A terminal has 80 columns, and all that is printed is to fit, however long a
 * name is and however large a number: a name that is too long for its column
 * has a line of its own, a number is given in thousands or more.
 */
#define COLUMNS 80
#define NAME 12
#define COUNT 10
#define BYTES 13
#define DROPS 8
#define ADDR 26                 /* nearly all */

#define INDENT "      "

/* --- to fit -------------------------------------------------------------- */

static void print_number(Monitor *mon, int width, uint64_t n)
{
    static const char units[] = " kMGTPE";
    g_autofree char *text = g_strdup_printf("%" PRIu64, n);

    for (int i = 1; strlen(text) > width; i++) {
        n /= 1000;
        g_free(text);
        text = g_strdup_printf("%" PRIu64 "%c", n, units[i]);
    }
    monitor_printf(mon, " %*s", width, text);
}

static void print_name(Monitor *mon, int width, const char *name)
{
    if (strlen(name) > width) {
        monitor_printf(mon, "  %s\n", name);
        name = "";
    }
    monitor_printf(mon, "  %-*s", width, name);
}

/* Up to and with the first comma, or up to the first blank but for one here. */
static int word_len(const char *text, char end)
{
    const char *at = strchr(text + 1, end);

    return !at ? strlen(text) : end == ' ' ? at - text : at - text + 1;
}

/*
 * In as many lines as it takes, broken at the blanks, or only at those behind
 * a comma, as @end says; all but the first are indented by two more.
 */
static void print_wrapped(Monitor *mon, const char *indent, const char *text,
                          char end)
{
    int at = strlen(indent);

    monitor_printf(mon, "%s", indent);
    while (*text) {
        int len = word_len(text, end);

        if (at + len >= COLUMNS && *text == ' ') {
            monitor_printf(mon, "\n%s  ", indent);
            at = strlen(indent) + 2;
            text++;
            len--;
        }
        monitor_printf(mon, "%.*s", len, text);
        at += len;
        text += len;
    }
    monitor_printf(mon, "\n");
}

/* "name value, name value", of which the first comma is yet to be skipped. */
static void print_list(Monitor *mon, const char *indent, const GString *text)
{
    if (text->len) {
        print_wrapped(mon, indent, text->str + strlen(", "), ',');
    }
}

/* --- rows ---------------------------------------------------------------- */

static void print_heading(Monitor *mon)
{
    monitor_printf(mon, "  %-*s %-4s %*s %*s %*s %*s %*s\n", NAME, "", "link",
                   COUNT, "rx pkts", BYTES, "rx bytes", COUNT, "tx pkts",
                   BYTES, "tx bytes", DROPS, "drops");
}

static void print_counts(Monitor *mon, uint64_t rx_packets,
                         uint64_t rx_bytes, uint64_t tx_packets,
                         uint64_t tx_bytes)
{
    print_number(mon, COUNT, rx_packets);
    print_number(mon, BYTES, rx_bytes);
    print_number(mon, COUNT, tx_packets);
    print_number(mon, BYTES, tx_bytes);
}

static void print_row(Monitor *mon, const char *name, bool up,
                      const IpvlanStats *stats)
{
    uint64_t drops = 0;

    for (IpvlanDropList *d = stats->drops; d; d = d->next) {
        drops += d->value->packets;
    }
    print_name(mon, NAME, name);
    monitor_printf(mon, " %-4s", up ? "up" : "down");
    print_counts(mon, stats->rx_packets, stats->rx_bytes,
                 stats->tx_packets, stats->tx_bytes);
    print_number(mon, DROPS, drops);
    monitor_printf(mon, "\n");
}

static void print_drops(Monitor *mon, const IpvlanStats *stats)
{
    for (IpvlanDropList *d = stats->drops; d; d = d->next) {
        monitor_printf(mon, INDENT "dropped: %" PRIu64 " %s\n",
                       d->value->packets, d->value->reason);
    }
}

/* --- a slave ------------------------------------------------------------- */

/* What is as usual is left out. */
static void append_shares(GString *text, const IpvlanSlaveStatus *slave)
{
    if (slave->queues > 1) {
        g_string_append_printf(text, ", queues %u", slave->queues);
    }
    if (slave->weight > 1) {
        g_string_append_printf(text, ", weight %u", slave->weight);
    }
    if (slave->share < 100) {
        g_string_append_printf(text, ", share %.1f%%", slave->share);
    }
    if (slave->has_waits_for) {
        g_string_append_printf(text, ", waits for %s",
                               IpvlanWait_str(slave->waits_for));
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
}

/* Groups may be many, and come in no order: query-ipvlan has them. */
static void append_guard(GString *text, const IpvlanSlaveStatus *slave)
{
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
}

static void print_details(Monitor *mon, const IpvlanSlaveStatus *slave)
{
    g_autoptr(GString) text = g_string_new(NULL);

    if (slave->mac) {
        g_string_append_printf(text, ", mac %s", slave->mac);
    }
    append_shares(text, slave);
    append_guard(text, slave);
    print_list(mon, INDENT, text);
}

/* Each has a row of its own where there are several. */
static void print_queues(Monitor *mon, const IpvlanSlaveStatus *slave)
{
    bool several = slave->per_queue->next;
    int i = 0;

    for (IpvlanQueueStatusList *l = slave->per_queue; l; l = l->next, i++) {
        const IpvlanQueueStatus *q = l->value;

        if (several) {
            monitor_printf(mon, "    queue %-*d", NAME - 8 + 5, i);
            print_counts(mon, q->rx_packets, q->rx_bytes, q->tx_packets,
                         q->tx_bytes);
            monitor_printf(mon, "\n");
        }
        if (q->waiting) {
            monitor_printf(mon, INDENT "waiting: %u, for %" PRIu64 " us\n",
                           q->waiting, q->delay);
        }
    }
}

/* Hours, where seconds would be many. */
static void print_age(Monitor *mon, const char *what, int64_t s)
{
    if (s < 100000) {
        monitor_printf(mon, ", %s %" PRId64 " s", what, s);
    } else {
        monitor_printf(mon, ", %s %" PRId64 " h", what, s / 3600);
    }
}

static void print_address(Monitor *mon, const IpvlanAddress *a)
{
    monitor_printf(mon, INDENT "%s (%s", a->address,
                   IpvlanAddressOrigin_str(a->origin));
    if (a->has_idle) {
        print_age(mon, "age", a->age);
        print_age(mon, "idle", a->idle);
    }
    monitor_printf(mon, ")\n");
}

static void print_slave(Monitor *mon, const IpvlanSlaveStatus *slave)
{
    print_row(mon, slave->id, slave->link_up, slave->stats);
    print_queues(mon, slave);
    print_details(mon, slave);
    for (IpvlanAddressList *a = slave->addresses; a; a = a->next) {
        print_address(mon, a->value);
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
        monitor_printf(mon, "  %-*s %-17s %s\n", ADDR, "neighbour", "MAC",
                       "state");
    }
    for (IpvlanNeighbourList *l = port->neighbours; l; l = l->next) {
        const IpvlanNeighbour *n = l->value;

        print_name(mon, ADDR, n->address);
        monitor_printf(mon, " %-17s %s", n->mac ?: "-",
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

static void print_rule(Monitor *mon, const IpvlanRuleStatus *r)
{
    bool is_long = r->slave && strlen(r->slave) > NAME;

    print_name(mon, NAME, r->id);
    monitor_printf(mon, " %5u %-*s %-4s %-6s", r->priority, NAME,
                   is_long ? "" : r->slave ?: "-",
                   IpvlanRuleDirection_str(r->direction),
                   IpvlanRuleAction_str(r->action));
    print_number(mon, COUNT, r->packets);
    print_number(mon, BYTES, r->bytes);
    monitor_printf(mon, "\n");
    if (is_long) {
        monitor_printf(mon, INDENT "slave %s\n", r->slave);
    }
    if (*r->match) {
        g_autofree char *match = g_strdup_printf("match %s", r->match);

        print_wrapped(mon, INDENT, match, ' ');
    }
}

static void print_rules(Monitor *mon, const IpvlanPortStatus *port)
{
    if (port->rules) {
        monitor_printf(mon, "  %-*s %5s %-*s %-4s %-6s %*s %*s\n",
                       NAME, "rule", "prio", NAME, "slave", "dir", "action",
                       COUNT, "packets", BYTES, "bytes");
    }
    for (IpvlanRuleStatusList *l = port->rules; l; l = l->next) {
        print_rule(mon, l->value);
    }
}

/* --- all of it ----------------------------------------------------------- */

static void print_port(Monitor *mon, const IpvlanPortStatus *port)
{
    g_autofree char *title = g_strdup_printf(
        "%s: mode %s, flag %s, backlog %u", port->master,
        NetdevIpvlanMode_str(port->mode), NetdevIpvlanFlag_str(port->flag),
        port->backlog);

    print_wrapped(mon, "", title, ' ');
    print_router(mon, port);
    print_heading(mon);
    print_row(mon, port->master, port->link_up, port->stats);
    monitor_printf(mon, INDENT "mac %s\n", port->mac);
    print_drops(mon, port->stats);
    for (IpvlanSlaveStatusList *s = port->slaves; s; s = s->next) {
        print_slave(mon, s->value);
    }
    print_neighbours(mon, port);
    print_rules(mon, port);
}

void hmp_info_ipvlan(Monitor *mon, const QDict *qdict)
{
    g_autoptr(IpvlanPortStatusList) list = qmp_query_ipvlan(NULL);

    for (IpvlanPortStatusList *l = list; l; l = l->next) {
        print_port(mon, l->value);
    }
}
