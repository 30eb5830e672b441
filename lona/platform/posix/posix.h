/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of the POSIX platform that posix.c's table takes from files.c. Contracts: platform.h.
 */
#pragma once

#include "platform/platform.h"

int posix_console_write(void *self, enum platform_stream s, const void *p, size_t n);
long posix_console_read(void *self, void *p, size_t n);
int posix_file_read(void *self, const char *path, size_t path_len, uint8_t **out, size_t *size_out);
void posix_file_free(void *self, uint8_t *p, size_t size);
int posix_file_write(void *self, const char *path, size_t path_len, const void *p, size_t n,
                     int append);
int posix_file_remove(void *self, const char *path, size_t path_len);
int posix_file_kind(void *self, const char *path, size_t path_len);
int posix_dir_list(void *self, const char *path, size_t path_len,
                   void (*each)(void *arg, const char *name, size_t len), void *arg);
long posix_env_get(void *self, const char *name, size_t name_len, char *out, size_t n);
