#!/usr/bin/env python3
#
# Functional tests of -netdev ipvlan with virtual machines in other processes
# as slaves: stock QEMUs, which know nothing of it.
#
# VLINK_GUEST names a directory with the guest's vmlinuz and initrd.img.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import signal
import socket
import struct

from ipvlan_frames import (ARP, BROADCAST, IPV4, arp, ether, parse_frame, udp)
from ipvlan_guest import assert_no_pings, ping_all, wait_for
from ipvlan_peers import PeersTest, StreamPeer
from ipvlan_tap import HOST, PORT_MAC, Capture, WatchedTapTest
from ipvlan_topology import Machine
from qemu_test import skipIfMissingCommands

TAP = 'tap,id=up0,ifname=tap0,script=no,downscript=no'


@skipIfMissingCommands('ip', 'dnsmasq')
class IpvlanPeersOnTap(PeersTest, WatchedTapTest):

    def make_host(self):
        return Machine(self, 'host')

    def launch_switch(self, slaves, port=f'mac={PORT_MAC}'):
        self.capture = Capture(self.host, 'tap0')
        self.add_switch(self.vm, TAP)
        self.add_stream_slaves(self.vm, slaves, port)
        with self.host:
            self.vm.launch()

    def is_up(self, name):
        return self.slave(name)['link-up']

    def wait_down(self, name):
        wait_for(lambda: not self.is_up(name), f'{name} to be down')

    def test_three_processes(self):
        """A switch and two stock machines, of which one is not well."""
        self.give_address()
        self.serve_dhcp()
        self.launch_switch(['', ''])
        # from when somebody listens, which is a moment later
        self.wait_down('n0')
        self.wait_down('n1')

        (_, one), (vm, two) = map(self.boot_stock_guest, (0, 1))
        cards = one, two
        self.assertEqual(len({card.lease() for card in cards}), 2)
        for card in cards:
            self.assertTrue(self.is_up(card.name))
            self.assertEqual(self.owned(card.name)[card.addr], 'dhcp')
            self.assertEqual(self.slave(card.name)['mac'], card.mac)
            card.assert_pings(HOST)
            self.host.assert_pings(card.addr)
            self.make_blob(card.guest)
            self.send_to_host(card)
            self.send_from_host(card, card.addr)
        ping_all(cards)
        one.assert_pings(two.link_local())
        self.send_to_sibling(one, two, two.addr)
        self.send_to_sibling(two, one, one.addr)

        # Who does not read fills its own queue, and nobody else waits.
        lease, dropped = two.addr, self.drops('n0')
        os.kill(vm.get_pid(), signal.SIGSTOP)
        self.flood(one, two)
        one.assert_pings(HOST)
        self.send_to_host(one)
        self.send_from_host(one, one.addr)
        self.assertEqual(self.drops('n0'), dropped)

        # It dies in the midst of a frame, and another one takes its place.
        vm.kill()
        self.wait_down('n1')
        self.assertEqual(self.owned('n1')[lease], 'dhcp')
        assert_no_pings([one], [lease])
        self.assertGreater(self.drops('n1')['link-down'], 0)
        _, two = self.boot_stock_guest(1, 'again')
        self.assertTrue(self.is_up('n1'))
        self.assertEqual(two.lease(), lease)
        two.assert_pings(HOST)
        one.assert_pings(two.addr)
        self.host.assert_pings(two.addr)
        self.make_blob(two.guest)
        self.send_to_sibling(two, one, one.addr)

    def flood(self, card, target):
        """Until there is no room for what is sent to @target."""
        pid = card.start(f'ping -q -f -s 1400 {target.addr}')
        wait_for(lambda: self.drops(target.name), 'a full queue')
        card.check(f'kill {pid}')


class IpvlanPeersBesideCards(PeersTest):

    def test_dgram(self):
        """A machine joins those that the switch has inside."""
        self.add_guest(self.vm)
        self.vm.add_args('-netdev', 'user,id=up0',
                         '-netdev', self.dgram('here', 'there') + ',id=sock')
        self.add_slaves(self.vm, ['', '', 'netdev=sock'], cards=[0, 1])
        there = self.add_stock_guest(2, self.dgram('there', 'here'), 'there')

        cards = self.cards(self.boot(self.vm), 2)
        cards.append(self.card(self.boot(there), 2))
        self.assertEqual(len({card.lease() for card in cards}), 3)
        self.assertEqual(self.slave('n2')['mac'], cards[2].mac)
        ping_all(cards)
        for one, two in (0, 2), (2, 0):
            self.make_blob(cards[one].guest)
            self.send_to_sibling(cards[one], cards[two], cards[two].addr)

        # The other end may go; this one does not mind.
        there.shutdown()
        cards[0].assert_no_ping(cards[2].addr)
        cards[0].assert_pings(cards[1].addr)


MAC = ['52:54:00:00:00:01', '52:54:00:00:00:02']
ADDR = ['192.0.2.10', '192.0.2.11']
OUTSIDE, OUTSIDE_MAC = '192.0.2.1', '52:54:00:00:ee:ee'

BAD_STREAMS = {
    'longer than any frame': b'\xff\xff\xff\xff' + bytes(80000),
    'a little too long': struct.pack('!I', 70000) + bytes(70000),
    'nothing': bytes(4) * 100,
    'one byte': (b'\0\0\0\1x') * 100,
    'no whole header': (struct.pack('!I', 13) + bytes(13)) * 100,
    'half a length': b'\0\0',
    'half a frame': struct.pack('!I', 1000) + bytes(500),
    'noise': bytes(i * i * 7919 >> 5 & 0xff for i in range(100000)),
}


def frame_to(dst_mac, src_mac, src, dst, data=b'data', port=9):
    return ether(dst_mac, src_mac, IPV4, udp(src, dst, 1000, port, data))


def has(data):
    """For what a test is waiting for, among whatever else comes."""
    return lambda frame: frame.endswith(data)


class IpvlanPeers(PeersTest):
    """Machines that are made of Python."""

    def launch_switch(self, slaves, port='', args=()):
        """A switch with a machine as each slave, and one as the uplink."""
        self.add_switch(self.vm, 'stream,id=up0,server=on,addr.type=unix,'
                        f'addr.path={self.socket_path("up0")}')
        self.add_stream_slaves(self.vm, slaves, port or f'mac={PORT_MAC}')
        self.vm.add_args(*args)
        self.vm.launch()
        self.uplink = self.connect('up0')
        return [self.connect(f'n{i}') for i in range(len(slaves))]

    def connect(self, name):
        peer = StreamPeer(self.socket_path(name))
        self.addCleanup(peer.close)
        wait_for(lambda: self.link(name)['link-up'], f'{name} to be up')
        return peer

    def link(self, name):
        return self.port() if name == 'up0' else self.slave(name)

    def wait_down(self, name):
        wait_for(lambda: not self.link(name)['link-up'], f'{name} to be down')

    def send_in(self, i, data, count=1):
        """From outside to the slave n<i>."""
        self.uplink.send(*[frame_to(PORT_MAC, OUTSIDE_MAC, OUTSIDE, ADDR[i],
                                    data)] * count)

    def send_out(self, peer, i, data):
        peer.send(frame_to(OUTSIDE_MAC, MAC[i], ADDR[i], OUTSIDE, data))

    def assert_talks(self, peer, i, what):
        """Both ways, with outside."""
        self.send_out(peer, i, b'out ' + what)
        self.uplink.receive(has(b'out ' + what))
        self.send_in(i, b'in ' + what)
        peer.receive(has(b'in ' + what))

    def ask_router(self, peer, i):
        """The port's answer; it learns the MAC address of who asks."""
        peer.send(ether(BROADCAST, MAC[i], ARP,
                        arp(1, MAC[i], ADDR[i], OUTSIDE)))
        reply = peer.receive(lambda f: parse_frame(f).ethertype == ARP)
        self.assertEqual(parse_frame(reply).dst, MAC[i])

    def test_come_and_go(self):
        """Who does not read, who goes, and who comes in its place."""
        slow, well = self.launch_switch(['', ''])
        for i, peer in enumerate((slow, well)):
            self.assert_talks(peer, i, b'at first')

        while not self.drops('n0'):
            self.send_in(0, bytes(1400), 100)
            self.assert_talks(well, 1, b'meanwhile')
        self.assertEqual(self.drops('n1'), {})
        slow.close()
        self.wait_down('n0')
        self.assertEqual(self.owned('n0'), {ADDR[0]: 'ip'})
        before = self.drops('n0')['link-down']
        self.send_in(0, b'lost')
        wait_for(lambda: self.drops('n0')['link-down'] > before, 'a drop')

        again = self.connect('n0')
        self.send_in(0, b'first')
        # what was on its way to the other one is not for this one
        self.assertTrue(again.receive().endswith(b'first'))
        self.assert_talks(again, 0, b'again')
        self.assert_talks(well, 1, b'again')

        # The uplink goes, and all who stand on it are down.
        self.uplink.close()
        self.wait_down('n0')
        self.wait_down('n1')
        self.uplink = self.connect('up0')
        self.assert_talks(again, 0, b'at last')
        self.assert_talks(well, 1, b'at last')

    def test_bad_streams(self):
        """Lengths that lie, and connections that break in the midst."""
        bad, well = self.launch_switch(['', ''])
        self.assert_talks(well, 1, b'at first')
        for name, stream in BAD_STREAMS.items():
            self.log.info('%s', name)
            with bad.socket as connection:
                # QEMU may close it before it has read all
                try:
                    connection.sendall(stream)
                    connection.shutdown(socket.SHUT_WR)
                except (BrokenPipeError, ConnectionResetError):
                    pass
            self.wait_down('n0')
            bad = self.connect('n0')
            self.assert_talks(well, 1, name.encode())
            self.assert_talks(bad, 0, name.encode())

    def test_link_up_of_nobody(self):
        """set_link does not make a connection."""
        self.launch_switch(['', ''])[0].close()
        self.wait_down('n0')
        self.vm.cmd('set_link', name='s0', up=True)
        self.assertTrue(self.slave('n0')['link-up'])
        self.send_in(0, b'to nobody')
        self.assert_talks(self.connect('n0'), 0, b'again')

    def test_clock(self):
        """Timers run although there is neither machine nor processor."""
        one, two = self.launch_switch(
            [f'addr={ADDR[0]},tx-bps=800000,burst=2000', f'addr={ADDR[1]}'],
            f'mac={PORT_MAC},mode=l3,gateway={OUTSIDE}')
        self.ask_router(two, 1)
        # The gateway is asked for three times, and does not answer.
        one.send(frame_to(PORT_MAC, MAC[0], ADDR[0], '198.51.100.1', b'lost'))
        asked = self.uplink.receive(lambda f: parse_frame(f).ethertype == ARP)
        self.assertEqual(parse_frame(asked).dst, BROADCAST)
        wait_for(lambda: self.drops('n0').get('no-neighbour'),
                 'nobody to answer')
        # 50 kB at 100 kB/s
        for i in range(50):
            one.send(frame_to(PORT_MAC, MAC[0], ADDR[0], ADDR[1],
                              b'%04d' % i + bytes(956)))
        for i in range(50):
            two.receive(lambda f: f[42:46] == b'%04d' % i)

    def test_filter(self):
        """l3s between two other processes."""
        rule = ('ipvlan-rule,id=r0,master=up0,match=udp dst port 80,'
                'action=accept')
        one, two = self.launch_switch(
            [f'addr={addr}' for addr in ADDR],
            f'mac={PORT_MAC},mode=l3s,policy=drop', ['-object', rule])
        self.ask_router(two, 1)
        for port, data in (9, b'refused'), (80, b'accepted'):
            one.send(frame_to(PORT_MAC, MAC[0], *ADDR, data, port))
        self.assertTrue(two.receive(
            lambda f: parse_frame(f).ethertype == IPV4).endswith(b'accepted'))
        self.assertEqual(self.drops('n0'), {'filter': 1})

    def test_stop(self):
        """What is stopped passes nothing, and loses nothing."""
        one, two = self.launch_switch(['', ''])
        self.assert_talks(one, 0, b'at first')
        self.vm.cmd('stop')
        self.send_out(one, 0, b'held')
        self.send_in(0, b'held')
        idle = self.slave('n0')['addresses'][0]['idle']
        self.vm.cmd('cont')
        self.uplink.receive(has(b'held'))
        one.receive(has(b'held'))
        self.assertLessEqual(self.slave('n0')['addresses'][0]['idle'], idle)


if __name__ == '__main__':
    PeersTest.main()
