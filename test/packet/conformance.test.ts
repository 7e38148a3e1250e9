import { describe, expect, test } from "vitest";
import type { ForwardingTable } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";
import { faultsOf, holdsFor, isSticky, packetOf, wantOf } from "./flows/expect.ts";
import type { Mode, Setting } from "./flows/flow.ts";
import type { Row } from "./flows/names.ts";
import { tableOf } from "./flows/state.ts";
import { rows, rowsBySetting } from "./flows/table.ts";
import { FAMILIES, HOST_1_IPS } from "./flows/world.ts";
import { walkIptables } from "./iptables-walk.ts";
import { walkNftables } from "./nft-tracer.ts";
import { walkIpvs } from "./ipvs-tracer.ts";
import type { Outcome, Packet, Surroundings } from "./packet.ts";

/** Every row of the flow table × family × driver: compiled, rendered, and walked in memory. All rows of a setting are in one table. */

type Walk = (table: ForwardingTable, family: IpFamily, packet: Packet, around: Surroundings) => readonly Outcome[];

const walks: Record<Mode, Walk> = { iptables: walkIptables, nftables: walkNftables, ipvs: walkIpvs };
const MODES = ["iptables", "nftables", "ipvs"] as const satisfies readonly Mode[];
const around: Surroundings = { hostIps: HOST_1_IPS };

const tables = new Map<Setting, ForwardingTable>(Array.from(rowsBySetting, ([setting, some]) => [setting, tableOf(some, setting)]));

function walkRow(walk: Walk, row: Row, family: IpFamily, surroundings: Surroundings = around): readonly Outcome[] {
  const table = tables.get(row.setting ?? "plain");
  if (!table) throw new Error(`no table has the row ${row.name}`);
  return walk(table, family, packetOf(row, family), surroundings);
}

const askedOf = (mode: Mode, family: IpFamily): readonly Row[] =>
  rows.filter((row) => holdsFor(row, family) && wantOf(row, mode, family) !== undefined);
// Pairs, because a test's name is cut short where it is a field of an object.
const casesOf = (mode: Mode, family: IpFamily): readonly (readonly [string, Row])[] => askedOf(mode, family).map((row) => [row.name, row]);
const manyForOneClient = ({ want, ...row }: Row): boolean => isSticky({ want, ...row }) && typeof want !== "string" && want.length > 1;

test("the flow table has not become smaller, and is walked in each mode and family but for what is printed here", () => {
  const kinds = MODES.flatMap((mode) => FAMILIES.map((family) => ({ mode, family })));
  const walked = kinds.reduce((sum, { mode, family }) => sum + askedOf(mode, family).length, 0);
  const told = rows.flatMap(({ name, except = [] }) =>
    except.map(
      ({ mode, family = "both families", want, why }) =>
        `  ${mode}, ${family}: ${name}: ${want === undefined ? "not asked" : String(want)}, because ${why}`,
    ),
  );
  process.stdout.write([`${rows.length} rows, ${walked} walks in memory; exceptions: ${told.length}`, ...told, ""].join("\n"));
  expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
  expect(rows.length).toBeGreaterThanOrEqual(330);
  expect(walked).toBeGreaterThanOrEqual(2_000);
});

describe.for(MODES)("%s", (mode) => {
  const walk = walks[mode];
  describe.for(FAMILIES)("%s", (family) => {
    test.for(casesOf(mode, family))("%s", ([, row]) => {
      const want = wantOf(row, mode, family) ?? row.want;
      expect(faultsOf(row, want, family, walkRow(walk, row, family))).toEqual([]);
    });

    test.for(casesOf(mode, family).filter(([, row]) => manyForOneClient(row)))("a client comes back to where it was: %s", ([, row]) => {
      const { source } = packetOf(row, family);
      for (const first of walkRow(walk, row, family)) {
        const remembered = new Map([[first.remembered ?? "", new Set([source])]]);
        const again = walkRow(walk, row, family, { ...around, remembered });
        expect(again.map(({ to, share }) => ({ to, share }))).toEqual([{ to: first.to, share: 1 }]);
      }
    });
  });
});
