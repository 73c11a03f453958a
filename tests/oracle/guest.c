/*
 * The oracle's hands inside a Linux guest: inject frames, tell who got them
 *
 * A file of commands comes in with the initrd, and reports go out by a
 * virtio-serial port.  What to set up is decided outside: this knows nothing
 * of ipvlan.  A command is its length (4 bytes, of all that follows it), what
 * it is (1), the network namespace (1), a number (2), and data:
 *
 *   S    sysctl: a path below /proc/sys, a zero, the value
 *   N    a netlink message; the number is 1 where it may fail
 *   L    a netlink message that asks for a route, until it is local
 *   R    a recorder of that number: RecorderConfig
 *   X    no recorders any more
 *   M    the marker: its interface (4), its bytes
 *   F    a frame, of the Ethernet protocol that the number is: its
 *        interface (4), its bytes
 *
 * All numbers are little-endian, as the guest is.
 *
 * A frame has been dealt with when a marker, sent behind it from the wire,
 * has come to all that it has to come to: it takes the same queues.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    NAMESPACES = 6,             /* the host's, the wire's, the slaves' */
    NS_FD = 100,                /* namespace N is file NS_FD + N */
    RECORDERS = 128,
    FRAME_MAX = 4096,
    PATIENCE_MS = 30000,

    MARKER_TYPE = 0x88b6,       /* for local experiments, IEEE 802 */
    MARKER_AT = 14,             /* its number, behind the Ethernet header */

    FROM_GUEST = 0xffff,        /* a report of ours, in words */
};

/* A packet socket, or a raw one of IPv4 or IPv6. */
enum { RECORD_PACKET, RECORD_RAW4, RECORD_RAW6 };

typedef struct Recorder {
    uint16_t id;
    uint8_t kind;
    bool marked;                /* the marker comes here, too */
    int fd;
} Recorder;

static Recorder recorders[RECORDERS];
static unsigned n_recorders;
static int inject_fd[NAMESPACES], netlink_fd[NAMESPACES];
static int out_fd;
static uint32_t frame_number;

/* What the marker is, and where it goes in. */
static uint8_t marker[64];
static unsigned marker_len, marker_ns;
static int marker_ifindex;

/* --- reports: length, number of the frame, recorder, packet type, bytes --- */

static void write_all(const void *data, size_t len)
{
    const uint8_t *at = data;

    while (len) {
        ssize_t n = write(out_fd, at, len);

        if (n <= 0) {
            perror("write");
            exit(EXIT_FAILURE);
        }
        at += n;
        len -= n;
    }
}

static void report(uint16_t recorder, uint16_t type, const void *data,
                   uint32_t len)
{
    struct {
        uint32_t len, frame;
        uint16_t recorder, type;
    } head = { len + 8, frame_number, recorder, type };
    uint8_t buf[sizeof(head) + FRAME_MAX + 64];

    memcpy(buf, &head, sizeof(head));
    memcpy(buf + sizeof(head), data, len);
    write_all(buf, sizeof(head) + len);
}

/* Tell it, and end. */
__attribute__((format(printf, 1, 2), noreturn))
static void fail(const char *format, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    report(FROM_GUEST, 1, text, strlen(text));
    exit(EXIT_FAILURE);
}

/* --- namespaces ----------------------------------------------------------- */

static void enter(unsigned ns)
{
    if (setns(NS_FD + ns, CLONE_NEWNET)) {
        fail("setns %u: %s", ns, strerror(errno));
    }
}

static int open_socket(int domain, int type, int protocol)
{
    int fd = socket(domain, type | SOCK_CLOEXEC, protocol);

    if (fd < 0) {
        fail("socket %d %d %d: %s", domain, type, protocol, strerror(errno));
    }
    return fd;
}

static void make_namespaces(void)
{
    for (unsigned i = 0; i < NAMESPACES; i++) {
        int fd;

        if (i && unshare(CLONE_NEWNET)) {
            fail("unshare: %s", strerror(errno));
        }
        fd = open("/proc/self/ns/net", O_RDONLY);
        if (fd < 0 || dup2(fd, NS_FD + i) < 0) {
            fail("namespace %u: %s", i, strerror(errno));
        }
        close(fd);
        inject_fd[i] = open_socket(AF_PACKET, SOCK_RAW, 0);
        netlink_fd[i] = open_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    }
}

/* --- setting up ----------------------------------------------------------- */

/* @data: a path below /proc/sys, a zero, and what to write there. */
static void set_sysctl(unsigned ns, const char *data, unsigned len)
{
    char path[256];
    unsigned name = strlen(data) + 1;
    int fd;

    enter(ns);
    snprintf(path, sizeof(path), "/proc/sys/%s", data);
    fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, data + name, len - name) < 0) {
        fail("%s: %s", path, strerror(errno));
    }
    close(fd);
}

static void send_netlink(unsigned ns, bool may_fail, const void *data,
                         unsigned len)
{
    char answer[8192];
    const struct nlmsghdr *h = (const struct nlmsghdr *)answer;
    const struct nlmsghdr *sent = data;

    if (send(netlink_fd[ns], data, len, 0) != (ssize_t)len ||
        recv(netlink_fd[ns], answer, sizeof(answer), 0) < NLMSG_HDRLEN) {
        fail("netlink: %s", strerror(errno));
    }
    if (h->nlmsg_type == NLMSG_ERROR && !may_fail) {
        const struct nlmsgerr *e = NLMSG_DATA(h);

        if (e->error) {
            fail("netlink message %u in namespace %u: %s", sent->nlmsg_type,
                 ns, strerror(-e->error));
        }
    }
}

/*
 * Linux makes an IPv6 address its own in a workqueue.  @data asks for the way
 * to one: until that is local, others have their turn.
 */
static void await_local(unsigned ns, const void *data, unsigned len)
{
    struct {
        struct nlmsghdr h;
        struct rtmsg route;
        char rest[4096];
    } answer;
    time_t deadline = time(NULL) + PATIENCE_MS / 1000;

    do {
        if (time(NULL) > deadline) {
            fail("an address is not local in namespace %u", ns);
        }
        sched_yield();
        if (send(netlink_fd[ns], data, len, 0) != (ssize_t)len ||
            recv(netlink_fd[ns], &answer, sizeof(answer), 0) < 0) {
            fail("netlink: %s", strerror(errno));
        }
    } while (answer.h.nlmsg_type != RTM_NEWROUTE ||
             answer.route.rtm_type != RTN_LOCAL);
}

/* --- recording ------------------------------------------------------------ */

typedef struct RecorderConfig {
    uint8_t kind;
    uint8_t marked;
    uint16_t protocol;          /* of Ethernet, or of IP */
    int32_t ifindex;
} __attribute__((packed)) RecorderConfig;

static void set_option(int fd, int level, int name, const void *value,
                       unsigned len)
{
    if (setsockopt(fd, level, name, value, len)) {
        fail("setsockopt %d %d: %s", level, name, strerror(errno));
    }
}

static void set_flag(int fd, int level, int name)
{
    set_option(fd, level, name, &(int){ 1 }, sizeof(int));
}

/* All groups: a datagram socket, which the others' slaves have, wants so. */
static int open_packet(const RecorderConfig *c)
{
    int fd = open_socket(AF_PACKET, SOCK_RAW, 0);
    struct sockaddr_ll addr = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(c->protocol),
        .sll_ifindex = c->ifindex,
    };
    struct packet_mreq all = {
        .mr_ifindex = c->ifindex, .mr_type = PACKET_MR_ALLMULTI,
    };

    set_flag(fd, SOL_PACKET, PACKET_AUXDATA);
    set_flag(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING);
    set_option(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all));
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
        fail("bind to interface %d: %s", c->ifindex, strerror(errno));
    }
    return fd;
}

static int open_raw6(const RecorderConfig *c)
{
    int fd = open_socket(AF_INET6, SOCK_RAW, c->protocol);

    set_flag(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
    return fd;
}

static void open_recorder(unsigned ns, uint16_t id, const RecorderConfig *c)
{
    Recorder *r = &recorders[n_recorders++];

    if (n_recorders > RECORDERS) {
        fail("too many recorders");
    }
    enter(ns);
    *r = (Recorder) { .id = id, .kind = c->kind, .marked = c->marked };
    r->fd = c->kind == RECORD_PACKET ? open_packet(c) :
            c->kind == RECORD_RAW4 ?
            open_socket(AF_INET, SOCK_RAW, c->protocol) : open_raw6(c);
}

static void close_recorders(void)
{
    while (n_recorders) {
        close(recorders[--n_recorders].fd);
    }
}

/* The tag that the kernel has taken off comes back to where it was. */
static unsigned put_tag_back(struct msghdr *m, uint8_t *frame, unsigned len)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        const struct tpacket_auxdata *aux = (void *)CMSG_DATA(c);
        uint16_t tag[2];

        if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA ||
            !(aux->tp_status & TP_STATUS_VLAN_VALID)) {
            continue;
        }
        tag[0] = htons(aux->tp_status & TP_STATUS_VLAN_TPID_VALID ?
                       aux->tp_vlan_tpid : 0x8100);
        tag[1] = htons(aux->tp_vlan_tci);
        memmove(frame + 16, frame + 12, len - 12);
        memcpy(frame + 12, tag, sizeof(tag));
        return len + sizeof(tag);
    }
    return len;
}

/* Both addresses, which a raw socket of IPv6 leaves out, before the rest. */
static unsigned put_addresses(struct msghdr *m, uint8_t *data, unsigned len)
{
    const struct sockaddr_in6 *from = m->msg_name;

    memmove(data + 32, data, len);
    memcpy(data, &from->sin6_addr, 16);
    memset(data + 16, 0, 16);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        const struct in6_pktinfo *info = (void *)CMSG_DATA(c);

        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            memcpy(data + 16, &info->ipi6_addr, 16);
        }
    }
    return len + 32;
}

static bool is_marker(const uint8_t *frame, unsigned len)
{
    return len >= marker_len && !memcmp(frame + 12, marker + 12, 6);
}

/* One packet; false where there is none.  @was_marker may be NULL. */
static bool take(const Recorder *r, int flags, bool *was_marker)
{
    uint8_t data[FRAME_MAX + 64], control[512];
    union {
        struct sockaddr_ll ll;
        struct sockaddr_in6 in6;
        struct sockaddr_in in;
    } from;
    struct iovec iov = { data, FRAME_MAX };
    struct msghdr m = {
        .msg_name = &from, .msg_namelen = sizeof(from),
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = control, .msg_controllen = sizeof(control),
    };
    ssize_t len = recvmsg(r->fd, &m, flags);

    if (len < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return false;
        }
        fail("recorder %u: %s", r->id, strerror(errno));
    }
    if (r->kind == RECORD_PACKET) {
        if (is_marker(data, len)) {
            if (was_marker) {
                *was_marker = true;
            }
            return true;
        }
        len = put_tag_back(&m, data, len);
        report(r->id, from.ll.sll_pkttype, data, len);
        return true;
    }
    if (r->kind == RECORD_RAW6) {
        len = put_addresses(&m, data, len);
    }
    report(r->id, 0, data, len);
    return true;
}

/* --- injecting ------------------------------------------------------------ */

static void inject(unsigned ns, int ifindex, uint16_t protocol,
                   const void *frame, unsigned len)
{
    struct sockaddr_ll to = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(protocol),
        .sll_ifindex = ifindex,
        .sll_halen = 6,
    };

    memcpy(to.sll_addr, frame, 6);
    /* ENOBUFS: the driver has dropped it, which is an outcome */
    if (sendto(inject_fd[ns], frame, len, 0, (struct sockaddr *)&to,
               sizeof(to)) < 0 && errno != ENOBUFS) {
        fail("frame %u of %u bytes: %s", frame_number, len, strerror(errno));
    }
}

static void await_marker(const Recorder *r)
{
    struct pollfd p = { r->fd, POLLIN, 0 };
    bool found = false;

    while (!found) {
        if (poll(&p, 1, PATIENCE_MS) <= 0) {
            fail("frame %u: recorder %u has not got the marker",
                 frame_number, r->id);
        }
        take(r, MSG_DONTWAIT, &found);
    }
}

/* All that was sent has been dealt with, and reported. */
static void settle(void)
{
    memcpy(marker + MARKER_AT, &frame_number, sizeof(frame_number));
    inject(marker_ns, marker_ifindex, MARKER_TYPE, marker, marker_len);
    for (unsigned i = 0; i < n_recorders; i++) {
        if (recorders[i].marked) {
            await_marker(&recorders[i]);
        }
    }
    for (unsigned i = 0; i < n_recorders; i++) {
        while (take(&recorders[i], MSG_DONTWAIT, NULL)) {
            continue;
        }
    }
}

/* --- commands ------------------------------------------------------------- */

typedef struct Command {
    uint32_t len;               /* without itself */
    uint8_t what;
    uint8_t ns;
    uint16_t arg;
} __attribute__((packed)) Command;

static int32_t get_ifindex(const uint8_t *data)
{
    int32_t v;

    memcpy(&v, data, sizeof(v));
    return v;
}

static void run(const Command *c, const uint8_t *data, unsigned len)
{
    switch (c->what) {
    case 'S':
        set_sysctl(c->ns, (const char *)data, len);
        break;
    case 'N':
        send_netlink(c->ns, c->arg, data, len);
        break;
    case 'L':
        await_local(c->ns, data, len);
        break;
    case 'R':
        open_recorder(c->ns, c->arg, (const RecorderConfig *)data);
        break;
    case 'X':
        close_recorders();
        break;
    case 'M':
        marker_ns = c->ns;
        marker_ifindex = get_ifindex(data);
        marker_len = len - 4;
        memcpy(marker, data + 4, marker_len);
        break;
    case 'F':
        inject(c->ns, get_ifindex(data), c->arg, data + 4, len - 4);
        settle();
        frame_number++;
        break;
    default:
        fail("there is no command %d", c->what);
    }
}

static const uint8_t *map_file(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    void *data;

    if (fd < 0 || fstat(fd, &st)) {
        fail("%s: %s", path, strerror(errno));
    }
    data = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
        fail("%s: %s", path, strerror(errno));
    }
    *len = st.st_size;
    return data;
}

int main(int argc, char **argv)
{
    const uint8_t *at, *end;
    size_t len;

    if (argc != 3) {
        fprintf(stderr, "usage: guest COMMANDS PORT\n");
        return EXIT_FAILURE;
    }
    out_fd = open(argv[2], O_WRONLY);
    if (out_fd < 0) {
        perror(argv[2]);
        return EXIT_FAILURE;
    }
    at = map_file(argv[1], &len);
    make_namespaces();
    for (end = at + len; at < end; ) {
        Command c;

        memcpy(&c, at, sizeof(c));
        run(&c, at + sizeof(c), c.len - 4);
        at += 4 + c.len;
    }
    report(FROM_GUEST, 0, "done", 4);
    return EXIT_SUCCESS;
}
