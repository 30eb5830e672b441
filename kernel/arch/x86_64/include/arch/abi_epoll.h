/* SPDX-License-Identifier: Apache-2.0 */
/* struct epoll_event: packed to 12 bytes here, 16 elsewhere. */
#pragma once

#include <base/assert.h>
#include <base/compiler.h>

struct epoll_event {
    uint32_t events;
    uint64_t data;
} PACKED;

static_assert(sizeof(struct epoll_event) == 12, "struct epoll_event is ABI");
