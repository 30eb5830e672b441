/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor's process: in a jail, or a child that has left our session. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <drupe/jail.h>

#include "cli.h"
#include "background_internal.h"
#include "run_internal.h"
#include "thaw.h"

#define OVERHEAD_PIDS 64u

static int jailed(struct background_task *task, const char *verb, pid_t *pid)
{
    const struct background *m = task->background;
    struct drupe_jail_config cfg;
    drupe_jail_t *jail = NULL;
    pid_t broker = -1; /* ends with the monitor: nobody waits for it */
    struct drupe_error err = { 0 };
    int keep[3 + THAW_FDS_MAX] = { task->starter_fd, m->api_fd, m->events_fd };
    size_t count = 3 + thaw_fds(m->restore, keep + 3);

    drupe_jail_config_init(&cfg);
    cfg.id = m->record.id;
    cfg.directory = m->record.dir;
    cfg.wants_kvm = true;
    cfg.wants_userfaultfd = true;
    cfg.is_daemon = true;
    cfg.memory_max = m->memory_max;
    cfg.pids_max = OVERHEAD_PIDS;
    cfg.are_limits_optional = true; /* an ordinary user seldom may set them: drupe doctor */
    if (drupe_jail_prepare(&cfg, &jail, &err) != DRUPE_OK ||
        drupe_vm_start_broker(m->vm, &broker, &err) != DRUPE_OK ||
        drupe_jail_spawn(jail, m->vm, keep, count, background_main, task, pid, &err) != DRUPE_OK) {
        drupe_jail_destroy(jail);
        return refuse_vm(verb, &err);
    }
    drupe_jail_detach(jail);
    return 0;
}

/* Standard streams of a process that nobody watches. */
static void leave_session(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)setsid();
    for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++) {
        (void)dup2(null, fd);
    }
}

int background_spawn(struct background_task *task, const char *verb, pid_t *pid)
{
    if (task->background->is_jailed) {
        return jailed(task, verb, pid);
    }
    *pid = fork();
    if (*pid < 0) {
        return complain(STATUS_FAILED, "%s: fork: %s", verb, strerror(errno));
    }
    if (*pid == 0) {
        leave_session();
        _exit(background_main(task));
    }
    return 0;
}
