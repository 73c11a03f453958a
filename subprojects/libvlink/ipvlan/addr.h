/*
 * Who owns which address: one table a port, longest match
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_ADDR_H
#define LIBVLINK_IPVLAN_ADDR_H

#include "ipvlan.h"
#include "owners.h"

typedef struct IpvlanAddr {
    IpPrefix prefix;
    IpvlanOrigin origin;
    IpvlanSlave *slave;
    int64_t learned;
    uint64_t sorted_by;         /* its slot's used, as in slave->learned */
    int64_t lease_end;          /* of a DHCP address, else 0 */
    GList node;                 /* in slave->learned or slave->fixed */
} IpvlanAddr;

typedef struct PrefixLens {
    uint8_t lens[129];          /* in use, longest first */
    uint8_t n;
    uint32_t used[129];         /* entries of each length */
} PrefixLens;

typedef struct AddrTable {
    OwnerTable owners;
    PrefixLens v4, v6;
} AddrTable;

void addr_table_init(AddrTable *t, const LinkPlatform *platform);

/* Free the slots; the entries are the slaves'. */
void addr_table_destroy(AddrTable *t);

/* @a's prefix is not in the table.  The table borrows @a. */
OwnerSlot *addr_table_insert(AddrTable *t, IpvlanAddr *a);
void addr_table_remove(AddrTable *t, IpvlanAddr *a);

/* The slot for just this prefix, or NULL. */
OwnerSlot *addr_table_find(const AddrTable *t, const IpPrefix *prefix);

/* The slot with the longest prefix that covers @addr, or NULL. */
OwnerSlot *addr_table_lookup(const AddrTable *t, const IpAddr *addr);

/* What is in @slot; NULL for NULL. */
static inline IpvlanAddr *addr_table_entry(const AddrTable *t,
                                           const OwnerSlot *slot)
{
    return slot ? owner_table_entry(&t->owners, slot) : NULL;
}

static inline unsigned addr_table_count(const AddrTable *t)
{
    return t->owners.n;
}

#endif
