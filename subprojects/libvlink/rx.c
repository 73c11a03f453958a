/*
 * Up: what waits for a link's user
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <netinet/in.h>

#include "link.h"

static RxQueue *rx_queue_of(const Link *link, const Packet *p)
{
    return link->rx.queue[p->queue];
}

/* One frame that the user can take as it is. */
static inline LinkTx rx_give(RxQueue *q, const Packet *p)
{
    Link *link = q->link;
    uint64_t entry = invariant_out(link, p);
    LinkTx tx;

    link->poller->calls++;
    tx = link->user->deliver(link->user_opaque, p);
    link->poller->calls--;
    invariant_back(link, p, entry, tx);
    q->busy = tx == LINK_TX_BUSY;
    if (tx == LINK_TX_OK) {
        shaper_take(&link->rx_shaper, p->len);
        link_count_rx(link, p);
        q->got_packets++;
        q->got_bytes += p->len;
    }
    return tx;
}

static bool rx_emit(void *opaque, Packet *piece)
{
    return rx_give(opaque, piece) != LINK_TX_BUSY;
}

/* Where the user is busy in the middle of it, p->pieces says how far it is. */
static SLOW_PATH LinkTx rx_cut(RxQueue *q, Packet *p)
{
    return link_cut(q->link, p, rx_emit, q) ? LINK_TX_OK : LINK_TX_BUSY;
}

static inline LinkTx rx_offer(RxQueue *q, Packet *p)
{
    if (G_LIKELY(!(offload_needs(p) & ~q->link->offloads) && !p->pieces)) {
        return rx_give(q, p);
    }
    return rx_cut(q, p);
}

/* --- the queue ----------------------------------------------------------- */

static bool rx_is_empty(const RxQueue *q)
{
    return !q->packets.length && !q->urgent.length;
}

/*
 * What is for many may fill one half of the queue: a storm that a user is too
 * slow for displaces none of what is for this user alone.
 */
static unsigned rx_limit(const LinkRx *rx, const Packet *p)
{
    return p->for_many ? (rx->max + 1) / 2 : rx->max;
}

/* Somebody below may be waiting for room: see link_is_full(). */
static void rx_set_full(RxQueue *q, bool full)
{
    LinkRx *rx = &q->link->rx;
    Link *lower = q->link->lower;

    if (full == q->full) {
        return;
    }
    q->full = full;
    rx->n_full += full ? 1 : -1;
    if (!full && lower && lower->held) {
        poll_schedule(&lower->resume);
    }
}

static void rx_look_full(RxQueue *q)
{
    const LinkRx *rx = &q->link->rx;

    rx_set_full(q, q->packets.length > (q->full ? rx->max / 2
                                                : rx->max - 1));
}

bool rx_is_full(const Link *link)
{
    return link->rx.n_full >= link->n_queues;
}

static void rx_push(RxQueue *q, Packet *p)
{
    packet_queue_push(&q->packets, p);
    q->bytes += p->len;
}

/* Back to the front, where CoDel has let it pass. */
static void rx_push_back(RxQueue *q, Packet *p, bool urgent)
{
    if (urgent) {
        packet_queue_push_front(&q->urgent, p);
        return;
    }
    packet_queue_push_front(&q->packets, p);
    q->bytes += p->len;
    q->passed = true;
}

static Packet *rx_pop(RxQueue *q)
{
    Packet *p = packet_queue_pop(&q->packets);

    if (p) {
        q->bytes -= p->len;
    }
    return p;
}

/*
 * What the user is to have next, without those that have waited too long; @q
 * is not empty.  Who is half way there goes on.  The last one has not waited
 * too long: there is nothing behind it that it would hold up.
 */
static Packet *rx_next(RxQueue *q, int64_t now)
{
    Packet *p = rx_pop(q);
    bool passed = q->passed;

    q->passed = false;
    while (!passed && !p->pieces &&
           codel_drops(&q->codel, now, p->queued, q->bytes)) {
        link_drop(q->link, p, DROP_CODEL);
        packet_put(p);
        p = rx_pop(q);
    }
    return p;
}

static SLOW_PATH void rx_enqueue(RxQueue *q, const Packet *p)
{
    Link *link = q->link;
    bool urgent = q->urgent.length < RX_URGENT_MAX && packet_is_urgent(p);
    Packet *held;

    if (!urgent && q->packets.length >= rx_limit(&link->rx, p)) {
        link_drop(link, p, DROP_RX_QUEUE);
        return;
    }
    link_trace(link, LINK_EVENT_QUEUE, NULL, p);
    held = packet_hold(p);
    held->queued = link->platform->now();
    if (urgent) {
        packet_queue_push(&q->urgent, held);
    } else {
        rx_push(q, held);
        rx_look_full(q);
    }
}

/* --- to the user --------------------------------------------------------- */

static bool rx_has_tokens(Link *link)
{
    return G_LIKELY(!shaper_is_on(&link->rx_shaper)) ||
           shaper_allows(&link->rx_shaper, link->platform);
}

/* A sibling's, whose turn it is; and its bytes may go on to somebody else. */
static SLOW_PATH void rx_charge_pieces(Link *link, Packet *p)
{
    if (link->lower) {
        turn_charge_pieces(link->lower, p->pieces);
    }
    p->pieces = 0;
}

static inline void rx_pass(Link *link, Packet *p)
{
    RxQueue *q;

    link_steer(link, p);
    q = rx_queue_of(link, p);
    if (q->busy || !rx_is_empty(q) || !rx_has_tokens(link) ||
        rx_offer(q, p) == LINK_TX_BUSY) {
        rx_enqueue(q, p);
    }
    if (G_UNLIKELY(p->pieces)) {
        rx_charge_pieces(link, p);
    }
}

/* --- segments put together ----------------------------------------------- */

static void rx_pass_merged(void *link, Packet *p)
{
    rx_pass(link, p);
}

static unsigned rx_flush(Poll *poll, unsigned budget)
{
    Link *link = poll_owner(poll, Link, rx.flush);

    coalescer_flush(link->rx.coalescer);
    return MIN(budget, 1);
}

/*
 * What comes with a virtio-net header has been put together where it comes
 * from; but it must not overtake what has come without one.
 */
static inline bool rx_may_coalesce(const LinkRx *rx, const Packet *p)
{
    return p->layers.ip_proto == IPPROTO_TCP && !p->for_many &&
           (!p->has_vnet ||
            (rx->coalescer && !coalescer_is_empty(rx->coalescer)));
}

/* True: it was kept, for no longer than until the next round of the poll. */
static SLOW_PATH bool rx_coalesce(Link *link, const Packet *p)
{
    LinkRx *rx = &link->rx;
    uint64_t merged;

    if (!rx->coalescer) {
        rx->coalescer = coalescer_new(rx_pass_merged, link);
    }
    merged = coalescer_merged(rx->coalescer);
    if (!coalescer_add(rx->coalescer, p, link->offloads)) {
        return false;
    }
    link->stats.absorbed += coalescer_merged(rx->coalescer) - merged;
    if (!coalescer_is_empty(rx->coalescer)) {
        poll_schedule(&rx->flush);
    }
    invariant_ended(p);
    return true;
}

void rx_deliver(Link *link, Packet *p)
{
    if (link->rx.coalesces && rx_may_coalesce(&link->rx, p) &&
        rx_coalesce(link, p)) {
        return;
    }
    rx_pass(link, p);
}

static void rx_flush_all(LinkRx *rx)
{
    if (rx->coalescer) {
        coalescer_flush(rx->coalescer);
    }
}

void rx_set_offloads(Link *link, unsigned offloads)
{
    rx_flush_all(&link->rx);
    link->offloads = offloads;
    link->rx.coalesces = (offloads & OFFLOAD_CSUM) &&
                         (offloads & (OFFLOAD_TSO4 | OFFLOAD_TSO6));
}

/* --- waiting ------------------------------------------------------------- */

/* The user has room again: what waited goes first, a turn at a time. */
static unsigned rx_poll(Poll *poll, unsigned budget)
{
    RxQueue *q = poll_owner(poll, RxQueue, poll);
    int64_t now = q->link->platform->now();
    unsigned done = 0;

    while (done < budget && !rx_is_empty(q) && rx_has_tokens(q->link)) {
        bool urgent = q->urgent.length;
        Packet *p = urgent ? packet_queue_pop(&q->urgent) : rx_next(q, now);

        if (rx_offer(q, p) == LINK_TX_BUSY) {
            rx_push_back(q, p, urgent);
            break;
        }
        q->delay = now - p->queued;
        done += poll_cost(p->len) + p->pieces;
        packet_put(p);
    }
    rx_look_full(q);
    return done;
}

/* Each queue is the first in turn, or the first would have all tokens. */
void rx_again(void *opaque)
{
    Link *link = opaque;
    LinkRx *rx = &link->rx;

    link->rx_shaper.waiting = false;
    rx->first++;
    for (unsigned i = 0; i < rx->made; i++) {
        RxQueue *q = rx->queue[(rx->first + i) % rx->made];

        if (!q->busy && !rx_is_empty(q)) {
            poll_schedule(&q->poll);
        }
    }
}

void link_rx_ready(Link *link, unsigned queue)
{
    RxQueue *q;

    if (queue >= link->rx.made) {
        return;
    }
    q = link->rx.queue[queue];
    q->busy = false;
    if (!rx_is_empty(q)) {
        poll_schedule(&q->poll);
    }
}

unsigned link_rx_waiting(const Link *link)
{
    unsigned n = link->rx.coalescer ? coalescer_kept(link->rx.coalescer) : 0;

    for (unsigned i = 0; i < link->rx.made; i++) {
        const RxQueue *q = link->rx.queue[i];

        n += q->packets.length + q->urgent.length;
    }
    return n;
}

static int64_t rx_waits_since(const GQueue *packets, int64_t now)
{
    const Packet *p = packet_queue_peek(packets);

    return p ? p->queued : now;
}

void link_queue_info(const Link *link, unsigned queue, LinkQueueInfo *info)
{
    int64_t now = link->platform->now();
    const RxQueue *q;

    *info = (LinkQueueInfo) { .rx_packets = 0 };
    if (queue < link->rx.made) {
        q = link->rx.queue[queue];
        info->rx_packets = q->got_packets;
        info->rx_bytes = q->got_bytes;
        info->waiting = q->packets.length + q->urgent.length;
        info->delay = now - MIN(rx_waits_since(&q->packets, now),
                                rx_waits_since(&q->urgent, now));
        info->last_delay = q->delay;
    }
}

void link_set_rx_queue(Link *link, unsigned packets)
{
    invariant_limits(link);
    link->rx.max = packets;
    for (unsigned i = 0; i < link->rx.made; i++) {
        RxQueue *q = link->rx.queue[i];

        rx_set_full(q, q->packets.length >= packets);
    }
}

static void rx_drop_all(Link *link, GQueue *packets, DropReason reason)
{
    Packet *p;

    while ((p = packet_queue_pop(packets))) {
        link_drop(link, p, reason);
        packet_put(p);
    }
}

void rx_purge(Link *link, DropReason reason)
{
    rx_flush_all(&link->rx);
    for (unsigned i = 0; i < link->rx.made; i++) {
        RxQueue *q = link->rx.queue[i];

        rx_drop_all(link, &q->urgent, reason);
        rx_drop_all(link, &q->packets, reason);
        q->bytes = 0;
        q->passed = false;
        rx_look_full(q);
    }
}

void rx_reset(Link *link)
{
    for (unsigned i = 0; i < link->rx.made; i++) {
        link->rx.queue[i]->busy = false;
        link->rx.queue[i]->codel = (Codel) { 0 };
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

/* Take all out of the queues, those in use and others; [2][n], urgent last. */
static GQueue *rx_take_all(LinkRx *rx)
{
    GQueue *old = g_new(GQueue, 2 * rx->made);

    for (unsigned i = 0; i < rx->made; i++) {
        RxQueue *q = rx->queue[i];

        old[i] = q->packets;
        old[rx->made + i] = q->urgent;
        g_queue_init(&q->packets);
        g_queue_init(&q->urgent);
        q->bytes = 0;
        q->passed = false;
    }
    return old;
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
    g_autofree GQueue *old = rx_take_all(rx);
    GQueue *from;

    while (rx->made < link->n_queues) {
        rx_make_queue(link);
    }
    while ((from = rx_oldest(old, n))) {
        Packet *p = packet_queue_pop(from);

        link_steer(link, p);
        rx_push(rx_queue_of(link, p), p);
    }
    while ((from = rx_oldest(old + n, n))) {
        Packet *p = packet_queue_pop(from);

        link_steer(link, p);
        packet_queue_push(&rx_queue_of(link, p)->urgent, p);
    }
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): g_autofree frees old */
    for (unsigned i = 0; i < rx->made; i++) {
        rx_look_full(rx->queue[i]);
        link_rx_ready(link, i);
    }
}

void rx_init(Link *link)
{
    link->rx.max = LINK_RX_QUEUE;
    poll_init(&link->rx.flush, link->poller, rx_flush);
    rx_make_queue(link);
}

void rx_destroy(Link *link)
{
    poll_cancel(&link->rx.flush);
    g_clear_pointer(&link->rx.coalescer, coalescer_free);
    for (unsigned i = 0; i < link->rx.made; i++) {
        RxQueue *q = link->rx.queue[i];

        poll_cancel(&q->poll);
        packet_queue_purge(&q->urgent);
        packet_queue_purge(&q->packets);
        g_free(q);
    }
    g_free(link->rx.queue);
}
