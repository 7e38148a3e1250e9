import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Host } from "./host.ts";
import type { Ask, Command, Listen, Seen } from "./station-words.ts";

export type { Ask, Listen, Seen } from "./station-words.ts";

/** A station (station.ts) that runs on a machine of the fleet, for as long as this process does. */
export interface Station extends AsyncDisposable {
  listen(places: readonly Listen[]): Promise<void>;
  ask(ask: Ask): Promise<Seen>;
}

interface Reply {
  readonly id: number;
  readonly seen?: Seen;
  readonly failed?: string;
}

export async function openStation(machine: Host): Promise<Station> {
  const [enter = "", ...inside] = machine.enter;
  const program = [...inside, "env", `--chdir=${process.cwd()}`, process.execPath, "test/fleet/station.ts"];
  const child = spawn(enter, program, { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "exit");
  const waiting = new Map<number, (reply: Reply) => void>();
  const answerAll = (failed: string): void => {
    for (const [id, answer] of waiting) answer({ id, failed });
    waiting.clear();
  };
  child.once("exit", () => answerAll(`the station of ${machine.name} has ended`));
  child.stdin.on("error", (error) => answerAll(String(error)));
  createInterface({ input: child.stdout }).on("line", (line) => {
    const reply = JSON.parse(line) as Reply;
    waiting.get(reply.id)?.(reply);
    waiting.delete(reply.id);
  });
  let sent = 0;
  const say = async (command: Command): Promise<Reply> => {
    const id = ++sent;
    const { promise, resolve } = Promise.withResolvers<Reply>();
    waiting.set(id, resolve);
    child.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
    const reply = await promise;
    if (reply.failed !== undefined) throw new Error(`${machine.name}: ${reply.failed}: ${JSON.stringify(command).slice(0, 500)}`);
    return reply;
  };
  return {
    async listen(places) {
      if (places.length > 0) await say({ listen: places });
    },
    async ask(ask) {
      const { seen } = await say({ ask });
      if (!seen) throw new Error(`${machine.name} answered nothing`);
      return seen;
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await ended;
    },
  };
}
