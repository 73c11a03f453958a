/*
 * Down: whose turn it is to send
 *
 * The links that stand on one lower link share it by deficit round robin
 * (Shreedhar and Varghese 1995) over bytes, by weight.  Who is refused stands
 * in the lower link's ring and is woken when its turn comes; the frames
 * themselves wait with their sender.
 *
 * There are two things to share.  Where the lower link says that it is busy,
 * a turn is LINK_QUANTUM bytes for each unit of weight, and it is the wire's
 * pace that moves the ring.  Where it never does, what the senders compete
 * for is the program's loop: then a turn is up to LINK_TURN bytes, and a poll
 * moves the ring.  Who sends alone has no turns at all.
 *
 * Who has sent less than its share does not wait for the others' turns: it is
 * placed before them, as the new flows of FQ-CoDel are (RFC 8290), until it
 * has used up one quantum.  It gets that once a round at most, so that no
 * number of them can hold up the others.
 *
 * For link.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_TURN_H
#define LIBVLINK_TURN_H

#include "platform.h"
#include "sched.h"

#define LINK_QUANTUM 1514           /* bytes */
#define LINK_QUANTUM_MIN 64         /* bytes */
#define LINK_TURN (256 * 1024)      /* bytes, at most */
#define LINK_VISIT 192              /* units of poll_cost() in one go */
#define LINK_ALONE_ROUNDS 8         /* of the poll, to be taken as alone */

/* Frames that may pass the turns and the rates, in each such time. */
#define LINK_URGENT_FRAMES 16
#define LINK_URGENT_NS (NS_PER_S / 10)

/* A link among those that stand on the same lower one. */
typedef struct Turn {
    int64_t deficit;            /* bytes that it may send before it waits */
    int visit;                  /* units of poll_cost() that it may */
    uint64_t granted;           /* to it, for each unit of weight, ever */
    unsigned served;            /* Ring.epoch when it had its last turn */
    uint64_t seen_packets;      /* LinkStats when the poll came round */
    uint64_t seen_bytes;
    unsigned epoch;             /* Ring.epoch when it was last looked at ... */
    uint64_t own, others;       /* ... how much it and the others have sent */
    bool crowded;               /* the others not next to nothing */
    bool asks;                  /* for a turn, since it had its last one */
    bool waiting;               /* stands in the ring, or will be put there */
    bool ahead;                 /* in Ring.ahead */
    bool urgent;                /* woken whatever its deficit */
    uint16_t queue;             /* of the root that had no room for it */
    GList node;                 /* data: the Link */
    unsigned urgent_left;
    int64_t urgent_since;
} Turn;

/* Of a lower link. */
typedef struct Ring {
    GQueue ahead;               /* who has not used up its first quantum */
    GQueue turns;
    Link *serving;              /* who is sending now because it was woken */
    uint64_t granted;           /* to all who wait, in rounds that are over */
    uint64_t granting;          /* and when this round is over */
    uint64_t sent;              /* bytes, by all of the uppers together */
    unsigned epoch;             /* how often its poll came round */
    Poll poll;
} Ring;

#define TURN_NO_QUEUE UINT16_MAX

void turn_init(Link *link);
void turn_destroy(Link *link);

/* Has it to ask turn_extend() before it may send? */
static inline bool turn_is_over(const Turn *t)
{
    return t->deficit <= 0 || t->visit <= 0;
}

/* It sends @len bytes. */
static inline void turn_charge(Turn *t, Ring *ring, uint32_t len)
{
    ring->sent += len;
    t->deficit -= len;
    t->visit -= poll_cost(len);
}

/* Who is being served above @lower was cut into @n pieces: that takes time. */
void turn_charge_pieces(Link *lower, unsigned n);

/* Its turn is over: may it send @p all the same?  If not, it waits. */
bool turn_extend(Link *link, Packet *p);

/* The lower link refused @p: wait for it. */
void turn_wait(Link *link, Packet *p);

/*
 * Is @p, unparsed or not, address resolution or configuration that passes the
 * others?  Counts.
 */
bool turn_is_urgent(Link *link, Packet *p);

/* Of who waits: is it for the lower link, and not only for its turn? */
bool turn_is_refused(const Link *link);

/* @lower can send again: wake who waits for it, in turn. */
void turn_wake(Link *lower);

#endif
