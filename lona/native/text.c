/* SPDX-License-Identifier: Apache-2.0 */
/* lona.core: text and names (6.5), and writing to the console for system code. */
#include "data/data.h"
#include "gc/memory.h"
#include "native.h"
#include "number/number.h"
#include "reader/printer.h"
#include "vm_state.h"

/* Text that grows in the worker's arena while a native builds it. */
struct text {
    struct process *p;
    char *data;
    size_t size;
    size_t capacity;
    bool failed;
};

static void text_put(void *arg, const char *s, size_t n)
{
    struct text *t = arg;

    if (t->failed || n == 0) {
        return;
    }
    if (n > t->capacity - t->size) {
        size_t capacity = max_of(t->capacity * 2, t->size + n + 64);
        char *data =
            n > ((size_t)1 << 32) - t->size ? NULL : arena_alloc(process_arena(t->p), capacity);

        if (data == NULL) {
            t->failed = true;
            return;
        }
        if (t->size != 0) {
            __builtin_memcpy(data, t->data, t->size);
        }
        arena_free(process_arena(t->p), t->data, t->capacity);
        t->data = data;
        t->capacity = capacity;
    }
    __builtin_memcpy(t->data + t->size, s, n);
    t->size += n;
}

/* The text as a string; frees the buffer. */
static term_t text_finish(struct text *t)
{
    term_t s =
        t->failed ? raise_oom(t->p) : heap_string(t->p, t->data == NULL ? "" : t->data, t->size);

    process_charge(t->p, t->size / 64);
    arena_free(process_arena(t->p), t->data, t->capacity);
    return s;
}

static const struct print_options display = { .display = true,
                                              .list_max = UINT32_MAX,
                                              .depth_max = 1000 };
static const struct print_options readable = { .list_max = UINT32_MAX, .depth_max = 1000 };

static term_t str(struct process *p, term_t *args, unsigned argc)
{
    struct text t = { .p = p };

    for (unsigned i = 0; i < argc; i++) {
        if (term_is_string(args[i])) {
            text_put(&t, string_data(args[i]), string_bytes(args[i]));
        } else if (args[i] != TERM_NIL) {
            term_print(process_vm(p), args[i], &display, text_put, &t);
        }
    }
    return text_finish(&t);
}

/* (print-string x): as the printer writes it, readably. */
static term_t print_string(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    struct text t = { .p = p };

    term_print(process_vm(p), args[0], &readable, text_put, &t);
    return text_finish(&t);
}

/* (print-radix n radix): digits of an integer. */
static term_t print_radix(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    uint64_t radix;

    if (!term_is_integer(args[0])) {
        return raise_type(p, "print-radix", 0, KW(integer), args[0]);
    }
    if (!arg_size(args[1], 36, &radix) || radix < 2) {
        return raise_badarg(p, "print-radix", args, 2);
    }
    size_t max = integer_text_max(args[0], (unsigned)radix);
    char *text = arena_alloc(process_arena(p), max);

    if (text == NULL) {
        return raise_oom(p);
    }
    size_t n = integer_to_text(args[0], (unsigned)radix, text, max);
    term_t s = heap_string(p, text, n);

    arena_free(process_arena(p), text, max);
    return s;
}

/* ---- substrings ---- */

static size_t code_points(term_t s)
{
    size_t n = 0;

    for (size_t i = 0; i < string_bytes(s); i++) {
        n += (string_data(s)[i] & 0xC0) != 0x80;
    }
    return n;
}

/* Byte offset of code point i <= count, from a byte offset where code point `from` begins. */
static size_t byte_offset(term_t s, size_t at, size_t from, size_t i)
{
    const char *text = string_data(s);

    if (string_is_ascii(s)) {
        return i;
    }
    for (; from < i; from++) {
        do {
            at++;
        } while (at < string_bytes(s) && (text[at] & 0xC0) == 0x80);
    }
    return at;
}

static term_t subs(struct process *p, term_t *args, unsigned argc)
{
    if (!term_is_string(args[0])) {
        return raise_type(p, "subs", 0, KW(string), args[0]);
    }
    size_t count = string_is_ascii(args[0]) ? string_bytes(args[0]) : code_points(args[0]);
    uint64_t from;
    uint64_t to = count;

    for (unsigned i = 1; i < argc; i++) {
        if (!term_is_small(args[i])) {
            return raise_type(p, "subs", i, KW(integer), args[i]);
        }
    }
    if (!arg_size(args[1], count, &from)) {
        return raise_index(p, args[1], count);
    }
    if (argc == 3 && (!arg_size(args[2], count, &to) || to < from)) {
        return raise_index(p, args[2], count);
    }
    size_t start = byte_offset(args[0], 0, 0, from);
    size_t end = byte_offset(args[0], start, from, to);
    size_t words = STRING_WORDS(end - start);

    if (!heap_reserve(p, words)) {
        return TERM_ERROR;
    }
    process_charge(p, (end - start) / 64);
    term_t *o = heap_take(p, words);
    const char *text = string_data(args[0]) + start;
    bool ascii = true;

    o[words - 1] = 0;
    __builtin_memcpy(o + 1, text, end - start);
    for (size_t i = 0; i < end - start; i++) {
        ascii &= (text[i] & 0x80) == 0;
    }
    o[0] = header_make(TAG_STRING, (uint64_t)(end - start) | (ascii ? STRING_ASCII : 0));
    return term_from_box(o);
}

/* Byte positions are no use to Lonala; (index-of s part from) counts code points. nil if absent. */
static term_t index_of(struct process *p, term_t *args, unsigned argc)
{
    for (unsigned i = 0; i < 2; i++) {
        if (!term_is_string(args[i])) {
            return raise_type(p, "index-of", i, KW(string), args[i]);
        }
    }
    size_t count = string_is_ascii(args[0]) ? string_bytes(args[0]) : code_points(args[0]);
    uint64_t from = 0;

    if (argc == 3 && !arg_size(args[2], count, &from)) {
        return raise_index(p, args[2], count);
    }
    const char *text = string_data(args[0]);
    size_t n = string_bytes(args[0]);
    size_t k = string_bytes(args[1]);
    size_t at = byte_offset(args[0], 0, 0, from);

    process_charge(p, (n - at) / 64);
    for (size_t start = at; k <= n && start <= n - k; start++) {
        if (__builtin_memcmp(text + start, string_data(args[1]), k) == 0 &&
            (start == n || (text[start] & 0xC0) != 0x80)) {
            size_t index = from;

            for (size_t i = at; i < start; i++) {
                index += (text[i] & 0xC0) != 0x80;
            }
            return term_small((int64_t)index);
        }
    }
    return TERM_NIL;
}

static bool string_is_one_of(char c, term_t set)
{
    for (size_t i = 0; i < string_bytes(set); i++) {
        if (string_data(set)[i] == c) {
            return true;
        }
    }
    return false;
}

/* (split s separators): the pieces between ASCII separator characters, empty ones left out. */
static term_t split(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    for (unsigned i = 0; i < 2; i++) {
        if (!term_is_string(args[i])) {
            return raise_type(p, "split", i, KW(string), args[i]);
        }
    }
    if (!string_is_ascii(args[1])) {
        return raise_badarg(p, "split", args, 2);
    }
    size_t n = string_bytes(args[0]);
    term_t list = TERM_EMPTY;
    struct root r;

    root_push(p, &r, &list);
    process_charge(p, n / 32);
    for (size_t end = n; end > 0;) { /* from the back, so that the list comes out in order */
        while (end > 0 && string_is_one_of(string_data(args[0])[end - 1], args[1])) {
            end--;
        }
        size_t start = end;

        while (start > 0 && !string_is_one_of(string_data(args[0])[start - 1], args[1])) {
            start--;
        }
        if (start == end) {
            break;
        }
        size_t words = STRING_WORDS(end - start);

        if (!heap_reserve(p, words + PAIR_WORDS)) {
            list = TERM_ERROR;
            break;
        }
        term_t *o = heap_take(p, words);
        const char *text = string_data(args[0]) + start;
        bool ascii = string_is_ascii(args[0]);

        o[words - 1] = 0;
        o[0] = header_make(TAG_STRING, (uint64_t)(end - start) | (ascii ? STRING_ASCII : 0));
        __builtin_memcpy(o + 1, text, end - start);
        list = heap_pair(p, term_from_box(o), list);
        end = start;
    }
    root_pop(p, &r);
    return list;
}

/* ---- names ---- */

/* Text of a string, symbol or keyword argument; false for anything else. Valid until a reservation.
 */
static bool name_text(struct process *p, term_t t, const char **text, size_t *n)
{
    if (term_is_string(t)) {
        *text = string_data(t);
        *n = string_bytes(t);
        return true;
    }
    if (term_is_symbol(t) || term_is_keyword(t)) {
        const struct name *name =
            realm_name(process_vm(p), term_is_keyword(t) ? t : symbol_bare(t));

        *text = name->text;
        *n = name->size;
        return true;
    }
    return false;
}

static bool is_name_byte(uint8_t c, bool first)
{
    if (c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
        return true;
    }
    if ((c >= '0' && c <= '9') || c == '\'' || c == ':' || c == '#') {
        return !first;
    }
    for (const char *s = "!$&*+-./<=>?_%"; *s != '\0'; s++) {
        if (c == (uint8_t)*s) {
            return true;
        }
    }
    return false;
}

static bool is_legal_name(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_name_byte((uint8_t)text[i], i == 0)) {
            return false;
        }
    }
    return n > 0;
}

static term_t make_name(struct process *p, const term_t *args, unsigned argc, bool keyword)
{
    const char *fn = keyword ? "keyword" : "symbol";
    struct text t = { .p = p };

    for (unsigned i = 0; i < argc; i++) {
        const char *text;
        size_t n;

        if (!name_text(p, args[i], &text, &n)) {
            arena_free(process_arena(p), t.data, t.capacity);
            return raise_type(p, fn, i, KW(string), args[i]);
        }
        text_put(&t, text, n);
        if (i + 1 < argc) {
            text_put(&t, "/", 1);
        }
    }
    term_t r = t.failed ? raise_oom(p) : TERM_ERROR;

    if (!t.failed) {
        if (!is_legal_name(t.data, t.size)) {
            r = raise_badarg(p, fn, args, argc);
        } else {
            r = keyword ? realm_keyword(process_vm(p), t.data, t.size)
                        : realm_symbol(process_vm(p), t.data, t.size);
            r = r == 0 ? raise_oom(p) : r;
        }
    }
    arena_free(process_arena(p), t.data, t.capacity);
    return r;
}

static term_t symbol(struct process *p, term_t *args, unsigned argc)
{
    return make_name(p, args, argc, false);
}

static term_t keyword(struct process *p, term_t *args, unsigned argc)
{
    return make_name(p, args, argc, true);
}

static term_t name_part(struct process *p, term_t t, bool want_ns, const char *fn)
{
    if (!term_is_symbol(t) && !term_is_keyword(t)) {
        return raise_type(p, fn, 0, KW(symbol), t);
    }
    const struct name *n = realm_name(process_vm(p), term_is_keyword(t) ? t : symbol_bare(t));

    if (want_ns) {
        return n->slash == 0 ? TERM_NIL : heap_string(p, n->text, n->slash);
    }
    size_t start = n->slash == 0 ? 0 : n->slash + 1;

    return heap_string(p, n->text + start, n->size - start);
}

static term_t name(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return name_part(p, args[0], false, "name");
}

static term_t namespace(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return name_part(p, args[0], true, "namespace");
}

/* G__n or prefix__n */
static term_t gensym(struct process *p, term_t *args, unsigned argc)
{
    struct text t = { .p = p };
    const char *text = "G";
    size_t n = 1;

    if (argc == 1 && !name_text(p, args[0], &text, &n)) {
        return raise_type(p, "gensym", 0, KW(string), args[0]);
    }
    char digits[24];
    size_t k = integer_to_text(term_small((int64_t)realm_next_gensym(process_vm(p))), 10, digits,
                               sizeof(digits));

    text_put(&t, text, n);
    text_put(&t, "__", 2);
    text_put(&t, digits, k);
    term_t r = t.failed ? 0 : realm_symbol(process_vm(p), t.data, t.size);

    arena_free(process_arena(p), t.data, t.capacity);
    return r == 0 ? raise_oom(p) : r;
}

/* ---- numbers and lists from and to text ---- */

static term_t chars_to_string(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    struct text t = { .p = p };
    term_t l = args[0];

    for (; term_is_list(l); l = pair_rest(l)) {
        if (!term_is_char(pair_head(l)) && !term_is_string(pair_head(l))) {
            arena_free(process_arena(p), t.data, t.capacity);
            return raise_type(p, "list->string", 0, KW(char), pair_head(l));
        }
        if (term_is_string(pair_head(l))) {
            text_put(&t, string_data(pair_head(l)), string_bytes(pair_head(l)));
        } else {
            term_print(process_vm(p), pair_head(l), &display, text_put, &t);
        }
    }
    if (l != TERM_EMPTY && l != TERM_NIL) {
        arena_free(process_arena(p), t.data, t.capacity);
        return raise_type(p, "list->string", 0, KW(list), args[0]);
    }
    return text_finish(&t);
}

static term_t char_code(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return term_is_char(args[0]) ? term_small(char_value(args[0]))
                                 : raise_type(p, "char-code", 0, KW(char), args[0]);
}

/* Writes its arguments at once, strings raw. */
static term_t kprint(struct process *p, term_t *args, unsigned argc)
{
    struct text t = { .p = p };
    const struct platform *pf = &process_vm(p)->platform;

    for (unsigned i = 0; i < argc; i++) {
        term_print(process_vm(p), args[i], &display, text_put, &t);
    }
    bool failed = t.failed;

    if (!failed && t.size > 0) {
        (void)pf->console_write(pf->self, PLATFORM_STDOUT, t.data, t.size);
    }
    arena_free(process_arena(p), t.data, t.capacity);
    return failed ? raise_oom(p) : TERM_NIL;
}

#define PURE (NATIVE_PURE | NATIVE_ALLOCATES)
#define ANY  NATIVE_VARIADIC

static const struct native rows[] = {
    { "lona.core", "str", str, 0, ANY, PURE, 3, "(x…)",
      "The text of all: strings and characters raw, nil empty." },
    { "lona.core", "print-string", print_string, 1, 1, PURE, 5, "(x)",
      "The text that reads back as x." },
    { "lona.core", "print-radix", print_radix, 2, 2, PURE, 5, "(n radix)",
      "Digits of an integer." },
    { "lona.core", "subs", subs, 2, 3, PURE, 3, "(s from)\n(s from to)",
      "Substring by code points." },
    { "lona.core", "index-of", index_of, 2, 3, PURE, 3, "(s part)\n(s part from)",
      "Where part first occurs, or nil." },
    { "lona.core", "split", split, 2, 2, PURE, 5, "(s separators)",
      "List of the pieces between separator characters." },
    { "lona.core", "symbol", symbol, 1, 2, PURE, 5, "(n)\n(ns n)", "The symbol of that name." },
    { "lona.core", "keyword", keyword, 1, 2, PURE, 5, "(n)\n(ns n)", "The keyword of that name." },
    { "lona.core", "name", name, 1, 1, PURE, 3, "(x)", "Name part of a symbol or keyword." },
    { "lona.core", "namespace", namespace, 1, 1, PURE, 3, "(x)", "Namespace part, or nil." },
    { "lona.core", "gensym", gensym, 0, 1, NATIVE_ALLOCATES, 5, "()\n(prefix)", "A fresh symbol." },
    { "lona.core", "list->string", chars_to_string, 1, 1, PURE, 5, "(chars)",
      "A string of characters and strings." },
    { "lona.core", "char-code", char_code, 1, 1, NATIVE_PURE, 1, "(c)",
      "Code point of a character." },
    { "lona.core", "kprint", kprint, 0, ANY, NATIVE_ALLOCATES, 10, "(x…)",
      "Write to the console." },
};

const struct native_table native_text = { rows, array_size(rows) };
