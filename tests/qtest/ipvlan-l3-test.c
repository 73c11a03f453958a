/*
 * QTest testcase for -netdev ipvlan that routes, filters and guards
 *
 * What can be asked of it, rules as objects, events, and where frames go.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <net/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <sys/ioctl.h>
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/timer.h"
#include "qobject/qjson.h"
#include "ipvlan-rig.h"

/* --- what can be asked --------------------------------------------------- */

static const char *const l3_keys[] = {
    "0.mtu", "0.ra", "0.proxy-arp",
};

static const char *const l3s_keys[] = {
    "0.policy", "0.flows", "0.slaves.0.flows",
};

static void assert_keys(QTestState *qts, bool l3, bool l3s)
{
    for (int i = 0; i < ARRAY_SIZE(l3_keys); i++) {
        g_test_message("%s", l3_keys[i]);
        g_assert_cmpint(has(qts, l3_keys[i]), ==, l3);
    }
    for (int i = 0; i < ARRAY_SIZE(l3s_keys); i++) {
        g_test_message("%s", l3s_keys[i]);
        g_assert_cmpint(has(qts, l3s_keys[i]), ==, l3s);
    }
}

static void test_query_l2(void)
{
    Rig *rig = rig_new("mode=l2", "", NULL);

    assert_keys(rig->qts, false, false);
    assert_str(rig->qts, "0.slaves.0.guard", "off");
    rig_free(rig);
}

static void test_query_l3(void)
{
    Rig *rig = rig_new("mode=l3", "", NULL);

    assert_str(rig->qts, "0.mode", "l3");
    assert_keys(rig->qts, true, false);
    g_assert_false(has(rig->qts, "0.gateways.0"));
    g_assert_false(has(rig->qts, "0.neighbours.0.address"));
    g_assert_cmpint(get_int(rig->qts, "0.mtu"), ==, 1500);
    g_assert_true(get_bool(rig->qts, "0.ra"));
    g_assert_true(get_bool(rig->qts, "0.proxy-arp"));
    assert_str(rig->qts, "0.slaves.0.learn", "off");
    assert_str(rig->qts, "0.slaves.0.guard", "on");
    rig_free(rig);
}

static void test_query_l3s(void)
{
    Rig *rig = rig_new("mode=l3s", "", NULL);

    assert_str(rig->qts, "0.mode", "l3s");
    assert_keys(rig->qts, true, true);
    assert_str(rig->qts, "0.policy", "accept");
    g_assert_cmpint(get_int(rig->qts, "0.flows"), ==, 0);
    g_assert_false(has(rig->qts, "0.rules.0.id"));
    rig_free(rig);
}

/* All that there is, and a slave that repeats it. */
static void test_query_options(void)
{
    Rig *rig = rig_new("mode=l3s,gateway=fe80::1,gateway=10.0.0.254,mtu=9000,"
                       "ra=off,proxy-arp=off,policy=drop,learn=off,"
                       "flag=private", "addr=" IP_A ",guard=strict",
                       "addr=" IP_B ",guard=off", NULL);

    add(rig->qts, "n2", "'master': 'up0', 'mode': 'l3s', "
        "'gateway': [ 'fe80::1' ], 'mtu': 9000, 'ra': false, "
        "'proxy-arp': false, 'policy': 'drop', 'learn': 'off', "
        "'flag': 'private', 'guard': 'on'");
    assert_str(rig->qts, "0.flag", "private");
    assert_str(rig->qts, "0.gateways.0", "10.0.0.254");
    assert_str(rig->qts, "0.gateways.1", "fe80::1");
    g_assert_cmpint(get_int(rig->qts, "0.mtu"), ==, 9000);
    g_assert_false(get_bool(rig->qts, "0.ra"));
    g_assert_false(get_bool(rig->qts, "0.proxy-arp"));
    assert_str(rig->qts, "0.policy", "drop");
    assert_str(rig->qts, "0.slaves.0.guard", "strict");
    assert_str(rig->qts, "0.slaves.1.guard", "off");
    assert_str(rig->qts, "0.slaves.2.guard", "on");
    rig_free(rig);
}

/* On where what the guest says is not what the slave owns. */
static void test_query_guard(void)
{
    Rig *rig = rig_new("", "", "addr=" IP_B, "learn=dhcp", NULL);

    add(rig->qts, "n3", "'master': 'up0', 'learn': 'off'");
    add(rig->qts, "n4", "'master': 'up0', 'learn': 'on', "
        "'addr': [ '" IP_A "' ]");
    add(rig->qts, "n5", "'master': 'up0', 'guard': 'strict'");
    assert_str(rig->qts, "0.slaves.0.guard", "off");
    assert_str(rig->qts, "0.slaves.1.guard", "on");
    assert_str(rig->qts, "0.slaves.2.guard", "on");
    assert_str(rig->qts, "0.slaves.3.guard", "on");
    assert_str(rig->qts, "0.slaves.4.guard", "off");
    assert_str(rig->qts, "0.slaves.5.guard", "strict");
    assert_str(rig->qts, "0.slaves.5.learn", "on");
    rig_free(rig);
}

static void test_info(void)
{
    Rig *rig = rig_new("mode=l3s,gateway=10.0.0.254,policy=drop",
                       "addr=" IP_A ",guard=strict", NULL);
    g_autofree char *text = NULL;

    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'object-add',"
        "  'arguments': { 'qom-type': 'ipvlan-rule', 'id': 'ssh',"
        "    'master': 'up0', 'slave': 'n0', 'priority': 3,"
        "    'direction': 'in', 'match': 'tcp dst port 22',"
        "    'action': 'accept' } }");
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'object-add',"
        "  'arguments': { 'qom-type': 'ipvlan-rule', 'id': 'rest',"
        "    'master': 'up0', 'action': 'reject' } }");
    text = qtest_hmp(rig->qts, "info ipvlan");
    g_assert_cmpstr(text, ==,
        "up0: mode l3s, flag bridge, backlog 0\r\n"
        "  gateway 10.0.0.254, mtu 1500, ra on, proxy-arp on\r\n"
        "  policy drop, flows 0\r\n"
        "               link    rx pkts      rx bytes    tx pkts"
        "      tx bytes    drops\r\n"
        "  up0          up            0             0          "
        "0             0        0\r\n"
        "      mac 02:00:00:00:00:01\r\n"
        "  n0           up            0             0          "
        "0             0        0\r\n"
        "      guard strict, flows 0\r\n"
        "      10.0.0.1 (static)\r\n"
        "  rule          prio slave        dir  action    packe"
        "ts         bytes\r\n"
        "  ssh              3 n0           in   accept         "
        " 0             0\r\n"
        "      match tcp dst port 22\r\n"
        "  rest          1000 -            both reject         "
        " 0             0\r\n");
    rig_free(rig);
}

/* --- the MTU of a tap ---------------------------------------------------- */

/* A tap with @mtu here, whose name is chosen where @ifr has none; -1: no. */
static int make_tap(struct ifreq *ifr, int mtu)
{
    int fd = open("/dev/net/tun", O_RDWR);
    int sock = socket(AF_INET, SOCK_DGRAM, 0);

    ifr->ifr_flags = IFF_TAP | IFF_NO_PI;
    if (fd < 0 || ioctl(fd, TUNSETIFF, ifr) < 0) {
        goto fail;
    }
    ifr->ifr_mtu = mtu;
    if (ioctl(sock, SIOCSIFMTU, ifr) < 0) {
        goto fail;
    }
    close(sock);
    return fd;

fail:
    close(sock);
    close(fd);
    return -1;
}

static void assert_tap_mtu(int fd, const char *options, int64_t expected)
{
    QTestState *qts = qtest_initf("-nodefaults -machine none "
                                  "-netdev tap,id=up0,fd=%d,vhost=off "
                                  "-netdev ipvlan,id=n0,master=up0,%s", fd,
                                  options);

    g_assert_cmpint(get_int(qts, "0.mtu"), ==, expected);
    qtest_quit(qts);
}

static void set_port(QTestState *qts, const char *options)
{
    g_autofree char *json = g_strdup_printf("{ 'master': 'up0', %s }",
                                            options);

    qtest_qmp_assert_success(qts, "{ 'execute': 'ipvlan-port-set',"
                             "  'arguments': %p }",
                             qobject_from_json(json, &error_abort));
}

static void test_tap_mtu(void)
{
    struct ifreq ifr = { 0 };
    int fd = make_tap(&ifr, 1400);
    QTestState *qts;

    if (fd < 0) {
        g_test_skip("no rights to make a tap");
        return;
    }
    assert_tap_mtu(fd, "mode=l3", 1400);
    assert_tap_mtu(fd, "mode=l3s,mtu=1300", 1300);

    /* no matter to those who do not route, nor to whom the port is made */
    qts = qtest_initf("-nodefaults -machine none "
                      "-netdev tap,id=up0,fd=%d,vhost=off "
                      "-netdev ipvlan,id=n0,master=up0 "
                      "-netdev hubport,id=up1,hubid=1", fd);
    g_assert_false(has(qts, "0.mtu"));
    /* but to those that begin to */
    set_port(qts, "'mode': 'l3s'");
    g_assert_cmpint(get_int(qts, "0.mtu"), ==, 1400);
    set_port(qts, "'mode': 'l2'");
    set_port(qts, "'mode': 'l3', 'mtu': 1300");
    g_assert_cmpint(get_int(qts, "0.mtu"), ==, 1300);
    set_port(qts, "'mode': 'l3s'");
    g_assert_cmpint(get_int(qts, "0.mtu"), ==, 1300);
    del(qts, "n0");
    add(qts, "n0", "'master': 'up0', 'mode': 'l3', 'mtu': 1500");
    add(qts, "n1", "'master': 'up0', 'mode': 'l3'");
    g_assert_cmpint(get_int(qts, "0.mtu"), ==, 1500);
    add(qts, "n2", "'master': 'up1', 'mode': 'l3'");
    g_assert_cmpint(get_int(qts, "1.mtu"), ==, 1500);
    qtest_quit(qts);
    close(fd);
}

static void add_tap(QTestState *qts, int fd)
{
    pass_fd(qts, "tap", fd);
    qtest_qmp_assert_success(qts, "{ 'execute': 'netdev_add', 'arguments': {"
                             "  'type': 'tap', 'id': 'up0', 'fd': 'tap',"
                             "  'vhost': false } }");
}

/* Another master, another MTU, unless somebody has said what it is. */
static void test_tap_mtu_replaced(void)
{
    struct ifreq ifr[3] = { 0 };
    int fd[3];
    QTestState *qts;

    for (int i = 0; i < 3; i++) {
        fd[i] = make_tap(&ifr[i], 1400 + 150 * i);
        if (fd[i] < 0) {
            g_test_skip("no rights to make a tap");
            return;
        }
    }
    qts = qtest_init("-nodefaults -machine none");
    add_tap(qts, fd[0]);
    add(qts, "n0", "'master': 'up0', 'mode': 'l3'");
    g_assert_cmpint(get_int(qts, "0.mtu"), ==, 1400);
    del(qts, "up0");
    g_assert_cmpint(get_int(qts, "0.mtu"), ==, 1400);
    add_tap(qts, fd[2]);
    g_assert_cmpint(get_int(qts, "0.mtu"), ==, 1700);
    del(qts, "up0");
    add_hubport(qts, "up0", 1);
    g_assert_cmpint(get_int(qts, "0.mtu"), ==, 1500);
    add(qts, "n1", "'master': 'up0', 'mtu': 1500");
    del(qts, "up0");
    add_tap(qts, fd[1]);
    g_assert_cmpint(get_int(qts, "0.mtu"), ==, 1500);
    qtest_quit(qts);
}

/* What no router may have is not the default either. */
static void test_tap_small_mtu(void)
{
    struct ifreq ifr = { 0 };
    int fd = make_tap(&ifr, 1279);

    if (fd < 0) {
        g_test_skip("no rights to make a tap");
        return;
    }
    assert_tap_mtu(fd, "mode=l3", 1500);
    close(fd);
}

/* The tap is elsewhere, and what has its name here is another one. */
static void test_tap_elsewhere(void)
{
    struct ifreq ifr = { 0 };
    int here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    int other = make_tap(&ifr, 1400);
    int fd = -1;

    if (other >= 0 && unshare(CLONE_NEWNET) == 0) {
        fd = make_tap(&ifr, 1300);
        g_assert_cmpint(setns(here, CLONE_NEWNET), ==, 0);
    }
    if (fd < 0) {
        g_test_skip("no rights to make taps and namespaces");
    } else {
        assert_tap_mtu(fd, "mode=l3", 1500);
        assert_tap_mtu(other, "mode=l3", 1400);
        close(other);
        assert_tap_mtu(fd, "mode=l3", 1500);
        other = -1;
        close(fd);
    }
    if (other >= 0) {
        close(other);
    }
    close(here);
}

/* --- rules --------------------------------------------------------------- */

static QDict *rule_request(QTestState *qts, const char *id,
                           const char *options)
{
    g_autofree char *json = g_strdup_printf(
        "{ 'qom-type': 'ipvlan-rule', 'id': '%s', %s }", id, options);

    return qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': %p }",
                     qobject_from_json(json, &error_abort));
}

static void rule_add(QTestState *qts, const char *id, const char *options)
{
    QDict *rsp = rule_request(qts, id, options);

    g_assert(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
}

static void rule_fails(QTestState *qts, const char *id, const char *options,
                       const char *desc)
{
    QDict *rsp = rule_request(qts, id, options);

    g_assert(qdict_haskey(rsp, "error"));
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"),
                    ==, desc);
    qobject_unref(rsp);
}

static void rule_del(QTestState *qts, const char *id)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'object-del',"
                             "  'arguments': { 'id': %s } }", id);
}

/* The rules of @port, "id id id". */
static void assert_rules(QTestState *qts, int port, const char *expected)
{
    QDict *flat = status(qts);
    g_autoptr(GString) ids = g_string_new(NULL);

    for (int i = 0; ; i++) {
        g_autofree char *key = g_strdup_printf("%d.rules.%d.id", port, i);

        if (!qdict_haskey(flat, key)) {
            break;
        }
        g_string_append_printf(ids, "%s%s", i ? " " : "",
                               qdict_get_str(flat, key));
    }
    qobject_unref(flat);
    g_assert_cmpstr(ids->str, ==, expected);
}

typedef struct RuleError {
    const char *name;
    const char *options;
    const char *desc;
} RuleError;

static const RuleError rule_errors[] = {
    { "no-master", "'action': 'drop'", "Parameter 'master' is missing" },
    { "no-action", "'master': 'up0'", "Parameter 'action' is missing" },
    { "unknown-option", "'master': 'up0', 'action': 'drop', 'nope': 1",
      "Parameter 'nope' is unexpected" },
    { "unknown-master", "'master': 'nope', 'action': 'drop'",
      "master=nope: there is no such netdev" },
    { "the-port's-client", "'master': 'up0/ipvlan', 'action': 'drop'",
      "master=up0/ipvlan: there is no such netdev" },
    { "master-in-use", "'master': 'hubbed', 'action': 'drop'",
      "master=hubbed: it is in use by hub 'hp0'" },
    { "mode-l3", "'master': 'router', 'action': 'drop'",
      "master=router: rules need mode=l3s, and its mode is l3" },
    { "mode-l2", "'master': 'switch', 'action': 'drop'",
      "master=switch: rules need mode=l3s, and its mode is l2-macnat" },
    { "unknown-slave", "'master': 'up0', 'action': 'drop', 'slave': 'nope'",
      "slave=nope: 'up0' has no such slave" },
    { "another-master's-slave",
      "'master': 'up0', 'action': 'drop', 'slave': 'r0'",
      "slave=r0: 'up0' has no such slave" },
    { "slave-to-come", "'master': 'free', 'action': 'drop', 'slave': 'n9'",
      "slave=n9: 'free' has no such slave" },
    { "priority/65536",
      "'master': 'up0', 'action': 'drop', 'priority': 65536",
      "priority=65536: it has to be between 0 and 65535" },
    { "priority/negative",
      "'master': 'up0', 'action': 'drop', 'priority': -1",
      "Parameter 'priority' expects uint32_t" },
    { "direction", "'master': 'up0', 'action': 'drop', 'direction': 'up'",
      "Parameter 'direction' does not accept value 'up'" },
    { "action", "'master': 'up0', 'action': 'forward'",
      "Parameter 'action' does not accept value 'forward'" },
    { "match/syntax",
      "'master': 'up0', 'action': 'drop', 'match': 'tcp and and udp'",
      "match='tcp and and udp': can't parse filter expression: syntax error "
      "at 'and' (character 9)" },
    { "match/end",
      "'master': 'up0', 'action': 'drop', 'match': 'tcp dst port'",
      "match='tcp dst port': can't parse filter expression: syntax error at "
      "its end (character 13)" },
    { "match/name",
      "'master': 'up0', 'action': 'drop', 'match': 'dst host localhost'",
      "match='dst host localhost': unknown host 'localhost' (character 10), "
      "names are not looked up" },
    { "match/not-in-the-frame",
      "'master': 'up0', 'action': 'drop', 'match': 'inbound'",
      "match='inbound': it asks for what is not in a frame; for which way it "
      "goes there is direction=" },
};

#define NETDEVS                                                             \
    "-netdev hubport,id=up0,hubid=1 -netdev hubport,id=router,hubid=2 "     \
    "-netdev hubport,id=switch,hubid=3 -netdev hubport,id=free,hubid=4 "    \
    "-netdev hubport,id=hubbed,hubid=5 "                                    \
    "-netdev hubport,id=hp0,hubid=6,netdev=hubbed "                         \
    "-netdev ipvlan,id=n0,master=up0,mode=l3s "                             \
    "-netdev ipvlan,id=n1,master=up0 "                                      \
    "-netdev ipvlan,id=r0,master=router,mode=l3 "                           \
    "-netdev ipvlan,id=w0,master=switch "

static QTestState *rules_init(const char *args)
{
    return qtest_initf("-nodefaults -machine none " NETDEVS "%s", args);
}

static void test_rule_error(const void *data)
{
    const RuleError *e = data;
    QTestState *qts = rules_init("");
    g_autofree char *before = status_text(qts), *after = NULL;

    rule_fails(qts, "r1", e->options, e->desc);
    after = status_text(qts);
    g_assert_cmpstr(before, ==, after);

    /* the name is free */
    rule_add(qts, "r1", "'master': 'up0', 'action': 'drop'");
    assert_rules(qts, 0, "r1");
    qtest_quit(qts);
}

static void test_rule_defaults(void)
{
    QTestState *qts = rules_init("");

    rule_add(qts, "r1", "'master': 'up0', 'action': 'drop'");
    assert_str(qts, "0.rules.0.action", "drop");
    assert_str(qts, "0.rules.0.direction", "both");
    assert_str(qts, "0.rules.0.match", "");
    g_assert_cmpint(get_int(qts, "0.rules.0.priority"), ==, 1000);
    g_assert_cmpint(get_int(qts, "0.rules.0.packets"), ==, 0);
    g_assert_cmpint(get_int(qts, "0.rules.0.bytes"), ==, 0);
    g_assert_false(has(qts, "0.rules.0.slave"));
    qtest_quit(qts);
}

static void test_rule_options(void)
{
    QTestState *qts = rules_init("");

    rule_add(qts, "r1", "'master': 'up0', 'slave': 'n1', 'priority': 65535, "
             "'direction': 'in', 'match': 'udp or ip6', 'action': 'reject'");
    rule_add(qts, "r2", "'master': 'up0', 'priority': 0, "
             "'direction': 'out', 'match': '', 'action': 'accept'");
    assert_rules(qts, 0, "r2 r1");
    assert_str(qts, "0.rules.0.action", "accept");
    assert_str(qts, "0.rules.0.direction", "out");
    g_assert_cmpint(get_int(qts, "0.rules.0.priority"), ==, 0);
    assert_str(qts, "0.rules.1.slave", "n1");
    assert_str(qts, "0.rules.1.action", "reject");
    assert_str(qts, "0.rules.1.direction", "in");
    assert_str(qts, "0.rules.1.match", "udp or ip6");
    g_assert_cmpint(get_int(qts, "0.rules.1.priority"), ==, 65535);
    qtest_quit(qts);
}

/* As they are asked: equal ones in the order in which they were made. */
static void test_rule_order(void)
{
    QTestState *qts = rules_init("");

    rule_add(qts, "a", "'master': 'up0', 'action': 'drop'");
    rule_add(qts, "b", "'master': 'up0', 'action': 'drop', 'priority': 5");
    rule_add(qts, "c", "'master': 'up0', 'action': 'drop'");
    rule_add(qts, "d", "'master': 'up0', 'action': 'drop', 'priority': 5");
    rule_add(qts, "e", "'master': 'up0', 'action': 'drop', 'priority': 0");
    assert_rules(qts, 0, "e b d a c");
    rule_del(qts, "b");
    rule_del(qts, "a");
    assert_rules(qts, 0, "e d c");
    rule_add(qts, "a", "'master': 'up0', 'action': 'drop'");
    rule_add(qts, "b", "'master': 'up0', 'action': 'drop', 'priority': 5");
    assert_rules(qts, 0, "e d b c a");
    qtest_quit(qts);
}

/* One that exists can be looked at, and not be changed. */
static void test_rule_fixed(void)
{
    static const char *const sets[] = {
        "{ 'property': 'master', 'value': 'free' }",
        "{ 'property': 'slave', 'value': 'n1' }",
        "{ 'property': 'match', 'value': 'udp' }",
        "{ 'property': 'priority', 'value': 1 }",
        "{ 'property': 'direction', 'value': 'in' }",
        "{ 'property': 'action', 'value': 'accept' }",
    };
    QTestState *qts = rules_init("");
    QDict *rsp;

    rule_add(qts, "r1", "'master': 'up0', 'slave': 'n0', 'match': 'tcp', "
             "'action': 'drop'");
    for (int i = 0; i < ARRAY_SIZE(sets); i++) {
        QDict *args = qobject_to(QDict, qobject_from_json(sets[i],
                                                          &error_abort));
        g_autofree char *desc = g_strdup_printf(
            "%s: a rule cannot be changed, delete it and make another one",
            qdict_get_str(args, "property"));

        qdict_put_str(args, "path", "/objects/r1");
        rsp = qtest_qmp(qts, "{ 'execute': 'qom-set', 'arguments': %p }",
                        args);
        g_assert(qdict_haskey(rsp, "error"));
        g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"),
                        ==, desc);
        qobject_unref(rsp);
    }
    rsp = qtest_qmp(qts, "{ 'execute': 'qom-get', 'arguments': {"
                    "  'path': '/objects/r1', 'property': 'match' } }");
    g_assert_cmpstr(qdict_get_str(rsp, "return"), ==, "tcp");
    qobject_unref(rsp);
    assert_str(qts, "0.rules.0.slave", "n0");
    assert_str(qts, "0.rules.0.action", "drop");
    qtest_quit(qts);
}

/* Made before there is a port; it is for the next one, each time. */
static void test_rule_waits(void)
{
    QTestState *qts = qtest_init("-nodefaults -machine none");
    g_autofree char *text = NULL;

    add_hubport(qts, "up0", 1);
    add_hubport(qts, "up1", 2);
    rule_add(qts, "r1", "'master': 'up0', 'action': 'drop'");
    rule_add(qts, "other", "'master': 'up1', 'action': 'drop'");
    text = status_text(qts);
    g_assert_cmpstr(text, ==, "[]");

    /* it must not be without effect */
    add_fails(qts, "n0", "'master': 'up0'",
              "mode=l2-macnat: ipvlan-rule 'r1' is for 'up0', and needs "
              "mode=l3s");
    add_fails(qts, "n0", "'master': 'up0', 'mode': 'l3'",
              "mode=l3: ipvlan-rule 'r1' is for 'up0', and needs mode=l3s");

    for (int i = 0; i < 3; i++) {
        add(qts, "n0", "'master': 'up0', 'mode': 'l3s'");
        assert_rules(qts, 0, i ? "r1 r2" : "r1");
        if (!i) {
            rule_add(qts, "r2", "'master': 'up0', 'slave': 'n0', "
                     "'action': 'accept'");
        }
        /* a later slave's mode is the port's */
        add(qts, "n1", "'master': 'up0'");
        del(qts, "n0");
        assert_rules(qts, 0, "r1 r2");
        add(qts, "n0", "'master': 'up0'");
        assert_rules(qts, 0, "r1 r2");
        del(qts, "n1");
        del(qts, "n0");
    }
    rule_del(qts, "r1");
    rule_del(qts, "r2");
    add(qts, "n0", "'master': 'up0'");
    add_fails(qts, "n1", "'master': 'up1'",
              "mode=l2-macnat: ipvlan-rule 'other' is for 'up1', and needs "
              "mode=l3s");
    add(qts, "n1", "'master': 'up1', 'mode': 'l3s'");
    assert_rules(qts, 1, "other");
    qtest_quit(qts);
}

/* The master is another one: rules stay with its slaves. */
static void test_rule_new_master(void)
{
    QTestState *qts = qtest_init("-nodefaults -machine none");

    add_hubport(qts, "up0", 1);
    add(qts, "old", "'master': 'up0', 'mode': 'l3s'");
    rule_add(qts, "r1", "'master': 'up0', 'action': 'drop'");
    rule_add(qts, "r2", "'master': 'up0', 'slave': 'old', "
             "'match': 'tcp', 'action': 'drop'");
    del(qts, "up0");
    assert_rules(qts, 0, "r1 r2");
    rule_add(qts, "r3", "'master': 'up0', 'action': 'drop'");
    assert_rules(qts, 0, "r1 r2 r3");

    add_hubport(qts, "up0", 1);
    assert_rules(qts, 0, "r1 r2 r3");
    add(qts, "new", "'master': 'up0', 'mode': 'l3s'");
    assert_rules(qts, 0, "r1 r2 r3");
    rule_add(qts, "r4", "'master': 'up0', 'action': 'drop'");
    assert_rules(qts, 0, "r1 r2 r3 r4");
    del(qts, "old");
    assert_rules(qts, 0, "r1 r2 r3 r4");
    del(qts, "up0");
    rule_del(qts, "r1");
    del(qts, "new");
    rule_fails(qts, "r5", "'master': 'up0', 'action': 'drop'",
               "master=up0: there is no such netdev");
    add_hubport(qts, "up0", 1);
    add(qts, "new", "'master': 'up0', 'mode': 'l3s'");
    assert_rules(qts, 0, "r2 r3 r4");
    qtest_quit(qts);
}

/* Wherever it stands on the command line. */
static void test_rule_command_line(void)
{
    QTestState *qts = qtest_init(
        "-nodefaults -machine none "
        "-object ipvlan-rule,id=r1,master=up0,slave=n0,action=drop "
        NETDEVS
        "-object ipvlan-rule,id=r2,master=up0,match='tcp dst port 22',"
        "direction=in,action=accept,priority=7");

    assert_rules(qts, 0, "r2 r1");
    assert_str(qts, "0.rules.0.match", "tcp dst port 22");
    rule_del(qts, "r1");
    rule_del(qts, "r2");
    assert_rules(qts, 0, "");
    qtest_quit(qts);
}

#define RULE NETDEVS "-object ipvlan-rule,id=r1,"

static const struct {
    const char *name, *args, *sentence;
} cli_cases[] = {
    { "unknown-master", RULE "master=nope,action=drop",
      "master=nope: there is no such netdev" },
    { "no-action", RULE "master=up0", "Parameter 'action' is missing" },
    { "mode", RULE "master=router,action=drop",
      "master=router: rules need mode=l3s, and its mode is l3" },
    { "slave", RULE "master=up0,slave=n2,action=drop",
      "slave=n2: 'up0' has no such slave" },
    { "priority", RULE "master=up0,priority=70000,action=drop",
      "priority=70000: it has to be between 0 and 65535" },
    { "match", RULE "master=up0,match='tcp and and udp',action=drop",
      "match='tcp and and udp': can't parse filter expression: syntax error "
      "at 'and' (character 9)" },
};

static void test_rule_cli(const void *data)
{
    int i = GPOINTER_TO_INT(data);

    assert_qemu_refuses(cli_cases[i].args, cli_cases[i].sentence);
}

static void test_rule_help(void)
{
    g_autofree char *out = NULL;

    g_assert_cmpint(run_qemu("-object help", &out, NULL), ==, 0);
    g_assert_nonnull(strstr(out, "\n  ipvlan-rule\n"));
}

/* --- guards -------------------------------------------------------------- */

static void expect_event(Rig *rig, const char *reason, const char *address,
                         int64_t packets)
{
    QDict *event = qtest_qmp_eventwait_ref(rig->qts, "IPVLAN_GUARD");
    QDict *data = qdict_get_qdict(event, "data");

    g_assert_cmpstr(qdict_get_str(data, "slave"), ==, "n0");
    g_assert_cmpstr(qdict_get_str(data, "reason"), ==, reason);
    g_assert_cmpstr(qdict_get_try_str(data, "address"), ==, address);
    g_assert_cmpstr(qdict_get_str(data, "mac"), ==, "52:54:00:00:00:0a");
    g_assert_cmpint(qdict_get_int(data, "packets"), ==, packets);
    qobject_unref(event);
}

/* What QEMU had to say it has said before it answers the next command. */
static void expect_no_event(Rig *rig)
{
    expect_nothing(rig);
    g_assert_null(qtest_qmp_event_ref(rig->qts, "IPVLAN_GUARD"));
}

static void test_guard_event(void)
{
    Rig *rig = rig_new("", "addr=" IP_A, NULL);
    Frame stolen = udp(ext_mac, mac_a, NOBODY, EXT_IP, 1);
    Frame claimed = announcement(mac_a, NOBODY);

    send_frame(rig, N0, stolen);
    expect_event(rig, "guard-source", NOBODY, 1);
    expect_no_event(rig);

    /* once a second */
    for (int i = 0; i < 10; i++) {
        send_frame(rig, N0, stolen);
    }
    expect_no_event(rig);
    step(rig, 1);
    send_frame(rig, N0, stolen);
    expect_event(rig, "guard-source", NOBODY, 12);

    /* for each reason */
    send_frame(rig, N0, claimed);
    expect_event(rig, "guard-arp", NOBODY, 1);
    send_frame(rig, N0, stolen);
    send_frame(rig, N0, claimed);
    expect_no_event(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "guard-source"), ==,
                    13);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "guard-arp"), ==, 2);

    /* what it may say */
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, 2));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 2));
    expect_no_event(rig);
    rig_free(rig);
}

static void test_guard_slaves(void)
{
    Rig *rig = rig_new("", "addr=" IP_A, "guard=off", "addr=" IP_C, NULL);
    QDict *event;

    send_frame(rig, N0, udp(ext_mac, mac_a, NOBODY, EXT_IP, 1));
    expect_event(rig, "guard-source", NOBODY, 1);
    send_frame(rig, N2, udp(ext_mac, mac_c, NOBODY, EXT_IP, 2));
    event = qtest_qmp_eventwait_ref(rig->qts, "IPVLAN_GUARD");
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(event, "data"), "slave"),
                    ==, "n2");
    qobject_unref(event);
    send_frame(rig, N1, udp(ext_mac, mac_b, NOBODY, EXT_IP, 3));
    expect(rig, UP, udp(ext_mac, port_mac, NOBODY, EXT_IP, 3));
    expect_no_event(rig);
    rig_free(rig);
}

static void test_guard_strict(void)
{
    Rig *rig = rig_new("", "addr=" IP_A ",guard=strict", NULL);
    Frame server = udp(ext_mac, mac_a, IP_A, EXT_IP, 1);

    server.b[34] = 0;
    server.b[35] = 67;          /* its source port is a DHCP server's */
    send_frame(rig, N0, server);
    expect_event(rig, "guard-dhcp", NULL, 1);
    expect_no_event(rig);
    rig_free(rig);
}

static void test_guard_mac(void)
{
    Rig *rig = rig_new("", "addr=" IP_A, NULL);
    QDict *event, *data;

    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, 1));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 1));
    send_frame(rig, N0, udp(ext_mac, mac_b, IP_A, EXT_IP, 2));
    event = qtest_qmp_eventwait_ref(rig->qts, "IPVLAN_GUARD");
    data = qdict_get_qdict(event, "data");
    g_assert_cmpstr(qdict_get_str(data, "reason"), ==, "guard-mac");
    g_assert_cmpstr(qdict_get_str(data, "mac"), ==, "52:54:00:00:00:0b");
    qobject_unref(event);
    expect_no_event(rig);
    rig_free(rig);
}

static void test_guard_trace(void)
{
    static const char *line =
        "ipvlan_guard slave=n0 reason=guard-source address=" NOBODY
        " frame=[52:54:00:00:00:0a > ";
    g_autofree char *log = NULL, *text = NULL;
    Rig *rig = rig_prepare("-machine none");
    int fd = g_file_open_tmp("ipvlan-test-XXXXXX", &log, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    rig_add_slave(rig, N0, "addr=" IP_A);
    g_string_append_printf(rig->args, " -trace ipvlan_guard -D %s", log);
    rig_start(rig);
    send_frame(rig, N0, udp(ext_mac, mac_a, NOBODY, EXT_IP, 1));
    expect_event(rig, "guard-source", NOBODY, 1);
    rig_free(rig);
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    unlink(log);
    g_assert_nonnull(strstr(text, line));
}

/* Another NIC is another guest's; one that was there must not change. */
static void test_guard_nic(void)
{
    Rig *rig = rig_of_nic("addr=" IP_A ",guard=on");
    Nic nic = nic_start(rig, 0);

    nic_send(&nic, udp(ext_mac, mac_a, IP_A, EXT_IP, 1));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 1));
    nic_send(&nic, udp(ext_mac, mac_b, IP_A, EXT_IP, 2));
    qtest_qmp_eventwait(rig->qts, "IPVLAN_GUARD");
    nic_stop(&nic);

    qpci_unplug_acpi_device_test(rig->qts, "nic0", NIC_SLOT);
    qtest_qmp_device_add(rig->qts, "virtio-net-pci", "nic0",
                         "{ 'netdev': 'n0', 'addr': '4', 'romfile': '',"
                         "  'mac': '52:54:00:00:00:0b' }");
    nic = nic_start(rig, 0);
    nic_send(&nic, udp(ext_mac, mac_b, IP_A, EXT_IP, 3));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 3));
    nic_send(&nic, udp(ext_mac, mac_a, IP_A, EXT_IP, 4));
    while (get_drops(rig->qts, "0.slaves.0", "guard-mac") != 2) {
        continue;
    }
    nic_stop(&nic);
    nic_rig_free(rig);
}

/* --- where frames go ----------------------------------------------------- */

#define GATEWAY "10.0.0.254"
#define V6_A "2001:db8::a"
#define V6_EXT "2001:db8::100"

/* Two guests, a and b, that have been seen; @options of the port. */
static Rig *rig_of_two(const char *mode, const char *options)
{
    g_autofree char *port = g_strdup_printf("mode=%s%s%s", mode,
                                            *options ? "," : "", options);
    Rig *rig = rig_new(port, "addr=" IP_A ",addr=" V6_A, "addr=" IP_B, NULL);

    introduce(rig, N0, mac_a, IP_A);
    introduce(rig, N1, mac_b, IP_B);
    return rig;
}

/* Modes l3 and l3s, the latter without rules: there is no difference. */
static void add_frames_test(const char *name, void (*fn)(const void *mode))
{
    static const char *const modes[] = { "l3", "l3s" };

    for (int i = 0; i < ARRAY_SIZE(modes); i++) {
        g_autofree char *path = g_strdup_printf("ipvlan-l3/frames/%s/%s",
                                                modes[i], name);

        qtest_add_data_func(path, modes[i], fn);
    }
}

static Frame arp_reply(const uint8_t *dst, const uint8_t *src,
                       const char *sip, const char *dip)
{
    return arp(ARP_REPLY, dst, src, sip, dst, dip);
}

/* The port asks for @ip on behalf of a, and @mac has it. */
static void expect_resolution(Rig *rig, const char *ip, const uint8_t *mac)
{
    expect(rig, UP, who_has(port_mac, IP_A, ip));
    send_frame(rig, UP, arp_reply(port_mac, mac, ip, IP_A));
}

/* For every address but the guest's own, and no further than to it. */
static void test_arp_of_guests(const void *mode)
{
    static const char *const others[] = { EXT_IP, NOBODY, IP_B, "192.0.2.1" };
    Rig *rig = rig_of_two(mode, "");

    for (int i = 0; i < ARRAY_SIZE(others); i++) {
        send_frame(rig, N0, who_has(mac_a, IP_A, others[i]));
        expect(rig, N0, arp_reply(mac_a, port_mac, others[i], IP_A));
    }
    send_frame(rig, N0, who_has(mac_a, IP_A, IP_A));
    expect_nothing(rig);

    /* who looks for a duplicate finds a sibling only */
    send_frame(rig, N0, who_has(mac_a, "0.0.0.0", IP_A));
    expect_nothing(rig);
    send_frame(rig, N1, who_has(mac_b, "0.0.0.0", IP_B));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, 0);
    rig_free(rig);
}

static void test_to_sibling(const void *mode)
{
    Rig *rig = rig_of_two(mode, "");

    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_B, 1));
    expect(rig, N1, udp(mac_b, port_mac, IP_A, IP_B, 1));
    send_frame(rig, N1, udp(port_mac, mac_b, IP_B, IP_A, 2));
    expect(rig, N0, udp(mac_a, port_mac, IP_B, IP_A, 2));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_A, 3));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "to-itself"), ==, 1);
    rig_free(rig);
}

static void test_private(const void *mode)
{
    Rig *rig = rig_of_two(mode, "flag=private,gateway=" GATEWAY);

    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_B, 1));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "private"), ==, 1);
    rig_free(rig);
}

static void test_vepa(const void *mode)
{
    Rig *rig = rig_of_two(mode, "flag=vepa,gateway=" GATEWAY);

    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_B, 1));
    expect_resolution(rig, GATEWAY, ext_mac);
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, IP_B, 1));
    send_frame(rig, UP, udp(port_mac, ext_mac, IP_A, IP_B, 1));
    expect(rig, N1, udp(mac_b, port_mac, IP_A, IP_B, 1));
    expect_nothing(rig);
    rig_free(rig);
}

/* Without a gateway whoever it is for is on the uplink. */
static void test_to_neighbour(const void *mode)
{
    Rig *rig = rig_of_two(mode, "");

    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, EXT_IP, 1));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, EXT_IP, 2));
    expect(rig, UP, who_has(port_mac, IP_A, EXT_IP));
    expect_nothing(rig);
    assert_str(rig->qts, "0.neighbours.0.address", EXT_IP);
    assert_str(rig->qts, "0.neighbours.0.state", "incomplete");
    g_assert_false(has(rig->qts, "0.neighbours.0.mac"));
    g_assert_false(get_bool(rig->qts, "0.neighbours.0.gateway"));
    g_assert_cmpint(get_int(rig->qts, "0.neighbours.0.waiting"), ==, 2);

    send_frame(rig, UP, arp_reply(port_mac, ext_mac, EXT_IP, IP_A));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 1));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 2));
    assert_str(rig->qts, "0.neighbours.0.state", "reachable");
    assert_str(rig->qts, "0.neighbours.0.mac", "52:54:00:00:ee:ee");
    g_assert_cmpint(get_int(rig->qts, "0.neighbours.0.waiting"), ==, 0);
    g_assert_false(has(rig->qts, "0.neighbours.1.address"));

    send_frame(rig, N1, udp(port_mac, mac_b, IP_B, EXT_IP, 3));
    expect(rig, UP, udp(ext_mac, port_mac, IP_B, EXT_IP, 3));
    step(rig, 46);
    assert_str(rig->qts, "0.neighbours.0.state", "stale");
    send_frame(rig, N1, udp(port_mac, mac_b, IP_B, EXT_IP, 4));
    expect(rig, UP, udp(ext_mac, port_mac, IP_B, EXT_IP, 4));
    assert_str(rig->qts, "0.neighbours.0.state", "delay");
    expect_nothing(rig);
    rig_free(rig);
}

static void test_to_gateway(const void *mode)
{
    Rig *rig = rig_of_two(mode, "gateway=" GATEWAY);
    g_autofree char *text = NULL;

    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, "192.0.2.1", 1));
    expect_resolution(rig, GATEWAY, ext_mac);
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, "192.0.2.1", 1));
    send_frame(rig, N1, udp(port_mac, mac_b, IP_B, NOBODY, 2));
    expect(rig, UP, udp(ext_mac, port_mac, IP_B, NOBODY, 2));
    expect_nothing(rig);
    assert_str(rig->qts, "0.neighbours.0.address", GATEWAY);
    g_assert_true(get_bool(rig->qts, "0.neighbours.0.gateway"));
    g_assert_false(has(rig->qts, "0.neighbours.1.address"));

    text = qtest_hmp(rig->qts, "info ipvlan");
    g_assert_nonnull(strstr(text,
        "  neighbour                  MAC               state\r\n"
        "  10.0.0.254                 52:54:00:00:ee:ee reachable, gateway"
        "\r\n"));
    rig_free(rig);
}

/* Three tries, a second apart, and then the guest is told. */
static void test_no_neighbour(const void *mode)
{
    Rig *rig = rig_of_two(mode, "");
    g_autofree char *text = NULL;
    Frame f, sent = udp(port_mac, mac_a, IP_A, NOBODY, 1);

    send_frame(rig, N0, sent);
    for (int i = 0; i < 3; i++) {
        expect(rig, UP, who_has(port_mac, IP_A, NOBODY));
        expect_nothing(rig);
        if (!i) {
            text = qtest_hmp(rig->qts, "info ipvlan");
        }
        step(rig, 1);
    }
    g_assert_nonnull(strstr(text,
        "  10.0.0.200                 -                 incomplete, "
        "waiting 1\r\n"));
    f = receive(rig, N0);
    g_assert_cmpmem(f.b, MAC_LEN, mac_a, MAC_LEN);
    g_assert_cmpmem(f.b + MAC_LEN, MAC_LEN, port_mac, MAC_LEN);
    g_assert_cmpint(f.b[23], ==, 1);            /* ICMP */
    g_assert_cmpint(f.b[34], ==, 3);            /* unreachable: */
    g_assert_cmpint(f.b[35], ==, 1);            /* host */
    g_assert_cmpmem(f.b + 42, 32, sent.b + 14, 32);
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "no-neighbour"), ==, 1);
    g_assert_false(has(rig->qts, "0.neighbours.0.address"));
    rig_free(rig);
}

static void test_from_uplink(const void *mode)
{
    Rig *rig = rig_of_two(mode, "");

    send_frame(rig, UP, inbound(IP_A, 1));
    expect(rig, N0, udp(mac_a, port_mac, EXT_IP, IP_A, 1));
    send_frame(rig, UP, inbound(IP_B, 2));
    expect(rig, N1, udp(mac_b, port_mac, EXT_IP, IP_B, 2));
    send_frame(rig, UP, inbound(NOBODY, 3));
    send_frame(rig, UP, with_dst(inbound(IP_A, 4), mac_a));
    send_frame(rig, UP, with_dst(inbound(IP_A, 5), broadcast));
    send_frame(rig, UP, udp(broadcast, ext_mac, EXT_IP, "255.255.255.255",
                            6));
    send_frame(rig, UP, with_src(inbound(IP_A, 7), port_mac));
    send_frame(rig, UP, eth(port_mac, ext_mac, 0x88cc));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0", "no-owner"), ==, 1);
    g_assert_cmpint(get_drops(rig->qts, "0", "not-for-us"), ==, 1);
    g_assert_cmpint(get_drops(rig->qts, "0", "not-routed"), ==, 2);
    g_assert_cmpint(get_drops(rig->qts, "0", "reflected"), ==, 1);
    g_assert_cmpint(get_drops(rig->qts, "0", "not-ip"), ==, 1);
    rig_free(rig);
}

static void test_default(const void *mode)
{
    g_autofree char *port = g_strdup_printf("mode=%s", (const char *)mode);
    Rig *rig = rig_new(port, "addr=" IP_A, "default=on,addr=" IP_B, NULL);

    introduce(rig, N1, mac_b, IP_B);
    send_frame(rig, UP, inbound(NOBODY, 1));
    expect(rig, N1, udp(mac_b, port_mac, EXT_IP, NOBODY, 1));
    expect_nothing(rig);
    rig_free(rig);
}

static void test_proxy_arp(const void *mode)
{
    Rig *rig = rig_of_two(mode, "");

    send_frame(rig, UP, who_has(ext_mac, EXT_IP, IP_B));
    expect(rig, UP, arp_reply(ext_mac, port_mac, IP_B, EXT_IP));
    send_frame(rig, UP, who_has(ext_mac, EXT_IP, NOBODY));
    expect_nothing(rig);
    rig_free(rig);

    rig = rig_of_two(mode, "proxy-arp=off");
    send_frame(rig, UP, who_has(ext_mac, EXT_IP, IP_B));
    expect_nothing(rig);
    rig_free(rig);
}

/* What does not cross a router. */
static void test_not_routed(const void *mode)
{
    static const uint8_t tag[] = { 0x81, 0, 0, 2 };
    Rig *rig = rig_of_two(mode, "");
    Frame plain = udp(port_mac, mac_a, IP_A, EXT_IP, 1);
    Frame tagged = { 0 };

    put(&tagged, plain.b, 2 * MAC_LEN);
    put(&tagged, tag, sizeof(tag));
    put(&tagged, plain.b + 2 * MAC_LEN, plain.len - 2 * MAC_LEN);
    send_frame(rig, N0, tagged);
    send_frame(rig, N0, eth(port_mac, mac_a, 0x88cc));
    send_frame(rig, N0, udp(broadcast, mac_a, IP_A, "255.255.255.255", 2));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, "224.0.0.1", 3));
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "not-ip"), ==, 2);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "not-routed"), ==, 2);
    rig_free(rig);
}

#define IPV6_ICMP (14 + 40)     /* where it starts */

/* RFC 4861, 4.1, without an option. */
static Frame router_solicitation(const uint8_t *src, const char *sip)
{
    static const uint8_t all_routers[] = { 0x33, 0x33, 0, 0, 0, 2 };
    static const uint8_t head[] = { 0x60, 0, 0, 0, 0, 8, 58, 255 };
    Frame f = eth(all_routers, src, 0x86dd);

    put(&f, head, sizeof(head));
    put_ip(&f, sip);
    put_ip(&f, "ff02::2");
    put16(&f, 133 << 8);
    put16(&f, 0);
    put16(&f, 0);
    put16(&f, 0);
    stw_be_p(f.b + IPV6_ICMP + 2, checksum(f.b + 14 + 8, 40, 8 + 58));
    return f;
}

static void test_router_advertisement(const void *mode)
{
    Rig *rig = rig_of_two(mode, "mtu=1400");
    Frame f;

    send_frame(rig, N0, router_solicitation(mac_a, V6_A));
    f = receive(rig, N0);
    g_assert_cmpmem(f.b, MAC_LEN, mac_a, MAC_LEN);
    g_assert_cmpmem(f.b + MAC_LEN, MAC_LEN, port_mac, MAC_LEN);
    g_assert_cmpint(f.b[IPV6_ICMP], ==, 134);
    g_assert_cmpint(lduw_be_p(f.b + IPV6_ICMP + 6), ==, 1800);
    g_assert_cmpint(ldl_be_p(f.b + f.len - 4), ==, 1400);
    expect_nothing(rig);

    /* to all, from time to time */
    step(rig, 600);
    f = receive(rig, N0);
    g_assert_cmpint(f.b[IPV6_ICMP], ==, 134);
    f = receive(rig, N1);
    g_assert_cmpint(f.b[IPV6_ICMP], ==, 134);
    expect_nothing(rig);
    rig_free(rig);

    rig = rig_of_two(mode, "ra=off");
    send_frame(rig, N0, router_solicitation(mac_a, V6_A));
    expect_nothing(rig);
    step(rig, 600);
    expect_nothing(rig);
    rig_free(rig);
}

/* Longer than the uplink takes, and not to be fragmented. */
static void test_too_big(const void *mode)
{
    Rig *rig = rig_of_two(mode, "mtu=1280,gateway=" GATEWAY);
    uint8_t big[14 + 1281] = { 0 };
    Frame f = udp(port_mac, mac_a, IP_A, EXT_IP, 1);

    stw_be_p(f.b + 16, 1281);
    f.b[20] = 0x40;             /* do not fragment */
    stw_be_p(f.b + 24, 0);
    stw_be_p(f.b + 24, checksum(f.b + 14, 20, 0));
    stw_be_p(f.b + 38, 1261);
    memcpy(big, f.b, f.len);
    send_bytes(rig, N0, big, sizeof(big));
    f = receive(rig, N0);
    g_assert_cmpint(f.b[34], ==, 3);
    g_assert_cmpint(f.b[35], ==, 4);
    g_assert_cmpint(lduw_be_p(f.b + 40), ==, 1280);
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "too-big"), ==, 1);
    rig_free(rig);
}

/* Whatever there is at random; the seed is in the log, see g_test_rand_int() */
static void test_random(const void *mode)
{
    Rig *rig = rig_of_two(mode, "gateway=" GATEWAY);

    for (int i = 0; i < 3000; i++) {
        int wire = g_test_rand_int_range(UP, N1 + 1);
        Frame f = i % 4 == 0 ? udp(port_mac, mac_a, IP_A, IP_B, i) :
                  i % 4 == 1 ? inbound(IP_A, i) :
                  i % 4 == 2 ? who_has(mac_a, IP_A, GATEWAY) :
                               router_solicitation(mac_a, V6_A);
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
    send_frame(rig, UP, inbound(IP_B, 1));
    expect(rig, N1, udp(mac_b, port_mac, EXT_IP, IP_B, 1));
    rig_free(rig);
}

/* --- the filter ---------------------------------------------------------- */

/* What answers @f's sender: addresses and ports the other way round. */
static Frame answer_to(Frame f, const uint8_t *dst, const uint8_t *src)
{
    Frame a = with_dst(with_src(f, src), dst);

    memcpy(a.b + 26, f.b + 30, 4);
    memcpy(a.b + 30, f.b + 26, 4);
    memcpy(a.b + 34, f.b + 36, 2);
    memcpy(a.b + 36, f.b + 34, 2);
    return a;
}

/* Two guests behind a filter, and a neighbour whom it knows. */
static Rig *filter_rig(const char *policy)
{
    g_autofree char *options = g_strdup_printf("policy=%s,gateway=" GATEWAY,
                                               policy);
    Rig *rig = rig_of_two("l3s", options);

    rule_add(rig->qts, "first", "'master': 'up0', 'action': 'accept'");
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, EXT_IP, 0));
    expect_resolution(rig, GATEWAY, ext_mac);
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 0));
    rule_del(rig->qts, "first");
    g_assert_cmpint(get_int(rig->qts, "0.flows"), ==, 0);
    return rig;
}

static void assert_refused(Rig *rig, const char *who, int64_t n)
{
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, who, "filter"), ==, n);
    g_assert_cmpint(get_drops(rig->qts, who, NULL), ==, n);
}

static void test_policy_accept(void)
{
    Rig *rig = filter_rig("accept");

    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, EXT_IP, 1));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, 1));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_B, 2));
    expect(rig, N1, udp(mac_b, port_mac, IP_A, IP_B, 2));
    send_frame(rig, UP, inbound(IP_A, 3));
    expect(rig, N0, udp(mac_a, port_mac, EXT_IP, IP_A, 3));
    assert_refused(rig, "0.slaves.0", 0);
    rig_free(rig);
}

static void test_policy_drop(void)
{
    Rig *rig = filter_rig("drop");

    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, EXT_IP, 1));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_B, 2));
    assert_refused(rig, "0.slaves.0", 2);
    send_frame(rig, UP, inbound(IP_B, 3));
    assert_refused(rig, "0.slaves.1", 1);

    /* neither ARP nor what is the port's own is asked about */
    send_frame(rig, N0, who_has(mac_a, IP_A, NOBODY));
    expect(rig, N0, arp_reply(mac_a, port_mac, NOBODY, IP_A));
    send_frame(rig, UP, who_has(ext_mac, EXT_IP, IP_B));
    expect(rig, UP, arp_reply(ext_mac, port_mac, IP_B, EXT_IP));
    rig_free(rig);
}

/* What a rule has accepted is a flow: its answers pass, and are counted. */
static void test_filter_out(void)
{
    Rig *rig = filter_rig("drop");
    Frame sent = udp(port_mac, mac_a, IP_A, EXT_IP, 1);
    Frame answer = answer_to(sent, port_mac, ext_mac);

    rule_add(rig->qts, "r1", "'master': 'up0', 'direction': 'out', "
             "'match': 'udp dst port 2000', 'action': 'accept'");
    send_frame(rig, UP, answer);
    assert_refused(rig, "0.slaves.0", 1);
    g_assert_cmpint(get_int(rig->qts, "0.rules.0.packets"), ==, 0);

    send_frame(rig, N0, sent);
    expect(rig, UP, with_dst(with_src(sent, port_mac), ext_mac));
    g_assert_cmpint(get_int(rig->qts, "0.flows"), ==, 1);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.flows"), ==, 1);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.1.flows"), ==, 0);
    g_assert_cmpint(get_int(rig->qts, "0.rules.0.packets"), ==, 1);
    g_assert_cmpint(get_int(rig->qts, "0.rules.0.bytes"), ==, sent.len);

    send_frame(rig, UP, answer);
    expect(rig, N0, with_dst(with_src(answer, port_mac), mac_a));
    g_assert_cmpint(get_int(rig->qts, "0.rules.0.packets"), ==, 2);
    g_assert_cmpint(get_int(rig->qts, "0.rules.0.bytes"), ==, 2 * sent.len);
    assert_refused(rig, "0.slaves.0", 1);

    /* it goes with its rule */
    rule_del(rig->qts, "r1");
    g_assert_cmpint(get_int(rig->qts, "0.flows"), ==, 0);
    send_frame(rig, UP, answer);
    send_frame(rig, N0, sent);
    assert_refused(rig, "0.slaves.0", 3);
    rig_free(rig);
}

static void test_filter_in(void)
{
    Rig *rig = filter_rig("drop");
    Frame f = inbound(IP_A, 1);

    rule_add(rig->qts, "r1", "'master': 'up0', 'direction': 'in', "
             "'match': 'udp dst port 2000 and src host " EXT_IP "', "
             "'action': 'accept'");
    send_frame(rig, UP, f);
    expect(rig, N0, udp(mac_a, port_mac, EXT_IP, IP_A, 1));
    send_frame(rig, N0, answer_to(f, port_mac, mac_a));
    expect(rig, UP, answer_to(f, ext_mac, port_mac));
    assert_refused(rig, "0.slaves.0", 0);
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, EXT_IP, 2));
    assert_refused(rig, "0.slaves.0", 1);
    rig_free(rig);
}

/* Out of one and into the other: it takes two rules, or one for both. */
static void test_filter_siblings(void)
{
    Rig *rig = filter_rig("drop");

    rule_add(rig->qts, "out", "'master': 'up0', 'slave': 'n0', "
             "'direction': 'out', 'action': 'accept'");
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_B, 1));
    assert_refused(rig, "0.slaves.0", 1);
    rule_add(rig->qts, "in", "'master': 'up0', 'slave': 'n1', "
             "'direction': 'in', 'action': 'accept'");
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_B, 2));
    expect(rig, N1, udp(mac_b, port_mac, IP_A, IP_B, 2));
    send_frame(rig, N1, udp(port_mac, mac_b, IP_B, EXT_IP, 3));
    assert_refused(rig, "0.slaves.1", 1);
    rule_del(rig->qts, "in");
    rule_del(rig->qts, "out");
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_B, 4));
    assert_refused(rig, "0.slaves.0", 2);

    rule_add(rig->qts, "both", "'master': 'up0', 'action': 'accept'");
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_B, 5));
    expect(rig, N1, udp(mac_b, port_mac, IP_A, IP_B, 5));
    expect_nothing(rig);
    rig_free(rig);
}

/* The lowest priority is asked first, whenever it was made. */
static void test_filter_order(void)
{
    Rig *rig = filter_rig("accept");
    Frame f = udp(port_mac, mac_a, IP_A, IP_B, 1);
    Frame got = udp(mac_b, port_mac, IP_A, IP_B, 1);

    rule_add(rig->qts, "drop", "'master': 'up0', 'priority': 20, "
             "'direction': 'out', 'action': 'drop'");
    send_frame(rig, N0, f);
    assert_refused(rig, "0.slaves.0", 1);
    rule_add(rig->qts, "later", "'master': 'up0', 'priority': 20, "
             "'direction': 'out', 'action': 'accept'");
    send_frame(rig, N0, f);
    assert_refused(rig, "0.slaves.0", 2);
    rule_add(rig->qts, "before", "'master': 'up0', 'priority': 19, "
             "'direction': 'out', 'match': 'udp', 'action': 'accept'");
    send_frame(rig, N0, f);
    expect(rig, N1, got);
    rule_del(rig->qts, "before");
    send_frame(rig, N0, f);
    assert_refused(rig, "0.slaves.0", 3);
    g_assert_cmpint(get_int(rig->qts, "0.rules.0.packets"), ==, 3);
    g_assert_cmpint(get_int(rig->qts, "0.rules.1.packets"), ==, 0);
    rule_del(rig->qts, "drop");
    send_frame(rig, N0, f);
    expect(rig, N1, got);
    expect_nothing(rig);
    rig_free(rig);
}

static void expect_prohibited(Rig *rig, int wire, Frame sent)
{
    Frame f = receive(rig, wire);

    g_assert_cmpint(f.b[23], ==, 1);            /* ICMP */
    g_assert_cmpint(f.b[34], ==, 3);            /* unreachable: */
    g_assert_cmpint(f.b[35], ==, 13);           /* prohibited */
    g_assert_cmpmem(f.b + 42, 32, sent.b + 14, 32);
}

static void test_filter_reject(void)
{
    Rig *rig = filter_rig("accept");
    Frame sent = udp(port_mac, mac_a, IP_A, EXT_IP, 1);
    Frame received = inbound(IP_B, 2);

    rule_add(rig->qts, "r1", "'master': 'up0', 'action': 'reject'");
    send_frame(rig, N0, sent);
    expect_prohibited(rig, N0, sent);
    send_frame(rig, UP, received);
    expect_prohibited(rig, UP, received);
    assert_refused(rig, "0.slaves.0", 1);
    assert_refused(rig, "0.slaves.1", 1);
    g_assert_cmpint(get_int(rig->qts, "0.rules.0.packets"), ==, 2);
    rig_free(rig);
}

/* A slave comes, goes and comes: what there is for it is in force. */
static void test_filter_life(void)
{
    Rig *rig = rig_prepare("-machine none");
    Frame f = inbound(IP_B, 1);

    rig_add_slave(rig, N0, "mac=" PORT_MAC ",mode=l3s,addr=" IP_A);
    rig_wire(rig, N1, "s1");
    rig_start(rig);
    for (int i = 0; i < 3; i++) {
        const char *who = i == 2 ? "0.slaves.0" : "0.slaves.1";
        g_autofree char *mac = g_strdup_printf("%s.mac", who);

        add(rig->qts, "n1", "'master': 'up0', 'netdev': 's1', "
            "'mode': 'l3s', 'mac': '" PORT_MAC "', 'addr': [ '" IP_B "' ]");
        if (!i) {
            rule_add(rig->qts, "r1", "'master': 'up0', 'slave': 'n1', "
                     "'direction': 'in', 'action': 'drop'");
        }
        send_frame(rig, N1, announcement(mac_b, IP_B));
        while (!has(rig->qts, mac)) {
            continue;
        }
        send_frame(rig, UP, f);
        while (get_drops(rig->qts, who, "filter") != 1) {
            continue;
        }
        g_assert_cmpint(get_int(rig->qts, "0.rules.0.packets"), ==, i + 1);
        del(rig->qts, "n1");
        if (i == 1) {
            /* and the port goes with its last one */
            del(rig->qts, "n0");
        }
    }
    g_assert_cmpint(recv(rig->fd[N1], f.b, 1, MSG_DONTWAIT), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
    qtest_quit(rig->qts);
    for (int i = 0; i < N_WIRES; i++) {
        if (rig->fd[i] >= 0) {
            close(rig->fd[i]);
        }
    }
    g_string_free(rig->args, true);
    g_free(rig);
}

/* Rules come and go while frames do. */
static void test_filter_load(void)
{
    Rig *rig = filter_rig("drop");

    for (int i = 0; i < 100; i++) {
        rule_add(rig->qts, "r1", "'master': 'up0', 'match': 'udp', "
                 "'action': 'accept'");
        for (int j = 0; j < 10; j++) {
            send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_B, j));
            send_frame(rig, N1, udp(port_mac, mac_b, IP_B, IP_A, j));
        }
        rule_del(rig->qts, "r1");
        discard_all(rig);
    }
    g_assert_cmpint(get_int(rig->qts, "0.flows"), ==, 0);
    rule_add(rig->qts, "r1", "'master': 'up0', 'action': 'accept'");
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, IP_B, 1));
    expect(rig, N1, udp(mac_b, port_mac, IP_A, IP_B, 1));
    rig_free(rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("ipvlan-l3/query/l2", test_query_l2);
    qtest_add_func("ipvlan-l3/query/l3", test_query_l3);
    qtest_add_func("ipvlan-l3/query/l3s", test_query_l3s);
    qtest_add_func("ipvlan-l3/query/options", test_query_options);
    qtest_add_func("ipvlan-l3/query/guard", test_query_guard);
    qtest_add_func("ipvlan-l3/info", test_info);
    qtest_add_func("ipvlan-l3/tap-mtu", test_tap_mtu);
    qtest_add_func("ipvlan-l3/tap-mtu/replaced", test_tap_mtu_replaced);
    qtest_add_func("ipvlan-l3/tap-mtu/small", test_tap_small_mtu);
    qtest_add_func("ipvlan-l3/tap-mtu/elsewhere", test_tap_elsewhere);

    for (int i = 0; i < ARRAY_SIZE(rule_errors); i++) {
        g_autofree char *path = g_strdup_printf("ipvlan-l3/rule/error/%s",
                                                rule_errors[i].name);

        qtest_add_data_func(path, &rule_errors[i], test_rule_error);
    }
    for (int i = 0; i < ARRAY_SIZE(cli_cases); i++) {
        g_autofree char *path =
            g_strdup_printf("ipvlan-l3/rule/command-line/%s",
                            cli_cases[i].name);

        qtest_add_data_func(path, GINT_TO_POINTER(i), test_rule_cli);
    }
    qtest_add_func("ipvlan-l3/rule/command-line/good",
                   test_rule_command_line);
    qtest_add_func("ipvlan-l3/rule/command-line/help", test_rule_help);
    qtest_add_func("ipvlan-l3/rule/defaults", test_rule_defaults);
    qtest_add_func("ipvlan-l3/rule/options", test_rule_options);
    qtest_add_func("ipvlan-l3/rule/order", test_rule_order);
    qtest_add_func("ipvlan-l3/rule/fixed", test_rule_fixed);
    qtest_add_func("ipvlan-l3/rule/waits", test_rule_waits);
    qtest_add_func("ipvlan-l3/rule/new-master", test_rule_new_master);

    qtest_add_func("ipvlan-l3/guard/event", test_guard_event);
    qtest_add_func("ipvlan-l3/guard/slaves", test_guard_slaves);
    qtest_add_func("ipvlan-l3/guard/strict", test_guard_strict);
    qtest_add_func("ipvlan-l3/guard/mac", test_guard_mac);
    qtest_add_func("ipvlan-l3/guard/trace", test_guard_trace);
    qtest_add_func("ipvlan-l3/guard/nic", test_guard_nic);

    add_frames_test("arp", test_arp_of_guests);
    add_frames_test("sibling", test_to_sibling);
    add_frames_test("private", test_private);
    add_frames_test("vepa", test_vepa);
    add_frames_test("neighbour", test_to_neighbour);
    add_frames_test("gateway", test_to_gateway);
    add_frames_test("no-neighbour", test_no_neighbour);
    add_frames_test("from-uplink", test_from_uplink);
    add_frames_test("default", test_default);
    add_frames_test("proxy-arp", test_proxy_arp);
    add_frames_test("not-routed", test_not_routed);
    add_frames_test("router-advertisement", test_router_advertisement);
    add_frames_test("too-big", test_too_big);
    add_frames_test("random", test_random);

    qtest_add_func("ipvlan-l3/policy/accept", test_policy_accept);
    qtest_add_func("ipvlan-l3/policy/drop", test_policy_drop);
    qtest_add_func("ipvlan-l3/filter/out", test_filter_out);
    qtest_add_func("ipvlan-l3/filter/in", test_filter_in);
    qtest_add_func("ipvlan-l3/filter/siblings", test_filter_siblings);
    qtest_add_func("ipvlan-l3/filter/order", test_filter_order);
    qtest_add_func("ipvlan-l3/filter/reject", test_filter_reject);
    qtest_add_func("ipvlan-l3/filter/life", test_filter_life);
    qtest_add_func("ipvlan-l3/filter/load", test_filter_load);

    return g_test_run();
}
