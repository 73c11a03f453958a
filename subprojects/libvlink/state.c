/*
 * What links know, to be taken elsewhere
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "state.h"

/* --- misfits -------------------------------------------------------------- */

void link_misfit(LinkMisfits *m, const char *format, ...)
{
    va_list args;

    if (!m->n++) {
        va_start(args, format);
        m->first = g_strdup_vprintf(format, args);
        va_end(args);
    }
}

static bool misfits_report(LinkMisfits *m, const Link *lower, GError **err)
{
    g_autofree char *first = m->first;
    g_autofree char *more = m->n > 1 ? g_strdup_printf(" (and %u more)",
                                                       m->n - 1) : NULL;

    if (m->n) {
        g_set_error(err, LINK_ERROR, EINVAL, "'%s': %s%s", lower->name, first,
                    more ?: "");
    }
    return !m->n;
}

/* --- what every link has -------------------------------------------------- */

const uint8_t *state_bytes(GVariant *state, const char *key, size_t len)
{
    g_autoptr(GVariant) v = g_variant_lookup_value(state, key,
                                                   G_VARIANT_TYPE_BYTESTRING);
    gsize n = 0;
    const uint8_t *bytes = v ? g_variant_get_fixed_array(v, &n, 1) : NULL;

    return n == len ? bytes : NULL;
}

#define STATS_FORMAT "(tttta{st})"

/* Reasons by their names, which never change. */
static GVariant *save_stats(const LinkStats *stats)
{
    GVariantBuilder drops;

    g_variant_builder_init(&drops, G_VARIANT_TYPE("a{st}"));
    for (int i = DROP_NONE + 1; i < DROP__MAX; i++) {
        if (stats->drops[i]) {
            g_variant_builder_add(&drops, "{st}", drop_reason_name(i),
                                  stats->drops[i]);
        }
    }
    return g_variant_new(STATS_FORMAT, stats->rx_packets, stats->rx_bytes,
                         stats->tx_packets, stats->tx_bytes, &drops);
}

static void add_stats(GVariantBuilder *state, const LinkStats *stats)
{
    g_variant_builder_add(state, "{sv}", "stats", save_stats(stats));
    g_variant_builder_add(state, "{sv}", "made",
                          g_variant_new("(tt)", stats->made,
                                        stats->absorbed));
}

static void load_stats(LinkStats *stats, GVariant *state)
{
    g_autoptr(GVariantIter) drops = NULL;
    const char *name;
    uint64_t n;

    *stats = (LinkStats) { 0 };
    g_variant_lookup(state, "made", "(tt)", &stats->made, &stats->absorbed);
    if (!g_variant_lookup(state, "stats", STATS_FORMAT, &stats->rx_packets,
                          &stats->rx_bytes, &stats->tx_packets,
                          &stats->tx_bytes, &drops)) {
        return;
    }
    while (g_variant_iter_next(drops, "{&st}", &name, &n)) {
        stats->drops[drop_reason_find(name)] = n;
    }
    stats->drops[DROP_NONE] = 0;
}

/* --- links on top --------------------------------------------------------- */

static GVariant *save_link(const Link *link)
{
    GVariantBuilder state;

    g_variant_builder_init(&state, LINK_STATE_TYPE);
    add_stats(&state, &link->stats);
    if (link->ops->save) {
        link->ops->save(link, &state);
    }
    if (link->user && link->user->save) {
        link->user->save(link->user_opaque, &state);
    }
    return g_variant_new("(ssa{sv})", link->name, link->ops->kind, &state);
}

static void load_link(Link *lower, const char *name, const char *kind,
                      GVariant *state, LinkMisfits *m)
{
    Link *link = link_find_upper(lower, name);

    if (!link) {
        link_misfit(m, "it has no '%s' here", name);
        return;
    }
    if (!g_str_equal(link->ops->kind, kind)) {
        link_misfit(m, "'%s' is of kind %s here and not %s", name,
                    link->ops->kind, kind);
        return;
    }
    load_stats(&link->stats, state);
    if (link->ops->load) {
        link->ops->load(link, state, m);
    }
    if (link->user && link->user->load) {
        link->user->load(link->user_opaque, state);
    }
}

/* --- all of it ------------------------------------------------------------ */

/* The one kind whose receive handler it has. */
static const LinkOps *upper_ops(const Link *lower)
{
    const Link *first = g_queue_peek_head((GQueue *)&lower->uppers);

    return first ? first->ops : NULL;
}

static GVariant *deleted_state(const Link *lower)
{
    GVariantBuilder state;

    g_variant_builder_init(&state, LINK_STATE_TYPE);
    add_stats(&state, &lower->deleted);
    return g_variant_builder_end(&state);
}

GVariant *link_state_save(const Link *lower)
{
    const LinkOps *ops = upper_ops(lower);
    GVariantBuilder state, links, port;

    g_variant_builder_init(&state, LINK_STATE_TYPE);
    g_variant_builder_init(&links, G_VARIANT_TYPE("a(ssa{sv})"));
    g_variant_builder_init(&port, LINK_STATE_TYPE);
    for (GList *l = lower->uppers.head; l; l = l->next) {
        g_variant_builder_add_value(&links, save_link(l->data));
    }
    if (ops && ops->save_port) {
        ops->save_port(lower, &port);
    }
    add_stats(&state, &lower->stats);
    g_variant_builder_add(&state, "{sv}", "deleted", deleted_state(lower));
    g_variant_builder_add(&state, "{sv}", "links",
                          g_variant_builder_end(&links));
    g_variant_builder_add(&state, "{sv}", "port",
                          g_variant_builder_end(&port));
    return g_variant_builder_end(&state);
}

static void load_port(Link *lower, GVariant *state, LinkMisfits *m)
{
    g_autoptr(GVariant) port = g_variant_lookup_value(state, "port",
                                                      LINK_STATE_TYPE);
    const LinkOps *ops = upper_ops(lower);

    if (port && ops && ops->load_port) {
        ops->load_port(lower, port, m);
    }
}

static void load_deleted(Link *lower, GVariant *state)
{
    g_autoptr(GVariant) deleted = g_variant_lookup_value(state, "deleted",
                                                         LINK_STATE_TYPE);

    lower->deleted = (LinkStats) { 0 };
    if (deleted) {
        load_stats(&lower->deleted, deleted);
    }
}

bool link_state_load(Link *lower, GVariant *state, GError **err)
{
    g_autoptr(GVariantIter) links = NULL;
    const char *name, *kind;
    LinkMisfits m = { 0 };
    GVariant *link;

    load_stats(&lower->stats, state);
    load_deleted(lower, state);
    load_port(lower, state, &m);
    if (g_variant_lookup(state, "links", "a(ssa{sv})", &links)) {
        while (g_variant_iter_next(links, "(&s&s@a{sv})", &name, &kind,
                                   &link)) {
            load_link(lower, name, kind, link, &m);
            g_variant_unref(link);
        }
    }
    return misfits_report(&m, lower, err);
}
