/*
 * Which flow a packet is of, and what it does to it
 *
 * As Linux's nf_conntrack does it, without looking at sequence numbers.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_TRACK_H
#define LIBVLINK_IPVLAN_TRACK_H

#include <netinet/in.h>

#include "flow.h"

/* What a packet is to the flow whose key is given. */
typedef enum TrackKind {
    TRACK_NOTHING,              /* there is no key */
    TRACK_PACKET,               /* one of its packets */
    TRACK_FRAGMENT,             /* not the first of its fragments */
    TRACK_ERROR,                /* an ICMP error that quotes it */
} TrackKind;

typedef enum TrackEvent {
    TRACK_INVALID,              /* of TCP, what no state allows */
    TRACK_SYN,
    TRACK_SYN_ACK,
    TRACK_ACK,                  /* and data */
    TRACK_FIN,
    TRACK_RST,
    TRACK_UDP,
    TRACK_ECHO,
    TRACK_ECHO_REPLY,
    TRACK_OTHER,
} TrackEvent;

typedef struct Track {
    FlowKey key;
    uint8_t kind;               /* TrackKind */
    uint8_t event;              /* TrackEvent of a TRACK_PACKET */
    uint8_t sender;             /* which end the packet comes from, 0 or 1 */
} Track;

/* Can a flow of the protocol @proto be in the state that is numbered @state? */
bool track_is_state_of(uint8_t state, uint8_t proto);

/* What track_packet() leaves out: neither TCP nor UDP, or a fragment. */
void track_packet_slow(Track *t, const Packet *p, uint16_t from, uint16_t to);

/* The key for the datagram of which @p is a fragment. */
void track_fragment(Track *t, const Packet *p, uint16_t from, uint16_t to);

/* The state of a flow that begins with @event; FLOW_NONE: none does. */
FlowState track_begin(TrackEvent event);

/*
 * The state of a flow in @state after @event, which is a @reply to who has
 * begun it; FLOW_NONE: that is no part of this flow.
 */
FlowState track_next_slow(FlowState state, TrackEvent event, bool reply);

static inline FlowState track_next(FlowState state, TrackEvent event,
                                   bool reply)
{
    bool goes_on = event == TRACK_ACK ?
                   state == FLOW_TCP_ESTABLISHED ||
                   (state == FLOW_TCP_MIDDLE && !reply) :
                   event == TRACK_UDP && (state == FLOW_UDP_STREAM ||
                                          (state == FLOW_UDP && !reply));

    if (G_LIKELY(goes_on)) {
        return state;
    }
    return track_next_slow(state, event, reply);
}

/* By ACK, PSH, RST, SYN and FIN of TCP's flags. */
extern const uint8_t track_tcp_events[32];

/* @from and @to: what the table knows the packet's slaves by. */
static inline void track_packet(Track *t, const Packet *p, uint16_t from,
                                uint16_t to)
{
    const PacketLayers *l = &p->layers;
    const uint8_t *b;
    uint8_t buf;

    t->kind = TRACK_PACKET;
    if (G_UNLIKELY(!l->l4)) {
        track_packet_slow(t, p, from, to);
        return;
    }
    if (l->ip_proto == IPPROTO_TCP) {
        b = packet_peek(p, l->l4 + 13, 1, &buf);
        t->event = track_tcp_events[*b & 31];
    } else if (l->ip_proto == IPPROTO_UDP) {
        t->event = TRACK_UDP;
    } else {
        track_packet_slow(t, p, from, to);
        return;
    }
    t->sender = flow_key(&t->key, &l->src, &l->dst, l->src_port, l->dst_port,
                         from, to);
    t->key.kind = flow_kind(l->src.family, l->ip_proto, FLOW_CLASS_WHOLE);
}

#endif
