# Tests of the soak: what it says of counters, and what it refuses.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import copy
import os
import sys
import unittest

from common import REPO, SCRIPTS, ScriptTestCase

sys.path.insert(0, str(REPO / 'tests' / 'soak'))

import account      # noqa: E402


def stats(rx=0, tx=0, made=0, absorbed=0, **drops):
    return {'rx-packets': rx, 'rx-bytes': 60 * rx, 'tx-packets': tx,
            'tx-bytes': 60 * tx, 'made': made, 'absorbed': absorbed,
            'drops': [{'reason': reason.replace('_', '-'), 'packets': n}
                      for reason, n in drops.items()]}


def slave(name, waiting=0, **counted):
    return {'id': name, 'rx-queue': waiting, 'stats': stats(**counted)}


def port(**fields):
    """
    n0 has sent 5 frames: a broadcast that went out and to n1, and four of
    which three went out.  One of those from outside waits for n1, and two that
    came for a slave that was deleted were dropped.
    """
    return {'master': 'up0', 'mode': 'l2-macnat', 'waiting': 0,
            'stats': stats(rx=7, tx=4, made=1, absorbed=1),
            'deleted': stats(rx=1, no_receiver=2),
            'slaves': [slave('n0', tx=5, rx=2, made=1, private=1),
                       slave('n1', waiting=1, rx=2)], **fields}


class Account(unittest.TestCase):

    def test_adds_up(self):
        self.assertEqual(account.balance(port()), (14, 14))
        self.assertIsNone(account.check_balance(port()))

    def test_what_is_missing_is_told(self):
        for change in ({'waiting': 1}, {'deleted': stats()},
                       {'stats': stats(rx=8, tx=4, made=1, absorbed=1)}):
            with self.subTest(change=change):
                self.assertIn('up0: ', account.check_balance(port(**change)))

    def test_counters_only_grow(self):
        after = copy.deepcopy(port())
        self.assertEqual(account.check_growth(port(), after), [])
        after['slaves'][0]['stats']['tx-packets'] = 4
        self.assertEqual(account.check_growth(port(), after),
                         ['n0: tx-packets went from 5 to 4'])

    def test_a_slave_that_goes_is_no_counter_that_goes_back(self):
        self.assertEqual(account.check_growth(port(), port(slaves=[])), [])

    def test_drops_are_explained(self):
        after = port(deleted=stats(rx=1, no_receiver=3))
        self.assertEqual(account.check_drops(port(), after, {'plug'}), [])
        sentence, = account.check_drops(port(), after, {'rate'})
        self.assertIn('1 frames were dropped as no-receiver', sentence)

    def test_what_routers_drop(self):
        after = port(deleted=stats(rx=1, no_receiver=2, not_routed=4))
        self.assertEqual(len(account.check_drops(port(), after, ())), 1)
        after['mode'] = 'l3s'
        self.assertEqual(account.check_drops(port(), after, ()), [])

    def test_unknown_reasons_are_never_explained(self):
        after = port(deleted=stats(rx=1, no_receiver=2, loop=1))
        everything = set().union(*account.EXPLANATIONS.values())
        self.assertEqual(len(account.check_drops(port(), after, everything)),
                         1)

    def test_every_reason_is_one(self):
        text = (REPO / 'subprojects/libvlink/stats.h').read_text()
        for reason in account.EXPLANATIONS:
            self.assertIn(f'"{reason}"', text)

    def test_full_sockets(self):
        self.assertEqual(account.full_sockets(
            'Udp: InDatagrams RcvbufErrors SndbufErrors\nUdp: 7 3 1\n'
            'UdpLite: InDatagrams RcvbufErrors\nUdpLite: 0 9\n'
            'Udp6InDatagrams 5\nUdp6RcvbufErrors 4\n'), 7)

    def test_memory(self):
        self.assertIsNone(account.check_memory(1000, 1100))
        self.assertIn('1101 KiB', account.check_memory(1000, 1101))


class Soak(ScriptTestCase):

    def assert_refused(self, expected, *args):
        error = self.run_error(SCRIPTS / 'soak', *args)
        self.assertEqual(len(error.splitlines()), 1, error)
        self.assertIn(expected, error)

    def test_options(self):
        for expected, args in (
                ('--time needs to say', ()),
                ('--time needs a value', ('--time',)),
                ("60 at least, not '59'", ('--time', '59')),
                ("not 'long'", ('--time', 'long')),
                ("--seed needs a number, not 'x'",
                 ('--time', '60', '--seed', 'x')),
                ('there is no program /none',
                 ('--time', '60', '--qemu', '/none')),
                ("there is no option '--hours'", ('--hours', '2'))):
            with self.subTest(args=args):
                self.assert_refused(expected, *args)

    @unittest.skipIf(os.geteuid(), 'needs root to become somebody else')
    def test_root(self):
        done = self.run_as_nobody('soak', '--time', '60')
        self.assertEqual(done.returncode, 1)
        self.assertIn('only root', done.stderr)


if __name__ == '__main__':
    unittest.main()
