#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The jail where control groups are version 2: in Debian's cloud kernel under QEMU's emulation, whatever this host has.
# The hostile program runs there in the monitor's place, then the jailer.
set -u

cd "$(dirname "$0")/../.." || exit 1
build=$(realpath "${BUILD:-build}")
cache=$(realpath -m "${LINUX_CACHE:-$build/tests/linux}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0
status=0

skip_all() {
    echo "ok 1 - cgroup version 2 # SKIP $1"
    echo "1..1"
    exit 0
}
say() { # say OK TEXT
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        tr -d '\r' <"$work/out" | grep -aE '^(not ok|#|jailer)' | grep -av 'validate:' | tail -n 20 | sed 's/^/# /'
        status=1
    fi
}
has() { # has LINE: it is in the guest's output
    tr -d '\r' <"$work/out" | grep -aqxF "$1"
}
# put FILE: a program and its libraries into the guest's root
put() {
    local l
    cp -L "$1" "$work/root/bin/"
    for l in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do
        mkdir -p "$work/root$(dirname "$l")"
        cp -L "$l" "$work/root$l"
    done
}
command -v qemu-system-x86_64 >/dev/null || skip_all "no QEMU"
[ -x /bin/busybox ] || skip_all "no busybox-static"
kernel=$(tests/api/debian-kernel "$cache" 2>"$work/why") || skip_all "$(cat "$work/why")"

mkdir -p "$work"/root/{bin,proc,sys,dev,tmp,run,old}
cp /bin/busybox "$work/root/bin/"
for name in sh cat mkdir mount mv poweroff sleep switch_root cp echo kill grep; do
    ln -s busybox "$work/root/bin/$name"
done
put "$build/tests/jail_hostile"
put "$build/drupe"
put "$build/drupe-vmm"
# A root that can be pivoted away from: the one that an initrd is unpacked into can't.
cat >"$work/root/init" <<'END'
#!/bin/sh
mkdir /new
mount -t tmpfs new /new
for at in bin lib lib64 usr proc sys dev tmp run work; do
    [ -e /$at ] && cp -a /$at /new/
done
exec switch_root /new /work
END
cat >"$work/root/work" <<'END'
#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
jail_hostile
echo "hostile $?"
drupe doctor | grep cgroup
mkdir /tmp/base
drupe jailer --id one --exec-file /bin/drupe-vmm --uid 123 --gid 124 --chroot-base-dir /tmp/base --cgroup-version 2 \
    --cgroup memory.max=600002560 --cgroup pids.max=40 --parent-cgroup up/mine -- --api-sock /api.sock &
pid=$!
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -S /tmp/base/drupe-vmm/one/root/api.sock ] && break
    sleep 1
done
echo "jailer: in $(cat /proc/$pid/cgroup)"
echo "jailer: memory $(cat /sys/fs/cgroup/up/mine/one/memory.max)"
echo "jailer: processes $(cat /sys/fs/cgroup/up/mine/one/pids.max)"
kill -KILL $pid
poweroff -f
END
chmod +x "$work/root/init" "$work/root/work"
(cd "$work/root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initrd"
timeout 500 qemu-system-x86_64 -nodefaults -accel tcg -m 512 -smp 2 -display none -serial stdio -no-reboot -kernel "$kernel" \
    -initrd "$work/initrd" -append "console=ttyS0 quiet panic=-1" </dev/null >"$work/out" 2>&1
say $? "the guest ends by itself"
tr -d '\r' <"$work/out" | grep -aE 'cgroup .*version 2: cpu cpuset memory pids' >/dev/null
say $? "drupe doctor finds version 2 and its controllers"
has "hostile 0"
say $? "the hostile program: $(grep -acE '^ok [0-9]' "$work/out") attempts failed, none succeeded"
has "jailer: in 0::/up/mine/one"
say $? "jailer --cgroup-version 2: it is in its group"
has "jailer: memory 600002560" && has "jailer: processes 40"
say $? "jailer --cgroup: two controllers' limits are set"
echo "1..$number"
exit $status
