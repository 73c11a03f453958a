/*
 * A pair of virtual Ethernet links: a kind of link is one file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VLINK_VETH_H
#define TESTS_VLINK_VETH_H

#include "libvlink/link.h"

typedef struct VethConfig {
    Link *peer;                 /* the other end, NULL: it comes later */
    unsigned mtu;               /* bytes behind the Ethernet header */
} VethConfig;

void veth_register(void);

#endif
