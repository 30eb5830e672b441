#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A disk under our monitor and under QEMU: the same guest kernel, the same program in it (guest.c), the same file, KVM
# for both, one CPU; QEMU as fast as it goes (microvm, an I/O thread, io_uring). The runs alternate; medians.
#   bench/block/run.sh BUILD [RUNS]
#
#   BLOCK_MS=n    how long each load goes on (500)
#   BLOCK_DIR=d   where the disk's file lies: a file system that can do direct I/O ($TMPDIR or /tmp)
#   BLOCK_CPUS=n  CPUs of the machine (1)
set -eu

build=$1
runs=${2:-5}
here=$(dirname "$0")
ms=${BLOCK_MS:-500}
cpus=${BLOCK_CPUS:-1}
for tool in qemu-system-x86_64 mkfs.erofs perl; do
    if ! command -v $tool >/dev/null; then
        echo "block: skipped, $tool is not installed"
        exit 0
    fi
done
if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
    echo "block: skipped, no /dev/kvm"
    exit 0
fi
work=$(mktemp -d -p "${BLOCK_DIR:-${TMPDIR:-/tmp}}")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

mkdir -p "$work/root/bin" "$work/root/dev" "$work/root/proc" "$work/root/sys" "$work/root/tmp"
${CC:-gcc} -std=gnu17 -O2 -static -D_GNU_SOURCE "$here/guest.c" -o "$work/root/bin/guest"
mkfs.erofs -Enoinline_data -T0 "$work/image" "$work/root" >/dev/null 2>&1
head -c 268435456 /dev/urandom >"$work/disk"

# Where ring 0 is interpreted the kernel has to be told what does not work there; our monitor does so by itself.
nocpu=
cpu=host
if "$build/drupe" doctor 2>/dev/null | grep -q 'ring 0 *interpreted'; then
    nocpu=drupe.nocpu=xsave,smap,smep,umip,fsgsbase
    cpu=qemu64,-pni
fi

ours() { # cache|direct
    suffix=
    [ "$1" = cache ] || suffix=:direct
    timeout 300 "$build/drupe" run -c "$cpus" --root "$work/image" --disk "$work/disk$suffix" -- /bin/guest /dev/vda "$ms" </dev/null
}

qemu() { # cache|direct
    cache=writeback
    [ "$1" = cache ] || cache=none
    "$here/../../tests/guest/boot-args" -d / -e PATH=/bin /bin/guest /dev/vdb "$ms" >"$work/args"
    timeout 300 qemu-system-x86_64 -M microvm,acpi=off -global virtio-mmio.force-legacy=false -accel kvm -cpu "$cpu" -m 256 \
        -smp "$cpus" -kernel "$build/kernel.elf" -initrd "$work/args" \
        -append "console=ttyS0 quiet root=/dev/vda drupe.status=0x402 $nocpu" \
        -display none -monitor none -no-reboot -nodefaults -serial "file:$work/serial" -object iothread,id=io \
        -drive "if=none,id=root,format=raw,readonly=on,file=$work/image" -device virtio-blk-device,drive=root \
        -drive "if=none,id=disk,format=raw,file=$work/disk,aio=io_uring,cache=$cache" \
        -device virtio-blk-device,drive=disk,iothread=io \
        -chardev "file,path=$work/raw,id=status" -device isa-debugcon,iobase=0x402,chardev=status \
        -chardev "file,path=$work/qemu.out,id=out" -chardev "file,path=$work/qemu.err,id=err" -device virtio-serial-device \
        -device virtserialport,nr=1,chardev=out -device virtserialport,nr=2,chardev=err </dev/null >"$work/qemu.log" 2>&1
    cat "$work/qemu.err" >&2
    cat "$work/qemu.out"
}

for cache in cache direct; do
    i=0
    while [ $i -lt "$runs" ]; do
        ours $cache | sed "s/^/ours $cache /" >>"$work/results"
        qemu $cache | sed "s/^/qemu $cache /" >>"$work/results"
        i=$((i + 1))
    done
done
perl -e '
    my (%rate, @order);
    while (<STDIN>) {
        my ($who, $cache, $load, $depth, $bytes, $operations, $ns) = split;
        my $key = sprintf("%-16s %5d  %-10s", $load, $depth, $cache eq "cache" ? "page cache" : "direct");
        push @order, $key unless $rate{$key};
        my $rate = $load =~ /random/ ? $operations / $ns * 1e9 : $bytes / $ns * 1e9 / (1 << 20);
        push @{ $rate{$key}{$who} }, $rate;
    }
    sub median { my @s = sort { $a <=> $b } @_; return $s[ $#s / 2 ] }
    printf "%-34s %10s %10s %7s\n", "load             depth  file", "drupe", "qemu", "ratio";
    for my $key (@order) {
        my ($ours, $qemu) = map { median(@{ $rate{$key}{$_} }) } qw(ours qemu);
        printf "%-34s %10.1f %10.1f %7.2f  %s\n", $key, $ours, $qemu, $ours / $qemu, $key =~ /random/ ? "IOPS" : "MiB/s";
    }' <"$work/results"
