/* SPDX-License-Identifier: Apache-2.0 */
/* The drivers as the rest of the kernel sees them. */
#pragma once

#include <core/types.h>

struct file;

/* Find and start every device of boot_info: serial line, virtio. In the init task, once; may sleep.
 */
void drivers_init(void);

/*
 * The workload's standard streams, three counted descriptions, as the boot arguments' flags say
 * (BOOT_ARGS_STDIO_*); without flags, or without a console device, the serial terminal. Opened in
 * the current task: a terminal becomes its session's controlling one if it leads a session that has
 * none. 0 or -errno.
 */
int stdio_open(uint32_t boot_args_flags, struct file *files[3]) MUST_CHECK;

/* The window that the boot arguments gave; 0: unknown. */
void console_set_window(uint16_t rows, uint16_t cols);

/* A signal from outside for the workload's process group; ignored before it runs (proc/init.c). */
void workload_signal(int signo);

/* Before the machine ends: wait until what programs wrote has left for the host. May sleep. */
void drivers_drain(void);
