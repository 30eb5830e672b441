/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of snapshots share: a folder for their files, and the counting guest. */
#pragma once

#include "run.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

static char folder[64];

static inline int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "%s/drupe-snap-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static inline int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder); /* fails when a test left something behind */
}

static inline const char *in_folder(const char *name)
{
    static char path[4][128];
    static unsigned next;
    char *p = path[next++ % 4];

    (void)snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
    return p;
}

static inline void run_count(struct run *r, unsigned vcpus, unsigned memory_mib)
{
    run_init(r, DRUPE_ACCEL_KVM, GUEST, "count");
    r->cfg.vcpus = vcpus;
    r->cfg.memory_mib = memory_mib;
}

static inline off_t size_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st.st_size;
}

static inline void wait_lines(const struct run *r)
{
    off_t size = size_of(r->cfg.serial_log);

    for (int i = 0; i < END_WAIT_MS && size_of(r->cfg.serial_log) < size + 48; i++) {
        (void)usleep(1000);
    }
    assert_true(size_of(r->cfg.serial_log) >= size + 48);
}

/* The first or last number of the log. */
static inline long number(const struct run *r, bool is_last)
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

static inline drupe_vm_err_t snap(struct run *r, const char *path, struct drupe_snapshot_info *info)
{
    struct drupe_snapshot_options options = {
        .struct_size = sizeof(options),
        .path = path,
        .fd = -1,
        .memory_fd = -1,
    };

    return drupe_vm_snapshot(r->vm, &options, info, &r->err);
}

static inline void snap_ok(struct run *r, const char *path, struct drupe_snapshot_info *info)
{
    if (snap(r, path, info) != DRUPE_OK) {
        fail_msg("snapshot: %s: %s", drupe_vm_err_name(r->err.code), r->err.text);
    }
}

static inline drupe_vm_err_t restore(struct run *r, const char *path)
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

static inline void restore_ok(struct run *r, const char *path)
{
    if (restore(r, path) != DRUPE_OK) {
        fail_msg("restore: %s: %s", drupe_vm_err_name(r->err.code), r->err.text);
    }
    assert_int_equal(drupe_vm_state(r->vm), DRUPE_VM_PAUSED);
}

static inline void resume_ok(struct run *r)
{
    if (drupe_vm_resume(r->vm, &r->err) != DRUPE_OK) {
        fail_msg("resume: %s", r->err.text);
    }
}

static inline void end_by_signal(struct run *r)
{
    assert_int_equal(drupe_vm_signal(r->vm, 2, &r->err), DRUPE_OK);
    run_end(r);
    assert_int_equal(r->end.kind, DRUPE_END_EXIT);
    assert_int_equal(r->end.status, 130);
}

static inline void make_snapshot(const char *path)
{
    struct drupe_snapshot_info info;
    struct run r;

    run_count(&r, 1, 16);
    run_start(&r);
    wait_lines(&r);
    snap_ok(&r, path, &info);
    run_free(&r);
}
