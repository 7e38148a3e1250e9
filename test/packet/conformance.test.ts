import { describe, expect, test } from "vitest";
import type { CompiledService, ForwardingTable } from "#agent/compile/table.ts";
import { parseListing } from "#agent/dataplane/iptables/listing.ts";
import { planSync, ruleTreesOf } from "#agent/dataplane/iptables/plan.ts";
import { aCompiled, aFrontend, backend, flows, host, HOST_2, HOST_3, SENDER_IPS, type Flow } from "./flows.ts";
import { applyRestore, emptyRuleset } from "./iptables-model.ts";
import { trace } from "./iptables-tracer.ts";
import type { Outcome, Packet, Surroundings } from "./packet.ts";

type Trace = (services: readonly CompiledService[], packet: Packet, remembered?: Surroundings["remembered"]) => readonly Outcome[];

const drivers: Record<string, Trace> = {
  iptables: (services, packet, remembered) => {
    const table: ForwardingTable = { host, services: new Map(services.map((service) => [service.key, service])) };
    const nothing = parseListing("");
    const ruleset = applyRestore(emptyRuleset(), planSync(ruleTreesOf(table, "1"), { nat: nothing, filter: nothing }));
    return trace(ruleset, packet, { hostIps: [SENDER_IPS.host, "10.200.1.1"], ...(remembered && { remembered }) });
  },
};

describe.for(Object.entries(drivers))("%s", ([, run]) => {
  test.for(flows)("$name", (flow) => {
    const outcomes = run(flow.services, packetOf(flow));
    expect(outcomes.map(({ to }) => to).toSorted()).toEqual(wantedOf(flow).map(({ to }) => to));
    for (const { to, share } of wantedOf(flow)) expect(outcomes.find((outcome) => outcome.to === to)?.share).toBeCloseTo(share, 8);
    if (typeof flow.want === "string" || flow.from === "host") return; // what the host itself sends has its address in any case
    for (const { masqueraded } of outcomes) expect(masqueraded).toBe(flow.seenAs === "host");
  });

  test("a client with affinity is remembered by its choice, and comes back to it", () => {
    const services = [aCompiled([aFrontend([backend(HOST_2), backend(HOST_3)], { affinitySeconds: 60 })])];
    const packet: Packet = { origin: "forwarded", source: SENDER_IPS.c1, address: "10.96.0.10", protocol: "tcp", port: 80 };
    for (const first of run(services, packet)) {
      const remembered = new Map([[first.remembered ?? "", new Set([SENDER_IPS.c1])]]);
      expect(run(services, packet, remembered).map(({ to, share }) => ({ to, share }))).toEqual([{ to: first.to, share: 1 }]);
    }
  });
});

function packetOf({ from, to }: Flow): Packet {
  const [, address = "", port = "", protocol = ""] = /^(.+):(\d+)\/(tcp|udp)$/.exec(to) ?? [];
  return {
    origin: from === "host" ? "host" : "forwarded",
    source: SENDER_IPS[from],
    address,
    port: Number(port),
    protocol: protocol === "udp" ? "udp" : "tcp",
  };
}

function wantedOf({ want, shares, to }: Flow): { to: string; share: number }[] {
  if (want === "UNTOUCHED") return [{ to: to.slice(0, to.indexOf("/")), share: 1 }];
  if (typeof want === "string") return [{ to: want, share: 1 }];
  return want.map((target, i) => ({ to: target, share: shares?.[i] ?? 1 / want.length })).toSorted((a, b) => (a.to < b.to ? -1 : 1));
}
