# The bench with real guests; bench.py starts it in namespaces of its own.
#
# usage: endtoend.py PARAMETERS.json RESULTS.json
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import sys
import tempfile
from pathlib import Path

from machines import BenchError, Lab, SLAVES
from measures import (RoundTrips, SmallUdp, Tcp, TcpAll, TcpSiblings,
                      measure_group)


TITLE = 'End to end, with guests'


def series(name, cell, figure='rate'):
    return {'name': name, 'samples': cell.samples[figure]}


def row(case, unit, ours, *baselines):
    """@ours and each of @baselines: (series, goal)."""
    return {'case': case, 'unit': unit, 'ours': ours,
            'baselines': [{**s, 'goal': goal} for s, goal in baselines]}


class EndToEnd:
    def __init__(self, lab, parameters):
        self.lab = lab
        self.seconds = parameters['seconds']
        self.rounds = parameters['rounds']
        self.quick = parameters['quick']
        self.rows = []
        self.others = 0

    def machine(self, name):
        return self.lab.machines[name]

    def measure(self, title, names, cells):
        self.lab.wake_up(names)
        self.others = max(self.others,
                          measure_group(title, cells, self.rounds))
        self.lab.sleep(names)

    # ---- a tap ----

    def tap(self, out):
        """One slave against a bare tap and a hub, and more slaves."""
        direction = 'guest → host' if out else 'host → guest'
        many = SLAVES[-1:] if self.quick else SLAVES[1:]
        names = ['tap', 'tap+hub', 'tap+ipvlan 1']
        names += [f'tap+ipvlan {n}' for n in many]
        self.lab.boot(names)

        bare, hub, one, *idle = cells = [
            Tcp(self.machine(name), self.seconds, out) for name in names]
        busy = [TcpAll(cell.machine, self.seconds, out) for cell in idle]
        self.measure(f'TCP {direction} over a tap', names, cells + busy)

        case = f'TCP {direction}, tap'
        ours = series('tap+ipvlan', one)
        self.rows.append(row(case, 'Mbit/s', ours,
                             (series('tap', bare), '>= 0.97'),
                             (series('tap+hub', hub), '>= 2.0')))
        for what, group in ('1 busy', idle), ('all busy', busy):
            for n, cell in zip(many, group):
                self.rows.append(row(
                    f'TCP {direction}, {n} slaves, {what}', 'Mbit/s',
                    series(f'tap+ipvlan {n}', cell),
                    (series('1 slave', one), None),
                    (series('tap', bare), None)))

    # ---- the user-mode stack ----

    def slirp(self, out):
        direction = 'guest → host' if out else 'host → guest'
        names = ['slirp', 'slirp+ipvlan']
        self.lab.boot(names)
        bare, one = cells = [Tcp(self.machine(name), self.seconds, out)
                             for name in names]
        self.measure(f'TCP {direction} over slirp', names, cells)
        self.rows.append(row(f'TCP {direction}, slirp', 'Mbit/s',
                             series('slirp+ipvlan', one),
                             (series('slirp', bare),
                              '>= 1.3' if out else '>= 1.2')))

    # ---- slave to slave ----

    def siblings(self):
        names = ['tap+ipvlan 2', 'hub of 2', 'tap+hub of 2']
        self.lab.boot(names)
        ours, hub, tap_hub = cells = [
            TcpSiblings(self.machine(name), self.seconds) for name in names]
        self.measure('TCP slave → slave', names, cells)
        self.rows.append(row('TCP slave → slave', 'Mbit/s',
                             series('tap+ipvlan', ours),
                             (series('hub', hub), '>= 2.5'),
                             (series('tap+hub', tap_hub), '>= 2.5')))

    # ---- slaves in other processes ----

    def peers(self):
        """What sockets cost, and what is left of it for the switch."""
        names = ['tap+ipvlan 2', 'stream, switch', 'dgram, switch', 'stream']
        self.lab.boot(names)
        inside, stream, dgram, direct = cells = [
            TcpSiblings(self.machine(name), self.seconds) for name in names]
        self.measure('TCP between stock QEMUs', names, cells)
        for link, ours in ('stream', stream), ('dgram', dgram):
            self.rows.append(row(
                f'TCP stock QEMU → stock QEMU, {link}', 'Mbit/s',
                series('switch', ours),
                (series('inside one QEMU', inside), None),
                (series('stream, no switch', direct), None)))

    # ---- small packets ----

    def small_udp(self, out):
        direction = 'guest → host' if out else 'host → guest'
        names = ['tap', 'tap+ipvlan 1']
        self.lab.boot(names)
        bare, ours = cells = [SmallUdp(self.machine(name), out)
                              for name in names]
        self.measure(f'UDP {direction}, 64 bytes', names, cells)
        self.rows.append(row(f'UDP 64 B {direction}', 'packets/s',
                             series('tap+ipvlan', ours),
                             (series('tap', bare), '>= 0.95')))

    def round_trips(self):
        names = ['tap', 'tap+ipvlan 1']
        self.lab.boot(names)
        bare, ours = cells = [RoundTrips(self.machine(name), self.seconds)
                              for name in names]
        self.measure('round trips', names, cells)
        for figure in 'median', 'p99':
            self.rows.append(row(f'TCP round trip, {figure}', 'µs',
                                 series('tap+ipvlan', ours, figure),
                                 (series('tap', bare, figure), None)))

    def run(self):
        for out in True, False:
            self.tap(out)
        for out in True, False:
            self.slirp(out)
        self.siblings()
        self.peers()
        for out in True, False:
            self.small_udp(out)
        self.round_trips()
        return {'sections': [{'title': TITLE, 'rows': self.rows}],
                'others': self.others}


def bench_main(paths, bench):
    """What the programs that boot guests have in common."""
    parameters, results = map(Path, paths)
    p = json.loads(parameters.read_text())
    try:
        with tempfile.TemporaryDirectory(dir=p['tmp']) as tmp:
            lab = Lab(Path(p['qemu']), Path(p['guest']), Path(p['rr']),
                      Path(tmp))
            results.write_text(json.dumps(bench(lab, p).run()))
    except BenchError as error:
        sys.exit(f'bench: {error}')
    except KeyboardInterrupt:
        sys.exit(1)


if __name__ == '__main__':
    bench_main(sys.argv[1:], EndToEnd)
