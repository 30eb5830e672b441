/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots that leave memory where it is while the machine stands still: live, incremental. */
#include "snapshot.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_live),
        cmocka_unit_test(test_live_sweep),
        cmocka_unit_test(test_diffs),
    };

    return cmocka_run_group_tests_name("snapshot_live", tests, make_folder, remove_folder);
}
