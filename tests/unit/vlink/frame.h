/*
 * Frames for tests: builders, and checksums from scratch
 *
 * Addresses are text, MACs six bytes; a frame's length is never padded.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VLINK_FRAME_H
#define TESTS_VLINK_FRAME_H

#include "libvlink/packet.h"

#define FRAME_CUTS 3

typedef struct Frame {
    uint8_t *data;              /* exactly @len bytes from malloc() */
    unsigned len;
    bool has_vnet;
    PacketVnet vnet;
    uint16_t cuts[FRAME_CUTS];  /* where a new piece begins, ascending; or 0 */
} Frame;

/* The bytes of a frame, copied, as its cuts have them. */
typedef struct FramePieces {
    struct iovec iov[FRAME_CUTS + 1];
    unsigned n;
} FramePieces;

void frame_pieces(const Frame *f, FramePieces *pieces);
bool frame_pieces_equal(const Frame *f, const FramePieces *pieces);
void frame_pieces_free(FramePieces *pieces);

void frame_free(Frame *f);
Frame *frame_new(const void *data, unsigned len);
Frame *frame_dup(const Frame *f);
Frame *frame_from_packet(const Packet *p);
/* @p is @f, parsed; @iov is @p's, and @f's bytes stay where they are. */
DropReason frame_parse(const Frame *f, Packet *p, struct iovec *iov);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Frame, frame_free)

extern const uint8_t mac_broadcast[ETHER_ADDR_LEN];
extern const uint8_t mac_zero[ETHER_ADDR_LEN];

IpAddr ip(const char *text);
IpPrefix prefix(const char *text);

/* --- builders: all checksums are right ------------------------------------ */

Frame *frame_eth(const uint8_t *dst, const uint8_t *src, uint16_t type,
                 unsigned payload);

Frame *frame_arp(const uint8_t *dst, const uint8_t *src, uint16_t op,
                 const char *sip, const uint8_t *tha, const char *tip);
Frame *arp_request(const uint8_t *src, const char *sip, const char *tip);
Frame *arp_reply(const uint8_t *dst, const uint8_t *src, const char *sip,
                 const char *tip);
Frame *arp_probe(const uint8_t *src, const char *tip);
Frame *arp_announce(const uint8_t *src, const char *addr);
Frame *rarp_announce(const uint8_t *src);

/* IPv4 or IPv6, as the addresses say; @payload bytes behind the header. */
Frame *frame_ip(const uint8_t *dst, const uint8_t *src, const char *sip,
                const char *dip, uint8_t proto, unsigned payload);
Frame *frame_udp(const uint8_t *dst, const uint8_t *src, const char *sip,
                 const char *dip, uint16_t sport, uint16_t dport,
                 unsigned payload);
Frame *frame_tcp(const uint8_t *dst, const uint8_t *src, const char *sip,
                 const char *dip, unsigned payload);
/* UDP between ports that nobody knows, with a little payload. */
Frame *udp(const uint8_t *dst, const uint8_t *src, const char *sip,
           const char *dip);

/* Neighbour discovery with one link-layer address option, where @lla. */
Frame *frame_nd(const uint8_t *dst, const uint8_t *src, const char *sip,
                const char *dip, uint8_t type, const char *target,
                uint8_t option, const uint8_t *lla);
Frame *nd_solicit(const uint8_t *src, const char *sip, const char *target);
Frame *nd_probe(const uint8_t *src, const char *target);
Frame *nd_advert(const uint8_t *dst, const uint8_t *src, const char *sip,
                 const char *dip);
Frame *nd_router_solicit(const uint8_t *src, const char *sip);
Frame *nd_router_advert(const uint8_t *src, const char *sip);
Frame *nd_redirect(const uint8_t *dst, const uint8_t *src, const char *sip,
                   const char *dip, const uint8_t *lla);

Frame *dhcp_request(const uint8_t *src, uint32_t xid);
/* Of @type (5: DHCPACK); broadcast where @dst is. */
Frame *dhcp_reply(const uint8_t *dst, const uint8_t *src, uint8_t type,
                  const char *yiaddr, const uint8_t *chaddr, uint32_t xid,
                  uint32_t lease);

/* --- groups: IGMP and MLD, with Router Alert ------------------------------ */

void mac_of_group(const char *group, uint8_t mac[ETHER_ADDR_LEN]);
/* udp() to the MAC address of @group. */
Frame *udp_group(const uint8_t *src, const char *sip, const char *group);
/* IGMPv1 and v2, MLDv1: one message of any type. */
Frame *igmp(const uint8_t *src, const char *sip, const char *dip,
            uint8_t type, uint8_t max, const char *group);
Frame *mld(const uint8_t *src, const char *sip, const char *dip,
           uint8_t type, uint16_t max, const char *group);
/* IGMPv2 or MLDv1, as the addresses say; NULL @group: for all of them. */
Frame *group_query(const uint8_t *src, const char *sip, const char *group);
Frame *group_join(const uint8_t *src, const char *sip, const char *group);
Frame *group_leave(const uint8_t *src, const char *sip, const char *group);
/* IGMPv3 or MLDv2: a general query, with the querier's variables. */
Frame *group_query_long(const uint8_t *src, const char *sip, uint8_t qrv,
                        uint8_t qqic);

typedef struct GroupRecord {
    uint8_t type;               /* RFC 3376, 4.2.12 */
    const char *group;
    uint16_t sources;           /* all of them zero */
    uint8_t aux;                /* in words */
} GroupRecord;

#define GROUP_IS_INCLUDE 1
#define GROUP_IS_EXCLUDE 2
#define GROUP_TO_INCLUDE 3
#define GROUP_TO_EXCLUDE 4
#define GROUP_ALLOW      5
#define GROUP_BLOCK      6

Frame *group_report(const uint8_t *src, const char *sip,
                    const GroupRecord *r, unsigned n);

/* --- changing them; all return @f ----------------------------------------- */

Frame *frame_set8(Frame *f, unsigned off, uint8_t v);
Frame *frame_set16(Frame *f, unsigned off, uint16_t v);
Frame *frame_insert(Frame *f, unsigned off, const void *data, unsigned len);
Frame *frame_cut(Frame *f, unsigned len);
/* One more tag, outermost. */
Frame *frame_tag(Frame *f, uint16_t tpid, uint16_t vid);
/* @len bytes of no-operation options in the IPv4 header. */
Frame *frame_options(Frame *f, unsigned len);
/* An extension header of @len bytes, directly behind the IPv6 header. */
Frame *frame_ext(Frame *f, uint8_t type, unsigned len);
/* Mark as fragment: @off in bytes; IPv6 gets a fragment header. */
Frame *frame_fragment(Frame *f, unsigned off, bool more);
Frame *frame_set_mac_src(Frame *f, const uint8_t *mac);
Frame *frame_set_mac_dst(Frame *f, const uint8_t *mac);
/* Right checksums for what the frame says now. */
Frame *frame_checksum(Frame *f);
/* Has it an upper layer's checksum that we know, and all that it covers? */
bool frame_has_checksum(const Frame *f);
/* Leave the upper layer's checksum to be completed, as virtio-net does. */
Frame *frame_partial(Frame *f);

/* --- looking -------------------------------------------------------------- */

typedef struct FrameOffsets {
    unsigned l3, l4, end;
    uint8_t proto;
    bool v6;
} FrameOffsets;

/* Of a well-formed IP frame; asserts that it is one. */
FrameOffsets frame_offsets(const Frame *f);
uint16_t frame_get16(const Frame *f, unsigned off);
/* Offset of the upper layer's checksum field. */
unsigned frame_csum_offset(const Frame *f);
/* All checksums, computed from scratch; completes a partial one first. */
bool frame_checksum_ok(const Frame *f);

static inline const uint8_t *frame_dst(const Frame *f)
{
    return f->data;
}

static inline const uint8_t *frame_src(const Frame *f)
{
    return f->data + ETHER_ADDR_LEN;
}

#define assert_mac(a, b) g_assert_cmpmem(a, ETHER_ADDR_LEN, b, ETHER_ADDR_LEN)

#endif
