# Tests of scripts/format-patches.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os

from common import QEMU_SOURCE, SCRIPTS, ScriptTestCase, run, snapshot


# Whoever runs the tests need not have told git who he is.
IDENTITY = {'GIT_CONFIG_COUNT': '2',
            'GIT_CONFIG_KEY_0': 'user.name',
            'GIT_CONFIG_VALUE_0': 'Tester',
            'GIT_CONFIG_KEY_1': 'user.email',
            'GIT_CONFIG_VALUE_1': 'tester@example.org'}


class FormatPatches(ScriptTestCase):

    def setUp(self):
        super().setUp()
        self.patches = self.tmp / 'patches'
        self.env = {**os.environ, **IDENTITY}
        self.run_ok(SCRIPTS / 'format-patches', '-o', self.patches,
                    env=self.env)

    def git(self, tree, *args):
        self.run_ok('git', '-C', tree, '-c', 'commit.gpgsign=false', *args,
                    env=self.env)

    def test_series_makes_what_the_graft_makes(self):
        tree = self.make_pristine_tree('patched')
        self.git(tree, 'init', '--quiet')
        self.git(tree, 'add', '--all')
        self.git(tree, 'commit', '--quiet', '--message', 'QEMU')
        self.git(tree, 'am', '--quiet',
                 *sorted(self.patches.glob('*.patch'))[1:])

        grafted = self.make_pristine_tree('grafted')
        self.run_ok(SCRIPTS / 'graft', grafted)
        self.assertEqual(self.contents(tree, '.git'),
                         self.contents(grafted, '.vlink'))

    @staticmethod
    def contents(tree, ignored):
        return {path.relative_to(tree): content
                for path, (content, _) in snapshot(tree).items()
                if path.relative_to(tree).parts[0] != ignored}

    def test_form(self):
        names = sorted(path.name for path in self.patches.iterdir())
        self.assertEqual(names[0], '0000-cover-letter.patch')
        last = str(len(names) - 1)
        for i, name in enumerate(names):
            text = (self.patches / name).read_text()
            self.assertIn(f'[PATCH {i:0{len(last)}}/{last}]', text)
            if i > 0:
                self.assertIn('\nSigned-off-by: Tester <tester@', text)

    # checkpatch.pl does not know the lists that QAPI generates, nor that a
    # macro can be an element of an initializer, nor what GLib makes of a
    # quark's name.
    MISTAKEN = ("spaces required around that '*'",
                "spaces required around that '-'",
                'Macros with complex values')

    def test_checkpatch(self):
        for path in sorted(self.patches.glob('*.patch'))[1:]:
            with self.subTest(patch=path.name):
                done = run(QEMU_SOURCE / 'scripts' / 'checkpatch.pl',
                           '--no-tree', '--terse', path, cwd=QEMU_SOURCE)
                errors = [line for line in done.stdout.splitlines()
                          if ': ERROR: ' in line
                          and not any(text in line for text in self.MISTAKEN)]
                self.assertEqual(errors, [])
