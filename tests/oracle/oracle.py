# The same frames through Linux's ipvlan, through our QEMU and through the
# library alone; scripts/oracle starts it.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import generate
import linux
import ours
from driver import known
from model import WIRE, situations
from outcome import answers, is_port_answer, linux_outcome, our_outcome
from rules import RULES, Difference, explain

REPO = Path(__file__).resolve().parents[2]
QEMU = REPO / 'build' / 'qemu' / 'qemu-system-x86_64'
GUEST = REPO / 'build' / 'guest'
TOOL = REPO / 'build' / 'lib' / 'tests' / 'oracle' / 'oracle-tool'

SHOWN = 20                      # unexplained differences


class Verdict:
    """What the three engines made of one frame."""

    def __init__(self, index, situation, receipts, qemu, library):
        self.index, self.situation = index, situation
        self.linux = linux_outcome(situation, receipts)
        self.ours = our_outcome(situation, library.came)
        self.qemu, self.library = qemu, library
        self.rule = None
        self.identical = self.linux == self.ours
        if not self.identical:
            self.rule = explain(Difference(situation, self.linux, self.ours,
                                           library.drops))
        self.is_known = self.linux in known(situation)
        self.complaint = self.complain()

    def complain(self):
        """What is wrong, or None."""
        if self.qemu.came != self.library.came:
            return 'QEMU does not do what the library does'
        if not all(is_port_answer(self.situation, one) for one in
                   answers(self.situation, self.library.came)):
            return 'we have made up a frame'
        if not self.is_known:
            return 'Linux does what it is not known to do'
        if not self.identical and not self.rule:
            return 'Linux does something else, and no rule says so'
        return None

    # ---- what is told of it ----

    def labels(self):
        """Under what it is counted in the table."""
        s = self.situation
        return [('mode', s.config.mode), ('flag', s.config.flag),
                ('from', 'the wire' if s.source == WIRE else 'a slave'),
                ('sort', s.sort)]

    def lines(self):
        s = self.situation
        yield f'frame {self.index}: {self.complaint}'
        yield f'  mode {s.config.mode}, flag {s.config.flag}, ' + \
            ('all by a gateway, ' if s.config.gateway else '') + \
            f'slaves {" ".join(s.config.addrs)}'
        yield '  owned: ' + ', '.join(f'{addr} by {name}' for addr, name in
                                      sorted(s.owners.items()))
        yield f'  from {s.source}, {s.sort}: {s.frame.hex()}'
        for name, got in ('Linux', self.linux), ('library', self.ours):
            yield f'  {name}: ' + (', '.join(
                f'{one.who} {one.macs.hex()}{one.body.hex()}'
                for one in got) or 'nobody')
        if self.library.drops:
            yield f'  dropped: {" ".join(self.library.drops)}'
        for name, engine in ('QEMU', self.qemu), ('library', self.library):
            yield f'  all from {name}: ' + (', '.join(
                f'{one.who} {one.data.hex()}' for one in engine.came) or
                'nothing')


# ---- the table ----

COLUMNS = ['frames', 'identical', 'by rule', 'unexplained']


def columns_of(verdict):
    """Which of the columns count it."""
    return ['frames', 'unexplained' if verdict.complaint else
            'by rule' if verdict.rule else 'identical']


def print_table(verdicts):
    counts, order = Counter(), {}
    for verdict in verdicts:
        for label in [*verdict.labels(), ('', 'all')]:
            order.setdefault(label)
            for column in columns_of(verdict):
                counts[label, column] += 1
    groups = {'mode': 1, 'flag': 2, 'from': 3, 'sort': 4, '': 5}
    print(f'{"":31}' + ''.join(f'{name:>13}' for name in COLUMNS))
    for label in sorted(order, key=lambda one: (groups[one[0]], one)):
        print(f'{label[0]:6}{label[1]:25}' +
              ''.join(f'{counts[label, name]:>13,}' for name in COLUMNS))


def print_rules(verdicts):
    counts = Counter(verdict.rule.name for verdict in verdicts
                     if verdict.rule)
    print('\ndifferences by rule')
    for rule in RULES:
        print(f'  {rule.name:29}{counts[rule.name]:>13,}')


def print_drops(qemu, library):
    """Whether both have counted the same in each case."""
    alike = sum(a == b for a, b in zip(qemu, library))
    print(f'\nQEMU\'s counters of drops are the library\'s in {alike} of '
          f'{len(library)} cases')
    for i, (a, b) in enumerate(zip(qemu, library)):
        if a != b:
            print(f'  case {i}: QEMU {dict(a - b)} more, '
                  f'the library {dict(b - a)} more')
    return alike == len(library) == len(qemu)


# ---- running ----

def timed(function, *args):
    before = time.monotonic()
    result = function(*args)
    return result, time.monotonic() - before


def run_engines(cases, n_frames, tmp):
    """What each made of all frames, and in how many seconds."""
    with ThreadPoolExecutor(1) as pool:
        guest = pool.submit(timed, linux.outcomes, QEMU, GUEST, tmp, cases,
                            120 + n_frames / 10)
        library = timed(ours.outcomes, ours.Library(TOOL), cases)
        qemu = timed(ours.outcomes, ours.Qemu(QEMU, tmp), cases)
        return guest.result(), qemu, library


def compare(frames, seed, tmp):
    before = time.monotonic()
    cases = list(generate.cases(seed, frames))
    print(f'{frames:,} frames in {len(cases):,} cases from seed {seed}')
    results = run_engines(cases, frames, tmp)
    print(', '.join(f'{name} {seconds:.1f} s' for name, (_, seconds) in
                    zip(['Linux', 'QEMU', 'library'], results)) + '\n')
    receipts, qemu, library = (result for result, _ in results)
    everything = zip((s for case in cases for s in situations(case)),
                     receipts, qemu.frames, library.frames)
    verdicts = [Verdict(i, *one) for i, one in enumerate(everything)]
    print_table(verdicts)
    print_rules(verdicts)
    wrong = [verdict for verdict in verdicts if verdict.complaint]
    counted_alike = print_drops(qemu.drops, library.drops)
    for verdict in wrong[:SHOWN]:
        print('', *verdict.lines(), sep='\n')
    print(f'\n{len(verdicts):,} frames compared, '
          f'{sum(v.identical for v in verdicts):,} identical, '
          f'{sum(bool(v.rule) for v in verdicts):,} differ by rule, '
          f'{len(wrong):,} unexplained; '
          f'{time.monotonic() - before:.0f} s')
    return not wrong and counted_alike and len(verdicts) == frames


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('frames', type=int)
    parser.add_argument('seed', type=int)
    parser.add_argument('keep', type=Path, nargs='?')
    args = parser.parse_args()
    # Names of sockets have to be short.
    tmp = Path(tempfile.mkdtemp(prefix='oracle-'))
    try:
        right = compare(args.frames, args.seed, tmp)
    except (linux.LinuxError, ours.EngineError) as error:
        print(f'oracle: {error}', file=sys.stderr)
        right = False
    finally:
        if args.keep:
            shutil.copytree(tmp, args.keep, dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns('*.near', '*.far'))
        shutil.rmtree(tmp)
    sys.exit(not right)


if __name__ == '__main__':
    main()
