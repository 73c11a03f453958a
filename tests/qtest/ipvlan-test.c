/*
 * QTest testcase for -netdev ipvlan
 *
 * The uplink and the guests are datagram sockets, whose other ends are here;
 * where it takes a NIC, it is a virtio-net one.  A frame that must not arrive
 * is waited for by counters: once QEMU has taken all that was sent, and has
 * nothing waiting, what is not in a socket does not come any more.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include "qemu/bswap.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "block/qdict.h"
#include "libqtest.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-pc.h"
#include "libqos/virtio-pci.h"
#include "standard-headers/linux/virtio_net.h"

#define TIMEOUT_US (30 * G_USEC_PER_SEC)
#define MAC_LEN 6

/* What the wire is to see, in all tests that do not ask for the default. */
#define PORT_MAC "02:00:00:00:00:01"

static const uint8_t port_mac[] = { 2, 0, 0, 0, 0, 1 };
static const uint8_t mac_a[] = { 0x52, 0x54, 0, 0, 0, 0xa };
static const uint8_t mac_b[] = { 0x52, 0x54, 0, 0, 0, 0xb };
static const uint8_t mac_c[] = { 0x52, 0x54, 0, 0, 0, 0xc };
static const uint8_t ext_mac[] = { 0x52, 0x54, 0, 0, 0xee, 0xee };
static const uint8_t broadcast[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static const uint8_t no_mac[MAC_LEN];

/* --- frames -------------------------------------------------------------- */

typedef struct Frame {
    size_t len;
    uint8_t b[512];
} Frame;

static void put(Frame *f, const void *data, size_t len)
{
    g_assert_cmpuint(f->len + len, <=, sizeof(f->b));
    memcpy(f->b + f->len, data, len);
    f->len += len;
}

static void put16(Frame *f, uint16_t value)
{
    stw_be_p(f->b + f->len, value);
    f->len += 2;
}

static void put_ip(Frame *f, const char *ip)
{
    bool v6 = strchr(ip, ':');

    g_assert_cmpint(inet_pton(v6 ? AF_INET6 : AF_INET, ip,
                              f->b + f->len), ==, 1);
    f->len += v6 ? 16 : 4;
}

/* RFC 1071, of @len bytes, an even number, on top of @sum. */
static uint16_t checksum(const uint8_t *b, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i += 2) {
        sum += lduw_be_p(b + i);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

static Frame eth(const uint8_t *dst, const uint8_t *src, uint16_t type)
{
    Frame f = { 0 };

    put(&f, dst, MAC_LEN);
    put(&f, src, MAC_LEN);
    put16(&f, type);
    return f;
}

enum { ARP_REQUEST = 1, ARP_REPLY = 2 };

static Frame arp(int op, const uint8_t *dst, const uint8_t *sha,
                 const char *spa, const uint8_t *tha, const char *tpa)
{
    static const uint8_t head[] = { 0, 1, 8, 0, 6, 4, 0 };
    Frame f = eth(dst, sha, 0x0806);

    put(&f, head, sizeof(head));
    put(&f, &(uint8_t) { op }, 1);
    put(&f, sha, MAC_LEN);
    put_ip(&f, spa);
    put(&f, tha, MAC_LEN);
    put_ip(&f, tpa);
    return f;
}

/* An ARP announcement (RFC 5227), for a guest that shows that it is there. */
static Frame announcement(const uint8_t *mac, const char *ip)
{
    return arp(ARP_REQUEST, broadcast, mac, ip, no_mac, ip);
}

/* IPv4 and UDP; @tag is all that it carries. */
static Frame udp(const uint8_t *dst, const uint8_t *src, const char *sip,
                 const char *dip, uint32_t tag)
{
    static const uint8_t head[] = {
        0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0,
    };
    Frame f = eth(dst, src, 0x0800);
    uint8_t *ip = f.b + f.len;

    put(&f, head, sizeof(head));
    put_ip(&f, sip);
    put_ip(&f, dip);
    stw_be_p(ip + 10, checksum(ip, 20, 0));
    put16(&f, 1000);
    put16(&f, 2000);
    put16(&f, 12);
    put16(&f, 0);
    put16(&f, tag >> 16);
    put16(&f, tag);
    return f;
}

static uint32_t udp_tag(const Frame *f)
{
    g_assert_cmpuint(f->len, ==, 14 + 32);
    return ldl_be_p(f->b + 42);
}

/* A neighbour solicitation with its source's link-layer address. */
static Frame solicitation(const uint8_t *dst, const uint8_t *src,
                          const char *sip, const char *dip,
                          const char *target)
{
    static const uint8_t head[] = { 0x60, 0, 0, 0, 0, 32, 58, 255 };
    static const uint8_t option[] = { 1, 1 };
    Frame f = eth(dst, src, 0x86dd);
    uint8_t *ip = f.b + f.len;

    put(&f, head, sizeof(head));
    put_ip(&f, sip);
    put_ip(&f, dip);
    put16(&f, 135 << 8);
    put16(&f, 0);
    put16(&f, 0);
    put16(&f, 0);
    put_ip(&f, target);
    put(&f, option, sizeof(option));
    put(&f, src, MAC_LEN);
    /* addresses and what follows, and of the pseudo header length and 58 */
    stw_be_p(ip + 42, checksum(ip + 8, 64, 32 + 58));
    return f;
}

static Frame with_src(Frame f, const uint8_t *mac)
{
    memcpy(f.b + MAC_LEN, mac, MAC_LEN);
    return f;
}

static Frame with_dst(Frame f, const uint8_t *mac)
{
    memcpy(f.b, mac, MAC_LEN);
    return f;
}

/* --- query-ipvlan -------------------------------------------------------- */

/* The answer, flat: "0.slaves.1.stats.rx-packets" and the like. */
static QDict *status(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-ipvlan' }");
    QDict *flat = qdict_new();
    QListEntry *entry;
    int i = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), entry) {
        g_autofree char *key = g_strdup_printf("%d", i++);

        qdict_put_obj(flat, key, qobject_ref(qlist_entry_obj(entry)));
    }
    qobject_unref(rsp);
    qdict_flatten(flat);
    return flat;
}

/* All of it as text, to see whether anything has changed. */
static char *status_text(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-ipvlan' }");
    GString *json = qobject_to_json(qdict_get(rsp, "return"));

    qobject_unref(rsp);
    return g_string_free(json, false);
}

static bool has(QTestState *qts, const char *key)
{
    QDict *flat = status(qts);
    bool found = qdict_haskey(flat, key);

    qobject_unref(flat);
    return found;
}

static int64_t get_int(QTestState *qts, const char *key)
{
    QDict *flat = status(qts);
    int64_t value = qdict_get_int(flat, key);

    qobject_unref(flat);
    return value;
}

static bool get_bool(QTestState *qts, const char *key)
{
    QDict *flat = status(qts);
    bool value = qdict_get_bool(flat, key);

    qobject_unref(flat);
    return value;
}

static char *get_str(QTestState *qts, const char *key)
{
    QDict *flat = status(qts);
    char *value = g_strdup(qdict_get_try_str(flat, key));

    qobject_unref(flat);
    return value;
}

static void assert_str(QTestState *qts, const char *key, const char *expected)
{
    g_autofree char *value = get_str(qts, key);

    g_assert_cmpstr(value, ==, expected);
}

/* Of what "0" or "0.slaves.1" has dropped; NULL @reason: the sum. */
static int64_t get_drops(QTestState *qts, const char *who, const char *reason)
{
    QDict *flat = status(qts);
    int64_t sum = 0;

    for (int i = 0; ; i++) {
        g_autofree char *r = g_strdup_printf("%s.stats.drops.%d.reason",
                                             who, i);
        g_autofree char *n = g_strdup_printf("%s.stats.drops.%d.packets",
                                             who, i);

        if (!qdict_haskey(flat, r)) {
            break;
        }
        if (!reason || g_str_equal(qdict_get_str(flat, r), reason)) {
            sum += qdict_get_int(flat, n);
        }
    }
    qobject_unref(flat);
    return sum;
}

/* --- a QEMU with an uplink and guests on sockets -------------------------- */

enum { UP, N0, N1, N2, N_WIRES };

typedef struct Rig {
    QTestState *qts;
    int fd[N_WIRES];            /* our ends, -1: not there */
    int child[N_WIRES];         /* QEMU's, until it runs */
    int64_t sent[N_WIRES];
    GString *args;
} Rig;

static void wire_open(int *ours, int *theirs)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    *ours = sv[0];
    *theirs = sv[1];
    g_assert_cmpint(fcntl(*theirs, F_SETFD, 0), ==, 0);
}

static void rig_wire(Rig *rig, int wire, const char *id)
{
    wire_open(&rig->fd[wire], &rig->child[wire]);
    g_string_append_printf(rig->args, " -netdev dgram,id=%s,local.type=fd,"
                           "local.str=%d", id, rig->child[wire]);
}

/* An uplink, and nothing on it; rig_start() is to come. */
static Rig *rig_prepare(const char *machine)
{
    Rig *rig = g_new0(Rig, 1);

    for (int i = 0; i < N_WIRES; i++) {
        rig->fd[i] = rig->child[i] = -1;
    }
    rig->args = g_string_new("-nodefaults ");
    g_string_append(rig->args, machine);
    rig_wire(rig, UP, "up0");
    return rig;
}

static void rig_start(Rig *rig)
{
    rig->qts = qtest_init(rig->args->str);
    for (int i = 0; i < N_WIRES; i++) {
        if (rig->child[i] >= 0) {
            close(rig->child[i]);
        }
    }
}

static void rig_add_slave(Rig *rig, int wire, const char *options)
{
    g_autofree char *id = g_strdup_printf("s%d", wire - N0);

    rig_wire(rig, wire, id);
    g_string_append_printf(rig->args, " -netdev ipvlan,id=n%d,master=up0,"
                           "netdev=%s%s%s", wire - N0, id,
                           *options ? "," : "", options);
}

/*
 * Slaves n0, n1, ... with the port's @port options and an option string each,
 * NULL at the end.
 */
static Rig *G_GNUC_NULL_TERMINATED rig_new(const char *port, ...)
{
    Rig *rig = rig_prepare("-machine none");
    g_autofree char *common = g_strdup_printf("mac=" PORT_MAC "%s%s",
                                              *port ? "," : "", port);
    const char *options;
    va_list ap;

    va_start(ap, port);
    for (int wire = N0; (options = va_arg(ap, const char *)); wire++) {
        g_autofree char *all = g_strdup_printf("%s%s%s", common,
                                               *options ? "," : "", options);

        g_assert_cmpint(wire, <, N_WIRES);
        rig_add_slave(rig, wire, all);
    }
    va_end(ap);
    rig_start(rig);
    return rig;
}

static void rig_free(Rig *rig)
{
    qtest_quit(rig->qts);
    for (int i = 0; i < N_WIRES; i++) {
        if (rig->fd[i] >= 0) {
            close(rig->fd[i]);
        }
    }
    g_string_free(rig->args, true);
    g_free(rig);
}

static void send_bytes(Rig *rig, int wire, const void *b, size_t len)
{
    g_assert_cmpint(send(rig->fd[wire], b, len, 0), ==, len);
    rig->sent[wire]++;
}

static void send_frame(Rig *rig, int wire, Frame f)
{
    send_bytes(rig, wire, f.b, f.len);
}

static Frame receive(Rig *rig, int wire)
{
    struct pollfd pfd = { .fd = rig->fd[wire], .events = POLLIN };
    Frame f;

    g_assert_cmpint(poll(&pfd, 1, TIMEOUT_US / 1000), ==, 1);
    f.len = recv(rig->fd[wire], f.b, sizeof(f.b), 0);
    g_assert_cmpint(f.len, >, 0);
    return f;
}

static char *hex(const Frame *f)
{
    GString *text = g_string_new(NULL);

    for (size_t i = 0; i < f->len; i++) {
        g_string_append_printf(text, "%02x ", f->b[i]);
    }
    return g_string_free(text, false);
}

static void expect(Rig *rig, int wire, Frame expected)
{
    Frame f = receive(rig, wire);
    g_autofree char *is = hex(&f), *should_be = hex(&expected);

    g_assert_cmpstr(is, ==, should_be);
}

/* Has QEMU taken all that we sent, and is there nothing that waits? */
static bool is_settled(Rig *rig)
{
    QDict *flat = status(rig->qts);
    bool settled =
        qdict_get_int(flat, "0.stats.rx-packets") == rig->sent[UP] &&
        qdict_get_int(flat, "0.backlog") == 0;

    for (int i = N0; i < N_WIRES && rig->fd[i] >= 0; i++) {
        g_autofree char *tx = g_strdup_printf("0.slaves.%d.stats.tx-packets",
                                              i - N0);
        g_autofree char *queue = g_strdup_printf("0.slaves.%d.rx-queue",
                                                 i - N0);

        settled = settled && qdict_get_int(flat, tx) == rig->sent[i] &&
                  qdict_get_int(flat, queue) == 0;
    }
    qobject_unref(flat);
    return settled;
}

static void settle(Rig *rig)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (!is_settled(rig)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

/* Nothing has arrived, or is on its way, that was not expected. */
static void expect_nothing(Rig *rig)
{
    uint8_t b;

    settle(rig);
    for (int i = 0; i < N_WIRES; i++) {
        if (rig->fd[i] >= 0) {
            g_assert_cmpint(recv(rig->fd[i], &b, 1, MSG_DONTWAIT), ==, -1);
            g_assert_cmpint(errno, ==, EAGAIN);
        }
    }
}

static void discard(Rig *rig, int wire)
{
    uint8_t b;

    while (recv(rig->fd[wire], &b, 1, MSG_DONTWAIT) > 0) {
        continue;
    }
}

static void discard_all(Rig *rig)
{
    settle(rig);
    for (int i = 0; i < N_WIRES; i++) {
        if (rig->fd[i] >= 0) {
            discard(rig, i);
        }
    }
}

/* The guest on @wire shows that it has @ip. */
static void introduce(Rig *rig, int wire, const uint8_t *mac, const char *ip)
{
    send_frame(rig, wire, announcement(mac, ip));
    discard_all(rig);
}

/* --- QMP ----------------------------------------------------------------- */

static QDict *netdev_add(QTestState *qts, const char *id, const char *options)
{
    g_autofree char *json = g_strdup_printf(
        "{ 'type': 'ipvlan', 'id': '%s', %s }", id, options);

    return qtest_qmp(qts, "{ 'execute': 'netdev_add', 'arguments': %p }",
                     qobject_from_json(json, &error_abort));
}

static void add(QTestState *qts, const char *id, const char *options)
{
    QDict *rsp = netdev_add(qts, id, options);

    g_assert(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
}

static void add_fails(QTestState *qts, const char *id, const char *options,
                      const char *desc)
{
    QDict *rsp = netdev_add(qts, id, options);

    g_assert(qdict_haskey(rsp, "error"));
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"),
                    ==, desc);
    qobject_unref(rsp);
}

static void del(QTestState *qts, const char *id)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'netdev_del',"
                             "  'arguments': { 'id': %s } }", id);
}

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
};

/* up0 with slaves, an unused netdev, and one that a hub port has. */
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
                    "netdev=hubbed");
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

/* It takes a tap to have more than one queue, and rights to have a tap. */
static void test_error_multiqueue(void)
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
    add_fails(qts, "new", "'master': 'multi'",
              "master=multi: it has 2 queues, only one is supported");
    add_fails(qts, "new", "'master': 'one', 'netdev': 'multi'",
              "netdev=multi: it has 2 queues, only one is supported");
    add(qts, "new", "'master': 'one'");
    qtest_quit(qts);
out:
    for (int i = 0; i < 2; i++) {
        if (fd[i] >= 0) {
            close(fd[i]);
        }
    }
}

/* --- the command line ---------------------------------------------------- */

/* Run QEMU until it ends by itself; the exit code is the result. */
static int run_qemu(const char *args, char **out, char **err)
{
    g_autofree char *command = g_strdup_printf("%s -nodefaults -display none "
                                               "-machine none %s",
                                               getenv("QTEST_QEMU_BINARY"),
                                               args);
    g_autoptr(GError) error = NULL;
    int wait_status;

    g_spawn_command_line_sync(command, out, err, &wait_status, &error);
    g_assert_no_error(error);
    g_assert(WIFEXITED(wait_status));
    return WEXITSTATUS(wait_status);
}

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
    { "hub-and-netdev", HUB "-netdev hubport,id=more,hubid=2 "
      "-net ipvlan,id=n0,master=free,netdev=more",
      "netdev=more: -net attaches 'n0' to a hub already" },
};

static void test_cli(const void *data)
{
    int i = GPOINTER_TO_INT(data);
    g_autofree char *err = NULL;
    g_autofree char *line = g_strdup_printf(": %s\n", cli_cases[i].sentence);

    g_assert_cmpint(run_qemu(cli_cases[i].args, NULL, &err), ==, 1);
    g_test_message("%s", err);
    g_assert_nonnull(strstr(err, line));
    /* one sentence: no second line */
    g_assert_null(strchr(strchr(err, '\n') + 1, '\n'));
}

static void test_cli_help(void)
{
    g_autofree char *out = NULL;

    g_assert_cmpint(run_qemu("-netdev help", &out, NULL), ==, 0);
    g_assert_nonnull(strstr(out, "\nipvlan\n"));
}

/* --- frames -------------------------------------------------------------- */

#define IP_A "10.0.0.1"
#define IP_B "10.0.0.2"
#define IP_C "10.0.0.3"
#define EXT_IP "10.0.0.100"
#define NOBODY "10.0.0.200"

/* From outside to @ip behind the port. */
static Frame inbound(const char *ip, uint32_t tag)
{
    return udp(port_mac, ext_mac, EXT_IP, ip, tag);
}

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

/* --- the port's default MAC ----------------------------------------------- */

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

/* --- life and death ------------------------------------------------------- */

static void add_hubport(QTestState *qts, const char *id, int hub)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'netdev_add', 'arguments': {"
                             "  'type': 'hubport', 'id': %s, 'hubid': %d } }",
                             id, hub);
}

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

/* The master goes, and another one comes, while slaves hold on to the first. */
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

    add_hubport(qts, "up0", 1);
    add(qts, "new", "'master': 'up0', 'addr': [ '10.0.0.1' ]");
    g_assert_false(get_bool(qts, "0.link-up"));
    g_assert_true(get_bool(qts, "1.link-up"));
    assert_str(qts, "0.slaves.0.id", "old");
    assert_str(qts, "1.slaves.0.id", "new");
    del(qts, "old");
    g_assert_true(get_bool(qts, "0.link-up"));
    assert_str(qts, "0.slaves.0.id", "new");
    del(qts, "up0");
    add_hubport(qts, "up0", 1);
    add(qts, "newer", "'master': 'up0'");
    del(qts, "newer");
    assert_str(qts, "0.slaves.0.id", "new");
    del(qts, "new");
    assert_empty(qts);
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

/* --- NICs ----------------------------------------------------------------- */

#define NIC_SLOT 4
#define NIC_HDR sizeof(struct virtio_net_hdr_mrg_rxbuf)
#define NIC_BUF 2048
#define ETH_MIN 60

typedef struct Nic {
    Rig *rig;
    QVirtioPCIDevice *dev;
    QVirtQueue *rx, *tx, *ctrl;
} Nic;

static QGuestAllocator guest_alloc_state;
static QPCIBus *pci;

static void add_nic(Rig *rig, int n, const char *options)
{
    g_string_append_printf(rig->args, " -netdev ipvlan,id=n%d,master=up0,"
                           "mac=" PORT_MAC "%s%s -device virtio-net-pci,"
                           "netdev=n%d,id=nic%d,addr=%d,romfile=,"
                           "mac=52:54:00:00:00:%02x", n,
                           *options ? "," : "", options, n, n, NIC_SLOT + n,
                           0xa + n);
}

static void nic_rig_start(Rig *rig)
{
    rig_start(rig);
    pc_alloc_init(&guest_alloc_state, rig->qts, ALLOC_NO_FLAGS);
    pci = qpci_new_pc(rig->qts, &guest_alloc_state);
}

static void nic_rig_free(Rig *rig)
{
    qpci_free_pc(pci);
    alloc_destroy(&guest_alloc_state);
    rig_free(rig);
}

/* One NIC, on the slave n0. */
static Rig *rig_of_nic(const char *options)
{
    Rig *rig = rig_prepare("-machine pc");

    add_nic(rig, 0, options);
    nic_rig_start(rig);
    return rig;
}

/*
 * A driver that does without @features has come as far as to look at the
 * configuration.
 */
static QVirtioPCIDevice *nic_find_without(int n, uint64_t features)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(NIC_SLOT + n, 0) };
    QVirtioPCIDevice *dev = virtio_pci_new(pci, &addr);

    g_assert_nonnull(dev);
    qvirtio_pci_device_enable(dev);
    qvirtio_start_device(&dev->vdev);
    qvirtio_set_features(&dev->vdev, qvirtio_get_features(&dev->vdev) &
                         ~(QVIRTIO_F_BAD_FEATURE |
                           (1ull << VIRTIO_RING_F_INDIRECT_DESC) |
                           (1ull << VIRTIO_RING_F_EVENT_IDX) | features));
    return dev;
}

static QVirtioPCIDevice *nic_find(int n)
{
    return nic_find_without(n, 0);
}

static bool nic_is_up(QVirtioPCIDevice *dev)
{
    uint16_t nic_status = qvirtio_config_readw(&dev->vdev,
        offsetof(struct virtio_net_config, status));

    return nic_status & VIRTIO_NET_S_LINK_UP;
}

/* A driver with all its queues. */
static Nic nic_start_without(Rig *rig, int n, uint64_t features)
{
    Nic nic = { .rig = rig, .dev = nic_find_without(n, features) };
    QVirtioDevice *vdev = &nic.dev->vdev;

    nic.rx = qvirtqueue_setup(vdev, &guest_alloc_state, 0);
    nic.tx = qvirtqueue_setup(vdev, &guest_alloc_state, 1);
    nic.ctrl = qvirtqueue_setup(vdev, &guest_alloc_state, 2);
    qvirtio_set_driver_ok(vdev);
    return nic;
}

static Nic nic_start(Rig *rig, int n)
{
    return nic_start_without(rig, n, 0);
}

static void nic_stop(Nic *nic)
{
    const QVirtioBus *bus = nic->dev->vdev.bus;

    qvirtqueue_cleanup(bus, nic->rx, &guest_alloc_state);
    qvirtqueue_cleanup(bus, nic->tx, &guest_alloc_state);
    qvirtqueue_cleanup(bus, nic->ctrl, &guest_alloc_state);
    qos_object_destroy((QOSGraphObject *)nic->dev);
}

static void nic_kick_and_wait(Nic *nic, QVirtQueue *vq, uint32_t head)
{
    qvirtqueue_kick(nic->rig->qts, &nic->dev->vdev, vq, head);
    qvirtio_wait_used_elem(nic->rig->qts, &nic->dev->vdev, vq, head, NULL,
                           TIMEOUT_US);
}

/* The next frame that the NIC gets, or has had no buffer for, is @expected. */
static void nic_expect(Nic *nic, Frame expected)
{
    QTestState *qts = nic->rig->qts;
    uint64_t buf = guest_alloc(&guest_alloc_state, NIC_BUF);
    g_autofree char *is = NULL, *should_be = NULL;
    Frame f;

    nic_kick_and_wait(nic, nic->rx, qvirtqueue_add(qts, nic->rx, buf,
                                                   NIC_BUF, true, false));
    /* short frames are padded */
    expected.len = MAX(expected.len, ETH_MIN);
    f.len = expected.len;
    qtest_memread(qts, buf + NIC_HDR, f.b, f.len);
    is = hex(&f);
    should_be = hex(&expected);
    g_assert_cmpstr(is, ==, should_be);
    guest_free(&guest_alloc_state, buf);
}

static void nic_send(Nic *nic, Frame f)
{
    QTestState *qts = nic->rig->qts;
    uint64_t buf = guest_alloc(&guest_alloc_state, NIC_BUF);

    qtest_memset(qts, buf, 0, NIC_HDR);
    qtest_memwrite(qts, buf + NIC_HDR, f.b, f.len);
    nic_kick_and_wait(nic, nic->tx, qvirtqueue_add(qts, nic->tx, buf,
                                                   NIC_HDR + f.len, false,
                                                   false));
    guest_free(&guest_alloc_state, buf);
}

static void nic_control(Nic *nic, uint8_t class, uint8_t cmd,
                        const void *data, size_t len)
{
    QTestState *qts = nic->rig->qts;
    uint64_t buf = guest_alloc(&guest_alloc_state, 2 + len + 1);
    uint32_t head;

    qtest_writeb(qts, buf, class);
    qtest_writeb(qts, buf + 1, cmd);
    qtest_memwrite(qts, buf + 2, data, len);
    qtest_writeb(qts, buf + 2 + len, VIRTIO_NET_ERR);
    head = qvirtqueue_add(qts, nic->ctrl, buf, 2, false, true);
    qvirtqueue_add(qts, nic->ctrl, buf + 2, len, false, true);
    qvirtqueue_add(qts, nic->ctrl, buf + 2 + len, 1, true, false);
    nic_kick_and_wait(nic, nic->ctrl, head);
    g_assert_cmpint(qtest_readb(qts, buf + 2 + len), ==, VIRTIO_NET_OK);
    guest_free(&guest_alloc_state, buf);
}

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
    while (get_drops(rig->qts, "0.slaves.0", "rx-queue-full") != 3) {
        g_assert_cmpint(get_int(rig->qts, "0.stats.rx-packets"), <=, 8);
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
        send_frame(rig, UP, inbound(IP_A, 1));
        send_frame(rig, UP, inbound(IP_A, 2));
        while (get_int(rig->qts, "0.stats.rx-packets") != rig->sent[UP]) {
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

/* --- set_link ------------------------------------------------------------- */

static void set_link(QTestState *qts, const char *name, bool up)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'set_link', 'arguments': {"
                             "  'name': %s, 'up': %i } }", name, up);
}

typedef struct LinkStep {
    const char *name;           /* of the master, the slave or the NIC */
    bool on;
    bool master, slave, nic;    /* what is up then */
} LinkStep;

typedef struct LinkCase {
    const char *name;
    LinkStep steps[6];
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
        { "nic0", true, true, false, false },
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

/* --- busy ends ------------------------------------------------------------ */

#define BURST 40

/* Room for a few frames only, in what QEMU has sent on @wire. */
static void make_small(Rig *rig, int wire)
{
    int size = 1;               /* the kernel makes it its minimum */

    g_assert_cmpint(setsockopt(rig->child[wire], SOL_SOCKET, SO_SNDBUF,
                               &size, sizeof(size)), ==, 0);
}

/* Two slaves, and a small uplink; *@log is to tell who had to wait. */
static Rig *rig_of_busy_uplink(char **log)
{
    Rig *rig = rig_prepare("-machine none");
    int fd = g_file_open_tmp("ipvlan-test-XXXXXX", log, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    make_small(rig, UP);
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

static void test_rx_queue(void)
{
    Rig *rig = rig_prepare("-machine none");
    int64_t lost;

    rig_add_slave(rig, N0, "mac=" PORT_MAC ",addr=" IP_A ",rx-queue=8");
    make_small(rig, N0);
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

/* --- a NIC's filter ------------------------------------------------------- */

static void nic_promiscuous(Nic *nic, bool on)
{
    uint8_t value = on;

    nic_control(nic, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &value,
                sizeof(value));
}

/* No unicast addresses but its own, and one group or none. */
static void nic_set_group(Nic *nic, const uint8_t *group)
{
    uint8_t table[4 + 4 + MAC_LEN] = { 0 };

    table[4] = group ? 1 : 0;
    if (group) {
        memcpy(table + 8, group, MAC_LEN);
    }
    nic_control(nic, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET,
                table, group ? sizeof(table) : 8);
}

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

/* --- what can be asked ---------------------------------------------------- */

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

static void step(Rig *rig, int64_t seconds)
{
    qtest_clock_step(rig->qts, seconds * NANOSECONDS_PER_SECOND);
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
        "             MAC               link  rx pkts  rx bytes  tx pkts"
        "  tx bytes drops\r\n"
        "  up0        02:00:00:00:00:01 up          1        46        1"
        "        42     1\r\n"
        "      dropped: 1 no-owner\r\n"
        "  n0         52:54:00:00:00:0a up          0         0        2"
        "        88     1\r\n"
        "      10.0.0.1 (arp, age 7 s, idle 0 s)\r\n"
        "      dropped: 1 to-itself\r\n"
        "  n1         -                 up          1        42        0"
        "         0     0\r\n"
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
    g_assert_cmpint(get_int(rig->qts, "0.slaves.3.queues"), ==, 4);

    text = qtest_hmp(rig->qts, "info ipvlan");
    g_assert_nonnull(strstr(text, "\r\n      weight 256, tx-bps 8000\r\n"));
    g_assert_nonnull(strstr(text, "\r\n      rx-bps 1000000000000, "
                            "burst 20480\r\n"));
    g_assert_nonnull(strstr(text, "\r\n      queues 4, weight 3, "
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

/* --- hostile frames ------------------------------------------------------- */

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

/* --- frames in pieces ----------------------------------------------------- */

#define PIECES_MAX 61440

/* A frame of @len bytes with a VLAN tag, and no two parts of it alike. */
static uint8_t *long_frame(size_t len, uint16_t vid)
{
    Frame head = eth(mac_b, mac_a, 0x8100);
    uint8_t *b = g_malloc(len);

    put16(&head, vid);
    put16(&head, 0x88b5);
    for (size_t i = 0; i < len; i++) {
        b[i] = i * 7 + (i >> 8);
    }
    memcpy(b, head.b, head.len);
    return b;
}

/*
 * Give @vq the @len bytes at @buf in descriptors of odd sizes, @chain of them
 * to a buffer.  The first buffer's head is returned.
 */
static uint32_t nic_add_pieces(Nic *nic, QVirtQueue *vq, uint64_t buf,
                               size_t len, int chain)
{
    static const size_t sizes[] = { 1, 61, 7, 13, 1509, 3, 4021, 31 };
    QTestState *qts = nic->rig->qts;
    uint32_t first = vq->free_head, head = first;

    for (int i = 0; len; i++) {
        size_t n = MIN(len, sizes[i % ARRAY_SIZE(sizes)]);
        bool last = n == len || i % chain == chain - 1;

        qvirtqueue_add(qts, vq, buf, n, vq == nic->rx, !last);
        if (last) {
            qvirtqueue_kick(qts, &nic->dev->vdev, vq, head);
            head = vq->free_head;
        }
        buf += n;
        len -= n;
    }
    g_assert_cmpint(vq->num_free, >=, 0);
    return first;
}

static void nic_send_pieces(Nic *nic, const uint8_t *b, size_t len)
{
    QTestState *qts = nic->rig->qts;
    uint64_t buf = guest_alloc(&guest_alloc_state, NIC_HDR + len);
    uint32_t head;

    qtest_memset(qts, buf, 0, NIC_HDR);
    qtest_memwrite(qts, buf + NIC_HDR, b, len);
    head = nic_add_pieces(nic, nic->tx, buf, NIC_HDR + len, INT_MAX);
    qvirtio_wait_used_elem(qts, &nic->dev->vdev, nic->tx, head, NULL,
                           TIMEOUT_US);
    guest_free(&guest_alloc_state, buf);
}

/* All that was received fills the buffers at @buf, one after the other. */
static void nic_expect_pieces(Nic *nic, bool mergeable, uint64_t buf,
                              const uint8_t *b, size_t len)
{
    QTestState *qts = nic->rig->qts;
    g_autofree uint8_t *got = g_malloc(NIC_HDR + len);
    struct virtio_net_hdr_mrg_rxbuf *hdr = (void *)got;
    size_t sum = 0;
    uint32_t used;
    int n = 0;

    for (; qvirtqueue_get_buf(qts, nic->rx, NULL, &used); n++) {
        sum += used;
    }
    g_assert_cmpint(sum, ==, NIC_HDR + len);
    qtest_memread(qts, buf, got, NIC_HDR + len);
    g_assert_cmpint(hdr->hdr.flags, ==, 0);
    g_assert_cmpint(hdr->hdr.gso_type, ==, VIRTIO_NET_HDR_GSO_NONE);
    g_assert_cmpint(n, ==, mergeable ? le16_to_cpu(hdr->num_buffers) : 1);
    g_assert_cmpmem(got + NIC_HDR, len, b, len);
}

/* Two NICs, of which @to does without @features and has shown its MAC. */
static void pieces_start(Rig *rig, uint64_t features, Nic *from, Nic *to)
{
    add_nic(rig, 0, "");
    add_nic(rig, 1, "");
    nic_rig_start(rig);
    *from = nic_start(rig, 0);
    *to = nic_start_without(rig, 1, features);
    nic_send(to, announcement(mac_b, IP_B));
}

typedef struct Pieces {
    const char *name;
    size_t len;                 /* of the frame */
    int chain;                  /* descriptors to a receive buffer */
    uint64_t without;           /* features */
} Pieces;

#define MERGEABLE (1ull << VIRTIO_NET_F_MRG_RXBUF)

static const Pieces pieces[] = {
    { "short", 60, 2, 0 },
    { "short-not-mergeable", 60, INT_MAX, MERGEABLE },
    { "linear", 2048, 2, 0 },
    { "linear-not-mergeable", 2048, INT_MAX, MERGEABLE },
    { "scattered", 2049, 2, 0 },
    { "scattered-not-mergeable", 2049, INT_MAX, MERGEABLE },
    { "jumbo", 9000, 2, 0 },
    { "jumbo-not-mergeable", 9000, INT_MAX, MERGEABLE },
    { "long", PIECES_MAX, 3, 0 },
    { "long-in-one-buffer", PIECES_MAX, INT_MAX, 0 },
    { "long-not-mergeable", PIECES_MAX, INT_MAX, MERGEABLE },
};

/*
 * From ring to ring, past the NIC's filter, byte for byte.  What the filter
 * refuses leaves no trace.
 */
static void test_pieces(const void *data)
{
    const Pieces *p = data;
    Rig *rig = rig_prepare("-machine pc");
    g_autofree uint8_t *wanted = long_frame(p->len, 5);
    g_autofree uint8_t *unwanted = long_frame(p->len, 6);
    uint64_t buf;
    Nic from, to;

    pieces_start(rig, p->without, &from, &to);
    nic_promiscuous(&to, false);
    nic_control(&to, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD,
                (uint8_t[]) { 5, 0 }, 2);
    buf = guest_alloc(&guest_alloc_state, NIC_HDR + PIECES_MAX);
    nic_add_pieces(&to, to.rx, buf, NIC_HDR + PIECES_MAX, p->chain);

    nic_send_pieces(&from, unwanted, p->len);
    nic_send_pieces(&from, wanted, p->len);
    nic_expect_pieces(&to, !(p->without & MERGEABLE), buf, wanted, p->len);
    nic_stop(&from);
    nic_stop(&to);
    nic_rig_free(rig);
}

/* A buffer that the frame does not fit in is there for the next one. */
static void test_pieces_no_room(void)
{
    Rig *rig = rig_prepare("-machine pc");
    g_autofree uint8_t *fits = long_frame(2500, 5);
    g_autofree uint8_t *does_not = long_frame(2501, 5);
    uint64_t buf;
    Nic from, to;

    pieces_start(rig, MERGEABLE, &from, &to);
    buf = guest_alloc(&guest_alloc_state, NIC_HDR + 2500);
    nic_add_pieces(&to, to.rx, buf, NIC_HDR + 2500, INT_MAX);

    nic_send_pieces(&from, does_not, 2501);
    nic_send_pieces(&from, fits, 2500);
    nic_expect_pieces(&to, false, buf, fits, 2500);
    nic_stop(&from);
    nic_stop(&to);
    nic_rig_free(rig);
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
    qtest_add_func("ipvlan/error/multiqueue", test_error_multiqueue);
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

    qtest_add_func("ipvlan/nic/frames", test_nic_frames);
    qtest_add_func("ipvlan/nic/queue", test_nic_queue);
    qtest_add_func("ipvlan/nic/netdev-del", test_nic_netdev_del);
    qtest_add_func("ipvlan/nic/master-deleted", test_nic_master_deleted);
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
    qtest_add_func("ipvlan/busy/rx-queue", test_rx_queue);
    qtest_add_func("ipvlan/busy/flood", test_flood);
    qtest_add_func("ipvlan/nic/filter", test_filter);
    for (int i = 0; i < ARRAY_SIZE(pieces); i++) {
        g_autofree char *path = g_strdup_printf("ipvlan/pieces/%s",
                                                pieces[i].name);

        qtest_add_data_func(path, &pieces[i], test_pieces);
    }
    qtest_add_func("ipvlan/pieces/no-room", test_pieces_no_room);

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
