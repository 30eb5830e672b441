/* SPDX-License-Identifier: Apache-2.0 */
/*
 * execve. Everything that can fail is done on the side, in an address space that nobody runs in;
 * then the other threads go; then the point of no return, behind which nothing fails (spec
 * R-ELF-3). The call returns through the ordinary path into the new program (R-ELF-4).
 */
#include <arch/ops.h>
#include <arch/regs.h>
#include <base/fmt.h>
#include <core/string.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <mm/mm.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <proc/exec.h>
#include <proc/process.h>
#include <sched/task.h>
#include <syscall/syscall.h>

#define SCRIPT_DEPTH 4u /* levels of #! */

#define AT_EMPTY_PATH       0x1000
#define AT_SYMLINK_NOFOLLOW 0x100

#define S_ISUID_BIT    04000u
#define S_ISGID_BIT    02000u
#define S_IXGRP_BIT    00010u
#define MS_NOSUID_FLAG 2u

/* All that one exec holds; too large for a stack. */
struct exec {
    struct exec_binary file;
    struct script_line line;
    struct exec_strings strings;
    struct exec_program program;
    struct exec_random random;
    char *words[2 * SCRIPT_DEPTH]; /* interpreters and their arguments, outermost first */
    unsigned word_count;
    uint64_t sp;
    struct mm *mm;
    struct cred *cred; /* to be installed; NULL: unchanged */
    bool is_secure;
};

/* --- scripts ---------------------------------------------------------------------------------- */

/* Put `text` in front of the words; owned. */
static int push_word(struct exec *e, const char *text)
{
    char *copy = kstrdup(text, GFP_KERNEL);

    if (!copy) {
        return -ENOMEM;
    }
    assert(e->word_count < array_size(e->words));
    memmove(e->words + 1, e->words, e->word_count * sizeof(*e->words));
    e->words[0] = copy;
    e->word_count++;
    return 0;
}

/* While the file is a script: open its interpreter instead. Words are the arguments so far. */
static int resolve_script(struct exec *e)
{
    for (unsigned depth = 0;; depth++) {
        int is_script = script_parse(e->file.head, e->file.head_size, &e->line);

        if (is_script <= 0) {
            return is_script;
        }
        if (depth == SCRIPT_DEPTH) {
            return -ELOOP;
        }
        file_put(e->file.file);
        e->file.file = NULL;
        int err = e->line.argument[0] ? push_word(e, e->line.argument) : 0;

        if (err == 0) {
            err = push_word(e, e->line.interpreter);
        }
        if (err == 0) {
            err = exec_open(AT_FDCWD, e->line.interpreter, LOOKUP_FOLLOW, &e->file);
        }
        if (err < 0) {
            return err;
        }
    }
}

/* --- strings ---------------------------------------------------------------------------------- */

static int add_kernel_array(struct exec_strings *s, const char *const *array, uint32_t skip,
                            uint32_t *count)
{
    for (uint32_t i = 0; array[i]; i++) {
        if (i < skip) {
            continue;
        }
        int err = exec_strings_add(s, array[i]);

        if (err < 0) {
            return err;
        }
        (*count)++;
    }
    return 0;
}

static int add_array(struct exec_strings *s, const char *const *kernel, uint64_t user,
                     uint32_t skip, uint32_t *count)
{
    return kernel
               ? add_kernel_array(s, kernel, skip, count)
               : exec_strings_add_user_array(s, (const void __user *)(uintptr_t)user, skip, count);
}

/* For a script: interpreters and their arguments, the script's path, then the arguments but the
 * first. */
static int collect_strings(struct exec *e, const struct exec_names *names)
{
    struct exec_strings *s = &e->strings;
    bool is_script = e->word_count > 0;
    int err = 0;

    for (unsigned i = 0; i < e->word_count && err == 0; i++, s->argc++) {
        err = exec_strings_add(s, e->words[i]);
    }
    if (is_script && err == 0) {
        err = exec_strings_add(s, names->path);
        s->argc++;
    }
    if (err == 0) {
        err = add_array(s, names->argv, names->user_argv, is_script ? 1 : 0, &s->argc);
    }
    if (err == 0 && s->argc == 0) { /* as Linux: a program can rely on argv[0] */
        err = exec_strings_add(s, "");
        s->argc = 1;
    }
    if (err == 0) {
        err = add_array(s, names->envp, names->user_envp, 0, &s->envc);
    }
    return err;
}

/* --- credentials ------------------------------------------------------------------------------ */

/* Set-user-ID bits and the capabilities that follow from user ids (capabilities(7)). */
static int prepare_cred(struct exec *e)
{
    const struct inode *inode = e->file.file->inode;
    const struct cred *old = current->cred;
    bool may_change = inode && inode->sb && !(inode->sb->flags & MS_NOSUID_FLAG) &&
                      !current->process->no_new_privs;
    bool is_setuid = may_change && (inode->mode & S_ISUID_BIT) && inode->uid != old->euid;
    bool is_setgid = may_change && (inode->mode & S_ISGID_BIT) && (inode->mode & S_IXGRP_BIT) &&
                     inode->gid != old->egid;
    bool is_root = old->uid == 0 || old->euid == 0;

    if (is_root && !is_setuid && !is_setgid && old->euid == old->suid && old->egid == old->sgid &&
        old->uid == old->euid) {
        return 0; /* nothing changes: root stays what it is */
    }
    struct cred *c = cred_copy(old);

    if (!c) {
        return -ENOMEM;
    }
    c->euid = is_setuid ? inode->uid : c->euid;
    c->egid = is_setgid ? inode->gid : c->egid;
    c->suid = c->euid;
    c->fsuid = c->euid;
    c->sgid = c->egid;
    c->fsgid = c->egid;
    if (c->euid == 0 || c->uid == 0) {
        c->cap_permitted = c->cap_inheritable | c->cap_bounding;
        c->cap_effective = c->euid == 0 ? c->cap_permitted : c->cap_ambient;
    } else {
        c->cap_permitted = c->cap_ambient;
        c->cap_effective = c->cap_ambient;
    }
    if (is_setuid || is_setgid) {
        c->cap_ambient = 0;
    }
    e->cred = c;
    e->is_secure = is_setuid || is_setgid;
    return 0;
}

/* --- the two halves --------------------------------------------------------------------------- */

/* Build the whole new image. On failure nothing has changed but *e. */
static int build(struct exec *e, const struct exec_names *names)
{
    uint64_t stack_limit = limit_of(RLIMIT_STACK);
    int err = resolve_script(e);

    if (err == 0) {
        exec_strings_init(&e->strings, max_of(stack_limit / 4, (uint64_t)EXEC_STRING_MAX));
        err = collect_strings(e, names);
    }
    if (err == 0) {
        err = prepare_cred(e);
    }
    if (err < 0) {
        return err;
    }
    e->mm = mm_create();
    if (!e->mm) {
        return -ENOMEM;
    }
    exec_random_draw(&e->random);
    exec_layout(e->mm, stack_limit, &e->random);
    err = exec_load(e->mm, &e->file, &e->random, &e->program);
    if (err == 0) {
        err = mm_map_vdso(e->mm);
    }
    if (err == 0) {
        err = exec_stack(e->mm, &e->strings, &e->program, &e->random, names->path, e->is_secure,
                         &e->sp);
    }
    return err;
}

/* The program's name as ps shows it: the last part of the path. */
static void set_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    (void)str_copy(current->name, slash ? slash + 1 : path, TASK_NAME_MAX);
}

/* The point of no return: nothing here fails. */
static void commit(struct exec *e, const char *path)
{
    struct task *t = current;
    struct mm *old = t->mm;

    e->mm->exe = e->file.file; /* takes the reference */
    e->file.file = NULL;
    process_exec_commit();
    uint64_t flags = spin_lock_irqsave(&t->process->signal_lock); /* /proc looks under it */

    t->mm = e->mm;
    mm_switch(e->mm);
    spin_unlock_irqrestore(&t->process->signal_lock, flags);
    e->mm = NULL;
    if (old) {
        mm_put(old);
    }
    if (e->cred) {
        cred_install(e->cred);
        e->cred = NULL;
    }
    set_name(path);
    files_close_on_exec(t->files);
    arch_start_user(t->regs, e->program.entry, e->sp);
}

static void exec_deinit(struct exec *e)
{
    for (unsigned i = 0; i < e->word_count; i++) {
        kfree(e->words[i]);
    }
    exec_strings_deinit(&e->strings);
    if (e->mm) {
        mm_put(e->mm);
    }
    if (e->cred) {
        cred_put(e->cred);
    }
    if (e->file.file) {
        file_put(e->file.file);
    }
    kfree(e);
}

/* e->file is open. Consumes e. */
static int run(struct exec *e, const struct exec_names *names)
{
    int err = build(e, names);

    if (err == 0) {
        err = files_unshare();
    }
    if (err == 0) {
        err = process_become_single();
    }
    if (err == 0) {
        commit(e, names->path);
    }
    exec_deinit(e);
    return err;
}

/* Not cleared: most of it are the file's head and a script's line, which nobody looks at before
 * they are filled. */
static struct exec *exec_alloc(void)
{
    struct exec *e = kmalloc(sizeof(struct exec), GFP_KERNEL);

    if (e) {
        e->file.file = NULL;
        e->file.head_size = 0;
        e->strings = (struct exec_strings){ 0 };
        e->word_count = 0;
        e->mm = NULL;
        e->cred = NULL;
        e->is_secure = false;
    }
    return e;
}

int exec_file(const char *path, const char *const *argv, const char *const *envp)
{
    const struct exec_names names = { .path = path, .argv = argv, .envp = envp };
    struct exec *e = exec_alloc();

    if (!e) {
        return -ENOMEM;
    }
    int err = exec_open(AT_FDCWD, path, LOOKUP_FOLLOW, &e->file);

    if (err < 0) {
        exec_deinit(e);
        return err;
    }
    return run(e, &names);
}

int exec_path(const struct path *at, const char *name, const char *const *argv,
              const char *const *envp)
{
    const struct exec_names names = { .path = name, .argv = argv, .envp = envp };
    struct exec *e = exec_alloc();

    if (!e) {
        return -ENOMEM;
    }
    int err = exec_open_path(at, &e->file);

    if (err < 0) {
        exec_deinit(e);
        return err;
    }
    return run(e, &names);
}

/* --- the calls -------------------------------------------------------------------------------- */

/* The name of a program that was found by descriptor: "/dev/fd/<n>[/<path>]". */
static char *fd_name(int fd, const char *path)
{
    char *name = kmalloc(PATH_MAX + 32, GFP_KERNEL);

    if (name) {
        (void)fmt_snprintf(name, PATH_MAX + 32, "/dev/fd/%d%s%s", fd, *path ? "/" : "", path);
    }
    return name;
}

static long do_exec(int dirfd, const char __user *user_path, const void __user *argv,
                    const void __user *envp, int flags)
{
    char *path = NULL;
    char *long_name = NULL;
    struct exec *e = NULL;
    unsigned lookup = flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW;

    if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) {
        return -EINVAL;
    }
    long err = name_get(user_path, &path);

    if (err < 0) {
        return err;
    }
    e = exec_alloc();
    if (dirfd != AT_FDCWD && path[0] != '/') {
        long_name = fd_name(dirfd, path);
    }
    if (!e || (dirfd != AT_FDCWD && path[0] != '/' && !long_name)) {
        err = -ENOMEM;
    } else if (path[0] == '\0' && (flags & AT_EMPTY_PATH) && dirfd != AT_FDCWD) {
        err = exec_open_fd(dirfd, &e->file);
    } else {
        err = exec_open(dirfd, path, lookup, &e->file);
    }
    if (err == 0) {
        const struct exec_names names = {
            .path = long_name ? long_name : path,
            .user_argv = (uintptr_t)argv,
            .user_envp = (uintptr_t)envp,
        };

        err = run(e, &names);
    } else if (e) {
        exec_deinit(e);
    }
    kfree(long_name);
    name_put(path);
    return err;
}

long sys_execve(const char __user *path, void __user *argv, void __user *envp)
{
    return do_exec(AT_FDCWD, path, argv, envp, 0);
}

long sys_execveat(int dirfd, const char __user *path, void __user *argv, void __user *envp,
                  int flags)
{
    return do_exec(dirfd, path, argv, envp, flags);
}
