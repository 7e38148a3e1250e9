#!/usr/bin/perl
# One end of SCTP associations, which Node.js has no sockets for:
#   perl test/fleet/sctp.pl listen ADDRESS PORT      says "listening", then tells each client "ADDRESS:PORT CLIENT" and closes
#   perl test/fleet/sctp.pl ask ADDRESS PORT MS [SOURCE]   prints what it was told; ECONNREFUSED or timeout, and exit code 1, where there was no answer
# Both have one address each: an association that names several is beyond what is translated on the way (RFC 4960, 5.1.2).
use strict;
use warnings;
use Errno;
use Socket qw(:DEFAULT inet_pton inet_ntop pack_sockaddr_in6 unpack_sockaddr_in6);

use constant IPPROTO_SCTP => 132;

sub place {
    my ($address, $port) = @_;
    return $address =~ /:/
        ? (AF_INET6, pack_sockaddr_in6($port, inet_pton(AF_INET6, $address)))
        : (AF_INET, pack_sockaddr_in($port, inet_pton(AF_INET, $address)));
}

sub place_of {
    my ($family, $packed) = @_;
    my ($port, $address) = $family == AF_INET6 ? unpack_sockaddr_in6($packed) : unpack_sockaddr_in($packed);
    return (inet_ntop($family, $address), $port);
}

# What the kernel would send from.
sub source_to {
    my ($address, $port) = @_;
    my ($family, $there) = place($address, $port);
    socket(my $udp, $family, SOCK_DGRAM, 0) or die "socket: $!\n";
    connect($udp, $there) or die "connect: $!\n";
    return (place_of($family, getsockname($udp)))[0];
}

sub open_socket {
    my ($family) = @_;
    socket(my $socket, $family, SOCK_STREAM, IPPROTO_SCTP) or die "socket: $!\n";
    return $socket;
}

sub answer_all {
    my ($address, $port) = @_;
    my ($family, $here) = place($address, $port);
    my $listener = open_socket($family);
    bind($listener, $here) or die "bind: $!\n";
    listen($listener, 128) or die "listen: $!\n";
    $| = 1;
    print "listening\n";
    my $own = $address =~ /:/ ? "[$address]:$port" : "$address:$port";
    while (my $peer = accept(my $client, $listener)) {
        my ($from) = place_of($family, $peer);
        syswrite($client, "$own $from\n");
        close($client);
    }
}

sub ask {
    my ($address, $port, $ms, $source) = @_;
    my ($family, $there) = place($address, $port);
    my $socket = open_socket($family);
    bind($socket, (place($source // source_to($address, $port), 0))[1]) or die "bind: $!\n";
    local $SIG{ALRM} = sub { print "timeout\n"; exit 1 };
    alarm(int($ms / 1000) + 1);
    if (!connect($socket, $there)) {
        print $!{ECONNREFUSED} ? "ECONNREFUSED\n" : "$!\n";
        exit 1;
    }
    my $got = sysread($socket, my $told, 1000);
    print $got ? $told : "closed without an answer\n";
    exit($got ? 0 : 1);
}

my ($what, @where) = @ARGV;
$what eq 'listen' ? answer_all(@where) : ask(@where);
