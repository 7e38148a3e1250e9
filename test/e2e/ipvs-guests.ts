import { runInUml } from "#test/fleet/uml.ts";

/** Programs of ours in guests (test/fleet/uml.ts), side by side: a guest has one CPU, and starting one takes seconds. */

export interface GuestProgram {
  readonly file: string;
  readonly memory?: string;
  readonly timeoutMs: number;
}

export interface Guests {
  /** What the program has printed as JSON; waits for its end. */
  said(file: string): Promise<unknown>;
}

/** In this order, each as soon as there is room: the longest first. */
export function startGuests(programs: readonly GuestProgram[], atOnce: number): Guests {
  const waiting = [...programs];
  const ends = new Map(programs.map(({ file }) => [file, Promise.withResolvers<unknown>()]));
  for (const { promise } of ends.values()) promise.catch(() => undefined); // told to whoever asks
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const end = ends.get(next.file);
      await run(next).then(end?.resolve, end?.reject);
    }
  };
  for (let i = 0; i < atOnce; i++) void lane(); // each ends with its programs, and never throws
  return {
    async said(file) {
      const end = ends.get(file);
      if (!end) throw new Error(`${file} was not started`);
      return end.promise;
    },
  };
}

async function run({ file, ...limits }: GuestProgram): Promise<unknown> {
  const { stdout, stderr, exitCode } = await runInUml({ command: process.execPath, args: [file], ...limits });
  if (exitCode !== 0) throw new Error(`${file} ended with ${exitCode}: ${stderr.slice(-4_000)}`);
  return JSON.parse(stdout);
}
