/*
 * What all fuzzers share: one input, from the same state each time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "fuzz.h"
#include "harness.h"

/* Every so many inputs are run twice; one that is run alone is, too. */
#define TWICE 16

static uint64_t noted;          /* FNV-1a of what came out */

void fuzz_note_bytes(const void *data, size_t len)
{
    const uint8_t *b = data;

    for (size_t i = 0; i < len; i++) {
        noted = (noted ^ b[i]) * UINT64_C(0x100000001b3);
    }
}

void fuzz_note(const Frame *f)
{
    fuzz_note_bytes(&f->len, sizeof(f->len));
    fuzz_note_bytes(f->data, f->len);
    if (f->has_vnet) {
        fuzz_note_bytes(&f->vnet, sizeof(f->vnet));
    }
}

static uint64_t run(const uint8_t *data, size_t size)
{
    Input in = { data, size };

    noted = UINT64_C(0xcbf29ce484222325);
    harness_reset();
    fuzz_one(&in);
    return noted;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    harness_init();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned n;
    uint64_t first = run(data, size);

    if (n++ % TWICE == 0) {
        g_assert_cmphex(run(data, size), ==, first);
    }
    return 0;
}
