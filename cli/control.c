/* SPDX-License-Identifier: Apache-2.0 */
/* drupe stop, kill, pause, resume, wait, rm: one word to machines that run in the background. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/clock.h>

#include "api_client.h"
#include "cli.h"
#include "options.h"
#include "vm_dir.h"

#define CALL_TIMEOUT_MS 5000
#define GRACE_S_DEFAULT 10
#define GRACE_S_MAX     86400
/* After the grace the monitor writes what is left and ends; a monitor that does not is killed. */
#define MONITOR_END_MS 5000

/* Wait for the monitor's process to be gone; -1: for ever. False after the time. */
static bool wait_gone(const struct vm_record *r, int timeout_ms)
{
    CLEANUP_FD fd = (int)syscall(SYS_pidfd_open, r->pid, 0);
    struct vm_record now = { 0 };
    bool is_alive = fd >= 0 && vm_record_read(r->dir, &now) == 0 && now.is_alive;

    vm_record_free(&now);
    /* Asked again with the descriptor in hand: it is of that process, not of a later one. */
    if (!is_alive) {
        return true;
    }
    uint64_t deadline =
        timeout_ms < 0 ? CLOCK_NEVER : clock_ns() + (uint64_t)timeout_ms * NS_PER_MS;

    for (;;) {
        struct pollfd p = { fd, POLLIN, 0 };
        int n = poll(&p, 1, clock_poll_ms(deadline));

        if (n > 0) {
            return true;
        }
        if (n == 0 || errno != EINTR) {
            return false;
        }
    }
}

/*
 * Take the jail of a machine that has ended away. The threads of a killed one may live a little
 * longer than it has a process, and hold the jail's lock and its disks meanwhile.
 */
static bool sweep_jail(const struct vm_record *r)
{
    CLEANUP_FREE char *jail = text_format("%s/jail", r->dir);
    const struct timespec pause = { .tv_nsec = 10000000 };
    uint64_t deadline = clock_ns() + MONITOR_END_MS * NS_PER_MS;

    vm_sweep();
    while (access(jail, F_OK) == 0) {
        if (clock_ns() > deadline) {
            return false;
        }
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        vm_sweep();
    }
    return true;
}

/* ---- One verb over several machines ---- */

typedef int (*control_fn)(const char *verb, const struct vm_record *r, uint64_t argument);

/* All are tried; the first failure is the status. */
static int for_each(const struct verb *verb, int argc, char **argv, int first, control_fn fn,
                    uint64_t argument)
{
    int status = 0;

    if (first >= argc) {
        return complain(STATUS_USAGE, "%s: say which machine; drupe ps lists them", verb->name);
    }
    for (int i = first; i < argc; i++) {
        CLEANUP_RECORD r = { 0 };
        int one = vm_find(verb->name, argv[i], &r);

        if (one == 0) {
            one = fn(verb->name, &r, argument);
        }
        status = status != 0 ? status : one;
    }
    return status;
}

static int put(const char *verb, const struct vm_record *r, const char *method, const char *path,
               const char *body)
{
    struct api_request request = {
        .method = method, .path = path, .body = body, .timeout_ms = CALL_TIMEOUT_MS
    };

    return api_do(verb, r, &request, NULL);
}

/* ---- stop, kill ---- */

static int kill_monitor(const char *verb, const struct vm_record *r)
{
    if (kill(r->pid, SIGKILL) < 0 && errno != ESRCH) {
        return complain(STATUS_FAILED, "%s: %s: %s", verb, r->id, strerror(errno));
    }
    (void)wait_gone(r, MONITOR_END_MS);
    (void)sweep_jail(r); /* else the next start does it */
    return 0;
}

static int stop_one(const char *verb, const struct vm_record *r, uint64_t grace_s)
{
    CLEANUP_FREE char *body =
        text_format("{\"grace_ms\": %llu}", (unsigned long long)grace_s * 1000);
    int status = put(verb, r, "PUT", "/drupe/stop", body);

    if (status != 0) {
        return status;
    }
    if (wait_gone(r, (int)grace_s * 1000 + MONITOR_END_MS)) {
        (void)sweep_jail(r);
        return 0;
    }
    warn("%s: %s: its monitor does not answer and is killed", verb, r->id);
    return kill_monitor(verb, r);
}

static int run_stop(int argc, char **argv)
{
    uint64_t grace_s = GRACE_S_DEFAULT;
    const struct option_spec specs[] = {
        { .name = "time",
          .letter = 't',
          .kind = OPTION_NUMBER,
          .out = &grace_s,
          .max = GRACE_S_MAX },
    };
    struct operands operands;
    int status = options_of_verb(&verb_stop, specs, array_size(specs), argc, argv, &operands);

    return status >= 0 ? status
                       : for_each(&verb_stop, argc, argv, operands.first, stop_one, grace_s);
}

static int kill_one(const char *verb, const struct vm_record *r, uint64_t signo)
{
    if (signo == SIGKILL) {
        return r->is_alive ? kill_monitor(verb, r)
                           : complain(STATUS_FAILED, "%s: %s: the machine has ended", verb, r->id);
    }
    CLEANUP_FREE char *body = text_format("{\"signal\": %u}", (unsigned)signo);

    return put(verb, r, "PUT", "/drupe/signal", body);
}

/* "TERM", "SIGTERM" or "15"; 0: none of them. */
static unsigned parse_signal(const char *text)
{
    char *end = NULL;
    unsigned long n = strtoul(text, &end, 10);

    if (*text && *end == '\0') {
        return n >= 1 && n <= 64 ? (unsigned)n : 0;
    }
    const char *name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;

    for (int i = 1; i < NSIG; i++) {
        const char *abbreviation = sigabbrev_np(i);

        if (abbreviation && strcmp(abbreviation, name) == 0) {
            return (unsigned)i;
        }
    }
    return 0;
}

static int run_kill(int argc, char **argv)
{
    const char *signal_text = "KILL";
    const struct option_spec specs[] = {
        { .name = "signal", .letter = 's', .kind = OPTION_TEXT, .out = &signal_text },
    };
    struct operands operands;
    int status = options_of_verb(&verb_kill, specs, array_size(specs), argc, argv, &operands);
    unsigned signo = 0;

    if (status >= 0) {
        return status;
    }
    signo = parse_signal(signal_text);
    if (signo == 0) {
        return complain(STATUS_USAGE, "kill: --signal %s: a name such as TERM, or 1 to 64",
                        signal_text);
    }
    return for_each(&verb_kill, argc, argv, operands.first, kill_one, signo);
}

/* ---- pause, resume ---- */

static int change_state(const char *verb, const struct vm_record *r, uint64_t argument)
{
    (void)argument;
    return put(verb, r, "PATCH", "/vm",
               strcmp(verb, "pause") == 0 ? "{\"state\": \"Paused\"}" : "{\"state\": \"Resumed\"}");
}

static int run_change(const struct verb *verb, int argc, char **argv)
{
    struct operands operands;
    int status = options_of_verb(verb, NULL, 0, argc, argv, &operands);

    return status >= 0 ? status : for_each(verb, argc, argv, operands.first, change_state, 0);
}

static int run_pause(int argc, char **argv)
{
    return run_change(&verb_pause, argc, argv);
}

static int run_resume(int argc, char **argv)
{
    return run_change(&verb_resume, argc, argv);
}

/* ---- wait ---- */

static int run_wait(int argc, char **argv)
{
    uint64_t timeout_s = 0;
    const struct option_spec specs[] = {
        { .name = "timeout",
          .letter = 't',
          .kind = OPTION_NUMBER,
          .out = &timeout_s,
          .min = 1,
          .max = INT32_MAX / 1000 },
    };
    struct operands operands;
    struct vm_end end;
    CLEANUP_RECORD r = { 0 };
    int status = options_of_verb(&verb_wait, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first + 1 != argc) {
        return complain(STATUS_USAGE, "wait: takes one machine; drupe ps lists them");
    }
    status = vm_find("wait", argv[operands.first], &r);
    if (status != 0) {
        return status;
    }
    if (!wait_gone(&r, timeout_s ? (int)timeout_s * 1000 : -1)) {
        return complain(STATUS_TIMEOUT, "wait: %s still runs", argv[operands.first]);
    }
    if (vm_end_read(&r, &end) < 0) {
        return complain(STATUS_GUEST, "wait: %s: its monitor was killed", argv[operands.first]);
    }
    return end.status;
}

/* ---- rm ---- */

/* Remove what a machine that has ended left: first its jail, while its directory says what there
 * is. */
static int remove_ended(const char *verb, const struct vm_record *r)
{
    if (!sweep_jail(r)) {
        return complain(STATUS_FAILED, "%s: %s: its jail is still in use", verb, r->id);
    }
    tree_remove(r->dir);
    return 0;
}

static int rm_one(const char *verb, const struct vm_record *r, uint64_t is_forced)
{
    if (r->is_alive && !is_forced) {
        return complain(STATUS_FAILED, "%s: %s runs; stop it first, or use --force", verb, r->id);
    }
    int status = r->is_alive ? kill_monitor(verb, r) : 0;

    return status == 0 ? remove_ended(verb, r) : status;
}

static int remove_dead(void)
{
    struct vm_record *all = NULL;
    size_t count = 0;
    int err = vm_list(&all, &count);
    int status = 0;

    for (size_t i = 0; i < count; i++) {
        if (!all[i].is_alive) {
            status = remove_ended("rm", &all[i]) != 0 ? STATUS_FAILED : status;
        }
        vm_record_free(&all[i]);
    }
    free(all);
    return err < 0 ? vm_dir_complain("rm", -err) : status;
}

static int run_rm(int argc, char **argv)
{
    bool is_forced = false;
    bool is_all_dead = false;
    const struct option_spec specs[] = {
        { .name = "force", .letter = 'f', .kind = OPTION_FLAG, .out = &is_forced },
        { .name = "dead", .kind = OPTION_FLAG, .out = &is_all_dead },
    };
    struct operands operands;
    int status = options_of_verb(&verb_rm, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (is_all_dead && operands.first == argc) {
        return remove_dead();
    }
    return for_each(&verb_rm, argc, argv, operands.first, rm_one, is_forced ? 1 : 0);
}

/* ---- The table ---- */

const struct verb verb_stop = {
    .name = "stop",
    .summary = "end machines politely",
    .help = "usage: drupe stop [OPTIONS] MACHINE...\n\n"
            "Sends SIGTERM to the workload and waits for the machine to end; after the grace it is "
            "stopped\nwhere it is. MACHINE is a name or the beginning of an id.\n\n"
            "options:\n"
            "  -t, --time SECONDS  the grace, 0 to 86400 (default 10)\n",
    .run = run_stop,
};

const struct verb verb_kill = {
    .name = "kill",
    .summary = "end machines at once, or send a signal",
    .help = "usage: drupe kill [OPTIONS] MACHINE...\n\n"
            "Without a signal the machine and its monitor are gone when this returns.\n\n"
            "options:\n"
            "  -s, --signal SIGNAL  send this one to the workload's process group instead\n",
    .run = run_kill,
};

const struct verb verb_pause = {
    .name = "pause",
    .summary = "hold machines; memory is kept",
    .help =
        "usage: drupe pause MACHINE...\n\n"
        "The virtual CPUs stand still until drupe resume; the guest does not notice the time.\n",
    .run = run_pause,
};

const struct verb verb_resume = {
    .name = "resume",
    .summary = "let paused machines go on",
    .help = "usage: drupe resume MACHINE...\n",
    .run = run_resume,
};

const struct verb verb_wait = {
    .name = "wait",
    .summary = "wait for a machine's end; its status is the exit status",
    .help = "usage: drupe wait [OPTIONS] MACHINE\n\n"
            "Also of a machine that has ended already, as long as drupe rm has not removed it.\n\n"
            "options:\n"
            "  -t, --timeout SECONDS  then give up with status 124\n",
    .run = run_wait,
};

const struct verb verb_rm = {
    .name = "rm",
    .summary = "remove what ended machines left (logs, events)",
    .help = "usage: drupe rm [OPTIONS] MACHINE...\n"
            "       drupe rm --dead\n\n"
            "options:\n"
            "  -f, --force  running ones too: they are killed first\n"
            "      --dead   all that have ended\n",
    .run = run_rm,
};
