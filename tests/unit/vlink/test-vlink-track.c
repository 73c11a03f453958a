/*
 * libvlink: what packets do to the state of their flow
 *
 * A conversation is a line: each word is a packet, of ">", who has begun, or
 * of "<", the other end.  It is "SYN", "SYN+ACK", "ACK", "FIN", "RST", "bad",
 * which no state of TCP allows, or "UDP", "echo", "reply", "other".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"
#include "libvlink/ipvlan/track.h"

static TrackEvent event_of(const char *name)
{
    static const char *const names[] = {
        [TRACK_INVALID] = "bad", [TRACK_SYN] = "SYN",
        [TRACK_SYN_ACK] = "SYN+ACK", [TRACK_ACK] = "ACK", [TRACK_FIN] = "FIN",
        [TRACK_RST] = "RST", [TRACK_UDP] = "UDP", [TRACK_ECHO] = "echo",
        [TRACK_ECHO_REPLY] = "reply", [TRACK_OTHER] = "other",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (g_str_equal(names[i], name)) {
            return i;
        }
    }
    g_assert_not_reached();
}

/* The state at the end; no packet before the last one may end the flow. */
static FlowState after(const char *conversation)
{
    g_auto(GStrv) words = g_strsplit(conversation, " ", -1);
    FlowState state = track_begin(event_of(words[0] + 1));

    for (char **w = words + 1; *w; w++) {
        g_assert_cmpint(state, !=, FLOW_NONE);
        state = track_next(state, event_of(*w + 1), **w == '<');
    }
    return state;
}

typedef struct Case {
    const char *conversation;
    FlowState state;
} Case;

static void check(const Case *cases, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_test_message("%s", cases[i].conversation);
        g_assert_cmpint(after(cases[i].conversation), ==, cases[i].state);
    }
}

#define OPEN ">SYN <SYN+ACK >ACK "

/* RFC 9293, 3.5, and each segment of it sent again. */
static void test_open(void)
{
    static const Case cases[] = {
        { ">SYN", FLOW_TCP_SYN_SENT },
        { ">SYN >SYN", FLOW_TCP_SYN_SENT },
        { ">SYN <SYN+ACK", FLOW_TCP_SYN_RECV },
        { ">SYN <SYN+ACK >SYN", FLOW_TCP_SYN_RECV },
        { ">SYN <SYN+ACK <SYN+ACK", FLOW_TCP_SYN_RECV },
        { ">SYN <SYN+ACK <ACK", FLOW_TCP_SYN_RECV },
        { ">SYN <SYN+ACK >ACK", FLOW_TCP_ESTABLISHED },
        { OPEN "<SYN+ACK", FLOW_TCP_ESTABLISHED },
        { OPEN "<ACK >ACK", FLOW_TCP_ESTABLISHED },
        /* both at once */
        { ">SYN <SYN", FLOW_TCP_SYN_RECV },
        { ">SYN <SYN <SYN", FLOW_TCP_SYN_RECV },
        { ">SYN <SYN >SYN+ACK <SYN+ACK", FLOW_TCP_SYN_RECV },
        { ">SYN <SYN >SYN+ACK <SYN+ACK >ACK", FLOW_TCP_ESTABLISHED },
        /* the other end has an old one, 3.5.1 */
        { ">SYN <ACK", FLOW_TCP_SYN_SENT },
        { ">SYN <ACK >RST", FLOW_TCP_CLOSE },
        /* refused */
        { ">SYN <RST", FLOW_TCP_CLOSE },
    };

    check(cases, G_N_ELEMENTS(cases));
}

/* What is no part of the connection is a new one, or nothing. */
static void test_no_part(void)
{
    static const Case cases[] = {
        { ">SYN >ACK", FLOW_NONE },
        { ">SYN >SYN+ACK", FLOW_NONE },
        { ">SYN >FIN", FLOW_NONE },
        { ">SYN <FIN", FLOW_NONE },
        { ">SYN >bad", FLOW_NONE },
        { OPEN ">SYN", FLOW_NONE },
        { OPEN "<SYN", FLOW_NONE },
        { OPEN ">SYN+ACK", FLOW_NONE },
        { OPEN ">bad", FLOW_NONE },
        { OPEN "<bad", FLOW_NONE },
        { OPEN ">RST >bad", FLOW_NONE },
        { OPEN ">RST >SYN", FLOW_NONE },
    };

    check(cases, G_N_ELEMENTS(cases));
    for (TrackEvent e = TRACK_INVALID; e <= TRACK_OTHER; e++) {
        bool begins = e == TRACK_SYN || e == TRACK_ACK || e == TRACK_UDP ||
                      e == TRACK_ECHO || e == TRACK_OTHER;

        g_assert_cmpint(track_begin(e) != FLOW_NONE, ==, begins);
    }
}

/* RFC 9293, 3.6: either end first, both at once, and half of it for long. */
static void test_close(void)
{
    static const Case cases[] = {
        { OPEN ">FIN", FLOW_TCP_FIN_WAIT },
        { OPEN ">FIN >FIN >ACK", FLOW_TCP_FIN_WAIT },
        { OPEN ">FIN <ACK", FLOW_TCP_CLOSE_WAIT },
        { OPEN ">FIN <ACK <ACK >ACK >FIN", FLOW_TCP_CLOSE_WAIT },
        { OPEN ">FIN <ACK <FIN", FLOW_TCP_LAST_ACK },
        { OPEN ">FIN <ACK <FIN <FIN", FLOW_TCP_LAST_ACK },
        { OPEN ">FIN <ACK <FIN >ACK", FLOW_TCP_TIME_WAIT },
        { OPEN ">FIN <FIN", FLOW_TCP_LAST_ACK },
        { OPEN ">FIN <FIN >ACK <ACK >FIN", FLOW_TCP_TIME_WAIT },
        { OPEN "<FIN", FLOW_TCP_FIN_WAIT_R },
        { OPEN "<FIN <FIN <ACK", FLOW_TCP_FIN_WAIT_R },
        { OPEN "<FIN >ACK", FLOW_TCP_CLOSE_WAIT_R },
        { OPEN "<FIN >ACK >ACK <ACK <FIN", FLOW_TCP_CLOSE_WAIT_R },
        { OPEN "<FIN >ACK >FIN", FLOW_TCP_LAST_ACK },
        { OPEN "<FIN >FIN <ACK", FLOW_TCP_TIME_WAIT },
        { ">SYN <SYN+ACK >FIN", FLOW_TCP_FIN_WAIT },
        { ">SYN <SYN+ACK <FIN", FLOW_TCP_FIN_WAIT_R },
        { OPEN ">FIN <RST", FLOW_TCP_CLOSE },
        { OPEN ">RST >ACK <ACK >FIN", FLOW_TCP_CLOSE },
    };

    check(cases, G_N_ELEMENTS(cases));
}

/* One that was there before its first packet was seen. */
static void test_middle(void)
{
    static const Case cases[] = {
        { ">ACK", FLOW_TCP_MIDDLE },
        { ">ACK >ACK", FLOW_TCP_MIDDLE },
        { ">ACK <ACK", FLOW_TCP_ESTABLISHED },
        { ">ACK >FIN", FLOW_TCP_FIN_WAIT },
        { ">ACK <FIN", FLOW_TCP_FIN_WAIT_R },
        { ">ACK >RST", FLOW_TCP_CLOSE },
        { ">ACK >SYN", FLOW_NONE },
    };

    check(cases, G_N_ELEMENTS(cases));
}

static void test_others(void)
{
    static const Case cases[] = {
        { ">UDP", FLOW_UDP },
        { ">UDP >UDP", FLOW_UDP },
        { ">UDP <UDP", FLOW_UDP_REPLIED },
        { ">UDP <UDP <UDP", FLOW_UDP_REPLIED },
        { ">UDP <UDP >UDP", FLOW_UDP_STREAM },
        { ">UDP <UDP >UDP <UDP >UDP", FLOW_UDP_STREAM },
        { ">echo", FLOW_ECHO },
        { ">echo <reply >echo <reply", FLOW_ECHO },
        { ">other", FLOW_OTHER },
        { ">other <other >other", FLOW_OTHER },
    };

    check(cases, G_N_ELEMENTS(cases));
}

/* A migration stream may say anything: which numbers are of which protocol? */
static void test_state_of(void)
{
    static const struct {
        uint8_t proto;
        FlowState first, last;
    } cases[] = {
        { IPPROTO_TCP, FLOW_TCP_SYN_SENT, FLOW_TCP_CLOSE },
        { IPPROTO_UDP, FLOW_UDP, FLOW_UDP_STREAM },
        { IPPROTO_ICMP, FLOW_ECHO, FLOW_OTHER },
        { IPPROTO_ICMPV6, FLOW_ECHO, FLOW_OTHER },
        { IPPROTO_SCTP, FLOW_OTHER, FLOW_OTHER },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (unsigned state = 0; state < 256; state++) {
            g_assert_cmpint(track_is_state_of(state, cases[i].proto), ==,
                            state >= cases[i].first &&
                            state <= cases[i].last);
        }
    }
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/track/tcp/open", test_open);
    g_test_add_func("/track/tcp/no-part", test_no_part);
    g_test_add_func("/track/tcp/close", test_close);
    g_test_add_func("/track/tcp/middle", test_middle);
    g_test_add_func("/track/others", test_others);
    g_test_add_func("/track/state-of", test_state_of);
    return g_test_run();
}
