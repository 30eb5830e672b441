/* SPDX-License-Identifier: Apache-2.0 */
#include <proc/exec_strings.h>

#include <core/string.h>
#include <mm/reclaim.h>
#include <mm/slab.h>
#include <syscall/uaccess.h>

void exec_strings_init(struct exec_strings *s, uint64_t limit)
{
    *s = (struct exec_strings){ .limit = min_of(limit, EXEC_PAGES_MAX * PAGE_SIZE) };
}

void exec_strings_deinit(struct exec_strings *s)
{
    for (uint32_t i = 0; i < s->page_count; i++) {
        page_put(s->pages[i]);
    }
    kfree(s->pages);
    kfree(s->offsets);
    *s = (struct exec_strings){ .limit = s->limit };
}

/* Double an array of `count` used elements. */
static int grow_array(void **array, uint32_t count, uint32_t *room, size_t element)
{
    uint32_t more = *room ? *room * 2 : 32;
    void *bigger = kmalloc_array(more, element, GFP_KERNEL);

    if (!bigger) {
        return -ENOMEM;
    }
    if (count > 0) {
        memcpy(bigger, *array, count * element);
    }
    kfree(*array);
    *array = bigger;
    *room = more;
    return 0;
}

/* Room at s->size: the place in its page, and how many bytes that page still has. */
static int current_room(struct exec_strings *s, char **at, size_t *room)
{
    uint32_t index = (uint32_t)(s->size / PAGE_SIZE);

    if (index == s->page_count) {
        if (s->page_count == s->page_room &&
            grow_array((void **)&s->pages, s->page_count, &s->page_room, sizeof(void *)) < 0) {
            return -ENOMEM;
        }
        /* Zeroed: what follows the last string becomes the program's as well. */
        struct page *p = page_alloc_reclaim(GFP_USER | GFP_ZERO);

        if (!p) {
            return -ENOMEM;
        }
        s->pages[s->page_count++] = p;
    }
    *at = (char *)page_address(s->pages[index]) + s->size % PAGE_SIZE;
    *room = PAGE_SIZE - s->size % PAGE_SIZE;
    return 0;
}

static int note_offset(struct exec_strings *s)
{
    if (s->count == s->room &&
        grow_array((void **)&s->offsets, s->count, &s->room, sizeof(*s->offsets)) < 0) {
        return -ENOMEM;
    }
    s->offsets[s->count++] = (uint32_t)s->size;
    return 0;
}

/* Strings and the pointers to them count, as on Linux. */
static bool is_over(const struct exec_strings *s, size_t more)
{
    return s->size + more + (uint64_t)s->count * sizeof(uint64_t) > s->limit;
}

int exec_strings_add_bytes(struct exec_strings *s, const void *bytes, size_t size, uint32_t *offset)
{
    const char *from = bytes;

    if (is_over(s, size)) {
        return -E2BIG;
    }
    *offset = (uint32_t)s->size;
    while (size > 0) {
        char *at;
        size_t room;
        int err = current_room(s, &at, &room);

        if (err < 0) {
            return err;
        }
        size_t n = min_of(room, size);

        memcpy(at, from, n);
        s->size += n;
        from += n;
        size -= n;
    }
    return 0;
}

int exec_strings_add(struct exec_strings *s, const char *string)
{
    size_t size = strlen(string) + 1;
    uint32_t offset;
    int err = size > EXEC_STRING_MAX ? -E2BIG : note_offset(s);

    return err < 0 ? err : exec_strings_add_bytes(s, string, size, &offset);
}

int exec_strings_add_user(struct exec_strings *s, const char __user *string)
{
    size_t total = 0;
    int err = note_offset(s);

    while (err == 0) {
        char *at;
        size_t room;

        err = current_room(s, &at, &room);
        if (err < 0) {
            return err;
        }
        size_t most = min_of(room, (size_t)EXEC_STRING_MAX - total);
        ssize_t n = strncpy_from_user(at, string + total, most);

        if (n == -ENAMETOOLONG) { /* this piece is full; the string goes on */
            s->size += most;
            total += most;
            if (total == EXEC_STRING_MAX || is_over(s, 0)) {
                return -E2BIG;
            }
            continue;
        }
        if (n < 0) {
            return -EFAULT;
        }
        s->size += (uint64_t)n + 1;
        return is_over(s, 0) ? -E2BIG : 0;
    }
    return err;
}

int exec_strings_add_user_array(struct exec_strings *s, const void __user *array, uint32_t skip,
                                uint32_t *count)
{
    const uint64_t *at = (const uint64_t *)array;

    if (!array) {
        return 0;
    }
    for (uint32_t i = 0;; i++) {
        uint64_t pointer;

        if (get_user64(&pointer, at + i) < 0) {
            return -EFAULT;
        }
        if (pointer == 0) {
            return 0;
        }
        if (i < skip) {
            continue;
        }
        int err = exec_strings_add_user(s, (const char __user *)(uintptr_t)pointer);

        if (err < 0) {
            return err;
        }
        (*count)++;
    }
}
