# A connection that stays open:  perl open-connection.pl ADDRESS PORT
# Prints what a station (test/fleet/station.ts) says, and sends it a line every 50 ms, which it sends back. Ends its connection with a reset.
use strict;
use warnings;
use Socket;

$| = 1;
my ($address, $port) = @ARGV;
socket(my $socket, PF_INET, SOCK_STREAM, 0) or die "socket: $!\n";
setsockopt($socket, SOL_SOCKET, SO_LINGER, pack("ii", 1, 0));
connect($socket, pack_sockaddr_in($port, inet_aton($address))) or die "connect: $!\n";
for (my $tick = 0; defined(my $line = <$socket>); $tick++) {
    print $line;
    select(undef, undef, undef, 0.05);
    syswrite($socket, "tick $tick\n") or die "write: $!\n";
}
die "the other side has ended it\n";
