import { parentPort, workerData } from "node:worker_threads";
import type { FromMember, MemberStart, ToMember, ZoneChunk } from "./messages.ts";
import { createDnsResponder } from "./responder.ts";
import { createSavedZone } from "./saved-zone.ts";
import { startStallMeter } from "./stall-meter.ts";

/** The program of a member: the responder, told by messages what to answer. It starts no program, and its only file is the zone for the next start. */

/**
 * Replies are cut out of pools, and one that is on its way while V8 collects keeps its pool for long: with Node's 64 KB that came to 8 MB (docs/adr/0328).
 */
Buffer.poolSize = 8192;

const REPORT_MS = 1000;
/** An agent that has a state on its disk has read it by then, but on the slowest of hosts. */
const PATIENCE_MS = 3000;

const port = parentPort;
if (!port) throw new Error("member.ts is started by members.ts, in a thread");
const start = workerData as MemberStart; // from members.ts
const stop = new AbortController();
const tell = (message: FromMember): void => port.postMessage(message);
const log = {
  info: (fields: object, message: string) => tell({ kind: "log", level: "info", fields, message }),
  warn: (fields: object, message: string) => tell({ kind: "log", level: "warn", fields, message }),
};
const responder = createDnsResponder({
  ...start,
  patienceMs: start.image?.restores ? (start.image.patienceMs ?? PATIENCE_MS) : 0,
  siblings: { token: start.loopToken, onProbeBack: (key) => tell({ kind: "probe-back", key }) },
  log,
  onBound: report,
});
const saved = start.image && createSavedZone({ place: start.image, facts: start, responder, log });
const stalls = start.measuresStalls ? startStallMeter() : undefined;

function report(): void {
  const stallMs = stalls?.takeMs() ?? 0;
  tell({ kind: "report", report: { stats: responder.stats(), problems: responder.problems(), bound: responder.bound(), stallMs } });
}

async function take(chunk: ZoneChunk): Promise<void> {
  await responder.take(chunk);
  if (chunk.ends && chunk.synced && start.image?.saves) saved?.changed();
  // In the next turn: the port hands out what arrives while it works in the same one, and the sockets would wait.
  setImmediate(tell, { kind: "taken" });
}

port.on("message", (message: ToMember) => {
  switch (message.kind) {
    case "chunk":
      void take(message.chunk);
      return;
    case "sources":
      responder.allowSources(message.cidrs);
      return;
    case "upstreams":
      responder.useUpstreams(message.upstreams);
      return;
    case "probe-back":
      responder.probeCameBack(message.key);
      return;
    case "stop":
      stop.abort();
  }
});

const reporting = setInterval(report, REPORT_MS);
await Promise.all([responder.run(stop.signal), start.image?.restores ? saved?.restore() : undefined]);
clearInterval(reporting);
stalls?.stop();
report(); // the last counts
await saved?.close();
port.close(); // nothing else keeps the thread
