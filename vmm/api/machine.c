/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints for what the machine is: boot source, size, CPU. */
#include "api.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <base/checked.h>

#define BOOT_ARGS_SIZE_MAX 2048u

/* ---- Boot source ---- */

static void boot_deinit(struct boot_settings *b)
{
    named_file_deinit(&b->kernel);
    named_file_deinit(&b->initrd);
    free(b->args);
    b->args = NULL;
}

static int open_kernel(struct api_call *call, const char *path, struct named_file *out)
{
    const struct drupe_control_options *o = &call->api->options;

    if (strcmp(path, API_OWN_KERNEL) != 0 || (o->kernel_image == NULL && o->kernel_path == NULL)) {
        return call_open(call, path, O_RDONLY, out);
    }
    out->path = strdup(path);
    return out->path == NULL ? -ENOMEM : 0;
}

void put_boot_source(struct api_call *call)
{
    const char *kernel = NULL;
    const char *initrd = NULL;
    const char *args = NULL;
    const struct body_field fields[] = {
        FIELD("kernel_image_path", BODY_TEXT, BODY_REQUIRED, &kernel),
        FIELD("initrd_path", BODY_TEXT, BODY_OPTIONAL, &initrd),
        FIELD("boot_args", BODY_TEXT, BODY_OPTIONAL, &args),
    };
    struct boot_settings b = { .is_set = true, .kernel = { .fd = -1 }, .initrd = { .fd = -1 } };
    int r = 0;

    if (!call_read(call, fields, array_size(fields)) || refuse_after_start(call)) {
        return;
    }
    if (args != NULL && strlen(args) >= BOOT_ARGS_SIZE_MAX) {
        reply_fault(call,
                    "Boot source error: The kernel command line is invalid: Line size is "
                    "over the limit of %u bytes.",
                    BOOT_ARGS_SIZE_MAX);
        return;
    }
    r = open_kernel(call, kernel, &b.kernel);
    if (r < 0) {
        reply_fault(call, "Boot source error: The kernel file cannot be opened: %s (os error %d)",
                    strerror(-r), -r);
        boot_deinit(&b);
        return;
    }
    r = initrd == NULL ? 0 : call_open(call, initrd, O_RDONLY, &b.initrd);
    if (r == 0 && args != NULL) {
        b.args = strdup(args);
        r = b.args == NULL ? -ENOMEM : 0;
    }
    if (r < 0) {
        reply_fault(call,
                    "Boot source error: The initrd file cannot be opened due to invalid path or "
                    "invalid permissions. %s (os error %d)",
                    strerror(-r), -r);
        boot_deinit(&b);
        return;
    }
    boot_deinit(&call->api->settings.boot);
    call->api->settings.boot = b;
    call->api->settings.is_boot_path = true;
}

/* ---- Size ---- */

void get_machine_config(struct api_call *call)
{
    reply_json(call, settings_machine_json(&call->api->settings.machine));
}

bool machine_apply(struct api_call *call, const struct machine_settings *m)
{
    const struct balloon_settings *b = &call->api->settings.balloon;

    if (m->vcpu_count < 1 || m->vcpu_count > DRUPE_VCPUS_MAX ||
        (m->is_smt && m->vcpu_count > 1 && m->vcpu_count % 2 != 0)) {
        reply_fault(call, "Machine config error: The vCPU number is invalid! The vCPU number can "
                          "only be 1 or an even number when SMT is enabled.");
        return false;
    }
    if (m->mem_size_mib == 0 || m->mem_size_mib < DRUPE_MEMORY_MIB_MIN ||
        m->mem_size_mib > DRUPE_MEMORY_MIB_MAX ||
        (m->huge_pages != 0 && m->mem_size_mib % 2 != 0)) {
        reply_fault(call, "Machine config error: The memory size (MiB) is invalid.");
        return false;
    }
    if (b->is_set && b->amount_mib > m->mem_size_mib) {
        reply_fault(call, "Machine config error: The memory size (MiB) is smaller than the "
                          "previously set balloon device target size.");
        return false;
    }
    if (m->huge_pages == 2) {
        reply_fault(call, "The requested operation is not supported: huge_pages 2M");
        return false;
    }
    if (m->cpu_template != CPU_TEMPLATE_NONE) {
        reply_fault(call, "The requested operation is not supported: static CPU templates; send "
                          "their modifiers to /cpu-config");
        return false;
    }
    call->api->settings.machine = *m;
    call->api->settings.is_boot_path = true;
    call->reply->is_deprecated = m->has_template;
    return true;
}

static bool read_machine(struct api_call *call, enum body_need size_need,
                         struct machine_settings *m)
{
    bool has_template = false;
    const struct body_field fields[] = {
        FIELD("vcpu_count", BODY_NUMBER, size_need, &m->vcpu_count, .max = UINT8_MAX),
        FIELD("mem_size_mib", BODY_NUMBER, size_need, &m->mem_size_mib, .max = UINT64_MAX),
        FIELD("smt", BODY_FLAG, BODY_OPTIONAL, &m->is_smt),
        FIELD("cpu_template", BODY_CHOICE, BODY_OPTIONAL, &m->cpu_template,
              .is_present = &has_template, .choices = cpu_template_names),
        FIELD("track_dirty_pages", BODY_FLAG, BODY_OPTIONAL, &m->is_dirty_tracked),
        FIELD("huge_pages", BODY_CHOICE, BODY_OPTIONAL, &m->huge_pages,
              .choices = huge_pages_names),
    };

    if (!call_read(call, fields, array_size(fields))) {
        return false;
    }
    m->has_template = has_template;
    return true;
}

void put_machine_config(struct api_call *call)
{
    struct machine_settings m = { .cpu_template = CPU_TEMPLATE_NONE };

    if (read_machine(call, BODY_REQUIRED, &m) && !refuse_after_start(call)) {
        (void)!machine_apply(call, &m);
    }
}

void patch_machine_config(struct api_call *call)
{
    struct machine_settings m = call->api->settings.machine;

    if (json_is_object(call->body) && json_object_size(call->body) == 0) {
        reply_fault(call, "Empty PATCH request.");
        return;
    }
    if (read_machine(call, BODY_OPTIONAL, &m) && !refuse_after_start(call)) {
        (void)!machine_apply(call, &m);
    }
}

/* ---- CPU ---- */

/* "0x..", "0b.." or decimal, 32 bits. */
static bool parse_u32(const char *text, uint32_t *out)
{
    unsigned base = 10;
    uint64_t value = 0;

    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'b')) {
        base = text[1] == 'x' ? 16 : 2;
        text += 2;
    }
    if (text[0] == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        unsigned digit = *text >= '0' && *text <= '9'   ? (unsigned)(*text - '0')
                         : *text >= 'a' && *text <= 'f' ? (unsigned)(*text - 'a') + 10
                         : *text >= 'A' && *text <= 'F' ? (unsigned)(*text - 'A') + 10
                                                        : 16;

        if (digit >= base) {
            return false;
        }
        value = value * base + digit;
        if (value > UINT32_MAX) {
            return false;
        }
    }
    *out = (uint32_t)value;
    return true;
}

/* "0b" and characters 0, 1, x; _ is ignored. Shorter ones leave the upper bits. */
static bool parse_bitmap(const char *text, uint32_t *mask, uint32_t *set)
{
    uint64_t m = 0;
    uint64_t s = 0;
    unsigned bits = 0;

    if (text[0] != '0' || text[1] != 'b') {
        return false;
    }
    for (text += 2; *text != '\0'; text++) {
        if (*text == '_') {
            continue;
        }
        if (*text != '0' && *text != '1' && *text != 'x') {
            return false;
        }
        m = m << 1 | (*text != 'x');
        s = s << 1 | (*text == '1');
        if (++bits > 32) {
            return false;
        }
    }
    *mask = (uint32_t)m;
    *set = (uint32_t)s;
    return bits > 0;
}

struct cpuid_list {
    struct drupe_cpuid_modifier *items;
    size_t count;
};

static bool add_register(const json_t *object, const struct drupe_cpuid_modifier *leaf,
                         struct cpuid_list *list, struct body_detail *d)
{
    static const char *const registers[] = { "eax", "ebx", "ecx", "edx", NULL };
    struct drupe_cpuid_modifier m = *leaf;
    struct drupe_cpuid_modifier *grown = NULL;
    const char *bitmap = NULL;
    const struct body_field fields[] = {
        FIELD("register", BODY_CHOICE, BODY_REQUIRED, &m.reg, .choices = registers),
        FIELD("bitmap", BODY_TEXT, BODY_REQUIRED, &bitmap),
    };

    if (!body_read(object, fields, array_size(fields), BODY_UNKNOWN_REFUSED, d)) {
        return false;
    }
    if (!parse_bitmap(bitmap, &m.mask, &m.set)) {
        body_refuse(d, "Failed to parse string [%.64s] as a bitmap", bitmap);
        return false;
    }
    grown = realloc(list->items, (list->count + 1) * sizeof(m)); /* bounded by the body's size */
    if (grown == NULL) {
        body_refuse(d, "out of memory");
        return false;
    }
    list->items = grown;
    list->items[list->count++] = m;
    return true;
}

static bool add_leaf(const json_t *object, struct cpuid_list *list, struct body_detail *d)
{
    struct drupe_cpuid_modifier m = { 0 };
    const char *leaf = NULL;
    const char *subleaf = NULL;
    uint64_t flags = 0;
    json_t *modifiers = NULL;
    const struct body_field fields[] = {
        FIELD("leaf", BODY_TEXT, BODY_REQUIRED, &leaf),
        FIELD("subleaf", BODY_TEXT, BODY_REQUIRED, &subleaf),
        FIELD("flags", BODY_NUMBER, BODY_REQUIRED, &flags, .max = UINT32_MAX),
        FIELD("modifiers", BODY_ARRAY, BODY_REQUIRED, &modifiers),
    };

    if (!body_read(object, fields, array_size(fields), BODY_UNKNOWN_REFUSED, d)) {
        return false;
    }
    if (!parse_u32(leaf, &m.leaf) || !parse_u32(subleaf, &m.subleaf)) {
        body_refuse(d, "Failed to parse string [%.32s] or [%.32s] as a number", leaf, subleaf);
        return false;
    }
    m.flags = (uint32_t)flags;
    for (size_t i = 0; i < json_array_size(modifiers); i++) {
        if (!add_register(json_array_get(modifiers, i), &m, list, d)) {
            return false;
        }
    }
    return true;
}

void put_cpu_config(struct api_call *call)
{
    struct settings *s = &call->api->settings;
    struct cpuid_list list = { 0 };
    struct body_detail d;
    json_t *capabilities = NULL;
    json_t *cpuid = NULL;
    json_t *msr = NULL;
    json_t *registers = NULL;
    json_t *features = NULL;
    const struct body_field fields[] = {
        FIELD("kvm_capabilities", BODY_ARRAY, BODY_DEFAULT, &capabilities),
        FIELD("cpuid_modifiers", BODY_ARRAY, BODY_DEFAULT, &cpuid),
        FIELD("msr_modifiers", BODY_ARRAY, BODY_DEFAULT, &msr),
        FIELD("reg_modifiers", BODY_ARRAY, BODY_DEFAULT, &registers),
        FIELD("vcpu_features", BODY_ARRAY, BODY_DEFAULT, &features),
    };

    if (!call_read(call, fields, array_size(fields))) {
        return;
    }
    for (size_t i = 0; i < json_array_size(cpuid); i++) {
        if (!add_leaf(json_array_get(cpuid, i), &list, &d)) {
            free(list.items);
            reply_bad_body(call, &d);
            return;
        }
    }
    if (refuse_after_start(call)) {
        free(list.items);
        return;
    }
    if (json_array_size(msr) != 0 || json_array_size(registers) != 0 ||
        json_array_size(features) != 0 || json_array_size(capabilities) != 0) {
        free(list.items);
        reply_fault(call, "The requested operation is not supported: only cpuid_modifiers are");
        return;
    }
    free(s->cpuid);
    s->cpuid = list.items;
    s->cpuid_count = list.count;
    json_decref(s->cpu_config);
    s->cpu_config = json_incref(call->body);
}
