/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as program text: every form reads or gives a located error, what was read prints, and
 * what was printed reads back equal and prints alike. Each form is also compiled, linked and thus
 * verified, but not run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/compiler.h"
#include "data/data.h"
#include "native.h"
#include "reader/printer.h"
#include "reader/reader.h"
#include "vm.h"
#include "vm_state.h"

/* Names are never forgotten: a fresh VM now and then keeps memory in bounds. */
enum {
    INPUTS_A_VM = 2000,
    TEXT_MAX = 1 << 16
};

struct input {
    const char *text;
    size_t size;
};

struct out {
    char *text;
    size_t size;
};

static void collect(void *arg, const char *text, size_t n)
{
    struct out *o = arg;
    char *more = realloc(o->text, o->size + n + 1);

    if (more == NULL) {
        abort();
    }
    memcpy(more + o->size, text, n);
    o->text = more;
    o->size += n;
}

static const struct print_options whole = { .depth_max = 100000, .list_max = UINT32_MAX };

static struct out print(struct process *p, term_t t)
{
    struct out o = { malloc(1), 0 };

    term_print(process_vm(p), t, &whole, collect, &o);
    return o;
}

/* Text that begins so stands for a value that can't be written; NaN equals nothing. */
static bool has_no_text(const struct out *o)
{
    return memmem(o->text, o->size, "#<", 2) != NULL ||
           memmem(o->text, o->size, "##NaN", 5) != NULL ||
           memmem(o->text, o->size, "__", 2) != NULL;
}

static void check_round_trip(struct process *p, term_t form)
{
    struct out first = print(p, form);
    term_t back;

    if (!has_no_text(&first)) {
        struct reader *r = reader_create(p, first.text, first.size, NULL);

        /* Metadata isn't printed and prefixes add depth when written out: only depth may refuse. */
        if (r != NULL && reader_next(r, &back) == READ_FORM) {
            struct out second = print(p, back);

            if (!term_equal(p, form, back) || second.size != first.size) {
                (void)fprintf(stderr, "read %.*s\nback %.*s\n", (int)first.size, first.text,
                              (int)second.size, second.text);
                abort();
            }
            free(second.text);
        }
        reader_destroy(r);
    }
    free(first.text);
}

static void check_compiles(struct process *p, const struct reader *r, term_t form)
{
    const struct compile_source source = { .reader = r, .file = "fuzz", .place = reader_place(r) };
    struct code_unit u;
    struct code_error error;

    code_unit_init(&u, process_vm(p));
    if (compile_form(p, &source, form, &u) && !u.out_of_memory && !code_verify(&u, &error)) {
        (void)fprintf(stderr, "function %u word %u: %s\n", error.function, error.word, error.what);
        abort();
    }
    code_unit_deinit(&u);
}

// NOLINTNEXTLINE(readability-non-const-parameter): the type is vm_call_body()'s
static term_t run(void *arg, struct process *p, term_t last, bool *again)
{
    const struct input *in = arg;
    term_t form;

    (void)last;
    (void)again;
    heap_inhibit_gc(p);
    struct reader *r = reader_create(p, in->text, in->size, "fuzz");

    while (r != NULL && reader_next(r, &form) == READ_FORM) {
        check_round_trip(p, form);
        check_compiles(p, r, form);
    }
    reader_destroy(r);
    heap_permit_gc(p);
    return TERM_NIL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vm *vm;
    static unsigned inputs;
    const struct vm_options options = { .platform = platform_posix(), .workers = 1, .seed = 1 };
    const char *error;
    struct input in = { (const char *)data, size };

    if (size > TEXT_MAX) {
        return 0;
    }
    if (vm == NULL && (vm = vm_create(&options, &error)) == NULL) {
        abort();
    }
    if (vm_call_body(vm, run, &in, NULL, NULL) < 0) {
        abort();
    }
    if (++inputs == INPUTS_A_VM) {
        vm_destroy(vm);
        vm = NULL;
        inputs = 0;
    }
    return 0;
}
