/*
 * Up: what waits for a link's user
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "link.h"

static RxQueue *rx_queue_of(const Link *link, const Packet *p)
{
    return link->rx.queue[p->queue];
}

/* One frame that the user can take as it is. */
static inline LinkTx rx_give(RxQueue *q, const Packet *p)
{
    Link *link = q->link;
    LinkTx tx = link->user->deliver(link->user_opaque, p);

    q->busy = tx == LINK_TX_BUSY;
    if (tx == LINK_TX_OK) {
        link_count_rx(link, p);
    }
    return tx;
}

static bool rx_emit(void *opaque, Packet *piece)
{
    return rx_give(opaque, piece) != LINK_TX_BUSY;
}

/* Where the user is busy in the middle of it, p->pieces says how far it is. */
static LinkTx rx_offer(RxQueue *q, Packet *p)
{
    unsigned can = q->link->offloads;

    if (G_LIKELY(!(offload_needs(p) & ~can) && !p->pieces)) {
        return rx_give(q, p);
    }
    return offload_send(p, can, rx_emit, q) ? LINK_TX_OK : LINK_TX_BUSY;
}

/*
 * What is for many may fill one half of the queue: a storm that a user is too
 * slow for displaces none of what is for this user alone.
 */
static unsigned rx_limit(const LinkRx *rx, const Packet *p)
{
    return p->for_many ? (rx->max + 1) / 2 : rx->max;
}

static void rx_enqueue(RxQueue *q, const Packet *p)
{
    Link *link = q->link;
    Packet *held;

    if (q->packets.length >= rx_limit(&link->rx, p)) {
        link_drop(link, p, DROP_RX_QUEUE);
        return;
    }
    link_trace(link, LINK_EVENT_QUEUE, NULL, p);
    held = packet_hold(p);
    held->queued = link->platform->now();
    packet_queue_push(&q->packets, held);
}

void rx_deliver(Link *link, Packet *p)
{
    RxQueue *q;

    link_steer(link, p);
    q = rx_queue_of(link, p);
    if (q->busy || !g_queue_is_empty(&q->packets) ||
        rx_offer(q, p) == LINK_TX_BUSY) {
        rx_enqueue(q, p);
    }
    p->pieces = 0;              /* its bytes may go on to somebody else */
}

/* The user has room again: what waited goes first, a turn at a time. */
static unsigned rx_poll(Poll *poll, unsigned budget)
{
    RxQueue *q = (RxQueue *)((char *)poll - offsetof(RxQueue, poll));
    unsigned done = 0;

    while (done < budget && !g_queue_is_empty(&q->packets)) {
        Packet *p = packet_queue_pop(&q->packets);

        if (rx_offer(q, p) == LINK_TX_BUSY) {
            packet_queue_push_front(&q->packets, p);
            break;
        }
        done += poll_cost(p->len);
        packet_put(p);
    }
    return done;
}

void link_rx_ready(Link *link, unsigned queue)
{
    RxQueue *q;

    if (queue >= link->rx.made) {
        return;
    }
    q = link->rx.queue[queue];
    q->busy = false;
    if (!g_queue_is_empty(&q->packets)) {
        poll_schedule(&q->poll);
    }
}

unsigned link_rx_waiting(const Link *link)
{
    unsigned n = 0;

    for (unsigned i = 0; i < link->rx.made; i++) {
        n += link->rx.queue[i]->packets.length;
    }
    return n;
}

void link_set_rx_queue(Link *link, unsigned packets)
{
    link->rx.max = packets;
}

void rx_purge(Link *link, DropReason reason)
{
    for (unsigned i = 0; i < link->rx.made; i++) {
        link->stats.drops[reason] +=
            packet_queue_purge(&link->rx.queue[i]->packets);
    }
}

void rx_reset(Link *link)
{
    for (unsigned i = 0; i < link->rx.made; i++) {
        link->rx.queue[i]->busy = false;
    }
}

/* --- several queues ------------------------------------------------------ */

static void rx_make_queue(Link *link)
{
    RxQueue *q = g_new0(RxQueue, 1);

    q->link = link;
    q->index = link->rx.made;
    poll_init(&q->poll, link->poller, rx_poll);
    link->rx.queue = g_renew(RxQueue *, link->rx.queue, link->rx.made + 1);
    link->rx.queue[link->rx.made++] = q;
}

/* The queue whose first packet came before all others; NULL: all are empty. */
static GQueue *rx_oldest(GQueue *queues, unsigned n)
{
    GQueue *oldest = NULL;
    int64_t when = INT64_MAX;

    for (unsigned i = 0; i < n; i++) {
        const Packet *p = packet_queue_peek(&queues[i]);

        if (p && p->queued < when) {
            oldest = &queues[i];
            when = p->queued;
        }
    }
    return oldest;
}

/*
 * Each packet goes to the queue that its flow has now, in the order in which
 * they came.  The user may be asked again in each: if it has no room there,
 * it says so again.
 */
void rx_steer(Link *link)
{
    LinkRx *rx = &link->rx;
    unsigned n = rx->made;
    g_autofree GQueue *old = g_new(GQueue, n);
    GQueue *q;

    while (rx->made < link->n_queues) {
        rx_make_queue(link);
    }
    for (unsigned i = 0; i < n; i++) {
        old[i] = rx->queue[i]->packets;
        g_queue_init(&rx->queue[i]->packets);
    }
    while ((q = rx_oldest(old, n))) {
        Packet *p = packet_queue_pop(q);

        link_steer(link, p);
        packet_queue_push(&rx_queue_of(link, p)->packets, p);
    }
    for (unsigned i = 0; i < rx->made; i++) {
        link_rx_ready(link, i);
    }
}

void rx_init(Link *link)
{
    link->rx.max = LINK_RX_QUEUE;
    rx_make_queue(link);
}

void rx_destroy(Link *link)
{
    for (unsigned i = 0; i < link->rx.made; i++) {
        RxQueue *q = link->rx.queue[i];

        poll_cancel(&q->poll);
        packet_queue_purge(&q->packets);
        g_free(q);
    }
    g_free(link->rx.queue);
}
