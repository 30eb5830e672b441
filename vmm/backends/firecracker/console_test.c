/* SPDX-License-Identifier: Apache-2.0 */
/* The serial line, split into the kernel's lines and the workload's text. */
#include "test.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backends/firecracker/firecracker.h"

#define ROOM 4096

struct line {
    struct config config;
    struct fc_console console;
};

static void begin(struct line *l, bool is_our_kernel, enum drupe_stdio stdio, bool is_quiet)
{
    memset(l, 0, sizeof(*l));
    l->config.stdio = stdio;
    l->config.is_quiet = is_quiet;
    l->config.host_stdout = memfd_create("stdout", MFD_CLOEXEC);
    l->config.serial_log = memfd_create("log", MFD_CLOEXEC);
    assert_true(l->config.host_stdout >= 0 && l->config.serial_log >= 0);
    fc_console_init(&l->console, &l->config, is_our_kernel);
}

static void holds(int fd, const char *want)
{
    char text[ROOM] = { 0 };

    assert_true(pread(fd, text, sizeof(text) - 1, 0) >= 0);
    assert_string_equal(text, want);
}

static void end(struct line *l)
{
    (void)close(l->config.host_stdout);
    (void)close(l->config.serial_log);
}

static void take(struct line *l, const char *text, size_t piece)
{
    size_t size = strlen(text);

    for (size_t at = 0; at < size; at += piece) {
        fc_console_take(&l->console, (const uint8_t *)text + at, min_of(piece, size - at));
    }
}

static void test_split(void **state)
{
    static const struct {
        const char *text;
        const char *out;
        const char *log;
    } cases[] = {
        { "hello\r\n", "hello\n", "" },
        { "[    0.123456] ready\r\n", "", "[    0.123456] ready\r\n" },
        { "a\r\n[   12.000001] k\r\nb\r\n", "a\nb\n", "[   12.000001] k\r\n" },
        { "x[    0.123456] not at a line's beginning\n",
          "x[    0.123456] not at a line's beginning\n", "" },
        { "[    0.12345] short\n[12345.x]\n[", "[    0.12345] short\n[12345.x]\n", "" },
        { "a\rb\r\r\nc\n", "a\rb\r\nc\n", "" }, /* only the '\r' that the terminal added goes */
        { "[    0.123456] cut off", "", "" },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        for (size_t piece = 1; piece < 40; piece += 6) { /* however the bytes come */
            struct line l;

            begin(&l, true, DRUPE_STDIO_STREAM, false);
            take(&l, cases[i].text, piece);
            holds(l.config.host_stdout, cases[i].out);
            holds(l.config.serial_log, cases[i].log);
            end(&l);
        }
    }
}

/* A kernel's line of any length fits nowhere else. */
static void test_long_lines(void **state)
{
    static char text[3 * FC_LINE_SIZE_MAX];
    struct line l;

    (void)state;
    begin(&l, true, DRUPE_STDIO_STREAM, false);
    (void)snprintf(text, sizeof(text), "[    0.123456] ");
    memset(text + FC_PREFIX_SIZE, 'k', sizeof(text) - 1 - FC_PREFIX_SIZE);
    take(&l, text, sizeof(text));
    assert_true(l.console.used <= sizeof(l.console.line));
    assert_true(strlen(l.console.last) < sizeof(l.console.last));
    end(&l);
}

static void test_where_to(void **state)
{
    struct line l;

    (void)state;
    begin(&l, true, DRUPE_STDIO_TTY, false); /* a terminal wants its '\r' */
    take(&l, "a\r\n", 1);
    holds(l.config.host_stdout, "a\r\n");
    end(&l);
    begin(&l, true, DRUPE_STDIO_NONE, false);
    take(&l, "a\r\n", 1);
    holds(l.config.host_stdout, "");
    holds(l.config.serial_log, "a\r\n");
    end(&l);
    begin(&l, false, DRUPE_STDIO_STREAM, false); /* another kernel's lines are text */
    take(&l, "[    0.123456] Linux\r\n", 3);
    holds(l.config.host_stdout, "[    0.123456] Linux\n");
    holds(l.config.serial_log, "");
    end(&l);
    begin(&l, true, DRUPE_STDIO_STREAM, true); /* quiet: what was asked for only for the status */
    take(&l, "[    0.000001] Drupe kernel 0.1\n[    0.000002] warning\n", 7);
    holds(l.config.serial_log, "[    0.000002] warning\n");
    end(&l);
}

static void test_outcomes(void **state)
{
    static const struct {
        const char *text;
        bool is_our_kernel;
        enum drupe_end_kind kind;
        int status;
    } cases[] = {
        { "[    0.123456] ukernel: exit code=7\n", true, DRUPE_END_EXIT, 7 },
        { "[    0.123456] ukernel: exit code=0\r\ntext behind it\n", true, DRUPE_END_EXIT, 0 },
        { "[    0.123456] panic: no memory\n", true, DRUPE_END_PANIC, 0 },
        { "[    0.123456] boot: no root\n", true, DRUPE_END_BOOT_ERROR, 1 },
        { "[    0.123456] something else\n", true, DRUPE_END_RESET, 0 },
        { "", true, DRUPE_END_RESET, 0 },
        { "ukernel: exit code=7\n", true, DRUPE_END_RESET, 0 }, /* the workload's own words */
        { "[    0.123456] ukernel: exit code=7\n", false, DRUPE_END_EXIT, 0 },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct drupe_vm_outcome out = { 0 };
        struct line l;

        begin(&l, cases[i].is_our_kernel, DRUPE_STDIO_STREAM, true);
        take(&l, cases[i].text, 5);
        fc_console_outcome(&l.console, &out);
        assert_int_equal(out.kind, cases[i].kind);
        assert_int_equal(out.status, cases[i].status);
        end(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_where_to),
        cmocka_unit_test(test_outcomes),
    };

    return cmocka_run_group_tests_name("firecracker_console", tests, NULL, NULL);
}
