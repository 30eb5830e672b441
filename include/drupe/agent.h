/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to the agent in a guest (docs/agent.md), from any process that may open the VM's
 * vsock socket.
 *
 *     drupe_agent_t *agent = NULL;
 *     struct drupe_exec_options o;
 *     struct drupe_exec_output out;
 *
 *     drupe_exec_options_init(&o);
 *     o.argv = (const char *const[]){ "/bin/uname", "-a", NULL };
 *     if (drupe_agent_connect("/run/drupe/x/vsock.sock", 5000, &agent, &err) == DRUPE_OK &&
 *         drupe_agent_exec(agent, &o, NULL, 0, &out, &err) == DRUPE_OK) {
 *         fwrite(out.stdout_bytes, 1, out.stdout_size, stdout);
 *         drupe_exec_output_free(&out);
 *     }
 *     drupe_agent_close(agent);
 *
 * Errors are as in drupe/vm.h: EXEC_FAILED when the agent refused or its connection was lost,
 * EXEC_TIMEOUT, INTERRUPTED after drupe_agent_interrupt(), CONFIG_INVALID for a request that makes
 * no sense, NOT_FOUND and NO_ACCESS for a guest's file. os_errno is the guest's where it caused it.
 *
 * Threads. Every call is safe from any thread, and many programs may run over one connection. The
 * library has no thread: whoever waits reads the connection, for the others too. Only close must be
 * the last call, with no other under way. A drupe_exec_t is used by one thread at a time, except
 * drupe_exec_kill() and drupe_exec_resize().
 */
#pragma once

#include <drupe/vm.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct drupe_agent drupe_agent_t;
typedef struct drupe_exec drupe_exec_t;

/* ---- Connection ---------------------------------------------------------------------------- */

#define DRUPE_AGENT_PORT 9001u

/*
 * Connect to the agent behind a VM's vsock socket. While nobody listens in the guest yet it is
 * tried again until timeout_ms have passed: TIMEOUT. NOT_FOUND: there is no such socket.
 * NOT_RUNNING: no monitor behind it. EXEC_FAILED: something else than an agent answers.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_agent_connect(const char *vsock_path,
                                                              uint32_t timeout_ms,
                                                              drupe_agent_t **out,
                                                              struct drupe_error *err);

/* The same over a connected stream socket that speaks protocol 2 from its first byte. Takes fd,
 * also on failure. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_agent_open(int fd, uint32_t timeout_ms,
                                                           drupe_agent_t **out,
                                                           struct drupe_error *err);

/*
 * A plain stream to a port of the guest: *fd is the caller's, non-blocking. Errors as of
 * drupe_agent_connect(), without trying again.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vsock_connect(const char *vsock_path, uint32_t port,
                                                              uint32_t timeout_ms, int *fd,
                                                              struct drupe_error *err);

/* NULL is fine. Programs that still run end with the connection; each drupe_exec_t is freed before.
 */
DRUPE_API void drupe_agent_close(drupe_agent_t *agent);

/* Every call under way and to come fails with INTERRUPTED. Any thread. */
DRUPE_API void drupe_agent_interrupt(drupe_agent_t *agent);

/* Readable when there is something to be read by drupe_exec_wait(); not to be read or closed. */
DRUPE_API int drupe_agent_fd(const drupe_agent_t *agent);

/* Bits of enum agent_capability of docs/agent.md: 1 exec, 2 files, 4 shutdown, 8 tty, 16 nodes. */
DRUPE_API uint32_t drupe_agent_capabilities(const drupe_agent_t *agent);
DRUPE_API const char *drupe_agent_build(const drupe_agent_t *agent);

DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_agent_ping(drupe_agent_t *agent,
                                                           uint32_t timeout_ms,
                                                           struct drupe_error *err);

/* End the machine from inside: SIGTERM to all, then power off (or restart). */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_agent_shutdown(drupe_agent_t *agent, bool is_reboot,
                                                               struct drupe_error *err);

/* ---- Programs ------------------------------------------------------------------------------ */

#define DRUPE_EXEC_TIMEOUT_MS_MAX  86400000u
#define DRUPE_EXEC_TIMEOUT_NEVER   UINT32_MAX
#define DRUPE_EXEC_OUTPUT_DEFAULT  (UINT64_C(10) << 20)
#define DRUPE_EXEC_OUTPUT_NO_LIMIT UINT64_C(0)

/* Fill it with drupe_exec_options_init(). All pointers are borrowed for the call. */
struct drupe_exec_options {
    size_t struct_size;
    const char *const *argv; /* NULL-terminated, not empty; looked up in PATH of env */
    const char *const *env;  /* NULL-terminated "NAME=value"; NULL: only a default PATH */
    const char *cwd;         /* NULL: "/" */
    uint32_t uid, gid;
    uint32_t timeout_ms; /* 60 000; 1..86 400 000, or DRUPE_EXEC_TIMEOUT_NEVER; 0 is refused */
    uint64_t max_output_bytes; /* of stdout and stderr each; what comes after it is dropped */
    bool want_stdin;           /* false: /dev/null */
    bool has_tty;              /* one terminal for all three streams; output comes as stdout */
    uint16_t tty_rows, tty_cols;
};

DRUPE_API void drupe_exec_options_init(struct drupe_exec_options *options);

struct drupe_exec_result {
    int exit_code;        /* 0..255; 128 + signal; 127 absent, 126 does not start, 125 not set up */
    int signal;           /* 0: none */
    uint64_t duration_us; /* in the guest */
    bool is_stdout_cut;
    bool is_stderr_cut;
    bool is_timed_out;
};

/* Called on the thread that waits, without a lock held. The bytes are lent for the call. */
typedef void (*drupe_output_fn)(void *ctx, bool is_stderr, const void *bytes, size_t size);

/* Start a program. DRUPE_OK says that the request is on its way; what becomes of it is wait's. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_exec_start(drupe_agent_t *agent,
                                                           const struct drupe_exec_options *options,
                                                           drupe_output_fn output, void *ctx,
                                                           drupe_exec_t **out,
                                                           struct drupe_error *err);

/*
 * Hand out what has come, until the program has ended: then DRUPE_OK and *result (EXEC_TIMEOUT and
 * *result when it ran out of its own time). TIMEOUT when it runs on after timeout_ms; 0 only looks.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_exec_wait(drupe_exec_t *exec, uint32_t timeout_ms,
                                                          struct drupe_exec_result *result,
                                                          struct drupe_error *err);

/* Bytes for standard input: *taken of them, as far as the guest has room; 0: wait, then again. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_exec_write(drupe_exec_t *exec, const void *bytes,
                                                           size_t size, size_t *taken,
                                                           struct drupe_error *err);
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_exec_close_stdin(drupe_exec_t *exec,
                                                                 struct drupe_error *err);
/* To its process group. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_exec_kill(drupe_exec_t *exec, int signo,
                                                          struct drupe_error *err);
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_exec_resize(drupe_exec_t *exec, uint16_t rows,
                                                            uint16_t cols, struct drupe_error *err);
/* NULL is fine. A program that still runs is killed; the connection goes on. */
DRUPE_API void drupe_exec_free(drupe_exec_t *exec);

/* A whole run with its output kept. */
struct drupe_exec_output {
    struct drupe_exec_result result;
    char *stdout_bytes; /* never NULL after success; a NUL follows that is not counted */
    size_t stdout_size;
    char *stderr_bytes;
    size_t stderr_size;
};

/*
 * Run a program with `input` (size 0: /dev/null) and keep what it prints. After EXEC_TIMEOUT *out
 * is filled too, with what came until then; after other failures it is not. Waits for the program's
 * time and 3 s more. Free it with drupe_exec_output_free().
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_agent_exec(drupe_agent_t *agent,
                                                           const struct drupe_exec_options *options,
                                                           const void *input, size_t input_size,
                                                           struct drupe_exec_output *out,
                                                           struct drupe_error *err);
DRUPE_API void drupe_exec_output_free(struct drupe_exec_output *out);

/* The same through a VM of this process; UNSUPPORTED without vsock (backend qemu) or agent. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_exec(drupe_vm_t *vm,
                                                        const struct drupe_exec_options *options,
                                                        const void *input, size_t input_size,
                                                        struct drupe_exec_output *out,
                                                        struct drupe_error *err);

/* True when the VM is RUNNING and the agent answers a ping within a second. */
DRUPE_API bool drupe_vm_health(drupe_vm_t *vm);

/* ---- Files of the guest -------------------------------------------------------------------- */

struct drupe_file_info {
    uint64_t size;
    uint64_t mtime_ns; /* Unix time */
    uint64_t inode;
    uint32_t mode; /* with the type, as st_mode */
    uint32_t uid, gid;
    uint32_t link_count;
};

enum drupe_write_flags {
    DRUPE_WRITE_CREATE = 1,   /* make it when it is missing, with `mode` */
    DRUPE_WRITE_TRUNCATE = 2, /* cut it to `offset` first */
    DRUPE_WRITE_CHMOD = 4,    /* set `mode` on one that is there, too */
};

/* False: stop reading; the call then returns DRUPE_OK. */
typedef bool (*drupe_read_fn)(void *ctx, const void *bytes, size_t size);
/* Only size, mtime_ns and mode are known; mode 0: it vanished meanwhile. */
typedef bool (*drupe_list_fn)(void *ctx, const char *name, const struct drupe_file_info *info);

/* From `offset`, at most `size` bytes, 0: to the end. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_agent_read(drupe_agent_t *agent, const char *path,
                                                           uint64_t offset, uint64_t size,
                                                           drupe_read_fn fn, void *ctx,
                                                           struct drupe_error *err);
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_agent_write(drupe_agent_t *agent, const char *path,
                                                            unsigned flags, uint32_t mode,
                                                            uint64_t offset, const void *bytes,
                                                            size_t size, struct drupe_error *err);
/* A directory; one that is there is fine. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_agent_make_directory(drupe_agent_t *agent,
                                                                     const char *path,
                                                                     uint32_t mode,
                                                                     struct drupe_error *err);
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_agent_make_link(drupe_agent_t *agent,
                                                                const char *path,
                                                                const char *target,
                                                                struct drupe_error *err);
/* Links are not followed. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_agent_stat(drupe_agent_t *agent, const char *path,
                                                           struct drupe_file_info *info,
                                                           struct drupe_error *err);
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_agent_list(drupe_agent_t *agent, const char *path,
                                                           drupe_list_fn fn, void *ctx,
                                                           struct drupe_error *err);

#ifdef __cplusplus
}
#endif
