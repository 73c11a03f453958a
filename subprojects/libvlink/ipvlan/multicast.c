/*
 * To many: broadcast and multicast, deferred
 *
 * A storm must hold up nobody's unicast, so frames for many wait in a backlog
 * and are handed out in polls.  Each source has its own queue in it and each
 * gets its turn.  When the backlog is full the longest queue loses its
 * youngest frame: a storm displaces itself, not the siblings' ARP.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "port.h"

static PollFunc broadcast_poll;

void broadcast_source_init(BroadcastSource *source, IpvlanPort *port,
                           IpvlanSlave *slave)
{
    source->port = port;
    source->slave = slave;
    source->node.data = source;
    poll_init(&source->poll, port->lower->poller, broadcast_poll);
}

static Packet *backlog_pop(BroadcastSource *source, bool youngest)
{
    IpvlanPort *port = source->port;
    Packet *p = youngest ? packet_queue_pop_tail(&source->packets)
                         : packet_queue_pop(&source->packets);

    if (p) {
        port->backlog--;
        if (g_queue_is_empty(&source->packets)) {
            g_queue_unlink(&port->sources, &source->node);
        }
    }
    return p;
}

static void backlog_push(BroadcastSource *source, Packet *p)
{
    IpvlanPort *port = source->port;

    if (g_queue_is_empty(&source->packets)) {
        g_queue_push_tail_link(&port->sources, &source->node);
    }
    packet_queue_push(&source->packets, p);
    port->backlog++;
    poll_schedule(&source->poll);
}

static Link *source_link(const BroadcastSource *source)
{
    return source->slave ? source->slave->link : source->port->lower;
}

void broadcast_source_drop(BroadcastSource *source, DropReason why)
{
    Packet *p;

    while ((p = backlog_pop(source, false))) {
        link_drop(source_link(source), p, why);
        packet_put(p);
    }
}

void broadcast_drop(IpvlanPort *port, DropReason why)
{
    while (port->sources.head) {
        broadcast_source_drop(port->sources.head->data, why);
    }
}

void broadcast_source_destroy(BroadcastSource *source)
{
    poll_cancel(&source->poll);
    broadcast_source_drop(source, DROP_LINK_DOWN);
}

static BroadcastSource *longest_source(IpvlanPort *port)
{
    BroadcastSource *longest = port->sources.head->data;

    for (GList *l = port->sources.head->next; l; l = l->next) {
        BroadcastSource *s = l->data;

        if (s->packets.length > longest->packets.length) {
            longest = s;
        }
    }
    return longest;
}

/* True where there is room for one more of @source's frames. */
static bool backlog_make_room(BroadcastSource *source, const Packet *p)
{
    IpvlanPort *port = source->port;
    BroadcastSource *victim;

    if (port->backlog < IPVLAN_BACKLOG) {
        return true;
    }
    /* Not less than its share: no need to look who has more. */
    if (source->packets.length * port->sources.length >= IPVLAN_BACKLOG) {
        link_drop(source_link(source), p, DROP_BACKLOG);
        return false;
    }
    victim = longest_source(port);
    g_autoptr(Packet) lost = backlog_pop(victim, true);
    link_drop(source_link(victim), lost, DROP_BACKLOG);
    return true;
}

void ipvlan_defer(BroadcastSource *source, const Packet *p)
{
    if (!backlog_make_room(source, p)) {
        return;
    }
    link_trace(source_link(source), LINK_EVENT_DEFER, NULL, p);
    backlog_push(source, packet_hold(p));
}

/* A frame that is ours came back by way of a vepa switch: not to its sender. */
static IpvlanSlave *reflected_sender(const BroadcastSource *source,
                                     const Packet *p)
{
    IpvlanPort *port = source->port;

    if (source->slave || !mac_equal(packet_src_mac(p), port->mac)) {
        return source->slave;
    }
    return ipvlan_sender(port, p);
}

static bool wants(const IpvlanSlave *slave, const Packet *p,
                  const GroupFrame *g)
{
    const uint8_t *mac = packet_dst_mac(p);

    return slave->is_default || mac_is_broadcast(mac) ||
           (link_wants_group(slave->link, mac) && group_wants(slave, g));
}

static void deliver(IpvlanSlave *slave, const Packet *p, const GroupFrame *g)
{
    uint64_t taken = slave->link->stats.rx_packets;
    UNINITIALIZED Packet view;

    packet_view(&view, p);
    view.for_many = true;
    ipvlan_deliver(slave, &view);
    /* what waits for it may still be dropped */
    if (g->kind == GROUP_QUERY && slave->link->stats.rx_packets != taken) {
        group_asked(slave, g);
    }
}

/* Returns how many slaves got the frame. */
static unsigned fan_out(const BroadcastSource *source, const Packet *p)
{
    const IpvlanSlave *sender = reflected_sender(source, p);
    Link *lower = source->port->lower;
    GroupFrame g;
    unsigned n = 0;

    group_look(&g, source->port, p);
    for (GList *l = source->port->slaves.head; l; l = l->next) {
        IpvlanSlave *slave = l->data;

        if (slave != sender && wants(slave, p, &g)) {
            deliver(slave, p, &g);
            n++;
        }
    }
    lower->stats.made += n;
    link_absorb(lower, p);
    return n;
}

/* The budget counts deliveries, which are what takes the time. */
static unsigned broadcast_poll(Poll *poll, unsigned budget)
{
    BroadcastSource *source = poll_owner(poll, BroadcastSource, poll);
    unsigned done = 0;

    while (done < budget) {
        g_autoptr(Packet) p = backlog_pop(source, false);
        unsigned n;

        if (!p) {
            return done;
        }
        n = fan_out(source, p);
        done += MAX(n, 1) * poll_cost(p->len);
    }
    return done;
}
