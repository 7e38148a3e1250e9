import { keyOfName } from "#agent/dns/name.ts";
import type { Servers } from "#agent/dns/other-names.ts";
import { TYPE } from "#agent/dns/protocol.ts";
import { Routes } from "#agent/dns/routes.ts";
import { serverText } from "#agent/dns/server-address.ts";
import type { Upstream } from "#agent/dns/upstream-udp.ts";
import type { WhoIsAsked } from "./explanation.ts";

/** Whom the responder asks for a name that is not ours, by the very routes that it goes by. Pure. */
export function whoIsAsked({ upstreams, stubs }: Servers, type: number): (name: string) => WhoIsAsked {
  const routes = new Routes<Group>(
    { stub: undefined, servers: upstreams },
    stubs.map(({ suffix, servers }) => ({ suffix, group: { stub: suffix, servers } })),
  );
  return (name) => {
    const key = keyOfName(name);
    if (key === undefined) return { name, servers: [], isKeptInside: false };
    const labels: number[] = [];
    for (let at = 0; key.charCodeAt(at) > 0; at += key.charCodeAt(at) + 1) labels.push(at);
    const route = routes.of({ key, labels, type });
    if (route.kind === "inside") return { name, servers: [], isKeptInside: true };
    const { stub, servers } = route.group;
    return { name, stub, servers: servers.map(serverText), isKeptInside: false };
  };
}

interface Group {
  readonly stub: string | undefined;
  readonly servers: readonly Upstream[];
}

/** By its name; what is no type that we know is asked for as an address is. */
export function typeNumber(text: string): number {
  return Object.entries(TYPE).find(([name]) => name === text)?.[1] ?? TYPE.A;
}
