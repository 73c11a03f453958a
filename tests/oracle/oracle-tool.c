/*
 * The library alone as an engine of the oracle, on the virtual clock
 *
 * Lines in, lines out.  In:
 *
 *   case MODE FLAG MAC [GATEWAY]...    another port; the old one goes
 *   slave DEFAULT [ADDRESS]...         its next slave: n0, n1, ...
 *   add SLAVE ADDRESS, del SLAVE ADDRESS
 *   from SLAVE HEX                     a frame that its guest sends
 *   wire HEX                           one that comes in
 *
 * Out: for what became of the line, "SLAVE HEX", "wire HEX" and "drop REASON"
 * each, and a dot.  A first dot comes before the first line.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

typedef struct Engine {
    Net net;
    bool open;
    uint8_t mac[ETHER_ADDR_LEN];
    IpAddr gateways[2];
    unsigned n_gateways;
} Engine;

/* --- words ---------------------------------------------------------------- */

static int word_to_hex(const char *word, uint8_t *out, unsigned max)
{
    unsigned n = 0;

    for (; g_ascii_isxdigit(word[0]) && g_ascii_isxdigit(word[1]);
         word += word[2] == ':' ? 3 : 2) {
        g_assert_cmpuint(n, <, max);
        out[n++] = g_ascii_xdigit_value(word[0]) << 4 |
                   g_ascii_xdigit_value(word[1]);
    }
    g_assert_true(*word == '\0');
    return n;
}

static Frame *word_to_frame(const char *word)
{
    uint8_t buf[PACKET_MAX_LEN];

    return frame_new(buf, word_to_hex(word, buf, sizeof(buf)));
}

static unsigned word_to_enum(const char *word, const char *(*name)(unsigned))
{
    for (unsigned i = 0; name(i); i++) {
        if (!strcmp(word, name(i))) {
            return i;
        }
    }
    g_error("what is '%s'?", word);
}

static const char *mode_name(unsigned i)
{
    return i <= IPVLAN_L3S ? ipvlan_mode_name(i) : NULL;
}

static const char *flag_name(unsigned i)
{
    return i <= IPVLAN_VEPA ? ipvlan_flag_name(i) : NULL;
}

static User *word_to_user(Engine *e, const char *word)
{
    unsigned i = g_ascii_strtoull(word + 1, NULL, 10);

    g_assert_cmpuint(i, <, e->net.n);
    return &e->net.user[i];
}

/* --- what became of it ---------------------------------------------------- */

static void print_drop(const LinkTrace *t)
{
    if (t->event == LINK_EVENT_DROP) {
        printf("drop %s\n", drop_reason_name(t->reason));
    }
}

static void print_frames(const char *who, GPtrArray *frames)
{
    for (unsigned i = 0; i < frames->len; i++) {
        const Frame *f = g_ptr_array_index(frames, i);

        printf("%s ", who);
        for (unsigned at = 0; at < f->len; at++) {
            printf("%02x", f->data[at]);
        }
        putchar('\n');
    }
    g_ptr_array_set_size(frames, 0);
}

static void print_outcome(Engine *e)
{
    clock_run_pending();
    print_frames("wire", e->net.wire.sent);
    for (unsigned i = 0; i < e->net.n; i++) {
        print_frames(e->net.user[i].name, e->net.user[i].got);
    }
    puts(".");
    fflush(stdout);
}

/* --- lines ---------------------------------------------------------------- */

static void close_case(Engine *e)
{
    if (e->open) {
        net_fini(&e->net);
        e->open = false;
    }
}

static void begin_case(Engine *e, char **words)
{
    close_case(e);
    net_init(&e->net, word_to_enum(words[1], mode_name),
             word_to_enum(words[2], flag_name));
    e->open = true;
    word_to_hex(words[3], e->mac, sizeof(e->mac));
    e->n_gateways = 0;
    for (words += 4; *words; words++) {
        g_assert_cmpuint(e->n_gateways, <, G_N_ELEMENTS(e->gateways));
        e->gateways[e->n_gateways++] = ip(*words);
    }
}

/* Guards are off: Linux has none. */
static void add_slave(Engine *e, char **words)
{
    bool is_l3 = e->net.mode >= IPVLAN_L3, off = false;
    IpPrefix addrs[32];
    IpvlanConfig config = {
        .mac = e->mac, .learn = IPVLAN_LEARN_OFF, .guard = IPVLAN_GUARD_OFF,
        .is_default = !strcmp(words[1], "1"), .addrs = addrs,
        .ra = is_l3 ? &off : NULL,
        .gateways = e->n_gateways ? e->gateways : NULL,
        .n_gateways = e->n_gateways,
    };
    User *u;

    for (words += 2; *words; words++) {
        g_assert_cmpuint(config.n_addrs, <, G_N_ELEMENTS(addrs));
        addrs[config.n_addrs++] = prefix(*words);
    }
    u = net_add(&e->net, config);
    /* a socket takes no offloads, and segments nothing */
    link_set_offloads(u->link, 0);
}

static void change_addr(Engine *e, char **words)
{
    g_autoptr(GError) err = NULL;
    Link *link = word_to_user(e, words[1])->link;
    IpPrefix p = prefix(words[2]);

    if (words[0][0] == 'a') {
        ipvlan_addr_add(link, &p, &err);
    } else {
        ipvlan_addr_del(link, &p, &err);
    }
    g_assert_no_error(err);
}

static void run(Engine *e, char **words)
{
    if (!strcmp(words[0], "case")) {
        begin_case(e, words);
    } else if (!strcmp(words[0], "slave")) {
        add_slave(e, words);
    } else if (!strcmp(words[0], "add") || !strcmp(words[0], "del")) {
        change_addr(e, words);
    } else if (!strcmp(words[0], "from")) {
        user_send(word_to_user(e, words[1]), word_to_frame(words[2]));
    } else {
        g_assert_cmpstr(words[0], ==, "wire");
        wire_receive(&e->net.wire, word_to_frame(words[1]));
    }
    print_outcome(e);
}

int main(int argc, char **argv)
{
    static char line[3 * PACKET_MAX_LEN];
    Engine e = { .open = false };

    test_init(&argc, &argv);
    trace_hook = print_drop;
    puts(".");                  /* behind what GLib's tests say */
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        g_auto(GStrv) words = g_strsplit(g_strstrip(line), " ", -1);

        run(&e, words);
    }
    close_case(&e);
    return EXIT_SUCCESS;
}
