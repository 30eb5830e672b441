/* SPDX-License-Identifier: Apache-2.0 */
/*
 * #bytes and #bits. Literal bytes read as a binary. Anything else reads as a list that the compiler
 * knows as an expression and as a pattern:
 *
 *     (lona.core/bytes* element ... [& rest])
 *     (lona.core/bits* [value size modifiers] ... [& rest])    size nil: the default;
 *                                                              modifiers: a tuple of keywords
 */
#include "reader/reader_state.h"

#include "data/data.h"

static term_t symbol_text(struct reader *r, const char *text)
{
    term_t t = realm_symbol(r->vm, text, __builtin_strlen(text));

    return t == TERM_ERROR ? raise_oom(r->p) : t;
}

static bool is_byte(term_t t)
{
    return term_is_small(t) && small_value(t) >= 0 && small_value(t) <= 255;
}

/* list[0] is the head; are all others bytes? Then they go into the buffer. */
static bool all_bytes(struct reader *r, term_t list, bool *oom)
{
    *oom = false;
    r->buffer.count = 0;
    for (term_t l = list; term_is_list(l); l = pair_rest(l)) {
        if (!is_byte(pair_head(l))) {
            return false;
        }
        if (!buffer_put_byte(r, (uint8_t)small_value(pair_head(l)))) {
            *oom = true;
            return false;
        }
    }
    return true;
}

/* Elements up to ] as a list. */
static term_t read_bracketed(struct reader *r, struct place at)
{
    size_t base = r->stack.count;

    for (;;) {
        term_t t;

        switch (reader_item(r, &t)) {
        case ITEM_ERROR:
            return TERM_ERROR;
        case ITEM_END:
            return reader_fail_eof(r, at, "this is never closed");
        case ITEM_CLOSE:
            if (reader_peek(r) != ']') {
                return reader_fail(r, KW(unmatched_delimiter), r->here,
                                   "this closes something else");
            }
            reader_advance(r);
            return reader_pop_list(r, base, at);
        case ITEM_FORM:
            if (!reader_push(r, t) ||
                !reader_push(r, (term_t)r->form_place.line << 32 | r->form_place.column)) {
                return TERM_ERROR;
            }
        }
    }
}

static term_t read_byte_sequence(struct reader *r, struct place at)
{
    term_t list = read_bracketed(r, at);
    bool oom;

    if (list == TERM_ERROR) {
        return TERM_ERROR;
    }
    if (all_bytes(r, list, &oom)) {
        return heap_binary(r->p, r->buffer.bytes, r->buffer.count);
    }
    term_t head = oom ? TERM_ERROR : symbol_text(r, "lona.core/bytes*");

    for (term_t l = list; head != TERM_ERROR && term_is_list(l); l = pair_rest(l)) {
        if (term_is_small(pair_head(l)) && !is_byte(pair_head(l))) {
            return reader_fail(r, KW(invalid_number), at, "a byte is 0 to 255");
        }
    }
    if (head == TERM_ERROR || !heap_reserve(r->p, PAIR_WORDS)) {
        return TERM_ERROR;
    }
    return heap_pair(r->p, head, list);
}

/* Recode the UTF-8 of the buffer to one byte a character, in place. */
static bool narrow(struct reader *r, uint32_t limit)
{
    struct byte_buffer *b = &r->buffer;
    size_t to = 0;

    for (size_t i = 0; i < b->count; to++) {
        uint32_t c = b->bytes[i++];

        if (c >= 0x80) {
            if (c >= 0xC4) {
                return false; /* beyond U+00FF */
            }
            c = (c & 0x1F) << 6 | (b->bytes[i++] & 0x3F);
        }
        if (c >= limit) {
            return false;
        }
        b->bytes[to] = (uint8_t)c;
    }
    b->count = to;
    return true;
}

static bool skip_word(struct reader *r, const char *word)
{
    size_t n = __builtin_strlen(word);

    if ((size_t)(r->end - r->at) < n || __builtin_memcmp(r->at, word, n) != 0) {
        return false;
    }
    while (n-- > 0) {
        reader_advance(r);
    }
    return true;
}

static term_t read_encoded(struct reader *r, struct place at)
{
    uint32_t limit = 0;

    if (skip_word(r, "/utf8")) {
        limit = 0;
    } else if (skip_word(r, "/ascii")) {
        limit = 0x80;
    } else if (skip_word(r, "/latin1")) {
        limit = 0x100;
    }
    int32_t c = reader_peek(r);

    if (c == CHAR_END) {
        return reader_fail_eof(r, at, "#bytes needs [ or a string");
    }
    if (c != '"') {
        return reader_fail(r, KW(unexpected_char), r->here, "#bytes needs [ or a string");
    }
    reader_advance(r);
    if (!reader_string_bytes(r, at)) {
        return TERM_ERROR;
    }
    if (limit != 0 && !narrow(r, limit)) {
        return reader_fail(r, KW(invalid_encoding), at, "a character is outside the encoding");
    }
    return heap_binary(r->p, r->buffer.bytes, r->buffer.count);
}

term_t reader_bytes(struct reader *r, struct place at)
{
    if (reader_peek(r) == '[') {
        reader_advance(r);
        return read_byte_sequence(r, at);
    }
    return read_encoded(r, at);
}

/* ---- #bits ---- */

static bool is_segment_name_char(int32_t c, bool first)
{
    return (char_is_name_start(c) && c != '/') || (!first && char_is_digit(c));
}

static bool take_segment_name(struct reader *r)
{
    r->buffer.count = 0;
    while (is_segment_name_char(reader_peek(r), r->buffer.count == 0)) {
        if (!buffer_put_char(r, (uint32_t)reader_peek(r))) {
            return false;
        }
        reader_advance(r);
    }
    return true;
}

/* Would this text read as something else than a symbol? */
static bool is_no_name(const struct byte_buffer *b)
{
    static const char *const values[] = { "nil", "true", "false" };

    for (size_t i = 0; i < array_size(values); i++) {
        if (b->count == __builtin_strlen(values[i]) &&
            __builtin_memcmp(b->bytes, values[i], b->count) == 0) {
            return true;
        }
    }
    return b->count == 0 || (b->count > 1 && (b->bytes[0] == '-' || b->bytes[0] == '+') &&
                             char_is_digit(b->bytes[1]));
}

static term_t segment_symbol(struct reader *r)
{
    if (!take_segment_name(r)) {
        return TERM_ERROR;
    }
    if (is_no_name(&r->buffer)) {
        return reader_fail(r, KW(unexpected_char), r->here,
                           "a segment needs a name or number here");
    }
    term_t t = realm_symbol(r->vm, (const char *)r->buffer.bytes, r->buffer.count);

    return t == TERM_ERROR ? raise_oom(r->p) : t;
}

/* Decimal, 0x, 0o or 0b digits; the value must fit 64 bits. */
static term_t segment_integer(struct reader *r)
{
    struct place at = r->here;
    bool negative = reader_peek(r) == '-';
    uint64_t v = 0;
    unsigned radix = 10;
    unsigned digits = 0;

    if (negative) {
        reader_advance(r);
    }
    if (reader_byte(r, 0) == '0' && (reader_byte(r, 1) == 'x' || reader_byte(r, 1) == 'b')) {
        radix = reader_byte(r, 1) == 'x' ? 16 : 2;
        reader_advance(r);
        reader_advance(r);
    }
    for (;; digits++) {
        int32_t c = reader_byte(r, 0);
        unsigned d = char_is_digit(c)                         ? (unsigned)(c - '0')
                     : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (unsigned)(c | 0x20) - 'a' + 10
                                                              : 99;

        if (d >= radix) {
            break;
        }
        if (v > (UINT64_C(1) << 58) / radix) {
            return reader_fail(r, KW(invalid_number), at, "the number is too large here");
        }
        v = v * radix + d;
        reader_advance(r);
    }
    if (digits == 0) {
        return reader_fail(r, KW(invalid_number), at, "digits are missing");
    }
    return term_small(negative ? -(int64_t)v : (int64_t)v);
}

static term_t segment_value(struct reader *r, struct place at)
{
    int32_t c = reader_peek(r);

    if (char_is_digit(c) || (c == '-' && char_is_digit(reader_byte(r, 1)))) {
        return segment_integer(r);
    }
    if (c == '(') {
        return reader_form(r, at, "a segment needs a value");
    }
    return segment_symbol(r);
}

static term_t segment_size(struct reader *r)
{
    if (reader_peek(r) != ':') {
        return TERM_NIL;
    }
    reader_advance(r);
    return char_is_digit(reader_peek(r)) ? segment_integer(r) : segment_symbol(r);
}

static const char *const modifiers[] = { "be",       "le",    "native", "signed",
                                         "unsigned", "bytes", "binary" };

static bool is_modifier(const struct byte_buffer *b)
{
    for (size_t i = 0; i < sizeof(modifiers) / sizeof(*modifiers); i++) {
        if (b->count == __builtin_strlen(modifiers[i]) &&
            __builtin_memcmp(b->bytes, modifiers[i], b->count) == 0) {
            return true;
        }
    }
    return false;
}

/* Pops the terms since `base` (without places) as a tuple. */
static term_t pop_plain_tuple(struct reader *r, size_t base)
{
    size_t n = r->stack.count - base;
    term_t *to;

    if (!heap_reserve(r->p, TUPLE_WORDS(n))) {
        return TERM_ERROR;
    }
    term_t t = heap_tuple(r->p, n, &to);

    for (size_t i = 0; i < n; i++) {
        to[i] = r->stack.terms[base + i];
    }
    r->stack.count = base;
    return t;
}

static term_t segment_modifiers(struct reader *r)
{
    size_t base = r->stack.count;

    while (reader_peek(r) == '/') {
        reader_advance(r);
        struct place at = r->here;

        if (!take_segment_name(r)) {
            return TERM_ERROR;
        }
        if (!is_modifier(&r->buffer)) {
            return reader_fail(r, KW(syntax_error), at, "no such modifier of a segment");
        }
        term_t k = realm_keyword(r->vm, (const char *)r->buffer.bytes, r->buffer.count);

        if (k == TERM_ERROR) {
            return raise_oom(r->p);
        }
        if (!reader_push(r, k)) {
            return TERM_ERROR;
        }
    }
    return pop_plain_tuple(r, base);
}

static term_t read_segment(struct reader *r)
{
    struct place at = r->here;
    size_t base = r->stack.count;
    term_t part[3];

    part[0] = segment_value(r, at);
    part[1] = part[0] == TERM_ERROR ? TERM_ERROR : segment_size(r);
    part[2] = part[1] == TERM_ERROR ? TERM_ERROR : segment_modifiers(r);
    for (unsigned i = 0; i < 3; i++) {
        if (part[i] == TERM_ERROR || !reader_push(r, part[i])) {
            return TERM_ERROR;
        }
    }
    return pop_plain_tuple(r, base);
}

static bool skip_spacing(struct reader *r)
{
    int32_t c = reader_peek(r);
    bool any = false;

    while (c == ',' || char_is_space(c) || c == ';') {
        if (c == ';') {
            while (r->at != r->end && *r->at != '\n') {
                reader_advance(r);
            }
        } else {
            reader_advance(r);
        }
        any = true;
        c = reader_peek(r);
    }
    return any;
}

static bool push_placed(struct reader *r, term_t t, struct place at)
{
    return t != TERM_ERROR && reader_push(r, t) &&
           reader_push(r, (term_t)at.line << 32 | at.column);
}

term_t reader_bits(struct reader *r, struct place at)
{
    size_t base = r->stack.count;

    if (!push_placed(r, symbol_text(r, "lona.core/bits*"), at)) {
        return TERM_ERROR;
    }
    for (;;) {
        (void)skip_spacing(r);
        int32_t c = reader_peek(r);
        struct place here = r->here;

        if (c == CHAR_END) {
            return reader_fail_eof(r, at, "this is never closed");
        }
        if (c == ']') {
            reader_advance(r);
            return reader_pop_list(r, base, at);
        }
        if (c == ')' || c == '}') {
            return reader_fail(r, KW(unmatched_delimiter), here, "this closes something else");
        }
        if (c == '&' && (char_is_space(reader_byte(r, 1)) || reader_byte(r, 1) == ',')) {
            reader_advance(r);
            if (!push_placed(r, SYM(ampersand), here) ||
                !push_placed(r, reader_form(r, here, "& needs a name after it"), here)) {
                return TERM_ERROR;
            }
            continue;
        }
        if (!push_placed(r, read_segment(r), here)) {
            return TERM_ERROR;
        }
        c = reader_peek(r);
        if (c != ']' && c != ',' && c != ';' && c != CHAR_END && !char_is_space(c)) {
            return reader_fail(r, KW(unexpected_char), r->here, "this can't be part of a segment");
        }
    }
}
