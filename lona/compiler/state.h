/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the compiler: shared by the files of this folder alone.
 *
 * One pass, no intermediate form: a function's slots are handed out like a stack, and each form is
 * compiled into a given slot or as the function's result. Every function that can fail returns
 * false with p->reason set.
 */
#pragma once

#include "bounds.h"
#include "compiler/compiler.h"
#include "native.h"
#include "vm_state.h"

enum {
    COMPILE_DEPTH_MAX = 800, /* forms inside one another, after expansion */
    EXPANSIONS_MAX = 1000,   /* of one form before it must be something else */
};

/* Where a form's value goes. */
struct dest {
    bool tail;     /* the function returns it */
    unsigned slot; /* otherwise */
};

struct local {
    term_t name;
    unsigned slot;
};

enum fixup_kind {
    FIXUP_WIDE, /* bits 63..32 of the instruction */
    FIXUP_C,    /* its operand C */
    FIXUP_WORD  /* a whole word after it */
};

struct fixup {
    enum fixup_kind kind;
    uint32_t label;
    uint32_t instruction;
    uint32_t word; /* FIXUP_WORD */
};

struct guard_range {
    uint32_t from, to;
    uint32_t label;
};

#define LIST_OF(type)                                                                              \
    struct {                                                                                       \
        type *items;                                                                               \
        uint32_t count, capacity;                                                                  \
    }

#define LABEL_UNBOUND UINT32_MAX

struct label {
    uint32_t word;
    uint32_t uses;
};

/* The function being compiled. */
struct fn {
    struct fn *outer;
    uint32_t index; /* in the unit */
    unsigned params;
    bool variadic;
    bool has_self; /* a name stands for slot 0 */
    unsigned top;  /* next free slot */
    unsigned slots_max;
    LIST_OF(struct local) locals; /* innermost last */
    LIST_OF(term_t) captures;     /* names */
    LIST_OF(struct label) labels;
    LIST_OF(struct fixup) fixups;
    LIST_OF(struct guard_range) guards;
    LIST_OF(uint32_t) open_guards; /* labels */
    uint32_t guard_from;
};

struct pool_chunk {
    struct pool_chunk *next;
    size_t size;
};

struct compiler {
    struct process *p;
    struct vm *vm;
    struct ns *ns;
    const struct compile_source *source;
    struct code_unit *u;
    struct fn *fn;
    struct place place;
    term_t def_name; /* qualified name for the next function, or nil */
    unsigned depth;
    unsigned guard_depth; /* > 0: only pure operations */
    struct pool_chunk *pool;
    uint8_t *pool_at;
    size_t pool_left;
};

/* ---- memory (state.c) ---- */

/* Zeroed memory until the end of the compilation; NULL with :oom raised. */
void *pool_alloc(struct compiler *c, size_t size);
void pool_deinit(struct compiler *c);
bool list_grow(struct compiler *c, void **items, uint32_t count, uint32_t *capacity, size_t size);

/* Append to a LIST_OF; false without memory. */
#define LIST_ADD(c, list, ...)                                                                     \
    (list_grow(c, (void **)&(list).items, (list).count, &(list).capacity,                          \
               sizeof(*(list).items)) &&                                                           \
     ((list).items[(list).count++] = __VA_ARGS__, true))
#define LIST_FREE(c, list) vm_free((c)->vm, (list).items, (list).capacity * sizeof(*(list).items))

/* Raise `kind` at the current place; always false. */
bool compile_fail(struct compiler *c, term_t kind, term_t form, const char *message);
bool syntax_error(struct compiler *c, term_t form, const char *message);

/* ---- code (emit.c) ---- */

bool slot_new(struct compiler *c, unsigned *slot);
uint32_t emit(struct compiler *c, enum op op, unsigned a, unsigned b, unsigned operand_c);
uint32_t emit_wide(struct compiler *c, enum op op, unsigned a, int32_t wide);
void emit_word(struct compiler *c, uint64_t word);
void emit_constant_word(struct compiler *c, term_t t);
bool label_new(struct compiler *c, uint32_t *label);
void label_bind(struct compiler *c, uint32_t label);
bool label_is_used(const struct compiler *c, uint32_t label);
/* Instructions with a jump to a label. */
bool emit_jump(struct compiler *c, uint32_t label);
bool emit_wide_jump(struct compiler *c, enum op op, unsigned a, uint32_t label);
bool emit_c_jump(struct compiler *c, enum op op, unsigned a, unsigned b, uint32_t label);
bool emit_fixup(struct compiler *c, struct fixup f);
bool emit_load(struct compiler *c, unsigned slot, term_t constant);
/* Errors in the code from open to close continue at the label. They nest. */
bool guard_open(struct compiler *c, uint32_t label);
bool guard_close(struct compiler *c);
/* The value is in `slot`: return it if dest says so. */
bool finish_dest(struct compiler *c, struct dest d, unsigned slot);
/* Where to put a value for d: its slot, or a new one. */
bool dest_slot(struct compiler *c, struct dest d, unsigned *slot);

/* ---- functions and names (scope.c) ---- */

bool fn_begin(struct compiler *c, struct fn *f);
/* Resolves jumps, stores what the function needs, and goes back to the outer one. */
bool fn_end(struct compiler *c);
void fn_deinit(struct compiler *c, struct fn *f);
bool local_push(struct compiler *c, term_t name, unsigned slot);

enum name_kind {
    NAME_SLOT,
    NAME_CAPTURE,
    NAME_GLOBAL,
    NAME_NO_MEMORY
};

struct name_ref {
    enum name_kind kind;
    unsigned index;
};

struct name_ref name_find(struct compiler *c, term_t symbol);
bool compile_fn(struct compiler *c, term_t form, struct dest d);

/* ---- forms (form.c) ---- */

bool compile(struct compiler *c, term_t form, struct dest d);
/* As compile(), for the form that stands at this word of its parent, whose place it takes. */
bool compile_at(struct compiler *c, const term_t *slot, struct dest d);
/* A slot that holds the form's value: a local's own, or a new one. */
bool compile_operand(struct compiler *c, const term_t *form, unsigned *slot);
bool compile_body(struct compiler *c, term_t forms, struct dest d);
bool is_constant(term_t form);

/* Expand macros at the head of *form until there is none. */
bool expand(struct compiler *c, term_t *form);
/* The native that a call with this head goes to straight away, or NULL. */
const struct native *native_head(struct compiler *c, term_t form, term_t *constant);

/* ---- calls (call.c) ---- */

bool compile_call(struct compiler *c, term_t form, struct dest d);
/* Call a native by name with what is in slots window+1.. already. */
bool emit_native(struct compiler *c, const char *name, unsigned window, unsigned argc,
                 unsigned result);

/* ---- conditions (branch.c) ---- */

/* Jump to the label if the form's value is falsy (truthy), else fall through. */
bool branch_false(struct compiler *c, const term_t *form, uint32_t label);
/* t of (not (not ... t)); *flipped: there was an odd number of them. */
const term_t *branch_without_not(struct compiler *c, const term_t *form, bool *flipped);
bool branch_true(struct compiler *c, const term_t *form, uint32_t label);
/* Is the value of this call true or false, never anything else? */
bool is_boolean_call(struct compiler *c, term_t form);

/* ---- match and receive (match.c, receive.c, pattern.c) ---- */

bool compile_match(struct compiler *c, term_t form, struct dest d);
bool compile_receive(struct compiler *c, term_t form, struct dest d);
/* (lona.core/bytes* ...) and (lona.core/bits* ...) as expressions. */
bool compile_bytes(struct compiler *c, term_t form, struct dest d);
bool compile_bits(struct compiler *c, term_t form, struct dest d);
