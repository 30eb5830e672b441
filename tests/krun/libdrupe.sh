#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A C program built through pkg-config against libdrupe, shared and static.
set -u
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"

build=$(dirname "$drupe")
top=$(realpath "$(dirname "$0")/../..")
export PKG_CONFIG_PATH=$build LD_LIBRARY_PATH=$build
: >"$work/out"
make -s -C "$top/examples/libdrupe" OUT="$work" LIBDIR="$build" INCLUDEDIR="$top/include" >"$work/err" 2>&1
result $? "the example builds with the shared library and with the archive"

readelf -d "$work/hello" | grep -q 'NEEDED.*libdrupe\.so\.0' && ! readelf -d "$work/hello-static" | grep -q libdrupe
result $? "one needs libdrupe.so.0, the other nothing of ours"
[ "$(nm -D --defined-only "$build/libdrupe.so.0" | awk '{print $3}' | grep -vc '^drupe_\|^DRUPE_0$')" -eq 0 ]
result $? "the shared library shows its interface and nothing else"
nm -D --defined-only "$build/libdrupe.so.0" | grep -q 'drupe_vm_create@@DRUPE_0'
result $? "its symbols carry a version"

root=$work/root
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/run"
cp $busybox "$root/bin/busybox"
if [ -z "$(accels 3>/dev/null)" ]; then
    skip "the program runs" "neither KVM nor QEMU"
else
    for program in hello hello-static; do
        timeout 120 "$work/$program" "$build/kernel.elf" "$root" /bin/busybox sh -c 'echo from the guest; exit 7' >"$work/out" 2>"$work/err" </dev/null
        [ $? -eq 7 ] && grep -qx "from the guest" "$work/out" && grep -q "ended with status 7" "$work/out"
        result $? "$program runs a program of a directory"
    done
fi
if [ ! -w /dev/kvm ]; then
    skip "start, exec, snapshot, clones" "no KVM"
else
    cp $busybox "$root/bin/sh"
    cp $busybox "$root/bin/cat"
    mkfs.erofs -E noinline_data "$work/root.erofs" "$root" >"$work/out" 2>&1
    timeout 240 "$work/life" "$build/kernel.elf" "$build/agent.elf" "$work/root.erofs" >"$work/out" 2>"$work/err" </dev/null
    [ $? -eq 0 ] && grep -qx "original: wrote 42" "$work/out" && [ "$(grep '^clone [12]: read 42' "$work/out" | sort -u -k5 | wc -l)" -eq 2 ]
    result $? "start, exec, snapshot, clones"
fi
echo "1..$number"
