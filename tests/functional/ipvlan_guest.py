# What the functional tests of -netdev ipvlan share: a Linux guest that is
# driven by its serial console, and in it a network namespace for each network
# card, as if each were a machine of its own.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import logging
import os
import re
import shlex
import time

from qemu_test import QemuSystemTest

# Long enough for a busy host that emulates: a test that waits this long fails.
PATIENCE = 60

# A file in the guest, for TCP to carry.
BLOB = '/tmp/blob'
BLOB_MIB = 4

# Every card has a PCI slot that tells the guest which one it is.
FIRST_SLOT = 0x10


def wait_for(condition, what, timeout=PATIENCE):
    """Return what @condition returns as soon as it is true."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f'waited {timeout} s for {what}')
        time.sleep(0.05)


class Guest:
    """The root shell on the serial console of a guest."""

    def __init__(self, test, vm):
        self.test = test
        self.vm = vm
        self.log = logging.getLogger('console')
        self.buffer = b''
        self.serial = 0

        self.read_until(rb'guest# ')
        # An echo, or a prompt, would end up in what commands say.
        self.send("stty -echo -onlcr; PS1= PS2=\n")
        self.check('dmesg -n 1')

    def send(self, text):
        self.vm.console_socket.sendall(text.encode())

    def read_until(self, pattern, timeout=PATIENCE):
        """Return what comes before @pattern, and its match."""
        deadline = time.monotonic() + timeout
        while not (match := re.search(pattern, self.buffer)):
            left = deadline - time.monotonic()
            self.test.assertGreater(left, 0, 'the guest said nothing but '
                                    f'{self.buffer[-1000:]}')
            self.vm.console_socket.settimeout(left)
            try:
                data = self.vm.console_socket.recv(65536)
            except TimeoutError:
                continue
            self.test.assertTrue(data, 'the guest is gone')
            self.log.debug(data.decode(errors='replace').rstrip())
            self.buffer += data
        before = self.buffer[:match.start()]
        self.buffer = self.buffer[match.end():]
        return before.decode(errors='replace'), match

    def run(self, command, timeout=PATIENCE):
        """Run a command of the shell.  Return its exit status and output."""
        self.serial += 1
        self.log.debug('$ %s', command)
        self.send(f"{{ {command}\n}} </dev/null 2>&1\n"
                  f"printf '\\n@%d:%d@\\n' {self.serial} $?\n")
        output, match = self.read_until(rb'\n@%d:(\d+)@\n' % self.serial,
                                        timeout)
        return int(match[1]), output.strip()

    def check(self, command, timeout=PATIENCE):
        """Run a command that has to succeed, and return what it prints."""
        status, output = self.run(command, timeout)
        self.test.assertEqual(status, 0, f'guest: {command}: {output}')
        return output

    def wait_for(self, command, timeout=PATIENCE):
        """Repeat a command until it succeeds, and return what it prints."""
        return wait_for(lambda: self.try_once(command), f'guest: {command}',
                        timeout)

    def try_once(self, command):
        status, output = self.run(command)
        return (output or 'yes') if status == 0 else None


class Card:
    """A card that has become the eth0 of a network namespace of the guest.

    The namespace has the name of the card's netdev.  @pci is the card's PCI
    address, or a pattern that fits only one that is left.  Without
    @has_link_local, it gets no IPv6 address by itself.
    """

    def __init__(self, guest, name, pci, has_link_local=True):
        self.guest = guest
        self.test = guest.test
        self.name = name
        self.addr = None        # from DHCP

        card = guest.wait_for(f'ls /sys/bus/pci/devices/{pci}/virtio*/net/'
                              '*/address').split('/')[-2]
        guest.check(f'ip netns add {name} && '
                    f'ip link set {card} netns {name} name eth0 && '
                    f'ip -n {name} link set lo up')
        self.mac = guest.check(f'ip netns exec {name} '
                               f'cat /sys/class/net/eth0/address')
        if not has_link_local:
            guest.check(f'ip -n {name} link set eth0 addrgenmode none')
        guest.check(f'ip -n {name} link set eth0 up')

    def inside(self, command):
        return f'ip netns exec {self.name} sh -c {shlex.quote(command)}'

    def run(self, command, timeout=PATIENCE):
        return self.guest.run(self.inside(command), timeout)

    def check(self, command, timeout=PATIENCE):
        return self.guest.check(self.inside(command), timeout)

    def try_run(self, command):
        """What a command prints, whether it succeeds or not."""
        return self.run(command)[1]

    def wait_for(self, command, timeout=PATIENCE):
        return self.guest.wait_for(self.inside(command), timeout)

    def start(self, command):
        """Run a command in the background; return its process id."""
        return self.check(f'{command} >/tmp/{self.name}.log 2>&1 & echo $!')

    # ---- addresses ----

    def request_lease(self, options=''):
        """Ask for a lease; return the address, or None."""
        status, _ = self.run('udhcpc -i eth0 -s /udhcpc -n -q -f -t 10 -T 1 '
                             + options)
        self.addr = self.ipv4() if status == 0 else None
        return self.addr

    def lease(self, options=''):
        """The same where there is to be an answer."""
        addr = self.request_lease(options)
        self.test.assertTrue(addr, f'{self.name} got no lease')
        return addr

    def set_address(self, address):
        self.check(f'ip address replace {address} dev eth0')
        self.addr = address.partition('/')[0]

    def ipv4(self):
        found = re.findall(r' inet ([0-9.]+)/',
                           self.check('ip -4 -o address show dev eth0'))
        return found[0] if found else None

    def ipv6(self, scope):
        """Its address of this scope, once it has made sure it is alone."""
        def usable():
            lines = self.check(f'ip -6 -o address show dev eth0 scope {scope} '
                               '-tentative')
            return re.findall(r' inet6 ([0-9a-f:]+)/', lines)
        return wait_for(usable, f'an IPv6 address of {self.name}')[0]

    def link_local(self):
        return self.ipv6('link')

    def has_carrier(self):
        return 'NO-CARRIER' not in self.check('ip link show dev eth0')

    # ---- traffic ----

    def ping(self, target, options='', count=2, wait=10):
        """How many of @count pings are answered.

        One at a time, because only then ping waits as long as it is told to.
        """
        if target.startswith('fe80:'):
            self.link_local()
            target += '%eth0'
        output = self.check(f'for i in $(seq {count}); do ping -q -n -c 1 '
                            f'-W {wait} {options} {target}; done; true',
                            PATIENCE + count * wait)
        return output.count(' 1 received')

    def assert_pings(self, target, options='', count=2):
        self.test.assertEqual(self.ping(target, options, count), count,
                              f'{self.name} pings {target}')

    def assert_no_ping(self, target, options=''):
        self.test.assertEqual(self.ping(target, options, 1, 1), 0,
                              f'{self.name} pings {target}')

    def fetch_digest(self, url):
        """The SHA-256 of what is at @url."""
        page = f'/tmp/{self.name}.page'
        self.check(f'wget -q -O {page} {url}')
        return self.digest(page)

    def digest(self, path):
        return self.check(f'sha256sum {path}').split()[0]

    def receive(self, path, port=5001):
        """Wait for a connection, whose bytes go to a file."""
        # Its standard input must not end, or it would be the first to close.
        self.check('test -p /tmp/never || mkfifo /tmp/never')
        pid = self.start(f'(nc -l -p {port} <>/tmp/never >{path})')
        self.wait_for(f'ss -ltnH sport = :{port} | grep -q LISTEN')
        return pid

    def transmit(self, path, host, port=5001):
        """Connect and send a file, all of it."""
        self.check(f'nc {host} {port} <{path}', 2 * PATIENCE)

    def wait_exit(self, pid):
        self.wait_for(f'! kill -0 {pid}')

    def counter(self, name):
        """One of the kernel's counters of this namespace, as nstat(8)."""
        lines = [line.split() for line in
                 self.check('cat /proc/net/snmp /proc/net/netstat').split('\n')]
        for names, values in zip(lines[::2], lines[1::2]):
            if name in names:
                return int(values[names.index(name)])
        raise KeyError(name)


def ping_all(cards, options=''):
    """Every card pings every other one."""
    for card in cards:
        for other in cards:
            if other is not card:
                card.assert_pings(other.addr, options)


def assert_no_pings(cards, targets):
    """No card is answered by any of these; all wait at once."""
    pings = [card.inside(f'ping -n -c 1 -W 1 {target}')
             for card in cards for target in targets if target != card.addr]
    output = cards[0].guest.check(' & '.join(pings) + ' & wait')
    cards[0].test.assertEqual(output.count(' 0 received'), len(pings), output)


class IpvlanTest(QemuSystemTest):
    """A test with Linux guests behind -netdev ipvlan."""

    def setUp(self):
        super().setUp()
        self.image = os.environ.get('VLINK_GUEST')
        if not self.image:
            self.skipTest('VLINK_GUEST does not name the directory of '
                          "the guest's vmlinuz and initrd.img")
        self.initrd = os.path.join(self.image, 'initrd.img')
        for name in 'vmlinuz', 'initrd.img':
            if not os.path.exists(os.path.join(self.image, name)):
                self.skipTest(f'VLINK_GUEST={self.image} has no {name}')
        self.require_netdev('ipvlan')
        self.require_accelerator('tcg')

    # ---- the machine ----

    def add_guest(self, vm, cpus=1):
        vm.add_args('-machine', 'q35', '-accel', 'tcg', '-m', '256',
                    '-smp', str(cpus),
                    '-nodefaults', '-no-reboot',
                    '-kernel', os.path.join(self.image, 'vmlinuz'),
                    '-initrd', self.initrd,
                    # a busy host's timers may be late for the kernel's check
                    '-append', 'console=ttyS0 quiet no_timer_check panic=-1')
        vm.set_console()

    def add_card(self, vm, index, name, mac=None, features=''):
        mac = mac or f'52:54:00:00:00:{index + 1:02x}'
        vm.add_args('-device', f'virtio-net-pci,netdev={name},id=nic-{name},'
                    f'addr={FIRST_SLOT + index:#x},romfile=,mac={mac}'
                    + features)

    def add_slaves(self, vm, slaves, port='', cards=None, macs=None,
                   features=None):
        """Add a slave with a card for each of @slaves, its options."""
        for i, options in enumerate(slaves):
            name = f'n{i}'
            vm.add_args('-netdev', ','.join(filter(None, (
                f'ipvlan,id={name},master=up0', port, options))))
            if cards is None or i in cards:
                self.add_card(vm, i, name, macs[i] if macs else None,
                              features[i] if features else '')

    def boot(self, vm):
        vm.launch()
        return Guest(self, vm)

    def cards(self, guest, count=3):
        return [self.card(guest, i) for i in range(count)]

    def card(self, guest, index, **options):
        return Card(guest, f'n{index}',
                    f'0000:00:{FIRST_SLOT + index:02x}.0', **options)

    def hmp(self, vm, line):
        return vm.cmd('human-monitor-command', command_line=line)

    def holding(self, vm):
        """The files of QEMU, its netdevs, and its memory in KiB."""
        proc = f'/proc/{vm.get_pid()}'
        # QEMU frees what it has of devices that went
        with self.assertRaises(Exception):
            vm.cmd('device_add', driver='virtio-net-pci', netdev='no')
        with open(f'{proc}/status') as status:
            kib = int(re.search(r'RssAnon:\s+(\d+)', status.read())[1])
        return (len(os.listdir(f'{proc}/fd')),
                sorted(self.hmp(vm, 'info network').splitlines()), kib)

    # ---- TCP ----

    def make_blob(self, guest):
        guest.check(f'dd if=/dev/urandom of={BLOB} bs=1M count={BLOB_MIB}')

    def send_to_sibling(self, card, other, addr):
        pid = other.receive(f'/tmp/{other.name}.got')
        card.transmit(BLOB, addr)
        other.wait_exit(pid)
        self.assertEqual(other.digest(f'/tmp/{other.name}.got'),
                         card.digest(BLOB), f'{card.name} to {other.name}')

    # ---- query-ipvlan ----

    def port(self, vm=None):
        ports = (vm or self.vm).cmd('query-ipvlan')
        self.assertEqual(len(ports), 1)
        return ports[0]

    def slave(self, name, vm=None):
        return {s['id']: s for s in self.port(vm)['slaves']}[name]

    def drops(self, name=None, vm=None):
        """What was dropped at a slave, or at the port, by reason."""
        link = self.slave(name, vm) if name else self.port(vm)
        return {d['reason']: d['packets'] for d in link['stats']['drops']}

    def owned(self, name, vm=None):
        """The origins of what a slave owns, by address."""
        return {a['address']: a['origin']
                for a in self.slave(name, vm)['addresses']}
