import { expect, test } from "vitest";
import type { DnsChange, DnsRecord } from "#agent/compile/dns-records.ts";
import { Feed, type Batch } from "./feed.ts";
import type { ZoneChunk } from "./messages.ts";

function change(source: string, count: number): DnsChange {
  const records = Array.from({ length: count }, (_, i): DnsRecord => ({
    name: `e${i}.${source}`,
    type: "A",
    address: `10.0.${i >> 8}.${i & 255}`,
  }));
  return { source, records, names: [] };
}

interface Fed {
  readonly feed: Feed;
  readonly sent: ZoneChunk[];
  readonly asked: () => number;
}

/** A member that takes nothing until it is told to. */
function feedOf(all: readonly DnsChange[]): Fed {
  const sent: ZoneChunk[] = [];
  let asked = 0;
  const everything = (): Batch => ({ changes: all, all: true, revision: ++asked, synced: true, serial: 1 });
  return { feed: new Feed((chunk) => sent.push(chunk), everything), sent, asked: () => asked };
}

function put({ feed }: Fed, changes: readonly DnsChange[], revision: number): void {
  feed.put({ changes, all: false, revision, synced: true, serial: 1 });
}

function takeAll({ feed, sent }: Fed): readonly ZoneChunk[] {
  const before = sent.length;
  for (let taken = before - 1; taken < sent.length; taken++) feed.taken();
  return sent.slice(before);
}

test("changes wait, and come in order", () => {
  const fed = feedOf([]);
  for (let i = 0; i < 10; i++) put(fed, [change("web", i)], 100 + i);
  const later = takeAll(fed);
  expect(later.map(({ revision }) => revision)).toEqual(Array.from({ length: 10 }, (_, i) => 100 + i));
  expect(fed.asked()).toBe(1);
});

test("of a large source that changes again and again, no more than 100,000 records wait: then everything is told anew", () => {
  const big = change("big", 25_000);
  const fed = feedOf([big]);
  for (let i = 0; i < 3; i++) put(fed, [big], 100 + i);
  expect(fed.asked()).toBe(1);
  for (let i = 3; i < 50; i++) put(fed, [big], 100 + i);
  const asked = fed.asked();
  expect(asked).toBeGreaterThan(1);
  const waited = takeAll(fed).reduce((sum, { changes }) => sum + changes.reduce((count, { records }) => count + records.length, 0), 0);
  expect(waited).toBeLessThanOrEqual(25_000 + 25_000 + 100_000); // what was begun, everything, and what came since
  expect(fed.asked()).toBe(asked);
});

test("what was taken does not count any more", () => {
  const fed = feedOf([]);
  for (let i = 0; i < 20; i++) {
    put(fed, [change("big", 25_000)], 100 + i);
    takeAll(fed);
  }
  expect(fed.asked()).toBe(1);
});
