/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image's /etc/ld.so.cache. Without it glibc's loader tries a dozen directories for hardware
 * variants before each program's first library: some twenty system calls that find nothing, and
 * those are what is expensive in a guest whose kernel is interpreted.
 *
 * The format is glibc's (sysdeps/generic/dl-cache.h): a header of 48 bytes, entries of 24 bytes
 * (flags, offsets of name and path from the file's start, two fields for variants, which stay 0),
 * the strings. Entries are sorted downwards in the loader's own order, in which runs of digits
 * count as numbers.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <base/assert.h>
#include <base/bytes.h>

#include "pack.h"

#define CACHE_MAGIC       "glibc-ld.so.cache1.1"
#define CACHE_MAGIC_SIZE  20u
#define CACHE_HEADER_SIZE 48u
#define CACHE_ENTRY_SIZE  24u
#define CACHE_LITTLE      2u /* byte order, in the header */
#define LIBRARIES_MAX     65536u

#if defined(__x86_64__)
#define MULTIARCH     "x86_64-linux-gnu"
#define LIBRARY_FLAGS 0x0303u /* a library of glibc 2 for x86-64 */
#elif defined(__aarch64__)
#define MULTIARCH     "aarch64-linux-gnu"
#define LIBRARY_FLAGS 0x0a03u
#endif

struct library {
    const char *name; /* of the tree's node */
    const char *dir;
};

struct libraries {
    struct library *items;
    size_t count;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The value of the digits at *p, which is moved behind them; one that is too large stays at the
 * top. */
static uint64_t take_number(const char **p)
{
    uint64_t value = 0;

    for (; is_digit(**p); (*p)++) {
        value = value > UINT32_MAX ? value : value * 10 + (uint64_t)(**p - '0');
    }
    return value;
}

/* glibc's _dl_cache_libcmp(). */
static int compare_names(const char *a, const char *b)
{
    while (*a != '\0') {
        if (is_digit(*a) != is_digit(*b)) {
            return is_digit(*a) ? 1 : -1;
        }
        if (is_digit(*a)) {
            uint64_t x = take_number(&a);
            uint64_t y = take_number(&b);

            if (x != y) {
                return x < y ? -1 : 1;
            }
            continue;
        }
        if (*a != *b) {
            return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
        }
        a++;
        b++;
    }
    return *b == '\0' ? 0 : -1;
}

static int compare_downwards(const void *a, const void *b)
{
    const struct library *x = a;
    const struct library *y = b;
    int order = compare_names(y->name, x->name);

    return order ? order : strcmp(x->name, y->name);
}

static bool has_library(const struct libraries *l, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(l->items[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void collect_dir(struct image_tree *t, const char *path, struct libraries *out)
{
    const struct image_node *dir = tree_find(t, path, true);
    size_t before = out->count;

    for (size_t i = 0; dir && i < dir->child_count && out->count < LIBRARIES_MAX; i++) {
        const char *name = dir->children[i]->name;
        CLEANUP_FREE char *file = path_join(path, name);
        const struct image_node *target = strstr(name, ".so") ? tree_find(t, file, true) : NULL;

        if (target && S_ISREG(target->mode) && !has_library(out, before, name)) {
            out->items = alloc_resized(out->items, out->count + 1, sizeof(*out->items));
            out->items[out->count++] = (struct library){ name, path };
        }
    }
}

static void format_cache(const struct libraries *l, struct buffer *out)
{
    uint8_t header[CACHE_HEADER_SIZE] = { 0 };
    CLEANUP_BUFFER texts = { 0 };
    size_t texts_at = CACHE_HEADER_SIZE + l->count * CACHE_ENTRY_SIZE;

    buffer_add(out, header, sizeof(header));
    for (size_t i = 0; i < l->count; i++) {
        uint8_t entry[CACHE_ENTRY_SIZE] = { 0 };

        store_le32(entry, LIBRARY_FLAGS);
        store_le32(entry + 4, (uint32_t)(texts_at + texts.size));
        buffer_add(&texts, l->items[i].name, strlen(l->items[i].name) + 1);
        store_le32(entry + 8, (uint32_t)(texts_at + texts.size));
        buffer_format(&texts, "%s/%s", l->items[i].dir, l->items[i].name);
        buffer_add(&texts, "", 1);
        buffer_add(out, entry, sizeof(entry));
    }
    assert(out->size == texts_at);
    buffer_add(out, texts.data, texts.size);
    memcpy(out->data, CACHE_MAGIC, CACHE_MAGIC_SIZE);
    store_le32(out->data + 20, (uint32_t)l->count);
    store_le32(out->data + 24, (uint32_t)texts.size);
    out->data[28] = CACHE_LITTLE;
}

int skeleton_add_ld_cache(struct image_tree *t)
{
    static const char *const dirs[] = { ("/lib/" MULTIARCH), "/lib", "/lib64" };
    struct libraries all = { 0 };
    CLEANUP_BUFFER cache = { 0 };
    int err = 0;

    for (size_t i = 0; i < array_size(dirs); i++) {
        collect_dir(t, dirs[i], &all);
    }
    if (all.count > 0) {
        qsort(all.items, all.count, sizeof(*all.items), compare_downwards);
        format_cache(&all, &cache);
        err = tree_add_bytes(t, "etc/ld.so.cache", 0644, cache.data, cache.size);
    }
    free(all.items);
    return err < 0 ? refuse_node("image", "/etc/ld.so.cache", err) : 0;
}
