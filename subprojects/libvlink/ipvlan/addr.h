/*
 * Who owns which address: one table a port, longest match
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_ADDR_H
#define LIBVLINK_IPVLAN_ADDR_H

#include "ipvlan.h"

typedef struct IpvlanSlave IpvlanSlave;

typedef struct IpvlanAddr {
    IpPrefix prefix;
    IpvlanOrigin origin;
    IpvlanSlave *slave;
    int64_t learned;
    int64_t used;
    int64_t lease_end;          /* of a DHCP address, else 0 */
    GList node;                 /* in slave->learned or slave->fixed */
} IpvlanAddr;

typedef struct AddrSlot {
    uint64_t hash;
    IpvlanAddr *addr;           /* NULL: free */
} AddrSlot;

typedef struct PrefixLens {
    uint8_t lens[129];          /* in use, longest first */
    uint8_t n;
    uint32_t used[129];         /* entries of each length */
} PrefixLens;

typedef struct AddrTable {
    AddrSlot *slots;
    uint32_t mask;              /* number of slots - 1 */
    uint32_t n;
    uint64_t key[2];            /* secret, against chosen collisions */
    PrefixLens v4, v6;
} AddrTable;

void addr_table_init(AddrTable *t, const LinkPlatform *platform);

/* Free the slots; the entries are the slaves'. */
void addr_table_destroy(AddrTable *t);

/* @a's prefix is not in the table.  The table borrows @a. */
void addr_table_insert(AddrTable *t, IpvlanAddr *a);
void addr_table_remove(AddrTable *t, IpvlanAddr *a);

/* The entry for just this prefix, or NULL. */
IpvlanAddr *addr_table_find(const AddrTable *t, const IpPrefix *prefix);

/* The entry with the longest prefix that covers @addr, or NULL. */
IpvlanAddr *addr_table_lookup(const AddrTable *t, const IpAddr *addr);

#endif
