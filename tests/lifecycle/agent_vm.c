/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent_vm KERNEL AGENT ROOT SOCKET MIB [PROGRAM [ARGUMENT ...]]: a VM with the agent, for tests.
 * Prints "started", runs until the machine ends or standard input does, and ends with its status.
 */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <drupe/vm.h>

static int fail(const char *what, const struct drupe_error *err)
{
    (void)fprintf(stderr, "agent_vm: %s: %s\n", what, err->text);
    return 125;
}

static const void *map(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *at = MAP_FAILED;

    if (fd >= 0 && fstat(fd, &st) == 0) {
        *size = (size_t)st.st_size;
        at = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    if (at == MAP_FAILED) {
        perror(path);
        exit(125);
    }
    return at;
}

int main(int argc, char **argv)
{
    static const char *const env[] = { "PATH=/bin", "HOME=/", NULL };
    struct drupe_vm_outcome end = { 0 };
    drupe_vm_config_t cfg;
    struct drupe_error err;
    drupe_vm_t *vm = NULL;

    if (argc < 6) {
        (void)fprintf(stderr, "usage: agent_vm KERNEL AGENT ROOT SOCKET MIB [PROGRAM ...]\n");
        return 2;
    }
    drupe_vm_config_init(&cfg);
    cfg.kernel_path = argv[1];
    cfg.agent_image = map(argv[2], &cfg.agent_image_size);
    cfg.root_path = argv[3];
    cfg.vsock_path = argv[4];
    cfg.memory_mib = (unsigned)strtoul(argv[5], NULL, 10);
    cfg.argv = (const char *const *)argv + 6;
    cfg.env = env;
    cfg.host_stdout = 1;
    cfg.host_stderr = 2;
    cfg.serial_log = 2;
    cfg.is_quiet = getenv("AGENT_VM_VERBOSE") == NULL;
    const char *cpus = getenv("AGENT_VM_CPUS");

    if (cpus != NULL) {
        cfg.vcpus = (unsigned)strtoul(cpus, NULL, 10);
    }
    if (drupe_vm_create(&cfg, &vm, &err) != DRUPE_OK) {
        return fail("create", &err);
    }
    if (drupe_vm_start(vm, &err) != DRUPE_OK) {
        return fail("start", &err);
    }
    (void)printf("started\n");
    (void)fflush(stdout);
    struct pollfd fds[2] = { { .fd = drupe_vm_event_fd(vm), .events = POLLIN },
                             { .fd = 0, .events = POLLIN } };
    char c = 0;

    while (poll(fds, 2, -1) < 0 || (fds[0].revents == 0 && read(0, &c, 1) > 0)) {
    }
    if (fds[0].revents == 0 && drupe_vm_stop(vm, 0, &err) != DRUPE_OK) {
        return fail("stop", &err);
    }
    if (drupe_vm_outcome(vm, &end, &err) != DRUPE_OK) {
        return fail("outcome", &err);
    }
    drupe_vm_destroy(vm);
    (void)fprintf(stderr, "agent_vm: ended kind=%d status=%d %s\n", (int)end.kind, end.status,
                  end.text);
    return end.kind == DRUPE_END_EXIT ? end.status : end.kind == DRUPE_END_STOPPED ? 0 : 125;
}
