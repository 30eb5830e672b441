#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# drupe run --disk and --scratch: what a workload writes to a disk, and reads back.
set -u

drupe=$(realpath "${DRUPE:-build/drupe}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME="$work"
[ -n "${DRUPE_CACHE:-}" ] || export DRUPE_CACHE="$work/cache"
number=0

report() { # STATUS-OF-CHECK NAME
    number=$((number + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        sed 's/^/# out: /' "$work/out"
        sed 's/^/# err: /' "$work/err"
    fi
}

run() { # ARGUMENTS...: output and status
    timeout 120 "$drupe" run "$@" >"$work/out" 2>"$work/err" </dev/null
}

if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ] || [ ! -x /bin/busybox ]; then
    echo "1..0 # SKIP no /dev/kvm, or busybox-static is not installed"
    exit 0
fi

run --scratch 64 /bin/busybox sh -c '
    dd if=/dev/urandom of=/tmp/r bs=64k count=8 2>/dev/null
    dd if=/tmp/r of=/dev/vda bs=64k seek=3 2>/dev/null
    sync
    echo 3 >/proc/sys/vm/drop_caches 2>/dev/null
    a=$(md5sum </tmp/r); b=$(dd if=/dev/vda bs=64k skip=3 count=8 2>/dev/null | md5sum)
    z=$(dd if=/dev/zero bs=64k count=3 2>/dev/null | md5sum); y=$(dd if=/dev/vda bs=64k count=3 2>/dev/null | md5sum)
    [ "$a" = "$b" ] && [ "$z" = "$y" ] && echo same'
[ $? = 0 ] && [ "$(cat "$work/out")" = same ]
report $? "scratch: what was written is read back, the rest is zero"

head -c 1048576 /dev/zero >"$work/disk"
head -c 1048576 /dev/urandom >"$work/other"
run --disk "$work/disk" --disk "$work/other:ro" /bin/busybox sh -c 'echo hello >/dev/vda; sync; md5sum </dev/vdb'
[ $? = 0 ] && [ "$(head -c 6 "$work/disk")" = hello ] && [ "$(cat "$work/out")" = "$(md5sum <"$work/other")" ]
report $? "two files, one read-only"
run --disk "$work/other:ro" /bin/busybox sh -c 'echo hello >/dev/vda && sync'
[ $? != 0 ] && [ "$(head -c 6 "$work/other")" != hello ]
report $? "a read-only disk refuses"

head -c 1048576 /dev/zero >"$work/disk"
run --disk "$work/disk:direct" --disk "$work/other:ro:direct" /bin/busybox sh -c 'echo direct >/dev/vda; sync; md5sum </dev/vdb'
[ $? = 0 ] && [ "$(head -c 7 "$work/disk")" = direct ] && [ "$(cat "$work/out")" = "$(md5sum <"$work/other")" ]
report $? "past the page cache: written and read"
head -c 1048577 /dev/zero >"$work/odd"
run --disk "$work/odd:direct" /bin/busybox true
[ $? != 0 ] && grep -q 'whole blocks' "$work/err"
report $? "direct I/O wants whole blocks, and says so"
run --disk /proc/version:ro:direct /bin/busybox true
[ $? != 0 ] && grep -q 'direct I/O\|is empty' "$work/err"
report $? "a file system without direct I/O"

# Each writer has its own megabyte, and its own queue while it stays on its CPU.
head -c 4194304 /dev/zero >"$work/disk"
run --cpus 4 --disk "$work/disk" /bin/busybox sh -c '
    for i in 0 1 2 3; do
        (dd if=/bin/busybox of=/dev/vda bs=64k count=4 skip=$i seek=$((i * 16)) conv=notrunc 2>/dev/null
         dd if=/dev/vda bs=64k skip=$((i * 16)) count=4 2>/dev/null | md5sum >/tmp/read.$i) &
    done
    wait
    cat /tmp/read.0 /tmp/read.1 /tmp/read.2 /tmp/read.3'
[ $? = 0 ] && for i in 0 1 2 3; do dd if=/bin/busybox bs=64k count=4 skip=$i 2>/dev/null | md5sum; done |
    cmp -s - "$work/out" && for i in 0 1 2 3; do dd if="$work/disk" bs=64k count=4 skip=$((i * 16)) 2>/dev/null | md5sum; done |
    cmp -s - "$work/out"
report $? "four processes on four CPUs, each with its part of a disk"

# Whole sectors go to and from the program's own pages, the rest through the kernel's: all sizes, odd places.
for suffix in '' :direct; do
    head -c 1048576 "$work/other" >"$work/disk"
    cp "$work/disk" "$work/expected"
    dd if=/bin/busybox of="$work/expected" bs=1000 count=70 seek=3 conv=notrunc 2>/dev/null
    dd if=/bin/busybox of="$work/expected" bs=200k count=2 seek=1 conv=notrunc 2>/dev/null
    dd if=/bin/busybox of="$work/expected" bs=512 count=9 seek=1999 conv=notrunc 2>/dev/null
    run --disk "$work/disk$suffix" /bin/busybox sh -c '
        dd if=/bin/busybox of=/dev/vda bs=1000 count=70 seek=3 conv=notrunc 2>/dev/null
        dd if=/bin/busybox of=/dev/vda bs=200k count=2 seek=1 conv=notrunc 2>/dev/null
        dd if=/bin/busybox of=/dev/vda bs=512 count=9 seek=1999 conv=notrunc 2>/dev/null
        for size in 777 4k 100k; do dd if=/dev/vda bs=$size 2>/dev/null | md5sum; done'
    [ $? = 0 ] && cmp -s "$work/disk" "$work/expected" && [ "$(sort -u "$work/out")" = "$(md5sum <"$work/expected")" ]
    report $? "writes and reads of any size and place ${suffix#:}"
done

for bad in 0 x 9999999999 -1; do
    run --scratch "$bad" /bin/busybox true
    [ $? = 2 ] && grep -q 'scratch' "$work/err"
    report $? "--scratch $bad is refused"
done
run --disk "$work/nosuch" /bin/busybox true
[ $? = 1 ] && grep -q 'nosuch: No such file' "$work/err"
report $? "a disk that is not there"
run --accel qemu --scratch 8 /bin/busybox true
[ $? != 0 ] && grep -q 'not supported on the qemu backend\|no QEMU' "$work/err"
report $? "QEMU has no disks in memory, and says so"
echo "1..$number"
