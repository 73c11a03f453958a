/*
 * What the library needs from the program that it runs in
 *
 * Time, randomness and deferral come in through here and nowhere else, so
 * that a test can run everything on a virtual clock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_PLATFORM_H
#define LIBVLINK_PLATFORM_H

#include "packet.h"

#define NS_PER_S INT64_C(1000000000)

/* Out of line, so that it does not cost the fast path its registers. */
#define SLOW_PATH __attribute__((noinline))

/* A function that the platform can be asked to call later. */
typedef struct LinkWork LinkWork;

/* The answer to who sends a frame. */
typedef enum LinkTx {
    LINK_TX_OK,                 /* the frame was taken */
    LINK_TX_DROPPED,            /* the frame was taken, dropped and counted */
    LINK_TX_BUSY,               /* not taken: keep it, there will be a wake */
} LinkTx;

/* What becomes of a frame or of an address; one call of trace() each. */
typedef enum LinkEvent {
    LINK_EVENT_SEND,            /* frame goes out of @link, the lower one */
    LINK_EVENT_FORWARD,         /* frame goes from @link to @other, siblings */
    LINK_EVENT_RECEIVE,         /* frame from @link, lower, goes to @other */
    LINK_EVENT_DEFER,           /* broadcast from @link waits for its poll */
    LINK_EVENT_QUEUE,           /* @link's user is busy, the frame waits */
    LINK_EVENT_BUSY,            /* frame refused, @link's user has to wait */
    LINK_EVENT_WAKE,            /* @link's user may send again */
    LINK_EVENT_DROP,            /* @reason */
    LINK_EVENT_LEARN,           /* @link owns @addr from now on */
    LINK_EVENT_EXPIRE,          /* @link no longer owns @addr */
    LINK_EVENT_CONTEST,         /* @link used @addr, which @other owns */
    /* @packet of @link was refused for @reason, @addr or NULL; not of each */
    LINK_EVENT_GUARD,
} LinkEvent;

typedef struct LinkTrace {
    LinkEvent event;
    const Link *link;
    const Link *other;
    const Packet *packet;
    const IpPrefix *addr;
    DropReason reason;
    unsigned origin;            /* of @addr, as the kind of @link has them */
    bool excess;                /* of too many: for a trace, and not to tell */
} LinkTrace;

typedef struct LinkPlatform {
    /*
     * In nanoseconds.  It never goes back, and does not go forward but by the
     * time that passes: what is timed need not be on its guard.
     */
    int64_t (*now)(void);
    /* Unpredictable bytes, to key hash tables. */
    void (*random)(void *buf, size_t len);

    /* @fn is called with @opaque from the program's loop, never from here. */
    LinkWork *(*work_new)(void (*fn)(void *opaque), void *opaque);
    /* At @when on the clock of now(); as soon as possible where that is past */
    void (*work_at)(LinkWork *work, int64_t when);
    /* Free @work; it is not called any more. */
    void (*work_free)(LinkWork *work);

    /* May be NULL.  The pointers are good during the call. */
    void (*trace)(const LinkTrace *t);
} LinkPlatform;

#endif
