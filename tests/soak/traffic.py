# What guests and the network say to each other all the time of a soak.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import re
import subprocess

from ipvlan_guest import PATIENCE, wait_for

# Twice a second, each waited for longer than anybody takes to answer.
PING_INTERVAL = 0.5
PING_WAIT = 10

# How long a TCP client may take to end after its time is over.
LINGER = 60


class Pings:
    """Pings of a card's, as many as fit in so many seconds."""

    def __init__(self, card, target, seconds):
        self.card = card
        self.what = f'{card.name} to {target}'
        self.log = f'/tmp/ping-{card.name}-{target}'
        count = int(seconds / PING_INTERVAL)
        card.check(f'rm -f {self.log}; ping -q -n -i {PING_INTERVAL} '
                   f'-c {count} -W {PING_WAIT} {target} >{self.log} 2>&1 &')

    def finish(self):
        """How many were sent, and how many were not answered."""
        self.card.wait_for(f'grep -q transmitted {self.log}', 2 * PATIENCE)
        text = self.card.check(f'cat {self.log}')
        sent, got = map(int, re.search(r'(\d+) packets transmitted, '
                                       r'(\d+) received', text).groups())
        return sent, sent - got


def iperf_bytes(report):
    """Bytes that came, datagrams that did not; None: it has failed."""
    report = json.loads(report)
    end = report.get('end', {})
    if 'error' in report or not end:
        return None
    if 'sum' in end:
        lost = end['sum'].get('lost_packets', 0)
        return end['sum']['bytes'], lost
    return end['sum_received']['bytes'], 0


class HostIperf:
    """A client of the host's, of a server in a card's namespace."""

    def __init__(self, host, card, addr, port, seconds, options):
        self.what = f'iperf3 {options} to {card.name}'
        with host:
            self.process = subprocess.Popen(
                ['iperf3', '-J', '-c', addr, '-p', str(port), '-t',
                 str(seconds), '--connect-timeout', '20000', *options.split()],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True)

    def finish(self):
        try:
            output, _ = self.process.communicate(timeout=LINGER)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return None
        return iperf_bytes(output)


class GuestIperf:
    """A client in a card's namespace, of a server in another one's."""

    def __init__(self, card, other, port, seconds, options):
        self.card = card
        self.what = f'iperf3 {options} from {card.name} to {other.name}'
        self.log = f'/tmp/iperf-{card.name}'
        card.check(f'rm -f {self.log} {self.log}.end; (iperf3 -J -c '
                   f'{other.addr} -p {port} -t {seconds} '
                   f'--connect-timeout 20000 {options}; : >{self.log}.end) '
                   f'>{self.log} 2>&1 &')

    def finish(self):
        try:
            self.card.wait_for(f'[ -e {self.log}.end ]', LINGER)
        except AssertionError:
            self.card.run('killall iperf3')
            return None
        return iperf_bytes(self.card.check(f'cat {self.log}'))


def serve(card, ports):
    """Servers that stay; each takes one client at a time."""
    for port in ports:
        card.check(f'iperf3 -s -D -p {port} >/dev/null 2>&1')
        card.wait_for(f'ss -ltnH sport = :{port} | grep -q LISTEN')


class Renewals:
    """A DHCP client that stays, and is told to renew."""

    def __init__(self, card):
        self.card = card
        self.log = f'/tmp/leases-{card.name}'
        self.pid = f'/run/udhcpc-{card.name}.pid'
        script = f'/tmp/udhcpc-{card.name}'
        card.check(f"printf '#!/bin/sh\\n/udhcpc $1 && echo $1 >>{self.log}"
                   f"\\n' >{script} && chmod +x {script} && : >{self.log}")
        card.check(f'udhcpc -i eth0 -s {script} -p {self.pid} -t 10 -T 1 -b '
                   '>/dev/null 2>&1')
        card.wait_for(f'grep -q bound {self.log}')
        card.addr = card.ipv4()

    def count(self):
        """How often it has got its lease so far, the first time included."""
        return int(self.card.check(f"grep -c -e bound -e renew {self.log}"))

    def renew(self):
        """Now; False where no server has answered."""
        before = self.count()
        self.card.check(f'kill -USR1 $(cat {self.pid})')
        try:
            wait_for(lambda: self.count() > before, 'a renewal', 20)
        except AssertionError:
            return False
        return True
