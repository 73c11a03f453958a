/*
 * Frames in, pieces out: offload_send() for a test that is not in C
 *
 * In: length (4 bytes), what the receiver can do (2), a virtio-net header
 * (10), the frame.  Out: how many pieces (4), for each its length (4), header
 * and bytes; or 0xffffffff where the frame is refused.  All little-endian.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <stdlib.h>

#include "libvlink/offload.h"
#include "libvlink/vnet.h"

#define REFUSED 0xffffffff
#define INPUT_LEN (4 + 2 + VNET_HDR_MIN)

static void append32(GByteArray *out, uint32_t v)
{
    v = GUINT32_TO_LE(v);
    g_byte_array_append(out, (uint8_t *)&v, sizeof(v));
}

static bool append_piece(void *opaque, Packet *piece)
{
    GByteArray *out = opaque;
    unsigned at = out->len + 4;

    append32(out, piece->len);
    g_byte_array_set_size(out, at + VNET_HDR_MIN + piece->len);
    vnet_put(out->data + at, VNET_HDR_MIN, &piece->vnet, false);
    packet_copy_bytes(piece, out->data + at + VNET_HDR_MIN);
    return true;
}

static void process(uint8_t *frame, uint32_t len, unsigned can,
                    const PacketVnet *vnet, GByteArray *out)
{
    /* in two places, of which the second begins oddly */
    struct iovec iov[] = { { frame, len / 2 | 1 },
                           { frame + (len / 2 | 1), len - (len / 2 | 1) } };
    Packet p;

    packet_init(&p, iov, 2);
    p.has_vnet = true;
    p.vnet = *vnet;
    g_byte_array_set_size(out, 0);
    if (packet_parse(&p)) {
        append32(out, REFUSED);
        return;
    }
    append32(out, 0);
    if (offload_needs(&p) & ~can) {
        offload_send(&p, can, append_piece, out);
    } else {
        append_piece(out, &p);
        p.pieces = 1;
    }
    *(uint32_t *)out->data = GUINT32_TO_LE(p.pieces);
}

int main(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    uint8_t head[INPUT_LEN];

    while (fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
        uint32_t len = vnet_get16(head, false) |
                       (uint32_t)vnet_get16(head + 2, false) << 16;
        PacketVnet vnet = vnet_get(head + 6, false);
        g_autofree uint8_t *frame = NULL;

        if (len < PACKET_HEAD_LEN || len > PACKET_MAX_LEN) {
            return EXIT_FAILURE;
        }
        frame = g_malloc(len);
        if (fread(frame, 1, len, stdin) != len) {
            return EXIT_FAILURE;
        }
        process(frame, len, vnet_get16(head + 4, false), &vnet, out);
        if (fwrite(out->data, 1, out->len, stdout) != out->len ||
            fflush(stdout)) {
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}
