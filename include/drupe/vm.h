/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libdrupe: run a program in a virtual machine of its own.
 *
 *     drupe_vm_config_t cfg;
 *     drupe_vm_t *vm = NULL;
 *     struct drupe_error err;
 *     struct drupe_vm_outcome end;
 *
 *     drupe_vm_config_init(&cfg);
 *     cfg.kernel_image = kernel_elf;            // or cfg.kernel_path
 *     cfg.kernel_image_size = kernel_elf_size;
 *     cfg.root_path = "root.erofs";
 *     cfg.argv = (const char *const[]){ "/bin/echo", "hello", NULL };
 *     if (drupe_vm_create(&cfg, &vm, &err) == DRUPE_OK && drupe_vm_start(vm, &err) == DRUPE_OK) {
 *         (void)drupe_vm_wait(vm, DRUPE_VM_ENDED, DRUPE_WAIT_FOREVER, NULL, &err);
 *         (void)drupe_vm_outcome(vm, &end, &err);
 *     }
 *     drupe_vm_destroy(vm);
 *
 * Errors. Each call that can fail returns a drupe_vm_err_t, DRUPE_OK (0) for success. The last
 * argument may be NULL; otherwise it is filled on failure and left alone on success. A failed call
 * leaves the VM and its out arguments as they were, unless said otherwise below.
 *
 * Threads. Every call is safe from any thread, except that nothing may use a VM during or after its
 * drupe_vm_destroy(). Life-cycle calls on one VM run one at a time; state, id, event_fd never
 * block.
 *
 * What the library does to the process: it creates threads with all signals blocked but one
 * real-time signal (SIGRTMIN) of its own, whose handler it installs at the first start; if
 * SIGPIPE still has its default action, it is ignored from then on; it prints nothing and never
 * exits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DRUPE_API        __attribute__((visibility("default")))
#define DRUPE_MUST_CHECK __attribute__((warn_unused_result))

/* ---- Errors -------------------------------------------------------------------------------- */

/* The codes of docs/specs: names and meaning hold for every backend. Values are stable: only
 * appended to. */
typedef enum drupe_vm_err {
    DRUPE_OK = 0,
    DRUPE_CONFIG_INVALID, /* a field of the configuration; `field` names it */
    DRUPE_NOT_FOUND,      /* a file that the configuration names does not exist */
    DRUPE_NO_ACCESS,    /* it exists and may not be opened, or is no regular file or block device */
    DRUPE_UNAVAILABLE,  /* no KVM, no QEMU, or not the backend that was asked for */
    DRUPE_NO_MEMORY,    /* memory, descriptors or threads ran out; retry later */
    DRUPE_BOOT_FAILED,  /* not a kernel, does not fit, or the guest died before it ran */
    DRUPE_BOOT_TIMEOUT, /* no sign of life within boot_timeout_ms */
    DRUPE_BAD_STATE,    /* the call does not fit the VM's state, and none of the next three says it
                           better */
    DRUPE_NOT_RUNNING,
    DRUPE_ALREADY_RUNNING,
    DRUPE_BUSY,           /* starting: try again */
    DRUPE_CRASHED,        /* the guest or the monitor died; the outcome says how */
    DRUPE_NEEDS_RECREATE, /* crashed before: destroy and create again */
    DRUPE_TIMEOUT,        /* of a wait */
    DRUPE_UNSUPPORTED,    /* not by this backend or this build */
    DRUPE_INTERNAL, /* the host refused something that it should not; `os_errno` and `text` say what
                     */
    DRUPE_EXEC_FAILED,  /* the agent refused, or its connection was lost */
    DRUPE_EXEC_TIMEOUT, /* the command's own time limit; what it printed is delivered */
    DRUPE_INTERRUPTED,  /* a snapshot closed the connection under the command */
    DRUPE_PAUSE_FAILED,
    DRUPE_RESUME_FAILED,
    DRUPE_SNAPSHOT_FAILED,    /* disk full, a device that does not come to rest */
    DRUPE_SNAPSHOT_TOO_LARGE, /* larger than memory + 16 MiB */
    DRUPE_RESTORE_FAILED,     /* the host cannot do what the snapshot needs */
    DRUPE_SNAPSHOT_CORRUPTED, /* damaged or not a snapshot; the text names the part */
    DRUPE_ARCH_MISMATCH,      /* another architecture, or a CPU without a feature that was used */
    DRUPE_IMAGE_MISMATCH,     /* another root image, memory size, vCPU count or version */
    DRUPE_STORE_FAILED,
    DRUPE_STORE_TIMEOUT,
    DRUPE_STORE_NOT_FOUND,
    DRUPE_STORE_TOO_LARGE,
    DRUPE_FS_MOUNT_FAILED, /* a shared folder */
    DRUPE_POOL_EXHAUSTED,
    DRUPE_POOL_TIMEOUT,
    DRUPE_JAIL_FAILED, /* the text names the step */
    DRUPE_ERR_COUNT    /* not a code: how many there are */
} drupe_vm_err_t;

struct drupe_error {
    drupe_vm_err_t code;
    int os_errno;   /* 0 when no system call is to blame */
    char field[24]; /* CONFIG_INVALID: the field of drupe_vm_config_t; else "" */
    char text[232]; /* one line without newline: what was being done, to which object, why it failed
                     */
};

/* "CONFIG_INVALID", ...; a static string, never NULL. */
DRUPE_API const char *drupe_vm_err_name(drupe_vm_err_t code);

/* ---- Configuration ------------------------------------------------------------------------- */

enum drupe_accel {
    DRUPE_ACCEL_AUTO, /* KVM if /dev/kvm opens, else QEMU's emulation, else UNAVAILABLE */
    DRUPE_ACCEL_KVM,
    DRUPE_ACCEL_QEMU,
    DRUPE_ACCEL_FIRECRACKER, /* a Firecracker of the user's, see firecracker_path */
    DRUPE_ACCEL_LIBKRUN,     /* the host's libkrun.so.1 */
};

enum drupe_root_mode {
    DRUPE_ROOT_MAPPED,  /* mapped read-only into guest memory, shared by all VMs (QEMU: a read-only
                           disk) */
    DRUPE_ROOT_DISK_RO, /* virtio block device vda */
    DRUPE_ROOT_DISK_RW,
};

enum drupe_stdio {
    DRUPE_STDIO_STREAM, /* descriptors 0, 1, 2 of the workload are plain streams */
    DRUPE_STDIO_TTY,  /* they are one terminal; host_stdin and host_stdout are its two directions */
    DRUPE_STDIO_NONE, /* no console device: the workload's terminal is the serial line */
};

enum drupe_log_level {
    DRUPE_LOG_ERROR,
    DRUPE_LOG_WARN,
    DRUPE_LOG_INFO,
};

/* Called from any thread, one line of key=value text without newline, guest text escaped; must not
 * call back. */
typedef void (*drupe_log_fn)(void *ctx, enum drupe_log_level level, const char *text);

/*
 * `size` tokens (bytes or operations), refilled evenly within refill_ms; one_time_burst more are
 * spent first and never come back. size 0 or refill_ms 0: no limit.
 */
struct drupe_token_bucket {
    uint64_t size;
    uint64_t refill_ms;
    uint64_t one_time_burst;
};

struct drupe_rate_limit {
    struct drupe_token_bucket bandwidth;
    struct drupe_token_bucket ops;
};

/* A path may be "fd:N" in every place of the configuration that names a file: the caller's open
 * descriptor N, which is duplicated. */
/* A file that is written belongs to one VM: another one that wants to write to it is refused. */
struct drupe_disk {
    const char *path;
    bool is_read_only;
    bool is_flush_ignored; /* no FLUSH is offered, nothing waits for the disk */
    bool is_synchronous;   /* without io_uring */
    bool is_direct;        /* past the host's page cache (O_DIRECT); a whole number of blocks */
    struct drupe_rate_limit limit;
    /*
     * Not 0: a disk of so many bytes (whole pages of 4 KiB, at most 1 TiB) in memory instead of a
     * file; path is NULL. It begins as zeros and goes with the machine; equal pages are kept once,
     * compressed, memory_max bytes of them at most (0: half of the size). KVM only, and such a
     * machine cannot be snapshotted.
     */
    uint64_t memory_size;
    uint64_t memory_max;
};

/* What drupe_vm_update_disk() changes; NULL: not that. */
struct drupe_disk_update {
    const char *path; /* the file that takes the place of the old one; opened as that was */
    const struct drupe_rate_limit *limit;
};

struct drupe_balloon {
    bool is_present;
    uint32_t target_mib;
    bool is_deflated_on_oom;   /* the guest may take pages back before it kills */
    uint32_t stats_interval_s; /* 0: no statistics, for good */
    bool has_reporting;        /* the guest tells which pages are free, the host drops them */
};

/*
 * A network interface of the guest on a tap of the host, which the caller has made (`ip tuntap add
 * mode tap`) and connected to whatever the guest may reach. docs/network.md.
 */
struct drupe_net {
    const char *tap; /* its name, at most 15 bytes; or "fd:N" (see drupe_disk): an attached tap */
    bool has_mac;    /* false: one is made up; a restored machine keeps its own */
    uint8_t mac[6];
    uint16_t mtu;                     /* 0: the guest is not told; 68 to 65535 */
    bool has_metadata;                /* the metadata service is reached here */
    struct drupe_rate_limit rx_limit; /* towards the guest */
    struct drupe_rate_limit tx_limit;
};

/*
 * The metadata service: an HTTP server that the guest reaches at `address` on the interfaces that
 * have it; the monitor answers, nothing of it is seen on the tap. docs/network.md.
 */
struct drupe_metadata {
    uint32_t address;     /* IPv4, in the host's order; 0: 169.254.169.254 */
    bool is_token_needed; /* Firecracker's version 2: requests carry a session token */
    bool is_always_text;  /* values are never sent as JSON */
    const char *document; /* JSON text; NULL: empty */
    size_t document_size;
};

/* One register of a CPUID leaf: result = (value & ~mask) | set. */
struct drupe_cpuid_modifier {
    uint32_t leaf;
    uint32_t subleaf;
    uint32_t flags; /* of struct kvm_cpuid_entry2 */
    unsigned reg;   /* 0..3: eax, ebx, ecx, edx */
    uint32_t mask;
    uint32_t set; /* within mask */
};

/*
 * A folder of the host that the guest sees at guest_path. The guest can reach nothing outside of
 * it; it acts with the rights of the monitor's process. See docs/shares.md.
 */
struct drupe_share {
    const char *host_path;  /* a directory; opened once by create */
    const char *tag;        /* 1 to 36 bytes, unique: what the guest's mount names */
    const char *guest_path; /* absolute; NULL: announced, not mounted (the root: "/") */
    bool is_read_only;      /* the monitor refuses every change */
};

#define DRUPE_SHARES_MAX          16u
#define DRUPE_TAG_SIZE_MAX        36u
#define DRUPE_VCPUS_MAX           32u
#define DRUPE_MEMORY_MIB_MIN      4u
#define DRUPE_MEMORY_MIB_MAX      16384u
#define DRUPE_DISKS_MAX           8u
#define DRUPE_NETS_MAX            4u
#define DRUPE_TAP_NAME_SIZE_MAX   15u
#define DRUPE_MTU_MIN             68u
#define DRUPE_PATH_SIZE_MAX       4096u
#define DRUPE_CMDLINE_SIZE_MAX    2047u /* after our additions */
#define DRUPE_ENV_COUNT_MAX       256u
#define DRUPE_VSOCK_CID_MIN       3u
#define DRUPE_VSOCK_PATH_SIZE_MAX 96u
#define DRUPE_AGENT_SIZE_MAX      (4u << 20)
#define DRUPE_BOOT_TIMEOUT_MS_MIN 100u
#define DRUPE_BOOT_TIMEOUT_MS_MAX 600000u

/*
 * Fill it with drupe_vm_config_init(), then change what differs. All pointers are borrowed for the
 * call of drupe_vm_create(), which copies what it keeps, except kernel_image (see there).
 * Descriptors are duplicated by create: the caller may close its own at once. Their open file
 * descriptions stay shared.
 */
typedef struct drupe_vm_config {
    size_t struct_size; /* set by init; how the library knows which fields the caller has */

    enum drupe_accel accel; /* AUTO */
    unsigned vcpus;         /* 1 */
    unsigned memory_mib;    /* 256 */

    /*
     * The kernel, an ELF64 image: a file, or bytes in the embedder's memory. Exactly one of the
     * two. The bytes are read at each start, not copied: they stay valid and unchanged until
     * destroy.
     */
    const char *kernel_path;
    const void *kernel_image;
    size_t kernel_image_size;
    const char
        *cmdline_extra; /* NULL, or text put at the end of the command line (before any "--") */
    /*
     * NULL: the line that our kernel expects. Otherwise the whole line, to which only the root, the
     * devices and, for a kernel that knows docs/boot.md, what it must be told are added.
     */
    const char *cmdline;
    /* NULL: none. Our kernel takes a cpio archive here only in the place of its boot arguments. */
    const char *initrd_path;

    const char *root_path; /* NULL: no root; otherwise an EROFS image */
    enum drupe_root_mode root_mode;
    const struct drupe_disk *disks; /* vda, vdb, ... (from vdb when the root is a disk) */
    size_t disk_count;

    const struct drupe_net *nets; /* kvm and qemu only */
    size_t net_count;
    const struct drupe_metadata *metadata; /* NULL: no metadata service; kvm only */

    /* Shared folders. One whose guest_path is "/" is the root, then root_path is NULL. */
    const struct drupe_share *shares;
    size_t share_count;

    /* The workload. argv NULL or empty: the kernel looks for init= on the command line. */
    const char *const *argv; /* NULL-terminated */
    const char *const *env;  /* NULL-terminated "NAME=value"; NULL: none; nothing is inherited */
    const char *cwd;         /* NULL: "/" */
    const char *hostname;    /* NULL: "drupe"; at most 64 bytes */
    uint32_t uid;            /* 0 */
    uint32_t gid;            /* 0 */

    /* -1: none. For stdin that means end of file at once, for the others that the text is dropped.
     */
    enum drupe_stdio stdio; /* STREAM */
    int host_stdin;         /* -1 */
    int host_stdout;        /* -1 */
    int host_stderr;        /* -1; not used with a TTY */
    unsigned tty_rows;      /* 0: unknown */
    unsigned tty_cols;

    int serial_log; /* -1; where the serial line's output (the kernel's messages) goes */
    int serial_in;  /* -1; bytes for the serial line: a terminal's, or signals (docs/boot.md) */
    bool has_boot_timer; /* a device to which the guest reports that it has started */
    const struct drupe_cpuid_modifier *cpuid; /* what the guest's CPUID differs in */
    size_t cpuid_count;
    struct drupe_balloon balloon;
    struct drupe_rate_limit entropy_limit;
    bool is_quiet; /* true: kernel messages up to `warn` only; false: with `loglevel` left to the
                      kernel */

    drupe_log_fn log; /* NULL: none. The monitor's own messages */
    void *log_ctx;

    unsigned boot_timeout_ms; /* 30 000; the guest must touch a device by then */

    /* Record which pages the guest writes, so that DRUPE_SNAPSHOT_DIFF stores only those. false */
    bool is_dirty_tracked;

    /*
     * vsock (kvm only): a Unix socket made at create at this path, which must not exist, and
     * removed by destroy. A host program that connects there and writes "CONNECT <port>\n" reaches
     * a port of the guest; a connection of the guest to port P of the host reaches `<path>_P`.
     * NULL: no vsock device.
     */
    const char *vsock_path;
    uint32_t vsock_cid; /* 3; the guest's address, DRUPE_VSOCK_CID_MIN or more */

    /*
     * The agent (docs/agent.md), a static ELF program, started beside the workload so that
     * drupe_vm_exec() works; not copied, as kernel_image. Without argv it is the workload. NULL:
     * none. Needs vsock_path.
     */
    const void *agent_image;
    size_t agent_image_size;

    const char *firecracker_path; /* for DRUPE_ACCEL_FIRECRACKER; NULL: `firecracker` in PATH */
} drupe_vm_config_t;

DRUPE_API void drupe_vm_config_init(drupe_vm_config_t *cfg);

/* ---- Life cycle ---------------------------------------------------------------------------- */

typedef struct drupe_vm drupe_vm_t;

/* Bits, so that a wait can name several. */
enum drupe_vm_state {
    DRUPE_VM_CREATED = 1,
    DRUPE_VM_STARTING = 2,
    DRUPE_VM_RUNNING = 4,
    DRUPE_VM_PAUSED = 8,
    DRUPE_VM_STOPPED = 16,
    DRUPE_VM_CRASHED = 32,
};

#define DRUPE_VM_ENDED     ((unsigned)DRUPE_VM_STOPPED | (unsigned)DRUPE_VM_CRASHED)
#define DRUPE_WAIT_FOREVER UINT32_MAX

/* "RUNNING", ...; a static string, never NULL. */
DRUPE_API const char *drupe_vm_state_name(enum drupe_vm_state state);

/* How a machine's life ended. */
enum drupe_end_kind {
    DRUPE_END_NONE,    /* it has not */
    DRUPE_END_EXIT,    /* the workload ended; status as a shell shows it (128 + n for signal n) */
    DRUPE_END_REBOOT,  /* the workload asked for a restart; status as for EXIT */
    DRUPE_END_STOPPED, /* drupe_vm_stop() ended it */
    DRUPE_END_PANIC,   /* the guest kernel stopped on a bug of its own */
    DRUPE_END_BOOT_ERROR, /* the guest kernel could not start the workload, or gave no sign of life
                             in time */
    DRUPE_END_RESET,      /* a reset or triple fault without a status */
    DRUPE_END_MONITOR,    /* KVM or QEMU failed; text says how */
};

struct drupe_vm_outcome {
    enum drupe_end_kind kind;
    int status;     /* EXIT, REBOOT: 0..255; BOOT_ERROR, PANIC: the kernel's code; else 0 */
    char text[232]; /* one line, may be "" */
};

/* Which end is STOPPED and which CRASHED: EXIT, REBOOT, STOPPED are STOPPED; the others are
 * CRASHED. */

/*
 * Validate everything, open files, duplicate descriptors. Nothing runs yet. On success *out is the
 * caller's, to be given to drupe_vm_destroy().
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_create(const drupe_vm_config_t *cfg,
                                                          drupe_vm_t **out,
                                                          struct drupe_error *err);

/*
 * CREATED or STOPPED -> RUNNING: load the kernel, let the vCPUs go. Returns when they have been let
 * go, not when the workload runs. A failure ends in CRASHED. A guest that ends at once may have
 * left RUNNING on return.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_start(drupe_vm_t *vm, struct drupe_error *err);

/*
 * Wait until the state is one of `mask` (bits of enum drupe_vm_state). DRUPE_OK and *state (may be
 * NULL), or DRUPE_TIMEOUT after timeout_ms.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_wait(drupe_vm_t *vm, unsigned mask,
                                                        uint32_t timeout_ms,
                                                        enum drupe_vm_state *state,
                                                        struct drupe_error *err);

/* How it ended; NOT_RUNNING if it never ran, BAD_STATE while it still runs. Then *out is not
 * written. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_outcome(const drupe_vm_t *vm,
                                                           struct drupe_vm_outcome *out,
                                                           struct drupe_error *err);

/*
 * End a running VM: SIGTERM to the workload, then after grace_ms (0: at once) the vCPUs are stopped
 * where they are. If the workload ends within the grace, its own status is the outcome; otherwise
 * END_STOPPED.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_stop(drupe_vm_t *vm, uint32_t grace_ms,
                                                        struct drupe_error *err);

/*
 * RUNNING -> PAUSED: all vCPUs stand outside the guest and no device touches its memory when this
 * returns. PAUSE_FAILED leaves it RUNNING; a guest that ends meanwhile gives CRASHED or
 * NOT_RUNNING. Host time goes on; the guest's clocks do not see it as run time.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_pause(drupe_vm_t *vm, struct drupe_error *err);

/* PAUSED -> RUNNING, also after a restore. RESUME_FAILED leaves it PAUSED. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_resume(drupe_vm_t *vm, struct drupe_error *err);

/* ---- Snapshots ----------------------------------------------------------------------------- */

enum drupe_snapshot_kind {
    DRUPE_SNAPSHOT_FULL, /* every page in use */
    DRUPE_SNAPSHOT_DIFF, /* pages written since the last snapshot or restore: is_dirty_tracked */
};

/* How long a chain of incremental snapshots may be. */
#define DRUPE_SNAPSHOT_BASES_MAX 48u

/* A file by its path, or open. */
struct drupe_snapshot_base {
    const char *path; /* NULL: the descriptor counts */
    int fd;
    const char *name; /* of the descriptor: its absolute path; NULL: not known */
};

/* Zero it, set struct_size, then what differs. Paths and descriptors are borrowed for the call. */
struct drupe_snapshot_options {
    size_t struct_size;
    enum drupe_snapshot_kind kind;
    /*
     * The guest stands still only while registers and device state are taken; its memory is copied
     * behind its back, page by page, before it overwrites them. The call returns when all is
     * written.
     */
    bool is_live;
    /* Where to: a path, written under another name and renamed when complete; or an open file. */
    const char *path;
    int fd; /* used when path is NULL; -1: none */
    /*
     * With fd: the absolute path by which the file will be found, for a DIFF that builds on it.
     * NULL: not known; such a base is looked for by its id.
     */
    const char *name;
    /* Firecracker's two files: guest memory by itself. NULL and -1: in the same container. */
    const char *memory_path;
    int memory_fd;
    /*
     * Of a DIFF: the file that it builds on, and where it is now. It must be the last snapshot of
     * this VM, or what it was restored from: else IMAGE_MISMATCH. NULL: that is not looked at.
     */
    const struct drupe_snapshot_base *base;
    /* Beside the others: the next DIFF builds on the same as it would without this snapshot. */
    bool is_aside;
};

struct drupe_snapshot_info {
    char id[64];
    uint64_t size;         /* bytes written, all files */
    uint64_t memory_bytes; /* guest memory among them */
    uint64_t stopped_ns;   /* how long the guest stood still; 0 when it was PAUSED before */
    uint64_t took_ns;
};

/*
 * RUNNING (pauses and resumes by itself) or PAUSED (stays so). Connections over vsock are reset.
 * On failure the VM goes on as it was and no file is left. `info` may be NULL.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t
drupe_vm_snapshot(drupe_vm_t *vm, const struct drupe_snapshot_options *options,
                  struct drupe_snapshot_info *info, struct drupe_error *err);

/* What the next DIFF of a VM would build on. */
struct drupe_snapshot_last {
    bool is_dirty_tracked;
    char id[64];                    /* "": no snapshot yet, and not restored */
    char path[DRUPE_PATH_SIZE_MAX]; /* "": not known */
};

/* NOT_RUNNING without a machine; UNSUPPORTED where the backend takes no snapshots of its own. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_snapshot_last(drupe_vm_t *vm,
                                                                 struct drupe_snapshot_last *out,
                                                                 struct drupe_error *err);

struct drupe_restore_options {
    size_t struct_size;
    const char *path; /* or fd when NULL */
    int fd;
    const char *name;        /* with fd: its absolute path; NULL: not known */
    const char *memory_path; /* of a snapshot in two files */
    int memory_fd;
    /*
     * The same snapshot may run more than once: the guest gets new entropy, a new generation id
     * and the host's time; its writable disks must be others than the snapshot's.
     */
    bool is_clone;
    /* The memory's hashes are not computed: the caller vouches for the file (a pool that checked
     * it before, and keeps it open). The state is always verified. */
    bool is_memory_trusted;
    /*
     * Memory comes from a page-fault handler that listens at this Unix socket, as Firecracker's
     * clients have it (docs/snapshot.md); then memory_path and memory_fd are not looked at. It has
     * to live as long as the machine: what it does not bring, the guest waits for.
     */
    const char *memory_handler;
    /*
     * Of a DIFF: open files, among which are those that it builds on, in any order
     * (drupe_snapshot_open_bases()); for a process that can open none. NULL: they are looked for.
     */
    const int *base_fds;
    unsigned base_count;
};

/*
 * CREATED or STOPPED -> PAUSED: a machine as it was when the snapshot was taken, with this VM's
 * configuration for all that lies outside the guest (files, descriptors, sockets). vCPU count,
 * memory size and devices must be those of the snapshot (IMAGE_MISMATCH names what differs). Guest
 * memory is mapped, not read. All or nothing: on failure the state is the one before.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_restore(
    drupe_vm_t *vm, const struct drupe_restore_options *options, struct drupe_error *err);

/*
 * CREATED, and stays so: make ahead of drupe_vm_restore() all of the machine that needs no snapshot
 * (KVM's objects, threads), most of what a restore takes. UNSUPPORTED where the backend cannot.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_prepare(drupe_vm_t *vm, struct drupe_error *err);

/* -1: none, as in the configuration; with a TTY host_stderr is not used. */
struct drupe_vm_streams {
    int host_stdin;
    int host_stdout;
    int host_stderr;
    int serial_log;
};

/*
 * PAUSED: from now on the guest's streams are these, and the serial line's log, in place of the
 * configuration's. Duplicated, as those are. UNSUPPORTED where the backend cannot.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_set_streams(
    drupe_vm_t *vm, const struct drupe_vm_streams *streams, struct drupe_error *err);

/*
 * Which memory the machine has touched since it was restored becomes part of its snapshot: machines
 * that go on from it later get that memory at once, and not page by page. The snapshot is written
 * again to `path`, usually where it was; it is the same moment with the same id, and who runs from
 * the old file keeps that. Called when the machine has answered, or has ended. *bytes (may be NULL)
 * is how much it touched. NOT_RUNNING: it never ran; UNSUPPORTED: it was not restored, or /proc is
 * not seen here (a jail).
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_record_working_set(drupe_vm_t *vm,
                                                                      const char *path,
                                                                      uint64_t *bytes,
                                                                      struct drupe_error *err);

/* A shared folder that the guest uses. */
struct drupe_snapshot_share {
    char host_path[DRUPE_PATH_SIZE_MAX];
    char tag[DRUPE_TAG_SIZE_MAX + 1];
    char guest_path[DRUPE_PATH_SIZE_MAX]; /* "": not mounted */
    bool is_read_only;
};

/* What a snapshot needs of a VM's configuration, and where its files were when it was taken. */
struct drupe_snapshot_description {
    char id[64];
    uint64_t created_ms; /* Unix time */
    unsigned vcpus;
    unsigned memory_mib;
    enum drupe_root_mode root_mode;
    enum drupe_stdio stdio;
    uint32_t vsock_cid; /* 0: none */
    bool is_diff;
    unsigned disk_count;
    char root_path[DRUPE_PATH_SIZE_MAX]; /* "": none */
    char disk_paths[DRUPE_DISKS_MAX][DRUPE_PATH_SIZE_MAX];
    bool is_disk_read_only[DRUPE_DISKS_MAX];
    unsigned share_count; /* the VM needs as many, of the same tags */
    struct drupe_snapshot_share shares[DRUPE_SHARES_MAX];
    char cmdline_extra[DRUPE_CMDLINE_SIZE_MAX + 1];
    char argv0[256];                     /* may be cut */
    char base_id[64];                    /* of a DIFF */
    char base_path[DRUPE_PATH_SIZE_MAX]; /* where that was; "": not known */
};

/* From the same options as a restore; reads and verifies all of this file but the memory, and does
 * not look at the files that a DIFF builds on. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t
drupe_snapshot_describe(const struct drupe_restore_options *options,
                        struct drupe_snapshot_description *out, struct drupe_error *err);

/*
 * Open the files that a DIFF builds on, the nearest first; none for a full snapshot. Each is where
 * it was when the DIFF was taken, or of that name in the folder of the snapshot given, or there
 * under any name with the right id. At most DRUPE_SNAPSHOT_BASES_MAX: `fds` has as much room. The
 * descriptors are the caller's. NOT_FOUND names the one that is missing, IMAGE_MISMATCH what is now
 * in its place.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t
drupe_snapshot_open_bases(const struct drupe_restore_options *options, int *fds, unsigned *count,
                          struct drupe_error *err);

/* create and restore; destroyed on failure. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_create_from_snapshot(
    const drupe_vm_config_t *cfg, const struct drupe_restore_options *options, drupe_vm_t **out,
    struct drupe_error *err);

/*
 * End it if it runs, and free everything. NULL is fine. A caller that is about to exit need not:
 * the kernel takes a machine down faster when the process ends.
 */
DRUPE_API void drupe_vm_destroy(drupe_vm_t *vm);

/* ---- While it runs ------------------------------------------------------------------------- */

/* Send signal `signo` (1..64, Linux numbers) to the workload's process group. NOT_RUNNING,
 * CONFIG_INVALID. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_signal(drupe_vm_t *vm, int signo,
                                                          struct drupe_error *err);

/* The host's terminal has a new size. UNSUPPORTED without a TTY; with QEMU it is ignored. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_resize_tty(drupe_vm_t *vm, unsigned rows,
                                                              unsigned cols,
                                                              struct drupe_error *err);

DRUPE_API enum drupe_vm_state drupe_vm_state(const drupe_vm_t *vm);

/* "<backend>-<uuid>", valid until destroy. Backends: kvm, qemu, firecracker,
 * libkrun. */
DRUPE_API const char *drupe_vm_id(const drupe_vm_t *vm);

/*
 * A descriptor that polls readable once the VM is STOPPED or CRASHED (until the next start), for
 * callers with a poll loop of their own. The library's: do not read or close it.
 */
DRUPE_API int drupe_vm_event_fd(const drupe_vm_t *vm);

enum drupe_exit_reason {
    DRUPE_EXIT_IO,
    DRUPE_EXIT_MMIO,
    DRUPE_EXIT_HLT,
    DRUPE_EXIT_INTR,
    DRUPE_EXIT_SHUTDOWN,
    DRUPE_EXIT_INTERNAL,
    DRUPE_EXIT_OTHER,
    DRUPE_EXIT_REASONS,
};

/*
 * Of one network interface since the machine began; "rx" is towards the guest. The names are those
 * of the control API's metrics.
 */
struct drupe_net_stats {
    uint64_t rx_count; /* times that frames were looked for */
    uint64_t rx_packets;
    uint64_t rx_bytes;
    uint64_t rx_fails; /* frames too large for the driver's buffers */
    uint64_t rx_queue_event_count;
    uint64_t rx_tap_event_count;
    uint64_t rx_rate_limiter_event_count;
    uint64_t rx_rate_limiter_throttled;
    uint64_t no_rx_avail_buffer;
    uint64_t tap_read_fails;
    uint64_t tx_count;
    uint64_t tx_packets;
    uint64_t tx_bytes;
    uint64_t tx_fails;
    uint64_t tx_malformed_frames;
    uint64_t tx_queue_event_count;
    uint64_t tx_rate_limiter_event_count;
    uint64_t tx_rate_limiter_throttled;
    uint64_t tx_spoofed_mac_count; /* sent, although the sender's address is not the device's */
    uint64_t tap_write_fails;
};

/* Of the metadata service, over all interfaces; "rx" is from the guest. */
struct drupe_metadata_stats {
    uint64_t rx_count; /* frames for it */
    uint64_t rx_accepted;
    uint64_t rx_accepted_err;     /* damaged */
    uint64_t rx_accepted_unusual; /* refused: another protocol, port or connection */
    uint64_t rx_no_token;         /* requests */
    uint64_t rx_invalid_token;
    uint64_t tx_count; /* requests answered */
    uint64_t tx_frames;
    uint64_t tx_bytes;
    uint64_t tx_errors;
    uint64_t connections_created;
    uint64_t connections_destroyed;
};

/* Real figures; with QEMU those about exits and vCPU time are 0. */
struct drupe_vm_stats {
    uint64_t uptime_ns;       /* since start, or start to end */
    uint64_t start_ns;        /* from the call of start until the vCPUs were let go */
    uint64_t memory_resident; /* guest RAM that the host has backed, bytes */
    uint64_t vcpu_time_ns[DRUPE_VCPUS_MAX];
    uint64_t exits[DRUPE_EXIT_REASONS]; /* over all vCPUs */
    uint64_t vcpu_exits[DRUPE_VCPUS_MAX];
    unsigned vcpu_count;
    unsigned net_count;
    struct drupe_net_stats nets[DRUPE_NETS_MAX];
    struct drupe_metadata_stats metadata;
    uint64_t entered_ns; /* CLOCK_MONOTONIC: when the first vCPU last began or went on */
};

DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_stats(drupe_vm_t *vm, struct drupe_vm_stats *out,
                                                         struct drupe_error *err);

/*
 * The disk's file or limits change under the running guest (RUNNING or PAUSED), which is told of a
 * new size. `index` counts disks in the guest's order: vda is 0.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t
drupe_vm_update_disk(drupe_vm_t *vm, unsigned index, const struct drupe_disk_update *update,
                     struct drupe_error *err);

/*
 * Another document for the metadata service, in any state. CONFIG_INVALID: no JSON, or nested too
 * deep; UNSUPPORTED without the service.
 */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_set_metadata(drupe_vm_t *vm,
                                                                const char *document, size_t size,
                                                                struct drupe_error *err);

/*
 * Attach to a tap: its name, or "fd:N" for a duplicate of a descriptor that is attached. Header and
 * flags become those that struct drupe_net wants. A descriptor of the caller's, or -errno: -ENODEV
 * there is none of that name (none is made), -EBUSY another has it, -EPERM, -EINVAL it is no tap.
 */
DRUPE_API DRUPE_MUST_CHECK int drupe_tap_open(const char *tap);

/* Other limits of interface `index`; NULL: the same. RUNNING or PAUSED, kvm only. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_update_net(drupe_vm_t *vm, unsigned index,
                                                              const struct drupe_rate_limit *rx,
                                                              const struct drupe_rate_limit *tx,
                                                              struct drupe_error *err);

/* The balloon's new target: the guest follows as it can. UNSUPPORTED without a balloon. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_set_balloon(drupe_vm_t *vm, uint32_t target_mib,
                                                               struct drupe_error *err);
/* How often the guest is asked for figures; only where they were asked for at the start. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_set_balloon_interval(drupe_vm_t *vm,
                                                                        uint32_t interval_s,
                                                                        struct drupe_error *err);

/* Tags of VIRTIO 1.2, 5.5.6.3, in their order. */
#define DRUPE_BALLOON_STATS 16u

struct drupe_balloon_stats {
    uint64_t target_pages; /* of 4 KiB */
    uint64_t actual_pages;
    uint32_t reported; /* bit n: values[n] came from the guest */
    uint64_t values[DRUPE_BALLOON_STATS];
};

DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_balloon_stats(drupe_vm_t *vm,
                                                                 struct drupe_balloon_stats *out,
                                                                 struct drupe_error *err);

/* Ctrl-Alt-Del on the guest's keyboard. */
DRUPE_API DRUPE_MUST_CHECK drupe_vm_err_t drupe_vm_ctrl_alt_del(drupe_vm_t *vm,
                                                                struct drupe_error *err);

/* ---- The host ------------------------------------------------------------------------------ */

/*
 * What this host offers, for `drupe doctor`. Probes KVM once per host and kernel (a few ms), then
 * answers from a cache under $XDG_CACHE_HOME/drupe.
 */
struct drupe_host_report {
    bool has_kvm;           /* /dev/kvm opens and answers version 12 */
    int kvm_errno;          /* why not */
    bool is_ring0_emulated; /* guest ring 0 is interpreted, see docs: every kernel instruction is
                               expensive */
    bool has_qemu;
    char qemu_path[256];        /* "" without */
    char firecracker_path[256]; /* in PATH; "" without */
    bool has_libkrun;           /* libkrun.so.1 can be loaded by this program */
    unsigned vcpus_max;
    char masked_features[256]; /* CPUID features that do not work in ring 0, hidden from guests;
                                  space separated */
};

DRUPE_API void drupe_host_probe(struct drupe_host_report *out);

#ifdef __cplusplus
}
#endif
