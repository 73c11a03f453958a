/*
 * Who owns which key: the hash table below addresses and MACs
 *
 * All that a frame needs of an entry lies in the table itself: to find who
 * gets it costs one cache line, however many entries there are.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_OWNERS_H
#define LIBVLINK_IPVLAN_OWNERS_H

#include "../platform.h"

typedef struct IpvlanSlave IpvlanSlave;

typedef struct OwnerKey {
    uint64_t q[2];
    uint16_t kind;              /* never 0; two kinds' keys are different */
} OwnerKey;

/* Good until something is inserted or removed. */
typedef struct OwnerSlot {
    uint64_t q[2];
    uint64_t kind:16;           /* 0: free */
    uint64_t used:48;           /* the user's, 0 when it is new */
    IpvlanSlave *slave;
} __attribute__((aligned(32))) OwnerSlot;

typedef struct OwnerTable {
    OwnerSlot *slots;
    void **entries;             /* of each slot, what is seldom asked for */
    uint32_t mask;              /* number of slots - 1 */
    uint32_t shift;             /* 32 - its logarithm */
    uint32_t n;
    uint64_t secret[6];
    const LinkPlatform *platform;
} OwnerTable;

void owner_table_init(OwnerTable *t, const LinkPlatform *platform);
void owner_table_destroy(OwnerTable *t);

/* @key is not in the table.  @entry stays the caller's. */
OwnerSlot *owner_table_insert(OwnerTable *t, const OwnerKey *key,
                              IpvlanSlave *slave, void *entry);
void owner_table_remove(OwnerTable *t, const OwnerSlot *slot);

static inline void *owner_table_entry(const OwnerTable *t,
                                      const OwnerSlot *slot)
{
    return t->entries[slot - t->slots];
}

/*
 * Guests choose their addresses, and must not be able to choose collisions.
 * Thorup, "High Speed Hashing for Integers and Strings", section 3.6:
 * pair-multiply-shift of 32-bit words with 64-bit secrets is strongly
 * universal; so, whatever two keys somebody chooses, their 32-bit hashes are
 * as two random numbers.  What follows is one-to-one and leaves that as it
 * is.  It is there because neighbouring addresses, as everybody has them,
 * would stay evenly spaced, which linear probing does not always like.
 *
 * It is no pseudorandom function: who learned enough hashes could compute the
 * secrets.  A guest is never told one; and what it might get from timing is
 * worth nothing as soon as it is used, see OWNER_MAX_PROBE.
 */
static inline uint32_t owner_home(const OwnerTable *t, uint64_t q0,
                                  uint64_t q1, uint16_t kind)
{
    const uint64_t *s = t->secret;
    uint64_t sum = (s[0] + (uint32_t)q0) * (s[1] + (q0 >> 32)) +
                   (s[2] + (uint32_t)q1) * (s[3] + (q1 >> 32)) +
                   s[4] * kind + s[5];
    uint32_t h = sum >> 32;

    return ((h ^ h >> 15) * 0x9e3779b1u) >> t->shift;
}

/* The slot of the key, or the free one where it would be. */
static inline OwnerSlot *owner_table_slot(const OwnerTable *t, uint64_t q0,
                                          uint64_t q1, uint16_t kind)
{
    uint32_t i = owner_home(t, q0, q1, kind);

    for (;; i = (i + 1) & t->mask) {
        OwnerSlot *s = &t->slots[i];

        if (G_LIKELY(s->q[0] == q0 && s->q[1] == q1 && s->kind == kind)) {
            return s;
        }
        if (!s->kind) {
            return s;
        }
    }
}

/* NULL: nobody owns it. */
static inline OwnerSlot *owner_table_find(const OwnerTable *t, uint64_t q0,
                                          uint64_t q1, uint16_t kind)
{
    OwnerSlot *s = owner_table_slot(t, q0, q1, kind);

    return s->kind ? s : NULL;
}

#endif
