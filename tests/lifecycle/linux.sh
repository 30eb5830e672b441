#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The agent as process 1 of a Linux guest (Debian's cloud kernel, QEMU's emulation): it mounts what a system needs, starts
# the workload of its command line, and ends the machine when that ends. QEMU has no vsock here, so exec is not tried.
set -u

drupe=$(realpath "${DRUPE:-build/drupe}")
agent=$(realpath "${AGENT:-build/agent.elf}")
cache=$(realpath -m "${LINUX_CACHE:-build/tests/linux}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

skip_all() {
    echo "ok 1 - the agent on Linux # SKIP $1"
    echo "1..1"
    exit 0
}
command -v qemu-system-x86_64 >/dev/null || skip_all "no QEMU"
[ -x /bin/busybox ] || skip_all "no busybox-static"
kernel=$("$(dirname "$0")/../api/debian-kernel" "$cache" 2>"$work/why") || skip_all "$(cat "$work/why")"

mkdir -p "$work/root/bin"
cp /bin/busybox "$work/root/bin/busybox"
ln -s busybox "$work/root/bin/sh"
cp "$agent" "$work/root/init"
cat >"$work/root/job" <<'END'
#!/bin/sh
echo "parent $PPID"
echo "system $(uname -s)"
for at in /proc /sys /dev /dev/pts /tmp; do
    grep -q " $at " /proc/mounts && echo "mounted $at"
done
(sleep 0.1 &) # an orphan for process 1 to reap
sleep 0.5
echo "zombies $(grep -l 'State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l)"
END
chmod +x "$work/root/job"
for name in uname grep sleep wc; do
    ln -s busybox "$work/root/bin/$name"
done
(cd "$work/root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initrd"
cat >"$work/config.json" <<END
{"boot-source": {"kernel_image_path": "$kernel", "initrd_path": "$work/initrd",
  "boot_args": "console=ttyS0 quiet panic=-1 reboot=t PATH=/bin -- /job"},
 "drives": [], "machine-config": {"vcpu_count": 1, "mem_size_mib": 256}}
END
timeout 250 "$drupe" vmm --no-api --accel qemu --config-file "$work/config.json" </dev/null >"$work/out" 2>"$work/err"
status=$?
number=0
result() { # STATUS NAME
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        sed 's/^/# /' "$work/out" "$work/err" | tail -n 20
    fi
}
[ $status = 0 ]
result $? "the machine ends by itself (status $status)"
for line in 'parent 1' 'system Linux' 'mounted /proc' 'mounted /sys' 'mounted /dev' 'mounted /tmp' 'zombies 0'; do
    tr -d '\r' <"$work/out" | grep -q "^$line\$"
    result $? "$line"
done
echo "1..$number"
