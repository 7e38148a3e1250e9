import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { lockNamespace, lockState } from "./lock.ts";

const name = `fairlead-agent-test-${process.pid}`;

test("a second agent of the network namespace is refused, whatever its state folder, and told which process the first is", async () => {
  const first = await lockNamespace(name);
  await expect(lockNamespace(name)).rejects.toMatchObject({
    code: "Usage",
    message: `an agent is running in this network namespace (process ${process.pid})`,
    hint: expect.not.stringContaining("--state-dir") as unknown,
  });
  await first[Symbol.asyncDispose]();
  await using _ = await lockNamespace(name);
});

test("a second agent of the state folder is refused, and one that was killed leaves no lock", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fl-lock-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const stateDir = join(folder, "state");
  const first = await lockState(stateDir);
  expect((await stat(stateDir)).mode & 0o777).toBe(0o700);
  await expect(lockState(stateDir)).rejects.toMatchObject({ code: "Usage", message: expect.stringContaining("is running") as unknown });
  await first[Symbol.asyncDispose]();
  const again = await lockState(stateDir);
  await again[Symbol.asyncDispose]();
});

test("the lock ends also when the state folder was deleted meanwhile", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fl-lock-"));
  const lock = await lockState(folder);
  await rm(folder, { recursive: true });
  await lock[Symbol.asyncDispose]();
});
