/* SPDX-License-Identifier: Apache-2.0 */
/* Terms to text (section 3.6). Recursion goes only into elements, at most depth_max deep. */
#include "reader/printer.h"

#include "bounds.h"
#include "data/data.h"
#include "interp/code.h"
#include "native.h"
#include "number/number.h"
#include "reader/float_text.h"
#include "vm_state.h"

struct printer {
    struct vm *vm;
    print_out out;
    void *arg;
    unsigned depth;
    unsigned depth_max;
    unsigned list_max;
};

static void put(struct printer *p, const char *text, size_t n)
{
    p->out(p->arg, text, n);
}

static void put_text(struct printer *p, const char *text)
{
    put(p, text, __builtin_strlen(text));
}

static void put_number(struct printer *p, uint64_t v, unsigned radix, unsigned digits_min,
                       bool upper)
{
    char text[64];
    size_t at = sizeof(text);

    do {
        unsigned d = (unsigned)(v % radix);

        text[--at] = (char)(d < 10 ? '0' + d : (upper ? 'A' : 'a') + d - 10);
        v /= radix;
    } while (v != 0 || sizeof(text) - at < digits_min);
    put(p, text + at, sizeof(text) - at);
}

static void put_signed(struct printer *p, int64_t v)
{
    if (v < 0) {
        put(p, "-", 1);
    }
    put_number(p, v < 0 ? -(uint64_t)v : (uint64_t)v, 10, 1, false);
}

static void print(struct printer *p, term_t t);

/* ---- text ---- */

static size_t encode_char(uint32_t c, char *to)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    unsigned extra = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

    to[0] = (char)((0xF0U << (3 - extra)) | c >> 6 * extra);
    for (unsigned i = 1; i <= extra; i++) {
        to[i] = (char)(0x80 | (c >> 6 * (extra - i) & 0x3F));
    }
    return extra + 1;
}

static void put_char(struct printer *p, uint32_t c)
{
    char text[4];

    put(p, text, encode_char(c, text));
}

static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0);
}

static void print_char(struct printer *p, uint32_t c)
{
    put(p, "\\", 1);
    switch (c) {
    case '\n':
        put_text(p, "newline");
        return;
    case ' ':
        put_text(p, "space");
        return;
    case '\t':
        put_text(p, "tab");
        return;
    case '\r':
        put_text(p, "return");
        return;
    default:
        break;
    }
    if (is_control(c) || c == 0xFEFF || (c >= 0x2000 && c <= 0x200F) || c == 0x2028 ||
        c == 0x2029) {
        put(p, "u", 1);
        put_number(p, c, 16, 4, true);
    } else {
        put_char(p, c);
    }
}

static const char *escape_of(uint8_t c)
{
    switch (c) {
    case '\n':
        return "\\n";
    case '\t':
        return "\\t";
    case '\r':
        return "\\r";
    case '\\':
        return "\\\\";
    case '"':
        return "\\\"";
    default:
        return NULL;
    }
}

static void print_string(struct printer *p, const char *text, size_t n)
{
    size_t from = 0;

    put(p, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)text[i];
        const char *escape = escape_of(c);

        if (escape == NULL && c >= 0x20 && c != 0x7F) {
            continue;
        }
        put(p, text + from, i - from);
        if (escape != NULL) {
            put_text(p, escape);
        } else {
            put_text(p, "\\u");
            put_number(p, c, 16, 4, true);
        }
        from = i + 1;
    }
    put(p, text + from, n - from);
    put(p, "\"", 1);
}

static void put_name(struct printer *p, term_t t)
{
    const struct name *n = realm_name(p->vm, t);

    put(p, n->text, n->size);
}

/* ---- numbers ---- */

static void print_big(struct printer *p, term_t t)
{
    size_t n = integer_text_max(t, 10);
    char *text = vm_alloc(p->vm, n);

    if (text == NULL) {
        put_text(p, "#<integer>");
        return;
    }
    put(p, text, integer_to_text(t, 10, text, n));
    vm_free(p->vm, text, n);
}

static void print_integer(struct printer *p, term_t t)
{
    if (term_is_small(t)) {
        put_signed(p, small_value(t));
    } else {
        print_big(p, t);
    }
}

static void print_fixint(struct printer *p, term_t t)
{
    static const char *const suffix[] = { "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64" };
    enum fixint_kind kind = fixint_kind_of(t);

    if (kind >= FIX_I8) {
        put_signed(p, (int64_t)fixint_payload(t));
    } else {
        put_number(p, fixint_payload(t), 10, 1, false);
    }
    put_text(p, suffix[kind]);
}

static void print_float(struct printer *p, term_t t)
{
    char text[40];

    put(p, text, double_to_text(float_value(t), text));
}

static void print_f32(struct printer *p, term_t t)
{
    uint32_t bits = (uint32_t)term_ptr(t)[1];
    char text[40];
    float f;

    __builtin_memcpy(&f, &bits, sizeof(f));
    put(p, text, f32_to_text(f, text));
    if (!__builtin_isnan(f) && !__builtin_isinf(f)) {
        put_text(p, "f32");
    }
}

/* ---- collections ---- */

static void put_separator(struct printer *p, size_t i)
{
    if (i != 0) {
        put(p, " ", 1);
    }
}

static void print_list(struct printer *p, term_t t)
{
    size_t i = 0;

    put(p, "(", 1);
    for (; term_is_list(t); t = pair_rest(t), i++) {
        put_separator(p, i);
        if (i == p->list_max) {
            put_text(p, "...)");
            return;
        }
        print(p, pair_head(t));
    }
    if (t != TERM_EMPTY) {
        put_text(p, " . ");
        print(p, t);
    }
    put(p, ")", 1);
}

static void print_tuple(struct printer *p, term_t t)
{
    put(p, "[", 1);
    for (size_t i = 0; i < tuple_count(t); i++) {
        put_separator(p, i);
        print(p, tuple_get(t, i));
    }
    put(p, "]", 1);
}

static void print_vector(struct printer *p, term_t t)
{
    put(p, "{", 1);
    for (size_t i = 0; i < vector_count(t); i++) {
        put_separator(p, i);
        print(p, vector_get(t, i));
    }
    put(p, "}", 1);
}

static void print_entries(struct printer *p, term_t t, const char *open)
{
    struct map_cursor c;
    size_t i = 0;

    put_text(p, open);
    for (map_first(&c, t); !c.done; map_next(&c), i++) {
        put_separator(p, i);
        print(p, c.key);
        if (term_is_map(t)) {
            put(p, " ", 1);
            print(p, c.value);
        }
    }
    put(p, "}", 1);
}

static void print_binary(struct printer *p, term_t t)
{
    struct bytes_view b = binary_view(t);

    put_text(p, "#bytes[");
    for (size_t i = 0; i < b.size; i++) {
        put_text(p, i == 0 ? "0x" : " 0x");
        put_number(p, b.data[i], 16, 2, true);
    }
    put(p, "]", 1);
}

/* ---- functions and the rest ---- */

static void print_function(struct printer *p, term_t t)
{
    const struct fun *f = term_fun(term_has_tag(t, TAG_CLOSURE) ? term_ptr(t)[1] : t);

    put_text(p, "#<fn ");
    if (f->name != TERM_NIL) {
        put_name(p, f->name);
    }
    put(p, "/", 1);
    put_number(p, f->params, 10, 1, false);
    put_text(p, f->variadic ? "+>" : ">");
}

static void print_native(struct printer *p, term_t t)
{
    const struct native *n = native_id(t) < native_count() ? native_by_id(native_id(t)) : NULL;

    put_text(p, "#<native ");
    put_text(p, n == NULL ? "?" : n->name);
    put(p, ">", 1);
}

static void print_var(struct printer *p, term_t t)
{
    const struct var *v = term_var(t);

    put_text(p, "#'");
    put_name(p, ns_name(term_ns(v->ns)));
    put(p, "/", 1);
    put_name(p, v->name);
}

static void print_pid(struct printer *p, term_t t)
{
    put_text(p, "#<pid 0.");
    put_number(p, pid_index(t), 10, 1, false);
    put(p, ".", 1);
    put_number(p, pid_generation(t), 10, 1, false);
    put(p, ">", 1);
}

static void print_word(struct printer *p, const char *before, uint64_t v, unsigned radix)
{
    put_text(p, before);
    put_number(p, v, radix, 1, false);
    put(p, ">", 1);
}

static void print_boxed(struct printer *p, term_t t)
{
    switch (header_tag(box_header(t))) {
    case TAG_TUPLE:
        print_tuple(p, t);
        return;
    case TAG_VECTOR:
        print_vector(p, t);
        return;
    case TAG_MAP:
        print_entries(p, t, "%{");
        return;
    case TAG_SET:
        print_entries(p, t, "#{");
        return;
    case TAG_STRING:
        print_string(p, string_data(t), string_bytes(t));
        return;
    case TAG_BINARY:
    case TAG_PROCBIN:
    case TAG_SUBBIN:
        print_binary(p, t);
        return;
    case TAG_BIGNUM:
        print_big(p, t);
        put(p, "N", 1);
        return;
    case TAG_FLOAT:
        print_float(p, t);
        return;
    case TAG_F32:
        print_f32(p, t);
        return;
    case TAG_FIXINT:
        print_fixint(p, t);
        return;
    case TAG_RATIO:
        print_integer(p, term_ptr(t)[1]);
        put(p, "/", 1);
        print_integer(p, term_ptr(t)[2]);
        return;
    case TAG_NOTED:
        put_name(p, term_ptr(t)[1]);
        return;
    case TAG_FUN:
    case TAG_CLOSURE:
        print_function(p, t);
        return;
    case TAG_PID:
        print_pid(p, t);
        return;
    case TAG_REF:
        print_word(p, "#<ref ", term_ptr(t)[1], 10);
        return;
    case TAG_VAR:
        print_var(p, t);
        return;
    case TAG_NAMESPACE:
        put_text(p, "#<ns ");
        put_name(p, ns_name(term_ns(t)));
        put(p, ">", 1);
        return;
    case TAG_BYTEBUF:
        print_word(p, "#<bytebuf ", bytebuf_view(t).size, 10);
        return;
    case TAG_PADDR:
        print_word(p, "#paddr<0x", term_ptr(t)[1], 16);
        return;
    case TAG_VADDR:
        print_word(p, "#vaddr<0x", term_ptr(t)[1], 16);
        return;
    case TAG_VECTOR_NODE:
    case TAG_NODE:
    case TAG_FORWARD:
        break;
    }
    put_text(p, "#<object>");
}

static void print_immediate(struct printer *p, term_t t)
{
    if (term_is_small(t)) {
        put_signed(p, small_value(t));
    } else if (term_is_symbol_word(t)) {
        put_name(p, t);
    } else if (term_is_keyword(t)) {
        put(p, ":", 1);
        put_name(p, t);
    } else if (term_is_char(t)) {
        print_char(p, char_value(t));
    } else if (term_is_native(t)) {
        print_native(p, t);
    } else {
        put_text(p, t == TERM_NIL     ? "nil"
                    : t == TERM_TRUE  ? "true"
                    : t == TERM_FALSE ? "false"
                    : t == TERM_EMPTY ? "()"
                                      : "#<unbound>");
    }
}

static void print(struct printer *p, term_t t)
{
    if (!term_is_pointer(t)) {
        print_immediate(p, t);
        return;
    }
    if (p->depth == p->depth_max) {
        put_text(p, "...");
        return;
    }
    p->depth++;
    if (term_is_list(t)) {
        print_list(p, t);
    } else {
        print_boxed(p, t);
    }
    p->depth--;
}

void term_print(struct vm *vm, term_t t, const struct print_options *options, print_out out,
                void *arg)
{
    struct printer p = { .vm = vm, .out = out, .arg = arg };
    bool display = options != NULL && options->display;

    p.depth_max = options != NULL && options->depth_max != 0 ? options->depth_max : PRINT_DEPTH_MAX;
    p.list_max = options != NULL && options->list_max != 0 ? options->list_max : PRINT_LIST_MAX;
    if (display && term_is_string(t)) {
        put(&p, string_data(t), string_bytes(t));
    } else if (display && term_is_char(t)) {
        put_char(&p, char_value(t));
    } else {
        print(&p, t);
    }
}
