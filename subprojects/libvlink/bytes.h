/*
 * Numbers in network byte order, wherever they lie
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_BYTES_H
#define LIBVLINK_BYTES_H

#include <stdint.h>

static inline uint16_t get16(const uint8_t *b)
{
    return b[0] << 8 | b[1];
}

static inline uint32_t get32(const uint8_t *b)
{
    return (uint32_t)get16(b) << 16 | get16(b + 2);
}

static inline void put16(uint8_t *b, uint16_t v)
{
    b[0] = v >> 8;
    b[1] = v;
}

static inline void put32(uint8_t *b, uint32_t v)
{
    put16(b, v >> 16);
    put16(b + 2, v);
}

#endif
