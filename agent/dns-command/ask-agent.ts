import { EXPLAIN_PATH } from "#agent/explain/answer.ts";
import { ExplainReply } from "#agent/explain/explanation.ts";
import { AppError } from "#proto/error.ts";
import type { Place } from "./ask.ts";

export const PROBES_PORT = 10_256;
const TIMEOUT_MS = 3_000;

export interface AgentQuestion {
  readonly name: string;
  readonly type: string;
  /** Whose addresses are wanted, too. */
  readonly node?: string | undefined;
}

/** What an agent knows of a name, and whom it asks. */
export async function askAgent({ address, port }: Place, { name, type, node }: AgentQuestion): Promise<ExplainReply> {
  const host = address.includes(":") ? `[${address}]` : address;
  const query = new URLSearchParams({ name, type, ...(node !== undefined && { node }) });
  const place = `${host}:${port}`;
  const response = await fetch(`http://${place}${EXPLAIN_PATH}?${query.toString()}`, { signal: AbortSignal.timeout(TIMEOUT_MS) }).catch(
    (cause: unknown) => {
      throw new AppError("ServiceUnavailable", `no agent answers at ${place}`, {
        cause,
        hint: "is it running? `--agent ADDRESS:PORT` where it has another --healthz-listen",
      });
    },
  );
  if (!response.ok)
    throw new AppError(
      "ServiceUnavailable",
      `the agent at ${place} says ${response.status}: ${(await response.text()).slice(0, 200).trim()}`,
    );
  return ExplainReply.parse(await response.json());
}
