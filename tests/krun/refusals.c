/* SPDX-License-Identifier: Apache-2.0 */
/* libkrun's answers to wrong use: refusals WORK-DIRECTORY. Prints what is not as the table says. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libkrun.h>

#define NOBODY 4000u

static unsigned wrong;

static void check(int line, const char *what, int32_t got, int32_t want)
{
    if (got != want) {
        printf("line %d: %s is %d, not %d\n", line, what, got, want);
        wrong++;
    }
}

#define EXPECT(call, want) check(__LINE__, #call, call, want)

static void check_settings(uint32_t ctx, const char *file)
{
    const char *const none[] = { NULL };
    const char *const env[] = { "A=b", NULL };
    const char *const no_env[] = { "nonsense", NULL };
    const char *const limits[] = { "7=100:200", "6=1:1", NULL };

    EXPECT(krun_set_vm_config(ctx, 0, 256), -EINVAL);
    EXPECT(krun_set_vm_config(ctx, 33, 256), -EINVAL);
    EXPECT(krun_set_vm_config(ctx, 255, 256), -EINVAL);
    EXPECT(krun_set_vm_config(ctx, 1, 0), -EINVAL);
    EXPECT(krun_set_vm_config(ctx, 1, 3), -EINVAL);
    EXPECT(krun_set_vm_config(ctx, 1, 16385), -EINVAL);
    EXPECT(krun_set_vm_config(ctx, 32, 16384), 0);
    EXPECT(krun_set_root(ctx, NULL), -EINVAL);
    EXPECT(krun_set_root(ctx, ""), -EINVAL);
    EXPECT(krun_set_root(ctx, "/"), 0);
    EXPECT(krun_set_workdir(ctx, NULL), -EINVAL);
    EXPECT(krun_set_workdir(ctx, "relative"), -EINVAL);
    EXPECT(krun_set_exec(ctx, NULL, none, env), -EINVAL);
    EXPECT(krun_set_exec(ctx, "", none, env), -EINVAL);
    EXPECT(krun_set_exec(ctx, "/x", none, no_env), -EINVAL);
    EXPECT(krun_set_exec(ctx, "/x", NULL, NULL), 0);
    EXPECT(krun_set_env(ctx, no_env), -EINVAL);
    EXPECT(krun_set_env(ctx, env), 0);
    EXPECT(krun_set_console_output(ctx, NULL), -EINVAL);
    EXPECT(krun_set_rlimits(ctx, NULL), -EINVAL);
    EXPECT(krun_set_rlimits(ctx, none), 0);
    EXPECT(krun_set_rlimits(ctx, limits), 0);
    for (const char *const *bad = (const char *const[]){ "x=1:2", "16=1:2", "7=2:1", "7=1", "7=1:",
                                                         "7=:1", "7=1:2 ", "-7=1:2", "", NULL };
         *bad != NULL; bad++) {
        EXPECT(krun_set_rlimits(ctx, (const char *const[]){ *bad, NULL }), -EINVAL);
    }
    EXPECT(krun_set_kernel(ctx, NULL, KRUN_KERNEL_FORMAT_ELF, NULL, NULL), -EINVAL);
    EXPECT(krun_set_kernel(ctx, file, 6, NULL, NULL), -EINVAL);
    EXPECT(krun_set_kernel(ctx, file, KRUN_KERNEL_FORMAT_RAW, NULL, NULL), -ENOTSUP);
    EXPECT(krun_set_kernel(ctx, file, KRUN_KERNEL_FORMAT_IMAGE_GZ, NULL, NULL), -ENOTSUP);
    EXPECT(krun_set_kernel(ctx, file, KRUN_KERNEL_FORMAT_ELF, file, NULL), -ENOTSUP);
}

static void check_devices(uint32_t ctx, const char *file)
{
    char tag[40];

    EXPECT(krun_add_disk(ctx, NULL, file, true), -EINVAL);
    EXPECT(krun_add_disk(ctx, "a", NULL, true), -EINVAL);
    EXPECT(krun_add_disk2(ctx, "a", file, 3, true), -EINVAL);
    EXPECT(krun_add_disk2(ctx, "a", file, KRUN_DISK_FORMAT_QCOW2, true), -ENOTSUP);
    EXPECT(krun_add_disk3(ctx, "a", file, KRUN_DISK_FORMAT_RAW, true, true, 0), -ENOTSUP);
    EXPECT(krun_add_disk3(ctx, "a", file, KRUN_DISK_FORMAT_RAW, true, false, 3), -EINVAL);
    for (unsigned i = 0; i < 8; i++) {
        EXPECT(krun_add_disk(ctx, "a", file, true), 0);
    }
    EXPECT(krun_add_disk(ctx, "a", file, true), -ENOMEM);

    memset(tag, 't', sizeof(tag));
    tag[37] = '\0';
    EXPECT(krun_add_virtiofs(ctx, tag, "/"), -EINVAL);
    tag[36] = '\0';
    EXPECT(krun_add_virtiofs(ctx, tag, "/"), 0);
    EXPECT(krun_add_virtiofs(ctx, tag, "/"), -EEXIST);
    EXPECT(krun_add_virtiofs(ctx, "", "/"), -EINVAL);
    EXPECT(krun_add_virtiofs(ctx, "a", ""), -EINVAL);
    for (unsigned i = 0; i < 14; i++) {
        (void)snprintf(tag, sizeof(tag), "tag%u", i);
        EXPECT(krun_add_virtiofs3(ctx, tag, "/", 0, true), 0);
    }
    EXPECT(krun_add_virtiofs2(ctx, "more", "/", 0), -ENOMEM);

    EXPECT(krun_add_vsock_port(ctx, 1, NULL), -EINVAL);
    EXPECT(krun_add_vsock_port2(ctx, 1, file, true), -EEXIST);
    EXPECT(krun_add_vsock_port2(ctx, 1, file, false), 0);
    EXPECT(krun_add_vsock_port(ctx, 1, file), -EEXIST);
    EXPECT(krun_set_port_map(ctx, NULL), 0);
    EXPECT(krun_set_port_map(ctx, (const char *const[]){ "8080:80", NULL }), -ENOTSUP);
    EXPECT(krun_add_net_tap(ctx, NULL, NULL, 0, 0), -ENOTSUP);
    EXPECT(krun_set_root_disk(ctx, file), -ENOTSUP);
    EXPECT(krun_set_gpu_options(ctx, 0), -ENOTSUP);
    EXPECT(krun_disable_implicit_vsock(ctx), -ENOTSUP);
    EXPECT(krun_check_nested_virt(), -ENOTSUP);
}

static void check_nobody(const char *file)
{
    const char *const none[] = { NULL };

    EXPECT(krun_free_ctx(NOBODY), -ENOENT);
    EXPECT(krun_free_ctx(UINT32_MAX), -ENOENT);
    EXPECT(krun_set_vm_config(NOBODY, 1, 256), -ENOENT);
    EXPECT(krun_set_root(NOBODY, "/"), -ENOENT);
    EXPECT(krun_set_exec(NOBODY, "/x", none, none), -ENOENT);
    EXPECT(krun_set_workdir(NOBODY, "/"), -ENOENT);
    EXPECT(krun_set_env(NOBODY, none), -ENOENT);
    EXPECT(krun_set_console_output(NOBODY, file), -ENOENT);
    EXPECT(krun_get_shutdown_eventfd(NOBODY), -ENOENT);
    EXPECT(krun_add_disk(NOBODY, "a", file, true), -ENOENT);
    EXPECT(krun_add_virtiofs(NOBODY, "a", "/"), -ENOENT);
    EXPECT(krun_set_kernel(NOBODY, file, KRUN_KERNEL_FORMAT_ELF, NULL, NULL), -ENOENT);
    EXPECT(krun_set_rlimits(NOBODY, none), -ENOENT);
    EXPECT(krun_setuid(NOBODY, 1), -ENOENT);
    EXPECT(krun_setgid(NOBODY, 1), -ENOENT);
    EXPECT(krun_set_port_map(NOBODY, none), -ENOENT);
    EXPECT(krun_add_vsock_port(NOBODY, 1, file), -ENOENT);
    EXPECT(krun_start_enter(NOBODY), -ENOENT);
}

int main(int argc, char **argv)
{
    char file[256];
    int32_t ctx;
    int fd;

    if (argc != 2) {
        return 2;
    }
    (void)snprintf(file, sizeof(file), "%s/some-file", argv[1]);
    fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) {
        return 2;
    }
    (void)close(fd);
    EXPECT(krun_set_log_level(6), -EINVAL);
    EXPECT(krun_set_log_level(KRUN_LOG_LEVEL_OFF), 0);
    EXPECT(krun_init_log(-2, 0, 0, 0), -EINVAL);
    EXPECT(krun_init_log(KRUN_LOG_TARGET_DEFAULT, 0, 3, 0), -EINVAL);
    EXPECT(krun_has_feature(KRUN_FEATURE_BLK), 1);
    EXPECT(krun_has_feature(KRUN_FEATURE_NET), 0);
    EXPECT(krun_has_feature(KRUN_FEATURE_GPU), 0);
    EXPECT(krun_has_feature(99), -EINVAL);
    check_nobody(file);
    ctx = krun_create_ctx();
    EXPECT(ctx, 0);
    EXPECT(krun_create_ctx(), 1);
    EXPECT(krun_free_ctx(0), 0);
    EXPECT(krun_create_ctx(), 0);
    check_settings(0, file);
    check_devices(0, file);
    /* A context without a program; it is gone afterwards. */
    EXPECT(krun_start_enter(1), -EINVAL);
    EXPECT(krun_start_enter(1), -ENOENT);
    EXPECT(krun_free_ctx(0), 0);
    return wrong == 0 ? 0 : 1;
}
