import { z } from "zod";
import type { Records } from "../store/records.ts";
import type { Identity } from "./identity.ts";
import { hashSecret, matchesHash, newSecret } from "./secrets.ts";

/** The one administrator's bearer: `fla.SECRET`. */
export interface AdminCredential {
  authenticate(bearer: string): Identity | undefined;
  /** Whether there is one: replacing it ends it. */
  readonly exists: boolean;
  /**
   * Makes a new bearer, which the old one ends with. It is nowhere else: it counts only after `deliver` has put it where the administrator
   * finds it, so that a failure there leaves the old one good.
   */
  replace(deliver?: (bearer: string) => Promise<void>): Promise<string>;
}

const BUCKET = "admin";
const ID = "admin";
const Kept = z.object({ hash: z.string(), createdAt: z.string() });

export async function openAdminCredential({
  records,
  now,
}: {
  readonly records: Records;
  readonly now: () => number;
}): Promise<AdminCredential> {
  const found = await records.get(BUCKET, ID);
  let kept = found === undefined ? undefined : Kept.parse(found);
  return {
    authenticate: (bearer) => {
      const secret = /^fla\.([A-Za-z0-9_-]{43})$/.exec(bearer)?.[1];
      if (secret === undefined || kept === undefined || !matchesHash(secret, kept.hash)) return undefined;
      return { kind: "admin", name: "admin" };
    },
    get exists() {
      return kept !== undefined;
    },
    replace: async (deliver) => {
      const secret = newSecret();
      const bearer = `fla.${secret}`;
      await deliver?.(bearer);
      const next = { hash: hashSecret(secret), createdAt: new Date(now()).toISOString() };
      await records.put(BUCKET, ID, next);
      kept = next;
      return bearer;
    },
  };
}
