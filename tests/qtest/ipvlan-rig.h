/*
 * What the qtests of -netdev ipvlan share: frames, a QEMU with an uplink and
 * guests on sockets, virtio-net drivers
 *
 * The uplink and the guests are datagram sockets, whose other ends are here;
 * where it takes a NIC, it is a virtio-net one.  A frame that must not arrive
 * is waited for by counters: once QEMU has taken all that was sent, and has
 * nothing waiting, what is not in a socket does not come any more.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_IPVLAN_RIG_H
#define TESTS_IPVLAN_RIG_H

#include "libqtest.h"
#include "libqos/virtio-pci.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_net.h"

#define TIMEOUT_US (30 * G_USEC_PER_SEC)
#define MAC_LEN 6

/* What the wire is to see, in all tests that do not ask for the default. */
#define PORT_MAC "02:00:00:00:00:01"

#define IP_A "10.0.0.1"
#define IP_B "10.0.0.2"
#define IP_C "10.0.0.3"
#define EXT_IP "10.0.0.100"
#define NOBODY "10.0.0.200"

extern const uint8_t port_mac[MAC_LEN], mac_a[MAC_LEN], mac_b[MAC_LEN];
extern const uint8_t mac_c[MAC_LEN], ext_mac[MAC_LEN], broadcast[MAC_LEN];
extern const uint8_t no_mac[MAC_LEN];

/* --- frames -------------------------------------------------------------- */

typedef struct Frame {
    size_t len;
    uint8_t b[512];
} Frame;

enum { ARP_REQUEST = 1, ARP_REPLY = 2 };

void put(Frame *f, const void *data, size_t len);
void put16(Frame *f, uint16_t value);
void put_ip(Frame *f, const char *ip);

/* RFC 1071, of @len bytes, an even number, on top of @sum. */
uint16_t checksum(const uint8_t *b, size_t len, uint32_t sum);

Frame eth(const uint8_t *dst, const uint8_t *src, uint16_t type);
Frame arp(int op, const uint8_t *dst, const uint8_t *sha,
          const char *spa, const uint8_t *tha, const char *tpa);

Frame who_has(const uint8_t *src, const char *sip, const char *dip);

/* An ARP announcement (RFC 5227), for a guest that shows that it is there. */
Frame announcement(const uint8_t *mac, const char *ip);

/* IPv4 and UDP; @tag is all that it carries. */
Frame udp(const uint8_t *dst, const uint8_t *src, const char *sip,
          const char *dip, uint32_t tag);
uint32_t udp_tag(const Frame *f);

/* From outside to @ip behind the port. */
Frame inbound(const char *ip, uint32_t tag);

/* A neighbour solicitation with its source's link-layer address. */
Frame solicitation(const uint8_t *dst, const uint8_t *src,
                   const char *sip, const char *dip,
                   const char *target);

Frame with_src(Frame f, const uint8_t *mac);
Frame with_dst(Frame f, const uint8_t *mac);

/* --- query-ipvlan -------------------------------------------------------- */

/* The answer, flat: "0.slaves.1.stats.rx-packets" and the like. */
QDict *status(QTestState *qts);

/* All of it as text, to see whether anything has changed. */
char *status_text(QTestState *qts);

bool has(QTestState *qts, const char *key);
int64_t get_int(QTestState *qts, const char *key);
bool get_bool(QTestState *qts, const char *key);
char *get_str(QTestState *qts, const char *key);
void assert_str(QTestState *qts, const char *key, const char *expected);

/* Of what "0" or "0.slaves.1" has dropped; NULL @reason: the sum. */
int64_t get_drops(QTestState *qts, const char *who, const char *reason);

/* --- a QEMU with an uplink and guests on sockets ------------------------- */

enum { UP, N0, N1, N2, N_WIRES };

typedef struct Rig {
    QTestState *qts;
    int fd[N_WIRES];            /* our ends, -1: not there */
    int child[N_WIRES];         /* QEMU's, until it runs */
    int64_t sent[N_WIRES];
    GString *args;
} Rig;

/* Run QEMU until it ends by itself; the exit code is the result. */
int run_qemu(const char *args, char **out, char **err);
/* It refuses @args, with this one sentence and nothing else, and ends. */
void assert_qemu_refuses(const char *args, const char *sentence);

/* An uplink, and nothing on it; rig_start() is to come. */
Rig *rig_prepare(const char *machine);
void rig_wire(Rig *rig, int wire, const char *id);
void rig_add_slave(Rig *rig, int wire, const char *options);
/* Room for a few frames only, in what QEMU has sent on @wire. */
void rig_make_small(Rig *rig, int wire);
void rig_start(Rig *rig);

/*
 * Slaves n0, n1, ... with the port's @port options and an option string each,
 * NULL at the end.
 */
Rig *rig_new(const char *port, ...) G_GNUC_NULL_TERMINATED;
void rig_free(Rig *rig);

void send_bytes(Rig *rig, int wire, const void *b, size_t len);
void send_frame(Rig *rig, int wire, Frame f);
Frame receive(Rig *rig, int wire);
char *hex(const Frame *f);
void expect(Rig *rig, int wire, Frame expected);
void settle(Rig *rig);
void discard(Rig *rig, int wire);
void discard_all(Rig *rig);

/* Nothing has arrived, or is on its way, that was not expected. */
void expect_nothing(Rig *rig);

/* The machine's clock goes on. */
void step(Rig *rig, int64_t seconds);

/* The guest on @wire shows that it has @ip. */
void introduce(Rig *rig, int wire, const uint8_t *mac, const char *ip);

/* --- QMP ----------------------------------------------------------------- */

void add(QTestState *qts, const char *id, const char *options);
void add_fails(QTestState *qts, const char *id, const char *options,
               const char *desc);
void del(QTestState *qts, const char *id);
void add_hubport(QTestState *qts, const char *id, int hub);
void set_link(QTestState *qts, const char *name, bool up);

/* Give QEMU @fd under the name @name; it is QEMU's alone from now on. */
void pass_fd(QTestState *qts, const char *name, int fd);

/* --- NICs ---------------------------------------------------------------- */

#define NIC_SLOT 4              /* of the first one */
#define NIC_QUEUES 4

typedef struct Nic {
    Rig *rig;
    QVirtioPCIDevice *dev;
    QVirtQueue *rx[NIC_QUEUES], *tx[NIC_QUEUES], *ctrl;
    int n_queues;
    size_t hdr_len;
    bool mergeable;
} Nic;

/* Of the guest that has all the NICs. */
extern QGuestAllocator guest_alloc_state;

/* The slave n@n with @options, and a NIC on it with @device's. */
void add_nic_with(Rig *rig, int n, const char *options, const char *device);
void add_nic(Rig *rig, int n, const char *options);
void nic_rig_start(Rig *rig);
void nic_rig_free(Rig *rig);

/* One NIC, on the slave n0. */
Rig *rig_of_nic(const char *options);

/*
 * A driver that does without @features has come as far as to look at the
 * configuration.
 */
QVirtioPCIDevice *nic_find_without(int n, uint64_t features);
QVirtioPCIDevice *nic_find(int n);
bool nic_is_up(QVirtioPCIDevice *dev);

/* A driver with all its queues, of which it uses the first ones. */
Nic nic_start_without(Rig *rig, int n, uint64_t features);
Nic nic_start(Rig *rig, int n);
void nic_stop(Nic *nic);

void nic_kick_and_wait(Nic *nic, QVirtQueue *vq, uint32_t head);

/* Have it sent, which needs not be done at once. */
void nic_push(Nic *nic, int queue, Frame f);
void nic_send(Nic *nic, Frame f);

/* The next frame that the NIC gets, or has had no buffer for, is @expected. */
void nic_expect(Nic *nic, Frame expected);

void nic_control(Nic *nic, uint8_t class, uint8_t cmd,
                 const void *data, size_t len);
void nic_promiscuous(Nic *nic, bool on);

/* No unicast addresses but its own, and one group or none. */
void nic_set_group(Nic *nic, const uint8_t *group);

#endif
