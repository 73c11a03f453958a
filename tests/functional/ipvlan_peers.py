# What the functional tests with machines in other processes share: a QEMU that
# is only the switch, stock QEMUs, and the other end of a stream netdev.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import select
import shutil
import socket
import struct
import time

from ipvlan_guest import PATIENCE, IpvlanTest, wait_for

STOCK_QEMU = 'qemu-system-x86_64'


class StreamPeer:
    """Who connects to a stream netdev, and says and hears frames."""

    def __init__(self, path):
        self.buffer = b''
        # QEMU begins to listen after it has started
        self.socket = wait_for(lambda: self.connect(path), path)

    @staticmethod
    def connect(path):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        return connection

    @staticmethod
    def packed(frame):
        return struct.pack('!I', len(frame)) + frame

    def send(self, *frames):
        self.socket.sendall(b''.join(map(self.packed, frames)))

    def next(self):
        """The next frame that has come whole, or None."""
        if len(self.buffer) < 4:
            return None
        end = 4 + struct.unpack_from('!I', self.buffer)[0]
        if len(self.buffer) < end:
            return None
        frame, self.buffer = self.buffer[4:end], self.buffer[end:]
        return frame

    def receive(self, condition=lambda frame: True, timeout=PATIENCE):
        """The next frame for which @condition is true."""
        deadline = time.monotonic() + timeout
        while True:
            while (frame := self.next()) is not None:
                if condition(frame):
                    return frame
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self.socket], [], [], left)[0]:
                raise AssertionError('no such frame has come')
            data = self.socket.recv(65536)
            if not data:
                raise AssertionError('the connection was closed')
            self.buffer += data

    def wait_closed(self):
        """Read to the end of the connection."""
        self.socket.settimeout(PATIENCE)
        while self.socket.recv(65536):
            pass

    def close(self):
        self.socket.close()


class PeersTest(IpvlanTest):
    """Mixed into a test, of machines that are slaves by way of sockets."""

    def setUp(self):
        super().setUp()
        self.stock = shutil.which(STOCK_QEMU)
        if not self.stock:
            self.skipTest(f'there is no {STOCK_QEMU}')

    def socket_path(self, name):
        return os.path.join(self.socket_dir().name, name)

    def add_switch(self, vm, uplink):
        """No machine, no processor, no memory: QEMU's main loop."""
        vm.add_args('-machine', 'none', '-nodefaults', '-netdev', uplink)

    def add_stream_slaves(self, vm, slaves, port=''):
        """Add a slave for who connects to n<i>, for each of @slaves."""
        for i, options in enumerate(slaves):
            vm.add_args('-netdev', f'stream,id=s{i},server=on,'
                        f'addr.type=unix,addr.path={self.socket_path(f"n{i}")}')
            vm.add_args('-netdev', ','.join(filter(None, (
                f'ipvlan,id=n{i},master=up0,netdev=s{i}', port, options))))

    def dgram(self, local, remote):
        return (f'dgram,local.type=unix,local.path={self.socket_path(local)},'
                f'remote.type=unix,remote.path={self.socket_path(remote)}')

    def stock_vm(self, name):
        ours, self.qemu_bin = self.qemu_bin, self.stock
        try:
            return self.get_vm(name=name)
        finally:
            self.qemu_bin = ours

    def add_stock_guest(self, index, netdev, name):
        """A machine of its own, to be booted, with one card."""
        vm = self.stock_vm(name)
        self.add_guest(vm)
        vm.add_args('-netdev', f'{netdev},id=n{index}')
        self.add_card(vm, index, f'n{index}')
        return vm

    def boot_stock_guest(self, index, name=None):
        """One that is the slave n<index> of the switch."""
        path = self.socket_path(f'n{index}')
        vm = self.add_stock_guest(
            index, f'stream,addr.type=unix,addr.path={path}',
            name or f'guest{index}')
        return vm, self.card(self.boot(vm), index)
