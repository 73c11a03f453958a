/*
 * QTest testcase for -netdev ipvlan: what virtio-net NICs send and get
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "ipvlan-rig.h"

/* --- frames in pieces ----------------------------------------------------- */

#define PIECES_MAX 61440

/* A frame of @len bytes with a VLAN tag, and no two parts of it alike. */
static uint8_t *long_frame(size_t len, uint16_t vid)
{
    Frame head = eth(mac_b, mac_a, 0x8100);
    uint8_t *b = g_malloc(len);

    put16(&head, vid);
    put16(&head, 0x88b5);
    for (size_t i = 0; i < len; i++) {
        b[i] = i * 7 + (i >> 8);
    }
    memcpy(b, head.b, head.len);
    return b;
}

/*
 * Give @vq the @len bytes at @buf in descriptors of odd sizes, @chain of them
 * to a buffer.  The first buffer's head is returned.
 */
static uint32_t nic_add_pieces(Nic *nic, QVirtQueue *vq, uint64_t buf,
                               size_t len, int chain)
{
    static const size_t sizes[] = { 1, 61, 7, 13, 1509, 3, 4021, 31 };
    QTestState *qts = nic->rig->qts;
    uint32_t first = vq->free_head, head = first;

    for (int i = 0; len; i++) {
        size_t n = MIN(len, sizes[i % ARRAY_SIZE(sizes)]);
        bool last = n == len || i % chain == chain - 1;

        qvirtqueue_add(qts, vq, buf, n, vq == nic->rx, !last);
        if (last) {
            qvirtqueue_kick(qts, &nic->dev->vdev, vq, head);
            head = vq->free_head;
        }
        buf += n;
        len -= n;
    }
    g_assert_cmpint(vq->num_free, >=, 0);
    return first;
}

static void nic_send_pieces(Nic *nic, const uint8_t *b, size_t len)
{
    QTestState *qts = nic->rig->qts;
    uint64_t buf = guest_alloc(&guest_alloc_state, NIC_HDR + len);
    uint32_t head;

    qtest_memset(qts, buf, 0, NIC_HDR);
    qtest_memwrite(qts, buf + NIC_HDR, b, len);
    head = nic_add_pieces(nic, nic->tx, buf, NIC_HDR + len, INT_MAX);
    qvirtio_wait_used_elem(qts, &nic->dev->vdev, nic->tx, head, NULL,
                           TIMEOUT_US);
    guest_free(&guest_alloc_state, buf);
}

/* All that was received fills the buffers at @buf, one after the other. */
static void nic_expect_pieces(Nic *nic, bool mergeable, uint64_t buf,
                              const uint8_t *b, size_t len)
{
    QTestState *qts = nic->rig->qts;
    g_autofree uint8_t *got = g_malloc(NIC_HDR + len);
    struct virtio_net_hdr_mrg_rxbuf *hdr = (void *)got;
    size_t sum = 0;
    uint32_t used;
    int n = 0;

    for (; qvirtqueue_get_buf(qts, nic->rx, NULL, &used); n++) {
        sum += used;
    }
    g_assert_cmpint(sum, ==, NIC_HDR + len);
    qtest_memread(qts, buf, got, NIC_HDR + len);
    g_assert_cmpint(hdr->hdr.flags, ==, 0);
    g_assert_cmpint(hdr->hdr.gso_type, ==, VIRTIO_NET_HDR_GSO_NONE);
    g_assert_cmpint(n, ==, mergeable ? le16_to_cpu(hdr->num_buffers) : 1);
    g_assert_cmpmem(got + NIC_HDR, len, b, len);
}

/* Two NICs, of which @to does without @features and has shown its MAC. */
static void pieces_start(Rig *rig, uint64_t features, Nic *from, Nic *to)
{
    add_nic(rig, 0, "");
    add_nic(rig, 1, "");
    nic_rig_start(rig);
    *from = nic_start(rig, 0);
    *to = nic_start_without(rig, 1, features);
    nic_send(to, announcement(mac_b, IP_B));
}

typedef struct Pieces {
    const char *name;
    size_t len;                 /* of the frame */
    int chain;                  /* descriptors to a receive buffer */
    uint64_t without;           /* features */
} Pieces;

#define MERGEABLE (1ull << VIRTIO_NET_F_MRG_RXBUF)

static const Pieces pieces[] = {
    { "short", 60, 2, 0 },
    { "short-not-mergeable", 60, INT_MAX, MERGEABLE },
    { "linear", 2048, 2, 0 },
    { "linear-not-mergeable", 2048, INT_MAX, MERGEABLE },
    { "scattered", 2049, 2, 0 },
    { "scattered-not-mergeable", 2049, INT_MAX, MERGEABLE },
    { "jumbo", 9000, 2, 0 },
    { "jumbo-not-mergeable", 9000, INT_MAX, MERGEABLE },
    { "long", PIECES_MAX, 3, 0 },
    { "long-in-one-buffer", PIECES_MAX, INT_MAX, 0 },
    { "long-not-mergeable", PIECES_MAX, INT_MAX, MERGEABLE },
};

/*
 * From ring to ring, past the NIC's filter, byte for byte.  What the filter
 * refuses leaves no trace.
 */
static void test_pieces(const void *data)
{
    const Pieces *p = data;
    Rig *rig = rig_prepare("-machine pc");
    g_autofree uint8_t *wanted = long_frame(p->len, 5);
    g_autofree uint8_t *unwanted = long_frame(p->len, 6);
    uint64_t buf;
    Nic from, to;

    pieces_start(rig, p->without, &from, &to);
    nic_promiscuous(&to, false);
    nic_control(&to, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD,
                (uint8_t[]) { 5, 0 }, 2);
    buf = guest_alloc(&guest_alloc_state, NIC_HDR + PIECES_MAX);
    nic_add_pieces(&to, to.rx, buf, NIC_HDR + PIECES_MAX, p->chain);

    nic_send_pieces(&from, unwanted, p->len);
    nic_send_pieces(&from, wanted, p->len);
    nic_expect_pieces(&to, !(p->without & MERGEABLE), buf, wanted, p->len);
    nic_stop(&from);
    nic_stop(&to);
    nic_rig_free(rig);
}

/* A buffer that the frame does not fit in is there for the next one. */
static void test_pieces_no_room(void)
{
    Rig *rig = rig_prepare("-machine pc");
    g_autofree uint8_t *fits = long_frame(2500, 5);
    g_autofree uint8_t *does_not = long_frame(2501, 5);
    uint64_t buf;
    Nic from, to;

    pieces_start(rig, MERGEABLE, &from, &to);
    buf = guest_alloc(&guest_alloc_state, NIC_HDR + 2500);
    nic_add_pieces(&to, to.rx, buf, NIC_HDR + 2500, INT_MAX);

    nic_send_pieces(&from, does_not, 2501);
    nic_send_pieces(&from, fits, 2500);
    nic_expect_pieces(&to, false, buf, fits, 2500);
    nic_stop(&from);
    nic_stop(&to);
    nic_rig_free(rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    for (int i = 0; i < ARRAY_SIZE(pieces); i++) {
        g_autofree char *path = g_strdup_printf("ipvlan-nic/pieces/%s",
                                                pieces[i].name);

        qtest_add_data_func(path, &pieces[i], test_pieces);
    }
    qtest_add_func("ipvlan-nic/pieces/no-room", test_pieces_no_room);

    return g_test_run();
}
