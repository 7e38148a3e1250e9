import { setImmediate as nextTurn } from "node:timers/promises";
import type { HostTools } from "./exec.ts";

/** Which writes to the kernel are under way: the process must not end in the middle of one, or the tool would be given half a text. */
export interface Writes {
  /** The same tools, watched: what is run without a signal of the caller shall not be called off, and counts as a write. */
  watch(tools: HostTools): HostTools;
  /** Until none is under way, nor the next of a row. */
  ended(): Promise<void>;
}

export function createWrites(): Writes {
  const underWay = new Set<Promise<unknown>>();
  const during = async <Result>(work: Promise<Result>): Promise<Result> => {
    underWay.add(work);
    try {
      return await work;
    } finally {
      underWay.delete(work);
    }
  };
  return {
    watch: (tools) => ({
      ...tools,
      run: (file, args, options) => {
        const ran = tools.run(file, args, options);
        return options?.signal ? ran : during(ran);
      },
      standby: (file, args, options) => {
        const waiting = tools.standby(file, args, options);
        return { ...waiting, run: (input) => during(waiting.run(input)) };
      },
    }),
    async ended() {
      while (underWay.size > 0) {
        await Promise.allSettled(underWay);
        await nextTurn();
      }
    },
  };
}
