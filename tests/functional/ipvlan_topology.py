# What the functional tests of -netdev ipvlan as a router share: a network to
# route to, in namespaces that nobody else sees.
#
#   guests -- ipvlan -- tap0 -- switch -- router -- outside
#                                    \
#                                     beside
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import subprocess

from ipvlan_frames import ARP, IPV4, IPV6, is_for_many, is_nd
from ipvlan_tap import PORT_MAC, Capture, Namespace, WatchedTapTest

# IPv4 and IPv6
ROUTER = '192.0.2.1', '2001:db8:1::1'
BESIDE = '192.0.2.3', '2001:db8:1::3'
OUTSIDE = '198.51.100.2', '2001:db8:2::2'
NOBODY = '192.0.2.77', '2001:db8:1::77'

# Where the port's advertisements come from, and its errors.
PORT_LINK_LOCAL = 'fe80::1'
PORT_ADDRESS = '192.0.0.8'

# Of PORT_MAC, RFC 4291
PORT_MAC_LINK_LOCAL = 'fe80::ff:fe00:1'

# What a guest may call its router; it is nowhere.
ANY_HOP = '169.254.1.1'


def guest_address(i):
    """Of the card n<i>, IPv4 and IPv6."""
    return f'192.0.2.{10 + i}', f'2001:db8:1::1{i}'


def owned(i):
    """The options of a slave that owns these."""
    return ','.join(f'addr={addr}' for addr in guest_address(i))


class Machine(Namespace):
    """A machine outside of QEMU: a namespace."""

    def __init__(self, test, name):
        super().__init__()
        self.test = test
        self.name = name
        self.run('ip link set lo up')
        # Its addresses are right, and it has no time to lose.
        self.set('ipv6/conf/default/accept_dad', 0)
        self.set('ipv4/icmp_ratelimit', 0)
        self.set('ipv6/icmp/ratelimit', 0)

    def set(self, name, value):
        with self, open(f'/proc/sys/net/{name}', 'w') as file:
            file.write(str(value))

    def try_run(self, command):
        """What a command prints, whether it succeeds or not."""
        return self.run(command, check=False).stdout

    def connect(self, name, other, other_name):
        """A cable: @name here is @other_name there."""
        self.run(f'ip link add {name} type veth peer name {other_name} '
                 f'netns /proc/{os.getpid()}/fd/{other.fd}')
        self.run(f'ip link set {name} up')
        other.run(f'ip link set {other_name} up')

    def add_addresses(self, device, v4, v6):
        self.run(f'ip address add {v4}/24 dev {device}')
        self.run(f'ip address add {v6}/64 dev {device} nodad')

    def add_routes(self, v4, v6, via):
        self.run(f'ip route replace {v4} {via[0]}')
        self.run(f'ip -6 route replace {v6} {via[1]}')

    def start(self, command, **options):
        """Run a program in the background, until the end of the test."""
        with self:
            process = subprocess.Popen(
                command.split(), stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, **options)

        def stop():
            process.kill()
            process.communicate()
        self.test.addCleanup(stop)
        return process

    def ping(self, target, options='', count=2, wait=10):
        """How many of @count pings are answered; each is waited for."""
        return sum(self.run(f'ping -q -n -c 1 -W {wait} {options} {target}',
                            check=False).returncode == 0
                   for _ in range(count))

    def assert_pings(self, target, options='', count=2):
        self.test.assertEqual(self.ping(target, options, count), count,
                              f'{self.name} pings {target}')

    def assert_no_ping(self, target, options=''):
        self.test.assertEqual(self.ping(target, options, 1, 1), 0,
                              f'{self.name} pings {target}')


class TopologyTest(WatchedTapTest):
    """A test with that network; its guests are in @mode."""

    mode = 'l3'

    def setUp(self):
        super().setUp()
        self.build_network()

    def make_host(self):
        return Machine(self, 'host')

    def make_machine(self, name):
        machine = Machine(self, name)
        self.addCleanup(machine.close)
        return machine

    def build_network(self):
        # The machine of the tap is only the switch.
        self.host.set('ipv6/conf/all/disable_ipv6', 1)
        self.host.set('ipv6/conf/default/disable_ipv6', 1)
        self.host.run('ip link add br0 type bridge forward_delay 0 '
                      'mcast_snooping 0')
        self.host.run('ip link set br0 up')
        self.host.run('ip link set tap0 master br0')

        self.router = self.make_machine('router')
        self.beside = self.make_machine('beside')
        self.outside = self.make_machine('outside')
        for machine in self.router, self.beside:
            machine.connect('eth0', self.host, machine.name)
            self.host.run(f'ip link set {machine.name} master br0')
        self.router.connect('eth1', self.outside, 'eth0')

        self.router.set('ipv4/ip_forward', 1)
        self.router.set('ipv6/conf/all/forwarding', 1)
        self.router.add_addresses('eth0', *ROUTER)
        self.router.add_addresses('eth1', '198.51.100.1', '2001:db8:2::1')
        self.beside.add_addresses('eth0', *BESIDE)
        self.outside.add_addresses('eth0', *OUTSIDE)
        self.outside.add_routes('default', 'default',
                                ('via 198.51.100.1', 'via 2001:db8:2::1'))

    def check_wire(self):
        """And how the port looks from outside."""
        super().check_wire()
        if self.mode not in ('l3', 'l3s'):
            return
        for frame in self.capture.sent:
            self.assertIn(frame.ethertype, (ARP, IPV4, IPV6), frame)
            # but for the port's own questions
            if frame.ethertype != ARP and not is_nd(frame):
                self.assertFalse(is_for_many(frame), frame)

    # ---- the guests ----

    def port_options(self, gateways, more):
        words = [f'mode={self.mode}', f'mac={PORT_MAC}']
        words += [f'gateway={gateway}' for gateway in gateways]
        return ','.join(words) + more

    def add_uplink(self):
        self.vm.add_args('-netdev', 'tap,id=up0,ifname=tap0,script=no,'
                         'downscript=no')

    def launch(self, port='', slaves=('', ''), gateways=ROUTER, args=(),
               configure=True):
        """
        Boot a guest with a card for each of @slaves, what their options are
        but for their addresses; its addresses are guest_address() of each.
        """
        self.capture = Capture(self.host, 'tap0')
        self.add_guest(self.vm)
        self.add_uplink()
        slaves = [','.join(filter(None, (owned(i), slave)))
                  for i, slave in enumerate(slaves)]
        macs = None
        if self.mode == 'l2':
            # A guest has to have the port's MAC, so that there is only one
            # link-local address for all of them: the first one gets it.
            macs = [PORT_MAC] * len(slaves)
            slaves[0] += f',addr={PORT_MAC_LINK_LOCAL}'
        self.add_slaves(self.vm, slaves, self.port_options(gateways, port),
                        macs=macs)
        self.add_dumps(len(slaves))
        self.vm.add_args(*args)
        with self.host:
            self.guest = self.boot(self.vm)
        cards = []
        for i in range(len(slaves)):
            card = self.card(self.guest, i, has_link_local=not (macs and i))
            cards.append(card)
            card.addr, card.addr6 = guest_address(i)
            card.addrs = guest_address(i)
            if configure:
                self.configure(card)
        return cards

    def configure(self, card, via=ANY_HOP):
        """A routed guest: nobody is on its link; it hears of the router."""
        card.check(f'ip address add {card.addr}/32 dev eth0 && '
                   f'ip -6 address add {card.addr6}/128 dev eth0 nodad && '
                   f'ip route add default via {via} dev eth0 onlink')
        card.wait_for('ip -6 route show default | '
                      f'grep -q "via {PORT_LINK_LOCAL} "')

    def configure_on_link(self, card):
        """A guest that thinks everybody is on its link, but for outside."""
        card.check(f'ip address add {card.addr}/24 dev eth0 && '
                   f'ip -6 address add {card.addr6}/64 dev eth0 nodad && '
                   f'ip route add default via {ROUTER[0]} && '
                   f'ip -6 route add default via {ROUTER[1]} metric 512')

    def fail_to_ping(self, card, target, options=''):
        """Ping once, which nobody answers; return what ping says of it."""
        status, output = card.run(f'ping -n -c 1 -W 10 {options} {target}')
        self.assertNotEqual(status, 0, output)
        return output

    def sent(self, condition):
        """The frames of the port's so far for which @condition is true."""
        return [f for f in list(self.capture.sent) if condition(f)]
