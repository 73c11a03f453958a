/*
 * Limits to what a link carries, in each direction
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "link.h"

void shaper_destroy(Shaper *s, const LinkPlatform *platform)
{
    if (s->work) {
        platform->work_free(s->work);
    }
}

void shaper_set(Shaper *s, Link *link, uint64_t bps, uint32_t burst,
                void (*again)(void *link))
{
    const LinkPlatform *platform = link->platform;
    Bucket bucket;

    bucket_init(&bucket, bps, burst, platform->now());
    if (bucket.rate == s->bucket.rate && bucket.depth == s->bucket.depth) {
        return;
    }
    s->bucket = bucket;
    if (bps && !s->work) {
        s->work = platform->work_new(again, link);
    }
    if (s->waiting) {
        platform->work_at(s->work, 0);
    }
}

bool shaper_allows(Shaper *s, const LinkPlatform *platform)
{
    if (bucket_allows(&s->bucket, platform->now())) {
        return true;
    }
    if (!s->waiting) {
        s->waiting = true;
        platform->work_at(s->work, bucket_when(&s->bucket, SHAPE_STEP_NS));
    }
    return false;
}
