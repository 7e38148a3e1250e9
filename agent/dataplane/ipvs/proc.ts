import { existsSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { DEVICE } from "./names.ts";

/** What the kernel tells in files: each look costs no process. `procNet` is /proc/net of the host. */

/** The first bytes of a file, whole lines of them. */
export async function headOf(file: string, bytes: number): Promise<{ text: string; isAll: boolean }> {
  await using handle = await open(file, "r");
  const buffer = Buffer.alloc(bytes);
  let length = 0;
  while (length < bytes) {
    const { bytesRead } = await handle.read(buffer, length, bytes - length, null);
    if (bytesRead === 0) return { text: buffer.toString("latin1", 0, length), isAll: true };
    length += bytesRead;
  }
  return { text: buffer.toString("latin1", 0, buffer.lastIndexOf("\n") + 1), isAll: false };
}

export async function hasDevice(procNet: string): Promise<boolean> {
  const devices = await readFile(join(procNet, "dev"), "utf8");
  return devices.split("\n").some((line) => line.trimStart().startsWith(`${DEVICE}:`));
}

/** Of anybody, in any family. unknown = the kernel has no virtual servers, or not yet: asking with a tool loads the module. */
export async function standingOfServers(procNet: string): Promise<"none" | "some" | "unknown"> {
  const file = join(procNet, "ip_vs");
  if (!existsSync(file)) return "unknown";
  const { text } = await headOf(file, 4096);
  return text.trimEnd().split("\n").length > HEADER_LINES ? "some" : "none";
}

const HEADER_LINES = 3;
