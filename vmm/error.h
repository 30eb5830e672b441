/* SPDX-License-Identifier: Apache-2.0 */
/* Filling the caller's struct drupe_error: code, errno, field and one line of text. */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"

/*
 * Fill *err (may be NULL) and return `code`. `os_errno` 0: no system call is to blame; otherwise
 * its text is appended. The text is one line: control characters become '?'.
 */
drupe_vm_err_t error_set(struct drupe_error *err, drupe_vm_err_t code, int os_errno,
                         const char *format, ...) PRINTF_LIKE(4, 5);

/* CONFIG_INVALID with the field's name. */
drupe_vm_err_t error_field(struct drupe_error *err, const char *field, const char *format, ...)
    PRINTF_LIKE(3, 4);
