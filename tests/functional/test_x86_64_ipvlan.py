#!/usr/bin/env python3
#
# Functional tests of -netdev ipvlan with the user-mode network as the uplink.
# They need no privileges.
#
# VLINK_GUEST names a directory with the guest's vmlinuz and initrd.img.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import hashlib
import http.server
import json
import os
import random
import re
import socket
import struct
import threading
import urllib.request

from ipvlan_frames import read_pcap, tcp_stream
from ipvlan_guest import (Card, IpvlanTest, assert_no_pings, ping_all,
                          wait_for)

# The host, as the user-mode network shows it to guests.
HOST = '10.0.2.2'
HOST_V6 = 'fec0::2'

MEBIBYTE = 1 << 20


class Page(http.server.BaseHTTPRequestHandler):
    """Serves the body of its server at every path, and counts."""

    def do_GET(self):
        self.server.hits += 1
        self.send_response(200)
        self.send_header('Content-Length', str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format, *args):
        pass


class Storm:
    """Sends broadcast to a datagram socket, as fast as it takes it."""

    def __init__(self, here, there):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(there)
        self.socket.connect(here)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.blow)
        self.thread.start()

    def blow(self):
        # A protocol that no guest knows: an experimental one.
        frame = bytes.fromhex('ffffffffffff 525400000099 88b5') + bytes(86)
        with contextlib.suppress(ConnectionError):
            while not self.stopped.is_set():
                self.socket.send(frame)

    def stop(self):
        self.stopped.set()
        self.thread.join()
        self.socket.close()


class Flood:
    """A machine that sends without end over a stream socket."""

    def __init__(self, path, number):
        self.socket = socket.socket(socket.AF_UNIX)
        # QEMU begins to listen after it has started
        wait_for(lambda: self.connects(path), path)
        payload = bytes(200)
        ip = struct.pack('!BBHHHBBH4B4B', 0x45, 0, 28 + len(payload), 0, 0,
                         64, 17, 0, 192, 0, 2, number, 198, 51, 100, 1)
        udp = struct.pack('!4H', 9, 9, 8 + len(payload), 0)
        frame = (bytes.fromhex('0200000000ff 5254000000') + bytes([number]) +
                 bytes.fromhex('0800') + ip + udp + payload)
        self.bytes = (struct.pack('!I', len(frame)) + frame) * 4096
        self.thread = threading.Thread(target=self.send)
        self.thread.start()

    def connects(self, path):
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            self.socket.connect(path)
            return True

    def send(self):
        with contextlib.suppress(OSError):
            while True:
                self.socket.sendall(self.bytes)

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()


class IpvlanUser(IpvlanTest):

    def launch(self, slaves=('', '', ''), port='', user='', cards=None):
        """Boot a guest with a card for each slave."""
        self.add_guest(self.vm)
        self.vm.add_args('-netdev', 'user,id=up0' + user)
        self.add_slaves(self.vm, slaves, port)
        guest = self.boot(self.vm)
        return self.cards(guest, len(slaves))

    def serve(self, body=b'a page\n'):
        """An HTTP server on the host's loopback; returns it and its port."""
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Page)
        server.body = body
        server.hits = 0
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def assert_page(self, card, server):
        url = f'http://{HOST}:{server.server_address[1]}/'
        self.assertEqual(card.fetch_digest(url),
                         hashlib.sha256(server.body).hexdigest())

    # ---- what it is for ----

    def test_three_guests(self):
        """Leases, a page from the host, and everybody reaches everybody."""
        cards = self.launch()
        server = self.serve()

        addrs = {card.lease() for card in cards}
        self.assertEqual(len(addrs), 3)
        for card in cards:
            self.assert_page(card, server)
            card.assert_pings(HOST)
        self.assertEqual(server.hits, 3)
        ping_all(cards)

        for card in cards:
            self.assertEqual(self.slave(card.name)['mac'], card.mac)
            self.assertEqual(self.owned(card.name)[card.addr], 'dhcp')
        self.assertEqual(self.port()['mode'], 'l2-macnat')

    def test_ipv6(self):
        """Router advertisements, duplicate address detection, neighbours."""
        cards = self.launch()

        for card in cards:
            site = card.ipv6('site')
            card.assert_pings(HOST_V6)
            card.assert_pings('fe80::2')
            owned = self.owned(card.name)
            self.assertEqual(owned[site], 'nd')
            self.assertEqual(owned[card.link_local()], 'nd')
        for card in cards:
            for other in cards:
                if other is not card:
                    card.assert_pings(other.link_local())
                    card.assert_pings(other.ipv6('site'))

    def test_origins(self):
        """Each way to learn an address says so."""
        card, other = self.launch(['', 'addr=10.0.2.201,learn=on'])

        # Neither asks for its neighbour: an IP header is all there is to see.
        card.check('ip address add 10.0.2.200/24 dev eth0; '
                   f'ip neighbour add 10.0.2.201 dev eth0 lladdr {other.mac}')
        self.assertNotIn('10.0.2.200', self.owned('n0'))
        card.run('ping -c 1 -W 1 10.0.2.201')
        self.assertEqual(self.owned('n0')['10.0.2.200'], 'ip')

        card.check('ip address add 10.0.2.202/24 dev eth0')
        card.assert_pings(HOST, '-I 10.0.2.202')
        self.assertEqual(self.owned('n0')['10.0.2.202'], 'arp')

        lease = card.lease()
        self.assertEqual(self.owned('n0')[lease], 'dhcp')
        # the guest takes its time to look for duplicates
        local = card.link_local()
        wait_for(lambda: local in self.owned('n0'), f'{local} to be learned')
        self.assertEqual(self.owned('n0')[local], 'nd')
        self.assertEqual(self.owned('n1')['10.0.2.201'], 'static')

    def test_monitor(self):
        """What info network and info ipvlan say."""
        card = self.launch(['', 'addr=10.0.2.100'], 'mac=02:00:00:00:00:01')[0]
        addr = card.lease()

        self.assertRegex(self.hmp(self.vm, 'info network'),
                         r'n0: index=0,type=ipvlan,master=up0,mode=l2-macnat,'
                         r'flag=bridge,mac=02:00:00:00:00:01,learn=on')
        said = self.hmp(self.vm, 'info ipvlan')
        for word in 'up0', 'n0', 'n1', addr, '10.0.2.100', card.mac:
            self.assertIn(word, said)

    # ---- who may talk to whom ----

    def test_private(self):
        """Siblings do not exist for each other, the uplink does."""
        cards = self.launch(['', ''], 'flag=private')
        one, two = cards
        server = self.serve()

        for card in cards:
            card.lease()
        assert_no_pings(cards, [one.addr, two.addr])
        one.assert_no_ping(two.link_local())
        # Not even with its MAC address from elsewhere.
        one.check(f'ip neighbour replace {two.addr} dev eth0 '
                  f'lladdr {two.mac}')
        one.assert_no_ping(two.addr)
        self.assertGreater(self.drops('n0')['private'], 0)
        self.assertGreater(self.drops('n1')['private'], 0)

        for card in cards:
            card.assert_pings(HOST)
            self.assert_page(card, server)

    def test_static_address(self):
        """addr= is its slave's alone, learned or not."""
        one, two = self.launch(['addr=10.0.2.100,learn=off',
                                'addr=10.0.2.101,learn=off'])
        one.set_address('10.0.2.100/24')
        two.set_address('10.0.2.101/24')
        one.assert_pings(HOST)
        one.assert_pings(two.addr)

        # The second guest wants to be the first one, too.
        two.check('ip address add 10.0.2.100/24 dev eth0')
        two.assert_no_ping(HOST, '-I 10.0.2.100')
        self.assertGreater(self.drops('n1')['not-owned'], 0)
        self.assertGreater(self.slave('n1')['contested'], 0)
        # Besides its own it has what RFC 4291 forms from its MAC address.
        self.assertNotIn('10.0.2.100', self.owned('n1'))
        self.assertEqual(self.owned('n1')['10.0.2.101'], 'static')

        # It still asks for the host in that name, until it gives up.
        two.check('ip neighbour flush dev eth0')
        one.assert_pings(HOST)
        two.assert_pings(HOST, '-I 10.0.2.101')
        self.assertNotIn('not-owned', self.drops('n0'))

    def test_router(self):
        """l3: none of the first packets to the user-mode stack is lost."""
        options = 'mode=l3,gateway=10.0.2.2,gateway=fec0::2,'
        one, two = self.launch([
            f'{options}addr=10.0.2.15,addr=fec0::15',
            'addr=10.0.2.16,addr=fec0::16'])
        for i, card in enumerate((one, two)):
            card.set_address(f'10.0.2.{15 + i}/32')
            card.check('ip route add default via 169.254.1.1 dev eth0 onlink')
            card.check(f'ip address add fec0::{15 + i}/128 dev eth0 nodad')
            card.guest.wait_for(f'ip -n {card.name} -6 route show default | '
                                'grep fe80::1')
        for target in HOST, 'fec0::2', two.addr, 'fec0::16':
            one.check(f'ping -n -c 1 -W 10 {target}')

    # ---- traffic ----

    def test_hostfwd(self):
        """A connection from the host finds the guest that is meant."""
        cards = self.launch(['', ''])

        for card in cards:
            addr = card.lease()
            card.check(f'mkdir -p /tmp/{card.name} && '
                       f'echo {card.name} >/tmp/{card.name}/index.html && '
                       f'httpd -p 80 -h /tmp/{card.name}')
            self.hmp(self.vm, f'hostfwd_add up0 tcp:127.0.0.1:0-{addr}:80')
        for card in cards:
            found = re.search(r'HOST_FORWARD\] +\d+ +127\.0\.0\.1 +(\d+) +' +
                              re.escape(card.addr),
                              self.hmp(self.vm, 'info usernet'))
            with urllib.request.urlopen(f'http://127.0.0.1:{found[1]}/',
                                        timeout=30) as page:
                self.assertEqual(page.read().decode().strip(), card.name)

    def test_tags_and_fragments(self):
        """What is before or instead of the usual headers is seen through."""
        cards = one, two = self.launch(['', ''])

        for card in cards:
            card.lease()
            card.assert_pings(HOST, '-s 8000')
        ping_all(cards, '-s 8000')
        one.assert_pings(two.link_local(), '-s 8000')

        one.guest.check('modprobe 8021q')
        for i, card in enumerate(cards):
            card.check('ip link add link eth0 name v5 type vlan id 5 && '
                       f'ip address add 198.51.100.{i + 1}/24 dev v5 && '
                       'ip link set v5 up')
        one.assert_pings('198.51.100.2')
        two.assert_pings('198.51.100.1', '-s 8000')
        self.assertEqual(self.owned('n0')['198.51.100.1'], 'arp')
        self.assertEqual(self.owned('n1')['198.51.100.2'], 'arp')

    def test_storm(self):
        """One guest's broadcast holds up nobody's unicast."""
        storm, one, two = self.launch()
        for card in storm, one, two:
            card.lease()

        # Every node answers these, which makes for more of them.
        storm.link_local()
        for _ in range(4):
            storm.start('ping -q -f ff02::1%eth0')
        before = self.port()['stats']['tx-packets']
        one.assert_pings(two.addr, count=10)
        two.assert_pings(HOST, count=10)
        self.assertGreater(self.port()['stats']['tx-packets'] - before, 1000)

    def test_hard_storm(self):
        """Nor does broadcast as fast as a host can send it."""
        here = os.path.join(self.socket_dir().name, 'here')
        there = os.path.join(self.socket_dir().name, 'there')
        self.add_guest(self.vm)
        self.vm.add_args('-netdev', 'user,id=up0', '-netdev',
                         'dgram,id=sock,local.type=unix,remote.type=unix,'
                         f'local.path={here},remote.path={there}')
        self.add_slaves(self.vm, ['', '', 'netdev=sock'], cards=[0, 1])
        one, two = self.cards(self.boot(self.vm), 2)
        one.lease()
        two.lease()

        storm = Storm(here, there)
        self.addCleanup(storm.stop)
        one.assert_pings(two.addr, count=10)
        two.assert_pings(HOST, count=10)
        self.assertGreater(self.slave('n2')['stats']['tx-packets'], 10000)

    # ---- captures ----

    def capture(self, netdev):
        """From the start on, every frame of a netdev in a file."""
        # TCP's longest segments are longer than maxlen, 65536, by default
        self.vm.add_args('-object', f'filter-dump,id=dump-{netdev},'
                         f'netdev={netdev},maxlen=70000,'
                         f'file={self.scratch_file(f"{netdev}.pcap")}')

    def captured(self, netdev):
        return read_pcap(self.scratch_file(f'{netdev}.pcap'))

    def assert_captured(self, card):
        """All that the guest has counted is there, and nothing else."""
        def counted():
            names = 'tx_packets', 'rx_packets', 'tx_bytes', 'rx_bytes'
            return [int(card.check(f'cat /sys/class/net/eth0/statistics/{n}'))
                    for n in names]

        def dumped():
            frames = self.captured(card.name)
            out = [f for f in frames if f.src == card.mac]
            back = [f for f in frames if f.src != card.mac]
            return [len(out), len(back), *(sum(14 + len(f.payload) for f in fs)
                                           for fs in (out, back))]
        # it may say something at any time
        wait_for(lambda: counted() == dumped(), f'the same count of '
                 f'{card.name}')
        stats = self.slave(card.name)['stats']
        self.assertEqual([stats['tx-packets'], stats['rx-packets']],
                         dumped()[:2])

    def test_bulk(self):
        """Nothing is lost or changed by TCP between siblings and uplink."""
        for netdev in 'n0', 'up0':
            self.capture(netdev)
        one, two = self.launch(['', ''])
        for card in one, two:
            card.lease()

        server = self.serve(random.Random(1).randbytes(8 * MEBIBYTE))
        self.assert_page(one, server)
        self.assertGreater(self.slave('n0')['stats']['rx-bytes'],
                           8 * MEBIBYTE)

        two.check('mkdir /tmp/www && '
                  'dd if=/dev/urandom of=/tmp/www/page bs=1M count=8 && '
                  'httpd -h /tmp/www')
        digest = two.check('sha256sum /tmp/www/page').split()[0]
        uplink = self.port()['stats']['tx-bytes']
        self.assertEqual(one.fetch_digest(f'http://{two.addr}/page'), digest)

        # filter-dump has seen all of it: the guest's frames as they were,
        # the uplink's as they were there.
        self.assert_captured(one)
        frames = self.captured('n0')
        page = tcp_stream(frames, two.addr, one.addr, 80)
        self.assertEqual(hashlib.sha256(page[-8 * MEBIBYTE:]).hexdigest(),
                         digest)
        self.assertGreater(max(len(f.payload) for f in frames), 30000)
        wire = self.captured('up0')
        self.assertTrue(tcp_stream(wire, HOST, one.addr,
                                   server.server_address[1])
                        .endswith(server.body))
        self.assertEqual(tcp_stream(wire, two.addr, one.addr, 80), b'')
        wait_for(lambda: len(self.captured('up0')) ==
                 sum(self.port()['stats'][f'{way}-packets']
                     for way in ('rx', 'tx')), 'the same count of up0')
        for netdev in 'n0', 'up0':
            self.vm.cmd('object-del', id=f'dump-{netdev}')

        received = self.slave('n1')['stats']['rx-bytes']
        two.check('iperf3 -s -1 -D -I /tmp/iperf3.pid')
        two.wait_for('netstat -ltn | grep -q :5201')
        report = json.loads(one.check(f'iperf3 -c {two.addr} -n 32M -J'))
        self.assertGreaterEqual(report['end']['sum_sent']['bytes'],
                                32 * MEBIBYTE)
        self.assertGreater(self.slave('n1')['stats']['rx-bytes'] - received,
                           report['end']['sum_received']['bytes'])
        # All that took the short way.
        self.assertLess(self.port()['stats']['tx-bytes'] - uplink, MEBIBYTE)

    # ---- life and death ----

    def test_set_link(self):
        """A master without a carrier leaves its guests without one."""
        cards = self.launch(['', ''])
        one, two = cards
        one.lease()
        two.lease()

        self.vm.cmd('set_link', name='up0', up=False)
        for card in cards:
            wait_for(lambda: not card.has_carrier(), 'no carrier')
            self.assertFalse(self.slave(card.name)['link-up'])
        self.vm.cmd('set_link', name='up0', up=True)
        for card in cards:
            wait_for(card.has_carrier, 'a carrier')
        one.assert_pings(HOST)
        ping_all(cards)

        # One slave alone is its own guest's business.
        self.vm.cmd('set_link', name='n0', up=False)
        wait_for(lambda: not one.has_carrier(), 'no carrier')
        self.assertTrue(two.has_carrier())
        two.assert_pings(HOST)
        two.assert_no_ping(one.addr)
        self.vm.cmd('set_link', name='n0', up=True)
        wait_for(one.has_carrier, 'a carrier')
        ping_all(cards)

    def test_delete_master(self):
        """Guests whose master goes and comes see their link do the same."""
        cards = self.launch(['', ''])
        for card in cards:
            card.lease()
        ping_all(cards)

        owned = [self.owned('n0'), self.owned('n1')]
        self.vm.cmd('netdev_del', id='up0')
        for card in cards:
            wait_for(lambda: not card.has_carrier(), 'no carrier')
        self.assertFalse(self.port()['link-up'])
        cards[0].assert_no_ping(cards[1].addr)

        self.vm.cmd('netdev_add', type='user', id='up0')
        for card in cards:
            wait_for(card.has_carrier, 'a carrier')
        for name, before in zip(('n0', 'n1'), owned):
            self.assertLessEqual(before.items(), self.owned(name).items())
        ping_all(cards)
        for card in cards:
            card.assert_pings(HOST)
            card.lease()

        self.vm.cmd('netdev_del', id='up0')
        self.vm.cmd('netdev_del', id='n1')
        self.vm.cmd('netdev_del', id='n0')
        self.assertEqual(self.vm.cmd('query-ipvlan'), [])
        cards[0].guest.check('true')

    def test_delete_slave(self):
        """A card whose slave is deleted is alive, and sends to nobody."""
        cards = self.launch(['', '', ''])
        for card in cards:
            card.lease()

        self.vm.cmd('netdev_del', id='n1')
        self.assertEqual([s['id'] for s in self.port()['slaves']],
                         ['n0', 'n2'])
        wait_for(lambda: not cards[1].has_carrier(), 'no carrier')
        cards[1].assert_no_ping(HOST)
        cards[0].assert_no_ping(cards[1].addr)
        cards[0].assert_pings(cards[2].addr)
        cards[2].assert_pings(HOST)

        # What it owned is free.
        cards[0].check(f'ip address add {cards[1].addr}/24 dev eth0')
        cards[0].assert_pings(HOST, f'-I {cards[1].addr}')

    def test_hotplug(self):
        """A slave and its card come and go while the guest runs."""
        self.vm.add_args('-device', 'pcie-root-port,id=rp0,chassis=1,'
                         'addr=0x1c')
        cards = self.launch(['', '', ''])
        for card in cards:
            card.lease()

        for mac in '52:54:00:00:01:01', '52:54:00:00:01:02':
            self.vm.cmd('netdev_add', type='ipvlan', id='n3', master='up0')
            self.vm.cmd('device_add', driver='virtio-net-pci', id='nic-n3',
                        bus='rp0', netdev='n3', mac=mac)
            card = Card(cards[0].guest, 'n3', '0000:01:00.0')
            self.assertEqual(card.mac, mac)
            card.lease()
            ping_all([card, *cards])

            self.vm.cmd('device_del', id='nic-n3')
            self.vm.event_wait('DEVICE_DELETED', timeout=60,
                               match={'data': {'device': 'nic-n3'}})
            self.vm.cmd('netdev_del', id='n3')
            card.guest.check('ip netns del n3')
            # Or it would ask the user-mode network for its address's MAC.
            cards[0].check('ip neighbour flush dev eth0')
            cards[0].assert_no_ping(card.addr)
        ping_all(cards)

    # ---- other ways to get there ----

    def test_nic_option(self):
        """-nic makes slave and card at once."""
        self.add_guest(self.vm)
        self.vm.add_args('-netdev', 'user,id=up0')
        for i in range(2):
            self.vm.add_args('-nic', f'ipvlan,id=n{i},master=up0,'
                             'model=virtio-net-pci')
        guest = self.boot(self.vm)
        cards = [Card(guest, 'n0', '0000:00:02.0'), Card(guest, 'n1', '*')]

        self.assertNotEqual(cards[0].lease(), cards[1].lease())
        cards[0].assert_pings(HOST)
        ping_all(cards)

    def test_weights(self):
        """Who floods gets its share of QEMU's main loop, and no more."""
        weights = {'n0': 1, 'n1': 3}
        self.vm.add_args('-machine', 'none', '-nodefaults',
                         # a hub takes all, if there is somebody else on it
                         '-netdev', 'hubport,id=up0,hubid=0',
                         '-netdev', 'hubport,id=up1,hubid=0')
        paths = [os.path.join(self.socket_dir().name, name)
                 for name in weights]
        for path, (name, weight) in zip(paths, weights.items()):
            self.vm.add_args(
                '-netdev', f'stream,id=sock-{name},server=on,addr.type=unix,'
                f'addr.path={path}',
                '-netdev', f'ipvlan,id={name},master=up0,'
                f'netdev=sock-{name},weight={weight}')
        self.vm.launch()
        for number, path in enumerate(paths, 1):
            flood = Flood(path, number)
            self.addCleanup(flood.stop)

        def sent():
            return [s['stats']['tx-bytes'] for s in self.port()['slaves']]

        def shares():
            """Of the next 500 MB."""
            before = sent()
            wait_for(lambda: sum(sent()) - sum(before) > 500_000_000,
                     '500 MB')
            light, heavy = (a - b for a, b in zip(sent(), before))
            share = heavy / (light + heavy)
            self.log.info('share %.4f', share)
            return abs(share - 0.75) < 0.02
        # Where the host is too busy for one of the senders it has no backlog.
        wait_for(shares, 'shares as the weights are')


if __name__ == '__main__':
    IpvlanTest.main()
