# Tests of -netdev ipvlan under a real libvirtd.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re

from domains import EMULATOR, LibvirtTest, interface, put_slave
from ipvlan_guest import ping_all, wait_for
from ipvlan_tap import BLOB, Sink
from libvirtd import Domain, VirshError

# The host, as the user-mode network shows it to guests, and as a tap does.
USER_HOST = '10.0.2.2'
TAP_HOST = '192.0.2.1'

# An interface of libvirt's that is a slave's NIC, and one that is not.
OURS = '52:54:00:00:00:02'
OTHER = '52:54:00:00:00:09'


class Probing(LibvirtTest):

    def probe(self, emulator, machine):
        """What virsh says of an emulator, and what libvirtd logs."""
        daemon = self.start_daemon(machine)
        found = daemon.run_virsh('domcapabilities', '--virttype', 'qemu',
                                 '--machine', machine,
                                 '--emulatorbin', emulator)
        return found.stdout, [
            error for error in daemon.errors()
            if re.match('qemu|virQEMU', error) or str(emulator) in error]

    def test_emulator_is_known(self):
        for machine, name in ('q35', 'pc-q35-10.0'), ('pc', 'pc-i440fx-10.0'):
            found, errors = self.probe(EMULATOR, machine)
            self.assertIn(f'<machine>{name}</machine>', found)
            self.assertEqual(errors, [])
        # This is how one would look that is not.
        self.assertNotEqual(self.probe('/bin/true', 'none')[1], [])


class Session(LibvirtTest):
    """A user's own libvirtd, and the user-mode stack: no privileges."""

    def setUp(self):
        super().setUp()
        self.daemon = self.start_daemon()
        self.domain = Domain(self.daemon)

    def define(self):
        """Three slaves whose master is the netdev of one of their NICs.

        The NIC is an interface of libvirt's.  Another one has nothing to do
        with us.
        """
        self.files = self.daemon.files()
        self.xml = self.make_xml(self.domain, (
            ['ipvlan,id=n2,master=hostua-n2', '--interface', OURS],
            ['ipvlan,id=n0,master=hostua-n2'],
            ['ipvlan,id=n1,master=hostua-n2', '--object',
             'filter-dump,id=dump,netdev=n1,maxlen=96,'
             f'file={self.tmp}/n1.pcap']),
            [interface('user', OURS), interface('user', OTHER, 'e1000e')])
        self.domain.define(self.xml)

    def boot_cards(self):
        self.guest = self.boot(self.domain)
        self.guest.check(f'seq 20000 >{BLOB}')
        cards = self.cards(self.guest, self.xml, ('n0', 'n1'))
        return cards + [self.interface_card(self.guest, self.domain, 'n2',
                                            OURS)]

    def assert_reach(self, cards):
        """The host, with bytes both ways, and each other."""
        for card in cards:
            sink = Sink(self.host)
            card.transmit(BLOB, USER_HOST, sink.port)
            self.assertEqual(sink.digest(), card.digest(BLOB))
        ping_all(cards)

    def assert_leases_known(self, cards, domain):
        """Once learned, wherever the guest has gone since."""
        for card in cards:
            self.assertEqual(domain.owned(card.name)[card.addr], 'dhcp')

    def assert_nothing_left(self):
        self.domain.virsh('destroy')
        self.assertEqual(self.domain.processes(), [])
        self.domain.virsh('undefine', '--managed-save')
        self.assertEqual(self.daemon.files(), self.files)

    def test_guests(self):
        """From the XML to the end, with all that virsh says and does."""
        self.define()
        # libvirt writes the XML anew; to the script it is the same.
        dumped = self.domain.virsh('dumpxml', '--inactive')
        again = put_slave(dumped, 'ipvlan,id=n0,master=hostua-n2')
        self.assertEqual(again, dumped)

        cards = self.boot_cards()
        addrs = {card.lease() for card in cards}
        self.assertEqual(len(addrs), 3)
        self.assert_reach(cards)

        self.assert_leases_known(cards, self.domain)
        for card in cards:
            self.assertEqual(self.domain.slaves()[card.name]['mac'],
                             card.mac)
            self.assertIn(card.addr, self.domain.hmp('info ipvlan'))
        self.check_links(cards)

        # With the interface its netdev goes, and that is the master.
        self.domain.virsh('detach-interface', 'user', '--mac', OURS)
        self.wait_for_links(cards[:2], '01')
        self.assert_nothing_left()
        self.assertGreater((self.tmp / 'n1.pcap').stat().st_size, 1000)

    def wait_for_links(self, cards, links):
        """Until the links of those are down that have a digit here."""
        def current():
            return ''.join('.' if card.has_carrier() else str(i)
                           for i, card in enumerate(cards))
        wait_for(lambda: current() == links, f'links {links}')

    def check_links(self, cards):
        def becomes(links):
            self.wait_for_links(cards, links)

        # libvirt knows its interfaces, of which one is ours
        self.domain.virsh('domif-setlink', OURS, 'down')
        becomes('..2')
        cards[0].assert_pings(cards[1].addr)
        self.domain.virsh('domif-setlink', OTHER, 'down')
        becomes('..2')
        self.domain.virsh('domif-setlink', OURS, 'up')
        becomes('...')
        self.assertIn('down', self.domain.virsh('domif-getlink', OTHER))

        # but no NIC that is an argument: the monitor does
        with self.assertRaisesRegex(VirshError, cards[0].mac):
            self.domain.virsh('domif-setlink', cards[0].mac, 'down')
        self.domain.qmp('set_link', name='n0', up=False)
        becomes('0..')
        self.assertIn('up', self.domain.virsh('domif-getlink', OURS))
        self.domain.hmp('set_link n0 on')
        becomes('...')
        # nor is the master's link its own: it is that of all
        self.domain.qmp('set_link', name='hostua-n2', up=False)
        becomes('012')
        self.domain.qmp('set_link', name='hostua-n2', up=True)
        becomes('...')
        self.greet(cards, USER_HOST)
        ping_all(cards)

    def test_faults(self):
        """libvirtd is killed; the domain is saved, and goes on."""
        self.define()
        cards = self.boot_cards()
        for card in cards:
            card.lease()

        processes = self.domain.processes()
        self.daemon.kill()
        self.assert_reach(cards)
        self.daemon.start()
        self.assertEqual(self.domain.state(), 'running')
        self.assertEqual(self.domain.processes(), processes)
        self.assertEqual(set(self.domain.slaves()), {'n0', 'n1', 'n2'})
        self.assert_reach(cards)

        self.domain.virsh('managedsave')
        self.assertEqual(self.domain.state(), 'shut off')
        self.assertEqual(self.domain.processes(), [])
        self.domain.start()
        self.assert_leases_known(cards, self.domain)
        self.assert_reach(cards)
        self.assert_nothing_left()

    def test_migration(self):
        """Over a loopback connection, to another daemon."""
        other = self.start_daemon('b')
        there = Domain(other, identity=self.domain.uuid)
        files = other.files()
        self.define()
        cards = self.boot_cards()
        for card in cards:
            card.lease()
        ping_all(cards)

        xml = self.tmp / 'there.xml'
        xml.write_text(self.domain.virsh('dumpxml', '--migratable').replace(
            str(self.domain.console), str(there.console)))
        self.domain.virsh('migrate', '--live', '--persistent',
                          '--undefinesource', '--xml', xml, other.uri,
                          '--migrateuri', 'tcp://127.0.0.1')
        self.domain.disconnect()
        self.assertEqual(self.daemon.files(), self.files)
        self.assertEqual(len(there.processes()), 1)

        self.assert_leases_known(cards, there)
        there.connect()
        self.guest.vm = there
        self.assert_reach(cards)
        there.virsh('destroy')
        there.virsh('undefine')
        self.assertEqual(other.files(), files)

    def test_wrong_option(self):
        """virsh says what QEMU says, and nothing runs."""
        self.define()
        for options, sentence in (
                (',addr=192.0.2.300', 'addr=192.0.2.300: it is not an IPv4'),
                (',mode=l4', "'l4'"),
                (',weight=1000', 'weight=1000')):
            with self.subTest(options=options):
                xml = put_slave(self.xml,
                                f'ipvlan,id=n0,master=hostua-n2{options}')
                self.domain.define(xml)
                with self.assertRaisesRegex(VirshError, sentence):
                    self.domain.virsh('start')
                self.assertEqual(self.domain.state(), 'shut off')
                self.assertEqual(self.domain.processes(), [])
        self.domain.virsh('undefine')
        self.assertEqual(self.daemon.files(), self.files)


class System(LibvirtTest):
    """The system's libvirtd, and taps."""

    def choose_daemon(self):
        return self.choose_system()

    def give_addresses(self):
        for i, device in enumerate(('tap0', 'tap1')):
            # A tap that is made anew is still the machine that it was.
            self.host.run(f'ip link set {device} address 02:00:00:00:00:0{i}')
            self.host.run(f'ip link set {device} up')
            self.host.run(f'ip address replace {self.host_addr(i)}/24 '
                          f'dev {device}')

    @staticmethod
    def host_addr(port):
        return f'192.0.{2 + port}.1'

    @staticmethod
    def guest_addr(port, index):
        return f'192.0.{2 + port}.{10 + index}'

    def assert_reach(self, ports):
        for i, cards in enumerate(ports):
            self.greet(cards, self.host_addr(i))
            ping_all(cards)
            for card in cards:
                self.host.run(f'ping -q -n -c 1 -W 10 {card.addr}')

    def test_taps(self):
        """One port's tap is made by QEMU, the other's by libvirt."""
        daemon = self.start_daemon()
        domain = Domain(daemon)
        files = daemon.files()

        def slave(name, port, master):
            return (f'ipvlan,id={name},master={master},addr='
                    + self.guest_addr(port, int(name[1])))
        tap = 'tap,id=up0,ifname=tap0,script=no,downscript=no'
        xml = self.make_xml(domain, (
            ['--master', tap, slave('n0', 0, 'up0')],
            [slave('n1', 0, 'up0'), '--device', 'virtio-net-pci'],
            [slave('n2', 1, 'hostua-n2'), '--interface', OURS],
            [slave('n3', 1, 'hostua-n2')]),
            [interface('ethernet', OURS, rest="<target dev='tap1'/>"
                       "<driver name='qemu'/>")], 'pc')
        domain.define(xml)
        guest = self.boot(domain)
        self.give_addresses()

        n0, n1, n3 = self.cards(guest, xml, ('n0', 'n1', 'n3'))
        n2 = self.interface_card(guest, domain, 'n2', OURS)
        ports = (n0, n1), (n2, n3)
        for i, cards in enumerate(ports):
            for card in cards:
                card.set_address(
                    f'{self.guest_addr(i, int(card.name[1]))}/24')
        self.assert_reach(ports)

        # libvirt counts what passes the tap that it has made
        stats = domain.virsh('domifstat', 'tap1')
        self.assertGreater(int(re.search(r'rx_bytes (\d+)', stats)[1]), 0)

        domain.virsh('managedsave')
        self.assertNotIn('tap', self.host.run('ip -o link').stdout)
        domain.start()
        self.give_addresses()
        self.assert_reach(ports)

        domain.virsh('destroy')
        domain.virsh('undefine')
        self.assertEqual(domain.processes(), [])
        self.assertNotIn('tap', self.host.run('ip -o link').stdout)
        self.assertEqual(daemon.files(), files)
