/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor's own messages on their way to the embedder's sink: one line each, what a guest can
 * influence escaped, and at most so many a second, so that a guest can't flood the host's log.
 */
#pragma once

#include <pthread.h>

#include <base/compiler.h>

#include "drupe/vm.h"

struct log {
    drupe_log_fn fn;
    void *ctx;
    pthread_mutex_t lock;
    uint64_t refilled_ns; /* under lock */
    unsigned tokens;      /* under lock */
    unsigned suppressed;  /* under lock */
};

void log_init(struct log *l, drupe_log_fn fn, void *ctx);
void log_deinit(struct log *l);
/* Any thread. `source` is the device or part that speaks. */
void log_write(struct log *l, enum drupe_log_level level, const char *source, const char *format,
               ...) PRINTF_LIKE(4, 5);
