/*
 * What is always true of frames and links, checked while it runs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "invariant.h"

#ifdef VLINK_INVARIANTS

#include <stdio.h>
#include <stdlib.h>

#include "link.h"

void invariant_failed(const char *what, const char *format, ...)
{
    va_list args;

    fputs("libvlink: invariant violated: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, " (%s)\n", what);
    abort();
}

/* --- books ---------------------------------------------------------------- */

/* One frame, whatever copies there are of it. */
typedef struct Entry {
    uint64_t id;
    const Link *from;           /* whose user sent it; NULL: nobody's */
    bool for_many;
    bool open;                  /* whoever brought it waits for an answer */
    bool ended;
    bool gone;                  /* with a link that was deleted */
    unsigned held;              /* copies that wait */
    unsigned delivered;
    unsigned sent;
    unsigned dropped;
    GPtrArray *at;              /* links that got it, or dropped it */
} Entry;

static GHashTable *entries;     /* of Entry, by id */
static GPtrArray *spare;        /* of Entry, to be used again */
static uint64_t last_id;
static unsigned deleting;       /* links, one on top of the other */

static Entry *entry_take(void)
{
    Entry *e;

    if (!entries) {
        entries = g_hash_table_new(g_int64_hash, g_int64_equal);
        spare = g_ptr_array_new();
    }
    if (spare->len) {
        return g_ptr_array_steal_index_fast(spare, spare->len - 1);
    }
    e = g_new0(Entry, 1);
    e->at = g_ptr_array_new();
    return e;
}

static void entry_free(Entry *e)
{
    g_hash_table_remove(entries, &e->id);
    g_ptr_array_set_size(e->at, 0);
    g_ptr_array_add(spare, e);
}

static Entry *entry_new(const Link *from, Packet *p)
{
    Entry *e = entry_take();
    uint8_t buf[ETHER_ADDR_LEN];
    const uint8_t *dst = packet_peek(p, 0, sizeof(buf), buf);

    *e = (Entry) {
        .id = ++last_id, .from = from, .at = e->at, .open = true,
        .for_many = dst && mac_is_group(dst),
    };
    g_hash_table_insert(entries, &e->id, e);
    p->entry = e->id;
    return e;
}

static Entry *entry_of(const Packet *p)
{
    return p && p->entry ? g_hash_table_lookup(entries, &p->entry) : NULL;
}

static unsigned places(const Entry *e)
{
    return e->delivered + e->sent + e->dropped;
}

/* Nobody has the frame any more. */
static void close_entry(Entry *e)
{
    invariant(places(e) || e->ended || e->gone,
              "a frame was lost and not counted");
    invariant(e->for_many || places(e) <= 1, "a frame for one was delivered "
              "%u times, sent %u times and dropped %u times", e->delivered,
              e->sent, e->dropped);
    entry_free(e);
}

static void look_closed(Entry *e)
{
    if (!e->open && !e->held) {
        close_entry(e);
    }
}

/* It is at its end at @link: the only time. */
static void arrive(Entry *e, const Link *link)
{
    invariant(!g_ptr_array_find(e->at, link, NULL),
              "'%s' got a frame, or dropped it, twice", link->name);
    g_ptr_array_add(e->at, (gpointer)link);
}

/* --- limits --------------------------------------------------------------- */

/* Frames: to look at all that stands on a root takes longer than one does. */
#define CHECK_EVERY 8

static unsigned waiting(const Link *link)
{
    unsigned n = 0;

    for (unsigned i = 0; i < link->rx.made; i++) {
        n += link->rx.queue[i]->packets.length;
    }
    return n;
}

/*
 * Who is told to let fewer frames wait, or has fewer queues than before, keeps
 * those that do already.
 */
void invariant_limits(Link *link)
{
    link->waited = MAX(link->waited, link->lower ? waiting(link)
                                                 : link->root.rests.length);
}

static void check_link(Link *link)
{
    unsigned packets = waiting(link);
    unsigned urgent = link_rx_waiting(link) - packets;

    invariant(packets <= MAX(link->rx.made * link->rx.max, link->waited),
              "%u frames wait for '%s', in %u queues of %u", packets,
              link->name, link->rx.made, link->rx.max);
    invariant(urgent <= link->rx.made * RX_URGENT_MAX,
              "%u urgent frames wait for '%s', in %u queues", urgent,
              link->name, link->rx.made);
    link->waited = MIN(link->waited, packets);
}

/* The root, and all that stands on it. */
static void check_root(Link *lower)
{
    const Link *first = g_queue_peek_head(&lower->uppers);
    unsigned rests = lower->root.rests.length;

    invariant(rests <= MAX(lower->n_queues, lower->waited),
              "'%s' keeps the rests of %u frames for %u queues", lower->name,
              rests, lower->n_queues);
    lower->waited = MIN(lower->waited, rests);
    for (GList *l = lower->uppers.head; l; l = l->next) {
        check_link(l->data);
    }
    if (first && first->ops->check) {
        first->ops->check(lower, NULL);
    }
}

/* --- a frame's way -------------------------------------------------------- */

bool invariant_enter(const Link *from, Packet *p)
{
    if (entry_of(p)) {
        return false;
    }
    entry_new(from, p);
    return true;
}

static void refused(Entry *e, Packet *p)
{
    invariant(!places(e) && !e->held,
              "a frame was refused, and yet it went somewhere");
    entry_free(e);
    p->entry = 0;
}

void invariant_leave(const Link *link, Packet *p, bool entered, LinkTx tx)
{
    Entry *e = entered ? entry_of(p) : NULL;

    if (!e) {
        return;
    }
    e->open = false;
    if (tx == LINK_TX_BUSY) {
        refused(e, p);
    } else {
        look_closed(e);
        p->entry = 0;
    }
    if (last_id % CHECK_EVERY == 0) {
        check_root((Link *)(link->lower ?: link));
    }
}

void invariant_ended(const Packet *p)
{
    Entry *e = entry_of(p);

    if (e) {
        e->ended = true;
    }
}

void invariant_dropped(const Link *link, const Packet *p)
{
    Entry *e = entry_of(p);

    if (e) {
        arrive(e, link);
        e->dropped++;
    }
}

/* --- out of our hands ----------------------------------------------------- */

/* A root's kind is not ours: what stands on it knows what may be sent. */
static void check_sent(const Link *lower, const Packet *p)
{
    const Link *first = g_queue_peek_head((GQueue *)&lower->uppers);

    if (first && first->ops->check) {
        first->ops->check(lower, p);
    }
}

uint64_t invariant_out(const Link *link, const Packet *p)
{
    uint64_t entry = p->entry;
    const Entry *e = entry_of(p);

    if (!link->lower) {
        check_sent(link, p);
    }
    invariant(!e || e->from != link, "'%s' is delivered what it has sent",
              link->name);
    ((Packet *)p)->entry = 0;
    return entry;
}

static void taken(Entry *e, const Link *link)
{
    arrive(e, link);
    invariant(e->from != link, "'%s' is delivered what it has sent",
              link->name);
    if (link->lower) {
        e->delivered++;
    } else {
        e->sent++;
    }
}

void invariant_back(const Link *link, const Packet *p, uint64_t entry,
                    LinkTx tx)
{
    Entry *e;

    ((Packet *)p)->entry = entry;
    e = entry_of(p);
    if (e && tx == LINK_TX_OK) {
        taken(e, link);
    } else if (e && tx == LINK_TX_DROPPED) {
        arrive(e, link);
        e->dropped++;
    }
}

void invariant_in_pieces(const Link *link, const Packet *p)
{
    Entry *e = entry_of(p);

    if (e) {
        taken(e, link);
    }
}

void invariant_made(Packet *p)
{
    p->entry = 0;
}

/* --- waiting -------------------------------------------------------------- */

void invariant_copy(Packet *copy)
{
    copy->waits = false;
}

void invariant_hold(Packet *held)
{
    Entry *e = entry_of(held);

    held->waits = e;
    if (e) {
        e->held++;
    }
}

void invariant_put(const Packet *held)
{
    Entry *e = held->waits ? entry_of(held) : NULL;

    if (e) {
        e->held--;
        e->gone |= deleting > 0;
        look_closed(e);
    }
}

void invariant_delete(bool begin)
{
    deleting += begin ? 1 : -1;
}

#endif
