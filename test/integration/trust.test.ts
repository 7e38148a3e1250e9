import { X509Certificate } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, request } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { parseJoinToken } from "#proto/join-token.ts";
import { openStore } from "#server/store/sqlite.ts";
import type { Store } from "#server/store/store.ts";
import { publish } from "#server/trust/publish.ts";
import { openTrust, type Trust } from "#server/trust/trust.ts";

const log = pino({ level: "silent" });
const HOUR_MS = 3600_000;

interface Place {
  readonly dataDir: string;
  readonly store: Store;
  readonly clock: { ms: number };
}

async function aPlace(): Promise<Place> {
  const dataDir = await mkdtemp(join(tmpdir(), "fairlead-trust-"));
  const store = openStore({ path: join(dataDir, "store.db") });
  onTestFinished(async () => {
    await store.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  return { dataDir, store, clock: { ms: Date.now() } };
}

async function openAt({ dataDir, store, clock }: Place, advertise: readonly string[] = []): Promise<Trust> {
  const trust = await openTrust({ store, dataDir, advertise, log, now: () => clock.ms });
  onTestFinished(() => trust.close());
  return trust;
}

const tokenOf = (kubeconfig: string): string => /token: (\S+)/.exec(kubeconfig)?.[1] ?? "";
const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;

test("a client that knows only the CA reaches the server by address and by every advertised name", async () => {
  const trust = await openAt(await aPlace(), ["fleet.example", "192.0.2.7"]);
  const server = createServer(trust.tls, (_request, reply) => reply.end("hello"));
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;

  for (const servername of ["localhost", "fleet.example"]) {
    const text = await new Promise<string>((resolve, reject) => {
      request({ host: "127.0.0.1", port, ca: trust.caPem, servername, agent: false }, (reply) => {
        reply.setEncoding("utf8").on("data", resolve);
      })
        .on("error", reject)
        .end();
    });
    expect(text).toBe("hello");
  }
  const [leaf = ""] = trust.tls.cert.split(/(?<=-----END CERTIFICATE-----\n)/);
  expect(new X509Certificate(leaf).checkIP("192.0.2.7")).toBe("192.0.2.7");
  expect(new X509Certificate(trust.caPem).fingerprint256.replaceAll(":", "").toLowerCase()).toBe(trust.caFingerprint);
});

test("authority and certificate outlive a restart, and their keys are private", async () => {
  const place = await aPlace();
  const first = await openAt(place);
  const second = await openAt(place);
  expect(second.caFingerprint).toBe(first.caFingerprint);
  expect(second.tls).toEqual(first.tls);
  for (const name of ["ca.key", "tls.key"]) expect(await modeOf(join(place.dataDir, name))).toBe(0o600);
});

test("the certificate is made anew for a new name, when it ends soon, and when its file is damaged; the CA stays", async () => {
  const place = await aPlace();
  const first = await openAt(place);
  expect(await first.refreshTls()).toBeUndefined();

  const renamed = await openAt(place, ["other.example"]);
  expect(renamed.tls.cert).not.toBe(first.tls.cert);

  place.clock.ms += 340 * 24 * HOUR_MS;
  const renewed = await renamed.refreshTls();
  expect(renewed?.cert).not.toBe(first.tls.cert);
  expect(renamed.tls).toBe(renewed);

  await writeFile(join(place.dataDir, "tls.crt"), "nonsense");
  const repaired = await openAt(place, ["other.example"]);
  expect(repaired.tls.cert).toContain("BEGIN CERTIFICATE");
  expect(repaired.caFingerprint).toBe(first.caFingerprint);
});

test("half a certificate authority is refused with the missing file named", async () => {
  const place = await aPlace();
  await openAt(place);
  await rm(join(place.dataDir, "ca.key"));
  await expect(openAt(place)).rejects.toThrow(/ca\.key is missing/);
});

test("a join token is good until it expires, and its holder is told that it did", async () => {
  const place = await aPlace();
  const trust = await openAt(place);
  const { token, id, expiresAt } = await trust.joinTokens.create({ ttlSeconds: 60, uses: 1, description: "vm-7" });
  expect(parseJoinToken(token).caFingerprint).toBe(trust.caFingerprint);
  expect(trust.authenticate(token)).toEqual({ kind: "joiner", tokenId: id });

  place.clock.ms += 60_000;
  expect(() => trust.authenticate(token)).toThrow(`this join token expired at ${expiresAt}`);
  await expect(trust.joinTokens.consume(id)).rejects.toThrow("expired");
  expect(trust.joinTokens.list()).toEqual([]);

  place.clock.ms += 24 * HOUR_MS;
  await trust.joinTokens.create({ ttlSeconds: 60, uses: 1, description: "" });
  expect(await place.store.records.get("join-tokens", id)).toBeUndefined();
  expect(trust.authenticate(token)).toBeUndefined();
});

test("of two simultaneous joins with a one-use token one gets in", async () => {
  const trust = await openAt(await aPlace());
  const { token, id } = await trust.joinTokens.create({ ttlSeconds: 60, uses: 1, description: "" });
  const outcomes = await Promise.allSettled([trust.joinTokens.consume(id), trust.joinTokens.consume(id)]);
  expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  expect(() => trust.authenticate(token)).toThrow("has been used as often as it may be");
  expect(trust.joinTokens.list()).toEqual([]);

  await trust.joinTokens.giveBack(id);
  expect(trust.authenticate(token)).toBeDefined();
  expect(trust.joinTokens.list()).toMatchObject([{ id, usesLeft: 1 }]);
});

test("a revoked join token, a wrong one and one of another server are nobody's", async () => {
  const trust = await openAt(await aPlace());
  const other = await openAt(await aPlace());
  const { token, id } = await trust.joinTokens.create({ ttlSeconds: 60, uses: 5, description: "" });
  const [kind, name, secret = "", fingerprint] = token.split(".");
  expect(trust.authenticate([kind, name, `${secret.slice(1)}A`, fingerprint].join("."))).toBeUndefined();
  expect(trust.authenticate([kind, name, secret, other.caFingerprint].join("."))).toBeUndefined();
  expect(other.authenticate(token)).toBeUndefined();
  expect(await trust.joinTokens.delete(id)).toBe(true);
  expect(trust.authenticate(token)).toBeUndefined();
  await expect(trust.joinTokens.consume(id)).rejects.toThrow("was revoked");
  expect(await trust.joinTokens.delete(id)).toBe(false);
});

test("a node's new credential ends the old one, also for what is under way, and a restart keeps it", async () => {
  const place = await aPlace();
  const trust = await openAt(place);
  await place.store.transact([{ op: "put", object: aNode("vm-1.lan") }]);
  const old = await trust.nodes.issue("vm-1.lan", "machine-1");
  const identity = { kind: "node", name: "vm-1.lan" } as const;
  expect(trust.authenticate(old)).toEqual(identity);
  const revoked = trust.revocationOf(identity);
  expect(trust.nodes.isHeldByAnother("vm-1.lan", "machine-2")).toBe(true);
  expect(trust.nodes.isHeldByAnother("vm-1.lan", "machine-1")).toBe(false);

  const next = await trust.nodes.issue("vm-1.lan", "machine-1");
  expect(revoked?.aborted).toBe(true);
  expect(trust.authenticate(old)).toBeUndefined();
  expect((await openAt(place)).authenticate(next)).toEqual(identity);
});

test("deleting a Node revokes its credential at once, and for good", async () => {
  const place = await aPlace();
  const trust = await openAt(place);
  await place.store.transact([{ op: "put", object: aNode("vm-1") }]);
  const bearer = await trust.nodes.issue("vm-1", "machine-1");
  const revoked = trust.revocationOf({ kind: "node", name: "vm-1" });
  await place.store.transact([{ op: "delete", key: { kind: "Node", namespace: "", name: "vm-1" } }]);
  expect(trust.authenticate(bearer)).toBeUndefined();
  expect(revoked?.aborted).toBe(true);
  expect((await openAt(place)).authenticate(bearer)).toBeUndefined();
  expect(trust.nodes.isHeldByAnother("vm-1", "machine-2")).toBe(false);
});

test("no secret stands in the store or in what is logged", async () => {
  const place = await aPlace();
  const lines: string[] = [];
  const trust = await openTrust({
    store: place.store,
    dataDir: place.dataDir,
    log: pino({ level: "trace" }, { write: (line) => void lines.push(line) }),
  });
  onTestFinished(() => trust.close());
  const { token } = await trust.joinTokens.create({ ttlSeconds: 60, uses: 1, description: "" });
  const node = await trust.nodes.issue("vm-1", "machine-id-of-vm-1");
  const admin = await trust.admin.replace();
  const kept = JSON.stringify(
    await Promise.all(["join-tokens", "node-credentials", "admin"].map((bucket) => place.store.records.list(bucket))),
  );
  for (const text of [parseJoinToken(token).secret, node.split(".").at(-1) ?? "", admin.slice(4), "machine-id-of-vm-1"])
    expect(`${kept}${lines.join("")}`).not.toContain(text);
});

test("the first start leaves a kubeconfig and a join token, both private; later starts keep them", async () => {
  const place = await aPlace();
  const trust = await openAt(place);
  const options = {
    trust,
    records: place.store.records,
    dataDir: place.dataDir,
    kubeconfigPath: join(place.dataDir, "etc/admin.yaml"),
    serverUrl: "https://192.0.2.7:7443",
    log,
  };
  const { kubeconfigPath, joinTokenPath, joinToken } = await publish(options);
  const text = await readFile(kubeconfigPath, "utf8");
  const config = parse(text) as {
    clusters: [{ cluster: { server: string; "certificate-authority-data": string } }];
    users: [{ user: { token: string } }];
  };
  expect(config.clusters[0].cluster.server).toBe("https://192.0.2.7:7443");
  expect(Buffer.from(config.clusters[0].cluster["certificate-authority-data"], "base64").toString()).toBe(trust.caPem);
  expect(trust.authenticate(config.users[0].user.token)).toEqual({ kind: "admin", name: "admin" });
  expect(await modeOf(kubeconfigPath)).toBe(0o600);
  expect(joinTokenPath).toBe(join(place.dataDir, "join-token"));
  expect(await modeOf(joinTokenPath ?? "")).toBe(0o600);
  expect(trust.authenticate((await readFile(joinTokenPath ?? "", "utf8")).trim())?.kind).toBe("joiner");

  expect(await publish(options)).toMatchObject({ joinTokenPath, joinToken });
  expect(joinToken).toMatchObject({ usesLeft: 100 });
  expect(await readFile(kubeconfigPath, "utf8")).toBe(text);

  place.clock.ms += 24 * HOUR_MS;
  expect((await publish(options)).joinTokenPath).toBeUndefined();
});

test("a missing kubeconfig is written with a new credential, and another server's is set aside", async () => {
  const place = await aPlace();
  const trust = await openAt(place);
  const kubeconfigPath = join(place.dataDir, "admin.yaml");
  const options = { trust, records: place.store.records, dataDir: place.dataDir, kubeconfigPath, serverUrl: "https://a:1", log };
  const tokenIn = async (path: string): Promise<string> => tokenOf(await readFile(path, "utf8"));
  await publish(options);
  const first = await tokenIn(kubeconfigPath);
  await rm(kubeconfigPath);
  await publish(options);
  const second = await tokenIn(kubeconfigPath);
  expect(second).not.toBe(first);
  expect(trust.authenticate(first)).toBeUndefined();

  await writeFile(kubeconfigPath, "users: [{ user: { token: somebody-elses } }]\n");
  await publish(options);
  expect(await readFile(`${kubeconfigPath}.old`, "utf8")).toContain("somebody-elses");
  expect(trust.authenticate(await tokenIn(kubeconfigPath))?.kind).toBe("admin");

  await publish({ ...options, serverUrl: "https://b:2" });
  expect(await readFile(kubeconfigPath, "utf8")).toContain("https://b:2");
});

test("a kubeconfig that cannot be written is refused with the file and the way out", async () => {
  const place = await aPlace();
  const trust = await openAt(place);
  await writeFile(join(place.dataDir, "a-file"), "");
  const kubeconfigPath = join(place.dataDir, "a-file/admin.yaml");
  const options = { trust, records: place.store.records, dataDir: place.dataDir, kubeconfigPath, serverUrl: "https://a:1", log };
  await expect(publish(options)).rejects.toMatchObject({
    message: `cannot write the administrator's kubeconfig ${kubeconfigPath}`,
    hint: expect.stringContaining("--kubeconfig-out") as string,
  });
});

function aNode(name: string) {
  return {
    apiVersion: "v1" as const,
    kind: "Node" as const,
    metadata: { name },
    spec: {},
    status: { addresses: [], conditions: [] },
  };
}

test("a kubeconfig that cannot be written leaves the administrator's credential as it was", async () => {
  const place = await aPlace();
  const trust = await openAt(place);
  const {
    store: { records },
    dataDir,
  } = place;
  const warnings: string[] = [];
  const telling = pino({ level: "warn" }, { write: (line: string) => void warnings.push(line) });
  const options = { trust, records, dataDir, serverUrl: "https://192.0.2.7:7443", log: telling };
  const { kubeconfigPath } = await publish({ ...options, kubeconfigPath: join(dataDir, "admin.yaml") });
  const token = tokenOf(await readFile(kubeconfigPath, "utf8"));
  expect(warnings).toEqual([]);

  // Can be looked for, but no draft beside it can be made: the draft's name would be too long.
  await expect(publish({ ...options, kubeconfigPath: join(dataDir, "x".repeat(250)) })).rejects.toThrow(
    "cannot write the administrator's kubeconfig",
  );
  expect(trust.admin.authenticate(token)).toMatchObject({ kind: "admin" });
  expect((await openAt(place)).admin.authenticate(token)).toMatchObject({ kind: "admin" });

  const elsewhere = await publish({ ...options, kubeconfigPath: join(dataDir, "other.yaml") });
  expect(trust.admin.authenticate(token)).toBeUndefined();
  expect(trust.admin.authenticate(tokenOf(await readFile(elsewhere.kubeconfigPath, "utf8")))).toMatchObject({ kind: "admin" });
  expect(warnings.join()).toContain("former credential has ended");
});

test("a kubeconfig that is set aside takes no earlier one's place", async () => {
  const place = await aPlace();
  const trust = await openAt(place);
  const {
    store: { records },
    dataDir,
  } = place;
  const kubeconfigPath = join(dataDir, "admin.yaml");
  for (const other of ["one server's", "another server's"]) {
    await writeFile(kubeconfigPath, other);
    await publish({ trust, records, dataDir, kubeconfigPath, serverUrl: "https://192.0.2.7:7443", log });
  }
  expect(await readFile(`${kubeconfigPath}.old`, "utf8")).toBe("one server's");
  expect(await readFile(`${kubeconfigPath}.old.2`, "utf8")).toBe("another server's");
  expect(await modeOf(`${kubeconfigPath}.old.2`)).toBe(0o600);
});
