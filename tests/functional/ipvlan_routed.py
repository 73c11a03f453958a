# What -netdev ipvlan does as a router, with a filter and without: the cases
# that l3 and l3s have in common.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import struct
import time

from ipvlan_frames import (ARP, ICMP, IPV4, NEIGHBOUR_ADVERT, hops_left,
                           ip_destination, is_for_many, is_from_to, is_icmp,
                           is_ipv4, is_nd, pack_address)
from ipvlan_guest import assert_no_pings, wait_for
from ipvlan_tap import PORT_MAC
from ipvlan_topology import (BESIDE, NOBODY, OUTSIDE, PORT_ADDRESS,
                             PORT_LINK_LOCAL, ROUTER, TopologyTest)

# Longer than any wait for a neighbour: RFC 4861's 3 tries, a second apart,
# and for a busy host.
NEIGHBOUR_PATIENCE = 10

# How long an address that was reachable is thought to be so, at most
# (RFC 4861: 45 s), and then 5 s and 3 tries to find out that it is not.
REACHABLE_PATIENCE = 60

# The headers of an echo request in front of its data, IPv4 and IPv6.
PING_HEADERS = 28, 48


def is_arp_reply(frame, addr):
    return (frame.ethertype == ARP and
            struct.unpack_from('!H', frame.payload, 6)[0] == 2 and
            frame.payload[14:18] == pack_address(addr))


def is_advertisement(frame, addr):
    return (is_nd(frame) and frame.payload[40] == NEIGHBOUR_ADVERT and
            frame.payload[48:64] == pack_address(addr))


def is_fragment(frame):
    """Of IPv4, but not the last one."""
    return frame.ethertype == IPV4 and bool(frame.payload[6] & 0x20)


class RoutedCases(TopologyTest):

    # ---- who reaches whom ----

    def test_reach(self):
        """All reach all, with neither neighbours nor routes set up by hand."""
        one, two = self.launch()

        # The port answers for guests that nobody has heard of.
        for machine in self.router, self.outside:
            for card in one, two:
                for addr in card.addrs:
                    machine.assert_pings(addr)
        for card in one, two:
            self.assertTrue(self.sent(lambda f: is_arp_reply(f, card.addr)))
            self.assertTrue(self.sent(
                lambda f: is_advertisement(f, card.addr6)))
            for target in ROUTER + OUTSIDE + BESIDE:
                card.assert_pings(target)
            # The router's questions were not for the guests to hear.
            self.assertFalse([f for f in self.got(card)
                              if f.ethertype == ARP and is_for_many(f)])

        for family in 0, 1:
            one.assert_pings(two.addrs[family])
            two.assert_pings(one.addrs[family])
            # What siblings say to each other is nobody's business.
            self.assertFalse(self.sent(
                lambda f: is_from_to(f, one.addrs[family],
                                     two.addrs[family])))

        # The port takes nothing from the hop limit.
        for target in OUTSIDE:
            requests = self.sent(lambda f: is_icmp(f) and
                                 ip_destination(f) == pack_address(target))
            self.assertTrue(requests)
            for frame in requests:
                self.assertEqual(hops_left(frame), 64)

    def test_on_link(self):
        """A guest that thinks it is on the router's link comes as far."""
        one, two = self.launch(configure=False)
        for card in one, two:
            self.configure_on_link(card)
            for target in ROUTER + OUTSIDE + BESIDE:
                card.assert_pings(target)
            for addr in card.addrs:
                self.beside.assert_pings(addr)
        for family in 0, 1:
            one.assert_pings(two.addrs[family])
        # Everybody is the port.
        neighbours = one.check('ip neighbour show dev eth0')
        for target in ROUTER + BESIDE[:1] + two.addrs:
            self.assertIn(f'{target} lladdr {PORT_MAC}', neighbours)

    def test_tcp(self):
        """TCP loses nothing on any way, and siblings exchange segments."""
        one, two = self.launch()
        self.make_blob(self.guest)
        for family in 0, 1:
            self.send_to_host(one, OUTSIDE[family], self.outside)
            self.send_from_host(two, two.addrs[family], self.outside)
            before = len(self.got(two))
            self.send_to_sibling(one, two, two.addrs[family])
            frames = self.got(two)[before:]
            self.assertGreater(max(len(f.payload) for f in frames), 20000)

    def test_no_gateway(self):
        """Without a gateway= everybody is on the uplink's link, or nowhere."""
        one, two = self.launch(gateways=())
        for card in one, two:
            for target in BESIDE + ROUTER:
                card.assert_pings(target)
            for addr in card.addrs:
                self.beside.assert_pings(addr)
        self.make_blob(self.guest)
        for family in 0, 1:
            self.send_to_host(one, BESIDE[family], self.beside)
            self.send_from_host(two, two.addrs[family], self.beside)
        one.assert_no_ping(OUTSIDE[0])

    def test_router_advertisement(self):
        """It gives a guest a router and no address."""
        one, = self.launch(slaves=('',))
        self.assertIn('proto ra', one.check('ip -6 route show default'))
        found = one.check('ip -6 -o address show dev eth0 scope global')
        self.assertEqual(len(found.split('\n')), 1, found)
        self.assertIn(one.addr6, found)
        one.assert_pings(OUTSIDE[1])

    def test_no_router_advertisement(self):
        """ra=off: there is no answer to who asks for a router."""
        one, = self.launch(port=',ra=off', slaves=('',), configure=False)
        one.check(f'ip -6 address add {one.addr6}/128 dev eth0 nodad')
        # The guest asks again when nobody answers.
        one.wait_for("awk '/Icmp6OutRouterSolicits/ { exit $2 < 2 }' "
                     '/proc/net/snmp6')
        self.assertEqual(one.check('ip -6 route show default'), '')
        one.check(f'ip -6 route add default via {PORT_LINK_LOCAL} dev eth0')
        one.assert_pings(OUTSIDE[1])

    def test_no_proxy_arp(self):
        """proxy-arp=off: nobody hears of the guests from the port."""
        one, = self.launch(port=',proxy-arp=off', slaves=('',))
        for addr in one.addrs:
            self.router.assert_no_ping(addr)
        for addr in one.addrs:
            self.router.run(f'ip neighbour replace {addr} dev eth0 '
                            f'lladdr {PORT_MAC}')
            self.router.assert_pings(addr)
            self.outside.assert_pings(addr)
        for target in OUTSIDE:
            one.assert_pings(target)
        self.assertFalse(self.sent(lambda f: is_arp_reply(f, one.addr)))
        self.assertFalse(self.sent(lambda f: is_advertisement(f, one.addr6)))

    def test_nothing_else_crosses(self):
        """Neither broadcast nor multicast, in neither direction."""
        one, two = self.launch()
        marks = []
        for sender, targets in (
                (one, ('255.255.255.255', '224.0.0.251', 'ff02::1%eth0',
                       'ff0e::1234')),
                (self.router, ('192.0.2.255', '224.0.0.251', 'ff02::1%eth0',
                               'ff0e::1234'))):
            for target in targets:
                mark = f'6e6f{len(marks):02x}'
                marks.append(bytes.fromhex(mark) * 6)
                broadcast = '-b' if target.endswith('255') else ''
                sender.try_run('ping -q -n -c 3 -i 0.05 -W 1 '
                               f'-p {mark} {broadcast} -I eth0 {target}')
        # What comes after them has come, so they would have.
        for target in OUTSIDE:
            one.assert_pings(target)
            two.assert_pings(target)
        for mark in marks:
            for card in one, two:
                self.assertFalse([f for f in self.got(card)
                                  if mark in f.payload])
            self.assertFalse(self.sent(lambda f: mark in f.payload))
        self.assertGreaterEqual(self.drops('n0')['not-routed'], 12)
        self.assertIn('not-routed', self.drops())

    # ---- flags ----

    def test_private(self):
        """Siblings do not reach each other, not even by the router."""
        one, two = self.launch(port=',flag=private')
        for card in one, two:
            for target in OUTSIDE:
                card.assert_pings(target)
            for addr in card.addrs:
                self.outside.assert_pings(addr)
        assert_no_pings([one], two.addrs)
        assert_no_pings([two], one.addrs)
        self.assertGreater(self.drops('n0')['private'], 0)
        self.assertGreater(self.drops('n1')['private'], 0)

    def test_vepa(self):
        """Siblings meet at the router, which sends back what is for them."""
        one, two = self.launch(port=',flag=vepa')
        for family in 0, 1:
            one.assert_pings(two.addrs[family])
            requests = [f for f in list(self.capture.received)
                        if is_from_to(f, one.addrs[family],
                                      two.addrs[family])]
            self.assertTrue(requests)
            for frame in requests:
                self.assertEqual(hops_left(frame), 63)
        two.assert_pings(OUTSIDE[0])

    # ---- how far it is, and how much gets through ----

    def test_traceroute(self):
        """The router is the first hop that is seen, the port is none."""
        one, = self.launch(slaves=('',))
        for family, program in enumerate(('traceroute', 'traceroute6')):
            output = one.check(f'{program} -n -q 2 -w 10 -m 5 '
                               f'{OUTSIDE[family]}')
            hops = [line.split()[1] for line in output.split('\n')[1:]]
            self.assertEqual(hops, [ROUTER[family], OUTSIDE[family]], output)

        # The other way it takes as many: with one too few, the router says so.
        for addr in one.addrs:
            output = self.outside.try_run(f'ping -n -c 1 -W 10 -t 1 {addr}')
            self.assertIn('exceeded', output)
            self.outside.assert_pings(addr, '-t 2')

    def pings_of_size(self, machine, target, length, options='-M do'):
        """Ping with packets of @length bytes."""
        size = length - PING_HEADERS[':' in target]
        machine.assert_pings(target, f'{options} -s {size}')

    def test_path_mtu_of_router(self):
        """A smaller link behind the router; its errors reach the guest."""
        one, two = self.launch()
        self.router.run('ip link set eth1 mtu 1400')
        self.outside.run('ip link set eth0 mtu 1400')

        for target, router in zip(OUTSIDE, ROUTER):
            output = self.fail_to_ping(one, target, '-M do -s 1450')
            self.assertIn(f'From {router} ', output)
            self.assertRegex(output, 'mtu ?= ?1400')
            self.pings_of_size(one, target, 1400)
        # A sender finds out by itself.
        self.make_blob(self.guest)
        for family in 0, 1:
            self.send_to_host(two, OUTSIDE[family], self.outside)
            self.send_from_host(two, two.addrs[family], self.outside)

    def test_path_mtu_of_port(self):
        """mtu=: who sends more is told so by the port."""
        one, two = self.launch(port=',mtu=1400')
        for card in one, two:
            card.check('ip link set eth0 mtu 9000')

        # Who wants them cut gets them cut.
        self.pings_of_size(one, OUTSIDE[0], 3000, '-M dont')
        pieces = self.sent(lambda f: is_ipv4(f, ICMP, one.addr, OUTSIDE[0]))
        self.assertTrue([f for f in pieces if is_fragment(f)])
        self.assertLessEqual(max(len(f.payload) for f in pieces), 1400)

        for target in OUTSIDE:
            output = self.fail_to_ping(one, target, '-M do -s 3000')
            self.assertRegex(output, 'mtu ?= ?1400')
            self.pings_of_size(one, target, 1400)
        self.assertGreaterEqual(self.drops('n0')['too-big'], 2)

        # To a sibling it is not far.
        for addr in two.addrs:
            self.pings_of_size(one, addr, 9000)
        self.make_blob(self.guest)
        for family in 0, 1:
            self.send_to_host(two, OUTSIDE[family], self.outside)
            self.send_from_host(two, two.addrs[family], self.outside)
            self.send_to_sibling(two, one, one.addrs[family])
        for frame in self.sent(lambda f: is_ipv4(f, ICMP)):
            self.assertLessEqual(len(frame.payload), 1400)

    def test_fragments(self):
        """Datagrams in pieces arrive, from guests and at guests."""
        one, two = self.launch()
        for family in 0, 1:
            one.assert_pings(OUTSIDE[family], '-s 5000')
            one.assert_pings(two.addrs[family], '-s 5000')
            self.outside.assert_pings(two.addrs[family], '-s 5000')
        # The guest has made these, and these the port.
        one.check('ip link set eth0 mtu 9000')
        one.assert_pings(OUTSIDE[0], '-M dont -s 5000')
        for frame in self.sent(lambda f: is_ipv4(f, ICMP)):
            self.assertLessEqual(len(frame.payload), 1500)

    # ---- neighbours ----

    def test_neighbour_failure(self):
        """Who is not there is said not to be, and found when he comes."""
        one, two = self.launch(gateways=())
        for target, said in zip(NOBODY, ('Destination Host Unreachable',
                                         'Address unreachable')):
            start = time.monotonic()
            output = self.fail_to_ping(one, target)
            self.assertLess(time.monotonic() - start, NEIGHBOUR_PATIENCE)
            self.assertIn(said, output)
            if ':' not in target:
                self.assertIn(f'From {PORT_ADDRESS} ', output)
        self.assertGreaterEqual(self.drops('n0')['no-neighbour'], 2)

        self.beside.add_addresses('eth0', *NOBODY)
        for target in NOBODY:
            one.assert_pings(target)
            two.assert_pings(target)

    def test_gateway_failure(self):
        """The same for the gateway; when it is back, all goes on."""
        one, = self.launch(slaves=('',))
        self.host.run('ip link set router down')
        output = self.fail_to_ping(one, OUTSIDE[0])
        self.assertIn('Destination Host Unreachable', output)
        output = self.fail_to_ping(one, OUTSIDE[1])
        self.assertIn('Address unreachable', output)
        self.host.run('ip link set router up')
        for target in OUTSIDE:
            one.assert_pings(target)

    def change_gateway(self):
        """Give the router another MAC address while a guest pings."""
        one, two = self.launch()
        for target in OUTSIDE:
            two.assert_pings(target)
            one.start(f'ping -n -i 0.2 {target}')
        new = '02:00:00:00:77:01'
        self.router.run(f'ip link set eth0 address {new}')
        return one, two, new

    def assert_gateway_is(self, mac, patience):
        start = time.monotonic()
        for target in OUTSIDE:
            wait_for(lambda: self.sent(
                lambda f: f.dst == mac and
                ip_destination(f) == pack_address(target)),
                f'a ping of {target} to go to {mac}', patience)
        return time.monotonic() - start

    def test_gateway_announces_change(self):
        """A gateway that says that it has another MAC is believed."""
        self.router.set('ipv4/conf/eth0/arp_notify', 1)
        self.router.set('ipv6/conf/eth0/ndisc_notify', 1)
        _, two, new = self.change_gateway()
        self.assert_gateway_is(new, NEIGHBOUR_PATIENCE)
        for target in OUTSIDE:
            two.assert_pings(target)

    def test_gateway_asks_after_change(self):
        """And one that asks for a guest has said so by that."""
        _, two, new = self.change_gateway()
        for addr in two.addrs:
            self.router.assert_pings(addr)
        self.assert_gateway_is(new, NEIGHBOUR_PATIENCE)
        for target in OUTSIDE:
            two.assert_pings(target)

    def test_duplicate_addresses(self):
        """Nobody has an address but its owner."""
        one, two = self.launch()

        def probe(addr):
            """Whether somebody says that he has @addr."""
            status, output = one.run(f'arping -D -q -c 2 -w 2 -I eth0 {addr}')
            return status != 0

        self.assertFalse(probe(NOBODY[0]))
        self.assertFalse(probe(one.addr))
        self.assertFalse(probe(ROUTER[0]))
        self.assertTrue(probe(two.addr))

        one.check(f'ip -6 address add {NOBODY[1]}/128 dev eth0; '
                  f'ip -6 address add {two.addr6}/128 dev eth0')
        one.wait_for('ip -6 address show dev eth0 dadfailed | '
                     f'grep -q {two.addr6}')
        one.wait_for('ip -6 address show dev eth0 -tentative | '
                     f'grep -q {NOBODY[1]}/')
        self.assertNotIn('dadfailed', one.check(
            f'ip -6 address show dev eth0 to {NOBODY[1]}'))
        # It has it to itself, and may not use it.
        one.assert_no_ping(OUTSIDE[1], f'-I {NOBODY[1]}')
        for target in OUTSIDE:
            two.assert_pings(target)
