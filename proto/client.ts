import { AppError, isAppError } from "./error.ts";
import { openTransport, type Connection, type Transport } from "./client-http.ts";
import { apiVersionOf, kinds, pathOf, type AnyObject, type InputOf, type KindName, type ObjectOf } from "./kinds.ts";
import { parseObject } from "./parse.ts";
import { watchObjects, type WatchEvent } from "./client-watch.ts";

export interface At {
  readonly namespace?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ListOptions extends At {
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface WriteOptions extends At {
  readonly dryRun?: boolean | undefined;
  readonly subresource?: "status" | undefined;
  /** Texts for the user: fields that are kept but mean nothing here, and the like. */
  readonly onWarning?: ((text: string) => void) | undefined;
}

export interface DeleteOptions extends WriteOptions {
  readonly gracePeriodSeconds?: number | undefined;
  readonly resourceVersion?: string | undefined;
}

export interface Listed<Kind extends KindName> {
  readonly items: readonly ObjectOf<Kind>[];
  readonly resourceVersion: string;
}

/** Typed verbs over the Kubernetes-style API. Every failure is an AppError with the server's own code, message and hint. */
export interface Client {
  readonly transport: Transport;
  get<Kind extends KindName>(kind: Kind, name: string, at?: At): Promise<ObjectOf<Kind>>;
  /** All pages. */
  list<Kind extends KindName>(kind: Kind, options?: ListOptions): Promise<Listed<Kind>>;
  create<Kind extends KindName>(kind: Kind, object: InputOf<Kind>, options?: WriteOptions): Promise<ObjectOf<Kind>>;
  /** With metadata.resourceVersion: only if it is still that one. */
  replace<Kind extends KindName>(kind: Kind, object: InputOf<Kind>, options?: WriteOptions): Promise<ObjectOf<Kind>>;
  /** JSON merge patch (RFC 7386); null removes. */
  patch<Kind extends KindName>(kind: Kind, name: string, patch: object, options?: WriteOptions): Promise<ObjectOf<Kind>>;
  delete(kind: KindName, name: string, options?: DeleteOptions): Promise<void>;
  /** First what is there, then what happens, over reconnects, restarts of the server and compaction, until the signal aborts. */
  watch<Kind extends KindName>(
    kind: Kind,
    options: ListOptions & { readonly signal: AbortSignal },
  ): AsyncIterable<WatchEvent<ObjectOf<Kind>>>;
  close(): Promise<void>;
}

const PAGE = 500;

export function createClient(connection: Connection, options: ClientOptions = {}): Client {
  return clientOver(openTransport(connection), options);
}

export interface ClientOptions {
  /** The name under which the server notes what this client writes (metadata.managedFields). Absent: it begins no such notes. */
  readonly fieldManager?: string | undefined;
}

export function clientOver(transport: Transport, { fieldManager }: ClientOptions = {}): Client {
  async function get<Kind extends KindName>(kind: Kind, name: string, at: At = {}): Promise<ObjectOf<Kind>> {
    const { body } = await transport.send({
      path: pathOf(kind, { namespace: at.namespace, name: checkedName(kind, name) }),
      signal: at.signal,
    });
    return parseObject(kind, body);
  }

  async function list<Kind extends KindName>(kind: Kind, options: ListOptions = {}): Promise<Listed<Kind>> {
    const { labelSelector, fieldSelector, namespace, signal } = options;
    const items: ObjectOf<Kind>[] = [];
    for (let token: string | undefined; ;) {
      const { body } = await transport.send({
        path: pathOf(kind, { namespace }),
        query: { limit: PAGE, labelSelector, fieldSelector, continue: token },
        signal,
      });
      const page = body as { metadata: { resourceVersion: string; continue?: string }; items: object[] }; // items are validated below
      for (const item of page.items) items.push(parseObject(kind, { apiVersion: apiVersionOf(kinds[kind]), kind, ...item }));
      if (page.metadata.continue === undefined || page.metadata.continue === "")
        return { items, resourceVersion: page.metadata.resourceVersion };
      token = page.metadata.continue;
    }
  }

  async function write<Kind extends KindName>(
    kind: Kind,
    call: { method: "POST" | "PUT" | "PATCH"; name?: string; body: unknown; contentType?: string },
    options: WriteOptions,
  ): Promise<ObjectOf<Kind>> {
    const { body, warnings } = await transport.send({
      method: call.method,
      path: pathOf(kind, { namespace: options.namespace, name: call.name, subresource: options.subresource }),
      query: { fieldManager, dryRun: options.dryRun === true ? "All" : undefined },
      body: call.body,
      contentType: call.contentType,
      signal: options.signal,
    });
    for (const text of warnings) options.onWarning?.(text);
    return parseObject(kind, body);
  }

  return {
    transport,
    get,
    list,
    create: (kind, object, options = {}) =>
      write(kind, { method: "POST", body: object }, { ...options, namespace: namespaceOf(object, options) }),
    replace: (kind, object, options = {}) =>
      write(
        kind,
        { method: "PUT", name: checkedName(kind, nameOf(object)), body: object },
        { ...options, namespace: namespaceOf(object, options) },
      ),
    patch: (kind, name, patch, options = {}) =>
      write(kind, { method: "PATCH", name: checkedName(kind, name), body: patch, contentType: "application/merge-patch+json" }, options),
    async delete(kind, name, options = {}) {
      await transport.send({
        method: "DELETE",
        path: pathOf(kind, { namespace: options.namespace, name: checkedName(kind, name) }),
        body: {
          propagationPolicy: "Background",
          ...(options.gracePeriodSeconds !== undefined && { gracePeriodSeconds: options.gracePeriodSeconds }),
          ...(options.resourceVersion !== undefined && { preconditions: { resourceVersion: options.resourceVersion } }),
          ...(options.dryRun === true && { dryRun: ["All"] }),
        },
        signal: options.signal,
      });
    },
    watch: (kind, options) => watchObjects({ transport, kind, list: () => list(kind, options), options }),
    close: () => transport.close(),
  };
}

/** undefined where the object is not there, instead of NotFound. */
export async function orUndefined<T>(wanted: Promise<T>): Promise<T | undefined> {
  try {
    return await wanted;
  } catch (error) {
    if (isAppError(error, "NotFound")) return undefined;
    throw error;
  }
}

function nameOf(object: unknown): string {
  return (object as AnyObject).metadata.name; // inputs have the same metadata
}

function namespaceOf(object: unknown, options: At): string | undefined {
  return (object as AnyObject).metadata.namespace ?? options.namespace;
}

/** An empty name would turn the path of an object into that of the collection. */
function checkedName(kind: KindName, name: string): string {
  if (name === "") throw new AppError("Usage", `the ${kind} needs a name`);
  return name;
}
