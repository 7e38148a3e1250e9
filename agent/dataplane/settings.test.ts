import { expect, test } from "vitest";
import { AppError } from "#proto/error.ts";
import { aHostTable } from "#test/tables.ts";
import { setSysctls } from "./settings.ts";
import type { Sysctls } from "./sysctl.ts";

/** What was asked for, and what the log says. */
async function setOn(ensure: Sysctls["ensure"], signal = new AbortController().signal): Promise<readonly (readonly [string, object])[]> {
  const said: [string, object][] = [];
  const note = (fields: object, message: string): void => void said.push([message, fields]);
  const sysctls: Sysctls = { ensure, restore: async () => [] };
  const more = async () => [{ name: "net.ipv4.vs.conntrack", value: "1", why: "the driver says so" }];
  await setSysctls({ sysctls, log: { info: note, warn: note }, family: "IPv6", more }, aHostTable(), signal);
  return said;
}

test("a driver asks for its own family, and for what it needs besides", async () => {
  const said = await setOn(async (_host, options) => [`${options?.family}: ${options?.more?.map(({ name }) => name).join()}`]);
  expect(said).toEqual([["set sysctls", { changed: ["IPv6: net.ipv4.vs.conntrack"] }]]);
});

test("what cannot be set is told and stops nothing", async () => {
  const refused = () => Promise.reject(new AppError("KernelRejected", "it is read-only", { hint: "sysctl -w" }));
  expect(await setOn(refused)).toEqual([["it is read-only", { hint: "sysctl -w" }]]);
});

test("who is called off is not told to go on", async () => {
  await expect(setOn(() => Promise.reject(new Error("ended")), AbortSignal.abort("the agent ends"))).rejects.toBe("the agent ends");
});
