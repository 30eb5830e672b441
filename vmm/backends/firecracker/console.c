/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One serial line carries the kernel's messages and the workload's terminal. Lines that begin as
 * our kernel's do ("[    0.123456] ") go to serial_log, the rest to host_stdout, or all of it to
 * serial_log when there is no such stream. A guest may print what looks like the kernel's words: it
 * deceives itself only, since its outcome is its own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/fmt.h>

#include "backends/firecracker/firecracker.h"
#include "outcome.h"

#include "abi/boot.h"

#define EXIT_WORDS "ukernel: exit code="

void fc_console_init(struct fc_console *c, const struct config *config, bool is_our_kernel)
{
    memset(c, 0, sizeof(*c));
    c->config = config;
    c->is_our_kernel = is_our_kernel;
    c->is_translated = config->stdio == DRUPE_STDIO_STREAM;
}

static void write_out(int fd, const char *bytes, size_t size)
{
    while (fd >= 0 && size > 0) {
        ssize_t n = write(fd, bytes, size);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return; /* nobody reads it any more */
        }
        bytes += n;
        size -= (size_t)n;
    }
}

static bool is_prefix_char(size_t index, char c)
{
    switch (index) {
    case 0:
        return c == '[';
    case 6:
        return c == '.';
    case 13:
        return c == ']';
    case 14:
        return c == ' ';
    default:
        return (c >= '0' && c <= '9') || (index < 6 && c == ' ');
    }
}

/* What the workload printed. */
static void put_text(struct fc_console *c, const char *bytes, size_t size)
{
    int to = c->config->host_stdout;

    if (c->config->stdio == DRUPE_STDIO_NONE || to < 0) {
        write_out(c->config->serial_log, bytes, size);
        return;
    }
    if (!c->is_translated) {
        write_out(to, bytes, size);
        return;
    }
    /* Without the '\r' that the terminal put before each '\n'. */
    while (size > 0) {
        const char *r = memchr(bytes, '\r', size);
        size_t n = r == NULL ? size : (size_t)(r - bytes);

        if (c->has_return && bytes[0] != '\n') {
            write_out(to, "\r", 1);
        }
        c->has_return = false;
        write_out(to, bytes, n);
        c->has_return = r != NULL;
        n += r != NULL ? 1 : 0;
        bytes += n;
        size -= n;
    }
}

/* Lines that a quiet kernel would not have shown; we asked for them because of the last. */
static bool is_chatter(const char *text)
{
    static const char *const heads[] = { "Drupe kernel ", EXIT_WORDS, "boot: unknown option " };

    for (size_t i = 0; i < array_size(heads); i++) {
        if (strncmp(text, heads[i], strlen(heads[i])) == 0) {
            return true;
        }
    }
    return false;
}

static void end_kernel_line(struct fc_console *c)
{
    size_t length = c->used;

    while (length > FC_PREFIX_SIZE &&
           (c->line[length - 1] == '\n' || c->line[length - 1] == '\r')) {
        length--;
    }
    (void)fmt_snprintf(c->last, sizeof(c->last), "%.*s", (int)(length - FC_PREFIX_SIZE),
                       c->line + FC_PREFIX_SIZE);
    if (!c->config->is_quiet || !is_chatter(c->last)) {
        write_out(c->config->serial_log, c->line, c->used);
    }
    c->used = 0;
    c->is_kernels = false;
}

/* A byte of a line that may be the kernel's; false: it is not, and `line` is text. */
static bool take_kernel_byte(struct fc_console *c, char byte)
{
    if (!c->is_kernels && !is_prefix_char(c->used, byte)) {
        return false;
    }
    c->line[c->used++] = byte;
    c->is_kernels = c->is_kernels || c->used == FC_PREFIX_SIZE;
    if (c->is_kernels && (byte == '\n' || c->used == sizeof(c->line))) {
        end_kernel_line(c);
    }
    return true;
}

void fc_console_take(struct fc_console *c, const uint8_t *bytes, size_t size)
{
    const char *at = (const char *)bytes;

    if (!c->is_our_kernel) {
        put_text(c, at, size);
        return;
    }
    while (size > 0) {
        const char *stop = NULL;
        size_t n = 0;

        if (!c->is_inside && take_kernel_byte(c, *at)) {
            at++;
            size--;
            continue;
        }
        put_text(c, c->line, c->used);
        c->used = 0;
        stop = memchr(at, '\n', size);
        n = stop == NULL ? size : (size_t)(stop - at) + 1;
        put_text(c, at, n);
        c->is_inside = stop == NULL;
        at += n;
        size -= n;
    }
}

void fc_console_outcome(const struct fc_console *c, struct drupe_vm_outcome *out)
{
    const char *last = c->last;

    if (!c->is_our_kernel) {
        out->kind = DRUPE_END_EXIT;
        (void)fmt_snprintf(out->text, sizeof(out->text),
                           "the guest ended; Firecracker doesn't tell with which status");
    } else if (strncmp(last, EXIT_WORDS, strlen(EXIT_WORDS)) == 0) {
        outcome_from_status(out, BOOT_STATUS_EXIT,
                            (unsigned)strtoul(last + strlen(EXIT_WORDS), NULL, 10));
    } else if (strncmp(last, "panic", 5) == 0) {
        out->kind = DRUPE_END_PANIC;
        (void)fmt_snprintf(out->text, sizeof(out->text), "the guest kernel panicked: %s", last);
    } else if (strncmp(last, "boot: ", 6) == 0) {
        out->kind = DRUPE_END_BOOT_ERROR;
        out->status = 1;
        (void)fmt_snprintf(out->text, sizeof(out->text),
                           "the guest kernel could not start the workload: %s", last + 6);
    } else {
        outcome_from_status(out, 0, 0);
    }
}
