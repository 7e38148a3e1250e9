/** What the demo prints: a line a step for people, or one JSON object at the end. */
export interface Report {
  /** Runs a step; prints what it shows when it held, and stops the demo where it did not. */
  step<T>(title: string, run: () => Promise<T>): Promise<T>;
  /** A line under the running step. */
  note(text: string): void;
  /** A measured value, named with its unit. */
  figure(name: string, value: number): void;
  readonly figures: Readonly<Record<string, number>>;
  readonly steps: readonly { readonly title: string; readonly ok: boolean; readonly tookMs: number }[];
}

export function createReport({ json, colour }: { readonly json: boolean; readonly colour: boolean }): Report {
  const figures: Record<string, number> = {};
  const steps: { title: string; ok: boolean; tookMs: number }[] = [];
  const say = (text: string): void => {
    if (!json) process.stdout.write(`${text}\n`);
  };
  const mark = (ok: boolean): string => {
    if (!colour) return ok ? "ok  " : "FAIL";
    return ok ? "\u001b[32mok\u001b[0m  " : "\u001b[31mFAIL\u001b[0m";
  };
  let notes: string[] = [];
  return {
    figures,
    steps,
    note: (text) => notes.push(text),
    figure(name, value) {
      figures[name] = Math.round(value * 10) / 10;
    },
    async step(title, run) {
      const start = performance.now();
      notes = [];
      let ok = false;
      try {
        const result = await run();
        ok = true;
        return result;
      } finally {
        const tookMs = Math.round(performance.now() - start);
        steps.push({ title, ok, tookMs });
        say(`${mark(ok)} ${title} (${tookMs < 1000 ? `${tookMs} ms` : `${(tookMs / 1000).toFixed(1)} s`})`);
        for (const text of notes) say(`       ${text}`);
      }
    },
  };
}
