/*
 * What the qtests of -netdev ipvlan share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include "qemu/bswap.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "block/qdict.h"
#include "ipvlan-rig.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-pc.h"

const uint8_t port_mac[] = { 2, 0, 0, 0, 0, 1 };
const uint8_t mac_a[] = { 0x52, 0x54, 0, 0, 0, 0xa };
const uint8_t mac_b[] = { 0x52, 0x54, 0, 0, 0, 0xb };
const uint8_t mac_c[] = { 0x52, 0x54, 0, 0, 0, 0xc };
const uint8_t ext_mac[] = { 0x52, 0x54, 0, 0, 0xee, 0xee };
const uint8_t broadcast[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
const uint8_t no_mac[MAC_LEN];

/* --- frames -------------------------------------------------------------- */

void put(Frame *f, const void *data, size_t len)
{
    g_assert_cmpuint(f->len + len, <=, sizeof(f->b));
    memcpy(f->b + f->len, data, len);
    f->len += len;
}

void put16(Frame *f, uint16_t value)
{
    stw_be_p(f->b + f->len, value);
    f->len += 2;
}

void put_ip(Frame *f, const char *ip)
{
    bool v6 = strchr(ip, ':');

    g_assert_cmpint(inet_pton(v6 ? AF_INET6 : AF_INET, ip,
                              f->b + f->len), ==, 1);
    f->len += v6 ? 16 : 4;
}

uint16_t checksum(const uint8_t *b, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i += 2) {
        sum += lduw_be_p(b + i);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

Frame eth(const uint8_t *dst, const uint8_t *src, uint16_t type)
{
    Frame f = { 0 };

    put(&f, dst, MAC_LEN);
    put(&f, src, MAC_LEN);
    put16(&f, type);
    return f;
}

Frame arp(int op, const uint8_t *dst, const uint8_t *sha,
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

Frame who_has(const uint8_t *src, const char *sip, const char *dip)
{
    return arp(ARP_REQUEST, broadcast, src, sip, no_mac, dip);
}

Frame announcement(const uint8_t *mac, const char *ip)
{
    return arp(ARP_REQUEST, broadcast, mac, ip, no_mac, ip);
}

Frame udp(const uint8_t *dst, const uint8_t *src, const char *sip,
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

uint32_t udp_tag(const Frame *f)
{
    g_assert_cmpuint(f->len, ==, 14 + 32);
    return ldl_be_p(f->b + 42);
}

Frame solicitation(const uint8_t *dst, const uint8_t *src,
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

Frame with_src(Frame f, const uint8_t *mac)
{
    memcpy(f.b + MAC_LEN, mac, MAC_LEN);
    return f;
}

Frame with_dst(Frame f, const uint8_t *mac)
{
    memcpy(f.b, mac, MAC_LEN);
    return f;
}

/* --- query-ipvlan -------------------------------------------------------- */

QDict *status(QTestState *qts)
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

char *status_text(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-ipvlan' }");
    GString *json = qobject_to_json(qdict_get(rsp, "return"));

    qobject_unref(rsp);
    return g_string_free(json, false);
}

bool has(QTestState *qts, const char *key)
{
    QDict *flat = status(qts);
    bool found = qdict_haskey(flat, key);

    qobject_unref(flat);
    return found;
}

int64_t get_int(QTestState *qts, const char *key)
{
    QDict *flat = status(qts);
    int64_t value = qdict_get_int(flat, key);

    qobject_unref(flat);
    return value;
}

bool get_bool(QTestState *qts, const char *key)
{
    QDict *flat = status(qts);
    bool value = qdict_get_bool(flat, key);

    qobject_unref(flat);
    return value;
}

char *get_str(QTestState *qts, const char *key)
{
    QDict *flat = status(qts);
    char *value = g_strdup(qdict_get_try_str(flat, key));

    qobject_unref(flat);
    return value;
}

void assert_str(QTestState *qts, const char *key, const char *expected)
{
    g_autofree char *value = get_str(qts, key);

    g_assert_cmpstr(value, ==, expected);
}

int64_t get_drops(QTestState *qts, const char *who, const char *reason)
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

/* --- a QEMU with an uplink and guests on sockets ------------------------- */

int run_qemu(const char *args, char **out, char **err)
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

void assert_qemu_refuses(const char *args, const char *sentence)
{
    g_autofree char *err = NULL;
    g_autofree char *line = g_strdup_printf(": %s\n", sentence);

    g_assert_cmpint(run_qemu(args, NULL, &err), ==, 1);
    g_test_message("%s", err);
    g_assert_nonnull(strstr(err, line));
    /* one sentence: no second line */
    g_assert_null(strchr(strchr(err, '\n') + 1, '\n'));
}

static void wire_open(int *ours, int *theirs)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sv),
                    ==, 0);
    *ours = sv[0];
    *theirs = sv[1];
    g_assert_cmpint(fcntl(*theirs, F_SETFD, 0), ==, 0);
}

void rig_wire(Rig *rig, int wire, const char *id)
{
    wire_open(&rig->fd[wire], &rig->child[wire]);
    g_string_append_printf(rig->args, " -netdev dgram,id=%s,local.type=fd,"
                           "local.str=%d", id, rig->child[wire]);
}

Rig *rig_prepare(const char *machine)
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

void rig_start(Rig *rig)
{
    rig->qts = qtest_init(rig->args->str);
    for (int i = 0; i < N_WIRES; i++) {
        if (rig->child[i] >= 0) {
            close(rig->child[i]);
        }
    }
}

void rig_add_slave(Rig *rig, int wire, const char *options)
{
    g_autofree char *id = g_strdup_printf("s%d", wire - N0);

    rig_wire(rig, wire, id);
    g_string_append_printf(rig->args, " -netdev ipvlan,id=n%d,master=up0,"
                           "netdev=%s%s%s", wire - N0, id,
                           *options ? "," : "", options);
}

void rig_make_small(Rig *rig, int wire)
{
    int size = 1;               /* the kernel makes it its minimum */

    g_assert_cmpint(setsockopt(rig->child[wire], SOL_SOCKET, SO_SNDBUF,
                               &size, sizeof(size)), ==, 0);
}

Rig *rig_new(const char *port, ...)
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

void rig_free(Rig *rig)
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

void send_bytes(Rig *rig, int wire, const void *b, size_t len)
{
    g_assert_cmpint(send(rig->fd[wire], b, len, 0), ==, len);
    rig->sent[wire]++;
}

void send_frame(Rig *rig, int wire, Frame f)
{
    send_bytes(rig, wire, f.b, f.len);
}

Frame receive(Rig *rig, int wire)
{
    struct pollfd pfd = { .fd = rig->fd[wire], .events = POLLIN };
    Frame f;

    g_assert_cmpint(poll(&pfd, 1, TIMEOUT_US / 1000), ==, 1);
    f.len = recv(rig->fd[wire], f.b, sizeof(f.b), 0);
    g_assert_cmpint(f.len, >, 0);
    return f;
}

char *hex(const Frame *f)
{
    GString *text = g_string_new(NULL);

    for (size_t i = 0; i < f->len; i++) {
        g_string_append_printf(text, "%02x ", f->b[i]);
    }
    return g_string_free(text, false);
}

void expect(Rig *rig, int wire, Frame expected)
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

void settle(Rig *rig)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (!is_settled(rig)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

void expect_nothing(Rig *rig)
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

void discard(Rig *rig, int wire)
{
    uint8_t b;

    while (recv(rig->fd[wire], &b, 1, MSG_DONTWAIT) > 0) {
        continue;
    }
}

void discard_all(Rig *rig)
{
    settle(rig);
    for (int i = 0; i < N_WIRES; i++) {
        if (rig->fd[i] >= 0) {
            discard(rig, i);
        }
    }
}

void step(Rig *rig, int64_t seconds)
{
    qtest_clock_step(rig->qts, seconds * NANOSECONDS_PER_SECOND);
}

void introduce(Rig *rig, int wire, const uint8_t *mac, const char *ip)
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

void add(QTestState *qts, const char *id, const char *options)
{
    QDict *rsp = netdev_add(qts, id, options);

    g_assert(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
}

void add_fails(QTestState *qts, const char *id, const char *options,
               const char *desc)
{
    QDict *rsp = netdev_add(qts, id, options);

    g_assert(qdict_haskey(rsp, "error"));
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"),
                    ==, desc);
    qobject_unref(rsp);
}

void del(QTestState *qts, const char *id)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'netdev_del',"
                             "  'arguments': { 'id': %s } }", id);
}

void add_hubport(QTestState *qts, const char *id, int hub)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'netdev_add', 'arguments': {"
                             "  'type': 'hubport', 'id': %s, 'hubid': %d } }",
                             id, hub);
}

void set_link(QTestState *qts, const char *name, bool up)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'set_link', 'arguments': {"
                             "  'name': %s, 'up': %i } }", name, up);
}

void pass_fd(QTestState *qts, const char *name, int fd)
{
    qtest_qmp_fds_assert_success(qts, &fd, 1, "{ 'execute': 'getfd',"
                                 "  'arguments': { 'fdname': %s } }", name);
    close(fd);
}

Frame inbound(const char *ip, uint32_t tag)
{
    return udp(port_mac, ext_mac, EXT_IP, ip, tag);
}

/* --- NICs ---------------------------------------------------------------- */

#define NIC_BUF 2048
#define ETH_MIN 60

QGuestAllocator guest_alloc_state;

static QPCIBus *pci;

void add_nic_with(Rig *rig, int n, const char *options, const char *device)
{
    g_string_append_printf(rig->args, " -netdev ipvlan,id=n%d,master=up0,"
                           "mac=" PORT_MAC "%s%s -device virtio-net-pci,"
                           "netdev=n%d,id=nic%d,addr=%d,romfile=,"
                           "mac=52:54:00:00:00:%02x%s%s", n,
                           *options ? "," : "", options, n, n, NIC_SLOT + n,
                           0xa + n, *device ? "," : "", device);
}

void add_nic(Rig *rig, int n, const char *options)
{
    add_nic_with(rig, n, options, "");
}

void nic_rig_start(Rig *rig)
{
    rig_start(rig);
    pc_alloc_init(&guest_alloc_state, rig->qts, ALLOC_NO_FLAGS);
    pci = qpci_new_pc(rig->qts, &guest_alloc_state);
}

void nic_rig_free(Rig *rig)
{
    qpci_free_pc(pci);
    alloc_destroy(&guest_alloc_state);
    rig_free(rig);
}

Rig *rig_of_nic(const char *options)
{
    Rig *rig = rig_prepare("-machine pc");

    add_nic(rig, 0, options);
    nic_rig_start(rig);
    return rig;
}

QVirtioPCIDevice *nic_find_without(int n, uint64_t features)
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

QVirtioPCIDevice *nic_find(int n)
{
    return nic_find_without(n, 0);
}

bool nic_is_up(QVirtioPCIDevice *dev)
{
    uint16_t nic_status = qvirtio_config_readw(&dev->vdev,
        offsetof(struct virtio_net_config, status));

    return nic_status & VIRTIO_NET_S_LINK_UP;
}

/* virtio 1.2, 5.1.4: how many there are is only told with the feature. */
static int nic_count_queues(QVirtioDevice *vdev)
{
    if (!(vdev->features & (1ull << VIRTIO_NET_F_MQ))) {
        return 1;
    }
    return qvirtio_config_readw(vdev, offsetof(struct virtio_net_config,
                                               max_virtqueue_pairs));
}

Nic nic_start_without(Rig *rig, int n, uint64_t features)
{
    Nic nic = { .rig = rig, .dev = nic_find_without(n, features) };
    QVirtioDevice *vdev = &nic.dev->vdev;

    nic.mergeable = vdev->features & (1ull << VIRTIO_NET_F_MRG_RXBUF);
    nic.hdr_len = nic.mergeable ||
                  (vdev->features & (1ull << VIRTIO_F_VERSION_1)) ?
                  sizeof(struct virtio_net_hdr_mrg_rxbuf) :
                  sizeof(struct virtio_net_hdr);
    nic.n_queues = nic_count_queues(vdev);
    g_assert_cmpint(nic.n_queues, <=, NIC_QUEUES);
    for (int i = 0; i < nic.n_queues; i++) {
        nic.rx[i] = qvirtqueue_setup(vdev, &guest_alloc_state, 2 * i);
        nic.tx[i] = qvirtqueue_setup(vdev, &guest_alloc_state, 2 * i + 1);
    }
    nic.ctrl = qvirtqueue_setup(vdev, &guest_alloc_state, 2 * nic.n_queues);
    qvirtio_set_driver_ok(vdev);
    return nic;
}

Nic nic_start(Rig *rig, int n)
{
    return nic_start_without(rig, n, 0);
}

void nic_stop(Nic *nic)
{
    const QVirtioBus *bus = nic->dev->vdev.bus;

    for (int i = 0; i < nic->n_queues; i++) {
        qvirtqueue_cleanup(bus, nic->rx[i], &guest_alloc_state);
        qvirtqueue_cleanup(bus, nic->tx[i], &guest_alloc_state);
    }
    qvirtqueue_cleanup(bus, nic->ctrl, &guest_alloc_state);
    qos_object_destroy((QOSGraphObject *)nic->dev);
}

void nic_kick_and_wait(Nic *nic, QVirtQueue *vq, uint32_t head)
{
    qvirtqueue_kick(nic->rig->qts, &nic->dev->vdev, vq, head);
    qvirtio_wait_used_elem(nic->rig->qts, &nic->dev->vdev, vq, head, NULL,
                           TIMEOUT_US);
}

void nic_expect(Nic *nic, Frame expected)
{
    QTestState *qts = nic->rig->qts;
    uint64_t buf = guest_alloc(&guest_alloc_state, NIC_BUF);
    g_autofree char *is = NULL, *should_be = NULL;
    Frame f;

    nic_kick_and_wait(nic, nic->rx[0], qvirtqueue_add(qts, nic->rx[0], buf,
                                                      NIC_BUF, true, false));
    /* short frames are padded */
    expected.len = MAX(expected.len, ETH_MIN);
    f.len = expected.len;
    qtest_memread(qts, buf + nic->hdr_len, f.b, f.len);
    is = hex(&f);
    should_be = hex(&expected);
    g_assert_cmpstr(is, ==, should_be);
    guest_free(&guest_alloc_state, buf);
}

/* The head of a descriptor for @f, whose buffer is the caller's to free. */
static uint32_t nic_add_frame(Nic *nic, QVirtQueue *vq, Frame f,
                              uint64_t *buf)
{
    QTestState *qts = nic->rig->qts;

    *buf = guest_alloc(&guest_alloc_state, NIC_BUF);
    qtest_memset(qts, *buf, 0, nic->hdr_len);
    qtest_memwrite(qts, *buf + nic->hdr_len, f.b, f.len);
    return qvirtqueue_add(qts, vq, *buf, nic->hdr_len + f.len, false, false);
}

void nic_push(Nic *nic, int queue, Frame f)
{
    uint64_t buf;
    uint32_t head = nic_add_frame(nic, nic->tx[queue], f, &buf);

    qvirtqueue_kick(nic->rig->qts, &nic->dev->vdev, nic->tx[queue], head);
}

void nic_send(Nic *nic, Frame f)
{
    uint64_t buf;
    uint32_t head = nic_add_frame(nic, nic->tx[0], f, &buf);

    nic_kick_and_wait(nic, nic->tx[0], head);
    guest_free(&guest_alloc_state, buf);
}

void nic_control(Nic *nic, uint8_t class, uint8_t cmd,
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

void nic_promiscuous(Nic *nic, bool on)
{
    uint8_t value = on;

    nic_control(nic, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &value,
                sizeof(value));
}

void nic_set_group(Nic *nic, const uint8_t *group)
{
    uint8_t table[4 + 4 + MAC_LEN] = { 0 };

    table[4] = group ? 1 : 0;
    if (group) {
        memcpy(table + 8, group, MAC_LEN);
    }
    nic_control(nic, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET,
                table, group ? sizeof(table) : 8);
}
