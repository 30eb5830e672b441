/* SPDX-License-Identifier: Apache-2.0 */
/* The client against agents that are played here: good ones, silent ones, mad ones. */

#include <test.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/bytes.h>

#include "abi/agent.h"
#include "drupe/agent.h"

/* ---- A played agent: it answers HELLO, then sends what its script says ---- */

struct script {
    int fd;
    const uint8_t *bytes; /* sent after the first request */
    size_t size;
    bool stays; /* keeps the connection open afterwards */
};

static bool take(int fd, void *to, size_t size)
{
    for (uint8_t *at = to; size > 0;) {
        ssize_t n = read(fd, at, size);

        if (n <= 0) {
            return false;
        }
        at += n;
        size -= (size_t)n;
    }
    return true;
}

/* The next frame, whatever it is; its type. 0: the end. */
static unsigned take_frame(int fd, uint8_t *payload, size_t room)
{
    uint8_t header[AGENT_HEADER_SIZE];
    size_t size = 0;

    if (!take(fd, header, sizeof(header))) {
        return 0;
    }
    size = load_be32(header) - AGENT_LENGTH_MIN;
    while (size > 0) {
        size_t n = size < room ? size : room;

        if (!take(fd, payload, n)) {
            return 0;
        }
        size -= n;
    }
    return header[4];
}

static void give_hello(int fd)
{
    static const uint8_t hello[] = { 0, 0, 0, 15, AGENT_HELLO, 0,  0,   0,   0,  2,
                                     0, 2, 0, 0,  0,           31, 'p', 'l', 'y' };

    assert_int_equal(write(fd, hello, sizeof(hello)), sizeof(hello));
}

static void *play(void *arg)
{
    struct script *s = arg;
    uint8_t payload[4096];

    if (take_frame(s->fd, payload, sizeof(payload)) == AGENT_HELLO) {
        give_hello(s->fd);
        if (take_frame(s->fd, payload, sizeof(payload)) != 0) {
            (void)!write(s->fd, s->bytes, s->size);
        }
    }
    while (s->stays && take_frame(s->fd, payload, sizeof(payload)) != 0) {
    }
    (void)close(s->fd);
    return NULL;
}

static drupe_agent_t *open_played(struct script *s, pthread_t *thread)
{
    drupe_agent_t *a = NULL;
    struct drupe_error err;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    s->fd = fds[1];
    assert_int_equal(pthread_create(thread, NULL, play, s), 0);
    assert_int_equal(drupe_agent_open(fds[0], 60000, &a, &err), DRUPE_OK);
    assert_string_equal(drupe_agent_build(a), "ply");
    assert_int_equal(drupe_agent_capabilities(a), 31);
    return a;
}

#define EXIT_OF(code)                                                                              \
    0, 0, 0, 24, AGENT_EXIT, 0, 0, 1, 0, 0, 0, code, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0

static void answers(void **state)
{
    static const uint8_t good[] = { 0, 0, 0, 6, AGENT_STDOUT, 0, 0, 1, 'h', 'i',
                                    0, 0, 0, 5, AGENT_STDERR, 0, 0, 1, 'e', EXIT_OF(3) };
    static const uint8_t timed_out[] = {
        0,   0, 0, 5, AGENT_STDOUT, 0, 0, 1, 'x', 0, 0, 0, 24, AGENT_EXIT, 0, 0, 1, 0, 0, 0,
        143, 0, 0, 0, 15,           0, 0, 0, 0,   0, 0, 0, 9,  0,          0, 0, 4
    };
    static const uint8_t refused[] = { 0, 0, 0, 10, AGENT_ERROR, 0, 0, 1, 0, 0, 0, 3, 'n', 'o' };
    static const uint8_t busy[] = { 0, 0, 0, 8, AGENT_ERROR, 0, 0, 1, 0, 0, 0, 4 };
    static const uint8_t not_found[] = { 0, 0, 0, 8, AGENT_ERROR, 0, 0, 1, 0, 0, 3, 234 };
    static const uint8_t too_long[] = { 0, 16, 0, 1, AGENT_STDOUT, 0, 0, 1 };
    static const uint8_t too_short[] = { 0, 0, 0, 3, AGENT_STDOUT, 0, 0 };
    static const uint8_t other_stream[] = { 0, 0, 0, 5, AGENT_STDOUT, 0, 0, 9, 'x' };
    static const uint8_t unknown[] = { 0, 0, 0, 4, 99, 0, 0, 1 };
    static const uint8_t short_exit[] = { 0, 0, 0, 5, AGENT_EXIT, 0, 0, 1, 0 };
    static const uint8_t after_exit[] = { EXIT_OF(0), EXIT_OF(0) };
    static const uint8_t window[] = { 0, 0, 0, 8, AGENT_WINDOW, 0, 0, 1, 255, 0, 0, 0 };
    static const uint8_t hello_again[] = {
        0, 0, 0, 12, AGENT_HELLO, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 0
    };
    static const uint8_t bye[] = { 0, 0, 0, 8, AGENT_ERROR, 0, 0, 0, 0, 0, 0, 1 };
    static const uint8_t half[] = { 0, 0, 0, 6, AGENT_STDOUT, 0, 0, 1, 'h' };

    static const struct {
        const char *name;
        const uint8_t *bytes;
        size_t size;
        drupe_vm_err_t code;
    } cases[] = {
        { "good", good, sizeof(good), DRUPE_OK },
        { "timed out", timed_out, sizeof(timed_out), DRUPE_EXEC_TIMEOUT },
        { "refused", refused, sizeof(refused), DRUPE_CONFIG_INVALID },
        { "busy", busy, sizeof(busy), DRUPE_BUSY },
        { "errno", not_found, sizeof(not_found), DRUPE_NOT_FOUND },
        { "frame too long", too_long, sizeof(too_long), DRUPE_EXEC_FAILED },
        { "frame too short", too_short, sizeof(too_short), DRUPE_EXEC_FAILED },
        { "stream not open", other_stream, sizeof(other_stream), DRUPE_EXEC_FAILED },
        { "unknown frame", unknown, sizeof(unknown), DRUPE_EXEC_FAILED },
        { "short EXIT", short_exit, sizeof(short_exit), DRUPE_EXEC_FAILED },
        { "two EXITs", after_exit, sizeof(after_exit), DRUPE_OK },
        { "window too large", window, sizeof(window), DRUPE_EXEC_FAILED },
        { "HELLO again", hello_again, sizeof(hello_again), DRUPE_EXEC_FAILED },
        { "the agent gives up", bye, sizeof(bye), DRUPE_EXEC_FAILED },
        { "half a frame", half, sizeof(half), DRUPE_EXEC_FAILED },
        { "nothing", good, 0, DRUPE_EXEC_FAILED },
    };
    struct drupe_exec_options o;

    (void)state;
    drupe_exec_options_init(&o);
    o.argv = (const char *const[]){ "x", NULL };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct script s = { .bytes = cases[i].bytes, .size = cases[i].size };
        struct drupe_exec_output out = { 0 };
        struct drupe_error err = { 0 };
        pthread_t thread;
        drupe_agent_t *a = open_played(&s, &thread);
        drupe_vm_err_t r = drupe_agent_exec(a, &o, NULL, 0, &out, &err);

        if (r != cases[i].code) {
            fail_msg("%s: %s %s", cases[i].name, drupe_vm_err_name(r), err.text);
        }
        if (i == 0) {
            assert_int_equal(out.result.exit_code, 3);
            assert_int_equal(out.result.duration_us, 9);
            assert_string_equal(out.stdout_bytes, "hi");
            assert_string_equal(out.stderr_bytes, "e");
        }
        if (r == DRUPE_EXEC_TIMEOUT) {
            assert_true(out.result.is_timed_out);
            assert_string_equal(out.stdout_bytes, "x");
        }
        drupe_exec_output_free(&out);
        drupe_agent_close(a);
        (void)pthread_join(thread, NULL);
    }
}

/* More output than the credit that was given. */
static void keeps_credit(void **state)
{
    const size_t count = AGENT_WINDOW_START + 1;
    uint8_t *bytes = malloc(AGENT_HEADER_SIZE + count);
    struct script s = { .bytes = bytes, .size = AGENT_HEADER_SIZE + count };
    struct drupe_exec_options o;
    struct drupe_exec_output out;
    struct drupe_error err;
    pthread_t thread;
    drupe_agent_t *a = NULL;

    (void)state;
    assert_non_null(bytes);
    memset(bytes, 'x', AGENT_HEADER_SIZE + count);
    store_be32(bytes, (uint32_t)(AGENT_LENGTH_MIN + count));
    memcpy(bytes + 4, (const uint8_t[]){ AGENT_STDOUT, 0, 0, 1 }, 4);
    a = open_played(&s, &thread);
    drupe_exec_options_init(&o);
    o.argv = (const char *const[]){ "x", NULL };
    assert_int_equal(drupe_agent_exec(a, &o, NULL, 0, &out, &err), DRUPE_EXEC_FAILED);
    drupe_agent_close(a);
    (void)pthread_join(thread, NULL);
    free(bytes);
}

static void silent_agent(void **state)
{
    struct script s = { .bytes = (const uint8_t *)"", .stays = true };
    struct drupe_exec_options o;
    struct drupe_exec_output out;
    struct drupe_error err;
    pthread_t thread;
    drupe_agent_t *a = open_played(&s, &thread);

    (void)state;
    drupe_exec_options_init(&o);
    o.argv = (const char *const[]){ "x", NULL };
    o.timeout_ms = 1;
    /* The program's time and the host's grace. */
    assert_int_equal(drupe_agent_exec(a, &o, NULL, 0, &out, &err), DRUPE_EXEC_TIMEOUT);
    assert_true(out.result.is_timed_out);
    drupe_exec_output_free(&out);
    assert_int_equal(drupe_agent_ping(a, 1, &err), DRUPE_TIMEOUT);
    drupe_agent_interrupt(a);
    assert_int_equal(drupe_agent_ping(a, 1, &err), DRUPE_INTERRUPTED);
    assert_int_equal(drupe_agent_exec(a, &o, NULL, 0, &out, &err), DRUPE_INTERRUPTED);
    drupe_agent_close(a);
    (void)pthread_join(thread, NULL);
}

static void *interrupt_soon(void *arg)
{
    (void)usleep(20000);
    drupe_agent_interrupt(arg);
    return NULL;
}

static void interrupted_while_waiting(void **state)
{
    struct script s = { .bytes = (const uint8_t *)"", .stays = true };
    struct drupe_exec_options o;
    struct drupe_exec_output out;
    struct drupe_error err;
    pthread_t thread;
    pthread_t other;
    drupe_agent_t *a = open_played(&s, &thread);

    (void)state;
    drupe_exec_options_init(&o);
    o.argv = (const char *const[]){ "x", NULL };
    assert_int_equal(pthread_create(&other, NULL, interrupt_soon, a), 0);
    assert_int_equal(drupe_agent_exec(a, &o, NULL, 0, &out, &err), DRUPE_INTERRUPTED);
    (void)pthread_join(other, NULL);
    drupe_agent_close(a);
    (void)pthread_join(thread, NULL);
}

static void refuses_requests(void **state)
{
    static const struct {
        const char *argv0;
        uint32_t timeout_ms;
        const char *env;
        const char *field;
    } cases[] = {
        { NULL, 1, NULL, "argv" },      { "", 1, NULL, "argv" },
        { "x", 0, NULL, "timeout_ms" }, { "x", DRUPE_EXEC_TIMEOUT_MS_MAX + 1, NULL, "timeout_ms" },
        { "x", 1, "no equals", "env" }, { "x", 1, "=empty name", "env" },
    };
    struct script s = { .bytes = (const uint8_t *)"" };
    pthread_t thread;
    drupe_agent_t *a = open_played(&s, &thread);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *argv[] = { cases[i].argv0, NULL };
        const char *env[] = { cases[i].env, NULL };
        struct drupe_exec_options o;
        struct drupe_exec_output out;
        struct drupe_error err;

        drupe_exec_options_init(&o);
        o.argv = argv;
        o.env = env;
        o.timeout_ms = cases[i].timeout_ms;
        assert_int_equal(drupe_agent_exec(a, &o, NULL, 0, &out, &err), DRUPE_CONFIG_INVALID);
        assert_string_equal(err.field, cases[i].field);
    }
    drupe_agent_close(a);
    (void)pthread_join(thread, NULL);
}

static void connect_errors(void **state)
{
    drupe_agent_t *a = NULL;
    struct drupe_error err;
    char long_path[200];
    int fds[2];

    (void)state;
    memset(long_path, 'x', sizeof(long_path) - 1);
    long_path[sizeof(long_path) - 1] = '\0';
    assert_int_equal(drupe_agent_connect("/no/such/socket", 10, &a, &err), DRUPE_NOT_FOUND);
    assert_int_equal(drupe_agent_connect(long_path, 10, &a, &err), DRUPE_CONFIG_INVALID);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(drupe_agent_open(fds[0], 10, &a, &err), DRUPE_TIMEOUT);
    (void)close(fds[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    (void)close(fds[1]);
    assert_int_equal(drupe_agent_open(fds[0], 10, &a, &err), DRUPE_EXEC_FAILED);
    assert_null(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),          cmocka_unit_test(keeps_credit),
        cmocka_unit_test(silent_agent),     cmocka_unit_test(interrupted_while_waiting),
        cmocka_unit_test(refuses_requests), cmocka_unit_test(connect_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
