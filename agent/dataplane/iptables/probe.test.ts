import { expect, test } from "vitest";
import { AppError } from "#proto/error.ts";
import type { KernelTools } from "../exec.ts";
import { missingParts } from "./probe.ts";
import { wordsOf } from "./words.ts";

const signal = new AbortController().signal;
const target = { kind: "nft", words: wordsOf("IPv4") } as const;

/** A kernel without some of the parts, that says no more than that a line failed. */
function aKernelWithout(parts: readonly RegExp[], more: Partial<KernelTools> = {}): KernelTools {
  return {
    has: async () => true,
    read: async () => undefined,
    run: async (_file, args, { input = "" } = {}) => {
      expect(args[0]).toBe("--net"); // never in the host's own namespace
      if (parts.some((part) => part.test(input))) throw new AppError("KernelRejected", "line 3 failed");
      return { stdout: "", stderr: "", exitCode: 0 };
    },
    ...more,
  };
}

test("a kernel that has everything lacks nothing", async () => {
  expect(await missingParts(aKernelWithout([]), target, signal)).toEqual([]);
});

test("what the kernel lacks is named, and nothing else", async () => {
  expect(await missingParts(aKernelWithout([/-m statistic/, /-j REDIRECT/]), target, signal)).toEqual(["xt_statistic", "REDIRECT"]);
});

test("where no network namespace can be made, nothing is known", async () => {
  const refused = { run: () => Promise.reject(new AppError("KernelRejected", "unshare failed: Operation not permitted")) };
  expect(await missingParts(aKernelWithout([], refused), target, signal)).toBeUndefined();
});
