/*
 * Counters of a link, and the reasons for which a frame can be dropped
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stddef.h>
#include <string.h>

#include "stats.h"

static const char *const names[DROP__MAX] = {
#define X(id, name, text) [DROP_##id] = name,
    DROP_REASONS(X)
#undef X
};

const char *drop_reason_name(DropReason reason)
{
    return reason > DROP_NONE && reason < DROP__MAX ? names[reason] : NULL;
}

DropReason drop_reason_find(const char *name)
{
    for (int i = DROP_NONE + 1; i < DROP__MAX; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return DROP_NONE;
}

uint64_t link_stats_drops(const LinkStats *stats)
{
    uint64_t sum = 0;

    for (int i = DROP_NONE + 1; i < DROP__MAX; i++) {
        sum += stats->drops[i];
    }
    return sum;
}

void link_stats_add(LinkStats *stats, const LinkStats *more)
{
    stats->rx_packets += more->rx_packets;
    stats->rx_bytes += more->rx_bytes;
    stats->tx_packets += more->tx_packets;
    stats->tx_bytes += more->tx_bytes;
    stats->made += more->made;
    stats->absorbed += more->absorbed;
    for (int i = DROP_NONE + 1; i < DROP__MAX; i++) {
        stats->drops[i] += more->drops[i];
    }
}
