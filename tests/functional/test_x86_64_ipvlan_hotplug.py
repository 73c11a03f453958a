#!/usr/bin/env python3
#
# Functional tests of -netdev ipvlan with a Linux guest that gets and loses
# cards, in any order, while others of its cards talk.  They need no
# privileges.
#
# VLINK_GUEST names a directory with the guest's vmlinuz and initrd.img.
# IPVLAN_HOTPLUG_CYCLES says how often, and QEMU_TEST_QEMU_BINARY may be one
# with AddressSanitizer, whose findings end it with a status that is not zero.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import re
import time

from ipvlan_guest import PATIENCE, Card, IpvlanTest

# The host, as the user-mode network shows it to guests.
HOST = '10.0.2.2'

# Five times a second.
PING = 'ping -n -i 0.2'

# a, A: netdev_add of a slave of up0, which others share, or of up1
# p: device_add, and the guest uses it    u: device_del    d: netdev_del
# x, y: netdev_del and netdev_add of up1   r, R: object-add, object-del
# s, S: a slave of the slave              f: a netdev_add that fails
ORDERS = ['apud', 'apdu', 'afpufd', 'asSpud', 'Apxyud', 'rApxRyud', 'Apxdyu',
          'apdaupud']


class Stream:
    """TCP from one card to another, all the time until it is stopped."""

    def __init__(self, sender, receiver):
        self.sender, self.receiver = sender, receiver
        receiver.check('rm -f /tmp/never /tmp/copy /tmp/*.sum; '
                       'mkfifo /tmp/never /tmp/copy; : >/tmp/go')
        receiver.start('(nc -l -p 5001 <>/tmp/never | '
                       'sha256sum >/tmp/got.sum)')
        receiver.wait_for('ss -ltnH sport = :5001 | grep -q LISTEN')
        sender.check('dd if=/dev/urandom of=/tmp/piece bs=64k count=1')
        sender.start('(sha256sum </tmp/copy >/tmp/sent.sum)')
        sender.start('(while [ -e /tmp/go ]; do cat /tmp/piece; sleep 0.2; '
                     'done | tee /tmp/copy | '
                     f'nc {receiver.addr} 5001)')

    def stop(self):
        """What came is what was sent."""
        self.sender.check('rm /tmp/go')
        self.receiver.wait_for('[ -s /tmp/got.sum ]')
        self.sender.wait_for('[ -s /tmp/sent.sum ]')
        self.sender.check('cmp /tmp/got.sum /tmp/sent.sum')


class Pings:
    """Pings of a card, all the time until they are counted."""

    def __init__(self, card, target):
        self.card = card
        self.log = f'/tmp/pings-{card.name}-{target}'
        self.pid = card.check(f'{PING} {target} >{self.log} 2>&1 & echo $!')

    def stop(self):
        """How many were sent, and how many were not answered."""
        self.card.check(f'kill -INT {self.pid}')
        self.card.wait_exit(self.pid)
        text = self.card.check(f'cat {self.log}')
        sent, got = map(int, re.search(r'(\d+) packets transmitted, '
                                       r'(\d+) received', text).groups())
        return sent, sent - got


class IpvlanHotplug(IpvlanTest):

    def launch(self):
        self.add_guest(self.vm)
        # its memory is not what QEMU itself uses
        self.vm.add_args('-machine', 'memory-backend=ram',
                         '-object', 'memory-backend-memfd,id=ram,size=256M',
                         '-device', 'pcie-root-port,id=rp0,chassis=1,'
                         'addr=0x1c', '-netdev', 'user,id=up0',
                         '-netdev', 'user,id=up1')
        self.add_slaves(self.vm, ['', ''])
        guest = self.boot(self.vm)
        cards = self.cards(guest, 2)
        for card in cards:
            card.lease()
        return cards

    # ---- what is done ----

    def op_a(self, master='up0', **options):
        self.vm.cmd('netdev_add', type='ipvlan', id='hot', master=master,
                    **options)

    def op_A(self):
        self.op_a('up1', mode='l3s', addr=['10.0.2.99'])

    def op_d(self):
        self.vm.cmd('netdev_del', id='hot')

    def op_f(self):
        with self.assertRaisesRegex(Exception, 'no such netdev'):
            self.vm.cmd('netdev_add', type='ipvlan', id='bad', master='no')

    def op_p(self):
        self.vm.cmd('device_add', driver='virtio-net-pci', id='nic-hot',
                    bus='rp0', netdev='hot', mac='52:54:00:00:01:01')
        self.hot = Card(self.guest, 'hot', '0000:01:00.0')
        port, = [p for p in self.vm.cmd('query-ipvlan') for s in p['slaves']
                 if s['id'] == 'hot']
        if port['master'] == 'up0':
            self.hot.lease()
            self.hot.assert_pings(self.cards_up0[0].addr, count=1)
        else:
            self.hot.set_address('10.0.2.99/24')
        self.hot.assert_pings(HOST, count=1)
        # it sends on and on, whatever becomes of it
        self.hot.start(f'ping -n -i 0.05 {HOST}')

    def op_u(self):
        self.vm.cmd('device_del', id='nic-hot')
        self.vm.event_wait('DEVICE_DELETED', timeout=PATIENCE,
                           match={'data': {'device': 'nic-hot'}})
        self.guest.check('ip netns pids hot | xargs -r kill; '
                         'ip netns del hot')

    def op_x(self):
        self.vm.cmd('netdev_del', id='up1')

    def op_y(self):
        self.vm.cmd('netdev_add', type='user', id='up1')

    def op_r(self):
        self.vm.cmd('object-add', qom_type='ipvlan-rule', id='r1',
                    master='up1', match='icmp', action='accept')

    def op_R(self):
        self.vm.cmd('object-del', id='r1')

    def op_s(self):
        self.vm.cmd('netdev_add', type='ipvlan', id='deep', master='hot')

    def op_S(self):
        self.vm.cmd('netdev_del', id='deep')

    def run_order(self, order):
        for op in order:
            getattr(self, f'op_{op}')()

    # ---- what is seen ----

    def watch(self, what):
        """Run @what while the cards talk; return pings sent and lost."""
        one, two = self.cards_up0
        pings = [Pings(one, two.addr), Pings(one, HOST), Pings(two, HOST)]
        stream = Stream(one, two)
        what()
        stream.stop()
        counts = [p.stop() for p in pings]
        return sum(c[0] for c in counts), sum(c[1] for c in counts)

    def test_cycles(self):
        """Cards come and go in any order, and the others do not mind."""
        cycles = int(os.environ.get('IPVLAN_HOTPLUG_CYCLES') or
                     2 * len(ORDERS))
        self.cards_up0 = self.launch()
        self.guest = self.cards_up0[0].guest
        holdings = []

        def all_orders():
            holdings.append(self.holding(self.vm))
            for i in range(cycles):
                if i == cycles // 2:
                    holdings.append(self.holding(self.vm))
                self.run_order(ORDERS[i % len(ORDERS)])
            holdings.append(self.holding(self.vm))

        # What it is without hotplug is what it is to be with it.
        _, lost_before = self.watch(lambda: time.sleep(3))
        begin = time.monotonic()
        sent, lost = self.watch(all_orders)
        took = time.monotonic() - begin
        self.log.info('%d cycles in %d s, %d pings sent, %d lost (%d without '
                      'hotplug); memory: %s KiB', cycles, took, sent, lost,
                      lost_before, ', '.join(str(h[2]) for h in holdings))
        self.assertLessEqual(lost, lost_before)
        for holding in holdings[1:]:
            self.assertEqual(holding[:2], holdings[0][:2])
        self.assertLess(holdings[2][2], holdings[1][2] * 1.1)
        for name in 'n0', 'n1':
            self.assertNotIn('rx-queue-full', self.drops(name))
        self.vm.shutdown()
        self.assertEqual(self.vm.exitcode(), 0)


if __name__ == '__main__':
    IpvlanTest.main()
