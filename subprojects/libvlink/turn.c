/*
 * Down: whose turn it is to send
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "link.h"

/* --- shares -------------------------------------------------------------- */

static bool ring_is_empty(const Ring *ring)
{
    return !ring->ahead.length && !ring->turns.length;
}

/* Its share of one more round of @quantum bytes. */
static void turn_grant(Link *link, uint64_t quantum)
{
    Ring *ring = &link->lower->ring;
    Turn *t = &link->turn;

    t->deficit += quantum * link->weight;
    t->granted += quantum;
    if (t->granted > ring->granting) {
        /* the first one of the next round: the last round is complete */
        ring->granted = ring->granting;
        ring->granting = t->granted;
    }
}

/*
 * The rounds that were completed while it did not wait, of which no more is
 * saved up than one turn.  Who waits gets them one by one.
 */
static void turn_settle(Link *link)
{
    const Ring *ring = &link->lower->ring;
    Turn *t = &link->turn;
    uint64_t missed;

    if (t->granted >= ring->granted || t->waiting || ring->serving == link) {
        return;
    }
    missed = MIN(ring->granted - t->granted, UINT32_MAX);
    t->deficit = MIN(t->deficit + (int64_t)(missed * link->weight),
                     LINK_TURN);
    t->granted = ring->granted;
    t->visit = LINK_VISIT;
}

/*
 * Does next to nobody else send?  While one is sending no other can, so that
 * it takes the loop to come round some times to believe it.
 */
static bool turn_is_alone(Link *link)
{
    Ring *ring = &link->lower->ring;
    Turn *t = &link->turn;
    uint64_t own = link->stats.tx_bytes;
    uint64_t others = ring->sent - own;
    bool crowded = others - t->others > (own - t->own) / 8;

    if (crowded || ring->epoch - t->epoch >= LINK_ALONE_ROUNDS) {
        t->crowded = crowded;
        t->own = own;
        t->others = others;
        t->epoch = ring->epoch;
    }
    return ring_is_empty(ring) && !t->crowded;
}

void turn_charge_pieces(Link *lower, unsigned n)
{
    if (lower->ring.serving) {
        lower->ring.serving->turn.visit -= n;
    }
}

/* --- urgent frames ------------------------------------------------------- */

bool turn_is_urgent(Link *link, Packet *p)
{
    Turn *t = &link->turn;
    int64_t now;

    if (packet_parse(p) || !packet_is_urgent(p)) {
        return false;
    }
    now = link->platform->now();
    if (now - t->urgent_since >= LINK_URGENT_NS) {
        t->urgent_since = now;
        t->urgent_left = LINK_URGENT_FRAMES;
    }
    if (!t->urgent_left) {
        return false;
    }
    t->urgent_left--;
    return true;
}

/* --- waiting ------------------------------------------------------------- */

static GQueue *turn_place(Link *link)
{
    Ring *ring = &link->lower->ring;

    return link->turn.ahead ? &ring->ahead : &ring->turns;
}

/* At the end, or @first, of those ahead or of those who have their turns. */
static void turn_stand(Link *link, bool ahead, bool first)
{
    Turn *t = &link->turn;

    t->ahead = ahead;
    t->node = (GList) { .data = link };
    if (first) {
        g_queue_push_head_link(turn_place(link), &t->node);
    } else {
        g_queue_push_tail_link(turn_place(link), &t->node);
    }
}

static void turn_leave(Link *link)
{
    g_queue_unlink(turn_place(link), &link->turn.node);
    link->turn.waiting = false;
}

bool turn_extend(Link *link, Packet *p)
{
    Ring *ring = &link->lower->ring;
    Turn *t = &link->turn;

    turn_settle(link);
    if (turn_is_over(t) && turn_is_alone(link)) {
        t->deficit = MAX(t->deficit, LINK_TURN);
        t->visit = LINK_VISIT;
        if (link->lower->uppers.length > 1) {
            poll_schedule(&ring->poll); /* to see the loop come round */
        }
    }
    if (!turn_is_over(t) || turn_is_urgent(link, p)) {
        return true;
    }
    t->asks = true;
    if (!t->waiting) {
        t->waiting = true;
        t->queue = TURN_NO_QUEUE;
        if (ring->serving != link) {
            turn_stand(link, false, false);
        }
    }
    if (!ring->serving) {
        poll_schedule(&ring->poll);
    }
    return false;
}

/*
 * A new one waits with one quantum at most, whatever it has saved up, before
 * those who have had theirs.
 */
static void turn_join(Link *link)
{
    Turn *t = &link->turn;
    int64_t quantum = LINK_QUANTUM * link->weight;

    turn_settle(link);
    t->waiting = true;
    t->deficit = MIN(t->deficit, quantum);
    turn_stand(link, t->urgent || t->deficit > 0, t->urgent);
}

void turn_wait(Link *link, Packet *p)
{
    Link *lower = link->lower;
    Turn *t = &link->turn;

    t->queue = lower->lower ? TURN_NO_QUEUE : lower->root.refused;
    if (lower->ring.serving == link) {
        t->waiting = true;              /* turn_serve() knows where */
        t->urgent = turn_is_urgent(link, p);
    } else if (!t->waiting) {
        t->urgent = turn_is_urgent(link, p);
        turn_join(link);
    } else if (!t->urgent && turn_is_urgent(link, p)) {
        t->urgent = true;
        turn_leave(link);
        turn_join(link);
    }
}

/* --- serving ------------------------------------------------------------- */

/*
 * Nobody above @lower can send now.  Only a root knows why it is busy: any
 * other has to ask, so that it waits for its own lower link in turn.
 */
static bool ring_is_closed(const Link *lower)
{
    return lower->tx_closed ||
           (lower->n_queues == 1 && root_is_busy(&lower->root, 0));
}

/* The root's queue that it wants is busy, although others may not be. */
static bool turn_is_blocked(const Link *link)
{
    return root_is_busy(&link->lower->root, link->turn.queue);
}

bool turn_is_refused(const Link *link)
{
    return link->lower->lower ? link->lower->tx_busy : turn_is_blocked(link);
}

/*
 * Who is first and can use it?  A quantum at a time, so that who has sent a
 * long frame pays for it in several rounds.
 */
static Link *ring_next(Link *lower, uint64_t quantum)
{
    Ring *ring = &lower->ring;
    GList *next, *last = ring->turns.tail;
    bool granted = false;

    for (GList *l = ring->ahead.head; l; l = l->next) {
        if (!turn_is_blocked(l->data)) {
            return l->data;
        }
    }
    for (GList *l = ring->turns.head; l; l = next) {
        Link *link = l->data;

        next = l->next;
        if (!turn_is_blocked(link)) {
            if (link->turn.deficit <= 0) {
                turn_grant(link, quantum);
            }
            if (link->turn.deficit > 0) {
                return link;
            }
            g_queue_unlink(&ring->turns, l);
            g_queue_push_tail_link(&ring->turns, l);
            granted = true;
        }
        if (l == last) {
            /* once round: again, unless all of them are blocked */
            next = granted ? ring->turns.head : NULL;
            last = ring->turns.tail;
            granted = false;
        }
    }
    return NULL;
}

/*
 * Wake @link, whose turn it is.  Who is refused before its turn is over keeps
 * its place, and so does who asks in vain.  Returns the units of work done.
 */
static unsigned turn_serve(Link *link, unsigned budget)
{
    Link *lower = link->lower;
    Turn *t = &link->turn;
    uint64_t before = link->stats.tx_packets;
    bool ahead = t->ahead;
    int visit = MIN(budget, LINK_VISIT);

    turn_leave(link);
    t->urgent = false;
    t->asks = false;
    t->served = lower->ring.epoch;
    t->visit = visit;
    lower->ring.serving = link;
    link_wake(link);
    lower->ring.serving = NULL;
    if (t->waiting) {
        if (before == link->stats.tx_packets && !link->tx_closed &&
            !turn_is_blocked(link)) {
            lower->tx_closed = true;    /* or this would go on and on */
        }
        if (t->urgent) {
            turn_stand(link, true, true);
        } else if (t->deficit > 0) {
            turn_stand(link, ahead, true);
        } else {
            turn_stand(link, false, false);
        }
    }
    return MAX(visit - t->visit, 1);
}

/*
 * The wire's pace moves the ring, on and on until it is busy.  Returns the
 * units of work done, at least @budget where there is more.
 */
static unsigned ring_serve(Link *lower, unsigned budget)
{
    unsigned done = 0;
    Link *link;

    while (done < budget && !ring_is_closed(lower) &&
           (link = ring_next(lower, LINK_QUANTUM))) {
        done += turn_serve(link, budget - done);
    }
    return done;
}

void turn_wake(Link *lower)
{
    Ring *ring = &lower->ring;

    /* else whoever is serving goes on, now that there is room */
    if (!ring->serving && ring_serve(lower, LINK_VISIT) >= LINK_VISIT) {
        poll_schedule(&ring->poll);
    }
}

/* --- where the loop is what is scarce ------------------------------------ */

/*
 * A sender's backlog, in a NIC's ring or a socket, reaches us in portions, one
 * each time that the loop comes round.  A turn has to be less, or who sends on
 * and on would look like one who has no more to send.  And it has to be some
 * frames, because one is refused and copied at the end of it.
 */
static uint64_t turn_bytes(uint64_t frame)
{
    return CLAMP(MAX(MIN(20 * frame, 64 * 1024), 4 * frame), 4096, LINK_TURN);
}

/* The average since the last time; zero: it sent nothing. */
static uint64_t turn_frame(Link *link)
{
    const LinkStats *stats = &link->stats;
    Turn *t = &link->turn;
    uint64_t n = stats->tx_packets - t->seen_packets;
    uint64_t bytes = stats->tx_bytes - t->seen_bytes;

    t->seen_packets = stats->tx_packets;
    t->seen_bytes = stats->tx_bytes;
    return n ? bytes / n : 0;
}

/* The heaviest one gets a whole turn at once, the others in proportion. */
static uint64_t ring_quantum(Link *lower)
{
    uint64_t shortest = PACKET_MAX_LEN;
    unsigned weight = 1;

    for (GList *l = lower->uppers.head; l; l = l->next) {
        Link *link = l->data;
        uint64_t frame = turn_frame(link);

        if (frame) {
            shortest = MIN(shortest, frame);
        }
        if (frame || link->turn.waiting) {
            weight = MAX(weight, link->weight);
        }
    }
    return MAX(turn_bytes(shortest) / weight, LINK_QUANTUM_MIN);
}

/*
 * Who only has frames for siblings needs no room below.  That is found out by
 * trying, with a turn that does not count for its share of what is below.
 */
static unsigned turn_serve_local(Link *link, uint64_t quantum,
                                 unsigned budget)
{
    Turn *t = &link->turn;
    int64_t deficit = t->deficit;
    bool ahead = t->ahead;
    unsigned done;

    t->deficit = quantum * link->weight;
    done = turn_serve(link, budget);
    t->deficit = deficit;
    if (t->waiting && !t->urgent) {
        g_queue_unlink(turn_place(link), &t->node);
        turn_stand(link, ahead && deficit > 0, false);
    }
    return done;
}

static bool turn_asks(const Link *link)
{
    return link->turn.asks &&
           link->turn.served != link->lower->ring.epoch &&
           (ring_is_closed(link->lower) || turn_is_blocked(link));
}

static Link *queue_find(const GQueue *queue, bool (*is)(const Link *))
{
    for (GList *l = queue->head; l; l = l->next) {
        if (is(l->data)) {
            return l->data;
        }
    }
    return NULL;
}

static Link *ring_find(const Ring *ring, bool (*is)(const Link *))
{
    return queue_find(&ring->ahead, is) ?: queue_find(&ring->turns, is);
}

/* Something is to be done for it as soon as the loop has come round. */
static bool turn_has_more(const Link *link)
{
    return link->turn.asks ||
           !(ring_is_closed(link->lower) || turn_is_blocked(link));
}

/*
 * One turn for each who waits, and then the loop has to come round: who is
 * not here now may only have to be given its next portion.
 */
static unsigned ring_poll(Poll *poll, unsigned budget)
{
    Link *lower = poll_owner(poll, Link, ring.poll);
    Ring *ring = &lower->ring;
    uint64_t quantum = ring_quantum(lower);
    unsigned done = 0;
    Link *link;

    ring->epoch++;
    while (done < budget && !ring_is_closed(lower) &&
           (link = ring_next(lower, quantum)) &&
           link->turn.served != ring->epoch) {
        done += turn_serve(link, budget - done);
    }
    while (done < budget && (link = ring_find(ring, turn_asks))) {
        done += turn_serve_local(link, quantum, budget - done);
    }
    if (ring_find(ring, turn_has_more)) {
        poll_schedule(poll);
    }
    return done;
}

void turn_init(Link *link)
{
    Turn *t = &link->turn;

    poll_init(&link->ring.poll, link->poller, ring_poll);
    link->ring.poll.weight = LINK_VISIT;
    t->deficit = LINK_TURN;
    t->visit = LINK_VISIT;
    t->urgent_left = LINK_URGENT_FRAMES;
    t->queue = TURN_NO_QUEUE;
    if (link->lower) {
        t->granted = link->lower->ring.granted;
    }
}

void turn_destroy(Link *link)
{
    poll_cancel(&link->ring.poll);
    if (link->turn.waiting) {
        turn_leave(link);
    }
}
