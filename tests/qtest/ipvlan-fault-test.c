/*
 * QTest testcase for -netdev ipvlan: faults of guests, uplinks and clocks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/un.h>
#include <glib/gstdio.h>
#include "qemu/bswap.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "ipvlan-rig.h"

/* --- clocks that jump ---------------------------------------------------- */

#define YEARS (10 * 365 * 24 * 3600 * INT64_C(1000000000))
#define SHAPED 60               /* frames: some 30 of them have to wait */
#define STALL_MAX_US (5 * G_USEC_PER_SEC)

static void job_run(QTestState *qts, const char *command, QObject *arguments)
{
    QDict *args = qobject_to(QDict, arguments), *event, *rsp, *job;
    const char *status;
    bool over;

    qdict_put_str(args, "job-id", "job");
    qtest_qmp_assert_success(qts, "{ 'execute': %s, 'arguments': %p }",
                             command, args);
    do {
        event = qtest_qmp_eventwait_ref(qts, "JOB_STATUS_CHANGE");
        status = qdict_get_str(qdict_get_qdict(event, "data"), "status");
        over = g_str_equal(status, "concluded");
        qobject_unref(event);
    } while (!over);
    rsp = qtest_qmp(qts, "{ 'execute': 'query-jobs' }");
    job = qobject_to(QDict, qlist_peek(qdict_get_qlist(rsp, "return")));
    g_assert_cmpstr(qdict_get_try_str(job, "error"), ==, NULL);
    qobject_unref(rsp);
    qtest_qmp_assert_success(qts, "{ 'execute': 'job-dismiss',"
                             "  'arguments': { 'id': 'job' } }");
}

static void disk_open(QTestState *qts, const char *path, bool create)
{
    if (create) {
        job_run(qts, "blockdev-create", qobject_from_jsonf_nofail(
            "{ 'options': { 'driver': 'file', 'filename': %s, 'size': 0 } }",
            path));
    }
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-add', 'arguments': {"
                             "  'driver': 'file', 'node-name': 'file',"
                             "  'filename': %s } }", path);
    if (create) {
        job_run(qts, "blockdev-create", qobject_from_jsonf_nofail(
            "{ 'options': { 'driver': 'qcow2', 'file': 'file',"
            "               'size': 1048576 } }"));
    }
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-add', 'arguments': {"
                             "  'driver': 'qcow2', 'node-name': 'disk',"
                             "  'file': 'file' } }");
}

static void snapshot(QTestState *qts, const char *command, const char *tag)
{
    job_run(qts, command, qobject_from_jsonf_nofail(
        "{ 'tag': %s, 'vmstate': 'disk', 'devices': [ 'disk' ] }", tag));
}

/* The machine's clock in the first snapshot on the disk at @path. */
static void move_clock(const char *path, int64_t ns)
{
    static const char section[] = "\5timer";
    g_autofree char *b = NULL;
    gsize len;
    char *at;

    g_assert_true(g_file_get_contents(path, &b, &len, NULL));
    at = memmem(b, len, section, sizeof(section) - 1);
    g_assert_nonnull(at);
    /* behind its name, its number, its version, and two more fields */
    at += sizeof(section) - 1 + 4 + 4 + 8 + 8;
    stq_be_p(at, ldq_be_p(at) + ns);
    g_assert_true(g_file_set_contents(path, b, len, NULL));
}

/* Slaves that are shaped, guarded, and learn; with a clock that goes. */
static Rig *rig_of_clock(void)
{
    Rig *rig = rig_prepare("-machine none -accel tcg");

    rig_add_slave(rig, N0, "mac=" PORT_MAC ",addr=" IP_A
                  ",tx-bps=20000,burst=1514");
    rig_add_slave(rig, N1, "addr=" IP_B);
    rig_add_slave(rig, N2, "");
    rig_start(rig);
    return rig;
}

/* What @n1 must not say is told again, although it was a moment ago. */
static void expect_told(Rig *rig)
{
    gint64 end = g_get_monotonic_time() + STALL_MAX_US;
    QDict *event;

    do {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        send_frame(rig, N1, udp(ext_mac, mac_b, NOBODY, EXT_IP, 1));
        g_assert_true(get_bool(rig->qts, "0.link-up"));
        event = qtest_qmp_event_ref(rig->qts, "IPVLAN_GUARD");
    } while (!event);
    qobject_unref(event);
}

/* The next one that is no announcement. */
static uint32_t receive_tag(Rig *rig, int wire)
{
    Frame f;

    do {
        f = receive(rig, wire);
    } while (lduw_be_p(f.b + 12) != 0x0800);
    return udp_tag(&f);
}

/* Frames wait for tokens while the clock jumps to where it is in @tag. */
static void jump(Rig *rig, const char *tag)
{
    gint64 start;

    for (int i = 0; i < SHAPED; i++) {
        send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, i));
    }
    expect_told(rig);
    for (uint32_t i = 0; i < SHAPED / 2; i++) {
        g_assert_cmpuint(receive_tag(rig, UP), ==, i);
    }
    snapshot(rig->qts, "snapshot-load", tag);
    start = g_get_monotonic_time();
    /* net.c purges the one that waits in its queue when a machine stops */
    for (uint32_t i = SHAPED / 2, lost = 0; i < SHAPED; i++) {
        uint32_t got = receive_tag(rig, UP);

        lost += got - i;
        i = got;
        g_assert_cmpuint(lost, <=, 1);
    }
    expect_told(rig);
    g_test_message("%s: went on within %d ms", tag,
                   (int)((g_get_monotonic_time() - start) / 1000));
    g_assert_cmpint(g_get_monotonic_time() - start, <, STALL_MAX_US);
    assert_str(rig->qts, "0.slaves.2.addresses.0.address", IP_C);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.2.addresses.0.age"), <, 60);
}

/* With a QEMU that is to report leaks: of QEMU's snapshots there are some. */
static char *ignore_leaks(void)
{
    char *options = g_strdup(g_getenv("ASAN_OPTIONS"));
    g_autofree char *all = g_strdup_printf("%s:detect_leaks=0",
                                           options ?: "");

    g_setenv("ASAN_OPTIONS", all, true);
    return options;
}

static void save_clocks(const char *path)
{
    Rig *rig = rig_of_clock();

    introduce(rig, N2, mac_c, IP_C);
    disk_open(rig->qts, path, true);
    snapshot(rig->qts, "snapshot-save", "ahead");
    snapshot(rig->qts, "snapshot-save", "behind");
    rig_free(rig);
}

/*
 * A machine that is loaded goes on with the clock that it had: here it is
 * years ahead, and then years behind.  What was timed before goes on.
 */
static void test_clock(void)
{
    g_autofree char *dir = g_dir_make_tmp("ipvlan-fault-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "disk", NULL);
    g_autofree char *asan = ignore_leaks();
    Rig *rig;

    save_clocks(path);
    move_clock(path, YEARS);
    rig = rig_of_clock();
    disk_open(rig->qts, path, false);
    for (int i = 0; i < 2; i++) {
        jump(rig, "ahead");
        jump(rig, "behind");
    }
    rig_free(rig);
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
    g_setenv("ASAN_OPTIONS", asan ?: "", true);
}

/* --- streams -------------------------------------------------------------- */

/* up0 is a stream, which connects to the socket at @path. */
typedef struct Uplink {
    Rig *rig;
    char *dir, *path;
    int server;
    int fd;                     /* of the connection */
} Uplink;

static void uplink_accept(Uplink *up)
{
    struct pollfd pfd = { .fd = up->server, .events = POLLIN };
    struct timeval patience = { .tv_sec = TIMEOUT_US / G_USEC_PER_SEC };

    g_assert_cmpint(poll(&pfd, 1, TIMEOUT_US / 1000), ==, 1);
    up->fd = accept(up->server, NULL, NULL);
    g_assert_cmpint(up->fd, >=, 0);
    g_assert_cmpint(setsockopt(up->fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
                               sizeof(patience)), ==, 0);
    while (!get_bool(up->rig->qts, "0.link-up")) {
        continue;               /* QEMU does not know of it yet */
    }
}

static void uplink_add(Uplink *up)
{
    qtest_qmp_assert_success(up->rig->qts, "{ 'execute': 'netdev_add',"
                             "  'arguments': { 'type': 'stream', 'id': 'up0',"
                             "  'addr': { 'type': 'unix', 'path': %s },"
                             "  'reconnect-ms': 1 } }", up->path);
    uplink_accept(up);
}

static Uplink uplink_new(Rig *rig)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    Uplink up = { .rig = rig };

    up.dir = g_dir_make_tmp("ipvlan-fault-XXXXXX", NULL);
    up.path = g_build_filename(up.dir, "socket", NULL);
    up.server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(addr.sun_path, up.path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(up.server, (struct sockaddr *)&addr, sizeof(addr)),
                    ==, 0);
    g_assert_cmpint(listen(up.server, 1), ==, 0);
    del(rig->qts, "up0");
    uplink_add(&up);
    return up;
}

static void uplink_free(Uplink *up)
{
    close(up->fd);
    close(up->server);
    g_assert_cmpint(g_unlink(up->path), ==, 0);
    g_assert_cmpint(g_rmdir(up->dir), ==, 0);
    g_free(up->path);
    g_free(up->dir);
}

/* @f, with its length before it, but no more than @max bytes. */
static void uplink_send_part(Uplink *up, const Frame *f, size_t max)
{
    uint8_t b[4 + sizeof(f->b)];

    stl_be_p(b, f->len);
    memcpy(b + 4, f->b, f->len);
    max = MIN(max, 4 + f->len);
    g_assert_cmpint(send(up->fd, b, max, MSG_NOSIGNAL), ==, max);
}

static void uplink_send(Uplink *up, Frame f)
{
    uplink_send_part(up, &f, SIZE_MAX);
}

static Frame uplink_receive(Uplink *up)
{
    uint32_t len;
    Frame f;

    g_assert_cmpint(recv(up->fd, &len, sizeof(len), MSG_WAITALL), ==,
                    sizeof(len));
    f.len = ntohl(len);
    g_assert_cmpuint(f.len, <=, sizeof(f.b));
    g_assert_cmpint(recv(up->fd, f.b, f.len, MSG_WAITALL), ==, f.len);
    return f;
}

/* Whatever else has been waiting. */
static void uplink_expect(Uplink *up, uint32_t tag)
{
    Frame f;

    do {
        f = uplink_receive(up);
    } while (lduw_be_p(f.b + 12) != 0x0800 || udp_tag(&f) != tag);
}

/* Frames of guest a's for the uplink, until it takes no more. */
static void uplink_fill(Uplink *up)
{
    Frame f = udp(ext_mac, mac_a, IP_A, EXT_IP, 0);
    Rig *rig = up->rig;
    int64_t sent;

    do {
        sent = get_int(rig->qts, "0.stats.tx-packets");
        for (int i = 0; i < 1000; i++) {
            if (send(rig->fd[N0], f.b, f.len, MSG_DONTWAIT) < 0) {
                break;
            }
        }
    } while (get_int(rig->qts, "0.stats.tx-packets") != sent || !sent);
}

/* Between @n1 and @n2, and from outside to both. */
static void assert_local(Uplink *up, int n)
{
    Rig *rig = up->rig;

    for (int i = 0; i < n; i++) {
        send_frame(rig, N1, udp(mac_c, mac_b, IP_B, IP_C, i));
        g_assert_cmpuint(receive_tag(rig, N2), ==, i);
        send_frame(rig, N2, udp(mac_b, mac_c, IP_C, IP_B, i));
        g_assert_cmpuint(receive_tag(rig, N1), ==, i);
        uplink_send(up, inbound(IP_B, i));
        g_assert_cmpuint(receive_tag(rig, N1), ==, i);
        uplink_send(up, inbound(IP_C, i));
        g_assert_cmpuint(receive_tag(rig, N2), ==, i);
    }
}

static int64_t memory_kib(QTestState *qts)
{
    static const char anon[] = "RssAnon:";
    g_autofree char *path = g_strdup_printf("/proc/%d/status",
                                            qtest_pid(qts));
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return g_ascii_strtoll(strstr(text, anon) + strlen(anon), NULL, 10);
}

static Rig *rig_of_three(void)
{
    Rig *rig = rig_new("", "addr=" IP_A, "addr=" IP_B, "addr=" IP_C, NULL);

    introduce(rig, N0, mac_a, IP_A);
    introduce(rig, N1, mac_b, IP_B);
    introduce(rig, N2, mac_c, IP_C);
    return rig;
}

/* The netdev @id is made anew, and @wire is its other end. */
static void rig_dgram_add(Rig *rig, int wire, const char *id)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    close(rig->fd[wire]);
    rig->fd[wire] = sv[0];
    pass_fd(rig->qts, id, sv[1]);
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'netdev_add',"
                             "  'arguments': { 'type': 'dgram', 'id': %s,"
                             "  'local': { 'type': 'fd', 'str': %s } } }",
                             id, id);
}

#define LOCAL_FRAMES 300        /* of each sort: more than one turn */

/*
 * Who is at the other end of the uplink does not read.  What needs it not goes
 * on; who waits for it may go; and when it is read from, all is as before.
 */
static void test_busy_for_ever(void)
{
    Rig *rig = rig_of_three();
    Uplink up = uplink_new(rig);
    int64_t before, after;

    uplink_fill(&up);
    assert_local(&up, LOCAL_FRAMES);
    before = memory_kib(rig->qts);
    assert_local(&up, LOCAL_FRAMES);
    after = memory_kib(rig->qts);
    g_test_message("%d frames past it; memory: %" PRId64 ", %" PRId64 " KiB",
                   8 * LOCAL_FRAMES, before, after);
    g_assert_cmpint(after - before, <, 1024);

    /* who waits goes, and comes again, and the machine is reset */
    del(rig->qts, "n0");
    assert_local(&up, 1);
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(rig->qts, "RESET");
    assert_local(&up, 1);
    del(rig->qts, "s0");
    rig_dgram_add(rig, N0, "s0");
    add(rig->qts, "n0", "'master': 'up0', 'netdev': 's0', "
        "'addr': [ '" IP_A "' ]");
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, 1));
    send_frame(rig, N1, udp(ext_mac, mac_b, IP_B, EXT_IP, 2));

    uplink_expect(&up, 1);
    send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, 3));
    uplink_expect(&up, 3);
    send_frame(rig, N1, udp(ext_mac, mac_b, IP_B, EXT_IP, 4));
    uplink_expect(&up, 4);
    assert_local(&up, 1);
    rig_free(rig);
    uplink_free(&up);
}

/* It never ends, and the slaves, the port and the master go. */
static void test_busy_end(const void *data)
{
    const char *order = data;
    Rig *rig = rig_of_three();
    Uplink up = uplink_new(rig);

    uplink_fill(&up);
    for (const char *id = order; *id; id++) {
        g_autofree char *name = *id == 'u' ? g_strdup("up0")
                                           : g_strdup_printf("n%c", *id);

        del(rig->qts, name);
        if (*id == '0' && *order == '0') {
            assert_local(&up, 1);
        }
    }
    rig_free(rig);
    uplink_free(&up);
}

/*
 * The connection ends in the midst of a frame in each direction, of which
 * nothing is left when there is another one.
 */
static void test_cut(void)
{
    enum { TIMES = 12 };
    Rig *rig = rig_of_three();
    Uplink up = uplink_new(rig);
    Frame cut = inbound(IP_B, 0xdead);

    for (int i = 1; i <= TIMES; i++) {
        uplink_fill(&up);
        /* of its length, its header, all but its last byte */
        uplink_send_part(&up, &cut, i % 3 == 0 ? 2 : i % 3 == 1 ? 20 :
                                    3 + cut.len);
        if (i % 2) {
            close(up.fd);
            uplink_accept(&up);
        } else {
            del(rig->qts, "up0");
            close(up.fd);
            uplink_add(&up);
        }
        send_frame(rig, N1, udp(ext_mac, mac_b, IP_B, EXT_IP, i));
        uplink_expect(&up, i);
        assert_local(&up, 2);
    }
    g_test_message("%d cuts survived", TIMES);
    rig_free(rig);
    uplink_free(&up);
}

/* --- datagrams ------------------------------------------------------------ */

/* Anybody may send one, and it means nothing. */
static void test_empty_datagram(void)
{
    Rig *rig = rig_of_three();

    for (int i = 0; i < 10; i++) {
        for (int wire = UP; wire <= N2; wire++) {
            g_assert_cmpint(send(rig->fd[wire], "", 0, 0), ==, 0);
        }
        send_frame(rig, UP, inbound(IP_A, i));
        g_assert_cmpuint(receive_tag(rig, N0), ==, i);
        send_frame(rig, N1, udp(ext_mac, mac_b, IP_B, EXT_IP, i));
        g_assert_cmpuint(receive_tag(rig, UP), ==, i);
        send_frame(rig, N1, udp(mac_c, mac_b, IP_B, IP_C, i));
        g_assert_cmpuint(receive_tag(rig, N2), ==, i);
    }
    rig_free(rig);
}

/* Nobody is there any more, or not yet. */
static void test_nobody(void)
{
    Rig *rig = rig_of_three();

    close(rig->fd[UP]);
    rig->fd[UP] = -1;
    for (int i = 0; i < 100; i++) {
        send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, i));
        send_frame(rig, N1, udp(mac_c, mac_b, IP_B, IP_C, i));
        g_assert_cmpuint(receive_tag(rig, N2), ==, i);
    }
    while (get_drops(rig->qts, "0", "refused") < 100) {
        continue;
    }
    g_assert_cmpint(get_drops(rig->qts, "0", NULL), ==, 100);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, 0);
    rig_free(rig);
}

/* --- drivers of NICs ------------------------------------------------------ */

/* A NIC on n0, and n1 on a socket, which goes on whatever the NIC does. */
static Rig *rig_of_driver(const char *options, const char *device)
{
    Rig *rig = rig_prepare("-machine pc");
    g_autofree char *all = g_strdup_printf("addr=" IP_A "%s", options);

    add_nic_with(rig, 0, all, device);
    rig_add_slave(rig, N1, "addr=" IP_B);
    nic_rig_start(rig);
    return rig;
}

static Nic driver_start(Rig *rig)
{
    Nic nic = nic_start(rig, 0);

    nic_send(&nic, announcement(mac_a, IP_A));
    return nic;
}

static Nic driver_reset(Nic *nic)
{
    Rig *rig = nic->rig;

    qvirtio_reset(&nic->dev->vdev);
    nic_stop(nic);
    return driver_start(rig);
}

/* A sibling and the uplink do not notice. */
static void assert_bystander(Rig *rig, uint32_t tag)
{
    send_frame(rig, N1, udp(ext_mac, mac_b, IP_B, EXT_IP, tag));
    while (receive_tag(rig, UP) != tag) {
        continue;
    }
    send_frame(rig, UP, inbound(IP_B, tag));
    while (receive_tag(rig, N1) != tag) {
        continue;
    }
}

static void assert_driver(Nic *nic, uint32_t tag)
{
    Rig *rig = nic->rig;

    nic_send(nic, udp(ext_mac, mac_a, IP_A, EXT_IP, tag));
    while (receive_tag(rig, UP) != tag) {
        continue;
    }
    send_frame(rig, UP, inbound(IP_A, tag));
    nic_expect(nic, with_dst(inbound(IP_A, tag), mac_a));
}

#define RX_QUEUE 16

/* Only its own queue fills, and of that the oldest are there afterwards. */
static void test_no_refill(void)
{
    enum { FRAMES = 200 };
    Rig *rig = rig_of_driver(",rx-queue=16", "");
    Nic nic = driver_start(rig);
    int64_t lost;

    for (int i = 0; i < FRAMES; i++) {
        send_frame(rig, UP, inbound(IP_A, i));
        assert_bystander(rig, i);
        send_frame(rig, N1, udp(mac_a, mac_b, IP_B, IP_A, i));
        assert_bystander(rig, FRAMES + i);
    }
    lost = get_drops(rig->qts, "0.slaves.0", "rx-queue-full");
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.rx-queue"), ==, RX_QUEUE);
    /* one more is in QEMU's own queue */
    g_assert_cmpint(lost, ==, 2 * FRAMES - RX_QUEUE - 1);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, lost);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.1", NULL), ==, 0);
    g_assert_cmpint(get_drops(rig->qts, "0", NULL), ==, 0);

    for (int i = 0; i <= RX_QUEUE; i++) {
        nic_expect(&nic, i % 2 ? udp(mac_a, mac_b, IP_B, IP_A, i / 2)
                               : with_dst(inbound(IP_A, i / 2), mac_a));
    }
    assert_driver(&nic, FRAMES);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, lost);
    nic_stop(&nic);
    nic_rig_free(rig);
}

/* Frames are on their way in both directions, as much as there can be. */
static void test_reset(void)
{
    enum { TIMES = 25, FRAMES = 20 };
    Rig *rig = rig_prepare("-machine pc");
    Nic nic;

    rig_make_small(rig, UP);
    add_nic_with(rig, 0, "addr=" IP_A ",rx-queue=4", "");
    rig_add_slave(rig, N1, "addr=" IP_B);
    nic_rig_start(rig);
    nic = driver_start(rig);
    for (int i = 0; i < TIMES; i++) {
        for (int j = 0; j < FRAMES; j++) {
            nic_push(&nic, 0, udp(ext_mac, mac_a, IP_A, EXT_IP, j));
            send_frame(rig, N1, udp(mac_a, mac_b, IP_B, IP_A, j));
        }
        qvirtio_reset(&nic.dev->vdev);
        nic_stop(&nic);
        discard(rig, UP);
        assert_bystander(rig, 1000 + i);
        nic = driver_start(rig);
        assert_bystander(rig, 2000 + i);
    }
    discard(rig, UP);
    /* what has waited for the NIC was the last one's */
    nic_send(&nic, udp(ext_mac, mac_a, IP_A, EXT_IP, 3000));
    while (receive_tag(rig, UP) != 3000) {
        continue;
    }
    g_test_message("%d resets survived", TIMES);
    nic_stop(&nic);
    nic_rig_free(rig);
}

/* --- bad rings ------------------------------------------------------------ */

#define BEYOND UINT64_C(0xffffffff00000000)

typedef struct Desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
} Desc;

enum {
    NEXT = VRING_DESC_F_NEXT,
    WRITE = VRING_DESC_F_WRITE,
    INDIRECT = VRING_DESC_F_INDIRECT,
};

static void put_desc(Nic *nic, uint64_t table, int i, Desc d)
{
    QTestState *qts = nic->rig->qts;
    uint64_t at = table + 16 * i;

    qtest_writeq(qts, at, d.addr);
    qtest_writel(qts, at + 8, d.len);
    qtest_writew(qts, at + 12, d.flags);
    qtest_writew(qts, at + 14, d.next);
}

/* @n more are said to be available, the first of them @head. */
static void make_available(Nic *nic, QVirtQueue *vq, uint16_t head,
                           uint16_t n)
{
    QTestState *qts = nic->rig->qts;
    uint16_t idx = qtest_readw(qts, vq->avail + 2);

    qtest_writew(qts, vq->avail + 4 + 2 * (idx % vq->size), head);
    qtest_writew(qts, vq->avail + 2, idx + n);
    nic->dev->vdev.bus->virtqueue_kick(&nic->dev->vdev, vq);
}

static void put_one(Nic *nic, QVirtQueue *vq, Desc d)
{
    put_desc(nic, vq->desc, 0, d);
    make_available(nic, vq, 0, 1);
}

/* Of @nic's ring @vq, whose buffers are to be of @write. */
typedef void BadRing(Nic *nic, QVirtQueue *vq, uint16_t write, uint64_t buf);

static void ring_beyond(Nic *nic, QVirtQueue *vq, uint16_t write,
                        uint64_t buf)
{
    put_one(nic, vq, (Desc) { BEYOND, 100, write });
}

static void ring_wraps(Nic *nic, QVirtQueue *vq, uint16_t write, uint64_t buf)
{
    put_one(nic, vq, (Desc) { UINT64_MAX - 50, 100, write });
}

static void ring_empty(Nic *nic, QVirtQueue *vq, uint16_t write, uint64_t buf)
{
    put_one(nic, vq, (Desc) { buf, 0, write });
}

static void ring_loop(Nic *nic, QVirtQueue *vq, uint16_t write, uint64_t buf)
{
    put_desc(nic, vq->desc, 1, (Desc) { buf, 64, write | NEXT, 0 });
    put_one(nic, vq, (Desc) { buf, 64, write | NEXT, 1 });
}

static void ring_next(Nic *nic, QVirtQueue *vq, uint16_t write, uint64_t buf)
{
    put_one(nic, vq, (Desc) { buf, 64, write | NEXT, 0xffff });
}

static void ring_head(Nic *nic, QVirtQueue *vq, uint16_t write, uint64_t buf)
{
    make_available(nic, vq, 0xffff, 1);
}

static void ring_jump(Nic *nic, QVirtQueue *vq, uint16_t write, uint64_t buf)
{
    make_available(nic, vq, 0, 5000);
}

static void ring_indirect_len(Nic *nic, QVirtQueue *vq, uint16_t write,
                              uint64_t buf)
{
    put_one(nic, vq, (Desc) { buf, 15, INDIRECT });
}

static void ring_indirect_empty(Nic *nic, QVirtQueue *vq, uint16_t write,
                                uint64_t buf)
{
    put_one(nic, vq, (Desc) { buf, 0, INDIRECT });
}

static void ring_indirect_beyond(Nic *nic, QVirtQueue *vq, uint16_t write,
                                 uint64_t buf)
{
    put_one(nic, vq, (Desc) { BEYOND, 16, INDIRECT });
}

static void ring_indirect_next(Nic *nic, QVirtQueue *vq, uint16_t write,
                               uint64_t buf)
{
    put_desc(nic, buf, 0, (Desc) { buf, 64, write | NEXT, 9 });
    put_one(nic, vq, (Desc) { buf, 32, INDIRECT });
}

static void ring_indirect_twice(Nic *nic, QVirtQueue *vq, uint16_t write,
                                uint64_t buf)
{
    put_desc(nic, buf, 0, (Desc) { buf, 16, INDIRECT });
    put_one(nic, vq, (Desc) { buf, 16, INDIRECT });
}

/* The other direction's buffer: it cannot be read, or written to. */
static void ring_direction(Nic *nic, QVirtQueue *vq, uint16_t write,
                           uint64_t buf)
{
    put_one(nic, vq, (Desc) { buf, 100, write ^ WRITE });
}

/* No room for the header, or only a part of it is there. */
static void ring_tiny(Nic *nic, QVirtQueue *vq, uint16_t write, uint64_t buf)
{
    put_one(nic, vq, (Desc) { buf, 1, write });
}

/* All of the guest's memory, over and over. */
static void ring_giant(Nic *nic, QVirtQueue *vq, uint16_t write, uint64_t buf)
{
    for (int i = 0; i < 200; i++) {
        put_desc(nic, vq->desc, i, (Desc) { 0, 64 << 20, write | NEXT,
                                            i + 1 });
    }
    put_desc(nic, vq->desc, 200, (Desc) { buf, 64, write });
    make_available(nic, vq, 0, 1);
}

typedef struct BadCase {
    const char *name;
    BadRing *make;
    bool tx_breaks, rx_breaks;  /* the device says so */
} BadCase;

/* What is not mapped is read as something; what is not used does not break. */
static const BadCase bad_cases[] = {
    { "beyond", ring_beyond, false, false },
    { "wraps", ring_wraps, false, false },
    { "empty", ring_empty, true, false },
    { "loop", ring_loop, true, true },
    { "next", ring_next, true, true },
    { "head", ring_head, true, true },
    { "jump", ring_jump, false, true },
    { "indirect-len", ring_indirect_len, true, true },
    { "indirect-empty", ring_indirect_empty, true, true },
    { "indirect-beyond", ring_indirect_beyond, true, false },
    { "indirect-next", ring_indirect_next, true, true },
    { "indirect-twice", ring_indirect_twice, false, false },
    { "direction", ring_direction, true, false },
    { "tiny", ring_tiny, false, false },
    { "giant", ring_giant, false, true },
};

static bool is_broken(Nic *nic)
{
    return nic->dev->vdev.bus->get_status(&nic->dev->vdev) &
           VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void check_bad_ring(Nic *nic, const BadCase *c, bool rx, uint32_t tag)
{
    Rig *rig = nic->rig;
    uint64_t buf = guest_alloc(&guest_alloc_state, 4096);
    int64_t memory = memory_kib(rig->qts);
    bool breaks = rx ? c->rx_breaks : c->tx_breaks;

    g_test_message("%s %s", rx ? "rx" : "tx", c->name);
    qtest_memset(rig->qts, buf, 0, 4096);
    c->make(nic, rx ? nic->rx[0] : nic->tx[0], rx ? WRITE : 0, buf);
    for (int i = 0; i < 5; i++) {
        send_frame(rig, UP, inbound(IP_A, i));
        send_frame(rig, N1, udp(mac_a, mac_b, IP_B, IP_A, i));
        assert_bystander(rig, tag + i);
    }
    g_assert_cmpint(is_broken(nic), ==, breaks);
    g_assert_cmpint(memory_kib(rig->qts) - memory, <, 16 * 1024);
    guest_free(&guest_alloc_state, buf);
    *nic = driver_reset(nic);
    assert_bystander(rig, tag + 5);
}

static void test_bad_rings(void)
{
    Rig *rig = rig_of_driver(",rx-queue=4", "disable-legacy=on");
    Nic nic = driver_start(rig);
    uint32_t tag = 1000;

    for (int i = 0; i < ARRAY_SIZE(bad_cases); i++) {
        for (int rx = 0; rx < 2; rx++) {
            check_bad_ring(&nic, &bad_cases[i], rx, tag);
            tag += 10;
        }
    }
    g_test_message("%d bad rings survived", 2 * (int)ARRAY_SIZE(bad_cases));
    nic_stop(&nic);
    nic_rig_free(rig);
}

/* --- control under load --------------------------------------------------- */

/* Other MAC addresses, offloads and queues, with traffic in between. */
static void test_control(void)
{
    enum { TIMES = 60 };
    static const uint64_t offloads[] = {
        0, 1ull << VIRTIO_NET_F_GUEST_CSUM,
        1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4,
    };
    Rig *rig = rig_of_driver(",queues=2", "mq=on,vectors=6");
    Nic nic = driver_start(rig);

    for (uint32_t i = 0; i < TIMES; i++) {
        const uint8_t mac[] = { 0x52, 0x54, 0, 0, 0xaa, i };
        uint64_t can = cpu_to_le64(offloads[i % ARRAY_SIZE(offloads)]);
        uint16_t pairs = cpu_to_le16(1 + i % 2);

        for (int j = 0; j < 10; j++) {
            nic_push(&nic, j % 2, udp(ext_mac, mac, IP_A, EXT_IP, j));
            send_frame(rig, N1, udp(ext_mac, mac_b, IP_B, EXT_IP, j));
        }
        nic_control(&nic, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET,
                    mac, sizeof(mac));
        nic_control(&nic, VIRTIO_NET_CTRL_GUEST_OFFLOADS,
                    VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &can, sizeof(can));
        nic_control(&nic, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
                    &pairs, sizeof(pairs));
        assert_bystander(rig, 1000 + i);
        if (i % 20 == 19) {
            nic = driver_reset(&nic);
        }
    }
    assert_driver(&nic, 3000);
    g_test_message("%d changes survived", 3 * TIMES);
    nic_stop(&nic);
    nic_rig_free(rig);
}

static void add_busy_end(const char *order)
{
    g_autofree char *path = g_strdup_printf("ipvlan-fault/busy/deleted/%s",
                                            *order ? order : "none");

    qtest_add_data_func(path, order, test_busy_end);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("ipvlan-fault/clock", test_clock);
    qtest_add_func("ipvlan-fault/busy/for-ever", test_busy_for_ever);
    add_busy_end("");
    add_busy_end("0");
    add_busy_end("012");
    add_busy_end("u");
    add_busy_end("0u12");
    add_busy_end("u012");
    qtest_add_func("ipvlan-fault/uplink/cut", test_cut);
    qtest_add_func("ipvlan-fault/uplink/nobody", test_nobody);
    qtest_add_func("ipvlan-fault/uplink/empty-datagram", test_empty_datagram);
    qtest_add_func("ipvlan-fault/nic/no-refill", test_no_refill);
    qtest_add_func("ipvlan-fault/nic/reset", test_reset);
    qtest_add_func("ipvlan-fault/nic/rings", test_bad_rings);
    qtest_add_func("ipvlan-fault/nic/control", test_control);
    return g_test_run();
}
