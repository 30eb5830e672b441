/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: lines of the monitor, up to the level that was asked for. */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "context.h"
#include "libkrun.h"

static _Atomic uint32_t log_level = KRUN_LOG_LEVEL_WARN;
static _Atomic int log_fd = STDERR_FILENO;

void krun_log(void *unused, enum drupe_log_level level, const char *text)
{
    static const char prefix[] = "libkrun: ";
    const struct iovec line[] = {
        { (void *)(uintptr_t)prefix, sizeof(prefix) - 1 },
        { (void *)(uintptr_t)text, strlen(text) },
        { (void *)(uintptr_t) "\n", 1 },
    };

    (void)unused;
    /* The monitor's levels are ERROR, WARN, INFO from 0 on. */
    if ((uint32_t)level + KRUN_LOG_LEVEL_ERROR <= atomic_load(&log_level)) {
        (void)!writev(atomic_load(&log_fd), line, array_size(line));
    }
}

int32_t krun_set_log_level(uint32_t level)
{
    if (level > KRUN_LOG_LEVEL_TRACE) {
        return -EINVAL;
    }
    atomic_store(&log_level, level);
    return 0;
}

int32_t krun_init_log(int target_fd, uint32_t level, uint32_t style, uint32_t options)
{
    if (target_fd < KRUN_LOG_TARGET_DEFAULT || level > KRUN_LOG_LEVEL_TRACE ||
        style > KRUN_LOG_STYLE_NEVER || options > 1) {
        return -EINVAL;
    }
    atomic_store(&log_fd, target_fd == KRUN_LOG_TARGET_DEFAULT ? STDERR_FILENO : target_fd);
    atomic_store(&log_level, level);
    return 0;
}
