/*
 * What links know travels with the machine
 *
 * One section for all of them, in a migration stream or a saved machine.  It is
 * there only where there are links, so that other machines' streams stay as
 * they are; and every QEMU that has links at all can read it, so that a machine
 * may go on with other netdevs.  What is in it is libvlink's, in
 * little-endian order; what it says of links that are not here is left out.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "endpoint-int.h"
#include "libvlink/state.h"
#include "migration/vmstate.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "system/system.h"

/* One dictionary a lower link, by the name of its master. */
#define STREAM_TYPE G_VARIANT_TYPE("a(sa{sv})")

/* More than all tables that are full need. */
#define STREAM_MAX (256 * MiB)

#define DIGEST G_CHECKSUM_SHA256
#define DIGEST_LEN 32

/* What is in the section. */
typedef struct VlinkStream {
    uint32_t size;
    uint8_t *data;
    uint8_t digest[DIGEST_LEN];
} VlinkStream;

static void get_digest(const VlinkStream *s, uint8_t *digest)
{
    g_autoptr(GChecksum) sum = g_checksum_new(DIGEST);
    gsize len = DIGEST_LEN;

    g_checksum_update(sum, s->data, s->size);
    g_checksum_get_digest(sum, digest, &len);
}

/* @v in the order in which it travels, or back. */
static GVariant *to_little_endian(GVariant *v)
{
    return HOST_BIG_ENDIAN ? g_variant_byteswap(v) : g_variant_ref(v);
}

/* --- saving -------------------------------------------------------------- */

static GVariant *save_links(void)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, STREAM_TYPE);
    for (Link *l = NULL; (l = vlink_next_lower(l)); ) {
        g_variant_builder_add(&list, "(s@a{sv})", vlink_master_id(l),
                              link_state_save(l));
    }
    return g_variant_builder_end(&list);
}

static int vlink_pre_save(void *opaque)
{
    g_autoptr(GVariant) links = g_variant_ref_sink(save_links());
    g_autoptr(GVariant) v = to_little_endian(links);
    VlinkStream *s = opaque;

    s->size = g_variant_get_size(v);
    s->data = g_malloc(s->size);
    g_variant_store(v, s->data);
    get_digest(s, s->digest);
    return 0;
}

static int vlink_post_save(void *opaque)
{
    VlinkStream *s = opaque;

    g_clear_pointer(&s->data, g_free);
    return 0;
}

/* --- loading ------------------------------------------------------------- */

static void load_link(Link *lower, GVariant *state)
{
    g_autoptr(GError) err = NULL;

    if (!link_state_load(lower, state, &err)) {
        warn_report("ipvlan: not all that the incoming machine knew fits "
                    "here: %s", err->message);
    }
    for (GList *l = lower->uppers.head; l; l = l->next) {
        vlink_info_changed(l->data);
    }
    vlink_lower_arrived(lower);
}

static void load_links(GVariant *links)
{
    GVariantIter iter;
    const char *master;
    GVariant *state;

    g_variant_iter_init(&iter, links);
    while (g_variant_iter_next(&iter, "(&s@a{sv})", &master, &state)) {
        Link *lower = vlink_find_lower(master);

        if (lower) {
            load_link(lower, state);
        } else {
            warn_report("ipvlan: the incoming machine has slaves of '%s', "
                        "and there are none here", master);
        }
        g_variant_unref(state);
    }
}

/* A guest goes on without its section: what is in it is learned again. */
static int vlink_post_load(void *opaque, int version_id)
{
    VlinkStream *s = opaque;
    g_autoptr(GVariant) v = NULL, links = NULL;
    uint8_t digest[DIGEST_LEN];

    get_digest(s, digest);
    v = g_variant_ref_sink(g_variant_new_from_data(STREAM_TYPE, s->data,
                                                   s->size, false, g_free,
                                                   s->data));
    s->data = NULL;             /* the variant's */
    links = to_little_endian(v);
    if (memcmp(digest, s->digest, DIGEST_LEN) ||
        !g_variant_is_normal_form(links)) {
        warn_report("ipvlan: what the incoming machine knew is damaged, and "
                    "is learned again");
        return 0;
    }
    load_links(links);
    return 0;
}

/* --- the section --------------------------------------------------------- */

static bool vlink_needed(void *opaque)
{
    return vlink_next_lower(NULL);
}

static bool size_is_sound(void *opaque, int version_id)
{
    VlinkStream *s = opaque;

    return s->size <= STREAM_MAX;
}

static const VMStateDescription vmstate_vlink = {
    .name = "vlink",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = vlink_needed,
    .pre_save = vlink_pre_save,
    .post_save = vlink_post_save,
    .post_load = vlink_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(size, VlinkStream),
        VMSTATE_VALIDATE("size is at most 256 MiB", size_is_sound),
        VMSTATE_UINT8_ARRAY(digest, VlinkStream, DIGEST_LEN),
        VMSTATE_VBUFFER_ALLOC_UINT32(data, VlinkStream, 1, NULL, size),
        VMSTATE_END_OF_LIST()
    },
};

/* Late, so that it is read when the machine's clock has been. */
static void register_section(Notifier *notifier, void *data)
{
    static VlinkStream stream;

    vmstate_register(NULL, 0, &vmstate_vlink, &stream);
}

static Notifier machine_done = { .notify = register_section };

static void vlink_migrate_init(void)
{
    qemu_add_machine_init_done_notifier(&machine_done);
}

type_init(vlink_migrate_init)
