/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one table of system calls that threads of a jailed monitor may make. A row allows a call to
 * some kinds of thread, if the masked low half of one argument has a value (a mask of 0: whatever
 * the arguments). Several rows of one call are alternatives, compared in this order: those that are
 * needed most often stand first.
 *
 * A thread has the filters of the thread that made it as well as its own: SETUP and API, which
 * make the others, allow what these do (filter_test.c looks).
 *
 * A vCPU's list has at most 15 calls (filter_test.c holds it to that). Whoever needs another call
 * adds a row with its reason here; nothing else is to be changed, docs/jail.md is made from it.
 */
#include "jail/filter_table.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/prctl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define S (1u << DRUPE_JAIL_THREAD_SETUP)
#define M (1u << DRUPE_JAIL_THREAD_MAIN)
#define L (1u << DRUPE_JAIL_THREAD_LOOP)
#define V (1u << DRUPE_JAIL_THREAD_VCPU)
#define A (1u << DRUPE_JAIL_THREAD_API)
#define F (1u << DRUPE_JAIL_THREAD_FILES)
#define B (1u << DRUPE_JAIL_THREAD_BROKER)

#define Y FILTER_SYNC_DISKS
#define P FILTER_OWN_PATHS /* beside the kinds: who builds, and the loop */

#define EXACT UINT32_MAX

/* A thread and nothing else: no new namespace, no process. */
#define CLONE_CHECKED                                                                              \
    (CLONE_THREAD | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |  \
     CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE)

#define SIGNAL_KICK 34u /* SIGRTMIN as glibc and musl count it */

#define ALLOW(threads, name, reason)                                                               \
    {                                                                                              \
        SYS_##name, #name, threads, 0, 0, 0, 0, "", reason                                         \
    }
#define ALLOW_IF(threads, name, arg, mask, value, check, reason)                                   \
    {                                                                                              \
        SYS_##name, #name, threads, arg, 0, mask, value, check, reason                             \
    }
#define ALLOW_IOCTL(threads, request, reason)                                                      \
    ALLOW_IF(threads, ioctl, 1, EXACT, (uint32_t)(request), #request, reason)
#define REFUSE(threads, name, error, reason)                                                       \
    {                                                                                              \
        SYS_##name, #name, threads, 0, error, 0, 0, "fails with " #error, reason                   \
    }

const struct filter_rule filter_rules[] = {
    /* Running the guest. */
    ALLOW_IOCTL(S | V | A, KVM_RUN, "run the guest"),
    ALLOW_IOCTL(S | M | L | V | A | F, KVM_SIGNAL_MSI, "a device interrupts the guest"),
    ALLOW_IOCTL(S | V | A, KVM_GET_REGS, "where a vCPU stands: messages, snapshots"),
    ALLOW_IOCTL(S | V | A, KVM_TRANSLATE, "the instruction bytes of a failed exit"),

    /* Waiting and waking. */
    ALLOW(S | M | L | V | A | F, futex, "locks and conditions"),
    ALLOW(S | L | A, epoll_wait, "wait for devices' descriptors"),
    ALLOW(S | L | V | A, epoll_ctl, "watch or leave a descriptor"),
    ALLOW(S | M | L | V | A, poll, "is a console's peer ready; pauses"),
    ALLOW(S | M | L | V | A | F, read, "eventfd counters, console input"),
    ALLOW(S | M | L | V | A | F, write, "eventfd counters, serial line, messages"),
    ALLOW(S | L | V | A, readv, "console input into guest memory"),
    ALLOW(S | M | L | V | A, writev, "console output from guest memory"),
    ALLOW(S | L | V | A, io_uring_enter, "disk requests (the ring is restricted to file I/O)"),
    ALLOW(S | L | V | A, getrandom, "the guest's entropy device"),
    ALLOW(S | M | L | V | A | F, clock_gettime, "clocks where the vDSO cannot read them"),
    ALLOW_IF(S | M | L | V | A | F, tgkill, 2, EXACT, SIGNAL_KICK, "signal is SIGRTMIN",
             "call a vCPU out of the guest"),
    ALLOW(S | M | L | V | A | F, rt_sigreturn, "the end of that signal's handler"),
    ALLOW(S | M | L | V | A | F, exit, "a thread ends"),

    /* Devices that talk over sockets. */
    ALLOW_IF(S | A | B | P, socket, 0, EXACT, AF_UNIX, "AF_UNIX", "the VM's vsock socket"),
    ALLOW(S | A, connect, "a page-fault handler inside the jail's root"),
    ALLOW(B | P, connect, "a connection of the guest to the host, for its jailed monitor"),
    ALLOW(S | A, bind, "the VM's vsock socket"),
    ALLOW(S | A, listen, "the VM's vsock socket"),
    ALLOW(S | M | L | A | B, recvfrom, "vsock and network streams"),
    ALLOW(S | M | L | A, sendto, "vsock and network streams"),
    ALLOW(S | M | L | A, recvmsg, "requests and descriptors from the starter"),
    ALLOW(S | M | L | A | B, sendmsg, "answers"),
    ALLOW(S | L | A, accept4, "a connection to the VM's own sockets"),
    ALLOW(S | L | A, shutdown, "half-close of a stream"),
    REFUSE(L, socket, EPERM, "a connection of the guest to the host: it gets a reset"),
    ALLOW(S | M | L | A | F | B, close, "descriptors that ended"),
    ALLOW(S | M | L | A | F | B, restart_syscall, "a wait goes on after a stop signal"),

    /* Memory of the process itself: never executable. */
    ALLOW_IF(S | M | L | A | F, mmap, 2, PROT_EXEC, 0, "without PROT_EXEC", "memory"),
    ALLOW_IF(S | M | L | A | F, mprotect, 2, PROT_EXEC, 0, "without PROT_EXEC", "stacks, heaps"),
    ALLOW(S | M | L | A | F, munmap, "memory"),
    ALLOW(S | M | L | A | F, madvise, "stacks of ended threads; pages that the balloon gave back"),
    ALLOW(S | M | L | A | F, brk, "heap"),
    ALLOW(S | A | F, mremap, "heap"),
    ALLOW(S | M | A, mincore, "resident guest memory for statistics"),
    ALLOW(S | A, sysinfo, "a snapshot asks if the host swaps"),

    /* Life and end. */
    ALLOW(S | M | A | B, exit_group, "the end"),
    ALLOW(S | M | L | A | F, rt_sigprocmask, "threads block signals while they start and end"),
    ALLOW(S | M | A, clock_nanosleep, "pauses"),
    ALLOW(S | M | A, ppoll, "wait with a deadline"),
    ALLOW(S | M | A, getpid, "messages"),
    ALLOW(S | M | A, gettid, "messages"),
    ALLOW(S | A, geteuid, "whose files a shared folder's server makes"),
    ALLOW(S | A, getegid, "whose files a shared folder's server makes"),
    ALLOW_IF(S | A, prlimit64, 2, EXACT, 0, "new limit is NULL", "how many files may be open"),
    ALLOW(S | M | A, epoll_pwait, "wait for the control socket"),

    /* Sync disks, snapshots, logs: files that are open already. */
    ALLOW(S | L | A | Y, preadv2, "disks where the host has no io_uring"),
    ALLOW(S | L | A | Y, pwritev2, "disks where the host has no io_uring"),
    ALLOW(S | L | A | F | Y, fdatasync, "disks where the host has no io_uring"),
    ALLOW(S | L | A | Y, fallocate, "discard and write zeroes there"),
    ALLOW(S | A, pread64, "snapshot files"),
    ALLOW(S | A, pwrite64, "snapshot files"),
    ALLOW(S | A | F, preadv, "snapshot files"),
    ALLOW(S | A | F, pwritev, "snapshot files"),
    ALLOW(S | A | F, fsync, "a snapshot is complete"),
    ALLOW(S | A | F, ftruncate, "a snapshot's size"),
    ALLOW(S | A | F, lseek, "holes in snapshot files"),
    ALLOW(S | A, copy_file_range, "a snapshot from another"),

    /* Paths: those inside the jail's own root. */
    ALLOW(S | A | F, openat, "files inside the jail's root"),
    ALLOW(S | A | F, newfstatat, "their kind and size"),
    ALLOW(S | A | F, fstat, "their kind and size"),
    ALLOW(S | A, statx, "how a disk wants direct I/O aligned"),
    ALLOW(S | A, getcwd, "the full name of a snapshot, for the next one's base"),
    ALLOW(S | A, readlink, "the full name of a snapshot, for the next one's base"),
    ALLOW(S | A, access, "is a snapshot there already"),
    ALLOW(S | A, readlink, "where a snapshot lies"),
    ALLOW(S | A, rename, "a snapshot under its final name"),
    ALLOW(S | A | F, renameat, "a snapshot under its final name"),
    ALLOW(S | A | F, renameat2, "a snapshot under its final name"),
    ALLOW(S | A, unlink, "an incomplete snapshot, a socket of ours"),
    ALLOW(S | A | F, unlinkat, "an incomplete snapshot, a socket of ours"),

    /* Shared folders: below the directories that Landlock leaves open. */
    ALLOW(S | A | F, getdents64, "list a shared directory"),
    ALLOW(S | A | F, fstatfs, "free space of a share"),
    ALLOW(S | A | F, readlinkat, "a link in a share"),
    ALLOW(S | A | F, mkdirat, "make names in a share"),
    ALLOW(S | A | F, symlinkat, "make names in a share"),
    ALLOW(S | A | F, linkat, "make names in a share"),
    ALLOW(S | A | F, mknodat, "FIFOs and sockets in a share"),
    ALLOW(S | A | F, fchmodat, "attributes in a share"),
    ALLOW(S | A | F, fchownat, "attributes in a share"),
    ALLOW(S | A | F, utimensat, "attributes in a share"),

    /* Building a machine. */
    ALLOW_IOCTL(S | A, KVM_GET_API_VERSION, "build a machine"),
    ALLOW_IOCTL(S | A, KVM_CREATE_VM, "build a machine"),
    ALLOW_IOCTL(S | A, KVM_CHECK_EXTENSION, "build a machine"),
    ALLOW_IOCTL(S | A, KVM_GET_VCPU_MMAP_SIZE, "build a machine"),
    ALLOW_IOCTL(S | A, KVM_GET_SUPPORTED_CPUID, "build a machine"),
    ALLOW_IOCTL(S | A, KVM_GET_MSR_INDEX_LIST, "which registers a snapshot holds"),
    ALLOW_IOCTL(S | A, KVM_CREATE_VCPU, "build a machine"),
    ALLOW_IOCTL(S | A, KVM_SET_USER_MEMORY_REGION, "build a machine; record written pages"),
    ALLOW_IOCTL(S | A, KVM_GET_DIRTY_LOG, "snapshots of changes"),
    ALLOW_IOCTL(S | A, KVM_CLEAR_DIRTY_LOG, "snapshots of changes"),
    ALLOW_IOCTL(S | A, KVM_ENABLE_CAP, "build a machine"),
    ALLOW_IOCTL(S | A, KVM_SET_TSS_ADDR, "build a machine"),
    ALLOW_IOCTL(S | A, KVM_SET_IDENTITY_MAP_ADDR, "build a machine"),
    ALLOW_IOCTL(S | A, KVM_CREATE_IRQCHIP, "build a machine"),
    ALLOW_IOCTL(S | A, KVM_SET_GSI_ROUTING, "build a machine"),
    ALLOW_IOCTL(S | A, KVM_IRQFD, "build a machine"),
    ALLOW_IOCTL(S | A, KVM_IOEVENTFD, "build a machine"),
    ALLOW_IOCTL(S | A, KVM_SET_CPUID2, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_GET_CPUID2, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_SET_REGS, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_GET_SREGS, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_SET_SREGS, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_GET_SREGS2, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_SET_SREGS2, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_GET_MSRS, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_SET_MSRS, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_GET_FPU, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_SET_FPU, "a vCPU"),
    ALLOW_IOCTL(S | V | A, KVM_GET_XSAVE, "a vCPU's vectors, the vector port"),
    ALLOW_IOCTL(S | A, KVM_GET_XSAVE2, "a vCPU"),
    ALLOW_IOCTL(S | V | A, KVM_SET_XSAVE, "a vCPU's vectors, the vector port"),
    ALLOW_IOCTL(S | A, KVM_GET_XCRS, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_SET_XCRS, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_GET_DEBUGREGS, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_SET_DEBUGREGS, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_GET_LAPIC, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_SET_LAPIC, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_GET_VCPU_EVENTS, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_SET_VCPU_EVENTS, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_GET_MP_STATE, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_SET_MP_STATE, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_GET_TSC_KHZ, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_SET_TSC_KHZ, "a vCPU"),
    ALLOW_IOCTL(S | A, KVM_SET_DEVICE_ATTR, "a vCPU's time-stamp counter"),
    ALLOW_IOCTL(S | A, KVM_GET_DEVICE_ATTR, "a vCPU's time-stamp counter"),
    ALLOW_IOCTL(S | A, KVM_KVMCLOCK_CTRL, "a pause that the guest does not see"),
    ALLOW_IOCTL(S | A, KVM_GET_CLOCK, "the guest's clock"),
    ALLOW_IOCTL(S | A, KVM_SET_CLOCK, "the guest's clock"),
    ALLOW(S | A, io_uring_setup, "a disk's ring"),
    ALLOW(S | A, io_uring_register, "a disk's ring and its restrictions"),
    ALLOW(S | A, eventfd2, "wake-ups"),
    ALLOW(S | A, epoll_create1, "the event loop"),
    ALLOW(S | A, timerfd_create, "rate limiters"),
    ALLOW(S | L | A, timerfd_settime, "rate limiters"),
    ALLOW_IOCTL(S | L | A, TUNSETOFFLOAD, "a tap takes what the guest's driver negotiated"),
    ALLOW_IOCTL(S | A, SIOCGIFINDEX, "is there a tap of this name"),
    ALLOW_IOCTL(S | A, TUNSETIFF, "attach a tap"),
    ALLOW_IOCTL(S | A, TUNGETIFF, "what kind of tap a client passed"),
    ALLOW_IOCTL(S | A, TUNSETVNETHDRSZ, "the header before each frame"),
    ALLOW(S | A, pipe2, "wake-ups"),
    ALLOW(S | A, memfd_create, "guest memory with a descriptor"),
    ALLOW(S | A, userfaultfd, "live branch, lazy restore"),
    ALLOW_IOCTL(S | A, USERFAULTFD_IOC_NEW, "live branch, lazy restore"),
    ALLOW_IOCTL(S | A, UFFDIO_API, "live branch, lazy restore"),
    ALLOW_IOCTL(S | A, UFFDIO_REGISTER, "live branch, lazy restore"),
    ALLOW_IOCTL(S | A, UFFDIO_UNREGISTER, "live branch, lazy restore"),
    ALLOW_IOCTL(S | A, UFFDIO_WRITEPROTECT, "live branch"),
    ALLOW_IOCTL(S | A, UFFDIO_COPY, "lazy restore"),
    ALLOW_IOCTL(S | A, UFFDIO_ZEROPAGE, "lazy restore"),
    ALLOW_IOCTL(S | A, UFFDIO_WAKE, "live branch, lazy restore"),
    ALLOW(S | A | F, fcntl, "flags of descriptors"),
    ALLOW(S | A, dup, "descriptors of the configuration"),
    ALLOW(S | A, set_robust_list, "a thread starts"),
    ALLOW(S | A, rseq, "a thread starts"),
    ALLOW(S | A, sched_getaffinity, "the allocator counts CPUs"),
    ALLOW(S | A, rt_sigaction, "the kick's handler"),
    ALLOW_IF(S | A, prctl, 0, EXACT, PR_SET_NAME, "PR_SET_NAME", "names of threads"),
    ALLOW_IF(S | M | L | V | A | F, prctl, 0, EXACT, PR_GET_NAME, "PR_GET_NAME",
             "the thread's name in a log line"),
    ALLOW_IF(S | A, clone, 0, CLONE_CHECKED, CLONE_THREAD, "a thread, no namespace",
             "threads of the machine"),
    REFUSE(S | A, clone3, ENOSYS, "its flags cannot be looked at; glibc then uses clone"),
    ALLOW(S | A, seccomp, "a thread confines itself further"),
};

const size_t filter_rule_count = sizeof(filter_rules) / sizeof(filter_rules[0]);
