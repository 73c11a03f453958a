/*
 * What the tests of libvlink share: a virtual clock, a wire, users
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"

const uint8_t port_mac[] = { 0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0x01 };
const uint8_t gateway_mac[] = { 0x52, 0x55, 0x0a, 0x00, 0x00, 0xfe };

/* --- the clock ----------------------------------------------------------- */

struct LinkWork {
    void (*fn)(void *opaque);
    void *opaque;
    int64_t when;               /* -1: not asked for */
};

static int64_t now_ns = NS_PER_S;
static int64_t loop_ns;         /* the main loop takes to come round */
static GList *works;            /* of LinkWork, oldest first */

int64_t clock_now(void)
{
    return now_ns;
}

static LinkWork *test_work_new(void (*fn)(void *opaque), void *opaque)
{
    LinkWork *w = g_new(LinkWork, 1);

    *w = (LinkWork) { fn, opaque, -1 };
    works = g_list_append(works, w);
    return w;
}

static void test_work_at(LinkWork *w, int64_t when)
{
    w->when = when > now_ns ? when : now_ns + loop_ns;
}

static void test_work_free(LinkWork *w)
{
    works = g_list_remove(works, w);
    g_free(w);
}

void clock_set_loop(int64_t ns)
{
    loop_ns = ns;
}

unsigned clock_works(void)
{
    return g_list_length(works);
}

/* The first to be due, not later than @until. */
static LinkWork *next_work(int64_t until)
{
    LinkWork *next = NULL;

    for (GList *l = works; l; l = l->next) {
        LinkWork *w = l->data;

        if (w->when >= 0 && w->when <= until &&
            (!next || w->when < next->when)) {
            next = w;
        }
    }
    return next;
}

static bool run_next(int64_t until)
{
    LinkWork *w = next_work(until);

    if (!w) {
        return false;
    }
    now_ns = MAX(now_ns, w->when);
    w->when = -1;
    w->fn(w->opaque);
    return true;
}

bool clock_run_one(void)
{
    return run_next(now_ns);
}

void clock_run_pending(void)
{
    unsigned rounds = 0;

    while (clock_run_one()) {
        g_assert_cmpuint(++rounds, <, 100000);
    }
}

void clock_jump(int64_t ns)
{
    now_ns += ns;
}

void clock_run_until(int64_t when)
{
    while (run_next(when)) {
        continue;
    }
    now_ns = when;
}

/* --- traces and randomness ----------------------------------------------- */

static GArray *traces;
void (*trace_hook)(const LinkTrace *t);

static void test_trace(const LinkTrace *t)
{
    TraceRecord r = {
        .event = t->event, .link = t->link, .other = t->other,
        .reason = t->reason, .origin = t->origin, .excess = t->excess,
    };

    if (t->addr) {
        r.addr = *t->addr;
    }
    g_array_append_val(traces, r);
    if (trace_hook) {
        trace_hook(t);
    }
}

unsigned trace_count(LinkEvent event, TraceRecord *last)
{
    unsigned n = 0;

    for (unsigned i = 0; i < traces->len; i++) {
        const TraceRecord *r = &g_array_index(traces, TraceRecord, i);

        if (r->event == event) {
            n++;
            if (last) {
                *last = *r;
            }
        }
    }
    return n;
}

void trace_reset(void)
{
    g_array_set_size(traces, 0);
}

#define RANDOM_SEED UINT64_C(0x9e3779b97f4a7c15)

static uint64_t random_state = RANDOM_SEED;

/* Deterministic, and different each time. */
static void test_random(void *buf, size_t len)
{
    uint8_t *b = buf;

    while (len--) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        *b++ = random_state >> 32;
    }
}

const LinkPlatform test_platform = {
    .now = clock_now,
    .random = test_random,
    .work_new = test_work_new,
    .work_at = test_work_at,
    .work_free = test_work_free,
    .trace = test_trace,
};

/* --- the wire ------------------------------------------------------------ */

static int wire_newlink(Link *link, const void *config, GError **err)
{
    *(Wire **)link_priv(link) = (Wire *)config;
    return 0;
}

static LinkTx wire_xmit(Link *link, Packet *p)
{
    Wire *w = *(Wire **)link_priv(link);

    if (!w->room || (w->busy_queues >> p->queue & 1)) {
        return LINK_TX_BUSY;
    }
    if (w->room != NO_LIMIT) {
        w->room--;
    }
    g_ptr_array_add(w->sent, frame_from_packet(p));
    return LINK_TX_OK;
}

static void wire_resume(Link *link)
{
    (*(Wire **)link_priv(link))->resumes++;
}

static const LinkOps wire_ops = {
    .kind = "wire",
    .priv_size = sizeof(Wire *),
    .newlink = wire_newlink,
    .xmit = wire_xmit,
    .resume = wire_resume,
};

void harness_init(void)
{
    traces = g_array_new(FALSE, FALSE, sizeof(TraceRecord));
    g_assert_cmpint(link_kind_register(&wire_ops), ==, 0);
    ipvlan_register();
}

void harness_reset(void)
{
    g_assert_null(works);
    now_ns = NS_PER_S;
    loop_ns = 0;
    random_state = RANDOM_SEED;
    trace_hook = NULL;
    trace_reset();
}

void test_init(int *argc, char ***argv)
{
    g_test_init(argc, argv, NULL);
    harness_init();
}

static GPtrArray *frames_new(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)frame_free);
}

void wire_init(Wire *w, const char *name)
{
    *w = (Wire) { .sent = frames_new(), .room = NO_LIMIT };
    w->link = link_new(&test_platform, "wire", name, NULL, w, NULL);
    g_assert_nonnull(w->link);
    link_set_offloads(w->link, OFFLOAD_ALL);
}

void wire_fini(Wire *w)
{
    link_del(w->link);
    g_ptr_array_unref(w->sent);
}

/*
 * VLINK_FRAMES says where all frames are to be written, as scripts/fuzz
 * --frames reads them.  @from is who sends it.
 */
static void frame_write(const Frame *f, const char *from)
{
    const char *dir = g_getenv("VLINK_FRAMES");
    g_autofree char *sum = NULL, *path = NULL;

    if (dir) {
        sum = g_compute_checksum_for_data(G_CHECKSUM_SHA1, f->data, f->len);
        path = g_strdup_printf("%s/%s-%s", dir, from, sum);
        g_assert_true(g_file_set_contents(path, (const char *)f->data, f->len,
                                          NULL));
    }
}

/*
 * Lend @f's bytes, each piece of them in memory of its own, so that a
 * sanitizer sees one byte too many.
 */
static void frame_lend(const Frame *f, FramePieces *pieces, Packet *p)
{
    frame_pieces(f, pieces);
    packet_init(p, pieces->iov, pieces->n);
    p->has_vnet = f->has_vnet;
    p->vnet = f->vnet;
}

/* Nobody may write to a frame that is only borrowed. */
static void frame_get_back(const Frame *f, FramePieces *pieces)
{
    g_assert_true(frame_pieces_equal(f, pieces));
    frame_pieces_free(pieces);
}

void wire_receive(Wire *w, Frame *f)
{
    FramePieces pieces;
    Packet p;

    frame_write(f, "wire");
    frame_lend(f, &pieces, &p);
    link_receive(w->link, &p);
    frame_get_back(f, &pieces);
    frame_free(f);
}

static Frame *take(GPtrArray *frames)
{
    g_assert_cmpuint(frames->len, >, 0);
    return g_ptr_array_steal_index(frames, 0);
}

Frame *wire_take(Wire *w)
{
    return take(w->sent);
}

void wire_make_room(Wire *w, unsigned n)
{
    w->room = n;
    link_wake(w->link);
}

/* --- the user ------------------------------------------------------------ */

static LinkTx user_deliver(void *opaque, const Packet *p)
{
    User *u = opaque;

    if (!u->room || (u->busy_queues >> p->queue & 1)) {
        return LINK_TX_BUSY;
    }
    if (u->room != NO_LIMIT) {
        u->room--;
    }
    u->got_in[p->queue]++;
    g_ptr_array_add(u->got, frame_from_packet(p));
    return LINK_TX_OK;
}

static bool user_wants_group(void *opaque, const uint8_t *mac)
{
    User *u = opaque;

    return !u->filters || mac_equal(mac, u->group);
}

static bool user_address(void *opaque, uint8_t *mac)
{
    User *u = opaque;

    memcpy(mac, u->mac, ETHER_ADDR_LEN);
    return u->tells_mac;
}

static LinkTx user_try(User *u, const Frame *f)
{
    FramePieces pieces;
    Packet p;
    LinkTx tx;

    frame_write(f, "user");
    frame_lend(f, &pieces, &p);
    tx = link_xmit(u->link, &p);
    frame_get_back(f, &pieces);
    return tx;
}

static void user_wake(void *opaque)
{
    User *u = opaque;

    u->wakes++;
    while (!g_queue_is_empty(&u->unsent)) {
        if (user_try(u, u->unsent.head->data) == LINK_TX_BUSY) {
            return;
        }
        frame_free(g_queue_pop_head(&u->unsent));
        if (u->once) {
            return;
        }
    }
}

static void user_link_state(void *opaque)
{
    User *u = opaque;

    u->states++;
}

static const LinkUserOps user_ops = {
    .deliver = user_deliver,
    .wants_group = user_wants_group,
    .address = user_address,
    .wake = user_wake,
    .link_state = user_link_state,
};

void user_init(User *u, Link *link)
{
    *u = (User) {
        .link = link, .name = link->name, .got = frames_new(),
        .room = NO_LIMIT, .unsent = G_QUEUE_INIT,
    };
    link_set_offloads(link, OFFLOAD_ALL);
    link_set_user(link, &user_ops, u);
}

void user_fini(User *u)
{
    g_queue_clear_full(&u->unsent, (GDestroyNotify)frame_free);
    g_ptr_array_unref(u->got);
    u->link = NULL;
}

LinkTx user_send(User *u, Frame *f)
{
    LinkTx tx = user_try(u, f);

    if (tx == LINK_TX_BUSY) {
        g_queue_push_tail(&u->unsent, f);
    } else {
        frame_free(f);
    }
    return tx;
}

Frame *user_take(User *u)
{
    return take(u->got);
}

void user_make_room(User *u, unsigned n)
{
    u->room = n;
    for (unsigned i = 0; i < u->link->n_queues; i++) {
        link_rx_ready(u->link, i);
    }
}

void user_open_queue(User *u, unsigned queue)
{
    u->busy_queues &= ~(1u << queue);
    link_rx_ready(u->link, queue);
}

void user_close_queue(User *u, unsigned queue)
{
    u->busy_queues |= 1u << queue;
}

/* --- a port with slaves -------------------------------------------------- */

void net_init(Net *net, IpvlanMode mode, IpvlanFlag flag)
{
    memset(net, 0, sizeof(*net));
    net->mode = mode;
    net->flag = flag;
    wire_init(&net->wire, "up0");
    trace_reset();
}

/*
 * What entered, or was made here, has left, was dropped, ended here or waits;
 * whatever a test is about.
 */
static void assert_conserved(const Net *net)
{
    const Link *lower = net->wire.link;
    LinkStats slaves = lower->deleted;
    IpvlanPortInfo info = { .waiting = 0 };
    uint64_t waiting = 0;

    if (net->injects) {
        return;
    }
    for (GList *l = lower->uppers.head; l; l = l->next) {
        const Link *link = l->data;

        link_stats_add(&slaves, &link->stats);
        waiting += link_rx_waiting(link);
    }
    if (!ipvlan_port_info(lower, &info)) {
        info.waiting = lower->root.rests.length;
    }
    waiting += info.waiting;
    g_assert_cmpuint(slaves.tx_packets + lower->stats.rx_packets +
                     slaves.made + lower->stats.made, ==,
                     slaves.rx_packets + lower->stats.tx_packets +
                     slaves.absorbed + lower->stats.absorbed +
                     link_stats_drops(&slaves) +
                     link_stats_drops(&lower->stats) + waiting);
}

void net_del(User *u)
{
    link_del(u->link);
    user_fini(u);
}

void net_close(Net *net)
{
    assert_conserved(net);
    for (unsigned i = 0; i < net->n; i++) {
        if (net->user[i].link) {
            net_del(&net->user[i]);
        }
    }
    assert_conserved(net);
    wire_fini(&net->wire);
}

void net_fini(Net *net)
{
    net_close(net);
    g_assert_cmpuint(clock_works(), ==, 0);
}

User *net_add(Net *net, IpvlanConfig config)
{
    static const char *const names[NET_USERS] = {
        "n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7",
    };
    g_autoptr(GError) err = NULL;
    User *u = &net->user[net->n];
    Link *link;

    g_assert_cmpuint(net->n, <, NET_USERS);
    config.mode = config.mode ?: &net->mode;
    config.flag = config.flag ?: &net->flag;
    config.default_mac = port_mac;
    config.max_addrs = config.max_addrs ?: IPVLAN_MAX_ADDRS;
    link = link_new(&test_platform, "ipvlan", names[net->n],
                    net->wire.link, &config, &err);
    g_assert_no_error(err);
    user_init(u, link);
    if (net->mode == IPVLAN_L2) {
        memcpy(u->mac, port_mac, ETHER_ADDR_LEN);
    } else {
        memcpy(u->mac, "\x52\x54\x00\x12\x34", 5);
        u->mac[5] = 0x56 + net->n;
    }
    net->n++;
    return u;
}

User *net_learner(Net *net)
{
    return net_add(net, (IpvlanConfig) { .learn = IPVLAN_LEARN_ON });
}

User *net_owner(Net *net, const char *addr)
{
    IpPrefix p;

    if (!addr) {
        return net_add(net, (IpvlanConfig) { .n_addrs = 0 });
    }
    p = prefix(addr);
    return net_add(net, (IpvlanConfig) { .addrs = &p, .n_addrs = 1 });
}

void net_assert_quiet(Net *net)
{
    clock_run_pending();
    g_assert_cmpuint(net->wire.sent->len, ==, 0);
    for (unsigned i = 0; i < net->n; i++) {
        if (net->user[i].link) {
            g_assert_cmpuint(net->user[i].got->len, ==, 0);
        }
    }
}

void net_clear(Net *net)
{
    clock_run_pending();
    g_ptr_array_set_size(net->wire.sent, 0);
    for (unsigned i = 0; i < net->n; i++) {
        if (net->user[i].link) {
            g_ptr_array_set_size(net->user[i].got, 0);
        }
    }
    trace_reset();
}

void assert_same(Frame *a, Frame *b)
{
    g_assert_cmpmem(a->data, a->len, b->data, b->len);
    frame_free(a);
    frame_free(b);
}

void assert_got(User *u, Frame *expected)
{
    g_assert_cmpuint(u->got->len, ==, 1);
    assert_same(user_take(u), expected);
}

void assert_sent(Wire *w, Frame *expected)
{
    g_assert_cmpuint(w->sent->len, ==, 1);
    assert_same(wire_take(w), expected);
}

typedef struct OwnerSearch {
    IpPrefix wanted;
    bool found;
    unsigned n;
} OwnerSearch;

static void look_at(const IpvlanAddrInfo *info, void *opaque)
{
    OwnerSearch *s = opaque;

    s->n++;
    s->found |= info->prefix.len == s->wanted.len &&
                ip_equal(&info->prefix.addr, &s->wanted.addr);
}

User *net_owner_of(Net *net, const char *addr)
{
    for (unsigned i = 0; i < net->n; i++) {
        OwnerSearch s = { .wanted = prefix(addr) };

        if (net->user[i].link) {
            ipvlan_foreach_addr(net->user[i].link, look_at, &s);
        }
        if (s.found) {
            return &net->user[i];
        }
    }
    return NULL;
}

unsigned net_addresses(const User *u)
{
    OwnerSearch s = { .n = 0 };

    ipvlan_foreach_addr(u->link, look_at, &s);
    return s.n;
}
