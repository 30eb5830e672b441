/* SPDX-License-Identifier: Apache-2.0 */
/* drupe run -d: the same machine, in a monitor of its own. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "background.h"
#include "jail_limits.h"
#include "run_internal.h"

/* Console and vsock stand in the machine's directory; nobody types into a machine behind us. */
static int open_console(const struct vm_record *r, int *out)
{
    CLEANUP_FREE char *path = vm_path(r, "console.log");

    *out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return *out < 0 ? complain(STATUS_FAILED, "run: %s: %s", path, strerror(errno)) : 0;
}

static int create(struct background *m, const struct job *j, const struct run_options *o)
{
    drupe_vm_config_t cfg;
    struct drupe_error err;
    CLEANUP_FD console = -1;
    CLEANUP_FREE char *vsock = vm_path(&m->record, "vsock.sock");
    int status = job_config(j, o, &cfg);

    if (status == 0) {
        status = open_console(&m->record, &console);
    }
    if (status != 0) {
        return status;
    }
    cfg.host_stdout = console;
    cfg.host_stderr = console;
    cfg.serial_log = console;
    job_config_agent(&cfg, vsock);
    if (drupe_vm_create(&cfg, &m->vm, &err) != DRUPE_OK) {
        return refuse_vm("run", &err);
    }
    background_describe(m, j);
    if (o->is_tracked && strcmp(m->record.backend, "kvm") != 0) {
        return complain(STATUS_FAILED, "run: --track-dirty: not supported on the %s backend",
                        m->record.backend);
    }
    /* QEMU is a program of this host, which a jail does not hold. */
    m->is_jailed = m->is_jailed && strcmp(m->record.backend, "qemu") != 0;
    return 0;
}

int run_detached(const struct job *j, const struct run_options *o)
{
    struct background m;
    int status = 0;

    background_init(&m);
    m.timeout_s = j->timeout_s;
    m.is_jailed = !o->has_no_jail;
    m.memory_max = monitor_memory_max(j->memory_mib);
    status = vm_dir_create(&m.record, "run", o->name);
    if (status == 0) {
        status = background_open(&m, "run");
    }
    if (status == 0) {
        status = create(&m, j, o);
    }
    if (status == 0) {
        status = background_start(&m, "run");
    }
    if (status == 0) {
        (void)printf("%s\n", m.record.id);
    }
    background_deinit(&m, status != 0);
    return status;
}
