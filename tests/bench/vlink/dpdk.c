/*
 * DPDK's tables, to be compared with ours
 *
 * In memory of the process's own, without huge pages and without devices, as
 * ours are.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <sched.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_lpm.h>
#include <rte_lpm6.h>

#undef NS_PER_S                 /* the library has one of its own */
#include "lookup.h"

struct DpdkTable {
    struct rte_hash *hash;
    struct rte_lpm *lpm;
    struct rte_lpm6 *lpm6;
    uint8_t family;
    unsigned n;
    uint64_t x;
};

const char *dpdk_init(void)
{
    static char *args[] = {
        "bench", "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry",
        "--log-level=critical", "-m", "1400",
    };
    cpu_set_t cpus;
    bool saved = !sched_getaffinity(0, sizeof(cpus), &cpus);

    if (rte_eal_init(G_N_ELEMENTS(args), args) < 0) {
        return "DPDK's environment does not start here";
    }
    /* It has tied this thread to one processor. */
    if (saved) {
        sched_setaffinity(0, sizeof(cpus), &cpus);
    }
    return NULL;
}

static DpdkTable *table_new(uint8_t family, unsigned n)
{
    DpdkTable *t = g_new0(DpdkTable, 1);

    *t = (DpdkTable) { .family = family, .n = n, .x = 88172645463325252 };
    return t;
}

static void must(bool done, const char *what)
{
    if (!done) {
        g_error("%s: %s", what, rte_strerror(rte_errno));
    }
}

DpdkTable *dpdk_hash_new(uint8_t family, unsigned n)
{
    g_autofree char *name = g_strdup_printf("hash-%d-%u", family, n);
    DpdkTable *t = table_new(family, n);
    /* At most half full, as ours is; NULL: its own choice of a function. */
    struct rte_hash_parameters params = {
        .name = name, .entries = MAX(n * 2, 16),
        .key_len = family == IP_V4 ? 4 : 16,
    };
    uint8_t key[16] = { 0 };

    t->hash = rte_hash_create(&params);
    must(t->hash, "rte_hash_create");
    for (unsigned i = 0; i < n; i++) {
        bench_addr_put(key, family, i);
        must(rte_hash_add_key_data(t->hash, key,
                                   GUINT_TO_POINTER(i)) == 0, "rte_hash_add");
    }
    return t;
}

void dpdk_table_free(DpdkTable *t)
{
    rte_hash_free(t->hash);
    rte_lpm_free(t->lpm);
    rte_lpm6_free(t->lpm6);
    g_free(t);
}

/* So many random IPv6 addresses would take half a gigabyte. */
#define LPM6_MAX 4096

DpdkTable *dpdk_lpm_new(uint8_t family, unsigned n)
{
    g_autofree char *name = g_strdup_printf("lpm-%d-%u", family, n);
    DpdkTable *t = table_new(family, n);
    struct rte_lpm_config config = {
        .max_rules = MAX(n, 16), .number_tbl8s = n + 16,
    };
    struct rte_lpm6_config config6 = {
        .max_rules = MAX(n, 16), .number_tbl8s = n * 8 + 256,
    };
    uint8_t key[16] = { 0 };

    if (family == IP_V6 && n > LPM6_MAX) {
        dpdk_table_free(t);
        return NULL;
    }
    if (family == IP_V4) {
        t->lpm = rte_lpm_create(name, 0, &config);
    } else {
        t->lpm6 = rte_lpm6_create(name, 0, &config6);
    }
    must(t->lpm || t->lpm6, "rte_lpm_create");
    for (unsigned i = 0; i < n; i++) {
        uint32_t host;
        int done;

        bench_addr_put(key, family, i);
        memcpy(&host, key, 4);
        done = t->lpm ? rte_lpm_add(t->lpm, GUINT32_FROM_BE(host), 32,
                                    i & 0xffffff) :
               rte_lpm6_add(t->lpm6, key, 128, i & 0x1fffff);
        if (done < 0) {
            g_error("rte_lpm_add: %s", rte_strerror(-done));
        }
    }
    return t;
}

void dpdk_hash_run(void *opaque, unsigned n)
{
    DpdkTable *t = opaque;

    while (n--) {
        unsigned i = bench_random(&t->x) & (t->n - 1);
        uint8_t key[16];
        void *data;

        bench_addr_put(key, t->family, i);
        if (rte_hash_lookup_data(t->hash, key, &data) < 0 ||
            data != GUINT_TO_POINTER(i)) {
            g_error("rte_hash_lookup: key %u is not found", i);
        }
    }
}

static void lpm6_run(DpdkTable *t, unsigned n)
{
    while (n--) {
        unsigned i = bench_random(&t->x) & (t->n - 1);
        uint8_t key[16];
        uint32_t next;

        bench_addr_put(key, t->family, i);
        if (rte_lpm6_lookup(t->lpm6, key, &next) || next != i) {
            g_error("rte_lpm6_lookup: key %u is not found", i);
        }
    }
}

void dpdk_lpm_run(void *opaque, unsigned n)
{
    DpdkTable *t = opaque;

    if (t->lpm6) {
        lpm6_run(t, n);
        return;
    }
    while (n--) {
        unsigned i = bench_random(&t->x) & (t->n - 1);
        uint32_t key, next;

        bench_addr_put((uint8_t *)&key, IP_V4, i);
        if (rte_lpm_lookup(t->lpm, GUINT32_FROM_BE(key), &next) ||
            next != i) {
            g_error("rte_lpm_lookup: key %u is not found", i);
        }
    }
}
