#!/usr/bin/env python3
#
# Functional tests of the guards of -netdev ipvlan: a guest that tries to be
# somebody else, and another one that is not to notice.  They need root.
#
# VLINK_GUEST names a directory with the guest's vmlinuz and initrd.img.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re
import struct

from ipvlan_frames import (ALL_NODES, ARP, BROADCAST, IPV4, IPV6,
                           NEIGHBOUR_ADVERT, REDIRECT, advertise_neighbour,
                           advertise_router, arp, ether, group_mac, icmp,
                           is_nd, lladdr_option, mac_bytes, pack_address,
                           ping_request, udp)
from ipvlan_guest import IpvlanTest
from ipvlan_intruder import IntruderMixin
from ipvlan_topology import (NOBODY, OUTSIDE, ROUTER, TopologyTest,
                             guest_address)
from qemu_test import skipIfMissingCommands

MARK = b'this is from a hostile guest'
FOREIGN_MAC = '52:54:00:00:00:ff'
FOREIGN_LOCAL = 'fe80::bad:1'


def is_marked(frame):
    return MARK in frame.payload


def advertised(frame):
    """The target of a neighbour advertisement, packed; or None."""
    if is_nd(frame) and frame.payload[40] == NEIGHBOUR_ADVERT:
        return frame.payload[48:64]
    return None


class GuardTest(IntruderMixin, TopologyTest):
    """The card n0 is hostile, n1 is not."""

    # The default: addr= turns it on.
    guard = ''

    def setUp(self):
        super().setUp()
        routed = self.mode == 'l3'
        self.bad, self.good = self.launch(
            slaves=(self.guard, ''),
            gateways=ROUTER if routed else (), configure=False)
        for card in self.bad, self.good:
            self.configure_on_link(card)
            for target in ROUTER:
                card.assert_pings(target)
        for addr in self.good.addrs:
            self.bad.assert_pings(addr)
        self.local = self.bad.link_local()
        # To whom it sends: as who does not know better, and as who does.
        self.router_mac = self.mac_of(ROUTER[0])
        self.good_mac = self.mac_of(self.good.addr)
        self.vm.get_qmp_events()

    def mac_of(self, addr):
        return self.bad.check(f'ip neighbour show {addr} dev eth0').split()[2]

    def to_all(self, ethertype, payload, src=None, group=BROADCAST, tags=0):
        """@payload to the router, to the sibling, and to everybody."""
        return [ether(dst, src or self.bad.mac, ethertype, payload, tags)
                for dst in (self.router_mac, self.good_mac, group)]

    def assert_refused(self, frames, *reasons, is_forged=is_marked,
                       is_forged_inside=None, address=None):
        """Nobody gets these frames, and all are counted under @reasons."""
        before = self.drops('n0')
        self.inject(self.bad, frames)
        # The hostile guest, too, is heard of when it behaves.
        for card in self.bad, self.good:
            for target in OUTSIDE:
                card.assert_pings(target)
        for addr in self.good.addrs:
            self.bad.assert_pings(addr)
            self.outside.assert_pings(addr)

        drops = self.drops('n0')
        refused = {reason: count - before.get(reason, 0)
                   for reason, count in drops.items()
                   if count > before.get(reason, 0)}
        self.assertEqual(sum(refused.get(reason, 0) for reason in reasons),
                         len(frames), refused)
        self.assertFalse(list(filter(is_forged_inside or is_forged,
                                     self.got(self.good))))
        self.assertFalse(self.sent(is_forged))

        # not-owned is told of by an event of its own.
        to_tell = {reason for reason in refused if reason.startswith('guard')}
        told = set()
        while not told.issuperset(to_tell):
            event = self.vm.event_wait('IPVLAN_GUARD', 10)
            self.assertTrue(event, f'told of {told}, not of {refused}')
            data = event['data']
            self.assertEqual(data['slave'], 'n0')
            told.add(data['reason'])
            if address and data['reason'] == reasons[0]:
                self.assertEqual(data['address'], address)
        # Nobody complains about who behaves.
        self.assertFalse([reason for reason in self.drops('n1')
                          if reason.startswith('guard')])


class AsSomebodyElse:
    """What every guard forbids."""

    def check_source(self, src, dst, ethertype, *reasons):
        frames = (self.to_all(ethertype, ping_request(src, dst, MARK)) +
                  self.to_all(ethertype, udp(src, dst, 5000, 5001, MARK)))
        self.assert_refused(frames, *reasons, address=src)

    def test_ipv4_source(self):
        self.check_source(NOBODY[0], OUTSIDE[0], IPV4, 'guard-source')

    def test_ipv6_source(self):
        self.check_source(NOBODY[1], OUTSIDE[1], IPV6, 'guard-source')

    def test_other_link_local_source(self):
        """Link-local, and not of its MAC address."""
        self.check_source(FOREIGN_LOCAL, guest_address(1)[1], IPV6,
                          'guard-source')

    def test_sibling_source(self):
        """What a sibling owns."""
        for src, dst, ethertype in zip(self.good.addrs, OUTSIDE, (IPV4, IPV6)):
            self.check_source(src, dst, ethertype, 'not-owned')

    def test_arp_sender(self):
        """It is not the gateway, nor anybody but itself."""
        frames = []
        for sender in ROUTER[0], NOBODY[0]:
            for operation, target in ((1, self.good.addr), (1, sender),
                                      (2, self.good.addr), (2, sender)):
                frames += self.to_all(ARP, arp(operation, self.bad.mac, sender,
                                               target))
        senders = [pack_address(addr) for addr in (NOBODY[0], ROUTER[0])]
        self.assert_refused(
            frames, 'guard-arp',
            is_forged=lambda f: (f.ethertype == ARP and
                                 f.payload[14:18] in senders),
            # The router itself, or the port for it, may say so.
            is_forged_inside=lambda f: (f.ethertype == ARP and
                                        f.payload[14:18] == senders[0]))
        neighbours = self.good.check(f'ip neighbour show {ROUTER[0]} dev eth0')
        self.assertIn(self.router_mac, neighbours)
        self.assertNotIn(NOBODY[0],
                         self.good.check('ip neighbour show dev eth0'))

    def test_neighbour_advertisement(self):
        """It does not advertise the router."""
        frames = []
        for src in self.bad.addr6, self.local:
            for target in ROUTER[1], NOBODY[1], FOREIGN_LOCAL:
                for dst in self.good.addr6, ALL_NODES:
                    frames += self.to_all(
                        IPV6, advertise_neighbour(src, dst, target,
                                                  self.bad.mac),
                        group=group_mac(ALL_NODES))
        targets = [pack_address(addr)
                   for addr in (NOBODY[1], FOREIGN_LOCAL, ROUTER[1])]
        self.assert_refused(
            frames, 'guard-nd',
            is_forged=lambda f: advertised(f) in targets,
            is_forged_inside=lambda f: advertised(f) in targets[:2])
        neighbours = self.good.check(f'ip neighbour show {ROUTER[1]} dev eth0')
        self.assertIn(self.router_mac, neighbours)

    def test_second_mac(self):
        """One card is one MAC address: in frames, in ARP and in ND."""
        frames = []
        for src, dst, ethertype in zip(self.bad.addrs, OUTSIDE, (IPV4, IPV6)):
            frames += self.to_all(ethertype, ping_request(src, dst, MARK),
                                  FOREIGN_MAC)
        frames += self.to_all(ARP, arp(1, FOREIGN_MAC, self.bad.addr,
                                       self.good.addr))
        frames += self.to_all(
            IPV6, advertise_neighbour(self.bad.addr6, ALL_NODES,
                                      self.bad.addr6, FOREIGN_MAC),
            group=group_mac(ALL_NODES))
        foreign = mac_bytes(FOREIGN_MAC)
        self.assert_refused(
            frames, 'guard-mac', 'foreign-mac',
            is_forged=lambda f: (is_marked(f) or f.src == FOREIGN_MAC or
                                 foreign in f.payload))

    def test_three_tags(self):
        """Behind more tags than can be looked through nothing is allowed."""
        frames = self.to_all(IPV4, ping_request(NOBODY[0], self.good.addr,
                                                MARK), tags=3)
        self.assert_refused(frames, 'guard-tags')


class AsServer:
    """What only servers and routers send, with addresses of its own."""

    guard = 'guard=strict'

    def test_dhcp_server(self):
        offer = struct.pack('!BBBBIHH4x4s4s4x', 2, 1, 6, 0, 0x1234, 0, 0,
                            pack_address(NOBODY[0]),
                            pack_address(self.bad.addr))
        offer += bytes.fromhex(self.good.mac.replace(':', '')).ljust(16, b'\0')
        offer += MARK.ljust(192, b'\0') + bytes.fromhex('63825363350102ff')
        frames = []
        for dst in '255.255.255.255', self.good.addr:
            frames += self.to_all(IPV4, udp(self.bad.addr, dst, 67, 68, offer))
        advertise = b'\x02abc' + MARK
        for dst in self.good.addr6, ALL_NODES:
            for src in self.bad.addr6, self.local:
                frames += self.to_all(IPV6, udp(src, dst, 547, 546, advertise),
                                      group=group_mac(ALL_NODES))
        self.assert_refused(frames, 'guard-dhcp')

    def test_router_advertisement(self):
        frames = self.to_all(IPV6, advertise_router(self.local, self.bad.mac),
                             group=group_mac(ALL_NODES))
        # And the older one, ICMP's.
        frames += self.to_all(IPV4, icmp(
            self.bad.addr, '224.0.0.1', 9, 0,
            struct.pack('!BBH4sI', 1, 2, 1800, pack_address(self.bad.addr),
                        0x7fffffff) + MARK), group=group_mac('224.0.0.1'))
        self.assert_refused(frames, 'guard-ra')
        # The real routers' may come at any time.
        routers = re.findall(r'via (\S+)',
                             self.good.check('ip -6 route show default'))
        self.assertTrue(routers)
        self.assertNotIn(self.local, routers)

    def test_redirect(self):
        quoted = ping_request(self.good.addr, OUTSIDE[0], MARK)
        frames = self.to_all(IPV4, icmp(
            self.bad.addr, self.good.addr, 5, 1,
            pack_address(self.bad.addr) + quoted))
        # The option that quotes what is redirected is padded to 8 bytes.
        quoted = struct.pack('!BB6x', 4, 5) + MARK.ljust(32, b'\0')
        for src in self.bad.addr6, self.local:
            frames += self.to_all(IPV6, icmp(
                src, self.good.addr6, REDIRECT, 0, bytes(4) +
                pack_address(self.bad.addr6) + pack_address(OUTSIDE[1]) +
                lladdr_option(2, self.bad.mac) + quoted))
        self.assert_refused(frames, 'guard-redirect')


COMMANDS = 'ip', 'ping', 'cc'


@skipIfMissingCommands(*COMMANDS)
class GuardL2(AsSomebodyElse, GuardTest):
    mode = 'l2'


@skipIfMissingCommands(*COMMANDS)
class GuardL2Macnat(AsSomebodyElse, GuardTest):
    mode = 'l2-macnat'


@skipIfMissingCommands(*COMMANDS)
class GuardL3(AsSomebodyElse, GuardTest):
    mode = 'l3'


@skipIfMissingCommands(*COMMANDS)
class StrictGuardL2(AsServer, GuardTest):
    mode = 'l2'


@skipIfMissingCommands(*COMMANDS)
class StrictGuardL2Macnat(AsServer, GuardTest):
    mode = 'l2-macnat'


@skipIfMissingCommands(*COMMANDS)
class StrictGuardL3(AsServer, GuardTest):
    mode = 'l3'


if __name__ == '__main__':
    IpvlanTest.main()
