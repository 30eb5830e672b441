/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86-64 vCPUs in a snapshot. Order of setting: CPUID (what the others may hold), special registers
 * (the local APIC's place and mode), the local APIC (the timer's mode), MSRs, then the rest. The
 * counter and its timer are the clocks' (clock.c), set when the guest goes on.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/checked.h>

#include "arch/x86_64/cpuid_modify.h"
#include "arch/x86_64/guest_cpuid.h"
#include "error.h"
#include "kvm/machine.h"
#include "snapshot/container.h"

#define MSRS_MAX         1024u
#define XSAVE_ALIGN      16u
#define XSAVE_SIZE_MAX   (64u << 10)
#define XSAVE_SIZE_SMALL sizeof(struct kvm_xsave)

#define MSR_TSC          0x10u
#define MSR_TSC_ADJUST   0x3bu
#define MSR_TSC_DEADLINE 0x6e0u

#ifndef KVM_CAP_XSAVE2
#define KVM_CAP_XSAVE2 208
#endif

static_assert(sizeof(struct kvm_regs) == 144, "state layout is fixed");
static_assert(sizeof(struct kvm_sregs2) == 320, "state layout is fixed");
static_assert(sizeof(struct kvm_debugregs) == 128, "state layout is fixed");
static_assert(sizeof(struct kvm_xcrs) == 392, "state layout is fixed");
static_assert(sizeof(struct kvm_vcpu_events) == 64, "state layout is fixed");
static_assert(sizeof(struct kvm_lapic_state) == 1024, "state layout is fixed");
static_assert(sizeof(struct snapshot_msr_x86) == sizeof(struct kvm_msr_entry), "the same");
static_assert(sizeof(struct snapshot_cpuid_x86) == sizeof(struct kvm_cpuid_entry2), "the same");

unsigned arch_snapshot_id(void)
{
    return SNAPSHOT_X86_64;
}

/* ---- Which MSRs there are: the same for every vCPU of the process, so asked once ---- */

static struct {
    pthread_mutex_t lock;
    bool is_known;
    uint32_t count;
    uint32_t index[MSRS_MAX];
} msrs = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Room for all of them. NULL: out of memory. */
static struct kvm_msrs *msrs_make(void)
{
    return calloc(1, sizeof(struct kvm_msrs) + MSRS_MAX * sizeof(struct kvm_msr_entry));
}

/* The counter is the clocks'; setting TSC_ADJUST would move it. */
static bool is_clock_msr(uint32_t index)
{
    return index == MSR_TSC || index == MSR_TSC_DEADLINE || index == MSR_TSC_ADJUST;
}

static bool ask_msrs(int kvm_fd, int vcpu_fd, struct kvm_msrs *b)
{
    struct kvm_msr_list *list = calloc(1, sizeof(*list) + MSRS_MAX * sizeof(list->indices[0]));
    bool is_ok = false;

    if (list == NULL) {
        return false;
    }
    list->nmsrs = MSRS_MAX;
    is_ok = ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, list) == 0;
    for (uint32_t i = 0; is_ok && i < list->nmsrs; i++) {
        b->nmsrs = 1;
        b->entries[0].index = list->indices[i];
        /* KVM lists more than this CPU has. */
        if (!is_clock_msr(list->indices[i]) && ioctl(vcpu_fd, KVM_GET_MSRS, b) == 1) {
            msrs.index[msrs.count++] = list->indices[i];
        }
    }
    free(list);
    return is_ok;
}

static bool know_msrs(int kvm_fd, int vcpu_fd, struct kvm_msrs *b)
{
    bool is_known = false;

    (void)pthread_mutex_lock(&msrs.lock);
    if (!msrs.is_known) {
        msrs.count = 0;
        msrs.is_known = ask_msrs(kvm_fd, vcpu_fd, b);
    }
    is_known = msrs.is_known;
    (void)pthread_mutex_unlock(&msrs.lock);
    return is_known;
}

/* A vCPU of a machine of its own is asked: the guest's may be inside it for as long as it likes. */
void arch_state_prepare(struct machine *m)
{
    struct kvm_msrs *b = msrs_make();
    int vm_fd = -1;
    int vcpu_fd = -1;
    bool is_known = false;

    (void)pthread_mutex_lock(&msrs.lock);
    is_known = msrs.is_known;
    (void)pthread_mutex_unlock(&msrs.lock);
    if (!is_known && b != NULL) {
        vm_fd = ioctl(m->kvm_fd, KVM_CREATE_VM, 0);
        vcpu_fd = vm_fd < 0 ? -1 : ioctl(vm_fd, KVM_CREATE_VCPU, 0);
    }
    /* The same CPUID: it decides which there are. What fails here is asked, and told, when it is
     * needed. */
    if (vcpu_fd >= 0 &&
        cpuid_set(m->kvm_fd, vcpu_fd, 0, m->vcpu_count, m->config, NULL) == DRUPE_OK) {
        (void)know_msrs(m->kvm_fd, vcpu_fd, b);
    }
    if (vcpu_fd >= 0) {
        (void)close(vcpu_fd);
    }
    if (vm_fd >= 0) {
        (void)close(vm_fd);
    }
    free(b);
}

/* ---- Saving ---- */

struct vcpu_parts {
    struct kvm_msrs *msr;
    struct kvm_cpuid2 *cpuid;
    uint8_t *xsave;
    uint32_t xsave_size;
};

static void parts_free(struct vcpu_parts *p)
{
    free(p->msr);
    free(p->cpuid);
    free(p->xsave);
}

static bool read_msrs(const struct vcpu *v, struct vcpu_parts *p)
{
    if (!know_msrs(v->machine->kvm_fd, v->fd, p->msr)) {
        return false;
    }
    for (uint32_t i = 0; i < msrs.count; i++) {
        p->msr->entries[i] = (struct kvm_msr_entry){ .index = msrs.index[i] };
    }
    p->msr->nmsrs = msrs.count;
    return ioctl(v->fd, KVM_GET_MSRS, p->msr) == (int)msrs.count;
}

static bool read_xsave(const struct vcpu *v, struct vcpu_parts *p)
{
    int size = ioctl(v->machine->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
    bool is_large = size > (int)XSAVE_SIZE_SMALL;

    p->xsave_size = is_large ? align_up((uint32_t)size, XSAVE_ALIGN) : XSAVE_SIZE_SMALL;
    if (p->xsave_size > XSAVE_SIZE_MAX) {
        errno = EFBIG;
        return false;
    }
    p->xsave = calloc(1, p->xsave_size);
    return p->xsave != NULL &&
           ioctl(v->fd, is_large ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, p->xsave) == 0;
}

static const struct snapshot_vcpu_x86 *find_vcpu(const struct state_reader *r, unsigned index);
static const struct kvm_cpuid_entry2 *cpuid_entries(const struct snapshot_vcpu_x86 *in);

/* What the vCPU was given, when it was made or restored. */
static struct kvm_cpuid2 *current_cpuid(const struct vcpu *v)
{
    const struct machine *m = v->machine;
    const struct snapshot_vcpu_x86 *from = NULL;
    struct kvm_cpuid2 *t = NULL;

    if (m->snapshot == NULL) {
        t = cpuid_make(m->kvm_fd, v->index, m->vcpu_count);
        if (t != NULL) {
            (void)cpuid_modify(t, m->config->cpuid, m->config->cpuid_count); /* as at the start */
        }
        return t;
    }
    from = find_vcpu(&m->snapshot->state, v->index);
    assert(from != NULL); /* it was restored from it */
    t = calloc(1, sizeof(*t) + from->cpuid_count * sizeof(t->entries[0]));
    if (t != NULL) {
        t->nent = from->cpuid_count;
        memcpy(t->entries, cpuid_entries(from), t->nent * sizeof(t->entries[0]));
    }
    return t;
}

static bool read_parts(const struct vcpu *v, struct vcpu_parts *p)
{
    p->msr = msrs_make();
    p->cpuid = current_cpuid(v);
    return p->msr != NULL && p->cpuid != NULL && read_msrs(v, p) && read_xsave(v, p);
}

static bool read_fixed(const struct vcpu *v, struct snapshot_vcpu_x86 *out)
{
    struct kvm_mp_state mp = { 0 };

    if (ioctl(v->fd, KVM_GET_MP_STATE, &mp) < 0) {
        return false;
    }
    out->mp_state = mp.mp_state;
    return ioctl(v->fd, KVM_GET_REGS, out->regs) == 0 &&
           ioctl(v->fd, KVM_GET_SREGS2, out->sregs2) == 0 &&
           ioctl(v->fd, KVM_GET_DEBUGREGS, out->debugregs) == 0 &&
           ioctl(v->fd, KVM_GET_XCRS, out->xcrs) == 0 &&
           ioctl(v->fd, KVM_GET_VCPU_EVENTS, out->events) == 0 &&
           ioctl(v->fd, KVM_GET_LAPIC, out->lapic) == 0;
}

static drupe_vm_err_t failed(const struct vcpu *v, const char *what, struct drupe_error *err)
{
    return error_set(err, DRUPE_SNAPSHOT_FAILED, errno, "read %s of vCPU %u", what, v->index);
}

static drupe_vm_err_t save_vcpu(const struct vcpu *v, struct state_writer *w,
                                struct drupe_error *err)
{
    struct vcpu_parts p = { 0 };
    struct snapshot_vcpu_x86 *out = NULL;
    drupe_vm_err_t r = DRUPE_OK;
    size_t size = 0;
    uint8_t *tail = NULL;

    if (!read_parts(v, &p)) {
        r = failed(v, "the model-specific and vector registers", err);
        parts_free(&p);
        return r;
    }
    size = sizeof(*out) + p.xsave_size + p.msr->nmsrs * sizeof(struct snapshot_msr_x86) +
           p.cpuid->nent * sizeof(struct snapshot_cpuid_x86);
    out = state_add(w, SNAPSHOT_VCPU, v->index, 1, size);
    if (out == NULL) {
        r = error_set(err, DRUPE_NO_MEMORY, ENOMEM, "save vCPU %u", v->index);
    } else if (!read_fixed(v, out)) {
        r = failed(v, "the registers", err);
    } else {
        out->flags = v->clock.has_offset ? SNAPSHOT_VCPU_HAS_OFFSET : 0;
        out->tsc = v->clock.tsc;
        out->tsc_offset = v->clock.offset;
        out->tsc_deadline = v->clock.deadline;
        out->xsave_size = p.xsave_size;
        out->msr_count = p.msr->nmsrs;
        out->cpuid_count = p.cpuid->nent;
        tail = (uint8_t *)(out + 1);
        memcpy(tail, p.xsave, p.xsave_size);
        tail += p.xsave_size;
        memcpy(tail, p.msr->entries, out->msr_count * sizeof(struct snapshot_msr_x86));
        tail += out->msr_count * sizeof(struct snapshot_msr_x86);
        memcpy(tail, p.cpuid->entries, out->cpuid_count * sizeof(struct snapshot_cpuid_x86));
    }
    parts_free(&p);
    return r;
}

drupe_vm_err_t arch_state_save(struct machine *m, struct state_writer *w, struct drupe_error *err)
{
    struct snapshot_vm_x86 *vm = state_add(w, SNAPSHOT_VM, 0, 1, sizeof(*vm));
    drupe_vm_err_t r = DRUPE_OK;

    if (vm == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "save the machine");
    }
    vm->clock_ns = m->clock.vm_ns;
    vm->host_counter = m->clock.counter;
    vm->tsc_khz = m->clock.tsc_khz;
    for (unsigned i = 0; r == DRUPE_OK && i < m->vcpu_count; i++) {
        r = save_vcpu(&m->vcpus[i], w, err);
    }
    return r;
}

/* ---- Loading ---- */

static drupe_vm_err_t refused(const struct vcpu *v, const char *what, struct drupe_error *err)
{
    return error_set(err, DRUPE_RESTORE_FAILED, errno, "set %s of vCPU %u", what, v->index);
}

/*
 * KVM takes as many as it can; one that it refuses is none if it has that value already (some are
 * listed and fixed).
 */
static drupe_vm_err_t load_msrs(const struct vcpu *v, const struct snapshot_msr_x86 *from,
                                uint32_t count, struct drupe_error *err)
{
    struct kvm_msrs *b = msrs_make();
    uint32_t done = 0;

    if (b == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "load vCPU %u", v->index);
    }
    while (done < count) {
        int n = 0;

        b->nmsrs = count - done;
        memcpy(b->entries, from + done, (count - done) * sizeof(*from));
        n = ioctl(v->fd, KVM_SET_MSRS, b);
        if (n < 0) {
            break;
        }
        done += (uint32_t)n;
        if (done < count) {
            b->nmsrs = 1;
            b->entries[0] = (struct kvm_msr_entry){ .index = from[done].index };
            if (ioctl(v->fd, KVM_GET_MSRS, b) != 1 || b->entries[0].data != from[done].data) {
                break;
            }
            done++;
        }
    }
    free(b);
    return done == count ? DRUPE_OK
                         : error_set(err, DRUPE_RESTORE_FAILED, 0,
                                     "this host does not take MSR 0x%x of vCPU %u",
                                     from[done].index, v->index);
}

/* KVM's own structs want their alignment, and take no const. */
static int set(const struct vcpu *v, unsigned long request, const void *from, size_t size)
{
    _Alignas(64) uint8_t copy[sizeof(struct kvm_lapic_state)];

    assert(size <= sizeof(copy));
    memcpy(copy, from, size);
    return ioctl(v->fd, request, copy);
}

static drupe_vm_err_t load_xsave(const struct vcpu *v, const uint8_t *from, uint32_t size,
                                 struct drupe_error *err)
{
    int wanted = ioctl(v->machine->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
    uint32_t room = max_of(wanted > 0 ? (uint32_t)wanted : 0, (uint32_t)XSAVE_SIZE_SMALL);
    uint8_t *copy = calloc(1, max_of(room, size));
    drupe_vm_err_t r = DRUPE_OK;

    if (copy == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "load vCPU %u", v->index);
    }
    memcpy(copy, from, size);
    if (size > align_up(room, XSAVE_ALIGN)) {
        r = error_set(err, DRUPE_ARCH_MISMATCH, 0,
                      "the snapshot's vector registers take %u bytes, this CPU's %u", size, room);
    } else if (ioctl(v->fd, KVM_SET_XSAVE, copy) < 0) {
        r = refused(v, "the vector registers", err);
    }
    free(copy);
    return r;
}

static drupe_vm_err_t load_registers(const struct vcpu *v, const struct snapshot_vcpu_x86 *in,
                                     struct drupe_error *err)
{
    const uint8_t *xsave = (const uint8_t *)(in + 1);
    const uint8_t *msr = xsave + in->xsave_size;
    struct kvm_mp_state mp = { .mp_state = in->mp_state };
    drupe_vm_err_t r = DRUPE_OK;

    if (set(v, KVM_SET_SREGS2, in->sregs2, sizeof(in->sregs2)) < 0) {
        return refused(v, "the special registers", err);
    }
    if (set(v, KVM_SET_XCRS, in->xcrs, sizeof(in->xcrs)) < 0) {
        return refused(v, "the extended control registers", err);
    }
    r = load_xsave(v, xsave, in->xsave_size, err);
    if (r != DRUPE_OK) {
        return r;
    }
    if (set(v, KVM_SET_LAPIC, in->lapic, sizeof(in->lapic)) < 0) {
        return refused(v, "the local APIC", err);
    }
    r = load_msrs(v, (const struct snapshot_msr_x86 *)(const void *)msr, in->msr_count, err);
    if (r != DRUPE_OK) {
        return r;
    }
    if (set(v, KVM_SET_DEBUGREGS, in->debugregs, sizeof(in->debugregs)) < 0 ||
        set(v, KVM_SET_VCPU_EVENTS, in->events, sizeof(in->events)) < 0 ||
        set(v, KVM_SET_REGS, in->regs, sizeof(in->regs)) < 0 ||
        ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0) {
        return refused(v, "the registers", err);
    }
    return DRUPE_OK;
}

static bool sizes_fit(const struct snapshot_vcpu_x86 *in, size_t size)
{
    uint64_t want = sizeof(*in);

    if (size < sizeof(*in) || in->msr_count > MSRS_MAX || in->cpuid_count > CPUID_ENTRIES_MAX ||
        in->xsave_size > XSAVE_SIZE_MAX || in->xsave_size < XSAVE_SIZE_SMALL ||
        !is_aligned(in->xsave_size, XSAVE_ALIGN)) {
        return false;
    }
    want += in->xsave_size + in->msr_count * sizeof(struct snapshot_msr_x86) +
            in->cpuid_count * sizeof(struct snapshot_cpuid_x86);
    return size == want;
}

static const struct snapshot_vcpu_x86 *find_vcpu(const struct state_reader *r, unsigned index)
{
    uint32_t version = 0;
    size_t size = 0;
    const struct snapshot_vcpu_x86 *in = state_find(r, SNAPSHOT_VCPU, index, &version, &size);

    return in != NULL && version == 1 && sizes_fit(in, size) ? in : NULL;
}

static const struct kvm_cpuid_entry2 *cpuid_entries(const struct snapshot_vcpu_x86 *in)
{
    const uint8_t *at = (const uint8_t *)(in + 1) + in->xsave_size +
                        in->msr_count * sizeof(struct snapshot_msr_x86);

    return (const struct kvm_cpuid_entry2 *)(const void *)at;
}

static drupe_vm_err_t load_vcpu(struct vcpu *v, const struct state_reader *reader,
                                struct drupe_error *err)
{
    const struct snapshot_vcpu_x86 *in = find_vcpu(reader, v->index);
    drupe_vm_err_t r = DRUPE_OK;

    if (in == NULL) {
        return error_set(err, DRUPE_SNAPSHOT_CORRUPTED, 0, "the state of vCPU %u is damaged",
                         v->index);
    }
    r = cpuid_restore(v->machine->kvm_fd, v->fd, v->index, cpuid_entries(in), in->cpuid_count, err);
    if (r == DRUPE_OK) {
        r = load_registers(v, in, err);
    }
    v->clock = (struct arch_vcpu_clock){
        .tsc = in->tsc,
        .offset = in->tsc_offset,
        .deadline = in->tsc_deadline,
        .has_offset = (in->flags & SNAPSHOT_VCPU_HAS_OFFSET) != 0,
    };
    return r;
}

/* A counter of another frequency would make every clock of the guest wrong. */
#define TSC_TOLERANCE_PPM 250u

static drupe_vm_err_t check_counter(struct machine *m, uint64_t wanted_khz, struct drupe_error *err)
{
    uint64_t khz = arch_vcpu_tsc_khz(&m->vcpus[0]);
    uint64_t difference = khz > wanted_khz ? khz - wanted_khz : wanted_khz - khz;

    if (khz == 0 || wanted_khz == 0 || wanted_khz > UINT32_MAX ||
        difference <= wanted_khz * TSC_TOLERANCE_PPM / 1000000) {
        return DRUPE_OK;
    }
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        if (ioctl(m->vcpus[i].fd, KVM_SET_TSC_KHZ, (unsigned long)wanted_khz) < 0) {
            return error_set(err, DRUPE_ARCH_MISMATCH, errno,
                             "the snapshot's time-stamp counter runs at %llu kHz, this CPU's at "
                             "%llu, and it cannot be scaled",
                             (unsigned long long)wanted_khz, (unsigned long long)khz);
        }
        m->vcpus[i].clock.has_offset = false; /* offsets are between counters of one frequency */
    }
    return DRUPE_OK;
}

drupe_vm_err_t arch_state_load(struct machine *m, const struct state_reader *r,
                               struct drupe_error *err)
{
    const struct snapshot_vm_x86 *vm = state_find_sized(r, SNAPSHOT_VM, 0, sizeof(*vm));
    drupe_vm_err_t code = DRUPE_OK;

    if (vm == NULL) {
        return error_set(err, DRUPE_SNAPSHOT_CORRUPTED, 0, "the machine's state is damaged");
    }
    for (unsigned i = 0; code == DRUPE_OK && i < m->vcpu_count; i++) {
        code = load_vcpu(&m->vcpus[i], r, err);
    }
    m->clock = (struct arch_clock){
        .counter = vm->host_counter,
        .vm_ns = vm->clock_ns,
        .tsc_khz = vm->tsc_khz,
    };
    return code == DRUPE_OK ? check_counter(m, vm->tsc_khz, err) : code;
}
