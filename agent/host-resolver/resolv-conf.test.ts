import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { renderBootUnit, type BootFiles } from "./boot-hook.ts";
import { giveBackFile, giveBackWithoutRecord, namesUsByMark, saveOriginal, serversKept, stateOfFile, takeFile, writeKept } from "./file.ts";
import { addressAsked, openRecords, parseRecord, type ResolverRecord } from "./record.ts";
import { checksum, fileState, isElsewhere, namesOthers, nextStep, renderResolvConf, withoutUs } from "./resolv-conf.ts";

const original =
  "# from the lease\ndomain lab.example\nsearch lab.example corp.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions edns0 rotate";

test("we stand alone, and what else the file said stays", () => {
  const lines = renderResolvConf(original, "10.96.0.10")
    .split("\n")
    .filter((line) => !line.startsWith("#"));
  expect(lines).toEqual(["nameserver 10.96.0.10", "domain lab.example", "search lab.example corp.example", "options edns0 rotate", ""]);
});

test("rendering our own text again changes nothing", () => {
  const ours = renderResolvConf(original, "10.96.0.10");
  expect(renderResolvConf(ours, "10.96.0.10")).toBe(ours);
});

test("of a file that was edited since, only our line goes", () => {
  const edited = `${renderResolvConf(original, "10.96.0.10")}options timeout:1\n`;
  const text = withoutUs(edited, "10.96.0.10", original);
  expect(text).not.toContain("10.96.0.10");
  expect(text.match(/^nameserver.*/gm)).toEqual(["nameserver 192.0.2.1", "nameserver 192.0.2.2"]);
  expect(text).toContain("options timeout:1\n");
});

const held = { ours: checksum(renderResolvConf(original, "10.96.0.10")), original: checksum(original), server: "10.96.0.10" };
test.for([
  ["ours", renderResolvConf(original, "10.96.0.10")],
  ["original", original],
  ["others'", `${original}\n`],
  ["names us", "nameserver 192.0.2.1\nnameserver 10.96.0.10\n"],
] as const)("whose the file is: %s", ([state, text]) => {
  expect(fileState(text, held)).toBe(state);
});

test.for([
  ["ours", [], "nothing"],
  ["original", [], "write"],
  ["others'", [], "adopt"],
  ["others'", [0, 1000], "adopt"],
  ["others'", [0, 1000, 2000], "report"],
  ["others'", [-4_000_000, -3_700_000, 2000], "adopt"],
  ["names us", [], "report"],
] as const)("a file that is %s, taken from others at %j: %s", ([state, taken, step]) => {
  expect(nextStep(state, taken, 10_000)).toBe(step);
});

async function fileOf(text: string | Buffer) {
  const root = await mkdtemp(join(tmpdir(), "fairlead-resolv-"));
  onTestFinished(() => rm(root, { recursive: true }));
  const path = join(root, "resolv.conf");
  await writeFile(path, text);
  const records = openRecords({ root });
  const file = await saveOriginal({ records, path }, "10.96.0.10");
  const record: ResolverRecord = { kind: "file", server: "10.96.0.10", domain: "cluster.local", moreZones: [], file };
  return { path, records, record };
}

test.for([
  ["no line end at the end", original],
  ["Windows line ends, and tabs", "nameserver\t192.0.2.1\r\nsearch x\r\n"],
  ["nothing at all", ""],
] as const)("what stood there comes back byte for byte: %s", async ([, text]) => {
  const { path, record } = await fileOf(text);
  await takeFile({ path }, record);
  expect(await readFile(path, "utf8")).toContain("nameserver 10.96.0.10\n");
  expect(await giveBackFile({ path }, record)).toBe("changed");
  expect(await readFile(path, "utf8")).toBe(text);
  expect(await giveBackFile({ path }, record)).toBe("unchanged");
});

test("a saved original that is not what was saved is not put back", async () => {
  const { path, record } = await fileOf(original);
  await takeFile({ path }, record);
  await writeFile(record.file?.backup ?? "", "nameserver 203.0.113.66\n");
  await writeFile(record.file?.copy ?? "", "nameserver 203.0.113.66\n");
  await expect(giveBackFile({ path }, record)).rejects.toMatchObject({ code: "Conflict" });
  expect(await readFile(path, "utf8")).toContain("10.96.0.10");
});

test("the copy of who made the host ask us by hand is the original", async () => {
  const { path, records } = await fileOf("nameserver 10.96.0.10\n");
  await writeFile(join(path, "../resolv.conf.before-fairlead"), original);
  const file = await saveOriginal({ records, path }, "10.96.0.10");
  expect(file.original).toBe(checksum(original));
});

test("a record survives being written, and a damaged one is none", async () => {
  const { records, record } = await fileOf(original);
  await records.write(record);
  expect(await records.read()).toEqual(record);
  await records.remove();
  expect(await records.read()).toBeUndefined();
  for (const text of ["", "{", "{}", '{"kind":"other","server":"x","domain":"y"}']) expect(parseRecord(text)).toBeUndefined();
});

test.for(["missing", "not what was saved"] as const)("the copy with the record is put back when the one in /etc is %s", async (how) => {
  const { path, record } = await fileOf(original);
  await takeFile({ path }, record);
  if (how === "missing") await rm(record.file?.backup ?? "");
  else await writeFile(record.file?.backup ?? "", "nameserver 203.0.113.66\n");
  expect(await giveBackFile({ path }, record)).toBe("changed");
  expect(await readFile(path, "utf8")).toBe(original);
});

const bootFiles = { oursFile: "/ours", backup: "/etc/resolv.conf.before-fairlead", copy: "/copy" };

test("the unit of the boot waits for no resolver and no network, and needs nothing of ours but files", () => {
  const unit = renderBootUnit(bootFiles);
  expect(unit).toContain("\nDefaultDependencies=no\n");
  expect(unit).not.toMatch(/systemd-resolved|network-online|node|agent$/m);
});

/** What the unit does, to another file than the host's. */
async function boot(path: string, files: BootFiles): Promise<void> {
  const script = /^ExecStart=\/bin\/sh -c '(.*)'$/m.exec(renderBootUnit(files))?.[1] ?? "";
  await promisify(execFile)("/bin/sh", ["-c", script.replaceAll("/etc/resolv.conf", path).replaceAll("/run/", `${dirname(path)}/`)]);
}

test.for([
  ["both copies", ["backup", "copy"], "", original],
  ["the one with the record alone", ["copy"], "", original],
  ["none", [], "", undefined],
  ["a line that somebody has added to ours", ["backup", "copy"], "options rotate\n", `options rotate\n${original}`],
] as const)("a boot with %s", async ([, there, added, want]) => {
  const { path } = await fileOf(original);
  const files = { oursFile: `${path}.ours`, backup: `${path}.backup`, copy: `${path}.copy` };
  const ours = renderResolvConf(original, "10.96.0.10");
  await writeFile(path, `${ours}${added}`);
  await writeFile(files.oursFile, ours);
  for (const name of there) await writeFile(files[name], original);
  await boot(path, files);
  expect(await readFile(path, "utf8")).toBe(want ?? ours);
});

test("a boot with a file that somebody else has written leaves it", async () => {
  const { path } = await fileOf(original);
  const files = { oursFile: `${path}.ours`, backup: `${path}.backup`, copy: `${path}.copy` };
  const theirs = "# Generated by NetworkManager\nnameserver 192.0.2.7\n";
  await writeFile(path, theirs);
  for (const file of [files.backup, files.copy]) await writeFile(file, original);
  await boot(path, files);
  expect(await readFile(path, "utf8")).toBe(theirs);
});

test.for([
  ["", false],
  ["# Generated by NetworkManager\n", false],
  ["nameserver 10.96.0.10\nnameserver 127.0.0.153\n", false],
  ["nameserver 192.0.2.1\n", true],
] as const)("whether %j names somebody else than us: %s", ([text, is]) => {
  expect(namesOthers(text, "10.96.0.10")).toBe(is);
});

test("a file that cannot be replaced for a reason that writing in place would not mend stays whole", async () => {
  const { path } = await fileOf(original);
  await mkdir(`${path}.fairlead-new`);
  await expect(writeKept(path, "nameserver 10.96.0.10\n")).rejects.toMatchObject({ code: "Conflict" });
  expect(await readFile(path, "utf8")).toBe(original);
});

test.for(["missing", "a link that leads nowhere"] as const)("a file that is %s is others', and nothing is given back", async (how) => {
  const { path, record } = await fileOf(original);
  await rm(path);
  if (how !== "missing") await symlink("gone.conf", path);
  expect(await stateOfFile({ path }, record)).toBe("others'");
  expect(await giveBackFile({ path }, record)).toBe("unchanged");
});

test("without a record, our text is known by its first line, and what was saved comes back", async () => {
  const { path, records, record } = await fileOf(original);
  await takeFile({ path }, record);
  expect(await namesUsByMark(path)).toBe(true);
  expect(await giveBackWithoutRecord({ path, records })).toBe("changed");
  expect(await readFile(path, "utf8")).toBe(original);
  expect(await giveBackWithoutRecord({ path, records })).toBe("unchanged");
});

test("without a record and what was saved, our text is left and it is said what to do", async () => {
  const { path, records, record } = await fileOf(original);
  await takeFile({ path }, record);
  await rm(record.file?.backup ?? "");
  await rm(record.file?.copy ?? "");
  await expect(giveBackWithoutRecord({ path, records })).rejects.toMatchObject({ code: "Conflict" });
  expect(await readFile(path, "utf8")).toContain("10.96.0.10");
});

test("a file that became a link to somebody else's is theirs, unless our own text stands there", async () => {
  const { path, record } = await fileOf(original);
  const theirs = join(path, "../stub-resolv.conf");
  await rm(path);
  await symlink(theirs, path);
  for (const text of [original, "nameserver 127.0.0.53\n"]) {
    await writeFile(theirs, text);
    expect(await stateOfFile({ path }, record)).toBe("elsewhere");
    expect(await giveBackFile({ path }, record)).toBe("unchanged");
  }
  await writeFile(theirs, renderResolvConf(original, "10.96.0.10")); // moved with our text in it
  expect(await stateOfFile({ path }, record)).toBe("ours");
});

test("a file in /run belongs to whoever keeps it, also where the record does not say which file it was", () => {
  expect(isElsewhere("/run/systemd/resolve/stub-resolv.conf", undefined)).toBe(true);
  expect(isElsewhere("/run/keeper.conf", "/run/keeper.conf")).toBe(true);
  expect(isElsewhere("/etc/resolv.conf", undefined)).toBe(false);
  expect(isElsewhere("/etc/resolv.conf", "/etc/resolv.conf")).toBe(false);
  expect(nextStep("elsewhere", [], 0)).toBe("report");
});

test.for([
  ["resolvconf", "127.0.0.153"],
  ["file", "10.96.0.10"],
  ["resolved", "10.96.0.10"],
] as const)("whether somebody answers is asked where the host would ask: %s at %s", ([kind, address]) => {
  expect(addressAsked({ kind, server: "10.96.0.10" })).toBe(address);
});

test("whom the kept original names is known while the file is ours, and follows the record", async () => {
  const { path, records, record } = await fileOf(original);
  expect(await serversKept(records)).toEqual([]); // nothing is agreed yet
  await records.write(record);
  expect(await serversKept(records)).toEqual(["192.0.2.1", "192.0.2.2"]);
  const next = await saveOriginal({ records, path }, "10.96.0.10", "nameserver 192.0.2.9\n");
  await records.write({ ...record, file: next });
  expect(await serversKept(records)).toEqual(["192.0.2.9"]);
  await records.write({ ...record, kind: "resolved" });
  expect(await serversKept(records)).toEqual([]);
});
