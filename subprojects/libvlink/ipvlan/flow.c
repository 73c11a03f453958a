/*
 * The flows that a port keeps track of
 *
 * Open addressing with linear probing, as in owners.c; a wheel of lists for
 * those that expire; and for each payer a queue for those that make room.
 * Neither list is put in order when a packet comes: a flow is looked at when
 * its turn comes, and goes to where it belongs by then.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>
#include <sys/mman.h>

#include "../platform.h"
#include "flow.h"

#define MIN_SLOTS 1024
#define HUGE_PAGE (2 << 20)

/* See OWNER_MAX_PROBE: who gets so far has bad secrets, or knows them. */
#define MAX_PROBE 128

/* In a queue where that many in a row are in use, one more is not missed. */
#define MAX_CHANCES 4096

#define SECONDS(n) ((n) * FLOW_TICKS_PER_S)

/*
 * What nf_conntrack has by default.  MIDDLE is what it gives to a stream with
 * data that nobody has acknowledged.
 */
const uint32_t flow_timeout[FLOW_STATES] = {
    [FLOW_TCP_SYN_SENT] = SECONDS(120),
    [FLOW_TCP_SYN_RECV] = SECONDS(60),
    [FLOW_TCP_MIDDLE] = SECONDS(300),
    [FLOW_TCP_ESTABLISHED] = SECONDS(5 * 24 * 3600),
    [FLOW_TCP_FIN_WAIT] = SECONDS(120),
    [FLOW_TCP_FIN_WAIT_R] = SECONDS(120),
    [FLOW_TCP_CLOSE_WAIT] = SECONDS(60),
    [FLOW_TCP_CLOSE_WAIT_R] = SECONDS(60),
    [FLOW_TCP_LAST_ACK] = SECONDS(30),
    [FLOW_TCP_TIME_WAIT] = SECONDS(120),
    [FLOW_TCP_CLOSE] = SECONDS(10),
    [FLOW_UDP] = SECONDS(30),
    [FLOW_UDP_REPLIED] = SECONDS(30),
    [FLOW_UDP_STREAM] = SECONDS(120),
    [FLOW_ECHO] = SECONDS(30),
    [FLOW_OTHER] = SECONDS(600),
    [FLOW_FRAGMENT] = SECONDS(30),
};

static uint32_t flow_index(const FlowTable *t, const Flow *f)
{
    return f - t->flows;
}

static FlowMore *flow_more(const FlowTable *t, const Flow *f)
{
    return &t->more[flow_index(t, f)];
}

/* --- lists --------------------------------------------------------------- */

static FlowLink *queue_link(const FlowTable *t, uint32_t i)
{
    return &t->more[i].queue;
}

static FlowLink *wheel_link(const FlowTable *t, uint32_t i)
{
    return &t->more[i].wheel;
}

typedef FlowLink *LinkOf(const FlowTable *t, uint32_t i);

static inline void list_append(FlowTable *t, FlowList *list, LinkOf *link_of,
                               uint32_t i)
{
    *link_of(t, i) = (FlowLink) { .prev = list->tail };
    if (list->tail) {
        link_of(t, list->tail)->next = i;
    } else {
        list->head = i;
    }
    list->tail = i;
}

static inline void list_remove(FlowTable *t, FlowList *list, LinkOf *link_of,
                               uint32_t i)
{
    FlowLink *l = link_of(t, i);

    *(l->prev ? &link_of(t, l->prev)->next : &list->head) = l->next;
    *(l->next ? &link_of(t, l->next)->prev : &list->tail) = l->prev;
}

/* --- who has most --------------------------------------------------------- */

static FlowPayer *heap_get(const FlowTable *t, unsigned i)
{
    return g_ptr_array_index(t->payers, i);
}

static void heap_put(FlowTable *t, unsigned i, FlowPayer *payer)
{
    g_ptr_array_index(t->payers, i) = payer;
    payer->heap_at = i;
}

static void heap_up(FlowTable *t, FlowPayer *payer)
{
    unsigned i = payer->heap_at;

    for (; i && heap_get(t, (i - 1) / 2)->n < payer->n; i = (i - 1) / 2) {
        heap_put(t, i, heap_get(t, (i - 1) / 2));
    }
    heap_put(t, i, payer);
}

static void heap_down(FlowTable *t, FlowPayer *payer)
{
    unsigned i = payer->heap_at;
    unsigned n = t->payers->len;

    for (unsigned child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n &&
            heap_get(t, child + 1)->n > heap_get(t, child)->n) {
            child++;
        }
        if (heap_get(t, child)->n <= payer->n) {
            break;
        }
        heap_put(t, i, heap_get(t, child));
    }
    heap_put(t, i, payer);
}

void flow_payer_add(FlowTable *t, FlowPayer *payer)
{
    *payer = (FlowPayer) { .heap_at = t->payers->len };
    g_ptr_array_add(t->payers, payer);
}

/* With none it is a leaf, or above others that have none. */
void flow_payer_del(FlowTable *t, FlowPayer *payer)
{
    FlowPayer *last = heap_get(t, t->payers->len - 1);
    unsigned at = payer->heap_at;

    g_ptr_array_set_size(t->payers, t->payers->len - 1);
    if (last != payer) {
        heap_put(t, at, last);
        heap_up(t, last);
        heap_down(t, last);
    }
}

/* --- slots --------------------------------------------------------------- */

static void slots_alloc(FlowTable *t, uint32_t n_slots)
{
    t->slots = g_new0(FlowSlot, n_slots);
    t->mask = n_slots - 1;
    t->shift = 32 - __builtin_ctz(n_slots);
}

static uint32_t slot_home(const FlowTable *t, FlowSlot slot)
{
    return t->more[flow_slot_index(slot)].hash >> t->shift;
}

/* Returns how far from its home it is. */
static uint32_t slot_put(FlowTable *t, uint32_t index)
{
    uint32_t hash = t->more[index].hash;
    uint32_t home = hash >> t->shift;
    uint32_t i = home;

    while (t->slots[i]) {
        i = (i + 1) & t->mask;
    }
    t->slots[i] = flow_slot(hash, index);
    return (i - home) & t->mask;
}

static void slots_fill(FlowTable *t)
{
    for (uint32_t i = 1; i <= t->n_used; i++) {
        if (t->flows[i].kind) {
            slot_put(t, i);
        }
    }
}

static SLOW_PATH void slots_grow(FlowTable *t)
{
    uint32_t n_slots = (t->mask + 1) * 2;

    g_free(t->slots);
    slots_alloc(t, n_slots);
    slots_fill(t);
}

/* By new secrets. */
static SLOW_PATH void slots_rehash(FlowTable *t)
{
    t->platform->random(t->secret, sizeof(t->secret));
    for (uint32_t i = 1; i <= t->n_used; i++) {
        Flow *f = &t->flows[i];

        t->more[i].hash = flow_hash(t, f->q, f->kind);
    }
    memset(t->slots, 0, (t->mask + 1) * sizeof(FlowSlot));
    slots_fill(t);
}

/* For a flow that is in none; where there are too few, it gets one, too. */
static void slot_insert(FlowTable *t, uint32_t index)
{
    uint32_t n_slots = t->mask + 1;

    if ((t->n + 1) * 2 > n_slots) {
        slots_grow(t);
    } else if (G_UNLIKELY(slot_put(t, index) > MAX_PROBE)) {
        slots_rehash(t);
    }
}

/* Close the gap: who probed past it must still be found. */
static void slot_remove(FlowTable *t, uint32_t index)
{
    uint32_t hole = t->more[index].hash >> t->shift;

    while (flow_slot_index(t->slots[hole]) != index) {
        hole = (hole + 1) & t->mask;
    }
    for (uint32_t i = (hole + 1) & t->mask; t->slots[i];
         i = (i + 1) & t->mask) {
        uint32_t home = slot_home(t, t->slots[i]);

        if (((i - home) & t->mask) >= ((i - hole) & t->mask)) {
            t->slots[hole] = t->slots[i];
            hole = i;
        }
    }
    t->slots[hole] = 0;
}

/* --- the wheel ----------------------------------------------------------- */

/* File @i for its deadline, or for as far ahead of @now as there is. */
static void wheel_file(FlowTable *t, uint32_t i, uint32_t now)
{
    uint32_t tick = MIN(t->flows[i].deadline, now + FLOW_WHEEL - 1);

    t->more[i].filed = tick;
    list_append(t, &t->wheel[tick % FLOW_WHEEL], wheel_link, i);
}

static void wheel_remove(FlowTable *t, uint32_t i)
{
    list_remove(t, &t->wheel[t->more[i].filed % FLOW_WHEEL], wheel_link, i);
}

/* All that is filed for @tick.  False where @budget ends before. */
static bool wheel_turn(FlowTable *t, uint32_t tick, uint32_t now,
                       unsigned *budget)
{
    FlowList *list = &t->wheel[tick % FLOW_WHEEL];

    while (list->head) {
        uint32_t i = list->head;

        if (!*budget) {
            return false;
        }
        --*budget;
        if (flow_is_live(&t->flows[i], now)) {
            wheel_remove(t, i);
            wheel_file(t, i, tick);     /* never here again */
        } else {
            flow_remove(t, &t->flows[i]);
        }
    }
    return true;
}

bool flow_expire(FlowTable *t, uint32_t now, unsigned budget)
{
    if (now - t->turned > FLOW_WHEEL) {
        t->turned = now - FLOW_WHEEL;
    }
    while (t->n && t->turned < now) {
        if (!wheel_turn(t, t->turned + 1, now, &budget)) {
            return false;
        }
        t->turned++;
    }
    t->turned = now;
    return true;
}

uint32_t flow_next_expiry(const FlowTable *t)
{
    for (uint32_t tick = t->turned + 1; t->n; tick++) {
        if (t->wheel[tick % FLOW_WHEEL].head) {
            return tick;
        }
    }
    return 0;
}

/* --- making room --------------------------------------------------------- */

static FlowList *payer_list(FlowPayer *payer, const Flow *f)
{
    return f->state == FLOW_FRAGMENT ? &payer->fragments : &payer->flows;
}

static void queue_append(FlowTable *t, FlowPayer *payer, uint32_t i)
{
    t->more[i].seen = t->flows[i].deadline;
    list_append(t, payer_list(payer, &t->flows[i]), queue_link, i);
}

/*
 * The longest idle of @payer's flows, nearly: who has had packets since it was
 * looked at last gets another chance.  A packet gives at most one, so there
 * are no more of them than packets; and not all of them at once.
 */
static Flow *longest_idle(FlowTable *t, FlowPayer *payer)
{
    for (unsigned n = 0; n < MAX_CHANCES; n++) {
        uint32_t i = payer->flows.head;

        if (t->more[i].seen == t->flows[i].deadline) {
            break;
        }
        list_remove(t, &payer->flows, queue_link, i);
        queue_append(t, payer, i);
    }
    return &t->flows[payer->flows.head];
}

static SLOW_PATH void make_room(FlowTable *t)
{
    FlowPayer *payer = heap_get(t, 0);

    flow_remove(t, payer->fragments.head ? &t->flows[payer->fragments.head]
                                         : longest_idle(t, payer));
}

/* --- flows --------------------------------------------------------------- */

static uint32_t index_get(FlowTable *t)
{
    uint32_t i = t->free;

    if (!i) {
        return ++t->n_used;
    }
    t->free = t->more[i].queue.next;
    return i;
}

Flow *flow_insert(FlowTable *t, const FlowKey *key, uint32_t hash,
                  FlowPayer *payer, FlowState state, uint32_t now)
{
    uint32_t i;
    Flow *f;

    if (state == FLOW_FRAGMENT && payer->n_fragments >= FLOW_MAX_FRAGMENTS) {
        flow_remove(t, &t->flows[payer->fragments.head]);
    } else if (t->n >= FLOW_MAX) {
        make_room(t);
    }
    if (!t->n) {
        t->turned = now;
    }
    i = index_get(t);
    f = &t->flows[i];
    *f = (Flow) {
        .kind = key->kind, .state = state,
        .deadline = flow_deadline(state, now),
    };
    memcpy(f->q, key->q, sizeof(f->q));
    t->more[i] = (FlowMore) { .payer = payer, .hash = hash };
    wheel_file(t, i, t->turned);
    queue_append(t, payer, i);
    slot_insert(t, i);
    t->n++;
    payer->n++;
    payer->n_fragments += state == FLOW_FRAGMENT;
    heap_up(t, payer);
    return f;
}

void flow_remove(FlowTable *t, Flow *f)
{
    uint32_t i = flow_index(t, f);
    FlowMore *more = &t->more[i];
    FlowPayer *payer = more->payer;

    slot_remove(t, i);
    wheel_remove(t, i);
    list_remove(t, payer_list(payer, f), queue_link, i);
    payer->n_fragments -= f->state == FLOW_FRAGMENT;
    payer->n--;
    heap_down(t, payer);
    f->kind = 0;
    more->queue.next = t->free;
    t->free = i;
    t->n--;
    t->epoch++;
}

/* Where it may expire earlier now than it is filed for, it is filed anew. */
void flow_set_deadline(FlowTable *t, Flow *f, uint32_t deadline)
{
    uint32_t i = flow_index(t, f);

    f->deadline = deadline;
    if (f->deadline < flow_more(t, f)->filed) {
        wheel_remove(t, i);
        wheel_file(t, i, t->turned);
    }
}

void flow_set_state(FlowTable *t, Flow *f, FlowState state, uint32_t now)
{
    f->state = state;
    flow_set_deadline(t, f, flow_deadline(state, now));
}

const Flow *flow_next(const FlowTable *t, const FlowPayer *payer,
                      const Flow *after)
{
    uint32_t i = after ? flow_more(t, after)->queue.next : payer->flows.head;

    return i ? &t->flows[i] : NULL;
}

void flow_forget_all(FlowTable *t)
{
    for (uint32_t i = 1; i <= t->n_used; i++) {
        if (t->flows[i].kind) {
            flow_remove(t, &t->flows[i]);
        }
    }
}

void flow_forget_slave(FlowTable *t, uint16_t slave)
{
    for (uint32_t i = 1; i <= t->n_used; i++) {
        Flow *f = &t->flows[i];

        if (f->kind &&
            (flow_slave(f, 0) == slave || flow_slave(f, 1) == slave)) {
            flow_remove(t, f);
        }
    }
}

void flow_forget_rule(FlowTable *t, const IpvlanRule *rule)
{
    for (uint32_t i = 1; i <= t->n_used; i++) {
        Flow *f = &t->flows[i];

        if (f->kind && (f->rule[0] == rule || f->rule[1] == rule)) {
            flow_remove(t, f);
        }
    }
    t->epoch++;
}

/*
 * The memory is there when it is used for the first time.  In one piece the
 * flows of thousands stay in the second level cache; in small pages, which
 * lie anywhere, some of them push out others.
 */
static Flow *flows_new(void)
{
    size_t size = (FLOW_MAX + 1) * sizeof(Flow);
    void *flows;

    if (posix_memalign(&flows, HUGE_PAGE, size)) {
        g_error("no memory for %d flows", FLOW_MAX);
    }
#ifdef MADV_HUGEPAGE
    madvise(flows, size, MADV_HUGEPAGE);        /* or not */
#endif
    return flows;
}

void flow_table_init(FlowTable *t, const LinkPlatform *platform)
{
    *t = (FlowTable) { .platform = platform };
    t->flows = flows_new();
    t->more = g_new(FlowMore, FLOW_MAX + 1);
    t->payers = g_ptr_array_new();
    slots_alloc(t, MIN_SLOTS);
    platform->random(t->secret, sizeof(t->secret));
}

void flow_table_destroy(FlowTable *t)
{
    free(t->flows);
    g_free(t->more);
    g_free(t->slots);
    g_ptr_array_unref(t->payers);
}
