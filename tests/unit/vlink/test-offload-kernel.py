# What the library cuts and completes against what Linux does with the same.
#
# In a network namespace of its own bridges join taps in pairs.  A frame with a
# virtio-net header is written into the first; the other can take less, and so
# the kernel cuts it.  What is read there must be, byte for byte, what
# offload-tool makes of the same frame.  (One bridge would do for all receivers,
# but Linux loses IPv6 datagrams that are flooded before they are fragmented.)
#
# SPDX-License-Identifier: GPL-2.0-or-later

import ctypes
import fcntl
import os
import random
import select
import socket
import struct
import subprocess
import sys

ROUNDS = 150                    # frames of each sort
TIMEOUT = 20                    # seconds, for what never takes one

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454ca, 0x400454d0, 0x400454d8
SIOCSIFFLAGS, SIOCSIFTXQLEN, SIOCSIFMTU = 0x8914, 0x8943, 0x8922
SIOCGIFINDEX, SIOCBRADDBR, SIOCBRADDIF = 0x8933, 0x89a0, 0x89a2
IFF_UP = 1

NEEDS_CSUM = 1
TCPV4, UFO, TCPV6, USO, ECN = 1, 3, 4, 5, 0x80
CAN_CSUM = 1                    # OFFLOAD_CSUM, TUN_F_CSUM

SRC_MAC, DST_MAC = b'\x52\x54\0\0\0\x0a', b'\x52\x54\0\0\0\x0b'
SENTINEL = DST_MAC + SRC_MAC + b'\x88\xb5' + b'that was all' * 4
VNET = struct.Struct('<BBHHHH')

rng = random.Random(3)


class Skip(Exception):
    """The test cannot be run here; the text says why."""


# --- the kernel ---------------------------------------------------------------

def enter_namespace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) and \
            libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
        raise Skip('no network namespace can be made: '
                   + os.strerror(ctypes.get_errno()))


def interface_ioctl(request, name, value):
    """VALUE: a struct ifreq without its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control, request,
                           struct.pack('16s24s', name.encode(), value))


def make_bridge(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, SIOCBRADDBR, name.encode() + b'\0')
        except OSError as error:
            raise Skip(f'the kernel has no bridge: {error.strerror}')
    bring_up(name)


def bring_up(name):
    interface_ioctl(SIOCSIFFLAGS, name, struct.pack('h', IFF_UP))


class Tap:

    def __init__(self, name, bridge, vnet, offload=0):
        self.vnet = vnet
        try:
            self.fd = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            raise Skip(f'/dev/net/tun: {error.strerror}')
        flags = IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if vnet else 0)
        fcntl.ioctl(self.fd, TUNSETIFF,
                    struct.pack('16sH22x', name.encode(), flags))
        if vnet:
            fcntl.ioctl(self.fd, TUNSETVNETHDRSZ, struct.pack('i', VNET.size))
        fcntl.ioctl(self.fd, TUNSETOFFLOAD, offload)
        # Nothing gets lost: no frame is cut into more pieces than this.
        interface_ioctl(SIOCSIFTXQLEN, name, struct.pack('i', 5000))
        interface_ioctl(SIOCSIFMTU, name, struct.pack('i', 65520))
        bring_up(name)
        index = interface_ioctl(SIOCGIFINDEX, name, b'')[16:20]
        interface_ioctl(SIOCBRADDIF, bridge, index)

    def write(self, vnet, frame):
        os.write(self.fd, VNET.pack(*vnet) + frame)

    def read(self):
        """All frames of ours up to the sentinel, each with its header."""
        frames = []
        while True:
            if not select.select([self.fd], [], [], TIMEOUT)[0]:
                raise AssertionError('the kernel lost the last frame')
            data = os.read(self.fd, 70000)
            split = VNET.size if self.vnet else 0
            header, frame = data[:split], data[split:]
            if frame == SENTINEL:
                return frames
            if frame[6:12] == SRC_MAC:
                frames.append((header, frame))


class Path:
    """From a tap that takes everything to one whose reader CAN take less."""

    def __init__(self, name, can):
        make_bridge(name)
        self.input = Tap(f'{name}-in', name, vnet=True)
        # Without a header nothing can be left to do.
        self.output = Tap(f'{name}-out', name, vnet=bool(can), offload=can)

    def send(self, vnet, frame):
        """What the reader gets of it."""
        self.input.write(vnet, frame)
        self.input.write((0,) * 6, SENTINEL)
        return self.output.read()


# --- the library --------------------------------------------------------------

class Library:

    def __init__(self, tool):
        self.tool = subprocess.Popen([tool], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE)

    def read(self, size):
        data = self.tool.stdout.read(size)
        if len(data) < size:
            raise AssertionError('the tool ended')
        return data

    def send(self, vnet, frame, can):
        self.tool.stdin.write(struct.pack('<IH', len(frame), can)
                              + VNET.pack(*vnet) + frame)
        self.tool.stdin.flush()
        count, = struct.unpack('<I', self.read(4))
        if count == 0xffffffff:
            raise AssertionError('the library refuses the frame')
        frames = []
        for _ in range(count):
            size, = struct.unpack('<I', self.read(4))
            frames.append((self.read(VNET.size), self.read(size)))
        return frames


# --- frames -------------------------------------------------------------------

def fold(data):
    if len(data) % 2:
        data += b'\0'
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def ipv4(proto, payload, options):
    options *= 4
    head = struct.pack('!BBHHHBBH', 0x45 + options // 4, rng.randrange(256),
                       20 + options + len(payload), rng.randrange(65536),
                       rng.choice([0, 0x4000]), 64, proto, 0)
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    head += addresses + b'\1' * options
    total = 0xffff - fold(head)
    return head[:10] + struct.pack('!H', total) + head[12:], addresses


def ipv6(proto, payload, extensions):
    chain = b''
    for kind in reversed(extensions):
        size = rng.randrange(1, 6)
        # PadN fills options; no segments are left of a routing header.
        body = b'\4\0\0\0' if kind == 43 else bytes([1, 8 * size - 4, 0, 0])
        chain = bytes([proto, size - 1]) + body + bytes(8 * size - 6) + chain
        proto = kind
    addresses = b'\xfd' + bytes(14) + b'\x0a\xfd' + bytes(14) + b'\x0b'
    head = struct.pack('!IHBB', 0x60000000 | rng.randrange(1 << 28),
                       len(chain) + len(payload), proto, 64)
    return head + addresses + chain, addresses


def make_frame(v6, proto, size, tags, extra):
    """A frame whose checksum is partial, and its virtio-net header."""
    payload = rng.randbytes(size)
    if proto == 6:
        options = 4 * rng.randrange(11)
        upper = struct.pack('!HHIIBBHHH', 4000, 80, rng.randrange(1 << 32),
                            rng.randrange(1 << 32), (20 + options) * 4,
                            rng.randrange(256), 1000, 0, 0)
        upper += b'\1' * options
    else:
        upper = struct.pack('!HHHH', 4000, 5000, 8 + size, 0)
    if v6:
        extensions = rng.choice([[], [0], [60], [0, 43], [0, 60, 43, 60]])
        network, addresses = ipv6(proto, upper + payload,
                                  extensions if extra else [])
    else:
        network, addresses = ipv4(proto, upper + payload,
                                  rng.randrange(11) if extra else 0)
    pseudo = fold(addresses + struct.pack('!HH', proto, len(upper) + size))
    offset = 16 if proto == 6 else 6
    upper = upper[:offset] + struct.pack('!H', pseudo) + upper[offset + 2:]
    ether = DST_MAC + SRC_MAC
    for tpid in [0x88a8, 0x8100][2 - tags:]:
        ether += struct.pack('!HH', tpid, rng.randrange(4096))
    ether += b'\x86\xdd' if v6 else b'\x08\0'
    start = len(ether) + len(network)
    return (NEEDS_CSUM, 0, 0, 0, start, offset), (ether + network + upper
                                                  + payload)


def gso(vnet, kind, size, header):
    return (vnet[0], kind, header, size, *vnet[4:])


# --- what is compared ---------------------------------------------------------

def checksum_case(v6):
    return make_frame(v6, rng.choice([6, 17]), rng.randrange(1500),
                      rng.randrange(3), extra=True)


def tcp_case(v6):
    size = rng.choice([rng.randrange(200, 5000), rng.randrange(200, 64000)])
    vnet, frame = make_frame(v6, 6, size, rng.randrange(3), extra=True)
    kind = (TCPV6 if v6 else TCPV4) | rng.choice([0, ECN])
    return gso(vnet, kind, rng.randrange(size // 100 + 1, size),
               len(frame) - size), frame


def uso_case(v6):
    size = rng.randrange(200, 64000)
    vnet, frame = make_frame(v6, 17, size, rng.randrange(3), extra=True)
    return gso(vnet, USO, rng.randrange(size // 100 + 1, size),
               len(frame) - size), frame


def ufo_case(v6):
    # Linux counts IPv6 extension headers into the offsets of fragments.
    size = rng.randrange(1000, 64000)
    vnet, frame = make_frame(v6, 17, size, rng.randrange(3), extra=not v6)
    piece = 8 * rng.randrange(size // 800 + 1, size // 8)
    return gso(vnet, UFO, piece, len(frame) - size), frame


def without_id(frames):
    """IPv6 fragments, of which all but the random identification counts."""
    ids, rest = set(), []
    for vnet, frame in frames:
        at = 12
        while frame[at:at + 2] in (b'\x81\0', b'\x88\xa8'):
            at += 4
        if frame[at:at + 2] == b'\x86\xdd' and frame[at + 8] == 44:
            ids.add(frame[at + 46:at + 50])
            frame = frame[:at + 46] + frame[at + 50:]
        rest.append((vnet, frame))
    assert len(ids) <= 1, 'fragments of one datagram differ in their id'
    return rest


def compare(paths, library, vnet, frame):
    fragments = vnet[1] == UFO
    for can, path in paths.items():
        wanted = path.send(vnet, frame)
        got = library.send(vnet, frame, can)
        what = f'header {vnet}, receiver {can}, frame {frame[:128].hex()}'
        assert len(got) == len(wanted), \
            f'{len(got)} pieces, of Linux {len(wanted)}: {what}'
        for index, (ours, linux) in enumerate(zip(without_id(got),
                                                  without_id(wanted))):
            assert ours[1] == linux[1], (
                f'piece {index}: {what}\n'
                f'# ours  {ours[1][:128].hex()}\n'
                f'# Linux {linux[1][:128].hex()}')
            # That fragments were checked Linux knows, and we do not say.
            if can and not fragments:
                assert ours[0] == linux[0], f'header of {index}: {what}'


def main():
    cases = [(f'/offload-kernel/{name}/ipv{6 if v6 else 4}', case, v6)
             for name, case in (('checksum', checksum_case),
                                ('tcp', tcp_case), ('udp-segments', uso_case),
                                ('udp-fragments', ufo_case))
             for v6 in (False, True)]
    try:
        enter_namespace()
        paths = {can: Path(f'br{can}', can) for can in (0, CAN_CSUM)}
    except Skip as reason:
        print(f'1..0 # SKIP {reason}')
        return
    library = Library(sys.argv[1])
    print(f'1..{len(cases)}')
    for number, (name, case, v6) in enumerate(cases, 1):
        verdict = 'ok'
        try:
            for _ in range(ROUNDS):
                compare(paths, library, *case(v6))
        except (AssertionError, OSError) as error:
            verdict = 'not ok'
            print(f'# {error}')
        print(f'{verdict} {number} {name}', flush=True)


main()
