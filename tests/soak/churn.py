# What changes all the time of a soak.
#
# Each operation adds to the soak's totals what it has done, and its name to
# the operations that may explain a drop (see account.py).
#
# SPDX-License-Identifier: GPL-2.0-or-later

import socket

from ipvlan_guest import PATIENCE, Card, wait_for

HOT_MAC = '52:54:00:00:01:01'
HOT_PCI = '0000:01:00.0'
HOT_PORT = 4000         # a rule of ours is about it


class Churn:
    """What a network and its operator do; the talk goes on meanwhile."""

    def __init__(self, soak):
        self.soak = soak
        self.vm = soak.vm
        self.random = soak.random
        self.slaves = 0

    def calm(self):
        """Of which nobody's talk may suffer."""
        return [self.plug, self.plug_bare, self.guest_address,
                self.qmp_address, self.rates, self.rule, self.mode_of_routed,
                self.renew]

    def rough(self):
        """In which frames get lost, each for a reason."""
        return [self.link_down, self.tap_down, self.replace, self.mode]

    def did(self, operation, what, n=1):
        self.soak.operations.add(operation)
        self.soak.totals[what] += n

    # ---- slaves and cards ----

    def unplug(self, hot):
        self.vm.cmd('device_del', id='nic-hot')
        self.vm.event_wait('DEVICE_DELETED', timeout=PATIENCE,
                           match={'data': {'device': 'nic-hot'}})
        hot.guest.check('ip netns del hot')

    def plug(self):
        """A slave and its card come, are used, and go in either order."""
        soak = self.soak
        self.did('plug', 'slaves and NICs plugged')
        self.vm.cmd('netdev_add', type='ipvlan', id='hot', master='up0')
        self.vm.cmd('device_add', driver='virtio-net-pci', id='nic-hot',
                    bus='rp0', netdev='hot', mac=HOT_MAC)
        hot = Card(soak.guest, 'hot', HOT_PCI)
        hot.lease()
        soak.totals['DHCP leases'] += 1
        known = soak.settled([hot], [])
        for target in soak.host_addr, soak.cards['n0'].addr:
            if not hot.ping(target, count=1):
                soak.fail(f'a card that was plugged does not reach {target}')
        if self.random.random() < 0.5:
            soak.expect_equal([hot], [], known)
            self.unplug(hot)
            self.vm.cmd('netdev_del', id='hot')
        else:
            self.vm.cmd('netdev_del', id='hot')
            self.unplug(hot)

    def plug_bare(self):
        """A slave that nobody ever uses."""
        self.did('plug', 'slaves and NICs plugged')
        self.slaves += 1
        name = f'bare{self.slaves}'
        self.vm.cmd('netdev_add', type='ipvlan', id=name, master='up1',
                    addr=['198.51.100.99'], weight=self.random.randint(1, 256))
        self.soak.look()
        self.vm.cmd('netdev_del', id=name)

    # ---- addresses ----

    def guest_address(self):
        """A guest takes one more, uses it, and gives it up."""
        soak = self.soak
        i = self.random.randrange(2)
        card = soak.cards[f'n{i}']
        # Not the other one's of a moment ago: that is still owned.
        n = 200 + 25 * i + self.random.randrange(25)
        for addr, target in ((f'192.0.2.{n}/32', soak.host_addr),
                             (f'2001:db8:1::{n}/128', soak.host_addr6)):
            self.did('address', 'addresses added')
            # No other talk is to choose it as its source, and lose it.
            options = 'nodad preferred_lft 0' if ':' in addr else ''
            card.check(f'ip address add {addr} dev eth0 {options}')
            source = addr.partition('/')[0]
            if not card.ping(target, f'-I {source}', count=1):
                soak.fail(f'{card.name} does not reach {target} from {source}')
            if source not in soak.owned(card.name, 'up0'):
                soak.fail(f'{card.name} uses {source}, which is not learned')
            card.check(f'ip address del {addr} dev eth0')

    def qmp_address(self):
        """A slave is given one, or a prefix, and loses it."""
        name, prefix = self.random.choice([
            ('n0', '192.0.2.180/30'), ('n1', '2001:db8:1:8000::/65'),
            ('m0', '198.51.100.77'), ('m1', '198.51.100.128/25')])
        self.did('address', 'addresses added')
        self.vm.cmd('ipvlan-address-add', slave=name, address=prefix)
        self.soak.look()
        self.vm.cmd('ipvlan-address-del', slave=name, address=prefix)

    def renew(self):
        for client in self.soak.clients:
            if client.renew():
                self.soak.totals['DHCP leases'] += 1
            else:
                self.soak.fail(f'{client.card.name} could not renew its lease')

    # ---- limits, rules, modes ----

    def rates(self):
        """Other shares and limits, and no limits in the end."""
        name = self.random.choice(['n0', 'n1', 'm0', 'm1'])
        self.did('rate', 'rates and weights changed', 2)
        self.vm.cmd('ipvlan-slave-set', **{
            'id': name, 'weight': self.random.randint(1, 256),
            'tx-bps': self.random.randint(5, 50) * 1000000,
            'rx-bps': self.random.randint(5, 50) * 1000000})
        self.soak.pause(1)
        self.vm.cmd('ipvlan-slave-set', **{'id': name, 'tx-bps': 0,
                                           'rx-bps': 0, 'weight': 1})

    def rule(self):
        """A rule that drops what the network sends to a port."""
        soak = self.soak
        if soak.port('up1')['mode'] != 'l3s':
            return
        self.did('rule', 'rules added')
        self.vm.cmd('object-add', **{
            'qom-type': 'ipvlan-rule', 'id': 'r0', 'master': 'up1',
            'match': f'udp dst port {HOT_PORT}', 'direction': 'in',
            'action': 'drop'})
        with soak.host, socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(b'soak', (soak.cards['m0'].addr, HOT_PORT))

        def is_refused():
            return soak.port('up1')['rules'][0]['packets']
        wait_for(is_refused, 'a rule to see its packet')
        self.vm.cmd('object-del', id='r0')

    def mode_of_routed(self):
        """l3s forgets its flows, and is with the next packets as before."""
        mode = 'l3' if self.soak.port('up1')['mode'] == 'l3s' else 'l3s'
        self.did('mode', 'modes changed')
        self.vm.cmd('ipvlan-port-set', master='up1', mode=mode)

    # ---- the uplink ----

    def recover(self):
        """Everybody reaches the network again."""
        for card in self.soak.cards.values():
            card.wait_for(f'ping -n -c 1 -W 1 {self.soak.gateway_of(card)}')

    def link_down(self):
        self.did('uplink', 'uplink down and up')
        card = self.soak.cards['n0']
        self.vm.cmd('set_link', name='up0', up=False)
        card.wait_for('ip link show dev eth0 | grep -q NO-CARRIER')
        self.soak.pause(1)
        self.vm.cmd('set_link', name='up0', up=True)
        card.wait_for('! ip link show dev eth0 | grep -q NO-CARRIER')

    def tap_down(self):
        """The host's end: QEMU's writes fail."""
        self.did('uplink', 'uplink down and up')
        self.soak.host.run('ip link set tap0 down')
        self.soak.pause(1)
        self.soak.host.run('ip link set tap0 up')

    def replace(self):
        self.did('replace', 'masters replaced')
        self.vm.cmd('netdev_del', id='up0')
        self.soak.pause(1)
        self.vm.cmd('netdev_add', type='tap', id='up0', ifname='tap0',
                    script='no', downscript='no')

    def mode(self):
        """The port becomes the guests' router for a while."""
        self.did('mode', 'modes changed', 2)
        self.vm.cmd('ipvlan-port-set', master='up0', mode='l3')
        self.soak.pause(2)
        self.vm.cmd('ipvlan-port-set', master='up0', mode='l2-macnat')
