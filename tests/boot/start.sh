#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The kernel starts with any number of CPUs, and says clearly what it lacks.
set -u
. "$(dirname "$0")/qemu.inc"

for cpus in 1 2 4; do
    boot "" -smp $cpus
    expect "$cpus vCPU: banner" '^\[ .*\] Drupe kernel [0-9.]+ \(x86_64\) ram=[0-9]+K$'
    expect "$cpus vCPU: a missing root is named" 'root file system: none given'
    expect_status "$cpus vCPU: status is a boot error" d5031300
    [ $cpus -eq 1 ] || expect "$cpus vCPU: all started" "x86: $cpus CPUs"
done

boot "maxcpus=2" -smp 4
expect "maxcpus= limits the CPUs" 'x86: 2 CPUs'
boot "nosmp" -smp 2
expect_not "nosmp: one CPU" 'x86: . CPUs'
boot "quiet"
expect_not "quiet: no banner" 'Drupe kernel'
expect "quiet: errors are shown" 'root file system: none given'
boot "mem=32M bogus=1"
expect "mem= limits the RAM" 'ram=3[0-9]{4}K'
expect "an unknown option is named" 'unknown option bogus=1'
boot "root=mem:0x1,0x1000"
expect "a bad root= is refused" 'bad root=mem'
expect_status "a bad root= is a boot error" d5030100
boot "" -m 4
expect "4 MiB are enough to start" 'Drupe kernel'
boot "" -m 5G
expect "RAM above 4 GiB is found" 'ram=52[0-9]{5}K'
finish
