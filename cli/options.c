/* SPDX-License-Identifier: Apache-2.0 */
/* The option parser; see options.h. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/checked.h>

#include "cli.h"
#include "files.h"
#include "options.h"

#define SPECS_MAX 32

struct parse {
    const struct option_spec *specs;
    size_t count;
    char *error;
    size_t error_size;
};

static int refuse(struct parse *p, const char *format, ...) PRINTF_LIKE(2, 3);

static int refuse(struct parse *p, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(p->error, p->error_size, format, args);
    va_end(args);
    return -1;
}

/* Digits only: no sign, no space, no base prefix. */
static bool parse_decimal(const char *text, uint64_t *out)
{
    uint64_t value = 0;

    if (*text == '\0') {
        return false;
    }
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || !checked_mul(value, UINT64_C(10), &value) ||
            !checked_add(value, (uint64_t)(*text - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

/* "512", "512M", "2G", "2GiB": MiB. */
static bool parse_mib(const char *text, uint64_t *out)
{
    static const struct {
        const char *suffix;
        uint64_t mib;
    } units[] = { { "", 1 },     { "M", 1 },     { "MB", 1 },    { "MiB", 1 },
                  { "G", 1024 }, { "GB", 1024 }, { "GiB", 1024 } };

    size_t digits = strspn(text, "0123456789");
    CLEANUP_FREE char *number = text_copy_sized(text, digits);

    for (size_t i = 0; i < array_size(units); i++) {
        if (strcasecmp(text + digits, units[i].suffix) == 0) {
            return parse_decimal(number, out) && checked_mul(*out, units[i].mib, out);
        }
    }
    return false;
}

static int set_value(struct parse *p, const struct option_spec *spec, const char *value)
{
    uint64_t number = 0;

    switch (spec->kind) {
    case OPTION_FLAG:
        *(bool *)spec->out = true;
        return 0;
    case OPTION_TEXT:
        if (*value == '\0') {
            return refuse(p, "--%s needs a value that is not empty", spec->name);
        }
        *(const char **)spec->out = value;
        return 0;
    case OPTION_LIST:
        strings_add(spec->out, value);
        return 0;
    case OPTION_MIB:
        if (!parse_mib(value, &number) || number < spec->min || number > spec->max) {
            return refuse(
                p, "--%s %s: give MiB from %llu to %llu, or a number with M or G behind it",
                spec->name, value, (unsigned long long)spec->min, (unsigned long long)spec->max);
        }
        *(uint64_t *)spec->out = number;
        return 0;
    case OPTION_NUMBER:
        if (!parse_decimal(value, &number) || number < spec->min || number > spec->max) {
            return refuse(p, "--%s %s: give a whole number from %llu to %llu", spec->name, value,
                          (unsigned long long)spec->min, (unsigned long long)spec->max);
        }
        *(uint64_t *)spec->out = number;
        return 0;
    }
    return refuse(p, "--%s: unknown kind of option", spec->name);
}

static int refuse_unknown(struct parse *p, const char *name)
{
    const char *names[SPECS_MAX + 2] = { "help" };

    for (size_t i = 0; i < p->count && i < SPECS_MAX; i++) {
        names[i + 1] = p->specs[i].name;
    }
    const char *near = nearest_word(name, names);

    if (near) {
        return refuse(p, "unknown option --%s (did you mean --%s?)", name, near);
    }
    return refuse(p, "unknown option --%s", name);
}

/* One "--name[=value]"; *used is how many of argv it took. */
static int parse_long(struct parse *p, char **argv, int left, int *used)
{
    const char *text = argv[0] + 2;
    const char *equals = strchr(text, '=');
    CLEANUP_FREE char *name =
        text_copy_sized(text, equals ? (size_t)(equals - text) : strlen(text));

    for (size_t i = 0; i < p->count; i++) {
        const struct option_spec *spec = &p->specs[i];

        if (strcmp(spec->name, name) != 0) {
            continue;
        }
        if (spec->kind == OPTION_FLAG) {
            *used = 1;
            return equals ? refuse(p, "--%s takes no value", name) : set_value(p, spec, "");
        }
        if (equals) {
            *used = 1;
            return set_value(p, spec, equals + 1);
        }
        if (left < 2) {
            return refuse(p, "--%s needs a value", name);
        }
        *used = 2;
        return set_value(p, spec, argv[1]);
    }
    return refuse_unknown(p, name);
}

static const struct option_spec *find_letter(const struct parse *p, char letter)
{
    for (size_t i = 0; letter && i < p->count; i++) {
        if (p->specs[i].letter == letter) {
            return &p->specs[i];
        }
    }
    return NULL;
}

/* "-a", "-ab" for two flags, "-n VALUE", "-nVALUE", "-abn VALUE". */
static int parse_short(struct parse *p, char **argv, int left, int *used)
{
    *used = 1;
    for (const char *text = argv[0] + 1; *text; text++) {
        const struct option_spec *spec = find_letter(p, *text);

        if (!spec) {
            return refuse(p, "unknown option -%c", *text);
        }
        if (spec->kind != OPTION_FLAG && text[1]) {
            return set_value(p, spec, text + 1);
        }
        if (spec->kind != OPTION_FLAG && left < 2) {
            return refuse(p, "-%c needs a value", *text);
        }
        if (spec->kind != OPTION_FLAG) {
            *used = 2;
            return set_value(p, spec, argv[1]);
        }
        (void)set_value(p, spec, "");
    }
    return 0;
}

int options_parse(const struct option_spec *specs, size_t count, int argc, char **argv,
                  struct operands *out, char *error, /* NOLINT(readability-non-const-parameter) */
                  size_t error_size)
{
    struct parse p = { specs, count, error, error_size };
    int i = 1;

    *out = (struct operands){ .first = argc };
    while (i < argc) {
        const char *arg = argv[i];
        int used = 0;
        int err = 0;

        if (arg[0] != '-' || arg[1] == '\0') {
            break;
        }
        if (strcmp(arg, "--") == 0) {
            out->is_after_dashes = true;
            i++;
            break;
        }
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            out->wants_help = true;
            return 0;
        }
        if (arg[1] == '-') {
            err = parse_long(&p, argv + i, argc - i, &used);
        } else {
            err = parse_short(&p, argv + i, argc - i, &used);
        }
        if (err < 0) {
            return err;
        }
        i += used;
    }
    out->first = i;
    return 0;
}

int options_of_verb(const struct verb *verb, const struct option_spec *specs, size_t count,
                    int argc, char **argv, struct operands *out)
{
    char error[256];

    if (options_parse(specs, count, argc, argv, out, error, sizeof(error)) < 0) {
        return complain(STATUS_USAGE, "%s: %s; see drupe %s --help", verb->name, error, verb->name);
    }
    if (out->wants_help) {
        (void)fputs(verb->help, stdout);
        return STATUS_OK;
    }
    return -1;
}
