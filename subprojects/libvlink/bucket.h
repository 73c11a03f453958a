/*
 * Token buckets with debt
 *
 * Whoever has any tokens may send, and owes what it had too few of: so the
 * longest frame passes the smallest bucket, and the rate holds all the same.
 * A token is a bit for a nanosecond: what a rate in bits a second fills in in
 * whole nanoseconds is whole tokens, and no fraction is ever lost.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_BUCKET_H
#define LIBVLINK_BUCKET_H

#include "platform.h"

/* Bits a second, and bytes. */
#define LINK_RATE_MIN UINT64_C(8000)
#define LINK_RATE_MAX UINT64_C(1000000000000)
#define LINK_BURST_MIN 1514
#define LINK_BURST_MAX (1 << 30)        /* times 8 * NS_PER_S fits 63 bits */

typedef struct Bucket {
    uint64_t rate;              /* bits a second; 0: no limit */
    int64_t depth;              /* tokens that it holds */
    int64_t tokens;             /* that were in it, negative: owed ... */
    int64_t when;               /* ... then */
} Bucket;

static inline int64_t bucket_tokens(uint32_t bytes)
{
    return (int64_t)bytes * 8 * NS_PER_S;
}

/* What 10 ms carry, at least one of the longest frames. */
static inline uint32_t bucket_default_burst(uint64_t rate)
{
    return CLAMP(rate / 8 / 100, PACKET_MAX_LEN, LINK_BURST_MAX);
}

/* A full one.  @rate and @burst within their limits, or zero. */
static inline void bucket_init(Bucket *b, uint64_t rate, uint32_t burst,
                               int64_t now)
{
    *b = (Bucket) {
        .rate = rate,
        .depth = bucket_tokens(burst ?: bucket_default_burst(rate)),
        .when = now,
    };
    b->tokens = b->depth;
}

/* May something go now? */
static inline bool bucket_allows(Bucket *b, int64_t now)
{
    int64_t passed = MAX(now - b->when, 0);     /* loadvm sets it back */
    int64_t missing = b->depth - b->tokens;

    /* it is full before the product could overflow */
    if (passed > missing / (int64_t)b->rate) {
        b->tokens = b->depth;
    } else {
        b->tokens += passed * (int64_t)b->rate;
    }
    b->when = now;
    return b->tokens > 0;
}

static inline void bucket_take(Bucket *b, uint32_t bytes)
{
    b->tokens -= bucket_tokens(bytes);
}

/*
 * There are none.  When is it worth while to come again?  When there are as
 * many as @ns bring, or half of the bucket is full.
 */
static inline int64_t bucket_when(const Bucket *b, int64_t ns)
{
    int64_t rate = b->rate;
    int64_t wanted = MIN(b->depth / 2, rate * ns);

    return b->when + (wanted - b->tokens + rate - 1) / rate;
}

#endif
