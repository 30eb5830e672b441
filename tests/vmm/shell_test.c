/* SPDX-License-Identifier: Apache-2.0 */
/* Ready shells with real machines: handed out, run, killed, refused. Root only. */
#include "run.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <base/compiler.h>

#include <drupe/shell.h>

static char path[96];

static void need_root(void)
{
    need_kvm();
    if (geteuid() != 0) {
        print_message("not root\n");
        skip();
    }
}

static off_t size_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st.st_size;
}

static void wait_output(int fd, off_t size)
{
    for (int i = 0; i < END_WAIT_MS && size_of(fd) < size; i++) {
        (void)usleep(1000);
    }
    assert_true(size_of(fd) >= size);
}

/* A guest that counts, frozen. */
static int make_template(void **state)
{
    struct drupe_snapshot_options options = {
        .struct_size = sizeof(options), .path = path, .fd = -1, .memory_fd = -1
    };
    struct run r;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/drupe-shell-%d.snap",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
    if (access("/dev/kvm", R_OK | W_OK) != 0) {
        return 0;
    }
    run_init(&r, DRUPE_ACCEL_KVM, GUEST, "count");
    run_start(&r);
    wait_output(r.cfg.serial_log, 48);
    assert_int_equal(drupe_vm_snapshot(r.vm, &options, NULL, &r.err), DRUPE_OK);
    run_free(&r);
    return 0;
}

static int remove_template(void **state)
{
    (void)state;
    (void)unlink(path); /* without KVM there is none */
    return 0;
}

struct set {
    struct run shape;
    struct drupe_restore_options restore;
    struct drupe_jail_config jail;
    struct drupe_shells_options options;
    char prefix[40];
    drupe_shells_t *shells;
    struct drupe_error err;
};

static void set_init(struct set *s, bool is_loaded)
{
    static unsigned number;

    memset(s, 0, sizeof(*s));
    run_init(&s->shape, DRUPE_ACCEL_KVM, GUEST, "count");
    s->restore = (struct drupe_restore_options){
        .struct_size = sizeof(s->restore), .path = path, .fd = -1, .memory_fd = -1, .is_clone = true
    };
    (void)snprintf(s->prefix, sizeof(s->prefix), "shelltest-%d-%u", (int)getpid(), number++);
    drupe_jail_config_init(&s->jail);
    s->jail.id = s->prefix;
    s->jail.memory_max = UINT64_C(256) << 20;
    s->jail.pids_max = 16;
    s->jail.are_limits_optional = true;
#if defined(__SANITIZE_ADDRESS__)
    s->jail.memory_max = 0; /* its shadow memory, and calls that no filter allows */
    s->jail.filter = DRUPE_JAIL_FILTER_NONE;
#endif
    drupe_shells_options_init(&s->options);
    s->options.shape = &s->shape.cfg;
    s->options.restore = is_loaded ? &s->restore : NULL;
    s->options.jail = &s->jail;
    s->options.ready = 2;
    s->options.max = 4;
}

static void set_open(struct set *s, bool is_loaded)
{
    set_init(s, is_loaded);
    if (drupe_shells_create(&s->options, &s->shells, &s->err) != DRUPE_OK) {
        fail_msg("shells: %s", s->err.text);
    }
}

static void set_close(struct set *s)
{
    drupe_shells_destroy(s->shells);
    (void)close(s->shape.cfg.serial_log);
}

/* A VM in one of the set's shells, with a log of its own. */
struct user {
    drupe_vm_t *vm;
    int log;
};

static void user_take(struct user *u, struct set *s, bool is_loaded)
{
    struct drupe_vm_streams streams = { -1, -1, -1, -1 };

    u->log = memory_file();
    streams.serial_log = u->log;
    if (drupe_shells_take(s->shells, is_loaded ? NULL : &s->restore, &streams, END_WAIT_MS, &u->vm,
                          &s->err) != DRUPE_OK) {
        fail_msg("take: %s", s->err.text);
    }
    assert_int_equal(drupe_vm_state(u->vm), DRUPE_VM_PAUSED);
}

static void user_run(struct user *u, struct set *s)
{
    assert_int_equal(drupe_vm_resume(u->vm, &s->err), DRUPE_OK);
    wait_output(u->log, 48);
}

static void user_free(struct user *u)
{
    drupe_vm_destroy(u->vm);
    (void)close(u->log);
}

static void expect_end(const struct user *u, enum drupe_vm_state state, enum drupe_end_kind kind,
                       int status)
{
    struct drupe_vm_outcome end;
    struct drupe_error err;
    enum drupe_vm_state reached = DRUPE_VM_CREATED;

    assert_int_equal(drupe_vm_wait(u->vm, DRUPE_VM_ENDED, END_WAIT_MS, &reached, &err), DRUPE_OK);
    assert_int_equal(reached, state);
    assert_int_equal(drupe_vm_outcome(u->vm, &end, &err), DRUPE_OK);
    assert_int_equal(end.kind, kind);
    assert_int_equal(end.status, status);
}

/* More users than places, two at a time; loaded ahead, and with what the request brings. */
static void test_users(void **state)
{
    (void)state;
    need_root();
    for (int is_loaded = 0; is_loaded < 2; is_loaded++) {
        struct set s;
        struct drupe_vm_stats stats;

        set_open(&s, is_loaded != 0);
        assert_int_equal(drupe_shells_wait(s.shells, 2, END_WAIT_MS, &s.err), DRUPE_OK);
        for (unsigned i = 0; i < 4; i++) {
            struct user users[2];

            for (unsigned k = 0; k < array_size(users); k++) {
                user_take(&users[k], &s, is_loaded != 0);
                assert_int_equal(size_of(users[k].log), 0);
                user_run(&users[k], &s);
            }
            assert_int_equal(drupe_vm_stats(users[0].vm, &stats, &s.err), DRUPE_OK);
            assert_true(stats.entered_ns > 0 && stats.vcpu_count == 1);
            assert_int_equal(drupe_vm_signal(users[0].vm, 2, &s.err), DRUPE_OK);
            expect_end(&users[0], DRUPE_VM_STOPPED, DRUPE_END_EXIT, 130);
            /* The other goes on, and ends as it is told. */
            wait_output(users[1].log, size_of(users[1].log) + 48);
            if (i % 2 == 0) {
                assert_int_equal(drupe_vm_stop(users[1].vm, 0, &s.err), DRUPE_OK);
                expect_end(&users[1], DRUPE_VM_STOPPED, DRUPE_END_STOPPED, 0);
            }
            user_free(&users[0]);
            user_free(&users[1]);
        }
        set_close(&s);
    }
}

/* The set ends with shells that are ready, and with ones that are being made. */
static void test_unused(void **state)
{
    struct set s;

    (void)state;
    need_root();
    set_open(&s, true);
    set_close(&s);
    set_open(&s, false);
    assert_int_equal(drupe_shells_wait(s.shells, 2, END_WAIT_MS, &s.err), DRUPE_OK);
    set_close(&s);
}

/* Paused for ever, then thrown away; what a shell cannot do it says. */
static void test_paused(void **state)
{
    struct drupe_snapshot_options options = {
        .struct_size = sizeof(options), .path = "/nonexistent", .fd = -1, .memory_fd = -1
    };
    struct set s;
    struct user u;

    (void)state;
    need_root();
    set_open(&s, true);
    user_take(&u, &s, true);
    assert_int_equal(drupe_vm_snapshot(u.vm, &options, NULL, &s.err), DRUPE_UNSUPPORTED);
    assert_int_equal(drupe_vm_state(u.vm), DRUPE_VM_PAUSED);
    user_free(&u);
    user_take(&u, &s, true);
    user_run(&u, &s);
    assert_int_equal(drupe_vm_pause(u.vm, &s.err), DRUPE_UNSUPPORTED);
    assert_int_equal(drupe_vm_state(u.vm), DRUPE_VM_RUNNING);
    assert_int_equal(drupe_vm_stop(u.vm, 0, &s.err), DRUPE_OK);
    assert_int_not_equal(drupe_vm_start(u.vm, &s.err), DRUPE_OK);
    user_free(&u);
    set_close(&s);
}

static void test_refusals(void **state)
{
    struct drupe_vm_streams streams = { -1, -1, -1, -1 };
    struct drupe_restore_options bad = {
        .struct_size = sizeof(bad), .path = "/etc/passwd", .fd = -1, .memory_fd = -1
    };
    drupe_vm_t *vm = NULL;
    struct set s;
    struct user u;

    (void)state;
    need_root();
    set_init(&s, true);
    s.options.ready = 5; /* of 4 */
    assert_int_equal(drupe_shells_create(&s.options, &s.shells, &s.err), DRUPE_CONFIG_INVALID);
    s.options.ready = 2;
    s.options.makers = 0;
    assert_int_equal(drupe_shells_create(&s.options, &s.shells, &s.err), DRUPE_CONFIG_INVALID);
    s.options.makers = 1;
    s.restore.path = "/nonexistent";
    assert_int_equal(drupe_shells_create(&s.options, &s.shells, &s.err), DRUPE_NOT_FOUND);
    /* A snapshot that none can be made of: the set says why. */
    s.restore.path = "/etc/passwd";
    assert_int_equal(drupe_shells_create(&s.options, &s.shells, &s.err), DRUPE_OK);
    assert_int_equal(drupe_shells_wait(s.shells, 1, END_WAIT_MS, &s.err), DRUPE_SNAPSHOT_CORRUPTED);
    set_close(&s);

    set_open(&s, false);
    assert_int_equal(drupe_shells_take(s.shells, NULL, &streams, END_WAIT_MS, &vm, &s.err),
                     DRUPE_CONFIG_INVALID);
    assert_int_equal(drupe_shells_take(s.shells, &bad, &streams, END_WAIT_MS, &vm, &s.err),
                     DRUPE_SNAPSHOT_CORRUPTED);
    streams.host_stdin = 9999; /* no descriptor */
    assert_int_equal(drupe_shells_take(s.shells, &s.restore, &streams, END_WAIT_MS, &vm, &s.err),
                     DRUPE_CONFIG_INVALID);
    user_take(&u, &s, false);
    user_run(&u, &s);
    user_free(&u);
    set_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_users),
        cmocka_unit_test(test_unused),
        cmocka_unit_test(test_paused),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests_name("shells", tests, make_template, remove_template);
}
