/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_user/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <base/assert.h>
#include <base/checked.h>

#define PAGE_SIZE 4096u

static_assert(VHOST_USER_REGIONS_MAX <= GMEM_REGIONS_MAX, "every region has a place");

void vhost_user_memory_init(struct vhost_user_memory *v)
{
    memset(v, 0, sizeof(*v));
}

void vhost_user_memory_deinit(struct vhost_user_memory *v)
{
    for (unsigned i = 0; i < v->gmem.region_count; i++) {
        (void)munmap(v->gmem.regions[i].hva, v->gmem.regions[i].size);
    }
    vhost_user_memory_init(v);
}

static bool is_range(uint64_t first, uint64_t size)
{
    uint64_t end = 0;

    return checked_add(first, size, &end);
}

static bool overlaps(const struct vhost_user_region *a, const struct vhost_user_region *b)
{
    return a->gpa < b->gpa + b->size && b->gpa < a->gpa + a->size;
}

static int check(const struct vhost_user_regions *regions, unsigned i)
{
    const struct vhost_user_region *r = &regions->items[i];

    if (r->size == 0 || !is_aligned(r->size, PAGE_SIZE) || !is_aligned(r->gpa, PAGE_SIZE) ||
        !is_aligned(r->offset, PAGE_SIZE) || !is_range(r->gpa, r->size) ||
        !is_range(r->user_addr, r->size) || !is_range(r->offset, r->size)) {
        return -EPROTO;
    }
    for (unsigned j = 0; j < i; j++) {
        if (overlaps(r, &regions->items[j])) {
            return -EPROTO;
        }
    }
    return 0;
}

/* The seal comes first: a size that was read before it would say nothing. */
static int check_file(const struct vhost_user_region *r, int fd)
{
    const int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;

    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
        return -EPERM;
    }
    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    return st.st_size >= 0 && range_fits(r->offset, r->size, (uint64_t)st.st_size) ? 0 : -EPROTO;
}

static int map_one(struct vhost_user_memory *v, const struct vhost_user_region *r, int fd)
{
    void *hva = MAP_FAILED;
    int e = check_file(r, fd);

    if (e < 0) {
        return e;
    }
    hva = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
               (off_t)r->offset);
    if (hva == MAP_FAILED) {
        return -errno;
    }
    v->user_addrs[v->gmem.region_count] = r->user_addr;
    v->gmem.regions[v->gmem.region_count++] =
        (struct gmem_region){ .gpa = r->gpa, .size = r->size, .hva = hva };
    return 0;
}

int vhost_user_memory_map(struct vhost_user_memory *v, const struct vhost_user_regions *regions,
                          const int *fds)
{
    int r = 0;

    assert(v->gmem.region_count == 0);
    assert(regions->count <= VHOST_USER_REGIONS_MAX);
    for (unsigned i = 0; r == 0 && i < regions->count; i++) {
        r = check(regions, i);
    }
    for (unsigned i = 0; r == 0 && i < regions->count; i++) {
        r = map_one(v, &regions->items[i], fds[i]);
    }
    if (r < 0) {
        vhost_user_memory_deinit(v);
    }
    return r;
}

bool vhost_user_memory_find(const struct vhost_user_memory *v, uint64_t user_addr, gpa_t *out)
{
    for (unsigned i = 0; i < v->gmem.region_count; i++) {
        if (user_addr >= v->user_addrs[i] &&
            user_addr - v->user_addrs[i] < v->gmem.regions[i].size) {
            *out = (gpa_t){ v->gmem.regions[i].gpa + (user_addr - v->user_addrs[i]) };
            return true;
        }
    }
    return false;
}
