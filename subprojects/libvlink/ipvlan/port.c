/*
 * Life and death of ports and slaves
 *
 * A port is the receive handler of its lower link.  Its first slave makes it,
 * its last one takes it away.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "answer.h"
#include "port.h"

/* --- names --------------------------------------------------------------- */

const char *ipvlan_mode_name(IpvlanMode mode)
{
    static const char *const names[] = {
        [IPVLAN_L2] = "l2", [IPVLAN_L2_MACNAT] = "l2-macnat",
        [IPVLAN_L3] = "l3", [IPVLAN_L3S] = "l3s",
    };

    return names[mode];
}

const char *ipvlan_flag_name(IpvlanFlag flag)
{
    static const char *const names[] = {
        [IPVLAN_BRIDGE] = "bridge", [IPVLAN_PRIVATE] = "private",
        [IPVLAN_VEPA] = "vepa",
    };

    return names[flag];
}

const char *ipvlan_learn_name(IpvlanLearn learn)
{
    static const char *const names[] = {
        [IPVLAN_LEARN_OFF] = "off", [IPVLAN_LEARN_DHCP] = "dhcp",
        [IPVLAN_LEARN_ON] = "on",
    };

    return names[learn];
}

const char *ipvlan_origin_name(IpvlanOrigin origin)
{
    static const char *const names[] = {
        [IPVLAN_ORIGIN_STATIC] = "static", [IPVLAN_ORIGIN_ARP] = "arp",
        [IPVLAN_ORIGIN_ND] = "nd", [IPVLAN_ORIGIN_DHCP] = "dhcp",
        [IPVLAN_ORIGIN_IP] = "ip",
    };

    return names[origin];
}

const char *ipvlan_guard_name(IpvlanGuard guard)
{
    static const char *const names[] = {
        [IPVLAN_GUARD_OFF] = "off", [IPVLAN_GUARD_ON] = "on",
        [IPVLAN_GUARD_STRICT] = "strict",
    };

    return names[guard];
}

const char *ipvlan_policy_name(IpvlanPolicy policy)
{
    static const char *const names[] = {
        [IPVLAN_POLICY_ACCEPT] = "accept", [IPVLAN_POLICY_DROP] = "drop",
    };

    return names[policy];
}

static const char *on_off(bool on)
{
    return on ? "on" : "off";
}

/* --- ports --------------------------------------------------------------- */

static IpAddr find_gateway(const IpvlanConfig *config, IpFamily family)
{
    for (unsigned i = 0; i < config->n_gateways; i++) {
        if (config->gateways[i].family == family) {
            return config->gateways[i];
        }
    }
    return (IpAddr) { 0 };
}

static void port_set_l3(IpvlanPort *port, const IpvlanConfig *config)
{
    port->gateway4 = find_gateway(config, IP_V4);
    port->gateway6 = find_gateway(config, IP_V6);
    port->mtu = config->mtu ?: IPVLAN_MTU;
    port->ra = !config->ra || *config->ra;
    port->proxy_arp = !config->proxy_arp || *config->proxy_arp;
    port->policy = config->policy ? *config->policy : IPVLAN_POLICY_ACCEPT;
}

/* The uplink, which was busy, can send again: first what others ask for. */
static void port_wake(void *opaque)
{
    answer_wake(opaque);
    neigh_wake(opaque);
    announce_wake(opaque);
}

static IpvlanPort *port_new(Link *lower, const IpvlanConfig *config,
                            GError **err)
{
    IpvlanPort *port = g_new0(IpvlanPort, 1);
    int ret = link_rx_handler_register(lower, ipvlan_handle_frame, port);

    if (ret < 0) {
        g_set_error(err, LINK_ERROR, -ret,
                    "link '%s' cannot have a receive handler: %s",
                    lower->name, g_strerror(-ret));
        g_free(port);
        return NULL;
    }
    port->lower = lower;
    port->mode = config->mode ? *config->mode : IPVLAN_L2_MACNAT;
    port->flag = config->flag ? *config->flag : IPVLAN_BRIDGE;
    port->expiry = config->expiry ?: IPVLAN_EXPIRY;
    memcpy(port->mac, config->mac ?: config->default_mac, ETHER_ADDR_LEN);
    port->has_own_mac = config->mac;
    port_set_l3(port, config);
    port->expiry_work = lower->platform->work_new(ipvlan_expire, port);
    port->clock_work = lower->platform->work_new(ipvlan_clock_over, port);
    port->ra_work = lower->platform->work_new(answer_advertise, port);
    if (ipvlan_is_l3(port) && port->ra) {
        answer_advertise(port);
    }
    owner_table_init(&port->macs, lower->platform);
    addr_table_init(&port->addrs, lower->platform);
    broadcast_source_init(&port->external, port, NULL);
    link_rx_handler_set_wake(lower, port_wake);
    neigh_init(port);
    announce_init(port);
    filter_init(port);
    return port;
}

static void port_free(IpvlanPort *port)
{
    link_rx_handler_unregister(port->lower);
    answer_destroy(port);
    announce_destroy(port);
    neigh_destroy(port);
    broadcast_source_destroy(&port->external);
    filter_destroy(port);
    port->lower->platform->work_free(port->expiry_work);
    port->lower->platform->work_free(port->clock_work);
    port->lower->platform->work_free(port->ra_work);
    addr_table_destroy(&port->addrs);
    owner_table_destroy(&port->macs);
    g_free(port);
}

static IpvlanPort *port_get(Link *lower, const IpvlanConfig *config,
                            GError **err)
{
    if (lower->rx_handler == ipvlan_handle_frame) {
        return ipvlan_port(lower);
    }
    return port_new(lower, config, err);
}

/* --- checking a configuration -------------------------------------------- */

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
                    "mtu=%u: it has to be between %u and %u", config->mtu,
                    IPVLAN_MTU_MIN, IPVLAN_MTU_MAX);
        return false;
    }
    return true;
}

/* What is wrong with @config, whatever the port is. */
static bool check_values(const Link *link, const IpvlanConfig *config,
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
                    "max-addrs=%u: it has to be between 1 and %u",
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
    if (mode >= IPVLAN_L3 && (config->learn == IPVLAN_LEARN_ON ||
                              config->learn == IPVLAN_LEARN_DHCP)) {
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

/* A slave may repeat what its port is, and nothing else. */
static bool check_port(const IpvlanPort *port, const IpvlanConfig *config,
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
           check_port_l3(port, config, err);
}

static bool check_owner(const IpvlanPort *port, const IpPrefix *prefix,
                        GError **err)
{
    const OwnerSlot *slot = addr_table_find(&port->addrs, prefix);
    char text[IP_STR_MAX];

    if (slot) {
        g_set_error(err, LINK_ERROR, EEXIST, "addr=%s: slave '%s' owns it",
                    ip_prefix_format(prefix, text), slot->slave->link->name);
    }
    return !slot;
}

static bool table_full(const IpPrefix *prefix, GError **err)
{
    char text[IP_STR_MAX];

    g_set_error(err, LINK_ERROR, ENOSPC,
                "addr=%s: the port cannot have more than %u addresses",
                ip_prefix_format(prefix, text), IPVLAN_TABLE_LIMIT);
    return false;
}

static bool check_addrs(const IpvlanPort *port, const IpvlanConfig *config,
                        GError **err)
{
    char text[IP_STR_MAX];

    if (config->n_addrs > IPVLAN_TABLE_LIMIT - addr_table_count(&port->addrs)) {
        return table_full(config->addrs, err);
    }
    for (unsigned i = 0; i < config->n_addrs; i++) {
        const IpPrefix *p = &config->addrs[i];

        if (!check_owner(port, p, err)) {
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

/* --- slaves -------------------------------------------------------------- */

static IpvlanLearn choose_learn(const IpvlanPort *port,
                                const IpvlanConfig *config)
{
    if (config->learn != IPVLAN_LEARN_AUTO) {
        return config->learn;
    }
    return config->n_addrs || ipvlan_is_l3(port) ? IPVLAN_LEARN_OFF
                                                 : IPVLAN_LEARN_ON;
}

/* Who gets what nobody owns, and owns nothing, would be mute behind a guard. */
static IpvlanGuard choose_guard(IpvlanLearn learn, const IpvlanConfig *config)
{
    bool anybody = config->is_default && !config->n_addrs &&
                   learn == IPVLAN_LEARN_OFF;

    if (config->guard != IPVLAN_GUARD_AUTO) {
        return config->guard;
    }
    return learn == IPVLAN_LEARN_ON || anybody ? IPVLAN_GUARD_OFF
                                               : IPVLAN_GUARD_ON;
}

static int ipvlan_newlink(Link *link, const void *opaque, GError **err)
{
    const IpvlanConfig *config = opaque;
    IpvlanSlave *slave = link_priv(link);
    IpvlanPort *port;

    if (!check_values(link, config, err)) {
        return -EINVAL;
    }
    port = port_get(link->lower, config, err);
    if (!port) {
        return -EBUSY;
    }
    if (!check_port(port, config, err) || !check_addrs(port, config, err)) {
        if (g_queue_is_empty(&port->slaves)) {
            port_free(port);
        }
        return -EINVAL;
    }
    slave->link = link;
    slave->port = port;
    slave->learn = choose_learn(port, config);
    slave->guard = choose_guard(slave->learn, config);
    slave->max_addrs = config->max_addrs;
    slave->is_default = config->is_default;
    slave->node.data = slave;
    g_queue_push_tail_link(&port->slaves, &slave->node);
    broadcast_source_init(&slave->broadcast, port, slave);
    filter_add_slave(slave);
    if (slave->is_default) {
        port->default_slave = slave;
    }
    for (unsigned i = 0; i < config->n_addrs; i++) {
        ipvlan_own(slave, &config->addrs[i], IPVLAN_ORIGIN_STATIC);
    }
    return 0;
}

static void ipvlan_dellink(Link *link)
{
    IpvlanSlave *slave = link_priv(link);
    IpvlanPort *port = slave->port;

    broadcast_source_destroy(&slave->broadcast);
    neigh_forget(slave);
    filter_del_slave(slave);
    group_forget(slave);
    while (!g_queue_is_empty(&slave->fixed)) {
        ipvlan_disown(slave->fixed.head->data);
    }
    while (!g_queue_is_empty(&slave->learned)) {
        ipvlan_disown(slave->learned.head->data);
    }
    macnat_forget(slave);
    if (port->default_slave == slave) {
        port->default_slave = NULL;
    }
    g_queue_unlink(&port->slaves, &slave->node);
    if (g_queue_is_empty(&port->slaves)) {
        port_free(port);
    }
}

/* Another guest: what the last one was taken for says nothing about it. */
static void ipvlan_user_changed(Link *link)
{
    IpvlanSlave *slave = link_priv(link);

    slave->is_router = false;
    guard_forget(slave);
    group_forget(slave);
}

static void ipvlan_fill_info(const Link *link, GString *out)
{
    const IpvlanSlave *slave = link_priv(link);
    char mac[MAC_STR_MAX];

    g_string_append_printf(out, "mode=%s,flag=%s,mac=%s,learn=%s",
                           ipvlan_mode_name(slave->port->mode),
                           ipvlan_flag_name(slave->port->flag),
                           mac_format(slave->port->mac, mac),
                           ipvlan_learn_name(slave->learn));
    if (slave->is_default) {
        g_string_append(out, ",default=on");
    }
}

static const LinkOps ipvlan_link_ops = {
    .kind = "ipvlan",
    .priv_size = sizeof(IpvlanSlave),
    .newlink = ipvlan_newlink,
    .dellink = ipvlan_dellink,
    .xmit = ipvlan_xmit,
    .user_changed = ipvlan_user_changed,
    .announce = ipvlan_announce,
    .save = ipvlan_save,
    .load = ipvlan_load,
    .save_port = ipvlan_save_port,
    .load_port = ipvlan_load_port,
    .fill_info = ipvlan_fill_info,
};

void ipvlan_register(void)
{
    link_kind_register(&ipvlan_link_ops);
}

/* --- for the library's user ---------------------------------------------- */

bool ipvlan_port_info(const Link *lower, IpvlanPortInfo *info)
{
    const IpvlanPort *port;

    if (lower->rx_handler != ipvlan_handle_frame) {
        return false;
    }
    port = ipvlan_port(lower);
    *info = (IpvlanPortInfo) {
        .mode = port->mode, .flag = port->flag, .mac = port->mac,
        .addresses = addr_table_count(&port->addrs), .backlog = port->backlog,
        .gateway4 = port->gateway4.family ? &port->gateway4 : NULL,
        .gateway6 = port->gateway6.family ? &port->gateway6 : NULL,
        .mtu = port->mtu, .ra = port->ra, .proxy_arp = port->proxy_arp,
        .policy = port->policy, .flows = filter_flows(port),
    };
    return true;
}

void ipvlan_slave_info(const Link *link, IpvlanSlaveInfo *info)
{
    const IpvlanSlave *slave = link_priv(link);

    *info = (IpvlanSlaveInfo) {
        .mac = slave->has_mac ? slave->mac : NULL,
        .learn = slave->learn, .max_addrs = slave->max_addrs,
        .is_default = slave->is_default, .contested = slave->contested,
        .guard = slave->guard, .flows = filter_slave_flows(slave),
    };
}

static void foreach_addr(const GQueue *addrs,
                         void (*fn)(const IpvlanAddrInfo *, void *opaque),
                         void *opaque)
{
    for (GList *l = addrs->head; l; l = l->next) {
        const IpvlanAddr *a = l->data;

        fn(&(IpvlanAddrInfo) {
            .prefix = a->prefix, .origin = a->origin,
            .learned = a->learned, .used = ipvlan_used(a),
        }, opaque);
    }
}

void ipvlan_foreach_addr(const Link *link,
                         void (*fn)(const IpvlanAddrInfo *, void *opaque),
                         void *opaque)
{
    const IpvlanSlave *slave = link_priv(link);

    foreach_addr(&slave->fixed, fn, opaque);
    foreach_addr(&slave->learned, fn, opaque);
}

int ipvlan_addr_add(Link *link, const IpPrefix *prefix, GError **err)
{
    IpvlanSlave *slave = link_priv(link);

    if (!check_owner(slave->port, prefix, err)) {
        return -EEXIST;
    }
    if (addr_table_count(&slave->port->addrs) >= IPVLAN_TABLE_LIMIT) {
        table_full(prefix, err);
        return -ENOSPC;
    }
    ipvlan_own(slave, prefix, IPVLAN_ORIGIN_STATIC);
    return 0;
}

int ipvlan_addr_del(Link *link, const IpPrefix *prefix, GError **err)
{
    IpvlanSlave *slave = link_priv(link);
    OwnerSlot *slot = addr_table_find(&slave->port->addrs, prefix);
    char text[IP_STR_MAX];

    if (!slot || slot->slave != slave) {
        g_set_error(err, LINK_ERROR, ENOENT, "addr=%s: slave '%s' does not "
                    "own it", ip_prefix_format(prefix, text), link->name);
        return -ENOENT;
    }
    ipvlan_disown(addr_table_entry(&slave->port->addrs, slot));
    return 0;
}
