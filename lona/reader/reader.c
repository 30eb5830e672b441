/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader: one recursive descent, its depth bounded by READ_DEPTH_MAX. Elements of open
 * collections lie on one growing stack, so a collection of any size costs no C stack.
 */
#include "reader/reader_state.h"

#include <stdarg.h>

#include "data/data.h"

/* ---- failing ---- */

static size_t text_length(const char *s)
{
    return __builtin_strlen(s);
}

term_t reader_fail(struct reader *r, term_t kind, struct place at, const char *message)
{
    term_t line = term_small(at.line);
    term_t column = term_small(at.column);
    term_t text = heap_string(r->p, message, text_length(message));

    if (text == TERM_ERROR) {
        return TERM_ERROR;
    }
    if (r->file == NULL) {
        return raise(r->p, kind, 3, KW(line), line, KW(column), column, KW(message), text);
    }
    term_t file = heap_string(r->p, r->file, text_length(r->file));

    return file == TERM_ERROR ? TERM_ERROR
                              : raise(r->p, kind, 4, KW(line), line, KW(column), column,
                                      KW(message), text, KW(file), file);
}

term_t reader_fail_eof(struct reader *r, struct place at, const char *message)
{
    r->incomplete = true;
    return reader_fail(r, KW(unexpected_eof), at, message);
}

/* ---- building ---- */

bool reader_push(struct reader *r, term_t t)
{
    struct term_stack *s = &r->stack;

    if (s->count == s->capacity) {
        size_t capacity = s->capacity == 0 ? 256 : s->capacity * 2;
        term_t *terms = vm_alloc(r->vm, capacity * sizeof(*terms));

        if (terms == NULL) {
            (void)raise_oom(r->p);
            return false;
        }
        if (s->count != 0) {
            __builtin_memcpy(terms, s->terms, s->count * sizeof(*terms));
        }
        vm_free(r->vm, s->terms, s->capacity * sizeof(*terms));
        s->terms = terms;
        s->capacity = capacity;
    }
    s->terms[s->count++] = t;
    return true;
}

static void remember_form(struct reader *r, term_t t, struct place at)
{
    if (term_is_pointer(t)) {
        place_table_put(&r->places, r->vm, place_key_form(t), at);
    }
}

/*
 * While a collection is open its elements alternate with their places on the stack: term, then
 * line and column packed into one word.
 */
static term_t pack_place(struct place at)
{
    return (term_t)at.line << 32 | at.column;
}

static struct place unpack_place(term_t word)
{
    return (struct place){ (uint32_t)(word >> 32), (uint32_t)word };
}

term_t reader_pop_list(struct reader *r, size_t base, struct place at)
{
    size_t n = (r->stack.count - base) / 2;
    term_t list = TERM_EMPTY;

    if (!heap_reserve(r->p, n * PAIR_WORDS)) {
        return TERM_ERROR;
    }
    while (n-- > 0) {
        const term_t *item = r->stack.terms + base + 2 * n;

        list = heap_pair(r->p, item[0], list);
        place_table_put(&r->places, r->vm, place_key_slot(term_ptr(list)), unpack_place(item[1]));
    }
    r->stack.count = base;
    remember_form(r, list, at);
    return list;
}

term_t reader_list(struct reader *r, struct place at, unsigned n, ...)
{
    va_list items;
    size_t base = r->stack.count;

    va_start(items, n);
    for (unsigned i = 0; i < n; i++) {
        if (!reader_push(r, va_arg(items, term_t)) || !reader_push(r, pack_place(at))) {
            va_end(items);
            return TERM_ERROR;
        }
    }
    va_end(items);
    return reader_pop_list(r, base, at);
}

term_t reader_gensym(struct reader *r, const char *prefix, size_t n)
{
    uint64_t number = realm_next_gensym(r->vm);
    char digits[24];
    size_t count = sizeof(digits);

    do {
        digits[--count] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    r->buffer.count = 0;
    for (size_t i = 0; i < n; i++) {
        if (!buffer_put_byte(r, (uint8_t)prefix[i])) {
            return TERM_ERROR;
        }
    }
    if (!buffer_put_byte(r, '_') || !buffer_put_byte(r, '_')) {
        return TERM_ERROR;
    }
    while (count < sizeof(digits)) {
        if (!buffer_put_byte(r, (uint8_t)digits[count++])) {
            return TERM_ERROR;
        }
    }
    term_t t = realm_symbol(r->vm, (const char *)r->buffer.bytes, r->buffer.count);

    return t == TERM_ERROR ? raise_oom(r->p) : t;
}

/* ---- collections ---- */

/* Read up to `close` onto the stack: element, place, element, place ... */
static bool read_items(struct reader *r, int32_t close, struct place at)
{
    for (;;) {
        term_t t;
        enum item kind = reader_item(r, &t);

        if (kind == ITEM_ERROR) {
            return false;
        }
        if (kind == ITEM_END) {
            (void)reader_fail_eof(r, at, "this is never closed");
            return false;
        }
        if (kind == ITEM_CLOSE) {
            if (reader_peek(r) != close) {
                (void)reader_fail(r, KW(unmatched_delimiter), r->here,
                                  "this closes something else");
                return false;
            }
            reader_advance(r);
            return true;
        }
        if (!reader_push(r, t) || !reader_push(r, pack_place(r->form_place))) {
            return false;
        }
    }
}

/* Drop the places between the elements on the stack; the count of elements is left. */
static size_t drop_places(struct reader *r, size_t base)
{
    size_t n = (r->stack.count - base) / 2;

    for (size_t i = 0; i < n; i++) {
        r->stack.terms[base + i] = r->stack.terms[base + 2 * i];
    }
    return n;
}

static term_t pop_tuple(struct reader *r, size_t base)
{
    size_t n = (r->stack.count - base) / 2;
    term_t *elements;

    if (!heap_reserve(r->p, TUPLE_WORDS(n))) {
        return TERM_ERROR;
    }
    term_t t = heap_tuple(r->p, n, &elements);

    for (size_t i = 0; i < n; i++) {
        const term_t *item = r->stack.terms + base + 2 * i;

        elements[i] = item[0];
        place_table_put(&r->places, r->vm, place_key_slot(&elements[i]), unpack_place(item[1]));
    }
    return t;
}

static term_t pop_vector(struct reader *r, size_t base)
{
    size_t n = (r->stack.count - base) / 2;
    struct place *places = NULL;

    if (n <= VECTOR_SMALL_MAX && n != 0) {
        places = vm_alloc(r->vm, n * sizeof(*places));
        for (size_t i = 0; places != NULL && i < n; i++) {
            places[i] = unpack_place(r->stack.terms[base + 2 * i + 1]);
        }
    }
    (void)drop_places(r, base);
    term_t t = vector_from_array(r->p, r->stack.terms + base, n);

    for (size_t i = 0; places != NULL && t != TERM_ERROR && i < n; i++) {
        place_table_put(&r->places, r->vm, place_key_slot(term_ptr(t) + 1 + i), places[i]);
    }
    vm_free(r->vm, places, n * sizeof(*places));
    return t;
}

static term_t pop_map(struct reader *r, size_t base, struct place at)
{
    size_t n = drop_places(r, base);

    if (n % 2 != 0) {
        return reader_fail(r, KW(odd_map_elements), at, "a map needs a value for every key");
    }
    return map_from_array(r->p, r->stack.terms + base, n / 2);
}

static term_t read_collection(struct reader *r, int32_t open, int32_t close, struct place at)
{
    size_t base = r->stack.count;
    term_t t = TERM_ERROR;

    if (!read_items(r, close, at)) {
        return TERM_ERROR;
    }
    if (open == '(') {
        return reader_pop_list(r, base, at);
    }
    if (open == '[') {
        t = pop_tuple(r, base);
    } else if (open == '{') {
        t = pop_vector(r, base);
    } else if (open == '%') {
        t = pop_map(r, base, at);
    } else {
        size_t n = drop_places(r, base);

        t = set_from_array(r->p, r->stack.terms + base, n);
    }
    r->stack.count = base;
    if (t != TERM_ERROR && !realm_owns(r->vm, t)) {
        remember_form(r, t, at);
    }
    return t;
}

/* ---- prefixes ---- */

static term_t read_quoted(struct reader *r, term_t head, struct place at)
{
    term_t form = reader_form(r, at, "a quote needs a form after it");

    return form == TERM_ERROR ? TERM_ERROR : reader_list(r, at, 2, head, form);
}

static term_t read_syntax_quote(struct reader *r, struct place at)
{
    if (r->quote_depth == QUOTE_DEPTH_MAX) {
        return reader_fail(r, KW(too_deep), at, "too many syntax-quotes inside one another");
    }
    r->quote_depth++;
    term_t form = reader_form(r, at, "a syntax-quote needs a form after it");

    r->quote_depth--;
    return form == TERM_ERROR ? TERM_ERROR : syntax_quote(r, form, at);
}

static term_t read_unquote(struct reader *r, struct place at)
{
    term_t head = UNQUOTE;

    if (reader_peek(r) == '@') {
        reader_advance(r);
        head = SPLICE;
    }
    if (r->quote_depth == 0) {
        return reader_fail(r, KW(unquote_outside_quote), at, "this needs a syntax-quote around it");
    }
    r->quote_depth--;
    term_t form = reader_form(r, at, "an unquote needs a form after it");

    r->quote_depth++;
    return form == TERM_ERROR ? TERM_ERROR : reader_list(r, at, 2, head, form);
}

/* ^meta form */

static term_t metadata_map(struct reader *r, term_t meta, struct place at)
{
    if (term_is_keyword(meta)) {
        term_t pair[2] = { meta, TERM_TRUE };

        return map_from_array(r->p, pair, 1);
    }
    return term_is_map(meta)
               ? meta
               : reader_fail(r, KW(invalid_metadata), at, "metadata is a map or a keyword");
}

static term_t merge_maps(struct process *p, term_t into, term_t from)
{
    struct map_cursor c;

    for (map_first(&c, from); !c.done && into != TERM_ERROR; map_next(&c)) {
        term_t key = c.key;
        term_t value = c.value;

        into = map_put(p, &into, &key, &value);
    }
    return into;
}

/* A copy of the object with a metadata slot. */
static term_t with_metadata(struct process *p, term_t t, term_t meta)
{
    size_t body = header_body_words(box_header(t));

    if (!heap_reserve(p, body + 1)) {
        return TERM_ERROR;
    }
    term_t *o = heap_take(p, body + 1);

    __builtin_memcpy(o, term_ptr(t), body * sizeof(*o));
    o[0] |= HEADER_META;
    o[body] = meta;
    return term_from_box(o);
}

static term_t note_symbol(struct process *p, term_t symbol, term_t meta)
{
    if (!heap_reserve(p, 3)) {
        return TERM_ERROR;
    }
    term_t *o = heap_take(p, 3);

    o[0] = header_make(TAG_NOTED, 0);
    o[1] = symbol;
    o[2] = meta;
    return term_from_box(o);
}

static void move_places(struct reader *r, term_t from, term_t to)
{
    size_t words = header_body_words(box_header(to));

    for (size_t i = 1; i < words; i++) {
        struct place at = place_table_get(&r->places, place_key_slot(term_ptr(from) + i));

        if (at.line != 0) {
            place_table_put(&r->places, r->vm, place_key_slot(term_ptr(to) + i), at);
        }
    }
}

static term_t annotate(struct reader *r, term_t form, term_t meta, struct place at)
{
    if (term_meta(form) != TERM_NIL) {
        meta = merge_maps(r->p, meta, term_meta(form));
    }
    if (meta == TERM_ERROR) {
        return TERM_ERROR;
    }
    if (term_is_symbol(form)) {
        return note_symbol(r->p, symbol_bare(form), meta);
    }
    if (term_is_list(form) || form == TERM_EMPTY) {
        return form;
    }
    if (!term_is_tuple(form) && !term_is_vector(form) && !term_is_map(form) && !term_is_set(form) &&
        !term_is_string(form)) {
        return reader_fail(r, KW(invalid_metadata), at, "this can't carry metadata");
    }
    term_t noted = with_metadata(r->p, form, meta);

    if (noted != TERM_ERROR) {
        move_places(r, form, noted);
        remember_form(r, noted, at);
    }
    return noted;
}

static term_t read_annotated(struct reader *r, struct place at)
{
    term_t t;
    enum item kind = reader_item(r, &t);

    if (kind == ITEM_ERROR) {
        return TERM_ERROR;
    }
    if (kind == ITEM_END) {
        return reader_fail_eof(r, at, "metadata needs a map or keyword after ^");
    }
    if (kind == ITEM_CLOSE) {
        return reader_fail(r, KW(invalid_metadata), at, "metadata needs a map or keyword after ^");
    }
    term_t meta = metadata_map(r, t, at);

    if (meta == TERM_ERROR) {
        return TERM_ERROR;
    }
    term_t form = reader_form(r, at, "metadata needs a form after it");

    return form == TERM_ERROR ? TERM_ERROR : annotate(r, form, meta, at);
}

/* #(...) */

static term_t anon_params(struct reader *r, struct place at)
{
    struct placeholders *a = &r->anon;
    size_t base = r->stack.count;

    for (unsigned i = 0; i < a->highest; i++) {
        term_t s = a->params[i] != 0 ? a->params[i] : reader_gensym(r, "p", 1);

        if (s == TERM_ERROR || !reader_push(r, s) || !reader_push(r, pack_place(at))) {
            return TERM_ERROR;
        }
    }
    if (a->rest != 0) {
        if (!reader_push(r, SYM(ampersand)) || !reader_push(r, pack_place(at)) ||
            !reader_push(r, a->rest) || !reader_push(r, pack_place(at))) {
            return TERM_ERROR;
        }
    }
    term_t t = pop_tuple(r, base);

    r->stack.count = base;
    return t;
}

static term_t read_anon_fn(struct reader *r, struct place at)
{
    struct placeholders *a = &r->anon;

    if (a->active) {
        return reader_fail(r, KW(nested_anon_fn), at, "#( inside #(");
    }
    if (a->params == NULL) {
        a->params = vm_alloc(r->vm, PLACEHOLDERS_MAX * sizeof(*a->params));
        if (a->params == NULL) {
            return raise_oom(r->p);
        }
    }
    __builtin_memset(a->params, 0, PLACEHOLDERS_MAX * sizeof(*a->params));
    a->rest = 0;
    a->highest = 0;
    a->plain = false;
    a->first = false;
    a->active = true;
    term_t body = read_collection(r, '(', ')', at);

    a->active = false;
    if (body == TERM_ERROR) {
        return TERM_ERROR;
    }
    if (a->plain && a->first) {
        return reader_fail(r, KW(mixed_placeholders), at, "% and %1 in one function");
    }
    term_t params = anon_params(r, at);

    return params == TERM_ERROR ? TERM_ERROR : reader_list(r, at, 3, SYM(fn_star), params, body);
}

/* ---- dispatch ---- */

static bool text_follows(const struct reader *r, const char *text, size_t n)
{
    return (size_t)(r->end - r->at) >= n && __builtin_memcmp(r->at, text, n) == 0;
}

static void skip_bytes(struct reader *r, size_t n)
{
    while (n-- > 0) {
        reader_advance(r);
    }
}

/* After '#'. */
static term_t read_dispatch(struct reader *r, struct place at)
{
    int32_t c = reader_peek(r);

    switch (c) {
    case CHAR_END:
        return reader_fail_eof(r, at, "# needs something after it");
    case '{':
        reader_advance(r);
        return read_collection(r, '#', '}', at);
    case '(':
        reader_advance(r);
        return read_anon_fn(r, at);
    case '\'':
        reader_advance(r);
        return read_quoted(r, SYM(var), at);
    case '#':
        return reader_special_float(r, at);
    default:
        break;
    }
    if (text_follows(r, "bytes", 5)) {
        skip_bytes(r, 5);
        return reader_bytes(r, at);
    }
    if (text_follows(r, "bits[", 5)) {
        skip_bytes(r, 5);
        return reader_bits(r, at);
    }
    return reader_fail(r, KW(unexpected_char), at, "no reader macro begins so");
}

static term_t read_prefixed(struct reader *r, int32_t c, struct place at)
{
    reader_advance(r);
    switch (c) {
    case '(':
        return read_collection(r, '(', ')', at);
    case '[':
        return read_collection(r, '[', ']', at);
    case '{':
        return read_collection(r, '{', '}', at);
    case '\'':
        return read_quoted(r, SYM(quote), at);
    case '`':
        return read_syntax_quote(r, at);
    case '~':
        return read_unquote(r, at);
    case '^':
        return read_annotated(r, at);
    default:
        return read_dispatch(r, at);
    }
}

static bool begins_number(const struct reader *r, int32_t c)
{
    return char_is_digit(c) || ((c == '+' || c == '-') && char_is_digit(reader_byte(r, 1)));
}

/* One form that begins at the next character, which is no spacing and no closer. */
static term_t read_form_at(struct reader *r, int32_t c)
{
    struct place at = r->here;

    switch (c) {
    case '(':
    case '[':
    case '{':
    case '\'':
    case '`':
    case '~':
    case '^':
    case '#':
        return read_prefixed(r, c, at);
    case '"':
        return reader_string(r);
    case '\\':
        return reader_char(r);
    case ':':
        return reader_keyword(r);
    case '%':
        if (reader_byte(r, 1) == '{') {
            reader_advance(r);
            reader_advance(r);
            return read_collection(r, '%', '}', at);
        }
        return reader_placeholder(r);
    case CHAR_INVALID:
        return reader_fail(r, KW(invalid_utf8), at, "the text is not UTF-8 here");
    default:
        break;
    }
    if (begins_number(r, c)) {
        return reader_number(r);
    }
    if (char_is_name_start(c)) {
        return reader_symbol(r);
    }
    return reader_fail(r, KW(unexpected_char), at, "no form begins with this character");
}

static void skip_comment(struct reader *r)
{
    while (r->at != r->end && *r->at != '\n') {
        reader_advance(r);
    }
}

enum item reader_item(struct reader *r, term_t *out)
{
    for (;;) {
        int32_t c = reader_peek(r);

        if (c == ';') {
            skip_comment(r);
        } else if (c == ',' || char_is_space(c)) {
            reader_advance(r);
        } else if (c == '#' && reader_byte(r, 1) == '_') {
            struct place at = r->here;

            skip_bytes(r, 2);
            if (reader_form(r, at, "#_ needs a form to drop") == TERM_ERROR) {
                return ITEM_ERROR;
            }
        } else if (c == CHAR_END) {
            return ITEM_END;
        } else if (c == ')' || c == ']' || c == '}') {
            return ITEM_CLOSE;
        } else {
            struct place at = r->here;

            if (r->depth == READ_DEPTH_MAX) {
                (void)reader_fail(r, KW(too_deep), at, "forms are nested too deeply");
                return ITEM_ERROR;
            }
            r->depth++;
            *out = read_form_at(r, c);
            r->depth--;
            r->form_place = at;
            return *out == TERM_ERROR ? ITEM_ERROR : ITEM_FORM;
        }
    }
}

term_t reader_form(struct reader *r, struct place after, const char *what)
{
    term_t t;

    if (r->depth == READ_DEPTH_MAX) {
        return reader_fail(r, KW(too_deep), after, "forms are nested too deeply");
    }
    r->depth++;
    enum item kind = reader_item(r, &t);

    r->depth--;
    switch (kind) {
    case ITEM_FORM:
        return t;
    case ITEM_END:
        return reader_fail_eof(r, after, what);
    case ITEM_CLOSE:
        return reader_fail(r, KW(unmatched_delimiter), r->here, what);
    case ITEM_ERROR:
        break;
    }
    return TERM_ERROR;
}

/* ---- the interface ---- */

struct reader *reader_create(struct process *p, const char *text, size_t size, const char *file)
{
    struct vm *vm = process_vm(p);
    struct reader *r = vm_alloc(vm, sizeof(*r));

    if (r == NULL) {
        return NULL;
    }
    *r = (struct reader){ .p = p,
                          .vm = vm,
                          .start = (const uint8_t *)text,
                          .at = (const uint8_t *)text,
                          .end = (const uint8_t *)text + size,
                          .file = file,
                          .here = { 1, 1 },
                          .form_place = { 1, 1 } };
    /* Both arrays are there from the start: no arithmetic on NULL. */
    if (!reader_push(r, TERM_NIL) || !buffer_put_byte(r, 0)) {
        reader_destroy(r);
        return NULL;
    }
    return r;
}

void reader_destroy(struct reader *r)
{
    if (r == NULL) {
        return;
    }
    struct vm *vm = r->vm;

    vm_free(vm, r->stack.terms, r->stack.capacity * sizeof(term_t));
    vm_free(vm, r->gensyms.terms, r->gensyms.capacity * sizeof(term_t));
    vm_free(vm, r->buffer.bytes, r->buffer.capacity);
    vm_free(vm, r->anon.params, r->anon.params == NULL ? 0 : PLACEHOLDERS_MAX * sizeof(term_t));
    place_table_deinit(&r->places, vm);
    vm_free(vm, r, sizeof(*r));
}

enum read_result reader_next(struct reader *r, term_t *form)
{
    r->stack.count = 0;
    r->depth = 0;
    r->quote_depth = 0;
    r->anon.active = false;
    r->incomplete = false;
    switch (reader_item(r, form)) {
    case ITEM_FORM:
        return READ_FORM;
    case ITEM_END:
        return READ_END;
    case ITEM_CLOSE:
        (void)reader_fail(r, KW(unmatched_delimiter), r->here, "nothing is open here");
        return READ_ERROR;
    case ITEM_ERROR:
        break;
    }
    return READ_ERROR;
}

bool reader_is_incomplete(const struct reader *r)
{
    return r->incomplete;
}

size_t reader_offset(const struct reader *r)
{
    return (size_t)(r->at - r->start);
}

struct place reader_here(const struct reader *r)
{
    return r->here;
}

void reader_start_at(struct reader *r, size_t offset, struct place here)
{
    assert(offset <= (size_t)(r->end - r->start));
    r->at = r->start + offset;
    r->here = here;
}

const char *reader_file(const struct reader *r)
{
    return r->file;
}

struct place reader_place(const struct reader *r)
{
    return r->form_place;
}

struct place reader_place_of(const struct reader *r, term_t form)
{
    return term_is_pointer(form) ? place_table_get(&r->places, place_key_form(form))
                                 : (struct place){ 0, 0 };
}

struct place reader_place_of_slot(const struct reader *r, const term_t *slot)
{
    return place_table_get(&r->places, place_key_slot(slot));
}
