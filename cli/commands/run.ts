import { startChild } from "../child.ts";
import type { Invocation } from "../io.ts";
import { readVariables } from "./env.ts";

/** What was in the environment before wins over nothing: the services' variables replace it, as a kubelet's would. */
export async function run({ args, options, io }: Invocation<object>): Promise<number> {
  const variables = await readVariables([], options, io);
  if (io.stop.aborted) return 130;
  io.releaseSignals();
  return startChild(args, { env: { ...process.env, ...Object.fromEntries(variables) } }).exitCode;
}
