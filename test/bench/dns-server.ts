// Our responder as the agent runs it, alone:  node test/bench/dns-server.ts --port 5301 --services 10000 [--members 2] [--upstream 5400] [--state FOLDER]
// With --state, the services come from the agent's state on disk. Prints "ready" when all are answered. On standard input: "churn N" = N changes a second,
// "churn 0" = none. Ends with its input.
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import type { DnsChange } from "#agent/compile/dns-records.ts";
import { createDnsMembers } from "#agent/dns/members.ts";
import { waitFor } from "../wait-for.ts";
import { dnsChangeOf, DNS_FACTS } from "./dns-zone.ts";

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "5301" },
    services: { type: "string", default: "10000" },
    members: { type: "string", default: "1" },
    upstream: { type: "string" },
    state: { type: "string" },
  },
});
const services = Number(values.services);
/** Without pino: what is measured is the responder. */
const quiet = { info: () => undefined, warn: (...words: readonly unknown[]) => console.error(JSON.stringify(words)) };
const rounds = new Map<number, number>();

function* generated(): Generator<DnsChange> {
  for (let i = 0; i < services; i++) yield dnsChangeOf(i, rounds.get(i));
}

/** Loaded only here: the memory of the responder alone is without the parts that read the agent's state. */
async function fromDisk(folder: string): Promise<() => Iterable<DnsChange>> {
  const { everyDnsChange } = await import("#agent/compile/dns-view.ts");
  const { createReplica } = await import("#agent/sync/replica.ts");
  const { createReplicaStore, replay } = await import("#agent/sync/replica-store.ts");
  const replica = createReplica({ nodeName: "h1", log: quiet });
  const stored = await createReplicaStore({ folder, nodeName: "h1", image: () => replica.image(), log: quiet }).load();
  if (!stored) throw new Error(`there is no state in ${folder}`);
  await replica.replaceWith({ ...replay(stored), cluster: stored.header.cluster });
  return () => everyDnsChange(replica.state);
}

let everything: () => Iterable<DnsChange> = () => [];
const members = createDnsMembers({
  ...DNS_FACTS,
  members: Number(values.members),
  everything: () => everything(),
  image: values.state === undefined ? undefined : { file: join(values.state, "dns-zone"), node: "h1" },
  listen: [{ address: "127.0.0.1", port: Number(values.port) }],
  allowedSources: [],
  upstreams: values.upstream === undefined ? [] : [{ address: "127.0.0.1", port: Number(values.upstream) }],
  log: quiet,
});
const stop = new AbortController();
const running = members.run(stop.signal);
everything = values.state === undefined ? generated : await fromDisk(values.state);
members.apply([], { revision: 1, synced: true, all: true });
await members.listening();
await waitFor(() => members.stats().revision === 1, { what: "the members to have the zone", timeoutMs: 30_000 });
process.stdout.write("ready\n");

let changes: NodeJS.Timeout | undefined;
let revision = 1;
for await (const line of createInterface({ input: process.stdin })) {
  const perSecond = Number(line.split(" ")[1]);
  clearInterval(changes);
  if (perSecond === 0) continue;
  changes = setInterval(() => {
    revision++;
    const i = (revision * 7919) % services; // a prime reaches all
    const round = (rounds.get(i) ?? 0) + 1;
    rounds.set(i, round);
    members.apply([dnsChangeOf(i, round)], { revision, synced: true, all: false });
  }, 1000 / perSecond);
}
clearInterval(changes);
stop.abort();
await running;
