/* SPDX-License-Identifier: Apache-2.0 */
/* drupe help, drupe version, and the table of verbs. */

#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "options.h"

#define DRUPE_VERSION "0.1.0"

static const struct verb *const verbs[] = {
    &verb_init,   &verb_build,    &verb_pack,    &verb_run,   &verb_logs,     &verb_exec,
    &verb_cp,     &verb_ps,       &verb_stop,    &verb_kill,  &verb_wait,     &verb_pause,
    &verb_resume, &verb_snapshot, &verb_restore, &verb_clone, &verb_template, &verb_pool,
    &verb_top,    &verb_events,   &verb_rm,      &verb_blk,   &verb_doctor,   &verb_vmm,
    &verb_jailer, &verb_version,  &verb_help,
};

const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < array_size(verbs); i++) {
        if (strcmp(verbs[i]->name, name) == 0) {
            return verbs[i];
        }
    }
    return NULL;
}

const struct verb *verb_at(unsigned index)
{
    return index < array_size(verbs) ? verbs[index] : NULL;
}

static void print_overview(void)
{
    (void)printf("drupe runs a program in a virtual machine of its own.\n\n"
                 "usage: drupe [-C DIR] COMMAND [OPTIONS] [ARGUMENTS]\n\n");
    for (size_t i = 0; i < array_size(verbs); i++) {
        (void)printf("  %-8s %s\n", verbs[i]->name, verbs[i]->summary);
    }
    (void)printf("\nexamples:\n"
                 "  drupe run /usr/bin/wc -l < file        a program of this host, isolated\n"
                 "  drupe init && drupe pack && drupe run  a project with its own image\n\n"
                 "drupe COMMAND --help says more; the manual is drupe(1).\n");
}

static int run_help(int argc, char **argv)
{
    struct operands operands;
    int status = options_of_verb(&verb_help, NULL, 0, argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first >= argc) {
        print_overview();
        return STATUS_OK;
    }
    const struct verb *verb = verb_find(argv[operands.first]);

    if (!verb) {
        return complain(STATUS_USAGE, "help: no command \"%s\"; drupe help lists them",
                        argv[operands.first]);
    }
    (void)fputs(verb->help, stdout);
    return STATUS_OK;
}

const struct verb verb_help = {
    .name = "help",
    .summary = "explain a command",
    .help = "usage: drupe help [COMMAND]\n\n"
            "Lists the commands, or explains one.\n\n"
            "example:\n"
            "  drupe help run\n",
    .run = run_help,
};

static int run_version(int argc, char **argv)
{
    struct operands operands;
    int status = options_of_verb(&verb_version, NULL, 0, argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first < argc) {
        return complain(STATUS_USAGE, "version: takes no arguments");
    }
    (void)printf("drupe %s\n", DRUPE_VERSION);
    return STATUS_OK;
}

const struct verb verb_version = {
    .name = "version",
    .summary = "print the version",
    .help = "usage: drupe version\n\n"
            "Prints the program's name and version on one line.\n\n"
            "example:\n"
            "  drupe version\n",
    .run = run_version,
};
