import { expect, test, vi } from "vitest";
import { openNotices } from "./systemd.ts";

const under = { FAIRLEAD_NOTIFY_FD: "3", WATCHDOG_USEC: "3000000" };

function recorded(env: Record<string, string>) {
  const lines: string[] = [];
  return { lines, notices: openNotices({ env, write: (fd, text) => void lines.push(`${fd} ${text}`) }) };
}

test("ready, status and stopping are lines of assignments, and a status is said once", () => {
  const { lines, notices } = recorded(under);
  notices.ready("serves\nX=1");
  notices.status("all is well");
  notices.status("all is well");
  notices.stopping();
  expect(lines).toEqual(["3 READY=1\nSTATUS=serves X=1", "3 STATUS=all is well", "3 STOPPING=1\nSTATUS=stopping"]);
});

test("without a socket nothing is said, and watching ends at once", async () => {
  const { lines, notices } = recorded({ WATCHDOG_USEC: "3000000" });
  notices.ready("x");
  await notices.watch({ stuck: () => undefined, status: () => "y" }, new AbortController().signal);
  expect(lines).toEqual([]);
});

test("it beats at a third of the watchdog's time, and not while something is stuck", async () => {
  vi.useFakeTimers();
  try {
    const { lines, notices } = recorded(under);
    const end = new AbortController();
    let stuck: string | undefined;
    const watching = notices.watch({ stuck: () => stuck, status: () => "fine" }, end.signal);
    await vi.advanceTimersByTimeAsync(2_500);
    expect(lines).toEqual(["3 WATCHDOG=1", "3 STATUS=fine", "3 WATCHDOG=1", "3 WATCHDOG=1"]);
    stuck = "the kernel loop has not turned for 60 s";
    await vi.advanceTimersByTimeAsync(3_000);
    expect(lines.slice(4)).toEqual(["3 STATUS=the kernel loop has not turned for 60 s"]);
    stuck = undefined;
    await vi.advanceTimersByTimeAsync(1_000);
    expect(lines.slice(5)).toEqual(["3 WATCHDOG=1", "3 STATUS=fine"]);
    end.abort();
    await watching;
  } finally {
    vi.useRealTimers();
  }
});

test("what a busy systemd does not take at once is said again", async () => {
  vi.useFakeTimers();
  try {
    const lines: string[] = [];
    let full = true;
    const write = (_fd: number, text: string): void => {
      if (full) throw Object.assign(new Error("full"), { code: "EAGAIN" });
      lines.push(text);
    };
    openNotices({ env: under, write }).ready("serves");
    await vi.advanceTimersByTimeAsync(120);
    full = false;
    await vi.advanceTimersByTimeAsync(60);
    expect(lines).toEqual(["READY=1\nSTATUS=serves"]);
  } finally {
    vi.useRealTimers();
  }
});
