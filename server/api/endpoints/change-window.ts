/** The newest changes, in the order of their revisions; bounded by number and by what they cost. Pure but for what it holds. */
export interface ChangeWindow<Change> {
  push(change: Change, cost: number): void;
  /** Those after a revision, which must not be below `droppedRevision`. */
  after(revision: number, limit: number): readonly Change[];
  /** Of the newest change that is not held any more; 0 if none. */
  readonly droppedRevision: number;
}

export function createChangeWindow<Change extends { readonly revision: number }>(most: {
  readonly changes: number;
  readonly cost: number;
}): ChangeWindow<Change> {
  let held: { readonly change: Change; readonly cost: number }[] = [];
  let total = 0;
  let droppedRevision = 0;
  return {
    push: (change, cost) => {
      held.push({ change, cost });
      total += cost;
      // Cut only when it is over by a half, so that moving the rest is spread over many changes.
      if (held.length < most.changes * 1.5 && total < most.cost * 1.5) return;
      let drop = 0;
      for (const { change: oldest, cost: itsCost } of held) {
        if (held.length - drop <= most.changes && total <= most.cost) break;
        total -= itsCost;
        droppedRevision = oldest.revision;
        drop++;
      }
      held = held.slice(drop);
    },
    after: (revision, limit) => {
      const first = held.findLastIndex(({ change }) => change.revision <= revision) + 1;
      return held.slice(first, first + limit).map(({ change }) => change);
    },
    get droppedRevision() {
      return droppedRevision;
    },
  };
}
