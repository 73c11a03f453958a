# The soak; scripts/soak starts it when all is built.
#
# usage: soak.py SECONDS SEED
#
#   guest: n0 n1 (hot)     m0 m1
#            |  |   |       |  |      slaves
#            up0: l2-macnat up1: l3s, l3
#               |              |
#              tap0           tap1    in a namespace, with dnsmasq
#
# It goes in rounds: in each all talk while something changes, and at its end,
# when nobody talks, the counters of guests, slaves and taps are compared.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import collections
import json
import os
import random
import shutil
import sys
import time
import unittest

import account
from churn import Churn
from ipvlan_guest import PATIENCE, Card
from ipvlan_tap import HOST, PORT_MAC, IpvlanTapTest
from ipvlan_topology import Machine
from traffic import GuestIperf, HostIperf, Pings, Renewals, serve

HOST6 = '2001:db8:1::1'
ROUTED_HOST = '198.51.100.1', '2001:db8:2::1'
ROUTED_MAC = '02:00:00:00:00:02'
LEASE = '2m'            # dnsmasq's least

ROUND = 20              # seconds
ROUGH_EVERY = 4         # rounds

SKIPPED = 77            # exit status: this machine has no taps, say

# Bits a second that an emulated guest takes beside everything else.
TCP, UDP = '-b 2M', '-u -b 1M -l 1000'


def routed_address(i):
    return f'198.51.100.{10 + i}', f'2001:db8:2::1{i}'


class Soak(IpvlanTapTest):

    seconds = 0
    seed = 0

    def id(self):
        """What its files are named by: two may run at once."""
        return f'soak-{os.getpid()}'

    def make_host(self):
        return Machine(self, 'host')

    def runTest(self):
        self.random = random.Random(self.seed)
        self.host_addr, self.host_addr6 = HOST, HOST6
        self.totals = collections.Counter()
        self.dropped = collections.Counter()
        self.operations = set()
        self.violations = []
        self.memory = {}
        self.last = {}
        self.rounds = 0
        self.build_network()
        self.boot_guest()
        self.soak()
        self.vm.shutdown()
        if self.vm.exitcode():
            self.fail(f'QEMU ended with status {self.vm.exitcode()}')

    def fail(self, sentence):
        if sentence not in self.violations:
            self.violations.append(sentence)
            print(f'soak: {sentence}', flush=True)

    # ---- the network ----

    def build_network(self):
        host = self.host
        host.run('ip tuntap add dev tap1 mode tap vnet_hdr')
        host.run('ip link set tap1 up')
        for tap in 'tap0', 'tap1':
            # they have all their addresses, and keep them when they go down
            host.set(f'ipv6/conf/{tap}/addr_gen_mode', 1)
            host.set(f'ipv6/conf/{tap}/keep_addr_on_down', 1)
        host.add_addresses('tap0', HOST, HOST6)
        host.add_addresses('tap1', *ROUTED_HOST)
        server = host.start(
            'dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root '
            '--group=root --pid-file= --port=0 --interface=tap0 '
            '--bind-interfaces --no-ping --dhcp-authoritative '
            f'--dhcp-range=192.0.2.100,192.0.2.150,255.255.255.0,{LEASE} '
            f'--dhcp-leasefile={self.scratch_file("leases")} '
            f'--log-facility={self.log_file("dnsmasq.log")}')
        self.assertIsNone(server.poll())

    def boot_guest(self):
        vm = self.vm
        self.add_guest(vm)
        # its memory is not what QEMU itself uses
        vm.add_args('-machine', 'memory-backend=ram',
                    '-object', 'memory-backend-memfd,id=ram,size=256M',
                    '-device', 'pcie-root-port,id=rp0,chassis=1,addr=0x1c')
        for i in 0, 1:
            vm.add_args('-netdev', f'tap,id=up{i},ifname=tap{i},script=no,'
                        'downscript=no')
        names = ['n0', 'n1', 'm0', 'm1']
        slaves = [f'master=up0,mac={PORT_MAC}'] * 2
        slaves += [f'master=up1,mac={ROUTED_MAC},mode=l3s,policy=accept,' +
                   ','.join(f'addr={a}' for a in routed_address(i))
                   for i in (0, 1)]
        for i, (name, slave) in enumerate(zip(names, slaves)):
            vm.add_args('-netdev', f'ipvlan,id={name},{slave}')
            self.add_card(vm, i, name)
        with self.host:
            self.guest = self.boot(vm)
        self.cards = {name: Card(self.guest, name,
                                 f'0000:00:{0x10 + i:02x}.0')
                      for i, name in enumerate(names)}
        self.configure()

    def configure(self):
        self.clients = [Renewals(self.cards[name]) for name in ('n0', 'n1')]
        self.totals['DHCP leases'] += len(self.clients)
        for i, name in enumerate(['n0', 'n1']):
            card = self.cards[name]
            card.addr6 = f'2001:db8:1::1{i}'
            card.check(f'ip address add {card.addr6}/64 dev eth0 nodad')
        for i, name in enumerate(['m0', 'm1']):
            card = self.cards[name]
            card.addr, card.addr6 = routed_address(i)
            card.check(f'ip address add {card.addr}/24 dev eth0 && '
                       f'ip address add {card.addr6}/64 dev eth0 nodad')

    def gateway_of(self, card):
        return HOST if card.name.startswith('n') else ROUTED_HOST[0]

    # ---- what query-ipvlan says ----

    def ports(self):
        return {p['master']: p for p in self.vm.cmd('query-ipvlan')}

    def port(self, master):
        return self.ports()[master]

    def owned(self, name, master):
        slave, = [s for s in self.port(master)['slaves'] if s['id'] == name]
        return {a['address'] for a in slave['addresses']}

    def look(self):
        """The counters add up now, whatever is on its way."""
        ports = self.ports()
        for master, port in ports.items():
            self.totals['balances checked'] += 1
            for sentence in [account.check_balance(port),
                             *account.check_growth(
                                 self.last.get(master, port), port)]:
                if sentence:
                    self.fail(sentence)
        self.last = ports

    def pause(self, seconds):
        """Others go on; and each half second somebody looks."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.5))
            self.look()

    # ---- what guests and taps say ----

    def card_counters(self, cards):
        files = ' '.join(f'/sys/class/net/eth0/statistics/{way}_packets'
                         for way in ('tx', 'rx'))
        return {card.name: tuple(map(int, card.check(f'cat {files}').split()))
                for card in cards}

    def tap_counters(self, taps):
        """What went to each tap's QEMU, and came from there."""
        counters = {}
        for tap in taps:
            stats = json.loads(self.host.run(
                f'ip -j -s -s link show dev {tap}').stdout)[0]['stats64']
            counters[tap] = stats['tx']['packets'], stats['rx']['packets']
        return counters

    def ours(self, cards, taps):
        """The same of query-ipvlan's."""
        counters = {}
        for port in self.ports().values():
            links = [(s['id'], s['stats']) for s in port['slaves']]
            for name, stats in links:
                counters[name] = stats['tx-packets'], stats['rx-packets']
            stats = port['stats']
            counters['tap' + port['master'][2:]] = (stats['rx-packets'],
                                                    stats['tx-packets'])
        return {name: counters[name]
                for name in [*(c.name for c in cards), *taps]}

    def differences(self, cards, taps):
        """By which theirs exceed ours; None: frames are on their way."""
        theirs = self.card_counters(cards) | self.tap_counters(taps)
        ours = self.ours(cards, taps)
        if theirs != self.card_counters(cards) | self.tap_counters(taps):
            return None
        return {name: tuple(a - b for a, b in zip(theirs[name], ours[name]))
                for name in theirs}

    def expect_equal(self, cards, taps, known=None):
        """
        What guests and taps have counted is what is counted here, but for
        what was @known before to differ.
        """
        end = time.monotonic() + PATIENCE
        wrong = None
        while time.monotonic() < end:
            found = self.differences(cards, taps)
            if found is None:
                continue
            wrong = {name: d for name, d in found.items()
                     if d != (known or {}).get(name, (0, 0))}
            if not wrong:
                self.totals['counters compared'] += 2 * len(found)
                return
            time.sleep(0.5)
        if wrong is None:
            self.fail('traffic did not end, so that counters could not be '
                      'compared')
        for name, (sent, got) in (wrong or {}).items():
            self.fail(f'{name} has counted {sent} frames more than are '
                      f'counted here one way, and {got} the other')

    # ---- QEMU ----

    def holding(self, vm):
        """The same, whatever the netdevs have learned, and of code."""
        files, netdevs, kib = super().holding(vm)
        return (files, [line.split(':')[0] for line in netdevs],
                kib - self.translated(f'/proc/{vm.get_pid()}'))

    @staticmethod
    def translated(proc):
        """What the emulator has made of the guest's code, in KiB."""
        kib, counts = 0, False
        with open(f'{proc}/smaps') as smaps:
            for line in smaps:
                word = line.split()
                if not word[0].endswith(':'):
                    counts = word[1].startswith('rwx')
                elif word[0] == 'Anonymous:' and counts:
                    kib += int(word[1])
        return kib

    # ---- rounds ----

    def start_traffic(self, seconds):
        n0, n1, m0, m1 = (self.cards[c] for c in ('n0', 'n1', 'm0', 'm1'))
        self.guest.run('killall -q iperf3')
        serve(n0, [5201, 5202])
        serve(n1, [5201, 5202, 5203])
        serve(m0, [5201])
        serve(m1, [5201, 5203])
        pings = [Pings(card, target, seconds) for card, target in (
            (n0, HOST), (n1, HOST6), (n0, n1.addr), (n1, n0.addr6),
            (m0, ROUTED_HOST[0]), (m1, ROUTED_HOST[1]), (m0, m1.addr),
            (m1, m0.addr6))]
        clients = [
            HostIperf(self.host, n0, n0.addr, 5201, seconds, TCP),
            HostIperf(self.host, n0, n0.addr6, 5202, seconds, f'{TCP} -R'),
            HostIperf(self.host, n1, n1.addr, 5201, seconds, UDP),
            HostIperf(self.host, n1, n1.addr6, 5202, seconds, f'{UDP} -R'),
            HostIperf(self.host, m0, m0.addr, 5201, seconds, TCP),
            HostIperf(self.host, m1, m1.addr6, 5201, seconds, f'{UDP} -R'),
            GuestIperf(n0, n1, 5203, seconds, TCP),
            GuestIperf(m0, m1, 5203, seconds, UDP),
        ]
        return pings, clients

    def finish_pings(self, pings, rough):
        """Returns how many were lost of those that nothing explains."""
        lost = 0
        for p in pings:
            sent, missing = p.finish()
            lost += missing
            self.totals['pings sent'] += sent
        self.totals['pings lost while the uplink changed' if rough else
                    'pings lost'] += lost
        return 0 if rough else lost

    def finish_clients(self, clients, rough):
        """Returns how many datagrams were lost that nothing explains."""
        lost = 0
        for client in clients:
            result = client.finish()
            if result:
                self.totals['bytes moved by iperf3'] += result[0]
                lost += result[1]
            elif rough:
                self.totals['iperf3 broken off while the uplink changed'] += 1
            else:
                self.fail(f'{client.what} has failed')
        self.totals['datagrams lost while the uplink changed' if rough else
                    'datagrams lost'] += lost
        return 0 if rough else lost

    def full_sockets(self):
        """Datagrams that came, and were dropped by who should read them."""
        files = '/proc/thread-self/net/snmp /proc/thread-self/net/snmp6'
        texts = [card.check(f'cat {files}') for card in self.cards.values()]
        texts.append(self.host.run(f'cat {files}').stdout)
        return sum(account.full_sockets(text) for text in texts)

    def one_round(self, rough):
        churn = self.churn
        before = self.ports()
        full = self.full_sockets()
        self.operations.clear()
        end = time.monotonic() + ROUND
        pings, clients = self.start_traffic(ROUND)
        if rough:
            rough()
            churn.recover()
        while time.monotonic() < end:
            self.random.choice(churn.calm())()
            self.look()
            self.pause(0.5)
        lost = self.finish_pings(pings, rough)
        datagrams = self.finish_clients(clients, rough)
        full = self.full_sockets() - full
        self.totals['datagrams that found a full socket'] += full
        self.end_round(before, lost + max(datagrams - full, 0), rough)

    def end_round(self, before, lost, rough):
        cards, taps = list(self.cards.values()), ['tap0', 'tap1']
        if rough:
            # what a link that is down loses is not QEMU's to count
            self.known = self.settled(cards, taps)
        self.expect_equal(cards, taps, self.known)
        after = self.ports()
        new = collections.Counter()
        for master, port in after.items():
            for sentence in account.check_drops(before[master], port,
                                                self.operations):
                self.fail(sentence)
            new += (account.port_drops(port) -
                    account.port_drops(before[master]))
        self.dropped += new
        if lost > sum(new.values()):
            self.fail(f'{lost} pings and datagrams were lost, and only '
                      f'{sum(new.values())} frames were dropped')

    def settled(self, cards, taps):
        """What differs, and goes on to do so."""
        end = time.monotonic() + PATIENCE
        before = found = None
        while time.monotonic() < end and (found is None or found != before):
            before = found
            time.sleep(1)
            found = self.differences(cards, taps)
        return found

    def remember_memory(self, elapsed):
        """After the warm-up, half way, and in the end."""
        for name, share in ('after the warm-up', 4), ('half way', 2):
            if name not in self.memory and elapsed >= self.seconds / share:
                self.memory[name] = self.holding(self.vm)
        self.memory.pop('at the end', None)
        self.memory['at the end'] = self.holding(self.vm)

    def progress(self, elapsed):
        t = self.totals
        print(f'    {elapsed:4.0f} s: round {self.rounds}, '
              f"{t['pings sent']} pings, {t['pings lost']} lost, "
              f"{t['bytes moved by iperf3'] / 1e6:.0f} MB, "
              f"{t['slaves and NICs plugged']} plugged, "
              f"{t['addresses added']} addresses, "
              f"{sum(self.dropped.values())} drops, "
              f"{self.memory['at the end'][2]} KiB", flush=True)

    def soak(self):
        self.churn = Churn(self)
        # A card that has just come has not told yet what it does not want.
        self.known = self.settled(self.cards.values(), ['tap0', 'tap1'])
        rough = []
        begin = time.monotonic()
        while (elapsed := time.monotonic() - begin) < self.seconds:
            if not rough:
                rough = self.churn.rough()
                self.random.shuffle(rough)
            self.rounds += 1
            is_rough = self.rounds % ROUGH_EVERY == 0
            self.one_round(rough.pop() if is_rough else None)
            elapsed = time.monotonic() - begin
            self.remember_memory(elapsed)
            self.progress(elapsed)
        self.totals['seconds'] = round(elapsed)
        self.check_holding()

    def check_holding(self):
        warm, end = (self.memory[w] for w in ('after the warm-up',
                                              'at the end'))
        for what, a, b in zip(('open files', 'netdevs'), warm, end):
            if a != b:
                self.fail(f'QEMU has other {what} at the end: {b}, and had '
                          f'{a}')
        if sentence := account.check_memory(warm[2], end[2]):
            self.fail(sentence)


# ---- the report ----

ROWS = ['seconds', 'rounds', 'pings sent', 'pings lost',
        'pings lost while the uplink changed', 'bytes moved by iperf3',
        'datagrams lost', 'datagrams lost while the uplink changed',
        'datagrams that found a full socket',
        'iperf3 broken off while the uplink changed',
        'slaves and NICs plugged', 'DHCP leases', 'addresses added',
        'rates and weights changed', 'rules added', 'modes changed',
        'uplink down and up', 'masters replaced']


def table(soak):
    rows = [(name, soak.totals[name]) for name in ROWS]
    rows += [(f'dropped: {reason}', n)
             for reason, n in sorted(soak.dropped.items())]
    rows += [(f'QEMU\'s memory {when}, KiB', holding[2])
             for when, holding in soak.memory.items()]
    rows += [(name, soak.totals[name])
             for name in ('balances checked', 'counters compared')]
    rows.append(('checks that failed', len(soak.violations)))
    width = max(len(name) for name, _ in rows)
    return '\n'.join(f'    {name:{width}}  {value:>14,}'
                     for name, value in rows)


def main(seconds, seed):
    print(f'==> soak for {seconds} s, --seed {seed}', flush=True)
    soak = Soak()
    soak.seconds, soak.seed = int(seconds), int(seed)
    result = unittest.TestResult()
    soak.run(result)
    for _, reason in result.skipped:
        print(f'soak: {reason}', file=sys.stderr)
        sys.exit(SKIPPED)
    for _, trace in result.errors + result.failures:
        print(trace, file=sys.stderr)
        sys.exit(f'soak: {trace.strip().splitlines()[-1]}')
    soak.totals['rounds'] = soak.rounds
    print(table(soak))
    if not soak.violations:
        shutil.rmtree(soak.outputdir)
    sys.exit(bool(soak.violations))


if __name__ == '__main__':
    main(*sys.argv[1:])
