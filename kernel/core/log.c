/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log ring: whole lines in one circular byte buffer, each "<level>[seconds.micros] text\n".
 * Positions are 64-bit byte counts that never wrap, so a reader that fell behind is moved on to the
 * oldest whole line. One lock covers the ring and the console: lines are never torn or interleaved.
 */

#include <stdatomic.h>

#include <arch/console.h>
#include <arch/ops.h>
#include <base/fmt.h>
#include <core/lock.h>
#include <core/log.h>
#include <core/log_internal.h>
#include <core/string.h>
#include <sched/timer.h>

#define RING_SIZE 16384u
#define LINE_MAX  256u

static char ring[RING_SIZE];
static uint64_t ring_tail; /* of the oldest whole line */
static uint64_t ring_head; /* where the next begins */
static struct spinlock ring_lock = SPINLOCK_INIT(RANK_LOG);
static int console_level = LOG_INFO;
static _Atomic bool clock_is_ready;
static _Atomic bool in_panic;

static char ring_at(uint64_t position)
{
    return ring[position % RING_SIZE];
}

static void ring_append(const char *line, size_t length)
{
    while (ring_head + length - ring_tail > RING_SIZE) {
        while (ring_at(ring_tail++) != '\n') {
        }
    }
    size_t at = (size_t)(ring_head % RING_SIZE);
    size_t first = min_of(length, (size_t)RING_SIZE - at);

    memcpy(ring + at, line, first);
    memcpy(ring, line + first, length - first);
    ring_head += length;
}

/* A line feed inside a message would forge a line of its own. */
static size_t make_printable(char *text)
{
    size_t n = 0;

    for (; text[n]; n++) {
        if ((unsigned char)text[n] < ' ' || text[n] == 0x7f) {
            text[n] = ' ';
        }
    }
    return n;
}

/* "<level>[seconds.micros] ": written for its purpose, because every boot pays for it. */
static size_t put_prefix(char line[LINE_MAX], enum log_level level, uint64_t us)
{
    static const char model[] = "<0>[    0.000000] ";
    char *last = line + sizeof(model) - 4; /* of the digits */

    if (us >= UINT64_C(100000) * 1000000) { /* more digits than fit */
        return fmt_snprintf(line, LINE_MAX, "<%d>[%5u.%06u] ", (int)level, (unsigned)(us / 1000000),
                            (unsigned)(us % 1000000));
    }
    memcpy(line, model, sizeof(model) - 1);
    line[1] = (char)('0' + (unsigned)level);
    for (unsigned i = 0; us != 0; i++, us /= 10) {
        if (i == 6) {
            last--; /* the point */
        }
        *last-- = (char)('0' + us % 10);
    }
    return sizeof(model) - 1;
}

void log_write(enum log_level level, const char *format, ...)
{
    char line[LINE_MAX];

    if (level == LOG_DEBUG && console_level < LOG_DEBUG) {
        return; /* off: not worth formatting */
    }
    uint64_t us = atomic_load_explicit(&clock_is_ready, memory_order_relaxed)
                      ? clock_monotonic_ns() / 1000
                      : 0;
    size_t prefix = put_prefix(line, level, us);
    va_list args;

    va_start(args, format);
    (void)fmt_vsnprintf(line + prefix, sizeof(line) - prefix - 1, format, args);
    va_end(args);
    size_t length = prefix + make_printable(line + prefix);

    line[length++] = '\n';

    bool is_alone = atomic_load_explicit(&in_panic, memory_order_relaxed);
    uint64_t flags = is_alone ? irq_save() : spin_lock_irqsave(&ring_lock);

    ring_append(line, length);
    if ((int)level <= console_level) {
        console_write(line + 3, length - 3); /* without <level> */
    }
    if (is_alone) {
        irq_restore(flags);
    } else {
        spin_unlock_irqrestore(&ring_lock, flags);
    }
}

void log_set_console_level(int level)
{
    console_level = level;
}

void log_clock_ready(void)
{
    atomic_store_explicit(&clock_is_ready, true, memory_order_relaxed);
}

void log_enter_panic(void)
{
    /* The other CPUs are stopped, maybe inside the lock: nobody takes it any more. */
    atomic_store_explicit(&in_panic, true, memory_order_relaxed);
    console_level = LOG_DEBUG;
}

bool log_is_shown(enum log_level level)
{
    return (int)level <= console_level;
}

size_t log_read(uint64_t *seq, char *buf, size_t size)
{
    bool is_alone = atomic_load_explicit(&in_panic, memory_order_relaxed);
    uint64_t flags = is_alone ? irq_save() : spin_lock_irqsave(&ring_lock);
    size_t n = 0;

    if (*seq < ring_tail || *seq > ring_head) {
        *seq = ring_tail;
    }
    while (n < size && *seq < ring_head) {
        buf[n++] = ring_at((*seq)++);
    }
    if (is_alone) {
        irq_restore(flags);
    } else {
        spin_unlock_irqrestore(&ring_lock, flags);
    }
    return n;
}

void log_print_tail(unsigned lines)
{
    uint64_t at = ring_head;
    char line[LINE_MAX];

    while (at > ring_tail && lines > 0) {
        at--;
        lines -= at > ring_tail && ring_at(at - 1) == '\n' ? 1 : 0;
    }
    while (at < ring_head) {
        size_t n = 0;

        while (at < ring_head && n < sizeof(line)) {
            line[n] = ring_at(at++);
            if (line[n++] == '\n') {
                break;
            }
        }
        console_write(line, n);
    }
}
