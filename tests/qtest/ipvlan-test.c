/*
 * QTest testcase for -netdev ipvlan
 *
 * Options, monitor commands, life cycles, and where frames go.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <net/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include "qemu/bswap.h"
#include "qemu/timer.h"
#include "ipvlan-rig.h"

/* --- options that are refused -------------------------------------------- */

typedef struct ErrorCase {
    const char *name;
    const char *id;             /* NULL: "new" */
    const char *options;
    const char *desc;
} ErrorCase;

static const ErrorCase error_cases[] = {
    { "master/missing", NULL, "'mode': 'l2'",
      "Parameter 'master' is missing" },
    { "master/unknown", NULL, "'master': 'nope'",
      "master=nope: there is no such netdev" },
    { "master/own", NULL, "'master': 'new'",
      "master=new: a netdev cannot be its own master" },
    { "master/slave-has-it", NULL, "'master': 's0'",
      "master=s0: it is in use by ipvlan 'n0'" },
    { "master/hubport-has-it", NULL, "'master': 'hubbed'",
      "master=hubbed: it is in use by hub 'hp0'" },
    { "id/duplicate", "n0", "'master': 'up0'",
      "Duplicate ID 'n0'" },
    { "id/of-the-master", "up0", "'master': 'up0'",
      "Duplicate ID 'up0'" },
    { "option/unknown", NULL, "'master': 'up0', 'nope': 1",
      "Parameter 'nope' is unexpected" },
    { "netdev/unknown", NULL, "'master': 'up0', 'netdev': 'nope'",
      "netdev=nope: there is no such netdev" },
    { "netdev/own", NULL, "'master': 'up0', 'netdev': 'new'",
      "netdev=new: a netdev cannot be its own netdev" },
    { "netdev/slave-has-it", NULL, "'master': 'up0', 'netdev': 's0'",
      "netdev=s0: it is in use by ipvlan 'n0'" },
    { "netdev/hubport-has-it", NULL, "'master': 'up0', 'netdev': 'hubbed'",
      "netdev=hubbed: it is in use by hub 'hp0'" },
    { "netdev/the-master", NULL, "'master': 'free', 'netdev': 'free'",
      "netdev=free: it is the master" },
    { "netdev/the-master-of-others", NULL, "'master': 'up0', 'netdev': 'up0'",
      "netdev=up0: it is the master" },
    { "netdev/another-master", NULL, "'master': 'free', 'netdev': 'up0'",
      "netdev=up0: it is the master of ipvlan netdevs" },
    { "netdev/loop", NULL, "'master': 'up0', 'netdev': 'n1'",
      "netdev=n1: 'n1' and 'new' are connected already, "
      "and frames would go in circles" },
    { "netdev/nested-loop", NULL, "'master': 'n1', 'netdev': 'n2'",
      "netdev=n2: 'n2' and 'new' are connected already, "
      "and frames would go in circles" },
    { "mac/no-mac", NULL, "'master': 'free', 'mac': 'nope'",
      "mac=nope: it is not a MAC address" },
    { "mac/short", NULL, "'master': 'free', 'mac': '02:00:00:00:00'",
      "mac=02:00:00:00:00: it is not a MAC address" },
    { "mac/empty", NULL, "'master': 'free', 'mac': ''",
      "mac=: it is not a MAC address" },
    { "mac/number", NULL, "'master': 'free', 'mac': '5'",
      "mac=5: it is not a MAC address" },
    { "mac/multicast", NULL, "'master': 'free', 'mac': '01:00:5e:00:00:01'",
      "mac=01:00:5e:00:00:01: it is not a unicast MAC address" },
    { "mac/zero", NULL, "'master': 'free', 'mac': '00:00:00:00:00:00'",
      "mac=00:00:00:00:00:00: it is not a unicast MAC address" },
    { "mac/contradicts", NULL, "'master': 'up0', 'mac': '02:00:00:00:00:02'",
      "mac=02:00:00:00:00:02 contradicts mac=02:00:00:00:00:01 of the slaves "
      "that 'up0' has" },
    { "mode/unknown", NULL, "'master': 'up0', 'mode': 'l4'",
      "Parameter 'mode' does not accept value 'l4'" },
    { "mode/contradicts", NULL, "'master': 'up0', 'mode': 'l2'",
      "mode=l2 contradicts mode=l2-macnat of the slaves that 'up0' has" },
    { "flag/unknown", NULL, "'master': 'up0', 'flag': 'public'",
      "Parameter 'flag' does not accept value 'public'" },
    { "flag/contradicts", NULL, "'master': 'up0', 'flag': 'vepa'",
      "flag=vepa contradicts flag=bridge of the slaves that 'up0' has" },
    { "learn/unknown", NULL, "'master': 'up0', 'learn': 'never'",
      "Parameter 'learn' does not accept value 'never'" },
    { "addr/no-address", NULL, "'master': 'free', 'addr': [ 'x' ]",
      "addr=x: it is not an IPv4 or IPv6 address or prefix" },
    { "addr/empty", NULL, "'master': 'free', 'addr': [ '' ]",
      "addr=: it is not an IPv4 or IPv6 address or prefix" },
    { "addr/length", NULL,
      "'master': 'free', 'addr': [ '10.0.0.0/33' ]",
      "addr=10.0.0.0/33: its prefix length is not between 1 and 32" },
    { "addr/length-0", NULL,
      "'master': 'free', 'addr': [ '0.0.0.0/0' ]",
      "addr=0.0.0.0/0: its prefix length is not between 1 and 32" },
    { "addr/length-empty", NULL,
      "'master': 'free', 'addr': [ '2001:db8::/' ]",
      "addr=2001:db8::/: its prefix length is not between 1 and 128" },
    { "addr/host-bits", NULL,
      "'master': 'free', 'addr': [ '10.0.0.1/8' ]",
      "addr=10.0.0.1/8: it has bits set behind its prefix length" },
    { "addr/host-bits-v6", NULL,
      "'master': 'free', 'addr': [ '2001:db8::1/64' ]",
      "addr=2001:db8::1/64: it has bits set behind its prefix length" },
    { "addr/multicast", NULL,
      "'master': 'free', 'addr': [ '224.0.0.1' ]",
      "addr=224.0.0.1: it is not a unicast address that a guest can own" },
    { "addr/multicast-v6", NULL,
      "'master': 'free', 'addr': [ 'ff02::1' ]",
      "addr=ff02::1: it is not a unicast address that a guest can own" },
    { "addr/loopback", NULL,
      "'master': 'free', 'addr': [ '127.0.0.1' ]",
      "addr=127.0.0.1: it is not a unicast address that a guest can own" },
    { "addr/owned", NULL,
      "'master': 'up0', 'addr': [ '10.0.0.1' ]",
      "addr=10.0.0.1: slave 'n0' owns it" },
    { "addr/owned-prefix", NULL, "'master': 'up0', "
      "'addr': [ '10.0.0.9', '10.1.0.0/16' ]",
      "addr=10.1.0.0/16: slave 'n0' owns it" },
    { "addr/twice", NULL, "'master': 'free', "
      "'addr': [ '10.0.0.9', '10.0.0.9/32' ]",
      "addr=10.0.0.9 is given twice" },
    { "default/twice", NULL, "'master': 'up0', 'default': true",
      "default=on: 'n0' is the default slave of 'up0' already" },
    { "max-addrs/0", NULL, "'master': 'free', 'max-addrs': 0",
      "max-addrs=0: it has to be between 1 and 1024" },
    { "max-addrs/1025", NULL, "'master': 'free', 'max-addrs': 1025",
      "max-addrs=1025: it has to be between 1 and 1024" },
    { "rx-queue/0", NULL, "'master': 'free', 'rx-queue': 0",
      "rx-queue=0: it has to be between 1 and 65536" },
    { "rx-queue/65537", NULL, "'master': 'free', 'rx-queue': 65537",
      "rx-queue=65537: it has to be between 1 and 65536" },
    { "rx-queue/negative", NULL, "'master': 'free', 'rx-queue': -1",
      "Parameter 'rx-queue' expects uint32_t" },
    { "queues/0", NULL, "'master': 'free', 'queues': 0",
      "queues=0: it has to be between 1 and 256" },
    { "queues/257", NULL, "'master': 'free', 'queues': 257",
      "queues=257: it has to be between 1 and 256" },
    { "queues/not-as-the-netdev", NULL,
      "'master': 'up0', 'netdev': 'free', 'queues': 2",
      "queues=2: netdev 'free' has 1" },
    { "weight/0", NULL, "'master': 'free', 'weight': 0",
      "weight=0: it has to be between 1 and 256" },
    { "weight/257", NULL, "'master': 'free', 'weight': 257",
      "weight=257: it has to be between 1 and 256" },
    { "weight/text", NULL, "'master': 'free', 'weight': 'heavy'",
      "Parameter 'weight' expects uint64" },
    { "tx-bps/0", NULL, "'master': 'free', 'tx-bps': 0",
      "tx-bps=0: it has to be between 8000 and 1000000000000" },
    { "tx-bps/7999", NULL, "'master': 'free', 'tx-bps': 7999",
      "tx-bps=7999: it has to be between 8000 and 1000000000000" },
    { "tx-bps/too-much", NULL, "'master': 'free', 'tx-bps': 1000000000001",
      "tx-bps=1000000000001: it has to be between 8000 and 1000000000000" },
    { "tx-bps/2-to-the-64", NULL,
      "'master': 'free', 'tx-bps': 18446744073709551616",
      "Parameter 'tx-bps' expects uint64" },
    { "rx-bps/0", NULL, "'master': 'free', 'rx-bps': 0",
      "rx-bps=0: it has to be between 8000 and 1000000000000" },
    { "rx-bps/too-much", NULL, "'master': 'free', 'rx-bps': 1000000000001",
      "rx-bps=1000000000001: it has to be between 8000 and 1000000000000" },
    { "rx-bps/negative", NULL, "'master': 'free', 'rx-bps': -8000",
      "rx-bps=18446744073709543616: it has to be between 8000 and "
      "1000000000000" },
    { "burst/1513", NULL,
      "'master': 'free', 'tx-bps': 8000, 'burst': 1513",
      "burst=1513: it has to be between 1514 and 1073741824" },
    { "burst/too-much", NULL,
      "'master': 'free', 'rx-bps': 8000, 'burst': 1073741825",
      "burst=1073741825: it has to be between 1514 and 1073741824" },
    { "burst/alone", NULL, "'master': 'free', 'burst': 20000",
      "burst=20000: it needs tx-bps or rx-bps" },
    { "mode/contradicts-l3", NULL, "'master': 'up0', 'mode': 'l3'",
      "mode=l3 contradicts mode=l2-macnat of the slaves that 'up0' has" },
    { "mode/l3-contradicts", NULL, "'master': 'router', 'mode': 'l3'",
      "mode=l3 contradicts mode=l3s of the slaves that 'router' has" },
    { "gateway/no-address", NULL,
      "'master': 'free', 'mode': 'l3', 'gateway': [ 'x' ]",
      "gateway=x: it is not an IPv4 or IPv6 address" },
    { "gateway/empty", NULL,
      "'master': 'free', 'mode': 'l3', 'gateway': [ '' ]",
      "gateway=: it is not an IPv4 or IPv6 address" },
    { "gateway/prefix", NULL,
      "'master': 'free', 'mode': 'l3', 'gateway': [ '10.0.0.254/24' ]",
      "gateway=10.0.0.254/24: it is not an IPv4 or IPv6 address" },
    { "gateway/multicast", NULL,
      "'master': 'free', 'mode': 'l3', 'gateway': [ '224.0.0.1' ]",
      "gateway=224.0.0.1: it is not a unicast address of a host" },
    { "gateway/multicast-v6", NULL,
      "'master': 'free', 'mode': 'l3s', 'gateway': [ 'ff02::2' ]",
      "gateway=ff02::2: it is not a unicast address of a host" },
    { "gateway/unspecified", NULL,
      "'master': 'free', 'mode': 'l3', 'gateway': [ '::' ]",
      "gateway=::: it is not a unicast address of a host" },
    { "gateway/two-v4", NULL, "'master': 'free', 'mode': 'l3', "
      "'gateway': [ '10.0.0.1', 'fe80::1', '10.0.0.2' ]",
      "gateway=10.0.0.2: there is one for IPv4 already, 10.0.0.1" },
    { "gateway/two-v6", NULL, "'master': 'free', 'mode': 'l3', "
      "'gateway': [ 'fe80::1', 'fe80::2' ]",
      "gateway=fe80::2: there is one for IPv6 already, fe80::1" },
    { "gateway/l2", NULL, "'master': 'free', 'gateway': [ '10.0.0.1' ]",
      "gateway=10.0.0.1: that is for mode=l3 and mode=l3s, and the mode is "
      "l2-macnat" },
    { "gateway/slaves-in-l2", NULL,
      "'master': 'up0', 'gateway': [ '10.0.0.1' ]",
      "gateway=10.0.0.1: that is for mode=l3 and mode=l3s, and the mode is "
      "l2-macnat" },
    { "gateway/contradicts", NULL,
      "'master': 'router', 'gateway': [ '10.0.0.1' ]",
      "gateway=10.0.0.1 contradicts gateway=10.9.0.254 of the slaves that "
      "'router' has" },
    { "gateway/contradicts-none", NULL,
      "'master': 'router', 'gateway': [ '10.9.0.254', 'fe80::1' ]",
      "gateway=fe80::1 contradicts gateway=none of the slaves that "
      "'router' has" },
    { "mtu/0", NULL, "'master': 'free', 'mode': 'l3', 'mtu': 0",
      "mtu=0: it has to be between 1280 and 65535" },
    { "mtu/1279", NULL, "'master': 'free', 'mode': 'l3', 'mtu': 1279",
      "mtu=1279: it has to be between 1280 and 65535" },
    { "mtu/65536", NULL, "'master': 'free', 'mode': 'l3', 'mtu': 65536",
      "mtu=65536: it has to be between 1280 and 65535" },
    { "mtu/l2", NULL, "'master': 'free', 'mode': 'l2', 'mtu': 1500",
      "mtu=1500: that is for mode=l3 and mode=l3s, and the mode is l2" },
    { "mtu/contradicts", NULL, "'master': 'router', 'mtu': 1500",
      "mtu=1500 contradicts mtu=1400 of the slaves that 'router' has" },
    { "ra/text", NULL, "'master': 'free', 'mode': 'l3', 'ra': 'no'",
      "Invalid parameter type for 'ra', expected: boolean" },
    { "ra/l2", NULL, "'master': 'free', 'ra': true",
      "ra=on: that is for mode=l3 and mode=l3s, and the mode is l2-macnat" },
    { "ra/contradicts", NULL, "'master': 'router', 'ra': false",
      "ra=off contradicts ra=on of the slaves that 'router' has" },
    { "proxy-arp/l2", NULL, "'master': 'up0', 'proxy-arp': false",
      "proxy-arp=off: that is for mode=l3 and mode=l3s, and the mode is "
      "l2-macnat" },
    { "proxy-arp/contradicts", NULL, "'master': 'router', 'proxy-arp': true",
      "proxy-arp=on contradicts proxy-arp=off of the slaves that 'router' "
      "has" },
    { "policy/unknown", NULL,
      "'master': 'free', 'mode': 'l3s', 'policy': 'maybe'",
      "Parameter 'policy' does not accept value 'maybe'" },
    { "policy/l2", NULL, "'master': 'free', 'policy': 'accept'",
      "policy=accept: that is for mode=l3s, and the mode is l2-macnat" },
    { "policy/l3", NULL, "'master': 'free', 'mode': 'l3', 'policy': 'drop'",
      "policy=drop: that is for mode=l3s, and the mode is l3" },
    { "policy/contradicts", NULL, "'master': 'router', 'policy': 'accept'",
      "policy=accept contradicts policy=drop of the slaves that 'router' "
      "has" },
    { "learn/l3", NULL, "'master': 'free', 'mode': 'l3', 'learn': 'on'",
      "learn=on: mode=l3 does not learn addresses, give them with addr=" },
    { "learn/l3s", NULL, "'master': 'router', 'learn': 'dhcp'",
      "learn=dhcp: mode=l3s does not learn addresses, give them with "
      "addr=" },
    { "guard/unknown", NULL, "'master': 'up0', 'guard': 'maybe'",
      "Parameter 'guard' does not accept value 'maybe'" },
};

/*
 * up0 with slaves, a router with one, an unused netdev, and one that a hub
 * port has.
 */
static Rig *errors_rig(void)
{
    Rig *rig = rig_prepare("-machine none");

    rig_add_slave(rig, N0, "mac=" PORT_MAC ",addr=10.0.0.1,addr=10.1.0.0/16,"
                  "default=on");
    g_string_append(rig->args, " -netdev ipvlan,id=n1,master=up0"
                    " -netdev ipvlan,id=n2,master=up0");
    rig_wire(rig, N1, "free");
    rig_wire(rig, N2, "hubbed");
    g_string_append(rig->args, " -netdev hubport,id=hp0,hubid=1,"
                    "netdev=hubbed"
                    " -netdev hubport,id=router,hubid=2"
                    " -netdev ipvlan,id=r0,master=router,mode=l3s,mtu=1400,"
                    "gateway=10.9.0.254,proxy-arp=off,policy=drop");
    rig_start(rig);
    return rig;
}

static void test_error(const void *data)
{
    const ErrorCase *c = data;
    Rig *rig = errors_rig();
    g_autofree char *before = status_text(rig->qts);
    g_autofree char *after = NULL, *end = NULL;

    add_fails(rig->qts, c->id ?: "new", c->options, c->desc);
    after = status_text(rig->qts);
    g_assert_cmpstr(after, ==, before);

    /* masters and the name are as good as before */
    add(rig->qts, "new", "'master': 'up0'");
    del(rig->qts, "new");
    add(rig->qts, "new", "'master': 'free', 'mode': 'l2'");
    del(rig->qts, "new");
    add(rig->qts, "new", "'master': 'up0', 'netdev': 'free'");
    del(rig->qts, "new");
    end = status_text(rig->qts);
    g_assert_cmpstr(end, ==, before);
    rig_free(rig);
}

/* Masters on masters, as deep as it goes. */
static void test_error_nesting(void)
{
    Rig *rig = rig_new("", "", NULL);
    g_autofree char *before = NULL, *after = NULL;

    for (int i = 2; i <= 8; i++) {
        g_autofree char *id = g_strdup_printf("deep%d", i);
        g_autofree char *options = i == 2 ? g_strdup("'master': 'deep1'") :
            g_strdup_printf("'master': 'deep%d'", i - 1);

        if (i == 2) {
            add(rig->qts, "deep1", "'master': 'up0'");
        }
        add(rig->qts, id, options);
    }
    before = status_text(rig->qts);
    add_fails(rig->qts, "deep9", "'master': 'deep8'",
              "'deep9' would be nested deeper than 8 links");
    after = status_text(rig->qts);
    g_assert_cmpstr(before, ==, after);
    add(rig->qts, "wide8", "'master': 'deep7'");
    rig_free(rig);
}

/* --- the command line ---------------------------------------------------- */

#define HUB "-netdev hubport,id=free,hubid=1 "

static const struct {
    const char *name, *args, *sentence;
} cli_cases[] = {
    { "missing-master", "-netdev ipvlan,id=n0",
      "Parameter 'master' is missing" },
    { "unknown-master", "-netdev ipvlan,id=n0,master=nope",
      "master=nope: there is no such netdev" },
    { "master-comes-later", "-netdev ipvlan,id=n0,master=up0 "
      "-netdev hubport,id=up0,hubid=1",
      "master=up0: there is no such netdev" },
    { "own-master", "-netdev ipvlan,id=n0,master=n0",
      "master=n0: a netdev cannot be its own master" },
    { "no-mac", HUB "-netdev ipvlan,id=n0,master=free,mac=x",
      "mac=x: it is not a MAC address" },
    { "bad-second-addr",
      HUB "-netdev ipvlan,id=n0,master=free,addr=10.0.0.1,addr=10.0.0.2/8",
      "addr=10.0.0.2/8: it has bits set behind its prefix length" },
    { "contradiction", HUB "-netdev ipvlan,id=n0,master=free,flag=private "
      "-netdev ipvlan,id=n1,master=free,flag=vepa",
      "flag=vepa contradicts flag=private of the slaves that 'free' has" },
    { "unknown-mode", HUB "-netdev ipvlan,id=n0,master=free,mode=l4",
      "Parameter 'mode' does not accept value 'l4'" },
    { "range", HUB "-netdev ipvlan,id=n0,master=free,max-addrs=2000",
      "max-addrs=2000: it has to be between 1 and 1024" },
    { "weight", HUB "-netdev ipvlan,id=n0,master=free,weight=1000",
      "weight=1000: it has to be between 1 and 256" },
    { "rate-with-suffix", HUB "-netdev ipvlan,id=n0,master=free,tx-bps=1M",
      "Parameter 'tx-bps' expects a uint64 value" },
    { "burst-with-suffix", HUB
      "-netdev ipvlan,id=n0,master=free,tx-bps=1000000,burst=2G",
      "burst=2147483648: it has to be between 1514 and 1073741824" },
    { "unknown-option", HUB "-netdev ipvlan,id=n0,master=free,colour=red",
      "Invalid parameter 'colour'" },
    { "two-gateways", HUB "-netdev ipvlan,id=n0,master=free,mode=l3,"
      "gateway=10.0.0.1,gateway=2001:db8::1,gateway=2001:db8::2",
      "gateway=2001:db8::2: there is one for IPv6 already, 2001:db8::1" },
    { "policy-without-filter", HUB
      "-netdev ipvlan,id=n0,master=free,mode=l3,policy=drop",
      "policy=drop: that is for mode=l3s, and the mode is l3" },
    { "ra-is-no-bool", HUB "-netdev ipvlan,id=n0,master=free,mode=l3,ra=1",
      "Parameter 'ra' expects 'on' or 'off'" },
    { "hub-and-netdev", HUB "-netdev hubport,id=more,hubid=2 "
      "-net ipvlan,id=n0,master=free,netdev=more",
      "netdev=more: -net attaches 'n0' to a hub already" },
    { "hub-and-queues", HUB "-net ipvlan,id=n0,master=free,queues=2",
      "queues=2: -net attaches 'n0' to a hub, which takes only one" },
};

static void test_cli(const void *data)
{
    int i = GPOINTER_TO_INT(data);

    assert_qemu_refuses(cli_cases[i].args, cli_cases[i].sentence);
}

static void test_cli_help(void)
{
    g_autofree char *out = NULL;

    g_assert_cmpint(run_qemu("-netdev help", &out, NULL), ==, 0);
    g_assert_nonnull(strstr(out, "\nipvlan\n"));
}

/* --- frames -------------------------------------------------------------- */

/* Two guests, a and b, that have been seen. */
static Rig *rig_of_two(const char *port)
{
    Rig *rig = rig_new(port, "", "", NULL);

    introduce(rig, N0, mac_a, IP_A);
    introduce(rig, N1, mac_b, IP_B);
    return rig;
}

static void test_learned(void)
{
    Rig *rig = rig_new("", "", "", NULL);

    send_frame(rig, N0, announcement(mac_a, IP_A));
    expect(rig, UP, announcement(port_mac, IP_A));
    expect(rig, N1, announcement(mac_a, IP_A));
    send_frame(rig, N1, announcement(mac_b, IP_B));
    expect(rig, UP, announcement(port_mac, IP_B));
    expect(rig, N0, announcement(mac_b, IP_B));
    assert_str(rig->qts, "0.slaves.1.addresses.0.address", IP_B);
    assert_str(rig->qts, "0.slaves.1.addresses.0.origin", "arp");
    assert_str(rig->qts, "0.slaves.1.mac", "52:54:00:00:00:0b");

    send_frame(rig, UP, inbound(IP_A, 1));
    send_frame(rig, UP, inbound(IP_B, 2));
    send_frame(rig, UP, inbound(NOBODY, 3));
    expect(rig, N0, with_dst(inbound(IP_A, 1), mac_a));
    expect(rig, N1, with_dst(inbound(IP_B, 2), mac_b));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0", "no-owner"), ==, 1);
    g_assert_cmpint(get_drops(rig->qts, "0", NULL), ==, 1);
    rig_free(rig);
}

/* A socket does not tell its MAC: the frame comes as it is, till it does. */
static void test_static(void)
{
    Rig *rig = rig_new("", "addr=" IP_A, "addr=" IP_B, NULL);

    send_frame(rig, UP, inbound(IP_B, 1));
    expect(rig, N1, inbound(IP_B, 1));
    send_frame(rig, N1, udp(ext_mac, mac_b, IP_B, EXT_IP, 2));
    expect(rig, UP, udp(ext_mac, port_mac, IP_B, EXT_IP, 2));
    send_frame(rig, UP, inbound(IP_B, 3));
    expect(rig, N1, with_dst(inbound(IP_B, 3), mac_b));
    expect_nothing(rig);
    assert_str(rig->qts, "0.slaves.0.addresses.0.address", IP_A);
    assert_str(rig->qts, "0.slaves.0.addresses.0.origin", "static");
    assert_str(rig->qts, "0.slaves.0.learn", "off");
    rig_free(rig);
}

static void test_prefix(void)
{
    Rig *rig = rig_new("", "addr=10.1.0.0/16,addr=2001:db8::/64",
                       "addr=10.1.2.0/24", "addr=10.1.2.3", NULL);

    send_frame(rig, UP, inbound("10.1.0.0", 1));
    send_frame(rig, UP, inbound("10.1.255.255", 2));
    send_frame(rig, UP, inbound("10.1.2.4", 3));
    send_frame(rig, UP, inbound("10.1.2.3", 4));
    send_frame(rig, UP, inbound("10.2.0.1", 5));
    send_frame(rig, UP, solicitation(port_mac, ext_mac, "2001:db8::1",
                                     "2001:db8::2", "2001:db8::2"));
    expect(rig, N0, inbound("10.1.0.0", 1));
    expect(rig, N0, inbound("10.1.255.255", 2));
    expect(rig, N0, solicitation(port_mac, ext_mac, "2001:db8::1",
                                 "2001:db8::2", "2001:db8::2"));
    expect(rig, N1, inbound("10.1.2.4", 3));
    expect(rig, N2, inbound("10.1.2.3", 4));
    expect_nothing(rig);
    assert_str(rig->qts, "0.slaves.0.addresses.0.address", "10.1.0.0/16");
    rig_free(rig);
}

static void test_tagged(void)
{
    static const uint8_t tags[] = { 0x88, 0xa8, 0, 1, 0x81, 0, 0, 2 };
    Rig *rig = rig_of_two("");
    Frame plain = inbound(IP_B, 1);
    Frame f = { 0 };

    put(&f, plain.b, 2 * MAC_LEN);
    put(&f, tags, sizeof(tags));
    put(&f, plain.b + 2 * MAC_LEN, plain.len - 2 * MAC_LEN);
    send_frame(rig, UP, f);
    expect(rig, N1, with_dst(f, mac_b));
    expect_nothing(rig);
    rig_free(rig);
}

static void test_macnat(void)
{
    Rig *rig = rig_of_two("");

    /* ARP: what goes out is the port's, the answer is the guest's again */
    send_frame(rig, N0, arp(ARP_REQUEST, broadcast, mac_a, IP_A, no_mac,
                            EXT_IP));
    expect(rig, UP, arp(ARP_REQUEST, broadcast, port_mac, IP_A, no_mac,
                        EXT_IP));
    expect(rig, N1, arp(ARP_REQUEST, broadcast, mac_a, IP_A, no_mac,
                        EXT_IP));
    send_frame(rig, UP, arp(ARP_REPLY, port_mac, ext_mac, EXT_IP, port_mac,
                            IP_A));
    expect(rig, N0, arp(ARP_REPLY, mac_a, ext_mac, EXT_IP, mac_a, IP_A));

    /* who is asked for goes alone */
    send_frame(rig, UP, arp(ARP_REQUEST, broadcast, ext_mac, EXT_IP, no_mac,
                            IP_B));
    expect(rig, N1, arp(ARP_REQUEST, broadcast, ext_mac, EXT_IP, no_mac,
                        IP_B));
    expect_nothing(rig);

    /* IP */
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, 1));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 1));
    send_frame(rig, N1, udp(ext_mac, mac_b, IP_B, EXT_IP, 2));
    expect(rig, UP, udp(ext_mac, port_mac, IP_B, EXT_IP, 2));

    /* neighbour discovery, whose checksum covers the hardware address */
    send_frame(rig, N0, solicitation(ext_mac, mac_a, "2001:db8::a",
                                     "2001:db8::100", "2001:db8::100"));
    expect(rig, UP, solicitation(ext_mac, port_mac, "2001:db8::a",
                                 "2001:db8::100", "2001:db8::100"));
    assert_str(rig->qts, "0.slaves.0.addresses.1.address", "2001:db8::a");
    assert_str(rig->qts, "0.slaves.0.addresses.1.origin", "nd");
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0", NULL), ==, 0);
    rig_free(rig);
}

/* By the guest's own MAC, as the user-mode stack does it. */
static void test_own_mac(void)
{
    Rig *rig = rig_of_two("");

    send_frame(rig, UP, with_dst(inbound(NOBODY, 1), mac_b));
    expect(rig, N1, with_dst(inbound(NOBODY, 1), mac_b));
    send_frame(rig, UP, with_dst(inbound(IP_A, 2), mac_c));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0", "not-for-us"), ==, 1);
    rig_free(rig);
}

static void test_broadcast(void)
{
    Rig *rig = rig_of_two("");
    Frame all = udp(broadcast, mac_a, IP_A, "255.255.255.255", 1);
    Frame reflected = udp(broadcast, port_mac, IP_A, "255.255.255.255", 1);
    Frame external = udp(broadcast, ext_mac, EXT_IP, "255.255.255.255", 2);

    send_frame(rig, N0, all);
    expect(rig, UP, reflected);
    expect(rig, N1, all);
    send_frame(rig, UP, external);
    expect(rig, N0, external);
    expect(rig, N1, external);
    send_frame(rig, UP, reflected);
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0", "reflected"), ==, 1);
    rig_free(rig);
}

static void test_siblings(void)
{
    Rig *rig = rig_of_two("");

    send_frame(rig, N0, udp(mac_b, mac_a, IP_A, IP_B, 1));
    expect(rig, N1, udp(mac_b, mac_a, IP_A, IP_B, 1));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_B, 2));
    expect(rig, N1, udp(mac_b, mac_a, IP_A, IP_B, 2));
    send_frame(rig, N1, arp(ARP_REQUEST, broadcast, mac_b, IP_B, no_mac,
                            IP_A));
    expect(rig, N0, arp(ARP_REQUEST, broadcast, mac_b, IP_B, no_mac, IP_A));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_A, 3));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, NOBODY, 4));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "to-itself"), ==, 1);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "no-owner"), ==, 1);
    rig_free(rig);
}

/* What a sibling owns cannot be used as a source. */
static void test_not_owned(void)
{
    Rig *rig = rig_of_two("");

    send_frame(rig, N1, udp(ext_mac, mac_b, IP_A, EXT_IP, 1));
    send_frame(rig, N1, announcement(mac_b, IP_A));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.1", "not-owned"), ==, 2);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.1.contested"), ==, 2);
    g_assert_false(has(rig->qts, "0.slaves.1.addresses.1.address"));
    rig_free(rig);
}

static void test_default(void)
{
    Rig *rig = rig_new("", "", "default=on", NULL);
    Frame lldp = eth(port_mac, ext_mac, 0x88cc);

    introduce(rig, N0, mac_a, IP_A);
    introduce(rig, N1, mac_b, IP_B);
    g_assert_true(get_bool(rig->qts, "0.slaves.1.default"));
    send_frame(rig, UP, inbound(NOBODY, 1));
    expect(rig, N1, with_dst(inbound(NOBODY, 1), mac_b));
    send_frame(rig, UP, lldp);
    expect(rig, N1, with_dst(lldp, mac_b));
    send_frame(rig, UP, inbound(IP_A, 2));
    expect(rig, N0, with_dst(inbound(IP_A, 2), mac_a));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, NOBODY, 3));
    expect(rig, N1, udp(mac_b, mac_a, IP_A, NOBODY, 3));
    send_frame(rig, UP, with_dst(inbound(NOBODY, 4), mac_c));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0", "not-for-us"), ==, 1);
    rig_free(rig);
}

static void test_private(void)
{
    Rig *rig = rig_of_two("flag=private");
    Frame all = udp(broadcast, mac_a, IP_A, "255.255.255.255", 1);

    send_frame(rig, N0, all);
    expect(rig, UP, with_src(all, port_mac));
    send_frame(rig, N0, udp(mac_b, mac_a, IP_A, IP_B, 2));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_B, 3));
    send_frame(rig, N0, arp(ARP_REQUEST, broadcast, mac_a, IP_A, no_mac,
                            IP_B));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "private"), ==, 3);

    /* with the world outside they do talk */
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, 4));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 4));
    send_frame(rig, UP, inbound(IP_B, 5));
    expect(rig, N1, with_dst(inbound(IP_B, 5), mac_b));
    rig_free(rig);
}

static void test_vepa(void)
{
    Rig *rig = rig_of_two("flag=vepa");
    Frame all = udp(broadcast, mac_a, IP_A, "255.255.255.255", 1);
    Frame one = udp(port_mac, mac_a, IP_A, IP_B, 2);

    send_frame(rig, N0, all);
    expect(rig, UP, with_src(all, port_mac));
    send_frame(rig, N0, one);
    expect(rig, UP, with_src(one, port_mac));
    send_frame(rig, N0, with_dst(one, mac_b));
    expect(rig, UP, with_dst(with_src(one, port_mac), mac_b));
    expect_nothing(rig);

    /* the switch reflects */
    send_frame(rig, UP, with_src(one, port_mac));
    expect(rig, N1, with_dst(with_src(one, port_mac), mac_b));
    send_frame(rig, UP, with_src(all, port_mac));
    expect(rig, N1, with_src(all, port_mac));
    expect_nothing(rig);
    rig_free(rig);
}

/* QEMU's standard error goes to a file; returns its name. */
static char *stderr_redirect(int *saved)
{
    char *name;
    int fd = g_file_open_tmp("ipvlan-test-XXXXXX", &name, NULL);

    g_assert_cmpint(fd, >=, 0);
    *saved = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
    return name;
}

static void stderr_restore(int saved)
{
    dup2(saved, STDERR_FILENO);
    close(saved);
}

static void test_l2(void)
{
    Rig *rig = rig_new("mode=l2", "", "", NULL);

    send_frame(rig, N0, announcement(port_mac, IP_A));
    expect(rig, UP, announcement(port_mac, IP_A));
    expect(rig, N1, announcement(port_mac, IP_A));
    send_frame(rig, N1, announcement(port_mac, IP_B));
    expect(rig, UP, announcement(port_mac, IP_B));
    expect(rig, N0, announcement(port_mac, IP_B));

    send_frame(rig, UP, inbound(IP_A, 1));
    send_frame(rig, UP, inbound(IP_B, 2));
    expect(rig, N0, inbound(IP_A, 1));
    expect(rig, N1, inbound(IP_B, 2));
    send_frame(rig, N0, udp(port_mac, port_mac, IP_A, IP_B, 3));
    expect(rig, N1, udp(port_mac, port_mac, IP_A, IP_B, 3));
    send_frame(rig, N0, udp(ext_mac, port_mac, IP_A, EXT_IP, 4));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 4));
    expect_nothing(rig);
    rig_free(rig);
}

static void test_l2_foreign_mac(void)
{
    static const char *warning =
        "warning: netdev 'n0': the guest's MAC address 52:54:00:00:00:0a is "
        "not the port's, " PORT_MAC ", and mode=l2 lets no other out; give "
        "its NIC that one, or use mode=l2-macnat\n";
    g_autofree char *text = NULL;
    int saved;
    g_autofree char *name = stderr_redirect(&saved);
    Rig *rig = rig_new("mode=l2", "", "", NULL);
    const char *found;

    stderr_restore(saved);
    send_frame(rig, N0, announcement(mac_a, IP_A));
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, 1));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "foreign-mac"), ==, 2);
    g_assert_false(has(rig->qts, "0.slaves.0.addresses.0.address"));
    rig_free(rig);

    /* once, and not for each frame */
    g_assert_true(g_file_get_contents(name, &text, NULL, NULL));
    unlink(name);
    found = strstr(text, warning);
    g_assert_nonnull(found);
    g_assert_null(strstr(found + 1, "warning:"));
}

/* --- the port's default MAC ---------------------------------------------- */

static char *default_mac(const char *args, const char *master)
{
    QTestState *qts = qtest_initf("-nodefaults -machine none %s "
                                  "-netdev hubport,id=%s,hubid=1 "
                                  "-netdev ipvlan,id=n0,master=%s", args,
                                  master, master);
    char *mac = get_str(qts, "0.mac");

    qtest_quit(qts);
    return mac;
}

static void test_default_mac(void)
{
    static const struct {
        const char *args, *master;
    } machines[] = {
        { "-name one", "up0" },
        { "-name two", "up0" },
        { "-name one", "up1" },
        { "-uuid 01234567-89ab-cdef-0123-456789abcdef", "up0" },
        { "-uuid 01234567-89ab-cdef-0123-456789abcdee", "up0" },
        { "", "up0" },
    };
    char *macs[ARRAY_SIZE(machines)];

    for (int i = 0; i < ARRAY_SIZE(machines); i++) {
        g_autofree char *again = default_mac(machines[i].args,
                                             machines[i].master);

        macs[i] = default_mac(machines[i].args, machines[i].master);
        g_assert_cmpstr(macs[i], ==, again);
        /* locally administered, and one station's */
        g_assert_cmpint(g_ascii_xdigit_value(macs[i][1]) & 3, ==, 2);
        for (int j = 0; j < i; j++) {
            g_assert_cmpstr(macs[i], !=, macs[j]);
        }
    }
    for (int i = 0; i < ARRAY_SIZE(machines); i++) {
        g_free(macs[i]);
    }
}

/* --- life and death ------------------------------------------------------ */

static void assert_empty(QTestState *qts)
{
    g_autofree char *text = status_text(qts);

    g_assert_cmpstr(text, ==, "[]");
}

/* Two slaves, one of them attached to a netdev: away in every order. */
static void test_any_order(void)
{
    static const char *const ids[] = { "up0", "s0", "n0", "n1" };
    QTestState *qts = qtest_init("-nodefaults -machine none");

    for (int order = 0; order < 256; order++) {
        unsigned seen = 0;

        for (int i = 0; i < 4; i++) {
            seen |= 1 << (order >> (2 * i) & 3);
        }
        if (seen != 15) {
            continue;           /* no permutation */
        }
        add_hubport(qts, "up0", 1);
        add_hubport(qts, "s0", 2);
        add(qts, "n0", "'master': 'up0', 'netdev': 's0', "
            "'addr': [ '10.0.0.1' ]");
        add(qts, "n1", "'master': 'up0', 'default': true");
        for (int i = 0; i < 4; i++) {
            del(qts, ids[order >> (2 * i) & 3]);
        }
        assert_empty(qts);
    }
    qtest_quit(qts);
}

/* What is in a name: as good as new, each time. */
static void test_same_id(void)
{
    QTestState *qts = qtest_init("-nodefaults -machine none");

    add_hubport(qts, "up0", 1);
    for (int i = 0; i < 10; i++) {
        const char *options = i % 2 ?
            "'master': 'up0', 'mode': 'l2', 'addr': [ '10.0.0.1' ]" :
            "'master': 'up0', 'flag': 'vepa', 'default': true, "
            "'addr': [ '10.0.0.0/8', '10.0.0.1' ]";

        add(qts, "n0", options);
        assert_str(qts, "0.mode", i % 2 ? "l2" : "l2-macnat");
        assert_str(qts, "0.flag", i % 2 ? "bridge" : "vepa");
        add(qts, "n1", "'master': 'up0', 'addr': [ '10.0.0.2' ]");
        del(qts, "n0");
        /* what n0 had is free, what the port is stays */
        add_fails(qts, "n0", "'master': 'up0', 'flag': 'private'",
                  i % 2 ? "flag=private contradicts flag=bridge of the slaves "
                          "that 'up0' has"
                        : "flag=private contradicts flag=vepa of the slaves "
                          "that 'up0' has");
        add(qts, "n0", "'master': 'up0', 'default': true, "
            "'addr': [ '10.0.0.1', '10.0.0.0/8' ]");
        del(qts, "n1");
        del(qts, "n0");
        assert_empty(qts);
    }
    qtest_quit(qts);
}

/* The master goes, and another netdev of that id comes. */
static void test_same_master_id(void)
{
    QTestState *qts = qtest_init("-nodefaults -machine none");

    add_hubport(qts, "up0", 1);
    add(qts, "old", "'master': 'up0', 'addr': [ '10.0.0.1' ]");
    del(qts, "up0");
    g_assert_false(get_bool(qts, "0.link-up"));
    g_assert_false(get_bool(qts, "0.slaves.0.link-up"));
    add_fails(qts, "new", "'master': 'up0'",
              "master=up0: there is no such netdev");
    add_fails(qts, "new", "'master': 'up0/ipvlan'",
              "master=up0/ipvlan: there is no such netdev");

    /* who has lost it finds it again */
    add_hubport(qts, "up0", 1);
    g_assert_true(get_bool(qts, "0.link-up"));
    add_fails(qts, "new", "'master': 'up0', 'addr': [ '10.0.0.1' ]",
              "addr=10.0.0.1: slave 'old' owns it");
    add(qts, "new", "'master': 'up0', 'addr': [ '10.0.0.2' ]");
    assert_str(qts, "0.slaves.0.id", "old");
    assert_str(qts, "0.slaves.1.id", "new");
    del(qts, "old");
    del(qts, "up0");
    add_hubport(qts, "up0", 1);
    add(qts, "newer", "'master': 'up0'");
    del(qts, "newer");
    assert_str(qts, "0.slaves.0.id", "new");

    /* and nobody does where nobody waits */
    del(qts, "up0");
    del(qts, "new");
    assert_empty(qts);
    add_hubport(qts, "up0", 1);
    assert_empty(qts);
    add(qts, "new", "'master': 'up0'");
    g_assert_true(get_bool(qts, "0.link-up"));
    qtest_quit(qts);
}

/* What a netdev was attached to goes; what it had queued does not matter. */
static void test_peer_deleted(void)
{
    Rig *rig = rig_of_two("");

    del(rig->qts, "s0");
    send_frame(rig, UP, inbound(IP_A, 1));
    send_frame(rig, UP, inbound(IP_B, 2));
    expect(rig, N1, with_dst(inbound(IP_B, 2), mac_b));
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, 1);
    rig_free(rig);
}

/* Everything that there is, alive at the end. */
static void test_exit(void)
{
    Rig *rig = rig_prepare("-machine pc");

    rig_add_slave(rig, N0, "default=on");
    rig_add_slave(rig, N1, "addr=" IP_B);
    g_string_append(rig->args, " -netdev ipvlan,id=nic,master=up0,addr=" IP_A
                    " -device virtio-net-pci,netdev=nic"
                    " -netdev ipvlan,id=lone,master=up0"
                    " -netdev ipvlan,id=nested,master=lone"
                    " -netdev ipvlan,id=nested-nic,master=lone"
                    " -device virtio-net-pci,netdev=nested-nic"
                    " -netdev ipvlan,id=later,master=up0");
    rig_start(rig);
    for (int i = 0; i < 20; i++) {
        send_frame(rig, UP, inbound(IP_A, i));
        send_frame(rig, UP, with_dst(inbound(EXT_IP, i), broadcast));
    }
    del(rig->qts, "later");
    rig_free(rig);
}

/* It takes a tap to have more than one queue, and rights to have a tap. */
static void test_multiqueue_tap(void)
{
    struct ifreq ifr = {
        .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE,
    };
    int fd[2] = { -1, -1 };
    QTestState *qts;

    for (int i = 0; i < 2; i++) {
        /* the kernel chooses the name of the first; not close-on-exec */
        fd[i] = open("/dev/net/tun", O_RDWR);
        if (fd[i] < 0 || ioctl(fd[i], TUNSETIFF, &ifr) < 0) {
            g_test_skip("no rights to make a multiqueue tap");
            goto out;
        }
    }
    qts = qtest_initf("-nodefaults -machine none "
                      "-netdev tap,id=multi,vhost=off,fds=%d:%d "
                      "-netdev hubport,id=one,hubid=1", fd[0], fd[1]);
    add(qts, "new", "'master': 'multi', 'queues': 4");
    add(qts, "more", "'master': 'multi', 'queues': 1");
    del(qts, "new");
    del(qts, "more");
    add_fails(qts, "new", "'master': 'one', 'netdev': 'multi', 'queues': 1",
              "queues=1: netdev 'multi' has 2");
    add_fails(qts, "new", "'master': 'one', 'netdev': 'multi', 'queues': 3",
              "queues=3: netdev 'multi' has 2");
    add(qts, "new", "'master': 'one', 'netdev': 'multi'");
    g_assert_cmpint(get_int(qts, "0.slaves.0.queues"), ==, 2);
    add_fails(qts, "more", "'master': 'multi'",
              "master=multi: it is in use by ipvlan 'new'");
    del(qts, "new");
    add(qts, "new", "'master': 'one', 'netdev': 'multi', 'queues': 2");
    del(qts, "multi");
    g_assert_true(get_bool(qts, "0.link-up"));
    del(qts, "new");
    assert_empty(qts);
    qtest_quit(qts);
out:
    for (int i = 0; i < 2; i++) {
        if (fd[i] >= 0) {
            close(fd[i]);
        }
    }
}

/* --- NICs ---------------------------------------------------------------- */

/* A NIC tells its MAC, so a guest that is quiet is found and can talk. */
static void test_nic_frames(void)
{
    Rig *rig = rig_of_nic("addr=" IP_A);
    Nic nic = nic_start(rig, 0);

    send_frame(rig, UP, inbound(IP_A, 1));
    nic_expect(&nic, with_dst(inbound(IP_A, 1), mac_a));
    nic_send(&nic, udp(ext_mac, mac_a, IP_A, EXT_IP, 2));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 2));
    nic_stop(&nic);
    nic_rig_free(rig);
}

/* What the guest has no buffers for waits, in order. */
static void test_nic_queue(void)
{
    Rig *rig = rig_of_nic("addr=" IP_A);
    Nic nic = nic_start(rig, 0);

    for (int i = 0; i < 20; i++) {
        send_frame(rig, UP, inbound(IP_A, i));
    }
    for (int i = 0; i < 20; i++) {
        nic_expect(&nic, with_dst(inbound(IP_A, i), mac_a));
    }
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, 0);
    nic_stop(&nic);
    nic_rig_free(rig);
}

/* Deleted for the user, held by the NIC: addresses and name are free. */
static void test_nic_netdev_del(void)
{
    Rig *rig = rig_of_nic("addr=" IP_A);
    QVirtioPCIDevice *dev = nic_find(0);

    add(rig->qts, "n1", "'master': 'up0'");
    add_fails(rig->qts, "n2", "'master': 'up0', 'addr': [ '" IP_A "' ]",
              "addr=" IP_A ": slave 'n0' owns it");
    del(rig->qts, "n0");
    g_assert_false(nic_is_up(dev));
    g_assert_false(has(rig->qts, "0.slaves.1.id"));
    add(rig->qts, "n0", "'master': 'up0', 'addr': [ '" IP_A "' ]");
    assert_str(rig->qts, "0.slaves.1.id", "n0");
    qpci_unplug_acpi_device_test(rig->qts, "nic0", NIC_SLOT);
    assert_str(rig->qts, "0.slaves.1.id", "n0");
    qos_object_destroy((QOSGraphObject *)dev);
    nic_rig_free(rig);
}

/* Before a netdev that goes, a slave is there for a NIC. */
static void test_nic_after_netdev(void)
{
    Rig *rig = rig_prepare("-machine pc");
    Nic nic;

    rig_wire(rig, N0, "s0");
    g_string_append(rig->args, " -netdev ipvlan,id=n0,master=up0,netdev=s0,"
                    "mac=" PORT_MAC ",addr=" IP_A);
    nic_rig_start(rig);
    send_frame(rig, UP, inbound(IP_A, 1));
    receive(rig, N0);
    del(rig->qts, "s0");
    qtest_qmp_device_add(rig->qts, "virtio-net-pci", "nic0",
                         "{ 'netdev': 'n0', 'addr': '4', 'romfile': '',"
                         "  'mac': '52:54:00:00:00:0a' }");
    nic = nic_start(rig, 0);
    send_frame(rig, UP, inbound(IP_A, 2));
    nic_expect(&nic, with_dst(inbound(IP_A, 2), mac_a));
    nic_send(&nic, udp(ext_mac, mac_a, IP_A, EXT_IP, 3));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 3));
    nic_stop(&nic);
    nic_rig_free(rig);
}

typedef struct Deletion {
    const char *name;
    const char *ids[3];
} Deletion;

static const Deletion deletions[] = {
    { "slave-master-nic", { "n0", "up0", "nic0" } },
    { "slave-nic-master", { "n0", "nic0", "up0" } },
    { "master-slave-nic", { "up0", "n0", "nic0" } },
    { "master-nic-slave", { "up0", "nic0", "n0" } },
    { "nic-slave-master", { "nic0", "n0", "up0" } },
    { "nic-master-slave", { "nic0", "up0", "n0" } },
    { "slave-master", { "n0", "up0" } },
    { "master-slave", { "up0", "n0" } },
    { "slave", { "n0" } },
    { "master", { "up0" } },
    { "nic", { "nic0" } },
};

/* With frames that wait for the NIC, which has no driver. */
static void test_nic_order(const void *data)
{
    const Deletion *d = data;
    Rig *rig = rig_of_nic("addr=" IP_A ",rx-queue=4");
    bool slave_gone = false;

    for (int i = 0; i < 8; i++) {
        send_frame(rig, UP, inbound(IP_A, i));
    }
    /* one in QEMU's queue, four in ours, the rest stay where they are */
    while (get_int(rig->qts, "0.slaves.0.rx-queue") != 4) {
        g_assert_cmpint(get_int(rig->qts, "0.stats.rx-packets"), <=, 5);
    }
    for (int i = 0; i < ARRAY_SIZE(d->ids) && d->ids[i]; i++) {
        if (g_str_equal(d->ids[i], "nic0")) {
            qpci_unplug_acpi_device_test(rig->qts, "nic0", NIC_SLOT);
        } else {
            del(rig->qts, d->ids[i]);
        }
        slave_gone |= g_str_equal(d->ids[i], "n0");
        g_assert_cmpint(has(rig->qts, "0.slaves.0.id"), ==, !slave_gone);
    }
    nic_rig_free(rig);
}

static void test_nic_master_deleted(void)
{
    Rig *rig = rig_of_nic("");
    QVirtioPCIDevice *dev = nic_find(0);

    g_assert_true(nic_is_up(dev));
    del(rig->qts, "up0");
    g_assert_false(get_bool(rig->qts, "0.link-up"));
    g_assert_false(get_bool(rig->qts, "0.slaves.0.link-up"));
    g_assert_false(nic_is_up(dev));
    qos_object_destroy((QOSGraphObject *)dev);
    nic_rig_free(rig);
}

/* Another NIC on the same slave, while frames come in. */
static void test_nic_hotplug(void)
{
    Rig *rig = rig_of_nic("addr=" IP_A ",rx-queue=4");
    Nic nic;

    for (int round = 0; round < 3; round++) {
        /* in the last one more than there is room for */
        for (int i = 0; i < 2 + 5 * round; i++) {
            send_frame(rig, UP, inbound(IP_A, i));
        }
        while (get_int(rig->qts, "0.slaves.0.rx-queue") !=
               MIN(1 + 5 * round, 4)) {
            continue;
        }
        qpci_unplug_acpi_device_test(rig->qts, "nic0", NIC_SLOT);
        send_frame(rig, UP, inbound(IP_A, 3));
        settle(rig);
        g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "no-receiver"), >,
                        round);
        qtest_qmp_device_add(rig->qts, "virtio-net-pci", "nic0",
                             "{ 'netdev': 'n0', 'addr': '4', 'romfile': '',"
                             "  'mac': '52:54:00:00:00:0a' }");
    }
    nic = nic_start(rig, 0);
    send_frame(rig, UP, inbound(IP_A, 4));
    nic_expect(&nic, with_dst(inbound(IP_A, 4), mac_a));
    nic_send(&nic, udp(ext_mac, mac_a, IP_A, EXT_IP, 5));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 5));
    nic_stop(&nic);
    nic_rig_free(rig);
}

/* --- set_link ------------------------------------------------------------ */

typedef struct LinkStep {
    const char *name;           /* of the master, the slave or the NIC */
    bool on;
    bool master, slave, nic;    /* what is up then */
} LinkStep;

typedef struct LinkCase {
    const char *name;
    LinkStep steps[7];
} LinkCase;

static const LinkCase link_cases[] = {
    { "master", {
        { "up0", false, false, false, false },
        { "up0", true, true, true, true } } },
    { "slave", {
        { "n0", false, true, false, false },
        { "n0", true, true, true, true } } },
    { "nic", {
        { "nic0", false, true, true, false },
        { "nic0", true, true, true, true } } },
    { "slave-on-while-master-off", {
        { "up0", false, false, false, false },
        { "n0", false, false, false, false },
        { "n0", true, false, false, false },
        { "up0", true, true, true, true } } },
    { "slave-on-again-while-master-off", {
        { "up0", false, false, false, false },
        { "n0", true, false, false, false },
        { "up0", true, true, true, true } } },
    { "master-on-while-slave-off", {
        { "up0", false, false, false, false },
        { "n0", false, false, false, false },
        { "up0", true, true, false, false },
        { "n0", true, true, true, true } } },
    { "master-off-while-slave-off", {
        { "n0", false, true, false, false },
        { "up0", false, false, false, false },
        { "n0", true, false, false, false },
        { "up0", true, true, true, true } } },
    { "nic-stays-off", {
        { "nic0", false, true, true, false },
        { "up0", false, false, false, false },
        { "up0", true, true, true, false },
        { "nic0", true, true, true, true } } },
    { "nic-off-while-master-off", {
        { "up0", false, false, false, false },
        { "nic0", false, false, false, false },
        { "up0", true, true, true, false },
        { "nic0", true, true, true, true } } },
    { "nic-on-while-master-off", {
        { "up0", false, false, false, false },
        { "nic0", true, false, false, false },
        { "up0", true, true, true, true } } },
    { "nic-off-and-on-while-master-off", {
        { "up0", false, false, false, false },
        { "nic0", false, false, false, false },
        { "nic0", true, false, false, false },
        { "up0", true, true, true, true } } },
    { "nic-on-while-slave-off", {
        { "n0", false, true, false, false },
        { "nic0", true, true, false, true },
        { "n0", true, true, true, true } } },
    { "nic-on-while-both-off", {
        { "n0", false, true, false, false },
        { "nic0", true, true, false, true },
        { "up0", false, false, false, false },
        { "nic0", true, false, false, false },
        { "up0", true, true, false, true },
        { "n0", true, true, true, true } } },
};

static void test_link(const void *data)
{
    const LinkCase *c = data;
    Rig *rig = rig_of_nic("");
    QVirtioPCIDevice *dev = nic_find(0);

    g_assert_true(nic_is_up(dev));
    for (const LinkStep *s = c->steps; s->name; s++) {
        g_test_message("%s %s", s->name, s->on ? "on" : "off");
        set_link(rig->qts, s->name, s->on);
        g_assert_cmpint(get_bool(rig->qts, "0.link-up"), ==, s->master);
        g_assert_cmpint(get_bool(rig->qts, "0.slaves.0.link-up"), ==,
                        s->slave);
        g_assert_cmpint(nic_is_up(dev), ==, s->nic);
    }
    qos_object_destroy((QOSGraphObject *)dev);
    nic_rig_free(rig);
}

/* --- busy ends ----------------------------------------------------------- */

#define BURST 40

/* Two slaves, and a small uplink; *@log is to tell who had to wait. */
static Rig *rig_of_busy_uplink(char **log)
{
    Rig *rig = rig_prepare("-machine none");
    int fd = g_file_open_tmp("ipvlan-test-XXXXXX", log, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    rig_make_small(rig, UP);
    rig_add_slave(rig, N0, "mac=" PORT_MAC ",addr=" IP_A);
    rig_add_slave(rig, N1, "addr=" IP_B);
    g_string_append_printf(rig->args, " -trace ipvlan_busy -D %s", *log);
    rig_start(rig);
    return rig;
}

static void wait_for_busy(Rig *rig, const char *log, const char *slave)
{
    g_autofree char *line = g_strdup_printf("ipvlan_busy slave=%s ", slave);
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (true) {
        g_autofree char *text = NULL;

        g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
        if (strstr(text, line)) {
            return;
        }
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        /* something to do for QEMU */
        g_assert_true(get_bool(rig->qts, "0.link-up"));
    }
}

/* Every frame of both, once and in order, and neither has to wait long. */
static void test_busy_uplink(void)
{
    g_autofree char *log = NULL;
    Rig *rig = rig_of_busy_uplink(&log);
    uint32_t next[2] = { 0 };
    int run = 0, last = -1;

    for (int i = 0; i < BURST; i++) {
        send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, i));
        send_frame(rig, N1, udp(ext_mac, mac_b, IP_B, EXT_IP, i));
    }
    wait_for_busy(rig, log, "n0");
    wait_for_busy(rig, log, "n1");
    unlink(log);

    for (int i = 0; i < 2 * BURST; i++) {
        Frame f = receive(rig, UP);
        int who = f.b[29] - 1;  /* the source's last byte */

        g_assert_cmpint(who, >=, 0);
        g_assert_cmpint(who, <, 2);
        g_assert_cmpint(udp_tag(&f), ==, next[who]++);
        run = who == last ? run + 1 : 1;
        last = who;
        if (next[!who] && next[!who] < BURST) {
            g_assert_cmpint(run, <=, BURST / 4);
        }
    }
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, 0);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.1", NULL), ==, 0);
    g_assert_cmpint(get_drops(rig->qts, "0", NULL), ==, 0);
    rig_free(rig);
}

/* What is refused is refused for all: no sibling sees it twice. */
static void test_busy_broadcast(void)
{
    g_autofree char *log = NULL;
    Rig *rig = rig_of_busy_uplink(&log);

    for (int i = 0; i < BURST; i++) {
        send_frame(rig, N0, udp(broadcast, mac_a, IP_A, "255.255.255.255",
                                i));
    }
    wait_for_busy(rig, log, "n0");
    unlink(log);
    for (int i = 0; i < BURST; i++) {
        expect(rig, UP, udp(broadcast, port_mac, IP_A, "255.255.255.255", i));
    }
    for (int i = 0; i < BURST; i++) {
        expect(rig, N1, udp(broadcast, mac_a, IP_A, "255.255.255.255", i));
    }
    expect_nothing(rig);
    rig_free(rig);
}

/* Nobody reads the uplink: siblings talk, and what comes in comes in. */
static void test_busy_siblings(void)
{
    g_autofree char *log = NULL;
    Rig *rig = rig_of_busy_uplink(&log);

    for (int i = 0; i < BURST; i++) {
        send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, i));
    }
    wait_for_busy(rig, log, "n0");
    unlink(log);
    send_frame(rig, N1, udp(port_mac, mac_b, IP_B, IP_A, 1));
    expect(rig, N0, udp(mac_a, mac_b, IP_B, IP_A, 1));
    send_frame(rig, UP, inbound(IP_A, 2));
    expect(rig, N0, with_dst(inbound(IP_A, 2), mac_a));
    rig_free(rig);
}

/* The link goes down while somebody waits: what waits is lost, that is all. */
static void test_busy_link_down(void)
{
    g_autofree char *log = NULL;
    Rig *rig = rig_of_busy_uplink(&log);
    Frame f;

    for (int i = 0; i < BURST; i++) {
        send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, i));
    }
    wait_for_busy(rig, log, "n0");
    unlink(log);
    set_link(rig->qts, "up0", false);
    settle(rig);
    g_assert_cmpint(get_drops(rig->qts, "0", "link-down") +
                    get_drops(rig->qts, "0.slaves.0", "link-down"), >, 0);
    set_link(rig->qts, "up0", true);
    discard(rig, UP);
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, BURST));
    do {
        f = receive(rig, UP);
    } while (udp_tag(&f) < BURST);
    rig_free(rig);
}

/* Who waits for the uplink goes, and must not be told that it is free. */
static void test_busy_peer_deleted(void)
{
    g_autofree char *log = NULL;
    Rig *rig = rig_of_busy_uplink(&log);
    Frame f;

    for (int i = 0; i < BURST; i++) {
        send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, i));
    }
    wait_for_busy(rig, log, "n0");
    unlink(log);
    del(rig->qts, "s0");
    send_frame(rig, N1, udp(ext_mac, mac_b, IP_B, EXT_IP, BURST));
    do {
        f = receive(rig, UP);
    } while (udp_tag(&f) < BURST);
    del(rig->qts, "n0");
    assert_str(rig->qts, "0.slaves.0.id", "n1");
    rig_free(rig);
}

static void test_rx_queue(void)
{
    Rig *rig = rig_prepare("-machine none");
    int64_t lost;

    rig_add_slave(rig, N0, "mac=" PORT_MAC ",addr=" IP_A ",rx-queue=8");
    rig_make_small(rig, N0);
    rig_add_slave(rig, N1, "addr=" IP_B);
    rig_start(rig);
    for (int i = 0; i < BURST; i++) {
        send_frame(rig, UP, inbound(IP_A, i));
    }
    send_frame(rig, UP, inbound(IP_B, 1));
    expect(rig, N1, inbound(IP_B, 1));
    lost = get_drops(rig->qts, "0.slaves.0", "rx-queue-full");
    g_assert_cmpint(lost, >, 0);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.rx-queue"), ==, 8);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.rx-queue-max"), ==, 8);
    send_frame(rig, N1, udp(port_mac, mac_b, IP_B, EXT_IP, 2));
    send_frame(rig, N1, udp(ext_mac, mac_b, IP_B, EXT_IP, 3));
    expect(rig, UP, udp(ext_mac, port_mac, IP_B, EXT_IP, 3));

    /* the oldest are there, in order */
    for (int i = 0; i < BURST - lost; i++) {
        expect(rig, N0, inbound(IP_A, i));
    }
    send_frame(rig, UP, inbound(IP_A, BURST));
    expect(rig, N0, inbound(IP_A, BURST));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, lost);
    g_assert_cmpint(get_drops(rig->qts, "0", NULL), ==, 0);
    rig_free(rig);
}

/* As much broadcast as n0 can send; n1 and n2 talk in the meantime. */
static void test_flood(void)
{
    Rig *rig = rig_new("", "addr=" IP_A, "addr=" IP_B, "addr=" IP_C, NULL);
    Frame storm = udp(broadcast, mac_a, IP_A, "255.255.255.255", 0);
    Frame f;

    storm.len = 64;
    for (int i = 0; i < 200; i++) {
        while (send(rig->fd[N0], storm.b, storm.len, MSG_DONTWAIT) > 0) {
            rig->sent[N0]++;
        }
        send_frame(rig, N1, udp(port_mac, mac_b, IP_B, IP_C, i));
        do {
            f = receive(rig, N2);
            discard(rig, UP);
            discard(rig, N1);
        } while (f.b[0] == 0xff);
        g_assert_cmpint(udp_tag(&f), ==, i);
    }
    g_assert_cmpint(rig->sent[N0], >=, 200);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.1", "backlog-full"), ==, 0);
    rig_free(rig);
}

/* --- a NIC's filter ------------------------------------------------------ */

static void test_filter(void)
{
    static const uint8_t group[] = { 1, 0, 0x5e, 1, 2, 3 };
    static const uint8_t other[] = { 1, 0, 0x5e, 1, 2, 4 };
    const char *rx0 = "0.slaves.0.stats.rx-packets";
    const char *rx1 = "0.slaves.1.stats.rx-packets";
    Rig *rig = rig_prepare("-machine pc");
    Frame wanted = udp(group, ext_mac, EXT_IP, "239.1.2.3", 1);
    Frame unwanted = udp(other, ext_mac, EXT_IP, "239.1.2.4", 2);
    Frame all = udp(broadcast, ext_mac, EXT_IP, "255.255.255.255", 3);
    Nic nic0, nic1;
    int64_t before;

    add_nic(rig, 0, "");
    add_nic(rig, 1, "");
    nic_rig_start(rig);
    nic0 = nic_start(rig, 0);
    nic1 = nic_start(rig, 1);
    nic_set_group(&nic0, group);
    nic_promiscuous(&nic0, false);
    nic_set_group(&nic1, NULL);
    nic_promiscuous(&nic1, false);

    send_frame(rig, UP, unwanted);
    send_frame(rig, UP, wanted);
    send_frame(rig, UP, all);
    nic_expect(&nic0, wanted);
    nic_expect(&nic0, all);
    nic_expect(&nic1, all);
    g_assert_cmpint(get_int(rig->qts, rx0), ==, 2);
    g_assert_cmpint(get_int(rig->qts, rx1), ==, 1);

    /* from a sibling, too */
    before = get_int(rig->qts, rx0);
    nic_send(&nic1, with_src(wanted, mac_b));
    nic_expect(&nic0, with_src(wanted, mac_b));
    nic_send(&nic1, with_src(unwanted, mac_b));
    nic_send(&nic1, with_src(all, mac_b));
    nic_expect(&nic0, with_src(all, mac_b));
    g_assert_cmpint(get_int(rig->qts, rx0), ==, before + 2);

    /* the filter can change */
    nic_set_group(&nic0, other);
    nic_promiscuous(&nic1, true);
    send_frame(rig, UP, wanted);
    send_frame(rig, UP, unwanted);
    nic_expect(&nic0, unwanted);
    nic_expect(&nic1, wanted);
    nic_expect(&nic1, unwanted);
    nic_stop(&nic0);
    nic_stop(&nic1);
    nic_rig_free(rig);
}

/* --- groups -------------------------------------------------------------- */

#define GROUP "239.1.2.3"

static const uint8_t group_mac[] = { 1, 0, 0x5e, 1, 2, 3 };

enum { IGMP_QUERY = 0x11, IGMP_REPORT = 0x16, IGMP_LEAVE = 0x17 };

/* RFC 2236, with the router alert option. */
static Frame igmp(const uint8_t *dst, const uint8_t *src, const char *sip,
                  const char *dip, uint8_t type, const char *group)
{
    static const uint8_t head[] = {
        0x46, 0, 0, 32, 0, 0, 0, 0, 1, 2, 0, 0,
    };
    static const uint8_t alert[] = { 0x94, 4, 0, 0 };
    Frame f = eth(dst, src, 0x0800);

    put(&f, head, sizeof(head));
    put_ip(&f, sip);
    put_ip(&f, dip);
    put(&f, alert, sizeof(alert));
    put16(&f, type << 8 | 100);
    put16(&f, 0);
    put_ip(&f, group);
    stw_be_p(f.b + 24, checksum(f.b + 14, 24, 0));
    stw_be_p(f.b + 40, checksum(f.b + 38, 8, 0));
    return f;
}

static void test_groups(void)
{
    static const uint8_t all_hosts[] = { 1, 0, 0x5e, 0, 0, 1 };
    Rig *rig = rig_of_two("");
    Frame report = igmp(group_mac, mac_a, IP_A, GROUP, IGMP_REPORT, GROUP);
    Frame query = igmp(all_hosts, ext_mac, EXT_IP, "224.0.0.1", IGMP_QUERY,
                       "0.0.0.0");
    Frame data = udp(group_mac, ext_mac, EXT_IP, GROUP, 1);
    g_autofree char *text = NULL;

    /* nobody asks: it goes to all */
    send_frame(rig, UP, data);
    expect(rig, N0, data);
    expect(rig, N1, data);

    step(rig, 1);               /* a clock that stands at 0 is none */
    send_frame(rig, UP, query);
    expect(rig, N0, query);
    expect(rig, N1, query);
    send_frame(rig, N0, report);
    expect(rig, UP, with_src(report, port_mac));
    assert_str(rig->qts, "0.slaves.0.groups.0", GROUP);
    g_assert_false(has(rig->qts, "0.slaves.1.groups.0"));
    text = qtest_hmp(rig->qts, "info ipvlan");
    g_assert_nonnull(strstr(text, "\r\n      mac 52:54:00:00:00:0a, "
                            "share 50.0%, groups 1\r\n"));

    /* the answers are there: to members only */
    step(rig, 11);
    send_frame(rig, UP, data);
    expect(rig, N0, data);
    expect_nothing(rig);
    rig_free(rig);
}

/* --- what can be asked --------------------------------------------------- */

static void test_counters(void)
{
    Rig *rig = rig_of_two("");
    Frame f = inbound(IP_A, 1);
    const struct {
        const char *key;
        int64_t value;
    } expected[] = {
        /* two announcements, of 42 bytes */
        { "0.stats.tx-packets", 2 + 1 },
        { "0.stats.tx-bytes", 2 * 42 + f.len },
        { "0.stats.rx-packets", 3 },
        { "0.stats.rx-bytes", 3 * f.len },
        { "0.slaves.0.stats.tx-packets", 1 + 3 },
        { "0.slaves.0.stats.tx-bytes", 42 + 3 * f.len },
        { "0.slaves.0.stats.rx-packets", 1 + 2 },
        { "0.slaves.0.stats.rx-bytes", 42 + 2 * f.len },
        { "0.slaves.1.stats.tx-packets", 1 },
        { "0.slaves.1.stats.tx-bytes", 42 },
        { "0.slaves.1.stats.rx-packets", 1 + 1 },
        { "0.slaves.1.stats.rx-bytes", 42 + f.len },
        { "0.slaves.0.max-addrs", 16 },
        { "0.slaves.0.rx-queue", 0 },
        { "0.slaves.0.rx-queue-max", 1024 },
        { "0.slaves.0.contested", 0 },
        { "0.backlog", 0 },
        { "0.waiting", 0 },
        /* of two announcements a copy each, which the other slave got */
        { "0.slaves.0.stats.made", 1 },
        { "0.slaves.0.stats.absorbed", 0 },
        { "0.stats.made", 2 },
        { "0.stats.absorbed", 2 },
        { "0.deleted.tx-packets", 0 },
    };

    send_frame(rig, UP, f);
    send_frame(rig, UP, f);
    send_frame(rig, UP, inbound(NOBODY, 2));
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, 3));
    send_frame(rig, N0, udp(mac_b, mac_a, IP_A, IP_B, 4));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, NOBODY, 5));
    settle(rig);
    for (int i = 0; i < ARRAY_SIZE(expected); i++) {
        g_test_message("%s", expected[i].key);
        g_assert_cmpint(get_int(rig->qts, expected[i].key), ==,
                        expected[i].value);
    }
    assert_str(rig->qts, "0.master", "up0");
    assert_str(rig->qts, "0.mac", PORT_MAC);
    assert_str(rig->qts, "0.mode", "l2-macnat");
    assert_str(rig->qts, "0.flag", "bridge");
    assert_str(rig->qts, "0.slaves.0.id", "n0");
    assert_str(rig->qts, "0.slaves.0.learn", "on");
    assert_str(rig->qts, "0.stats.drops.0.reason", "no-owner");
    assert_str(rig->qts, "0.slaves.0.stats.drops.0.reason", "no-owner");
    g_assert_false(has(rig->qts, "0.slaves.0.stats.drops.1.reason"));
    g_assert_false(get_bool(rig->qts, "0.slaves.0.default"));
    rig_free(rig);
}

static void test_expiry(void)
{
    const char *address = "0.slaves.0.addresses.0.address";
    const char *age = "0.slaves.0.addresses.0.age";
    const char *idle = "0.slaves.0.addresses.0.idle";
    Rig *rig = rig_new("", "", "addr=" IP_B, NULL);

    introduce(rig, N0, mac_a, IP_A);
    g_assert_cmpint(get_int(rig->qts, age), ==, 0);
    g_assert_cmpint(get_int(rig->qts, idle), ==, 0);
    step(rig, 100);
    g_assert_cmpint(get_int(rig->qts, age), ==, 100);
    g_assert_cmpint(get_int(rig->qts, idle), ==, 100);

    /* what is used stays */
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, 1));
    discard_all(rig);
    g_assert_cmpint(get_int(rig->qts, age), ==, 100);
    g_assert_cmpint(get_int(rig->qts, idle), ==, 0);
    step(rig, 250);
    g_assert_cmpint(get_int(rig->qts, age), ==, 350);
    g_assert_cmpint(get_int(rig->qts, idle), ==, 250);
    step(rig, 49);
    assert_str(rig->qts, address, IP_A);

    /* frames for it are no use of it */
    send_frame(rig, UP, inbound(IP_A, 2));
    expect(rig, N0, with_dst(inbound(IP_A, 2), mac_a));
    step(rig, 1);
    g_assert_false(has(rig->qts, address));
    send_frame(rig, UP, inbound(IP_A, 3));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0", "no-owner"), ==, 1);

    /* what was configured has no end */
    step(rig, 100000);
    assert_str(rig->qts, "0.slaves.1.addresses.0.address", IP_B);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.1.addresses.0.age"), ==,
                    100400);
    g_assert_false(has(rig->qts, "0.slaves.1.addresses.0.idle"));

    /* the other guest may have it now */
    introduce(rig, N0, mac_a, IP_A);
    assert_str(rig->qts, address, IP_A);
    rig_free(rig);
}

static void test_max_addrs(void)
{
    Rig *rig = rig_new("", "max-addrs=2", NULL);

    introduce(rig, N0, mac_a, "10.0.0.1");
    step(rig, 1);
    introduce(rig, N0, mac_a, "10.0.0.2");
    step(rig, 1);
    introduce(rig, N0, mac_a, "10.0.0.1");
    step(rig, 1);
    introduce(rig, N0, mac_a, "10.0.0.3");
    assert_str(rig->qts, "0.slaves.0.addresses.0.address", "10.0.0.1");
    assert_str(rig->qts, "0.slaves.0.addresses.1.address", "10.0.0.3");
    g_assert_false(has(rig->qts, "0.slaves.0.addresses.2.address"));
    rig_free(rig);
}

#define DHCP_REQUEST 3
#define DHCP_ACK 5
#define DHCP_FLAGS 52           /* offset in the frame */

/* From a client, where @yiaddr is 0.0.0.0, or from a server. */
static Frame dhcp(const uint8_t *dst, const uint8_t *src,
                  const uint8_t *chaddr, const char *yiaddr, uint8_t type)
{
    bool to_server = type == DHCP_REQUEST;
    uint8_t head[] = {
        0x45, 0, 1, 24, 0, 0, 0, 0, 64, 17, 0, 0,
    };
    uint8_t bootp[] = { to_server ? 1 : 2, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0 };
    uint8_t options[] = {
        0x63, 0x82, 0x53, 0x63, 53, 1, type, 51, 4, 0, 0, 0x0e, 0x10, 255,
        0, 0,
    };
    Frame f = eth(dst, src, 0x0800);

    put(&f, head, sizeof(head));
    put_ip(&f, to_server ? "0.0.0.0" : EXT_IP);
    put_ip(&f, "255.255.255.255");
    put16(&f, to_server ? 68 : 67);
    put16(&f, to_server ? 67 : 68);
    put16(&f, 8 + 236 + sizeof(options));
    put16(&f, 0);
    put(&f, bootp, sizeof(bootp));
    put_ip(&f, "0.0.0.0");
    put_ip(&f, yiaddr);
    put_ip(&f, "0.0.0.0");
    put_ip(&f, "0.0.0.0");
    put(&f, chaddr, MAC_LEN);
    f.len += 10 + 64 + 128;
    put(&f, options, sizeof(options));
    return f;
}

/* learn=dhcp believes the server alone, for as long as it says. */
static void test_dhcp(void)
{
    Rig *rig = rig_new("", "learn=dhcp", "", NULL);
    Frame request = dhcp(broadcast, mac_a, mac_a, "0.0.0.0", DHCP_REQUEST);
    Frame ack = dhcp(broadcast, ext_mac, mac_a, IP_A, DHCP_ACK);
    Frame on_wire = with_src(request, port_mac);

    introduce(rig, N0, mac_a, NOBODY);
    g_assert_false(has(rig->qts, "0.slaves.0.addresses.0.address"));
    send_frame(rig, UP, ack);
    discard_all(rig);
    g_assert_false(has(rig->qts, "0.slaves.0.addresses.0.address"));

    send_frame(rig, N0, request);
    on_wire.b[DHCP_FLAGS] |= 0x80;
    expect(rig, UP, on_wire);
    expect(rig, N1, request);
    send_frame(rig, UP, ack);
    expect(rig, N0, ack);
    expect_nothing(rig);
    assert_str(rig->qts, "0.slaves.0.addresses.0.address", IP_A);
    assert_str(rig->qts, "0.slaves.0.addresses.0.origin", "dhcp");
    step(rig, 3599);
    assert_str(rig->qts, "0.slaves.0.addresses.0.address", IP_A);
    step(rig, 2);
    g_assert_false(has(rig->qts, "0.slaves.0.addresses.0.address"));
    rig_free(rig);
}

static void test_origin_ip(void)
{
    Rig *rig = rig_new("", "", NULL);

    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, 1));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 1));
    assert_str(rig->qts, "0.slaves.0.addresses.0.origin", "ip");
    rig_free(rig);
}

static void test_info_ipvlan(void)
{
    Rig *rig = rig_new("", "", "addr=10.1.0.0/16,addr=2001:db8::/64", NULL);
    g_autofree char *text = NULL;

    introduce(rig, N0, mac_a, IP_A);
    step(rig, 7);
    send_frame(rig, UP, inbound(NOBODY, 1));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_A, 2));
    settle(rig);
    text = qtest_hmp(rig->qts, "info ipvlan");
    g_assert_cmpstr(text, ==,
        "up0: mode l2-macnat, flag bridge, backlog 0\r\n"
        "               link    rx pkts      rx bytes    tx pkts"
        "      tx bytes    drops\r\n"
        "  up0          up            1            46          "
        "1            42        1\r\n"
        "      mac 02:00:00:00:00:01\r\n"
        "      dropped: 1 no-owner\r\n"
        "  n0           up            0             0          "
        "2            88        1\r\n"
        "      mac 52:54:00:00:00:0a, share 50.0%\r\n"
        "      10.0.0.1 (arp, age 7 s, idle 0 s)\r\n"
        "      dropped: 1 to-itself\r\n"
        "  n1           up            1            42          "
        "0             0        0\r\n"
        "      share 50.0%, guard on\r\n"
        "      10.1.0.0/16 (static)\r\n"
        "      2001:db8::/64 (static)\r\n");
    rig_free(rig);
}

static void test_shares(void)
{
    Rig *rig = rig_new("", "weight=256,tx-bps=8000", "rx-bps=1000000000000,"
                       "burst=20k", "queues=1", NULL);
    g_autofree char *text = NULL;

    add(rig->qts, "more", "'master': 'up0', 'queues': 4, 'weight': 3, "
        "'tx-bps': 1000000, 'rx-bps': 2000000, 'burst': 1514");
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.weight"), ==, 256);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.queues"), ==, 1);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.tx-bps"), ==, 8000);
    g_assert_false(has(rig->qts, "0.slaves.0.rx-bps"));
    g_assert_false(has(rig->qts, "0.slaves.0.burst"));
    g_assert_cmpint(get_int(rig->qts, "0.slaves.1.weight"), ==, 1);
    g_assert_false(has(rig->qts, "0.slaves.1.tx-bps"));
    g_assert_cmpint(get_int(rig->qts, "0.slaves.1.rx-bps"), ==,
                    1000000000000);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.1.burst"), ==, 20480);
    g_assert_false(has(rig->qts, "0.slaves.2.tx-bps"));
    g_assert_false(has(rig->qts, "0.slaves.2.rx-bps"));
    /* there is no guest yet to use more */
    g_assert_cmpint(get_int(rig->qts, "0.slaves.3.queues"), ==, 1);

    text = qtest_hmp(rig->qts, "info ipvlan");
    g_assert_nonnull(strstr(text, "\r\n      weight 256, share 98.1%, "
                            "tx-bps 8000\r\n"));
    g_assert_nonnull(strstr(text, "\r\n      share 0.4%, "
                            "rx-bps 1000000000000, burst 20480\r\n"));
    g_assert_nonnull(strstr(text, "\r\n      weight 3, share 1.1%, "
                            "tx-bps 1000000, rx-bps 2000000, "
                            "burst 1514\r\n"));
    rig_free(rig);
}

static void test_info_network(void)
{
    Rig *rig = rig_prepare("-machine pc");
    g_autofree char *text = NULL;

    add_nic(rig, 0, "mode=l2-macnat,flag=vepa,default=on");
    g_string_append(rig->args, " -netdev ipvlan,id=lone,master=up0,"
                    "addr=" IP_B);
    nic_rig_start(rig);
    text = qtest_hmp(rig->qts, "info network");
    g_assert_cmpstr(text, ==,
        "lone: index=0,type=ipvlan,master=up0,mode=l2-macnat,flag=vepa,"
        "mac=02:00:00:00:00:01,learn=off\r\n"
        "nic0: index=0,type=nic,model=virtio-net-pci,"
        "macaddr=52:54:00:00:00:0a\r\n"
        " \\ n0: index=0,type=ipvlan,master=up0,mode=l2-macnat,flag=vepa,"
        "mac=02:00:00:00:00:01,learn=on,default=on\r\n");
    nic_rig_free(rig);
}

/* n0 on up0; n1 and n2 on a slave of up0's. */
static void test_nested(void)
{
    static const uint8_t mid_mac[] = { 2, 0, 0, 0, 0, 2 };
    Rig *rig = rig_prepare("-machine none");
    Frame f;

    rig_add_slave(rig, N0, "mac=" PORT_MAC);
    rig_wire(rig, N1, "s1");
    rig_wire(rig, N2, "s2");
    g_string_append(rig->args, " -netdev ipvlan,id=mid,master=up0"
        " -netdev ipvlan,id=n1,master=mid,netdev=s1,mac=02:00:00:00:00:02"
        " -netdev ipvlan,id=n2,master=mid,netdev=s2");
    rig_start(rig);

    send_frame(rig, N1, announcement(mac_b, IP_B));
    expect(rig, N2, announcement(mac_b, IP_B));
    expect(rig, N0, announcement(mid_mac, IP_B));
    expect(rig, UP, announcement(port_mac, IP_B));
    send_frame(rig, N2, announcement(mac_c, IP_C));
    expect(rig, N1, announcement(mac_c, IP_C));
    expect(rig, N0, announcement(mid_mac, IP_C));
    expect(rig, UP, announcement(port_mac, IP_C));

    send_frame(rig, UP, inbound(IP_B, 1));
    expect(rig, N1, with_dst(inbound(IP_B, 1), mac_b));
    send_frame(rig, UP, inbound(IP_C, 2));
    expect(rig, N2, with_dst(inbound(IP_C, 2), mac_c));
    send_frame(rig, N0, udp(mid_mac, mac_a, IP_A, IP_C, 3));
    expect(rig, N2, udp(mac_c, mac_a, IP_A, IP_C, 3));
    send_frame(rig, N1, udp(ext_mac, mac_b, IP_B, EXT_IP, 4));
    expect(rig, UP, udp(ext_mac, port_mac, IP_B, EXT_IP, 4));
    f = udp(broadcast, ext_mac, EXT_IP, "255.255.255.255", 5);
    send_frame(rig, UP, f);
    expect(rig, N0, f);
    expect(rig, N1, f);
    expect(rig, N2, f);

    /* the lowest link's state is everybody's */
    assert_str(rig->qts, "1.master", "mid");
    set_link(rig->qts, "up0", false);
    g_assert_false(get_bool(rig->qts, "1.slaves.1.link-up"));
    set_link(rig->qts, "up0", true);
    g_assert_true(get_bool(rig->qts, "1.slaves.1.link-up"));
    del(rig->qts, "mid");
    g_assert_false(get_bool(rig->qts, "1.slaves.1.link-up"));
    rig_free(rig);
}

/* --- hostile frames ------------------------------------------------------ */

typedef enum Base { UDP4, ARP4, ND6 } Base;

static Frame base_frame(Base base)
{
    switch (base) {
    case UDP4:
        return udp(port_mac, ext_mac, EXT_IP, IP_A, 0);
    case ARP4:
        return arp(ARP_REQUEST, broadcast, ext_mac, EXT_IP, no_mac, IP_A);
    default:
        return solicitation(port_mac, ext_mac, "2001:db8::1", "2001:db8::2",
                            "2001:db8::2");
    }
}

typedef struct Hostile {
    const char *name;
    Base base;
    size_t len;                 /* 0: all of it */
    struct {
        uint8_t off, value;
    } edits[4];
    const char *reason;
} Hostile;

static const Hostile hostiles[] = {
    { "one-byte", UDP4, 1, { }, "truncated" },
    { "no-ethertype", UDP4, 13, { }, "truncated" },
    { "tag-without-end", UDP4, 16, { { 12, 0x81 }, { 13, 0 } }, "truncated" },
    { "half-an-ip-header", UDP4, 24, { }, "truncated" },
    { "half-an-arp", ARP4, 30, { }, "truncated" },
    { "half-an-ipv6-header", ND6, 40, { }, "truncated" },
    { "ip-longer-than-frame", UDP4, 0, { { 16, 2 } }, "truncated" },
    { "ipv6-longer-than-frame", ND6, 0, { { 18, 2 } }, "truncated" },
    { "half-a-udp-header", UDP4, 0, { { 17, 24 } }, "truncated" },
    { "ip-version", UDP4, 0, { { 14, 0x55 } }, "bad-header" },
    { "ip-header-length", UDP4, 0, { { 14, 0x44 } }, "bad-header" },
    { "ip-shorter-than-header", UDP4, 0, { { 17, 19 } }, "bad-header" },
    { "ipv6-version", ND6, 0, { { 14, 0x50 } }, "bad-header" },
    { "udp-length", UDP4, 0, { { 38, 1 } }, "bad-header" },
    { "udp-short-length", UDP4, 0, { { 39, 7 } }, "bad-header" },
    { "arp-hardware-length", ARP4, 0, { { 18, 7 } }, "bad-header" },
    { "nd-option-without-length", ND6, 0, { { 79, 0 } }, "bad-header" },
    { "nd-option-too-long", ND6, 0, { { 79, 2 } }, "bad-header" },
    { "fragment-past-end", UDP4, 0, { { 20, 0x1f }, { 21, 0xff } },
      "bad-fragment" },
    { "tiny-fragment", UDP4, 0, { { 17, 24 }, { 20, 0x20 } },
      "bad-fragment" },
    { "multicast-source", UDP4, 0, { { 6, 1 } }, "bad-source" },
    { "no-source", UDP4, 0,
      { { 6, 0 }, { 7, 0 }, { 10, 0 }, { 11, 0 } }, "bad-source" },
};

/* Through a slave and through the uplink; life goes on after it. */
static void test_hostile(const void *data)
{
    const Hostile *h = data;
    Rig *rig = rig_new("", "", "addr=" IP_A, NULL);
    Frame f = base_frame(h->base);

    f.len = h->len ?: f.len;
    for (int i = 0; i < ARRAY_SIZE(h->edits) && h->edits[i].off; i++) {
        f.b[h->edits[i].off] = h->edits[i].value;
    }
    send_frame(rig, UP, f);
    send_frame(rig, N0, f);
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0", h->reason), ==, 1);
    g_assert_cmpint(get_drops(rig->qts, "0", NULL), ==, 1);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", h->reason), ==, 1);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, 1);
    g_assert_false(has(rig->qts, "0.slaves.0.addresses.0.address"));
    send_frame(rig, UP, inbound(IP_A, 1));
    expect(rig, N1, inbound(IP_A, 1));
    rig_free(rig);
}

static void test_oversized(void)
{
    const size_t longest = 65575;
    Rig *rig = rig_new("", "", "addr=" IP_A, NULL);
    g_autofree uint8_t *big = g_malloc0(longest + 1);
    g_autofree uint8_t *got = g_malloc0(longest + 1);
    Frame head = eth(port_mac, mac_a, 0x88b5);

    memcpy(big, head.b, head.len);
    send_bytes(rig, UP, big, longest + 1);
    send_bytes(rig, N0, big, longest + 1);
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0", "oversized"), ==, 1);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "oversized"), ==, 1);

    memcpy(big, ext_mac, MAC_LEN);
    send_bytes(rig, N0, big, longest);
    settle(rig);
    g_assert_cmpint(recv(rig->fd[UP], got, longest + 1, 0), ==, longest);
    memcpy(big + MAC_LEN, port_mac, MAC_LEN);
    g_assert_cmpmem(got, longest, big, longest);
    rig_free(rig);
}

/* Whatever there is at random; the seed is in the log, see g_test_rand_int() */
static void test_random(void)
{
    Rig *rig = rig_new("", "", "learn=dhcp", "addr=" IP_A, NULL);

    for (int i = 0; i < 3000; i++) {
        int wire = g_test_rand_int_range(UP, N_WIRES);
        Frame f = i % 4 == 3 ?
            dhcp(broadcast, mac_a, mac_a, "0.0.0.0", DHCP_REQUEST) :
            base_frame(i % 4);
        int edits = g_test_rand_int_range(1, 6);

        while (edits--) {
            f.b[g_test_rand_int_range(12, f.len)] = g_test_rand_int();
        }
        if (g_test_rand_int() & 1) {
            f.len = g_test_rand_int_range(1, f.len + 1);
        }
        send_frame(rig, wire, f);
        if (i % 50 == 0) {
            discard_all(rig);
        }
    }
    discard_all(rig);
    send_frame(rig, UP, inbound(IP_A, 1));
    while (get_int(rig->qts, "0.stats.rx-packets") != rig->sent[UP]) {
        continue;
    }
    rig_free(rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    for (int i = 0; i < ARRAY_SIZE(error_cases); i++) {
        g_autofree char *path = g_strdup_printf("ipvlan/error/%s",
                                                error_cases[i].name);

        qtest_add_data_func(path, &error_cases[i], test_error);
    }
    qtest_add_func("ipvlan/error/nesting", test_error_nesting);
    for (int i = 0; i < ARRAY_SIZE(cli_cases); i++) {
        g_autofree char *path = g_strdup_printf("ipvlan/command-line/%s",
                                                cli_cases[i].name);

        qtest_add_data_func(path, GINT_TO_POINTER(i), test_cli);
    }
    qtest_add_func("ipvlan/command-line/help", test_cli_help);
    qtest_add_func("ipvlan/frames/learned", test_learned);
    qtest_add_func("ipvlan/frames/static", test_static);
    qtest_add_func("ipvlan/frames/prefix", test_prefix);
    qtest_add_func("ipvlan/frames/tagged", test_tagged);
    qtest_add_func("ipvlan/frames/macnat", test_macnat);
    qtest_add_func("ipvlan/frames/own-mac", test_own_mac);
    qtest_add_func("ipvlan/frames/broadcast", test_broadcast);
    qtest_add_func("ipvlan/frames/siblings", test_siblings);
    qtest_add_func("ipvlan/frames/not-owned", test_not_owned);
    qtest_add_func("ipvlan/frames/default", test_default);
    qtest_add_func("ipvlan/frames/private", test_private);
    qtest_add_func("ipvlan/frames/vepa", test_vepa);
    qtest_add_func("ipvlan/frames/l2", test_l2);
    qtest_add_func("ipvlan/frames/l2-foreign-mac", test_l2_foreign_mac);
    qtest_add_func("ipvlan/default-mac", test_default_mac);
    qtest_add_func("ipvlan/life/any-order", test_any_order);
    qtest_add_func("ipvlan/life/same-id", test_same_id);
    qtest_add_func("ipvlan/life/same-master-id", test_same_master_id);
    qtest_add_func("ipvlan/life/peer-deleted", test_peer_deleted);
    qtest_add_func("ipvlan/life/exit", test_exit);
    qtest_add_func("ipvlan/life/multiqueue-tap", test_multiqueue_tap);

    qtest_add_func("ipvlan/nic/frames", test_nic_frames);
    qtest_add_func("ipvlan/nic/queue", test_nic_queue);
    qtest_add_func("ipvlan/nic/netdev-del", test_nic_netdev_del);
    qtest_add_func("ipvlan/nic/master-deleted", test_nic_master_deleted);
    qtest_add_func("ipvlan/nic/after-netdev", test_nic_after_netdev);
    qtest_add_func("ipvlan/nic/hotplug", test_nic_hotplug);
    for (int i = 0; i < ARRAY_SIZE(deletions); i++) {
        g_autofree char *path = g_strdup_printf("ipvlan/nic/delete/%s",
                                                deletions[i].name);

        qtest_add_data_func(path, &deletions[i], test_nic_order);
    }
    for (int i = 0; i < ARRAY_SIZE(link_cases); i++) {
        g_autofree char *path = g_strdup_printf("ipvlan/set-link/%s",
                                                link_cases[i].name);

        qtest_add_data_func(path, &link_cases[i], test_link);
    }

    qtest_add_func("ipvlan/busy/uplink", test_busy_uplink);
    qtest_add_func("ipvlan/busy/broadcast", test_busy_broadcast);
    qtest_add_func("ipvlan/busy/siblings", test_busy_siblings);
    qtest_add_func("ipvlan/busy/link-down", test_busy_link_down);
    qtest_add_func("ipvlan/busy/peer-deleted", test_busy_peer_deleted);
    qtest_add_func("ipvlan/busy/rx-queue", test_rx_queue);
    qtest_add_func("ipvlan/busy/flood", test_flood);
    qtest_add_func("ipvlan/nic/filter", test_filter);
    qtest_add_func("ipvlan/groups", test_groups);

    qtest_add_func("ipvlan/query/counters", test_counters);
    qtest_add_func("ipvlan/query/expiry", test_expiry);
    qtest_add_func("ipvlan/query/max-addrs", test_max_addrs);
    qtest_add_func("ipvlan/query/dhcp", test_dhcp);
    qtest_add_func("ipvlan/query/origin-ip", test_origin_ip);
    qtest_add_func("ipvlan/query/shares", test_shares);
    qtest_add_func("ipvlan/info/ipvlan", test_info_ipvlan);
    qtest_add_func("ipvlan/info/network", test_info_network);
    qtest_add_func("ipvlan/nested", test_nested);

    for (int i = 0; i < ARRAY_SIZE(hostiles); i++) {
        g_autofree char *path = g_strdup_printf("ipvlan/hostile/%s",
                                                hostiles[i].name);

        qtest_add_data_func(path, &hostiles[i], test_hostile);
    }
    qtest_add_func("ipvlan/hostile/oversized", test_oversized);
    qtest_add_func("ipvlan/hostile/random", test_random);

    return g_test_run();
}
