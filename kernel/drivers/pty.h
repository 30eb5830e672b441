/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pseudo terminals (pty(7)): /dev/ptmx makes a pair; the slave is /dev/pts/<n>. The file system
 * behind /dev/pts is mounted when the first pair is made, so a boot pays nothing.
 */
#pragma once

#include <core/types.h>

struct file_ops;
struct file_system;

extern const struct file_ops ptmx_file_ops;
extern struct file_system devpts_type;
