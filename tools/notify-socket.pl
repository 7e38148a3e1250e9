# Opens the socket by which systemd hears of a service (sd_notify), and becomes the program in the arguments, which inherits it: Node has no sockets of
# that kind, but it can write to one (docs/adr/0010). Started by the launcher where NOTIFY_SOCKET is set; perl-base is on every Debian.
use strict;
use warnings;
use Fcntl;
use Socket;

(my $path = $ENV{NOTIFY_SOCKET} // '') =~ s/^@/\0/;    # an abstract name
$^F = 255;                                             # so that what is opened now survives exec
my $socket;
if (socket($socket, AF_UNIX, SOCK_DGRAM, 0) && connect($socket, pack_sockaddr_un($path))) {
    fcntl($socket, F_SETFL, O_NONBLOCK);
    $ENV{FAIRLEAD_NOTIFY_FD} = fileno($socket);
} else {
    warn "fairlead: systemd is not told of this service: $path: $!\n";
}
exec { $ARGV[0] } @ARGV or die "fairlead: cannot start $ARGV[0]: $!\n";
