# Frames, as the functional tests of -netdev ipvlan make and read them.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import socket
import struct
from collections import namedtuple

ARP, IPV4, IPV6, VLAN = 0x0806, 0x0800, 0x86dd, 0x8100
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58

BROADCAST = 'ff:ff:ff:ff:ff:ff'
ALL_NODES = 'ff02::1'

NEIGHBOUR_SOLICIT, NEIGHBOUR_ADVERT = 135, 136
ROUTER_SOLICIT, ROUTER_ADVERT, REDIRECT = 133, 134, 137

Frame = namedtuple('Frame', 'dst src ethertype payload')


# ---- reading ----

def parse_frame(data):
    dst, src, ethertype = struct.unpack_from('!6s6sH', data)
    return Frame(dst.hex(':'), src.hex(':'), ethertype, data[14:])


def read_pcap(path):
    """The frames that filter-dump has written to a file so far."""
    with open(path, 'rb') as file:
        data = file.read()
    frames, at = [], 24
    while at + 16 <= len(data):
        length = struct.unpack_from('=I', data, at + 8)[0]
        frames.append(parse_frame(data[at + 16:at + 16 + length]))
        at += 16 + length
    return frames


def is_ipv4(frame, protocol, src=None, dst=None):
    """Whether a frame is of IPv4's @protocol, and between these addresses."""
    ip = frame.payload
    return (frame.ethertype == IPV4 and ip[9] == protocol and
            (src is None or ip[12:16] == socket.inet_aton(src)) and
            (dst is None or ip[16:20] == socket.inet_aton(dst)))


def pack_address(addr):
    return socket.inet_pton(socket.AF_INET6 if ':' in addr
                            else socket.AF_INET, addr)


def address_text(packed):
    return socket.inet_ntop(socket.AF_INET6 if len(packed) == 16
                            else socket.AF_INET, packed)


def ip_source(frame):
    """The source address of a packet, packed, of either family; or None."""
    return {IPV4: frame.payload[12:16],
            IPV6: frame.payload[8:24]}.get(frame.ethertype)


def ip_destination(frame):
    return {IPV4: frame.payload[16:20],
            IPV6: frame.payload[24:40]}.get(frame.ethertype)


def is_from_to(frame, src, dst):
    return (ip_source(frame) == pack_address(src) and
            ip_destination(frame) == pack_address(dst))


def hops_left(frame):
    """The hop limit of an IP packet."""
    return frame.payload[8 if frame.ethertype == IPV4 else 7]


def is_icmp(frame):
    return ((frame.ethertype == IPV4 and frame.payload[9] == ICMP) or
            (frame.ethertype == IPV6 and frame.payload[6] == ICMPV6))


def is_nd(frame):
    return (frame.ethertype == IPV6 and frame.payload[6] == ICMPV6 and
            133 <= frame.payload[40] <= 137)


def is_for_many(frame):
    """Whether a frame is broadcast or multicast."""
    return bool(int(frame.dst[:2], 16) & 1)


def hardware_addresses(frame):
    """All hardware addresses that a frame's sender says to have."""
    yield frame.src
    if frame.ethertype == ARP:
        yield frame.payload[8:14].hex(':')
    elif frame.ethertype == IPV6 and frame.payload[6] == ICMPV6:
        yield from nd_options(frame.payload[40:])


def tcp_stream(frames, src, dst, port):
    """
    What went from @port of @src to @dst over TCP, of a connection that begins
    in @frames and is the only one.
    """
    first, pieces = None, {}
    for frame in frames:
        if not is_ipv4(frame, TCP, src, dst):
            continue
        ip = frame.payload[:struct.unpack_from('!H', frame.payload, 2)[0]]
        tcp = ip[(ip[0] & 15) * 4:]
        if struct.unpack_from('!H', tcp)[0] != port:
            continue
        seq = struct.unpack_from('!I', tcp, 4)[0]
        if tcp[13] & 2:
            first = seq + 1
        pieces[(seq - first) % (1 << 32)] = tcp[(tcp[12] >> 4) * 4:]
    stream = bytearray()
    for at in sorted(pieces):
        if at <= len(stream) < at + len(pieces[at]):
            stream[at:] = pieces[at]
    return bytes(stream)


def nd_options(message):
    """The link-layer addresses in the options of neighbour discovery."""
    at = {133: 8, 134: 16, 135: 24, 136: 24, 137: 40}.get(message[0])
    while at and at + 8 <= len(message) and message[at + 1]:
        if message[at] in (1, 2):
            yield message[at + 2:at + 8].hex(':')
        at += 8 * message[at + 1]


def internet_checksum(data):
    if len(data) & 1:
        data += b'\0'
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def icmpv6_checksum_is_right(frame):
    ip = frame.payload
    length = struct.unpack_from('!H', ip, 4)[0]
    pseudo = ip[8:40] + struct.pack('!II', length, ICMPV6)
    return internet_checksum(pseudo + ip[40:40 + length]) == 0


# ---- making; addresses are text, the rest is bytes ----

def mac_bytes(mac):
    return bytes.fromhex(mac.replace(':', ''))


def ether(dst, src, ethertype, payload, tags=0):
    return (mac_bytes(dst) + mac_bytes(src) +
            struct.pack('!HH', VLAN, 1) * tags +
            struct.pack('!H', ethertype) + payload)


def arp(operation, sender_mac, sender, target, target_mac='00:00:00:00:00:00'):
    return (struct.pack('!HHBBH', 1, IPV4, 6, 4, operation) +
            mac_bytes(sender_mac) + pack_address(sender) +
            mac_bytes(target_mac) + pack_address(target))


def pseudo_header(src, dst, protocol, length):
    return (pack_address(src) + pack_address(dst) +
            (struct.pack('!II', length, protocol) if ':' in src else
             struct.pack('!HH', protocol, length)))


def ip(src, dst, protocol, payload, hops=64):
    """An IP packet, of the family that the addresses are of."""
    if ':' in src:
        return (struct.pack('!IHBB', 6 << 28, len(payload), protocol, hops) +
                pack_address(src) + pack_address(dst) + payload)
    header = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(payload), 0, 0, hops,
                         protocol, 0) + pack_address(src) + pack_address(dst)
    checksum = struct.pack('!H', internet_checksum(header))
    return header[:10] + checksum + header[12:] + payload


def udp(src, dst, src_port, dst_port, data):
    length = 8 + len(data)
    head = struct.pack('!HHH', src_port, dst_port, length)
    checksum = internet_checksum(pseudo_header(src, dst, UDP, length) +
                                 head + b'\0\0' + data) or 0xffff
    return ip(src, dst, UDP, head + struct.pack('!H', checksum) + data)


def icmp(src, dst, kind, code, rest):
    """An ICMP or ICMPv6 message; @rest is what follows the checksum."""
    head, hops = struct.pack('!BB', kind, code), 64
    protocol, pseudo = ICMP, b''
    if ':' in src:
        protocol, hops = ICMPV6, 255
        pseudo = pseudo_header(src, dst, ICMPV6, 4 + len(rest))
    checksum = internet_checksum(pseudo + head + b'\0\0' + rest)
    return ip(src, dst, protocol, head + struct.pack('!H', checksum) + rest,
              hops)


def ping_request(src, dst, data):
    return icmp(src, dst, 128 if ':' in src else 8, 0,
                struct.pack('!HH', 0x6976, 1) + data)


def lladdr_option(kind, mac):
    """Of neighbour discovery: 1 is the source's, 2 the target's."""
    return struct.pack('!BB', kind, 1) + mac_bytes(mac)


def advertise_neighbour(src, dst, target, mac):
    """Overrides what its receivers know."""
    return icmp(src, dst, NEIGHBOUR_ADVERT, 0, struct.pack('!I', 0x20000000) +
                pack_address(target) + lladdr_option(2, mac))


def advertise_router(src, mac):
    return icmp(src, ALL_NODES, ROUTER_ADVERT, 0,
                struct.pack('!BBHII', 64, 0, 1800, 0, 0) +
                lladdr_option(1, mac))


def group_mac(addr):
    """The MAC address of a multicast group."""
    packed = pack_address(addr)
    if len(packed) == 16:
        return (b'\x33\x33' + packed[12:]).hex(':')
    return bytes([1, 0, 0x5e, packed[1] & 0x7f, *packed[2:]]).hex(':')
