#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The same as an ordinary user, who gets what user namespaces give.
set -u

cd "$(dirname "$0")/../.." || exit 1
program=$(realpath "${BUILD:-build}/tests/jail_hostile")
if [ "$(id -u)" != 0 ]; then
    echo "ok 1 - jail of an ordinary user # SKIP hostile.sh is that, as this is no root"
    echo "1..1"
    exit 0
fi
if ! setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$program"; then
    echo "ok 1 - jail of an ordinary user # SKIP nobody may not read $program"
    echo "1..1"
    exit 0
fi
exec setpriv --reuid=65534 --regid=65534 --clear-groups env -u XDG_RUNTIME_DIR "$program"
