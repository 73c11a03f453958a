/*
 * Telling the uplink, unasked, where addresses are
 *
 * After a virtual machine has moved, or its uplink was replaced, neighbours
 * still look for its addresses where they were.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../craft.h"
#include "port.h"

/* The first one stays where it is until the uplink has taken its frame. */
static unsigned announce_poll(Poll *poll, unsigned budget)
{
    IpvlanPort *port = poll_owner(poll, IpvlanPort, announce);
    unsigned done;

    for (done = 0; done < budget && port->announcing.head; done++) {
        IpvlanAddr *a = port->announcing.head->data;
        UNINITIALIZED Craft c;
        UNINITIALIZED Packet p;
        struct iovec iov;

        craft_announce(&c, port->mac, &a->prefix.addr, a->slave->is_router);
        craft_packet(&c, &iov, &p);
        link_trace(port->lower, LINK_EVENT_SEND, NULL, &p);
        if (link_xmit_made(port->lower, &p) == LINK_TX_BUSY) {
            return 0;                   /* announce_wake() */
        }
        announce_forget(a);
    }
    return done;
}

void announce_init(IpvlanPort *port)
{
    poll_init(&port->announce, port->lower->poller, announce_poll);
}

void announce_destroy(IpvlanPort *port)
{
    poll_cancel(&port->announce);
}

void announce_wake(IpvlanPort *port)
{
    if (port->announcing.head) {
        poll_schedule(&port->announce);
    }
}

void announce_forget(IpvlanAddr *a)
{
    if (a->announce.data) {
        g_queue_unlink(&a->slave->port->announcing, &a->announce);
        a->announce.data = NULL;
    }
}

/* A prefix is nobody's address; who sends for it finds it as before. */
static void announce(const GQueue *addrs)
{
    for (GList *l = addrs->head; l; l = l->next) {
        IpvlanAddr *a = l->data;

        if (a->prefix.len == ip_bits(a->prefix.addr.family) &&
            !a->announce.data) {
            a->announce.data = a;
            g_queue_push_tail_link(&a->slave->port->announcing,
                                   &a->announce);
        }
    }
}

/* In l3 the port answers for its slaves, unless it was told not to. */
void ipvlan_announce(Link *link)
{
    IpvlanSlave *slave = link_priv(link);
    IpvlanPort *port = slave->port;

    if (!ipvlan_is_l3(port) || port->proxy_arp) {
        announce(&slave->fixed);
        announce(&slave->learned);
        announce_wake(port);
    }
}
