/* SPDX-License-Identifier: Apache-2.0 */
#include <proc/boot_args.h>

#include <core/string.h>

static int refuse(const char **what, const char *why)
{
    *what = why;
    return -EINVAL;
}

struct strings {
    const char *at;
    size_t left;
};

/* The next terminated string; NULL: it does not end inside. */
static const char *next_string(struct strings *s)
{
    const char *start = s->at;
    const char *nul = memchr(s->at, '\0', s->left);

    if (!nul) {
        return NULL;
    }
    s->left -= (size_t)(nul + 1 - start);
    s->at = nul + 1;
    return start;
}

static bool take_list(struct strings *s, uint32_t count, const char **list)
{
    for (uint32_t i = 0; i < count; i++) {
        list[i] = s->left > 0 ? next_string(s) : NULL;
        if (!list[i]) {
            return false;
        }
    }
    list[count] = NULL;
    return true;
}

static int check_header(const struct boot_args *h, size_t size, const char **what)
{
    if (h->version != BOOT_ARGS_VERSION) {
        return refuse(what, "boot arguments of another version");
    }
    if (h->size > BOOT_ARGS_SIZE_MAX || h->size > size || h->size < sizeof(*h)) {
        return refuse(what, "boot arguments of a wrong size");
    }
    if (h->strings_offset < sizeof(*h) ||
        !range_fits(h->strings_offset, h->strings_size, h->size)) {
        return refuse(what, "boot arguments whose strings lie outside");
    }
    return 0;
}

int boot_args_parse(const void *blob, size_t size, const char **pointers, size_t count,
                    struct boot_args_view *out, const char **what)
{
    struct boot_args *h = &out->header;

    if (size < sizeof(*h) || load_le64(blob) != BOOT_ARGS_MAGIC) {
        return -ENOENT;
    }
    memcpy(h, blob, sizeof(*h));
    int err = check_header(h, size, what);

    if (err < 0) {
        return err;
    }
    /* Each string has one byte at least: so the counts are bounded before they are used. */
    if ((uint64_t)h->argc + h->envc + 2 > h->strings_size) {
        return refuse(what, "boot arguments with fewer strings than they count");
    }
    if ((uint64_t)h->argc + h->envc + 2 > count) {
        *what = "boot arguments with too many strings";
        return -E2BIG;
    }
    struct strings s = { .at = (const char *)blob + h->strings_offset, .left = h->strings_size };

    out->argv = pointers;
    out->envp = pointers + h->argc + 1;
    if (!take_list(&s, h->argc, out->argv) || !take_list(&s, h->envc, out->envp)) {
        return refuse(what, "boot arguments with fewer strings than they count");
    }
    out->directory = s.left > 0 ? next_string(&s) : NULL;
    out->host_name = s.left > 0 ? next_string(&s) : NULL;
    if (!out->directory || !out->host_name || s.left != 0) {
        return refuse(what, "boot arguments whose strings do not add up");
    }
    out->directory = *out->directory ? out->directory : "/";
    out->host_name = *out->host_name ? out->host_name : "drupe";
    return 0;
}
