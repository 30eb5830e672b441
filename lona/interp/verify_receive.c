/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receives in verified code. The instructions move a save pointer that they trust, and between a
 * peek and the accept slots point into a message that isn't the process's yet. So every path runs
 * through these states, and where paths meet they are in the same one:
 *
 *     idle --BEGIN--> searching (DEADLINE stays) --PEEK--> held, or at the end if it jumps
 *     held --ACCEPT--> idle;  held --NEXT--> searching, at the PEEK that it came from
 *     end --WAIT--> searching, at the PEEK that it came from, or idle after the timeout
 *
 * "Held" and "end" carry the place of their PEEK. Calls, returns and natives that may do more than
 * compute are for the idle state; with them a receive could begin inside another one, or a message
 * be freed under a slot. A receive ends: each round of NEXT is one message further, and WAIT
 * yields.
 *
 * What a path writes into slots while a message is held may point into it. If the message is left
 * in the queue it may be moved or freed later, so no such slot may be live at the PEEK.
 */
#include "interp/verify_state.h"

#include "native.h"

enum receive_state {
    UNREACHED,
    IDLE,
    SEARCHING,
    STATE_KINDS = 4, /* from here on: the word of the PEEK + 1, times four, plus one of these */
    HELD = 0,
    END = 1,
};

static uint32_t state_of(uint32_t peek, enum receive_state kind)
{
    return (peek + 1) * STATE_KINDS + kind;
}

static bool is_held(uint32_t state)
{
    return state >= STATE_KINDS && state % STATE_KINDS == HELD;
}

static uint32_t peek_of(uint32_t state)
{
    return state / STATE_KINDS - 1;
}

static bool merge_state(struct verifier *v, uint32_t at, uint32_t target)
{
    uint32_t *state = &v->states[target];

    if (*state != UNREACHED && *state != v->state) {
        return verify_fail(v, at, "paths meet in different states of a receive");
    }
    *state = v->state;
    return true;
}

static bool needs(struct verifier *v, uint32_t at, bool right)
{
    return right || verify_fail(v, at, "instruction out of place in a receive");
}

static bool check_native(struct verifier *v, uint32_t at, uint32_t state)
{
    uint32_t id = native_id(v->u->constants[v->f->words[at + 1]]);
    const unsigned flags = native_by_id(id)->flags;

    return needs(v, at, state == IDLE || (flags & (NATIVE_PURE | NATIVE_YIELDS)) == NATIVE_PURE);
}

/* Is this instruction right in this state? *after is the state if it falls through. */
static bool check_state(struct verifier *v, uint32_t at, uint32_t state, uint32_t *after)
{
    uint32_t target = (uint32_t)((int64_t)at + op_wide(v->f->words[at]));

    *after = state;
    switch (op_code(v->f->words[at])) {
    case OP_RECV_BEGIN:
        *after = SEARCHING;
        return needs(v, at, state == IDLE);
    case OP_RECV_DEADLINE:
        return needs(v, at, state == SEARCHING);
    case OP_RECV_PEEK:
        *after = state_of(at, HELD);
        return needs(v, at, state == SEARCHING);
    case OP_RECV_ACCEPT:
        *after = IDLE;
        return needs(v, at, is_held(state));
    case OP_RECV_NEXT:
        return needs(v, at, state == state_of(target, HELD));
    case OP_RECV_WAIT:
        *after = IDLE;
        return needs(v, at, state == state_of(target, END));
    case OP_NATIVE:
        return check_native(v, at, state);
    case OP_CALL:
    case OP_CALL_VAR:
    case OP_CALL_SELF:
    case OP_TAIL:
    case OP_TAIL_VAR:
    case OP_TAIL_SELF:
    case OP_TAIL_NATIVE:
    case OP_RETURN:
        return needs(v, at, state == IDLE);
    default:
        return true;
    }
}

static bool is_receive(unsigned op)
{
    return op >= OP_RECV_BEGIN && op <= OP_RECV_WAIT;
}

static bool hand_on(struct verifier *v, uint32_t at, uint32_t state, uint32_t after)
{
    unsigned op = op_code(v->f->words[at]);

    for (uint32_t g = 0; g < v->f->guard_count; g++) {
        if (at < v->f->guards[g].from || at >= v->f->guards[g].to) {
            continue;
        }
        v->state = state;
        if (is_receive(op) || !merge_state(v, at, v->f->guards[g].target)) {
            return needs(v, at, false);
        }
    }
    v->state = after;
    if ((verify_info_at(v, at)->flags & OF_END) == 0 &&
        !merge_state(v, at, at + verify_words_at(v, at))) {
        return false;
    }
    if (op == OP_RECV_NEXT || op == OP_RECV_WAIT) {
        return true; /* back, to a PEEK: searching, as that one demands */
    }
    v->state = op == OP_RECV_PEEK ? state_of(at, END) : after;
    return verify_each_target(v, at, merge_state);
}

/* One pass is enough: but for the jumps back to a PEEK, control goes forward. */
bool verify_receives(struct verifier *v)
{
    v->states[0] = IDLE;
    for (uint32_t at = 0; at < v->f->word_count; at += verify_words_at(v, at)) {
        uint32_t state = v->states[at];
        uint32_t after;

        if (state != UNREACHED &&
            (!check_state(v, at, state, &after) || !hand_on(v, at, state, after))) {
            return false;
        }
    }
    return true;
}

bool verify_held_slots(struct verifier *v)
{
    for (uint32_t at = 0; at < v->f->word_count; at += verify_words_at(v, at)) {
        bool is_peek = op_code(v->f->words[at]) == OP_RECV_PEEK;
        uint32_t state = v->states[at];
        int slot = verify_dst_of(v, at);

        if (slot < 0 || state == UNREACHED || (!is_peek && !is_held(state))) {
            continue;
        }
        const uint64_t *live = verify_live_at(v, is_peek ? at : peek_of(state));

        if ((live[slot / 64] >> (slot % 64) & 1) != 0) {
            return verify_fail(v, at, "part of a message outlives its refusal");
        }
    }
    return true;
}
