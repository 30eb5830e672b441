#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# drupe blk export: what it refuses here, and the real thing in a Debian guest (QEMU's emulation) whose kernel has ublk.
set -u

drupe=$(realpath "${DRUPE:-build/drupe}")
static=$(dirname "$drupe")/drupe-vmm # the same program, without libraries
cache=$(realpath -m "${UBLK_CACHE:-build/tests/ublk}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0

report() { # STATUS-OF-CHECK NAME
    number=$((number + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        tail -n 40 "$work/out" | sed 's/^/# out: /'
        sed 's/^/# err: /' "$work/err"
    fi
}

refused() { # STATUS TEXT NAME ARGUMENTS...
    status=$1
    text=$2
    name=$3
    shift 3
    timeout 60 "$drupe" blk "$@" >"$work/out" 2>"$work/err" </dev/null
    [ $? = "$status" ] && grep -q -e "$text" "$work/err"
    report $? "$name"
}

head -c 1048576 /dev/urandom >"$work/image"
refused 2 'use export' "no such action" import "$work/image"
refused 2 'an image, or --scratch' "neither image nor memory" export
refused 2 'an image, or --scratch' "both" export --scratch 4 "$work/image"
refused 2 'one image at a time' "two images" export "$work/image" "$work/image"
refused 2 '0 to 1023' "a number that is too large" export "$work/image" --id 1024
refused 2 'stay in their file' "direct and in memory" export --direct --compressed "$work/image"
if [ ! -e /dev/ublk-control ]; then
    refused 1 'no ublk on this host: /dev/ublk-control .*modprobe ublk_drv' "no ublk: said so" export "$work/image"
fi

skip_rest() {
    number=$((number + 1))
    echo "ok $number - a real ublk device # SKIP $1"
    echo "1..$number"
    exit 0
}
command -v qemu-system-x86_64 >/dev/null || skip_rest "no QEMU"
[ -x /bin/busybox ] || skip_rest "no busybox-static"
[ -x "$static" ] || skip_rest "no drupe-vmm"
kernel=$("$(dirname "$0")/ublk-kernel" "$cache" 2>"$work/why") || skip_rest "$(cat "$work/why")"

mkdir -p "$work/root/bin" "$work/root/dev" "$work/root/proc" "$work/root/sys" "$work/root/tmp"
cp /bin/busybox "$work/root/bin/"
for name in $(/bin/busybox --list); do
    [ "$name" = busybox ] || ln -sf busybox "$work/root/bin/$name"
done
cp "$static" "$work/root/bin/drupe"
cp "$kernel/ublk_drv.ko" "$work/root/"
cat >"$work/root/init" <<'END'
#!/bin/sh
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
cd /tmp

check() { # NAME: what the command before it said
    [ $? = 0 ] && echo "check ok $1" || { echo "check not $1"; cat err; }
}
begin() { # ARGUMENTS...: $device and $pid
    : >out
    drupe blk export "$@" >out 2>err &
    pid=$!
    for i in $(seq 600); do
        [ -s out ] || ! kill -0 $pid 2>/dev/null && break
        sleep 0.1
    done
    device=$(cat out)
    [ -b "$device" ]
}
end() { # the status is drupe's, and the device is gone
    kill -TERM $pid
    wait $pid && [ ! -e "$device" ]
}
same() { # FILE FILE
    [ "$(md5sum <"$1")" = "$(md5sum <"$2")" ]
}
head -c 8388608 /dev/urandom >image
head -c 409600 /bin/busybox >data

insmod /ublk_drv.ko && [ -c /dev/ublk-control ]; check "the module"
begin image; check "a device appears: $device"
[ "$(blockdev --getsize64 $device)" = 8388608 ]; check "its size"
same image $device; check "read"
dd if=data of=$device bs=4k seek=10 conv=notrunc,fsync 2>/dev/null; check "written"
dd if=image bs=4k skip=10 count=100 2>/dev/null | cmp - data; check "and in the image after a flush"
readers=
for i in 0 1 2 3 4 5 6 7; do
    dd if=$device of=part.$i bs=64k skip=$((i * 16)) count=16 iflag=direct 2>/dev/null &
    readers="$readers $!"
done
wait $readers
cat part.0 part.1 part.2 part.3 part.4 part.5 part.6 part.7 | cmp - image; check "eight readers at once, directly"
rm part.*
blkdiscard -o 4194304 -l 1048576 $device && dd if=image bs=1M skip=4 count=1 2>/dev/null | tr -d '\0' | wc -c | grep -qx 0
check "discarded, and so zero in the image"
begun=$pid
other=$device
drupe blk export image --id 0 2>err
[ $? = 1 ] && grep -q 'block device 0 already' err; check "the same number again is refused"
device=$other
pid=$begun
end; check "a signal ends it"

begin image --read-only --id 7; check "read-only"
[ $device = /dev/ublkb7 ] && [ "$(blockdev --getro $device)" = 1 ] && same image $device; check "by its number"
! dd if=data of=$device bs=4k conv=notrunc,fsync 2>/dev/null; check "nothing is written"
end; check "ends"

cp image before
begin --compressed image; check "compressed"
same image $device; check "its bytes"
dd if=data of=$device bs=4k seek=100 conv=notrunc,fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
dd if=$device bs=4k skip=100 count=100 2>/dev/null | cmp - data; check "written and read back"
end && same image before; check "ends, the image as before"

begin --scratch 16 --depth 1; check "in memory, one request at a time"
dd if=image of=$device bs=64k conv=notrunc,fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
dd if=$device bs=64k count=128 2>/dev/null | cmp - image; check "written and read back"
end; check "ends"

begin --direct --depth 256 image; check "direct, many requests"
same image $device; check "its bytes"
dd if=data of=$device bs=4k seek=30 conv=notrunc,fsync 2>/dev/null
dd if=image bs=4k skip=30 count=100 2>/dev/null | cmp - data; check "written"
kill -KILL $pid
wait $pid
for i in $(seq 100); do
    [ -e "$device" ] || break
    sleep 0.1
done
[ ! -e "$device" ]; check "killed: its device goes"
begin image && same image $device; check "and the next works"
end; check "ends"
echo "check end"
poweroff -f
END
chmod +x "$work/root/init"
(cd "$work/root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initrd"
: >"$work/err"
# cx16 of QEMU 7.2's emulation breaks this kernel.
timeout 500 qemu-system-x86_64 -accel tcg -cpu max,-cx16 -m 512 -smp 2 -kernel "$kernel/vmlinuz" -initrd "$work/initrd" \
    -append "console=ttyS0 quiet panic=-1" -display none -no-reboot -serial stdio -monitor none </dev/null >"$work/raw" 2>"$work/err"
tr -d '\r' <"$work/raw" >"$work/out"
grep -E '^check (ok|not) ' "$work/out" >"$work/checks"
while read -r _ state name; do
    [ "$state" = ok ]
    report $? "Debian guest: $name"
done <"$work/checks"
grep -qx 'check end' "$work/out"
report $? "Debian guest: all was tried"
echo "1..$number"
