# A fuzzer's corpus in the tree: one file of text, with one input a line.
#
# Hundreds of tiny files of bytes are nothing to look at, and nothing that a
# change of them could be read from.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import base64
import binascii
import hashlib
import re


class CorpusError(Exception):
    """A line that is no input."""


def read(path):
    """The inputs, in order; a line that begins with # is a comment."""
    inputs = []
    lines = path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith('#'):
            continue
        try:
            inputs.append(base64.b64decode(line, validate=True))
        except binascii.Error as error:
            raise CorpusError(f'{path}:{number}: {error}') from error
    return inputs


def write(path, kept, found):
    """Write what is KEPT, which is text, and below it all that was FOUND."""
    lines = sorted((base64.b64encode(data).decode() for data in found),
                   key=lambda line: (len(line), line))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(kept + '\n'.join(['# found', *lines]) + '\n')


def kept(path):
    """The part of a corpus that no merge takes away: what once failed."""
    if not path.exists():
        return ''
    return re.split(r'^# found$', path.read_text(), flags=re.MULTILINE)[0]


def unpack(inputs, directory):
    """One file for each input, named as libFuzzer names them."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.iterdir():
        path.unlink()
    for data in inputs:
        (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)
