# What the tests of the scripts share.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
SCRIPTS = REPO / 'scripts'
QEMU_SOURCE = REPO / 'build' / 'qemu-src'

sys.path.insert(0, str(SCRIPTS / 'lib'))


def run(*command, **options):
    """Run a command to its end, with what it prints as text."""
    return subprocess.run([str(word) for word in command], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **options)


def snapshot(tree):
    """All files of TREE, with what a build looks at."""
    return {path: (path.read_bytes(), path.lstat().st_mtime_ns)
            for path in sorted(tree.rglob('*')) if path.is_file()}


class ScriptTestCase(unittest.TestCase):

    def setUp(self):
        self.tmp = Path(tempfile.mkdtemp(prefix='vlink-test-'))
        self.addCleanup(shutil.rmtree, self.tmp)

    def run_ok(self, *command, **options):
        done = run(*command, **options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def run_error(self, *command, **options):
        """The command must fail with one sentence, which is returned."""
        done = run(*command, **options)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(done.stderr.count('\n'), 1, done.stderr)
        return done.stderr

    def run_as_nobody(self, script, *args):
        """Run the script of this name as who may nothing."""
        # somebody else may not be allowed to look into this repository
        shutil.copytree(SCRIPTS, self.tmp / 'scripts')
        self.tmp.chmod(0o755)
        return run('setpriv', '--reuid=65534', '--clear-groups',
                   self.tmp / 'scripts' / script, *args)

    def make_pristine_tree(self, name='qemu'):
        """As much of QEMU's source as the series edits, not grafted."""
        from overlay import edited_files, load_series, pristine_text

        tree = self.tmp / name
        for name in ['VERSION', *edited_files(load_series())]:
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pristine_text(QEMU_SOURCE, name))
        return tree
