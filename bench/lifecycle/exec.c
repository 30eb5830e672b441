/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec KERNEL AGENT ROOT DIRECTORY [COUNT]: round trips to the agent of a fresh VM under KVM: from
 * start to its first answer, PING, and exec of /bin/true over one connection. Prints medians.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include <drupe/agent.h>

#define COUNT_MAX 10000u

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static _Noreturn void die(const char *what, const struct drupe_error *err)
{
    (void)fprintf(stderr, "exec: %s: %s\n", what, err->text);
    exit(1);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void report(const char *what, double *ms, unsigned count)
{
    qsort(ms, count, sizeof(*ms), by_value);
    (void)printf("%-28s p50 %8.2f ms   p99 %8.2f ms   n=%u\n", what, ms[count / 2],
                 ms[count * 99 / 100], count);
}

static const void *map_file(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        perror(path);
        exit(1);
    }
    *size = (size_t)st.st_size;
    return mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
}

int main(int argc, char **argv)
{
    static double ms[COUNT_MAX];
    static const char *const program[] = { "/bin/true", NULL };
    unsigned count = argc > 5 ? (unsigned)strtoul(argv[5], NULL, 10) : 50;
    struct drupe_exec_options o;
    drupe_vm_config_t cfg;
    struct drupe_error err;
    drupe_vm_t *vm = NULL;
    drupe_agent_t *a = NULL;
    char path[96];
    double began = 0;

    if (argc < 5 || count == 0 || count > COUNT_MAX) {
        (void)fprintf(stderr, "usage: exec KERNEL AGENT ROOT DIRECTORY [COUNT]\n");
        return 2;
    }
    (void)snprintf(path, sizeof(path), "%s/vsock.sock", argv[4]);
    drupe_vm_config_init(&cfg);
    cfg.kernel_path = argv[1];
    cfg.agent_image = map_file(argv[2], &cfg.agent_image_size);
    cfg.root_path = argv[3];
    cfg.vsock_path = path;
    cfg.accel = DRUPE_ACCEL_KVM;
    cfg.is_quiet = true;
    began = now_ms();
    if (drupe_vm_create(&cfg, &vm, &err) != DRUPE_OK || drupe_vm_start(vm, &err) != DRUPE_OK ||
        drupe_agent_connect(path, 60000, &a, &err) != DRUPE_OK) {
        die("start", &err);
    }
    ms[0] = now_ms() - began;
    report("start to first answer", ms, 1);
    for (unsigned i = 0; i < count; i++) {
        began = now_ms();
        if (drupe_agent_ping(a, 60000, &err) != DRUPE_OK) {
            die("ping", &err);
        }
        ms[i] = now_ms() - began;
    }
    report("ping", ms, count);
    drupe_exec_options_init(&o);
    o.argv = program;
    for (unsigned i = 0; i < count; i++) {
        struct drupe_exec_output out;

        began = now_ms();
        if (drupe_agent_exec(a, &o, NULL, 0, &out, &err) != DRUPE_OK) {
            die("exec", &err);
        }
        ms[i] = now_ms() - began;
        drupe_exec_output_free(&out);
    }
    report("exec /bin/true (busybox)", ms, count);
    drupe_agent_close(a);
    drupe_vm_destroy(vm);
    return 0;
}
