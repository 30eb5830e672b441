/* SPDX-License-Identifier: Apache-2.0 */
/* Text that grows. Out of memory ends the program: it has nothing else to do then. */
#include <stdlib.h>
#include <string.h>

#include "program.h"

void text_put(struct text *t, const char *bytes, size_t n)
{
    if (t->capacity - t->size <= n) {
        size_t capacity = t->capacity + n + t->capacity / 2 + 64;
        char *bigger = realloc(t->bytes, capacity);

        if (bigger == NULL) {
            (void)fputs("lona: out of memory\n", stderr);
            _Exit(STATUS_ERROR);
        }
        t->bytes = bigger;
        t->capacity = capacity;
    }
    memcpy(t->bytes + t->size, bytes, n);
    t->size += n;
    t->bytes[t->size] = '\0';
}

void text_put_string(struct text *t, const char *s)
{
    text_put(t, s, strlen(s));
}

void text_clear(struct text *t)
{
    t->size = 0;
    text_put(t, "", 0);
}

void text_deinit(struct text *t)
{
    free(t->bytes);
    *t = (struct text){ 0 };
}

void text_out(void *arg, const char *bytes, size_t n)
{
    text_put(arg, bytes, n);
}
