/*
 * What the tests of libvlink share: a virtual clock, a wire, users
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VLINK_HARNESS_H
#define TESTS_VLINK_HARNESS_H

#include "libvlink/ipvlan/ipvlan.h"
#include "libvlink/link.h"
#include "frame.h"

/* --- the platform: nothing happens but by the test ----------------------- */

extern const LinkPlatform test_platform;

/* g_test_init(), and the kinds "wire" and "ipvlan". */
void test_init(int *argc, char ***argv);
/* The kinds alone: for who is no test program of GLib's. */
void harness_init(void);
/* The clock and the platform's randomness begin anew: no work is left. */
void harness_reset(void);

int64_t clock_now(void);
/* Run what is due, and what that makes due, in order, up to @when. */
void clock_run_until(int64_t when);
static inline void clock_advance(int64_t ns)
{
    clock_run_until(clock_now() + ns);
}
/* So much time passes at once, and nothing runs meanwhile. */
void clock_jump(int64_t ns);
/* Run what is due now until nothing is. */
void clock_run_pending(void);
/* Run one LinkWork that is due now; false where none is. */
bool clock_run_one(void);
/*
 * It takes @ns for the main loop to come round, so that what is to run as soon
 * as possible does not run before all else that is; 0, as it is at first: for
 * who counts rounds.
 */
void clock_set_loop(int64_t ns);
/* LinkWorks that have not been freed. */
unsigned clock_works(void);

typedef struct TraceRecord {
    LinkEvent event;
    const Link *link;
    const Link *other;
    DropReason reason;
    IpPrefix addr;
    unsigned origin;
    bool excess;
} TraceRecord;

/* Traces of @event since trace_reset(); the last one goes to @last. */
unsigned trace_count(LinkEvent event, TraceRecord *last);
void trace_reset(void);
/* Called with each of them, while it is set. */
extern void (*trace_hook)(const LinkTrace *t);

/* --- a wire: the root link ----------------------------------------------- */

#define NO_LIMIT UINT_MAX

typedef struct Wire {
    Link *link;
    GPtrArray *sent;            /* of Frame */
    unsigned room;              /* frames that it takes, then BUSY */
    uint32_t busy_queues;       /* a bit for each that has no room */
    unsigned resumes;           /* calls of resume */
} Wire;

void wire_init(Wire *w, const char *name);
void wire_fini(Wire *w);
/* @f, freed here, comes in from the network. */
void wire_receive(Wire *w, Frame *f);
/* The oldest frame that was sent, now the caller's. */
Frame *wire_take(Wire *w);
/* @n frames may go out, and whoever waits is told. */
void wire_make_room(Wire *w, unsigned n);

/* --- a user: a guest, mostly --------------------------------------------- */

typedef struct User {
    Link *link;
    const char *name;
    uint8_t mac[ETHER_ADDR_LEN];
    GPtrArray *got;             /* of Frame */
    unsigned room;              /* frames that it takes, then BUSY */
    uint32_t busy_queues;       /* a bit for each that has no room */
    unsigned got_in[32];        /* frames in each queue */
    GQueue unsent;              /* of Frame: refused, sent again when woken */
    bool once;                  /* send one frame at a wake and no more */
    unsigned wakes;
    unsigned states;            /* calls of link_state */
    bool filters;               /* wants only @group, not all groups */
    uint8_t group[ETHER_ADDR_LEN];
    bool tells_mac;             /* answers @mac when asked */
} User;

void user_init(User *u, Link *link);
void user_fini(User *u);
/*
 * Send @f and free it.  Asserts that nobody wrote to its bytes.  What is
 * refused is kept and sent again, in order, when the user is woken.
 */
LinkTx user_send(User *u, Frame *f);
/* The oldest frame that was delivered, now the caller's. */
Frame *user_take(User *u);
void user_make_room(User *u, unsigned n);
/* There is room in this queue of @u, or none. */
void user_open_queue(User *u, unsigned queue);
void user_close_queue(User *u, unsigned queue);

/* --- a port with slaves -------------------------------------------------- */

#define NET_USERS 8

typedef struct Net {
    Wire wire;
    IpvlanMode mode;
    IpvlanFlag flag;
    User user[NET_USERS];
    unsigned n;
    bool injects;               /* frames, or counters, that no link has seen */
} Net;

extern const uint8_t port_mac[ETHER_ADDR_LEN];
extern const uint8_t gateway_mac[ETHER_ADDR_LEN];

void net_init(Net *net, IpvlanMode mode, IpvlanFlag flag);
void net_fini(Net *net);
/* The same where there is another one. */
void net_close(Net *net);
/* The next slave; what @config does not say of the port is filled in. */
User *net_add(Net *net, IpvlanConfig config);
/* One that learns, and one that owns @addr (NULL: nothing) and does not. */
User *net_learner(Net *net);
User *net_owner(Net *net, const char *addr);
/* Delete the slave. */
void net_del(User *u);

/* Nobody has a frame left that the test has not taken. */
void net_assert_quiet(Net *net);
/* Throw away all frames. */
void net_clear(Net *net);

/* The two frames have the same bytes.  Frees both. */
void assert_same(Frame *a, Frame *b);

/* @u gets exactly one frame, with @expected's bytes.  Frees @expected. */
void assert_got(User *u, Frame *expected);
void assert_sent(Wire *w, Frame *expected);

#define assert_drops(link_, reason_, n_) \
    g_assert_cmpuint((link_)->stats.drops[DROP_##reason_], ==, (n_))

/* Who owns @addr on @net's port: a slave's User or NULL. */
User *net_owner_of(Net *net, const char *addr);
unsigned net_addresses(const User *u);

#endif
