/* SPDX-License-Identifier: Apache-2.0 */
/* Working sets: found on a clone, kept in the snapshot, brought in for the next one. */
#include "snapshot.h"

#include <base/sha256.h>

#include "abi/snapshot.h"

/* A clone of `path` that has run for a while; its set goes to `to`. */
static drupe_vm_err_t record(const char *path, const char *to, bool has_ended, uint64_t *bytes)
{
    struct run clone;
    drupe_vm_err_t r = DRUPE_OK;

    run_count(&clone, 1, 16);
    restore_ok(&clone, path);
    resume_ok(&clone);
    wait_lines(&clone);
    if (has_ended) {
        end_by_signal(&clone);
    }
    r = drupe_vm_record_working_set(clone.vm, to, bytes, &clone.err);
    if (r == DRUPE_OK) {
        assert_int_equal(access(to, F_OK), 0);
    }
    run_free(&clone);
    return r;
}

static void count_on(const char *path)
{
    struct run clone;

    run_count(&clone, 1, 16);
    restore_ok(&clone, path); /* all hashes are verified */
    resume_ok(&clone);
    wait_lines(&clone);
    assert_true(number(&clone, false) > 0);
    end_by_signal(&clone);
    run_free(&clone);
}

static void describe(const char *path, struct drupe_snapshot_description *out)
{
    struct drupe_restore_options options = {
        .struct_size = sizeof(options), .path = path, .fd = -1, .memory_fd = -1
    };
    struct drupe_error err;

    assert_int_equal(drupe_snapshot_describe(&options, out, &err), DRUPE_OK);
}

/* Recorded while it runs and after its end, in place and elsewhere, once and again. */
static void test_record(void **state)
{
    static struct drupe_snapshot_description before;
    static struct drupe_snapshot_description after;
    const char *path = in_folder("set");
    const char *copy = in_folder("copy");
    uint64_t bytes[3] = { 0 };

    (void)state;
    need_kvm();
    make_snapshot(path);
    describe(path, &before);
    assert_int_equal(record(path, copy, false, &bytes[0]), DRUPE_OK);
    assert_true(bytes[0] > 0);
    assert_true(bytes[0] <= 16 << 20);
    count_on(copy);
    assert_int_equal(record(copy, copy, true, &bytes[1]), DRUPE_OK);
    assert_int_equal(record(copy, path, true, &bytes[2]), DRUPE_OK);
    assert_true(bytes[2] >= bytes[1]); /* what was brought in counts as touched */
    describe(path, &after);
    assert_string_equal(before.id, after.id);
    count_on(path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(copy), 0);
}

/* Of an incremental snapshot only its own part is written again. */
static void test_record_diff(void **state)
{
    const char *base = in_folder("base");
    const char *diff = in_folder("diff");
    struct drupe_snapshot_options options = { .struct_size = sizeof(options),
                                              .path = diff,
                                              .fd = -1,
                                              .memory_fd = -1,
                                              .kind = DRUPE_SNAPSHOT_DIFF };
    struct drupe_snapshot_info info;
    uint64_t bytes = 0;
    struct run r;

    (void)state;
    need_kvm();
    run_count(&r, 1, 16);
    r.cfg.is_dirty_tracked = true;
    run_start(&r);
    wait_lines(&r);
    snap_ok(&r, base, &info);
    wait_lines(&r);
    assert_int_equal(drupe_vm_snapshot(r.vm, &options, &info, &r.err), DRUPE_OK);
    run_free(&r);
    assert_int_equal(record(diff, diff, false, &bytes), DRUPE_OK);
    assert_true(bytes > 0);
    count_on(diff);
    assert_int_equal(unlink(base), 0);
    assert_int_equal(unlink(diff), 0);
}

static void test_refusals(void **state)
{
    const char *path = in_folder("set");
    uint64_t bytes = 0;
    struct run r;

    (void)state;
    need_kvm();
    run_count(&r, 1, 16);
    assert_int_equal(drupe_vm_create(&r.cfg, &r.vm, &r.err), DRUPE_OK);
    assert_int_equal(drupe_vm_record_working_set(r.vm, path, &bytes, &r.err), DRUPE_NOT_RUNNING);
    assert_int_equal(drupe_vm_start(r.vm, &r.err), DRUPE_OK);
    wait_lines(&r);
    assert_int_equal(drupe_vm_record_working_set(r.vm, path, &bytes, &r.err), DRUPE_UNSUPPORTED);
    run_free(&r);
    assert_int_equal(access(path, F_OK), -1);
    make_snapshot(path);
    assert_int_equal(record(path, "/nonexistent/set", false, &bytes), DRUPE_SNAPSHOT_FAILED);
    count_on(path);
    assert_int_equal(unlink(path), 0);
}

/* Write `run` over the first of the working set, with the hash that it then has. */
static void forge(const char *path, const struct snapshot_run *run)
{
    struct snapshot_header h;
    struct snapshot_record record;
    uint8_t *bytes = NULL;
    size_t at = sizeof(struct snapshot_state);
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &h, sizeof(h), 0), sizeof(h));
    bytes = malloc(h.v1.state_size);
    assert_non_null(bytes);
    off_t state_at = (off_t)(sizeof(h) + h.v1.metadata_size);

    assert_int_equal(pread(fd, bytes, h.v1.state_size, state_at), h.v1.state_size);
    for (;;) {
        assert_true(at + sizeof(record) <= h.v1.state_size);
        memcpy(&record, bytes + at, sizeof(record));
        if (record.kind == SNAPSHOT_WORKING_SET) {
            break;
        }
        at += sizeof(record) + ((size_t)record.size + 15) / 16 * 16;
    }
    memcpy(bytes + at + sizeof(record), run, sizeof(*run));
    sha256(bytes, h.v1.state_size, h.state_sha256);
    assert_int_equal(pwrite(fd, bytes, h.v1.state_size, state_at), h.v1.state_size);
    assert_int_equal(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
    free(bytes);
    (void)close(fd);
}

static void test_hostile_table(void **state)
{
    static const struct snapshot_run bad[] = {
        { .page = UINT64_C(1) << 40, .count = 1, .kind = SNAPSHOT_RUN_WRITTEN },
        { .page = 4095, .count = 2, .kind = SNAPSHOT_RUN_READ },
        { .page = UINT64_MAX, .count = 2, .kind = SNAPSHOT_RUN_READ },
        { .page = 0, .count = 0, .kind = SNAPSHOT_RUN_READ },
        { .page = 0, .count = 1, .kind = SNAPSHOT_RUN_DATA },
        { .page = 0, .count = 1, .kind = 4 },
    };
    const char *path = in_folder("forged");
    uint64_t bytes = 0;

    (void)state;
    need_kvm();
    make_snapshot(path);
    assert_int_equal(record(path, path, false, &bytes), DRUPE_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct run r;

        forge(path, &bad[i]);
        run_count(&r, 1, 16);
        assert_int_equal(restore(&r, path), DRUPE_SNAPSHOT_CORRUPTED);
        assert_non_null(strstr(r.err.text, "working set"));
        (void)close(r.cfg.serial_log);
    }
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_record_diff),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_hostile_table),
    };

    return cmocka_run_group_tests_name("snapshot_working_set", tests, make_folder, remove_folder);
}
