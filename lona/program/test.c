/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lona test: load every .lona file of a directory and of those below it, in the order of their
 * names, and run the tests (lona.test) of the namespace that each ends in. Prints TAP; each file's
 * tests are numbered by themselves, and a file that doesn't load is a failed test.
 */
#include <stdlib.h>
#include <string.h>

#include "program.h"
#include "realm/realm.h"

enum {
    DEPTH_MAX = 32
};

struct run {
    struct vm *vm;
    unsigned files;
    unsigned failed; /* files with failures */
};

struct listing {
    char **names;
    size_t count, capacity;
};

static void add_name(void *arg, const char *name, size_t n)
{
    struct listing *l = arg;

    if (l->count == l->capacity) {
        size_t capacity = l->capacity * 2 + 16;
        char **bigger = realloc((void *)l->names, capacity * sizeof(*bigger));

        if (bigger == NULL) {
            return;
        }
        l->names = bigger;
        l->capacity = capacity;
    }
    l->names[l->count] = strndup(name, n);
    l->count += l->names[l->count] != NULL;
}

/* A failure as TAP: the first line is the test's, the others are remarks. */
static void print_failure(const char *path, const struct outcome *o)
{
    const char *text = o->printed.bytes == NULL ? "" : o->printed.bytes;

    (void)printf("not ok 1 - %s\n", path);
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");

        (void)printf("# %.*s\n", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

/* The tests of the namespace that the file ended in; false when one failed. */
static bool run_tests(struct vm *vm, struct ns *ns, const char *path)
{
    static const char call[] = "(lona.test/run-tests)";
    struct evaluation e = {
        .vm = vm,
        .ns = ns,
        .source = { .text = call, .size = sizeof(call) - 1, .file = "<test>", .here = { 1, 1 } }
    };
    struct outcome o;

    evaluate(&e, &o);
    bool passed = o.status == 0 && strcmp(o.printed.bytes, "0") == 0;

    if (o.status != 0) {
        print_failure(path, &o);
    }
    outcome_deinit(&o);
    return passed;
}

static void test_file(struct run *r, const char *path)
{
    char *text;
    size_t size;

    r->files++;
    (void)printf("# %s\n", path);
    (void)fflush(stdout);
    if (!file_load(path, &text, &size)) {
        r->failed++;
        return;
    }
    struct evaluation e = {
        .vm = r->vm,
        .source = { .text = text, .size = size, .file = path, .here = { 1, 1 } },
        .no_print = true
    };
    struct outcome o;

    evaluate(&e, &o);
    bool passed = o.status == 0;

    if (!passed) {
        print_failure(path, &o);
    } else if (realm_find_ns(r->vm, realm_symbol(r->vm, "lona.test", 9)) == NULL) {
        (void)printf("ok 1 - %s has no tests, but loads\n", path);
    } else {
        passed = run_tests(r->vm, e.ns, path);
    }
    r->failed += !passed;
    outcome_deinit(&o);
    free(text);
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t n = strlen(name);
    size_t k = strlen(suffix);

    return n > k && strcmp(name + n - k, suffix) == 0;
}

/* False when the directory can't be read. */
static bool test_directory(struct run *r, const char *path, unsigned depth)
{
    const struct platform *pf = vm_platform(r->vm);
    struct listing l = { 0 };

    if (pf->dir_list(pf->self, path, strlen(path), add_name, &l) != PLATFORM_OK) {
        return false;
    }
    for (size_t i = 0; i < l.count; i++) {
        char *full = NULL;

        if (asprintf(&full, "%s/%s", path, l.names[i]) < 0) {
            full = NULL;
        } else if (pf->file_kind(pf->self, full, strlen(full)) == 2) {
            if (depth < DEPTH_MAX && l.names[i][0] != '.') {
                (void)test_directory(r, full, depth + 1);
            }
        } else if (has_suffix(full, ".lona")) {
            test_file(r, full);
        }
        free(full);
        free(l.names[i]);
    }
    free((void *)l.names);
    return true;
}

int test_run(struct vm *vm, const char *path)
{
    struct run r = { .vm = vm };
    const struct platform *pf = vm_platform(vm);

    if (pf->file_kind(pf->self, path, strlen(path)) == 1) {
        test_file(&r, path);
    } else if (!test_directory(&r, path, 0)) {
        (void)fprintf(stderr, "lona: :file-not-found: no such directory\n  at %s\n", path);
        return STATUS_ERROR;
    }
    (void)printf("# %u files, %u with failures\n", r.files, r.failed);
    if (r.files == 0) {
        (void)fprintf(stderr, "lona: there is no .lona file in %s\n", path);
    }
    return r.failed == 0 && r.files > 0 && fflush(stdout) == 0 ? STATUS_OK : STATUS_ERROR;
}
