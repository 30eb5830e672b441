/* SPDX-License-Identifier: Apache-2.0 */
/* Mount options (contract in options.h). The last of several wins, as in Linux. */
#include <core/string.h>
#include <fs/options.h>

/* The text behind "key" up to a comma; NULL: absent. */
static const char *find(const char *options, const char *key)
{
    const char *found = NULL;

    for (const char *p = options; p && *p;) {
        size_t length = *p == *key ? strlen(key) : 0;

        if (length != 0 && strncmp(p, key, length) == 0 &&
            (p[length] == '\0' || p[length] == ',' || p[length] == '=')) {
            found = p + length;
        }
        p = strchr(p, ',');
        if (p) {
            p++;
        }
    }
    return found;
}

static const char *number(const char *p, unsigned base, uint64_t *value)
{
    const char *start = p;
    uint64_t v = 0;

    for (; *p >= '0' && *p < (char)('0' + base); p++) {
        if (!checked_mul(v, base, &v) || !checked_add(v, (uint64_t)(*p - '0'), &v)) {
            return NULL;
        }
    }
    *value = v;
    return p == start ? NULL : p;
}

static bool is_end(const char *p)
{
    return *p == '\0' || *p == ',';
}

bool mount_option_size(const char *options, const char *key, uint64_t whole, uint64_t *value)
{
    const char *p = find(options, key);
    unsigned shift = 0;
    uint64_t v;

    if (!p || *p != '=') {
        return false;
    }
    p = number(p + 1, 10, &v);
    if (!p) {
        return false;
    }
    if (*p == '%' && whole != 0 && v <= 100) {
        v = whole / 100 * v;
        p++;
    } else if (*p == 'k' || *p == 'K') {
        shift = 10;
    } else if (*p == 'm' || *p == 'M') {
        shift = 20;
    } else if (*p == 'g' || *p == 'G') {
        shift = 30;
    }
    if (shift != 0) {
        p++;
    }
    if (!is_end(p) || v > UINT64_MAX >> shift) {
        return false;
    }
    *value = v << shift;
    return true;
}

bool mount_option_octal(const char *options, const char *key, uint64_t *value)
{
    const char *p = find(options, key);
    uint64_t v;

    if (!p || *p != '=') {
        return false;
    }
    p = number(p + 1, 8, &v);
    if (!p || !is_end(p)) {
        return false;
    }
    *value = v;
    return true;
}

bool mount_option_is_set(const char *options, const char *key)
{
    const char *p = find(options, key);

    return p && is_end(p);
}
