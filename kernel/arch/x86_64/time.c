/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The time counter (TSC) and the one-shot timer: TSC deadline where announced, else the local
 * APIC's counter. Frequencies come from whoever knows them: boot arguments, the hypervisor's CPUID
 * leaf, the CPU's own, and only then a measurement against the PIT.
 */

#include <abi/boot.h>
#include <arch/internal.h>
#include <arch/ops.h>
#include <core/boot.h>
#include <core/log.h>
#include <sched/task.h>
#include <sched/timer.h>
#include <x86.h>

#define APIC_TIMER         0x32
#define APIC_INITIAL_COUNT 0x38
#define APIC_CURRENT_COUNT 0x39
#define APIC_DIVIDE        0x3e
#define DIVIDE_BY_1        0x0b
#define TIMER_DEADLINE     (2u << 17)
#define TIMER_MASKED       (1u << 16)

#define PIT_HZ        1193182u
#define PIT_CHANNEL_2 0x42
#define PIT_COMMAND   0x43
#define PIT_GATE      0x61
#define MEASURE_TICKS (PIT_HZ / 100) /* 10 ms */
#define APIC_BUS_HZ   UINT64_C(1000000000)

static uint64_t counter_hz;
static uint64_t apic_hz;
static uint32_t clock_mult, clock_shift;
static uint64_t ns_to_counter; /* ticks per ns, 32.32 */
static uint64_t ns_to_apic;    /* 32.32 */
static bool has_deadline;

static uint64_t hz_from_boot_args(void)
{
    struct boot_args args;

    return boot_args_header(&args) && args.tsc_khz <= UINT64_C(100000000) ? args.tsc_khz * 1000 : 0;
}

static uint64_t hz_from_cpuid(void)
{
    if (cpuid(1, 0).ecx & 1u << 31) {
        struct cpuid h = cpuid(0x40000000, 0);

        /* Leaf +0x10 (VMware's, taken over by KVM and QEMU): TSC and bus frequency in kHz. */
        if (h.eax >= 0x40000010 && h.eax < 0x40010000) {
            struct cpuid t = cpuid(0x40000010, 0);

            if (t.ebx != 0) {
                apic_hz = (uint64_t)t.ebx * 1000;
            }
            if (t.eax != 0) {
                return (uint64_t)t.eax * 1000;
            }
        }
    }
    if (cpuid(0, 0).eax >= 0x15) {
        struct cpuid t = cpuid(0x15, 0);

        if (t.eax != 0 && t.ebx != 0 && t.ecx != 0) {
            return (uint64_t)t.ecx * t.ebx / t.eax;
        }
    }
    return 0;
}

/* Count down PIT channel 2 for 10 ms and see how far the counter gets. 0: there is no PIT. */
static uint64_t hz_from_pit(void)
{
    uint64_t start;

    port_write8(PIT_GATE, (uint8_t)((port_read8(PIT_GATE) & ~2u) | 1u));
    port_write8(PIT_COMMAND, 0xb0); /* channel 2, low and high byte, mode 0 */
    port_write8(PIT_CHANNEL_2, MEASURE_TICKS & 0xff);
    port_write8(PIT_CHANNEL_2, MEASURE_TICKS >> 8);
    start = cpu_counter();
    for (unsigned n = 0; n < 10000000; n++) {
        uint8_t gate = port_read8(PIT_GATE);

        if (gate == 0xff) {
            return 0;
        }
        if (gate & 0x20) {
            return (cpu_counter() - start) * 100;
        }
    }
    return 0;
}

/* Against the APIC's bus clock, which KVM and QEMU emulate at 1 GHz: 10 ms. */
static uint64_t hz_from_apic(void)
{
    uint64_t start = cpu_counter();

    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_TIMER, TIMER_MASKED);
    apic_write(APIC_INITIAL_COUNT, UINT32_MAX);
    while (apic_read(APIC_CURRENT_COUNT) > UINT32_MAX - APIC_BUS_HZ / 100) {
        cpu_relax();
    }
    uint64_t hz = (cpu_counter() - start) * 100;

    apic_write(APIC_INITIAL_COUNT, 0);
    return hz;
}

void counter_init(void)
{
    const char *how = "boot arguments";

    apic_hz = APIC_BUS_HZ;
    counter_hz = hz_from_boot_args();
    if (counter_hz == 0) {
        how = "CPUID";
        counter_hz = hz_from_cpuid();
    }
    if (counter_hz == 0) {
        how = "PIT";
        counter_hz = hz_from_pit();
    }
    if (counter_hz == 0) {
        how = "APIC";
        counter_hz = hz_from_apic();
    }
    if (counter_hz < 1000000) {
        panic(NULL, "time counter of %lu Hz by %s", counter_hz, how);
    }
    /* The largest mult below 2^32, so that ns = counter * mult >> shift loses least. */
    clock_shift = 32;
    while ((NSEC_PER_SEC << clock_shift) / counter_hz > UINT32_MAX) {
        clock_shift--;
    }
    clock_mult = (uint32_t)((NSEC_PER_SEC << clock_shift) / counter_hz);
    ns_to_counter = (counter_hz << 20) / NSEC_PER_SEC << 12;
    ns_to_apic = (apic_hz << 20) / NSEC_PER_SEC << 12;
    has_deadline = cpu_features.has_tsc_deadline;
    log_debug("x86: counter %lu kHz by %s, timer by %s", counter_hz / 1000, how,
              has_deadline ? "TSC deadline" : "APIC");
}

void timer_start_cpu(void)
{
    if (has_deadline) {
        apic_write(APIC_TIMER, TIMER_DEADLINE | VECTOR_TIMER);
    } else {
        apic_write(APIC_DIVIDE, DIVIDE_BY_1);
        apic_write(APIC_TIMER, VECTOR_TIMER);
    }
}

uint64_t arch_counter_hz(void)
{
    return counter_hz;
}

void arch_clock_scale(uint32_t *mult, uint32_t *shift)
{
    *mult = clock_mult;
    *shift = clock_shift;
}

static uint64_t scale(uint64_t ns, uint64_t factor)
{
    return (uint64_t)((unsigned __int128)ns * factor >> 32);
}

void arch_timer_arm(uint64_t deadline_ns)
{
    if (deadline_ns == TIME_FOREVER) {
        if (has_deadline) {
            write_msr(MSR_TSC_DEADLINE, 0);
        } else {
            apic_write(APIC_INITIAL_COUNT, 0);
        }
        return;
    }
    uint64_t now = clock_monotonic_ns();
    uint64_t delta = deadline_ns > now ? deadline_ns - now : 0;

    if (has_deadline) {
        uint64_t target = cpu_counter() + scale(delta, ns_to_counter);

        write_msr(MSR_TSC_DEADLINE, target);
    } else {
        uint64_t ticks = scale(min_of(delta, NSEC_PER_SEC), ns_to_apic);

        /* A later deadline: the interrupt at the counter's end arms it again. */
        apic_write(APIC_INITIAL_COUNT, (uint32_t)max_of(min_of(ticks, UINT32_MAX), UINT64_C(1)));
    }
}
