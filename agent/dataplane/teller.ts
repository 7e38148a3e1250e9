import { describeError } from "#proto/error.ts";
import type { DataplaneLog } from "./log.ts";

/** Says once what fails again and again, and that it is over. */
export interface Teller {
  failed(error: unknown): void;
  succeeded(): void;
}

export interface TellerDeps {
  readonly log: Pick<DataplaneLog, "warn">;
  readonly message: string;
  /** undefined = nothing any more. */
  readonly onProblem: ((problem: unknown) => void) | undefined;
}

export function createTeller({ log, message, onProblem }: TellerDeps): Teller {
  let told: string | undefined;
  return {
    failed(error) {
      const problem = describeError(error);
      if (told === problem) return;
      told = problem;
      log.warn({ error: problem }, message);
      onProblem?.(error);
    },
    succeeded() {
      if (told !== undefined) onProblem?.(undefined);
      told = undefined;
    },
  };
}
