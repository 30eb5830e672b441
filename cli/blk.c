/* SPDX-License-Identifier: Apache-2.0 */
/* drupe blk: an image as a block device of this host. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <drupe/block.h>

#include "cli.h"
#include "files.h"
#include "options.h"

#define SCRATCH_MIB_MAX (UINT64_C(1) << 20)
#define ID_UNSET        UINT64_MAX

/* The signals that end the export, as a descriptor. -1 after printing. */
static int catch_signals(void)
{
    sigset_t set;
    int fd = -1;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) == 0) {
        fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    }
    if (fd < 0) {
        (void)complain(STATUS_FAILED, "blk: signalfd: %s", strerror(errno));
    }
    return fd;
}

static void print_device(void *ctx, const char *device)
{
    (void)ctx;
    (void)puts(device);
    (void)fflush(stdout);
}

static int export_image(const drupe_block_export_t *cfg)
{
    struct drupe_error err;
    CLEANUP_FD fd = catch_signals();

    if (fd < 0) {
        return STATUS_FAILED;
    }
    if (drupe_block_export(cfg, fd, print_device, NULL, &err) != DRUPE_OK) {
        return complain(STATUS_FAILED, "blk: %s", err.text);
    }
    return STATUS_OK;
}

static int run_export(int argc, char **argv)
{
    drupe_block_export_t cfg = { .struct_size = sizeof(cfg), .id = DRUPE_BLOCK_ID_ANY };
    uint64_t id = ID_UNSET;
    uint64_t depth = 0;
    uint64_t scratch = 0;
    const struct option_spec specs[] = {
        { .name = "read-only", .letter = 'r', .kind = OPTION_FLAG, .out = &cfg.is_read_only },
        { .name = "direct", .kind = OPTION_FLAG, .out = &cfg.is_direct },
        { .name = "compressed", .kind = OPTION_FLAG, .out = &cfg.is_compressed },
        { .name = "scratch",
          .kind = OPTION_NUMBER,
          .out = &scratch,
          .min = 1,
          .max = SCRATCH_MIB_MAX },
        { .name = "id", .kind = OPTION_NUMBER, .out = &id, .max = DRUPE_BLOCK_ID_MAX },
        { .name = "depth",
          .kind = OPTION_NUMBER,
          .out = &depth,
          .min = 1,
          .max = DRUPE_BLOCK_DEPTH_MAX },
    };
    struct operands operands;
    int status = options_of_verb(&verb_blk, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first < argc) {
        cfg.path = argv[operands.first];
        argc -= operands.first;
        argv += operands.first;
        /* Options may follow the image as well. */
        status = options_of_verb(&verb_blk, specs, array_size(specs), argc, argv, &operands);
        if (status >= 0) {
            return status;
        }
        if (operands.first < argc) {
            return complain(STATUS_USAGE, "blk: one image at a time, not %s as well",
                            argv[operands.first]);
        }
    }
    if ((cfg.path != NULL) == (scratch != 0)) {
        return complain(STATUS_USAGE, "blk: give an image, or --scratch MIB");
    }
    if (cfg.is_direct && (cfg.is_compressed || scratch != 0)) {
        return complain(STATUS_USAGE, "blk: --direct is for images that stay in their file");
    }
    cfg.memory_size = scratch << 20;
    cfg.depth = (unsigned)depth;
    cfg.id = id == ID_UNSET ? DRUPE_BLOCK_ID_ANY : (int)id;
    return export_image(&cfg);
}

static int run_blk(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";

    if (strcmp(what, "export") == 0) {
        return run_export(argc - 1, argv + 1);
    }
    if (strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0) {
        (void)fputs(verb_blk.help, stdout);
        return STATUS_OK;
    }
    return complain(STATUS_USAGE, "blk: use export; see drupe blk --help");
}

const struct verb verb_blk = {
    .name = "blk",
    .summary = "an image as a block device of this host",
    .help =
        "usage: drupe blk export [OPTIONS] IMAGE\n"
        "       drupe blk export [OPTIONS] --scratch MIB\n\n"
        "Makes a ublk device and serves it until SIGINT, SIGTERM or SIGHUP; prints its name,\n"
        "/dev/ublkbN, once it is there. For root, on Linux 6.0 or newer with the module ublk_drv\n"
        "(modprobe ublk_drv).\n\n"
        "options:\n"
        "  -r, --read-only          nothing can be written\n"
        "      --direct             past the page cache\n"
        "      --compressed         the image is read into memory and kept there, compressed; "
        "what\n"
        "                           is written stays in memory, and goes when this ends\n"
        "      --scratch MIB        no image: an empty disk in memory, compressed\n"
        "      --id N               /dev/ublkbN (default: the next that is free)\n"
        "      --depth N            requests under way at a time, 1 to 256 (default 64)\n\n"
        "exit status: 0 after a signal; 1 failure, also where the host has no ublk; 2 usage\n\n"
        "example:\n"
        "  drupe blk export disk.img --read-only &\n"
        "  mount -o ro /dev/ublkb0 /mnt\n",
    .run = run_blk,
};
