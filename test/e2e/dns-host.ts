import { pino } from "pino";
import { keepDnsAddresses, removeDnsAddresses } from "#agent/dns/address.ts";
import { HOST_LOCAL_ADDRESS } from "#agent/dns/places.ts";
import { createDnsMembers } from "#agent/dns/members.ts";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import type { DnsChange } from "#agent/compile/dns-records.ts";
import { dnsWorld } from "#test/dns/world.ts";

// What an agent does about DNS, alone: `dns-host.ts run VIRTUAL-IP ALLOWED-PREFIX [MEMBERS]`, until SIGTERM, `world` instead of `run`
// with the objects of the table of questions, or `dns-host.ts cleanup`.

const [verb, virtualIp = "", allowed = "", listeners = "1"] = process.argv.slice(2);
const tools = openKernelTools();
const log = pino({ level: "info" });

if (verb === "cleanup") {
  process.stdout.write(`removed ${(await removeDnsAddresses(tools, [])).join(" ")}\n`);
} else {
  const stop = new AbortController();
  process.once("SIGTERM", () => stop.abort());
  const record = { name: "web.default.svc.cluster.local", type: "A", address: "10.96.0.7" } as const;
  const one: readonly DnsChange[] = [{ source: "service default/web", records: [record], names: [] }];
  const everything = verb === "world" ? dnsWorld() : one;
  const responder = createDnsMembers({
    members: Number(listeners),
    everything: () => everything,
    listen: [virtualIp, HOST_LOCAL_ADDRESS].map((address) => ({ address, port: 53 })),
    domain: "cluster.local",
    serviceCidrs: ["10.96.0.0/16"],
    dnsIps: [virtualIp],
    allowedSources: [allowed],
    log,
  });
  responder.apply(everything, { revision: 1, synced: true, all: true });
  const running = Promise.all([keepDnsAddresses({ tools, addresses: [virtualIp], log }, stop.signal), responder.run(stop.signal)]);
  await responder.listening();
  process.stdout.write("ready\n");
  await running;
  process.stdout.write(`stats ${JSON.stringify(responder.stats())}\n`);
}
