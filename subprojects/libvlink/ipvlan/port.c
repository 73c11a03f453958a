/*
 * Life and death of ports and slaves
 *
 * A port is the receive handler of its lower link.  Its first slave makes it,
 * its last one takes it away.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "port.h"

/* --- names --------------------------------------------------------------- */

const char *ipvlan_mode_name(IpvlanMode mode)
{
    static const char *const names[] = {
        [IPVLAN_L2] = "l2", [IPVLAN_L2_MACNAT] = "l2-macnat",
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

/* --- ports --------------------------------------------------------------- */

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
    port->expiry_work = lower->platform->work_new(ipvlan_expire, port);
    port->clock_work = lower->platform->work_new(ipvlan_clock_over, port);
    owner_table_init(&port->macs, lower->platform);
    addr_table_init(&port->addrs, lower->platform);
    broadcast_source_init(&port->external, port, NULL);
    return port;
}

static void port_free(IpvlanPort *port)
{
    link_rx_handler_unregister(port->lower);
    broadcast_source_destroy(&port->external);
    port->lower->platform->work_free(port->expiry_work);
    port->lower->platform->work_free(port->clock_work);
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
    return true;
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
    slave->learn = config->learn;
    slave->max_addrs = config->max_addrs;
    slave->is_default = config->is_default;
    slave->node.data = slave;
    g_queue_push_tail_link(&port->slaves, &slave->node);
    broadcast_source_init(&slave->broadcast, port, slave);
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
