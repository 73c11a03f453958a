#!/usr/bin/env python3
#
# Functional tests of multicast groups with -netdev ipvlan: whose members get
# what.  They need root.
#
# VLINK_GUEST names a directory with the guest's vmlinuz and initrd.img.
#
# SPDX-License-Identifier: GPL-2.0-or-later

from ipvlan_frames import (ICMPV6, IPV4, IPV6, ip_destination, is_icmp,
                           pack_address)
from ipvlan_guest import IpvlanTest, wait_for
from ipvlan_topology import TopologyTest
from qemu_test import skipIfMissingCommands

BROADCAST = '192.0.2.255'

IGMP = 2
IGMP_QUERY, MLD_QUERY = 0x11, 130

# Two groups of each family, with the same MAC address.
GROUPS = '239.1.1.1', 'ff05::1:1'
OTHERS = '238.129.1.1', 'ff08::1:1'
# What a link needs goes to everybody.
LINK_GROUPS = '224.0.0.251', 'ff02::fb'


def is_query(frame):
    if frame.ethertype == IPV4 and frame.payload[9] == IGMP:
        return frame.payload[(frame.payload[0] & 15) * 4] == IGMP_QUERY
    # MLD comes behind a hop-by-hop header with the router alert.
    return (frame.ethertype == IPV6 and frame.payload[6] == 0 and
            frame.payload[40] == ICMPV6 and frame.payload[48] == MLD_QUERY)


@skipIfMissingCommands('ip', 'bridge', 'ping')
class Groups(TopologyTest):

    mode = 'l2-macnat'

    def launch_listeners(self):
        self.listeners = self.launch(slaves=('', '', ''), gateways=(),
                                     configure=False)
        for card in self.listeners:
            self.configure_on_link(card)
        return self.listeners

    def start_querier(self):
        """The switch asks who is a member, and sends where they are."""
        self.host.set('ipv6/conf/br0/disable_ipv6', 0)
        self.host.run('ip address add 192.0.2.4/24 dev br0')
        self.host.run('ip link set br0 type bridge mcast_snooping 1 '
                      'mcast_query_use_ifaddr 1 mcast_startup_query_interval '
                      '100 mcast_query_response_interval 100 '
                      'mcast_last_member_interval 50 mcast_querier 1')
        for ethertype in IPV4, IPV6:
            wait_for(lambda: [f for f in list(self.capture.received)
                              if f.ethertype == ethertype and is_query(f)],
                     'a query')

    @staticmethod
    def join(card, groups):
        for group in groups:
            card.check(f'ip address add {group}/{128 if ":" in group else 32} '
                       'dev eth0 autojoin')

    @staticmethod
    def leave(card, groups):
        for group in groups:
            card.check(f'ip address del {group}/{128 if ":" in group else 32} '
                       'dev eth0')

    def wait_for_members(self, groups, present=True):
        """Until the switch knows that there are, or are no, members."""
        def known():
            database = self.host.run('bridge mdb show').stdout
            return all((f'port tap0 grp {group} ' in database) == present
                       for group in groups)
        wait_for(known, f'membership of {groups}')

    def count(self, card, group):
        """Pings to @group that this card was given so far."""
        return len([f for f in self.got(card)
                    if is_icmp(f) and ip_destination(f) == pack_address(group)])

    def receivers(self, group, sender=None):
        """Send to @group, by default from beside.  Return who gets it."""
        sender = sender or self.beside
        counts = [self.count(card, group) for card in self.listeners]
        broadcasts = [self.count(card, BROADCAST) for card in self.listeners]
        # Nobody answers.
        sender.try_run(f'ping -q -n -c 1 -W 0.1 -t 5 -I eth0 {group}')
        # What is broadcast after it comes after it, and to everybody.
        sender.try_run(f'ping -q -n -b -c 1 -W 0.1 {BROADCAST}')
        for card, count in zip(self.listeners, broadcasts):
            if card is not sender:
                wait_for(lambda: self.count(card, BROADCAST) > count,
                         'broadcast', 10)
        return {card.name for card, count in zip(self.listeners, counts)
                if self.count(card, group) > count}

    def wait_until_only(self, card, groups):
        """
        Wait until only @card gets what is for @groups: before guests have had
        the time to answer the first query, all do.
        """
        for group in groups:
            wait_for(lambda: self.receivers(group) == {card.name},
                     f'members of {group} to be known')

    def test_members(self):
        """Where there is a querier, a group's frames go to its members."""
        one, two, three = self.launch_listeners()
        self.start_querier()
        self.join(one, GROUPS)
        # To its NIC, this one is as good a member: the MAC is the same.
        self.join(two, OTHERS)
        self.wait_for_members(GROUPS + OTHERS)
        self.wait_until_only(one, GROUPS)
        for group, other in zip(GROUPS, OTHERS):
            self.assertEqual(self.receivers(other), {'n1'})
            # Siblings are no different.
            self.assertEqual(self.receivers(group, three), {'n0'})
            self.assertEqual(self.receivers(other, three), {'n1'})

        self.leave(one, GROUPS)
        self.wait_for_members(GROUPS, False)
        self.join(one, OTHERS)
        self.join(two, GROUPS)
        self.wait_for_members(GROUPS)
        self.wait_until_only(two, GROUPS)
        for other in OTHERS:
            self.assertEqual(self.receivers(other), {'n0', 'n1'})
        # Those of the link itself go to whoever listens.
        for group in LINK_GROUPS:
            self.join(one, [group])
            self.join(three, [group])
            self.assertEqual(self.receivers(group), {'n0', 'n2'})

    def test_no_querier(self):
        """Without one nobody can know: the NIC's filter decides."""
        one, two, _ = self.launch_listeners()
        self.join(one, GROUPS)
        self.join(two, OTHERS)
        for group in GROUPS:
            self.assertEqual(self.receivers(group), {'n0', 'n1'})

    def test_promiscuous(self):
        """Who listens to all groups, as a NIC, is still no member."""
        one, two, three = self.launch_listeners()
        self.start_querier()
        self.join(one, GROUPS)
        two.check('ip link set eth0 allmulticast on')
        self.wait_for_members(GROUPS)
        self.wait_until_only(one, GROUPS)
        for group in LINK_GROUPS:
            self.assertEqual(self.receivers(group, three), {'n1'})


if __name__ == '__main__':
    IpvlanTest.main()
