# Builds and runs the fuzzers; scripts/fuzz starts it.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import corpus
import frames

REPO = Path(__file__).resolve().parents[2]
BUILD = REPO / 'build' / 'fuzz'
FOUND = BUILD / 'found'
WORK = BUILD / 'work'
SEEDS = BUILD / 'seeds'
CORPUS = REPO / 'tests' / 'fuzz' / 'corpus'
MESON = [sys.executable, '-m', 'mesonbuild.mesonmain']

NAMES = ['frame', 'control', 'state', 'vnet']
MAX_LEN = {'frame': 1024, 'control': 256, 'state': 512, 'vnet': 256}
# Of few bytes nothing interesting is made: long inputs at once.
LONG = ['-len_control=0']
AT_A_TIME = 2
# A fuzzer that crashes is started again, to see what else there is.
CRASHES_MAX = 5

CONFIGURE = ['-Dfuzz=true', '-Dinvariants=enabled',
             '-Db_sanitize=address,undefined', '-Db_lundef=false',
             '-Dc_args=-fsanitize=fuzzer-no-link '
             '-fno-sanitize-recover=undefined']
# Coverage alone: how often a line was run makes no input worth keeping.
MERGE = ['-merge=1', '-use_counters=0']

COVERED = re.compile(r' cov: (\d+) ')
EXECUTED = re.compile(r'^stat::number_of_executed_units: (\d+)', re.MULTILINE)


class Failure(Exception):
    """Something that ends all of it, in one sentence."""


def relative(path):
    return path.relative_to(REPO)


def program(name):
    return BUILD / 'tests' / 'fuzz' / f'fuzz-{name}'


# --- building ---------------------------------------------------------------

def step(what, command, **options):
    print(f'==> {what}', flush=True)
    done = subprocess.run([str(word) for word in command],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        print('\n'.join(done.stdout.splitlines()[-40:]))
        raise Failure(f'could not {what}')


def compiler():
    """clang, behind ccache where that is in use."""
    words = os.environ.get('CC', '').split()
    return 'ccache clang' if words[:1] == ['ccache'] else 'clang'


def build(names):
    if not (BUILD / 'build.ninja').exists():
        step('configure the fuzzers',
             [*MESON, 'setup', BUILD, REPO, *CONFIGURE],
             env={**os.environ, 'CC': compiler()})
    step('compile the fuzzers',
         ['ninja', '-C', BUILD, *(f'tests/fuzz/fuzz-{name}'
                                  for name in names)])


# --- running ----------------------------------------------------------------

class Fuzzer:
    """One of them, and what it has come to."""

    def __init__(self, name):
        self.name = name
        self.seconds = 0.0
        self.executed = 0
        self.covered = 0
        self.crashes = []
        self.seeds = SEEDS / name
        self.work = WORK / name
        self.log = BUILD / f'{name}.log'
        self.corpus = CORPUS / f'{name}.txt'

    def prepare(self):
        self.work.mkdir(parents=True, exist_ok=True)
        FOUND.mkdir(parents=True, exist_ok=True)
        corpus.unpack(corpus.read(self.corpus), self.seeds)
        self.log.write_text('')

    def run(self, *args):
        """Run it once; a crash is noted.  Returns what it has printed."""
        before = set(FOUND.iterdir())
        begin = time.monotonic()
        with subprocess.Popen(
                [str(word) for word in
                 (program(self.name), '-timeout=60', '-rss_limit_mb=2048',
                  f'-max_len={MAX_LEN[self.name]}', '-print_final_stats=1',
                  f'-artifact_prefix={FOUND}/{self.name}-', *args)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True,
                errors='replace') as process:
            text, _ = process.communicate()
        with self.log.open('a') as log:
            log.write(text)
        self.seconds += time.monotonic() - begin
        self.take(text)
        if process.returncode:
            self.crashed(text, sorted(set(FOUND.iterdir()) - before))
        return process.returncode == 0

    def take(self, text):
        executed = EXECUTED.search(text)
        self.executed += int(executed.group(1)) if executed else 0
        self.covered = max([self.covered,
                            *(int(n) for n in COVERED.findall(text))])

    def crashed(self, text, found):
        """One block, or what another thread prints would be in its midst."""
        lines = [f'==> fuzz-{self.name} failed:',
                 *(f'    {line}' for line in reason(text))]
        for path in found:
            lines.append(f'    to see it again: {relative(program(self.name))}'
                         f' {relative(path)}')
        print('\n'.join(lines), flush=True)
        self.crashes += found or [None]

    def regress(self):
        """What is in the tree, once."""
        return self.run('-runs=0', self.seeds)

    def explore(self, seconds, seed):
        end = time.monotonic() + seconds
        while len(self.crashes) < CRASHES_MAX:
            left = int(end - time.monotonic())
            if left <= 0 or self.run(f'-max_total_time={left}',
                                     f'-seed={seed}', *LONG,
                                     self.work, self.seeds):
                break
            seed += bool(seed)      # not the same way to the same crash

    def merge(self):
        """The fewest inputs that cover as much; what once failed stays."""
        minimal = BUILD / 'merged' / self.name
        corpus.unpack([], minimal)
        step(f'merge what fuzz-{self.name} has found',
             [program(self.name), *MERGE, f'-max_len={MAX_LEN[self.name]}',
              minimal, self.seeds, self.work])
        corpus.write(self.corpus, corpus.kept(self.corpus),
                     [path.read_bytes() for path in minimal.iterdir()])

    def inputs(self):
        return sum(1 for _ in self.work.iterdir())

    def row(self):
        rate = self.executed / self.seconds if self.seconds else 0
        return [f'fuzz-{self.name}', f'{self.seconds:.0f}',
                f'{self.executed:,}', f'{rate:,.0f}', f'{self.covered:,}',
                f'{len(corpus.read(self.corpus)):,}', f'{self.inputs():,}',
                f'{len(self.crashes)}']


def reason(text):
    """The lines that say why, and where in our own files that was."""
    lines = []
    for line in text.splitlines():
        if re.search(r'ERROR|runtime error|invariant|assertion|SUMMARY', line):
            lines.append(line)
        elif re.search(r'#\d+ 0x.*/(libvlink|tests)/', line):
            lines.append(re.sub(r' 0x[0-9a-f]+ in | /.*/\.\./', ' ', line))
    return lines[:24]


def table(fuzzers):
    head = ['fuzzer', 'seconds', 'executions', 'a second', 'edges',
            'in the tree', 'found', 'crashes']
    rows = [head, *(fuzzer.row() for fuzzer in fuzzers)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        print('  '.join([row[0].ljust(widths[0]),
                         *(cell.rjust(width) for cell, width in
                           zip(row[1:], widths[1:]))]))


# --- all of it --------------------------------------------------------------

def take_frames(fuzzers, directory):
    """Make inputs of fuzz-frame's of frames that the unit tests have sent."""
    for fuzzer in fuzzers:
        if fuzzer.name == 'frame':
            for number, data in enumerate(frames.inputs(directory)):
                (fuzzer.work / f'frames-{number}').write_bytes(data)


def work(fuzzer, seconds, seed):
    if fuzzer.regress() and seconds:
        fuzzer.explore(seconds, seed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--time', type=int, default=60)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', action='append', choices=NAMES)
    parser.add_argument('--frames', type=Path)
    parser.add_argument('--merge', action='store_true')
    args = parser.parse_args()
    names = [name for name in NAMES if name in (args.only or NAMES)]
    fuzzers = [Fuzzer(name) for name in names]

    build(names)
    for fuzzer in fuzzers:
        fuzzer.prepare()
    if args.frames:
        take_frames(fuzzers, args.frames)
    print(f'==> run {", ".join(f"fuzz-{name}" for name in names)}',
          flush=True)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(lambda fuzzer: work(fuzzer, args.time, args.seed),
                      fuzzers))
    if args.merge:
        for fuzzer in fuzzers:
            fuzzer.merge()
    table(fuzzers)
    return any(fuzzer.crashes for fuzzer in fuzzers)


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (Failure, corpus.CorpusError) as failure:
        sys.exit(f'fuzz: {failure}')
    except KeyboardInterrupt:
        sys.exit('fuzz: interrupted')
