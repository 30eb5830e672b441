/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The identity page (abi/boot.h): written before the guest's first instruction and each time it
 * goes on; read for what the kernel says about its pages. A guest that wrote other things there is
 * left alone.
 */
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <base/checked.h>
#include <base/clock.h>

#include "kvm/machine.h"
#include "layout.h"
#include "snapshot/memory.h"

#include "abi/boot.h"

#define RECORD_SIZE_MIN 4u
#define RECORD_SIZE_MAX 256u
#define RECORDS_AT_ONCE 256u
#define ORDER_MAX       20u

static const gpa_t page = { LAYOUT_IDENTITY };

/* The monitor's half, with everything that is new each time. */
static void fill(struct boot_identity *p, uint64_t counter)
{
    /* Both are short enough never to be cut; a host without entropy leaves zeros, which do no harm:
     * they are added to what the guest has. */
    (void)!getrandom(p->id, sizeof(p->id), 0);
    (void)!getrandom(p->entropy, sizeof(p->entropy), 0);
    p->counter = counter;
    p->realtime_ns = clock_ns_of(CLOCK_REALTIME);
}

int machine_identity_init(struct machine *m)
{
    struct boot_identity p = { .magic = BOOT_IDENTITY_MAGIC,
                               .version = BOOT_IDENTITY_VERSION,
                               .generation = 1 };
    int r = 0;

    fill(&p, 0);
    r = gmem_write(&m->gmem, page, &p, sizeof(p));
    explicit_bzero(&p, sizeof(p));
    return r;
}

static bool read_page(const struct machine *m, struct boot_identity *p)
{
    return gmem_read(&m->gmem, page, p, sizeof(*p)) == 0 && p->magic == BOOT_IDENTITY_MAGIC &&
           p->version == BOOT_IDENTITY_VERSION;
}

void machine_identity_renew(struct machine *m)
{
    struct boot_identity p;

    if (!read_page(m, &p)) {
        return;
    }
    p.generation++;
    p.counter_skip += m->clock.guest_skip;
    fill(&p, m->clock.guest_now);
    /* The page was readable RAM, so it is writable; its second half stays. */
    (void)!gmem_write(&m->gmem, page, &p, offsetof(struct boot_identity, reserved));
    if (p.kernel_magic == BOOT_IDENTITY_KERNEL_MAGIC && p.generation_copy != 0 &&
        is_aligned(p.generation_copy, sizeof(p.generation))) {
        (void)!gmem_write(&m->gmem, (gpa_t){ p.generation_copy }, &p.generation,
                          sizeof(p.generation));
    }
    explicit_bzero(&p, sizeof(p));
}

static bool page_of(const struct machine *m, uint64_t gpa, uint64_t *number)
{
    if (gpa < m->ram_low_size) {
        *number = gpa / SNAPSHOT_PAGE_SIZE;
        return true;
    }
    *number = (gpa - LAYOUT_4GIB + m->ram_low_size) / SNAPSHOT_PAGE_SIZE;
    return gpa >= LAYOUT_4GIB && gpa - LAYOUT_4GIB < m->ram_size - m->ram_low_size;
}

unsigned machine_identity_pages(const struct machine *m, uint64_t pages[2])
{
    struct boot_identity p;
    unsigned count = 0;

    if (!read_page(m, &p)) {
        return 0;
    }
    count += page_of(m, page.raw, &pages[count]);
    /* The word is written only where it lies inside one page: it is aligned, or it is not there. */
    if (p.generation_copy != 0) {
        count += page_of(m, p.generation_copy, &pages[count]);
    }
    return count;
}

/* ---- Free pages ---- */

/* RAM has a hole in guest-physical space; page sets go by offset. */
static void remove_frames(const struct machine *m, struct page_set *s, uint64_t frame,
                          uint64_t count)
{
    const uint64_t low = m->ram_low_size / SNAPSHOT_PAGE_SIZE;
    const uint64_t high = LAYOUT_4GIB / SNAPSHOT_PAGE_SIZE;

    if (range_fits(frame, count, low)) {
        page_set_remove(s, frame, count);
    } else if (frame >= high && range_fits(frame - high + low, count, s->pages)) {
        page_set_remove(s, frame - high + low, count);
    }
}

static bool is_sane(const struct boot_identity *p)
{
    return p->kernel_magic == BOOT_IDENTITY_KERNEL_MAGIC && p->page_size >= RECORD_SIZE_MIN &&
           p->page_size <= RECORD_SIZE_MAX && p->flags_offset <= p->page_size - 2 &&
           p->order_offset <= p->page_size - 2 && p->flags_free != 0;
}

static uint16_t word_at(const uint8_t *record, unsigned offset)
{
    uint16_t word = 0;

    memcpy(&word, record + offset, sizeof(word));
    return word;
}

/* Records [first, first + count) in `bytes`; returns how many frames they describe. */
static uint64_t take_records(const struct machine *m, const struct boot_identity *p,
                             struct page_set *s, uint64_t first, uint64_t count,
                             const uint8_t *bytes)
{
    uint64_t i = 0;

    while (i < count) {
        const uint8_t *record = bytes + i * p->page_size;
        unsigned order = word_at(record, p->order_offset);
        uint64_t frames = 1;

        if ((word_at(record, p->flags_offset) & p->flags_free) == p->flags_free &&
            order <= ORDER_MAX) {
            frames = UINT64_C(1) << order;
            remove_frames(m, s, first + i, frames);
        }
        i += frames;
    }
    return i;
}

void machine_remove_free_pages(const struct machine *m, struct page_set *s, machine_read_fn read,
                               void *ctx)
{
    uint8_t bytes[RECORDS_AT_ONCE * RECORD_SIZE_MAX];
    struct boot_identity p;
    uint64_t frames = 0;
    uint64_t at = 0;
    uint64_t end = 0;

    if (read(ctx, page, &p, sizeof(p)) < 0 || p.magic != BOOT_IDENTITY_MAGIC || !is_sane(&p) ||
        !checked_mul(p.page_count, (uint64_t)p.page_size, &end) ||
        !checked_add(p.pages, end, &end)) {
        return;
    }
    frames = min_of(p.page_count,
                    (LAYOUT_4GIB + m->ram_size) / SNAPSHOT_PAGE_SIZE); /* no more can be RAM */
    while (at < frames) {
        uint64_t count = min_of((uint64_t)RECORDS_AT_ONCE, frames - at);
        gpa_t from = { p.pages + at * p.page_size };

        if (read(ctx, from, bytes, count * p.page_size) < 0) {
            return;
        }
        at += take_records(m, &p, s, at, count, bytes);
    }
}
