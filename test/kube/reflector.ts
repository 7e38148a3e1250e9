import { connect, type ClientHttp2Session } from "node:http2";
import { createInterface } from "node:readline";
import { pause } from "#proto/backoff.ts";

/**
 * client-go's reflector (tools/cache/reflector.go), by which kube-proxy and CoreDNS follow a server: a list, or a streaming list, then watches from where the last one
 * ended; 410 = all again; a server that is away = again from the same revision.
 */

export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly resourceVersion: string;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

export interface KubeClient {
  readonly bearer: string;
  readonly accept: string;
  /** One connection for all of a program's requests; a new one when it is gone. */
  session(): ClientHttp2Session;
  close(): void;
}

export function kubeClient({ url, ca }: { url: string; ca: string }, bearer: string, accept: string): KubeClient {
  let open: ClientHttp2Session | undefined;
  return {
    bearer,
    accept,
    session: () => {
      if (open && !open.closed && !open.destroyed) return open;
      open = connect(url, { ca });
      open.on("error", () => undefined);
      return open;
    },
    close: () => open?.destroy(),
  };
}

export interface ReflectorOptions {
  readonly path: string;
  /** Of every request, as it stands there, percent-encoded. */
  readonly selectors?: string;
  readonly mode: "streaming" | "list";
  readonly timeoutSeconds?: number;
  /** It has been there before, up to this revision, and begins with a watch. */
  readonly from?: number;
}

export interface Reflector {
  /** `namespace/name` → what it last heard. */
  readonly objects: ReadonlyMap<string, KubeObject>;
  /** Every revision that it could go on from, in the order of learning. */
  readonly revisions: readonly number[];
  readonly requests: readonly string[];
  /** How often it was told 410. */
  readonly expired: number;
  /** What no server may do: ADDED of what is there, DELETED of what is not. */
  readonly faults: readonly string[];
  readonly synced: boolean;
  stop(): Promise<void>;
}

interface Line {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: KubeObject & { readonly code?: number; readonly message?: string };
}
interface List {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items: readonly KubeObject[];
}

const END_MARK = "k8s.io/initial-events-end";
const RETRY_MS = 50;

export function startReflector(client: KubeClient, options: ReflectorOptions): Reflector {
  const { path, selectors, mode, timeoutSeconds = 300, from } = options;
  const stopped = new AbortController();
  let objects = new Map<string, KubeObject>();
  const revisions: number[] = [];
  const requests: string[] = [];
  const faults: string[] = [];
  let expired = 0;
  let synced = false;
  /** "" = nothing to go on from. */
  let revision = from === undefined ? "" : String(from);

  const learn = (next: string): void => {
    revision = next;
    revisions.push(Number(next));
  };
  const ask = (query: readonly string[]) => {
    const url = [path, [selectors ?? "", ...query].filter((one) => one !== "").join("&")].join("?");
    requests.push(url);
    return client.session().request({
      ":path": url,
      authorization: `Bearer ${client.bearer}`,
      accept: client.accept,
      "user-agent": "kube-proxy/v1.36.2",
    });
  };

  async function list(): Promise<void> {
    const found = new Map<string, KubeObject>();
    let page: string | undefined;
    do {
      const place = page === undefined ? `resourceVersion=${revision === "" ? "0" : revision}` : `continue=${encodeURIComponent(page)}`;
      const { metadata, items } = JSON.parse(await textOf(ask(["limit=500", place]))) as List;
      for (const object of items) found.set(keyOf(object), object);
      page = metadata.continue;
      if (page === undefined) {
        objects = found;
        synced = true;
        learn(metadata.resourceVersion);
      }
    } while (page !== undefined);
  }

  /** Whether it ended in such a way that one can go on from the last revision. */
  async function watch(streaming: boolean): Promise<boolean> {
    const initial = streaming ? ["resourceVersionMatch=NotOlderThan", "sendInitialEvents=true"] : [];
    const common = ["allowWatchBookmarks=true", `timeout=${timeoutSeconds}s`, `timeoutSeconds=${timeoutSeconds}`, "watch=true"];
    const stream = ask([...common, ...(revision === "" ? [] : [`resourceVersion=${revision}`]), ...initial]);
    stop(stream);
    await statusOf(stream);
    const gathered = streaming ? new Map<string, KubeObject>() : undefined;
    let into = gathered ?? objects;
    for await (const text of createInterface({ input: stream })) {
      const { type, object } = JSON.parse(text) as Line;
      if (type === "ERROR") {
        expired++;
        revision = "";
        return false;
      }
      if (type === "BOOKMARK") {
        if (isEndMark(object) && gathered && into === gathered) {
          objects = into = gathered;
          synced = true;
        }
      } else change(into, type, object);
      if (into === objects) learn(object.metadata.resourceVersion);
    }
    return into === objects;
  }

  function change(into: Map<string, KubeObject>, type: Line["type"], object: KubeObject): void {
    const key = keyOf(object);
    if ((type === "ADDED") === into.has(key)) faults.push(`${type} ${key} at ${object.metadata.resourceVersion}`);
    if (type === "DELETED") into.delete(key);
    else into.set(key, object);
  }

  function stop(stream: ReturnType<typeof ask>): void {
    stopped.signal.addEventListener("abort", () => stream.close(8), { once: true });
    stream.on("error", () => undefined);
  }

  const running = (async () => {
    let canGoOn = from !== undefined;
    while (!stopped.signal.aborted)
      try {
        if (!canGoOn && mode === "list") {
          await list();
          canGoOn = true;
        } else canGoOn = await watch(!canGoOn && mode === "streaming");
      } catch {
        await pause(RETRY_MS, stopped.signal); // connection refused, or broken
      }
  })();
  return {
    get objects() {
      return objects;
    },
    revisions,
    requests,
    faults,
    get expired() {
      return expired;
    },
    get synced() {
      return synced;
    },
    stop: async () => {
      stopped.abort();
      await running;
    },
  };
}

export function keyOf({ metadata }: KubeObject): string {
  return `${metadata.namespace ?? ""}/${metadata.name}`;
}

function isEndMark({ metadata }: KubeObject): boolean {
  return "annotations" in metadata && JSON.stringify(metadata.annotations).includes(`"${END_MARK}":"true"`);
}

type Stream = ReturnType<ClientHttp2Session["request"]>;

/** Rejects when it is none of 2xx, or does not come. */
async function statusOf(stream: Stream): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    stream.once("response", ({ ":status": status = 0 }) => (status < 300 ? resolve() : reject(new Error(`answered ${status}`))));
    stream.once("close", () => reject(new Error("no answer")));
    stream.once("error", reject);
  });
}

async function textOf(stream: Stream): Promise<string> {
  const status = statusOf(stream);
  let text = "";
  stream.setEncoding("utf8");
  for await (const chunk of stream) text += String(chunk);
  await status;
  return text;
}
