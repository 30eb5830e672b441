#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Debian's cloud kernel through the control API, under QEMU's emulation: its bzImage and an initrd of busybox, the serial
# line as console. Needs the package, from the cache or the network. TAP on stdout.
set -u

drupe=$(realpath "${DRUPE:-build/drupe}")
cache=$(realpath -m "${LINUX_CACHE:-build/tests/linux}")
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$work"' EXIT

skip_all() {
    echo "ok 1 - Debian's kernel # SKIP $1"
    exit 0
}
command -v qemu-system-x86_64 >/dev/null || skip_all "no QEMU"
command -v curl >/dev/null || skip_all "no curl"
[ -x /bin/busybox ] || skip_all "no busybox-static"

kernel=$("$(dirname "$0")/debian-kernel" "$cache" 2>"$work/why") || skip_all "$(cat "$work/why")"

mkdir -p "$work/root/bin" "$work/root/dev" "$work/root/proc"
cp /bin/busybox "$work/root/bin/sh"
# It ends; the kernel then panics and, by panic=-1 and reboot=t, resets the machine.
cat >"$work/root/init" <<'END'
#!/bin/sh
echo "init speaks: $1"
read line
echo "init heard: $line"
END
chmod +x "$work/root/init"
(cd "$work/root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work/initrd"

cd "$work" || exit 1
mkfifo line
"$drupe" vmm --api-sock api.sock --accel qemu <line >console 2>errors &
pid=$!
exec 3>line
tries=0
until curl -s --unix-socket api.sock http://localhost/ >/dev/null || [ $tries -ge 300 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
put() {
    curl -sS --fail-with-body --unix-socket api.sock -X PUT "http://localhost/$1" -d "$2" >>answers 2>&1
}
number=0
result() { # STATUS NAME
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        echo "ok $number - Debian's kernel: $2"
    else
        echo "not ok $number - Debian's kernel: $2"
        cat answers errors 2>/dev/null | tail -n 5 | sed 's/^/# /'
        tail -n 8 console | sed 's/^/# console: /'
    fi
}
wait_for() { # TEXT
    tries=0
    until grep -qF -- "$1" console || [ $tries -ge 900 ] || ! kill -0 "$pid" 2>/dev/null; do
        sleep 0.1
        tries=$((tries + 1))
    done
    grep -qF -- "$1" console
}

put boot-source "{\"kernel_image_path\":\"$kernel\",\"initrd_path\":\"initrd\",\"boot_args\":\"console=ttyS0 reboot=t panic=-1 -- there\"}" &&
    put machine-config '{"vcpu_count":1,"mem_size_mib":256}' &&
    put actions '{"action_type":"InstanceStart"}'
result $? "configured and started"
wait_for "Linux version"
result $? "first output"
wait_for "init speaks: there"
result $? "its init runs from the initrd with its argument"
echo "a line" >&3
wait_for "init heard: a line"
result $? "the serial line reaches it"
wait "$pid"
status=$?
pid=
[ "$status" -eq 0 ]
result $? "its reset ends the monitor with 0 ($status)"
