/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C code as a process: a small loop in bytecode calls the body as a native, runs what it applies,
 * and asks whether to call it again. So what the body starts (a form's code) runs like any code: it
 * may yield, receive, and be interrupted.
 */
#include "interp/code.h"
#include "native.h"
#include "process/relations.h"
#include "process/table.h"
#include "vm_call.h"

static struct call *call_of(struct process *p)
{
    return p->relations == NULL ? NULL : p->relations->call;
}

static term_t body_step(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    struct call *c = call_of(p);

    if (c == NULL || c->body == NULL) {
        return raise_badarg(p, "call-body*", args, 0);
    }
    c->again = false;
    return c->body(c->body_arg, p, args[0], &c->again);
}

static term_t body_again(struct process *p, term_t *args, unsigned argc)
{
    (void)args;
    (void)argc;
    const struct call *c = call_of(p);

    return term_bool(c != NULL && c->again);
}

static const struct native rows[] = {
    { "lona.core", "call-body*", body_step, 1, 1, NATIVE_INTERNAL | NATIVE_YIELDS, 1, "(last)",
      "Run the caller's C code." },
    { "lona.core", "call-body-again*", body_again, 0, 0, NATIVE_INTERNAL, 1, "()",
      "Does it want another round?" },
};

const struct native_table native_call = { rows, array_size(rows) };

static term_t native_term(const struct native *row)
{
    for (uint32_t id = 0; id < native_count(); id++) {
        if (native_by_id(id) == row) {
            return term_native(id);
        }
    }
    unreachable("a native that is in no table");
}

/* loop(last): r = body(last); again? loop(r) : r.  start(): loop(hole). */
static void assemble(struct code_unit *u)
{
    uint32_t start = code_unit_function(u);
    uint32_t loop = code_unit_function(u);

    if (u->out_of_memory) {
        return;
    }
    u->functions[start].frame_slots = 8;
    u->functions[loop].frame_slots = 8;
    u->functions[loop].params = 1;
    const uint64_t start_words[] = {
        op_encode(OP_CLOSURE, 2, 0, 0),
        loop,
        0,
        op_encode(OP_LOAD, 3, 0, 0),
        code_unit_constant(u, TERM_HOLE),
        op_encode(OP_TAIL, 2, 1, 0),
    };
    const uint64_t loop_words[] = {
        op_encode(OP_MOVE, 5, 1, 0),
        op_encode(OP_NATIVE, 4, 1, 2),
        code_unit_constant(u, native_term(&rows[0])),
        0,
        op_encode(OP_NATIVE, 5, 0, 3),
        code_unit_constant(u, native_term(&rows[1])),
        0,
        op_encode_wide(OP_J_FALSE, 3, 4),
        op_encode(OP_MOVE, 5, 2, 0),
        op_encode(OP_TAIL_SELF, 4, 1, 0),
        loop,
        op_encode(OP_RETURN, 2, 0, 0),
    };

    for (size_t i = 0; i < array_size(start_words); i++) {
        (void)code_unit_word(u, start, start_words[i]);
    }
    for (size_t i = 0; i < array_size(loop_words); i++) {
        (void)code_unit_word(u, loop, loop_words[i]);
    }
}

bool call_body_init(struct vm *vm)
{
    const struct spawn_options options = { .priority = 100, .name = TERM_NIL };
    term_t error;
    struct process *p = process_make(&vm->outside, native_term(&rows[1]), &options, NULL, &error);

    if (p == NULL) {
        return false;
    }
    struct code_unit u;

    code_unit_init(&u, vm);
    heap_inhibit_gc(p);
    assemble(&u);
    vm->body_loop = code_link(p, &u);
    heap_permit_gc(p);
    code_unit_deinit(&u);
    process_drop(&vm->outside, p);
    return vm->body_loop != TERM_ERROR;
}
