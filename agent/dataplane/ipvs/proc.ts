import { existsSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { formatIp, type IpFamily } from "#proto/ip.ts";
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

/** Beyond this the host is a router with a table of its own size, and reading it all would cost more than a process that asks for a part. */
const ROUTE_BYTES = 1024 * 1024;

/** Prefixes that are local to this host, as our sets write them: an address alone has no length. undefined = the kernel does not tell, or too much. */
export async function localPrefixes(procNet: string, family: IpFamily): Promise<ReadonlySet<string> | undefined> {
  const file = join(procNet, family === "IPv4" ? "fib_trie" : "ipv6_route");
  if (!existsSync(file)) return undefined;
  const { text, isAll } = await headOf(file, ROUTE_BYTES);
  if (!isAll) return undefined;
  return new Set(family === "IPv4" ? inTrie(text) : inRoutes(text));
}

/** `|-- 10.96.0.0`, and below it a line for each length: `/16 host LOCAL`. */
export function inTrie(text: string): readonly string[] {
  const found: string[] = [];
  let address = "";
  for (const line of text.split("\n")) {
    const [, leaf, length, type] = /^ *(?:\|-- (\S+)|\/(\d+) \w+ (\w+))/.exec(line) ?? [];
    if (leaf !== undefined) address = leaf;
    else if (type === "LOCAL") found.push(length === "32" ? address : `${address}/${length}`);
  }
  return found;
}

/** Destination and its length in hexadecimal come first, flags and device last. */
export function inRoutes(text: string): readonly string[] {
  const found: string[] = [];
  for (const line of text.split("\n")) {
    const words = line.trim().split(/\s+/);
    const [hex = "", length = ""] = words;
    if (words.at(-1) !== DEVICE || (Number.parseInt(words.at(-2) ?? "", 16) & RTF_LOCAL) === 0) continue;
    const address = formatIp({ family: "IPv6", value: BigInt(`0x${hex}`) });
    found.push(length === "80" ? address : `${address}/${Number.parseInt(length, 16)}`);
  }
  return found;
}

const RTF_LOCAL = 0x8000_0000;
