import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { waitFor } from "#test/wait-for.ts";
import { openKernelTools } from "./dataplane/exec.ts";
import { createWrites, type Writes } from "./dataplane/writes.ts";
import { forceExit } from "./force-exit.ts";

/** The end of a process; the clock is the test's. */
function ending(writes: Pick<Writes, "ended">) {
  const waits: { readonly ms: number; readonly pass: () => void }[] = [];
  let exits = 0;
  const wait = (ms: number): Promise<void> => new Promise((resolve) => waits.push({ ms, pass: resolve }));
  const done = forceExit({ writes, exit: () => exits++, wait });
  return { waits, done, exits: () => exits };
}

test.for(["run", "standby"] as const)(
  "a process that is told to end waits for a write that is under way (%s), and for the next of its row",
  async (kind) => {
    const folder = await mkdtemp(join(tmpdir(), "fl-exit-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const writes = createWrites();
    const tools = writes.watch(openKernelTools());
    const go = join(folder, "go");
    const script = `while ! [ -e ${go} ]; do sleep 0.01; done; cat >> ${join(folder, "kernel")}`;
    const standby = tools.standby("sh", ["-c", script]);
    onTestFinished(() => standby.close());
    const write = (input: string): Promise<unknown> => (kind === "run" ? tools.run("sh", ["-c", script], { input }) : standby.run(input));
    const row = write("first ").then(() => write("second"));
    const { waits, done, exits } = ending(writes);
    waits[0]?.pass();
    await waitFor(() => waits.length === 2, { what: "the second limit" });
    await nextTurn();
    expect(exits()).toBe(0);
    await tools.run("touch", [go]);
    await done;
    expect(exits()).toBe(1);
    await row;
    expect(await readFile(join(folder, "kernel"), "utf8")).toBe("first second");
  },
);

test("it does not wait for what may be called off, nor for ever", async () => {
  const writes = createWrites();
  const end = new AbortController();
  const look = writes.watch(openKernelTools()).run("sleep", ["60"], { signal: end.signal });
  const idle = ending(writes);
  idle.waits[0]?.pass();
  await idle.done;
  expect(idle.exits()).toBe(1);
  end.abort("over");
  await expect(look).rejects.toBe("over");
  const stuck = ending({ ended: () => new Promise(() => undefined) });
  stuck.waits[0]?.pass();
  await waitFor(() => stuck.waits.length === 2, { what: "the second limit" });
  expect(stuck.exits()).toBe(0);
  stuck.waits[1]?.pass();
  await stuck.done;
  expect(stuck.waits.map(({ ms }) => ms)).toEqual([1800, 30_000]);
  expect(stuck.exits()).toBe(1);
});
