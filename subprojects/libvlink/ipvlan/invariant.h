/*
 * What is always true of ports, checked while they run: see ../invariant.h
 *
 *   - whatever leaves the uplink has the port's MAC address as its source;
 *   - what a slave with a guard sends is from what it owns;
 *   - what is learned, known or waits is within its limits, and the table of
 *     addresses has what the slaves have.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_INVARIANT_H
#define LIBVLINK_IPVLAN_INVARIANT_H

#include "port.h"

#ifdef VLINK_INVARIANTS

/* LinkOps.check */
void ipvlan_check(const Link *lower, const Packet *p);

/* All checks have let @p, which @slave sends, pass: rightly? */
void invariant_may_send(const IpvlanSlave *slave, const Packet *p);

#else

#define invariant_may_send(slave, p) ((void)0)

#endif

#endif
