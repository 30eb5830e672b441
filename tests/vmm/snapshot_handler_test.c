/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory that a page-fault handler of the client's brings in. */
#include "snapshot.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <base/compiler.h>

struct handler {
    char path[128];
    int listener;
    int memory_fd;
    bool is_hung; /* takes the connection and brings nothing */
    int stop[2];
    char message[1024];
    uint64_t pages;
};

static int take_message(struct handler *h)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = { h->message, sizeof(h->message) - 1 };
    struct msghdr message = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
    int client = accept(h->listener, NULL, NULL);
    int fd = -1;

    assert_true(client >= 0);
    assert_true(recvmsg(client, &message, MSG_CMSG_CLOEXEC) > 0);
    assert_int_equal(message.msg_controllen, sizeof(control.bytes));
    assert_int_equal(control.header.cmsg_type, SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
    assert_int_equal(recv(client, &control, 1, 0), 0); /* nothing more comes */
    (void)close(client);
    return fd;
}

static void bring(struct handler *h, int uffd, uint64_t address, uint64_t start, uint64_t offset)
{
    static uint8_t page[4096];
    struct uffdio_copy copy = { .dst = address & ~UINT64_C(4095),
                                .src = (uint64_t)(uintptr_t)page,
                                .len = sizeof(page) };

    assert_int_equal(pread(h->memory_fd, page, sizeof(page), (off_t)(copy.dst - start + offset)),
                     sizeof(page));
    assert_true(ioctl(uffd, UFFDIO_COPY, &copy) == 0 || errno == EEXIST);
    h->pages++;
}

/* One region, its five numbers in their order. */
static void parse(const char *text, uint64_t values[5])
{
    static const char *const names[] = { "[{\"base_host_virt_addr\":", ",\"size\":", ",\"offset\":",
                                         ",\"page_size\":", ",\"page_size_kib\":" };

    for (size_t i = 0; i < array_size(names); i++) {
        char *end = NULL;

        assert_int_equal(strncmp(text, names[i], strlen(names[i])), 0);
        values[i] = strtoull(text + strlen(names[i]), &end, 10);
        text = end;
    }
    assert_string_equal(text, "}]");
}

static void *handler_main(void *ctx)
{
    struct handler *h = ctx;
    int uffd = -1;
    uint64_t values[5];
    struct uffd_msg event;

    uffd = take_message(h);
    parse(h->message, values);
    assert_int_equal(values[1], 16 << 20);
    assert_int_equal(values[2], 0);
    assert_int_equal(values[3], 4096);
    assert_int_equal(values[4], 4096);
    for (;;) {
        struct pollfd fds[] = { { .fd = uffd, .events = h->is_hung ? 0 : POLLIN },
                                { .fd = h->stop[0], .events = POLLIN } };

        assert_true(poll(fds, array_size(fds), -1) > 0);
        if (fds[1].revents != 0) {
            break;
        }
        if (read(uffd, &event, sizeof(event)) == sizeof(event) &&
            event.event == UFFD_EVENT_PAGEFAULT) {
            bring(h, uffd, event.arg.pagefault.address, values[0], values[2]);
        }
    }
    (void)close(uffd);
    return NULL;
}

static void handler_listen(struct handler *h)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };

    (void)snprintf(h->path, sizeof(h->path), "%s", in_folder("uffd"));
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%.100s", h->path);
    h->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(h->listener >= 0);
    assert_int_equal(bind(h->listener, (const struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(h->listener, 4), 0);
    assert_int_equal(pipe2(h->stop, O_CLOEXEC), 0);
}

static void handler_unlisten(struct handler *h)
{
    (void)close(h->listener);
    (void)close(h->stop[0]);
    (void)close(h->stop[1]);
    assert_int_equal(unlink(h->path), 0);
}

/* Restore with the handler; the guest's end is the handler's. */
static void restore_by(struct handler *h, struct drupe_restore_options *in)
{
    struct run clone;
    pthread_t thread;
    drupe_vm_err_t e = DRUPE_OK;

    handler_listen(h);
    in->memory_handler = h->path;
    run_count(&clone, 1, 16);
    assert_int_equal(pthread_create(&thread, NULL, handler_main, h), 0);
    e = drupe_vm_create_from_snapshot(&clone.cfg, in, &clone.vm, &clone.err);
    if (h->is_hung) {
        assert_int_equal(e, DRUPE_RESTORE_FAILED);
        assert_non_null(strstr(clone.err.text, "brings no page"));
        (void)close(clone.cfg.serial_log);
    } else {
        if (e != DRUPE_OK) {
            fail_msg("restore: %s %s", drupe_vm_err_name(e), clone.err.text);
        }
        resume_ok(&clone);
        wait_lines(&clone);
        assert_true(number(&clone, false) > 0);
        end_by_signal(&clone);
        run_free(&clone);
    }
    assert_int_equal(write(h->stop[1], "", 1), 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    handler_unlisten(h);
}

static void test_handler(void **state)
{
    struct drupe_snapshot_options out = { .struct_size = sizeof(out) };
    struct drupe_restore_options in = { .struct_size = sizeof(in),
                                        .is_clone = true,
                                        .memory_fd = -1 };
    struct drupe_snapshot_info info;
    struct run r;
    struct handler h = { .memory_fd = memory_file() };
    int fd = memory_file();

    (void)state;
    need_kvm();
    if (access("/dev/userfaultfd", R_OK | W_OK) != 0) {
        print_message("no /dev/userfaultfd\n");
        skip();
    }
    out.fd = fd;
    out.memory_fd = h.memory_fd;
    in.fd = fd;
    run_count(&r, 1, 16);
    run_start(&r);
    wait_lines(&r);
    assert_int_equal(drupe_vm_snapshot(r.vm, &out, &info, &r.err), DRUPE_OK);
    end_by_signal(&r);
    run_free(&r);
    restore_by(&h, &in);
    assert_true(h.pages > 4);
    h.is_hung = true;
    restore_by(&h, &in);
    in.memory_handler = in_folder("nobody");
    run_count(&r, 1, 16);
    assert_int_equal(drupe_vm_create_from_snapshot(&r.cfg, &in, &r.vm, &r.err), DRUPE_NOT_FOUND);
    assert_non_null(strstr(r.err.text, "no page-fault handler"));
    (void)close(r.cfg.serial_log);
    (void)close(fd);
    (void)close(h.memory_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handler),
    };

    return cmocka_run_group_tests_name("snapshot_handler", tests, make_folder, remove_folder);
}
