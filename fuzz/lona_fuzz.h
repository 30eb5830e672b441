/* SPDX-License-Identifier: Apache-2.0 */
/* What the language's fuzz targets share: a VM that touches nothing outside, and a run with an end.
 */
#pragma once

#include <stdlib.h>

#include "vm.h"
#include "vm_call.h"

static inline int fuzz_no_write(void *self, enum platform_stream s, const void *p, size_t n)
{
    (void)self;
    (void)s;
    (void)p;
    (void)n;
    return PLATFORM_OK;
}

// NOLINTNEXTLINE(readability-non-const-parameter): the type is the platform's
static inline int fuzz_no_read(void *self, const char *path, size_t n, uint8_t **out, size_t *size)
{
    (void)self;
    (void)path;
    (void)n;
    (void)out;
    (void)size;
    return PLATFORM_EACCES;
}

static inline int fuzz_no_file_write(void *self, const char *path, size_t path_size, const void *p,
                                     size_t n, int append)
{
    (void)self;
    (void)path;
    (void)path_size;
    (void)p;
    (void)n;
    (void)append;
    return PLATFORM_EACCES;
}

static inline int fuzz_no_file(void *self, const char *path, size_t n)
{
    (void)self;
    (void)path;
    (void)n;
    return PLATFORM_EACCES;
}

static inline struct vm *fuzz_vm(bool with_library)
{
    const char *error;
    struct platform quiet = *platform_posix();

    quiet.console_write = fuzz_no_write;
    quiet.file_read = fuzz_no_read;
    quiet.file_write = fuzz_no_file_write;
    quiet.file_remove = fuzz_no_file;
    const struct vm_options options = { .platform = &quiet,
                                        .workers = 1,
                                        .seed = 1,
                                        .heap_max_words = 1 << 20,
                                        .memory_max = (uint64_t)512 << 20,
                                        .without_library = !with_library };
    struct vm *vm = vm_create(&options, &error);

    if (vm == NULL) {
        abort();
    }
    return vm;
}

typedef term_t (*fuzz_body)(void *arg, struct process *p, term_t last, bool *again);

/* Run body(arg) as a process for at most `limit_ms`, then kill it. Returns whether the VM is as
 * quiet as before: nothing was killed and nothing started is alive. */
static inline bool fuzz_run(struct vm *vm, fuzz_body body, void *arg, uint64_t limit_ms)
{
    struct call c = { .vm = vm, .body = body, .body_arg = arg };
    const struct platform *pf = &vm->platform;
    uint64_t end = pf->mono_ns(pf->self) + limit_ms * 1000000;

    if (!call_start(vm, &c, vm->body_loop)) {
        abort();
    }
    while (!atomic_load_explicit(&c.done, memory_order_acquire) && pf->mono_ns(pf->self) < end) {
        pf->wake_wait(pf->self, &c.wake, end);
    }
    bool in_time = atomic_load_explicit(&c.done, memory_order_acquire);

    if (in_time) {
        call_wait(vm, &c);
    } else {
        call_stop(vm, &c);
    }
    return in_time && atomic_load_explicit(&vm->processes.alive, memory_order_relaxed) <= 1;
}

/* Fill out[0..n) with the input and then bytes that follow from it, so that short inputs do much.
 */
static inline void fuzz_extend(uint8_t *out, size_t n, const uint8_t *data, size_t size)
{
    uint64_t random = 0x9E3779B97F4A7C15u;

    for (size_t i = 0; i < size; i++) {
        random = (random ^ data[i]) * 0x100000001B3u;
    }
    random |= 1;
    for (size_t i = 0; i < n; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        out[i] = i < size ? data[i] : (uint8_t)(random >> 32);
    }
}
