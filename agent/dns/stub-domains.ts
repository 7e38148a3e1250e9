import { AppError } from "#proto/error.ts";
import { keyOfName } from "./name.ts";
import { parseServer } from "./server-address.ts";
import type { Upstream } from "./upstream-udp.ts";

/** Names at and below `suffix` are asked of these servers, and of no others. */
export interface StubDomain {
  /** `corp.example`. */
  readonly suffix: string;
  readonly servers: readonly Upstream[];
}

const MAX_SERVERS = 16;

/** `corp.example=10.0.0.1,10.0.0.2:5353`. */
export function parseStubDomain(text: string): StubDomain {
  const [, name = "", list = ""] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  const suffix = name
    .toLowerCase()
    .replace(/^\*?\./, "")
    .replace(/\.$/, "");
  const servers = list.split(",").map((server) => parseServer(server.trim()));
  const known = servers.flatMap((server) => server ?? []);
  if (keyOfName(suffix) === undefined || known.length === 0 || known.length < servers.length || known.length > MAX_SERVERS)
    throw new AppError("Usage", `"${text}" is no stub domain`, {
      hint: `write it like corp.example=10.0.0.1,10.0.0.2:5353,[fd00::1]:53, with at most ${MAX_SERVERS} servers`,
    });
  return { suffix, servers: known };
}

export function isStubDomain(text: string): boolean {
  try {
    parseStubDomain(text);
    return true;
  } catch {
    return false;
  }
}
