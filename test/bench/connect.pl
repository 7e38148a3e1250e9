# One TCP client without an event loop, because Node costs more than the kernel's whole path:  perl connect.pl
# Reads lines "ADDRESS PORT SERVER_ADDRESS SERVER_PORT COUNT" from standard input: COUNT connections to ADDRESS:PORT, one after the other, each closed
# by a reset; whoever connects to there must reach SERVER_ADDRESS:SERVER_PORT, where this very program listens. So nothing but the kernel is between
# connect() and its end: no other process has to be woken. Answers "P50 P99 MEAN" in µs, of connect and close; or "error WHY".
use strict;
use warnings;
use Socket;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);
use Fcntl;

$| = 1;
my %listeners;

sub listener {
    my ($address, $port) = @_;
    return $listeners{"$address:$port"} //= do {
        socket(my $socket, PF_INET, SOCK_STREAM, 0) or die "socket: $!\n";
        setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1);
        bind($socket, pack_sockaddr_in($port, inet_aton($address))) or die "bind $address:$port: $!\n";
        listen($socket, 16) or die "listen: $!\n";
        fcntl($socket, F_SETFL, fcntl($socket, F_GETFL, 0) | O_NONBLOCK);
        $socket;
    };
}

sub measure {
    my ($address, $port, $server_address, $server_port, $count) = @_;
    my $server = listener($server_address, $server_port);
    my $to = pack_sockaddr_in($port, inet_aton($address));
    my $reset = pack("ii", 1, 0);
    my @took;
    for (1 .. $count) {
        socket(my $client, PF_INET, SOCK_STREAM, 0) or die "socket: $!\n";
        setsockopt($client, SOL_SOCKET, SO_LINGER, $reset);
        my $started = clock_gettime(CLOCK_MONOTONIC);
        connect($client, $to) or die "connect $address:$port: $!\n";
        close($client);
        push @took, (clock_gettime(CLOCK_MONOTONIC) - $started) * 1e6;
        accept(my $accepted, $server) or die "a connection to $address:$port did not come to $server_address:$server_port: $!\n";
        close($accepted);
    }
    @took = sort { $a <=> $b } @took;
    my $sum = 0;
    $sum += $_ for @took;
    return sprintf("%.3f %.3f %.3f", $took[int($#took * 0.5)], $took[int($#took * 0.99)], $sum / @took);
}

while (my $line = <STDIN>) {
    my $answer = eval { measure(split(" ", $line)) } // "error $@";
    chomp $answer;
    print "$answer\n";
}
