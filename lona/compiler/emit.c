/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions, jumps and guards of the function being compiled. */
#include "compiler/state.h"

bool slot_new(struct compiler *c, unsigned *slot)
{
    struct fn *f = c->fn;

    if (f->top >= FRAME_SLOTS_MAX - 4) {
        return compile_fail(c, KW(too_complex), TERM_NIL, "the function needs too many slots");
    }
    *slot = f->top++;
    f->slots_max = max_of(f->slots_max, f->top);
    return true;
}

void emit_word(struct compiler *c, uint64_t word)
{
    (void)code_unit_word(c->u, c->fn->index, word);
}

static void emit_place(struct compiler *c)
{
    if (c->place.line != 0) {
        code_unit_line(c->u, c->fn->index, c->place.line, c->place.column);
    }
}

uint32_t emit(struct compiler *c, enum op op, unsigned a, unsigned b, unsigned operand_c)
{
    emit_place(c);
    return code_unit_word(c->u, c->fn->index,
                          op_encode(op, (uint16_t)a, (uint16_t)b, (uint16_t)operand_c));
}

uint32_t emit_wide(struct compiler *c, enum op op, unsigned a, int32_t wide)
{
    emit_place(c);
    return code_unit_word(c->u, c->fn->index, op_encode_wide(op, (uint16_t)a, wide));
}

void emit_constant_word(struct compiler *c, term_t t)
{
    emit_word(c, code_unit_constant(c->u, t));
}

static uint32_t here(const struct compiler *c)
{
    return c->u->functions == NULL ? 0 : c->u->functions[c->fn->index].word_count;
}

/* ---- jumps ---- */

bool label_new(struct compiler *c, uint32_t *label)
{
    *label = c->fn->labels.count;
    return LIST_ADD(c, c->fn->labels, (struct label){ LABEL_UNBOUND, 0 });
}

void label_bind(struct compiler *c, uint32_t label)
{
    c->fn->labels.items[label].word = here(c);
}

bool label_is_used(const struct compiler *c, uint32_t label)
{
    return c->fn->labels.items[label].uses != 0;
}

bool emit_fixup(struct compiler *c, struct fixup f)
{
    c->fn->labels.items[f.label].uses++;
    return LIST_ADD(c, c->fn->fixups, f);
}

bool emit_jump(struct compiler *c, uint32_t label)
{
    return emit_wide_jump(c, OP_JUMP, 0, label);
}

bool emit_wide_jump(struct compiler *c, enum op op, unsigned a, uint32_t label)
{
    uint32_t at = emit_wide(c, op, a, 0);

    return emit_fixup(c, (struct fixup){ FIXUP_WIDE, label, at, at });
}

bool emit_c_jump(struct compiler *c, enum op op, unsigned a, unsigned b, uint32_t label)
{
    uint32_t at = emit(c, op, a, b, 0);

    return emit_fixup(c, (struct fixup){ FIXUP_C, label, at, at });
}

bool emit_load(struct compiler *c, unsigned slot, term_t t)
{
    if (t == TERM_NIL) {
        emit(c, OP_LOAD_NIL, slot, 0, 0);
    } else if (term_is_small(t) && small_value(t) >= INT32_MIN && small_value(t) <= INT32_MAX) {
        emit_wide(c, OP_LOAD_INT, slot, (int32_t)small_value(t));
    } else {
        emit(c, OP_LOAD, slot, 0, 0);
        emit_constant_word(c, t);
    }
    return true;
}

/* ---- guards: ranges must not overlap, so an inner one splits the outer ---- */

static bool end_range(struct compiler *c)
{
    struct fn *f = c->fn;
    uint32_t label = f->open_guards.items[f->open_guards.count - 1];

    if (f->guard_from == here(c)) {
        return true;
    }
    f->labels.items[label].uses++;
    return LIST_ADD(c, f->guards, (struct guard_range){ f->guard_from, here(c), label });
}

bool guard_open(struct compiler *c, uint32_t label)
{
    struct fn *f = c->fn;

    if (f->open_guards.count != 0 && !end_range(c)) {
        return false;
    }
    f->guard_from = here(c);
    return LIST_ADD(c, f->open_guards, label);
}

bool guard_close(struct compiler *c)
{
    bool ok = end_range(c);

    c->fn->open_guards.count--;
    c->fn->guard_from = here(c);
    return ok;
}

/* ---- destinations ---- */

bool finish_dest(struct compiler *c, struct dest d, unsigned slot)
{
    if (d.tail) {
        emit(c, OP_RETURN, slot, 0, 0);
    } else if (d.slot != slot) {
        emit(c, OP_MOVE, d.slot, slot, 0);
    }
    return true;
}

bool dest_slot(struct compiler *c, struct dest d, unsigned *slot)
{
    if (!d.tail) {
        *slot = d.slot;
        return true;
    }
    return slot_new(c, slot);
}
