/* SPDX-License-Identifier: Apache-2.0 */
/* lona.core: predicates (6.3). None ever fails. */
#include "data/data.h"
#include "native.h"
#include "number/number.h"

#define PREDICATE(name, condition)                                                                 \
    static term_t name(struct process *p, term_t *args, unsigned argc)                             \
    {                                                                                              \
        (void)p;                                                                                   \
        (void)argc;                                                                                \
        term_t t = args[0];                                                                        \
        return term_bool(condition);                                                               \
    }

PREDICATE(is_nil, t == TERM_NIL)
PREDICATE(is_boolean, t == TERM_TRUE || t == TERM_FALSE)
PREDICATE(is_true, t == TERM_TRUE)
PREDICATE(is_false, t == TERM_FALSE)
PREDICATE(is_number, term_is_number(t))
PREDICATE(is_integer, term_is_integer(t))
PREDICATE(is_float, term_has_tag(t, TAG_FLOAT) || term_has_tag(t, TAG_F32))
PREDICATE(is_ratio, term_has_tag(t, TAG_RATIO))
PREDICATE(is_char, term_is_char(t))
PREDICATE(is_string, term_is_string(t))
PREDICATE(is_symbol, term_is_symbol(t))
PREDICATE(is_keyword, term_is_keyword(t))
PREDICATE(is_list, term_is_list(t) || t == TERM_EMPTY)
PREDICATE(is_tuple, term_is_tuple(t))
PREDICATE(is_vector, term_is_vector(t))
PREDICATE(is_map, term_is_map(t))
PREDICATE(is_set, term_is_set(t))
PREDICATE(is_fn, term_is_native(t) || term_has_tag(t, TAG_FUN) || term_has_tag(t, TAG_CLOSURE))
PREDICATE(is_var, term_has_tag(t, TAG_VAR))
PREDICATE(is_namespace, term_has_tag(t, TAG_NAMESPACE))
PREDICATE(is_binary, term_is_binary(t))
PREDICATE(is_bytebuf, term_has_tag(t, TAG_BYTEBUF))
PREDICATE(is_pid, term_has_tag(t, TAG_PID))
PREDICATE(is_ref, term_has_tag(t, TAG_REF))
PREDICATE(is_paddr, term_has_tag(t, TAG_PADDR))
PREDICATE(is_vaddr, term_has_tag(t, TAG_VADDR))
PREDICATE(is_never, t == TERM_HOLE)

static term_t type(struct process *p, term_t *args, unsigned argc)
{
    (void)p;
    (void)argc;
    return term_type_keyword(args[0]);
}

#define ROW(text, fn, what)                                                                        \
    {                                                                                              \
        "lona.core", text, fn, 1, 1, NATIVE_PURE, 1, "(x)", what                                   \
    }

static const struct native rows[] = {
    ROW("nil?", is_nil, "Is x nil?"),
    ROW("boolean?", is_boolean, "Is x true or false?"),
    ROW("true?", is_true, "Is x true?"),
    ROW("false?", is_false, "Is x false?"),
    ROW("number?", is_number, "Is x a number?"),
    ROW("integer?", is_integer, "Is x an integer of any width?"),
    ROW("float?", is_float, "Is x an f64 or f32?"),
    ROW("ratio?", is_ratio, "Is x a ratio?"),
    ROW("char?", is_char, "Is x a character?"),
    ROW("string?", is_string, "Is x a string?"),
    ROW("symbol?", is_symbol, "Is x a symbol?"),
    ROW("keyword?", is_keyword, "Is x a keyword?"),
    ROW("list?", is_list, "Is x a list? True for (), false for nil."),
    ROW("tuple?", is_tuple, "Is x a tuple?"),
    ROW("vector?", is_vector, "Is x a vector?"),
    ROW("map?", is_map, "Is x a map?"),
    ROW("set?", is_set, "Is x a set?"),
    ROW("fn?", is_fn, "Is x a function?"),
    ROW("var?", is_var, "Is x a var?"),
    ROW("namespace?", is_namespace, "Is x a namespace?"),
    ROW("binary?", is_binary, "Is x a binary?"),
    ROW("bytebuf?", is_bytebuf, "Is x a byte buffer?"),
    ROW("pid?", is_pid, "Is x a pid?"),
    ROW("ref?", is_ref, "Is x a ref?"),
    ROW("paddr?", is_paddr, "Is x a physical address?"),
    ROW("vaddr?", is_vaddr, "Is x a virtual address?"),
    ROW("realm-id?", is_never, "Is x a realm id? There is one realm here, so no value is."),
    ROW("notification?", is_never, "Is x a notification? No host value is."),
    ROW("region?", is_never, "Is x a shared region? No host value is."),
    ROW("dma-buffer?", is_never, "Is x a DMA buffer? No host value is."),
    ROW("ring?", is_never, "Is x a ring? No host value is."),
    ROW("msg-info?", is_never, "Is x a message info? No host value is."),
    ROW("cap?", is_never, "Is x a capability? No host value is."),
    ROW("type", type, "The type of x as a keyword."),
};

const struct native_table native_predicate = { rows, array_size(rows) };
