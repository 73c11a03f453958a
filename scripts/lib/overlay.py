# The overlay as a series of patches: what each patch of
# subprojects/qemu/patches carries, and what its edits make of a file of QEMU's.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
QEMU_DIR = REPO / 'subprojects' / 'qemu'
PATCH_DIR = QEMU_DIR / 'patches'
TEXT_DIR = QEMU_DIR / 'edits'

STATE = '.vlink'


class OverlayError(Exception):
    """What is wrong, in one sentence for the user."""


class ArgumentParser(argparse.ArgumentParser):
    """One that complains in one sentence, as our scripts do."""

    def error(self, message):
        raise OverlayError(f'{message} (--help says more)')


def run_main(main):
    """Run a script's main(), which raises what the user has to be told."""
    try:
        sys.exit(main())
    except OverlayError as error:
        sys.exit(f'{Path(sys.argv[0]).name}: {error}')
    except OSError as error:
        sys.exit(f'{Path(sys.argv[0]).name}: {error.filename}: '
                 f'{error.strerror}')


class Edit:
    """Lines for one file of QEMU's, next to those that its anchor matches,
    or in their place.
    """

    KEYS = {'file', 'anchor', 'where', 'text', 'text-file'}
    PLACES = ('before', 'after', 'instead')

    def __init__(self, patch, table):
        self.patch = patch
        self.check_keys(table)
        self.file = table['file']
        self.anchor = re.compile(table['anchor'], re.MULTILINE)
        self.where = table['where']
        self.text = self.load_text(table)

    def check_keys(self, table):
        unknown = set(table) - self.KEYS
        if unknown:
            raise OverlayError(f'{self.patch}: an edit has no '
                               f'{", ".join(sorted(unknown))}')
        if table['where'] not in self.PLACES:
            raise OverlayError(f'{self.patch}: an edit is "before", "after" or '
                               f'"instead" of its anchor, not '
                               f'"{table["where"]}"')

    @staticmethod
    def load_text(table):
        if 'text-file' in table:
            return (TEXT_DIR / table['text-file']).read_text()
        return table['text']

    def apply(self, content):
        """Insert whole lines next to or instead of those that match."""
        matches = list(self.anchor.finditer(content))
        if len(matches) != 1:
            found = 'not found' if not matches else \
                    f'found {len(matches)} times'
            raise OverlayError(f'{self.file}: the anchor '
                               f'"{self.anchor.pattern}" of {self.patch} '
                               f'is {found}')
        start = content.rfind('\n', 0, matches[0].start()) + 1
        end = content.find('\n', matches[0].end() - 1) + 1
        if self.where == 'before':
            end = start
        elif self.where == 'after':
            start = end
        return content[:start] + self.text + content[end:]


class Patch:
    """One patch: a commit message, files of the overlay, and edits."""

    def __init__(self, path):
        table = tomllib.loads(path.read_text())
        self.name = path.stem
        self.subject = table['subject']
        self.body = table['body']
        self.overlay = table.get('overlay', [])
        self.files = list_overlay(self.overlay)
        self.edits = [Edit(path.name, edit) for edit in table.get('edit', [])]

    def apply(self, contents):
        """Make the patch's edits in CONTENTS, a dict of texts by path."""
        for edit in self.edits:
            contents[edit.file] = edit.apply(contents[edit.file])


def list_overlay(pathspecs):
    """The repository's files that match, committed or not."""
    if not pathspecs:
        return []
    git = ['git', '-C', str(REPO), 'ls-files', '-z', '--cached', '--others',
           '--exclude-standard', '--', *(f':(glob){p}' for p in pathspecs)]
    done = subprocess.run(git, capture_output=True, text=True)
    if done.returncode:
        raise OverlayError(f'{REPO} is not a git repository')
    names = sorted(set(done.stdout.split('\0')) - {''})
    return [name for name in names if (REPO / name).exists()]


def load_series():
    """All patches, in order, but for those whose files are yet to come."""
    patches = [Patch(path) for path in sorted(PATCH_DIR.glob('*.toml'))]
    return [patch for patch in patches if patch.files or not patch.overlay]


def pristine_text(tree, name):
    """A file of QEMU's as it was before it was grafted."""
    kept = tree / STATE / 'orig' / name
    path = kept if kept.exists() else tree / name
    if not path.is_file():
        raise OverlayError(f'{tree} has no {name}')
    return path.read_text()


def edited_files(series):
    return sorted({edit.file for patch in series for edit in patch.edits})


def check_version(tree):
    """TREE must be QEMU 10.0."""
    try:
        version = (tree / 'VERSION').read_text().strip()
    except OSError:
        version = ''
    if not re.match(r'\d+\.\d+\.\d+', version):
        raise OverlayError(f'{tree} is not a source tree of QEMU')
    if not version.startswith('10.0.'):
        raise OverlayError(f'{tree} is QEMU {version}, but 10.0 is needed')
