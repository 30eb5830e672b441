/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/rate_limiter.h"

#include <base/assert.h>

#define NS_PER_MS  UINT64_C(1000000)
#define TOKENS_MAX ((uint64_t)INT64_MAX / 2) /* so that debt and budget cannot overflow */

static void bucket_init(struct token_bucket *b, const struct drupe_token_bucket *from,
                        uint64_t now_ns)
{
    *b = (struct token_bucket){ .seen_ns = now_ns };
    if (from->size == 0 || from->refill_ms == 0) {
        return;
    }
    b->size = min_of(from->size, TOKENS_MAX);
    b->refill_ns = min_of(from->refill_ms, UINT64_MAX / NS_PER_MS) * NS_PER_MS;
    b->burst = from->one_time_burst;
    b->budget = (int64_t)b->size;
}

void rate_limiter_init(struct rate_limiter *r, const struct drupe_rate_limit *limit,
                       uint64_t now_ns)
{
    bucket_init(&r->bandwidth, &limit->bandwidth, now_ns);
    bucket_init(&r->ops, &limit->ops, now_ns);
}

bool rate_limiter_is_limited(const struct rate_limiter *r)
{
    return r->bandwidth.size != 0 || r->ops.size != 0;
}

/*
 * Whole tokens for the time that has passed; the time of a part of one stays unseen, so that asking
 * often does not lose it.
 */
static void refill(struct token_bucket *b, uint64_t now_ns)
{
    uint64_t missing = (uint64_t)((int64_t)b->size - b->budget);
    uint64_t passed = now_ns - b->seen_ns;
    unsigned __int128 tokens = (unsigned __int128)passed * b->size / b->refill_ns;

    assert(b->budget <= (int64_t)b->size);
    if (tokens >= missing) {
        b->budget = (int64_t)b->size;
        b->seen_ns = now_ns;
        return;
    }
    b->budget += (int64_t)tokens;
    b->seen_ns += (uint64_t)((tokens * b->refill_ns + b->size - 1) / b->size);
    assert(b->seen_ns <= now_ns);
}

static bool has_tokens(struct token_bucket *b, uint64_t tokens, uint64_t now_ns)
{
    if (b->size == 0) {
        return true;
    }
    refill(b, now_ns);
    return tokens <= b->burst || (int64_t)min_of(tokens - b->burst, b->size) <= b->budget;
}

static void spend(struct token_bucket *b, uint64_t tokens)
{
    uint64_t from_burst = min_of(tokens, b->burst);

    if (b->size == 0) {
        return;
    }
    b->burst -= from_burst;
    b->budget -= (int64_t)min_of(tokens - from_burst, TOKENS_MAX);
}

bool rate_limiter_take(struct rate_limiter *r, uint64_t bytes, uint64_t now_ns)
{
    if (!has_tokens(&r->ops, 1, now_ns) || !has_tokens(&r->bandwidth, bytes, now_ns)) {
        return false;
    }
    spend(&r->ops, 1);
    spend(&r->bandwidth, bytes);
    return true;
}
