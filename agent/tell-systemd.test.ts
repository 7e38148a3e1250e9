import { expect, test } from "vitest";
import { createFamilyRecord } from "./dataplane/family-record.ts";
import { statusOf, stuckLoop, tellSystemd, TURN_LIMIT_MS } from "./tell-systemd.ts";

const family = (more: object = {}) => ({
  ...createFamilyRecord("IPv4"),
  driver: "nftables: the best that works here",
  waitingMs: 0,
  ...more,
});

test("a loop that comes around is alive, also when the kernel refuses; one that hangs is named", () => {
  expect(stuckLoop({ families: [family({ turnedAt: 1_000, failure: "refused" })] }, TURN_LIMIT_MS)).toBeUndefined();
  expect(stuckLoop({ families: [family()] }, 10 * TURN_LIMIT_MS)).toBeUndefined(); // it has not begun: what starts it reports that
  expect(stuckLoop({ families: [family({ turnedAt: 0 })] }, TURN_LIMIT_MS + 1_000)).toBe("the loop of the IPv4 data plane hangs for 91 s");
});

test("the status says whom it follows, and the first problem", () => {
  expect(statusOf({ families: [family()] }, "https://10.0.0.1:7443", [])).toBe("follows https://10.0.0.1:7443; IPv4 by nftables");
  expect(statusOf({ families: [family()] }, "s", ["watch: away", "heartbeat: away"])).toBe(
    "watch: away (and 1 more, see `fairlead status`); IPv4 by nftables",
  );
});

test("it is ready when every family is programmed or cannot be, and not before", async () => {
  const said: string[] = [];
  const end = new AbortController();
  const notices = {
    ready: () => void said.push("ready"),
    status: () => undefined,
    stopping: () => undefined,
    watch: async () => void said.push("watch"),
  };
  const records = [createFamilyRecord("IPv4"), createFamilyRecord("IPv6")];
  const look = () => ({ families: records.map((record) => ({ ...record, waitingMs: 0 })) });
  const telling = tellSystemd({ notices, look, server: "s", problems: () => [] }, end.signal);
  for (const [record, fact] of [
    [records[0], { isProgrammed: true }],
    [records[1], { unusable: "no IPv6 here" }],
  ] as const) {
    expect(said).toEqual([]);
    if (record) Object.assign(record, fact);
  }
  await telling;
  expect(said).toEqual(["ready", "watch"]);
});
