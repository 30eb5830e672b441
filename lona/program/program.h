/* SPDX-License-Identifier: Apache-2.0 */
/* The program lona: what its commands share. The only part of Lona that uses libc and libedit. */
#pragma once

#include <stdio.h>

#include "compiler/compiler.h"
#include "vm.h"

enum status {
    STATUS_OK = 0,
    STATUS_ERROR = 1,
    STATUS_USAGE = 2
};

/* ---- text.c: memory that grows ---- */

struct text {
    char *bytes; /* NUL terminated once anything was put */
    size_t size, capacity;
};

void text_put(struct text *t, const char *bytes, size_t n);
void text_put_string(struct text *t, const char *s);
void text_clear(struct text *t);
void text_deinit(struct text *t);
/* A print_out whose argument is a struct text. */
void text_out(void *arg, const char *bytes, size_t n);

/* ---- evaluate.c ---- */

/* A program text and how far its evaluation has come. */
struct source {
    const char *text;
    size_t size;
    const char *file; /* for places */
    size_t offset;
    struct place here;
};

/* What an evaluation leaves behind. */
struct outcome {
    int status;             /* 0 value, 1 error, < 0 PLATFORM_E* */
    bool incomplete;        /* the text ended inside a form */
    struct text printed;    /* the value readably, or the error as report.c words it */
    struct place error;     /* in the source; line 0: unknown */
    const char *error_file; /* the source's file if the error lies in it, else NULL */
};

void outcome_deinit(struct outcome *o);

struct evaluation {
    struct vm *vm;
    struct source source;
    struct ns *ns;     /* current namespace at the start (NULL: user) and, after success, the end */
    bool only_read;    /* look whether all forms are complete; evaluate nothing */
    bool call_main;    /* after the last form, call `main` if the namespace has it */
    bool keep_results; /* set *1 *2 *3 *e */
    bool no_print;     /* the value isn't wanted */
    /* ---- private ---- */
    bool main_called;
    bool incomplete;
    struct outcome *outcome;
};

/* Run all forms in one new process, in order. */
void evaluate(struct evaluation *e, struct outcome *out);

/* ---- report.c ---- */

/* Text of an exit reason: kind, message, place, trace. Fills in place and file of the outcome. */
void report(struct vm *vm, struct process *p, term_t reason, const char *file, struct outcome *out);

/* ---- commands: each returns an exit status ---- */

int repl_run(struct vm *vm);
int test_run(struct vm *vm, const char *path);
int disasm_run(struct vm *vm, const char *file, const char *text, size_t size);

/* ---- main.c ---- */

/* The whole file; false after a message on standard error. The caller frees *bytes with free(). */
bool file_load(const char *path, char **bytes, size_t *size);

/* ---- format.c ---- */

/* Lay files out in place; those that don't close what they open stay as they are. */
int format_files(int count, char **paths);
