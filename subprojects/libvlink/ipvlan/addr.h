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
    GList announce;             /* data: this, while in port->announcing */
} IpvlanAddr;

typedef struct PrefixLens {
    uint8_t n;
    uint8_t lens[129];          /* in use, longest first */
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

static inline uint16_t addr_kind(IpFamily family, uint8_t len)
{
    return family << 8 | len;
}

static inline const PrefixLens *addr_table_lens(const AddrTable *t,
                                                IpFamily family)
{
    return family == IP_V4 ? &t->v4 : &t->v6;
}

/* Where several prefix lengths are in use, or none. */
OwnerSlot *addr_table_lookup_longest(const AddrTable *t, const IpAddr *addr);

/* The slot with the longest prefix that covers @addr, or NULL. */
static inline OwnerSlot *addr_table_lookup(const AddrTable *t,
                                           const IpAddr *addr)
{
    const PrefixLens *lens = addr_table_lens(t, addr->family);
    uint8_t bits = ip_bits(addr->family);

    if (G_LIKELY(lens->n == 1 && lens->lens[0] == bits)) {
        return owner_table_find(&t->owners, addr->q[0], addr->q[1],
                                addr_kind(addr->family, bits));
    }
    return addr_table_lookup_longest(t, addr);
}

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
