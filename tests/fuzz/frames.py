# Inputs for fuzz-frame, of frames that the unit tests have sent.
#
# What grammar.c and fuzz-frame.c read: a port, its slaves, then steps.
#
# SPDX-License-Identifier: GPL-2.0-or-later

FRAME_MAX = 900                 # what an input has room for, see fuzz.py
FRAMES_MAX = 256                # more take longer to run than to find

# Two slaves, one of which owns and one of which learns; then no options of a
# router.  By mode: l2, l2-macnat, l3, l3s.
PORTS = [bytes([0x18 + mode, 0, 0x21, 0, 0x24, 0]) for mode in range(4)]
ROUTER = b'\0'

SEND = b'\0'
RAW = b'\0'
UNDRESSED = b'\0' + bytes(3)    # as it is, in one piece
FROM = {'user': b'\0', 'wire': b'\7\0'}


def step(name, frame):
    """The frame of a file of that name, sent."""
    return (SEND + FROM[name.split('-')[0]] + RAW +
            len(frame).to_bytes(2, 'big') + frame + UNDRESSED)


def inputs(directory):
    """Frames from all over DIRECTORY, each in each mode."""
    paths = sorted(directory.iterdir())
    for path in paths[::max(1, len(paths) // FRAMES_MAX)]:
        frame = path.read_bytes()
        if len(frame) > FRAME_MAX or path.name.split('-')[0] not in FROM:
            continue
        for mode, port in enumerate(PORTS):
            yield (port + (ROUTER if mode >= 2 else b'') +
                   step(path.name, frame))
