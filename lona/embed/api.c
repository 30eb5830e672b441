/* SPDX-License-Identifier: Apache-2.0 */
/* The embedding API: include/drupe/lona.h over vm.h. */
#include <drupe/lona.h>

#include "compiler/compiler.h"
#include "embed/describe.h"
#include "embed/value.h"
#include "gc/memory.h"
#include "native.h"
#include "number/number.h"
#include "process/mailbox.h"
#include "process/table.h"
#include "reader/printer.h"
#include "reader/reader.h"
#include "vm_call.h"

/* ---- text for the caller: a length in front, so that it can be freed ---- */

struct text {
    struct vm *vm;
    char *data;
    size_t size;
    size_t capacity;
    bool failed;
};

struct text_head {
    struct vm *vm;
    size_t capacity;
};

static void text_put(void *arg, const char *s, size_t n)
{
    struct text *t = arg;

    if (t->failed) {
        return;
    }
    if (t->data == NULL || n >= t->capacity - t->size) {
        size_t capacity = max_of(t->capacity * 2, t->size + n + 128);
        char *data = vm_alloc(t->vm, sizeof(struct text_head) + capacity);

        if (data == NULL) {
            t->failed = true;
            return;
        }
        data += sizeof(struct text_head);
        if (t->data != NULL) {
            __builtin_memcpy(data, t->data, t->size);
            vm_free(t->vm, t->data - sizeof(struct text_head),
                    sizeof(struct text_head) + t->capacity);
        }
        t->data = data;
        t->capacity = capacity;
    }
    if (n != 0) {
        __builtin_memcpy(t->data + t->size, s, n);
    }
    t->size += n;
}

static char *text_finish(struct text *t)
{
    text_put(t, "", 0);
    if (t->failed) {
        return NULL;
    }
    t->data[t->size] = '\0';
    *(struct text_head *)(void *)(t->data - sizeof(struct text_head)) =
        (struct text_head){ t->vm, t->capacity };
    return t->data;
}

void lona_free_text(char *text)
{
    if (text != NULL) {
        struct text_head *h = (struct text_head *)(void *)(text - sizeof(*h));

        vm_free(h->vm, h, sizeof(*h) + h->capacity);
    }
}

/* ---- values ---- */

struct lona_value *value_copy(struct worker *w, term_t t)
{
    struct copy_plan plan;

    if (copy_prepare(w, t, &plan) != COPY_OK) {
        return NULL;
    }
    struct lona_value *v = vm_alloc(w->vm, sizeof(*v) + plan.words * sizeof(term_t));

    if (v != NULL) {
        v->vm = w->vm;
        v->next = NULL;
        v->has_owners = plan.has_owners;
        v->words = plan.words;
        v->root = copy_place(w, &plan, v->data);
    }
    return v;
}

void lona_value_free(lona_value *v)
{
    if (v == NULL) {
        return;
    }
    struct vm *vm = v->vm;

    if (v->has_owners) {
        lock_acquire(&vm->platform, &vm->outside_lock);
        copy_release_owners(&vm->outside, v->data, v->words);
        lock_release(&vm->outside_lock);
    }
    vm_free(vm, v, sizeof(*v) + v->words * sizeof(term_t));
}

bool lona_value_integer(const lona_value *v, int64_t *out)
{
    return term_is_integer(v->root) && integer_to_i64(v->root, out);
}

char *lona_value_text(lona_vm *vm, const lona_value *v)
{
    struct text t = { .vm = vm->vm };
    const struct print_options options = { .list_max = UINT32_MAX, .depth_max = 1000 };

    term_print(vm->vm, v->root, &options, text_put, &t);
    return text_finish(&t);
}

/* ---- life ---- */

enum lona_result lona_create(const struct lona_options *options, lona_vm **out, char **error)
{
    struct vm_options o = { .platform = platform_posix() };
    const char *what;

    if (options != NULL) {
        o.workers = options->workers;
        o.seed = options->seed;
        o.gc_stress = options->gc_stress;
        o.heap_max_words = (uint32_t)min_of(options->process_heap_max / 8, (uint64_t)UINT32_MAX);
    }
    struct vm *vm = vm_create(&o, &what);
    struct lona_vm *handle = vm == NULL ? NULL : vm_alloc(vm, sizeof(*handle));

    if (handle == NULL) {
        if (vm != NULL) {
            vm_destroy(vm);
        }
        if (error != NULL) {
            *error = NULL; /* there is no VM to hold a text */
        }
        return LONA_NO_MEMORY;
    }
    handle->vm = vm;
    *out = handle;
    return LONA_OK;
}

void lona_destroy(lona_vm *vm)
{
    vm_destroy(vm->vm); /* the handle lies in its memory */
}

void lona_interrupt(lona_vm *vm)
{
    vm_interrupt(vm->vm);
}

/* ---- evaluating ---- */

struct evaluation {
    struct vm *vm;
    const char *text;
    size_t size;
    const char *file;
    size_t offset;
    struct place here;
    bool read_only; /* the value is the first form itself */
    struct lona_value *value;
    char *error;
    bool want_value;
};

/* The next form's code, or TERM_HOLE at the end. */
static term_t next_thunk(struct evaluation *e, struct process *p)
{
    struct reader *r = reader_create(p, e->text, e->size, e->file);

    if (r == NULL) {
        return raise_oom(p);
    }
    reader_start_at(r, e->offset, e->here);
    term_t form;
    enum read_result result = reader_next(r, &form);
    term_t thunk = result == READ_END ? TERM_HOLE : TERM_ERROR;

    if (result == READ_FORM && e->read_only) {
        thunk = form;
    } else if (result == READ_FORM) {
        struct code_unit u;

        code_unit_init(&u, e->vm);
        const struct compile_source source = { r, e->file, reader_place(r) };

        if (compile_form(p, &source, form, &u)) {
            thunk = code_link(p, &u);
        }
        code_unit_deinit(&u);
    }
    e->offset = reader_offset(r);
    e->here = reader_here(r);
    reader_destroy(r);
    return thunk;
}

static term_t evaluate(void *arg, struct process *p, term_t last, bool *again)
{
    struct evaluation *e = arg;

    if (last == TERM_HOLE) { /* the first round */
        struct ns *ns = realm_create_ns(e->vm, SYM(user));

        if (ns == NULL || !process_set_ns(p, ns)) {
            return raise_oom(p);
        }
    }
    heap_inhibit_gc(p);
    term_t thunk = next_thunk(e, p);

    heap_permit_gc(p);
    if (thunk == TERM_HOLE) {
        return last == TERM_HOLE ? TERM_NIL : last;
    }
    if (thunk == TERM_ERROR || e->read_only) {
        return thunk;
    }
    *again = true;
    return native_apply(p, thunk, TERM_EMPTY);
}

static void keep_result(void *arg, struct process *p, term_t value, bool is_error)
{
    struct evaluation *e = arg;

    if (is_error) {
        struct text t = { .vm = e->vm };

        error_describe(p, value, true, text_put, &t);
        e->error = text_finish(&t);
    } else if (e->want_value) {
        e->value = value_copy(p->worker, value);
    }
}

static enum lona_result run_evaluation(struct evaluation *e, lona_value **out, char **error)
{
    e->want_value = out != NULL;
    e->here = (struct place){ 1, 1 };
    int r = vm_call_body(e->vm, evaluate, e, keep_result, e);

    if (r < 0) {
        return LONA_NO_MEMORY;
    }
    if (r == 1) {
        if (error != NULL) {
            *error = e->error;
        } else {
            lona_free_text(e->error);
        }
        return LONA_ERROR;
    }
    if (out != NULL) {
        if (e->value == NULL) {
            return LONA_NO_MEMORY;
        }
        *out = e->value;
    }
    return LONA_OK;
}

enum lona_result lona_eval(lona_vm *vm, const char *text, size_t size, const char *file,
                           lona_value **out, char **error)
{
    struct evaluation e = { .vm = vm->vm, .text = text, .size = size, .file = file };

    return run_evaluation(&e, out, error);
}

enum lona_result lona_value_read(lona_vm *vm, const char *text, size_t size, lona_value **out,
                                 char **error)
{
    struct evaluation e = { .vm = vm->vm, .text = text, .size = size, .read_only = true };

    return run_evaluation(&e, out, error);
}

enum lona_result lona_load_file(lona_vm *vm, const char *path, char **error)
{
    const struct platform *pf = vm_platform(vm->vm);
    uint8_t *data;
    size_t size;

    if (pf->file_read(pf->self, path, __builtin_strlen(path), &data, &size) != PLATFORM_OK) {
        if (error != NULL) {
            struct text t = { .vm = vm->vm };

            text_put(&t, ":file-not-found ", 16);
            text_put(&t, path, __builtin_strlen(path));
            *error = text_finish(&t);
        }
        return LONA_SYSTEM;
    }
    enum lona_result r = lona_eval(vm, (const char *)data, size, path, NULL, error);

    pf->file_free(pf->self, data, size);
    return r;
}

/* ---- messages ---- */

enum lona_result lona_send(lona_vm *handle, const lona_value *pid, const lona_value *message)
{
    struct vm *vm = handle->vm;
    struct worker *w = &vm->outside;
    struct copy_plan plan;

    if (!term_has_tag(pid->root, TAG_PID)) {
        return LONA_BAD_ARGUMENT;
    }
    lock_acquire(&vm->platform, &vm->outside_lock);
    struct message *m = copy_prepare(w, message->root, &plan) == COPY_OK
                            ? message_new(w, MESSAGE_TERM, plan.words)
                            : NULL;
    enum lona_result result = m == NULL ? LONA_NO_MEMORY : LONA_OK;

    if (m != NULL) {
        m->term = copy_place(w, &plan, m->data);
        m->flags = plan.has_owners ? MESSAGE_OWNERS : 0;
        if (!inbox_push(vm, w, term_pid_raw(pid->root), m)) {
            message_free(w, m);
            result = LONA_NO_PROCESS;
        }
    }
    lock_release(&vm->outside_lock);
    return result;
}

struct lona_value *value_pid(struct vm *vm, uint64_t raw)
{
    struct lona_value *v = vm_alloc(vm, sizeof(*v) + PID_WORDS * sizeof(term_t));

    if (v != NULL) {
        *v = (struct lona_value){ .vm = vm, .words = PID_WORDS };
        v->data[0] = header_make(TAG_PID, 0);
        v->data[1] = raw;
        v->root = term_from_box(v->data);
    }
    return v;
}

enum lona_result lona_send_named(lona_vm *vm, const char *name, const lona_value *message)
{
    term_t symbol = realm_symbol(vm->vm, name, __builtin_strlen(name));
    uint64_t raw = symbol == 0 ? PID_NONE_RAW : registry_find(vm->vm, symbol);

    if (raw == PID_NONE_RAW) {
        return LONA_NO_PROCESS;
    }
    struct lona_value *pid = value_pid(vm->vm, raw);
    enum lona_result r = pid == NULL ? LONA_NO_MEMORY : lona_send(vm, pid, message);

    lona_value_free(pid);
    return r;
}
