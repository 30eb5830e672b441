/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of a compilation and its errors. */
#include "compiler/state.h"

enum {
    CHUNK = 8192
};

void *pool_alloc(struct compiler *c, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (size > c->pool_left) {
        size_t bytes =
            size + sizeof(struct pool_chunk) > CHUNK ? size + 2 * sizeof(struct pool_chunk) : CHUNK;
        struct pool_chunk *chunk = vm_alloc(c->vm, bytes);

        if (chunk == NULL) {
            (void)raise_oom(c->p);
            return NULL;
        }
        *chunk = (struct pool_chunk){ c->pool, bytes };
        c->pool = chunk;
        c->pool_at = (uint8_t *)(chunk + 1);
        c->pool_left = bytes - sizeof(*chunk);
    }
    void *at = c->pool_at;

    c->pool_at += size;
    c->pool_left -= size;
    __builtin_memset(at, 0, size);
    return at;
}

void pool_deinit(struct compiler *c)
{
    while (c->pool != NULL) {
        struct pool_chunk *next = c->pool->next;

        vm_free(c->vm, c->pool, c->pool->size);
        c->pool = next;
    }
}

bool list_grow(struct compiler *c, void **items, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity) {
        return true;
    }
    uint32_t bigger = *capacity == 0 ? 16 : *capacity * 2;
    void *p = vm_alloc(c->vm, bigger * size);

    if (p == NULL) {
        (void)raise_oom(c->p);
        return false;
    }
    if (count != 0) {
        __builtin_memcpy(p, *items, count * size);
    }
    vm_free(c->vm, *items, *capacity * size);
    *items = p;
    *capacity = bigger;
    return true;
}

bool compile_fail(struct compiler *c, term_t kind, term_t form, const char *message)
{
    struct process *p = c->p;
    term_t text = heap_string(p, message, __builtin_strlen(message));

    if (text == TERM_ERROR) {
        return false;
    }
    term_t file = TERM_NIL;

    if (c->source->file != NULL) {
        file = heap_string(p, c->source->file, __builtin_strlen(c->source->file));
        if (file == TERM_ERROR) {
            return false;
        }
    }
    /* The places of a form that wasn't read from text are unknown: line 0 becomes nil. */
    term_t line = c->place.line == 0 ? TERM_NIL : term_small(c->place.line);
    term_t column = c->place.line == 0 ? TERM_NIL : term_small(c->place.column);

    (void)raise(p, kind, 5, KW(form), form, KW(line), line, KW(column), column, KW(message), text,
                KW(file), file);
    return false;
}

bool syntax_error(struct compiler *c, term_t form, const char *message)
{
    return compile_fail(c, KW(syntax_error), form, message);
}
