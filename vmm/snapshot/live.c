/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/live.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/assert.h>

#include "snapshot/handler.h"

#define PAGE            ((uint64_t)SNAPSHOT_PAGE_SIZE)
#define PAGEMAP_WP      (UINT64_C(1) << 57)
#define EVENTS_AT_ONCE  16u
#define AHEAD_PAGES     1024u /* in one call, so that a fault does not wait long */
#define AHEAD_ROUNDS    8u
#define AHEAD_ENOUGH    64u /* so few pages are left to the moment */
#define WANTED_FEATURES (UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM)

/* ---- Opening ---- */

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1u << 13) /* Linux 6.4 */
#endif

static int protect(struct live *l, uint64_t first, uint64_t count, bool is_protected)
{
    struct uffdio_writeprotect wp = {
        .range = { (uint64_t)(uintptr_t)l->ram + first * PAGE, count * PAGE },
        .mode = is_protected ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };

    while (ioctl(l->uffd, UFFDIO_WRITEPROTECT, &wp) < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

/* With pages that are not there if the host can (Linux 6.4); else the page map tells those. */
static int choose_features(struct live *l)
{
    struct uffdio_api api = { .api = UFFD_API,
                              .features = WANTED_FEATURES | UFFD_FEATURE_WP_UNPOPULATED };

    if (ioctl(l->uffd, UFFDIO_API, &api) == 0) {
        return 0;
    }
    api = (struct uffdio_api){ .api = UFFD_API, .features = WANTED_FEATURES };
    l->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    return l->pagemap_fd >= 0 && ioctl(l->uffd, UFFDIO_API, &api) == 0 ? 0 : -ENOTSUP;
}

static int set_up(struct live *l)
{
    struct uffdio_register reg = {
        .range = { (uint64_t)(uintptr_t)l->ram, l->pages * PAGE },
        .mode = UFFDIO_REGISTER_MODE_WP,
    };

    int r = choose_features(l);

    if (r < 0) {
        return r;
    }
    if (ioctl(l->uffd, UFFDIO_REGISTER, &reg) < 0) {
        return -errno;
    }
    return (reg.ioctls & (UINT64_C(1) << _UFFDIO_WRITEPROTECT)) != 0 ? 0 : -ENOTSUP;
}

int live_open(struct live *l, const uint8_t *ram, uint64_t pages, int device_fd, bool has_swap)
{
    int r = 0;

    *l = (struct live){
        .ram = ram,
        .pages = pages,
        .uffd = userfaultfd_open(device_fd),
        .pagemap_fd = -1,
        .stop_fd = -1,
        .has_swap = has_swap,
    };
    if (l->uffd < 0) {
        return l->uffd;
    }
    l->aside = calloc(pages, sizeof(*l->aside));
    l->copies = calloc(pages / LIVE_PIECE_PAGES + 1, sizeof(*l->copies));
    r = l->aside == NULL || l->copies == NULL ? -ENOMEM : set_up(l);
    if (r < 0) {
        live_close(l);
    }
    return r;
}

/* ---- Ahead of the moment ---- */

/* What is written now is not the snapshot's: let go, and remembered once it is. */
static void let_go_ahead(struct live *l)
{
    struct uffd_msg events[EVENTS_AT_ONCE];
    ssize_t n = 0;

    while ((n = read(l->uffd, events, sizeof(events))) > 0) {
        for (size_t i = 0; i < (size_t)n / sizeof(events[0]); i++) {
            uint64_t page = (events[i].arg.pagefault.address - (uint64_t)(uintptr_t)l->ram) / PAGE;

            if (events[i].event != UFFD_EVENT_PAGEFAULT || page >= l->pages) {
                continue;
            }
            if (protect(l, page, 1, false) < 0) {
                l->error = -EIO;
            }
            page_set_add(&l->moved, page, 1);
        }
    }
}

static void *serve_ahead(void *live)
{
    struct live *l = live;
    struct pollfd fds[] = { { .fd = l->uffd, .events = POLLIN },
                            { .fd = l->stop_fd, .events = POLLIN } };

    while (fds[1].revents == 0) {
        if (poll(fds, array_size(fds), -1) > 0) {
            let_go_ahead(l);
        }
    }
    return NULL;
}

static int start_server(struct live *l)
{
    sigset_t all;
    sigset_t before;
    int r = 0;

    if (!page_set_init(&l->moved, l->pages)) {
        return -ENOMEM;
    }
    l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->stop_fd < 0) {
        return -errno;
    }
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&l->server, NULL, serve_ahead, l);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    l->is_ahead = r == 0;
    return -r;
}

static void stop_server(struct live *l)
{
    const uint64_t one = 1;

    if (l->is_ahead && write(l->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one)) {
        (void)pthread_join(l->server, NULL);
        l->is_ahead = false;
    }
}

/* Protect again what was written since, in runs. */
static int protect_moved(struct live *l, uint64_t *pages)
{
    struct page_set now;
    uint64_t page = 0;
    int r = 0;

    *pages = 0;
    if (!page_set_init(&now, l->pages)) {
        return -ENOMEM;
    }
    page_set_move(&now, &l->moved);
    while (r == 0 && (page = page_set_next(&now, page)) < l->pages) {
        uint64_t count = 1;

        while (page + count < l->pages && page_set_has(&now, page + count)) {
            count++;
        }
        r = protect(l, page, count, true);
        *pages += count;
        page += count;
    }
    page_set_deinit(&now);
    return r;
}

int live_protect_ahead(struct live *l)
{
    uint64_t moved = 0;
    int r = 0;

    if (l->pagemap_fd >= 0) {
        return 0;
    }
    r = start_server(l);
    for (uint64_t page = 0; r == 0 && page < l->pages; page += AHEAD_PAGES) {
        r = protect(l, page, min_of((uint64_t)AHEAD_PAGES, l->pages - page), true);
    }
    for (unsigned i = 0; r == 0 && i < AHEAD_ROUNDS; i++) {
        r = protect_moved(l, &moved);
        if (moved < AHEAD_ENOUGH) {
            break;
        }
    }
    return r;
}

int live_protect(struct live *l)
{
    uint64_t moved = 0;
    int r = 0;

    if (!l->is_ahead) {
        return protect(l, 0, l->pages, true);
    }
    stop_server(l);
    r = protect_moved(l, &moved);
    return r == 0 ? l->error : r;
}

void live_close(struct live *l)
{
    struct uffdio_range all = { (uint64_t)(uintptr_t)l->ram, l->pages * PAGE };

    stop_server(l);
    if (l->stop_fd >= 0) {
        (void)close(l->stop_fd);
        l->stop_fd = -1;
    }
    page_set_deinit(&l->moved);
    if (l->uffd >= 0) {
        (void)protect(l, 0, l->pages, false);
        (void)ioctl(l->uffd, UFFDIO_UNREGISTER, &all); /* wakes who waits */
        (void)close(l->uffd);
        l->uffd = -1;
    }
    if (l->pagemap_fd >= 0) {
        (void)close(l->pagemap_fd);
        l->pagemap_fd = -1;
    }
    for (uint32_t i = 0; l->copies != NULL && i < l->block_count; i++) {
        free(l->copies[i]);
    }
    free(l->copies);
    free(l->aside);
    l->copies = NULL;
    l->aside = NULL;
}

/* ---- Who wants to write ---- */

static uint8_t *copy_of(const struct live *l, uint64_t page)
{
    uint32_t n = l->aside[page] - 1;

    assert(l->aside[page] != 0);
    return l->copies[n / LIVE_PIECE_PAGES] + n % LIVE_PIECE_PAGES * PAGE;
}

static void put_aside(struct live *l, uint64_t page)
{
    if (page < l->done || l->aside[page] != 0) {
        return;
    }
    if (l->copy_count == l->block_count * LIVE_PIECE_PAGES) {
        uint8_t *block = malloc(LIVE_PIECE_PAGES * PAGE);

        if (block == NULL) {
            l->error = -ENOMEM; /* the guest goes on all the same */
            return;
        }
        l->copies[l->block_count++] = block;
    }
    l->aside[page] = ++l->copy_count;
    memcpy(copy_of(l, page), l->ram + page * PAGE, PAGE);
}

static void serve_waiting(struct live *l)
{
    struct uffd_msg events[EVENTS_AT_ONCE];
    ssize_t n = 0;

    while ((n = read(l->uffd, events, sizeof(events))) > 0) {
        for (size_t i = 0; i < (size_t)n / sizeof(events[0]); i++) {
            uint64_t page = (events[i].arg.pagefault.address - (uint64_t)(uintptr_t)l->ram) / PAGE;

            if (events[i].event != UFFD_EVENT_PAGEFAULT || page >= l->pages) {
                continue;
            }
            put_aside(l, page);
            if (protect(l, page, 1, false) < 0) {
                l->error = -EIO;
            }
        }
    }
}

int live_let_write(struct live *l, uint64_t page)
{
    int r = 0;

    assert(page < l->pages);
    put_aside(l, page);
    r = protect(l, page, 1, false);
    return r < 0 ? r : l->error;
}

/* ---- Reading ---- */

int live_read(struct live *l, uint64_t offset, void *to, size_t size)
{
    uint8_t *at = to;

    serve_waiting(l);
    while (size > 0) {
        uint64_t page = offset / PAGE;
        size_t n = (size_t)min_of((uint64_t)size, PAGE - offset % PAGE);
        const uint8_t *from = NULL;

        if (page >= l->pages) {
            return -EFAULT;
        }
        from = l->aside[page] != 0 ? copy_of(l, page) : l->ram + page * PAGE;
        memcpy(at, from + offset % PAGE, n);
        at += n;
        offset += n;
        size -= n;
    }
    return l->error;
}

/*
 * Which of the pages that nobody wrote since were there: those protected still, by the page map.
 * Without it every page was protected, so any of them is as it was; the resident ones will do where
 * nothing is swapped out, and reading all of them otherwise.
 */
static int find_present(const struct live *l, unsigned count, uint64_t *present)
{
    uint64_t entries[LIVE_PIECE_PAGES];
    uint8_t resident[LIVE_PIECE_PAGES];
    uint64_t number = (uint64_t)(uintptr_t)l->ram / PAGE + l->done;

    *present = 0;
    if (l->pagemap_fd >= 0 &&
        pread(l->pagemap_fd, entries, count * sizeof(entries[0]),
              (off_t)(number * sizeof(entries[0]))) != (ssize_t)(count * sizeof(entries[0]))) {
        return -EIO;
    }
    if (l->pagemap_fd < 0 && (l->has_swap || mincore((void *)(uintptr_t)(l->ram + l->done * PAGE),
                                                     count * PAGE, resident) < 0)) {
        memset(resident, 1, sizeof(resident));
    }
    for (unsigned i = 0; i < count; i++) {
        bool is_there =
            l->pagemap_fd >= 0 ? (entries[i] & PAGEMAP_WP) != 0 : (resident[i] & 1u) != 0;

        *present |= (uint64_t)is_there << i;
    }
    return 0;
}

/* What is protected still is as it was; what was put aside, too; the rest came later. */
static uint64_t copy_piece(struct live *l, unsigned count, uint64_t there, uint8_t *bytes)
{
    uint64_t present = 0;

    for (unsigned i = 0; i < count; i++) {
        uint64_t page = l->done + i;
        const uint8_t *from = NULL;

        if (l->aside[page] != 0) {
            from = copy_of(l, page);
        } else if ((there >> i & 1u) != 0) {
            from = l->ram + page * PAGE;
        } else {
            continue;
        }
        memcpy(bytes + i * PAGE, from, PAGE);
        present |= UINT64_C(1) << i;
    }
    return present;
}

int live_next(struct live *l, uint64_t *first, uint8_t *bytes, uint64_t *present)
{
    unsigned count = (unsigned)min_of((uint64_t)LIVE_PIECE_PAGES, l->pages - l->done);
    uint64_t there = 0;
    int r = 0;

    serve_waiting(l);
    if (l->error < 0 || count == 0) {
        return l->error;
    }
    r = find_present(l, count, &there);
    if (r < 0) {
        return r;
    }
    *first = l->done;
    *present = copy_piece(l, count, there, bytes);
    if (*present != 0 || l->pagemap_fd < 0) {
        r = protect(l, l->done, count, false);
    }
    l->done += count;
    return r < 0 ? r : (int)count;
}
