/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults (section 10). A rule names a kind, a probability and the operations that it is for. Each
 * operation asks with the kinds that make sense for it; every rule whose filter and kind apply
 * draws from a stream of its own, and the first that hits fires.
 */
#pragma once

#include "world.h"

/* kind, name, what `param` means ("-": nothing) */
#define SIM_FAULTS(X)                                                                              \
    X(WRITE_FAIL, "storage-write-fail", "-")                                                       \
    X(READ_FAIL, "storage-read-fail", "-")                                                         \
    X(STORAGE_CORRUPT, "storage-corruption", "-")                                                  \
    X(STORAGE_LATENCY, "storage-latency", "ms")                                                    \
    X(DISK_FULL, "disk-full", "-")                                                                 \
    X(MISDIRECTED_WRITE, "misdirected-write", "-")                                                 \
    X(PARTIAL_WRITE, "partial-write", "bytes at most")                                             \
    X(FSYNC_FAIL, "fsync-fail", "-")                                                               \
    X(UNFLUSHED_LOSS, "unflushed-loss", "-")                                                       \
    X(CRASH_BEFORE_WRITE, "crash-before-write", "-")                                               \
    X(CRASH_AFTER_WRITE, "crash-after-write", "-")                                                 \
    X(CRASH_IN_TRANSACTION, "crash-during-transaction", "-")                                       \
    X(NET_PARTITION, "network-partition", "ms")                                                    \
    X(NET_DELAY, "network-delay", "ms")                                                            \
    X(NET_LOSS, "network-loss", "-")                                                               \
    X(NET_REORDER, "network-reorder", "-")                                                         \
    X(NET_CORRUPT, "network-corruption", "-")                                                      \
    X(NET_JITTER, "network-jitter", "ms at most")                                                  \
    X(NET_EXHAUSTED, "connection-exhaustion", "-")                                                 \
    X(CLOCK_SKEW, "clock-skew", "ms at most")                                                      \
    X(CLOCK_JUMP, "clock-jump", "s at most")                                                       \
    X(OUT_OF_MEMORY, "out-of-memory", "-")                                                         \
    X(CPU_STARVATION, "cpu-starvation", "ms")                                                      \
    X(FD_EXHAUSTION, "fd-exhaustion", "-")                                                         \
    X(BOOT_FAIL, "sandbox-boot-fail", "-")                                                         \
    X(CRASH, "sandbox-crash", "-")                                                                 \
    X(PAUSE_FAIL, "sandbox-pause-fail", "-")                                                       \
    X(RESUME_FAIL, "sandbox-resume-fail", "-")                                                     \
    X(EXEC_FAIL, "sandbox-exec-fail", "-")                                                         \
    X(EXEC_TIMEOUT, "sandbox-exec-timeout", "-")                                                   \
    X(SNAPSHOT_FAIL, "snapshot-create-fail", "-")                                                  \
    X(SNAPSHOT_CORRUPT, "snapshot-corruption", "-")                                                \
    X(RESTORE_FAIL, "snapshot-restore-fail", "-")                                                  \
    X(SNAPSHOT_TOO_LARGE, "snapshot-too-large", "-")                                               \
    X(UPLOAD_FAIL, "teleport-upload-fail", "-")                                                    \
    X(DOWNLOAD_FAIL, "teleport-download-fail", "-")                                                \
    X(TELEPORT_TIMEOUT, "teleport-timeout", "-")                                                   \
    X(ARCH_MISMATCH, "teleport-arch-mismatch", "-")                                                \
    X(IMAGE_MISMATCH, "teleport-image-mismatch", "-")                                              \
    X(POOL_CREATE_FAIL, "pool-create-fail", "-")                                                   \
    X(KVM_RUN_ERROR, "kvm-run-error", "-")                                                         \
    X(TRIPLE_FAULT, "guest-triple-fault", "-")                                                     \
    X(VCPU_STUCK, "vcpu-stuck", "ms")                                                              \
    X(SHORT_READ, "snapshot-short-read", "-")                                                      \
    X(AGENT_HANG, "agent-hang", "-")                                                               \
    X(AGENT_GARBAGE, "agent-garbage-frame", "-")                                                   \
    X(VSOCK_RESET, "vsock-reset", "-")                                                             \
    X(SIGKILL, "monitor-sigkill", "-")                                                             \
    X(PAGE_STALL, "host-page-fault-stall", "ms")                                                   \
    X(INTERRUPTED, "interrupted-call", "-")                                                        \
    X(SHORT_TRANSFER, "short-transfer", "-")

enum sim_fault {
    SIM_FAULT_NONE,
#define SIM_FAULT_ENUM(kind, name, param) FAULT_##kind,
    SIM_FAULTS(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
    SIM_FAULT_KINDS,
};

_Static_assert(SIM_FAULT_KINDS <= 64, "kinds are bits of a word");

/* The operations of section 10, then those of the I/O layer. */
#define SIM_OPS(X)                                                                                 \
    X(vm_start)                                                                                    \
    X(vm_stop)                                                                                     \
    X(vm_pause)                                                                                    \
    X(vm_resume)                                                                                   \
    X(vm_exec)                                                                                     \
    X(vm_snapshot)                                                                                 \
    X(vm_restore)                                                                                  \
    X(sandbox_boot)                                                                                \
    X(sandbox_start)                                                                               \
    X(sandbox_stop)                                                                                \
    X(sandbox_pause)                                                                               \
    X(sandbox_resume)                                                                              \
    X(sandbox_exec)                                                                                \
    X(sandbox_exec_delay)                                                                          \
    X(sandbox_snapshot)                                                                            \
    X(sandbox_restore)                                                                             \
    X(teleport_upload)                                                                             \
    X(teleport_download)                                                                           \
    X(teleport_restore_validate)                                                                   \
    X(teleport_image_validate)                                                                     \
    X(teleport_blob_upload)                                                                        \
    X(teleport_blob_download)                                                                      \
    X(vcpu_run)                                                                                    \
    X(agent_accept)                                                                                \
    X(agent_answer)                                                                                \
    X(file_open)                                                                                   \
    X(file_read)                                                                                   \
    X(file_write)                                                                                  \
    X(file_fsync)                                                                                  \
    X(power_loss)                                                                                  \
    X(file_rename)                                                                                 \
    X(net_connect)                                                                                 \
    X(net_send)                                                                                    \
    X(net_receive)                                                                                 \
    X(memory)                                                                                      \
    X(clock)                                                                                       \
    X(monitor_step)                                                                                \
    X(pool_create)

enum sim_op {
    SIM_OP_ANY, /* in a rule: no filter */
#define SIM_OP_ENUM(op) OP_##op,
    SIM_OPS(SIM_OP_ENUM)
#undef SIM_OP_ENUM
    SIM_OP_KINDS,
};

struct sim_fault_rule {
    enum sim_fault kind;
    double probability;
    enum sim_op op; /* SIM_OP_ANY: wherever the kind applies */
    uint64_t skip;  /* let the first n applicable operations pass */
    uint64_t max;   /* fire at most so often; 0: no limit */
    uint64_t param; /* see SIM_FAULTS; 0: the kind's default */
    bool is_disabled;
    /* May stay without firing (used where the run's length is out of the scenario's hands). */
    bool is_optional;
};

struct sim_fault_stats {
    uint64_t applicable;
    uint64_t fired;
};

const char *sim_fault_name(enum sim_fault kind);
const char *sim_op_name(enum sim_op op);

/* Add a rule; its number. */
unsigned sim_fault_add(const struct sim_fault_rule *rule);
void sim_fault_enable(unsigned rule, bool is_enabled);
/* All rules at once: a world is healed before its liveness is asked for. */
void sim_faults_pause(bool pause);
struct sim_fault_stats sim_fault_stats(unsigned rule);
/* Every enabled rule that is not optional has fired. */
bool sim_faults_all_fired(void);
/* Is there a rule of this kind? Cheap: asked before work that only faults need. */
bool sim_fault_has(enum sim_fault kind);

#define SIM_KIND(kind) (UINT64_C(1) << FAULT_##kind)

/* What befalls this operation, of `kinds` (bits by SIM_KIND): SIM_FAULT_NONE mostly. *param may be
 * NULL. */
enum sim_fault sim_fault_draw(enum sim_op op, uint64_t kinds, uint64_t *param);
