#!/usr/bin/env python3
#
# Functional tests of -netdev ipvlan: what guests leave to the other side to
# do, and what is done for them.  They need root, for a tap.
#
# VLINK_GUEST names a directory with the guest's vmlinuz and initrd.img.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import struct

from ipvlan_frames import TCP, is_ipv4
from ipvlan_guest import wait_for
from ipvlan_tap import (BLOB, BLOB_MIB, HOST, PORT_MAC, Capture,
                        IpvlanTapTest, Sink)
from qemu_test import skipIfMissingCommands

HOST6 = 'fd00::1'
MTU = 1500

# A card that can do nothing by itself, and others that can do a little.
NOTHING = (',csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,'
           'guest_ecn=off,guest_ufo=off,guest_uso4=off,guest_uso6=off,'
           'host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,'
           'host_uso=off,mrg_rxbuf=off')
NO_SEGMENTS = ',guest_tso4=off,guest_tso6=off'
LEGACY = ',disable-modern=on,disable-legacy=off,mrg_rxbuf=off'


def tcp_checksum_is_right(frame):
    """Of an IPv4 frame, from scratch."""
    ip = frame.payload[:struct.unpack_from('!H', frame.payload, 2)[0]]
    segment = ip[(ip[0] & 15) * 4:]
    data = ip[12:20] + struct.pack('!HH', TCP, len(segment)) + segment
    data += b'\0' * (len(data) & 1)
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    return total % 0xffff == 0


def has_payload(frame):
    return is_ipv4(frame, TCP) and len(frame.payload) > 500


class OffloadTest(IpvlanTapTest):

    tap_options = ''
    queues = 1

    def launch(self, features, slaves=None, cpus=1):
        """Boot a guest with a card of each of these features."""
        slaves = slaves or [''] * len(features)
        self.host.run(f'ip address add {HOST}/24 dev tap0')
        self.host.run(f'ip address add {HOST6}/64 dev tap0 nodad')
        self.capture = Capture(self.host, 'tap0')
        self.addCleanup(self.capture.stop)
        self.add_guest(self.vm, cpus)
        self.vm.add_args('-netdev', 'tap,id=up0,ifname=tap0,script=no,'
                         'downscript=no' + self.tap_options)
        self.add_slaves(self.vm, slaves, f'mac={PORT_MAC}', features=features)
        with self.host:
            guest = self.boot(self.vm)
        self.make_blob(guest)
        cards = self.cards(guest, len(features))
        for i, card in enumerate(cards):
            card.set_address(f'192.0.2.{10 + i}/24')
            card.check(f'ip address add fd00::{10 + i}/64 dev eth0 nodad')
            card.addr6 = f'fd00::{10 + i}'
        return cards

    def assert_clean(self, cards):
        """Nobody got a wrong checksum, and nothing was dropped for a lie."""
        for card in cards:
            self.assertEqual(card.counter('InCsumErrors'), 0, card.name)
            self.assertNotIn('bad-vnet-header', self.drops(card.name))
        self.assertNotIn('bad-vnet-header', self.drops())

    def longest(self, frames):
        return max(len(f.payload) for f in frames if has_payload(f))


class Headers(OffloadTest):
    """The uplink takes segments whole."""

    def test_uplink(self):
        """Whatever a card can do, it talks to the host, in both families."""
        cards = self.launch(['', NOTHING, NO_SEGMENTS, LEGACY])
        for card in cards:
            self.send_to_host(card)
            self.send_to_host(card, HOST6)
            self.send_from_host(card, card.addr)
            self.send_from_host(card, card.addr6)
        self.assert_clean(cards)

    def test_siblings(self):
        """Who can takes segments whole, the others get them cut."""
        cards = self.launch(['', NOTHING, NO_SEGMENTS, LEGACY])
        for card in cards:
            for other in cards:
                if card is not other:
                    self.send_to_sibling(card, other, other.addr)
        self.send_to_sibling(cards[0], cards[1], cards[1].addr6)
        self.send_to_sibling(cards[1], cards[0], cards[0].addr6)
        self.assert_clean(cards)

    def test_whole(self):
        """A segment that both sides can take is not touched."""
        card, = self.launch([''])
        self.send_to_host(card)
        self.send_from_host(card, card.addr)
        self.assertGreater(self.longest(self.capture.sent), MTU)
        self.assertGreater(self.longest(self.capture.received), MTU)

    def test_vlan(self):
        """The same behind an 802.1Q tag."""
        cards = self.launch(['', NOTHING, NO_SEGMENTS])
        cards[0].guest.check('modprobe 8021q')
        for i, card in enumerate(cards):
            card.check('ip link add link eth0 name eth0.5 type vlan id 5')
            card.check(f'ip address add 198.51.100.{10 + i}/24 dev eth0.5')
            card.check('ip link set eth0.5 up')
            card.tagged = f'198.51.100.{10 + i}'
        for card in cards:
            for other in cards:
                if card is not other:
                    self.send_to_sibling(card, other, other.tagged)
        self.assert_clean(cards)


class NoHeaders(OffloadTest):
    """The uplink takes nothing but what is fit for the wire."""

    tap_flags = ''
    tap_options = ',vnet_hdr=off'

    def test_uplink(self):
        cards = self.launch(['', NOTHING, LEGACY])
        for card in cards:
            self.send_to_host(card)
            self.send_to_host(card, HOST6)
            self.send_from_host(card, card.addr)
            self.send_from_host(card, card.addr6)
        self.assert_clean(cards)
        sent = [f for f in self.capture.sent if has_payload(f)]
        self.assertGreater(len(sent), 1000)
        self.assertLessEqual(self.longest(sent), MTU)
        for frame in sent[::10]:
            self.assertTrue(tcp_checksum_is_right(frame), frame)

    def test_siblings(self):
        """Segments go whole between guests whatever the uplink is."""
        one, two = self.launch(['', ''])
        self.send_to_sibling(one, two, two.addr)
        stats = self.slave('n0')['stats']
        self.assertGreater(stats['tx-bytes'] / stats['tx-packets'], MTU)
        self.send_to_sibling(two, one, one.addr)
        self.assert_clean((one, two))


@skipIfMissingCommands('ip')
class Queues(OffloadTest):
    """Two queues all the way through."""

    tap_flags = 'vnet_hdr multi_queue'
    tap_options = ',queues=2'

    def rx_packets(self, card, queue):
        for line in card.check('ethtool -S eth0').split('\n'):
            name, _, value = line.strip().partition(': ')
            if name in (f'rx_queue_{queue}_packets', f'rx{queue}_packets'):
                return int(value)
        raise KeyError(queue)

    def many_flows(self, card, count=8):
        """Bytes of several connections at once, both ways."""
        sinks = [Sink(self.host) for _ in range(count)]
        card.check(' & '.join(f'nc {HOST} {sink.port} <{BLOB}'
                              for sink in sinks) + ' & wait', 240)
        digest = card.digest(BLOB)
        for sink in sinks:
            self.assertEqual(sink.digest(), digest)

    def use_queues(self, card):
        """Flows until there was one in each queue: chance decides."""
        before = [self.rx_packets(card, queue) for queue in (0, 1)]

        def used():
            self.many_flows(card, 4)
            return all(self.rx_packets(card, queue) > before[queue] + 100
                       for queue in (0, 1))
        wait_for(used, 'frames in both queues')

    def test_two_queues(self):
        """Flows use both; the guest may change their number at any time."""
        card, = self.launch([',mq=on,vectors=6'], ['queues=2'], cpus=2)
        self.assertIn('Combined:\t2', card.check('ethtool -l eth0')
                      .replace(':\t\t', ':\t'))
        card.check('ethtool -L eth0 combined 2')
        self.use_queues(card)

        before = self.rx_packets(card, 1)
        card.check('ethtool -L eth0 combined 1')
        self.many_flows(card, 4)
        card.check('ethtool -L eth0 combined 2')
        self.assertLess(self.rx_packets(card, 1) - before, 100)
        self.use_queues(card)
        self.assert_clean([card])

    def test_one_queue(self):
        """A slave with one queue on an uplink with two."""
        one, two = self.launch(['', ',mq=on,vectors=6'], ['', 'queues=2'])
        self.many_flows(one, 4)
        self.many_flows(two, 4)
        self.send_to_sibling(one, two, two.addr)
        self.send_from_host(one, one.addr)
        self.assert_clean((one, two))


class Rates(OffloadTest):
    """A slave may send, and is sent to, no faster than it is told."""

    RATE = 40_000_000

    def seconds(self, transfer):
        """How long the guest's clock says that it took."""
        before = float(self.card.check('cat /proc/uptime').split()[0])
        transfer()
        return float(self.card.check('cat /proc/uptime').split()[0]) - before

    def test_rates(self):
        card, = self.launch([''], [f'tx-bps={self.RATE},rx-bps={self.RATE}'])
        self.card = card
        least = BLOB_MIB * 1_000_000 * 8 / self.RATE
        self.assertGreater(self.seconds(lambda: self.send_to_host(card)),
                           least * 0.95)
        self.assertGreater(
            self.seconds(lambda: self.send_from_host(card, card.addr)),
            least * 0.95)
        slave = self.slave('n0')
        self.assertEqual(slave['tx-bps'], self.RATE)
        self.assertEqual(slave['rx-bps'], self.RATE)
        self.assert_clean([card])


if __name__ == '__main__':
    IpvlanTapTest.main()
