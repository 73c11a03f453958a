/*
 * libvlink: what is always true is checked, and is the same each time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"

#define A4 "10.0.0.1"
#define B4 "10.0.0.2"
#define FAR4 "10.9.9.9"

/* --- the same seed, the same frames --------------------------------------- */

/* Any of a few, from any of the two or from outside. */
static void send_any(Net *net, GRand *rand)
{
    static const char *const ips[] = { A4, B4, FAR4 };
    const char *sip = ips[g_rand_int_range(rand, 0, 3)];
    const char *dip = ips[g_rand_int_range(rand, 0, 3)];
    unsigned who = g_rand_int_range(rand, 0, 3);

    if (who == 2) {
        wire_receive(&net->wire, g_rand_boolean(rand) ?
                     udp(port_mac, gateway_mac, sip, dip) :
                     arp_request(gateway_mac, sip, dip));
    } else {
        User *u = &net->user[who];

        user_send(u, g_rand_boolean(rand) ?
                  udp(port_mac, u->mac, sip, dip) :
                  arp_request(u->mac, sip, dip));
    }
}

static void add_frames(GChecksum *sum, const GPtrArray *frames)
{
    for (unsigned i = 0; i < frames->len; i++) {
        const Frame *f = frames->pdata[i];

        g_checksum_update(sum, f->data, f->len);
    }
}

/* A digest of all that comes of @seed in @mode. */
static char *outcome(uint32_t seed, IpvlanMode mode)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    Net net;

    harness_reset();
    net_init(&net, mode, IPVLAN_BRIDGE);
    net_owner(&net, A4);
    net_owner(&net, B4);
    for (unsigned i = 0; i < 2000; i++) {
        send_any(&net, rand);
        clock_advance(g_rand_int_range(rand, 0, NS_PER_S));
        add_frames(sum, net.wire.sent);
        add_frames(sum, net.user[0].got);
        add_frames(sum, net.user[1].got);
        net_clear(&net);
    }
    net_fini(&net);
    return g_strdup(g_checksum_get_string(sum));
}

static void test_same(void)
{
    uint32_t seed = g_test_rand_int();

    for (IpvlanMode mode = IPVLAN_L2; mode <= IPVLAN_L3S; mode++) {
        g_autofree char *first = outcome(seed, mode);
        g_autofree char *second = outcome(seed, mode);
        g_autofree char *other = outcome(seed + 1, mode);

        g_assert_cmpstr(first, ==, second);
        g_assert_cmpstr(first, !=, other);
    }
}

/* --- what must not be ----------------------------------------------------- */

#ifdef VLINK_INVARIANTS

static void receive_by(RxHandler *handler)
{
    Wire w;

    wire_init(&w, "up0");
    link_rx_handler_register(w.link, handler, NULL);
    wire_receive(&w, udp(port_mac, gateway_mac, FAR4, A4));
}

static RxHandlerResult lose(Link *lower, Packet *p)
{
    return RX_HANDLER_CONSUMED;
}

/* Nobody got it, and nobody counted it. */
static void lost(void)
{
    receive_by(lose);
}

static RxHandlerResult count_twice(Link *lower, Packet *p)
{
    link_drop(lower, p, DROP_NO_OWNER);
    link_drop(lower, p, DROP_NOT_FOR_US);
    return RX_HANDLER_CONSUMED;
}

static void twice(void)
{
    receive_by(count_twice);
}

/* By way of somebody who passes by the port. */
static void other_mac(void)
{
    g_autoptr(Frame) f = udp(gateway_mac, gateway_mac, A4, FAR4);
    struct iovec iov = { f->data, f->len };
    Packet p;
    Net net;

    net_init(&net, IPVLAN_L2, IPVLAN_BRIDGE);
    net_owner(&net, A4);
    packet_init(&p, &iov, 1);
    link_xmit(net.wire.link, &p);
}

static void dies(void (*of)(void), const char *sentence)
{
    if (g_test_subprocess()) {
        of();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr(sentence);
}

static void test_lost(void)
{
    dies(lost, "*a frame was lost and not counted*");
}

static void test_twice(void)
{
    dies(twice, "*'up0' got a frame, or dropped it, twice*");
}

static void test_other_mac(void)
{
    dies(other_mac, "*leaves 'up0' with the source MAC address*");
}

#endif

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/invariant/same", test_same);
#ifdef VLINK_INVARIANTS
    g_test_add_func("/invariant/lost", test_lost);
    g_test_add_func("/invariant/twice", test_twice);
    g_test_add_func("/invariant/other-mac", test_other_mac);
#endif
    return g_test_run();
}
