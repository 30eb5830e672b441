/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /dev: a tmpfs that fills itself with the registered devices and the usual links when somebody
 * first looks into it, so that a program that never does pays nothing.
 */
#pragma once

#include <fs/vfs.h>

struct file_ops;

extern struct file_system devfs_type;
extern const struct file_ops block_file_ops; /* file->private: its struct block_device */

void devfs_init(void);                                   /* registers the memory devices */
struct device_node *device_after(struct device_node *d); /* NULL: the first; NULL: no more */
