import type { ErrorCode } from "#proto/error.ts";

/** What the store should do, in as few words as possible: the other half of store-model.test.ts. */

export type ModelKind = "Service" | "Event";
export interface ModelObject {
  readonly kind: ModelKind;
  readonly namespace: string;
  readonly name: string;
  readonly tier: string;
  readonly note: string;
  readonly revision: number;
}
export interface ModelWrite {
  readonly op: "put" | "delete" | "check";
  readonly kind: ModelKind;
  readonly namespace: string;
  readonly name: string;
  readonly tier: string;
  readonly note: string;
  /** "current" and "stale" are of the moment when the write is made. */
  readonly expect: "any" | "create" | "current" | "stale";
  /** What it wants to hold; "": nothing, undefined: what it held. */
  readonly claim: string | undefined;
}
export interface ModelChange {
  readonly revision: number;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: ModelObject;
  readonly previous: ModelObject | undefined;
}

export const keyOf = ({ kind, namespace, name }: Pick<ModelObject, "kind" | "namespace" | "name">): string =>
  `${kind}/${namespace}/${name}`;

export class Model {
  objects = new Map<string, ModelObject>();
  /** Claim → key of its owner. */
  claims = new Map<string, string>();
  history: ModelChange[] = [];
  compacted = 0;

  copy(): Model {
    const copy = new Model();
    copy.objects = new Map(this.objects);
    copy.claims = new Map(this.claims);
    copy.history = [...this.history];
    copy.compacted = this.compacted;
    return copy;
  }

  get revision(): number {
    return this.history.length;
  }

  /** `expected` is the revision that each write expects, resolved by whoever made it. Returns the error that the store must give. */
  transact(writes: readonly ModelWrite[], expected: readonly (number | undefined)[]): ErrorCode | undefined {
    for (const [i, write] of writes.entries()) {
      const found = this.objects.get(keyOf(write))?.revision ?? 0;
      const wanted = expected[i];
      if (wanted !== undefined && wanted !== found) return found === 0 ? "NotFound" : wanted === 0 ? "AlreadyExists" : "Conflict";
      if (write.op === "delete" && found === 0) return "NotFound";
    }
    const claims = this.#claimsAfter(writes);
    if (claims === undefined) return "Conflict";
    for (const write of writes) this.#apply(write);
    this.claims = claims;
    return undefined;
  }

  /** The objects of a kind as of a revision, by key. */
  stateAt(revision: number, kind: ModelKind): Map<string, ModelObject> {
    const state = new Map<string, ModelObject>();
    for (const { type, object } of this.history.slice(0, revision)) {
      if (object.kind !== kind) continue;
      if (type === "DELETED") state.delete(keyOf(object));
      else state.set(keyOf(object), object);
    }
    return state;
  }

  changesAfter(since: number, upTo = this.revision): readonly ModelChange[] {
    return this.history.slice(since, upTo);
  }

  #claimsAfter(writes: readonly ModelWrite[]): Map<string, string> | undefined {
    const claims = new Map(this.claims);
    const deciding = writes.filter(({ op, claim }) => op === "delete" || (op === "put" && claim !== undefined));
    for (const write of deciding)
      for (const [claim, owner] of claims)
        if (owner === keyOf(write) && (write.op === "delete" || claim !== write.claim)) claims.delete(claim);
    for (const write of deciding) {
      if (write.op === "delete" || write.claim === undefined || write.claim === "") continue;
      if ((claims.get(write.claim) ?? keyOf(write)) !== keyOf(write)) return undefined;
      claims.set(write.claim, keyOf(write));
    }
    return claims;
  }

  #apply({ op, kind, namespace, name, tier, note }: ModelWrite): void {
    const key = keyOf({ kind, namespace, name });
    const previous = this.objects.get(key);
    const revision = this.revision + 1;
    if (op === "put") {
      if (previous?.tier === tier && previous.note === note) return;
      const object = { kind, namespace, name, tier, note, revision };
      this.objects.set(key, object);
      this.history.push({ revision, type: previous ? "MODIFIED" : "ADDED", object, previous });
    } else if (op === "delete" && previous) {
      this.objects.delete(key);
      this.history.push({ revision, type: "DELETED", object: { ...previous, revision }, previous });
    }
  }
}
