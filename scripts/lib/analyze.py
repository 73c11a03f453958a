# Runs the analysers over the files that each can read, and counts what they
# find; scripts/analyze starts it.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from overlay import REPO, list_overlay

QEMU_BUILD = REPO / 'build' / 'qemu'
OUTPUT = REPO / 'build' / 'analysis'
SETTINGS = REPO / 'scripts' / 'lib' / 'analysis'

PRODUCT = ['subprojects/libvlink/**/*.c', 'hw/net/vlink/*.c']

# All of the static analyser, but for what asks for C11's Annex K, memcpy_s()
# and the like, which glibc does not have.
CLANG_CHECKS = ('-*,clang-analyzer-*,-clang-analyzer-security.insecureAPI.'
                'DeprecatedOrUnsafeBufferHandling')

# What QEMU tells gcc and clang 14 does not know; neither changes what the code
# means.
GCC_ONLY = {'-ftrivial-auto-var-init=zero', '-fzero-call-used-regs=used-gpr'}

FINDING = re.compile(r'^(?P<file>[^\s:]+):(?P<line>\d+):(\d+:)? ?'
                     r'(?P<text>(?!.*\bnote:).*)$', re.MULTILINE)


def run(*command):
    """A command's output, and whether it was content."""
    done = subprocess.run([str(word) for word in command], cwd=REPO,
                          text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout, done.returncode == 0


def our_name(file, base=REPO):
    """The overlay's file behind a link in QEMU's tree."""
    path = (base / file).resolve()
    return str(path.relative_to(REPO)) if path.is_relative_to(REPO) else file


def findings(output, content, base=REPO):
    """What OUTPUT tells: one line each; a tool that failed says something."""
    found = {f'{our_name(match["file"], base)}:{match["line"]}: {match["text"]}'
             for match in FINDING.finditer(output)}
    if not content and not found:
        found = {line for line in output.splitlines() if line}
        found = found or {'it failed without a word'}
    return sorted(found)


def whole(*command):
    """Run a tool that takes all files at once."""
    return findings(*run(*command))


# ---- what there is to read ----

def first_line(name):
    with open(REPO / name, errors='replace') as file:
        return file.readline()


def written_in(suffix, interpreter):
    """The repository's programs, by name or by their first line."""
    shebang = re.compile(rf'#!\S*({interpreter})\b')
    return [name for name in list_overlay(['.'])
            if name.endswith(suffix) or shebang.match(first_line(name))]


def compile_commands():
    """What compiled our files, by their names in the overlay."""
    database = json.loads((QEMU_BUILD / 'compile_commands.json').read_text())
    return {our_name(entry['file'], QEMU_BUILD): entry for entry in database}


def write_database(names):
    commands = compile_commands()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    entries = []
    for name in names:
        entry = commands[name]
        words = [word for word in shlex.split(entry['command'])
                 if word not in GCC_ONLY and not word.endswith('ccache')]
        entries.append({'directory': entry['directory'], 'arguments': words,
                        'file': str(QEMU_BUILD / entry['file'])})
    (OUTPUT / 'compile_commands.json').write_text(json.dumps(entries))
    return [entry['file'] for entry in entries]


# ---- the tools ----

def clang():
    names = list_overlay(PRODUCT)
    paths = write_database(names)

    def read(path):
        return findings(*run('clang-tidy', '--quiet', '-p', OUTPUT,
                             f'--checks={CLANG_CHECKS}',
                             '--extra-arg=-Wno-unknown-warning-option', path),
                        QEMU_BUILD)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = {line for lines in pool.map(read, paths) for line in lines}
    return names, sorted(found)


def cppcheck():
    names = list_overlay(PRODUCT)
    return names, whole(
        'cppcheck', '--quiet', f'-j{os.cpu_count()}', '--error-exitcode=1',
        '--enable=warning,performance,portability,style', '--template=gcc',
        '--library=gtk', f'--library={SETTINGS / "qemu.cfg"}',
        f'--suppressions-list={SETTINGS / "cppcheck.txt"}',
        '-Isubprojects', '-Iinclude', '-D_GNU_SOURCE', *names)


def pyflakes():
    names = written_in('.py', 'python3')
    return names, whole('pyflakes3', *names)


def pycodestyle():
    names = written_in('.py', 'python3')
    return names, whole('pycodestyle', f'--config={SETTINGS / "pycodestyle"}',
                        *names)


def shellcheck():
    names = written_in('.sh', 'bash|sh')
    return names, whole('shellcheck', '--format=gcc', '--external-sources',
                        '--source-path=SCRIPTDIR', *names)


def main():
    rows = []
    for tool in sys.argv[1:]:
        names, found = globals()[tool]()
        for line in found:
            print(f'{tool}: {line}', flush=True)
        rows.append((tool, len(names), len(found)))

    print(f'{"tool":<12} {"files":>6} {"findings":>9}')
    for tool, files, found in rows:
        print(f'{tool:<12} {files:>6} {found:>9}')
    if any(found for _, _, found in rows):
        sys.exit('analyze: there are findings')
    if not all(files for _, files, _ in rows):
        sys.exit('analyze: a tool had no file to read')


if __name__ == '__main__':
    main()
