/* SPDX-License-Identifier: Apache-2.0 */
/* lona.time (6.8). */
#include "native.h"
#include "number/number.h"
#include "sched/sched.h"
#include "vm_state.h"

static uint64_t mono_ns(struct process *p)
{
    const struct platform *pf = &process_vm(p)->platform;

    return pf->mono_ns(pf->self);
}

static term_t monotonic_time(struct process *p, term_t *args, unsigned argc)
{
    (void)args;
    (void)argc;
    return integer_from_u64(p, mono_ns(p));
}

static term_t system_time(struct process *p, term_t *args, unsigned argc)
{
    (void)args;
    (void)argc;
    const struct platform *pf = &process_vm(p)->platform;

    return integer_from_i64(p, pf->wall_ns(pf->self));
}

#define MS_MAX ((uint64_t)1 << 50)

/* Called again after every wake-up; a signal or message in between does not shorten it. */
static term_t sleep(struct process *p, term_t *args, unsigned argc)
{
    uint64_t ms;

    if ((p->flags & PROCESS_SLEEPING) != 0) {
        if ((p->flags & PROCESS_TIMED_OUT) == 0) {
            return TERM_WAIT;
        }
        p->flags &= (uint8_t) ~(PROCESS_SLEEPING | PROCESS_TIMED_OUT);
        return KW(ok);
    }
    if (!arg_size(args[0], MS_MAX, &ms)) {
        return raise_badarg(p, "sleep", args, argc);
    }
    p->wait_number++;
    p->flags &= (uint8_t)~PROCESS_TIMED_OUT;
    if (ms == 0) {
        return KW(ok);
    }
    if (!timer_arm_wait(p, mono_ns(p) + ms * 1000000)) {
        return TERM_ERROR;
    }
    p->flags |= PROCESS_SLEEPING;
    return TERM_WAIT;
}

static term_t send_after(struct process *p, term_t *args, unsigned argc)
{
    uint64_t ms;
    uint64_t ref;

    if (!arg_size(args[0], MS_MAX, &ms) || !term_has_tag(args[1], TAG_PID)) {
        return raise_badarg(p, "send-after", args, argc);
    }
    if (!heap_reserve(p, REF_WORDS) ||
        !timer_send_after(p, mono_ns(p) + ms * 1000000, term_pid_raw(args[1]), args[2], &ref)) {
        return TERM_ERROR;
    }
    return heap_word_box(p, TAG_REF, 0, ref);
}

static term_t cancel_timer(struct process *p, term_t *args, unsigned argc)
{
    if (!term_has_tag(args[0], TAG_REF)) {
        return raise_badarg(p, "cancel-timer", args, argc);
    }
    int64_t left = timer_cancel_ref(process_vm(p), p->worker, term_ptr(args[0])[1]);

    return left < 0 ? TERM_FALSE : term_small((left + 999999) / 1000000);
}

static const struct native rows[] = {
    { "lona.time", "monotonic-time", monotonic_time, 0, 0, NATIVE_ALLOCATES, 3, "()",
      "Nanoseconds, never decreasing." },
    { "lona.time", "system-time", system_time, 0, 0, NATIVE_ALLOCATES, 3, "()",
      "Nanoseconds since 1970-01-01 UTC." },
    { "lona.time", "sleep", sleep, 1, 1, NATIVE_YIELDS | NATIVE_ALLOCATES, 10, "(ms)",
      "Wait at least ms milliseconds; :ok." },
    { "lona.time", "send-after", send_after, 3, 3, NATIVE_ALLOCATES, 10, "(ms pid msg)",
      "Send msg in ms milliseconds; a ref." },
    { "lona.time", "cancel-timer", cancel_timer, 1, 1, 0, 10, "(ref)",
      "Milliseconds that were left, or false." },
};

const struct native_table native_time = { rows, array_size(rows) };
