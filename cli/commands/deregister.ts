import { errorCodes, isAppError } from "#proto/error.ts";
import { waitUntilGone } from "../gone.ts";
import type { Invocation } from "../io.ts";
import { durationOption } from "../options.ts";
import { renderError } from "../output/error.ts";
import { openSession } from "../session.ts";
import { createRemoval } from "./delete.ts";

interface DeregisterOptions {
  readonly now?: true;
  readonly ignoreNotFound?: true;
  readonly wait?: true;
  readonly timeout: string;
}

export async function deregister({ args, options, io }: Invocation<DeregisterOptions>): Promise<number> {
  const timeoutMs = durationOption("--timeout", options.timeout);
  await using session = await openSession(options, io);
  const removal = createRemoval(session, io, {
    gracePeriodSeconds: options.now ? 0 : undefined,
    ignoreNotFound: options.ignoreNotFound === true,
    verb: "deregistered",
  });
  let code = 0;
  for (const name of args)
    try {
      await removal.remove("Workload", name, session.namespace);
    } catch (error) {
      if (!isAppError(error) || error.code === "ServiceUnavailable") throw error;
      io.err(renderError(error));
      code ||= errorCodes[error.code].exit;
    }
  if (options.wait) await waitUntilGone(session, io, removal.deleted, timeoutMs);
  return code;
}
