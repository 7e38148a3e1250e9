import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Frontend } from "#agent/compile/table.ts";
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import type { Host } from "#test/fleet/host.ts";
import type { Station } from "#test/fleet/stations.ts";
import { aBackend, aCompiled, aFrontend } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { procNetOf } from "./dataplane-rig.ts";

/** Whom the kernel chooses: the schedulers that it is told, where many clients come to, and for how long one stays. For programs in User-Mode Linux. */

export interface Choices {
  readonly driver: DataplaneDriver;
  readonly host: Host;
  /** Behind whom the endpoints are, at PORTS. */
  readonly endpoints: Host;
  /** Off the host, with a station on it. */
  readonly outside: Host;
  readonly asking: Station;
  readonly signal: AbortSignal;
}

export const PORTS: readonly number[] = [8081, 8082, 8083, 8084];
export const UDP_PORTS: readonly number[] = [5301, 5302];
const CLIENTS = Array.from({ length: 40 }, (_, i) => `172.30.254.${i + 1}`);
const SCHEDULERS = ["rr", "wrr", "lc", "sh", "mh"] as const;

/** The virtual servers of services with the annotation, as ipvsadm prints them. */
export async function schedulersSeen({ driver, host, endpoints, signal }: Choices): Promise<readonly string[]> {
  const backends = PORTS.slice(0, 2).map((port) => aBackend(endpoints.ip, port));
  const service = (scheduler: string, i: number) =>
    aCompiled([aFrontend({ address: `10.96.0.${51 + i}`, backends, scheduler })], scheduler);
  const services = SCHEDULERS.map(service);
  await driver.update(
    services.map((next) => ({ key: next.key, previous: undefined, next })),
    signal,
  );
  const { stdout } = await host.run("ipvsadm", ["-Sn"]);
  await driver.update(
    services.map((previous) => ({ key: previous.key, previous, next: undefined })),
    signal,
  );
  return stdout.split("\n").filter((line) => /^-A -t 10\.96\.0\.5\d:/.test(line)).map((line) => line.trim()); // prettier-ignore
}

export interface Spread {
  /** Each client came to one endpoint only. */
  readonly isSticky: boolean;
  readonly failures: number;
  /** How many clients came to each endpoint, the fewest first. */
  readonly clients: readonly number[];
}

/** Clients with addresses of their own, three connections each, to services with affinity. */
export async function spreadOfClients(choices: Choices): Promise<Readonly<Record<string, Spread>>> {
  const { driver, host, endpoints, outside, signal } = choices;
  await outside.run("ip", ["-batch", "-"], { input: CLIENTS.map((address) => `addr add ${address}/16 dev eth0\n`).join("") });
  const backends = PORTS.map((port) => aBackend(endpoints.ip, port));
  const local = { backends, whenEmpty: "drop" } as const;
  const at = (more: Partial<Frontend>) => aFrontend({ backends, affinitySeconds: 60, ...more });
  const places = {
    "ClusterIP: persistence": at({ address: "10.96.0.40" }),
    "load balancer: persistence": at({ scope: "loadBalancer", address: "198.18.0.40" }),
    "node port: persistence": at({ scope: "nodePort", address: "", port: 30_080 }),
    "external IP: persistence": at({ scope: "external", address: "198.18.0.42" }),
    "node port, policy Local: mh": at({ scope: "nodePort", address: "", port: 30_081, outside: local }),
    "node port, policy Local: sh": at({ scope: "nodePort", address: "", port: 30_082, outside: local, scheduler: "sh" }),
  };
  const next = aCompiled(Object.values(places), "default/sticky");
  await driver.update([{ key: next.key, previous: undefined, next }], signal);
  const found: Record<string, Spread> = {};
  for (const [name, { address, port }] of Object.entries(places))
    found[name] = await spreadAt(choices, { address: address === "" ? host.ip : address, port });
  await driver.update([{ key: next.key, previous: next, next: undefined }], signal);
  return found;
}

async function spreadAt({ asking }: Choices, place: { readonly address: string; readonly port: number }): Promise<Spread> {
  const clients = new Map<string, number>();
  let failures = 0;
  let isSticky = true;
  for (const source of CLIENTS) {
    const { answers, failures: failed } = await asking.ask({ ...place, source, protocol: "tcp", times: 3, timeoutMs: 10_000 });
    failures += Object.values(failed).reduce((sum, count) => sum + count, 0);
    const who = Object.keys(answers);
    isSticky &&= who.length === 1;
    for (const one of who) clients.set(one, (clients.get(one) ?? 0) + 1);
  }
  return { isSticky, failures, clients: [...clients.values()].toSorted((a, b) => a - b) };
}

export interface Stay {
  /** How many endpoints the client came to before the kernel forgot it. */
  readonly endpoints: number;
  readonly isLongEnough: boolean;
  /** Did it come to another one then? */
  readonly movesOn: boolean;
}

const STAY_SECONDS = 3;

/** A client with affinity that asks, and then no more until the kernel has forgotten it: it says itself of whom it knows. */
export async function stayOfClient(choices: Choices): Promise<Readonly<Record<string, Stay>>> {
  const { driver, host, endpoints, signal } = choices;
  const backends = UDP_PORTS.map((port) => aBackend(endpoints.ip, port));
  const at = (more: Partial<Frontend>) => aFrontend({ protocol: "UDP", backends, affinitySeconds: STAY_SECONDS, ...more });
  const places = {
    "load balancer": at({ scope: "loadBalancer", address: "198.18.0.41" }),
    "external IP": at({ scope: "external", address: "198.18.0.43" }),
    "node port": at({ scope: "nodePort", address: "", port: 30_053 }),
  };
  const next = aCompiled(Object.values(places), "default/staying");
  await driver.update([{ key: next.key, previous: undefined, next }], signal);
  // While a connection is known, its client is: one of UDP for five minutes otherwise, one of TCP for two.
  await host.run("ipvsadm", ["--set", "0", "0", "1"]);
  const found = await Promise.all(
    Object.entries(places).map(
      async ([name, { address, port }]) => [name, await stayAt(choices, { address: address === "" ? host.ip : address, port })] as const,
    ),
  );
  await host.run("ipvsadm", ["--set", "0", "0", "300"]);
  await driver.update([{ key: next.key, previous: next, next: undefined }], signal);
  return Object.fromEntries(found);
}

async function stayAt({ asking, host }: Choices, place: { readonly address: string; readonly port: number }): Promise<Stay> {
  const whoAnswers = async (): Promise<readonly string[]> => {
    const { answers, failures } = await asking.ask({ ...place, protocol: "udp", freshPorts: true, times: 4, timeoutMs: 10_000 });
    return [...Object.keys(answers), ...Object.keys(failures)];
  };
  const startedAt = performance.now();
  const before = await whoAnswers();
  const isForgotten = async (): Promise<boolean> => !(await readFile(join(procNetOf(host), "ip_vs_conn"), "utf8")).includes(wordOf(place));
  await waitFor(isForgotten, { what: "a client with affinity to be forgotten", timeoutMs: 30_000 });
  const isLongEnough = performance.now() - startedAt >= STAY_SECONDS * 1000;
  const after = await whoAnswers();
  return { endpoints: before.length, isLongEnough, movesOn: after.length === 1 && after[0] !== before[0] };
}

/** As the kernel lists whom its connections and its clients came to. */
function wordOf({ address, port }: { readonly address: string; readonly port: number }): string {
  const hex = (number: number, digits: number): string => number.toString(16).toUpperCase().padStart(digits, "0");
  const ip = address.split(".").map((part) => hex(Number(part), 2)).join(""); // prettier-ignore
  return ` ${ip} ${hex(port, 4)} `;
}
