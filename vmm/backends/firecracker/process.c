/* SPDX-License-Identifier: Apache-2.0 */
/* The process: its files, its directory, its life until it answers. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/fmt.h>

#include "arch/arch.h"
#include "backends/firecracker/firecracker.h"
#include "boot/boot_args.h"
#include "boot/elf.h"
#include "error.h"

#define CHILD_FD_MIN 100
#define ASK_AGAIN_NS 2000000
#define BASE_DEFAULT "/tmp"
#define BASE_SIZE    48u

/* ---- Files ---- */

static int give(struct fc_machine *m, unsigned to, int fd)
{
    int *slot = &m->fds[to - FC_FD_KERNEL];

    *slot = fcntl(fd, F_DUPFD_CLOEXEC, CHILD_FD_MIN);
    return *slot < 0 ? -errno : 0;
}

static int give_bytes(struct fc_machine *m, unsigned to, const void *bytes, size_t size)
{
    int fd = memfd_create("drupe", MFD_CLOEXEC);
    const uint8_t *at = bytes;
    int r = fd < 0 ? -errno : 0;

    while (r == 0 && size > 0) {
        ssize_t n = write(fd, at, size);

        if (n > 0) {
            at += n;
            size -= (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            r = n == 0 ? -EIO : -errno;
        }
    }
    if (r == 0) {
        r = give(m, to, fd);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return r;
}

static bool is_our_kernel(const struct config *c)
{
    struct elf_bytes bytes = { .bytes = c->kernel_image };
    struct elf_source source = c->kernel_image == NULL
                                   ? elf_source_file(&c->kernel.fd, c->kernel.size)
                                   : elf_source_bytes(&bytes, c->kernel_image_size);
    struct elf_image image;
    const char *why = "";

    return elf_parse(&source, &image, &why) == 0 && image.has_drupe;
}

/* Boot arguments as the initial ramdisk, with the agent behind them (docs/boot.md). */
static int give_boot_args(struct fc_machine *m)
{
    struct boot_args_facts facts = { .tsc_khz = arch_host_tsc_khz(),
                                     .has_agent = m->config->agent_image != NULL };
    size_t size = boot_ramdisk_size(m->config);
    void *blob = calloc(1, size);
    int r = blob == NULL ? -ENOMEM : boot_args_facts_now(&facts);

    if (r == 0) {
        boot_ramdisk_write(m->config, &facts, blob);
        r = give_bytes(m, FC_FD_INITRD, blob, size);
        explicit_bzero(blob, size);
    }
    explicit_bzero(&facts, sizeof(facts));
    free(blob);
    return r;
}

static int give_files(struct fc_machine *m)
{
    const struct config *c = m->config;
    int r = c->kernel_image != NULL
                ? give_bytes(m, FC_FD_KERNEL, c->kernel_image, c->kernel_image_size)
                : give(m, FC_FD_KERNEL, c->kernel.fd);

    if (r == 0 && c->initrd.fd >= 0) {
        r = give(m, FC_FD_INITRD, c->initrd.fd);
    } else if (r == 0 && m->is_our_kernel) {
        r = give_boot_args(m);
    }
    if (r == 0 && c->root.fd >= 0) {
        r = give(m, FC_FD_ROOT, c->root.fd);
    }
    for (unsigned i = 0; r == 0 && i < c->disk_count; i++) {
        r = give(m, (unsigned)FC_FD_DISK + i, c->disks[i].fd);
    }
    return r;
}

static int make_directory(struct fc_machine *m)
{
    const char *base = getenv("XDG_RUNTIME_DIR");

    if (base == NULL || base[0] != '/' || strlen(base) > BASE_SIZE) {
        base = BASE_DEFAULT;
    }
    (void)fmt_snprintf(m->directory, sizeof(m->directory), "%s/drupe-fc-XXXXXX", base);
    if (mkdtemp(m->directory) == NULL) {
        m->directory[0] = '\0';
        return -errno;
    }
    (void)fmt_snprintf(m->socket_path, sizeof(m->socket_path), "%s/api.sock", m->directory);
    return 0;
}

/* ---- Child ---- */

/* Between fork and exec: only async-signal-safe calls. */
static void run_firecracker(void *ctx)
{
    struct fc_machine *m = ctx;
    /* Its own messages go to standard error: standard output is the guest's serial line. */
    char *path = m->config->firecracker_path;
    const char *argv[] = { path,         "--api-sock",      m->socket_path, "--id",    "drupe",
                           "--log-path", "/proc/self/fd/2", "--level",      "Warning", NULL };

    for (unsigned i = 0; i < FC_FDS; i++) {
        if (m->fds[i] >= 0 && dup2(m->fds[i], (int)(FC_FD_KERNEL + i)) < 0) {
            return;
        }
    }
    (void)execv(path, (char *const *)(uintptr_t)argv); /* POSIX: not written to */
}

static void take_output(void *ctx, const uint8_t *bytes, size_t size)
{
    struct fc_machine *m = ctx;

    fc_console_take(&m->console, bytes, size);
}

/* Exit code 0 is the guest's reset or power-off; every other is Firecracker's own trouble. */
static void judge(void *ctx, int wait_status, struct drupe_vm_outcome *out)
{
    struct fc_machine *m = ctx;

    if (wait_status == 0) {
        fc_console_outcome(&m->console, out);
        return;
    }
    out->kind = DRUPE_END_MONITOR;
    child_describe_end(&m->child, wait_status, out->text, sizeof(out->text));
}

const struct child_ops fc_child_ops = {
    .run = run_firecracker,
    .output = take_output,
    .outcome = judge,
};

/* ---- Its first answer ---- */

static drupe_vm_err_t ended_early(struct fc_machine *m, struct drupe_error *err)
{
    char text[200];

    child_describe_end(&m->child, m->child.wait_status, text, sizeof(text));
    return error_set(err, DRUPE_UNAVAILABLE, 0, "%.60s is no Firecracker: %s",
                     m->config->firecracker_path, text);
}

static drupe_vm_err_t wait_socket(struct fc_machine *m, uint64_t until_ns, struct drupe_error *err)
{
    const struct timespec pause = { .tv_nsec = ASK_AGAIN_NS };

    for (;;) {
        int r = fc_http_open(&m->http, m->socket_path);

        if (r == 0) {
            return DRUPE_OK;
        }
        if (child_is_gone(&m->child)) {
            return ended_early(m, err);
        }
        if (clock_ns() >= until_ns) {
            return error_set(err, DRUPE_BOOT_TIMEOUT, -r,
                             "%.80s does not open its API socket within %u ms",
                             m->config->firecracker_path, FC_API_TIMEOUT_MS);
        }
        (void)nanosleep(&pause, NULL);
    }
}

static drupe_vm_err_t greet(struct fc_machine *m, struct drupe_error *err)
{
    char version[32];
    uint64_t until_ns = clock_ns() + FC_API_TIMEOUT_MS * NS_PER_MS;
    drupe_vm_err_t r = wait_socket(m, until_ns, err);
    const struct fc_request ask = {
        .method = "GET", .path = "/version", .until_ns = until_ns, .code = DRUPE_UNAVAILABLE
    };

    if (r == DRUPE_OK) {
        r = fc_http_do(&m->http, &ask, err);
    }
    if (r == DRUPE_UNAVAILABLE && clock_ns() >= until_ns) {
        return error_set(err, DRUPE_BOOT_TIMEOUT, 0, "%.80s gives no answer within %u ms",
                         m->config->firecracker_path, FC_API_TIMEOUT_MS);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    if (!fc_json_find_string(m->http.body, m->http.body_size, "firecracker_version", version,
                             sizeof(version))) {
        return error_set(err, DRUPE_UNAVAILABLE, 0, "%.80s does not answer as Firecracker does",
                         m->config->firecracker_path);
    }
    return DRUPE_OK;
}

drupe_vm_err_t fc_spawn(struct fc_machine *m, struct drupe_error *err)
{
    drupe_vm_err_t code = DRUPE_OK;
    int r = 0;

    m->is_our_kernel = is_our_kernel(m->config);
    fc_console_init(&m->console, m->config, m->is_our_kernel);
    r = give_files(m);
    if (r == 0) {
        r = make_directory(m);
    }
    if (r < 0) {
        return error_set(err, DRUPE_NO_MEMORY, -r, "prepare Firecracker's files");
    }
    m->child.std[0] = CHILD_PIPE;
    m->child.std[1] = CHILD_PIPE;
    m->child.std[2] = CHILD_PIPE;
    code = child_start(&m->child, err);
    return code == DRUPE_OK ? greet(m, err) : code;
}
