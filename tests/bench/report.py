# What the bench has seen, for people and for programs: tables, JSON, a page
# and plots.
#
# A row is one case: what was measured of ours, and of each of the baselines
# beside it.
#
#   {'case': 'TCP guest → host', 'unit': 'Mbit/s', 'goal': None,
#    'ours': {'name': 'tap+ipvlan', 'samples': [...]},
#    'baselines': [{'name': 'tap', 'samples': [...], 'goal': '>= 0.97'}, ...]}
#
# The goal of a baseline is one for the ratio, that of the row one for ours
# alone.  Where 'any' is true, one of them is enough.  Samples of one round
# are at the same place in each list.
#
# A matrix is a table of medians.
#
#   {'columns': ['ns, by slaves', '1', '4'], 'lines': [['a copy', 30, 31]]}
#
# A part of the bench has sections, which have a title, rows or a matrix, and
# perhaps a note.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import operator
import platform
import re
import shutil
import statistics
import subprocess

OPERATORS = {'>=': operator.ge, '<=': operator.le, '==': operator.eq}
HEADER = ('case', 'unit', 'ours', 'median', 'baseline', 'median', 'ratio',
          'spread', 'goal', '')
LEFT = (0, 1, 2, 4, 8, 9)       # columns of text


def meets(value, goal):
    sign, limit = goal.split()
    return OPERATORS[sign](value, float(limit))


def number(value):
    """Three digits that count, and never an exponent."""
    if value is None:
        return 'n/a'
    if value == int(value) and abs(value) < 1000:
        return str(int(value))
    digits = max(0, 2 - len(str(int(abs(value)))) + 1)
    if 0 < abs(value) < 1:
        digits = 3
    return f'{value:,.{digits}f}'


def median(samples):
    return statistics.median(samples) if samples else None


def ratios(ours, theirs):
    """Ours to theirs, round by round."""
    pairs = zip(ours['samples'], theirs['samples'])
    return [a / b for a, b in pairs if b]


def summarize(row):
    """Add medians, ratios and verdicts to a row: 'met' has one for a goal."""
    ours = row['ours']
    met = row['met'] = []
    for series in ours, *row['baselines']:
        series['samples'] = [round(x, 3) for x in series['samples']]
    ours['median'] = median(ours['samples'])
    if row.get('goal') and ours['samples']:
        met.append(meets(ours['median'], row['goal']))
    for baseline in row['baselines']:
        each = ratios(ours, baseline)
        baseline['median'] = median(baseline['samples'])
        baseline['ratio'] = median(each)
        baseline['spread'] = [min(each), max(each)] if each else None
        if baseline.get('goal') and each:
            baseline['met'] = meets(baseline['ratio'], baseline['goal'])
            met.append(baseline['met'])
    if row.get('any') and met:
        row['met'] = [any(met)]


def verdict(met=None):
    return {None: '', True: 'ok', False: 'MISS'}[met]


def any_goal(row):
    """The goals of a row of which one is enough, on its only line."""
    b = row['baselines'][0]
    return [b['name'], number(b['median']), number(b['ratio']), spread(b),
            f'{row["goal"]}, or ratio {b["goal"]}', verdict(*row['met'])]


def spread(baseline):
    return '–'.join(map(number, baseline['spread'] or []))


def lines_of(row):
    """The cells of a row's lines, one line for each baseline."""
    ours = row['ours']
    goal = row.get('goal') or ''
    first = [row['case'], row['unit'], ours['name'], number(ours['median'])]
    if row.get('any') and row['baselines']:
        yield first + any_goal(row)
        return
    if goal or not row['baselines']:
        met = meets(ours['median'], goal) if goal and ours['samples'] else None
        yield first + ['', '', '', '', goal, verdict(met)]
        first = [''] * 4
    for b in row['baselines']:
        yield first + [b['name'], number(b['median']), number(b['ratio']),
                       spread(b), b.get('goal') or '', verdict(b.get('met'))]
        first = [''] * 4


def columns(lines, left):
    """Fixed-width text; the columns with a number in @left are text."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    out = ['  '.join(cell.ljust(width) if i in left else cell.rjust(width)
                     for i, (cell, width) in enumerate(zip(line, widths)))
           .rstrip() for line in lines]
    out.insert(1, '-' * max(map(len, out)))
    return '\n'.join(out)


def table(section):
    """A section's rows or matrix as text; empty where it has none."""
    if section.get('rows'):
        lines = [HEADER]
        for row in section['rows']:
            lines += lines_of(row)
        return columns(lines, LEFT)
    if section.get('lines'):
        return columns([section['columns'],
                        *([line[0], *map(number, line[1:])]
                          for line in section['lines'])], [0])
    return ''


def show(part):
    """All of a part, for the terminal."""
    out = [part['title'], part['how']]
    for section in part['sections']:
        out.append('')
        if section['title'] != part['title']:
            out.append(section['title'])
        out += filter(None, [table(section), section.get('note')])
    return '\n'.join(out)


def tally(parts):
    """How many goals there are, and how many of them were reached."""
    met = [one for part in parts for section in part['sections']
           for row in section.get('rows', []) for one in row['met']]
    return len(met), sum(met)


# ---- where and how ----

def first_line(*command, cwd=None):
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    except FileNotFoundError:
        return 'none'
    return (done.stdout.splitlines() or ['unknown'])[0].strip()


def cpu_model():
    with open('/proc/cpuinfo') as info:
        for line in info:
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.machine()


def cores():
    with open('/proc/cpuinfo') as info:
        return sum(line.startswith('processor') for line in info)


def memory():
    with open('/proc/meminfo') as info:
        return f'{int(info.readline().split()[1]) / (1 << 20):.0f} GiB'


def distribution():
    fields = dict(line.rstrip().split('=', 1)
                  for line in open('/etc/os-release') if '=' in line)
    return fields.get('PRETTY_NAME', '').strip('"')


def machine_facts(repo, qemu):
    return {
        'processor': f'{cpu_model()}, {cores()} cores',
        'memory': memory(),
        'kernel': f'{platform.system()} {platform.release()}',
        'distribution': distribution(),
        'QEMU': first_line(qemu, '--version'),
        'compiler': first_line('gcc', '--version'),
        'iperf3': first_line('iperf3', '--version'),
        'commit': first_line('git', 'describe', '--always', '--dirty',
                             '--abbrev=12', cwd=repo),
    }


# ---- the page ----

PAGE = '''\
<!-- Written by scripts/bench: run it again in place of an edit. -->

# What scripts/bench has seen

How to read this is in [index.md](index.md); all samples are in
[results.json](results.json).

{facts}

{goals}
'''


def goals_text(parts):
    wanted, met = tally(parts)
    return f'{met} of {wanted} goals were reached.'


def page_section(part, section):
    if section['title'] != part['title']:
        yield f'### {section["title"]}\n'
    text = table(section)
    if text:
        yield f'```text\n{text}\n```\n'
    if section.get('note'):
        yield section['note'] + '\n'


def page(result):
    facts = [f'| {name} | {value} |'
             for name, value in {'command': f'`{result["command"]}`',
                                 'date': result['date'],
                                 **result['machine']}.items()]
    out = [PAGE.format(facts='\n'.join(['| | |', '|---|---|', *facts]),
                       goals=goals_text(result['parts']))]
    for part in result['parts']:
        out.append(f'## {part["title"]}\n\n{part["how"]}\n')
        for section in part['sections']:
            out += page_section(part, section)
        out += [f'![{part["title"]}]({plot})\n' for plot in part['plots']]
    return '\n'.join(out)


# ---- plots ----

COLOURS = ['#1b6ca8', '#d98c21', '#6b8e23', '#9a4fa0', '#888888']


def quoted(text):
    return '"' + str(text).replace('\\', '/').replace('"', "'") + '"'


def gnuplot(path, title, commands, data):
    """Draw $data, lines of words, by @commands to an SVG at @path."""
    if not shutil.which('gnuplot'):
        return False
    script = [f'set terminal svg size 840,{commands.pop("height", 400)} '
              "dynamic enhanced font 'sans-serif,12' background '#ffffff'",
              f'set output {quoted(path)}',
              f'set title {quoted(title)} noenhanced',
              'set border 3 lc rgb "#555555"', 'set tics nomirror',
              'set grid ytics lc rgb "#dddddd" lt 1',
              'set key noenhanced',
              '$data << EOD',
              *(' '.join(map(str, line)) for line in data), 'EOD',
              *commands['script']]
    subprocess.run(['gnuplot'], input='\n'.join(script) + '\n', text=True,
                   check=True, capture_output=True)
    return True


def plot_ratios(path, title, rows):
    """Bars: ours to each baseline, and a tick where the goal is."""
    bars = [(f'{row["case"]} ÷ {b["name"]}', b['ratio'], *b['spread'],
             b['goal'].split()[1] if b.get('goal') else 'NaN')
            for row in rows for b in row['baselines'] if b.get('ratio')]
    data = [(quoted(bar[0]), len(bars) - i, *bar[1:])
            for i, bar in enumerate(bars)]
    script = [
        'set yrange [0.4:%g]' % (len(bars) + 0.6), 'set xrange [0:*]',
        'set style fill solid 0.9 noborder', 'set lmargin 44',
        'unset grid', 'set grid xtics lc rgb "#dddddd" lt 1',
        'set xlabel "ratio (line: least and most of the rounds)"',
        'set arrow from 1,graph 0 to 1,graph 1 nohead lc rgb "#555555" dt 2',
        'set key bottom right',
        'plot $data using ($3/2):2:($3/2):(0.32):ytic(1) with boxxyerror '
        f'lc rgb "{COLOURS[0]}" notitle, '
        '$data using 3:2:4:5 with xerrorbars pt 0 lc rgb "#222222" notitle, '
        f'$data using 6:2 with points pt 5 ps 0.8 lc rgb "{COLOURS[1]}" '
        'title "goal"']
    return gnuplot(path, title, {'height': 90 + 24 * len(bars),
                                 'script': script}, data)


def plot_matrix(path, matrix, xlabel, ylabel):
    """A line for each of a matrix, over logarithmic axes."""
    xs = [column.replace(',', '') for column in matrix['columns'][1:]]
    lines = matrix['lines']
    data = [[x, *('NaN' if line[i] is None else line[i] for line in lines)]
            for i, x in enumerate(xs, 1)]
    script = ['set logscale xy 2', f'set xlabel {quoted(xlabel)}',
              f'set ylabel {quoted(ylabel)}', 'set key outside right',
              f'set xrange [{xs[0]}:{xs[-1]}]',
              'set xtics (%s)' % ', '.join(f'"{x}" {x}' for x in xs)]
    script.append('plot ' + ', '.join(
        f'$data using 1:{i + 2} with linespoints lw 2 pt 7 ps 0.5 '
        f'lc rgb "{COLOURS[i % len(COLOURS)]}" dt {1 + i // len(COLOURS)} '
        f'title {quoted(line[0])}' for i, line in enumerate(lines)))
    return gnuplot(path, matrix['title'], {'script': script}, data)


# ---- all of it ----

def to_json(result):
    """For programs, but with a line for each list of samples."""
    text = json.dumps(result, indent=1, ensure_ascii=False)
    return re.sub(r'\[\s+([-\d.,\s]+?)\s+\]',
                  lambda found: f'[{" ".join(found[1].split())}]', text) + '\n'


def write(output, result):
    output.mkdir(parents=True, exist_ok=True)
    (output / 'results.json').write_text(to_json(result))
    (output / 'results.md').write_text(page(result))
