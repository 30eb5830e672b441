#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The hostile program in the monitor's place, as the user who runs this.
set -u

cd "$(dirname "$0")/../.." || exit 1
exec "${BUILD:-build}/tests/jail_hostile"
