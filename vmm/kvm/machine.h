/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One life of a VM under KVM. Internal to vmm/kvm and vmm/arch.
 *
 * Threads: one per vCPU, one loop thread, and the caller's for build, release, kill, destroy. All
 * threads exist from build on, the vCPUs' waiting at a gate; so release cannot fail.
 *
 * Pausing: all vCPUs are kicked out of the guest, finish what KVM left half done, and park at the
 * gate; then the loop is held and the disks are drained. pause.c.
 *
 * Ending: whoever notices calls machine_end(), the first outcome counts; all vCPUs are kicked out
 * of the guest; the last one that leaves writes out what the devices hold and reports. Everything
 * else (joining, unmapping) is destroy's, off the path on which somebody waits for the status.
 */
#pragma once

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include <base/compiler.h>

#include "arch/arch.h"
#include "backends/backend.h"
#include "boot/elf.h"
#include "boot/linux_boot.h"
#include "bus.h"
#include "config.h"
#include "devices/boot_timer.h"
#include "devices/gmem.h"
#include "devices/i8042.h"
#include "devices/ioapic.h"
#include "devices/status_port.h"
#include "devices/uart.h"
#include "log.h"
#include "loop.h"
#include "snapshot/memory.h"

#define VCPU_THREAD_STACK_SIZE (64u << 10)

struct machine;
struct machine_virtio;

struct vcpu {
    struct machine *machine;
    unsigned index;
    int fd; /* -1: none */
    struct kvm_run *run;
    pthread_t thread;
    bool has_thread;
    atomic_int tid; /* set by the thread; 0: it has not begun */
    /* Written by the vCPU's thread only, relaxed; anyone may read. */
    _Atomic uint64_t exits[DRUPE_EXIT_REASONS];
    _Atomic uint64_t time_ns; /* set when the thread leaves */
    _Atomic uint64_t
        entered_ns; /* CLOCK_MONOTONIC: when it last went into the guest from the gate */
    atomic_bool has_left;
    struct arch_vcpu_clock clock; /* while the clocks are stopped */
};

struct machine {
    const struct config *config;
    struct backend_events events;
    struct log log;
    int kvm_fd;
    int vm_fd;
    pid_t pid; /* of this process */
    size_t run_size;

    /* Memory: built once, then constant. */
    struct gmem gmem;
    uint8_t *ram;
    uint64_t ram_size;
    uint64_t ram_low_size; /* below the device hole */
    void *root;
    uint64_t root_gpa;
    uint64_t root_map_size;
    /*
     * With is_dirty_tracked: pages written since the last snapshot or restore, as far as they were
     * collected or written by devices (the words are gmem's as well). What that snapshot was, under
     * `control`: its id, "" before the first; the hash of its memory; where it is, NULL: not known.
     */
    struct page_set dirty;
    char base_id[SNAPSHOT_ID_SIZE];
    uint8_t base_sha256[32];
    char *base_path;
    struct snapshot_file *snapshot; /* RAM was restored from it; NULL: it began empty */
    int handler_uffd;               /* RAM that a page-fault handler brings; -1: none */
    bool has_working_set;           /* it was brought in; by who resumes */

    /* Devices and the way to them: built once, then constant. */
    struct device_host device_host;
    struct bus pio;
    struct bus mmio;
    struct uart uart;
    struct i8042 i8042;
    struct boot_timer boot_timer;
    struct status_port status_port;
    struct ioapic ioapic;
    bool has_irqchip;
    bool shares_counter; /* the vCPUs' time counters are the host's own, without an offset */
    bool has_legacy;
    struct machine_virtio *virtio;

    struct loop loop;
    bool has_loop;
    pthread_t loop_thread;
    bool has_loop_thread;

    struct vcpu *vcpus; /* config->vcpus of them */
    unsigned vcpu_count;
    atomic_uint vcpus_inside;
    atomic_bool is_alive; /* the guest has touched a device */
    atomic_bool is_ending;
    atomic_bool is_killed;  /* output that still waits for its reader is given up */
    atomic_bool is_pausing; /* vCPUs go to the gate; written under lock */

    /*
     * Keeps the callers' signals and resizes away from devices whose state is being taken or whose
     * guest stands still. Taken before any device's lock, never with `lock` held.
     */
    pthread_mutex_t control;
    bool is_quiesced; /* under control: no device touches guest memory */
    bool has_resize;  /* under control: a resize came meanwhile */
    bool is_copying;  /* under control: who resumes it must not write to guest memory itself */
    uint16_t resize_rows;
    uint16_t resize_cols;
    struct arch_clock clock; /* as it stopped; one pause at a time */

    pthread_mutex_t lock;
    pthread_cond_t gate;
    pthread_cond_t parked;           /* vcpus_parked, vcpus_inside, has_outcome; CLOCK_MONOTONIC */
    unsigned vcpus_parked;           /* under lock */
    bool is_gate_open;               /* under lock */
    bool is_released;                /* under lock */
    bool has_outcome;                /* under lock */
    struct drupe_vm_outcome outcome; /* under lock until has_outcome, then constant */
    uint64_t released_ns;
};

/* The machine ends. Any thread; the first call counts. */
void machine_end(struct machine *m, enum drupe_end_kind kind, int status, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* memory.c: RAM and the root image, their slots, gmem. Before any irqchip (docs: order of the
 * ioctls). */
drupe_vm_err_t machine_memory_init(struct machine *m, struct drupe_error *err) MUST_CHECK;
void machine_memory_deinit(struct machine *m);
/* RAM becomes m->snapshot's; nothing has touched it yet. */
drupe_vm_err_t machine_memory_load(struct machine *m, struct drupe_error *err) MUST_CHECK;
/* RAM that the host has backed so far, bytes. */
uint64_t machine_memory_resident(const struct machine *m);

/* devices.c: legacy and virtio devices, both buses. After memory. */
drupe_vm_err_t machine_devices_init(struct machine *m, struct drupe_error *err) MUST_CHECK;
void machine_devices_deinit(struct machine *m);
/*
 * Into and out of a snapshot, with `control` held. save: failures show in the writer. load: of
 * devices just made; nothing runs yet.
 */
void machine_devices_save(struct machine *m, struct state_writer *w);
drupe_vm_err_t machine_devices_load(struct machine *m, const struct state_reader *r,
                                    struct drupe_error *err) MUST_CHECK;
/*
 * Close all connections over vsock and tell the guest so: before a snapshot is taken, when the
 * vCPUs stand still, and after a restore (with the CID of the configuration).
 */
void machine_reset_vsock(struct machine *m);
/* The guest is gone: who talks to it learns so. */
void machine_hang_up_vsock(struct machine *m);
/* The workload's streams and the serial line's log are others from now on; with `control` held, of
 * a machine that stands still. */
void machine_devices_set_streams(struct machine *m, const struct drupe_vm_streams *streams);
bool machine_has_console(const struct machine *m);
unsigned machine_virtio_count(const struct machine *m);
/* What the guest printed has been written. */
bool machine_is_drained(const struct machine *m);
drupe_vm_err_t machine_update_disk(struct machine *m, unsigned index, int fd,
                                   const struct drupe_rate_limit *limit,
                                   struct drupe_error *err) MUST_CHECK;
void machine_update_net(struct machine *m, unsigned index, const struct drupe_rate_limit *rx,
                        const struct drupe_rate_limit *tx);
void machine_net_stats(const struct machine *m, struct drupe_vm_stats *out);
struct virtio_balloon;
/* NULL: the VM has none. */
struct virtio_balloon *machine_balloon(const struct machine *m);
bool machine_resize_console(struct machine *m, unsigned rows, unsigned cols);
/* The loop is held and no vCPU runs: finish what is under way, so that nothing touches guest memory
 * until the loop goes on. */
void machine_devices_quiesce(struct machine *m);
struct cmdline;
void machine_devices_announce(const struct machine *m, struct cmdline *c);

/* boot.c: kernel, tables, command line, boot arguments into guest memory. After devices, before
 * vCPUs' registers. */
struct machine_boot {
    struct elf_image image;
    bool is_pvh;
};

drupe_vm_err_t machine_boot_write(struct machine *m, uint64_t tsc_khz, struct machine_boot *out,
                                  struct drupe_error *err) MUST_CHECK;

/* balloon.c: entries of the backend's table. */
drupe_vm_err_t kvm_set_balloon(void *machine, uint32_t target_mib, struct drupe_error *err);
drupe_vm_err_t kvm_set_balloon_interval(void *machine, uint32_t interval_s,
                                        struct drupe_error *err);
drupe_vm_err_t kvm_balloon_stats(void *machine, struct drupe_balloon_stats *out,
                                 struct drupe_error *err);

/* vcpu.c */
drupe_vm_err_t vcpu_create(struct machine *m, unsigned index, struct drupe_error *err) MUST_CHECK;
drupe_vm_err_t vcpu_start_thread(struct vcpu *v, struct drupe_error *err) MUST_CHECK;
void vcpu_kick(struct vcpu *v);
/* The thread is joined. */
void vcpu_destroy(struct vcpu *v);
/* machine.c: the thread left its loop; the last one reports. */
void machine_vcpu_left(struct machine *m);
/* Block until released or ending. */
void machine_wait_gate(struct machine *m);

/* pause.c: the backend's two calls, and the vCPU's side: stand still until resumed or ending. */
drupe_vm_err_t machine_pause(void *machine, struct drupe_error *err) MUST_CHECK;
drupe_vm_err_t machine_resume(void *machine, struct drupe_error *err) MUST_CHECK;
void machine_park_vcpu(struct machine *m);
/* Between true and false, machine_resume() leaves guest memory alone but for the identity's pages.
 */
void machine_set_copying(struct machine *m, bool is_copying);
/* The backend's signal and resize: safe while it stands still. */
drupe_vm_err_t machine_signal(void *machine, int signo, struct drupe_error *err) MUST_CHECK;
drupe_vm_err_t machine_resize_tty(void *machine, unsigned rows, unsigned cols,
                                  struct drupe_error *err) MUST_CHECK;
/*
 * identity.c: the identity page of abi/boot.h. init: before the guest's first instruction, 0 or
 * -errno; renew: while the guest stands still, its clocks are set.
 */
int machine_identity_init(struct machine *m) MUST_CHECK;
void machine_identity_renew(struct machine *m);
/* The pages that renew writes to, as offsets in RAM / page size; how many (0..2). */
unsigned machine_identity_pages(const struct machine *m, uint64_t pages[2]);
/*
 * Take out of the set what the guest's kernel says is free, in memory as `read` gives it: 0 or
 * -errno.
 */
typedef int (*machine_read_fn)(void *ctx, gpa_t from, void *to, size_t size);
void machine_remove_free_pages(const struct machine *m, struct page_set *s, machine_read_fn read,
                               void *ctx);

/* memory.c: add what the guest wrote since the last call to m->dirty. It stands still. */
drupe_vm_err_t machine_collect_dirty(struct machine *m, struct drupe_error *err) MUST_CHECK;

/* snapshot_base.c: the origin of a machine being made; what its next diff builds on. */
void machine_restored_from(struct machine *m, const struct snapshot_file *f);
void machine_snapshot_last(void *machine, struct drupe_snapshot_last *out);
/* snapshot.c: the backend's call. */
drupe_vm_err_t machine_snapshot(void *machine, bool is_paused,
                                const struct drupe_snapshot_options *options,
                                struct drupe_snapshot_info *info,
                                struct drupe_error *err) MUST_CHECK;
/* working_set.c: the backend's call, and what the first resume of a restored machine does. */
drupe_vm_err_t machine_record_working_set(void *machine, const char *path, uint64_t *bytes,
                                          struct drupe_error *err) MUST_CHECK;
void machine_bring_working_set(struct machine *m);
/* machine.c: kick every vCPU but the calling thread's out of the guest. With the lock held. */
void machine_kick_all_locked(struct machine *m);
