/* SPDX-License-Identifier: Apache-2.0 */
/*
 * procfs and sysfs: one table of nodes gives lookup, listing, stat and reading (spec R-PROC-FS-3).
 * Inodes are made when a name is looked up and remember which process they speak of by number and
 * start time, so nothing is built in advance and no dead process is kept.
 *
 * A file's text is made as a whole when it is read from its beginning, and kept with the open
 * description: what is read in pieces fits together.
 */
#pragma once

#include <fs/vfs.h>

struct mm;
struct process;
struct task;

/* Text being made; grows as needed. */
struct proc_text {
    char *buf;
    size_t size;
    size_t used;
    bool is_out_of_memory;
};

void proc_print(struct proc_text *t, const char *format, ...) PRINTF_LIKE(2, 3);
void proc_append(struct proc_text *t, const void *bytes, size_t size);
void proc_text_free(struct proc_text *t);

/* Of whom a node speaks. task is counted while one of the methods below runs; NULL: the system. */
struct proc_subject {
    struct task *task;
    int fd;
};

struct proc_node {
    const char *name;
    uint32_t mode; /* type and permissions */
    /* Regular file: its text. */
    int (*show)(struct proc_text *t, const struct proc_subject *s);
    int (*store)(const char *text, size_t size, const struct proc_subject *s); /* NULL: EACCES */
    /* Directory: what is in it, ended by an entry without name. */
    const struct proc_node *children;
    /* Symbolic link: by text, or by jumping to an object. */
    ssize_t (*link)(char *buf, size_t size, const struct proc_subject *s);
    int (*follow)(struct path *out, const struct proc_subject *s);

    /* Directory: what it has besides `children`, found by number. */
    enum proc_dynamic {
        PROC_STATIC,
        PROC_PIDS,
        PROC_TASKS,
        PROC_FDS,
        PROC_FDINFO
    } dynamic;

    bool is_owned; /* belongs to the process's user */
};

extern const struct proc_node proc_root_node;
extern const struct proc_node proc_process_node; /* /proc/<pid> */
extern const struct proc_node proc_thread_node;  /* /proc/<pid>/task/<tid> */
extern const struct proc_node proc_fd_node;      /* .../fd/<n> */
extern const struct proc_node proc_fdinfo_node;
extern const struct proc_node proc_sys_children[];
extern const struct proc_node sys_root_node;

extern struct file_system procfs_type;
extern struct file_system sysfs_type;

/* Objects of another task, counted; NULL: it has none (any more). */
struct mm *proc_mm(struct task *t);
struct files *proc_files(struct task *t);
bool proc_fs_paths(struct task *t, struct path *root, struct path *cwd); /* both counted */
struct process *proc_process(struct task *t);

/* A path as text at the beginning of buf; its length or -ENAMETOOLONG. */
ssize_t proc_path_text(const struct path *p, char *buf, size_t size);

/* memory.c, mounts.c */
int proc_show_maps(struct proc_text *t, const struct proc_subject *s);
int proc_show_smaps(struct proc_text *t, const struct proc_subject *s);
int proc_show_smaps_rollup(struct proc_text *t, const struct proc_subject *s);
int proc_show_mounts(struct proc_text *t, const struct proc_subject *s);
int proc_show_mountinfo(struct proc_text *t, const struct proc_subject *s);
