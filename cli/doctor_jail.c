/* SPDX-License-Identifier: Apache-2.0 */
/* What drupe doctor says of the jail, and the table of system calls that it lets through. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <drupe/jail.h>

#include "cli.h"
#include "doctor.h"

void doctor_report_jail(void)
{
    struct drupe_jail_report jail;

    drupe_jail_probe(&jail);
    if (jail.missing[0]) {
        doctor_report(jail.is_root ? FINDING_WARN : FINDING_OK, "jail",
                      jail.is_root ? "without %s" : "as an ordinary user; without %s",
                      jail.missing);
    } else {
        doctor_report(FINDING_OK, "jail", "complete: namespaces, ids, limits, seccomp, Landlock");
    }
    if (jail.cgroup_version > 0) {
        doctor_report(FINDING_OK, "cgroup", "version %d: %s", jail.cgroup_version,
                      jail.cgroup_controllers);
    }
    doctor_report(jail.landlock_version > 0 ? FINDING_OK : FINDING_WARN, "landlock",
                  jail.landlock_version > 0 ? "version %d" : "not in this kernel (version %d)",
                  jail.landlock_version);
}

static void print_counts(void)
{
    (void)printf("| thread | system calls |\n| --- | --- |\n");
    for (unsigned kind = 0; kind < DRUPE_JAIL_THREADS; kind++) {
        (void)printf("| %s | %u |\n", drupe_jail_thread_name((enum drupe_jail_thread)kind),
                     drupe_jail_call_count((enum drupe_jail_thread)kind));
    }
}

int doctor_print_filters(void)
{
    struct drupe_jail_rule rule;

    print_counts();
    (void)printf("\n| call | arguments |");
    for (unsigned kind = 0; kind < DRUPE_JAIL_THREADS; kind++) {
        (void)printf(" %s |", drupe_jail_thread_name((enum drupe_jail_thread)kind));
    }
    (void)printf(" reason |\n| --- | --- |");
    for (unsigned kind = 0; kind < DRUPE_JAIL_THREADS; kind++) {
        (void)printf(" --- |");
    }
    (void)printf(" --- |\n");
    for (unsigned i = 0; drupe_jail_rule(i, &rule); i++) {
        (void)printf("| %s | %s |", rule.call, rule.check);
        for (unsigned kind = 0; kind < DRUPE_JAIL_THREADS; kind++) {
            (void)printf(" %s |", (rule.threads & (1u << kind)) != 0 ? "x" : "");
        }
        (void)printf(" %s |\n", rule.reason);
    }
    return STATUS_OK;
}
