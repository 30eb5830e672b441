/* SPDX-License-Identifier: Apache-2.0 */
/* The ELF reader and the image check, on any file. */

#include <sys/mman.h>
#include <unistd.h>

#include "elf_deps.h"
#include "image/erofs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP_FD fd = memfd_create("fuzz", MFD_CLOEXEC);
    struct elf_info info;

    if (fd < 0 || fd_write_all(fd, data, size) < 0) {
        return 0;
    }
    if (!elf_read(fd, &info)) {
        elf_info_free(&info);
    }
    (void)!erofs_check(fd);
    return 0;
}
