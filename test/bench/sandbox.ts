import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Answer, Request } from "./worker.ts";

/** A process of its own in network and mount namespaces of its own, which does what it is asked, one thing at a time (worker.ts). */
export interface Sandbox extends AsyncDisposable {
  ask<R extends Request>(request: R): Promise<Answer<R>>;
}

export async function openSandbox(): Promise<Sandbox> {
  const inside = ["sh", join(import.meta.dirname, "sandbox-init.sh"), process.execPath, join(import.meta.dirname, "worker.ts")];
  // It ends when its input does: also when this process is killed. The namespaces go with it.
  const child = spawn("unshare", ["--net", "--mount", ...inside], { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.on("error", () => undefined); // it has ended: the answer that does not come says so
  const ended = once(child, "exit");
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async ask<R extends Request>(request: R): Promise<Answer<R>> {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      const { value: line, done } = await answers.next();
      if (done === true) throw new Error(`the sandbox ended while it was asked to ${request.op}; see above`);
      return JSON.parse(line) as Answer<R>; // from our own worker
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      const late = setTimeout(() => child.kill("SIGKILL"), 10_000);
      await ended;
      clearTimeout(late);
    },
  };
}
