/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A life of a VM on the firecracker backend: firecracker_vm BINARY KERNEL ROOT DIRECTORY.
 * Runs, pauses, snapshots, goes on, is killed; two others go on from the snapshot.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <drupe/vm.h>

#define WAIT_STEPS 600

static struct drupe_error err;

static void check(bool is_fine, const char *what)
{
    printf("%s - %s\n", is_fine ? "ok" : "not ok", what);
    if (!is_fine) {
        printf("# %s: %s\n", drupe_vm_err_name(err.code), err.text);
        exit(1);
    }
}

static size_t size_of(int fd)
{
    off_t end = lseek(fd, 0, SEEK_END);

    return end < 0 ? 0 : (size_t)end;
}

/* The last whole number that the guest printed; -1: none. */
static long last_count(int fd)
{
    char text[65536];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    long count = -1;

    text[n < 0 ? 0 : n] = '\0';
    for (char *at = strstr(text, "count "); at; at = strstr(at + 1, "count ")) {
        if (strchr(at, '\n')) {
            count = strtol(at + 6, NULL, 10);
        }
    }
    return count;
}

static bool wait_count(int fd, long wanted)
{
    for (int i = 0; i < WAIT_STEPS; i++) {
        if (last_count(fd) >= wanted) {
            return true;
        }
        usleep(100000);
    }
    return false;
}

static void configure(drupe_vm_config_t *cfg, char **argv, int out)
{
    static const char *const program[] = {
        "/bin/sh", "-c", "n=0; while :; do n=$((n+1)); echo count $n; sleep 0.2; done", NULL
    };

    drupe_vm_config_init(cfg);
    cfg->accel = DRUPE_ACCEL_FIRECRACKER;
    cfg->firecracker_path = argv[1];
    cfg->kernel_path = argv[2];
    cfg->root_path = argv[3];
    cfg->argv = program;
    cfg->memory_mib = 64;
    cfg->host_stdout = out;
    cfg->is_quiet = true;
}

static int open_output(const char *name)
{
    return open(name, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
}

static void go_on(char **argv, const struct drupe_restore_options *from, const char *name,
                  long count)
{
    drupe_vm_config_t cfg;
    drupe_vm_t *vm = NULL;
    int out = open_output(name);

    configure(&cfg, argv, out);
    check(drupe_vm_create_from_snapshot(&cfg, from, &vm, &err) == DRUPE_OK, "restore");
    check(drupe_vm_state(vm) == DRUPE_VM_PAUSED, "a restored VM is PAUSED");
    check(drupe_vm_resume(vm, &err) == DRUPE_OK, "resume it");
    check(wait_count(out, count + 2), "it goes on counting");
    drupe_vm_destroy(vm);
    (void)close(out);
}

int main(int argc, char **argv)
{
    struct drupe_snapshot_options to = { .struct_size = sizeof(to), .fd = -1, .memory_fd = -1 };
    struct drupe_restore_options from = { .struct_size = sizeof(from), .fd = -1, .memory_fd = -1 };
    struct drupe_snapshot_info info;
    struct drupe_vm_outcome end;
    drupe_vm_config_t cfg;
    drupe_vm_t *vm = NULL;

    if (argc != 5 || chdir(argv[4]) < 0) {
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    int out = open_output("out.1");

    configure(&cfg, argv, out);
    check(drupe_vm_create(&cfg, &vm, &err) == DRUPE_OK, "create");
    check(strncmp(drupe_vm_id(vm), "firecracker-", 12) == 0, "the id names the backend");
    check(drupe_vm_start(vm, &err) == DRUPE_OK, "start");
    check(wait_count(out, 2), "output");
    check(drupe_vm_pause(vm, &err) == DRUPE_OK, "pause");
    usleep(300000);
    size_t size = size_of(out);

    usleep(700000);
    check(size_of(out) == size, "a paused guest prints nothing");
    to.path = "vm.state";
    check(drupe_vm_snapshot(vm, &to, &info, &err) == DRUPE_UNSUPPORTED, "one file: UNSUPPORTED");
    to.memory_path = "no/such/folder/vm.mem";
    check(drupe_vm_snapshot(vm, &to, &info, &err) == DRUPE_SNAPSHOT_FAILED &&
              strstr(err.text, "Firecracker answered 400: "),
          "a snapshot that cannot be written: Firecracker's own words");
    check(access("vm.state", F_OK) < 0 && drupe_vm_state(vm) == DRUPE_VM_PAUSED,
          "nothing is left of it");
    to.memory_path = "vm.mem";
    check(drupe_vm_snapshot(vm, &to, &info, &err) == DRUPE_OK && info.memory_bytes > 0, "snapshot");
    long count = last_count(out);

    check(drupe_vm_resume(vm, &err) == DRUPE_OK && wait_count(out, count + 2), "resume");
    check(drupe_vm_stop(vm, 0, &err) == DRUPE_OK && drupe_vm_state(vm) == DRUPE_VM_STOPPED &&
              drupe_vm_outcome(vm, &end, &err) == DRUPE_OK && end.kind == DRUPE_END_STOPPED,
          "kill");
    drupe_vm_destroy(vm);

    from.path = "vm.state";
    from.memory_path = "vm.mem";
    from.is_clone = true;
    go_on(argv, &from, "out.2", count);
    go_on(argv, &from, "out.3", count);
    from.path = "out.1";
    configure(&cfg, argv, -1);
    check(drupe_vm_create_from_snapshot(&cfg, &from, &vm, &err) == DRUPE_RESTORE_FAILED &&
              strstr(err.text, "Firecracker answered 400: "),
          "what is no snapshot is refused");
    return 0;
}
