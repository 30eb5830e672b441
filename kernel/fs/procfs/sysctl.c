/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/sys, and the little of /sys that programs look for. */
#include <base/fmt.h>
#include <core/random.h>
#include <core/string.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/procfs/procfs.h>
#include <mm/mm.h>
#include <mm/page.h>
#include <proc/cred.h>
#include <proc/pid.h>
#include <proc/process.h>
#include <proc/system.h>
#include <sched/cpu.h>
#include <sched/task.h>

#define FILE_RO(n, f)                                                                              \
    {                                                                                              \
        .name = (n), .mode = S_IFREG | 0444, .show = (f)                                           \
    }

/* Files with one line that never changes. */
#define FIXED(id, text)                                                                            \
    static int show_##id(struct proc_text *t, const struct proc_subject *s)                        \
    {                                                                                              \
        (void)s;                                                                                   \
        proc_append(t, text "\n", sizeof(text));                                                   \
        return 0;                                                                                  \
    }

FIXED(os_type, "Linux")
FIXED(cap_last, "40")
FIXED(group_max, "65536")
FIXED(zero, "0")
FIXED(overcommit, "1")
FIXED(map_max, "65530")
FIXED(nr_open, "1048576")
FIXED(pipe_max, "1048576")
FIXED(somaxconn, "4096")
FIXED(core_pattern, "core")
FIXED(file_max, "9223372036854775807")
FIXED(shm_max, "18446744073692774399")
FIXED(sem, "32000\t1024000000\t500\t32000")
FIXED(thp, "always madvise [never]")
FIXED(randomize, "2")
FIXED(entropy, "256")

static int show_release(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    proc_print(t, "%s\n", system_release);
    return 0;
}

static int show_version(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    proc_print(t, "%s\n", system_version);
    return 0;
}

static int show_host_name(struct proc_text *t, const struct proc_subject *s)
{
    char name[SYSTEM_NAME_MAX];

    (void)s;
    system_host_name(name);
    proc_print(t, "%s\n", name);
    return 0;
}

static int store_host_name(const char *text, size_t size, const struct proc_subject *s)
{
    (void)s;
    if (!cred_is_capable(current->cred, 21)) {
        return -EPERM;
    }
    while (size > 0 && text[size - 1] == '\n') {
        size--;
    }
    return system_set_host_name(text, size);
}

static int show_pid_max(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    proc_print(t, "%d\n", PID_MAX);
    return 0;
}

static int show_threads_max(struct proc_text *t, const struct proc_subject *s)
{
    struct page_stats m;

    (void)s;
    page_stats(&m);
    proc_print(t, "%lu\n", (unsigned long)max_of(m.total / 16, UINT64_C(64)));
    return 0;
}

static int show_mmap_min(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    proc_print(t, "%lu\n", (unsigned long)USER_MIN);
    return 0;
}

static int show_file_nr(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    proc_print(t, "%lu\t0\t9223372036854775807\n", (unsigned long)files_open());
    return 0;
}

/* RFC 4122, version 4. */
static void print_uuid(struct proc_text *t, const uint8_t bytes[16])
{
    uint8_t u[16];

    memcpy(u, bytes, sizeof(u));
    u[6] = (uint8_t)((u[6] & 0x0f) | 0x40);
    u[8] = (uint8_t)((u[8] & 0x3f) | 0x80);
    for (unsigned i = 0; i < 16; i++) {
        proc_print(t, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
    }
    proc_append(t, "\n", 1);
}

static int show_uuid(struct proc_text *t, const struct proc_subject *s)
{
    uint8_t bytes[16];

    (void)s;
    random_bytes(bytes, sizeof(bytes));
    print_uuid(t, bytes);
    return 0;
}

static int show_boot_id(struct proc_text *t, const struct proc_subject *s)
{
    static struct spinlock lock = SPINLOCK_INIT(RANK_FS_MISC);
    static uint8_t id[16];
    static bool is_set;
    uint8_t fresh[16];

    (void)s;
    random_bytes(fresh, sizeof(fresh));
    spin_lock(&lock);
    if (!is_set) {
        memcpy(id, fresh, sizeof(id));
        is_set = true;
    }
    memcpy(fresh, id, sizeof(fresh));
    spin_unlock(&lock);
    print_uuid(t, fresh);
    return 0;
}

static const struct proc_node random_children[] = {
    FILE_RO("boot_id", show_boot_id),
    FILE_RO("uuid", show_uuid),
    FILE_RO("entropy_avail", show_entropy),
    FILE_RO("poolsize", show_entropy),
    { .name = NULL },
};

static const struct proc_node kernel_children[] = {
    { .name = "hostname",
      .mode = S_IFREG | 0644,
      .show = show_host_name,
      .store = store_host_name },
    FILE_RO("osrelease", show_release),
    FILE_RO("ostype", show_os_type),
    FILE_RO("version", show_version),
    FILE_RO("pid_max", show_pid_max),
    FILE_RO("threads-max", show_threads_max),
    FILE_RO("cap_last_cap", show_cap_last),
    FILE_RO("ngroups_max", show_group_max),
    FILE_RO("core_pattern", show_core_pattern),
    FILE_RO("shmmax", show_shm_max),
    FILE_RO("sem", show_sem),
    FILE_RO("randomize_va_space", show_randomize),
    { .name = "random", .mode = S_IFDIR | 0555, .children = random_children },
    { .name = NULL },
};

static const struct proc_node vm_children[] = {
    FILE_RO("overcommit_memory", show_overcommit),
    FILE_RO("max_map_count", show_map_max),
    FILE_RO("mmap_min_addr", show_mmap_min),
    FILE_RO("swappiness", show_zero),
    { .name = NULL },
};

static const struct proc_node fs_children[] = {
    FILE_RO("file-max", show_file_max),
    FILE_RO("file-nr", show_file_nr),
    FILE_RO("nr_open", show_nr_open),
    FILE_RO("pipe-max-size", show_pipe_max),
    FILE_RO("protected_symlinks", show_zero),
    FILE_RO("protected_hardlinks", show_zero),
    { .name = NULL },
};

static const struct proc_node net_core_children[] = {
    FILE_RO("somaxconn", show_somaxconn),
    { .name = NULL },
};

static const struct proc_node net_children[] = {
    { .name = "core", .mode = S_IFDIR | 0555, .children = net_core_children },
    { .name = NULL },
};

const struct proc_node proc_sys_children[] = {
    { .name = "kernel", .mode = S_IFDIR | 0555, .children = kernel_children },
    { .name = "vm", .mode = S_IFDIR | 0555, .children = vm_children },
    { .name = "fs", .mode = S_IFDIR | 0555, .children = fs_children },
    { .name = "net", .mode = S_IFDIR | 0555, .children = net_children },
    { .name = NULL },
};

/* --- /sys ------------------------------------------------------------------------------------- */

static int show_cpu_list(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    if (cpu_count > 1) {
        proc_print(t, "0-%u\n", cpu_count - 1);
    } else {
        proc_print(t, "0\n");
    }
    return 0;
}

static const struct proc_node cpu_children[] = {
    FILE_RO("online", show_cpu_list),
    FILE_RO("possible", show_cpu_list),
    FILE_RO("present", show_cpu_list),
    { .name = NULL },
};

static const struct proc_node system_children[] = {
    { .name = "cpu", .mode = S_IFDIR | 0755, .children = cpu_children },
    { .name = NULL },
};

static const struct proc_node devices_children[] = {
    { .name = "system", .mode = S_IFDIR | 0755, .children = system_children },
    { .name = NULL },
};

static const struct proc_node thp_children[] = {
    FILE_RO("enabled", show_thp),
    { .name = NULL },
};

static const struct proc_node sys_mm_children[] = {
    { .name = "transparent_hugepage", .mode = S_IFDIR | 0755, .children = thp_children },
    { .name = NULL },
};

static const struct proc_node sys_kernel_children[] = {
    { .name = "mm", .mode = S_IFDIR | 0755, .children = sys_mm_children },
    { .name = NULL },
};

static const struct proc_node sys_fs_children[] = {
    { .name = "cgroup", .mode = S_IFDIR | 0755 },
    { .name = NULL },
};

static const struct proc_node sys_children[] = {
    { .name = "devices", .mode = S_IFDIR | 0755, .children = devices_children },
    { .name = "kernel", .mode = S_IFDIR | 0755, .children = sys_kernel_children },
    { .name = "fs", .mode = S_IFDIR | 0755, .children = sys_fs_children },
    { .name = NULL },
};

const struct proc_node sys_root_node = { .mode = S_IFDIR | 0555, .children = sys_children };
