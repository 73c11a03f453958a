/*
 * libvlink: IGMP and MLD snooping
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "libvlink/ipvlan/group.h"

#define SECONDS(n) ((n) * NS_PER_S)
#define MSEC (NS_PER_S / 1000)          /* to which memberships are right */

/* The same with either family. */
typedef struct Family {
    const char *name;
    const char *querier, *nobody, *far;
    const char *group, *other;
    const char *local;                  /* a group that is for all */
    const char *host[3];                /* who reports */
    const char *sender[3];              /* who sends to groups */
} Family;

static const Family families[] = {
    {
        "igmp", "10.0.0.254", "0.0.0.0", "192.0.2.9",
        "239.1.1.1", "239.2.2.2", "224.0.0.251",
        { "10.0.0.1", "10.0.0.2", "10.0.0.3" },
        { "10.0.0.1", "10.0.0.2", "10.0.0.3" },
    }, {
        "mld", "fe80::fe", "::", "2001:db8::9",
        "ff05::1:1", "ff08::2:2", "ff02::fb",
        { "fe80::a", "fe80::b", "fe80::c" },
        { "fd00::a", "fd00::b", "fd00::c" },
    },
};

/* Sets of users. */
enum { NONE = 0, A = 1, B = 2, C = 4, ALL = 7 };

typedef struct Trial {
    const Family *f;
    Net net;
    User *u[3];
    User *a, *b, *c;
} Trial;

static void trial_init_mode(Trial *t, const Family *f, IpvlanMode mode)
{
    *t = (Trial) { .f = f };
    net_init(&t->net, mode, IPVLAN_BRIDGE);
    for (unsigned i = 0; i < 3; i++) {
        t->u[i] = net_add(&t->net, (IpvlanConfig) {
            .learn = IPVLAN_LEARN_OFF,
        });
    }
    t->a = t->u[0];
    t->b = t->u[1];
    t->c = t->u[2];
}

static void trial_init(Trial *t, gconstpointer data)
{
    trial_init_mode(t, data, IPVLAN_L2_MACNAT);
}

static void trial_fini(Trial *t)
{
    net_clear(&t->net);
    net_fini(&t->net);
}

/* Who has got anything; throws it away. */
static unsigned who(Trial *t)
{
    unsigned set = 0;

    clock_run_pending();
    for (unsigned i = 0; i < 3; i++) {
        set |= t->u[i]->got->len ? 1u << i : 0;
    }
    net_clear(&t->net);
    return set;
}

static unsigned from_wire(Trial *t, Frame *f)
{
    wire_receive(&t->net.wire, f);
    return who(t);
}

/* It goes to the uplink in any case. */
static unsigned from_user(Trial *t, unsigned i, Frame *f)
{
    user_send(t->u[i], f);
    g_assert_cmpuint(t->net.wire.sent->len, ==, 1);
    return who(t);
}

static unsigned hear(Trial *t, const char *group)
{
    return from_wire(t, udp_group(gateway_mac, t->f->far, group));
}

static void ask(Trial *t)
{
    g_assert_cmpuint(from_wire(t, group_query(gateway_mac, t->f->querier,
                                              NULL)), ==, ALL);
}

static void ask_and_wait(Trial *t)
{
    ask(t);
    clock_advance(SECONDS(10));
}

static void join(Trial *t, unsigned i, const char *group)
{
    from_user(t, i, group_join(t->u[i]->mac, t->f->host[i], group));
}

static void leave(Trial *t, unsigned i, const char *group)
{
    from_user(t, i, group_leave(t->u[i]->mac, t->f->host[i], group));
}

static void report(Trial *t, unsigned i, uint8_t type, const char *group,
                   uint16_t sources)
{
    GroupRecord r = { type, group, sources };

    from_user(t, i, group_report(t->u[i]->mac, t->f->host[i], &r, 1));
}

static void count(const IpAddr *group, void *opaque)
{
    ++*(unsigned *)opaque;
}

static unsigned memberships(const User *u)
{
    unsigned n = 0;

    ipvlan_foreach_group(u->link, count, &n);
    return n;
}

/* --- queriers ------------------------------------------------------------- */

static void test_no_querier(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    g_assert_cmpuint(hear(&t, t.f->group), ==, ALL);
    join(&t, 0, t.f->group);
    g_assert_cmpuint(hear(&t, t.f->group), ==, ALL);
    g_assert_cmpuint(hear(&t, t.f->other), ==, ALL);
    clock_advance(SECONDS(1000));
    g_assert_cmpuint(hear(&t, t.f->other), ==, ALL);
    trial_fini(&t);
}

static void test_members(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    g_assert_cmpuint(hear(&t, t.f->group), ==, NONE);
    join(&t, 0, t.f->group);
    g_assert_cmpuint(hear(&t, t.f->group), ==, A);
    g_assert_cmpuint(hear(&t, t.f->other), ==, NONE);
    join(&t, 2, t.f->group);
    join(&t, 2, t.f->other);
    g_assert_cmpuint(hear(&t, t.f->group), ==, A | C);
    g_assert_cmpuint(hear(&t, t.f->other), ==, C);
    trial_fini(&t);
}

static void test_l2(gconstpointer data)
{
    Trial t;

    trial_init_mode(&t, data, IPVLAN_L2);
    ask_and_wait(&t);
    join(&t, 1, t.f->group);
    g_assert_cmpuint(hear(&t, t.f->group), ==, B);
    trial_fini(&t);
}

/* One family's querier says nothing about the other. */
static void test_families(void)
{
    Trial t;

    trial_init(&t, &families[0]);
    ask_and_wait(&t);
    g_assert_cmpuint(hear(&t, t.f->group), ==, NONE);
    g_assert_cmpuint(from_wire(&t, udp_group(gateway_mac, families[1].far,
                                             families[1].group)), ==, ALL);
    trial_fini(&t);
}

/* Members before the first query keep their groups without an interruption. */
static void test_first_query(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask(&t);
    clock_advance(SECONDS(4));
    join(&t, 0, t.f->group);
    g_assert_cmpuint(hear(&t, t.f->group), ==, ALL);
    clock_advance(SECONDS(6) - 1);
    g_assert_cmpuint(hear(&t, t.f->group), ==, ALL);
    clock_advance(1);
    g_assert_cmpuint(hear(&t, t.f->group), ==, A);
    trial_fini(&t);
}

/* What was reported before somebody asked holds, too. */
static void test_before_query(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    join(&t, 1, t.f->group);
    clock_advance(SECONDS(100));
    ask_and_wait(&t);
    g_assert_cmpuint(hear(&t, t.f->group), ==, B);
    trial_fini(&t);
}

static void test_querier_gone(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    join(&t, 0, t.f->group);
    clock_advance(GROUP_QUERIER_NS - SECONDS(10) - 1);
    g_assert_cmpuint(hear(&t, t.f->group), ==, A);
    clock_advance(1);
    g_assert_cmpuint(hear(&t, t.f->group), ==, ALL);
    g_assert_cmpuint(hear(&t, t.f->other), ==, ALL);
    /* it is back: there is time for an answer again */
    ask(&t);
    clock_advance(SECONDS(9));
    g_assert_cmpuint(hear(&t, t.f->group), ==, ALL);
    clock_advance(SECONDS(1));
    g_assert_cmpuint(hear(&t, t.f->other), ==, NONE);
    trial_fini(&t);
}

/* A guest can be the querier, and then is a router. */
static void test_guest_querier(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    g_assert_cmpuint(from_user(&t, 1, group_query(t.b->mac, t.f->host[1],
                                                  NULL)), ==, A | C);
    clock_advance(SECONDS(10));
    join(&t, 0, t.f->group);
    g_assert_cmpuint(hear(&t, t.f->group), ==, A | B);
    g_assert_cmpuint(hear(&t, t.f->other), ==, B);
    trial_fini(&t);
}

static void test_version3(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    g_assert_cmpuint(from_wire(&t, group_query_long(gateway_mac,
                                                    t.f->querier, 2, 125)),
                     ==, ALL);
    clock_advance(SECONDS(10) - 1);
    g_assert_cmpuint(hear(&t, t.f->group), ==, ALL);
    clock_advance(1);
    g_assert_cmpuint(hear(&t, t.f->group), ==, NONE);
    trial_fini(&t);
}

/* Twenty seconds to answer, in each way to say so. */
static void test_response(gconstpointer data)
{
    for (unsigned i = 0; i < 2; i++) {
        bool v6, longer = i;
        unsigned l4;
        Trial t;
        Frame *f;

        trial_init(&t, data);
        v6 = strchr(t.f->group, ':');
        f = longer ? group_query_long(gateway_mac, t.f->querier, 2, 125)
                   : group_query(gateway_mac, t.f->querier, NULL);
        l4 = frame_offsets(f).l4;
        if (v6) {
            frame_set16(f, l4 + 4, 20000);
        } else {
            /* 200, and (16 + 9) << 3 of the version with an exponent */
            frame_set8(f, l4 + 1, longer ? 0x89 : 200);
        }
        from_wire(&t, frame_checksum(f));
        clock_advance(SECONDS(20) - 1);
        g_assert_cmpuint(hear(&t, t.f->group), ==, ALL);
        clock_advance(1);
        g_assert_cmpuint(hear(&t, t.f->group), ==, NONE);
        trial_fini(&t);
    }
}

/* --- queries that nobody would answer ------------------------------------- */

static void uncounted(Trial *t, Frame *f)
{
    wire_receive(&t->net.wire, f);
    who(t);
    clock_advance(SECONDS(100));
    g_assert_cmpuint(hear(t, t->f->group), ==, ALL);
}

static Frame *query(const Trial *t)
{
    return group_query(gateway_mac, t->f->querier, NULL);
}

static Frame *query_long(const Trial *t)
{
    return group_query_long(gateway_mac, t->f->querier, 2, 125);
}

static bool is_v6(const Trial *t)
{
    return strchr(t->f->group, ':');
}

static Frame *bad_checksum(Frame *f)
{
    f->data[frame_offsets(f).l4 + 2] ^= 1;
    return f;
}

/* Hop limits are not part of IPv6's checksums. */
static Frame *set_ttl(Frame *f, uint8_t ttl)
{
    return frame_checksum(frame_set8(f, frame_offsets(f).v6 ? 14 + 7 : 14 + 8,
                                     ttl));
}

/* The payload is @len bytes and no longer. */
static Frame *shorten(Frame *f, unsigned len)
{
    FrameOffsets o = frame_offsets(f);

    frame_cut(f, o.l4 + len);
    frame_set16(f, o.v6 ? 14 + 4 : 14 + 2,
                o.l4 + len - 14 - (o.v6 ? 40 : 0));
    return frame_checksum(f);
}

static void test_bad_query(gconstpointer data)
{
    Frame *f;
    Trial t;

    trial_init(&t, data);
    uncounted(&t, bad_checksum(query(&t)));
    uncounted(&t, bad_checksum(query_long(&t)));
    uncounted(&t, set_ttl(query(&t), 2));
    uncounted(&t, set_ttl(query(&t), 255));
    uncounted(&t, group_query(gateway_mac, t.f->nobody, NULL));
    uncounted(&t, group_query(gateway_mac, t.f->querier, t.f->group));
    uncounted(&t, frame_tag(query(&t), 0x8100, 5));
    uncounted(&t, frame_partial(query_long(&t)));
    /* to where only we would listen */
    uncounted(&t, frame_set_mac_dst(query(&t), (const uint8_t[]) {
        1, 0, 0x5e, 0, 0, 99,
    }));
    /* neither one version's length nor the other's; cut off */
    uncounted(&t, shorten(query_long(&t), is_v6(&t) ? 26 : 10));
    uncounted(&t, shorten(query(&t), is_v6(&t) ? 20 : 4));
    /* it says that it has sources, and has or has not */
    f = query_long(&t);
    frame_set16(f, f->len - 2, 1);
    uncounted(&t, frame_checksum(f));
    /* 25.6 seconds and more */
    f = query_long(&t);
    if (is_v6(&t)) {
        frame_set16(f, frame_offsets(f).l4 + 4, 25600);
    } else {
        frame_set8(f, frame_offsets(f).l4 + 1, 0x90);
    }
    uncounted(&t, frame_checksum(f));
    /* and what is all right */
    ask_and_wait(&t);
    g_assert_cmpuint(hear(&t, t.f->group), ==, NONE);
    trial_fini(&t);
}

static void test_bad_query4(void)
{
    Frame *f;
    Trial t;

    trial_init(&t, &families[0]);
    /* a header checksum that every host looks at */
    f = query(&t);
    f->data[14 + 10] ^= 1;
    uncounted(&t, f);
    /* source routes, which hosts do not take */
    f = query(&t);
    memcpy(f->data + 14 + 20, (const uint8_t[]) { 131, 3, 4, 0 }, 4);
    uncounted(&t, frame_checksum(f));
    uncounted(&t, frame_options(query(&t), 4));
    trial_fini(&t);
}

static void test_bad_query6(void)
{
    Trial t;
    Frame *f;

    trial_init(&t, &families[1]);
    uncounted(&t, group_query(gateway_mac, "fd00::1", NULL));
    /* no Router Alert, one for RSVP, an unknown option, one that is cut */
    uncounted(&t, frame_set8(query(&t), 14 + 42, 1));
    uncounted(&t, frame_set16(query(&t), 14 + 44, 1));
    uncounted(&t, frame_set8(query(&t), 14 + 46, 0xc2));
    uncounted(&t, frame_set8(query(&t), 14 + 47, 1));
    uncounted(&t, frame_set8(query(&t), 14 + 43, 9));
    /* more headers than there are */
    uncounted(&t, frame_ext(query(&t), 0, 8));
    uncounted(&t, frame_ext(query(&t), 60, 8));
    uncounted(&t, frame_fragment(query(&t), 0, false));
    /* padding in front of it is fine */
    f = query(&t);
    memcpy(f->data + 14 + 42, (const uint8_t[]) { 0, 0, 5, 2, 0, 0 }, 6);
    from_wire(&t, f);
    clock_advance(SECONDS(10));
    g_assert_cmpuint(hear(&t, t.f->group), ==, NONE);
    trial_fini(&t);
}

/*
 * Who did not get the query cannot answer it: it gets all, while others get
 * what they are members of.
 */
static void test_not_heard(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    t.b->room = 0;
    from_wire(&t, query(&t));
    user_make_room(t.b, NO_LIMIT);
    g_assert_cmpuint(who(&t), ==, B);
    clock_advance(SECONDS(10));
    g_assert_cmpuint(hear(&t, t.f->group), ==, B);
    ask_and_wait(&t);
    g_assert_cmpuint(hear(&t, t.f->group), ==, NONE);
    trial_fini(&t);
}

/* A guest that asks, but not in a way that siblings hear it. */
static void test_hostile_querier(gconstpointer data)
{
    Frame *f;
    Trial t;

    trial_init(&t, data);
    f = group_query(t.c->mac, t.f->host[2], NULL);
    frame_set_mac_dst(f, t.c->mac);
    frame_set8(f, 0, 1);
    t.a->filters = t.b->filters = true;
    from_user(&t, 2, f);
    t.a->filters = t.b->filters = false;
    clock_advance(SECONDS(50));
    g_assert_cmpuint(hear(&t, t.f->group) & (A | B), ==, A | B);
    /* a storm of its own has its query lost */
    for (unsigned i = 0; i < 2000; i++) {
        user_send(t.c, udp_group(t.c->mac, t.f->sender[2], t.f->local));
    }
    user_send(t.c, group_query(t.c->mac, t.f->host[2], NULL));
    who(&t);
    clock_advance(SECONDS(50));
    g_assert_cmpuint(hear(&t, t.f->group) & (A | B), ==, A | B);
    trial_fini(&t);
}

/* --- memberships ---------------------------------------------------------- */

static void test_expiry(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    join(&t, 0, t.f->group);
    clock_advance(SECONDS(100));
    ask(&t);
    clock_advance(SECONDS(100));
    join(&t, 1, t.f->group);
    clock_advance(SECONDS(60) - MSEC);
    g_assert_cmpuint(hear(&t, t.f->group), ==, A | B);
    g_assert_cmpuint(memberships(t.a), ==, 1);
    clock_advance(MSEC);
    g_assert_cmpuint(hear(&t, t.f->group), ==, B);
    g_assert_cmpuint(memberships(t.a), ==, 0);
    trial_fini(&t);
}

/*
 * The slowest querier that counts, and the slowest answers: no membership
 * ends meanwhile.
 */
static void test_slow_answer(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask(&t);
    join(&t, 0, t.f->group);            /* at once */
    clock_advance(GROUP_QUERIER_NS - 1);
    ask(&t);
    for (unsigned i = 0; i < 9; i++) {
        clock_advance(SECONDS(1));
        g_assert_cmpuint(hear(&t, t.f->group), ==, A);
    }
    clock_advance(SECONDS(1) - 1);
    g_assert_cmpuint(hear(&t, t.f->group), ==, A);
    join(&t, 0, t.f->group);
    clock_advance(SECONDS(100));
    g_assert_cmpuint(hear(&t, t.f->group), ==, A);
    trial_fini(&t);
}

static void test_leave(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    join(&t, 0, t.f->group);
    join(&t, 1, t.f->group);
    leave(&t, 0, t.f->group);
    clock_advance(SECONDS(2) - MSEC);
    g_assert_cmpuint(hear(&t, t.f->group), ==, A | B);
    clock_advance(MSEC);
    g_assert_cmpuint(hear(&t, t.f->group), ==, B);
    /* what it was no member of, and a second time */
    leave(&t, 2, t.f->group);
    leave(&t, 0, t.f->group);
    clock_advance(SECONDS(1));
    g_assert_cmpuint(hear(&t, t.f->group), ==, B);
    trial_fini(&t);
}

/* Another host behind the same slave still wants it. */
static void test_leave_answered(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    join(&t, 0, t.f->group);
    leave(&t, 0, t.f->group);
    g_assert_cmpuint(from_wire(&t, group_query(gateway_mac, t.f->querier,
                                               t.f->group)), ==, ALL);
    clock_advance(SECONDS(1));
    join(&t, 0, t.f->group);
    clock_advance(SECONDS(5));
    g_assert_cmpuint(hear(&t, t.f->group), ==, A);
    trial_fini(&t);
}

static void test_igmp1(void)
{
    Trial t;

    trial_init(&t, &families[0]);
    from_wire(&t, igmp(gateway_mac, "10.0.0.254", "224.0.0.1", 0x11, 0,
                       "0.0.0.0"));
    clock_advance(SECONDS(10));
    from_user(&t, 0, igmp(t.a->mac, "10.0.0.1", t.f->group, 0x12, 0,
                          t.f->group));
    g_assert_cmpuint(hear(&t, t.f->group), ==, A);
    trial_fini(&t);
}

static void test_records(gconstpointer data)
{
    static const struct {
        uint8_t type;
        uint16_t sources;
        bool joins, leaves;
    } rows[] = {
        { GROUP_IS_INCLUDE, 0, false, true },
        { GROUP_IS_INCLUDE, 2, true, false },
        { GROUP_IS_EXCLUDE, 0, true, false },
        { GROUP_IS_EXCLUDE, 3, true, false },
        { GROUP_TO_INCLUDE, 0, false, true },
        { GROUP_TO_INCLUDE, 1, true, false },
        { GROUP_TO_EXCLUDE, 0, true, false },
        { GROUP_TO_EXCLUDE, 1, true, false },
        { GROUP_ALLOW, 1, true, false },
        { GROUP_ALLOW, 0, false, false },
        { GROUP_BLOCK, 1, false, false },
        { 0, 0, false, false },
        { 7, 1, false, false },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        Trial t;

        trial_init(&t, data);
        ask_and_wait(&t);
        report(&t, 0, rows[i].type, t.f->group, rows[i].sources);
        g_assert_cmpuint(hear(&t, t.f->group), ==,
                         rows[i].joins ? A : NONE);
        report(&t, 0, GROUP_TO_EXCLUDE, t.f->group, 0);
        report(&t, 0, rows[i].type, t.f->group, rows[i].sources);
        clock_advance(SECONDS(2));
        g_assert_cmpuint(hear(&t, t.f->group), ==,
                         rows[i].leaves ? NONE : A);
        trial_fini(&t);
    }
}

/* Several in one report, of all sizes; the others are found behind them. */
static void test_records_many(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    GroupRecord r[] = {
        { GROUP_TO_EXCLUDE, t.f->local, 0, 0 },
        { 99, t.f->group, 7, 3 },
        { GROUP_TO_EXCLUDE, t.f->group, 5, 2 },
        { GROUP_ALLOW, t.f->other, 100, 0 },
    };
    ask_and_wait(&t);
    from_user(&t, 0, group_report(t.a->mac, t.f->host[0], r,
                                  G_N_ELEMENTS(r)));
    g_assert_cmpuint(hear(&t, t.f->group), ==, A);
    g_assert_cmpuint(hear(&t, t.f->other), ==, A);
    g_assert_cmpuint(memberships(t.a), ==, 2);
    trial_fini(&t);
}

/* What is there is believed, and not what is said to be there. */
static void test_records_cut(gconstpointer data)
{
    Trial t;
    Frame *f;
    unsigned l4;

    trial_init(&t, data);
    GroupRecord r[] = {
        { GROUP_TO_EXCLUDE, t.f->group, 1, 0 },
        { GROUP_TO_EXCLUDE, t.f->other, 1, 0 },
    };
    ask_and_wait(&t);
    f = group_report(t.a->mac, t.f->host[0], r, 2);
    l4 = frame_offsets(f).l4;
    frame_set16(f, l4 + 6, 65535);
    from_user(&t, 0, frame_checksum(f));
    g_assert_cmpuint(hear(&t, t.f->other), ==, A);
    /* the second one lacks a byte, or has too many sources */
    f = group_report(t.b->mac, t.f->host[1], r, 2);
    from_user(&t, 1, shorten(f, f->len - l4 - 1));
    g_assert_cmpuint(hear(&t, t.f->group), ==, A | B);
    g_assert_cmpuint(hear(&t, t.f->other), ==, A);
    f = group_report(t.c->mac, t.f->host[2], r, 2);
    frame_set16(f, l4 + 8 + 2, 65535);
    from_user(&t, 2, frame_checksum(f));
    g_assert_cmpuint(memberships(t.c), ==, 0);
    trial_fini(&t);
}

/* A group that nobody can join, or need not report. */
static void test_not_groups(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    report(&t, 0, GROUP_TO_EXCLUDE, t.f->local, 0);
    report(&t, 0, GROUP_TO_EXCLUDE, t.f->far, 0);
    report(&t, 0, GROUP_TO_EXCLUDE, t.f->nobody, 0);
    join(&t, 0, t.f->local);
    g_assert_cmpuint(memberships(t.a), ==, 0);
    trial_fini(&t);
}

static void unlearned(Trial *t, Frame *f)
{
    from_user(t, 0, f);
    g_assert_cmpuint(memberships(t->a), ==, 0);
}

static void test_bad_report(gconstpointer data)
{
    GroupRecord r = { GROUP_TO_EXCLUDE, NULL };
    const char *host, *group;
    const uint8_t *mac;
    Trial t;

    trial_init(&t, data);
    mac = t.a->mac;
    host = t.f->host[0];
    r.group = group = t.f->group;
    unlearned(&t, bad_checksum(group_join(mac, host, group)));
    unlearned(&t, bad_checksum(group_report(mac, host, &r, 1)));
    unlearned(&t, set_ttl(group_join(mac, host, group), 64));
    unlearned(&t, set_ttl(group_report(mac, host, &r, 1), 0));
    unlearned(&t, shorten(group_join(mac, host, group),
                          is_v6(&t) ? 23 : 7));
    unlearned(&t, shorten(group_report(mac, host, &r, 1), 8));
    unlearned(&t, shorten(group_report(mac, host, &r, 1), 5));
    unlearned(&t, frame_tag(group_join(mac, host, group), 0x8100, 3));
    unlearned(&t, frame_fragment(group_join(mac, host, group), 0, true));
    if (is_v6(&t)) {
        unlearned(&t, group_join(mac, "fd00::1", group));
        unlearned(&t, frame_set8(group_join(mac, host, group), 14 + 42, 1));
        unlearned(&t, frame_ip(mac_broadcast, mac, host, group, 58, 24));
    }
    /* and from nobody it is as good as from somebody: RFC 4541 */
    from_user(&t, 0, group_join(mac, t.f->nobody, group));
    g_assert_cmpuint(memberships(t.a), ==, 1);
    trial_fini(&t);
}

/* Not learned from, but forwarded as any other frame to that address. */
static void test_bad_forwarded(gconstpointer data)
{
    GroupRecord r = { GROUP_TO_EXCLUDE, NULL };
    Trial t;

    trial_init(&t, data);
    r.group = t.f->group;
    ask_and_wait(&t);
    join(&t, 1, t.f->group);
    g_assert_cmpuint(from_user(&t, 0, bad_checksum(
        group_report(t.a->mac, t.f->host[0], &r, 1))), ==, B | C);
    g_assert_cmpuint(from_user(&t, 0, bad_checksum(
        group_join(t.a->mac, t.f->host[0], t.f->group))), ==, B);
    trial_fini(&t);
}

/* The NIC is to complete the checksum. */
static void test_partial(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    from_user(&t, 0, frame_partial(group_join(t.a->mac, t.f->host[0],
                                              t.f->group)));
    g_assert_cmpuint(memberships(t.a), ==, 1);
    trial_fini(&t);
}

static const char *nth_group(const Trial *t, unsigned n)
{
    static char text[IP_STR_MAX];

    g_snprintf(text, sizeof(text), is_v6(t) ? "ff05::9:%x" : "239.9.%u.%u",
               is_v6(t) ? n : n >> 8, n & 255);
    return text;
}

static void test_too_many(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    for (unsigned i = 0; i < GROUP_MAX; i++) {
        join(&t, 0, nth_group(&t, i));
    }
    g_assert_cmpuint(memberships(t.a), ==, GROUP_MAX);
    g_assert_cmpuint(hear(&t, t.f->other), ==, NONE);
    /* one more: it is a member of all then, not of none */
    join(&t, 0, t.f->group);
    g_assert_cmpuint(memberships(t.a), ==, GROUP_MAX);
    g_assert_cmpuint(hear(&t, t.f->group), ==, A);
    g_assert_cmpuint(hear(&t, t.f->other), ==, A);
    /* what expires makes room */
    clock_advance(SECONDS(200));
    ask(&t);
    clock_advance(SECONDS(70));
    g_assert_cmpuint(hear(&t, t.f->other), ==, NONE);
    join(&t, 0, t.f->group);
    g_assert_cmpuint(memberships(t.a), ==, 1);
    g_assert_cmpuint(hear(&t, t.f->group), ==, A);
    trial_fini(&t);
}

/* A guest that reports all that there is costs siblings nothing. */
static void test_report_flood(gconstpointer data)
{
    char groups[300][IP_STR_MAX];
    GroupRecord r[G_N_ELEMENTS(groups)];
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    join(&t, 1, t.f->group);
    for (unsigned i = 0; i < 100; i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(r); j++) {
            g_strlcpy(groups[j], nth_group(&t, i * G_N_ELEMENTS(r) + j),
                      sizeof(groups[j]));
            r[j] = (GroupRecord) { GROUP_TO_EXCLUDE, groups[j] };
        }
        g_assert_cmpuint(from_user(&t, 0, group_report(
            t.a->mac, t.f->host[0], r, G_N_ELEMENTS(r))), ==, NONE);
    }
    g_assert_cmpuint(memberships(t.a), ==, GROUP_MAX);
    g_assert_cmpuint(memberships(t.b), ==, 1);
    g_assert_cmpuint(hear(&t, t.f->group), ==, A | B);
    g_assert_cmpuint(hear(&t, t.f->other), ==, A);
    trial_fini(&t);
}

static void test_foreach(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    g_assert_cmpuint(memberships(t.a), ==, 0);
    join(&t, 0, t.f->group);
    join(&t, 0, t.f->group);
    join(&t, 0, t.f->other);
    g_assert_cmpuint(memberships(t.a), ==, 2);
    g_assert_cmpuint(memberships(t.b), ==, 0);
    leave(&t, 0, t.f->other);
    clock_advance(SECONDS(2));
    g_assert_cmpuint(memberships(t.a), ==, 1);
    trial_fini(&t);
}

/* Another NIC: its guest has been asked nothing and has told nothing. */
static void test_user_changed(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    join(&t, 0, t.f->group);
    link_user_changed(t.a->link);
    g_assert_cmpuint(memberships(t.a), ==, 0);
    g_assert_cmpuint(hear(&t, t.f->other), ==, A);
    ask_and_wait(&t);
    g_assert_cmpuint(hear(&t, t.f->group), ==, NONE);
    trial_fini(&t);
}

/* --- routers -------------------------------------------------------------- */

static void test_router_query(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    /* for one group is good enough; from nobody is not */
    from_user(&t, 0, group_query(t.a->mac, t.f->host[0], t.f->group));
    from_user(&t, 1, group_query(t.b->mac, t.f->nobody, t.f->group));
    from_user(&t, 1, bad_checksum(group_query(t.b->mac, t.f->host[1],
                                              NULL)));
    g_assert_cmpuint(hear(&t, t.f->other), ==, A);
    clock_advance(SECONDS(200));
    ask(&t);
    clock_advance(SECONDS(55) - 1);
    g_assert_cmpuint(hear(&t, t.f->other), ==, A);
    clock_advance(1);
    g_assert_cmpuint(hear(&t, t.f->other), ==, NONE);
    trial_fini(&t);
}

static Frame *pim_hello(const Trial *t, unsigned i, uint8_t first)
{
    const char *dip = is_v6(t) ? "ff02::d" : "224.0.0.13";
    uint8_t mac[ETHER_ADDR_LEN];
    unsigned l4, sum;
    Frame *f;

    mac_of_group(dip, mac);
    f = frame_ip(mac, t->u[i]->mac, t->f->host[i], dip, 103, 4);
    l4 = frame_offsets(f).l4;
    memcpy(f->data + l4, (const uint8_t[]) { first, 0, 0, 0 }, 4);
    sum = first << 8;
    if (is_v6(t)) {
        sum += 103 + 4;
        for (unsigned j = 0; j < 32; j += 2) {
            sum += frame_get16(f, 14 + 8 + j);
        }
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return frame_set16(f, l4 + 2, ~sum);
}

static void test_router_pim(gconstpointer data)
{
    Frame *f;
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    from_user(&t, 2, pim_hello(&t, 2, 0x20));
    g_assert_cmpuint(hear(&t, t.f->other), ==, C);
    /* version 1, a register, a checksum */
    from_user(&t, 0, pim_hello(&t, 0, 0x10));
    from_user(&t, 0, pim_hello(&t, 0, 0x21));
    f = pim_hello(&t, 0, 0x20);
    f->data[f->len - 1] ^= 1;
    from_user(&t, 0, f);
    g_assert_cmpuint(hear(&t, t.f->other), ==, C);
    trial_fini(&t);
}

/* --- who hears reports ---------------------------------------------------- */

static void test_reports(gconstpointer data)
{
    GroupRecord r = { GROUP_TO_EXCLUDE, NULL };
    Trial t;
    Frame *mine;

    trial_init(&t, data);
    r.group = t.f->group;
    mine = group_join(t.a->mac, t.f->host[0], t.f->group);
    /* as long as nobody asks it is a frame as any other */
    g_assert_cmpuint(from_user(&t, 0, frame_dup(mine)), ==, B | C);
    ask(&t);
    /* a sibling that heard it would not answer itself */
    g_assert_cmpuint(from_user(&t, 0, frame_dup(mine)), ==, NONE);
    clock_advance(SECONDS(10));
    join(&t, 1, t.f->group);
    g_assert_cmpuint(from_user(&t, 0, frame_dup(mine)), ==, NONE);
    g_assert_cmpuint(from_user(&t, 0, group_report(t.a->mac, t.f->host[0],
                                                   &r, 1)), ==, NONE);
    g_assert_cmpuint(from_user(&t, 0, group_leave(t.a->mac, t.f->host[0],
                                                  t.f->group)), ==, NONE);
    g_assert_cmpuint(from_wire(&t, group_join(gateway_mac, t.f->querier,
                                              t.f->group)), ==, NONE);
    /* a router does */
    from_user(&t, 2, group_query(t.c->mac, t.f->host[2], NULL));
    g_assert_cmpuint(from_user(&t, 0, mine), ==, C);
    g_assert_cmpuint(from_user(&t, 0, group_report(t.a->mac, t.f->host[0],
                                                   &r, 1)), ==, C);
    g_assert_cmpuint(from_wire(&t, group_join(gateway_mac, t.f->querier,
                                              t.f->group)), ==, C);
    trial_fini(&t);
}

/* What comes from the uplink makes nobody a member. */
static void test_uplink_reports(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    from_wire(&t, group_join(gateway_mac, t.f->querier, t.f->group));
    g_assert_cmpuint(hear(&t, t.f->group), ==, NONE);
    trial_fini(&t);
}

static void test_queries_flooded(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    ask(&t);
    g_assert_cmpuint(from_wire(&t, group_query(gateway_mac, t.f->querier,
                                               t.f->group)), ==, ALL);
    g_assert_cmpuint(from_user(&t, 0, group_query(t.a->mac, t.f->host[0],
                                                  t.f->group)), ==, B | C);
    trial_fini(&t);
}

/* --- who hears what else -------------------------------------------------- */

static void test_siblings(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    join(&t, 1, t.f->group);
    g_assert_cmpuint(from_user(&t, 0, udp_group(t.a->mac, t.f->sender[0],
                                                t.f->group)), ==, B);
    g_assert_cmpuint(from_user(&t, 1, udp_group(t.b->mac, t.f->sender[1],
                                                t.f->group)), ==, NONE);
    trial_fini(&t);
}

static void test_always(gconstpointer data)
{
    static const char *const groups4[] = {
        "224.0.0.1", "224.0.0.2", "224.0.0.251", "224.0.0.255",
    };
    static const char *const groups6[] = {
        "ff01::1", "ff02::1", "ff02::2", "ff02::fb", "ff02::1:ff00:1",
        "ff12::5", "ff00::1",
    };
    Trial t;
    uint8_t mac[ETHER_ADDR_LEN];

    trial_init(&t, data);
    ask_and_wait(&t);
    for (unsigned i = 0; i < G_N_ELEMENTS(groups4); i++) {
        g_assert_cmpuint(from_wire(&t, udp_group(gateway_mac, "192.0.2.9",
                                                 groups4[i])), ==, ALL);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(groups6); i++) {
        g_assert_cmpuint(from_wire(&t, udp_group(gateway_mac, "2001:db8::9",
                                                 groups6[i])), ==, ALL);
    }
    mac_of_group(t.f->group, mac);
    /* broadcast, in a VLAN, not IP, not to a group as IP sees it */
    g_assert_cmpuint(from_wire(&t, udp(mac_broadcast, gateway_mac, t.f->far,
                                       t.f->group)), ==, ALL);
    g_assert_cmpuint(from_wire(&t, frame_tag(udp_group(
        gateway_mac, t.f->far, t.f->group), 0x8100, 5)), ==, ALL);
    g_assert_cmpuint(from_wire(&t, frame_eth(mac, gateway_mac, 0x88cc, 50)),
                     ==, ALL);
    g_assert_cmpuint(from_wire(&t, udp(mac, gateway_mac, t.f->far,
                                       t.f->sender[0])), ==, ALL);
    g_assert_cmpuint(from_wire(&t, arp_request(gateway_mac, "192.0.2.1",
                                               "192.0.2.2")), ==, ALL);
    g_assert_cmpuint(from_wire(&t, nd_solicit(gateway_mac, "fe80::1",
                                              "2001:db8::5")), ==, ALL);
    g_assert_cmpuint(hear(&t, t.f->group), ==, NONE);
    trial_fini(&t);
}

/* Fragments say where they go, too. */
static void test_fragments(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    join(&t, 2, t.f->group);
    for (unsigned off = 0; off <= 800; off += 800) {
        g_assert_cmpuint(from_wire(&t, frame_fragment(udp_group(
            gateway_mac, t.f->far, t.f->group), off, true)), ==, C);
    }
    trial_fini(&t);
}

/* First what the NIC wants, then what the guest is a member of. */
static void test_filter(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    ask_and_wait(&t);
    join(&t, 0, t.f->group);
    join(&t, 1, t.f->group);
    t.a->filters = true;
    g_assert_cmpuint(hear(&t, t.f->group), ==, B);
    mac_of_group(t.f->group, t.a->group);
    g_assert_cmpuint(hear(&t, t.f->group), ==, A | B);
    /* its NIC is open for that, but it is no member */
    t.c->filters = true;
    mac_of_group(t.f->group, t.c->group);
    g_assert_cmpuint(hear(&t, t.f->group), ==, A | B);
    trial_fini(&t);
}

static void test_default(gconstpointer data)
{
    Trial t;

    trial_init(&t, data);
    net_del(t.c);
    t.c = t.u[2] = net_add(&t.net, (IpvlanConfig) { .is_default = true });
    ask_and_wait(&t);
    g_assert_cmpuint(hear(&t, t.f->group), ==, C);
    trial_fini(&t);
}

/* In private and vepa the uplink's frames are filtered all the same. */
static void test_flags(gconstpointer data)
{
    for (IpvlanFlag flag = IPVLAN_PRIVATE; flag <= IPVLAN_VEPA; flag++) {
        Trial t = { .f = data };

        net_init(&t.net, IPVLAN_L2_MACNAT, flag);
        for (unsigned i = 0; i < 3; i++) {
            t.u[i] = net_add(&t.net, (IpvlanConfig) { .n_addrs = 0 });
        }
        ask_and_wait(&t);
        join(&t, 1, t.f->group);
        g_assert_cmpuint(hear(&t, t.f->group), ==, B);
        trial_fini(&t);
    }
}

/* --- whatever comes ------------------------------------------------------- */

static Frame *any_message(const Trial *t)
{
    GroupRecord r[] = {
        { GROUP_TO_EXCLUDE, t->f->group, 2, 1 },
        { GROUP_IS_INCLUDE, t->f->other, 3, 0 },
    };

    switch (g_test_rand_int_range(0, 4)) {
    case 0:
        return group_query(t->a->mac, t->f->host[0], NULL);
    case 1:
        return group_query_long(t->a->mac, t->f->host[0], 2, 125);
    case 2:
        return group_join(t->a->mac, t->f->host[0], t->f->group);
    default:
        return group_report(t->a->mac, t->f->host[0], r, 2);
    }
}

/* Any bytes, in pieces of any size: nothing is read that is not there. */
static void test_fuzz(gconstpointer data)
{
    uint64_t seen = 0;
    Trial t;

    trial_init(&t, data);
    for (unsigned i = 0; i < 20000; i++) {
        Frame *f = any_message(&t);
        unsigned l4 = frame_offsets(f).l4, n = 0;
        struct iovec iov[64];
        Packet p;

        for (int k = g_test_rand_int_range(0, 4); k > 0; k--) {
            f->data[g_test_rand_int_range(l4, f->len)] = g_test_rand_int();
        }
        if (g_test_rand_int_range(0, 2)) {
            frame_checksum(f);
        }
        if (!g_test_rand_int_range(0, 4)) {
            shorten(f, g_test_rand_int_range(4, f->len - l4 + 1));
        }
        for (unsigned off = 0; off < f->len; n++) {
            unsigned size = g_test_rand_int_range(1, 40);

            if (n == G_N_ELEMENTS(iov) - 1 || size > f->len - off) {
                size = f->len - off;
            }
            iov[n] = (struct iovec) { f->data + off, size };
            off += size;
        }
        packet_init(&p, iov, n);
        link_xmit(t.a->link, &p);
        frame_free(f);
        g_assert_cmpuint(memberships(t.a), <=, GROUP_MAX);
        seen += memberships(t.a);
        clock_advance(NS_PER_S / 100);
        net_clear(&t.net);
    }
    g_assert_cmpuint(seen, >, 0);
    trial_fini(&t);
}

static void each_family(const char *name, GTestDataFunc fn)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(families); i++) {
        g_autofree char *path = g_strdup_printf("/group/%s/%s",
                                                families[i].name, name);

        g_test_add_data_func(path, &families[i], fn);
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    each_family("querier/none", test_no_querier);
    each_family("querier/first", test_first_query);
    each_family("querier/before", test_before_query);
    each_family("querier/gone", test_querier_gone);
    each_family("querier/guest", test_guest_querier);
    each_family("querier/version3", test_version3);
    each_family("querier/response", test_response);
    each_family("querier/bad", test_bad_query);
    each_family("querier/not-heard", test_not_heard);
    each_family("querier/hostile", test_hostile_querier);
    g_test_add_func("/group/igmp/querier/bad4", test_bad_query4);
    g_test_add_func("/group/mld/querier/bad6", test_bad_query6);
    g_test_add_func("/group/families", test_families);
    each_family("member/some", test_members);
    each_family("member/l2", test_l2);
    each_family("member/expiry", test_expiry);
    each_family("member/slow-answer", test_slow_answer);
    each_family("member/leave", test_leave);
    each_family("member/leave-answered", test_leave_answered);
    g_test_add_func("/group/igmp/member/version1", test_igmp1);
    each_family("member/records", test_records);
    each_family("member/records-many", test_records_many);
    each_family("member/records-cut", test_records_cut);
    each_family("member/not-groups", test_not_groups);
    each_family("member/bad", test_bad_report);
    each_family("member/bad-forwarded", test_bad_forwarded);
    each_family("member/partial", test_partial);
    each_family("member/too-many", test_too_many);
    each_family("member/flood", test_report_flood);
    each_family("member/foreach", test_foreach);
    each_family("member/user-changed", test_user_changed);
    each_family("router/query", test_router_query);
    each_family("router/pim", test_router_pim);
    each_family("reports/siblings", test_reports);
    each_family("reports/uplink", test_uplink_reports);
    each_family("reports/queries", test_queries_flooded);
    each_family("frames/siblings", test_siblings);
    each_family("frames/always", test_always);
    each_family("frames/fragments", test_fragments);
    each_family("frames/filter", test_filter);
    each_family("frames/default", test_default);
    each_family("frames/flags", test_flags);
    each_family("fuzz", test_fuzz);
    return g_test_run();
}
