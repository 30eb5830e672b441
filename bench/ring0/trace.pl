#!/usr/bin/perl

# SPDX-License-Identifier: Apache-2.0
# Count ring-0 instructions in a trace of `qemu -singlestep -d exec,nochain` (one line an instruction;
# a repeated string instruction is one line a round, as it is one step where ring 0 is interpreted).
#
#   trace.pl [-p] [-s SECTION] [-m ADDRESS] KERNEL.debug.elf <TRACE
#
# Counts from the kernel's first instruction. With -m, each instruction fetched in ring 3 at ADDRESS
# ends a section and begins the next; the numbers of all sections are printed, one a line. With -p,
# also the functions that most instructions of the whole trace (with -s: of that section, from 0) belong
# to.
use strict;
use warnings;
no warnings "portable"; # 64-bit numbers

my ($profile, $mark, $only) = (0, undef, undef);
while (@ARGV && $ARGV[0] =~ /^-([pms])$/) {
    shift @ARGV;
    if    ($1 eq 'p') { $profile = 1 }
    elsif ($1 eq 's') { $only = shift @ARGV }
    else           { $mark    = hex(shift @ARGV) }
}
my (@address, @name);
open(my $nm, '-|', 'nm', '-n', $ARGV[0]) or die "nm: $!";
while (<$nm>) {
    if (/^([0-9a-f]{16}) [tT] (\S+)/) {
        push @address, hex($1);
        push @name,    $2;
    }
}
close($nm);

my (%count, %function_of, @sections);
my ($started, $section, $user) = (0, 0, 0);
while (<STDIN>) {
    m{^Trace \d+: 0x[0-9a-f]+ \[[0-9a-f]+/([0-9a-f]+)/([0-9a-f]+)/} or next;
    my ($pc, $ring) = ($1, hex(substr($2, -1)) & 3);
    if (!$started) {
        next unless $pc =~ /^00000000001/ || $pc =~ /^ffffffff801/;
        $started = 1;
    }
    if ($ring == 3) {
        $user++;
        if (defined $mark && hex($pc) == $mark) {
            push @sections, $section;
            $section = 0;
        }
        next;
    }
    $section++;
    $count{$pc}++ if $profile && (!defined $only || $only == @sections);
}
push @sections, $section;
print "$_\n" for @sections;
if ($profile) {
    my %by;
    for my $pc (keys %count) {
        my $text = substr($pc, 0, 8) eq 'ffffffff' ? lookup(hex($pc)) : 'boot (identity)';
        $by{$text} += $count{$pc};
    }
    my $n = 0;
    for my $f (sort { $by{$b} <=> $by{$a} } keys %by) {
        last if $n++ == 400;
        printf "%9d %s\n", $by{$f}, $f;
    }
}

sub lookup {
    my ($pc) = @_;
    my ($low, $high) = (0, scalar @address);
    while ($low < $high) {
        my $middle = int(($low + $high) / 2);
        if   ($address[$middle] <= $pc) { $low  = $middle + 1 }
        else                            { $high = $middle }
    }
    return $low ? $name[ $low - 1 ] : '?';
}
