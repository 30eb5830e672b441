#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A disk under our monitor and under QEMU: the same guest kernel, the same program in it (guest.c), the same file, KVM
# for both, one CPU; QEMU as fast as it goes (microvm, an I/O thread, io_uring). The runs alternate; medians.
#   bench/block/run.sh BUILD [RUNS]           throughput
#   bench/block/run.sh BUILD --cost [RUNS]    what one request costs the host, by perf (for root): little disturbed by other work
#
#   BLOCK_MS=n    how long each load goes on (500)
#   BLOCK_DIR=d   where the disk's file lies: a file system that can do direct I/O ($TMPDIR or /tmp)
#   BLOCK_CPUS=n  CPUs of the machine (1)
set -eu

here=$(dirname "$0")
cpus=${BLOCK_CPUS:-1}

# One machine: MONITOR cache|direct ARGUMENTS of guest.c behind its device. Its output is the guest's.
machine() {
    monitor=$1
    cache=$2
    shift 2
    if [ "$monitor" = drupe ]; then
        suffix=
        [ "$cache" = cache ] || suffix=:direct
        exec timeout 300 "$build/drupe" run -c "$cpus" --root "$work/image" --disk "$work/disk$suffix" -- /bin/guest /dev/vda "$@" </dev/null
    fi
    # Where ring 0 is interpreted the kernel has to be told what does not work there; our monitor does so by itself.
    nocpu=
    cpu=host
    if [ -e "$work/interpreted" ]; then
        nocpu=drupe.nocpu=xsave,smap,smep,umip,fsgsbase
        cpu=qemu64,-pni
    fi
    qemu_cache=writeback
    [ "$cache" = cache ] || qemu_cache=none
    "$here/../../tests/guest/boot-args" -k "$(cat "$work/khz")" -d / -e PATH=/bin /bin/guest /dev/vdb "$@" >"$work/args"
    timeout 300 qemu-system-x86_64 -M microvm,acpi=off -global virtio-mmio.force-legacy=false -accel kvm -cpu "$cpu" -m 256 \
        -smp "$cpus" -kernel "$build/kernel.elf" -initrd "$work/args" \
        -append "console=ttyS0 quiet root=/dev/vda drupe.status=0x402 $nocpu" \
        -display none -monitor none -no-reboot -nodefaults -serial "file:$work/serial" -object iothread,id=io \
        -drive "if=none,id=root,format=raw,readonly=on,file=$work/image" -device virtio-blk-device,drive=root \
        -drive "if=none,id=disk,format=raw,file=$work/disk,aio=io_uring,cache=$qemu_cache" \
        -device virtio-blk-device,drive=disk,iothread=io \
        -chardev "file,path=$work/raw,id=status" -device isa-debugcon,iobase=0x402,chardev=status \
        -chardev "file,path=$work/qemu.out,id=out" -chardev "file,path=$work/qemu.err,id=err" -device virtio-serial-device \
        -device virtserialport,nr=1,chardev=out -device virtserialport,nr=2,chardev=err </dev/null >"$work/qemu.log" 2>&1
    cat "$work/qemu.err" >&2
    cat "$work/qemu.out"
}

build=$1
shift
if [ "${1:-}" = --machine ]; then # from below, where perf wants a command
    work=$2
    shift 2
    machine "$@"
    exit
fi
mode=throughput
if [ "${1:-}" = --cost ]; then
    mode=cost
    shift
fi
runs=${1:-5}
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
${CC:-gcc} -std=gnu17 -O2 -D_GNU_SOURCE "$here/tsc_khz.c" -o "$work/tsc_khz"
"$work/tsc_khz" >"$work/khz" # our monitor tells its guests by itself
mkfs.erofs -Enoinline_data -T0 "$work/image" "$work/root" >/dev/null 2>&1
head -c 268435456 /dev/urandom >"$work/disk"
if "$build/drupe" doctor 2>/dev/null | grep -q 'ring 0 *interpreted'; then
    : >"$work/interpreted"
fi

monitors_of() { # RUN: each is first in every other run
    if [ $(($1 % 2)) = 0 ]; then echo drupe qemu; else echo qemu drupe; fi
}

throughput() {
    for cache in cache direct; do
        i=0
        while [ $i -lt "$runs" ]; do
            for monitor in $(monitors_of $i); do
                cat "$work/disk" >/dev/null # direct writes took parts out of the page cache
                (machine "$monitor" $cache "${BLOCK_MS:-500}") | sed "s/^/$monitor $cache /" >>"$work/results"
            done
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
            my ($ours, $qemu) = map { median(@{ $rate{$key}{$_} }) } qw(drupe qemu);
            printf "%-34s %10.1f %10.1f %7.2f  %s\n", $key, $ours, $qemu, $ours / $qemu, $key =~ /random/ ? "IOPS" : "MiB/s";
        }' <"$work/results"
}

# Counted for the whole machine, with 500 requests and with none.
cost() {
    events=task-clock,kvm:kvm_emulate_insn,kvm:kvm_userspace_exit,raw_syscalls:sys_enter,context-switches
    if ! perf stat -x, -o "$work/perf" -e $events true >/dev/null 2>&1; then
        echo "block: skipped, perf cannot count here"
        return
    fi
    i=0
    while [ $i -lt "$runs" ]; do
        for cache in cache direct; do
            for load in read-64k write-64k random-read-4k random-write-4k; do
                for count in 0 500; do
                    for monitor in $(monitors_of $i); do
                        cat "$work/disk" >/dev/null
                        perf stat -x, -o "$work/perf" -e $events "$0" "$build" --machine "$work" "$monitor" $cache $load $count >/dev/null
                        awk -F, -v key="$monitor $cache $load $count" 'NF > 3 { key = key " " $1 } END { print key }' "$work/perf" >>"$work/results"
                    done
                done
            done
        done
        i=$((i + 1))
    done
    perl -e '
        my (%count, @order);
        while (<STDIN>) {
            my ($who, $cache, $load, $count, @values) = split;
            my $key = sprintf("%-16s %-10s %s", $load, $cache eq "cache" ? "page cache" : "direct", $who);
            push @order, $key unless $count{$key};
            push @{ $count{$key}{$count}[$_] }, $values[$_] for 0 .. $#values;
        }
        sub median { my @s = sort { $a <=> $b } @_; return $s[ $#s / 2 ] }
        printf "%-34s %9s %12s %7s %9s %9s\n", "a request of", "CPU ms", "interpreted", "exits", "calls", "switches";
        for my $key (sort @order) {
            printf "%-34s %9.2f %12.0f %7.2f %9.2f %9.2f\n", $key,
                map { (median(@{ $count{$key}{500}[$_] }) - median(@{ $count{$key}{0}[$_] })) / 500 } 0 .. 4;
        }' <"$work/results"
}
$mode
