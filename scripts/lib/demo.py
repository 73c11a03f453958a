# The host's side of the demo; scripts/demo starts it when all is built.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import argparse
import contextlib
import ctypes
import http.server
import itertools
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tty
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / 'build'
QEMU = BUILD / 'qemu' / 'qemu-system-x86_64'
GUEST = BUILD / 'guest'
CARDS = ['eth0', 'eth1', 'eth2']
# On a busy host an emulated timer may be too late for the kernel's check of it;
# and a guest that is lost had better end than say nothing.
KERNEL_ARGS = ('console=ttyS0 quiet cryptomgr.notests no_timer_check '
               'panic=-1')
TIMEOUT = 120


class DemoError(Exception):
    """What failed, in one sentence for the user."""


def say(text):
    print(f'==> {text}', flush=True)


def show(text):
    print(f'    {text}', flush=True)


def run(*command):
    """Run a command of the host's, and say what it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise DemoError(f'{" ".join(command)}: {done.stderr.strip()}')


@contextlib.contextmanager
def uninterrupted():
    """Put signals off that would come between making and noting a thing."""
    pending = []
    handlers = {number: signal.signal(number, lambda n, _: pending.append(n))
                for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in pending:
            signal.raise_signal(number)


def start(cleanup, command, **options):
    """Start a program that ends with the demo."""
    with uninterrupted():
        process = subprocess.Popen(command, **options)
        cleanup.callback(stop, process)
    return process


def stop(process):
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class PageHandler(http.server.BaseHTTPRequestHandler):
    """Every page is the same word, which nobody else could know."""

    def do_GET(self):
        page = self.server.word.encode() + b'\n'
        self.send_response(200)
        self.send_header('Content-Length', str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *args):
        pass


def serve_page(address, word):
    server = http.server.ThreadingHTTPServer((address, 0), PageHandler)
    server.word = word
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class UserUplink:
    """The user-mode stack: the guests see the host as 10.0.2.2."""

    command_prefix = []
    description = "the user-mode stack"
    netdev = 'user,id=up0'

    def __init__(self, cleanup, tmp, word):
        server = serve_page('127.0.0.1', word)
        cleanup.callback(server.server_close)
        cleanup.callback(server.shutdown)
        self.url = f'http://10.0.2.2:{server.server_port}/'

    def check(self):
        pass


class TapUplink:
    """A tap in a network namespace, with a DHCP server behind it."""

    ADDRESS = '192.0.2.1'
    description = 'a tap'
    netdev = 'tap,id=up0,ifname=up0,script=no,downscript=no'

    def __init__(self, cleanup, tmp, word):
        self.namespace = f'vlink-demo-{os.getpid()}'
        self.path = f'/run/netns/{self.namespace}'
        self.command_prefix = ['nsenter', f'--net={self.path}']
        self.make_tap(cleanup)
        self.start_dhcp_server(cleanup, tmp)

        server = self.inside(lambda: serve_page(self.ADDRESS, word))
        cleanup.callback(server.server_close)
        cleanup.callback(server.shutdown)
        self.url = f'http://{self.ADDRESS}:{server.server_port}/'

        self.capture = self.inside(lambda: socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        cleanup.callback(self.capture.close)
        self.sources = set()
        threading.Thread(target=self.collect_sources, daemon=True).start()

    def make_tap(self, cleanup):
        with uninterrupted():
            run('ip', 'netns', 'add', self.namespace)
            cleanup.callback(run, 'ip', 'netns', 'delete', self.namespace)
        for command in ('link set lo up', 'tuntap add up0 mode tap',
                        f'address add {self.ADDRESS}/24 dev up0',
                        'link set up0 up'):
            run(*self.command_prefix, 'ip', *command.split())

    def start_dhcp_server(self, cleanup, tmp):
        config = tmp / 'dnsmasq.conf'
        config.write_text(f'''
port=0
interface=up0
bind-interfaces
dhcp-range=192.0.2.100,192.0.2.199,1h
dhcp-leasefile={tmp}/leases
dhcp-authoritative
no-ping
user=root
pid-file=
''')
        start(cleanup, self.command_prefix +
              ['/usr/sbin/dnsmasq', '--keep-in-foreground',
               f'--conf-file={config}', '--log-facility=-'],
              stdin=subprocess.DEVNULL, stderr=(tmp / 'dnsmasq.log').open('w'))

    def inside(self, function):
        """Call FUNCTION in a thread of the namespace; sockets stay there."""
        results = []

        def thread():
            fd = os.open(self.path, os.O_RDONLY)
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(fd, 0) == 0:
                results.append(function())
            os.close(fd)

        worker = threading.Thread(target=thread)
        worker.start()
        worker.join()
        if not results:
            raise DemoError(f'cannot enter the namespace {self.namespace}')
        return results[0]

    def collect_sources(self):
        """Note the source of every frame that comes out of the tap."""
        with contextlib.suppress(OSError):
            while True:
                frame, address = self.capture.recvfrom(2048)
                if address[0] == 'up0' and address[2] != socket.PACKET_OUTGOING:
                    self.sources.add(frame[6:12].hex(':'))

    def check(self):
        say("source MAC addresses that were seen on the tap, of all that the "
            "guest sent")
        for source in sorted(self.sources):
            show(source)
        if len(self.sources) != 1:
            raise DemoError(f'{len(self.sources)} MAC addresses were seen on '
                            'the tap, where there should be one')


class Machine:
    """The virtual machine, its console and its monitor."""

    def __init__(self, cleanup, tmp, uplink):
        self.monitor_path = tmp / 'qmp'
        self.errors = tmp / 'qemu.log'
        self.buffer = b''
        self.process = start(cleanup,
                             uplink.command_prefix + self.command(uplink),
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=self.errors.open('w'))

    def command(self, uplink):
        command = [
            str(QEMU), '-accel', 'tcg', '-cpu', 'max', '-m', '256',
            '-display', 'none', '-nodefaults', '-no-user-config',
            '-serial', 'stdio',
            '-qmp', f'unix:{self.monitor_path},server=on,wait=off',
            '-kernel', str(GUEST / 'vmlinuz'),
            '-initrd', str(GUEST / 'initrd.img'),
            '-append', f'{KERNEL_ARGS} vlink.demo={uplink.url}',
            '-no-reboot',
            '-netdev', uplink.netdev]
        for i, _ in enumerate(CARDS):
            command += ['-netdev', f'ipvlan,id=n{i},master=up0',
                        '-device', f'virtio-net-pci,netdev=n{i},romfile=']
        return command

    def read_console(self, timeout):
        """What the guest said since; nothing when it is silent."""
        stdout = self.process.stdout.fileno()
        if not select.select([stdout], [], [], timeout)[0]:
            return b''
        data = os.read(stdout, 4096)
        if not data:
            self.process.wait()
            last = self.errors.read_text().strip().splitlines()[-1:]
            raise DemoError('QEMU ended: ' + (last[0] if last else
                            f'exit status {self.process.returncode}'))
        return data

    def results(self):
        """Yields the words of each line that the guest's demo reports."""
        deadline = time.monotonic() + TIMEOUT
        last = b'nothing'
        while time.monotonic() < deadline:
            self.buffer += self.read_console(1)
            *lines, self.buffer = self.buffer.split(b'\n')
            for line in lines:
                last = line.strip() or last
                words = line.decode(errors='replace').split()
                if words[:1] == ['@vlink']:
                    yield words[1:]
                    if words[1:] == ['done']:
                        return
        raise DemoError(f'the guest did not finish within {TIMEOUT} seconds, '
                        f'the last that it said was {last.decode()!r}')

    def monitor_command(self, line):
        """Run a command of the human monitor."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.monitor_path))
            with sock.makefile('rw') as monitor:
                monitor.readline()
                self.qmp(monitor, 'qmp_capabilities')
                return self.qmp(monitor, 'human-monitor-command',
                                {'command-line': line})

    @staticmethod
    def qmp(monitor, command, arguments=None):
        json.dump({'execute': command, 'arguments': arguments or {}}, monitor)
        monitor.flush()
        while True:
            reply = json.loads(monitor.readline())
            if 'error' in reply:
                raise DemoError(f'{command}: {reply["error"]["desc"]}')
            if 'return' in reply:
                return reply['return']

    def hand_over(self):
        """Connect the user's terminal to the console until QEMU ends."""
        stdin = sys.stdin.fileno()
        with raw_terminal(stdin), contextlib.suppress(DemoError):
            inputs = [stdin, self.process.stdout.fileno()]
            while True:
                ready = select.select(inputs, [], [])[0]
                if inputs[-1] in ready:
                    os.write(sys.stdout.fileno(), self.read_console(0))
                if stdin in ready:
                    typed = os.read(stdin, 4096)
                    if not typed:
                        inputs.remove(stdin)
                    os.write(self.process.stdin.fileno(), typed)


@contextlib.contextmanager
def raw_terminal(fd):
    if not os.isatty(fd):
        yield
        return
    saved = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)


class Results:
    """What has to be seen before the demo has worked."""

    def __init__(self, word):
        self.word = word
        self.addresses = {}
        self.failures = []
        self.wanted = {('lease', card) for card in CARDS}
        self.wanted |= {('page', card) for card in CARDS}
        self.wanted |= {('ping', *pair)
                        for pair in itertools.permutations(CARDS, 2)}

    def fail(self, text):
        self.failures.append(text)
        show(f'FAILED: {text}')

    def take(self, words):
        what, card, verdict, *details = words
        if verdict != 'ok':
            self.fail(f'{what} of {card}: {" ".join(details)}')
        else:
            getattr(self, f'take_{what}')(card, *details)

    def take_lease(self, card, address, mac):
        self.wanted.discard(('lease', card))
        if address in self.addresses.values():
            self.fail(f'{card} got {address}, which another card has')
        self.addresses[card] = address
        show(f'{card}  {mac}  has a lease of {address}')

    def take_page(self, card, word=''):
        self.wanted.discard(('page', card))
        if word != self.word:
            self.fail(f'{card} fetched "{word}" in place of the page')
        show(f"{card}  fetched the host's page")

    def take_ping(self, card, neighbour, milliseconds):
        self.wanted.discard(('ping', card, neighbour))
        show(f'{card}  pings {neighbour} at {self.addresses[neighbour]} in '
             f'{milliseconds} ms')

    def check(self):
        if self.failures:
            raise DemoError(f'{len(self.failures)} of the steps failed, the '
                            f'first is {self.failures[0]}')
        if self.wanted:
            missing = ' '.join(min(self.wanted))
            raise DemoError(f'the guest never reported "{missing}"')


def demo(cleanup, args):
    started = time.monotonic()
    tmp = Path(cleanup.enter_context(
        tempfile.TemporaryDirectory(prefix='vlink-demo-')))
    word = secrets.token_hex(8)
    uplink = (TapUplink if args.tap else UserUplink)(cleanup, tmp, word)

    say(f'boot a guest with {len(CARDS)} network cards behind '
        f'{uplink.description}')
    machine = Machine(cleanup, tmp, uplink)
    results = Results(word)
    for words in machine.results():
        if words[1:]:
            results.take(words)

    say("the master and its slaves, as QEMU's monitor shows them: info ipvlan")
    print(machine.monitor_command('info ipvlan').replace('\r', ''), end='')
    results.check()
    uplink.check()
    say(f'all is well, after {time.monotonic() - started:.0f} seconds')

    if args.shell:
        say(f"the guest's console is yours: 'ip netns exec {CARDS[0]} sh' "
            "enters a namespace, 'exit' ends the guest")
        machine.hand_over()


def main():
    parser = argparse.ArgumentParser(prog='scripts/demo')
    parser.add_argument('--tap', action='store_true')
    parser.add_argument('--shell', action='store_true')
    args = parser.parse_args()

    # Whatever ends the demo, what it started is ended, too.  A shell without
    # job control has had its background commands ignore the interrupt.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with contextlib.ExitStack() as cleanup:
            demo(cleanup, args)
    except DemoError as error:
        sys.exit(f'demo: {error}')
    except KeyboardInterrupt:
        sys.exit('demo: interrupted')


main()
