# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# For the tests of background machines: a run directory of their own, removed with all that runs in it. TAP on stdout.
# `$work/out` and `$work/err` are shown when a check fails.

drupe=$(realpath "${DRUPE:-build/drupe}")
work=$(mktemp -d)
DRUPE_RUN_DIR=$work/run
DRUPE_TEMPLATES=$work/templates
HOME=$work
export DRUPE_RUN_DIR DRUPE_TEMPLATES HOME
[ -n "${DRUPE_CACHE:-}" ] || export DRUPE_CACHE="$work/cache"
number=0

clean_up() {
    for id in $("$drupe" ps -q 2>/dev/null); do
        "$drupe" kill "$id" >/dev/null 2>&1
    done
    "$drupe" rm --dead >/dev/null 2>&1
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
    echo "1..0 # SKIP /dev/kvm does not open"
    exit 0
fi
if [ ! -x /bin/busybox ]; then
    echo "1..0 # SKIP busybox-static is not installed"
    exit 0
fi

report() { # STATUS-OF-CHECK NAME
    number=$((number + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        [ -s "$work/out" ] && sed 's/^/# out: /' "$work/out" | tail -n 8
        [ -s "$work/err" ] && sed 's/^/# err: /' "$work/err" | tail -n 8
    fi
}

# expect NAME STATUS PATTERN COMMAND...: the exit status, and a pattern that the output holds ("": none is looked for).
expect() {
    name=$1
    want=$2
    pattern=$3
    shift 3
    timeout 300 "$drupe" "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    met=0
    [ "$got" = "$want" ] || met=1
    [ -z "$pattern" ] || cat "$work/out" "$work/err" | grep -q -e "$pattern" || met=1
    report $met "$name (status $got)"
}

# until_true COMMAND...: wait until it succeeds, two minutes at most.
until_true() {
    for _ in $(seq 600); do
        if "$@"; then
            return 0
        fi
        sleep 0.2
    done
    return 1
}

printed() { # MACHINE PATTERN
    "$drupe" logs -n 100000 "$1" 2>/dev/null | grep -q -e "$2"
}
