/* SPDX-License-Identifier: Apache-2.0 */
/* #bytes and #bits as expressions: calls of the natives that build binaries. */
#include "compiler/pattern.h"

#include "data/data.h"

static bool argument(struct compiler *c, const term_t *form)
{
    unsigned slot;

    return slot_new(c, &slot) && compile_at(c, form, (struct dest){ .slot = slot });
}

static bool window(struct compiler *c, unsigned *at)
{
    unsigned below;

    return slot_new(c, &below) && slot_new(c, at);
}

static bool finish(struct compiler *c, const char *native, unsigned at, unsigned argc,
                   struct dest d)
{
    unsigned result = d.tail ? at : d.slot;

    return emit_native(c, native, at, argc, result) && finish_dest(c, d, result);
}

/* (make-bytes* rest-or-nil byte ...) */
bool compile_bytes(struct compiler *c, term_t form, struct dest d)
{
    unsigned at;
    unsigned argc = 1;
    unsigned rest;

    if (!window(c, &at) || !slot_new(c, &rest) || !emit_load(c, rest, TERM_NIL)) {
        return false;
    }
    for (term_t l = pair_rest(form); term_is_list(l); l = pair_rest(l)) {
        if (pair_head(l) == SYM(ampersand)) {
            if (list_length(l) != 2) {
                return syntax_error(c, form, "one form follows &");
            }
            return compile_at(c, term_ptr(pair_rest(l)), (struct dest){ .slot = rest }) &&
                   finish(c, "make-bytes*", at, argc, d);
        }
        if (!argument(c, term_ptr(l))) {
            return false;
        }
        argc++;
    }
    return finish(c, "make-bytes*", at, argc, d);
}

/* (make-bits* layout rest-or-nil names ... values ...) */
bool compile_bits(struct compiler *c, term_t form, struct dest d)
{
    struct bits_form b;
    unsigned at;
    unsigned slot;

    if (!bits_parse(c, form, false, &b) || !window(c, &at) || !slot_new(c, &slot) ||
        !emit_load(c, slot, b.layout) || !argument(c, &b.rest)) {
        return false;
    }
    for (uint32_t i = 0; i < b.name_count; i++) {
        if (!argument(c, &b.names[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < b.count; i++) {
        if (!argument(c, &b.values[i])) {
            return false;
        }
    }
    return finish(c, "make-bits*", at, 2 + b.name_count + b.count, d);
}
