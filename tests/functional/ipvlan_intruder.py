# A guest that sends whatever it wants: ipvlan_hostile.c, put into the guest of
# the functional tests of -netdev ipvlan.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import subprocess

PROGRAM = 'ipvlan_hostile'


def cpio(name, data):
    """An archive of one file, that the kernel unpacks over an initrd."""
    out = bytearray()
    for name, mode, data in (name, 0o100755, data), ('TRAILER!!!', 0, b''):
        fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        out += b'070701' + b''.join(b'%08X' % field for field in fields)
        for part in name.encode() + b'\0', data:
            out += part
            out += bytes(-len(out) % 4)
    return bytes(out)


def compile_program(path):
    source = os.path.join(os.path.dirname(os.path.realpath(__file__)),
                          f'{PROGRAM}.c')
    subprocess.run(['cc', '-O2', '-static', '-D_GNU_SOURCE', '-o', path,
                    source], check=True)


class IntruderMixin:
    """For a test whose guest has the program."""

    def setUp(self):
        super().setUp()
        program = self.scratch_file(PROGRAM)
        compile_program(program)
        with open(program, 'rb') as file:
            archive = cpio(f'bin/{PROGRAM}', file.read())
        with open(self.initrd, 'rb') as file:
            image = file.read()
        self.initrd = self.scratch_file('initrd.img')
        with open(self.initrd, 'wb') as file:
            file.write(image + bytes(-len(image) % 512) + archive)

    def inject(self, card, frames):
        """Send frames as they are."""
        for frame in frames:
            # A line for each: a terminal takes no more than 4095 characters.
            card.check(f'{PROGRAM} frames eth0 {frame.hex()}')
