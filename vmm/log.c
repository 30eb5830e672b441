/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include <stdarg.h>

#include <base/clock.h>
#include <base/fmt.h>

#define BURST_MAX      50u
#define REFILL_NS      UINT64_C(100000000) /* one message each 100 ms */
#define LINE_SIZE_MAX  256u
#define ESCAPED_FACTOR 4u

void log_init(struct log *l, drupe_log_fn fn, void *ctx)
{
    l->fn = fn;
    l->ctx = ctx;
    l->refilled_ns = 0;
    l->tokens = BURST_MAX;
    l->suppressed = 0;
    (void)pthread_mutex_init(&l->lock, NULL);
}

void log_deinit(struct log *l)
{
    (void)pthread_mutex_destroy(&l->lock);
}

static bool take_token(struct log *l, unsigned *suppressed)
{
    bool has_token = false;
    uint64_t now = clock_ns();

    (void)pthread_mutex_lock(&l->lock);
    uint64_t earned = (now - l->refilled_ns) / REFILL_NS;

    if (earned > 0) {
        l->tokens =
            (unsigned)min_of((uint64_t)BURST_MAX, l->tokens + min_of(earned, (uint64_t)BURST_MAX));
        l->refilled_ns = now;
    }
    has_token = l->tokens > 0;
    *suppressed = 0;
    if (has_token) {
        l->tokens--;
        *suppressed = l->suppressed;
        l->suppressed = 0;
    } else {
        l->suppressed++;
    }
    (void)pthread_mutex_unlock(&l->lock);
    return has_token;
}

static void escape(char *to, size_t size, const char *from)
{
    size_t at = 0;

    for (; *from != '\0' && at + ESCAPED_FACTOR < size; from++) {
        unsigned char c = (unsigned char)*from;

        if (c >= ' ' && c < 0x7f) {
            to[at++] = (char)c;
        } else {
            at += fmt_snprintf(to + at, size - at, "\\x%02x", c);
        }
    }
    to[at] = '\0';
}

void log_write(struct log *l, enum drupe_log_level level, const char *source, const char *format,
               ...)
{
    char line[LINE_SIZE_MAX];
    char escaped[LINE_SIZE_MAX * ESCAPED_FACTOR];
    unsigned suppressed = 0;
    size_t length = 0;
    va_list args;

    if (l->fn == NULL || !take_token(l, &suppressed)) {
        return;
    }
    length = fmt_snprintf(line, sizeof(line), "source=%s ", source);
    if (suppressed > 0 && length < sizeof(line)) {
        length += fmt_snprintf(line + length, sizeof(line) - length, "suppressed=%u ", suppressed);
    }
    if (length < sizeof(line)) {
        va_start(args, format);
        (void)fmt_vsnprintf(line + length, sizeof(line) - length, format, args);
        va_end(args);
    }
    escape(escaped, sizeof(escaped), line);
    l->fn(l->ctx, level, escaped);
}
