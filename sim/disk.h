/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated disk: nodes, names, and which of it would survive the loss of power.
 *
 * Each file has its bytes as programs see them (the page cache) and those on the medium; fsync
 * copies the dirty pages. Names have a journal: changes reach the medium in order, at the latest
 * with an fsync of a directory. A loss of power keeps a prefix of the journal and, of each file,
 * any subset of its dirty pages.
 */
#pragma once

#include <sys/stat.h>

#include "file.h"

#define DISK_PAGE 4096u

#define PAGE_DIRTY   1u /* not yet on the medium */
#define PAGE_PRESENT 2u /* was written once: not a hole */

struct disk_node;

struct disk_entry {
    char *name;
    struct disk_node *node;
};

struct disk_names {
    struct disk_entry *entries;
    unsigned count;
};

struct disk_node {
    struct disk_node *next; /* all nodes */
    uint64_t inode;
    mode_t mode; /* with the type */
    uint8_t *data;
    size_t size;
    size_t capacity;
    uint8_t *kept; /* on the medium */
    size_t kept_size;
    size_t kept_capacity;
    uint8_t *dirty; /* a byte a page: PAGE_* */
    size_t dirty_pages;
    struct disk_names names;      /* a directory's, as programs see them */
    struct disk_names kept_names; /* on the medium */
    uint64_t version;             /* counts changes of the bytes */
    void *listener;               /* a bound socket */
    bool is_locked;               /* flock() */
    struct sim_file *owner;       /* F_OFD_SETLK; NULL: nobody */
};

char *disk_copy_text(const char *text); /* sim_free */

void disk_init(void);
uint32_t disk_device(void); /* st_dev */
void disk_deinit(void);

/* Find `path` from `base` (NULL: the root). Negative errno; *name (may be NULL) is the last part,
 * *dir (may be NULL) its directory, and then -ENOENT means that only the last part is missing. */
int disk_find(struct disk_node *base, const char *path, struct disk_node **out,
              struct disk_node **dir, const char **name);
struct disk_node *disk_node_new(mode_t mode);
struct disk_node *disk_names_get(const struct disk_names *names, const char *name);
/* Journalled: `node` NULL removes. */
void disk_set_name(struct disk_node *dir, const char *name, struct disk_node *node);
/* One change of two names: both reach the medium or neither. */
void disk_move_name(struct disk_node *from, const char *from_name, struct disk_node *to,
                    const char *to_name);
void disk_commit_names(void);

void disk_resize(struct disk_node *n, size_t size);
void disk_write(struct disk_node *n, size_t offset, const void *from, size_t size);
/* The next data (or hole) at or after `offset`; the size when there is none. */
size_t disk_next(const struct disk_node *n, size_t offset, bool is_data);
void disk_flush(struct disk_node *n);
/* fsync failed: the pages count as clean and are not on the medium, as on Linux. */
void disk_forget_dirty(struct disk_node *n);
void disk_lose_power(void);
