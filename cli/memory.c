/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation, buffers and lists of strings, and what the cleanup attributes call. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/assert.h>

#include "cli.h"
#include "files.h"

/* The cleanup attribute passes the variable's address. */
void cleanup_fd(int *fd) /* NOLINT(readability-non-const-parameter) */
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
}

void cleanup_free(void *ptr_to_ptr)
{
    void **ptr = ptr_to_ptr;

    free(*ptr);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static void *checked(void *ptr)
{
    if (!ptr) {
        exit(complain(STATUS_FAILED, "out of memory"));
    }
    return ptr;
}

void *alloc_zeroed(size_t count, size_t size)
{
    return checked(calloc(max_of(count, (size_t)1), size));
}

void *alloc_resized(void *ptr, size_t count, size_t size)
{
    return checked(reallocarray(ptr, max_of(count, (size_t)1), size));
}

char *text_copy(const char *text)
{
    return checked(strdup(text));
}

char *text_copy_sized(const char *text, size_t size)
{
    char *copy = alloc_zeroed(size + 1, 1);

    if (size) {
        memcpy(copy, text, size);
    }
    return copy;
}

char *text_format(const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        text = NULL;
    }
    va_end(args);
    return checked(text);
}

/* ---- Buffers and lists ----------------------------------------------------------------------- */

void buffer_reserve(struct buffer *b, size_t size)
{
    if (b->capacity - b->size > size && b->data) {
        return;
    }
    size_t wanted = max_of(b->capacity * 2, b->size + size + 1);

    b->capacity = max_of(wanted, (size_t)256);
    b->data = alloc_resized(b->data, b->capacity, 1);
}

void buffer_add(struct buffer *b, const void *bytes, size_t size)
{
    buffer_reserve(b, size);
    if (size) {
        memcpy(b->data + b->size, bytes, size);
    }
    b->size += size;
    b->data[b->size] = '\0';
    assert(b->size < b->capacity);
}

void buffer_add_text(struct buffer *b, const char *text)
{
    buffer_add(b, text, strlen(text));
}

void buffer_format(struct buffer *b, const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length >= 0) {
        buffer_add(b, text, (size_t)length);
    }
    free(length < 0 ? NULL : checked(text));
}

void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){ 0 };
}

void strings_take(struct strings *s, char *text)
{
    if (s->count + 1 >= s->capacity) {
        s->capacity = max_of(s->capacity * 2, (size_t)8);
        s->items = alloc_resized(s->items, s->capacity, sizeof(*s->items));
    }
    s->items[s->count++] = text;
    s->items[s->count] = NULL;
}

void strings_add(struct strings *s, const char *text)
{
    strings_take(s, text_copy(text));
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void strings_sort(struct strings *s)
{
    if (s->count > 1) {
        qsort(s->items, s->count, sizeof(*s->items), compare_texts);
    }
}

bool strings_has(const struct strings *s, const char *text)
{
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->items[i], text) == 0) {
            return true;
        }
    }
    return false;
}

void strings_free(struct strings *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->items[i]);
    }
    free(s->items);
    *s = (struct strings){ 0 };
}
