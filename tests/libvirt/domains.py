# What the tests under libvirt share.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
GUEST = REPO / 'build' / 'guest'
SOURCE = REPO / 'build' / 'qemu-src'

# The guests are those of the functional tests, which QEMU's framework runs.
os.environ.setdefault('QEMU_BUILD_ROOT', str(REPO / 'build' / 'qemu'))
sys.path[:0] = [str(SOURCE / 'python'), str(SOURCE / 'tests' / 'functional')]

from ipvlan_guest import Card, Guest        # noqa: E402
from ipvlan_tap import Namespace            # noqa: E402
from libvirtd import (EMULATOR, Libvirtd,             # noqa: E402
                      SystemLibvirtd)

QEMU_ARG = '{http://libvirt.org/schemas/domain/qemu/1.0}arg'

# What virt-install gives a guest without a screen, and libvirt without being
# asked, but for a disk.
DOMAIN_XML = '''<domain type='qemu'>
  <name>{domain.name}</name>
  <uuid>{domain.uuid}</uuid>
  <memory unit='MiB'>256</memory>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <kernel>{guest}/vmlinuz</kernel>
    <initrd>{guest}/initrd.img</initrd>
    <cmdline>console=ttyS0 quiet no_timer_check panic=-1</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <devices>
    <controller type='usb' model='qemu-xhci'/>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <serial type='unix'><source mode='bind' path='{domain.console}'/></serial>
{devices}
  </devices>
</domain>
'''


def put_slave(xml, *options):
    """What scripts/libvirt-xml makes of it."""
    return subprocess.run([REPO / 'scripts' / 'libvirt-xml', *options],
                          input=xml, check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def interface(kind, mac, model='virtio', rest=''):
    return (f"    <interface type='{kind}'><mac address='{mac}'/>"
            f"<model type='{model}'/>{rest}</interface>")


class NoNamespace(contextlib.nullcontext):
    """Who is not root stays in that of the machine."""

    def close(self):
        pass


def can_unshare(what):
    """Whether this machine allows a namespace of this sort."""
    return subprocess.run(['unshare', what, 'true'],
                          stderr=subprocess.DEVNULL).returncode == 0


class LibvirtTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        # What is found out about the emulator takes seconds to find out.
        cls.probed = Path(tempfile.mkdtemp(prefix='vlink-'))
        cls.addClassCleanup(shutil.rmtree, cls.probed)

    def setUp(self):
        for program in 'libvirtd', 'virsh':
            if not shutil.which(program, path='/usr/sbin:/usr/bin'):
                self.skipTest(f'there is no {program}')
        self.daemon_class = self.choose_daemon()
        # Short, because there will be sockets in it.
        self.tmp = Path(tempfile.mkdtemp(prefix='vlink-'))
        self.addCleanup(shutil.rmtree, self.tmp)
        self.host = self.make_host()
        self.addCleanup(self.host.close)

    def choose_daemon(self):
        """A user's libvirtd; the system's where root has to be root."""
        if os.geteuid() != 0 or can_unshare('--user'):
            return Libvirtd
        return self.choose_system()

    def choose_system(self):
        if os.geteuid() != 0:
            self.skipTest("only root can run the system's libvirtd")
        if not can_unshare('--mount'):
            self.skipTest("root cannot make a namespace for the system's "
                          'libvirtd')
        return SystemLibvirtd

    @staticmethod
    def make_host():
        if os.geteuid() != 0:
            return NoNamespace()
        host = Namespace()
        host.run('ip link set lo up')
        return host

    def start_daemon(self, name='a'):
        daemon = self.daemon_class(self, self.tmp / name, self.host)
        daemon.start()
        return daemon

    def make_xml(self, domain, slaves, devices=(), machine='q35'):
        """A domain's XML with slaves, of which each is a list of options."""
        xml = DOMAIN_XML.format(domain=domain, guest=GUEST, machine=machine,
                                devices='\n'.join(devices))
        for options in slaves:
            xml = put_slave(xml, '--emulator', EMULATOR, *options)
        return xml

    def boot(self, domain):
        domain.start()
        return Guest(self, domain)

    def cards(self, guest, xml, names):
        """The cards of slaves whose NICs are arguments in this XML."""
        nics = ' '.join(arg.get('value') for arg
                        in ET.fromstring(xml).iter(QEMU_ARG))
        return [Card(guest, name, '0000:00:{}.0'.format(
                    re.search(f'netdev={name},.*?addr=0x([0-9a-f]+)',
                              nics)[1]))
                for name in names]

    def interface_card(self, guest, domain, name, mac):
        """The card of a slave whose NIC is an interface of libvirt's."""
        root = ET.fromstring(domain.virsh('dumpxml'))
        address = next(i.find('address').attrib for i
                       in root.iter('interface')
                       if i.find('mac').get('address') == mac)
        bus, slot, function = (int(address[key], 16)
                               for key in ('bus', 'slot', 'function'))
        return Card(guest, name,
                    f'0000:{bus:02x}:{slot:02x}.{function:x}')

    def greet(self, cards, host):
        """Have everybody heard, who may have been forgotten."""
        for card in cards:
            card.wait_for(f'ping -n -c 1 -W 1 {host}')
