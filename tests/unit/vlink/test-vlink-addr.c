/*
 * libvlink: the table of addresses and prefixes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "libvlink/ipvlan/addr.h"

static IpvlanAddr *entry(AddrTable *t, const char *text)
{
    IpvlanAddr *a = g_new0(IpvlanAddr, 1);

    a->prefix = prefix(text);
    addr_table_insert(t, a);
    return a;
}

static void entry_free(AddrTable *t, IpvlanAddr *a)
{
    addr_table_remove(t, a);
    g_free(a);
}

static IpvlanAddr *lookup(const AddrTable *t, const char *text)
{
    IpAddr a = ip(text);

    return addr_table_entry(t, addr_table_lookup(t, &a));
}

static IpvlanAddr *find(const AddrTable *t, const char *text)
{
    IpPrefix p = prefix(text);

    return addr_table_entry(t, addr_table_find(t, &p));
}

/* Groups, loopbacks, "this network" and no address at all are nobody's. */
static void test_ownable(void)
{
    static const char *const good[] = {
        "10.0.0.1", "1.0.0.0", "223.255.255.255", "240.0.0.1",
        "fe80::1", "2001:db8::", "::2", "fdff::",
    };
    static const char *const bad[] = {
        "0.0.0.0", "0.0.0.1", "127.0.0.1", "127.255.255.255", "224.0.0.1",
        "239.255.255.255", "255.255.255.255", "::", "::1", "ff02::1",
        "ffff::",
    };
    IpAddr none = { .b = { 10, 0, 0, 1 }, .family = IP_NONE };

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        IpAddr a = ip(good[i]);

        g_assert_true(ip_is_ownable(&a));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        IpAddr a = ip(bad[i]);

        g_assert_false(ip_is_ownable(&a));
    }
    g_assert_false(ip_is_ownable(&none));
}

static void test_exact(void)
{
    IpvlanAddr *four, *six;
    IpAddr none = { .family = IP_NONE };
    AddrTable t;

    addr_table_init(&t, &test_platform);
    g_assert_null(lookup(&t, "10.0.0.1"));
    four = entry(&t, "10.0.0.1");
    six = entry(&t, "fd00::1");
    g_assert_true(lookup(&t, "10.0.0.1") == four);
    g_assert_true(lookup(&t, "fd00::1") == six);
    g_assert_null(lookup(&t, "10.0.0.2"));
    g_assert_null(lookup(&t, "fd00::2"));
    /* the same bytes in the other family */
    g_assert_null(lookup(&t, "a00:1::"));
    g_assert_null(addr_table_lookup(&t, &none));
    entry_free(&t, four);
    g_assert_null(lookup(&t, "10.0.0.1"));
    g_assert_true(lookup(&t, "fd00::1") == six);
    entry_free(&t, six);
    g_assert_cmpuint(addr_table_count(&t), ==, 0);
    addr_table_destroy(&t);
}

static void test_longest(void)
{
    IpvlanAddr *e8, *e16, *e23, *e32;
    AddrTable t;

    addr_table_init(&t, &test_platform);
    e16 = entry(&t, "10.1.0.0/16");
    e32 = entry(&t, "10.1.2.3");
    e8 = entry(&t, "10.0.0.0/8");
    e23 = entry(&t, "10.1.2.0/23");
    g_assert_true(lookup(&t, "10.1.2.3") == e32);
    g_assert_true(lookup(&t, "10.1.2.4") == e23);
    g_assert_true(lookup(&t, "10.1.3.255") == e23);
    g_assert_true(lookup(&t, "10.1.4.0") == e16);
    g_assert_true(lookup(&t, "10.2.0.0") == e8);
    g_assert_null(lookup(&t, "11.0.0.0"));
    entry_free(&t, e23);
    g_assert_true(lookup(&t, "10.1.2.4") == e16);
    entry_free(&t, e16);
    g_assert_true(lookup(&t, "10.1.2.4") == e8);
    entry_free(&t, e8);
    g_assert_null(lookup(&t, "10.1.2.4"));
    g_assert_true(lookup(&t, "10.1.2.3") == e32);
    entry_free(&t, e32);
    addr_table_destroy(&t);
}

static void test_longest6(void)
{
    IpvlanAddr *e1, *e48, *e64, *e65, *e128;
    AddrTable t;

    addr_table_init(&t, &test_platform);
    e64 = entry(&t, "fd00:0:0:1::/64");
    e1 = entry(&t, "8000::/1");
    e128 = entry(&t, "fd00:0:0:1::1");
    e65 = entry(&t, "fd00:0:0:1:8000::/65");
    e48 = entry(&t, "fd00::/48");
    g_assert_true(lookup(&t, "fd00:0:0:1::1") == e128);
    g_assert_true(lookup(&t, "fd00:0:0:1::2") == e64);
    g_assert_true(lookup(&t, "fd00:0:0:1:8000::2") == e65);
    g_assert_true(lookup(&t, "fd00:0:0:2::") == e48);
    g_assert_true(lookup(&t, "fd00:0:1::") == e1);
    g_assert_null(lookup(&t, "7fff::"));
    entry_free(&t, e64);
    entry_free(&t, e1);
    entry_free(&t, e128);
    entry_free(&t, e65);
    entry_free(&t, e48);
    addr_table_destroy(&t);
}

/* The same bits in two lengths are two entries. */
static void test_same_bits(void)
{
    IpvlanAddr *a, *b;
    AddrTable t;

    addr_table_init(&t, &test_platform);
    a = entry(&t, "10.0.0.0/8");
    b = entry(&t, "10.0.0.0/16");
    g_assert_true(find(&t, "10.0.0.0/8") == a);
    g_assert_true(find(&t, "10.0.0.0/16") == b);
    g_assert_null(find(&t, "10.0.0.0/12"));
    g_assert_null(find(&t, "10.0.0.0"));
    entry_free(&t, a);
    g_assert_true(find(&t, "10.0.0.0/16") == b);
    entry_free(&t, b);
    addr_table_destroy(&t);
}

/* --- many, against a model ------------------------------------------------ */

/* One of 2^20 prefixes, some of them nested. */
static IpPrefix random_prefix(void)
{
    unsigned kind = g_test_rand_int_range(0, 4);
    uint32_t n = g_test_rand_int_range(0, 1 << 18);
    uint8_t b[16] = { 0xfd, [6] = n >> 16, n >> 8, n };
    IpPrefix p;

    if (kind < 2) {
        p.addr = ip_v6(b);
        p.len = kind ? 128 : 64;
    } else {
        p.addr = ip_v4((uint8_t[]) { 10, n >> 16, n >> 8, n });
        p.len = kind == 2 ? 32 : 25;
    }
    p.addr = ip_mask(&p.addr, p.len);
    return p;
}

static guint prefix_hash(gconstpointer key)
{
    const IpPrefix *p = key;

    return p->addr.w[0] ^ p->addr.w[1] * 31 ^ p->len * 77 ^ p->addr.family;
}

static gboolean prefix_equal(gconstpointer a, gconstpointer b)
{
    const IpPrefix *p = a, *q = b;

    return p->len == q->len && ip_equal(&p->addr, &q->addr);
}

static IpvlanAddr *model_lookup(GHashTable *model, const IpAddr *addr)
{
    static const uint8_t lens[] = { 128, 64, 32, 25 };

    for (unsigned i = 0; i < G_N_ELEMENTS(lens); i++) {
        IpPrefix p = { .len = lens[i] };
        IpvlanAddr *a;

        if (lens[i] > ip_bits(addr->family)) {
            continue;
        }
        p.addr = ip_mask(addr, lens[i]);
        a = g_hash_table_lookup(model, &p);
        if (a) {
            return a;
        }
    }
    return NULL;
}

static void model_add(GHashTable *model, AddrTable *t, const IpPrefix *p)
{
    IpvlanAddr *a = g_new0(IpvlanAddr, 1);

    a->prefix = *p;
    addr_table_insert(t, a);
    g_hash_table_insert(model, &a->prefix, a);
}

static void model_del(GHashTable *model, AddrTable *t, IpvlanAddr *a)
{
    g_hash_table_remove(model, &a->prefix);
    entry_free(t, a);
}

static void model_step(GHashTable *model, AddrTable *t, bool grow)
{
    IpPrefix p = random_prefix();
    IpvlanAddr *a = addr_table_entry(t, addr_table_find(t, &p));

    g_assert_true(a == g_hash_table_lookup(model, &p));
    if (!a && (grow || g_test_rand_bit())) {
        model_add(model, t, &p);
    } else if (a && (!grow || !g_test_rand_int_range(0, 8))) {
        model_del(model, t, a);
    }
    p = random_prefix();
    a = addr_table_entry(t, addr_table_lookup(t, &p.addr));
    g_assert_true(a == model_lookup(model, &p.addr));
}

static void model_check_all(GHashTable *model, AddrTable *t)
{
    GHashTableIter iter;
    gpointer key, a;

    g_assert_cmpuint(addr_table_count(t), ==, g_hash_table_size(model));
    g_hash_table_iter_init(&iter, model);
    while (g_hash_table_iter_next(&iter, &key, &a)) {
        g_assert_true(addr_table_entry(t, addr_table_find(t, key)) == a);
    }
}

static void model_empty(GHashTable *model, AddrTable *t)
{
    g_autoptr(GList) all = g_hash_table_get_values(model);
    unsigned i = 0;

    for (GList *l = all; l; l = l->next) {
        model_del(model, t, l->data);
        if (++i % 4096 == 0) {
            model_check_all(model, t);
        }
    }
    g_assert_cmpuint(addr_table_count(t), ==, 0);
    g_assert_cmpuint(t->v4.n + t->v6.n, ==, 0);
}

static void test_model(void)
{
    g_autoptr(GHashTable) model = g_hash_table_new(prefix_hash, prefix_equal);
    AddrTable t;

    addr_table_init(&t, &test_platform);
    while (addr_table_count(&t) < 65536) {
        model_step(model, &t, true);
    }
    model_check_all(model, &t);
    for (unsigned i = 0; i < 100000; i++) {
        model_step(model, &t, false);
    }
    model_check_all(model, &t);
    model_empty(model, &t);
    addr_table_destroy(&t);
}

/* --- collisions ----------------------------------------------------------- */

#define CLUSTER 16              /* what fits without growing */

/* Where the table would like to have @a. */
static uint32_t home_in(const AddrTable *t, const IpvlanAddr *a)
{
    const IpAddr *addr = &a->prefix.addr;

    return owner_home(&t->owners, addr->q[0], addr->q[1],
                      addr->family << 8 | a->prefix.len);
}

static IpvlanAddr *numbered(uint32_t i)
{
    uint32_t be = GUINT32_TO_BE(0x0a000000 | i);
    IpvlanAddr *a = g_new0(IpvlanAddr, 1);

    a->prefix = (IpPrefix) { ip_v4(&be), 32 };
    return a;
}

/* Entries whose home is one of the table's last two slots. */
static void find_cluster(AddrTable *t, IpvlanAddr **all)
{
    unsigned n = 0;

    for (uint32_t i = 1; n < CLUSTER; i++) {
        IpvlanAddr *a = numbered(i);

        if (home_in(t, a) >= t->owners.mask - 1) {
            all[n++] = a;
        } else {
            g_free(a);
        }
    }
}

static void check_cluster(AddrTable *t, IpvlanAddr **all, const bool *in)
{
    for (unsigned i = 0; i < CLUSTER; i++) {
        OwnerSlot *slot = addr_table_lookup(t, &all[i]->prefix.addr);

        g_assert_true(addr_table_entry(t, slot) == (in[i] ? all[i] : NULL));
    }
}

/* One cluster round the table's end: whoever goes, the others are found. */
static void test_collisions(void)
{
    IpvlanAddr *all[CLUSTER];
    bool in[CLUSTER] = { false };
    AddrTable t;

    addr_table_init(&t, &test_platform);
    find_cluster(&t, all);
    for (unsigned i = 0; i < 5000; i++) {
        unsigned k = g_test_rand_int_range(0, CLUSTER);

        if (in[k]) {
            addr_table_remove(&t, all[k]);
        } else {
            addr_table_insert(&t, all[k]);
        }
        in[k] = !in[k];
        check_cluster(&t, all, in);
    }
    for (unsigned i = 0; i < CLUSTER; i++) {
        if (in[i]) {
            addr_table_remove(&t, all[i]);
        }
        g_free(all[i]);
    }
    addr_table_destroy(&t);
}

#define MANY 1000

static void free_all(AddrTable *t, IpvlanAddr **all)
{
    for (unsigned i = 0; i < MANY; i++) {
        entry_free(t, all[i]);
    }
}

/* What collides in one table does not in another. */
static void test_keyed(void)
{
    IpvlanAddr *all[MANY];
    unsigned same = 0;
    AddrTable t, u;

    addr_table_init(&t, &test_platform);
    addr_table_init(&u, &test_platform);
    for (unsigned i = 0; i < MANY; i++) {
        all[i] = numbered(i);
        g_assert_cmpuint(home_in(&t, all[i]), <=, t.owners.mask);
        same += home_in(&t, all[i]) == home_in(&u, all[i]);
        addr_table_insert(&t, all[i]);
    }
    /* of 64 slots: one in 64 */
    g_assert_cmpuint(same, <, MANY / 16);
    free_all(&t, all);
    addr_table_destroy(&t);
    addr_table_destroy(&u);
}

static unsigned asked;

/* Secrets for which all addresses of IPv4 have one home; then better ones. */
static void bad_random(void *buf, size_t len)
{
    if (asked++) {
        test_platform.random(buf, len);
    } else {
        memset(buf, 0, len);
    }
}

/* Whoever has found out the secrets has them no more when it uses them. */
static void test_secrets_change(void)
{
    LinkPlatform platform = test_platform;
    IpvlanAddr *all[MANY];
    AddrTable t;

    asked = 0;
    platform.random = bad_random;
    addr_table_init(&t, &platform);
    for (unsigned i = 0; i < MANY; i++) {
        all[i] = numbered(i);
        addr_table_insert(&t, all[i])->used = i;
    }
    g_assert_cmpuint(asked, ==, 2);
    for (unsigned i = 0; i < MANY; i++) {
        OwnerSlot *slot = addr_table_find(&t, &all[i]->prefix);

        g_assert_true(addr_table_entry(&t, slot) == all[i]);
        g_assert_cmpuint(slot->used, ==, i);
    }
    free_all(&t, all);
    addr_table_destroy(&t);
}

/* --- what lies in the slot ------------------------------------------------ */

/* It moves with its slot: when the table grows, shrinks, or closes a gap. */
static void test_used(void)
{
    IpvlanSlave *slave = (IpvlanSlave *)&asked;
    IpvlanAddr *all[MANY];
    AddrTable t;

    addr_table_init(&t, &test_platform);
    for (unsigned i = 0; i < MANY; i++) {
        OwnerSlot *slot;

        all[i] = numbered(i);
        all[i]->slave = slave;
        slot = addr_table_insert(&t, all[i]);
        g_assert_cmpuint(slot->used, ==, 0);
        slot->used = ((uint64_t)i + 1) << 37;
    }
    for (unsigned i = 0; i < MANY; i++) {
        entry_free(&t, all[i]);
        for (unsigned k = i + 1; k < MANY; k += 7) {
            OwnerSlot *slot = addr_table_lookup(&t, &all[k]->prefix.addr);

            g_assert_true(slot->slave == slave);
            g_assert_cmpuint(slot->used, ==, ((uint64_t)k + 1) << 37);
        }
    }
    g_assert_cmpuint(t.owners.mask, <, 64);
    addr_table_destroy(&t);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/addr/ownable", test_ownable);
    g_test_add_func("/addr/exact", test_exact);
    g_test_add_func("/addr/longest/ipv4", test_longest);
    g_test_add_func("/addr/longest/ipv6", test_longest6);
    g_test_add_func("/addr/same-bits", test_same_bits);
    g_test_add_func("/addr/model", test_model);
    g_test_add_func("/addr/collisions", test_collisions);
    g_test_add_func("/addr/keyed", test_keyed);
    g_test_add_func("/addr/secrets-change", test_secrets_change);
    g_test_add_func("/addr/used", test_used);
    return g_test_run();
}
