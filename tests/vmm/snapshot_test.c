/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of real machines under KVM: taken, restored, damaged on purpose. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <base/compiler.h>

#include "abi/snapshot.h"

#define CLONES 3

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "%s/drupe-snap-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder); /* fails when a test left something behind */
}

static const char *in_folder(const char *name)
{
    static char path[4][128];
    static unsigned next;
    char *p = path[next++ % 4];

    (void)snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
    return p;
}

static void run_count(struct run *r, unsigned vcpus, unsigned memory_mib)
{
    run_init(r, DRUPE_ACCEL_KVM, GUEST, "count");
    r->cfg.vcpus = vcpus;
    r->cfg.memory_mib = memory_mib;
}

static off_t size_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st.st_size;
}

static void wait_lines(const struct run *r)
{
    off_t size = size_of(r->cfg.serial_log);

    for (int i = 0; i < END_WAIT_MS && size_of(r->cfg.serial_log) < size + 48; i++) {
        (void)usleep(1000);
    }
    assert_true(size_of(r->cfg.serial_log) >= size + 48);
}

/* The first or last number of the log. */
static long number(const struct run *r, bool is_last)
{
    size_t size = (size_t)size_of(r->cfg.serial_log);
    char *text = calloc(1, size + 1);
    char *at = NULL;
    long n = -1;

    assert_non_null(text);
    assert_int_equal(pread(r->cfg.serial_log, text, size, 0), size);
    /* A line that had begun in the snapshot lacks its beginning here. */
    for (at = text; (at = strstr(at, "n ")) != NULL && strchr(at, '\n') != NULL; at++) {
        n = strtol(at + 2, NULL, 10);
        if (!is_last) {
            break;
        }
    }
    free(text);
    return n;
}

static drupe_vm_err_t snap(struct run *r, const char *path, struct drupe_snapshot_info *info)
{
    struct drupe_snapshot_options options = {
        .struct_size = sizeof(options),
        .path = path,
        .fd = -1,
        .memory_fd = -1,
    };

    return drupe_vm_snapshot(r->vm, &options, info, &r->err);
}

static void snap_ok(struct run *r, const char *path, struct drupe_snapshot_info *info)
{
    if (snap(r, path, info) != DRUPE_OK) {
        fail_msg("snapshot: %s: %s", drupe_vm_err_name(r->err.code), r->err.text);
    }
}

static drupe_vm_err_t restore(struct run *r, const char *path)
{
    struct drupe_restore_options options = {
        .struct_size = sizeof(options),
        .path = path,
        .fd = -1,
        .memory_fd = -1,
        .is_clone = true,
    };

    r->vm = NULL;
    return drupe_vm_create_from_snapshot(&r->cfg, &options, &r->vm, &r->err);
}

static void restore_ok(struct run *r, const char *path)
{
    if (restore(r, path) != DRUPE_OK) {
        fail_msg("restore: %s: %s", drupe_vm_err_name(r->err.code), r->err.text);
    }
    assert_int_equal(drupe_vm_state(r->vm), DRUPE_VM_PAUSED);
}

static void resume_ok(struct run *r)
{
    if (drupe_vm_resume(r->vm, &r->err) != DRUPE_OK) {
        fail_msg("resume: %s", r->err.text);
    }
}

static void end_by_signal(struct run *r)
{
    assert_int_equal(drupe_vm_signal(r->vm, 2, &r->err), DRUPE_OK);
    run_end(r);
    assert_int_equal(r->end.kind, DRUPE_END_EXIT);
    assert_int_equal(r->end.status, 130);
}

/* Clones go on counting where the snapshot was taken, at once and side by side; so does the
 * original. */
static void test_clones(void **state)
{
    static const struct {
        unsigned vcpus;
        unsigned memory_mib;
        bool is_paused;
    } cases[] = { { 1, 16, false }, { 1, 16, true }, { 4, 64, false }, { 2, 4096, true } };

    (void)state;
    need_kvm();
    for (size_t i = 0; i < array_size(cases); i++) {
        struct drupe_snapshot_info info;
        struct run r;
        struct run clones[CLONES];
        const char *path = in_folder("full");
        char ids[CLONES][20];
        long at = 0;

        run_count(&r, cases[i].vcpus, cases[i].memory_mib);
        run_start(&r);
        wait_lines(&r);
        if (cases[i].is_paused) {
            assert_int_equal(drupe_vm_pause(r.vm, &r.err), DRUPE_OK);
        }
        snap_ok(&r, path, &info);
        assert_true(info.memory_bytes > 0);
        assert_true(info.memory_bytes < UINT64_C(1) << 20);
        assert_int_equal(drupe_vm_state(r.vm),
                         cases[i].is_paused ? DRUPE_VM_PAUSED : DRUPE_VM_RUNNING);
        at = number(&r, true);
        if (cases[i].is_paused) {
            resume_ok(&r);
        }
        for (unsigned n = 0; n < CLONES; n++) {
            run_count(&clones[n], cases[i].vcpus, cases[i].memory_mib);
            restore_ok(&clones[n], path);
            assert_int_equal(size_of(clones[n].cfg.serial_log), 0);
            resume_ok(&clones[n]);
        }
        for (unsigned n = 0; n < CLONES; n++) {
            char *id = NULL;

            wait_lines(&clones[n]);
            wait_lines(&clones[n]);
            end_by_signal(&clones[n]);
            /* Each has an identity of its own. */
            id = strstr(clones[n].output, "id ");
            assert_non_null(id);
            memcpy(ids[n], id, sizeof(ids[n]));
            assert_true(n == 0 || memcmp(ids[n], ids[n - 1], sizeof(ids[n])) != 0);
            assert_true(number(&clones[n], false) > 0);
            assert_true(!cases[i].is_paused || number(&clones[n], false) <= at + 2);
            run_free(&clones[n]);
        }
        wait_lines(&r);
        end_by_signal(&r);
        run_free(&r);
        assert_int_equal(unlink(path), 0);
    }
}

static void make_snapshot(const char *path)
{
    struct drupe_snapshot_info info;
    struct run r;

    run_count(&r, 1, 16);
    run_start(&r);
    wait_lines(&r);
    snap_ok(&r, path, &info);
    run_free(&r);
}

static void refuse(const char *path, drupe_vm_err_t code, const char *text)
{
    struct run r;

    run_count(&r, 1, 16);
    assert_int_equal(restore(&r, path), code);
    if (strstr(r.err.text, text) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", text, r.err.text);
    }
    (void)close(r.cfg.serial_log);
}

static void flip(int fd, uint64_t at)
{
    uint8_t byte = 0;

    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
}

/* A byte changed anywhere is found; so is an end anywhere. */
static void test_damage(void **state)
{
    const char *path = in_folder("damaged");
    struct snapshot_header h;
    uint64_t size = 0;
    uint64_t memory = 0;
    off_t data = 0;
    int fd = -1;

    (void)state;
    need_kvm();
    make_snapshot(path);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &h, sizeof(h), 0), sizeof(h));
    size = (uint64_t)size_of(fd);
    memory = sizeof(h) + h.v1.metadata_size + h.v1.state_size;
    data = lseek(fd, (off_t)memory, SEEK_DATA);
    assert_true(data > 0);
    const uint64_t places[] = { 0,
                                4,
                                8,
                                16,
                                24,
                                32,
                                64,
                                96,
                                128,
                                132,
                                223,
                                224,
                                memory - 1,
                                sizeof(h) + h.v1.metadata_size,
                                (uint64_t)data + 100,
                                size - 1 };

    for (size_t i = 0; i < array_size(places); i++) {
        flip(fd, places[i]);
        refuse(path, DRUPE_SNAPSHOT_CORRUPTED, "snapshot ");
        flip(fd, places[i]);
    }
    for (size_t i = 0; i < h.v1.state_size; i += 509) {
        flip(fd, sizeof(h) + h.v1.metadata_size + i);
        refuse(path, DRUPE_SNAPSHOT_CORRUPTED, "the state is damaged");
        flip(fd, sizeof(h) + h.v1.metadata_size + i);
    }
    const uint64_t ends[] = {
        size - 1,  size - 4096,   memory, memory - 1, sizeof(h) + h.v1.metadata_size,
        sizeof(h), sizeof(h) - 1, 32,     31,         0
    };

    for (size_t i = 0; i < array_size(ends); i++) {
        assert_int_equal(ftruncate(fd, (off_t)ends[i]), 0);
        refuse(path, DRUPE_SNAPSHOT_CORRUPTED, "snapshot ");
    }
    (void)close(fd);
    assert_int_equal(unlink(path), 0);
}

/* Differences of the machine have errors of their own. */
static void test_mismatch(void **state)
{
    const char *path = in_folder("other");
    struct run r;

    (void)state;
    need_kvm();
    make_snapshot(path);
    run_count(&r, 2, 16);
    assert_int_equal(restore(&r, path), DRUPE_IMAGE_MISMATCH);
    assert_non_null(strstr(r.err.text, "vCPUs"));
    r.cfg.vcpus = 1;
    r.cfg.memory_mib = 32;
    assert_int_equal(restore(&r, path), DRUPE_IMAGE_MISMATCH);
    assert_non_null(strstr(r.err.text, "memory"));
    r.cfg.memory_mib = 16;
    r.cfg.stdio = DRUPE_STDIO_NONE;
    assert_int_equal(restore(&r, path), DRUPE_IMAGE_MISMATCH);
    r.cfg.stdio = DRUPE_STDIO_TTY;
    assert_int_equal(restore(&r, path), DRUPE_IMAGE_MISMATCH);
    r.cfg.stdio = DRUPE_STDIO_STREAM;
    assert_int_equal(restore(&r, "/nonexistent"), DRUPE_NOT_FOUND);
    assert_int_equal(restore(&r, "/etc"), DRUPE_NO_ACCESS);
    assert_int_equal(restore(&r, "/etc/passwd"), DRUPE_SNAPSHOT_CORRUPTED);
    (void)close(r.cfg.serial_log);
    assert_int_equal(unlink(path), 0);
}

/* Version 1: the same state, all of the memory, no hashes and no alignment. */
static void test_version_1(void **state)
{
    const char *path = in_folder("v2");
    const char *old = in_folder("v1");
    struct snapshot_header h;
    struct run r;
    uint8_t *bytes = NULL;
    size_t size = 0;
    FILE *out = NULL;
    int fd = -1;

    (void)state;
    need_kvm();
    make_snapshot(path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    size = (size_t)size_of(fd);
    bytes = malloc(size);
    assert_non_null(bytes);
    assert_int_equal(pread(fd, bytes, size, 0), size);
    (void)close(fd);
    memcpy(&h, bytes, sizeof(h));
    out = fopen(old, "wb");
    assert_non_null(out);
    const uint8_t *metadata = bytes + sizeof(h);
    const uint8_t *rest = metadata + h.v1.metadata_size;

    h.v1.version = 1;
    h.v1.metadata_size -= 1; /* nothing is aligned any more */
    assert_int_equal(fwrite(&h.v1, sizeof(h.v1), 1, out), 1);
    assert_int_equal(fwrite(metadata, h.v1.metadata_size, 1, out), 1);
    assert_int_equal(fwrite(rest, size - (size_t)(rest - bytes), 1, out), 1);
    assert_int_equal(fclose(out), 0);
    free(bytes);
    run_count(&r, 1, 16);
    restore_ok(&r, old);
    resume_ok(&r);
    wait_lines(&r);
    end_by_signal(&r);
    assert_true(number(&r, false) > 0);
    run_free(&r);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(old), 0);
}

/* A VM that ran before becomes another one; a VM that runs does not. */
static void test_restore_in_place(void **state)
{
    const char *path = in_folder("again");
    struct drupe_restore_options options = {
        .struct_size = sizeof(options), .path = path, .fd = -1, .memory_fd = -1
    };
    struct drupe_snapshot_info info;
    struct run r;

    (void)state;
    need_kvm();
    run_count(&r, 1, 16);
    run_start(&r);
    wait_lines(&r);
    snap_ok(&r, path, &info);
    assert_int_equal(drupe_vm_restore(r.vm, &options, &r.err), DRUPE_BAD_STATE);
    end_by_signal(&r);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(drupe_vm_restore(r.vm, &options, &r.err), DRUPE_OK);
        assert_int_equal(drupe_vm_state(r.vm), DRUPE_VM_PAUSED);
        resume_ok(&r);
        wait_lines(&r);
        end_by_signal(&r);
    }
    options.path = "/etc/passwd";
    assert_int_equal(drupe_vm_restore(r.vm, &options, &r.err), DRUPE_SNAPSHOT_CORRUPTED);
    assert_int_equal(drupe_vm_state(r.vm), DRUPE_VM_STOPPED);
    run_free(&r);
    assert_int_equal(unlink(path), 0);
}

/* A snapshot of a restored machine holds what that one was restored with. */
static void test_generations(void **state)
{
    const char *path = in_folder("generation");
    struct drupe_snapshot_info info;
    struct run r;
    long before = 0;

    (void)state;
    need_kvm();
    make_snapshot(path);
    for (int i = 0; i < 4; i++) {
        run_count(&r, 1, 16);
        restore_ok(&r, path);
        if (i % 2 == 0) { /* taken while still paused, or after it ran on */
            snap_ok(&r, path, &info);
        }
        resume_ok(&r);
        wait_lines(&r);
        assert_true(number(&r, false) >= before);
        before = number(&r, true);
        snap_ok(&r, path, &info);
        end_by_signal(&r);
        run_free(&r);
    }
    assert_int_equal(unlink(path), 0);
}

/* A full disk: the VM goes on, nothing is left, and a snapshot elsewhere works. */
static void test_full_disk(void **state)
{
    const char *path = in_folder("small");
    char inside[160];
    struct drupe_snapshot_info info;
    struct run r;

    (void)state;
    need_kvm();
    assert_int_equal(mkdir(path, 0700), 0);
    if (mount("none", path, "tmpfs", 0, "size=16k") < 0) {
        print_message("mount: %s\n", strerror(errno));
        assert_int_equal(rmdir(path), 0);
        skip();
    }
    (void)snprintf(inside, sizeof(inside), "%s/s", path);
    run_count(&r, 1, 16);
    run_start(&r);
    wait_lines(&r);
    assert_int_equal(snap(&r, inside, &info), DRUPE_SNAPSHOT_FAILED);
    assert_int_equal(r.err.os_errno, ENOSPC);
    assert_int_equal(drupe_vm_state(r.vm), DRUPE_VM_RUNNING);
    wait_lines(&r);
    assert_int_equal(umount(path), 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(snap(&r, "/nonexistent/s", &info), DRUPE_SNAPSHOT_FAILED);
    snap_ok(&r, in_folder("fits"), &info);
    assert_int_equal(unlink(in_folder("fits")), 0);
    end_by_signal(&r);
    run_free(&r);
}

/* The guest goes on while its memory is copied: what comes of it is the machine at one moment,
 * whether it booted or was restored itself. */
static void test_live(void **state)
{
    const char *path = in_folder("live");
    const char *again = in_folder("again");
    struct drupe_snapshot_options options = {
        .struct_size = sizeof(options), .path = path, .fd = -1, .memory_fd = -1, .is_live = true
    };
    struct drupe_snapshot_info info;
    struct run r;
    struct run clone;

    (void)state;
    need_kvm();
    run_count(&r, 2, 64);
    run_start(&r);
    wait_lines(&r);
    if (drupe_vm_snapshot(r.vm, &options, &info, &r.err) == DRUPE_UNSUPPORTED) {
        print_message("%s\n", r.err.text);
        run_free(&r);
        skip();
    }
    assert_int_equal(r.err.code, 0);
    assert_true(info.stopped_ns > 0);
    assert_int_equal(drupe_vm_state(r.vm), DRUPE_VM_RUNNING);
    options.path = again;
    for (int i = 0; i < 5; i++) {
        wait_lines(&r);
        assert_int_equal(drupe_vm_snapshot(r.vm, &options, &info, &r.err), DRUPE_OK);
    }
    end_by_signal(&r);
    run_free(&r);
    for (int i = 0; i < 2; i++) {
        run_count(&clone, 2, 64);
        restore_ok(&clone, i == 0 ? path : again);
        resume_ok(&clone);
        wait_lines(&clone);
        assert_true(number(&clone, false) > 0);
        options.path = i == 0 ? again : path;
        assert_int_equal(drupe_vm_snapshot(clone.vm, &options, &info, &clone.err), DRUPE_OK);
        end_by_signal(&clone);
        run_free(&clone);
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(again), 0);
}

static bool has_said(const struct run *r, const char *what)
{
    size_t size = (size_t)size_of(r->cfg.serial_log);
    char *text = calloc(1, size + 1);
    bool is_there = false;

    assert_non_null(text);
    assert_int_equal(pread(r->cfg.serial_log, text, size, 0), size);
    is_there = strstr(text, what) != NULL;
    free(text);
    return is_there;
}

/* The guest writes to all of its memory all the time: what it finds after a restore is one moment.
 */
static void test_live_sweep(void **state)
{
    const char *path = in_folder("sweep");
    struct drupe_snapshot_options options = {
        .struct_size = sizeof(options), .path = path, .fd = -1, .memory_fd = -1, .is_live = true
    };
    struct drupe_snapshot_info info;
    struct run r;

    (void)state;
    need_kvm();
    run_count(&r, 1, 48);
    r.argv[1] = "sweep";
    run_start(&r);
    wait_lines(&r);
    for (int i = 0; i < 4; i++) {
        struct run clone;
        drupe_vm_err_t e = drupe_vm_snapshot(r.vm, &options, &info, &r.err);

        if (e == DRUPE_UNSUPPORTED) {
            print_message("%s\n", r.err.text);
            break;
        }
        assert_int_equal(e, DRUPE_OK);
        assert_true(info.memory_bytes > UINT64_C(38) << 20);
        run_count(&clone, 1, 48);
        clone.argv[1] = "sweep";
        restore_ok(&clone, path);
        resume_ok(&clone);
        wait_lines(&clone);
        assert_false(has_said(&clone, "torn"));
        end_by_signal(&clone);
        run_free(&clone);
    }
    assert_false(has_said(&r, "torn"));
    end_by_signal(&r);
    run_free(&r);
    (void)unlink(path);
}

/* RAM as a snapshot of a machine restored from `path` has it. */
static void memory_of(const char *path, int memory_fd)
{
    struct drupe_snapshot_options out = { .struct_size = sizeof(out), .memory_fd = memory_fd };
    struct drupe_snapshot_info info;
    struct run r;
    int fd = memory_file();

    out.fd = fd;
    run_count(&r, 2, 16);
    restore_ok(&r, path);
    assert_int_equal(drupe_vm_snapshot(r.vm, &out, &info, &r.err), DRUPE_OK);
    run_free(&r);
    (void)close(fd);
}

static void compare_memory(const char *a, const char *b)
{
    static uint8_t pages[2][4096];
    int fds[2] = { memory_file(), memory_file() };

    memory_of(a, fds[0]);
    memory_of(b, fds[1]);
    for (off_t at = 0; at < 16 << 20; at += 4096) {
        assert_int_equal(pread(fds[0], pages[0], 4096, at), 4096);
        assert_int_equal(pread(fds[1], pages[1], 4096, at), 4096);
        if (memcmp(pages[0], pages[1], 4096) != 0) {
            fail_msg("the pages at 0x%lx differ", (unsigned long)at);
        }
    }
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void diff_ok(struct run *r, const char *path, uint64_t *memory_bytes)
{
    struct drupe_snapshot_options options = {
        .struct_size = sizeof(options),
        .path = path,
        .fd = -1,
        .memory_fd = -1,
        .kind = DRUPE_SNAPSHOT_DIFF,
    };
    struct drupe_snapshot_info info;

    if (drupe_vm_snapshot(r->vm, &options, &info, &r->err) != DRUPE_OK) {
        fail_msg("snapshot: %s", r->err.text);
    }
    *memory_bytes = info.memory_bytes;
}

/* A chain of diffs is the machine that a full snapshot of the same moment is; with a link of it
 * missing or another in its place it is nothing. */
static void test_diffs(void **state)
{
    const char *base = in_folder("base");
    const char *first = in_folder("first");
    const char *second = in_folder("second");
    const char *full = in_folder("whole");
    struct drupe_snapshot_info info;
    uint64_t bytes = 0;
    struct run r;

    (void)state;
    need_kvm();
    run_count(&r, 2, 16);
    r.cfg.is_dirty_tracked = true;
    run_start(&r);
    wait_lines(&r);
    snap_ok(&r, base, &info);
    wait_lines(&r);
    diff_ok(&r, first, &bytes);
    assert_true(bytes > 0);
    assert_true(bytes < info.memory_bytes);
    wait_lines(&r);
    assert_int_equal(drupe_vm_pause(r.vm, &r.err), DRUPE_OK);
    diff_ok(&r, second, &bytes);
    snap_ok(&r, full, &info);
    run_free(&r);
    compare_memory(second, full);
    /* From a restored machine the chain goes on. */
    run_count(&r, 2, 16);
    r.cfg.is_dirty_tracked = true;
    restore_ok(&r, first);
    resume_ok(&r);
    wait_lines(&r);
    assert_int_equal(drupe_vm_pause(r.vm, &r.err), DRUPE_OK);
    diff_ok(&r, second, &bytes);
    snap_ok(&r, full, &info);
    resume_ok(&r);
    end_by_signal(&r);
    run_free(&r);
    compare_memory(second, full);
    make_snapshot(base);
    run_count(&r, 2, 16);
    assert_int_equal(restore(&r, second), DRUPE_IMAGE_MISMATCH);
    assert_int_equal(unlink(base), 0);
    assert_int_equal(restore(&r, second), DRUPE_NOT_FOUND);
    (void)close(r.cfg.serial_log);
    assert_int_equal(unlink(first), 0);
    assert_int_equal(unlink(second), 0);
    assert_int_equal(unlink(full), 0);
}

/* Two files, by descriptor; the memory file is RAM as it is. */
static void test_two_files(void **state)
{
    struct drupe_snapshot_options out = { .struct_size = sizeof(out) };
    struct drupe_restore_options in = { .struct_size = sizeof(in), .is_clone = true };
    struct drupe_snapshot_info info;
    struct run r;
    struct run clone;
    int fd = memory_file();
    int memory_fd = memory_file();

    (void)state;
    need_kvm();
    out.fd = fd;
    out.memory_fd = memory_fd;
    in.fd = fd;
    in.memory_fd = -1;
    run_count(&r, 1, 16);
    run_start(&r);
    wait_lines(&r);
    assert_int_equal(drupe_vm_snapshot(r.vm, &out, &info, &r.err), DRUPE_OK);
    assert_int_equal(size_of(memory_fd), 16 << 20);
    run_count(&clone, 1, 16);
    assert_int_equal(drupe_vm_create_from_snapshot(&clone.cfg, &in, &clone.vm, &clone.err),
                     DRUPE_CONFIG_INVALID);
    in.memory_fd = memory_fd;
    assert_int_equal(drupe_vm_create_from_snapshot(&clone.cfg, &in, &clone.vm, &clone.err),
                     DRUPE_OK);
    resume_ok(&clone);
    wait_lines(&clone);
    end_by_signal(&clone);
    run_free(&clone);
    end_by_signal(&r);
    run_free(&r);
    (void)close(fd);
    (void)close(memory_fd);
}

/* ---- A page-fault handler of the client's ---- */

struct handler {
    char path[128];
    int listener;
    int memory_fd;
    bool is_hung; /* takes the connection and brings nothing */
    int stop[2];
    char message[1024];
    uint64_t pages;
};

static int take_message(struct handler *h)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = { h->message, sizeof(h->message) - 1 };
    struct msghdr message = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
    int client = accept(h->listener, NULL, NULL);
    int fd = -1;

    assert_true(client >= 0);
    assert_true(recvmsg(client, &message, MSG_CMSG_CLOEXEC) > 0);
    assert_non_null(CMSG_FIRSTHDR(&message));
    assert_int_equal(CMSG_FIRSTHDR(&message)->cmsg_type, SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
    assert_int_equal(recv(client, &control, 1, 0), 0); /* nothing more comes */
    (void)close(client);
    return fd;
}

static void bring(struct handler *h, int uffd, uint64_t address, uint64_t start, uint64_t offset)
{
    static uint8_t page[4096];
    struct uffdio_copy copy = { .dst = address & ~UINT64_C(4095),
                                .src = (uint64_t)(uintptr_t)page,
                                .len = sizeof(page) };

    assert_int_equal(pread(h->memory_fd, page, sizeof(page), (off_t)(copy.dst - start + offset)),
                     sizeof(page));
    assert_true(ioctl(uffd, UFFDIO_COPY, &copy) == 0 || errno == EEXIST);
    h->pages++;
}

static void *handler_main(void *ctx)
{
    struct handler *h = ctx;
    int uffd = -1;
    unsigned long long start = 0;
    unsigned long long size = 0;
    unsigned long long offset = 0;
    struct uffd_msg event;

    uffd = take_message(h);
    assert_int_equal(sscanf(h->message,
                            "[{\"base_host_virt_addr\":%llu,\"size\":%llu,\"offset\":%llu,"
                            "\"page_size\":4096,\"page_size_kib\":4096}]",
                            &start, &size, &offset),
                     3);
    assert_int_equal(size, 16 << 20);
    assert_int_equal(offset, 0);
    for (;;) {
        struct pollfd fds[] = { { .fd = uffd, .events = h->is_hung ? 0 : POLLIN },
                                { .fd = h->stop[0], .events = POLLIN } };

        assert_true(poll(fds, array_size(fds), -1) > 0);
        if (fds[1].revents != 0) {
            break;
        }
        if (read(uffd, &event, sizeof(event)) == sizeof(event) &&
            event.event == UFFD_EVENT_PAGEFAULT) {
            bring(h, uffd, event.arg.pagefault.address, start, offset);
        }
    }
    (void)close(uffd);
    return NULL;
}

static void handler_listen(struct handler *h)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };

    (void)snprintf(h->path, sizeof(h->path), "%s", in_folder("uffd"));
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%.100s", h->path);
    h->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(h->listener >= 0);
    assert_int_equal(bind(h->listener, (const struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(h->listener, 4), 0);
    assert_int_equal(pipe2(h->stop, O_CLOEXEC), 0);
}

static void handler_unlisten(struct handler *h)
{
    (void)close(h->listener);
    (void)close(h->stop[0]);
    (void)close(h->stop[1]);
    assert_int_equal(unlink(h->path), 0);
}

/* Restore with the handler; the guest's end is the handler's. */
static void restore_by(struct handler *h, struct drupe_restore_options *in)
{
    struct run clone;
    pthread_t thread;
    drupe_vm_err_t e = DRUPE_OK;

    handler_listen(h);
    in->memory_handler = h->path;
    run_count(&clone, 1, 16);
    assert_int_equal(pthread_create(&thread, NULL, handler_main, h), 0);
    e = drupe_vm_create_from_snapshot(&clone.cfg, in, &clone.vm, &clone.err);
    if (h->is_hung) {
        assert_int_equal(e, DRUPE_RESTORE_FAILED);
        assert_non_null(strstr(clone.err.text, "brings no page"));
        (void)close(clone.cfg.serial_log);
    } else {
        if (e != DRUPE_OK) {
            fail_msg("restore: %s %s", drupe_vm_err_name(e), clone.err.text);
        }
        resume_ok(&clone);
        wait_lines(&clone);
        assert_true(number(&clone, false) > 0);
        end_by_signal(&clone);
        run_free(&clone);
    }
    assert_int_equal(write(h->stop[1], "", 1), 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    handler_unlisten(h);
}

static void test_handler(void **state)
{
    struct drupe_snapshot_options out = { .struct_size = sizeof(out) };
    struct drupe_restore_options in = { .struct_size = sizeof(in),
                                        .is_clone = true,
                                        .memory_fd = -1 };
    struct drupe_snapshot_info info;
    struct run r;
    struct handler h = { .memory_fd = memory_file() };
    int fd = memory_file();

    (void)state;
    need_kvm();
    if (access("/dev/userfaultfd", R_OK | W_OK) != 0) {
        print_message("no /dev/userfaultfd\n");
        skip();
    }
    out.fd = fd;
    out.memory_fd = h.memory_fd;
    in.fd = fd;
    run_count(&r, 1, 16);
    run_start(&r);
    wait_lines(&r);
    assert_int_equal(drupe_vm_snapshot(r.vm, &out, &info, &r.err), DRUPE_OK);
    end_by_signal(&r);
    run_free(&r);
    restore_by(&h, &in);
    assert_true(h.pages > 4);
    h.is_hung = true;
    restore_by(&h, &in);
    in.memory_handler = in_folder("nobody");
    run_count(&r, 1, 16);
    assert_int_equal(drupe_vm_create_from_snapshot(&r.cfg, &in, &r.vm, &r.err), DRUPE_NOT_FOUND);
    assert_non_null(strstr(r.err.text, "no page-fault handler"));
    (void)close(r.cfg.serial_log);
    (void)close(fd);
    (void)close(h.memory_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clones),           cmocka_unit_test(test_damage),
        cmocka_unit_test(test_mismatch),         cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_restore_in_place), cmocka_unit_test(test_generations),
        cmocka_unit_test(test_full_disk),        cmocka_unit_test(test_diffs),
        cmocka_unit_test(test_two_files),        cmocka_unit_test(test_live),
        cmocka_unit_test(test_live_sweep),       cmocka_unit_test(test_handler),
    };

    return cmocka_run_group_tests_name("snapshot", tests, make_folder, remove_folder);
}
