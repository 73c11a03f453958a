/*
 * A frame: borrowed bytes, an optional virtio-net header, parsed layers
 *
 * Borrowed until held: a Packet points into its sender's memory and is good
 * until the call that it was handed to returns.  Whoever must keep it calls
 * packet_hold(), which copies the bytes once; later holds share that copy.
 *
 * The bytes themselves are never written: a sender may be a guest that is
 * watching, and a held copy may have other readers.  Whoever rewrites a
 * header gets the front of the frame copied into the Packet (packet_cow_head),
 * or the whole of it into a copy of its own (packet_copy).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_PACKET_H
#define LIBVLINK_PACKET_H

#include <stddef.h>
#include <sys/uio.h>

#include "ipaddr.h"
#include "proto.h"
#include "stats.h"

#define PACKET_MAX_LEN      65575   /* tagged Ethernet + IPv6 + 65535 - 40 */
#define PACKET_SCRATCH_LEN  256     /* fits the headers of most segments */
#define PACKET_HEAD_LEN     14      /* destination, source, Ethertype */

/*
 * For a large variable that is written before it is read, whatever the
 * compiler is told to zero: QEMU tells it to.
 */
#if __has_attribute(uninitialized)
#define UNINITIALIZED __attribute__((uninitialized))
#else
#define UNINITIALIZED
#endif

typedef struct Link Link;

/* What the frame is to somebody who demultiplexes by address. */
typedef enum PacketKind {
    PACKET_OTHER,               /* nothing below knows */
    PACKET_ARP,                 /* src: sender, dst: target */
    PACKET_RARP,
    PACKET_IPV4,
    PACKET_IPV6,
    PACKET_ND,                  /* IPv6 too: RFC 4861's five messages */
    PACKET_DHCP_REQUEST,        /* IPv4 too: BOOTP/DHCP, client to server */
    PACKET_DHCP_REPLY,          /* IPv4 too: server to client */
} PacketKind;

typedef enum NdType {
    ND_ROUTER_SOLICIT = 133,
    ND_ROUTER_ADVERT = 134,
    ND_NEIGHBOUR_SOLICIT = 135,
    ND_NEIGHBOUR_ADVERT = 136,
    ND_REDIRECT = 137,
} NdType;

/* Bytes of such a message before its options. */
static inline uint32_t nd_fixed_len(NdType type)
{
    return type == ND_ROUTER_SOLICIT ? ND_LEN_ROUTER_SOLICIT :
           type == ND_ROUTER_ADVERT ? ND_LEN_ROUTER_ADVERT :
           type == ND_REDIRECT ? ND_LEN_REDIRECT : ND_LEN_NEIGHBOUR;
}

#define IP_PROTO_UNKNOWN 255    /* reserved by IANA */

typedef struct PacketLayers {
    uint8_t kind;               /* PacketKind */
    uint8_t ip_proto;           /* upper layer, IP_PROTO_UNKNOWN if none */
    uint8_t nd_type;            /* NdType of a PACKET_ND */
    bool fragment;
    uint16_t frag_header;       /* offset of IPv6's, an atomic one's too; 0 */
    uint16_t ethertype;         /* behind the tags, host byte order */
    uint16_t l3;                /* offset of the network header */
    uint16_t l4;                /* of the upper layer's, 0: not in this frame */
    uint16_t arp_op;
    uint16_t src_port;          /* TCP and UDP, host byte order */
    uint16_t dst_port;
    uint32_t end;               /* offset behind the network layer's payload */
    IpAddr src;                 /* who says that it sends this */
    IpAddr dst;                 /* whom it is for: ARP and solicitation target */
    IpAddr target;              /* of neighbour solicitation, advertisement */
} PacketLayers;

/*
 * Nothing is known yet.  In parts: of the whole at once compilers make a
 * string instruction, which takes longer than parsing does.
 */
static inline void packet_layers_reset(PacketLayers *l)
{
    memset(l, 0, offsetof(PacketLayers, src));
    l->ip_proto = IP_PROTO_UNKNOWN;
    l->src = (IpAddr) { 0 };
    l->dst = (IpAddr) { 0 };
    l->target = (IpAddr) { 0 };
}

/* The fields of virtio's struct virtio_net_hdr (virtio 1.2, 5.1.6). */
typedef struct PacketVnet {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
} PacketVnet;

#define PACKET_VNET_NEEDS_CSUM  1   /* from csum_start on, to be completed */
#define PACKET_VNET_DATA_VALID  2   /* somebody has checked it */

/* gso_type; PACKET_GSO_ECN is added to one of TCP's. */
#define PACKET_GSO_NONE     0
#define PACKET_GSO_TCPV4    1
#define PACKET_GSO_UDP      3       /* to be cut into fragments */
#define PACKET_GSO_TCPV6    4
#define PACKET_GSO_UDP_L4   5       /* to be cut into datagrams */
#define PACKET_GSO_ECN      0x80

typedef struct PacketBuf PacketBuf;

typedef struct Packet {
    /* The frame is head, then tail without its first tail_off bytes. */
    const uint8_t *head;
    const struct iovec *tail;
    uint32_t head_len;
    uint32_t tail_off;
    uint32_t tail_cnt;
    uint32_t len;               /* of the whole frame, without virtio header */
    Link *link;                 /* that it is on now, as skb->dev */
    PacketBuf *buf;             /* what head and tail point to, when held */
    bool for_many;              /* one of the copies for many receivers */
    bool has_vnet;
    uint16_t pieces;            /* its receiver has had, see offload.h */
    uint16_t queue;             /* of the link that it goes through */
#ifdef VLINK_INVARIANTS
    uint64_t entry;             /* in invariant.c's books; 0: in none */
    bool waits;
#endif
    PacketVnet vnet;            /* host byte order */
    PacketLayers layers;        /* after packet_parse() */
    GList node;                 /* for the one queue that holds it */
    int64_t queued;             /* since when it waits there, on now() */
    uint8_t scratch[PACKET_SCRATCH_LEN];
} Packet;

/* BOOTP fields that demultiplexing needs, RFC 2131. */
typedef struct DhcpMessage {
    uint8_t chaddr[ETHER_ADDR_LEN];
    uint32_t xid;               /* as on the wire */
    IpAddr yiaddr;
    bool relayed;               /* giaddr is set */
    bool broadcast;             /* "answer by broadcast" is set */
    uint8_t type;               /* option 53, 0 where there is none */
    uint32_t lease;             /* option 51 in seconds, 0 where none */
} DhcpMessage;

#define DHCPACK 5
#define DHCP_FLAGS_OFFSET 10    /* in the BOOTP message */
#define DHCP_CHADDR_OFFSET 28

/*
 * Make @p a view of @iov, the frame without any virtio-net header.  The
 * Packet borrows both the vector and the bytes.
 */
void packet_init(Packet *p, const struct iovec *iov, unsigned cnt);

/*
 * Parse the frame into p->layers: Ethernet, up to two 802.1Q or 802.1ad
 * tags, ARP (RFC 826), IPv4 (RFC 791), IPv6 and at most eight extension
 * headers (RFC 8200), TCP and UDP ports, neighbour discovery with its options
 * (RFC 4861), BOOTP's ports; check the virtio-net header against them.  Never
 * reads past the frame.  Answers DROP_NONE, or why no receiver should have to
 * see this frame.
 */
DropReason packet_parse(Packet *p);

/*
 * Which flow is it: the same for both directions, from the addresses and, for
 * what is no fragment, the ports.  Zero for what is not IP.
 */
uint32_t packet_flow_hash(const Packet *p);

/*
 * Address resolution and address configuration: ARP, RARP, neighbour
 * discovery, DHCP.  Little, and everything else waits for it.
 */
bool packet_is_urgent(const Packet *p);

/* Parse the BOOTP message of a PACKET_DHCP_*; false where it is malformed. */
bool packet_parse_dhcp(const Packet *p, DhcpMessage *m);

/*
 * @len bytes at @off: in place where they lie in one piece, else copied to
 * @buf; NULL where the frame is shorter.
 */
const void *packet_peek_slow(const Packet *p, uint32_t off, uint32_t len,
                             void *buf);

static inline const void *packet_peek(const Packet *p, uint32_t off,
                                      uint32_t len, void *buf)
{
    if (G_LIKELY(off + len <= p->head_len)) {
        return p->head + off;
    }
    return packet_peek_slow(p, off, len, buf);
}

/* Of a packet that packet_parse() found to be IP: its TTL or hop limit. */
static inline uint8_t packet_hop_limit(const Packet *p)
{
    uint32_t off = p->layers.src.family == IP_V4 ? 8 : 7;
    uint8_t buf;

    return *(const uint8_t *)packet_peek(p, p->layers.l3 + off, 1, &buf);
}

/* The Ethernet header of a frame that packet_parse() accepted. */
static inline const uint8_t *packet_dst_mac(const Packet *p)
{
    return p->head;
}

static inline const uint8_t *packet_src_mac(const Packet *p)
{
    return p->head + ETHER_ADDR_LEN;
}

/*
 * Write head and tail to @iov, of which @max elements are free.  Returns how
 * many were used, or -ENOBUFS.
 */
int packet_to_iov(const Packet *p, struct iovec *iov, int max);

/* Copy the whole frame to @dst, which has room for p->len bytes. */
void packet_copy_bytes(const Packet *p, void *dst);

/*
 * Take the first @len bytes off @p, fresh from packet_init(), and copy them to
 * @dst.  False, and nothing done, where it has no more than those.
 */
bool packet_pull(Packet *p, uint32_t len, void *dst);

/* Copy [@off, @off + @len), which is inside of the frame, to @dst. */
void packet_copy_range(const Packet *p, uint32_t off, uint32_t len, void *dst);

/* Make @dst a second view of the same bytes; it borrows from @src. */
void packet_view(Packet *dst, const Packet *src);

/*
 * @p's head was copied to its scratch space: @len bytes of it, fewer than it
 * has.  The rest of it has to become tail.  Every head but the scratch space
 * is an element of the vector that the tail continues, so one step back is
 * still inside of it.
 */
static inline void packet_use_scratch(Packet *p, uint32_t len)
{
    p->tail--;
    p->tail_cnt++;
    p->tail_off = p->head + len - (const uint8_t *)p->tail->iov_base;
    p->head = p->scratch;
    p->head_len = len;
}

/*
 * Make the first @len bytes, at most PACKET_SCRATCH_LEN and at most p->len,
 * the Packet's own and writable.  What was borrowed stays as it is.
 */
uint8_t *packet_cow_head(Packet *p, uint32_t len);

/* The same of the Ethernet header. */
static inline uint8_t *packet_cow_eth(Packet *p)
{
    if (p->head == p->scratch && p->head_len >= PACKET_HEAD_LEN) {
        return p->scratch;
    }
    if (G_UNLIKELY(p->head == p->scratch || p->head_len <= PACKET_HEAD_LEN)) {
        return packet_cow_head(p, PACKET_HEAD_LEN);
    }
    memcpy(p->scratch, p->head, PACKET_HEAD_LEN);
    packet_use_scratch(p, PACKET_HEAD_LEN);
    return p->scratch;
}

/*
 * A Packet that stays: a reference to what is held already, else a copy.
 * Free with packet_put().
 */
Packet *packet_hold(const Packet *p);

/*
 * A held Packet whose bytes, at *@data, are its own and may be written until
 * it is held a second time.  Free with packet_put().
 */
Packet *packet_copy(const Packet *p, uint8_t **data);

/* Give back what packet_hold() or packet_copy() gave; NULL is fine. */
void packet_put(Packet *p);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Packet, packet_put)

/*
 * One line for people, as tcpdump would put it, for a frame that was parsed.
 * Returns @out.
 */
char *packet_describe(const Packet *p, char *out, size_t size);

#endif
