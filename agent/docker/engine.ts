import type { IncomingMessage } from "node:http";
import { z } from "zod";
import { openConnections } from "#proto/client-node.ts";
import { Container, EngineEvent, Network } from "./container.ts";
import { SERVICE_LABEL } from "./labels.ts";

/** The four requests that we make of a Docker engine, over its socket (docs/adr/0205: why no client library). */
export interface Engine {
  /** Ids of the running containers that carry our label. */
  containers(signal: AbortSignal): Promise<readonly string[]>;
  /** undefined = there is none (any more). */
  container(id: string, signal: AbortSignal): Promise<Container | undefined>;
  networks(signal: AbortSignal): Promise<readonly Network[]>;
  /** What happens to containers and networks from the moment that this resolves; ends, or throws, with the engine. */
  events(signal: AbortSignal): Promise<AsyncIterable<EngineEvent>>;
  close(): Promise<void>;
}

const ANSWER_MS = 10_000;
const MAX_ANSWER = 16 * 1024 * 1024;
const MAX_LINE = 1024 * 1024;
const EVENTS = JSON.stringify({ type: ["container", "network"] });
const OURS = JSON.stringify({ label: [SERVICE_LABEL] });

export function openEngine(socketPath: string): Engine {
  const connections = openConnections({ socketPath, host: "docker" }, { tls: undefined });

  function send(path: string, query: Readonly<Record<string, string>>, signal: AbortSignal): Promise<IncomingMessage> {
    const search = new URLSearchParams(query);
    // Events come when they come.
    return connections.ask({
      path: `${path}?${search.toString()}`,
      signal,
      timeoutMs: ANSWER_MS,
      ...(path === "/events" && { bodyTimeoutMs: 0 }),
    });
  }

  async function get<Schema extends z.ZodType>(
    path: string,
    { schema, query = {}, signal }: { schema: Schema; query?: Readonly<Record<string, string>>; signal: AbortSignal },
  ): Promise<z.output<Schema> | undefined> {
    const answer = await send(path, query, signal);
    const { statusCode } = answer;
    const text = await bounded(answer);
    if (statusCode === 404) return undefined;
    if (statusCode !== 200) throw new Error(`Docker answered ${statusCode} to ${path}: ${text.slice(0, 300)}`);
    return schema.parse(JSON.parse(text));
  }

  return {
    async containers(signal) {
      const found = await get("/containers/json", { schema: z.array(Container.pick({ Id: true })), query: { filters: OURS }, signal });
      return (found ?? []).map(({ Id }) => Id);
    },
    /** Throws a ZodError for one that is not as we know containers. */
    container: (id, signal) => get(`/containers/${encodeURIComponent(id)}/json`, { schema: Container, signal }),
    networks: async (signal) => (await get("/networks", { schema: z.array(Network), signal })) ?? [],
    async events(signal) {
      const answer = await send("/events", { filters: EVENTS }, signal);
      if (answer.statusCode !== 200)
        throw new Error(`Docker answered ${answer.statusCode} to /events: ${(await bounded(answer)).slice(0, 300)}`);
      return eventsOf(answer);
    },
    close: async () => connections.close(),
  };
}

/** A JSON object a line. What is none of ours is passed over: engines tell of more with each version. */
async function* eventsOf(chunks: AsyncIterable<Uint8Array>): AsyncIterable<EngineEvent> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > MAX_LINE) throw new Error("Docker sent an event of more than a megabyte");
    for (const line of lines) {
      const event = EngineEvent.safeParse(parsed(line));
      if (event.success) yield event.data;
    }
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

async function bounded(body: AsyncIterable<unknown>): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_ANSWER) throw new Error(`Docker answered more than ${MAX_ANSWER} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}
