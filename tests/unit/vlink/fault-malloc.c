/*
 * Memory that there is no more of
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE             /* QEMU has it for all files */
#endif
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "fault-malloc.h"

/* What the dynamic linker needs until it has found the next malloc(). */
#define EARLY_LEN 65536

static _Alignas(16) char early[EARLY_LEN];
static size_t early_used;

static struct {
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t n, size_t size);
    void *(*realloc)(void *p, size_t size);
    void (*free)(void *p);
    int (*posix_memalign)(void **p, size_t align, size_t size);
} next;

static const void *victim;      /* where its library begins */
static unsigned victim_nth, victim_seen;
static long live;

void fault_malloc(const void *code, unsigned nth)
{
    Dl_info info;

    victim = dladdr(code, &info) ? info.dli_fbase : NULL;
    victim_nth = nth;
    victim_seen = 0;
}

unsigned fault_malloc_seen(void)
{
    return victim_seen;
}

long fault_malloc_live(void)
{
    return live;
}

static bool fails(const void *caller)
{
    Dl_info info;

    if (!victim || !dladdr(caller, &info) || info.dli_fbase != victim ||
        ++victim_seen != victim_nth) {
        return false;
    }
    errno = ENOMEM;
    return true;
}

static bool is_early(const void *p)
{
    uintptr_t at = (uintptr_t)p, begin = (uintptr_t)early;

    return at >= begin && at < begin + EARLY_LEN;
}

/* Zeroed, and never freed. */
static void *early_new(size_t size)
{
    void *p = early + early_used;

    size = (size + 15) & ~(size_t)15;
    if (size > EARLY_LEN - early_used) {
        return NULL;
    }
    early_used += size;
    return p;
}

/* False while that is under way. */
static bool find_next(void)
{
    static bool searching;

    if (next.free) {
        return true;
    }
    if (searching) {
        return false;
    }
    searching = true;
    next.malloc = dlsym(RTLD_NEXT, "malloc");
    next.calloc = dlsym(RTLD_NEXT, "calloc");
    next.realloc = dlsym(RTLD_NEXT, "realloc");
    next.posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
    next.free = dlsym(RTLD_NEXT, "free");
    searching = false;
    return true;
}

static void *count(void *p)
{
    live += p != NULL;
    return p;
}

void *malloc(size_t size)
{
    if (!find_next()) {
        return early_new(size);
    }
    return fails(__builtin_return_address(0)) ? NULL :
           count(next.malloc(size));
}

void *calloc(size_t n, size_t size)
{
    if (!find_next()) {
        return early_new(n * size);
    }
    return fails(__builtin_return_address(0)) ? NULL :
           count(next.calloc(n, size));
}

void *realloc(void *p, size_t size)
{
    void *q;

    if (!find_next() || is_early(p)) {
        q = malloc(size);
        return p && q ? memcpy(q, p, size) : q;
    }
    if (fails(__builtin_return_address(0))) {
        return NULL;
    }
    q = next.realloc(p, size);
    live += (q != NULL) - (p != NULL && (q != NULL || !size));
    return q;
}

int posix_memalign(void **p, size_t align, size_t size)
{
    int ret = ENOMEM;

    if (find_next() && !fails(__builtin_return_address(0))) {
        ret = next.posix_memalign(p, align, size);
    }
    live += !ret;
    return ret;
}

void free(void *p)
{
    if (!p || is_early(p) || !find_next()) {
        return;
    }
    live--;
    next.free(p);
}
