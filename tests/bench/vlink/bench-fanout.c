/*
 * One frame for many, and how long deferred work holds the loop
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "common.h"

#define BATCH 64                /* frames that wait before a poll */

/* Somebody on the wire asks for an address that no slave has. */
static Frame *broadcast(void)
{
    return arp_request(bench_gateway_mac, "192.0.2.1", "192.0.2.99");
}

/* --- what a copy costs ---------------------------------------------------- */

typedef struct Fanout {
    BenchNet *net;
    Frame *frame;
} Fanout;

static void run_fanout(void *opaque, unsigned n)
{
    Fanout *f = opaque;

    while (n) {
        unsigned batch = MIN(n, BATCH);

        for (unsigned i = 0; i < batch; i++) {
            bench_receive(f->net, f->frame);
        }
        bench_run_work();
        n -= batch;
    }
}

static void check(Fanout *f)
{
    run_fanout(f, 1);
    for (unsigned i = 0; i < f->net->n_users; i++) {
        if (f->net->user[i].got != 1) {
            g_error("slave %u got %" PRIu64 " copies", i,
                    f->net->user[i].got);
        }
    }
}

static void bench_fanout(void)
{
    static const unsigned sizes[] = { 1, 4, 16, 64, 256 };
    Fanout f[G_N_ELEMENTS(sizes)];
    GArray *cases = bench_cases_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        f[i].net = bench_net_new(IPVLAN_L2_MACNAT, sizes[i], 1);
        f[i].frame = broadcast();
        check(&f[i]);
        bench_add(cases, (BenchCase) {
            .what = g_strdup_printf("fanout/%u", sizes[i]), .unit = "ns",
            .run = run_fanout, .opaque = &f[i],
        });
    }
    bench_run(cases);
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        bench_net_free(f[i].net);
        frame_free(f[i].frame);
    }
    bench_cases_free(cases);
}

/* --- how long a poll takes ------------------------------------------------ */

/* As a NIC does, copy every frame; each guest has memory of its own. */
static void copy_frames(BenchNet *net)
{
    for (unsigned i = 0; i < net->n_users; i++) {
        net->user[i].copy_to = g_malloc0(PACKET_MAX_LEN);
    }
}

static void copying_net_free(BenchNet *net)
{
    for (unsigned i = 0; i < net->n_users; i++) {
        g_free(net->user[i].copy_to);
    }
    bench_net_free(net);
}

static double us(int64_t ns)
{
    return ns / 1e3;
}

/* A full backlog of full frames, for 256 slaves. */
static double hold_broadcast(void)
{
    BenchNet *net = bench_net_new(IPVLAN_L2_MACNAT, 256, 1);
    g_autoptr(Frame) f = frame_udp(mac_broadcast, bench_gateway_mac,
                                   "192.0.2.1", "192.0.2.255", 1, 1, 1472);
    int64_t longest;

    copy_frames(net);
    for (unsigned i = 0; i < IPVLAN_BACKLOG; i++) {
        bench_receive(net, f);
    }
    longest = bench_run_work();
    copying_net_free(net);
    return us(longest);
}

static Frame *segment64k(const char *addr)
{
    Frame *f = frame_partial(frame_tcp(bench_port_mac, bench_gateway_mac,
                                       "198.51.100.1", addr, 64000));

    f->vnet.gso_type = PACKET_GSO_TCPV4;
    f->vnet.gso_size = 1448;
    f->vnet.hdr_len = 54;
    return f;
}

#define HOLD_USERS 64
#define HOLD_FRAMES 8           /* that wait for each of them */

/* @u, who is busy, has learned @addr and has frames that wait. */
static void fill_queue(BenchNet *net, BenchUser *u, const char *addr)
{
    g_autoptr(Frame) hello = udp(bench_gateway_mac, u->mac, addr,
                                 "198.51.100.1");
    g_autoptr(Frame) f = segment64k(addr);

    bench_xmit(u, hello);
    u->busy = true;
    for (unsigned i = 0; i < HOLD_FRAMES; i++) {
        bench_receive(net, f);
    }
}

/* It takes frames again.  Returns how long that held its caller. */
static int64_t make_ready(BenchUser *u)
{
    int64_t start = bench_worked();

    u->busy = false;
    link_rx_ready(u->link, 0);
    return bench_worked() - start;
}

/* Guests that were busy take frames again, all at once. */
static double hold_segments(unsigned offloads)
{
    BenchNet *net = bench_net_new(IPVLAN_L2_MACNAT, HOLD_USERS, 1);
    int64_t longest = 0, took;

    copy_frames(net);
    for (unsigned i = 0; i < HOLD_USERS; i++) {
        g_autofree char *addr = g_strdup_printf("192.0.2.%u", i + 1);

        link_set_offloads(net->user[i].link, offloads);
        fill_queue(net, &net->user[i], addr);
    }
    bench_run_work();
    for (unsigned i = 0; i < HOLD_USERS; i++) {
        took = make_ready(&net->user[i]);
        longest = MAX(longest, took);
    }
    took = bench_run_work();
    longest = MAX(longest, took);
    for (unsigned i = 0; i < HOLD_USERS; i++) {
        if (net->user[i].got < HOLD_FRAMES) {
            g_error("slave %u got %" PRIu64 " frames", i, net->user[i].got);
        }
    }
    copying_net_free(net);
    return us(longest);
}

static double hold_whole(void)
{
    return hold_segments(OFFLOAD_ALL);
}

static double hold_cut(void)
{
    return hold_segments(0);
}

static void bench_hold(void)
{
    static const struct {
        const char *what;
        double (*measure)(void);
    } holds[] = {
        { "hold/1000 broadcasts to 256 slaves", hold_broadcast },
        { "hold/64 KiB segments to 64 slaves, whole", hold_whole },
        { "hold/64 KiB segments to 64 slaves, cut", hold_cut },
    };
    double sample[G_N_ELEMENTS(holds)][BENCH_MAX_SAMPLES];

    for (unsigned round = 0; round < bench_rounds; round++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(holds); i++) {
            sample[i][round] = holds[i].measure();
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(holds); i++) {
        bench_emit(holds[i].what, "us", sample[i], bench_rounds);
    }
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    bench_fanout();
    if (!bench_counting) {
        bench_hold();
    }
    return 0;
}
