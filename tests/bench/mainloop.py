# How long QEMU's main loop is held; bench.py starts it in namespaces of its
# own.
#
# usage: mainloop.py PARAMETERS.json RESULTS.json
#
# While a guest is loaded, the monitor is asked for the machine's status again
# and again: the main loop answers, so that whatever holds it holds up the
# answer, too.  And where the kernel has uprobes, the calls of libvlink's
# deferred work are timed one by one.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import contextlib
import os
import re
import statistics
import subprocess
import sys
import threading
import time

from endtoend import bench_main, row, series
from machines import BenchError, run
from measures import Cell, Tcp, measure_group

# What libvlink has QEMU's main loop call later.
DEFERRED = 'poller_round'

INTERVAL = 0.001                # seconds between two questions
ALL_PORTS_DISCARD = 9


class Questions(threading.Thread):
    """Asks the monitor until it is told to stop."""

    def __init__(self, monitor):
        super().__init__(daemon=True)
        self.monitor = monitor
        self.took = []          # microseconds
        self.ended = threading.Event()

    def run(self):
        # The host's processors are busy, and this must not wait for them.
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -15)
        while not self.ended.wait(INTERVAL):
            start = time.monotonic_ns()
            self.monitor.ask('query-status')
            self.took.append((time.monotonic_ns() - start) / 1e3)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()


def file_offset(binary, symbol):
    """Where a function of an ELF file begins in it; None: it has no such."""
    found = re.search(rf'^([0-9a-f]+) [tT] {symbol}$', run('nm', str(binary)),
                      re.MULTILINE)
    if not found:
        return None
    address = int(found[1], 16)
    loads = re.findall(r'^ *LOAD +(0x\w+) (0x\w+) 0x\w+ (0x\w+)',
                       run('readelf', '-lW', str(binary)), re.MULTILINE)
    for offset, start, size in ((int(n, 16) for n in load) for load in loads):
        if start <= address < start + size:
            return address - start + offset
    return None


class Holds:
    """Times the calls of deferred work in one QEMU."""

    def __init__(self, program, machine, offset):
        self.command = [str(program), str(machine.process.pid),
                        str(machine.lab.qemu), str(offset)]
        self.calls = []         # microseconds: by the clock, on a processor

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != 'ready':
            raise BenchError(self.process.stderr.read().strip())
        return self

    def __exit__(self, *_):
        output, _ = self.process.communicate()
        self.calls = [[int(ns) / 1e3 for ns in line.split()]
                      for line in output.splitlines()]


class Storm(Cell):
    """Broadcasts into the guest, as many as the host can send."""

    def __init__(self, machine, seconds):
        super().__init__(machine)
        self.milliseconds = str(max(1, int(seconds * 1000)))

    def measure(self):
        sent = run(str(self.machine.lab.rr), 'storm', self.machine.broadcast,
                   str(ALL_PORTS_DISCARD), self.milliseconds)
        return {'sent': int(sent)}


class Held(Cell):
    """How long the main loop is held while @load is measured."""

    def __init__(self, load, timer):
        super().__init__(load.machine)
        self.load = load
        self.timer = timer      # makes a Holds, or NULL

    def warm_up(self):
        self.load.warm_up()

    def measure(self):
        timer = self.timer(self.machine) if self.timer else None
        with contextlib.ExitStack() as stack:
            if timer:
                stack.enter_context(timer)
            questions = stack.enter_context(Questions(self.machine.monitor))
            self.load.measure()
        figures = {'p99': statistics.quantiles(questions.took, n=100)[98],
                   'longest': max(questions.took)}
        if timer:
            by_clock, worked = zip(*timer.calls or [(0, 0)])
            figures.update(by_clock=max(by_clock), worked=max(worked),
                           calls=len(timer.calls))
        return figures


class MainLoop:
    def __init__(self, lab, parameters):
        self.lab = lab
        self.seconds = parameters['seconds']
        self.rounds = parameters['rounds']
        self.others = 0
        self.asked, self.called = [], []
        self.note = None
        self.timer = self.make_timer(parameters['holds'])

    def make_timer(self, program):
        offset = file_offset(self.lab.qemu, DEFERRED)
        if offset is None:
            self.note = f'This QEMU has no function {DEFERRED} to be timed.'
            return None

        def timer(machine):
            return Holds(program, machine, offset)
        return timer

    def check_timer(self, machine):
        """Whether the kernel can do it is known once it has tried."""
        try:
            if self.timer:
                with self.timer(machine):
                    pass
        except BenchError as error:
            self.note = f'Deferred work was not timed: {error}.'
            self.timer = None

    def measure(self, case, names, make_load):
        self.lab.boot(names)
        self.lab.wake_up(names)
        self.check_timer(self.lab.machines[names[-1]])
        bare, *ours = cells = [
            Held(make_load(self.lab.machines[name]),
                 self.timer if 'ipvlan' in name else None) for name in names]
        busy = measure_group(f'main loop: {case}', cells, self.rounds)
        self.others = max(self.others, busy)
        self.lab.sleep(names)

        for name, cell in zip(names[1:], ours):
            for figure in 'p99', 'longest':
                self.asked.append(row(
                    f'{case}, {figure}', 'µs', series(name, cell, figure),
                    (series('tap', bare, figure), None)))
            if self.timer:
                self.add_calls(f'{case}, {name}', cell)

    def add_calls(self, case, cell):
        self.called.append({**row(f'{case}, on a processor', 'µs',
                                  series('longest', cell, 'worked')),
                            'goal': '<= 1000'})
        self.called.append(row(f'{case}, by the clock', 'µs',
                               series('longest', cell, 'by_clock')))

    def run(self):
        names = ['tap', 'tap+ipvlan 1', 'tap+ipvlan 8']
        for direction, out in (('guest → host', True),
                               ('host → guest', False)):
            self.measure(f'TCP {direction}', names[:2],
                         lambda machine: Tcp(machine, self.seconds, out))
        self.measure('broadcast storm', names,
                     lambda machine: Storm(machine, self.seconds))
        sections = [{'title': 'The time until the main loop answers',
                     'rows': self.asked},
                    {'title': 'Calls of deferred work in QEMU, the longest of '
                              'each round', 'rows': self.called}]
        if self.note:
            sections[-1]['note'] = self.note
        return {'sections': sections, 'others': self.others}


if __name__ == '__main__':
    bench_main(sys.argv[1:], MainLoop)
