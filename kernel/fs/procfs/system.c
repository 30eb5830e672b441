/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc says about the machine. */
#include <base/fmt.h>
#include <core/boot.h>
#include <core/log.h>
#include <core/random.h>
#include <core/string.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/procfs/cpu_text.h>
#include <fs/procfs/procfs.h>
#include <mm/page.h>
#include <proc/pid.h>
#include <proc/process.h>
#include <proc/system.h>
#include <sched/cpu.h>
#include <sched/task.h>
#include <sched/timer.h>

static unsigned long kib(uint64_t pages)
{
    return (unsigned long)(pages * (PAGE_SIZE / 1024));
}

static int show_meminfo(struct proc_text *t, const struct proc_subject *s)
{
    struct page_stats m;

    (void)s;
    page_stats(&m);
    proc_print(t, "MemTotal:       %8lu kB\nMemFree:        %8lu kB\nMemAvailable:   %8lu kB\n",
               kib(m.total), kib(m.free), kib(m.free - min_of(m.free, m.reserve)));
    proc_print(
        t, "Buffers:               0 kB\nCached:         %8lu kB\nSwapCached:            0 kB\n",
        kib(m.cache));
    proc_print(t, "Active:         %8lu kB\nInactive:              0 kB\n",
               kib(m.total - min_of(m.total, m.free)));
    proc_print(
        t,
        "SwapTotal:             0 kB\nSwapFree:              0 kB\nDirty:                 0 kB\n");
    proc_print(t, "Shmem:          %8lu kB\nPageTables:     %8lu kB\n", kib(m.cache),
               kib(m.page_tables));
    proc_print(t, "CommitLimit:    %8lu kB\nCommitted_AS:          0 kB\n", kib(m.total / 2));
    proc_print(t, "VmallocTotal:   34359738367 kB\nVmallocUsed:           0 kB\n");
    proc_print(t,
               "HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n");
    return 0;
}

static int show_cpuinfo(struct proc_text *t, const struct proc_subject *s)
{
    char text[2048];

    (void)s;
    for (unsigned i = 0; i < cpu_count; i++) {
        size_t n = arch_cpu_text(i, text, sizeof(text));

        proc_append(t, text, min_of(n, sizeof(text) - 1));
        proc_append(t, "\n", 1);
    }
    return 0;
}

#define TICK_NS (NSEC_PER_SEC / 100)

static void print_cpu(struct proc_text *t, const char *name, uint64_t busy_ns, uint64_t idle_ns)
{
    proc_print(t, "%s %lu 0 0 %lu 0 0 0 0 0 0\n", name, (unsigned long)(busy_ns / TICK_NS),
               (unsigned long)(idle_ns / TICK_NS));
}

static int show_stat(struct proc_text *t, const struct proc_subject *s)
{
    uint64_t now = clock_monotonic_ns();
    uint64_t interrupts = 0;
    uint64_t switches = 0;
    uint64_t idle = 0;
    char name[16];

    (void)s;
    for (unsigned i = 0; i < cpu_count; i++) {
        interrupts += cpus[i].interrupts;
        switches += cpus[i].switches;
        idle += min_of(cpus[i].idle_ns, now);
    }
    print_cpu(t, "cpu ", now * cpu_count - idle, idle);
    for (unsigned i = 0; i < cpu_count; i++) {
        uint64_t one = min_of(cpus[i].idle_ns, now);

        (void)fmt_snprintf(name, sizeof(name), "cpu%u", i);
        print_cpu(t, name, now - one, one);
    }
    proc_print(t, "intr %lu\nctxt %lu\nbtime %lu\nprocesses %d\n", (unsigned long)interrupts,
               (unsigned long)switches, (unsigned long)((clock_realtime_ns() - now) / NSEC_PER_SEC),
               current->tid);
    proc_print(t, "procs_running %u\nprocs_blocked 0\n", sched_runnable());
    return 0;
}

static int show_uptime(struct proc_text *t, const struct proc_subject *s)
{
    uint64_t now = clock_monotonic_ns() / (NSEC_PER_SEC / 100);
    uint64_t idle = 0;

    (void)s;
    for (unsigned i = 0; i < cpu_count; i++) {
        idle += cpus[i].idle_ns / (NSEC_PER_SEC / 100);
    }
    proc_print(t, "%lu.%02lu %lu.%02lu\n", (unsigned long)now / 100, (unsigned long)now % 100,
               (unsigned long)idle / 100, (unsigned long)idle % 100);
    return 0;
}

static unsigned count_tasks(void)
{
    unsigned n = 0;

    for (pid_t p = pid_next(1); p != 0; p = pid_next(p + 1)) {
        n++;
    }
    return n;
}

static int show_loadavg(struct proc_text *t, const struct proc_subject *s)
{
    unsigned running = sched_runnable();

    (void)s;
    /* No averages are kept: the load of this moment stands for all three. */
    proc_print(t, "%u.00 %u.00 %u.00 %u/%u %d\n", running, running, running, running, count_tasks(),
               current->tid);
    return 0;
}

static int show_version(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    proc_print(t, "Linux version %s (drupe@drupe) (gcc) %s\n", system_release, system_version);
    return 0;
}

static int show_file_systems(struct proc_text *t, const struct proc_subject *s)
{
    const struct file_system *fs;

    (void)s;
    for (unsigned n = 0; (fs = file_system_at(n)) != NULL; n++) {
        proc_print(t, "%s\t%s\n", fs->needs_device ? "" : "nodev", fs->name);
    }
    return 0;
}

static int show_command_line(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    proc_print(t, "%s\n", boot_info.command_line);
    return 0;
}

static int show_devices(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    proc_print(t, "Character devices:\n  1 mem\n  4 ttyS\n  5 /dev/tty\n  5 /dev/console\n"
                  "\nBlock devices:\n254 virtblk\n");
    return 0;
}

static int show_swaps(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    proc_print(t, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    return 0;
}

static int show_vmstat(struct proc_text *t, const struct proc_subject *s)
{
    struct page_stats m;

    (void)s;
    page_stats(&m);
    proc_print(t, "nr_free_pages %lu\nnr_file_pages %lu\nnr_page_table_pages %lu\n",
               (unsigned long)m.free, (unsigned long)m.cache, (unsigned long)m.page_tables);
    return 0;
}

static ssize_t link_self(char *buf, size_t size, const struct proc_subject *s)
{
    (void)s;
    if (!current->process) {
        return -ENOENT;
    }
    return (ssize_t)fmt_snprintf(buf, size, "%d", current->process->pid);
}

static ssize_t link_thread_self(char *buf, size_t size, const struct proc_subject *s)
{
    (void)s;
    if (!current->process) {
        return -ENOENT;
    }
    return (ssize_t)fmt_snprintf(buf, size, "%d/task/%d", current->process->pid, current->tid);
}

static ssize_t link_mounts(char *buf, size_t size, const struct proc_subject *s)
{
    (void)s;
    return (ssize_t)str_copy(buf, "self/mounts", size);
}

#define FILE_RO(n, f)                                                                              \
    {                                                                                              \
        .name = (n), .mode = S_IFREG | 0444, .show = (f)                                           \
    }

extern uint64_t syscall_unknown_count(void) __attribute__((weak));

static int show_enosys(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    proc_print(t, "%lu\n", syscall_unknown_count ? (unsigned long)syscall_unknown_count() : 0ul);
    return 0;
}

static const struct proc_node kernel_children[] = {
    FILE_RO("enosys", show_enosys),
    { .name = NULL },
};

static const struct proc_node root_children[] = {
    FILE_RO("meminfo", show_meminfo),
    FILE_RO("cpuinfo", show_cpuinfo),
    FILE_RO("stat", show_stat),
    FILE_RO("uptime", show_uptime),
    FILE_RO("loadavg", show_loadavg),
    FILE_RO("version", show_version),
    FILE_RO("filesystems", show_file_systems),
    FILE_RO("cmdline", show_command_line),
    FILE_RO("devices", show_devices),
    FILE_RO("swaps", show_swaps),
    FILE_RO("vmstat", show_vmstat),
    { .name = "self", .mode = S_IFLNK | 0777, .link = link_self },
    { .name = "thread-self", .mode = S_IFLNK | 0777, .link = link_thread_self },
    { .name = "mounts", .mode = S_IFLNK | 0777, .link = link_mounts },
    { .name = "sys", .mode = S_IFDIR | 0555, .children = proc_sys_children },
    { .name = "kernel", .mode = S_IFDIR | 0555, .children = kernel_children },
    { .name = NULL },
};

const struct proc_node proc_root_node = { .mode = S_IFDIR | 0555,
                                          .children = root_children,
                                          .dynamic = PROC_PIDS };
