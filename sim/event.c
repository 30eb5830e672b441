/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors that become readable by themselves: timers and signals. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "file.h"
#include "internal.h"
#include "wrap.h"

static uint64_t signals[SIM_PROCS_MAX]; /* pending, bit n - 1 */

void sim_events_init(void)
{
    memset(signals, 0, sizeof(signals));
}

/* ---- Timers ---- */

struct timer {
    struct sim_file file;
    uint64_t next_ns; /* SIM_FOREVER: not armed */
    uint64_t every_ns;
};

static struct timer *timer_of(struct sim_file *f)
{
    return (struct timer *)f;
}

static uint64_t timer_ready_ns(struct sim_file *f)
{
    return timer_of(f)->next_ns;
}

static bool is_due(struct sim_file *f)
{
    return timer_of(f)->next_ns <= sim_now_ns();
}

static ssize_t timer_read(struct sim_file *f, void *to, size_t size, off_t offset)
{
    struct timer *t = timer_of(f);
    uint64_t count = 1;

    (void)offset;
    if (size < sizeof(count) || !is_due(f)) {
        return size < sizeof(count) ? -EINVAL : -EAGAIN;
    }
    if (t->every_ns == 0) {
        t->next_ns = SIM_FOREVER;
    } else {
        count += (sim_now_ns() - t->next_ns) / t->every_ns;
        t->next_ns += count * t->every_ns;
    }
    memcpy(to, &count, sizeof(count));
    return sizeof(count);
}

static short timer_poll(struct sim_file *f)
{
    return is_due(f) ? POLLIN : 0;
}

static void timer_close(struct sim_file *f)
{
    sim_free(f);
}

static const struct sim_file_ops timer_ops = { .kind = "timer",
                                               .read = timer_read,
                                               .poll = timer_poll,
                                               .ready_ns = timer_ready_ns,
                                               .close = timer_close };

WRAP(int, timerfd_create)(int clock, int flags)
{
    struct timer *t = NULL;

    sim_step();
    if (clock != CLOCK_MONOTONIC) {
        return (int)sim_result_of(-EINVAL);
    }
    t = sim_calloc(1, sizeof(*t));
    t->file = (struct sim_file){ .ops = &timer_ops,
                                 .refs = 1,
                                 .flags = (flags & TFD_NONBLOCK) != 0 ? O_NONBLOCK : 0 };
    t->next_ns = SIM_FOREVER;
    return (int)sim_result_of(sim_fd_install(&t->file));
}

static uint64_t ns_of(const struct timespec *t)
{
    return (uint64_t)t->tv_sec * SIM_NS_PER_SEC + (uint64_t)t->tv_nsec;
}

WRAP(int, timerfd_settime)

(int fd, int flags, const struct itimerspec *value, struct itimerspec *old)
{
    struct sim_file *f = sim_fd_get(fd);

    sim_step();
    if (f == NULL || f->ops != &timer_ops || flags != 0 || old != NULL) {
        return (int)sim_result_of(f == NULL ? -EBADF : -EINVAL);
    }
    timer_of(f)->every_ns = ns_of(&value->it_interval);
    timer_of(f)->next_ns =
        ns_of(&value->it_value) == 0 ? SIM_FOREVER : sim_now_ns() + ns_of(&value->it_value);
    sim_files_changed();
    return 0;
}

/* ---- Signals ---- */

struct signals {
    struct sim_file file;
    unsigned proc;
    uint64_t wanted;
};

static uint64_t pending_of(struct sim_file *f)
{
    const struct signals *s = (struct signals *)f;

    return signals[s->proc] & s->wanted;
}

static ssize_t signals_read(struct sim_file *f, void *to, size_t size, off_t offset)
{
    struct signalfd_siginfo info = { 0 };
    uint64_t pending = pending_of(f);

    (void)offset;
    if (size < sizeof(info) || pending == 0) {
        return size < sizeof(info) ? -EINVAL : -EAGAIN;
    }
    info.ssi_signo = (uint32_t)__builtin_ctzll(pending) + 1;
    signals[((struct signals *)f)->proc] &= ~(UINT64_C(1) << (info.ssi_signo - 1));
    memcpy(to, &info, sizeof(info));
    return sizeof(info);
}

static short signals_poll(struct sim_file *f)
{
    return pending_of(f) != 0 ? POLLIN : 0;
}

static const struct sim_file_ops signals_ops = {
    .kind = "signals", .read = signals_read, .poll = signals_poll, .close = timer_close
};

WRAP(int, signalfd)(int fd, const sigset_t *mask, int flags)
{
    struct signals *s = NULL;

    sim_step();
    if (fd != -1) {
        return (int)sim_result_of(-EINVAL);
    }
    s = sim_calloc(1, sizeof(*s));
    s->file = (struct sim_file){ .ops = &signals_ops,
                                 .refs = 1,
                                 .flags = (flags & SFD_NONBLOCK) != 0 ? O_NONBLOCK : 0 };
    s->proc = sim_proc_current();
    for (int signo = 1; signo < 32; signo++) {
        s->wanted |= sigismember(mask, signo) == 1 ? UINT64_C(1) << (signo - 1) : 0;
    }
    return (int)sim_result_of(sim_fd_install(&s->file));
}

void sim_signal_raise(unsigned proc, int signo)
{
    signals[proc] |= UINT64_C(1) << (signo - 1);
    sim_files_changed();
}
