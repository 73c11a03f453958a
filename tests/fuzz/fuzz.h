/*
 * What all fuzzers share: one input, from the same state each time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "frame.h"
#include "input.h"

/* Run @in, and leave nothing behind.  Each fuzzer has one. */
void fuzz_one(Input *in);

/*
 * @f came out, or these bytes: two runs of the same input have to note the
 * same.
 */
void fuzz_note(const Frame *f);
void fuzz_note_bytes(const void *data, size_t len);

/* What libFuzzer calls. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
