/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What process 1 owes the machine (a Linux guest; on Drupe's kernel that is a task of the kernel):
 * the mounts, the workload, its signals, and the end with the workload's status.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <abi/boot.h>

#include "agent.h"

#define GRACE_MS 2000

static pid_t workload; /* 0: none */

static void mount_all(void)
{
    static const struct {
        const char *type, *at, *options;
        unsigned long flags;
    } mounts[] = {
        { "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
        { "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
        { "devtmpfs", "/dev", "mode=755", MS_NOSUID },
        { "devpts", "/dev/pts", "mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC },
        { "tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV },
        { "tmpfs", "/run", "mode=755", MS_NOSUID | MS_NODEV },
        { "tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV },
    };

    for (size_t i = 0; i < array_size(mounts); i++) {
        (void)mkdir(mounts[i].at, 0755);
        /* One that is there already, or that this kernel lacks, is no reason to stop. */
        (void)mount(mounts[i].type, mounts[i].at, mounts[i].type, mounts[i].flags,
                    mounts[i].options);
    }
}

/* Bytes for the monitor's status port, if the command line names one. */
static void report_status(unsigned kind, unsigned status)
{
#ifdef __x86_64__
    static const char key[] = "drupe.status=";
    char line[4096];
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
    const char *found = NULL;
    unsigned long port = 0;

    if (n <= 0) {
        return;
    }
    line[n] = '\0';
    found = strstr(line, key);
    port = found == NULL ? 0 : strtoul(found + sizeof(key) - 1, NULL, 0);
    if (port == 0 || port > 0xffff || ioperm(port, 1, 1) < 0) {
        return;
    }
    outb(BOOT_STATUS_MAGIC, (unsigned short)port);
    outb((unsigned char)kind, (unsigned short)port);
    outb((unsigned char)status, (unsigned short)port);
    outb(0, (unsigned short)port);
#else
    (void)kind;
    (void)status;
#endif
}

static void nap(void)
{
    const struct timespec t = { .tv_nsec = 10000000 };

    (void)nanosleep(&t, NULL);
}

/* Reap what has ended; true while somebody else lives. */
static bool somebody_lives(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    return kill(-1, 0) == 0;
}

static void end_everybody(void)
{
    uint64_t deadline = now_ns() + (uint64_t)GRACE_MS * 1000000;

    (void)kill(-1, SIGTERM);
    while (somebody_lives() && now_ns() < deadline) {
        nap();
    }
    (void)kill(-1, SIGKILL);
    sync();
}

void machine_shutdown(unsigned mode)
{
    end_everybody();
    (void)reboot(mode == AGENT_REBOOT ? RB_AUTOBOOT : RB_POWER_OFF);
    _exit(0); /* not allowed to: the machine ends with its first program */
}

bool init_reaped(pid_t pid, int status)
{
    if (pid != workload || workload == 0) {
        return false;
    }
    end_everybody();
    report_status(BOOT_STATUS_EXIT, WIFSIGNALED(status)
                                        ? (unsigned)(AGENT_CODE_SIGNALED + WTERMSIG(status))
                                        : (unsigned)WEXITSTATUS(status));
    (void)reboot(RB_AUTOBOOT); /* monitors end there; a power-off button is not everywhere */
    _exit(0);
}

void init_signal(int signal)
{
    if (workload > 0) {
        (void)kill(-workload, signal);
    } else if (signal == SIGTERM && getpid() != 1) {
        _exit(0);
    }
}

/* Descriptors 0 to 2 exist: what is opened later is not taken for a standard stream. */
static void hold_streams(void)
{
    int fd = open("/dev/null", O_RDWR);

    while (fd >= 0 && fd < 2) {
        fd = dup(fd);
    }
    if (fd > 2) {
        (void)close(fd);
    }
}

void init_start(char **argv)
{
    static char path[] = "PATH=" DEFAULT_PATH;
    static char home[] = "HOME=/";
    static char term[] = "TERM=linux";
    static char *env[] = { path, home, term, NULL };
    const struct exec_request r = { .argv = argv, .env = env, .cwd = "/" };
    struct spawn p = { .request = &r, .fds = { 0, 1, 2 } };

    if (getpid() == 1) {
        mount_all();
    }
    hold_streams();
    if (getpid() != 1 || argv[0] == NULL) {
        return;
    }
    p.has_terminal = isatty(0) != 0;
    workload = spawn_program(&p);
    if (workload < 0) {
        (void)fprintf(stderr, "drupe-agent: %s: %s: %s\n", argv[0], p.what, strerror(p.error));
        report_status(BOOT_STATUS_ERROR, (unsigned)p.code);
        (void)reboot(RB_AUTOBOOT);
        _exit(p.code);
    }
}
