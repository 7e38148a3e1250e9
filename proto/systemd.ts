import { pause } from "./backoff.ts";

/** What systemd hears of a service (sd_notify(3)), by the socket that the launcher has opened (docs/adr/0010). Without one nothing is said. */
export interface SystemdNotices {
  ready(status: string): void;
  status(text: string): void;
  stopping(): void;
  /** Until the signal aborts: a beat at a third of the unit's WatchdogSec, as long as nothing is stuck; and what `status` says, when it is another. */
  watch({ stuck, status }: Watched, signal: AbortSignal): Promise<void>;
}

export interface Watched {
  /** What makes no progress any more: then there is no beat, and systemd starts the service anew. */
  readonly stuck: () => string | undefined;
  readonly status: () => string;
}

export interface NoticesDeps {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Throws where the reader does not keep up: with code EAGAIN. */
  readonly write: (fd: number, text: string) => void;
}

const LOOK_MS = 10_000;
const AGAIN_MS = 50;
const MAX_TRIES = 100;

export function openNotices({ env, write }: NoticesDeps): SystemdNotices {
  const fd = Number(env["FAIRLEAD_NOTIFY_FD"] ?? Number.NaN);
  const beatMs = Number(env["WATCHDOG_USEC"] ?? Number.NaN) / 3000;
  const isHeard = Number.isInteger(fd);
  let said = "";
  const send = (text: string, tries = MAX_TRIES): void => {
    if (!isHeard) return;
    try {
      write(fd, text);
    } catch {
      // systemd reads ten of them late when it is busy; it is not there any more when the host shuts down.
      if (tries > 1) setTimeout(() => send(text, tries - 1), AGAIN_MS).unref();
    }
  };
  const status = (text: string): void => {
    if (text === said) return;
    said = text;
    send(`STATUS=${oneLine(text)}`);
  };
  return {
    status,
    ready(text) {
      said = text;
      send(`READY=1\nSTATUS=${oneLine(text)}`);
    },
    stopping: () => send("STOPPING=1\nSTATUS=stopping"),
    async watch({ stuck, status: statusNow }, signal) {
      const beats = Number.isFinite(beatMs);
      while (isHeard && !signal.aborted) {
        const why = stuck();
        if (why === undefined && beats) send("WATCHDOG=1", 1);
        status(why ?? statusNow());
        await pause(beats ? Math.min(beatMs, LOOK_MS) : LOOK_MS, signal);
      }
    },
  };
}

/** Each line is an assignment of its own to systemd. */
function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}
