/* SPDX-License-Identifier: Apache-2.0 */
/* drupe top: the running machines as a live table. */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <base/clock.h>

#include "cli.h"
#include "options.h"
#include "run_internal.h"
#include "vm_dir.h"
#include "vm_stats.h"

/* What a machine had used when it was looked at last. */
struct sample {
    char id[VM_ID_SIZE + 1];
    uint64_t at_ns;
    uint64_t vcpu_time_ns;
    uint64_t exits;
};

struct top {
    struct sample *samples;
    size_t count;
    struct termios saved;
    bool is_live; /* a terminal: keys are read, the screen is rewritten */
};

static struct sample *sample_of(struct top *t, const char *id)
{
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->samples[i].id, id) == 0) {
            return &t->samples[i];
        }
    }
    t->samples = alloc_resized(t->samples, t->count + 1, sizeof(*t->samples));
    t->samples[t->count] = (struct sample){ 0 };
    (void)snprintf(t->samples[t->count].id, sizeof(t->samples[0].id), "%s", id);
    return &t->samples[t->count++];
}

static void print_machine(struct top *t, const struct vm_record *r, const char *end_of_line)
{
    struct vm_stats now;
    struct sample *before = sample_of(t, r->id);
    uint64_t at = clock_ns();

    if (vm_stats_get(r, &now) < 0) {
        (void)printf("%-12s  %-12s  %-8s%s\n", r->id, r->name[0] ? r->name : "-", "SILENT",
                     end_of_line);
        return;
    }
    /* The first look has nothing to compare with but the machine's whole life. */
    uint64_t span = before->at_ns ? at - before->at_ns : max_of(now.uptime_ns, UINT64_C(1));
    uint64_t used = now.vcpu_time_ns - min_of(before->vcpu_time_ns, now.vcpu_time_ns);
    uint64_t exits = now.exits - min_of(before->exits, now.exits);

    (void)printf("%-12s  %-12s  %-8s  %6.1f  %6" PRIu64 "/%-6u  %9.0f  %8" PRIu64 ".%01us%s\n",
                 r->id, r->name[0] ? r->name : "-", now.state, 100.0 * (double)used / (double)span,
                 now.memory_resident >> 20, r->memory_mib,
                 (double)exits * (double)NS_PER_S / (double)span, now.uptime_ns / NS_PER_S,
                 (unsigned)(now.uptime_ns % NS_PER_S / (NS_PER_S / 10)), end_of_line);
    before->at_ns = at;
    before->vcpu_time_ns = now.vcpu_time_ns;
    before->exits = now.exits;
}

static int print_table(struct top *t)
{
    const char *end_of_line = t->is_live ? "\033[K" : "";
    struct vm_record *all = NULL;
    size_t count = 0;
    int err = vm_list(&all, &count);

    if (t->is_live) {
        (void)fputs("\033[H", stdout);
    }
    (void)printf("%-12s  %-12s  %-8s  %6s  %13s  %9s  %10s%s\n", "ID", "NAME", "STATE", "CPU%",
                 "MEMORY MIB", "EXITS/S", "UPTIME", end_of_line);
    for (size_t i = 0; i < count; i++) {
        if (all[i].is_alive) {
            print_machine(t, &all[i], end_of_line);
        }
        vm_record_free(&all[i]);
    }
    free(all);
    (void)fputs(t->is_live ? "\033[J" : "", stdout);
    (void)fflush(stdout);
    return err;
}

static void enter_screen(struct top *t)
{
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &t->saved) < 0) {
        t->is_live = false;
        return;
    }
    raw = t->saved;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    (void)fputs("\033[?1049h\033[?25l", stdout); /* the other screen, no cursor */
}

static void leave_screen(const struct top *t)
{
    (void)fputs("\033[?25h\033[?1049l", stdout);
    (void)fflush(stdout);
    (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &t->saved);
}

/* False when a key says to end: q, Ctrl-C (read as a key would need raw mode: it ends us). */
static bool wait_key(uint64_t interval_s)
{
    struct pollfd p = { STDIN_FILENO, POLLIN, 0 };
    char key = 0;

    if (poll(&p, 1, (int)interval_s * 1000) <= 0) {
        return errno != EINTR;
    }
    return read(STDIN_FILENO, &key, 1) == 1 && key != 'q' && key != 'Q';
}

static int run_top(int argc, char **argv)
{
    uint64_t interval_s = 1;
    uint64_t rounds = 0;
    struct top t = { 0 };
    const struct option_spec specs[] = {
        { .name = "interval",
          .letter = 'i',
          .kind = OPTION_NUMBER,
          .out = &interval_s,
          .min = 1,
          .max = 3600 },
        { .name = "rounds",
          .letter = 'n',
          .kind = OPTION_NUMBER,
          .out = &rounds,
          .min = 1,
          .max = 1000000 },
    };
    struct operands operands;
    int status = options_of_verb(&verb_top, specs, array_size(specs), argc, argv, &operands);
    int err = 0;

    if (status >= 0) {
        return status;
    }
    if (operands.first < argc) {
        return complain(STATUS_USAGE, "top: takes no arguments; see drupe top --help");
    }
    t.is_live = rounds == 0 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (t.is_live) {
        enter_screen(&t);
    }
    if (!t.is_live && rounds == 0) {
        rounds = 1;
    }
    for (uint64_t i = 0; err == 0; i++) {
        err = print_table(&t);
        if (rounds > 0 && i + 1 >= rounds) {
            break;
        }
        if (t.is_live) {
            if (!wait_key(interval_s)) {
                break;
            }
        } else {
            (void)sleep((unsigned)interval_s);
        }
    }
    if (t.is_live) {
        leave_screen(&t);
    }
    free(t.samples);
    return err < 0 ? vm_dir_complain("top", -err) : 0;
}

const struct verb verb_top = {
    .name = "top",
    .summary = "show running machines as a live table",
    .help = "usage: drupe top [OPTIONS]\n\n"
            "CPU% is of one host CPU, memory is what the host has backed of the guest's. On a "
            "terminal the\ntable is rewritten until q is pressed; otherwise it is printed once.\n\n"
            "options:\n"
            "  -i, --interval SECONDS  between two looks (default 1)\n"
            "  -n, --rounds N          print it N times, one below the other, and end\n",
    .run = run_top,
};
