# From what bench-sched prints to tables.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json


def row(case, unit, value, goal=None):
    """Nothing here is repeated: the clock is virtual, all runs are the same."""
    return {'case': case, 'unit': unit, 'goal': goal, 'baselines': [],
            'ours': {'name': 'libvlink', 'samples': [value]}}


def weights(due):
    """As they were given: 1:2:4."""
    return ':'.join(str(round(share / min(due))) for share in due)


def shares_matrix(shares):
    lengths = list(dict.fromkeys(s['lengths'] for s in shares))
    lines = {}
    for s in shares:
        name = f'{s["limit"]}, {weights(s["due"])}'
        lines.setdefault(name, {})[s['lengths']] = s['error'] * 100
    return {'title': 'How far the worst off is from its share',
            'columns': ['%, by lengths of frames', *lengths],
            'lines': [[name, *(errors.get(n) for n in lengths)]
                      for name, errors in lines.items()]}


def shares_rows(shares):
    for limit in dict.fromkeys(s['limit'] for s in shares):
        worst = max(s['error'] for s in shares if s['limit'] == limit)
        yield row(f'shares of the {limit}, the worst of all', '%',
                  worst * 100, '<= 1')


def delay_rows(delays):
    for d in delays:
        beside = f'beside {d["greedy"]} with {d["length"]:,} bytes'
        if d['limit_mbps']:
            beside += f', {d["limit_mbps"]} Mbit/s each'
        # one frame of 65,000 bytes alone takes longer than the goal
        goal = '<= 100' if d['greedy'] and d['length'] <= 1514 else None
        yield row(f'delay {beside}, p99', 'µs', d['p99_us'], goal)
        yield row(f'delay {beside}, longest', 'µs', d['max_us'])


def rate_rows(rates):
    for r in rates:
        yield row(f'limit of {r["bps"] / 1e6:,.0f} Mbit/s, {r["lengths"]}',
                  '% of it', r['got'] * 100)


def sections(text):
    lines = [json.loads(line) for line in text.splitlines()]
    cases = {what: [line for line in lines if line['case'] == what]
             for what in ('shares', 'delay', 'rate')}
    lost = sum(line.get('lost', 0) for line in lines)
    return [
        shares_matrix(cases['shares']),
        {'title': 'Shares, delays and limits', 'rows': [
            *shares_rows(cases['shares']), *delay_rows(cases['delay']),
            *rate_rows(cases['rate']),
            row('frames lost towards a busy uplink', 'frames', lost,
                '== 0')]}]
