/** The verdict of one check and how many results in a row speak against it. */
export interface Verdict {
  readonly ready: boolean;
  readonly against: number;
}

/** `rise` good results in a row make it ready, `fall` bad ones not ready. Pure. */
export function judge(
  { ready, against }: Verdict,
  passed: boolean,
  { rise, fall }: { readonly rise: number; readonly fall: number },
): Verdict {
  if (passed === ready) return { ready, against: 0 };
  const needed = passed ? rise : fall;
  return against + 1 >= needed ? { ready: passed, against: 0 } : { ready, against: against + 1 };
}
