/**
 * Questions about names that are not known yet, at the start of an agent, wait for the state: it is read within a moment, and who is told SERVFAIL meanwhile may
 * believe that for long (systemd-resolved keeps it for 10 s). Not for ever: a host that was never told anything answers SERVFAIL.
 */
export interface UntilTold {
  /** false = do not wait: answer. Else `ask` is called once, when it is known, or is no longer waited for. */
  hold(ask: () => void): boolean;
  /** It is known, or there is nothing to wait for any more. */
  release(): void;
}

/** Of clients that repeat themselves there may be many; those beyond this are answered at once. */
const MAX_HELD = 1000;

export function createUntilTold(patienceMs: number): UntilTold {
  const held: (() => void)[] = [];
  let isOver = patienceMs <= 0;
  const release = (): void => {
    isOver = true;
    clearTimeout(timer);
    for (const ask of held.splice(0)) ask();
  };
  const timer = isOver ? undefined : setTimeout(release, patienceMs).unref();
  return {
    hold(ask) {
      if (isOver || held.length >= MAX_HELD) return false;
      held.push(ask);
      return true;
    },
    release,
  };
}
