#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The table in docs/jail.md is the one that the program has.
#   tests/jail/docs.sh [--write]
set -u

cd "$(dirname "$0")/../.." || exit 1
drupe=${BUILD:-build}/drupe
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$drupe" doctor --filters >"$work/table" || exit 1
awk -v table="$work/table" '
    /^<!-- filters -->$/ { print; while ((getline line < table) > 0) print line; skip = 1; next }
    /^<!-- end -->$/ { skip = 0 }
    !skip' docs/jail.md >"$work/jail.md"
if [ "${1:-}" = --write ]; then
    cp "$work/jail.md" docs/jail.md
    exit 0
fi
if cmp -s "$work/jail.md" docs/jail.md; then
    echo "ok 1 - docs/jail.md has the table of system calls that drupe has"
else
    echo "not ok 1 - docs/jail.md has another table than drupe: run tests/jail/docs.sh --write"
    exit 1
fi
echo "1..1"
