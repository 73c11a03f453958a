# Tests of what scripts/analyze takes for a finding.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import unittest
from unittest import mock

from common import REPO, ScriptTestCase

import analyze

CLANG = f'''\
1 warning generated.
{REPO}/hw/net/vlink/qmp.c:12:5: warning: Access of a field [clang-analyzer-x]
    n->next = 0;
            ^
{REPO}/hw/net/vlink/qmp.c:10:5: note: Assuming pointer value is null
../../hw/net/vlink/hmp.c:3:1: error: unknown argument [clang-diagnostic-error]
'''
CLANG_FINDINGS = [
    'hw/net/vlink/hmp.c:3: error: unknown argument [clang-diagnostic-error]',
    'hw/net/vlink/qmp.c:12: warning: Access of a field [clang-analyzer-x]']


class Findings(unittest.TestCase):

    def test_of_clang(self):
        self.assertEqual(analyze.findings(CLANG, False, analyze.QEMU_BUILD),
                         CLANG_FINDINGS)

    def test_are_told_once(self):
        self.assertEqual(analyze.findings(CLANG * 2, False,
                                          analyze.QEMU_BUILD), CLANG_FINDINGS)

    def test_of_a_tool_that_is_content_count(self):
        self.assertEqual(analyze.findings('scripts/graft:1:2: E501 long\n',
                                          True),
                         ['scripts/graft:1: E501 long'])

    def test_none(self):
        self.assertEqual(analyze.findings('1 file read\n', True), [])

    def test_failures_count(self):
        self.assertEqual(analyze.findings('no such option\n', False),
                         ['no such option'])
        self.assertEqual(analyze.findings('', False),
                         ['it failed without a word'])


class Tools(ScriptTestCase):
    """Each tool, as it is called, sees what is wrong with a file."""

    def setUp(self):
        super().setUp()
        self.replace('OUTPUT', self.tmp)

    def replace(self, name, value):
        patch = mock.patch.object(analyze, name, value)
        patch.start()
        self.addCleanup(patch.stop)

    def plant(self, name, text):
        path = self.tmp / name
        path.write_text(text)
        self.replace('written_in', lambda *_: [str(path)])
        self.replace('list_overlay', lambda *_: [str(path)])
        return path

    def assert_found(self, tool, text):
        _, found = tool()
        self.assertEqual(len(found), 1, found)
        self.assertIn(text, found[0])

    def test_clang(self):
        path = self.plant('bad.c',
                          'int main(void) { int *p = 0; return *p; }\n')
        self.replace('compile_commands', lambda: {
            str(path): {'directory': str(self.tmp), 'file': str(path),
                        'command': 'ccache gcc '
                                   '-fzero-call-used-regs=used-gpr '
                                   f'-c {path}'}})
        self.assert_found(analyze.clang, 'clang-analyzer-core.NullDereference')

    def test_cppcheck(self):
        self.plant('bad.c', 'int bad(void) { int *p = 0; return *p; }\n')
        self.assert_found(analyze.cppcheck, 'Null pointer dereference')

    def test_pyflakes(self):
        self.plant('bad.py', 'import os\n')
        self.assert_found(analyze.pyflakes, "'os' imported but unused")

    def test_pycodestyle(self):
        self.plant('bad.py', 'x = 1;\n')
        self.assert_found(analyze.pycodestyle, 'E703')

    def test_shellcheck(self):
        self.plant('bad.sh', '#!/bin/sh\nrm $1\n')
        self.assert_found(analyze.shellcheck, 'SC2086')
