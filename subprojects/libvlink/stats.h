/*
 * Counters of a link, and the reasons for which a frame can be dropped
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_STATS_H
#define LIBVLINK_STATS_H

#include <stdint.h>

/*
 * Every drop has exactly one of these reasons.  X(identifier, name, text):
 * the name is what users see and must never change its meaning.
 */
#define DROP_REASONS(X)                                                      \
    X(TRUNCATED,    "truncated",      "ends before its headers do")          \
    X(OVERSIZED,    "oversized",      "is longer than a frame can be")       \
    X(BAD_HEADER,   "bad-header",     "a length or version field lies")      \
    X(BAD_FRAGMENT, "bad-fragment",   "a fragment overlaps a header, ends "  \
                                      "past 65535 or hides a header")        \
    X(BAD_VNET,     "bad-vnet-header", "the virtio-net header lies")         \
    X(BAD_SOURCE,   "bad-source",     "source MAC is a group or zero")       \
    X(FOREIGN_MAC,  "foreign-mac",    "source MAC is not the port's (l2)")   \
    X(NOT_OWNED,    "not-owned",      "source address belongs to another "   \
                                      "slave")                               \
    X(GUARD_MAC,    "guard-mac",      "not the guest's MAC address")         \
    X(GUARD_TAGS,   "guard-tags",     "more VLAN tags than can be checked, " \
                                      "or an Ethertype behind a length")     \
    X(GUARD_SOURCE, "guard-source",   "IP source is not the slave's")        \
    X(GUARD_ARP,    "guard-arp",      "ARP sender is not the slave")         \
    X(GUARD_ND,     "guard-nd",       "neighbour discovery for what is not " \
                                      "the slave's")                         \
    X(GUARD_DHCP,   "guard-dhcp",     "a DHCP server's or relay's message")  \
    X(GUARD_RA,     "guard-ra",       "a router's advertisement")            \
    X(GUARD_REDIRECT, "guard-redirect", "a redirect")                        \
    X(TO_ITSELF,    "to-itself",      "sender owns the destination")         \
    X(PRIVATE,      "private",        "private: siblings do not talk")       \
    X(NO_OWNER,     "no-owner",       "no slave owns the destination")       \
    X(NOT_FOR_US,   "not-for-us",     "destination MAC is nobody's here")    \
    X(NOT_IP,       "not-ip",         "l3: it is neither IP nor ARP")        \
    X(NOT_ROUTED,   "not-routed",     "l3: broadcast, multicast, and what "  \
                                      "is link-local do not cross")          \
    X(TOO_BIG,      "too-big",        "l3: longer than the uplink's MTU")    \
    X(NO_NEIGHBOUR, "no-neighbour",   "l3: nobody answered for the next hop") \
    X(NEIGH_QUEUE,  "neighbour-queue-full", "l3: too much waits for its "    \
                                      "next hop's answer")                   \
    X(NEIGH_LIMIT,  "neighbour-limit", "l3: the slave asks for too many "    \
                                      "unknown next hops")                   \
    X(FILTER,       "filter",         "l3s: a rule or the policy says so")   \
    X(REFLECTED,    "reflected",      "our own broadcast came back")         \
    X(BACKLOG,      "backlog-full",   "broadcast backlog is full")           \
    X(RX_QUEUE,     "rx-queue-full",  "receiver takes no frames and its "    \
                                      "queue is full")                       \
    X(CODEL,        "rx-delay",       "waited too long for its receiver "    \
                                      "(CoDel)")                             \
    X(LINK_DOWN,    "link-down",      "link or the one below it is down")    \
    X(NO_RECEIVER,  "no-receiver",    "nothing is attached to the link")     \
    X(REFUSED,      "refused",        "what is attached to the link failed " \
                                      "to take it")                          \
    X(LOOP,         "loop",           "passed too many receive handlers")

typedef enum DropReason {
    DROP_NONE,
#define X(id, name, text) DROP_##id,
    DROP_REASONS(X)
#undef X
    DROP__MAX
} DropReason;

typedef struct LinkStats {
    uint64_t rx_packets;        /* towards the link's user */
    uint64_t rx_bytes;
    uint64_t tx_packets;        /* from the link's user, accepted */
    uint64_t tx_bytes;
    /*
     * What came into being here (copies for many, pieces, answers), and what
     * ended here without being dropped (answered, merged, wanted by nobody).
     * With these, what entered is what left, was dropped, or waits.
     */
    uint64_t made;
    uint64_t absorbed;
    uint64_t drops[DROP__MAX];
} LinkStats;

/* Name of @reason, a static string; NULL where @reason is not a reason. */
const char *drop_reason_name(DropReason reason);

/* The reason of that name; DROP_NONE where there is none. */
DropReason drop_reason_find(const char *name);

/* Sum of all drops. */
uint64_t link_stats_drops(const LinkStats *stats);

/* All that @more has counted, too. */
void link_stats_add(LinkStats *stats, const LinkStats *more);

#endif
