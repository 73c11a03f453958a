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

typedef struct Frame {
    uint8_t *data;              /* exactly @len bytes from malloc() */
    unsigned len;
    bool has_vnet;
    PacketVnet vnet;
} Frame;

void frame_free(Frame *f);
Frame *frame_new(const void *data, unsigned len);
Frame *frame_dup(const Frame *f);
Frame *frame_from_packet(const Packet *p);

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
