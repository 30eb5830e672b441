/* SPDX-License-Identifier: Apache-2.0 */
#include "kvm/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/clock.h>
#include <base/fmt.h>

#include "error.h"
#include "jail/filter.h"
#include "snapshot/describe.h"

#define KVM_VERSION            12
#define LOOP_THREAD_STACK_SIZE (64u << 10)
#define DRAIN_LOOK_MS          2

/* ---- Ending ---- */

/* Under the lock: destroy takes it before it joins, so that no thread is kicked that is no more. */
void machine_kick_all_locked(struct machine *m)
{
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        if (!(m->vcpus[i].has_thread && pthread_equal(m->vcpus[i].thread, pthread_self()))) {
            vcpu_kick(&m->vcpus[i]);
        }
    }
}

void machine_end(struct machine *m, enum drupe_end_kind kind, int status, const char *format, ...)
{
    (void)pthread_mutex_lock(&m->lock);
    if (!m->has_outcome) {
        va_list args;

        m->has_outcome = true;
        m->outcome.kind = kind;
        m->outcome.status = status;
        va_start(args, format);
        (void)fmt_vsnprintf(m->outcome.text, sizeof(m->outcome.text), format, args);
        va_end(args);
        m->is_gate_open = true;
        atomic_store(&m->is_ending, true);
        (void)pthread_cond_broadcast(&m->gate);
        (void)pthread_cond_broadcast(&m->parked);
        machine_kick_all_locked(m);
    }
    (void)pthread_mutex_unlock(&m->lock);
}

void machine_wait_gate(struct machine *m)
{
    (void)pthread_mutex_lock(&m->lock);
    while (!m->is_gate_open) {
        (void)pthread_cond_wait(&m->gate, &m->lock);
    }
    (void)pthread_mutex_unlock(&m->lock);
}

/*
 * The guest is done, but somebody reads its output slowly: the loop thread goes on writing; this
 * one has nothing else to do and looks now and then.
 */
static void wait_drained(struct machine *m)
{
    while (!machine_is_drained(m) && !atomic_load(&m->is_killed)) {
        (void)poll(NULL, 0, DRAIN_LOOK_MS); /* a call that a vCPU thread makes anyway */
    }
}

void machine_vcpu_left(struct machine *m)
{
    bool is_reported = false;

    /* acq_rel: the last one out sees what the others did. */
    if (atomic_fetch_sub_explicit(&m->vcpus_inside, 1, memory_order_acq_rel) != 1) {
        return;
    }
    (void)pthread_mutex_lock(&m->lock);
    is_reported = m->is_released;
    assert(m->has_outcome);
    (void)pthread_mutex_unlock(&m->lock);
    if (is_reported) {
        uart_flush(&m->uart);
        wait_drained(m);
        machine_hang_up_vsock(m);
        m->events.ended(m->events.ctx, &m->outcome);
    }
}

static void boot_deadline(void *ctx)
{
    struct machine *m = ctx;

    if (!atomic_load_explicit(&m->is_alive, memory_order_relaxed)) {
        machine_end(m, DRUPE_END_BOOT_ERROR, 0, "the guest touched no device within %u ms",
                    m->config->boot_timeout_ms);
    }
}

/* ---- Building ---- */

static void kick_handler(int signo)
{
    (void)signo; /* its arrival ends KVM_RUN */
}

static drupe_vm_err_t install_kick_handler(struct drupe_error *err)
{
    struct sigaction action = { .sa_handler = kick_handler };

    (void)sigemptyset(&action.sa_mask);
    if (sigaction(SIGRTMIN, &action, NULL) < 0) {
        return error_set(err, DRUPE_INTERNAL, errno, "install the signal handler");
    }
    return DRUPE_OK;
}

static drupe_vm_err_t open_kvm(struct machine *m, struct drupe_error *err)
{
    int run_size = 0;

    m->kvm_fd = m->config->kvm_fd >= 0 ? fcntl(m->config->kvm_fd, F_DUPFD_CLOEXEC, 3)
                                       : open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (m->kvm_fd < 0) {
        return error_set(err, DRUPE_UNAVAILABLE, errno, "open /dev/kvm");
    }
    if (ioctl(m->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_VERSION) {
        return error_set(err, DRUPE_UNAVAILABLE, 0, "/dev/kvm does not speak version %d",
                         KVM_VERSION);
    }
    run_size = ioctl(m->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < (int)sizeof(struct kvm_run)) {
        return error_set(err, DRUPE_UNAVAILABLE, 0, "/dev/kvm answers with a vCPU size of %d",
                         run_size);
    }
    m->run_size = (size_t)run_size;
    do {
        m->vm_fd = ioctl(m->kvm_fd, KVM_CREATE_VM, 0);
    } while (m->vm_fd < 0 && errno == EINTR);
    if (m->vm_fd < 0) {
        return error_set(err, errno == ENOMEM ? DRUPE_NO_MEMORY : DRUPE_UNAVAILABLE, errno,
                         "make a KVM machine");
    }
    return DRUPE_OK;
}

static void *loop_main(void *arg)
{
    struct machine *m = arg;
    const int r = filter_install(DRUPE_JAIL_THREAD_LOOP);

    if (r < 0) {
        machine_end(m, DRUPE_END_MONITOR, 0, "jail: seccomp: confine the loop thread: %s",
                    strerrorname_np(-r));
    }
    loop_run(&m->loop);
    return NULL;
}

static drupe_vm_err_t start_loop_thread(struct machine *m, struct drupe_error *err)
{
    pthread_attr_t attr;
    int r = 0;

    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, LOOP_THREAD_STACK_SIZE);
    r = pthread_create(&m->loop_thread, &attr, loop_main, m);
    (void)pthread_attr_destroy(&attr);
    if (r != 0) {
        return error_set(err, DRUPE_NO_MEMORY, r, "start the event loop");
    }
    m->has_loop_thread = true;
    return DRUPE_OK;
}

/* Our threads take no signal of the embedder's; only the kick. */
static drupe_vm_err_t start_threads(struct machine *m, struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;
    sigset_t ours;
    sigset_t before;

    (void)sigfillset(&ours);
    (void)sigdelset(&ours, SIGRTMIN);
    (void)pthread_sigmask(SIG_SETMASK, &ours, &before);
    r = start_loop_thread(m, err);
    for (unsigned i = 0; r == DRUPE_OK && i < m->vcpu_count; i++) {
        atomic_fetch_add(&m->vcpus_inside, 1);
        r = vcpu_start_thread(&m->vcpus[i], err);
        if (r != DRUPE_OK) {
            atomic_fetch_sub(&m->vcpus_inside, 1);
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

/*
 * Where ring 0 is interpreted, ring 3 runs natively and reads the host's time counter. Without an
 * offset the interpreter's counter is the same one, and programs can read clocks by themselves.
 */
static void share_counter(struct machine *m)
{
    char names[256];

    arch_host_describe(m->kvm_fd, &m->shares_counter, names, sizeof(names));
    for (unsigned i = 0; m->shares_counter && i < m->vcpu_count; i++) {
        m->shares_counter = arch_vcpu_share_counter(&m->vcpus[i]);
    }
}

static drupe_vm_err_t create_vcpus(struct machine *m, struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    m->vcpus = calloc(m->config->vcpus, sizeof(*m->vcpus));
    if (m->vcpus == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make the vCPUs");
    }
    m->vcpu_count = m->config->vcpus;
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        m->vcpus[i].fd = -1;
    }
    for (unsigned i = 0; r == DRUPE_OK && i < m->vcpu_count; i++) {
        r = vcpu_create(m, i, err);
    }
    return r;
}

static drupe_vm_err_t init_loop(struct machine *m, struct drupe_error *err)
{
    int r = loop_init(&m->loop);

    if (r < 0) {
        return error_set(err, DRUPE_NO_MEMORY, -r, "make the event loop");
    }
    m->has_loop = true;
    return DRUPE_OK;
}

static drupe_vm_err_t load_kernel(struct machine *m, struct drupe_error *err)
{
    struct machine_boot boot;
    drupe_vm_err_t r = DRUPE_OK;

    for (unsigned i = 0; r == DRUPE_OK && i < m->vcpu_count; i++) {
        r = arch_vcpu_init(&m->vcpus[i], err);
    }
    if (r == DRUPE_OK) {
        share_counter(m);
        r = machine_boot_write(m, arch_vcpu_tsc_khz(&m->vcpus[0]), &boot, err);
    }
    return r == DRUPE_OK ? arch_vcpu_set_entry(&m->vcpus[0], &boot, err) : r;
}

/* It begins paused, as the machine stood that its state will be taken from. */
static void stand_still(struct machine *m)
{
    loop_begin_paused(&m->loop);
    m->is_quiesced = true;
    atomic_store(&m->is_pausing, true);
    atomic_store(&m->is_alive, true); /* the guest's boot is behind it */
}

/* `snapshot` is taken, whatever comes of it; after a failure the machine can only be destroyed. */
static drupe_vm_err_t load_snapshot(struct machine *m, struct snapshot_file *snapshot,
                                    struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    m->snapshot = snapshot;
    machine_restored_from(m, snapshot);
    r = machine_memory_load(m, err);
    if (r == DRUPE_OK) {
        share_counter(m);
        r = arch_state_load(m, &snapshot->state, err);
    }
    if (r == DRUPE_OK) {
        r = machine_devices_load(m, &snapshot->state, err);
    }
    if (r == DRUPE_OK) {
        machine_reset_vsock(m);
    }
    return r;
}

/*
 * All that depends on neither a kernel nor a snapshot. The order is that of docs: memory slots
 * before the irqchip, vCPUs last.
 */
static drupe_vm_err_t build(struct machine *m, struct drupe_error *err)
{
    drupe_vm_err_t r = open_kvm(m, err);

    if (r == DRUPE_OK) {
        r = arch_memory_prepare(m, err);
    }
    if (r == DRUPE_OK) {
        r = machine_memory_init(m, err);
    }
    if (r == DRUPE_OK) {
        r = arch_irqchip_create(m, err);
    }
    if (r == DRUPE_OK) {
        r = init_loop(m, err);
    }
    if (r == DRUPE_OK) {
        r = machine_devices_init(m, err);
    }
    if (r == DRUPE_OK) {
        r = create_vcpus(m, err);
    }
    return r == DRUPE_OK ? install_kick_handler(err) : r;
}

/* ---- The backend ---- */

static void machine_join(struct machine *m)
{
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        if (m->vcpus[i].has_thread) {
            (void)pthread_join(m->vcpus[i].thread, NULL);
            m->vcpus[i].has_thread = false;
        }
    }
    if (m->has_loop_thread) {
        loop_stop(&m->loop);
        (void)pthread_join(m->loop_thread, NULL);
        m->has_loop_thread = false;
    }
}

static void kvm_destroy(void *machine)
{
    struct machine *m = machine;

    atomic_store(&m->is_killed, true);
    machine_end(m, DRUPE_END_STOPPED, 0, "destroyed");
    machine_join(m);
    machine_devices_deinit(m);
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        vcpu_destroy(&m->vcpus[i]);
    }
    free(m->vcpus);
    if (m->has_loop) {
        loop_deinit(&m->loop);
    }
    if (m->vm_fd >= 0) {
        (void)close(m->vm_fd);
    }
    if (m->kvm_fd >= 0) {
        (void)close(m->kvm_fd);
    }
    arch_irqchip_destroy(m);
    machine_memory_deinit(m);
    snapshot_close(m->snapshot);
    free(m->base_path);
    log_deinit(&m->log);
    (void)pthread_cond_destroy(&m->parked);
    (void)pthread_cond_destroy(&m->gate);
    (void)pthread_mutex_destroy(&m->control);
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

static void init_locks(struct machine *m)
{
    pthread_condattr_t attr;

    (void)pthread_mutex_init(&m->lock, NULL);
    (void)pthread_mutex_init(&m->control, NULL);
    (void)pthread_cond_init(&m->gate, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&m->parked, &attr);
    (void)pthread_condattr_destroy(&attr);
}

/* Built, and no more. */
static drupe_vm_err_t make(const struct config *c, const struct backend_events *events,
                           struct machine **out, struct drupe_error *err)
{
    struct machine *m = calloc(1, sizeof(*m));
    drupe_vm_err_t r = DRUPE_OK;

    if (m == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make the machine");
    }
    m->config = c;
    m->events = *events;
    m->kvm_fd = -1;
    m->handler_uffd = -1;
    m->vm_fd = -1;
    m->pid = getpid();
    log_init(&m->log, c->log, c->log_ctx);
    init_locks(m);
    r = build(m, err);
    if (r != DRUPE_OK) {
        kvm_destroy(m);
        return r;
    }
    *out = m;
    return DRUPE_OK;
}

static drupe_vm_err_t kvm_create(const struct config *c, const struct backend_events *events,
                                 void **out, struct drupe_error *err)
{
    struct machine *m = NULL;
    drupe_vm_err_t r = make(c, events, &m, err);

    if (r != DRUPE_OK) {
        return r;
    }
    assert(m != NULL);
    r = load_kernel(m, err);
    if (r == DRUPE_OK) {
        r = start_threads(m, err);
    }
    if (r != DRUPE_OK) {
        kvm_destroy(m);
        return r;
    }
    *out = m;
    return DRUPE_OK;
}

/* On success the snapshot's owner is the caller. */
static drupe_vm_err_t open_snapshot(const struct config *c,
                                    const struct drupe_restore_options *options,
                                    struct snapshot_file **out, struct drupe_error *err)
{
    drupe_vm_err_t r = snapshot_open(options, out, err);

    if (r != DRUPE_OK) {
        return r;
    }
    if ((*out)->state.header->arch != arch_snapshot_id()) {
        r = error_set(err, DRUPE_ARCH_MISMATCH, 0, "the snapshot is of another architecture");
    }
    if (r == DRUPE_OK) {
        r = describe_check(*out, c, options->is_clone, err);
    }
    if (r == DRUPE_OK && !options->is_memory_trusted && options->memory_handler == NULL) {
        r = snapshot_verify_memory(*out, err);
    }
    if (r != DRUPE_OK) {
        snapshot_close(*out);
    }
    return r;
}

static drupe_vm_err_t kvm_restore(const struct config *c, const struct backend_events *events,
                                  const struct drupe_restore_options *options, void **out,
                                  struct drupe_error *err)
{
    struct snapshot_file *snapshot = NULL;
    struct machine *m = NULL;
    drupe_vm_err_t r = open_snapshot(c, options, &snapshot, err);

    if (r != DRUPE_OK) {
        return r;
    }
    r = make(c, events, &m, err);
    if (r != DRUPE_OK) {
        snapshot_close(snapshot);
        return r;
    }
    assert(m != NULL);
    stand_still(m);
    r = load_snapshot(m, snapshot, err);
    if (r == DRUPE_OK) {
        r = start_threads(m, err);
    }
    if (r != DRUPE_OK) {
        kvm_destroy(m);
        return r;
    }
    *out = m;
    return DRUPE_OK;
}

/* Its threads wait at the gate from here on; what is loaded later, is loaded past them. */
static drupe_vm_err_t kvm_make_ahead(const struct config *c, const struct backend_events *events,
                                     void **out, struct drupe_error *err)
{
    struct machine *m = NULL;
    drupe_vm_err_t r = make(c, events, &m, err);

    if (r != DRUPE_OK) {
        return r;
    }
    assert(m != NULL);
    stand_still(m);
    r = start_threads(m, err);
    if (r != DRUPE_OK) {
        kvm_destroy(m);
        return r;
    }
    *out = m;
    return DRUPE_OK;
}

static drupe_vm_err_t kvm_load(void *machine, const struct drupe_restore_options *options,
                               struct drupe_error *err)
{
    struct machine *m = machine;
    struct snapshot_file *snapshot = NULL;
    drupe_vm_err_t r = open_snapshot(m->config, options, &snapshot, err);

    return r == DRUPE_OK ? load_snapshot(m, snapshot, err) : r;
}

static void kvm_set_streams(void *machine, const struct drupe_vm_streams *streams)
{
    struct machine *m = machine;

    (void)pthread_mutex_lock(&m->control);
    assert(m->is_quiesced);
    machine_devices_set_streams(m, streams);
    (void)pthread_mutex_unlock(&m->control);
}

static void kvm_release(void *machine)
{
    struct machine *m = machine;

    boot_timer_start(&m->boot_timer);
    loop_set_deadline(&m->loop, m->config->boot_timeout_ms * NS_PER_MS, boot_deadline, m);
    (void)pthread_mutex_lock(&m->lock);
    m->released_ns = clock_ns();
    m->is_released = true;
    m->is_gate_open = true;
    (void)pthread_cond_broadcast(&m->gate);
    (void)pthread_mutex_unlock(&m->lock);
}

static void kvm_kill(void *machine)
{
    struct machine *m = machine;

    atomic_store(&m->is_killed, true);
    machine_end(m, DRUPE_END_STOPPED, 0, "stopped by request");
}

static uint64_t vcpu_time(const struct vcpu *v)
{
    clockid_t clock = 0;
    uint64_t time_ns = 0;

    if (atomic_load(&v->has_left) || pthread_getcpuclockid(v->thread, &clock) != 0) {
        return atomic_load(&v->time_ns);
    }
    /* 0: it has left since, and said before how long it took. */
    time_ns = clock_ns_of(clock);
    return time_ns != 0 ? time_ns : atomic_load(&v->time_ns);
}

static void kvm_stats(void *machine, struct drupe_vm_stats *out)
{
    const struct machine *m = machine;

    out->memory_resident = machine_memory_resident(m);
    machine_net_stats(m, out);
    out->vcpu_count = m->vcpu_count;
    out->entered_ns = atomic_load_explicit(&m->vcpus[0].entered_ns, memory_order_relaxed);
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        out->vcpu_time_ns[i] = vcpu_time(&m->vcpus[i]);
        for (unsigned reason = 0; reason < DRUPE_EXIT_REASONS; reason++) {
            uint64_t n = atomic_load_explicit(&m->vcpus[i].exits[reason], memory_order_relaxed);

            out->exits[reason] += n;
            out->vcpu_exits[i] += n;
        }
    }
}

static drupe_vm_err_t kvm_update_disk(void *machine, unsigned index, int fd,
                                      const struct drupe_rate_limit *limit, struct drupe_error *err)
{
    return machine_update_disk(machine, index, fd, limit, err);
}

static void kvm_update_net(void *machine, unsigned index, const struct drupe_rate_limit *rx,
                           const struct drupe_rate_limit *tx)
{
    machine_update_net(machine, index, rx, tx);
}

static drupe_vm_err_t kvm_ctrl_alt_del(void *machine, struct drupe_error *err)
{
    struct machine *m = machine;

    if (!i8042_ctrl_alt_del(&m->i8042)) {
        return error_set(err, DRUPE_BUSY, 0, "the guest does not read its keyboard");
    }
    return DRUPE_OK;
}

const struct backend backend_kvm = {
    .name = "kvm",
    .create = kvm_create,
    .release = kvm_release,
    .pause = machine_pause,
    .resume = machine_resume,
    .snapshot = machine_snapshot,
    .snapshot_last = machine_snapshot_last,
    .restore = kvm_restore,
    .make_ahead = kvm_make_ahead,
    .load = kvm_load,
    .set_streams = kvm_set_streams,
    .record_working_set = machine_record_working_set,
    .kill = kvm_kill,
    .signal = machine_signal,
    .resize_tty = machine_resize_tty,
    .update_disk = kvm_update_disk,
    .update_net = kvm_update_net,
    .set_balloon = kvm_set_balloon,
    .set_balloon_interval = kvm_set_balloon_interval,
    .balloon_stats = kvm_balloon_stats,
    .ctrl_alt_del = kvm_ctrl_alt_del,
    .stats = kvm_stats,
    .destroy = kvm_destroy,
};
