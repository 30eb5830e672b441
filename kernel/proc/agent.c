/* SPDX-License-Identifier: Apache-2.0 */
#include <proc/agent.h>

#include <abi/boot.h>
#include <arch/ops.h>
#include <core/boot.h>
#include <core/log.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/vfs.h>
#include <mm/page.h>
#include <proc/process.h>
#include <sched/task.h>

#define AGENT_INO  UINT64_C(0xd27be) /* of no file: only /proc shows it */
#define AGENT_NAME "drupe-agent"

#define STATUS_FAILED 126 /* as a shell says it: found, but does not start */

static struct phys_range agent; /* size 0: none. Set before the first process starts */

/* Where its bytes are. Pages, so that they can be mapped. */
static struct phys_range find(void)
{
    const struct phys_range *disk = &boot_info.ramdisk;
    struct boot_args header;
    uint64_t offset;

    if (!boot_args_header(&header) || !(header.flags & BOOT_ARGS_AGENT) ||
        header.size > BOOT_ARGS_SIZE_MAX || !is_aligned(disk->start, PAGE_SIZE)) {
        return (struct phys_range){ 0 };
    }
    offset = align_up((uint64_t)header.size, BOOT_ARGS_AGENT_ALIGN);
    return offset < disk->size
               ? (struct phys_range){ .start = disk->start + offset, .size = disk->size - offset }
               : (struct phys_range){ 0 };
}

bool agent_is_there(void)
{
    agent = find();
    return agent.size > 0;
}

/* --- its bytes as a file ---------------------------------------------------------------------- */

static uint64_t frames(struct mapping *m, uint64_t index, paddr_t *first)
{
    uint64_t count = div_ceil(agent.size, PAGE_SIZE);

    (void)m;
    *first = agent.start + (index << PAGE_SHIFT);
    return index < count ? count - index : 0;
}

static int get_frame(struct mapping *m, uint64_t index, unsigned how, struct frame *out)
{
    if (how & MAPPING_WRITE) {
        return -EIO; /* nobody opens it for writing */
    }
    out->page = NULL;
    return frames(m, index, &out->pa) > 0 ? 0 : -ERANGE;
}

static const struct mapping_ops mapping_ops = { .get = get_frame, .direct_run = frames };
static const struct inode_ops inode_ops = { 0 };
static const struct file_ops file_ops = { .read = page_read, .poll = page_poll };

static int make_path(struct path *out)
{
    struct inode *inode = inode_alloc(root_mount->sb, AGENT_INO, S_IFREG | 0500);

    if (!inode) {
        return -ENOMEM;
    }
    inode->ops = &inode_ops;
    inode->file_ops = &file_ops;
    inode->size = agent.size;
    mapping_init(&inode->mapping, &mapping_ops, inode);
    out->dentry = dentry_create_root(inode);
    if (!out->dentry) {
        return -ENOMEM;
    }
    out->mount = mount_get(root_mount);
    return 0;
}

/* --- starting it ------------------------------------------------------------------------------ */

static int become(void *arg)
{
    static const char *const argv[] = { AGENT_NAME, NULL };
    static const char *const envp[] = { NULL };
    struct path at;
    int err = make_path(&at);

    (void)arg;
    if (err == 0) {
        err = exec_path(&at, AGENT_NAME, argv, envp);
        path_put(&at);
    }
    if (err < 0) {
        log_error("init: the agent does not start (error %d)", -err);
        process_exit_group(STATUS_FAILED << 8);
    }
    arch_enter_user();
}

struct task *agent_create(const char **what)
{
    struct task *t = process_create_kernel(AGENT_NAME, become, NULL);

    if (!t) {
        *what = "no memory for the agent";
    }
    return t;
}
