/*
 * QTest testcase for -netdev ipvlan: masters, slaves and NICs that come and go
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include "ipvlan-rig.h"

/* --- wires that are made at run time ------------------------------------- */

/* The netdev @id, of which @wire is the other end now. */
static void wire_add(Rig *rig, int wire, const char *id)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    if (rig->fd[wire] >= 0) {
        close(rig->fd[wire]);
    }
    rig->fd[wire] = sv[0];
    pass_fd(rig->qts, id, sv[1]);
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'netdev_add',"
                             "  'arguments': { 'type': 'dgram', 'id': %s,"
                             "  'local': { 'type': 'fd', 'str': %s } } }",
                             id, id);
}

/* --- another master ------------------------------------------------------ */

static const char slave_a[] = "0.slaves.0.addresses.0.address";
static const char slave_b[] = "0.slaves.1.addresses.0.address";

static void assert_up(Rig *rig, bool up)
{
    g_assert_cmpint(get_bool(rig->qts, "0.link-up"), ==, up);
    g_assert_cmpint(get_bool(rig->qts, "0.slaves.0.link-up"), ==, up);
    g_assert_cmpint(get_bool(rig->qts, "0.slaves.1.link-up"), ==, up);
}

/* Both slaves are reached from outside, and from each other, and get out. */
static void assert_connected(Rig *rig, uint32_t tag)
{
    send_frame(rig, UP, inbound(IP_A, tag));
    expect(rig, N0, with_dst(inbound(IP_A, tag), mac_a));
    send_frame(rig, UP, inbound(IP_B, tag + 1));
    expect(rig, N1, with_dst(inbound(IP_B, tag + 1), mac_b));
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, tag + 2));
    expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, tag + 2));
    send_frame(rig, N1, udp(mac_a, mac_b, IP_B, IP_A, tag + 3));
    expect(rig, N0, udp(mac_a, mac_b, IP_B, IP_A, tag + 3));
}

static Rig *rig_of_two(void)
{
    Rig *rig = rig_new("", "", "addr=" IP_B, NULL);

    introduce(rig, N0, mac_a, IP_A);
    introduce(rig, N1, mac_b, IP_B);
    return rig;
}

/* What was learned stays, and what is sent meanwhile is dropped. */
static void test_replaced(void)
{
    Rig *rig = rig_of_two();
    g_autofree char *mac = get_str(rig->qts, "0.mac");

    assert_connected(rig, 0);
    for (int i = 1; i < 4; i++) {
        int64_t dropped = get_drops(rig->qts, "0.slaves.0", "link-down");

        del(rig->qts, "up0");
        assert_up(rig, false);
        send_frame(rig, N0, udp(mac_b, mac_a, IP_A, IP_B, 1));
        send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, 2));
        settle(rig);
        g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "link-down"), ==,
                        dropped + 2);
        wire_add(rig, UP, "up0");
        assert_up(rig, true);
        assert_str(rig->qts, "0.mac", mac);
        assert_str(rig->qts, slave_a, IP_A);
        assert_str(rig->qts, slave_b, IP_B);
        assert_connected(rig, 10 * i);
        expect_nothing(rig);
    }
    rig_free(rig);
}

/* Taken down on one side or the other, it stays down until it is set up. */
static void test_replaced_set_link(void)
{
    Rig *rig = rig_of_two();

    set_link(rig->qts, "n0", false);
    set_link(rig->qts, "up0", false);
    assert_up(rig, false);
    del(rig->qts, "up0");
    wire_add(rig, UP, "up0");
    g_assert_true(get_bool(rig->qts, "0.link-up"));
    g_assert_false(get_bool(rig->qts, "0.slaves.0.link-up"));
    g_assert_true(get_bool(rig->qts, "0.slaves.1.link-up"));
    set_link(rig->qts, "n0", true);
    assert_connected(rig, 1);
    rig_free(rig);
}

static void test_replaced_nic(void)
{
    Rig *rig = rig_of_nic("");
    Nic nic = nic_start(rig, 0);

    nic_send(&nic, announcement(mac_a, IP_A));
    expect(rig, UP, announcement(port_mac, IP_A));
    for (int i = 0; i < 3; i++) {
        del(rig->qts, "up0");
        g_assert_false(nic_is_up(nic.dev));
        nic_send(&nic, udp(ext_mac, mac_a, IP_A, EXT_IP, 2));
        wire_add(rig, UP, "up0");
        g_assert_true(nic_is_up(nic.dev));
        send_frame(rig, UP, inbound(IP_A, i));
        nic_expect(&nic, with_dst(inbound(IP_A, i), mac_a));
        nic_send(&nic, udp(ext_mac, mac_a, IP_A, EXT_IP, i));
        expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, i));
    }
    nic_stop(&nic);
    nic_rig_free(rig);
}

/*
 * A tap with two queues, whose other end, an interface, is @wire now.  False:
 * there are no rights for that.
 */
static bool tap_add(Rig *rig, int wire, const char *id)
{
    struct ifreq ifr = {
        .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE,
    };
    struct sockaddr_ll addr = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP),
    };
    int queues[] = { open("/dev/net/tun", O_RDWR | O_CLOEXEC),
                     open("/dev/net/tun", O_RDWR | O_CLOEXEC) };
    int sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    int up;

    if (sock < 0 || ioctl(queues[0], TUNSETIFF, &ifr) < 0 ||
        ioctl(queues[1], TUNSETIFF, &ifr) < 0) {
        close(queues[0]);
        close(queues[1]);
        close(sock);
        return false;
    }
    addr.sll_ifindex = if_nametoindex(ifr.ifr_name);
    up = socket(AF_INET, SOCK_DGRAM, 0);
    ifr.ifr_flags = IFF_UP;
    g_assert_cmpint(ioctl(up, SIOCSIFFLAGS, &ifr), ==, 0);
    close(up);
    g_assert_cmpint(bind(sock, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    close(rig->fd[wire]);
    rig->fd[wire] = sock;
    pass_fd(rig->qts, "queue0", queues[0]);
    pass_fd(rig->qts, "queue1", queues[1]);
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'netdev_add',"
                             "  'arguments': { 'type': 'tap', 'id': %s,"
                             "  'fds': 'queue0:queue1', 'vhost': false } }",
                             id);
    return true;
}

/* Another number of queues, headers or none, and offloads or none. */
static void test_replaced_kind(void)
{
    Rig *rig = rig_of_two();

    for (int i = 0; i < 2; i++) {
        del(rig->qts, "up0");
        if (!tap_add(rig, UP, "up0")) {
            g_test_skip("no rights to make a multiqueue tap");
            break;
        }
        assert_connected(rig, 10 * i);
        for (int j = 0; j < 16; j++) {
            g_autofree char *ip = g_strdup_printf("10.0.0.%d", 50 + j);

            send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, ip, j));
            expect(rig, UP, udp(ext_mac, port_mac, IP_A, ip, j));
        }

        del(rig->qts, "up0");
        qtest_qmp_assert_success(rig->qts, "{ 'execute': 'netdev_add',"
                                 "  'arguments': { 'type': 'user',"
                                 "  'id': 'up0' } }");
        assert_up(rig, true);

        del(rig->qts, "up0");
        wire_add(rig, UP, "up0");
        assert_connected(rig, 100 + 10 * i);
    }
    rig_free(rig);
}

/* What is known of who is on the wire is of the old one. */
static void test_replaced_l3(void)
{
    static const uint8_t other_mac[MAC_LEN] = { 0x52, 0x54, 0, 0, 0xee, 0xef };
    Rig *rig = rig_new("mode=l3,ra=off", "addr=" IP_A, "addr=" IP_B, NULL);
    Frame question = arp(ARP_REQUEST, broadcast, port_mac, IP_A, no_mac,
                         EXT_IP);

    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, EXT_IP, 1));
    expect(rig, UP, question);
    send_frame(rig, UP, arp(ARP_REPLY, port_mac, ext_mac, EXT_IP, port_mac,
                            IP_A));
    expect(rig, UP, with_dst(udp(port_mac, port_mac, IP_A, EXT_IP, 1),
                             ext_mac));
    g_assert_true(has(rig->qts, "0.neighbours.0.address"));
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, NOBODY, 2));
    expect(rig, UP, arp(ARP_REQUEST, broadcast, port_mac, IP_A, no_mac,
                        NOBODY));

    del(rig->qts, "up0");
    g_assert_false(has(rig->qts, "0.neighbours.0.address"));
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "link-down"), ==, 1);
    wire_add(rig, UP, "up0");
    send_frame(rig, N0, udp(port_mac, mac_a, IP_A, EXT_IP, 3));
    expect(rig, UP, question);
    send_frame(rig, UP, arp(ARP_REPLY, port_mac, other_mac, EXT_IP, port_mac,
                            IP_A));
    expect(rig, UP, with_dst(udp(port_mac, port_mac, IP_A, EXT_IP, 3),
                             other_mac));
    expect_nothing(rig);
    rig_free(rig);
}

/* --- one that it cannot be ----------------------------------------------- */

typedef struct Log {
    char *path;
    char *redirect;             /* for QEMU's command line */
} Log;

static Log log_open(void)
{
    Log log;
    int fd = g_file_open_tmp("ipvlan-hotplug-XXXXXX", &log.path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    log.redirect = g_strdup_printf("2>%s", log.path);
    return log;
}

/* QEMU has said this one sentence and nothing else, and has ended. */
static void log_expect(Log *log, const char *sentence)
{
    g_autofree char *line = g_strdup_printf("warning: %s\n", sentence);
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(log->path, &text, NULL, NULL));
    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, line));
    g_assert_null(strchr(strchr(text, '\n') + 1, '\n'));
    unlink(log->path);
    g_free(log->path);
    g_free(log->redirect);
}

/*
 * The new netdev is made all the same, and the slaves wait on for a good one.
 * None can be made on top of it that would be their sibling.
 */
static void assert_waits(QTestState *qts, const char *first)
{
    g_autofree char *desc = g_strdup_printf(
        "master=up0: it cannot be that of '%s', which waits for one of this "
        "name", first);

    g_assert_false(get_bool(qts, "0.link-up"));
    add_fails(qts, "late", "'master': 'up0'", desc);
    del(qts, "up0");
    add_hubport(qts, "up0", 1);
    g_assert_true(get_bool(qts, "0.link-up"));
    add(qts, "late", "'master': 'up0'");
}

static void test_loop(void)
{
    Log log = log_open();
    QTestState *qts = qtest_initf("-nodefaults -machine none %s",
                                  log.redirect);

    add_hubport(qts, "up0", 1);
    add(qts, "n0", "'master': 'up0'");
    add(qts, "n1", "'master': 'up0'");
    del(qts, "up0");
    add(qts, "up0", "'master': 'n1'");
    assert_waits(qts, "n0");
    qtest_quit(qts);
    log_expect(&log, "master=up0: 'n0', whose master of that name was "
               "deleted, and the new one are connected already, and frames "
               "would go in circles");
}

static void test_deep(void)
{
    Log log = log_open();
    QTestState *qts = qtest_initf("-nodefaults -machine none %s",
                                  log.redirect);

    add_hubport(qts, "up0", 1);
    add_hubport(qts, "base", 2);
    add(qts, "n0", "'master': 'up0'");
    for (int i = 1; i < 8; i++) {
        g_autofree char *id = g_strdup_printf("n%d", i);
        g_autofree char *master = g_strdup_printf("'master': 'n%d'", i - 1);

        add(qts, id, master);
    }
    del(qts, "up0");
    add(qts, "up0", "'master': 'base'");
    assert_waits(qts, "n0");
    qtest_quit(qts);
    log_expect(&log, "master=up0: 'n0', whose master of that name was "
               "deleted, and the new one would be nested deeper than 8 "
               "links");
}

static void test_in_use(void)
{
    Log log = log_open();
    QTestState *qts = qtest_initf("-nodefaults -machine none %s",
                                  log.redirect);

    add_hubport(qts, "up0", 1);
    add_hubport(qts, "base", 2);
    add_hubport(qts, "s0", 3);
    add(qts, "n0", "'master': 'up0'");
    del(qts, "up0");
    add(qts, "up0", "'master': 'base', 'netdev': 's0'");
    g_assert_false(get_bool(qts, "0.link-up"));
    add_fails(qts, "late", "'master': 'up0'",
              "master=up0: it is in use by hub 's0'");
    del(qts, "up0");
    add_hubport(qts, "up0", 1);
    g_assert_true(get_bool(qts, "0.link-up"));
    qtest_quit(qts);
    log_expect(&log, "master=up0: 'n0', whose master of that name was "
               "deleted, and the new one cannot be joined, because that is "
               "in use");
}

/* A slave that is a master, in the middle of others. */
static void test_nested(void)
{
    Rig *rig = rig_prepare("-machine none");

    rig_wire(rig, N0, "s0");
    g_string_append(rig->args,
                    " -netdev ipvlan,id=middle,master=up0,mac=" PORT_MAC
                    " -netdev ipvlan,id=n0,master=middle,netdev=s0,"
                    "mac=02:00:00:00:00:02,addr=" IP_A);
    rig_start(rig);
    for (int i = 0; i < 3; i++) {
        send_frame(rig, N0, announcement(mac_a, IP_A));
        expect(rig, UP, announcement(port_mac, IP_A));
        send_frame(rig, UP, inbound(IP_A, i));
        expect(rig, N0, with_dst(inbound(IP_A, i), mac_a));

        del(rig->qts, i ? "middle" : "up0");
        g_assert_false(get_bool(rig->qts, i ? "0.link-up" : "1.link-up"));
        if (i) {
            add(rig->qts, "middle", "'master': 'up0', 'mac': '" PORT_MAC "'");
        } else {
            wire_add(rig, UP, "up0");
        }
        g_assert_true(get_bool(rig->qts, "0.link-up"));
        g_assert_true(get_bool(rig->qts, "1.link-up"));
    }
    rig_free(rig);
}

/* --- frames that wait ---------------------------------------------------- */

#define BURST 64

/* Until QEMU stops taking what is sent on @wire, and @slave counts no more. */
static void wait_for_halt(Rig *rig, const char *counter)
{
    int64_t seen = 0, n;

    while ((n = get_int(rig->qts, counter)) != seen || !n) {
        seen = n;
        for (int i = 0; i < 20; i++) {
            get_bool(rig->qts, "0.link-up");    /* the main loop comes round */
        }
    }
    g_assert_cmpint(seen, <, BURST);
}

/* A guest whose frames wait for the master is let go, and goes on. */
static void test_busy_replaced(void)
{
    Rig *rig = rig_prepare("-machine none");
    Frame f;

    rig_make_small(rig, UP);
    rig_add_slave(rig, N0, "mac=" PORT_MAC ",addr=" IP_A);
    rig_start(rig);
    for (int i = 0; i < BURST; i++) {
        send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, i));
    }
    wait_for_halt(rig, "0.slaves.0.stats.tx-packets");
    del(rig->qts, "up0");
    settle(rig);
    wire_add(rig, UP, "up0");
    for (int i = BURST; i < 2 * BURST; i++) {
        send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, i));
        f = receive(rig, UP);
        g_assert_cmpuint(udp_tag(&f), ==, i);
    }
    rig_free(rig);
}

/* The master's frames that wait for its only slave do not stop it for good. */
static void test_busy_last_slave(void)
{
    Rig *rig = rig_prepare("-machine none");

    rig_add_slave(rig, N0, "mac=" PORT_MAC ",addr=" IP_A ",rx-queue=1");
    rig_make_small(rig, N0);
    rig_start(rig);
    for (int i = 0; i < BURST; i++) {
        send_frame(rig, UP, inbound(IP_A, i));
    }
    wait_for_halt(rig, "0.stats.rx-packets");
    del(rig->qts, "n0");
    del(rig->qts, "s0");
    wire_add(rig, N0, "s0");
    add(rig->qts, "n0", "'master': 'up0', 'netdev': 's0', "
        "'mac': '" PORT_MAC "', 'addr': [ '" IP_A "' ]");
    send_frame(rig, UP, inbound(IP_A, BURST));
    for (;;) {
        Frame f = receive(rig, N0);

        if (udp_tag(&f) == BURST) {
            break;
        }
    }
    rig_free(rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("ipvlan-hotplug/master/replaced", test_replaced);
    qtest_add_func("ipvlan-hotplug/master/set-link", test_replaced_set_link);
    qtest_add_func("ipvlan-hotplug/master/nic", test_replaced_nic);
    qtest_add_func("ipvlan-hotplug/master/kind", test_replaced_kind);
    qtest_add_func("ipvlan-hotplug/master/l3", test_replaced_l3);
    qtest_add_func("ipvlan-hotplug/master/nested", test_nested);
    qtest_add_func("ipvlan-hotplug/master/loop", test_loop);
    qtest_add_func("ipvlan-hotplug/master/deep", test_deep);
    qtest_add_func("ipvlan-hotplug/master/in-use", test_in_use);
    qtest_add_func("ipvlan-hotplug/busy/replaced", test_busy_replaced);
    qtest_add_func("ipvlan-hotplug/busy/last-slave", test_busy_last_slave);
    return g_test_run();
}
