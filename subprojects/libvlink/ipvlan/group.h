/*
 * Who wants which multicast group: IGMP and MLD snooping, RFC 4541
 *
 * A slave's memberships are what its guest reports.  They are all that it
 * wants only where it was asked for them: a guest that has been given a
 * general query answers it.  So each slave knows for itself whether there is
 * a querier; and whoever wants siblings to lose their groups would have to
 * ask them, and gets their answers.  Nobody is believed to be a querier by
 * those who have not heard it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_GROUP_H
#define LIBVLINK_IPVLAN_GROUP_H

#include "ipvlan.h"
#include "owners.h"

typedef struct IpvlanPort IpvlanPort;
typedef struct IpvlanSlave IpvlanSlave;

#define GROUP_MAX 256               /* a slave; with more it gets all */

/*
 * RFC 2236, 3376, 2710 and 3810 agree on these, where the querier has not
 * been told otherwise: two queries 125 s apart, and 10 s for the answer.
 */
#define GROUP_RESPONSE_NS (10 * NS_PER_S)
#define GROUP_MEMBER_NS (260 * NS_PER_S)
/* As long as no membership can run out before somebody has asked again. */
#define GROUP_QUERIER_NS (GROUP_MEMBER_NS - GROUP_RESPONSE_NS)
#define GROUP_ROUTER_NS (255 * NS_PER_S)    /* other querier present */
#define GROUP_LAST_NS (2 * NS_PER_S)        /* last member query time */

/* Times on now().  Of one family. */
typedef struct GroupFamily {
    int64_t asked;              /* its guest, last; 0: never */
    int64_t answered;           /* by then it has answered that */
    int64_t known;              /* from then on its memberships are all */
    int64_t router;             /* it is a router until then */
    int64_t all;                /* it is a member of too many until then */
} GroupFamily;

/* Of a slave; group.c's own. */
typedef struct GroupMember {
    OwnerTable groups;          /* until when; made for the first one */
    int64_t swept;              /* the expired ones were taken out */
    GroupFamily v4, v6;
} GroupMember;

/* What a frame for many is. */
typedef enum GroupKind {
    GROUP_FLOOD,                /* for all */
    GROUP_QUERY,                /* for all, and they will answer it */
    GROUP_REPORT,               /* for routers */
    GROUP_DATA,                 /* for members */
} GroupKind;

typedef struct GroupFrame {
    GroupKind kind;
    const IpAddr *dst;
    int64_t now;
    int64_t response;           /* of a query: time to answer */
} GroupFrame;

/*
 * @p, parsed, comes from the guest of @slave: learn of which groups it is a
 * member, and whether it is a router.
 */
void group_snoop(IpvlanSlave *slave, const Packet *p);

/* What is @p, parsed, which is to be given to slaves of @port?  Borrows it. */
void group_look(GroupFrame *g, const IpvlanPort *port, const Packet *p);

/*
 * Is it for @slave?  Not asked where the NIC's own filter does not want it.
 */
bool group_wants(const IpvlanSlave *slave, const GroupFrame *g);

/* The guest of @slave has got the query @g. */
void group_asked(IpvlanSlave *slave, const GroupFrame *g);

/* There is no guest behind @slave, or another one. */
void group_forget(IpvlanSlave *slave);

#endif
