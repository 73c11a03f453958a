/*
 * Virtual links as netdevs: the glue that every kind of link shares
 *
 * A netdev of such a kind is the user of an upper link; the netdev that it
 * names as its master gets a client of ours as its peer, which is the lower
 * link:
 *
 *   NIC -- upper client -- upper link          (netdev n0)
 *                              |
 *   tap -- lower client -- lower link          (netdev up0)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_NET_VLINK_ENDPOINT_H
#define HW_NET_VLINK_ENDPOINT_H

#include "net/net.h"
#include "libvlink/link.h"

/* One a kind: its name in libvlink and its netdev driver. */
typedef struct VlinkDriver {
    const char *kind;
    NetClientDriver type;
    NetClientInfo upper;        /* filled in by vlink_new() */
    NetClientInfo lower;
    /*
     * There is another netdev of the id that the master of @lower had, and it
     * is the master now.  NULL: the kind has nothing to do then.
     */
    void (*reconnected)(Link *lower);
} VlinkDriver;

typedef struct VlinkOptions {
    const char *id;
    const char *master;         /* id of a netdev */
    const char *netdev;         /* id of a netdev to be the peer, or NULL */
    NetClientState *peer;       /* the peer, where @netdev is NULL; or NULL */
    uint32_t rx_queue;          /* packets, 0: the library's default */
    unsigned queues;            /* 0: as many as @netdev has, or one */
    unsigned weight;            /* 0: the library's default */
    uint64_t tx_bps;            /* bits a second, 0: no limit */
    uint64_t rx_bps;
    uint32_t burst;             /* bytes, 0: the library's default */
    const void *config;         /* the kind's, for link_new() */
} VlinkOptions;

/*
 * Make the netdev @opts->id.  Where anything is wrong, @errp names option and
 * value, nothing has been made, and the result is NULL.
 */
Link *vlink_new(VlinkDriver *driver, const VlinkOptions *opts, Error **errp);

/*
 * The link of @kind behind the netdev that @option names; NULL: @errp says
 * what is wrong with it.
 */
Link *vlink_find_upper(const char *kind, const char *option, const char *id,
                       Error **errp);

/* How many queues @link, an upper one, has, and what came from one of them. */
unsigned vlink_n_queues(const Link *link);
void vlink_queue_sent(const Link *link, unsigned queue, uint64_t *packets,
                      uint64_t *bytes);

/* What "info network" says of @link, an upper one, is to be made anew. */
void vlink_info_changed(Link *link);

/* Delete the netdev that is the user of @link, and @link with it. */
void vlink_del(Link *link);

/* The first lower link after @after, NULL for the first; NULL at the end. */
Link *vlink_next_lower(Link *after);

/*
 * The lower link of the netdevs whose master has the id @master, or NULL.  The
 * master may have been deleted.
 */
Link *vlink_find_lower(const char *master);

/* Could the netdev @master have slaves, or has it?  @errp says why not. */
bool vlink_check_master(const char *master, Error **errp);

/* The id of the netdev that @lower is on top of, or waits for. */
const char *vlink_master_id(const Link *lower);

/* platform.c: time, timers, randomness and traces from QEMU */
extern const LinkPlatform vlink_platform;

/* platform.c: once, before anybody asks for the time */
void vlink_clock_init(void);

/*
 * platform.c: a locally administered MAC address for @master, the same every
 * time on this host for a machine of this name or UUID, and another elsewhere.
 */
void vlink_default_mac(const char *master, uint8_t mac[ETHER_ADDR_LEN]);

/*
 * tap.c: the MTU of the tap that the netdev @master is, where it is known and
 * from @min to @max; 0: not known.
 */
#ifdef CONFIG_LINUX
uint32_t vlink_tap_mtu(const char *master, uint32_t min, uint32_t max);
#else
static inline uint32_t vlink_tap_mtu(const char *master, uint32_t min,
                                     uint32_t max)
{
    return 0;
}
#endif

#endif
