#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The firecracker backend, with our own `drupe vmm` in the place of the user's Firecracker; and binaries that are none.
set -u
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"

build=$(dirname "$drupe")
top=$(realpath "$(dirname "$0")/../..")
export PKG_CONFIG_PATH="$build" LD_LIBRARY_PATH="$build"
export XDG_RUNTIME_DIR="$work/runtime"
mkdir -m 700 "$XDG_RUNTIME_DIR"
: >"$work/out"
: >"$work/err"

root=$work/root
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/tmp"
cp $busybox "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
mkfs.erofs -E noinline_data "$work/root.erofs" "$root" >/dev/null 2>&1

# binary NAME: a program called firecracker, from standard input, in a folder NAME
binary() {
    mkdir -p "$work/$1"
    cat >"$work/$1/firecracker"
    chmod +x "$work/$1/firecracker"
}

# refused NAME STATUS TEXT FOLDER
refused() {
    PATH="$work/$4:$PATH" timeout 120 "$drupe" run --accel firecracker --root "$work/root.erofs" -- /bin/sh -c 'echo hi' \
        >"$work/out" 2>"$work/err" </dev/null
    got=$?
    [ $got -eq "$2" ] && grep -qF -- "$3" "$work/err"
    result $? "$1 (status $got)"
}
if command -v firecracker >/dev/null; then
    skip "no firecracker in PATH" "there is one"
else
    mkdir "$work/empty"
    refused "no firecracker in PATH" 3 "no firecracker in PATH" empty
fi
printf '#!/bin/sh\necho what do you want >&2\nexit 3\n' | binary other
refused "a program that is none" 3 "ended with status 3: what do you want" other
printf 'no program at all' | binary text
refused "a file that cannot be executed" 3 "is no Firecracker" text
printf '#!/bin/sh\nexec sleep 100\n' | binary asleep
refused "one that never opens its socket" 4 "within 5000 ms" asleep
for kind in garbage silent endless short other; do
    cat <<PROGRAM | binary "answers-$kind"
#!/usr/bin/env python3
import socket, sys, time
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[sys.argv.index("--api-sock") + 1])
server.listen()
client = server.accept()[0]
client.recv(4096)
answers = {
    "garbage": b"\x00\xffhello, world\r\n\r\n",
    "silent": b"",
    "endless": b"HTTP/1.1 200 \r\nContent-Length: 99999999999999999999\r\n\r\n{",
    "short": b"HTTP/1.1 200 \r\nContent-Length: 100\r\n\r\n{",
    "other": b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}",
}
client.sendall(answers["$kind"])
time.sleep(100)
PROGRAM
done
refused "answers of garbage" 3 "the answer is not Firecracker's" answers-garbage
refused "a length beyond all bounds" 3 "the answer is not Firecracker's" answers-endless
refused "another service" 3 "does not answer as Firecracker does" answers-other
refused "no answer" 4 "gives no answer" answers-silent
refused "half an answer" 4 "gives no answer" answers-short
[ -z "$(ls "$XDG_RUNTIME_DIR")" ]
result $? "nothing of them is left"

if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
    skip "machines" "/dev/kvm does not open"
    echo "1..$number"
    exit 0
fi

binary own <<PROGRAM
#!/bin/sh
exec "$build/drupe-vmm" "\$@"
PROGRAM
run() { # NAME STATUS OUTPUT COMMAND
    PATH="$work/own:$PATH" timeout 120 "$drupe" run --accel firecracker --root "$work/root.erofs" -- /bin/sh -c "$4" \
        >"$work/out" 2>"$work/err" </dev/null
    got=$?
    printf '%s' "$3" >"$work/want"
    [ $got -eq "$2" ] && cmp -s "$work/out" "$work/want"
    result $? "$1 (status $got)"
}
run "output and status" 7 "one
two
" 'echo one; echo two; exit 7'
run "a signal is 128 and its number" 137 "" 'kill -KILL $$'
PATH="$work/own:$PATH" expect_error "a shared folder: UNSUPPORTED" 1 "shared folders: not supported on the firecracker backend" \
    --accel firecracker --root "$root" -- /bin/sh

cc -O1 -Wall -Werror -I"$top/include" -o "$work/life" "$top/tests/lifecycle/firecracker_vm.c" -L"$build" -ldrupe >"$work/out" 2>"$work/err"
result $? "the test program builds"
timeout 300 "$work/life" "$work/own/firecracker" "$build/kernel.elf" "$work/root.erofs" "$work" >"$work/out" 2>"$work/err"
result $? "start, pause, snapshot, resume, kill, two restores"
[ -z "$(ls "$XDG_RUNTIME_DIR")" ]
result $? "no directory, no socket is left"
echo "1..$number"
