#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The agent as process 1 of a Linux guest (Debian's cloud kernel, QEMU's emulation): it mounts what a system needs, starts
# the workload of its command line, and ends the machine when that ends; it is reached over vsock. virtio and vsock are
# modules of that kernel, which a script loads before it becomes the agent.
set -u

drupe=$(realpath "${DRUPE:-build/drupe}")
exec_at=$(realpath "${BUILD:-build}/tests/exec_at")
agent=$(realpath "${AGENT:-build/agent.elf}")
cache=$(realpath -m "${LINUX_CACHE:-build/tests/linux}")
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$work"' EXIT

skip_all() {
    echo "ok 1 - the agent on Linux # SKIP $1"
    echo "1..1"
    exit 0
}
command -v qemu-system-x86_64 >/dev/null || skip_all "no QEMU"
[ -x /bin/busybox ] || skip_all "no busybox-static"
kernel=$("$(dirname "$0")/../api/debian-kernel" "$cache" 2>"$work/why") || skip_all "$(cat "$work/why")"

mkdir -p "$work/root/bin" "$work/root/modules"
cp /bin/busybox "$work/root/bin/busybox"
ln -s busybox "$work/root/bin/sh"
cp "$agent" "$work/root/agent"
for name in virtio_ring virtio virtio_mmio vsock vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport; do
    cp "$cache/modules/$name.ko" "$work/root/modules/"
done
cat >"$work/root/init" <<'END'
#!/bin/sh
cd /modules
for name in virtio_ring virtio virtio_mmio vsock vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport; do
    /bin/busybox insmod $name.ko
done
cd /
exec /agent "$@"
END
chmod +x "$work/root/init"
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
for name in uname grep sleep wc cat test; do
    ln -s busybox "$work/root/bin/$name"
done
(cd "$work/root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initrd"
config() { # JOB
    cat <<END
{"boot-source": {"kernel_image_path": "$kernel", "initrd_path": "$work/initrd",
  "boot_args": "console=ttyS0 quiet panic=-1 reboot=t PATH=/bin -- $1"},
 "drives": [], "machine-config": {"vcpu_count": 1, "mem_size_mib": 256},
 "vsock": {"guest_cid": 3, "uds_path": "$work/vsock.sock"}}
END
}
config /job >"$work/config.json"
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

# The same machine with a workload that stays: programs beside it, and the end by the agent's word.
config "/bin/sleep 100000" >"$work/config.json"
"$drupe" vmm --no-api --accel qemu --config-file "$work/config.json" </dev/null >"$work/out" 2>"$work/err" &
pid=$!
at() { timeout 250 "$exec_at" "$work/vsock.sock" "$@"; }
tries=0
while [ ! -S "$work/vsock.sock" ] && [ $tries -lt 300 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
[ "$(at uname -s)" = Linux ]
result $? "exec: a program of the guest's"
at sh -c 'echo out; echo err >&2; exit 7' >"$work/stdout" 2>"$work/stderr"
[ "$?/$(cat "$work/stdout")/$(cat "$work/stderr")" = 7/out/err ]
result $? "exec: status and both outputs"
at sh -c 'kill -9 $$'
[ $? = 137 ]
result $? "exec: a signal's end"
dd if=/dev/urandom of="$work/bytes" bs=1000 count=1000 2>/dev/null
at -i cat <"$work/bytes" >"$work/back" && cmp "$work/bytes" "$work/back"
result $? "exec: a megabyte there and back"
at -t sh -c 'test -t 0 && test -t 1' </dev/null
result $? "exec: a terminal"
at
result $? "exec: SHUTDOWN is taken"
wait "$pid"
status=$?
pid=
[ $status = 0 ]
result $? "exec: and ends the machine (status $status)"
echo "1..$number"
