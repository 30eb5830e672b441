/* SPDX-License-Identifier: Apache-2.0 */
/* What programs may be linked with and this library does not do: each call says so. */
#include <errno.h>

#include "libkrun.h"

/* The types are those of the interface. */
/* NOLINTBEGIN(readability-non-const-parameter) */

int32_t krun_set_root_disk(uint32_t ctx_id, const char *disk_path)
{
    (void)ctx_id;
    (void)disk_path;
    return -ENOTSUP;
}

int32_t krun_set_data_disk(uint32_t ctx_id, const char *disk_path)
{
    (void)ctx_id;
    (void)disk_path;
    return -ENOTSUP;
}

int32_t krun_set_mapped_volumes(uint32_t ctx_id, const char *const mapped_volumes[])
{
    (void)ctx_id;
    (void)mapped_volumes;
    return -ENOTSUP;
}

int32_t krun_set_root_disk_remount(uint32_t ctx_id, const char *device, const char *fstype,
                                   const char *options)
{
    (void)ctx_id;
    (void)device;
    (void)fstype;
    (void)options;
    return -ENOTSUP;
}

int32_t krun_set_passt_fd(uint32_t ctx_id, int fd)
{
    (void)ctx_id;
    (void)fd;
    return -ENOTSUP;
}

int32_t krun_set_gvproxy_path(uint32_t ctx_id, char *c_path)
{
    (void)ctx_id;
    (void)c_path;
    return -ENOTSUP;
}

int32_t krun_set_net_mac(uint32_t ctx_id, uint8_t *const c_mac)
{
    (void)ctx_id;
    (void)c_mac;
    return -ENOTSUP;
}

int32_t krun_set_gpu_options(uint32_t ctx_id, uint32_t virgl_flags)
{
    (void)ctx_id;
    (void)virgl_flags;
    return -ENOTSUP;
}

int32_t krun_set_gpu_options2(uint32_t ctx_id, uint32_t virgl_flags, uint64_t shm_size)
{
    (void)ctx_id;
    (void)virgl_flags;
    (void)shm_size;
    return -ENOTSUP;
}

int32_t krun_add_display(uint32_t ctx_id, uint32_t width, uint32_t height)
{
    (void)ctx_id;
    (void)width;
    (void)height;
    return -ENOTSUP;
}

int32_t krun_display_set_edid(uint32_t ctx_id, uint32_t display_id, const uint8_t *edid_blob,
                              size_t blob_size)
{
    (void)ctx_id;
    (void)display_id;
    (void)edid_blob;
    (void)blob_size;
    return -ENOTSUP;
}

int32_t krun_display_set_dpi(uint32_t ctx_id, uint32_t display_id, uint32_t dpi)
{
    (void)ctx_id;
    (void)display_id;
    (void)dpi;
    return -ENOTSUP;
}

int32_t krun_display_set_physical_size(uint32_t ctx_id, uint32_t display_id, uint16_t width_mm,
                                       uint16_t height_mm)
{
    (void)ctx_id;
    (void)display_id;
    (void)width_mm;
    (void)height_mm;
    return -ENOTSUP;
}

int32_t krun_display_set_refresh_rate(uint32_t ctx_id, uint32_t display_id, uint32_t refresh_rate)
{
    (void)ctx_id;
    (void)display_id;
    (void)refresh_rate;
    return -ENOTSUP;
}

int32_t krun_set_display_backend(uint32_t ctx_id, const void *display_backend, size_t backend_size)
{
    (void)ctx_id;
    (void)display_backend;
    (void)backend_size;
    return -ENOTSUP;
}

int32_t krun_add_input_device(uint32_t ctx_id, const void *config_backend,
                              size_t config_backend_size, const void *events_backend,
                              size_t events_backend_size)
{
    (void)ctx_id;
    (void)config_backend;
    (void)config_backend_size;
    (void)events_backend;
    (void)events_backend_size;
    return -ENOTSUP;
}

int32_t krun_add_input_device_fd(uint32_t ctx_id, int input_fd)
{
    (void)ctx_id;
    (void)input_fd;
    return -ENOTSUP;
}

int32_t krun_add_vhost_user_device(uint32_t ctx_id, uint32_t device_type, const char *socket_path,
                                   const char *name, uint16_t num_queues,
                                   const uint16_t *queue_sizes)
{
    (void)ctx_id;
    (void)device_type;
    (void)socket_path;
    (void)name;
    (void)num_queues;
    (void)queue_sizes;
    return -ENOTSUP;
}

int32_t krun_set_smbios_oem_strings(uint32_t ctx_id, const char *const oem_strings[])
{
    (void)ctx_id;
    (void)oem_strings;
    return -ENOTSUP;
}

int32_t krun_set_firmware(uint32_t ctx_id, const char *firmware_path)
{
    (void)ctx_id;
    (void)firmware_path;
    return -ENOTSUP;
}

int32_t krun_set_tee_config_file(uint32_t ctx_id, const char *filepath)
{
    (void)ctx_id;
    (void)filepath;
    return -ENOTSUP;
}

int32_t krun_add_vsock(uint32_t ctx_id, uint32_t tsi_features)
{
    (void)ctx_id;
    (void)tsi_features;
    return -ENOTSUP;
}

int32_t krun_disable_implicit_vsock(uint32_t ctx_id)
{
    (void)ctx_id;
    return -ENOTSUP;
}

int32_t krun_disable_implicit_console(uint32_t ctx_id)
{
    (void)ctx_id;
    return -ENOTSUP;
}

int32_t krun_disable_implicit_init(uint32_t ctx_id)
{
    (void)ctx_id;
    return -ENOTSUP;
}

int32_t krun_get_default_init(const uint8_t **init, size_t *size)
{
    (void)init;
    (void)size;
    return -ENOTSUP;
}

int32_t krun_fs_add_overlay_file(uint32_t ctx_id, const char *tag, const char *path,
                                 const uint8_t *data, size_t size, uint32_t mode)
{
    (void)ctx_id;
    (void)tag;
    (void)path;
    (void)data;
    (void)size;
    (void)mode;
    return -ENOTSUP;
}

int32_t krun_fs_add_overlay_dir(uint32_t ctx_id, const char *tag, const char *path, uint32_t mode)
{
    (void)ctx_id;
    (void)tag;
    (void)path;
    (void)mode;
    return -ENOTSUP;
}

int32_t krun_set_nested_virt(uint32_t ctx_id, bool enabled)
{
    (void)ctx_id;
    (void)enabled;
    return -ENOTSUP;
}

int32_t krun_check_nested_virt(void)
{
    return -ENOTSUP;
}

int32_t krun_split_irqchip(uint32_t ctx_id, bool enable)
{
    (void)ctx_id;
    (void)enable;
    return -ENOTSUP;
}

int32_t krun_set_kernel_console(uint32_t ctx_id, const char *console_id)
{
    (void)ctx_id;
    (void)console_id;
    return -ENOTSUP;
}

int32_t krun_add_virtio_console_default(uint32_t ctx_id, int input_fd, int output_fd, int err_fd)
{
    (void)ctx_id;
    (void)input_fd;
    (void)output_fd;
    (void)err_fd;
    return -ENOTSUP;
}

int32_t krun_add_virtio_console_multiport(uint32_t ctx_id)
{
    (void)ctx_id;
    return -ENOTSUP;
}

int32_t krun_add_serial_console_default(uint32_t ctx_id, int input_fd, int output_fd)
{
    (void)ctx_id;
    (void)input_fd;
    (void)output_fd;
    return -ENOTSUP;
}

int32_t krun_add_console_port_tty(uint32_t ctx_id, uint32_t console_id, const char *name,
                                  int tty_fd)
{
    (void)ctx_id;
    (void)console_id;
    (void)name;
    (void)tty_fd;
    return -ENOTSUP;
}

int32_t krun_add_console_port_inout(uint32_t ctx_id, uint32_t console_id, const char *name,
                                    int input_fd, int output_fd)
{
    (void)ctx_id;
    (void)console_id;
    (void)name;
    (void)input_fd;
    (void)output_fd;
    return -ENOTSUP;
}

int32_t krun_add_net_tap(uint32_t ctx_id, char *c_tap_name, uint8_t *const c_mac, uint32_t features,
                         uint32_t flags)
{
    (void)ctx_id;
    (void)c_tap_name;
    (void)c_mac;
    (void)features;
    (void)flags;
    return -ENOTSUP;
}

int32_t krun_add_net_unixstream(uint32_t ctx_id, const char *c_path, int fd, uint8_t *const c_mac,
                                uint32_t features, uint32_t flags)
{
    (void)ctx_id;
    (void)c_path;
    (void)fd;
    (void)c_mac;
    (void)features;
    (void)flags;
    return -ENOTSUP;
}

int32_t krun_add_net_unixgram(uint32_t ctx_id, const char *c_path, int fd, uint8_t *const c_mac,
                              uint32_t features, uint32_t flags)
{
    (void)ctx_id;
    (void)c_path;
    (void)fd;
    (void)c_mac;
    (void)features;
    (void)flags;
    return -ENOTSUP;
}

/* NOLINTEND(readability-non-const-parameter) */
