/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptor tables: a slot owns only close-on-exec and a reference to the description. */
#pragma once

#include <core/lock.h>
#include <core/ref.h>
#include <core/types.h>

struct file;

struct files {
    struct ref ref; /* tasks that share it (CLONE_FILES) */
    struct spinlock lock;
    struct file **slots; /* `capacity` of them */
    uint64_t *used;      /* bit maps */
    uint64_t *close_on_exec;
    uint32_t capacity;
    uint32_t lowest_free; /* no free slot below */
};

struct files *files_create(void) MUST_CHECK;
struct files *files_copy(struct files *from) MUST_CHECK; /* fork without CLONE_FILES */
void files_put(struct files *f);                         /* last one closes everything */
int files_unshare(void) MUST_CHECK;                      /* exec: the current task gets its own */
void files_close_on_exec(struct files *f);

/* Of the current task's table. fd_get: counted description or NULL (EBADF). */
struct file *fd_get(int fd);
/* Lowest free slot >= from for f; takes f's reference on success. -EMFILE by RLIMIT_NOFILE. */
int fd_install(struct file *f, unsigned from, bool close_on_exec) MUST_CHECK;
/* Reserve first, publish later, for calls that make two or must not fail at the end. */
int fd_reserve(unsigned from, bool close_on_exec) MUST_CHECK;
void fd_publish(int fd, struct file *f); /* takes the reference */
void fd_unreserve(int fd);
int fd_close(int fd);
/*
 * Two descriptors at once (pipe, socketpair): their numbers are written to `to`, two int32_t,
 * before anybody can use them. Takes both files' references on every path. 0, -EMFILE, -ENOMEM or
 * -EFAULT, and then there are none.
 */
int fd_install_pair(struct file *take_files[2], bool close_on_exec, void __user *to) MUST_CHECK;

/* Of any table whose reference the caller holds (or the current task's). */
struct file *files_get(struct files *files, unsigned fd); /* counted, or NULL */
int files_next(struct files *files, unsigned from);       /* first open descriptor >= from, or -1 */
void files_close_range(struct files *f, uint32_t first, uint32_t last);
void files_mark_range(struct files *f, uint32_t first, uint32_t last); /* close-on-exec */
/* dup2: at exactly fd, takes f's reference on success; fd or -EBADF, -EBUSY, -ENOMEM. */
int files_replace(unsigned fd, struct file *f, bool close_on_exec) MUST_CHECK;
int files_get_flag(int fd);                     /* close-on-exec 0 or 1, -EBADF */
int files_set_flag(int fd, bool close_on_exec); /* 0 or -EBADF */

/* Current working directory, root, umask: shared under CLONE_FS. */
struct fs_context;
struct fs_context *fs_context_create(void) MUST_CHECK; /* root of the mount tree */
struct fs_context *fs_context_copy(struct fs_context *from) MUST_CHECK;
struct fs_context *fs_context_get(struct fs_context *c);
void fs_context_put(struct fs_context *c);
