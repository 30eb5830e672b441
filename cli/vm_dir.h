/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run directories: one for each detached machine, <base>/<id>/, where <base> is $DRUPE_RUN_DIR, or
 * $XDG_RUNTIME_DIR/drupe, or /run/drupe for root, or /tmp/drupe-<uid>/run. Mode 0700. In it:
 *
 *   vm.json      what the machine is: written once, before it starts, under a temporary name
 *   api.sock     its control API            vsock.sock  the host's side of its vsock
 *   console.log  what its workload printed  log         what its monitor said
 *   events       what happened to it, one JSON object a line; the last one says how it ended
 *   jail/        its jail, when it has one
 *
 * A jailed monitor reaches none of these paths: it holds open descriptors to write to.
 *
 * A machine lives while the process that vm.json names lives; a process is known by its number and
 * its start time, since numbers come again.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "files.h"

#define VM_ID_SIZE 12u /* hexadecimal digits */

struct vm_record {
    char *dir;
    char *id;
    char *name; /* never NULL; "" when none was given */
    char *backend;
    char *image; /* "" for a restored machine without one */
    struct strings argv;
    int64_t created_ms; /* Unix time */
    unsigned memory_mib;
    unsigned vcpus;
    pid_t pid;
    uint64_t start_ticks; /* of the process: /proc/<pid>/stat, field 22 */
    bool is_alive;        /* filled by reading */
};

void vm_record_free(struct vm_record *r); /* also as a cleanup function */
#define CLEANUP_RECORD __attribute__((cleanup(vm_record_free))) struct vm_record

/* The base directory, made when missing; NULL with errno set. The caller frees. */
char *vm_dir_base(void);
/* Says on standard error why it could not be used; the exit status. */
int vm_dir_complain(const char *verb, int os_errno) MUST_CHECK;

/*
 * Make a directory for a new machine with an id nobody has; r->dir and r->id are set. `name` (NULL
 * or "": none) must be free among the living. Returns 0 or an exit status after printing, with
 * `verb` in front.
 */
int vm_dir_create(struct vm_record *r, const char *verb, const char *name) MUST_CHECK;

/* Write vm.json for the process `pid`, whose start time is looked up. 0 or -errno. */
int vm_record_write(struct vm_record *r, pid_t pid) MUST_CHECK;

/* Read <dir>/vm.json. -EINVAL when it makes no sense. */
int vm_record_read(const char *dir, struct vm_record *out) MUST_CHECK;

/*
 * The machine that `word` names: its name, its id, or the beginning of exactly one id; the living
 * before the dead. Returns 0 or an exit status after printing.
 */
int vm_find(const char *verb, const char *word, struct vm_record *out) MUST_CHECK;

/* All records, sorted by time of creation. The caller frees each and the array. 0 or -errno. */
int vm_list(struct vm_record **out, size_t *count) MUST_CHECK;

/* Remove the jails (cgroups, mount points) of machines that have ended. Their records stay. */
void vm_sweep(void);

/* "dir/name" of a file in a machine's directory. The caller frees. */
char *vm_path(const struct vm_record *r, const char *name);

/* ---- Events ---- */

/* The machine's events file, to append to; -1 with errno set. */
int vm_events_open(const struct vm_record *r);

/* Append one line: time, id, event, and `detail` (NULL: none). A lost event stops nothing. */
void vm_event(int events_fd, const struct vm_record *r, const char *event, const char *detail);

/* How it ended. */
struct vm_end {
    char kind[16]; /* "exit", "stopped", "panic", ... */
    int status;    /* the exit status that `drupe run` would have had */
    char text[256];
};

/* The event "ended", the last one. */
void vm_event_end(int events_fd, const struct vm_record *r, const struct vm_end *end);

/* From the last event. -ENOENT while it runs, or when its monitor was killed. */
int vm_end_read(const struct vm_record *r, struct vm_end *out) MUST_CHECK;
