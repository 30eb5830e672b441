/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Code before and after linking.
 *
 * A unit is what the compiler makes of one top-level form: functions with symbolic operands and a
 * pool of constants. Function 0 takes no arguments; calling it is evaluating the form. code_link()
 * verifies a unit, computes the safepoint maps, copies the constants into realm memory and yields
 * FUN terms; code_encode()/code_decode() store a unit in a file and read it back without trust.
 */
#pragma once

#include "interp/bytecode.h"
#include "realm/realm.h"
#include "term/term.h"

struct process;
struct vm;

/* A guard: an error raised at words [from, to) continues at word target. Ranges don't overlap. */
struct code_guard {
    uint32_t from;
    uint32_t to;
    uint32_t target;
};

/* Words from `word` on (up to the next entry) come from this place. Ascending; line 0 is unknown.
 */
struct code_line {
    uint32_t word;
    uint32_t line;
    uint32_t column;
};

/* One function of a unit; all arrays grow with code_unit_*() and belong to the unit. */
struct code_function {
    term_t name; /* qualified symbol, or nil for an anonymous one */
    uint16_t params;
    bool variadic;
    uint16_t
        frame_slots; /* all slots used, 0..frame_slots-1, windows with their arguments included */
    uint64_t *words;
    uint32_t word_count, word_capacity;
    struct code_guard *guards;
    uint32_t guard_count, guard_capacity;
    struct code_line *lines;
    uint32_t line_count, line_capacity;
};

struct code_unit {
    struct vm *vm;
    term_t file; /* string symbol-like: the file's name as a symbol, or nil */
    struct code_function *functions;
    uint32_t function_count, function_capacity;
    term_t *constants; /* terms of the compiling process, whose collector is inhibited meanwhile */
    uint32_t constant_count, constant_capacity;
    bool out_of_memory; /* sticky: an append failed; link and encode then refuse */
};

/* ---- building (the compiler's side); appends never fail visibly, see out_of_memory
 * ---------------- */

void code_unit_init(struct code_unit *u, struct vm *vm);
void code_unit_deinit(struct code_unit *u);
/* Index of a new, empty function. Pointers into functions[] are invalid afterwards. */
uint32_t code_unit_function(struct code_unit *u);
/* Index of a constant; equal immediates and identical words share one. VARs and natives are
 * constants too. */
uint32_t code_unit_constant(struct code_unit *u, term_t t);
/* Append a word to function f; its index. */
uint32_t code_unit_word(struct code_unit *u, uint32_t f, uint64_t word);
void code_unit_guard(struct code_unit *u, uint32_t f, struct code_guard guard);
/* Place of the words appended from now on. */
void code_unit_line(struct code_unit *u, uint32_t f, uint32_t line, uint32_t column);

/* ---- verifying and linking
 * ------------------------------------------------------------------------ */

struct code_error {
    uint32_t function;
    uint32_t word;
    const char *what; /* static text */
};

/*
 * Is the unit safe to run? Opcodes, operand ranges, instruction boundaries of jump targets and
 * guards, constant kinds, windows inside the frame, no fall-through past the end, no read of a slot
 * that some path leaves unwritten, no way back without a call but to a receive's next message,
 * receive instructions in their order. Fills in the safepoint words. False with *error filled.
 */
bool code_verify(struct code_unit *u, struct code_error *error) MUST_CHECK;

/*
 * Verify, then install in realm memory. Returns the FUN of function 0, or TERM_ERROR with p's error
 * set (:bad-code with :message and :index, or :oom). The unit is still the caller's.
 */
term_t code_link(struct process *p, struct code_unit *u) MUST_CHECK;

/* A function installed in realm memory: the object behind a FUN term. */
struct fun {
    uint64_t header; /* TAG_FUN */
    const uint64_t *code;
    uint16_t params;
    uint8_t variadic;
    uint8_t unused;
    uint32_t frame_slots;
    term_t name; /* qualified symbol or nil */
    term_t file; /* symbol or nil */
    uint32_t word_count;
    uint32_t guard_count;
    uint32_t line_count;
    uint32_t unused2;
    const struct code_guard *guards;
    const struct code_line *lines;
    term_t meta; /* map or nil: (meta f) of the shared FUN */
};

static inline const struct fun *term_fun(term_t t)
{
    return (const struct fun *)(const void *)term_ptr(t);
}

static inline term_t fun_term(const struct fun *f)
{
    return term_from_box((const term_t *)(const void *)f);
}

/* The function whose code holds this address, or NULL. Lock-free. */
const struct fun *realm_fun_at(struct vm *vm, const uint64_t *ip);
/* Place of an address of f's code; line 0 if unknown. */
struct code_line fun_line(const struct fun *f, const uint64_t *ip);

/* ---- stored form
 * ---------------------------------------------------------------------------------- */

struct byte_sink {
    uint8_t *data; /* vm memory, freed with byte_sink_deinit() */
    size_t size, capacity;
    bool failed; /* out of memory, or a term that can't be stored */
    struct vm *vm;
};

void byte_sink_init(struct byte_sink *s, struct vm *vm);
void byte_sink_deinit(struct byte_sink *s);
void byte_sink_put(struct byte_sink *s, const void *p, size_t n);

#define CODE_MAGIC   0x424E4F4Cu /* "LONB" */
#define CODE_VERSION 2

/* Append one unit: u32 magic, u32 version, u32 size, u32 checksum, then the body. */
void code_encode(struct byte_sink *s, const struct code_unit *u);
/*
 * Read one unit from data[*offset..size) into *u (initialised by the caller), whose constants are
 * built on p's heap (collector inhibited by the caller). Advances *offset. False with p's error set
 * (:bad-code). Every byte is checked; the code itself is only checked by code_link().
 */
bool code_decode(struct process *p, const uint8_t *data, size_t size, size_t *offset,
                 struct code_unit *u) MUST_CHECK;

/*
 * Terms as bytes (section 7.11): everything but functions with captures and bytebufs; FUN only
 * inside code. Used for constants and by anything that stores terms. Decode validates lengths,
 * UTF-8, nesting (1000) and duplicates; it allocates on p's heap with the collector inhibited.
 */
bool term_encode(struct byte_sink *s, struct vm *vm, term_t t) MUST_CHECK;
term_t term_decode(struct process *p, const uint8_t *data, size_t size, size_t *offset) MUST_CHECK;

/* One function as text through `out`, for lona disasm: a line an instruction. Linked code. */
void fun_disassemble(struct vm *vm, const struct fun *f,
                     void (*out)(void *arg, const char *text, size_t n), void *arg);
