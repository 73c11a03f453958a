# Cases for the oracle, a pure function of the seed.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import random
import struct

import ipvlan_frames as frames
from model import (Case, Config, FLAGS, GATEWAY, MAX_SLAVES, MODES, ODD4, ODD6,
                   OUTSIDE, PEERS4, PEERS6, POOL4, POOL6, PORT_MAC, STRANGER,
                   STRANGER_MAC, Step, WIRE, family, slave_names)

FRAMES_A_CASE = 100
MAX_OWNED = 8                   # of a family: the rest is outside

FOREIGN_MAC = '02:00:5e:00:58:08'
GROUP_MAC = '01:00:5e:00:00:fb'
NO_MAC = '00:00:00:00:00:00'
GROUPS4 = ['224.0.0.1', '224.0.0.251', '239.9.9.9']
GROUPS6 = ['ff02::1', 'ff02::fb', 'ff05::9', 'ff0e::99']
NOBODY = {4: '0.0.0.0', 6: '::'}
PROTOCOLS = [47, 50, 132, 253]
OTHER_TYPES = [0x88b5, 0x88cc, 0x8847, 0x22f0]
TAGS = [(0x8100, 0), (0x8100, 1), (0x8100, 99), (0x88a8, 7)]


class Sender:
    """Who sends a frame: addresses that suit it, and chance."""

    def __init__(self, rng, config, owners, who):
        self.rng, self.config, self.who = rng, config, who
        self.owners = owners
        self.fam = 4 if rng.random() < 0.55 else 6

    def chance(self, probability):
        return self.rng.random() < probability

    def token(self, least=8, most=64):
        return self.rng.randbytes(self.rng.randint(least, most))

    # ---- addresses ----

    def pool(self):
        return POOL4 if self.fam == 4 else POOL6

    def owned(self, by=None, but=None):
        """An address of a slave; nobody's where there is none."""
        found = [addr for addr, name in self.owners.items()
                 if family(addr) == self.fam and name != but and
                 (by is None or name == by)]
        return self.rng.choice(sorted(found)) if found else self.unowned()

    def unowned(self):
        return self.rng.choice([addr for addr in self.pool()
                                if addr not in self.owners])

    def peer(self):
        return self.rng.choice(PEERS4 if self.fam == 4 else PEERS6)

    def pick(self, *choices):
        """The value of one of (weight, function) pairs."""
        weights = [weight for weight, _ in choices]
        return self.rng.choices([f for _, f in choices], weights)[0]()

    def odd(self):
        """What nobody has as an address."""
        return self.rng.choice(ODD4 if self.fam == 4 else ODD6)

    def source(self):
        if self.who == WIRE:
            return self.pick((80, self.peer), (6, self.unowned),
                             (6, self.owned),
                             (6, lambda: STRANGER[self.fam]), (2, self.odd),
                             (2, lambda: NOBODY[self.fam]))
        return self.pick((72, lambda: self.owned(by=self.who)),
                         (8, lambda: self.owned(but=self.who)),
                         (8, self.unowned), (5, lambda: STRANGER[self.fam]),
                         (5, self.odd), (2, lambda: NOBODY[self.fam]))

    def destination(self):
        if self.who == WIRE:
            return self.pick((68, self.owned), (14, self.unowned),
                             (12, self.peer), (3, self.odd),
                             (3, lambda: GATEWAY[self.fam]))
        return self.pick((45, lambda: self.owned(but=self.who)),
                         (6, lambda: self.owned(by=self.who)),
                         (10, self.unowned), (32, self.peer),
                         (3, lambda: GATEWAY[self.fam]), (4, self.odd))

    # ---- MAC addresses ----

    def source_mac(self, addr):
        odd = self.rng.random()
        if odd < 0.02:
            return self.rng.choice([NO_MAC, GROUP_MAC, FOREIGN_MAC])
        if self.who != WIRE:
            return PORT_MAC if odd > 0.04 else FOREIGN_MAC
        if odd < 0.08:
            return PORT_MAC         # what a switch reflects
        return OUTSIDE.get(addr, STRANGER_MAC)

    def destination_mac(self, addr):
        if self.chance(0.06):
            return self.rng.choice([FOREIGN_MAC, GROUP_MAC,
                                    frames.BROADCAST, PORT_MAC])
        if self.who == WIRE or self.config.is_l3 or addr in self.owners:
            return PORT_MAC
        if self.chance(0.1):
            return PORT_MAC
        return OUTSIDE.get(addr, FOREIGN_MAC)

    def ether(self, src, dst, ethertype, payload, dst_mac=None):
        return frames.ether(dst_mac or self.destination_mac(dst),
                            self.source_mac(src), ethertype, payload)

    def ip_frame(self, src, dst, packet, dst_mac=None):
        return self.ether(src, dst, self.ip_type(), packet, dst_mac)

    def ip_type(self):
        return frames.IPV4 if self.fam == 4 else frames.IPV6

    # ---- packets ----

    def udp(self, src, dst):
        return frames.udp(src, dst, self.rng.randint(1024, 65535),
                          self.rng.choice([9, 53, 4000, 30000]),
                          self.token())

    def tcp(self, src, dst):
        head = struct.pack('!HHIIBBHHH', self.rng.randint(1024, 65535), 9,
                           self.rng.getrandbits(32), 0, 0x50, 2, 512, 0, 0)
        data = self.token()
        total = frames.internet_checksum(
            frames.pseudo_header(src, dst, frames.TCP,
                                 len(head) + len(data)) + head + data)
        return frames.ip(src, dst, frames.TCP, head[:16] +
                         struct.pack('!HH', total, 0) + data)

    def ping(self, src, dst):
        return frames.ping_request(src, dst, self.token())

    def other_protocol(self, src, dst):
        return frames.ip(src, dst, self.rng.choice(PROTOCOLS),
                         self.token(24))

    def packet(self, src, dst):
        return self.rng.choice([self.udp, self.udp, self.tcp, self.ping,
                                self.other_protocol])(src, dst)


# ---- sorts of frames ----

def unicast(s):
    src, dst = s.source(), s.destination()
    return s.ip_frame(src, dst, s.packet(src, dst))


def broadcast(s):
    s.fam = 4
    src = s.source()
    return s.ip_frame(src, '', s.udp(src, '255.255.255.255'),
                      frames.BROADCAST)


def multicast(s):
    src = s.source()
    dst = s.rng.choice(GROUPS4 if s.fam == 4 else GROUPS6)
    return s.ip_frame(src, dst, s.udp(src, dst), frames.group_mac(dst))


def resolution_source(s):
    """
    What says who is where has to be true in l3, where it is believed here,
    and where Linux has been told.
    """
    if s.who == WIRE and s.config.is_l3:
        return s.pick((70, s.peer), (30, lambda: STRANGER[s.fam]))
    return s.source()


def true_mac(s, src):
    if s.who != WIRE:
        return PORT_MAC
    return OUTSIDE.get(src, STRANGER_MAC)


def arp_frame(s, operation, src, target, dst_mac):
    mac = true_mac(s, src)
    # The padding tells frames apart.
    return frames.ether(dst_mac, mac, frames.ARP,
                        frames.arp(operation, mac, src, target) +
                        s.rng.randbytes(18))


def arp_request(s):
    s.fam = 4
    to = PORT_MAC if s.chance(0.1) else frames.BROADCAST
    return arp_frame(s, 1, resolution_source(s), s.destination(), to)


def arp_reply(s):
    s.fam = 4
    target = s.destination()
    return arp_frame(s, 2, resolution_source(s), target,
                     s.destination_mac(target))


def arp_gratuitous(s):
    s.fam = 4
    src = resolution_source(s)
    return arp_frame(s, s.rng.choice([1, 2]), src, src, frames.BROADCAST)


def arp_probe(s):
    s.fam = 4
    return arp_frame(s, 1, '0.0.0.0', s.destination(), frames.BROADCAST)


def nd(s, src, dst, kind, body, option, mac, dst_mac):
    """With a nonce (RFC 3971), which tells frames apart."""
    nonce = struct.pack('!BB', 14, 2) + s.rng.randbytes(14)
    lladdr = frames.lladdr_option(option, mac) if option else b''
    packet = frames.icmp(src, dst, kind, 0, body + lladdr + nonce)
    return frames.ether(dst_mac, mac, frames.IPV6, packet)


def solicited_node(target):
    packed = frames.pack_address(target)
    return 'ff02::1:ff' + packed[13:14].hex() + ':' + packed[14:].hex()


def neighbour_solicit(s):
    s.fam = 6
    src, target = resolution_source(s), s.destination()
    dst = solicited_node(target)
    dst_mac = frames.group_mac(dst)
    if s.chance(0.25):
        dst, dst_mac = target, s.destination_mac(target)
    return nd(s, src, dst, frames.NEIGHBOUR_SOLICIT,
              bytes(4) + frames.pack_address(target), 1, true_mac(s, src),
              dst_mac)


def neighbour_probe(s):
    s.fam = 6
    target = s.destination()
    dst = solicited_node(target)
    return nd(s, '::', dst, frames.NEIGHBOUR_SOLICIT,
              bytes(4) + frames.pack_address(target), 0, true_mac(s, '::'),
              frames.group_mac(dst))


def neighbour_advert(s):
    s.fam = 6
    src = resolution_source(s)
    dst, dst_mac = frames.ALL_NODES, frames.group_mac(frames.ALL_NODES)
    if s.chance(0.6):
        dst = s.destination()
        dst_mac = s.destination_mac(dst)
    return nd(s, src, dst, frames.NEIGHBOUR_ADVERT,
              struct.pack('!I', 0x20000000) + frames.pack_address(src), 2,
              true_mac(s, src), dst_mac)


def router_solicit(s):
    s.fam = 6
    src = resolution_source(s)
    return nd(s, src, 'ff02::2', frames.ROUTER_SOLICIT, bytes(4), 1,
              true_mac(s, src), frames.group_mac('ff02::2'))


def router_advert(s):
    s.fam = 6
    src = resolution_source(s)
    return nd(s, src, frames.ALL_NODES, frames.ROUTER_ADVERT,
              struct.pack('!BBHII', 64, 0, 0, 0, 0), 1, true_mac(s, src),
              frames.group_mac(frames.ALL_NODES))


XIDS = [1, 2, 3]                # few: some answers are for who has asked


def bootp(s, operation, address):
    """A DHCPDISCOVER, or a DHCPOFFER of @address, with a random host name."""
    mac = frames.mac_bytes(PORT_MAC if s.chance(0.9) else FOREIGN_MAC)
    return struct.pack('!BBBBIHH', operation, 1, 6, 0, s.rng.choice(XIDS), 0,
                       0) + bytes(4) + frames.pack_address(address) + \
        bytes(8) + mac.ljust(208, b'\0') + b'\x63\x82\x53\x63' + \
        bytes([53, 1, operation, 12, 8]) + s.rng.randbytes(8) + b'\xff'


def dhcp_request(s):
    s.fam = 4
    packet = frames.udp('0.0.0.0', '255.255.255.255', 68, 67,
                        bootp(s, 1, '0.0.0.0'))
    return frames.ether(frames.BROADCAST, true_mac(s, '0.0.0.0'), frames.IPV4,
                        packet)


def dhcp_reply(s):
    s.fam = 4
    src, address = s.peer(), s.owned()
    dst = s.rng.choice([address, '255.255.255.255'])
    to = frames.BROADCAST if dst != address else s.destination_mac(dst)
    return s.ip_frame(src, dst, frames.udp(src, dst, 67, 68,
                                           bootp(s, 2, address)), to)


def other_type(s):
    dst = s.rng.choice([frames.BROADCAST, PORT_MAC, FOREIGN_MAC, GROUP_MAC])
    return s.ether('', '', s.rng.choice(OTHER_TYPES), s.token(46), dst)


UNTAGGED = {
    'unicast': (40, unicast),
    'broadcast': (6, broadcast),
    'multicast': (7, multicast),
    'arp request': (5, arp_request),
    'arp reply': (3, arp_reply),
    'arp gratuitous': (2, arp_gratuitous),
    'arp probe': (2, arp_probe),
    'neighbour solicitation': (4, neighbour_solicit),
    'neighbour probe': (2, neighbour_probe),
    'neighbour advertisement': (3, neighbour_advert),
    'router solicitation': (1, router_solicit),
    'router advertisement': (1, router_advert),
    'dhcp request': (2, dhcp_request),
    'other type': (3, other_type),
}


def untagged(s):
    sorts = list(UNTAGGED.values())
    return s.rng.choices([f for _, f in sorts],
                         [weight for weight, _ in sorts])[0](s)


def with_tag(frame, tag):
    return frame[:12] + struct.pack('!HH', *tag) + frame[12:]


def one_tag(s):
    return with_tag(untagged(s), s.rng.choice(TAGS))


def two_tags(s):
    return with_tag(with_tag(untagged(s), s.rng.choice(TAGS)),
                    s.rng.choice(TAGS))


# ---- fragments ----

def set_ipv4(frame, at, data):
    """Bytes of an untagged IPv4 header, with a right checksum."""
    head = bytearray(frame[14:34])
    head[at:at + len(data)] = data
    head[10:12] = b'\0\0'
    head[10:12] = struct.pack('!H', frames.internet_checksum(bytes(head)))
    return frame[:14] + bytes(head) + frame[34:]


def fragment_field(first, s):
    return 1 if first else s.rng.choice([8, 64, 185]) * 8 | \
        s.rng.choice([0, 1])


def fragment(s, first):
    src, dst = s.source(), s.destination()
    field = fragment_field(first, s)
    if s.fam == 4:
        data = s.rng.randbytes(8 * s.rng.randint(4, 9))
        # more fragments is a bit above the offset, which counts eights
        v4 = (field & 1) << 13 | field >> 3
        frame = s.ip_frame(src, dst, frames.ip(src, dst, 253, data))
        ident = s.rng.randbytes(2)
        return set_ipv4(set_ipv4(frame, 4, ident), 6,
                        struct.pack('!H', v4))
    head = struct.pack('!BBH', 253, 0, field) + s.rng.randbytes(4)
    data = s.rng.randbytes(8 * s.rng.randint(4, 9))
    return s.ip_frame(src, dst, frames.ip(src, dst, 44, head + data))


def first_fragment(s):
    return fragment(s, True)


def later_fragment(s):
    return fragment(s, False)


# ---- frames that come back ----

def reflected(s):
    """
    What a slave may have sent, from the wire.  In l3 nothing that says who is
    where, see above.
    """
    if s.who == WIRE:
        s.who = s.rng.choice(sorted(s.config.addrs))
    if s.config.is_l3:
        return s.rng.choice([unicast, unicast, broadcast, multicast])(s)
    return untagged(s)


# ---- frames that lie about themselves ----

def ip_unicast(s):
    src, dst = s.source(), s.destination()
    return s.ip_frame(src, dst, s.packet(src, dst))


def truncated(s):
    """Ends somewhere inside of what its headers tell."""
    frame = untagged(s)
    return frame[:s.rng.randint(14, max(15, len(frame) - 1))]


def wrong_total(s):
    frame = ip_unicast(s)
    if s.fam == 4:
        total = s.rng.choice([0, 19, 20, 27, len(frame) - 15, len(frame),
                              65535])
        return set_ipv4(frame, 2, struct.pack('!H', total))
    length = s.rng.choice([0, 4, len(frame) - 55, len(frame), 65535])
    return frame[:18] + struct.pack('!H', length) + frame[20:]


def wrong_version(s):
    frame = bytearray(ip_unicast(s))
    frame[14] = s.rng.choice([0, 5, 4, 6]) << 4 | frame[14] & 15
    return bytes(frame)


def wrong_header_length(s):
    s.fam = 4
    return set_ipv4(ip_unicast(s), 0,
                    bytes([0x40 | s.rng.choice([0, 4, 6, 15])]))


def wrong_checksum(s):
    s.fam = 4
    frame = bytearray(ip_unicast(s))
    frame[24] ^= 0x55
    return bytes(frame)


def wrong_upper(s):
    """UDP that says another length, TCP with a header of another."""
    src, dst = s.source(), s.destination()
    at = 34 if s.fam == 4 else 54
    if s.chance(0.5):
        frame = bytearray(s.ip_frame(src, dst, s.udp(src, dst)))
        frame[at + 4:at + 6] = struct.pack('!H', s.rng.choice(
            [0, 7, 8, 1000]))
    else:
        frame = bytearray(s.ip_frame(src, dst, s.tcp(src, dst)))
        frame[at + 12] = s.rng.choice([0x40, 0xf0, 0x60])
    return bytes(frame)


def padded(s):
    """Longer than the packet in it."""
    return ip_unicast(s) + s.rng.randbytes(s.rng.randint(1, 20))


def short(s):
    """Hardly more than an Ethernet header."""
    ethertype = s.rng.choice([frames.IPV4, frames.IPV6, frames.ARP, 0x88b5])
    return s.ether('', '', ethertype, s.rng.randbytes(s.rng.randint(0, 19)),
                   s.rng.choice([PORT_MAC, frames.BROADCAST]))


SORTS = {
    **UNTAGGED,
    'one VLAN tag': (7, one_tag),
    'two VLAN tags': (3, two_tags),
    'dhcp reply': (2, dhcp_reply),
    'reflected': (4, reflected),
    'first fragment': (3, first_fragment),
    'later fragment': (3, later_fragment),
    'truncated': (4, truncated),
    'wrong total length': (2, wrong_total),
    'wrong version': (1, wrong_version),
    'wrong header length': (1, wrong_header_length),
    'wrong checksum': (1, wrong_checksum),
    'wrong upper length': (2, wrong_upper),
    'padded': (2, padded),
    'short': (2, short),
}


# ---- cases ----

def make_frame(rng, config, owners, who):
    sorts = list(SORTS)
    sort = rng.choices(sorts, [SORTS[name][0] for name in sorts])[0]
    if sort in ('reflected', 'dhcp reply'):
        who = WIRE
    return Step('frame', who,
                SORTS[sort][1](Sender(rng, config, owners, who)), sort)


def make_change(rng, config, owners):
    """An address that a slave gets or loses."""
    addr = rng.choice(POOL4 + POOL6)
    taken = sum(family(one) == family(addr) for one in owners)
    if addr not in owners and taken > MAX_OWNED:
        addr = rng.choice(sorted(owners))
    if addr in owners:
        return Step('del', owners[addr], addr)
    return Step('add', rng.choice(sorted(config.addrs)), addr)


def make_config(rng, index):
    n = rng.randint(2, MAX_SLAVES)
    pool4, pool6 = list(POOL4), list(POOL6)
    rng.shuffle(pool4)
    rng.shuffle(pool6)
    addrs = {}
    for name in slave_names(n):
        addrs[name] = [pool.pop() for pool in (pool4, pool6)
                       for _ in range(rng.randint(0, 2))]
    mode = MODES[index % 3]
    return Config(mode, FLAGS[index // 3 % 3], addrs,
                  mode != 'l2' and rng.random() < 0.4)


def make_case(seed, index, n_frames):
    rng = random.Random(f'ipvlan oracle {seed} {index}')
    config = make_config(rng, index)
    case = Case(config)
    owners = {addr: name for name, addrs in config.addrs.items()
              for addr in addrs}
    for _ in range(n_frames):
        if rng.random() < 0.05:
            change = make_change(rng, config, owners)
            if change.what == 'add':
                owners[change.value] = change.who
            else:
                del owners[change.value]
            case.steps.append(change)
        who = WIRE if rng.random() < 0.45 else rng.choice(
            sorted(config.addrs))
        case.steps.append(make_frame(rng, config, owners, who))
    return case


def cases(seed, n_frames):
    """As many cases as it takes; each of the nine kinds of port in turn."""
    a_case = min(FRAMES_A_CASE, max(1, n_frames // 9))
    index = 0
    while n_frames > 0:
        yield make_case(seed, index, min(a_case, n_frames))
        n_frames -= a_case
        index += 1
