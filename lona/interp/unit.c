/* SPDX-License-Identifier: Apache-2.0 */
/* Units while they are built. Appends that find no memory set out_of_memory and change nothing. */
#include "interp/code.h"
#include "vm_state.h"

void code_unit_init(struct code_unit *u, struct vm *vm)
{
    *u = (struct code_unit){ .vm = vm, .file = TERM_NIL };
}

void code_unit_deinit(struct code_unit *u)
{
    for (uint32_t i = 0; i < u->function_count; i++) {
        struct code_function *f = &u->functions[i];

        vm_free(u->vm, f->words, f->word_capacity * sizeof(*f->words));
        vm_free(u->vm, f->guards, f->guard_capacity * sizeof(*f->guards));
        vm_free(u->vm, f->lines, f->line_capacity * sizeof(*f->lines));
    }
    vm_free(u->vm, u->functions, u->function_capacity * sizeof(*u->functions));
    vm_free(u->vm, u->constants, u->constant_capacity * sizeof(*u->constants));
    *u = (struct code_unit){ .vm = u->vm, .file = TERM_NIL };
}

/* Room for one more item of `size` bytes; false when there is none. */
static bool grow(struct code_unit *u, void **items, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity) {
        return true;
    }
    uint32_t bigger = *capacity == 0 ? 8 : *capacity * 2;
    void *p = bigger < *capacity || u->out_of_memory ? NULL : vm_alloc(u->vm, bigger * size);

    if (p == NULL) {
        u->out_of_memory = true;
        return false;
    }
    if (count != 0) {
        __builtin_memcpy(p, *items, count * size);
    }
    vm_free(u->vm, *items, *capacity * size);
    *items = p;
    *capacity = bigger;
    return true;
}

uint32_t code_unit_function(struct code_unit *u)
{
    if (!grow(u, (void **)&u->functions, u->function_count, &u->function_capacity,
              sizeof(*u->functions))) {
        return 0;
    }
    u->functions[u->function_count] = (struct code_function){ .name = TERM_NIL };
    return u->function_count++;
}

uint32_t code_unit_constant(struct code_unit *u, term_t t)
{
    for (uint32_t i = u->constant_count, seen = 0; i-- > 0 && seen < 256; seen++) {
        if (u->constants[i] == t) {
            return i;
        }
    }
    if (!grow(u, (void **)&u->constants, u->constant_count, &u->constant_capacity,
              sizeof(*u->constants))) {
        return 0;
    }
    u->constants[u->constant_count] = t;
    return u->constant_count++;
}

uint32_t code_unit_word(struct code_unit *u, uint32_t f, uint64_t word)
{
    if (f >= u->function_count) {
        return 0;
    }
    struct code_function *fn = &u->functions[f];

    if (!grow(u, (void **)&fn->words, fn->word_count, &fn->word_capacity, sizeof(*fn->words))) {
        return 0;
    }
    fn->words[fn->word_count] = word;
    return fn->word_count++;
}

void code_unit_guard(struct code_unit *u, uint32_t f, struct code_guard guard)
{
    if (f >= u->function_count) {
        return;
    }
    struct code_function *fn = &u->functions[f];

    if (grow(u, (void **)&fn->guards, fn->guard_count, &fn->guard_capacity, sizeof(*fn->guards))) {
        fn->guards[fn->guard_count++] = guard;
    }
}

void code_unit_line(struct code_unit *u, uint32_t f, uint32_t line, uint32_t column)
{
    if (f >= u->function_count) {
        return;
    }
    struct code_function *fn = &u->functions[f];

    if (fn->line_count > 0) {
        struct code_line *last = &fn->lines[fn->line_count - 1];

        if (last->line == line && last->column == column) {
            return;
        }
        if (last->word == fn->word_count) {
            last->line = line;
            last->column = column;
            return;
        }
    }
    if (grow(u, (void **)&fn->lines, fn->line_count, &fn->line_capacity, sizeof(*fn->lines))) {
        fn->lines[fn->line_count++] = (struct code_line){ fn->word_count, line, column };
    }
}
