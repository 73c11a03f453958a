/*
 * How long each call of a function of a running program takes
 *
 *   holds PID FILE OFFSET
 *
 * FILE is the program that PID runs, the function begins at OFFSET in it, and
 * the first thread of PID calls it.  Says "ready"; at the end of its input it
 * prints a line for each call: the time that it took, and the part of that in
 * which the thread had a processor, in nanoseconds.
 *
 * The probes are the kernel's uprobes, which end with this process, and cost
 * the program about two microseconds a call.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <err.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PMU "/sys/bus/event_source/devices/uprobe/"
#define PAGES 512               /* of the ring, a power of two */

enum { ENTRY, RETURN, CLOCK, EVENTS };

/* What the kernel writes at each probe. */
typedef struct Hit {
    struct perf_event_header header;
    uint64_t id;
    uint64_t time;
    uint64_t nr;
    uint64_t value[EVENTS];
} Hit;

static int fd[EVENTS] = { -1, -1, -1 };
static uint64_t entry_id;
static struct perf_event_mmap_page *ring;
static uint8_t *data;
static size_t data_size;

static unsigned pmu_type(void)
{
    FILE *f = fopen(PMU "type", "r");
    unsigned type;

    if (!f || fscanf(f, "%u", &type) != 1) {
        errx(1, "this kernel has no uprobes");
    }
    fclose(f);
    return type;
}

static int open_event(struct perf_event_attr *attr, pid_t pid)
{
    int event;

    attr->size = sizeof(*attr);
    attr->sample_period = 1;
    attr->sample_type = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_TIME |
                        PERF_SAMPLE_READ;
    attr->read_format = PERF_FORMAT_GROUP;
    attr->disabled = fd[ENTRY] < 0;
    event = syscall(SYS_perf_event_open, attr, pid, -1, fd[ENTRY],
                    PERF_FLAG_FD_CLOEXEC);
    if (event < 0) {
        err(1, "perf_event_open");
    }
    return event;
}

static void open_events(pid_t pid, const char *file, uint64_t offset)
{
    for (int i = ENTRY; i <= RETURN; i++) {
        struct perf_event_attr probe = {
            .type = pmu_type(), .config = i == RETURN,
            .uprobe_path = (uintptr_t)file, .probe_offset = offset,
        };

        fd[i] = open_event(&probe, pid);
    }
    struct perf_event_attr clock = {
        .type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_TASK_CLOCK,
    };

    clock.size = sizeof(clock);
    clock.read_format = PERF_FORMAT_GROUP;
    fd[CLOCK] = syscall(SYS_perf_event_open, &clock, pid, -1, fd[ENTRY],
                        PERF_FLAG_FD_CLOEXEC);
    if (fd[CLOCK] < 0) {
        err(1, "perf_event_open");
    }
}

static void map_ring(void)
{
    size_t page = sysconf(_SC_PAGESIZE);

    data_size = PAGES * page;
    ring = mmap(NULL, page + data_size, PROT_READ | PROT_WRITE, MAP_SHARED,
                fd[ENTRY], 0);
    if (ring == MAP_FAILED) {
        err(1, "mmap");
    }
    data = (uint8_t *)ring + page;
    if (ioctl(fd[RETURN], PERF_EVENT_IOC_SET_OUTPUT, fd[ENTRY]) ||
        ioctl(fd[ENTRY], PERF_EVENT_IOC_ID, &entry_id) ||
        ioctl(fd[ENTRY], PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP)) {
        err(1, "ioctl");
    }
}

static void copy_out(void *to, uint64_t at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)to)[i] = data[(at + i) % data_size];
    }
}

static void take(const Hit *hit)
{
    static Hit entry;
    static int inside;

    if (hit->id == entry_id) {
        entry = *hit;
        inside = 1;
    } else if (inside) {
        printf("%" PRIu64 " %" PRIu64 "\n", hit->time - entry.time,
               hit->value[CLOCK] - entry.value[CLOCK]);
        inside = 0;
    }
}

static void drain(void)
{
    uint64_t head = __atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE);
    uint64_t at = ring->data_tail;

    while (at < head) {
        Hit hit = { 0 };

        copy_out(&hit.header, at, sizeof(hit.header));
        if (hit.header.type == PERF_RECORD_SAMPLE &&
            hit.header.size == sizeof(hit)) {
            copy_out(&hit, at, sizeof(hit));
            take(&hit);
        }
        at += hit.header.size;
    }
    __atomic_store_n(&ring->data_tail, at, __ATOMIC_RELEASE);
}

int main(int argc, char **argv)
{
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
    char c;

    if (argc != 4) {
        errx(2, "usage: holds PID FILE OFFSET");
    }
    open_events(atoi(argv[1]), argv[2], strtoull(argv[3], NULL, 0));
    map_ring();
    puts("ready");
    fflush(stdout);
    while (poll(&input, 1, 10) == 0 || read(STDIN_FILENO, &c, 1) > 0) {
        drain();
    }
    drain();
    return 0;
}
