/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload: the program that the machine runs, as the boot arguments say, or the command line
 * when there are none (init=, and what follows " -- "). It starts in a task of its own, a child of
 * init, which becomes the program.
 */

#include <abi/boot.h>
#include <arch/ops.h>
#include <core/boot.h>
#include <core/log.h>
#include <core/random.h>
#include <core/string.h>
#include <drivers/drivers.h>
#include <fs/dentry.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <mm/slab.h>
#include <proc/agent.h>
#include <proc/boot_args.h>
#include <proc/init.h>
#include <proc/process.h>
#include <proc/system.h>
#include <sched/task.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define WORDS_MAX    64u
#define POINTERS_MAX                                                                               \
    (BOOT_ARGS_SIZE_MAX / 2 + 2) /* strings are at least a NUL and, to be of use, a character */
#define BUFFER_SMALL  (size_t)(16u << 10)
#define STATUS_SETUP  125 /* the program was not looked at yet */
#define STATUS_FAILED 126 /* as shells say it: found, but does not start */
#define STATUS_ABSENT 127

struct workload {
    struct boot_args_view args;
    uint8_t *blob; /* private copy; NULL: from the command line */
    size_t blob_size;
    const char **pointers;
    size_t pointers_size; /* in bytes */
    char *line;           /* private copy of the command line */
};

static const char *const default_environment[] = { "PATH=" DEFAULT_PATH, "HOME=/", "TERM=linux",
                                                   NULL };

/* Boot arguments are small as a rule: the allocator's pages do, and need no mapping. */
static void *buffer_alloc(size_t size)
{
    return size <= BUFFER_SMALL ? kmalloc(size, GFP_KERNEL) : vmalloc(size, GFP_KERNEL);
}

static void buffer_free(const void *p, size_t size)
{
    if (size <= BUFFER_SMALL) {
        kfree(p);
    } else {
        vfree((void *)(uintptr_t)p);
    }
}

static void workload_free(struct workload *w)
{
    buffer_free(w->blob, w->blob_size);
    buffer_free(w->pointers, w->pointers_size);
    kfree(w->line);
    kfree(w);
}

/* --- what to run
 * ------------------------------------------------------------------------------------ */

static int read_blob(struct workload *w, const char **what)
{
    const struct phys_range *disk = &boot_info.ramdisk;
    struct boot_args header;
    size_t count;
    size_t size;
    int err;

    memcpy(&header, phys_to_virt(disk->start), sizeof(header)); /* for its size alone */
    /* A size that is wrong is found by boot_args_parse(); what follows the blob is not copied. */
    size = (size_t)min_of(disk->size, max_of((uint64_t)header.size, (uint64_t)sizeof(header)));
    if (size > BOOT_ARGS_SIZE_MAX) {
        *what = "boot arguments of a wrong size";
        return -EINVAL;
    }
    w->blob_size = size;
    w->blob = buffer_alloc(size);
    if (!w->blob) {
        *what = "no memory for the boot arguments";
        return -ENOMEM;
    }
    memcpy(w->blob, phys_to_virt(disk->start), size);
    memcpy(&header, w->blob, sizeof(header));
    count = (size_t)header.argc + header.envc + 2;
    if (count > POINTERS_MAX) {
        *what = "boot arguments: too many strings";
        return -E2BIG;
    }
    w->pointers_size = count * sizeof(char *);
    w->pointers = buffer_alloc(w->pointers_size);
    if (!w->pointers) {
        *what = "no memory for the boot arguments";
        return -ENOMEM;
    }
    err = boot_args_parse(w->blob, size, w->pointers, count, &w->args, what);
    if (err == 0) {
        random_seed(); /* before the original's memory is somebody else's */
        /* Nor do the copies of the host's bytes stay readable. */
        memset(w->args.header.entropy, 0, sizeof(header.entropy));
        memset(w->blob + offsetof(struct boot_args, entropy), 0, sizeof(header.entropy));
    }
    return err;
}

/* Split at blanks; double quotes keep them. In place. */
static size_t split(char *text, const char **words, size_t max)
{
    size_t n = 0;

    while (*text && n < max) {
        char *to = text;
        bool quoted = false;

        if (*text == ' ') {
            text++;
            continue;
        }
        words[n++] = text;
        for (; *text && (quoted || *text != ' '); text++) {
            if (*text == '"') {
                quoted = !quoted;
            } else {
                *to++ = *text;
            }
        }
        text += *text != '\0';
        *to = '\0';
    }
    return n;
}

/* argv = init= and what follows " -- "; -ENOENT without init=. */
static int read_command_line(struct workload *w, const char **what)
{
    size_t length;
    const char *init = boot_option("init=", &length);
    char *words;

    if (!init) {
        *what = "nothing to run: give boot arguments, or init=<path> on the command line";
        return -ENOENT;
    }
    w->line = kmalloc(BOOT_COMMAND_LINE_MAX + length + 1, GFP_KERNEL);
    w->pointers_size = (WORDS_MAX + 2) * sizeof(char *);
    w->pointers = buffer_alloc(w->pointers_size);
    if (!w->line || !w->pointers) {
        *what = "no memory for the command line";
        return -ENOMEM;
    }
    memcpy(w->line, init, length);
    w->line[length] = '\0';
    w->pointers[0] = w->line;
    words = w->line + length + 1;
    (void)str_copy(words, boot_info.command_line, BOOT_COMMAND_LINE_MAX);
    for (; *words; words++) {
        if (strncmp(words, " -- ", 4) == 0) {
            break;
        }
    }
    length = *words ? split(words + 4, w->pointers + 1, WORDS_MAX) : 0;
    w->pointers[1 + length] = NULL;
    w->args.argv = w->pointers;
    w->args.envp = (const char **)(uintptr_t)default_environment;
    w->args.directory = "/";
    w->args.host_name = "drupe";
    return 0;
}

static int read_what(struct workload *w, const char **what)
{
    struct boot_args header;
    int err;

    if (!boot_args_header(&header)) {
        return read_command_line(w, what);
    }
    err = read_blob(w, what);
    if (err == 0 && w->args.header.argc == 0 && !agent_is_there()) {
        err = read_command_line(w, what);
    }
    return err;
}

/* --- starting it, in its own task
 * --------------------------------------------------------------------- */

static _Noreturn void refuse(const char *path, const char *why, int err, unsigned status)
{
    log_error("ukernel: %s: %s (error %d)", why, path, -err);
    drivers_drain();
    machine_end(BOOT_STATUS_ERROR, status);
}

static void enter_directory(const struct workload *w)
{
    const char *directory = w->args.directory[0] ? w->args.directory : "/";
    struct path p;
    int err = path_lookup(AT_FDCWD, directory, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);

    if (err < 0) {
        refuse(directory, "working directory not found", err, STATUS_SETUP);
    }
    fs_set_cwd(&p);
    path_put(&p);
}

static void open_streams(const struct workload *w)
{
    struct file *files[3];
    int err = stdio_open(w->args.header.flags, files);

    for (unsigned i = 0; err == 0 && i < 3; i++) {
        int fd = fd_install(files[i], 0, false);

        err = fd < 0 ? fd : 0;
        assert(err < 0 || fd == (int)i);
    }
    if (err < 0) {
        refuse("console", "no standard streams", err, STATUS_SETUP);
    }
    if (w->args.header.tty_rows) {
        console_set_window(w->args.header.tty_rows, w->args.header.tty_cols);
    }
}

static int set_owner(uid_t uid, gid_t gid)
{
    struct cred *c;

    if (uid == 0 && gid == 0) {
        return 0;
    }
    c = cred_copy(current->cred);
    if (!c) {
        return -ENOMEM;
    }
    c->uid = c->euid = c->suid = c->fsuid = uid;
    c->gid = c->egid = c->sgid = c->fsgid = gid;
    if (uid != 0) {
        c->cap_permitted = c->cap_effective = c->cap_ambient = 0;
    }
    cred_install(c);
    return 0;
}

static const char *path_variable(const char *const *envp)
{
    for (; *envp; envp++) {
        if (strncmp(*envp, "PATH=", 5) == 0) {
            return *envp + 5;
        }
    }
    return DEFAULT_PATH;
}

/* execvp(3): by PATH when the name holds no slash. The most telling error is kept: EACCES before
 * ENOENT. */
static int exec_by_path(const char *name, const char *const *argv, const char *const *envp,
                        char *buf)
{
    const char *p = path_variable(envp);
    size_t name_size = strlen(name) + 1;
    int result = -ENOENT;

    if (strchr(name, '/')) {
        return exec_file(name, argv, envp);
    }
    for (;;) {
        const char *end = strchr(p, ':');
        size_t length = end ? (size_t)(end - p) : strlen(p);

        if (length < PATH_MAX && name_size < PATH_MAX - length) {
            memcpy(buf, p, length);
            buf[length] = '/'; /* of an empty element nothing is left but the name */
            memcpy(buf + (length ? length + 1 : 0), name, name_size);
            int err = exec_file(buf, argv, envp);

            if (err != -ENOENT && err != -ENOTDIR && err != -EACCES) {
                return err;
            }
            result = err == -EACCES ? err : result;
        }
        if (!end) {
            return result;
        }
        p = end + 1;
    }
}

/* Nothing was asked for but the agent. */
static bool is_agent_alone(const struct workload *w)
{
    return w->blob && w->args.header.argc == 0 && w->args.argv[0] == NULL;
}

static int become(void *arg)
{
    struct workload *w = arg;
    const char *name = w->args.argv[0];
    char *buf = kmalloc(PATH_MAX, GFP_KERNEL);
    int err;

    if (!buf) {
        refuse(name, "no memory to start", -ENOMEM, STATUS_SETUP);
    }
    enter_directory(w);
    open_streams(w);
    err = set_owner(w->args.header.uid, w->args.header.gid);
    if (err == 0) {
        err = exec_by_path(name, (const char *const *)w->args.argv,
                           (const char *const *)w->args.envp, buf);
    }
    if (err == -ENOENT) {
        refuse(name, "entry not found", err, STATUS_ABSENT);
    }
    if (err < 0) {
        refuse(name,
               err == -ENOEXEC ? "not an executable for this machine" : "entry does not start", err,
               STATUS_FAILED);
    }
    kfree(buf);
    workload_free(w);
    arch_enter_user();
}

int process_start_workload(const char **what)
{
    struct workload *w = kmalloc(sizeof(*w), GFP_KERNEL);
    struct task *t;
    bool is_alone;
    int err;

    if (!w) {
        *what = "no memory for the workload";
        return -ENOMEM;
    }
    *w = (struct workload){ 0 };
    err = read_what(w, what);
    if (err < 0) {
        workload_free(w);
        return err;
    }
    is_alone = is_agent_alone(w);
    err = system_set_host_name(w->args.host_name, strlen(w->args.host_name));
    if (err < 0) {
        *what = "boot arguments: the host name is too long";
        workload_free(w);
        return err;
    }
    if (is_alone) {
        workload_free(w);
        t = agent_create(what);
        if (!t) {
            return -ENOMEM;
        }
        init_set_workload(t->process);
        sched_start(t);
        return 0;
    }
    t = process_create_kernel("workload", become, w);
    if (!t) {
        *what = "no memory for the workload";
        workload_free(w);
        return -ENOMEM;
    }
    init_set_workload(t->process);
    sched_start(t); /* commit point: `become` owns w */
    if (agent_is_there()) {
        const char *why;

        t = agent_create(&why);
        if (t) {
            sched_start(t);
        } else {
            log_error("init: the agent does not start: %s", why);
        }
    }
    return 0;
}
