/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptor tables and advisory locks. */
#include <test.h>

#include <string.h>

#include <core/errno.h>
#include <fs/fcntl.h>
#include <fs/files.h>
#include <fs/locks.h>
#include <fs/vfs.h>
#include <host/host.h>
#include <ipc/poll.h>
#include <sched/task.h>

static unsigned released;

static uint32_t ready(struct file *f, struct poll_table *pt)
{
    (void)f;
    (void)pt;
    return POLLIN;
}

static void count_release(struct file *f)
{
    (void)f;
    released++;
}

static const struct file_ops ops = { .poll = ready, .release = count_release };

static struct file *fresh(void)
{
    struct file *f;

    assert_int_equal(file_create(&ops, NULL, 2, &f), 0);
    return f;
}

static int setup(void **state)
{
    (void)state;
    released = 0;
    current->files = files_create();
    return current->files ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    files_put(current->files);
    current->files = NULL;
    return 0;
}

static void lowest_number_first(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        assert_int_equal(fd_install(fresh(), 0, false), i);
    }
    assert_int_equal(fd_close(150), 0);
    assert_int_equal(fd_close(3), 0);
    assert_int_equal(fd_close(3), -EBADF);
    assert_int_equal(fd_install(fresh(), 10, false), 150);
    assert_int_equal(fd_install(fresh(), 0, false), 3);
    assert_int_equal(fd_install(fresh(), 0, false), 200);
    assert_int_equal(fd_install(fresh(), 1000, false), 1000);
    assert_int_equal(released, 2);
}

static void limit_is_kept(void **state)
{
    struct file *f = fresh();

    (void)state;
    host_limits[7] = 2; /* RLIMIT_NOFILE */
    assert_int_equal(fd_install(fresh(), 0, false), 0);
    assert_int_equal(fd_install(fresh(), 0, false), 1);
    assert_int_equal(fd_install(f, 0, false), -EMFILE);
    assert_int_equal(files_replace(5, f, false), -EBADF);
    host_limits[7] = UINT64_MAX;
    file_put(f);
}

static void reserved_slots_are_nobodys(void **state)
{
    int fd = fd_reserve(0, true);

    (void)state;
    assert_int_equal(fd, 0);
    assert_null(fd_get(0));
    assert_int_equal(fd_close(0), -EBADF);
    assert_int_equal(files_get_flag(0), -EBADF);
    struct file *f = fresh();
    assert_int_equal(files_replace(0, f, false), -EBUSY);
    fd_publish(0, f);
    assert_int_equal(files_get_flag(0), 1);
    assert_int_equal(fd_reserve(0, false), 1);
    fd_unreserve(1);
    assert_int_equal(fd_reserve(0, false), 1);
    fd_unreserve(1);
}

static void fork_and_exec(void **state)
{
    struct files *child;

    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(fd_install(fresh(), 0, i % 3 == 0), i);
    }
    child = files_copy(current->files);
    assert_non_null(child);
    files_close_on_exec(child);
    for (unsigned i = 0; i < 100; i++) {
        struct file *f = files_get(child, i);

        assert_int_equal(f != NULL, i % 3 != 0);
        if (f) {
            file_put(f);
        }
    }
    assert_int_equal(released, 0); /* the parent has them all */
    files_put(child);
    files_close_range(current->files, 10, 1000000);
    assert_int_equal(released, 90);
    assert_int_equal(files_next(current->files, 0), 0);
    assert_int_equal(files_next(current->files, 10), -1);
}

static void replaces_what_was_there(void **state)
{
    struct file *f = fresh();

    (void)state;
    assert_int_equal(fd_install(f, 0, false), 0);
    assert_int_equal(files_replace(70, file_get(f), true), 70);
    assert_int_equal(files_get_flag(70), 1);
    assert_int_equal(files_replace(70, fresh(), false), 70);
    assert_int_equal(released, 0);
    assert_int_equal(fd_close(0), 0);
    assert_int_equal(released, 1);
}

/* --- locks ------------------------------------------------------------------------------------ */

struct user_flock {
    int16_t type;
    int16_t whence;
    int32_t pad;
    int64_t start;
    int64_t size;
    int32_t pid;
    int32_t pad2;
};

static long lock(struct file *f, int cmd, int type, int64_t start, int64_t size)
{
    struct user_flock l = { .type = (int16_t)type, .start = start, .size = size };

    return locks_fcntl(f, cmd, (uintptr_t)&l);
}

static struct file *file_on(struct inode *inode)
{
    struct file *f = fresh();

    f->inode = inode_get(inode);
    return f;
}

static void ranges_split_and_join(void **state)
{
    struct inode *inode = inode_alloc(NULL, 1, 0600);
    struct file *f = file_on(inode);
    struct files *mine = current->files;
    struct files *other = files_create();
    struct user_flock l;

    (void)state;
    assert_int_equal(lock(f, F_SETLK, F_WRLCK, 0, 100), 0);
    assert_int_equal(lock(f, F_SETLK, F_UNLCK, 40, 20), 0);
    current->files = other; /* another process, by the table it has */
    assert_int_equal(lock(f, F_SETLK, F_WRLCK, 40, 20), 0);
    assert_int_equal(lock(f, F_SETLK, F_RDLCK, 39, 1), -EAGAIN);
    assert_int_equal(lock(f, F_SETLK, F_RDLCK, 60, 1), -EAGAIN);
    assert_int_equal(lock(f, F_SETLK, F_RDLCK, 100, 0), 0);
    l = (struct user_flock){ .type = F_WRLCK, .start = 50, .size = 30 };
    assert_int_equal(locks_fcntl(f, F_GETLK, (uintptr_t)&l), 0);
    assert_int_equal(l.type, F_WRLCK);
    assert_int_equal(l.start, 60);
    assert_int_equal(l.size, 40);
    locks_release_posix(f, other);
    current->files = mine;
    assert_int_equal(lock(f, F_SETLK, F_WRLCK, 0, 0), 0);
    locks_release_posix(f, mine);
    assert_true(list_is_empty(&inode->locks));
    files_put(other);
    file_put(f);
    inode_put(inode);
}

static void bad_ranges_are_refused(void **state)
{
    static const struct {
        int64_t start, size;
        int16_t type, whence;
        long expected;
    } cases[] = {
        { -1, 1, F_RDLCK, SEEK_SET, -EINVAL },
        { 5, -6, F_RDLCK, SEEK_SET, -EINVAL },
        { 0, 1, 9, SEEK_SET, -EINVAL },
        { 0, 1, F_RDLCK, 7, -EINVAL },
        { INT64_MAX, 2, F_RDLCK, SEEK_SET, -EOVERFLOW },
        { INT64_MAX, 1, F_RDLCK, SEEK_SET, 0 },
        { 5, -5, F_RDLCK, SEEK_SET, 0 },
    };
    struct inode *inode = inode_alloc(NULL, 1, 0600);
    struct file *f = file_on(inode);

    (void)state;
    for (unsigned i = 0; i < array_size(cases); i++) {
        struct user_flock l = { .type = cases[i].type,
                                .whence = cases[i].whence,
                                .start = cases[i].start,
                                .size = cases[i].size };

        assert_int_equal(locks_fcntl(f, F_SETLK, (uintptr_t)&l), cases[i].expected);
    }
    locks_release_posix(f, current->files);
    file_put(f);
    inode_put(inode);
}

static void descriptions_own_theirs(void **state)
{
    struct inode *inode = inode_alloc(NULL, 1, 0600);
    struct file *a = file_on(inode);
    struct file *b = file_on(inode);

    (void)state;
    assert_int_equal(locks_flock(a, 2), 0);
    assert_int_equal(locks_flock(b, 2 | 4), -EAGAIN);
    assert_int_equal(lock(b, F_SETLK, F_WRLCK, 0, 0), 0); /* a space of its own */
    assert_int_equal(lock(a, F_OFD_SETLK, F_WRLCK, 0, 0), -EAGAIN);
    locks_release_posix(b, current->files);
    file_put(a);
    assert_int_equal(locks_flock(b, 2 | 4), 0);
    assert_int_equal(locks_flock(b, 8), 0);
    assert_int_equal(locks_flock(b, 3), -EINVAL);
    file_put(b);
    assert_true(list_is_empty(&inode->locks));
    inode_put(inode);
}

static bool interrupt_sleep(void)
{
    return false;
}

static void waiting_ends_with_a_signal(void **state)
{
    struct inode *inode = inode_alloc(NULL, 1, 0600);
    struct file *a = file_on(inode);
    struct file *b = file_on(inode);

    (void)state;
    assert_int_equal(locks_flock(a, 2), 0);
    host_on_sleep = interrupt_sleep;
    assert_int_equal(locks_flock(b, 2), -ERESTARTSYS);
    host_on_sleep = NULL;
    file_put(a);
    file_put(b);
    inode_put(inode);
}

static int machine(void **state)
{
    (void)state;
    host_machine_create(UINT64_C(16) << 20, true);
    return 0;
}

#define WITH_TABLE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TABLE(lowest_number_first),        WITH_TABLE(limit_is_kept),
        WITH_TABLE(reserved_slots_are_nobodys), WITH_TABLE(fork_and_exec),
        WITH_TABLE(replaces_what_was_there),    WITH_TABLE(ranges_split_and_join),
        WITH_TABLE(bad_ranges_are_refused),     WITH_TABLE(descriptions_own_theirs),
        WITH_TABLE(waiting_ends_with_a_signal),
    };

    return cmocka_run_group_tests(tests, machine, NULL);
}
