/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every verb shares: exit statuses, the one place that prints errors, the table of verbs.
 *
 * Errors: a function that fails for a reason the user should read prints it once, with
 * complain(), and returns the exit status; its callers pass the status up and print nothing.
 */
#pragma once

#include <stdarg.h>

#include <base/compiler.h>

enum cli_status {
    STATUS_OK = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_HOST = 3,  /* the host lacks something: KVM and QEMU, apt */
    STATUS_GUEST = 4, /* the machine ended without a status of its workload */
    STATUS_TIMEOUT = 124,
};

/*
 * Print "drupe: <text>" as one line on standard error (control characters become '?', so that a
 * file name cannot forge a second line) and return `status`.
 */
int complain(int status, const char *format, ...) PRINTF_LIKE(2, 3);

/* Like complain(), for something that is worth knowing and stops nothing. */
void warn(const char *format, ...) PRINTF_LIKE(1, 2);

/*
 * A passing message about slow work, on standard error, only when that is a terminal; the next one
 * overwrites it and progress_end() wipes it. complain() and warn() wipe it as well.
 */
void progress(const char *format, ...) PRINTF_LIKE(1, 2);
void progress_end(void);

/* A line that stays: "<what> done in 1.2 s" on a terminal or not, on standard error. */
void note(const char *format, ...) PRINTF_LIKE(1, 2);

struct verb {
    const char *name;
    const char *summary;               /* one line for `drupe help` */
    const char *help;                  /* the whole text of `drupe NAME --help` */
    int (*run)(int argc, char **argv); /* argv[0] is the verb; returns the exit status */
};

extern const struct verb verb_blk;
extern const struct verb verb_build;
extern const struct verb verb_doctor;
extern const struct verb verb_init;
extern const struct verb verb_jailer;
extern const struct verb verb_logs;
extern const struct verb verb_pack;
extern const struct verb verb_run;
extern const struct verb verb_ps;
extern const struct verb verb_stop;
extern const struct verb verb_kill;
extern const struct verb verb_pause;
extern const struct verb verb_resume;
extern const struct verb verb_wait;
extern const struct verb verb_rm;
extern const struct verb verb_top;
extern const struct verb verb_events;
extern const struct verb verb_snapshot;
extern const struct verb verb_restore;
extern const struct verb verb_clone;
extern const struct verb verb_template;
extern const struct verb verb_pool;
extern const struct verb verb_exec;
extern const struct verb verb_cp;
extern const struct verb verb_version;
extern const struct verb verb_vmm;
extern const struct verb verb_help;

/* The verb of that name, or NULL. verb_at() counts from 0 and returns NULL after the last. */
const struct verb *verb_find(const char *name);
const struct verb *verb_at(unsigned index);

/* The name of the verb that the user gave: what verbs share complains in its name. */
const char *verb_running(void);
void verb_set_running(const char *name);

/*
 * The known word nearest to `word` by edit distance, or NULL when none is near enough to be a
 * typing error. `words` ends with NULL.
 */
const char *nearest_word(const char *word, const char *const *words);
