/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A template's first clone, made at once and for one purpose: to see which memory clones need. It
 * reads what it is given, or finds the end of its input; what it prints is thrown away.
 */
#include "template.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define TRAIN_MS 3000 /* it goes on for so long at most; a service does not end by itself */

static drupe_vm_err_t run_clone(const drupe_vm_config_t *cfg, const char *path, uint64_t *bytes,
                                struct drupe_error *err)
{
    const struct drupe_restore_options options = { .struct_size = sizeof(options),
                                                   .path = path,
                                                   .fd = -1,
                                                   .memory_fd = -1,
                                                   .is_clone = true,
                                                   .is_memory_trusted = true };
    drupe_vm_t *vm = NULL;
    drupe_vm_err_t r = drupe_vm_create_from_snapshot(cfg, &options, &vm, err);

    if (r == DRUPE_OK) {
        r = drupe_vm_resume(vm, err);
    }
    if (r == DRUPE_OK) {
        /* Both are fine: it has ended, or it has had its time. */
        (void)!drupe_vm_wait(vm, DRUPE_VM_ENDED, TRAIN_MS, NULL, NULL);
        r = drupe_vm_record_working_set(vm, path, bytes, err);
    }
    drupe_vm_destroy(vm);
    return r;
}

int template_train(const struct job *job, const struct run_options *options, const char *input,
                   const char *path, uint64_t *bytes)
{
    drupe_vm_config_t cfg;
    struct drupe_error err;
    int status = job_config(job, options, &cfg);
    CLEANUP_FD in = open(input ? input : "/dev/null", O_RDONLY | O_CLOEXEC);
    CLEANUP_FD out = open("/dev/null", O_WRONLY | O_CLOEXEC);

    if (status != 0) {
        return status;
    }
    if (in < 0 || out < 0) {
        return complain(STATUS_FAILED, "template: %s: %s", in < 0 ? input : "/dev/null",
                        strerror(errno));
    }
    cfg.host_stdin = in;
    cfg.host_stdout = out;
    cfg.host_stderr = out;
    cfg.serial_log = out;
    return run_clone(&cfg, path, bytes, &err) == DRUPE_OK ? 0 : refuse_vm("template", &err);
}
