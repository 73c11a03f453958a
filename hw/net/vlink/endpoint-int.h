/*
 * Inside of the glue: links, the net clients that are their queues, and who
 * may call what
 *
 *      endpoint.c  makes them from a netdev's options
 *      lower.c     the master's peer         client.c  frames to and from a
 *      upper.c     the slave                           net client's peer
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_NET_VLINK_ENDPOINT_INT_H
#define HW_NET_VLINK_ENDPOINT_INT_H

#include "hw/net/vlink/endpoint.h"

typedef struct VlinkEndpoint VlinkEndpoint;

/* One net client, which is one queue of its link. */
typedef struct VlinkQueue {
    NetClientState nc;
    VlinkEndpoint *ep;          /* NULL once it has been cleaned up */
    bool busy;                  /* the peer's queue keeps a frame of ours */
    bool big_endian;            /* virtio-net headers to and from the peer */

    /* upper only */
    bool enabled;               /* the guest uses this queue */
    uint64_t tx_packets;        /* that came from there, and were accepted */
    uint64_t tx_bytes;
} VlinkQueue;

/*
 * A link and its net clients, all of one name; goes with the last of them.  An
 * upper link goes first, with its netdev, and a lower one may be without
 * clients, until there is a master again.
 */
struct VlinkEndpoint {
    Link *link;                 /* NULL once its netdev has been deleted */
    VlinkQueue **queues;        /* NULL those that have been cleaned up */
    unsigned n_queues;          /* 0: there are no clients */
    unsigned n_alive;
    bool is_front;              /* stands where a NIC would, before a netdev */

    /* upper only */
    QEMUBH *state_bh;
    bool took_down;             /* we took the NIC's link down */
    bool held_down;             /* somebody else did, where it comes from */
    RxFilterInfo *filter;       /* the NIC's, until filter_bh runs */
    QEMUBH *filter_bh;
    QEMUBH *queues_bh;          /* the guest uses other queues */
    unsigned first_woken;       /* queue, so that each is the first in turn */

    /* lower only */
    VlinkDriver *driver;
    char *master;
    VMChangeStateEntry *vm_state;
    bool arrived;               /* from elsewhere, and does not run yet */
    bool moved;                 /* to be announced when it has a carrier */
    QTAILQ_ENTRY(VlinkEndpoint) next;
};

static inline VlinkQueue *to_queue(NetClientState *nc)
{
    return DO_UPCAST(VlinkQueue, nc, nc);
}

/* --- endpoint.c ---------------------------------------------------------- */

/* In words, why link_join() has failed with @ret. */
const char *vlink_join_problem(int ret);

/* --- client.c ------------------------------------------------------------ */

/*
 * Make the clients that are @n queues of @ep, of @info, named @name.  @peers:
 * of each, or NULL.
 */
void vlink_queues_new(VlinkEndpoint *ep, NetClientInfo *info,
                      const char *model, const char *name,
                      NetClientState **peers, unsigned n);

/*
 * For the client's cleanup(): the last queue frees the endpoint, if it has no
 * link any more.
 */
void vlink_queue_cleanup(VlinkQueue *q);

/*
 * Drop the frames of the peer that our queues keep, as it is about to be
 * freed and would be told later what has become of them.
 */
void vlink_purge_from_peer(VlinkEndpoint *ep);

/* Agree with the netdev before us on headers, and take what it offers. */
void vlink_front_init(VlinkEndpoint *ep);

/* That netdev goes: whoever comes next is a NIC. */
void vlink_front_end(VlinkEndpoint *ep);

/* Make @p of what came from the peer; false: dropped and counted. */
bool vlink_take(VlinkQueue *q, const struct iovec *iov, int iovcnt, Packet *p);

/* What to tell QEMU of a frame that was taken: zero would mean "busy". */
static inline ssize_t vlink_taken(const Packet *p)
{
    return p->len ?: -1;
}

/*
 * A filter has a frame of ours, and runs bottom halves meanwhile: come again
 * later.  What waits at our netdevs is asked for by itself.
 */
bool vlink_must_wait(void);

/* Send @p to the peer.  @sent is called if its queue has to keep it. */
LinkTx vlink_send(VlinkQueue *q, const Packet *p, NetPacketSent *sent);

static inline bool vlink_peer_is_nic(const VlinkEndpoint *ep)
{
    NetClientState *peer = ep->queues[0]->nc.peer;

    return peer && peer->info->type == NET_CLIENT_DRIVER_NIC;
}

/* --- lower.c ------------------------------------------------------------- */

extern const NetClientInfo vlink_lower_info;
bool vlink_is_lower(const NetClientState *nc);

/* A lower link on top of the @n clients that are @masters. */
Link *vlink_lower_new(VlinkDriver *driver, NetClientState **masters,
                      unsigned n);

/* Without slaves the master is free for somebody else. */
void vlink_lower_release(Link *lower);

/*
 * It has been loaded with what it knew elsewhere: once the machine runs, its
 * addresses are announced.
 */
void vlink_lower_arrived(Link *lower);

/* Look at what waits at any of our clients again. */
void vlink_flush_all(void);

/* The master's state may have changed. */
void vlink_lower_update(VlinkEndpoint *ep);

/* --- upper.c ------------------------------------------------------------- */

extern const NetClientInfo vlink_upper_info;

/* The link behind @nc, if it is one of ours with one; for link_join(). */
Link *vlink_link_of(NetClientState *nc);

/* The netdev that is @link's user; @peers of its queues, or NULL. */
void vlink_upper_new(VlinkDriver *driver, const VlinkOptions *opts,
                     NetClientState **peers, unsigned n, Link *link);

/* It has come with the machine; vlink_upper_update() is to follow. */
void vlink_upper_arrived(VlinkEndpoint *ep);

/* The master's state may have changed: so may that of the slave's NIC. */
void vlink_upper_update(VlinkEndpoint *ep);

/* Take what waits at the slave's queues, as far as it may send. */
void vlink_upper_flush(VlinkEndpoint *ep);

#endif
