/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest that the monitor's boot tests run: no kernel, just what touches each part of the
 * machine. argv[1] says what to do; each check prints "ok NAME" or "not ok NAME" on the serial
 * line, and the status is the number of failures.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi/boot.h"
#include "guest_console.h"
#include "guest_net.h"

#define SERIAL       0x3f8
#define I8042        0x64
#define LAPIC        0xfee00000u
#define IOAPIC       0xfec00000u
#define VIRTIO       0xd0000000u
#define VIRTIO_MAGIC 0x74726976u
#define TRAMPOLINE   0x8000u
#define PAGE_TABLES  0x300000u /* two tables of our own, above the image */
#define SWEEP_FROM   0x800000u /* above them */
#define VECTOR_TIMER 0x40
#define VECTOR_LINE  0x41
#define SERIAL_LINE  4

#define LAPIC_ID         0x20
#define LAPIC_SPURIOUS   0xf0
#define LAPIC_ICR        0x300
#define LAPIC_ICR_HIGH   0x310
#define LAPIC_LVT_TIMER  0x320
#define LAPIC_TIMER_INIT 0x380
#define LAPIC_TIMER_DIV  0x3e0

struct idt_entry {
    uint16_t offset_low;
    uint16_t selector;
    uint16_t flags;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};

struct idt_register {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

extern const uint8_t trampoline[];
extern const uint32_t trampoline_size;
void on_timer(void);
void on_line(void);
void on_fault(void);
void load_idt(const struct idt_register *r);
void guest_main(const uint8_t *zero_page);
void guest_pvh(const uint8_t *start_info);
void guest_fault(const uint64_t *frame);
void ap_main(unsigned index);

uint32_t timer_count;
uint32_t line_count;
uint32_t ap_started;
static uint32_t ap_ready;
static unsigned failures;
static struct idt_entry idt[256];

/* ---- Machine access ---- */

static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static uint64_t read_tsc(void)
{
    uint32_t low;
    uint32_t high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return ((uint64_t)high << 32) | low;
}

static void write_msr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

struct cpuid {
    uint32_t eax;
    uint32_t ebx;
    uint32_t ecx;
    uint32_t edx;
};

static struct cpuid read_cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid c = { .eax = leaf, .ecx = subleaf };

    __asm__ volatile("cpuid" : "+a"(c.eax), "=b"(c.ebx), "+c"(c.ecx), "=d"(c.edx));
    return c;
}

static volatile uint32_t *reg(uint64_t address)
{
    return (volatile uint32_t *)address;
}

static uint32_t load(const uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* ---- Text ---- */

static void print(const char *text)
{
    for (; *text != '\0'; text++) {
        out8(SERIAL, (uint8_t)*text);
    }
}

static void print_number(uint32_t value)
{
    char digits[11];
    unsigned at = sizeof(digits) - 1;

    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    print(digits + at);
}

static void print_hex(uint64_t value)
{
    for (int shift = 60; shift >= 0; shift -= 4) {
        out8(SERIAL, (uint8_t) "0123456789abcdef"[(value >> shift) & 15]);
    }
}

static void check(bool is_ok, const char *name)
{
    if (!is_ok) {
        failures++;
        print("not ");
    }
    print("ok ");
    print(name);
    print("\n");
}

static bool is_equal(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static const char *find(const char *text, const char *word)
{
    for (; *text != '\0'; text++) {
        size_t i = 0;

        while (word[i] != '\0' && text[i] == word[i]) {
            i++;
        }
        if (word[i] == '\0') {
            return text + i;
        }
    }
    return NULL;
}

static const char *parse_hex(const char *text, uint64_t *value)
{
    *value = 0;
    for (text += 2;; text++) { /* past "0x" */
        if (*text >= '0' && *text <= '9') {
            *value = *value * 16 + (uint64_t)(*text - '0');
        } else if (*text >= 'a' && *text <= 'f') {
            *value = *value * 16 + (uint64_t)(*text - 'a' + 10);
        } else {
            return text;
        }
    }
}

/* ---- Ending ---- */

static void report(uint8_t kind, uint8_t status)
{
    out8(BOOT_STATUS_PORT, BOOT_STATUS_MAGIC);
    out8(BOOT_STATUS_PORT, kind);
    out8(BOOT_STATUS_PORT, status);
    out8(BOOT_STATUS_PORT, 0);
}

static void reset(void)
{
    out8(I8042, 0xfe);
    for (;;) {
        __asm__ volatile("hlt");
    }
}

void guest_fault(const uint64_t *frame)
{
    print("fault at ");
    print_hex(frame[0]);
    print(" ");
    print_hex(frame[1]);
    print("\n");
    report(BOOT_STATUS_PANIC, 1);
    reset();
}

/* ---- Set-up ---- */

/* 2 MiB pages for the GiB at `gpa`, which the monitor's tables leave out. */
static void map_gib(uint64_t table, uint64_t gpa, uint64_t flags)
{
    uint64_t *pd = (uint64_t *)table;
    uint64_t *pdpt = (uint64_t *)0xa000;

    for (unsigned i = 0; i < 512; i++) {
        pd[i] = (gpa + i * UINT64_C(0x200000)) | flags | 0x83;
    }
    pdpt[gpa >> 30] = table | 3;
}

static void set_gate(unsigned vector, void (*handler)(void))
{
    uint64_t at = (uint64_t)handler;

    idt[vector] = (struct idt_entry){
        .offset_low = (uint16_t)at,
        .selector = 0x10,
        .flags = 0x8e00,
        .offset_middle = (uint16_t)(at >> 16),
        .offset_high = (uint32_t)(at >> 32),
    };
}

static void set_up_interrupts(void)
{
    struct idt_register r = { .limit = sizeof(idt) - 1, .base = (uint64_t)idt };

    for (unsigned i = 0; i < 32; i++) {
        set_gate(i, on_fault);
    }
    set_gate(VECTOR_TIMER, on_timer);
    set_gate(VECTOR_LINE, on_line);
    load_idt(&r);
    *reg(LAPIC + LAPIC_SPURIOUS) = 0x1ff;
}

/* ---- Checks ---- */

static bool wait_for(const uint32_t *counter, uint32_t value, uint64_t tsc_khz)
{
    uint64_t end = read_tsc() + tsc_khz * 2000; /* two seconds */

    while (load(counter) < value) {
        if (read_tsc() > end) {
            return false;
        }
        __asm__ volatile("pause");
    }
    return true;
}

static unsigned count_cpus(const uint8_t *zero_page)
{
    const uint8_t *rsdp = (const uint8_t *)*(const uint64_t *)(zero_page + 0x70);
    const uint8_t *xsdt = NULL;
    const uint8_t *madt = NULL;
    unsigned count = 0;

    if (rsdp == NULL || *(const uint64_t *)rsdp != UINT64_C(0x2052545020445352)) {
        return 0;
    }
    xsdt = (const uint8_t *)*(const uint64_t *)(rsdp + 24);
    for (uint32_t at = 36; at < *(const uint32_t *)(xsdt + 4); at += 8) {
        const uint8_t *table = (const uint8_t *)*(const uint64_t *)(xsdt + at);

        if (*(const uint32_t *)table == 0x43495041) { /* "APIC" */
            madt = table;
        }
    }
    if (madt == NULL) {
        return 0;
    }
    for (uint32_t at = 44; at < *(const uint32_t *)(madt + 4); at += madt[at + 1]) {
        count += madt[at] == 0;
    }
    return count;
}

void ap_main(unsigned index)
{
    (void)index;
    (void)__atomic_fetch_add(&ap_ready, 1, __ATOMIC_RELEASE);
}

static void check_cpus(const uint8_t *zero_page, uint64_t tsc_khz)
{
    unsigned count = count_cpus(zero_page);
    uint8_t *to = (uint8_t *)(uint64_t)TRAMPOLINE;

    check(count >= 1, "acpi");
    check(((read_cpuid(1, 0).ebx >> 16) & 0xff) == count, "cpu count");
    if (read_cpuid(0, 0).eax >= 0xb && read_cpuid(0xb, 0).ebx != 0) {
        check(read_cpuid(0xb, 1).ebx == count && read_cpuid(0xb, 2).ebx == 0, "topology");
    }
    if (count < 2) {
        return;
    }
    for (size_t i = 0; i < trampoline_size; i++) {
        to[i] = trampoline[i];
    }
    *reg(LAPIC + LAPIC_ICR) = 0xc4500; /* INIT to all others */
    *reg(LAPIC + LAPIC_ICR) = 0xc4600 | (TRAMPOLINE >> 12);
    check(wait_for(&ap_ready, count - 1, tsc_khz), "smp");
}

static void check_timer(void)
{
    uint32_t before = load(&timer_count);

    *reg(LAPIC + LAPIC_TIMER_DIV) = 0xb; /* by 1 */
    *reg(LAPIC + LAPIC_LVT_TIMER) = VECTOR_TIMER;
    *reg(LAPIC + LAPIC_TIMER_INIT) = 1000000;
    /* sti takes effect after the next instruction, so the interrupt can't come before the hlt. */
    __asm__ volatile("sti; hlt; cli");
    check(load(&timer_count) == before + 1, "timer");
}

static void check_deadline(uint64_t tsc_khz)
{
    uint32_t before = load(&timer_count);

    if ((read_cpuid(1, 0).ecx & (1u << 24)) == 0) {
        return;
    }
    *reg(LAPIC + LAPIC_LVT_TIMER) = VECTOR_TIMER | (2u << 17);
    write_msr(0x6e0, read_tsc() + tsc_khz);
    __asm__ volatile("sti; hlt; cli");
    check(load(&timer_count) == before + 1, "tsc deadline");
}

static void route(unsigned line, uint32_t entry)
{
    *reg(IOAPIC) = 0x11 + 2 * line;
    *reg(IOAPIC + 0x10) = *reg(LAPIC + LAPIC_ID) & 0xff000000u;
    *reg(IOAPIC) = 0x10 + 2 * line;
    *reg(IOAPIC + 0x10) = entry;
}

static void route_serial(void)
{
    route(SERIAL_LINE, VECTOR_LINE);
}

static void check_line(void)
{
    uint32_t before = load(&line_count);
    bool is_ok = false;

    route_serial();
    out8(SERIAL + 1, 2); /* "transmitter empty" is true at once */
    __asm__ volatile("sti; hlt; cli");
    is_ok = load(&line_count) == before + 1 && (in8(SERIAL + 2) & 0x0f) == 2;
    /* Off before anything is printed: each byte would be one more interrupt, for the next check to
     * stumble over. */
    out8(SERIAL + 1, 0);
    __asm__ volatile("sti; nop; nop; cli");
    check(is_ok, "ioapic");
}

static void check_root(const char *cmdline)
{
    const char *at = find(cmdline, "root=mem:");
    uint64_t gpa = 0;
    uint64_t size = 0;

    if (at == NULL) {
        return;
    }
    at = parse_hex(at, &gpa);
    (void)parse_hex(at + 1, &size);
    map_gib(PAGE_TABLES + 0x1000, gpa & ~UINT64_C(0x3fffffff), 0);
    volatile uint64_t *first = (volatile uint64_t *)gpa;

    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): an address of the guest */
    check(*first == UINT64_C(0x4547414d49455044) && size == 8192, "root image");
    *first = 0;
    check(*first == UINT64_C(0x4547414d49455044), "root image is read-only");
}

/* A virtio entropy device, driven by hand: one buffer, one interrupt (VIRTIO 1.1, 4.2 and 5.4). */

struct virtio_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};

static struct virtio_desc rng_desc[4] __attribute__((aligned(16)));

static struct {
    uint16_t flags;
    uint16_t index;
    uint16_t ring[4];
} rng_avail __attribute__((aligned(4)));

static struct {
    uint16_t flags;
    uint16_t index;
    uint32_t ring[8];
} rng_used __attribute__((aligned(4)));

static uint64_t rng_bytes[4];

/* The last announced device with this id. */
static bool find_device(const char *cmdline, uint32_t id, uint64_t *base, unsigned *line)
{
    bool is_found = false;

    for (const char *at = cmdline; (at = find(at, "virtio_mmio.device=")) != NULL;) {
        uint64_t here = 0;
        unsigned irq = 0;

        at = parse_hex(find(at, "@"), &here);
        for (at++; *at >= '0' && *at <= '9'; at++) {
            irq = irq * 10 + (unsigned)(*at - '0');
        }
        if (*reg(here + 8) == id) {
            *base = here;
            *line = irq;
            is_found = true;
        }
    }
    return is_found;
}

static void write_address(uint64_t at, const void *p)
{
    *reg(at) = (uint32_t)(uint64_t)p;
    *reg(at + 4) = (uint32_t)((uint64_t)p >> 32);
}

static bool start_rng(uint64_t base)
{
    *reg(base + 0x70) = 0;
    *reg(base + 0x70) = 1;
    *reg(base + 0x70) = 3;
    *reg(base + 0x24) = 1;
    *reg(base + 0x20) = 1; /* VERSION_1 */
    *reg(base + 0x24) = 0;
    *reg(base + 0x20) = 0;
    *reg(base + 0x70) = 11;
    if (*reg(base + 0x70) != 11) {
        return false;
    }
    *reg(base + 0x30) = 0;
    *reg(base + 0x38) = 4;
    write_address(base + 0x80, rng_desc);
    write_address(base + 0x90, &rng_avail);
    write_address(base + 0xa0, &rng_used);
    *reg(base + 0x44) = 1;
    *reg(base + 0x70) = 15;
    return true;
}

static void check_rng(const char *cmdline)
{
    uint32_t before = load(&line_count);
    uint64_t base = 0;
    unsigned line = 0;

    if (!find_device(cmdline, 4, &base, &line) || !start_rng(base)) {
        check(false, "virtio entropy device");
        return;
    }
    route(line, VECTOR_LINE);
    rng_desc[0] =
        (struct virtio_desc){ .addr = (uint64_t)rng_bytes, .len = sizeof(rng_bytes), .flags = 2 };
    __atomic_store_n(&rng_avail.index, 1, __ATOMIC_RELEASE);
    *reg(base + 0x50) = 0;
    while (load(&line_count) == before) {
        __asm__ volatile("sti; hlt; cli");
    }
    check(__atomic_load_n(&rng_used.index, __ATOMIC_ACQUIRE) == 1 &&
              (rng_bytes[0] | rng_bytes[3]) != 0 && (*reg(base + 0x60) & 1) != 0,
          "virtio entropy device");
    *reg(base + 0x64) = 1;
}

static void check_virtio(const char *cmdline)
{
    const char *at = find(cmdline, "virtio_mmio.device=");
    uint64_t base = 0;

    if (at != NULL) {
        (void)parse_hex(find(at, "@"), &base);
    }
    check(base != 0 && *reg(base) == VIRTIO_MAGIC, "virtio window");
    if (base == VIRTIO) { /* our monitor; QEMU answers with zeros */
        check(*reg(VIRTIO + 0xf000) == 0xffffffffu, "empty window");
    }
}

static void check_all(const uint8_t *zero_page, const struct boot_args *args, const char *cmdline)
{
    check(args->magic == BOOT_ARGS_MAGIC && args->version == BOOT_ARGS_VERSION, "boot arguments");
    check(args->tsc_khz > 100000, "tsc frequency");
    check(find(cmdline, "drupe.status=0x402") != NULL, "command line");
    check_virtio(cmdline);
    check(in8(0x80) == 0xff, "empty port");
    check_timer();
    check_deadline(args->tsc_khz);
    check_line();
    check_rng(cmdline);
    check_root(cmdline);
    check_cpus(zero_page, args->tsc_khz);
}

static void echo(const struct boot_args *args, const char *cmdline)
{
    bool is_split = (args->flags & BOOT_ARGS_STDIN_SPLIT) != 0;
    uint64_t base = 0;
    unsigned line = 0;

    if (find_device(cmdline, 3, &base, &line)) {
        console_echo(base, is_split ? BOOT_CONSOLE_PORT_STDIN : BOOT_CONSOLE_PORT_STDIO);
    }
}

static void drive_net(const char *cmdline, const char *mode)
{
    uint64_t base = 0;
    unsigned line = 0;

    check(find_device(cmdline, 1, &base, &line), "network device");
    if (failures != 0) {
        return;
    }
    check(net_start(base), "features");
    check(net_resolve(GUEST_NET_HOST), "arp");
    if (is_equal(mode, "net-flood")) {
        net_flood(60);
    } else if (is_equal(mode, "net-break")) {
        check(net_break(base), "broken rings");
    }
    if (is_equal(mode, "net-mmds")) {
        check(net_get(UINT32_C(0xa9fea9fe), "/latest/id", print), "metadata");
        check(net_resolve(GUEST_NET_HOST), "arp of the host");
    }
    check(net_echo(20), "echo");
}

/* The byte that arrives on the signal line. */
static uint8_t wait_signal(void)
{
    route_serial();
    out8(SERIAL + 1, 1);
    print("ready\n");
    while ((in8(SERIAL + 5) & 1) == 0) {
        __asm__ volatile("sti; hlt; cli");
    }
    return in8(SERIAL);
}

/*
 * Count in lines, one about each millisecond, until a signal comes; that is the status. Time is the
 * counter less what it went on while the machine stood still. A second in which that time went on
 * and this loop did not is told: "gap"; so is each new identity.
 */
static uint8_t count(uint64_t tsc_khz, const volatile struct boot_identity *identity)
{
    uint32_t generation = identity->generation;
    uint64_t last = read_tsc() - identity->counter_skip;

    for (uint32_t n = 0;; n++) {
        print("n ");
        print_number(n);
        print("\n");
        for (uint64_t start = last, now = last; now - start < tsc_khz; last = now) {
            uint32_t before = identity->generation;

            now = read_tsc() - identity->counter_skip;
            if (identity->generation != before) {
                now = last; /* read across a pause */
            } else if (now - last > 1000 * tsc_khz) {
                print("gap\n");
            }
        }
        if (identity->generation != generation) {
            generation = identity->generation;
            print("id ");
            print_hex(*(const volatile uint64_t *)identity->entropy);
            print(identity->realtime_ns > 0 ? "\n" : " no time\n");
        }
        if ((in8(SERIAL + 5) & 1) != 0) {
            return in8(SERIAL);
        }
    }
}

/*
 * Write the number of the round to each page from 8 MiB up to the boot arguments, then look whether
 * each has it: a snapshot that mixes two moments would show. Without `repeats` one round is all.
 */
static uint8_t sweep(uint64_t end, bool repeats)
{
    for (uint32_t n = 1;; n++) {
        uint64_t torn = 0;

        for (uint64_t at = SWEEP_FROM; at + 4096 <= end; at += 4096) {
            *(volatile uint64_t *)at = n;
        }
        for (uint64_t at = SWEEP_FROM; at + 4096 <= end; at += 4096) {
            torn |= *(const volatile uint64_t *)at ^ n;
        }
        print("n ");
        print_number(n);
        print(torn == 0 ? " swept\n" : " torn\n");
        if (!repeats || (in8(SERIAL + 5) & 1) != 0) {
            return repeats ? in8(SERIAL) : 0;
        }
    }
}

static const volatile struct boot_identity *find_identity(const char *cmdline)
{
    static const struct boot_identity none;
    const char *at = find(cmdline, "drupe.identity=");
    uint64_t gpa = 0;

    if (at == NULL) {
        return &none;
    }
    (void)parse_hex(at, &gpa);
    return (const volatile struct boot_identity *)gpa;
}

static void end_without_status(const char *mode)
{
    static const struct idt_register none;

    if (is_equal(mode, "reset")) {
        reset();
    }
    if (is_equal(mode, "triple")) {
        load_idt(&none);
        __asm__ volatile("ud2");
    }
    if (is_equal(mode, "spin")) {
        print("ready\n");
    }
    if (is_equal(mode, "odd")) { /* popcnt: not every host can do that in ring 0 */
        __asm__ volatile("popcnt %%eax, %%eax" ::: "eax");
        report(BOOT_STATUS_EXIT, 0);
    }
    for (;;) { /* "spin", "hang" */
        __asm__ volatile("pause");
    }
}

void guest_main(const uint8_t *zero_page)
{
    const char *cmdline = (const char *)(uint64_t) * (const uint32_t *)(zero_page + 0x228);
    const struct boot_args *args =
        (const struct boot_args *)(uint64_t) * (const uint32_t *)(zero_page + 0x218);
    const char *mode = (const char *)args + args->strings_offset;

    while (args->argc > 1 && *mode != '\0') {
        mode++;
    }
    mode += args->argc > 1;
    if (is_equal(mode, "exit")) {
        report(BOOT_STATUS_EXIT, 0);
    }
    map_gib(PAGE_TABLES, UINT64_C(0xc0000000), 0x18);
    set_up_interrupts();
    if (is_equal(mode, "all")) {
        check_all(zero_page, args, cmdline);
        report(BOOT_STATUS_EXIT, (uint8_t)failures);
    } else if (is_equal(mode, "echo")) {
        echo(args, cmdline);
        report(BOOT_STATUS_EXIT, 0);
    } else if (find(mode, "net") != NULL) {
        drive_net(cmdline, mode);
        report(BOOT_STATUS_EXIT, (uint8_t)failures);
    } else if (is_equal(mode, "count")) {
        report(BOOT_STATUS_EXIT, (uint8_t)(128 + count(args->tsc_khz, find_identity(cmdline))));
    } else if (is_equal(mode, "fill")) {
        (void)sweep((uint64_t)args, false);
        report(BOOT_STATUS_EXIT, (uint8_t)(128 + count(args->tsc_khz, find_identity(cmdline))));
    } else if (is_equal(mode, "sweep")) {
        report(BOOT_STATUS_EXIT, (uint8_t)(128 + sweep((uint64_t)args, true)));
    } else if (is_equal(mode, "panic")) {
        report(BOOT_STATUS_PANIC, 7);
    } else if (is_equal(mode, "error")) {
        report(BOOT_STATUS_ERROR, 3);
    } else if (is_equal(mode, "signal")) {
        report(BOOT_STATUS_EXIT, (uint8_t)(128 + wait_signal()));
    } else {
        end_without_status(mode);
    }
    reset();
}

/* Enter as by the Linux protocol, with the facts of PVH's start info. */
void guest_pvh(const uint8_t *start_info)
{
    static uint8_t zero_page[4096];
    uint64_t modules = *(const uint64_t *)(start_info + 16);

    *(uint32_t *)(zero_page + 0x228) = (uint32_t) * (const uint64_t *)(start_info + 24);
    *(uint64_t *)(zero_page + 0x70) = *(const uint64_t *)(start_info + 32);
    *(uint32_t *)(zero_page + 0x218) = (uint32_t) * (const uint64_t *)modules;
    guest_main(zero_page);
}
