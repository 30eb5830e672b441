#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# drupe init, build and pack without a network: images are reproducible, packages come from a repository
# made here with dpkg-deb.
set -u
unset CC # of the make that ran this: drupe build would obey it

drupe=$(realpath "${DRUPE:-build/drupe}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DRUPE_CACHE="$work/cache" HOME="$work"
number=0

# check NAME COMMAND...: ok when the command succeeds
check() {
    number=$((number + 1))
    name=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name"
        sed 's/^/# /' "$work/out"
    fi
}

skip() {
    number=$((number + 1))
    echo "ok $number - $1 # SKIP $2"
}

# A C project in two places, made by two umasks: the same image.
make_project() {
    mkdir -p "$1" && cd "$1" || return 1
    "$drupe" init --lang c --name hello && "$drupe" build && "$drupe" pack
}
check "init, build and pack a C project" make_project "$work/a"
umask 077
check "the same elsewhere with another umask" make_project "$work/some/where/else"
umask 022
check "both images are equal" cmp "$work/a/dist/hello.erofs" "$work/some/where/else/dist/hello.erofs"
check "init leaves existing files alone" sh -c "cd '$work/a' && '$drupe' init --lang c | grep -c skipping | grep -qx 3"
cd "$work/a" || exit 1
check "packing leaves no temporary files" sh -c "! find dist -name '*.tmp*' | grep ."
if command -v fsck.erofs >/dev/null; then
    check "fsck.erofs finds no fault" fsck.erofs dist/hello.erofs
    check "files come out of the image as they went in" sh -c \
        "fsck.erofs --extract='$work/x' dist/hello.erofs && cmp '$work/x/app/build/hello' build/hello &&
         test -L '$work/x/bin' && test -f '$work/x/etc/passwd'"
else
    skip "fsck.erofs finds no fault" "no fsck.erofs"
fi

# A repository of two packages, one of which needs the other.
make_package() { # NAME VERSION DEPENDS FILE
    root=$work/deb-$1
    mkdir -p "$root/DEBIAN" "$root/$(dirname "$4")" "$root/usr/share/man/man1"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n%s' \
        "$1" "$2" "${3:+Depends: $3
}" >"$root/DEBIAN/control"
    echo "$1" >"$root/$4"
    echo manual >"$root/usr/share/man/man1/$1.1"
    dpkg-deb --root-owner-group -b "$root" "$work/repo/$1_$2_all.deb" >/dev/null
}
make_repository() {
    mkdir -p "$work/repo" "$work/apt/sources.d" "$work/apt/parts"
    make_package drupe-first 1:1.0-1 drupe-second usr/bin/first
    make_package drupe-second 2.0 '' bin/second
    (cd "$work/repo" && dpkg-scanpackages -m . /dev/null >Packages 2>/dev/null)
    echo "deb [trusted=yes] copy:$work/repo ./" >"$work/apt/sources.list"
    printf 'Dir::Etc::sourcelist "%s";\nDir::Etc::sourceparts "%s";\n' \
        "$work/apt/sources.list" "$work/apt/sources.d" >"$work/apt/apt.conf"
}
pack_packages() {
    mkdir -p "$work/pkg/bin" && cd "$work/pkg" || return 1
    cp "$work/a/build/hello" bin/main
    printf '[project]\nname = "pkg"\nlanguage = "linux-elf"\n[env]\npackages = ["drupe-first"]\n' >ukernel.toml
    "$drupe" pack "$@"
}
if command -v apt-get >/dev/null && command -v dpkg-scanpackages >/dev/null; then
    make_repository
    export APT_CONFIG="$work/apt/apt.conf"
    # Lists of our own only: the host's know nothing of this repository.
    mkdir -p "$DRUPE_CACHE/apt/lists"
    : >"$DRUPE_CACHE/apt/lists/empty_Packages"
    check "packages are resolved and fetched" pack_packages
    cp "$work/pkg/dist/pkg.erofs" "$work/first.erofs"
    check "the lock lists the dependency" grep -q 'name = "drupe-second"' "$work/pkg/env/ukernel.lock"
    check "the lock keeps the epoch" grep -q 'version = "1:1.0-1"' "$work/pkg/env/ukernel.lock"
    check "a second pack is equal" sh -c "cd '$work/pkg' && '$drupe' pack && cmp dist/pkg.erofs '$work/first.erofs'"
    rm -rf "$DRUPE_CACHE/apt/archives"
    check "a locked pack fetches the same again" sh -c \
        "cd '$work/pkg' && '$drupe' pack --locked && cmp dist/pkg.erofs '$work/first.erofs'"
    if command -v fsck.erofs >/dev/null; then
        check "merged /usr, no manuals" sh -c \
            "fsck.erofs --extract='$work/y' '$work/first.erofs' && test -f '$work/y/usr/bin/second' &&
             test -f '$work/y/usr/bin/first' && test ! -e '$work/y/usr/share/man/man1'"
    fi
    sed -i 's/sha256 = "./sha256 = "x/' "$work/pkg/env/ukernel.lock"
    check "a lock with another hash is refused" sh -c \
        "cd '$work/pkg'; '$drupe' pack --locked; test \$? -eq 1"
    sed -i 's/drupe-first/drupe-nothing/' "$work/pkg/ukernel.toml"
    check "an unknown package is refused" sh -c \
        "cd '$work/pkg'; '$drupe' pack 2>&1 | grep -q 'Unable to locate package drupe-nothing'"
else
    skip "packages are resolved and fetched" "no apt-get or dpkg-scanpackages"
fi

echo "1..$number"
