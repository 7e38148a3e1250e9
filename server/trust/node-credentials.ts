import { z } from "zod";
import type { Records } from "../store/records.ts";
import type { Identity } from "./identity.ts";
import { hashSecret, matchesHash, newSecret } from "./secrets.ts";

/** Each node's own bearer: `fln.NODE.SECRET`. One for each node; a node that joins again gets another, and the old one ends. */
export interface NodeCredentials {
  names(): readonly string[];
  authenticate(bearer: string): Identity | undefined;
  /** Aborts when the node's credential is revoked or replaced. */
  revocationOf(node: string): AbortSignal | undefined;
  isHeld(node: string): boolean;
  /** Whether the node's name is held by a host other than this one. */
  isHeldByAnother(node: string, machineId: string): boolean;
  /** The bearer, which is nowhere else. */
  issue(node: string, machineId: string): Promise<string>;
  /** Takes effect before it returns; the promise is for the disk. */
  revoke(node: string): Promise<void>;
}

const BUCKET = "node-credentials";
/** The machine-id is confidential (machine-id(5)), so it is kept as a hash too. */
const Kept = z.object({ hash: z.string(), machine: z.string(), createdAt: z.string() });

interface Held extends z.output<typeof Kept> {
  readonly revoked: AbortController;
}

export async function openNodeCredentials({
  records,
  now,
}: {
  readonly records: Records;
  readonly now: () => number;
}): Promise<NodeCredentials> {
  const held = new Map<string, Held>();
  for (const { id, value } of await records.list(BUCKET)) held.set(id, { ...Kept.parse(value), revoked: new AbortController() });

  function drop(node: string): boolean {
    const one = held.get(node);
    one?.revoked.abort();
    return held.delete(node);
  }

  return {
    names: () => [...held.keys()],
    authenticate: (bearer) => {
      const [, node, secret] = /^fln\.(.{1,253})\.([A-Za-z0-9_-]{43})$/.exec(bearer) ?? [];
      const kept = node === undefined ? undefined : held.get(node);
      if (node === undefined || secret === undefined || !kept || !matchesHash(secret, kept.hash)) return undefined;
      return { kind: "node", name: node };
    },
    revocationOf: (node) => held.get(node)?.revoked.signal,
    isHeld: (node) => held.has(node),
    isHeldByAnother: (node, machineId) => {
      const kept = held.get(node);
      return kept !== undefined && !matchesHash(machineId, kept.machine);
    },
    issue: async (node, machineId) => {
      const secret = newSecret();
      const next = { hash: hashSecret(secret), machine: hashSecret(machineId), createdAt: new Date(now()).toISOString() };
      await records.put(BUCKET, node, next);
      drop(node);
      held.set(node, { ...next, revoked: new AbortController() });
      return `fln.${node}.${secret}`;
    },
    revoke: async (node) => {
      if (drop(node)) await records.delete(BUCKET, node);
    },
  };
}
