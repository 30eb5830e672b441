/* SPDX-License-Identifier: Apache-2.0 */
#include "attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kvm.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static int result(long r)
{
    return r < 0 ? -errno : 0;
}

/* ---- Files ---- */

static int open_passwd(const struct surroundings *s)
{
    (void)s;
    return result(open("/etc/passwd", O_RDONLY));
}

static int open_above_root(const struct surroundings *s)
{
    (void)s;
    return result(open("../../../../etc/passwd", O_RDONLY));
}

static int open_below_kept_directory(const struct surroundings *s)
{
    return result(openat(s->host_root_fd, "etc/passwd", O_RDONLY));
}

static int make_below_kept_directory(const struct surroundings *s)
{
    return result(mkdirat(s->host_root_fd, "tmp/drupe-escaped", 0700));
}

static int list_proc(const struct surroundings *s)
{
    (void)s;
    return result(open("/proc/1/maps", O_RDONLY));
}

static int make_file(const struct surroundings *s)
{
    (void)s;
    return result(open("/file", O_WRONLY | O_CREAT, 0600));
}

static int make_directory(const struct surroundings *s)
{
    (void)s;
    return result(mkdir("/directory", 0700));
}

static int make_device(const struct surroundings *s)
{
    (void)s;
    return result(mknod("/mem", S_IFCHR | 0600, makedev(1, 1)));
}

static int open_kvm(const struct surroundings *s)
{
    (void)s;
    return result(open("/dev/kvm", O_RDWR));
}

static int open_terminal(const struct surroundings *s)
{
    (void)s;
    return result(open("/dev/tty", O_RDWR));
}

static int push_input(const struct surroundings *s)
{
    char c = 'x';

    (void)s;
    return result(ioctl(0, TIOCSTI, &c));
}

static int chroot_away(const struct surroundings *s)
{
    return fchdir(s->host_root_fd) < 0 ? -errno : result(chroot("."));
}

static int enter_kept_directory(const struct surroundings *s)
{
    if (fchdir(s->host_root_fd) < 0) {
        return -errno;
    }
    return result(open("etc/passwd", O_RDONLY));
}

static int mount_tmpfs(const struct surroundings *s)
{
    (void)s;
    return result(mount("x", "/", "tmpfs", 0, NULL));
}

static int remount_writable(const struct surroundings *s)
{
    (void)s;
    return result(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
}

static int unmount_root(const struct surroundings *s)
{
    (void)s;
    return result(umount2("/", MNT_DETACH));
}

static int pivot_back(const struct surroundings *s)
{
    return fchdir(s->host_root_fd) < 0 ? -errno : result(syscall(SYS_pivot_root, ".", "."));
}

static int write_large_file(const struct surroundings *s)
{
    char bytes[4096];

    (void)signal(SIGXFSZ, SIG_IGN);
    memset(bytes, 1, sizeof(bytes));
    for (int i = 0; i < 64; i++) {
        if (write(s->file_fd, bytes, sizeof(bytes)) < 0) {
            return -errno;
        }
    }
    return 0;
}

static int open_many(const struct surroundings *s)
{
    for (int i = 0; i < 4096; i++) {
        if (dup(s->file_fd) < 0) {
            return -errno;
        }
    }
    return 0;
}

static int raise_limits(const struct surroundings *s)
{
    struct rlimit more = { 1u << 16, 1u << 16 };

    (void)s;
    return result(setrlimit(RLIMIT_NOFILE, &more));
}

static int allow_cores(const struct surroundings *s)
{
    struct rlimit more = { RLIM_INFINITY, RLIM_INFINITY };

    (void)s;
    return result(setrlimit(RLIMIT_CORE, &more));
}

/* ---- Ids and capabilities ---- */

static int become_root(const struct surroundings *s)
{
    (void)s;
    return result(setresuid(0, 0, 0));
}

static int become_group_root(const struct surroundings *s)
{
    (void)s;
    return result(setresgid(0, 0, 0));
}

static int take_groups(const struct surroundings *s)
{
    const gid_t groups[] = { 0 };

    (void)s;
    return result(syscall(SYS_setgroups, 1, groups));
}

static int take_capabilities(const struct surroundings *s)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct caps[2] = { { UINT32_MAX, UINT32_MAX, 0 },
                                              { UINT32_MAX, UINT32_MAX, 0 } };

    (void)s;
    return result(syscall(SYS_capset, &header, caps));
}

static int have_capabilities(const struct surroundings *s)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct caps[2];

    (void)s;
    if (syscall(SYS_capget, &header, caps) < 0) {
        return -errno;
    }
    return (caps[0].permitted | caps[1].permitted | caps[0].effective | caps[1].effective) != 0
               ? 0
               : -EPERM;
}

static int keep_bounding_set(const struct surroundings *s)
{
    (void)s;
    return prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) == 1 ? 0 : -EPERM;
}

static int allow_privileges(const struct surroundings *s)
{
    (void)s;
    return result(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

static int is_id_zero(const struct surroundings *s)
{
    (void)s;
    return getuid() == 0 || geteuid() == 0 || getgid() == 0 ? 0 : -EPERM;
}

/* ---- Other processes ---- */

static int signal_starter(const struct surroundings *s)
{
    return result(kill(s->starter_pid, 0));
}

static int see_parent(const struct surroundings *s)
{
    (void)s;
    return getppid() != 0 ? 0 : -ESRCH;
}

static int trace_starter(const struct surroundings *s)
{
    return result(ptrace(PTRACE_ATTACH, s->starter_pid, 0, 0));
}

static int read_starter(const struct surroundings *s)
{
    char byte = 0;
    struct iovec to = { &byte, 1 };
    struct iovec from = { (void *)(uintptr_t)s, 1 };

    return result(process_vm_readv(s->starter_pid, &to, 1, &from, 1, 0));
}

static int attach_segment(const struct surroundings *s)
{
    return result(shmget(s->shm_key, 4096, 0));
}

/* ---- Network ---- */

static int connect_abstract(const struct surroundings *s)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const size_t size = strlen(s->socket_name);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    memcpy(a.sun_path + 1, s->socket_name, size);
    return fd < 0 ? -errno
                  : result(connect(fd, (const struct sockaddr *)&a,
                                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + size)));
}

static int connect_loopback(const struct surroundings *s)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(22) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)s;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return fd < 0 ? -errno : result(connect(fd, (const struct sockaddr *)&a, sizeof(a)));
}

static int raise_loopback(const struct surroundings *s)
{
    struct ifreq r = { .ifr_name = "lo" };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    (void)s;
    r.ifr_flags = IFF_UP;
    return fd < 0 ? -errno : result(ioctl(fd, SIOCSIFFLAGS, &r));
}

static int name_host(const struct surroundings *s)
{
    (void)s;
    return result(sethostname("mine", 4));
}

const struct attempt attempts[] = {
    { "open a file outside by its path", open_passwd, false, false },
    { "open a file outside by ..", open_above_root, false, false },
    { "open a file through a directory of the host that was left open", open_below_kept_directory,
      true, false },
    { "make a directory there", make_below_kept_directory, true, false },
    { "enter it and open a file", enter_kept_directory, true, false },
    { "escape by chroot from it", chroot_away, false, false },
    { "escape by pivot_root from it", pivot_back, false, false },
    { "look into /proc", list_proc, false, false },
    { "make a file in the jail's root", make_file, false, false },
    { "make a directory there (jail's root)", make_directory, false, false },
    { "make a device node", make_device, false, false },
    { "open /dev/kvm, which was not asked for", open_kvm, false, false },
    { "open the terminal", open_terminal, false, false },
    { "push input into the terminal", push_input, false, false },
    { "mount over the root", mount_tmpfs, false, false },
    { "make the root writable", remount_writable, false, false },
    { "unmount the root", unmount_root, false, false },
    { "write a file beyond its limit", write_large_file, false, false },
    { "open more files than the limit", open_many, false, false },
    { "raise the limit of files", raise_limits, false, false },
    { "raise the limit of cores", allow_cores, false, false },
    { "be id 0", is_id_zero, false, false },
    { "become uid 0", become_root, false, false },
    { "become gid 0", become_group_root, false, false },
    { "take a supplementary group", take_groups, false, false },
    { "have a capability", have_capabilities, false, false },
    { "take all capabilities", take_capabilities, false, false },
    { "have CAP_SYS_ADMIN in the bounding set", keep_bounding_set, false, false },
    { "take back no_new_privs", allow_privileges, false, false },
    { "signal the starter", signal_starter, false, false },
    { "see a parent process", see_parent, false, true },
    { "trace the starter", trace_starter, false, false },
    { "read the starter's memory", read_starter, false, false },
    { "attach a shared memory segment of the host", attach_segment, false, false },
    { "connect to an abstract socket of the host", connect_abstract, false, false },
    { "connect to a port of the host", connect_loopback, false, false },
    { "raise a network interface", raise_loopback, false, false },
    { "set the host name", name_host, false, false },
};

const unsigned attempt_count = array_size(attempts);

#define CALL(name, ...)                                                                            \
    {                                                                                              \
#name, SYS_##name,                                                                         \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define PATH(text) (unsigned long)(uintptr_t)(text)

const struct forbidden forbidden_calls[] = {
    CALL(open, PATH("/etc/passwd")),
    CALL(openat, (unsigned long)AT_FDCWD, PATH("/etc/passwd")),
    CALL(openat2, (unsigned long)AT_FDCWD, PATH("/etc/passwd")),
    CALL(open_by_handle_at, 0),
    CALL(name_to_handle_at, 0),
    CALL(creat, PATH("/x")),
    CALL(execve, PATH("/bin/sh")),
    CALL(execveat, 0, PATH("")),
    CALL(socket, AF_INET, SOCK_STREAM),
    CALL(socketpair, AF_UNIX, SOCK_STREAM),
    CALL(connect, 0),
    CALL(bind, 0),
    CALL(listen, 0),
    CALL(ptrace, PTRACE_TRACEME),
    CALL(process_vm_readv, 1),
    CALL(process_vm_writev, 1),
    CALL(process_madvise, 0),
    CALL(pidfd_open, 1),
    CALL(pidfd_getfd, 0),
    CALL(pidfd_send_signal, 0),
    CALL(kill, 1, SIGKILL),
    CALL(tkill, 1, SIGKILL),
    { "tgkill with another signal than the kick", SYS_tgkill, { 1, 1, SIGKILL } },
    CALL(mount, 0),
    CALL(umount2, PATH("/")),
    CALL(pivot_root, PATH("."), PATH(".")),
    CALL(chroot, PATH(".")),
    CALL(fsopen, PATH("tmpfs")),
    CALL(open_tree, 0),
    CALL(move_mount, 0),
    CALL(unshare, CLONE_NEWUSER),
    CALL(setns, 0),
    CALL(fork, 0),
    CALL(vfork, 0),
    { "clone of a process", SYS_clone, { SIGCHLD } },
    { "clone with a user namespace", SYS_clone, { CLONE_NEWUSER | SIGCHLD } },
    { "clone of a thread with a mount namespace",
      SYS_clone,
      { CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWNS } },
    { "mmap with PROT_EXEC",
      SYS_mmap,
      { 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, (unsigned long)-1 } },
    { "mprotect with PROT_EXEC", SYS_mprotect, { 0, 4096, PROT_READ | PROT_EXEC } },
    CALL(pkey_mprotect, 0),
    CALL(setuid, 0),
    CALL(setgid, 0),
    CALL(setresuid, 0),
    CALL(setresgid, 0),
    CALL(setgroups, 0),
    CALL(capset, 0),
    CALL(prctl, PR_SET_DUMPABLE, 1),
    CALL(personality, 0),
    CALL(setrlimit, RLIMIT_NOFILE),
    CALL(prlimit64, 0, 0, 1),
    CALL(mknod, PATH("/x"), S_IFCHR),
    CALL(keyctl, 0),
    CALL(add_key, 0),
    CALL(request_key, 0),
    CALL(bpf, 0),
    CALL(perf_event_open, 0),
    CALL(userfaultfd, 0),
    CALL(io_uring_setup, 8),
    CALL(memfd_create, PATH("x")),
    CALL(memfd_secret, 0),
    CALL(init_module, 0),
    CALL(finit_module, 0),
    CALL(delete_module, PATH("x")),
    CALL(kexec_load, 0),
    CALL(reboot, 0),
    CALL(swapon, 0),
    CALL(acct, 0),
    CALL(quotactl, 0),
    CALL(syslog, 0),
    CALL(settimeofday, 0),
    CALL(clock_settime, 0),
    CALL(adjtimex, 0),
    CALL(sethostname, PATH("x"), 1),
    CALL(iopl, 3),
    CALL(ioperm, 0, 1, 1),
    CALL(modify_ldt, 0),
    CALL(arch_prctl, 0),
    CALL(shmget, 0),
    CALL(shmat, 0),
    CALL(msgget, 0),
    CALL(semget, 0),
    CALL(mq_open, 0),
    CALL(inotify_init1, 0),
    CALL(fanotify_init, 0),
    CALL(landlock_create_ruleset, 0),
    CALL(seccomp, 99),
    CALL(vmsplice, 0),
    CALL(splice, 0),
    CALL(sendfile, 0),
    CALL(getppid, 0),
    CALL(uselib, 0),
    { "ioctl TIOCSTI", SYS_ioctl, { 0, TIOCSTI } },
    { "ioctl FIONBIO", SYS_ioctl, { 0, FIONBIO } },
    { "ioctl KVM_CREATE_VM", SYS_ioctl, { 0, KVM_CREATE_VM } },
    { "ioctl KVM_SET_USER_MEMORY_REGION", SYS_ioctl, { 0, KVM_SET_USER_MEMORY_REGION } },
    { "ioctl KVM_CREATE_DEVICE", SYS_ioctl, { 0, KVM_CREATE_DEVICE } },
    { "a number without a call", 9999, { 0 } },
};

const unsigned forbidden_count = array_size(forbidden_calls);
