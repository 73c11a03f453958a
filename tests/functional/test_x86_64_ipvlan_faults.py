#!/usr/bin/env python3
#
# Functional tests of -netdev ipvlan: Linux guests that do to their cards,
# under load, whatever a driver can.  They need no privileges.
#
# VLINK_GUEST names a directory with the guest's vmlinuz and initrd.img.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re

from ipvlan_guest import FIRST_SLOT, IpvlanTest, wait_for

ADDRESSES = '192.0.2.10', '192.0.2.11', '192.0.2.12'

# The card that is tormented, the one that it talks to, and a bystander.
VICTIM, PEER, BYSTANDER = range(3)

PCI = f'/sys/bus/pci/devices/0000:00:{FIRST_SLOT + VICTIM:02x}.0'
DRIVER = '/sys/bus/virtio/drivers/virtio_net'


class IpvlanFaults(IpvlanTest):

    def setUp(self):
        super().setUp()
        self.add_guest(self.vm, cpus=2)
        # Nobody is there: the user-mode stack would answer for who has moved.
        path = self.socket_dir().name
        self.vm.add_args('-netdev', 'dgram,id=up0,'
                         f'local.type=unix,local.path={path}/here,'
                         f'remote.type=unix,remote.path={path}/nobody')
        self.add_slaves(self.vm, ['queues=2'] * 3,
                        features=[',mq=on,vectors=6'] * 3)
        self.guest = self.boot(self.vm)
        self.all_cards = self.cards(self.guest)
        self.victim, self.peer, self.bystander = self.all_cards
        for card, address in zip(self.all_cards, ADDRESSES):
            card.set_address(f'{address}/24')
        self.victim.assert_pings(ADDRESSES[PEER])

    def start_bystander(self):
        """It pings the peer, ten times a second, until told to stop."""
        self.bystander.assert_pings(ADDRESSES[PEER])
        self.pings = self.bystander.check(
            f'ping -i 0.1 -n -q -W 60 {ADDRESSES[PEER]} '
            '>/tmp/bystander.log 2>&1 & echo $!')

    def assert_bystander(self):
        """None of its pings was lost."""
        self.guest.check(f'kill -INT {self.pings}')
        self.bystander.wait_exit(self.pings)
        report = self.guest.check('cat /tmp/bystander.log')
        sent, received = map(int, re.search(
            r'(\d+) packets transmitted, (\d+) received', report).groups())
        # the last one may be on its way
        self.assertLessEqual(sent - received, 1, report)
        self.assertGreater(received, 5, report)
        return received

    def assert_all_talk(self):
        for card in self.all_cards:
            for address in ADDRESSES:
                if address != card.addr:
                    card.assert_pings(address, count=1)

    def rebind(self):
        """The driver lets go of its device, which it resets, and takes it."""
        device = self.guest.check(f'basename {PCI}/virtio*')
        self.guest.check(f'echo {device} >{DRIVER}/unbind')
        self.guest.check(f'echo {device} >{DRIVER}/bind')
        name = self.guest.wait_for(f'basename {PCI}/virtio*/net/*')
        self.guest.check(f'ip link set {name} netns n0 name eth0 && '
                         'ip -n n0 link set eth0 up')
        self.victim.set_address(f'{ADDRESSES[VICTIM]}/24')

    def test_rebind(self):
        """The device is reset in the midst of floods from both sides."""
        times = 6
        self.start_bystander()
        flood = self.peer.start(f'ping -f -n -q {ADDRESSES[VICTIM]}')
        for _ in range(times):
            other = self.victim.start(f'ping -f -n -q {ADDRESSES[PEER]}')
            before = self.slave('n0')['stats']['tx-packets']
            wait_for(lambda: self.slave('n0')['stats']['tx-packets'] >
                     before + 200, 'the flood')
            self.rebind()
            self.guest.check(f'kill {other}')
        self.guest.check(f'kill -INT {flood}')
        self.peer.wait_exit(flood)
        pings = self.assert_bystander()
        self.assert_all_talk()
        self.log.info('%d rebinds survived, %d pings of a bystander and '
                      'none lost', times, pings)

    def test_changes(self):
        """MAC addresses, offloads and queues change under TCP."""
        times = 6
        # It tells its new address, and who hears of it believes it at once.
        self.victim.check('sysctl -qw net.ipv4.conf.eth0.arp_notify=1')
        for card in self.peer, self.bystander:
            card.check('sysctl -qw net.ipv4.neigh.eth0.locktime=0')
        server = self.peer.start('iperf3 -s -1')
        self.peer.wait_for('ss -ltnH sport = :5201 | grep -q LISTEN')
        self.start_bystander()
        client = self.victim.start('iperf3 -t 600 --connect-timeout 10000 '
                                   f'-c {ADDRESSES[PEER]}')
        changes = 0
        for i in range(times):
            on = 'on' if i % 2 else 'off'
            for command in (
                    f'ip link set eth0 address 52:54:00:00:01:{i:02x}',
                    f'ethtool -K eth0 tso {on} gso {on} tx {on}',
                    f'ethtool -K eth0 rx-gro-hw {on}',
                    f'ethtool -L eth0 combined {1 + i % 2}'):
                before = self.slave('n1')['stats']['rx-bytes']
                self.victim.check(command)
                changes += 1
                wait_for(lambda: self.slave('n1')['stats']['rx-bytes'] >
                         before + (1 << 20), f'TCP to go on after {command}')
        self.guest.check(f'kill -INT {client}')
        self.victim.wait_exit(client)
        self.peer.wait_exit(server)
        pings = self.assert_bystander()
        self.assert_all_talk()
        self.log.info('%d changes survived, %d pings of a bystander and none '
                      'lost', changes, pings)


if __name__ == '__main__':
    IpvlanTest.main()
