/*
 * Fragments of IPv4 packets that are longer than the uplink's MTU
 *
 * RFC 791, section 3.2, and RFC 1812, 4.2.2.7: what may be fragmented, a
 * router fragments.  Headers are new, the payload is borrowed.  No part of
 * this is for segments, whose length their sender chooses: where they are cut
 * is offload.c's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_IPVLAN_FRAGMENT_H
#define LIBVLINK_IPVLAN_FRAGMENT_H

#include "ipvlan.h"

typedef struct IpvlanSlave IpvlanSlave;

/*
 * @piece borrows from its packet and from the caller's stack; its view may be
 * rewritten.  @rest: it is not the first one, and LINK_TX_BUSY is no answer.
 */
typedef LinkTx FragmentEmit(void *opaque, Packet *piece, bool rest);

/*
 * May @p be cut, should it be too long?  False for IPv6, for "don't fragment",
 * and for segments that are cut otherwise.
 */
bool fragment_is_allowed(const Packet *p);

/*
 * Hand @p, for which fragment_is_allowed() is true, to @emit in fragments of at
 * most @mtu bytes with their IP headers.  It may be a fragment itself.  A
 * checksum that was left to be completed is.  Returns what @emit said of the
 * first one, LINK_TX_BUSY: of none.
 */
LinkTx fragment_send(const Packet *p, uint32_t mtu, FragmentEmit *emit,
                     void *opaque);

/*
 * The same, out of the uplink, to the next hop @hop: as neigh_send().  Nothing
 * is lost where the uplink gets busy in the middle.
 */
LinkTx fragment_to_neigh(IpvlanSlave *slave, const IpAddr *hop,
                         const Packet *p, uint32_t mtu);

#endif
