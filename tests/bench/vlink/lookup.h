/*
 * Looking an address up, and nothing else: our table beside DPDK's
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BENCH_VLINK_LOOKUP_H
#define BENCH_VLINK_LOOKUP_H

#include "common.h"

/*
 * Write the address with this number to a frame: 10/8, or 2001:db8::/64.  In
 * one piece: a load of what was stored in smaller pieces waits until all that
 * was before has been done, other lookups too.
 */
static inline void bench_addr_put(uint8_t *at, uint8_t family, uint32_t i)
{
    if (family == IP_V4) {
        /* odd, so that no two numbers have the same address */
        uint32_t low = (i + 1) * 0x9e3779b1u;

        low = GUINT32_TO_BE(10 << 24 | (low & 0xffffff));
        memcpy(at, &low, sizeof(low));
    } else {
        typedef uint64_t Two __attribute__((vector_size(16)));
        uint64_t low = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
        Two both = { GUINT64_TO_BE(UINT64_C(0x20010db800000000)), low };

        memcpy(at, &both, sizeof(both));
    }
}

/* Add a case for each table that there is. */
void lookup_add(GArray *cases, uint8_t family, unsigned n);
void lookup_free(void);

/*
 * dpdk.c, where there is DPDK: the tables that it has.  The keys are those of
 * bench_addr_put().
 */
typedef struct DpdkTable DpdkTable;

/* NULL, or why DPDK does not run here. */
const char *dpdk_init(void);
DpdkTable *dpdk_hash_new(uint8_t family, unsigned n);
/* NULL where it would need too much memory. */
DpdkTable *dpdk_lpm_new(uint8_t family, unsigned n);
void dpdk_table_free(DpdkTable *t);
/* Look up @n random keys; of a DpdkTable. */
void dpdk_hash_run(void *t, unsigned n);
void dpdk_lpm_run(void *t, unsigned n);

#endif
