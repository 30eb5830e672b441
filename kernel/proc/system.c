// SPDX-License-Identifier: Apache-2.0
/* The machine as programs ask about it: names, memory, uptime, the log; and its end. */
#include <proc/system.h>

#include <abi/boot.h>
#include <arch/ops.h>
#include <core/log.h>
#include <core/string.h>
#include <mm/page.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <proc/process.h>
#include <proc/signal.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

#define CAP_SYS_ADMIN 21u
#define CAP_SYS_BOOT  22u
#define CAP_SYSLOG    34u

static struct spinlock names_lock = SPINLOCK_INIT(RANK_FS_MISC);
static char host_name[SYSTEM_NAME_MAX] = "drupe";
static char domain_name[SYSTEM_NAME_MAX] = "(none)";

const char system_release[] = "6.1.0-drupe";
const char system_version[] = "#1 SMP Drupe";

void system_host_name(char out[SYSTEM_NAME_MAX])
{
    uint64_t flags = spin_lock_irqsave(&names_lock);

    memcpy(out, host_name, SYSTEM_NAME_MAX);
    spin_unlock_irqrestore(&names_lock, flags);
}

int system_set_host_name(const char *name, size_t length)
{
    uint64_t flags;

    if (length >= SYSTEM_NAME_MAX) {
        return -EINVAL;
    }
    flags = spin_lock_irqsave(&names_lock);
    memset(host_name, 0, sizeof(host_name));
    memcpy(host_name, name, length);
    spin_unlock_irqrestore(&names_lock, flags);
    return 0;
}

struct user_utsname { /* the ABI's struct new_utsname */
    char sysname[SYSTEM_NAME_MAX], nodename[SYSTEM_NAME_MAX], release[SYSTEM_NAME_MAX],
        version[SYSTEM_NAME_MAX], machine[SYSTEM_NAME_MAX], domainname[SYSTEM_NAME_MAX];
};

long sys_uname(void __user *to)
{
    struct user_utsname u = { .sysname = "Linux" };
    uint64_t flags;

    (void)str_copy(u.release, system_release, sizeof(u.release));
    (void)str_copy(u.version, system_version, sizeof(u.version));
    (void)str_copy(u.machine, arch_platform, sizeof(u.machine));
    flags = spin_lock_irqsave(&names_lock);
    memcpy(u.nodename, host_name, sizeof(u.nodename));
    memcpy(u.domainname, domain_name, sizeof(u.domainname));
    spin_unlock_irqrestore(&names_lock, flags);
    return copy_to_user(to, &u, sizeof(u));
}

static long set_name(char *name, const void __user *from, int length)
{
    char copy[SYSTEM_NAME_MAX] = { 0 };
    uint64_t flags;

    if (!cred_is_capable(current->cred, CAP_SYS_ADMIN)) {
        return -EPERM;
    }
    if (length < 0 || (size_t)length >= SYSTEM_NAME_MAX) {
        return -EINVAL;
    }
    if (copy_from_user(copy, from, (size_t)length) < 0) {
        return -EFAULT;
    }
    flags = spin_lock_irqsave(&names_lock);
    memcpy(name, copy, sizeof(copy));
    spin_unlock_irqrestore(&names_lock, flags);
    return 0;
}

long sys_sethostname(void __user *from, int length)
{
    return set_name(host_name, from, length);
}

long sys_setdomainname(void __user *from, int length)
{
    return set_name(domain_name, from, length);
}

struct user_sysinfo { /* the ABI's struct sysinfo, 64 bits */
    int64_t uptime;
    uint64_t loads[3];
    uint64_t total_ram, free_ram, shared_ram, buffer_ram, total_swap, free_swap;
    uint16_t procs;
    uint16_t pad;
    uint64_t total_high, free_high;
    uint32_t mem_unit;
};

static_assert(sizeof(struct user_sysinfo) == 112, "struct sysinfo is ABI");

long sys_sysinfo(void __user *to)
{
    struct user_sysinfo s = { 0 };
    struct page_stats stats;

    page_stats(&stats);
    s.uptime = (int64_t)(clock_monotonic_ns() / NSEC_PER_SEC);
    s.total_ram = stats.total << PAGE_SHIFT;
    s.free_ram = stats.free << PAGE_SHIFT;
    s.procs = (uint16_t)min_of(task_count(), (unsigned)UINT16_MAX);
    s.mem_unit = 1;
    return copy_to_user(to, &s, sizeof(s));
}

/* --- the log
 * ---------------------------------------------------------------------------------------- */

#define SYSLOG_READ          2
#define SYSLOG_READ_ALL      3
#define SYSLOG_READ_CLEAR    4
#define SYSLOG_CLEAR         5
#define SYSLOG_CONSOLE_OFF   6
#define SYSLOG_CONSOLE_ON    7
#define SYSLOG_CONSOLE_LEVEL 8
#define SYSLOG_SIZE_UNREAD   9
#define SYSLOG_SIZE_BUFFER   10
#define SYSLOG_BUFFER_SIZE   65536

static uint64_t log_cleared; /* sequence up to which READ_ALL shows nothing */

static long read_log(void __user *to, int size)
{
    char *chunk = kmalloc(PAGE_SIZE, GFP_KERNEL);
    uint64_t seq = log_cleared;
    long done = 0;

    if (!chunk) {
        return -ENOMEM;
    }
    while (done < size) {
        size_t n = log_read(&seq, chunk, min_of((size_t)(size - done), (size_t)PAGE_SIZE));

        if (n == 0) {
            break;
        }
        if (copy_to_user((char __user *)to + done, chunk, n) < 0) {
            done = -EFAULT;
            break;
        }
        done += (long)n;
    }
    kfree(chunk);
    return done;
}

static void clear_log(void)
{
    char chunk[128];

    while (log_read(&log_cleared, chunk, sizeof(chunk)) > 0) {
    }
}

long sys_syslog(int what, void __user *to, int size)
{
    long result;

    if (what != SYSLOG_READ_ALL && what != SYSLOG_SIZE_BUFFER &&
        !cred_is_capable(current->cred, CAP_SYSLOG)) {
        return -EPERM;
    }
    switch (what) {
    case 0: /* open and close mean nothing */
    case 1:
        return 0;
    case SYSLOG_READ:
    case SYSLOG_READ_ALL:
    case SYSLOG_READ_CLEAR:
        if (!to || size < 0) {
            return -EINVAL;
        }
        result = read_log(to, size);
        if (what == SYSLOG_READ_CLEAR && result >= 0) {
            clear_log();
        }
        return result;
    case SYSLOG_CLEAR:
        clear_log();
        return 0;
    case SYSLOG_CONSOLE_OFF:
        log_set_console_level(1);
        return 0;
    case SYSLOG_CONSOLE_ON:
        log_set_console_level(LOG_INFO);
        return 0;
    case SYSLOG_CONSOLE_LEVEL:
        if (size < 1 || size > 8) {
            return -EINVAL;
        }
        log_set_console_level(size - 1);
        return 0;
    case SYSLOG_SIZE_UNREAD:
        return 0;
    case SYSLOG_SIZE_BUFFER:
        return SYSLOG_BUFFER_SIZE;
    default:
        return -EINVAL;
    }
}

/* --- the end
 * ----------------------------------------------------------------------------------------- */

#define REBOOT_MAGIC1    0xfee1deadu
#define REBOOT_RESTART   0x01234567u
#define REBOOT_HALT      0xcdef0123u
#define REBOOT_CAD_ON    0x89abcdefu
#define REBOOT_CAD_OFF   0x00000000u
#define REBOOT_POWER_OFF 0x4321fedcu
#define REBOOT_RESTART2  0xa1b2c3d4u

static bool is_magic2(unsigned magic)
{
    return magic == 672274793u || magic == 85072278u || magic == 369367448u || magic == 537993216u;
}

static void report_reboot(const char *what)
{
    log_info("reboot: %s asked for by program=%.16s pid=%d", what, current->name,
             current->process->pid);
}

long sys_reboot(unsigned magic1, unsigned magic2, unsigned command, void __user *arg)
{
    (void)arg;
    if (!cred_is_capable(current->cred, CAP_SYS_BOOT)) {
        return -EPERM;
    }
    if (magic1 != REBOOT_MAGIC1 || !is_magic2(magic2)) {
        return -EINVAL;
    }
    switch (command) {
    case REBOOT_RESTART:
    case REBOOT_RESTART2:
        report_reboot("restart");
        machine_end(BOOT_STATUS_REBOOT, 0);
    case REBOOT_HALT: /* nobody could tell it from off */
    case REBOOT_POWER_OFF:
        report_reboot("power off");
        machine_end(BOOT_STATUS_EXIT, 0);
    case REBOOT_CAD_ON: /* there is no such key: both are what they are */
    case REBOOT_CAD_OFF:
        return 0;
    default:
        return -EINVAL;
    }
}
