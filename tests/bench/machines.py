# The guests of the end-to-end benches, and the way to them.
#
# All of it runs in namespaces of its own (see bench.py), which end with the
# program whatever ends it: nothing here cleans up after itself.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import json
import os
import re
import select
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

PATIENCE = 60
IPERF_PATIENCE = 15
IPERF_PORT = 5201
RR_PORT = 5300

# The guest has nothing to do but what it is asked to.
KERNEL_ARGS = ('console=ttyS0 quiet cryptomgr.notests no_timer_check '
               'panic=-1 ipv6.disable=1')


class BenchError(Exception):
    """What failed, in one sentence."""


class NotReady(BenchError):
    """What failed for now, and may be tried again."""


def run(*command, timeout=PATIENCE):
    """Run a program of the host's; return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=timeout)
    if done.returncode:
        raise BenchError(f'{shlex.join(command)}: '
                         f'{(done.stderr or done.stdout).strip()[-500:]}')
    return done.stdout


def retry(attempt):
    """What @attempt returns as soon as it does not raise NotReady."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return attempt()
        except NotReady:
            if time.monotonic() > deadline:
                raise


# ---- the initrd ----

def cpio(files):
    """An archive that the kernel unpacks over an initrd: {path: bytes}."""
    out = bytearray()

    def entry(name, mode, data):
        fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        out.extend(b'070701' + b''.join(b'%08X' % f for f in fields))
        for part in name.encode() + b'\0', data:
            out.extend(part)
            out.extend(bytes(-len(out) % 4))

    for name, data in files.items():
        entry(name, 0o100755, data)
    entry('TRAILER!!!', 0, b'')
    return bytes(out)


def make_initrd(guest, rr, path):
    """The functional tests' initrd with one more program."""
    image = (guest / 'initrd.img').read_bytes()
    path.write_bytes(image + bytes(-len(image) % 512) +
                     cpio({'bin/rr': rr.read_bytes()}))


# ---- a guest ----

class Card:
    """A card in a network namespace of the guest; it has one address."""

    def __init__(self, machine, index, addr):
        self.machine = machine
        self.name = f'n{index}'
        self.mac = f'52:54:00:be:{machine.number:02x}:{index:02x}'
        self.addr = addr                # in the guest
        self.host_addr = addr           # for the host to reach it by
        self.ports = {IPERF_PORT: IPERF_PORT, RR_PORT: RR_PORT}

    def inside(self, command):
        return f'ip netns exec {self.name} {command}'

    def set_up(self):
        guest = self.machine
        guest.check(f'for d in /sys/class/net/*; do '
                    f'[ $(cat $d/address) = {self.mac} ] && c=${{d##*/}}; '
                    f'done; ip netns add {self.name} && '
                    f'ip link set $c netns {self.name} name eth0 && '
                    f'ip -n {self.name} address add {self.addr}/24 dev eth0 &&'
                    f'ip -n {self.name} link set lo up && '
                    f'ip -n {self.name} link set eth0 up')
        guest.check(f'{self.inside("iperf3 -s")} >/dev/null 2>&1 & '
                    f'{self.inside(f"rr serve {RR_PORT}")} & true')
        for port in IPERF_PORT, RR_PORT:
            guest.check(f"until {self.inside('ss -ltnH')} | grep -q :{port}; "
                        'do :; done')

    # ---- what the host does with it ----

    def iperf_start(self, *args):
        return subprocess.Popen(
            ['iperf3', '-J', '-c', self.host_addr, '--connect-timeout', '9000',
             '-p', str(self.ports[IPERF_PORT]), *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True)

    def iperf(self, *args):
        """Run a client of the host's against this card; what it reports."""
        return retry(lambda: iperf_result(self.iperf_start(*args)))

    def received(self):
        """Frames that the card has got so far."""
        return int(self.machine.check(self.inside(
            'cat /sys/class/net/eth0/statistics/rx_packets')))

    def rr(self, count):
        """Round trips of one byte over TCP, in nanoseconds."""
        lines = run(str(self.machine.lab.rr), 'ask', self.host_addr,
                    str(self.ports[RR_PORT]), str(count))
        return [int(line) for line in lines.split()]


def iperf_result(process):
    """
    A client's report.  It may have come too early: a server still has the
    last client's test to finish, or closes its socket to open it again.  And
    it waits for ever for a first datagram that got lost.
    """
    try:
        output, _ = process.communicate(timeout=IPERF_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise NotReady(f'{shlex.join(process.args)} did not end') from None
    report = json.loads(output)
    if 'error' in report:
        raise NotReady(f'{shlex.join(process.args)}: {report["error"]}')
    return report


class Monitor:
    """A QMP connection."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.file = self.socket.makefile('rw')
        self.file.readline()
        self.ask('qmp_capabilities')

    def ask(self, command):
        self.file.write(json.dumps({'execute': command}) + '\n')
        self.file.flush()
        while 'return' not in (reply := json.loads(self.file.readline())):
            if 'error' in reply:
                raise BenchError(f'{command}: {reply["error"]["desc"]}')
        return reply['return']


class Machine:
    """One QEMU, its serial console and its monitor."""

    def __init__(self, lab, number, name, netdevs, uplink, cards=1,
                 qemu=None, addr=None):
        """
        @netdevs: words of the command line, which may name {tap} and, for
        each slave, {n}.  @uplink: 'tap', 'slirp' or None.  @addr: that of the
        only card, where it is on somebody else's network.
        """
        self.lab = lab
        self.number = number
        self.name = name
        self.uplink = uplink
        self.qemu = qemu or lab.qemu
        self.buffer = b''
        self.serial = 0
        self.qmp_path = lab.tmp / f'qmp{number}'
        if uplink == 'slirp':
            addrs = ['10.0.2.15']
        elif addr:
            addrs = [addr]
        else:
            addrs = [f'10.77.{number}.{2 + i}' for i in range(cards)]
        self.cards = [Card(self, i, addr) for i, addr in enumerate(addrs)]
        if uplink == 'tap':
            self.make_tap()
        self.process = subprocess.Popen(
            self.command(netdevs), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(lab.tmp / f'qemu{number}.log').open('w'))

    @property
    def card(self):
        return self.cards[0]

    @property
    def gateway(self):
        if self.uplink == 'slirp':
            return '10.0.2.2'
        return f'10.77.{self.number}.1'

    @property
    def broadcast(self):
        return f'10.77.{self.number}.255'

    def make_tap(self):
        tap = f'tap{self.number}'
        run('ip', 'tuntap', 'add', tap, 'mode', 'tap')
        Path(f'/proc/sys/net/ipv6/conf/{tap}/disable_ipv6').write_text('1')
        run('ip', 'address', 'add', f'{self.gateway}/24', 'broadcast', '+',
            'dev', tap)
        run('ip', 'link', 'set', tap, 'up')

    def tap_received(self):
        """Frames that have come out of QEMU so far."""
        link, = json.loads(run('ip', '-j', '-s', 'link', 'show', 'dev',
                               f'tap{self.number}'))
        return link['stats64']['rx']['packets']

    def slirp_options(self):
        card = self.card
        card.host_addr = '127.0.0.1'
        options = 'user,id=up0'
        for port in card.ports:
            card.ports[port] = 20000 + 1000 * self.number + port % 1000
            options += (f',hostfwd=tcp:127.0.0.1:{card.ports[port]}-'
                        f'{card.addr}:{port}')
        return options

    def netdev_args(self, netdevs):
        args = []
        if self.uplink == 'tap':
            args += ['-netdev', f'tap,id=up0,ifname=tap{self.number},'
                     'script=no,downscript=no']
        elif self.uplink == 'slirp':
            args += ['-netdev', self.slirp_options()]
        for netdev in netdevs:
            args += ['-netdev', netdev]
        return args

    def command(self, netdevs):
        *netdevs, peer = netdevs
        command = [
            str(self.qemu), '-accel', 'tcg', '-m', '256',
            '-display', 'none', '-nodefaults', '-no-user-config',
            '-no-reboot', '-serial', 'stdio',
            '-qmp', f'unix:{self.qmp_path},server=on,wait=off',
            '-kernel', str(self.lab.guest / 'vmlinuz'),
            '-initrd', str(self.lab.initrd),
            '-append', KERNEL_ARGS, *self.netdev_args(netdevs)]
        for i, card in enumerate(self.cards):
            command += ['-device', f'virtio-net-pci,netdev={peer.format(i)},'
                        f'mac={card.mac},romfile=']
        return command

    def set_up(self):
        """Wait for the guest, and make it ready to be measured."""
        self.read_until(rb'guest# ')
        self.send('stty -echo -onlcr; PS1= PS2=\n')
        self.check('dmesg -n 1')
        for card in self.cards:
            card.set_up()
        self.monitor = Monitor(self.qmp_path)
        self.sleep()

    def sleep(self):
        """Use no time of the host's until wake_up()."""
        self.monitor.ask('stop')

    def wake_up(self):
        """Go on, and see to it that all know each other's addresses."""
        self.monitor.ask('cont')
        for card in self.cards:
            if self.uplink:
                self.check('until ' + card.inside(
                    f'ping -q -c 1 -W 1 {self.gateway}') + '; do :; done')
        self.find(self.cards[1:])

    def find(self, cards):
        for card in cards:
            self.check('until ' + self.card.inside(
                f'ping -q -c 1 -W 1 {card.addr}') + '; do :; done')

    # ---- console ----

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def read_until(self, pattern):
        deadline = time.monotonic() + PATIENCE
        stdout = self.process.stdout.fileno()
        while not (match := re.search(pattern, self.buffer)):
            left = deadline - time.monotonic()
            if left < 0:
                raise BenchError(f'{self.name}: the guest said nothing but '
                                 f'{self.buffer[-500:]}')
            if not select.select([stdout], [], [], left)[0]:
                continue
            data = os.read(stdout, 65536)
            if not data:
                log = (self.lab.tmp / f'qemu{self.number}.log').read_text()
                raise BenchError(f'{self.name}: QEMU ended: {log[-500:]}')
            self.buffer += data
        before = self.buffer[:match.start()]
        self.buffer = self.buffer[match.end():]
        return before.decode(errors='replace'), match

    def check(self, command):
        """Run a command of the guest's shell; return what it prints."""
        self.serial += 1
        self.send(f'{{ {command}\n}} </dev/null 2>&1\n'
                  f"printf '\\n@%d:%d@\\n' {self.serial} $?\n")
        output, match = self.read_until(rb'\n@%d:(\d+)@\n' % self.serial)
        if match[1] != b'0':
            raise BenchError(f'{self.name}: {command}: {output.strip()}')
        return output.strip()


class Peers:
    """
    Two stock QEMUs with a card each, on sockets.  @link: 'stream' or 'dgram'.
    @switch: between them there is one of ours, whose slaves they are.
    """

    def __init__(self, lab, number, name, link, switch):
        self.name = name
        self.sockets = lab.tmp / f'peers{number}'
        self.sockets.mkdir()
        if switch:
            self.process = subprocess.Popen(
                self.switch_command(lab, link), stdin=subprocess.DEVNULL,
                stderr=(lab.tmp / f'switch{number}.log').open('w'))
        self.machines = [
            Machine(lab, number + i, f'{name}, {i}',
                    [self.netdev(link, i, switch), 's'], None,
                    qemu=lab.stock_qemu(), addr=f'10.77.{number}.{2 + i}')
            for i in range(2)]
        self.cards = [machine.card for machine in self.machines]

    def switch_command(self, lab, link):
        command = [str(lab.qemu), '-machine', 'none', '-display', 'none',
                   '-nodefaults', '-no-user-config',
                   '-netdev', 'hubport,id=up0,hubid=0']
        for i in range(2):
            path = self.sockets / f'{i}'
            options = (f'stream,id=s{i},server=on,addr.type=unix,'
                       f'addr.path={path}' if link == 'stream' else
                       f'{self.dgram(f"switch{i}", f"{i}")},id=s{i}')
            command += ['-netdev', options,
                        '-netdev', f'ipvlan,id=n{i},master=up0,netdev=s{i}']
        return command

    def dgram(self, local, remote):
        return (f'dgram,local.type=unix,local.path={self.sockets / local},'
                f'remote.type=unix,remote.path={self.sockets / remote}')

    def netdev(self, link, i, switch):
        if link == 'dgram':
            return f'{self.dgram(f"{i}", f"switch{i}")},id=s'
        server = not switch and i == 0
        path = self.sockets / (f'{i}' if switch else 'direct')
        if not server:
            self.wait_for(path)
        return ('stream,id=s,addr.type=unix,'
                f'addr.path={path}' + (',server=on' if server else ''))

    @staticmethod
    def wait_for(path):
        """QEMU 7.2 tries to connect only once."""
        def attempt():
            if not path.exists():
                raise NotReady(f'{path} does not appear')
        retry(attempt)

    def set_up(self):
        for machine in self.machines:
            machine.set_up()

    def sleep(self):
        for machine in self.machines:
            machine.sleep()

    def wake_up(self):
        for machine in self.machines:
            machine.wake_up()
        self.machines[0].find(self.cards[1:])


# ---- all of them ----

SLAVES = (1, 2, 4, 8)


def slaves(n):
    return [f'ipvlan,id=n{i},master=up0' for i in range(n)] + ['n{}']


def hub(n, uplink):
    ports = [f'hubport,id=n{i},hubid=0' for i in range(n)]
    if uplink:
        ports.append('hubport,id=up,hubid=0,netdev=up0')
    return ports + ['n{}']


# name: netdevs behind the uplink and the NICs' peer, uplink, cards
KINDS = {
    'tap': (['up0'], 'tap', 1),
    'tap+hub': (hub(1, True), 'tap', 1),
    'slirp': (['up0'], 'slirp', 1),
    'slirp+ipvlan': (slaves(1), 'slirp', 1),
    'hub of 2': (hub(2, False), None, 2),
    'tap+hub of 2': (hub(2, True), 'tap', 2),
    **{f'tap+ipvlan {n}': (slaves(n), 'tap', n) for n in SLAVES},
}

# name: kind of the sockets, whether there is a switch
PEERS = {
    'stream, switch': ('stream', True),
    'dgram, switch': ('dgram', True),
    'stream': ('stream', False),
}


class Lab:
    """What the machines have in common."""

    def __init__(self, qemu, guest, rr, tmp):
        self.qemu = qemu
        self.guest = guest
        self.rr = rr
        self.tmp = tmp
        self.initrd = tmp / 'initrd.img'
        self.machines = {}
        self.started = 0
        make_initrd(guest, rr, self.initrd)
        run('ip', 'link', 'set', 'lo', 'up')
        # As on a host; a network namespace begins with 10.
        with contextlib.suppress(OSError):
            Path('/proc/sys/net/unix/max_dgram_qlen').write_text('512')

    def boot(self, names):
        """Boot what is missing; two at a time, as there are two cores."""
        names = [name for name in names if name not in self.machines]
        for i in range(0, len(names), 2):
            pair = [self.start(name) for name in names[i:i + 2]]
            for machine in pair:
                machine.set_up()

    def start(self, name):
        number = 1 + self.started
        if name in PEERS:
            machine = Peers(self, number, name, *PEERS[name])
            self.started += 2
        else:
            machine = Machine(self, number, name, *KINDS[name])
            self.started += 1
        self.machines[name] = machine
        return machine

    @staticmethod
    def stock_qemu():
        path = shutil.which('qemu-system-x86_64')
        if not path:
            raise BenchError('there is no qemu-system-x86_64 of the '
                             "distribution's")
        return path

    def wake_up(self, names):
        for name in names:
            self.machines[name].wake_up()

    def sleep(self, names):
        for name in names:
            self.machines[name].sleep()
