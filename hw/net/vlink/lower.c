/*
 * The lower link: what stands before the master, where its NIC would
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
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
        unlikely(link_is_full(q->ep->link))) {
        return 0;
    }
    if (vlink_take(q, iov, iovcnt, &p)) {
        link_receive(q->ep->link, &p);
    }
    return vlink_taken(&p);
}

static void lower_announce(Link *lower)
{
    for (GList *l = lower->uppers.head; l; l = l->next) {
        link_announce(l->data);
    }
}

static void lower_vm_changed(void *opaque, bool running, RunState state)
{
    VlinkEndpoint *ep = opaque;

    if (running && ep->arrived) {
        ep->arrived = false;
        lower_announce(ep->link);
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

    link_set_carrier(ep->link,
                     !nc->link_down && nc->peer && !nc->peer->link_down &&
                     (!below || link_is_up(below)));
}

static void lower_status_changed(NetClientState *nc)
{
    vlink_lower_update(to_queue(nc)->ep);
}

/* The frames that waited there, or came from there and wait here, are lost. */
static void lower_peer_deleted(NetClientState *nc)
{
    VlinkEndpoint *ep = to_queue(nc)->ep;

    trace_ipvlan_master_gone(ep->master);
    vlink_purge_from_peer(ep);
    vlink_forget_busy(ep);
    link_set_carrier(ep->link, false);
}

static void lower_unlink(VlinkEndpoint *ep)
{
    Link *link = ep->link;

    /* At exit QEMU deletes clients in the order in which they were made. */
    while (!g_queue_is_empty(&link->uppers)) {
        vlink_upper_unlink(link_user_opaque(link->uppers.head->data));
    }
    qemu_del_vm_change_state_handler(ep->vm_state);
    QTAILQ_REMOVE(&lowers, ep, next);
    ep->link = NULL;
    link_del(link);
}

static void lower_cleanup(NetClientState *nc)
{
    VlinkQueue *q = to_queue(nc);

    if (q->ep->link) {
        lower_unlink(q->ep);
    }
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

/* --- making and finding them --------------------------------------------- */

/*
 * A name that no other client has, because QEMU takes clients of one name for
 * the queues of one: the port of a master that is gone may still be there
 * when another master of that name comes.
 */
static char *lower_name(VlinkDriver *driver, NetClientState *master)
{
    char *name = g_strdup_printf("%s/%s", master->name, driver->kind);

    for (int i = 2; qemu_find_net_clients_except(name, NULL,
                                                 NET_CLIENT_DRIVER__MAX, 0);
         i++) {
        g_free(name);
        name = g_strdup_printf("%s/%s%d", master->name, driver->kind, i);
    }
    return name;
}

Link *vlink_lower_new(VlinkDriver *driver, NetClientState **masters,
                      unsigned n)
{
    g_autofree char *name = lower_name(driver, masters[0]);
    VlinkEndpoint *ep = vlink_endpoint_new(&driver->lower, driver->kind, name,
                                           masters, n);

    link_kind_register(&lower_link_ops);
    ep->master = g_strdup(masters[0]->name);
    ep->link = link_new(&vlink_platform, lower_link_ops.kind, ep->master,
                        NULL, ep, NULL);
    link_set_queues(ep->link, n);
    vlink_front_init(ep);
    ep->vm_state = qemu_add_vm_change_state_handler(lower_vm_changed, ep);
    QTAILQ_INSERT_TAIL(&lowers, ep, next);
    vlink_lower_update(ep);
    return ep->link;
}

void vlink_lower_release(Link *lower)
{
    if (g_queue_is_empty(&lower->uppers)) {
        qemu_del_net_client(&lower_endpoint(lower)->queues[0]->nc);
    }
}

Link *vlink_next_lower(Link *after)
{
    VlinkEndpoint *ep = after ? QTAILQ_NEXT(lower_endpoint(after), next)
                              : QTAILQ_FIRST(&lowers);

    return ep ? ep->link : NULL;
}

Link *vlink_find_lower(const char *master)
{
    NetClientState *nc = qemu_find_netdev(master);

    return nc && !vlink_is_lower(nc) && nc->peer && vlink_is_lower(nc->peer) ?
           to_queue(nc->peer)->ep->link : NULL;
}

const char *vlink_master_id(const Link *lower)
{
    return lower_endpoint(lower)->master;
}
