/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata service on one network interface: ARP and a small TCP server in front of
 * mmds/service.h. It is driven by frames and by time, and asked for frames; it has no thread,
 * clock, or descriptor of its own.
 *
 * A fixed table of connections, each with room for one request. The answer is made once, in one
 * allocation, and sent again from there when the guest loses frames. No other allocation. What the
 * guest sends beyond a window, out of order or without a place in the table is dropped or refused,
 * and costs nothing that stays.
 *
 * No lock: calls are made under the device's.
 */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"
#include "mmds/frame.h"

#define MMDS_CONNECTIONS_MAX 16u
#define MMDS_REQUEST_MAX     2560u
#define MMDS_FRAME_IN_MAX    4096u /* larger than any frame of a guest that keeps to our window */

struct mmds_stack;
struct mmds_service;

/* `mtu`: of the interface, 0: FRAME_MTU. The service outlives the stack. 0 or -errno. */
int mmds_stack_create(struct mmds_service *service, uint16_t mtu,
                      struct mmds_stack **out) MUST_CHECK;
void mmds_stack_destroy(struct mmds_stack *s);

/* Is a frame that begins so ours? `size` is at least FRAME_HEAD_SIZE if the frame is. */
bool mmds_stack_wants(const struct mmds_stack *s, const uint8_t *head, size_t size);

/* Take in a frame that is ours; as frame_parse(). */
void mmds_stack_input(struct mmds_stack *s, const uint8_t *frame, size_t size, bool is_checked,
                      uint64_t now_ns);

/* The next frame for the guest into `out` (FRAME_MAX); 0: there is none for now. */
size_t mmds_stack_output(struct mmds_stack *s, uint8_t *out, uint64_t now_ns);

/* When mmds_stack_output() has to be asked again at the latest; CLOCK_NEVER. */
uint64_t mmds_stack_deadline(const struct mmds_stack *s);

/* The guest has forgotten all connections. */
void mmds_stack_reset(struct mmds_stack *s);

void mmds_stack_stats(const struct mmds_stack *s, struct drupe_metadata_stats *sum);
