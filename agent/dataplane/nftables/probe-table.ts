import type { ForwardingTable, Frontend } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";

/** A small table that needs everything that the driver may ever ask of the kernel. Its addresses are those of documentation (RFC 5737, 3849). */
export function probeTable(family: IpFamily): ForwardingTable {
  const [address, other, range] =
    family === "IPv4" ? ["192.0.2.1", "192.0.2.2", "198.51.100.0/24"] : ["2001:db8::1", "2001:db8::2", "2001:db8:1::/64"];
  const backends = [{ address: other, port: 80, isLocal: true, weight: 1 }];
  const frontend: Frontend = {
    id: "probe/probe",
    family,
    scope: "loadBalancer",
    address,
    protocol: "TCP",
    port: 80,
    backends,
    whenEmpty: "reject",
    outside: { backends, whenEmpty: "drop" },
    sourceRanges: [range],
    draining: [],
    affinitySeconds: 60,
    scheduler: undefined,
  };
  const frontends = [
    frontend,
    { ...frontend, port: 81, affinitySeconds: undefined },
    { ...frontend, scope: "nodePort" as const, address: "", sourceRanges: undefined },
  ];
  return {
    host: {
      serviceCidrs: [range],
      nodeIps: [],
      localCidrs: [range],
      dnsIps: [],
      masqueradeAll: false,
      nodePortCidrs: [range],
      forwards: [family],
    },
    services: new Map([["probe/probe", { key: "probe/probe", frontends, healthCheck: undefined, refused: [] }]]),
  };
}
