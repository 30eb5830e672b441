#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The scenarios of exec.sh in QEMU's emulation, where the socket device is served over vhost-user.
set -u

ACCEL=qemu exec "$(dirname "$0")/exec.sh"
