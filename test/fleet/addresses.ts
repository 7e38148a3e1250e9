// Where everything in a fleet stands. The same addresses in every fleet: fleets share nothing.
//
//                   switch: br0 172.30.255.254/16 fd30::ffff
//  out 172.30.255.1 ──┤├── h1 eth0 172.30.0.1 fd30::1 ── docker0 10.200.1.1/24 fd30:c:1::1
//                     │                                     └─ h1c1 10.200.1.11 fd30:c:1::11, h1c2 …
//                     └── h2 eth0 172.30.0.2 fd30::2 ── docker0 10.200.2.1/24 …

export interface Place {
  ip: string;
  ip6: string;
  prefix: number;
  prefix6: number;
  gateway: string;
  gateway6: string;
}

export const maxHosts = 250;
export const maxContainersPerHost = 200;
const net = { prefix: 16, prefix6: 64, gateway: "172.30.255.254", gateway6: "fd30::ffff" };

export const switchPlace: Place = { ip: net.gateway, ip6: net.gateway6, ...net };
export const outPlace: Place = { ip: "172.30.255.1", ip6: "fd30::fffe", ...net };

export function hostPlace(host: number): Place {
  return { ip: `172.30.${Math.floor(host / 250)}.${host % 250}`, ip6: `fd30::${host.toString(16)}`, ...net };
}

// The docker0 of a host: the gateway of its containers.
export function dockerPlace(host: number): Place {
  const gateway = `10.200.${host}.1`;
  const gateway6 = `fd30:c:${host.toString(16)}::1`;
  return { ip: gateway, ip6: gateway6, prefix: 24, prefix6: 64, gateway, gateway6 };
}

export function containerPlace(host: number, container: number): Place {
  return {
    ...dockerPlace(host),
    ip: `10.200.${host}.${10 + container}`,
    ip6: `fd30:c:${host.toString(16)}::${(10 + container).toString(16)}`,
  };
}

export function containerSubnets(host: number): { v4: string; v6: string } {
  return { v4: `10.200.${host}.0/24`, v6: `fd30:c:${host.toString(16)}::/64` };
}
