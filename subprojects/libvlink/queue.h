/*
 * Bounded packet queues
 *
 * A GQueue whose links are inside of the Packets: no allocation to queue.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_QUEUE_H
#define LIBVLINK_QUEUE_H

#include "packet.h"

/* Append @p, a held Packet that is in no queue, and own it from now on. */
static inline void packet_queue_push(GQueue *q, Packet *p)
{
    g_queue_push_tail_link(q, &p->node);
}

/* Put @p, which was the oldest one, back. */
static inline void packet_queue_push_front(GQueue *q, Packet *p)
{
    g_queue_push_head_link(q, &p->node);
}

/* The oldest Packet, still the queue's, or NULL. */
static inline Packet *packet_queue_peek(const GQueue *q)
{
    return q->head ? q->head->data : NULL;
}

/* The oldest Packet, now the caller's, or NULL. */
static inline Packet *packet_queue_pop(GQueue *q)
{
    GList *node = g_queue_pop_head_link(q);

    return node ? node->data : NULL;
}

/* The youngest Packet, now the caller's, or NULL. */
static inline Packet *packet_queue_pop_tail(GQueue *q)
{
    GList *node = g_queue_pop_tail_link(q);

    return node ? node->data : NULL;
}

/* Free every Packet in @q.  Returns how many there were. */
static inline unsigned packet_queue_purge(GQueue *q)
{
    unsigned n = 0;

    for (Packet *p; (p = packet_queue_pop(q)); n++) {
        packet_put(p);
    }
    return n;
}

#endif
