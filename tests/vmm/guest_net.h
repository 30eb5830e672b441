/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define GUEST_NET_HOST UINT32_C(0x0a000001) /* 10.0.0.1: the tap's end */
#define GUEST_NET_OWN  UINT32_C(0x0a000002)
#define GUEST_NET_PORT 7u

/* Start the network device with these registers. False: it does not take our features. */
bool net_start(uint64_t device);
/* Find the host by ARP. */
bool net_resolve(uint32_t address);
/* Datagrams of growing sizes to the host's echo port come back as they were. */
bool net_echo(unsigned count);
/* So many frames of 1000 bytes to the host, none of which comes back. */
void net_flood(unsigned count);
/*
 * GET of `path` from the metadata service over a TCP of one segment at a time; its answer is
 * printed. False: no connection, or no whole answer.
 */
bool net_get(uint32_t address, const char *path, void (*print)(const char *text));
/* Rings broken in several ways: the device asks for a reset each time and then works again. */
bool net_break(uint64_t device);
