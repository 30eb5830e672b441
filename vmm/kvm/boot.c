/* SPDX-License-Identifier: Apache-2.0 */
/* From a kernel file and a configuration to guest memory that a vCPU can be let loose on
 * (docs/boot.md). */
#include "kvm/machine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <base/checked.h>

#include "arch/arch.h"
#include "boot/boot_args.h"
#include "boot/bzimage.h"
#include "boot/cmdline.h"
#include "error.h"
#include "layout.h"

#include "abi/boot.h"

#define PAGE_SIZE       UINT64_C(4096)
#define INITRD_END_MAX  UINT64_C(0x80000000) /* of the Linux boot protocol: initrd_addr_max */
#define CMDLINE_DEFAULT "console=ttyS0 reboot=k panic=0"

/* What is no ELF file may be a bzImage. */
static int load_bzimage(struct machine *m, const struct elf_source *source, struct bzimage *bz,
                        struct elf_image *image, uint64_t *end, const char **why)
{
    int r = bzimage_parse(source, bz, why);

    if (r == 0) {
        r = bzimage_load(source, bz, &m->gmem);
    }
    if (r == 0) {
        memset(image, 0, sizeof(*image));
        image->entry = bz->gpa + BZIMAGE_ENTRY_OFFSET;
        *end = bz->gpa + bz->memory_size; /* it was found to lie in RAM */
    }
    return r;
}

static drupe_vm_err_t load_kernel(struct machine *m, struct elf_image *image, struct bzimage *bz,
                                  uint64_t *end, struct drupe_error *err)
{
    const struct config *c = m->config;
    struct elf_bytes bytes = { .bytes = c->kernel_image };
    bool is_file = c->kernel_image == NULL;
    struct elf_source source = is_file ? elf_source_file(&c->kernel.fd, c->kernel.size)
                                       : elf_source_bytes(&bytes, c->kernel_image_size);
    const char *name = is_file ? c->kernel.path : "(embedded)";
    const char *why = "";
    bool is_elf = elf_has_magic(&source);
    int r =
        is_elf ? elf_parse(&source, image, &why) : load_bzimage(m, &source, bz, image, end, &why);

    if (r < 0 && r != -EFAULT) {
        return error_set(err, DRUPE_BOOT_FAILED, r == -ENOEXEC ? 0 : -r, "kernel %s: %s", name,
                         why);
    }
    if (r == 0 && is_elf) {
        r = elf_load(&source, image, &m->gmem, end);
    }
    if (r == -EFAULT) {
        return error_set(err, DRUPE_BOOT_FAILED, 0, "kernel %s does not fit into %llu MiB", name,
                         (unsigned long long)(m->ram_size >> 20));
    }
    if (r < 0) {
        return error_set(err, DRUPE_BOOT_FAILED, -r, "read kernel %s", name);
    }
    if (image->has_drupe && image->drupe_version != BOOT_ARGS_VERSION) {
        return error_set(err, DRUPE_BOOT_FAILED, 0,
                         "kernel %s wants boot arguments of version %u; ours is %u", name,
                         image->drupe_version, BOOT_ARGS_VERSION);
    }
    return DRUPE_OK;
}

/* The blob stands at the end of the RAM that is mapped at entry, page-aligned, above the kernel. */
static drupe_vm_err_t write_boot_args(struct machine *m, uint64_t tsc_khz, uint64_t kernel_end,
                                      struct boot_map *map, struct drupe_error *err)
{
    struct boot_args_facts facts = { .tsc_khz = tsc_khz,
                                     .has_console = machine_has_console(m),
                                     .has_agent = m->config->agent_image != NULL };
    uint64_t size = boot_ramdisk_size(m->config);
    uint64_t end = min_of(m->ram_low_size, LAYOUT_MAPPED_END);
    uint64_t gpa = size < end ? align_down(end - size, PAGE_SIZE) : 0;
    void *to = NULL;
    int e = 0;

    if (gpa < kernel_end) {
        return error_set(err, DRUPE_BOOT_FAILED, 0,
                         "kernel and boot arguments do not fit into %llu MiB",
                         (unsigned long long)(m->ram_size >> 20));
    }
    e = boot_args_facts_now(&facts);
    if (e < 0) {
        return error_set(err, DRUPE_INTERNAL, -e, "get entropy");
    }
    /* No vCPU runs yet: the blob is composed in place. */
    to = gmem_lend(&m->gmem, (gpa_t){ gpa }, size, true);
    if (to == NULL) {
        return error_set(err, DRUPE_INTERNAL, 0, "no memory at the place of the boot arguments");
    }
    boot_ramdisk_write(m->config, &facts, to);
    explicit_bzero(&facts, sizeof(facts));
    map->module_gpa = gpa;
    map->module_size = size;
    return DRUPE_OK;
}

/* As high as fits in the first region, where Linux looks for it. */
static drupe_vm_err_t load_initrd(struct machine *m, uint64_t kernel_end, struct boot_map *map,
                                  struct drupe_error *err)
{
    const struct config_file *f = &m->config->initrd;
    struct elf_source source = elf_source_file(&f->fd, f->size);
    uint64_t top = min_of(m->ram_low_size, INITRD_END_MAX);
    uint64_t gpa = 0;
    void *to = NULL;
    int e = 0;

    if (f->size <= top) {
        gpa = align_down(top - f->size, PAGE_SIZE);
    }
    if (gpa < kernel_end) {
        return error_set(err, DRUPE_BOOT_FAILED, 0, "kernel and initrd do not fit into %llu MiB",
                         (unsigned long long)(m->ram_size >> 20));
    }
    to = gmem_lend(&m->gmem, (gpa_t){ gpa }, f->size, true); /* no vCPU runs yet */
    e = to == NULL ? -EFAULT : source.read(source.ctx, 0, to, (size_t)f->size);
    if (e < 0) {
        return error_set(err, DRUPE_BOOT_FAILED, -e, "read initrd %s", f->path);
    }
    map->module_gpa = gpa;
    map->module_size = f->size;
    return DRUPE_OK;
}

/* A kernel that knows them has boot arguments, unless the user put an archive in their place. */
static drupe_vm_err_t write_module(struct machine *m, uint64_t tsc_khz, bool is_ours,
                                   uint64_t kernel_end, struct boot_map *map,
                                   struct drupe_error *err)
{
    if (m->config->initrd.fd >= 0) {
        return load_initrd(m, kernel_end, map, err);
    }
    return is_ours ? write_boot_args(m, tsc_khz, kernel_end, map, err) : DRUPE_OK;
}

/*
 * Where ring 0 is interpreted, its CPUID instruction does not follow the vCPU's table: the kernel
 * is told by name what not to use.
 */
static void add_interpreter_hints(const struct machine *m, struct cmdline *c)
{
    /* What the kernel can be told; every byte of its command line costs it something. */
    static const char *const used[] = { "smap",     "smep",   "umip",        "xsave",
                                        "fsgsbase", "x2apic", "tsc_deadline" };
    char names[256];
    char hidden[96] = "";
    size_t length = 0;
    bool is_emulated;
    char *rest = names;

    arch_host_describe(m->kvm_fd, &is_emulated, names, sizeof(names));
    if (!is_emulated) {
        return;
    }
    for (char *name = strtok_r(names, " ", &rest); name != NULL;
         name = strtok_r(NULL, " ", &rest)) {
        for (size_t i = 0; i < array_size(used); i++) {
            if (strcmp(name, used[i]) == 0 && length < sizeof(hidden)) {
                length += (size_t)snprintf(hidden + length, sizeof(hidden) - length, "%s%s",
                                           length > 0 ? "," : "", name);
            }
        }
    }
    if (length > 0) {
        cmdline_add(c, "drupe.nocpu=%s", hidden);
    }
    cmdline_add(c, "drupe.copy=0x%x", BOOT_COPY_PORT);
    if (strstr(hidden, "xsave") != NULL) {
        arch_announce_ports(c);
    }
    if (m->shares_counter) {
        cmdline_add(c, "drupe.tsc=host");
    }
}

static drupe_vm_err_t write_cmdline(struct machine *m, bool is_ours, struct boot_map *map,
                                    struct drupe_error *err)
{
    const struct config *config = m->config;
    struct cmdline c;

    cmdline_init(&c);
    cmdline_begin(&c, config->cmdline == NULL ? CMDLINE_DEFAULT : config->cmdline);
    if (is_ours) {
        cmdline_add(&c, "drupe.ram=zero drupe.status=0x%x drupe.identity=0x%llx", BOOT_STATUS_PORT,
                    (unsigned long long)LAYOUT_IDENTITY);
    }
    if (config->is_quiet) {
        cmdline_add(&c, "quiet");
    }
    if (m->root != NULL) {
        cmdline_add(&c, "root=mem:0x%llx,0x%llx", (unsigned long long)m->root_gpa,
                    (unsigned long long)config->root.size);
    } else if (config->root.fd >= 0) {
        cmdline_add(&c, "root=/dev/vda %s", config->root_mode == DRUPE_ROOT_DISK_RW ? "rw" : "ro");
    }
    if (is_ours) {
        add_interpreter_hints(m, &c);
    }
    machine_devices_announce(m, &c);
    config_announce_shares(config, &c);
    cmdline_end(&c, config->cmdline_extra);
    if (c.has_overflowed) {
        return error_field(err, "cmdline_extra",
                           "the command line is longer than %u bytes with our additions",
                           DRUPE_CMDLINE_SIZE_MAX);
    }
    map->cmdline_gpa = LAYOUT_CMDLINE;
    map->cmdline_size = (uint32_t)c.length;
    if (gmem_write(&m->gmem, (gpa_t){ LAYOUT_CMDLINE }, c.text, c.length + 1) < 0) {
        return error_set(err, DRUPE_INTERNAL, 0, "no memory at the place of the command line");
    }
    return DRUPE_OK;
}

static void describe_memory(const struct machine *m, struct boot_map *map)
{
    boot_map_add(map, 0, LAYOUT_LOW_RAM_END, BOOT_RANGE_RAM);
    boot_map_add(map, LAYOUT_LOW_RAM_END, LAYOUT_HIGH_RAM - LAYOUT_LOW_RAM_END,
                 BOOT_RANGE_RESERVED);
    boot_map_add(map, LAYOUT_HIGH_RAM, m->ram_low_size - LAYOUT_HIGH_RAM, BOOT_RANGE_RAM);
    boot_map_add(map, LAYOUT_4GIB, m->ram_size - m->ram_low_size, BOOT_RANGE_RAM);
    boot_map_add(map, m->root_gpa, m->root_map_size, BOOT_RANGE_RESERVED);
}

drupe_vm_err_t machine_boot_write(struct machine *m, uint64_t tsc_khz, struct machine_boot *out,
                                  struct drupe_error *err)
{
    struct boot_map map = { .count = 0 };
    uint64_t kernel_end = 0;
    bool is_ours = false;
    struct bzimage bz = { .setup_size = 0 };
    drupe_vm_err_t r = load_kernel(m, &out->image, &bz, &kernel_end, err);
    int e = 0;

    if (r != DRUPE_OK) {
        return r;
    }
    out->is_pvh = out->image.has_pvh && !out->image.has_drupe;
    /* With the default line any kernel is taken for one that knows docs/boot.md. */
    is_ours = out->image.has_drupe || m->config->cmdline == NULL;
    describe_memory(m, &map);
    if (bz.setup_size != 0) {
        map.setup = bz.setup;
        map.setup_size = bz.setup_size;
    }
    r = write_module(m, tsc_khz, is_ours, kernel_end, &map, err);
    if (r == DRUPE_OK) {
        r = write_cmdline(m, is_ours, &map, err);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    /* Our kernel takes what comes over its serial line for signals: a terminal's text is not for
     * it. What can't be watched (a regular file) gives no input. */
    if (m->config->serial_in >= 0 && !is_ours) {
        (void)uart_listen(&m->uart, m->config->serial_in);
    }
    e = arch_boot_tables_write(m, out->is_pvh, &map.rsdp_gpa);
    if (e == 0 && is_ours) {
        e = machine_identity_init(m);
    }
    if (e == 0) {
        e = out->is_pvh ? pvh_boot_write(&m->gmem, LAYOUT_START_INFO, &map)
                        : linux_boot_write(&m->gmem, LAYOUT_ZERO_PAGE, &map);
    }
    return e == 0 ? DRUPE_OK : error_set(err, DRUPE_INTERNAL, -e, "write the boot tables");
}
