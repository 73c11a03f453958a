/*
 * QTest testcase for -netdev ipvlan: what virtio-net NICs send and get
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include "qemu/bswap.h"
#include "ipvlan-rig.h"

/* --- frames in pieces ---------------------------------------------------- */

#define PIECES_MAX 61440

static const struct virtio_net_hdr no_hdr;

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

        qvirtqueue_add(qts, vq, buf, n, vq == nic->rx[0], !last);
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

/* nic_wait() is to come. */
static uint32_t nic_push_pieces(Nic *nic, const struct virtio_net_hdr *hdr,
                                const uint8_t *b, size_t len)
{
    QTestState *qts = nic->rig->qts;
    uint64_t buf = guest_alloc(&guest_alloc_state, nic->hdr_len + len);

    qtest_memset(qts, buf, 0, nic->hdr_len);
    qtest_memwrite(qts, buf, hdr, sizeof(*hdr));
    qtest_memwrite(qts, buf + nic->hdr_len, b, len);
    return nic_add_pieces(nic, nic->tx[0], buf, nic->hdr_len + len, INT_MAX);
}

/* All that was sent has been: begin with the first descriptor again. */
static void nic_reuse(Nic *nic)
{
    nic->tx[0]->free_head = 0;
    nic->tx[0]->num_free = nic->tx[0]->size;
}

static void nic_wait(Nic *nic, uint32_t head)
{
    qvirtio_wait_used_elem(nic->rig->qts, &nic->dev->vdev, nic->tx[0], head,
                           NULL, TIMEOUT_US);
    nic_reuse(nic);
}

static void nic_send_pieces(Nic *nic, const struct virtio_net_hdr *hdr,
                            const uint8_t *b, size_t len)
{
    nic_wait(nic, nic_push_pieces(nic, hdr, b, len));
}

/* All that was received fills the buffers at @buf, one after the other. */
static void nic_expect_pieces(Nic *nic, uint64_t buf, const uint8_t *b,
                              size_t len)
{
    QTestState *qts = nic->rig->qts;
    g_autofree uint8_t *got = g_malloc(nic->hdr_len + len);
    struct virtio_net_hdr_mrg_rxbuf *hdr = (void *)got;
    size_t sum = 0;
    uint32_t used;
    int n = 0;

    for (; qvirtqueue_get_buf(qts, nic->rx[0], NULL, &used); n++) {
        sum += used;
    }
    g_assert_cmpint(sum, ==, nic->hdr_len + len);
    qtest_memread(qts, buf, got, nic->hdr_len + len);
    g_assert_cmpint(hdr->hdr.flags, ==, 0);
    g_assert_cmpint(hdr->hdr.gso_type, ==, VIRTIO_NET_HDR_GSO_NONE);
    g_assert_cmpint(n, ==, nic->mergeable ? le16_to_cpu(hdr->num_buffers) : 1);
    g_assert_cmpmem(got + nic->hdr_len, len, b, len);
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
    buf = guest_alloc(&guest_alloc_state, to.hdr_len + PIECES_MAX);
    nic_add_pieces(&to, to.rx[0], buf, to.hdr_len + PIECES_MAX, p->chain);

    nic_send_pieces(&from, &no_hdr, unwanted, p->len);
    nic_send_pieces(&from, &no_hdr, wanted, p->len);
    nic_expect_pieces(&to, buf, wanted, p->len);
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
    buf = guest_alloc(&guest_alloc_state, to.hdr_len + 2500);
    nic_add_pieces(&to, to.rx[0], buf, to.hdr_len + 2500, INT_MAX);

    nic_send_pieces(&from, &no_hdr, does_not, 2501);
    nic_send_pieces(&from, &no_hdr, fits, 2500);
    nic_expect_pieces(&to, buf, fits, 2500);
    nic_stop(&from);
    nic_stop(&to);
    nic_rig_free(rig);
}

/* --- what guests leave to others to do ----------------------------------- */

#define IP6_A "2001:db8::a"
#define IP6_B "2001:db8::b"
#define EXT_IP6 "2001:db8::100"

/* An owner of addresses can be sent to before it has said anything. */
#define OWNER_A "addr=" IP_A ",addr=" IP6_A
#define OWNER_B "addr=" IP_B ",addr=" IP6_B

#define MSS 1447                /* odd, as the sums' worst case */
#define BIG_MAX 65600           /* bytes, of a frame */

enum {
    TCP_FIN = 1 << 0,
    TCP_PSH = 1 << 3,
    TCP_ACK = 1 << 4,
    TCP_CWR = 1 << 7,

    FIRST_ID = 0xfff8,          /* both wrap around */
    FIRST_SEQ = 0xffffe000,
    TCP_LEN = 20,
    UDP_LEN = 8,
    TCP_CSUM = 16,              /* where in the header */
    UDP_CSUM = 6,
};

typedef struct Sort {
    const char *name;
    bool v6, tcp, vlan;
    uint8_t gso_type;
} Sort;

enum { TCP4, TCP6, UDP4, UDP6, TSO4 };

static const Sort sorts[] = {
    [TCP4] = { "tcp4", .tcp = true },
    [TCP6] = { "tcp6", .tcp = true, .v6 = true },
    [UDP4] = { "udp4" },
    [UDP6] = { "udp6", .v6 = true },
    [TSO4] = { "tso4", .tcp = true, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 },
    { "tso6", .tcp = true, .v6 = true,
      .gso_type = VIRTIO_NET_HDR_GSO_TCPV6 },
    { "tso4-ecn", .tcp = true,
      .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN },
    { "tso4-vlan", .tcp = true, .vlan = true,
      .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 },
    { "uso4", .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4 },
    { "uso6", .v6 = true, .gso_type = VIRTIO_NET_HDR_GSO_UDP_L4 },
};

/* A packet with its checksum to be completed, and maybe to be cut. */
typedef struct Big {
    const Sort *sort;
    struct virtio_net_hdr hdr;
    size_t l3, l4, payload, len;
    uint8_t b[BIG_MAX];
} Big;

/* RFC 9293, 3.1, and RFC 8200, 8.1 */
static uint16_t pseudo_sum(const Sort *sort, const uint8_t *ip, size_t len)
{
    uint32_t rest = len + (sort->tcp ? 6 : 17);

    return ~(sort->v6 ? checksum(ip + 8, 32, rest)
                      : checksum(ip + 12, 8, rest));
}

static void put_ip_header(Frame *f, const Sort *sort, size_t len,
                          const char *const *from_to)
{
    size_t start = f->len;
    uint8_t proto = sort->tcp ? 6 : 17;

    if (sort->v6) {
        put16(f, 0x6000);
        put16(f, 0);
        put16(f, len);
        put16(f, proto << 8 | 64);
    } else {
        put16(f, 0x4500);
        put16(f, 20 + len);
        put16(f, FIRST_ID);
        put16(f, 0);
        put16(f, 64 << 8 | proto);
        put16(f, 0);
    }
    put_ip(f, from_to[0]);
    put_ip(f, from_to[1]);
    if (!sort->v6) {
        stw_be_p(f->b + start + 10, checksum(f->b + start, 20, 0));
    }
}

static void put_upper_header(Frame *f, const Sort *sort, size_t len,
                             uint16_t sum)
{
    uint16_t ecn = sort->gso_type & VIRTIO_NET_HDR_GSO_ECN ? TCP_CWR : 0;

    put16(f, 1000);
    put16(f, 2000);
    if (sort->tcp) {
        put16(f, FIRST_SEQ >> 16);
        put16(f, FIRST_SEQ & 0xffff);
        put16(f, 1);
        put16(f, 2);
        put16(f, 0x5000 | TCP_ACK | TCP_PSH | TCP_FIN | ecn);
        put16(f, 4096);
        put16(f, sum);
        put16(f, 0);
    } else {
        put16(f, len);
        put16(f, sum);
    }
}

/* From guest a to outside, or to guest b. */
static Big *big_new(const Sort *sort, size_t payload, bool to_sibling)
{
    static const char *const ip4[][2] = { { IP_A, EXT_IP }, { IP_A, IP_B } };
    static const char *const ip6[][2] = { { IP6_A, EXT_IP6 },
                                          { IP6_A, IP6_B } };
    size_t len = (sort->tcp ? TCP_LEN : UDP_LEN) + payload;
    uint16_t type = sort->v6 ? 0x86dd : 0x0800;
    Big *big = g_new0(Big, 1);
    Frame f = eth(to_sibling ? mac_b : ext_mac, mac_a,
                  sort->vlan ? 0x8100 : type);

    if (sort->vlan) {
        put16(&f, 5);
        put16(&f, type);
    }
    big->sort = sort;
    big->l3 = f.len;
    put_ip_header(&f, sort, len, sort->v6 ? ip6[to_sibling]
                                          : ip4[to_sibling]);
    big->l4 = f.len;
    put_upper_header(&f, sort, len, pseudo_sum(sort, f.b + big->l3, len));
    big->payload = f.len;
    big->len = f.len + payload;
    memcpy(big->b, f.b, f.len);
    for (size_t i = 0; i < payload; i++) {
        big->b[f.len + i] = i * 7 + (i >> 8);
    }

    big->hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    big->hdr.gso_type = sort->gso_type;
    big->hdr.gso_size = cpu_to_le16(sort->gso_type ? MSS : 0);
    big->hdr.hdr_len = cpu_to_le16(big->payload);
    big->hdr.csum_start = cpu_to_le16(big->l4);
    big->hdr.csum_offset = cpu_to_le16(sort->tcp ? TCP_CSUM : UDP_CSUM);
    return big;
}

/* One of as much as can be, the others of a few segments. */
static Big *big_of(const Sort *sort, bool to_sibling)
{
    size_t payload = sort == &sorts[TSO4] ? 65001 :
                     sort->gso_type ? 8001 : MSS;

    g_test_message("%s", sort->name);
    return big_new(sort, payload, to_sibling);
}

/* --- what becomes of them ------------------------------------------------ */

static void check_ip(const Big *big, int n, const uint8_t *b, size_t len)
{
    const uint8_t *ip = b + big->l3;

    if (big->sort->v6) {
        g_assert_cmpint(lduw_be_p(ip + 4), ==, len - big->l4);
        return;
    }
    g_assert_cmpint(lduw_be_p(ip + 2), ==, len - big->l3);
    g_assert_cmphex(lduw_be_p(ip + 4), ==, (uint16_t)(FIRST_ID + n));
    g_assert_cmphex(checksum(ip, 20, 0), ==, 0);
}

/* Complete, or left to whoever said that it could do it. */
static void check_sum(const Big *big, const struct virtio_net_hdr *hdr,
                      const uint8_t *b, size_t len)
{
    size_t l4_len = len - big->l4;
    uint16_t pseudo = pseudo_sum(big->sort, b + big->l3, l4_len);
    size_t field = big->l4 + (big->sort->tcp ? TCP_CSUM : UDP_CSUM);

    if (hdr && hdr->flags) {
        g_assert_cmphex(hdr->flags, ==, VIRTIO_NET_HDR_F_NEEDS_CSUM);
        g_assert_cmpint(le16_to_cpu(hdr->csum_start), ==, big->l4);
        g_assert_cmpint(le16_to_cpu(hdr->csum_offset), ==, field - big->l4);
        g_assert_cmphex(lduw_be_p(b + field), ==, pseudo);
    } else {
        g_assert_cmphex(checksum(b + big->l4, ROUND_UP(l4_len, 2), pseudo),
                        ==, 0);
        g_assert_cmphex(lduw_be_p(b + field), !=, 0);
    }
}

static void check_upper(const Big *big, size_t off, bool last,
                        const uint8_t *b, size_t len)
{
    const uint8_t *now = b + big->l4, *was = big->b + big->l4;
    uint8_t flags = was[13];

    if (!big->sort->tcp) {
        g_assert_cmpint(lduw_be_p(now + 4), ==, len - big->l4);
        return;
    }
    if (off) {
        flags &= ~TCP_CWR;
    }
    if (!last) {
        flags &= ~(TCP_FIN | TCP_PSH);
    }
    g_assert_cmphex((uint32_t)ldl_be_p(now + 4), ==,
                    (uint32_t)(FIRST_SEQ + off));
    g_assert_cmphex(now[13], ==, flags);
}

/*
 * The @len bytes at @b, with a zero behind them, are the @n-th piece of @big,
 * which carries what is at @off of its payload.  Returns where that ends.
 */
static size_t check_piece(const Big *big, int n, size_t off,
                          const struct virtio_net_hdr *hdr, const uint8_t *b,
                          size_t len)
{
    size_t all = big->len - big->payload;
    size_t part = big->sort->gso_type ? MIN(MSS, all - off) : all;
    bool last = off + part == all;

    g_assert_cmpint(len, ==, big->payload + part);
    g_assert_cmpmem(b, MAC_LEN, big->b, MAC_LEN);
    g_assert_cmpmem(b + 12, big->l3 - 12, big->b + 12, big->l3 - 12);
    check_ip(big, n, b, len);
    check_upper(big, off, last, b, len);
    check_sum(big, hdr, b, len);
    g_assert_cmpmem(b + big->payload, part, big->b + big->payload + off,
                    part);
    return off + part;
}

/* All of @big, in pieces that any network takes. */
static void wire_expect_pieces(Rig *rig, int wire, const Big *big,
                               const uint8_t *src)
{
    g_autofree uint8_t *b = g_malloc(BIG_MAX + 1);
    size_t off = 0;

    for (int n = 0; off < big->len - big->payload; n++) {
        struct pollfd pfd = { .fd = rig->fd[wire], .events = POLLIN };
        ssize_t len;

        g_assert_cmpint(poll(&pfd, 1, TIMEOUT_US / 1000), ==, 1);
        len = recv(rig->fd[wire], b, BIG_MAX, 0);
        g_assert_cmpint(len, >, 0);
        b[len] = 0;
        g_assert_cmpmem(b + MAC_LEN, MAC_LEN, src, MAC_LEN);
        off = check_piece(big, n, off, NULL, b, len);
    }
}

/* Receive buffers of @size bytes, all in a row. */
typedef struct Ring {
    Nic *nic;
    QVirtQueue *vq;
    uint64_t base;
    uint32_t first;
    size_t size;
} Ring;

static Ring ring_fill(Nic *nic, int queue, int n, size_t size)
{
    Ring ring = {
        .nic = nic, .vq = nic->rx[queue], .size = size,
        .base = guest_alloc(&guest_alloc_state, n * size),
        .first = nic->rx[queue]->free_head,
    };

    for (int i = 0; i < n; i++) {
        uint32_t head = qvirtqueue_add(nic->rig->qts, ring.vq,
                                       ring.base + i * size, size, true,
                                       false);

        qvirtqueue_kick(nic->rig->qts, &nic->dev->vdev, ring.vq, head);
    }
    return ring;
}

/* The bytes that one buffer has got; 0 where there is no such buffer. */
static size_t ring_take_buffer(Ring *ring, uint8_t *b)
{
    QTestState *qts = ring->nic->rig->qts;
    uint32_t head, len;

    if (!qvirtqueue_get_buf(qts, ring->vq, &head, &len)) {
        return 0;
    }
    g_assert_cmpint(len, >, 0);
    g_assert_cmpint(len, <=, ring->size);
    qtest_memread(qts, ring->base + (head - ring->first) * ring->size, b,
                  len);
    return len;
}

/*
 * The next frame and its header, if there is one, with a zero behind it.
 * @b: of BIG_MAX bytes and some.
 */
static size_t ring_take(Ring *ring, struct virtio_net_hdr *hdr, uint8_t *b)
{
    struct virtio_net_hdr_mrg_rxbuf whole;
    size_t hdr_len = ring->nic->hdr_len, len = ring_take_buffer(ring, b);

    if (!len) {
        return 0;
    }
    g_assert_cmpint(len, >, hdr_len);
    memcpy(&whole, b, hdr_len);
    if (ring->nic->mergeable) {
        for (int n = le16_to_cpu(whole.num_buffers); n > 1; n--) {
            len += ring_take_buffer(ring, b + len);
        }
    }
    *hdr = whole.hdr;
    len -= hdr_len;
    memmove(b, b + hdr_len, len);
    b[len] = 0;
    return len;
}

static void ring_expect_nothing(Ring *ring)
{
    g_assert_false(qvirtqueue_get_buf(ring->nic->rig->qts, ring->vq, NULL,
                                      NULL));
}

/* All of @big as it was sent, header included. */
static void ring_expect_whole(Ring *ring, const Big *big)
{
    g_autofree uint8_t *b = g_malloc(2 * BIG_MAX);
    struct virtio_net_hdr hdr;
    size_t len = ring_take(ring, &hdr, b);

    g_assert_cmpmem(&hdr, sizeof(hdr), &big->hdr, sizeof(big->hdr));
    g_assert_cmpmem(b, len, big->b, big->len);
    ring_expect_nothing(ring);
}

/* All of @big, none of it to be cut; @sums: or to be completed. */
static void ring_expect_pieces(Ring *ring, const Big *big, bool sums)
{
    g_autofree uint8_t *b = g_malloc(2 * BIG_MAX);
    size_t off = 0;

    for (int n = 0; off < big->len - big->payload; n++) {
        struct virtio_net_hdr hdr;
        size_t len = ring_take(ring, &hdr, b);

        g_assert_cmpint(len, >, 0);
        g_assert_cmpint(hdr.gso_type, ==, VIRTIO_NET_HDR_GSO_NONE);
        g_assert_true(sums || !hdr.flags);
        g_assert_cmpmem(b + MAC_LEN, MAC_LEN, mac_a, MAC_LEN);
        off = check_piece(big, n, off, &hdr, b, len);
    }
    ring_expect_nothing(ring);
}

typedef struct Variant {
    const char *name, *device;
    uint64_t without;           /* features */
} Variant;

/* The headers are of 12 bytes but for the last one's, which are of 10. */
static const Variant variants[] = {
    { "modern", "", 0 },
    { "modern-not-mergeable", "", MERGEABLE },
    { "legacy", "disable-modern=on", 0 },
    { "legacy-not-mergeable", "disable-modern=on", MERGEABLE },
};

/* What a driver can take. */
#define GUEST_CSUM (1ull << VIRTIO_NET_F_GUEST_CSUM)
#define GUEST_GSO (1ull << VIRTIO_NET_F_GUEST_TSO4 |    \
                   1ull << VIRTIO_NET_F_GUEST_TSO6 |    \
                   1ull << VIRTIO_NET_F_GUEST_ECN |     \
                   1ull << VIRTIO_NET_F_GUEST_UFO |     \
                   1ull << VIRTIO_NET_F_GUEST_USO4 |    \
                   1ull << VIRTIO_NET_F_GUEST_USO6)

/* A socket takes only what is complete; it is not in a hurry. */
static void test_offload_socket(const Variant *variant, int wire)
{
    Rig *rig = rig_prepare("-machine pc");
    Nic nic;

    add_nic_with(rig, 0, OWNER_A, variant->device);
    rig_add_slave(rig, N1, OWNER_B);
    nic_rig_start(rig);
    nic = nic_start_without(rig, 0, variant->without);
    send_frame(rig, N1, announcement(mac_b, IP_B));
    expect(rig, UP, announcement(port_mac, IP_B));
    for (int i = 0; i < ARRAY_SIZE(sorts); i++) {
        g_autofree Big *big = big_of(&sorts[i], wire != UP);
        uint32_t head = nic_push_pieces(&nic, &big->hdr, big->b, big->len);

        wire_expect_pieces(rig, wire, big, wire == UP ? port_mac : mac_a);
        nic_wait(&nic, head);
    }
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, 0);
    nic_stop(&nic);
    nic_rig_free(rig);
}

static void test_offload_uplink(const void *data)
{
    test_offload_socket(data, UP);
}

static void test_offload_netdev(const void *data)
{
    test_offload_socket(data, N1);
}

/* @to does without @without, and is of @variant as @from is, too. */
static Rig *rig_of_offloads(const Variant *variant, uint64_t without,
                            Nic *from, Nic *to)
{
    Rig *rig = rig_prepare("-machine pc");

    add_nic_with(rig, 0, OWNER_A, variant->device);
    add_nic_with(rig, 1, OWNER_B, variant->device);
    nic_rig_start(rig);
    *from = nic_start_without(rig, 0, variant->without);
    *to = nic_start_without(rig, 1, variant->without | without);
    nic_send(to, announcement(mac_b, IP_B));
    expect(rig, UP, announcement(port_mac, IP_B));
    return rig;
}

/* Segmented UDP is a feature that legacy drivers cannot have. */
static bool takes_whole(const Nic *nic, const Sort *sort)
{
    return sort->gso_type != VIRTIO_NET_HDR_GSO_UDP_L4 ||
           (nic->dev->vdev.features & (1ull << VIRTIO_NET_F_GUEST_USO4));
}

static void test_offload_whole(const void *data)
{
    Nic from, to;
    Rig *rig = rig_of_offloads(data, 0, &from, &to);
    Ring ring = to.mergeable ? ring_fill(&to, 0, 200, 2048)
                             : ring_fill(&to, 0, 30, BIG_MAX);

    for (int i = 0; i < ARRAY_SIZE(sorts); i++) {
        g_autofree Big *big = big_of(&sorts[i], true);

        nic_send_pieces(&from, &big->hdr, big->b, big->len);
        if (takes_whole(&to, &sorts[i])) {
            ring_expect_whole(&ring, big);
        } else {
            ring_expect_pieces(&ring, big, true);
        }
    }
    nic_stop(&from);
    nic_stop(&to);
    nic_rig_free(rig);
}

static void test_offload_pieces(const Variant *variant, uint64_t without)
{
    Nic from, to;
    Rig *rig = rig_of_offloads(variant, without, &from, &to);
    Ring ring = ring_fill(&to, 0, 200, 2048);

    for (int i = 0; i < ARRAY_SIZE(sorts); i++) {
        g_autofree Big *big = big_of(&sorts[i], true);

        nic_send_pieces(&from, &big->hdr, big->b, big->len);
        ring_expect_pieces(&ring, big, !(without & GUEST_CSUM));
    }
    nic_stop(&from);
    nic_stop(&to);
    nic_rig_free(rig);
}

static void test_offload_segments(const void *data)
{
    test_offload_pieces(data, GUEST_GSO);
}

static void test_offload_nothing(const void *data)
{
    test_offload_pieces(data, GUEST_GSO | GUEST_CSUM);
}

/* A driver may change its mind about what it takes (5.1.6.5.6). */
static void test_offload_change(void)
{
    g_autofree Big *big = big_of(&sorts[TSO4], true);
    uint64_t some = cpu_to_le64(GUEST_CSUM), none = 0;
    Nic from, to;
    Rig *rig = rig_of_offloads(&variants[0], 0, &from, &to);
    Ring ring = ring_fill(&to, 0, 200, 2048);

    nic_send_pieces(&from, &big->hdr, big->b, big->len);
    ring_expect_whole(&ring, big);
    nic_control(&to, VIRTIO_NET_CTRL_GUEST_OFFLOADS,
                VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &some, sizeof(some));
    nic_send_pieces(&from, &big->hdr, big->b, big->len);
    ring_expect_pieces(&ring, big, true);
    nic_control(&to, VIRTIO_NET_CTRL_GUEST_OFFLOADS,
                VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &none, sizeof(none));
    nic_send_pieces(&from, &big->hdr, big->b, big->len);
    ring_expect_pieces(&ring, big, false);
    nic_stop(&from);
    nic_stop(&to);
    nic_rig_free(rig);
}

/* Who sends must not say that it has checked its own checksum (5.1.6.2.1). */
static void test_data_valid(void)
{
    g_autofree Big *big = big_of(&sorts[UDP4], true);
    g_autofree uint8_t *b = g_malloc(2 * BIG_MAX);
    Nic from, to;
    Rig *rig = rig_of_offloads(&variants[0], 0, &from, &to);
    Ring ring = ring_fill(&to, 0, 4, 2048);
    struct virtio_net_hdr hdr = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };

    nic_send_pieces(&from, &hdr, big->b, big->len);
    g_assert_cmpint(ring_take(&ring, &hdr, b), ==, big->len);
    g_assert_cmpint(hdr.flags, ==, 0);
    nic_stop(&from);
    nic_stop(&to);
    nic_rig_free(rig);
}

/* --- hostile headers ----------------------------------------------------- */

typedef struct Lie {
    const char *name;
    int sort;
    uint8_t flags, gso_type;
    uint16_t gso_size, csum_start, csum_offset;
} Lie;

#define CSUM VIRTIO_NET_HDR_F_NEEDS_CSUM
#define GSO(type) VIRTIO_NET_HDR_GSO_##type

/* Of frames of 3,054 bytes or so; IPv4's upper header is at 34. */
static const Lie lies[] = {
    { "gso-size-0", TCP4, CSUM, GSO(TCPV4), 0, 34, 16 },
    { "gso-size-past-end", TCP4, CSUM, GSO(TCPV4), 4000, 34, 16 },
    { "gso-size-65535", TCP4, CSUM, GSO(TCPV4), 65535, 34, 16 },
    { "type-2", TCP4, CSUM, 2, MSS, 34, 16 },
    { "type-127", TCP4, CSUM, 127, MSS, 34, 16 },
    { "ecn-alone", TCP4, CSUM, GSO(ECN), MSS, 34, 16 },
    { "tso6-of-ipv4", TCP4, CSUM, GSO(TCPV6), MSS, 34, 16 },
    { "tso4-of-ipv6", TCP6, CSUM, GSO(TCPV4), MSS, 54, 16 },
    { "tso4-of-udp", UDP4, CSUM, GSO(TCPV4), MSS, 34, 6 },
    { "uso-of-tcp", TCP4, CSUM, GSO(UDP_L4), MSS, 34, 16 },
    { "ufo-of-tcp", TCP4, CSUM, GSO(UDP), MSS, 34, 16 },
    { "uso-with-ecn", UDP4, CSUM, GSO(UDP_L4) | GSO(ECN), MSS, 34, 6 },
    { "tso-of-another-checksum", TCP4, CSUM, GSO(TCPV4), MSS, 34, 6 },
    { "tso-of-a-checksum-elsewhere", TCP4, CSUM, GSO(TCPV4), MSS, 54, 0 },
    { "start-in-destination", TCP4, CSUM, 0, 0, 0, 0 },
    { "start-in-ethernet", TCP4, CSUM, 0, 0, 13, 16 },
    { "start-in-ip", TCP4, CSUM, 0, 0, 14, 12 },
    { "start-past-end", TCP4, CSUM, 0, 0, 4000, 16 },
    { "start-65535", TCP4, CSUM, 0, 0, 65535, 65535 },
    { "offset-past-end", TCP4, CSUM, 0, 0, 34, 3020 },
    { "offset-at-end", TCP4, CSUM, 0, 0, 34, 3019 },
    { "offset-65535", TCP4, CSUM, 0, 0, 34, 65535 },
    { "offset-of-a-port", TCP4, CSUM, 0, 0, 34, 0 },
    { "offset-of-a-udp-port", UDP4, CSUM, 0, 0, 34, 2 },
};

static void nic_send_lie(Nic *nic, const Lie *lie, bool to_sibling)
{
    const struct virtio_net_hdr hdr = {
        .flags = lie->flags,
        .gso_type = lie->gso_type,
        .gso_size = cpu_to_le16(lie->gso_size),
        .csum_start = cpu_to_le16(lie->csum_start),
        .csum_offset = cpu_to_le16(lie->csum_offset),
    };
    g_autofree Big *big = big_new(&sorts[lie->sort], 3000, to_sibling);

    nic_send_pieces(nic, &hdr, big->b, big->len);
}

static void check_honest_uplink(Rig *rig, Nic *from)
{
    g_autofree Big *big = big_of(&sorts[TSO4], false);
    uint32_t head = nic_push_pieces(from, &big->hdr, big->b, big->len);

    wire_expect_pieces(rig, UP, big, port_mac);
    nic_wait(from, head);
}

/* Both ways are as good as before. */
static void check_honest(Rig *rig, Nic *from, Ring *ring)
{
    g_autofree Big *big = big_of(&sorts[TSO4], true);

    check_honest_uplink(rig, from);
    nic_send_pieces(from, &big->hdr, big->b, big->len);
    ring_expect_whole(ring, big);
}

static void test_lie(const void *data)
{
    const Lie *lie = data;
    Nic from, to;
    Rig *rig = rig_of_offloads(&variants[0], 0, &from, &to);
    Ring ring = ring_fill(&to, 0, 100, 2048);

    nic_send_lie(&from, lie, false);
    nic_send_lie(&from, lie, true);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", "bad-vnet-header"),
                    ==, 2);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, 2);
    ring_expect_nothing(&ring);
    check_honest(rig, &from, &ring);
    nic_stop(&from);
    nic_stop(&to);
    nic_rig_free(rig);
}

/* A header that ends, and one with next to nothing behind it. */
static void test_no_frame(void)
{
    Nic from, to;
    Rig *rig = rig_of_offloads(&variants[0], 0, &from, &to);
    Ring ring = ring_fill(&to, 0, 100, 2048);
    QTestState *qts = rig->qts;
    uint64_t buf = guest_alloc(&guest_alloc_state, 64);
    const size_t lens[] = { 1, 5, from.hdr_len, from.hdr_len + 13 };

    qtest_memset(qts, buf, 0, 64);
    for (int i = 0; i < ARRAY_SIZE(lens); i++) {
        uint32_t head = qvirtqueue_add(qts, from.tx[0], buf, lens[i], false,
                                       false);

        nic_kick_and_wait(&from, from.tx[0], head);
    }
    g_assert_cmpint(get_drops(qts, "0.slaves.0", "truncated"), ==,
                    ARRAY_SIZE(lens));
    check_honest(rig, &from, &ring);
    nic_stop(&from);
    nic_stop(&to);
    nic_rig_free(rig);
}

/* While the uplink is emptied, as often as it is busy. */
static void nic_send_and_discard(Nic *nic, const struct virtio_net_hdr *hdr,
                                 const uint8_t *b, size_t len)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    nic_push_pieces(nic, hdr, b, len);
    while (!qvirtqueue_get_buf(nic->rig->qts, nic->tx[0], NULL, NULL)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        discard(nic->rig, UP);
    }
    nic_reuse(nic);
    discard(nic->rig, UP);
}

/* Mostly in range, or next to nothing would get past the first check. */
static uint16_t random_field(void)
{
    return cpu_to_le16(g_test_rand_int_range(0, 4) ?
                       g_test_rand_int_range(0, 64) : g_test_rand_int());
}

static void test_random_headers(void)
{
    static const uint8_t types[] = { 0, 1, 3, 4, 5, 0x80, 0x81, 0x84, 2 };
    Nic from, to;
    Rig *rig = rig_of_offloads(&variants[0], 0, &from, &to);

    for (int i = 0; i < 600; i++) {
        const Sort *sort = &sorts[i % ARRAY_SIZE(sorts)];
        g_autofree Big *big = big_new(sort, g_test_rand_int_range(0, 3000),
                                      i & 1);
        struct virtio_net_hdr hdr = {
            .flags = g_test_rand_int_range(0, 4),
            .gso_type = types[g_test_rand_int_range(0, ARRAY_SIZE(types))],
            .hdr_len = random_field(),
            .gso_size = random_field(),
            .csum_start = g_test_rand_int_range(0, 2) ? big->hdr.csum_start
                                                      : random_field(),
            .csum_offset = g_test_rand_int_range(0, 2) ?
                           big->hdr.csum_offset : random_field(),
        };

        big->b[g_test_rand_int_range(big->l3, big->payload)] ^=
            1 << g_test_rand_int_range(0, 8);
        nic_send_and_discard(&from, &hdr, big->b, big->len);
    }
    check_honest_uplink(rig, &from);
    nic_stop(&from);
    nic_stop(&to);
    nic_rig_free(rig);
}

/* --- several queues ------------------------------------------------------ */

#define FLOWS 64
#define MQ "mq=on,vectors=10"

/* Another one for each @flow, either way. */
static Frame flow_frame(int flow, bool back, uint32_t tag)
{
    Frame f = back ? udp(mac_a, mac_b, IP_B, IP_A, tag)
                   : udp(mac_b, mac_a, IP_A, IP_B, tag);

    stw_be_p(f.b + (back ? 36 : 34), 3000 + flow);
    stw_be_p(f.b + (back ? 34 : 36), 2000);
    return f;
}

/* The flow of the next frame in @ring, which is to be @tag; -1: no frame. */
static int ring_take_flow(Ring *ring, bool back, uint32_t *tag)
{
    g_autofree uint8_t *b = g_malloc(2 * BIG_MAX);
    struct virtio_net_hdr hdr;
    size_t len = ring_take(ring, &hdr, b);

    if (!len) {
        return -1;
    }
    g_assert_cmpint(len, ==, 14 + 32);
    *tag = ldl_be_p(b + 42);
    return lduw_be_p(b + (back ? 36 : 34)) - 3000;
}

static void nic_set_queues(Nic *nic, uint16_t n)
{
    uint16_t pairs = cpu_to_le16(n);

    nic_control(nic, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
                &pairs, sizeof(pairs));
}

static void wait_for_queues(Rig *rig, const char *slave, int n)
{
    g_autofree char *key = g_strdup_printf("%s.queues", slave);
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (get_int(rig->qts, key) != n) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

/* Two guests with four queues each, which do not use them yet. */
static Rig *rig_of_queues(Nic *a, Nic *b)
{
    Rig *rig = rig_prepare("-machine pc");

    add_nic_with(rig, 0, "queues=4,addr=" IP_A, MQ);
    add_nic_with(rig, 1, "queues=4,addr=" IP_B, MQ);
    nic_rig_start(rig);
    *a = nic_start(rig, 0);
    *b = nic_start(rig, 1);
    g_assert_cmpint(a->n_queues, ==, 4);
    g_assert_cmpint(b->n_queues, ==, 4);
    return rig;
}

/* From now on @nic uses @n queues, and its MAC address is known. */
static void use_queues(Nic *nic, const char *slave, const uint8_t *mac,
                       const char *ip, int n)
{
    nic_set_queues(nic, n);
    wait_for_queues(nic->rig, slave, n);
    nic_push(nic, n - 1, udp(ext_mac, mac, ip, EXT_IP, n));
    expect(nic->rig, UP, udp(ext_mac, port_mac, ip, EXT_IP, n));
}

static void fill_all(Nic *nic, Ring *rings)
{
    for (int i = 0; i < nic->n_queues; i++) {
        rings[i] = ring_fill(nic, i, 250, 256);
    }
}

/*
 * All there is, of which each flow has one queue and its frames in order.
 * @queue_of: of each flow, -1 where it is not known yet.
 */
static int take_flows(Ring *rings, int n, bool back, int *queue_of)
{
    int taken = 0;

    for (int i = 0; i < n; i++) {
        uint32_t last[FLOWS] = { 0 }, tag;
        int flow;

        while ((flow = ring_take_flow(&rings[i], back, &tag)) >= 0) {
            g_assert_cmpint(flow, <, FLOWS);
            if (queue_of[flow] < 0) {
                queue_of[flow] = i;
            }
            g_assert_cmpint(queue_of[flow], ==, i);
            g_assert_cmpint(tag, >, last[flow]);
            last[flow] = tag;
            taken++;
        }
    }
    return taken;
}

/* A flow stays where it is, and what answers it is there, too. */
static void test_queues(void)
{
    Nic a, b;
    Rig *rig = rig_of_queues(&a, &b);
    Ring to_a[NIC_QUEUES], to_b[NIC_QUEUES];
    int queue_of[FLOWS], used = 0;

    use_queues(&a, "0.slaves.0", mac_a, IP_A, 4);
    use_queues(&b, "0.slaves.1", mac_b, IP_B, 4);
    fill_all(&a, to_a);
    fill_all(&b, to_b);
    memset(queue_of, -1, sizeof(queue_of));
    for (int i = 0; i < 3 * FLOWS; i++) {
        nic_send(&a, flow_frame(i % FLOWS, false, i + 1));
    }
    g_assert_cmpint(take_flows(to_b, 4, false, queue_of), ==, 3 * FLOWS);
    for (int i = 0; i < 3 * FLOWS; i++) {
        nic_send(&b, flow_frame(i % FLOWS, true, i + 1));
    }
    g_assert_cmpint(take_flows(to_a, 4, true, queue_of), ==, 3 * FLOWS);
    for (int i = 0; i < FLOWS; i++) {
        used |= 1 << queue_of[i];
    }
    g_assert_cmphex(used, ==, 0xf);
    nic_stop(&a);
    nic_stop(&b);
    nic_rig_free(rig);
}

static int64_t get_queue(Rig *rig, int slave, int queue, const char *what)
{
    g_autofree char *key = g_strdup_printf("0.slaves.%d.per-queue.%d.%s",
                                           slave, queue, what);

    return get_int(rig->qts, key);
}

/* What is counted of queues is what is counted of the slave. */
static void assert_sum(Rig *rig, int slave, const char *what)
{
    g_autofree char *key = g_strdup_printf("0.slaves.%d.stats.%s", slave,
                                           what);
    int64_t sum = 0;

    for (int i = 0; i < NIC_QUEUES; i++) {
        sum += get_queue(rig, slave, i, what);
    }
    g_assert_cmpint(sum, ==, get_int(rig->qts, key));
    g_assert_cmpint(sum, >, 0);
}

static void test_queues_counted(void)
{
    Nic a, b;
    Rig *rig = rig_of_queues(&a, &b);
    Ring to_b[NIC_QUEUES];
    int queue_of[FLOWS];

    use_queues(&a, "0.slaves.0", mac_a, IP_A, 4);
    use_queues(&b, "0.slaves.1", mac_b, IP_B, 2);
    g_assert_cmpint(get_queue(rig, 0, 3, "tx-packets"), ==, 1);
    g_assert_cmpint(get_queue(rig, 1, 1, "tx-packets"), ==, 1);
    g_assert_cmpint(get_queue(rig, 1, 1, "tx-bytes"), ==, 46);
    fill_all(&b, to_b);
    for (int i = 0; i < FLOWS; i++) {
        nic_send(&a, flow_frame(i, false, i + 1));
    }
    memset(queue_of, -1, sizeof(queue_of));
    g_assert_cmpint(take_flows(to_b, 2, false, queue_of), ==, FLOWS);
    for (int i = 0; i < 2; i++) {
        int expected = 0;

        for (int flow = 0; flow < FLOWS; flow++) {
            expected += queue_of[flow] == i;
        }
        g_assert_cmpint(get_queue(rig, 1, i, "rx-packets"), ==, expected);
    }
    g_assert_cmpint(get_queue(rig, 1, 2, "rx-packets"), ==, 0);
    g_assert_cmpint(get_queue(rig, 0, 0, "tx-packets"), ==, FLOWS);
    assert_sum(rig, 0, "tx-packets");
    assert_sum(rig, 0, "tx-bytes");
    assert_sum(rig, 1, "rx-packets");
    assert_sum(rig, 1, "rx-bytes");
    nic_stop(&a);
    nic_stop(&b);
    nic_rig_free(rig);
}

/* The NIC has no buffers: QEMU keeps one frame, the others wait here. */
static void test_queue_delay(void)
{
    Rig *rig = rig_of_nic("addr=" IP_A);
    Nic nic = nic_start(rig, 0);
    g_autofree char *text = NULL;

    for (int i = 0; i < 3; i++) {
        send_frame(rig, UP, inbound(IP_A, i));
    }
    while (get_int(rig->qts, "0.slaves.0.rx-queue") != 2) {
        continue;
    }
    g_assert_cmpint(get_queue(rig, 0, 0, "waiting"), ==, 2);
    g_assert_cmpint(get_queue(rig, 0, 0, "delay"), ==, 0);
    qtest_clock_step(rig->qts, 7654321);
    g_assert_cmpint(get_queue(rig, 0, 0, "delay"), ==, 7654);
    text = qtest_hmp(rig->qts, "info ipvlan");
    g_assert_nonnull(strstr(text, "\r\n      waiting: 2, for 7654 us\r\n"));
    for (int i = 0; i < 3; i++) {
        nic_expect(&nic, with_dst(inbound(IP_A, i), mac_a));
    }
    while (get_queue(rig, 0, 0, "waiting")) {
        continue;
    }
    g_assert_cmpint(get_queue(rig, 0, 0, "delay"), ==, 0);
    g_assert_cmpint(get_queue(rig, 0, 0, "last-delay"), ==, 7654);
    g_assert_cmpint(get_queue(rig, 0, 0, "rx-packets"), ==, 3);
    nic_stop(&nic);
    nic_rig_free(rig);
}

/* A driver that knows nothing of several queues gets all in the first. */
static void test_queues_without(void)
{
    Rig *rig = rig_prepare("-machine pc");
    int queue_of[FLOWS];
    Nic a, b;
    Ring to_a, to_b;

    add_nic_with(rig, 0, "queues=4,addr=" IP_A, MQ);
    add_nic_with(rig, 1, "queues=4,addr=" IP_B, "");
    nic_rig_start(rig);
    a = nic_start_without(rig, 0, 1ull << VIRTIO_NET_F_MQ);
    b = nic_start(rig, 1);
    g_assert_cmpint(b.n_queues, ==, 1);
    nic_send(&a, udp(ext_mac, mac_a, IP_A, EXT_IP, 0));
    nic_send(&b, udp(ext_mac, mac_b, IP_B, EXT_IP, 0));
    to_a = ring_fill(&a, 0, 250, 256);
    to_b = ring_fill(&b, 0, 250, 256);
    for (int i = 0; i < FLOWS; i++) {
        nic_send(&a, flow_frame(i, false, i + 1));
        nic_send(&b, flow_frame(i, true, i + 1));
    }
    memset(queue_of, 0, sizeof(queue_of));
    g_assert_cmpint(take_flows(&to_a, 1, true, queue_of), ==, FLOWS);
    g_assert_cmpint(take_flows(&to_b, 1, false, queue_of), ==, FLOWS);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.0.queues"), ==, 1);
    g_assert_cmpint(get_int(rig->qts, "0.slaves.1.queues"), ==, 1);
    nic_stop(&a);
    nic_stop(&b);
    nic_rig_free(rig);
}

/* A NIC of several queues on a slave of one is a NIC of one queue. */
static void test_queues_one(void)
{
    Rig *rig = rig_prepare("-machine pc");
    Nic nic;

    add_nic_with(rig, 0, "addr=" IP_A, MQ);
    nic_rig_start(rig);
    nic = nic_start(rig, 0);
    g_assert_cmpint(nic.n_queues, ==, 1);
    send_frame(rig, UP, inbound(IP_A, 1));
    nic_expect(&nic, with_dst(inbound(IP_A, 1), mac_a));
    nic_stop(&nic);
    nic_rig_free(rig);
}

/*
 * The guest uses fewer queues, then more, while frames wait: none that is
 * sent later gets lost, and of those that wait only what QEMU itself keeps
 * for a queue that is no longer used, which is one each.
 */
static void test_queues_change(void)
{
    Nic a, b;
    Rig *rig = rig_of_queues(&a, &b);
    Ring to_b[NIC_QUEUES];
    int queue_of[FLOWS], n;

    use_queues(&b, "0.slaves.1", mac_b, IP_B, 4);
    for (int i = 0; i < FLOWS; i++) {
        nic_send(&a, flow_frame(i, false, i + 1));
    }
    nic_set_queues(&b, 1);
    for (int i = 0; i < FLOWS; i++) {
        nic_send(&a, flow_frame(i, false, FLOWS + i + 1));
    }
    to_b[0] = ring_fill(&b, 0, 250, 256);
    wait_for_queues(rig, "0.slaves.1", 1);
    while (get_int(rig->qts, "0.slaves.1.rx-queue")) {
        continue;
    }
    memset(queue_of, 0, sizeof(queue_of));
    n = take_flows(to_b, 1, false, queue_of);
    g_assert_cmpint(n, >=, 2 * FLOWS - 3);
    g_assert_cmpint(n, <=, 2 * FLOWS);
    for (int i = 0; i < FLOWS; i++) {
        nic_send(&a, flow_frame(i, false, 2 * FLOWS + i + 1));
    }
    g_assert_cmpint(take_flows(to_b, 1, false, queue_of), ==, FLOWS);
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.1", NULL), ==, 0);

    use_queues(&b, "0.slaves.1", mac_b, IP_B, 4);
    for (int i = 1; i < 4; i++) {
        to_b[i] = ring_fill(&b, i, 250, 256);
    }
    memset(queue_of, -1, sizeof(queue_of));
    for (int i = 0; i < 2 * FLOWS; i++) {
        nic_send(&a, flow_frame(i % FLOWS, false, 3 * FLOWS + i + 1));
    }
    g_assert_cmpint(take_flows(to_b, 4, false, queue_of), ==, 2 * FLOWS);
    nic_stop(&a);
    nic_stop(&b);
    nic_rig_free(rig);
}

/* Each of a guest's queues can send, and all of them can wait. */
static void test_queues_send(void)
{
    Nic a, b;
    Rig *rig = rig_of_queues(&a, &b);
    unsigned seen[NIC_QUEUES] = { 0 };

    use_queues(&a, "0.slaves.0", mac_a, IP_A, 4);
    for (int i = 0; i < 120; i++) {
        nic_push(&a, i % 4, udp(ext_mac, mac_a, IP_A, EXT_IP,
                                (i % 4) << 16 | i));
    }
    for (int i = 0; i < 120; i++) {
        Frame f = receive(rig, UP);
        uint32_t tag = udp_tag(&f), queue = tag >> 16;

        /* in order within each queue */
        g_assert_cmpint(queue, <, 4);
        g_assert_cmpint(tag & 0xffff, ==, 4 * seen[queue]++ + queue);
    }
    g_assert_cmpint(get_drops(rig->qts, "0.slaves.0", NULL), ==, 0);
    nic_stop(&a);
    nic_stop(&b);
    nic_rig_free(rig);
}

/* The slave goes while frames wait in all of its queues. */
static void test_queues_delete(void)
{
    Nic a, b;
    Rig *rig = rig_of_queues(&a, &b);

    use_queues(&b, "0.slaves.1", mac_b, IP_B, 4);
    for (int i = 0; i < FLOWS; i++) {
        nic_send(&a, flow_frame(i, false, i + 1));
    }
    del(rig->qts, "n1");
    g_assert_false(nic_is_up(b.dev));
    g_assert_true(nic_is_up(a.dev));
    nic_push(&b, 3, udp(ext_mac, mac_b, IP_B, EXT_IP, 1));
    add(rig->qts, "n1", "'master': 'up0', 'queues': 4, "
        "'addr': [ '" IP_B "' ]");
    del(rig->qts, "up0");
    g_assert_false(nic_is_up(a.dev));
    nic_stop(&a);
    nic_stop(&b);
    nic_rig_free(rig);
}

/* With every header. */
static void add_offload_tests(const char *name, void (*test)(const void *))
{
    for (int i = 0; i < ARRAY_SIZE(variants); i++) {
        g_autofree char *path = g_strdup_printf("ipvlan-nic/offload/%s/%s",
                                                name, variants[i].name);

        qtest_add_data_func(path, &variants[i], test);
    }
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

    add_offload_tests("uplink", test_offload_uplink);
    add_offload_tests("netdev", test_offload_netdev);
    add_offload_tests("whole", test_offload_whole);
    add_offload_tests("segments", test_offload_segments);
    add_offload_tests("nothing", test_offload_nothing);
    qtest_add_func("ipvlan-nic/offload/change", test_offload_change);
    qtest_add_func("ipvlan-nic/offload/data-valid", test_data_valid);
    for (int i = 0; i < ARRAY_SIZE(lies); i++) {
        g_autofree char *path = g_strdup_printf("ipvlan-nic/hostile/%s",
                                                lies[i].name);

        qtest_add_data_func(path, &lies[i], test_lie);
    }
    qtest_add_func("ipvlan-nic/hostile/no-frame", test_no_frame);
    qtest_add_func("ipvlan-nic/hostile/random", test_random_headers);

    qtest_add_func("ipvlan-nic/queues/flows", test_queues);
    qtest_add_func("ipvlan-nic/queues/counted", test_queues_counted);
    qtest_add_func("ipvlan-nic/queues/delay", test_queue_delay);
    qtest_add_func("ipvlan-nic/queues/without", test_queues_without);
    qtest_add_func("ipvlan-nic/queues/one", test_queues_one);
    qtest_add_func("ipvlan-nic/queues/change", test_queues_change);
    qtest_add_func("ipvlan-nic/queues/send", test_queues_send);
    qtest_add_func("ipvlan-nic/queues/delete", test_queues_delete);

    return g_test_run();
}
