# Prints what gcovr counted as a table, and judges it; scripts/coverage starts
# it.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import sys
from pathlib import Path

LIBRARY = 'subprojects/libvlink/'
KINDS = {'line': 'lines', 'branch': 'branches'}
ROW = '{:<28} {:>6} {:>6} {:>6}   {:>6} {:>6} {:>6}'


class TooLittle(Exception):
    """What is below its limit, in one sentence."""


def percent(part, whole):
    return 100 * part / whole if whole else 100


def cells(counts, kind):
    covered, total = counts[f'{kind}_covered'], counts[f'{kind}_total']
    # rounded down: 100.0 is all
    tenths = int(10 * percent(covered, total))
    return total, covered, f'{tenths // 10}.{tenths % 10}'


def print_row(name, counts):
    print(ROW.format(name, *cells(counts, 'line'), *cells(counts, 'branch')))


def print_table(summary):
    print(ROW.format('file', 'lines', 'run', '%', 'branch', 'taken', '%'))
    for file in sorted(summary['files'], key=lambda file: file['filename']):
        print_row(file['filename'].removeprefix(LIBRARY), file)
    print_row('total', summary)


def missed(line):
    if line.get('gcovr/noncode'):
        return None
    if not line['count']:
        return 'line'
    if any(not branch['count'] for branch in line['branches']):
        return 'branch'
    return None


def print_missing(details):
    for file in sorted(details['files'], key=lambda file: file['file']):
        for line in file['lines']:
            kind = missed(line)
            if kind:
                print(f'{file["file"]}:{line["line_number"]}: {kind}')


def check(summary, limits):
    for kind, limit in limits.items():
        total, covered, _ = cells(summary, kind)
        if percent(covered, total) < limit:
            raise TooLittle(f'the unit tests run {covered} of {total} '
                            f'{KINDS[kind]}, which is less than {limit:g} %')


def main():
    directory, lines, branches, *missing = sys.argv[1:]
    summary = json.loads((Path(directory) / 'summary.json').read_text())
    if missing:
        print_missing(json.loads((Path(directory) /
                                  'coverage.json').read_text()))
    print_table(summary)
    check(summary, {'line': float(lines), 'branch': float(branches)})


try:
    main()
except TooLittle as error:
    sys.exit(f'coverage: {error}')
