/* SPDX-License-Identifier: Apache-2.0 */
/* Linked code as text, from the one instruction table. */
#include <base/assert.h>
#include <base/fmt.h>

#include "interp/code.h"
#include "native.h"
#include "reader/printer.h"

struct listing {
    struct vm *vm;
    const struct fun *f;
    void (*out)(void *arg, const char *text, size_t n);
    void *arg;
};

static void text(const struct listing *l, const char *s)
{
    l->out(l->arg, s, __builtin_strlen(s));
}

static void number(const struct listing *l, const char *before, long n)
{
    char buf[32];

    text(l, before);
    l->out(l->arg, buf, fmt_snprintf(buf, sizeof(buf), "%ld", n));
}

static void name(const struct listing *l, term_t t)
{
    const struct print_options options = { .depth_max = 4, .list_max = 8 };

    term_print(l->vm, t, &options, l->out, l->arg);
}

static void operand(const struct listing *l, enum operand kind, uint32_t at, unsigned value,
                    uint64_t word)
{
    switch (kind) {
    case O_NONE:
        return;
    case O_DST:
    case O_SRC:
    case O_GROUP:
        number(l, " s", value);
        return;
    case O_WINDOW:
        number(l, " w", value);
        return;
    case O_IMM:
        number(l, " ", value);
        return;
    case O_SIGNED:
        number(l, " ", (int16_t)value);
        return;
    case O_JUMP:
        number(l, " ->", (long)at + (int16_t)value);
        return;
    case O_WNUM:
        number(l, " ", op_wide(word));
        return;
    case O_WJUMP:
        number(l, " ->", (long)at + op_wide(word));
        return;
    }
}

static void extension(const struct listing *l, enum extension kind, uint32_t at, uint64_t word)
{
    switch (kind) {
    case E_CONST:
        text(l, " ");
        name(l, word == TERM_HOLE ? TERM_NIL : word);
        return;
    case E_VAR:
        text(l, " ");
        name(l, (term_t)word | TERM_BOXED);
        return;
    case E_NATIVE:
        assert(word != 0);
        text(l, " ");
        text(l,
             ((const struct native *)(uintptr_t)word)->name); // NOLINT(performance-no-int-to-ptr)
        return;
    case E_FUN:
        text(l, " ");
        name(l, (term_t)word | TERM_BOXED);
        return;
    case E_JUMP:
        number(l, " ->", (long)at + (long)word);
        return;
    case E_NONE:
    case E_MAP:
        return;
    }
}

static uint32_t instruction(const struct listing *l, uint32_t at)
{
    const uint64_t *w = l->f->code + at;
    const struct op_info *i = &op_info[op_code(*w)];
    char head[32];

    l->out(l->arg, head, fmt_snprintf(head, sizeof(head), "%5u  %-14s", at, i->name));
    operand(l, i->a, at, op_a(*w), *w);
    operand(l, i->b, at, op_b(*w), *w);
    if (i->b != O_WNUM && i->b != O_WJUMP) {
        operand(l, i->c, at, op_c(*w), *w);
    }
    extension(l, i->e1, at, i->words > 1 ? w[1] : 0);
    extension(l, i->e2, at, i->words > 2 ? w[2] : 0);
    uint32_t words = i->words;

    for (unsigned k = 0; (i->flags & OF_TABLE) != 0 && k < op_b(*w); k++) {
        text(l, k == 0 ? " {" : ", ");
        name(l, w[1 + 2 * k]);
        number(l, " ->", (long)at + (long)w[2 + 2 * k]);
        words += 2;
    }
    if ((i->flags & OF_TABLE) != 0) {
        text(l, "}");
    }
    struct code_line place = fun_line(l->f, w);
    bool is_first = place.line != 0 && (at == 0 || fun_line(l->f, w - 1).word != place.word);

    if (is_first) {
        number(l, "    ; line ", place.line);
    }
    text(l, "\n");
    return words;
}

void fun_disassemble(struct vm *vm, const struct fun *f,
                     void (*out)(void *arg, const char *text, size_t n), void *arg)
{
    const struct listing l = { vm, f, out, arg };

    name(&l, fun_term(f));
    number(&l, ": parameters ", f->params);
    text(&l, f->variadic != 0 ? "+" : "");
    number(&l, ", slots ", f->frame_slots);
    text(&l, "\n");
    for (uint32_t at = 0; at < f->word_count;) {
        at += instruction(&l, at);
    }
    for (uint32_t i = 0; i < f->guard_count; i++) {
        number(&l, "guard ", f->guards[i].from);
        number(&l, "..", (long)f->guards[i].to - 1);
        number(&l, " ->", f->guards[i].target);
        text(&l, "\n");
    }
}
