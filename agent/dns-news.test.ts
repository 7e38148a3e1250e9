import { expect, test } from "vitest";
import { waitFor } from "#test/wait-for.ts";
import { tellDnsProblems } from "./dns-news.ts";
import type { NodeNews } from "./node-events.ts";

test("a problem of DNS that stays is told as an Event about itself, one that goes is not", async () => {
  const told: NodeNews[] = [];
  const stop = new AbortController();
  const lasting = "DNS upstream 10.0.0.1 leads back to this agent";
  let looks = 0;
  const problems = (): readonly string[] => (looks++ === 0 ? ["not bound yet", lasting] : [lasting]);
  const telling = tellDnsProblems({ problems, events: { tell: (news) => void told.push(news) } }, stop.signal);
  await waitFor(() => told.length > 0, { what: "the news" });
  stop.abort();
  await telling;
  expect(told.map(({ message }) => message)).toEqual([lasting]);
  expect(told[0]).toMatchObject({ reason: "DnsProblem", about: lasting });
});
