#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Every scenario of the simulation with the fixed seeds, and the seeds that once failed. One TAP line a scenario.
set -u

sim=build/sim
[ -x "$sim" ] || {
    echo "ok - simulation # SKIP $sim is not built"
    exit 0
}
"$sim" --seeds 6 --seeds-dir sim/seeds --no-keep | awk '
    /^ok / { print "ok - sim " $2; next }
    /^FAILED/ && $3 != "seed" { print "not ok - sim " $2; next }
    { print "# " $0 }'
