# Tests of the bench: what it makes of what it has measured, and what it leaves.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import os
import signal
import subprocess
import sys
import unittest

from common import REPO, SCRIPTS, ScriptTestCase, run

sys.path.insert(0, str(REPO / 'tests' / 'bench'))

import library      # noqa: E402
import report       # noqa: E402


def row(ours, baseline, **fields):
    return {'case': 'case', 'unit': 'ns',
            'ours': {'name': 'ours', 'samples': ours},
            'baselines': [{'name': 'theirs', 'samples': baseline,
                           'goal': fields.pop('ratio', None)}], **fields}


class Report(unittest.TestCase):

    def summarized(self, *args, **fields):
        result = row(*args, **fields)
        report.summarize(result)
        return result

    def test_ratio_is_that_of_rounds(self):
        baseline, = self.summarized([10, 30, 60], [10, 20, 10])['baselines']
        self.assertEqual(baseline['ratio'], 1.5)
        self.assertEqual(baseline['spread'], [1, 6])

    def test_goals(self):
        for ratio, met in (('>= 2', [True]), ('>= 2.1', [False]),
                           ('<= 2', [True]), (None, [])):
            with self.subTest(goal=ratio):
                self.assertEqual(
                    self.summarized([20], [10], ratio=ratio)['met'], met)

    def test_each_goal_counts(self):
        result = self.summarized([20], [10], ratio='>= 2', goal='<= 19')
        self.assertEqual(result['met'], [False, True])

    def test_one_of_several_goals_is_enough(self):
        result = self.summarized([20], [10], ratio='>= 2', goal='<= 19',
                                 any=True)
        self.assertEqual(result['met'], [True])

    def test_what_is_missing_is_no_failure(self):
        result = self.summarized([], [10], ratio='>= 2', goal='<= 19')
        self.assertEqual(result['met'], [])
        self.assertIn('n/a', report.table({'rows': [result]}))

    def test_table(self):
        rows = [self.summarized([20], [10], ratio='>= 2'),
                self.summarized([20], [10], ratio='>= 3')]
        head, rule, *lines = report.table({'rows': rows}).split('\n')
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[0].endswith('ok'))
        self.assertTrue(lines[1].endswith('MISS'))
        for line in head, *lines:
            self.assertLessEqual(len(line), len(rule))

    def test_numbers(self):
        for value, text in ((None, 'n/a'), (0, '0'), (0.6812, '0.681'),
                            (1.234, '1.23'), (12.34, '12.3'), (123.4, '123'),
                            (12345.6, '12,346')):
            self.assertEqual(report.number(value), text)


class Instructions(ScriptTestCase):

    def test_the_loop_is_taken_off(self):
        for name, kind, total in (('out.1', 'run', 900),
                                  ('out.2', 'overhead', 100)):
            (self.tmp / name).write_text(
                f'desc: Trigger: Client Request: 10 {kind} path/a\n'
                f'summary: {total}\ntotals: 5000\n')
        self.assertEqual(library.read_callgrind(self.tmp), {'path/a': 80})


class Bench(ScriptTestCase):

    def test_unknown_part(self):
        self.assertIn('nonsense', self.run_error(SCRIPTS / 'bench', '--only',
                                                 'nonsense'))

    def test_library(self):
        self.run_ok(SCRIPTS / 'bench', '--quick', '--only', 'library',
                    '--output', self.tmp)
        result = json.loads((self.tmp / 'results.json').read_text())
        self.assertEqual(result['command'],
                         'scripts/bench --quick --only library')
        part, = result['parts']
        for section in part['sections']:
            for line in section.get('rows', []):
                with self.subTest(case=line['case']):
                    self.assertEqual(len(line['ours']['samples']), 5)
                    self.assertGreater(min(line['ours']['samples']), 0)
        page = (self.tmp / 'results.md').read_text()
        self.assertNotIn(str(REPO), page)
        for plot in part['plots']:
            self.assertIn(f']({plot})', page)
            self.assertIn('<svg', (self.tmp / plot).read_text())

    @unittest.skipIf(os.geteuid(), 'needs root for taps')
    def test_interrupted(self):
        for program in 'build', 'guest-image':
            self.run_ok(SCRIPTS / program)
        bench = subprocess.Popen(
            [SCRIPTS / 'bench', '--quick', '--only', 'guest', '--output',
             self.tmp / 'results'], env={**os.environ,
                                         'TMPDIR': str(self.tmp)},
            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        for line in bench.stderr:
            if 'over a tap' in line:
                break
        bench.send_signal(signal.SIGINT)
        _, errors = bench.communicate(timeout=30)
        self.assertEqual(bench.returncode, 1)
        self.assertIn('bench: interrupted\n', errors)
        self.assertEqual([path.name for path in self.tmp.iterdir()],
                         ['results'])
        self.assertNotIn(str(self.tmp), run('ps', '-eo', 'args').stdout)
