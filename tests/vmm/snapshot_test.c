/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of real machines under KVM: taken, restored, damaged on purpose. */
#include "snapshot.h"

#include <errno.h>
#include <sys/mount.h>

#include <base/compiler.h>

#include "abi/snapshot.h"

#define CLONES 3

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

/*
 * A machine made before its snapshot is known: what it becomes is no other than a restored one, and
 * its streams may come last. A start, a bad snapshot and the end take it away.
 */
static void test_prepared(void **state)
{
    const char *path = in_folder("prepared");
    struct drupe_restore_options options = {
        .struct_size = sizeof(options), .path = path, .fd = -1, .memory_fd = -1, .is_clone = true
    };
    struct drupe_vm_streams streams = { -1, -1, -1, -1 };
    struct drupe_vm_stats stats;
    struct run r;
    int first = -1;

    (void)state;
    need_kvm();
    make_snapshot(path);
    for (unsigned i = 0; i < 3; i++) {
        run_count(&r, 1, 16);
        assert_int_equal(drupe_vm_create(&r.cfg, &r.vm, &r.err), DRUPE_OK);
        assert_int_equal(drupe_vm_prepare(r.vm, &r.err), DRUPE_OK);
        assert_int_equal(drupe_vm_prepare(r.vm, &r.err), DRUPE_OK);
        assert_int_equal(drupe_vm_state(r.vm), DRUPE_VM_CREATED);
        assert_int_equal(drupe_vm_set_streams(r.vm, &streams, &r.err), DRUPE_BAD_STATE);
        if (i == 1) {
            options.path = "/etc/passwd";
            assert_int_equal(drupe_vm_restore(r.vm, &options, &r.err), DRUPE_SNAPSHOT_CORRUPTED);
            assert_int_equal(drupe_vm_state(r.vm), DRUPE_VM_CREATED);
            options.path = path;
        }
        if (i == 2) { /* it boots, as if nothing had been prepared */
            assert_int_equal(drupe_vm_start(r.vm, &r.err), DRUPE_OK);
            wait_lines(&r);
            assert_int_equal(drupe_vm_set_streams(r.vm, &streams, &r.err), DRUPE_BAD_STATE);
            end_by_signal(&r);
            run_free(&r);
            continue;
        }
        assert_int_equal(drupe_vm_restore(r.vm, &options, &r.err), DRUPE_OK);
        first = r.cfg.serial_log;
        r.cfg.serial_log = memory_file();
        streams.serial_log = r.cfg.serial_log;
        assert_int_equal(drupe_vm_set_streams(r.vm, &streams, &r.err), DRUPE_OK);
        resume_ok(&r);
        wait_lines(&r);
        assert_int_equal(drupe_vm_stats(r.vm, &stats, &r.err), DRUPE_OK);
        assert_true(stats.entered_ns > 0);
        end_by_signal(&r);
        assert_true(number(&r, false) > 0);
        assert_int_equal(size_of(first), 0);
        assert_int_equal(close(first), 0);
        run_free(&r);
    }
    run_count(&r, 1, 16);
    assert_int_equal(drupe_vm_create(&r.cfg, &r.vm, &r.err), DRUPE_OK);
    assert_int_equal(drupe_vm_prepare(r.vm, &r.err), DRUPE_OK);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clones),           cmocka_unit_test(test_damage),
        cmocka_unit_test(test_mismatch),         cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_restore_in_place), cmocka_unit_test(test_generations),
        cmocka_unit_test(test_full_disk),        cmocka_unit_test(test_two_files),
        cmocka_unit_test(test_prepared),
    };

    return cmocka_run_group_tests_name("snapshot", tests, make_folder, remove_folder);
}
