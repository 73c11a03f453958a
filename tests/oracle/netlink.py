# rtnetlink messages, as the oracle's guest sends them for us.
#
# Interface indices are chosen, not found: nothing has to be asked.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import socket
import struct

from ipvlan_frames import mac_bytes, pack_address

# linux/netlink.h and linux/rtnetlink.h
REQUEST, ACK, REPLACE, CREATE = 0x1, 0x4, 0x100, 0x400
NEWLINK, DELLINK, NEWADDR, DELADDR = 16, 17, 20, 21
NEWROUTE, DELROUTE, GETROUTE, NEWNEIGH = 24, 25, 26, 28
IFF_UP = 1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_LINK, IFLA_LINKINFO = 1, 3, 5, 18
IFLA_NET_NS_FD = 28
INFO_KIND, INFO_DATA, VETH_PEER = 1, 2, 1
IPVLAN_MODE, IPVLAN_FLAGS = 1, 2
IFA_LOCAL, IFA_FLAGS, IFA_NODAD = 2, 8, 0x02
NDA_DST, NDA_LLADDR, NUD_PERMANENT = 1, 2, 0x80
RTA_DST, RTA_OIF, RTA_GATEWAY = 1, 4, 5
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST = 254, 4, 1
SCOPE_UNIVERSE, SCOPE_LINK, ONLINK = 0, 253, 4
NESTED = 0x8000

MODES = {'l2': 0, 'l3': 1, 'l3s': 2}
FLAGS = {'bridge': 0, 'private': 1, 'vepa': 2}


def attr(kind, data):
    if isinstance(data, str):
        data = data.encode() + b'\0'
    elif isinstance(data, int):
        data = struct.pack('=I', data)
    out = struct.pack('=HH', 4 + len(data), kind) + data
    return out + bytes(-len(out) % 4)


def nested(kind, *attrs):
    return attr(kind | NESTED, b''.join(attrs))


def message(kind, flags, head, *attrs):
    return request(kind, ACK | flags, head, *attrs)


def request(kind, flags, head, *attrs):
    body = head + b''.join(attrs)
    return struct.pack('=IHHII', 16 + len(body), kind, REQUEST | flags,
                       1, 0) + body


def link_head(index, flags=0):
    return struct.pack('=BxHiII', socket.AF_UNSPEC, 0, index, flags, flags)


def new_veth(name, index, mac, peer, peer_index, peer_mac, peer_ns):
    other = link_head(peer_index) + b''.join(
        [attr(IFLA_IFNAME, peer), attr(IFLA_ADDRESS, mac_bytes(peer_mac)),
         attr(IFLA_NET_NS_FD, peer_ns)])
    return message(NEWLINK, CREATE, link_head(index),
                   attr(IFLA_IFNAME, name),
                   attr(IFLA_ADDRESS, mac_bytes(mac)),
                   nested(IFLA_LINKINFO, attr(INFO_KIND, 'veth'),
                          nested(INFO_DATA, attr(VETH_PEER, other))))


def new_ipvlan(name, index, lower, ns, mode, flag):
    return message(NEWLINK, CREATE, link_head(index),
                   attr(IFLA_IFNAME, name), attr(IFLA_LINK, lower),
                   attr(IFLA_NET_NS_FD, ns),
                   nested(IFLA_LINKINFO, attr(INFO_KIND, 'ipvlan'),
                          nested(INFO_DATA,
                                 attr(IPVLAN_MODE,
                                      struct.pack('=H', MODES[mode])),
                                 attr(IPVLAN_FLAGS,
                                      struct.pack('=H', FLAGS[flag])))))


def link_up(index):
    return message(NEWLINK, 0, link_head(index, IFF_UP))


def del_link(index):
    return message(DELLINK, 0, link_head(index))


def af_of(addr):
    return socket.AF_INET6 if ':' in addr else socket.AF_INET


def address(kind, flags, addr, index):
    packed = pack_address(addr)
    head = struct.pack('=BBBBi', af_of(addr), 8 * len(packed), 0,
                       SCOPE_UNIVERSE, index)
    # Nobody looks for duplicates first.
    return message(kind, flags, head, attr(IFA_LOCAL, packed),
                   attr(IFA_FLAGS, IFA_NODAD))


def new_addr(addr, index):
    return address(NEWADDR, CREATE, addr, index)


def del_addr(addr, index):
    return address(DELADDR, 0, addr, index)


def neighbour(addr, mac, index):
    head = struct.pack('=BxHiHBB', af_of(addr), 0, index, NUD_PERMANENT, 0, 0)
    return message(NEWNEIGH, CREATE | REPLACE, head,
                   attr(NDA_DST, pack_address(addr)),
                   attr(NDA_LLADDR, mac_bytes(mac)))


def default_route(kind, af, index, gateway=None):
    """All goes to @gateway, or to where it is for."""
    attrs = [attr(RTA_OIF, index)]
    if gateway:
        attrs.append(attr(RTA_GATEWAY, pack_address(gateway)))
    scope = SCOPE_UNIVERSE if gateway or af == socket.AF_INET6 else SCOPE_LINK
    head = struct.pack('=BBBBBBBBI', af, 0, 0, 0, RT_TABLE_MAIN,
                       RTPROT_STATIC, scope, RTN_UNICAST,
                       ONLINK if gateway else 0)
    return message(kind, CREATE if kind == NEWROUTE else 0, head, *attrs)


def get_route(addr):
    """It is answered, not acknowledged."""
    packed = pack_address(addr)
    head = struct.pack('=BBBBBBBBI', af_of(addr), 8 * len(packed), 0, 0, 0, 0,
                       0, 0, 0)
    return request(GETROUTE, 0, head, attr(RTA_DST, packed))
