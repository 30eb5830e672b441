/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program that compiles the library, at build time, in a VM without one:
 *
 *     lona-boot -o IMAGE FILE...     run the files form by form; write their units to IMAGE
 *     lona-boot FILE... -e TEXT      run the files, then the text's forms; print each value
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/compiler.h"
#include "data/data.h"
#include "native.h"
#include "reader/printer.h"
#include "vm.h"
#include "vm_state.h"

struct source {
    const char *name;
    char *text;
    size_t size;
    size_t offset;
    struct place here;
    struct byte_sink *image; /* NULL: only run */
    bool print;
};

static void write_out(void *arg, const char *text, size_t n)
{
    FILE *f = arg;

    if (fwrite(text, 1, n, f) != n) {
        exit(1);
    }
}

static void print_value(struct process *p, term_t t, FILE *f)
{
    term_print(process_vm(p), t, NULL, write_out, f);
    (void)fputc('\n', f);
}

/* The unit of a form: stored, then installed and run. */
static term_t run_form(struct process *p, struct source *s, struct reader *r, term_t form)
{
    const struct compile_source source = { .reader = r, .file = s->name, .place = reader_place(r) };
    struct code_unit u;

    code_unit_init(&u, process_vm(p));
    bool ok = compile_form(p, &source, form, &u);

    if (ok && s->image != NULL) {
        code_encode(s->image, &u);
    }
    term_t fun = ok ? code_link(p, &u) : TERM_ERROR;

    code_unit_deinit(&u);
    return fun == TERM_ERROR ? TERM_ERROR : native_apply(p, fun, TERM_EMPTY);
}

static term_t step(void *arg, struct process *p, term_t last, bool *again)
{
    struct source *s = arg;
    term_t form;
    term_t result = TERM_NIL;

    if (s->print && last != TERM_HOLE) {
        print_value(p, last, stdout);
    }
    heap_inhibit_gc(p);
    struct reader *r = reader_create(p, s->text, s->size, s->name);

    if (r == NULL) {
        heap_permit_gc(p);
        return raise_oom(p);
    }
    reader_start_at(r, s->offset, s->here);
    switch (reader_next(r, &form)) {
    case READ_FORM:
        s->offset = reader_offset(r);
        s->here = reader_here(r);
        *again = true;
        result = run_form(p, s, r, form);
        break;
    case READ_END:
        break;
    case READ_ERROR:
        result = TERM_ERROR;
        break;
    }
    reader_destroy(r);
    heap_permit_gc(p);
    return result;
}

static void report(void *arg, struct process *p, term_t value, bool is_error)
{
    (void)arg;
    if (is_error) {
        print_value(p, value, stderr);
    }
}

static bool run_source(struct vm *vm, struct source *s)
{
    s->here = (struct place){ 1, 1 };
    return vm_call_body(vm, step, s, report, NULL) == 0;
}

static char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    size_t capacity = 0;

    *size = 0;
    while (f != NULL) {
        if (*size == capacity) {
            capacity = capacity * 2 + 65536;
            char *larger = realloc(text, capacity);

            if (larger == NULL) {
                free(text);
                text = NULL;
                break;
            }
            text = larger;
        }
        size_t n = fread(text + *size, 1, capacity - *size, f);

        *size += n;
        if (n == 0) {
            bool failed = ferror(f) != 0;

            if (fclose(f) == 0 && !failed) {
                return text;
            }
            f = NULL;
        }
    }
    (void)fprintf(stderr, "lona-boot: %s: %s\n", path, strerror(errno));
    exit(1);
}

static bool write_image(const char *path, const struct byte_sink *image)
{
    FILE *f = fopen(path, "wb");

    if (f == NULL || image->failed || fwrite(image->data, 1, image->size, f) != image->size) {
        (void)fprintf(stderr, "lona-boot: %s was not written\n", path);
        return false;
    }
    return fclose(f) == 0;
}

/* The last part of the path under lib/: what errors and :file show. */
static const char *library_name(const char *path)
{
    const char *lib = strstr(path, "lib/");

    return lib == NULL ? path : lib + 4;
}

static bool run_all(struct vm *vm, char **argv, const char *out)
{
    struct byte_sink image;
    bool ok = true;

    byte_sink_init(&image, vm);
    for (; ok && *argv != NULL; argv++) {
        struct source s = { .name = library_name(*argv), .image = out == NULL ? NULL : &image };
        bool is_text = strcmp(*argv, "-e") == 0 && argv[1] != NULL;

        if (is_text) {
            s.name = "-e";
            s.text = strdup(*++argv);
            s.size = s.text == NULL ? 0 : strlen(s.text);
            s.image = NULL;
            s.print = true;
        } else {
            s.text = read_file(*argv, &s.size);
        }
        ok = run_source(vm, &s);
        free(s.text);
    }
    ok = ok && (out == NULL || write_image(out, &image));
    byte_sink_deinit(&image);
    return ok;
}

int main(int argc, char **argv)
{
    const struct vm_options options = { .platform = platform_posix(),
                                        .workers = 1,
                                        .without_library = true };
    const char *error;
    const char *out = NULL;

    argv++;
    if (argc > 2 && strcmp(argv[0], "-o") == 0) {
        out = argv[1];
        argv += 2;
    }
    struct vm *vm = vm_create(&options, &error);

    if (vm == NULL) {
        (void)fprintf(stderr, "lona-boot: %s\n", error);
        return 1;
    }
    bool ok = run_all(vm, argv, out);

    vm_destroy(vm);
    return ok ? 0 : 1;
}
