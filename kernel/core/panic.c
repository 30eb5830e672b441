/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the machine ends: in order (machine_end), because it could not start the workload
 * (boot_fail), or on a bug of ours (panic). The panic path takes no lock and allocates nothing.
 */

#include <abi/boot.h>
#include <arch/console.h>
#include <arch/ops.h>
#include <base/fmt.h>
#include <core/boot.h>
#include <core/log.h>
#include <core/log_internal.h>
#include <sched/task.h>

#define TAIL_LINES 12

static _Atomic uint32_t panic_cpu; /* index + 1 of the CPU that panics; 0: none */

static void report_status(unsigned kind, unsigned status)
{
    if (boot_info.status_port != 0) {
        arch_status_write(boot_info.status_port, BOOT_STATUS_MAGIC);
        arch_status_write(boot_info.status_port, (uint8_t)kind);
        arch_status_write(boot_info.status_port, (uint8_t)status);
        arch_status_write(boot_info.status_port, 0);
    }
}

void machine_end(unsigned kind, unsigned status)
{
    if (kind == BOOT_STATUS_EXIT && log_is_shown(LOG_INFO)) { /* nobody reads the ring any more */
        log_info("ukernel: exit code=%u", status);
    }
    irq_disable();
    report_status(kind, status);
    arch_reset();
}

void boot_fail(const char *format, ...)
{
    char text[200];
    va_list args;

    va_start(args, format);
    (void)fmt_vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_error("boot: %s", text);
    machine_end(BOOT_STATUS_ERROR, 1);
}

static void print_where(void)
{
    const struct task *t = current;

    if (t) {
        log_error("panic: cpu=%u task=%d (%.*s) last_syscall=%d waits_for=%s", this_cpu()->index,
                  t->tid, TASK_NAME_MAX, t->name, t->last_syscall,
                  t->wait_reason ? t->wait_reason : "-");
    } else {
        log_error("panic: cpu=%u no task yet", this_cpu()->index);
    }
}

static void wait_before_reset(void)
{
    uint64_t seconds = 0;

    if (boot_option_u64("panic=", &seconds) && seconds > 0 && arch_counter_hz() != 0) {
        uint64_t ticks = min_of(seconds, UINT64_C(3600)) * arch_counter_hz();
        uint64_t start = cpu_counter();

        while (cpu_counter() - start < ticks) {
            cpu_relax();
        }
    }
}

void panic(const struct regs *regs, const char *format, ...)
{
    char text[200];
    va_list args;
    uint32_t me = this_cpu()->index + 1;
    uint32_t nobody = 0;

    irq_disable();
    if (!atomic_compare_exchange_strong_explicit(&panic_cpu, &nobody, me, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        if (nobody == me) { /* a panic inside the panic: say no more */
            report_status(BOOT_STATUS_PANIC, 2);
            arch_reset();
        }
        for (;;) { /* another CPU is telling its story and will stop us */
            cpu_relax();
        }
    }
    ipi_stop_others();
    log_enter_panic();
    log_print_tail(TAIL_LINES); /* what led here; a quiet console has not shown it */
    va_start(args, format);
    (void)fmt_vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_banner(LOG_ERROR);
    log_error("panic: %s", text);
    print_where();
    if (regs) {
        arch_print_regs(regs);
    }
    arch_print_backtrace(regs);
    wait_before_reset();
    report_status(BOOT_STATUS_PANIC, 1);
    arch_reset();
}

void assert_failed(const char *expression, const char *file, int line)
{
    panic(NULL, "assertion failed: %s at %s:%d", expression, file, line);
}
