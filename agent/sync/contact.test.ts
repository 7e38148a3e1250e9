import { pino } from "pino";
import { expect, test } from "vitest";
import { AppError } from "#proto/error.ts";
import { createContact } from "./contact.ts";

test.for([
  ["Unauthorized", "the server refuses this host"],
  ["Forbidden", "the server refuses this host"],
  ["ServiceUnavailable", "cannot reach the server"],
  ["Timeout", "cannot reach the server"],
  ["InternalError", "the server answered with an error"],
] as const)("the log says of %s: %s, once", ([code, headline]) => {
  const lines: string[] = [];
  const log = pino({}, { write: (line) => void lines.push((JSON.parse(line) as { msg: string }).msg) });
  const contact = createContact({ log });
  for (const _ of [1, 2]) contact.failed("watch", new AppError(code, "no"));
  contact.heard("watch");
  expect(lines).toEqual([`${headline}: traffic and DNS go on with what this host knows`, "in touch with the server again"]);
});
