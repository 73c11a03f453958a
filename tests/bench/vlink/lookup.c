/*
 * Looking an address up, and nothing else: our table beside DPDK's
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "libvlink/ipvlan/addr.h"

#include "lookup.h"

typedef struct OurTable {
    AddrTable table;
    IpvlanAddr *addr;
    unsigned n;
    uint8_t family;
    uint64_t x;
} OurTable;

static GPtrArray *tables;

static inline IpAddr numbered(uint8_t family, unsigned i)
{
    uint8_t b[16];

    bench_addr_put(b, family, i);
    return family == IP_V4 ? ip_v4(b) : ip_v6(b);
}

static void our_table_free(OurTable *t)
{
    addr_table_destroy(&t->table);
    g_free(t->addr);
    g_free(t);
}

static OurTable *our_table_new(uint8_t family, unsigned n)
{
    OurTable *t = g_new0(OurTable, 1);

    t->n = n;
    t->family = family;
    t->x = 88172645463325252;
    t->addr = g_new0(IpvlanAddr, n);
    addr_table_init(&t->table, &bench_platform);
    for (unsigned i = 0; i < n; i++) {
        t->addr[i].prefix = (IpPrefix) {
            numbered(family, i), ip_bits(family),
        };
        t->addr[i].slave = (IpvlanSlave *)&t->addr[i];
        addr_table_insert(&t->table, &t->addr[i]);
    }
    return t;
}

static void our_table_run(void *opaque, unsigned n)
{
    OurTable *t = opaque;

    while (n--) {
        unsigned i = bench_random(&t->x) & (t->n - 1);
        IpAddr a = numbered(t->family, i);
        OwnerSlot *slot = addr_table_lookup(&t->table, &a);

        if (!slot || slot->slave != (IpvlanSlave *)&t->addr[i]) {
            g_error("address %u is not found", i);
        }
    }
}

static void add(GArray *cases, const char *name, uint8_t family, unsigned n,
                void (*run)(void *, unsigned), void *opaque)
{
    bench_add(cases, (BenchCase) {
        .what = g_strdup_printf("lookup/%s/IPv%d/%u", name, family, n),
        .unit = "ns", .run = run, .opaque = opaque,
    });
}

#ifdef HAVE_DPDK
static GPtrArray *dpdk_tables;

static void add_dpdk(GArray *cases, uint8_t family, unsigned n)
{
    static bool asked;
    static const char *why_not;
    DpdkTable *hash, *lpm;

    if (!asked) {
        asked = true;
        why_not = dpdk_init();
        if (why_not) {
            bench_emit_note("dpdk", why_not);
        }
        dpdk_tables =
            g_ptr_array_new_with_free_func((GDestroyNotify)dpdk_table_free);
    }
    if (why_not) {
        return;
    }
    hash = dpdk_hash_new(family, n);
    lpm = dpdk_lpm_new(family, n);
    g_ptr_array_add(dpdk_tables, hash);
    add(cases, "rte_hash", family, n, dpdk_hash_run, hash);
    if (lpm) {
        g_ptr_array_add(dpdk_tables, lpm);
        add(cases, "rte_lpm", family, n, dpdk_lpm_run, lpm);
    }
}
#else
static void add_dpdk(GArray *cases, uint8_t family, unsigned n)
{
    (void)cases;
    if (family == IP_V4 && n == 1) {
        bench_emit_note("dpdk", "DPDK (libdpdk-dev) is not installed");
    }
}
#endif

void lookup_add(GArray *cases, uint8_t family, unsigned n)
{
    OurTable *t = our_table_new(family, n);

    if (!tables) {
        tables = g_ptr_array_new_with_free_func(
            (GDestroyNotify)our_table_free);
    }
    g_ptr_array_add(tables, t);
    add(cases, "ours", family, n, our_table_run, t);
    if (!bench_counting) {
        add_dpdk(cases, family, n);
    }
}

void lookup_free(void)
{
    g_ptr_array_unref(tables);
#ifdef HAVE_DPDK
    g_clear_pointer(&dpdk_tables, g_ptr_array_unref);
#endif
}
