#!/usr/bin/env python3
#
# Functional tests of -netdev ipvlan as a router with a filter: mode=l3s, and
# its rules, -object ipvlan-rule.  They need root.
#
# VLINK_GUEST names a directory with the guest's vmlinuz and initrd.img.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import socket
import threading

import ipvlan_routed
from ipvlan_guest import PATIENCE, IpvlanTest, wait_for
from ipvlan_intruder import PROGRAM, IntruderMixin
from ipvlan_tap import BLOB, Sink
from ipvlan_topology import OUTSIDE, ROUTER, TopologyTest
from qemu_test import skipIfMissingCommands

PING = 'icmp or icmp6'
MAX_FLOWS = 65536


@skipIfMissingCommands('ip', 'ping')
class L3s(ipvlan_routed.RoutedCases):
    """A filter without rules is not noticed."""

    mode = 'l3s'


class RulesTest(TopologyTest):

    mode = 'l3s'

    @staticmethod
    def rule(name, **properties):
        """The arguments of QEMU for a rule."""
        words = [f'ipvlan-rule,id={name},master=up0']
        words += ['{}={}'.format(key, str(value).replace(',', ',,'))
                  for key, value in properties.items()]
        return '-object', ','.join(words)

    def add_rule(self, name, **properties):
        self.vm.cmd('object-add', {'qom-type': 'ipvlan-rule', 'id': name,
                                   'master': 'up0', **properties})

    def delete_rule(self, name):
        self.vm.cmd('object-del', id=name)

    def rules(self):
        """What query-ipvlan says of each rule, by its name."""
        return {rule['id']: rule for rule in self.port()['rules']}

    def connect(self, addr, port, timeout=PATIENCE):
        """A connection from outside."""
        with self.outside:
            return socket.create_connection((addr, port), timeout)

    def listen(self, card, port):
        """A server in a guest that says nothing."""
        card.check('test -p /tmp/never || mkfifo /tmp/never')
        card.start(f'(while nc -l -p {port} <>/tmp/never; do :; done)')
        card.wait_for(f'ss -ltnH sport = :{port} | grep -q LISTEN')


class Counter(threading.Thread):
    """Takes connections, and counts the bytes that come."""

    def __init__(self, namespace):
        super().__init__(daemon=True)
        with namespace:
            self.socket = socket.create_server(('::', 0), dualstack_ipv6=True,
                                               family=socket.AF_INET6)
        self.socket.settimeout(PATIENCE)
        self.port = self.socket.getsockname()[1]
        self.bytes = 0
        self.start()

    def run(self):
        self.connection, _ = self.socket.accept()
        with self.socket, self.connection:
            while data := self.connection.recv(1 << 16):
                self.bytes += len(data)

    def wait_for_more(self, count=1 << 20):
        goal = self.bytes + count
        wait_for(lambda: self.bytes >= goal, 'more bytes to come')


@skipIfMissingCommands('ip', 'ping')
class Rules(RulesTest):

    def test_policy_drop(self):
        """Nothing passes but what rules accept, and its replies."""
        one, two = self.launch(
            port=',policy=drop',
            args=self.rule('out', slave='n0', direction='out', match=PING,
                           action='accept'))
        for family in 0, 1:
            one.assert_pings(OUTSIDE[family])
            self.outside.assert_no_ping(one.addrs[family])
            # It is for the other one only.
            two.assert_no_ping(OUTSIDE[family])
            # Siblings have to agree.
            one.assert_no_ping(two.addrs[family])
        self.assertGreaterEqual(self.drops('n1')['filter'], 2)

        self.add_rule('in', slave='n1', direction='in', match=PING,
                      action='accept')
        for family in 0, 1:
            one.assert_pings(two.addrs[family])
            self.outside.assert_pings(two.addrs[family])
            two.assert_no_ping(one.addrs[family])
        self.delete_rule('in')
        for family in 0, 1:
            one.assert_no_ping(two.addrs[family])
            one.assert_pings(OUTSIDE[family])

    def test_one_port(self):
        """A server can be reached at one port, and does nothing else."""
        one, two = self.launch(
            port=',policy=drop',
            args=self.rule('in', direction='in', match='tcp dst port 5001',
                           action='accept'))
        self.make_blob(self.guest)
        # Each serves one connection, and is away then for a moment.
        ports = 5002, 5003
        for port in ports:
            self.listen(one, port)
        for family in 0, 1:
            self.send_from_host(one, one.addrs[family], self.outside)
            with self.assertRaises(TimeoutError):
                self.connect(one.addrs[family], ports[family], 1)
            self.outside.assert_no_ping(one.addrs[family])
            one.assert_no_ping(OUTSIDE[family])
        self.add_rule('in2', direction='in', action='accept',
                      match='tcp dst portrange 5002-5003')
        for addr, port in zip(one.addrs, ports):
            self.connect(addr, port).close()
        # Between siblings, both ways have to be open.
        self.add_rule('out', direction='out', match='tcp dst port 5001',
                      action='accept')
        for addr in one.addrs:
            self.send_to_sibling(two, one, addr)
        rules = self.rules()
        for name in 'in', 'out':
            self.assertGreater(rules[name]['packets'], 10)
            self.assertGreater(rules[name]['bytes'], 1 << 22)

    def test_reject(self):
        """Who is refused is told so at once, by whatever he understands."""
        one, two = self.launch(
            args=self.rule('in', direction='in', action='reject',
                           match='tcp dst port 5002 or udp dst port 5002') +
            self.rule('out', direction='out', action='reject',
                      match=f'tcp dst port 5003 or ({PING})'))
        self.listen(one, 5002)
        for family in 0, 1:
            addr = one.addrs[family]
            with self.assertRaises(ConnectionRefusedError):
                self.connect(addr, 5002)
            with self.outside:
                sock = socket.socket((socket.AF_INET, socket.AF_INET6)[family],
                                     socket.SOCK_DGRAM)
            with sock:
                sock.settimeout(PATIENCE)
                sock.connect((addr, 5002))
                sock.send(b'anybody?')
                # EHOSTUNREACH, and EACCES with IPv6
                with self.assertRaises(OSError) as caught:
                    sock.recv(1)
                self.assertNotIsInstance(caught.exception, TimeoutError)

            # by the sender's own rule, and by a sibling's
            for target, port in (OUTSIDE[family], 5003), (addr, 5002):
                status, output = two.run(f'nc {target} {port}', 10)
                self.assertNotEqual(status, 0)
                self.assertIn('refused', output)
            output = self.fail_to_ping(one, OUTSIDE[family])
            self.assertRegex(output, ('Packet filtered',
                                      '[Aa]dministratively prohibited')
                             [family])

    def test_related(self):
        """Errors about what a guest has sent come back to it."""
        one, = self.launch(port=',policy=drop', slaves=('',),
                           args=self.rule('out', direction='out',
                                          action='accept'))
        self.router.run('ip link set eth1 mtu 1400')
        self.outside.run('ip link set eth0 mtu 1400')
        self.make_blob(self.guest)
        for family, program in enumerate(('traceroute', 'traceroute6')):
            output = one.check(f'{program} -n -q 2 -w 10 -m 5 '
                               f'{OUTSIDE[family]}')
            hops = [line.split()[1] for line in output.split('\n')[1:]]
            self.assertEqual(hops, [ROUTER[family], OUTSIDE[family]], output)
            self.send_to_host(one, OUTSIDE[family], self.outside)
            output = self.fail_to_ping(one, OUTSIDE[family],
                                       '-M do -s 1452')
            self.assertRegex(output, 'mtu ?= ?1400')
            output = self.fail_to_ping(one, ('198.51.100.77',
                                             '2001:db8:2::77')[family])
            self.assertIn(f'From {ROUTER[family]} ', output)
            self.assertIn(('Destination Host Unreachable',
                           'Address unreachable')[family], output)

    def test_under_load(self):
        """Rules come and go while packets flow."""
        one, two = self.launch()
        counter = Counter(self.outside)
        one.start(f'ping -n -i 0.05 {OUTSIDE[0]}')
        two.start(f'nc {OUTSIDE[1]} {counter.port} </dev/zero')
        counter.wait_for_more()

        def pings():
            return int(one.check('grep -c time= /tmp/n0.log; true'))

        def wait_for_pings():
            goal = pings() + 5
            wait_for(lambda: pings() >= goal, 'pings to be answered')

        wait_for_pings()
        for i in range(3):
            self.add_rule('stop', priority=5, slave='n0', match=PING,
                          action='drop')
            before = pings()
            wait_for(lambda: self.rules()['stop']['packets'] >= 10,
                     'pings to be dropped')
            # One was on its way.
            self.assertLessEqual(pings(), before + 1)
            self.delete_rule('stop')
            wait_for_pings()
            counter.wait_for_more()

        # Many, of which none is about that.
        for i in range(50):
            self.add_rule(f'r{i}', priority=i + 1, action='drop',
                          match=f'udp dst port {2000 + i}')
        counter.wait_for_more()
        for i in range(50):
            self.delete_rule(f'r{i}')
        self.assertEqual(self.rules(), {})
        wait_for_pings()
        counter.wait_for_more()

        # What a rule has accepted is accepted until that is deleted.
        self.add_rule('accept', priority=10, match='tcp', action='accept')
        counter.wait_for_more()
        self.add_rule('drop', priority=20, match='tcp', action='drop')
        counter.wait_for_more()
        self.delete_rule('accept')
        wait_for(lambda: self.rules()['drop']['packets'] >= 3,
                 'segments to be dropped')
        before = counter.bytes
        wait_for(lambda: self.rules()['drop']['packets'] >= 6,
                 'segments to be dropped')
        self.assertLessEqual(counter.bytes, before)
        self.delete_rule('drop')
        counter.wait_for_more()

    def test_query(self):
        """query-ipvlan shows rules, what they have done, and flows."""
        one, two = self.launch(
            port=',policy=drop',
            args=self.rule('b', priority=20, direction='out', match='icmp',
                           action='accept') +
            self.rule('a', priority=10, direction='out', slave='n1',
                      match='icmp', action='drop'))
        self.assertEqual(self.port()['flows'], 0)
        one.assert_pings(OUTSIDE[0], count=3)
        two.assert_no_ping(OUTSIDE[0])

        rules = self.rules()
        # A packet of 84 bytes and its Ethernet header, and its reply.
        self.assertEqual(rules['b']['packets'], 6)
        self.assertEqual(rules['b']['bytes'], 6 * 98)
        self.assertEqual(rules['a']['packets'], 1)
        self.assertEqual(rules['a']['action'], 'drop')
        self.assertEqual(rules['b']['match'], 'icmp')
        # Three times ping, three identifiers.
        self.assertEqual(self.port()['flows'], 3)
        self.assertEqual(self.port()['policy'], 'drop')
        shown = self.hmp(self.vm, 'info ipvlan')
        for word in 'l3s', 'icmp', '192.0.2.1', 'policy':
            self.assertIn(word, shown)
        self.delete_rule('b')
        self.assertEqual(self.port()['flows'], 0)


@skipIfMissingCommands('ip', 'ping')
class Changes(RulesTest):
    """A port that is changed while its guests are busy."""

    mode = 'l2-macnat'

    def change(self, **what):
        self.vm.cmd('ipvlan-port-set', master='up0', **what)

    def test_modes(self):
        """A connection and pings live through every change of mode."""
        one, two = self.launch(gateways=(), configure=False)
        for card in one, two:
            self.configure_on_link(card)
        counter = Counter(self.outside)
        one.start(f'ping -n -i 0.05 {OUTSIDE[0]}')
        two.start(f'nc {OUTSIDE[1]} {counter.port} </dev/zero')

        def pings():
            return int(one.check('grep -c time= /tmp/n0.log; true'))

        def check_traffic():
            goal = pings() + 5
            counter.wait_for_more()
            wait_for(lambda: pings() >= goal, 'pings to be answered')
            for family in 0, 1:
                one.assert_pings(two.addrs[family])
                self.outside.assert_pings(two.addrs[family])

        check_traffic()
        gateways = {'gateway': list(ROUTER)}
        for mode, more in (('l3', gateways), ('l2-macnat', {}),
                           ('l3s', gateways), ('l3', {}),
                           ('l2-macnat', {})):
            self.change(mode=mode, **more)
            check_traffic()

        # Siblings do not know each other any more; the outside does.
        self.change(flag='private')
        one.assert_no_ping(two.addr)
        self.change(flag='bridge', mode='l3s', policy='drop', **gateways)
        self.outside.assert_no_ping(one.addr)
        self.add_rule('all', match=PING, action='accept')
        self.outside.assert_pings(one.addr)


@skipIfMissingCommands('ip', 'ping')
class Queues(RulesTest):
    """Two queues all the way through the filter."""

    tap_flags = 'vnet_hdr multi_queue'

    def add_uplink(self):
        self.vm.add_args('-netdev', 'tap,id=up0,ifname=tap0,script=no,'
                         'downscript=no,queues=2')

    def add_guest(self, vm, cpus=2):
        super().add_guest(vm, cpus)

    def add_card(self, vm, index, name, mac=None, features=''):
        super().add_card(vm, index, name, mac, ',mq=on,vectors=6')

    def add_dumps(self, count):
        """filter-dump knows no second queue."""

    def test_queues(self):
        one, two = self.launch(
            port=',policy=drop', slaves=('queues=2', 'queues=2'),
            args=self.rule('tcp', match='tcp', action='accept'))
        self.make_blob(self.guest)
        for family in 0, 1:
            self.send_from_host(two, two.addrs[family], self.outside)
            self.send_to_sibling(one, two, two.addrs[family])
            sinks = [Sink(self.outside, (socket.AF_INET,
                                         socket.AF_INET6)[family])
                     for _ in range(6)]
            one.check(' & '.join(f'nc {OUTSIDE[family]} {sink.port} <{BLOB}'
                                 for sink in sinks) + ' & wait', 120)
            digest = one.digest(BLOB)
            for sink in sinks:
                self.assertEqual(sink.digest(), digest)


@skipIfMissingCommands('ip', 'ping', 'cc')
class Flood(IntruderMixin, RulesTest):

    def test_flood_of_flows(self):
        """Who opens a hundred thousand flows forgets his own."""
        one, two = self.launch(
            port=',policy=drop',
            args=self.rule('out', direction='out', action='accept'))
        # Outside takes datagrams, and says nothing.
        self.outside.run('ip address add 198.51.100.9/32 dev eth0')
        self.outside.run('ip route add blackhole 198.51.100.128/25')
        self.router.run('ip route add blackhole 203.0.113.0/24')

        # A connection whose next byte comes from outside.
        with self.outside:
            server = socket.create_server((OUTSIDE[0], 0))
        self.addCleanup(server.close)
        server.settimeout(PATIENCE)
        two.check('mkfifo /tmp/never')
        two.start(f'(nc {OUTSIDE[0]} {server.getsockname()[1]} <>/tmp/never '
                  '>/tmp/late)')
        connection, _ = server.accept()
        self.addCleanup(connection.close)
        quiet = two.check(f'ping -q -n -i 0.1 -c 20 -W 10 {OUTSIDE[0]}')

        packets = 100_000
        pid = one.start(f'{PROGRAM} ports 203.0.113.1 {packets}')
        loud = two.check(f'ping -q -n -i 0.1 -c 20 -W 10 {OUTSIDE[0]}')
        one.wait_exit(pid)
        self.assertIn(' 20 received', loud)
        flows = self.port()['flows']
        self.assertLessEqual(flows, MAX_FLOWS)
        self.assertGreater(flows, MAX_FLOWS * 9 // 10)
        self.assertGreaterEqual(self.rules()['out']['packets'], packets)

        # The connection is still known; so is, for the guest that has made
        # the flood, what it does now.
        connection.sendall(b'late')
        connection.close()
        two.wait_for('grep -q late /tmp/late')
        for target in OUTSIDE:
            one.assert_pings(target)
            two.assert_pings(target)

        def figures(output):
            return output.split('\n')[-1]
        print(f'# flood of {packets} flows, {flows} remembered; a '
              f'sibling\'s pings without: {figures(quiet)}; with: '
              f'{figures(loud)}')


if __name__ == '__main__':
    IpvlanTest.main()
