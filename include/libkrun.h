/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libkrun's C interface over Drupe's monitor: programs that are linked with libkrun.so.1 run on it
 * unchanged. docs/libkrun.md says where the two differ.
 *
 * Every call returns 0 or a positive number, or a negative errno. -ENOENT: no such context.
 * -EINVAL: an argument is NULL or out of its range. -ENOTSUP: not by this library. Strings and
 * arrays are copied. A context is used by one thread at a time; different ones are independent.
 */
#ifndef LIBKRUN_H
#define LIBKRUN_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* ---- Messages of the library, on standard error unless krun_init_log() says otherwise */

#define KRUN_LOG_LEVEL_OFF   0
#define KRUN_LOG_LEVEL_ERROR 1
#define KRUN_LOG_LEVEL_WARN  2
#define KRUN_LOG_LEVEL_INFO  3
#define KRUN_LOG_LEVEL_DEBUG 4
#define KRUN_LOG_LEVEL_TRACE 5

#define KRUN_LOG_TARGET_DEFAULT (-1)
#define KRUN_LOG_STYLE_AUTO     0
#define KRUN_LOG_STYLE_ALWAYS   1
#define KRUN_LOG_STYLE_NEVER    2

int32_t krun_set_log_level(uint32_t level);
int32_t krun_init_log(int target_fd, uint32_t level, uint32_t style, uint32_t options);

/* ---- Contexts */

/* A number from 0 on; -ENOMEM. */
int32_t krun_create_ctx(void);
int32_t krun_free_ctx(uint32_t ctx_id);

/* Not called: 1 vCPU and 256 MiB. */
int32_t krun_set_vm_config(uint32_t ctx_id, uint8_t num_vcpus, uint32_t ram_mib);

/* ---- Files */

/* A directory of the host that is the guest's root. */
int32_t krun_set_root(uint32_t ctx_id, const char *root_path);

#define KRUN_DISK_FORMAT_RAW   0
#define KRUN_DISK_FORMAT_QCOW2 1
#define KRUN_DISK_FORMAT_VMDK  2

#define KRUN_SYNC_NONE    0
#define KRUN_SYNC_RELAXED 1
#define KRUN_SYNC_FULL    2

/* Raw images only; the disks are vda, vdb, ... in the order of the calls. */
int32_t krun_add_disk(uint32_t ctx_id, const char *block_id, const char *disk_path, bool read_only);
int32_t krun_add_disk2(uint32_t ctx_id, const char *block_id, const char *disk_path,
                       uint32_t disk_format, bool read_only);
int32_t krun_add_disk3(uint32_t ctx_id, const char *block_id, const char *disk_path,
                       uint32_t disk_format, bool read_only, bool direct_io, uint32_t sync_mode);

/* A directory that the guest mounts by its tag, as type virtiofs or 9p (served by 9p). */
int32_t krun_add_virtiofs(uint32_t ctx_id, const char *c_tag, const char *c_path);
int32_t krun_add_virtiofs2(uint32_t ctx_id, const char *c_tag, const char *c_path,
                           uint64_t shm_size);
int32_t krun_add_virtiofs3(uint32_t ctx_id, const char *c_tag, const char *c_path,
                           uint64_t shm_size, bool read_only);

/* ---- Kernel: the library has one of its own */

#define KRUN_KERNEL_FORMAT_RAW        0
#define KRUN_KERNEL_FORMAT_ELF        1
#define KRUN_KERNEL_FORMAT_PE_GZ      2
#define KRUN_KERNEL_FORMAT_IMAGE_BZ2  3
#define KRUN_KERNEL_FORMAT_IMAGE_GZ   4
#define KRUN_KERNEL_FORMAT_IMAGE_ZSTD 5

/* ELF without initramfs; anything else is -ENOTSUP. */
int32_t krun_set_kernel(uint32_t ctx_id, const char *kernel_path, uint32_t kernel_format,
                        const char *initramfs, const char *cmdline);

/* ---- What runs. envp NULL: this process's environment */

int32_t krun_set_workdir(uint32_t ctx_id, const char *workdir_path);
/* argv: what follows the program's own name. */
int32_t krun_set_exec(uint32_t ctx_id, const char *exec_path, const char *const argv[],
                      const char *const envp[]);
int32_t krun_set_env(uint32_t ctx_id, const char *const envp[]);
/* "NUMBER=SOFT:HARD" each, Linux's numbers; the limits of the guest's first process. */
int32_t krun_set_rlimits(uint32_t ctx_id, const char *const rlimits[]);
/* The ids of this process while it runs the machine. */
int32_t krun_setuid(uint32_t ctx_id, uid_t uid);
int32_t krun_setgid(uint32_t ctx_id, gid_t gid);

/* ---- Ways in and out */

/* Output goes there; there is no input. */
int32_t krun_set_console_output(uint32_t ctx_id, const char *c_filepath);
/* An eventfd: written to, it ends the machine. Ask before krun_start_enter(). */
int32_t krun_get_shutdown_eventfd(uint32_t ctx_id);
/* listen: programs of the host connect to c_filepath and reach the guest's port; the path must not
 * exist (-EEXIST). Otherwise the guest connects to the port and reaches who listens at c_filepath.
 */
int32_t krun_add_vsock_port(uint32_t ctx_id, uint32_t port, const char *c_filepath);
int32_t krun_add_vsock_port2(uint32_t ctx_id, uint32_t port, const char *c_filepath, bool listen);

/* There is no network: an empty map is fine, everything else -ENOTSUP. */
int32_t krun_set_port_map(uint32_t ctx_id, const char *const port_map[]);
int32_t krun_add_net_tap(uint32_t ctx_id, char *c_tap_name, uint8_t *const c_mac, uint32_t features,
                         uint32_t flags);
int32_t krun_add_net_unixstream(uint32_t ctx_id, const char *c_path, int fd, uint8_t *const c_mac,
                                uint32_t features, uint32_t flags);
int32_t krun_add_net_unixgram(uint32_t ctx_id, const char *c_path, int fd, uint8_t *const c_mac,
                              uint32_t features, uint32_t flags);

/* ---- What there is */

#define KRUN_FEATURE_NET                 0
#define KRUN_FEATURE_BLK                 1
#define KRUN_FEATURE_GPU                 2
#define KRUN_FEATURE_SND                 3
#define KRUN_FEATURE_INPUT               4
#define KRUN_FEATURE_EFI                 5
#define KRUN_FEATURE_TEE                 6
#define KRUN_FEATURE_AMD_SEV             7
#define KRUN_FEATURE_INTEL_TDX           8
#define KRUN_FEATURE_AWS_NITRO           9
#define KRUN_FEATURE_VIRGL_RESOURCE_MAP2 10

int32_t krun_get_max_vcpus(void);
/* 1, 0, or -EINVAL for a number that nobody knows. */
int32_t krun_has_feature(uint64_t feature);

/*
 * Run the machine. Returns a negative errno when it could not be started; otherwise never: the
 * process ends with the guest's exit status (125: it could not be set up, 126: the program cannot
 * be executed, 127: there is no such program). The context is gone either way.
 */
int32_t krun_start_enter(uint32_t ctx_id);

/* ---- Known, and not supported: each answers -ENOTSUP */

int32_t krun_set_root_disk(uint32_t ctx_id, const char *disk_path);
int32_t krun_set_data_disk(uint32_t ctx_id, const char *disk_path);
int32_t krun_set_mapped_volumes(uint32_t ctx_id, const char *const mapped_volumes[]);
int32_t krun_set_root_disk_remount(uint32_t ctx_id, const char *device, const char *fstype,
                                   const char *options);
int32_t krun_set_passt_fd(uint32_t ctx_id, int fd);
int32_t krun_set_gvproxy_path(uint32_t ctx_id, char *c_path);
int32_t krun_set_net_mac(uint32_t ctx_id, uint8_t *const c_mac);
int32_t krun_set_gpu_options(uint32_t ctx_id, uint32_t virgl_flags);
int32_t krun_set_gpu_options2(uint32_t ctx_id, uint32_t virgl_flags, uint64_t shm_size);
int32_t krun_add_display(uint32_t ctx_id, uint32_t width, uint32_t height);
int32_t krun_display_set_edid(uint32_t ctx_id, uint32_t display_id, const uint8_t *edid_blob,
                              size_t blob_size);
int32_t krun_display_set_dpi(uint32_t ctx_id, uint32_t display_id, uint32_t dpi);
int32_t krun_display_set_physical_size(uint32_t ctx_id, uint32_t display_id, uint16_t width_mm,
                                       uint16_t height_mm);
int32_t krun_display_set_refresh_rate(uint32_t ctx_id, uint32_t display_id, uint32_t refresh_rate);
int32_t krun_set_display_backend(uint32_t ctx_id, const void *display_backend, size_t backend_size);
int32_t krun_add_input_device(uint32_t ctx_id, const void *config_backend,
                              size_t config_backend_size, const void *events_backend,
                              size_t events_backend_size);
int32_t krun_add_input_device_fd(uint32_t ctx_id, int input_fd);
int32_t krun_add_vhost_user_device(uint32_t ctx_id, uint32_t device_type, const char *socket_path,
                                   const char *name, uint16_t num_queues,
                                   const uint16_t *queue_sizes);
int32_t krun_set_smbios_oem_strings(uint32_t ctx_id, const char *const oem_strings[]);
int32_t krun_set_firmware(uint32_t ctx_id, const char *firmware_path);
int32_t krun_set_tee_config_file(uint32_t ctx_id, const char *filepath);
int32_t krun_add_vsock(uint32_t ctx_id, uint32_t tsi_features);
int32_t krun_disable_implicit_vsock(uint32_t ctx_id);
int32_t krun_disable_implicit_console(uint32_t ctx_id);
int32_t krun_disable_implicit_init(uint32_t ctx_id);
int32_t krun_get_default_init(const uint8_t **init, size_t *size);
int32_t krun_fs_add_overlay_file(uint32_t ctx_id, const char *tag, const char *path,
                                 const uint8_t *data, size_t size, uint32_t mode);
int32_t krun_fs_add_overlay_dir(uint32_t ctx_id, const char *tag, const char *path, uint32_t mode);
int32_t krun_set_nested_virt(uint32_t ctx_id, bool enabled);
int32_t krun_check_nested_virt(void);
int32_t krun_split_irqchip(uint32_t ctx_id, bool enable);
int32_t krun_set_kernel_console(uint32_t ctx_id, const char *console_id);
int32_t krun_add_virtio_console_default(uint32_t ctx_id, int input_fd, int output_fd, int err_fd);
int32_t krun_add_virtio_console_multiport(uint32_t ctx_id);
int32_t krun_add_serial_console_default(uint32_t ctx_id, int input_fd, int output_fd);
int32_t krun_add_console_port_tty(uint32_t ctx_id, uint32_t console_id, const char *name,
                                  int tty_fd);
int32_t krun_add_console_port_inout(uint32_t ctx_id, uint32_t console_id, const char *name,
                                    int input_fd, int output_fd);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
