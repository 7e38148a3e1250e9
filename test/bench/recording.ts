import { readFileSync } from "node:fs";
import { openKernelTools, type HostTools } from "#agent/dataplane/exec.ts";

/** A run of a tool that told the kernel something, by text on its input or (devices) by its arguments: as the bare tool can be given it again. */
export interface Told {
  readonly file: string;
  readonly args: readonly string[];
  readonly input: string;
}

/** The real tools; `take` says what they were told since it was asked last. */
export interface RecordingTools {
  readonly tools: HostTools;
  take(): readonly Told[];
  setRecording(on: boolean): void;
}

export function openRecordingTools(): RecordingTools {
  const real = openKernelTools();
  let told: Told[] = [];
  let recording = true;
  const note = (file: string, args: readonly string[], input: string | undefined): void => {
    const isTrial = file === "nft" && args.includes("-c");
    const isDevice = file === "ip" && ["add", "set"].some((verb) => args.includes(verb));
    if (recording && (input === undefined ? isDevice : !isTrial)) told.push({ file, args, input: wholeOf(input ?? "") });
  };
  return {
    tools: {
      ...real,
      run: async (file, args, options) => {
        note(file, args, options?.input);
        return real.run(file, args, options);
      },
      standby: (file, args, options) => {
        const standby = real.standby(file, args, options);
        return {
          run: async (input) => {
            if (typeof input === "string") note(file, args, input);
            return standby.run(typeof input === "string" || !recording ? input : overheard(input, (whole) => note(file, args, whole)));
          },
          prepare: () => standby.prepare(),
          close: () => standby.close(),
        };
      },
    },
    take: () => {
      const taken = told;
      told = [];
      return taken;
    },
    setRecording: (on) => (recording = on),
  };
}

/** The same pieces. */
function* overheard(pieces: Iterable<string>, onEnd: (whole: string) => void): Generator<string> {
  const heard: string[] = [];
  for (const piece of pieces) {
    heard.push(piece);
    yield piece;
  }
  onEnd(heard.join(""));
}

/** A long text for nft is in a file, which is gone when the driver has written it (agent/dataplane/nftables/apply.ts). */
function wholeOf(input: string): string {
  const file = /^include "([^"]+)"\n$/.exec(input)?.[1];
  return file === undefined ? input : readFileSync(file, "utf8");
}
