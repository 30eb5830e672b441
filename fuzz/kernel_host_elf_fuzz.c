/* SPDX-License-Identifier: Apache-2.0 */
/* ELF headers: whatever is accepted must be safe to map without further checks. */
#include <stddef.h>
#include <stdint.h>

#include <mm/mm.h>
#include <proc/elf.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct elf_image e;

    if (elf_parse_header(data, size, 62, &e) < 0 || e.phdr_offset > size ||
        elf_parse_segments(data + e.phdr_offset, size - e.phdr_offset, &e) < 0) {
        return 0;
    }
    uint64_t end = 0;

    assert(e.segment_count > 0 && e.segment_count <= ELF_SEGMENTS_MAX);
    assert(is_power_of_two(e.align) && e.align >= PAGE_SIZE);
    for (unsigned i = 0; i < e.segment_count; i++) {
        const struct elf_segment *s = &e.segments[i];

        assert(s->mem_size > 0 && s->file_size <= s->mem_size && s->addr >= end);
        assert(s->addr < USER_MAX && s->mem_size <= USER_MAX - s->addr);
        assert(((s->addr ^ s->offset) & (PAGE_SIZE - 1)) == 0);
        assert(s->offset <= INT64_MAX && s->file_size <= INT64_MAX - s->offset);
        end = s->addr + s->mem_size;
    }
    assert(e.low <= e.segments[0].addr && end <= e.high && e.high <= USER_MAX);
    return 0;
}
