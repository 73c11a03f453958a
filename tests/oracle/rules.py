# Where we differ from Linux on purpose, one rule for each difference.
#
# A rule is a predicate over one difference: it says what Linux did, what we did
# instead, and of which frames and configurations that is expected.  The two
# sentences of each are a row of "Where this differs from Linux's ipvlan" in
# docs/system/devices/ipvlan.rst.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from collections import namedtuple

import ipvlan_frames as frames
from driver import known
from facts import SOLICIT, is_link_local, is_ownable, read_frame
from model import HOST, PORT_MAC, WIRE
from outcome import completed, is_foreign, is_group

Rule = namedtuple('Rule', 'name linux here matches')
RULES = []


def rule(name, linux, here):
    """Makes of a predicate the next rule."""
    def add(matches):
        RULES.append(Rule(name, linux, here, matches))
        return matches
    return add


class Difference:
    """A frame of which Linux made something else than we did."""

    def __init__(self, situation, linux, ours, drops):
        self.situation, self.config = situation, situation.config
        self.frame, self.source = situation.frame, situation.source
        self.linux, self.ours, self.drops = linux, ours, drops
        self.facts = read_frame(self.frame)

    # ---- who is who ----

    @property
    def is_from_slave(self):
        return self.source != WIRE

    @property
    def slaves(self):
        return set(self.config.addrs)

    @property
    def siblings(self):
        return self.slaves - {self.source}

    def owner(self, addr):
        return self.situation.owners.get(addr)

    @property
    def owner_of_destination(self):
        """The slave that the frame is for, or None."""
        return self.owner(self.facts.destination)

    @property
    def sender(self):
        """The slave that sent what came back; of a probe, who has probed."""
        f = self.facts
        if not f.is_probe:
            return self.owner(f.src)
        return next((name for name in self.config.addrs
                     if self.situation.probed.get(name) == f.destination),
                    None)

    @property
    def client(self):
        """The slave that has asked the DHCP server whose answer this is."""
        f = self.facts
        if f.dhcp != 'reply' or f.dhcp_client != frames.mac_bytes(PORT_MAC):
            return None
        return next((name for name in self.config.addrs
                     if self.situation.asked.get(name) == f.dhcp_xid), None)

    @property
    def owner_as_linux_sees(self):
        """Of the source; who searches for a duplicate has none but that."""
        f = self.facts
        return self.owner(f.target if f.src == '::' else f.src)

    @property
    def is_for_many(self):
        return is_group(self.frame)

    @property
    def is_from_port_mac(self):
        return self.frame[6:12] == frames.mac_bytes(PORT_MAC)

    @property
    def is_to_port_mac(self):
        return self.frame[:6] == frames.mac_bytes(PORT_MAC)

    # ---- what was done ----

    def went(self, outcome, frame, who):
        """
        Everybody of @who got @frame once, and nobody else did.  In l2 both MAC
        addresses stay as they are on the wire.
        """
        return (sorted(one.who for one in outcome) == sorted(who) and
                all(one.body == frame[12:] and
                    (one.who != WIRE or self.config.is_l3 or
                     one.macs == frame[:12]) for one in outcome))

    def linux_went(self, *who):
        return self.went(self.linux, self.frame, who)

    def ours_went(self, *who):
        return self.went(self.ours, self.frame, who) and not self.drops

    def we_dropped(self, reason):
        return not self.ours and self.drops == [reason]

    def linux_flooded(self):
        """As broadcast: to all slaves but the sender, and to the other side."""
        return self.linux_went(*self.siblings, WIRE if self.is_from_slave
                               else HOST)


# ---- what is wrong in any mode ----

@rule('malformed',
      'malformed frames are passed on',
      'they are dropped and counted: ``truncated``, ``bad-header``, '
      '``bad-fragment``')
def malformed(d):
    return (d.facts.fault in ('truncated', 'bad-header', 'bad-fragment') and
            d.we_dropped(d.facts.fault))


@rule('bad-source',
      'the source MAC address is not looked at',
      'what comes from a group\'s or from none is dropped (``bad-source``)')
def bad_source(d):
    return d.facts.fault == 'bad-source' and d.we_dropped('bad-source')


@rule('foreign-mac',
      'the source MAC address of a slave is not looked at',
      'in ``l2`` only the master\'s is let out (``foreign-mac``)')
def foreign_mac(d):
    return (d.config.mode == 'l2' and d.is_from_slave and
            not d.facts.fault and not d.is_from_port_mac and
            d.we_dropped('foreign-mac'))


@rule('not-owned',
      'the source address of a slave is not looked at',
      'what another slave owns cannot be used as a source (``not-owned``)')
def not_owned(d):
    return (d.is_from_slave and not d.facts.fault and
            any(d.owner(addr) not in (None, d.source)
                for addr in d.facts.claims) and d.we_dropped('not-owned'))


@rule('to-itself',
      'what a slave sends to its own address comes back to it',
      'it is dropped (``to-itself``)')
def to_itself(d):
    return (d.is_from_slave and d.owner_of_destination == d.source and
            d.linux_went(d.source) and d.we_dropped('to-itself'))


# ---- l2 ----

@rule('broadcast-by-flag',
      '``private`` and ``vepa`` let broadcast between slaves through',
      'they hold for broadcast as well')
def broadcast_by_flag(d):
    if not (d.config.mode == 'l2' and d.is_from_slave and d.is_for_many and
            d.config.flag != 'bridge' and d.linux_flooded()):
        return False
    if d.config.flag == 'private' and \
            d.owner_of_destination not in (None, d.source):
        return d.we_dropped('private')
    return d.ours_went(WIRE)


@rule('default-hears-broadcast',
      'slaves\' broadcast does not go to the host',
      'the default slave gets it as any sibling')
def default_hears_broadcast(d):
    return (d.config.mode == 'l2' and d.is_from_slave and d.is_for_many and
            d.config.flag == 'bridge' and
            d.owner_of_destination in (None, d.source) and
            d.linux_flooded() and d.ours_went(*d.siblings, WIRE, HOST))


@rule('owner-alone',
      'an ARP request is broadcast to all slaves',
      'one whose target is owned goes to its owner alone, and so do a '
      'neighbour solicitation, and a packet with a group\'s MAC address but an '
      'owned destination')
def owner_alone(d):
    owner = d.owner_of_destination
    if not (d.config.mode == 'l2' and d.is_for_many and
            owner not in (None, d.source) and d.linux_flooded()):
        return False
    if d.is_from_slave:
        return d.config.flag == 'bridge' and d.ours_went(owner)
    return not d.is_from_port_mac and d.ours_went(owner)


@rule('dhcp-client',
      'a DHCP server\'s answer goes where its addresses say',
      'it goes to the client that has asked, and to nobody else')
def dhcp_client(d):
    reflected = (d.is_for_many and d.is_from_port_mac and
                 d.config.flag != 'vepa')
    return (d.config.mode == 'l2' and not d.is_from_slave and
            not reflected and (d.is_for_many or d.is_to_port_mac) and
            d.client is not None and d.ours_went(d.client))


@rule('tags',
      'VLAN-tagged frames between slaves bypass the address lookup, and '
      '``private``; of two tags only the first is looked through',
      'up to two tags are looked through')
def tags(d):
    owner = d.owner_of_destination
    if not (d.config.mode == 'l2' and d.facts.tags and d.is_to_port_mac and
            owner):
        return False
    if not d.linux_went(owner if d.facts.tags == 1 else HOST):
        return False
    if owner == d.source:
        return d.we_dropped('to-itself')
    if d.is_from_slave and d.config.flag == 'private':
        return d.we_dropped('private')
    return d.facts.tags == 2 and d.ours_went(owner)


@rule('icmpv6-from-nobody',
      'ICMPv6 from ``::`` that is no solicitation is not looked up, and goes '
      'to the host',
      'it goes to the owner of its destination')
def icmpv6_from_nobody(d):
    owner = d.owner_of_destination
    if d.config.mode != 'l2' and (d.config.mode != 'l3' or d.is_from_slave):
        return False
    if not (d.facts.is_icmpv6 and d.facts.src == '::' and
            d.facts.nd_type != SOLICIT and
            d.is_to_port_mac and owner and d.linux_went(HOST)):
        return False
    if owner == d.source:
        return d.we_dropped('to-itself')
    if d.is_from_slave and d.config.flag == 'private':
        return d.we_dropped('private')
    return d.ours_went(owner)


@rule('reflected-broadcast',
      'broadcast of our own that a switch reflects goes to the host, and to '
      'all slaves unless a slave owns its source address',
      'it is dropped (``reflected``)')
def reflected_broadcast(d):
    if not (d.config.mode == 'l2' and not d.is_from_slave and
            d.is_for_many and d.is_from_port_mac and
            d.config.flag != 'vepa' and d.we_dropped('reflected')):
        return False
    return d.linux_went(HOST) if d.owner_as_linux_sees else \
        d.linux_flooded()


@rule('vepa-reflected-broadcast',
      'with ``vepa``, broadcast of a slave that a switch reflects goes to the '
      'host alone, as slaves had it before',
      'it goes to all slaves but its sender, or to the owner of its '
      'destination')
def vepa_reflected_broadcast(d):
    if not (d.config.mode == 'l2' and not d.is_from_slave and
            d.is_for_many and d.is_from_port_mac and
            d.config.flag == 'vepa'):
        return False
    sender, owner = d.sender, d.owner_of_destination
    if not (d.linux_went(HOST) if d.owner_as_linux_sees else
            d.linux_flooded()):
        return False
    if owner and owner != sender:
        return d.ours_went(owner)
    return d.ours_went(*(d.slaves - {sender}), HOST)


# ---- l3 and l3s ----

@rule('l3-resolution',
      'in ``l3`` and ``l3s`` ARP and neighbour discovery go the way of '
      'packets: to a slave, which ignores them, to the host, or out',
      'the port answers them, and they end there')
def l3_resolution(d):
    if not (d.config.is_l3 and d.facts.is_resolution and not d.facts.tags and
            not d.facts.fault and not d.ours):
        return False
    return d.drops == [] or (d.is_from_slave and d.facts.kind == 'nd' and
                             d.drops == ['not-routed'])


@rule('l3-not-ip',
      'in ``l3`` and ``l3s`` what is not IP goes to the host, and what is '
      'tagged to its owner',
      'neither crosses (``not-ip``)')
def l3_not_ip(d):
    return (d.config.is_l3 and not d.facts.fault and
            (d.facts.tags or d.facts.kind == 'other') and
            d.we_dropped('not-ip'))


@rule('l3-reflected',
      'in ``l3`` and ``l3s`` a packet of our own that a switch reflects goes '
      'to the owner of its destination, or to the host',
      'it is dropped (``reflected``), but unicast with ``vepa``')
def l3_reflected(d):
    return (d.config.is_l3 and not d.is_from_slave and d.is_from_port_mac and
            (d.is_for_many or d.config.flag != 'vepa') and
            d.we_dropped('reflected'))


@rule('l3-for-many',
      'in ``l3`` and ``l3s`` broadcast and multicast of the uplink go to the '
      'host; what has a group\'s MAC address and an owned destination to its '
      'owner',
      'they do not cross (``not-routed``)')
def l3_for_many(d):
    return (d.config.is_l3 and d.facts.is_ip and d.is_for_many and
            d.we_dropped('not-routed'))


@rule('l3-odd-address',
      'in ``l3`` and ``l3s`` link-local, multicast, loopback and unspecified '
      'addresses of a slave\'s packet are looked up as others',
      'such packets do not cross (``not-routed``)')
def l3_odd_address(d):
    if not (d.config.is_l3 and d.is_from_slave and d.facts.is_ip and
            d.we_dropped('not-routed')):
        return False
    return (not is_ownable(d.facts.src) or is_link_local(d.facts.src) or
            not is_ownable(d.facts.ip_dst) or
            is_link_local(d.facts.ip_dst))


@rule('l3-length',
      'in ``l3`` and ``l3s`` the host sends a packet with its length, and '
      'IPv4\'s checksum, written anew: padding becomes a part of it',
      'a packet leaves as it was sent')
def l3_length(d):
    other = completed(d.frame)
    return (d.config.is_l3 and d.is_from_slave and
            other not in (None, d.frame) and
            d.went(d.linux, other, [WIRE]) and d.ours_went(WIRE) and
            [one.macs for one in d.linux] == [one.macs for one in d.ours])


@rule('l3-any-mac',
      'in ``l3`` and ``l3s`` a sibling ignores what was not sent to the '
      'master\'s MAC address',
      'a guest\'s destination MAC address is not looked at')
def l3_any_mac(d):
    owner = d.owner_of_destination
    return (d.config.is_l3 and d.is_from_slave and is_foreign(d.frame) and
            owner is not None and not d.linux and d.ours_went(owner))


@rule('l3s-host-first',
      'in ``l3s`` the uplink\'s packets go through the host\'s IP first: it '
      'puts fragments together, and drops what has a wrong checksum, a cut '
      'ICMP header or an impossible source',
      'the guest does so')
def l3s_host_first(d):
    facts, owner = d.facts, d.owner_of_destination
    return (d.config.mode == 'l3s' and not d.is_from_slave and facts.is_ip and
            owner is not None and not d.linux and d.ours_went(owner) and
            (facts.is_fragment or facts.bad_checksum or facts.cut_icmp or
             not is_ownable(facts.src)))


def explain(difference):
    """
    The rule that says so, or None: also where Linux did something that it is
    not known to do.
    """
    if difference.linux not in known(difference.situation):
        return None
    for one in RULES:
        if one.matches(difference):
            return one
    return None
