/*
 * Frames and configurations that are made from a fuzzer's input
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <netinet/in.h>

#include "grammar.h"

#define PAYLOAD_MAX 1600

/* --- who ------------------------------------------------------------------ */

static const char *const ips4[] = {
    "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.1.0.9", "10.9.9.9",
    "192.0.2.1", "255.255.255.255", "224.0.0.1", "239.1.2.3", "0.0.0.0",
    "127.0.0.1", "10.0.0.254", "169.254.1.1",
};

static const char *const ips6[] = {
    "fd00::1", "fd00::2", "fd00::3", "fd00::4", "fd00:1::9", "2001:db8::9",
    "fe80::5054:ff:fe12:3456", "fe80::5054:ff:fe12:3457", "fe80::1",
    "ff02::1", "ff02::1:ff00:2", "ff0e::1234", "::", "::1", "ff02::16",
};

const char *grammar_ip(Input *in, bool v6)
{
    return v6 ? in_pick(in, ips6) : in_pick(in, ips4);
}

static const uint8_t macs[][ETHER_ADDR_LEN] = {
    { 0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0x01 },     /* port_mac */
    { 0x52, 0x55, 0x0a, 0x00, 0x00, 0xfe },     /* gateway_mac */
    { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 },
    { 0x52, 0x54, 0x00, 0x12, 0x34, 0x57 },
    { 0x52, 0x54, 0x00, 0x12, 0x34, 0x58 },
    { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
    { 0x33, 0x33, 0x00, 0x00, 0x00, 0x01 },
    { 0x33, 0x33, 0xff, 0x00, 0x00, 0x02 },
    { 0x01, 0x00, 0x5e, 0x01, 0x02, 0x03 },
    { 0x00, 0x00, 0x00, 0x00, 0x00, 0x00 },
    { 0x52, 0x54, 0x00, 0x99, 0x99, 0x99 },
};

static const uint8_t *any_mac(Input *in)
{
    return in_pick(in, macs);
}

/* Mostly to the port, which is where most of what is interesting goes. */
static const uint8_t *destination(Input *in)
{
    unsigned i = in8(in);

    return i < 128 ? port_mac : macs[i % G_N_ELEMENTS(macs)];
}

static const char *source_ip(Input *in, const Speaker *s, bool v6)
{
    const char *own = v6 ? s->ip6 : s->ip4;
    unsigned i = in8(in);

    if (i < 160 && own) {
        return own;
    }
    return v6 ? ips6[i % G_N_ELEMENTS(ips6)] : ips4[i % G_N_ELEMENTS(ips4)];
}

static const uint8_t *source_mac(Input *in, const Speaker *s)
{
    unsigned i = in8(in);

    return i < 230 ? s->mac : macs[i % G_N_ELEMENTS(macs)];
}

static uint16_t any_port(Input *in)
{
    static const uint16_t ports[] = {
        53, 67, 68, 80, 546, 547, 4000, 5000, 4789, 6081, 0, 65535,
    };

    return in_pick(in, ports);
}

/* --- changes -------------------------------------------------------------- */

static unsigned long_enough(Input *in, unsigned max)
{
    unsigned len = in8(in);

    return MIN(len < 200 ? len : (len - 199) * 32, max);
}

static void add_options(Input *in, Made *m)
{
    FrameOffsets o = frame_offsets(m->frame);
    unsigned room = 60 - (o.l4 - o.l3);
    unsigned len = room ? 4 * in_below(in, room / 4 + 1) : 0;

    if (len) {
        frame_options(m->frame, len);
        for (unsigned i = 0; i < len; i++) {
            m->frame->data[o.l3 + 20 + i] = in8(in);
        }
        frame_checksum(m->frame);
    }
}

static void add_extensions(Input *in, Made *m)
{
    static const uint8_t types[] = { 0, 43, 51, 60, 44 };
    unsigned n = in_below(in, 10);

    while (n--) {
        uint8_t type = in_pick(in, types);

        /* one that is not the whole packet is a matter of its own */
        frame_ext(m->frame, type, type == 44 ? 8 : 8 + 8 * in_below(in, 4));
    }
}

static bool is_ip(const Frame *f)
{
    uint16_t type = frame_get16(f, 12);

    return type == 0x0800 || type == 0x86dd;
}

static void add_headers(Input *in, Made *m)
{
    if (frame_offsets(m->frame).v6) {
        add_extensions(in, m);
    } else {
        add_options(in, m);
    }
}

static void add_fragment(Input *in, Made *m)
{
    unsigned off = 8 * in16(in);

    frame_fragment(m->frame, off & 0xfff8, in8(in) & 1);
    m->sound = false;
}

static void add_tags(Input *in, Made *m)
{
    static const uint16_t tpids[] = { 0x8100, 0x88a8, 0x9100 };
    unsigned n = 1 + in_below(in, 3);

    while (n--) {
        uint16_t tpid = in_pick(in, tpids);

        m->sound &= tpid != 0x9100;
        frame_tag(m->frame, tpid, in16(in));
    }
}

static void set_header(Input *in, Made *m)
{
    static const uint8_t gso[] = {
        PACKET_GSO_NONE, PACKET_GSO_TCPV4, PACKET_GSO_TCPV6, PACKET_GSO_UDP,
        PACKET_GSO_UDP_L4, PACKET_GSO_TCPV4 | PACKET_GSO_ECN, 2, 0x85,
    };
    PacketVnet *v = &m->frame->vnet;

    m->frame->has_vnet = true;
    v->flags = in_below(in, 8);
    v->gso_type = in_pick(in, gso);
    v->hdr_len = in8(in);
    v->gso_size = in16(in);
    v->csum_start = in8(in);
    v->csum_offset = in_below(in, 24);
    m->sound = false;
}

static void poke(Input *in, Made *m)
{
    unsigned n = 1 + in_below(in, 8);

    while (n-- && m->frame->len) {
        unsigned off = in16(in);

        m->frame->data[(off & 0x3f ? off & 0xff : off) % m->frame->len] =
            in8(in);
    }
    m->sound = false;
}

/* What may be said of any frame that is well-formed. */
static void dress_ip(Input *in, Made *m, unsigned how)
{
    bool fragment = how & 2;

    if (how & 1) {
        add_headers(in, m);
    }
    if (fragment) {
        add_fragment(in, m);
    } else if ((how & 4) && frame_has_checksum(m->frame)) {
        frame_partial(m->frame);
    }
}

static void dress(Input *in, Made *m)
{
    unsigned how = in8(in);

    if (m->sound && is_ip(m->frame) && !m->frame->has_vnet) {
        dress_ip(in, m, how);
    }
    if ((how & 8) && m->frame->len >= 14) {
        add_tags(in, m);
    }
    if (how & 16) {
        uint8_t zero[46] = { 0 };

        frame_insert(m->frame, m->frame->len, zero, in_below(in, 47));
    }
    if ((how & 32) && m->frame->len >= 14) {
        frame_set_mac_dst(m->frame, any_mac(in));
    }
    if (how & 64) {
        poke(in, m);
    }
    if (how & 128) {
        unsigned what = in8(in);

        if (what & 1) {
            set_header(in, m);
        }
        if (what & 2) {
            frame_cut(m->frame, in16(in) % (m->frame->len + 1));
            m->sound = false;
        }
    }
}

void grammar_cut(Input *in, Frame *f)
{
    unsigned at = 0;

    for (int i = 0; i < FRAME_CUTS; i++) {
        unsigned n = in8(in);

        at += n;
        f->cuts[i] = n ? at : 0;
    }
}

/* --- sorts of frames ------------------------------------------------------ */

static Frame *make_raw(Input *in, const Speaker *s)
{
    unsigned len = in16(in) % 2048;
    Frame *f = frame_new(NULL, len);

    in_bytes(in, f->data, len);
    return f;
}

static Frame *make_ether(Input *in, const Speaker *s)
{
    static const uint16_t types[] = {
        0x88cc, 0x0026, 0x05dc, 0x8847, 0x9100, 0x0800, 0x86dd, 0x0806,
    };
    uint16_t type = in_pick(in, types);
    unsigned len = in8(in);
    Frame *f = frame_eth(destination(in), source_mac(in, s), type, len);

    in_bytes(in, f->data + 14, len);
    return f;
}

static Frame *make_arp(Input *in, const Speaker *s)
{
    unsigned how = in8(in);
    const uint8_t *src = source_mac(in, s);
    const char *sip = source_ip(in, s, false);
    const char *tip = grammar_ip(in, false);

    switch (how % 6) {
    case 0:
        return arp_request(src, sip, tip);
    case 1:
        return arp_reply(destination(in), src, sip, tip);
    case 2:
        return arp_probe(src, tip);
    case 3:
        return arp_announce(src, sip);
    case 4:
        return rarp_announce(src);
    default:
        return frame_arp(destination(in), src, in8(in), sip, any_mac(in),
                         tip);
    }
}

static Frame *make_ip(Input *in, const Speaker *s)
{
    static const uint8_t protos[] = { 1, 2, 4, 41, 47, 50, 58, 89, 132, 255 };
    bool v6 = in8(in) & 1;
    unsigned len = long_enough(in, PAYLOAD_MAX), n;
    const char *sip = source_ip(in, s, v6);
    const char *dip = grammar_ip(in, v6);
    Frame *f = frame_ip(destination(in), source_mac(in, s), sip, dip,
                        in_pick(in, protos), len);

    n = in_below(in, 64);
    in_bytes(in, f->data + (v6 ? 54 : 34), MIN(n, len));
    return frame_checksum(f);
}

static Frame *make_udp(Input *in, const Speaker *s)
{
    bool v6 = in8(in) & 1;
    const char *sip = source_ip(in, s, v6);
    const char *dip = grammar_ip(in, v6);
    uint16_t sport = any_port(in), dport = any_port(in);

    return frame_udp(destination(in), source_mac(in, s), sip, dip, sport,
                     dport, long_enough(in, PAYLOAD_MAX));
}

static Frame *make_tcp(Input *in, const Speaker *s)
{
    bool v6 = in8(in) & 1;
    const char *sip = source_ip(in, s, v6);
    const char *dip = grammar_ip(in, v6);
    Frame *f = frame_tcp(destination(in), source_mac(in, s), sip, dip,
                         long_enough(in, PAYLOAD_MAX));
    unsigned l4 = v6 ? 54 : 34;

    frame_set16(f, l4, any_port(in));
    frame_set16(f, l4 + 2, any_port(in));
    frame_set16(f, l4 + 6, in16(in));
    frame_set8(f, l4 + 13, in8(in));
    return frame_checksum(f);
}

/* An error of ICMP that quotes a packet. */
static Frame *make_icmp_error(Input *in, const Speaker *s)
{
    bool v6 = in8(in) & 1;
    g_autoptr(Frame) quoted = v6 ?
        udp(s->mac, s->mac, grammar_ip(in, true), source_ip(in, s, true)) :
        udp(s->mac, s->mac, grammar_ip(in, false), source_ip(in, s, false));
    unsigned want = in8(in), len = MIN(quoted->len - 14, want);
    unsigned l4 = v6 ? 54 : 34;
    Frame *f = frame_ip(destination(in), source_mac(in, s),
                        source_ip(in, s, v6), grammar_ip(in, v6),
                        v6 ? 58 : 1, 8 + len);

    memset(f->data + l4, 0, 8);
    f->data[l4] = in8(in);
    f->data[l4 + 1] = in_below(in, 16);
    memcpy(f->data + l4 + 8, quoted->data + 14, len);
    return frame_checksum(f);
}

/* IPv4 or IPv6 in IPv4 or IPv6. */
static Frame *make_tunnel(Input *in, const Speaker *s)
{
    g_autoptr(Frame) inner = make_udp(in, s);
    bool inner6 = inner->data[12] == 0x86;
    bool v6 = in8(in) & 1;
    Frame *f = frame_ip(destination(in), source_mac(in, s),
                        source_ip(in, s, v6), grammar_ip(in, v6),
                        inner6 ? 41 : 4, inner->len - 14);

    memcpy(f->data + (v6 ? 54 : 34), inner->data + 14, inner->len - 14);
    return frame_checksum(f);
}

static Frame *make_nd(Input *in, const Speaker *s)
{
    static const uint8_t hops[] = { 255, 255, 255, 64 };
    unsigned how = in8(in);
    const uint8_t *src = source_mac(in, s);
    const char *sip = source_ip(in, s, true);
    const char *target = grammar_ip(in, true);
    Frame *f;

    switch (how % 7) {
    case 0:
        f = nd_solicit(src, sip, target);
        break;
    case 1:
        f = nd_probe(src, target);
        break;
    case 2:
        f = nd_advert(destination(in), src, sip, target);
        break;
    case 3:
        f = nd_router_solicit(src, sip);
        break;
    case 4:
        f = nd_router_advert(src, sip);
        break;
    case 5:
        f = nd_redirect(destination(in), src, sip, target, any_mac(in));
        break;
    default:
        f = frame_nd(destination(in), src, sip, target,
                     135 + in_below(in, 3), target, in_below(in, 4),
                     in8(in) & 1 ? src : NULL);
    }
    return frame_set8(f, 21, in_pick(in, hops));
}

static Frame *make_dhcp(Input *in, const Speaker *s)
{
    unsigned how = in8(in);
    const uint8_t *src = source_mac(in, s);
    uint32_t xid = in_below(in, 4);

    if (how & 1) {
        return dhcp_request(src, xid);
    }
    return dhcp_reply(destination(in), src, 1 + in_below(in, 8),
                      grammar_ip(in, false), any_mac(in), xid, in16(in));
}

static Frame *make_report(Input *in, const Speaker *s, const char *sip,
                          bool v6)
{
    GroupRecord r[4];
    unsigned n = in_below(in, 5);

    for (unsigned i = 0; i < n; i++) {
        r[i].type = in_below(in, 8);
        r[i].group = grammar_ip(in, v6);
        r[i].sources = in_below(in, 3);
        r[i].aux = in_below(in, 2);
    }
    return group_report(s->mac, sip, r, n);
}

static Frame *make_group(Input *in, const Speaker *s)
{
    unsigned how = in8(in);
    bool v6 = how & 1;
    const char *sip = source_ip(in, s, v6);
    const char *group = grammar_ip(in, v6);

    switch ((how >> 1) % 6) {
    case 0:
        return group_query(s->mac, sip, in8(in) & 1 ? group : NULL);
    case 1:
        return group_query_long(s->mac, sip, in8(in), in8(in));
    case 2:
        return group_join(s->mac, sip, group);
    case 3:
        return group_leave(s->mac, sip, group);
    case 4:
        return udp_group(s->mac, sip, group);
    default:
        return make_report(in, s, sip, v6);
    }
}

typedef Frame *Make(Input *in, const Speaker *s);

static Make *const sorts[] = {
    make_raw, make_ether, make_arp, make_ip, make_udp, make_tcp,
    make_icmp_error, make_tunnel, make_nd, make_dhcp, make_group,
};

Made grammar_frame(Input *in, const Speaker *s)
{
    unsigned sort = in8(in) % (G_N_ELEMENTS(sorts) + 1);
    Made m = { .sound = sort > 1 };

    if (sort == G_N_ELEMENTS(sorts)) {
        m = grammar_segment(in, s, 4000);
    } else {
        m.frame = sorts[sort](in, s);
    }
    dress(in, &m);
    grammar_cut(in, m.frame);
    return m;
}

/* --- segments ------------------------------------------------------------- */

static unsigned gso_type(Input *in, bool tcp, bool v6)
{
    unsigned how = in8(in);

    if (tcp) {
        return (v6 ? PACKET_GSO_TCPV6 : PACKET_GSO_TCPV4) |
               (how & 1 ? PACKET_GSO_ECN : 0);
    }
    return how & 1 ? PACKET_GSO_UDP_L4 : PACKET_GSO_UDP;
}

Made grammar_segment(Input *in, const Speaker *s, unsigned max)
{
    unsigned how = in8(in);
    bool tcp = how & 1, v6 = how & 2;
    unsigned want = how & 8 ? in16(in) : in8(in), len = MIN(want, max);
    const char *sip = source_ip(in, s, v6);
    const char *dip = grammar_ip(in, v6);
    Made m = { .sound = true };
    PacketVnet *v;

    if (tcp) {
        m.frame = frame_tcp(destination(in), s->mac, sip, dip, len);
        frame_set8(m.frame, v6 ? 67 : 47, in8(in));
        frame_checksum(m.frame);
    } else {
        m.frame = frame_udp(destination(in), s->mac, sip, dip, 4000,
                            any_port(in), len);
    }
    frame_partial(m.frame);
    v = &m.frame->vnet;
    v->gso_type = gso_type(in, tcp, v6);
    v->gso_size = 1 + in16(in) % 1500;
    v->hdr_len = v->csum_start + (tcp ? 20 : 8);
    if (how & 4) {
        /* fragments' checksums nobody can verify */
        v->gso_type = PACKET_GSO_NONE;
        v->gso_size = 0;
    }
    m.sound = v->gso_type != PACKET_GSO_UDP;
    return m;
}

unsigned grammar_offloads(Input *in)
{
    static const uint8_t offloads[] = {
        OFFLOAD_ALL, 0, OFFLOAD_CSUM, OFFLOAD_CSUM | OFFLOAD_TSO4,
        OFFLOAD_CSUM | OFFLOAD_TSO6, OFFLOAD_CSUM | OFFLOAD_USO4,
        OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_ECN,
        OFFLOAD_TSO4, OFFLOAD_CSUM | OFFLOAD_UFO,
    };
    unsigned i = in8(in);

    return i < 128 ? offloads[i % G_N_ELEMENTS(offloads)] : i & OFFLOAD_ALL;
}

/* --- ports ---------------------------------------------------------------- */

static const char *const own4[] = {
    "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4",
};
static const char *const own6[] = {
    "fd00::1", "fd00::2", "fd00::3", "fd00::4",
};

static void add_slave(Input *in, Net *net)
{
    unsigned how = in8(in), more = in8(in);
    IpPrefix addrs[3] = {
        prefix(own4[net->n % 4]), prefix(own6[net->n % 4]),
        prefix("10.1.0.0/24"),
    };
    bool whole = net->n == 0 && (more & 1);
    IpvlanConfig config = {
        .addrs = addrs, .n_addrs = how & 1 ? 2 + whole : 0,
        .learn = net->mode >= IPVLAN_L3 ? IPVLAN_LEARN_AUTO : (how >> 1) & 3,
        .guard = (how >> 3) & 3,
        .max_addrs = more & 2 ? 2 : 0,
        .is_default = net->n == 1 && (more & 4),
    };
    User *u = net_add(net, config);

    u->tells_mac = how & 32;
    if (how & 64) {
        link_set_offloads(u->link, grammar_offloads(in));
    }
    if (how & 128) {
        link_set_queues(u->link, 1 + in_below(in, 3));
        link_set_rx_queue(u->link, 1 + in_below(in, 16));
        u->room = in8(in);
    }
    if (more & 8) {
        link_set_rates(u->link, &(LinkRates) {
            .tx_bps = LINK_RATE_MIN * (1 + in8(in)),
            .rx_bps = LINK_RATE_MIN * (1 + in8(in)),
        });
    }
}

static void set_router(Input *in, Net *net, unsigned how)
{
    IpAddr gateways[] = { ip("10.0.0.254"), ip("fe80::1") };
    bool off = false;
    IpvlanPolicy policy = IPVLAN_POLICY_DROP;
    IpvlanConfig config = {
        .gateways = gateways, .n_gateways = in_below(in, 3),
        .mtu = how & 1 ? 1280 : 0, .ra = how & 2 ? &off : NULL,
        .proxy_arp = how & 4 ? &off : NULL,
        .policy = net->mode == IPVLAN_L3S && (how & 8) ? &policy : NULL,
    };

    g_assert_cmpint(ipvlan_port_change(net->wire.link, &config, NULL), ==, 0);
}

void grammar_net(Input *in, Net *net, unsigned max)
{
    unsigned what = in8(in), how = in8(in), n;

    net_init(net, what & 3, (what >> 2) % 3);
    n = 1 + (what >> 4) % max;
    while (net->n < n) {
        add_slave(in, net);
    }
    if (net->mode >= IPVLAN_L3) {
        set_router(in, net, how);
    }
    if (how & 16) {
        link_set_offloads(net->wire.link, grammar_offloads(in));
    }
    if (how & 32) {
        net->wire.room = in8(in);
        link_set_queues(net->wire.link, 1 + in_below(in, 3));
    }
}

Speaker grammar_speaker(Input *in, const Net *net, unsigned user)
{
    return (Speaker) {
        .mac = net->user[user].mac,
        .ip4 = own4[user % 4], .ip6 = own6[user % 4],
    };
}

Speaker grammar_outsider(Input *in)
{
    unsigned who = in8(in);

    return (Speaker) {
        .mac = who & 1 ? port_mac : gateway_mac,
        .ip4 = who & 2 ? "10.9.9.9" : "10.0.0.254",
        .ip6 = who & 2 ? "2001:db8::9" : "fe80::1",
    };
}
