import { pino } from "pino";
import { HOST_LOCAL_ADDRESS, keepDnsAddresses, removeDnsAddresses } from "#agent/dns/address.ts";
import { createDnsResponder } from "#agent/dns/responder.ts";
import { openKernelTools } from "#agent/dataplane/exec.ts";

// What an agent does about DNS, alone: `dns-host.ts run VIRTUAL-IP ALLOWED-PREFIX`, until SIGTERM, or `dns-host.ts cleanup`.

const [verb, virtualIp = "", allowed = ""] = process.argv.slice(2);
const tools = openKernelTools();
const log = pino({ level: "info" });

if (verb === "cleanup") {
  process.stdout.write(`removed ${(await removeDnsAddresses(tools, [])).join(" ")}\n`);
} else {
  const stop = new AbortController();
  process.once("SIGTERM", () => stop.abort());
  const responder = createDnsResponder({
    listen: [virtualIp, HOST_LOCAL_ADDRESS].map((address) => ({ address, port: 53 })),
    domain: "cluster.local",
    serviceCidrs: ["10.96.0.0/16"],
    dnsIps: [virtualIp],
    allowedSources: [allowed],
    log,
  });
  const record = { name: "web.default.svc.cluster.local", type: "A", address: "10.96.0.7" } as const;
  responder.apply([{ source: "service default/web", records: [record], names: [] }], { revision: 1, synced: true, all: true });
  const running = Promise.all([keepDnsAddresses({ tools, addresses: [virtualIp], log }, stop.signal), responder.run(stop.signal)]);
  await responder.listening();
  process.stdout.write("ready\n");
  await running;
  process.stdout.write(`stats ${JSON.stringify(responder.stats())}\n`);
}
