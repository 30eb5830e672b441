/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptions for unit tests of layers below fs/: references are counted, descriptors are one
 * table that a test fills. */
#include <fs/files.h>
#include <fs/vfs.h>

#include <host/host.h>

struct file *host_files[8];
unsigned host_files_released;

HOST_STAND_IN void file_put(struct file *f)
{
    if (ref_put(&f->ref)) {
        host_files_released++;
    }
}

HOST_STAND_IN struct file *fd_get(int fd)
{
    bool is_open = fd >= 0 && (unsigned)fd < array_size(host_files) && host_files[fd];

    return is_open ? file_get(host_files[fd]) : NULL;
}
