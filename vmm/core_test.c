/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor's core without a machine: configuration, states, bus, event loop, log. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bus.h"
#include "config.h"
#include "log.h"
#include "loop.h"
#include "outcome.h"
#include "vm_state.h"

#include "abi/boot.h"

/* ---- Configuration ---- */

static char path_4097[4098];
static char cmdline_2048[2049];
static char host_65[66];
static const char *env_257[258];

static void bad_vcpus_0(drupe_vm_config_t *c)
{
    c->vcpus = 0;
}

static void bad_vcpus_33(drupe_vm_config_t *c)
{
    c->vcpus = 33;
}

static void bad_vcpus_255(drupe_vm_config_t *c)
{
    c->vcpus = 255;
}

static void bad_memory_0(drupe_vm_config_t *c)
{
    c->memory_mib = 0;
}

static void bad_memory_3(drupe_vm_config_t *c)
{
    c->memory_mib = 3;
}

static void bad_memory_large(drupe_vm_config_t *c)
{
    c->memory_mib = 16385;
}

static void bad_two_kernels(drupe_vm_config_t *c)
{
    c->kernel_image = c;
    c->kernel_image_size = 1;
}

static void bad_no_kernel(drupe_vm_config_t *c)
{
    c->kernel_path = NULL;
}

static void bad_empty_path(drupe_vm_config_t *c)
{
    c->kernel_path = "";
}

static void bad_long_path(drupe_vm_config_t *c)
{
    c->root_path = path_4097;
}

static void bad_disks(drupe_vm_config_t *c)
{
    c->disk_count = 9;
}

static void bad_null_disks(drupe_vm_config_t *c)
{
    c->disk_count = 1;
}

static void bad_cmdline(drupe_vm_config_t *c)
{
    c->cmdline_extra = cmdline_2048;
}

static void bad_cmdline_byte(drupe_vm_config_t *c)
{
    c->cmdline_extra = "a\nb";
}

static void bad_env(drupe_vm_config_t *c)
{
    static const char *const env[] = { "A=1", "=2", NULL };

    c->env = env;
}

static void bad_env_count(drupe_vm_config_t *c)
{
    c->env = env_257;
}

static void bad_cwd(drupe_vm_config_t *c)
{
    c->cwd = "relative";
}

static void bad_hostname(drupe_vm_config_t *c)
{
    c->hostname = host_65;
}

static void bad_timeout(drupe_vm_config_t *c)
{
    c->boot_timeout_ms = 99;
}

static void bad_stdio(drupe_vm_config_t *c)
{
    c->stdio = (enum drupe_stdio)3;
}

static void bad_fd(drupe_vm_config_t *c)
{
    c->serial_log = 12345;
}

static void bad_rows(drupe_vm_config_t *c)
{
    c->tty_rows = 65536;
}

static void bad_struct_size(drupe_vm_config_t *c)
{
    c->struct_size--;
}

static void test_config_refusals(void **state)
{
    static const struct {
        void (*spoil)(drupe_vm_config_t *c);
        const char *field;
    } cases[] = {
        { bad_vcpus_0, "vcpus" },
        { bad_vcpus_33, "vcpus" },
        { bad_vcpus_255, "vcpus" },
        { bad_memory_0, "memory_mib" },
        { bad_memory_3, "memory_mib" },
        { bad_memory_large, "memory_mib" },
        { bad_two_kernels, "kernel_path" },
        { bad_no_kernel, "kernel_path" },
        { bad_empty_path, "kernel_path" },
        { bad_long_path, "root_path" },
        { bad_disks, "disks" },
        { bad_null_disks, "disks" },
        { bad_cmdline, "cmdline_extra" },
        { bad_cmdline_byte, "cmdline_extra" },
        { bad_env, "env" },
        { bad_env_count, "env" },
        { bad_cwd, "cwd" },
        { bad_hostname, "hostname" },
        { bad_timeout, "boot_timeout_ms" },
        { bad_stdio, "stdio" },
        { bad_fd, "serial_log" },
        { bad_rows, "tty_rows" },
        { bad_struct_size, "struct_size" },
    };

    (void)state;
    memset(path_4097, 'p', sizeof(path_4097) - 1);
    memset(cmdline_2048, 'c', sizeof(cmdline_2048) - 1);
    memset(host_65, 'h', sizeof(host_65) - 1);
    for (size_t i = 0; i < 257; i++) {
        env_257[i] = "A=1";
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        drupe_vm_config_t cfg;
        struct config c;
        struct drupe_error err = { .code = DRUPE_OK };

        drupe_vm_config_init(&cfg);
        cfg.kernel_path = "/etc/passwd";
        cases[i].spoil(&cfg);
        assert_int_equal(config_take(&c, &cfg, &err), DRUPE_CONFIG_INVALID);
        assert_string_equal(err.field, cases[i].field);
        assert_true(strlen(err.text) > 0);
        assert_int_equal(config_take(&c, &cfg, NULL), DRUPE_CONFIG_INVALID);
    }
}

static void test_config_files(void **state)
{
    static const struct {
        const char *path;
        drupe_vm_err_t code;
    } cases[] = {
        { "/nonexistent/kernel", DRUPE_NOT_FOUND },
        { "/etc/passwd/kernel", DRUPE_NOT_FOUND },
        { "/dev/null", DRUPE_NO_ACCESS }, /* neither file nor block device */
        { "/tmp", DRUPE_NO_ACCESS },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        drupe_vm_config_t cfg;
        struct config c;
        struct drupe_error err;

        drupe_vm_config_init(&cfg);
        cfg.kernel_path = cases[i].path;
        assert_int_equal(config_take(&c, &cfg, &err), cases[i].code);
        assert_non_null(strstr(err.text, cases[i].path));
    }
}

static void test_config_copies(void **state)
{
    char kernel[] = "/etc/passwd";
    char argument[] = "one";
    const char *argv[] = { argument, "", NULL };
    drupe_vm_config_t cfg;
    struct config c;
    struct drupe_error err;

    (void)state;
    drupe_vm_config_init(&cfg);
    cfg.kernel_path = kernel;
    cfg.argv = argv;
    cfg.host_stdout = 1;
    assert_int_equal(config_take(&c, &cfg, &err), DRUPE_OK);
    memset(kernel, 'x', sizeof(kernel) - 1);
    memset(argument, 'x', sizeof(argument) - 1);
    assert_string_equal(c.kernel.path, "/etc/passwd");
    assert_string_equal(c.argv.items[0], "one");
    assert_int_equal(c.argv.count, 2);
    assert_int_equal(c.argv.bytes, 5);
    assert_true(c.host_stdout > 2);
    assert_int_equal(c.memory_size, UINT64_C(256) << 20);
    config_deinit(&c);
    config_deinit(&c); /* harmless twice */
}

/* ---- States: the table of the specification, written the other way round ---- */

static void test_states(void **state)
{
    static const drupe_vm_err_t start[] = {
        DRUPE_OK, DRUPE_BUSY,          DRUPE_ALREADY_RUNNING, DRUPE_ALREADY_RUNNING,
        DRUPE_OK, DRUPE_NEEDS_RECREATE
    };
    static const drupe_vm_err_t stop[] = {
        DRUPE_NOT_RUNNING, DRUPE_OK, DRUPE_OK, DRUPE_OK, DRUPE_NOT_RUNNING, DRUPE_NOT_RUNNING
    };
    static const drupe_vm_err_t exec[] = {
        DRUPE_NOT_RUNNING, DRUPE_BUSY,        DRUPE_OK,
        DRUPE_NOT_RUNNING, DRUPE_NOT_RUNNING, DRUPE_NOT_RUNNING
    };

    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        enum drupe_vm_state s = (enum drupe_vm_state)(1u << i);

        assert_int_equal(vm_state_check(s, VM_OP_START), start[i]);
        assert_int_equal(vm_state_check(s, VM_OP_STOP), stop[i]);
        assert_int_equal(vm_state_check(s, VM_OP_EXEC), exec[i]);
        assert_int_equal(vm_state_check(s, VM_OP_DESTROY), DRUPE_OK);
        assert_string_not_equal(drupe_vm_state_name(s), "UNKNOWN");
    }
    for (int code = DRUPE_OK; code < DRUPE_ERR_COUNT; code++) {
        assert_string_not_equal(drupe_vm_err_name((drupe_vm_err_t)code), "UNKNOWN");
    }
    assert_int_equal(vm_state_after(DRUPE_END_EXIT), DRUPE_VM_STOPPED);
    assert_int_equal(vm_state_after(DRUPE_END_STOPPED), DRUPE_VM_STOPPED);
    assert_int_equal(vm_state_after(DRUPE_END_RESET), DRUPE_VM_CRASHED);
    assert_int_equal(vm_state_after(DRUPE_END_MONITOR), DRUPE_VM_CRASHED);
}

static void test_outcomes(void **state)
{
    struct drupe_vm_outcome o;

    (void)state;
    outcome_from_status(&o, BOOT_STATUS_EXIT, 300);
    assert_int_equal(o.kind, DRUPE_END_EXIT);
    assert_int_equal(o.status, 300 & 0xff);
    outcome_from_status(&o, 99, 7);
    assert_int_equal(o.kind, DRUPE_END_RESET);
    assert_int_equal(o.status, 0);
}

/* ---- Bus ---- */

struct probe_device {
    uint64_t offset;
    uint64_t value;
    unsigned size;
    unsigned calls;
};

static uint64_t probe_read(void *device, uint64_t offset, unsigned size)
{
    struct probe_device *d = device;

    d->offset = offset;
    d->size = size;
    d->calls++;
    return 0x1122334455667788;
}

static void probe_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct probe_device *d = device;

    d->offset = offset;
    d->size = size;
    d->value = value;
    d->calls++;
}

static void test_bus(void **state)
{
    struct probe_device d[3] = { { 0 } };
    struct bus b;
    struct io_window w = { .read = probe_read, .write = probe_write };
    uint64_t value = 0;

    (void)state;
    bus_init(&b, 0xd0000000, 0x1000);
    w.base = 0xd0001000;
    w.size = 0x1000;
    w.device = &d[0];
    assert_int_equal(bus_add(&b, &w), 0);
    assert_int_equal(bus_add(&b, &w), -EEXIST);
    w.base = 0xfec00000;
    w.size = 0x20;
    w.device = &d[1];
    assert_int_equal(bus_add(&b, &w), 0);
    w.base = 0x100;
    w.size = 1;
    w.device = &d[2];
    assert_int_equal(bus_add(&b, &w), 0);
    w.size = 0;
    assert_int_equal(bus_add(&b, &w), -EINVAL);
    w.base = UINT64_MAX;
    w.size = 2;
    assert_int_equal(bus_add(&b, &w), -EINVAL);
    bus_seal(&b);

    assert_true(bus_read(&b, 0xd0001008, 4, &value));
    assert_int_equal(d[0].offset, 8);
    assert_true(bus_write(&b, 0xd0001ffc, 4, 0xffffffff12345678));
    assert_int_equal(d[0].value, 0x12345678);
    assert_true(bus_write(&b, 0xfec00018, 8, UINT64_MAX));
    assert_true(d[1].value == UINT64_MAX);
    assert_true(bus_read(&b, 0x100, 1, &value));

    static const struct {
        uint64_t addr;
        unsigned size;
    } misses[] = {
        { 0, 1 },          { 0xff, 1 },       { 0xff, 2 },           { 0x100, 2 },
        { 0x101, 1 },      { 0xd0000000, 4 }, { 0xd0001ffe, 4 },     { 0xd0002000, 4 },
        { 0xd000ffff, 8 }, { 0xfec00000, 3 }, { 0xfec0001c, 8 },     { 0xfec00020, 1 },
        { 0xfec00000, 0 }, { UINT64_MAX, 1 }, { UINT64_MAX - 3, 8 }, { 0x100, 16 },
    };

    unsigned calls = d[0].calls + d[1].calls + d[2].calls;

    for (size_t i = 0; i < sizeof(misses) / sizeof(misses[0]); i++) {
        assert_false(bus_read(&b, misses[i].addr, misses[i].size, &value));
        assert_true(value == UINT64_MAX);
        assert_false(bus_write(&b, misses[i].addr, misses[i].size, 0));
    }
    assert_int_equal(d[0].calls + d[1].calls + d[2].calls, calls);
}

/* ---- Event loop ---- */

static void *loop_thread(void *loop)
{
    loop_run(loop);
    return NULL;
}

static void on_readable(void *device, int fd, uint32_t events)
{
    atomic_uint *seen = device;
    char byte = 0;

    assert_true((events & EPOLLIN) != 0);
    assert_int_equal(read(fd, &byte, 1), 1);
    (void)atomic_fetch_add(seen, 1);
}

static void on_deadline(void *ctx)
{
    loop_stop(ctx);
}

static void wait_count(atomic_uint *count, unsigned value)
{
    while (atomic_load(count) < value) {
        (void)sched_yield();
    }
}

static void test_loop(void **state)
{
    struct loop l;
    pthread_t thread;
    int pipes[2];
    int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    atomic_uint seen = 0;

    (void)state;
    assert_int_equal(pipe2(pipes, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(loop_init(&l), 0);
    assert_int_equal(loop_watch(&l, -1, EPOLLIN, on_readable, &seen), -EBADF);
    assert_int_equal(loop_watch(&l, file, EPOLLIN, on_readable, &seen), -EPERM);
    assert_int_equal(pthread_create(&thread, NULL, loop_thread, &l), 0);
    assert_int_equal(loop_watch(&l, pipes[0], EPOLLIN, on_readable, &seen), 0);
    assert_int_equal(write(pipes[1], "a", 1), 1);
    wait_count(&seen, 1);
    assert_int_equal(loop_watch(&l, pipes[0], EPOLLIN | EPOLLHUP, on_readable, &seen), 0);
    assert_int_equal(write(pipes[1], "b", 1), 1);
    wait_count(&seen, 2);
    assert_int_equal(loop_watch(&l, pipes[0], 0, NULL, NULL), 0);
    assert_int_equal(loop_watch(&l, pipes[0], 0, NULL, NULL), 0);
    assert_int_equal(write(pipes[1], "c", 1), 1);
    loop_set_deadline(&l, 1000000, on_deadline, &l);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&seen), 2);
    loop_deinit(&l);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
    (void)close(file);
}

/* ---- Log ---- */

struct lines {
    unsigned count;
    char last[2048];
};

static void take_line(void *ctx, enum drupe_log_level level, const char *text)
{
    struct lines *l = ctx;

    (void)level;
    l->count++;
    (void)strncpy(l->last, text, sizeof(l->last) - 1);
}

static void test_log(void **state)
{
    struct lines lines = { 0 };
    struct log l;

    (void)state;
    log_init(&l, take_line, &lines);
    log_write(&l, DRUPE_LOG_WARN, "uart", "text=\"%s\"", "a\n\x1b[31mforged");
    assert_string_equal(lines.last, "source=uart text=\"a\\x0a\\x1b[31mforged\"");
    for (unsigned i = 0; i < 1000; i++) {
        log_write(&l, DRUPE_LOG_WARN, "uart", "flood");
    }
    assert_in_range(lines.count, 2, 60);
    log_deinit(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_refusals),
        cmocka_unit_test(test_config_files),
        cmocka_unit_test(test_config_copies),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_bus),
        cmocka_unit_test(test_loop),
        cmocka_unit_test(test_log),
    };

    return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}
