import { removeOrphanedFleets } from "#test/fleet/teardown.ts";

// After the last kernel suite: the fleets of tests that ran into their time limit, whose worker is gone.
export async function teardown(): Promise<void> {
  await removeOrphanedFleets();
}
