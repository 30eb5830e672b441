/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QEMU backend: the same machine in QEMU's emulation, for hosts without KVM. One child process;
 * pipes between it and the host's descriptors, pumped by one thread. Internal to this folder.
 *
 * The machine is `microvm` with ACPI and one IOAPIC: virtio-mmio transports at 0xfeb00000, 512
 * bytes each, interrupt lines 16 to 23.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include <base/compiler.h>

#include "backends/backend.h"
#include "config.h"
#include "log.h"

#define QEMU_PATH_SIZE_MAX 256u
#define QEMU_ARGS_MAX      112u
#define QEMU_TEXT_SIZE_MAX 16384u
#define QEMU_VIRTIO_SLOTS  8u

/*
 * Descriptors as the child sees them; also the numbers of QEMU's fd sets. What the guest reads are
 * sockets, since only those let QEMU 7 see an end of file; what it only writes are pipes.
 */
enum qemu_fd {
    QEMU_FD_KERNEL = 10,
    QEMU_FD_INITRD,
    QEMU_FD_SERIAL, /* a socket, both ways */
    QEMU_FD_STATUS,
    QEMU_FD_STDIN, /* a socket; with a terminal both ways */
    QEMU_FD_STDOUT,
    QEMU_FD_STDERR,
    QEMU_FD_MONITOR, /* a socket: QMP */
    QEMU_FD_VSOCK,   /* a socket: vhost-user */
    QEMU_FD_ROOT,
    QEMU_FD_DISK,                                   /* and DRUPE_DISKS_MAX - 1 more */
    QEMU_FD_SHARE = QEMU_FD_DISK + DRUPE_DISKS_MAX, /* and DRUPE_SHARES_MAX - 1 more */
    QEMU_FD_NET = QEMU_FD_SHARE + DRUPE_SHARES_MAX, /* and DRUPE_NETS_MAX - 1 more */
};

#define QEMU_FDS ((unsigned)QEMU_FD_NET - (unsigned)QEMU_FD_KERNEL + DRUPE_NETS_MAX)

/* The child's command line: pure text, made from the configuration. */
struct qemu_args {
    char *argv[QEMU_ARGS_MAX + 1]; /* NULL-terminated, into text */
    unsigned count;
    char text[QEMU_TEXT_SIZE_MAX];
    size_t used;
    bool has_overflowed;
};

/* What the kernel expects of its machine. */
enum qemu_guest {
    QEMU_GUEST_OURS, /* docs/boot.md; devices by ACPI and on the command line */
    /* A vmlinux, built for a small machine (Firecracker's are): devices on the command line. */
    QEMU_GUEST_PLAIN,
    /* A bzImage, of a distribution: devices by ACPI, which it knows, and not on the command line.
     */
    QEMU_GUEST_ACPI,
};

/* `program` is argv[0]. CONFIG_INVALID when there are more devices than slots or the text is too
 * long. */
drupe_vm_err_t qemu_args_make(struct qemu_args *a, const char *program, const struct config *c,
                              enum qemu_guest guest, struct drupe_error *err) MUST_CHECK;

enum qemu_stream {
    STREAM_STDIN,     /* host to guest */
    STREAM_SERIAL_IN, /* so is this one; the others go the other way */
    STREAM_STDOUT,
    STREAM_STDERR,
    STREAM_SERIAL,
    STREAM_STATUS,
    STREAM_MESSAGES, /* QEMU's own standard error */
    STREAMS,
};

#define STREAM_BUFFER_SIZE 4096u

struct qemu_pipe {
    int from;         /* -1: ended */
    int to;           /* -1: what arrives is dropped */
    bool is_to_guest; /* `to` is our end of a socket: its end of file is a shutdown */
    bool is_two_way; /* and the guest's output comes through it as well, so it is never shut down */
    uint8_t buffer[STREAM_BUFFER_SIZE];
    size_t at;
    size_t used;
};

/* The way to QEMU's own commands. Used by one thread at a time (vm.c: one operation on a VM). */
struct qmp {
    int fd; /* -1: none */
    bool is_ready;
    char line[512];
    size_t line_size;
};

/* Carry out a command without arguments; `code` is what its failure means. */
drupe_vm_err_t qmp_do(struct qmp *q, const char *command, drupe_vm_err_t code,
                      struct drupe_error *err) MUST_CHECK;

struct qemu_vsock;

struct qemu_machine {
    const struct config *config;
    struct backend_events events;
    struct log log;
    struct qemu_args args;
    char path[QEMU_PATH_SIZE_MAX];
    int child_fds[QEMU_FDS]; /* -1: none; ours, all >= 100 so that moving them into place can't
                                collide */
    enum qemu_guest guest;
    int child_messages; /* the child's descriptor 2 */
    int serial_in;      /* our end of the signal line */
    int wake_fd;
    struct qmp qmp;
    struct qemu_vsock *vsock;        /* NULL: none */
    struct qemu_pipe pipes[STREAMS]; /* the pump thread's from release on */

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t gate;
    bool is_gate_open; /* under lock */
    bool is_released;  /* under lock */
    atomic_bool is_killed;

    /* The pump thread's. */
    pid_t pid;
    int pid_fd;
    uint8_t status[4];
    unsigned status_count;
    bool has_status;
    char message[160]; /* tail of what QEMU said */
    size_t message_size;
};

/* pump.c: the thread's life: start the child, pump until it has ended and all is written, report.
 */
void *qemu_pump_main(void *machine);

/*
 * vsock.c: the socket device, ours, served to QEMU through `socket` (taken, also on failure) by a
 * thread of its own. Before QEMU starts; destroyed after it has ended.
 */
drupe_vm_err_t qemu_vsock_create(struct qemu_machine *m, int socket,
                                 struct drupe_error *err) MUST_CHECK;
void qemu_vsock_destroy(struct qemu_vsock *v); /* NULL: nothing to do */
