/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a unit to functions in realm memory. Everything that may fail comes first (verification,
 * copying constants, memory); installing the functions can't fail.
 */
#include <base/fmt.h>

#include "gc/heap.h"
#include "interp/frame.h"
#include "interp/verify.h"
#include "native.h"
#include "vm_state.h"

static term_t bad_code(struct process *p, const struct code_error *e)
{
    char text[128];
    size_t n = fmt_snprintf(text, sizeof(text), "%s (function %u, word %u)", e->what, e->function,
                            e->word);
    term_t message = heap_string(p, text, min_of(n, sizeof(text) - 1));

    return message == TERM_ERROR ? TERM_ERROR : raise(p, KW(bad_code), 1, KW(message), message);
}

struct linker {
    struct process *p;
    struct vm *vm;
    struct code_unit *u;
    struct big_maps maps;
    uint64_t map_base; /* words from the realm's base to the maps */
    struct fun **funs;
};

static size_t words_for(size_t bytes)
{
    return (bytes + sizeof(term_t) - 1) / sizeof(term_t);
}

static bool copy_constants(struct linker *l)
{
    for (uint32_t i = 0; i < l->u->constant_count; i++) {
        term_t kind = KW(oom);
        term_t t = realm_copy_for(l->p, l->u->constants[i], &kind);

        if (t == TERM_ERROR) {
            if (kind == KW(oom)) {
                (void)raise_oom(l->p);
            } else {
                (void)raise(l->p, kind, 0);
            }
            return false;
        }
        l->u->constants[i] = t;
    }
    return true;
}

static bool place_maps(struct linker *l)
{
    if (l->maps.used == 0) {
        return true;
    }
    term_t *at = realm_alloc(l->vm, l->maps.used);

    if (at == NULL) {
        (void)raise_oom(l->p);
        return false;
    }
    __builtin_memcpy(at, l->maps.words, l->maps.used * sizeof(*at));
    l->map_base = (uint64_t)(at - (term_t *)(void *)l->vm->realm.base);
    return true;
}

/* Memory for one function, registered by its code address; the realm's lock keeps the two in step.
 */
static struct fun *install(struct linker *l, const struct code_function *f)
{
    struct realm *r = &l->vm->realm;
    size_t words = words_for(sizeof(struct fun)) + f->word_count +
                   words_for(f->guard_count * sizeof(struct code_guard)) +
                   words_for(f->line_count * sizeof(struct code_line));

    lock_acquire(&l->vm->platform, &r->lock);
    term_t *at = realm_alloc_locked(l->vm, words);
    struct fun *fun = (struct fun *)(void *)at;

    if (at != NULL) {
        at += words_for(sizeof(*fun));
        *fun = (struct fun){ .header = header_make(TAG_FUN, 0),
                             .code = at,
                             .params = f->params,
                             .variadic = f->variadic,
                             .frame_slots = f->frame_slots,
                             .name = f->name,
                             .file = l->u->file,
                             .word_count = f->word_count,
                             .guard_count = f->guard_count,
                             .line_count = f->line_count,
                             .meta = TERM_NIL };
        __builtin_memset(at, 0, f->word_count * sizeof(*at));
        if (!realm_add_fun(l->vm, fun)) {
            fun = NULL;
        }
    }
    lock_release(&r->lock);
    return fun;
}

/* Keys sorted as words, so that the interpreter can search them. Of equal keys the first stays. */
static void sort_table(uint64_t *pairs, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint64_t key = pairs[(size_t)2 * i];
        uint64_t to = pairs[(size_t)2 * i + 1];
        size_t k = i;

        for (; k > 0 && pairs[(size_t)2 * k - 2] > key; k--) {
            pairs[(size_t)2 * k] = pairs[(size_t)2 * k - 2];
            pairs[(size_t)2 * k + 1] = pairs[(size_t)2 * k - 1];
        }
        pairs[(size_t)2 * k] = key;
        pairs[(size_t)2 * k + 1] = to;
    }
}

static uint64_t link_extension(const struct linker *l, enum extension kind, uint64_t value)
{
    switch (kind) {
    case E_CONST:
        return l->u->constants[value];
    case E_VAR:
        return (uint64_t)(uintptr_t)term_ptr(l->u->constants[value]);
    case E_NATIVE:
        return (uint64_t)(uintptr_t)native_by_id(native_id(l->u->constants[value]));
    case E_FUN:
        return (uint64_t)(uintptr_t)l->funs[value];
    case E_MAP:
        if ((value & SAFEPOINT_INDIRECT) != 0) {
            uint64_t offset = l->map_base + l->maps.starts[value >> 32 & 0x7FFFFFFF];

            return SAFEPOINT_INDIRECT | offset << 32 | (value & 0xFFFFFFFF);
        }
        return value;
    default:
        return value;
    }
}

static void fill(const struct linker *l, struct fun *fun, const struct code_function *f)
{
    uint64_t *code = (uint64_t *)(uintptr_t)fun->code;
    term_t *after = code + f->word_count;

    __builtin_memcpy(code, f->words, f->word_count * sizeof(*code));
    for (uint32_t at = 0; at < f->word_count;) {
        const struct op_info *i = &op_info[op_code(code[at])];
        uint32_t n = i->words;

        if (i->e1 != E_NONE) {
            code[at + 1] = link_extension(l, i->e1, code[at + 1]);
        }
        if (i->e2 != E_NONE) {
            code[at + 2] = link_extension(l, i->e2, code[at + 2]);
        }
        if ((i->flags & OF_TABLE) != 0) {
            unsigned entries = op_b(code[at]);

            for (unsigned k = 0; k < entries; k++) {
                code[at + 1 + 2 * k] = l->u->constants[code[at + 1 + 2 * k]];
            }
            sort_table(&code[at + 1], entries);
            n += 2 * entries;
        }
        at += n;
    }
    fun->guards = (const struct code_guard *)(const void *)after;
    if (f->guard_count != 0) {
        __builtin_memcpy(after, f->guards, f->guard_count * sizeof(*f->guards));
    }
    after += words_for(f->guard_count * sizeof(*f->guards));
    fun->lines = (const struct code_line *)(const void *)after;
    if (f->line_count != 0) {
        __builtin_memcpy(after, f->lines, f->line_count * sizeof(*f->lines));
    }
}

static term_t link_verified(struct linker *l)
{
    if (!copy_constants(l) || !place_maps(l)) {
        return TERM_ERROR;
    }
    for (uint32_t i = 0; i < l->u->function_count; i++) {
        l->funs[i] = install(l, &l->u->functions[i]);
        if (l->funs[i] == NULL) {
            return raise_oom(l->p);
        }
    }
    for (uint32_t i = 0; i < l->u->function_count; i++) {
        fill(l, l->funs[i], &l->u->functions[i]);
    }
    return fun_term(l->funs[0]);
}

term_t code_link(struct process *p, struct code_unit *u)
{
    struct linker l = { .p = p, .vm = u->vm, .u = u, .maps = { .vm = u->vm } };
    struct code_error error;

    if (!code_verify_maps(u, &error, &l.maps)) {
        big_maps_deinit(&l.maps);
        return u->out_of_memory ? raise_oom(p) : bad_code(p, &error);
    }
    l.funs = vm_alloc(u->vm, u->function_count * sizeof(struct fun *));
    term_t fun = l.funs == NULL ? raise_oom(p) : link_verified(&l);

    vm_free(u->vm, (void *)l.funs, u->function_count * sizeof(struct fun *));
    big_maps_deinit(&l.maps);
    return fun;
}

const struct fun *realm_fun_at(struct vm *vm, const uint64_t *ip)
{
    const struct fun_index *x = &vm->realm.funs;
    /* acquire: pairs with the release in realm_add_fun() */
    uint32_t low = 0;
    uint32_t high = atomic_load_explicit(&x->count, memory_order_acquire);

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (x->funs[mid]->code <= ip) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low == 0) {
        return NULL;
    }
    const struct fun *f = x->funs[low - 1];

    return ip < f->code + f->word_count ? f : NULL;
}

struct code_line fun_line(const struct fun *f, const uint64_t *ip)
{
    uint32_t word = (uint32_t)(ip - f->code);
    struct code_line found = { 0, 0, 0 };

    for (uint32_t i = 0; i < f->line_count && f->lines[i].word <= word; i++) {
        found = f->lines[i];
    }
    return found;
}
