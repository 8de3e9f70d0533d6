#!/usr/bin/perl
# Writes transactions, one after the other, until the machine stops. Each rewrites pages at
# random, and lasts from when its number is in `open` until its line is in `ledger` and `open`
# is gone. Between two of them, and only there, it pauses for the freeze hook.
use strict;
use warnings;
use IO::Handle;

my ($dir, $run) = ("/data", "/run/ledger");
my ($pages, $page, $each) = (2048, 16384, 6);
mkdir $run;
my $n = 0;
if (open(my $old, "<", "$dir/ledger")) {
    while (<$old>) { $n = $1 if /^(\d+) done$/ }
}
open(my $ledger, ">>", "$dir/ledger") or die "ledger: $!";
my $data;
open($data, "+<", "$dir/pages") or open($data, "+>", "$dir/pages") or die "pages: $!";
open(my $console, ">", "/dev/ttyS0") or die "console: $!";
$_->autoflush(1) for ($ledger, $data, $console);

sub put {
    my ($name, $text) = @_;
    open(my $file, ">", $name) or die "$name: $!";
    print $file $text;
    close $file;
}

print $console "\nFARSHORE-LEDGER n=$n\n";
while (1) {
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
    unlink "$dir/open";
    $ledger->sync if $n % 10 == 0;
    print $console "FARSHORE-LEDGER n=$n\n" if $n % 10 == 0;
    select(undef, undef, undef, 0.03);
}
