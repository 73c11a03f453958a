/*
 * The upper link: the netdev of a NIC, or a slave before another netdev
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "endpoint-int.h"
#include "libvlink/offload.h"
#include "qapi/qapi-types-net.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "standard-headers/linux/virtio_net.h"
#include "trace.h"

/* --- frames -------------------------------------------------------------- */

static void upper_sent(NetClientState *nc, ssize_t len)
{
    VlinkQueue *q = to_queue(nc);

    q->busy = false;
    if (q->ep && q->ep->link) {
        link_rx_ready(q->ep->link, nc->queue_index);
    }
}

static LinkTx upper_deliver(void *opaque, const Packet *p)
{
    VlinkEndpoint *ep = opaque;

    return vlink_send(ep->queues[p->queue], p, upper_sent);
}

static ssize_t upper_receive_iov(NetClientState *nc, const struct iovec *iov,
                                 int iovcnt)
{
    VlinkQueue *q = to_queue(nc);
    QEMU_UNINITIALIZED Packet p;
    uint32_t len;

    if (!q->ep || !q->ep->link) {
        return iov_size(iov, iovcnt) ?: -1;
    }
    if (vlink_must_wait()) {
        return 0;
    }
    if (vlink_take(q, iov, iovcnt, &p)) {
        len = p.len;
        if (link_xmit(q->ep->link, &p) == LINK_TX_BUSY) {
            return 0;
        }
        q->tx_packets++;
        q->tx_bytes += len;
    } else {
        link_count_tx(q->ep->link, p.len);
    }
    return vlink_taken(&p);
}

/* Each queue is the first in turn, or the first would have all the turns. */
void vlink_upper_flush(VlinkEndpoint *ep)
{
    unsigned first = ep->first_woken++;

    for (unsigned i = 0; i < ep->n_queues; i++) {
        VlinkQueue *q = ep->queues[(first + i) % ep->n_queues];

        if (q) {
            qemu_flush_queued_packets(&q->nc);
        }
    }
}

static void upper_wake(void *opaque)
{
    vlink_upper_flush(opaque);
}

/* --- queues -------------------------------------------------------------- */

/* The guest uses the first ones, at least one. */
static unsigned count_queues(const VlinkEndpoint *ep)
{
    unsigned n = 1;

    while (n < ep->n_queues && ep->queues[n]->enabled) {
        n++;
    }
    return n;
}

/*
 * Frames for a queue that is no longer used would wait there for ever: they
 * are steered anew.
 */
static void upper_queues_bh(void *opaque)
{
    VlinkEndpoint *ep = opaque;
    unsigned n;

    if (!ep->link) {
        return;
    }
    if (vlink_must_wait()) {
        qemu_bh_schedule(ep->queues_bh);
        return;
    }
    n = count_queues(ep);
    trace_ipvlan_queues(ep->link->name, n);
    for (unsigned i = n; i < ep->n_queues; i++) {
        /* The one that QEMU's queue keeps has lost its receiver. */
        qemu_purge_queued_packets(&ep->queues[i]->nc);
    }
    link_set_queues(ep->link, n);
    for (unsigned i = 0; i < n; i++) {
        if (!ep->queues[i]->busy) {
            link_rx_ready(ep->link, i);
        }
    }
}

/* One call for each queue, in the midst of the NIC's own work. */
static void upper_set_queue_enabled(NetClientState *nc, bool enabled)
{
    VlinkQueue *q = to_queue(nc);

    q->enabled = enabled;
    if (q->ep && q->ep->link) {
        qemu_bh_schedule(q->ep->queues_bh);
        /* A NIC that is new has a link, whatever the master's is. */
        qemu_bh_schedule(q->ep->state_bh);
    }
}

/* --- what the NIC says --------------------------------------------------- */

static bool upper_true(NetClientState *nc)
{
    return true;
}

static bool upper_has_vnet_hdr_len(NetClientState *nc, int len)
{
    return len == sizeof(struct virtio_net_hdr) ||
           len == sizeof(struct virtio_net_hdr_mrg_rxbuf) ||
           len == sizeof(struct virtio_net_hdr_v1_hash);
}

/* net.c has noted it already. */
static void upper_set_vnet_hdr_len(NetClientState *nc, int len)
{
    assert(upper_has_vnet_hdr_len(nc, len));
}

/* Legacy guests' byte order; each is asked only where it is not the host's. */
static int upper_set_vnet_le(NetClientState *nc, bool is_le)
{
    to_queue(nc)->big_endian = !is_le;
    return 0;
}

static int upper_set_vnet_be(NetClientState *nc, bool is_be)
{
    to_queue(nc)->big_endian = is_be;
    return 0;
}

static void upper_set_offload(NetClientState *nc, int csum, int tso4,
                              int tso6, int ecn, int ufo, int uso4, int uso6)
{
    VlinkEndpoint *ep = to_queue(nc)->ep;

    if (ep && ep->link) {
        link_set_offloads(ep->link, !csum ? 0 : OFFLOAD_CSUM |
                          (tso4 ? OFFLOAD_TSO4 : 0) |
                          (tso6 ? OFFLOAD_TSO6 : 0) |
                          (ecn ? OFFLOAD_ECN : 0) |
                          (ufo ? OFFLOAD_UFO : 0) |
                          (uso4 ? OFFLOAD_USO4 : 0) |
                          (uso6 ? OFFLOAD_USO6 : 0));
    }
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
    NetClientState *peer = ep->queues[0]->nc.peer;

    if (!vlink_peer_is_nic(ep) || !peer->info->query_rx_filter) {
        return true;
    }
    if (!ep->filter) {
        ep->filter = query_filter(peer);
        qemu_bh_schedule(ep->filter_bh);
    }
    return filter_wants(ep->filter, mac);
}

static bool upper_address(void *opaque, uint8_t *mac)
{
    VlinkEndpoint *ep = opaque;

    if (!vlink_peer_is_nic(ep)) {
        return false;
    }
    memcpy(mac, qemu_get_nic(ep->queues[0]->nc.peer)->conf->macaddr.a,
           ETHER_ADDR_LEN);
    return true;
}

/* By announce-self, or because the machine has just come here. */
static void upper_announce(NetClientState *nc)
{
    VlinkEndpoint *ep = to_queue(nc)->ep;

    if (ep && ep->link) {
        link_announce(ep->link);
    }
}

/* --- up and down --------------------------------------------------------- */

static void set_peers_down(VlinkEndpoint *ep, bool down)
{
    for (unsigned i = 0; i < ep->n_queues; i++) {
        ep->queues[i]->nc.peer->link_down = down;
    }
}

/*
 * A NIC has no link while the master has none.  What somebody else took down,
 * by the NIC's own name or the slave's, stays down.
 */
void vlink_upper_update(VlinkEndpoint *ep)
{
    NetClientState *peer = ep->queues[0]->nc.peer;
    bool up = link_is_up(ep->link->lower);

    if (!vlink_peer_is_nic(ep) || (up && !ep->took_down) ||
        (!up && peer->link_down)) {
        return;
    }
    set_peers_down(ep, !up);
    ep->took_down = !up;
    if (peer->info->link_status_changed) {
        peer->info->link_status_changed(peer);
    }
}

static void upper_link_state(void *opaque)
{
    VlinkEndpoint *ep = opaque;
    NetClientState *nc = &ep->queues[0]->nc;

    trace_ipvlan_link_state(nc->name, link_is_up(ep->link));
    if (nc->peer && vlink_is_lower(nc->peer)) {
        vlink_lower_update(to_queue(nc->peer)->ep);
    }
}

/* Before a netdev, the slave is up only if that is; a NIC follows us. */
static void update_carrier(VlinkEndpoint *ep)
{
    NetClientState *peer = ep->queues[0]->nc.peer;

    link_set_carrier(ep->link, !ep->is_front || !peer->link_down);
}

static void upper_state_bh(void *opaque)
{
    VlinkEndpoint *ep = opaque;

    if (vlink_must_wait()) {
        qemu_bh_schedule(ep->state_bh);
    } else if (ep->link) {
        if (!ep->queues[0]->nc.peer) {
            /* the next NIC need not take what the last one did */
            link_set_offloads(ep->link, 0);
        }
        vlink_upper_update(ep);
    }
}

/*
 * set_link on the slave, or on its NIC, whose state is then not ours to undo:
 * who speaks last decides, as with any netdev.  When we return, set_link sets
 * the NIC as the slave is, although the master may be down: look at it again
 * after that.  Or the netdev before us has got or lost its connection.
 */
static void upper_status_changed(NetClientState *nc)
{
    VlinkEndpoint *ep = to_queue(nc)->ep;

    if (ep && ep->link) {
        ep->took_down = false;
        link_set_admin(ep->link, !nc->link_down);
        update_carrier(ep);
        qemu_bh_schedule(ep->state_bh);
    }
}

/*
 * The state of the NIC's link comes with the NIC, and whose doing that is with
 * us.  While they come, the master here has a state of its own: it counts once
 * the machine runs.
 */
static void upper_save(void *opaque, GVariantBuilder *out)
{
    VlinkEndpoint *ep = opaque;
    bool held = vlink_peer_is_nic(ep) && !ep->took_down &&
                ep->queues[0]->nc.peer->link_down;

    g_variant_builder_add(out, "{sv}", "held-down",
                          g_variant_new_boolean(held));
}

static void upper_load(void *opaque, GVariant *state)
{
    VlinkEndpoint *ep = opaque;
    gboolean held = false;

    g_variant_lookup(state, "held-down", "b", &held);
    ep->held_down = held;
}

void vlink_upper_arrived(VlinkEndpoint *ep)
{
    ep->took_down = vlink_peer_is_nic(ep) && !ep->held_down &&
                    ep->queues[0]->nc.peer->link_down;
}

/* --- the end ------------------------------------------------------------- */

/*
 * The frames that waited there are lost with it.  A NIC has taken back those
 * that came from there, and no longer wants to hear of them.
 */
static void upper_peer_deleted(NetClientState *nc)
{
    VlinkEndpoint *ep = to_queue(nc)->ep;

    if (!vlink_peer_is_nic(ep)) {
        vlink_purge_from_peer(ep);
    }
    vlink_front_end(ep);
    for (unsigned i = 0; i < ep->n_queues; i++) {
        upper_sent(&ep->queues[i]->nc, 0);
    }
    if (ep->link) {
        update_carrier(ep);
        link_user_changed(ep->link);
        qemu_bh_schedule(ep->state_bh);
    }
}

static void upper_unlink(VlinkEndpoint *ep)
{
    Link *link = ep->link;

    trace_ipvlan_detach(link->name);
    ep->link = NULL;
    link_del(link);
    /* What its NIC has waiting goes nowhere, and must not wait. */
    vlink_upper_flush(ep);
}

/* Gone for the user; the clients themselves stay as long as their NIC. */
static void upper_deleted(NetClientState *nc)
{
    VlinkEndpoint *ep = to_queue(nc)->ep;
    Link *lower;

    if (ep->link) {
        lower = ep->link->lower;
        upper_unlink(ep);
        vlink_lower_release(lower);
    }
}

static void upper_cleanup(NetClientState *nc)
{
    VlinkQueue *q = to_queue(nc);
    VlinkEndpoint *ep = q->ep;

    upper_deleted(nc);
    drop_filter(ep);
    g_clear_pointer(&ep->state_bh, qemu_bh_delete);
    g_clear_pointer(&ep->filter_bh, qemu_bh_delete);
    g_clear_pointer(&ep->queues_bh, qemu_bh_delete);
    vlink_queue_cleanup(q);
}

/* --- making them --------------------------------------------------------- */

const NetClientInfo vlink_upper_info = {
    .size = sizeof(VlinkQueue),
    .receive_iov = upper_receive_iov,
    .has_ufo = upper_true,
    .has_uso = upper_true,
    .has_vnet_hdr = upper_true,
    .has_vnet_hdr_len = upper_has_vnet_hdr_len,
    .set_offload = upper_set_offload,
    .set_queue_enabled = upper_set_queue_enabled,
    .set_vnet_hdr_len = upper_set_vnet_hdr_len,
    .set_vnet_le = upper_set_vnet_le,
    .set_vnet_be = upper_set_vnet_be,
    .announce = upper_announce,
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
    .save = upper_save,
    .load = upper_load,
};

Link *vlink_link_of(NetClientState *nc)
{
    VlinkQueue *q = to_queue(nc);

    return nc->info->cleanup == upper_cleanup && q->ep ? q->ep->link : NULL;
}

void vlink_del(Link *link)
{
    VlinkEndpoint *ep = link_user_opaque(link);

    qemu_del_net_client(&ep->queues[0]->nc);
}

unsigned vlink_n_queues(const Link *link)
{
    const VlinkEndpoint *ep = link_user_opaque(link);

    return ep->n_queues;
}

void vlink_queue_sent(const Link *link, unsigned queue, uint64_t *packets,
                      uint64_t *bytes)
{
    const VlinkEndpoint *ep = link_user_opaque(link);

    *packets = ep->queues[queue]->tx_packets;
    *bytes = ep->queues[queue]->tx_bytes;
}

static void set_info(VlinkEndpoint *ep, const char *master)
{
    g_autoptr(GString) info = g_string_new(NULL);

    ep->link->ops->fill_info(ep->link, info);
    for (unsigned i = 0; i < ep->n_queues; i++) {
        qemu_set_info_str(&ep->queues[i]->nc, "master=%s,%s", master,
                          info->str);
    }
}

void vlink_info_changed(Link *link)
{
    set_info(link_user_opaque(link), vlink_master_id(link->lower));
}

void vlink_upper_new(VlinkDriver *driver, const VlinkOptions *opts,
                     NetClientState **peers, unsigned n, Link *link)
{
    VlinkEndpoint *ep = g_new0(VlinkEndpoint, 1);

    vlink_queues_new(ep, &driver->upper, driver->kind, opts->id, peers, n);
    ep->link = link;
    ep->state_bh = qemu_bh_new(upper_state_bh, ep);
    ep->filter_bh = qemu_bh_new(drop_filter, ep);
    ep->queues_bh = qemu_bh_new(upper_queues_bh, ep);
    link_set_user(link, &upper_user_ops, ep);
    if (opts->netdev) {
        link_set_queues(link, n);
        vlink_front_init(ep);
        update_carrier(ep);
    }
    set_info(ep, opts->master);
    trace_ipvlan_attach(opts->id, opts->master,
                        peers ? peers[0]->name : "none");
}
