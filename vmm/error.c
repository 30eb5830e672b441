/* SPDX-License-Identifier: Apache-2.0 */
#include "error.h"

#include <stdarg.h>
#include <string.h>

#include <base/fmt.h>

static void make_one_line(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            *text = '?';
        }
    }
}

static void fill(struct drupe_error *err, drupe_vm_err_t code, int os_errno, const char *field,
                 const char *format, va_list args)
{
    size_t length = 0;

    if (err == NULL) {
        return;
    }
    memset(err, 0, sizeof(*err));
    err->code = code;
    err->os_errno = os_errno;
    (void)fmt_snprintf(err->field, sizeof(err->field), "%s", field);
    length = fmt_vsnprintf(err->text, sizeof(err->text), format, args);
    if (os_errno != 0 && length < sizeof(err->text)) {
        char reason[96];

        (void)fmt_snprintf(err->text + length, sizeof(err->text) - length, ": %s",
                           strerror_r(os_errno, reason, sizeof(reason)));
    }
    make_one_line(err->text);
}

drupe_vm_err_t error_set(struct drupe_error *err, drupe_vm_err_t code, int os_errno,
                         const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fill(err, code, os_errno, "", format, args);
    va_end(args);
    return code;
}

drupe_vm_err_t error_field(struct drupe_error *err, const char *field, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fill(err, DRUPE_CONFIG_INVALID, 0, field, format, args);
    va_end(args);
    return DRUPE_CONFIG_INVALID;
}
