/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a program that builds, drops, sends and collects, checked against a model
 * (tests/include/lona_gc_model.h). The first byte chooses: bit 0, a collection at every allocation;
 * bit 1, a small heap that runs out.
 */
#include "lona_fuzz.h"

#include <lona_gc_model.h>

enum {
    BYTES = 4096,
    BYTES_STRESS = 160, /* every allocation copies and verifies everything */
    SMALL_HEAP_WORDS = 2000,
    RUN_MS = 20000,
};

struct input {
    uint8_t data[BYTES];
};

// NOLINTNEXTLINE(readability-non-const-parameter): the type is vm_call_body()'s
static term_t run(void *arg, struct process *p, term_t last, bool *again)
{
    static struct gc_model model;
    const struct input *in = arg;
    struct vm *vm = process_vm(p);
    size_t size = (in->data[0] & 1) != 0 ? BYTES_STRESS : BYTES;

    (void)last;
    (void)again;
    vm->gc_stress = (in->data[0] & 1) != 0;
    if ((in->data[0] & 2) != 0) {
        p->heap_max_words = SMALL_HEAP_WORDS;
    }
    (void)gc_model_run(&model, p, in->data + 1, size - 1);
    vm->gc_stress = false;
    return TERM_NIL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vm *vm;
    static struct input in;

    if (size == 0) {
        return 0;
    }
    fuzz_extend(in.data, sizeof(in.data), data, size);
    if (vm == NULL) {
        vm = fuzz_vm(false);
    }
    if (!fuzz_run(vm, run, &in, RUN_MS)) {
        abort();
    }
    /* All processes are gone, and so is what they shared. */
    if (atomic_load_explicit(&vm->shared_binary_bytes, memory_order_relaxed) != 0 &&
        atomic_load_explicit(&vm->processes.alive, memory_order_acquire) == 0) {
        abort();
    }
    return 0;
}
