/* SPDX-License-Identifier: Apache-2.0 */
/* The broker as a monitor that was taken over would use it: ports, and whatever else it may say. */
#include "devices/vsock_broker.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/unix_socket.h>

#include "test.h"

static char folder[64];

struct broker {
    int fd; /* the monitor's end */
    int theirs;
    pthread_t thread;
};

static void *serve(void *arg)
{
    const struct broker *b = arg;
    char name[96];

    /* In a folder of its own the name would be enough; here it comes with its path. */
    (void)snprintf(name, sizeof(name), "%s/v", folder);
    vsock_broker_serve(b->theirs, name);
    (void)close(b->theirs);
    return NULL;
}

static void broker_start(struct broker *b)
{
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    b->fd = ends[0];
    b->theirs = ends[1];
    assert_int_equal(pthread_create(&b->thread, NULL, serve, b), 0);
}

static void broker_end(struct broker *b)
{
    (void)close(b->fd);
    assert_int_equal(pthread_join(b->thread, NULL), 0);
}

static int listen_at(const char *name)
{
    char path[96];
    int fd = -1;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = unix_listen(path, SOCK_NONBLOCK);
    assert_true(fd >= 0);
    return fd;
}

static void forget(int fd, const char *name)
{
    char path[96];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(unlink(path), 0);
    (void)close(fd);
}

static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof(folder), "/tmp/drupe-broker-XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void test_ports(void **state)
{
    const int seven = listen_at("v_7");
    const int last = listen_at("v_4294967295");
    struct broker b;
    int fds[2];
    char text[8];

    (void)state;
    broker_start(&b);
    fds[0] = vsock_broker_ask(b.fd, 7);
    assert_true(fds[0] >= 0);
    fds[1] = accept(seven, NULL, NULL);
    assert_true(fds[1] >= 0);
    assert_int_equal(write(fds[1], "seven", 5), 5);
    assert_int_equal(read(fds[0], text, sizeof(text)), 5);
    (void)close(fds[0]);
    (void)close(fds[1]);
    fds[0] = vsock_broker_ask(b.fd, UINT32_MAX);
    assert_true(fds[0] >= 0);
    (void)close(fds[0]);
    assert_int_equal(vsock_broker_ask(b.fd, 8), -ENOENT);
    assert_int_equal(vsock_broker_ask(b.fd, 0), -ENOENT);
    broker_end(&b);
    assert_int_equal(vsock_broker_ask(-1, 7), -EPIPE);
    forget(seven, "v_7");
    forget(last, "v_4294967295");
}

/* A full queue refuses at once, and the next request is served. */
static void test_full_queue(void **state)
{
    const int busy = listen_at("v_1");
    const int idle = listen_at("v_2");
    struct broker b;
    int first = -1;
    int second = -1;

    (void)state;
    assert_int_equal(listen(busy, 0), 0);
    broker_start(&b);
    first = vsock_broker_ask(b.fd, 1);
    assert_true(first >= 0);
    assert_int_equal(vsock_broker_ask(b.fd, 1), -EAGAIN);
    second = vsock_broker_ask(b.fd, 2);
    assert_true(second >= 0);
    (void)close(first);
    (void)close(second);
    broker_end(&b);
    forget(busy, "v_1");
    forget(idle, "v_2");
}

/*
 * Other messages end it, and connect to nothing: not what stands beside, above, nor what a number
 * with text behind it would name.
 */
static void test_hostile_messages(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } messages[] = {
        { "", 0 },
        { "7", 1 },
        { "\7\0\0", 3 },
        { "\7\0\0\0\0", 5 },
        { "\7\0\0\0\0\0\0\0", 8 },
        { "../other", 8 },
        { "\7\0\0\0/../other and more than there is room for", 44 },
    };

    const int seven = listen_at("v_7");
    const int other = listen_at("other");

    (void)state;
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct broker b;
        char byte = 0;

        broker_start(&b);
        assert_int_equal(send(b.fd, messages[i].bytes, messages[i].size, MSG_NOSIGNAL),
                         messages[i].size);
        assert_int_equal(recv(b.fd, &byte, 1, 0), 0); /* it has gone, without a word */
        assert_int_equal(vsock_broker_ask(b.fd, 7), -EPIPE);
        assert_int_equal(accept(seven, NULL, NULL), -1);
        assert_int_equal(accept(other, NULL, NULL), -1);
        broker_end(&b);
    }
    forget(seven, "v_7");
    forget(other, "other");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_full_queue),
        cmocka_unit_test(test_hostile_messages),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
