/*
 * Consecutive TCP segments of one flow, put together again
 *
 * For what comes from an uplink without offloads and goes to a receiver that
 * takes segments of 64 KiB: what Linux's GRO does.  A segment is kept, copied,
 * until the next poll at the latest; whoever owns the Coalescer flushes it
 * then.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBVLINK_COALESCE_H
#define LIBVLINK_COALESCE_H

#include "offload.h"

/* @p borrows from the Coalescer. */
typedef void CoalesceEmit(void *opaque, Packet *p);

typedef struct Coalescer Coalescer;

Coalescer *coalescer_new(CoalesceEmit *emit, void *opaque);

/* Drops what is kept. */
void coalescer_free(Coalescer *c);

/*
 * Keep a copy of @p, parsed, for a receiver with the offloads @can.  True:
 * it was kept, and needs a flush where coalescer_is_empty() says so, or it was
 * emitted together with what it ended.  False: it is none of ours and the
 * caller's to deliver now; what was kept of its flow has been emitted before.
 *
 * What is merged has the same addresses, ports, acknowledgement, window,
 * options and, but for CWR on the first and FIN and PSH on the last, the same
 * flags, follows in sequence, and its checksum was verified.
 */
bool coalescer_add(Coalescer *c, const Packet *p, unsigned can);

/* Emit all that is kept, oldest first. */
void coalescer_flush(Coalescer *c);

bool coalescer_is_empty(const Coalescer *c);

/* Frames that are kept. */
unsigned coalescer_kept(const Coalescer *c);

/* Segments that have become a part of another one so far. */
uint64_t coalescer_merged(const Coalescer *c);

#endif
