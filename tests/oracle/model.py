# What the oracle's cases are made of.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from collections import namedtuple
from dataclasses import dataclass, field

from facts import read_frame
from ipvlan_frames import mac_bytes

MODES = ['l2', 'l3', 'l3s']
FLAGS = ['bridge', 'private', 'vepa']
MAX_SLAVES = 4

PORT_MAC = '02:00:5e:00:53:01'
WIRE_MAC = '02:00:5e:00:53:02'
GATEWAY_MAC = '02:00:5e:00:55:01'
STRANGER_MAC = '02:00:5e:00:57:09'

# Who takes what no slave owns: Linux's own stack there, the default slave here.
HOST = 'host'
WIRE = 'wire'

# Addresses that slaves have, or have had, or will have.  Who has one while no
# slave has is outside, with a MAC address of its own.
POOL4 = [f'10.9.0.{i}' for i in range(1, 13)]
POOL6 = [f'fd09::{i:x}' for i in range(1, 11)] + ['fe80::a', 'fe80::b']
PEERS4 = [f'10.9.1.{i}' for i in range(1, 5)]
PEERS6 = [f'fd09:1::{i:x}' for i in range(1, 5)]
GATEWAY = {4: '10.9.2.1', 6: 'fd09:2::1'}
# What is used as an address though it is none, or is not to be routed.
ODD4 = ['0.0.0.0', '127.0.0.1', '255.255.255.255', '224.0.0.9', '0.1.2.3',
        '240.0.0.1']
ODD6 = ['::', '::1', 'ff02::1', 'fe80::9', '::ffff:10.9.0.1']
ODD_HOSTS = ['0.1.2.3', '127.0.0.1', '240.0.0.1', '::', '::1', 'fe80::9',
             '::ffff:10.9.0.1']
# Those are sources only: nobody has anything to send to them.
STRANGER = {4: '10.9.3.9', 6: 'fd09:3::9'}


def family(addr):
    return 6 if ':' in addr else 4


def slave_names(n):
    return [f'n{i}' for i in range(n)]


def outside_macs():
    """Who has which address outside, if no slave has it."""
    macs = {}
    for kind, addrs in (0x54, PEERS4), (0x54, PEERS6), (0x56, POOL4), \
            (0x56, POOL6):
        for i, addr in enumerate(addrs, 1):
            macs[addr] = f'02:00:5e:00:{kind:02x}:{i:02x}'
    for i, addr in enumerate(ODD_HOSTS):
        macs[addr] = f'02:00:5e:00:59:{i:02x}'
    for addr in GATEWAY.values():
        macs[addr] = GATEWAY_MAC
    for addr in STRANGER.values():
        macs[addr] = STRANGER_MAC
    return macs


OUTSIDE = outside_macs()


# A step of a case: an address that a slave gets or loses ('add', 'del'), or a
# frame ('frame') that comes from a slave or from the wire.
Step = namedtuple('Step', 'what who value sort', defaults=(None,))


@dataclass(frozen=True)
class Config:
    """What a port and its slaves are, before the first step."""
    mode: str
    flag: str
    addrs: dict                 # the name of each slave: what it owns
    gateway: bool = False       # all goes by way of it (l3, l3s)

    @property
    def is_l3(self):
        return self.mode != 'l2'


@dataclass
class Case:
    config: Config
    steps: list = field(default_factory=list)


# What is known when a frame is sent: who owns what, which address each slave
# has looked for a duplicate of, last and without using it since, and with which
# number it has asked for a lease last.
Situation = namedtuple('Situation',
                       'config owners probed asked source frame sort')


def note_sent(probed, asked, who, frame):
    """With @frame @who may have probed for an address, used one, or asked."""
    facts = read_frame(frame)
    if facts.fault or frame[6:12] != mac_bytes(PORT_MAC):
        return
    if facts.dhcp == 'request' and facts.dhcp_xid is not None:
        asked[who] = facts.dhcp_xid
    if facts.is_probe:
        probed[who] = facts.destination
    elif probed.get(who) in facts.claims:
        del probed[who]


def situations(case):
    """The frames of a case, each with what is so when it is sent."""
    owners = {addr: name for name, addrs in case.config.addrs.items()
              for addr in addrs}
    probed, asked = {}, {}
    for step in case.steps:
        if step.what == 'add':
            owners[step.value] = step.who
        elif step.what == 'del':
            del owners[step.value]
        else:
            yield Situation(case.config, dict(owners), dict(probed),
                            dict(asked), step.who, step.value, step.sort)
            if step.who != WIRE:
                note_sent(probed, asked, step.who, step.value)
