/* SPDX-License-Identifier: Apache-2.0 */
/* One run of the test guest (tests/vmm/guest.c) through the public API. */
#pragma once

#include "test.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "drupe/vm.h"

#define GUEST       "build/tests/vmm_guest.elf"
#define GUEST_PVH   "build/tests/vmm_guest_pvh.elf"
#define OUTPUT_MAX  4096
#define END_WAIT_MS 60000

struct run {
    drupe_vm_config_t cfg;
    drupe_vm_t *vm;
    struct drupe_error err;
    struct drupe_vm_outcome end;
    enum drupe_vm_state state;
    const char *argv[3];
    char output[OUTPUT_MAX];
};

static inline void need_kvm(void)
{
    if (access("/dev/kvm", R_OK | W_OK) != 0) {
        print_message("/dev/kvm does not open\n");
        skip();
    }
}

static inline void need_qemu(void)
{
    if (access("/usr/bin/qemu-system-x86_64", X_OK) != 0) {
        print_message("qemu-system-x86_64 is not installed\n");
        skip();
    }
}

static inline int memory_file(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static inline void run_init(struct run *r, enum drupe_accel accel, const char *kernel,
                            const char *mode)
{
    memset(r, 0, sizeof(*r));
    drupe_vm_config_init(&r->cfg);
    r->argv[0] = "guest";
    r->argv[1] = mode;
    r->cfg.accel = accel;
    r->cfg.kernel_path = kernel;
    r->cfg.argv = r->argv;
    r->cfg.memory_mib = 16;
    r->cfg.serial_log = memory_file();
}

static inline void run_start(struct run *r)
{
    drupe_vm_err_t code = drupe_vm_create(&r->cfg, &r->vm, &r->err);

    if (code != DRUPE_OK) {
        fail_msg("create: %s %s", drupe_vm_err_name(code), r->err.text);
    }
    assert_int_equal(drupe_vm_state(r->vm), DRUPE_VM_CREATED);
    code = drupe_vm_start(r->vm, &r->err);
    if (code != DRUPE_OK) {
        fail_msg("start: %s %s", drupe_vm_err_name(code), r->err.text);
    }
}

static inline void run_end(struct run *r)
{
    struct pollfd event = { .fd = drupe_vm_event_fd(r->vm), .events = POLLIN };

    assert_int_equal(drupe_vm_wait(r->vm, DRUPE_VM_ENDED, END_WAIT_MS, &r->state, &r->err),
                     DRUPE_OK);
    assert_int_equal(poll(&event, 1, 0), 1);
    assert_int_equal(drupe_vm_outcome(r->vm, &r->end, &r->err), DRUPE_OK);
    assert_true(pread(r->cfg.serial_log, r->output, sizeof(r->output) - 1, 0) >= 0);
}

static inline void run_free(struct run *r)
{
    drupe_vm_destroy(r->vm);
    (void)close(r->cfg.serial_log);
}

/* The guest prints "ready" when it waits for us. */
static inline void wait_ready(struct run *r)
{
    for (int i = 0; i < END_WAIT_MS && strstr(r->output, "ready") == NULL; i++) {
        (void)usleep(1000);
        (void)pread(r->cfg.serial_log, r->output, sizeof(r->output) - 1, 0);
    }
    assert_non_null(strstr(r->output, "ready"));
}
