/*
 * What the options of -netdev ipvlan may be, and the arguments of the QMP
 * commands that change them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "ipvlan-int.h"
#include "qapi/error.h"

#define RX_QUEUE_MAX 65536

bool ipvlan_parse_prefix(const char *option, const char *text,
                         IpPrefix *prefix, Error **errp)
{
    g_autoptr(GError) err = NULL;

    if (!ip_prefix_parse(text, prefix, &err)) {
        error_setg(errp, "%s=%s: %s", option, text, err->message);
        return false;
    }
    return true;
}

bool ipvlan_parse_gateways(strList *list, GArray *gateways, Error **errp)
{
    for (; list; list = list->next) {
        IpAddr gateway;

        if (!ip_parse(list->value, &gateway)) {
            error_setg(errp, "gateway=%s: it is not an IPv4 or IPv6 address",
                       list->value);
            return false;
        }
        g_array_append_val(gateways, gateway);
    }
    return true;
}

bool ipvlan_check_range(const char *option, uint64_t value, uint64_t min,
                        uint64_t max, Error **errp)
{
    if (value < min || value > max) {
        error_setg(errp, "%s=%" PRIu64 ": it has to be between %" PRIu64
                   " and %" PRIu64, option, value, min, max);
        return false;
    }
    return true;
}

bool ipvlan_check_weight(uint64_t weight, Error **errp)
{
    return ipvlan_check_range("weight", weight, 1, LINK_WEIGHT_MAX, errp);
}

bool ipvlan_check_rx_queue(uint64_t packets, Error **errp)
{
    return ipvlan_check_range("rx-queue", packets, 1, RX_QUEUE_MAX, errp);
}

/* 0 is no value, although the library has it as "not given". */
bool ipvlan_check_mtu(uint64_t mtu, Error **errp)
{
    return ipvlan_check_range("mtu", mtu, IPVLAN_MTU_MIN, IPVLAN_MTU_MAX,
                              errp);
}

bool ipvlan_check_rate(const char *option, uint64_t bps, Error **errp)
{
    return ipvlan_check_range(option, bps, LINK_RATE_MIN, LINK_RATE_MAX,
                              errp);
}

bool ipvlan_check_burst(uint64_t burst, bool limited, Error **errp)
{
    if (!ipvlan_check_range("burst", burst, LINK_BURST_MIN, LINK_BURST_MAX,
                            errp)) {
        return false;
    }
    if (!limited) {
        error_setg(errp, "burst=%" PRIu64 ": it needs tx-bps or rx-bps",
                   burst);
    }
    return limited;
}
