# What a frame is, and what is wrong with it: read here a second time, in
# another language than the library's, so that rules need not believe it.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import ipaddress
import struct
from dataclasses import dataclass, field

import ipvlan_frames as frames

MAX_TAGS = 2
VLAN_TYPES = (0x8100, 0x88a8)
RARP = 0x8035
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION = 0, 43, 44, 51
EXTENSIONS = {HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, 60, 135, 139,
              140}
MAX_EXTENSIONS = 8
SOLICIT, ADVERT = 135, 136
BOOTP_LEN = 236                 # before the options
ND_TYPES = range(133, 138)
ND_FIXED = {133: 8, 134: 16, 135: 24, 136: 24, 137: 40}


class Fault(Exception):
    """What a frame is dropped for before anybody asks whose it is."""


@dataclass
class Facts:
    fault: str = None
    tags: int = 0
    kind: str = 'other'         # arp, nd, ipv4, ipv6, other
    src: str = None             # who sends it, by its IP or ARP header
    ip_dst: str = None          # whom the IP or ARP header is for
    target: str = None          # of neighbour discovery
    nd_type: int = None
    is_icmpv6: bool = False
    dhcp: str = None            # request, reply
    dhcp_xid: int = None        # of a whole one for Ethernet
    dhcp_client: bytes = None   # its MAC address
    is_fragment: bool = False
    bad_checksum: bool = False  # of IPv4, of ICMPv6
    cut_icmp: bool = False      # shorter than its header
    claims: list = field(default_factory=list)      # as whom it is sent

    @property
    def destination(self):
        """Whose it is: for a solicitation that is its target."""
        return self.target if self.nd_type == SOLICIT else self.ip_dst

    @property
    def is_probe(self):
        """A search for a duplicate: its sender does not use an address yet."""
        return (self.kind == 'arp' and self.src == '0.0.0.0' or
                self.nd_type == SOLICIT and self.src == '::')

    @property
    def is_resolution(self):
        return self.kind in ('arp', 'nd')

    @property
    def is_ip(self):
        return self.kind in ('ipv4', 'ipv6')


def text4(data):
    return str(ipaddress.IPv4Address(data))


def text6(data):
    return str(ipaddress.IPv6Address(data))


def is_ownable(addr):
    """Whether a host can have it."""
    a = ipaddress.ip_address(addr)
    if a.version == 6:
        return not (a.is_multicast or a.is_unspecified or a.is_loopback)
    return not (a.packed[0] in (0, 127) or a.is_multicast or
                addr == '255.255.255.255')


def is_link_local(addr):
    a = ipaddress.ip_address(addr)
    return a.version == 6 and a.is_link_local


class Reader:
    """One pass over a frame's headers."""

    def __init__(self, frame):
        self.frame, self.facts = frame, Facts()
        self.end = len(frame)

    def need(self, at, length, fault='truncated'):
        if at + length > self.end:
            raise Fault(fault)

    def read(self):
        try:
            self.ethernet()
        except Fault as fault:
            self.facts.fault = str(fault)
        return self.facts

    def half(self, at):
        return struct.unpack_from('!H', self.frame, at)[0]

    def ethernet(self):
        at, facts = 12, self.facts
        self.need(at, 2)
        while self.half(at) in VLAN_TYPES and facts.tags < MAX_TAGS:
            facts.tags += 1
            at += 4
            self.need(at, 2)
        if self.frame[6] & 1 or not any(self.frame[6:12]):
            raise Fault('bad-source')
        ethertype = self.half(at)
        reader = {frames.ARP: self.arp, RARP: self.arp,
                  frames.IPV4: self.ipv4,
                  frames.IPV6: self.ipv6}.get(ethertype)
        if reader:
            reader(at + 2)

    def arp(self, at):
        self.need(at, 28)
        if self.frame[at:at + 6] != struct.pack('!HHBB', 1, frames.IPV4, 6,
                                                4):
            raise Fault('bad-header')
        if self.half(at - 2) == RARP:
            return
        facts = self.facts
        facts.kind = 'arp'
        facts.src = text4(self.frame[at + 14:at + 18])
        facts.ip_dst = text4(self.frame[at + 24:at + 28])
        if facts.src != '0.0.0.0':
            facts.claims = [facts.src]

    def ipv4(self, at):
        self.need(at, 20)
        frame, facts = self.frame, self.facts
        header, total = (frame[at] & 15) * 4, self.half(at + 2)
        if frame[at] >> 4 != 4 or header < 20 or total < header:
            raise Fault('bad-header')
        self.need(at, total)
        facts.kind, self.end = 'ipv4', at + total
        facts.src = text4(frame[at + 12:at + 16])
        facts.ip_dst = text4(frame[at + 16:at + 20])
        facts.claims = [facts.src]
        facts.bad_checksum = \
            frames.internet_checksum(frame[at:at + header]) != 0
        offset, more = (self.half(at + 6) & 0x1fff) * 8, \
            self.half(at + 6) & 0x2000
        facts.is_fragment = bool(offset or more)
        self.fragment(offset, total, frame[at + 9])
        if not offset:
            self.upper(at + header, frame[at + 9])

    def fragment(self, offset, size, protocol):
        if not self.facts.is_fragment:
            return
        # ends where no datagram can; begins inside of TCP's header
        if offset + size > 65535 or (protocol == TCP and 0 < offset < 20):
            raise Fault('bad-fragment')

    def ipv6(self, at):
        self.need(at, 40)
        frame, facts = self.frame, self.facts
        if frame[at] >> 4 != 6:
            raise Fault('bad-header')
        self.need(at, 40 + self.half(at + 4))
        self.end = at + 40 + self.half(at + 4)
        facts.kind = 'ipv6'
        facts.src = text6(frame[at + 8:at + 24])
        facts.ip_dst = text6(frame[at + 24:at + 40])
        facts.claims = [facts.src]
        self.extensions(at + 40, frame[at + 6])

    def extensions(self, at, following):
        count, cut = 0, False
        while following in EXTENSIONS:
            count += 1
            if count > MAX_EXTENSIONS:
                raise Fault('bad-header')
            if at + 8 > len(self.frame):
                raise Fault('truncated')
            length = self.extension_length(following, at)
            self.need(at, length)
            if following == FRAGMENT:
                cut = True
                offset = self.half(at + 2) & 0xfff8
                if self.half(at + 2) & 0xfff9:
                    self.facts.is_fragment = True
                    self.fragment(offset, self.end - at - length,
                                  self.frame[at])
                    if offset:
                        return
            following, at = self.frame[at], at + length
        self.upper(at, following, cut)

    def extension_length(self, kind, at):
        if kind == FRAGMENT:
            return 8
        if kind == AUTHENTICATION:
            return (self.frame[at + 1] + 2) * 4
        return (self.frame[at + 1] + 1) * 8

    def upper(self, at, protocol, cut=False):
        fault = 'bad-fragment' if self.facts.is_fragment else 'truncated'
        if protocol == TCP:
            self.need(at, 20, fault)
            length = (self.frame[at + 12] >> 4) * 4
            if length < 20:
                raise Fault('bad-header')
            self.need(at, length, fault)
        elif protocol == UDP:
            self.need(at, 8, fault)
            length = self.half(at + 4)
            # zero: a jumbogram's
            if not self.facts.is_fragment and length and \
                    not 8 <= length <= self.end - at:
                raise Fault('bad-header')
            self.dhcp(at)
        elif protocol == ICMP and self.facts.kind == 'ipv4':
            self.facts.cut_icmp = self.end - at < 8
        elif protocol == ICMPV6 and self.facts.kind == 'ipv6':
            self.icmpv6(at, cut)

    def dhcp(self, at):
        facts = self.facts
        ports = self.half(at), self.half(at + 2)
        if facts.kind != 'ipv4' or facts.is_fragment or \
                ports not in ((68, 67), (67, 68)):
            return
        facts.dhcp = 'request' if ports == (68, 67) else 'reply'
        message = self.frame[at + 8:self.end]
        if len(message) >= BOOTP_LEN and message[1:3] == b'\1\6':
            facts.dhcp_xid = struct.unpack_from('!I', message, 4)[0]
            facts.dhcp_client = message[28:34]

    def icmpv6(self, at, cut):
        self.need(at, 4)
        kind, facts = self.frame[at], self.facts
        facts.is_icmpv6 = True
        facts.bad_checksum = frames.internet_checksum(
            frames.pseudo_header(facts.src, facts.ip_dst, ICMPV6,
                                 self.end - at) +
            self.frame[at:self.end]) != 0
        if kind not in ND_TYPES:
            return
        if cut:
            raise Fault('bad-fragment')
        facts.kind, facts.nd_type = 'nd', kind
        self.need(at, ND_FIXED[kind])
        if kind in (SOLICIT, ADVERT):
            facts.target = text6(self.frame[at + 8:at + 24])
        facts.claims = [addr for addr in facts.claims if addr != '::']
        if kind == ADVERT:
            facts.claims.append(facts.target)
        self.nd_options(at + ND_FIXED[kind])

    def nd_options(self, at):
        while at < self.end:
            if at + 2 > len(self.frame) or not self.frame[at + 1] or \
                    at + 8 * self.frame[at + 1] > self.end:
                raise Fault('bad-header')
            at += 8 * self.frame[at + 1]


def read_frame(frame):
    return Reader(frame).read()
