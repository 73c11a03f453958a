/*
 * What a hostile guest runs in the functional tests of -netdev ipvlan
 *
 *   ipvlan_hostile frames DEVICE HEX...
 *       send frames as they are
 *   ipvlan_hostile ports|hosts ADDRESS COUNT
 *       send datagrams to that many ports of an address, from 1024 on, and on
 *       the next address when there are no more; or to so many addresses
 *
 * Linked statically, so that it needs nothing of the guest's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>
#include <err.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FIRST_PORT 1024
#define N_PORTS    (65536 - FIRST_PORT)

typedef union Address {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} Address;

static void send_frames(const char *device, char **hex)
{
    struct sockaddr_ll to = {
        .sll_family = AF_PACKET,
        .sll_ifindex = if_nametoindex(device),
    };
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    unsigned char frame[2048];

    if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        err(1, "%s", device);
    }
    for (; *hex; hex++) {
        size_t len = strlen(*hex) / 2;

        for (size_t i = 0; i < len && i < sizeof(frame); i++) {
            sscanf(*hex + 2 * i, "%2hhx", &frame[i]);
        }
        if (send(fd, frame, len, 0) != len) {
            err(1, "send");
        }
    }
}

static Address parse(const char *text)
{
    Address a = { .sa.sa_family = strchr(text, ':') ? AF_INET6 : AF_INET };

    if (inet_pton(a.sa.sa_family, text, a.sa.sa_family == AF_INET
                  ? (void *)&a.v4.sin_addr : &a.v6.sin6_addr) != 1) {
        errx(1, "'%s' is not an address", text);
    }
    return a;
}

/* To the address that is @host after @to. */
static void send_to(int fd, Address to, unsigned host, unsigned port)
{
    socklen_t len = sizeof(to.v4);

    if (to.sa.sa_family == AF_INET) {
        to.v4.sin_addr.s_addr = htonl(ntohl(to.v4.sin_addr.s_addr) + host);
        to.v4.sin_port = htons(port);
    } else {
        uint32_t *last = &to.v6.sin6_addr.s6_addr32[3];

        *last = htonl(ntohl(*last) + host);
        to.v6.sin6_port = htons(port);
        len = sizeof(to.v6);
    }
    /* The socket is told who does not get it; that is not to stop it. */
    for (int tries = 0; sendto(fd, "x", 1, 0, &to.sa, len) != 1; tries++) {
        if (tries == 10) {
            err(1, "sendto");
        }
    }
}

static void flood(const char *address, unsigned count, unsigned n_ports)
{
    Address to = parse(address);
    int fd = socket(to.sa.sa_family, SOCK_DGRAM, 0);

    if (fd < 0) {
        err(1, "socket");
    }
    for (unsigned i = 0; i < count; i++) {
        send_to(fd, to, i / n_ports, FIRST_PORT + i % n_ports);
    }
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "frames") == 0) {
        send_frames(argv[2], argv + 3);
    } else if (argc == 4 && strcmp(argv[1], "ports") == 0) {
        flood(argv[2], atoi(argv[3]), N_PORTS);
    } else if (argc == 4 && strcmp(argv[1], "hosts") == 0) {
        flood(argv[2], atoi(argv[3]), 1);
    } else {
        errx(1, "see the comment in its source");
    }
    return 0;
}
