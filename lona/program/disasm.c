/* SPDX-License-Identifier: Apache-2.0 */
/* lona disasm: every function of a text as it runs, in the order of linking. */
#include <stdlib.h>

#include "gc/heap.h"
#include "program.h"
#include "vm_state.h"

static void write_out(void *arg, const char *text, size_t n)
{
    (void)arg;
    (void)fwrite(text, 1, n, stdout);
}

/* The forms are evaluated, since later ones need the macros and names that earlier ones define. */
int disasm_run(struct vm *vm, const char *file, const char *text, size_t size)
{
    const struct fun_index *index = &vm->realm.funs;
    uint32_t from = atomic_load_explicit(&index->count, memory_order_acquire);
    struct evaluation e = {
        .vm = vm,
        .source = { .text = text, .size = size, .file = file, .here = { 1, 1 } },
        .no_print = true
    };
    struct outcome o;

    evaluate(&e, &o);
    uint32_t to = atomic_load_explicit(&index->count, memory_order_acquire);

    for (uint32_t i = from; i < to; i++) {
        fun_disassemble(vm, index->funs[i], write_out, NULL);
    }
    int status = o.status == 0 ? STATUS_OK : STATUS_ERROR;

    if (o.status != 0) {
        (void)fprintf(stderr, "lona: %s\n", o.printed.bytes);
    }
    if (fflush(stdout) != 0) {
        status = STATUS_ERROR;
    }
    outcome_deinit(&o);
    return status;
}
