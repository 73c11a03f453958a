#!/usr/bin/env python3
#
# Functional tests of -netdev ipvlan as a router: mode=l3; of prefixes, and of
# guests and their host, in every mode.  They need root.
#
# VLINK_GUEST names a directory with the guest's vmlinuz and initrd.img.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re

import ipvlan_routed
from ipvlan_frames import ether, is_from_to
from ipvlan_guest import IpvlanTest, ping_all
from ipvlan_intruder import PROGRAM, IntruderMixin
from ipvlan_routed import REACHABLE_PATIENCE
from ipvlan_tap import PORT_MAC
from ipvlan_topology import BESIDE, OUTSIDE, ROUTER, TopologyTest
from qemu_test import skipIfMissingCommands


@skipIfMissingCommands('ip', 'ping')
class L3(ipvlan_routed.RoutedCases):

    mode = 'l3'

    def test_gateway_changes_silently(self):
        """Nobody says that the gateway has another MAC: the port finds out."""
        one, two, new = self.change_gateway()
        self.assert_gateway_is(new, REACHABLE_PATIENCE)
        for target in OUTSIDE:
            two.assert_pings(target)


@skipIfMissingCommands('ip', 'ping')
class Ports(TopologyTest):
    """Two QEMUs on one link: each is the other's neighbour."""

    mode = 'l3'

    def launch_other(self, addrs):
        """The other QEMU, with one card; it has a MAC address of its own."""
        self.host.run('ip tuntap add dev tap1 mode tap vnet_hdr')
        self.host.run('ip link set tap1 up')
        self.host.run('ip link set tap1 master br0')
        vm = self.get_vm(name='other')
        self.add_guest(vm)
        vm.add_args('-netdev', 'tap,id=up0,ifname=tap1,script=no,'
                    'downscript=no')
        self.add_slaves(vm, [','.join(f'addr={addr}' for addr in addrs)],
                        'mode=l3', macs=['52:54:00:00:11:01'])
        with self.host:
            guest = self.boot(vm)
        card = self.card(guest, 0)
        card.addr, card.addr6 = card.addrs = addrs
        self.configure(card)
        return card

    def test_two_ports(self):
        one, = self.launch(slaves=('',), gateways=())
        two = self.launch_other(('192.0.2.20', '2001:db8:1::20'))
        self.make_blob(self.guest)
        for family in 0, 1:
            one.assert_pings(two.addrs[family])
            two.assert_pings(one.addrs[family])
            two.assert_pings(BESIDE[family])
            self.send_to_sibling(one, two, two.addrs[family])


@skipIfMissingCommands('ip', 'ping', 'cc')
class Intruders(IntruderMixin, TopologyTest):
    """A guest of l3 that does as it likes."""

    mode = 'l3'

    def test_not_ip(self):
        """Nothing that is not IP crosses, to whomever it is sent."""
        one, two = self.launch()
        one.assert_pings(two.addr)
        mark = b'neither IP nor ARP' * 4
        frames = [ether(dst, one.mac, ethertype, mark)
                  for dst in (PORT_MAC, two.mac, 'ff:ff:ff:ff:ff:ff',
                              '01:80:c2:00:00:00', '02:00:00:00:01:01')
                  for ethertype in (0x88cc, 0x8864, 0x0842)]
        self.inject(one, frames)
        one.assert_pings(two.addr)
        one.assert_pings(OUTSIDE[0])
        self.assertFalse([f for f in self.got(two) if mark in f.payload])
        self.assertFalse(self.sent(lambda f: mark in f.payload))
        self.assertEqual(self.drops('n0')['not-ip'], len(frames))

    def round_trips(self, card, target, count=30):
        """What a guest's pings take, in ms; each is answered."""
        output = card.check(f'ping -n -i 0.1 -c {count} -W 10 {target}')
        times = [float(ms) for ms in re.findall(r'time=([0-9.]+) ms', output)]
        self.assertEqual(len(times), count, output)
        return sorted(times)

    def test_unresolvable_flood(self):
        """Destinations that are not there cost other guests nothing."""
        one, two = self.launch(gateways=())
        for target in BESIDE:
            two.assert_pings(target)
        quiet = self.round_trips(two, BESIDE[0])

        # Both families, without a pause, until told to end.
        one.check('touch /tmp/flooding')
        for first in '10.99.0.1', '2001:db8:1::1:0':
            one.start(f'while test -e /tmp/flooding; do '
                      f'{PROGRAM} hosts {first} 5000; done')
        loud = self.round_trips(two, BESIDE[0])
        # Nor does whom nobody has asked for before.
        for i, target in enumerate(('192.0.2.200', '2001:db8:1::200')):
            self.beside.run(f'ip address add {target}/{(24, 64)[i]} dev eth0 '
                            + ('', 'nodad')[i])
            two.assert_pings(target)
        one.check('rm /tmp/flooding')

        drops = self.drops('n0')
        flood = (drops.get('no-neighbour', 0) + drops.get('neighbour-limit', 0)
                 + drops.get('neighbour-queue-full', 0))
        print(f'# unresolvable flood of {flood} packets: a sibling\'s ping '
              f'takes {quiet[15]:.1f} ms (longest {quiet[-1]:.1f}) without, '
              f'{loud[15]:.1f} ms (longest {loud[-1]:.1f}) with it')
        self.assertGreater(flood, 1000)
        self.assertNotIn('no-neighbour', self.drops('n1'))
        self.assertNotIn('neighbour-limit', self.drops('n1'))


@skipIfMissingCommands('ip', 'ping')
class Prefixes(TopologyTest):
    """A slave owns a subnet, and its guest routes it."""

    NET, NET6 = '10.1.0.0/24', '2001:db8:100::/48'
    NESTED = '10.1.0.9', '2001:db8:100::9'
    # another slave's, in the middle of these
    INNER = '10.1.0.7', '2001:db8:100::7'
    UNUSED = '10.1.0.200', '2001:db8:100:ffff::200'

    def nest(self, card):
        """Another machine behind this one; its addresses are NESTED."""
        self.guest.check(
            'modprobe veth && ip netns add nested && '
            f'ip -n {card.name} link add v0 type veth '
            'peer name eth0 netns nested && '
            f'ip -n {card.name} link set v0 up && '
            'ip -n nested link set eth0 up')
        card.check('echo 2 >/proc/sys/net/ipv6/conf/eth0/accept_ra && '
                   'echo 1 >/proc/sys/net/ipv4/ip_forward && '
                   'echo 1 >/proc/sys/net/ipv6/conf/all/forwarding && '
                   'ip address add 10.1.0.1/24 dev v0 && '
                   'ip address add 2001:db8:100::1/64 dev v0 nodad')
        self.guest.check(
            f'ip -n nested address add {self.NESTED[0]}/24 dev eth0 && '
            f'ip -n nested address add {self.NESTED[1]}/64 dev eth0 nodad && '
            'ip -n nested route add default via 10.1.0.1 && '
            'ip -n nested route add default via 2001:db8:100::1')

    def nested_pings(self, target):
        self.guest.check('ip netns exec nested '
                         f'ping -q -n -c 1 -W 10 {target}')

    def check_prefixes(self, mode):
        self.mode = mode
        routed = mode in ('l3', 'l3s')
        one, two = self.launch(
            slaves=[','.join(f'addr={addr}' for addr in (self.NET, self.NET6)),
                    ','.join(f'addr={addr}' for addr in self.INNER)],
            gateways=ROUTER if routed else (), configure=False)
        for card in one, two:
            if routed:
                self.configure(card)
                via = 'dev eth0', 'dev eth0'
            else:
                self.configure_on_link(card)
                via = f'via {one.addr}', f'via {one.addr6}'
        self.router.add_routes(self.NET, self.NET6, via)
        self.nest(one)
        two.check(f'ip address add {self.INNER[0]}/32 dev eth0 && '
                  f'ip -6 address add {self.INNER[1]}/128 dev eth0 nodad')

        for family in 0, 1:
            nested, inner = self.NESTED[family], self.INNER[family]
            self.outside.assert_pings(nested)
            self.nested_pings(OUTSIDE[family])
            two.assert_pings(nested, f'-I {two.addrs[family]}')
            self.nested_pings(two.addrs[family])
            # The longest match.
            self.outside.assert_pings(inner)
            self.assertFalse([f for f in self.got(one) if
                              is_from_to(f, OUTSIDE[family], inner)])
            # All of it is the guest's, also what it does not use.
            self.outside.ping(self.UNUSED[family], count=1, wait=1)
            self.assertTrue([f for f in self.got(one) if
                             is_from_to(f, OUTSIDE[family],
                                        self.UNUSED[family])])
        self.assertEqual(self.owned('n0')[self.NET], 'static')

    def test_l3(self):
        self.check_prefixes('l3')

    def test_l3s(self):
        self.check_prefixes('l3s')

    def test_l2_macnat(self):
        self.check_prefixes('l2-macnat')

    def test_l2(self):
        self.check_prefixes('l2')


@skipIfMissingCommands('ip', 'ping')
class Host(TopologyTest):
    """The tap is the host's own interface, and its guests are there."""

    # Nobody's own: the default slave's.
    REST = '203.0.113.5', '2001:db8:3::5'

    def build_network(self):
        self.host.add_addresses('tap0', *ROUTER)

    def check_host(self, mode):
        self.mode = mode
        routed = mode in ('l3', 'l3s')
        cards = self.launch(slaves=('', '', 'default=on,guard=off'),
                            gateways=ROUTER if routed else (),
                            configure=False)
        for card in cards:
            if routed:
                self.configure(card)
            else:
                self.configure_on_link(card)
        rest = cards[2]
        rest.check(f'ip address add {self.REST[0]}/32 dev eth0 && '
                   f'ip -6 address add {self.REST[1]}/128 dev eth0 nodad')
        self.host.add_routes('203.0.113.0/24', '2001:db8:3::/64',
                             (f'via {rest.addr}', f'via {rest.addr6}'))

        self.make_blob(self.guest)
        for family in 0, 1:
            for card in cards:
                self.host.assert_pings(card.addrs[family])
                card.assert_pings(ROUTER[family])
                self.send_to_host(card, ROUTER[family])
                self.send_from_host(card, card.addrs[family])
            self.host.assert_pings(self.REST[family])
            rest.assert_pings(ROUTER[family], f'-I {self.REST[family]}')
        ping_all(cards)
        self.assertNotIn(self.REST[0], self.owned('n2'))

    def test_l2(self):
        self.check_host('l2')

    def test_l2_macnat(self):
        self.check_host('l2-macnat')

    def test_l3(self):
        self.check_host('l3')

    def test_l3s(self):
        self.check_host('l3s')


if __name__ == '__main__':
    IpvlanTest.main()
