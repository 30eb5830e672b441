/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One vCPU: a thread that lets the guest run and answers its exits. It is called back by
 * immediate_exit and a signal: the flag ends a KVM_RUN that is about to begin, the signal one that
 * is under way.
 */
#include "kvm/machine.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/clock.h>

#include "error.h"
#include "jail/filter.h"

#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif

#define DESCRIPTION_SIZE 128u

drupe_vm_err_t vcpu_create(struct machine *m, unsigned index, struct drupe_error *err)
{
    struct vcpu *v = &m->vcpus[index];
    void *run = NULL;

    v->machine = m;
    v->index = index;
    v->fd = ioctl(m->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
    if (v->fd < 0) {
        return error_set(err, errno == ENOMEM ? DRUPE_NO_MEMORY : DRUPE_INTERNAL, errno,
                         "make vCPU %u", index);
    }
    run = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (run == MAP_FAILED) {
        return error_set(err, DRUPE_NO_MEMORY, errno, "map vCPU %u", index);
    }
    v->run = run;
    return DRUPE_OK;
}

void vcpu_destroy(struct vcpu *v)
{
    if (v->run != NULL) {
        (void)munmap(v->run, v->machine->run_size);
    }
    if (v->fd >= 0) {
        (void)close(v->fd);
    }
    v->run = NULL;
    v->fd = -1;
}

void vcpu_kick(struct vcpu *v)
{
    if (v->run == NULL || !v->has_thread) {
        return;
    }
    __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    /*
     * Not pthread_kill(), which asks for the process's id and blocks signals around it: two system
     * calls more on a jailed thread's list. A thread that has not begun finds the machine ending.
     */
    if (atomic_load(&v->tid) != 0 && !atomic_load(&v->has_left)) {
        (void)syscall(SYS_tgkill, v->machine->pid, atomic_load(&v->tid), SIGRTMIN);
    }
}

static uint64_t load_value(const uint8_t *data, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, data, min_of(size, 8u));
    return value;
}

static void exit_io(struct vcpu *v)
{
    struct machine *m = v->machine;
    struct kvm_run *run = v->run;
    unsigned size = run->io.size;
    /* KVM puts the data inside the page(s) of `run`; the arithmetic is checked because it costs
     * nothing. */
    uint64_t bytes = (uint64_t)run->io.count * size;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;

    if (run->io.data_offset > m->run_size || bytes > m->run_size - run->io.data_offset) {
        machine_end(m, DRUPE_END_MONITOR, 0, "KVM reported port data outside its page");
        return;
    }
    for (uint32_t i = 0; i < run->io.count; i++, data += size) {
        if (arch_vcpu_takes_port(v, run->io.port, size, run->io.direction == KVM_EXIT_IO_OUT)) {
            arch_vcpu_port_write(v, run->io.port, (uint32_t)load_value(data, size));
        } else if (run->io.direction == KVM_EXIT_IO_OUT) {
            (void)bus_write(&m->pio, run->io.port, size, load_value(data, size));
        } else {
            uint64_t value = 0;

            (void)bus_read(&m->pio, run->io.port, size, &value);
            memcpy(data, &value, min_of(size, 8u));
        }
    }
}

static void exit_mmio(struct vcpu *v)
{
    struct machine *m = v->machine;
    struct kvm_run *run = v->run;
    unsigned size = run->mmio.len;

    if (run->mmio.is_write != 0) {
        (void)bus_write(&m->mmio, run->mmio.phys_addr, size, load_value(run->mmio.data, size));
    } else {
        uint64_t value = 0;

        (void)bus_read(&m->mmio, run->mmio.phys_addr, size, &value);
        memcpy(run->mmio.data, &value, sizeof(value));
    }
}

static void exit_system_event(struct vcpu *v)
{
    machine_end(v->machine, DRUPE_END_RESET, 0,
                "the guest asked for system event %u without a status", v->run->system_event.type);
}

static void exit_failed(struct vcpu *v, const char *what, unsigned long long detail)
{
    char where[DESCRIPTION_SIZE];

    arch_vcpu_describe(v, where, sizeof(where));
    machine_end(v->machine, DRUPE_END_MONITOR, 0, "%s (0x%llx) on vCPU %u at %s", what, detail,
                v->index, where);
}

static void exit_shutdown(struct vcpu *v)
{
    char where[DESCRIPTION_SIZE];

    arch_vcpu_describe(v, where, sizeof(where));
    machine_end(v->machine, DRUPE_END_RESET, 0, "triple fault on vCPU %u at %s", v->index, where);
}

static enum drupe_exit_reason handle_exit(struct vcpu *v)
{
    struct kvm_run *run = v->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        exit_io(v);
        return DRUPE_EXIT_IO;
    case KVM_EXIT_MMIO:
        exit_mmio(v);
        return DRUPE_EXIT_MMIO;
    case KVM_EXIT_HLT:
        return DRUPE_EXIT_HLT; /* only without an irqchip in the kernel; going on is right */
    case KVM_EXIT_INTR:
        return DRUPE_EXIT_INTR;
    case KVM_EXIT_SHUTDOWN:
        exit_shutdown(v);
        return DRUPE_EXIT_SHUTDOWN;
    case KVM_EXIT_SYSTEM_EVENT:
        exit_system_event(v);
        return DRUPE_EXIT_SHUTDOWN;
    case KVM_EXIT_INTERNAL_ERROR:
        exit_failed(v, "KVM cannot go on, suberror", run->internal.suberror);
        return DRUPE_EXIT_INTERNAL;
    case KVM_EXIT_FAIL_ENTRY:
        exit_failed(v, "the CPU refused to enter the guest, reason",
                    run->fail_entry.hardware_entry_failure_reason);
        return DRUPE_EXIT_INTERNAL;
    case KVM_EXIT_IOAPIC_EOI:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR:
        return DRUPE_EXIT_OTHER;
    default:
        exit_failed(v, "KVM exit of unknown reason", run->exit_reason);
        return DRUPE_EXIT_INTERNAL;
    }
}

static void run_failed(struct vcpu *v, int os_errno)
{
    char where[DESCRIPTION_SIZE];

    if (os_errno == EFAULT && v->machine->root != NULL) {
        machine_end(
            v->machine, DRUPE_END_MONITOR, 0,
            "guest memory cannot be read: was the root image truncated while it is in use?");
        return;
    }
    arch_vcpu_describe(v, where, sizeof(where));
    machine_end(v->machine, DRUPE_END_MONITOR, 0, "KVM_RUN on vCPU %u: %s, at %s", v->index,
                strerrorname_np(os_errno), where);
}

static void count_exit(struct vcpu *v, enum drupe_exit_reason reason)
{
    uint64_t n = atomic_load_explicit(&v->exits[reason], memory_order_relaxed);

    atomic_store_explicit(&v->exits[reason], n + 1, memory_order_relaxed);
}

/*
 * Stand still. KVM completes the access that the last exit was for only when the guest is entered
 * again: with immediate_exit set it does that and no more. A completion may need another access.
 */
static void park(struct vcpu *v)
{
    struct machine *m = v->machine;

    __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    while (!atomic_load(&m->is_ending) && ioctl(v->fd, KVM_RUN, 0) == 0) {
        count_exit(v, handle_exit(v));
    }
    if (errno != EINTR && errno != EAGAIN && !atomic_load(&m->is_ending)) {
        run_failed(v, errno);
    }
    machine_park_vcpu(m);
    /* Before the loop looks at the flags again: a kick that comes from now on is not lost. */
    __atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
}

static void note_entry(struct vcpu *v)
{
    atomic_store_explicit(&v->entered_ns, clock_ns(), memory_order_relaxed);
}

static void run_guest(struct vcpu *v)
{
    struct machine *m = v->machine;

    note_entry(v);

    /* seq_cst: who sets a flag sets immediate_exit after it; we look in the other order. */
    while (!atomic_load(&m->is_ending)) {
        if (atomic_load(&m->is_pausing)) {
            park(v);
            note_entry(v);
            continue;
        }
        if (ioctl(v->fd, KVM_RUN, 0) < 0) {
            /* EAGAIN: a vCPU that waits for its start-up message was woken by a signal. */
            if (errno != EINTR && errno != EAGAIN) {
                run_failed(v, errno);
            }
            count_exit(v, DRUPE_EXIT_INTR);
            continue;
        }
        if (!atomic_load_explicit(&m->is_alive, memory_order_relaxed)) {
            atomic_store_explicit(&m->is_alive, true, memory_order_relaxed);
        }
        count_exit(v, handle_exit(v));
    }
}

static void *vcpu_main(void *arg)
{
    struct vcpu *v = arg;
    int r = 0;

    atomic_store(&v->tid, gettid());
    r = filter_install(DRUPE_JAIL_THREAD_VCPU);
    if (r < 0) {
        machine_end(v->machine, DRUPE_END_MONITOR, 0, "jail: seccomp: confine vCPU %u: %s",
                    v->index, strerrorname_np(-r));
    }
    machine_wait_gate(v->machine);
    run_guest(v);
    atomic_store(&v->time_ns, clock_ns_of(CLOCK_THREAD_CPUTIME_ID));
    atomic_store(&v->has_left, true);
    machine_vcpu_left(v->machine);
    if (filter_is_on()) {
        /* glibc's way out takes calls that the filter does without; join works all the same. */
        (void)syscall(SYS_exit, 0);
    }
    return NULL;
}

drupe_vm_err_t vcpu_start_thread(struct vcpu *v, struct drupe_error *err)
{
    pthread_attr_t attr;
    int r = 0;

    assert(!v->has_thread);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, VCPU_THREAD_STACK_SIZE);
    r = pthread_create(&v->thread, &attr, vcpu_main, v);
    (void)pthread_attr_destroy(&attr);
    if (r != 0) {
        return error_set(err, DRUPE_NO_MEMORY, r, "start the thread of vCPU %u", v->index);
    }
    v->has_thread = true;
    return DRUPE_OK;
}
