#!/usr/bin/env python3
#
# -netdev ipvlan under live migration, and in a machine that is saved to a file
# and goes on from there.
#
# There are two machines on one switch, as two hosts would be: "there", where
# the guest is, and "here", to where it goes.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re
import socket
import struct
import threading
import time

from ipvlan_frames import (ARP, NEIGHBOUR_ADVERT, hardware_addresses,
                           internet_checksum, is_nd, pack_address)
from ipvlan_guest import PATIENCE, wait_for
from ipvlan_tap import HOST, Capture, IpvlanTapTest
from qemu_test import skipIfMissingCommands

# Of the guest's cards: two slaves, and one that has a tap for itself.
ADDRESSES = '192.0.2.10', '192.0.2.11', '192.0.2.12'

RARP = 0x8035


def is_announcement(frame, addr):
    """RFC 5227's, or RFC 4861's, unasked."""
    packed = pack_address(addr)
    if ':' in addr:
        return (is_nd(frame) and frame.payload[40] == NEIGHBOUR_ADVERT and
                not frame.payload[44] & 0x40 and
                frame.payload[48:64] == packed)
    return (frame.ethertype == ARP and frame.payload[14:18] == packed and
            frame.payload[24:28] == packed)


class Pings(threading.Thread):
    """The host pings a guest, fifty times a second, until told to stop."""

    INTERVAL = 0.02

    def __init__(self, host, addr):
        super().__init__(daemon=True)
        with host:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW,
                                        socket.IPPROTO_ICMP)
        self.socket.connect((addr, 0))
        self.sent = 0
        self.answered = set()
        self.stopped = threading.Event()
        self.start()

    def run(self):
        with self.socket:
            while not self.stopped.is_set():
                self.send()
                self.receive(self.INTERVAL)
            # None overtakes another: behind the last answer there is no other.
            self.receive(PATIENCE, self.sent)

    def send(self):
        self.sent += 1
        head = struct.pack('!BBHHH', 8, 0, 0, 0, self.sent)
        self.socket.send(struct.pack('!BBHHH', 8, 0, internet_checksum(head),
                                     0, self.sent))

    def receive(self, timeout, last=None):
        """For so long, or up to the answer to the @last one."""
        deadline = time.monotonic() + timeout
        while (last not in self.answered and
               (left := deadline - time.monotonic()) > 0):
            self.socket.settimeout(left)
            try:
                reply = self.socket.recv(1 << 16)[20:]
            except TimeoutError:
                return
            if reply[0] == 0:
                self.answered.add(int.from_bytes(reply[6:8], 'big'))

    def lost(self):
        """How many were not answered."""
        self.stopped.set()
        self.join()
        return self.sent - len(self.answered)


@skipIfMissingCommands('ip', 'bridge')
class IpvlanMigration(IpvlanTapTest):

    def setUp(self):
        super().setUp()
        self.interface = 'br0'
        self.host.run('ip link add br0 type bridge')
        self.host.run('ip link set br0 up')
        self.give_address()
        for tap in 'tap1', 'bare0', 'bare1':
            self.host.run(f'ip tuntap add dev {tap} mode tap vnet_hdr')
        for tap in 'tap0', 'tap1', 'bare0', 'bare1':
            self.host.run(f'ip link set {tap} master br0 up')

    def capture(self, tap):
        capture = Capture(self.host, tap)
        self.addCleanup(capture.stop)
        return capture

    # ---- two machines ----

    def new_machine(self, name, port='', slaves=('', ''), args=(), bare=True):
        """One with an uplink and a bare tap of its own."""
        vm = self.get_vm(name=name)
        number = 0 if name == 'there' else 1
        self.add_guest(vm)
        # Without a MAC address of its own, the port has another one here.
        vm.add_args('-name', name, *self.tap('up0', f'tap{number}'))
        self.add_slaves(vm, slaves, port)
        if bare:
            vm.add_args(*self.tap('n2', f'bare{number}'))
            self.add_card(vm, 2, 'n2')
        vm.add_args(*args)
        return vm

    def incoming(self, name='here', **options):
        """A machine that waits for another one to come."""
        self.socket = f'{self.socket_dir().name}/{name}'
        options['args'] = (*options.get('args', ()),
                           '-incoming', f'unix:{self.socket}')
        vm = self.new_machine(name, **options)
        with self.host:
            vm.launch()
        return vm

    def boot_there(self, **options):
        self.there = self.new_machine('there', **options)
        with self.host:
            self.guest = self.boot(self.there)
        cards = self.cards(self.guest, 3 if options.get('bare', True) else 2)
        for card, addr in zip(cards, ADDRESSES):
            card.set_address(f'{addr}/24')
        return cards

    def all_known(self, *cards):
        """What the port knows, once that is all that there is to know."""
        for card in cards:
            key = card.name, card.link_local()
            wait_for(lambda: key in self.addresses(self.there),
                     f'{key[1]} to be learned')
        return self.addresses(self.there)

    def ended(self):
        status = self.there.cmd('query-migrate')['status']
        return status if status in ('completed', 'failed') else None

    def save(self, uri):
        self.there.cmd('migrate', uri=uri)
        self.assertEqual(wait_for(self.ended, 'the machine to be saved'),
                         'completed')

    def follow(self, vm):
        """The guest goes on in @vm."""
        wait_for(lambda: vm.cmd('query-status')['status'] == 'running',
                 'the machine to go on')
        self.guest.vm = vm
        self.guest.check('true')

    def migrate(self, here):
        self.save(f'unix:{self.socket}')
        self.follow(here)

    def counts(self, vm):
        """What is counted, by slave."""
        return {s['id']: {key: s['stats'][key] for key in
                          ('rx-packets', 'tx-packets', 'rx-bytes',
                           'tx-bytes')} for s in self.port(vm)['slaves']}

    def end(self, vm):
        """End a machine, and return what QEMU has said of us."""
        vm.shutdown()
        self._vms = {name: other for name, other in self._vms.items()
                     if other is not vm}
        return self.lines(vm)

    @staticmethod
    def lines(vm):
        """What QEMU has said of us in a machine that has ended."""
        return [re.sub('^.*warning: ', '', line)
                for line in vm.get_log().splitlines()
                if 'ipvlan' in line or 'vlink' in line]

    def addresses(self, vm):
        return {(s['id'], a['address']): a for s in self.port(vm)['slaves']
                for a in s['addresses']}

    @staticmethod
    def wait_for_announcements(capture, addresses, seen=0):
        """Each of @addresses(), in what was not @seen before."""
        wait_for(lambda: all(any(is_announcement(frame, addr)
                                 for frame in capture.sent[seen:])
                             for _, addr in addresses), 'announcements')

    # ---- live ----

    def test_live(self):
        """Under traffic, with no more loss than a bare tap has."""
        here = self.incoming()
        cards = self.boot_there()
        for card in cards:
            card.assert_pings(HOST, count=1)
        cards[0].assert_pings(cards[1].addr, count=1)
        before = self.all_known(*cards[:2])
        self.assertGreaterEqual(len(before), 4)
        mac = self.port(self.there)['mac']
        self.assertNotEqual(self.port(here)['mac'], mac)

        arrival, departure = self.capture('tap1'), self.capture('tap0')
        pings = [Pings(self.host, card.addr) for card in (cards[0], cards[2])]
        busy = cards[1].start(f'ping -i 0.01 {cards[0].addr}')
        self.migrate(here)
        gone = len(departure.sent)
        counted = self.counts(self.there)
        self.wait_for_announcements(arrival, before)
        for card in cards:
            card.assert_pings(HOST, count=2)
        lost, lost_bare = [ping.lost() for ping in pings]
        self.log.info('lost pings: %d, with a bare tap %d', lost, lost_bare)
        print(f'# lost pings: {lost}, with a bare tap {lost_bare}',
              flush=True)
        # the machine stands still for all of them, and no ping is like another
        self.assertLessEqual(lost, lost_bare + 2)

        # It is the same port, with the same owners, and it has counted on.
        self.assertEqual(self.port(here)['mac'], mac)
        self.assertEqual(self.hmp(here, 'info network').count(f'mac={mac},'),
                         2)
        after = self.addresses(here)
        for key, address in before.items():
            self.assertEqual(after[key]['origin'], address['origin'], key)
            self.assertGreaterEqual(after[key]['age'], address['age'], key)
        for name, counts in self.counts(here).items():
            for key, value in counted[name].items():
                self.assertGreaterEqual(counts[key], value, f'{name} {key}')
        self.guest.check(f'kill {busy}')
        cards[1].assert_pings(cards[0].addr)

        # What it was before is silent, and what left here had its one MAC.
        self.assertEqual(len(departure.sent), gone)
        self.assertEqual({m for f in arrival.sent
                          for m in hardware_addresses(f)}, {mac})
        self.assertTrue([f for f in arrival.sent if f.ethertype == RARP])
        seen = len(arrival.sent)
        here.cmd('announce-self', initial=10, max=10, rounds=1, step=10)
        self.wait_for_announcements(arrival, before, seen)
        self.assertEqual(self.end(here), [])

    def test_flows(self):
        """A connection goes on through a filter that lets no new one in."""
        options = {
            'port': 'mode=l3s,policy=drop', 'bare': False,
            'slaves': [f'addr={addr}' for addr in ADDRESSES[:2]],
            'args': ('-object', 'ipvlan-rule,id=out,master=up0,direction=out,'
                     'match=tcp,action=accept'),
        }
        here = self.incoming(**options)
        silent = self.capture('tap1')
        card, sibling = self.boot_there(**options)
        # Asked for what is owned on both sides, only one answers.
        self.host.run('ip neighbour flush dev br0')
        with self.host:
            server = socket.create_server(('', 7000))
        server.settimeout(PATIENCE)
        card.check('mkfifo /tmp/fifo')
        card.start(f'nc {HOST} 7000 </tmp/fifo')
        self.guest.check('exec 3>/tmp/fifo; echo before >&3')
        with server:
            connection, _ = server.accept()
        self.addCleanup(connection.close)
        connection.settimeout(PATIENCE)
        lines = connection.makefile()
        self.assertEqual(lines.readline(), 'before\n')
        self.assertEqual(silent.sent, [])

        self.migrate(here)
        self.guest.check('echo after >&3')
        self.assertEqual(lines.readline(), 'after\n')
        port = self.port(here)
        self.assertGreaterEqual(port['flows'], 1)
        rule, = port['rules']
        self.assertGreaterEqual(rule['packets'],
                                self.port(self.there)['rules'][0]['packets'])
        self.assertEqual(self.drops('n0', here).get('filter', 0),
                         self.drops('n0', self.there).get('filter', 0))
        self.guest.check('exec 3>&-')
        self.assertEqual(lines.read(), '')
        # and in this direction there was never one
        self.assertFalse(self.connects(card.addr))
        self.assertEqual(self.end(here), [])

    def connects(self, addr):
        """Whether the host can open a connection that nobody waits for."""
        with self.host:
            client = socket.socket()
        with client:
            client.settimeout(1)
            try:
                client.connect((addr, 22))
            except TimeoutError:
                return False
            except ConnectionRefusedError:
                return True
        return True

    # ---- from a file ----

    def saved(self, path):
        """The section that is ours in a file, and where it is."""
        with open(path, 'rb') as file:
            data = bytearray(file.read())
        at = data.index(b'\x05vlink') + 6 + 8
        size = int.from_bytes(data[at:at + 4], 'big')
        return data, at, size

    def load(self, name, data):
        """A machine that goes on from @data."""
        path = self.scratch_file(name)
        with open(path, 'wb') as file:
            file.write(data)
        vm = self.new_machine(name, bare=False)
        vm.add_args('-incoming', f'file:{path}')
        return vm

    def test_file(self):
        """A machine that was saved goes on, whatever has become of the file."""
        card, sibling = self.boot_there(bare=False)
        card.assert_pings(HOST)
        card.assert_pings(sibling.addr)
        path = self.scratch_file('saved')
        known = self.all_known(card, sibling)
        self.save(f'file:{path}')
        self.assertEqual(self.end(self.there), [])
        data, at, size = self.saved(path)
        self.assertGreater(size, 100)

        # cut off, or longer than it can be: refused, and nothing is lost
        for name, damaged in (
                ('cut', data[:at + 4 + 32 + size // 2]),
                ('long', data[:at] + b'\xff\xff\xff\xff' + data[at + 4:]),
                ('version', data[:at - 4] + b'\0\0\0\2' + data[at:])):
            vm = self.load(name, damaged)
            with self.host:
                vm.launch()
            vm.wait(timeout=PATIENCE)
            self.assertEqual(vm.exitcode(), 1, name)
            self.log.info('%s: %s', name, vm.get_log())
            self.assertTrue([line for line in vm.get_log().splitlines()
                             if 'vlink' in line], name)
            del self._vms[name]

        # a bit that has changed: all of it is learned again
        damaged = bytearray(data)
        damaged[at + 4 + 32 + size // 2] ^= 0x10
        vm = self.load('flipped', damaged)
        with self.host:
            vm.launch()
        self.follow(vm)
        card.assert_pings(HOST)
        self.assertEqual(self.end(vm),
                         ['ipvlan: what the incoming machine knew is damaged, '
                          'and is learned again'])

        vm = self.load('whole', data)
        with self.host:
            vm.launch()
        self.follow(vm)
        self.assertEqual({key: a['origin'] for key, a in known.items()},
                         {key: a['origin']
                          for key, a in self.addresses(vm).items()})
        card.assert_pings(HOST)
        card.assert_pings(sibling.addr)
        self.assertEqual(self.end(vm), [])

    def test_master_down(self):
        """The guest's link is what the master's is, wherever it is."""
        here = self.incoming(bare=False)
        card, sibling = self.boot_there(bare=False)
        self.there.cmd('set_link', name='up0', up=False)
        self.there.cmd('set_link', name='n1', up=False)
        for one in card, sibling:
            wait_for(lambda: not one.has_carrier(), 'the link to go down')
        self.migrate(here)
        # what the host has said of one card still holds
        wait_for(card.has_carrier, 'the link to come up')
        self.assertFalse(sibling.has_carrier())
        card.assert_pings(HOST)

        # and to where there is no uplink
        self.end(self.there)
        self.there = here
        there = self.incoming('there', bare=False)
        there.cmd('set_link', name='up0', up=False)
        self.migrate(there)
        wait_for(lambda: not card.has_carrier(), 'the link to go down')
        there.cmd('set_link', name='up0', up=True)
        wait_for(card.has_carrier, 'the link to come up')
        card.assert_pings(HOST)

    def test_cut(self):
        """Nobody takes the machine, or not all of it: it goes on here."""
        path = self.socket_dir().name + '/cut'
        server = socket.socket(socket.AF_UNIX)
        self.addCleanup(server.close)
        server.bind(path)
        server.listen()
        card, sibling = self.boot_there(bare=False)
        card.assert_pings(HOST)
        known = self.addresses(self.there)
        self.there.cmd('migrate', uri=f'unix:{path}')
        connection, _ = server.accept()
        with connection:
            connection.recv(1 << 20)
        self.assertEqual(wait_for(self.ended, 'the migration to fail'),
                         'failed')
        self.assertEqual(self.there.cmd('query-status')['status'], 'running')
        card.assert_pings(HOST)
        card.assert_pings(sibling.addr)
        self.assertLessEqual(known.keys(), self.addresses(self.there).keys())

    # ---- other configurations ----

    @staticmethod
    def tap(name, tap):
        return '-netdev', f'tap,id={name},ifname={tap},script=no,downscript=no'

    def arrive(self, *args):
        """The guest goes on in a machine with these netdevs."""
        vm = self.get_vm(name=f'machine{len(args)}')
        self.add_guest(vm)
        self.socket = f'{self.socket_dir().name}/migration{len(args)}'
        vm.add_args(*args, '-incoming', f'unix:{self.socket}')
        self.add_card(vm, 0, 'n0')
        self.add_card(vm, 1, 'n1')
        with self.host:
            vm.launch()
        self.migrate(vm)
        self.end(self.there)
        self.there = vm

    def test_other_configuration(self):
        """A guest may go on with other netdevs."""
        self.boot_there(bare=False)
        self.arrive(*self.tap('up0', 'tap1'), *self.tap('n0', 'bare0'),
                    '-netdev', 'ipvlan,id=n1,master=up0')
        self.assertTrue(self.owned('n1', self.there))
        one = self.there
        self.arrive(*self.tap('n0', 'bare1'), *self.tap('n1', 'tap0'))
        self.assertEqual(self.lines(one),
                         ["ipvlan: not all that the incoming machine knew "
                          "fits here: 'up0': it has no 'n0' here"])
        # Without slaves nothing of them is in the stream.
        path = self.scratch_file('bare')
        self.save(f'file:{path}')
        with open(path, 'rb') as file:
            self.assertNotIn(b'\x05vlink', file.read())
        self.assertEqual(self.end(self.there),
                         ["ipvlan: the incoming machine has slaves of 'up0', "
                          "and there are none here"])


if __name__ == '__main__':
    IpvlanMigration.main()
