/* SPDX-License-Identifier: Apache-2.0 */
#include "body.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <base/assert.h>
#include <base/fmt.h>

void body_refuse(struct body_detail *d, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fmt_vsnprintf(d->text, sizeof(d->text), format, args);
    va_end(args);
}

/* ---- Parsing ---- */

/*
 * jansson's lexer does not see that its buffer could not grow, and then reads and writes behind it.
 * So a parse has one block put by: the first allocation that fails gets it, and no further byte of
 * the text is handed out, which ends the parse before anything else can grow.
 */
struct parse {
    const char *text;
    size_t size;
    size_t at;
    char *spare;
    size_t spare_size;
    bool has_failed;
    json_malloc_t allocate; /* the program's own */
    json_free_t release;
};

static _Thread_local struct parse *parsing;

static void *parse_allocate(size_t size)
{
    struct parse *p = parsing;
    void *block = p->allocate(size);

    if (block == NULL && !p->has_failed && size <= p->spare_size) {
        block = p->spare;
    }
    p->has_failed |= block == NULL || block == p->spare;
    return block;
}

static void parse_release(void *block)
{
    if (block != parsing->spare) {
        parsing->release(block);
    }
}

static size_t parse_next(void *to, size_t size, void *ctx)
{
    struct parse *p = ctx;

    if (p->has_failed || p->at == p->size || size == 0) {
        return p->has_failed ? SIZE_MAX : 0;
    }
    *(char *)to = p->text[p->at++];
    return 1;
}

/* NULL: refused, or (has_failed) out of memory. */
static json_t *parse_run(struct parse *p, json_error_t *error)
{
    json_t *value = NULL;

    json_get_alloc_funcs(&p->allocate, &p->release);
    parsing = p;
    json_set_alloc_funcs(parse_allocate, parse_release);
    value = json_load_callback(parse_next, p, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, error);
    if (p->has_failed) {
        json_decref(value);
        value = NULL;
    }
    json_set_alloc_funcs(p->allocate, p->release);
    parsing = NULL;
    return value;
}

json_t *body_parse(const char *text, size_t size, struct body_detail *d)
{
    struct parse p = { .text = text, .size = size, .spare_size = 2 * size + 256 };
    json_error_t error;
    json_t *value = NULL;

    p.spare = malloc(p.spare_size);
    if (p.spare == NULL) {
        body_refuse(d, "out of memory");
        return NULL;
    }
    value = parse_run(&p, &error);
    if (p.has_failed) {
        body_refuse(d, "out of memory");
    } else if (value == NULL) {
        body_refuse(d, "%s at line %d column %d", error.text, error.line, error.column);
    }
    free(p.spare);
    return value;
}

/* ---- One field ---- */

static const char *number_type(uint64_t max)
{
    switch (max) {
    case UINT8_MAX:
        return "u8";
    case UINT16_MAX:
        return "u16";
    case UINT32_MAX:
        return "u32";
    default:
        return "u64";
    }
}

static const char *wanted_type(const struct body_field *f)
{
    switch (f->kind) {
    case BODY_TEXT:
        return "a string";
    case BODY_FLAG:
        return "a boolean";
    case BODY_NUMBER:
        return number_type(f->max);
    case BODY_CHOICE:
        return "a string";
    case BODY_OBJECT:
        return "an object";
    case BODY_ARRAY:
        return "a sequence";
    case BODY_ANY:
        break;
    }
    return "any value";
}

static void refuse_type(const struct body_field *f, const json_t *value, struct body_detail *d)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "map",      [JSON_ARRAY] = "sequence",      [JSON_STRING] = "string",
        [JSON_INTEGER] = "integer", [JSON_REAL] = "floating point", [JSON_TRUE] = "boolean",
        [JSON_FALSE] = "boolean",   [JSON_NULL] = "null",
    };

    body_refuse(d, "invalid type: %s, expected %s for field `%s`", names[json_typeof(value)],
                wanted_type(f), f->name);
}

static bool check_choice(const struct body_field *f, const json_t *value, struct body_detail *d)
{
    const char *text = json_string_value(value);
    char list[160] = "";
    size_t used = 0;

    for (unsigned i = 0; f->choices[i] != NULL; i++) {
        if (strcmp(f->choices[i], text) == 0) {
            return true;
        }
        if (used < sizeof(list)) {
            used += fmt_snprintf(list + used, sizeof(list) - used, "%s`%s`", i == 0 ? "" : ", ",
                                 f->choices[i]);
        }
    }
    body_refuse(d, "unknown variant `%.64s`, expected one of %s", text, list);
    return false;
}

static bool check_number(const struct body_field *f, const json_t *value, struct body_detail *d)
{
    json_int_t number = json_integer_value(value);

    if (number >= 0 && (uint64_t)number <= f->max) {
        return true;
    }
    body_refuse(d, "invalid value: integer `%lld`, expected %s", (long long)number,
                number_type(f->max));
    return false;
}

static bool has_kind(const struct body_field *f, const json_t *value)
{
    switch (f->kind) {
    case BODY_TEXT:
    case BODY_CHOICE:
        return json_is_string(value);
    case BODY_FLAG:
        return json_is_boolean(value);
    case BODY_NUMBER:
        return json_is_integer(value);
    case BODY_OBJECT:
        return json_is_object(value);
    case BODY_ARRAY:
        return json_is_array(value);
    case BODY_ANY:
        break;
    }
    return true;
}

static const json_t *present_value(const json_t *object, const struct body_field *f)
{
    const json_t *value = json_object_get(object, f->name);

    return json_is_null(value) && f->need == BODY_OPTIONAL ? NULL : value;
}

static bool check_field(const json_t *object, const struct body_field *f, struct body_detail *d)
{
    const json_t *value = present_value(object, f);

    if (value == NULL) {
        if (f->need == BODY_REQUIRED) {
            body_refuse(d, "missing field `%s`", f->name);
        }
        return f->need != BODY_REQUIRED;
    }
    if (!has_kind(f, value)) {
        refuse_type(f, value, d);
        return false;
    }
    if (f->kind == BODY_CHOICE) {
        return check_choice(f, value, d);
    }
    return f->kind != BODY_NUMBER || check_number(f, value, d);
}

static unsigned choice_of(const struct body_field *f, const json_t *value)
{
    unsigned i = 0;

    while (strcmp(f->choices[i], json_string_value(value)) != 0) {
        i++;
        assert(f->choices[i] != NULL);
    }
    return i;
}

static void take_field(const json_t *object, const struct body_field *f)
{
    const json_t *value = present_value(object, f);

    if (f->is_present != NULL) {
        *f->is_present = value != NULL;
    }
    if (value == NULL) {
        return;
    }
    switch (f->kind) {
    case BODY_TEXT:
        *(const char **)f->out = json_string_value(value);
        return;
    case BODY_FLAG:
        *(bool *)f->out = json_is_true(value);
        return;
    case BODY_NUMBER:
        *(uint64_t *)f->out = (uint64_t)json_integer_value(value);
        return;
    case BODY_CHOICE:
        *(unsigned *)f->out = choice_of(f, value);
        return;
    case BODY_OBJECT:
    case BODY_ARRAY:
    case BODY_ANY:
        *(json_t **)f->out = (json_t *)(uintptr_t)value;
        return;
    }
}

/* ---- The object ---- */

static bool is_known(const struct body_field *fields, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void refuse_unknown(const struct body_field *fields, size_t count, const char *name,
                           struct body_detail *d)
{
    char list[200] = "";
    size_t used = 0;

    for (size_t i = 0; i < count && used < sizeof(list); i++) {
        used += fmt_snprintf(list + used, sizeof(list) - used, "%s`%s`", i == 0 ? "" : ", ",
                             fields[i].name);
    }
    if (count == 0) {
        body_refuse(d, "unknown field `%.64s`, there are no fields", name);
    } else {
        body_refuse(d, "unknown field `%.64s`, expected %s%s", name, count > 2 ? "one of " : "",
                    list);
    }
}

bool body_read(const json_t *object, const struct body_field *fields, size_t count,
               enum body_unknown unknown, struct body_detail *d)
{
    if (!json_is_object(object)) {
        body_refuse(d, "invalid type: expected an object");
        return false;
    }
    for (void *at = json_object_iter((json_t *)(uintptr_t)object); at != NULL;
         at = json_object_iter_next((json_t *)(uintptr_t)object, at)) {
        const char *name = json_object_iter_key(at);

        if (unknown == BODY_UNKNOWN_REFUSED && !is_known(fields, count, name)) {
            refuse_unknown(fields, count, name, d);
            return false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!check_field(object, &fields[i], d)) {
            return false;
        }
    }
    /* Commit: nothing below can fail. */
    for (size_t i = 0; i < count; i++) {
        take_field(object, &fields[i]);
    }
    return true;
}

bool body_merge_patch(json_t **target, const json_t *patch)
{
    if (!json_is_object(patch)) {
        json_t *copy = json_deep_copy(patch);

        if (copy == NULL) {
            return false;
        }
        json_decref(*target);
        *target = copy;
        return true;
    }
    if (!json_is_object(*target)) {
        json_t *empty = json_object();

        if (empty == NULL) {
            return false;
        }
        json_decref(*target);
        *target = empty;
    }
    for (void *at = json_object_iter((json_t *)(uintptr_t)patch); at != NULL;
         at = json_object_iter_next((json_t *)(uintptr_t)patch, at)) {
        const char *key = json_object_iter_key(at);
        const json_t *value = json_object_iter_value(at);
        json_t *member = NULL;

        if (json_is_null(value)) {
            (void)json_object_del(*target, key); /* -1: it was not there */
            continue;
        }
        member = json_incref(json_object_get(*target, key));
        /* Depth is bounded by the parser's limit. */
        if (!body_merge_patch(&member, value) || json_object_set_new(*target, key, member) < 0) {
            return false;
        }
    }
    return true;
}
