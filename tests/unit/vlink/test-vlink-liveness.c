/*
 * libvlink: whatever happens, nobody who was refused waits for ever
 *
 * Random users, queues, weights, rates and states over a wire that is busy at
 * random; then the wire has room, and everybody must get rid of everything, in
 * order, once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "sim.h"
#include "libvlink/offload.h"

#define USERS 6
#define FAR4 "10.9.9.9"

typedef struct Chaos {
    Net net;
    bool nested;                /* no ipvlan, but two links for each user */
    Link *middle[USERS / 2];
    User nested_user[USERS];
    User *user[USERS];
    unsigned sent[USERS];       /* frames given to the link, by user */
    unsigned seen[USERS];       /* numbers on the wire */
    unsigned queues;
} Chaos;

/* The same in each run of the test. */
static GRand *dice;

static unsigned pick(unsigned n)
{
    return g_rand_int_range(dice, 0, n);
}

static char *address(unsigned user)
{
    return g_strdup_printf("10.0.0.%u", user + 1);
}

static Link *plain_link(Link *lower)
{
    return link_new(&test_platform, "sim-user", "plain", lower, NULL, NULL);
}

static void chaos_add(Chaos *c, unsigned i)
{
    g_autofree char *addr = address(i);

    if (!c->nested) {
        c->user[i] = net_owner(&c->net, addr);
        return;
    }
    if (i % 2 == 0) {
        c->middle[i / 2] = plain_link(c->net.wire.link);
    }
    c->user[i] = &c->nested_user[i];
    user_init(c->user[i], plain_link(c->middle[i / 2]));
}

static void chaos_init(Chaos *c, bool nested)
{
    memset(c, 0, sizeof(*c));
    c->nested = nested;
    net_init(&c->net, IPVLAN_L2, IPVLAN_BRIDGE);
    for (unsigned i = 0; i < USERS; i++) {
        chaos_add(c, i);
    }
    c->queues = 1 + pick(4);
    link_set_queues(c->net.wire.link, c->queues);
    link_set_offloads(c->net.wire.link, pick(2) ? 0 : OFFLOAD_ALL);
}

static void chaos_fini(Chaos *c)
{
    net_clear(&c->net);
    for (unsigned i = 0; c->nested && i < USERS; i++) {
        net_del(c->user[i]);
        if (i % 2) {
            link_del(c->middle[i / 2]);
        }
    }
    net_fini(&c->net);
}

/* Of one flow for each user, so that there is an order. */
static Frame *chaos_frame(const Chaos *c, unsigned user, unsigned n)
{
    static const unsigned lens[] = { 20, 200, 1000, 1472, 9000, 20000 };
    g_autofree char *addr = address(user);
    unsigned len = lens[pick(G_N_ELEMENTS(lens))];
    Frame *f;

    if (len <= 1472 || c->nested || pick(2)) {
        f = frame_udp(gateway_mac, port_mac, addr, FAR4, 1000 + user, 5000,
                      len);
        return frame_checksum(frame_set16(frame_set16(f, 42, n), 44, user));
    }
    f = frame_udp(gateway_mac, port_mac, addr, FAR4, 1000 + user, 5000, len);
    frame_set16(frame_set16(f, 42, n), 44, user);
    frame_partial(f);
    f->vnet.gso_type = PACKET_GSO_UDP_L4;
    f->vnet.gso_size = 1400;
    f->vnet.hdr_len = 42;
    return f;
}

static void chaos_send(Chaos *c)
{
    unsigned i = pick(USERS);
    User *u = c->user[i];

    if (pick(20) == 0) {
        g_autofree char *addr = address(i);

        /* overtakes, so that it has no number */
        if (g_queue_is_empty(&u->unsent)) {
            user_send(u, arp_request(port_mac, addr, FAR4));
        }
        return;
    }
    for (unsigned n = pick(20); n; n--) {
        Frame *f = chaos_frame(c, i, c->sent[i]++);

        if (g_queue_is_empty(&u->unsent)) {
            user_send(u, f);
        } else {
            g_queue_push_tail(&u->unsent, f);
        }
    }
}

/* What is on the wire is in order; pieces after the first have no number. */
static void chaos_look(Chaos *c)
{
    trace_reset();
    while (c->net.wire.sent->len) {
        g_autoptr(Frame) f = wire_take(&c->net.wire);
        unsigned user;

        if (frame_get16(f, 12) != 0x0800) {
            continue;
        }
        user = f->data[29] - 1;
        if (f->len >= 46 && frame_get16(f, 44) == user &&
            frame_get16(f, 42) == (uint16_t)c->seen[user]) {
            c->seen[user]++;
        }
    }
}

static void chaos_state(Chaos *c)
{
    Link *link = c->user[pick(USERS)]->link;

    if (c->nested && pick(2)) {
        link = link->lower;
    }
    switch (pick(4)) {
    case 0:
        link_set_weight(link, 1 + pick(LINK_WEIGHT_MAX));
        break;
    case 1:
        link_set_rates(link, &(LinkRates) {
            .tx_bps = pick(2) ? 0 : 1000000 + pick(1000000000),
            .burst = pick(2) ? 0 : LINK_BURST_MIN + pick(100000),
        });
        break;
    case 2:
        link_set_rates(c->net.wire.link, &(LinkRates) {
            .tx_bps = pick(2) ? 0 : 1000000 + pick(1000000000),
        });
        break;
    default:
        link_wake(pick(2) ? link : c->net.wire.link);
    }
}

static void chaos_step(Chaos *c)
{
    Wire *w = &c->net.wire;

    switch (pick(8)) {
    case 0:
        w->busy_queues = pick(1u << c->queues);
        break;
    case 1:
        w->busy_queues = pick(1u << c->queues);
        w->room = pick(2) ? NO_LIMIT : pick(10);
        link_wake(w->link);
        break;
    case 2:
        w->room = pick(5);
        break;
    case 3:
        clock_advance(pick(3000000));
        break;
    case 4:
        chaos_state(c);
        break;
    default:
        chaos_send(c);
    }
    chaos_look(c);
}

/*
 * No more limits, and room; a user that is up has then no reason to wait.  A
 * wire that was busy says once that it is not.
 */
static void chaos_end(Chaos *c)
{
    c->net.wire.busy_queues = 0;
    c->net.wire.room = NO_LIMIT;
    link_wake(c->net.wire.link);
    clock_advance(2000 * NS_PER_S);
    chaos_look(c);
    for (unsigned i = 0; i < USERS; i++) {
        g_assert_cmpuint(g_queue_get_length(&c->user[i]->unsent), ==, 0);
        g_assert_cmpuint(link_stats_drops(&c->user[i]->link->stats), ==, 0);
        g_assert_cmpuint(c->seen[i], ==, c->sent[i]);
    }
    assert_drops(c->net.wire.link, LINK_DOWN, 0);
    chaos_fini(c);
}

static void check_chaos(bool nested)
{
    for (unsigned round = 0; round < 40; round++) {
        Chaos c;

        chaos_init(&c, nested);
        for (unsigned i = 0; i < 200; i++) {
            chaos_step(&c);
        }
        chaos_end(&c);
    }
}

static void test_chaos(void)
{
    check_chaos(false);
}

static void test_chaos_nested(void)
{
    check_chaos(true);
}

/* As above, but links go down, which loses frames, and nothing else. */
static void test_chaos_down(void)
{
    for (unsigned round = 0; round < 40; round++) {
        Chaos c;

        chaos_init(&c, round % 2);
        for (unsigned i = 0; i < 200; i++) {
            Link *link = c.user[pick(USERS)]->link;

            chaos_step(&c);
            if (pick(10) == 0) {
                link_set_admin(pick(3) ? link : c.net.wire.link, pick(2));
            }
        }
        for (unsigned i = 0; i < USERS; i++) {
            link_set_admin(c.user[i]->link, true);
        }
        link_set_admin(c.net.wire.link, true);
        c.net.wire.busy_queues = 0;
        c.net.wire.room = NO_LIMIT;
        link_wake(c.net.wire.link);
        clock_advance(2000 * NS_PER_S);
        for (unsigned i = 0; i < USERS; i++) {
            g_assert_cmpuint(g_queue_get_length(&c.user[i]->unsent), ==, 0);
        }
        chaos_fini(&c);
    }
}

int main(int argc, char **argv)
{
    int ret;

    test_init(&argc, &argv);
    sim_register();
    dice = g_rand_new_with_seed(8290);
    g_test_add_func("/liveness/up", test_chaos);
    g_test_add_func("/liveness/nested", test_chaos_nested);
    g_test_add_func("/liveness/up-and-down", test_chaos_down);
    ret = g_test_run();
    g_rand_free(dice);
    return ret;
}
