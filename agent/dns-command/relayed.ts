import { upstreamsFile } from "#agent/config.ts";
import { readKnownUpstreams } from "#agent/dns/known-upstreams.ts";
import { serverText } from "#agent/dns/server-address.ts";
import { serversKept } from "#agent/host-resolver/file.ts";
import type { Place } from "./ask.ts";
import { askAgent } from "./ask-agent.ts";
import type { ThisHost } from "./host.ts";

/** Whom the agent asks on, as text. */
export interface Relayed {
  readonly upstreams: readonly string[];
  readonly stubs: readonly { readonly suffix: string; readonly servers: readonly string[] }[];
}

/** As the agent says itself; of one that does not run, as it will be by what lies on the host. */
export async function relayedTo({ settings, records, stateDir, stubs }: ThisHost, agent: Place): Promise<Relayed> {
  const said = await askAgent(agent, { name: settings.domain, type: "A" }).catch(() => undefined);
  if (said) return said;
  const kept = await serversKept(records);
  return {
    upstreams: kept.length > 0 ? kept : await readKnownUpstreams(upstreamsFile(stateDir)),
    stubs: stubs.map(({ suffix, servers }) => ({ suffix, servers: servers.map(serverText) })),
  };
}
