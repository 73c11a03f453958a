/*
 * What is wrong with a configuration
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "check.h"
#include "port.h"

static const char *on_off(bool on)
{
    return on ? "on" : "off";
}

static bool check_gateways(const IpvlanConfig *config, GError **err)
{
    char first[IP_STR_MAX], text[IP_STR_MAX];

    for (unsigned i = 0; i < config->n_gateways; i++) {
        const IpAddr *a = &config->gateways[i];

        if (!ip_is_ownable(a)) {
            g_set_error(err, LINK_ERROR, EINVAL,
                        "gateway=%s: it is not a unicast address of a host",
                        ip_format(a, text));
            return false;
        }
        for (unsigned j = 0; j < i; j++) {
            if (config->gateways[j].family == a->family) {
                g_set_error(err, LINK_ERROR, EINVAL, "gateway=%s: there is "
                            "one for IPv%d already, %s", ip_format(a, text),
                            a->family,
                            ip_format(&config->gateways[j], first));
                return false;
            }
        }
    }
    return true;
}

static bool check_mtu(const IpvlanConfig *config, GError **err)
{
    if (config->mtu &&
        (config->mtu < IPVLAN_MTU_MIN || config->mtu > IPVLAN_MTU_MAX)) {
        g_set_error(err, LINK_ERROR, EINVAL,
                    "mtu=%u: it has to be between %d and %d", config->mtu,
                    IPVLAN_MTU_MIN, IPVLAN_MTU_MAX);
        return false;
    }
    return true;
}

bool check_values(const Link *link, const IpvlanConfig *config,
                  GError **err)
{
    char text[MAC_STR_MAX];

    if (!link->lower) {
        g_set_error(err, LINK_ERROR, EINVAL, "'%s' has no lower link",
                    link->name);
        return false;
    }
    if (config->mac &&
        (mac_is_group(config->mac) || mac_is_zero(config->mac))) {
        g_set_error(err, LINK_ERROR, EINVAL,
                    "mac=%s: it is not a unicast MAC address",
                    mac_format(config->mac, text));
        return false;
    }
    if (config->max_addrs < 1 ||
        config->max_addrs > IPVLAN_MAX_ADDRS_LIMIT) {
        g_set_error(err, LINK_ERROR, EINVAL,
                    "max-addrs=%u: it has to be between 1 and %d",
                    config->max_addrs, IPVLAN_MAX_ADDRS_LIMIT);
        return false;
    }
    return check_gateways(config, err) && check_mtu(config, err);
}

/* "option=value" of the first that only a router has, or NULL. */
static char *l3_option(const IpvlanConfig *config)
{
    char text[IP_STR_MAX];

    if (config->n_gateways) {
        return g_strdup_printf("gateway=%s",
                               ip_format(config->gateways, text));
    }
    if (config->mtu) {
        return g_strdup_printf("mtu=%u", config->mtu);
    }
    if (config->ra) {
        return g_strdup_printf("ra=%s", on_off(*config->ra));
    }
    if (config->proxy_arp) {
        return g_strdup_printf("proxy-arp=%s", on_off(*config->proxy_arp));
    }
    return NULL;
}

/* What is wrong with @config on a port in @mode. */
static bool check_mode(const IpvlanConfig *config, IpvlanMode mode,
                       GError **err)
{
    g_autofree char *option = l3_option(config);

    if (option && mode < IPVLAN_L3) {
        g_set_error(err, LINK_ERROR, EINVAL, "%s: that is for mode=l3 and "
                    "mode=l3s, and the mode is %s", option,
                    ipvlan_mode_name(mode));
        return false;
    }
    if (config->policy && mode != IPVLAN_L3S) {
        g_set_error(err, LINK_ERROR, EINVAL, "policy=%s: that is for mode=l3s,"
                    " and the mode is %s",
                    ipvlan_policy_name(*config->policy),
                    ipvlan_mode_name(mode));
        return false;
    }
    return true;
}

static bool learns(IpvlanLearn learn)
{
    return learn == IPVLAN_LEARN_ON || learn == IPVLAN_LEARN_DHCP;
}

static bool check_learn(const IpvlanConfig *config, IpvlanMode mode,
                        GError **err)
{
    if (mode >= IPVLAN_L3 && learns(config->learn)) {
        g_set_error(err, LINK_ERROR, EINVAL, "learn=%s: mode=%s does not "
                    "learn addresses, give them with addr=",
                    ipvlan_learn_name(config->learn), ipvlan_mode_name(mode));
        return false;
    }
    return true;
}

static bool contradicts(GError **err, const Link *lower, const char *option,
                        const char *wanted, const char *is)
{
    g_set_error(err, LINK_ERROR, EINVAL,
                "%s=%s contradicts %s=%s of the slaves that '%s' has",
                option, wanted, option, is, lower->name);
    return false;
}

/* A slave may repeat what its port is as a router, and nothing else. */
static bool check_port_l3(const IpvlanPort *port, const IpvlanConfig *config,
                          GError **err)
{
    char wanted[IP_STR_MAX], is[IP_STR_MAX];

    for (unsigned i = 0; i < config->n_gateways; i++) {
        const IpAddr *a = &config->gateways[i];
        const IpAddr *b = ipvlan_gateway(port, a->family);

        if (!ip_equal(a, b)) {
            return contradicts(err, port->lower, "gateway",
                               ip_format(a, wanted), ip_format(b, is));
        }
    }
    if (config->mtu && config->mtu != port->mtu) {
        g_snprintf(wanted, sizeof(wanted), "%u", config->mtu);
        g_snprintf(is, sizeof(is), "%u", port->mtu);
        return contradicts(err, port->lower, "mtu", wanted, is);
    }
    if (config->ra && *config->ra != port->ra) {
        return contradicts(err, port->lower, "ra", on_off(*config->ra),
                           on_off(port->ra));
    }
    if (config->proxy_arp && *config->proxy_arp != port->proxy_arp) {
        return contradicts(err, port->lower, "proxy-arp",
                           on_off(*config->proxy_arp),
                           on_off(port->proxy_arp));
    }
    if (config->policy && *config->policy != port->policy) {
        return contradicts(err, port->lower, "policy",
                           ipvlan_policy_name(*config->policy),
                           ipvlan_policy_name(port->policy));
    }
    return true;
}

bool check_port(const IpvlanPort *port, const IpvlanConfig *config,
                GError **err)
{
    char wanted[MAC_STR_MAX], is[MAC_STR_MAX];

    if (config->mode && *config->mode != port->mode) {
        return contradicts(err, port->lower, "mode",
                           ipvlan_mode_name(*config->mode),
                           ipvlan_mode_name(port->mode));
    }
    if (config->flag && *config->flag != port->flag) {
        return contradicts(err, port->lower, "flag",
                           ipvlan_flag_name(*config->flag),
                           ipvlan_flag_name(port->flag));
    }
    if (config->mac && !mac_equal(config->mac, port->mac)) {
        return contradicts(err, port->lower, "mac",
                           mac_format(config->mac, wanted),
                           mac_format(port->mac, is));
    }
    if (config->is_default && port->default_slave) {
        g_set_error(err, LINK_ERROR, EINVAL,
                    "default=on: '%s' is the default slave of '%s' already",
                    port->default_slave->link->name, port->lower->name);
        return false;
    }
    return check_mode(config, port->mode, err) &&
           check_learn(config, port->mode, err) &&
           check_port_l3(port, config, err);
}

bool check_owner(const IpvlanPort *port, const char *option,
                 const IpPrefix *prefix, GError **err)
{
    const OwnerSlot *slot = addr_table_find(&port->addrs, prefix);
    char text[IP_STR_MAX];

    if (slot) {
        g_set_error(err, LINK_ERROR, EEXIST, "%s=%s: slave '%s' owns it",
                    option, ip_prefix_format(prefix, text),
                    slot->slave->link->name);
    }
    return !slot;
}

bool check_room(const IpvlanPort *port, const char *option,
                const IpPrefix *prefixes, unsigned n, GError **err)
{
    bool room = n <= IPVLAN_TABLE_LIMIT - addr_table_count(&port->addrs);
    char text[IP_STR_MAX];

    if (!room) {
        g_set_error(err, LINK_ERROR, ENOSPC,
                    "%s=%s: the port cannot have more than %d addresses",
                    option, ip_prefix_format(prefixes, text),
                    IPVLAN_TABLE_LIMIT);
    }
    return room;
}

bool check_addrs(const IpvlanPort *port, const IpvlanConfig *config,
                 GError **err)
{
    char text[IP_STR_MAX];

    if (!check_room(port, "addr", config->addrs, config->n_addrs, err)) {
        return false;
    }
    for (unsigned i = 0; i < config->n_addrs; i++) {
        const IpPrefix *p = &config->addrs[i];

        if (!check_owner(port, "addr", p, err)) {
            return false;
        }
        for (unsigned j = 0; j < i; j++) {
            if (p->len == config->addrs[j].len &&
                ip_equal(&p->addr, &config->addrs[j].addr)) {
                g_set_error(err, LINK_ERROR, EEXIST, "addr=%s is given twice",
                            ip_prefix_format(p, text));
                return false;
            }
        }
    }
    return true;
}

/* --- of a port that is there --------------------------------------------- */

static bool check_slaves(const IpvlanPort *port, IpvlanMode mode,
                         GError **err)
{
    for (GList *l = port->slaves.head; mode >= IPVLAN_L3 && l; l = l->next) {
        const IpvlanSlave *slave = l->data;

        if (learns(slave->learn_asked)) {
            g_set_error(err, LINK_ERROR, EINVAL, "mode=%s: slave '%s' has "
                        "learn=%s, and mode=%s does not learn addresses",
                        ipvlan_mode_name(mode), slave->link->name,
                        ipvlan_learn_name(slave->learn_asked),
                        ipvlan_mode_name(mode));
            return false;
        }
    }
    return true;
}

static bool check_rules(const IpvlanPort *port, IpvlanMode mode,
                        GError **err)
{
    if (port->mode == IPVLAN_L3S && mode != IPVLAN_L3S &&
        port->filter.rules->len) {
        g_set_error(err, LINK_ERROR, EINVAL, "mode=%s: '%s' has %u rules, "
                    "which need mode=l3s", ipvlan_mode_name(mode),
                    port->lower->name, port->filter.rules->len);
        return false;
    }
    return true;
}

/* No gateway is no default that could be left out where there is one. */
static bool check_no_gateway(const IpvlanConfig *config, IpvlanMode mode,
                             GError **err)
{
    if (config->gateways && !config->n_gateways && mode < IPVLAN_L3) {
        g_set_error(err, LINK_ERROR, EINVAL, "gateway=: that is for mode=l3 "
                    "and mode=l3s, and the mode is %s",
                    ipvlan_mode_name(mode));
        return false;
    }
    return true;
}

bool check_change(const IpvlanPort *port, const IpvlanConfig *config,
                  GError **err)
{
    IpvlanMode mode = config->mode ? *config->mode : port->mode;

    return check_gateways(config, err) && check_mtu(config, err) &&
           check_mode(config, mode, err) &&
           check_no_gateway(config, mode, err) &&
           check_slaves(port, mode, err) && check_rules(port, mode, err);
}
