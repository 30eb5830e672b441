/* SPDX-License-Identifier: Apache-2.0 */
/* Names of a project's files. */

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "project.h"

#define LOOK_MAX  4000u
#define DEPTH_MAX 32u

char *project_image(const struct manifest *m)
{
    return text_format("dist/%s.erofs", m->name);
}

char *project_program(const struct manifest *m)
{
    return m->language == LANGUAGE_C ? text_format("build/%s", m->name) : text_copy(m->entry);
}

struct search {
    struct timespec image_time;
    unsigned looks;
    char *found;
};

static void look_at(struct search *s, const char *path, unsigned depth)
{
    struct stat st;

    if (s->found || s->looks++ > LOOK_MAX || depth > DEPTH_MAX || lstat(path, &st) < 0) {
        return;
    }
    if (!S_ISDIR(st.st_mode)) {
        bool is_newer = st.st_mtim.tv_sec > s->image_time.tv_sec ||
                        (st.st_mtim.tv_sec == s->image_time.tv_sec &&
                         st.st_mtim.tv_nsec > s->image_time.tv_nsec);

        s->found = is_newer ? text_copy(path) : NULL;
        return;
    }
    DIR *dir = opendir(path);
    const struct dirent *e = NULL;

    while (dir && !s->found && (e = readdir(dir)) != NULL) {
        /* What packing leaves out does not make an image old. */
        if (e->d_name[0] != '.' && strcmp(e->d_name, "__pycache__") != 0) {
            CLEANUP_FREE char *child = path_join(path, e->d_name);

            look_at(s, child, depth + 1);
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
}

char *project_newer_file(const struct manifest *m, const char *image)
{
    CLEANUP_FREE char *program = project_program(m);
    struct search s = { 0 };
    struct stat st;

    if (stat(image, &st) < 0) {
        return NULL;
    }
    s.image_time = st.st_mtim;
    look_at(&s, MANIFEST_NAME, 0);
    look_at(&s, program, 0);
    if (m->language == LANGUAGE_PYTHON) {
        look_at(&s, "src", 0);
    }
    return s.found;
}
