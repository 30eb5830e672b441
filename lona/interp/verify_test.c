/* SPDX-License-Identifier: Apache-2.0 */
/* Code that would run for ever or misuse the mailbox is refused; its well-behaved neighbour is not.
 */
#include <string.h>

#include <test.h>

#include "interp/code.h"
#include "native.h"
#include "vm.h"

enum {
    WORDS = 16,
    SLOTS = 8,
    NATIVE_COUNT = 0, /* indices of the constants */
    NATIVE_DEMONITOR,
    NATIVE_SLEEP,
    EMPTY,
};

#define BEGIN      op_encode(OP_RECV_BEGIN, 0, 0, 0)
#define DEADLINE   op_encode(OP_RECV_DEADLINE, 0, 0, 0)
#define PEEK(s, d) op_encode_wide(OP_RECV_PEEK, s, d)
#define ACCEPT     op_encode(OP_RECV_ACCEPT, 0, 0, 0)
#define NEXT(d)    op_encode_wide(OP_RECV_NEXT, 0, d), 0
#define WAIT(d)    op_encode_wide(OP_RECV_WAIT, 0, d), 0
#define JUMP(d)    op_encode_wide(OP_JUMP, 0, d)
#define NIL(s)     op_encode(OP_LOAD_NIL, s, 0, 0)
#define RETURN(s)  op_encode(OP_RETURN, s, 0, 0)
/* slot 1 <- native of slot 5 */
#define NATIVE(n) op_encode(OP_NATIVE, 4, 1, 1), n, 0

struct sample {
    const char *name;
    const char *what; /* NULL: accepted */
    uint64_t words[WORDS];
    struct code_guard guard; /* unless to is 0 */
};

#define LAST UINT64_C(0xDEAD) /* behind the code; no instruction, no distance */
#define CODE(...)                                                                                  \
    {                                                                                              \
        __VA_ARGS__, LAST                                                                          \
    }

static const char direction[] = "jump back without a call";
static const char order[] = "instruction out of place in a receive";

static term_t native_named(const char *name)
{
    for (uint32_t id = 0; id < native_count(); id++) {
        if (strcmp(native_by_id(id)->name, name) == 0) {
            return term_native(id);
        }
    }
    fail_msg("no native %s", name);
    return TERM_NIL;
}

static const char *verify(struct vm *vm, const struct sample *s)
{
    struct code_unit u;
    struct code_error e = { 0, 0, NULL };

    code_unit_init(&u, vm);
    uint32_t f = code_unit_function(&u);

    u.functions[f].frame_slots = SLOTS;
    (void)code_unit_constant(&u, native_named("count"));
    (void)code_unit_constant(&u, native_named("demonitor"));
    (void)code_unit_constant(&u, native_named("sleep"));
    (void)code_unit_constant(&u, TERM_EMPTY);
    for (uint32_t k = 0; s->words[k] != LAST; k++) {
        (void)code_unit_word(&u, f, s->words[k]);
    }
    if (s->guard.to != 0) {
        code_unit_guard(&u, f, s->guard);
    }
    bool ok = code_verify(&u, &e);

    code_unit_deinit(&u);
    return ok ? NULL : e.what;
}

static void samples_are_judged(void **state)
{
    const struct sample samples[] = {
        { "forward jump", NULL, CODE(JUMP(1), RETURN(0)), { 0 } },
        { "jump to itself", direction, CODE(JUMP(0)), { 0 } },
        { "jump back", direction, CODE(NIL(1), JUMP(-1)), { 0 } },
        { "branch back",
          direction,
          CODE(NIL(1), op_encode_wide(OP_J_FALSE, 1, -1), RETURN(1)),
          { 0 } },
        { "switch back",
          direction,
          CODE(NIL(1), op_encode(OP_SWITCH, 1, 1, 3), EMPTY, (uint64_t)-1, RETURN(1)),
          { 0 } },
        { "guard back", "bad guard", CODE(NIL(1), NIL(2), RETURN(1)), { 1, 2, 0 } },
        { "guard forward", NULL, CODE(NIL(1), NIL(2), RETURN(1)), { 1, 2, 2 } },
        { "guard around a receive",
          order,
          CODE(BEGIN, PEEK(1, 3), ACCEPT, RETURN(1), WAIT(-3), RETURN(0)),
          { 2, 3, 6 } },
        { "receive",
          NULL,
          CODE(BEGIN, DEADLINE, PEEK(1, 5), op_encode_wide(OP_J_FALSE, 1, 2), JUMP(6), NEXT(-3),
               WAIT(-5), RETURN(0), ACCEPT, RETURN(1)),
          { 0 } },
        { "receive that ends after its timeout",
          NULL,
          CODE(BEGIN, PEEK(1, 3), NEXT(-1), WAIT(-3), NIL(1), RETURN(1)),
          { 0 } },
        { "next without a receive",
          "receive goes on at no RECV_PEEK",
          CODE(NIL(1), NEXT(-1)),
          { 0 } },
        { "next to itself", "receive goes on at no RECV_PEEK", CODE(NEXT(0)), { 0 } },
        { "next without a message",
          order,
          CODE(BEGIN, PEEK(1, 2), op_encode(OP_BADMATCH, 1, 0, 0), NEXT(-2)),
          { 0 } },
        { "return with a message in hand",
          order,
          CODE(BEGIN, PEEK(1, 2), RETURN(1), WAIT(-2), RETURN(0)),
          { 0 } },
        { "wait with a message in hand",
          order,
          CODE(BEGIN, PEEK(1, 3), WAIT(-1), RETURN(0)),
          { 0 } },
        { "wait without looking",
          "receive goes on at no RECV_PEEK",
          CODE(BEGIN, WAIT(-1), RETURN(0)),
          { 0 } },
        { "wait for another receive",
          order,
          CODE(BEGIN, PEEK(1, 3), NEXT(-1), WAIT(-3), BEGIN, PEEK(1, 3), NEXT(-1), WAIT(-9),
               RETURN(0)),
          { 0 } },
        { "begin again at the end",
          order,
          CODE(BEGIN, PEEK(1, 3), NEXT(-1), BEGIN, WAIT(-4), RETURN(0)),
          { 0 } },
        { "peek twice", order, CODE(BEGIN, PEEK(1, 2), PEEK(2, 1), ACCEPT, RETURN(0)), { 0 } },
        { "accept twice",
          order,
          CODE(BEGIN, PEEK(1, 4), ACCEPT, ACCEPT, RETURN(0), WAIT(-4), RETURN(0)),
          { 0 } },
        { "accept without a message", order, CODE(ACCEPT, RETURN(0)), { 0 } },
        { "deadline without a receive", order, CODE(DEADLINE, RETURN(0)), { 0 } },
        { "call with a message in hand",
          order,
          CODE(BEGIN, PEEK(1, 6), op_encode(OP_MOVE, 4, 0, 0), op_encode(OP_CALL, 4, 0, 2), 0,
               ACCEPT, RETURN(0), WAIT(-6), RETURN(0)),
          { 0 } },
        { "pure native with a message in hand",
          NULL,
          CODE(BEGIN, PEEK(1, 7), op_encode(OP_MOVE, 5, 1, 0), NATIVE(NATIVE_COUNT), ACCEPT,
               RETURN(1), WAIT(-7), RETURN(0)),
          { 0 } },
        { "native that changes the mailbox with a message in hand",
          order,
          CODE(BEGIN, PEEK(1, 7), op_encode(OP_MOVE, 5, 1, 0), NATIVE(NATIVE_DEMONITOR), ACCEPT,
               RETURN(1), WAIT(-7), RETURN(0)),
          { 0 } },
        { "native that waits with a message in hand",
          order,
          CODE(BEGIN, PEEK(1, 7), op_encode(OP_MOVE, 5, 1, 0), NATIVE(NATIVE_SLEEP), ACCEPT,
               RETURN(1), WAIT(-7), RETURN(0)),
          { 0 } },
        { "paths meet with and without a message",
          "paths meet in different states of a receive",
          CODE(BEGIN, PEEK(1, 2), op_encode_wide(OP_J_FALSE, 1, 1), RETURN(0)),
          { 0 } },
        { "the refused message is used after the timeout",
          "part of a message outlives its refusal",
          CODE(NIL(1), BEGIN, PEEK(1, 3), NEXT(-1), WAIT(-3), RETURN(1)),
          { 0 } },
        { "a part of it is used in the next round",
          "part of a message outlives its refusal",
          CODE(NIL(2), BEGIN, PEEK(1, 5), op_encode_wide(OP_J_FALSE, 2, 7),
               op_encode(OP_TUPLE_GET, 2, 1, 0), NEXT(-3), WAIT(-5), RETURN(0), ACCEPT, RETURN(2)),
          { 0 } },
    };
    const struct vm_options o = {
        .platform = platform_posix(), .workers = 1, .without_library = true, .seed = 7
    };
    const char *error;
    struct vm *vm = vm_create(&o, &error);

    (void)state;
    assert_non_null(vm);
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        const struct sample *s = &samples[i];
        const char *got = verify(vm, s);

        if ((got == NULL) != (s->what == NULL) || (got != NULL && strcmp(got, s->what) != 0)) {
            fail_msg("%s: %s instead of %s", s->name, got == NULL ? "accepted" : got,
                     s->what == NULL ? "accepted" : s->what);
        }
    }
    vm_destroy(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(samples_are_judged) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
