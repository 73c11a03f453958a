/*
 * Links, their kinds and their receive handlers: the kernel's net_device,
 * rtnl_link_ops and rx_handler in small
 *
 * A link is anything that sends and receives frames.  Frames go down with
 * link_xmit() and come up with link_receive().  An upper link stands on a
 * lower one, whose receive handler hands it its frames.  What is above the
 * topmost link, a NIC or a socket, is that link's user.
 *
 *      user                    user
 *        | link_xmit()           ^ deliver()
 *        v                       |
 *      upper link  <-- handler --+
 *        | link_xmit()           |
 *        v                       |
 *      lower link --------- link_receive()
 *
 * Everything runs in one thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_LINK_H
#define LIBVLINK_LINK_H

#include <errno.h>

#include "invariant.h"
#include "offload.h"
#include "platform.h"
#include "queue.h"
#include "root.h"
#include "rx.h"
#include "sched.h"
#include "shape.h"
#include "turn.h"

#define LINK_MAX_NEST 8         /* as the kernel's MAX_NEST_DEV */
#define LINK_RX_QUEUE 1024      /* packets */
#define LINK_MAX_QUEUES ROOT_MAX_QUEUES /* as a net client of QEMU has */

#define LINK_WEIGHT_MAX 256

/* The errors' code is a positive errno value. */
#define LINK_ERROR link_error_quark()
GQuark link_error_quark(void);

typedef enum RxHandlerResult {
    RX_HANDLER_CONSUMED,        /* the handler took care of the frame */
    RX_HANDLER_ANOTHER,         /* it changed p->link: go round again */
    RX_HANDLER_EXACT,           /* only for a user who wants exact matches */
    RX_HANDLER_PASS,            /* for the link's user */
} RxHandlerResult;

typedef struct LinkMisfits LinkMisfits;

/* May rewrite @p, which is a private view of the frame's bytes. */
typedef RxHandlerResult RxHandler(Link *lower, Packet *p);

/*
 * A kind of link.  newlink() checks @config itself: what it refuses, it
 * refuses with one sentence in @err and a negative errno, and leaves nothing
 * behind.  dellink() undoes it in any state.
 */
typedef struct LinkOps {
    const char *kind;
    size_t priv_size;           /* of link_priv(), zeroed before newlink() */
    int (*newlink)(Link *link, const void *config, GError **err);
    void (*dellink)(Link *link);
    /* NULL: cannot change.  All of @config or nothing. */
    int (*changelink)(Link *link, const void *config, GError **err);
    /*
     * Send @p, whose view may be rewritten.  Count drops by link_drop().  A
     * root may be busy for one p->queue and have room in another.
     */
    LinkTx (*xmit)(Link *link, Packet *p);
    /* Who is above is somebody else from now on: see link_user_changed(). */
    void (*user_changed)(Link *link);
    /* A root's: link_is_full() was true, and is no longer. */
    void (*resume)(Link *link);
    /* NULL: nothing to tell.  See link_announce(). */
    void (*announce)(Link *link);
    /*
     * NULL: nothing to save.  Add to @out, a dictionary, what the link knows;
     * take it over from such a one, see state.h.
     */
    void (*save)(const Link *link, GVariantBuilder *out);
    void (*load)(Link *link, GVariant *state, LinkMisfits *misfits);
    /* The same of what all links of this kind on @lower share; before them. */
    void (*save_port)(const Link *lower, GVariantBuilder *out);
    void (*load_port)(Link *lower, GVariant *state, LinkMisfits *misfits);
#ifdef VLINK_INVARIANTS
    /* Abort where @p must not leave @lower; NULL: where that is not sound. */
    void (*check)(const Link *lower, const Packet *p);
#endif
    /* Append "name=value" pairs, comma separated, for people. */
    void (*fill_info)(const Link *link, GString *out);
} LinkOps;

/* What is above a link.  All of it may be NULL. */
typedef struct LinkUserOps {
    /*
     * Take @p: LINK_TX_OK, or LINK_TX_DROPPED after link_drop(), or
     * LINK_TX_BUSY, which holds for its queue, p->queue, until
     * link_rx_ready().
     */
    LinkTx (*deliver)(void *opaque, const Packet *p);
    /* Does it listen to this group address?  NULL: to all of them. */
    bool (*wants_group)(void *opaque, const uint8_t mac[ETHER_ADDR_LEN]);
    /* The user's own MAC address, if it has one; false: not known. */
    bool (*address)(void *opaque, uint8_t mac[ETHER_ADDR_LEN]);
    /* A frame was refused with LINK_TX_BUSY; now there may be room. */
    void (*wake)(void *opaque);
    /* The link went up or down: link_is_up() tells. */
    void (*link_state)(void *opaque);
    /* As LinkOps has them, of what the user knows; see state.h. */
    void (*save)(void *opaque, GVariantBuilder *out);
    void (*load)(void *opaque, GVariant *state);
    /* Wants frames that a handler marked RX_HANDLER_EXACT, too. */
    bool exact;
} LinkUserOps;

struct Link {
    /* readable by all, written by link.c */
    const LinkOps *ops;
    const LinkPlatform *platform;
    char *name;
    Link *lower;
    GQueue uppers;              /* of Link */
    Link *pair;                 /* other end of a wire, see link_join() */
    Poller *poller;             /* of the lowest link, shared upwards */
    LinkStats stats;
    LinkStats deleted;          /* of links that were on top of it */
    bool admin_up;
    bool carrier;
    unsigned offloads;          /* Offloads that its far end takes */
    unsigned n_queues;          /* of its user, or of a root's far end */
    unsigned weight;
    LinkRates rates;

    /* link.c's own */
    RxHandler *rx_handler;
    void *rx_handler_data;
    void (*rx_handler_wake)(void *data);
    void (*rx_handler_state)(void *data);
    const LinkUserOps *user;
    void *user_opaque;
    LinkRx rx;
    Shaper tx_shaper, rx_shaper;
    Turn turn;                  /* among lower->uppers */
    Ring ring;                  /* of uppers that were told BUSY */
    bool tx_busy;               /* has answered BUSY since it was woken */
    bool tx_closed;             /* and will answer nothing else until then */
    bool up;                    /* what the user was told last */
    bool held;                  /* what comes in, because link_is_full() */
    Poll resume;
    Root root;                  /* only where there is no lower */
    GList upper_node;
    LinkWork *burial;           /* NULL, unless it is dead: see link_del() */
    void *priv;
#ifdef VLINK_INVARIANTS
    unsigned waited;            /* frames, when their limit was changed */
#endif
};

/* -EEXIST where the name is taken.  @ops stays the caller's, for good. */
int link_kind_register(const LinkOps *ops);
const LinkOps *link_kind_find(const char *kind);

/*
 * Make a link of @kind named @name on top of @lower, NULL for a root.  Fails
 * with NULL and @err: ENODEV no such kind, EMLINK nested deeper than
 * LINK_MAX_NEST, or what the kind's newlink() says.
 */
Link *link_new(const LinkPlatform *platform, const char *kind,
               const char *name, Link *lower, const void *config,
               GError **err);

/*
 * Delete @link.  Nothing may stand on it any more.  From inside of a call of
 * a user's, or of a root's, it is out of use at once, and nobody is called for
 * it any more; but what it owns is free only when the program's loop comes
 * round.
 */
void link_del(Link *link);

/* Does anything stand on @link that has not been deleted? */
bool link_has_uppers(const Link *link);

/* -EOPNOTSUPP where the kind cannot, else what the kind says. */
int link_change(Link *link, const void *config, GError **err);

/* The link of that name on top of @lower, or NULL. */
Link *link_find_upper(const Link *lower, const char *name);

static inline void *link_priv(const Link *link)
{
    return link->priv;
}

/* The user above @link, from now on; NULL @ops for none. */
void link_set_user(Link *link, const LinkUserOps *ops, void *opaque);

/*
 * The user above @link, the same as before, stands for somebody else from now
 * on: a guest has got another NIC.
 */
void link_user_changed(Link *link);

static inline void *link_user_opaque(const Link *link)
{
    return link->user_opaque;
}

/* Frames that may wait for the user in each of its queues; who does stays. */
void link_set_rx_queue(Link *link, unsigned packets);

/* Frames that wait for the user, in all of its queues. */
unsigned link_rx_waiting(const Link *link);

/* One queue to the user; times in nanoseconds. */
typedef struct LinkQueueInfo {
    uint64_t rx_packets;        /* that the user got there */
    uint64_t rx_bytes;
    unsigned waiting;           /* frames */
    int64_t delay;              /* of the oldest of them until now, 0: none */
    int64_t last_delay;         /* of the last one that had to wait */
} LinkQueueInfo;

/* @queue that there has never been has had nothing. */
void link_queue_info(const Link *link, unsigned queue, LinkQueueInfo *info);

/* What keeps the user of an upper link, who has been refused, from sending. */
typedef enum LinkWait {
    LINK_WAIT_NONE,
    LINK_WAIT_TURN,             /* others have theirs */
    LINK_WAIT_LOWER,            /* what is below has no room */
    LINK_WAIT_RATE,             /* its own limit */
} LinkWait;

LinkWait link_waits_for(const Link *link);

/*
 * What is behind the link takes frames in @n queues, 1 to LINK_MAX_QUEUES:
 * the user of an upper link, the wire of a root.  All frames of one flow go
 * through one of them, p->queue.  What waits is steered anew, in the order in
 * which it came, and nothing is lost.
 */
void link_set_queues(Link *link, unsigned n);

/*
 * What is behind the link takes frames that need only these Offloads as they
 * are; all others are made ready for it first.
 */
void link_set_offloads(Link *link, unsigned offloads);

/* Share of what is below the link, 1 to LINK_WEIGHT_MAX. */
void link_set_weight(Link *link, unsigned weight);

/*
 * What has a limit begins with a full bucket, unless it is the same as before.
 * Limits within LINK_RATE_MIN to _MAX, LINK_BURST_MIN to _MAX, or zero.
 */
void link_set_rates(Link *link, const LinkRates *rates);

/*
 * -EBUSY where @lower has a handler; -EINVAL where it may not have one: its
 * kind has no xmit, or somebody uses its frames already.
 */
int link_rx_handler_register(Link *lower, RxHandler *handler, void *data);
void link_rx_handler_unregister(Link *lower);

/*
 * @wake is called with the handler's data when @lower, which has answered BUSY
 * to the handler itself, can send again: before those who stand on it.
 */
static inline void link_rx_handler_set_wake(Link *lower,
                                            void (*wake)(void *data))
{
    lower->rx_handler_wake = wake;
}

/*
 * @state is called with the handler's data when @lower has gone up or down:
 * before those who stand on it hear of it.
 */
static inline void link_rx_handler_set_state(Link *lower,
                                             void (*state)(void *data))
{
    lower->rx_handler_state = state;
}

static inline void *link_rx_handler_data(const Link *lower)
{
    return lower->rx_handler_data;
}

/*
 * @a and @b are the two ends of one wire: frames that one delivers, the other
 * sends.  -ELOOP where they are connected already, so that broadcast would go
 * round for ever; -EBUSY where one of them has such a wire; -EMLINK where
 * what stands on them would be nested too deep.  link_del() takes it apart.
 */
int link_join(Link *a, Link *b);

/* Is there a way from @a to @b over lower links, upper links and wires? */
bool link_is_connected(const Link *a, const Link *b);

/*
 * Send @p out of @link.  After LINK_TX_BUSY the user's wake() is called once
 * when there may be room again.
 */
LinkTx link_xmit(Link *link, Packet *p);

/*
 * @link, which has answered BUSY, can send again, in some queue at least: wake
 * who waits, in turn.
 */
void link_wake(Link *link);

/*
 * A frame came in on @link.  It goes through the receive handlers to the user
 * of the link that they choose, or into that link's bounded queue.
 */
void link_receive(Link *link, Packet *p);

/*
 * Would each link on top of @link, a root, drop what comes in, because its
 * user is slower?  Then it is better left where it is.  After true,
 * ops->resume() is called when one of them has room again, from a poll.
 */
bool link_is_full(Link *link);

/*
 * Who is above @link, or what is below it, has moved: tell whoever is out
 * there where its addresses are now.
 */
void link_announce(Link *link);

/* The user, who was busy in @queue, takes frames there again. */
void link_rx_ready(Link *link, unsigned queue);

/* Count @p under @reason on @link.  Returns LINK_TX_DROPPED. */
LinkTx link_drop(Link *link, const Packet *p, DropReason reason);

/*
 * Administrative state (set_link) and carrier.  A link is up when both are
 * and its lower link is up; changes go to the users of all links above.
 */
void link_set_admin(Link *link, bool up);
void link_set_carrier(Link *link, bool on);
bool link_is_up(const Link *link);

bool link_wants_group(const Link *link, const uint8_t mac[ETHER_ADDR_LEN]);
bool link_user_address(const Link *link, uint8_t mac[ETHER_ADDR_LEN]);

/* Choose p->queue for what is behind @link. */
static inline void link_steer(const Link *link, Packet *p)
{
    p->queue = link->n_queues > 1 ? packet_flow_hash(p) % link->n_queues : 0;
}

static inline void link_count_rx(Link *link, const Packet *p)
{
    link->stats.rx_packets++;
    link->stats.rx_bytes += p->len;
}

static inline void link_count_tx(Link *link, uint32_t len)
{
    link->stats.tx_packets++;
    link->stats.tx_bytes += len;
}

/* @p has come to its end here, and that is as it should be. */
static inline void link_absorb(Link *link, const Packet *p)
{
    link->stats.absorbed++;
    invariant_ended(p);
}

/* link_xmit() of a frame that was made here; one that is refused was not. */
static inline LinkTx link_xmit_made(Link *link, Packet *p)
{
    LinkTx tx = link_xmit(link, p);

    link->stats.made += tx != LINK_TX_BUSY;
    return tx;
}

/* Of one frame @n pieces were sent; @all: it is no more than these. */
static inline void link_count_pieces(Link *link, unsigned n, bool all)
{
    link->stats.made += n;
    link->stats.made -= all;
}

/*
 * @emit as many pieces of @p, which @link's far end cannot take whole, as it
 * has room for, and count them.  True: all; else @p goes on from p->pieces.
 */
static inline bool link_cut(Link *link, Packet *p, OffloadEmit *emit,
                            void *opaque)
{
    unsigned before = p->pieces;
    bool all = offload_send(p, link->offloads, emit, opaque);

    link_count_pieces(link, p->pieces - before, all);
    if (all) {
        invariant_in_pieces(link, p);
    }
    return all;
}

static inline void link_trace(const Link *link, LinkEvent event,
                              const Link *other, const Packet *p)
{
    if (link->platform->trace) {
        link->platform->trace(&(LinkTrace) {
            .event = event, .link = link, .other = other, .packet = p,
        });
    }
}

#endif
