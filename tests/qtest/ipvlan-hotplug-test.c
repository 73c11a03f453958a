/*
 * QTest testcase for -netdev ipvlan: masters, slaves and NICs that come and go
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/un.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include "ipvlan-rig.h"

/* --- wires that are made at run time ------------------------------------- */

/* The netdev @id, a socket whose other end is the result. */
static int add_dgram(QTestState *qts, const char *id)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    pass_fd(qts, id, sv[1]);
    qtest_qmp_assert_success(qts, "{ 'execute': 'netdev_add', 'arguments': {"
                             "  'type': 'dgram', 'id': %s,"
                             "  'local': { 'type': 'fd', 'str': %s } } }",
                             id, id);
    return sv[0];
}

/* The netdev @id, of which @wire is the other end now. */
static void wire_add(Rig *rig, int wire, const char *id)
{
    if (rig->fd[wire] >= 0) {
        close(rig->fd[wire]);
    }
    rig->fd[wire] = add_dgram(rig->qts, id);
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

/* Where @ip is now, which a new wire is told before anything else. */
static void expect_announced(Rig *rig, const char *ip)
{
    expect(rig, UP, announcement(port_mac, ip));
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
        expect_announced(rig, IP_A);
        expect_announced(rig, IP_B);
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
    expect_announced(rig, IP_A);
    expect_announced(rig, IP_B);
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
        expect_announced(rig, IP_A);
        g_assert_true(nic_is_up(nic.dev));
        send_frame(rig, UP, inbound(IP_A, i));
        nic_expect(&nic, with_dst(inbound(IP_A, i), mac_a));
        nic_send(&nic, udp(ext_mac, mac_a, IP_A, EXT_IP, i));
        expect(rig, UP, udp(ext_mac, port_mac, IP_A, EXT_IP, i));
    }
    nic_stop(&nic);
    nic_rig_free(rig);
}

/* The kernel does not say anything of its own there. */
static void mute(const char *interface)
{
    g_autofree char *path = g_strdup_printf(
        "/proc/sys/net/ipv6/conf/%s/disable_ipv6", interface);
    int fd = open(path, O_WRONLY);

    if (fd >= 0) {
        g_assert_cmpint(write(fd, "1", 1), ==, 1);
        close(fd);
    }
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
    mute(ifr.ifr_name);
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
        expect_announced(rig, IP_A);
        expect_announced(rig, IP_B);
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
    expect_announced(rig, IP_A);
    expect_announced(rig, IP_B);
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
        expect_announced(rig, IP_A);
        g_assert_true(get_bool(rig->qts, "0.link-up"));
        g_assert_true(get_bool(rig->qts, "1.link-up"));
    }
    rig_free(rig);
}

/* --- frames that wait ---------------------------------------------------- */

#define BURST 64

/* What a counter is when it counts no more, with nothing left to be done. */
static int64_t still(Rig *rig, const char *counter)
{
    int64_t seen = -1, n;

    while ((n = get_int(rig->qts, counter)) != seen) {
        seen = n;
        for (int i = 0; i < 20; i++) {
            get_bool(rig->qts, "0.link-up");    /* the main loop comes round */
        }
    }
    return seen;
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
    g_assert_cmpint(still(rig, "0.slaves.0.stats.tx-packets"), <, BURST);
    del(rig->qts, "up0");
    settle(rig);
    wire_add(rig, UP, "up0");
    expect_announced(rig, IP_A);
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
    g_assert_cmpint(still(rig, "0.stats.rx-packets"), <, BURST);
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

/* --- a stream, whose other end comes and goes ---------------------------- */

static void assert_link(QTestState *qts, bool up)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (get_bool(qts, "0.link-up") != up) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    g_assert_cmpint(get_bool(qts, "0.slaves.0.link-up"), ==, up);
}

/* A frame on a stream has its length before it. */
static Frame stream_receive(int fd)
{
    uint32_t len;
    Frame f;

    g_assert_cmpint(recv(fd, &len, sizeof(len), MSG_WAITALL), ==, sizeof(len));
    f.len = ntohl(len);
    g_assert_cmpuint(f.len, <=, sizeof(f.b));
    g_assert_cmpint(recv(fd, f.b, f.len, MSG_WAITALL), ==, f.len);
    return f;
}

static int stream_accept(int server)
{
    struct timeval patience = { .tv_sec = TIMEOUT_US / G_USEC_PER_SEC };
    struct pollfd pfd = { .fd = server, .events = POLLIN };
    int fd;

    g_assert_cmpint(poll(&pfd, 1, TIMEOUT_US / 1000), ==, 1);
    fd = accept(server, NULL, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
                               sizeof(patience)), ==, 0);
    return fd;
}

static int stream_listen(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    return fd;
}

/*
 * Up when it is connected, and no frame is what is left of another one.  It is
 * told of addresses once somebody is there to hear it.
 */
static void test_stream(void)
{
    g_autofree char *dir = g_dir_make_tmp("ipvlan-hotplug-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    int server = stream_listen(path), fd;
    Rig *rig = rig_new("", "addr=" IP_A, NULL);
    uint32_t tag = 0;
    Frame f;

    del(rig->qts, "up0");
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'netdev_add',"
                             "  'arguments': { 'type': 'stream', 'id': 'up0',"
                             "  'addr': { 'type': 'unix', 'path': %s },"
                             "  'reconnect-ms': 1 } }", path);
    for (int i = 0; i < 3; i++) {
        fd = stream_accept(server);
        assert_link(rig->qts, true);
        if (i == 0) {
            Frame announced = announcement(port_mac, IP_A);
            g_autofree char *should_be = hex(&announced), *is = NULL;

            f = stream_receive(fd);
            is = hex(&f);
            g_assert_cmpstr(is, ==, should_be);
        }
        send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, tag));
        /* the first whole one after a break is it */
        f = stream_receive(fd);
        g_assert_cmpuint(udp_tag(&f), ==, tag++);
        do {
            for (int j = 0; j < BURST; j++) {
                send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, tag++));
            }
        } while (still(rig, "0.slaves.0.stats.tx-packets") ==
                 rig->sent[N0]);
        close(fd);
        settle(rig);
    }
    fd = stream_accept(server);
    assert_link(rig->qts, true);
    close(server);
    close(fd);
    assert_link(rig->qts, false);
    unlink(path);
    rmdir(dir);
    rig_free(rig);
}

/* --- again and again, in any order, under traffic ------------------------- */

#define HOT 2                   /* as nic_start() counts, behind n0 and n1 */
#define CYCLES "IPVLAN_HOTPLUG_CYCLES"

/*
 * "hot" is a slave of up0, on which n0 and n1 are, too, or of up1, which has no
 * other.  "deep" is a slave of hot's, and r1 a rule of up1's.
 */
typedef struct Hot {
    Rig *rig;
    uint32_t tag;               /* of the next frame */
    unsigned arrived;           /* frames, at siblings and outside */
    unsigned queues;
    bool up0;                   /* hot's master */
    bool owned;                 /* hot is there, and owns IP_C */
    int up1;                    /* our end, -1: not there */
    bool driven;
    Nic nic;                    /* where it is driven */
} Hot;

static void hot_add(Hot *h, bool up0)
{
    g_autofree char *options = g_strdup_printf(
        "'master': '%s', 'addr': [ '" IP_C "' ], 'rx-queue': 4, "
        "'queues': %u%s", up0 ? "up0" : "up1", h->queues,
        up0 ? "" : ", 'mode': 'l3s', 'ra': false");

    add(h->rig->qts, "hot", options);
    h->up0 = up0;
    h->owned = true;
}

static void hot_add_on_up0(Hot *h)
{
    hot_add(h, true);
}

static void hot_add_on_up1(Hot *h)
{
    hot_add(h, false);
}

static void hot_del(Hot *h)
{
    del(h->rig->qts, "hot");
    h->owned = false;
}

/* None of it is made, and what is there does not mind. */
static void hot_add_fails(Hot *h)
{
    QTestState *qts = h->rig->qts;

    add_fails(qts, "bad", "'master': 'up0', 'addr': [ '" IP_A "' ]",
              "addr=" IP_A ": slave 'n0' owns it");
    add_fails(qts, "bad", "'master': 'up0', 'mode': 'l3'",
              "mode=l3 contradicts mode=l2-macnat of the slaves that 'up0' "
              "has");
    add_fails(qts, "bad", "'master': 'up1', 'queues': 257",
              "queues=257: it has to be between 1 and 256");
    add_fails(qts, "n0", "'master': 'up0'", "Duplicate ID 'n0'");
}

static void plug(Hot *h)
{
    g_autofree char *slot = g_strdup_printf("%d", NIC_SLOT + HOT);

    qtest_qmp_device_add(h->rig->qts, "virtio-net-pci", "nic2",
                         "{ 'netdev': 'hot', 'addr': %s, 'romfile': '',"
                         "  'mac': '52:54:00:00:00:0c', 'mq': %i,"
                         "  'vectors': %u }", slot, h->queues > 1,
                         2 * h->queues + 2);
}

/*
 * Neither on a netdev that is not there, nor on one that is in use.  QEMU frees
 * then what it has of devices that went before.
 */
static void plug_fails(Hot *h)
{
    static const char *const netdevs[] = { "no", "n0", "up0", "up0/ipvlan" };
    QDict *rsp = qtest_qmp(h->rig->qts, "{ 'execute': 'device_add',"
                           "  'arguments': { 'driver': 'virtio-net-pci',"
                           "  'netdev': %s } }",
                           netdevs[h->tag % ARRAY_SIZE(netdevs)]);

    g_assert(qdict_haskey(rsp, "error"));
    qobject_unref(rsp);
}

/* The guest's driver does not know, and its queues are in use. */
static void unplug(Hot *h)
{
    qpci_unplug_acpi_device_test(h->rig->qts, "nic2", NIC_SLOT + HOT);
    if (h->driven) {
        h->driven = false;
        nic_stop(&h->nic);
    }
}

/*
 * A driver, which shouts where others hear it.  It does not look at what has
 * waited for it.
 */
static void drive(Hot *h)
{
    Frame f = udp(broadcast, mac_c, IP_C, "255.255.255.255", h->tag++);

    h->nic = nic_start(h->rig, HOT);
    h->driven = true;
    nic_send(&h->nic, f);
    if (h->owned && h->up0) {
        expect(h->rig, UP, with_src(f, port_mac));
        expect(h->rig, N0, f);
        expect(h->rig, N1, f);
        h->arrived += 3;
    }
}

static void up1_del(Hot *h)
{
    del(h->rig->qts, "up1");
    close(h->up1);
    h->up1 = -1;
}

static void up1_add(Hot *h)
{
    h->up1 = add_dgram(h->rig->qts, "up1");
}

static void deep_add(Hot *h)
{
    add(h->rig->qts, "deep", "'master': 'hot', 'default': true");
}

static void deep_del(Hot *h)
{
    del(h->rig->qts, "deep");
}

static void rule_add(Hot *h)
{
    qtest_qmp_assert_success(h->rig->qts, "{ 'execute': 'object-add',"
                             "  'arguments': { 'qom-type': 'ipvlan-rule',"
                             "  'id': 'r1', 'master': 'up1',"
                             "  'match': 'udp', 'action': 'accept' } }");
}

static void rule_del(Hot *h)
{
    qtest_qmp_assert_success(h->rig->qts, "{ 'execute': 'object-del',"
                             "  'arguments': { 'id': 'r1' } }");
}

static void hot_down(Hot *h)
{
    set_link(h->rig->qts, "hot", false);
}

static void hot_up(Hot *h)
{
    set_link(h->rig->qts, "hot", true);
}

static const struct {
    char op;
    void (*run)(Hot *h);
} steps[] = {
    { 'a', hot_add_on_up0 }, { 'A', hot_add_on_up1 }, { 'd', hot_del },
    { 'f', hot_add_fails },
    { 'p', plug }, { 'P', plug_fails }, { 'u', unplug }, { 'g', drive },
    { 'x', up1_del }, { 'y', up1_add },
    { 's', deep_add }, { 'S', deep_del },
    { 'r', rule_add }, { 'R', rule_del },
    { 'l', hot_down }, { 'L', hot_up },
};

/* In every order; at the end of each all is gone, and up1 is there. */
static const char *const orders[] = {
    "ad", "apud", "apdu", "apgud", "apgdu", "apdgu", "apupud", "apgupgud",
    "apdaupud", "apgdaupgdu",   /* another hot, while the NIC has the first */
    "fafpfgfdfuf", "PaPpPuPdP",
    "aplLud", "apglLdu", "apldu",
    "asSpud", "asdSapud",
    "asdaSpgud",                /* deep finds its master again */
    "Apud", "Apdu", "Apgud", "Apgdu",
    "Axyd", "Axdy", "xyApud", "Apxyud", "Apgxyud", "Apgxudy", "Apgxduy",
    "Apxgyud", "AsxySpud", "AsxSyd", "AsdxyASpud",
    "rAdR", "rxRyAd", "AprdRu", "rApgudR", "AprgRud", "ArpgxyudR",
    "ArpxgRyud", "AxrypgRdu", "ArpgdxyaudR",
};

/*
 * All that the siblings and the outside send arrives, once and in order; and
 * more frames come to hot, and to up1, than there is room for.
 */
static void traffic(Hot *h)
{
    Rig *rig = h->rig;
    Frame all = with_dst(inbound(EXT_IP, h->tag), broadcast);
    Frame lost = inbound(IP_C, h->tag);

    for (int i = 0; i < 3; i++) {
        send_frame(rig, UP, lost);
        if (h->up1 >= 0) {
            send(h->up1, lost.b, lost.len, MSG_DONTWAIT);
            send(h->up1, all.b, all.len, MSG_DONTWAIT);
        }
    }
    send_frame(rig, UP, all);
    expect(rig, N0, all);
    expect(rig, N1, all);
    assert_connected(rig, h->tag);
    if (h->driven) {
        nic_push(&h->nic, 0, udp(port_mac, mac_c, IP_C, EXT_IP, h->tag));
    }
    h->tag += 4;
    h->arrived += 6;
}

static void run_order(Hot *h, const char *order)
{
    for (const char *op = order; *op; op++) {
        int i = 0;

        while (steps[i].op != *op) {
            g_assert_cmpint(++i, <, ARRAY_SIZE(steps));
        }
        steps[i].run(h);
        traffic(h);
    }
}

/* What QEMU has: memory of its own, without the guest's; files; names. */
typedef struct Holding {
    uint64_t kib;
    unsigned fds;
    char *clients;
    char *devices;
} Holding;

static Holding hold(QTestState *qts)
{
    static const char anon[] = "RssAnon:";
    g_autofree char *path = g_strdup_printf("/proc/%d/status",
                                            qtest_pid(qts));
    g_autofree char *fds = g_strdup_printf("/proc/%d/fd", qtest_pid(qts));
    g_autofree char *text = NULL;
    GDir *dir = g_dir_open(fds, 0, NULL);
    Holding h = {
        .clients = qtest_hmp(qts, "info network"),
        .devices = qtest_hmp(qts, "info qom-tree"),
    };

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    h.kib = g_ascii_strtoull(strstr(text, anon) + strlen(anon), NULL, 10);
    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        h.fds++;
    }
    g_dir_close(dir);
    return h;
}

static void assert_same_holding(const Holding *before, const Holding *now)
{
    g_assert_cmpstr(before->clients, ==, now->clients);
    g_assert_cmpstr(before->devices, ==, now->devices);
    g_assert_cmpuint(before->fds, ==, now->fds);
}

static void let_go(Holding *h)
{
    g_free(h->clients);
    g_free(h->devices);
}

/*
 * Each order once with one queue and once with two.  After the first half, all
 * that is kept for the next time has been made.
 */
static void test_cycles(void)
{
    const char *wanted = getenv(CYCLES);
    unsigned n = wanted ? atoi(wanted) : 2 * ARRAY_SIZE(orders);
    Rig *rig = rig_prepare("-machine pc,memory-backend=ram "
                           "-object memory-backend-memfd,id=ram,size=128M");
    Hot h = { .rig = rig };
    gint64 start = g_get_monotonic_time();
    Holding before, half, end;

    rig_add_slave(rig, N0, "mac=" PORT_MAC ",addr=" IP_A);
    rig_add_slave(rig, N1, "addr=" IP_B);
    nic_rig_start(rig);
    introduce(rig, N0, mac_a, IP_A);
    introduce(rig, N1, mac_b, IP_B);
    up1_add(&h);
    traffic(&h);
    before = hold(rig->qts);
    for (unsigned i = 0; i < n; i++) {
        if (i == n / 2) {
            half = hold(rig->qts);
        }
        h.queues = 1 + i / ARRAY_SIZE(orders) % 2;
        run_order(&h, orders[i % ARRAY_SIZE(orders)]);
        plug_fails(&h);
        g_assert_false(has(rig->qts, "1.master"));
        g_assert_false(has(rig->qts, "0.slaves.2.id"));
    }
    end = hold(rig->qts);
    g_test_message("%u cycles in %" PRId64 " s, %u frames arrived and none "
                   "was lost; memory: %" PRIu64 " KiB at first, %" PRIu64
                   " KiB after half of them, %" PRIu64 " KiB at the end; "
                   "%u files open", n,
                   (g_get_monotonic_time() - start) / G_USEC_PER_SEC,
                   h.arrived, before.kib, half.kib, end.kib, end.fds);
    assert_same_holding(&before, &half);
    assert_same_holding(&before, &end);
    g_assert_cmpuint(end.kib, <, half.kib + half.kib / 10);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, 0);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.1", NULL), ==, 0);
    let_go(&before);
    let_go(&half);
    let_go(&end);
    close(h.up1);
    nic_rig_free(rig);
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
    qtest_add_func("ipvlan-hotplug/stream", test_stream);
    qtest_add_func("ipvlan-hotplug/cycles", test_cycles);
    return g_test_run();
}
