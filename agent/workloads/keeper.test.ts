import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { Client } from "#proto/client.ts";
import { AppError } from "#proto/error.ts";
import type { InputOf } from "#proto/kinds.ts";
import { parseObject } from "#proto/parse.ts";
import { type Workload } from "#proto/workload.ts";
import { waitFor } from "#test/wait-for.ts";
import { createWorkloadFiles } from "./files.ts";
import { createWorkloadKeeper } from "./keeper.ts";

const yaml = (name: string, spec = "{}") => `apiVersion: fairlead.dev/v1\nkind: Workload\nmetadata: { name: ${name} }\nspec: ${spec}\n`;

/** A server's Workloads in memory, which the agent hears of at once; the real one is in test/integration. */
async function start({ files = {}, refuse = [] as string[] } = {}) {
  const base = await mkdtemp(join(tmpdir(), "fl-workloads-"));
  const folder = join(base, "workloads.d");
  await mkdir(folder);
  const write = (name: string, text: string) => writeFile(join(folder, name), text, { mode: 0o644 });
  for (const [name, text] of Object.entries(files)) await write(name, String(text));
  const held = new Map<string, Workload>();
  const calls: string[] = [];
  const put = (verb: string, input: unknown): Workload => {
    const workload = parseObject("Workload", input);
    const { name } = workload.metadata;
    calls.push(`${verb} ${name}`);
    if (refuse.includes(name)) throw new AppError("Forbidden", "not yours");
    if (verb === "create" && held.has(`default/${name}`)) throw new AppError("AlreadyExists", "there is one");
    held.set(`default/${name}`, workload);
    return workload;
  };
  const client = {
    create: async (_: string, object: InputOf<"Workload">) => put("create", object),
    replace: async (_: string, object: InputOf<"Workload">) => put("replace", object),
    get: async (_: string, name: string) => held.get(`default/${name}`),
    delete: async (_: string, name: string) => {
      calls.push(`delete ${name}`);
      held.delete(`default/${name}`);
    },
  } as unknown as Client; // the four verbs that it uses
  let synced = true;
  const log = { info: () => undefined, warn: () => undefined };
  const read = createWorkloadFiles({ folder, nodeName: "vm-1", onChange: () => keeper.touched(), log });
  const keeper = createWorkloadKeeper({ sources: [read], client, own: held, synced: () => synced, log });
  const workloads = {
    localChecks: read.localChecks,
    touched: keeper.touched,
    run: (signal: AbortSignal) => Promise.all([read.run(signal), keeper.run(signal)]),
    problems: () => [...read.problems(), ...keeper.problems()],
  };
  const ending = new AbortController();
  const run = (): void => {
    const ended = workloads.run(ending.signal);
    onTestFinished(async () => {
      ending.abort();
      await ended;
      await rm(base, { recursive: true });
    });
  };
  return { folder, write, held, calls, workloads, run, setSynced: (value: boolean) => (synced = value) };
}

test("files are registered at start, when they come, when they change, and removed when they go", async () => {
  const { folder, write, held, run } = await start({ files: { "a.yaml": yaml("a") } });
  run();
  await waitFor(() => held.has("default/a"), { what: "a" });
  await write("b.yaml", yaml("b"));
  await waitFor(() => held.has("default/b"), { what: "b" });
  await write("a.yaml", yaml("a", "{ weight: 7 }"));
  await waitFor(() => held.get("default/a")?.spec.weight === 7, { what: "the change" });
  await rm(join(folder, "a.yaml"));
  await waitFor(() => !held.has("default/a"), { what: "a to go" });
  expect(held.has("default/b")).toBe(true);
});

test("a file with a fault stops no other, is a problem, and its workloads stay as they were", async () => {
  const { write, held, workloads, run } = await start({ files: { "a.yaml": yaml("a"), "bad.yaml": "a: [", "z.yaml": yaml("z") } });
  run();
  await waitFor(() => held.size === 2, { what: "the good ones" });
  expect(workloads.problems()).toEqual([expect.stringContaining("bad.yaml")]);
  await write("a.yaml", "kind: [");
  await waitFor(() => workloads.problems().length === 2, { what: "the second problem" });
  expect(held.has("default/a")).toBe(true);
});

test("a workload that the server refuses stops no other", async () => {
  const { held, workloads, run } = await start({ files: { "a.yaml": yaml("a"), "b.yaml": yaml("b") }, refuse: ["a"] });
  run();
  await waitFor(() => held.has("default/b"), { what: "b" });
  expect(workloads.problems()).toEqual(["workload default/a: not yours"]);
});

test("what others registered is neither changed nor removed", async () => {
  const { held, calls, workloads, run } = await start({ files: { "a.yaml": yaml("a") } });
  const foreign = (name: string) =>
    parseObject("Workload", {
      apiVersion: "fairlead.dev/v1",
      kind: "Workload",
      metadata: { name, namespace: "default" },
      spec: { node: "vm-1" },
    });
  held.set("default/a", foreign("a"));
  held.set("default/by-hand", foreign("by-hand"));
  run();
  await waitFor(() => workloads.problems().length === 1, { what: "the problem" });
  expect(workloads.problems()[0]).toContain("registered already");
  expect(calls).toEqual([]);
});

test("nothing is registered or removed before the server has been heard", async () => {
  const { calls, held, workloads, run, setSynced } = await start({ files: { "a.yaml": yaml("a") } });
  setSynced(false);
  run();
  await waitFor(() => workloads.localChecks("default/a"), { what: "the file to be read" });
  workloads.touched();
  expect(calls).toEqual([]);
  setSynced(true);
  workloads.touched();
  await waitFor(() => held.has("default/a"), { what: "a" });
});

test("a file that others may write is refused: its commands would run as root", async () => {
  const { folder, workloads, run } = await start({ files: { "a.yaml": yaml("a", '{ checks: [{ exec: { command: ["true"] } }] }') } });
  await chmod(join(folder, "a.yaml"), 0o666);
  run();
  await waitFor(() => workloads.problems().length === 1, { what: "the problem" });
  expect(workloads.problems()[0]).toContain("may be written by others");
  expect(workloads.localChecks("default/a")).toEqual([]);
});
