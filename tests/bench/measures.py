# What is measured between the host and its guests, and in which order.
#
# A cell is one figure of one machine.  Cells that are compared are in one
# group, and are measured in turn, round after round, A B C C B A: whatever
# else the host does meanwhile, it does to all of them.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import statistics
import sys
import time
from pathlib import Path

from machines import iperf_result, retry

MBIT = 1e6
DATAGRAM = 64                   # bytes of payload


def progress(text):
    print(f'    {text}', file=sys.stderr, flush=True)


class Cell:
    """A figure of one machine: @measure returns {figure: value}."""

    def __init__(self, machine):
        self.machine = machine
        self.samples = {}

    def take(self):
        for figure, value in self.measure().items():
            self.samples.setdefault(figure, []).append(value)

    def warm_up(self):
        pass

    def measure(self):
        raise NotImplementedError


class Sized(Cell):
    """
    A cell whose samples are of so many bytes, or packets, that each takes
    about @seconds: iperf3 itself knows only whole seconds.
    """

    FIRST = 0                   # size of the first, which is not counted
    UNIT = 1

    def __init__(self, machine, seconds):
        super().__init__(machine)
        self.seconds = seconds
        self.size = self.FIRST

    def warm_up(self):
        rate = self.transfer(self.size)
        self.size = int(max(rate / self.UNIT * self.seconds, 1000))

    def measure(self):
        return {'rate': self.transfer(self.size)}


class Tcp(Sized):
    """Mbit/s of one connection between the host and a guest's card."""

    FIRST = 16 << 20
    UNIT = 8 / MBIT

    def __init__(self, machine, seconds, out):
        super().__init__(machine, seconds)
        self.args = ['-R'] if out else []

    def transfer(self, size):
        report = self.machine.card.iperf('-n', str(size), *self.args)
        return report['end']['sum_received']['bits_per_second'] / MBIT


class TcpAll(Cell):
    """Mbit/s of a connection to each of a guest's cards, all at once."""

    def __init__(self, machine, seconds, out):
        super().__init__(machine)
        self.args = ['-t', str(max(1, round(seconds)))]
        if out:
            self.args.append('-R')

    def attempt(self):
        clients = [c.iperf_start(*self.args) for c in self.machine.cards]
        for client in clients:
            client.wait()
        return [iperf_result(client) for client in clients]

    def measure(self):
        reports = retry(self.attempt)
        return {'rate': sum(r['end']['sum_received']['bits_per_second']
                            for r in reports) / MBIT}


class TcpSiblings(Sized):
    """Mbit/s of one connection between two cards, of one guest or two."""

    FIRST = 16 << 20
    UNIT = 8 / MBIT

    def transfer(self, size):
        client, server = self.machine.cards
        words = client.machine.check(client.inside(
            f'iperf3 -f k -c {server.addr} -n {size} | grep receiver')).split()
        return float(words[words.index('Kbits/sec') - 1]) * 1e3 / MBIT


class SmallUdp(Cell):
    """
    Datagrams a second that get to the other side's network card, where as
    many are sent as can be.
    """

    def __init__(self, machine, out):
        super().__init__(machine)
        self.args = ['-u', '-b', '0', '-l', str(DATAGRAM), '-t', '1']
        self.arrived = machine.card.received
        if out:
            self.args.append('-R')
            self.arrived = machine.tap_received

    def measure(self):
        before = self.arrived()
        report = self.machine.card.iperf(*self.args)
        return {'rate': (self.arrived() - before) /
                report['end']['sum']['seconds']}


class RoundTrips(Sized):
    """Microseconds for a byte to the guest and one back: median and p99."""

    FIRST = 500

    def warm_up(self):
        median = self.measure()['median'] / 1e6
        self.size = max(500, int(self.seconds / median))

    def __init__(self, machine, seconds):
        super().__init__(machine, seconds)
        self.all = []

    def measure(self):
        took = [ns / 1e3 for ns in self.machine.card.rr(self.size)]
        return {'median': statistics.median(took),
                'p99': statistics.quantiles(took, n=100)[98]}


# ---- what else the host does ----

TICKS = os.sysconf('SC_CLK_TCK')


def ticks_of_all():
    """What all processors have spent on anything."""
    with open('/proc/stat') as stat:
        user, nice, system, _, _, irq, softirq = map(
            int, stat.readline().split()[1:8])
    return user + nice + system + irq + softirq


def ticks_of_ours():
    """The same for the processes of our namespace, and those that ended."""
    total = 0
    for path in Path('/proc').glob('[0-9]*/stat'):
        fields = path.read_text().rpartition(')')[2].split()
        total += sum(map(int, fields[11:15]))
    return total


class Others:
    """How many processors other programs keep busy."""

    def __init__(self):
        self.start = time.monotonic(), ticks_of_all() - ticks_of_ours()

    def cores(self):
        when, ticks = self.start
        return max(0, (ticks_of_all() - ticks_of_ours() - ticks) / TICKS /
                   (time.monotonic() - when))


def measure_group(title, cells, rounds):
    """
    Take @rounds samples of each of @cells, in turn.  Returns how many
    processors were busy with something else.
    """
    started = time.monotonic()
    others = Others()
    for cell in cells:
        cell.warm_up()
    for i in range(rounds):
        for cell in cells if i % 2 == 0 else reversed(cells):
            cell.take()
    busy = others.cores()
    progress(f'{title}: {rounds} rounds of {len(cells)} '
             f'in {time.monotonic() - started:.0f} s; '
             f'other programs used {busy:.2f} cores')
    return busy
