/*
 * What a rule matches: an expression of pcap-filter(7), compiled by libpcap
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../link.h"
#include "match.h"

/* A byte offset that no frame has. */
#define ANYWHERE UINT32_MAX

/* The longest IP header, which BPF_MSH loads to the index register. */
#define MAX_INDEX 60

/* Linux's place for what the kernel knows of a packet, see bpf(4), SKF_AD. */
#define ANCILLARY 0xfffff000u

/* --- compiling ----------------------------------------------------------- */

/* NULL and @program, or libpcap's message, good until the next one. */
static const char *compile(pcap_t *pcap, const char *text, bool optimise,
                           struct bpf_program *program)
{
    if (pcap_compile(pcap, program, text, optimise, PCAP_NETMASK_UNKNOWN)) {
        return pcap_geterr(pcap);
    }
    return NULL;
}

/* Is it all right?  For trying, so it need not be fast code. */
static const char *check(pcap_t *pcap, const char *text)
{
    struct bpf_program program;
    const char *message = compile(pcap, text, false, &program);

    if (!message) {
        pcap_freecode(&program);
    }
    return message;
}

static bool is_syntax_error(const char *message)
{
    return message && strstr(message, "syntax error");
}

/* --- where it is wrong --------------------------------------------------- */

/*
 * A word, or one character that is none.  Colons and hyphens are in
 * addresses and names.
 */
static unsigned token_len(const char *s)
{
    unsigned n = strcspn(s, " \t\r\n()[]!&|<>=+*/%^");

    return n ?: 1;
}

static const char *skip_blanks(const char *s)
{
    return s + strspn(s, " \t\r\n");
}

/* Of const char *, the begin of each token, and at last the end. */
static GPtrArray *tokenise(const char *text)
{
    GPtrArray *tokens = g_ptr_array_new();
    const char *s = skip_blanks(text);

    while (*s) {
        g_ptr_array_add(tokens, (void *)s);
        s = skip_blanks(s + token_len(s));
    }
    g_ptr_array_add(tokens, (void *)s);
    return tokens;
}

static unsigned open_parens(const char *s, unsigned len)
{
    unsigned n = 0;

    for (unsigned i = 0; i < len; i++) {
        if (s[i] == '(') {
            n++;
        } else if (s[i] == ')' && n) {
            n--;
        }
    }
    return n;
}

/* Can the first @len bytes of @text be the begin of something right? */
static bool can_go_on(pcap_t *pcap, const char *text, unsigned len)
{
    static const char *const ends[] = {
        "", "ip", "1", "22", "1.2.3.4", "255.255.255.255", "::1", "22-23",
        "00:11:22:33:44:55", "port 22", "host 1.2.3.4",
        "host 00:11:22:33:44:55", "& ip", "| ip", "= 0", "& 1 = 0",
        "1 = 0", "] = 0", "1] = 0",
    };
    g_autofree char *close = g_strnfill(open_parens(text, len), ')');

    for (unsigned i = 0; i < G_N_ELEMENTS(ends); i++) {
        const char *blank = strchr("&|=]", *ends[i]) ? "" : " ";
        g_autofree char *after = g_strdup_printf("%.*s%s%s%s", len, text,
                                                 blank, ends[i], close);
        g_autofree char *before = g_strdup_printf("%.*s%s%s%s", len, text,
                                                  close, blank, ends[i]);

        if (!check(pcap, after) || (*close && !check(pcap, before))) {
            return true;
        }
    }
    return false;
}

/*
 * libpcap does not tell where.  It is the first token with which what stands
 * before cannot go on in any way; NULL: there is none.
 */
static const char *find_wrong(pcap_t *pcap, const char *text)
{
    g_autoptr(GPtrArray) tokens = tokenise(text);
    unsigned good = 0, bad = tokens->len;

    /* the first @good tokens are all right, the first @bad ones are not */
    while (bad - good > 1) {
        unsigned n = (good + bad) / 2;
        const char *last = g_ptr_array_index(tokens, n - 1);

        if (can_go_on(pcap, text, last + token_len(last) - text)) {
            good = n;
        } else {
            bad = n;
        }
    }
    return bad < tokens->len ? g_ptr_array_index(tokens, bad - 1) : NULL;
}

static void set_error(pcap_t *pcap, const char *text, const char *said,
                      GError **err)
{
    g_autofree char *message = g_strdup(said);
    const char *wrong = find_wrong(pcap, text);

    if (wrong) {
        g_set_error(err, LINK_ERROR, EINVAL,
                    "match='%s': %s at '%.*s' (character %u)", text, message,
                    token_len(wrong), wrong, (unsigned)(wrong - text) + 1);
    } else if (is_syntax_error(message)) {
        g_set_error(err, LINK_ERROR, EINVAL,
                    "match='%s': %s at its end (character %zu)", text,
                    message, strlen(text) + 1);
    } else {
        g_set_error(err, LINK_ERROR, EINVAL, "match='%s': %s (character 1 to "
                    "%zu)", text, message, strlen(text));
    }
}

/* --- names --------------------------------------------------------------- */

/*
 * Is @word what libpcap calls an ID, none of its own words, number or address?
 * As a port it knows it or not, a number is fine, and all else is something
 * else; in arithmetic it may be a number only.
 */
static bool is_name(pcap_t *pcap, const char *word)
{
    g_autofree char *port = g_strdup_printf("port %s", word);
    g_autofree char *len = g_strdup_printf("len > %s", word);
    const char *message = check(pcap, port);

    return (!message || g_str_has_prefix(message, "unknown port")) &&
           check(pcap, len);
}

/*
 * What libpcap would look for in the network before it finds out what else is
 * wrong.  It takes an ID as the last "host", "port", ... says, also several
 * words behind it, and "src" alone means a host.
 */
static bool check_names(pcap_t *pcap, const char *text, GError **err)
{
    static const char *const hosts[] = {
        "host", "src", "dst", "gateway", "ra", "ta", NULL
    };
    static const char *const others[] = {
        "port", "portrange", "proto", "protochain", NULL
    };
    g_autoptr(GPtrArray) tokens = tokenise(text);
    const char *what = NULL;

    for (unsigned i = 0; i + 1 < tokens->len; i++) {
        const char *s = g_ptr_array_index(tokens, i);
        g_autofree char *word = g_strndup(s, token_len(s));

        if (g_strv_contains(hosts, word)) {
            what = "host";
        } else if (g_str_equal(word, "net")) {
            what = "network";
        } else if (g_strv_contains(others, word)) {
            what = NULL;
        } else if (what && is_name(pcap, word)) {
            g_set_error(err, LINK_ERROR, EINVAL, "match='%s': unknown %s '%s'"
                        " (character %u), names are not looked up", text,
                        what, word, (unsigned)(s - text) + 1);
            return false;
        }
    }
    return true;
}

/* --- what it reads ------------------------------------------------------- */

static unsigned load_size(const struct bpf_insn *i)
{
    switch (BPF_SIZE(i->code)) {
    case BPF_W:
        return 4;
    case BPF_H:
        return 2;
    default:
        return 1;
    }
}

/* May something else than the length of an IP header be the index? */
static bool sets_index(const struct bpf_insn *i)
{
    return (BPF_CLASS(i->code) == BPF_LDX && BPF_MODE(i->code) != BPF_MSH) ||
           (BPF_CLASS(i->code) == BPF_MISC && BPF_MISCOP(i->code) == BPF_TAX);
}

/* Up to where @i reads, whatever else is done. */
static uint32_t load_reach(const struct bpf_insn *i)
{
    bool load = BPF_CLASS(i->code) == BPF_LD;
    uint64_t end = 0;

    if (BPF_CLASS(i->code) == BPF_LDX && BPF_MODE(i->code) == BPF_MSH) {
        end = (uint64_t)i->k + 1;
    } else if (load && BPF_MODE(i->code) == BPF_ABS) {
        end = (uint64_t)i->k + load_size(i);
    } else if (load && BPF_MODE(i->code) == BPF_IND) {
        end = (uint64_t)i->k + MAX_INDEX + load_size(i);
    }
    return MIN(end, ANYWHERE);
}

static uint32_t program_reach(const struct bpf_program *program)
{
    uint32_t reach = 0;
    bool indexed = false;

    for (unsigned n = 0; n < program->bf_len; n++) {
        const struct bpf_insn *i = &program->bf_insns[n];
        uint32_t end = load_reach(i);

        reach = MAX(reach, end);
        indexed |= sets_index(i);
    }
    return indexed ? ANYWHERE : reach;
}

/*
 * A jump back is libpcap's loop over extension headers.  Nothing ends it, and
 * with an authentication header a packet can send it round for ever.
 */
static bool is_loop(const struct bpf_insn *i)
{
    return i->code == (BPF_JMP | BPF_JA) && (int32_t)i->k < 0;
}

/* "inbound" and the like compile, and would never match. */
static bool is_ancillary(const struct bpf_insn *i)
{
    return BPF_CLASS(i->code) == BPF_LD && BPF_MODE(i->code) == BPF_ABS &&
           i->k >= ANCILLARY;
}

static bool check_program(const struct bpf_program *program, const char *text,
                          GError **err)
{
    const char *why = NULL;

    for (unsigned n = 0; n < program->bf_len; n++) {
        if (is_loop(&program->bf_insns[n])) {
            why = "protochain is a loop that a packet could keep running";
        } else if (is_ancillary(&program->bf_insns[n])) {
            why = "it asks for what is not in a frame; for which way it goes "
                  "there is direction=";
        }
    }
    if (why) {
        g_set_error(err, LINK_ERROR, EINVAL, "match='%s': %s", text, why);
    }
    return !why;
}

static bool match_compile_on(pcap_t *pcap, Match *m, const char *text,
                             GError **err)
{
    const char *message;

    if (!check_names(pcap, text, err)) {
        return false;
    }
    message = compile(pcap, text, true, &m->program);
    if (message) {
        m->program = (struct bpf_program) { 0 };
        set_error(pcap, text, message, err);
        return false;
    }
    if (!check_program(&m->program, text, err)) {
        match_free(m);
        return false;
    }
    m->reach = program_reach(&m->program);
    return true;
}

bool match_compile(Match *m, const char *text, GError **err)
{
    pcap_t *pcap;
    bool ok;

    *m = (Match) { .reach = 0 };
    if (!text || !*skip_blanks(text)) {
        return true;
    }
    pcap = pcap_open_dead(DLT_EN10MB, 65535);
    if (!pcap) {
        g_set_error(err, LINK_ERROR, ENOMEM, "match='%s': %s", text,
                    g_strerror(ENOMEM));
        return false;
    }
    ok = match_compile_on(pcap, m, text, err);
    pcap_close(pcap);
    return ok;
}

void match_free(Match *m)
{
    if (m->program.bf_insns) {
        pcap_freecode(&m->program);
        m->program = (struct bpf_program) { 0 };
    }
}

/* --- running it ---------------------------------------------------------- */

void match_view(MatchView *v, const Packet *p, uint8_t *whole)
{
    v->p = p;
    v->whole = whole;
    v->len = MIN(p->len, MATCH_HEAD_LEN);
    if (p->head_len >= v->len) {
        v->bytes = p->head;
        v->len = p->head_len;
    } else {
        packet_copy_range(p, 0, v->len, v->head);
        v->bytes = v->head;
    }
}

static SLOW_PATH void view_whole(MatchView *v)
{
    v->len = v->p->len;
    packet_copy_range(v->p, 0, v->len, v->whole);
    v->bytes = v->whole;
}

bool match_run(const Match *m, MatchView *v)
{
    if (!m->program.bf_insns) {
        return true;
    }
    if (G_UNLIKELY(v->len < MIN(m->reach, v->p->len))) {
        view_whole(v);
    }
    return bpf_filter(m->program.bf_insns, v->bytes, v->p->len, v->len);
}
