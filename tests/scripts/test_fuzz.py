# Tests of scripts/fuzz: what it refuses, and how it keeps its corpora.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import sys

from common import REPO, SCRIPTS, ScriptTestCase

sys.path.insert(0, str(REPO / 'tests' / 'fuzz'))

import corpus       # noqa: E402
import frames       # noqa: E402
import fuzz         # noqa: E402


class Options(ScriptTestCase):

    def refused(self, *args):
        return self.run_error(SCRIPTS / 'fuzz', *args)

    def test_unknown_fuzzer(self):
        error = self.refused('--only', 'nonsense')
        self.assertIn("'nonsense'", error)
        for name in fuzz.NAMES:
            self.assertIn(name, error)

    def test_time_is_a_number_of_seconds(self):
        for bad in 'soon', '-1', '1.5', '1e3', '12345678':
            with self.subTest(time=bad):
                self.assertIn(f"'{bad}'", self.refused('--time', bad))

    def test_seed_is_a_number(self):
        self.assertIn("'x'", self.refused('--seed', 'x'))

    def test_values_are_needed(self):
        for option in '--time', '--seed', '--only':
            with self.subTest(option=option):
                self.assertIn(option, self.refused(option))


class Corpus(ScriptTestCase):

    def setUp(self):
        super().setUp()
        self.path = self.tmp / 'corpus' / 'frame.txt'

    def test_there_and_back(self):
        found = [b'', b'\0' * 3, bytes(range(256)), b'a']
        corpus.write(self.path, '', found)
        # an empty line is an empty line
        self.assertEqual(sorted(corpus.read(self.path)), sorted(found[1:]))

    def test_what_once_failed_stays(self):
        kept = '# once leaked\nAAAA\n'
        corpus.write(self.path, kept, [b'old'])
        corpus.write(self.path, corpus.kept(self.path), [b'new'])
        self.assertEqual(self.path.read_text().split('# found')[0], kept)
        self.assertEqual(corpus.read(self.path), [b'\0\0\0', b'new'])

    def test_nothing_yet(self):
        self.assertEqual(corpus.read(self.path), [])
        self.assertEqual(corpus.kept(self.path), '')

    def test_what_is_no_input_is_named(self):
        corpus.write(self.path, '', [b'good'])
        with self.path.open('a') as file:
            file.write('not base64!\n')
        with self.assertRaisesRegex(corpus.CorpusError, r'frame\.txt:3: '):
            corpus.read(self.path)

    def test_unpacked_anew(self):
        corpus.unpack([b'one', b'two', b'two'], self.tmp / 'seeds')
        corpus.unpack([b'three'], self.tmp / 'seeds')
        path, = (self.tmp / 'seeds').iterdir()
        self.assertEqual(path.read_bytes(), b'three')

    def test_those_in_the_tree_can_be_read(self):
        for name in fuzz.NAMES:
            with self.subTest(fuzzer=name):
                inputs = corpus.read(fuzz.CORPUS / f'{name}.txt')
                self.assertGreater(len(inputs), 10)
                self.assertLessEqual(max(map(len, inputs)),
                                     fuzz.MAX_LEN[name])


class Findings(ScriptTestCase):

    def test_reason_names_our_own_files_alone(self):
        text = '\n'.join((
            '#12 NEW cov: 3 ft: 4',
            '==1==ERROR: AddressSanitizer: heap-buffer-overflow',
            '    #0 0x55e4 in memcpy (/lib/libc.so.6+0x1)',
            '    #1 0x55e5 in f /a/build/fuzz/../../subprojects/libvlink/x.c:9',
            'SUMMARY: AddressSanitizer: heap-buffer-overflow'))
        self.assertEqual(fuzz.reason(text), [
            '==1==ERROR: AddressSanitizer: heap-buffer-overflow',
            '    #1 f subprojects/libvlink/x.c:9',
            'SUMMARY: AddressSanitizer: heap-buffer-overflow'])


class Frames(ScriptTestCase):

    def test_each_in_each_mode(self):
        for name, frame in (('user-a', b'abc'), ('wire-b', b'de'),
                            ('user-long', bytes(2000)), ('README', b'no')):
            (self.tmp / name).write_bytes(frame)
        inputs = list(frames.inputs(self.tmp))
        self.assertEqual(len(inputs), 2 * 4)
        self.assertEqual(len(set(inputs)), 2 * 4)
        self.assertIn(b'\0\0\0\0\3abc\0\0\0\0', inputs[0])
        self.assertLessEqual(max(map(len, inputs)), fuzz.MAX_LEN['frame'])

    def test_no_directory(self):
        self.assertIn('/nowhere', self.run_error(SCRIPTS / 'fuzz', '--frames',
                                                 '/nowhere'))
