#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What a jail costs, all on one core; and what it adds to a whole `drupe run`, interleaved.
#   bench/jail.sh BUILD-DIR
set -eu

build=${1:-build}
runs=${RUNS:-15}
if [ "$(id -u)" != 0 ]; then
    echo "jail: skipped, not root"
    exit 0
fi
for net in own shared; do
    for limits in no limits; do
        taskset -c 0 "$build/bench/jail" 200 $net $limits
        taskset -c 0 "$build/bench/jail" 200 $net $limits reused
    done
done
for kind in setup main loop vcpu api files broker; do
    printf '%s ' "$kind"
    "$build/drupe" doctor --filters | awk -F'|' -v k=" $kind " '$2 == k { print $3 " system calls" }'
done
if [ -w /dev/kvm ] && [ -x /bin/busybox ]; then
    "$build/drupe" run /bin/busybox true </dev/null
    for _ in 1 2 3; do
        echo "drupe run busybox true, us (median min max): jailed $("$build/bench/repeat" "$runs" "$build/drupe" run /bin/busybox true </dev/null), without $("$build/bench/repeat" "$runs" "$build/drupe" run --no-jail /bin/busybox true </dev/null)"
    done
fi
