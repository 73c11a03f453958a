/*
 * Who wants which multicast group: IGMP and MLD snooping
 *
 * RFC 4541 for what a switch does, RFC 2236 and 3376 for IGMP, RFC 2710 and
 * 3810 for MLD.  All of it happens without VLAN tags: what is in a VLAN is
 * for all.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <netinet/in.h>

#include "../bytes.h"
#include "../offload.h"
#include "port.h"

enum {
    PIM_HELLO = 0x20,           /* version 2, type 0; RFC 7761, 4.9 */

    /* Records of version 3 and MLDv2, RFC 3376, 4.2.12 */
    IS_INCLUDE = 1,
    IS_EXCLUDE = 2,
    TO_INCLUDE = 3,
    TO_EXCLUDE = 4,
    ALLOW = 5,

    IPV6_NEXT = 6,
    IPV6_LEN = 40,

    OPT_ROUTER_ALERT4 = 0x94,   /* RFC 2113 */
    OPT_PAD1 = 0,               /* of IPv6 */
    OPT_PADN = 1,
    OPT_ROUTER_ALERT6 = 5,      /* RFC 2711 */
};

#define TENTHS (NS_PER_S / 10)
#define MSEC (NS_PER_S / 1000)

/*
 * The longest that IGMPv2 can say.  Who gives more time than this is not
 * waited for: memberships would run out.
 */
#define RESPONSE_MAX (255 * TENTHS)

typedef enum MessageType {
    MESSAGE_NONE,               /* or malformed */
    MESSAGE_QUERY,
    MESSAGE_JOIN,
    MESSAGE_LEAVE,
    MESSAGE_RECORDS,
} MessageType;

typedef struct Message {
    MessageType type;
    IpAddr group;
    bool general;               /* a query, and everybody answers it */
    int64_t response;
    uint32_t n;                 /* records ... */
    uint32_t off;               /* ... from there on */
} Message;

/* --- groups -------------------------------------------------------------- */

static bool is_group(const IpAddr *a)
{
    return a->family == IP_V4 ? (a->b[0] & 0xf0) == 0xe0 :
           a->family == IP_V6 && a->b[0] == 0xff;
}

/*
 * RFC 4541, 2.1.2 (2): hosts need not report 224.0.0.x.  IPv6: what is not to
 * leave the link; ff02::1 is not reported, and neighbours are found by it.
 */
static bool is_for_all(const IpAddr *group)
{
    static const uint8_t local[] = { 224, 0, 0 };

    return group->family == IP_V4 ? !memcmp(group->b, local, sizeof(local)) :
                                    (group->b[1] & 15) <= 2;
}

static const IpAddr *all_hosts(IpFamily family)
{
    static const IpAddr v4 = { .b = { 224, 0, 0, 1 }, .family = IP_V4 };
    static const IpAddr v6 = {
        .b = { 0xff, 2, [15] = 1 }, .family = IP_V6,
    };

    return family == IP_V4 ? &v4 : &v6;
}

static const IpAddr *all_pim_routers(IpFamily family)
{
    static const IpAddr v4 = { .b = { 224, 0, 0, 13 }, .family = IP_V4 };
    static const IpAddr v6 = {
        .b = { 0xff, 2, [15] = 13 }, .family = IP_V6,
    };

    return family == IP_V4 ? &v4 : &v6;
}

/* To where a host's NIC listens, and not to where only we do. */
static bool is_to_all_hosts(const Packet *p)
{
    static const uint8_t mac4[] = { 1, 0, 0x5e, 0, 0, 1 };
    static const uint8_t mac6[] = { 0x33, 0x33, 0, 0, 0, 1 };
    const PacketLayers *l = &p->layers;

    return ip_equal(&l->dst, all_hosts(l->dst.family)) &&
           mac_equal(packet_dst_mac(p), l->dst.family == IP_V4 ? mac4 : mac6);
}

/* --- messages ------------------------------------------------------------ */

static bool is_partial(const Packet *p)
{
    return p->has_vnet && (p->vnet.flags & PACKET_VNET_NEEDS_CSUM);
}

/*
 * Does a host take it?  What it would not take for a query is none here
 * either: not with a checksum that the parser does not look at, nor with
 * other options than Router Alert.
 */
static bool is_header4_plain(const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint8_t buf[24];
    uint32_t len = l->l4 - l->l3;
    const uint8_t *b = len <= sizeof(buf) ? packet_peek(p, l->l3, len, buf)
                                          : NULL;

    return b && csum_finish(csum_add(0, b, len)) == 0 &&
           (len == 20 || (b[20] == OPT_ROUTER_ALERT4 && b[21] == 4));
}

/* One hop-by-hop header with a Router Alert for MLD, and nothing else. */
static bool has_router_alert6(const Packet *p)
{
    uint32_t off = p->layers.l3 + IPV6_LEN, end = off + 8;
    uint8_t buf[8];
    const uint8_t *b = packet_peek(p, p->layers.l3 + IPV6_NEXT, 1, buf);
    bool found = false;

    if (!b || *b != IPPROTO_HOPOPTS || p->layers.l4 != end) {
        return false;
    }
    packet_copy_range(p, off, sizeof(buf), buf);
    for (unsigned i = 2; i < sizeof(buf);) {
        unsigned len = buf[i] == OPT_PAD1 ? 1 :
                       i + 1 < sizeof(buf) ? 2u + buf[i + 1] : 0;

        if (!len || i + len > sizeof(buf)) {
            return false;
        }
        if (buf[i] == OPT_ROUTER_ALERT6) {
            found = len == 4 && get16(buf + i + 2) == 0;
        } else if (buf[i] != OPT_PAD1 && buf[i] != OPT_PADN) {
            return false;
        }
        i += len;
    }
    return found;
}

/*
 * RFC 3376, 4.1.1, has a mantissa of 4 @bits, RFC 3810, 5.1.3, of 12: as a
 * number with an exponent where it is large.
 */
static int64_t decode_time(uint32_t code, unsigned bits)
{
    uint32_t one = 1u << bits;

    if (code < one << 3) {
        return code;
    }
    return (int64_t)((code & (one - 1)) | one) << ((code >> bits & 7) + 3);
}

/* @b: @len bytes, 8 or more; 12 can be read where there are so many. */
static void parse_igmp_query(const Packet *p, const uint8_t *b, uint32_t len,
                             Message *m)
{
    uint32_t sources = 0;

    if (len == 8) {
        /* version 1 did not say */
        m->response = b[1] ? b[1] * TENTHS : GROUP_RESPONSE_NS;
    } else if (len < 12) {
        return;
    } else {
        m->response = decode_time(b[1], 4) * TENTHS;
        sources = get16(b + 10);
        if (12 + 4 * sources > len) {
            return;
        }
    }
    m->type = MESSAGE_QUERY;
    m->general = ip_is_unspecified(&m->group) && !sources &&
                 !is_partial(p) && is_header4_plain(p);
}

static void parse_igmp(const Packet *p, Message *m)
{
    const PacketLayers *l = &p->layers;
    uint32_t len = l->end - l->l4;
    uint8_t buf[12];
    const uint8_t *b;

    if (len < 8 || packet_hop_limit(p) != 1 || !offload_csum_is_right(p)) {
        return;
    }
    b = packet_peek(p, l->l4, MIN(len, sizeof(buf)), buf);
    m->group = ip_v4(b + 4);
    switch (b[0]) {
    case IGMP_QUERY:
        parse_igmp_query(p, b, len, m);
        break;
    case IGMP_V1_REPORT:
    case IGMP_V2_REPORT:
        m->type = MESSAGE_JOIN;
        break;
    case IGMP_LEAVE:
        m->type = MESSAGE_LEAVE;
        break;
    case IGMP_V3_REPORT:
        m->type = MESSAGE_RECORDS;
        m->n = get16(b + 6);
        m->off = l->l4 + 8;
        break;
    }
}

/* @b: @len bytes, of which 28 can be read where there are so many. */
static void parse_mld_query(const Packet *p, const uint8_t *b, uint32_t len,
                            Message *m)
{
    uint32_t sources = 0;

    if (len == 24) {
        m->response = get16(b + 4) * MSEC;
    } else if (len < 28) {
        return;
    } else {
        m->response = decode_time(get16(b + 4), 12) * MSEC;
        sources = get16(b + 26);
        if (28 + 16 * sources > len) {
            return;
        }
    }
    m->type = MESSAGE_QUERY;
    m->general = ip_is_unspecified(&m->group) && !sources && !is_partial(p);
}

/*
 * RFC 3810, section 6: what is not from a link-local address is not MLD.  Who
 * has none yet reports from none (RFC 3590); RFC 4541, section 3.
 */
static bool is_mld_source(const Packet *p, uint8_t type)
{
    const IpAddr *src = &p->layers.src;

    return ip_is_link_local6(src) ||
           (ip_is_unspecified(src) && type != MLD_QUERY);
}

static void parse_mld(const Packet *p, Message *m)
{
    const PacketLayers *l = &p->layers;
    uint32_t len = l->end - l->l4;
    uint8_t buf[28];
    const uint8_t *b;

    if (len < 8 || packet_hop_limit(p) != 1 ||
        !has_router_alert6(p) || !offload_csum_is_right(p)) {
        return;
    }
    b = packet_peek(p, l->l4, MIN(len, sizeof(buf)), buf);
    if (!is_mld_source(p, b[0])) {
        return;
    }
    if (b[0] == MLD_V2_REPORT) {
        m->type = MESSAGE_RECORDS;
        m->n = get16(b + 6);
        m->off = l->l4 + 8;
        return;
    }
    if (len < 24) {
        return;
    }
    m->group = ip_v6(b + 8);
    switch (b[0]) {
    case MLD_QUERY:
        parse_mld_query(p, b, len, m);
        break;
    case MLD_V1_REPORT:
        m->type = MESSAGE_JOIN;
        break;
    case MLD_DONE:
        m->type = MESSAGE_LEAVE;
        break;
    }
}

static bool is_upper(const PacketLayers *l, uint8_t proto4, uint8_t proto6)
{
    return l->l4 && !l->fragment && !l->frag_header &&
           l->l3 == PACKET_HEAD_LEN &&
           ((l->kind == PACKET_IPV4 && l->ip_proto == proto4) ||
            (l->kind == PACKET_IPV6 && l->ip_proto == proto6));
}

/* What @p says as IGMP or MLD, as far as a host or a router believes it. */
static void parse_message(const Packet *p, Message *m)
{
    *m = (Message) { .type = MESSAGE_NONE };
    if (!is_upper(&p->layers, IPPROTO_IGMP, IPPROTO_ICMPV6)) {
        return;
    }
    if (p->layers.kind == PACKET_IPV4) {
        parse_igmp(p, m);
    } else {
        parse_mld(p, m);
    }
}

static bool is_pim_hello(const Packet *p)
{
    const PacketLayers *l = &p->layers;
    uint8_t buf[1];
    const uint8_t *b;

    if (!is_upper(l, IPPROTO_PIM, IPPROTO_PIM) || l->end - l->l4 < 4 ||
        !ip_equal(&l->dst, all_pim_routers(l->dst.family))) {
        return false;
    }
    b = packet_peek(p, l->l4, 1, buf);
    return b && *b == PIM_HELLO && offload_csum_is_right(p);
}

/* --- memberships --------------------------------------------------------- */

static GroupFamily *family_of(IpvlanSlave *slave, const IpAddr *addr)
{
    return addr->family == IP_V4 ? &slave->member.v4 : &slave->member.v6;
}

static const GroupFamily *const_family(const IpvlanSlave *slave,
                                       const IpAddr *addr)
{
    return addr->family == IP_V4 ? &slave->member.v4 : &slave->member.v6;
}

static OwnerSlot *find_group(const IpvlanSlave *slave, const IpAddr *group)
{
    const OwnerTable *t = &slave->member.groups;

    return t->slots ? owner_table_find(t, group->q[0], group->q[1],
                                       group->family) : NULL;
}

/* Who was asked while it was a member still is one until it has answered. */
static bool is_valid(const OwnerSlot *slot, const GroupFamily *f, int64_t now)
{
    int64_t until = slot->used * IPVLAN_TICK;

    return now < until || (now < f->answered && f->asked < until);
}

/* Not more than once a second, whatever a guest reports. */
static void sweep(IpvlanSlave *slave, int64_t now)
{
    OwnerTable *t = &slave->member.groups;

    if (now < slave->member.swept + NS_PER_S) {
        return;
    }
    slave->member.swept = now;
    for (uint32_t i = 0; i <= t->mask;) {
        OwnerSlot *slot = &t->slots[i];
        const GroupFamily *f = slot->kind == IP_V4 ? &slave->member.v4
                                                   : &slave->member.v6;

        if (slot->kind && !is_valid(slot, f, now)) {
            owner_table_remove(t, slot);    /* another one moves up */
        } else {
            i++;
        }
    }
}

static void join(IpvlanSlave *slave, const IpAddr *group, int64_t now)
{
    OwnerTable *t = &slave->member.groups;
    OwnerSlot *slot = find_group(slave, group);
    OwnerKey key = {
        .q = { group->q[0], group->q[1] }, .kind = group->family,
    };

    if (!is_group(group) || is_for_all(group)) {
        return;
    }
    if (!slot && t->n >= GROUP_MAX) {
        sweep(slave, now);
    }
    if (!slot && t->n >= GROUP_MAX) {
        family_of(slave, group)->all = now + GROUP_MEMBER_NS;
        return;
    }
    if (!t->slots) {
        owner_table_init(t, slave->link->platform);
    }
    slot = slot ?: owner_table_insert(t, &key, slave, NULL);
    slot->used = (now + GROUP_MEMBER_NS) / IPVLAN_TICK;
}

/* Somebody else behind this slave may have it, too, and answer the query. */
static void leave(IpvlanSlave *slave, const IpAddr *group, int64_t now)
{
    OwnerSlot *slot = find_group(slave, group);
    uint64_t until = (now + GROUP_LAST_NS) / IPVLAN_TICK;

    if (slot && slot->used > until) {
        slot->used = until;
    }
}

/* Sources are not looked at: who wants some of a group gets all of it. */
static void learn_record(IpvlanSlave *slave, uint8_t type, unsigned sources,
                         const IpAddr *group, int64_t now)
{
    switch (type) {
    case IS_INCLUDE:
    case TO_INCLUDE:
        if (!sources) {
            leave(slave, group, now);
            break;
        }
        /* fall through */
    case IS_EXCLUDE:
    case TO_EXCLUDE:
        join(slave, group, now);
        break;
    case ALLOW:
        if (sources) {
            join(slave, group, now);
        }
        break;
    }
}

/* As many as there are: the number may lie. */
static void learn_records(IpvlanSlave *slave, const Packet *p,
                          const Message *m, int64_t now)
{
    bool v4 = p->layers.src.family == IP_V4;
    uint32_t size = v4 ? 4 : 16, off = m->off;
    uint8_t buf[20];

    for (uint32_t n = m->n; n && off + 4 + size <= p->layers.end; n--) {
        const uint8_t *b = packet_peek(p, off, 4 + size, buf);
        uint32_t sources = get16(b + 2);
        IpAddr group = v4 ? ip_v4(b + 4) : ip_v6(b + 4);
        uint8_t type = b[0];

        off += 4 + size * (1 + sources) + 4 * b[1];
        if (off > p->layers.end) {
            return;
        }
        learn_record(slave, type, sources, &group, now);
    }
}

static SLOW_PATH void learn_message(IpvlanSlave *slave, const Packet *p,
                                    const Message *m)
{
    int64_t now = ipvlan_now(slave->port);
    const IpAddr *src = &p->layers.src;

    switch (m->type) {
    case MESSAGE_NONE:          /* but a Hello of PIM */
        family_of(slave, src)->router = now + GROUP_ROUTER_NS;
        break;
    case MESSAGE_QUERY:
        /* RFC 4541, 2.1.1 (1) b): a switch that asks is no router */
        if (!ip_is_unspecified(src)) {
            family_of(slave, src)->router = now + GROUP_ROUTER_NS;
        }
        break;
    case MESSAGE_JOIN:
        join(slave, &m->group, now);
        break;
    case MESSAGE_LEAVE:
        leave(slave, &m->group, now);
        break;
    case MESSAGE_RECORDS:
        learn_records(slave, p, m, now);
        break;
    }
}

void group_snoop(IpvlanSlave *slave, const Packet *p)
{
    Message m;

    parse_message(p, &m);
    if (m.type != MESSAGE_NONE || is_pim_hello(p)) {
        learn_message(slave, p, &m);
    }
}

/* --- who gets it --------------------------------------------------------- */

static GroupKind kind_of(const Packet *p, const Message *m)
{
    switch (m->type) {
    case MESSAGE_NONE:
        return is_for_all(&p->layers.dst) ? GROUP_FLOOD : GROUP_DATA;
    case MESSAGE_QUERY:
        return m->general && m->response <= RESPONSE_MAX &&
               is_to_all_hosts(p) && !ip_is_unspecified(&p->layers.src) ?
               GROUP_QUERY : GROUP_FLOOD;
    default:
        return GROUP_REPORT;
    }
}

void group_look(GroupFrame *g, const IpvlanPort *port, const Packet *p)
{
    const PacketLayers *l = &p->layers;
    Message m;

    g->kind = GROUP_FLOOD;
    /* Neighbour discovery is for all, and its dst is its target. */
    if ((l->kind != PACKET_IPV4 && l->kind != PACKET_IPV6) ||
        l->l3 != PACKET_HEAD_LEN || !is_group(&l->dst)) {
        return;
    }
    parse_message(p, &m);
    g->kind = kind_of(p, &m);
    g->dst = &l->dst;
    g->response = m.response;
    g->now = g->kind == GROUP_FLOOD ? 0 : ipvlan_now(port);
}

static bool is_asked(const GroupFamily *f, int64_t now)
{
    return f->asked && now < f->asked + GROUP_QUERIER_NS;
}

bool group_wants(const IpvlanSlave *slave, const GroupFrame *g)
{
    const GroupFamily *f;
    const OwnerSlot *slot;

    if (g->kind == GROUP_FLOOD || g->kind == GROUP_QUERY) {
        return true;
    }
    f = const_family(slave, g->dst);
    if (g->now < f->router || !is_asked(f, g->now)) {
        return true;
    }
    if (g->kind == GROUP_REPORT) {
        return false;           /* or it would not answer itself */
    }
    if (g->now < f->known || g->now < f->all) {
        return true;
    }
    slot = find_group(slave, g->dst);
    return slot && is_valid(slot, f, g->now);
}

void group_asked(IpvlanSlave *slave, const GroupFrame *g)
{
    GroupFamily *f = family_of(slave, g->dst);
    /* guests are slow at times */
    int64_t answered = g->now + MAX(g->response, GROUP_RESPONSE_NS);

    if (!is_asked(f, g->now)) {
        f->known = answered;
    }
    f->asked = g->now;
    f->answered = MAX(f->answered, answered);
}

void group_forget(IpvlanSlave *slave)
{
    if (slave->member.groups.slots) {
        owner_table_destroy(&slave->member.groups);
    }
    slave->member = (GroupMember) { .swept = 0 };
}

void ipvlan_foreach_group(const Link *link,
                          void (*fn)(const IpAddr *group, void *opaque),
                          void *opaque)
{
    const IpvlanSlave *slave = link_priv(link);
    const OwnerTable *t = &slave->member.groups;
    int64_t now = ipvlan_now(slave->port);

    for (uint32_t i = 0; t->slots && i <= t->mask; i++) {
        const OwnerSlot *slot = &t->slots[i];
        IpAddr group = {
            .q = { slot->q[0], slot->q[1] }, .family = slot->kind,
        };

        if (slot->kind && is_valid(slot, const_family(slave, &group), now)) {
            fn(&group, opaque);
        }
    }
}
