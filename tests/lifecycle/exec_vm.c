/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_vm KERNEL AGENT ROOT DIRECTORY kvm|qemu: the exec scenarios against a real guest. ROOT is an
 * EROFS image whose programs are busybox. Prints TAP.
 */

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/bytes.h>

#include <drupe/agent.h>

#define MIB        ((size_t)1 << 20)
#define CONNECT_MS 60000u
#define CONCURRENT 64u

static unsigned test_count;
static unsigned failed_count;
static char socket_path[96];

static void check(bool is_ok, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void check(bool is_ok, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)printf("%sok %u - ", is_ok ? "" : "not ", ++test_count);
    (void)vprintf(format, args);
    (void)printf("\n");
    va_end(args);
    failed_count += !is_ok;
    (void)fflush(stdout);
}

static _Noreturn void die(const char *what, const struct drupe_error *err)
{
    (void)printf("Bail out! %s: %s\n", what, err->text);
    exit(1);
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

static drupe_vm_t *make_vm(char **argv, const char *const *workload)
{
    static const char *const env[] = { "PATH=/bin", NULL };
    drupe_vm_config_t cfg;
    struct drupe_error err;
    drupe_vm_t *vm = NULL;

    drupe_vm_config_init(&cfg);
    cfg.kernel_path = argv[1];
    cfg.agent_image = map_file(argv[2], &cfg.agent_image_size);
    cfg.root_path = argv[3];
    (void)snprintf(socket_path, sizeof(socket_path), "%s/vsock.sock", argv[4]);
    cfg.vsock_path = socket_path;
    cfg.accel = strcmp(argv[5], "qemu") == 0 ? DRUPE_ACCEL_QEMU : DRUPE_ACCEL_KVM;
    cfg.memory_mib = 256;
    cfg.argv = workload;
    cfg.env = env;
    cfg.is_quiet = true;
    cfg.serial_log = 2;
    if (drupe_vm_create(&cfg, &vm, &err) != DRUPE_OK || drupe_vm_start(vm, &err) != DRUPE_OK) {
        die("start", &err);
    }
    return vm;
}

/* ---- Runs ---- */

struct run {
    drupe_vm_err_t code;
    struct drupe_exec_output out;
    struct drupe_error err;
};

static struct run run_with(drupe_agent_t *a, const struct drupe_exec_options *o, const void *input,
                           size_t input_size)
{
    struct run r = { 0 };

    r.code = drupe_agent_exec(a, o, input, input_size, &r.out, &r.err);
    if (r.code != DRUPE_OK && r.code != DRUPE_EXEC_TIMEOUT) {
        r.out.stdout_bytes = strdup("");
        r.out.stderr_bytes = strdup("");
        r.out.result.exit_code = -1;
    }
    return r;
}

static struct run run(drupe_agent_t *a, const char *const *argv)
{
    struct drupe_exec_options o;

    drupe_exec_options_init(&o);
    o.argv = argv;
    return run_with(a, &o, NULL, 0);
}

#define SH(text) ((const char *const[]){ "sh", "-c", (text), NULL })

static bool prints(const struct run *r, const char *text)
{
    return r->code == DRUPE_OK && strcmp(r->out.stdout_bytes, text) == 0;
}

static void note(const struct run *r)
{
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): finish() gives the output back
    (void)printf("# code=%s exit=%d signal=%d stdout=%zu stderr=%zu %.200s %.100s\n",
                 drupe_vm_err_name(r->code), r->out.result.exit_code, r->out.result.signal,
                 r->out.stdout_size, r->out.stderr_size, r->out.stderr_bytes,
                 r->code == DRUPE_OK ? "" : r->err.text);
}

static void finish(struct run *r, bool is_ok, const char *name)
{
    check(is_ok, "%s", name);
    if (!is_ok) {
        note(r);
    }
    drupe_exec_output_free(&r->out);
}

/* ---- Scenarios ---- */

static void test_codes(drupe_agent_t *a)
{
    static const struct {
        const char *name;
        const char *argv[4];
        const char *cwd;
        int code;
        int signal;
    } cases[] = {
        { "a program's own status", { "sh", "-c", "exit 3" }, NULL, 3, 0 },
        { "true is 0", { "true" }, NULL, 0, 0 },
        { "false is 1", { "false" }, NULL, 1, 0 },
        { "killed by signal 9 is 137", { "sh", "-c", "kill -9 $$" }, NULL, 137, 9 },
        { "killed by signal 15 is 143", { "sh", "-c", "kill -15 $$" }, NULL, 143, 15 },
        { "an absent program is 127", { "no-such-program" }, NULL, 127, 0 },
        { "an absent path is 127", { "/no/such/program" }, NULL, 127, 0 },
        { "a directory is 126", { "/tmp" }, NULL, 126, 0 },
        { "a file without x is 126", { "/etc/plain" }, NULL, 126, 0 },
        { "a missing directory is 125", { "true" }, "/no/such/directory", 125, 0 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct drupe_exec_options o;
        struct run r;

        drupe_exec_options_init(&o);
        o.argv = cases[i].argv;
        o.cwd = cases[i].cwd;
        r = run_with(a, &o, NULL, 0);
        finish(&r,
               r.code == DRUPE_OK && r.out.result.exit_code == cases[i].code &&
                   r.out.result.signal == cases[i].signal &&
                   (cases[i].code < 125 || cases[i].code > 127 || r.out.stderr_size > 0),
               cases[i].name);
    }
}

static void test_requests(drupe_agent_t *a)
{
    static const char *const env[] = { "A=1", "B=x=\"y\"\n\xff", NULL };
    static const char *const none[] = { NULL };
    struct drupe_exec_options o;
    struct run r = run(a, (const char *const[]){ "echo", "hello", "w\xc3\xb6rld", NULL });

    finish(&r, prints(&r, "hello w\xc3\xb6rld\n"), "echo returns its arguments");
    drupe_exec_options_init(&o);
    o.argv = (const char *const[]){ "env", NULL };
    o.env = env;
    r = run_with(a, &o, NULL, 0);
    finish(&r,
           prints(&r, "A=1\nB=x=\"y\"\n\xff\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/"
                      "bin:/sbin:/bin\n"),
           "the environment is what was given, and PATH");
    o.argv = (const char *const[]){ "pwd", NULL };
    o.cwd = "/tmp";
    r = run_with(a, &o, NULL, 0);
    finish(&r, prints(&r, "/tmp\n"), "the working directory is entered");
    o.argv = (const char *const[]){ "id", "-u", NULL };
    o.uid = 1000;
    o.gid = 100;
    r = run_with(a, &o, NULL, 0);
    finish(&r, prints(&r, "1000\n"), "the user is changed");
    drupe_exec_options_init(&o);
    o.argv = none;
    r = run_with(a, &o, NULL, 0);
    finish(&r, r.code == DRUPE_CONFIG_INVALID, "an empty command is refused");
    o.argv = (const char *const[]){ "true", NULL };
    o.timeout_ms = 0;
    r = run_with(a, &o, NULL, 0);
    finish(&r, r.code == DRUPE_CONFIG_INVALID && strcmp(r.err.field, "timeout_ms") == 0,
           "a time limit of 0 is refused");
}

static void test_sizes(drupe_agent_t *a)
{
    const size_t long_size = 100000;
    char *text = malloc(long_size + 1);
    char *big = malloc(2 * MIB);
    struct drupe_exec_options o;
    struct run r;

    memset(text, 'x', long_size);
    text[long_size] = '\0';
    text[17] = '"';
    text[18] = '\\';
    r = run(a, (const char *const[]){ "echo", "-n", text, NULL });
    finish(&r, r.out.stdout_size == long_size && memcmp(r.out.stdout_bytes, text, long_size) == 0,
           "an argument of 100 KB comes back");
    r = run(a, SH("dd if=/dev/zero bs=10380902 count=1 2>/dev/null"));
    finish(&r, r.code == DRUPE_OK && r.out.stdout_size == 10380902 && !r.out.result.is_stdout_cut,
           "9.9 MiB of output come whole");
    r = run(a, SH("dd if=/dev/zero bs=10590618 count=1 2>/dev/null; echo e >&2"));
    finish(&r,
           r.code == DRUPE_OK && r.out.stdout_size == 10 * MIB && r.out.result.is_stdout_cut &&
               !r.out.result.is_stderr_cut && r.out.stderr_size == 2 && r.out.result.exit_code == 0,
           "10.1 MiB of output are cut at 10 MiB, and it is said");
    for (size_t i = 0; i < 2 * MIB; i++) {
        big[i] = (char)(i * 2654435761u >> 13);
    }
    drupe_exec_options_init(&o);
    o.argv = (const char *const[]){ "cat", NULL };
    r = run_with(a, &o, big, 2 * MIB);
    finish(&r, r.out.stdout_size == 2 * MIB && memcmp(r.out.stdout_bytes, big, 2 * MIB) == 0,
           "2 MiB go through a program and come back");
    o.argv = (const char *const[]){ "true", NULL };
    r = run_with(a, &o, big, 2 * MIB);
    finish(&r, r.code == DRUPE_OK && r.out.result.exit_code == 0,
           "input that nobody reads does not hold the program");
    free(text);
    free(big);
}

static void test_timeout(drupe_agent_t *a)
{
    struct drupe_exec_options o;
    struct run r;

    drupe_exec_options_init(&o);
    o.argv = SH("echo begun; sleep 7777 & trap '' TERM; sleep 7777; sleep 7777");
    o.timeout_ms = 1500;
    r = run_with(a, &o, NULL, 0);
    finish(&r,
           r.code == DRUPE_EXEC_TIMEOUT && r.out.result.is_timed_out &&
               strcmp(r.out.stdout_bytes, "begun\n") == 0,
           "a program that runs out of its time is ended; its output is delivered");
    r = run(a, SH("ps -o args | grep -c '[s]leep 7777'"));
    finish(&r, prints(&r, "0\n"), "nothing of its group is left");
}

struct echo {
    pthread_t thread;
    drupe_agent_t *agent;
    unsigned number;
    bool is_right;
};

static void *run_echo(void *arg)
{
    struct echo *e = arg;
    char script[96];
    char expected[64];
    struct run r;
    struct drupe_exec_options o;

    (void)snprintf(script, sizeof(script), "echo out %u; echo err %u >&2; exit %u", e->number,
                   e->number, e->number);
    (void)snprintf(expected, sizeof(expected), "out %u\n", e->number);
    drupe_exec_options_init(&o);
    o.argv = SH(script);
    o.timeout_ms = 600000;
    r = run_with(e->agent, &o, NULL, 0);
    e->is_right = prints(&r, expected) && r.out.result.exit_code == (int)e->number &&
                  memcmp(r.out.stderr_bytes, "err", 3) == 0 &&
                  strcmp(r.out.stderr_bytes + 4, expected + 4) == 0;
    if (!e->is_right) {
        note(&r);
    }
    drupe_exec_output_free(&r.out);
    return NULL;
}

static void test_concurrent(drupe_agent_t *a, unsigned connections)
{
    struct echo echoes[CONCURRENT];
    drupe_agent_t *agents[CONCURRENT] = { a };
    struct drupe_error err;
    unsigned right = 0;

    for (unsigned i = 1; i < connections; i++) {
        if (drupe_agent_connect(socket_path, CONNECT_MS, &agents[i], &err) != DRUPE_OK) {
            die("connect", &err);
        }
    }
    for (unsigned i = 0; i < CONCURRENT; i++) {
        echoes[i] = (struct echo){ .agent = agents[i % connections], .number = i };
        (void)pthread_create(&echoes[i].thread, NULL, run_echo, &echoes[i]);
    }
    for (unsigned i = 0; i < CONCURRENT; i++) {
        (void)pthread_join(echoes[i].thread, NULL);
        right += echoes[i].is_right;
    }
    for (unsigned i = 1; i < connections; i++) {
        drupe_agent_close(agents[i]);
    }
    check(right == CONCURRENT, "%u of %u programs at once over %u connection(s), nothing mixed",
          right, CONCURRENT, connections);
}

static void ignore_output(void *ctx, bool is_stderr, const void *bytes, size_t size)
{
    (void)is_stderr;
    (void)bytes;
    *(size_t *)ctx += size;
}

static void test_streams(drupe_agent_t *a)
{
    struct drupe_exec_options o;
    struct drupe_exec_result result = { 0 };
    struct drupe_error err;
    drupe_exec_t *e = NULL;
    size_t size = 0;
    size_t taken = 0;
    bool is_ok = false;

    drupe_exec_options_init(&o);
    o.argv = (const char *const[]){ "cat", NULL };
    o.want_stdin = true;
    is_ok = drupe_exec_start(a, &o, ignore_output, &size, &e, &err) == DRUPE_OK &&
            drupe_exec_write(e, "one\n", 4, &taken, &err) == DRUPE_OK && taken == 4;
    while (is_ok && size < 4) {
        is_ok = drupe_exec_wait(e, 100, &result, &err) == DRUPE_TIMEOUT;
    }
    check(is_ok, "a program answers while its input stays open");
    is_ok = drupe_exec_kill(e, 15, &err) == DRUPE_OK &&
            drupe_exec_wait(e, CONNECT_MS, &result, &err) == DRUPE_OK;
    check(is_ok && result.signal == 15, "KILL reaches it");
    drupe_exec_free(e);
    drupe_exec_options_init(&o);
    o.argv = SH("yes | head -c 3000000; sleep 7778");
    is_ok = drupe_exec_start(a, &o, ignore_output, &size, &e, &err) == DRUPE_OK;
    drupe_exec_free(e);
    check(is_ok && drupe_agent_ping(a, CONNECT_MS, &err) == DRUPE_OK,
          "a program that is given up does not hold the connection");
}

static void test_lost(drupe_agent_t *a)
{
    struct drupe_exec_options o;
    struct drupe_error err;
    drupe_agent_t *other = NULL;
    drupe_exec_t *e = NULL;
    size_t size = 0;
    struct run r = { 0 };

    if (drupe_agent_connect(socket_path, CONNECT_MS, &other, &err) != DRUPE_OK) {
        die("connect", &err);
    }
    drupe_exec_options_init(&o);
    o.argv = SH("trap '' HUP; echo up; sleep 7779; sleep 7779");
    if (drupe_exec_start(other, &o, ignore_output, &size, &e, &err) != DRUPE_OK) {
        die("exec", &err);
    }
    while (size == 0) {
        (void)!drupe_exec_wait(e, 100, NULL, &err);
    }
    drupe_agent_interrupt(other);
    check(drupe_exec_wait(e, 1000, NULL, &err) == DRUPE_INTERRUPTED,
          "a call on an interrupted connection says INTERRUPTED");
    drupe_exec_free(e);
    drupe_agent_close(other);
    for (unsigned i = 0; i < 40; i++) {
        bool is_gone = false;

        r = run(a, SH("ps -o args | grep -c '[s]leep 7779'"));
        is_gone = prints(&r, "0\n");
        if (is_gone || i == 39) {
            break;
        }
        drupe_exec_output_free(&r.out);
        (void)usleep(200000);
    }
    finish(&r, prints(&r, "0\n"), "a lost connection takes its programs with it");
}

/* ---- Files ---- */

static bool count_entry(void *ctx, const char *name, const struct drupe_file_info *info)
{
    *(unsigned *)ctx += strcmp(name, "data") == 0 && info->size == 700000;
    return true;
}

struct compare {
    const char *bytes;
    size_t size;
    bool is_equal;
};

static bool compare_bytes(void *ctx, const void *bytes, size_t size)
{
    struct compare *c = ctx;

    c->is_equal = c->is_equal && memcmp(c->bytes + c->size, bytes, size) == 0;
    c->size += size;
    return true;
}

static bool stop_at_once(void *ctx, const void *bytes, size_t size)
{
    (void)bytes;
    *(size_t *)ctx += size;
    return false;
}

static void test_files(drupe_agent_t *a)
{
    const size_t size = 700000;
    char *bytes = malloc(size);
    struct compare c = { .bytes = bytes, .is_equal = true };
    struct drupe_file_info info = { 0 };
    struct drupe_error err = { 0 };
    unsigned found = 0;
    size_t some = 0;

    for (size_t i = 0; i < size; i++) {
        bytes[i] = (char)(i * 40503u >> 7);
    }
    check(drupe_agent_make_directory(a, "/tmp/d", 0755, &err) == DRUPE_OK &&
              drupe_agent_write(a, "/tmp/d/data", DRUPE_WRITE_CREATE | DRUPE_WRITE_TRUNCATE, 0640,
                                0, bytes, size, &err) == DRUPE_OK,
          "a file of 700 KB is written %s", err.text);
    check(drupe_agent_read(a, "/tmp/d/data", 0, 0, compare_bytes, &c, &err) == DRUPE_OK &&
              c.is_equal && c.size == size,
          "and read back %s", err.text);
    check(drupe_agent_stat(a, "/tmp/d/data", &info, &err) == DRUPE_OK && info.size == size &&
              (info.mode & 07777) == 0640 && S_ISREG(info.mode),
          "its attributes are told");
    check(drupe_agent_make_link(a, "/tmp/d/link", "data", &err) == DRUPE_OK &&
              drupe_agent_stat(a, "/tmp/d/link", &info, &err) == DRUPE_OK && S_ISLNK(info.mode),
          "a symbolic link is made");
    check(drupe_agent_list(a, "/tmp/d", count_entry, &found, &err) == DRUPE_OK && found == 1,
          "the directory lists it");
    check(drupe_agent_stat(a, "/tmp/none", &info, &err) == DRUPE_NOT_FOUND && err.os_errno == 2,
          "a missing file is NOT_FOUND");
    check(drupe_agent_read(a, "/tmp/d", 0, 0, compare_bytes, &c, &err) == DRUPE_EXEC_FAILED &&
              err.os_errno == 21,
          "a directory cannot be read as a file");
    check(drupe_agent_read(a, "/dev/zero", 0, 0, stop_at_once, &some, &err) == DRUPE_OK &&
              some > 0 && drupe_agent_ping(a, CONNECT_MS, &err) == DRUPE_OK,
          "a read without end is left");
    free(bytes);
}

/* ---- Raw peers ---- */

static int raw_connect(void)
{
    struct drupe_error err;
    int fd = -1;

    if (drupe_vsock_connect(socket_path, DRUPE_AGENT_PORT, CONNECT_MS, &fd, &err) != DRUPE_OK) {
        die("connect", &err);
    }
    (void)fcntl(fd, F_SETFL, 0);
    return fd;
}

static bool read_all(int fd, void *to, size_t size)
{
    for (char *at = to; size > 0;) {
        ssize_t n = read(fd, at, size);

        if (n <= 0) {
            return false;
        }
        at += n;
        size -= (size_t)n;
    }
    return true;
}

static bool ask_v1(int fd, const char *request, const char *expected)
{
    static char answer[4096];
    uint8_t length[4];
    uint32_t size = 0;

    store_be32(length, (uint32_t)strlen(request));
    if (write(fd, length, 4) != 4 || write(fd, request, strlen(request)) < 0 ||
        !read_all(fd, length, 4)) {
        return false;
    }
    size = load_be32(length);
    if (size >= sizeof(answer) || !read_all(fd, answer, size)) {
        return false;
    }
    answer[size] = '\0';
    if (strcmp(answer, expected) != 0) {
        (void)printf("# %s\n", answer);
    }
    return strcmp(answer, expected) == 0;
}

static void test_protocol1(void)
{
    static const struct {
        const char *name, *request, *answer;
    } cases[] = {
        { "ping", "{\"type\":\"ping\"}", "{\"type\":\"pong\"}" },
        { "exec with arguments and input",
          "{\"type\":\"exec\",\"command\":\"sh\",\"args\":[\"-c\",\"cat; printf "
          "'\\\\377\\\"'; echo e >&2; exit 4\"],\"stdin\":\"in\\u00e9\"}",
          "{\"type\":\"exec_result\",\"exit_code\":4,\"stdout\":\"in\xc3\xa9\xef\xbf\xbd\\\"\","
          "\"stderr\":\"e\\u000a\"}" },
        { "write_file", "{\"type\":\"write_file\",\"path\":\"/tmp/v1\",\"contents\":\"aGVsbG8=\"}",
          "{\"type\":\"success\"}" },
        { "read_file", "{\"type\":\"read_file\",\"path\":\"/tmp/v1\"}",
          "{\"type\":\"file_contents\",\"contents\":\"aGVsbG8=\"}" },
        { "list_dir", "{\"type\":\"list_dir\",\"path\":\"/etc\"}",
          "{\"type\":\"directory_listing\",\"files\":[\"plain\"]}" },
        { "an empty command", "{\"type\":\"exec\",\"command\":\"\",\"args\":[]}",
          "{\"type\":\"error\",\"message\":\"the command is empty\"}" },
        { "no JSON",
          "{\"type\":", "{\"type\":\"error\",\"message\":\"JSON: a string is wanted\"}" },
        { "a signal's death",
          "{\"type\":\"exec\",\"command\":\"sh\",\"args\":[\"-c\",\"kill -9 $$\"]}",
          "{\"type\":\"exec_result\",\"exit_code\":137,\"stdout\":\"\",\"stderr\":\"\"}" },
    };

    int fd = raw_connect();

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check(ask_v1(fd, cases[i].request, cases[i].answer), "protocol 1: %s", cases[i].name);
    }
    (void)close(fd);
}

static void test_garbage(drupe_agent_t *a)
{
    static const struct {
        const char *name;
        uint8_t bytes[16];
        size_t size;
    } cases[] = {
        { "a frame too long", { 0x7f, 0xff, 0xff, 0xff, 1, 0, 0, 0 }, 8 },
        { "a frame too short", { 0, 0, 0, 1, 1, 0, 0, 0 }, 8 },
        { "something else than HELLO first", { 0, 0, 0, 4, 9, 0, 0, 0 }, 8 },
        { "no version in common", { 0, 0, 0, 12, 1, 0, 0, 0, 0, 7, 0, 9, 0, 0, 0, 0 }, 16 },
    };
    struct drupe_error err;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd = raw_connect();
        uint8_t answer[256];
        size_t size = 0;
        ssize_t n = 0;

        (void)!write(fd, cases[i].bytes, cases[i].size);
        while (size < sizeof(answer) && (n = read(fd, answer + size, sizeof(answer) - size)) > 0) {
            size += (size_t)n;
        }
        check(size > 8 && answer[4] == 127 && n <= 0, "%s: ERROR and the end", cases[i].name);
        (void)close(fd);
    }
    check(drupe_agent_ping(a, CONNECT_MS, &err) == DRUPE_OK, "and nobody else is disturbed");
}

static void test_terminal(drupe_agent_t *a)
{
    struct drupe_exec_options o;
    struct run r;

    drupe_exec_options_init(&o);
    o.argv = SH("test -t 0 && test -t 1 && test -t 2 && stty size");
    o.has_tty = true;
    o.tty_rows = 33;
    o.tty_cols = 99;
    r = run_with(a, &o, NULL, 0);
    finish(&r, prints(&r, "33 99\r\n"), "a terminal of the size that was asked for");
}

static void test_end(drupe_vm_t *vm, drupe_agent_t *a)
{
    struct drupe_error err;
    drupe_exec_t *e = NULL;
    struct drupe_exec_options o;
    enum drupe_vm_state state = DRUPE_VM_CREATED;
    size_t size = 0;

    drupe_exec_options_init(&o);
    o.argv = SH("echo up; sleep 1000");
    if (drupe_exec_start(a, &o, ignore_output, &size, &e, &err) != DRUPE_OK) {
        die("exec", &err);
    }
    while (size == 0) {
        (void)!drupe_exec_wait(e, 100, NULL, &err);
    }
    check(drupe_agent_shutdown(a, false, &err) == DRUPE_OK, "SHUTDOWN is taken");
    check(drupe_vm_wait(vm, DRUPE_VM_ENDED, CONNECT_MS, &state, &err) == DRUPE_OK &&
              state == DRUPE_VM_STOPPED,
          "and the machine ends in good order");
    (void)!drupe_exec_wait(e, CONNECT_MS, NULL, &err);
    check(drupe_agent_ping(a, 1000, &err) == DRUPE_EXEC_FAILED, "its connections end with it");
    drupe_exec_free(e);
}

int main(int argc, char **argv)
{
    struct drupe_exec_options o;
    struct drupe_exec_output out;
    struct drupe_error err;
    drupe_agent_t *a = NULL;
    drupe_vm_t *vm = NULL;

    if (argc != 6) {
        (void)fprintf(stderr, "usage: exec_vm KERNEL AGENT ROOT DIRECTORY kvm|qemu\n");
        return 2;
    }
    vm = make_vm(argv, NULL);
    drupe_exec_options_init(&o);
    o.argv = (const char *const[]){ "echo", "early", NULL };
    check(drupe_vm_exec(vm, &o, NULL, 0, &out, &err) == DRUPE_OK &&
              strcmp(out.stdout_bytes, "early\n") == 0,
          "exec before the agent listens waits for it");
    drupe_exec_output_free(&out);
    check(drupe_vm_health(vm), "the VM is healthy");
    if (drupe_agent_connect(socket_path, CONNECT_MS, &a, &err) != DRUPE_OK) {
        die("connect", &err);
    }
    (void)printf("# %s\n", drupe_agent_build(a));
    test_requests(a);
    test_codes(a);
    test_files(a);
    test_streams(a);
    test_protocol1();
    test_garbage(a);
    test_timeout(a);
    test_lost(a);
    test_terminal(a);
    test_sizes(a);
    test_concurrent(a, 1);
    test_concurrent(a, 8);
    test_end(vm, a);
    check(!drupe_vm_health(vm), "an ended VM is not healthy");
    check(drupe_vm_exec(vm, &o, NULL, 0, &out, &err) == DRUPE_NOT_RUNNING,
          "exec in an ended VM is NOT_RUNNING");
    drupe_agent_close(a);
    drupe_vm_destroy(vm);
    check(access(socket_path, F_OK) < 0, "the socket is gone");
    (void)printf("1..%u\n", test_count);
    return failed_count == 0 ? 0 : 1;
}
