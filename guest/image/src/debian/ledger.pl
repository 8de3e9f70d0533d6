#!/usr/bin/perl
# Writes transactions, one after the other, until it is told to stop. Each rewrites pages at
# random, and lasts from when its number is in `open` until its line is in `ledger`, flushed, its
# number in the witness on the root file system, flushed, and `open` gone. Between two of them, and
# only there, it pauses for the freeze hook. At its start it judges what it finds, in the demo
# guest's words and by its rule: the witness says the newest number, or the one before.
# Beside it goes a load of other writes, as heavy as the machine's SMBIOS family name wants it.
use strict;
use warnings;
use IO::Handle;

my ($dir, $run, $witness) = ("/data", "/run/ledger", "/var/lib/farshore-witness");
my ($pages, $page, $each) = (2048, 16384, 6);
my $stop = 0;
$SIG{TERM} = sub { $stop = 1 };
mkdir $run;

# A part of a second.
sub rest { select(undef, undef, undef, shift) }

sub put {
    my ($name, $text) = @_;
    open(my $file, ">", $name) or die "$name: $!";
    print $file $text;
    close $file;
}

# A file that is written in place.
sub in_place {
    my ($name) = @_;
    my $file;
    open($file, "+<", $name) or open($file, "+>", $name) or die "$name: $!";
    $file->autoflush(1);
    return $file;
}

# Writes up to so many KiB per second at random places of an area of so many MiB, never the same
# bytes at one place, and flushes them each second. A load that fails only makes the guest quieter.
sub load {
    my ($kib, $mib) = @_;
    my ($piece, $noise) = (65536, "");
    open(my $random, "<", "/dev/urandom") or die "random: $!";
    read($random, $noise, 2 * $piece);
    my $file = in_place("$dir/load");
    my $flushed = time;
    while (getppid() != 1) {
        seek($file, $piece * int(rand($mib * 16)), 0);
        print $file substr($noise, int(rand($piece)), $piece);
        if (time != $flushed) {
            $file->sync;
            $flushed = time;
        }
        rest(64 / $kib);
    }
    exit;
}

my ($n, $chain, $seen, $end) = (0, "empty", "none", 0);
if (open(my $old, "<", "$dir/ledger")) {
    while (<$old>) {
        # The last line may have been under way.
        last unless /\n$/;
        $end += length;
        $chain = "whole" if $n == 0;
        $chain = "broken@" . ($n + 1) unless /^(\d+) done$/ && $1 == $n + 1 || $chain =~ /broken/;
        $n = $1 if /^(\d+) done$/;
    }
}
if (open(my $old, "<", $witness)) {
    my $line = <$old>;
    $seen = $1 if defined $line && $line =~ /^(\d+) *$/;
}
my $behind = $n - ($seen eq "none" ? 0 : $seen);
my $disks = $behind == 0 || $behind == 1 ? "in-step" : "out-of-step";
my $root = `dmesg` =~ /EXT4-fs \(vd[ab]1?\): recovery complete/ ? "recovered" : "clean";
open(my $console, ">", "/dev/ttyS0") or die "console: $!";
$console->autoflush(1);
print $console "\nFARSHORE-VERDICT last=$n chain=$chain disks=$disks file=$seen root=$root\n";
# What a bad copy holds is evidence; nothing is written over it.
while ($chain =~ /broken/ || $disks ne "in-step") { sleep(1); exit if $stop; }

open(my $family, "<", "/sys/class/dmi/id/product_family");
my $words = $family ? <$family> : "";
my ($kib, $mib) = map { $words =~ /farshore\.$_=(\d+)/ ? $1 : 0 } qw(load_kib load_area_mib);
my $load = $kib && $mib ? fork : undef;
load($kib, $mib) if defined $load && !$load;

truncate("$dir/ledger", $end) if -e "$dir/ledger";
open(my $ledger, ">>", "$dir/ledger") or die "ledger: $!";
$ledger->autoflush(1);
my ($data, $mark) = (in_place("$dir/pages"), in_place($witness));
while (!$stop) {
    if (-e "$run/pause") {
        put("$run/paused", $n) unless -e "$run/paused";
        rest(0.02);
        next;
    }
    $n++;
    put("$dir/open", $n);
    for (1 .. $each) {
        seek($data, $page * int(rand($pages)), 0);
        print $data pack("N", $n) x ($page / 4);
    }
    rest(0.03);
    print $ledger "$n done\n";
    $ledger->sync;
    seek($mark, 0, 0);
    printf $mark "%-15d\n", $n;
    $mark->sync;
    unlink "$dir/open";
    print $console "FARSHORE-LEDGER n=$n\n" if $n % 10 == 0;
    rest(0.03);
}
kill("KILL", $load) && waitpid($load, 0) if $load;
print $console "\nFARSHORE-STOPPED n=$n\n";
