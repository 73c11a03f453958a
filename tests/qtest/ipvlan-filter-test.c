/*
 * QTest testcase for -netdev ipvlan: QEMU's own filters on slaves and masters
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <poll.h>
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qobject/qjson.h"
#include "ipvlan-rig.h"

static char *tmp;               /* a directory for captures */

/* --- objects -------------------------------------------------------------- */

static void object_add(QTestState *qts, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);
static void object_add(QTestState *qts, const char *fmt, ...)
{
    va_list ap;
    g_autofree char *json = NULL;

    va_start(ap, fmt);
    json = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    qtest_qmp_assert_success(qts, "{ 'execute': 'object-add',"
                             "  'arguments': %p }",
                             qobject_from_json(json, &error_abort));
}

static void object_del(QTestState *qts, const char *id)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'object-del',"
                             "  'arguments': { 'id': %s } }", id);
}

/* --- captures ------------------------------------------------------------- */

enum { PCAP_HEADER = 24, PCAP_FRAME_HEADER = 16 };

typedef struct Pcap {
    char *b;
    gsize len, at;
} Pcap;

static char *pcap_path(const char *id)
{
    return g_strdup_printf("%s/%s.pcap", tmp, id);
}

static Pcap pcap_open(const char *id)
{
    g_autofree char *path = pcap_path(id);
    g_autoptr(GError) err = NULL;
    Pcap pcap = { .at = PCAP_HEADER };

    g_file_get_contents(path, &pcap.b, &pcap.len, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(pcap.len, >=, PCAP_HEADER);
    return pcap;
}

/* False: there are no more frames. */
static bool pcap_next(Pcap *pcap, Frame *f)
{
    const char *b = pcap->b + pcap->at;

    if (pcap->at == pcap->len) {
        return false;
    }
    g_assert_cmpuint(pcap->at + PCAP_FRAME_HEADER, <=, pcap->len);
    f->len = ldl_he_p(b + 8);
    g_assert_cmpuint(ldl_he_p(b + 12), ==, f->len);
    g_assert_cmpuint(f->len, <=, sizeof(f->b));
    memcpy(f->b, b + PCAP_FRAME_HEADER, f->len);
    pcap->at += PCAP_FRAME_HEADER + f->len;
    return true;
}

static unsigned pcap_count(const char *id)
{
    Pcap pcap = pcap_open(id);
    unsigned n = 0;
    Frame f;

    while (pcap_next(&pcap, &f)) {
        n++;
    }
    g_free(pcap.b);
    return n;
}

static void pcap_wait(const char *id, unsigned n)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (pcap_count(id) < n) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

static void assert_same(const Frame *f, const Frame *expected)
{
    g_autofree char *is = hex(f), *should_be = hex(expected);

    g_assert_cmpstr(is, ==, should_be);
}

/* The capture @id has the first @n of @frames, and nothing else. */
static void pcap_expect(const char *id, const Frame *frames, unsigned n)
{
    Pcap pcap = pcap_open(id);
    Frame f;

    for (unsigned i = 0; i < n; i++) {
        g_assert_true(pcap_next(&pcap, &f));
        assert_same(&f, &frames[i]);
    }
    g_assert_false(pcap_next(&pcap, &f));
    g_free(pcap.b);
}

#define PCAP_EXPECT(id, ...) do {                                       \
    const Frame frames_[] = { __VA_ARGS__ };                            \
    pcap_expect(id, frames_, ARRAY_SIZE(frames_));                      \
} while (0)

static void dump_add(Rig *rig, const char *id, const char *netdev,
                     const char *queue)
{
    g_autofree char *path = pcap_path(id);

    object_add(rig->qts, "{ 'qom-type': 'filter-dump', 'id': '%s',"
               "  'netdev': '%s', 'queue': '%s', 'file': '%s' }",
               id, netdev, queue, path);
}

/* On the command line, before the netdev that it is of. */
static void dump_option(Rig *rig, const char *id, const char *netdev,
                        const char *queue)
{
    g_autofree char *path = pcap_path(id);
    g_autofree char *option = g_strdup_printf(
        "-object filter-dump,id=%s,netdev=%s,queue=%s,file=%s ",
        id, netdev, queue, path);

    g_string_prepend(rig->args, option);
}

/* Each side sees what passes there, once, without virtio-net headers. */
static void test_dump(void)
{
    static const char *const queues[] = { "all", "rx", "tx" };
    static const char *const netdevs[] = { "n0", "n1", "up0" };
    Rig *rig = rig_prepare("-machine pc");
    Frame out = udp(ext_mac, mac_a, IP_A, EXT_IP, 1);
    Frame out_wire = with_src(out, port_mac);
    Frame in = inbound(IP_A, 2), in_nic = with_dst(in, mac_a);
    Frame to_b = udp(mac_b, mac_a, IP_A, IP_B, 3);
    Frame to_all = udp(broadcast, mac_b, IP_B, "10.0.0.255", 4);
    Frame to_all_wire = with_src(to_all, port_mac);
    Nic a, b;

    for (int i = 0; i < ARRAY_SIZE(netdevs); i++) {
        for (int j = 0; j < ARRAY_SIZE(queues); j++) {
            g_autofree char *id = g_strdup_printf("%s-%s", netdevs[i],
                                                  queues[j]);

            dump_option(rig, id, netdevs[i], queues[j]);
        }
    }
    add_nic(rig, 0, "addr=" IP_A);
    add_nic(rig, 1, "addr=" IP_B);
    nic_rig_start(rig);
    a = nic_start(rig, 0);
    b = nic_start(rig, 1);

    nic_send(&b, to_all);
    expect(rig, UP, to_all_wire);
    nic_expect(&a, to_all);
    nic_send(&a, out);
    expect(rig, UP, out_wire);
    send_frame(rig, UP, in);
    nic_expect(&a, in_nic);
    nic_send(&a, to_b);
    nic_expect(&b, to_b);

    PCAP_EXPECT("n0-all", to_all, out, in_nic, to_b);
    PCAP_EXPECT("n0-rx", out, to_b);
    PCAP_EXPECT("n0-tx", to_all, in_nic);
    PCAP_EXPECT("n1-all", to_all, to_b);
    PCAP_EXPECT("n1-rx", to_all);
    PCAP_EXPECT("n1-tx", to_b);
    PCAP_EXPECT("up0-all", to_all_wire, out_wire, in);
    PCAP_EXPECT("up0-rx", to_all_wire, out_wire);
    PCAP_EXPECT("up0-tx", in);
    nic_stop(&a);
    nic_stop(&b);
    nic_rig_free(rig);
}

/* A slave before another netdev, which is a slave and has headers, too. */
static void test_dump_front(void)
{
    static const uint8_t outer_mac[] = { 2, 0, 0, 0, 0, 2 };
    Rig *rig = rig_prepare("-machine none");
    Frame wire, inner, outer;

    rig_wire(rig, N0, "up1");
    g_string_append(rig->args, " -netdev ipvlan,id=inner,master=up0,"
                    "mac=" PORT_MAC ",addr=" IP_A
                    " -netdev ipvlan,id=outer,master=up1,netdev=inner,"
                    "mac=02:00:00:00:00:02");
    dump_option(rig, "inner", "inner", "all");
    dump_option(rig, "outer", "outer", "all");
    rig_start(rig);

    send_frame(rig, UP, inbound(IP_A, 1));
    wire = receive(rig, N0);
    inner = with_src(wire, ext_mac);
    outer = with_src(inner, outer_mac);
    assert_same(&wire, &outer);
    PCAP_EXPECT("inner", inner);
    PCAP_EXPECT("outer", inner);
    rig_free(rig);
}

/* Filters come and go while frames do. */
static void test_dump_at_run_time(void)
{
    Rig *rig = rig_new("", "addr=" IP_A, NULL);
    Frame sent[30], wire[30];

    for (int i = 0; i < ARRAY_SIZE(sent); i++) {
        if (i == 10) {
            dump_add(rig, "slave", "n0", "all");
            dump_add(rig, "master", "up0", "rx");
        }
        if (i == 20) {
            object_del(rig->qts, "slave");
            object_del(rig->qts, "master");
        }
        sent[i] = udp(ext_mac, mac_a, IP_A, EXT_IP, i);
        wire[i] = with_src(sent[i], port_mac);
        send_frame(rig, N0, sent[i]);
        expect(rig, UP, wire[i]);
    }
    pcap_expect("slave", sent + 10, 10);
    pcap_expect("master", wire + 10, 10);
    expect_nothing(rig);
    rig_free(rig);
}

/* QEMU has no filters for several queues. */
static void test_multiqueue(void)
{
    QTestState *qts = qtest_init("-nodefaults -machine none "
                                 "-netdev hubport,id=up0,hubid=0 "
                                 "-netdev ipvlan,id=n0,master=up0,queues=2");
    g_autofree char *path = pcap_path("multiqueue");
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'object-add', 'arguments': {"
                           "  'qom-type': 'filter-dump', 'id': 'dump',"
                           "  'netdev': 'n0', 'file': %s } }", path);

    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"), ==,
                    "multiqueue is not supported");
    qobject_unref(rsp);
    qtest_quit(qts);
}

/* --- filter-buffer -------------------------------------------------------- */

#define INTERVAL_US 1000000

static void hold(Rig *rig, const char *netdev, const char *queue)
{
    object_add(rig->qts, "{ 'qom-type': 'filter-buffer', 'id': 'hold',"
               "  'netdev': '%s', 'queue': '%s', 'interval': %d }",
               netdev, queue, INTERVAL_US);
}

static void pass_interval(Rig *rig)
{
    qtest_clock_step(rig->qts, (int64_t)INTERVAL_US * 1000);
}

static void expect_silence(Rig *rig, int wire)
{
    uint8_t b;

    /* an answer comes behind all that QEMU has done by now */
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'query-status' }");
    g_assert_cmpint(recv(rig->fd[wire], &b, 1, MSG_DONTWAIT), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
}

/* A guest on a socket, of which a capture tells what QEMU has taken. */
static Rig *buffer_rig(const char *netdev)
{
    Rig *rig = rig_new("", "addr=" IP_A, NULL);

    dump_add(rig, "taken-s0", "s0", "tx");
    dump_add(rig, "taken-up0", "up0", "tx");
    if (netdev) {
        hold(rig, netdev, "all");
    }
    return rig;
}

#define OUT(tag) udp(ext_mac, mac_a, IP_A, EXT_IP, tag)
#define OUT_WIRE(tag) with_src(OUT(tag), port_mac)
/* The guest's own MAC is known as soon as it has sent something. */
#define IN(tag) with_dst(inbound(IP_A, tag), mac_a)

/* One frame each way, which is held. */
static void send_both_ways(Rig *rig, uint32_t tag)
{
    unsigned out = pcap_count("taken-s0"), in = pcap_count("taken-up0");

    send_frame(rig, N0, OUT(tag));
    send_frame(rig, UP, inbound(IP_A, tag));
    pcap_wait("taken-s0", out + 1);
    pcap_wait("taken-up0", in + 1);
}

static void expect_both_ways(Rig *rig, uint32_t tag)
{
    expect(rig, UP, OUT_WIRE(tag));
    expect(rig, N0, IN(tag));
}

/* Nothing has been left waiting for who took it. */
static void check_goes_on(Rig *rig)
{
    for (uint32_t tag = 100; tag < 110; tag++) {
        send_frame(rig, N0, OUT(tag));
        expect(rig, UP, OUT_WIRE(tag));
        send_frame(rig, UP, inbound(IP_A, tag));
        expect(rig, N0, IN(tag));
    }
    expect_nothing(rig);
    g_assert_cmpint(get_drops(rig->qts, "0", NULL), ==, 0);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, 0);
}

static Rig *held_rig(const char *netdev)
{
    Rig *rig = buffer_rig(NULL);

    send_frame(rig, N0, OUT(0));
    expect(rig, UP, OUT_WIRE(0));
    hold(rig, netdev, "all");
    send_both_ways(rig, 1);
    send_both_ways(rig, 2);
    expect_silence(rig, UP);
    expect_silence(rig, N0);
    return rig;
}

static void test_buffer_interval(const void *netdev)
{
    Rig *rig = held_rig(netdev);

    pass_interval(rig);
    expect_both_ways(rig, 1);
    expect_both_ways(rig, 2);
    send_both_ways(rig, 3);
    expect_silence(rig, UP);
    expect_silence(rig, N0);
    pass_interval(rig);
    expect_both_ways(rig, 3);
    object_del(rig->qts, "hold");
    check_goes_on(rig);
    rig_free(rig);
}

/* What it holds is delivered. */
static void test_buffer_deleted(const void *netdev)
{
    Rig *rig = held_rig(netdev);

    object_del(rig->qts, "hold");
    expect_both_ways(rig, 1);
    expect_both_ways(rig, 2);
    check_goes_on(rig);
    rig_free(rig);
}

static void test_buffer_off(const void *netdev)
{
    Rig *rig = held_rig(netdev);

    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'qom-set', 'arguments': {"
                             "  'path': '/objects/hold', 'property': 'status',"
                             "  'value': 'off' } }");
    expect_both_ways(rig, 1);
    expect_both_ways(rig, 2);
    check_goes_on(rig);
    rig_free(rig);
}

/* A machine that is stopped passes nothing on, whoever lets go of it. */
static void test_buffer_stopped(const void *netdev)
{
    Rig *rig = held_rig(netdev);

    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'stop' }");
    qtest_qmp_eventwait(rig->qts, "STOP");
    object_del(rig->qts, "hold");
    expect_silence(rig, UP);
    expect_silence(rig, N0);
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'cont' }");
    expect_both_ways(rig, 1);
    expect_both_ways(rig, 2);
    check_goes_on(rig);
    rig_free(rig);
}

/* A filter goes with its netdev, and lets go of what it holds before. */
static void test_buffer_netdev_deleted(const void *netdev)
{
    Rig *rig = held_rig(netdev);

    del(rig->qts, netdev);
    expect_both_ways(rig, 1);
    expect_both_ways(rig, 2);
    pass_interval(rig);
    expect_silence(rig, UP);
    expect_silence(rig, N0);
    rig_free(rig);
}

/*
 * The last slave goes, and the port with it, while the master's filter holds
 * what the port has sent: that is lost.
 */
static void test_buffer_port_gone(void)
{
    Rig *rig = held_rig("up0");

    del(rig->qts, "n0");
    pass_interval(rig);
    expect_silence(rig, UP);
    add(rig->qts, "n0", "'master': 'up0', 'netdev': 's0',"
        "'mac': '" PORT_MAC "', 'addr': [ '" IP_A "' ]");
    object_del(rig->qts, "hold");
    rig->sent[N0] = rig->sent[UP] = 0;
    check_goes_on(rig);
    rig_free(rig);
}

/* And the same with a NIC before its slave. */
static void test_buffer_nic_gone(void)
{
    Rig *rig = rig_of_nic("addr=" IP_A);
    Nic nic = nic_start(rig, 0);

    hold(rig, "n0", "all");
    nic_send(&nic, OUT(1));
    send_frame(rig, UP, inbound(IP_A, 1));
    settle(rig);
    qpci_unplug_acpi_device_test(rig->qts, "nic0", NIC_SLOT);
    pass_interval(rig);
    expect_silence(rig, UP);
    nic_stop(&nic);
    nic_rig_free(rig);
}

/* The slave of a NIC goes: what the guest has sent is delivered before. */
static void test_buffer_slave_of_nic_gone(void)
{
    Rig *rig = rig_of_nic("addr=" IP_A);
    Nic nic = nic_start(rig, 0);

    hold(rig, "n0", "all");
    nic_send(&nic, OUT(1));
    send_frame(rig, UP, inbound(IP_A, 1));
    settle(rig);
    del(rig->qts, "n0");
    expect(rig, UP, OUT_WIRE(1));
    pass_interval(rig);
    expect_silence(rig, UP);
    nic_stop(&nic);
    nic_rig_free(rig);
}

/*
 * A guest has no room when the filter lets go: its NIC keeps all of it, which
 * nobody is told of.  Later frames wait behind, and none is lost or stuck.
 */
static void test_buffer_no_room(void)
{
    Rig *rig = rig_of_nic("addr=" IP_A);
    Nic nic = nic_start(rig, 0);

    hold(rig, "n0", "tx");
    for (int i = 1; i <= 8; i++) {
        send_frame(rig, UP, inbound(IP_A, i));
    }
    settle(rig);
    pass_interval(rig);
    object_del(rig->qts, "hold");
    for (int i = 9; i <= 12; i++) {
        send_frame(rig, UP, inbound(IP_A, i));
    }
    while (get_int(rig->qts, "0.stats.rx-packets") != rig->sent[UP]) {
        continue;
    }
    for (int i = 1; i <= 12; i++) {
        nic_expect(&nic, IN(i));
    }
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.rx-queue"), ==, 0);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, 0);
    send_frame(rig, UP, inbound(IP_A, 13));
    nic_expect(&nic, IN(13));
    nic_stop(&nic);
    nic_rig_free(rig);
}

/* --- filter-mirror and filter-redirector ----------------------------------- */

enum { MIRROR_MAX = 2048 };

/* A chardev @id, whose other end is returned. */
static int chardev_option(Rig *rig, const char *id, int *child)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    g_assert_cmpint(fcntl(sv[1], F_SETFD, 0), ==, 0);
    g_string_append_printf(rig->args, " -chardev socket,id=%s,fd=%d", id,
                           sv[1]);
    *child = sv[1];
    return sv[0];
}

static void read_all(int fd, void *b, size_t len)
{
    for (size_t at = 0; at < len; ) {
        struct pollfd pfd = { .fd = fd, .events = POLLIN };
        ssize_t n;

        g_assert_cmpint(poll(&pfd, 1, TIMEOUT_US / 1000), ==, 1);
        n = read(fd, (uint8_t *)b + at, len - at);
        g_assert_cmpint(n, >, 0);
        at += n;
    }
}

static uint32_t read_number(int fd)
{
    uint32_t value;

    read_all(fd, &value, sizeof(value));
    return be32_to_cpu(value);
}

/* The next frame, with a virtio-net header of @hdr_len before it. */
static Frame mirror_read(int fd, bool says_hdr_len, unsigned hdr_len)
{
    uint8_t b[MIRROR_MAX];
    uint32_t len = read_number(fd);
    Frame f = { 0 };

    if (says_hdr_len) {
        g_assert_cmpuint(read_number(fd), ==, hdr_len);
    }
    g_assert_cmpuint(len, >=, hdr_len);
    g_assert_cmpuint(len, <=, sizeof(b));
    read_all(fd, b, len);
    put(&f, b + hdr_len, len - hdr_len);
    return f;
}

static void mirror_expect(int fd, bool says_hdr_len, unsigned hdr_len,
                          Frame expected)
{
    Frame f = mirror_read(fd, says_hdr_len, hdr_len);

    assert_same(&f, &expected);
}

static void write_number(GByteArray *out, uint32_t value)
{
    value = cpu_to_be32(value);
    g_byte_array_append(out, (uint8_t *)&value, sizeof(value));
}

/* @len bytes of which the first @hdr_len are a virtio-net header. */
static void redirector_write(int fd, unsigned hdr_len, const void *b,
                             size_t len)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autofree uint8_t *hdr = g_malloc0(hdr_len + 1);

    write_number(out, hdr_len + len);
    write_number(out, hdr_len);
    g_byte_array_append(out, hdr, hdr_len);
    g_byte_array_append(out, b, len);
    g_assert_cmpint(write(fd, out->data, out->len), ==, out->len);
}

static void redirector_write_frame(int fd, unsigned hdr_len, Frame f)
{
    redirector_write(fd, hdr_len, f.b, f.len);
}

/* Copies of what passes, with virtio-net headers where there are any. */
static void test_mirror(void)
{
    Rig *rig = rig_prepare("-machine pc");
    int child[3], all, plain, up;
    Nic nic;

    all = chardev_option(rig, "all", &child[0]);
    plain = chardev_option(rig, "plain", &child[1]);
    up = chardev_option(rig, "up", &child[2]);
    add_nic(rig, 0, "addr=" IP_A);
    g_string_append(rig->args,
                    " -object filter-mirror,id=m0,netdev=n0,outdev=all,"
                    "vnet_hdr_support=on"
                    " -object filter-mirror,id=m1,netdev=n0,outdev=plain,"
                    "queue=rx"
                    " -object filter-mirror,id=m2,netdev=up0,outdev=up,"
                    "vnet_hdr_support=on");
    nic_rig_start(rig);
    for (int i = 0; i < ARRAY_SIZE(child); i++) {
        close(child[i]);
    }
    nic = nic_start(rig, 0);

    nic_send(&nic, OUT(1));
    expect(rig, UP, OUT_WIRE(1));
    send_frame(rig, UP, inbound(IP_A, 2));
    nic_expect(&nic, IN(2));
    mirror_expect(all, true, nic.hdr_len, OUT(1));
    mirror_expect(all, true, nic.hdr_len, IN(2));
    mirror_expect(plain, false, nic.hdr_len, OUT(1));
    /* a socket as the uplink has no headers */
    mirror_expect(up, true, 0, OUT_WIRE(1));
    mirror_expect(up, true, 0, inbound(IP_A, 2));
    /* whoever reads may go */
    close(all);
    nic_send(&nic, OUT(3));
    expect(rig, UP, OUT_WIRE(3));
    mirror_expect(plain, false, nic.hdr_len, OUT(3));
    close(plain);
    close(up);
    nic_stop(&nic);
    nic_rig_free(rig);
}

/* The next NIC may be one that knows nothing of virtio-net headers. */
static void test_mirror_next_nic(void)
{
    Rig *rig = rig_prepare("-machine pc");
    Frame padded = with_dst(inbound(IP_A, 2), mac_a);
    int child, fd;
    Nic nic;

    fd = chardev_option(rig, "fd", &child);
    add_nic(rig, 0, "addr=" IP_A);
    g_string_append(rig->args, " -object filter-mirror,id=m,netdev=n0,"
                    "outdev=fd,vnet_hdr_support=on");
    nic_rig_start(rig);
    close(child);
    nic = nic_start(rig, 0);
    send_frame(rig, UP, inbound(IP_A, 1));
    mirror_expect(fd, true, nic.hdr_len, with_dst(inbound(IP_A, 1), mac_a));
    qpci_unplug_acpi_device_test(rig->qts, "nic0", NIC_SLOT);
    nic_stop(&nic);
    qtest_qmp_device_add(rig->qts, "e1000", "nic0",
                         "{ 'netdev': 'n0', 'addr': '4', 'romfile': '',"
                         "  'mac': '52:54:00:00:00:0a' }");
    send_frame(rig, UP, inbound(IP_A, 2));
    padded.len = 60;
    mirror_expect(fd, true, 0, padded);
    close(fd);
    nic_rig_free(rig);
}

/*
 * Room for @n frames, of which nobody will look at what is in them.  The NIC
 * is not told, but finds it when it has a frame.
 */
static void nic_give_room(Nic *nic, int n)
{
    QTestState *qts = nic->rig->qts;
    QVirtQueue *vq = nic->rx[0];
    uint64_t buf = guest_alloc(&guest_alloc_state, MIRROR_MAX);
    uint16_t idx = qtest_readw(qts, vq->avail + 2);

    for (int i = 0; i < n; i++) {
        uint32_t head = qvirtqueue_add(qts, vq, buf, MIRROR_MAX, true, false);

        qtest_writew(qts, vq->avail + 4 + 2 * (idx++ % vq->size), head);
    }
    qtest_writew(qts, vq->avail + 2, idx);
}

static void nic_wait_for_frames(Nic *nic, int n)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (n) {
        if (qvirtqueue_get_buf(nic->rig->qts, nic->rx[0], NULL, NULL)) {
            n--;
        }
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

/*
 * QEMU waits for who reads from a mirror, and meanwhile other NICs go on, also
 * with frames to the same slave.
 */
static void test_mirror_slow(void)
{
    static const uint8_t *const macs[] = { mac_a, mac_b, mac_c };
    static const char *const ips[] = { IP_A, IP_B, IP_C };
    /* more than are handed out at a time, and no more than a ring has */
    enum { UNICAST = 30, BROADCAST = 90 };
    Rig *rig = rig_prepare("-machine pc");
    unsigned seen[3] = { 0 }, seen_by_all[3] = { 0 };
    int child, fd, least = 1;
    Nic nic[3];

    fd = chardev_option(rig, "slow", &child);
    g_assert_cmpint(setsockopt(child, SOL_SOCKET, SO_SNDBUF, &least,
                               sizeof(least)), ==, 0);
    for (int i = 0; i < 3; i++) {
        g_autofree char *addr = g_strdup_printf("addr=%s", ips[i]);

        /* they take turns, with each other and with deferred work */
        add_nic_with(rig, i, addr, "x-txburst=4");
    }
    nic_rig_start(rig);
    close(child);
    for (int i = 0; i < 3; i++) {
        nic[i] = nic_start(rig, i);
    }
    for (int i = 0; i < 3; i++) {
        nic_send(&nic[i], udp(ext_mac, macs[i], ips[i], EXT_IP, 0));
    }
    object_add(rig->qts, "{ 'qom-type': 'filter-mirror', 'id': 'm',"
               "  'netdev': 'n1', 'outdev': 'slow',"
               "  'vnet_hdr_support': true }");

    nic_give_room(&nic[1], 2 * (UNICAST + BROADCAST));
    /* all of them begin at once */
    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'stop' }");
    for (int i = 0; i < BROADCAST; i++) {
        for (int from = 0; from < 3; from += 2) {
            nic_push(&nic[from], 0, udp(broadcast, macs[from], ips[from],
                                        "10.0.0.255", i));
        }
        if (i < UNICAST) {
            nic_push(&nic[0], 0, udp(mac_b, mac_a, IP_A, IP_B, i));
            nic_push(&nic[2], 0, udp(mac_b, mac_c, IP_C, IP_B, i));
            nic_push(&nic[1], 0, udp(mac_c, mac_b, IP_B, IP_C, i));
        }
    }
    qtest_qmp_send(rig->qts, "{ 'execute': 'cont' }");
    for (int i = 0; i < 3 * UNICAST + 2 * BROADCAST; i++) {
        Frame f = mirror_read(fd, true, nic[1].hdr_len);
        int from = f.b[11] - 0xa;

        g_assert_cmpint(from, >=, 0);
        g_assert_cmpint(from, <, 3);
        /* in the order in which each has sent them */
        if (f.b[0] & 1) {
            g_assert_cmpuint(udp_tag(&f), ==, seen_by_all[from]++);
        } else {
            g_assert_cmpuint(udp_tag(&f), ==, seen[from]++);
        }
    }
    qobject_unref(qtest_qmp_receive(rig->qts));
    /* nothing was forgotten, and all goes on */
    nic_wait_for_frames(&nic[1], 2 * (UNICAST + BROADCAST));
    nic_give_room(&nic[1], 1);
    nic_push(&nic[0], 0, udp(mac_b, mac_a, IP_A, IP_B, UNICAST));
    mirror_expect(fd, true, nic[1].hdr_len,
                  udp(mac_b, mac_a, IP_A, IP_B, UNICAST));
    nic_wait_for_frames(&nic[1], 1);
    close(fd);
    for (int i = 0; i < 3; i++) {
        nic_stop(&nic[i]);
    }
    nic_rig_free(rig);
}

/*
 * The same where it is deferred work that waits for the mirror's reader: what
 * a NIC sends meanwhile makes for more of it, and none is forgotten.
 */
static void test_mirror_slow_backlog(void)
{
    enum { BACKLOG = 200, BURST = 4 };
    Rig *rig = rig_prepare("-machine pc");
    int child, fd, little = 16384;      /* some frames, not all of them */
    Nic a, b;

    fd = chardev_option(rig, "slow", &child);
    g_assert_cmpint(setsockopt(child, SOL_SOCKET, SO_SNDBUF, &little,
                               sizeof(little)), ==, 0);
    add_nic_with(rig, 0, "addr=" IP_A, "x-txburst=4");
    add_nic(rig, 1, "addr=" IP_B);
    g_string_append(rig->args, " -object filter-mirror,id=m,netdev=n1,"
                    "outdev=slow,queue=tx,vnet_hdr_support=on");
    nic_rig_start(rig);
    close(child);
    a = nic_start(rig, 0);
    b = nic_start(rig, 1);
    nic_send(&b, udp(ext_mac, mac_b, IP_B, EXT_IP, 0));
    for (int i = 0; i < BACKLOG; i++) {
        send_frame(rig, UP, inbound(IP_B, i));
    }
    while (get_int(rig->qts, "0.stats.rx-packets") != BACKLOG) {
        continue;
    }

    qtest_qmp_assert_success(rig->qts, "{ 'execute': 'stop' }");
    nic_give_room(&b, BACKLOG + 2 * BURST + 1);
    for (int i = 0; i < 2 * BURST; i++) {
        nic_push(&a, 0, udp(mac_b, mac_a, IP_A, IP_B, BACKLOG + i));
    }
    nic_push(&a, 0, udp(broadcast, mac_a, IP_A, "10.0.0.255",
                        BACKLOG + 2 * BURST));
    qtest_qmp_send(rig->qts, "{ 'execute': 'cont' }");
    for (int i = 0; i < BACKLOG + 2 * BURST + 1; i++) {
        Frame f = mirror_read(fd, true, b.hdr_len);

        g_assert_cmpuint(udp_tag(&f), ==, i);
    }
    qobject_unref(qtest_qmp_receive(rig->qts));
    close(fd);
    nic_stop(&a);
    nic_stop(&b);
    nic_rig_free(rig);
}

/* A NIC on n0, two redirectors and their ends. */
typedef struct Middle {
    Rig *rig;
    Nic nic;
    int out, in;
} Middle;

/* What passes n0 in direction @queue goes by way of us. */
static Middle middle_start(const char *queue)
{
    Middle m = { .rig = rig_prepare("-machine pc") };
    bool rx = g_str_equal(queue, "rx");
    int child[2];

    m.out = chardev_option(m.rig, "out", &child[0]);
    m.in = chardev_option(m.rig, "in", &child[1]);
    add_nic(m.rig, 0, "addr=" IP_A);
    /* Of what the netdev gets, the filter that was made last is the first. */
    g_string_append_printf(m.rig->args,
                           " -object filter-redirector,id=%s,netdev=n0,"
                           "queue=%s,%s,vnet_hdr_support=on"
                           " -object filter-redirector,id=%s,netdev=n0,"
                           "queue=%s,%s,vnet_hdr_support=on",
                           rx ? "in" : "out", queue,
                           rx ? "indev=in" : "outdev=out",
                           rx ? "out" : "in", queue,
                           rx ? "outdev=out" : "indev=in");
    nic_rig_start(m.rig);
    close(child[0]);
    close(child[1]);
    m.nic = nic_start(m.rig, 0);
    return m;
}

static void middle_end(Middle *m)
{
    close(m->out);
    close(m->in);
    nic_stop(&m->nic);
    nic_rig_free(m->rig);
}

static void test_redirector_rx(void)
{
    Middle m = middle_start("rx");

    nic_send(&m.nic, OUT(1));
    mirror_expect(m.out, true, m.nic.hdr_len, OUT(1));
    expect_silence(m.rig, UP);
    redirector_write_frame(m.in, m.nic.hdr_len, OUT(2));
    expect(m.rig, UP, OUT_WIRE(2));
    /* the other direction is none of its business */
    send_frame(m.rig, UP, inbound(IP_A, 3));
    nic_expect(&m.nic, IN(3));

    /* Less than a header, and nothing but one */
    redirector_write(m.in, 0, "x", 1);
    redirector_write(m.in, m.nic.hdr_len, NULL, 0);
    redirector_write_frame(m.in, m.nic.hdr_len, OUT(4));
    expect(m.rig, UP, OUT_WIRE(4));
    g_assert_cmpint(get_drops(m.rig->qts, "0.slaves.0", "truncated"), ==, 2);
    middle_end(&m);
}

static void test_redirector_tx(void)
{
    Middle m = middle_start("tx");

    nic_promiscuous(&m.nic, false);
    send_frame(m.rig, UP, inbound(IP_A, 1));
    mirror_expect(m.out, true, m.nic.hdr_len, IN(1));
    redirector_write_frame(m.in, m.nic.hdr_len, IN(2));
    nic_expect(&m.nic, IN(2));
    nic_send(&m.nic, OUT(3));
    expect(m.rig, UP, OUT_WIRE(3));

    redirector_write(m.in, 0, "x", 1);
    redirector_write(m.in, m.nic.hdr_len, NULL, 0);
    redirector_write_frame(m.in, m.nic.hdr_len, IN(4));
    nic_expect(&m.nic, IN(4));
    middle_end(&m);
}

/* What it would send to who has gone is lost, until it is deleted. */
static void test_redirector_closed(void)
{
    Middle m = middle_start("rx");

    close(m.out);
    nic_send(&m.nic, OUT(1));
    nic_send(&m.nic, OUT(2));
    expect_silence(m.rig, UP);
    object_del(m.rig->qts, "out");
    nic_send(&m.nic, OUT(3));
    expect(m.rig, UP, OUT_WIRE(3));
    close(m.in);
    nic_stop(&m.nic);
    nic_rig_free(m.rig);
}

static void add_buffer_tests(const char *name, void (*test)(const void *))
{
    static const char *const netdevs[] = { "n0", "up0" };

    for (int i = 0; i < ARRAY_SIZE(netdevs); i++) {
        g_autofree char *path = g_strdup_printf("ipvlan-filter/buffer/%s/%s",
                                                name, netdevs[i]);

        qtest_add_data_func(path, netdevs[i], test);
    }
}

static void remove_captures(void)
{
    g_autoptr(GDir) dir = g_dir_open(tmp, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(tmp, name, NULL);

        g_unlink(path);
    }
    g_rmdir(tmp);
    g_free(tmp);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    tmp = g_dir_make_tmp("ipvlan-filter-XXXXXX", NULL);
    g_assert_nonnull(tmp);

    qtest_add_func("ipvlan-filter/dump/sides", test_dump);
    qtest_add_func("ipvlan-filter/dump/front", test_dump_front);
    qtest_add_func("ipvlan-filter/dump/run-time", test_dump_at_run_time);
    qtest_add_func("ipvlan-filter/multiqueue", test_multiqueue);

    add_buffer_tests("interval", test_buffer_interval);
    add_buffer_tests("deleted", test_buffer_deleted);
    add_buffer_tests("off", test_buffer_off);
    add_buffer_tests("stopped", test_buffer_stopped);
    add_buffer_tests("netdev-deleted", test_buffer_netdev_deleted);
    qtest_add_func("ipvlan-filter/buffer/port-gone", test_buffer_port_gone);
    qtest_add_func("ipvlan-filter/buffer/nic-gone", test_buffer_nic_gone);
    qtest_add_func("ipvlan-filter/buffer/slave-of-nic-gone",
                   test_buffer_slave_of_nic_gone);
    qtest_add_func("ipvlan-filter/buffer/no-room", test_buffer_no_room);

    qtest_add_func("ipvlan-filter/mirror/copies", test_mirror);
    qtest_add_func("ipvlan-filter/mirror/next-nic", test_mirror_next_nic);
    qtest_add_func("ipvlan-filter/mirror/slow", test_mirror_slow);
    qtest_add_func("ipvlan-filter/mirror/slow-backlog",
                   test_mirror_slow_backlog);
    qtest_add_func("ipvlan-filter/redirector/rx", test_redirector_rx);
    qtest_add_func("ipvlan-filter/redirector/tx", test_redirector_tx);
    qtest_add_func("ipvlan-filter/redirector/closed", test_redirector_closed);

    ret = g_test_run();
    remove_captures();
    return ret;
}
