#!/usr/bin/env python3
#
# Functional tests of -netdev ipvlan without privileges: in QEMU's sandbox, as
# a user who may do nothing, and in a directory with nothing in it.  They need
# root, to make the tap and to give it away.
#
# VLINK_GUEST names a directory with the guest's vmlinuz and initrd.img.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import fcntl
import os
import re
import shutil
import struct
import subprocess
import tempfile

from ipvlan_guest import Card, IpvlanTest, wait_for
from ipvlan_tap import HOST, PORT_MAC, IpvlanTapTest, Sink
from qemu_test import skipIfMissingCommands

NOBODY = 65534

# linux/if_tun.h
TUNSETIFF = 0x400454ca
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000

SANDBOX = 'on,obsolete=deny,spawn=deny,resourcecontrol=deny'

# The host, as the user-mode network shows it to guests, and what they are.
USER_HOST = '10.0.2.2'
ROUTED = '10.0.2.100'


class SandboxTest(IpvlanTapTest):
    """A guest on a tap, in l2-macnat, and on the user-mode stack, in l3s."""

    # where QEMU finds self.directory
    inside = None

    def setUp(self):
        super().setUp()
        self.give_address()
        self.serve_dhcp()
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)
        os.chown(self.directory, NOBODY, NOBODY)
        self.fds = []
        self.addCleanup(lambda: [os.close(fd) for fd in self.fds])

    # ---- what QEMU is given ----

    def open_tap(self):
        """As whoever starts QEMU does, when QEMU itself may not."""
        with self.host:
            fd = os.open('/dev/net/tun', os.O_RDWR)
            fcntl.ioctl(fd, TUNSETIFF, struct.pack(
                '16sH22x', b'tap0', IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        self.fds.append(fd)
        os.set_inheritable(fd, True)
        return fd

    def close_taps(self):
        """QEMU's are the only ones from now on."""
        while self.fds:
            os.close(self.fds.pop())

    def add_uplink(self, vm):
        raise NotImplementedError

    def confine(self, vm):
        raise NotImplementedError

    def make_machine(self, vm):
        self.add_guest(vm)
        vm.add_args('-device', 'pcie-root-port,id=rp0,chassis=1,addr=0x1c')
        self.add_uplink(vm)
        vm.add_args(
            '-netdev', 'user,id=up1',
            '-netdev', f'ipvlan,id=n0,master=up0,mac={PORT_MAC}',
            '-netdev', f'ipvlan,id=n1,master=up1,mode=l3s,addr={ROUTED},'
            f'policy=drop,gateway={USER_HOST}',
            '-object', 'ipvlan-rule,id=ping,master=up1,match=icmp,'
            'action=accept')
        for i in 0, 1:
            self.add_card(vm, i, f'n{i}')
        self.confine(vm)

    def launch(self):
        self.make_machine(self.vm)
        with self.host:
            self.guest = self.boot(self.vm)
        self.close_taps()
        cards = self.cards(self.guest, 2)
        cards[0].lease()
        cards[1].check(f'ip address add {ROUTED}/24 dev eth0')
        cards[1].addr = ROUTED
        return cards

    def port(self, vm=None, master='up0'):
        ports = (vm or self.vm).cmd('query-ipvlan')
        return [p for p in ports if p['master'] == master][0]

    def assert_confined(self, vm):
        """Nobody, without a capability, behind a filter of system calls."""
        with open(f'/proc/{vm.get_pid()}/status') as file:
            status = dict(re.findall(r'(\w+):\s*(.*)', file.read()))
        self.assertEqual(status['Uid'].split(), [str(NOBODY)] * 4)
        self.assertEqual(status['Gid'].split(), [str(NOBODY)] * 4)
        for which in 'CapEff', 'CapPrm', 'CapInh', 'CapAmb':
            self.assertEqual(int(status[which], 16), 0, which)
        self.assertEqual(status['NoNewPrivs'], '1')
        self.assertEqual(status['Seccomp'], '2')

    # ---- what goes on all the same ----

    def check_traffic(self, tapped, routed):
        tapped.assert_pings(HOST)
        self.make_blob(self.guest)
        self.send_to_host(tapped)
        routed.assert_pings(USER_HOST)

    def check_rules(self, routed):
        """One more, at run time; what it does not accept is dropped."""
        sink = Sink(self.host)
        status, _ = routed.run(f'nc -w 1 {USER_HOST} {sink.port} </dev/null')
        self.assertNotEqual(status, 0)
        self.vm.cmd('object-add', **{
            'qom-type': 'ipvlan-rule', 'id': 'tcp', 'master': 'up1',
            'match': f'tcp dst port {sink.port}', 'action': 'accept'})
        routed.transmit('/tmp/blob', USER_HOST, sink.port)
        self.assertEqual(sink.digest(), routed.digest('/tmp/blob'))
        with self.assertRaisesRegex(Exception, 'syntax error'):
            self.vm.cmd('object-add', **{
                'qom-type': 'ipvlan-rule', 'id': 'bad', 'master': 'up1',
                'match': 'tcp and or', 'action': 'accept'})
        self.vm.cmd('object-del', id='tcp')

    def check_names(self):
        """Ports have names as long as /etc/services is there."""
        name = {'qom-type': 'ipvlan-rule', 'id': 'name', 'master': 'up1',
                'match': 'tcp dst port https', 'action': 'accept'}
        if not self.inside and os.path.exists('/etc/services'):
            self.vm.cmd('object-add', **name)
            self.vm.cmd('object-del', id='name')
        else:
            with self.assertRaisesRegex(Exception, "unknown port 'https'"):
                self.vm.cmd('object-add', **name)

    def check_hotplug(self):
        self.vm.cmd('netdev_add', type='ipvlan', id='hot', master='up0')
        self.vm.cmd('device_add', driver='virtio-net-pci', id='nic-hot',
                    bus='rp0', netdev='hot', mac='52:54:00:00:01:01',
                    romfile='')     # a file that is not there
        hot = Card(self.guest, 'hot', '0000:01:00.0')
        hot.lease()
        hot.assert_pings(HOST)
        self.vm.cmd('device_del', id='nic-hot')
        self.vm.event_wait('DEVICE_DELETED', timeout=60,
                           match={'data': {'device': 'nic-hot'}})
        self.vm.cmd('netdev_del', id='hot')

    def check_changes(self, tapped):
        self.vm.cmd('ipvlan-address-add', slave='n0', address='192.0.2.77')
        self.vm.cmd('ipvlan-address-del', slave='n0', address='192.0.2.77')
        self.vm.cmd('ipvlan-slave-set', **{'id': 'n0', 'tx-bps': 100000000})
        for mode in 'l3', 'l2-macnat':
            self.vm.cmd('ipvlan-port-set', master='up0', mode=mode)
            tapped.assert_pings(HOST)

    def check_master(self, tapped):
        """Another tap, which somebody else has opened."""
        self.vm.cmd('netdev_del', id='up0')
        self.vm.send_fd_scm(fd=self.open_tap())
        self.vm.cmd('getfd', fdname='tap')
        self.vm.cmd('netdev_add', type='tap', id='up0', fd='tap')
        self.close_taps()
        tapped.assert_pings(HOST)

    def check_mac(self):
        """A new port has the MAC address that it would have anywhere."""
        free = self.get_vm(name='free')
        free.add_args('-machine', 'none', '-netdev', 'user,id=up2',
                      '-netdev', 'ipvlan,id=n2,master=up2')
        free.launch()
        self.vm.cmd('netdev_add', type='user', id='up2')
        self.vm.cmd('netdev_add', type='ipvlan', id='n2', master='up2')
        self.assertEqual(self.port(master='up2')['mac'],
                         self.port(free, 'up2')['mac'])
        self.vm.cmd('netdev_del', id='n2')
        self.vm.cmd('netdev_del', id='up2')

    def check_saved(self, tapped):
        """To a file, and on in another QEMU, as confined as this one."""
        state = os.path.join(self.inside or self.directory, 'state')
        self.vm.cmd('migrate', uri=f'file:{state}')
        self.wait_migrated(self.vm)
        self.vm.shutdown()
        here = self.get_vm(name='here')
        self.make_machine(here)
        here.add_args('-incoming', 'defer')
        with self.host:
            here.launch()
        self.close_taps()
        self.assert_confined(here)
        here.cmd('migrate-incoming', uri=f'file:{state}')
        self.wait_migrated(here)
        self.assertIn(tapped.addr, self.owned('n0', here))
        wait_for(lambda: self.host.run(f'ping -n -c 1 -W 1 {tapped.addr}',
                                       check=False).returncode == 0,
                 'the machine that was saved')

    def wait_migrated(self, vm):
        def is_over():
            status = vm.cmd('query-migrate').get('status')
            self.assertNotEqual(status, 'failed')
            return status == 'completed'
        wait_for(is_over, 'a migration')

    def check_all(self):
        tapped, routed = self.launch()
        self.assert_confined(self.vm)
        self.check_traffic(tapped, routed)
        self.check_rules(routed)
        self.check_names()
        self.check_hotplug()
        self.check_changes(tapped)
        self.check_master(tapped)
        self.check_mac()
        self.check_saved(tapped)


@skipIfMissingCommands('ip', 'dnsmasq', 'setpriv')
class Sandbox(SandboxTest):
    """All that QEMU can forbid itself; nobody has started it."""

    def nobody(self):
        return ['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}',
                '--clear-groups', '--inh-caps=-all', '--bounding-set=-all']

    def add_uplink(self, vm):
        vm.add_args('-netdev', f'tap,id=up0,fd={self.open_tap()}')

    def confine(self, vm):
        for path in self.qemu_bin, self.initrd:
            if subprocess.run([*self.nobody(), 'test', '-r', path]).returncode:
                self.skipTest(f'nobody may read {path}')
        vm._wrapper = self.nobody()
        vm.add_args('-sandbox', f'{SANDBOX},elevateprivileges=deny')

    def test_nobody(self):
        self.check_all()


@skipIfMissingCommands('ip', 'dnsmasq')
class RunWith(SandboxTest):
    """QEMU opens what it needs as root, and gives that up."""

    run_with = f'user={NOBODY}:{NOBODY}'

    def add_uplink(self, vm):
        vm.add_args('-netdev', 'tap,id=up0,ifname=tap0,script=no,'
                    'downscript=no')

    def confine(self, vm):
        # elevateprivileges=deny forbids -run-with user= itself
        vm.add_args('-sandbox', SANDBOX, '-run-with', self.run_with)

    def test_user(self):
        self.check_all()


class RunWithChroot(RunWith):
    """And then in an empty directory."""

    inside = '/'

    def confine(self, vm):
        self.run_with = f'chroot={self.directory},user={NOBODY}:{NOBODY}'
        super().confine(vm)


if __name__ == '__main__':
    IpvlanTest.main()
