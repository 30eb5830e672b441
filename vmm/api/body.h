/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request bodies and configuration files: JSON objects read through a table of their fields.
 * Unknown and missing fields, wrong types and values out of range are refused with a text in the
 * manner of the clients' expectations; nothing is written to an out pointer before the whole object
 * has passed.
 */
#pragma once

#include <jansson.h>

#include <base/compiler.h>

#define BODY_DETAIL_SIZE 320u

enum body_kind {
    BODY_TEXT,   /* const char **, borrowed from the object */
    BODY_FLAG,   /* bool * */
    BODY_NUMBER, /* uint64_t *, at most `max` */
    BODY_CHOICE, /* unsigned *, index in `choices` */
    BODY_OBJECT, /* json_t **, borrowed */
    BODY_ARRAY,  /* json_t **, borrowed */
    BODY_ANY,    /* json_t **, borrowed */
};

enum body_need {
    BODY_REQUIRED,
    BODY_OPTIONAL, /* null counts as absent */
    BODY_DEFAULT,  /* may be absent, may not be null */
};

struct body_field {
    const char *name;
    enum body_kind kind;
    enum body_need need;
    void *out;                  /* left alone when the field is absent */
    bool *is_present;           /* may be NULL */
    uint64_t max;               /* NUMBER; also names the type in messages */
    const char *const *choices; /* CHOICE; NULL-terminated */
};

struct body_detail {
    char text[BODY_DETAIL_SIZE];
};

#define FIELD(name_, kind_, need_, out_, ...)                                                      \
    {                                                                                              \
        .name = (name_), .kind = (kind_), .need = (need_), .out = (out_), ##__VA_ARGS__            \
    }

/* What the text says first counts; the rest of the line is cut at the size. */
void body_refuse(struct body_detail *d, const char *format, ...) PRINTF_LIKE(2, 3);

/* Parse text; duplicate keys are errors. NULL with *d filled; the result is owned. */
json_t *body_parse(const char *text, size_t size, struct body_detail *d) MUST_CHECK;

enum body_unknown {
    BODY_UNKNOWN_REFUSED,
    BODY_UNKNOWN_IGNORED,
};

bool body_read(const json_t *object, const struct body_field *fields, size_t count,
               enum body_unknown unknown, struct body_detail *d) MUST_CHECK;

/* RFC 7396: *target becomes what the patch makes of it. False when memory runs out. */
bool body_merge_patch(json_t **target, const json_t *patch) MUST_CHECK;
