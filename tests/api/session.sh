#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The session of docs/control-api.md, as it stands there: configure, start, pause, snapshot, load in a fresh process, resume.
# Each block is a step; all run in one shell. TAP on stdout.
set -u

top=$(realpath "$(dirname "$0")/../..")
drupe=$(realpath "${DRUPE:-build/drupe}")
work=$(mktemp -d)
number=0
unsupported=0
trap 'kill $(cat "$work"/pids 2>/dev/null) 2>/dev/null; rm -rf "$work"' EXIT

skip_all() {
    echo "ok 1 - session # SKIP $1"
    exit 0
}
[ -x /bin/busybox ] || skip_all "no busybox-static"
command -v mkfs.erofs >/dev/null || skip_all "no erofs-utils"
command -v curl >/dev/null || skip_all "no curl"
command -v bash >/dev/null || skip_all "no bash"
if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
    skip_all "/dev/kvm does not open: no snapshots without"
fi

mkdir "$work/bin"
ln -s "$drupe" "$work/bin/drupe"
# What clients of the interface take for an error is an error here: curl --fail with the body shown.
printf '#!/bin/sh\nexec %s --fail-with-body -sS "$@"\n' "$(command -v curl)" >"$work/bin/curl"
chmod +x "$work/bin/curl"

awk -v out="$work/step" '
    /^```sh session$/ { n++; inside = 1; next }
    /^```$/ { inside = 0 }
    inside { print > (out n ".sh") }
    END { print n > (out "s") }' "$top/docs/control-api.md"
steps=$(cat "$work/steps")

# One shell with job control, as a person has; it tells after each step.
{
    echo "set -e -m; cd $work"
    i=1
    while [ "$i" -le "$steps" ]; do
        cat "$work/step$i.sh"
        echo "jobs -p >>$work/pids; echo $i >$work/reached"
        i=$((i + 1))
    done
} >"$work/all.sh"
PATH="$work/bin:$PATH" timeout -k 5 "${LIMIT:-200}" bash "$work/all.sh" >"$work/out" 2>&1 </dev/null
reached=$(cat "$work/reached" 2>/dev/null || echo 0)

i=1
while [ "$i" -le "$steps" ]; do
    number=$((number + 1))
    name=$(grep -m 1 -oE 'mkfs.erofs|drupe vmm|boot-source|InstanceStart|snapshot/(create|load)' "$work/step$i.sh" | head -n 1)
    if [ "$i" -le "$reached" ]; then
        echo "ok $number - session: step $i ($name)"
    elif grep -q "snapshot: not supported" "$work/out"; then
        echo "ok $number - session: step $i ($name) # SKIP this build takes no snapshots"
        unsupported=1
    else
        echo "not ok $number - session: step $i ($name)"
    fi
    i=$((i + 1))
done
[ "$unsupported" = 0 ] || exit 0
if [ "$reached" -lt "$steps" ]; then
    tail -n 12 "$work/out" | sed 's/^/# /'
    exit 1
fi
# The second process went on where the first was frozen: it never counted from the beginning.
number=$((number + 1))
if grep -q 'count 1$' "$work/second.log"; then
    echo "not ok $number - session: the clone began anew"
    exit 1
fi
echo "ok $number - session: the clone goes on counting"
