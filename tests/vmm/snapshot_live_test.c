/* SPDX-License-Identifier: Apache-2.0 */
/* Live snapshots: memory is copied behind a machine that goes on. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_live),
        cmocka_unit_test(test_live_sweep),
    };

    return cmocka_run_group_tests_name("snapshot_live", tests, make_folder, remove_folder);
}
