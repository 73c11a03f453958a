#!/usr/bin/env python3
#
# Functional tests of -netdev ipvlan as the backend of a NIC: whatever is done
# to a card on a slave is done to one on a bare tap beside it, and has to have
# the same effect.  They need root.
#
# VLINK_GUEST names a directory with the guest's vmlinuz and initrd.img.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import itertools
import re
import socket
import time

from ipvlan_frames import (ARP, BROADCAST, ether, group_mac, pack_address,
                           read_pcap)
from ipvlan_guest import (FIRST_SLOT, PATIENCE, Card, Guest, IpvlanTest,
                          wait_for)
from ipvlan_tap import BLOB, HOST, PORT_MAC, Capture, IpvlanTapTest, Sink
from ipvlan_topology import Machine
from qemu_test import skipIfMissingCommands

RARP = 0x8035

# The machine that is reached over the bare tap, and a guest's card on it.
BARE_HOST, BARE_GUEST = '198.51.100.1', '198.51.100.10'

MTU = 9000

# What a slave offers whatever its uplink can do: UFO and USO, virtio 1.2, 5.1.3
ALWAYS_OFFERED = {10, 14, 54, 55, 56}

# Which bus a hot-plugged card of a netdev is on.
BUSES = {'n0': 1, 't0': 2}

# One more than virtio-net keeps addresses: with them it takes all groups.
MANY_GROUPS = ("seq 65 | awk '{ printf \"fdb %s 01:00:5e:00:01:%%02x dev eth0 "
               "self\\n\", $1 }' | bridge -batch -")


def is_rarp(frame):
    return frame.ethertype == RARP


def is_own_announcement(frame, addr):
    """A gratuitous ARP, as Linux sends it."""
    return (frame.ethertype == ARP and frame.dst == BROADCAST and
            frame.payload[14:18] == frame.payload[24:28] == pack_address(addr))


class AsTapTest(IpvlanTapTest):
    """
    A guest with a card on a bare tap, tap1, and two on slaves of tap0:

      t0 -- tap1       n0, n1 -- up0 -- tap0
    """

    mtu = 1500
    features = ''

    def setUp(self):
        super().setUp()
        self.host.set('ipv6/conf/all/disable_ipv6', 1)
        self.host.set('ipv6/conf/default/disable_ipv6', 1)
        self.host.run('ip tuntap add dev tap1 mode tap ' + self.tap_flags)
        for tap, address in ('tap0', HOST), ('tap1', BARE_HOST):
            self.host.run(f'ip link set {tap} mtu {self.mtu} up')
            self.host.run(f'ip address add {address}/24 dev {tap}')

    def make_host(self):
        return Machine(self, 'host')

    def add_machine(self, vm, port=f'mac={PORT_MAC}', queues=1):
        """All of a machine but the guest."""
        features = f'{self.features},mq=on,vectors={2 * queues + 2}'
        for name, tap in ('up0', 'tap0'), ('t0', 'tap1'):
            vm.add_args('-netdev', f'tap,id={name},ifname={tap},script=no,'
                        f'downscript=no,queues={queues}')
        self.add_slaves(vm, [f'queues={queues}'] * 2, port,
                        features=[features] * 2)
        self.add_card(vm, 2, 't0', features=features)

    def launch(self, **options):
        self.add_guest(self.vm)
        self.add_machine(self.vm, **options)
        with self.host:
            self.guest = self.boot(self.vm)
        self.find_cards()

    def find_cards(self):
        self.guest.check('modprobe 8021q')
        self.slave_card, self.sibling, self.bare = self.all_cards = [
            Card(self.guest, name, f'0000:00:{FIRST_SLOT + i:02x}.0',
                 has_link_local=False)
            for i, name in enumerate(('n0', 'n1', 't0'))]
        self.pair = self.bare, self.slave_card
        for card in self.all_cards:
            self.configure(card)

    @staticmethod
    def configure(card):
        addr, card.host, card.tap = {
            'n0': ('192.0.2.10', HOST, 'tap0'),
            'n1': ('192.0.2.11', HOST, 'tap0'),
            't0': (BARE_GUEST, BARE_HOST, 'tap1')}[card.name]
        card.nic = f'nic-{card.name}'
        card.set_address(f'{addr}/24')

    def both(self, ask):
        """What @ask says of the card on the tap, and says of the slave's."""
        bare, slave = (ask(card) for card in self.pair)
        self.assertEqual(slave, bare)
        return bare

    def wait_for_both(self, ask, expected):
        wait_for(lambda: self.ask_both(ask) == [expected] * 2,
                 f'both to be {expected}')

    def ask_both(self, ask):
        return [ask(card) for card in self.pair]

    def refusal(self, command, **arguments):
        """Class and words of the error of a QMP command."""
        error = self.vm.qmp(command, **arguments)['error']
        return error['class'], error['desc']

    def anonymous(self, card, text):
        """@text without what tells @card from others."""
        return text.replace(card.nic, 'NIC').replace(card.name, 'NETDEV')

    def assert_all_reach(self):
        for card in self.all_cards:
            card.assert_pings(card.host, count=1)
            self.host.assert_pings(card.addr, count=1)
        self.slave_card.assert_pings(self.sibling.addr, count=1)


@skipIfMissingCommands('ip', 'ping')
class AsTap(AsTapTest):
    """What the guest and QMP's users see of a card."""

    tap_flags = 'vnet_hdr multi_queue'
    mtu = MTU
    features = f',host_mtu={MTU}'

    def test_card(self):
        self.launch(queues=2)
        self.assert_all_reach()
        self.check_offers()
        self.check_monitor()
        self.check_filter()
        self.check_event()
        self.check_groups()
        self.check_mtu()
        self.check_mac()

    # ---- what the guest is offered ----

    @staticmethod
    def features_of(card):
        bits = card.check('cat /sys/class/net/eth0/device/features')
        return {i for i, bit in enumerate(bits) if bit == '1'}

    @staticmethod
    def offloads_of(card):
        """The lines of ethtool -k that say on."""
        return {line for line in card.check('ethtool -k eth0').split('\n')
                if ': on' in line}

    @staticmethod
    def driver_of(card):
        return re.sub('bus-info: .*', '', card.check('ethtool -i eth0'))

    def check_offers(self):
        bare, slave = self.ask_both(self.features_of)
        self.assertEqual(bare - slave, set())
        self.assertLessEqual(slave - bare, ALWAYS_OFFERED)
        bare, slave = self.ask_both(self.offloads_of)
        self.assertIn('tcp-segmentation-offload: on', bare)
        self.assertLessEqual(bare, slave)
        self.both(self.driver_of)
        self.both(lambda card: card.check('ethtool -g eth0'))
        queues = self.both(lambda card: card.check('ethtool -l eth0'))
        self.assertEqual(re.findall(r'Combined:\s+(\d+)', queues)[0], '2')
        for number in 2, 1:
            for card in self.pair:
                card.check(f'ethtool -L eth0 combined {number}')
            self.both(lambda card: card.check('ethtool -l eth0'))
            self.assert_all_reach()

    # ---- the monitor ----

    def network_of(self, card):
        """Its lines of info network."""
        lines = re.findall(fr'^.*\b{card.name}: .*$',
                           self.hmp(self.vm, 'info network'), re.MULTILINE)
        return [re.sub(r'type=(tap|ipvlan),.*', 'type=BACKEND',
                       self.anonymous(card, line).replace(card.mac, 'MAC'))
                for line in lines]

    def check_monitor(self):
        lines = self.both(self.network_of)
        self.assertEqual(len(lines), 4)         # of two queues each
        self.assertEqual(len(set(lines)), 4)
        self.assertIn('n0: index=0,type=ipvlan,master=up0,',
                      self.hmp(self.vm, 'info network'))

        kind, words = self.both(lambda card: [
            self.anonymous(card, word) for word in
            self.refusal('query-rx-filter', name=card.name)])
        self.assertEqual(words, "net client(NETDEV) isn't a NIC")
        kind, words = self.both(lambda card: [
            self.anonymous(card, word) for word in
            self.refusal('set_link', name=card.name + '-', up=True)])
        self.assertEqual((kind, words), ('DeviceNotFound',
                                         "Device 'NETDEV-' not found"))

    # ---- the filter ----

    def filter_of(self, card):
        filter = self.vm.cmd('query-rx-filter', name=card.nic)[0]
        self.assertEqual(filter.pop('name'), card.nic)
        self.assertEqual(filter.pop('main-mac'), card.mac)
        return {key: sorted(value) if isinstance(value, list) else value
                for key, value in filter.items()}

    def check_filter(self):
        """query-rx-filter follows what the guest does to its card."""
        def has(table, entry):
            return lambda filter: entry in filter[table]

        mac = '02:00:00:00:00:99'
        for command, undo, is_done in (
                ('ip link set eth0 promisc on', 'ip link set eth0 promisc off',
                 lambda filter: filter['promiscuous']),
                ('ip link set eth0 allmulticast on',
                 'ip link set eth0 allmulticast off',
                 lambda filter: filter['multicast'] == 'all'),
                ('ip maddress add 01:00:5e:01:01:01 dev eth0',
                 'ip maddress del 01:00:5e:01:01:01 dev eth0',
                 has('multicast-table', '01:00:5e:01:01:01')),
                ('ip address add 239.1.1.2/32 dev eth0 autojoin',
                 'ip address del 239.1.1.2/32 dev eth0',
                 has('multicast-table', group_mac('239.1.1.2'))),
                ('ip link add link eth0 name eth0.5 type vlan id 5',
                 'ip link del eth0.5', has('vlan-table', 5)),
                # It has to be quiet: a slave's MAC is the one used last.
                ('ip link add link eth0 name eth0.5 type vlan id 5 && '
                 'ip link set eth0.5 addrgenmode none && '
                 f'ip link set eth0.5 address {mac} up',
                 'ip link del eth0.5', has('unicast-table', mac)),
                (MANY_GROUPS % 'add', MANY_GROUPS % 'del',
                 lambda filter: filter['multicast-overflow'])):
            before = self.both(self.filter_of)
            self.assertFalse(is_done(before), command)
            for words, wanted in (command, True), (undo, False):
                for card in self.pair:
                    card.check(words)
                wait_for(lambda: all(is_done(filter) == wanted for filter in
                                     self.ask_both(self.filter_of)), words)
                after = self.both(self.filter_of)
            self.assertEqual(after, before)

    def changes(self):
        """Whose filters have changed since this was asked the last time."""
        self.vm.cmd('query-status')
        return sorted(event['data']['name']
                      for event in self.vm.get_qmp_events()
                      if event['event'] == 'NIC_RX_FILTER_CHANGED')

    def check_event(self):
        """One event, and none until the filter has been asked for."""
        def change(vlan):
            for card in self.pair:
                # The guest waits until its card has done it.
                card.check(f'ip link add link eth0 name eth0.{vlan} '
                           f'type vlan id {vlan}')
            return self.changes()

        self.ask_both(self.filter_of)
        self.changes()
        once = sorted(card.nic for card in self.pair)
        self.assertEqual(change(100), once)
        self.assertEqual(change(101), [])
        # That the port asks for itself is nobody's business.
        for card in self.pair:
            self.send_group(card, group_mac('239.9.9.9'), 1)
            self.host.assert_pings(card.addr, count=1)
        self.assertEqual(change(102), [])
        self.assertEqual(self.both(self.filter_of)['vlan-table'],
                         [0, 100, 101, 102])
        self.assertEqual(change(103), once)
        self.assertEqual(change(104), [])
        for card in self.pair:
            for vlan in range(100, 105):
                card.check(f'ip link del eth0.{vlan}')

    # ---- groups ----

    def send_group(self, card, mac, count):
        """Frames of an experimental protocol, which no guest knows."""
        frame = ether(mac, '52:54:00:00:00:99', 0x88b5, bytes(50))
        with self.host:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with sock:
            sock.bind((card.tap, 0))
            for _ in range(count):
                sock.send(frame)

    def given(self, card, groups):
        """Which of the two groups the guest is given the frames of."""
        def taken():
            return int(card.check('cat /sys/class/net/eth0/statistics/'
                                  'rx_packets'))
        before = taken()
        for mac, count in zip(groups, (50, 100)):
            self.send_group(card, mac, count)
        # What is broadcast after them comes after them, and always.
        self.send_group(card, BROADCAST, 200)
        last = wait_for(lambda: (now := taken()) >= before + 200 and now,
                        'broadcast')
        while (now := taken()) != last:
            last = now
        # A few more are of others.
        number, others = divmod(last - before - 200, 50)
        self.assertLess(others, 25)
        return {mac for mac, bit in zip(groups, (1, 2)) if number & bit}

    def check_groups(self):
        """Who has not asked for a group does not get it."""
        one, two = both = '01:00:5e:07:07:07', '01:00:5e:07:07:08'
        for command, expected in (
                ('true', set()),
                (f'ip maddress add {one} dev eth0', {one}),
                ('ip link set eth0 allmulticast on', {one, two}),
                ('ip link set eth0 allmulticast off', {one}),
                ('ip link set eth0 promisc on', {one, two}),
                ('ip link set eth0 promisc off', {one}),
                # more than the card can keep
                (MANY_GROUPS % 'add', {one, two}),
                (MANY_GROUPS % 'del', {one}),
                (f'ip maddress del {one} dev eth0', set())):
            for card in self.pair:
                card.check(command)
            self.wait_for_both(lambda card: self.given(card, both), expected)

    # ---- the MTU ----

    def check_mtu(self):
        """host_mtu= is the guest's, and frames as long as that pass."""
        longest = f'-M do -s {MTU - 28}'
        self.assertEqual(self.both(lambda card: card.check(
            'cat /sys/class/net/eth0/mtu')), str(MTU))
        self.assertNotEqual(self.both(lambda card: card.run(
            f'ip link set eth0 mtu {MTU + 1}'))[0], 0)
        for card in self.all_cards:
            card.assert_pings(card.host, longest)
            self.host.assert_pings(card.addr, longest)
        self.slave_card.assert_pings(self.sibling.addr, longest)
        self.assertEqual(self.both(lambda card: card.ping(
            card.host, f'-M do -s {MTU - 27}', 1, 1)), 0)

        # A host with less than it has promised, and a guest with less.
        for command in ('ip link set {} mtu 1500', 'ip link set {} mtu 9000'):
            for card in self.pair:
                self.host.run(command.format(card.tap))
            self.both(lambda card: (card.ping(card.host, longest, 1, 1),
                                    self.host.ping(card.addr, longest, 1, 1)))
        for card in self.pair:
            card.check('ip link set eth0 mtu 1500')
        self.both(lambda card: self.host.ping(card.addr, longest, 1, 1))
        for card in self.pair:
            card.check(f'ip link set eth0 mtu {MTU}')
        self.assert_all_reach()

    # ---- another MAC address ----

    def check_mac(self):
        """A guest may change it, and is reached under the new one only."""
        for i, card in enumerate(self.pair):
            card.old, card.mac = card.mac, f'02:00:00:00:01:{i:02x}'
            card.check(f'ip link set eth0 address {card.mac}')
        self.both(self.filter_of)               # its main-mac, too
        self.both(self.network_of)
        self.assert_all_reach()

        bare, slave = self.pair
        for card, mac in (bare, bare.mac), (slave, PORT_MAC):
            self.assertIn(f' lladdr {mac} ', self.host.run(
                f'ip neighbour show {card.addr} dev {card.tap}').stdout)
        self.assertEqual(self.slave('n0')['mac'], slave.mac)
        self.sibling.assert_pings(slave.addr)

        # Who still sends to the old one is not heard.
        self.host.run(f'ip neighbour replace {bare.addr} dev {bare.tap} '
                      f'lladdr {bare.old}')
        self.sibling.check(f'ip neighbour replace {slave.addr} dev eth0 '
                           f'lladdr {slave.old}')
        self.host.assert_no_ping(bare.addr)
        self.sibling.assert_no_ping(slave.addr)


@skipIfMissingCommands('ip', 'ping')
class Announce(AsTapTest):
    """RARP, and what the guest says of itself."""

    def add_machine(self, vm, port=f'mac={PORT_MAC}', queues=1):
        super().add_machine(vm, port, queues)
        for name in 'n0', 't0':
            vm.add_args('-object', f'filter-dump,id=sent-{name},netdev={name},'
                        f'queue=rx,file={self.dump_file("sent-" + name)}')

    def sent_by(self, card):
        """What the card has sent so far: RARPs, announcements of its own."""
        frames = read_pcap(self.dump_file('sent-' + card.name))
        return (len([f for f in frames if is_rarp(f)]),
                len([f for f in frames if is_own_announcement(f, card.addr)]))

    def watch(self):
        captures = [Capture(self.host, tap) for tap in ('tap0', 'tap1')]
        for capture in captures:
            self.addCleanup(capture.stop)
        return captures

    def announce(self, rounds, cards, **more):
        self.vm.cmd('announce-self', {
            'initial': 10, 'max': 100, 'rounds': rounds, 'step': 10,
            'interfaces': [card.nic for card in cards], **more})

    def rarps_on(self, wire):
        """RARPs seen on it so far; every one has to tell the truth."""
        rarps = [f for f in list(wire.sent) if is_rarp(f)]
        for frame in rarps:
            self.assertEqual(frame.dst, BROADCAST)
            # who asks, and for whom: itself
            self.assertEqual({frame.src, frame.payload[8:14].hex(':'),
                              frame.payload[18:24].hex(':')}, {frame.src})
        return sorted(frame.src for frame in rarps)

    def wait_for_rarps(self, wires, slaves, bare):
        """Until those were seen on both, and no other."""
        expected = [[PORT_MAC] * slaves, [self.bare.mac] * bare]
        wait_for(lambda: [self.rarps_on(wire) for wire in wires] == expected,
                 f'RARP {expected}')

    def test_announce(self):
        """announce-self: as often as asked, and by whom."""
        self.vm.add_args('-object', 'filter-dump,id=got-n1,netdev=n1,queue=tx,'
                         f'file={self.dump_file("n1")}')
        self.launch()
        wires = self.watch()

        self.announce(3, self.pair)
        self.wait_for_rarps(wires, 3, 3)
        # The guest is told, too, once a round, or less where it is slow.
        for card in self.pair:
            wait_for(lambda: self.sent_by(card)[1], f'{card.name} to announce')
            self.assertEqual(self.sent_by(card)[0], 3)
        # Siblings hear it as any broadcast, and know the guest by its MAC.
        wait_for(lambda: [f.src for f in self.got(self.sibling)
                          if is_rarp(f)] == [self.slave_card.mac] * 3,
                 'the sibling to hear it')

        self.announce(2, [self.slave_card])
        self.wait_for_rarps(wires, 5, 3)
        self.announce(2, [self.bare, self.sibling])
        self.wait_for_rarps(wires, 7, 5)
        # Five rounds is what a migration's parameters say.
        self.hmp(self.vm, f'announce_self {self.slave_card.nic}')
        self.wait_for_rarps(wires, 12, 5)
        self.hmp(self.vm, f'announce_self {self.bare.nic},'
                 f'{self.slave_card.nic} later')
        self.wait_for_rarps(wires, 17, 10)
        self.hmp(self.vm, 'announce_self')
        self.wait_for_rarps(wires, 27, 15)

        # Who has an id can be told to stop.
        self.announce(1000, self.pair, id='long')
        wait_for(lambda: all(len(self.rarps_on(wire)) > seen for wire, seen in
                             zip(wires, (30, 18))), 'a few rounds')
        self.announce(0, self.pair, id='long')
        self.vm.cmd('query-status')
        self.host.assert_pings(self.bare.addr)
        before = [len(self.rarps_on(wire)) for wire in wires]
        self.announce(3, self.pair)
        self.wait_for_rarps(wires, before[0] + 3, before[1] + 3)
        self.assert_all_reach()

    def test_arrival(self):
        """A machine that comes from elsewhere tells where it is now."""
        self.launch()
        self.assert_all_reach()
        path = self.scratch_file('state')
        self.vm.cmd('migrate', uri=f'file:{path}')
        wait_for(lambda: self.vm.cmd('query-migrate')['status'] == 'completed',
                 'the state to be saved')
        self.vm.shutdown()

        there = self.guest.vm = self.get_vm('-incoming', f'file:{path}',
                                            name='there')
        self.add_guest(there)
        self.add_machine(there)
        wires = self.watch()
        with self.host:
            there.launch()
        self.wait_for_rarps(wires, 2 * 5, 5)
        for card in self.pair:
            wait_for(lambda: self.sent_by(card)[1], f'{card.name} to announce')
            self.assertEqual(self.sent_by(card)[0], 5)
        self.assert_all_reach()

    # ---- cards without a guest ----

    def start_cards(self, mode):
        """A machine that has nothing to boot."""
        vm = self.get_vm('-machine', 'q35', '-nodefaults', name=mode)
        macs = [PORT_MAC] * 2 if mode == 'l2' else None
        vm.add_args('-netdev', 'tap,id=up0,ifname=tap0,script=no,'
                    'downscript=no')
        self.add_slaves(vm, ['', ''], f'mode={mode},mac={PORT_MAC}', macs=macs)
        with self.host:
            vm.launch()
        return vm

    def test_modes(self):
        """In l2 it goes out as it is; RARP is not IP, and not routed."""
        for mode in 'l2', 'l3', 'l3s':
            vm = self.start_cards(mode)
            wire = Capture(self.host, 'tap0')
            self.addCleanup(wire.stop)
            vm.cmd('announce-self', initial=10, max=10, rounds=3, step=0)
            if mode == 'l2':
                wait_for(lambda: self.rarps_on(wire) == [PORT_MAC] * 6, 'RARP')
            else:
                for name in 'n0', 'n1':
                    wait_for(lambda: self.drops(name, vm) == {'not-ip': 3},
                             'what is not routed')
                self.assertEqual(self.rarps_on(wire), [])
            vm.shutdown()


@skipIfMissingCommands('ip', 'ping')
class LinkState(AsTapTest):
    """Who says what of a link, and what its guest sees."""

    def add_machine(self, vm, port=f'mac={PORT_MAC}', queues=1):
        for name, tap in ('up0', 'tap0'), ('t0', 'tap1'):
            vm.add_args('-netdev', f'tap,id={name},ifname={tap},script=no,'
                        'downscript=no')
        self.add_slaves(vm, ['', ''], port, cards=[1])
        for i, name in enumerate(('n0', 't0'), 1):
            vm.add_args('-device', f'pcie-root-port,id=port-{name},'
                        f'chassis={i},addr={i}')

    def find_cards(self):
        self.sibling = Card(self.guest, 'n1', '0000:00:11.0',
                            has_link_local=False)
        self.configure(self.sibling)

    def plug(self):
        """A card for each of the two netdevs."""
        for name in 'n0', 't0':
            self.vm.cmd('device_add', driver='virtio-net-pci',
                        id=f'nic-{name}', netdev=name, bus=f'port-{name}',
                        mac=f'52:54:00:00:02:0{BUSES[name]}')
        self.find_plugged()

    def find_plugged(self):
        self.slave_card, self.bare = [
            Card(self.guest, name, f'0000:{BUSES[name]:02x}:00.0',
                 has_link_local=False) for name in ('n0', 't0')]
        self.pair = self.bare, self.slave_card
        self.all_cards = *self.pair, self.sibling
        for card in self.pair:
            self.configure(card)

    def unplug(self):
        for card in self.pair:
            self.vm.cmd('device_del', id=card.nic)
            self.vm.event_wait('DEVICE_DELETED', timeout=PATIENCE,
                               match={'data': {'device': card.nic}})
            self.guest.check(f'ip netns del {card.name}')

    def say(self, who, up):
        names = {'nic': ['nic-t0', 'nic-n0'], 'netdev': ['t0', 'n0'],
                 'master': ['up0']}[who]
        for name in names:
            self.vm.cmd('set_link', name=name, up=up)

    def carriers(self):
        """Who of the bare card, the slave's and its sibling has one."""
        said = self.guest.check(' && '.join(
            f'ip -n {name} -o link show dev eth0'
            for name in ('t0', 'n0', 'n1')))
        return tuple('NO-CARRIER' not in line for line in said.split('\n'))

    def assert_carriers(self, *expected):
        wait_for(lambda: self.carriers() == expected, f'carriers {expected}',
                 10)
        # and not only for a moment
        self.assertEqual(self.carriers(), expected)

    def test_link_state(self):
        self.launch()
        self.check_plugged_while_down()
        self.check_every_order()
        self.check_reset()
        self.check_plugged_again()
        self.check_deleted()

    def check_plugged_while_down(self):
        """A new card has no carrier where its slave's master has none."""
        self.say('master', False)
        self.plug()
        self.assert_carriers(True, False, False)
        self.say('master', True)
        self.assert_carriers(True, True, True)
        self.assert_all_reach()

    def check_every_order(self):
        """
        Who speaks last, of NIC and netdev, decides; and a slave's card needs
        a master, too.
        """
        words = list(itertools.product(('nic', 'netdev', 'master'),
                                       (False, True)))
        told = {}
        for steps in itertools.product(words, words):
            self.log.info('%s', steps)
            for who, up in steps:
                self.say(who, up)
                told[who == 'master'] = up
            card, master = told.get(False, True), told.get(True, True)
            self.assert_carriers(card, card and master, master)
        self.assertEqual(steps[-1], ('master', True))
        self.say('netdev', True)
        self.assert_all_reach()

    def check_reset(self):
        """Who had no carrier before a reset has none after it."""
        self.say('netdev', False)
        self.vm.cmd('set-action', reboot='reset')
        self.vm.cmd('system_reset')
        self.guest = Guest(self, self.vm)
        self.find_cards()
        self.find_plugged()
        self.assert_carriers(False, False, True)
        self.say('master', False)
        self.say('netdev', True)
        self.assert_carriers(True, False, False)
        self.say('master', True)
        self.assert_carriers(True, True, True)
        self.assert_all_reach()

    def check_plugged_again(self):
        """A new card does not know what the netdev was told before it."""
        self.say('netdev', False)
        self.unplug()
        self.plug()
        self.assert_carriers(True, True, True)
        self.assertEqual(self.both(lambda card: card.ping(
            card.host, count=1, wait=1)), 0)
        self.say('netdev', True)
        for card in self.pair:
            card.wait_for(f'ping -q -c 1 -W 1 {card.host}')
        self.assert_all_reach()

    def check_deleted(self):
        """A card whose netdev is deleted, and a netdev whose card is."""
        for card in self.pair:
            self.vm.cmd('netdev_del', id=card.name)
        self.assert_carriers(False, False, True)
        self.both(lambda card: [self.anonymous(card, word) for word in
                                self.refusal('set_link', name=card.name,
                                             up=True)])
        self.say('nic', True)
        self.assert_carriers(True, True, True)
        # A tap's card would reach it even now; what a slave owned is free.
        self.slave_card.assert_no_ping(HOST)
        self.assertEqual([s['id'] for s in self.port()['slaves']], ['n1'])
        self.unplug()
        self.sibling.assert_pings(HOST)


@skipIfMissingCommands('ip', 'ping')
class Faults(AsTapTest):
    """What the host does to the taps of a machine that runs."""

    def test_faults(self):
        self.launch()
        self.assert_all_reach()
        self.make_blob(self.guest)
        self.guest.check('mkfifo /tmp/t0.go /tmp/n0.go')
        self.sibling.start('ping -n -i 0.1 192.0.2.10')
        self.check_tap_down()
        self.check_bridge_left()
        self.check_tap_deleted()

    def assert_rest_goes_on(self):
        """Siblings reach each other, and QEMU has time to wait."""
        def answered():
            return int(self.guest.check('grep -c "bytes from" /tmp/n1.log'))

        def run_time():
            with open(f'/proc/{self.vm.get_pid()}/schedstat') as file:
                run, wait, _ = map(int, file.read().split())
            return (run + wait) / 1e9

        def waits():
            """Within the time of ten pings."""
            pings, busy, start = answered(), run_time(), time.monotonic()
            wait_for(lambda: answered() >= pings + 10, 'the sibling', 30)
            return run_time() - busy < 0.8 * (time.monotonic() - start)
        wait_for(waits, 'QEMU to have nothing to do')

    def assert_refused(self):
        """What the tap did not take is counted."""
        before = self.drops().get('refused', 0)
        self.slave_card.assert_no_ping(HOST)
        self.assertGreater(self.drops()['refused'], before)

    def check_tap_down(self):
        """A connection lives on when the tap is up again."""
        sinks = [Sink(self.host) for _ in self.pair]
        for card, sink in zip(self.pair, sinks):
            card.start(f'(cat {BLOB} /tmp/{card.name}.go {BLOB} | '
                       f'nc {card.host} {sink.port})')
            card.wait_for('ss -tnH state established | grep -q .')
        for card in self.pair:
            self.host.run(f'ip link set {card.tap} down')
            before = card.counter('RetransSegs')
            # unless it has enough to send as it is
            card.check(f'echo >/tmp/{card.name}.go &')
            wait_for(lambda: card.counter('RetransSegs') > before,
                     f'{card.name} to send in vain')
        self.assertGreater(self.drops()['refused'], 0)
        self.assert_rest_goes_on()
        for card in self.pair:
            self.host.run(f'ip link set {card.tap} up')
        sent = self.guest.check(f'(cat {BLOB}; echo; cat {BLOB}) | sha256sum')
        for sink in sinks:
            self.assertEqual(sink.digest(), sent.split()[0])
        self.assert_all_reach()

    def check_bridge_left(self):
        """The port of the host's bridge is gone for a while."""
        for i, card in enumerate(self.pair):
            card.bridge = f'br{i}'
            shown = self.host.run(f'ip link show {card.tap}').stdout
            mac = re.search('link/ether ([0-9a-f:]+)', shown)[1]
            for command in (
                    f'link add {card.bridge} address {mac} type bridge '
                    'forward_delay 0',
                    f'link set {card.tap} master {card.bridge}',
                    f'address flush dev {card.tap}',
                    f'address add {card.host}/24 dev {card.bridge}',
                    f'link set {card.bridge} up'):
                self.host.run('ip ' + command)
        self.assert_all_reach()
        for card in self.pair:
            self.host.run(f'ip link set {card.tap} nomaster')
            card.assert_no_ping(card.host)
        self.assert_rest_goes_on()
        for card in self.pair:
            self.host.run(f'ip link set {card.tap} master {card.bridge}')
            card.wait_for(f'ping -q -c 1 -W 1 {card.host}')
        self.assert_all_reach()

    def check_tap_deleted(self):
        for card in self.pair:
            self.host.run(f'ip link del {card.tap}')
        for card in self.pair:
            card.assert_no_ping(card.host)
            self.assertTrue(card.has_carrier())
        self.assert_refused()
        self.assert_rest_goes_on()

        # Another one takes its place.
        self.vm.cmd('netdev_del', id='up0')
        wait_for(lambda: not self.slave_card.has_carrier(), 'no carrier')
        self.host.run('ip tuntap add dev tap2 mode tap vnet_hdr')
        self.host.run(f'ip link set tap2 master {self.slave_card.bridge} up')
        self.vm.cmd('netdev_add', type='tap', id='up0', ifname='tap2',
                    script='no', downscript='no')
        wait_for(self.slave_card.has_carrier, 'a carrier')
        self.slave_card.wait_for(f'ping -q -c 1 -W 1 {HOST}')
        self.sibling.assert_pings(HOST)
        self.assert_rest_goes_on()
        self.vm.shutdown()
        for name in 'up0', 't0':
            self.assertIn(f"netdev '{name}': the host has deleted its tap",
                          self.vm.get_log())


if __name__ == '__main__':
    IpvlanTest.main()
