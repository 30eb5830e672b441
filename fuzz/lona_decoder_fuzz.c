/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a stored term (section 7.11): refused, or a sound value that encodes and decodes to
 * something that encodes alike, and that can be printed, hashed and sent. */
#include <string.h>

#include "lona_fuzz.h"

#include "data/data.h"
#include "gc/memory.h"
#include "interp/code.h"
#include "native.h"
#include "reader/printer.h"

enum {
    INPUTS_A_VM = 2000,
    RUN_MS = 20000,
};

struct input {
    const uint8_t *data;
    size_t size;
};

static void nothing(void *arg, const char *text, size_t n)
{
    (void)arg;
    (void)text;
    (void)n;
}

static void check_stored(struct vm *vm, struct process *p, term_t t)
{
    struct byte_sink first;
    struct byte_sink second;

    byte_sink_init(&first, vm);
    byte_sink_init(&second, vm);
    if (term_encode(&first, vm, t)) {
        size_t again = 0;
        term_t back = term_decode(p, first.data, first.size, &again);

        if (back == TERM_ERROR || again != first.size || !term_encode(&second, vm, back) ||
            second.size != first.size || memcmp(first.data, second.data, first.size) != 0 ||
            term_hash(vm, back) != term_hash(vm, t)) {
            abort();
        }
    }
    byte_sink_deinit(&first);
    byte_sink_deinit(&second);
}

// NOLINTNEXTLINE(readability-non-const-parameter): the type is vm_call_body()'s
static term_t run(void *arg, struct process *p, term_t last, bool *again)
{
    const struct input *in = arg;
    struct vm *vm = process_vm(p);
    size_t offset = 0;

    (void)last;
    (void)again;
    heap_inhibit_gc(p);
    term_t t = term_decode(p, in->data, in->size, &offset);

    if (t == TERM_ERROR) {
        p->reason = TERM_NIL;
        heap_permit_gc(p);
        return TERM_NIL;
    }
    if (offset > in->size) {
        abort();
    }
    check_stored(vm, p, t);
    heap_permit_gc(p);
    struct root r;

    root_push(p, &r, &t);
    if (heap_collect(p, true)) {
        heap_verify(p);
        term_print(vm, t, NULL, nothing, NULL);
        (void)process_send(p, process_pid_raw(p), t);
    }
    root_pop(p, &r);
    p->reason = TERM_NIL;
    return TERM_NIL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vm *vm;
    static unsigned inputs;
    struct input in = { data, size };

    if (vm == NULL) {
        vm = fuzz_vm(false);
    }
    if (!fuzz_run(vm, run, &in, RUN_MS)) {
        abort();
    }
    if (++inputs == INPUTS_A_VM) {
        vm_destroy(vm);
        vm = NULL;
        inputs = 0;
    }
    return 0;
}
