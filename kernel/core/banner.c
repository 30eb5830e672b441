/* SPDX-License-Identifier: Apache-2.0 */
#include <arch/ops.h>
#include <core/boot.h>
#include <core/log.h>
#include <core/version.h>

void log_banner(enum log_level level)
{
    uint64_t ram = 0;

    for (unsigned i = 0; i < boot_info.ram_count; i++) {
        ram += boot_info.ram[i].size;
    }
    log_write(level, "Drupe kernel %s (%s) ram=%luK", DRUPE_VERSION, arch_platform, ram / 1024);
}
