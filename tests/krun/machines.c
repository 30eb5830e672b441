/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines made through libkrun: machines CASE ROOT WORK-DIRECTORY. Each runs in a forked child, as
 * krun_start_enter() asks. Status 0 if what came out is right; otherwise a line says what did.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libkrun.h>

static const char *root;
static const char *work;

static void must(const char *what, int32_t result)
{
    if (result < 0) {
        printf("%s: %s\n", what, strerror(-result));
        exit(99);
    }
}

static uint32_t shell(const char *script)
{
    const char *const argv[] = { "-c", script, NULL };
    const char *const env[] = { "PATH=/bin", NULL };
    const int32_t ctx = krun_create_ctx();

    must("create", ctx);
    must("root", krun_set_root((uint32_t)ctx, root));
    must("exec", krun_set_exec((uint32_t)ctx, "/bin/sh", argv, env));
    return (uint32_t)ctx;
}

static pid_t start(uint32_t ctx, int output)
{
    const pid_t pid = fork();

    if (pid == 0) {
        if (output >= 0) {
            (void)dup2(output, STDOUT_FILENO);
        }
        exit(200 + (krun_start_enter(ctx) != 0)); /* never 200: it does not return 0 */
    }
    return pid;
}

static int end(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int expect_status(int got, int want)
{
    if (got != want) {
        printf("status %d, not %d\n", got, want);
    }
    return got == want ? 0 : 1;
}

static int expect_file(const char *path, const char *want)
{
    char text[256];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    text[n < 0 ? 0 : n] = '\0';
    if (strcmp(text, want) != 0) {
        printf("%s holds \"%s\", not \"%s\"\n", path, text, want);
        return 1;
    }
    return 0;
}

static const char *in_work(const char *name)
{
    static char path[2][256];
    static unsigned turn;

    turn ^= 1;
    (void)snprintf(path[turn], sizeof(path[turn]), "%s/%s", work, name);
    return path[turn];
}

static int run_console(void)
{
    const uint32_t ctx = shell("echo to the file; cat; exit 3");

    must("console", krun_set_console_output(ctx, in_work("console")));
    return expect_status(end(start(ctx, -1)), 3) | expect_file(in_work("console"), "to the file\n");
}

static int run_virtiofs(void)
{
    const uint32_t ctx = shell("mount -t virtiofs folder /mnt && cat /mnt/file >/mnt/copy && "
                               "mount -t 9p locked /tmp && ! echo x 2>/dev/null >/tmp/y");

    must("virtiofs", krun_add_virtiofs(ctx, "folder", in_work("shared")));
    must("virtiofs3", krun_add_virtiofs3(ctx, "locked", in_work("shared"), 0, true));
    return expect_status(end(start(ctx, -1)), 0) | expect_file(in_work("shared/copy"), "shared\n");
}

/* The first disk is written, the second one only read. */
static int run_disks(void)
{
    const uint32_t ctx = shell("cat /dev/vdb >/dev/vda; echo x 2>/dev/null >/dev/vdb; exit 0");
    char sector[512] = "from the second disk";
    const int second = open(in_work("disk-b"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    const int first = open(in_work("disk-a"), O_CREAT | O_RDWR | O_CLOEXEC, 0600);

    if (write(second, sector, sizeof(sector)) != sizeof(sector) ||
        ftruncate(first, sizeof(sector)) < 0) {
        return 1;
    }
    must("disk", krun_add_disk(ctx, "a", in_work("disk-a"), false));
    must("disk2", krun_add_disk2(ctx, "b", in_work("disk-b"), KRUN_DISK_FORMAT_RAW, true));
    return expect_status(end(start(ctx, -1)), 0) |
           expect_file(in_work("disk-a"), "from the second disk") |
           expect_file(in_work("disk-b"), "from the second disk");
}

/* The process has the ids while the machine runs, and files are made by them. */
static int run_ids(void)
{
    const uint32_t ctx = shell("echo made >/mnt/by-ids; exit 4");
    char path[256];
    struct stat st;

    if (geteuid() != 0) {
        printf("only root changes its ids\n");
        return 0;
    }
    (void)snprintf(path, sizeof(path), "%s/mnt", root);
    if (chmod(work, 0711) < 0 || chmod(path, 0777) < 0) {
        return 1;
    }
    must("setgid", krun_setgid(ctx, 65534));
    must("setuid", krun_setuid(ctx, 65533));
    const int status = expect_status(end(start(ctx, -1)), 4);

    (void)snprintf(path, sizeof(path), "%s/mnt/by-ids", root);
    if (stat(path, &st) < 0 || st.st_uid != 65533 || st.st_gid != 65534) {
        printf("%s belongs to somebody else\n", path);
        return 1;
    }
    return status;
}

static int run_rlimits(void)
{
    const uint32_t ctx = shell("exec >/limits; ulimit -n; ulimit -H -n");
    char path[256];

    must("rlimits", krun_set_rlimits(ctx, (const char *const[]){ "7=123:456", NULL }));
    (void)snprintf(path, sizeof(path), "%s/limits", root);
    return expect_status(end(start(ctx, -1)), 0) | expect_file(path, "123\n456\n");
}

static int run_shutdown(void)
{
    const uint32_t ctx = shell("echo up; while :; do sleep 1; done");
    const uint64_t one = 1;
    int ends[2];
    char text[8];
    const int32_t fd = krun_get_shutdown_eventfd(ctx);
    pid_t pid;

    must("eventfd", fd);
    if (pipe(ends) < 0) {
        return 1;
    }
    pid = start(ctx, ends[1]);
    if (read(ends[0], text, sizeof(text)) <= 0 || write(fd, &one, sizeof(one)) != sizeof(one)) {
        return 1;
    }
    /* SIGTERM to the shell ends it, or the grace runs out. */
    const int status = end(pid);

    return status == 143 ? 0 : expect_status(status, 0);
}

static int unix_socket(const char *path, struct sockaddr_un *address)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    (void)snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* The guest connects to port 1000, where we answer; then it listens at 1001, and we connect. */
static int run_ports(void)
{
    const uint32_t ctx = shell("vsock connect 1000 && vsock listen 1001");
    struct sockaddr_un address;
    const int listener = unix_socket(in_work("from-guest"), &address);
    char text[64] = "";
    int ends[2];
    ssize_t n;

    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listener, 1) < 0 || pipe(ends) < 0) {
        return 1;
    }
    must("port", krun_add_vsock_port(ctx, 1000, in_work("from-guest")));
    must("port2", krun_add_vsock_port2(ctx, 1001, in_work("to-guest"), true));
    const pid_t pid = start(ctx, ends[1]);

    (void)close(ends[1]);
    const int peer = accept(listener, NULL, NULL);

    if (peer < 0 || read(peer, text, sizeof(text)) != 5 || memcmp(text, "ping\n", 5) != 0 ||
        write(peer, "pong\n", 5) != 5) {
        printf("the guest did not say ping\n");
        return 1;
    }
    /* "pong", then "listening": in one read or in two. */
    size_t got = 0;

    while (got < 15 && (n = read(ends[0], text + got, sizeof(text) - 1 - got)) > 0) {
        got += (size_t)n;
    }
    text[got] = '\0';
    if (strcmp(text, "pong\nlistening\n") != 0) {
        printf("the guest said \"%s\"\n", text);
        return 1;
    }
    const int fd = unix_socket(in_work("to-guest"), &address);

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        write(fd, "hello", 5) != 5 || read(fd, text, sizeof(text)) != 5 ||
        memcmp(text, "hello", 5) != 0) {
        printf("no answer from the guest's port\n");
        return 1;
    }
    const int status = expect_status(end(pid), 0);

    if (access(in_work("to-guest"), F_OK) == 0) {
        printf("the socket was left behind\n");
        return 1;
    }
    return status;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(void);
    } cases[] = { { "console", run_console }, { "virtiofs", run_virtiofs },
                  { "rlimits", run_rlimits }, { "shutdown", run_shutdown },
                  { "ports", run_ports },     { "disks", run_disks },
                  { "ids", run_ids } };

    if (argc != 4) {
        return 2;
    }
    root = argv[2];
    work = argv[3];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (strcmp(argv[1], cases[i].name) == 0) {
            return cases[i].run();
        }
    }
    return 2;
}
