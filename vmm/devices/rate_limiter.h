/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two token buckets, bytes and operations, that a device asks before it begins a request. Tokens
 * come back with time, which the caller brings along; no clock, no lock, no timer of its own. A
 * device that was refused asks again after RATE_LIMITER_RETRY_NS.
 */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"

#define RATE_LIMITER_RETRY_NS UINT64_C(100000000)

struct token_bucket {
    uint64_t size;      /* 0: no limit */
    uint64_t refill_ns; /* from empty to full */
    uint64_t burst;     /* what is left of the tokens that do not come back */
    int64_t budget;     /* at most size; below 0 after a request larger than the bucket */
    uint64_t seen_ns;   /* until here time has been turned into tokens */
};

struct rate_limiter {
    struct token_bucket bandwidth;
    struct token_bucket ops;
};

/* Full buckets. */
void rate_limiter_init(struct rate_limiter *r, const struct drupe_rate_limit *limit,
                       uint64_t now_ns);
bool rate_limiter_is_limited(const struct rate_limiter *r);

/*
 * One operation of so many bytes. True: its tokens are spent. False: nothing is. A request larger
 * than a bucket passes when that is full, and leaves it in debt. `now_ns` never goes back.
 */
bool rate_limiter_take(struct rate_limiter *r, uint64_t bytes, uint64_t now_ns) MUST_CHECK;
