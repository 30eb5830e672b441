/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system in memory, to be written as an image. Paths come from packages and projects: they
 * are resolved inside the tree (".." never leaves its root, symbolic links are followed in the tree
 * and nowhere else). Directories keep their entries sorted, so that what is written does not depend
 * on the order in which things were added.
 *
 * Functions return 0 or a negative errno: -ELOOP, -ENOTDIR, -ENAMETOOLONG, -EISDIR, -EEXIST,
 * -EINVAL.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include <base/compiler.h>

#define IMAGE_NAME_MAX  255u
#define IMAGE_PATH_MAX  4095u
#define IMAGE_LINKS_MAX 40u
#define IMAGE_DEPTH_MAX 512u
#define IMAGE_NODES_MAX 2000000u

enum image_source {
    SOURCE_NONE,  /* empty, or no regular file */
    SOURCE_BYTES, /* in memory; of a symbolic link: its target */
    SOURCE_FILE,  /* a file of the host, read when the image is written */
    SOURCE_SPOOL, /* a piece of the tree's spool file */
};

struct image_node {
    char *name;
    struct image_node *parent;
    struct image_node **children; /* sorted by name; directories only */
    size_t child_count;
    size_t child_capacity;
    /* A hard link: the node that this is another name of, which is never itself a link. */
    struct image_node *link;
    bool is_link_target;
    uint32_t depth; /* below the root; bounded, so that walks may recurse */

    mode_t mode; /* type and permissions */
    uint32_t uid;
    uint32_t gid;
    uint32_t device; /* of device nodes, in the kernel's encoding */

    enum image_source source;
    uint64_t size;
    uint64_t spool_offset;
    char *bytes; /* BYTES; FILE: the host's path */

    /* The writer's. */
    uint64_t nid;
    uint32_t link_count;
    uint32_t block;
    bool is_inline;
    bool is_extended;
};

struct image_tree {
    struct image_node root;
    int spool_fd; /* -1 until the first piece */
    uint64_t spool_size;
    uint32_t node_count;
};

struct image_tree *tree_create(void);
void tree_destroy(struct image_tree *t); /* NULL is fine */

/*
 * The node at `path`, NULL if there is none. The last part is followed when it is a symbolic link
 * and `follow` is set. A hard link's target is returned for the link.
 */
struct image_node *tree_find(struct image_tree *t, const char *path, bool follow);

/* A directory and its missing parents (0755). One that is there gets the mode. */
int tree_add_dir(struct image_tree *t, const char *path, mode_t permissions) MUST_CHECK;

/* These replace what is there, unless it is a directory (-EISDIR). Parents are made. */
int tree_add_symlink(struct image_tree *t, const char *path, const char *target) MUST_CHECK;
int tree_add_bytes(struct image_tree *t, const char *path, mode_t permissions, const void *bytes,
                   size_t size) MUST_CHECK;
int tree_add_host_file(struct image_tree *t, const char *path, mode_t permissions,
                       const char *host_path, uint64_t size) MUST_CHECK;
int tree_add_device(struct image_tree *t, const char *path, mode_t mode, unsigned device_major,
                    unsigned device_minor) MUST_CHECK;

/* Another name for the file at `target`; -ENOENT when there is none, -EISDIR for a directory. */
int tree_add_hard_link(struct image_tree *t, const char *path, const char *target) MUST_CHECK;

/*
 * A regular file whose bytes come piecewise: tree_add_spooled() makes it empty and last in the
 * spool, tree_spool() adds to the one made last.
 */
int tree_add_spooled(struct image_tree *t, const char *path, mode_t permissions,
                     struct image_node **out) MUST_CHECK;
int tree_spool(struct image_tree *t, struct image_node *node, const void *bytes,
               size_t size) MUST_CHECK;

/* Take a file, link or whole directory out; nothing there is fine. */
void tree_remove_path(struct image_tree *t, const char *path);

/*
 * Read piece [offset, offset + size) of a regular file's bytes. -EAGAIN when a host file changed
 * its size since it was added.
 */
int tree_read(struct image_tree *t, const struct image_node *node, int *host_fd, uint64_t offset,
              void *out, size_t size) MUST_CHECK;

/* The whole path of a node, from "/". The caller frees. */
char *tree_path(const struct image_node *node);

/* Write the subtree at `path` below the host directory `dir` (made by the caller, empty). */
int tree_extract(struct image_tree *t, const char *path, const char *dir) MUST_CHECK;
