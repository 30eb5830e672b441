#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# CPython's own tests in the guest: pass counts a module, and each failure by name. docs/status.md explains the failures.
#   tests/python/run.sh [--accel kvm|qemu] [--keep FILE] [MODULE...]
# Needs build/drupe and Debian's packages (network or cache). Not part of `make test`: it takes long.
set -euo pipefail

accel=auto
keep=
while [ $# -gt 0 ]; do
    case $1 in
    --accel) accel=$2 && shift 2 ;;
    --keep) keep=$(realpath -m "$2") && shift 2 ;;
    -*) echo "usage: tests/python/run.sh [--accel kvm|qemu] [--keep FILE] [MODULE...]" >&2 && exit 2 ;;
    *) break ;;
    esac
done
here=$(dirname "$(realpath "$0")")
drupe=$(realpath "${DRUPE:-build/drupe}")
modules=("$@")
[ ${#modules[@]} -gt 0 ] || modules=(test_json test_hashlib test_time test_select test_epoll test_mmap test_os test_io \
    test_signal test_threading test_subprocess)
image=$(dirname "$drupe")/tests/python-tests.erofs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$drupe" -C "$here" pack --image "$image" >/dev/null
printf '%-20s %7s %7s %7s  %s\n' module passed failed skipped end
for module in "${modules[@]}"; do
    status=0
    timeout "${LIMIT:-900}" "$drupe" run --accel "$accel" --cpus 2 --memory 512 --root "$image" -- \
        python3 /app/src/main.py "$module" </dev/null >"$work/out" 2>"$work/err" || status=$?
    passed=$(grep -c '^ok ' "$work/out" || true)
    failed=$(grep -c '^FAIL ' "$work/out" || true)
    skipped=$(grep -c '^skip ' "$work/out" || true)
    end=complete
    grep -qx 'done' "$work/out" || end="stopped (status $status) after $(tail -n 1 "$work/out")"
    printf '%-20s %7s %7s %7s  %s\n' "$module" "$passed" "$failed" "$skipped" "$end"
    grep '^FAIL ' "$work/out" | sed 's/^FAIL /    /' | cut -c 1-200 || true
    if [ -n "$keep" ]; then
        { echo "=== $module" && cat "$work/out" "$work/err"; } >>"$keep"
    fi
done
