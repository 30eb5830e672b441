/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public API against real machines: KVM where /dev/kvm opens, QEMU where it is installed;
 * otherwise visibly skipped. The guest is tests/vmm/guest.c; what it prints on the serial line is
 * part of what is checked.
 */
#include "test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run.h"

#define ROOT_SIZE  8192
#define ROOT_MAGIC UINT64_C(0x4547414d49455044)

static void check_all(struct run *r)
{
    run_start(r);
    run_end(r);
    if (r->end.kind != DRUPE_END_EXIT || r->end.status != 0 ||
        strstr(r->output, "not ok") != NULL) {
        fail_msg("ended with kind %d status %d (%s), printed:\n%s", (int)r->end.kind, r->end.status,
                 r->end.text, r->output);
    }
    assert_int_equal(r->state, DRUPE_VM_STOPPED);
    assert_non_null(strstr(r->output, "ok timer"));
}

static char *make_root(void)
{
    static char path[64];
    uint64_t first = ROOT_MAGIC;
    int fd = -1;

    (void)snprintf(path, sizeof(path), "%s/drupe-root-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, ROOT_SIZE), 0);
    assert_int_equal(pwrite(fd, &first, sizeof(first), 0), sizeof(first));
    (void)close(fd);
    return path;
}

static void test_everything(void **state)
{
    static const struct {
        const char *kernel;
        unsigned vcpus;
        unsigned memory_mib;
        bool has_root;
        enum drupe_stdio stdio;
    } cases[] = {
        { GUEST, 1, 4, true, DRUPE_STDIO_STREAM },
        { GUEST, 2, 16, false, DRUPE_STDIO_TTY },
        { GUEST, 32, 64, true, DRUPE_STDIO_STREAM },
        { GUEST, 1, 4096, true, DRUPE_STDIO_NONE },
        { GUEST_PVH, 1, 16, true, DRUPE_STDIO_STREAM },
        { GUEST_PVH, 4, 16, false, DRUPE_STDIO_STREAM },
    };

    (void)state;
    need_kvm();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct run r;
        char *root = cases[i].has_root ? make_root() : NULL;

        run_init(&r, DRUPE_ACCEL_KVM, cases[i].kernel, "all");
        r.cfg.vcpus = cases[i].vcpus;
        r.cfg.memory_mib = cases[i].memory_mib;
        r.cfg.root_path = root;
        r.cfg.stdio = cases[i].stdio;
        check_all(&r);
        assert_true(cases[i].vcpus == 1 || strstr(r.output, "ok smp") != NULL);
        assert_true(!cases[i].has_root || strstr(r.output, "ok root image is read-only") != NULL);
        run_free(&r);
        if (root != NULL) {
            (void)unlink(root);
        }
    }
}

static void test_embedded_kernel(void **state)
{
    struct run r;
    struct stat st;
    int fd = open(GUEST, O_RDONLY | O_CLOEXEC);
    uint8_t *bytes = NULL;

    (void)state;
    need_kvm();
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    bytes = malloc((size_t)st.st_size);
    assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
    run_init(&r, DRUPE_ACCEL_KVM, NULL, "all");
    r.cfg.kernel_image = bytes;
    r.cfg.kernel_image_size = (size_t)st.st_size;
    check_all(&r);
    run_free(&r);
    free(bytes);
    (void)close(fd);
}

static void test_ends(void **state)
{
    static const struct {
        const char *mode;
        enum drupe_end_kind kind;
        int status;
        enum drupe_vm_state state;
        const char *text;
    } cases[] = {
        { "panic", DRUPE_END_PANIC, 7, DRUPE_VM_CRASHED, "panicked" },
        { "error", DRUPE_END_BOOT_ERROR, 3, DRUPE_VM_CRASHED, "could not start" },
        { "reset", DRUPE_END_RESET, 0, DRUPE_VM_CRASHED, "without a status" },
        { "triple", DRUPE_END_RESET, 0, DRUPE_VM_CRASHED, "triple fault on vCPU 0 at rip=0x1" },
        { "hang", DRUPE_END_BOOT_ERROR, 0, DRUPE_VM_CRASHED, "touched no device" },
    };

    (void)state;
    need_kvm();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct run r;

        run_init(&r, DRUPE_ACCEL_KVM, GUEST, cases[i].mode);
        r.cfg.vcpus = 2;
        r.cfg.boot_timeout_ms = 500;
        run_start(&r);
        run_end(&r);
        assert_int_equal(r.end.kind, cases[i].kind);
        assert_int_equal(r.end.status, cases[i].status);
        assert_int_equal(r.state, cases[i].state);
        assert_non_null(strstr(r.end.text, cases[i].text));
        assert_int_equal(drupe_vm_start(r.vm, &r.err),
                         cases[i].state == DRUPE_VM_CRASHED ? DRUPE_NEEDS_RECREATE : DRUPE_OK);
        run_free(&r);
    }
}

/* An instruction that some hosts can't do in ring 0 ends with a message that says where and which.
 */
static void test_internal_error(void **state)
{
    struct drupe_host_report host;
    struct run r;

    (void)state;
    need_kvm();
    drupe_host_probe(&host);
    run_init(&r, DRUPE_ACCEL_KVM, GUEST, "odd");
    run_start(&r);
    run_end(&r);
    if (strstr(host.masked_features, "popcnt") == NULL) {
        assert_int_equal(r.end.kind, DRUPE_END_EXIT);
    } else {
        assert_int_equal(r.end.kind, DRUPE_END_MONITOR);
        assert_non_null(strstr(r.end.text, "rip=0x10"));
        assert_non_null(strstr(r.end.text, "bytes=f30fb8c0"));
    }
    run_free(&r);
}

static void check_signal(enum drupe_accel accel)
{
    struct run r;

    run_init(&r, accel, GUEST, "signal");
    run_start(&r);
    wait_ready(&r);
    assert_int_equal(drupe_vm_signal(r.vm, 65, &r.err), DRUPE_CONFIG_INVALID);
    assert_int_equal(drupe_vm_signal(r.vm, 0, &r.err), DRUPE_CONFIG_INVALID);
    assert_int_equal(drupe_vm_signal(r.vm, 2, &r.err), DRUPE_OK);
    run_end(&r);
    assert_int_equal(r.end.kind, DRUPE_END_EXIT);
    assert_int_equal(r.end.status, 130);
    assert_int_equal(drupe_vm_signal(r.vm, 2, &r.err), DRUPE_NOT_RUNNING);
    run_free(&r);
}

/* A stop with grace sends SIGTERM, which this guest turns into its status. */
static void check_stop(enum drupe_accel accel)
{
    struct run r;

    run_init(&r, accel, GUEST, "signal");
    run_start(&r);
    wait_ready(&r);
    assert_int_equal(drupe_vm_stop(r.vm, 30000, &r.err), DRUPE_OK);
    run_end(&r);
    assert_int_equal(r.end.status, 128 + 15);
    run_free(&r);

    run_init(&r, accel, GUEST, "spin");
    r.cfg.vcpus = 2;
    run_start(&r);
    wait_ready(&r);
    assert_int_equal(drupe_vm_start(r.vm, &r.err), DRUPE_ALREADY_RUNNING);
    assert_int_equal(drupe_vm_outcome(r.vm, &r.end, &r.err), DRUPE_BAD_STATE);
    assert_int_equal(drupe_vm_wait(r.vm, DRUPE_VM_ENDED, 1, NULL, &r.err), DRUPE_TIMEOUT);
    assert_int_equal(drupe_vm_stop(r.vm, 1, &r.err), DRUPE_OK);
    run_end(&r);
    assert_int_equal(r.end.kind, DRUPE_END_STOPPED);
    assert_int_equal(r.state, DRUPE_VM_STOPPED);
    assert_int_equal(drupe_vm_stop(r.vm, 0, &r.err), DRUPE_NOT_RUNNING);
    run_free(&r);
}

struct feed {
    int fd;
    const uint8_t *bytes;
};

#define ECHO_SIZE (96u << 10) /* more than a pipe holds */

/* Write the input from another thread; its end is the end of file. */
static void *feed_main(void *arg)
{
    struct feed *f = arg;
    size_t done = 0;

    while (done < ECHO_SIZE) {
        ssize_t n = write(f->fd, f->bytes + done, ECHO_SIZE - done);

        if (n <= 0) {
            break;
        }
        done += (size_t)n;
    }
    (void)close(f->fd);
    return NULL;
}

/* Standard input comes back on standard output, all of it, and its end is seen. */
static void check_echo(enum drupe_accel accel)
{
    static uint8_t sent[ECHO_SIZE];
    static uint8_t got[ECHO_SIZE + 1];
    struct feed feed = { .bytes = sent };
    struct run r;
    pthread_t thread;
    int input[2];
    int output = memory_file();

    for (size_t i = 0; i < sizeof(sent); i++) {
        sent[i] = (uint8_t)(i * 7 + i / 251);
    }
    assert_int_equal(pipe2(input, O_CLOEXEC), 0);
    run_init(&r, accel, GUEST, "echo");
    r.cfg.host_stdin = input[0];
    r.cfg.host_stdout = output;
    feed.fd = input[1];
    assert_int_equal(pthread_create(&thread, NULL, feed_main, &feed), 0);
    run_start(&r);
    (void)close(input[0]);
    run_end(&r);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(r.end.kind, DRUPE_END_EXIT);
    assert_int_equal(pread(output, got, sizeof(got), 0), ECHO_SIZE);
    assert_memory_equal(got, sent, ECHO_SIZE);
    run_free(&r);
    (void)close(output);
}

static void test_echo(void **state)
{
    (void)state;
    need_kvm();
    check_echo(DRUPE_ACCEL_KVM);
}

static void test_echo_qemu(void **state)
{
    (void)state;
    need_qemu();
    check_echo(DRUPE_ACCEL_QEMU);
}

static void test_signal(void **state)
{
    (void)state;
    need_kvm();
    check_signal(DRUPE_ACCEL_KVM);
}

static void test_stop(void **state)
{
    (void)state;
    need_kvm();
    check_stop(DRUPE_ACCEL_KVM);
}

static void test_restart(void **state)
{
    struct run r;
    struct drupe_vm_stats stats;

    (void)state;
    need_kvm();
    run_init(&r, DRUPE_ACCEL_KVM, GUEST, "all");
    assert_int_equal(drupe_vm_create(&r.cfg, &r.vm, &r.err), DRUPE_OK);
    assert_int_equal(drupe_vm_outcome(r.vm, &r.end, &r.err), DRUPE_NOT_RUNNING);
    assert_int_equal(drupe_vm_stats(r.vm, &stats, &r.err), DRUPE_NOT_RUNNING);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(drupe_vm_start(r.vm, &r.err), DRUPE_OK);
        run_end(&r);
        assert_int_equal(r.end.status, 0);
        assert_int_equal(drupe_vm_stats(r.vm, &stats, &r.err), DRUPE_OK);
        assert_true(stats.exits[DRUPE_EXIT_IO] > 100);
        assert_true(stats.vcpu_exits[0] >= stats.exits[DRUPE_EXIT_IO]);
        assert_true(stats.vcpu_time_ns[0] > 0);
        assert_in_range(stats.memory_resident, 4096, 1 << 20);
    }
    run_free(&r);
}

static void test_destroy_any_state(void **state)
{
    struct run r;

    (void)state;
    need_kvm();
    drupe_vm_destroy(NULL);
    run_init(&r, DRUPE_ACCEL_KVM, GUEST, "spin");
    assert_int_equal(drupe_vm_create(&r.cfg, &r.vm, &r.err), DRUPE_OK);
    run_free(&r);
    run_init(&r, DRUPE_ACCEL_KVM, GUEST, "spin");
    r.cfg.vcpus = 3;
    run_start(&r);
    run_free(&r);
}

static void test_bad_kernels(void **state)
{
    struct run r;

    (void)state;
    need_kvm();
    run_init(&r, DRUPE_ACCEL_KVM, "/etc/passwd", "all");
    assert_int_equal(drupe_vm_create(&r.cfg, &r.vm, &r.err), DRUPE_OK);
    assert_int_equal(drupe_vm_start(r.vm, &r.err), DRUPE_BOOT_FAILED);
    assert_non_null(strstr(r.err.text, "not an ELF file"));
    run_end(&r);
    assert_int_equal(r.end.kind, DRUPE_END_BOOT_ERROR);
    assert_int_equal(r.state, DRUPE_VM_CRASHED);
    run_free(&r);
    run_init(&r, DRUPE_ACCEL_KVM, "/nonexistent", "all");
    assert_int_equal(drupe_vm_create(&r.cfg, &r.vm, &r.err), DRUPE_NOT_FOUND);
    (void)close(r.cfg.serial_log);
}

static void test_qemu(void **state)
{
    struct run r;
    char *root = NULL;

    (void)state;
    need_qemu();
    root = make_root();
    run_init(&r, DRUPE_ACCEL_QEMU, GUEST, "all");
    r.cfg.vcpus = 2;
    r.cfg.root_path = root;
    check_all(&r);
    assert_non_null(strstr(r.output, "ok smp"));
    assert_memory_equal(drupe_vm_id(r.vm), "qemu-", 5);
    run_free(&r);
    (void)unlink(root);
    check_signal(DRUPE_ACCEL_QEMU);
    check_stop(DRUPE_ACCEL_QEMU);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything),  cmocka_unit_test(test_embedded_kernel),
        cmocka_unit_test(test_ends),        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_stop),        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_qemu),        cmocka_unit_test(test_destroy_any_state),
        cmocka_unit_test(test_bad_kernels), cmocka_unit_test(test_echo),
        cmocka_unit_test(test_echo_qemu),   cmocka_unit_test(test_internal_error),
    };

    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
