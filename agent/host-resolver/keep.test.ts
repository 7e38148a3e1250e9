import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import { waitFor } from "#test/wait-for.ts";
import { createAnswerWatch, SILENT_MS } from "./answer-watch.ts";
import { saveOriginal, takeFile } from "./file.ts";
import { keepResolver } from "./keep.ts";
import { openRecords, type ResolverRecord } from "./record.ts";

const original = "# the network's\nnameserver 192.0.2.1\n";
const settings = { server: "10.96.0.10", domain: "cluster.local", moreZones: [] };

async function aHost(text = original) {
  const root = await mkdtemp(join(tmpdir(), "fairlead-keep-"));
  onTestFinished(() => rm(root, { recursive: true }));
  const path = join(root, "resolv.conf");
  await writeFile(path, text);
  const records = openRecords({ root });
  const file = await saveOriginal({ records, path }, settings.server);
  const record: ResolverRecord = { kind: "file", ...settings, file };
  await records.write(record);
  return { path, records, record };
}

/** An agent on that host; whether it answers can be said. */
function anAgent({ path, records }: Awaited<ReturnType<typeof aHost>>, answers: { now: boolean }) {
  const end = new AbortController();
  const log = pino({ level: "silent" });
  const troubles: unknown[] = [];
  const isAnswering = (address: string): boolean => address === settings.server && answers.now;
  const deps = { tools: openKernelTools(), records, settings, isAnswering, path, silentMs: 300, log };
  const running = keepResolver({ ...deps, onTrouble: (why) => troubles.push(why) }, end.signal);
  onTestFinished(async () => {
    end.abort();
    await running;
  });
  const untilFile = (what: string, is: (text: string) => boolean) => waitFor(async () => is(await readFile(path, "utf8")), { what });
  return { troubles, untilFile };
}

test("whoever does not answer for a moment is waited for, then counts as silent", () => {
  const watch = createAnswerWatch();
  expect(watch(false, 1000)).toBe("waits"); // also at the start
  expect(watch(false, 1000 + SILENT_MS)).toBe("silent");
  expect(watch(true, 5000)).toBe("answers");
  expect(watch(false, 6000)).toBe("waits");
  expect(watch(true, 8000)).toBe("answers");
  expect(watch(false, 8500 + SILENT_MS)).toBe("waits");
});

test("a file that names us is given back when nobody answers at the start, and taken when somebody does, and given back again", async () => {
  const host = await aHost();
  await takeFile(host, host.record); // as an agent leaves it that was killed
  const answers = { now: false };
  const { troubles, untilFile } = anAgent(host, answers);
  await untilFile("the host's own file", (text) => text === original);
  await waitFor(() => troubles.some((why) => typeof why === "string" && why.includes("nobody answers")), {
    what: "the trouble to be told",
  });
  answers.now = true;
  await untilFile("our text", (text) => text.includes(settings.server));
  answers.now = false;
  await untilFile("the host's own file again", (text) => text === original);
});
