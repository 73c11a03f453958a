/*
 * What libvlink needs from QEMU: time, deferral, randomness, traces
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "endpoint-int.h"
#include "crypto/random.h"
#include "libvlink/ipvlan/ipvlan.h"
#include "qapi/error.h"
#include "qapi/qapi-events-net.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/queue.h"
#include "qemu/timer.h"
#include "qemu/uuid.h"
#include "system/runstate.h"
#include "system/system.h"
#include "trace.h"

/* --- time ---------------------------------------------------------------- */

/*
 * The machine's own clock stands still while the machine does: a guest that
 * is stopped does not lose its addresses for being quiet.  But a machine that
 * has been loaded, from a snapshot or from elsewhere, goes on with the clock
 * that it had there, which may be years ahead of ours or behind it.  That is
 * no time that has passed here, and ours goes on from where it stood.
 */
typedef struct VlinkClock {
    int64_t ahead;              /* of the machine's, while it runs */
    int64_t stood;              /* at this, while it does not */
    bool running;
} VlinkClock;

static VlinkClock vlink_clock;

static int64_t vlink_now(void)
{
    return likely(vlink_clock.running) ?
           qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) + vlink_clock.ahead :
           vlink_clock.stood;
}

/* --- deferral ------------------------------------------------------------ */

struct LinkWork {
    QEMUBH *bh;
    QEMUTimer *timer;
    int64_t when;               /* that the timer is for */
    void (*fn)(void *opaque);
    void *opaque;
    QTAILQ_ENTRY(LinkWork) next;
};

static QTAILQ_HEAD(, LinkWork) works = QTAILQ_HEAD_INITIALIZER(works);

static void work_arm(LinkWork *work, int64_t when)
{
    work->when = when;
    timer_mod(work->timer, when - vlink_clock.ahead);
}

/* Timers, unlike bottom halves, run in the main loop only. */
static void vlink_work_bh(void *opaque)
{
    LinkWork *work = opaque;

    if (unlikely(vlink_must_wait())) {
        work_arm(work, vlink_now());
    } else {
        work->fn(work->opaque);
    }
}

/* Before those of NICs and links, which look at the time. */
static void clock_vm_changed(void *opaque, bool running, RunState state)
{
    LinkWork *work;

    if (!running) {
        vlink_clock.stood = vlink_now();
        vlink_clock.running = false;
        return;
    }
    vlink_clock.ahead = vlink_clock.stood -
                        qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    vlink_clock.running = true;
    QTAILQ_FOREACH(work, &works, next) {
        if (timer_pending(work->timer)) {
            work_arm(work, work->when);
        }
    }
}

void vlink_clock_init(void)
{
    vlink_clock.running = runstate_is_live(runstate_get());
    vlink_clock.stood = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    qemu_add_vm_change_state_handler_prio(clock_vm_changed, NULL, INT_MIN);
}

static LinkWork *vlink_work_new(void (*fn)(void *opaque), void *opaque)
{
    LinkWork *work = g_new(LinkWork, 1);

    work->fn = fn;
    work->opaque = opaque;
    work->bh = qemu_bh_new(vlink_work_bh, work);
    work->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, fn, opaque);
    QTAILQ_INSERT_TAIL(&works, work, next);
    return work;
}

static void vlink_work_at(LinkWork *work, int64_t when)
{
    if (when <= vlink_now()) {
        qemu_bh_schedule(work->bh);
    } else {
        work_arm(work, when);
    }
}

static void vlink_work_free(LinkWork *work)
{
    QTAILQ_REMOVE(&works, work, next);
    qemu_bh_delete(work->bh);
    timer_free(work->timer);
    g_free(work);
}

static void vlink_random(void *buf, size_t len)
{
    qcrypto_random_bytes(buf, len, &error_abort);
}

/* --- traces -------------------------------------------------------------- */

#define FRAME_STR_MAX 256

static void trace_frame(const LinkTrace *t)
{
    const char *other = t->other ? t->other->name : "";
    const char *name = t->link->name;
    char frame[FRAME_STR_MAX];

    packet_describe(t->packet, frame, sizeof(frame));
    switch (t->event) {
    case LINK_EVENT_SEND:
        trace_ipvlan_send(name, other, frame);
        break;
    case LINK_EVENT_FORWARD:
        trace_ipvlan_forward(name, other, frame);
        break;
    case LINK_EVENT_RECEIVE:
        trace_ipvlan_receive(name, other, frame);
        break;
    case LINK_EVENT_DEFER:
        trace_ipvlan_defer(name, frame);
        break;
    case LINK_EVENT_QUEUE:
        trace_ipvlan_queue(name, frame);
        break;
    case LINK_EVENT_BUSY:
        trace_ipvlan_busy(name, frame);
        break;
    case LINK_EVENT_DROP:
        trace_ipvlan_drop(name, drop_reason_name(t->reason), frame);
        break;
    default:
        g_assert_not_reached();
    }
}

static void trace_addr(const LinkTrace *t)
{
    char addr[IP_STR_MAX];

    ip_prefix_format(t->addr, addr);
    switch (t->event) {
    case LINK_EVENT_LEARN:
        trace_ipvlan_learn(t->link->name, addr);
        break;
    case LINK_EVENT_EXPIRE:
        trace_ipvlan_expire(t->link->name, addr);
        break;
    default:
        trace_ipvlan_contest(t->link->name, t->other->name, addr);
        break;
    }
}

/* Somebody is watching: only then is it worth to describe the frame. */
static bool traced(LinkEvent event)
{
    switch (event) {
    case LINK_EVENT_SEND:
        return trace_event_get_state_backends(TRACE_IPVLAN_SEND);
    case LINK_EVENT_FORWARD:
        return trace_event_get_state_backends(TRACE_IPVLAN_FORWARD);
    case LINK_EVENT_RECEIVE:
        return trace_event_get_state_backends(TRACE_IPVLAN_RECEIVE);
    case LINK_EVENT_DEFER:
        return trace_event_get_state_backends(TRACE_IPVLAN_DEFER);
    case LINK_EVENT_QUEUE:
        return trace_event_get_state_backends(TRACE_IPVLAN_QUEUE);
    case LINK_EVENT_BUSY:
        return trace_event_get_state_backends(TRACE_IPVLAN_BUSY);
    case LINK_EVENT_WAKE:
        return trace_event_get_state_backends(TRACE_IPVLAN_WAKE);
    case LINK_EVENT_DROP:
        return trace_event_get_state_backends(TRACE_IPVLAN_DROP);
    case LINK_EVENT_LEARN:
        return trace_event_get_state_backends(TRACE_IPVLAN_LEARN);
    case LINK_EVENT_EXPIRE:
        return trace_event_get_state_backends(TRACE_IPVLAN_EXPIRE);
    case LINK_EVENT_CONTEST:
        return trace_event_get_state_backends(TRACE_IPVLAN_CONTEST);
    case LINK_EVENT_GUARD:
        return trace_event_get_state_backends(TRACE_IPVLAN_GUARD);
    }
    return false;
}

/* Once a slave: its guest does not talk at all, and should be told why. */
static void warn_foreign_mac(const Link *link, const Packet *p)
{
    char guest[MAC_STR_MAX], port_mac[MAC_STR_MAX];
    IpvlanPortInfo port;

    if (link->stats.drops[DROP_FOREIGN_MAC] != 1 ||
        !ipvlan_port_info(link->lower, &port)) {
        return;
    }
    warn_report("netdev '%s': the guest's MAC address %s is not the port's, "
                "%s, and mode=l2 lets no other out; give its NIC that one, "
                "or use mode=l2-macnat", link->name,
                mac_format(packet_src_mac(p), guest),
                mac_format(port.mac, port_mac));
}

static void trace_guard(const LinkTrace *t, const char *addr)
{
    char frame[FRAME_STR_MAX];

    packet_describe(t->packet, frame, sizeof(frame));
    trace_ipvlan_guard(t->link->name, drop_reason_name(t->reason), addr ?: "",
                       frame);
}

/* The library sees to it that there are not too many. */
static void tell_addr(const LinkTrace *t)
{
    const char *slave = t->link->name;
    char addr[IP_STR_MAX];
    IpvlanSlaveInfo info;

    ip_prefix_format(t->addr, addr);
    switch (t->event) {
    case LINK_EVENT_LEARN:
        qapi_event_send_ipvlan_address_learned(slave, addr,
                                               (IpvlanAddressOrigin)t->origin);
        break;
    case LINK_EVENT_EXPIRE:
        qapi_event_send_ipvlan_address_expired(slave, addr);
        break;
    default:
        ipvlan_slave_info(t->link, &info);
        qapi_event_send_ipvlan_address_contested(slave, t->other->name, addr,
                                                 info.contested);
        break;
    }
}

static void tell_guard(const LinkTrace *t)
{
    char addr[IP_STR_MAX], mac[MAC_STR_MAX];
    const char *text = t->addr ? ip_prefix_format(t->addr, addr) : NULL;

    /* It is counted as dropped, but not yet. */
    qapi_event_send_ipvlan_guard(t->link->name, drop_reason_name(t->reason),
                                 text,
                                 mac_format(packet_src_mac(t->packet), mac),
                                 t->link->stats.drops[t->reason] + 1);
    if (traced(t->event)) {
        trace_guard(t, text);
    }
}

/* What a user may want to know although he traces nothing. */
static void tell(const LinkTrace *t)
{
    if (t->event == LINK_EVENT_GUARD) {
        tell_guard(t);
        return;
    }
    if (!t->excess) {
        tell_addr(t);
    }
    if (traced(t->event)) {
        trace_addr(t);
    }
}

/* They are the last of the events: a frame is asked for them only once. */
static inline bool is_told(LinkEvent event)
{
    return event >= LINK_EVENT_LEARN;
}

QEMU_BUILD_BUG_ON(LINK_EVENT_LEARN != LINK_EVENT_DROP + 1);

static void vlink_trace(const LinkTrace *t)
{
    if (is_told(t->event)) {
        tell(t);
        return;
    }
    if (t->reason == DROP_FOREIGN_MAC) {
        warn_foreign_mac(t->link, t->packet);
    }
    if (likely(!traced(t->event))) {
        return;
    }
    if (t->packet) {
        trace_frame(t);
    } else {
        trace_ipvlan_wake(t->link->name);
    }
}

const LinkPlatform vlink_platform = {
    .now = vlink_now,
    .random = vlink_random,
    .work_new = vlink_work_new,
    .work_at = vlink_work_at,
    .work_free = vlink_work_free,
    .trace = vlink_trace,
};

/* --- a MAC address ------------------------------------------------------- */

/*
 * What tells this host from others: machine-id(5), or else its name.  Read
 * before there are options, as -run-with chroot= may hide it.
 */
static char *host_identity;

static void read_host_identity(void)
{
    if (!g_file_get_contents("/etc/machine-id", &host_identity, NULL, NULL)) {
        host_identity = g_strdup(g_get_host_name());
    }
}

type_init(read_host_identity)

static char *machine_identity(void)
{
    if (qemu_get_vm_name()) {
        return g_strdup(qemu_get_vm_name());
    }
    return qemu_uuid_unparse_strdup(&qemu_uuid);
}

void vlink_default_mac(const char *master, uint8_t mac[ETHER_ADDR_LEN])
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autofree char *machine = machine_identity();
    const char *parts[] = { host_identity, machine, master };
    uint8_t digest[32];
    gsize len = sizeof(digest);

    for (int i = 0; i < ARRAY_SIZE(parts); i++) {
        /* with the final NUL, so that parts cannot run into each other */
        g_checksum_update(sum, (const guchar *)parts[i],
                          strlen(parts[i]) + 1);
    }
    g_checksum_get_digest(sum, digest, &len);
    memcpy(mac, digest, ETHER_ADDR_LEN);
    mac[0] = (mac[0] & ~1) | 2;         /* unicast, locally administered */
}
