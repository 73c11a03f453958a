# The second and the third engine: our QEMU, and its library alone.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import os
import select
import socket
import struct
import subprocess
import time
from collections import Counter, namedtuple

import ipvlan_frames as frames
from model import (GATEWAY, HOST, OUTSIDE, PEERS4, PORT_MAC, STRANGER,
                   STRANGER_MAC, WIRE)

PATIENCE = 30                   # seconds

# One frame that came out: of whom, and all of its bytes.
Came = namedtuple('Came', 'who data')

# All that came of a frame, and, where the engine tells, why it was dropped.
Ours = namedtuple('Ours', 'came drops')

HELLO_PORT = 9


class EngineError(Exception):
    """An engine did not do what it was told."""


def answer_to(data):
    """What who is asked by the port (l3) answers; None: it is no question."""
    frame = frames.parse_frame(data)
    if frame.src != PORT_MAC:
        return None
    if frame.ethertype == frames.ARP and frame.payload[6:8] == b'\0\1':
        addr = socket.inet_ntop(socket.AF_INET, frame.payload[24:28])
        asker = socket.inet_ntop(socket.AF_INET, frame.payload[14:18])
    elif frames.is_nd(frame) and \
            frame.payload[40] == frames.NEIGHBOUR_SOLICIT:
        addr = socket.inet_ntop(socket.AF_INET6, frame.payload[48:64])
        asker = socket.inet_ntop(socket.AF_INET6, frame.payload[8:24])
    else:
        return None
    mac = OUTSIDE.get(addr)
    if mac is None:
        return None
    if ':' in addr:
        reply = frames.icmp(addr, asker, frames.NEIGHBOUR_ADVERT, 0,
                            struct.pack('!I', 0x60000000) +
                            frames.pack_address(addr) +
                            frames.lladdr_option(2, mac))
        return frames.ether(PORT_MAC, mac, frames.IPV6, reply)
    return frames.ether(PORT_MAC, mac, frames.ARP,
                        frames.arp(2, mac, addr, asker, PORT_MAC))


class Engine:
    """
    What both have in common.  Each has its own start(), change(), inject(), and
    dropped(), which counts what was dropped since start(), by reason.
    """

    MARKER_TYPE = 0x88b6
    MARKER = b'this was all of it '
    count = 0

    def begin(self, config):
        self.config = config
        self.names = [*config.addrs, HOST]
        self.start(config)
        if config.is_l3:
            # A guest's MAC address is known once it has spoken.
            for name in reversed(self.names):
                self.frame(name, frames.ether(
                    PORT_MAC, PORT_MAC, frames.IPV4,
                    frames.udp(STRANGER[4], PEERS4[0], HELLO_PORT,
                               HELLO_PORT, b'hello')))

    def markers(self, who):
        """A frame that comes out last, and where it does."""
        self.count += 1
        text = self.MARKER + b'%d.' % self.count
        if self.config.mode == 'l2':
            src = STRANGER_MAC if who == WIRE else PORT_MAC
            frame = frames.ether(frames.BROADCAST, src, self.MARKER_TYPE,
                                 text.ljust(46))
            ends = {*self.names, WIRE} if self.config.flag == 'bridge' else \
                {WIRE}
            return frame, set(self.names) if who == WIRE else ends - {who}
        src, dst, end = STRANGER[4], PEERS4[0], WIRE
        if who == WIRE:
            dst, end = '10.9.4.4', HOST
        return frames.ether(PORT_MAC, STRANGER_MAC if who == WIRE else
                            PORT_MAC, frames.IPV4,
                            frames.udp(src, dst, HELLO_PORT, HELLO_PORT,
                                       text)), {end}

    def frame(self, who, frame):
        """Send it, and answer what the port has to ask for its sake."""
        came, drops = [], []
        todo = [(who, frame)]
        while todo:
            outcome = self.inject(*todo.pop(0))
            drops += outcome.drops
            for one in outcome.came:
                answer = one.who == WIRE and self.config.is_l3 and \
                    answer_to(one.data)
                if answer:
                    todo.append((WIRE, answer))
                else:
                    came.append(one)
        return Ours(sorted(came), drops)


# ---- the library ----

class Library(Engine):

    def __init__(self, tool):
        self.process = subprocess.Popen([str(tool)], text=True, bufsize=1,
                                        stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        while self.process.stdout.readline() not in ('.\n', ''):
            continue

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        if self.process.wait(PATIENCE):
            raise EngineError('the library has failed')

    def number(self, name):
        return f'n{self.names.index(name)}'

    def who(self, word):
        return word if word == WIRE else self.names[int(word[1:])]

    def tell(self, *words):
        self.process.stdin.write(' '.join(words) + '\n')
        self.process.stdin.flush()
        came, drops = [], []
        for line in iter(self.process.stdout.readline, '.\n'):
            if not line:
                raise EngineError('the library has ended')
            word, value = line.split(' ', 1)
            if word == 'drop':
                drops.append(value.strip())
            else:
                came.append(Came(self.who(word), bytes.fromhex(value)))
        self.drops.update(drops)
        return Ours(came, drops)

    def dropped(self):
        return self.drops

    def start(self, config):
        self.drops = Counter()
        self.tell('case', config.mode, config.flag, PORT_MAC,
                  *(GATEWAY.values() if config.gateway else ()))
        for addrs in config.addrs.values():
            self.tell('slave', '0', *addrs)
        self.tell('slave', '1')

    def change(self, step):
        self.tell(step.what, self.number(step.who), step.value)

    def inject(self, who, frame):
        outcome = self.tell_frame(who, frame)
        # Nobody waits for it here, but it goes where QEMU's goes.
        rest = self.tell_frame(who, self.markers(who)[0])
        return Ours([one for one in outcome.came + rest.came
                     if self.MARKER not in one.data], outcome.drops)

    def tell_frame(self, who, frame):
        if who == WIRE:
            return self.tell('wire', frame.hex())
        return self.tell('from', self.number(who), frame.hex())


# ---- QEMU ----

class Monitor:

    def __init__(self, sock):
        self.file = sock.makefile('rw')
        self.next()
        self.run('qmp_capabilities')

    def next(self):
        line = self.file.readline()
        if not line:
            raise EngineError('QEMU has ended')
        return json.loads(line)

    def run(self, command, **arguments):
        json.dump({'execute': command, 'arguments': arguments}, self.file)
        self.file.write('\n')
        self.file.flush()
        while True:
            answer = self.next()
            if 'error' in answer:
                raise EngineError(f'{command} {arguments}: '
                                  f'{answer["error"]["desc"]}')
            if 'return' in answer:
                return answer['return']


class Qemu(Engine):
    """Everybody who has a cable has a datagram socket at its other end."""

    def __init__(self, program, tmp):
        self.tmp, self.netdevs = tmp, []
        self.sockets = {}
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [str(program), '-machine', 'none', '-nodefaults', '-display',
             'none', '-chardev', f'socket,id=qmp,fd={theirs.fileno()}',
             '-mon', 'chardev=qmp,mode=control'],
            stdin=subprocess.DEVNULL, stderr=(tmp / 'qemu.log').open('w'),
            pass_fds=[theirs.fileno()])
        theirs.close()
        with ours:
            self.monitor = Monitor(ours)
        self.poll = select.poll()
        self.by_fd = {}

    def close(self):
        self.clear()
        self.monitor.run('quit')
        self.monitor.file.close()
        for sock in self.sockets.values():
            sock.close()
        if self.process.wait(PATIENCE):
            raise EngineError('QEMU has failed')

    # ---- what is plugged in ----

    def path(self, who, end):
        return str(self.tmp / f'{who}.{end}')

    def socket(self, who):
        """The other end of @who's cable."""
        if who not in self.sockets:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.bind(self.path(who, 'far'))
            sock.setblocking(False)
            self.sockets[who] = sock
            self.poll.register(sock, select.POLLIN)
            self.by_fd[sock.fileno()] = who
        return self.sockets[who]

    def add_netdev(self, ident, kind, **options):
        self.monitor.run('netdev_add', type=kind, id=ident, **options)
        self.netdevs.append(ident)

    def add_cable(self, ident, who):
        self.socket(who)
        self.add_netdev(ident, 'dgram',
                        local={'type': 'unix',
                               'path': self.path(who, 'near')},
                        remote={'type': 'unix',
                                'path': self.path(who, 'far')})

    def clear(self):
        while self.netdevs:
            self.monitor.run('netdev_del', id=self.netdevs.pop())
        for who in self.sockets:
            if os.path.exists(self.path(who, 'near')):
                os.unlink(self.path(who, 'near'))

    def dropped(self):
        port, = self.monitor.run('query-ipvlan')
        drops = Counter()
        for link in port, *port['slaves']:
            for one in link['stats']['drops']:
                drops[one['reason']] += one['packets']
        return drops

    def start(self, config):
        self.clear()
        self.add_cable('up0', WIRE)
        port = {'mode': config.mode, 'flag': config.flag, 'mac': PORT_MAC}
        if config.is_l3:
            port['ra'] = False
        if config.gateway:
            port['gateway'] = list(GATEWAY.values())
        for name in self.names:
            self.add_cable(f'cable-{name}', name)
            self.add_netdev(name, 'ipvlan', master='up0',
                            netdev=f'cable-{name}',
                            addr=config.addrs.get(name, []), learn='off',
                            guard='off', default=name == HOST, **port)

    def change(self, step):
        self.monitor.run(f'ipvlan-address-{step.what}', slave=step.who,
                         address=step.value)

    # ---- frames ----

    def send(self, who, frame):
        """A full socket is one whose reader has not come round yet."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.sockets[who].sendto(frame, self.path(who, 'near'))
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EngineError('QEMU does not read') from None
                select.select([], [self.sockets[who]], [], 0.01)

    def inject(self, who, frame):
        came = []
        self.send(who, frame)
        asked = self.settle(who, came)
        while asked:
            # What has waited for the answer is out when this is.
            asked = self.settle(WIRE, came)
        return Ours(came, [])

    def settle(self, who, came):
        """All that @who has sent has been dealt with."""
        marker, ends = self.markers(who)
        self.send(who, marker)
        asked = False
        while ends:
            asked |= self.take_all(PATIENCE * 1000, came, ends)
        return asked | self.take_all(0, came, ends)

    def is_question(self, who, data):
        """One is answered at once: the marker may wait for that, too."""
        answer = who == WIRE and self.config.is_l3 and answer_to(data)
        if answer:
            self.send(WIRE, answer)
        return bool(answer)

    def take_all(self, timeout, came, ends):
        """
        Read what is there; who gets the marker is @ends' no longer.  Returns
        whether there was a question.
        """
        asked = False
        ready = self.poll.poll(timeout)
        if not ready and timeout:
            raise EngineError(f'the marker has not come to {sorted(ends)}')
        for fd, _ in ready:
            who = self.by_fd[fd]
            while True:
                try:
                    data = self.sockets[who].recv(65536)
                except BlockingIOError:
                    break
                if self.MARKER in data:
                    if self.MARKER + b'%d.' % self.count in data:
                        ends.discard(who)
                elif self.is_question(who, data):
                    asked = True
                else:
                    came.append(Came(who, data))
        return asked


Outcomes = namedtuple('Outcomes', 'frames drops')


def outcomes(engine, cases):
    """An Ours for each frame, and what was dropped in each case, and why."""
    results = Outcomes([], [])
    try:
        for case in cases:
            run_case(engine, case, results)
        engine.close()
    finally:
        engine.process.kill()
    return results


def run_case(engine, case, results):
    engine.begin(case.config)
    for step in case.steps:
        if step.what == 'frame':
            results.frames.append(engine.frame(step.who, step.value))
        else:
            engine.change(step)
    results.drops.append(engine.dropped())
