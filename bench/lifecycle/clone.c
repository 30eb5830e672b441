/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pausing, snapshots and clones cost, medians in one run, with the yardsticks beside them: the
 * least program that runs a guest instruction under KVM, and a cold start of the same guest.
 *
 *   clone GUEST_ELF SNAPSHOT                        the monitor's test guest, which prints numbers
 *   clone KERNEL SNAPSHOT ROOT_IMAGE COMMAND...     a command that prints lines on its output
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "drupe/vm.h"

#define MEMORY_MIB  256u
#define FULL_MIB    1024u
#define FULL_ROUNDS 7u
#define COLD        3u
#define ROUNDS      20u
#define WAIT_MS     60000

struct guest {
    drupe_vm_config_t cfg;
    const char *argv[32];
    const char *snapshot;
    int output[2]; /* where it prints: the serial line or its standard output */
};

struct series {
    double us[64];
    unsigned count;
};

static double now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void add(struct series *s, double us)
{
    if (s->count < sizeof(s->us) / sizeof(s->us[0])) {
        s->us[s->count++] = us;
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print(const char *what, struct series *s)
{
    if (s->count == 0) {
        (void)printf("%-52s    -\n", what);
        return;
    }
    qsort(s->us, s->count, sizeof(s->us[0]), compare);
    (void)printf("%-52s %9.0f us   (best %.0f, %u times)\n", what, s->us[s->count / 2], s->us[0],
                 s->count);
    (void)fflush(stdout);
}

static void need(drupe_vm_err_t r, const struct drupe_error *err, const char *what)
{
    if (r != DRUPE_OK) {
        (void)fprintf(stderr, "clone: %s: %s %s\n", what, drupe_vm_err_name(r), err->text);
        exit(1);
    }
}

/* ---- The yardstick ---- */

static double bare_us(void)
{
    double begin = 0;
    double us = 0;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    size_t size = (size_t)MEMORY_MIB << 20;
    struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };
    struct kvm_sregs sregs;

    begin = now_us();
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    uint8_t *ram = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct kvm_userspace_memory_region slot = { .memory_size = size,
                                                .userspace_addr = (uint64_t)(uintptr_t)ram };

    ram[0x1000] = 0xf4; /* hlt */
    (void)ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot);
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    void *run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);

    (void)ioctl(vcpu, KVM_GET_SREGS, &sregs);
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    (void)ioctl(vcpu, KVM_SET_SREGS, &sregs);
    (void)ioctl(vcpu, KVM_SET_REGS, &regs);
    (void)ioctl(vcpu, KVM_RUN, 0);
    us = now_us() - begin;
    (void)munmap(run, (size_t)run_size);
    (void)close(vcpu);
    (void)close(vm);
    (void)close(kvm);
    (void)munmap(ram, size);
    return us;
}

/* ---- One guest ---- */

static void drain(const struct guest *g)
{
    char text[4096];

    while (read(g->output[0], text, sizeof(text)) > 0) {
    }
}

static void wait_output(const struct guest *g)
{
    struct pollfd p = { .fd = g->output[0], .events = POLLIN };

    if (poll(&p, 1, WAIT_MS) != 1) {
        (void)fprintf(stderr, "clone: the guest prints nothing\n");
        exit(1);
    }
}

static drupe_vm_t *start(struct guest *g)
{
    drupe_vm_t *vm = NULL;
    struct drupe_error err;

    drain(g);
    need(drupe_vm_create(&g->cfg, &vm, &err), &err, "create");
    need(drupe_vm_start(vm, &err), &err, "start");
    wait_output(g);
    return vm;
}

static void take(drupe_vm_t *vm, const struct guest *g, bool is_live, struct series *stopped,
                 struct series *took)
{
    struct drupe_snapshot_options options = { .struct_size = sizeof(options),
                                              .path = g->snapshot,
                                              .fd = -1,
                                              .memory_fd = -1,
                                              .is_live = is_live };
    struct drupe_snapshot_info info;
    struct drupe_error err;
    drupe_vm_err_t r = drupe_vm_snapshot(vm, &options, &info, &err);

    if (r == DRUPE_UNSUPPORTED && is_live) {
        return;
    }
    need(r, &err, "snapshot");
    add(stopped, (double)info.stopped_ns / 1e3);
    add(took, (double)info.took_ns / 1e3);
}

static void measure_running(struct guest *g)
{
    struct series cold = { .count = 0 };
    struct series pause = { .count = 0 };
    struct series resume = { .count = 0 };
    struct series stopped[2] = { { .count = 0 }, { .count = 0 } };
    struct series took[2] = { { .count = 0 }, { .count = 0 } };
    struct drupe_error err;
    drupe_vm_t *vm = NULL;

    for (unsigned i = 0; i < COLD; i++) {
        drupe_vm_destroy(vm);

        double begin = now_us();

        vm = start(g);
        add(&cold, now_us() - begin);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        double begin = now_us();

        need(drupe_vm_pause(vm, &err), &err, "pause");
        add(&pause, now_us() - begin);
        begin = now_us();
        need(drupe_vm_resume(vm, &err), &err, "resume");
        add(&resume, now_us() - begin);
        drain(g);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        take(vm, g, true, &stopped[1], &took[1]);
        drain(g);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        take(vm, g, false, &stopped[0], &took[0]);
        drain(g);
    }
    drupe_vm_destroy(vm);
    print("cold start to first output", &cold);
    print("pause", &pause);
    print("resume", &resume);
    print("full snapshot, all of it", &took[0]);
    print("full snapshot, the guest stands still", &stopped[0]);
    print("live snapshot, all of it", &took[1]);
    print("live snapshot, the guest stands still", &stopped[1]);
}

/* A machine that has touched all of its memory: it rests then, or goes on writing to all of it. */
static void measure_full(struct guest *g, const char *mode)
{
    const unsigned memory_mib = g->cfg.memory_mib;
    const char *was = g->argv[1];
    struct series stopped = { .count = 0 };
    struct series took = { .count = 0 };
    char line[64];
    drupe_vm_t *vm = NULL;

    g->cfg.memory_mib = FULL_MIB;
    g->argv[1] = mode;
    vm = start(g);
    for (unsigned i = 0; i < FULL_ROUNDS; i++) {
        drain(g);
        take(vm, g, true, &stopped, &took);
    }
    drupe_vm_destroy(vm);
    g->cfg.memory_mib = memory_mib;
    g->argv[1] = was;
    (void)snprintf(line, sizeof(line), "live, 1 GiB in use, %s: all of it", mode);
    print(line, &took);
    (void)snprintf(line, sizeof(line), "live, 1 GiB in use, %s: it stands still", mode);
    print(line, &stopped);
}

static unsigned long private_kib(void)
{
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    char line[128];
    unsigned long total = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        const char *colon = strchr(line, ':');

        if (colon != NULL && strncmp(line, "Private_", 8) == 0) {
            total += strtoul(colon + 1, NULL, 10);
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return total;
}

struct times {
    double restored;
    double resumed;
    double output;
    unsigned long kib;     /* restored, not yet resumed, beyond what it had as a child */
    unsigned long kib_ran; /* after its first output */
};

/* In a child, as a pool does it: what is known of the host already is inherited. */
static void clone_once(struct guest *g, struct times *out)
{
    struct drupe_restore_options options = { .struct_size = sizeof(options),
                                             .path = g->snapshot,
                                             .fd = -1,
                                             .memory_fd = -1,
                                             .is_clone = true,
                                             .is_memory_trusted = true };
    struct drupe_error err;
    drupe_vm_t *vm = NULL;
    unsigned long before = private_kib();
    double begin = now_us();

    need(drupe_vm_create_from_snapshot(&g->cfg, &options, &vm, &err), &err, "restore");
    out->restored = now_us() - begin;
    out->kib = private_kib() - before;
    begin = now_us() - out->restored;
    need(drupe_vm_resume(vm, &err), &err, "resume");
    out->resumed = now_us() - begin;
    wait_output(g);
    out->output = now_us() - begin;
    out->kib_ran = private_kib() - before;
}

static void measure_clones(struct guest *g)
{
    struct series restored = { .count = 0 };
    struct series resumed = { .count = 0 };
    struct series output = { .count = 0 };
    struct times *t =
        mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    for (unsigned i = 0; i < ROUNDS && t != MAP_FAILED; i++) {
        int status = 0;
        pid_t pid = 0;

        drain(g);
        pid = fork();
        if (pid == 0) {
            clone_once(g, t);
            _exit(0);
        }
        if (waitpid(pid, &status, 0) != pid || status != 0) {
            exit(1);
        }
        add(&restored, t->restored);
        add(&resumed, t->resumed);
        add(&output, t->output);
    }
    print("clone: restored", &restored);
    print("clone: to its first instruction", &resumed);
    print("clone: to its first output", &output);
    (void)printf("%-52s %9lu KiB, %lu KiB after its first output\n",
                 "clone: private memory when restored", t->kib, t->kib_ran);
}

static int init(struct guest *g, int argc, char **argv)
{
    bool is_plain = argc == 3;

    if (argc != 3 && (argc < 5 || argc > 30)) {
        (void)fprintf(stderr, "usage: clone KERNEL SNAPSHOT [ROOT_IMAGE COMMAND...]\n");
        return -1;
    }
    if (pipe2(g->output, O_CLOEXEC | O_NONBLOCK) < 0) {
        return -1;
    }
    drupe_vm_config_init(&g->cfg);
    g->cfg.accel = DRUPE_ACCEL_KVM;
    g->cfg.memory_mib = MEMORY_MIB;
    g->cfg.kernel_path = argv[1];
    g->cfg.is_quiet = true;
    g->snapshot = argv[2];
    g->argv[0] = "guest";
    g->argv[1] = "count";
    for (int i = 4; i < argc; i++) {
        g->argv[i - 4] = argv[i];
        g->argv[i - 3] = NULL;
    }
    g->cfg.argv = g->argv;
    g->cfg.root_path = is_plain ? NULL : argv[3];
    *(is_plain ? &g->cfg.serial_log : &g->cfg.host_stdout) = g->output[1];
    return 0;
}

int main(int argc, char **argv)
{
    static struct guest g;
    struct series bare = { .count = 0 };

    if (init(&g, argc, argv) < 0) {
        return 2;
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        add(&bare, bare_us());
    }
    print("bare KVM program: make a VM, run to hlt", &bare);
    measure_running(&g);
    measure_clones(&g);
    if (argc == 3) {
        measure_full(&g, "fill");
        measure_full(&g, "sweep");
    }
    (void)unlink(g.snapshot);
    return 0;
}
