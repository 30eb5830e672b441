#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Round trips to the agent, in a VM whose root is busybox.
set -eu

build=${BUILD:-build}
if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ] || [ ! -x /bin/busybox ]; then
    echo "exec: skipped, no /dev/kvm or no busybox"
    exit 0
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM
mkdir -p "$tmp/root/bin" "$tmp/root/dev" "$tmp/root/proc" "$tmp/root/sys" "$tmp/root/tmp"
cp /bin/busybox "$tmp/root/bin/"
ln -s busybox "$tmp/root/bin/true"
mkfs.erofs -Enoinline_data -T0 -U00000000-0000-0000-0000-000000000000 "$tmp/image" "$tmp/root" >/dev/null 2>&1
"$build/bench/exec" "$build/kernel.elf" "$build/agent.elf" "$tmp/image" "$tmp" "${COUNT:-50}"
