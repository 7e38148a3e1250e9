import { expect, test } from "vitest";
import { createAppliedTracker } from "./applied.ts";

const never = new AbortController().signal;

test("what is told is the least of all families", async () => {
  const applied = createAppliedTracker(["IPv4", "IPv6"]);
  applied.want(7);
  applied.applied(7, "IPv4");
  expect(applied.revision()).toBeUndefined();
  const reached = applied.reached(7, never);
  applied.applied(5, "IPv6");
  expect(applied.revision()).toBe(5);
  applied.applied(7, "IPv6");
  await reached;
  expect(applied.revision()).toBe(7);
});

test("a family that cannot work here is not waited for, until it works; where none works, nothing is told", () => {
  const applied = createAppliedTracker(["IPv4", "IPv6"]);
  applied.want(3);
  applied.excuse("IPv6");
  expect(applied.revision()).toBeUndefined();
  applied.applied(3, "IPv4");
  expect(applied.revision()).toBe(3);
  applied.applied(2, "IPv6");
  expect(applied.revision()).toBe(2);
  applied.excuse("IPv4");
  applied.excuse("IPv6");
  expect(applied.revision()).toBeUndefined();
});

test("after the server's history went back, what was held counts no more", () => {
  const applied = createAppliedTracker();
  applied.want(9);
  applied.applied(9);
  applied.want(4);
  expect(applied.revision()).toBeUndefined();
  applied.applied(9); // begun before
  expect(applied.revision()).toBeUndefined();
  applied.applied(4);
  expect(applied.revision()).toBe(4);
});

test("it knows how long the oldest change waits, also while changes come without end", () => {
  let now = 0;
  const applied = createAppliedTracker(["IPv4"], () => now);
  expect(applied.waitingMs("IPv4")).toBe(0);
  applied.want(1);
  now = 10;
  applied.want(2);
  now = 15;
  expect(applied.waitingMs("IPv4")).toBe(15);
  applied.applied(1, "IPv4"); // the second waits since 10 at the earliest, since 15 at the latest
  now = 20;
  expect(applied.waitingMs("IPv4")).toBe(5);
  applied.applied(2, "IPv4");
  expect(applied.waitingMs("IPv4")).toBe(0);
});
