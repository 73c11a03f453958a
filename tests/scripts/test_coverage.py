# Tests of how scripts/coverage judges what gcovr counted.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json

from common import SCRIPTS, ScriptTestCase

COVERAGE = SCRIPTS / 'lib' / 'coverage.py'


class Judgement(ScriptTestCase):

    def setUp(self):
        super().setUp()
        self.write('summary.json', {
            **self.counts(lines=(950, 1000), branches=(170, 200)),
            'files': [{'filename': 'subprojects/libvlink/ipvlan/port.c',
                       **self.counts(lines=(949, 950), branches=(169, 169))},
                      {'filename': 'subprojects/libvlink/link.h',
                       **self.counts(lines=(1, 50), branches=(0, 0))}]})
        self.write('coverage.json', {'files': [
            {'file': 'subprojects/libvlink/link.h', 'lines': [
                {'line_number': 7, 'count': 0, 'branches': []},
                {'line_number': 8, 'count': 2, 'branches': [{'count': 2},
                                                            {'count': 0}]},
                {'line_number': 9, 'count': 1, 'branches': []}]}]})

    @staticmethod
    def counts(lines, branches):
        return {'line_covered': lines[0], 'line_total': lines[1],
                'branch_covered': branches[0], 'branch_total': branches[1]}

    def write(self, name, value):
        (self.tmp / name).write_text(json.dumps(value))

    def judge(self, *args):
        return '/usr/bin/python3', COVERAGE, self.tmp, *args

    def test_enough(self):
        lines = self.run_ok(*self.judge('95', '85')).stdout.splitlines()
        self.assertEqual([line.split() for line in lines[1:]],
                         [['ipvlan/port.c', '950', '949', '99.8',
                           '169', '169', '100.0'],
                          ['link.h', '50', '1', '2.0', '0', '0', '100.0'],
                          ['total', '1000', '950', '95.0',
                           '200', '170', '85.0']])

    def test_too_few_lines(self):
        error = self.run_error(*self.judge('95.1', '85'))
        self.assertIn('950 of 1000 lines', error)

    def test_too_few_branches(self):
        error = self.run_error(*self.judge('95', '85.1'))
        self.assertIn('170 of 200 branches', error)

    def test_missing(self):
        lines = self.run_ok(*self.judge('0', '0', '--missing')).stdout
        self.assertEqual(lines.splitlines()[:2],
                         ['subprojects/libvlink/link.h:7: line',
                          'subprojects/libvlink/link.h:8: branch'])
        self.assertTrue(lines.splitlines()[2].startswith('file '))
