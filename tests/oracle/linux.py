# The first engine: Linux's own ipvlan, in a guest.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import socket
import struct
import subprocess
from collections import defaultdict
from pathlib import Path

import ipvlan_frames as frames
import netlink
from ipvlan_intruder import cpio
from model import (GATEWAY, HOST, OUTSIDE, POOL4, POOL6, PORT_MAC, WIRE,
                   WIRE_MAC, family)
from outcome import Receipt

HERE = Path(__file__).resolve().parent

# As guest.c has them.
NS_FD, NS_HOST, NS_WIRE, NS_SLAVE = 100, 0, 1, 2
RECORD_PACKET, RECORD_RAW4, RECORD_RAW6 = range(3)
MARKER_TYPE, FROM_GUEST = 0x88b6, 0xffff
ETH_P_ALL = 3

MASTER, WIRE_END, SLAVE = 10, 11, 20        # interface indices

# What a slave gets through its own hook, behind which no packet socket is.
RAW_PROTOCOLS = [1, 6, 17, 47, 50, 58, 132, 253]
# Who listens for these gets what the receive handler has passed on.
HOST_TYPES = [frames.IPV4, frames.IPV6, frames.ARP, 0x8100, 0x88a8, 0x88b5,
              0x88cc, 0x8847, 0x22f0]

HOST_ADDRS = ['10.9.255.1', 'fd09:ff::1']

SYSCTLS = {
    # nothing of its own accord
    'net/ipv6/conf/default/addr_gen_mode': 1,
    'net/ipv6/conf/default/accept_ra': 0,
    'net/ipv6/conf/default/router_solicitations': 0,
    'net/ipv6/conf/default/accept_dad': 0,
    'net/ipv6/conf/default/accept_redirects': 0,
    'net/ipv4/conf/default/accept_redirects': 0,
    'net/ipv4/conf/all/accept_redirects': 0,
    'net/ipv4/conf/all/arp_ignore': 8,
    'net/ipv4/icmp_echo_ignore_all': 1,
    'net/ipv6/icmp/echo_ignore_all': 1,
    # sources are not our subject
    'net/ipv4/conf/all/rp_filter': 0,
    'net/ipv4/conf/default/rp_filter': 0,
    'net/ipv4/conf/all/accept_local': 1,
    'net/ipv4/conf/default/accept_local': 1,
}

INIT = b'''#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
dmesg -n 1
modprobe -a virtio_pci virtio_console veth ipvlan
/root/guest /root/commands /dev/vport0p1
poweroff -f
'''


class LinuxError(Exception):
    """The guest could not do what it was told."""


class Commands:
    """What the program in the guest is told to do."""

    def __init__(self):
        self.data = bytearray()

    def add(self, what, ns=0, arg=0, data=b''):
        self.data += struct.pack('<IBBH', 4 + len(data), ord(what), ns,
                                 arg) + data

    def netlink(self, ns, message, may_fail=False):
        self.add('N', ns, may_fail, message)

    def sysctl(self, ns, path, value):
        self.add('S', ns, 0, f'{path}\0{value}'.encode())

    def recorder(self, ns, ident, kind, protocol, ifindex=0, marked=False):
        self.add('R', ns, ident, struct.pack('<BBHi', kind, marked, protocol,
                                             ifindex))

    def frame(self, ns, ifindex, frame):
        self.add('F', ns, struct.unpack_from('!H', frame, 12)[0],
                 struct.pack('<i', ifindex) + frame)


class Recorders:
    """Who is behind each recorder's number, while a case lasts."""

    def __init__(self, commands):
        self.commands, self.who = commands, []

    def add(self, who, kind, ns, *args, **options):
        self.commands.recorder(ns, len(self.who), kind, *args, **options)
        self.who.append((who, kind))


class Script:
    """All cases as commands, and how to read what they bring about."""

    def __init__(self, cases):
        self.commands = Commands()
        self.recorders = []         # of each frame
        self.set_up()
        for case in cases:
            self.add_case(case)

    def set_up(self):
        c = self.commands
        for ns in range(NS_SLAVE + 4):
            for path, value in SYSCTLS.items():
                c.sysctl(ns, path, value)
        c.netlink(NS_HOST, netlink.new_veth('m0', MASTER, PORT_MAC, 'w0',
                                            WIRE_END, WIRE_MAC,
                                            NS_FD + NS_WIRE))
        c.netlink(NS_WIRE, netlink.link_up(WIRE_END))
        c.netlink(NS_HOST, netlink.link_up(MASTER))
        # Without any, Linux takes no gateway.
        for addr in HOST_ADDRS:
            c.netlink(NS_HOST, netlink.new_addr(addr, MASTER))
        for addr, mac in OUTSIDE.items():
            c.netlink(NS_HOST, netlink.neighbour(addr, mac, MASTER))
        marker = frames.ether(frames.BROADCAST, WIRE_MAC, MARKER_TYPE,
                              bytes(46))
        c.add('M', NS_WIRE, 0, struct.pack('<i', WIRE_END) + marker)

    def set_routes(self, config):
        """One way for all packets: to a gateway, or to their destination."""
        for fam, af in (4, socket.AF_INET), (6, socket.AF_INET6):
            for gateway in None, GATEWAY[fam]:
                self.commands.netlink(
                    NS_HOST, netlink.default_route(netlink.DELROUTE, af,
                                                   MASTER, gateway),
                    may_fail=True)
            self.commands.netlink(
                NS_HOST, netlink.default_route(
                    netlink.NEWROUTE, af, MASTER,
                    GATEWAY[fam] if config.gateway else None))

    def add_recorders(self, config):
        r = Recorders(self.commands)
        for protocol in HOST_TYPES:
            r.add(HOST, RECORD_PACKET, NS_HOST, protocol, MASTER)
        r.add(HOST, RECORD_PACKET, NS_HOST, MARKER_TYPE, MASTER, marked=True)
        r.add(WIRE, RECORD_PACKET, NS_WIRE, ETH_P_ALL, WIRE_END)
        for i, name in enumerate(config.addrs):
            r.add(name, RECORD_PACKET, NS_SLAVE + i, ETH_P_ALL, SLAVE + i,
                  marked=config.mode == 'l2')
            if config.mode == 'l3s':
                for kind in RECORD_RAW4, RECORD_RAW6:
                    for protocol in RAW_PROTOCOLS:
                        r.add(name, kind, NS_SLAVE + i, protocol)
        return r

    def add_address(self, config, name, addr):
        ns, message = self.at(config, name, netlink.new_addr, addr)
        self.commands.netlink(ns, message)
        if config.mode == 'l3s' and family(addr) == 6:
            self.commands.add('L', ns, 0, netlink.get_route(addr))
        if config.flag == 'vepa':
            # Where its packets come back from a switch that reflects.
            self.commands.netlink(NS_HOST, netlink.neighbour(addr, PORT_MAC,
                                                             MASTER))

    def del_address(self, config, name, addr):
        self.commands.netlink(*self.at(config, name, netlink.del_addr, addr))
        self.commands.netlink(NS_HOST, netlink.neighbour(addr, OUTSIDE[addr],
                                                         MASTER))

    @staticmethod
    def at(config, name, message, *args):
        i = list(config.addrs).index(name)
        return NS_SLAVE + i, message(*args, SLAVE + i)

    def add_case(self, case):
        config, c = case.config, self.commands
        self.set_routes(config)
        for i, (name, addrs) in enumerate(config.addrs.items()):
            c.netlink(NS_HOST, netlink.new_ipvlan(
                name, SLAVE + i, MASTER, NS_FD + NS_SLAVE + i, config.mode,
                config.flag))
            c.netlink(NS_SLAVE + i, netlink.link_up(SLAVE + i))
            for addr in addrs:
                self.add_address(config, name, addr)
        recorders = self.add_recorders(config)
        self.add_steps(case, recorders)
        c.add('X')
        self.clear(case)

    def add_steps(self, case, recorders):
        config = case.config
        ends = {name: (NS_SLAVE + i, SLAVE + i)
                for i, name in enumerate(config.addrs)}
        ends[WIRE] = NS_WIRE, WIRE_END
        for step in case.steps:
            if step.what == 'add':
                self.add_address(config, step.who, step.value)
            elif step.what == 'del':
                self.del_address(config, step.who, step.value)
            else:
                self.commands.frame(*ends[step.who], step.value)
                self.recorders.append(recorders.who)

    def clear(self, case):
        for i in range(len(case.config.addrs)):
            self.commands.netlink(NS_SLAVE + i, netlink.del_link(SLAVE + i))
        for addr in POOL4 + POOL6:
            self.commands.netlink(NS_HOST, netlink.neighbour(
                addr, OUTSIDE[addr], MASTER))

    # ---- what came of it ----

    def read(self, reports):
        """The Receipts of each frame, in order."""
        receipts, at = defaultdict(list), 0
        done = False
        while at + 12 <= len(reports):
            length, frame, recorder, kind = struct.unpack_from('<IIHH',
                                                               reports, at)
            data = reports[at + 12:at + 4 + length]
            at += 4 + length
            if recorder == FROM_GUEST:
                if kind:
                    raise LinuxError(data.decode())
                done = True
            else:
                receipt = self.receipt(frame, recorder, kind, data)
                if receipt:
                    receipts[frame].append(receipt)
        if not done:
            raise LinuxError('the guest has not come to the end')
        return [receipts[i] for i in range(len(self.recorders))]

    def receipt(self, frame, recorder, kind, data):
        if frame >= len(self.recorders):
            return None
        who, how = self.recorders[frame][recorder]
        if how == RECORD_PACKET:
            return Receipt(who, data, 'frame')
        return Receipt(who, data, 'raw4' if how == RECORD_RAW4 else 'raw6')


def compile_guest(path):
    subprocess.run(['cc', '-O2', '-static', '-D_GNU_SOURCE', '-o', path,
                    HERE / 'guest.c'], check=True)


def make_initrd(image, path, files):
    data = image.read_bytes()
    with path.open('wb') as out:
        out.write(data)
        out.write(bytes(-len(data) % 512))
        out.write(b''.join(cpio(name, content)
                           for name, content in files.items()))


def run_guest(qemu, guest, tmp, script, timeout):
    """Boot, let it work, return what it reports."""
    reports, console = tmp / 'reports', tmp / 'console.log'
    initrd = tmp / 'initrd.img'
    compile_guest(tmp / 'guest')
    make_initrd(guest / 'initrd.img', initrd,
                {'init': INIT, 'root/commands': bytes(script.commands.data),
                 'root/guest': (tmp / 'guest').read_bytes()})
    command = [qemu, '-nodefaults', '-display', 'none', '-no-reboot',
               '-accel', 'tcg', '-m', '512', '-kernel', guest / 'vmlinuz',
               '-initrd', initrd, '-append', 'console=ttyS0 quiet',
               '-serial', f'file:{console}', '-device', 'virtio-serial-pci',
               '-chardev', f'file,id=out,path={reports}',
               '-device', 'virtserialport,chardev=out']
    try:
        subprocess.run([str(word) for word in command], check=True,
                       stdin=subprocess.DEVNULL, timeout=timeout)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
        raise LinuxError(f'{e}\n{console.read_text(errors="replace")}')
    return reports.read_bytes()


def outcomes(qemu, guest, tmp, cases, timeout):
    script = Script(cases)
    return script.read(run_guest(qemu, guest, tmp, script, timeout))
