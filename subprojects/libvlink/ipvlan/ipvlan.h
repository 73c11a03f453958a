/*
 * The link kind "ipvlan": many slaves behind one MAC address
 *
 * For the users of the library; what is inside is in port.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_H
#define LIBVLINK_IPVLAN_H

#include "../link.h"

#define IPVLAN_MAX_ADDRS        16                  /* default */
#define IPVLAN_MAX_ADDRS_LIMIT  1024
#define IPVLAN_EXPIRY           (300 * NS_PER_S)    /* default */
#define IPVLAN_BACKLOG          1000                /* packets a port */
#define IPVLAN_MTU              1500                /* default, in bytes */
#define IPVLAN_MTU_MIN          1280                /* RFC 8200, section 5 */
#define IPVLAN_MTU_MAX          65535
#define IPVLAN_TABLE_LIMIT      (1 << 20)           /* addresses a port */

typedef enum IpvlanMode {
    IPVLAN_L2,
    IPVLAN_L2_MACNAT,
    IPVLAN_L3,                  /* the port is the guests' router */
    IPVLAN_L3S,                 /* and their stateful filter */
} IpvlanMode;

typedef enum IpvlanFlag {
    IPVLAN_BRIDGE,
    IPVLAN_PRIVATE,
    IPVLAN_VEPA,
} IpvlanFlag;

typedef enum IpvlanLearn {
    IPVLAN_LEARN_OFF,
    IPVLAN_LEARN_DHCP,          /* what a DHCP server gave, and link-local */
    IPVLAN_LEARN_ON,            /* what the guest is seen to use */
    IPVLAN_LEARN_AUTO,          /* on, where there are neither addrs nor l3 */
} IpvlanLearn;

/* What a slave's guest may not send. */
typedef enum IpvlanGuard {
    IPVLAN_GUARD_OFF,
    IPVLAN_GUARD_ON,            /* as whom it is not */
    IPVLAN_GUARD_STRICT,        /* nor as a DHCP server or a router */
    /* on, where it neither learns all it sees nor gets what nobody owns */
    IPVLAN_GUARD_AUTO,
} IpvlanGuard;

/* What the filter of l3s does with a packet that no rule matches. */
typedef enum IpvlanPolicy {
    IPVLAN_POLICY_ACCEPT,
    IPVLAN_POLICY_DROP,
} IpvlanPolicy;

typedef enum IpvlanOrigin {
    IPVLAN_ORIGIN_STATIC,
    IPVLAN_ORIGIN_ARP,
    IPVLAN_ORIGIN_ND,
    IPVLAN_ORIGIN_DHCP,
    IPVLAN_ORIGIN_IP,
} IpvlanOrigin;

/*
 * What link_new(..., "ipvlan", ...) takes as its config.  The port's part is
 * set by the first slave of a lower link; a later slave may repeat it, and
 * where it says something else it is refused (EINVAL).
 */
typedef struct IpvlanConfig {
    /* the port's; NULL: as the port is, or the default for a new one */
    const IpvlanMode *mode;
    const IpvlanFlag *flag;
    const uint8_t *mac;
    const uint8_t *default_mac; /* of a new port without @mac; never NULL */
    int64_t expiry;             /* ns unused, 0: IPVLAN_EXPIRY */
    /* the port's in l3 and l3s, refused elsewhere; NULL and 0 as above */
    const IpAddr *gateways;     /* at most one of each family */
    unsigned n_gateways;
    uint32_t mtu;               /* of the uplink, without Ethernet header */
    uint32_t default_mtu;       /* where no @mtu is given, 0: IPVLAN_MTU */
    const bool *ra;             /* tell guests by advertisement, default on */
    const bool *proxy_arp;      /* answer for guests, default on */
    const IpvlanPolicy *policy; /* l3s only, default accept */

    /* the slave's */
    const IpPrefix *addrs;
    unsigned n_addrs;
    IpvlanLearn learn;
    unsigned max_addrs;         /* learned ones, 1 to IPVLAN_MAX_ADDRS_LIMIT */
    bool is_default;
    IpvlanGuard guard;
} IpvlanConfig;

/* An address as its slave owns it; times on the platform's clock, in ns. */
typedef struct IpvlanAddrInfo {
    IpPrefix prefix;
    IpvlanOrigin origin;
    int64_t learned;
    int64_t used;               /* as a source, last; or up to 1 s before */
} IpvlanAddrInfo;

typedef struct IpvlanPortInfo {
    IpvlanMode mode;
    IpvlanFlag flag;
    const uint8_t *mac;
    unsigned addresses;         /* in the table */
    unsigned backlog;           /* broadcast that waits, in packets */
    unsigned waiting;           /* all that waits at the port, in packets */
    const IpAddr *gateway4;     /* NULL: none */
    const IpAddr *gateway6;
    uint32_t mtu;
    bool ra, proxy_arp;
    IpvlanPolicy policy;
    unsigned flows;             /* that the filter of l3s keeps track of */
} IpvlanPortInfo;

typedef struct IpvlanSlaveInfo {
    const uint8_t *mac;         /* NULL: not seen yet */
    IpvlanLearn learn;
    unsigned max_addrs;
    bool is_default;
    IpvlanGuard guard;
    unsigned flows;             /* tracked, for which it pays */
    uint64_t contested;         /* uses of what another slave owns */
} IpvlanSlaveInfo;

/* Make the kind known.  Once a process; again does nothing. */
void ipvlan_register(void);

/* What the users' words for the enumerations are. */
const char *ipvlan_mode_name(IpvlanMode mode);
const char *ipvlan_flag_name(IpvlanFlag flag);
const char *ipvlan_learn_name(IpvlanLearn learn);
const char *ipvlan_origin_name(IpvlanOrigin origin);
const char *ipvlan_guard_name(IpvlanGuard guard);
const char *ipvlan_policy_name(IpvlanPolicy policy);

/* The port on @lower, a lower link; false where there is none. */
bool ipvlan_port_info(const Link *lower, IpvlanPortInfo *info);

/*
 * The port on @lower has another uplink: what IpvlanConfig.default_mtu was is
 * @mtu now.
 */
void ipvlan_port_set_default_mtu(Link *lower, uint32_t mtu);

/* These take a slave, a link of kind "ipvlan". */
void ipvlan_slave_info(const Link *link, IpvlanSlaveInfo *info);
void ipvlan_foreach_addr(const Link *link,
                         void (*fn)(const IpvlanAddrInfo *, void *opaque),
                         void *opaque);

/*
 * The groups of which @link's guest has told that it is a member; those that
 * go to everybody, as 224.0.0.x, are not among them.
 */
void ipvlan_foreach_group(const Link *link,
                          void (*fn)(const IpAddr *group, void *opaque),
                          void *opaque);

/* --- changes at run time, from outside of the data path ------------------ */

/*
 * Own @prefix for good, also one that @link has learned.  -EEXIST where
 * another slave owns just this prefix, or this slave does so for good already;
 * -ENOSPC at IPVLAN_TABLE_LIMIT.
 */
int ipvlan_addr_add(Link *link, const IpPrefix *prefix, GError **err);

/* Stop owning @prefix, static or learned.  -ENOENT where it does not. */
int ipvlan_addr_del(Link *link, const IpPrefix *prefix, GError **err);

/* AUTO: as @link's learn and the mode have it, as when it was made. */
void ipvlan_set_guard(Link *link, IpvlanGuard guard);

/*
 * Make the port on @lower what the port's part of @config says, but for its
 * MAC address and expiry, which stay: all of it, or -EINVAL and nothing.
 * @gateways that is not NULL replaces them all, also by none.  What only l3
 * has goes back to its defaults in other modes, as does the policy outside of
 * l3s.
 *
 * A mode that routes drops the broadcast that waits, one that does not the
 * packets that wait for a neighbour and the answers that wait for the uplink;
 * both are counted.  Slaves choose anew what their config left to be chosen.
 * What they have learned they own until it expires.
 */
int ipvlan_port_change(Link *lower, const IpvlanConfig *config, GError **err);

/* --- neighbours on the uplink, in l3 and l3s ----------------------------- */

/* As RFC 4861, section 7.3.2, names them; ARP's entries have them, too. */
typedef enum NeighState {
    NEIGH_INCOMPLETE,
    NEIGH_REACHABLE,
    NEIGH_STALE,
    NEIGH_DELAY,
    NEIGH_PROBE,
} NeighState;

typedef struct IpvlanNeighInfo {
    IpAddr addr;
    const uint8_t *mac;         /* NULL: not known */
    NeighState state;
    bool gateway;
    unsigned waiting;           /* packets */
} IpvlanNeighInfo;

/* As iproute2 writes them: "INCOMPLETE", "REACHABLE", ... */
const char *neigh_state_name(NeighState state);

/* @lower has a port. */
void ipvlan_foreach_neigh(const Link *lower,
                          void (*fn)(const IpvlanNeighInfo *, void *opaque),
                          void *opaque);

/* --- rules of l3s -------------------------------------------------------- */

/* The slave's: OUT is what it sends. */
typedef enum IpvlanDirection {
    IPVLAN_OUT,
    IPVLAN_IN,
    IPVLAN_BOTH,
} IpvlanDirection;

typedef enum IpvlanAction {
    IPVLAN_ACCEPT,
    IPVLAN_DROP,
    IPVLAN_REJECT,              /* drop, and tell the sender */
} IpvlanAction;

typedef struct IpvlanRuleConfig {
    const char *name;           /* that its user has for it; may be NULL */
    const char *slave;          /* whose name it is for; NULL: for all */
    uint32_t priority;          /* the lowest is asked first */
    IpvlanDirection direction;
    IpvlanAction action;
    const char *match;          /* pcap-filter(7); NULL, "": every packet */
} IpvlanRuleConfig;

typedef struct IpvlanRule IpvlanRule;

/*
 * A rule on no port.  NULL and @err, with libpcap's message and where in the
 * expression it is, where @config->match does not compile.
 */
IpvlanRule *ipvlan_rule_new(const IpvlanRuleConfig *config, GError **err);

/* Takes it off its port, and forgets the flows that it has accepted. */
void ipvlan_rule_free(IpvlanRule *rule);

/*
 * Put @rule on the port of @lower.  It stays there until it is freed, or until
 * the port is: then it may be attached again.  -EINVAL where there is no port
 * or it is not in l3s, -EBUSY where @rule is on a port.
 */
int ipvlan_rule_attach(IpvlanRule *rule, Link *lower, GError **err);
bool ipvlan_rule_is_attached(const IpvlanRule *rule);

/* Packets that it decided about, those of flows that it accepted included. */
void ipvlan_rule_counts(const IpvlanRule *rule, uint64_t *packets,
                        uint64_t *bytes);

#endif
