/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of `drupe run`: options (run.c), what to run (run_job.c), its console
 * (run_console.c), its life (run_loop.c). */
#pragma once

#include <stdint.h>
#include <sys/types.h>
#include <termios.h>

#include <drupe/vm.h>

#include "files.h"
#include "options.h"

/* ---- What runs ---- */

struct run_options {
    const char *root;
    const char *kernel;
    const char *kernel_args;
    const char *log;
    const char *accel;
    const char *cwd;
    uint64_t memory_mib; /* 0: not given, like the next two */
    uint64_t vcpus;
    uint64_t timeout_s;
    struct strings env;
    struct strings volumes;
    struct strings disks;   /* FILE[:ro] */
    struct strings scratch; /* MiB */
    struct strings nets;    /* tap=NAME,... */
    bool has_timeout;
    bool is_verbose;
    bool has_no_jail;
    bool is_detached;
    bool is_tracked; /* --track-dirty */
    const char *name;
    const char *template_name;
};

/* Rows of an option table, for verbs that start a program: where its files are, its surroundings,
 * its machine's size. `o` is a struct run_options. */
#define JOB_OPTIONS(o)                                                                             \
    TEXT_OPTION("root", 0, &(o).root), TEXT_OPTION("kernel", 0, &(o).kernel),                      \
        TEXT_OPTION("cwd", 'w', &(o).cwd), TEXT_OPTION("workdir", 0, &(o).cwd),                    \
        LIST_OPTION("env", 'e', &(o).env),                                                         \
        MIB_OPTION("memory", 'm', &(o).memory_mib, DRUPE_MEMORY_MIB_MIN, DRUPE_MEMORY_MIB_MAX),    \
        NUMBER_OPTION("cpus", 'c', &(o).vcpus, 1, DRUPE_VCPUS_MAX)

/* What to run, and in what; owned. */
struct job {
    char *image; /* NULL: a share is the root */
    struct strings argv;
    struct strings env;
    char *cwd;
    char *kernel_args;
    char *log; /* NULL: none */
    uint64_t memory_mib;
    uint64_t vcpus;
    uint64_t timeout_s;
    struct drupe_share shares[DRUPE_SHARES_MAX]; /* strings owned */
    unsigned share_count;
    struct drupe_disk disks[DRUPE_DISKS_MAX]; /* paths owned */
    unsigned disk_count;
    struct drupe_net nets[DRUPE_NETS_MAX]; /* names owned */
    unsigned net_count;
};

/* run_shares.c. A folder as image becomes a share at "/", and image NULL. */
int job_share_root(struct job *j) MUST_CHECK;
int job_share_volumes(struct job *j, const char *verb, const struct strings *volumes) MUST_CHECK;
int job_share(struct job *j, const char *verb, const char *host, const char *tag, const char *guest,
              bool is_read_only) MUST_CHECK;
void job_free_shares(struct job *j);

/* run_disks.c: --disk and --scratch, in this order vda, vdb, ... */
int job_add_disks(struct job *j, const struct run_options *o) MUST_CHECK;
int job_add_files(struct job *j, const char *verb, const struct strings *disks) MUST_CHECK;
void job_free_disks(struct job *j);

/* run_net.c: --net. */
int job_add_nets(struct job *j, const char *verb, const struct strings *nets) MUST_CHECK;
/* Refuse what the kernel inside drupe could not use. */
int job_check_kernel_nets(const struct job *j, const struct run_options *o) MUST_CHECK;
void job_free_nets(struct job *j);

void job_free(struct job *j); /* also as a cleanup function */
#define CLEANUP_JOB __attribute__((cleanup(job_free))) struct job

/*
 * Three ways: the project here (its entry, or a command behind --), a command in an image (--root),
 * a program of this host. Then what the options change. Returns 0 or an exit status after printing.
 */
int job_make(struct job *j, const struct run_options *o, int argc, char **argv,
             const struct operands *operands) MUST_CHECK;

/* The configuration of its machine, but for the console. Borrows from both. */
int job_config(const struct job *j, const struct run_options *o, drupe_vm_config_t *cfg) MUST_CHECK;

/* An agent beside the workload, reached through a Unix socket at that path. Borrows it. */
void job_config_agent(drupe_vm_config_t *cfg, const char *vsock_path);

/* ---- Console ------------------------------------------------------------------------------------
 */

#define PUMP_SIZE 16384u

/* Bytes on their way: read from `from`, written to up to two places. */
struct pump {
    int from;     /* -1: not in use */
    int to;       /* -1: nowhere */
    int log;      /* -1: none; borrowed */
    bool adds_cr; /* "\n" becomes "\r\n" at `to`: a terminal in raw mode */
};

enum {
    PUMP_STDOUT,
    PUMP_STDERR,
    PUMP_SERIAL,
    PUMP_COUNT
};

struct console {
    bool is_tty;
    struct termios saved;
    struct pump pumps[PUMP_COUNT];
    int log;          /* -1: none */
    int stdin_writer; /* TTY: the end of the pipe that the guest's input is written to */
    char input[4096]; /* TTY: read and not yet written */
    size_t input_size;
    uint64_t interrupt_ns; /* when Ctrl-C came last */

    /* What the VM is given; closed by console_handed_over(). */
    int vm_stdin;
    int vm_stdout;
    int vm_stderr;
    int vm_serial;
    unsigned rows;
    unsigned cols;
};

/*
 * Choose terminal or streams, open the log (NULL: none), make the pipes that are needed. Returns 0
 * or an exit status after printing. The terminal is changed by console_start() only, and put back
 * by console_stop() and at exit.
 */
int console_open(struct console *c, const char *log_path, bool may_be_terminal) MUST_CHECK;
void console_start(struct console *c);
void console_handed_over(struct console *c);
void console_stop(struct console *c);

/* Move what is there through one pump; false at its end. */
bool pump_move(struct pump *p);

/* Everything that is left, when the machine has ended. */
void console_drain(struct console *c);

/* Terminal input; true when Ctrl-C came twice within a second. */
bool console_read_input(struct console *c);
void console_write_input(struct console *c);

void console_read_size(struct console *c);

/* ---- Life
 * ----------------------------------------------------------------------------------------- */

struct monitor;

/* Start the VM in the monitor, which then owns it; serve console and signals until it ends. Returns
 * the exit status. */
int run_vm(struct monitor *m, drupe_vm_t *vm, struct console *c, uint64_t timeout_s) MUST_CHECK;

/* Block the signals that run_vm() takes from a descriptor; before any thread exists. */
void run_block_signals(void);

/* Start it in the background and print its id. */
int run_detached(const struct job *j, const struct run_options *o) MUST_CHECK;

/* Print the library's error and return the exit status that fits it. */
int refuse_vm(const char *verb, const struct drupe_error *err);
