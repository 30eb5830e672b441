#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# drupe run --net: refusals, and a jailed machine that talks over a tap to this host (as root).
set -u

drupe=$(realpath "${DRUPE:-build/drupe}")
guest=$(realpath "${BUILD:-build}/tests/vmm_guest.elf")
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

refused() { # STATUS TEXT OPTIONS...
    status=$1
    text=$2
    shift 2
    timeout 120 "$drupe" run "$@" /bin/true net >"$work/out" 2>"$work/err" </dev/null
    [ $? -eq "$status" ] && grep -q -- "$text" "$work/err"
    report $? "run $*: $text"
}

for bad in t0 tap= mac=02:00:00:00:00:01 tap=t,mac=02:00:00:00:00 tap=t,mac=02:00:00:00:00:0g tap=t,mtu=67 \
    tap=t,mtu=65536 tap=t,tap=u tap=t,x=1; do
    refused 2 "--net $bad: give" --kernel "$guest" --net "$bad"
done
refused 2 "needs --kernel" --net tap=drupe-no-tap
refused 2 "more than 4" --kernel "$guest" --net tap=a --net tap=b --net tap=c --net tap=d --net tap=e
if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
    echo "ok $((number + 1)) - a tap # SKIP no /dev/kvm"
    exit 0
fi
refused 1 "drupe-no-tap" --kernel "$guest" --net tap=drupe-no-tap
if [ "$(id -u)" -ne 0 ] || ! unshare -n true 2>/dev/null || [ ! -c /dev/net/tun ]; then
    echo "ok $((number + 1)) - a tap # SKIP not root, or no network namespace"
    exit 0
fi

# A tap at 10.0.0.1/24, an echo on UDP port 7, and the machine; in a namespace that ends with this.
cat >"$work/world.py" <<'END'
import fcntl, os, socket, struct, subprocess, sys, threading
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"t0", 0x5002))
fcntl.ioctl(tun, 0x400454CB, 1)
os.close(tun)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for request, data in ((0x8916, struct.pack("HH4s", 2, 0, socket.inet_aton("10.0.0.1"))),
                      (0x891C, struct.pack("HH4s", 2, 0, socket.inet_aton("255.255.255.0"))),
                      (0x8914, struct.pack("H", 0x41))):
    fcntl.ioctl(s.fileno(), request, struct.pack("16s24s", b"t0", data))
s.bind(("", 7))

def echo():
    while True:
        s.sendto(*s.recvfrom(2048))

threading.Thread(target=echo, daemon=True).start()
sys.exit(subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL))
END
for jail in "" --no-jail; do
    # shellcheck disable=SC2086 # an empty word is none
    timeout 120 unshare -n python3 "$work/world.py" "$drupe" run $jail --kernel "$guest" --verbose \
        --net tap=t0,mac=02:00:00:00:00:05,mtu=1500 /bin/true net >"$work/out" 2>"$work/err"
    [ $? -eq 0 ] && grep -q "ok echo" "$work/err"
    report $? "a machine ${jail:-in its jail} talks to this host"
done
