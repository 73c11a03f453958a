/*
 * Virtual links as netdevs: the glue that every kind of link shares
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/net/vlink/endpoint.h"
#include "hw/virtio/virtio.h"
#include "net/eth.h"
#include "qapi/error.h"
#include "qapi/qapi-types-net.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "trace.h"

/* A guest's longest descriptor chain, and a header and padding of ours. */
#define VLINK_IOV_MAX (VIRTQUEUE_MAX_SIZE + 2)

/*
 * QEMU is built with -ftrivial-auto-var-init=zero, which would clear 16 KiB
 * for each frame.
 */
#if __has_attribute(uninitialized)
#define UNINITIALIZED __attribute__((uninitialized))
#else
#define UNINITIALIZED
#endif

typedef struct VlinkEndpoint {
    NetClientState nc;
    Link *link;                 /* NULL once its netdev has been deleted */
    bool busy;                  /* the peer's queue keeps a frame of ours */

    /* upper only */
    QEMUBH *state_bh;
    bool took_down;             /* we took the NIC's link down */
    RxFilterInfo *filter;       /* the NIC's, until filter_bh runs */
    QEMUBH *filter_bh;

    /* lower only */
    char *master;
    QTAILQ_ENTRY(VlinkEndpoint) next;
} VlinkEndpoint;

static QTAILQ_HEAD(, VlinkEndpoint) lowers = QTAILQ_HEAD_INITIALIZER(lowers);

static VlinkEndpoint *to_endpoint(NetClientState *nc)
{
    return DO_UPCAST(VlinkEndpoint, nc, nc);
}

static bool is_lower(const NetClientState *nc);
static Link *link_of(NetClientState *nc);

/* --- a link's frames to a net client's peer ------------------------------ */

static bool peer_is_nic(const VlinkEndpoint *ep)
{
    NetClientState *peer = ep->nc.peer;

    return peer && peer->info->type == NET_CLIENT_DRIVER_NIC;
}

/* NICs that do not pad short frames count on the backend to have done it. */
static int pad_for_nic(VlinkEndpoint *ep, const Packet *p, struct iovec *iov)
{
    static const uint8_t zeros[ETH_ZLEN];

    if (p->len >= ETH_ZLEN || !peer_is_nic(ep) ||
        !net_peer_needs_padding(&ep->nc)) {
        return 0;
    }
    iov->iov_base = (void *)zeros;
    iov->iov_len = ETH_ZLEN - p->len;
    return 1;
}

/* QEMU's queue keeps the one frame that its receiver had no room for. */
static LinkTx endpoint_send(VlinkEndpoint *ep, const Packet *p,
                            NetPacketSent *sent)
{
    UNINITIALIZED struct iovec iov[VLINK_IOV_MAX];
    int n;

    if (ep->busy) {
        return LINK_TX_BUSY;
    }
    if (!ep->nc.peer) {
        return link_drop(ep->link, p, DROP_NO_RECEIVER);
    }
    n = packet_to_iov(p, iov, VLINK_IOV_MAX - 1);
    if (n < 0) {
        return link_drop(ep->link, p, DROP_OVERSIZED);
    }
    n += pad_for_nic(ep, p, &iov[n]);
    ep->busy = qemu_sendv_packet_async(&ep->nc, iov, n, sent) == 0;
    return LINK_TX_OK;
}

/* What to tell QEMU of a frame that was taken: zero would mean "busy". */
static ssize_t taken(const Packet *p)
{
    return p->len ?: -1;
}

/* --- lower: the master's peer -------------------------------------------- */

static void lower_sent(NetClientState *nc, ssize_t len)
{
    VlinkEndpoint *ep = to_endpoint(nc);

    ep->busy = false;
    link_wake(ep->link);
}

static LinkTx lower_xmit(Link *link, Packet *p)
{
    VlinkEndpoint *ep = *(VlinkEndpoint **)link_priv(link);

    return endpoint_send(ep, p, lower_sent);
}

static int lower_newlink(Link *link, const void *config, GError **err)
{
    *(VlinkEndpoint **)link_priv(link) = (VlinkEndpoint *)config;
    return 0;
}

static const LinkOps lower_link_ops = {
    .kind = "netdev",
    .priv_size = sizeof(VlinkEndpoint *),
    .newlink = lower_newlink,
    .xmit = lower_xmit,
};

static ssize_t lower_receive_iov(NetClientState *nc, const struct iovec *iov,
                                 int iovcnt)
{
    UNINITIALIZED Packet p;

    packet_init(&p, iov, iovcnt);
    link_receive(to_endpoint(nc)->link, &p);
    return taken(&p);
}

/* Where the master is a slave, too, it is up only if its own master is. */
static void lower_status_changed(NetClientState *nc)
{
    Link *below = nc->peer ? link_of(nc->peer) : NULL;

    link_set_carrier(to_endpoint(nc)->link,
                     !nc->link_down && nc->peer && !nc->peer->link_down &&
                     (!below || link_is_up(below)));
}

/* The frame that waited there is lost with it. */
static void lower_peer_deleted(NetClientState *nc)
{
    VlinkEndpoint *ep = to_endpoint(nc);

    trace_ipvlan_master_gone(ep->master);
    ep->busy = false;
    link_set_carrier(ep->link, false);
}

static void upper_unlink(VlinkEndpoint *ep);

/* At exit QEMU deletes clients in the order in which they were made. */
static void lower_cleanup(NetClientState *nc)
{
    VlinkEndpoint *ep = to_endpoint(nc);

    while (!g_queue_is_empty(&ep->link->uppers)) {
        upper_unlink(link_user_opaque(ep->link->uppers.head->data));
    }
    qemu_purge_queued_packets(nc);
    QTAILQ_REMOVE(&lowers, ep, next);
    link_del(ep->link);
    g_free(ep->master);
}

static const NetClientInfo lower_info = {
    .size = sizeof(VlinkEndpoint),
    .receive_iov = lower_receive_iov,
    .link_status_changed = lower_status_changed,
    .peer_deleted = lower_peer_deleted,
    .cleanup = lower_cleanup,
};

/* Without slaves the master is free for somebody else. */
static void lower_release(Link *lower)
{
    VlinkEndpoint *ep = *(VlinkEndpoint **)link_priv(lower);

    if (g_queue_is_empty(&lower->uppers)) {
        qemu_del_net_client(&ep->nc);
    }
}

Link *vlink_next_lower(Link *after)
{
    VlinkEndpoint *ep = after ? *(VlinkEndpoint **)link_priv(after) : NULL;

    ep = ep ? QTAILQ_NEXT(ep, next) : QTAILQ_FIRST(&lowers);
    return ep ? ep->link : NULL;
}

const char *vlink_master_id(const Link *lower)
{
    return (*(VlinkEndpoint **)link_priv(lower))->master;
}

/* --- upper: the NIC's or another netdev's peer --------------------------- */

static void upper_sent(NetClientState *nc, ssize_t len)
{
    VlinkEndpoint *ep = to_endpoint(nc);

    ep->busy = false;
    if (ep->link) {
        link_rx_ready(ep->link, 0);
    }
}

static LinkTx upper_deliver(void *opaque, const Packet *p)
{
    return endpoint_send(opaque, p, upper_sent);
}

static ssize_t upper_receive_iov(NetClientState *nc, const struct iovec *iov,
                                 int iovcnt)
{
    VlinkEndpoint *ep = to_endpoint(nc);
    UNINITIALIZED Packet p;

    packet_init(&p, iov, iovcnt);
    if (ep->link && link_xmit(ep->link, &p) == LINK_TX_BUSY) {
        return 0;
    }
    return taken(&p);
}

static void upper_wake(void *opaque)
{
    VlinkEndpoint *ep = opaque;

    qemu_flush_queued_packets(&ep->nc);
}

static void drop_filter(void *opaque)
{
    VlinkEndpoint *ep = opaque;

    g_clear_pointer(&ep->filter, qapi_free_RxFilterInfo);
}

static bool filter_wants(const RxFilterInfo *filter, const uint8_t *mac)
{
    char text[MAC_STR_MAX];

    if (filter->promiscuous || filter->multicast == RX_STATE_ALL ||
        (filter->multicast == RX_STATE_NORMAL &&
         filter->multicast_overflow)) {
        return true;
    }
    if (filter->multicast == RX_STATE_NONE) {
        return false;
    }
    mac_format(mac, text);
    for (strList *l = filter->multicast_table; l; l = l->next) {
        if (g_str_equal(l->value, text)) {
            return true;
        }
    }
    return false;
}

/* Asking arms the event for the next change, which is for QMP's users to do. */
static RxFilterInfo *query_filter(NetClientState *nic)
{
    unsigned notify = nic->rxfilter_notify_enabled;
    RxFilterInfo *filter = nic->info->query_rx_filter(nic);

    nic->rxfilter_notify_enabled = notify;
    return filter;
}

/*
 * A NIC does not say when its filter changes, and asking is not cheap: what
 * it answers is good until the main loop comes round.
 */
static bool upper_wants_group(void *opaque, const uint8_t *mac)
{
    VlinkEndpoint *ep = opaque;

    if (!peer_is_nic(ep) || !ep->nc.peer->info->query_rx_filter) {
        return true;
    }
    if (!ep->filter) {
        ep->filter = query_filter(ep->nc.peer);
        qemu_bh_schedule(ep->filter_bh);
    }
    return filter_wants(ep->filter, mac);
}

static bool upper_address(void *opaque, uint8_t *mac)
{
    VlinkEndpoint *ep = opaque;

    if (!peer_is_nic(ep)) {
        return false;
    }
    memcpy(mac, qemu_get_nic(ep->nc.peer)->conf->macaddr.a, ETHER_ADDR_LEN);
    return true;
}

/* What somebody else took down, by the NIC's own name, stays down. */
static void upper_link_state(void *opaque)
{
    VlinkEndpoint *ep = opaque;
    NetClientState *peer = ep->nc.peer;
    bool up = link_is_up(ep->link);

    trace_ipvlan_link_state(ep->nc.name, up);
    if (peer && is_lower(peer)) {
        lower_status_changed(peer);
    }
    if (!peer_is_nic(ep) || (up && !ep->took_down) ||
        (!up && peer->link_down)) {
        return;
    }
    peer->link_down = !up;
    ep->took_down = !up;
    if (peer->info->link_status_changed) {
        peer->info->link_status_changed(peer);
    }
}

static void upper_state_bh(void *opaque)
{
    VlinkEndpoint *ep = opaque;

    if (ep->link) {
        upper_link_state(ep);
    }
}

/*
 * set_link on the slave, or on its NIC, whose state is then not ours to undo.
 * When we return, set_link sets the NIC as the slave is, although the master
 * may be down: look at it again after that.
 */
static void upper_status_changed(NetClientState *nc)
{
    VlinkEndpoint *ep = to_endpoint(nc);

    if (ep->link) {
        if (ep->link->admin_up == !nc->link_down) {
            ep->took_down = false;
        }
        link_set_admin(ep->link, !nc->link_down);
        qemu_bh_schedule(ep->state_bh);
    }
}

/* The frame that waited there is lost with it. */
static void upper_peer_deleted(NetClientState *nc)
{
    upper_sent(nc, 0);
}

static void upper_unlink(VlinkEndpoint *ep)
{
    trace_ipvlan_detach(ep->nc.name);
    link_del(ep->link);
    ep->link = NULL;
    /* What its NIC has waiting goes nowhere, and must not wait. */
    qemu_flush_queued_packets(&ep->nc);
}

/* Gone for the user; the client itself stays as long as its NIC. */
static void upper_deleted(NetClientState *nc)
{
    VlinkEndpoint *ep = to_endpoint(nc);
    Link *lower;

    if (ep->link) {
        lower = ep->link->lower;
        upper_unlink(ep);
        lower_release(lower);
    }
}

static void upper_cleanup(NetClientState *nc)
{
    VlinkEndpoint *ep = to_endpoint(nc);

    upper_deleted(nc);
    qemu_purge_queued_packets(nc);
    drop_filter(ep);
    g_clear_pointer(&ep->state_bh, qemu_bh_delete);
    g_clear_pointer(&ep->filter_bh, qemu_bh_delete);
}

static const NetClientInfo upper_info = {
    .size = sizeof(VlinkEndpoint),
    .receive_iov = upper_receive_iov,
    .link_status_changed = upper_status_changed,
    .deleted = upper_deleted,
    .peer_deleted = upper_peer_deleted,
    .cleanup = upper_cleanup,
};

static const LinkUserOps upper_user_ops = {
    .deliver = upper_deliver,
    .wants_group = upper_wants_group,
    .address = upper_address,
    .wake = upper_wake,
    .link_state = upper_link_state,
};

/* --- making them --------------------------------------------------------- */

static bool is_upper(const NetClientState *nc)
{
    return nc->info->cleanup == upper_cleanup;
}

static bool is_lower(const NetClientState *nc)
{
    return nc->info->cleanup == lower_cleanup;
}

/* The link behind @nc, if it is one of ours with one; for link_join(). */
static Link *link_of(NetClientState *nc)
{
    return is_upper(nc) ? to_endpoint(nc)->link : NULL;
}

static bool check_queues(const char *option, const char *id, Error **errp)
{
    int queues = qemu_find_net_clients_except(id, NULL,
                                              NET_CLIENT_DRIVER_NIC, 0);

    if (queues > 1) {
        error_setg(errp, "%s=%s: it has %d queues, only one is supported",
                   option, id, queues);
    }
    return queues <= 1;
}

/* The netdev that @option names, which somebody else may be using. */
static NetClientState *find_netdev(const VlinkOptions *opts,
                                   const char *option, const char *id,
                                   Error **errp)
{
    NetClientState *nc;

    if (g_str_equal(id, opts->id)) {
        error_setg(errp, "%s=%s: a netdev cannot be its own %s",
                   option, id, option);
        return NULL;
    }
    nc = qemu_find_netdev(id);
    if (!nc || is_lower(nc)) {
        error_setg(errp, "%s=%s: there is no such netdev", option, id);
        return NULL;
    }
    return check_queues(option, id, errp) ? nc : NULL;
}

static NetClientState *in_use(const char *option, NetClientState *nc,
                              Error **errp)
{
    if (is_lower(nc->peer)) {
        error_setg(errp, "%s=%s: it is the master of %s netdevs", option,
                   nc->name, nc->peer->model);
    } else {
        error_setg(errp, "%s=%s: it is in use by %s '%s'", option, nc->name,
                   nc->peer->model, nc->peer->name);
    }
    return NULL;
}

static NetClientState *find_master(VlinkDriver *driver,
                                   const VlinkOptions *opts, Error **errp)
{
    NetClientState *nc = find_netdev(opts, "master", opts->master, errp);

    if (nc && nc->peer && nc->peer->info != &driver->lower) {
        return in_use("master", nc, errp);
    }
    return nc;
}

/* NULL without an error where there is to be no peer yet. */
static NetClientState *find_peer(const VlinkOptions *opts, Error **errp)
{
    NetClientState *nc;

    if (!opts->netdev) {
        return opts->peer;
    }
    if (opts->peer) {
        error_setg(errp, "netdev=%s: -net attaches '%s' to a hub already",
                   opts->netdev, opts->id);
        return NULL;
    }
    nc = find_netdev(opts, "netdev", opts->netdev, errp);
    if (nc && g_str_equal(opts->netdev, opts->master)) {
        error_setg(errp, "netdev=%s: it is the master", opts->netdev);
        return NULL;
    }
    return nc && nc->peer ? in_use("netdev", nc, errp) : nc;
}

static const char *join_problem(int ret)
{
    switch (ret) {
    case -ELOOP:
        return "are connected already, and frames would go in circles";
    case -EMLINK:
        return "would be nested deeper than 8 links";
    default:
        return "cannot be joined";
    }
}

/*
 * Where @nc is a slave, too, frames between the two links take a way that
 * neither of them sees: let the library know of it.
 */
static bool join(Link *link, const char *option, NetClientState *nc,
                 Error **errp)
{
    Link *other = link_of(nc);
    int ret = other ? link_join(link, other) : 0;

    if (ret < 0) {
        error_setg(errp, "%s=%s: '%s' and '%s' %s", option, nc->name,
                   nc->name, link->name, join_problem(ret));
    }
    return ret == 0;
}

QEMU_BUILD_BUG_ON(LINK_MAX_NEST != 8);  /* as join_problem() says */

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

static Link *lower_new(VlinkDriver *driver, NetClientState *master,
                       Error **errp)
{
    g_autofree char *name = lower_name(driver, master);
    NetClientState *nc = qemu_new_net_client(&driver->lower, master,
                                             driver->kind, name);
    VlinkEndpoint *ep = to_endpoint(nc);

    ep->master = g_strdup(master->name);
    ep->link = link_new(&vlink_platform, lower_link_ops.kind, master->name,
                        NULL, ep, NULL);
    QTAILQ_INSERT_TAIL(&lowers, ep, next);
    lower_status_changed(nc);
    if (!join(ep->link, "master", master, errp)) {
        qemu_del_net_client(nc);
        return NULL;
    }
    return ep->link;
}

static Link *lower_get(VlinkDriver *driver, NetClientState *master,
                       Error **errp)
{
    if (master->peer) {
        return to_endpoint(master->peer)->link;
    }
    return lower_new(driver, master, errp);
}

static void upper_new(VlinkDriver *driver, const VlinkOptions *opts,
                      NetClientState *peer, Link *link)
{
    g_autoptr(GString) info = g_string_new(NULL);
    NetClientState *nc = qemu_new_net_client(&driver->upper, peer,
                                             driver->kind, opts->id);
    VlinkEndpoint *ep = to_endpoint(nc);

    ep->link = link;
    ep->state_bh = qemu_bh_new(upper_state_bh, ep);
    ep->filter_bh = qemu_bh_new(drop_filter, ep);
    link_set_user(link, &upper_user_ops, ep);
    link_set_rx_queue(link, opts->rx_queue ?: LINK_RX_QUEUE);
    link->ops->fill_info(link, info);
    qemu_set_info_str(nc, "master=%s,%s", opts->master, info->str);
    trace_ipvlan_attach(opts->id, opts->master, peer ? peer->name : "none");
}

static Link *link_create(VlinkDriver *driver, const VlinkOptions *opts,
                         Link *lower, NetClientState *peer, Error **errp)
{
    g_autoptr(GError) err = NULL;
    Link *link = link_new(&vlink_platform, driver->kind, opts->id, lower,
                          opts->config, &err);

    if (!link) {
        error_setg(errp, "%s", err->message);
        return NULL;
    }
    if (peer && !join(link, "netdev", peer, errp)) {
        link_del(link);
        return NULL;
    }
    return link;
}

static void driver_init(VlinkDriver *driver)
{
    driver->upper = upper_info;
    driver->upper.type = driver->type;
    driver->lower = lower_info;
    driver->lower.type = driver->type;
    link_kind_register(&lower_link_ops);
}

Link *vlink_new(VlinkDriver *driver, const VlinkOptions *opts, Error **errp)
{
    ERRP_GUARD();
    NetClientState *master, *peer;
    Link *lower, *link;

    driver_init(driver);
    master = find_master(driver, opts, errp);
    if (!master) {
        return NULL;
    }
    peer = find_peer(opts, errp);
    if (*errp) {
        return NULL;
    }
    lower = lower_get(driver, master, errp);
    if (!lower) {
        return NULL;
    }
    link = link_create(driver, opts, lower, peer, errp);
    if (!link) {
        lower_release(lower);
        return NULL;
    }
    upper_new(driver, opts, peer, link);
    return link;
}
