# Tests of scripts/libvirt-xml: text in, text out.  That libvirt takes it is
# tested in tests/libvirt.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re
import subprocess
import xml.etree.ElementTree as ET

from common import SCRIPTS, ScriptTestCase

QEMU = '{http://libvirt.org/schemas/domain/qemu/1.0}'
USER = ('--master', 'user,id=up0')
SLAVE = 'ipvlan,id=n0,master=up0'

# As somebody may have written it: libvirt would quote and indent otherwise.
DOMAIN = '''<?xml version="1.0"?>
<!-- kept by hand, since <2019> -->
<domain   type="kvm">
  <name>web</name>
  <uuid>6f1d7b6e-1111-4c1c-8a7e-0242ac120002</uuid>
  <metadata>
    <os:libosinfo xmlns:os="http://libosinfo.org/xmlns/libvirt/domain/1.0">
      <os:os id='http://debian.org/debian/12'/>
      <note>Grün &amp; blau</note>
    </os:libosinfo>
  </metadata>
  <os><type arch="x86_64" machine="q35">hvm</type></os>
  <devices>
\t<emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type="file"><target dev="vda" bus="virtio"/></disk>
    <interface type="user">
      <mac address="52:54:00:AA:BB:01"/>
      <model type="virtio"/>
      <address type="pci" domain="0x0000" bus="0x01" slot="0x1e"/>
    </interface>
    <!-- the host's own: no place on the guest's bus -->
    <hostdev mode="subsystem" type="pci">
      <source><address domain="0x0000" bus="0x00" slot="0x1e"/></source>
      <address type="pci" bus="0x02" slot="0x00" function="0x0"/>
    </hostdev>
  </devices>
</domain>
'''


def change(text, old, new):
    assert text.count(old) == 1, old
    return text.replace(old, new)


class LibvirtXmlTestCase(ScriptTestCase):

    def run_script(self, text, *options):
        data = text if isinstance(text, bytes) else text.encode()
        return subprocess.run([SCRIPTS / 'libvirt-xml', *options], input=data,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def put(self, text, *options):
        """What comes out; it must stay as it is when it goes in again."""
        done = self.run_script(text, *options)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        again = self.run_script(done.stdout, *options)
        self.assertEqual(again.stdout, done.stdout)
        return done.stdout.decode()

    def refuse(self, text, *options):
        """The one sentence that is said; nothing comes out."""
        done = self.run_script(text, *options)
        error = done.stderr.decode()
        self.assertEqual((done.returncode, done.stdout), (1, b''), error)
        self.assertEqual(error.count('\n'), 1, error)
        self.assertTrue(error.startswith('libvirt-xml: '), error)
        return error

    @staticmethod
    def args(text):
        return [arg.get('value') for arg in
                ET.fromstring(text).iter(f'{QEMU}arg')]

    def options(self, text, name):
        args = self.args(text)
        return [value for option, value in zip(args[::2], args[1::2])
                if option == name]

    def nic(self, text, slave='n0'):
        """The properties of a slave's NIC."""
        found = [value for value in self.options(text, '-device')
                 if f'netdev={slave},' in value]
        self.assertEqual(len(found), 1, text)
        return dict(re.findall('([a-z]+)=([^,]*)', found[0]))


class PutIn(LibvirtXmlTestCase):

    def test_all_else_is_kept(self):
        new = self.put(DOMAIN, *USER, SLAVE)
        added = re.compile(r" xmlns:qemu='[^']*'|"
                           r"  <qemu:commandline>.*</qemu:commandline>\n",
                           re.DOTALL)
        self.assertEqual(added.sub('', new), DOMAIN)

    def test_arguments(self):
        nic = self.nic(new := self.put(DOMAIN, *USER, SLAVE))
        self.assertEqual(self.args(new), [
            '-netdev', 'user,id=up0', '-netdev', SLAVE, '-device',
            f'virtio-net-pci,netdev=n0,id=nic-n0,mac={nic["mac"]},'
            'bus=pcie.0,addr=0x1e'])
        self.assertRegex(nic['mac'], r'^52:54:00(:[0-9a-f]{2}){3}$')

    def test_characters_of_xml_survive(self):
        master = 'user,id=up0,hostname=<a&"b"\'c\'é>'
        rule = "ipvlan-rule,id=r,master=up0,match='tcp && port > 80'"
        new = self.put(DOMAIN, '--master', master, SLAVE, '--object', rule)
        self.assertIn(master, self.args(new))
        self.assertIn(rule, self.args(new))

    def test_another_slave(self):
        one = self.put(DOMAIN, *USER, SLAVE)
        both = self.put(one, 'ipvlan,id=n1,master=up0')
        self.assertEqual(self.args(both)[:6], self.args(one))
        first, second = self.nic(both), self.nic(both, 'n1')
        self.assertEqual(second['addr'], '0x1c')
        self.assertNotEqual(first['mac'], second['mac'])
        # The first one stays where it is, whoever comes again.
        self.assertEqual(self.put(both, *USER, SLAVE), both)

    def test_replaced(self):
        new = self.put(DOMAIN, *USER, SLAVE)
        new = self.put(new, 'ipvlan,id=n1,master=up0')
        for options in (['--master', 'tap,id=up0,ifname=tap0,script=no'],
                        ['--device', 'e1000,mac=02:00:00:00:00:07'],
                        ['--object', 'ipvlan-rule,id=r,master=up0']):
            slave = SLAVE + f',weight={len(options[0])}'
            new = self.put(new, slave, *options)
            self.assertEqual(self.options(new, '-netdev')[1], slave)
            self.assertIn(options[1] if options[0] != '--device' else
                          f'{options[1]},netdev=n0,id=nic-n0,bus=pcie.0,'
                          'addr=0x1e', self.args(new))
        self.assertEqual(len(self.args(new)), 12)

        # The NIC's identity stays with it, its model is as is said.
        nic = self.nic(self.put(new, SLAVE, '--device', 'virtio-net-pci'))
        self.assertEqual(nic['mac'], '02:00:00:00:00:07')

    def test_master_comes_first(self):
        new = self.put(DOMAIN, *USER, SLAVE)
        new = self.put(new, '--master', 'user,id=up1',
                       'ipvlan,id=n1,master=up1')
        new = self.put(new, 'ipvlan,id=n0,master=up1')
        ids = [re.search('id=([^,]*)', value)[1]
               for value in self.options(new, '-netdev')]
        self.assertEqual(ids, ['up0', 'up1', 'n1', 'n0'])

        lost = re.sub('.*-netdev.*\n.*user,id=up1.*\n', '', new)
        self.assertEqual(self.options(lost, '-netdev')[0], 'user,id=up0')
        found = self.put(lost, '--master', 'user,id=up1',
                         'ipvlan,id=n1,master=up1')
        self.assertLess(self.args(found).index('user,id=up1'),
                        self.args(found).index('ipvlan,id=n1,master=up1'))

    def test_queues(self):
        nic = self.nic(self.put(DOMAIN, *USER, SLAVE + ',queues=4'))
        self.assertEqual((nic['mq'], nic['vectors']), ('on', '10'))

    def test_slave_of_a_netdev_has_no_nic(self):
        new = self.put(DOMAIN, *USER, SLAVE)
        new = self.put(new, SLAVE + ',netdev=s0')
        self.assertEqual(self.options(new, '-device'), [])

    def test_emulator(self):
        new = self.put(DOMAIN, *USER, SLAVE, '--emulator', '/a&b/qemu')
        self.assertIn('\t<emulator>/a&amp;b/qemu</emulator>\n', new)
        without = re.sub('.*<emulator>.*\n', '', DOMAIN)
        new = self.put(without, *USER, SLAVE, '--emulator', '/a/qemu')
        self.assertIn('<emulator>/a/qemu</emulator>\n    <disk', new)

    def test_mac_is_the_domains_and_the_slaves(self):
        mac = self.nic(self.put(DOMAIN, *USER, SLAVE))['mac']
        other = change(DOMAIN, '<uuid>6f', '<uuid>7f')
        self.assertNotEqual(self.nic(self.put(other, *USER, SLAVE))['mac'],
                            mac)
        # Taken by somebody else, it is no more.
        taken = change(DOMAIN, '52:54:00:AA:BB:01', mac.upper())
        self.assertNotEqual(self.nic(self.put(taken, *USER, SLAVE))['mac'],
                            mac)


class Interface(LibvirtXmlTestCase):

    MAC = '52:54:00:aa:bb:01'

    def put_interface(self, text=DOMAIN, alias='ua-n0'):
        new = self.put(text, '--interface', self.MAC,
                       f'ipvlan,id=n0,master=host{alias}')
        root = ET.fromstring(new)
        self.assertEqual([a.get('name') for a in root.iter('alias')], [alias])
        device = root.find(f'{QEMU}override/{QEMU}device')
        self.assertEqual(device.get('alias'), alias)
        prop = device.find(f'{QEMU}frontend/{QEMU}property')
        self.assertEqual(prop.attrib, {'name': 'netdev', 'type': 'string',
                                       'value': 'n0'})
        return new

    def test_is_the_nic(self):
        self.assertEqual(self.options(self.put_interface(), '-device'), [])

    def test_keeps_its_alias(self):
        self.put_interface(change(DOMAIN, '<mac ',
                                  "<alias name='ua-lan'/>\n      <mac "),
                           'ua-lan')

    def test_alias_of_a_domain_that_runs(self):
        self.put_interface(change(DOMAIN, '<mac ',
                                  "<alias name='net0'/>\n      <mac "))

    def test_takes_the_place_of_a_nic(self):
        new = self.put(DOMAIN, *USER, SLAVE)
        new = self.put(new, SLAVE, '--interface', self.MAC)
        self.assertEqual(self.options(new, '-device'), [])

    def test_stays_the_nic(self):
        new = self.put_interface()
        slave = 'ipvlan,id=n0,master=hostua-n0,weight=2'
        new = self.put(new, slave)
        self.assertEqual(self.args(new), ['-netdev', slave])
        self.assertIn('n0', self.refuse(new, slave, '--device', 'e1000'))

    def test_unknown(self):
        self.assertIn('52:54:00:00:00:09', self.refuse(
            DOMAIN, *USER, SLAVE, '--interface', '52:54:00:00:00:09'))

    def test_has_another_slave(self):
        self.assertIn('n0', self.refuse(
            self.put_interface(), *USER, 'ipvlan,id=n1,master=up0',
            '--interface', self.MAC))


class Addresses(LibvirtXmlTestCase):

    def slot(self, text, *options):
        return int(self.nic(self.put(text, *USER, SLAVE, *options))['addr'],
                   16)

    @staticmethod
    def with_devices(lines, machine='q35'):
        text = change(DOMAIN, 'machine="q35"', f'machine="{machine}"')
        return change(text, '  </devices>\n', f'{lines}\n  </devices>\n')

    @staticmethod
    def device_at(slot, rest=''):
        return (f"<controller type='scsi'><address type='pci' slot='{slot}'"
                f"{rest}/></controller>")

    def test_explicit_addresses(self):
        for slot in '0x1e', '30', '036':
            with self.subTest(slot=slot):
                expected = 0x1e if slot == '036' else 0x1c
                self.assertEqual(self.slot(self.with_devices(
                    self.device_at(slot))), expected)
        elsewhere = self.device_at('0x1e', " bus='0x03'")
        self.assertEqual(self.slot(self.with_devices(elsewhere)), 0x1e)

    def test_i440fx(self):
        for machine in 'pc', 'pc-i440fx-10.0':
            new = self.put(self.with_devices('', machine), *USER, SLAVE)
            self.assertEqual(self.nic(new)['bus'], 'pci.0')
            self.assertEqual(self.nic(new)['addr'], '0x1f')
        new = self.put(change(DOMAIN, ' machine="q35"', ''), *USER, SLAVE)
        self.assertEqual(self.nic(new)['bus'], 'pci.0')

    def test_south_bridge_is_left_alone(self):
        # sound, USB and SATA, which have no address here yet
        new = self.put(DOMAIN, *USER, SLAVE)
        for i in range(1, 6):
            new = self.put(new, f'ipvlan,id=n{i},master=up0')
        slots = {self.nic(new, f'n{i}')['addr'] for i in range(6)}
        self.assertEqual(slots, {'0x1e', '0x1c', '0x19', '0x18', '0x17',
                                 '0x16'})

    def test_bridge_that_is_to_have_an_address(self):
        bridge = "<controller type='pci' model='dmi-to-pci-bridge'/>"
        self.assertEqual(self.slot(self.with_devices(bridge)), 0x1c)

    def test_arguments_of_others(self):
        line = ("<commandline xmlns='http://libvirt.org/schemas/domain/qemu/"
                "1.0'>{}</commandline>")
        for device, slot in (
                ('e1000,addr=1e.0', 0x1c),
                ('e1000,bus=pcie.0,addr=0x1E', 0x1c),
                ('e1000,bus=rp1,addr=0x1e', 0x1e),
                ('{"driver":"e1000","bus":"pcie.0","addr":"0x1e"}', 0x1c)):
            args = f'<arg value="-device"/><arg value=\'{device}\'/>'
            with self.subTest(device=device):
                text = change(DOMAIN, '</domain>', line.format(args) +
                              '</domain>')
                new = self.put(text, *USER, SLAVE)
                self.assertEqual(self.args(new)[:2], ['-device', device])
                self.assertEqual(int(self.nic(new)['addr'], 16), slot)

    def test_stays_unless_it_is_taken(self):
        new = self.put(DOMAIN, *USER, SLAVE)
        new = self.put(new, SLAVE, '--device', 'virtio-net-pci,addr=0x10')
        self.assertEqual(self.nic(self.put(new, SLAVE))['addr'], '0x10')
        taken = change(new, '  </devices>',
                       f'{self.device_at("0x10")}\n  </devices>')
        self.assertEqual(self.nic(self.put(taken, SLAVE))['addr'], '0x1e')

    def test_wanted_address_is_taken(self):
        self.assertIn('0x07', self.refuse(
            self.with_devices(self.device_at('0x07')), *USER, SLAVE,
            '--device', 'virtio-net-pci,addr=0x07'))

    def test_another_bus(self):
        nic = self.nic(self.put(self.with_devices('', 'microvm'), *USER,
                                SLAVE, '--device', 'virtio-net-pci,bus=rp1'))
        self.assertEqual(nic['bus'], 'rp1')
        self.assertNotIn('addr', nic)

    def test_unknown_machine(self):
        self.assertIn('microvm', self.refuse(
            self.with_devices('', 'microvm'), *USER, SLAVE))

    def test_bus_is_full(self):
        full = '\n'.join(self.device_at(hex(slot)) for slot in range(3, 32))
        self.assertIn('pcie.0', self.refuse(self.with_devices(full), *USER,
                                            SLAVE))

    def test_room_is_left_for_devices_without_address(self):
        disks = '<disk type="file"/>\n' * 28
        self.assertIn('pci.0', self.refuse(self.with_devices(disks, 'pc'),
                                           *USER, SLAVE))


class BadInput(LibvirtXmlTestCase):

    def test_xml(self):
        for text, word in (
                ('', 'not XML'), ('<domain', 'not XML'),
                ('<domain type="kvm"><devices></domain>', 'not XML'),
                (b'<domain type="kvm">\xff</domain>', 'UTF-8'),
                (DOMAIN.replace('kvm', 'x&y;'), 'not XML'),
                ('<!DOCTYPE domain [<!ENTITY a "b">]><domain/>', 'domain'),
                ('<network><name>lan</name></network>', '<network>'),
                (DOMAIN.replace('"kvm"', '"xen"'), 'xen'),
                (DOMAIN.replace(' type="kvm"', ''), 'None'),
                ('<domain type="kvm"/>', 'devices')):
            with self.subTest(text=text[:60]):
                self.assertIn(word, self.refuse(text, *USER, SLAVE))

    def test_options(self):
        for options, word in (
                ([], 'NETDEV'),
                (['--frobnicate', SLAVE], '--frobnicate'),
                ([SLAVE], 'up0'),
                (['ipvlan,master=up0'], 'id='),
                (['ipvlan,id=n0'], 'master='),
                (['user,id=n0'], 'user,id=n0'),
                (['ipvlan,id=hostnet0,master=up0'], 'hostnet0'),
                ([*USER, 'ipvlan,id=n0,master=up1'], 'up1'),
                (['--master', 'user', SLAVE], 'user'),
                (['--master', 'tap,id=up0,fd=3', SLAVE], 'fd='),
                ([*USER, SLAVE, '--device', 'mac=02:00:00:00:00:01'],
                 'mac=02'),
                ([*USER, SLAVE, '--device', 'e1000,mac=1:2'], '1:2'),
                ([*USER, SLAVE, '--device', 'e1000,mac=03:00:00:00:00:01'],
                 '03:00'),
                ([*USER, SLAVE, '--device', 'e1000,mac=52:54:00:aa:bb:01'],
                 '52:54:00:aa:bb:01'),
                ([*USER, SLAVE, '--device', 'e1000,netdev=up0'], 'up0'),
                ([*USER, SLAVE + ',netdev=s0', '--device', 'e1000'], 's0'),
                ([*USER, SLAVE, '--device', 'e1000', '--interface', 'x'],
                 '--interface'),
                ([*USER, SLAVE, '--object', 'ipvlan-rule'], 'ipvlan-rule'),
                ([*USER, SLAVE, '--emulator', 'qemu'], 'qemu')):
            with self.subTest(options=options):
                self.assertIn(word, self.refuse(DOMAIN, *options))

    def test_taken_ids(self):
        for old, options in (
                ('-netdev user,id=n0', [SLAVE]),
                ('-device e1000,netdev=x,id=nic-n0', [SLAVE]),
                ('-device e1000,netdev=up0', [SLAVE]),
                ('-object rng-random,id=r',
                 [SLAVE, '--object', 'ipvlan-rule,id=r,master=up0'])):
            with self.subTest(old=old):
                args = ''.join(f"<q:arg value='{word}'/>"
                               for word in old.split())
                text = change(DOMAIN, '</domain>', f'<q:commandline xmlns:q='
                              f"'{QEMU[1:-1]}'>{args}</q:commandline>"
                              '</domain>')
                self.assertIn(old, self.refuse(text, *USER, *options))
