/*
 * Changing a slave, or a port, while it runs
 *
 * What is asked for is checked as a whole first, and then nothing can fail.
 * Whoever calls is outside of the data path: no frame is on its way.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "answer.h"
#include "check.h"
#include "port.h"

/* --- addresses ----------------------------------------------------------- */

/* One that the slave has learned it is to keep. */
static int pin(IpvlanAddr *a, GError **err)
{
    char text[IP_STR_MAX];

    if (a->origin == IPVLAN_ORIGIN_STATIC) {
        g_set_error(err, LINK_ERROR, EEXIST, "address=%s: slave '%s' owns it "
                    "for good already", ip_prefix_format(&a->prefix, text),
                    a->slave->link->name);
        return -EEXIST;
    }
    ipvlan_pin(a);
    return 0;
}

int ipvlan_addr_add(Link *link, const IpPrefix *prefix, GError **err)
{
    IpvlanSlave *slave = link_priv(link);
    IpvlanPort *port = slave->port;
    OwnerSlot *slot = addr_table_find(&port->addrs, prefix);

    if (slot && slot->slave == slave) {
        return pin(addr_table_entry(&port->addrs, slot), err);
    }
    if (!check_owner(port, "address", prefix, err)) {
        return -EEXIST;
    }
    if (!check_room(port, "address", prefix, 1, err)) {
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

    if (!slot) {
        g_set_error(err, LINK_ERROR, ENOENT, "address=%s: slave '%s' does not "
                    "own it", ip_prefix_format(prefix, text), link->name);
        return -ENOENT;
    }
    if (slot->slave != slave) {
        check_owner(slave->port, "address", prefix, err);
        return -ENOENT;
    }
    ipvlan_disown(addr_table_entry(&slave->port->addrs, slot));
    return 0;
}

/* --- guards -------------------------------------------------------------- */

void ipvlan_set_guard(Link *link, IpvlanGuard guard)
{
    IpvlanSlave *slave = link_priv(link);

    slave->guard_asked = guard;
    ipvlan_choose(slave);
}

/* --- modes --------------------------------------------------------------- */

static void for_each_slave(IpvlanPort *port, void (*fn)(IpvlanSlave *))
{
    for (GList *l = port->slaves.head; l; l = l->next) {
        fn(l->data);
    }
}

/* The port still is in the mode that it leaves for @mode. */
static void mode_leave(IpvlanPort *port, IpvlanMode mode)
{
    if (port->mode == IPVLAN_L3S) {
        for_each_slave(port, filter_del_slave);
        filter_destroy(port);
        port->policy = IPVLAN_POLICY_ACCEPT;
    }
    if (ipvlan_is_l3(port) && mode < IPVLAN_L3) {
        answer_drop(port, DROP_NOT_ROUTED);
        neigh_flush(port, DROP_NO_NEIGHBOUR);
        ipvlan_set_router(port, &(IpvlanConfig) { .mtu = 0 });
    } else if (!ipvlan_is_l3(port) && mode >= IPVLAN_L3) {
        broadcast_drop(port, DROP_NOT_ROUTED);
        for_each_slave(port, group_forget);
    }
}

/* The port is in its mode, and was in @old. */
static void mode_enter(IpvlanPort *port, IpvlanMode old)
{
    if (port->mode == IPVLAN_L2) {
        macnat_forget_all(port);
        for_each_slave(port, guard_enter_l2);
    } else if (old == IPVLAN_L2) {
        macnat_recall(port);
        for_each_slave(port, guard_leave_l2);
    }
    if (port->mode == IPVLAN_L3S) {
        filter_init(port);
        for_each_slave(port, filter_add_slave);
    }
    for_each_slave(port, ipvlan_choose);
}

static void set_mode(IpvlanPort *port, IpvlanMode mode)
{
    IpvlanMode old = port->mode;

    if (mode != old) {
        mode_leave(port, mode);
        port->mode = mode;
        mode_enter(port, old);
    }
}

/* --- ports --------------------------------------------------------------- */

/* The default is that of a router that was none before. */
static void set_mtu(IpvlanPort *port, const IpvlanConfig *config)
{
    port->mtu = config->mtu ?: config->default_mtu ?: port->mtu;
    port->mtu_given |= config->mtu != 0;
}

static void set_options(IpvlanPort *port, const IpvlanConfig *config)
{
    port->flag = config->flag ? *config->flag : port->flag;
    port->policy = config->policy ? *config->policy : port->policy;
    set_mtu(port, config);
    port->ra = config->ra ? *config->ra : port->ra;
    port->proxy_arp = config->proxy_arp ? *config->proxy_arp
                                        : port->proxy_arp;
    if (config->gateways) {
        ipvlan_set_gateways(port, config);
    }
}

/* Does it tell guests that it is their router? */
static bool advertises(const IpvlanPort *port)
{
    return ipvlan_is_l3(port) && port->ra;
}

/*
 * What it will not be any more.  Guests are told by who still is a router,
 * because what they send at once is to be treated as such.
 */
static void retire(IpvlanPort *port, const IpvlanConfig *config)
{
    bool routes = config->mode ? *config->mode >= IPVLAN_L3
                               : ipvlan_is_l3(port);
    bool ra = config->ra ? *config->ra : port->ra;

    if (advertises(port) && !(routes && ra)) {
        answer_retire(port);
    }
    if (ipvlan_is_l3(port) && !routes) {
        neigh_introduce(port);
    }
}

/* To send comes last: whoever gets it may answer before this returns. */
static void change(IpvlanPort *port, const IpvlanConfig *config)
{
    bool advertised;
    uint32_t mtu;

    retire(port, config);
    advertised = advertises(port);
    mtu = port->mtu;
    if (config->mode) {
        set_mode(port, *config->mode);
    }
    set_options(port, config);
    if (ipvlan_is_l3(port)) {
        neigh_gateways_changed(port);
    }
    if (advertises(port) && (!advertised || port->mtu != mtu)) {
        answer_advertise(port);
    }
}

int ipvlan_port_change(Link *lower, const IpvlanConfig *config, GError **err)
{
    if (lower->rx_handler != ipvlan_handle_frame) {
        g_set_error(err, LINK_ERROR, EINVAL,
                    "'%s' is no master of ipvlan's slaves", lower->name);
        return -EINVAL;
    }
    if (!check_change(ipvlan_port(lower), config, err)) {
        return -EINVAL;
    }
    change(ipvlan_port(lower), config);
    return 0;
}
