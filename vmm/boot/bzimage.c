/* SPDX-License-Identifier: Apache-2.0 */
#include "boot/bzimage.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>

#include <base/assert.h>
#include <base/checked.h>

#include "devices/gmem.h"

#define HEADER_AT        0x1f1u      /* setup_header in the file */
#define HEADER_MAGIC     0x53726448u /* "HdrS" */
#define HEADER_MAGIC_AT  0x202u
#define HEADER_JUMP_AT   0x201u /* how far behind the magic the header ends */
#define PROTOCOL_MIN     0x020cu
#define SECTOR_SIZE      512u
#define SETUP_SECTS_OLD  4u /* what 0 stands for */
#define SIZE_MAX_ALLOWED (UINT64_C(1) << 30)

static int refuse(const char **why, const char *text)
{
    *why = text;
    return -ENOEXEC;
}

/* The header as far as the file says it goes. */
static void take_setup(struct bzimage *out, const uint8_t *bytes)
{
    size_t end = HEADER_MAGIC_AT + bytes[HEADER_JUMP_AT - HEADER_AT];

    out->setup_size = min_of(end - HEADER_AT, sizeof(out->setup));
    out->setup_size = min_of(out->setup_size, sizeof(struct setup_header));
    memcpy(out->setup, bytes, out->setup_size);
}

int bzimage_parse(const struct elf_source *from, struct bzimage *out, const char **why)
{
    uint8_t bytes[sizeof(out->setup)] = { 0 };
    struct setup_header h;
    unsigned sectors = 0;
    int r = 0;

    if (from->size < HEADER_AT + sizeof(bytes)) {
        return refuse(why, "not an ELF file and not a bzImage");
    }
    r = from->read(from->ctx, HEADER_AT, bytes, sizeof(bytes));
    if (r < 0) {
        return r;
    }
    static_assert(sizeof(h) <= sizeof(bytes), "the header was read whole");
    memcpy(&h, bytes, sizeof(h));
    if (h.boot_flag != 0xaa55 || h.header != HEADER_MAGIC) {
        return refuse(why, "not an ELF file and not a bzImage");
    }
    if (h.version < PROTOCOL_MIN || (h.xloadflags & XLF_KERNEL_64) == 0 ||
        (h.loadflags & LOADED_HIGH) == 0) {
        return refuse(why, "a bzImage without the 64-bit entry");
    }
    memset(out, 0, sizeof(*out));
    sectors = h.setup_sects == 0 ? SETUP_SECTS_OLD : h.setup_sects;
    out->offset = (uint64_t)(sectors + 1) * SECTOR_SIZE;
    if (out->offset >= from->size || from->size - out->offset > SIZE_MAX_ALLOWED ||
        from->size - out->offset <= BZIMAGE_ENTRY_OFFSET) {
        return refuse(why, "a bzImage without its kernel");
    }
    out->size = from->size - out->offset;
    out->gpa = max_of(h.pref_address, ELF_LOAD_GPA_MIN);
    out->memory_size = max_of((uint64_t)h.init_size, out->size);
    take_setup(out, bytes);
    return 0;
}

int bzimage_load(const struct elf_source *from, const struct bzimage *image, const struct gmem *g)
{
    void *to = gmem_lend(g, (gpa_t){ image->gpa }, image->size, true);

    if (to == NULL || !gmem_is_writable(g, (gpa_t){ image->gpa }, image->memory_size)) {
        return -EFAULT;
    }
    return from->read(from->ctx, image->offset, to, (size_t)image->size);
}
