import { expect, test } from "vitest";
import { UpstreamHealth } from "./upstream-health.ts";

test("two failures in a row and it is down, an answer between them and it is not", () => {
  const health = new UpstreamHealth();
  expect(health.failed(0)).toBe(false);
  health.answered();
  expect(health.failed(1)).toBe(false);
  expect(health.isDown).toBe(false);
  expect(health.failed(2)).toBe(true);
  expect(health.isDown).toBe(true);
  expect(health.failed(3)).toBe(false); // it was already
  health.answered();
  expect(health.isDown).toBe(false);
});

test("who is down is dead when it has answered no probe for longer than a slow answer takes", () => {
  const health = new UpstreamHealth();
  health.failed(0);
  expect(health.isDead(1e6)).toBe(false); // one failure, however long ago
  health.failed(1e6);
  expect(health.isDead(1e6 + 3999)).toBe(false);
  expect(health.isDead(1e6 + 4000)).toBe(true);
  health.answered();
  expect(health.isDead(2e6)).toBe(false);
});
