/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM is one private anonymous mapping, reserved and not backed: what the guest doesn't touch
 * costs nothing, and all of it is known to be zero. The root image is a shared read-only mapping of
 * its file in a slot of its own, so that all VMs that use an image share its pages.
 */
#include "kvm/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/checked.h>

#include "error.h"
#include "layout.h"
#include "snapshot/handler.h"
#include "snapshot/memory.h"

enum slot {
    SLOT_RAM_LOW,
    SLOT_RAM_HIGH,
    SLOT_ROOT,
};

#define PAGE_SIZE UINT64_C(4096)

/* Largest address that a slot may reach: what the smallest of today's CPUs can address (39 bits).
 */
#define ROOT_GPA_END (UINT64_C(1) << 39)

static drupe_vm_err_t add_slot(struct machine *m, enum slot slot, uint64_t gpa, void *hva,
                               uint64_t size, bool is_read_only, struct drupe_error *err)
{
    struct kvm_userspace_memory_region region = {
        .slot = (uint32_t)slot,
        .flags = is_read_only             ? KVM_MEM_READONLY
                 : m->dirty.words != NULL ? KVM_MEM_LOG_DIRTY_PAGES
                                          : 0,
        .guest_phys_addr = gpa,
        .memory_size = size,
        .userspace_addr = (uint64_t)(uintptr_t)hva,
    };

    if (size == 0) {
        return DRUPE_OK;
    }
    assert(m->gmem.region_count < GMEM_REGIONS_MAX);
    if (ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0) {
        return error_set(err, DRUPE_INTERNAL, errno, "give KVM the memory slot at 0x%llx",
                         (unsigned long long)gpa);
    }
    m->gmem.regions[m->gmem.region_count++] = (struct gmem_region){
        .gpa = gpa,
        .size = size,
        .hva = hva,
        .is_read_only = is_read_only,
        .dirty = is_read_only ? NULL : m->dirty.words,
        .dirty_first = is_read_only ? 0 : (uint64_t)((uint8_t *)hva - m->ram) / PAGE_SIZE,
    };
    return DRUPE_OK;
}

/* Where the guest sees it, so that an offset is one of the memory's file. */
static drupe_vm_err_t hand_over_ram(struct machine *m, struct drupe_error *err)
{
    const uint64_t offset = m->snapshot->memory_offset;
    const struct handler_region regions[] = {
        { m->ram, m->ram_low_size, offset },
        { m->ram + m->ram_low_size, m->ram_size - m->ram_low_size, offset + m->ram_low_size },
    };

    return handler_start(m->snapshot->handler, m->config->userfaultfd_fd, regions,
                         regions[1].size > 0 ? 2 : 1, &m->handler_uffd, err);
}

static drupe_vm_err_t map_ram(struct machine *m, struct drupe_error *err)
{
    void *ram = mmap(NULL, m->config->memory_size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (ram == MAP_FAILED) {
        return error_set(err, DRUPE_NO_MEMORY, errno, "reserve %llu MiB for the guest",
                         (unsigned long long)(m->config->memory_size >> 20));
    }
    m->ram = ram;
    m->ram_size = m->config->memory_size;
    m->ram_low_size = min_of(m->ram_size, LAYOUT_DEVICES);
    /* A core dump of the monitor is no place for a guest's memory, nor is a child of the embedder.
     */
    (void)madvise(ram, m->ram_size, MADV_DONTDUMP);
    (void)madvise(ram, m->ram_size, MADV_DONTFORK);
    return DRUPE_OK;
}

drupe_vm_err_t machine_memory_load(struct machine *m, struct drupe_error *err)
{
    int r = 0;

    if (m->snapshot->handler != NULL) {
        return hand_over_ram(m, err);
    }
    r = memory_map(m->snapshot, m->ram);
    return r == 0 ? DRUPE_OK
                  : error_set(err, DRUPE_RESTORE_FAILED, -r, "map the memory of snapshot %s",
                              m->snapshot->name);
}

/* Below the device hole if it fits there, else above all RAM. 0 when the image is too large for
 * either. */
static uint64_t place_root(uint64_t ram_low_size, uint64_t ram_high_size, uint64_t size)
{
    uint64_t low = align_up(ram_low_size, LAYOUT_ROOT_ALIGN);
    uint64_t high = align_up(LAYOUT_4GIB + ram_high_size, LAYOUT_ROOT_ALIGN);

    if (ram_high_size == 0 && low < LAYOUT_DEVICES && size <= LAYOUT_DEVICES - low) {
        return low;
    }
    return range_fits(high, size, ROOT_GPA_END) ? high : 0;
}

static drupe_vm_err_t map_root(struct machine *m, struct drupe_error *err)
{
    const struct config_file *f = &m->config->root;
    uint64_t size = 0;

    if (f->fd < 0 || m->config->root_mode != DRUPE_ROOT_MAPPED) {
        return DRUPE_OK;
    }
    if (!checked_add(f->size, PAGE_SIZE - 1, &size)) {
        return error_field(err, "root_path", "root image %s is too large", f->path);
    }
    size = align_down(size, PAGE_SIZE);
    m->root_gpa = place_root(m->ram_low_size, m->ram_size - m->ram_low_size, size);
    if (m->root_gpa == 0) {
        return error_field(err, "root_path", "root image %s is too large to be mapped", f->path);
    }
    void *root = mmap(NULL, size, PROT_READ, MAP_SHARED, f->fd, 0);

    if (root == MAP_FAILED) {
        return error_set(err, DRUPE_NO_ACCESS, errno, "map root image %s", f->path);
    }
    m->root = root;
    m->root_map_size = size;
    return add_slot(m, SLOT_ROOT, m->root_gpa, root, size, true, err);
}

drupe_vm_err_t machine_memory_init(struct machine *m, struct drupe_error *err)
{
    drupe_vm_err_t r = map_ram(m, err);

    if (r == DRUPE_OK && m->config->is_dirty_tracked &&
        !page_set_init(&m->dirty, m->ram_size / PAGE_SIZE)) {
        r = error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make the table of written pages");
    }

    if (r == DRUPE_OK) {
        r = add_slot(m, SLOT_RAM_LOW, 0, m->ram, m->ram_low_size, false, err);
    }
    if (r == DRUPE_OK) {
        r = add_slot(m, SLOT_RAM_HIGH, LAYOUT_4GIB, m->ram + m->ram_low_size,
                     m->ram_size - m->ram_low_size, false, err);
    }
    if (r == DRUPE_OK) {
        r = map_root(m, err);
    }
    return r;
}

void machine_memory_deinit(struct machine *m)
{
    if (m->root != NULL) {
        (void)munmap(m->root, m->root_map_size);
    }
    if (m->ram != NULL) {
        (void)munmap(m->ram, m->ram_size);
    }
    if (m->handler_uffd >= 0) {
        (void)close(m->handler_uffd);
    }
    m->handler_uffd = -1;
    m->root = NULL;
    m->ram = NULL;
    page_set_deinit(&m->dirty);
}

static int collect_slot(struct machine *m, enum slot slot, uint64_t first, uint64_t pages)
{
    const uint64_t words = pages / 64 + 1;
    uint64_t *bits = calloc(words, sizeof(*bits));
    struct kvm_dirty_log log = { .slot = (uint32_t)slot, .dirty_bitmap = bits };
    int r = bits == NULL ? -ENOMEM : 0;

    if (r == 0 && ioctl(m->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0) {
        r = -errno;
    }
    for (uint64_t i = 0; r == 0 && i < words; i++) {
        for (uint64_t left = bits[i]; left != 0; left &= left - 1) {
            uint64_t page = i * 64 + (uint64_t)__builtin_ctzll(left);

            if (page < pages) {
                page_set_add(&m->dirty, first + page, 1);
            }
        }
    }
    free(bits);
    return r;
}

drupe_vm_err_t machine_collect_dirty(struct machine *m, struct drupe_error *err)
{
    const uint64_t low = m->ram_low_size / PAGE_SIZE;
    const uint64_t high = (m->ram_size - m->ram_low_size) / PAGE_SIZE;
    int r = collect_slot(m, SLOT_RAM_LOW, 0, low);

    if (r == 0 && high > 0) {
        r = collect_slot(m, SLOT_RAM_HIGH, low, high);
    }
    return r == 0 ? DRUPE_OK
                  : error_set(err, DRUPE_SNAPSHOT_FAILED, -r, "ask KVM which pages were written");
}

#define RESIDENT_PAGES_AT_ONCE 4096u

uint64_t machine_memory_resident(const struct machine *m)
{
    uint8_t *vec = malloc(RESIDENT_PAGES_AT_ONCE);
    uint64_t pages = 0;

    for (uint64_t at = 0; vec != NULL && at < m->ram_size;
         at += RESIDENT_PAGES_AT_ONCE * PAGE_SIZE) {
        uint64_t size = min_of(RESIDENT_PAGES_AT_ONCE * PAGE_SIZE, m->ram_size - at);

        if (mincore(m->ram + at, size, vec) < 0) {
            break;
        }
        for (uint64_t i = 0; i < size / PAGE_SIZE; i++) {
            pages += vec[i] & 1u;
        }
    }
    free(vec);
    return pages * PAGE_SIZE;
}
