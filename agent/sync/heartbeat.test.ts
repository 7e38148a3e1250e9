import { expect, test } from "vitest";
import type { Call } from "#proto/client-http.ts";
import { waitFor } from "#test/wait-for.ts";
import { createContact } from "./contact.ts";
import { heartbeatLoop } from "./heartbeat.ts";

test("no receipt is given for a state whose history is not known", async () => {
  const receipts: unknown[] = [];
  const end = new AbortController();
  let epoch: string | undefined;
  const running = heartbeatLoop(
    {
      transport: {
        send: async ({ body }: Call) => {
          const { applied, epoch: history } = body as { readonly applied?: number; readonly epoch?: string };
          receipts.push([applied, history]);
          epoch = "e1";
          return { status: 200, body: { nextInMs: 1 }, warnings: [] };
        },
      },
      nodeName: "vm-1",
      intervalMs: () => 1000,
      epoch: () => epoch,
      applied: () => 5,
      problems: () => [],
      contact: createContact({ log: { info: () => undefined, warn: () => undefined } }),
    },
    end.signal,
  );
  await waitFor(() => receipts.length >= 2, { what: "two heartbeats" });
  end.abort();
  await running;
  expect(receipts.slice(0, 2)).toEqual([
    [undefined, undefined],
    [5, "e1"],
  ]);
});
