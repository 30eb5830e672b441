/* SPDX-License-Identifier: Apache-2.0 */
/* Names of a project's files. */

#include <string.h>

#include "project.h"

char *project_image(const struct manifest *m)
{
    return text_format("dist/%s.erofs", m->name);
}

char *project_program(const struct manifest *m)
{
    return m->language == LANGUAGE_C ? text_format("build/%s", m->name) : text_copy(m->entry);
}
