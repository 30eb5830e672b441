#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Exec against a real guest: an image of busybox, the agent, exec_vm's scenarios. Under KVM, or under what ACCEL names
# (exec_qemu.sh).
set -u

accel=${ACCEL:-kvm}

build=${BUILD:-build}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM

if [ "$accel" = kvm ] && { [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; }; then
    echo "1..0 # SKIP no /dev/kvm"
    exit 0
fi
if [ "$accel" = qemu ] && ! command -v qemu-system-x86_64 >/dev/null; then
    echo "1..0 # SKIP no QEMU"
    exit 0
fi
if [ ! -x /bin/busybox ] || ! command -v mkfs.erofs >/dev/null; then
    echo "1..0 # SKIP busybox-static or erofs-utils is not installed"
    exit 0
fi
mkdir -p "$tmp/root/bin" "$tmp/root/dev" "$tmp/root/proc" "$tmp/root/sys" "$tmp/root/tmp" "$tmp/root/etc"
cp /bin/busybox "$tmp/root/bin/"
for name in sh echo cat ls sleep dd kill ps grep true false wc id env pwd yes head stty test; do
    ln -s busybox "$tmp/root/bin/$name"
done
echo text >"$tmp/root/etc/plain"
mkfs.erofs -Enoinline_data -T0 -U00000000-0000-0000-0000-000000000000 "$tmp/image" "$tmp/root" >"$tmp/mkfs" 2>&1 || {
    sed 's/^/# /' "$tmp/mkfs"
    echo "not ok 1 - mkfs.erofs"
    exit 1
}
timeout "${LIMIT:-900}" "$build/tests/exec_vm" "$build/kernel.elf" "$build/agent.elf" "$tmp/image" "$tmp" "$accel"
