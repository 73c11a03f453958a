/*
 * Neighbours on the uplink
 *
 * Every state but one lasts a fixed time, and the one that is drawn by lot is
 * drawn once: so each state's entries are due in the order in which they have
 * come to it, and one timer looks at the first of each.
 *
 * To send may have an answer come in before it returns.  So what sends does it
 * last, or holds the entry by its flag "flushing".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../bytes.h"
#include "../craft.h"
#include "answer.h"
#include "port.h"

#include <netinet/in.h>

enum {
    NEIGH_BUDGET = 64,          /* entries in one run of the timer */
};

struct Neigh {
    IpAddr addr;
    uint8_t mac[ETHER_ADDR_LEN];    /* where it is not INCOMPLETE */
    uint8_t state;              /* NeighState */
    uint8_t tries;              /* solicitations that went out */
    bool ready;                 /* to be sent to without a second look */
    bool gateway;
    bool flushing;
    bool unsent;                /* a solicitation: the uplink was busy */
    bool owed;                  /* is in NeighTable.owed */
    IpvlanPort *port;
    NeighSlave *maker;          /* who is charged, NULL: nobody */
    IpAddr asker;               /* who wanted to send to it last */
    int64_t deadline;
    GQueue waiting;             /* of held Packets, their link a slave's */
    GList node;                 /* in NeighTable.states */
    GList made;                 /* in maker->made */
    GList owed_node;
};

const char *neigh_state_name(NeighState state)
{
    static const char *const names[] = {
        [NEIGH_INCOMPLETE] = "INCOMPLETE", [NEIGH_REACHABLE] = "REACHABLE",
        [NEIGH_STALE] = "STALE", [NEIGH_DELAY] = "DELAY",
        [NEIGH_PROBE] = "PROBE",
    };

    return names[state];
}

static inline OwnerSlot *slot_of(const NeighTable *t, const IpAddr *addr)
{
    return owner_table_find(&t->table, addr->q[0], addr->q[1], addr->family);
}

static inline Neigh *neigh_find(const NeighTable *t, const IpAddr *addr)
{
    const OwnerSlot *slot = slot_of(t, addr);

    return slot ? owner_table_entry(&t->table, slot) : NULL;
}

/* --- states and timers --------------------------------------------------- */

static int64_t duration(const NeighTable *t, NeighState state)
{
    switch (state) {
    case NEIGH_REACHABLE:
        return t->reachable;
    case NEIGH_STALE:
        return NEIGH_STALE_NS;
    case NEIGH_DELAY:
        return NEIGH_DELAY_NS;
    default:
        return NEIGH_RETRANS;
    }
}

static void arm(IpvlanPort *port, int64_t when)
{
    NeighTable *t = &port->neigh;

    if (!t->work_at || when < t->work_at) {
        t->work_at = when;
        port->lower->platform->work_at(t->work, when);
    }
}

static NeighUse use_of(NeighState state)
{
    return state == NEIGH_INCOMPLETE ? NEIGH_UNKNOWN :
           state == NEIGH_STALE ? NEIGH_UNUSED : NEIGH_USED;
}

static void look_ready(Neigh *n)
{
    n->ready = n->state != NEIGH_INCOMPLETE && n->state != NEIGH_STALE &&
               !n->waiting.length && !n->flushing;
}

/* Into its queues, at their ends. */
static void enqueue(Neigh *n)
{
    NeighTable *t = &n->port->neigh;

    n->deadline = ipvlan_now(n->port) + duration(t, n->state);
    g_queue_push_tail_link(&t->states[n->state], &n->node);
    if (n->maker) {
        g_queue_push_tail_link(&n->maker->made[use_of(n->state)], &n->made);
    }
    arm(n->port, n->deadline);
}

static void dequeue(Neigh *n)
{
    g_queue_unlink(&n->port->neigh.states[n->state], &n->node);
    if (n->maker) {
        g_queue_unlink(&n->maker->made[use_of(n->state)], &n->made);
    }
}

/* Also to begin the same state anew.  What is waited for is used. */
static void set_state(Neigh *n, NeighState state)
{
    if (state == NEIGH_STALE && n->waiting.length) {
        state = NEIGH_DELAY;
    }
    dequeue(n);
    if (state != n->state) {
        n->tries = 0;
        n->unsent = false;
        n->state = state;
    }
    enqueue(n);
    look_ready(n);
}

static void set_maker(Neigh *n, NeighSlave *maker)
{
    if (n->maker) {
        g_queue_unlink(&n->maker->made[use_of(n->state)], &n->made);
    }
    n->maker = maker;
    if (maker) {
        g_queue_push_tail_link(&maker->made[use_of(n->state)], &n->made);
    }
}

static void owe(Neigh *n)
{
    if (!n->owed) {
        n->owed = true;
        g_queue_push_tail_link(&n->port->neigh.owed, &n->owed_node);
    }
}

static void owe_no_more(Neigh *n)
{
    if (n->owed) {
        n->owed = false;
        g_queue_unlink(&n->port->neigh.owed, &n->owed_node);
    }
}

/* --- packets that wait --------------------------------------------------- */

static IpvlanSlave *sender_of(const Packet *held)
{
    return link_priv(held->link);
}

static size_t memory_of(const Packet *p)
{
    return sizeof(*p) + p->len;
}

static void wait_push(Neigh *n, IpvlanSlave *slave, const Packet *p)
{
    Packet *held = packet_hold(p);

    held->link = slave->link;
    slave->neigh.waiting += memory_of(held);
    packet_queue_push(&n->waiting, held);
    n->ready = false;
}

/* @held, which is in @n's queue, is the caller's from now on. */
static Packet *wait_take(Neigh *n, Packet *held)
{
    g_queue_unlink(&n->waiting, &held->node);
    sender_of(held)->neigh.waiting -= memory_of(held);
    return held;
}

static void wait_drop(Neigh *n, Packet *held, DropReason why)
{
    wait_take(n, held);
    link_drop(held->link, held, why);
    packet_put(held);
}

static Packet *oldest_of(const Neigh *n, const IpvlanSlave *slave)
{
    for (GList *l = n->waiting.head; l; l = l->next) {
        if (sender_of(l->data) == slave) {
            return l->data;
        }
    }
    return packet_queue_peek(&n->waiting);
}

/*
 * RFC 4861, 7.2.2: the oldest one makes room.  Of those of the slave that has
 * the most there, with the one that comes now: what a flood pushes out is a
 * part of the flood.
 */
static void wait_make_room(Neigh *n, IpvlanSlave *slave)
{
    IpvlanSlave *most = slave;

    for (GList *l = n->waiting.head; l; l = l->next) {
        sender_of(l->data)->neigh.here = 0;
    }
    slave->neigh.here = 1;
    for (GList *l = n->waiting.head; l; l = l->next) {
        sender_of(l->data)->neigh.here++;
    }
    for (GList *l = n->waiting.head; l; l = l->next) {
        if (sender_of(l->data)->neigh.here > most->neigh.here) {
            most = sender_of(l->data);
        }
    }
    wait_drop(n, oldest_of(n, most), DROP_NEIGH_QUEUE);
}

static LinkTx wait_for(Neigh *n, IpvlanSlave *slave, const Packet *p)
{
    if (slave->neigh.waiting + memory_of(p) > NEIGH_WAITING_BYTES) {
        return link_drop(slave->link, p, DROP_NEIGH_QUEUE);
    }
    if (n->waiting.length >= NEIGH_WAITING) {
        wait_make_room(n, slave);
    }
    wait_push(n, slave, p);
    return LINK_TX_OK;
}

static void wait_drop_all(Neigh *n, DropReason why)
{
    Packet *p;

    while ((p = packet_queue_peek(&n->waiting))) {
        wait_drop(n, p, why);
    }
}

/* --- sending ------------------------------------------------------------- */

static inline LinkTx transmit(const Neigh *n, Packet *p)
{
    uint8_t *eth = packet_cow_eth(p);

    memcpy(eth, n->mac, ETHER_ADDR_LEN);
    memcpy(eth + ETHER_ADDR_LEN, n->port->mac, ETHER_ADDR_LEN);
    return link_xmit(n->port->lower, p);
}

/*
 * Send what waits for @n, which is known, as far as the uplink takes it.
 * False: not all of it; the rest is owed.
 */
static bool flush(Neigh *n)
{
    Packet *p;

    if (n->flushing) {
        return false;
    }
    n->flushing = true;
    n->ready = false;
    while ((p = packet_queue_peek(&n->waiting))) {
        wait_take(n, p);
        if (transmit(n, p) == LINK_TX_BUSY) {
            sender_of(p)->neigh.waiting += memory_of(p);
            packet_queue_push_front(&n->waiting, p);
            owe(n);
            break;
        }
        packet_put(p);
    }
    n->flushing = false;
    look_ready(n);
    return !n->waiting.length;
}

/*
 * Who asks?  Not in the name of somebody who has gone: where he is now, it
 * would be believed.  0.0.0.0 is RFC 5227's probe.
 */
static IpAddr arp_sender(const Neigh *n)
{
    if (addr_table_lookup(&n->port->addrs, &n->asker)) {
        return n->asker;
    }
    return (IpAddr) { .family = IP_V4 };
}

static void make_request(Craft *c, const Neigh *n)
{
    static const uint8_t broadcast[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    bool probe = n->state == NEIGH_PROBE;
    IpAddr sender = arp_sender(n);

    craft_arp(c, probe ? n->mac : broadcast, ARP_REQUEST, n->port->mac,
              &sender, NULL, &n->addr);
}

/* RFC 4861, 4.3 */
static void make_solicit(Craft *c, const Neigh *n)
{
    uint8_t group_mac[] = {
        0x33, 0x33, 0xff, n->addr.b[13], n->addr.b[14], n->addr.b[15],
    };
    IpAddr group = {
        .b = { 0xff, 0x02, [11] = 1, 0xff,
               n->addr.b[13], n->addr.b[14], n->addr.b[15] },
        .family = IP_V6,
    };
    IpAddr own = ip_link_local_from_mac(n->port->mac);
    bool probe = n->state == NEIGH_PROBE;

    craft_solicit(c, probe ? n->mac : group_mac, n->port->mac, &own,
                  probe ? &n->addr : &group, &n->addr);
}

/* The answer may be here before this returns. */
static void solicit(Neigh *n)
{
    UNINITIALIZED Packet p;
    UNINITIALIZED Craft c;
    struct iovec iov;

    if (n->addr.family == IP_V4) {
        make_request(&c, n);
    } else {
        make_solicit(&c, n);
    }
    craft_packet(&c, &iov, &p);
    n->unsent = false;
    n->tries++;
    if (link_xmit_made(n->port->lower, &p) == LINK_TX_BUSY) {
        n->tries--;
        n->unsent = true;
        owe(n);
    }
}

void neigh_wake(IpvlanPort *port)
{
    GQueue *owed = &port->neigh.owed;

    for (unsigned failed = 0; owed->length && failed < NEIGH_BUDGET; ) {
        Neigh *n = owed->head->data;

        owe_no_more(n);
        if (n->state != NEIGH_INCOMPLETE) {
            flush(n);
        }
        if (n->unsent) {
            set_state(n, n->state);     /* a whole second for the answer */
            solicit(n);
        }
        if (port->lower->tx_busy) {
            if (port->lower->n_queues == 1) {
                return;
            }
            failed++;
        }
    }
}

/* --- making and forgetting ----------------------------------------------- */

static bool is_gateway(const IpvlanPort *port, const IpAddr *addr)
{
    return ip_equal(addr, &port->gateway4) || ip_equal(addr, &port->gateway6);
}

static Neigh *neigh_new(IpvlanPort *port, NeighSlave *maker,
                        const IpAddr *addr)
{
    OwnerKey key = { { addr->q[0], addr->q[1] }, addr->family };
    Neigh *n = g_new0(Neigh, 1);

    n->addr = *addr;
    n->port = port;
    n->state = NEIGH_INCOMPLETE;
    n->gateway = is_gateway(port, addr);
    n->maker = n->gateway ? NULL : maker;
    n->node.data = n;
    n->made.data = n;
    n->owed_node.data = n;
    owner_table_insert(&port->neigh.table, &key, NULL, n);
    enqueue(n);
    return n;
}

/* Nothing waits for it any more. */
static void neigh_free(Neigh *n)
{
    NeighTable *t = &n->port->neigh;

    dequeue(n);
    owe_no_more(n);
    owner_table_remove(&t->table, slot_of(t, &n->addr));
    g_free(n);
}

static unsigned made_by(const NeighSlave *s)
{
    return s->made[NEIGH_UNUSED].length + s->made[NEIGH_USED].length +
           s->made[NEIGH_UNKNOWN].length;
}

/* False: there is none of its that can go. */
static bool lose_one(NeighSlave *s)
{
    for (NeighUse use = 0; use < NEIGH_USES; use++) {
        for (GList *l = s->made[use].head; l; l = l->next) {
            Neigh *n = l->data;

            if (!n->flushing) {
                wait_drop_all(n, DROP_NEIGH_LIMIT);
                neigh_free(n);
                return true;
            }
        }
    }
    return false;
}

/*
 * The table is full, and @slave wants one more.  Who has its share already
 * makes room itself; else somebody has more than that.  To look for who it is
 * takes time, but only for as many entries as a slave's share.
 */
static bool make_room(IpvlanPort *port, IpvlanSlave *slave)
{
    unsigned share = MAX(NEIGH_MAX / port->slaves.length, 1);
    NeighSlave *most = &slave->neigh;

    if (made_by(&port->neigh.orphans)) {
        return lose_one(&port->neigh.orphans);
    }
    if (made_by(most) >= share) {
        return lose_one(most);
    }
    for (GList *l = port->slaves.head; l; l = l->next) {
        IpvlanSlave *s = l->data;

        if (made_by(&s->neigh) > made_by(most)) {
            most = &s->neigh;
        }
    }
    return lose_one(most);
}

/* Somebody new, or NULL where @slave may not have one more. */
static Neigh *neigh_make(IpvlanSlave *slave, const IpAddr *hop)
{
    IpvlanPort *port = slave->port;

    if (!is_gateway(port, hop)) {
        if (slave->neigh.made[NEIGH_UNKNOWN].length >= NEIGH_UNKNOWN_MAX) {
            return NULL;
        }
        if (port->neigh.table.n >= NEIGH_MAX && !make_room(port, slave)) {
            return NULL;
        }
    }
    return neigh_new(port, &slave->neigh, hop);
}

/* It has not answered: tell who waits for it. */
static void unreachable(Neigh *n)
{
    GQueue waiting = G_QUEUE_INIT;
    Packet *p;

    while ((p = packet_queue_peek(&n->waiting))) {
        packet_queue_push(&waiting, wait_take(n, p));
    }
    neigh_free(n);
    /* who is told may send again at once */
    while ((p = packet_queue_pop(&waiting))) {
        link_drop(p->link, p, DROP_NO_NEIGHBOUR);
        icmp_error_to_guest(sender_of(p), p, ICMP_HOST_UNREACHABLE, 0);
        packet_put(p);
    }
}

/* --- the timer ----------------------------------------------------------- */

static void ask_again(Neigh *n)
{
    if (n->tries >= NEIGH_TRIES) {
        unreachable(n);
        return;
    }
    set_state(n, n->state);
    if (!n->unsent) {
        solicit(n);
    }
}

static void expire(Neigh *n)
{
    switch ((NeighState)n->state) {
    case NEIGH_INCOMPLETE:
    case NEIGH_PROBE:
        ask_again(n);
        break;
    case NEIGH_REACHABLE:
        set_state(n, NEIGH_STALE);
        break;
    case NEIGH_DELAY:
        set_state(n, NEIGH_PROBE);
        solicit(n);
        break;
    case NEIGH_STALE:
        if (n->gateway) {
            set_state(n, NEIGH_STALE);
        } else {
            neigh_free(n);
        }
        break;
    }
}

/* The first to be due, or NULL. */
static Neigh *next_due(const NeighTable *t)
{
    Neigh *next = NULL;

    for (NeighState s = 0; s < NEIGH_STATES; s++) {
        Neigh *n = t->states[s].head ? t->states[s].head->data : NULL;

        if (n && (!next || n->deadline < next->deadline)) {
            next = n;
        }
    }
    return next;
}

static void timer(void *opaque)
{
    IpvlanPort *port = opaque;
    NeighTable *t = &port->neigh;
    int64_t now = ipvlan_now(port);
    unsigned budget = NEIGH_BUDGET;
    Neigh *n;

    t->work_at = 0;
    while ((n = next_due(t)) && n->deadline <= now && budget--) {
        expire(n);
    }
    if (n) {
        arm(port, n->deadline);
    }
}

/* --- from slaves --------------------------------------------------------- */

static LinkTx send_unknown(IpvlanSlave *slave, const IpAddr *hop, Packet *p)
{
    Neigh *n = neigh_make(slave, hop);
    LinkTx tx;

    if (!n) {
        return link_drop(slave->link, p, DROP_NEIGH_LIMIT);
    }
    n->asker = p->layers.src;
    tx = wait_for(n, slave, p);
    solicit(n);
    return tx;
}

static SLOW_PATH LinkTx send_slow(IpvlanSlave *slave, const IpAddr *hop,
                                  Packet *p)
{
    Neigh *n = neigh_find(&slave->port->neigh, hop);

    if (!n) {
        return send_unknown(slave, hop, p);
    }
    n->asker = p->layers.src;
    if (n->maker == &slave->port->neigh.orphans) {
        set_maker(n, &slave->neigh);    /* it is of use: to whom? */
    }
    if (n->state == NEIGH_INCOMPLETE) {
        return wait_for(n, slave, p);
    }
    if (n->state == NEIGH_STALE) {
        set_state(n, NEIGH_DELAY);
    }
    if (n->flushing) {
        return wait_for(n, slave, p);   /* behind what is being sent */
    }
    return flush(n) ? transmit(n, p) : LINK_TX_BUSY;
}

LinkTx neigh_send(IpvlanSlave *slave, const IpAddr *hop, Packet *p)
{
    const Neigh *n = neigh_find(&slave->port->neigh, hop);

    if (G_LIKELY(n && n->ready)) {
        return transmit(n, p);
    }
    return send_slow(slave, hop, p);
}

/* There are as many as make up one packet, and what comes then is refused. */
LinkTx neigh_send_rest(IpvlanSlave *slave, const IpAddr *hop, Packet *p)
{
    LinkTx tx = neigh_send(slave, hop, p);
    Neigh *n;

    if (tx == LINK_TX_BUSY) {
        n = neigh_find(&slave->port->neigh, hop);
        wait_push(n, slave, p);
        owe(n);
        tx = LINK_TX_OK;
    }
    return tx;
}

/* --- from the network ---------------------------------------------------- */

static bool mac_is_credible(const IpvlanPort *port, const uint8_t *mac)
{
    return !mac_is_group(mac) && !mac_is_zero(mac) &&
           !mac_equal(mac, port->mac);
}

static void learn(Neigh *n, const uint8_t *mac, NeighState state)
{
    memcpy(n->mac, mac, ETHER_ADDR_LEN);
    set_state(n, state);
    flush(n);
}

/* Somebody tells where @n is, without being asked: RFC 4861, 7.2.3. */
static void hear(Neigh *n, const uint8_t *mac)
{
    if (n->state == NEIGH_INCOMPLETE || !mac_equal(n->mac, mac)) {
        learn(n, mac, NEIGH_STALE);
    }
}

static bool is_asked(const Neigh *n)
{
    return n->tries &&
           (n->state == NEIGH_INCOMPLETE || n->state == NEIGH_PROBE);
}

/*
 * RFC 826: whatever it is, its sender has told where it is.  Only an answer to
 * us alone, after we have asked, says that it hears us, too.
 */
static void arp_input(IpvlanPort *port, const Packet *p)
{
    Neigh *n = neigh_find(&port->neigh, &p->layers.src);
    uint8_t mac[ETHER_ADDR_LEN];

    if (!n) {
        return;
    }
    packet_copy_range(p, p->layers.l3 + ARP_SHA, ETHER_ADDR_LEN, mac);
    if (!mac_is_credible(port, mac)) {
        return;
    }
    if (p->layers.arp_op == ARP_REPLY && is_asked(n) &&
        mac_equal(packet_dst_mac(p), port->mac)) {
        learn(n, mac, NEIGH_REACHABLE);
    } else {
        hear(n, mac);
    }
}

/* RFC 4861, 7.1: hop limit, checksum, code; the parser has seen to lengths. */
static bool nd_is_valid(const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint8_t code;

    packet_copy_range(p, l->l4 + 1, 1, &code);
    return packet_hop_limit(p) == ND_HOP_LIMIT && !code &&
           offload_csum_is_right(p);
}

/* The MAC in the first option of @type behind @off; false: there is none. */
static bool nd_option(const Packet *p, uint32_t off, uint8_t type,
                      uint8_t mac[ETHER_ADDR_LEN])
{
    uint8_t b[ND_OPT_LEN];

    /* read again: a length that is zero now ends it */
    for (; off + sizeof(b) <= p->layers.end; off += b[1] * 8) {
        packet_copy_range(p, off, sizeof(b), b);
        if (b[0] == type && b[1] == 1) {
            memcpy(mac, b + 2, ETHER_ADDR_LEN);
            return true;
        }
        if (!b[1]) {
            break;
        }
    }
    return false;
}

/*
 * RFC 4861, 7.2.5, for one that is known.  @mac NULL: it does not say where
 * it is.
 */
static void advert_known(Neigh *n, uint8_t flags, const uint8_t *mac)
{
    bool moved = mac && !mac_equal(mac, n->mac);

    if (moved && !(flags & NA_OVERRIDE)) {
        if (n->state == NEIGH_REACHABLE) {
            set_state(n, NEIGH_STALE);
        }
    } else if (flags & NA_SOLICITED) {
        learn(n, mac ?: n->mac, NEIGH_REACHABLE);
    } else if (moved) {
        learn(n, mac, NEIGH_STALE);
    }
}

static void advert_input(IpvlanPort *port, const Packet *p)
{
    const PacketLayers *l = &p->layers;
    Neigh *n = neigh_find(&port->neigh, &l->target);
    uint8_t mac[ETHER_ADDR_LEN], flags;
    bool has_mac;

    packet_copy_range(p, l->l4 + ND_FLAGS, 1, &flags);
    if (!n || (l->dst.b[0] == 0xff && (flags & NA_SOLICITED))) {
        return;
    }
    has_mac = nd_option(p, l->l4 + ND_LEN_NEIGHBOUR, ND_OPT_TARGET, mac);
    if (has_mac && !mac_is_credible(port, mac)) {
        return;
    }
    if (n->state != NEIGH_INCOMPLETE) {
        advert_known(n, flags, has_mac ? mac : NULL);
    } else if (has_mac) {
        learn(n, mac, flags & NA_SOLICITED ? NEIGH_REACHABLE : NEIGH_STALE);
    }
}

/* RFC 4861, 6.2.6, 6.3.4, 7.2.3: a sender may say where it is. */
static void source_input(IpvlanPort *port, const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint32_t options = l->l4 + nd_fixed_len(l->nd_type);
    Neigh *n = neigh_find(&port->neigh, &l->src);
    uint8_t mac[ETHER_ADDR_LEN];

    if (n && nd_option(p, options, ND_OPT_SOURCE, mac) &&
        mac_is_credible(port, mac)) {
        hear(n, mac);
    }
}

static void nd_input(IpvlanPort *port, const Packet *p)
{
    if (!nd_is_valid(p)) {
        return;
    }
    switch (p->layers.nd_type) {
    case ND_NEIGHBOUR_ADVERT:
        advert_input(port, p);
        break;
    case ND_NEIGHBOUR_SOLICIT:
    case ND_ROUTER_SOLICIT:
    case ND_ROUTER_ADVERT:
        source_input(port, p);
        break;
    }
}

SLOW_PATH void neigh_input(IpvlanPort *port, const Packet *p)
{
    if (p->layers.kind == PACKET_ARP) {
        arp_input(port, p);
    } else if (p->layers.kind == PACKET_ND) {
        nd_input(port, p);
    }
}

/* --- life and death ------------------------------------------------------ */

/* RFC 4861, 6.3.2: between 0.5 and 1.5 times the base, so that not all ask. */
static int64_t draw_reachable(const LinkPlatform *platform)
{
    uint32_t r;

    platform->random(&r, sizeof(r));
    return NEIGH_REACHABLE_NS / 2 + (NEIGH_REACHABLE_NS >> 16) * (r >> 16);
}

void neigh_init(IpvlanPort *port)
{
    const LinkPlatform *platform = port->lower->platform;
    NeighTable *t = &port->neigh;

    owner_table_init(&t->table, platform);
    t->reachable = draw_reachable(platform);
    t->work = platform->work_new(timer, port);
}

void neigh_destroy(IpvlanPort *port)
{
    NeighTable *t = &port->neigh;
    Neigh *n;

    for (NeighState s = 0; s < NEIGH_STATES; s++) {
        while ((n = g_queue_peek_head(&t->states[s]))) {
            neigh_free(n);
        }
    }
    port->lower->platform->work_free(t->work);
    owner_table_destroy(&t->table);
}

void neigh_flush(IpvlanPort *port, DropReason why)
{
    NeighTable *t = &port->neigh;

    for (NeighState s = 0; s < NEIGH_STATES; s++) {
        for (GList *l = t->states[s].head, *next; l; l = next) {
            Neigh *n = l->data;

            next = l->next;
            wait_drop_all(n, why);
            if (!n->flushing) {
                neigh_free(n);
            }
        }
    }
}

/* What waits for @n and is @slave's. */
static void forget_waiting(Neigh *n, const IpvlanSlave *slave)
{
    for (GList *l = n->waiting.head, *next; l; l = next) {
        next = l->next;
        if (sender_of(l->data) == slave) {
            wait_drop(n, l->data, DROP_LINK_DOWN);
        }
    }
    look_ready(n);
}

/* Somebody else may wait for it, too, and is charged then. */
static void forget_maker(Neigh *n)
{
    const Packet *p = packet_queue_peek(&n->waiting);

    if (n->state != NEIGH_INCOMPLETE) {
        set_maker(n, &n->port->neigh.orphans);
    } else if (p) {
        set_maker(n, &sender_of(p)->neigh);
    } else {
        neigh_free(n);
    }
}

void neigh_forget(IpvlanSlave *slave)
{
    NeighTable *t = &slave->port->neigh;

    for (NeighState s = 0; s < NEIGH_STATES; s++) {
        for (GList *l = t->states[s].head; l; l = l->next) {
            forget_waiting(l->data, slave);
        }
    }
    for (NeighUse use = 0; use < NEIGH_USES; use++) {
        while (slave->neigh.made[use].head) {
            forget_maker(slave->neigh.made[use].head->data);
        }
    }
}

/* --- other gateways, or none --------------------------------------------- */

/* Copies, because to tell of one may change what is known of others. */
static GArray *known_ones(const NeighTable *t)
{
    GArray *known = g_array_new(false, false, sizeof(Neigh));

    for (NeighState s = NEIGH_REACHABLE; s < NEIGH_STATES; s++) {
        for (GList *l = t->states[s].head; l; l = l->next) {
            const Neigh *n = l->data;

            if (n->gateway) {
                g_array_prepend_vals(known, n, 1);
            } else {
                g_array_append_vals(known, n, 1);
            }
        }
    }
    return known;
}

void neigh_introduce(IpvlanPort *port)
{
    g_autoptr(GArray) known = known_ones(&port->neigh);

    for (unsigned i = 0; i < MIN(known->len, NEIGH_INTRODUCED); i++) {
        const Neigh *n = &g_array_index(known, Neigh, i);

        answer_introduce(port, &n->addr, n->mac, n->gateway);
    }
}

/*
 * @n is a host as any other from now on.  What is for itself still waits for
 * it, the rest is to be @moved.
 */
static void gateway_retire(Neigh *n, GQueue *moved)
{
    n->gateway = false;
    for (GList *l = n->waiting.head, *next; l; l = next) {
        Packet *p = l->data;

        next = l->next;
        if (!ip_equal(&p->layers.dst, &n->addr)) {
            packet_queue_push(moved, wait_take(n, p));
        }
    }
    look_ready(n);
    forget_maker(n);
}

/* To whom it goes now; there may be no gateway. */
static void move(IpvlanPort *port, Packet *p)
{
    IpAddr dst = p->layers.dst;
    const IpAddr *gateway = ipvlan_gateway(port, dst.family);

    neigh_send_rest(sender_of(p), gateway->family ? gateway : &dst, p);
    packet_put(p);
}

/* Sent is last: see above. */
void neigh_gateways_changed(IpvlanPort *port)
{
    NeighTable *t = &port->neigh;
    GQueue moved = G_QUEUE_INIT;
    Packet *p;

    for (NeighState s = 0; s < NEIGH_STATES; s++) {
        for (GList *l = t->states[s].head, *next; l; l = next) {
            Neigh *n = l->data;
            bool gateway = is_gateway(port, &n->addr);

            next = l->next;
            if (gateway && !n->gateway) {
                n->gateway = true;
                set_maker(n, NULL);
            } else if (!gateway && n->gateway) {
                gateway_retire(n, &moved);
            }
        }
    }
    while ((p = packet_queue_pop(&moved))) {
        move(port, p);
    }
}

/* --- for the library's user ---------------------------------------------- */

unsigned neigh_waiting(const IpvlanPort *port)
{
    const NeighTable *t = &port->neigh;
    unsigned n = 0;

    for (NeighState s = 0; s < NEIGH_STATES; s++) {
        for (const GList *l = t->states[s].head; l; l = l->next) {
            n += ((const Neigh *)l->data)->waiting.length;
        }
    }
    return n;
}

void ipvlan_foreach_neigh(const Link *lower,
                          void (*fn)(const IpvlanNeighInfo *, void *opaque),
                          void *opaque)
{
    const NeighTable *t = &ipvlan_port(lower)->neigh;

    for (NeighState s = 0; s < NEIGH_STATES; s++) {
        for (GList *l = t->states[s].head; l; l = l->next) {
            const Neigh *n = l->data;

            fn(&(IpvlanNeighInfo) {
                .addr = n->addr, .state = s, .gateway = n->gateway,
                .mac = s == NEIGH_INCOMPLETE ? NULL : n->mac,
                .waiting = n->waiting.length,
            }, opaque);
        }
    }
}
