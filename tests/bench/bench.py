# Runs the parts of the bench and reports what they have seen; scripts/bench
# starts it when all is built.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
BUILD = REPO / 'build'

# A network to make taps in, processes that end with the first of them, and
# mounts that nobody else sees.  What becomes of the bench, nothing stays.
NAMESPACES = ['unshare', '--net', '--mount', '--pid', '--fork', '--kill-child',
              '--mount-proc']


class BenchError(Exception):
    """What failed, in one sentence."""


def say(text):
    print(f'==> {text}', flush=True)


class Bench:
    def __init__(self, args, tmp):
        self.args = args
        self.tmp = tmp
        self.rounds = 5 if args.quick else 7
        self.seconds = 0.4 if args.quick else 2
        self.child = None

    # ---- programs that do the work ----

    def run(self, command, **options):
        """Run a program to its end; it does not outlive the bench."""
        self.child = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL,
            **options)
        try:
            output, _ = self.child.communicate()
        finally:
            # unshare itself lets no other signal in
            self.child.kill()
            self.child.wait()
        if self.child.returncode:
            raise BenchError(f'{Path(command[-3]).name} failed')
        return output

    def compile_rr(self):
        rr = BUILD / 'bench' / 'rr'
        source = HERE / 'guest' / 'rr.c'
        if not rr.exists() or rr.stat().st_mtime < source.stat().st_mtime:
            rr.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(['gcc', '-O2', '-Wall', '-static', '-o', rr, source],
                           check=True)
        return rr

    def in_guests(self, program):
        """Run @program, which boots guests, in namespaces of its own."""
        parameters, results = self.tmp / 'parameters', self.tmp / 'results'
        parameters.write_text(json.dumps({
            'qemu': str(self.args.qemu), 'guest': str(BUILD / 'guest'),
            'rr': str(self.compile_rr()), 'tmp': str(self.tmp),
            'seconds': self.seconds, 'rounds': self.rounds,
            'quick': self.args.quick}))
        user = [] if os.geteuid() == 0 else ['--map-root-user']
        self.run([*NAMESPACES, *user, sys.executable, HERE / program,
                  parameters, results])
        return json.loads(results.read_text())

    # ---- parts ----

    def guest(self):
        result = self.in_guests('endtoend.py')
        return {
            'title': 'End to end, with guests',
            'how': f'Medians of {self.rounds} rounds; each sample is of about '
                   f'{self.seconds} s. The guests are emulated (TCG), with '
                   'one processor each. Other programs kept '
                   f'{result["others"]:.1f} of the host\'s processors busy '
                   'meanwhile.',
            **result}

    def plot(self, name, part, output):
        if name == 'guest':
            path = 'end-to-end.svg'
            if report.plot_ratios(output / path, part['title'], part['rows']):
                return [path]
        return []


PARTS = ['guest']


def command_line(args):
    """As somebody else would type it, without this machine's paths."""
    words = ['scripts/bench']
    if args.quick:
        words.append('--quick')
    for part in args.only or []:
        words += ['--only', part]
    if args.own_qemu:
        words += ['--qemu', 'FILE']
    return ' '.join(words)


def parse_args():
    parser = argparse.ArgumentParser(prog='scripts/bench')
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--only', action='append', choices=PARTS)
    parser.add_argument('--output', type=Path, default=BUILD / 'bench')
    parser.add_argument('--qemu', type=Path)
    args = parser.parse_args()
    args.own_qemu = args.qemu is not None
    args.qemu = (args.qemu or
                 BUILD / 'qemu' / 'qemu-system-x86_64').resolve()
    return args


def run_parts(bench, args):
    result = {'command': command_line(args),
              'date': datetime.date.today().isoformat(),
              'machine': report.machine_facts(REPO, args.qemu), 'parts': []}
    args.output.mkdir(parents=True, exist_ok=True)
    for name in args.only or PARTS:
        say(f'bench: {name}')
        part = getattr(bench, name)()
        for row in part['rows']:
            report.summarize(row)
        part['plots'] = bench.plot(name, part, args.output)
        result['parts'].append(part)
        print(f'\n{part["title"]}\n{part["how"]}\n\n{report.table(part["rows"])}'
              '\n', flush=True)
        report.write(args.output, result)
    return result


def main():
    args = parse_args()
    started = time.monotonic()
    # Whatever ends the bench, what it started is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix='vlink-bench-') as tmp:
            result = run_parts(Bench(args, Path(tmp)), args)
    except BenchError as error:
        sys.exit(f'bench: {error}')
    except KeyboardInterrupt:
        sys.exit('bench: interrupted')
    print(report.goals_text(result['parts']))
    say(f'{time.monotonic() - started:.0f} seconds, results in '
        f'{os.path.relpath(args.output)}')


main()
