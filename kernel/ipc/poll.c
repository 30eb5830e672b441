// SPDX-License-Identifier: Apache-2.0
/*
 * poll(2) and select(2): ask each file once, registering on its queues until the first one that is
 * ready; then sleep, and ask again without registering. The files stay referenced while we are on
 * their queues.
 */
#include <ipc/poll.h>

#include <core/string.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <mm/slab.h>
#include <proc/process.h>
#include <proc/signal_internal.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/time_user.h>
#include <syscall/uaccess.h>

#define ENTRIES_INLINE 6u
#define ENTRIES_CHUNK  32u
#define FDS_INLINE     16u

/* What always counts, asked for or not. */
#define POLL_ALWAYS (POLLERR | POLLHUP | POLLNVAL)

struct poll_entry {
    struct wait_entry wait;
    struct file *file; /* counted */
};

struct poll_chunk {
    struct poll_chunk *next;
    unsigned count;
    struct poll_entry entries[ENTRIES_CHUNK];
};

/* One call's presence on all the queues. On the stack of the caller. */
struct poller {
    struct poll_table table;
    struct waiter sleep;
    unsigned count;
    struct poll_entry entries[ENTRIES_INLINE];
    struct poll_chunk *chunks;
    bool is_out_of_memory;
};

static bool poller_wake(struct wait_entry *e, uint32_t events)
{
    (void)events;
    wait_wake(e->ctx);
    return true;
}

static struct poll_entry *new_entry(struct poller *p)
{
    struct poll_chunk *c = p->chunks;

    if (p->count < ENTRIES_INLINE) {
        return &p->entries[p->count++];
    }
    if (!c || c->count == ENTRIES_CHUNK) {
        c = kmalloc(sizeof(*c), GFP_KERNEL);
        if (!c) {
            p->is_out_of_memory = true;
            return NULL;
        }
        c->next = p->chunks;
        c->count = 0;
        p->chunks = c;
    }
    return &c->entries[c->count++];
}

static void poller_add(struct poll_table *pt, struct file *f, struct wait_queue *q)
{
    struct poller *p = container_of(pt, struct poller, table);
    struct poll_entry *e = new_entry(p);

    if (!e) {
        return;
    }
    e->file = file_get(f);
    e->wait = (struct wait_entry){
        .wake = poller_wake,
        .events = pt->events | POLLERR | POLLHUP,
        .ctx = &p->sleep,
    };
    wait_entry_add(q, &e->wait);
}

static void poller_begin(struct poller *p, uint64_t deadline)
{
    p->table.add = deadline == 0 ? NULL : poller_add;
    p->table.events = 0;
    p->count = 0;
    p->chunks = NULL;
    p->is_out_of_memory = false;
    wait_begin(&p->sleep, WAIT_INTERRUPTIBLE, deadline);
}

static void leave(struct poll_entry *e)
{
    wait_entry_remove(&e->wait);
    file_put(e->file);
}

static void poller_end(struct poller *p)
{
    for (unsigned i = 0; i < p->count; i++) {
        leave(&p->entries[i]);
    }
    while (p->chunks) {
        struct poll_chunk *c = p->chunks;

        for (unsigned i = 0; i < c->count; i++) {
            leave(&c->entries[i]);
        }
        p->chunks = c->next;
        kfree(c);
    }
}

/* What of `wanted` holds for fd now. Registers while the table has an add. */
static uint32_t ask(struct poller *p, int fd, uint32_t wanted)
{
    struct file *f = fd_get(fd);
    uint32_t events;

    if (!f) {
        return POLLNVAL;
    }
    p->table.events = wanted;
    events = f->ops->poll(f, &p->table) & (wanted | POLLERR | POLLHUP);
    file_put(f);
    return events;
}

/*
 * Sleep and ask until something is ready, a signal came, or the time is over. `ask_all` counts what
 * is ready, or -errno. Readiness counts before the signal, and that before the deadline.
 */
static int poll_loop(struct poller *p, uint64_t deadline,
                     int (*ask_all)(struct poller *p, void *ctx), void *ctx)
{
    int err = deadline == 0 ? -ETIMEDOUT : 0;
    int ready;

    for (;;) {
        ready = ask_all(p, ctx);
        p->table.add = NULL; /* registered, or not needed any more */
        if (ready == 0 && p->is_out_of_memory) {
            ready = -ENOMEM;
        }
        if (ready != 0 || err != 0) {
            break;
        }
        current->wait_reason = "poll";
        err = wait_sleep(&p->sleep);
        current->wait_reason = NULL;
    }
    if (ready != 0) {
        return ready;
    }
    return err == -ETIMEDOUT ? 0 : err;
}

/* --- poll
 * -------------------------------------------------------------------------------------------- */

struct user_pollfd {
    int32_t fd;
    uint16_t events;
    uint16_t revents;
};

struct pollfds {
    struct user_pollfd *fds;
    unsigned count;
};

static int ask_pollfds(struct poller *p, void *ctx)
{
    struct pollfds *all = ctx;
    int ready = 0;

    for (unsigned i = 0; i < all->count; i++) {
        struct user_pollfd *u = &all->fds[i];

        u->revents = u->fd < 0 ? 0 : (uint16_t)ask(p, u->fd, u->events);
        if (u->revents) {
            ready++;
            p->table.add = NULL; /* we will not sleep */
        }
    }
    return ready;
}

static long do_poll(struct user_pollfd __user *to, unsigned count, uint64_t deadline)
{
    struct user_pollfd inline_fds[FDS_INLINE];
    struct pollfds all = { inline_fds, count };
    struct poller p;
    long result;

    if (count > limit_of(RLIMIT_NOFILE)) {
        return -EINVAL;
    }
    if (count > FDS_INLINE) {
        all.fds = kmalloc_array(count, sizeof(*all.fds), GFP_KERNEL);
        if (!all.fds) {
            return -ENOMEM;
        }
    }
    if (copy_from_user(all.fds, to, count * sizeof(*all.fds)) < 0) {
        result = -EFAULT;
    } else {
        poller_begin(&p, deadline);
        result = poll_loop(&p, deadline, ask_pollfds, &all);
        poller_end(&p);
        for (unsigned i = 0; i < count && result >= 0; i++) {
            if (copy_to_user(&to[i].revents, &all.fds[i].revents, sizeof(to[i].revents)) < 0) {
                result = -EFAULT;
            }
        }
    }
    if (all.fds != inline_fds) {
        kfree(all.fds);
    }
    return result;
}

static long poll_restartable(struct restart_block *r, uint64_t fds, unsigned count,
                             uint64_t deadline);

static long poll_again(struct restart_block *r)
{
    return poll_restartable(r, r->arg[0], (unsigned)r->arg[1], r->deadline_ns);
}

static long poll_restartable(struct restart_block *r, uint64_t fds, unsigned count,
                             uint64_t deadline)
{
    long result = do_poll((struct user_pollfd __user *)fds, count, deadline);

    if (result != -ERESTARTSYS) {
        return result;
    }
    r->again = poll_again;
    r->arg[0] = fds;
    r->arg[1] = count;
    r->deadline_ns = deadline;
    return -ERESTART_RESTARTBLOCK;
}

long sys_poll(void __user *fds, unsigned count, int timeout_ms)
{
    uint64_t deadline = TIME_FOREVER;

    if (timeout_ms >= 0) {
        deadline = timeout_ms ? deadline_after((uint64_t)timeout_ms * NSEC_PER_MSEC) : 0;
    }
    return poll_restartable(&current->restart, (uint64_t)fds, count, deadline);
}

/* --- a wait's own timeout and mask
 * ------------------------------------------------------------------ */

/* Deadline 0: do not sleep. */
static int optional_deadline(const void __user *timeout, uint64_t *deadline)
{
    uint64_t ns;
    int err;

    *deadline = TIME_FOREVER;
    if (!timeout) {
        return 0;
    }
    err = time_from_user(&ns, timeout);
    if (err == 0) {
        *deadline = ns ? deadline_after(ns) : 0;
    }
    return err;
}

int wait_mask_begin(const void __user *mask, size_t size)
{
    uint64_t set;

    if (!mask) {
        return 0;
    }
    if (size != SIGNAL_SET_BYTES) {
        return -EINVAL;
    }
    if (get_user64(&set, mask) < 0) {
        return -EFAULT;
    }
    signal_borrow_mask(set);
    return 1;
}

long wait_mask_end(int was_borrowed, long result)
{
    if (was_borrowed) {
        signal_return_mask(result == -ERESTARTSYS);
    }
    return result == -ERESTARTSYS ? -ERESTARTNOHAND : result;
}

/* Linux tells what is left of the timeout; a place that cannot be written is no error. */
static void tell_time_left(void __user *to, uint64_t deadline)
{
    uint64_t now = clock_monotonic_ns();

    if (to && deadline != TIME_FOREVER &&
        time_to_user(to, deadline > now ? deadline - now : 0) < 0) {
        return;
    }
}

long sys_ppoll(void __user *fds, unsigned count, void __user *timeout, void __user *mask,
               size_t size)
{
    uint64_t deadline;
    int borrowed;
    long result = optional_deadline(timeout, &deadline);

    if (result < 0) {
        return result;
    }
    borrowed = wait_mask_begin(mask, size);
    if (borrowed < 0) {
        return borrowed;
    }
    result = wait_mask_end(borrowed, do_poll(fds, count, deadline));
    tell_time_left(timeout, deadline);
    return result;
}

/* --- select
 * ------------------------------------------------------------------------------------------- */

#define SELECT_IN  (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR)
#define SELECT_OUT (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR)
#define SELECT_EX  POLLPRI

#define SETS           3u
#define WORDS_INLINE   4u /* 256 descriptors without an allocation */
#define SELECT_FDS_MAX (1u << 20)

struct fd_sets {
    unsigned count;     /* descriptors */
    unsigned words;     /* of each set */
    uint64_t *asked;    /* SETS * words */
    uint64_t *answered; /* the same */
};

static const uint32_t select_events[SETS] = { SELECT_IN, SELECT_OUT, SELECT_EX };

static int ask_sets(struct poller *p, void *ctx)
{
    struct fd_sets *s = ctx;
    int ready = 0;

    memset(s->answered, 0, sizeof(uint64_t) * SETS * s->words);
    for (unsigned fd = 0; fd < s->count; fd++) {
        unsigned word = fd / 64;
        uint64_t bit = UINT64_C(1) << (fd % 64);
        uint32_t wanted = 0;
        uint32_t events;

        if (fd % 64 == 0 &&
            !(s->asked[word] | s->asked[s->words + word] | s->asked[2 * s->words + word])) {
            fd += 63;
            continue;
        }
        for (unsigned i = 0; i < SETS; i++) {
            wanted |= s->asked[i * s->words + word] & bit ? select_events[i] : 0;
        }
        if (!wanted) {
            continue;
        }
        events = ask(p, (int)fd, wanted);
        if (events & POLLNVAL) {
            return -EBADF;
        }
        for (unsigned i = 0; i < SETS; i++) {
            if ((s->asked[i * s->words + word] & bit) && (events & select_events[i])) {
                s->answered[i * s->words + word] |= bit;
                ready++;
                p->table.add = NULL;
            }
        }
    }
    return ready;
}

/* All three sets are written on every success (spec R-EV-6). */
static int copy_sets(uint64_t *bits, void __user *const user[SETS], const struct fd_sets *s,
                     bool is_out)
{
    size_t size = (size_t)s->words * sizeof(uint64_t);

    for (unsigned i = 0; i < SETS; i++) {
        uint64_t *set = bits + (size_t)i * s->words;

        if (user[i] &&
            (is_out ? copy_to_user(user[i], set, size) : copy_from_user(set, user[i], size)) < 0) {
            return -EFAULT;
        }
    }
    return 0;
}

static long select_sets(struct fd_sets *s, void __user *const user[SETS], uint64_t deadline)
{
    struct poller p;
    long result;

    memset(s->asked, 0, sizeof(uint64_t) * SETS * s->words);
    if (copy_sets(s->asked, user, s, false) < 0) {
        return -EFAULT;
    }
    poller_begin(&p, deadline);
    result = poll_loop(&p, deadline, ask_sets, s);
    poller_end(&p);
    if (result >= 0 && copy_sets(s->answered, user, s, true) < 0) {
        result = -EFAULT;
    }
    return result;
}

static long do_select(int count, void __user *const user[SETS], uint64_t deadline)
{
    uint64_t inline_words[2 * SETS * WORDS_INLINE];
    struct fd_sets s;
    uint64_t *words = inline_words;
    long result;

    if (count < 0) {
        return -EINVAL;
    }
    s.count = min_of((unsigned)count, SELECT_FDS_MAX);
    s.words = div_ceil(s.count, 64u);
    if (s.words > WORDS_INLINE) {
        words = kmalloc_array(2 * (size_t)SETS * s.words, sizeof(*words), GFP_KERNEL);
        if (!words) {
            return -ENOMEM;
        }
    }
    s.asked = words;
    s.answered = words + (size_t)SETS * s.words;
    result = select_sets(&s, user, deadline);
    if (words != inline_words) {
        kfree(words);
    }
    return result;
}

struct user_timeval {
    int64_t sec;
    int64_t usec;
};

long sys_select(int count, void __user *in, void __user *out, void __user *ex, void __user *timeout)
{
    void __user *const user[SETS] = { in, out, ex };
    uint64_t deadline = TIME_FOREVER;
    struct user_timeval tv;
    long result;

    if (timeout) {
        if (copy_from_user(&tv, timeout, sizeof(tv)) < 0) {
            return -EFAULT;
        }
        if (tv.sec < 0 || tv.usec < 0) {
            return -EINVAL;
        }
        /* Microseconds above a million are carried over, as on Linux. */
        tv.sec = min_of(tv.sec, (int64_t)(UINT64_MAX / NSEC_PER_SEC / 4));
        tv.usec = min_of(tv.usec, INT64_MAX / 1000 / 4);
        deadline = (uint64_t)tv.sec * NSEC_PER_SEC + (uint64_t)tv.usec * 1000;
        deadline = deadline ? deadline_after(deadline) : 0;
    }
    result = do_select(count, user, deadline);
    if (timeout && deadline != TIME_FOREVER) {
        uint64_t now = clock_monotonic_ns();
        uint64_t left = deadline > now ? deadline - now : 0;

        tv.sec = (int64_t)(left / NSEC_PER_SEC);
        tv.usec = (int64_t)(left % NSEC_PER_SEC / 1000);
        if (copy_to_user(timeout, &tv, sizeof(tv)) < 0) {
            return result; /* as Linux: the answer counts, not this courtesy */
        }
    }
    return result == -ERESTARTSYS ? -ERESTARTNOHAND : result;
}

long sys_pselect6(int count, void __user *in, void __user *out, void __user *ex,
                  void __user *timeout, void __user *mask_argument)
{
    void __user *const user[SETS] = { in, out, ex };
    uint64_t mask[2] = { 0, 0 }; /* address, size: the sixth register holds both */
    uint64_t deadline;
    int borrowed;
    long result;

    if (mask_argument && copy_from_user(mask, mask_argument, sizeof(mask)) < 0) {
        return -EFAULT;
    }
    result = optional_deadline(timeout, &deadline);
    if (result < 0) {
        return result;
    }
    borrowed = wait_mask_begin((void __user *)mask[0], mask[1]);
    if (borrowed < 0) {
        return borrowed;
    }
    result = wait_mask_end(borrowed, do_select(count, user, deadline));
    tell_time_left(timeout, deadline);
    return result;
}
