/*
 * Who owns which key
 *
 * Open addressing with linear probing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>
#include <sys/mman.h>

#include "owners.h"

#define MIN_SLOTS 64

/*
 * The fewer entries are not at home, the fewer jumps are foretold wrongly;
 * each costs as much as a miss of the cache.  So a table is at most a quarter
 * full; where it would leave the cache for that, half.
 */
#define ROOMY_SLOTS (1 << 17)

#define CACHE_LINE 64
#define HUGE_PAGE (2 << 20)

/*
 * Even in a table that is half full an entry is this far from its home once
 * in 10^10 times (0.5 * exp(0.5) to the power of it).  So somebody knows the
 * secrets, or they are bad ones: then there are new ones.
 */
#define OWNER_MAX_PROBE 128

/* Random lookups in a large table would miss the TLB as often as the cache. */
static OwnerSlot *slots_new(uint32_t n)
{
    size_t size = n * sizeof(OwnerSlot);
    bool huge = size >= HUGE_PAGE;
    void *slots;

    if (posix_memalign(&slots, huge ? HUGE_PAGE : CACHE_LINE, size)) {
        g_error("no memory for %u addresses", n);
    }
#ifdef MADV_HUGEPAGE
    if (huge) {
        madvise(slots, size, MADV_HUGEPAGE);    /* or not */
    }
#endif
    memset(slots, 0, size);
    return slots;
}

static void table_alloc(OwnerTable *t, uint32_t n_slots)
{
    t->slots = slots_new(n_slots);
    t->entries = g_new0(void *, n_slots);
    t->mask = n_slots - 1;
    t->shift = 32 - __builtin_ctz(n_slots);
}

void owner_table_init(OwnerTable *t, const LinkPlatform *platform)
{
    *t = (OwnerTable) { .platform = platform };
    table_alloc(t, MIN_SLOTS);
    platform->random(t->secret, sizeof(t->secret));
}

void owner_table_destroy(OwnerTable *t)
{
    free(t->slots);
    g_free(t->entries);
}

static uint32_t slot_home(const OwnerTable *t, const OwnerSlot *s)
{
    return owner_home(t, s->q[0], s->q[1], s->kind);
}

static uint32_t slot_put(OwnerTable *t, const OwnerSlot *slot, void *entry)
{
    OwnerSlot *s = owner_table_slot(t, slot->q[0], slot->q[1], slot->kind);

    *s = *slot;
    t->entries[s - t->slots] = entry;
    return s - t->slots;
}

/* Into @n_slots, and by the secrets that are set now. */
static void table_rebuild(OwnerTable *t, uint32_t n_slots)
{
    OwnerSlot *slots = t->slots;
    void **entries = t->entries;
    uint32_t n_old = t->mask + 1;

    table_alloc(t, n_slots);
    for (uint32_t i = 0; i < n_old; i++) {
        if (slots[i].kind) {
            slot_put(t, &slots[i], entries[i]);
        }
    }
    free(slots);
    g_free(entries);
}

static bool table_is_full(const OwnerTable *t)
{
    uint32_t n_slots = t->mask + 1;

    return t->n * (n_slots < ROOMY_SLOTS ? 4 : 2) > n_slots;
}

OwnerSlot *owner_table_insert(OwnerTable *t, const OwnerKey *key,
                              IpvlanSlave *slave, void *entry)
{
    OwnerSlot new = {
        .q = { key->q[0], key->q[1] }, .kind = key->kind, .slave = slave,
    };
    uint32_t at;

    t->n++;
    if (table_is_full(t)) {
        table_rebuild(t, (t->mask + 1) * 2);
    }
    at = slot_put(t, &new, entry);
    if (G_UNLIKELY(((at - slot_home(t, &new)) & t->mask) > OWNER_MAX_PROBE)) {
        t->platform->random(t->secret, sizeof(t->secret));
        table_rebuild(t, t->mask + 1);
    }
    return owner_table_find(t, new.q[0], new.q[1], new.kind);
}

/* Close the gap at @hole: who probed past it must still be found. */
void owner_table_remove(OwnerTable *t, const OwnerSlot *slot)
{
    uint32_t hole = slot - t->slots;

    for (uint32_t i = (hole + 1) & t->mask; t->slots[i].kind;
         i = (i + 1) & t->mask) {
        uint32_t home = slot_home(t, &t->slots[i]);

        if (((i - home) & t->mask) >= ((i - hole) & t->mask)) {
            t->slots[hole] = t->slots[i];
            t->entries[hole] = t->entries[i];
            hole = i;
        }
    }
    t->slots[hole] = (OwnerSlot) { 0 };
    t->n--;
    if (t->mask >= MIN_SLOTS && t->n * 16 <= t->mask) {
        table_rebuild(t, (t->mask + 1) / 2);
    }
}
