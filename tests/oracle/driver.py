# What Linux's ipvlan is known to do with a frame.
#
# No rule explains what is not here: where Linux does something new, or its
# outcome was recorded wrongly, that is seen.  The engine decides, not this; it
# is written from what Linux's drivers/net/ipvlan does, and checked by 6.1.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import struct

import ipvlan_frames as frames
from model import GATEWAY, HOST, OUTSIDE, PORT_MAC, WIRE, family
from outcome import (HEADER, Got, completed, ethertype, is_foreign, is_group,
                     without_tags)

VLAN_TYPES = (0x8100, 0x88a8)
ICMPV6, SOLICIT = 58, 135


def at(data, where, length):
    """Bytes, or None where there are not so many."""
    part = data[where:where + length]
    return part if len(part) == length else None


class Driver:

    def __init__(self, situation):
        self.config, self.source = situation.config, situation.source
        self.frame = situation.frame
        self.owners = {frames.pack_address(addr): name
                       for addr, name in situation.owners.items()}

    # ---- whose is it? ----

    def lookup(self, frame, destination=True, outgoing=False):
        """
        The slave that owns the address.  What a slave sends is measured with
        its Ethernet header, so that its packet may end earlier.
        """
        packet = frame[HEADER:]
        room = len(packet) + (HEADER if outgoing else 0)
        read = {frames.ARP: self.arp_address, frames.IPV4: self.ip4_address,
                frames.IPV6: self.ip6_address}.get(ethertype(frame))
        address = read(packet, room, destination) if read else None
        return self.owners.get(address)

    @staticmethod
    def arp_address(packet, _, destination):
        if len(packet) < 28:
            return None
        return at(packet, 24 if destination else 14, 4)

    @staticmethod
    def ip4_address(packet, room, destination):
        if len(packet) < 20:
            return None
        header, total = (packet[0] & 15) * 4, \
            struct.unpack_from('!H', packet, 2)[0]
        if packet[0] >> 4 != 4 or header < 20 or not header <= total <= room:
            return None
        return at(packet, 16 if destination else 12, 4)

    @staticmethod
    def ip6_address(packet, _, destination):
        if len(packet) < 40 or packet[0] >> 4 != 6:
            return None
        if not any(packet[8:24]) and packet[6] == ICMPV6:
            # From nobody: it is for its target, or for nobody.
            if len(packet) > 40 and packet[40] == SOLICIT:
                return at(packet, 48, 16)
            return None
        return at(packet, 24 if destination else 8, 16)

    # ---- who gets it ----

    def all(self, who):
        return sorted(Got(name, b'' if name != WIRE else self.frame[:12],
                          self.frame[12:]) for name in who)

    def stack(self, who):
        """A slave's or the host's: not what is for another MAC address."""
        return [] if is_foreign(self.frame) else self.all([who])

    def untagged(self):
        """As the master gets it: the outermost tag has been taken off."""
        if ethertype(self.frame) not in VLAN_TYPES:
            return self.frame
        return next(without_tags(self.frame), None)

    def receive(self):
        """On the master, from the wire or from a slave."""
        frame = self.untagged()
        if frame is None:
            return [[]]
        if self.config.mode == 'l3s':
            return self.receive_l3s(frame)
        if self.config.mode == 'l2' and is_group(frame):
            ours = frame[6:12] == frames.mac_bytes(PORT_MAC)
            if ours and self.lookup(frame, destination=False):
                return [self.all([HOST])]
            return [self.all([HOST, *self.config.addrs])]
        owner = self.lookup(frame)
        return [self.stack(owner or HOST)]

    def receive_l3s(self, frame):
        """
        The host's IP may have something against it first.  It takes a search
        for a duplicate where it has joined the group that this is sent to.
        """
        packet = self.frame[HEADER:]
        address = {frames.IPV4: at(packet, 16, 4),
                   frames.IPV6: at(packet, 24, 16)}.get(
                       ethertype(self.frame))
        owner = self.owners.get(address)
        if owner:
            return [self.stack(owner), []]
        owner = self.lookup(frame)
        if owner and ethertype(self.frame) == frames.IPV6:
            return [self.stack(owner), self.stack(HOST)]
        return [self.stack(HOST)]

    def send(self):
        """From a slave."""
        frame, config = self.frame, self.config
        if config.is_l3:
            return self.send_l3()
        if config.flag != 'vepa' and frame[:6] == frame[6:12]:
            owner = self.lookup(frame, outgoing=True)
            if owner:
                return [[] if config.flag == 'private' else
                        self.stack(owner)]
            return self.receive()
        if is_group(frame):
            return [self.all([*set(config.addrs) - {self.source}, WIRE])]
        return [self.all([WIRE])]

    def send_l3(self):
        owner = self.lookup(self.frame, outgoing=True)
        if owner and self.config.flag != 'vepa':
            return [[] if self.config.flag == 'private' else
                    self.stack(owner)]
        if is_group(self.frame):
            return [[]]
        out = self.routed()
        # The host's IP may have something against it.
        return [out, []] if out else [[]]

    def routed(self):
        """As it leaves by the host's IP."""
        packet = self.frame[HEADER:]
        frame = completed(self.frame)
        if frame is None:
            return None
        dst = frames.address_text(at(packet, 16, 4)
                                  if ethertype(frame) == frames.IPV4 else
                                  at(packet, 24, 16))
        macs = self.next_hop(dst) + frames.mac_bytes(PORT_MAC)
        return [Got(WIRE, macs, frame[12:])]

    def next_hop(self, dst):
        if dst.startswith('ff'):
            return frames.mac_bytes(frames.group_mac(dst))
        hop = GATEWAY[family(dst)] if self.config.gateway else dst
        if self.config.flag == 'vepa' and \
                frames.pack_address(hop) in self.owners:
            return frames.mac_bytes(PORT_MAC)
        return frames.mac_bytes(OUTSIDE.get(hop, PORT_MAC))


def known(situation):
    """What may come of a frame in Linux: lists of Gots."""
    driver = Driver(situation)
    return driver.receive() if situation.source == WIRE else driver.send()
