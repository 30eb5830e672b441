/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/unix_socket.h>

#define PATH_SIZE 200

static char folder[] = "/tmp/unix_socket_test-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void test_a_connection(void **state)
{
    char path[PATH_SIZE];
    char byte = 0;
    int listener = -1;
    int ends[2];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/socket", folder);
    listener = unix_listen(path, SOCK_NONBLOCK);
    assert_true(listener >= 0);
    assert_true((fcntl(listener, F_GETFD) & FD_CLOEXEC) != 0);
    assert_true((fcntl(listener, F_GETFL) & O_NONBLOCK) != 0);
    ends[0] = unix_connect(path, 0);
    assert_true(ends[0] >= 0);
    assert_true((fcntl(ends[0], F_GETFD) & FD_CLOEXEC) != 0);
    assert_true((fcntl(ends[0], F_GETFL) & O_NONBLOCK) == 0);
    ends[1] = accept(listener, NULL, NULL);
    assert_true(ends[1] >= 0);
    assert_int_equal(write(ends[0], "x", 1), 1);
    assert_int_equal(read(ends[1], &byte, 1), 1);
    assert_int_equal(byte, 'x');

    /* The file is taken; and without its listener it refuses. */
    assert_int_equal(unix_listen(path, 0), -EADDRINUSE);
    (void)close(listener);
    assert_int_equal(unix_connect(path, 0), -ECONNREFUSED);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unix_connect(path, 0), -ENOENT);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void test_paths(void **state)
{
    char path[PATH_SIZE];
    size_t longest = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
    int fd = -1;

    (void)state;
    assert_int_equal(unix_listen("", 0), -EINVAL);
    assert_int_equal(unix_connect("", 0), -EINVAL);

    (void)snprintf(path, sizeof(path), "%s/", folder);
    memset(path + strlen(path), 'n', sizeof(path) - strlen(path));
    path[longest + 1] = '\0';
    assert_int_equal(unix_listen(path, 0), -ENAMETOOLONG);
    assert_int_equal(unix_connect(path, 0), -ENAMETOOLONG);
    path[longest] = '\0';
    fd = unix_listen(path, 0);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connection),
        cmocka_unit_test(test_paths),
    };

    return cmocka_run_group_tests_name("unix_socket", tests, make_folder, remove_folder);
}
