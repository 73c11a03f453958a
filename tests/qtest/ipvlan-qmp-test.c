/*
 * QTest testcases for -netdev ipvlan: what QMP changes at run time, and tells
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "ipvlan-rig.h"

#define GATEWAY "10.0.0.254"
#define NEW_GATEWAY "10.0.0.253"

/* As the library has it: of one slave's, in a second. */
#define EVENTS_MAX 16
#define EXPIRY 300              /* seconds */

/* --- commands ------------------------------------------------------------ */

static QDict *execute(Rig *rig, const char *command, const char *arguments)
{
    return qtest_qmp(rig->qts, "{ 'execute': %s, 'arguments': %p }", command,
                     qobject_from_json(arguments, &error_abort));
}

static void ok(Rig *rig, const char *command, const char *arguments)
{
    QDict *rsp = execute(rig, command, arguments);

    g_assert(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
}

/* With this one sentence, and nothing has changed. */
static void fails(Rig *rig, const char *command, const char *arguments,
                  const char *desc)
{
    g_autofree char *before = status_text(rig->qts), *after = NULL;
    QDict *rsp = execute(rig, command, arguments);

    g_assert(qdict_haskey(rsp, "error"));
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"),
                    ==, desc);
    qobject_unref(rsp);
    after = status_text(rig->qts);
    g_assert_cmpstr(before, ==, after);
}

static void port_set(Rig *rig, const char *what)
{
    g_autofree char *arguments = g_strdup_printf("{ 'master': 'up0', %s }",
                                                 what);

    ok(rig, "ipvlan-port-set", arguments);
}

static void slave_set(Rig *rig, const char *what)
{
    g_autofree char *arguments = g_strdup_printf("{ 'id': 'n0', %s }", what);

    ok(rig, "ipvlan-slave-set", arguments);
}

static void address(Rig *rig, const char *verb, const char *slave,
                    const char *address)
{
    g_autofree char *command = g_strdup_printf("ipvlan-address-%s", verb);
    g_autofree char *arguments = g_strdup_printf(
        "{ 'slave': '%s', 'address': '%s' }", slave, address);

    ok(rig, command, arguments);
}

/* --- errors -------------------------------------------------------------- */

typedef struct Wrong {
    const char *command;        /* behind "ipvlan-" */
    const char *arguments;
    const char *desc;
} Wrong;

/* Of a master of n0, which has learned IP_A, and of n1, which has IP_B. */
static const Wrong wrong[] = {
    { "address-add", "{ 'slave': 'n0' }", "Parameter 'address' is missing" },
    { "address-add", "{ 'slave': 'n0', 'address': 7 }",
      "Invalid parameter type for 'address', expected: string" },
    { "address-add", "{ 'slave': 'none', 'address': '10.0.0.9' }",
      "slave=none: there is no such netdev" },
    { "address-add", "{ 'slave': 'up0', 'address': '10.0.0.9' }",
      "slave=up0: it is no slave of ipvlan" },
    { "address-add", "{ 'slave': 'up0/ipvlan', 'address': '10.0.0.9' }",
      "slave=up0/ipvlan: there is no such netdev" },
    { "address-add", "{ 'slave': 'n0', 'address': '' }",
      "address=: it is not an IPv4 or IPv6 address or prefix" },
    { "address-add", "{ 'slave': 'n0', 'address': 'localhost' }",
      "address=localhost: it is not an IPv4 or IPv6 address or prefix" },
    { "address-add", "{ 'slave': 'n0', 'address': '10.0.0.9/33' }",
      "address=10.0.0.9/33: its prefix length is not between 1 and 32" },
    { "address-add", "{ 'slave': 'n0', 'address': '10.0.0.9/24' }",
      "address=10.0.0.9/24: it has bits set behind its prefix length" },
    { "address-add", "{ 'slave': 'n0', 'address': 'ff02::1' }",
      "address=ff02::1: it is not a unicast address that a guest can own" },
    { "address-add", "{ 'slave': 'n1', 'address': '10.0.0.1' }",
      "address=10.0.0.1: slave 'n0' owns it" },
    { "address-add", "{ 'slave': 'n0', 'address': '10.0.0.2' }",
      "address=10.0.0.2: slave 'n1' owns it" },
    { "address-add", "{ 'slave': 'n1', 'address': '10.0.0.2' }",
      "address=10.0.0.2: slave 'n1' owns it for good already" },
    { "address-del", "{ 'slave': 'none', 'address': '10.0.0.9' }",
      "slave=none: there is no such netdev" },
    { "address-del", "{ 'slave': 'n0', 'address': 'x' }",
      "address=x: it is not an IPv4 or IPv6 address or prefix" },
    { "address-del", "{ 'slave': 'n0', 'address': '10.0.0.9' }",
      "address=10.0.0.9: slave 'n0' does not own it" },
    { "address-del", "{ 'slave': 'n1', 'address': '10.0.0.1' }",
      "address=10.0.0.1: slave 'n0' owns it" },

    { "slave-set", "{ 'weight': 2 }", "Parameter 'id' is missing" },
    { "slave-set", "{ 'id': 'n0', 'weight': '2' }",
      "Parameter 'weight' expects uint64" },
    { "slave-set", "{ 'id': 'n0', 'guard': 'maybe' }",
      "Parameter 'guard' does not accept value 'maybe'" },
    { "slave-set", "{ 'id': 'n0', 'queues': 2 }",
      "Parameter 'queues' is unexpected" },
    { "slave-set", "{ 'id': 'none', 'weight': 2 }",
      "id=none: there is no such netdev" },
    { "slave-set", "{ 'id': 'up0', 'weight': 2 }",
      "id=up0: it is no slave of ipvlan" },
    { "slave-set", "{ 'id': 'n0', 'weight': 0, 'guard': 'on' }",
      "weight=0: it has to be between 1 and 256" },
    { "slave-set", "{ 'id': 'n0', 'weight': 257 }",
      "weight=257: it has to be between 1 and 256" },
    { "slave-set", "{ 'id': 'n0', 'weight': 2, 'rx-queue': 0 }",
      "rx-queue=0: it has to be between 1 and 65536" },
    { "slave-set", "{ 'id': 'n0', 'weight': 2, 'rx-queue': 65537 }",
      "rx-queue=65537: it has to be between 1 and 65536" },
    { "slave-set", "{ 'id': 'n0', 'weight': 2, 'tx-bps': 7999 }",
      "tx-bps=7999: it has to be between 8000 and 1000000000000" },
    { "slave-set", "{ 'id': 'n0', 'tx-bps': 8000, 'rx-bps': 1000000000001 }",
      "rx-bps=1000000000001: it has to be between 8000 and 1000000000000" },
    { "slave-set", "{ 'id': 'n0', 'tx-bps': 8000, 'burst': 1513 }",
      "burst=1513: it has to be between 1514 and 1073741824" },
    { "slave-set", "{ 'id': 'n0', 'guard': 'strict', 'burst': 1514 }",
      "burst=1514: it needs tx-bps or rx-bps" },
    { "slave-set", "{ 'id': 'n0', 'tx-bps': 0, 'burst': 1514 }",
      "burst=1514: it needs tx-bps or rx-bps" },

    { "port-set", "{ 'mode': 'l2' }", "Parameter 'master' is missing" },
    { "port-set", "{ 'master': 'up0', 'mode': 'l4' }",
      "Parameter 'mode' does not accept value 'l4'" },
    { "port-set", "{ 'master': 'up0', 'gateway': '10.0.0.254' }",
      "Invalid parameter type for 'gateway', expected: array" },
    { "port-set", "{ 'master': 'up0', 'mac': '02:00:00:00:00:02' }",
      "Parameter 'mac' is unexpected" },
    { "port-set", "{ 'master': 'none', 'mode': 'l2' }",
      "master=none: there is no such netdev" },
    { "port-set", "{ 'master': 'up0/ipvlan', 'mode': 'l2' }",
      "master=up0/ipvlan: there is no such netdev" },
    { "port-set", "{ 'master': 'free', 'mode': 'l2' }",
      "master=free: it has no slaves of ipvlan" },
    { "port-set", "{ 'master': 's0', 'mode': 'l2' }",
      "master=s0: it is in use by ipvlan 'n0'" },
    { "port-set", "{ 'master': 'up0', 'mode': 'l3', 'gateway': [ 'x' ] }",
      "gateway=x: it is not an IPv4 or IPv6 address" },
    { "port-set", "{ 'master': 'up0', 'mode': 'l3',"
      "  'gateway': [ '10.0.0.254', '10.0.0.253' ] }",
      "gateway=10.0.0.253: there is one for IPv4 already, 10.0.0.254" },
    { "port-set", "{ 'master': 'up0', 'mode': 'l3',"
      "  'gateway': [ '224.0.0.1' ] }",
      "gateway=224.0.0.1: it is not a unicast address of a host" },
    { "port-set", "{ 'master': 'up0', 'mode': 'l3', 'mtu': 0 }",
      "mtu=0: it has to be between 1280 and 65535" },
    { "port-set", "{ 'master': 'up0', 'mode': 'l3', 'mtu': 65536 }",
      "mtu=65536: it has to be between 1280 and 65535" },
    { "port-set", "{ 'master': 'up0', 'flag': 'private', 'mtu': 1500 }",
      "mtu=1500: that is for mode=l3 and mode=l3s, and the mode is "
      "l2-macnat" },
    { "port-set", "{ 'master': 'up0', 'mode': 'l2',"
      "  'gateway': [ '10.0.0.254' ] }",
      "gateway=10.0.0.254: that is for mode=l3 and mode=l3s, and the mode is "
      "l2" },
    { "port-set", "{ 'master': 'up0', 'flag': 'vepa', 'gateway': [ ] }",
      "gateway=: that is for mode=l3 and mode=l3s, and the mode is "
      "l2-macnat" },
    { "port-set", "{ 'master': 'up0', 'flag': 'vepa', 'ra': true }",
      "ra=on: that is for mode=l3 and mode=l3s, and the mode is l2-macnat" },
    { "port-set", "{ 'master': 'up0', 'flag': 'vepa', 'proxy-arp': false }",
      "proxy-arp=off: that is for mode=l3 and mode=l3s, and the mode is "
      "l2-macnat" },
    { "port-set", "{ 'master': 'up0', 'mode': 'l3', 'policy': 'drop' }",
      "policy=drop: that is for mode=l3s, and the mode is l3" },
};

static void test_errors(void)
{
    Rig *rig = rig_prepare("-machine none");

    rig_add_slave(rig, N0, "mac=" PORT_MAC);
    rig_add_slave(rig, N1, "addr=" IP_B);
    rig_wire(rig, N2, "free");
    rig_start(rig);
    /* not with settle(): the third wire is nobody's */
    send_frame(rig, N0, announcement(mac_a, IP_A));
    while (!has(rig->qts, "0.slaves.0.addresses.0.address")) {
        continue;
    }
    for (int i = 0; i < ARRAY_SIZE(wrong); i++) {
        g_autofree char *command = g_strdup_printf("ipvlan-%s",
                                                   wrong[i].command);

        fails(rig, command, wrong[i].arguments, wrong[i].desc);
    }
    rig_free(rig);
}

/* A slave that learns, because it was told to, has to be in l2. */
static void test_learn(void)
{
    Rig *rig = rig_new("", "learn=dhcp", NULL);

    fails(rig, "ipvlan-port-set", "{ 'master': 'up0', 'mode': 'l3s' }",
          "mode=l3s: slave 'n0' has learn=dhcp, and mode=l3s does not learn "
          "addresses");
    port_set(rig, "'mode': 'l2'");
    rig_free(rig);
}

/* --- addresses ----------------------------------------------------------- */

static void test_address(void)
{
    Rig *rig = rig_new("", "", "addr=" IP_B, NULL);

    introduce(rig, N0, mac_a, IP_A);
    send_frame(rig, UP, inbound(NOBODY, 1));
    settle(rig);
    g_assert_cmpint(get_drops(rig->qts, "0", "no-owner"), ==, 1);

    address(rig, "add", "n0", NOBODY);
    send_frame(rig, UP, inbound(NOBODY, 2));
    expect(rig, N0, with_dst(inbound(NOBODY, 2), mac_a));
    assert_str(rig->qts, "0.slaves.0.addresses.0.address", NOBODY);
    assert_str(rig->qts, "0.slaves.0.addresses.0.origin", "static");

    /* the longest match decides */
    address(rig, "add", "n1", "10.0.0.192/26");
    send_frame(rig, UP, inbound(NOBODY, 3));
    expect(rig, N0, with_dst(inbound(NOBODY, 3), mac_a));
    address(rig, "del", "n0", NOBODY);
    send_frame(rig, N1, announcement(mac_b, IP_B));
    discard_all(rig);
    send_frame(rig, UP, inbound(NOBODY, 4));
    expect(rig, N1, with_dst(inbound(NOBODY, 4), mac_b));

    /* a guest may use what it was given, behind its guard */
    send_frame(rig, N1, udp(ext_mac, mac_b, NOBODY, EXT_IP, 5));
    expect(rig, UP, udp(ext_mac, port_mac, NOBODY, EXT_IP, 5));
    address(rig, "del", "n1", "10.0.0.192/26");
    send_frame(rig, N1, udp(ext_mac, mac_b, NOBODY, EXT_IP, 6));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.1", "guard-source"), ==, 1);
    rig_free(rig);
}

/* A learned one is kept, or given up and learned again. */
static void test_address_learned(void)
{
    Rig *rig = rig_new("", "", NULL);

    introduce(rig, N0, mac_a, IP_A);
    introduce(rig, N0, mac_a, IP_C);
    address(rig, "add", "n0", IP_A);
    assert_str(rig->qts, "0.slaves.0.addresses.0.origin", "static");
    step(rig, EXPIRY + 1);
    assert_str(rig->qts, "0.slaves.0.addresses.0.address", IP_A);
    g_assert_false(has(rig->qts, "0.slaves.0.addresses.1.address"));
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.addresses.0.age"), ==,
                    EXPIRY + 1);

    address(rig, "del", "n0", IP_A);
    g_assert_false(has(rig->qts, "0.slaves.0.addresses.0.address"));
    introduce(rig, N0, mac_a, IP_A);
    assert_str(rig->qts, "0.slaves.0.addresses.0.origin", "arp");
    address(rig, "del", "n0", IP_A);
    g_assert_false(has(rig->qts, "0.slaves.0.addresses.0.address"));
    rig_free(rig);
}

/* --- slaves -------------------------------------------------------------- */

static double get_share(Rig *rig, const char *key)
{
    QDict *flat = status(rig->qts);
    double share = qdict_get_double(flat, key);

    qobject_unref(flat);
    return share;
}

static void test_slave_set(void)
{
    Rig *rig = rig_new("", "", "addr=" IP_B, NULL);
    g_autofree char *before = status_text(rig->qts), *after = NULL;

    g_assert_cmpfloat(get_share(rig, "0.slaves.0.share"), ==, 50);
    slave_set(rig, "'weight': 3, 'tx-bps': 8000, 'rx-bps': 16000, "
              "'burst': 20000, 'guard': 'strict', 'rx-queue': 7");
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.weight"), ==, 3);
    g_assert_cmpfloat(get_share(rig, "0.slaves.0.share"), ==, 75);
    g_assert_cmpfloat(get_share(rig, "0.slaves.1.share"), ==, 25);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.tx-bps"), ==, 8000);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.rx-bps"), ==, 16000);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.burst"), ==, 20000);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.rx-queue-max"), ==, 7);
    assert_str(rig->qts, "0.slaves.0.guard", "strict");

    /* the rest stays */
    slave_set(rig, "'tx-bps': 0");
    g_assert_false(has(rig->qts, "0.slaves.0.tx-bps"));
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.rx-bps"), ==, 16000);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.burst"), ==, 20000);
    slave_set(rig, "'burst': 0");
    g_assert_false(has(rig->qts, "0.slaves.0.burst"));
    slave_set(rig, "'burst': 30000");
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.weight"), ==, 3);

    /* without a rate there is no burst */
    slave_set(rig, "'rx-bps': 0, 'weight': 1, 'guard': 'off', "
              "'rx-queue': 1024");
    after = status_text(rig->qts);
    g_assert_cmpstr(before, ==, after);
    rig_free(rig);
}

/* 2,000 bits a frame: the first ones are the bucket's, and then none is. */
static void test_slave_rate(void)
{
    Rig *rig = rig_new("", "", NULL);
    int sent = 0;

    introduce(rig, N0, mac_a, IP_A);
    slave_set(rig, "'tx-bps': 8000, 'burst': 1514");
    while (!has(rig->qts, "0.slaves.0.waits-for")) {
        send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, sent++));
        g_assert_cmpint(sent, <, 1000);
    }
    assert_str(rig->qts, "0.slaves.0.waits-for", "rate");
    /* a machine's clock that stands still fills no bucket */
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.stats.tx-packets"), <,
                    rig->sent[N0]);
    slave_set(rig, "'tx-bps': 0");
    for (int i = 0; i < sent; i++) {
        expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, i));
    }
    expect_nothing(rig);
    g_assert_false(has(rig->qts, "0.slaves.0.waits-for"));
    rig_free(rig);
}

static void test_slave_guard(void)
{
    Rig *rig = rig_new("", "learn=off,guard=off", NULL);

    address(rig, "add", "n0", IP_A);
    send_frame(rig, N0, udp(ext_mac, mac_b, NOBODY, EXT_IP, 1));
    expect(rig, UP, udp(ext_mac, port_mac, NOBODY, EXT_IP, 1));
    slave_set(rig, "'guard': 'on'");
    send_frame(rig, N0, udp(ext_mac, mac_a, NOBODY, EXT_IP, 2));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "guard-source"), ==, 1);
    /* what that one came from is what all others are to come from */
    send_frame(rig, N0, udp(ext_mac, mac_b, IP_A, EXT_IP, 3));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "guard-mac"), ==, 1);
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, 4));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 4));
    slave_set(rig, "'guard': 'off'");
    send_frame(rig, N0, udp(ext_mac, mac_b, NOBODY, EXT_IP, 5));
    expect(rig, UP, udp(ext_mac, port_mac, NOBODY, EXT_IP, 5));
    rig_free(rig);
}

/* --- ports --------------------------------------------------------------- */

static Rig *rig_of_two(const char *port)
{
    Rig *rig = rig_new(port, "addr=" IP_A, "addr=" IP_B, NULL);

    introduce(rig, N0, mac_a, IP_A);
    introduce(rig, N1, mac_b, IP_B);
    return rig;
}

static void works_as_l2(Rig *rig, uint32_t tag)
{
    Frame to_all = udp(broadcast, mac_a, IP_A, "255.255.255.255", tag);

    send_frame(rig, N0, udp(mac_b, mac_a, IP_A, IP_B, tag));
    expect(rig, N1, udp(mac_b, mac_a, IP_A, IP_B, tag));
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, tag));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, tag));
    send_frame(rig, UP, inbound(IP_B, tag));
    expect(rig, N1, with_dst(inbound(IP_B, tag), mac_b));
    send_frame(rig, N0, to_all);
    expect(rig, UP, with_src(to_all, port_mac));
    expect(rig, N1, to_all);
    expect_nothing(rig);
}

/* @asks: who its neighbour is is not known yet. */
static void works_as_l3(Rig *rig, uint32_t tag, bool asks)
{
    int64_t dropped = get_drops(rig->qts, "0.slaves.0", "not-routed");

    send_frame(rig, N0, udp(mac_b, mac_a, IP_A, IP_B, tag));
    expect(rig, N1, udp(mac_b, port_mac, IP_A, IP_B, tag));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, EXT_IP, tag));
    if (asks) {
        expect(rig, UP, who_has(port_mac, IP_A, EXT_IP));
        send_frame(rig, UP, arp(ARP_REPLY, port_mac, ext_mac, EXT_IP,
                                port_mac, IP_A));
    }
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, tag));
    send_frame(rig, UP, inbound(IP_B, tag));
    expect(rig, N1, udp(mac_b, port_mac, EXT_IP, IP_B, tag));
    send_frame(rig, N0, udp(broadcast, mac_a, IP_A, "255.255.255.255", tag));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "not-routed"), ==,
                    dropped + 1);
}

/* The monitor shows a netdev that has no peer, as "lone" has none. */
static void assert_info_network(Rig *rig, const char *expected)
{
    g_autofree char *text = qtest_hmp(rig->qts, "info network");

    g_assert_cmpstr(text, ==, expected);
}

static void test_mode(void)
{
    Rig *rig = rig_of_two("");

    add(rig->qts, "lone", "'master': 'up0'");
    works_as_l2(rig, 1);
    port_set(rig, "'mode': 'l3', 'ra': false");
    assert_info_network(rig, "lone: index=0,type=ipvlan,master=up0,mode=l3,"
                        "flag=bridge,mac=" PORT_MAC ",learn=off\r\n");
    works_as_l3(rig, 2, true);
    port_set(rig, "'mode': 'l3s'");
    g_assert_false(get_bool(rig->qts, "0.ra"));
    assert_str(rig->qts, "0.policy", "accept");
    works_as_l3(rig, 3, false);
    port_set(rig, "'mode': 'l2-macnat'");
    /* to whom it was at the port until now */
    expect(rig, N0, announcement(ext_mac, EXT_IP));
    expect(rig, N1, announcement(ext_mac, EXT_IP));
    g_assert_false(has(rig->qts, "0.neighbours"));
    g_assert_false(has(rig->qts, "0.mtu"));
    works_as_l2(rig, 4);

    port_set(rig, "'mode': 'l2'");
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, 5));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "foreign-mac"), ==, 1);
    send_frame(rig, N0, udp(ext_mac, port_mac, IP_A, EXT_IP, 6));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 6));
    port_set(rig, "'mode': 'l2-macnat'");
    works_as_l2(rig, 7);
    rig_free(rig);
}

/* What the modes have learn and guard be, where nobody has said. */
static void test_mode_learn(void)
{
    Rig *rig = rig_new("", "", NULL);

    introduce(rig, N0, mac_a, IP_A);
    port_set(rig, "'mode': 'l3', 'ra': false");
    assert_str(rig->qts, "0.slaves.0.learn", "off");
    assert_str(rig->qts, "0.slaves.0.guard", "on");
    assert_str(rig->qts, "0.slaves.0.addresses.0.address", IP_A);
    send_frame(rig, UP, inbound(IP_A, 1));
    expect(rig, N0, udp(mac_a, port_mac, EXT_IP, IP_A, 1));
    step(rig, EXPIRY + 1);
    g_assert_false(has(rig->qts, "0.slaves.0.addresses.0.address"));
    port_set(rig, "'mode': 'l2-macnat'");
    assert_str(rig->qts, "0.slaves.0.learn", "on");
    assert_str(rig->qts, "0.slaves.0.guard", "off");
    introduce(rig, N0, mac_a, IP_A);
    assert_str(rig->qts, "0.slaves.0.addresses.0.address", IP_A);
    rig_free(rig);
}

static void test_flag(void)
{
    Rig *rig = rig_of_two("");
    Frame f = udp(mac_b, mac_a, IP_A, IP_B, 1);

    port_set(rig, "'flag': 'private'");
    send_frame(rig, N0, f);
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "private"), ==, 1);
    port_set(rig, "'flag': 'vepa'");
    send_frame(rig, N0, f);
    expect(rig, UP, with_src(f, port_mac));
    add(rig->qts, "lone", "'master': 'up0'");
    port_set(rig, "'flag': 'private'");
    assert_info_network(rig, "lone: index=0,type=ipvlan,master=up0,"
                        "mode=l2-macnat,flag=private,mac=" PORT_MAC
                        ",learn=on\r\n");
    port_set(rig, "'flag': 'bridge'");
    works_as_l2(rig, 2);
    rig_free(rig);
}

static void test_policy(void)
{
    Rig *rig = rig_of_two("");
    Frame f = udp(port_mac, mac_a, IP_A, IP_B, 1);

    port_set(rig, "'mode': 'l3s', 'policy': 'drop', 'ra': false");
    send_frame(rig, N0, f);
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "filter"), ==, 1);
    ok(rig, "object-add", "{ 'qom-type': 'ipvlan-rule', 'id': 'r0',"
       "  'master': 'up0', 'match': 'udp', 'action': 'accept' }");
    send_frame(rig, N0, f);
    expect(rig, N1, udp(mac_b, port_mac, IP_A, IP_B, 1));

    /* a rule that would have no effect any more */
    fails(rig, "ipvlan-port-set", "{ 'master': 'up0', 'mode': 'l3' }",
          "mode=l3: ipvlan-rule 'r0' is for 'up0', and needs mode=l3s");
    fails(rig, "ipvlan-port-set", "{ 'master': 'up0', 'mode': 'l2-macnat' }",
          "mode=l2-macnat: ipvlan-rule 'r0' is for 'up0', and needs "
          "mode=l3s");
    port_set(rig, "'policy': 'accept'");
    ok(rig, "object-del", "{ 'id': 'r0' }");
    send_frame(rig, N0, f);
    expect(rig, N1, udp(mac_b, port_mac, IP_A, IP_B, 1));
    port_set(rig, "'policy': 'drop'");
    port_set(rig, "'mode': 'l2-macnat'");
    works_as_l2(rig, 2);

    /* it is not kept for the next time */
    port_set(rig, "'mode': 'l3s'");
    assert_str(rig->qts, "0.policy", "accept");
    rig_free(rig);
}

static void test_gateway(void)
{
    Rig *rig = rig_of_two("mode=l3,ra=off,gateway=" GATEWAY);

    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, "192.0.2.1", 1));
    expect(rig, UP, who_has(port_mac, IP_A, GATEWAY));
    /* what waits for the one goes to the other */
    port_set(rig, "'gateway': [ '" NEW_GATEWAY "' ]");
    assert_str(rig->qts, "0.gateways.0", NEW_GATEWAY);
    expect(rig, UP, who_has(port_mac, IP_A, NEW_GATEWAY));
    send_frame(rig, UP, arp(ARP_REPLY, port_mac, ext_mac, NEW_GATEWAY,
                            port_mac, IP_A));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, "192.0.2.1", 1));
    port_set(rig, "'gateway': [ ], 'mtu': 1280, 'proxy-arp': false");
    g_assert_false(has(rig->qts, "0.gateways.0"));
    g_assert_cmpint(get_int(rig->qts, "0.mtu"), ==, 1280);
    send_frame(rig, UP, who_has(ext_mac, EXT_IP, IP_A));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, "192.0.2.1", 2));
    expect(rig, UP, who_has(port_mac, IP_A, "192.0.2.1"));
    expect_nothing(rig);

    /* the others stay */
    port_set(rig, "'gateway': [ '" GATEWAY "', 'fd00::1' ]");
    assert_str(rig->qts, "0.gateways.0", GATEWAY);
    assert_str(rig->qts, "0.gateways.1", "fd00::1");
    g_assert_cmpint(get_int(rig->qts, "0.mtu"), ==, 1280);
    g_assert_false(get_bool(rig->qts, "0.proxy-arp"));
    rig_free(rig);
}

/* The lifetime of the router that guests are told of; RFC 4861, 4.2. */
static int take_ra_lifetime(Rig *rig, int wire)
{
    Frame f = receive(rig, wire);

    g_assert_cmpint(f.b[54], ==, 134);
    return f.b[60] << 8 | f.b[61];
}

static void test_ra(void)
{
    Rig *rig = rig_of_two("");

    port_set(rig, "'mode': 'l3'");
    g_assert_cmpint(take_ra_lifetime(rig, N0), ==, 1800);
    g_assert_cmpint(take_ra_lifetime(rig, N1), ==, 1800);
    port_set(rig, "'ra': false");
    g_assert_cmpint(take_ra_lifetime(rig, N0), ==, 0);
    g_assert_cmpint(take_ra_lifetime(rig, N1), ==, 0);
    step(rig, 3600);
    expect_nothing(rig);
    port_set(rig, "'ra': true");
    g_assert_cmpint(take_ra_lifetime(rig, N0), ==, 1800);
    port_set(rig, "'mode': 'l2'");
    discard(rig, N1);
    g_assert_cmpint(take_ra_lifetime(rig, N0), ==, 0);
    step(rig, 3600);
    expect_nothing(rig);
    rig_free(rig);
}

/* --- events -------------------------------------------------------------- */

/* Those of addresses that have come, in order. */
static GQueue events = G_QUEUE_INIT;

static bool keep_event(QTestState *qts, const char *name, QDict *event,
                       void *opaque)
{
    if (g_str_has_prefix(name, "IPVLAN_ADDRESS_")) {
        g_queue_push_tail(&events, qobject_ref(event));
    }
    return true;
}

static Rig *watch(Rig *rig)
{
    qtest_qmp_set_event_callback(rig->qts, keep_event, NULL);
    return rig;
}

/* The next one, which is @name. */
static QDict *wait_event(Rig *rig, const char *name)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    QDict *event;

    while (!events.length) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_assert_true(get_bool(rig->qts, "0.link-up"));
    }
    event = g_queue_pop_head(&events);
    g_assert_cmpstr(qdict_get_str(event, "event"), ==, name);
    return event;
}

static void assert_data(QDict *event, const char *key, const char *expected)
{
    g_assert_cmpstr(qdict_get_try_str(qdict_get_qdict(event, "data"), key),
                    ==, expected);
}

static void expect_learned(Rig *rig, const char *slave, const char *address,
                           const char *origin)
{
    QDict *event = wait_event(rig, "IPVLAN_ADDRESS_LEARNED");

    assert_data(event, "slave", slave);
    assert_data(event, "address", address);
    assert_data(event, "origin", origin);
    qobject_unref(event);
}

static void expect_expired(Rig *rig, const char *slave, const char *address)
{
    QDict *event = wait_event(rig, "IPVLAN_ADDRESS_EXPIRED");

    assert_data(event, "slave", slave);
    assert_data(event, "address", address);
    qobject_unref(event);
}

static void expect_contested(Rig *rig, const char *address, int64_t n)
{
    QDict *event = wait_event(rig, "IPVLAN_ADDRESS_CONTESTED");

    assert_data(event, "slave", "n1");
    assert_data(event, "owner", "n0");
    assert_data(event, "address", address);
    g_assert_cmpint(qdict_get_int(qdict_get_qdict(event, "data"),
                                  "contested"), ==, n);
    qobject_unref(event);
}

static void free_event(void *event)
{
    qobject_unref((QDict *)event);
}

/* What there is to tell is told before the next command is answered. */
static int take_events(Rig *rig)
{
    int n;

    settle(rig);
    n = events.length;
    g_queue_clear_full(&events, free_event);
    return n;
}

static void expect_no_event(Rig *rig)
{
    g_assert_cmpint(take_events(rig), ==, 0);
}

/* What a slave has counted stays the port's when it goes. */
static void test_deleted(void)
{
    static const char *const keys[] = {
        "rx-packets", "rx-bytes", "tx-packets", "tx-bytes", "made", "absorbed",
    };
    int64_t counted[ARRAY_SIZE(keys)];
    Rig *rig = rig_new("", "", "", NULL);

    introduce(rig, N0, mac_a, IP_A);
    introduce(rig, N1, mac_b, IP_B);
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, NOBODY, 1));
    settle(rig);
    for (int i = 0; i < ARRAY_SIZE(keys); i++) {
        g_autofree char *key = g_strdup_printf("0.slaves.0.stats.%s", keys[i]);

        counted[i] = get_int(rig->qts, key);
    }
    g_assert_cmpint(counted[2], ==, 2);
    del(rig->qts, "n0");
    for (int i = 0; i < ARRAY_SIZE(keys); i++) {
        g_autofree char *key = g_strdup_printf("0.deleted.%s", keys[i]);

        g_assert_cmpint(get_int(rig->qts, key), ==, counted[i]);
    }
    assert_str(rig->qts, "0.deleted.drops.0.reason", "no-owner");
    g_assert_cmpint(get_int(rig->qts, "0.deleted.drops.0.packets"), ==, 1);
    rig_free(rig);
}

static void test_event_learned(void)
{
    Rig *rig = watch(rig_new("", "", "addr=" IP_B, NULL));

    introduce(rig, N0, mac_a, IP_A);
    expect_learned(rig, "n0", IP_A, "arp");
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_C, EXT_IP, 1));
    expect_learned(rig, "n0", IP_C, "ip");
    /* what is configured nobody needs to be told */
    introduce(rig, N1, mac_b, IP_B);
    address(rig, "add", "n1", NOBODY);
    address(rig, "add", "n0", IP_C);
    address(rig, "del", "n1", NOBODY);
    expect_no_event(rig);
    step(rig, EXPIRY + 1);
    expect_expired(rig, "n0", IP_A);

    introduce(rig, N0, mac_a, IP_A);
    expect_learned(rig, "n0", IP_A, "arp");
    address(rig, "del", "n0", IP_A);
    expect_expired(rig, "n0", IP_A);
    expect_no_event(rig);
    rig_free(rig);
}

/* That a slave goes says enough. */
static void test_event_deleted(void)
{
    Rig *rig = watch(rig_new("", "", NULL));

    introduce(rig, N0, mac_a, IP_A);
    expect_learned(rig, "n0", IP_A, "arp");
    add(rig->qts, "more", "'master': 'up0'");
    step(rig, 1);
    del(rig->qts, "n0");
    g_assert_false(has(rig->qts, "0.slaves.1.id"));
    g_assert_cmpint(events.length, ==, 0);
    rig_free(rig);
}

/* One address to and fro: each of its events once a second. */
static void test_event_throttled(void)
{
    Rig *rig = watch(rig_new("", "", NULL));

    step(rig, 1);
    for (int i = 0; i < 5; i++) {
        introduce(rig, N0, mac_a, IP_A);
        address(rig, "del", "n0", IP_A);
    }
    expect_learned(rig, "n0", IP_A, "arp");
    expect_expired(rig, "n0", IP_A);
    expect_no_event(rig);
    /* another address is another event */
    introduce(rig, N0, mac_a, IP_B);
    expect_learned(rig, "n0", IP_B, "arp");
    step(rig, 1);
    expect_learned(rig, "n0", IP_A, "arp");
    expect_expired(rig, "n0", IP_A);
    step(rig, 1);
    expect_no_event(rig);
    rig_free(rig);
}

/* A guest that makes up addresses, each of which is another event. */
static void flood(Rig *rig)
{
    for (int i = 0; i < 1000; i++) {
        g_autofree char *ip = g_strdup_printf("10.%d.%d.9", 1 + i / 250,
                                              i % 250);

        send_frame(rig, N0, udp(ext_mac, mac_a, ip, EXT_IP, i));
        /* sockets are short */
        if (i % 5 == 0) {
            settle(rig);
        }
        discard(rig, UP);
    }
}

static void test_event_flood(void)
{
    Rig *rig = watch(rig_new("", "", "", NULL));

    step(rig, 1);
    flood(rig);
    g_assert_cmpint(take_events(rig), ==, EVENTS_MAX);
    /* another slave's are told */
    introduce(rig, N1, mac_b, IP_B);
    expect_learned(rig, "n1", IP_B, "arp");
    step(rig, 1);
    g_assert_cmpint(take_events(rig), ==, 0);
    flood(rig);
    g_assert_cmpint(take_events(rig), ==, EVENTS_MAX);
    /* what is so is not hidden by that */
    g_assert_true(has(rig->qts, "0.slaves.0.addresses.15.address"));
    g_assert_false(has(rig->qts, "0.slaves.0.addresses.16.address"));
    rig_free(rig);
}

static void test_event_contested(void)
{
    Rig *rig = watch(rig_new("", "addr=" IP_A ",addr=10.9.0.0/16", "",
                             NULL));
    Frame stolen = udp(ext_mac, mac_b, IP_A, EXT_IP, 1);

    step(rig, 1);
    send_frame(rig, N1, stolen);
    expect_contested(rig, IP_A, 1);
    for (int i = 0; i < 9; i++) {
        send_frame(rig, N1, stolen);
    }
    expect_no_event(rig);
    /* the last one of that second */
    step(rig, 1);
    expect_contested(rig, IP_A, 10);
    step(rig, 1);
    expect_no_event(rig);
    step(rig, 1);
    send_frame(rig, N1, udp(ext_mac, mac_b, "10.9.1.1", EXT_IP, 1));
    expect_contested(rig, "10.9.0.0/16", 11);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.1.contested"), ==, 11);
    rig_free(rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("ipvlan-qmp/errors", test_errors);
    qtest_add_func("ipvlan-qmp/errors/learn", test_learn);
    qtest_add_func("ipvlan-qmp/address", test_address);
    qtest_add_func("ipvlan-qmp/address/learned", test_address_learned);
    qtest_add_func("ipvlan-qmp/slave", test_slave_set);
    qtest_add_func("ipvlan-qmp/slave/rate", test_slave_rate);
    qtest_add_func("ipvlan-qmp/slave/guard", test_slave_guard);
    qtest_add_func("ipvlan-qmp/port/mode", test_mode);
    qtest_add_func("ipvlan-qmp/port/mode/learn", test_mode_learn);
    qtest_add_func("ipvlan-qmp/port/flag", test_flag);
    qtest_add_func("ipvlan-qmp/port/policy", test_policy);
    qtest_add_func("ipvlan-qmp/port/gateway", test_gateway);
    qtest_add_func("ipvlan-qmp/port/ra", test_ra);
    qtest_add_func("ipvlan-qmp/deleted", test_deleted);
    qtest_add_func("ipvlan-qmp/event/learned", test_event_learned);
    qtest_add_func("ipvlan-qmp/event/deleted", test_event_deleted);
    qtest_add_func("ipvlan-qmp/event/throttled", test_event_throttled);
    qtest_add_func("ipvlan-qmp/event/flood", test_event_flood);
    qtest_add_func("ipvlan-qmp/event/contested", test_event_contested);
    return g_test_run();
}
