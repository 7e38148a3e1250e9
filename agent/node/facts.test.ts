import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { machineIdOf, nodeInfoOf } from "./facts.ts";

test("what is published of the machine's id tells machines apart, stays the same, and is not what proves at join who it is", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fl-facts-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "machine-id"), "0123456789abcdef0123456789abcdef\n");
  const machineId = await machineIdOf(folder);
  const { machineID } = await nodeInfoOf(machineId);
  expect(machineId).toBe("0123456789abcdef0123456789abcdef");
  expect(machineID).toMatch(/^[0-9a-f]{32}$/);
  expect(machineID).not.toBe(machineId);
  expect((await nodeInfoOf(machineId)).machineID).toBe(machineID);
  expect((await nodeInfoOf("fedcba9876543210fedcba9876543210")).machineID).not.toBe(machineID);
});
