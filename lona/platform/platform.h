/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contract 7: all that Lona asks of the system below it, one struct of functions. POSIX, our kernel
 * and seL4 each supply one instance; tests supply their own. Nothing else in lona/ includes a
 * system header. Results: 0 or a count on success, a negative PLATFORM_E* on failure; an out
 * argument is written only on success. Times are uint64_t nanoseconds of the monotonic clock.
 *
 * Every function may be called from any thread unless it says otherwise, and none calls back.
 */
#pragma once

#include <base/compiler.h>

enum {
    PLATFORM_OK = 0,
    PLATFORM_ENOMEM = -1,
    PLATFORM_ENOENT = -2,
    PLATFORM_EACCES = -3,
    PLATFORM_EIO = -4,
    PLATFORM_EINVAL = -5,
    PLATFORM_ENOSYS = -6,
    PLATFORM_EINTR = -7,
    PLATFORM_EEXIST = -8,
};

#define PLATFORM_FOREVER UINT64_MAX

enum platform_stream {
    PLATFORM_STDIN,
    PLATFORM_STDOUT,
    PLATFORM_STDERR
};

/* A place where one thread sleeps and others wake it: 0 nothing pending, 1 wake pending. */
struct platform_wake {
    _Atomic uint32_t state;
};

struct platform {
    void *self; /* first argument of every function */

    /* ---- memory ---- */
    /* Reserve address space without memory; size and align are multiples of 4096, align a power of
     * two. */
    void *(*reserve)(void *self, size_t size, size_t align);
    /* Give [addr, addr+size) of a reservation memory: zeroed, read-write. Returns 0 or ENOMEM. */
    int (*commit)(void *self, void *addr, size_t size);
    /* Hand the memory back, keep the addresses readable and writable; the next read sees zero. */
    void (*purge)(void *self, void *addr, size_t size);
    /* Give up a whole reservation. */
    void (*release)(void *self, void *addr, size_t size);

    /* ---- time ---- */
    uint64_t (*mono_ns)(void *self);
    int64_t (*wall_ns)(void *self); /* since 1970-01-01 UTC; may jump */

    /* ---- threads ---- */
    unsigned (*cpu_count)(void *self);
    /* Start fn(arg) on a new thread, preferably on CPU `index`. *out identifies it for join. */
    int (*thread_start)(void *self, unsigned index, void (*fn)(void *), void *arg, uintptr_t *out);
    void (*thread_join)(void *self, uintptr_t thread);
    void (*yield_cpu)(void *self);
    /* Sleep until wake() or until_ns, whichever is first; returns at once when a wake is pending.
     * Consumes the pending wake. One sleeper a place. */
    void (*wake_wait)(void *self, struct platform_wake *w, uint64_t until_ns);
    /* Never lost: a later wake_wait() returns at once. */
    void (*wake_signal)(void *self, struct platform_wake *w);

    /* ---- console ---- */
    /* Write all n bytes; 0 or an error. */
    int (*console_write)(void *self, enum platform_stream s, const void *p, size_t n);
    /* Up to n bytes from standard input, blocking; 0 is end of input. Not from a worker thread. */
    long (*console_read)(void *self, void *p, size_t n);

    /* ---- files and environment; paths are byte strings with a length, no NUL inside ---- */
    /* Read a whole file into memory of the platform; the caller owes file_free(). */
    int (*file_read)(void *self, const char *path, size_t path_len, uint8_t **out,
                     size_t *size_out);
    void (*file_free)(void *self, uint8_t *p, size_t size);
    /* Create or replace (append != 0: append to) a file. */
    int (*file_write)(void *self, const char *path, size_t path_len, const void *p, size_t n,
                      int append);
    int (*file_remove)(void *self, const char *path, size_t path_len);
    /* 0 absent, 1 file, 2 directory, 3 other; or an error. */
    int (*file_kind)(void *self, const char *path, size_t path_len);
    /* Calls each(arg, name, len) once an entry, "." and ".." left out, sorted by bytes. */
    int (*dir_list)(void *self, const char *path, size_t path_len,
                    void (*each)(void *arg, const char *name, size_t len), void *arg);
    /* The value's length, or ENOENT; copies at most n bytes. */
    long (*env_get)(void *self, const char *name, size_t name_len, char *out, size_t n);

    int (*entropy)(void *self, void *p, size_t n);
    /* NULL but in simulations: called by test builds where another thread may come between. */
    void (*step)(void *self);
    void (*fatal)(void *self, const char *message); /* does not return */
};

/* The POSIX instance (lona/platform/posix); static, needs no shutdown. */
const struct platform *platform_posix(void);
