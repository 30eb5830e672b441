/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pause and resume. In order: vCPUs out of the guest, loop held, disks drained; then nothing but
 * the callers' own threads can reach a device, and those meet is_quiesced.
 */
#include <errno.h>
#include <time.h>

#include <base/clock.h>

#include "error.h"
#include "kvm/machine.h"

#define PAUSE_TIMEOUT_S 5 /* a vCPU inside a call of the host's that does not come back */

void machine_park_vcpu(struct machine *m)
{
    (void)pthread_mutex_lock(&m->lock);
    m->vcpus_parked++;
    (void)pthread_cond_broadcast(&m->parked);
    while (atomic_load(&m->is_pausing) && !atomic_load(&m->is_ending)) {
        (void)pthread_cond_wait(&m->gate, &m->lock);
    }
    m->vcpus_parked--;
    (void)pthread_mutex_unlock(&m->lock);
}

static void let_vcpus_go(struct machine *m)
{
    (void)pthread_mutex_lock(&m->lock);
    atomic_store(&m->is_pausing, false);
    (void)pthread_cond_broadcast(&m->gate);
    (void)pthread_mutex_unlock(&m->lock);
}

/* All vCPUs at the gate. */
static drupe_vm_err_t park_vcpus(struct machine *m, struct drupe_error *err)
{
    const struct timespec until = clock_timespec(clock_ns() + PAUSE_TIMEOUT_S * NS_PER_S);
    bool is_parked = false;
    bool is_ended = false;
    int r = 0;

    (void)pthread_mutex_lock(&m->lock);
    atomic_store(&m->is_pausing, true);
    machine_kick_all_locked(m);
    while (r == 0 && !m->has_outcome && m->vcpus_parked < m->vcpu_count) {
        r = pthread_cond_timedwait(&m->parked, &m->lock, &until);
    }
    is_ended = m->has_outcome;
    is_parked = m->vcpus_parked == m->vcpu_count;
    (void)pthread_mutex_unlock(&m->lock);
    if (is_ended) {
        return error_set(err, DRUPE_NOT_RUNNING, 0, "pause: the guest has ended");
    }
    if (!is_parked) {
        return error_set(err, DRUPE_PAUSE_FAILED, ETIMEDOUT, "a vCPU does not leave the guest");
    }
    return DRUPE_OK;
}

drupe_vm_err_t machine_pause(void *machine, struct drupe_error *err)
{
    struct machine *m = machine;
    drupe_vm_err_t r = park_vcpus(m, err);

    if (r == DRUPE_OK && loop_pause(&m->loop, PAUSE_TIMEOUT_S * NS_PER_S) < 0) {
        r = error_set(err, DRUPE_PAUSE_FAILED, ETIMEDOUT, "a device does not come to rest");
    }
    if (r != DRUPE_OK) {
        let_vcpus_go(m);
        return r;
    }
    arch_clock_stop(m);
    (void)pthread_mutex_lock(&m->control);
    machine_devices_quiesce(m);
    m->is_quiesced = true;
    (void)pthread_mutex_unlock(&m->control);
    return DRUPE_OK;
}

static void apply_resize_locked(struct machine *m)
{
    if (m->has_resize && !m->is_copying) {
        m->has_resize = false;
        (void)machine_resize_console(m, m->resize_rows, m->resize_cols);
    }
}

void machine_set_copying(struct machine *m, bool is_copying)
{
    (void)pthread_mutex_lock(&m->control);
    m->is_copying = is_copying;
    if (!m->is_quiesced) {
        apply_resize_locked(m);
    }
    (void)pthread_mutex_unlock(&m->control);
}

drupe_vm_err_t machine_resume(void *machine, struct drupe_error *err)
{
    struct machine *m = machine;

    (void)err;
    (void)pthread_mutex_lock(&m->control);
    m->is_quiesced = false;
    apply_resize_locked(m);
    (void)pthread_mutex_unlock(&m->control);
    arch_clock_go(m);
    machine_identity_renew(m);
    let_vcpus_go(m); /* somebody waits for the guest; what it asks of the loop waits a moment */
    loop_resume(&m->loop);
    machine_bring_working_set(m); /* beside the guest: its first instruction does not wait */
    return DRUPE_OK;
}

drupe_vm_err_t machine_signal(void *machine, int signo, struct drupe_error *err)
{
    struct machine *m = machine;
    bool is_taken = false;

    (void)pthread_mutex_lock(&m->control);
    is_taken = uart_receive(&m->uart, (uint8_t)signo);
    (void)pthread_mutex_unlock(&m->control);
    if (!is_taken) {
        return error_set(err, DRUPE_BUSY, 0, "the guest does not read its signal line");
    }
    return DRUPE_OK;
}

drupe_vm_err_t machine_resize_tty(void *machine, unsigned rows, unsigned cols,
                                  struct drupe_error *err)
{
    struct machine *m = machine;
    bool has_terminal = m->config->stdio == DRUPE_STDIO_TTY;

    (void)pthread_mutex_lock(&m->control);
    if (m->is_quiesced) {
        m->has_resize = true;
        m->resize_rows = (uint16_t)rows;
        m->resize_cols = (uint16_t)cols;
    } else {
        has_terminal = machine_resize_console(m, rows, cols);
    }
    (void)pthread_mutex_unlock(&m->control);
    if (!has_terminal) {
        return error_set(err, DRUPE_UNSUPPORTED, 0, "the VM has no terminal");
    }
    return DRUPE_OK;
}
