/* SPDX-License-Identifier: Apache-2.0 */
/* drupe template: programs that have started already, to be cloned. */

#include <base/clock.h>

#include "template.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "run_internal.h"
#include "thaw.h"

#define SUFFIX          ".snapshot"
#define AFTER_S_DEFAULT 2
#define LIMIT_S_DEFAULT 60
#define KEPT_SIZE       65536

/* ---- Where ---- */

static char *template_dir(void)
{
    const char *given = getenv("DRUPE_TEMPLATES");
    const char *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");

    if (given && *given) {
        return text_copy(given);
    }
    if (geteuid() == 0) {
        return text_copy("/var/lib/drupe/templates");
    }
    if (data && *data) {
        return path_join(data, "drupe/templates");
    }
    return path_join(home && *home ? home : "/tmp", ".local/share/drupe/templates");
}

char *template_path(const char *name)
{
    if (strchr(name, '/')) {
        return text_copy(name);
    }
    CLEANUP_FREE char *dir = template_dir();

    return text_format("%s/%s" SUFFIX, dir, name);
}

/* ---- Making one ---- */

struct maker {
    const struct job *job;
    const struct run_options *options;
    const char *ready; /* text that the program prints when it is ready; NULL: none */
    uint64_t after_s;  /* without such a text */
    uint64_t limit_s;
    const char *train; /* the input of the clone that shows what memory clones need; NULL: none */
    bool is_untrained;
    drupe_vm_t *vm;
    int output; /* what the program prints */
    int input;  /* the other end of its standard input, kept open: it waits */
    char kept[KEPT_SIZE];
    size_t kept_size;
};

/* Does the text stand in what came? Only what could be its beginning is kept. */
static bool is_ready(struct maker *m)
{
    size_t length = strlen(m->ready);

    if (memmem(m->kept, m->kept_size, m->ready, length)) {
        return true;
    }
    if (m->kept_size >= length) {
        memmove(m->kept, m->kept + m->kept_size - length + 1, length - 1);
        m->kept_size = length - 1;
    }
    return false;
}

static int complain_ended(const struct maker *m)
{
    struct drupe_vm_outcome end;

    if (drupe_vm_outcome(m->vm, &end, NULL) == DRUPE_OK && end.kind == DRUPE_END_EXIT) {
        return complain(STATUS_FAILED,
                        "template: the program ended (status %d) before it was ready; one that "
                        "waits for its input is",
                        end.status);
    }
    return complain(STATUS_GUEST, "template: the machine ended before it was ready: %s", end.text);
}

static int wait_ready(struct maker *m)
{
    uint64_t until = clock_ns() + (m->ready ? m->limit_s : m->after_s) * NS_PER_S;

    for (;;) {
        int left_ms = clock_poll_ms(until);
        struct pollfd polls[] = { { m->output, POLLIN, 0 },
                                  { drupe_vm_event_fd(m->vm), POLLIN, 0 } };

        if (left_ms == 0) {
            return m->ready
                       ? complain(STATUS_TIMEOUT, "template: \"%s\" was not printed within %llu s",
                                  m->ready, (unsigned long long)m->limit_s)
                       : 0;
        }
        (void)poll(polls, array_size(polls), left_ms);
        if (polls[0].revents) {
            ssize_t n = read(m->output, m->kept + m->kept_size, sizeof(m->kept) - m->kept_size);

            if (n > 0) {
                (void)!fd_write_all(STDERR_FILENO, m->kept + m->kept_size, (size_t)n);
                m->kept_size += (size_t)n;
            }
            if (m->ready && is_ready(m)) {
                return 0;
            }
            m->kept_size = m->ready ? m->kept_size : 0;
        }
        if (polls[1].revents) {
            return complain_ended(m);
        }
    }
}

static int create_vm(struct maker *m)
{
    drupe_vm_config_t cfg;
    struct drupe_error err;
    int input[2];
    int output[2];
    int status = job_config(m->job, m->options, &cfg);

    if (status != 0) {
        return status;
    }
    if (pipe2(input, O_CLOEXEC) < 0 || pipe2(output, O_CLOEXEC) < 0) {
        return complain(STATUS_FAILED, "template: pipe: %s", strerror(errno));
    }
    m->input = input[1];
    m->output = output[0];
    cfg.host_stdin = input[0];
    cfg.host_stdout = output[1];
    cfg.host_stderr = output[1];
    cfg.serial_log = output[1];
    drupe_vm_err_t r = drupe_vm_create(&cfg, &m->vm, &err);

    (void)close(input[0]);
    (void)close(output[1]);
    return r == DRUPE_OK ? 0 : refuse_vm("template", &err);
}

static int make(struct maker *m, const char *path)
{
    struct drupe_snapshot_options options = {
        .struct_size = sizeof(options), .path = path, .fd = -1, .memory_fd = -1
    };
    struct drupe_snapshot_info info = { 0 };
    struct drupe_error err;
    uint64_t needed = 0;
    int status = 0;

    if (m->train && access(m->train, R_OK) < 0) {
        return complain(STATUS_FAILED, "template: --train %s: %s", m->train, strerror(errno));
    }
    status = create_vm(m);

    if (status == 0 && drupe_vm_start(m->vm, &err) != DRUPE_OK) {
        status = refuse_vm("template", &err);
    }
    if (status == 0) {
        status = wait_ready(m);
    }
    if (status == 0 && (drupe_vm_pause(m->vm, &err) != DRUPE_OK ||
                        drupe_vm_snapshot(m->vm, &options, &info, &err) != DRUPE_OK)) {
        status = refuse_vm("template", &err);
    }
    drupe_vm_destroy(m->vm);
    if (status == 0 && !m->is_untrained) {
        status = template_train(m->job, m->options, m->train, path, &needed);
    }
    if (status == 0) {
        (void)printf("%s: %.1f MiB of memory in use", path, (double)info.memory_bytes / (1 << 20));
        if (needed > 0) {
            (void)printf(", %.1f MiB needed by a clone", (double)needed / (1 << 20));
        }
        (void)printf("\n");
    }
    return status;
}

static int check_name(const char *name)
{
    if (!*name || *name == '.' || strpbrk(name, "/ \t\n") || strlen(name) > 64) {
        return complain(STATUS_USAGE,
                        "template: \"%s\": a name is 1 to 64 characters without "
                        "slash, blank or a dot in front",
                        name);
    }
    return 0;
}

static int run_create(int argc, char **argv)
{
    struct run_options o = { .accel = "auto" };
    struct maker m = { .options = &o,
                       .after_s = AFTER_S_DEFAULT,
                       .limit_s = LIMIT_S_DEFAULT,
                       .input = -1,
                       .output = -1 };
    const struct option_spec specs[] = {
        JOB_OPTIONS(o),
        { .name = "ready", .kind = OPTION_TEXT, .out = &m.ready },
        { .name = "after", .kind = OPTION_NUMBER, .out = &m.after_s, .max = 86400 },
        { .name = "train", .kind = OPTION_TEXT, .out = &m.train },
        { .name = "no-train", .kind = OPTION_FLAG, .out = &m.is_untrained },
        { .name = "limit", .kind = OPTION_NUMBER, .out = &m.limit_s, .min = 1, .max = 86400 },
    };
    CLEANUP_JOB job = { .memory_mib = 256, .vcpus = 1 };
    struct operands operands;
    int status = options_of_verb(&verb_template, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first >= argc) {
        return complain(STATUS_USAGE, "template: create: give a name; see drupe template --help");
    }
    const char *name = argv[operands.first];
    CLEANUP_FREE char *dir = template_dir();
    CLEANUP_FREE char *path = template_path(name);
    int err = dirs_make(dir, 0700);

    operands.first++;
    if (operands.first < argc && strcmp(argv[operands.first], "--") == 0) {
        operands.first++;
        operands.is_after_dashes = true;
    }
    status = check_name(name);
    if (status == 0 && err < 0) {
        status = complain(STATUS_FAILED, "template: %s: %s", dir, strerror(-err));
    }
    if (status == 0 && m.ready && (!*m.ready || strlen(m.ready) > 1024)) {
        status = complain(STATUS_USAGE, "template: --ready: 1 to 1024 bytes of text");
    }
    if (status == 0) {
        status = job_make(&job, &o, argc, argv, &operands);
    }
    if (status == 0) {
        m.job = &job;
        status = make(&m, path);
    }
    strings_free(&o.env);
    return status;
}

/* ---- Listing and removing ---- */

static void print_template(const char *name, const char *path)
{
    struct thaw t;
    char when[32] = "?";

    if (thaw_open(&t, "template", path) != 0) {
        return;
    }
    time_t seconds = (time_t)(t.description.created_ms / 1000);
    struct tm tm;

    (void)localtime_r(&seconds, &tm);
    (void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
    (void)printf("%-20s  %s  %5u MiB  %2u CPUs  %s\n", name, when, t.description.memory_mib,
                 t.description.vcpus, t.description.argv0);
    thaw_close(&t);
}

static int run_list(void)
{
    CLEANUP_FREE char *dir = template_dir();
    CLEANUP_STRINGS names = { 0 };
    DIR *d = opendir(dir);
    const struct dirent *e = NULL;

    while (d && (e = readdir(d)) != NULL) {
        size_t size = strlen(e->d_name);

        if (size > strlen(SUFFIX) && strcmp(e->d_name + size - strlen(SUFFIX), SUFFIX) == 0) {
            strings_take(&names, text_copy_sized(e->d_name, size - strlen(SUFFIX)));
        }
    }
    if (d) {
        (void)closedir(d);
    }
    strings_sort(&names);
    for (size_t i = 0; i < names.count; i++) {
        CLEANUP_FREE char *path = template_path(names.items[i]);

        print_template(names.items[i], path);
    }
    return 0;
}

static int run_remove(int argc, char **argv)
{
    int status = 0;

    if (argc < 2) {
        return complain(STATUS_USAGE, "template: rm: give names");
    }
    for (int i = 1; i < argc; i++) {
        CLEANUP_FREE char *path = template_path(argv[i]);
        int one = check_name(argv[i]);

        if (one == 0 && unlink(path) < 0) {
            one = complain(STATUS_FAILED, "template: %s: %s", argv[i], strerror(errno));
        }
        status = status != 0 ? status : one;
    }
    return status;
}

static int run_template(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";

    if (strcmp(what, "create") == 0) {
        return run_create(argc - 1, argv + 1);
    }
    if (strcmp(what, "ls") == 0 && argc == 2) {
        return run_list();
    }
    if (strcmp(what, "rm") == 0) {
        return run_remove(argc - 1, argv + 1);
    }
    if (strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0) {
        (void)fputs(verb_template.help, stdout);
        return 0;
    }
    return complain(STATUS_USAGE, "template: use create, ls or rm; see drupe template --help");
}

const struct verb verb_template = {
    .name = "template",
    .summary = "start a program once, to run clones of it",
    .help =
        "usage: drupe template create [OPTIONS] NAME PROGRAM [ARGUMENTS]\n"
        "       drupe template create [OPTIONS] NAME -- COMMAND...\n"
        "       drupe template ls\n"
        "       drupe template rm NAME...\n"
        "       drupe run --template NAME\n\n"
        "The command runs until it is ready, is frozen there and ends. Each drupe run --template "
        "goes on from\nthat moment in a machine of its own, with its own input and output, random "
        "numbers and clock. A\nprogram that loads what it needs and then reads its standard input "
        "makes a good template.\n\n"
        "options of create:\n"
        "      --ready TEXT     it is ready when it has printed that\n"
        "      --limit SECONDS  how long to wait for TEXT (default 60)\n"
        "      --after SECONDS  without --ready: ready after that time (default 2)\n"
        "      --train FILE     then a clone reads FILE (default: nothing) and shows for all "
        "others\n"
        "                       which memory they need at once; it has 3 seconds\n"
        "      --no-train       no such clone\n"
        "      --root IMAGE, -m, --memory MIB, -c, --cpus N, -e, --env NAME[=VALUE],\n"
        "      -w, --cwd DIR    as for drupe run\n\n"
        "example:\n"
        "  drupe template create --root dist/python.erofs --ready ready py -- \\\n"
        "      python3 -c 'import json, sys; print(\"ready\", flush=True); "
        "exec(sys.stdin.read())'\n"
        "  echo 'print(6 * 7)' | drupe run --template py\n",
    .run = run_template,
};
