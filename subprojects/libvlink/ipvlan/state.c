/*
 * What a port and its slaves know, to be taken elsewhere
 *
 * Neighbours and groups stay behind: they are found again, and on another
 * uplink they may be others.  Deferred frames do, too, as those in any queue.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../state.h"
#include "port.h"

static GVariant *bytes(const void *data, size_t len)
{
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, data, len, 1);
}

/* --- addresses ------------------------------------------------------------ */

/* Bytes, origin; ns since it was learned and used, and until its lease ends */
#define ADDRS_FORMAT "a(ayyxxx)"
#define ADDR_FORMAT "(@ayyxxx)"

static GVariant *save_addr(const IpvlanAddr *a, int64_t now)
{
    return g_variant_new(ADDR_FORMAT,
                         bytes(a->prefix.addr.b, a->prefix.len / 8),
                         a->origin, now - a->learned, now - ipvlan_used(a),
                         a->lease_end ? a->lease_end - now : 0);
}

static GVariant *save_addrs(const IpvlanSlave *slave)
{
    int64_t now = ipvlan_now(slave->port);
    GVariantBuilder addrs;

    g_variant_builder_init(&addrs, G_VARIANT_TYPE(ADDRS_FORMAT));
    for (GList *l = slave->learned.head; l; l = l->next) {
        g_variant_builder_add_value(&addrs, save_addr(l->data, now));
    }
    return g_variant_builder_end(&addrs);
}

static bool addr_from_bytes(IpAddr *a, GVariant *v)
{
    gsize len;
    const uint8_t *b = g_variant_get_fixed_array(v, &len, 1);

    if (len != 4 && len != 16) {
        return false;
    }
    *a = len == 4 ? ip_v4(b) : ip_v6(b);
    return true;
}

/* 146 years: the time from then to any that is to come has a number. */
#define AGE_MAX (INT64_MAX / 2)

static int64_t ago(int64_t now, int64_t age)
{
    return now - CLAMP(age, 0, AGE_MAX);
}

/* RFC 2131, 3.3: of 32 bits of seconds. */
#define LEASE_MAX (UINT32_MAX * NS_PER_S)

/* When a lease of @left ends; 0: there is none */
static int64_t lease_end(int64_t now, int64_t left)
{
    return left > 0 ? now + MIN(left, LEASE_MAX) : 0;
}

static void load_addrs(IpvlanSlave *slave, GVariantIter *addrs,
                       LinkMisfits *m)
{
    int64_t now = ipvlan_now(slave->port);
    int64_t age, idle, lease;
    char text[IP_STR_MAX];
    uint8_t origin;
    GVariant *v;

    while (g_variant_iter_next(addrs, ADDR_FORMAT, &v, &origin, &age, &idle,
                               &lease)) {
        g_autoptr(GVariant) b = v;
        IpvlanAddrInfo info = {
            .origin = origin, .learned = ago(now, age),
            .used = ago(now, idle),
        };
        IpAddr *addr = &info.prefix.addr;

        if (!addr_from_bytes(addr, b)) {
            link_misfit(m, "'%s' has an address of %zu bytes",
                        slave->link->name, g_variant_n_children(b));
            continue;
        }
        info.prefix.len = ip_bits(addr->family);
        if (!ipvlan_own_again(slave, &info, lease_end(now, lease))) {
            link_misfit(m, "'%s' may not own %s here", slave->link->name,
                        ip_format(addr, text));
        }
    }
}

/* --- slaves --------------------------------------------------------------- */

void ipvlan_save(const Link *link, GVariantBuilder *out)
{
    const IpvlanSlave *slave = link_priv(link);

    if (slave->has_mac) {
        g_variant_builder_add(out, "{sv}", "mac",
                              bytes(slave->mac, ETHER_ADDR_LEN));
    }
    if (slave->guarded.has_mac) {
        g_variant_builder_add(out, "{sv}", "guard-mac",
                              bytes(slave->guarded.mac, ETHER_ADDR_LEN));
    }
    if (slave->has_dhcp_xid) {
        g_variant_builder_add(out, "{sv}", "dhcp-xid",
                              bytes(&slave->dhcp_xid,
                                    sizeof(slave->dhcp_xid)));
    }
    g_variant_builder_add(out, "{sv}", "router",
                          g_variant_new_boolean(slave->is_router));
    g_variant_builder_add(out, "{sv}", "contested",
                          g_variant_new_uint64(slave->contested));
    g_variant_builder_add(out, "{sv}", "addresses", save_addrs(slave));
}

static void load_macs(IpvlanSlave *slave, GVariant *state)
{
    const uint8_t *mac = state_bytes(state, "mac", ETHER_ADDR_LEN);
    const uint8_t *guard = state_bytes(state, "guard-mac", ETHER_ADDR_LEN);

    if (mac && !mac_is_group(mac)) {
        snoop_known_mac(slave, mac);
    }
    if (guard && slave->guard != IPVLAN_GUARD_OFF) {
        memcpy(slave->guarded.mac, guard, ETHER_ADDR_LEN);
        slave->guarded.has_mac = true;
    }
}

void ipvlan_load(Link *link, GVariant *state, LinkMisfits *m)
{
    IpvlanSlave *slave = link_priv(link);
    g_autoptr(GVariantIter) addrs = NULL;
    const uint8_t *xid = state_bytes(state, "dhcp-xid",
                                     sizeof(slave->dhcp_xid));
    gboolean router = false;

    while (!g_queue_is_empty(&slave->learned)) {
        ipvlan_disown(slave->learned.head->data);
    }
    slave->has_dhcp_xid = xid;
    if (xid) {
        memcpy(&slave->dhcp_xid, xid, sizeof(slave->dhcp_xid));
    }
    g_variant_lookup(state, "router", "b", &router);
    slave->is_router = router;
    g_variant_lookup(state, "contested", "t", &slave->contested);
    load_macs(slave, state);
    if (g_variant_lookup(state, "addresses", ADDRS_FORMAT, &addrs)) {
        load_addrs(slave, addrs, m);
    }
}

/* --- ports ---------------------------------------------------------------- */

void ipvlan_save_port(const Link *lower, GVariantBuilder *out)
{
    const IpvlanPort *port = ipvlan_port(lower);

    g_variant_builder_add(out, "{sv}", "mac",
                          bytes(port->mac, ETHER_ADDR_LEN));
    filter_save(port, out);
}

/*
 * Guests and neighbours know the port by its MAC address.  Where nobody has
 * given it one, it would have another one on another host.
 */
static void load_port_mac(IpvlanPort *port, GVariant *state)
{
    const uint8_t *mac = state_bytes(state, "mac", ETHER_ADDR_LEN);

    if (mac && !port->has_own_mac && !mac_is_group(mac) &&
        !mac_is_zero(mac)) {
        memcpy(port->mac, mac, ETHER_ADDR_LEN);
    }
}

void ipvlan_load_port(Link *lower, GVariant *state, LinkMisfits *m)
{
    IpvlanPort *port = ipvlan_port(lower);

    load_port_mac(port, state);
    filter_load(port, state, m);
}
