/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_at SOCKET [-i] [-t] PROGRAM [ARGUMENT ...]: run it by the agent behind a vsock socket, with
 * standard input (-i) or a terminal (-t), and end with its status. Without a program: SHUTDOWN.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <drupe/agent.h>

#define CONNECT_MS     120000u
#define INPUT_SIZE_MAX ((size_t)4 << 20)

static int fail(const char *what, const struct drupe_error *err)
{
    (void)fprintf(stderr, "exec_at: %s: %s\n", what, err->text);
    return 125;
}

static int run(drupe_agent_t *a, struct drupe_exec_options *o, bool has_input)
{
    struct drupe_exec_output out;
    struct drupe_error err;
    char *input = has_input ? malloc(INPUT_SIZE_MAX) : NULL;
    size_t size = input != NULL ? fread(input, 1, INPUT_SIZE_MAX, stdin) : 0;
    int status = 0;

    if (drupe_agent_exec(a, o, input, size, &out, &err) != DRUPE_OK) {
        free(input);
        return fail("exec", &err);
    }
    (void)fwrite(out.stdout_bytes, 1, out.stdout_size, stdout);
    (void)fwrite(out.stderr_bytes, 1, out.stderr_size, stderr);
    status = out.result.exit_code;
    drupe_exec_output_free(&out);
    free(input);
    return status;
}

int main(int argc, char **argv)
{
    struct drupe_exec_options o;
    struct drupe_error err;
    drupe_agent_t *a = NULL;
    bool has_input = false;
    int at = 2;
    int status = 0;

    if (argc < 2) {
        (void)fprintf(stderr, "usage: exec_at SOCKET [-i] [-t] [PROGRAM [ARGUMENT ...]]\n");
        return 2;
    }
    drupe_exec_options_init(&o);
    o.timeout_ms = CONNECT_MS;
    for (; at < argc && argv[at][0] == '-'; at++) {
        has_input = has_input || strcmp(argv[at], "-i") == 0;
        o.has_tty = o.has_tty || strcmp(argv[at], "-t") == 0;
    }
    if (drupe_agent_connect(argv[1], CONNECT_MS, &a, &err) != DRUPE_OK) {
        return fail("connect", &err);
    }
    o.argv = (const char *const *)argv + at;
    if (at < argc) {
        status = run(a, &o, has_input);
    } else if (drupe_agent_shutdown(a, false, &err) != DRUPE_OK) {
        status = fail("shutdown", &err);
    }
    drupe_agent_close(a);
    return status;
}
