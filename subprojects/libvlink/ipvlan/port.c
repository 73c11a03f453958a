/*
 * Life and death of ports and slaves
 *
 * A port is the receive handler of its lower link.  Its first slave makes it,
 * its last one takes it away.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "answer.h"
#include "check.h"
#include "invariant.h"
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

void ipvlan_set_gateways(IpvlanPort *port, const IpvlanConfig *config)
{
    port->gateway4 = find_gateway(config, IP_V4);
    port->gateway6 = find_gateway(config, IP_V6);
}

void ipvlan_set_router(IpvlanPort *port, const IpvlanConfig *config)
{
    ipvlan_set_gateways(port, config);
    port->mtu = config->mtu ?: config->default_mtu ?: IPVLAN_MTU;
    port->mtu_given = config->mtu;
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

/*
 * What is known of a wire is forgotten when it is taken away, as by the
 * kernel's neigh_carrier_down(): the next one may be another.
 */
static void port_state(void *opaque)
{
    IpvlanPort *port = opaque;

    if (!link_is_up(port->lower)) {
        broadcast_source_drop(&port->external, DROP_LINK_DOWN);
        answer_drop(port, DROP_LINK_DOWN);
        neigh_flush(port, DROP_LINK_DOWN);
    }
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
    ipvlan_set_router(port, config);
    port->expiry_work = lower->platform->work_new(ipvlan_expire, port);
    port->clock_work = lower->platform->work_new(ipvlan_clock_over, port);
    port->ra_work = lower->platform->work_new(answer_advertise, port);
    answer_advertise(port);
    owner_table_init(&port->macs, lower->platform);
    addr_table_init(&port->addrs, lower->platform);
    broadcast_source_init(&port->external, port, NULL);
    link_rx_handler_set_wake(lower, port_wake);
    link_rx_handler_set_state(lower, port_state);
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

/* --- slaves -------------------------------------------------------------- */

static IpvlanLearn choose_learn(const IpvlanSlave *slave)
{
    if (slave->learn_asked != IPVLAN_LEARN_AUTO) {
        return slave->learn_asked;
    }
    return slave->configured || ipvlan_is_l3(slave->port) ? IPVLAN_LEARN_OFF
                                                          : IPVLAN_LEARN_ON;
}

/* Who gets what nobody owns, and owns nothing, would be mute behind a guard. */
static IpvlanGuard choose_guard(const IpvlanSlave *slave)
{
    bool anybody = slave->is_default && !slave->configured &&
                   slave->learn == IPVLAN_LEARN_OFF;

    if (slave->guard_asked != IPVLAN_GUARD_AUTO) {
        return slave->guard_asked;
    }
    return slave->learn == IPVLAN_LEARN_ON || anybody ? IPVLAN_GUARD_OFF
                                                      : IPVLAN_GUARD_ON;
}

void ipvlan_choose(IpvlanSlave *slave)
{
    slave->learn = choose_learn(slave);
    guard_set(slave, choose_guard(slave));
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
    port->mtu_given |= config->mtu != 0;
    slave->link = link;
    slave->port = port;
    slave->learn_asked = config->learn;
    slave->guard_asked = config->guard;
    slave->configured = config->n_addrs;
    slave->max_addrs = config->max_addrs;
    slave->is_default = config->is_default;
    ipvlan_choose(slave);
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
    ipvlan_disown_all(slave);
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
#ifdef VLINK_INVARIANTS
    .check = ipvlan_check,
#endif
    .fill_info = ipvlan_fill_info,
};

void ipvlan_register(void)
{
    link_kind_register(&ipvlan_link_ops);
}

/* --- for the library's user ---------------------------------------------- */

/* Broadcast, packets for neighbours, and what the uplink is owed. */
static unsigned port_waiting(const IpvlanPort *port)
{
    return port->backlog + neigh_waiting(port) + port->answers.length +
           port->lower->root.rests.length;
}

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
        .waiting = port_waiting(port),
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

void ipvlan_port_set_default_mtu(Link *lower, uint32_t mtu)
{
    IpvlanPort *port = ipvlan_port(lower);

    if (!port->mtu_given) {
        port->mtu = mtu ?: IPVLAN_MTU;
    }
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
