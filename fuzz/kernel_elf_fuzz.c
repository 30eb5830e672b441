/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile kernel file: parse it, and load what was accepted into a small guest. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <base/assert.h>

#include "boot/elf.h"
#include "devices/gmem.h"

#define RAM_SIZE 0x400000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *ram_get(void)
{
    static uint8_t *ram;

    if (ram == NULL) {
        ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        assert(ram != MAP_FAILED);
    }
    return ram;
}

static void check_image(const struct elf_image *image, uint64_t size)
{
    uint64_t end = ELF_LOAD_GPA_MIN;

    assert(image->segment_count <= ELF_SEGMENTS_MAX);
    for (unsigned i = 0; i < image->segment_count; i++) {
        const struct elf_segment *s = &image->segments[i];

        assert(s->gpa >= end);
        assert(s->file_size <= s->memory_size);
        assert(s->offset <= size && s->file_size <= size - s->offset);
        assert(s->gpa + s->memory_size > s->gpa);
        end = s->gpa + s->memory_size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gmem g = { .regions = { { .size = RAM_SIZE, .hva = ram_get() } }, .region_count = 1 };
    struct elf_bytes bytes = { .bytes = data };
    struct elf_source source = elf_source_bytes(&bytes, size);
    struct elf_image image;
    const char *why = NULL;
    uint64_t end = 0;

    if (elf_parse(&source, &image, &why) == 0) {
        check_image(&image, size);
        if (elf_load(&source, &image, &g, &end) == 0) {
            assert(end <= RAM_SIZE);
        }
    } else {
        assert(why != NULL);
    }
    return 0;
}
