/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The question that each vmm/arch/<cpu>/ answers: everything about a KVM machine that differs by
 * CPU. The order of the calls is that of this file.
 */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"

struct machine;

/* What arch_clock_stop() keeps for arch_clock_go(). */
struct arch_clock {
    uint64_t counter;    /* the host's, when it stopped */
    uint64_t vm_ns;      /* the paravirtual clock's, 0: has none */
    uint64_t tsc_khz;    /* the guest's counter's frequency */
    uint64_t guest_now;  /* out of go: the first vCPU's counter */
    uint64_t guest_skip; /* out of go: by how much the guest's counters are ahead of where they
                            stopped, because the host cannot set them back (modulo 2^64) */
};

/* The same of one vCPU. */
struct arch_vcpu_clock {
    uint64_t tsc;
    uint64_t offset; /* to the host's counter */
    uint64_t deadline;
    bool has_offset;
};

struct state_reader;
struct state_writer;

struct cmdline;
struct machine_boot;
struct vcpu;

/* Before the memory slots. */
drupe_vm_err_t arch_memory_prepare(struct machine *m, struct drupe_error *err) MUST_CHECK;
/* After the slots, before any vCPU. */
drupe_vm_err_t arch_irqchip_create(struct machine *m, struct drupe_error *err) MUST_CHECK;
void arch_irqchip_destroy(struct machine *m);
/* After KVM_CREATE_VCPU: what firmware would have set. */
drupe_vm_err_t arch_vcpu_init(struct vcpu *v, struct drupe_error *err) MUST_CHECK;
uint64_t arch_vcpu_tsc_khz(const struct vcpu *v);

/* Let the vCPU's time counter be the host's own, without an offset. False: KVM cannot. */
bool arch_vcpu_share_counter(const struct vcpu *v);
/* Tables in guest memory that the entry state needs, and the hardware description. 0 or -errno. */
int arch_boot_tables_write(struct machine *m, bool is_pvh, uint64_t *rsdp_gpa) MUST_CHECK;
/* Registers of the first vCPU at the kernel's entry; the others wait for it. */
drupe_vm_err_t arch_vcpu_set_entry(struct vcpu *v, const struct machine_boot *boot,
                                   struct drupe_error *err) MUST_CHECK;

/* While it runs, on the vCPU's thread. Ports that concern the vCPU itself. */
bool arch_vcpu_takes_port(const struct vcpu *v, uint16_t port, unsigned size, bool is_write);
void arch_vcpu_port_write(struct vcpu *v, uint16_t port, uint32_t value);
/* The words that announce them. */
void arch_announce_ports(struct cmdline *c);

/* While it runs. An edge on an interrupt line; any thread. */
void arch_irq_raise(struct machine *m, unsigned irq);
/*
 * The vCPUs and what the machine has once, into and out of a snapshot. The clocks are stopped.
 * load: of a machine whose vCPUs are made and have no state yet; leaves the clocks as stopped then.
 */
drupe_vm_err_t arch_state_save(struct machine *m, struct state_writer *w,
                               struct drupe_error *err) MUST_CHECK;
drupe_vm_err_t arch_state_load(struct machine *m, const struct state_reader *r,
                               struct drupe_error *err) MUST_CHECK;
/* Ask the host now what arch_state_save() would have to ask first. No vCPU is disturbed. */
void arch_state_prepare(struct machine *m);
/* Which architecture this is: enum snapshot_arch. */
unsigned arch_snapshot_id(void);

/*
 * The guest's clocks stand still from stop to go; no vCPU runs from before the one until after the
 * other. Best effort: where the host cannot set a counter back, the guest sees the time pass.
 */
void arch_clock_stop(struct machine *m);
void arch_clock_go(struct machine *m);
/* Where the vCPU stands, for messages: "rip=... bytes=...". Its own thread. */
void arch_vcpu_describe(const struct vcpu *v, char *text, size_t size);

/* Learn what CPUs of this host offer, from a cache or by trying: once a process, while paths can
 * still be opened. */
void arch_host_prepare(int kvm_fd);
/* What ring 0 is on this host, and the names of CPU features that don't work there (text[size]). */
void arch_host_describe(int kvm_fd, bool *is_ring0_emulated, char *masked, size_t size);

/* The host's time-stamp counter, which QEMU's emulation hands on. 0: unknown. Takes some
 * milliseconds. */
uint64_t arch_host_tsc_khz(void);
