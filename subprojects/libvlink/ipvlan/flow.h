/*
 * The flows that a port keeps track of: one table, bounded and fair
 *
 * What a packet of a tracked flow needs lies in one cache line, behind a slot
 * of a hash table.  What is seldom needed, as who is next to expire, lies
 * elsewhere.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_FLOW_H
#define LIBVLINK_IPVLAN_FLOW_H

#include "ipvlan.h"

#define FLOW_MAX 65536          /* of a table */
/* Of these there may be one for each datagram that somebody sends. */
#define FLOW_MAX_FRAGMENTS 4096 /* of a payer */
#define FLOW_WHEEL 1024         /* ticks ahead that expiry is filed for */

/*
 * The unit of deadlines.  In 32 bits it lasts for 34 years; a flow lives for
 * its timeout and up to one tick more.
 */
#define FLOW_TICK (NS_PER_S / 4)
#define FLOW_TICKS_PER_S 4

/*
 * TCP's are named as nf_conntrack names them: FIN_WAIT, one end has sent FIN;
 * CLOSE_WAIT, the other one has acknowledged it; LAST_ACK, it has sent one,
 * too.  _R: the one who began the connection was not the first to end it.
 */
typedef enum FlowState {
    /* Their numbers are in migration streams: new ones come last. */
    FLOW_NONE,                  /* no state that there is */
    FLOW_TCP_SYN_SENT,
    FLOW_TCP_SYN_RECV,
    FLOW_TCP_MIDDLE,            /* one end heard in the middle of a stream */
    FLOW_TCP_ESTABLISHED,
    FLOW_TCP_FIN_WAIT,
    FLOW_TCP_FIN_WAIT_R,
    FLOW_TCP_CLOSE_WAIT,
    FLOW_TCP_CLOSE_WAIT_R,
    FLOW_TCP_LAST_ACK,
    FLOW_TCP_TIME_WAIT,
    FLOW_TCP_CLOSE,
    FLOW_UDP,
    FLOW_UDP_REPLIED,
    FLOW_UDP_STREAM,            /* and gone on after the reply */
    FLOW_ECHO,
    FLOW_OTHER,                 /* another protocol */
    FLOW_FRAGMENT,              /* the other fragments of one datagram */
    FLOW_STATES,
} FlowState;

/* What a key is of; two classes' keys are different. */
typedef enum FlowClass {
    FLOW_CLASS_WHOLE = 1,
    FLOW_CLASS_FRAGMENT,        /* sent by the first end */
    FLOW_CLASS_FRAGMENT_R,      /* by the second one */
} FlowClass;

/*
 * The two ends in an order that does not depend on who is sending.  Who they
 * are, slaves or the uplink, belongs to it: an address that has moved to
 * another slave makes another flow, and so do the two ways of one packet
 * that a switch sends back in vepa.
 */
typedef struct FlowKey {
    uint64_t q[5];              /* addresses of both; ports and slaves */
    uint16_t kind;              /* protocol, class, family; never 0 */
} FlowKey;

typedef struct Flow {
    uint64_t q[5];              /* of its key */
    uint16_t kind;              /* 0: it is free */
    uint8_t state;              /* FlowState */
    uint8_t originator;         /* which end has begun, 0 or 1 */
    uint32_t deadline;          /* in ticks: from then on it has expired */
    IpvlanRule *rule[2];        /* that accepts it for this end, or NULL */
} __attribute__((aligned(64))) Flow;

/*
 * The flow's index and, above it, as much of its hash as there is room for;
 * 0: free.  Small, so that the slots of thousands stay in the cache.
 */
typedef uint32_t FlowSlot;

#define FLOW_INDEX_BITS 17

typedef struct FlowList {
    uint32_t head, tail;
} FlowList;

/* Who answers for flows: a slave. */
typedef struct FlowPayer {
    FlowList flows;             /* to be looked at next is first */
    FlowList fragments;         /* oldest first */
    unsigned n;                 /* in both */
    unsigned n_fragments;
    unsigned heap_at;
} FlowPayer;

typedef struct FlowLink {
    uint32_t next, prev;
} FlowLink;

typedef struct FlowMore {
    FlowPayer *payer;
    FlowLink queue;             /* of the payer */
    FlowLink wheel;
    uint32_t hash;
    uint32_t filed;             /* the wheel's tick for it */
    uint32_t seen;              /* its deadline when it was queued */
} FlowMore;

typedef struct FlowTable {
    FlowSlot *slots;
    Flow *flows;                /* by index, from 1 to FLOW_MAX */
    uint64_t secret[12];
    uint32_t mask;              /* number of slots - 1 */
    uint32_t shift;             /* 32 - its logarithm */
    uint32_t epoch;             /* grows when one is removed */
    uint32_t n;
    uint32_t n_used;            /* indices that have ever been in use */
    uint32_t free;              /* first of those that are not any more */
    uint32_t turned;            /* the wheel, up to this tick */
    FlowMore *more;             /* of each flow */
    GPtrArray *payers;          /* a heap, who has most is first */
    const LinkPlatform *platform;
    FlowList wheel[FLOW_WHEEL];
} FlowTable;

void flow_table_init(FlowTable *t, const LinkPlatform *platform);
/* There are no payers any more. */
void flow_table_destroy(FlowTable *t);

/* @payer's memory stays the caller's. */
void flow_payer_add(FlowTable *t, FlowPayer *payer);
/* It has no flows any more. */
void flow_payer_del(FlowTable *t, FlowPayer *payer);

/* How long after its last packet a flow in @state lives, in ticks. */
extern const uint32_t flow_timeout[FLOW_STATES];

/*
 * Track a flow, whose @key is not in the table, on behalf of @payer.  Where
 * the table is full, who pays for most loses its longest idle one.
 */
Flow *flow_insert(FlowTable *t, const FlowKey *key, uint32_t hash,
                  FlowPayer *payer, FlowState state, uint32_t now);
void flow_remove(FlowTable *t, Flow *f);

/* @f goes on in @state from @now on. */
void flow_set_state(FlowTable *t, Flow *f, FlowState state, uint32_t now);

/* It expires at @deadline. */
void flow_set_deadline(FlowTable *t, Flow *f, uint32_t deadline);

/*
 * The flow that @payer pays for after @after, NULL for the first; NULL at the
 * end.  Not those of fragments.
 */
const Flow *flow_next(const FlowTable *t, const FlowPayer *payer,
                      const Flow *after);

void flow_forget_all(FlowTable *t);
/* Remove those that have @slave as an end, or that @rule has accepted. */
void flow_forget_slave(FlowTable *t, uint16_t slave);
void flow_forget_rule(FlowTable *t, const IpvlanRule *rule);

/*
 * Free what has expired until @now, looking at about @budget flows.  False
 * where that did not suffice.
 */
bool flow_expire(FlowTable *t, uint32_t now, unsigned budget);

/* When to do that next, in ticks; 0: there is nothing. */
uint32_t flow_next_expiry(const FlowTable *t);

/* Two words change places where @swap is all ones. */
static inline void flow_swap(uint64_t *a, uint64_t *b, uint64_t swap)
{
    uint64_t both = (*a ^ *b) & swap;

    *a ^= both;
    *b ^= both;
}

/*
 * Write the key for what goes from @src to @dst.  Returns which end @src is.
 * Who sends changes from packet to packet, so nothing here is a jump; nor is
 * the place that is written to computed, for then it would have to be read
 * from memory again.
 */
static inline unsigned flow_key(FlowKey *k, const IpAddr *src,
                                const IpAddr *dst, uint32_t sport,
                                uint32_t dport, uint32_t from, uint32_t to)
{
    uint64_t s0 = src->q[0], s1 = src->q[1], s2 = (uint64_t)from << 32 | sport;
    uint64_t d0 = dst->q[0], d1 = dst->q[1], d2 = (uint64_t)to << 32 | dport;
    unsigned s = (s0 > d0) |
                 ((s0 == d0) & ((s1 > d1) | ((s1 == d1) & (sport > dport))));
    uint64_t swap = -(uint64_t)s;

    flow_swap(&s0, &d0, swap);
    flow_swap(&s1, &d1, swap);
    flow_swap(&s2, &d2, swap);
    k->q[0] = s0;
    k->q[1] = s1;
    k->q[2] = d0;
    k->q[3] = d1;
    k->q[4] = s2 | d2 << 16;
    return s;
}

static inline uint16_t flow_kind(IpFamily family, uint8_t proto,
                                 FlowClass class)
{
    return proto << 8 | family << 4 | class;
}

/* The slave at end @end of @f. */
static inline uint16_t flow_slave(const Flow *f, unsigned end)
{
    return f->q[4] >> (32 + 16 * end);
}

/*
 * Guests choose addresses and ports, and must not be able to choose
 * collisions: pair-multiply-shift, as in owners.h.  The upper bits are where
 * in the table it is at home, the lower ones are in the slot.
 */
static inline uint32_t flow_hash(const FlowTable *t, const uint64_t q[5],
                                 uint16_t kind)
{
    const uint64_t *s = t->secret;
    uint64_t sum = (s[0] + (uint32_t)q[0]) * (s[1] + (q[0] >> 32)) +
                   (s[2] + (uint32_t)q[1]) * (s[3] + (q[1] >> 32)) +
                   (s[4] + (uint32_t)q[2]) * (s[5] + (q[2] >> 32)) +
                   (s[6] + (uint32_t)q[3]) * (s[7] + (q[3] >> 32)) +
                   (s[8] + (uint32_t)q[4]) * (s[9] + (q[4] >> 32)) +
                   s[10] * kind + s[11];
    uint32_t h = sum >> 32;

    return (h ^ h >> 15) * 0x9e3779b1u;
}

static inline bool flow_is(const Flow *f, const FlowKey *key)
{
    uint64_t other = (f->q[0] ^ key->q[0]) | (f->q[1] ^ key->q[1]) |
                     (f->q[2] ^ key->q[2]) | (f->q[3] ^ key->q[3]) |
                     (f->q[4] ^ key->q[4]) | (f->kind ^ key->kind);

    return !other;
}

static inline FlowSlot flow_slot(uint32_t hash, uint32_t index)
{
    return hash << FLOW_INDEX_BITS | index;
}

static inline uint32_t flow_slot_index(FlowSlot slot)
{
    return slot & ((1u << FLOW_INDEX_BITS) - 1);
}

/* NULL: not tracked.  It may have expired. */
static inline Flow *flow_find(const FlowTable *t, const FlowKey *key,
                              uint32_t hash)
{
    for (uint32_t i = hash >> t->shift; t->slots[i]; i = (i + 1) & t->mask) {
        uint32_t index = t->slots[i] ^ flow_slot(hash, 0);

        if (index <= FLOW_MAX && G_LIKELY(flow_is(&t->flows[index], key))) {
            return &t->flows[index];
        }
    }
    return NULL;
}

static inline bool flow_is_live(const Flow *f, uint32_t now)
{
    return f->deadline > now;
}

/* When a flow in @state expires that has a packet now. */
static inline uint32_t flow_deadline(FlowState state, uint32_t now)
{
    return now + flow_timeout[state] + 1;
}

#endif
