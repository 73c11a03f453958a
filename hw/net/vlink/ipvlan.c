/*
 * -netdev ipvlan: its options
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/net/vlink/ipvlan.h"
#include "ipvlan-int.h"
#include "net/util.h"
#include "qapi/error.h"
#include "qapi/qapi-types-net.h"

#define QUEUES_MAX 256

/* The schema's enumerations and the library's are the same. */
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_MODE_L2 != IPVLAN_L2);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_MODE_L2_MACNAT != IPVLAN_L2_MACNAT);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_MODE_L3 != IPVLAN_L3);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_MODE_L3S != IPVLAN_L3S);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_FLAG_BRIDGE != IPVLAN_BRIDGE);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_FLAG_PRIVATE != IPVLAN_PRIVATE);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_FLAG_VEPA != IPVLAN_VEPA);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_LEARN_OFF != IPVLAN_LEARN_OFF);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_LEARN_DHCP != IPVLAN_LEARN_DHCP);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_LEARN_ON != IPVLAN_LEARN_ON);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_GUARD_OFF != IPVLAN_GUARD_OFF);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_GUARD_ON != IPVLAN_GUARD_ON);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_GUARD_STRICT != IPVLAN_GUARD_STRICT);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_POLICY_ACCEPT != IPVLAN_POLICY_ACCEPT);
QEMU_BUILD_BUG_ON((int)NETDEV_IPVLAN_POLICY_DROP != IPVLAN_POLICY_DROP);

static uint32_t tap_mtu(const char *master)
{
    return vlink_tap_mtu(master, IPVLAN_MTU_MIN, IPVLAN_MTU_MAX);
}

/* What the wire tells is the new master's; neighbours have been forgotten. */
static void ipvlan_reconnected(Link *lower)
{
    ipvlan_port_set_default_mtu(lower, tap_mtu(vlink_master_id(lower)));
}

static VlinkDriver ipvlan_driver = {
    .kind = "ipvlan",
    .type = NET_CLIENT_DRIVER_IPVLAN,
    .reconnected = ipvlan_reconnected,
};

/* The options, and what an IpvlanConfig points to. */
typedef struct Parsed {
    IpvlanConfig config;
    IpvlanMode mode;
    IpvlanFlag flag;
    IpvlanPolicy policy;
    uint8_t mac[ETHER_ADDR_LEN];
    uint8_t default_mac[ETHER_ADDR_LEN];
    GArray *addrs;              /* of IpPrefix */
    GArray *gateways;           /* of IpAddr */
} Parsed;

static bool parse_mac(const char *text, uint8_t *mac, Error **errp)
{
    /* A bare number would be the end of a NIC's default address. */
    if (!strpbrk(text, ":-") || net_parse_macaddr(mac, text) < 0) {
        error_setg(errp, "mac=%s: it is not a MAC address", text);
        return false;
    }
    return true;
}

static bool parse_addrs(strList *list, GArray *addrs, Error **errp)
{
    for (; list; list = list->next) {
        IpPrefix prefix;

        if (!ipvlan_parse_prefix("addr", list->value, &prefix, errp)) {
            return false;
        }
        g_array_append_val(addrs, prefix);
    }
    return true;
}

static bool check_rates(const NetdevIpvlanOptions *opts, Error **errp)
{
    return (!opts->has_tx_bps ||
            ipvlan_check_rate("tx-bps", opts->tx_bps, errp)) &&
           (!opts->has_rx_bps ||
            ipvlan_check_rate("rx-bps", opts->rx_bps, errp)) &&
           (!opts->has_burst ||
            ipvlan_check_burst(opts->burst, opts->has_tx_bps ||
                               opts->has_rx_bps, errp));
}

/* What is everybody's, the kind of link notwithstanding. */
static bool parse_link(const NetdevIpvlanOptions *opts, VlinkOptions *vlink,
                       Error **errp)
{
    if ((opts->has_rx_queue &&
         !ipvlan_check_rx_queue(opts->rx_queue, errp)) ||
        (opts->has_queues &&
         !ipvlan_check_range("queues", opts->queues, 1, QUEUES_MAX, errp)) ||
        (opts->has_weight && !ipvlan_check_weight(opts->weight, errp)) ||
        !check_rates(opts, errp)) {
        return false;
    }
    vlink->rx_queue = opts->rx_queue;
    vlink->queues = opts->queues;
    vlink->weight = opts->weight;
    vlink->tx_bps = opts->tx_bps;
    vlink->rx_bps = opts->rx_bps;
    vlink->burst = opts->burst;
    return true;
}

/* mtu=0 is no value, although the library's config has it as "not given". */
static bool parse_l3(const NetdevIpvlanOptions *opts, Parsed *parsed,
                     Error **errp)
{
    IpvlanConfig *config = &parsed->config;

    if (!ipvlan_parse_gateways(opts->gateway, parsed->gateways, errp) ||
        (opts->has_mtu && !ipvlan_check_mtu(opts->mtu, errp))) {
        return false;
    }
    config->gateways = (const IpAddr *)parsed->gateways->data;
    config->n_gateways = parsed->gateways->len;
    config->mtu = opts->mtu;
    config->default_mtu = tap_mtu(opts->master);
    config->ra = opts->has_ra ? &opts->ra : NULL;
    config->proxy_arp = opts->has_proxy_arp ? &opts->proxy_arp : NULL;
    if (opts->has_policy) {
        parsed->policy = (IpvlanPolicy)opts->policy;
        config->policy = &parsed->policy;
    }
    return true;
}

static bool parse_port(const NetdevIpvlanOptions *opts, Parsed *parsed,
                       Error **errp)
{
    IpvlanConfig *config = &parsed->config;

    if (opts->has_mode) {
        parsed->mode = (IpvlanMode)opts->mode;
        config->mode = &parsed->mode;
    }
    if (opts->has_flag) {
        parsed->flag = (IpvlanFlag)opts->flag;
        config->flag = &parsed->flag;
    }
    if (opts->mac) {
        if (!parse_mac(opts->mac, parsed->mac, errp)) {
            return false;
        }
        config->mac = parsed->mac;
    }
    vlink_default_mac(opts->master, parsed->default_mac);
    config->default_mac = parsed->default_mac;
    return parse_l3(opts, parsed, errp);
}

static bool parse_slave(const NetdevIpvlanOptions *opts, Parsed *parsed,
                        Error **errp)
{
    IpvlanConfig *config = &parsed->config;

    if (!parse_addrs(opts->addr, parsed->addrs, errp)) {
        return false;
    }
    config->addrs = (const IpPrefix *)parsed->addrs->data;
    config->n_addrs = parsed->addrs->len;
    config->learn = opts->has_learn ? (IpvlanLearn)opts->learn
                                    : IPVLAN_LEARN_AUTO;
    config->guard = opts->has_guard ? (IpvlanGuard)opts->guard
                                    : IPVLAN_GUARD_AUTO;
    config->max_addrs = opts->has_max_addrs ? opts->max_addrs
                                            : IPVLAN_MAX_ADDRS;
    config->is_default = opts->q_default;
    return true;
}

int net_init_ipvlan(const Netdev *netdev, const char *name,
                    NetClientState *peer, Error **errp)
{
    const NetdevIpvlanOptions *opts = &netdev->u.ipvlan;
    g_autoptr(GArray) addrs = g_array_new(false, false, sizeof(IpPrefix));
    g_autoptr(GArray) gateways = g_array_new(false, false, sizeof(IpAddr));
    Parsed parsed = { .addrs = addrs, .gateways = gateways };
    VlinkOptions vlink = {
        .id = name,
        .master = opts->master,
        .netdev = opts->netdev,
        .peer = peer,
        .config = &parsed.config,
    };
    Link *link;

    ipvlan_register();
    if (!parse_port(opts, &parsed, errp) ||
        !parse_slave(opts, &parsed, errp) ||
        !parse_link(opts, &vlink, errp) ||
        !ipvlan_rules_permit(opts->master, parsed.config.mode, errp)) {
        return -1;
    }
    link = vlink_new(&ipvlan_driver, &vlink, errp);
    if (!link) {
        return -1;
    }
    if (!ipvlan_rules_attach(link->lower, errp)) {
        vlink_del(link);
        return -1;
    }
    return 0;
}
