/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <test.h>

#include "data/data.h"
#include "gc/memory.h"
#include "interp/code.h"
#include "native.h"
#include "process/table.h"
#include "vm.h"

/* Hand-written code: what the compiler would emit. */
struct assembler {
    struct vm *vm;
    struct process *p;
    struct code_unit u;
};

static void begin(struct assembler *a, struct vm *vm)
{
    const struct spawn_options o = { .priority = 100, .name = TERM_NIL };
    term_t error;

    a->vm = vm;
    a->p = process_make(&vm->outside, term_native(0), &o, NULL, &error);
    assert_non_null(a->p);
    heap_inhibit_gc(a->p);
    code_unit_init(&a->u, vm);
}

static term_t finish(struct assembler *a)
{
    term_t f = code_link(a->p, &a->u);

    code_unit_deinit(&a->u);
    heap_permit_gc(a->p);
    process_drop(&a->vm->outside, a->p);
    return f;
}

static uint32_t function(struct assembler *a, uint16_t params, uint16_t slots)
{
    uint32_t f = code_unit_function(&a->u);

    a->u.functions[f].params = params;
    a->u.functions[f].frame_slots = slots;
    return f;
}

#define EMIT(f, w) ((void)code_unit_word(&a.u, (f), (w)))

static struct vm *vm_new(unsigned workers, bool stress)
{
    const char *error;
    struct vm_options o = {
        .platform = platform_posix(), .workers = workers, .without_library = true, .seed = 7
    };
    struct vm *vm = vm_create(&o, &error);

    assert_non_null(vm);
    vm->gc_stress = stress;
    return vm;
}

struct result {
    int64_t number;
    bool is_error;
    term_t kind;
};

static void take(void *arg, struct process *p, term_t value, bool is_error)
{
    struct result *r = arg;
    (void)p;

    r->is_error = is_error;
    r->number = term_is_small(value) ? small_value(value) : -1;
    r->kind =
        is_error && term_is_tuple(value) && tuple_count(value) >= 2 ? tuple_get(value, 1) : value;
}

static struct result run(struct vm *vm, term_t fun)
{
    struct result r = { 0 };

    assert_int_not_equal(fun, TERM_ERROR);
    assert_true(vm_call(vm, fun, take, &r) >= 0);
    return r;
}

static void fib_counts(void **state)
{
    (void)state;
    struct vm *vm = vm_new(1, false);
    struct assembler a;

    begin(&a, vm);
    uint32_t top = function(&a, 0, 8);
    uint32_t fib = function(&a, 1, 8);

    EMIT(top, op_encode(OP_CLOSURE, 2, 0, 0));
    EMIT(top, fib);
    EMIT(top, 0);
    EMIT(top, op_encode_wide(OP_LOAD_INT, 3, 20));
    EMIT(top, op_encode(OP_TAIL, 2, 1, 0));
    /* n < 2 ? n : fib(n-1) + fib(n-2) */
    EMIT(fib, op_encode(OP_J_NOT_LT_INT, 1, 2, 2));
    EMIT(fib, op_encode(OP_RETURN, 1, 0, 0));
    EMIT(fib, op_encode(OP_SUB_INT, 5, 1, 1));
    EMIT(fib, 0);
    EMIT(fib, op_encode(OP_CALL_SELF, 4, 1, 2));
    EMIT(fib, fib);
    EMIT(fib, 0);
    EMIT(fib, op_encode(OP_SUB_INT, 6, 1, 2));
    EMIT(fib, 0);
    EMIT(fib, op_encode(OP_CALL_SELF, 5, 1, 3));
    EMIT(fib, fib);
    EMIT(fib, 0);
    EMIT(fib, op_encode(OP_ADD, 2, 2, 3));
    EMIT(fib, 0);
    EMIT(fib, op_encode(OP_RETURN, 2, 0, 0));
    struct result r = run(vm, finish(&a));

    assert_false(r.is_error);
    assert_int_equal(r.number, 6765);
    vm_destroy(vm);
}

/* A list of 0..n-1 built in a loop while everything is collected at every allocation, then counted.
 */
static void lists_survive(void **state)
{
    (void)state;
    for (int stress = 0; stress < 2; stress++) {
        struct vm *vm = vm_new(1, stress != 0);
        struct assembler a;

        begin(&a, vm);
        uint32_t top = function(&a, 0, 8);
        uint32_t loop = function(&a, 2, 12);
        uint32_t k = code_unit_constant(&a.u, TERM_EMPTY);
        uint32_t count = code_unit_constant(&a.u, TERM_NIL);

        for (uint32_t id = 0; id < native_count(); id++) {
            if (strcmp(native_by_id(id)->name, "count") == 0) {
                count = code_unit_constant(&a.u, term_native(id));
            }
        }
        EMIT(top, op_encode(OP_CLOSURE, 2, 0, 0));
        EMIT(top, loop);
        EMIT(top, 0);
        EMIT(top, op_encode_wide(OP_LOAD_INT, 3, stress != 0 ? 3000 : 300000));
        EMIT(top, op_encode(OP_LOAD, 4, 0, 0));
        EMIT(top, k);
        EMIT(top, op_encode(OP_TAIL, 2, 2, 0));
        EMIT(loop, op_encode(OP_J_NOT_GT_INT, 1, 0, 10));
        EMIT(loop, op_encode(OP_TUPLE, 6, 1, 1)); /* garbage and a live box */
        EMIT(loop, 0);
        EMIT(loop, op_encode(OP_CONS, 6, 6, 2));
        EMIT(loop, 0);
        EMIT(loop, op_encode(OP_SUB_INT, 5, 1, 1));
        EMIT(loop, 0);
        EMIT(loop, op_encode(OP_TAIL_SELF, 4, 2, 0));
        EMIT(loop, loop);
        EMIT(loop, op_encode(OP_RETURN, 1, 0, 0));
        EMIT(loop, op_encode(OP_MOVE, 5, 2, 0));
        EMIT(loop, op_encode(OP_NATIVE, 4, 1, 3));
        EMIT(loop, count);
        EMIT(loop, 0);
        EMIT(loop, op_encode(OP_RETURN, 3, 0, 0));
        struct result r = run(vm, finish(&a));

        assert_false(r.is_error);
        assert_int_equal(r.number, stress != 0 ? 3000 : 300000);
        vm_destroy(vm);
    }
}

static void verifier_refuses(void **state)
{
    (void)state;

    const struct {
        const char *what;
        uint64_t words[4];
        uint32_t count;
        uint16_t slots;
    } cases[] = {
        { "read before write", { op_encode(OP_RETURN, 2, 0, 0) }, 1, 4 },
        { "slot out of range", { op_encode(OP_RETURN, 9, 0, 0) }, 1, 4 },
        { "past the end", { op_encode(OP_LOAD_NIL, 2, 0, 0) }, 1, 4 },
        { "unknown opcode", { 0xFFFF }, 1, 4 },
        { "jump outside", { op_encode_wide(OP_JUMP, 0, 5) }, 1, 4 },
        { "jump back outside", { op_encode_wide(OP_JUMP, 0, -1) }, 1, 4 },
        { "jump into an instruction",
          { op_encode_wide(OP_JUMP, 0, 2), op_encode(OP_CONS, 1, 0, 0), 0,
            op_encode(OP_RETURN, 0, 0, 0) },
          4,
          4 },
        { "no constant", { op_encode(OP_LOAD, 1, 0, 0), 7, op_encode(OP_RETURN, 1, 0, 0) }, 3, 4 },
        { "window at 0", { op_encode(OP_TAIL, 0, 0, 0) }, 1, 4 },
        { "window too long", { op_encode(OP_TAIL, 1, 3, 0) }, 1, 4 },
        { "cut short", { op_encode(OP_LOAD, 1, 0, 0) }, 1, 4 },
        { "frame too small", { op_encode(OP_RETURN, 0, 0, 0) }, 1, 0 },
        { "empty", { 0 }, 0, 4 },
    };
    struct vm *vm = vm_new(1, false);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct code_unit u;
        struct code_error e;

        code_unit_init(&u, vm);
        uint32_t f = code_unit_function(&u);

        u.functions[f].frame_slots = cases[i].slots;
        for (uint32_t k = 0; k < cases[i].count; k++) {
            (void)code_unit_word(&u, f, cases[i].words[k]);
        }
        if (code_verify(&u, &e)) {
            fail_msg("accepted: %s", cases[i].what);
        }
        code_unit_deinit(&u);
    }
    vm_destroy(vm);
}

static void errors_end_the_process(void **state)
{
    (void)state;
    struct vm *vm = vm_new(2, false);
    struct assembler a;

    begin(&a, vm);
    uint32_t top = function(&a, 0, 4);

    EMIT(top, op_encode_wide(OP_LOAD_INT, 1, 3));
    EMIT(top, op_encode(OP_LOAD_NIL, 2, 0, 0));
    EMIT(top, op_encode(OP_ADD, 1, 1, 2));
    EMIT(top, 0);
    EMIT(top, op_encode(OP_RETURN, 1, 0, 0));
    struct result r = run(vm, finish(&a));

    assert_true(r.is_error);
    assert_int_equal(r.kind, KW(type_error));
    vm_destroy(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fib_counts),
        cmocka_unit_test(lists_survive),
        cmocka_unit_test(verifier_refuses),
        cmocka_unit_test(errors_end_the_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
