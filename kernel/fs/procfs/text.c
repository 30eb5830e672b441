/* SPDX-License-Identifier: Apache-2.0 */
/* Text that is made as a whole: small ones from kmalloc, large ones from vmalloc. */
#include <base/fmt.h>
#include <core/string.h>
#include <fs/procfs/procfs.h>
#include <mm/slab.h>

#define TEXT_FIRST 512u
#define TEXT_MAX   (16u << 20)

static void buffer_free(char *buf, size_t size)
{
    if (!buf) {
        return;
    }
    if (size <= KMALLOC_MAX) {
        kfree(buf);
    } else {
        vfree(buf);
    }
}

static bool reserve(struct proc_text *t, size_t more)
{
    size_t size = max_of(t->size * 2, (size_t)TEXT_FIRST);
    char *buf = NULL;

    if (more <= t->size - t->used) {
        return true;
    }
    while (size - t->used < more && size <= TEXT_MAX) {
        size *= 2;
    }
    if (!t->is_out_of_memory && size <= TEXT_MAX) {
        buf = size <= KMALLOC_MAX ? kmalloc(size, GFP_KERNEL) : vmalloc(size, GFP_KERNEL);
    }
    if (!buf) {
        t->is_out_of_memory = true;
        return false;
    }
    memcpy(buf, t->buf ? t->buf : "", t->used);
    buffer_free(t->buf, t->size);
    t->buf = buf;
    t->size = size;
    return true;
}

void proc_append(struct proc_text *t, const void *bytes, size_t size)
{
    if (reserve(t, size)) {
        memcpy(t->buf + t->used, bytes, size);
        t->used += size;
    }
}

void proc_print(struct proc_text *t, const char *format, ...)
{
    va_list args;
    size_t n;

    if (!reserve(t, 256)) {
        return;
    }
    for (;;) {
        va_start(args, format);
        n = fmt_vsnprintf(t->buf + t->used, t->size - t->used, format, args);
        va_end(args);
        if (n < t->size - t->used) {
            t->used += n;
            return;
        }
        if (!reserve(t, n + 1)) {
            return;
        }
    }
}

void proc_text_free(struct proc_text *t)
{
    buffer_free(t->buf, t->size);
}
