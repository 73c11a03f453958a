# From what the benches of libvlink print to tables.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import re
import statistics
from pathlib import Path

SIZES = [1, 16, 256, 4096, 65536]
SLAVES = [1, 4, 16, 64, 256]
WAYS = ['receive', 'send', 'sibling']
FAMILIES = ['IPv4', 'IPv6']
MODES = ['l2', 'l2-macnat']
BIG, SMALL = SIZES[-1], 16


def many(n):
    return f'{n:,}'


class Samples:
    """What was printed, by name."""

    def __init__(self, text):
        self.lines = [json.loads(line) for line in text.splitlines()]
        self.by_name = {line['what']: line for line in self.lines
                        if 'samples' in line}
        self.notes = {line['what']: line['note'] for line in self.lines
                      if 'note' in line}

    def series(self, what, name):
        return {'name': name,
                'samples': self.by_name.get(what, {}).get('samples', [])}

    def baseline(self, what, name, goal=None):
        """One that may be missing: then there is no line for it."""
        if what not in self.by_name:
            return []
        return [{**self.series(what, name), 'goal': goal}]

    def median(self, what, figure='samples'):
        samples = self.by_name.get(what, {}).get(figure)
        return statistics.median(samples) if samples else None


# ---- instructions ----

def read_callgrind(directory):
    """Instructions a unit, by name, from callgrind's dumps."""
    totals = {}
    for path in Path(directory).glob('out.*'):
        text = path.read_text(errors='replace')
        trigger = re.search(r'^desc: Trigger: Client Request: (\d+) (\w+) (.*)',
                            text, re.MULTILINE)
        summary = re.search(r'^summary: (\d+)', text, re.MULTILINE)
        if trigger and summary:
            n, kind, what = trigger.groups()
            totals[what, kind] = int(summary[1]) / int(n)
    return {what: total - totals.get((what, 'overhead'), 0)
            for (what, kind), total in totals.items() if kind == 'run'}


# ---- tables ----

def path_name(way, family, mode, n):
    return f'path/{way}/{family}/{mode}/{n}'


def each_path():
    for way in WAYS:
        for mode in MODES:
            for family in FAMILIES:
                yield way, family, mode


def path_matrix(title, unit, value):
    """A line for each way, family and mode; @value gives a cell."""
    return {'title': title, 'columns': [f'{unit}, by addresses',
                                        *map(many, SIZES)],
            'lines': [[f'{way} {family} {mode}',
                       *(value(path_name(way, family, mode, n))
                         for n in SIZES)]
                      for way, family, mode in each_path()]}


def instructions_matrix(s, counted):
    title = 'Instructions a packet'
    if counted:
        return path_matrix(f'{title}, counted by callgrind', 'instructions',
                           counted.get)
    matrix = path_matrix(f'{title}, counted by the processor', 'instructions',
                         lambda what: s.median(what, 'instructions'))
    if all(cell is None for line in matrix['lines'] for cell in line[1:]):
        matrix['note'] = ('This machine does not count instructions; without '
                          '--quick, valgrind does where it is installed.')
        matrix['lines'] = []
    return matrix


def growth(s):
    """65,536 addresses against 16."""
    return [{'case': f'{way} {family} {mode}, {many(BIG)}', 'unit': 'ns',
             'ours': s.series(path_name(way, family, mode, BIG), 'ipvlan'),
             'baselines': s.baseline(path_name(way, family, mode, SMALL),
                                     f'{SMALL} addresses', '<= 1.5')}
            for way, family, mode in each_path()]


def cost(s):
    """
    A packet's cost against 60 ns, or a lookup in DPDK's hash table.  Between
    siblings a packet is both sent and received: that has no goal of its own.
    """
    return [{'case': f'{way} {family} {mode}, {many(n)}', 'unit': 'ns',
             'ours': s.series(path_name(way, family, mode, n), 'ipvlan'),
             'goal': '<= 60', 'any': True,
             'baselines': s.baseline(f'lookup/rte_hash/{family}/{n}',
                                     'rte_hash', '<= 1.5')}
            for way, family, mode in each_path() if way != 'sibling'
            for n in (SMALL, BIG)]


def lookup_matrix(s):
    tables = [('ours', 'ipvlan'), ('rte_hash', 'rte_hash'),
              ('rte_lpm', 'rte_lpm')]
    matrix = {'title': 'Looking one of the addresses up, and nothing else',
              'columns': ['ns, by addresses', *map(many, SIZES)],
              'lines': [[f'{name} {family}',
                         *(s.median(f'lookup/{table}/{family}/{n}')
                           for n in SIZES)]
                        for family in FAMILIES for table, name in tables]}
    if 'dpdk' in s.notes:
        matrix['note'] = s.notes['dpdk'] + '.'
        matrix['lines'] = [line for line in matrix['lines']
                           if not line[0].startswith('rte_')]
    return matrix


def fanout_matrix(s):
    frame = [s.median(f'fanout/{n}') for n in SLAVES]
    return {'title': 'Broadcast from the uplink to all slaves',
            'columns': ['ns, by slaves', *map(many, SLAVES)],
            'lines': [['a frame', *frame],
                      ['a copy', *(f / n for f, n in zip(frame, SLAVES))]]}


def offload_rows(s):
    def one(what, size, case):
        return {'case': case, 'unit': 'GB/s',
                'ours': s.series(f'offload/{what}/{size}', 'libvlink'),
                'baselines': s.baseline(f'offload/memcpy/{size}', 'memcpy')}
    return [
        one('checksum', 65536, 'checksum of 64 KiB'),
        one('checksum', 1448, 'checksum of 1,448 bytes'),
        one('complete', 1448, 'parse, complete a checksum of 1,448 bytes'),
        one('cut IPv4', 65536, 'parse, cut 64 KiB of TCP over IPv4'),
        one('cut IPv6', 65536, 'parse, cut 64 KiB of TCP over IPv6'),
        one('cut and copy IPv4', 65536, 'the same and copy, IPv4'),
        one('cut and copy IPv6', 65536, 'the same and copy, IPv6'),
    ]


def hold_rows(s):
    return [{'case': what.partition('/')[2], 'unit': 'µs', 'goal': '<= 1000',
             'ours': s.series(what, 'ipvlan'), 'baselines': []}
            for what in s.by_name if what.startswith('hold/')]


def router_rows(s):
    """What a router costs, and a filter, beside l2."""
    goals = {('sibling', 'l3'): '<= 1.3', ('sibling', 'l3s tracked'): '<= 2'}
    return [{'case': f'{way} {family} {proto}, {mode}', 'unit': 'ns',
             'ours': s.series(f'router/{way}/{family}/{proto}/{mode}', mode),
             'baselines': s.baseline(f'router/{way}/{family}/{proto}/l2',
                                     'l2', goals.get((way, mode)))}
            for way in ('sibling', 'send', 'receive')
            for mode in ('l2-macnat', 'l3', 'l3s tracked', 'l3s by rules')
            for family in FAMILIES for proto in ('UDP', 'TCP')]


def sections(s, counted):
    return [
        path_matrix('Parse, look up, decide: time a packet', 'ns', s.median),
        instructions_matrix(s, counted),
        {'title': f'{many(BIG)} addresses against {SMALL}', 'rows': growth(s)},
        {'title': 'Time a packet against the goal', 'rows': cost(s)},
        {'title': 'l3 and l3s beside l2: 16 slaves, 10,000 flows, 10 rules',
         'rows': router_rows(s)},
        lookup_matrix(s),
        fanout_matrix(s),
        {'title': 'Checksums and segments', 'rows': offload_rows(s)},
        {'title': 'The longest call of deferred work (processor time)',
         'rows': hold_rows(s)},
    ]
