/* SPDX-License-Identifier: Apache-2.0 */
/* drupe pack: a project and its packages become one image. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "elf_deps.h"
#include "host_program.h"
#include "manifest.h"
#include "options.h"
#include "pack/pack.h"
#include "project.h"

struct pack_options {
    const char *image;
    bool is_locked;
    bool is_quiet;
};

static int resolve(const struct manifest *m, bool is_locked, struct packages *out)
{
    int status = 0;

    if (m->packages.count == 0) {
        return 0;
    }
    if (is_locked) {
        status = lock_read(&m->packages, out);
        return status == 0 ? apt_fetch_locked(out) : status;
    }
    status = apt_resolve(&m->packages, out);
    return status == 0 ? lock_write(&m->packages, out) : status;
}

static int unpack(struct image_tree *t, const struct packages *packages)
{
    int status = skeleton_add_dirs(t);

    for (size_t i = 0; i < packages->count && status == 0; i++) {
        progress("unpacking %zu/%zu %s", i + 1, packages->count, packages->items[i].name);
        status = deb_unpack(t, &packages->items[i]);
    }
    progress_end();
    return status;
}

static int add_busybox(struct image_tree *t, const struct packages *packages)
{
    for (size_t i = 0; i < packages->count; i++) {
        if (strncmp(packages->items[i].name, "busybox", 7) != 0) {
            continue;
        }
        /* The package's own program lists its applets: the host may have another busybox or none.
         */
        CLEANUP_FREE char *dir = cache_dir("tmp");
        CLEANUP_FREE char *copy = text_format("%s/busybox-%d", dir ? dir : "/tmp", (int)getpid());
        int err = tree_extract(t, "/usr/bin/busybox", copy);
        int status = err < 0 ? refuse_node("pack", "/usr/bin/busybox", err)
                             : skeleton_add_busybox(t, "/usr/bin/busybox", copy);

        (void)unlink(copy);
        return status;
    }
    return 0;
}

/* Before anything slow: is there something to start? */
static int check_entry(const struct manifest *m)
{
    CLEANUP_FREE char *program = project_program(m);
    struct stat st;

    if (stat(program, &st) < 0) {
        return complain(STATUS_FAILED, "%s: project.entry = \"%s\": %s%s", MANIFEST_NAME, m->entry,
                        strerror(errno),
                        m->language == LANGUAGE_C ? "; run drupe build first" : "");
    }
    if (!S_ISREG(st.st_mode)) {
        return complain(STATUS_FAILED, "%s: project.entry = \"%s\" is not a file", MANIFEST_NAME,
                        m->entry);
    }
    return 0;
}

/* The workload's files below /app: src/ and the entry; C programs with the libraries they name. */
static int add_workload(struct image_tree *t, const struct manifest *m)
{
    CLEANUP_FREE char *program = project_program(m);
    CLEANUP_FREE char *guest_path = path_join("/app", program);
    CLEANUP_FREE char *host_path = realpath(program, NULL);
    struct stat st;
    int status = 0;

    if (!host_path || stat(host_path, &st) < 0) {
        return complain(STATUS_FAILED, "%s: %s", program, strerror(errno));
    }
    if (m->language != LANGUAGE_PYTHON) {
        return host_program_add(t, "pack", host_path, guest_path);
    }
    if (access("src", F_OK) == 0) {
        status = project_add_dir(t, "src", "/app/src");
    }
    if (status == 0 && !tree_find(t, guest_path, true)) {
        int err = tree_add_host_file(t, guest_path, 0644, host_path, (uint64_t)st.st_size);

        status = err < 0 ? refuse_node("pack", program, err) : 0;
    }
    return status;
}

/* env.base pins the version of Python; without a Python there is nothing to start a script with. */
static int check_python(const struct manifest *m, const char *version)
{
    if (m->language != LANGUAGE_PYTHON) {
        return 0;
    }
    if (!version) {
        return complain(STATUS_USAGE,
                        "%s: env.packages brings no Python; add \"python3\" or "
                        "\"python3-minimal\"",
                        MANIFEST_NAME);
    }
    if (strncmp(m->env_base, "python-", 7) == 0 && strcmp(m->env_base + 7, version) != 0) {
        return complain(STATUS_USAGE, "%s: env.base asks for %s, but the packages bring Python %s",
                        MANIFEST_NAME, m->env_base, version);
    }
    return 0;
}

static int build_tree(struct image_tree *t, const struct manifest *m,
                      const struct packages *packages)
{
    CLEANUP_FREE char *version = NULL;
    int status = unpack(t, packages);

    if (status == 0) {
        status = add_workload(t, m);
    }
    if (status == 0) {
        status = skeleton_add_files(t);
    }
    if (status == 0) {
        status = add_busybox(t, packages);
    }
    if (status == 0) {
        status = skeleton_finish(t);
    }
    if (status == 0) {
        status = bytecode_compile(t, packages, &version);
    }
    return status == 0 ? check_python(m, version) : status;
}

static int pack_project(const struct manifest *m, const struct pack_options *o)
{
    CLEANUP_PACKAGES packages = { 0 };
    CLEANUP_FREE char *image = o->image ? text_copy(o->image) : project_image(m);
    char digest[DIGEST_TEXT_SIZE];
    struct erofs_summary summary;
    int status = check_entry(m);

    if (status == 0) {
        status = resolve(m, o->is_locked, &packages);
    }
    if (status != 0) {
        return status;
    }
    struct image_tree *t = tree_create();
    int err = 0;

    status = build_tree(t, m, &packages);
    if (status == 0 && !o->image && (err = dirs_make("dist", 0755)) < 0) {
        status = complain(STATUS_FAILED, "pack: dist: %s", strerror(-err));
    }
    if (status == 0) {
        progress("writing %s", image);
        status = image_save(t, image, &summary);
        progress_end();
    }
    tree_destroy(t);
    if (status == 0 && !o->is_quiet) {
        digest_format(summary.digest, digest);
        (void)printf(
            "Image created: %s\nSize: %.1f MiB, %" PRIu64 " files, %zu packages\nSHA-256: %s\n",
            image, (double)summary.size / (1 << 20), summary.inodes, packages.count, digest);
    }
    return status;
}

static int run_pack(int argc, char **argv)
{
    struct pack_options o = { 0 };
    const struct option_spec specs[] = {
        { .name = "image", .letter = 'o', .kind = OPTION_TEXT, .out = &o.image },
        { .name = "locked", .kind = OPTION_FLAG, .out = &o.is_locked },
        { .name = "quiet", .letter = 'q', .kind = OPTION_FLAG, .out = &o.is_quiet },
    };
    CLEANUP_MANIFEST m = { 0 };
    struct operands operands;
    int status = options_of_verb(&verb_pack, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first < argc) {
        return complain(STATUS_USAGE, "pack: takes no arguments; see drupe pack --help");
    }
    status = manifest_load(&m);
    return status == 0 ? pack_project(&m, &o) : status;
}

const struct verb verb_pack = {
    .name = "pack",
    .summary = "make the project's root image",
    .help = "usage: drupe pack [OPTIONS]\n\n"
            "Resolves env.packages of ./ukernel.toml with apt (nothing is installed on this host), "
            "unpacks\n"
            "them with the project's files into an EROFS image, dist/NAME.erofs, and prints its "
            "SHA-256.\n"
            "Equal input gives equal bytes. The versions that were used are written to "
            "env/ukernel.lock.\n\n"
            "options:\n"
            "  -o, --image FILE  write the image there\n"
            "      --locked      use exactly the packages of env/ukernel.lock\n"
            "  -q, --quiet       print nothing on success\n\n"
            "examples:\n"
            "  drupe pack\n"
            "  drupe pack --locked --image /srv/images/app.erofs\n",
    .run = run_pack,
};
