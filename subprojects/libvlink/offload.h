/*
 * Offloads meet in the middle
 *
 * A sender leaves work to be done (a checksum to be completed, a segment to
 * be cut) and says so in the virtio-net header; a receiver says what of it it
 * can take.  What it cannot is done here, on the way to it, without a copy:
 * the headers are new, the payload is borrowed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_OFFLOAD_H
#define LIBVLINK_OFFLOAD_H

#include "packet.h"

/*
 * What a receiver takes as it is; virtio 1.2, 5.1.3.  In virtio all of them
 * need the first.  Here one without it takes such packets whole, too, once
 * their checksum is complete.
 */
typedef enum Offload {
    OFFLOAD_CSUM = 1 << 0,      /* partial checksums */
    OFFLOAD_TSO4 = 1 << 1,
    OFFLOAD_TSO6 = 1 << 2,
    OFFLOAD_ECN = 1 << 3,       /* TCP segments with CWR */
    OFFLOAD_UFO = 1 << 4,       /* UDP, to be fragmented */
    OFFLOAD_USO4 = 1 << 5,      /* UDP, to be segmented */
    OFFLOAD_USO6 = 1 << 6,
} Offload;

#define OFFLOAD_ALL 0x7f

/*
 * No packet has to be cut into more.  A link with the smallest MTU that there
 * can be (RFC 791: 68 bytes) needs fewer; a guest that wants 65,000 wants to
 * keep us busy.
 */
#define OFFLOAD_MAX_PIECES 2048

/*
 * Is what p->vnet says true of the frame, whose layers were parsed?  Nothing
 * behind has to ask again.  False is, too, what would have a checksum written
 * over that by which others decide: ports, ARP, neighbour discovery, DHCP.
 * DROP_NONE or DROP_BAD_VNET.  packet_parse() calls this.
 */
DropReason offload_check(const Packet *p);

/* Which offloads @p, checked, needs its receiver to have. */
unsigned offload_needs_slow(const Packet *p);

static inline unsigned offload_needs(const Packet *p)
{
    if (!p->has_vnet || (!p->vnet.gso_type &&
                         !(p->vnet.flags & PACKET_VNET_NEEDS_CSUM))) {
        return 0;
    }
    return offload_needs_slow(p);
}

/*
 * Bytes of the longest IP packet that @p, an IP packet with any Offloads, is
 * or is cut into: what the MTU on its way is compared with.
 */
uint32_t packet_ip_len_slow(const Packet *p);

static inline uint32_t packet_ip_len(const Packet *p)
{
    if (G_UNLIKELY(p->has_vnet && p->vnet.gso_type)) {
        return packet_ip_len_slow(p);
    }
    return p->layers.end - p->layers.l3;
}

/*
 * @piece borrows from the packet that it is of, and from the caller's stack.
 * False: not taken.
 */
typedef bool OffloadEmit(void *opaque, Packet *piece);

/*
 * Hand @p, which needs more than the offloads @can, to @emit in pieces that
 * need no more than those.  Begins behind the first p->pieces of them and
 * counts those up that @emit takes.  False when @emit did not take one: call
 * again with the same @p, or a held one, to go on there.  Where a piece ends
 * does not depend on @can, which may change meanwhile.
 *
 * As Linux cuts: TCP's FIN and PSH stay with the last piece, CWR with the
 * first, IPv4's identification counts up, fragments share one.  With
 * OFFLOAD_CSUM segments keep partial checksums; @can without it is nothing.
 */
bool offload_send(Packet *p, unsigned can, OffloadEmit *emit, void *opaque);

/*
 * RFC 1071: the sum, not complemented and not folded to 16 bits, of @len
 * bytes at @data, added to @sum; network byte order as the host reads it.
 * Only the last of the calls that make up a sum may have an odd @len.
 */
uint64_t csum_add(uint64_t sum, const void *data, size_t len);

/*
 * Is the checksum of @p's upper layer, which is ICMP, IGMP, ICMPv6 or PIM, right?
 * True as well where it is left to be completed, or somebody has checked it.
 */
bool offload_csum_is_right(const Packet *p);

/* Complement and fold: what goes into the header. */
static inline uint16_t csum_finish(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

#endif
