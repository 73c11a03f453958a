/*
 * A frame: borrowed bytes, held copies, private headers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdio.h>

#include "invariant.h"
#include "packet.h"

struct PacketBuf {
    unsigned refs;
    struct iovec iov;           /* of data, so that a head can be put before */
    uint8_t data[];
};

void packet_init(Packet *p, const struct iovec *iov, unsigned cnt)
{
    size_t len = 0;

    while (cnt && !iov->iov_len) {
        iov++;
        cnt--;
    }
    /* Not the scratch space: this is once a frame, and nobody reads it. */
    memset(p, 0, offsetof(Packet, layers));
    packet_layers_reset(&p->layers);
    p->node = (GList) { 0 };
    p->queued = 0;
    if (!cnt) {
        return;
    }
    for (unsigned i = 0; i < cnt; i++) {
        len += iov[i].iov_len;
    }
    /* What does not fit is far past PACKET_MAX_LEN, and must stay so. */
    p->len = MIN(len, UINT32_MAX);
    p->head = iov->iov_base;
    p->head_len = MIN(iov->iov_len, UINT32_MAX);
    p->tail = iov + 1;
    p->tail_cnt = cnt - 1;
}

/* Copy [@off, @off + @len) of the tail, counted behind the head. */
static void tail_copy(const Packet *p, uint32_t off, uint32_t len,
                      uint8_t *dst)
{
    const struct iovec *iov = p->tail;

    off += p->tail_off;
    while (len) {
        if (off < iov->iov_len) {
            uint32_t n = MIN(len, iov->iov_len - off);

            memcpy(dst, (const uint8_t *)iov->iov_base + off, n);
            dst += n;
            len -= n;
            off += n;
        }
        off -= iov->iov_len;
        iov++;
    }
}

void packet_copy_range(const Packet *p, uint32_t off, uint32_t len, void *to)
{
    uint8_t *dst = to;

    if (off < p->head_len) {
        uint32_t n = MIN(len, p->head_len - off);

        memcpy(dst, p->head + off, n);
        dst += n;
        off += n;
        len -= n;
    }
    if (len) {
        tail_copy(p, off - p->head_len, len, dst);
    }
}

const void *packet_peek_slow(const Packet *p, uint32_t off, uint32_t len,
                             void *buf)
{
    if (off > p->len || len > p->len - off) {
        return NULL;
    }
    packet_copy_range(p, off, len, buf);
    return buf;
}

int packet_to_iov(const Packet *p, struct iovec *iov, int max)
{
    uint32_t skip = p->tail_off;
    int n = 0;

    if (p->head_len) {
        if (n == max) {
            return -ENOBUFS;
        }
        iov[n].iov_base = (void *)p->head;
        iov[n++].iov_len = p->head_len;
    }
    for (uint32_t i = 0; i < p->tail_cnt; i++) {
        const struct iovec *t = &p->tail[i];

        if (skip >= t->iov_len) {
            skip -= t->iov_len;
            continue;
        }
        if (n == max) {
            return -ENOBUFS;
        }
        iov[n].iov_base = (uint8_t *)t->iov_base + skip;
        iov[n++].iov_len = t->iov_len - skip;
        skip = 0;
    }
    return n;
}

void packet_copy_bytes(const Packet *p, void *dst)
{
    packet_copy_range(p, 0, p->len, dst);
}

bool packet_pull(Packet *p, uint32_t len, void *dst)
{
    if (p->len <= len) {
        return false;
    }
    packet_copy_range(p, 0, len, dst);
    p->len -= len;
    while (len >= p->head_len) {
        len -= p->head_len;
        p->head = p->tail->iov_base;
        p->head_len = p->tail->iov_len;
        p->tail++;
        p->tail_cnt--;
    }
    p->head += len;
    p->head_len -= len;
    return true;
}

/* All of @src but what nobody reads of its scratch space. */
void packet_view(Packet *dst, const Packet *src)
{
    memcpy(dst, src, offsetof(Packet, scratch));
    if (src->head == src->scratch) {
        memcpy(dst->scratch, src->scratch, src->head_len);
        dst->head = dst->scratch;
    }
}

uint8_t *packet_cow_head(Packet *p, uint32_t len)
{
    uint32_t own = p->head == p->scratch ? p->head_len : 0;

    if (own >= len) {
        return p->scratch;
    }
    packet_copy_range(p, own, len - own, p->scratch + own);
    if (p->head_len > len) {
        packet_use_scratch(p, len);
        return p->scratch;
    }
    p->tail_off += len - p->head_len;
    p->head = p->scratch;
    p->head_len = len;
    return p->scratch;
}

static Packet *packet_alloc(const Packet *p, PacketBuf *buf)
{
    Packet *n = g_new(Packet, 1);

    packet_view(n, p);
    n->buf = buf;
    n->node = (GList) { .data = n };
    invariant_copy(n);
    return n;
}

Packet *packet_copy(const Packet *p, uint8_t **data)
{
    PacketBuf *buf = g_malloc(sizeof(*buf) + p->len);
    Packet *n = packet_alloc(p, buf);

    buf->refs = 1;
    buf->iov = (struct iovec) { .iov_base = buf->data, .iov_len = p->len };
    packet_copy_bytes(p, buf->data);

    n->head = buf->data;
    n->head_len = p->len;
    n->tail = &buf->iov + 1;
    n->tail_cnt = 0;
    n->tail_off = 0;
    if (data) {
        *data = buf->data;
    }
    return n;
}

Packet *packet_hold(const Packet *p)
{
    Packet *held;

    if (!p->buf) {
        held = packet_copy(p, NULL);
    } else {
        p->buf->refs++;
        held = packet_alloc(p, p->buf);
    }
    invariant_hold(held);
    return held;
}

void packet_put(Packet *p)
{
    if (!p) {
        return;
    }
    invariant_put(p);
    if (--p->buf->refs == 0) {
        g_free(p->buf);
    }
    g_free(p);
}

static const char *kind_name(const PacketLayers *l)
{
    switch (l->kind) {
    case PACKET_ARP:
        return l->arp_op == 1 ? "ARP request" : "ARP reply";
    case PACKET_RARP:
        return "RARP";
    case PACKET_IPV4:
        return "IPv4";
    case PACKET_IPV6:
        return "IPv6";
    case PACKET_ND:
        switch (l->nd_type) {
        case ND_ROUTER_SOLICIT:
            return "router solicitation";
        case ND_ROUTER_ADVERT:
            return "router advertisement";
        case ND_NEIGHBOUR_SOLICIT:
            return "neighbour solicitation";
        case ND_NEIGHBOUR_ADVERT:
            return "neighbour advertisement";
        default:
            return "redirect";
        }
    case PACKET_DHCP_REQUEST:
        return "DHCP request";
    case PACKET_DHCP_REPLY:
        return "DHCP reply";
    default:
        return NULL;
    }
}

/* The port, where there is one, as tcpdump writes it. */
static const char *port_suffix(const PacketLayers *l, uint16_t port,
                               char out[8])
{
    bool has_ports = l->l4 && (l->ip_proto == 6 || l->ip_proto == 17);

    out[0] = '\0';
    if (has_ports) {
        snprintf(out, 8, ".%u", port);
    }
    return out;
}

char *packet_describe(const Packet *p, char *out, size_t size)
{
    const PacketLayers *l = &p->layers;
    uint8_t buf[PACKET_HEAD_LEN];
    const uint8_t *eth = packet_peek(p, 0, sizeof(buf), buf);
    char dmac[MAC_STR_MAX], smac[MAC_STR_MAX];
    char src[IP_STR_MAX], dst[IP_STR_MAX], sport[8], dport[8];
    const char *kind = kind_name(l);

    if (!eth) {
        snprintf(out, size, "%u bytes", p->len);
        return out;
    }
    mac_format(eth, dmac);
    mac_format(eth + ETHER_ADDR_LEN, smac);
    if (!kind) {
        snprintf(out, size, "%s > %s ethertype 0x%04x length %u",
                 smac, dmac, l->ethertype, p->len);
        return out;
    }
    snprintf(out, size, "%s > %s %s %s%s > %s%s length %u", smac, dmac, kind,
             ip_format(&l->src, src), port_suffix(l, l->src_port, sport),
             ip_format(&l->dst, dst), port_suffix(l, l->dst_port, dport),
             p->len);
    return out;
}
