/* SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/assert.h>

#include "fault.h"
#include "internal.h"

#define NAME_SIZE 256u

struct change {
    struct disk_node *dir;
    char *name;
    struct disk_node *node;
    bool is_joined; /* with the one before */
};

static struct disk_node *nodes;
static struct disk_node *root;
static uint64_t next_inode;
static uint64_t generation;
static struct change *journal;
static unsigned journal_count;
static unsigned journal_capacity;

char *disk_copy_text(const char *text)
{
    size_t size = strlen(text) + 1;

    return memcpy(sim_calloc(1, size), text, size);
}

/* ---- Nodes and names ---- */

struct disk_node *disk_node_new(mode_t mode)
{
    struct disk_node *n = sim_calloc(1, sizeof(*n));

    n->inode = next_inode++;
    n->mode = mode;
    n->next = nodes;
    nodes = n;
    return n;
}

static void names_free(struct disk_names *names)
{
    for (unsigned i = 0; i < names->count; i++) {
        sim_free(names->entries[i].name);
    }
    sim_free(names->entries);
    names->entries = NULL;
    names->count = 0;
}

/* Each world's disk is another device: what a program remembers of the last one's files, this one's
 * are not. Always seven digits. */
static uint32_t devices;

uint32_t disk_device(void)
{
    return 1000000u + devices % 9000000u;
}

void disk_init(void)
{
    devices++;
    nodes = NULL;
    next_inode = 1;
    generation = 1;
    root = disk_node_new(S_IFDIR | 0755);
}

void disk_deinit(void)
{
    while (nodes != NULL) {
        struct disk_node *n = nodes;

        nodes = n->next;
        names_free(&n->names);
        names_free(&n->kept_names);
        sim_free(n->data);
        sim_free(n->kept);
        sim_free(n->dirty);
        sim_free(n);
    }
    for (unsigned i = 0; i < journal_count; i++) {
        sim_free(journal[i].name);
    }
    journal_count = 0;
}

struct disk_node *disk_names_get(const struct disk_names *names, const char *name)
{
    for (unsigned i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].name, name) == 0) {
            return names->entries[i].node;
        }
    }
    return NULL;
}

static void names_set(struct disk_names *names, const char *name, struct disk_node *node)
{
    for (unsigned i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].name, name) == 0) {
            if (node != NULL) {
                names->entries[i].node = node;
                return;
            }
            sim_free(names->entries[i].name);
            names->count--;
            memmove(&names->entries[i], &names->entries[i + 1],
                    (names->count - i) * sizeof(names->entries[0]));
            return;
        }
    }
    if (node != NULL) {
        names->entries = sim_grow(names->entries, (names->count + 1) * sizeof(names->entries[0]));
        names->entries[names->count].name = disk_copy_text(name);
        names->entries[names->count].node = node;
        names->count++;
    }
}

static void journal_add(struct disk_node *dir, const char *name, struct disk_node *node,
                        bool is_joined)
{
    if (journal_count == journal_capacity) {
        journal_capacity = journal_capacity == 0 ? 64 : journal_capacity * 2;
        journal = sim_grow(journal, journal_capacity * sizeof(*journal));
    }
    journal[journal_count++] = (struct change){
        .dir = dir, .name = disk_copy_text(name), .node = node, .is_joined = is_joined
    };
}

static void journal_apply(unsigned count)
{
    for (unsigned i = 0; i < journal_count; i++) {
        if (i < count) {
            names_set(&journal[i].dir->kept_names, journal[i].name, journal[i].node);
        }
        sim_free(journal[i].name);
    }
    journal_count = 0;
}

void disk_commit_names(void)
{
    journal_apply(journal_count);
}

void disk_set_name(struct disk_node *dir, const char *name, struct disk_node *node)
{
    names_set(&dir->names, name, node);
    journal_add(dir, name, node, false);
    generation++;
}

void disk_move_name(struct disk_node *from, const char *from_name, struct disk_node *to,
                    const char *to_name)
{
    struct disk_node *n = disk_names_get(&from->names, from_name);

    names_set(&to->names, to_name, n);
    journal_add(to, to_name, n, false);
    names_set(&from->names, from_name, NULL);
    journal_add(from, from_name, NULL, true);
    generation++;
}

uint64_t sim_disk_generation(void)
{
    return generation;
}

int disk_find(struct disk_node *base, const char *path, struct disk_node **out,
              struct disk_node **dir, const char **name)
{
    struct disk_node *at = path[0] == '/' || base == NULL ? root : base;

    if (dir != NULL) {
        *dir = NULL;
    }
    for (;;) {
        char part[NAME_SIZE];
        size_t length = 0;

        while (*path == '/') {
            path++;
        }
        length = strcspn(path, "/");
        if (length == 0) {
            *out = at;
            return 0;
        }
        if (!S_ISDIR(at->mode)) {
            return -ENOTDIR;
        }
        if (length >= sizeof(part)) {
            return -ENAMETOOLONG;
        }
        memcpy(part, path, length);
        part[length] = '\0';
        bool is_last = path[length + strspn(path + length, "/")] == '\0';

        if (is_last && dir != NULL) {
            *dir = at;
            *name = path;
        }
        if (strcmp(part, ".") != 0) {
            at = disk_names_get(&at->names, part);
        }
        if (at == NULL) {
            *out = NULL;
            return -ENOENT;
        }
        path += length;
    }
}

/* ---- Bytes ---- */

static size_t pages_of(size_t size)
{
    return div_ceil(size, (size_t)DISK_PAGE);
}

static void mark_dirty(struct disk_node *n, size_t offset, size_t size)
{
    size_t pages = pages_of(max_of(n->size, offset + size));

    if (pages > n->dirty_pages) {
        n->dirty = sim_grow(n->dirty, pages);
        memset(n->dirty + n->dirty_pages, 0, pages - n->dirty_pages);
        n->dirty_pages = pages;
    }
    for (size_t p = offset / DISK_PAGE; size > 0 && p <= (offset + size - 1) / DISK_PAGE; p++) {
        n->dirty[p] = PAGE_DIRTY | PAGE_PRESENT;
    }
}

void disk_resize(struct disk_node *n, size_t size)
{
    if (size > n->capacity) {
        /* Zero memory that nobody touches costs nothing: a sparse file stays sparse here. */
        size_t capacity = max_of(size, n->capacity * 2);
        uint8_t *bigger = sim_calloc(1, capacity);

        if (n->size > 0) {
            memcpy(bigger, n->data, n->size);
        }
        sim_free(n->data);
        n->data = bigger;
        n->capacity = capacity;
    }
    if (size < n->size) {
        memset(n->data + size, 0, n->size - size); /* what lies behind the end is zero */
    }
    n->size = size;
    n->version++;
}

void disk_write(struct disk_node *n, size_t offset, const void *from, size_t size)
{
    if (offset + size > n->size) {
        disk_resize(n, offset + size);
    }
    memcpy(n->data + offset, from, size);
    n->version++;
    mark_dirty(n, offset, size);
}

static void keep_page(struct disk_node *n, size_t page)
{
    size_t offset = page * DISK_PAGE;

    if (offset < n->size && offset < n->kept_size) {
        memcpy(n->kept + offset, n->data + offset,
               min_of((size_t)DISK_PAGE, min_of(n->size, n->kept_size) - offset));
    }
}

static void keep_size(struct disk_node *n)
{
    if (n->kept == NULL || n->size > n->kept_capacity) {
        uint8_t *bigger = sim_calloc(1, n->size + 1);

        if (n->kept != NULL) {
            memcpy(bigger, n->kept, n->kept_size);
        }
        sim_free(n->kept);
        n->kept = bigger;
        n->kept_capacity = n->size;
    }
    if (n->size < n->kept_size) {
        memset(n->kept + n->size, 0, n->kept_size - n->size);
    }
    n->kept_size = n->size;
}

void disk_flush(struct disk_node *n)
{
    keep_size(n);
    for (size_t p = 0; p < n->dirty_pages; p++) {
        if ((n->dirty[p] & PAGE_DIRTY) != 0) {
            keep_page(n, p);
            n->dirty[p] = PAGE_PRESENT;
        }
    }
}

void disk_forget_dirty(struct disk_node *n)
{
    for (size_t p = 0; p < n->dirty_pages; p++) {
        n->dirty[p] &= PAGE_PRESENT;
    }
}

size_t disk_next(const struct disk_node *n, size_t offset, bool is_data)
{
    for (size_t p = offset / DISK_PAGE; p * DISK_PAGE < n->size; p++) {
        bool is_present = p < n->dirty_pages && n->dirty[p] != 0;

        if (is_present == is_data) {
            return max_of(offset, p * DISK_PAGE);
        }
    }
    return n->size;
}

/* ---- Loss of power ---- */

static void lose_file(struct disk_node *n, bool is_all_lost)
{
    if (n->size != n->kept_size && !is_all_lost && sim_random_chance(sim_disk_random(), 0.5)) {
        keep_size(n);
    }
    for (size_t p = 0; p < n->dirty_pages; p++) {
        if ((n->dirty[p] & PAGE_DIRTY) != 0) {
            if (!is_all_lost && sim_random_chance(sim_disk_random(), 0.5)) {
                keep_page(n, p);
            }
            n->dirty[p] = PAGE_PRESENT;
        }
    }
    n->size = 0;
    disk_resize(n, n->kept_size);
    if (n->kept_size > 0) {
        memcpy(n->data, n->kept, n->kept_size);
    }
}

static void names_copy(struct disk_names *to, const struct disk_names *from)
{
    names_free(to);
    for (unsigned i = 0; i < from->count; i++) {
        names_set(to, from->entries[i].name, from->entries[i].node);
    }
}

void disk_lose_power(void)
{
    unsigned kept = sim_random_below(sim_disk_random(), journal_count + 1);

    while (kept < journal_count && journal[kept].is_joined) {
        kept++;
    }
    bool is_all_lost =
        sim_fault_draw(OP_power_loss, SIM_KIND(UNFLUSHED_LOSS), NULL) != SIM_FAULT_NONE;

    sim_trace("power lost, %u of %u name changes kept", kept, journal_count);
    journal_apply(kept);
    /* In the order of creation: the list has the newest first, the draws must not depend on that
     * only by accident, and one order is as good as another. */
    for (struct disk_node *n = nodes; n != NULL; n = n->next) {
        if (S_ISDIR(n->mode)) {
            names_copy(&n->names, &n->kept_names);
        } else {
            lose_file(n, is_all_lost);
        }
        n->listener = NULL;
        n->is_locked = false;
        n->owner = NULL;
    }
    generation++;
}

void sim_power_loss(void)
{
    unsigned own = sim_proc_current();

    disk_lose_power();
    for (unsigned p = 1; p < SIM_PROCS_MAX; p++) {
        if (p != own) {
            sim_proc_kill(p);
        }
    }
    if (own != 0) {
        sim_proc_kill(own); /* does not return */
    }
}

/* ---- For scenarios: no faults, durable at once ---- */

void sim_disk_mkdir(const char *path)
{
    char prefix[1024];
    struct disk_node *n = NULL;
    struct disk_node *dir = NULL;
    const char *name = NULL;

    for (size_t i = 1; i <= strlen(path); i++) {
        if (path[i] == '/' || path[i] == '\0') {
            assert(i < sizeof(prefix));
            memcpy(prefix, path, i);
            prefix[i] = '\0';
            if (disk_find(NULL, prefix, &n, &dir, &name) == -ENOENT) {
                disk_set_name(dir, name, disk_node_new(S_IFDIR | 0755));
            }
        }
    }
    disk_commit_names();
}

void sim_disk_put(const char *path, const void *data, size_t size, mode_t mode)
{
    char prefix[1024];
    struct disk_node *n = NULL;
    struct disk_node *dir = NULL;
    const char *name = NULL;
    const char *slash = strrchr(path, '/');

    assert(slash != NULL && (size_t)(slash - path) < sizeof(prefix));
    memcpy(prefix, path, (size_t)(slash - path));
    prefix[slash - path] = '\0';
    if (prefix[0] != '\0') {
        sim_disk_mkdir(prefix);
    }
    if (disk_find(NULL, path, &n, &dir, &name) == -ENOENT) {
        n = disk_node_new(mode);
        disk_set_name(dir, name, n);
    }
    disk_resize(n, 0);
    disk_write(n, 0, data, size);
    disk_flush(n);
    disk_commit_names();
}

long sim_disk_size(const char *path)
{
    struct disk_node *n = NULL;

    return disk_find(NULL, path, &n, NULL, NULL) < 0 ? -1 : (long)n->size;
}

uint64_t sim_disk_version(const char *path)
{
    struct disk_node *n = NULL;

    /* Both grow: no two contents of two files share one. */
    return disk_find(NULL, path, &n, NULL, NULL) < 0 ? 0 : n->inode << 32 | n->version;
}

void *sim_disk_get(const char *path, size_t *size)
{
    struct disk_node *n = NULL;

    if (disk_find(NULL, path, &n, NULL, NULL) < 0) {
        return NULL;
    }
    void *copy = sim_calloc(1, n->size + 1);

    if (n->size > 0) {
        memcpy(copy, n->data, n->size);
    }
    *size = n->size;
    return copy;
}

void sim_disk_flip(const char *path, size_t offset, unsigned bit)
{
    struct disk_node *n = NULL;

    if (disk_find(NULL, path, &n, NULL, NULL) == 0 && offset < n->size) {
        n->data[offset] ^= (uint8_t)(1u << bit);
        n->version++;
        mark_dirty(n, offset, 1);
        disk_flush(n);
    }
}

void sim_disk_remove(const char *path)
{
    struct disk_node *n = NULL;
    struct disk_node *dir = NULL;
    const char *name = NULL;

    if (disk_find(NULL, path, &n, &dir, &name) == 0 && dir != NULL) {
        disk_set_name(dir, name, NULL);
        disk_commit_names();
    }
}

bool sim_disk_list(const char *path, unsigned index, char *name, size_t size)
{
    struct disk_node *n = NULL;

    if (disk_find(NULL, path, &n, NULL, NULL) < 0 || index >= n->names.count) {
        return false;
    }
    assert(strlen(n->names.entries[index].name) < size);
    memcpy(name, n->names.entries[index].name, strlen(n->names.entries[index].name) + 1);
    return true;
}

unsigned sim_disk_count(const char *path)
{
    struct disk_node *n = NULL;

    return disk_find(NULL, path, &n, NULL, NULL) < 0 ? 0 : n->names.count;
}

void sim_files_init(void)
{
    disk_init();
    sim_net_init();
}

void sim_files_deinit(void)
{
    for (unsigned p = 0; p < SIM_PROCS_MAX; p++) {
        sim_fds_close_all(p);
    }
    disk_deinit();
}
