# Runs the parts of the test suite and counts their test cases; scripts/test
# starts it.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import os
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
BUILD = REPO / 'build'
QEMU_BUILD = BUILD / 'qemu'
QEMU_ASAN = BUILD / 'qemu-asan'
SCRIPTS = REPO / 'scripts'
MESON = [sys.executable, '-m', 'mesonbuild.mesonmain']

# A sanitizer's finding is a failure, not a line that nobody reads.
SANITIZERS = {'ASAN_OPTIONS': 'halt_on_error=1:abort_on_error=1',
              'UBSAN_OPTIONS': 'halt_on_error=1:abort_on_error=1:'
                               'print_stacktrace=1'}

# The exit status of a test that cannot be run here, as meson has it.
SKIPPED = 77

TAP_LINE = re.compile(r'^(?P<verdict>ok|not ok)\b *\d* *(?:- *)?'
                      r'(?P<name>[^#]*?)'
                      r'(?: *# *(?P<directive>SKIP|TODO)\b *(?P<reason>.*))?$',
                      re.IGNORECASE | re.MULTILINE)
TAP_SKIP_ALL = re.compile(r'^1\.\.0 *# *SKIP\w* *(?P<reason>.*)$',
                          re.IGNORECASE | re.MULTILINE)


class Report:
    """All test cases that were run."""

    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []

    def counts(self):
        return (f'{self.passed} passed, {len(self.failed)} failed, '
                f'{len(self.skipped)} skipped')

    def take_tap(self, test, text):
        """Count the cases of one program; returns how many there were."""
        cases = list(TAP_LINE.finditer(text))
        for case in cases:
            name = f'{test}: {case["name"] or "(no name)"}'
            directive = (case['directive'] or '').upper()
            if directive == 'SKIP':
                self.skipped.append((name, case['reason']))
            elif (case['verdict'].lower() == 'ok') == (directive == 'TODO'):
                self.failed.append(name)
            else:
                self.passed += 1
        skip_all = TAP_SKIP_ALL.search(text)
        if skip_all:
            self.skipped.append((test, skip_all['reason']))
        return len(cases) + bool(skip_all)

    def take_meson_log(self, path, prefix):
        for line in path.read_text().splitlines():
            test = json.loads(line)
            failures = len(self.failed)
            name = prefix + test['name']
            cases = self.take_tap(name, test.get('stdout', ''))
            if test['result'] in ('OK', 'SKIP') and cases:
                continue
            # A program that died, or said nothing, has no line for it.
            if len(self.failed) == failures:
                self.failed.append(f'{name}: {test["result"]} after '
                                   f'{cases} cases')


class CountingResult(unittest.TestResult):
    """Adds the outcome of Python's own tests to a report."""

    def __init__(self, report):
        super().__init__()
        self.report = report

    def addSuccess(self, test):
        super().addSuccess(test)
        self.report.passed += 1
        print(f'    ok {test.id()}', flush=True)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.report.skipped.append((test.id(), reason))
        print(f'    skip {test.id()}: {reason}', flush=True)

    def add_failure(self, test, trace):
        self.report.failed.append(test.id())
        print(f'    FAILED {test.id()}\n{trace}', flush=True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.add_failure(test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.add_failure(test, self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.add_failure(subtest, self._exc_info_to_string(err, test))


def say(text):
    print(f'==> {text}', flush=True)


def run(report, what, command, **env):
    """Run a step that a part needs; its failure is one of the report's."""
    print(f'    {what}', flush=True)
    log = BUILD / 'log' / f'{what.replace(" ", "-")}.log'
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('w') as output:
        done = subprocess.run([str(word) for word in command],
                              stdin=subprocess.DEVNULL, stdout=output,
                              stderr=subprocess.STDOUT,
                              env={**os.environ, **env})
    if done.returncode:
        print('\n'.join(log.read_text().splitlines()[-20:]))
        report.failed.append(f'{what} (log: {log})')
    return done.returncode == 0


def run_case(report, name, command, **env):
    """Run a command that is a test case in itself, with figures to show."""
    done = subprocess.run([str(word) for word in command],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True,
                          errors='replace', env={**os.environ, **env})
    for line in done.stdout.splitlines():
        print(f'    {line}')
    if done.returncode == SKIPPED:
        report.skipped.append((name, done.stdout.splitlines()[-1]))
    elif done.returncode:
        report.failed.append(name)
    else:
        report.passed += 1
        print(f'    ok {name}', flush=True)


def build_qemu(report):
    return run(report, 'build QEMU', [SCRIPTS / 'build'])


def make_guest(report):
    return run(report, 'make the guest', [SCRIPTS / 'guest-image'])


def meson_test(report, builddir, name, args, prefix='', **env):
    """Run tests of a meson build, of which NAME tells the log files apart, and
    PREFIX the cases.
    """
    logs = builddir / 'meson-logs'
    for log in logs.glob(f'{name}*.json'):
        log.unlink()
    output = BUILD / 'log' / f'{name}.log'
    with output.open('w') as stdout:
        subprocess.run([*MESON, 'test', '-C', builddir, '--no-rebuild',
                        '--logbase', name, '--print-errorlogs', *args],
                       stdin=subprocess.DEVNULL, stdout=stdout,
                       stderr=subprocess.STDOUT, env={**os.environ, **env})
    failures = len(report.failed)
    # meson adds the name of the test setup, if any.
    for log in logs.glob(f'{name}*.json'):
        report.take_meson_log(log, prefix)
        break
    else:
        report.failed.append(f'{name}: meson ran no test (log: {output})')
    if len(report.failed) > failures:
        print(output.read_text())


def test_lib(report):
    """The library's unit tests, under the sanitizers."""
    builddir = BUILD / 'lib'
    if not (builddir / 'build.ninja').exists():
        if not run(report, 'configure the library',
                   [*MESON, 'setup', builddir, REPO,
                    '-Db_sanitize=address,undefined']):
            return
    if run(report, 'compile the library',
           ['ninja', '-C', builddir, 'all', 'meson-test-prereq']):
        meson_test(report, builddir, 'lib-tests', [], **SANITIZERS)


def test_coverage(report):
    """How much of the library its unit tests run."""
    run_case(report, 'coverage of libvlink', [SCRIPTS / 'coverage'])


def test_fuzz(report):
    """Fuzzers of the library: the inputs in the tree, then a minute each."""
    run_case(report, 'fuzz: what is in the tree',
             [SCRIPTS / 'fuzz', '--time', '0'])
    run_case(report, 'fuzz: a minute each', [SCRIPTS / 'fuzz', '--seed', '1'])


def test_analysis(report):
    """What analysers find in the code."""
    if build_qemu(report):
        run_case(report, 'analysis', [SCRIPTS / 'analyze'])


def compile_qtests(report, builddir):
    programs = [f'tests/qtest/{path.stem}' for path in
                sorted((REPO / 'tests' / 'qtest').glob('ipvlan*-test.c'))]
    return run(report, 'compile the qtests',
               ['ninja', '-C', builddir, *programs])


def test_qtest(report):
    """The tests that play the guest's part on the devices' side."""
    if build_qemu(report) and compile_qtests(report, QEMU_BUILD):
        meson_test(report, QEMU_BUILD, 'qtests',
                   ['qtest-x86_64/ipvlan-*'])


# All that ASan has to say of a QEMU that is well: it says so when the first
# coroutine is made.
COROUTINES = re.compile(r"==\d+==WARNING: ASan doesn't fully support "
                        r'makecontext/swapcontext functions and may produce '
                        r'false positives in some cases!\n')


def take_reports(report, directory):
    """Whatever ASan and LeakSanitizer wrote to a log is a failure."""
    logs = sorted(directory.iterdir())
    found = [(log, text) for log in logs
             for text in [COROUTINES.sub('', log.read_text(errors='replace'))]
             if text]
    for log, text in found:
        print(text)
        report.failed.append(f'sanitizers: report in {log}')
    print(f'    {len(logs)} logs of the sanitizers, {len(found)} with a report')
    if not logs:
        report.failed.append('sanitizers: no QEMU ran under them')
    elif not found:
        report.passed += 1


def test_sanitizers(report):
    """QEMU under the sanitizers: the qtests, and a guest whose cards go."""
    if not (run(report, 'build QEMU with sanitizers',
                [SCRIPTS / 'build', '--asan']) and
            compile_qtests(report, QEMU_ASAN) and make_guest(report)):
        return
    logs = BUILD / 'log' / 'sanitizers'
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    # Tests that read what QEMU says must not read ASan's warnings there, and
    # those that look at QEMU's memory not count what ASan keeps of freed.
    env = {**SANITIZERS, 'ASAN_OPTIONS': f'{SANITIZERS["ASAN_OPTIONS"]}:'
                                         f'quarantine_size_mb=16:'
                                         f'log_path="{logs / "asan"}"'}
    slower = ['--timeout-multiplier', '10']
    meson_test(report, QEMU_ASAN, 'sanitizers-qtests',
               [*slower, 'qtest-x86_64/ipvlan-*'],
               prefix='sanitizers: ', **env)
    meson_test(report, QEMU_ASAN, 'sanitizers-functional',
               [*slower, '--setup=thorough',
                'func-x86_64-x86_64_ipvlan_hotplug'],
               prefix='sanitizers: ', VLINK_GUEST=str(BUILD / 'guest'), **env)
    take_reports(report, logs)


def test_functional(report):
    """The tests with Linux guests, in QEMU's own framework."""
    if build_qemu(report) and make_guest(report):
        meson_test(report, QEMU_BUILD, 'functional-tests',
                   ['--setup=thorough', 'func-x86_64-x86_64_ipvlan*'],
                   VLINK_GUEST=str(BUILD / 'guest'))


def test_oracle(report):
    """Generated frames, also through Linux's own ipvlan."""
    if build_qemu(report) and make_guest(report):
        run_case(report, 'oracle', [SCRIPTS / 'oracle', '--frames', '4500'])


def python_tests(report, name):
    """Run the tests in tests/NAME."""
    suite = unittest.TestLoader().discover(str(REPO / 'tests' / name))
    suite.run(CountingResult(report))


def test_libvirt(report):
    """Guests that a real libvirtd runs."""
    if build_qemu(report) and make_guest(report):
        python_tests(report, 'libvirt')


def test_soak(report):
    """Guests that talk for two minutes while all else changes."""
    if os.geteuid():
        report.skipped.append(('soak', 'only root makes network namespaces '
                                       'and taps'))
        return
    run_case(report, 'soak', [SCRIPTS / 'soak', '--time', '120'])


def test_scripts(report):
    """The scripts of this repository, the demo among them."""
    python_tests(report, 'scripts')


def main():
    report = Report()
    for part in sys.argv[1:]:
        test = globals()[f'test_{part}']
        say(f'{part}: {test.__doc__}')
        before = (report.passed, len(report.failed), len(report.skipped))
        test(report)
        print(f'    {report.passed - before[0]} passed, '
              f'{len(report.failed) - before[1]} failed, '
              f'{len(report.skipped) - before[2]} skipped')

    for name, reason in report.skipped:
        print(f'skipped: {name}: {reason}')
    for name in report.failed:
        print(f'FAILED: {name}')
    print(report.counts(), flush=True)
    sys.exit(bool(report.failed) or not report.passed)


if __name__ == '__main__':
    main()
