/* SPDX-License-Identifier: Apache-2.0 */
#include "boot/boot_args.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <base/assert.h>
#include <base/clock.h>

#include "config.h"

#include "abi/boot.h"

static size_t strings_size(const struct config *c)
{
    return c->argv.bytes + c->env.bytes + strlen(c->cwd) + 1 + strlen(c->hostname) + 1;
}

size_t boot_args_size(const struct config *c)
{
    size_t size = sizeof(struct boot_args) + strings_size(c);

    assert(size <= BOOT_ARGS_SIZE_MAX);
    return size;
}

static uint32_t stdio_flags(const struct config *c, const struct boot_args_facts *facts)
{
    if (!facts->has_console) {
        return 0;
    }
    if (c->stdio == DRUPE_STDIO_TTY) {
        return BOOT_ARGS_STDIO_TTY;
    }
    if (c->host_stdin < 0) {
        return (uint32_t)BOOT_ARGS_STDIO_STREAM | BOOT_ARGS_STDIN_NONE;
    }
    return (uint32_t)BOOT_ARGS_STDIO_STREAM |
           (facts->is_stdin_split ? (uint32_t)BOOT_ARGS_STDIN_SPLIT : 0);
}

static char *append(char *at, const char *text)
{
    size_t size = strlen(text) + 1;

    memcpy(at, text, size);
    return at + size;
}

int boot_args_facts_now(struct boot_args_facts *facts)
{
    if (getrandom(facts->entropy, sizeof(facts->entropy), 0) != (ssize_t)sizeof(facts->entropy)) {
        return -errno;
    }
    facts->realtime_ns = clock_ns_of(CLOCK_REALTIME);
    return 0;
}

void boot_args_write(const struct config *c, const struct boot_args_facts *facts, void *to)
{
    struct boot_args header = {
        .magic = BOOT_ARGS_MAGIC,
        .version = BOOT_ARGS_VERSION,
        .size = (uint32_t)boot_args_size(c),
        .flags = stdio_flags(c, facts) | (facts->has_agent ? (uint32_t)BOOT_ARGS_AGENT : 0),
        .argc = (uint32_t)c->argv.count,
        .envc = (uint32_t)c->env.count,
        .strings_offset = sizeof(header),
        .strings_size = (uint32_t)strings_size(c),
        .tty_rows = (uint16_t)c->tty_rows,
        .tty_cols = (uint16_t)c->tty_cols,
        .realtime_ns = facts->realtime_ns,
        .tsc_khz = facts->tsc_khz,
        .uid = c->uid,
        .gid = c->gid,
    };
    char *at = (char *)to + sizeof(header);

    memcpy(header.entropy, facts->entropy, sizeof(header.entropy));
    memcpy(to, &header, sizeof(header));
    explicit_bzero(header.entropy, sizeof(header.entropy));
    for (size_t i = 0; i < c->argv.count; i++) {
        at = append(at, c->argv.items[i]);
    }
    for (size_t i = 0; i < c->env.count; i++) {
        at = append(at, c->env.items[i]);
    }
    at = append(at, c->cwd);
    at = append(at, c->hostname);
    assert(at == (char *)to + sizeof(header) + strings_size(c));
}

size_t boot_ramdisk_size(const struct config *c)
{
    size_t size = boot_args_size(c);

    /* Both are bounded by the configuration: no overflow. */
    return c->agent_image == NULL ? size
                                  : align_up(size, BOOT_ARGS_AGENT_ALIGN) + c->agent_image_size;
}

void boot_ramdisk_write(const struct config *c, const struct boot_args_facts *facts, void *to)
{
    boot_args_write(c, facts, to);
    if (facts->has_agent) {
        memcpy((uint8_t *)to + align_up(boot_args_size(c), BOOT_ARGS_AGENT_ALIGN), c->agent_image,
               c->agent_image_size);
    }
}
