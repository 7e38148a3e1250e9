import { candidates, findConfig } from "../context.ts";
import type { Invocation } from "../io.ts";

export async function configPath({ options, io }: Invocation<object>): Promise<number> {
  io.out(`${(await findConfig(candidates(options.kubeconfig, io.env))).path}\n`);
  return 0;
}
