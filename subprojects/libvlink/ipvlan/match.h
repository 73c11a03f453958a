/*
 * What a rule matches: an expression of pcap-filter(7), compiled by libpcap
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_MATCH_H
#define LIBVLINK_IPVLAN_MATCH_H

#include <pcap/pcap.h>

#include "../packet.h"

typedef struct Match {
    struct bpf_program program; /* without instructions: matches all */
    uint32_t reach;             /* bytes from the frame's begin it may read */
} Match;

/*
 * Compile @text; NULL and "" match every frame.  False, with @err set to one
 * sentence with libpcap's message and where in @text it is, where that fails.
 *
 * Names of hosts and networks are refused: to look them up could take the
 * program's loop many seconds.  Names of ports and protocols are read from
 * files and are fine.
 */
bool match_compile(Match *m, const char *text, GError **err);
void match_free(Match *m);

/*
 * A frame for a number of matches.  Nearly all look at its headers alone; for
 * the first one that does not, what is not in one piece is made so.
 */
typedef struct MatchView {
    const Packet *p;
    const uint8_t *bytes;
    uint32_t len;               /* of the frame's bytes in one piece */
    uint8_t *whole;             /* PACKET_MAX_LEN bytes, for who needs it */
    uint8_t head[PACKET_SCRATCH_LEN];
} MatchView;

#define MATCH_HEAD_LEN PACKET_SCRATCH_LEN

/* Does @m need more than MATCH_HEAD_LEN, and so MatchView.whole? */
static inline bool match_is_far(const Match *m)
{
    return m->reach > MATCH_HEAD_LEN;
}

/* @p, parsed; @whole may be NULL where no match is far. */
void match_view(MatchView *v, const Packet *p, uint8_t *whole);
bool match_run(const Match *m, MatchView *v);

#endif
