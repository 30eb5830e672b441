/* SPDX-License-Identifier: Apache-2.0 */
/*
 * receive (section 4.6):
 *
 *         [timeout value]; RECV_BEGIN; [RECV_DEADLINE]
 *   peek: RECV_PEEK message -> wait; the rows, each RECV_ACCEPT before its body
 *   next: RECV_NEXT -> peek
 *   wait: RECV_WAIT -> peek; [after body]
 */
#include "compiler/match.h"

#include "data/data.h"

struct receive {
    uint32_t peek;
    uint32_t next;
    uint32_t wait;
};

static bool begin(struct compiler *c, const struct clauses *k)
{
    unsigned top = c->fn->top;
    unsigned timeout;

    if (k->after == NULL) {
        emit(c, OP_RECV_BEGIN, 0, 0, 0);
        return true;
    }
    /* First the value: its own receives must not disturb this one. */
    if (!compile_operand(c, k->after, &timeout)) {
        return false;
    }
    emit(c, OP_RECV_BEGIN, 0, 0, 0);
    emit(c, OP_RECV_DEADLINE, timeout, 0, 0);
    c->fn->top = top;
    return true;
}

/* A jump back to the peek, with its safepoint word. */
static bool peek_again(struct compiler *c, enum op op, const struct receive *r)
{
    if (!emit_wide_jump(c, op, 0, r->peek)) {
        return false;
    }
    emit_word(c, 0);
    return true;
}

bool compile_receive(struct compiler *c, term_t form, struct dest d)
{
    static const term_t no_body = TERM_NIL;
    struct match m = { .dest = d, .is_receive = true };
    struct clauses k;
    struct receive r;
    unsigned message;

    if (c->guard_depth != 0) {
        return syntax_error(c, form, "a guard can't receive");
    }
    if (!clauses_parse(c, form, pair_rest(form), true, &k)) {
        return false;
    }
    if (k.count == 0 && k.after == NULL) {
        return syntax_error(c, form, "receive needs a clause or :after");
    }
    if (!label_new(c, &r.peek) || !label_new(c, &r.next) || !label_new(c, &r.wait) ||
        !label_new(c, &m.end) || !begin(c, &k) || !slot_new(c, &message)) {
        return false;
    }
    label_bind(c, r.peek);
    if (!emit_wide_jump(c, OP_RECV_PEEK, message, r.wait) ||
        !compile_rows(c, &m, &k, message, r.next)) {
        return false;
    }
    label_bind(c, r.next);
    if (label_is_used(c, r.next) && !peek_again(c, OP_RECV_NEXT, &r)) {
        return false;
    }
    label_bind(c, r.wait);
    if (!peek_again(c, OP_RECV_WAIT, &r)) {
        return false;
    }
    /* Without a deadline the wait never falls through; the code behind it still must end. */
    bool ok = compile_at(c, k.after != NULL ? k.after_body : &no_body, d);

    label_bind(c, m.end);
    return ok;
}
