/*
 * Frames between a link and the peer of a net client, virtio-net headers
 * included
 *
 * Of a NIC and its netdev, the netdev is who is told the length of the header
 * and what the NIC can take.  A slave is such a netdev.  Where a link stands
 * before a netdev, as its master or with netdev=, it acts as the NIC.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "endpoint-int.h"
#include "hw/virtio/virtio.h"
#include "libvlink/offload.h"
#include "libvlink/vnet.h"
#include "net/eth.h"
#include "net/filter.h"
#include "qemu/main-loop.h"
#include "standard-headers/linux/virtio_net.h"

/* A guest's longest descriptor chain, and a header, a rewritten one, padding */
#define VLINK_IOV_MAX (VIRTQUEUE_MAX_SIZE + 3)

/* --- making and deleting ------------------------------------------------- */

void vlink_queues_new(VlinkEndpoint *ep, NetClientInfo *info,
                      const char *model, const char *name,
                      NetClientState **peers, unsigned n)
{
    ep->queues = g_new(VlinkQueue *, n);
    ep->n_queues = ep->n_alive = n;
    for (unsigned i = 0; i < n; i++) {
        NetClientState *nc = qemu_new_net_client(info,
                                                 peers ? peers[i] : NULL,
                                                 model, name);

        nc->queue_index = i;
        nc->do_not_pad = true;  /* see pad_for_nic() */
        ep->queues[i] = to_queue(nc);
        ep->queues[i]->ep = ep;
        ep->queues[i]->big_endian = HOST_BIG_ENDIAN;
    }
}

void vlink_queue_cleanup(VlinkQueue *q)
{
    VlinkEndpoint *ep = q->ep;

    qemu_purge_queued_packets(&q->nc);
    q->ep = NULL;
    ep->queues[q->nc.queue_index] = NULL;
    if (--ep->n_alive == 0) {
        g_clear_pointer(&ep->queues, g_free);
        ep->n_queues = 0;
        if (!ep->link) {
            g_free(ep);
        }
    }
}

void vlink_purge_from_peer(VlinkEndpoint *ep)
{
    for (unsigned i = 0; i < ep->n_queues; i++) {
        qemu_purge_queued_packets(ep->queues[i]->nc.peer);
    }
}

/* --- virtio-net headers -------------------------------------------------- */

/* In bytes, of frames to and from the peer; 0: without. */
static unsigned header_len(const VlinkQueue *q)
{
    const NetClientState *netdev = q->ep->is_front ? q->nc.peer : &q->nc;

    return netdev ? netdev->vnet_hdr_len : 0;
}

static int choose_header_len(NetClientState *netdev)
{
    static const int lens[] = {
        sizeof(struct virtio_net_hdr_mrg_rxbuf), sizeof(struct virtio_net_hdr)
    };

    for (int i = 0; qemu_has_vnet_hdr(netdev) && i < ARRAY_SIZE(lens); i++) {
        if (qemu_has_vnet_hdr_len(netdev, lens[i])) {
            return lens[i];
        }
    }
    return 0;
}

/*
 * The user-mode stack has no wire that would limit what it is sent.  It looks
 * at its MTU for IPv6 only.
 */
static unsigned offloads_without_header(const NetClientState *netdev)
{
    return netdev->info->type == NET_CLIENT_DRIVER_USER ?
           OFFLOAD_TSO4 | OFFLOAD_ECN : 0;
}

static unsigned agree_offloads(NetClientState *netdev)
{
    bool ufo = qemu_has_ufo(netdev), uso = qemu_has_uso(netdev);

    /* Whatever it leaves to do, a slave's guest or libvlink does. */
    qemu_set_offload(netdev, true, true, true, true, ufo, uso, uso);
    return OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_ECN |
           (ufo ? OFFLOAD_UFO : 0) |
           (uso ? OFFLOAD_USO4 | OFFLOAD_USO6 : 0);
}

void vlink_front_init(VlinkEndpoint *ep)
{
    NetClientState *netdev = ep->queues[0]->nc.peer;
    int len = choose_header_len(netdev);

    ep->is_front = true;
    for (unsigned i = 0; i < ep->n_queues; i++) {
        NetClientState *queue = ep->queues[i]->nc.peer;

        if (queue->info->set_queue_enabled) {
            queue->info->set_queue_enabled(queue, true);
        }
        if (len) {
            qemu_set_vnet_hdr_len(queue, len);
            /* for filters of ours, which ask the netdev they belong to */
            ep->queues[i]->nc.vnet_hdr_len = len;
        }
    }
    link_set_offloads(ep->link, len ? agree_offloads(netdev)
                                    : offloads_without_header(netdev));
}

void vlink_front_end(VlinkEndpoint *ep)
{
    ep->is_front = false;
    for (unsigned i = 0; i < ep->n_queues; i++) {
        ep->queues[i]->nc.vnet_hdr_len = 0;
    }
}

/*
 * virtio 1.2, 5.1.6.2.2: a guest may say that a checksum is to be completed,
 * and nothing else; that one is known to be right is for who has checked it.
 */
static uint8_t flags_believed(const VlinkQueue *q)
{
    return PACKET_VNET_NEEDS_CSUM |
           (q->ep->is_front ? PACKET_VNET_DATA_VALID : 0);
}

bool vlink_take(VlinkQueue *q, const struct iovec *iov, int iovcnt, Packet *p)
{
    unsigned len = header_len(q);
    uint8_t header[VNET_HDR_MAX];

    packet_init(p, iov, iovcnt);
    if (!len) {
        return true;
    }
    if (!packet_pull(p, len, header)) {
        link_drop(q->ep->link, p, DROP_TRUNCATED);
        return false;
    }
    p->has_vnet = true;
    p->vnet = vnet_get(header, q->big_endian);
    p->vnet.flags &= flags_believed(q);
    return true;
}

/* --- filters ------------------------------------------------------------- */

/*
 * filter-mirror and filter-redirector wait for who reads from them in an event
 * loop of their own: bottom halves, those of NICs too, run in the midst of
 * vlink_send().  What they have for us has to wait, because libvlink is not to
 * be entered twice.
 */
static unsigned in_filters;
static bool refused;

bool vlink_must_wait(void)
{
    if (likely(!in_filters)) {
        return false;
    }
    refused = true;
    return true;
}

static void go_on(void *opaque)
{
    if (!vlink_must_wait()) {
        vlink_flush_all();
    }
}

static bool has_filters(const VlinkQueue *q)
{
    return !QTAILQ_EMPTY(&q->nc.filters) ||
           !QTAILQ_EMPTY(&q->nc.peer->filters);
}

/* As qemu_sendv_packet_async() */
static ssize_t send_iov(VlinkQueue *q, const struct iovec *iov, int n,
                        NetPacketSent *sent)
{
    bool filtered = has_filters(q);
    ssize_t ret;

    in_filters += filtered;
    ret = qemu_sendv_packet_async(&q->nc, iov, n, sent);
    in_filters -= filtered;
    if (unlikely(refused) && !in_filters) {
        refused = false;
        aio_bh_schedule_oneshot(qemu_get_aio_context(), go_on, NULL);
    }
    return ret;
}

/* --- sending ------------------------------------------------------------- */

/* 5.1.6.4.1: no flag for who has not negotiated GUEST_CSUM. */
static void put_header(const VlinkQueue *q, const Packet *p, uint8_t *header,
                       unsigned len)
{
    PacketVnet vnet = { 0 };

    if (p->has_vnet && (q->ep->link->offloads & OFFLOAD_CSUM)) {
        vnet = p->vnet;
    }
    vnet_put(header, len, &vnet, q->big_endian);
}

/* NICs that do not pad short frames count on the backend to have done it. */
static int pad_for_nic(VlinkQueue *q, const Packet *p, struct iovec *iov)
{
    static const uint8_t zeros[ETH_ZLEN] = { 0 };

    if (p->len >= ETH_ZLEN || !vlink_peer_is_nic(q->ep) ||
        !net_peer_needs_padding(&q->nc)) {
        return 0;
    }
    iov->iov_base = (void *)zeros;
    iov->iov_len = ETH_ZLEN - p->len;
    return 1;
}

/* QEMU's queue keeps the one frame that its receiver had no room for. */
LinkTx vlink_send(VlinkQueue *q, const Packet *p, NetPacketSent *sent)
{
    QEMU_UNINITIALIZED struct iovec iov[VLINK_IOV_MAX];
    uint8_t header[VNET_HDR_MAX];
    unsigned len = header_len(q);
    ssize_t ret;
    int n;

    if (q->busy) {
        return LINK_TX_BUSY;
    }
    if (!q->nc.peer) {
        return link_drop(q->ep->link, p, DROP_NO_RECEIVER);
    }
    if (len) {
        put_header(q, p, header, len);
        iov[0] = (struct iovec) { .iov_base = header, .iov_len = len };
    }
    n = packet_to_iov(p, iov + !!len, VLINK_IOV_MAX - 2);
    if (n < 0) {
        return link_drop(q->ep->link, p, DROP_OVERSIZED);
    }
    n += !!len;
    n += pad_for_nic(q, p, &iov[n]);
    ret = send_iov(q, iov, n, sent);
    if (unlikely(ret < 0)) {
        return link_drop(q->ep->link, p, DROP_REFUSED);
    }
    q->busy = ret == 0;
    return LINK_TX_OK;
}
