/*
 * Frames and configurations that are made from a fuzzer's input
 *
 * Of bytes alone hardly a frame gets past the parser.  So the input says which
 * sort of frame it is, from whom to whom, and what is wrong with it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FUZZ_GRAMMAR_H
#define TESTS_FUZZ_GRAMMAR_H

#include "harness.h"
#include "input.h"

/* What nobody else says that it is: a frame's own MAC and IP addresses. */
typedef struct Speaker {
    const uint8_t *mac;
    const char *ip4, *ip6;
} Speaker;

typedef struct Made {
    Frame *frame;               /* now the caller's */
    bool sound;                 /* all of its checksums are right */
} Made;

/* Any frame. */
Made grammar_frame(Input *in, const Speaker *speaker);

/* TCP or UDP with @max bytes of payload at most, and a header that may lie. */
Made grammar_segment(Input *in, const Speaker *speaker, unsigned max);

/* Any Offloads. */
unsigned grammar_offloads(Input *in);

/* Fuzzed places at which @f is in several pieces. */
void grammar_cut(Input *in, Frame *f);

/* One of the addresses that frames are from and to, of either family. */
const char *grammar_ip(Input *in, bool v6);

/* A port with slaves, of any configuration; at most @max. */
void grammar_net(Input *in, Net *net, unsigned max);

/* Who @u is, most of the time. */
Speaker grammar_speaker(Input *in, const Net *net, unsigned user);

/* Somebody behind the wire. */
Speaker grammar_outsider(Input *in);

#endif
