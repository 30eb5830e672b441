/* SPDX-License-Identifier: Apache-2.0 */
/* The filters as the kernel would run them: the compiled instructions are interpreted here. */
#include "jail/filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "jail/filter_table.h"
#include "test.h"

#define VCPU_CALLS_MAX 15u

static const struct filter_variant plain = { 0 };

static uint32_t load(const struct seccomp_data *data, uint32_t offset)
{
    uint32_t value = 0;

    assert_true(offset % 4 == 0 && offset <= sizeof(*data) - 4);
    memcpy(&value, (const char *)data + offset, sizeof(value));
    return value;
}

static uint32_t interpret(const struct sock_filter *code, size_t size,
                          const struct seccomp_data *data)
{
    uint32_t a = 0;

    for (size_t pc = 0; pc < size; pc++) {
        const struct sock_filter *i = &code[pc];

        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            a = load(data, i->k);
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            pc += a == i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            pc += a >= i->k ? i->jt : i->jf;
            break;
        case BPF_JMP | BPF_JA:
            pc += i->k;
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= i->k;
            break;
        case BPF_RET | BPF_K:
            return i->k;
        default:
            fail_msg("instruction %x", i->code);
        }
    }
    fail_msg("no return");
    return 0;
}

static uint32_t ask(enum drupe_jail_thread kind, const struct filter_variant *variant, int number,
                    unsigned arg, uint64_t value)
{
    struct sock_filter code[FILTER_SIZE_MAX];
    struct seccomp_data data = { .nr = number, .arch = AUDIT_ARCH_X86_64 };
    const size_t size = filter_compile(kind, variant, code);

    data.args[arg] = value;
    return interpret(code, size, &data);
}

/* An argument that passes the row's check. */
static uint64_t good_value(const struct filter_rule *r)
{
    return r->value;
}

static void test_rows_are_allowed(void **state)
{
    (void)state;
    for (size_t i = 0; i < filter_rule_count; i++) {
        const struct filter_rule *r = &filter_rules[i];

        for (unsigned kind = 0; kind < DRUPE_JAIL_THREADS; kind++) {
            if ((r->threads & (1u << kind)) != 0) {
                assert_int_equal(
                    ask((enum drupe_jail_thread)kind, &plain, r->number, r->arg, good_value(r)),
                    r->error == 0 ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | r->error);
            }
        }
    }
}

static bool is_in_table(int number, unsigned kind)
{
    for (size_t i = 0; i < filter_rule_count; i++) {
        if (filter_rules[i].number == number && (filter_rules[i].threads & (1u << kind)) != 0) {
            return true;
        }
    }
    return false;
}

static void test_all_else_kills(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < DRUPE_JAIL_THREADS; kind++) {
        for (int number = -1; number < 600; number++) {
            if (!is_in_table(number, kind)) {
                assert_int_equal(ask((enum drupe_jail_thread)kind, &plain, number, 0, 0),
                                 SECCOMP_RET_KILL_PROCESS);
            }
        }
    }
}

static void test_arguments(void **state)
{
    static const struct {
        enum drupe_jail_thread kind;
        int number;
        unsigned arg;
        uint64_t value;
        bool is_allowed;
    } cases[] = {
        { DRUPE_JAIL_THREAD_VCPU, SYS_ioctl, 1, KVM_RUN, true },
        { DRUPE_JAIL_THREAD_VCPU, SYS_ioctl, 1, KVM_CREATE_VM, false },
        { DRUPE_JAIL_THREAD_VCPU, SYS_ioctl, 1, 0, false },
        /* The kernel looks at the low half only, and so do we. */
        { DRUPE_JAIL_THREAD_VCPU, SYS_ioctl, 1, UINT64_C(1) << 32 | KVM_RUN, true },
        { DRUPE_JAIL_THREAD_MAIN, SYS_mmap, 2, PROT_READ | PROT_WRITE, true },
        { DRUPE_JAIL_THREAD_MAIN, SYS_mmap, 2, PROT_READ | PROT_EXEC, false },
        { DRUPE_JAIL_THREAD_MAIN, SYS_mprotect, 2, PROT_EXEC, false },
        { DRUPE_JAIL_THREAD_SETUP, SYS_clone, 0, CLONE_THREAD | CLONE_VM, true },
        { DRUPE_JAIL_THREAD_SETUP, SYS_clone, 0, CLONE_THREAD | CLONE_NEWUSER, false },
        { DRUPE_JAIL_THREAD_SETUP, SYS_clone, 0, CLONE_VM, false },
        { DRUPE_JAIL_THREAD_MAIN, SYS_clone, 0, CLONE_THREAD | CLONE_VM, false },
        { DRUPE_JAIL_THREAD_VCPU, SYS_tgkill, 2, 34, true },
        { DRUPE_JAIL_THREAD_VCPU, SYS_tgkill, 2, 9, false },
        { DRUPE_JAIL_THREAD_API, SYS_socket, 0, 1, true },
        { DRUPE_JAIL_THREAD_API, SYS_socket, 0, 2, false },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        assert_int_equal(ask(cases[i].kind, &plain, cases[i].number, cases[i].arg, cases[i].value),
                         cases[i].is_allowed ? SECCOMP_RET_ALLOW : SECCOMP_RET_KILL_PROCESS);
    }
}

/* Threads inherit: who makes the others must allow what they need. */
static void test_makers_allow_all(void **state)
{
    const unsigned makers = 1u << DRUPE_JAIL_THREAD_SETUP | 1u << DRUPE_JAIL_THREAD_API;
    const unsigned made =
        1u << DRUPE_JAIL_THREAD_LOOP | 1u << DRUPE_JAIL_THREAD_VCPU | 1u << DRUPE_JAIL_THREAD_FILES;

    (void)state;
    for (size_t i = 0; i < filter_rule_count; i++) {
        if ((filter_rules[i].threads & made) != 0 && filter_rules[i].error == 0) {
            assert_int_equal(filter_rules[i].threads & makers, makers);
        }
    }
}

static void test_variants(void **state)
{
    const struct filter_variant trap = { .on_trap = true };
    const struct filter_variant sync = { .has_sync_disks = true };
    const struct filter_variant paths = { .has_paths = true };

    static const enum drupe_jail_thread confined[] = { DRUPE_JAIL_THREAD_VCPU,
                                                       DRUPE_JAIL_THREAD_MAIN,
                                                       DRUPE_JAIL_THREAD_FILES };

    (void)state;
    assert_int_equal(ask(DRUPE_JAIL_THREAD_VCPU, &trap, SYS_openat, 0, 0), SECCOMP_RET_TRAP);
    assert_int_equal(ask(DRUPE_JAIL_THREAD_VCPU, &trap, SYS_exit_group, 0, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(ask(DRUPE_JAIL_THREAD_VCPU, &plain, SYS_exit_group, 0, 0),
                     SECCOMP_RET_KILL_PROCESS);
    assert_int_equal(ask(DRUPE_JAIL_THREAD_VCPU, &plain, SYS_preadv2, 0, 0),
                     SECCOMP_RET_KILL_PROCESS);
    assert_int_equal(ask(DRUPE_JAIL_THREAD_VCPU, &sync, SYS_preadv2, 0, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(ask(DRUPE_JAIL_THREAD_MAIN, &sync, SYS_preadv2, 0, 0),
                     SECCOMP_RET_KILL_PROCESS);
    /* A loop whose process has paths connects by itself, to Unix sockets. */
    assert_int_equal(ask(DRUPE_JAIL_THREAD_LOOP, &plain, SYS_socket, 0, AF_UNIX),
                     SECCOMP_RET_ERRNO | EPERM);
    assert_int_equal(ask(DRUPE_JAIL_THREAD_LOOP, &plain, SYS_connect, 0, 0),
                     SECCOMP_RET_KILL_PROCESS);
    assert_int_equal(ask(DRUPE_JAIL_THREAD_LOOP, &paths, SYS_socket, 0, AF_UNIX),
                     SECCOMP_RET_ALLOW);
    assert_int_equal(ask(DRUPE_JAIL_THREAD_LOOP, &paths, SYS_socket, 0, AF_INET),
                     SECCOMP_RET_KILL_PROCESS);
    assert_int_equal(ask(DRUPE_JAIL_THREAD_LOOP, &paths, SYS_connect, 0, 0), SECCOMP_RET_ALLOW);
    assert_int_equal(ask(DRUPE_JAIL_THREAD_API, &paths, SYS_connect, 0, 0), SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < array_size(confined); i++) {
        assert_int_equal(ask(confined[i], &paths, SYS_connect, 0, 0), SECCOMP_RET_KILL_PROCESS);
        assert_int_equal(ask(confined[i], &paths, SYS_socket, 0, AF_UNIX),
                         SECCOMP_RET_KILL_PROCESS);
    }
}

static void test_foreign_architecture(void **state)
{
    struct sock_filter code[FILTER_SIZE_MAX];
    const struct seccomp_data i386 = { .nr = SYS_read, .arch = AUDIT_ARCH_I386 };
    const size_t size = filter_compile(DRUPE_JAIL_THREAD_VCPU, &plain, code);

    (void)state;
    assert_int_equal(interpret(code, size, &i386), SECCOMP_RET_KILL_PROCESS);
    /* x32: the same architecture with a bit in the number. */
    assert_int_equal(ask(DRUPE_JAIL_THREAD_VCPU, &plain, 0x40000000 | SYS_read, 0, 0),
                     SECCOMP_RET_KILL_PROCESS);
}

static void test_sizes(void **state)
{
    (void)state;
    assert_true(drupe_jail_call_count(DRUPE_JAIL_THREAD_VCPU) <= VCPU_CALLS_MAX);
    for (unsigned kind = 0; kind < DRUPE_JAIL_THREADS; kind++) {
        struct sock_filter code[FILTER_SIZE_MAX];

        assert_true(filter_compile((enum drupe_jail_thread)kind, &plain, code) < FILTER_SIZE_MAX);
        assert_true(strlen(drupe_jail_thread_name((enum drupe_jail_thread)kind)) > 1);
    }
    assert_string_equal(filter_call_name(SYS_openat), "openat");
    assert_string_equal(filter_call_name(9999), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_allowed),
        cmocka_unit_test(test_all_else_kills),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_makers_allow_all),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_foreign_architecture),
        cmocka_unit_test(test_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
