/*
 * libvlink: links, kinds, receive handlers, state, queues, wakes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "veth.h"

static const uint8_t a_mac[] = { 0x52, 0x54, 0, 0, 0, 0xa };
static const uint8_t b_mac[] = { 0x52, 0x54, 0, 0, 0, 0xb };

/* --- a kind for tests: an upper link that does what it is told ------------ */

typedef struct LayerConfig {
    bool handles;               /* registers a receive handler */
    bool fails;                 /* newlink() refuses */
} LayerConfig;

typedef struct Layer {
    RxHandlerResult answer;
    bool handles;
    unsigned calls;
} Layer;

static RxHandlerResult layer_handle(Link *lower, Packet *p)
{
    Link *upper = link_rx_handler_data(lower);
    Layer *layer = link_priv(upper);

    layer->calls++;
    if (layer->answer == RX_HANDLER_ANOTHER) {
        p->link = upper;
    }
    if (layer->answer == RX_HANDLER_CONSUMED) {
        invariant_ended(p);
    }
    return layer->answer;
}

static int layer_newlink(Link *link, const void *opaque, GError **err)
{
    const LayerConfig *config = opaque;
    Layer *layer = link_priv(link);

    layer->answer = RX_HANDLER_ANOTHER;
    layer->handles = config && config->handles;
    if (config && config->fails) {
        g_set_error(err, LINK_ERROR, EINVAL, "layer: told to fail");
        return -EINVAL;
    }
    return layer->handles ? link_rx_handler_register(link->lower,
                                                     layer_handle, link) : 0;
}

static void layer_dellink(Link *link)
{
    Layer *layer = link_priv(link);

    if (layer->handles) {
        link_rx_handler_unregister(link->lower);
    }
}

static LinkTx layer_xmit(Link *link, Packet *p)
{
    return link_xmit(link->lower, p);
}

static const LinkOps layer_ops = {
    .kind = "layer",
    .priv_size = sizeof(Layer),
    .newlink = layer_newlink,
    .dellink = layer_dellink,
    .xmit = layer_xmit,
};

static const LinkOps deaf_ops = { .kind = "deaf" };

static Link *layer_try(const char *name, Link *lower, GError **err)
{
    return link_new(&test_platform, "layer", name, lower, NULL, err);
}

static Link *layer_new(const char *name, Link *lower, bool handles)
{
    LayerConfig config = { .handles = handles };
    Link *link = link_new(&test_platform, "layer", name, lower, &config,
                          NULL);

    g_assert_nonnull(link);
    return link;
}

static Frame *some_frame(void)
{
    return udp(b_mac, a_mac, "10.0.0.1", "10.0.0.2");
}

/* A frame with a number, to tell order. */
static Frame *numbered(unsigned n)
{
    Frame *f = frame_eth(b_mac, a_mac, 0x88b5, 46);

    return frame_set16(f, 14, n);
}

static unsigned take_number(GPtrArray *frames)
{
    g_autoptr(Frame) f = NULL;

    g_assert_cmpuint(frames->len, >, 0);
    f = g_ptr_array_steal_index(frames, 0);
    return frame_get16(f, 14);
}

/* --- kinds ---------------------------------------------------------------- */

static void test_kind_twice(void)
{
    g_assert_cmpint(link_kind_register(&layer_ops), ==, -EEXIST);
    g_assert_true(link_kind_find("layer") == &layer_ops);
    g_assert_null(link_kind_find("nonsense"));
    ipvlan_register();
}

static void test_kind_unknown(void)
{
    g_autoptr(GError) err = NULL;
    Link *link = link_new(&test_platform, "nonsense", "x", NULL, NULL, &err);

    g_assert_null(link);
    g_assert_error(err, LINK_ERROR, ENODEV);
    g_assert_nonnull(strstr(err->message, "nonsense"));
    g_assert_cmpuint(clock_works(), ==, 0);
}

static void test_newlink_fails(void)
{
    g_autoptr(GError) err = NULL;
    LayerConfig config = { .fails = true };
    Link *link;
    Wire w;

    wire_init(&w, "up0");
    link = link_new(&test_platform, "layer", "x", w.link, &config, &err);
    g_assert_null(link);
    g_assert_error(err, LINK_ERROR, EINVAL);
    g_assert_true(g_queue_is_empty(&w.link->uppers));
    link = link_new(&test_platform, "layer", "x", NULL, &config, NULL);
    g_assert_null(link);
    wire_fini(&w);
    g_assert_cmpuint(clock_works(), ==, 0);
}

static void test_change_unsupported(void)
{
    g_autoptr(GError) err = NULL;
    Wire w;

    wire_init(&w, "up0");
    g_assert_cmpint(link_change(w.link, NULL, &err), ==, -EOPNOTSUPP);
    g_assert_error(err, LINK_ERROR, EOPNOTSUPP);
    wire_fini(&w);
}

/* --- receive handlers ----------------------------------------------------- */

typedef struct Stack {
    Wire wire;
    User user;                  /* above the wire itself */
    User upper;                 /* above the layer on it */
    Layer *layer;
} Stack;

static void stack_init(Stack *s, bool with_user)
{
    Link *link;

    wire_init(&s->wire, "up0");
    link = layer_new("l0", s->wire.link, true);
    s->layer = link_priv(link);
    user_init(&s->upper, link);
    if (with_user) {
        user_init(&s->user, s->wire.link);
    }
    trace_reset();
}

static void stack_fini(Stack *s, bool with_user)
{
    link_del(s->upper.link);
    user_fini(&s->upper);
    if (with_user) {
        user_fini(&s->user);
    }
    wire_fini(&s->wire);
    g_assert_cmpuint(clock_works(), ==, 0);
}

static void test_handler_second(void)
{
    Stack s;

    stack_init(&s, false);
    g_assert_cmpint(link_rx_handler_register(s.wire.link, layer_handle, NULL),
                    ==, -EBUSY);
    link_rx_handler_unregister(s.wire.link);
    g_assert_null(link_rx_handler_data(s.wire.link));
    g_assert_cmpint(link_rx_handler_register(s.wire.link, layer_handle,
                                             s.upper.link), ==, 0);
    stack_fini(&s, false);
}

static void test_handler_user(void)
{
    Wire w;
    User u;

    wire_init(&w, "up0");
    user_init(&u, w.link);
    g_assert_cmpint(link_rx_handler_register(w.link, layer_handle, NULL),
                    ==, -EINVAL);
    link_set_user(w.link, NULL, NULL);
    g_assert_cmpint(link_rx_handler_register(w.link, layer_handle, NULL),
                    ==, 0);
    link_rx_handler_unregister(w.link);
    user_fini(&u);
    wire_fini(&w);
}

static void test_handler_no_xmit(void)
{
    Link *deaf = link_new(&test_platform, "deaf", "d", NULL, NULL, NULL);

    g_assert_cmpint(link_rx_handler_register(deaf, layer_handle, NULL), ==,
                    -EINVAL);
    link_del(deaf);
}

static void test_handler_another(void)
{
    Stack s;
    Frame *f = some_frame();

    stack_init(&s, true);
    wire_receive(&s.wire, frame_dup(f));
    assert_got(&s.upper, f);
    g_assert_cmpuint(s.user.got->len, ==, 0);
    g_assert_cmpuint(s.upper.link->stats.rx_packets, ==, 1);
    g_assert_cmpuint(s.upper.link->stats.rx_bytes, ==, 63);
    stack_fini(&s, true);
}

static void test_handler_consumed(void)
{
    Stack s;

    stack_init(&s, true);
    s.layer->answer = RX_HANDLER_CONSUMED;
    wire_receive(&s.wire, some_frame());
    g_assert_cmpuint(s.layer->calls, ==, 1);
    g_assert_cmpuint(s.upper.got->len + s.user.got->len, ==, 0);
    stack_fini(&s, true);
}

static void test_handler_pass(void)
{
    Stack s;

    stack_init(&s, true);
    s.layer->answer = RX_HANDLER_PASS;
    wire_receive(&s.wire, some_frame());
    g_assert_cmpuint(s.user.got->len, ==, 1);
    g_assert_cmpuint(s.upper.got->len, ==, 0);
    stack_fini(&s, true);
}

static void test_handler_pass_no_user(void)
{
    Stack s;

    stack_init(&s, false);
    s.layer->answer = RX_HANDLER_PASS;
    wire_receive(&s.wire, some_frame());
    assert_drops(s.wire.link, NO_RECEIVER, 1);
    stack_fini(&s, false);
}

static unsigned exact_frames;

static LinkTx exact_deliver(void *opaque, const Packet *p)
{
    exact_frames++;
    return LINK_TX_OK;
}

static void test_handler_exact(void)
{
    static const LinkUserOps exact_ops = {
        .deliver = exact_deliver, .exact = true,
    };
    Stack s;

    stack_init(&s, true);
    s.layer->answer = RX_HANDLER_EXACT;
    wire_receive(&s.wire, some_frame());
    g_assert_cmpuint(s.user.got->len, ==, 0);
    assert_drops(s.wire.link, NO_RECEIVER, 1);
    link_set_user(s.wire.link, &exact_ops, NULL);
    wire_receive(&s.wire, some_frame());
    g_assert_cmpuint(exact_frames, ==, 1);
    stack_fini(&s, true);
}

static RxHandlerResult go_round(Link *lower, Packet *p)
{
    return RX_HANDLER_ANOTHER;
}

static void test_handler_loop(void)
{
    Wire w;

    wire_init(&w, "up0");
    link_rx_handler_register(w.link, go_round, NULL);
    wire_receive(&w, some_frame());
    assert_drops(w.link, LOOP, 1);
    link_rx_handler_unregister(w.link);
    wire_fini(&w);
}

/* --- nesting and joins ---------------------------------------------------- */

/* @n layers on top of @lower; returns the topmost. */
static Link *pile(Link *lower, unsigned n)
{
    while (n--) {
        lower = layer_new("l", lower, true);
    }
    return lower;
}

/* Delete @top and what it stands on, down to the root, which stays. */
static void unpile(Link *top)
{
    while (top->lower) {
        Link *lower = top->lower;

        link_del(top);
        top = lower;
    }
}

static void test_nest(void)
{
    g_autoptr(GError) err = NULL;
    Link *top;
    User u;
    Wire w;

    wire_init(&w, "up0");
    top = pile(w.link, LINK_MAX_NEST);
    g_assert_null(layer_try("x", top, &err));
    g_assert_error(err, LINK_ERROR, EMLINK);
    user_init(&u, top);
    wire_receive(&w, some_frame());
    g_assert_cmpuint(u.got->len, ==, 1);
    user_send(&u, some_frame());
    g_assert_cmpuint(w.sent->len, ==, 1);
    unpile(top);
    user_fini(&u);
    wire_fini(&w);
}

static void test_nest_join(void)
{
    g_autoptr(GError) err = NULL;
    Link *low, *high;
    Wire w, v;

    wire_init(&w, "up0");
    wire_init(&v, "up1");
    low = pile(w.link, 5);
    high = pile(v.link, 3);
    g_assert_cmpint(link_join(low, v.link), ==, 0);
    g_assert_null(layer_try("x", high, &err));
    g_assert_error(err, LINK_ERROR, EMLINK);
    unpile(high);
    high = pile(v.link, 3);
    unpile(high);
    unpile(low);
    wire_fini(&v);
    wire_fini(&w);
}

static void test_join_too_deep(void)
{
    Link *low, *high;
    Wire w, v;

    wire_init(&w, "up0");
    wire_init(&v, "up1");
    low = pile(w.link, 5);
    high = pile(v.link, 4);
    g_assert_cmpint(link_join(low, v.link), ==, -EMLINK);
    g_assert_cmpint(link_join(v.link, low), ==, -EMLINK);
    g_assert_null(low->pair);
    g_assert_null(v.link->pair);
    unpile(high);
    unpile(low);
    wire_fini(&v);
    wire_fini(&w);
}

/* The middle one comes last: what is on it goes on behind a wire. */
static void test_join_three(void)
{
    Link *low, *middle, *high;
    Wire w, v, u;

    wire_init(&w, "up0");
    wire_init(&v, "up1");
    wire_init(&u, "up2");
    low = pile(w.link, 4);
    middle = pile(v.link, 3);
    high = pile(u.link, 2);
    g_assert_cmpint(link_join(middle, u.link), ==, 0);
    g_assert_cmpint(link_join(low, v.link), ==, -EMLINK);
    link_del(high);
    g_assert_cmpint(link_join(low, v.link), ==, 0);
    unpile(u.link->uppers.head->data);
    unpile(middle);
    unpile(low);
    wire_fini(&u);
    wire_fini(&v);
    wire_fini(&w);
}

static void test_join_loop(void)
{
    Link *x, *y, *top;
    Wire w, v;

    wire_init(&w, "up0");
    wire_init(&v, "up1");
    x = layer_new("x", w.link, false);
    y = layer_new("y", w.link, false);
    top = layer_new("t", v.link, false);
    g_assert_cmpint(link_join(x, x), ==, -ELOOP);
    g_assert_cmpint(link_join(x, y), ==, -ELOOP);
    g_assert_cmpint(link_join(x, w.link), ==, -ELOOP);
    g_assert_false(link_is_connected(x, top));
    g_assert_cmpint(link_join(x, v.link), ==, 0);
    g_assert_true(link_is_connected(y, top));
    g_assert_cmpint(link_join(y, top), ==, -ELOOP);
    g_assert_cmpint(link_join(x, top), ==, -EBUSY);
    link_del(x);
    g_assert_false(link_is_connected(y, top));
    g_assert_cmpint(link_join(y, top), ==, 0);
    link_del(y);
    link_del(top);
    wire_fini(&v);
    wire_fini(&w);
}

/* --- state ---------------------------------------------------------------- */

static void test_state(void)
{
    Stack s;

    stack_init(&s, false);
    g_assert_true(link_is_up(s.upper.link));
    link_set_carrier(s.wire.link, false);
    g_assert_false(link_is_up(s.upper.link));
    g_assert_cmpuint(s.upper.states, ==, 1);
    link_set_admin(s.wire.link, false);
    link_set_carrier(s.wire.link, true);
    g_assert_false(link_is_up(s.upper.link));
    g_assert_cmpuint(s.upper.states, ==, 1);
    link_set_admin(s.wire.link, true);
    g_assert_true(link_is_up(s.upper.link));
    g_assert_cmpuint(s.upper.states, ==, 2);
    link_set_admin(s.upper.link, false);
    g_assert_true(link_is_up(s.wire.link));
    g_assert_cmpuint(s.upper.states, ==, 3);
    stack_fini(&s, false);
}

typedef struct StateSeen {
    Stack *s;
    unsigned calls;
} StateSeen;

/* Before those who stand on the link. */
static void handler_state(void *opaque)
{
    StateSeen *seen = opaque;

    g_assert_cmpuint(seen->s->upper.states, ==, seen->calls++);
    g_assert_cmpint(link_is_up(seen->s->wire.link), ==, seen->calls % 2 == 0);
}

/* A receive handler hears of its link, as long as it is there. */
static void test_state_handler(void)
{
    StateSeen seen = { 0 };
    Stack s;

    stack_init(&s, false);
    seen.s = &s;
    link_rx_handler_unregister(s.wire.link);
    g_assert_cmpint(link_rx_handler_register(s.wire.link, layer_handle,
                                             &seen), ==, 0);
    link_rx_handler_set_state(s.wire.link, handler_state);
    link_set_carrier(s.wire.link, false);
    g_assert_cmpuint(seen.calls, ==, 1);
    link_set_admin(s.wire.link, false);
    g_assert_cmpuint(seen.calls, ==, 1);
    link_set_admin(s.wire.link, true);
    link_set_carrier(s.wire.link, true);
    g_assert_cmpuint(seen.calls, ==, 2);
    link_rx_handler_unregister(s.wire.link);
    link_set_carrier(s.wire.link, false);
    g_assert_cmpuint(seen.calls, ==, 2);
    g_assert_cmpuint(s.upper.states, ==, 3);
    stack_fini(&s, false);
}

static void test_down_drops(void)
{
    Stack s;

    stack_init(&s, false);
    link_set_carrier(s.wire.link, false);
    g_assert_cmpint(user_send(&s.upper, some_frame()), ==, LINK_TX_DROPPED);
    assert_drops(s.upper.link, LINK_DOWN, 1);
    wire_receive(&s.wire, some_frame());
    g_assert_cmpuint(s.upper.got->len, ==, 0);
    assert_drops(s.upper.link, LINK_DOWN, 2);
    link_set_carrier(s.wire.link, true);
    g_assert_cmpint(user_send(&s.upper, some_frame()), ==, LINK_TX_OK);
    g_assert_cmpuint(s.wire.sent->len, ==, 1);
    stack_fini(&s, false);
}

/* A link that is made on a lower one that is down. */
static void test_born_down(void)
{
    Link *link;
    User u;
    Wire w;

    wire_init(&w, "up0");
    link_set_admin(w.link, false);
    link = layer_new("l", w.link, true);
    user_init(&u, link);
    g_assert_false(link_is_up(link));
    g_assert_cmpint(user_send(&u, some_frame()), ==, LINK_TX_DROPPED);
    link_set_admin(w.link, true);
    g_assert_cmpuint(u.states, ==, 1);
    g_assert_cmpint(user_send(&u, some_frame()), ==, LINK_TX_OK);
    link_del(link);
    user_fini(&u);
    wire_fini(&w);
}

/* --- busy and wake -------------------------------------------------------- */

typedef struct Crowd {
    Wire wire;
    User user[3];
} Crowd;

static void crowd_init(Crowd *c)
{
    wire_init(&c->wire, "up0");
    for (int i = 0; i < 3; i++) {
        user_init(&c->user[i], layer_new("c", c->wire.link, false));
    }
}

static void crowd_fini(Crowd *c)
{
    for (int i = 0; i < 3; i++) {
        if (c->user[i].link) {
            link_del(c->user[i].link);
            user_fini(&c->user[i]);
        }
    }
    wire_fini(&c->wire);
    g_assert_cmpuint(clock_works(), ==, 0);
}

/* One turn's worth, with a number. */
static Frame *whole_turn(unsigned n)
{
    return frame_set16(frame_eth(b_mac, a_mac, 0x88b5, LINK_QUANTUM - 14),
                       14, n);
}

/* Each has @n frames, numbered by user, that the wire refused. */
static void crowd_refused(Crowd *c, unsigned n)
{
    c->wire.room = 0;
    while (n--) {
        for (int i = 0; i < 3; i++) {
            g_assert_cmpint(user_send(&c->user[i], whole_turn(i)), ==,
                            LINK_TX_BUSY);
        }
    }
}

static void test_busy(void)
{
    Crowd c;

    crowd_init(&c);
    crowd_refused(&c, 1);
    g_assert_cmpuint(c.wire.sent->len, ==, 0);
    g_assert_cmpuint(c.user[0].link->stats.tx_packets, ==, 0);
    g_assert_cmpuint(link_stats_drops(&c.user[0].link->stats), ==, 0);
    wire_make_room(&c.wire, NO_LIMIT);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpuint(take_number(c.wire.sent), ==, i);
        g_assert_cmpuint(c.user[i].wakes, ==, 1);
    }
    link_wake(c.wire.link);
    g_assert_cmpuint(c.user[0].wakes, ==, 1);
    crowd_fini(&c);
}

/* Room for one frame at a time: each has its turn, and nothing is lost. */
static void check_turns(bool once)
{
    Crowd c;

    crowd_init(&c);
    for (int i = 0; i < 3; i++) {
        c.user[i].once = once;
    }
    crowd_refused(&c, 10);
    for (unsigned i = 0; i < 30; i++) {
        wire_make_room(&c.wire, 1);
        g_assert_cmpuint(c.wire.sent->len, ==, 1);
        g_assert_cmpuint(take_number(c.wire.sent), ==, i % 3);
        if (once && !g_queue_is_empty(&c.user[i % 3].unsent)) {
            c.wire.room = 0;
            user_send(&c.user[i % 3],
                      g_queue_pop_tail(&c.user[i % 3].unsent));
        }
    }
    wire_make_room(&c.wire, 1);
    g_assert_cmpuint(c.wire.sent->len, ==, 0);
    crowd_fini(&c);
}

static void test_wake_turns(void)
{
    check_turns(false);
}

static void test_wake_turns_once(void)
{
    check_turns(true);
}

static void test_wake_deleted(void)
{
    Crowd c;

    crowd_init(&c);
    crowd_refused(&c, 1);
    link_del(c.user[1].link);
    user_fini(&c.user[1]);
    wire_make_room(&c.wire, NO_LIMIT);
    g_assert_cmpuint(take_number(c.wire.sent), ==, 0);
    g_assert_cmpuint(take_number(c.wire.sent), ==, 2);
    crowd_fini(&c);
}

/* Nobody waits for ever for a wire that is down. */
static void test_wake_down(void)
{
    Crowd c;

    crowd_init(&c);
    crowd_refused(&c, 2);
    link_set_carrier(c.wire.link, false);
    for (int i = 0; i < 3; i++) {
        g_assert_true(g_queue_is_empty(&c.user[i].unsent));
        assert_drops(c.user[i].link, LINK_DOWN, 2);
    }
    link_set_carrier(c.wire.link, true);
    c.wire.room = NO_LIMIT;
    g_assert_cmpint(user_send(&c.user[0], numbered(9)), ==, LINK_TX_OK);
    crowd_fini(&c);
}

/* Waiting goes through several links, and the wake comes back up. */
static void test_wake_nested(void)
{
    Link *low, *top;
    User u;
    Wire w;

    wire_init(&w, "up0");
    low = layer_new("low", w.link, true);
    top = layer_new("top", low, true);
    user_init(&u, top);
    w.room = 0;
    g_assert_cmpint(user_send(&u, some_frame()), ==, LINK_TX_BUSY);
    wire_make_room(&w, 1);
    g_assert_cmpuint(w.sent->len, ==, 1);
    g_assert_cmpuint(u.wakes, ==, 1);
    link_del(top);
    link_del(low);
    user_fini(&u);
    wire_fini(&w);
}

/* --- the receive queue ---------------------------------------------------- */

static void test_rx_queue(void)
{
    Stack s;

    stack_init(&s, false);
    s.upper.room = 2;
    for (unsigned i = 0; i < 6; i++) {
        wire_receive(&s.wire, numbered(i));
    }
    g_assert_cmpuint(s.upper.got->len, ==, 2);
    g_assert_cmpuint(link_rx_waiting(s.upper.link), ==, 4);
    g_assert_cmpuint(s.upper.link->stats.rx_packets, ==, 2);
    user_make_room(&s.upper, 3);
    g_assert_cmpuint(s.upper.got->len, ==, 2);
    clock_run_pending();
    g_assert_cmpuint(s.upper.got->len, ==, 5);
    user_make_room(&s.upper, NO_LIMIT);
    wire_receive(&s.wire, numbered(6));
    clock_run_pending();
    for (unsigned i = 0; i < 7; i++) {
        g_assert_cmpuint(take_number(s.upper.got), ==, i);
    }
    g_assert_cmpuint(s.upper.link->stats.rx_packets, ==, 7);
    stack_fini(&s, false);
}

static void test_rx_queue_full(void)
{
    Stack s;

    stack_init(&s, false);
    link_set_rx_queue(s.upper.link, 10);
    s.upper.room = 0;
    for (unsigned i = 0; i < 15; i++) {
        wire_receive(&s.wire, numbered(i));
    }
    g_assert_cmpuint(link_rx_waiting(s.upper.link), ==, 10);
    assert_drops(s.upper.link, RX_QUEUE, 5);
    user_make_room(&s.upper, NO_LIMIT);
    clock_run_pending();
    g_assert_cmpuint(s.upper.got->len, ==, 10);
    g_assert_cmpuint(take_number(s.upper.got), ==, 0);
    stack_fini(&s, false);
}

static void test_rx_queue_default(void)
{
    Stack s;

    stack_init(&s, false);
    s.upper.room = 0;
    for (unsigned i = 0; i < 1030; i++) {
        wire_receive(&s.wire, numbered(i));
    }
    g_assert_cmpuint(link_rx_waiting(s.upper.link), ==, 1024);
    assert_drops(s.upper.link, RX_QUEUE, 6);
    stack_fini(&s, false);      /* with all of them queued */
}

/* A guest that comes back gets its frames a turn at a time. */
static void test_rx_queue_budget(void)
{
    Stack s;

    stack_init(&s, false);
    s.upper.room = 0;
    for (unsigned i = 0; i < 200; i++) {
        wire_receive(&s.wire, numbered(i));
    }
    user_make_room(&s.upper, NO_LIMIT);
    g_assert_true(clock_run_one());
    g_assert_cmpuint(s.upper.got->len, ==, POLL_WEIGHT);
    clock_run_pending();
    g_assert_cmpuint(s.upper.got->len, ==, 200);
    stack_fini(&s, false);
}

/* Long frames take longer: 65,000 bytes are 16 units. */
static void test_rx_queue_budget_long(void)
{
    Stack s;

    stack_init(&s, false);
    s.upper.room = 0;
    for (unsigned i = 0; i < 10; i++) {
        wire_receive(&s.wire, frame_eth(b_mac, a_mac, 0x88b5, 65000));
    }
    user_make_room(&s.upper, NO_LIMIT);
    g_assert_true(clock_run_one());
    g_assert_cmpuint(s.upper.got->len, ==, 4);
    clock_run_pending();
    g_assert_cmpuint(s.upper.got->len, ==, 10);
    stack_fini(&s, false);
}

static void test_rx_queue_down(void)
{
    Stack s;

    stack_init(&s, false);
    s.upper.room = 0;
    for (unsigned i = 0; i < 5; i++) {
        wire_receive(&s.wire, numbered(i));
    }
    link_set_admin(s.upper.link, false);
    g_assert_cmpuint(link_rx_waiting(s.upper.link), ==, 0);
    assert_drops(s.upper.link, LINK_DOWN, 5);
    link_set_admin(s.upper.link, true);
    user_make_room(&s.upper, NO_LIMIT);
    wire_receive(&s.wire, numbered(7));
    clock_run_pending();
    g_assert_cmpuint(take_number(s.upper.got), ==, 7);
    stack_fini(&s, false);
}

/* What waited for one user is not another's, and does not stop it. */
static void test_rx_queue_new_user(void)
{
    Stack s;
    User next;

    stack_init(&s, false);
    s.upper.room = 0;
    wire_receive(&s.wire, numbered(1));
    wire_receive(&s.wire, numbered(2));
    user_init(&next, s.upper.link);
    wire_receive(&s.wire, numbered(3));
    clock_run_pending();
    g_assert_cmpuint(next.got->len, ==, 1);
    g_assert_cmpuint(take_number(next.got), ==, 3);
    assert_drops(s.upper.link, NO_RECEIVER, 2);
    user_fini(&next);
    stack_fini(&s, false);
}

static void test_no_user(void)
{
    Stack s;

    stack_init(&s, false);
    link_set_user(s.upper.link, NULL, NULL);
    wire_receive(&s.wire, some_frame());
    assert_drops(s.upper.link, NO_RECEIVER, 1);
    g_assert_true(link_wants_group(s.upper.link, mac_broadcast));
    g_assert_false(link_user_address(s.upper.link, (uint8_t[6]) { 0 }));
    stack_fini(&s, false);
}

/* --- a pair of veths ------------------------------------------------------ */

static Link *veth_new(const char *name, Link *peer)
{
    VethConfig config = { .peer = peer, .mtu = 1500 };
    Link *link = link_new(&test_platform, "veth", name, NULL, &config, NULL);

    g_assert_nonnull(link);
    return link;
}

static void test_veth(void)
{
    Link *a = veth_new("a", NULL), *b;
    User ua, ub;
    Frame *f = some_frame();

    user_init(&ua, a);
    g_assert_cmpint(user_send(&ua, some_frame()), ==, LINK_TX_DROPPED);
    b = veth_new("b", a);
    user_init(&ub, b);
    g_assert_cmpint(user_send(&ua, frame_dup(f)), ==, LINK_TX_OK);
    assert_got(&ub, frame_dup(f));
    g_assert_cmpint(user_send(&ub, frame_dup(f)), ==, LINK_TX_OK);
    assert_got(&ua, f);
    link_del(a);
    g_assert_cmpint(user_send(&ub, some_frame()), ==, LINK_TX_DROPPED);
    assert_drops(b, NO_RECEIVER, 1);
    link_del(b);
    user_fini(&ua);
    user_fini(&ub);
    g_assert_cmpuint(clock_works(), ==, 0);
}

static void test_veth_change(void)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(GString) info = g_string_new(NULL);
    Link *a = veth_new("a", NULL), *b = veth_new("b", a);
    VethConfig config = { .mtu = 100 };
    User u;

    user_init(&u, a);
    g_assert_cmpint(link_change(a, &config, &err), ==, 0);
    g_assert_cmpint(user_send(&u, frame_eth(b_mac, a_mac, 0x88cc, 101)), ==,
                    LINK_TX_DROPPED);
    assert_drops(a, OVERSIZED, 1);
    config.mtu = 67;
    g_assert_cmpint(link_change(a, &config, &err), ==, -EINVAL);
    g_assert_error(err, LINK_ERROR, EINVAL);
    a->ops->fill_info(a, info);
    g_assert_cmpstr(info->str, ==, "mtu=100");
    link_del(a);
    link_del(b);
    user_fini(&u);
}

static void test_veth_third(void)
{
    g_autoptr(GError) err = NULL;
    Link *a = veth_new("a", NULL), *b = veth_new("b", a);
    VethConfig config = { .peer = a, .mtu = 1500 };

    g_assert_null(link_new(&test_platform, "veth", "c", NULL, &config, &err));
    g_assert_error(err, LINK_ERROR, EBUSY);
    g_assert_true(a->pair == b && b->pair == a);
    link_del(b);
    g_assert_null(a->pair);
    link_del(a);
}

/* Both ends are roots, and other kinds stand on them. */
static void test_veth_uppers(void)
{
    Link *a = veth_new("a", NULL), *b = veth_new("b", a);
    Link *top = pile(a, LINK_MAX_NEST), *other = pile(b, 1);
    User u, v;

    g_assert_null(layer_try("x", top, NULL));
    g_assert_true(link_is_connected(top, other));
    g_assert_cmpint(link_join(top, other), ==, -ELOOP);
    user_init(&u, top);
    user_init(&v, other);
    user_send(&u, numbered(4));
    g_assert_cmpuint(take_number(v.got), ==, 4);
    unpile(top);
    unpile(other);
    link_del(a);
    link_del(b);
    user_fini(&u);
    user_fini(&v);
}

/* A port on each end: two networks, one wire. */
static void test_veth_ipvlan(void)
{
    Link *a = veth_new("a", NULL), *b = veth_new("b", a);
    IpvlanConfig config = {
        .default_mac = port_mac, .learn = IPVLAN_LEARN_ON, .max_addrs = 4,
    };
    Link *x = link_new(&test_platform, "ipvlan", "x", a, &config, NULL);
    Link *y;
    User u, v;

    config.default_mac = gateway_mac;
    y = link_new(&test_platform, "ipvlan", "y", b, &config, NULL);
    user_init(&u, x);
    user_init(&v, y);
    user_send(&u, arp_request(a_mac, "10.0.0.1", "10.0.0.2"));
    clock_run_pending();
    assert_got(&v, arp_request(port_mac, "10.0.0.1", "10.0.0.2"));
    user_send(&v, arp_reply(port_mac, b_mac, "10.0.0.2", "10.0.0.1"));
    g_assert_cmpuint(u.got->len, ==, 1);
    assert_mac(frame_dst(u.got->pdata[0]), a_mac);
    assert_mac(frame_src(u.got->pdata[0]), gateway_mac);
    link_del(x);
    link_del(y);
    link_del(a);
    link_del(b);
    user_fini(&u);
    user_fini(&v);
    g_assert_cmpuint(clock_works(), ==, 0);
}

/* --- counters ------------------------------------------------------------- */

static void test_drop_names(void)
{
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);

    for (int i = 1; i < DROP__MAX; i++) {
        const char *name = drop_reason_name(i);

        g_assert_nonnull(name);
        g_assert_true(g_hash_table_add(names, (gpointer)name));
    }
    g_assert_null(drop_reason_name(DROP_NONE));
    g_assert_null(drop_reason_name(DROP__MAX));
    g_assert_cmpstr(drop_reason_name(DROP_RX_QUEUE), ==, "rx-queue-full");
}

static void test_drop_traced(void)
{
    TraceRecord r;
    Stack s;

    stack_init(&s, false);
    link_set_rx_queue(s.upper.link, 0);
    s.upper.room = 0;
    wire_receive(&s.wire, some_frame());
    g_assert_cmpuint(trace_count(LINK_EVENT_DROP, &r), ==, 1);
    g_assert_cmpint(r.reason, ==, DROP_RX_QUEUE);
    g_assert_true(r.link == s.upper.link);
    g_assert_cmpuint(link_stats_drops(&s.upper.link->stats), ==, 1);
    stack_fini(&s, false);
}

static void add_handler_tests(void)
{
    g_test_add_func("/link/handler/second", test_handler_second);
    g_test_add_func("/link/handler/user", test_handler_user);
    g_test_add_func("/link/handler/no-xmit", test_handler_no_xmit);
    g_test_add_func("/link/handler/another", test_handler_another);
    g_test_add_func("/link/handler/consumed", test_handler_consumed);
    g_test_add_func("/link/handler/pass", test_handler_pass);
    g_test_add_func("/link/handler/pass-no-user", test_handler_pass_no_user);
    g_test_add_func("/link/handler/exact", test_handler_exact);
    g_test_add_func("/link/handler/loop", test_handler_loop);
}

static void add_queue_tests(void)
{
    g_test_add_func("/link/rx-queue/order", test_rx_queue);
    g_test_add_func("/link/rx-queue/full", test_rx_queue_full);
    g_test_add_func("/link/rx-queue/default", test_rx_queue_default);
    g_test_add_func("/link/rx-queue/budget", test_rx_queue_budget);
    g_test_add_func("/link/rx-queue/budget-long", test_rx_queue_budget_long);
    g_test_add_func("/link/rx-queue/down", test_rx_queue_down);
    g_test_add_func("/link/rx-queue/new-user", test_rx_queue_new_user);
    g_test_add_func("/link/no-user", test_no_user);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_assert_cmpint(link_kind_register(&layer_ops), ==, 0);
    g_assert_cmpint(link_kind_register(&deaf_ops), ==, 0);
    veth_register();

    g_test_add_func("/link/kind/twice", test_kind_twice);
    g_test_add_func("/link/kind/unknown", test_kind_unknown);
    g_test_add_func("/link/kind/newlink-fails", test_newlink_fails);
    g_test_add_func("/link/kind/no-change", test_change_unsupported);
    add_handler_tests();
    g_test_add_func("/link/nest/depth", test_nest);
    g_test_add_func("/link/nest/join", test_nest_join);
    g_test_add_func("/link/join/too-deep", test_join_too_deep);
    g_test_add_func("/link/join/three", test_join_three);
    g_test_add_func("/link/join/loop", test_join_loop);
    g_test_add_func("/link/state/propagate", test_state);
    g_test_add_func("/link/state/handler", test_state_handler);
    g_test_add_func("/link/state/down-drops", test_down_drops);
    g_test_add_func("/link/state/born-down", test_born_down);
    g_test_add_func("/link/busy/all-woken", test_busy);
    g_test_add_func("/link/busy/turns", test_wake_turns);
    g_test_add_func("/link/busy/turns-once", test_wake_turns_once);
    g_test_add_func("/link/busy/deleted", test_wake_deleted);
    g_test_add_func("/link/busy/down", test_wake_down);
    g_test_add_func("/link/busy/nested", test_wake_nested);
    add_queue_tests();
    g_test_add_func("/link/veth/pair", test_veth);
    g_test_add_func("/link/veth/change", test_veth_change);
    g_test_add_func("/link/veth/third", test_veth_third);
    g_test_add_func("/link/veth/uppers", test_veth_uppers);
    g_test_add_func("/link/veth/ipvlan", test_veth_ipvlan);
    g_test_add_func("/link/drop/names", test_drop_names);
    g_test_add_func("/link/drop/traced", test_drop_traced);
    return g_test_run();
}
