import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { DnsChange } from "#agent/compile/dns-records.ts";
import { readImage, writeImage, type ImagePlace } from "./image.ts";
import type { ResponderFacts } from "./responder.ts";
import { ZoneIndex } from "./zone.ts";

const facts: ResponderFacts = {
  domain: "cluster.local",
  serviceCidrs: ["10.96.0.0/16"],
  dnsIps: ["10.96.0.10"],
  listen: [],
  allowedSources: [],
};
const changes: readonly DnsChange[] = [
  { source: "namespace default", records: [], names: ["default.svc.cluster.local", "default.pod.cluster.local"] },
  {
    source: "service default/web",
    records: [
      { name: "web.default.svc.cluster.local", type: "A", address: "10.96.0.7", weight: 3 },
      { name: "web.default.svc.cluster.local", type: "SRV", weight: 100, port: 80, target: "web.default.svc.cluster.local" },
      { name: "7.0.96.10.in-addr.arpa", type: "PTR", of: "virtual-ip", target: "web.default.svc.cluster.local" },
    ],
    names: [],
  },
  ...Array.from({ length: 400 }, (_, i): DnsChange => ({
    source: `service default/s${i}`,
    records: [{ name: `s${i}.default.svc.cluster.local`, type: "A", address: `10.96.1.${i & 255}` }],
    names: [],
  })),
];

async function aPlace(): Promise<ImagePlace> {
  const folder = await mkdtemp(join(tmpdir(), "fl-dns-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return { file: join(folder, "state", "dns-zone"), node: "h1" };
}

/** What is read of it, and what was said to be wrong. */
async function read(
  place: ImagePlace,
  of: ResponderFacts = facts,
): Promise<{ readonly found: readonly DnsChange[]; readonly told: string }> {
  const told: string[] = [];
  const say = (_: object, message: string): void => void told.push(message);
  const found: DnsChange[] = [];
  await readImage({ place, facts: of, log: { info: say, warn: say } }, (some) => {
    found.push(...some);
    return true;
  });
  return { found, told: told.join() };
}

function zoneOf(from: readonly DnsChange[]): ZoneIndex {
  const zone = new ZoneIndex(facts, 1);
  zone.say(from, 1);
  return zone;
}

test("a zone that was written and read is the same zone", async () => {
  const place = await aPlace();
  const zone = zoneOf(changes);
  await writeImage(place, facts, zone.everything());
  const { found, told } = await read(place);
  expect(found).toEqual(changes);
  expect(told).toBe("answering what was saved of the names");
  expect(zoneOf(found).size).toBe(zone.size);
  expect((await stat(place.file)).mode & 0o777).toBe(0o600);
});

test("an image that is not there, empty, of another host, of another domain, or of a later format says nothing", async () => {
  const place = await aPlace();
  expect(await read(place)).toEqual({ found: [], told: "" });
  await writeImage(place, facts, changes);
  const others = "the saved names are of others, or damaged: not used";
  expect(await read({ ...place, node: "h2" })).toEqual({ found: [], told: others });
  for (const other of [{ domain: "corp.example" }, { moreDomains: ["corp.example"] }, { serviceCidrs: ["10.97.0.0/16"] }, { dnsIps: [] }])
    expect(await read(place, { ...facts, ...other })).toEqual({ found: [], told: others });
  await writeFile(place.file, (await readFile(place.file, "utf8")).replace('"format":1', '"format":2'));
  expect(await read(place)).toEqual({ found: [], told: others });
  await writeFile(place.file, "");
  expect(await read(place)).toEqual({ found: [], told: "" });
});

test("what stands before a damage is read, and a next write is whole again", async () => {
  const place = await aPlace();
  await writeImage(place, facts, changes);
  const whole = await readFile(place.file, "utf8");
  await writeFile(place.file, whole.replace("10.96.1.255", "10.96.1.254"));
  const damaged = await read(place);
  expect(damaged.found).toEqual(changes.slice(0, damaged.found.length));
  expect(damaged.found.length).toBeGreaterThan(100);
  expect(damaged.found.length).toBeLessThan(changes.length);
  expect(damaged.told).toBe("the saved names cannot be read whole");
  await writeFile(place.file, whole.slice(0, -1));
  expect((await read(place)).found.length).toBeLessThan(changes.length);
  await writeFile(`${place.file}.new`, "left behind");
  await writeImage(place, facts, changes);
  expect((await read(place)).found).toEqual(changes);
});
