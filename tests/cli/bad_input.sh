#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Wrong input to drupe: each case ends with its status, one line on standard error that holds what is
# expected, nothing on standard output, and no file left behind. Needs neither KVM nor network.
set -u

drupe=$(realpath "${DRUPE:-build/drupe}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DRUPE_CACHE="$work/cache" HOME="$work"
unset UKERNEL_KERNEL UKERNEL_ROOTFS 2>/dev/null
mkdir "$work/dir"
cd "$work/dir" || exit 1
number=0

# refuse STATUS TEXT ARGUMENTS...
refuse() {
    status=$1
    text=$2
    shift 2
    number=$((number + 1))
    find . -mindepth 1 | sort >"$work/before"
    "$drupe" "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    find . -mindepth 1 | sort >"$work/after"
    why=
    [ "$got" -eq "$status" ] || why="$why status $got instead of $status;"
    [ "$(wc -l <"$work/err")" -eq 1 ] || why="$why not one line;"
    grep -qF -- "$text" "$work/err" || why="$why lacks '$text';"
    [ ! -s "$work/out" ] || why="$why wrote to standard output;"
    cmp -s "$work/before" "$work/after" || why="$why left files;"
    if [ -z "$why" ]; then
        echo "ok $number - drupe $*"
    else
        echo "not ok $number - drupe $* #$why"
        sed 's/^/# /' "$work/err"
    fi
}

manifest() {
    printf '%s\n' "$@" >ukernel.toml
}

# The command line.
refuse 2 'did you mean run?' rnu
refuse 2 'unknown option --nope' --nope
refuse 2 '-C needs a directory' -C
refuse 1 'No such file' -C /nonexistent run
refuse 2 'did you mean --memory' run --memry 4 /bin/true
refuse 2 'from 1 to 32' run --cpus 0 /bin/true
refuse 2 'from 1 to 32' run --cpus 33 /bin/true
refuse 2 'from 4 to 16384' run --memory 3 /bin/true
refuse 2 'from 4 to 16384' run --memory 99999999999999999999 /bin/true
refuse 2 'give a whole number' run --timeout 1.5 /bin/true
refuse 2 'use auto, kvm, qemu' run --accel tcg "$drupe"
refuse 2 'HOST:GUEST' run -v /tmp:mnt "$drupe"
refuse 1 'not a folder' run -v "$drupe":/mnt "$drupe"
refuse 2 'give NAME=value' run --env =x "$drupe"
refuse 2 'not set here' run --env NOT_SET_ANYWHERE "$drupe"
refuse 2 'takes no arguments' pack x
refuse 2 'no command' help nonsense

# No project.
refuse 2 'nothing to run' run
refuse 2 'no ukernel.toml here' run -- ls
refuse 1 'drupe init' pack
refuse 1 'drupe init' build
refuse 1 'drupe run writes it' logs

# Programs of the host.
printf 'just text\n' >text
printf '\177ELF' >short
head -c 3000 "$drupe" >truncated
printf '#!relative\n' >script
printf '#!/nonexistent/interpreter\n' >script2
head -c 64 "$drupe" >arm
printf '\267' | dd of=arm bs=1 seek=18 conv=notrunc 2>/dev/null
chmod +x text short truncated script script2 arm
refuse 1 'No such file' run ./missing
refuse 1 'no such program in PATH' run no-such-program-anywhere
refuse 1 'a directory, not a program' run /tmp
refuse 1 'not a regular file' run /dev/null
refuse 1 'not an ELF program' run ./text
refuse 1 'not an ELF program' run ./short
refuse 1 'truncated or damaged' run ./truncated
refuse 1 'AArch64' run ./arm
refuse 1 'absolute path' run ./script
refuse 1 '/nonexistent/interpreter' run ./script2
if [ "$(id -u)" -ne 0 ]; then
    cp text unreadable
    chmod 0 unreadable
    refuse 1 'cannot be read' run ./unreadable
fi

# Images.
printf 'x' >tiny.img
head -c 8192 /dev/zero >zero.img
refuse 1 'No such file' run --root missing.img -- /bin/true
refuse 1 'too short' run --root tiny.img -- /bin/true
refuse 1 'not an EROFS image' run --root zero.img -- /bin/true
refuse 1 'not a regular file' run --root /dev/null -- /bin/true
refuse 2 'say what to run' run --root zero.img

# Manifests.
manifest '[project]' 'nmae = "x"'
refuse 2 'ukernel.toml:2: unknown key "project.nmae" (did you mean "name"?)' run
refuse 2 'ukernel.toml:2:' pack
manifest '[project]' 'name = "x"' 'language = "linux-elf"' 'entry = "missing"'
refuse 1 'project.entry = "missing"' pack
refuse 1 'run drupe pack first' run
manifest '[project]' 'name = "x"' 'language = "c"'
refuse 1 'src/main.c' build
refuse 1 'run drupe build first' pack
manifest '[project]' 'name = "x"' '[run]' 'vcpu = 0'
refuse 2 'ukernel.toml:4: run.vcpu = 0: must be from 1 to 32' run
manifest '[project]' 'name = "x"' '[run]' 'memory_mb = 2'
refuse 2 'must be from 4 to 16384' run
manifest '[project' 'name = "x"'
refuse 2 'ukernel.toml:1:9: expected ]' run
manifest '[project]' 'name = "x"' '[run]' 'net = "tap"'
refuse 2 'networks are not supported yet' run
manifest '[project]' 'name = "x"'
mkdir src
echo 'print(1)' >src/main.py
refuse 1 'env/ukernel.lock: missing' pack --locked
rm ukernel.toml
mkdir ukernel.toml
refuse 1 'cannot be read' run
rmdir ukernel.toml

# A corrupted and a truncated image of our own making.
manifest '[project]' 'name = "x"' 'language = "linux-elf"' 'entry = "prog"'
cp "$drupe" prog
"$drupe" pack --quiet -o good.img || echo "not ok - packing a program of this host"
cp good.img bad.img
printf 'xxxx' | dd of=bad.img bs=1 seek=1040 conv=notrunc 2>/dev/null
head -c 20000 good.img >cut.img
refuse 1 'wrong checksum' run --root bad.img -- /app/prog
refuse 1 'truncated' run --root cut.img -- /app/prog
refuse 1 'cannot be made' pack -o /nonexistent/x.img

# A device that is full.
number=$((number + 1))
if "$drupe" help >/dev/full 2>"$work/err"; then
    echo "not ok $number - a full standard output is noticed"
else
    echo "ok $number - a full standard output is noticed"
fi

echo "1..$number"
