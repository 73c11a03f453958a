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
#define IPVLAN_TABLE_LIMIT      (1 << 20)           /* addresses a port */

typedef enum IpvlanMode {
    IPVLAN_L2,
    IPVLAN_L2_MACNAT,
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
} IpvlanLearn;

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

    /* the slave's */
    const IpPrefix *addrs;
    unsigned n_addrs;
    IpvlanLearn learn;
    unsigned max_addrs;         /* learned ones, 1 to IPVLAN_MAX_ADDRS_LIMIT */
    bool is_default;
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
} IpvlanPortInfo;

typedef struct IpvlanSlaveInfo {
    const uint8_t *mac;         /* NULL: not seen yet */
    IpvlanLearn learn;
    unsigned max_addrs;
    bool is_default;
    uint64_t contested;         /* uses of what another slave owns */
} IpvlanSlaveInfo;

/* Make the kind known.  Once a process; again does nothing. */
void ipvlan_register(void);

/* What the users' words for the enumerations are. */
const char *ipvlan_mode_name(IpvlanMode mode);
const char *ipvlan_flag_name(IpvlanFlag flag);
const char *ipvlan_learn_name(IpvlanLearn learn);
const char *ipvlan_origin_name(IpvlanOrigin origin);

/* The port on @lower, a lower link; false where there is none. */
bool ipvlan_port_info(const Link *lower, IpvlanPortInfo *info);

/* These take a slave, a link of kind "ipvlan". */
void ipvlan_slave_info(const Link *link, IpvlanSlaveInfo *info);
void ipvlan_foreach_addr(const Link *link,
                         void (*fn)(const IpvlanAddrInfo *, void *opaque),
                         void *opaque);

/*
 * Own @prefix for good.  -EEXIST where another slave owns just this prefix,
 * or this slave does already; -ENOSPC at IPVLAN_TABLE_LIMIT.
 */
int ipvlan_addr_add(Link *link, const IpPrefix *prefix, GError **err);

/* Stop owning @prefix, static or learned.  -ENOENT where it does not. */
int ipvlan_addr_del(Link *link, const IpPrefix *prefix, GError **err);

#endif
