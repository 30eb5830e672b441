/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command-line options of one verb: `--name`, `--name VALUE`, `--name=VALUE`, `-n`, `-n VALUE`,
 * `-nVALUE`, flags together as in `-ab`; `--` ends them.
 */
#pragma once

#include <stdint.h>

#include <base/compiler.h>

struct strings;

enum option_kind {
    OPTION_FLAG,   /* bool *      */
    OPTION_TEXT,   /* const char ** : borrowed from argv; not empty */
    OPTION_NUMBER, /* uint64_t *  : decimal, min..max */
    OPTION_MIB,    /* uint64_t *  : the same in MiB, or with M or G behind it */
    OPTION_LIST,   /* struct strings * : may be repeated */
};

struct option_spec {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    enum option_kind kind;
    void *out;
    uint64_t min; /* NUMBER, MIB */
    uint64_t max;
};

/* Rows, for tables that several verbs share. */
#define FLAG_OPTION(word, key, target)                                                             \
    {                                                                                              \
        .name = (word), .letter = (key), .kind = OPTION_FLAG, .out = (target)                      \
    }
#define TEXT_OPTION(word, key, target)                                                             \
    {                                                                                              \
        .name = (word), .letter = (key), .kind = OPTION_TEXT, .out = (target)                      \
    }
#define LIST_OPTION(word, key, target)                                                             \
    {                                                                                              \
        .name = (word), .letter = (key), .kind = OPTION_LIST, .out = (target)                      \
    }
#define MIB_OPTION(word, key, target, least, most)                                                 \
    {                                                                                              \
        .name = (word), .letter = (key), .kind = OPTION_MIB, .out = (target), .min = (least),      \
        .max = (most)                                                                              \
    }
#define NUMBER_OPTION(word, key, target, least, most)                                              \
    {                                                                                              \
        .name = (word), .letter = (key), .kind = OPTION_NUMBER, .out = (target), .min = (least),   \
        .max = (most)                                                                              \
    }

struct operands {
    int first;            /* index in argv of the first operand; argc when there is none */
    bool is_after_dashes; /* a `--` stood right before it */
    bool wants_help;      /* --help or -h: nothing else was looked at */
};

/*
 * Parse argv[1...] up to the first operand. Returns 0, or -1 with one line in `error` that says
 * what is wrong and what is allowed. Options after an operand are not looked at: they belong to it.
 */
int options_parse(const struct option_spec *specs, size_t count, int argc, char **argv,
                  struct operands *out, char *error, size_t error_size) MUST_CHECK;

/* The same with printing: a status to return at once (help printed, or usage), or -1 to go on. */
struct verb;
int options_of_verb(const struct verb *verb, const struct option_spec *specs, size_t count,
                    int argc, char **argv, struct operands *out) MUST_CHECK;
