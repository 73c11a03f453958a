#!/usr/bin/env python3
#
# Functional tests of -netdev ipvlan with a tap as the uplink, in a network
# namespace that nobody else sees.  They need root.
#
# VLINK_GUEST names a directory with the guest's vmlinuz and initrd.img.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import socket
import struct
import time

from ipvlan_frames import (BROADCAST, ICMP, UDP, internet_checksum, is_ipv4,
                           is_nd)
from ipvlan_guest import IpvlanTest, assert_no_pings, ping_all, wait_for
from ipvlan_tap import HOST, PORT_MAC, Capture, WatchedTapTest
from qemu_test import skipIfMissingCommands


def is_dhcp_reply(frame):
    return is_ipv4(frame, UDP) and frame.payload[20:24] == b'\0\x43\0\x44'


@skipIfMissingCommands('ip', 'bridge', 'dnsmasq')
class IpvlanTap(WatchedTapTest):

    def add_bridge(self):
        """A switch that reflects to tap0 what came from there."""
        self.interface = 'br0'
        self.host.run('ip link add br0 type bridge')
        self.host.run('ip link set tap0 master br0')
        self.host.run('bridge link set dev tap0 hairpin on')
        self.host.run('ip link set br0 up')
        self.give_address()

    def launch(self, slaves=('', '', ''), port='', macs=None, dump=False):
        """Boot a guest with a card for each slave behind tap0.

        With @dump, what a slave hands to its card is in a file.
        """
        self.capture = Capture(self.host, 'tap0')
        self.add_guest(self.vm)
        self.vm.add_args('-netdev', 'tap,id=up0,ifname=tap0,script=no,'
                         'downscript=no')
        self.add_slaves(self.vm, slaves, f'mac={PORT_MAC}' + port, macs=macs)
        if dump:
            self.add_dumps(len(slaves))
        with self.host:
            guest = self.boot(self.vm)
        return self.cards(guest, len(slaves))

    def host_pings(self, target, count=3, wait=10):
        """Whether the host gets an answer to each of @count pings."""
        v6 = ':' in target
        family, protocol = ((socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6
                            else (socket.AF_INET, socket.IPPROTO_ICMP))
        request, reply = (128, 129) if v6 else (8, 0)
        if target.startswith('fe80:'):
            target += '%' + self.interface
        with self.host:
            sock = socket.socket(family, socket.SOCK_RAW, protocol)
            where = socket.getaddrinfo(target, None, family,
                                       socket.SOCK_DGRAM)[0][4]
        with sock:
            return all(self.host_ping(sock, where, request, reply, i, wait)
                       for i in range(count))

    @staticmethod
    def host_ping(sock, where, request, reply, sequence, wait):
        body = struct.pack('!HH', os.getpid() & 0xffff, sequence) + b'ping'
        message = struct.pack('!BBH', request, 0, 0) + body
        checksum = internet_checksum(message)
        deadline = time.monotonic() + wait
        sock.sendto(struct.pack('!BBH', request, 0, checksum) + body, where)
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                data, source = sock.recvfrom(65536)
            except TimeoutError:
                break
            # IPv4 shows its header, IPv6 does not.
            if sock.family == socket.AF_INET:
                data = data[20:]
            if (data[0] == reply and data[4:] == body and
                    source[0] == where[0]):
                return True
        return False

    # ---- one MAC address for all ----

    def test_three_guests(self):
        """Leases by broadcast, and the host reaches everybody."""
        self.give_address()
        self.serve_dhcp()
        cards = self.launch()

        self.assertEqual(len({card.lease() for card in cards}), 3)
        for card in cards:
            self.assertEqual(self.owned(card.name)[card.addr], 'dhcp')
            card.assert_pings(HOST)
            self.assertTrue(self.host_pings(card.addr), card.addr)
            self.assertTrue(self.host_pings(card.link_local()), card.name)
        ping_all(cards)

        # So that there is something for check_wire() to look at.
        self.assertTrue(any(is_nd(f) for f in self.capture.sent))
        self.assertTrue(any(f.ethertype == 0x0806 for f in self.capture.sent))

        replies = [f for f in self.capture.received if is_dhcp_reply(f)]
        self.assertGreaterEqual(len(replies), 6)
        for reply in replies:
            self.assertEqual(reply.dst, BROADCAST)
        # What siblings say to each other is nobody's business.
        for frame in self.capture.sent:
            if is_ipv4(frame, ICMP):
                self.assertTrue(is_ipv4(frame, ICMP, dst=HOST), frame)

    def test_address_changes(self):
        """The host finds a guest that has moved to another address."""
        self.give_address()
        one, two = self.launch(['', ''])

        one.set_address('192.0.2.10/24')
        one.assert_pings(HOST)
        self.assertTrue(self.host_pings('192.0.2.10'))
        one.check('ip address del 192.0.2.10/24 dev eth0')
        one.set_address('192.0.2.11/24')
        one.assert_pings(HOST)
        self.assertTrue(self.host_pings('192.0.2.11'))
        self.assertFalse(self.host_pings('192.0.2.10', 1, 1))
        self.assertEqual(self.owned('n0')['192.0.2.11'], 'arp')

        # Nobody has told the port of this one before somebody asks for it.
        two.set_address('192.0.2.12/24')
        self.assertNotIn('192.0.2.12', self.owned('n1'))
        self.assertTrue(self.host_pings('192.0.2.12'))
        self.assertEqual(self.owned('n1')['192.0.2.12'], 'arp')

    def test_duplicate_address(self):
        """Who comes second is refused, and does not disturb the first."""
        self.give_address()
        one, two = self.launch(['', ''])
        one.set_address('192.0.2.10/24')
        two.set_address('192.0.2.11/24')
        one.assert_pings(HOST)
        two.assert_pings(HOST)

        two.check('ip address add 192.0.2.10/24 dev eth0')
        two.assert_no_ping(HOST, '-I 192.0.2.10')
        self.assertGreater(self.drops('n1')['not-owned'], 0)
        self.assertGreater(self.slave('n1')['contested'], 0)
        one.assert_pings(HOST)
        self.assertTrue(self.host_pings('192.0.2.10'))
        self.assertIn('192.0.2.10', self.owned('n0'))
        self.assertNotIn('192.0.2.10', self.owned('n1'))
        two.assert_pings(HOST, '-I 192.0.2.11')

        # IPv6 asks before, and is told.
        taken = one.link_local()
        self.assertTrue(self.host_pings(taken))
        two.check(f'ip address add {taken}/64 dev eth0')
        two.wait_for('ip -6 address show dev eth0 dadfailed | '
                     f'grep -q {taken}')
        self.assertIn(taken, self.owned('n0'))
        self.assertTrue(self.host_pings(taken))

        # When the first one has gone, its address is for who uses it.
        self.vm.cmd('netdev_del', id='n0')
        two.assert_pings(HOST, '-I 192.0.2.10')
        self.assertIn('192.0.2.10', self.owned('n1'))

    def test_same_mac(self):
        """mode=l2: all guests have the port's MAC, addresses tell them."""
        self.give_address()
        self.serve_dhcp()
        cards = self.launch(port=',mode=l2', macs=[PORT_MAC] * 3)

        for i, card in enumerate(cards):
            self.assertEqual(card.mac, PORT_MAC)
            card.set_address(f'192.0.2.{10 + i}/24')
            card.assert_pings(HOST)
        for card in cards:
            self.assertTrue(self.host_pings(card.addr), card.addr)
        ping_all(cards)

        # A server tells them by their client identifiers.
        for i, card in enumerate(cards):
            card.check('ip address flush dev eth0 scope global')
            card.lease(f'-C -x 0x3d:0076{i:02x}')
        self.assertEqual(len({card.addr for card in cards}), 3)
        for card in cards:
            self.assertEqual(self.owned(card.name)[card.addr], 'dhcp')
            card.assert_pings(HOST)
            self.assertTrue(self.host_pings(card.addr), card.addr)

    def test_wrong_mac(self):
        """mode=l2 refuses a guest with a MAC of its own, and says so."""
        self.give_address()
        one, two = self.launch(['', ''], port=',mode=l2',
                               macs=[PORT_MAC, '52:54:00:00:00:02'])
        one.set_address('192.0.2.10/24')
        two.set_address('192.0.2.11/24')
        one.assert_pings(HOST)
        two.assert_no_ping(HOST)
        self.assertGreater(self.drops('n1')['foreign-mac'], 0)
        self.vm.shutdown()
        said = self.vm.get_log()
        for word in 'n1', '52:54:00:00:00:02', PORT_MAC, 'l2-macnat':
            self.assertIn(word, said)

    # ---- who gets what ----

    def test_vepa(self):
        """Siblings meet at the switch, which reflects."""
        self.add_bridge()
        cards = self.launch(port=',flag=vepa', dump=True)
        for i, card in enumerate(cards):
            card.set_address(f'192.0.2.{10 + i}/24')
            card.assert_pings(HOST)
            self.assertTrue(self.host_pings(card.addr), card.addr)

        ping_all(cards)
        for one in cards:
            for two in cards:
                if one is not two:
                    for way in self.capture.sent, self.capture.received:
                        self.assertTrue(any(is_ipv4(f, ICMP, one.addr,
                                                    two.addr) for f in way))

        # Broadcast comes back, too, and everybody else gets it, once.
        cards[0].run('ping -q -b -c 3 -i 0.1 -W 1 192.0.2.255')

        def seen(card):
            return len([f for f in self.got(card)
                        if is_ipv4(f, ICMP, dst='192.0.2.255')])
        for card in cards[1:]:
            wait_for(lambda: seen(card) >= 3, 'the broadcast', 10)
            self.assertEqual(seen(card), 3)
        self.assertEqual(seen(cards[0]), 0)

        # Without the reflection there is no way.
        self.host.run('bridge link set dev tap0 hairpin off')
        cards[0].assert_no_ping(cards[1].addr)
        cards[0].assert_pings(HOST)

    def test_private(self):
        """Not even a switch that reflects brings siblings together."""
        self.add_bridge()
        cards = self.launch(port=',flag=private', dump=True)
        for i, card in enumerate(cards):
            card.set_address(f'192.0.2.{10 + i}/24')
        # Nobody has said a word yet: the first one's question goes out of the
        # uplink, and comes back.
        cards[0].assert_no_ping(cards[1].addr)
        for card in cards:
            card.assert_pings(HOST)
        addrs = [card.addr for card in cards]
        assert_no_pings(cards, addrs)
        # Those who think to know their neighbours' addresses do no better.
        for card in cards:
            for addr in addrs:
                if addr != card.addr:
                    card.check(f'ip neighbour replace {addr} dev eth0 '
                               f'lladdr {PORT_MAC}')
        assert_no_pings(cards, addrs)
        cards[0].run('ping -q -b -c 3 -i 0.1 -W 1 192.0.2.255')
        for card in cards:
            self.assertTrue(self.host_pings(card.addr), card.addr)
            self.assertGreater(self.drops(card.name)['private'], 0)
        self.assertGreater(self.drops()['reflected'], 0)
        # Nothing that a card was given came from a sibling.
        others = {card.mac for card in cards} | {PORT_MAC}
        for card in cards:
            self.assertFalse([f for f in self.got(card) if f.src in others])

    def test_default(self):
        """default=on gets what no slave owns, and who owns it, his."""
        self.give_address()
        one, two, rest = self.launch([
            'addr=192.0.2.10', 'addr=192.0.2.11',
            'learn=off,default=on'])
        for i, card in enumerate((one, two, rest)):
            card.set_address(f'192.0.2.{10 + i}/24')
        rest.check('ip address add 192.0.2.99/24 dev eth0')

        for addr in '192.0.2.10', '192.0.2.11', '192.0.2.12', '192.0.2.99':
            self.assertTrue(self.host_pings(addr), addr)
        self.assertEqual(self.owned('n2'), {})
        self.assertTrue(self.slave('n2')['default'])
        rest.assert_pings(HOST, '-I 192.0.2.99')
        one.assert_pings('192.0.2.99')
        rest.assert_pings('192.0.2.11')

        # Without it, nobody is there to get these.
        self.vm.cmd('netdev_del', id='n2')
        self.assertFalse(self.host_pings('192.0.2.99', 1, 1))
        self.assertTrue(self.host_pings('192.0.2.10'))
        self.assertGreater(self.drops()['no-owner'], 0)

    # ---- troubles ----

    def test_tap_down(self):
        """An uplink that was down is used again."""
        self.give_address()
        one, two = self.launch(['', ''])
        one.set_address('192.0.2.10/24')
        two.set_address('192.0.2.11/24')
        one.assert_pings(HOST)
        two.assert_pings(HOST)

        for _ in range(2):
            self.host.run('ip link set tap0 down')
            one.assert_no_ping(HOST)
            one.assert_pings(two.addr)
            self.host.run('ip link set tap0 up')
            wait_for(lambda: one.ping(HOST, count=1, wait=1), 'the uplink')
            for card in one, two:
                card.assert_pings(HOST)
                self.assertTrue(self.host_pings(card.addr))


if __name__ == '__main__':
    IpvlanTest.main()
