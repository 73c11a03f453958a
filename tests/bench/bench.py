# Runs the parts of the bench and reports what they have seen; scripts/bench
# starts it when all is built.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import argparse
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import library
import report
import sched_tables

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
BUILD = REPO / 'build'
LIBRARY = BUILD / 'bench' / 'lib'

# As QEMU is compiled, which the library is part of.
CFLAGS = '-ftrivial-auto-var-init=zero -fzero-call-used-regs=used-gpr'

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
            program = next(w for w in map(Path, command)
                           if HERE in w.parents or LIBRARY in w.parents)
            raise BenchError(f'{program.name} failed')
        return output

    def compile(self, name, *options):
        """One of the small programs in guest/."""
        program = BUILD / 'bench' / name
        source = HERE / 'guest' / f'{name}.c'
        if (not program.exists() or
                program.stat().st_mtime < source.stat().st_mtime):
            program.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(['gcc', '-O2', '-Wall', *options, '-o', program,
                            source], check=True)
        return str(program)

    def in_guests(self, program):
        """Run @program, which boots guests, in namespaces of its own."""
        parameters, results = self.tmp / 'parameters', self.tmp / 'results'
        parameters.write_text(json.dumps({
            'qemu': str(self.args.qemu), 'guest': str(BUILD / 'guest'),
            'rr': self.compile('rr', '-static'),
            'holds': self.compile('holds'), 'tmp': str(self.tmp),
            'seconds': self.seconds, 'rounds': self.rounds,
            'quick': self.args.quick}))
        user = [] if os.geteuid() == 0 else ['--map-root-user']
        self.run([*NAMESPACES, *user, sys.executable, HERE / program,
                  parameters, results])
        return json.loads(results.read_text())

    # ---- the library ----

    def build_library(self):
        """What is not built is built; returns the programs' directory."""
        python = BUILD / 'python' / 'bin' / 'python3'
        log = self.tmp / 'log'
        commands = [['ninja', '-C', LIBRARY]]
        if not (LIBRARY / 'build.ninja').exists():
            commands.insert(0, [
                python, '-m', 'mesonbuild.mesonmain', 'setup', LIBRARY, REPO,
                '-Dtests=false', '-Dbench=true', '-Doptimization=2',
                '-Ddebug=false', f'-Dc_args={CFLAGS}'])
        for command in commands:
            with log.open('w') as output:
                done = subprocess.run([str(word) for word in command],
                                      stdout=output, stderr=subprocess.STDOUT)
            if done.returncode:
                raise BenchError('cannot build the library: ' +
                                 log.read_text()[-2000:])
        return LIBRARY / 'tests' / 'bench' / 'vlink'

    def run_library(self, programs):
        """What they print, all of it."""
        directory = self.build_library()
        milliseconds = 4 if self.args.quick else 20
        return ''.join(
            self.run([directory / program, '--rounds', self.rounds,
                      '--ms', milliseconds],
                     stdout=subprocess.PIPE, text=True)
            for program in programs)

    def count_instructions(self, programs):
        """By name, where the processor does not do it and valgrind can."""
        if self.args.quick or not shutil.which('valgrind'):
            return {}
        counted = {}
        for program in programs:
            dumps = self.tmp / program
            dumps.mkdir()
            self.run(['valgrind', '-q', '--tool=callgrind',
                      f'--callgrind-out-file={dumps}/out',
                      LIBRARY / 'tests' / 'bench' / 'vlink' / program,
                      '--count'])
            counted.update(library.read_callgrind(dumps))
        return counted

    # ---- parts ----

    def guest(self):
        """With real guests."""
        result = self.in_guests('endtoend.py')
        return {'title': 'End to end, with guests',
                'how': self.how_with_guests(result), **result}

    def mainloop(self):
        """How long QEMU's main loop is held."""
        result = self.in_guests('mainloop.py')
        return {'title': "QEMU's main loop",
                'how': self.how_with_guests(result), **result}

    def how_with_guests(self, result):
        return (f'Medians of {self.rounds} rounds; each sample is of about '
                f'{self.seconds} s. The guests are emulated (TCG), with one '
                f'processor each. Other programs kept {result["others"]:.1f} '
                "of the host's processors busy meanwhile.")

    def library(self):
        """libvlink alone."""
        programs = ['bench-path', 'bench-fanout', 'bench-offload',
                    'bench-router']
        samples = library.Samples(self.run_library(programs))
        counted = {}
        if not any('instructions' in line for line in samples.lines):
            counted = self.count_instructions(programs[:1])
        return {
            'title': 'The library alone',
            'how': f'Medians of {self.rounds} rounds, of the processor time '
                   'of the one thread. Addresses are drawn at random.',
            'sections': library.sections(samples, counted)}

    def sched(self):
        """The scheduler on a virtual clock."""
        return {
            'title': 'The scheduler, on a virtual clock',
            'how': 'Slaves that always have something to send, towards an '
                   'uplink of 10 Gbit/s, or one that is never busy, so that '
                   'they compete for the main loop. Delays are those of a '
                   'slave that sends a small frame now and then, on an uplink '
                   'of 1 Gbit/s. The figures are the same on every machine.',
            'sections': sched_tables.sections(
                self.run_library(['bench-sched']))}

    # ---- plots ----

    def plot(self, name, part, output):
        plots = getattr(self, f'plot_{name}', lambda *_: [])(part)
        return [path for path, draw, *args in plots
                if draw(output / path, *args)]

    def plot_guest(self, part):
        section, = part['sections']
        yield ('end-to-end.svg', report.plot_ratios, part['title'],
               section['rows'])

    def plot_library(self, part):
        matrices = {s['title']: s for s in part['sections'] if 'columns' in s}
        path, *_, lookup, fanout = [m for m in matrices.values() if m['lines']]
        for name, matrix, xlabel in (('path', path, 'addresses'),
                                     ('lookup', lookup, 'addresses'),
                                     ('fan-out', fanout, 'slaves')):
            yield (f'{name}.svg', report.plot_matrix, matrix, xlabel, 'ns')


PARTS = ['guest', 'mainloop', 'library', 'sched']


def command_line(args):
    """As somebody else would type it, without this machine's paths."""
    words = ['scripts/bench']
    if args.quick:
        words.append('--quick')
    if args.parts != PARTS:
        words += [f'--only {part}' for part in args.parts]
    if args.own_qemu:
        words += ['--qemu', 'FILE']
    return ' '.join(words)


def parse_args():
    parser = argparse.ArgumentParser(prog='scripts/bench')
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('parts', nargs='+', choices=PARTS)
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
    for name in args.parts:
        say(f'bench: {name}')
        part = getattr(bench, name)()
        for section in part['sections']:
            for row in section.get('rows', []):
                report.summarize(row)
        part['plots'] = bench.plot(name, part, args.output)
        result['parts'].append(part)
        print(f'\n{report.show(part)}\n', flush=True)
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
