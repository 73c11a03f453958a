/*
 * The lower link: what stands before the master, where its NIC would
 *
 * There is one for a master's id as long as it has slaves.  When the master is
 * deleted, our clients go with it, and the link stays, and is down, until
 * there is a netdev of that id again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/notify.h"
#include "endpoint-int.h"
#include "system/runstate.h"
#include "trace.h"

static QTAILQ_HEAD(, VlinkEndpoint) lowers = QTAILQ_HEAD_INITIALIZER(lowers);

/* --- the link ------------------------------------------------------------ */

static VlinkEndpoint *lower_endpoint(const Link *link)
{
    return *(VlinkEndpoint **)link_priv(link);
}

static void lower_sent(NetClientState *nc, ssize_t len)
{
    VlinkQueue *q = to_queue(nc);

    q->busy = false;
    if (q->ep && q->ep->link) {
        link_wake(q->ep->link);
    }
}

static LinkTx lower_xmit(Link *link, Packet *p)
{
    return vlink_send(lower_endpoint(link)->queues[p->queue], p, lower_sent);
}

static int lower_newlink(Link *link, const void *config, GError **err)
{
    *(VlinkEndpoint **)link_priv(link) = (VlinkEndpoint *)config;
    return 0;
}

static void lower_resume(Link *link)
{
    VlinkEndpoint *ep = lower_endpoint(link);

    for (unsigned i = 0; i < ep->n_queues; i++) {
        qemu_flush_queued_packets(&ep->queues[i]->nc);
    }
}

static const LinkOps lower_link_ops = {
    .kind = "netdev",
    .priv_size = sizeof(VlinkEndpoint *),
    .newlink = lower_newlink,
    .xmit = lower_xmit,
    .resume = lower_resume,
};

/* --- the net client ------------------------------------------------------ */

/*
 * While the machine stands still so does what it is to its network: before it
 * has come here, and after it has gone, somebody else answers for it.
 */
static ssize_t lower_receive_iov(NetClientState *nc, const struct iovec *iov,
                                 int iovcnt)
{
    VlinkQueue *q = to_queue(nc);
    QEMU_UNINITIALIZED Packet p;

    if (unlikely(!runstate_is_live(runstate_get())) ||
        unlikely(vlink_must_wait()) || unlikely(link_is_full(q->ep->link))) {
        return 0;
    }
    if (vlink_take(q, iov, iovcnt, &p)) {
        link_receive(q->ep->link, &p);
    } else {
        link_count_rx(q->ep->link, &p);
    }
    return vlink_taken(&p);
}

static void lower_announce(Link *lower)
{
    for (GList *l = lower->uppers.head; l; l = l->next) {
        link_announce(l->data);
    }
}

static void set_carrier(VlinkEndpoint *ep, bool on)
{
    link_set_carrier(ep->link, on);
    for (GList *l = ep->link->uppers.head; l; l = l->next) {
        vlink_upper_update(link_user_opaque(l->data));
    }
    if (on && ep->moved) {
        ep->moved = false;
        lower_announce(ep->link);
    }
}

static void lower_arrived(VlinkEndpoint *ep)
{
    ep->arrived = false;
    ep->moved = true;
    for (GList *l = ep->link->uppers.head; l; l = l->next) {
        vlink_upper_arrived(link_user_opaque(l->data));
    }
    set_carrier(ep, ep->link->carrier);
}

static void lower_vm_changed(void *opaque, bool running, RunState state)
{
    VlinkEndpoint *ep = opaque;

    if (running && ep->arrived) {
        lower_arrived(ep);
    }
    if (running) {
        lower_resume(ep->link);
    }
}

void vlink_lower_arrived(Link *lower)
{
    lower_endpoint(lower)->arrived = true;
}

/* Where the master is a slave, too, it is up only if its own master is. */
void vlink_lower_update(VlinkEndpoint *ep)
{
    NetClientState *nc = &ep->queues[0]->nc;
    Link *below = nc->peer ? vlink_link_of(nc->peer) : NULL;

    set_carrier(ep, !nc->link_down && nc->peer && !nc->peer->link_down &&
                (!below || link_is_up(below)));
}

static void lower_status_changed(NetClientState *nc)
{
    vlink_lower_update(to_queue(nc)->ep);
}

/*
 * Of frames that wait on either side, those of the master's come back to it,
 * who would not go on before, and ours are lost.
 */
static void lower_disconnect(VlinkEndpoint *ep)
{
    vlink_purge_from_peer(ep);
    qemu_del_net_client(&ep->queues[0]->nc);
}

static void lower_peer_deleted(NetClientState *nc)
{
    VlinkEndpoint *ep = to_queue(nc)->ep;

    trace_ipvlan_master_gone(ep->master);
    lower_disconnect(ep);
}

static void lower_cleanup(NetClientState *nc)
{
    VlinkQueue *q = to_queue(nc);

    set_carrier(q->ep, false);
    vlink_queue_cleanup(q);
}

const NetClientInfo vlink_lower_info = {
    .size = sizeof(VlinkQueue),
    .receive_iov = lower_receive_iov,
    .link_status_changed = lower_status_changed,
    .peer_deleted = lower_peer_deleted,
    .cleanup = lower_cleanup,
};

bool vlink_is_lower(const NetClientState *nc)
{
    return nc->info->cleanup == lower_cleanup;
}

/* --- the master ---------------------------------------------------------- */

static void lower_connect(VlinkEndpoint *ep, NetClientState **masters,
                          unsigned n)
{
    VlinkDriver *driver = ep->driver;
    g_autofree char *name = g_strdup_printf("%s/%s", ep->master, driver->kind);

    vlink_queues_new(ep, &driver->lower, driver->kind, name, masters, n);
    link_set_queues(ep->link, n);
    vlink_front_init(ep);
    vlink_lower_update(ep);
}

/* NULL, or why @ep and @master, whose id is the right one, cannot be one's. */
static const char *lower_join(VlinkEndpoint *ep, NetClientState *master)
{
    Link *below = vlink_link_of(master);
    int ret;

    if (master->peer) {
        return "cannot be joined, because that is in use";
    }
    ret = below ? link_join(ep->link, below) : 0;
    return ret < 0 ? vlink_join_problem(ret) : NULL;
}

/* Of several netdevs that wait for a master of one id, the first is named. */
static void lower_reconnect(VlinkEndpoint *ep)
{
    const Link *slave = ep->link->uppers.head->data;
    NetClientState *masters[MAX_QUEUE_NUM];
    unsigned n = qemu_find_net_clients_except(ep->master, masters,
                                              NET_CLIENT_DRIVER_NIC,
                                              MAX_QUEUE_NUM);
    const char *problem = lower_join(ep, masters[0]);

    if (problem) {
        warn_report("master=%s: '%s', whose master of that name was deleted, "
                    "and the new one %s", ep->master, slave->name, problem);
        return;
    }
    trace_ipvlan_master_back(ep->master);
    ep->moved = true;
    lower_connect(ep, masters, n);
    if (ep->driver->reconnected) {
        ep->driver->reconnected(ep->link);
    }
}

static VlinkEndpoint *lower_find(const char *master)
{
    VlinkEndpoint *ep;

    QTAILQ_FOREACH(ep, &lowers, next) {
        if (g_str_equal(ep->master, master)) {
            return ep;
        }
    }
    return NULL;
}

static void lower_netdev_added(Notifier *notifier, void *netdev)
{
    VlinkEndpoint *ep = lower_find(((NetClientState *)netdev)->name);

    if (ep && !ep->n_queues) {
        lower_reconnect(ep);
    }
}

/* --- making and finding them --------------------------------------------- */

static void lower_init(void)
{
    static Notifier netdev_added = { .notify = lower_netdev_added };

    if (link_kind_register(&lower_link_ops) == 0) {
        qemu_add_netdev_notifier(&netdev_added);
        vlink_clock_init();
    }
}

Link *vlink_lower_new(VlinkDriver *driver, NetClientState **masters,
                      unsigned n)
{
    VlinkEndpoint *ep = g_new0(VlinkEndpoint, 1);

    lower_init();
    ep->driver = driver;
    ep->master = g_strdup(masters[0]->name);
    ep->link = link_new(&vlink_platform, lower_link_ops.kind, ep->master,
                        NULL, ep, NULL);
    ep->vm_state = qemu_add_vm_change_state_handler(lower_vm_changed, ep);
    QTAILQ_INSERT_TAIL(&lowers, ep, next);
    lower_connect(ep, masters, n);
    return ep->link;
}

void vlink_lower_release(Link *lower)
{
    VlinkEndpoint *ep = lower_endpoint(lower);

    if (link_has_uppers(lower)) {
        return;
    }
    if (ep->n_queues) {
        lower_disconnect(ep);
    }
    qemu_del_vm_change_state_handler(ep->vm_state);
    QTAILQ_REMOVE(&lowers, ep, next);
    link_del(lower);
    g_free(ep->master);
    g_free(ep);
}

Link *vlink_next_lower(Link *after)
{
    VlinkEndpoint *ep = after ? QTAILQ_NEXT(lower_endpoint(after), next)
                              : QTAILQ_FIRST(&lowers);

    return ep ? ep->link : NULL;
}

Link *vlink_find_lower(const char *master)
{
    VlinkEndpoint *ep = lower_find(master);

    return ep ? ep->link : NULL;
}

void vlink_flush_all(void)
{
    VlinkEndpoint *ep;

    QTAILQ_FOREACH(ep, &lowers, next) {
        lower_resume(ep->link);
        for (GList *l = ep->link->uppers.head; l; l = l->next) {
            vlink_upper_flush(link_user_opaque(l->data));
        }
    }
}

const char *vlink_master_id(const Link *lower)
{
    return lower_endpoint(lower)->master;
}
