# Tests of what scripts/test takes for a sanitizer's report.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import importlib.util
import io

from common import SCRIPTS, ScriptTestCase

# Python has a module of its own by the name of "test".
SPEC = importlib.util.spec_from_file_location('suite',
                                              SCRIPTS / 'lib' / 'test.py')
suite = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(suite)

WARNING = ("==12==WARNING: ASan doesn't fully support makecontext/swapcontext "
           'functions and may produce false positives in some cases!\n')
LEAK = ('==12==ERROR: LeakSanitizer: detected memory leaks\n'
        'Direct leak of 16 byte(s) in 1 object(s) allocated from:\n')


class Reports(ScriptTestCase):

    def take(self, *logs):
        for number, text in enumerate(logs):
            (self.tmp / f'asan.{number}').write_text(text)
        self.report = suite.Report()
        with contextlib.redirect_stdout(io.StringIO()) as output:
            suite.take_reports(self.report, self.tmp)
        return output.getvalue()

    def test_of_coroutines_is_none(self):
        self.assertIn('2 logs of the sanitizers, 0 with a report',
                      self.take(WARNING, WARNING))
        self.assertEqual(self.report.counts(),
                         '1 passed, 0 failed, 0 skipped')

    def test_each_is_a_failure(self):
        output = self.take(WARNING, WARNING + LEAK, LEAK)
        self.assertIn('3 logs of the sanitizers, 2 with a report', output)
        self.assertIn('Direct leak of 16 byte(s)', output)
        self.assertEqual(self.report.counts(),
                         '0 passed, 2 failed, 0 skipped')

    def test_no_log_is_no_success(self):
        self.take()
        self.assertEqual(self.report.counts(),
                         '0 passed, 1 failed, 0 skipped')


class Names(ScriptTestCase):

    def test_prefix_tells_them_apart(self):
        log = self.tmp / 'testlog.json'
        log.write_text('{"name": "qtest/a", "result": "OK",'
                       ' "stdout": "ok 1 /good\\n"}\n'
                       '{"name": "qtest/b", "result": "ERROR",'
                       ' "stdout": "not ok 1 /bad\\n"}\n'
                       '{"name": "qtest/c", "result": "TIMEOUT"}\n')
        report = suite.Report()
        report.take_meson_log(log, 'sanitizers: ')
        self.assertEqual(report.passed, 1)
        self.assertEqual(report.failed,
                         ['sanitizers: qtest/b: /bad',
                          'sanitizers: qtest/c: TIMEOUT after 0 cases'])
