# Tests of scripts/graft.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import shutil
import tomllib
import unittest

from common import REPO, SCRIPTS, ScriptTestCase, run, snapshot
from overlay import Edit, OverlayError, load_series

GRAFT = SCRIPTS / 'graft'


class Graft(ScriptTestCase):

    def setUp(self):
        super().setUp()
        self.tree = self.make_pristine_tree()

    def test_second_run_changes_nothing(self):
        self.run_ok(GRAFT, self.tree)
        before = snapshot(self.tree)
        self.run_ok(GRAFT, self.tree)
        self.assertEqual(snapshot(self.tree), before)

    def test_links_lead_to_the_overlay(self):
        self.run_ok(GRAFT, self.tree)
        for patch in load_series():
            for name in patch.files:
                self.assertTrue((self.tree / name).is_symlink(), name)
                self.assertTrue((self.tree / name).samefile(REPO / name), name)

    def test_remove_restores_the_tree(self):
        before = {path: content
                  for path, (content, _) in snapshot(self.tree).items()}
        self.run_ok(GRAFT, self.tree)
        self.run_ok(GRAFT, '--remove', self.tree)
        after = {path: content
                 for path, (content, _) in snapshot(self.tree).items()}
        self.assertEqual(after, before)
        self.assertFalse((self.tree / '.vlink').exists())
        self.assertFalse((self.tree / 'hw/net/vlink').exists())

    def test_check(self):
        self.assertIn('not current',
                      self.run_error(GRAFT, '--check', self.tree))
        self.run_ok(GRAFT, self.tree)
        done = self.run_ok(GRAFT, '--check', self.tree)
        self.assertEqual(done.stdout, 'grafted and current\n')

    def test_check_names_a_lost_link(self):
        self.run_ok(GRAFT, self.tree)
        (self.tree / 'hw/net/vlink/ipvlan.c').unlink()
        self.assertIn('hw/net/vlink/ipvlan.c',
                      self.run_error(GRAFT, '--check', self.tree))

    def spoil_anchor(self, old, new):
        """Change QEMU's file, graft, and return what the error says."""
        path = self.tree / 'hw/net/meson.build'
        path.write_text(path.read_text().replace(old, new))
        before = snapshot(self.tree)
        error = self.run_error(GRAFT, self.tree)
        self.assertEqual(snapshot(self.tree), before)
        return error

    def test_missing_anchor(self):
        error = self.spoil_anchor("subdir('can')", '')
        self.assertIn('hw/net/meson.build', error)
        self.assertIn(r"^subdir\('can'\)$", error)
        self.assertIn('not found', error)

    def test_ambiguous_anchor(self):
        error = self.spoil_anchor("subdir('can')\n", "subdir('can')\n" * 2)
        self.assertIn('hw/net/meson.build', error)
        self.assertIn('found 2 times', error)

    def test_keeps_a_change_of_the_users(self):
        self.run_ok(GRAFT, self.tree)
        path = self.tree / 'net/net.c'
        path.write_text(path.read_text() + '/* mine */\n')
        for option in ([], ['--check'], ['--remove']):
            error = self.run_error(GRAFT, *option, self.tree)
            self.assertIn('net/net.c', error)
        self.assertTrue(path.read_text().endswith('/* mine */\n'))

    def test_grafts_again_what_was_restored(self):
        pristine = (self.tree / 'net/net.c').read_text()
        self.run_ok(GRAFT, self.tree)
        grafted = (self.tree / 'net/net.c').read_text()
        (self.tree / 'net/net.c').write_text(pristine)
        self.run_ok(GRAFT, self.tree)
        self.assertEqual((self.tree / 'net/net.c').read_text(), grafted)

    def test_keeps_a_file_of_the_same_name(self):
        path = self.tree / 'hw/net/vlink/ipvlan.c'
        path.parent.mkdir()
        path.write_text('mine')
        self.assertIn(str(path), self.run_error(GRAFT, self.tree))
        self.assertEqual(path.read_text(), 'mine')

    def test_refuses_another_version(self):
        (self.tree / 'VERSION').write_text('9.2.0\n')
        error = self.run_error(GRAFT, self.tree)
        self.assertIn('9.2.0', error)
        self.assertIn('10.0', error)

    def test_refuses_what_is_not_qemu(self):
        self.assertIn('not a source tree of QEMU',
                      self.run_error(GRAFT, self.tmp))


class ChangedOverlay(ScriptTestCase):
    """What happens to a grafted tree when the overlay changes."""

    def setUp(self):
        super().setUp()
        self.tree = self.make_pristine_tree()
        self.repo = self.tmp / 'repo'
        for name in run('git', '-C', REPO, 'ls-files', '--cached', '--others',
                        '--exclude-standard').stdout.splitlines():
            if (REPO / name).exists():
                path = self.repo / name
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPO / name, path)
        self.run_ok('git', 'init', '--quiet', self.repo)
        self.graft = self.repo / 'scripts' / 'graft'
        self.run_ok(self.graft, self.tree)

    def test_an_edit_is_replaced(self):
        patch = self.repo / 'subprojects/qemu/patches/01-net-deleted.toml'
        patch.write_text(patch.read_text().replace('NetDeleted', 'NetGone'))
        self.assertIn('include/net/net.h',
                      self.run_error(self.graft, '--check', self.tree))
        self.run_ok(self.graft, self.tree)
        text = (self.tree / 'include/net/net.h').read_text()
        self.assertEqual(text.count('NetGone *deleted;'), 1)
        self.assertNotIn('NetDeleted', text)

    def test_a_patch_is_taken_back(self):
        name = 'include/qemu/compiler.h'
        pristine = (self.tree / '.vlink/orig' / name).read_text()
        (self.repo / 'subprojects/qemu/patches/02-uninitialized.toml').unlink()
        self.run_ok(self.graft, self.tree)
        self.assertEqual((self.tree / name).read_text(), pristine)

    def test_files_come_and_go(self):
        added = self.repo / 'subprojects/libvlink/more/new.c'
        added.parent.mkdir()
        added.write_text('/* new */\n')
        self.run_ok(self.graft, self.tree)
        link = self.tree / 'subprojects/libvlink/more/new.c'
        self.assertEqual(link.read_text(), '/* new */\n')

        added.unlink()
        self.assertIn('more/new.c',
                      self.run_error(self.graft, '--check', self.tree))
        self.run_ok(self.graft, self.tree)
        self.assertFalse(link.parent.exists())


class Edits(unittest.TestCase):
    """One edit, of a file of four lines."""

    @staticmethod
    def apply(where, anchor, text='new\n'):
        table = {'file': 'f', 'anchor': anchor, 'where': where, 'text': text}
        return Edit('p.toml', table).apply('one\ntwo\nthree\nfour\n')

    def test_whole_lines(self):
        self.assertEqual(self.apply('before', 'wo\nth'),
                         'one\nnew\ntwo\nthree\nfour\n')
        self.assertEqual(self.apply('after', 'wo\nth'),
                         'one\ntwo\nthree\nnew\nfour\n')
        self.assertEqual(self.apply('instead', 'wo\nth'),
                         'one\nnew\nfour\n')

    def test_first_and_last_line(self):
        self.assertEqual(self.apply('instead', '^one\n'),
                         'new\ntwo\nthree\nfour\n')
        self.assertEqual(self.apply('instead', '^four$', ''),
                         'one\ntwo\nthree\n')

    def test_refuses_another_place(self):
        with self.assertRaisesRegex(OverlayError, 'p.toml.*"above"'):
            self.apply('above', 'two')


class Series(unittest.TestCase):
    """The data of the patches."""

    # What stands below a directory of the overlay, but is not for QEMU.
    OURS_ALONE = ('tests/scripts/', 'tests/bench/', 'tests/fuzz/',
                  'tests/libvirt/', 'tests/oracle/', 'tests/soak/',
                  'subprojects/qemu/')

    def test_every_file_is_in_one_patch(self):
        carried = [name for patch in load_series() for name in patch.files]
        self.assertEqual(sorted(set(carried)), sorted(carried))
        listed = run('git', '-C', REPO, 'ls-files', 'hw', 'include', 'tests',
                     'subprojects', 'docs/system', 'docs/devel').stdout
        missing = [name for name in listed.splitlines()
                   if name not in carried and (REPO / name).exists()
                   and not name.startswith(self.OURS_ALONE)]
        self.assertEqual(missing, [])

    def test_every_text_is_used(self):
        edits = REPO / 'subprojects/qemu/edits'
        used = set()
        for path in (REPO / 'subprojects/qemu/patches').glob('*.toml'):
            for edit in tomllib.loads(path.read_text()).get('edit', []):
                used.add(edit.get('text-file'))
        self.assertEqual({path.name for path in edits.iterdir()} - used, set())
