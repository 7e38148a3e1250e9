import type Database from "better-sqlite3";
import type { KindName } from "#proto/kinds.ts";
import { ClaimTaken } from "./errors.ts";
import type { StoreKey } from "./store.ts";

export interface Claims {
  owner(claim: string): StoreKey | undefined;
  withPrefix(prefix: string): string[];
  /** Inside of a transaction: gives up what each owner no longer wants, then takes what is new; throws ClaimTaken. */
  assign(wishes: readonly ClaimWish[]): void;
}

export interface ClaimWish {
  readonly owner: StoreKey;
  readonly claims: readonly string[];
}

type Owner = [kind: KindName, namespace: string, name: string];

export function openClaims(db: Database.Database): Claims {
  const find = db.prepare<[string], StoreKey>("SELECT kind, namespace, name FROM claims WHERE claim = ?");
  const range = db.prepare<[string, string], string>("SELECT claim FROM claims WHERE claim >= ? AND claim < ? ORDER BY claim").pluck();
  const held = db.prepare<Owner, string>("SELECT claim FROM claims WHERE kind = ? AND namespace = ? AND name = ?").pluck();
  const release = db.prepare<[string]>("DELETE FROM claims WHERE claim = ?");
  const take = db.prepare<[string, ...Owner]>(
    "INSERT INTO claims (claim, kind, namespace, name) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
  );

  return {
    owner: (claim) => find.get(claim),
    withPrefix: (prefix) => range.all(prefix, `${prefix}\u{10ffff}`),
    assign: (wishes) => {
      const taking: { readonly owner: StoreKey; readonly claim: string }[] = [];
      for (const { owner, claims } of wishes) {
        const wanted = new Set(claims);
        for (const claim of held.all(owner.kind, owner.namespace, owner.name)) if (!wanted.delete(claim)) release.run(claim);
        for (const claim of wanted) taking.push({ owner, claim });
      }
      // Only now, so that two objects may exchange their claims in one transaction.
      for (const { owner, claim } of taking) {
        if (take.run(claim, owner.kind, owner.namespace, owner.name).changes > 0) continue;
        throw new ClaimTaken(claim, find.get(claim) ?? owner);
      }
    },
  };
}
