import { beforeAll, describe, expect, test } from "vitest";
import type { IpFamily } from "#proto/ip.ts";
import { exceptionOf, holdsFor } from "#test/packet/flows/expect.ts";
import type { Mode } from "#test/packet/flows/flow.ts";
import type { Row } from "#test/packet/flows/names.ts";
import { rows } from "#test/packet/flows/table.ts";
import { FAMILIES } from "#test/packet/flows/world.ts";
import { faultsSeen, isAsked, type Walked } from "./flow-walk.ts";

/** One test for each row and family, of what a walk through a kernel has seen. */

export interface Walk {
  readonly mode: Mode;
  readonly hasSctp?: boolean;
  readonly timeoutMs: number;
  walk(): Promise<readonly Walked[]>;
}

/** So many flows at least are walked of each family; the rows that are not are printed with the reason. */
const AT_LEAST = 300;

export function checkFlows(name: string, { mode, hasSctp, walk, timeoutMs }: Walk): void {
  describe(name, () => {
    const seen = new Map<string, Walked["seen"]>();
    const key = (row: number, family: IpFamily): string => `${row} ${family}`;
    beforeAll(async () => {
      const began = performance.now();
      const walked = await walk();
      for (const one of walked) seen.set(key(one.row, one.family), one.seen);
      const told = FAMILIES.flatMap((family) =>
        rows.filter((row) => holdsFor(row, family) && !isAsked(row, mode, family, { hasSctp })).map((row) => notAsked(row, mode, family)),
      );
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      process.stdout.write([`${name}: ${walked.length} flows of ${rows.length} rows in ${seconds} s`, ...told, ""].join("\n"));
    }, timeoutMs);

    describe.for(FAMILIES)("%s", (family) => {
      const asked = rows.filter((row) => isAsked(row, mode, family, { hasSctp }));
      test("the walk has not become smaller", () => expect(asked.length).toBeGreaterThanOrEqual(AT_LEAST));
      test.for(asked.map((row) => [row.name, row] as const))("%s", ([, row]) => {
        const found = seen.get(key(row.index, family));
        expect(found ? faultsSeen(row, mode, family, found) : ["nothing was seen"]).toEqual([]);
      });
    });
  });
}

function notAsked(row: Row, mode: Mode, family: IpFamily): string {
  const why = exceptionOf(row, mode, family)?.why ?? "this kernel has no SCTP; flows-sctp-program.ts asks one that has";
  return `  not asked of ${mode}, ${family}: ${row.name}: ${why}`;
}
