#!/usr/bin/perl
# Writes transactions, one after the other, until it is told to stop. Each rewrites pages at
# random, and lasts from when its number is in `open` until its line is in `ledger`, its number in
# the witness on the root file system, and `open` gone. Between two of them, and only there, it
# pauses for the freeze hook. At its start it judges what it finds, in the demo guest's words.
use strict;
use warnings;
use IO::Handle;

my ($dir, $run, $witness) = ("/data", "/run/ledger", "/var/lib/farshore-witness");
my ($pages, $page, $each) = (2048, 16384, 6);
my $stop = 0;
$SIG{TERM} = sub { $stop = 1 };
mkdir $run;

sub put {
    my ($name, $text) = @_;
    open(my $file, ">", $name) or die "$name: $!";
    print $file $text;
    close $file;
}

my ($n, $chain, $seen) = (0, "empty", "none");
if (open(my $old, "<", "$dir/ledger")) {
    while (<$old>) {
        $chain = "whole" if $n == 0;
        $chain = "broken@" . ($n + 1) unless /^(\d+) done$/ && $1 == $n + 1 || $chain =~ /broken/;
        $n = $1 if /^(\d+) done$/;
    }
}
if (open(my $old, "<", $witness)) {
    my $line = <$old>;
    $seen = $1 if defined $line && $line =~ /^(\d+)$/;
}
my $disks = ($seen eq "none" ? 0 : $seen) == $n ? "in-step" : "out-of-step";
my $root = `dmesg` =~ /EXT4-fs \(vd[ab]1?\): recovery complete/ ? "recovered" : "clean";

open(my $ledger, ">>", "$dir/ledger") or die "ledger: $!";
my $data;
open($data, "+<", "$dir/pages") or open($data, "+>", "$dir/pages") or die "pages: $!";
open(my $console, ">", "/dev/ttyS0") or die "console: $!";
$_->autoflush(1) for ($ledger, $data, $console);

print $console "\nFARSHORE-VERDICT last=$n chain=$chain disks=$disks file=$seen root=$root\n";
while (!$stop) {
    if (-e "$run/pause") {
        put("$run/paused", $n) unless -e "$run/paused";
        select(undef, undef, undef, 0.02);
        next;
    }
    $n++;
    put("$dir/open", $n);
    for (1 .. $each) {
        seek($data, $page * int(rand($pages)), 0);
        print $data pack("N", $n) x ($page / 4);
    }
    select(undef, undef, undef, 0.03);
    print $ledger "$n done\n";
    put($witness, $n);
    unlink "$dir/open";
    $ledger->sync if $n % 10 == 0;
    print $console "FARSHORE-LEDGER n=$n\n" if $n % 10 == 0;
    select(undef, undef, undef, 0.03);
}
$ledger->sync;
print $console "\nFARSHORE-STOPPED n=$n\n";
