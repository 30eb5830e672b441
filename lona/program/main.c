/* SPDX-License-Identifier: Apache-2.0 */
/* lona: the command line. */
#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bounds.h"
#include "program.h"

static const char usage_text[] =
    "usage: lona [OPTIONS]                    talk to Lona\n"
    "       lona [OPTIONS] eval EXPR          print the value of EXPR\n"
    "       lona [OPTIONS] run FILE [ARGS]    load FILE, then call its `main` with ARGS\n"
    "       lona [OPTIONS] test DIR           run the tests in DIR\n"
    "       lona [OPTIONS] disasm FILE        show the code of every form of FILE\n"
    "       lona [OPTIONS] disasm -e EXPR     show the code of EXPR\n"
    "       lona fmt FILE                     lay out FILE in place\n"
    "options:\n"
    "  --workers N       threads that run processes (default: one a CPU)\n"
    "  --max-heap BYTES  limit of the heap of each process\n"
    "  --gc-stress       collect at every allocation and check every heap (slow)\n"
    "  --help, --version\n";

static int usage_error(const char *what, const char *argument)
{
    (void)fprintf(stderr, "lona: %s%s%s\n", what, argument == NULL ? "" : ": ",
                  argument == NULL ? "" : argument);
    (void)fputs("Try 'lona --help'.\n", stderr);
    return STATUS_USAGE;
}

static bool parse_number(const char *s, uint64_t max, uint64_t *out)
{
    char *end;

    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);

    if (errno != 0 || end == s || *end != '\0' || *s == '-' || v > max) {
        return false;
    }
    *out = v;
    return true;
}

bool file_load(const char *path, char **bytes, size_t *size)
{
    const struct platform *pf = platform_posix();
    uint8_t *data;
    int err = pf->file_read(pf->self, path, strlen(path), &data, size);

    if (err != PLATFORM_OK) {
        const char *why = err == PLATFORM_ENOENT   ? ":file-not-found: no such file"
                          : err == PLATFORM_EACCES ? ":access-denied: not allowed to read it"
                          : err == PLATFORM_ENOMEM ? ":oom: out of memory"
                                                   : ":io-error: can't read it";

        (void)fprintf(stderr, "lona: %s\n  at %s\n", why, path);
        return false;
    }
    *bytes = (char *)data;
    return true;
}

/* Print what an evaluation gave; its exit status. */
static int show(const struct outcome *o, bool value)
{
    if (o->status == 0) {
        if (value && (fwrite(o->printed.bytes, 1, o->printed.size, stdout) != o->printed.size ||
                      fputc('\n', stdout) == EOF || fflush(stdout) != 0)) {
            (void)fputs("lona: :io-error: can't write to standard output\n", stderr);
            return STATUS_ERROR;
        }
        return STATUS_OK;
    }
    (void)fprintf(stderr, "lona: %s\n", o->printed.bytes);
    return STATUS_ERROR;
}

static int eval_command(struct vm *vm, const char *expr)
{
    struct evaluation e = {
        .vm = vm,
        .source = { .text = expr, .size = strlen(expr), .file = "<eval>", .here = { 1, 1 } }
    };
    struct outcome o;

    evaluate(&e, &o);
    int status = show(&o, true);

    outcome_deinit(&o);
    return status;
}

/* A first line "#!..." is for the kernel, not for us. */
static size_t skip_interpreter_line(const char *text, size_t size, struct place *here)
{
    if (size < 2 || text[0] != '#' || text[1] != '!') {
        return 0;
    }
    const char *end = memchr(text, '\n', size);

    if (end == NULL) {
        return size;
    }
    *here = (struct place){ 2, 1 };
    return (size_t)(end - text) + 1;
}

static int run_command(struct vm *vm, const char *path)
{
    char *text;
    size_t size;

    if (!file_load(path, &text, &size)) {
        return STATUS_ERROR;
    }
    struct evaluation e = {
        .vm = vm,
        .source = { .text = text, .size = size, .file = path, .here = { 1, 1 } },
        .call_main = true,
        .no_print = true
    };
    struct outcome o;

    e.source.offset = skip_interpreter_line(text, size, &e.source.here);
    evaluate(&e, &o);
    int status = show(&o, false);

    outcome_deinit(&o);
    free(text);
    return status;
}

static int disasm_command(struct vm *vm, int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[0], "-e") == 0) {
        return disasm_run(vm, "<eval>", argv[1], strlen(argv[1]));
    }
    char *text;
    size_t size;

    if (!file_load(argv[0], &text, &size)) {
        return STATUS_ERROR;
    }
    int status = disasm_run(vm, argv[0], text, size);

    free(text);
    return status;
}

struct command {
    const char *name;
    int args_min;
    int args_max; /* -1: any */
};

static const struct command commands[] = {
    { "eval", 1, 1 }, { "run", 1, -1 }, { "test", 1, 1 }, { "disasm", 1, 2 }, { "fmt", 1, -1 },
};

static int dispatch(struct vm *vm, const struct command *c, int argc, char **argv)
{
    if (c == NULL) {
        return repl_run(vm);
    }
    switch (c->name[0]) {
    case 'e':
        return eval_command(vm, argv[0]);
    case 'r':
        vm_set_args(vm, argc - 1, (const char *const *)argv + 1);
        return run_command(vm, argv[0]);
    case 't':
        return test_run(vm, argv[0]);
    default:
        return disasm_command(vm, argc, argv);
    }
}

/* Options in front of the command; the index of the first other argument, or -1. */
static int parse_options(int argc, char **argv, struct vm_options *options)
{
    int i = 1;

    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        uint64_t n;
        bool workers = strcmp(argv[i], "--workers") == 0;

        if (strcmp(argv[i], "--gc-stress") == 0) {
            options->gc_stress = true;
            i--; /* takes no number */
            continue;
        }

        if (!workers && strcmp(argv[i], "--max-heap") != 0) {
            (void)usage_error("unknown option", argv[i]);
            return -1;
        }
        if (i + 1 == argc ||
            !parse_number(argv[i + 1], workers ? WORKERS_MAX : (uint64_t)1 << 34, &n) || n == 0) {
            (void)usage_error("a number is missing or out of range after", argv[i]);
            return -1;
        }
        if (workers) {
            options->workers = (unsigned)n;
        } else {
            options->heap_max_words = (uint32_t)((n + 7) / 8);
        }
    }
    return i;
}

static void block_interrupts(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int main(int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        return fputs(usage_text, stdout) == EOF ? STATUS_ERROR : STATUS_OK;
    }
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        return puts("lona 0.1") == EOF ? STATUS_ERROR : STATUS_OK;
    }
    struct vm_options options = { .platform = platform_posix() };
    int first = parse_options(argc, argv, &options);
    const struct command *command = NULL;

    if (first < 0) {
        return STATUS_USAGE;
    }
    argc -= first;
    argv += first;
    if (argc > 0) {
        for (size_t i = 0; i < array_size(commands); i++) {
            if (strcmp(argv[0], commands[i].name) == 0) {
                command = &commands[i];
            }
        }
        if (command == NULL) {
            return usage_error("unknown command", argv[0]);
        }
        argc--;
        argv++;
        if (argc < command->args_min || (command->args_max >= 0 && argc > command->args_max)) {
            return usage_error("wrong number of arguments", command->name);
        }
        if (command->name[0] == 'f') {
            return format_files(argc, argv);
        }
    }
    (void)setlocale(LC_CTYPE, "");
    if (command == NULL && isatty(STDIN_FILENO) != 0) {
        block_interrupts(); /* before the VM's threads start, which inherit it */
    }
    const char *error;
    struct vm *vm = vm_create(&options, &error);

    if (vm == NULL) {
        (void)fprintf(stderr, "lona: %s\n", error);
        return STATUS_ERROR;
    }
    int status = dispatch(vm, command, argc, argv);

    vm_destroy(vm);
    return status;
}
