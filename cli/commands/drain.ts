import { orUndefined } from "#proto/client.ts";
import type { AnyObject } from "#proto/kinds.ts";
import type { Invocation } from "../io.ts";
import { durationOption } from "../options.ts";
import { AppError, isAppError } from "#proto/error.ts";
import { lastRevision, waitUntilLive } from "../receipts.ts";
import { openSession, warnTo, type Session } from "../session.ts";
import { parseTargets, type Target } from "../targets.ts";

interface DrainOptions {
  readonly undo?: true;
  readonly wait?: true;
  readonly timeout: string;
}

export async function drain({ args, options, io }: Invocation<DrainOptions>): Promise<number> {
  const timeoutMs = durationOption("--timeout", options.timeout);
  const targets = drainTargets(args);
  await using session = await openSession(options, io);
  const changed: AnyObject[] = [];
  for (const { kind, name } of targets) {
    const write = { namespace: session.namespace, onWarning: warnTo(io), signal: io.stop };
    const on = options.undo !== true;
    changed.push(
      kind === "Node"
        ? await session.client
            .patch("Node", name, { spec: { unschedulable: on ? true : null } }, write)
            .catch(async (error: unknown) => Promise.reject(await withHint(error, session, name)))
        : await session.client.patch("Workload", name, { spec: { drain: on ? true : null } }, write),
    );
    io.out(`${kind === "Node" ? "node" : "workload"}/${name} ${on ? "drained" : "undrained"}\n`);
  }
  if (options.wait) await waitUntilLive(session.client, io, { revision: lastRevision(changed), timeoutMs });
  return 0;
}

/** A bare name is a node's, but a workload's may have been meant. */
async function withHint(error: unknown, { client, namespace }: Session, name: string): Promise<unknown> {
  if (!isAppError(error, "NotFound") || !(await orUndefined(client.get("Workload", name, { namespace })))) return error;
  return new AppError("NotFound", error.message, {
    hint: `there is a workload of this name: fairlead drain workload/${name}`,
    cause: error,
  });
}

/** A bare name is a node's. */
export function drainTargets(words: readonly string[]): { kind: "Node" | "Workload"; name: string }[] {
  return words.flatMap((word) => {
    const [target]: Target[] = parseTargets([word.includes("/") ? word : `node/${word}`]);
    const [name] = target?.names ?? [];
    if (name === undefined || (target?.kind !== "Node" && target?.kind !== "Workload"))
      throw new AppError("Usage", `cannot drain ${word}`, { hint: "drain takes a node's name, or workload/NAME" });
    return [{ kind: target.kind, name }];
  });
}
