/*
 * The stateful filter of l3s: rules, and the flows that they have accepted
 *
 * A packet crosses it once for each slave on its way: as OUT of the one that
 * sends it, as IN of the one that gets it.  First filter_begin(), then
 * filter_out() and filter_in() as they apply, and, when the packet has gone
 * where it was to go, filter_end().  A packet that is refused because somebody
 * is busy comes again and begins again.  In between there may be other packets,
 * answers to this one even, but no rule and no slave comes or goes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_FILTER_H
#define LIBVLINK_IPVLAN_FILTER_H

#include "flow.h"
#include "track.h"

typedef struct IpvlanPort IpvlanPort;
typedef struct IpvlanSlave IpvlanSlave;

/* Of a port; filter.c's own. */
typedef struct Filter {
    GPtrArray *rules;           /* of IpvlanRule, in the order to be asked */
    GPtrArray *slaves;          /* by FilterSlave.id; [0], the uplink: NULL */
    uint32_t clock;             /* in FLOW_TICKs from 1 on, 0: to be read */
    uint32_t work_tick;         /* when work runs, 0: it does not */
    LinkWork *work;
    uint8_t *whole;             /* for MatchView, once a rule needs it */
    uint32_t reach;             /* bytes of a frame that rules may look at */
    FlowTable flows;
} Filter;

/* Of a slave; filter.c's own. */
typedef struct FilterSlave {
    uint16_t id;                /* 0: it is on no filter */
    FlowPayer payer;
} FilterSlave;

/*
 * What the filter knows of one packet.  Not to be zeroed: filter_begin()
 * writes all that is read.
 */
typedef struct FilterPass {
    IpvlanSlave *from, *to;     /* NULL: the uplink */

    /* the rest is filter.c's own */
    IpvlanPort *port;
    Flow *flow;                 /* that the packet is of, or NULL */
    IpvlanRule *rule[2];        /* that accepts it for each end of the flow */
    Track track;
    uint32_t hash;
    uint32_t epoch;             /* of the table when flow was found */
    uint8_t state;              /* FlowState of flow, then */
    uint8_t next;               /* and after this packet */
    bool ruled;                 /* there are rules */
    bool fresh;                 /* one was asked, and has accepted */
} FilterPass;

void filter_init(IpvlanPort *port);
void filter_destroy(IpvlanPort *port);

/* A slave has come: rules may be for it. */
void filter_add_slave(IpvlanSlave *slave);
/* It goes, and its flows with it. */
void filter_del_slave(IpvlanSlave *slave);

/* @p, parsed, is on its way. */
void filter_begin(FilterPass *pass, IpvlanPort *port, IpvlanSlave *from,
                  IpvlanSlave *to, const Packet *p);

/* May @p, as the guest has sent it, leave pass->from? */
IpvlanAction filter_out(FilterPass *pass, const Packet *p);

/*
 * May @p, with the Ethernet header that the guest is to see, go to pass->to?
 * @p's head may become its scratch space.
 */
IpvlanAction filter_in(FilterPass *pass, Packet *p);

/* It has been sent: count it, and remember its flow. */
void filter_end(FilterPass *pass, const Packet *p);

/*
 * For filter-state.c.  What a rule is and says, in words: the same for the same
 * rule on another port.
 */
const char *filter_rule_text(const IpvlanRule *rule);
void filter_rule_set_counts(IpvlanRule *rule, uint64_t packets,
                            uint64_t bytes);
/* The time in FLOW_TICKs. */
uint32_t filter_tick(const IpvlanPort *port);
/* There are flows that were not there, and that will expire. */
void filter_loaded(IpvlanPort *port);

/* filter-state.c: flows and counts of rules, see ../state.h */
void filter_save(const IpvlanPort *port, GVariantBuilder *out);
void filter_load(IpvlanPort *port, GVariant *state, LinkMisfits *m);

/* Flows that are tracked, fragmented datagrams among them. */
unsigned filter_flows(const IpvlanPort *port);
/* Those of them that @slave pays for. */
unsigned filter_slave_flows(const IpvlanSlave *slave);

#endif
