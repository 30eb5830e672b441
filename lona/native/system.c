/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lona.system: files, console, environment, arguments, through the platform. Text from outside is a
 * string when it is UTF-8 and a binary when it isn't; a path may be either, so that every name that
 * a directory holds can be used.
 */
#include "gc/heap.h"
#include "native.h"
#include "term/utf8.h"
#include "vm_state.h"

static const struct platform *platform_of(struct process *p)
{
    return &process_vm(p)->platform;
}

static const char *error_text(int err)
{
    switch (err) {
    case PLATFORM_ENOENT:
        return "not-found";
    case PLATFORM_EACCES:
        return "access";
    case PLATFORM_EINVAL:
        return "invalid";
    case PLATFORM_EEXIST:
        return "exists";
    case PLATFORM_ENOMEM:
        return "oom";
    case PLATFORM_ENOSYS:
        return "unsupported";
    default:
        return "io";
    }
}

static bool is_text(term_t t)
{
    return term_is_string(t) || term_is_binary(t);
}

/* The bytes of a string or binary. */
static struct bytes_view text_view(term_t t)
{
    return term_is_string(t)
               ? (struct bytes_view){ (const uint8_t *)string_data(t), string_bytes(t) }
               : binary_view(t);
}

/* A path for the platform; valid until the next reservation. */
struct path {
    const char *data;
    size_t size;
};

static struct path path_of(term_t t)
{
    struct bytes_view v = text_view(t);

    return (struct path){ (const char *)v.data, v.size };
}

/* `bytes` must not lie on p's heap. */
static term_t text_of(struct process *p, const char *bytes, size_t n)
{
    return utf8_is_valid(bytes, n) ? heap_string(p, bytes, n) : heap_binary(p, bytes, n);
}

static term_t pair_result(struct process *p, term_t kind, term_t *value)
{
    term_t *e;

    if (!heap_reserve(p, TUPLE_WORDS(2))) {
        return TERM_ERROR;
    }
    term_t t = heap_tuple(p, 2, &e);

    e[0] = kind;
    e[1] = *value;
    return t;
}

/* [:error reason] */
static term_t error_result(struct process *p, int err)
{
    const char *text = error_text(err);
    term_t reason = realm_keyword(process_vm(p), text, __builtin_strlen(text));

    return reason == 0 ? raise_oom(p) : pair_result(p, KW(error), &reason);
}

static term_t read_file(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    const struct platform *pf = platform_of(p);
    uint8_t *data;
    size_t size;

    if (!is_text(args[0])) {
        return raise_type(p, "read-file", 0, KW(string), args[0]);
    }
    int err = pf->file_read(pf->self, path_of(args[0]).data, path_of(args[0]).size, &data, &size);

    if (err != PLATFORM_OK) {
        return error_result(p, err);
    }
    term_t b = heap_binary(p, data, size);

    pf->file_free(pf->self, data, size);
    if (b == TERM_ERROR) {
        return TERM_ERROR;
    }
    args[0] = b; /* rooted while the tuple is made */
    return pair_result(p, KW(ok), &args[0]);
}

static term_t write_with(struct process *p, const term_t *args, int append, const char *fn)
{
    const struct platform *pf = platform_of(p);

    if (!is_text(args[0])) {
        return raise_type(p, fn, 0, KW(string), args[0]);
    }
    if (!is_text(args[1])) {
        return raise_type(p, fn, 1, KW(binary), args[1]);
    }
    struct bytes_view v = text_view(args[1]);
    int err = pf->file_write(pf->self, path_of(args[0]).data, path_of(args[0]).size, v.data, v.size,
                             append);

    return err == PLATFORM_OK ? KW(ok) : error_result(p, err);
}

static term_t write_file(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return write_with(p, args, 0, "write-file");
}

static term_t append_file(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return write_with(p, args, 1, "append-file");
}

static term_t remove_file(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    const struct platform *pf = platform_of(p);

    if (!is_text(args[0])) {
        return raise_type(p, "remove-file", 0, KW(string), args[0]);
    }
    int err = pf->file_remove(pf->self, path_of(args[0]).data, path_of(args[0]).size);

    return err == PLATFORM_OK ? KW(ok) : error_result(p, err);
}

/* :file, :directory, :other, or nil */
static term_t file_kind(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    const struct platform *pf = platform_of(p);

    if (!is_text(args[0])) {
        return raise_type(p, "file-kind", 0, KW(string), args[0]);
    }
    int kind = pf->file_kind(pf->self, path_of(args[0]).data, path_of(args[0]).size);
    static const char *const names[] = { "", "file", "directory", "other" };

    if (kind < 0) {
        return error_result(p, kind);
    }
    if (kind == 0) {
        return TERM_NIL;
    }
    term_t t = realm_keyword(process_vm(p), names[kind], __builtin_strlen(names[kind]));

    return t == 0 ? raise_oom(p) : t;
}

struct listing {
    struct process *p;
    term_t list;
    bool failed;
};

static void list_entry_of(void *arg, const char *name, size_t n)
{
    struct listing *l = arg;
    term_t s = l->failed ? TERM_ERROR : text_of(l->p, name, n);

    if (s == TERM_ERROR || !heap_reserve(l->p, PAIR_WORDS)) {
        l->failed = true;
        return;
    }
    l->list = heap_pair(l->p, s, l->list);
}

static term_t list_directory(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    const struct platform *pf = platform_of(p);
    struct listing l = { p, TERM_EMPTY, false };

    if (!is_text(args[0])) {
        return raise_type(p, "list-directory", 0, KW(string), args[0]);
    }
    heap_inhibit_gc(p);
    int err =
        pf->dir_list(pf->self, path_of(args[0]).data, path_of(args[0]).size, list_entry_of, &l);

    struct listing sorted = { p, TERM_EMPTY, l.failed };

    for (term_t e = l.list; term_is_list(e) && !sorted.failed; e = pair_rest(e)) {
        sorted.failed = !heap_reserve(p, PAIR_WORDS);
        sorted.list = sorted.failed ? TERM_EMPTY : heap_pair(p, pair_head(e), sorted.list);
    }
    l = sorted; /* the platform's order, which pushing in front reversed */
    heap_permit_gc(p);
    if (err != PLATFORM_OK) {
        return error_result(p, err);
    }
    args[0] = l.failed ? TERM_NIL : l.list;
    return l.failed ? TERM_ERROR : pair_result(p, KW(ok), &args[0]);
}

static term_t environment(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    const struct platform *pf = platform_of(p);
    char small[256];
    char *value = small;

    if (!is_text(args[0])) {
        return raise_type(p, "env", 0, KW(string), args[0]);
    }
    struct path name = path_of(args[0]);
    long size = pf->env_get(pf->self, name.data, name.size, small, sizeof(small));

    if (size < 0) {
        return TERM_NIL;
    }
    size_t n = (size_t)size;

    if (n > sizeof(small)) {
        value = arena_alloc(process_arena(p), n);
        if (value == NULL) {
            return raise_oom(p);
        }
        /* What another thread has put there meanwhile is cut to the room there is. */
        size = pf->env_get(pf->self, name.data, name.size, value, n);
    }
    term_t t = size < 0 ? TERM_NIL : text_of(p, value, min_of((size_t)size, n));

    if (value != small) {
        arena_free(process_arena(p), value, n);
    }
    return t;
}

static term_t arguments(struct process *p, term_t *args, unsigned argc)
{
    (void)args;
    (void)argc;
    const struct vm *vm = process_vm(p);
    struct listing l = { p, TERM_EMPTY, false };

    heap_inhibit_gc(p);
    for (int i = vm->argc; i-- > 0;) {
        list_entry_of(&l, vm->argv[i], __builtin_strlen(vm->argv[i]));
    }
    heap_permit_gc(p);
    return l.failed ? TERM_ERROR : l.list;
}

/* (console-write text) or (console-write text :error): one write, so that lines of processes don't
 * mix. */
static term_t console_write(struct process *p, term_t *args, unsigned argc)
{
    const struct platform *pf = platform_of(p);
    enum platform_stream stream =
        argc == 2 && args[1] == KW(error) ? PLATFORM_STDERR : PLATFORM_STDOUT;

    if (!is_text(args[0])) {
        return raise_type(p, "console-write", 0, KW(string), args[0]);
    }
    struct bytes_view v = text_view(args[0]);
    int err = pf->console_write(pf->self, stream, v.data, v.size);

    return err == PLATFORM_OK ? KW(ok) : error_result(p, err);
}

#define ALLOC NATIVE_ALLOCATES

static const struct native rows[] = {
    { "lona.system", "read-file", read_file, 1, 1, ALLOC, 50, "(path)",
      "[:ok binary] or [:error reason]." },
    { "lona.system", "write-file", write_file, 2, 2, ALLOC, 50, "(path data)",
      "Create or replace a file: :ok or [:error reason]." },
    { "lona.system", "append-file", append_file, 2, 2, ALLOC, 50, "(path data)",
      "Add to the end of a file." },
    { "lona.system", "remove-file", remove_file, 1, 1, ALLOC, 50, "(path)", "Remove a file." },
    { "lona.system", "file-kind", file_kind, 1, 1, ALLOC, 20, "(path)",
      ":file, :directory, :other or nil." },
    { "lona.system", "list-directory", list_directory, 1, 1, ALLOC, 50, "(path)",
      "[:ok names] or [:error reason]." },
    { "lona.system", "env", environment, 1, 1, ALLOC, 10, "(name)",
      "Value of an environment variable, or nil." },
    { "lona.system", "arguments", arguments, 0, 0, ALLOC, 10, "()",
      "The program's arguments as strings." },
    { "lona.system", "console-write", console_write, 1, 2, ALLOC, 10, "(text)\n(text :error)",
      "Write text in one piece." },
};

const struct native_table native_system = { rows, array_size(rows) };
