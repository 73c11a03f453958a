/*
 * The table of flows, against a simple model of it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "libvlink/ipvlan/flow.h"

static FlowTable t;
static FlowPayer payer[5];
static uint32_t now;

static void start_on(const LinkPlatform *platform)
{
    now = 1000;
    flow_table_init(&t, platform);
    for (unsigned i = 0; i < G_N_ELEMENTS(payer); i++) {
        flow_payer_add(&t, &payer[i]);
    }
}

static void start(void)
{
    start_on(&test_platform);
}

static void stop(void)
{
    flow_table_destroy(&t);
}

static FlowKey key_of(uint32_t n)
{
    FlowKey key = { .kind = flow_kind(IP_V4, 17, FLOW_CLASS_WHOLE) };
    IpAddr src = ip("10.0.0.1"), dst = ip("10.0.0.2");

    flow_key(&key, &src, &dst, n & 0xffff, n >> 16, 1, 2);
    return key;
}

static Flow *find(uint32_t n)
{
    FlowKey key = key_of(n);

    return flow_find(&t, &key, flow_hash(&t, key.q, key.kind));
}

static Flow *insert(uint32_t n, FlowPayer *who, FlowState state)
{
    FlowKey key = key_of(n);

    return flow_insert(&t, &key, flow_hash(&t, key.q, key.kind), who, state,
                       now);
}

/* A packet of it. */
static void touch(Flow *f)
{
    f->deadline = flow_deadline(f->state, now);
}

static void run_until(uint32_t tick)
{
    now = tick;
    while (!flow_expire(&t, now, 64)) {
        continue;
    }
}

/* --- keys ---------------------------------------------------------------- */

static void test_key(void)
{
    static const char *const addrs[] = {
        "10.0.0.1", "10.0.0.2", "255.0.0.1", "::1", "2001:db8::1",
        "2001:db8::2", "2001:db9::1", "ffff::",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(addrs); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(addrs); j++) {
            IpAddr a = ip(addrs[i]), b = ip(addrs[j]);
            FlowKey there = { .kind = 1 }, back = { .kind = 1 };
            FlowKey other = { .kind = 1 };
            unsigned s = flow_key(&there, &a, &b, 4000, 80, 7, 0);
            unsigned r = flow_key(&back, &b, &a, 80, 4000, 0, 7);
            Flow f = { .kind = 1 };

            g_assert_cmpuint(s, !=, r);
            memcpy(f.q, there.q, sizeof(f.q));
            g_assert_true(flow_is(&f, &back));
            g_assert_cmpuint(flow_slave(&f, s), ==, 7);
            g_assert_cmpuint(flow_slave(&f, r), ==, 0);
            /* the same numbers at the other ends are another flow */
            flow_key(&other, &a, &b, 80, 4000, 7, 0);
            g_assert_false(flow_is(&f, &other));
            flow_key(&other, &a, &b, 4000, 80, 0, 7);
            g_assert_false(flow_is(&f, &other));
            if (i != j) {
                flow_key(&other, &b, &a, 4000, 80, 7, 0);
                g_assert_false(flow_is(&f, &other));
            }
        }
    }
}

/* --- the hash table ------------------------------------------------------ */

static void check_against(GHashTable *model, uint32_t n_keys)
{
    g_assert_cmpuint(t.n, ==, g_hash_table_size(model));
    for (uint32_t n = 0; n < n_keys; n++) {
        Flow *f = find(n);

        g_assert_true(f == g_hash_table_lookup(model, GUINT_TO_POINTER(n)));
    }
}

static void random_changes(uint32_t n_keys, unsigned steps)
{
    g_autoptr(GHashTable) model = g_hash_table_new(NULL, NULL);

    for (unsigned i = 0; i < steps; i++) {
        uint32_t n = g_test_rand_int_range(0, n_keys);
        Flow *f = find(n);

        g_assert_true(f == g_hash_table_lookup(model, GUINT_TO_POINTER(n)));
        if (f) {
            flow_remove(&t, f);
            g_hash_table_remove(model, GUINT_TO_POINTER(n));
        } else {
            f = insert(n, &payer[n % G_N_ELEMENTS(payer)], FLOW_UDP);
            g_hash_table_insert(model, GUINT_TO_POINTER(n), f);
        }
        if (i % (steps / 8) == 0) {
            check_against(model, n_keys);
        }
    }
    check_against(model, n_keys);
}

static void test_table(void)
{
    start();
    random_changes(500, 20000);
    stop();
    start();
    random_changes(60000, 300000);
    stop();
}

static unsigned good_after;

static void bad_random(void *buf, size_t len)
{
    if (good_after) {
        good_after--;
        memset(buf, 0, len);
    } else {
        test_platform.random(buf, len);
    }
}

/* Secrets by which many keys have one hash are given up. */
static void test_bad_secrets(void)
{
    LinkPlatform platform = test_platform;

    platform.random = bad_random;
    good_after = 3;
    start_on(&platform);
    /* ports alone are different, and those have a secret that is zero */
    random_changes(5000, 20000);
    g_assert_cmpuint(good_after, ==, 0);
    stop();
}

/* --- making room --------------------------------------------------------- */

static void test_fair(void)
{
    unsigned n = 0;

    start();
    for (; n < FLOW_MAX; n++) {
        insert(n, &payer[0], FLOW_UDP);
    }
    /* each new one costs who has most, until all have nearly the same */
    for (unsigned i = 1; i < G_N_ELEMENTS(payer); i++) {
        for (unsigned k = 0; k < FLOW_MAX; k++) {
            insert(n++, &payer[i], FLOW_UDP);
            g_assert_cmpuint(t.n, ==, FLOW_MAX);
        }
        for (unsigned k = 0; k <= i; k++) {
            g_assert_cmpuint(payer[k].n, >=, FLOW_MAX / (i + 1) - 1);
            g_assert_cmpuint(payer[k].n, <=, FLOW_MAX / (i + 1) + 1);
        }
    }
    stop();
}

/* Whatever happens, nobody who has fewer than another one loses a flow. */
static void test_fair_random(void)
{
    unsigned n = 0, made_room = 0;

    start();
    for (unsigned i = 0; i < 300000; i++) {
        unsigned k = MIN(g_test_rand_int_range(0, 5),
                         g_test_rand_int_range(0, 5));
        unsigned most = 0, before[G_N_ELEMENTS(payer)];

        for (unsigned j = 0; j < G_N_ELEMENTS(payer); j++) {
            before[j] = payer[j].n;
            most = MAX(most, payer[j].n);
        }
        if (i % 7 == 0) {
            Flow *f = find(g_test_rand_int_range(0, n + 1));

            if (f) {
                flow_remove(&t, f);
            }
            continue;
        }
        made_room += t.n == FLOW_MAX;
        insert(n++, &payer[k], g_test_rand_bit() ? FLOW_UDP : FLOW_FRAGMENT);
        for (unsigned j = 0; j < G_N_ELEMENTS(payer); j++) {
            if (payer[j].n < before[j]) {
                g_assert_cmpuint(before[j], ==, most);
            }
        }
    }
    g_assert_cmpuint(made_room, >, 1000);
    stop();
}

static void test_longest_idle(void)
{
    unsigned n;

    start();
    for (n = 0; n < FLOW_MAX; n++) {
        insert(n, &payer[0], FLOW_UDP);
    }
    now++;
    for (unsigned i = 0; i < FLOW_MAX; i++) {
        if (i % 2) {
            touch(find(i));
        }
    }
    for (unsigned i = 0; i < FLOW_MAX / 2; i++) {
        insert(n++, &payer[1], FLOW_UDP);
    }
    for (unsigned i = 0; i < FLOW_MAX; i++) {
        g_assert_cmpint(find(i) != NULL, ==, i % 2);
    }
    stop();
}

/* Where all are in use one goes nevertheless, and none of somebody else's. */
static void test_all_busy(void)
{
    unsigned n;

    start();
    insert(0, &payer[1], FLOW_UDP);
    for (n = 1; n < FLOW_MAX; n++) {
        insert(n, &payer[0], FLOW_UDP);
    }
    for (unsigned k = 0; k < 20; k++) {
        now++;
        for (unsigned i = 1; i < FLOW_MAX; i++) {
            Flow *f = find(i);

            if (f) {
                touch(f);
            }
        }
        insert(n++, &payer[1], FLOW_UDP);
        g_assert_cmpuint(t.n, ==, FLOW_MAX);
    }
    g_assert_cmpuint(payer[1].n, ==, 21);
    g_assert_nonnull(find(0));
    stop();
}

static void test_fragments(void)
{
    start();
    insert(0, &payer[0], FLOW_TCP_ESTABLISHED);
    for (unsigned n = 1; n <= 2 * FLOW_MAX_FRAGMENTS; n++) {
        insert(n, &payer[0], FLOW_FRAGMENT);
        insert(1000000 + n, &payer[1], FLOW_FRAGMENT);
    }
    g_assert_nonnull(find(0));
    g_assert_cmpuint(payer[0].n, ==, FLOW_MAX_FRAGMENTS + 1);
    g_assert_cmpuint(payer[0].n_fragments, ==, FLOW_MAX_FRAGMENTS);
    g_assert_null(find(FLOW_MAX_FRAGMENTS));
    g_assert_nonnull(find(FLOW_MAX_FRAGMENTS + 1));
    g_assert_cmpuint(t.n, ==, 2 * FLOW_MAX_FRAGMENTS + 1);

    /* who has most loses those first */
    for (unsigned n = 0; t.n < FLOW_MAX; n++) {
        insert(2000000 + n, &payer[0], FLOW_UDP);
    }
    insert(3000000, &payer[2], FLOW_UDP);
    g_assert_cmpuint(payer[0].n_fragments, ==, FLOW_MAX_FRAGMENTS - 1);
    g_assert_null(find(FLOW_MAX_FRAGMENTS + 1));
    g_assert_nonnull(find(0));
    stop();
}

static void test_forget(void)
{
    start();
    for (unsigned n = 0; n < 100; n++) {
        Flow *f = insert(n, &payer[n % 5], FLOW_UDP);

        f->rule[n % 2] = n % 3 ? (IpvlanRule *)&t : (IpvlanRule *)&now;
    }
    flow_forget_rule(&t, (IpvlanRule *)&t);
    g_assert_cmpuint(t.n, ==, 34);
    flow_forget_slave(&t, 3);
    g_assert_cmpuint(t.n, ==, 34);
    flow_forget_slave(&t, 2);
    g_assert_cmpuint(t.n, ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(payer); i++) {
        g_assert_cmpuint(payer[i].n, ==, 0);
        flow_payer_del(&t, &payer[i]);
    }
    stop();
}

/* --- expiry -------------------------------------------------------------- */

static void test_expiry(void)
{
    start();
    for (unsigned state = 1; state < FLOW_STATES; state++) {
        uint32_t when = now + flow_timeout[state] + 1;
        uint32_t next;

        insert(state, &payer[0], state);
        while ((next = flow_next_expiry(&t)) < when) {
            g_assert_cmpuint(next, >, now);
            g_assert_cmpuint(next, <=, now + FLOW_WHEEL);
            run_until(next);
            g_assert_nonnull(find(state));
        }
        g_assert_cmpuint(next, ==, when);
        run_until(when - 1);
        g_assert_nonnull(find(state));
        g_assert_true(flow_is_live(find(state), now));
        g_assert_false(flow_is_live(find(state), when));
        run_until(when);
        g_assert_null(find(state));
        g_assert_cmpuint(flow_next_expiry(&t), ==, 0);
    }
    stop();
}

/* Where it gets less time than it had, it goes earlier than it was filed. */
static void test_shorter(void)
{
    Flow *f;

    start();
    f = insert(1, &payer[0], FLOW_TCP_ESTABLISHED);
    run_until(now + 10);
    flow_set_state(&t, f, FLOW_TCP_CLOSE, now);
    g_assert_cmpuint(flow_next_expiry(&t), ==, now + 41);
    run_until(now + 41);
    g_assert_cmpuint(t.n, ==, 0);
    stop();
}

/*
 * Flows come, have packets, change, and expire; the wheel is turned when it
 * asks for it, sometimes much later.
 */
static void test_expiry_random(void)
{
    enum { KEYS = 400 };
    uint32_t deadline[KEYS] = { 0 };

    start();
    for (unsigned i = 0; i < 300000; i++) {
        uint32_t n = g_test_rand_int_range(0, KEYS);
        FlowState state = g_test_rand_int_range(1, FLOW_STATES - 1);
        uint32_t next = flow_next_expiry(&t);
        Flow *f;

        now += g_test_rand_int_range(0, i % 1000 ? 8 : 5000);
        if (next && next <= now) {
            run_until(now);
        }
        for (unsigned k = 0; i % 64 == 0 && k < KEYS; k++) {
            g_assert_cmpint(find(k) != NULL, ==, deadline[k] > now);
        }
        f = find(n);
        g_assert_cmpint(f != NULL, ==, deadline[n] > now);
        if (!f) {
            f = insert(n, &payer[n % 5], state);
        } else if (i % 3 == 0) {
            flow_set_state(&t, f, state, now);
        } else {
            touch(f);
        }
        deadline[n] = now + flow_timeout[f->state] + 1;
        g_assert_cmpuint(f->deadline, ==, deadline[n]);
    }
    stop();
}

/* However many expire at once, one call does not take long. */
static void test_budget(void)
{
    unsigned calls = 1, n = 0;

    start();
    for (; n < 10000; n++) {
        insert(n, &payer[0], FLOW_UDP);
    }
    now += flow_timeout[FLOW_UDP] + 1;
    while (!flow_expire(&t, now, 100)) {
        g_assert_cmpuint(t.n, ==, n - calls * 100);
        /* in between there are others */
        insert(1000000 + calls, &payer[1], FLOW_UDP);
        n++;
        calls++;
    }
    g_assert_cmpuint(calls, ==, 100);
    g_assert_cmpuint(t.n, ==, 99);
    run_until(now + flow_timeout[FLOW_UDP] + 1);
    g_assert_cmpuint(t.n, ==, 0);
    stop();
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/flow/key", test_key);
    g_test_add_func("/flow/table", test_table);
    g_test_add_func("/flow/bad-secrets", test_bad_secrets);
    g_test_add_func("/flow/room/fair", test_fair);
    g_test_add_func("/flow/room/random", test_fair_random);
    g_test_add_func("/flow/room/longest-idle", test_longest_idle);
    g_test_add_func("/flow/room/all-busy", test_all_busy);
    g_test_add_func("/flow/room/fragments", test_fragments);
    g_test_add_func("/flow/forget", test_forget);
    g_test_add_func("/flow/expiry/states", test_expiry);
    g_test_add_func("/flow/expiry/shorter", test_shorter);
    g_test_add_func("/flow/expiry/random", test_expiry_random);
    g_test_add_func("/flow/expiry/budget", test_budget);
    return g_test_run();
}
