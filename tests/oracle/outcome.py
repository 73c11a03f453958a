# What became of a frame: who got it, and as which bytes.
#
# A frame is recognised by what is in it from its type on: answers to it, and
# what else a guest's own stack has to say, are not it.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import struct
from collections import namedtuple

import ipvlan_frames as frames
from model import HOST, PORT_MAC, WIRE

# What one of Linux's sockets has received: a frame; or through a slave's hook
# (l3s) 'raw4', from the IP header on, or 'raw6', addresses and upper layer.
Receipt = namedtuple('Receipt', 'who data how')

# One delivery of a frame: to whom, and what follows both MAC addresses, which
# stand beside it on the wire.
Got = namedtuple('Got', 'who macs body')

HEADER = 14
TYPE = 12


def ethertype(frame):
    return struct.unpack_from('!H', frame, TYPE)[0]


def is_group(mac):
    return bool(mac[0] & 1)


def is_foreign(frame):
    """To a MAC address that is neither the port's nor for many."""
    return not is_group(frame) and frame[:6] != frames.mac_bytes(PORT_MAC)


def completed(frame):
    """
    The frame as Linux's IP sends what it is given without a length: to the
    last byte.  None: it is not IP.
    """
    packet = frame[HEADER:]
    if ethertype(frame) == frames.IPV4 and len(packet) >= 20:
        head = bytearray(packet[:(packet[0] & 15) * 4])
        if not 20 <= len(head) <= len(packet):
            return None
        head[2:4] = struct.pack('!H', len(packet))
        head[10:12] = b'\0\0'
        head[10:12] = struct.pack('!H',
                                  frames.internet_checksum(bytes(head)))
        return frame[:HEADER] + bytes(head) + packet[len(head):]
    if ethertype(frame) == frames.IPV6 and len(packet) >= 40:
        return frame[:HEADER + 4] + struct.pack('!H', len(packet) - 40) + \
            packet[6:]
    return None


def without_tags(frame):
    """The frame less its first tag, and less two of them."""
    while ethertype(frame) in (0x8100, 0x88a8) and len(frame) >= 18:
        frame = frame[:TYPE] + frame[TYPE + 4:]
        yield frame


def is_it_untagged(frame, data):
    """The host's stack gets a frame when its tag has been taken off."""
    return any(data[TYPE:] == other[TYPE:] for other in without_tags(frame))


def is_it(frame, data):
    """Whether @data is @frame, or what Linux's IP makes of it."""
    if data[TYPE:] == frame[TYPE:]:
        return True
    other = completed(frame)
    return other is not None and data[TYPE:] == other[TYPE:]


def packet_of(frame):
    """The IP packet in an untagged frame, without what pads it."""
    packet = frame[HEADER:]
    length = struct.unpack_from('!H', packet, 2)[0] \
        if ethertype(frame) == frames.IPV4 else \
        40 + struct.unpack_from('!H', packet, 4)[0]
    return packet[:length]


def is_it_raw(frame, receipt):
    """The same of what came through a slave's hook."""
    kind = {'raw4': frames.IPV4, 'raw6': frames.IPV6}[receipt.how]
    if ethertype(frame) != kind or len(frame) < HEADER + 20:
        return False
    packet = packet_of(frame)
    if kind == frames.IPV4:
        return receipt.data == packet
    return receipt.data == packet[8:]


def got(who, data):
    return Got(who, data[:TYPE] if who == WIRE else b'', data[TYPE:])


def linux_outcome(situation, receipts):
    """Sorted Gots."""
    frame, config = situation.frame, situation.config
    hooked = config.mode == 'l3s' and situation.source == WIRE
    result = []
    for receipt in receipts:
        if receipt.how != 'frame':
            if hooked and is_it_raw(frame, receipt):
                result.append(got(receipt.who, frame))
        elif is_it(frame, receipt.data):
            # A card's filter, which a veth has not, or the stack behind it.
            if receipt.who != WIRE and is_foreign(receipt.data):
                continue
            # Slaves have no other way in than the hook.
            if hooked and receipt.who not in (WIRE, HOST):
                continue
            result.append(got(receipt.who, receipt.data))
        elif receipt.who == HOST and not is_foreign(receipt.data) and \
                is_it_untagged(frame, receipt.data):
            result.append(got(HOST, frame))
    if hooked:
        result = without_host(situation, result)
    return sorted(result)


def without_host(situation, result):
    """
    In l3s all goes to the host's IP first, and then to the slave that owns
    its destination: then it is not the host's.
    """
    frame = situation.frame
    dst = {frames.IPV4: frame[30:34], frames.IPV6: frame[38:54]}.get(
        ethertype(frame))
    if dst in map(frames.pack_address, situation.owners) or \
            any(one.who != HOST for one in result):
        return [one for one in result if one.who != HOST]
    return result


def our_outcome(situation, came):
    """Sorted Gots."""
    return sorted(got(one.who, one.data) for one in came
                  if is_it(situation.frame, one.data))


def answers(situation, came):
    """What came instead."""
    return [one for one in came if not is_it(situation.frame, one.data)]


def is_port_answer(situation, one):
    """
    Whether the port had to say that itself: where it is a router it answers a
    question to who has asked it, with its own MAC address.
    """
    if not situation.config.is_l3 or one.who != situation.source:
        return False
    question = frames.parse_frame(situation.frame)
    answer = frames.parse_frame(one.data)
    if answer.src != PORT_MAC or question.ethertype != answer.ethertype:
        return False
    mac, asked, said = frames.mac_bytes(PORT_MAC), question.payload, \
        answer.payload
    if answer.ethertype == frames.ARP:
        return (asked[6:8] == b'\0\1' and said[6:8] == b'\0\2' and
                said[8:18] == mac + asked[24:28])
    return (frames.is_nd(question) and frames.is_nd(answer) and
            asked[40] == frames.NEIGHBOUR_SOLICIT and
            said[40] == frames.NEIGHBOUR_ADVERT and
            said[48:64] == asked[48:64] and
            said[64:72] == frames.lladdr_option(2, PORT_MAC))
