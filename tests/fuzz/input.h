/*
 * A fuzzer's input, read as a program: what is missing is zero
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct Input {
    const uint8_t *data;
    size_t len;
} Input;

static inline void in_bytes(Input *in, void *to, size_t len)
{
    size_t n = len < in->len ? len : in->len;

    memset(to, 0, len);
    if (n) {
        memcpy(to, in->data, n);
        in->data += n;
        in->len -= n;
    }
}

static inline uint8_t in8(Input *in)
{
    uint8_t v;

    in_bytes(in, &v, 1);
    return v;
}

static inline uint16_t in16(Input *in)
{
    uint8_t b[2];

    in_bytes(in, b, sizeof(b));
    return b[0] << 8 | b[1];
}

/* Less than @n, which is at most 256. */
static inline unsigned in_below(Input *in, unsigned n)
{
    return in8(in) % n;
}

/* One of an array's elements. */
#define in_pick(in_, array_) \
    ((array_)[in_below(in_, sizeof(array_) / sizeof((array_)[0]))])

#endif
