# Tests of the oracle: that it makes the same frames again, and that its rules
# explain nothing but what they say.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re
import sys
import unittest

from common import REPO, SCRIPTS, ScriptTestCase

sys.path[:0] = [str(REPO / 'tests' / 'oracle'),
                str(REPO / 'tests' / 'functional')]

import generate                                             # noqa: E402
import ipvlan_frames as frames                              # noqa: E402
from facts import read_frame                                # noqa: E402
from model import (Config, HOST, OUTSIDE, PEERS4, PORT_MAC,  # noqa: E402
                   STRANGER_MAC, Situation, WIRE, situations)
from ours import Came                                       # noqa: E402
from outcome import Got, completed, is_port_answer          # noqa: E402
from rules import RULES, Difference, explain                # noqa: E402

A4, B4, NOBODYS4, PEER4 = '10.9.0.1', '10.9.0.2', '10.9.0.3', PEERS4[0]
A6, B6 = 'fd09::1', 'fd09::2'
PEER_MAC = OUTSIDE[PEER4]
FOREIGN_MAC, GROUP_MAC = generate.FOREIGN_MAC, generate.GROUP_MAC
ADDRS = {'n0': [A4, A6], 'n1': [B4, B6], 'n2': []}
OWNERS = {A4: 'n0', A6: 'n0', B4: 'n1', B6: 'n1'}


def udp(src, dst, src_mac=PORT_MAC, dst_mac=PORT_MAC, tags=0):
    ethertype = frames.IPV6 if ':' in src else frames.IPV4
    return frames.ether(dst_mac, src_mac, ethertype,
                        frames.udp(src, dst, 1111, 2222, b'0123456789'), tags)


def arp(src, target, dst_mac=frames.BROADCAST, src_mac=PORT_MAC):
    return frames.ether(dst_mac, src_mac, frames.ARP,
                        frames.arp(1, src_mac, src, target))


def advert_from_nobody(dst):
    return frames.ether(PORT_MAC, STRANGER_MAC, frames.IPV6,
                        frames.icmp('::', dst, 128, 0, b'0123456789'))


class Example:
    """One difference, written as who got the frame."""

    def __init__(self, mode, flag, source, frame, linux, ours, drop=None,
                 linux_frame=None, macs=None):
        self.config = Config(mode, flag, ADDRS)
        self.frame = frame
        self.situation = Situation(self.config, OWNERS, {}, {'n2': 1}, source,
                                   frame, 'example')
        self.macs = macs or frame[:12]
        self.linux = self.gots(linux, linux_frame or frame)
        self.ours = self.gots(ours, frame)
        self.drops = [drop] if drop else []

    def gots(self, who, frame):
        return sorted(Got(name, self.macs if name == WIRE else b'',
                          frame[12:]) for name in who.split())

    def explain(self, linux=None, ours=None, drops=None):
        """The name of the rule."""
        found = explain(Difference(
            self.situation, self.linux if linux is None else linux,
            self.ours if ours is None else ours,
            self.drops if drops is None else drops))
        return found and found.name


ROUTED = frames.mac_bytes(PEER_MAC) + frames.mac_bytes(PORT_MAC)
PADDED = udp(A4, PEER4) + b'padding'

OFFER = frames.ether(frames.BROADCAST, PEER_MAC, frames.IPV4, frames.udp(
    PEER4, '255.255.255.255', 67, 68,
    b'\2\1\6\0\0\0\0\1' + bytes(20) +
    frames.mac_bytes(PORT_MAC).ljust(208, b'\0')))

EXAMPLES = {
    'malformed': Example('l2', 'bridge', 'n0', udp(A4, PEER4)[:30],
                         'host', '', 'truncated'),
    'bad-source': Example('l2', 'bridge', WIRE, udp(PEER4, A4, GROUP_MAC),
                          'n0', '', 'bad-source'),
    'foreign-mac': Example('l2', 'bridge', 'n0', udp(A4, PEER4, FOREIGN_MAC),
                           'wire', '', 'foreign-mac'),
    'not-owned': Example('l2', 'bridge', 'n0', udp(B4, PEER4,
                                                   dst_mac=PEER_MAC),
                         'wire', '', 'not-owned'),
    'to-itself': Example('l2', 'bridge', 'n0', udp(A4, A4), 'n0', '',
                         'to-itself'),
    'broadcast-by-flag': Example('l2', 'private', 'n0', arp(A4, NOBODYS4),
                                 'n1 n2 wire', 'wire'),
    'default-hears-broadcast': Example('l2', 'bridge', 'n0',
                                       arp(A4, NOBODYS4), 'n1 n2 wire',
                                       'n1 n2 wire host'),
    'owner-alone': Example('l2', 'bridge', WIRE,
                           arp(PEER4, B4, src_mac=PEER_MAC),
                           'n0 n1 n2 host', 'n1'),
    'dhcp-client': Example('l2', 'bridge', WIRE, OFFER, 'n0 n1 n2 host',
                           'n2'),
    'tags': Example('l2', 'private', 'n0', udp(A4, B4, tags=1), 'n1', '',
                    'private'),
    'icmpv6-from-nobody': Example('l2', 'bridge', WIRE,
                                  advert_from_nobody(A6), 'host', 'n0'),
    'reflected-broadcast': Example('l2', 'bridge', WIRE, arp(A4, NOBODYS4),
                                   'host', '', 'reflected'),
    'vepa-reflected-broadcast': Example('l2', 'vepa', WIRE,
                                        arp(A4, NOBODYS4), 'host',
                                        'n1 n2 host'),
    'l3-resolution': Example('l3', 'bridge', WIRE,
                             arp(PEER4, B4, src_mac=PEER_MAC), 'n1', ''),
    'l3-not-ip': Example('l3', 'bridge', WIRE,
                         udp(PEER4, A4, PEER_MAC, tags=1), 'n0', '',
                         'not-ip'),
    'l3-reflected': Example('l3', 'bridge', WIRE, udp(B4, A4), 'n0', '',
                            'reflected'),
    'l3-for-many': Example('l3', 'bridge', WIRE,
                           udp(PEER4, '255.255.255.255', PEER_MAC,
                               frames.BROADCAST), 'host', '', 'not-routed'),
    'l3-odd-address': Example('l3', 'bridge', 'n0', udp('127.0.0.1', B4),
                              'n1', '', 'not-routed'),
    'l3-length': Example('l3', 'bridge', 'n0', PADDED, 'wire', 'wire',
                         linux_frame=completed(PADDED), macs=ROUTED),
    'l3-any-mac': Example('l3', 'bridge', 'n0',
                          udp(A4, B4, dst_mac=FOREIGN_MAC), '', 'n1'),
    'l3s-host-first': Example('l3s', 'bridge', WIRE,
                              udp('127.0.0.1', A4, PEER_MAC), '', 'n0'),
}


def mutations(outcome):
    """What else might have been recorded."""
    frame = outcome[0].body if outcome else b'\x08\0other bytes'
    for name in 'n0', 'n1', 'n2', HOST, WIRE:
        yield sorted([*outcome, Got(name, bytes(12) if name == WIRE else b'',
                                    frame)])
    for i, one in enumerate(outcome):
        rest = outcome[:i] + outcome[i + 1:]
        yield rest
        yield sorted([*rest, one._replace(body=one.body[:-1] + b'\xa5')])
        if one.who == WIRE:
            yield sorted([*rest, one._replace(macs=bytes(12))])


class Generator(unittest.TestCase):

    def frames(self, seed, n):
        return [step for case in generate.cases(seed, n)
                for step in case.steps]

    def test_same_seed_same_frames(self):
        self.assertEqual(self.frames(7, 500), self.frames(7, 500))
        self.assertNotEqual(self.frames(7, 500), self.frames(8, 500))

    def test_more_frames_begin_alike(self):
        few, many = self.frames(7, 1000), self.frames(7, 3000)
        self.assertEqual(many[:len(few)], few)

    def test_all_sorts_and_ports(self):
        cases = list(generate.cases(1, 4500))
        frames_made = [s for case in cases for s in situations(case)]
        self.assertEqual(len(frames_made), 4500)
        self.assertEqual({s.sort for s in frames_made}, set(generate.SORTS))
        self.assertEqual(len({(s.config.mode, s.config.flag, s.source == WIRE)
                              for s in frames_made}), 18)
        self.assertEqual({step.what for case in cases for step in case.steps},
                         {'frame', 'add', 'del'})
        # Linux has a limit, and a socket has its own.
        self.assertTrue(all(14 <= len(s.frame) <= 1514 for s in frames_made))

    def test_frames_can_be_told_apart(self):
        bodies = [step.value[12:] for step in self.frames(1, 2000)
                  if step.what == 'frame' and len(step.value) > 50]
        self.assertEqual(len(bodies), len(set(bodies)))


class Facts(unittest.TestCase):

    def test_faults(self):
        good = udp(A4, B4)
        cases = {
            'truncated': [good[:33], good[:-1], good[:14],
                          udp(A6, B6)[:-1], arp(A4, B4)[:41]],
            'bad-header': [good[:14] + b'\x55' + good[15:],
                           good[:38] + b'\0\7' + good[40:]],
            'bad-source': [udp(A4, B4, generate.NO_MAC),
                           udp(A4, B4, GROUP_MAC)],
            None: [good, good + b'padding', arp(A4, B4), udp(A6, B6, tags=2)],
        }
        for fault, examples in cases.items():
            for frame in examples:
                with self.subTest(fault=fault, frame=frame.hex()):
                    self.assertEqual(read_frame(frame).fault, fault)


class Rules(unittest.TestCase):

    def test_every_rule_has_an_example(self):
        self.assertEqual([rule.name for rule in RULES], list(EXAMPLES))

    def test_examples(self):
        for name, example in EXAMPLES.items():
            with self.subTest(name):
                self.assertEqual(example.explain(), name)

    def test_other_outcomes_of_linux_are_not_explained(self):
        for name, example in EXAMPLES.items():
            for linux in mutations(example.linux):
                if linux == example.ours:
                    continue
                with self.subTest(name, linux=linux):
                    self.assertIsNone(example.explain(linux=linux))

    def test_other_outcomes_of_ours_are_not_explained(self):
        for name, example in EXAMPLES.items():
            for ours in mutations(example.ours):
                if ours == example.linux:
                    continue
                with self.subTest(name, ours=ours):
                    self.assertIsNone(example.explain(ours=ours))

    def test_other_reasons_are_not_explained(self):
        for name, example in EXAMPLES.items():
            for drops in ['rx-queue-full'], [*example.drops, 'no-owner']:
                with self.subTest(name, drops=drops):
                    self.assertIsNone(example.explain(drops=drops))

    def test_each_is_a_row_of_the_documentation(self):
        text = (REPO / 'docs/system/devices/ipvlan.rst').read_text()
        table = text.split("Where this differs from Linux's ipvlan\n")[1]
        rows = re.findall(r'^   \* - (.*?)\n     - (.*?)(?=\n   \* -|\n\n)',
                          table, re.DOTALL | re.MULTILINE)
        rows = {(' '.join(a.split()), ' '.join(b.split())) for a, b in rows}
        for rule in RULES:
            with self.subTest(rule.name):
                self.assertIn((rule.linux, rule.here), rows)


class Answers(unittest.TestCase):
    """What nobody has sent may come only where the port is a router."""

    def check(self, mode, who, addr, mac=PORT_MAC):
        question = arp(PEER4, B4, src_mac=PEER_MAC)
        answer = frames.ether(PEER_MAC, mac, frames.ARP,
                              frames.arp(2, mac, addr, PEER4, PEER_MAC))
        situation = Situation(Config(mode, 'bridge', ADDRS), OWNERS, {}, {},
                              WIRE, question, 'example')
        return is_port_answer(situation, Came(who, answer))

    def test_answers(self):
        self.assertTrue(self.check('l3', WIRE, B4))
        self.assertFalse(self.check('l2', WIRE, B4))
        self.assertFalse(self.check('l3', 'n1', B4))
        self.assertFalse(self.check('l3', WIRE, A4))
        self.assertFalse(self.check('l3', WIRE, B4, FOREIGN_MAC))


class Script(ScriptTestCase):

    def test_help(self):
        done = self.run_ok(SCRIPTS / 'oracle', '--help')
        self.assertIn('usage: scripts/oracle', done.stdout)

    def test_bad_values(self):
        for args, words in ((['--frames', '0'], '--frames 0: '),
                            (['--frames', 'many'], '--frames many: '),
                            (['--frames', '010'], '--frames 010: '),
                            (['--seed', '-1'], '--seed -1: '),
                            (['--seed'], '--seed needs a value'),
                            (['--keep', '/proc/x'], '--keep /proc/x: '),
                            (['--fames', '1'], "no option '--fames'")):
            with self.subTest(args):
                self.assertIn(words,
                              self.run_error(SCRIPTS / 'oracle', *args))


if __name__ == '__main__':
    unittest.main()
