/* SPDX-License-Identifier: Apache-2.0 */
/* A program in a machine of its own, by the library's API: hello KERNEL ROOT PROGRAM [ARGUMENTS] */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <drupe/vm.h>

static int fail(const char *what, const struct drupe_error *err)
{
    (void)fprintf(stderr, "hello: %s: %s: %s\n", what, drupe_vm_err_name(err->code), err->text);
    return 1;
}

int main(int argc, char **argv)
{
    const char *const env[] = { "PATH=/bin:/usr/bin", NULL };
    drupe_vm_config_t cfg;
    struct drupe_vm_outcome end;
    struct drupe_error err;
    drupe_vm_t *vm = NULL;

    if (argc < 4) {
        (void)fprintf(stderr, "usage: hello KERNEL ROOT PROGRAM [ARGUMENTS]\n");
        return 2;
    }
    const struct drupe_share root = {
        .host_path = argv[2], .tag = "root", .guest_path = "/", .is_read_only = true
    };

    drupe_vm_config_init(&cfg);
    cfg.kernel_path = argv[1];
    cfg.shares = &root;
    cfg.share_count = 1;
    cfg.argv = (const char *const *)&argv[3];
    cfg.env = env;
    cfg.host_stdout = STDOUT_FILENO;
    cfg.host_stderr = STDERR_FILENO;
    cfg.is_quiet = true;
    if (drupe_vm_create(&cfg, &vm, &err) != DRUPE_OK) {
        return fail("create", &err);
    }
    if (drupe_vm_start(vm, &err) != DRUPE_OK ||
        drupe_vm_wait(vm, DRUPE_VM_ENDED, DRUPE_WAIT_FOREVER, NULL, &err) != DRUPE_OK ||
        drupe_vm_outcome(vm, &end, &err) != DRUPE_OK) {
        drupe_vm_destroy(vm);
        return fail("run", &err);
    }
    printf("%s ended with status %d\n", drupe_vm_id(vm), end.status);
    drupe_vm_destroy(vm);
    return end.kind == DRUPE_END_EXIT ? end.status : 1;
}
