/*
 * libvlink: a port that has as many addresses as it may have
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "libvlink/state.h"

#define FAR4 "192.0.2.9"
#define ROOM4 "10.255.255.1"    /* whose place is free again */
#define MORE4 "172.16.0.1"
#define MORE6 "2001:db8::1"

static Net net;
static User *full, *late;

static IpPrefix nth(uint32_t i)
{
    IpPrefix p = prefix("10.0.0.0");

    p.addr.b[1] = i >> 16;
    p.addr.b[2] = i >> 8;
    p.addr.b[3] = i;
    return p;
}

static void own(const IpPrefix *p)
{
    g_autoptr(GError) err = NULL;

    ipvlan_addr_add(full->link, p, &err);
    g_assert_no_error(err);
    trace_reset();
}

static unsigned addresses(void)
{
    IpvlanPortInfo info;

    g_assert_true(ipvlan_port_info(net.wire.link, &info));
    return info.addresses;
}

static void start(void)
{
    IpPrefix room = prefix(ROOM4);

    net_init(&net, IPVLAN_L2_MACNAT, IPVLAN_BRIDGE);
    net.injects = true;         /* a state, and with it other counters */
    full = net_owner(&net, NULL);
    late = net_learner(&net);
    for (uint32_t i = 0; i < IPVLAN_TABLE_LIMIT - 1; i++) {
        IpPrefix p = nth(i);

        own(&p);
    }
    own(&room);
    g_assert_cmpuint(addresses(), ==, IPVLAN_TABLE_LIMIT);
}

static void make_room(void)
{
    IpPrefix room = prefix(ROOM4);

    g_assert_cmpint(ipvlan_addr_del(full->link, &room, NULL), ==, 0);
}

static void stop(void)
{
    net_clear(&net);
    net_fini(&net);
}

/* --- what the user gives -------------------------------------------------- */

static void check_add(const char *addr)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *sentence = g_strdup_printf(
        "address=%s: the port cannot have more than 1048576 addresses", addr);
    IpPrefix p = prefix(addr);

    g_assert_cmpint(ipvlan_addr_add(full->link, &p, &err), ==, -ENOSPC);
    g_assert_error(err, LINK_ERROR, ENOSPC);
    g_assert_cmpstr(err->message, ==, sentence);
}

static void check_new_slave(void)
{
    g_autoptr(GError) err = NULL;
    IpPrefix p = prefix(MORE4);
    IpvlanConfig config = {
        .addrs = &p, .n_addrs = 1, .max_addrs = 1, .default_mac = port_mac,
    };

    g_assert_null(link_new(&test_platform, "ipvlan", "n2", net.wire.link,
                           &config, &err));
    g_assert_error(err, LINK_ERROR, ENOSPC);
    g_assert_cmpstr(err->message, ==, "addr=" MORE4 ": the port cannot have "
                    "more than 1048576 addresses");
}

/* --- what is learned ------------------------------------------------------ */

static Frame *ack(uint32_t xid)
{
    return dhcp_reply(mac_broadcast, gateway_mac, 5, MORE4, late->mac, xid,
                      3600);
}

/* The guest is not kept from talking, but nothing is delivered to it. */
static void check_learn(void)
{
    user_send(late, arp_announce(late->mac, MORE4));
    user_send(late, udp(gateway_mac, late->mac, MORE4, FAR4));
    g_assert_cmpuint(net.wire.sent->len, ==, 2);
    g_assert_cmpuint(net_addresses(late), ==, 0);
    net_clear(&net);
}

static void check_dhcp(void)
{
    user_send(late, dhcp_request(late->mac, 77));
    net_clear(&net);
    wire_receive(&net.wire, ack(77));
    clock_run_pending();
    /* it hears the answer, and the port what it is about */
    assert_got(late, ack(77));
    g_assert_cmpuint(net_addresses(late), ==, 0);
}

/* From a host where there was room. */
static void check_load(void)
{
    static const char text[] =
        "{'links': <[('n1', 'ipvlan', {'addresses': <@a(ayyxxx) ["
        "([byte 172, 16, 0, 1], %d, 0, 0, 3600000000000)]>})]>}";
    const IpvlanOrigin origins[] = { IPVLAN_ORIGIN_DHCP, IPVLAN_ORIGIN_IP };

    for (unsigned i = 0; i < G_N_ELEMENTS(origins); i++) {
        g_autofree char *state = g_strdup_printf(text, origins[i]);
        g_autoptr(GVariant) v =
            g_variant_ref_sink(g_variant_new_parsed(state));

        g_assert_false(link_state_load(net.wire.link, v, NULL));
        g_assert_cmpuint(net_addresses(late), ==, 0);
    }
}

static void test_table_full(void)
{
    start();
    check_add(MORE4);
    check_add(MORE6);
    check_new_slave();
    check_learn();
    check_dhcp();
    check_load();
    g_assert_cmpuint(addresses(), ==, IPVLAN_TABLE_LIMIT);

    /* and all goes on where there is room again */
    make_room();
    user_send(late, arp_announce(late->mac, MORE4));
    g_assert_true(net_owner_of(&net, MORE4) == late);
    g_assert_cmpuint(addresses(), ==, IPVLAN_TABLE_LIMIT);
    check_add(ROOM4);
    stop();
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/limits/table-full", test_table_full);
    return g_test_run();
}
