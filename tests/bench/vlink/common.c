/*
 * What the benches of libvlink share: a platform, a wire, cases in turn
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_ZERO_STATS
#define CALLGRIND_DUMP_STATS_AT(what)
#endif

#include "common.h"

/* --- the platform --------------------------------------------------------- */

int64_t bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

struct LinkWork {
    void (*fn)(void *opaque);
    void *opaque;
    bool due;
    GList node;
};

static GQueue due = G_QUEUE_INIT;

static LinkWork *work_new(void (*fn)(void *opaque), void *opaque)
{
    LinkWork *w = g_new0(LinkWork, 1);

    w->fn = fn;
    w->opaque = opaque;
    w->node.data = w;
    return w;
}

/* What is for later than now is never run: no bench lasts that long. */
static void work_at(LinkWork *w, int64_t when)
{
    if (!w->due && when <= bench_now()) {
        w->due = true;
        g_queue_push_tail_link(&due, &w->node);
    }
}

static void work_free(LinkWork *w)
{
    if (w->due) {
        g_queue_unlink(&due, &w->node);
    }
    g_free(w);
}

static void platform_random(void *buf, size_t len)
{
    static uint64_t x = UINT64_C(0x9e3779b97f4a7c15);
    uint8_t *b = buf;

    while (len--) {
        *b++ = bench_random(&x) >> 32;
    }
}

const LinkPlatform bench_platform = {
    .now = bench_now,
    .random = platform_random,
    .work_new = work_new,
    .work_at = work_at,
    .work_free = work_free,
};

/* What this thread has worked: it is not to blame for others' turns. */
int64_t bench_worked(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

int64_t bench_run_work(void)
{
    int64_t longest = 0;

    while (!g_queue_is_empty(&due)) {
        LinkWork *w = g_queue_pop_head_link(&due)->data;
        int64_t start = bench_worked(), took;

        w->due = false;
        w->fn(w->opaque);
        took = bench_worked() - start;
        longest = MAX(longest, took);
    }
    return longest;
}

/* --- a net ---------------------------------------------------------------- */

const uint8_t bench_port_mac[] = { 0x02, 0, 0, 0, 0x10, 0 };
const uint8_t bench_gateway_mac[] = { 0x02, 0, 0, 0, 0xfe, 0xfe };

static int wire_newlink(Link *link, const void *config, GError **err)
{
    (void)err;
    *(BenchNet **)link_priv(link) = (BenchNet *)config;
    return 0;
}

static LinkTx wire_xmit(Link *link, Packet *p)
{
    BenchNet *net = *(BenchNet **)link_priv(link);

    (void)p;
    net->sent++;
    return LINK_TX_OK;
}

static const LinkOps wire_ops = {
    .kind = "wire",
    .priv_size = sizeof(BenchNet *),
    .newlink = wire_newlink,
    .xmit = wire_xmit,
};

static LinkTx user_deliver(void *opaque, const Packet *p)
{
    BenchUser *u = opaque;

    if (u->busy) {
        return LINK_TX_BUSY;
    }
    if (u->copy_to) {
        packet_copy_bytes(p, u->copy_to);
    }
    u->got++;
    return LINK_TX_OK;
}

static LinkTx user_try(BenchUser *u, const Frame *f);

static void user_wake(void *opaque)
{
    BenchUser *u = opaque;

    if (u->unsent && user_try(u, u->unsent) != LINK_TX_BUSY) {
        u->unsent = NULL;
    }
}

static const LinkUserOps user_ops = {
    .deliver = user_deliver,
    .wake = user_wake,
};

static void user_init(BenchNet *net, unsigned i, IpvlanConfig config)
{
    BenchUser *u = &net->user[i];
    g_autofree char *name = g_strdup_printf("n%u", i);
    g_autoptr(GError) err = NULL;

    config.mode = &net->mode;
    config.default_mac = bench_port_mac;
    u->link = link_new(&bench_platform, "ipvlan", name, net->wire, &config,
                       &err);
    if (!u->link) {
        g_error("%s", err->message);
    }
    link_set_user(u->link, &user_ops, u);
    memcpy(u->mac, bench_port_mac, ETHER_ADDR_LEN);
    if (net->mode != IPVLAN_L2) {
        u->mac[3] = 1;
        u->mac[4] = i >> 8;
        u->mac[5] = i;
    }
}

BenchNet *bench_net_new_with(IpvlanMode mode, unsigned n, IpvlanConfig config)
{
    BenchNet *net = g_new0(BenchNet, 1);

    net->mode = mode;
    net->n_users = n;
    net->user = g_new0(BenchUser, n);
    net->wire = link_new(&bench_platform, "wire", "up0", NULL, net, NULL);
    for (unsigned i = 0; i < n; i++) {
        user_init(net, i, config);
    }
    return net;
}

BenchNet *bench_net_new(IpvlanMode mode, unsigned n, unsigned max_addrs)
{
    return bench_net_new_with(mode, n, (IpvlanConfig) {
        .learn = IPVLAN_LEARN_ON, .max_addrs = max_addrs,
    });
}

void bench_net_free(BenchNet *net)
{
    for (unsigned i = 0; i < net->n_users; i++) {
        link_del(net->user[i].link);
    }
    link_del(net->wire);
    g_free(net->user);
    g_free(net);
}

static void packet_of(Packet *p, struct iovec *iov, const Frame *f)
{
    *iov = (struct iovec) { f->data, f->len };
    packet_init(p, iov, 1);
    p->has_vnet = f->has_vnet;
    p->vnet = f->vnet;
}

void bench_receive(BenchNet *net, const Frame *f)
{
    struct iovec iov;
    UNINITIALIZED Packet p;

    packet_of(&p, &iov, f);
    link_receive(net->wire, &p);
}

static LinkTx user_try(BenchUser *u, const Frame *f)
{
    struct iovec iov;
    UNINITIALIZED Packet p;

    packet_of(&p, &iov, f);
    return link_xmit(u->link, &p);
}

/* The end of a guest's turn: it waits for the next, as its ring would. */
static void wait_for_turn(BenchUser *u, const Frame *f)
{
    u->unsent = f;
    for (unsigned i = 0; u->unsent; i++) {
        if (i == 1000) {
            g_error("%s is not woken", u->link->name);
        }
        bench_run_work();
    }
}

void bench_xmit(BenchUser *u, const Frame *f)
{
    if (G_UNLIKELY(user_try(u, f) == LINK_TX_BUSY)) {
        wait_for_turn(u, f);
    }
}

/* --- instructions --------------------------------------------------------- */

static int counter = -1;

static void counter_open(void)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_HARDWARE, .size = sizeof(attr),
        .config = PERF_COUNT_HW_INSTRUCTIONS,
        .exclude_kernel = 1, .exclude_hv = 1,
    };

    counter = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

/* Instructions so far; 0 where the machine does not count them. */
static uint64_t counter_read(void)
{
    uint64_t n = 0;

    if (counter < 0 || read(counter, &n, sizeof(n)) != sizeof(n)) {
        return 0;
    }
    return n;
}

/* --- measuring ------------------------------------------------------------ */

#define COUNTED 2000            /* units that callgrind sees of each case */

unsigned bench_rounds = 7;
static int64_t sample_ns = 10 * 1000 * 1000;
bool bench_counting;

static unsigned option_number(const char *text)
{
    unsigned n = text ? atoi(text) : 0;

    if (!n) {
        g_printerr("bench: an option needs a number\n");
        exit(2);
    }
    return n;
}

void bench_init(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--count")) {
            bench_counting = true;
        } else if (!strcmp(argv[i], "--rounds")) {
            bench_rounds = MIN(option_number(argv[i + 1]), BENCH_MAX_SAMPLES);
            i++;
        } else if (!strcmp(argv[i], "--ms")) {
            sample_ns = option_number(argv[i + 1]) * INT64_C(1000000);
            i++;
        } else {
            g_printerr("usage: %s [--rounds N] [--ms N] [--count]\n", argv[0]);
            exit(2);
        }
    }
    counter_open();
    if (link_kind_register(&wire_ops)) {
        g_error("there is a kind 'wire' already");
    }
    ipvlan_register();
}

GArray *bench_cases_new(void)
{
    return g_array_new(FALSE, FALSE, sizeof(BenchCase));
}

void bench_add(GArray *cases, BenchCase c)
{
    g_array_append_val(cases, c);
}

void bench_cases_free(GArray *cases)
{
    for (unsigned i = 0; i < cases->len; i++) {
        free(g_array_index(cases, BenchCase, i).what);
    }
    g_array_unref(cases);
}

typedef struct Cost {
    double ns;
    double instructions;
} Cost;

static Cost cost_of(void (*run)(void *, unsigned), void *opaque, unsigned n)
{
    uint64_t instructions = counter_read();
    int64_t start = bench_worked();

    run(opaque, n);
    return (Cost) {
        .ns = bench_worked() - start,
        .instructions = counter_read() - instructions,
    };
}

/* How many units fill a sample.  Warms the caches up, too. */
static void calibrate(BenchCase *c)
{
    unsigned max = c->max ?: UINT_MAX / 4;
    double ns;

    for (c->n = 1; ; c->n = MIN(max, c->n * 2)) {
        ns = cost_of(c->run, c->opaque, c->n).ns;
        if (ns > sample_ns / 4 || c->n == max) {
            break;
        }
    }
    c->n = CLAMP(c->n * (sample_ns / MAX(ns, 1)), 1, max);
}

static void take_sample(BenchCase *c, unsigned round)
{
    Cost cost, loop = { 0 };

    /* what the other cases have left in the cache is not this one's */
    c->run(c->opaque, MAX(1, c->n / 8));
    cost = cost_of(c->run, c->opaque, c->n);
    if (c->overhead) {
        loop = cost_of(c->overhead, c->opaque, c->n);
    }
    c->sample[round] = c->bytes ? c->bytes * c->n / cost.ns
                                : (cost.ns - loop.ns) / c->n;
    c->instructions[round] = (cost.instructions - loop.instructions) / c->n;
}

/* Under callgrind: what was counted goes to a file of its own for each. */
static void count_instructions(const BenchCase *c)
{
    unsigned n = MIN(c->max ?: COUNTED, COUNTED);
    g_autofree char *loop = g_strdup_printf("%u overhead %s", n, c->what);
    g_autofree char *name = g_strdup_printf("%u run %s", n, c->what);

    c->run(c->opaque, n);
    CALLGRIND_ZERO_STATS;
    c->run(c->opaque, n);
    CALLGRIND_DUMP_STATS_AT(name);
    if (c->overhead) {
        c->overhead(c->opaque, n);
        CALLGRIND_DUMP_STATS_AT(loop);
    }
}

static void print_samples(const char *name, const double *sample, unsigned n)
{
    printf(", \"%s\": [", name);
    for (unsigned i = 0; i < n; i++) {
        printf("%s%.2f", i ? ", " : "", sample[i]);
    }
    printf("]");
}

void bench_emit(const char *what, const char *unit, const double *sample,
                unsigned n)
{
    printf("{\"part\": \"library\", \"what\": \"%s\", \"unit\": \"%s\"", what,
           unit);
    print_samples("samples", sample, n);
    printf("}\n");
    fflush(stdout);
}

void bench_emit_note(const char *what, const char *note)
{
    printf("{\"part\": \"library\", \"what\": \"%s\", \"note\": \"%s\"}\n",
           what, note);
}

static void emit_case(const BenchCase *c)
{
    printf("{\"part\": \"library\", \"what\": \"%s\", \"unit\": \"%s\"",
           c->what, c->unit);
    print_samples("samples", c->sample, bench_rounds);
    if (counter >= 0) {
        print_samples("instructions", c->instructions, bench_rounds);
    }
    printf("}\n");
}

void bench_run(GArray *cases)
{
    BenchCase *c = (BenchCase *)cases->data;

    if (bench_counting) {
        for (unsigned i = 0; i < cases->len; i++) {
            count_instructions(&c[i]);
        }
        return;
    }
    for (unsigned i = 0; i < cases->len; i++) {
        calibrate(&c[i]);
    }
    for (unsigned round = 0; round < bench_rounds; round++) {
        for (unsigned i = 0; i < cases->len; i++) {
            take_sample(&c[round % 2 ? cases->len - 1 - i : i], round);
        }
    }
    for (unsigned i = 0; i < cases->len; i++) {
        emit_case(&c[i]);
    }
    fflush(stdout);
}
