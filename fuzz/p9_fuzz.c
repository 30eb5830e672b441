/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile client of the 9P server: the input is a list of messages (two bytes of length, type,
 * fields) against two folders. Invariants: no sanitizer report, no assertion, the number of fids is
 * bounded, the read-only folder and what lies beside the shares stay as they were.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/bytes.h>

#include "devices/p9_server.h"

#define FIDS_MAX  16u
#define DATA_SIZE 4096u

int LLVMFuzzerInitialize(const int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char base[] = "/tmp/p9_fuzz.XXXXXX";
static int base_fd;
static int proc_fd;
static struct p9_call call;

static void remove_base(void)
{
    char command[64] = "rm -rf ";

    strcat(command, base);  /* NOLINT(clang-analyzer-security.insecureAPI.strcpy): both are ours */
    (void)!system(command); /* NOLINT(cert-env33-c): our own text */
}

static void make_file(const char *name)
{
    const int fd = openat(base_fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

    assert(fd >= 0);
    assert(write(fd, "content", 7) == 7); /* NOLINT(bugprone-assert-side-effect): always on */
    (void)close(fd);
}

int LLVMFuzzerInitialize(const int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    if (mkdtemp(base) == NULL) {
        abort();
    }
    base_fd = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
    proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    (void)atexit(remove_base);
    (void)mkdirat(base_fd, "rw", 0755);
    (void)mkdirat(base_fd, "ro", 0755);
    make_file("beside");
    make_file("ro/file");
    return 0;
}

static void check_untouched(const char *name)
{
    struct stat st;

    if (fstatat(base_fd, name, &st, 0) < 0 || st.st_size != 7 || (st.st_mode & 0777) != 0644) {
        abort();
    }
}

/* One message of the input. */
static void send(struct p9_server *s, const uint8_t *bytes, size_t size)
{
    static uint8_t room[DATA_SIZE];
    const struct iovec in = { (void *)(uintptr_t)(bytes + min_of(size, (size_t)16)),
                              size - min_of(size, (size_t)16) };
    const struct iovec out = { room, sizeof(room) };

    store_le32(call.in, (uint32_t)(6 + size));
    memcpy(call.in + 4, bytes, min_of(size, sizeof(call.in) - 4));
    call.in_size = min_of(6 + size, sizeof(call.in));
    memset(call.in + 4 + size, 0, 2);
    call.message_size = 6 + size;
    call.data_in = &in;
    call.data_in_count = size > 16;
    call.data_out = &out;
    call.data_out_count = 1;
    call.reply_max = P9_READ_HEADER_SIZE + sizeof(room);
    const long n = p9_server_call(s, &call);

    if (n > (long)call.reply_max || p9_server_fid_count(s) > FIDS_MAX) {
        abort();
    }
}

static void say_hello(struct p9_server *s)
{
    static const uint8_t version[] = "\x64\xff\xff\x00\x00\x01\x00\x0e\x00"
                                     "9P2000.L.drupe";
    static const uint8_t attach_rw[] =
        "\x68\x01\x00\x01\x00\x00\x00\xff\xff\xff\xff\x00\x00\x02\x00rw"
        "\x00\x00\x00\x00";
    static const uint8_t attach_ro[] =
        "\x68\x01\x00\x02\x00\x00\x00\xff\xff\xff\xff\x00\x00\x02\x00ro"
        "\x00\x00\x00\x00";

    send(s, version, sizeof(version) - 1);
    send(s, attach_rw, sizeof(attach_rw) - 1);
    send(s, attach_ro, sizeof(attach_ro) - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int rw = openat(base_fd, "rw", O_PATH | O_DIRECTORY | O_CLOEXEC);
    const int ro = openat(base_fd, "ro", O_PATH | O_DIRECTORY | O_CLOEXEC);
    const struct p9_share_setup shares[] = { { "rw", rw, false }, { "ro", ro, true } };
    const struct p9_server_setup setup = {
        .shares = shares, .share_count = 2, .proc_fd = proc_fd, .fids_max = FIDS_MAX
    };
    struct p9_server *s = NULL;

    if (p9_server_create(&setup, &s) < 0) {
        abort();
    }
    say_hello(s);
    while (size >= 3) {
        const size_t n = min_of((size_t)load_le16(data) % 4096u + 1, size - 2);

        send(s, data + 2, n);
        data += 2 + n;
        size -= 2 + n;
    }
    p9_server_destroy(s);
    check_untouched("beside");
    check_untouched("ro/file");
    (void)close(rw);
    (void)close(ro);
    return 0;
}
