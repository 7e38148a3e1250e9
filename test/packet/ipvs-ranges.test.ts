import fc from "fast-check";
import { expect, test } from "vitest";
import type { Frontend } from "#agent/compile/table.ts";
import { rulesOf } from "#agent/dataplane/ipvs/render.ts";
import { IpvsState } from "#agent/dataplane/ipvs/state.ts";
import { contains, parseCidr, parseIp } from "#proto/ip.ts";
import { aBackend, aFrontend, aHostTable } from "#test/tables.ts";
import { emptyModel, linesOf, type IpvsModel } from "./ipvs-model.ts";
import { walkKernel } from "./ipvs-tracer.ts";
import type { Packet } from "./packet.ts";

/** Neither `ipset restore` nor `ipvsadm -R` is a transaction: the kernel is in use after each line, and stays there when the next is refused. */

const ADDRESS = "198.18.0.1";
const HOST = "172.30.0.9";
const host = aHostTable({ nodeIps: [HOST], localCidrs: ["172.31.1.0/24"] });
const rules = rulesOf("IPv4", host, { isLiberal: false });
const hasScheduler = (): boolean => true;

const aChoice = fc.uniqueArray(fc.constantFrom(1, 2, 3), { maxLength: 3 }).map((numbers) => numbers.map((n) => aBackend(`172.30.0.${n}`)));
const someFrontend: fc.Arbitrary<Frontend | undefined> = fc.option(
  fc
    .record({
      scope: fc.constantFrom("loadBalancer" as const, "external" as const),
      protocol: fc.constantFrom("TCP" as const, "UDP" as const),
      backends: aChoice,
      outside: fc.option(aChoice, { nil: undefined }),
      sourceRanges: fc.option(fc.constantFrom(["10.0.0.0/8"], ["10.1.0.0/16"], ["172.30.0.0/24", "10.1.0.0/16"]), { nil: undefined }),
      whenEmpty: fc.constantFrom("reject" as const, "drop" as const),
    })
    .map(({ scope, outside, sourceRanges, ...rest }) =>
      aFrontend({
        ...rest,
        scope,
        address: ADDRESS,
        port: 80,
        outside: outside && { backends: outside, whenEmpty: "drop" },
        sourceRanges: scope === "loadBalancer" ? sourceRanges : undefined,
      }),
    ),
  { nil: undefined, freq: 8 },
);

/** From both ranges and neither; from off the host, from a container of it, and from itself. */
const SOURCES = ["10.1.0.7", "10.2.0.7", "192.0.2.7", "172.31.1.7", HOST] as const;

function reached(model: IpvsModel, source: string, { protocol }: Frontend): readonly string[] {
  const origin = source === HOST ? "host" : "forwarded";
  const packet: Packet = { origin, source, address: ADDRESS, port: 80, protocol: protocol === "TCP" ? "tcp" : "udp" };
  const ways = walkKernel({ model, rules, packet, around: { hostIps: [HOST] } });
  return ways.map(({ to }) => to).filter((to) => /^172\.30\.0\.[123]:/.test(to));
}

function isAllowed(source: string, { sourceRanges }: Frontend): boolean {
  const ip = parseIp(source);
  return !sourceRanges || sourceRanges.map(parseCidr).some((cidr) => ip !== undefined && cidr !== undefined && contains(cidr, ip));
}

function stateFrom(model: IpvsModel): IpvsState {
  const sets = new Map([...model.sets].map(([name, entries]) => [name.slice("FLV-4-".length), new Map(entries)] as const));
  const servers = [...model.servers].map(([name, { scheduler, persistence, reals }]) => {
    const key = name.startsWith("-f ") ? Number(name.slice(3)) : name;
    return [key, { scheduler, persistence, flags: "", reals: new Map(reals), address: undefined }] as const;
  });
  return new IpvsState("IPv4", { host, hasScheduler, held: { sets: sets as never, servers: new Map(servers) } });
}

test("at no line of any change or sync does a source outside of the ranges get to an endpoint that it did not get to before", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(someFrontend, fc.boolean()), { minLength: 1, maxLength: 5 }), (rounds) => {
      let model = emptyModel("IPv4");
      let state = stateFrom(model);
      let held: Frontend | undefined;
      for (const [wanted, isSync] of rounds) {
        if (isSync) state = stateFrom(model);
        else if (held) state.remove(held);
        if (wanted) state.put(wanted);
        const before = model;
        for (const { tool, line, after } of linesOf(before, state.takeSteps())) {
          for (const source of wanted ? SOURCES.filter((one) => !isAllowed(one, wanted)) : []) {
            const now = wanted ? reached(model, source, wanted) : [];
            // What is opened is opened for those who may come in, also when ipvsadm goes no further than this line.
            const most = tool === "ipvsadm" ? [] : wanted ? reached(before, source, wanted) : [];
            expect(most, `${source} before ${line}`).toEqual(expect.arrayContaining([...now]));
          }
          model = after;
        }
        held = wanted;
        if (wanted) for (const source of SOURCES) if (!isAllowed(source, wanted)) expect(reached(model, source, wanted)).toEqual([]);
      }
    }),
    { numRuns: 150 },
  );
});
