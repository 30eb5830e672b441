/* SPDX-License-Identifier: Apache-2.0 */
/* MAJOR.MINOR.PATCH[-anything] of base images, read strictly. */
#include <string.h>

#include "error.h"
#include "store/store_internal.h"

#define NUMBERS 3

/* Digits without a leading zero, as a version number; false on anything else. */
static bool read_number(const char **at, uint32_t *out)
{
    const char *p = *at;
    uint64_t n = 0;

    if (*p < '0' || *p > '9' || (p[0] == '0' && p[1] >= '0' && p[1] <= '9')) {
        return false;
    }
    while (*p >= '0' && *p <= '9') {
        n = n * 10 + (uint64_t)(*p++ - '0');
        if (n > UINT32_MAX) {
            return false;
        }
    }
    *out = (uint32_t)n;
    *at = p;
    return true;
}

static bool parse(const char *text, uint32_t numbers[NUMBERS])
{
    if (text == NULL || strnlen(text, DRUPE_IMAGE_VERSION_MAX + 1) > DRUPE_IMAGE_VERSION_MAX) {
        return false;
    }
    for (unsigned i = 0; i < NUMBERS; i++) {
        if (!read_number(&text, &numbers[i])) {
            return false;
        }
        if (i + 1 < NUMBERS && *text++ != '.') {
            return false;
        }
    }
    return *text == '\0' || *text == '-';
}

drupe_vm_err_t drupe_image_version_check(const char *made, const char *here,
                                         bool *is_patch_different, struct drupe_error *err)
{
    uint32_t a[NUMBERS];
    uint32_t b[NUMBERS];

    if (!parse(made, a) || !parse(here, b)) {
        return error_set(err, DRUPE_IMAGE_MISMATCH, 0, "%s is no version MAJOR.MINOR.PATCH",
                         !parse(made, a) ? (made == NULL ? "(none)" : made)
                                         : (here == NULL ? "(none)" : here));
    }
    if (a[0] != b[0] || a[1] != b[1]) {
        return error_set(err, DRUPE_IMAGE_MISMATCH, 0, "made on base image %s, here is %s", made,
                         here);
    }
    if (is_patch_different != NULL) {
        *is_patch_different = a[2] != b[2];
    }
    return DRUPE_OK;
}
