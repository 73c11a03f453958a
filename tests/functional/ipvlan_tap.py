# What the functional tests of -netdev ipvlan with a tap share: a network
# namespace that nobody else sees, with the tap in it.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import ctypes
import hashlib
import os
import socket
import subprocess
import threading

from ipvlan_frames import (hardware_addresses, icmpv6_checksum_is_right, is_nd,
                           parse_frame, read_pcap)
from ipvlan_guest import BLOB, BLOB_MIB, PATIENCE, IpvlanTest

HOST = '192.0.2.1'
PORT_MAC = '02:00:00:00:00:01'

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3


class Namespace:
    """A network namespace.  It is gone when nobody is in it any more."""

    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self):
        outside = self.current()
        try:
            self.call(self.libc.unshare, CLONE_NEWNET)
            self.fd = self.current()
            self.call(self.libc.setns, outside, CLONE_NEWNET)
        finally:
            os.close(outside)

    @staticmethod
    def current():
        return os.open('/proc/thread-self/ns/net', os.O_RDONLY)

    @staticmethod
    def call(function, *args):
        if function(*args) < 0:
            raise OSError(ctypes.get_errno(), 'network namespace')

    def __enter__(self):
        """What this thread starts or opens now is inside."""
        self.outside = self.current()
        self.call(self.libc.setns, self.fd, CLONE_NEWNET)
        return self

    def __exit__(self, *exception):
        self.call(self.libc.setns, self.outside, CLONE_NEWNET)
        os.close(self.outside)

    def run(self, command, check=True):
        with self:
            return subprocess.run(command.split(), check=check, text=True,
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)

    def close(self):
        os.close(self.fd)


class Capture:
    """Every frame that passes an interface, and which way it went."""

    def __init__(self, namespace, interface):
        self.sent = []          # by QEMU
        self.received = []      # by QEMU
        with namespace:
            # Of no protocol, it hears nothing of other interfaces.
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
        self.socket.bind((interface, ETH_P_ALL))
        self.stopped = False
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        self.socket.settimeout(0.2)
        while not self.stopped:
            try:
                data, where = self.socket.recvfrom(65536)
            except TimeoutError:
                continue
            except OSError:     # the interface went down
                continue
            if len(data) < 14:
                continue
            if where[2] == socket.PACKET_OUTGOING:
                self.received.append(parse_frame(data))
            else:
                self.sent.append(parse_frame(data))

    def stop(self):
        self.stopped = True
        self.thread.join()
        self.socket.close()


class Sink(threading.Thread):
    """Takes one TCP connection, and knows what came."""

    def __init__(self, namespace, family=socket.AF_INET):
        super().__init__(daemon=True)
        self.sha = hashlib.sha256()
        with namespace:
            self.socket = socket.create_server(('', 0), family=family)
        self.socket.settimeout(PATIENCE)
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        connection, _ = self.socket.accept()
        connection.settimeout(PATIENCE)
        with self.socket, connection:
            while data := connection.recv(1 << 16):
                self.sha.update(data)

    def digest(self):
        self.join()
        return self.sha.hexdigest()


class IpvlanTapTest(IpvlanTest):
    """A test with a tap, tap0, as the uplink."""

    # how to make it
    tap_flags = 'vnet_hdr'

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest('only root makes network namespaces and taps')
        self.interface = 'tap0'
        try:
            self.host = self.make_host()
        except OSError as e:
            self.skipTest(f'cannot make a network namespace: {e}')
        self.addCleanup(self.host.close)
        made = self.host.run(f'ip tuntap add dev tap0 mode tap '
                             f'{self.tap_flags}', check=False)
        if made.returncode:
            self.skipTest(f'cannot make a tap: {made.stdout.strip()}')
        self.host.run('ip link set lo up')
        self.host.run('ip link set tap0 up')

    def make_host(self):
        return Namespace()

    def give_address(self):
        self.host.run(f'ip address add {HOST}/24 dev {self.interface}')

    def serve_dhcp(self):
        with self.host:
            server = subprocess.Popen(
                ['dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null',
                 '--user=root', '--group=root', '--pid-file=',
                 '--port=0', f'--interface={self.interface}',
                 '--bind-interfaces', '--no-ping', '--dhcp-authoritative',
                 '--dhcp-range=192.0.2.100,192.0.2.150,255.255.255.0,1h',
                 f'--dhcp-leasefile={self.scratch_file("leases")}',
                 '--log-facility=-'],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

        def stop():
            server.terminate()
            server.communicate()
        self.addCleanup(stop)
        for line in server.stdout:
            if 'DHCP' in line and 'bound' in line:
                return
        self.fail('dnsmasq did not start')

    # ---- what cards are given ----

    def dump_file(self, name):
        return self.scratch_file(f'{name}.pcap')

    def add_dumps(self, count):
        """From now on, what a slave hands to its card is in a file."""
        for i in range(count):
            self.vm.add_args('-object', f'filter-dump,id=dump{i},'
                             f'netdev=n{i},queue=tx,'
                             f'file={self.dump_file(f"n{i}")}')

    def got(self, card):
        """What this card was given so far."""
        return read_pcap(self.dump_file(card.name))

    # ---- TCP; the machine at the other end is a namespace ----

    def send_to_host(self, card, host=HOST, machine=None):
        sink = Sink(machine or self.host, socket.AF_INET6 if ':' in host
                    else socket.AF_INET)
        card.transmit(BLOB, host, sink.port)
        self.assertEqual(sink.digest(), card.digest(BLOB),
                         f'{card.name} to {host}')

    def send_from_host(self, card, addr, machine=None):
        data = bytes(range(251)) * (BLOB_MIB * 4000)
        pid = card.receive(f'/tmp/{card.name}.got')
        with machine or self.host:
            sock = socket.create_connection((addr, 5001), PATIENCE)
        with sock:
            sock.sendall(data)
        card.wait_exit(pid)
        self.assertEqual(card.digest(f'/tmp/{card.name}.got'),
                         hashlib.sha256(data).hexdigest(), card.name)


class WatchedTapTest(IpvlanTapTest):
    """One whose uplink is watched, once it sets @capture."""

    def setUp(self):
        super().setUp()
        self.capture = None

    def tearDown(self):
        super().tearDown()
        if self.capture:
            self.capture.stop()
            self.check_wire()

    def check_wire(self):
        """Whatever else a test is about: one MAC address leaves, no other."""
        self.assertGreater(len(self.capture.sent), 0)
        seen = set()
        for frame in self.capture.sent:
            seen.update(hardware_addresses(frame))
            if is_nd(frame):
                self.assertTrue(icmpv6_checksum_is_right(frame), frame)
        self.assertEqual(seen, {PORT_MAC})
