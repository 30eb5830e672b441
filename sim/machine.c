/* SPDX-License-Identifier: Apache-2.0 */
#include "machine_internal.h"

#include <errno.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <base/assert.h>
#include <base/bytes.h>
#include <base/clock.h>
#include <base/fmt.h>

#include "error.h"
#include "fault.h"

#define TICK_NS          (10u * SIM_NS_PER_MS)  /* between two steps of the first vCPU */
#define TICK_OTHERS_NS   (100u * SIM_NS_PER_MS) /* of the others: mostly halted */
#define PARK_LIMIT_NS    SIM_NS_PER_SEC
#define STUCK_MS         3000u
#define STALL_MS         300u
#define SIGNAL_TERM      15
#define IGNORE_TERM_WORD "sim.ignore_term"

static void wait_until_locked(struct sim_machine *m, uint64_t at_ns)
{
    const struct timespec until = clock_timespec(at_ns);

    (void)pthread_cond_timedwait(&m->changed, &m->lock, &until);
}

static void nap(uint64_t ms)
{
    struct timespec t = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000 * 1000000) };

    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

static void end_locked(struct sim_machine *m, enum drupe_end_kind kind, int status,
                       const char *text)
{
    if (!m->is_ending) {
        m->is_ending = true;
        m->outcome.kind = kind;
        m->outcome.status = status;
        (void)fmt_snprintf(m->outcome.text, sizeof(m->outcome.text), "%s", text);
        (void)pthread_cond_broadcast(&m->changed);
    }
}

void sim_machine_end(struct sim_machine *m, enum drupe_end_kind kind, int status, const char *text)
{
    (void)pthread_mutex_lock(&m->lock);
    end_locked(m, kind, status, text);
    (void)pthread_mutex_unlock(&m->lock);
}

/* ---- The guest ---- */

void sim_machine_touch(struct sim_machine *m, uint64_t page)
{
    m->is_touched[page] = true;
    m->is_dirty[page] = true;
}

static void guest_step(struct sim_vcpu *v)
{
    uint64_t x = v->regs[1] + UINT64_C(0x9e3779b97f4a7c15) * (v->index + 1);
    uint64_t page = 0;

    v->regs[0] += 4; /* the program counter */
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    v->regs[1] = x ^ x >> 31;
    v->regs[2]++;
    page = v->regs[1] % SIM_WORKING_PAGES + SIM_WORKING_START / SIM_PAGE;
    store_le64(v->machine->memory + page * SIM_PAGE + (v->regs[1] >> 32) % (SIM_PAGE / 8) * 8,
               v->regs[2]);
    sim_machine_touch(v->machine, page);
    v->steps++;
    v->exits[DRUPE_EXIT_HLT]++;
}

/* The workload's answer to signals and its own end, as the command line says. */
static void guest_workload_locked(struct sim_machine *m)
{
    unsigned signals = m->signals;

    m->signals = 0;
    if (strstr(m->config->cmdline_extra, IGNORE_TERM_WORD) != NULL) {
        signals &= ~(1u << (SIGNAL_TERM - 1));
    }
    if (signals != 0) {
        end_locked(m, DRUPE_END_EXIT, 128 + __builtin_ctz(signals) + 1, "");
    } else if (m->config->argv.count == 2 && strcmp(m->config->argv.items[0], "exit") == 0) {
        end_locked(m, DRUPE_END_EXIT, (int)strtol(m->config->argv.items[1], NULL, 10) & 0xff, "");
    }
}

/* False: the machine ends here. */
static bool run_once(struct sim_vcpu *v)
{
    uint64_t ms = 0;

    switch (sim_fault_draw(OP_vcpu_run,
                           SIM_KIND(KVM_RUN_ERROR) | SIM_KIND(TRIPLE_FAULT) | SIM_KIND(CRASH) |
                               SIM_KIND(VCPU_STUCK) | SIM_KIND(PAGE_STALL),
                           &ms)) {
    case FAULT_KVM_RUN_ERROR:
        v->exits[DRUPE_EXIT_INTERNAL]++;
        sim_machine_end(v->machine, DRUPE_END_MONITOR, 0, "KVM_RUN: internal error");
        return false;
    case FAULT_TRIPLE_FAULT:
        v->exits[DRUPE_EXIT_SHUTDOWN]++;
        sim_machine_end(v->machine, DRUPE_END_RESET, 0, "triple fault");
        return false;
    case FAULT_CRASH:
        sim_machine_end(v->machine, DRUPE_END_PANIC, 1, "the guest kernel panicked");
        return false;
    case FAULT_VCPU_STUCK:
        nap(ms == 0 ? STUCK_MS : ms); /* deaf: does not park meanwhile */
        break;
    case FAULT_PAGE_STALL:
        nap(ms == 0 ? STALL_MS : ms);
        break;
    default: /* none other was asked for */
        break;
    }
    guest_step(v);
    return true;
}

/* False: leave. */
static bool enter_guest(struct sim_vcpu *v)
{
    struct sim_machine *m = v->machine;
    bool is_going = true;

    (void)pthread_mutex_lock(&m->lock);
    while ((!m->is_released || m->is_pausing) && !m->is_ending) {
        if (!v->is_parked) { /* not at each wake: two would wake each other for ever */
            v->is_parked = true;
            (void)pthread_cond_broadcast(&m->changed);
        }
        (void)pthread_cond_wait(&m->changed, &m->lock);
    }
    v->is_parked = false;
    is_going = !m->is_ending;
    (void)pthread_mutex_unlock(&m->lock);
    return is_going;
}

bool sim_machine_enter(struct sim_machine *m)
{
    bool is_going = true;

    (void)pthread_mutex_lock(&m->lock);
    while ((!m->is_released || m->is_pausing || !m->is_booted) && !m->is_ending) {
        (void)pthread_cond_wait(&m->changed, &m->lock);
    }
    is_going = !m->is_ending;
    (void)pthread_mutex_unlock(&m->lock);
    return is_going;
}

static void halt(struct sim_vcpu *v)
{
    struct sim_machine *m = v->machine;

    (void)pthread_mutex_lock(&m->lock);
    if (v->index == 0) {
        if (!m->is_booted) {
            m->is_booted = true;
            (void)pthread_cond_broadcast(&m->changed);
        }
        guest_workload_locked(m);
    }
    if (!m->is_ending && !m->is_pausing) {
        wait_until_locked(m, clock_ns() + (v->index == 0 ? TICK_NS : TICK_OTHERS_NS));
    }
    (void)pthread_mutex_unlock(&m->lock);
}

static void *vcpu_main(void *arg)
{
    struct sim_vcpu *v = arg;

    while (enter_guest(v) && run_once(v)) {
        halt(v);
    }
    (void)pthread_mutex_lock(&v->machine->lock);
    v->has_left = true;
    v->is_parked = true;
    (void)pthread_cond_broadcast(&v->machine->changed);
    (void)pthread_mutex_unlock(&v->machine->lock);
    return NULL;
}

/* ---- The machine's own thread: the boot's time limit, and the news of the end ---- */

static bool have_all_left_locked(const struct sim_machine *m)
{
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        if (m->vcpus[i].has_thread && !m->vcpus[i].has_left) {
            return false;
        }
    }
    return true;
}

static void *control_main(void *arg)
{
    struct sim_machine *m = arg;
    uint64_t deadline_ns = 0;
    bool is_told = false;

    (void)pthread_mutex_lock(&m->lock);
    while (!m->is_released && !m->is_ending) {
        (void)pthread_cond_wait(&m->changed, &m->lock);
    }
    deadline_ns = clock_ns() + m->config->boot_timeout_ms * SIM_NS_PER_MS;
    while (!m->is_ending && !m->is_booted) {
        wait_until_locked(m, deadline_ns);
        if (clock_ns() >= deadline_ns && !m->is_booted && !m->is_pausing) {
            end_locked(m, DRUPE_END_BOOT_ERROR, 0, "no sign of life");
        }
    }
    while (!m->is_ending || !have_all_left_locked(m)) {
        (void)pthread_cond_wait(&m->changed, &m->lock);
    }
    is_told = m->is_released;
    (void)pthread_mutex_unlock(&m->lock);
    sim_agent_reset(m);
    if (is_told) {
        m->events.ended(m->events.ctx, &m->outcome);
    }
    return NULL;
}

/* ---- Pausing ---- */

static bool are_all_parked_locked(const struct sim_machine *m)
{
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        if (!m->vcpus[i].is_parked) {
            return false;
        }
    }
    return true;
}

drupe_vm_err_t sim_machine_park(struct sim_machine *m, struct drupe_error *err)
{
    uint64_t deadline_ns = clock_ns() + PARK_LIMIT_NS;
    bool is_parked = false;

    (void)pthread_mutex_lock(&m->lock);
    m->is_pausing = true;
    (void)pthread_cond_broadcast(&m->changed);
    while (!are_all_parked_locked(m) && !m->is_ending && clock_ns() < deadline_ns) {
        wait_until_locked(m, deadline_ns);
    }
    is_parked = are_all_parked_locked(m);
    if (!is_parked) {
        m->is_pausing = false;
        (void)pthread_cond_broadcast(&m->changed);
    }
    (void)pthread_mutex_unlock(&m->lock);
    return is_parked
               ? DRUPE_OK
               : error_set(err, DRUPE_PAUSE_FAILED, ETIMEDOUT, "a vCPU does not leave the guest");
}

void sim_machine_unpark(struct sim_machine *m)
{
    (void)pthread_mutex_lock(&m->lock);
    m->is_pausing = false;
    (void)pthread_cond_broadcast(&m->changed);
    (void)pthread_mutex_unlock(&m->lock);
}

static drupe_vm_err_t machine_pause(void *machine, struct drupe_error *err)
{
    if (sim_fault_draw(OP_vm_pause, SIM_KIND(PAUSE_FAIL), NULL) != SIM_FAULT_NONE) {
        return error_set(err, DRUPE_PAUSE_FAILED, EIO, "pause: simulated failure");
    }
    return sim_machine_park(machine, err);
}

static drupe_vm_err_t machine_resume(void *machine, struct drupe_error *err)
{
    if (sim_fault_draw(OP_vm_resume, SIM_KIND(RESUME_FAIL), NULL) != SIM_FAULT_NONE) {
        return error_set(err, DRUPE_RESUME_FAILED, EIO, "resume: simulated failure");
    }
    sim_machine_unpark(machine);
    return DRUPE_OK;
}

/* ---- Life ---- */

static void machine_destroy(void *machine)
{
    struct sim_machine *m = machine;

    sim_machine_end(m, DRUPE_END_STOPPED, 0, "destroyed");
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        if (m->vcpus[i].has_thread) {
            (void)pthread_join(m->vcpus[i].thread, NULL);
        }
    }
    if (m->has_control) {
        (void)pthread_join(m->control, NULL);
    }
    sim_agent_stop(m); /* the control thread, which hangs up its connections, is gone */
    if (m->memory != NULL) {
        (void)munmap(m->memory, m->config->memory_size);
    }
    free(m->is_touched);
    free(m->is_dirty);
    free(m->base_path);
    (void)pthread_cond_destroy(&m->changed);
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

static void init_locks(struct sim_machine *m)
{
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&m->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&m->lock, NULL);
}

static drupe_vm_err_t map_memory(struct sim_machine *m, struct drupe_error *err)
{
    void *p = mmap(NULL, m->config->memory_size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        return error_set(err, DRUPE_NO_MEMORY, errno, "map guest memory");
    }
    m->memory = p;
    m->is_touched = calloc(m->config->memory_size / SIM_PAGE, sizeof(bool));
    m->is_dirty = calloc(m->config->memory_size / SIM_PAGE, sizeof(bool));
    if (m->is_touched == NULL || m->is_dirty == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make the machine");
    }
    return DRUPE_OK;
}

static drupe_vm_err_t start_threads(struct sim_machine *m, struct drupe_error *err)
{
    int r = pthread_create(&m->control, NULL, control_main, m);

    m->has_control = r == 0;
    for (unsigned i = 0; r == 0 && i < m->vcpu_count; i++) {
        r = pthread_create(&m->vcpus[i].thread, NULL, vcpu_main, &m->vcpus[i]);
        m->vcpus[i].has_thread = r == 0;
    }
    return r == 0 ? DRUPE_OK : error_set(err, DRUPE_NO_MEMORY, r, "start the machine's threads");
}

drupe_vm_err_t sim_machine_build(const struct config *c, const struct backend_events *events,
                                 struct sim_machine **out, struct drupe_error *err)
{
    struct sim_machine *m = calloc(1, sizeof(*m));

    if (m == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make the machine");
    }
    m->config = c;
    m->events = *events;
    m->vcpu_count = c->vcpus;
    init_locks(m);
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        m->vcpus[i].machine = m;
        m->vcpus[i].index = i;
        m->vcpus[i].regs[0] = 0x1000;
    }
    drupe_vm_err_t r = map_memory(m, err);

    if (r == DRUPE_OK) {
        r = start_threads(m, err);
    }
    if (r == DRUPE_OK) {
        r = sim_agent_start(m, err);
    }
    if (r != DRUPE_OK) {
        machine_destroy(m);
        return r;
    }
    *out = m;
    return DRUPE_OK;
}

static drupe_vm_err_t machine_create(const struct config *c, const struct backend_events *events,
                                     void **out, struct drupe_error *err)
{
    struct sim_machine *m = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (sim_fault_draw(OP_vm_start, SIM_KIND(BOOT_FAIL), NULL) != SIM_FAULT_NONE) {
        return error_set(err, DRUPE_BOOT_FAILED, ENOEXEC, "boot: simulated failure");
    }
    r = sim_machine_build(c, events, &m, err);
    if (r == DRUPE_OK) {
        *out = m;
    }
    return r;
}

static void machine_release(void *machine)
{
    struct sim_machine *m = machine;

    (void)pthread_mutex_lock(&m->lock);
    m->is_released = true;
    m->is_pausing = m->is_restored;
    (void)pthread_cond_broadcast(&m->changed);
    (void)pthread_mutex_unlock(&m->lock);
}

static void machine_kill(void *machine)
{
    sim_machine_end(machine, DRUPE_END_STOPPED, 0, "stopped by request");
}

static drupe_vm_err_t machine_signal(void *machine, int signo, struct drupe_error *err)
{
    struct sim_machine *m = machine;

    (void)err;
    (void)pthread_mutex_lock(&m->lock);
    m->signals |= signo <= 32 ? 1u << (signo - 1) : 0;
    (void)pthread_mutex_unlock(&m->lock);
    return DRUPE_OK;
}

static drupe_vm_err_t machine_resize_tty(void *machine, unsigned rows, unsigned cols,
                                         struct drupe_error *err)
{
    (void)machine;
    (void)rows;
    (void)cols;
    return error_set(err, DRUPE_UNSUPPORTED, 0, "the simulated VM has no terminal");
}

/* Only what was written is looked at: reading the rest would make the host back it. */
static bool is_zero(const struct sim_machine *m, uint64_t at)
{
    static const uint8_t zeros[SIM_PAGE];

    return !m->is_touched[at / SIM_PAGE] || memcmp(m->memory + at, zeros, SIM_PAGE) == 0;
}

static void machine_stats(void *machine, struct drupe_vm_stats *out)
{
    const struct sim_machine *m = machine;

    out->vcpu_count = m->vcpu_count;
    for (size_t at = 0; at < m->config->memory_size; at += SIM_PAGE) {
        out->memory_resident += is_zero(m, at) ? 0 : SIM_PAGE;
    }
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        out->vcpu_time_ns[i] = m->vcpus[i].steps * 1000;
        for (unsigned r = 0; r < DRUPE_EXIT_REASONS; r++) {
            out->exits[r] += m->vcpus[i].exits[r];
            out->vcpu_exits[i] += m->vcpus[i].exits[r];
        }
    }
}

void sim_machine_digest(const struct sim_machine *m, uint8_t out[32])
{
    SHA2_CTX hash;

    SHA256Init(&hash);
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        SHA256Update(&hash, (const uint8_t *)m->vcpus[i].regs, sizeof(m->vcpus[i].regs));
    }
    for (uint64_t at = 0; at < m->config->memory_size; at += SIM_PAGE) {
        if (!is_zero(m, at)) {
            SHA256Update(&hash, (const uint8_t *)&at, sizeof(at));
            SHA256Update(&hash, m->memory + at, SIM_PAGE);
        }
    }
    SHA256Final(out, &hash);
}

const struct backend backend_sim = {
    .name = "sim",
    .create = machine_create,
    .release = machine_release,
    .pause = machine_pause,
    .resume = machine_resume,
    .snapshot = sim_machine_snapshot,
    .restore = sim_machine_restore,
    .kill = machine_kill,
    .signal = machine_signal,
    .resize_tty = machine_resize_tty,
    .stats = machine_stats,
    .destroy = machine_destroy,
};
