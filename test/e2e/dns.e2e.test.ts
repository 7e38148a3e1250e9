import { expect, test } from "vitest";
import { ADDRESS_LABEL } from "#agent/dns/address.ts";
import { HOST_LOCAL_ADDRESS } from "#agent/dns/places.ts";
import { containerSubnets } from "#test/fleet/addresses.ts";
import { createFleet } from "#test/fleet/fleet.ts";
import type { Host } from "#test/fleet/fleet.ts";
import { waitFor } from "#test/wait-for.ts";

const VIP = "10.96.0.10";
const NAME = "web.default.svc.cluster.local";
const program = "test/e2e/dns-host.ts";

async function ask(from: Host, server: string, ...args: readonly string[]): Promise<string> {
  return (await from.run("dig", [`@${server}`, "+short", "+tries=1", "+time=2", ...args], { reject: false })).stdout;
}

async function addressesOf(host: Host): Promise<string> {
  return (await host.run("ip", ["-o", "-4", "address", "show", "dev", "lo"])).stdout;
}

/** A question in a packet with source port 0, which no socket would send. */
const FROM_PORT_0 = `
  use Socket; my $q = pack("nnnnnn", 1, 256, 1, 0, 0, 0) . "\\3web\\7default\\3svc\\7cluster\\5local\\0" . pack("nn", 1, 1);
  socket(my $s, AF_INET, SOCK_RAW, 17) or die $!;
  send($s, pack("nnnn", 0, 53, 8 + length $q, 0) . $q, 0, sockaddr_in(0, inet_aton($ARGV[0]))) or die $!;`;

test("every host answers at the DNS service's virtual IP and at its own address, its containers too, and nobody else", async () => {
  await using fleet = await createFleet({ hosts: 1, containersPerHost: 1 });
  const [host] = fleet.hosts;
  const [container] = host.containers;
  if (!container) throw new Error("no container");
  await host.run("ip", ["address", "add", "10.99.0.1/32", "dev", "lo"]); // somebody else's
  const before = await addressesOf(host);

  await using agent = await host.spawn("node", [program, "run", VIP, containerSubnets(1).v4]);
  await agent.waitForLine(/^ready$/, { timeoutMs: 20_000 });
  expect(await addressesOf(host)).toMatch(new RegExp(`inet ${VIP}/32 scope host ${ADDRESS_LABEL}`));

  expect(await ask(host, VIP, NAME)).toBe("10.96.0.7");
  expect(await ask(host, HOST_LOCAL_ADDRESS, NAME)).toBe("10.96.0.7");
  expect(await ask(container, VIP, NAME)).toBe("10.96.0.7");
  expect(await ask(container, VIP, "+tcp", NAME)).toBe("10.96.0.7");

  // No open resolver: another machine that finds the way gets no answer.
  await fleet.out.run("ip", ["route", "add", `${VIP}/32`, "via", host.ip]);
  expect(await ask(fleet.out, VIP, NAME)).toMatch(/timed out|no servers could be reached/);

  await container.run("perl", ["-e", FROM_PORT_0, VIP]);
  expect(await ask(container, VIP, NAME)).toBe("10.96.0.7");

  // The address comes back when somebody takes it away, and the sockets on it still answer.
  await host.run("ip", ["address", "delete", `${VIP}/32`, "dev", "lo"]);
  await waitFor(async () => (await addressesOf(host)).includes(ADDRESS_LABEL), { what: "the address to come back", timeoutMs: 3000 });
  expect(await ask(container, VIP, NAME)).toBe("10.96.0.7");

  // The agent's end leaves the address; cleanup takes it, and nothing else.
  await agent.stop();
  expect(await agent.output()).toMatch(/"source-port-0":1/);
  expect(await agent.output()).toMatch(/"stranger":\d/);
  expect(await addressesOf(host)).toContain(ADDRESS_LABEL);
  expect((await host.run("node", [program, "cleanup"])).stdout).toBe(`removed ${VIP}`);
  expect(await addressesOf(host)).toBe(before);
  expect((await host.run("node", [program, "cleanup"])).stdout).toBe("removed ");
});
