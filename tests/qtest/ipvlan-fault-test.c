/*
 * QTest testcase for -netdev ipvlan: faults of guests, uplinks and clocks
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
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

static void expect_tags(Rig *rig, int wire, uint32_t from, uint32_t to)
{
    while (from < to) {
        g_assert_cmpuint(receive_tag(rig, wire), ==, from++);
    }
}

/* Frames wait for tokens while the clock jumps to where it is in @tag. */
static void jump(Rig *rig, const char *tag)
{
    gint64 start;

    for (int i = 0; i < SHAPED; i++) {
        send_frame(rig, N0, udp(ext_mac, mac_a, IP_A, EXT_IP, i));
    }
    expect_told(rig);
    expect_tags(rig, UP, 0, SHAPED / 2);
    snapshot(rig->qts, "snapshot-load", tag);
    start = g_get_monotonic_time();
    expect_tags(rig, UP, SHAPED / 2, SHAPED);
    expect_told(rig);
    g_test_message("%s: went on within %d ms", tag,
                   (int)((g_get_monotonic_time() - start) / 1000));
    g_assert_cmpint(g_get_monotonic_time() - start, <, STALL_MAX_US);
    assert_str(rig->qts, "0.slaves.2.addresses.0.address", IP_C);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.2.addresses.0.age"), <, 60);
}

/*
 * A machine that is loaded goes on with the clock that it had: here it is
 * years ahead, and then years behind.  What was timed before goes on.
 */
static void test_clock(void)
{
    g_autofree char *dir = g_dir_make_tmp("ipvlan-fault-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "disk", NULL);
    Rig *rig = rig_of_clock();

    introduce(rig, N2, mac_c, IP_C);
    disk_open(rig->qts, path, true);
    snapshot(rig->qts, "snapshot-save", "ahead");
    snapshot(rig->qts, "snapshot-save", "behind");
    rig_free(rig);

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
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("ipvlan-fault/clock", test_clock);
    return g_test_run();
}
