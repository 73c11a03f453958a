/*
 * Request and response over TCP, and a storm of small broadcasts
 *
 *   rr serve PORT              answer every byte with a byte, for ever
 *   rr ask ADDRESS PORT COUNT  ask COUNT times, one at a time; print what each
 *                              took, in nanoseconds, a line each
 *   rr storm ADDRESS PORT MS   send datagrams of 64 bytes to a broadcast
 *                              address for so long; print how many
 *
 * Linked statically, so that the same file runs on the host and in the guest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>
#include <err.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DATAGRAM 64

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static struct sockaddr_in address(const char *host, const char *port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(atoi(port)),
    };

    if (!inet_aton(host, &sa.sin_addr)) {
        errx(1, "'%s' is not an IPv4 address", host);
    }
    return sa;
}

static int new_socket(int type, int level, int option)
{
    int fd = socket(AF_INET, type, 0), one = 1;

    if (fd < 0 || setsockopt(fd, level, option, &one, sizeof(one)) < 0) {
        err(1, "socket");
    }
    return fd;
}

static void answer(int fd)
{
    int one = 1;
    char c;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    while (read(fd, &c, 1) == 1 && write(fd, &c, 1) == 1) {
        continue;
    }
    close(fd);
}

static void serve(const char *port)
{
    struct sockaddr_in sa = address("0.0.0.0", port);
    int fd = new_socket(SOCK_STREAM, SOL_SOCKET, SO_REUSEADDR);

    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        listen(fd, 8) < 0) {
        err(1, "port %s", port);
    }
    while (1) {
        int asker = accept(fd, NULL, NULL);

        if (asker < 0) {
            err(1, "accept");
        }
        answer(asker);
    }
}

static void ask(const char *host, const char *port, long count)
{
    struct sockaddr_in sa = address(host, port);
    int fd = new_socket(SOCK_STREAM, IPPROTO_TCP, TCP_NODELAY);
    int64_t *took = calloc(count, sizeof(*took));
    char c = 0;

    if (!took || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        err(1, "connect to %s", host);
    }
    for (long i = 0; i < count; i++) {
        int64_t start = now_ns();

        if (write(fd, &c, 1) != 1 || read(fd, &c, 1) != 1) {
            err(1, "no answer");
        }
        took[i] = now_ns() - start;
    }
    for (long i = 0; i < count; i++) {
        printf("%lld\n", (long long)took[i]);
    }
    free(took);
}

static void storm(const char *host, const char *port, long ms)
{
    struct sockaddr_in sa = address(host, port);
    int fd = new_socket(SOCK_DGRAM, SOL_SOCKET, SO_BROADCAST);
    int64_t end = now_ns() + ms * INT64_C(1000000);
    char data[DATAGRAM] = { 0 };
    long sent = 0;

    do {
        sent += sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&sa,
                       sizeof(sa)) == sizeof(data);
    } while (now_ns() < end);
    printf("%ld\n", sent);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "serve")) {
        serve(argv[2]);
    } else if (argc == 5 && !strcmp(argv[1], "ask")) {
        ask(argv[2], argv[3], atol(argv[4]));
    } else if (argc == 5 && !strcmp(argv[1], "storm")) {
        storm(argv[2], argv[3], atol(argv[4]));
    } else {
        errx(2, "usage: rr serve PORT | ask ADDRESS PORT COUNT | "
             "storm ADDRESS PORT MS");
    }
    return 0;
}
