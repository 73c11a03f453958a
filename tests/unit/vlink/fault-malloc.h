/*
 * Memory that there is no more of
 *
 * The program's own malloc(), before that of the C library or a sanitizer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VLINK_FAULT_MALLOC_H
#define TESTS_VLINK_FAULT_MALLOC_H

#include <stdbool.h>

/*
 * The @nth allocation from now on, counted from 1, of the library that has the
 * function @code fails; with @nth 0 none does.  Others' do not.
 */
void fault_malloc(const void *code, unsigned nth);

/* How many there were since then. */
unsigned fault_malloc_seen(void);

/* Pieces of memory that have been allocated, and not been freed. */
long fault_malloc_live(void);

#endif
