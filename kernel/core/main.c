/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot CPU's way from the architecture's entry to its idle loop. Order matters: memory, traps
 * and time, the scheduler, the clock; what may sleep (drivers, the root, the workload) is init's.
 */

#include <abi/boot.h>
#include <arch/ops.h>
#include <core/boot.h>
#include <core/identity.h>
#include <core/log.h>
#include <core/log_internal.h>
#include <core/string.h>
#include <mm/page.h>
#include <proc/process.h>
#include <sched/task.h>
#include <sched/timer.h>

static NEVER_INLINE void test_null(void)
{
    volatile const uint32_t *nowhere = NULL;

    /* The fault is the point. */
    uint32_t got = *nowhere; /* NOLINT(clang-analyzer-core.NullDereference) */

    log_error("boot: read %u from address 0", got);
}

static NEVER_INLINE void test_stack(unsigned depth)
{
    volatile char room[512];

    room[0] = (char)depth;
    if (depth < 1u << 20) {
        test_stack(depth + 1);
    }
    log_error("boot: stack test returned %d", room[0]);
}

/*
 * drupe.test=<name>: break the kernel on purpose, so that the boot tests see what a panic shows
 * (docs/boot.md).
 */
static void run_test_option(void)
{
    size_t length;
    const char *name = boot_option("drupe.test=", &length);

    if (!name) {
        return;
    }
    if (length == 5 && memcmp(name, "panic", 5) == 0) {
        panic(NULL, "drupe.test=panic");
    } else if (length == 6 && memcmp(name, "assert", 6) == 0) {
        assert(name == NULL);
    } else if (length == 4 && memcmp(name, "null", 4) == 0) {
        test_null();
    } else if (length == 5 && memcmp(name, "stack", 5) == 0) {
        test_stack(0);
    } else if (length == 4 && memcmp(name, "exit", 4) == 0) {
        machine_end(BOOT_STATUS_EXIT, 42);
    } else {
        boot_fail("drupe.test=%.*s: want panic, assert, null, stack or exit", (int)length, name);
    }
}

static uint64_t wall_clock_ns(void)
{
    struct boot_args args;

    return boot_args_header(&args) && args.realtime_ns != 0 ? args.realtime_ns
                                                            : arch_wall_clock_ns();
}

void kernel_main(void)
{
    if (log_is_shown(LOG_INFO)) { /* else not worth formatting at each boot */
        log_banner(LOG_INFO);
    }
    page_init();
    arch_init();
    sched_init();
    identity_init();
    clock_init(wall_clock_ns());
    log_clock_ready();
    run_test_option();
    arch_start_cpus();
    init_start();
    irq_enable();
    sched_idle();
}
