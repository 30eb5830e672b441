#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The manual says all that there is: drupe.1 has a section for each verb of `drupe help` and names each long option of its --help
# there; each function of include/drupe/*.h stands in one page of section 3; no page makes groff complain.
set -u

drupe=$(realpath "${DRUPE:-build/drupe}")
cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0

report() { # NAME: lines of $work/found are what is missing
    number=$((number + 1))
    if [ -s "$work/found" ]; then
        echo "not ok $number - $1"
        sed 's/^/# /' "$work/found"
    else
        echo "ok $number - $1"
    fi
}

sed 's/\\-/-/g' docs/man/drupe.1 >"$work/drupe.1"
verbs=$("$drupe" help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p' | grep -vx drupe)
[ -n "$verbs" ] || echo "drupe help lists nothing" >"$work/found"
for verb in $verbs; do
    # The sections of this verb: from its first .SS to the first .SS of another.
    awk -v verb="$verb" '/^\.S[SH]/ { on = $1 == ".SS" && $2 == verb } on' "$work/drupe.1" >"$work/section"
    if [ ! -s "$work/section" ]; then
        echo "no section: $verb"
        continue
    fi
    # Options that the help lists, not those that its examples use.
    "$drupe" "$verb" --help | sed '/^examples*:/,$d' | grep -oE -e '--[a-z][a-z-]+' | grep -vxe --help | sort -u | while read -r option; do
        grep -qE -e "$option([^a-z-]|\$)" "$work/section" || echo "$verb: $option"
    done
done >>"${work}/found"
report "drupe.1 has each verb and option"

awk '/^DRUPE_API/ { on = 1 } on { text = text " " $0 } on && /;/ { print text; text = ""; on = 0 }' include/drupe/*.h |
    grep -oE 'drupe_[a-z0-9_]+\(' | tr -d '(' | sort -u >"$work/functions"
[ -s "$work/functions" ] || echo "no functions found"
while read -r f; do
    n=$(grep -lE "^\.BI? .*[ *]$f\(" docs/man/*.3 | wc -l)
    [ "$n" -eq 1 ] || echo "$f: in $n synopses"
    grep -qE "^\.BR.*[ \"]$f\b" docs/man/*.3 || echo "$f: not described"
done <"$work/functions" >"$work/found"
report "each function of include/drupe stands in one page"

: >"$work/found"
if command -v man >/dev/null 2>&1; then
    for page in docs/man/*.[135]; do
        man -l --warnings "$page" 2>&1 >/dev/null | sed "s|^|$page: |"
    done >"$work/found"
    report "the pages are clean"
else
    number=$((number + 1))
    echo "ok $number - the pages are clean # SKIP man is not installed"
fi
echo "1..$number"
