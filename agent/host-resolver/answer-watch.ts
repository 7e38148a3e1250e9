/** So long may nobody answer before the host gets its own servers back: a responder that is started again is quicker. */
export const SILENT_MS = 3000;

export type Answering = "answers" | "waits" | "silent";

/** By looks at whether somebody answers: whether the host may ask, is left as it is for now, or must ask others. */
export function createAnswerWatch(silentMs = SILENT_MS): (isAnswering: boolean, nowMs: number) => Answering {
  let silentSinceMs: number | undefined;
  return (isAnswering, nowMs) => {
    if (isAnswering) {
      silentSinceMs = undefined;
      return "answers";
    }
    silentSinceMs ??= nowMs;
    return nowMs - silentSinceMs < silentMs ? "waits" : "silent";
  };
}
