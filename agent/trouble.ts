import { describeError } from "#proto/error.ts";

/** What is wrong now, one line a subject. */
export interface Trouble {
  set(subject: string, error: unknown): void;
  list(): readonly string[];
}

export function createTrouble(): Trouble {
  const lines = new Map<string, string>();
  return {
    set(subject, error) {
      if (error === undefined) lines.delete(subject);
      else lines.set(subject, `${subject}: ${describeError(error)}`);
    },
    list: () => [...lines.values()],
  };
}
