/* SPDX-License-Identifier: Apache-2.0 */
/* What scenarios of the control API share. */
#pragma once

#include "../api_client.h"
#include "../file.h"
#include "../machine.h"
#include "../scenario.h"

#define API_SOCKET "/run/api.sock"
#define API_TERM   15

extern const char api_machine_body[];
extern const char api_boot_body[];
extern const char api_start_body[];
extern const char api_paused_body[];
extern const char api_resumed_body[];
extern const char api_create_body[];
extern const char api_load_body[];

/* A monitor at API_SOCKET; a client of it, who must be served; machine and kernel. */
void api_begin(struct api_monitor *m);
void api_open(struct api_client *c);
void api_configure(struct api_client *c);
/* By a signal, as whoever runs the monitor ends it. */
void api_terminate(struct api_monitor *m);

extern const struct scenario scenarios_api_faults[];
