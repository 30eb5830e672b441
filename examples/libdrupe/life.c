/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine's life by the library's API: start, exec, snapshot, stop, and two clones that go on
 * from there. life KERNEL AGENT IMAGE: build/kernel.elf, build/agent.elf, and an EROFS image with a
 * /bin/sh.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <drupe/agent.h>
#include <drupe/vm.h>

enum {
    CLONES = 2
};

struct files {
    char directory[64]; /* for sockets and the snapshot */
    const void *agent;
    size_t agent_size;
};

static int fail(const char *what, const struct drupe_error *err)
{
    (void)fprintf(stderr, "life: %s: %s: %s\n", what, drupe_vm_err_name(err->code), err->text);
    return 1;
}

/* The agent is lent to the library for the machine's life: mapped, not read. */
static int map_agent(const char *path, struct files *files)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) != 0) {
        perror(path);
        if (fd >= 0) {
            (void)close(fd);
        }
        return -1;
    }
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    (void)close(fd);
    if (bytes == MAP_FAILED) {
        perror(path);
        return -1;
    }
    files->agent = bytes;
    files->agent_size = (size_t)st.st_size;
    return 0;
}

/* Without argv the agent is the workload: the machine lives until it is stopped. */
static void configure(drupe_vm_config_t *cfg, char **argv, const struct files *files,
                      const char *socket)
{
    drupe_vm_config_init(cfg);
    cfg->accel = DRUPE_ACCEL_KVM; /* exec and snapshots are KVM's */
    cfg->memory_mib = 64;
    cfg->kernel_path = argv[1];
    cfg->root_path = argv[3];
    cfg->agent_image = files->agent;
    cfg->agent_image_size = files->agent_size;
    cfg->vsock_path = socket;
    cfg->is_quiet = true;
}

static int shell(drupe_vm_t *vm, const char *who, const char *script)
{
    const char *const argv[] = { "/bin/sh", "-c", script, NULL };
    struct drupe_exec_options options;
    struct drupe_exec_output out;
    struct drupe_error err;

    drupe_exec_options_init(&options);
    options.argv = argv;
    if (drupe_vm_exec(vm, &options, NULL, 0, &out, &err) != DRUPE_OK) {
        return fail("exec", &err);
    }
    printf("%s: %s", who, out.stdout_bytes);
    (void)fflush(stdout);
    int status = out.result.exit_code;
    drupe_exec_output_free(&out);
    return status;
}

static int original(char **argv, const struct files *files, const char *snapshot)
{
    struct drupe_snapshot_options options = { .struct_size = sizeof options, .path = snapshot };
    struct drupe_snapshot_info info;
    struct drupe_error err;
    drupe_vm_config_t cfg;
    drupe_vm_t *vm = NULL;
    char socket[96];
    int status = 1;

    options.fd = -1;
    options.memory_fd = -1;
    (void)snprintf(socket, sizeof socket, "%s/original.sock", files->directory);
    configure(&cfg, argv, files, socket);
    if (drupe_vm_create(&cfg, &vm, &err) != DRUPE_OK || drupe_vm_start(vm, &err) != DRUPE_OK) {
        (void)fail("start", &err);
    } else if (shell(vm, "original", "echo 42 >/tmp/answer; echo wrote $(cat /tmp/answer)") == 0) {
        if (drupe_vm_snapshot(vm, &options, &info, &err) == DRUPE_OK) {
            printf("snapshot: %llu bytes\n", (unsigned long long)info.size);
            status = 0;
        } else {
            (void)fail("snapshot", &err);
        }
    }
    drupe_vm_destroy(vm);
    return status;
}

static int go_on(char **argv, const struct files *files, const char *snapshot, unsigned number)
{
    struct drupe_restore_options options = {
        .struct_size = sizeof options, .path = snapshot, .fd = -1, .memory_fd = -1, .is_clone = true
    };
    struct drupe_error err;
    drupe_vm_config_t cfg;
    drupe_vm_t *vm = NULL;
    char socket[96];
    char who[32];
    int status = 1;

    (void)snprintf(socket, sizeof socket, "%s/clone-%u.sock", files->directory, number);
    (void)snprintf(who, sizeof who, "clone %u", number);
    configure(&cfg, argv, files, socket);
    if (drupe_vm_create_from_snapshot(&cfg, &options, &vm, &err) != DRUPE_OK ||
        drupe_vm_resume(vm, &err) != DRUPE_OK) {
        (void)fail("restore", &err);
    } else {
        status = shell(vm, who,
                       "echo read $(cat /tmp/answer), random $(cat /proc/sys/kernel/random/uuid)");
    }
    drupe_vm_destroy(vm);
    return status;
}

int main(int argc, char **argv)
{
    struct files files = { .directory = "/tmp/life-XXXXXX" };
    char snapshot[96];
    int status;

    if (argc != 4) {
        (void)fprintf(stderr, "usage: life KERNEL AGENT IMAGE\n");
        return 2;
    }
    if (map_agent(argv[2], &files) != 0 || mkdtemp(files.directory) == NULL) {
        return 1;
    }
    (void)snprintf(snapshot, sizeof snapshot, "%s/snapshot", files.directory);
    status = original(argv, &files, snapshot);
    for (unsigned i = 1; i <= CLONES && status == 0; i++) {
        status = go_on(argv, &files, snapshot, i);
    }
    (void)unlink(snapshot);
    (void)rmdir(files.directory);
    return status;
}
