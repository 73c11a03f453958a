/*
 * ipvlan-address-add, ipvlan-slave-set and their like: changes at run time
 *
 * Everything is checked before anything is changed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "ipvlan-int.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-net.h"

static Link *find_slave(const char *argument, const char *id, Error **errp)
{
    return vlink_find_upper("ipvlan", argument, id, errp);
}

/* --- addresses ----------------------------------------------------------- */

static void change_address(int change(Link *, const IpPrefix *, GError **),
                           const char *slave, const char *address,
                           Error **errp)
{
    g_autoptr(GError) err = NULL;
    Link *link = find_slave("slave", slave, errp);
    IpPrefix prefix;

    if (link && ipvlan_parse_prefix("address", address, &prefix, errp) &&
        change(link, &prefix, &err) < 0) {
        error_setg(errp, "%s", err->message);
    }
}

void qmp_ipvlan_address_add(const char *slave, const char *address,
                            Error **errp)
{
    change_address(ipvlan_addr_add, slave, address, errp);
}

void qmp_ipvlan_address_del(const char *slave, const char *address,
                            Error **errp)
{
    change_address(ipvlan_addr_del, slave, address, errp);
}

/* --- slaves -------------------------------------------------------------- */

/* 0 takes a limit away. */
static bool check_limits(const IpvlanSlaveChange *c, Error **errp)
{
    return (!c->tx_bps || ipvlan_check_rate("tx-bps", c->tx_bps, errp)) &&
           (!c->rx_bps || ipvlan_check_rate("rx-bps", c->rx_bps, errp));
}

/* As they are to be; false: they cannot. */
static bool change_rates(const IpvlanSlaveChange *c, LinkRates *rates,
                         Error **errp)
{
    bool limited;

    if (!check_limits(c, errp)) {
        return false;
    }
    rates->tx_bps = c->has_tx_bps ? c->tx_bps : rates->tx_bps;
    rates->rx_bps = c->has_rx_bps ? c->rx_bps : rates->rx_bps;
    limited = rates->tx_bps || rates->rx_bps;
    if (c->burst && !ipvlan_check_burst(c->burst, limited, errp)) {
        return false;
    }
    rates->burst = !limited ? 0 : c->has_burst ? c->burst : rates->burst;
    return true;
}

void qmp_ipvlan_slave_set(IpvlanSlaveChange *c, Error **errp)
{
    Link *link = find_slave("id", c->id, errp);
    LinkRates rates;

    if (!link || (c->has_weight && !ipvlan_check_weight(c->weight, errp)) ||
        (c->has_rx_queue && !ipvlan_check_rx_queue(c->rx_queue, errp))) {
        return;
    }
    rates = link->rates;
    if (!change_rates(c, &rates, errp)) {
        return;
    }
    link_set_rates(link, &rates);
    if (c->has_weight) {
        link_set_weight(link, c->weight);
    }
    if (c->has_rx_queue) {
        link_set_rx_queue(link, c->rx_queue);
    }
    if (c->has_guard) {
        ipvlan_set_guard(link, (IpvlanGuard)c->guard);
    }
}

/* --- ports --------------------------------------------------------------- */

static Link *find_port(const char *master, IpvlanPortInfo *info,
                       Error **errp)
{
    Link *lower = vlink_find_lower(master);

    if (lower && ipvlan_port_info(lower, info)) {
        return lower;
    }
    if (vlink_check_master(master, errp)) {
        error_setg(errp, "master=%s: it has no slaves of ipvlan", master);
    }
    return NULL;
}

/* Of a port that begins to route. */
static uint32_t default_mtu(const IpvlanPortChange *c, IpvlanMode old,
                            IpvlanMode mode)
{
    return old < IPVLAN_L3 && mode >= IPVLAN_L3 ?
           vlink_tap_mtu(c->master, IPVLAN_MTU_MIN, IPVLAN_MTU_MAX) : 0;
}

static void change_port(Link *lower, const IpvlanConfig *config, Error **errp)
{
    g_autoptr(GError) err = NULL;

    if (ipvlan_port_change(lower, config, &err) < 0) {
        error_setg(errp, "%s", err->message);
        return;
    }
    for (GList *l = lower->uppers.head; l; l = l->next) {
        vlink_info_changed(l->data);
    }
}

void qmp_ipvlan_port_set(IpvlanPortChange *c, Error **errp)
{
    g_autoptr(GArray) gateways = g_array_sized_new(false, false,
                                                   sizeof(IpAddr), 1);
    IpvlanPortInfo info;
    Link *lower = find_port(c->master, &info, errp);
    IpvlanMode mode;
    IpvlanFlag flag = (IpvlanFlag)c->flag;
    IpvlanPolicy policy = (IpvlanPolicy)c->policy;

    if (!lower || !ipvlan_parse_gateways(c->gateway, gateways, errp) ||
        (c->has_mtu && !ipvlan_check_mtu(c->mtu, errp))) {
        return;
    }
    mode = c->has_mode ? (IpvlanMode)c->mode : info.mode;
    if (!ipvlan_rules_permit_change(lower, mode, errp)) {
        return;
    }
    change_port(lower, &(IpvlanConfig) {
        .mode = &mode,
        .flag = c->has_flag ? &flag : NULL,
        .policy = c->has_policy ? &policy : NULL,
        .gateways = c->has_gateway ? (const IpAddr *)gateways->data : NULL,
        .n_gateways = gateways->len,
        .mtu = c->has_mtu ? c->mtu : 0,
        .default_mtu = default_mtu(c, info.mode, mode),
        .ra = c->has_ra ? &c->ra : NULL,
        .proxy_arp = c->has_proxy_arp ? &c->proxy_arp : NULL,
    }, errp);
}
