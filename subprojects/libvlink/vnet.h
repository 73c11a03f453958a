/*
 * The virtio-net header as it lies in front of a frame
 *
 * virtio 1.2, 5.1.6: the first ten bytes are the same in all of its lengths
 * (10, 12 with num_buffers, 20 with a hash).  Little-endian since virtio 1.0,
 * the guest's byte order before.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_VNET_H
#define LIBVLINK_VNET_H

#include "packet.h"

#define VNET_HDR_MIN 10
#define VNET_HDR_MAX 20

static inline uint16_t vnet_get16(const uint8_t *b, bool big_endian)
{
    return big_endian ? b[0] << 8 | b[1] : b[1] << 8 | b[0];
}

static inline void vnet_put16(uint8_t *b, uint16_t v, bool big_endian)
{
    b[big_endian] = v;
    b[!big_endian] = v >> 8;
}

/* Read the first VNET_HDR_MIN bytes at @b. */
static inline PacketVnet vnet_get(const uint8_t *b, bool big_endian)
{
    return (PacketVnet) {
        .flags = b[0],
        .gso_type = b[1],
        .hdr_len = vnet_get16(b + 2, big_endian),
        .gso_size = vnet_get16(b + 4, big_endian),
        .csum_start = vnet_get16(b + 6, big_endian),
        .csum_offset = vnet_get16(b + 8, big_endian),
    };
}

/*
 * Write a header of @len bytes, at least VNET_HDR_MIN.  num_buffers, where
 * there is one, is the device's to write; it and the hash become zero.
 */
static inline void vnet_put(uint8_t *b, unsigned len, const PacketVnet *v,
                            bool big_endian)
{
    b[0] = v->flags;
    b[1] = v->gso_type;
    vnet_put16(b + 2, v->hdr_len, big_endian);
    vnet_put16(b + 4, v->gso_size, big_endian);
    vnet_put16(b + 6, v->csum_start, big_endian);
    vnet_put16(b + 8, v->csum_offset, big_endian);
    memset(b + VNET_HDR_MIN, 0, len - VNET_HDR_MIN);
}

#endif
