/* SPDX-License-Identifier: Apache-2.0 */
#include "jail/filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/fmt.h>

#include "error.h"
#include "jail/filter_table.h"

#if defined(__x86_64__)
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#endif

/* Calls that are compared one after the other once the search has come to them. */
#define LEAF_CALLS 4u
#define CALLS_MAX  192u

/*
 * ---- Compiling ----
 *
 * A search tree over the calls' numbers: the kernel runs each new filter once for every number that
 * there is, to learn which are allowed whatever their arguments, and that is what taking a filter
 * in costs. After that only the calls whose arguments are looked at are still asked.
 */

struct assembler {
    struct sock_filter *code;
    size_t size;
    size_t pending[FILTER_SIZE_MAX]; /* jumps that wait for their leaf's RET ALLOW */
    size_t pending_count;
    unsigned thread; /* the rows' bits that count */
    uint32_t denied;
};

/* One of the calls that the list has. */
struct listed {
    uint32_t number;
    size_t first; /* its first row; filter_rule_count: allowed without one */
};

static void emit(struct assembler *a, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
    assert(a->size < FILTER_SIZE_MAX);
    a->code[a->size++] = (struct sock_filter){ .code = code, .jt = jt, .jf = jf, .k = k };
}

static void emit_load(struct assembler *a, size_t offset)
{
    emit(a, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

/* Equal: allowed. Otherwise go on with the next instruction. */
static void emit_allow_if_equal(struct assembler *a, uint32_t value)
{
    a->pending[a->pending_count++] = a->size;
    emit(a, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, value);
}

static void emit_allow(struct assembler *a)
{
    for (size_t i = 0; i < a->pending_count; i++) {
        const size_t distance = a->size - a->pending[i] - 1;

        assert(distance <= UINT8_MAX);
        a->code[a->pending[i]].jt = (uint8_t)distance;
    }
    a->pending_count = 0;
    emit(a, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
}

static bool is_first_of_call(size_t index, unsigned thread)
{
    for (size_t i = 0; i < index; i++) {
        if (filter_rules[i].number == filter_rules[index].number &&
            (filter_rules[i].threads & thread) != 0) {
            return false;
        }
    }
    return true;
}

/* Compare the argument with what each row of the call allows. */
static void emit_checks(struct assembler *a, size_t first)
{
    const struct filter_rule *loaded = NULL; /* whose whole argument the accumulator holds */

    for (size_t i = first; i < filter_rule_count; i++) {
        const struct filter_rule *row = &filter_rules[i];

        /* A refusal stands behind what allows the same call in some variant, and is void there. */
        if (row->number != filter_rules[first].number || (row->threads & a->thread) == 0 ||
            row->error != 0) {
            continue;
        }
        if (loaded == NULL || loaded->arg != row->arg) {
            /* Little-endian: the low half of the argument comes first. */
            emit_load(a, offsetof(struct seccomp_data, args) + 8 * (size_t)row->arg);
            loaded = row;
        }
        if (row->mask != UINT32_MAX) {
            emit(a, BPF_ALU | BPF_AND | BPF_K, 0, 0, row->mask);
            loaded = NULL;
        }
        emit_allow_if_equal(a, row->value);
    }
}

/* All rows of a call; the accumulator holds a call's number. */
static void emit_call(struct assembler *a, const struct listed *call)
{
    const struct filter_rule *r = &filter_rules[call->first];
    const size_t skip = a->size;

    if (call->first == filter_rule_count || (r->mask == 0 && r->error == 0)) {
        emit_allow_if_equal(a, call->number);
        return;
    }
    emit(a, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, call->number); /* jf: set below */
    if (r->error != 0) {
        emit(a, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | r->error);
    } else {
        emit_checks(a, call->first);
        emit(a, BPF_RET | BPF_K, 0, 0, a->denied);
    }
    assert(a->size - skip - 1 <= UINT8_MAX);
    a->code[skip].jf = (uint8_t)(a->size - skip - 1);
}

static void emit_leaf(struct assembler *a, const struct listed *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        emit_call(a, &calls[i]);
    }
    emit(a, BPF_RET | BPF_K, 0, 0, a->denied);
    emit_allow(a);
}

/*
 * The inner nodes: halve [begin, end) until it is a leaf's worth. The part above waits on a stack,
 * with the jump that leads to it.
 */
static void emit_tree(struct assembler *a, const struct listed *calls, size_t count)
{
    struct {
        size_t begin;
        size_t end;
        size_t jump; /* to be set to where the part begins; 0: none */
    } stack[16] = { { 0, count, 0 } };

    size_t depth = 1;

    while (depth > 0) {
        const size_t begin = stack[depth - 1].begin;
        const size_t end = stack[depth - 1].end;
        const size_t middle = begin + (end - begin) / 2;
        const size_t jump = stack[--depth].jump;

        if (jump != 0) {
            a->code[jump].k = (uint32_t)(a->size - jump - 1);
        }
        if (end - begin <= LEAF_CALLS) {
            emit_leaf(a, calls + begin, end - begin);
            continue;
        }
        /* A conditional jump reaches 255 instructions, an unconditional one any. */
        emit(a, BPF_JMP | BPF_JGE | BPF_K, 0, 1, calls[middle].number);
        assert(depth + 2 <= array_size(stack));
        stack[depth].begin = middle;
        stack[depth].end = end;
        stack[depth++].jump = a->size;
        emit(a, BPF_JMP | BPF_JA, 0, 0, 0);
        stack[depth].begin = begin;
        stack[depth].end = middle;
        stack[depth++].jump = 0;
    }
}

static int compare_listed(const void *a, const void *b)
{
    const uint32_t x = ((const struct listed *)a)->number;
    const uint32_t y = ((const struct listed *)b)->number;

    return (x > y) - (x < y);
}

static size_t list_calls(unsigned thread, bool wants_exit, struct listed out[CALLS_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < filter_rule_count; i++) {
        if ((filter_rules[i].threads & thread) != 0 && is_first_of_call(i, thread)) {
            assert(count < CALLS_MAX);
            out[count++] = (struct listed){ (uint32_t)filter_rules[i].number, i };
            wants_exit = wants_exit && filter_rules[i].number != SYS_exit_group;
        }
    }
    if (wants_exit) {
        assert(count < CALLS_MAX);
        out[count++] = (struct listed){ SYS_exit_group, filter_rule_count };
    }
    qsort(out, count, sizeof(*out), compare_listed);
    return count;
}

static unsigned variant_bits(enum drupe_jail_thread kind, const struct filter_variant *variant)
{
    const bool is_builder = kind == DRUPE_JAIL_THREAD_SETUP || kind == DRUPE_JAIL_THREAD_API;

    if (kind == DRUPE_JAIL_THREAD_VCPU) {
        return variant->has_sync_disks ? FILTER_SYNC_DISKS : 0;
    }
    return variant->has_paths && (is_builder || kind == DRUPE_JAIL_THREAD_LOOP) ? FILTER_OWN_PATHS
                                                                                : 0;
}

size_t filter_compile(enum drupe_jail_thread kind, const struct filter_variant *variant,
                      struct sock_filter out[FILTER_SIZE_MAX])
{
    struct assembler a = {
        .code = out,
        .thread = 1u << kind | variant_bits(kind, variant),
        .denied = variant->on_trap ? SECCOMP_RET_TRAP : SECCOMP_RET_KILL_PROCESS,
    };
    struct listed calls[CALLS_MAX];

    assert(kind < DRUPE_JAIL_THREADS);
    emit_load(&a, offsetof(struct seccomp_data, arch));
    emit(&a, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, FILTER_ARCH);
    emit(&a, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
    emit_load(&a, offsetof(struct seccomp_data, nr));
    emit_tree(&a, calls, list_calls(a.thread, variant->on_trap, calls));
    return a.size;
}

/* ---- This process ---- */

static _Atomic int process_mode = DRUPE_JAIL_FILTER_NONE;
static atomic_bool has_sync_disks;
static atomic_bool has_paths;
static __thread enum drupe_jail_thread thread_kind = DRUPE_JAIL_THREADS;

struct call_name {
    int number;
    const char *name;
};

static const struct call_name call_names[] = {
#define CALL(name) { __NR_##name, #name },
#include "syscall_list.h"
#undef CALL
};

const char *filter_call_name(int number)
{
    for (size_t i = 0; i < array_size(call_names); i++) {
        if (call_names[i].number == number) {
            return call_names[i].name;
        }
    }
    return "?";
}

const char *drupe_jail_thread_name(enum drupe_jail_thread kind)
{
    static const char *const names[] = {
        [DRUPE_JAIL_THREAD_SETUP] = "setup",   [DRUPE_JAIL_THREAD_MAIN] = "main",
        [DRUPE_JAIL_THREAD_LOOP] = "loop",     [DRUPE_JAIL_THREAD_VCPU] = "vcpu",
        [DRUPE_JAIL_THREAD_API] = "api",       [DRUPE_JAIL_THREAD_FILES] = "files",
        [DRUPE_JAIL_THREAD_BROKER] = "broker",
    };

    return (unsigned)kind < array_size(names) ? names[kind] : "?";
}

/* Async-signal-safe; the process ends with the status that Firecracker's clients know. */
static void trap_handler(int signo, siginfo_t *info, void *context)
{
    char line[160];
    size_t length = fmt_snprintf(
        line, sizeof(line), "drupe: seccomp: thread=%s call=%d name=%s is not allowed\n",
        drupe_jail_thread_name(thread_kind), info->si_syscall, filter_call_name(info->si_syscall));

    (void)signo;
    (void)context;
    (void)!write(STDERR_FILENO, line, min_of(length, sizeof(line) - 1));
    _exit(DRUPE_JAIL_SECCOMP_STATUS);
}

void filter_mode_set(enum drupe_jail_filter mode)
{
    struct sigaction action = { .sa_sigaction = trap_handler, .sa_flags = SA_SIGINFO };

    if (mode == DRUPE_JAIL_FILTER_TRAP) {
        (void)sigemptyset(&action.sa_mask);
        (void)sigaction(SIGSYS, &action, NULL);
    }
    /* release: pairs with the acquire in filter_install(); the handler stands by then. */
    atomic_store_explicit(&process_mode, (int)mode, memory_order_release);
}

bool filter_is_on(void)
{
    return atomic_load_explicit(&process_mode, memory_order_acquire) != DRUPE_JAIL_FILTER_NONE;
}

void filter_allow_sync_disks(void)
{
    /* relaxed: the threads that read it are made later. */
    atomic_store_explicit(&has_sync_disks, true, memory_order_relaxed);
}

int filter_install(enum drupe_jail_thread kind)
{
    struct filter_variant variant;
    struct sock_filter code[FILTER_SIZE_MAX];
    struct sock_fprog program = { .filter = code };
    const int mode = atomic_load_explicit(&process_mode, memory_order_acquire);
    sigset_t sigsys;

    if (mode == DRUPE_JAIL_FILTER_NONE) {
        return 0;
    }
    if (mode == DRUPE_JAIL_FILTER_TRAP) {
        (void)sigemptyset(&sigsys);
        (void)sigaddset(&sigsys, SIGSYS);
        (void)sigprocmask(SIG_UNBLOCK, &sigsys, NULL);
    }
    thread_kind = kind;
    variant.on_trap = mode == DRUPE_JAIL_FILTER_TRAP;
    variant.has_sync_disks = atomic_load_explicit(&has_sync_disks, memory_order_relaxed);
    variant.has_paths = atomic_load_explicit(&has_paths, memory_order_relaxed);
    program.len = (unsigned short)filter_compile(kind, &variant, code);
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}

/* ---- For people ---- */

drupe_vm_err_t drupe_jail_confine(enum drupe_jail_thread kind, struct drupe_error *err)
{
    const int r = filter_install(kind);

    return r < 0 ? error_set(err, DRUPE_JAIL_FAILED, -r, "seccomp: confine the %s thread",
                             drupe_jail_thread_name(kind))
                 : DRUPE_OK;
}

drupe_vm_err_t drupe_jail_filter_process(enum drupe_jail_filter mode, struct drupe_error *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return error_set(err, DRUPE_JAIL_FAILED, errno, "jail: no_new_privs: prctl");
    }
    /* relaxed: the threads that read it are made, or confine themselves, later. */
    atomic_store_explicit(&has_paths, true, memory_order_relaxed);
    filter_mode_set(mode);
    return DRUPE_OK;
}

bool drupe_jail_rule(unsigned index, struct drupe_jail_rule *out)
{
    if (index >= filter_rule_count) {
        return false;
    }
    *out = (struct drupe_jail_rule){
        .call = filter_rules[index].call,
        .check = filter_rules[index].check,
        .reason = filter_rules[index].reason,
        .threads = filter_rules[index].threads,
    };
    return true;
}

unsigned drupe_jail_call_count(enum drupe_jail_thread kind)
{
    const unsigned thread = 1u << kind;
    unsigned count = 0;

    for (size_t i = 0; i < filter_rule_count; i++) {
        if ((filter_rules[i].threads & thread) != 0 && filter_rules[i].error == 0 &&
            is_first_of_call(i, thread)) {
            count++;
        }
    }
    return count;
}
