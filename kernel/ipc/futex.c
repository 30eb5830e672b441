// SPDX-License-Identifier: Apache-2.0
/*
 * Futexes. A key names the word: (address space, address) for private memory, (object, offset) for
 * shared. Comparing the value and joining the queue are one critical section of the key's bucket; a
 * waiter knows the bucket that it is in at each moment (requeueing moves it), and leaves only
 * through that bucket's lock, so that nobody wakes what is gone.
 */
#include <ipc/futex.h>

#include <mm/mm.h>
#include <proc/process.h>
#include <proc/signal.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/time_user.h>
#include <syscall/uaccess.h>

#define FUTEX_WAIT           0
#define FUTEX_WAKE           1
#define FUTEX_REQUEUE        3
#define FUTEX_CMP_REQUEUE    4
#define FUTEX_WAKE_OP        5
#define FUTEX_WAIT_BITSET    9
#define FUTEX_WAKE_BITSET    10
#define FUTEX_PRIVATE_FLAG   128
#define FUTEX_CLOCK_REALTIME 256
#define FUTEX_MATCH_ANY      UINT32_MAX

#define FUTEX_WAITERS    0x80000000u
#define FUTEX_OWNER_DIED 0x40000000u
#define FUTEX_TID_MASK   0x3fffffffu

#define ROBUST_LIST_MAX 2048u
#define BUCKETS         256u

struct futex_key {
    const void *object; /* struct mm or struct mapping; compared, never followed */
    uint64_t offset;
};

struct bucket {
    struct spinlock lock;
    struct list waiters;
};

struct futex_waiter {
    struct list link;
    struct futex_key key;
    uint32_t bitset;
    bool is_queued;                  /* under the bucket's lock */
    _Atomic(struct bucket *) bucket; /* changes under both buckets' locks */
    struct waiter sleep;
};

/* Ready from the start: making 256 lists would cost every machine that ends a thread. */
#define BUCKET(i)     [i] = { SPINLOCK_INIT(RANK_FUTEX), LIST_INIT(buckets[i].waiters) }
#define BUCKETS_4(i)  BUCKET(i), BUCKET((i) + 1), BUCKET((i) + 2), BUCKET((i) + 3)
#define BUCKETS_16(i) BUCKETS_4(i), BUCKETS_4((i) + 4), BUCKETS_4((i) + 8), BUCKETS_4((i) + 12)
#define BUCKETS_64(i)                                                                              \
    BUCKETS_16(i), BUCKETS_16((i) + 16), BUCKETS_16((i) + 32), BUCKETS_16((i) + 48)

static struct bucket buckets[BUCKETS] = { BUCKETS_64(0), BUCKETS_64(64), BUCKETS_64(128),
                                          BUCKETS_64(192) };

static struct bucket *bucket_of(const struct futex_key *key)
{
    uint64_t hash = ((uintptr_t)key->object >> 4) * UINT64_C(0x9e3779b97f4a7c15);

    hash = (hash ^ (key->offset >> 2)) * UINT64_C(0x9e3779b97f4a7c15);
    return &buckets[hash >> 56];
}

static_assert(BUCKETS == 256, "bucket_of() takes eight bits");

static int get_key(const void __user *word, bool is_private, struct futex_key *key)
{
    struct mm *mm = current->mm;
    struct mapping *mapping = NULL;
    uint64_t addr = (uint64_t)word;
    int err;

    if (addr % 4) {
        return -EINVAL;
    }
    if (addr >= USER_MAX) {
        return -EFAULT;
    }
    *key = (struct futex_key){ mm, addr };
    if (is_private) {
        return 0;
    }
    err = mm_futex_key(mm, addr, &mapping, &key->offset);
    if (err < 0) {
        return err;
    }
    if (mapping) {
        key->object = mapping;
    } else {
        key->offset = addr;
    }
    return 0;
}

static bool is_same(const struct futex_key *a, const struct futex_key *b)
{
    return a->object == b->object && a->offset == b->offset;
}

/* --- waking
 * --------------------------------------------------------------------------------------- */

static void wake_waiter_locked(struct futex_waiter *w)
{
    list_remove(&w->link);
    w->is_queued = false;
    wait_wake(&w->sleep);
}

static int wake_bucket_locked(struct bucket *b, const struct futex_key *key, int count,
                              uint32_t bitset)
{
    struct futex_waiter *w = NULL;
    struct futex_waiter *next = NULL;
    int woken = 0;

    list_for_each_entry_safe(w, next, &b->waiters, link) {
        if (woken >= count) {
            break;
        }
        if (is_same(&w->key, key) && (w->bitset & bitset)) {
            wake_waiter_locked(w);
            woken++;
        }
    }
    return woken;
}

static long futex_wake(void __user *word, bool is_private, int count, uint32_t bitset)
{
    struct futex_key key;
    struct bucket *b;
    long woken = get_key(word, is_private, &key);

    if (woken < 0) {
        return woken;
    }
    if (!bitset) {
        return -EINVAL;
    }
    b = bucket_of(&key);
    spin_lock(&b->lock);
    woken = wake_bucket_locked(b, &key, max_of(count, 1), bitset);
    spin_unlock(&b->lock);
    return woken;
}

long futex_wake_word(void __user *word, int count)
{
    return futex_wake(word, false, count, FUTEX_MATCH_ANY);
}

/* --- waiting
 * -------------------------------------------------------------------------------------- */

/* Lock the bucket that w is in; it may be moved while we try. */
static struct bucket *lock_bucket_of(struct futex_waiter *w)
{
    for (;;) {
        /* acquire: pairs with the release in move_waiter_locked(). */
        struct bucket *b = atomic_load_explicit(&w->bucket, memory_order_acquire);

        spin_lock(&b->lock);
        if (b == atomic_load_explicit(&w->bucket, memory_order_relaxed)) {
            return b;
        }
        spin_unlock(&b->lock);
    }
}

/* Queue w if *word is still `value`. 0, -EAGAIN (it is not), -EFAULT. */
static int enqueue_if_equal(struct futex_waiter *w, const void __user *word, uint32_t value)
{
    struct bucket *b = bucket_of(&w->key);

    for (;;) {
        uint32_t now;
        int err;

        spin_lock(&b->lock);
        err = get_user32_nofault(&now, word);
        if (err == 0) {
            if (now == value) {
                atomic_store_explicit(&w->bucket, b, memory_order_relaxed); /* under the lock */
                w->is_queued = true;
                list_push_back(&b->waiters, &w->link);
            }
            spin_unlock(&b->lock);
            return now == value ? 0 : -EAGAIN;
        }
        spin_unlock(&b->lock);
        if (get_user32(&now, word) < 0) {
            return -EFAULT;
        }
    }
}

static bool leave_queue(struct futex_waiter *w)
{
    struct bucket *b = lock_bucket_of(w);
    bool was_queued = w->is_queued;

    if (was_queued) {
        list_remove(&w->link);
        w->is_queued = false;
    }
    spin_unlock(&b->lock);
    return was_queued;
}

static bool is_still_queued(const struct futex_waiter *w)
{
    /* A hint for the loop: leave_queue() decides under the lock. */
    return *(const volatile bool *)&w->is_queued;
}

static long futex_wait(void __user *word, bool is_private, uint32_t value, uint64_t deadline,
                       uint32_t bitset)
{
    struct futex_waiter w = { .bitset = bitset };
    int err;

    if (!bitset) {
        return -EINVAL;
    }
    err = get_key(word, is_private, &w.key);
    if (err < 0) {
        return err;
    }
    wait_begin(&w.sleep, WAIT_INTERRUPTIBLE, deadline);
    err = enqueue_if_equal(&w, word, value);
    if (err < 0) {
        return err;
    }
    current->wait_reason = "futex";
    do {
        err = wait_sleep(&w.sleep);
    } while (err == 0 && is_still_queued(&w));
    current->wait_reason = NULL;
    /* Woken counts before a signal or the deadline (spec R-IO-3). */
    return leave_queue(&w) ? err : 0;
}

static long wait_again(struct restart_block *r);

static long futex_wait_restartable(void __user *word, int flags, uint32_t value, uint64_t deadline,
                                   uint32_t bitset)
{
    struct restart_block *r = &current->restart;
    long err = futex_wait(word, (flags & FUTEX_PRIVATE_FLAG) != 0, value, deadline, bitset);

    if (err != -ERESTARTSYS || deadline == TIME_FOREVER) {
        return err;
    }
    r->again = wait_again;
    r->arg[0] = (uint64_t)word;
    r->arg[1] = (uint32_t)flags;
    r->arg[2] = value;
    r->arg[3] = bitset;
    r->deadline_ns = deadline;
    return -ERESTART_RESTARTBLOCK;
}

static long wait_again(struct restart_block *r)
{
    return futex_wait_restartable((void __user *)r->arg[0], (int)r->arg[1], (uint32_t)r->arg[2],
                                  r->deadline_ns, (uint32_t)r->arg[3]);
}

/* --- requeueing, and the operation on two words
 * ----------------------------------------------------- */

static void lock_two(struct bucket *a, struct bucket *b)
{
    if (a == b) {
        spin_lock(&a->lock);
        return;
    }
    spin_lock(a < b ? &a->lock : &b->lock); /* by address: lock_rank.h */
    spin_lock(a < b ? &b->lock : &a->lock);
}

static void unlock_two(struct bucket *a, struct bucket *b)
{
    spin_unlock(&a->lock);
    if (a != b) {
        spin_unlock(&b->lock);
    }
}

static void move_waiter_locked(struct futex_waiter *w, struct bucket *to,
                               const struct futex_key *key)
{
    list_remove(&w->link);
    w->key = *key;
    list_push_back(&to->waiters, &w->link);
    atomic_store_explicit(&w->bucket, to, memory_order_release);
}

static int requeue_locked(struct bucket *from, const struct futex_key *from_key, struct bucket *to,
                          const struct futex_key *to_key, int wake, int move)
{
    struct futex_waiter *w = NULL;
    struct futex_waiter *next = NULL;
    int done = 0;
    struct list moved;

    list_init(&moved);
    list_for_each_entry_safe(w, next, &from->waiters, link) {
        if (!is_same(&w->key, from_key)) {
            continue;
        }
        if (done < wake) {
            wake_waiter_locked(w);
        } else if (done - wake < move) {
            list_remove(&w->link); /* aside: `to` may be the very list that we go through */
            list_push_back(&moved, &w->link);
        } else {
            break;
        }
        done++;
    }
    list_for_each_entry_safe(w, next, &moved, link) {
        move_waiter_locked(w, to, to_key);
    }
    return done;
}

/* expected NULL: FUTEX_REQUEUE, without comparing. */
static long futex_requeue(void __user *word, void __user *word2, bool is_private, int wake,
                          int move, const uint32_t *expected)
{
    struct futex_key key;
    struct futex_key key2;
    struct bucket *b;
    struct bucket *b2;
    long result;

    if (wake < 0 || move < 0) {
        return -EINVAL;
    }
    result = get_key(word, is_private, &key);
    result = result < 0 ? result : get_key(word2, is_private, &key2);
    if (result < 0) {
        return result;
    }
    b = bucket_of(&key);
    b2 = bucket_of(&key2);
    for (;;) {
        uint32_t now = 0;

        lock_two(b, b2);
        if (!expected || get_user32_nofault(&now, word) == 0) {
            result = expected && now != *expected ? -EAGAIN
                                                  : requeue_locked(b, &key, b2, &key2, wake, move);
            unlock_two(b, b2);
            return result;
        }
        unlock_two(b, b2);
        if (get_user32(&now, word) < 0) {
            return -EFAULT;
        }
    }
}

struct wake_op { /* the fields of FUTEX_WAKE_OP's encoded argument */
    unsigned op, cmp;
    int32_t op_arg, cmp_arg;
};

static int decode_wake_op(uint32_t encoded, struct wake_op *o)
{
    o->op = encoded >> 28 & 7;
    o->cmp = encoded >> 24 & 15;
    o->op_arg = (int32_t)(encoded << 8) >> 20; /* twelve bits, signed */
    o->cmp_arg = (int32_t)(encoded << 20) >> 20;
    if (encoded >> 31) { /* FUTEX_OP_ARG_SHIFT */
        o->op_arg = (int32_t)(1u << ((uint32_t)o->op_arg & 31));
    }
    return o->op > 4 || o->cmp > 5 ? -ENOSYS : 0;
}

static uint32_t apply_op(const struct wake_op *o, uint32_t old)
{
    uint32_t arg = (uint32_t)o->op_arg;

    switch (o->op) {
    case 0:
        return arg;
    case 1:
        return old + arg;
    case 2:
        return old | arg;
    case 3:
        return old & ~arg;
    default:
        return old ^ arg;
    }
}

static bool compare_op(const struct wake_op *o, int32_t old)
{
    switch (o->cmp) {
    case 0:
        return old == o->cmp_arg;
    case 1:
        return old != o->cmp_arg;
    case 2:
        return old < o->cmp_arg;
    case 3:
        return old <= o->cmp_arg;
    case 4:
        return old > o->cmp_arg;
    default:
        return old >= o->cmp_arg;
    }
}

/* Replace the word at once by what the operation makes of it; *old what was there. */
static int exchange_nofault(void __user *word, const struct wake_op *o, uint32_t *old)
{
    uint32_t seen;

    if (get_user32_nofault(&seen, word) < 0) {
        return -EFAULT;
    }
    do {
        *old = seen;
        if (cmpxchg_user32_nofault(word, *old, apply_op(o, *old), &seen) < 0) {
            return -EFAULT;
        }
    } while (seen != *old);
    return 0;
}

/* Make the word writable for the nofault forms: serve the fault that a write of it takes. */
static int touch_for_write(const void __user *word)
{
    int signal;
    int code;
    int err;

    do {
        err = mm_fault(current->mm, (uint64_t)word, FAULT_WRITE | FAULT_USER, &signal, &code);
    } while (err == -EAGAIN);
    return err == 0 ? 0 : -EFAULT;
}

static long futex_wake_op(void __user *word, void __user *word2, bool is_private, int wake,
                          int wake2, uint32_t encoded)
{
    struct wake_op op;
    struct futex_key key;
    struct futex_key key2;
    struct bucket *b;
    struct bucket *b2;
    uint32_t old;
    long result = decode_wake_op(encoded, &op);

    result = result < 0 ? result : get_key(word, is_private, &key);
    result = result < 0 ? result : get_key(word2, is_private, &key2);
    if (result < 0) {
        return result;
    }
    b = bucket_of(&key);
    b2 = bucket_of(&key2);
    for (;;) {
        lock_two(b, b2);
        if (exchange_nofault(word2, &op, &old) == 0) {
            break;
        }
        unlock_two(b, b2);
        if (touch_for_write(word2) < 0) {
            return -EFAULT;
        }
    }
    result = wake_bucket_locked(b, &key, wake, FUTEX_MATCH_ANY);
    if (compare_op(&op, (int32_t)old)) {
        result += wake_bucket_locked(b2, &key2, wake2, FUTEX_MATCH_ANY);
    }
    unlock_two(b, b2);
    return result;
}

/* --- the call
 * --------------------------------------------------------------------------------------- */

/* FUTEX_WAIT counts from now, FUTEX_WAIT_BITSET is absolute on the clock that the flag selects. */
static int wait_deadline(const void __user *timeout, int op, uint64_t *deadline)
{
    uint64_t ns;
    int err;

    *deadline = TIME_FOREVER;
    if (!timeout) {
        return 0;
    }
    err = time_from_user(&ns, timeout);
    if (err < 0) {
        return err;
    }
    if ((op & 127) == FUTEX_WAIT) {
        *deadline = deadline_after(ns);
    } else if (op & FUTEX_CLOCK_REALTIME) {
        uint64_t now = clock_realtime_ns();

        *deadline = deadline_after(ns > now ? ns - now : 0);
    } else {
        *deadline = ns;
    }
    return 0;
}

long sys_futex(void __user *word, int op, unsigned value, void __user *timeout, void __user *word2,
               unsigned value3)
{
    bool is_private = (op & FUTEX_PRIVATE_FLAG) != 0;
    int value2 = (int)(uintptr_t)timeout; /* the same register for operations without timeout */
    int command = op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
    uint64_t deadline;
    int err;

    if ((op & FUTEX_CLOCK_REALTIME) && command != FUTEX_WAIT_BITSET && command != FUTEX_WAIT) {
        return -ENOSYS;
    }
    switch (command) {
    case FUTEX_WAIT:
        value3 = FUTEX_MATCH_ANY;
        __attribute__((fallthrough));
    case FUTEX_WAIT_BITSET:
        err = wait_deadline(timeout, op, &deadline);
        return err < 0 ? err : futex_wait_restartable(word, op, value, deadline, value3);
    case FUTEX_WAKE:
        return futex_wake(word, is_private, (int)value, FUTEX_MATCH_ANY);
    case FUTEX_WAKE_BITSET:
        return futex_wake(word, is_private, (int)value, value3);
    case FUTEX_REQUEUE:
        return futex_requeue(word, word2, is_private, (int)value, value2, NULL);
    case FUTEX_CMP_REQUEUE:
        return futex_requeue(word, word2, is_private, (int)value, value2, &value3);
    case FUTEX_WAKE_OP:
        return futex_wake_op(word, word2, is_private, (int)value, value2, value3);
    default:
        return -ENOSYS;
    }
}

/* --- robust lists
 * ------------------------------------------------------------------------------------ */

#define ROBUST_HEAD_SIZE 24u

long sys_set_robust_list(void __user *head, size_t size)
{
    if (size != ROBUST_HEAD_SIZE) {
        return -EINVAL;
    }
    current->robust_list = (uint64_t)head;
    return 0;
}

long sys_get_robust_list(int pid, void __user *head, void __user *size)
{
    struct task *t = pid == 0 ? task_get(current) : task_find(pid);
    uint64_t list;
    bool is_own;

    if (!t) {
        return -ESRCH;
    }
    is_own = t->process == current->process || current->cred->euid == 0;
    list = t->robust_list;
    task_put(t);
    if (!is_own) {
        return -EPERM;
    }
    if (put_user64(ROBUST_HEAD_SIZE, size) < 0) {
        return -EFAULT;
    }
    return put_user64(list, head);
}

/* Mark a lock that its dying owner holds, and let one waiter have it. */
static void owner_died(uint64_t address, bool is_pending)
{
    void __user *word = (void __user *)address;
    uint32_t tid = (uint32_t)current->tid;
    uint32_t value;
    uint32_t seen;

    if (address % 4 || get_user32(&value, word) < 0) {
        return;
    }
    for (;;) {
        if ((value & FUTEX_TID_MASK) != tid) {
            /* Between taking it off and unlocking: somebody may sleep on a free lock. */
            if (is_pending && value == 0) {
                (void)futex_wake_word(word, 1);
            }
            return;
        }
        if (cmpxchg_user32_nofault(word, value, (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED, &seen) <
            0) {
            if (touch_for_write(word) < 0) {
                return;
            }
            continue;
        }
        if (seen == value) {
            break;
        }
        value = seen;
    }
    if (value & FUTEX_WAITERS) {
        (void)futex_wake_word(word, 1);
    }
}

void futex_exit_robust_list(void)
{
    struct task *self = current;
    uint64_t head = self->robust_list;
    uint64_t words[3]; /* first entry, offset of the word from an entry, pending entry */
    uint64_t entry;

    self->robust_list = 0;
    if (!head || copy_from_user(words, (void __user *)head, sizeof(words)) < 0) {
        return;
    }
    entry = words[0];
    for (unsigned n = 0; n < ROBUST_LIST_MAX && (entry & ~UINT64_C(1)) != head; n++) {
        uint64_t at = entry & ~UINT64_C(1); /* bit 0: a PI lock, which we do not have */
        uint64_t next;
        int err = get_user64(&next, (void __user *)at);

        if (at != (words[2] & ~UINT64_C(1))) {
            owner_died(at + words[1], false);
        }
        if (err < 0) {
            return;
        }
        entry = next;
    }
    if (words[2] & ~UINT64_C(1)) {
        owner_died((words[2] & ~UINT64_C(1)) + words[1], true);
    }
}
