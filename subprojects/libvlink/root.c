/*
 * Down: out of a root link
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "link.h"

static LinkTx root_refuse(Link *link, unsigned queue)
{
    Root *root = &link->root;

    root->refused = queue;
    root->busy[queue / 64] |= UINT64_C(1) << queue % 64;
    return LINK_TX_BUSY;
}

static inline LinkTx root_send(Link *link, Packet *p)
{
    unsigned queue = p->queue;
    uint32_t len = p->len;
    uint64_t entry = invariant_out(link, p);
    LinkTx tx;

    link->poller->calls++;
    tx = link->ops->xmit(link, p);
    link->poller->calls--;
    invariant_back(link, p, entry, tx);
    if (G_UNLIKELY(tx == LINK_TX_BUSY)) {
        return root_refuse(link, queue);
    }
    if (G_LIKELY(tx == LINK_TX_OK)) {
        link_count_tx(link, len);
    }
    return tx;
}

/* --- cutting ------------------------------------------------------------- */

static bool root_emit(void *opaque, Packet *piece)
{
    return root_send(opaque, piece) != LINK_TX_BUSY;
}

static bool root_has_rest(const Link *link, unsigned queue)
{
    for (const GList *l = link->root.rests.head; l; l = l->next) {
        const Packet *rest = l->data;

        if (rest->queue == queue) {
            return true;
        }
    }
    return false;
}

static LinkTx root_cut(Link *link, Packet *p)
{
    if (!link_cut(link, p, root_emit, link)) {
        if (!p->pieces) {
            return LINK_TX_BUSY;
        }
        packet_queue_push(&link->root.rests, packet_hold(p));
    }
    turn_charge_pieces(link, p->pieces);
    p->pieces = 0;
    return LINK_TX_OK;
}

LinkTx root_xmit(Link *link, Packet *p)
{
    link_steer(link, p);
    if (G_UNLIKELY(link->root.rests.length) &&
        root_has_rest(link, p->queue)) {
        return root_refuse(link, p->queue);
    }
    if (G_LIKELY(!(offload_needs(p) & ~link->offloads))) {
        return root_send(link, p);
    }
    return root_cut(link, p);
}

void root_wake(Link *link)
{
    Root *root = &link->root;
    unsigned n = root->rests.length;

    memset(root->busy, 0, sizeof(root->busy));
    while (n--) {
        Packet *rest = packet_queue_pop(&root->rests);

        if (root_is_busy(root, rest->queue) ||
            !link_cut(link, rest, root_emit, link)) {
            packet_queue_push(&root->rests, rest);
        } else {
            packet_put(rest);
        }
    }
}

void root_steer(Link *link)
{
    for (GList *l = link->root.rests.head; l; l = l->next) {
        link_steer(link, l->data);
    }
    link_wake(link);
}

void root_drop(Link *link)
{
    Packet *rest;

    while ((rest = packet_queue_pop(&link->root.rests))) {
        link_drop(link, rest, DROP_LINK_DOWN);
        packet_put(rest);
    }
}
