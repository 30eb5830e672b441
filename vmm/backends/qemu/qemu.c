/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/qemu/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/assert.h>

#include "arch/arch.h"
#include "boot/boot_args.h"
#include "boot/elf.h"
#include "error.h"
#include "host.h"

#define CHILD_FD_MIN      100
#define THREAD_STACK_SIZE (64u << 10)

static int *child_fd(struct qemu_machine *m, unsigned fd)
{
    assert(fd >= QEMU_FD_KERNEL && fd - QEMU_FD_KERNEL < QEMU_FDS);
    return &m->child_fds[fd - QEMU_FD_KERNEL];
}

/* A duplicate that can be moved into place in the child. Takes nothing. */
static int give_child(struct qemu_machine *m, unsigned to, int fd)
{
    int *slot = child_fd(m, to);

    *slot = fcntl(fd, F_DUPFD_CLOEXEC, CHILD_FD_MIN);
    return *slot < 0 ? -errno : 0;
}

/* A pipe from the child's descriptor `to` (its writing end) to stream `s`. */
static int pipe_from_child(struct qemu_machine *m, enum qemu_stream s, unsigned to, int host_fd)
{
    int ends[2];
    int r = 0;

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    r = give_child(m, to, ends[1]);
    (void)close(ends[1]);
    m->pipes[s].from = ends[0];
    m->pipes[s].to = host_fd;
    return r;
}

/* A socket pair, one end of it the child's descriptor `to`; returns ours. */
static int socket_to_child(struct qemu_machine *m, unsigned to, int *out)
{
    int ends[2];
    int r = 0;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        return -errno;
    }
    r = give_child(m, to, ends[0]);
    (void)close(ends[0]);
    *out = ends[1];
    return r;
}

static int duplicate(int fd, int *out)
{
    *out = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return *out < 0 ? -errno : 0;
}

static int make_messages_pipe(struct qemu_machine *m)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    m->pipes[STREAM_MESSAGES].from = ends[0];
    m->child_messages = fcntl(ends[1], F_DUPFD_CLOEXEC, CHILD_FD_MIN);
    (void)close(ends[1]);
    return m->child_messages < 0 ? -errno : 0;
}

static int make_input(struct qemu_machine *m)
{
    struct qemu_pipe *p = &m->pipes[STREAM_STDIN];
    int r = socket_to_child(m, QEMU_FD_STDIN, &p->to);

    p->is_to_guest = true;
    p->is_two_way = m->config->stdio == DRUPE_STDIO_TTY;
    if (r == 0 && m->config->host_stdin >= 0) {
        r = duplicate(m->config->host_stdin, &p->from); /* the pump closes it at its end */
    }
    return r;
}

static int make_serial(struct qemu_machine *m)
{
    struct qemu_pipe *p = &m->pipes[STREAM_SERIAL];
    struct qemu_pipe *in = &m->pipes[STREAM_SERIAL_IN];
    int r = socket_to_child(m, QEMU_FD_SERIAL, &m->serial_in);

    p->to = m->config->serial_log;
    if (r == 0) {
        r = duplicate(m->serial_in, &p->from);
    }
    /* Our kernel takes its bytes for signals: a terminal's text is not for it. */
    if (r == 0 && m->config->serial_in >= 0 && m->guest != QEMU_GUEST_OURS) {
        in->is_to_guest = true;
        in->is_two_way = true; /* the socket stays open for the other direction */
        r = duplicate(m->config->serial_in, &in->from);
        if (r == 0) {
            r = duplicate(m->serial_in, &in->to);
        }
    }
    return r;
}

static int make_terminal(struct qemu_machine *m)
{
    struct qemu_pipe *out = &m->pipes[STREAM_STDOUT];
    int r = make_input(m);

    out->to = m->config->host_stdout;
    return r < 0 ? r : duplicate(m->pipes[STREAM_STDIN].to, &out->from);
}

static int make_streams(struct qemu_machine *m)
{
    int r = make_input(m);

    if (r == 0) {
        r = pipe_from_child(m, STREAM_STDOUT, QEMU_FD_STDOUT, m->config->host_stdout);
    }
    if (r == 0) {
        r = pipe_from_child(m, STREAM_STDERR, QEMU_FD_STDERR, m->config->host_stderr);
    }
    return r;
}

static int make_pipes(struct qemu_machine *m)
{
    int r = make_serial(m);

    if (r == 0) {
        r = socket_to_child(m, QEMU_FD_MONITOR, &m->qmp.fd);
    }
    if (r == 0) {
        r = pipe_from_child(m, STREAM_STATUS, QEMU_FD_STATUS, -1);
    }
    if (r == 0) {
        r = make_messages_pipe(m);
    }
    if (r == 0 && m->config->stdio == DRUPE_STDIO_TTY) {
        r = make_terminal(m);
    }
    if (r == 0 && m->config->stdio == DRUPE_STDIO_STREAM) {
        r = make_streams(m);
    }
    return r;
}

static int write_all(int fd, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    while (size > 0) {
        ssize_t n = write(fd, at, size);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

/* Bytes as a file that the child can open by its descriptor. */
static int give_bytes(struct qemu_machine *m, unsigned to, const void *bytes, size_t size)
{
    int fd = memfd_create("drupe", MFD_CLOEXEC);
    int r = fd < 0 ? -errno : write_all(fd, bytes, size);

    if (r == 0) {
        r = give_child(m, to, fd);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return r;
}

static int give_boot_args(struct qemu_machine *m)
{
    struct boot_args_facts facts = {
        .tsc_khz = arch_host_tsc_khz(),
        .has_console = m->config->stdio != DRUPE_STDIO_NONE,
        .is_stdin_split = true,
        .has_agent = m->config->agent_image != NULL,
    };
    size_t size = boot_ramdisk_size(m->config);
    void *blob = calloc(1, size);
    int r = blob == NULL ? -ENOMEM : boot_args_facts_now(&facts);

    if (r == 0) {
        boot_ramdisk_write(m->config, &facts, blob);
        r = give_bytes(m, QEMU_FD_INITRD, blob, size);
        explicit_bzero(blob, size);
    }
    explicit_bzero(&facts, sizeof(facts));
    free(blob);
    return r;
}

/* With the default line any kernel is taken for one of docs/boot.md. */
static enum qemu_guest guest_of(const struct config *c)
{
    struct elf_bytes bytes = { .bytes = c->kernel_image };
    struct elf_source source = c->kernel_image == NULL
                                   ? elf_source_file(&c->kernel.fd, c->kernel.size)
                                   : elf_source_bytes(&bytes, c->kernel_image_size);
    struct elf_image image;
    const char *why = "";

    if (c->cmdline == NULL || (elf_parse(&source, &image, &why) == 0 && image.has_drupe)) {
        return QEMU_GUEST_OURS;
    }
    return elf_has_magic(&source) ? QEMU_GUEST_PLAIN : QEMU_GUEST_ACPI;
}

/* What the kernel finds beside itself: an archive of the user's, or, if it is ours, its boot
 * arguments. */
static int give_module(struct qemu_machine *m)
{
    if (m->config->initrd.fd >= 0) {
        return give_child(m, QEMU_FD_INITRD, m->config->initrd.fd);
    }
    return m->guest == QEMU_GUEST_OURS ? give_boot_args(m) : 0;
}

static int give_files(struct qemu_machine *m)
{
    const struct config *c = m->config;
    int r = c->kernel_image != NULL
                ? give_bytes(m, QEMU_FD_KERNEL, c->kernel_image, c->kernel_image_size)
                : give_child(m, QEMU_FD_KERNEL, c->kernel.fd);

    if (r == 0) {
        r = give_module(m);
    }
    if (r == 0 && c->root.fd >= 0) {
        r = give_child(m, QEMU_FD_ROOT, c->root.fd);
    }
    for (unsigned i = 0; r == 0 && i < c->disk_count; i++) {
        r = give_child(m, (unsigned)QEMU_FD_DISK + i, c->disks[i].fd);
    }
    for (unsigned i = 0; r == 0 && i < c->share_count; i++) {
        r = give_child(m, (unsigned)QEMU_FD_SHARE + i, c->shares[i].fd);
    }
    for (unsigned i = 0; r == 0 && i < c->net_count; i++) {
        r = give_child(m, (unsigned)QEMU_FD_NET + i, c->nets[i].fd);
    }
    return r;
}

static drupe_vm_err_t make_vsock(struct qemu_machine *m, struct drupe_error *err)
{
    int socket = -1;
    int r = 0;

    if (m->config->vsock_path == NULL) {
        return DRUPE_OK;
    }
    r = socket_to_child(m, QEMU_FD_VSOCK, &socket);
    if (r == 0) {
        return qemu_vsock_create(m, socket, err);
    }
    if (socket >= 0) {
        (void)close(socket);
    }
    return error_set(err, DRUPE_NO_MEMORY, -r, "make QEMU's descriptors");
}

static bool has_net_limit(const struct config *c)
{
    for (unsigned i = 0; i < c->net_count; i++) {
        const struct config_net *n = &c->nets[i];

        if (n->rx_limit.bandwidth.size != 0 || n->rx_limit.ops.size != 0 ||
            n->tx_limit.bandwidth.size != 0 || n->tx_limit.ops.size != 0) {
            return true;
        }
    }
    return false;
}

static drupe_vm_err_t check_nets(const struct config *c, struct drupe_error *err)
{
    if (has_net_limit(c)) {
        return error_set(err, DRUPE_UNSUPPORTED, 0,
                         "rate limits of a network interface: not on the qemu backend");
    }
    if (c->mmds != NULL) {
        return error_set(err, DRUPE_UNSUPPORTED, 0, "a metadata service: not on the qemu backend");
    }
    return DRUPE_OK;
}

static drupe_vm_err_t start_thread(struct qemu_machine *m, struct drupe_error *err)
{
    pthread_attr_t attr;
    sigset_t all;
    sigset_t before;
    int r = 0;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
    r = pthread_create(&m->thread, &attr, qemu_pump_main, m);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0) {
        return error_set(err, DRUPE_NO_MEMORY, r, "start the thread that runs QEMU");
    }
    m->has_thread = true;
    return DRUPE_OK;
}

static drupe_vm_err_t build(struct qemu_machine *m, struct drupe_error *err)
{
    drupe_vm_err_t code = DRUPE_OK;
    int r = 0;

    if (m->config->balloon.is_present) {
        return error_set(err, DRUPE_UNSUPPORTED, 0, "a balloon: not on the qemu backend");
    }
    if (m->config->cpuid_count != 0) {
        return error_set(err, DRUPE_UNSUPPORTED, 0, "CPUID modifiers: not on the qemu backend");
    }
    code = check_nets(m->config, err);
    if (code != DRUPE_OK) {
        return code;
    }
    if (!host_find_qemu(m->path, sizeof(m->path))) {
        return error_set(err, DRUPE_UNAVAILABLE, 0, "no QEMU: install qemu-system-x86_64");
    }
    m->guest = guest_of(m->config);
    code = qemu_args_make(&m->args, m->path, m->config, m->guest, err);
    if (code != DRUPE_OK) {
        return code;
    }
    m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = m->wake_fd < 0 ? -errno : make_pipes(m);
    if (r == 0) {
        r = give_files(m);
    }
    if (r < 0) {
        return error_set(err, DRUPE_NO_MEMORY, -r, "make QEMU's descriptors");
    }
    code = make_vsock(m, err);
    return code == DRUPE_OK ? start_thread(m, err) : code;
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = -1;
}

static void open_gate(struct qemu_machine *m, bool is_released)
{
    (void)pthread_mutex_lock(&m->lock);
    m->is_gate_open = true;
    m->is_released = m->is_released || is_released;
    (void)pthread_cond_broadcast(&m->gate);
    (void)pthread_mutex_unlock(&m->lock);
}

static void qemu_kill(void *machine)
{
    struct qemu_machine *m = machine;
    uint64_t one = 1;

    atomic_store(&m->is_killed, true);
    (void)!write(m->wake_fd, &one, sizeof(one)); /* a full counter wakes as well */
}

static void qemu_destroy(void *machine)
{
    struct qemu_machine *m = machine;

    if (m->has_thread) {
        qemu_kill(m);
        open_gate(m, false);
        (void)pthread_join(m->thread, NULL);
    }
    qemu_vsock_destroy(m->vsock);
    for (unsigned i = 0; i < QEMU_FDS; i++) {
        close_fd(&m->child_fds[i]);
    }
    for (unsigned s = 0; s < STREAMS; s++) {
        close_fd(&m->pipes[s].from);
        if (m->pipes[s].is_to_guest) {
            close_fd(&m->pipes[s].to);
        }
    }
    close_fd(&m->child_messages);
    close_fd(&m->serial_in);
    close_fd(&m->qmp.fd);
    close_fd(&m->wake_fd);
    log_deinit(&m->log);
    (void)pthread_cond_destroy(&m->gate);
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

static drupe_vm_err_t qemu_create(const struct config *c, const struct backend_events *events,
                                  void **out, struct drupe_error *err)
{
    struct qemu_machine *m = calloc(1, sizeof(*m));
    drupe_vm_err_t r = DRUPE_OK;

    if (m == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make the machine");
    }
    m->config = c;
    m->events = *events;
    m->wake_fd = -1;
    m->serial_in = -1;
    m->qmp.fd = -1;
    m->child_messages = -1;
    m->pid_fd = -1;
    for (unsigned i = 0; i < QEMU_FDS; i++) {
        m->child_fds[i] = -1;
    }
    for (unsigned s = 0; s < STREAMS; s++) {
        m->pipes[s].from = -1;
        m->pipes[s].to = -1;
    }
    log_init(&m->log, c->log, c->log_ctx);
    (void)pthread_mutex_init(&m->lock, NULL);
    (void)pthread_cond_init(&m->gate, NULL);
    r = build(m, err);
    if (r != DRUPE_OK) {
        qemu_destroy(m);
        return r;
    }
    *out = m;
    return DRUPE_OK;
}

static void qemu_release(void *machine)
{
    open_gate(machine, true);
}

static drupe_vm_err_t qemu_pause(void *machine, struct drupe_error *err)
{
    struct qemu_machine *m = machine;

    return qmp_do(&m->qmp, "stop", DRUPE_PAUSE_FAILED, err);
}

static drupe_vm_err_t qemu_resume(void *machine, struct drupe_error *err)
{
    struct qemu_machine *m = machine;

    return qmp_do(&m->qmp, "cont", DRUPE_RESUME_FAILED, err);
}

static drupe_vm_err_t qemu_signal(void *machine, int signo, struct drupe_error *err)
{
    struct qemu_machine *m = machine;
    uint8_t byte = (uint8_t)signo;

    if (send(m->serial_in, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1) {
        return error_set(err, DRUPE_BUSY, errno, "write to the guest's signal line");
    }
    return DRUPE_OK;
}

static drupe_vm_err_t qemu_resize_tty(void *machine, unsigned rows, unsigned cols,
                                      struct drupe_error *err)
{
    struct qemu_machine *m = machine;

    (void)rows;
    (void)cols;
    if (m->config->stdio != DRUPE_STDIO_TTY) {
        return error_set(err, DRUPE_UNSUPPORTED, 0, "the VM has no terminal");
    }
    return DRUPE_OK; /* QEMU can't pass it on; the guest keeps the size it started with */
}

static void qemu_stats(void *machine, struct drupe_vm_stats *out)
{
    const struct qemu_machine *m = machine;

    out->vcpu_count = m->config->vcpus;
}

const struct backend backend_qemu = {
    .name = "qemu",
    .create = qemu_create,
    .release = qemu_release,
    .pause = qemu_pause,
    .resume = qemu_resume,
    .kill = qemu_kill,
    .signal = qemu_signal,
    .resize_tty = qemu_resize_tty,
    .stats = qemu_stats,
    .destroy = qemu_destroy,
};
