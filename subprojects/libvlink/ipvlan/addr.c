/*
 * Who owns which address
 *
 * A lookup tries only the prefix lengths that are in use, longest first:
 * where nobody configured a prefix that is one probe.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "addr.h"

static PrefixLens *lens_of(AddrTable *t, IpFamily family)
{
    return (PrefixLens *)addr_table_lens(t, family);
}

static void lens_add(PrefixLens *lens, uint8_t len)
{
    uint8_t i;

    if (lens->used[len]++) {
        return;
    }
    for (i = lens->n++; i && lens->lens[i - 1] < len; i--) {
        lens->lens[i] = lens->lens[i - 1];
    }
    lens->lens[i] = len;
}

static void lens_del(PrefixLens *lens, uint8_t len)
{
    uint8_t i;

    if (--lens->used[len]) {
        return;
    }
    for (i = 0; lens->lens[i] != len; i++) {
        continue;
    }
    lens->n--;
    memmove(&lens->lens[i], &lens->lens[i + 1], lens->n - i);
}

void addr_table_init(AddrTable *t, const LinkPlatform *platform)
{
    memset(t, 0, sizeof(*t));
    owner_table_init(&t->owners, platform);
}

void addr_table_destroy(AddrTable *t)
{
    owner_table_destroy(&t->owners);
}

/* The slot of @addr/@len, whose bits behind @len are zero, or NULL. */
static inline OwnerSlot *find_masked(const AddrTable *t, const IpAddr *addr,
                                     uint8_t len)
{
    return owner_table_find(&t->owners, addr->q[0], addr->q[1],
                            addr_kind(addr->family, len));
}

OwnerSlot *addr_table_insert(AddrTable *t, IpvlanAddr *a)
{
    const IpAddr *addr = &a->prefix.addr;
    OwnerKey key = {
        { addr->q[0], addr->q[1] }, addr_kind(addr->family, a->prefix.len),
    };

    lens_add(lens_of(t, addr->family), a->prefix.len);
    return owner_table_insert(&t->owners, &key, a->slave, a);
}

void addr_table_remove(AddrTable *t, IpvlanAddr *a)
{
    OwnerSlot *slot = addr_table_find(t, &a->prefix);

    g_assert(addr_table_entry(t, slot) == a);
    owner_table_remove(&t->owners, slot);
    lens_del(lens_of(t, a->prefix.addr.family), a->prefix.len);
}

OwnerSlot *addr_table_find(const AddrTable *t, const IpPrefix *prefix)
{
    return find_masked(t, &prefix->addr, prefix->len);
}

OwnerSlot *addr_table_lookup_longest(const AddrTable *t, const IpAddr *addr)
{
    const PrefixLens *lens = addr_table_lens(t, addr->family);

    if (addr->family == IP_NONE) {
        return NULL;
    }
    for (uint8_t i = 0; i < lens->n; i++) {
        IpAddr masked = ip_mask(addr, lens->lens[i]);
        OwnerSlot *slot = find_masked(t, &masked, lens->lens[i]);

        if (slot) {
            return slot;
        }
    }
    return NULL;
}
