# A stand-in for the module pycotap, which QEMU's functional tests import and
# Debian does not have: a runner for unittest that prints the Test Anything
# Protocol.  It has as much of pycotap as QEMU uses.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import enum
import sys
import unittest


class LogMode(enum.Enum):
    """Where messages go: to the standard error, in all cases."""
    LogToError = 1


class TAPTestResult(unittest.TestResult):

    def __init__(self, tap):
        super().__init__()
        self.tap = tap
        self.lines = 0

    def report(self, verdict, test, directive='', reason=''):
        self.lines += 1
        line = f'{verdict} {self.lines} {test.id()}'
        if directive:
            # A line is all that the protocol has room for.
            line += f' # {directive} {" ".join(str(reason).split())}'
        print(line.rstrip(), file=self.tap, flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.report('ok', test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.report('not ok', test)
        print(self.failures[-1][1], file=sys.stderr)

    def addError(self, test, err):
        super().addError(test, err)
        self.report('not ok', test)
        print(self.errors[-1][1], file=sys.stderr)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        # A test whose subtests all succeed is reported by addSuccess().
        if err is not None:
            self.report('not ok', subtest)
            print(self._exc_info_to_string(err, test), file=sys.stderr)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.report('ok', test, 'SKIP', reason)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.report('not ok', test, 'TODO', err[1])

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.report('ok', test, 'TODO', 'expected to fail')


class TAPTestRunner:

    def __init__(self, message_log=LogMode.LogToError,
                 test_output_log=LogMode.LogToError):
        assert message_log is LogMode.LogToError
        assert test_output_log is LogMode.LogToError

    def run(self, test):
        result = TAPTestResult(sys.stdout)
        # What a test prints is none of the protocol.
        with contextlib.redirect_stdout(sys.stderr):
            test(result)
        print(f'1..{result.lines}', flush=True)
        return result
