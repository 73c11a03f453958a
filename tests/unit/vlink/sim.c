/*
 * Senders on a wire of some speed, on the virtual clock
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "sim.h"

/* As the tests' own, but that it does not keep a record of every frame. */
static LinkPlatform sim_platform;

static const uint8_t sim_mac[] = { 0x52, 0x54, 0, 0, 0, 0x51 };

/* --- kinds: a wire, and an upper link that does nothing ------------------- */

static int wire_newlink(Link *link, const void *config, GError **err)
{
    *(SimWire **)link_priv(link) = (SimWire *)config;
    return 0;
}

static LinkTx wire_xmit(Link *link, Packet *p)
{
    SimWire *w = *(SimWire **)link_priv(link);

    if (w->busy) {
        w->refused++;
        return LINK_TX_BUSY;
    }
    w->bytes += p->len;
    w->frames++;
    if (w->bps) {
        w->busy = true;
        test_platform.work_at(w->sent, clock_now() +
                              (int64_t)(p->len * 8 * NS_PER_S / w->bps));
    }
    return LINK_TX_OK;
}

static void wire_sent(void *opaque)
{
    SimWire *w = opaque;

    w->busy = false;
    link_wake(w->link);
}

static LinkTx user_xmit(Link *link, Packet *p)
{
    return link_xmit(link->lower, p);
}

static const LinkOps sim_wire_ops = {
    .kind = "sim-wire",
    .priv_size = sizeof(SimWire *),
    .newlink = wire_newlink,
    .xmit = wire_xmit,
};

static const LinkOps sim_user_ops = {
    .kind = "sim-user",
    .xmit = user_xmit,
};

void sim_register(void)
{
    sim_platform = test_platform;
    sim_platform.trace = NULL;
    link_kind_register(&sim_wire_ops);
    link_kind_register(&sim_user_ops);
}

/* --- users ---------------------------------------------------------------- */

static bool has_frame(const SimUser *u)
{
    return !u->stopped && (!u->interval || u->born.length);
}

static LinkTx send_one(SimUser *u)
{
    static uint8_t bytes[PACKET_MAX_LEN];
    g_autoptr(Frame) arp = NULL;
    struct iovec iov = { bytes, u->lens[u->next] };
    Packet p;

    if (u->urgent) {
        arp = arp_request(sim_mac, "10.0.0.1", "10.0.0.2");
        iov = (struct iovec) { arp->data, arp->len };
    } else {
        memcpy(bytes, port_mac, ETHER_ADDR_LEN);
        memcpy(bytes + ETHER_ADDR_LEN, sim_mac, ETHER_ADDR_LEN);
        bytes[12] = 0x88;
        bytes[13] = 0xb5;
    }
    packet_init(&p, &iov, 1);
    return link_xmit(u->link, &p);
}

static void frame_gone(SimUser *u)
{
    u->next = (u->next + 1) % u->n_lens;
    if (u->interval) {
        g_autofree int64_t *born = g_queue_pop_head(&u->born);
        int64_t delay = clock_now() - *born;

        g_array_append_val(u->delays, delay);
    }
}

/* Loop until @n are gone, the link is busy, or there is no more. */
static void send_some(SimUser *u, unsigned n)
{
    while (has_frame(u)) {
        if (!n--) {
            test_platform.work_at(u->run, clock_now());
            return;
        }
        if (send_one(u) == LINK_TX_BUSY) {
            u->blocked = true;
            u->refused++;
            return;
        }
        frame_gone(u);
    }
}

static void user_run(void *opaque)
{
    SimUser *u = opaque;

    if (!u->blocked) {
        send_some(u, SIM_BURST);
    }
}

static void user_wake(void *opaque)
{
    SimUser *u = opaque;

    u->wakes++;
    if (u->blocked) {
        u->blocked = false;
        send_some(u, SIM_BURST + 1);
    }
}

static void user_tick(void *opaque)
{
    SimUser *u = opaque;

    g_queue_push_tail(&u->born, g_memdup2(&(int64_t) { clock_now() },
                                          sizeof(int64_t)));
    test_platform.work_at(u->tick, clock_now() + u->interval);
    user_run(u);
}

static const LinkUserOps sim_user_user_ops = { .wake = user_wake };

static SimUser *user_new(Sim *s, unsigned weight)
{
    SimUser *u = &s->user[s->n];
    g_autofree char *name = g_strdup_printf("u%u", s->n);

    g_assert_cmpuint(s->n, <, SIM_USERS);
    *u = (SimUser) {
        .link = link_new(&sim_platform, "sim-user", name, s->wire.link,
                         NULL, NULL),
        .delays = g_array_new(FALSE, FALSE, sizeof(int64_t)),
        .born = G_QUEUE_INIT,
    };
    u->run = test_platform.work_new(user_run, u);
    u->tick = test_platform.work_new(user_tick, u);
    link_set_weight(u->link, weight);
    link_set_user(u->link, &sim_user_user_ops, u);
    s->n++;
    return u;
}

SimUser *sim_greedy(Sim *s, unsigned weight, const unsigned *lens,
                    unsigned n_lens)
{
    SimUser *u = user_new(s, weight);

    u->lens = lens;
    u->n_lens = n_lens;
    return u;
}

SimUser *sim_sparse(Sim *s, unsigned weight, const unsigned *len,
                    int64_t interval)
{
    SimUser *u = sim_greedy(s, weight, len, 1);

    u->interval = interval;
    return u;
}

void sim_start(SimUser *u)
{
    u->stopped = false;
    if (u->interval) {
        test_platform.work_at(u->tick, clock_now() + u->interval);
    } else {
        test_platform.work_at(u->run, clock_now());
    }
}

void sim_start_all(Sim *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        sim_start(&s->user[i]);
    }
}

void sim_stop(SimUser *u)
{
    u->stopped = true;
}

static int compare_delays(gconstpointer a, gconstpointer b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

int64_t sim_delay(SimUser *u, double percent)
{
    unsigned i = u->delays->len * percent / 100;

    g_assert_cmpuint(u->delays->len, >, 0);
    g_array_sort(u->delays, compare_delays);
    return g_array_index(u->delays, int64_t, MIN(i, u->delays->len - 1));
}

/* --- all of it ------------------------------------------------------------ */

void sim_init(Sim *s, uint64_t bps)
{
    *s = (Sim) { .wire.bps = bps };
    clock_set_loop(SIM_LOOP_NS);
    s->wire.link = link_new(&sim_platform, "sim-wire", "wire", NULL,
                            &s->wire, NULL);
    s->wire.sent = test_platform.work_new(wire_sent, &s->wire);
}

void sim_fini(Sim *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        SimUser *u = &s->user[i];

        link_del(u->link);
        test_platform.work_free(u->run);
        test_platform.work_free(u->tick);
        g_queue_clear_full(&u->born, g_free);
        g_array_unref(u->delays);
    }
    link_del(s->wire.link);
    test_platform.work_free(s->wire.sent);
    clock_set_loop(0);
    g_assert_cmpuint(clock_works(), ==, 0);
}
