/*
 * The stateful filter of l3s: rules, and the flows that they have accepted
 *
 * A packet crosses it once for each slave on its way: as OUT of the one that
 * sends it, as IN of the one that gets it.  First filter_begin(), then
 * filter_out() and filter_in() as they apply, and, when the packet has gone
 * where it was to go, filter_end().  A packet that is refused because somebody
 * is busy comes again and begins again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_FILTER_H
#define LIBVLINK_IPVLAN_FILTER_H

#include "ipvlan.h"

#define FILTER_MAX_FLOWS 65536      /* of a port */

typedef struct IpvlanPort IpvlanPort;
typedef struct IpvlanSlave IpvlanSlave;

/* Of a port; filter.c's own. */
typedef struct Filter {
    unsigned n;
} Filter;

/* Of a slave; filter.c's own. */
typedef struct FilterSlave {
    unsigned n;
} FilterSlave;

/* What the filter knows of one packet. */
typedef struct FilterPass {
    IpvlanSlave *from, *to;     /* NULL: the uplink */
    unsigned n;                 /* the rest is filter.c's own */
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

/* Flows that are tracked. */
unsigned filter_flows(const IpvlanPort *port);

#endif
