import { setImmediate as nextTurn } from "node:timers/promises";
import { parentPort } from "node:worker_threads";
import type { ToMember } from "#agent/dns/messages.ts";

// A member that hangs when it is told that it may be asked from 192.0.2.66/32.

const member = import("#agent/dns/member.ts"); // until it is stopped
while (parentPort?.listenerCount("message") === 0) await nextTurn(); // what comes before goes to the first who listens
parentPort?.on("message", (message: ToMember) => {
  while (message.kind === "sources" && message.cidrs.includes("192.0.2.66/32"));
});
await member;
