/* SPDX-License-Identifier: Apache-2.0 */
/* Pause and resume of real machines, under KVM and under QEMU's emulation. */
#include "run.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PAUSES 20

static void run_count(struct run *r, unsigned vcpus)
{
    run_init(r, DRUPE_ACCEL_KVM, GUEST, "count");
    r->cfg.vcpus = vcpus;
    run_start(r);
}

static off_t output_size(const struct run *r)
{
    struct stat st;

    assert_int_equal(fstat(r->cfg.serial_log, &st), 0);
    return st.st_size;
}

/* The log grows beyond `size`. */
static void wait_output(const struct run *r, off_t size)
{
    for (int i = 0; i < END_WAIT_MS && output_size(r) <= size; i++) {
        (void)usleep(1000);
    }
    assert_true(output_size(r) > size);
}

static void pause_ok(struct run *r)
{
    if (drupe_vm_pause(r->vm, &r->err) != DRUPE_OK) {
        fail_msg("pause: %s", r->err.text);
    }
    assert_int_equal(drupe_vm_state(r->vm), DRUPE_VM_PAUSED);
}

static void resume_ok(struct run *r)
{
    if (drupe_vm_resume(r->vm, &r->err) != DRUPE_OK) {
        fail_msg("resume: %s", r->err.text);
    }
}

/* The guest's lines are 0, 1, 2, ...: none is lost, none comes twice. */
static void check_count(const struct run *r)
{
    size_t size = (size_t)output_size(r);
    char *text = calloc(1, size + 1);
    char *at = text;

    assert_non_null(text);
    assert_int_equal(pread(r->cfg.serial_log, text, size, 0), size);
    assert_null(strstr(text, "gap"));
    for (unsigned long n = 0; (at = strstr(at, "n ")) != NULL && strchr(at, '\n') != NULL; n++) {
        assert_int_equal(strtoul(at + 2, &at, 10), n);
    }
    free(text);
}

static void end_by_signal(struct run *r)
{
    assert_int_equal(drupe_vm_signal(r->vm, 2, &r->err), DRUPE_OK);
    run_end(r);
    assert_int_equal(r->end.kind, DRUPE_END_EXIT);
    assert_int_equal(r->end.status, 130);
}

static void test_pause(void **state)
{
    struct run r;
    struct drupe_vm_stats stats;
    off_t size = 0;

    (void)state;
    need_kvm();
    for (unsigned vcpus = 1; vcpus <= 4; vcpus += 3) {
        run_count(&r, vcpus);
        assert_int_equal(drupe_vm_resume(r.vm, &r.err), DRUPE_BAD_STATE);
        for (int i = 0; i < PAUSES; i++) {
            wait_output(&r, size);
            pause_ok(&r);
            assert_int_equal(drupe_vm_pause(r.vm, &r.err), DRUPE_BAD_STATE);
            size = output_size(&r);
            (void)usleep(5000);
            assert_int_equal(output_size(&r), size);
            assert_int_equal(drupe_vm_stats(r.vm, &stats, &r.err), DRUPE_OK);
            assert_int_equal(drupe_vm_signal(r.vm, 2, &r.err), DRUPE_NOT_RUNNING);
            resume_ok(&r);
        }
        end_by_signal(&r);
        check_count(&r);
        run_free(&r);
        size = 0;
    }
}

/* What was under way in QEMU's pipes may still arrive; after that the log stands still. */
static void test_pause_qemu(void **state)
{
    struct run r;
    off_t size = 0;

    (void)state;
    need_qemu();
    run_init(&r, DRUPE_ACCEL_QEMU, GUEST, "count");
    run_start(&r);
    for (int i = 0; i < 3; i++) {
        wait_output(&r, size);
        pause_ok(&r);
        (void)usleep(100000);
        size = output_size(&r);
        (void)usleep(100000);
        assert_int_equal(output_size(&r), size);
        resume_ok(&r);
    }
    wait_output(&r, size);
    check_count(&r);
    pause_ok(&r);
    assert_int_equal(drupe_vm_stop(r.vm, 1000, &r.err), DRUPE_OK);
    run_end(&r);
    run_free(&r);
}

/* The guest's time does not see a pause: it looks for a second that is missing. */
static void test_pause_is_no_time(void **state)
{
    struct run r;

    (void)state;
    need_kvm();
    run_count(&r, 2);
    wait_output(&r, 0);
    pause_ok(&r);
    (void)usleep(1500000);
    resume_ok(&r);
    wait_output(&r, output_size(&r) + 64);
    end_by_signal(&r);
    check_count(&r);
    assert_int_equal(pread(r.cfg.serial_log, r.output, sizeof(r.output) - 1, 0) < 0, 0);
    assert_non_null(strstr(r.output, "id "));
    run_free(&r);
}

static void test_end_while_paused(void **state)
{
    struct run r;

    (void)state;
    need_kvm();
    run_count(&r, 2);
    wait_output(&r, 0);
    pause_ok(&r);
    assert_int_equal(drupe_vm_stop(r.vm, 100, &r.err), DRUPE_OK);
    run_end(&r);
    assert_int_equal(r.end.kind, DRUPE_END_STOPPED);
    assert_int_equal(drupe_vm_resume(r.vm, &r.err), DRUPE_BAD_STATE);
    run_free(&r);
    run_count(&r, 2);
    pause_ok(&r);
    run_free(&r);
}

/* A guest that ends at any moment of a pause. */
static void test_pause_meets_end(void **state)
{
    struct run r;

    (void)state;
    need_kvm();
    for (unsigned i = 0; i < 20; i++) {
        drupe_vm_err_t code = DRUPE_OK;

        run_init(&r, DRUPE_ACCEL_KVM, GUEST, "exit");
        r.cfg.vcpus = 2;
        run_start(&r);
        (void)usleep(i * 20);
        code = drupe_vm_pause(r.vm, &r.err);
        if (code == DRUPE_OK) {
            /* Its end may have been under way: then it comes while the VM is paused. */
            code = drupe_vm_resume(r.vm, &r.err);
            assert_true(code == DRUPE_OK || code == DRUPE_BAD_STATE || code == DRUPE_NOT_RUNNING);
        } else {
            assert_int_equal(code, DRUPE_NOT_RUNNING);
        }
        run_end(&r);
        assert_int_equal(r.end.kind, DRUPE_END_EXIT);
        run_free(&r);
    }
}

struct racer {
    drupe_vm_t *vm;
    atomic_uint paused;
};

static void *race(void *arg)
{
    struct racer *racer = arg;

    for (unsigned i = 0; i < 50; i++) {
        if (drupe_vm_pause(racer->vm, NULL) == DRUPE_OK) {
            atomic_fetch_add(&racer->paused, 1);
        }
        (void)!drupe_vm_resume(racer->vm, NULL);
    }
    return NULL;
}

/* Several callers at once; and one that ends it under their hands. */
static void test_races(void **state)
{
    struct run r;
    struct racer racer = { .paused = 0 };
    pthread_t threads[3];

    (void)state;
    need_kvm();
    run_count(&r, 2);
    racer.vm = r.vm;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racer), 0);
    }
    (void)usleep(20000);
    assert_int_equal(drupe_vm_stop(r.vm, 0, &r.err), DRUPE_OK);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    run_end(&r);
    assert_int_equal(r.end.kind, DRUPE_END_STOPPED);
    run_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_pause_qemu),
        cmocka_unit_test(test_pause_is_no_time),
        cmocka_unit_test(test_end_while_paused),
        cmocka_unit_test(test_pause_meets_end),
        cmocka_unit_test(test_races),
    };

    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
