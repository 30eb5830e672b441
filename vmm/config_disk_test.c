/* SPDX-License-Identifier: Apache-2.0 */
/* One owner for a disk that is written. */
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

static char path[] = "/tmp/drupe-disk-XXXXXX";

static int set_up(void **state)
{
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 4096), 0);
    (void)close(fd);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static drupe_vm_err_t take(const char *name, bool is_read_only, struct config_file *out,
                           struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    memset(out, 0, sizeof(*out));
    memset(err, 0, sizeof(*err));
    r = config_take_disk(name, is_read_only, false, out, err);
    assert_int_equal(r, DRUPE_OK);
    return config_lock_disk("disk", out, err);
}

static void test_owners(void **state)
{
    struct config_file first;
    struct config_file second;
    struct drupe_error err;
    char by_number[32];

    (void)state;
    assert_int_equal(take(path, false, &first, &err), DRUPE_OK);
    /* Another open file, in this process as in any other. */
    assert_int_equal(take(path, false, &second, &err), DRUPE_NO_ACCESS);
    assert_int_equal(err.os_errno, EBUSY);
    assert_non_null(strstr(err.text, path));
    assert_true(config_is_same_file(&first, &second));
    config_file_deinit(&second);
    /* Who only reads is no owner. */
    assert_int_equal(take(path, true, &second, &err), DRUPE_OK);
    config_file_deinit(&second);
    /* A copy of the descriptor is the same open file, and keeps the lock. */
    (void)snprintf(by_number, sizeof(by_number), "fd:%d", first.fd);
    assert_int_equal(take(by_number, false, &second, &err), DRUPE_OK);
    config_file_deinit(&first);
    assert_int_equal(take(path, false, &first, &err), DRUPE_NO_ACCESS);
    config_file_deinit(&first);
    config_file_deinit(&second);
    assert_int_equal(take(path, false, &first, &err), DRUPE_OK);
    config_file_deinit(&first);
}

/* QEMU locks bytes of its own in the images that it opens for us. */
static void test_beside_qemu(void **state)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 164 };
    struct config_file file;
    struct drupe_error err;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(take(path, false, &file, &err), DRUPE_OK);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    config_file_deinit(&file);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_owners),
        cmocka_unit_test(test_beside_qemu),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
