/* SPDX-License-Identifier: Apache-2.0 */
/* drupe init: the files of a new project. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "manifest.h"
#include "options.h"

struct template_file {
    const char *path;
    const char *text;
};

struct project_template {
    const char *name;
    const char *language;
    const char *manifest; /* %s: the project's name */
    struct template_file files[2];
};

static const char ignored_files[] = "build/\ndist/\nlogs/\n__pycache__/\n";

static const struct project_template templates[] = {
    { .name = "worker",
      .language = "python",
      .manifest = "[project]\nname = \"%s\"\nlanguage = \"python\"\nentry = \"src/main.py\"\n\n"
                  "[env]\npackages = [\"python3\"]\n\n"
                  "[run]\nvcpu = 1\nmemory_mb = 128\n",
      .files = { { "src/main.py", "import asyncio\n"
                                  "import signal\n"
                                  "import time\n\n\n"
                                  "async def heartbeat():\n"
                                  "    while True:\n"
                                  "        print(f\"heartbeat {time.time():.3f}\", flush=True)\n"
                                  "        await asyncio.sleep(1)\n\n\n"
                                  "async def main():\n"
                                  "    print(\"worker starting\", flush=True)\n"
                                  "    task = asyncio.ensure_future(heartbeat())\n"
                                  "    loop = asyncio.get_running_loop()\n"
                                  "    for number in (signal.SIGTERM, signal.SIGINT):\n"
                                  "        loop.add_signal_handler(number, task.cancel)\n"
                                  "    try:\n"
                                  "        await task\n"
                                  "    except asyncio.CancelledError:\n"
                                  "        print(\"worker stopped\", flush=True)\n\n\n"
                                  "asyncio.run(main())\n" },
                 { ".gitignore", ignored_files } } },
    { .name = "hello-c",
      .language = "c",
      .manifest = "[project]\nname = \"%s\"\nlanguage = \"c\"\nentry = \"src/main.c\"\n\n"
                  "[run]\nvcpu = 1\nmemory_mb = 16\n",
      .files = { { "src/main.c",
                   "#include <stdio.h>\n\n"
                   "int main(void)\n"
                   "{\n"
                   "    return printf(\"hello from a virtual machine of my own\\n\") < 0;\n"
                   "}\n" },
                 { ".gitignore", ignored_files } } },
};

static int write_if_absent(const char *path, const char *text)
{
    char *slash = strrchr(path, '/');
    int err = 0;

    if (access(path, F_OK) == 0) {
        (void)printf("%s already exists (skipping)\n", path);
        return 0;
    }
    if (slash) {
        CLEANUP_FREE char *dir = text_copy_sized(path, (size_t)(slash - path));

        err = dirs_make(dir, 0755);
    }
    if (err == 0) {
        err = file_replace(path, text, strlen(text), 0644);
    }
    if (err < 0) {
        return complain(STATUS_FAILED, "init: %s: %s", path, strerror(-err));
    }
    (void)printf("Created %s\n", path);
    return 0;
}

static const struct project_template *choose(const char *language, const char *name)
{
    for (size_t i = 0; i < array_size(templates); i++) {
        bool fits_language = !language || strcmp(templates[i].language, language) == 0;

        if (fits_language && (!name || strcmp(templates[i].name, name) == 0)) {
            return &templates[i];
        }
    }
    return NULL;
}

/* A name from the directory's: lower case, other characters become dashes. */
static char *name_from_dir(void)
{
    CLEANUP_FREE char *cwd = getcwd(NULL, 0);
    const char *base = cwd ? strrchr(cwd, '/') : NULL;
    CLEANUP_BUFFER out = { 0 };

    for (const char *p = base ? base + 1 : ""; *p && out.size < 63; p++) {
        char c = (char)(*p >= 'A' && *p <= 'Z' ? *p | 0x20 : *p);
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

        if (is_plain || out.size > 0) {
            buffer_add(&out, is_plain ? &c : "-", 1);
        }
    }
    return text_copy(out.size ? out.data : "app");
}

static int create(const struct project_template *t, const char *name)
{
    char error[512];
    CLEANUP_MANIFEST checked = { 0 };
    CLEANUP_BUFFER text = { 0 };
    /* The template's text holds one %s, for the name. */
    const char *place = strstr(t->manifest, "%s");

    buffer_add(&text, t->manifest, (size_t)(place - t->manifest));
    buffer_add_text(&text, name);
    buffer_add_text(&text, place + 2);
    if (strpbrk(name, "\"\\\n") || manifest_parse(MANIFEST_NAME, text.data, text.size, name,
                                                  &checked, error, sizeof(error)) < 0) {
        return complain(STATUS_USAGE, "init: --name %s: use 1 to 63 of a-z, 0-9 and -", name);
    }
    int status = write_if_absent(MANIFEST_NAME, text.data);

    for (size_t i = 0; i < array_size(t->files) && status == 0; i++) {
        status = write_if_absent(t->files[i].path, t->files[i].text);
    }
    if (status == 0) {
        (void)printf("Next: %sdrupe pack && drupe run\n",
                     strcmp(t->language, "c") == 0 ? "drupe build && " : "");
    }
    return status;
}

static int run_init(int argc, char **argv)
{
    const char *name = NULL;
    const char *language = NULL;
    const char *template_name = NULL;
    const struct option_spec specs[] = {
        { .name = "name", .kind = OPTION_TEXT, .out = &name },
        { .name = "lang", .kind = OPTION_TEXT, .out = &language },
        { .name = "template", .kind = OPTION_TEXT, .out = &template_name },
    };
    struct operands operands;
    int status = options_of_verb(&verb_init, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first < argc) {
        return complain(STATUS_USAGE, "init: takes no arguments; give the name with --name");
    }
    if (!choose(language, NULL)) {
        return complain(STATUS_USAGE, "init: --lang %s: use python or c", language);
    }
    if (!choose(NULL, template_name)) {
        return complain(STATUS_USAGE, "init: --template %s: use worker or hello-c", template_name);
    }
    const struct project_template *t = choose(language, template_name);

    if (!t) {
        return complain(STATUS_USAGE, "init: the template %s is not written in %s", template_name,
                        language);
    }
    CLEANUP_FREE char *own_name = name ? text_copy(name) : name_from_dir();

    return create(t, own_name);
}

const struct verb verb_init = {
    .name = "init",
    .summary = "make a new project here",
    .help = "usage: drupe init [OPTIONS]\n\n"
            "Writes ukernel.toml, a first program and .gitignore into the current directory. Files "
            "that\n"
            "exist stay as they are.\n\n"
            "options:\n"
            "  --name NAME       the project's name (default: the directory's)\n"
            "  --lang LANG       python (default) or c\n"
            "  --template NAME   worker (Python, asyncio) or hello-c\n\n"
            "examples:\n"
            "  mkdir worker && cd worker && drupe init\n"
            "  drupe init --lang c --name hello\n",
    .run = run_init,
};
