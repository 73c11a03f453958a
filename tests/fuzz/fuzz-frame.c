/*
 * Any frames, through any port: parsed, decided about, translated and cut
 *
 * Whatever a slave or the network sends, what comes out can be parsed again,
 * goes out under the port's MAC address, and has right checksums where all
 * that went in had.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fuzz.h"
#include "grammar.h"

#define STEPS_MAX 64

typedef struct Run {
    Input *in;
    Net net;
    bool sound;                 /* all that has gone in so far */
} Run;

/* --- what comes out ------------------------------------------------------- */

static void check_out(const Run *r, const Frame *f)
{
    struct iovec iov;
    Packet p;

    g_assert_cmpint(frame_parse(f, &p, &iov), ==, DROP_NONE);
    if (r->sound && p.layers.kind >= PACKET_IPV4 && !p.layers.fragment) {
        g_assert_true(frame_checksum_ok(f));
    }
    fuzz_note(f);
}

static void check_wire(const Run *r)
{
    GPtrArray *sent = r->net.wire.sent;

    for (unsigned i = 0; i < sent->len; i++) {
        const Frame *f = sent->pdata[i];

        check_out(r, f);
        assert_mac(frame_src(f), port_mac);
    }
    g_ptr_array_set_size(sent, 0);
}

static void check_all(Run *r)
{
    check_wire(r);
    for (unsigned i = 0; i < r->net.n; i++) {
        GPtrArray *got = r->net.user[i].got;

        for (unsigned j = 0; j < got->len; j++) {
            check_out(r, got->pdata[j]);
        }
        g_ptr_array_set_size(got, 0);
    }
    trace_reset();
}

/* --- what goes in --------------------------------------------------------- */

static bool layers_equal(const PacketLayers *a, const PacketLayers *b)
{
    return !memcmp(a, b, offsetof(PacketLayers, src)) &&
           ip_equal(&a->src, &b->src) && ip_equal(&a->dst, &b->dst) &&
           ip_equal(&a->target, &b->target);
}

/* Where a frame is in pieces makes no difference. */
static void check_parser(const Frame *f)
{
    struct iovec iov = { f->data, f->len };
    FramePieces pieces;
    Packet flat, cut;
    DropReason why;

    frame_pieces(f, &pieces);
    packet_init(&flat, &iov, 1);
    packet_init(&cut, pieces.iov, pieces.n);
    flat.has_vnet = cut.has_vnet = f->has_vnet;
    flat.vnet = cut.vnet = f->vnet;
    why = packet_parse(&flat);
    g_assert_cmpint(why, ==, packet_parse(&cut));
    if (!why) {
        g_assert_true(layers_equal(&flat.layers, &cut.layers));
        g_assert_cmpuint(packet_flow_hash(&flat), ==, packet_flow_hash(&cut));
    }
    frame_pieces_free(&pieces);
}

static void send_frame(Run *r)
{
    unsigned who = in_below(r->in, NET_USERS);
    bool outside = who >= r->net.n;
    Speaker s = outside ? grammar_outsider(r->in)
                        : grammar_speaker(r->in, &r->net, who);
    Made m = grammar_frame(r->in, &s);

    r->sound &= m.sound;
    check_parser(m.frame);
    if (outside) {
        wire_receive(&r->net.wire, m.frame);
    } else {
        user_send(&r->net.user[who], m.frame);
    }
}

static void add_rule(Run *r, IpvlanRule **rule)
{
    static const char *const matches[] = {
        "", "tcp", "udp port 53", "icmp or icmp6", "host 10.0.0.1",
        "ip6 and tcp dst port 80", "portrange 1-1000", "net 10.9.0.0/16",
        "vlan", "ip proto 4 or ip6 proto 41", "tcp[13] & 2 != 0",
    };
    IpvlanRuleConfig config = {
        .slave = in8(r->in) & 1 ? "n0" : NULL,
        .priority = in8(r->in), .direction = in_below(r->in, 3),
        .action = in_below(r->in, 3), .match = in_pick(r->in, matches),
    };

    if (!*rule) {
        *rule = ipvlan_rule_new(&config, NULL);
        g_assert_nonnull(*rule);
        ipvlan_rule_attach(*rule, r->net.wire.link, NULL);
    }
}

static void make_room(Run *r)
{
    unsigned who = in_below(r->in, NET_USERS), room = in8(r->in);

    room = room < 128 ? NO_LIMIT : room % 8;
    if (who >= r->net.n) {
        wire_make_room(&r->net.wire, room);
    } else {
        user_make_room(&r->net.user[who], room);
    }
}

static void step(Run *r, IpvlanRule **rule)
{
    unsigned op = in8(r->in);

    if (op < 192) {
        send_frame(r);
    } else if (op < 208) {
        clock_run_pending();
    } else if (op < 224) {
        clock_advance((1 + in8(r->in)) * NS_PER_S / 4);
    } else if (op < 240) {
        make_room(r);
    } else {
        add_rule(r, rule);
    }
    check_all(r);
}

void fuzz_one(Input *in)
{
    Run r = { .in = in, .sound = true };
    IpvlanRule *rules[2] = { NULL };

    grammar_net(in, &r.net, 4);
    for (unsigned i = 0; in->len && i < STEPS_MAX; i++) {
        step(&r, &rules[i % G_N_ELEMENTS(rules)]);
    }
    clock_run_pending();
    check_all(&r);
    for (unsigned i = 0; i < G_N_ELEMENTS(rules); i++) {
        if (rules[i]) {
            ipvlan_rule_free(rules[i]);
        }
    }
    net_fini(&r.net);
}
