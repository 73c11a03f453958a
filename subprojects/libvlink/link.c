/*
 * Links, their kinds and their receive handlers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "link.h"

G_DEFINE_QUARK(libvlink-error-quark, link_error)

/* --- kinds --------------------------------------------------------------- */

/* The library's one piece of global state; a kind is never taken out. */
static GSList *kinds;

const LinkOps *link_kind_find(const char *kind)
{
    for (GSList *k = kinds; k; k = k->next) {
        const LinkOps *ops = k->data;

        if (g_str_equal(ops->kind, kind)) {
            return ops;
        }
    }
    return NULL;
}

int link_kind_register(const LinkOps *ops)
{
    if (link_kind_find(ops->kind)) {
        return -EEXIST;
    }
    kinds = g_slist_prepend(kinds, (gpointer)ops);
    return 0;
}

/* --- topology ------------------------------------------------------------ */

/* How many links @link stands on; a root continues behind its wire. */
static unsigned link_depth(const Link *link)
{
    if (link->lower) {
        return link_depth(link->lower) + 1;
    }
    /* Two roots that are joined are two ends of one wire, at the bottom. */
    return link->pair && link->pair->lower ? link_depth(link->pair) : 0;
}

/* How many links stand on @link, and on a root behind a wire on top of it. */
static unsigned link_height(const Link *link)
{
    unsigned height = 0;

    if (link->lower && link->pair && !link->pair->lower) {
        height = link_height(link->pair);
    }
    for (GList *l = link->uppers.head; l; l = l->next) {
        unsigned h = link_height(l->data) + 1;

        height = MAX(height, h);
    }
    return height;
}

/* Depth first from @a, where @from is the neighbour that we came from. */
static bool reaches(const Link *a, const Link *from, const Link *b)
{
    if (a == b) {
        return true;
    }
    if (a->lower && a->lower != from && reaches(a->lower, a, b)) {
        return true;
    }
    if (a->pair && a->pair != from && reaches(a->pair, a, b)) {
        return true;
    }
    for (GList *l = a->uppers.head; l; l = l->next) {
        if (l->data != from && reaches(l->data, a, b)) {
            return true;
        }
    }
    return false;
}

bool link_is_connected(const Link *a, const Link *b)
{
    /* Ends, because link_join() has kept the links free of cycles. */
    return reaches(a, NULL, b);
}

int link_join(Link *a, Link *b)
{
    if (a->pair || b->pair) {
        return -EBUSY;
    }
    if (link_is_connected(a, b)) {
        return -ELOOP;
    }
    if (link_depth(a) + link_height(b) > LINK_MAX_NEST ||
        link_depth(b) + link_height(a) > LINK_MAX_NEST) {
        return -EMLINK;
    }
    a->pair = b;
    b->pair = a;
    return 0;
}

static bool link_is_dead(const Link *link)
{
    return link->burial;
}

Link *link_find_upper(const Link *lower, const char *name)
{
    for (GList *l = lower->uppers.head; l; l = l->next) {
        Link *link = l->data;

        if (g_str_equal(link->name, name) && !link_is_dead(link)) {
            return link;
        }
    }
    return NULL;
}

/* --- making and deleting ------------------------------------------------- */

static unsigned link_resume(Poll *poll, unsigned budget)
{
    Link *link = poll_owner(poll, Link, resume);

    link->held = false;
    link->poller->calls++;
    link->ops->resume(link);
    link->poller->calls--;
    return MIN(budget, 1);
}

/* There is one link more or less on top of it. */
static void link_look_full(Link *link)
{
    if (link->held) {
        poll_schedule(&link->resume);
    }
}

static void link_attach(Link *link, Link *lower)
{
    link->lower = lower;
    link->upper_node.data = link;
    g_queue_push_tail_link(&lower->uppers, &link->upper_node);
    link_look_full(lower);
}

static void link_detach(Link *link)
{
    g_queue_unlink(&link->lower->uppers, &link->upper_node);
    link_look_full(link->lower);
}

static void link_free(Link *link)
{
    rx_destroy(link);
    poll_cancel(&link->resume);
    turn_destroy(link);
    shaper_destroy(&link->tx_shaper, link->platform);
    shaper_destroy(&link->rx_shaper, link->platform);
    if (link->pair) {
        link->pair->pair = NULL;
    }
    if (link->lower) {
        link_detach(link);
    } else {
        poller_free(link->poller);
    }
    g_free(link->name);
    g_free(link->priv);
    g_free(link);
}

Link *link_new(const LinkPlatform *platform, const char *kind,
               const char *name, Link *lower, const void *config,
               GError **err)
{
    const LinkOps *ops = link_kind_find(kind);
    Link *link;

    if (!ops) {
        g_set_error(err, LINK_ERROR, ENODEV, "no link kind '%s'", kind);
        return NULL;
    }
    if (lower && link_depth(lower) >= LINK_MAX_NEST) {
        g_set_error(err, LINK_ERROR, EMLINK,
                    "'%s' would be nested deeper than %d links", name,
                    LINK_MAX_NEST);
        return NULL;
    }

    link = g_new0(Link, 1);
    link->ops = ops;
    link->platform = platform;
    link->name = g_strdup(name);
    link->poller = lower ? lower->poller : poller_new(platform);
    link->admin_up = true;
    link->carrier = true;
    link->n_queues = 1;
    link->weight = 1;
    link->priv = g_malloc0(ops->priv_size);
    rx_init(link);
    poll_init(&link->resume, link->poller, link_resume);
    if (lower) {
        link_attach(link, lower);
    }
    turn_init(link);
    link->up = link_is_up(link);

    if (ops->newlink && ops->newlink(link, config, err) < 0) {
        link_free(link);
        return NULL;
    }
    return link;
}

static void link_del_now(Link *link)
{
    invariant_delete(true);
    link->user = NULL;
    root_drop(link);
    if (link->ops->dellink) {
        link->ops->dellink(link);
    }
    link->stats.drops[DROP_NO_RECEIVER] += link_rx_waiting(link);
    if (link->lower) {
        link_stats_add(&link->lower->deleted, &link->stats);
    }
    link_free(link);
    invariant_delete(false);
}

/* --- deleted in the midst of a frame ------------------------------------- */

static void bury_uppers(Link *link);

/* Who comes back from the call has the link in his hands: not before that. */
static void link_bury(void *opaque)
{
    Link *link = opaque;

    bury_uppers(link);
    link->platform->work_free(link->burial);
    link_del_now(link);
}

/* All of them are dead, but their turn may come later. */
static void bury_uppers(Link *link)
{
    while (!g_queue_is_empty(&link->uppers)) {
        link_bury(link->uppers.head->data);
    }
}

static LinkTx dead_deliver(void *opaque, const Packet *p)
{
    return link_drop(opaque, p, DROP_NO_RECEIVER);
}

static LinkTx dead_xmit(Link *link, Packet *p)
{
    return link_drop(link, p, DROP_LINK_DOWN);
}

/* Nobody is called any more who may be gone when link_del() has returned. */
static void link_die(Link *link)
{
    static const LinkUserOps dead_user_ops = { .deliver = dead_deliver };
    static const LinkOps dead_root_ops = {
        .kind = "dead", .xmit = dead_xmit,
    };

    link->user = &dead_user_ops;
    link->user_opaque = link;
    link->held = false;
    poll_cancel(&link->resume);
    if (!link->lower) {
        if (link->ops->dellink) {
            link->ops->dellink(link);
        }
        link->ops = &dead_root_ops;
    }
    link->burial = link->platform->work_new(link_bury, link);
    link->platform->work_at(link->burial, 0);
}

bool link_has_uppers(const Link *link)
{
    for (GList *l = link->uppers.head; l; l = l->next) {
        if (!link_is_dead(l->data)) {
            return true;
        }
    }
    return false;
}

void link_del(Link *link)
{
    g_assert(!link_has_uppers(link) && !link_is_dead(link));
    if (link->poller->calls) {
        link_die(link);
        return;
    }
    bury_uppers(link);
    link_del_now(link);
}

int link_change(Link *link, const void *config, GError **err)
{
    if (!link->ops->changelink) {
        g_set_error(err, LINK_ERROR, EOPNOTSUPP,
                    "a link of kind '%s' cannot be changed", link->ops->kind);
        return -EOPNOTSUPP;
    }
    return link->ops->changelink(link, config, err);
}

/* --- the user ------------------------------------------------------------ */

void link_set_user(Link *link, const LinkUserOps *ops, void *opaque)
{
    /* What waits was for the user before, who would have called for it. */
    rx_purge(link, DROP_NO_RECEIVER);
    link->user = ops;
    link->user_opaque = opaque;
    rx_reset(link);
    link_user_changed(link);
}

void link_user_changed(Link *link)
{
    if (link->ops->user_changed) {
        link->ops->user_changed(link);
    }
}

void link_announce(Link *link)
{
    if (link->ops->announce) {
        link->ops->announce(link);
    }
}

void link_set_queues(Link *link, unsigned n)
{
    if (n != link->n_queues) {
        invariant_limits(link);
        link->n_queues = n;
        rx_steer(link);
        if (!link->lower) {
            root_steer(link);
        }
    }
}

void link_set_offloads(Link *link, unsigned offloads)
{
    rx_set_offloads(link, offloads);
}

void link_set_weight(Link *link, unsigned weight)
{
    link->weight = weight;
}

/* There are tokens again, or there is no limit any more. */
static void link_tx_again(void *opaque)
{
    Link *link = opaque;

    link->tx_shaper.waiting = false;
    link_wake(link);
}

void link_set_rates(Link *link, const LinkRates *rates)
{
    link->rates = *rates;
    shaper_set(&link->tx_shaper, link, rates->tx_bps, rates->burst,
               link_tx_again);
    shaper_set(&link->rx_shaper, link, rates->rx_bps, rates->burst,
               rx_again);
}

LinkWait link_waits_for(const Link *link)
{
    if (link->tx_shaper.waiting) {
        return LINK_WAIT_RATE;
    }
    if (!link->turn.waiting) {
        return LINK_WAIT_NONE;
    }
    return turn_is_refused(link) ? LINK_WAIT_LOWER : LINK_WAIT_TURN;
}

bool link_wants_group(const Link *link, const uint8_t mac[ETHER_ADDR_LEN])
{
    return !link->user || !link->user->wants_group ||
           link->user->wants_group(link->user_opaque, mac);
}

bool link_user_address(const Link *link, uint8_t mac[ETHER_ADDR_LEN])
{
    return link->user && link->user->address &&
           link->user->address(link->user_opaque, mac);
}

/* --- state --------------------------------------------------------------- */

bool link_is_up(const Link *link)
{
    return link->admin_up && link->carrier &&
           (!link->lower || link_is_up(link->lower));
}

static void link_propagate_state(Link *link)
{
    bool up = link_is_up(link);

    if (up == link->up) {
        return;
    }
    link->up = up;
    if (!up) {
        /* As a NIC does whose cable is pulled. */
        rx_purge(link, DROP_LINK_DOWN);
        root_drop(link);
    }
    if (link->rx_handler_state) {
        link->rx_handler_state(link->rx_handler_data);
    }
    if (link->user && link->user->link_state) {
        link->poller->calls++;
        link->user->link_state(link->user_opaque);
        link->poller->calls--;
    }
    for (GList *l = link->uppers.head; l; l = l->next) {
        link_propagate_state(l->data);
    }
    if (!up) {
        /* Whoever waits would wait for ever: let it send and see. */
        link_wake(link);
    }
}

void link_set_admin(Link *link, bool up)
{
    link->admin_up = up;
    link_propagate_state(link);
}

void link_set_carrier(Link *link, bool on)
{
    link->carrier = on;
    link_propagate_state(link);
}

/* --- down: sending ------------------------------------------------------- */

LinkTx link_drop(Link *link, const Packet *p, DropReason reason)
{
    link->stats.drops[reason]++;
    invariant_dropped(link, p);
    if (link->platform->trace) {
        link->platform->trace(&(LinkTrace) {
            .event = LINK_EVENT_DROP, .link = link, .packet = p,
            .reason = reason,
        });
    }
    return LINK_TX_DROPPED;
}

static SLOW_PATH LinkTx link_refuse(Link *link, const Packet *p)
{
    link_trace(link, LINK_EVENT_BUSY, NULL, p);
    link->tx_busy = true;
    return LINK_TX_BUSY;
}

/* A kind that is busy for reasons of its own wakes its link itself. */
static inline LinkTx link_xmit_upper(Link *link, Packet *p)
{
    uint32_t len = p->len;
    LinkTx tx;

    if (G_UNLIKELY(turn_is_over(&link->turn)) && !turn_extend(link, p)) {
        link->tx_closed = true;
        return LINK_TX_BUSY;
    }
    tx = link->ops->xmit(link, p);
    if (G_LIKELY(tx != LINK_TX_BUSY)) {
        turn_charge(&link->turn, &link->lower->ring, len);
    } else if (link->lower->tx_busy) {
        turn_wait(link, p);
    }
    return tx;
}

static inline LinkTx link_xmit_now(Link *link, Packet *p)
{
    uint32_t len = p->len;
    LinkTx tx;

    tx = link->lower ? link_xmit_upper(link, p) : root_xmit(link, p);
    if (G_UNLIKELY(tx == LINK_TX_BUSY)) {
        return link_refuse(link, p);
    }
    if (link->lower) {
        link_count_tx(link, len);       /* a root has counted pieces */
    }
    return tx;
}

static SLOW_PATH LinkTx link_xmit_shaped(Link *link, Packet *p)
{
    uint32_t len = p->len;
    LinkTx tx;

    if (!shaper_allows(&link->tx_shaper, link->platform) &&
        !turn_is_urgent(link, p)) {
        link->tx_closed = true;
        link->root.refused = TURN_NO_QUEUE;
        return link_refuse(link, p);
    }
    tx = link_xmit_now(link, p);
    if (tx != LINK_TX_BUSY) {
        shaper_take(&link->tx_shaper, len);
    }
    return tx;
}

static SLOW_PATH LinkTx link_xmit_down(Link *link, Packet *p)
{
    if (link->lower) {
        link_count_tx(link, p->len);
        link->lower->ring.sent += p->len;
    }
    return link_drop(link, p, DROP_LINK_DOWN);
}

static inline LinkTx link_xmit_any(Link *link, Packet *p)
{
    if (G_UNLIKELY(!link->up)) {
        return link_xmit_down(link, p);
    }
    if (G_UNLIKELY(shaper_is_on(&link->tx_shaper))) {
        return link_xmit_shaped(link, p);
    }
    return link_xmit_now(link, p);
}

LinkTx link_xmit(Link *link, Packet *p)
{
    bool entered = invariant_enter(link->lower ? link : NULL, p);
    LinkTx tx = link_xmit_any(link, p);

    invariant_leave(link, p, entered, tx);
    return tx;
}

void link_wake(Link *link)
{
    link->tx_busy = false;
    link->tx_closed = false;
    if (!link->lower) {
        root_wake(link);
    }
    if (link->rx_handler_wake) {
        link->rx_handler_wake(link->rx_handler_data);
    }
    turn_wake(link);
    if (link->user && link->user->wake) {
        link_trace(link, LINK_EVENT_WAKE, NULL, NULL);
        link->poller->calls++;
        link->user->wake(link->user_opaque);
        link->poller->calls--;
    }
}

/* --- up: receiving ------------------------------------------------------- */

int link_rx_handler_register(Link *lower, RxHandler *handler, void *data)
{
    if (lower->rx_handler) {
        return -EBUSY;
    }
    if (!lower->ops->xmit || lower->user) {
        return -EINVAL;
    }
    lower->rx_handler = handler;
    lower->rx_handler_data = data;
    return 0;
}

void link_rx_handler_unregister(Link *lower)
{
    lower->rx_handler = NULL;
    lower->rx_handler_data = NULL;
    lower->rx_handler_wake = NULL;
    lower->rx_handler_state = NULL;
}

static void link_deliver(Link *link, Packet *p, bool exact)
{
    if (!link->user || !link->user->deliver ||
        (exact && !link->user->exact)) {
        link_drop(link, p, DROP_NO_RECEIVER);
    } else if (!link->up) {
        link_drop(link, p, DROP_LINK_DOWN);
    } else {
        rx_deliver(link, p);
    }
}

bool link_is_full(Link *link)
{
    for (GList *l = link->uppers.head; l; l = l->next) {
        if (G_LIKELY(!rx_is_full(l->data))) {
            return false;
        }
    }
    link->held = link->uppers.length;
    return link->held;
}

static inline void link_receive_any(Link *link, Packet *p)
{
    bool exact = false;

    p->link = link;
    for (int round = 0; p->link->rx_handler; round++) {
        Link *here = p->link;

        if (round > LINK_MAX_NEST) {
            link_drop(here, p, DROP_LOOP);
            return;
        }
        link_count_rx(here, p);
        switch (here->rx_handler(here, p)) {
        case RX_HANDLER_CONSUMED:
            return;
        case RX_HANDLER_ANOTHER:
            continue;
        case RX_HANDLER_EXACT:
            exact = true;
            break;
        case RX_HANDLER_PASS:
            break;
        }
        break;
    }
    link_deliver(p->link, p, exact);
}

void link_receive(Link *link, Packet *p)
{
    bool entered = invariant_enter(NULL, p);

    link_receive_any(link, p);
    invariant_leave(link, p, entered, LINK_TX_OK);
}
