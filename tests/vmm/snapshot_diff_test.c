/* SPDX-License-Identifier: Apache-2.0 */
/* Incremental snapshots: chains of them, and how each finds the one it builds on. */
#include "snapshot.h"

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

static struct drupe_snapshot_options diff_options(const char *path)
{
    return (struct drupe_snapshot_options){
        .struct_size = sizeof(struct drupe_snapshot_options),
        .path = path,
        .fd = -1,
        .memory_fd = -1,
        .kind = DRUPE_SNAPSHOT_DIFF,
    };
}

static void diff_ok(struct run *r, const char *path, uint64_t *memory_bytes)
{
    const struct drupe_snapshot_options options = diff_options(path);
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
    struct drupe_snapshot_options over_base;
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
    over_base = diff_options(base);
    assert_int_equal(drupe_vm_snapshot(r.vm, &over_base, NULL, &r.err), DRUPE_CONFIG_INVALID);
    assert_string_equal(r.err.field, "path");
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

/* ---- Finding the base ---- */

static void start_tracked(struct run *r)
{
    run_count(r, 1, 16);
    r->cfg.is_dirty_tracked = true;
    run_start(r);
    wait_lines(r);
}

static void last_is(struct run *r, const char *id, const char *path)
{
    struct drupe_snapshot_last last;

    assert_int_equal(drupe_vm_snapshot_last(r->vm, &last, &r->err), DRUPE_OK);
    assert_true(last.is_dirty_tracked);
    assert_string_equal(last.id, id);
    assert_string_equal(last.path, path);
}

/* As a jailed monitor does it: all files are open, none has a path. */
static void test_descriptors(void **state)
{
    struct drupe_snapshot_base base = { .fd = memory_file(), .name = "/nowhere/base" };
    struct drupe_snapshot_options out = diff_options(NULL);
    struct drupe_restore_options in = {
        .struct_size = sizeof(in), .fd = memory_file(), .memory_fd = -1, .is_clone = true
    };
    const int fds[] = { in.fd, base.fd }; /* one that is not it does no harm */
    struct drupe_snapshot_description d;
    struct drupe_snapshot_info info;
    struct run r;

    (void)state;
    need_kvm();
    start_tracked(&r);
    last_is(&r, "", "");
    out.kind = DRUPE_SNAPSHOT_FULL;
    out.fd = base.fd;
    out.name = base.name;
    assert_int_equal(drupe_vm_snapshot(r.vm, &out, &info, &r.err), DRUPE_OK);
    last_is(&r, info.id, "/nowhere/base");
    wait_lines(&r);
    out.kind = DRUPE_SNAPSHOT_DIFF;
    out.fd = in.fd;
    out.name = NULL;
    base.name = "/elsewhere/base";
    out.base = &base;
    if (drupe_vm_snapshot(r.vm, &out, &info, &r.err) != DRUPE_OK) {
        fail_msg("diff: %s", r.err.text);
    }
    last_is(&r, info.id, "");
    run_free(&r);

    assert_int_equal(drupe_snapshot_describe(&in, &d, NULL), DRUPE_OK);
    assert_true(d.is_diff);
    assert_string_equal(d.base_path, "/elsewhere/base");
    run_count(&r, 1, 16);
    r.cfg.is_dirty_tracked = true;
    assert_int_equal(drupe_vm_create_from_snapshot(&r.cfg, &in, &r.vm, &r.err), DRUPE_NOT_FOUND);
    in.base_fds = fds;
    in.base_count = 1;
    assert_int_equal(drupe_vm_create_from_snapshot(&r.cfg, &in, &r.vm, &r.err), DRUPE_NOT_FOUND);
    assert_non_null(strstr(r.err.text, "/elsewhere/base"));
    assert_non_null(strstr(r.err.text, d.base_id));
    in.base_count = 2;
    in.name = "/nowhere/diff";
    if (drupe_vm_create_from_snapshot(&r.cfg, &in, &r.vm, &r.err) != DRUPE_OK) {
        fail_msg("restore: %s", r.err.text);
    }
    last_is(&r, info.id, "/nowhere/diff");
    resume_ok(&r);
    wait_lines(&r);
    end_by_signal(&r);
    run_free(&r);
    (void)close(base.fd);
    (void)close(in.fd);
}

static void refused(struct run *r, const struct drupe_snapshot_options *options,
                    drupe_vm_err_t want, const char *text)
{
    assert_int_equal(drupe_vm_snapshot(r->vm, options, NULL, &r->err), want);
    if (strstr(r->err.text, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", r->err.text, text);
    }
}

static void damage(const char *path, off_t at)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
}

/* A machine's pages are counted from one snapshot only, and that has to be as it was. */
static void test_wrong_bases(void **state)
{
    const char *path = in_folder("base");
    const char *other = in_folder("other");
    const char *diff = in_folder("diff");
    struct drupe_snapshot_base base = { .path = path, .fd = -1 };
    struct drupe_snapshot_options out = diff_options(diff);
    const off_t memory_hash = 96; /* of struct snapshot_header */
    struct drupe_snapshot_info info;
    uint64_t bytes = 0;
    struct run r;

    (void)state;
    need_kvm();
    make_snapshot(other);
    start_tracked(&r);
    refused(&r, &out, DRUPE_CONFIG_INVALID, "there is none");
    snap_ok(&r, path, &info);
    base.path = other;
    out.base = &base;
    refused(&r, &out, DRUPE_IMAGE_MISMATCH, info.id);
    base.path = "/nowhere";
    refused(&r, &out, DRUPE_NOT_FOUND, "/nowhere");
    base.path = NULL;
    refused(&r, &out, DRUPE_CONFIG_INVALID, "base");
    base.path = path;
    out.kind = DRUPE_SNAPSHOT_FULL;
    refused(&r, &out, DRUPE_CONFIG_INVALID, "builds on nothing");
    out.kind = DRUPE_SNAPSHOT_DIFF;
    damage(path, memory_hash);
    refused(&r, &out, DRUPE_IMAGE_MISMATCH, "not what it was");
    damage(path, memory_hash); /* as it was */
    diff_ok(&r, diff, &bytes);
    run_free(&r);
    damage(path, memory_hash);
    run_count(&r, 1, 16);
    assert_int_equal(restore(&r, diff), DRUPE_IMAGE_MISMATCH);
    assert_non_null(strstr(r.err.text, "not what it was"));
    run_free(&r);

    run_count(&r, 1, 16); /* without is_dirty_tracked */
    run_start(&r);
    wait_lines(&r);
    out.base = NULL;
    refused(&r, &out, DRUPE_CONFIG_INVALID, "is_dirty_tracked");
    run_free(&r);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(unlink(diff), 0);
}

/* A snapshot aside changes nothing for the chain. */
static void test_aside(void **state)
{
    const char *base = in_folder("base");
    const char *aside = in_folder("aside");
    const char *diff = in_folder("diff");
    struct drupe_snapshot_options out = diff_options(aside);
    struct drupe_snapshot_info first;
    struct drupe_snapshot_info info;
    uint64_t bytes = 0;
    struct run r;

    (void)state;
    need_kvm();
    run_count(&r, 2, 16);
    r.cfg.is_dirty_tracked = true;
    run_start(&r);
    wait_lines(&r);
    snap_ok(&r, base, &first);
    wait_lines(&r);
    out.kind = DRUPE_SNAPSHOT_FULL;
    out.is_aside = true;
    assert_int_equal(drupe_vm_snapshot(r.vm, &out, &info, &r.err), DRUPE_OK);
    last_is(&r, first.id, base);
    assert_int_equal(unlink(aside), 0);
    assert_int_equal(drupe_vm_pause(r.vm, &r.err), DRUPE_OK);
    diff_ok(&r, diff, &bytes);
    out.path = aside;
    assert_int_equal(drupe_vm_snapshot(r.vm, &out, &info, &r.err), DRUPE_OK);
    run_free(&r);
    compare_memory(diff, aside);
    assert_int_equal(unlink(base), 0);
    assert_int_equal(unlink(aside), 0);
    assert_int_equal(unlink(diff), 0);
}

/* Both files have moved, and have other names: the id finds the base. */
static void test_moved(void **state)
{
    const char *base = in_folder("base");
    const char *diff = in_folder("diff");
    char moved[3][160];
    struct drupe_restore_options in = { .struct_size = sizeof(in), .fd = -1, .memory_fd = -1 };
    int fds[DRUPE_SNAPSHOT_BASES_MAX];
    struct drupe_snapshot_info info;
    unsigned count = 0;
    uint64_t bytes = 0;
    struct run r;

    (void)state;
    need_kvm();
    start_tracked(&r);
    snap_ok(&r, base, &info);
    diff_ok(&r, diff, &bytes);
    run_free(&r);
    (void)snprintf(moved[0], sizeof(moved[0]), "%s/moved", folder);
    (void)snprintf(moved[1], sizeof(moved[1]), "%s/moved/a", folder);
    (void)snprintf(moved[2], sizeof(moved[2]), "%s/moved/b", folder);
    assert_int_equal(mkdir(moved[0], 0700), 0);
    assert_int_equal(rename(base, moved[1]), 0);
    assert_int_equal(rename(diff, moved[2]), 0);
    in.path = moved[2];
    assert_int_equal(drupe_snapshot_open_bases(&in, fds, &count, NULL), DRUPE_OK);
    assert_int_equal(count, 1);
    (void)close(fds[0]);
    run_count(&r, 1, 16);
    restore_ok(&r, moved[2]);
    run_free(&r);
    assert_int_equal(unlink(moved[1]), 0);
    assert_int_equal(drupe_snapshot_open_bases(&in, fds, &count, NULL), DRUPE_NOT_FOUND);
    assert_int_equal(count, 0);
    assert_int_equal(unlink(moved[2]), 0);
    assert_int_equal(rmdir(moved[0]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diffs),       cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_wrong_bases), cmocka_unit_test(test_aside),
        cmocka_unit_test(test_moved),
    };

    return cmocka_run_group_tests_name("snapshot_diff", tests, make_folder, remove_folder);
}
