/*
 * Parse, look up, decide: what a frame costs on its way through the library
 *
 * Each iteration takes the next frame of a small ring, which stays in the
 * first level cache, writes a random one of the addresses into it, and hands
 * it to the library.  What the writing costs is measured by a loop that does
 * only that, and is taken off.
 *
 *   receive  from the wire to the slave that owns the destination
 *   send     from a slave, as one of its addresses, to the wire
 *   sibling  from a slave to an address of another
 *
 * Slaves have learned their addresses, as they do by default.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "common.h"
#include "lookup.h"

#define RING 64
#define MAX_ADDRS_EACH 1024     /* addresses of a slave, at most */

static const unsigned sizes[] = { 1, 16, 256, 4096, 65536 };

typedef struct Path {
    BenchNet *net;
    uint8_t family;
    unsigned n;                 /* addresses, a power of two */
    Frame *ring[RING];
    unsigned at;                /* in the ring */
    uint64_t x;                 /* the random sequence */
    unsigned src, dst;          /* where the addresses are in a frame */
} Path;

static void put_addr(const Path *path, uint8_t *at, unsigned i)
{
    bench_addr_put(at, path->family, i);
}

static Frame *path_frame(uint8_t family)
{
    return family == IP_V4 ?
        udp(bench_port_mac, bench_gateway_mac, "198.51.100.1", "192.0.2.1") :
        udp(bench_port_mac, bench_gateway_mac, "2001:db8::1", "2001:db8::2");
}

static BenchUser *user_of(const Path *path, unsigned i)
{
    return &path->net->user[i % path->net->n_users];
}

static Frame *next_frame(Path *path)
{
    return path->ring[path->at++ % RING];
}

/* --- the three ways ------------------------------------------------------- */

static inline unsigned draw(Path *path)
{
    return bench_random(&path->x) & (path->n - 1);
}

static inline Frame *make_receive(Path *path)
{
    Frame *f = next_frame(path);

    memcpy(f->data, bench_port_mac, ETHER_ADDR_LEN);
    memcpy(f->data + ETHER_ADDR_LEN, bench_gateway_mac, ETHER_ADDR_LEN);
    put_addr(path, f->data + path->dst, draw(path));
    return f;
}

static inline Frame *make_send(Path *path, BenchUser **user)
{
    Frame *f = next_frame(path);
    unsigned i = draw(path);

    *user = user_of(path, i);
    memcpy(f->data, bench_gateway_mac, ETHER_ADDR_LEN);
    memcpy(f->data + ETHER_ADDR_LEN, (*user)->mac, ETHER_ADDR_LEN);
    put_addr(path, f->data + path->src, i);
    return f;
}

/* The neighbour's address belongs to the next slave. */
static inline Frame *make_sibling(Path *path, BenchUser **user)
{
    Frame *f = next_frame(path);
    unsigned i = draw(path), to = i ^ 1;

    *user = user_of(path, i);
    memcpy(f->data, user_of(path, to)->mac, ETHER_ADDR_LEN);
    memcpy(f->data + ETHER_ADDR_LEN, (*user)->mac, ETHER_ADDR_LEN);
    put_addr(path, f->data + path->src, i);
    put_addr(path, f->data + path->dst, to);
    return f;
}

#define WAY(name)                                                       \
    static void run_##name(void *opaque, unsigned n)                    \
    {                                                                   \
        Path *path = opaque;                                            \
                                                                        \
        while (n--) {                                                   \
            BenchUser *user;                                            \
            const Frame *f = make_##name(path, &user);                  \
                                                                        \
            bench_xmit(user, f);                                        \
        }                                                               \
    }                                                                   \
                                                                        \
    static void overhead_##name(void *opaque, unsigned n)               \
    {                                                                   \
        Path *path = opaque;                                            \
                                                                        \
        while (n--) {                                                   \
            BenchUser *user;                                            \
                                                                        \
            bench_keep(make_##name(path, &user)->data);                       \
            bench_keep(user);                                                 \
        }                                                               \
    }

WAY(send)
WAY(sibling)

static void run_receive(void *opaque, unsigned n)
{
    Path *path = opaque;

    while (n--) {
        bench_receive(path->net, make_receive(path));
    }
}

static void overhead_receive(void *opaque, unsigned n)
{
    Path *path = opaque;

    while (n--) {
        bench_keep(make_receive(path)->data);
    }
}

/* --- setting up ----------------------------------------------------------- */

/* Every slave sends once under each of its addresses. */
static void teach(Path *path)
{
    g_autoptr(Frame) f = path_frame(path->family);

    memcpy(f->data, bench_gateway_mac, ETHER_ADDR_LEN);
    for (unsigned i = 0; i < path->n; i++) {
        BenchUser *user = user_of(path, i);

        memcpy(f->data + ETHER_ADDR_LEN, user->mac, ETHER_ADDR_LEN);
        put_addr(path, f->data + path->src, i);
        bench_xmit(user, f);
    }
    if (path->net->sent != path->n) {
        g_error("%" PRIu64 " of %u frames were sent", path->net->sent,
                path->n);
    }
}

/* Is what is measured what was meant? */
static void check(Path *path, void (*run)(void *, unsigned), bool out)
{
    BenchNet *net = path->net;
    uint64_t before = net->sent, got = 0;

    for (unsigned i = 0; i < net->n_users; i++) {
        net->user[i].got = 0;
    }
    run(path, 1000);
    for (unsigned i = 0; i < net->n_users; i++) {
        got += net->user[i].got;
    }
    if (net->sent - before != (out ? 1000 : 0) || got != (out ? 0 : 1000)) {
        g_error("of 1000 frames, %" PRIu64 " were sent and %" PRIu64
                " delivered", net->sent - before, got);
    }
}

static Path *path_new(uint8_t family, IpvlanMode mode, unsigned n)
{
    unsigned users = MAX(MIN(n, 16), n / MAX_ADDRS_EACH);
    Path *path = g_new0(Path, 1);

    *path = (Path) {
        .net = bench_net_new(mode, users, MAX_ADDRS_EACH),
        .family = family, .n = n, .x = 88172645463325252,
        .src = 14 + (family == IP_V4 ? 12 : 8),
        .dst = 14 + (family == IP_V4 ? 16 : 24),
    };
    for (unsigned i = 0; i < RING; i++) {
        path->ring[i] = path_frame(family);
    }
    teach(path);
    return path;
}

static void path_free(Path *path)
{
    for (unsigned i = 0; i < RING; i++) {
        frame_free(path->ring[i]);
    }
    bench_net_free(path->net);
    g_free(path);
}

static void add_way(GArray *cases, Path *path, const char *way,
                    void (*run)(void *, unsigned),
                    void (*overhead)(void *, unsigned), bool out)
{
    const char *mode = path->net->mode == IPVLAN_L2 ? "l2" : "l2-macnat";

    check(path, run, out);
    bench_add(cases, (BenchCase) {
        .what = g_strdup_printf("path/%s/IPv%d/%s/%u", way, path->family,
                                mode, path->n),
        .unit = "ns", .run = run, .overhead = overhead, .opaque = path,
    });
}

static void add_path(GArray *cases, Path *path)
{
    add_way(cases, path, "receive", run_receive, overhead_receive, false);
    add_way(cases, path, "send", run_send, overhead_send, true);
    if (path->n > 1) {
        add_way(cases, path, "sibling", run_sibling, overhead_sibling, false);
    }
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) paths =
        g_ptr_array_new_with_free_func((GDestroyNotify)path_free);
    GArray *cases;

    bench_init(argc, argv);
    cases = bench_cases_new();
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        for (uint8_t family = IP_V4; family <= IP_V6; family += 2) {
            for (int mode = IPVLAN_L2; mode <= IPVLAN_L2_MACNAT; mode++) {
                Path *path = path_new(family, mode, sizes[i]);

                g_ptr_array_add(paths, path);
                add_path(cases, path);
            }
            lookup_add(cases, family, sizes[i]);
        }
    }
    bench_run(cases);
    lookup_free();
    bench_cases_free(cases);
    return 0;
}
