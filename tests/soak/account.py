# What query-ipvlan says of a port: does it add up, and is each drop explained?
#
# SPDX-License-Identifier: GPL-2.0-or-later

import collections

# What a reason may come from.  An operation's name here is one that the soak
# has done since it last looked; 'always' is what needs none.
EXPLANATIONS = {
    # guests ask for routers and report their groups, which l3 does not route
    'not-routed': {'l3'},
    'not-ip': {'l3'},
    'no-neighbour': {'l3', 'uplink', 'mode'},
    'neighbour-queue-full': {'l3', 'uplink', 'mode'},
    # an emulated guest is slow: CoDel tells those who send to it
    'rx-delay': {'always'},
    'rx-queue-full': {'plug', 'rate'},
    # a slave without a card, or one that is deleted while frames wait
    'no-receiver': {'plug'},
    'link-down': {'plug', 'uplink', 'replace'},
    # the tap is down, or gone
    'refused': {'uplink', 'replace'},
    # the network goes on talking to who has given up an address
    'no-owner': {'plug', 'address', 'uplink', 'replace', 'mode'},
    'filter': {'rule'},
    'private': {'flag'},
    'reflected': {'flag'},
}


def drops(stats):
    return {d['reason']: d['packets'] for d in stats['drops']}


def all_stats(port):
    """Of the uplink, of all slaves, and of those that were deleted."""
    return [port['stats'], port['deleted'],
            *(slave['stats'] for slave in port['slaves'])]


def port_drops(port):
    total = collections.Counter()
    for stats in all_stats(port):
        total.update(drops(stats))
    return total


def balance(port):
    """
    Frames that have entered or were made here, and those that have left, were
    dropped, have ended or wait: equal, whenever one looks.
    """
    slaves = [port['deleted'], *(s['stats'] for s in port['slaves'])]
    uplink = port['stats']
    every = [uplink, *slaves]
    entered = (sum(s['tx-packets'] for s in slaves) + uplink['rx-packets'] +
               sum(s['made'] for s in every))
    left = (sum(s['rx-packets'] for s in slaves) + uplink['tx-packets'] +
            sum(s['absorbed'] for s in every) +
            sum(port_drops(port).values()) + port['waiting'] +
            sum(s['rx-queue'] for s in port['slaves']))
    return entered, left


def counters(port):
    """All that only grows, by name."""
    named = {port['master']: port['stats']}
    named.update((s['id'], s['stats']) for s in port['slaves'])
    return {(name, key): value for name, stats in named.items()
            for key, value in [*stats.items(), *drops(stats).items()]
            if key != 'drops'}


def check_balance(port):
    """A sentence, where it does not add up; else None."""
    entered, left = balance(port)
    if entered != left:
        return (f"{port['master']}: {entered} frames have entered or were "
                f'made, and {left} have left, were dropped, have ended or '
                'wait')
    return None


def check_growth(before, after):
    """A sentence for each counter that has gone back."""
    old, new = counters(before), counters(after)
    return [f'{name}: {key} went from {old[name, key]} to {new[name, key]}'
            for name, key in old if new.get((name, key), old[name, key])
            < old[name, key]]


def check_drops(before, after, operations):
    """A sentence for each reason that nothing in @operations explains."""
    done = set(operations) | {'always'}
    if after['mode'].startswith('l3') or before['mode'].startswith('l3'):
        done.add('l3')
    new = port_drops(after) - port_drops(before)
    return [f"{after['master']}: {n} frames were dropped as {reason}, which "
            f'nothing that was done explains'
            for reason, n in sorted(new.items())
            if not EXPLANATIONS.get(reason, set()) & done]


def full_sockets(snmp):
    """UDP's receive buffer errors, of the kernel's snmp and snmp6."""
    names, values = [line.split()[1:] for line in snmp.splitlines()
                     if line.startswith('Udp:')]
    v4 = int(values[names.index('RcvbufErrors')])
    v6 = [int(line.split()[1]) for line in snmp.splitlines()
          if line.startswith('Udp6RcvbufErrors')]
    return v4 + sum(v6)


def check_memory(warm, end):
    """
    A tenth more than after the warm-up, at most: what the hotplug tests allow.
    A leak of one frame, or one slave, in a round would be more in 30 minutes.
    """
    if end > warm * 1.1:
        return (f'QEMU uses {end} KiB at the end, and used {warm} KiB after '
                'the warm-up')
    return None
