# Tests of the scripts' options, of the build and of the demo.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import signal
import subprocess
import unittest

from common import REPO, SCRIPTS, ScriptTestCase, run

QEMU = REPO / 'build' / 'qemu' / 'qemu-system-x86_64'


class Options(ScriptTestCase):

    NAMES = ['analyze', 'bench', 'build', 'coverage', 'demo', 'fetch-qemu',
             'format-patches', 'fuzz', 'graft', 'guest-image', 'libvirt-xml',
             'oracle', 'setup', 'soak', 'test']

    def test_help(self):
        for name in self.NAMES:
            with self.subTest(script=name):
                done = self.run_ok(SCRIPTS / name, '--help')
                self.assertTrue(done.stdout.startswith('usage: '))

    def test_unknown_option(self):
        for name in self.NAMES:
            with self.subTest(script=name):
                error = self.run_error(SCRIPTS / name, '--frobnicate', 'here')
                self.assertIn('--frobnicate', error)

    def test_build_refuses_what_is_not_qemu(self):
        error = self.run_error(SCRIPTS / 'build', '--qemu-source', self.tmp)
        self.assertIn(str(self.tmp), error)

    def test_build_refuses_a_bad_number_of_jobs(self):
        self.assertIn('none', self.run_error(SCRIPTS / 'build', '-j', 'none'))

    def test_build_wants_a_directory(self):
        self.assertIn('/nowhere', self.run_error(SCRIPTS / 'build',
                                                 '--qemu-source', '/nowhere'))

    def test_analyze_knows_its_tools(self):
        self.assertIn('lint', self.run_error(SCRIPTS / 'analyze', '--only',
                                             'lint'))
        self.run_error(SCRIPTS / 'analyze', '--only')

    def test_coverage_wants_percentages(self):
        for option in ['--lines', '--branches']:
            for value in ['most', '-1', '100.5', '1e1', '']:
                with self.subTest(option=option, value=value):
                    error = self.run_error(SCRIPTS / 'coverage', option, value)
                    self.assertIn(option, error)
                    self.assertIn(value, error)


class Build(ScriptTestCase):

    def setUp(self):
        super().setUp()
        self.run_ok(SCRIPTS / 'build')

    def test_nothing_is_done_twice(self):
        before = QEMU.stat().st_mtime_ns
        steps = self.run_ok(SCRIPTS / 'build').stdout
        self.assertEqual(QEMU.stat().st_mtime_ns, before)
        self.assertEqual([line.split()[1] for line in steps.splitlines()],
                         ['compile', 'built'])

    def test_qemu_has_the_netdev_and_finds_its_firmware(self):
        done = self.run_ok(QEMU, '-netdev', 'help')
        self.assertIn('\nipvlan\n', done.stdout)
        machine = subprocess.Popen([QEMU, '-M', 'pc', '-accel', 'tcg', '-S',
                                    '-display', 'none', '-monitor', 'stdio'],
                                   stdin=subprocess.PIPE, text=True,
                                   stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        _, errors = machine.communicate('quit\n', timeout=30)
        self.assertEqual((machine.returncode, errors), (0, ''))


class Demo(ScriptTestCase):

    def setUp(self):
        super().setUp()
        self.run_ok(SCRIPTS / 'build')
        self.run_ok(SCRIPTS / 'guest-image')
        self.env = {**os.environ, 'TMPDIR': str(self.tmp)}

    def start_demo(self, *options):
        return subprocess.Popen([SCRIPTS / 'demo', *options], env=self.env,
                                text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def check_demo(self, *options):
        demo = self.start_demo(*options)
        output, errors = demo.communicate()
        self.assertEqual(demo.returncode, 0, output + errors)
        self.assertEqual(output.count(' has a lease of '), 3)
        self.assertEqual(output.count(' pings '), 6)
        self.assertIn('up0: mode l2-macnat', output)
        self.assert_nothing_left(demo)

    def assert_nothing_left(self, demo):
        self.assertEqual(list(self.tmp.iterdir()), [])
        self.assertNotIn(f'vlink-demo-{demo.pid}', run('ip', 'netns').stdout)
        self.assertNotIn(str(self.tmp), run('ps', '-eo', 'args').stdout)

    def test_user(self):
        self.check_demo()

    @unittest.skipIf(os.geteuid(), 'needs root')
    def test_tap(self):
        self.check_demo('--tap')

    def test_interrupted(self):
        demo = self.start_demo()
        for line in demo.stdout:
            if 'boot a guest' in line:
                break
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=30)
        self.assertEqual((demo.returncode, errors), (1, 'demo: interrupted\n'))
        self.assert_nothing_left(demo)

    @unittest.skipIf(os.geteuid(), 'needs root to become somebody else')
    def test_tap_needs_root(self):
        done = self.run_as_nobody('demo', '--tap')
        self.assertEqual(done.returncode, 1)
        self.assertIn('needs root', done.stderr)
