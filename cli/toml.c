/* SPDX-License-Identifier: Apache-2.0 */
/* TOML: tables, keys, arrays; scalars are in toml_scalar.c. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/assert.h>

#include "files.h"
#include "toml_internal.h"

/* Who made a table decides who may add to it (TOML 1.0, "Table" and "Inline Table"). */
enum table_origin {
    TABLE_IMPLICIT, /* on the way of a header: a header may still define it */
    TABLE_HEADER,   /* defined by a header: no more definitions */
    TABLE_DOTTED,   /* by dotted keys: more dotted keys may add to it, no header may define it */
    TABLE_INLINE,   /* closed */
};

#define KEY_PARTS_MAX TOML_DEPTH_MAX

struct key_part {
    struct toml_text text;
    uint32_t line;
    uint32_t column;
};

struct key_path {
    struct key_part parts[KEY_PARTS_MAX];
    unsigned count;
};

/* ---- Arena and errors ------------------------------------------------------------------------ */

struct toml_block {
    struct toml_block *next;
    size_t used;
    size_t size;
    _Alignas(16) char bytes[];
};

void *toml_alloc(struct toml_parser *s, size_t size)
{
    struct toml_block *b = s->doc->blocks;

    size = align_up(size, (size_t)16);
    if (!b || b->size - b->used < size) {
        size_t block_size = max_of(size, (size_t)8192);

        b = alloc_zeroed(1, sizeof(*b) + block_size);
        b->size = block_size;
        b->next = s->doc->blocks;
        s->doc->blocks = b;
    }
    void *p = b->bytes + b->used;

    b->used += size;
    assert(b->used <= b->size);
    return p;
}

struct toml_text toml_keep(struct toml_parser *s, const char *data, size_t size)
{
    char *copy = toml_alloc(s, size + 1);

    if (size) {
        memcpy(copy, data, size);
    }
    copy[size] = '\0';
    return (struct toml_text){ copy, size };
}

uint32_t toml_column(const struct toml_parser *s)
{
    return (uint32_t)(s->p - s->line_start) + 1;
}

bool toml_fail(struct toml_parser *s, const char *format, ...)
{
    va_list args;

    if (s->error->line != 0) {
        return false;
    }
    s->error->line = s->line;
    s->error->column = toml_column(s);
    va_start(args, format);
    (void)vsnprintf(s->error->text, sizeof(s->error->text), format, args);
    va_end(args);
    for (char *c = s->error->text; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
    return false;
}

static bool fail_at(struct toml_parser *s, const struct key_part *part, const char *what)
{
    if (s->error->line == 0) {
        (void)toml_fail(s, "%s \"%.60s\"", what, part->text.data);
        s->error->line = part->line;
        s->error->column = part->column;
    }
    return false;
}

/* ---- Space and comments ---------------------------------------------------------------------- */

bool toml_looks_at(const struct toml_parser *s, const char *text)
{
    size_t size = strlen(text);

    return (size_t)(s->end - s->p) >= size && memcmp(s->p, text, size) == 0;
}

bool toml_skip_newline(struct toml_parser *s)
{
    if (toml_looks_at(s, "\r\n")) {
        s->p += 2;
    } else if (toml_looks_at(s, "\n")) {
        s->p++;
    } else {
        return false;
    }
    s->line++;
    s->line_start = s->p;
    return true;
}

static void skip_blanks(struct toml_parser *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t')) {
        s->p++;
    }
}

static bool skip_comment(struct toml_parser *s)
{
    if (!toml_looks_at(s, "#")) {
        return true;
    }
    while (s->p < s->end && *s->p != '\n' && !toml_looks_at(s, "\r\n")) {
        unsigned length = toml_utf8_length(s->p, s->end);

        if (length == 0 || ((unsigned char)*s->p < 0x20 && *s->p != '\t') || *s->p == 0x7f) {
            return toml_fail(s, "a comment must be UTF-8 without control characters");
        }
        s->p += length;
    }
    return true;
}

/* Blanks, an optional comment, then the end of the line or of the text. */
static bool expect_line_end(struct toml_parser *s)
{
    skip_blanks(s);
    if (!skip_comment(s)) {
        return false;
    }
    if (s->p == s->end || toml_skip_newline(s)) {
        return true;
    }
    return toml_fail(s, "expected the end of the line");
}

/* Between the elements of an array, new lines and comments are space. */
static bool skip_space_and_lines(struct toml_parser *s)
{
    do {
        skip_blanks(s);
        if (!skip_comment(s)) {
            return false;
        }
    } while (toml_skip_newline(s));
    return true;
}

/* ---- Keys ------------------------------------------------------------------------------------ */

static bool is_bare_key_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static bool parse_key_part(struct toml_parser *s, struct key_part *part)
{
    const char *start = s->p;

    part->line = s->line;
    part->column = toml_column(s);
    if (s->p < s->end && (*s->p == '"' || *s->p == '\'')) {
        return toml_parse_string(s, false, &part->text);
    }
    while (s->p < s->end && is_bare_key_byte(*s->p)) {
        s->p++;
    }
    if (s->p == start) {
        return toml_fail(s, "expected a key");
    }
    part->text = toml_keep(s, start, (size_t)(s->p - start));
    return true;
}

static bool parse_key(struct toml_parser *s, struct key_path *path)
{
    path->count = 0;
    for (;;) {
        if (path->count == KEY_PARTS_MAX) {
            return toml_fail(s, "more than %u parts in one key", KEY_PARTS_MAX);
        }
        skip_blanks(s);
        if (!parse_key_part(s, &path->parts[path->count])) {
            return false;
        }
        path->count++;
        skip_blanks(s);
        if (!toml_looks_at(s, ".")) {
            return true;
        }
        s->p++;
    }
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static struct toml_entry *find_entry(const struct toml_table *t, const struct toml_text *key)
{
    for (struct toml_entry *e = t->first; e; e = e->next) {
        if (e->key.size == key->size && memcmp(e->key.data, key->data, key->size) == 0) {
            return e;
        }
    }
    return NULL;
}

static struct toml_entry *add_entry(struct toml_parser *s, struct toml_table *t,
                                    const struct key_part *part)
{
    if (++s->keys > TOML_KEYS_MAX) {
        (void)toml_fail(s, "more than %u keys", TOML_KEYS_MAX);
        return NULL;
    }
    struct toml_entry *e = toml_alloc(s, sizeof(*e));

    *e = (struct toml_entry){ .key = part->text, .line = part->line, .column = part->column };
    e->value.line = part->line;
    e->value.column = part->column;
    if (t->last) {
        t->last->next = e;
    } else {
        t->first = e;
    }
    t->last = e;
    return e;
}

static struct toml_table *new_table(struct toml_parser *s, enum table_origin origin)
{
    struct toml_table *t = toml_alloc(s, sizeof(*t));

    *t = (struct toml_table){ .origin = (uint8_t)origin };
    return t;
}

static struct toml_table *add_table(struct toml_parser *s, struct toml_table *parent,
                                    const struct key_part *part, enum table_origin origin)
{
    struct toml_entry *e = add_entry(s, parent, part);

    if (!e) {
        return NULL;
    }
    e->value.type = TOML_TABLE;
    e->value.table = new_table(s, origin);
    return e->value.table;
}

static bool array_push(struct toml_parser *s, struct toml_array *a, const struct toml_value *v)
{
    if (a->count == a->capacity) {
        size_t capacity = max_of(a->capacity * 2, (size_t)4);
        struct toml_value *values = toml_alloc(s, capacity * sizeof(*values));

        if (a->count) {
            memcpy(values, a->values, a->count * sizeof(*values));
        }
        a->values = values;
        a->capacity = capacity;
    }
    a->values[a->count++] = *v;
    return true;
}

/* One step of a header's path: a table that is there, or a new implicit one. */
static struct toml_table *step_header(struct toml_parser *s, struct toml_table *t,
                                      const struct key_part *part)
{
    struct toml_entry *e = find_entry(t, &part->text);

    if (!e) {
        return add_table(s, t, part, TABLE_IMPLICIT);
    }
    if (e->value.type == TOML_TABLE && e->value.table->origin != TABLE_INLINE) {
        return e->value.table;
    }
    if (e->value.type == TOML_ARRAY && e->value.array->is_of_tables) {
        const struct toml_array *a = e->value.array;

        assert(a->count > 0);
        return a->values[a->count - 1].table;
    }
    (void)fail_at(s, part, "not a table that can be extended:");
    return NULL;
}

/* [a.b]: the last part becomes a table that no header defined before. */
static struct toml_table *define_table(struct toml_parser *s, struct toml_table *parent,
                                       const struct key_part *part)
{
    struct toml_entry *e = find_entry(parent, &part->text);

    if (!e) {
        return add_table(s, parent, part, TABLE_HEADER);
    }
    if (e->value.type == TOML_TABLE && e->value.table->origin == TABLE_IMPLICIT) {
        e->value.table->origin = TABLE_HEADER;
        return e->value.table;
    }
    (void)fail_at(s, part, "defined twice:");
    return NULL;
}

/* [[a.b]]: the last part is an array of tables, which grows by one. */
static struct toml_table *append_table(struct toml_parser *s, struct toml_table *parent,
                                       const struct key_part *part)
{
    struct toml_entry *e = find_entry(parent, &part->text);

    if (!e) {
        e = add_entry(s, parent, part);
        if (!e) {
            return NULL;
        }
        e->value.type = TOML_ARRAY;
        e->value.array = toml_alloc(s, sizeof(*e->value.array));
        *e->value.array = (struct toml_array){ .is_of_tables = true };
    }
    if (e->value.type != TOML_ARRAY || !e->value.array->is_of_tables) {
        (void)fail_at(s, part, "not an array of tables:");
        return NULL;
    }
    struct toml_value v = { .type = TOML_TABLE, .line = part->line, .column = part->column };

    v.table = new_table(s, TABLE_HEADER);
    (void)array_push(s, e->value.array, &v);
    return v.table;
}

static struct toml_table *parse_header(struct toml_parser *s)
{
    bool is_array = toml_looks_at(s, "[[");
    struct key_path path = { .count = 0 };
    struct toml_table *t = &s->doc->root;

    s->p += is_array ? 2 : 1;
    if (!parse_key(s, &path)) {
        return NULL;
    }
    if (!toml_looks_at(s, is_array ? "]]" : "]")) {
        (void)toml_fail(s, "expected %s after the table's name", is_array ? "]]" : "]");
        return NULL;
    }
    s->p += is_array ? 2 : 1;
    for (unsigned i = 0; t && i + 1 < path.count; i++) {
        t = step_header(s, t, &path.parts[i]);
    }
    if (!t) {
        return NULL;
    }
    const struct key_part *last = &path.parts[path.count - 1];

    return is_array ? append_table(s, t, last) : define_table(s, t, last);
}

/* ---- Values ---------------------------------------------------------------------------------- */

static bool parse_value(struct toml_parser *s, unsigned depth, struct toml_value *out);

static bool parse_key_value(struct toml_parser *s, struct toml_table *t, unsigned depth)
{
    struct key_path path = { .count = 0 };

    if (!parse_key(s, &path)) {
        return false;
    }
    if (!toml_looks_at(s, "=")) {
        return toml_fail(s, "expected = after the key");
    }
    s->p++;
    for (unsigned i = 0; i + 1 < path.count; i++) {
        struct toml_entry *e = find_entry(t, &path.parts[i].text);

        if (e && (e->value.type != TOML_TABLE || e->value.table->origin != TABLE_DOTTED)) {
            return fail_at(s, &path.parts[i], "defined elsewhere, a dotted key cannot add to it:");
        }
        t = e ? e->value.table : add_table(s, t, &path.parts[i], TABLE_DOTTED);
        if (!t) {
            return false;
        }
    }
    const struct key_part *last = &path.parts[path.count - 1];

    if (find_entry(t, &last->text)) {
        return fail_at(s, last, "given twice:");
    }
    struct toml_entry *e = add_entry(s, t, last);

    if (!e) {
        return false;
    }
    skip_blanks(s);
    return parse_value(s, depth + path.count, &e->value);
}

static bool parse_array(struct toml_parser *s, unsigned depth, struct toml_value *out)
{
    struct toml_array *a = toml_alloc(s, sizeof(*a));

    *a = (struct toml_array){ 0 };
    out->type = TOML_ARRAY;
    out->array = a;
    s->p++;
    for (;;) {
        struct toml_value v = { 0 };

        if (!skip_space_and_lines(s)) {
            return false;
        }
        if (toml_looks_at(s, "]")) {
            s->p++;
            return true;
        }
        if (!parse_value(s, depth + 1, &v) || !array_push(s, a, &v) || !skip_space_and_lines(s)) {
            return false;
        }
        if (toml_looks_at(s, ",")) {
            s->p++;
        } else if (!toml_looks_at(s, "]")) {
            return toml_fail(s, "expected , or ] in the array");
        }
    }
}

/* Dotted keys inside made tables that must not be extended later either. */
static void close_tables(struct toml_table *t)
{
    t->origin = TABLE_INLINE;
    for (struct toml_entry *e = t->first; e; e = e->next) {
        if (e->value.type == TOML_TABLE && e->value.table->origin != TABLE_INLINE) {
            close_tables(e->value.table);
        }
    }
}

static bool parse_inline_table(struct toml_parser *s, unsigned depth, struct toml_value *out)
{
    out->type = TOML_TABLE;
    out->table = new_table(s, TABLE_DOTTED);
    s->p++;
    skip_blanks(s);
    if (toml_looks_at(s, "}")) {
        s->p++;
        close_tables(out->table);
        return true;
    }
    for (;;) {
        if (!parse_key_value(s, out->table, depth)) {
            return false;
        }
        skip_blanks(s);
        if (toml_looks_at(s, "}")) {
            s->p++;
            close_tables(out->table);
            return true;
        }
        if (!toml_looks_at(s, ",")) {
            return toml_fail(s, "expected , or } in the inline table");
        }
        s->p++;
    }
}

static bool parse_value(struct toml_parser *s, unsigned depth, struct toml_value *out)
{
    if (depth > TOML_DEPTH_MAX) {
        return toml_fail(s, "nested more than %u deep", TOML_DEPTH_MAX);
    }
    out->line = s->line;
    out->column = toml_column(s);
    if (s->p == s->end) {
        return toml_fail(s, "expected a value");
    }
    if (*s->p == '[') {
        return parse_array(s, depth, out);
    }
    if (*s->p == '{') {
        return parse_inline_table(s, depth, out);
    }
    return toml_parse_scalar(s, out);
}

/* ---- The document ---------------------------------------------------------------------------- */

static bool parse_document(struct toml_parser *s)
{
    struct toml_table *current = &s->doc->root;

    if (toml_looks_at(s, "\xef\xbb\xbf")) {
        s->p += 3;
        s->line_start = s->p;
    }
    while (s->p < s->end) {
        skip_blanks(s);
        if (toml_looks_at(s, "[")) {
            current = parse_header(s);
            if (!current) {
                return false;
            }
        } else if (s->p < s->end && *s->p != '#' && *s->p != '\n' && !toml_looks_at(s, "\r\n")) {
            if (!parse_key_value(s, current, 0)) {
                return false;
            }
        }
        if (!expect_line_end(s)) {
            return false;
        }
    }
    return true;
}

struct toml_document *toml_parse(const char *text, size_t size, struct toml_error *error)
{
    struct toml_document *doc = alloc_zeroed(1, sizeof(*doc));
    struct toml_parser s = {
        .p = text, .end = text + size, .line_start = text, .line = 1, .doc = doc, .error = error
    };

    *error = (struct toml_error){ 0 };
    doc->root.origin = TABLE_HEADER;
    if (size > TOML_SIZE_MAX) {
        (void)toml_fail(&s, "larger than %zu bytes", TOML_SIZE_MAX);
    } else if (parse_document(&s)) {
        return doc;
    }
    toml_free(doc);
    return NULL;
}

void toml_free(struct toml_document *doc)
{
    if (!doc) {
        return;
    }
    while (doc->blocks) {
        struct toml_block *next = doc->blocks->next;

        free(doc->blocks);
        doc->blocks = next;
    }
    free(doc);
}

const struct toml_table *toml_root(const struct toml_document *doc)
{
    return &doc->root;
}

const struct toml_entry *toml_find(const struct toml_table *table, const char *key)
{
    struct toml_text text = { key, strlen(key) };

    return find_entry(table, &text);
}

const char *toml_type_name(enum toml_type type)
{
    static const char *const names[] = {
        [TOML_STRING] = "a string",   [TOML_INTEGER] = "an integer", [TOML_FLOAT] = "a float",
        [TOML_BOOLEAN] = "a boolean", [TOML_DATETIME] = "a date",    [TOML_ARRAY] = "an array",
        [TOML_TABLE] = "a table",
    };

    assert((size_t)type < array_size(names));
    return names[type];
}
