/*
 * Who owns which address
 *
 * Open addressing with linear probing, at most half full, so that a miss
 * costs one cache line mostly.  Guests choose their addresses; the hash is
 * SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF") with
 * a secret key, so they cannot choose collisions.
 *
 * A lookup tries only the prefix lengths that are in use, longest first:
 * where nobody configured a prefix that is one probe.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "addr.h"

#define MIN_SLOTS 64

static inline uint64_t rotl(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] = rotl(v[2], 32);
}

static inline void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* Of @addr, whose bits behind @len are zero. */
static inline uint64_t addr_hash(const AddrTable *t, const IpAddr *addr,
                                 uint8_t len)
{
    uint64_t v[4] = {
        t->key[0] ^ UINT64_C(0x736f6d6570736575),
        t->key[1] ^ UINT64_C(0x646f72616e646f6d),
        t->key[0] ^ UINT64_C(0x6c7967656e657261),
        t->key[1] ^ UINT64_C(0x7465646279746573),
    };

    /* An IPv4 address and everything else about it fit into one word. */
    if (addr->family == IP_V4) {
        sip_word(v, addr->w[0] | (uint64_t)len << 32 | UINT64_C(4) << 56);
    } else {
        sip_word(v, addr->q[0]);
        sip_word(v, addr->q[1]);
        sip_word(v, len | UINT64_C(17) << 56);
    }
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static inline PrefixLens *lens_of(const AddrTable *t, IpFamily family)
{
    return (PrefixLens *)(family == IP_V4 ? &t->v4 : &t->v6);
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
    t->mask = MIN_SLOTS - 1;
    t->slots = g_new0(AddrSlot, MIN_SLOTS);
    platform->random(t->key, sizeof(t->key));
}

void addr_table_destroy(AddrTable *t)
{
    g_free(t->slots);
}

static void slot_put(AddrTable *t, AddrSlot slot)
{
    uint32_t i = slot.hash & t->mask;

    while (t->slots[i].addr) {
        i = (i + 1) & t->mask;
    }
    t->slots[i] = slot;
}

static void table_resize(AddrTable *t, uint32_t n_slots)
{
    AddrSlot *old = t->slots;
    uint32_t n_old = t->mask + 1;

    t->slots = g_new0(AddrSlot, n_slots);
    t->mask = n_slots - 1;
    for (uint32_t i = 0; i < n_old; i++) {
        if (old[i].addr) {
            slot_put(t, old[i]);
        }
    }
    g_free(old);
}

/* The slot of @addr/@len, which may be free. */
static inline AddrSlot *slot_find(const AddrTable *t, const IpAddr *addr,
                                  uint8_t len)
{
    uint64_t hash = addr_hash(t, addr, len);

    for (uint32_t i = hash & t->mask; ; i = (i + 1) & t->mask) {
        AddrSlot *s = &t->slots[i];

        if (!s->addr ||
            (s->hash == hash && s->addr->prefix.len == len &&
             ip_equal(&s->addr->prefix.addr, addr))) {
            return s;
        }
    }
}

void addr_table_insert(AddrTable *t, IpvlanAddr *a)
{
    uint32_t n_slots = t->mask + 1;

    if ((t->n + 1) * 2 > n_slots) {
        table_resize(t, n_slots * 2);
    }
    slot_put(t, (AddrSlot) {
        .hash = addr_hash(t, &a->prefix.addr, a->prefix.len), .addr = a,
    });
    t->n++;
    lens_add(lens_of(t, a->prefix.addr.family), a->prefix.len);
}

/* Close the gap at @hole: who probed past it must still be found. */
static void slot_delete(AddrTable *t, uint32_t hole)
{
    for (uint32_t i = (hole + 1) & t->mask; t->slots[i].addr;
         i = (i + 1) & t->mask) {
        uint32_t home = t->slots[i].hash & t->mask;

        if (((i - home) & t->mask) >= ((i - hole) & t->mask)) {
            t->slots[hole] = t->slots[i];
            hole = i;
        }
    }
    t->slots[hole].addr = NULL;
}

void addr_table_remove(AddrTable *t, IpvlanAddr *a)
{
    AddrSlot *s = slot_find(t, &a->prefix.addr, a->prefix.len);
    uint32_t n_slots = t->mask + 1;

    g_assert(s->addr == a);
    slot_delete(t, s - t->slots);
    t->n--;
    lens_del(lens_of(t, a->prefix.addr.family), a->prefix.len);
    if (n_slots > MIN_SLOTS && t->n * 8 < n_slots) {
        table_resize(t, n_slots / 2);
    }
}

IpvlanAddr *addr_table_find(const AddrTable *t, const IpPrefix *prefix)
{
    return slot_find(t, &prefix->addr, prefix->len)->addr;
}

IpvlanAddr *addr_table_lookup(const AddrTable *t, const IpAddr *addr)
{
    const PrefixLens *lens;
    uint8_t bits;

    if (addr->family == IP_NONE) {
        return NULL;
    }
    lens = lens_of(t, addr->family);
    bits = ip_bits(addr->family);
    for (uint8_t i = 0; i < lens->n; i++) {
        uint8_t len = lens->lens[i];
        IpAddr masked = len == bits ? *addr : ip_mask(addr, len);
        IpvlanAddr *a = slot_find(t, &masked, len)->addr;

        if (a) {
            return a;
        }
    }
    return NULL;
}
