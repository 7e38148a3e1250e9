import { expect, test } from "vitest";
import { waitFor } from "./wait-for.ts";

test("the first truthy value is the answer", async () => {
  let tries = 0;
  expect(await waitFor(() => (++tries === 3 ? "here" : undefined), { what: "the third try", intervalMs: 1 })).toBe("here");
  expect(tries).toBe(3);
});

test("a condition that throws is tried again", async () => {
  let tries = 0;
  const answer = waitFor(
    () => {
      if (++tries < 3) throw new Error("not yet");
      return tries;
    },
    { what: "no error", intervalMs: 1 },
  );
  expect(await answer).toBe(3);
});

test("what never comes is named, with the last error as the cause", async () => {
  const never = waitFor(() => Promise.reject(new Error("refused")), { what: "the server", timeoutMs: 20, intervalMs: 1 });
  await expect(never).rejects.toThrow("waited 20 ms for the server");
  await expect(never).rejects.toMatchObject({ cause: new Error("refused") });
});
