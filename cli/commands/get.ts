import type { Client } from "#proto/client.ts";
import { errorCodes, isAppError } from "#proto/error.ts";
import { kinds, withoutManagedFields, type AnyObject, type KindName } from "#proto/kinds.ts";
import { renderError } from "../output/error.ts";
import { columnsOf } from "#proto/columns.ts";
import { toJson, toYaml } from "../output/structured.ts";
import { createTable } from "../output/table.ts";
import { say, withProgress, type Invocation, type Io } from "../io.ts";
import { openSession } from "../session.ts";
import { namespaceOf, parseTargets, singularOf, type Target } from "../targets.ts";
import { watchTargets } from "./get-watch.ts";

export interface GetOptions {
  readonly allNamespaces?: true;
  readonly selector?: string;
  readonly fieldSelector?: string;
  readonly watch?: true;
  readonly output: "table" | "wide" | "json" | "yaml" | "name";
  readonly headers: boolean;
  readonly ignoreNotFound?: true;
}

/** Where and how the objects are looked for. */
export interface Scope {
  readonly client: Client;
  /** undefined = all. */
  readonly namespace: string | undefined;
  readonly options: GetOptions;
  readonly io: Io;
}

export async function get({ args, options, io }: Invocation<GetOptions>): Promise<number> {
  const targets = parseTargets(args);
  await using session = await openSession(options, io);
  const namespace = namespaceOf(targets, { allNamespaces: options.allNamespaces === true, namespace: session.namespace });
  const scope: Scope = { client: session.client, namespace, options, io };
  if (options.watch) return await watchTargets(targets, scope);
  const found: { target: Target; objects: AnyObject[] }[] = [];
  let code = 0;
  const failed = (error: unknown): void => {
    if (!isAppError(error, "NotFound")) throw error;
    if (options.ignoreNotFound) return;
    io.err(renderError(error));
    code = errorCodes.NotFound.exit;
  };
  await withProgress(
    io,
    () => `reading from ${session.context.server}…`,
    async () => {
      for (const target of targets) {
        const objects = await read(target, scope, failed);
        found.push({ target, objects: target.kind === "Workload" ? await withNodesDrain(objects, scope) : objects });
      }
    },
  );
  print(found, scope);
  return code;
}

/** One name that is not there does not hide the others. */
async function read(
  { kind, names }: Target,
  { client, namespace, options, io }: Scope,
  failed: (error: unknown) => void,
): Promise<AnyObject[]> {
  const { selector: labelSelector, fieldSelector } = options;
  if (names === undefined) return [...(await client.list(kind, { namespace, labelSelector, fieldSelector, signal: io.stop })).items];
  const objects: AnyObject[] = [];
  for (const name of names)
    try {
      objects.push(await client.get(kind, name, { namespace, signal: io.stop }));
    } catch (error) {
      failed(error);
    }
  return objects;
}

/** In a table, a workload of a drained host looks as drained as it is; what is printed in full stays what it is. */
async function withNodesDrain(objects: AnyObject[], { client, options, io }: Scope): Promise<AnyObject[]> {
  if (objects.length === 0 || (options.output !== "table" && options.output !== "wide")) return objects;
  const { items } = await client.list("Node", { fieldSelector: "spec.unschedulable=true", signal: io.stop });
  const drained = new Set(items.map(({ metadata }) => metadata.name));
  return objects.map((object) =>
    object.kind === "Workload" && drained.has(object.spec.node) ? { ...object, spec: { ...object.spec, drain: true } } : object,
  );
}

function print(found: readonly { target: Target; objects: readonly AnyObject[] }[], scope: Scope): void {
  const { io, options } = scope;
  const all = found.flatMap(({ objects }) => objects);
  if (options.output === "json" || options.output === "yaml") {
    const single = found.length === 1 && found[0]?.target.names?.length === 1;
    if (single && all.length === 0) return; // said already
    const items = all.map(withoutManagedFields); // nothing that people look for; kubectl hides it too
    const value = single ? items[0] : { apiVersion: "v1", kind: "List", metadata: { resourceVersion: "" }, items };
    io.out(options.output === "json" ? toJson(value) : toYaml(value));
    return;
  }
  if (options.output === "name") {
    for (const object of all) io.out(nameLine(object));
    return;
  }
  const tables = found.filter(({ objects }) => objects.length > 0);
  if (tables.length === 0 && found.every(({ target }) => target.names === undefined)) say(io, nothingFound(found, scope));
  for (const [i, { target, objects }] of tables.entries()) {
    if (i > 0) io.out("\n");
    const table = tableOf(target.kind, scope, { prefixed: found.length > 1 });
    const body = table.rows(objects);
    io.out(options.headers ? table.header() + body : body);
  }
}

export interface ObjectTable {
  header(): string;
  rows(objects: readonly AnyObject[]): string;
}

/** kubectl's table of a kind; with several kinds the names say which: `service/web`. */
export function tableOf(kind: KindName, { namespace, options }: Scope, { prefixed }: { prefixed: boolean }): ObjectTable {
  const columns = columnsOf(kind, { wide: options.output === "wide" });
  const withNamespace = namespace === undefined && kinds[kind].namespaced;
  const table = createTable([...(withNamespace ? ["NAMESPACE"] : []), ...columns.map(({ name }) => name.toUpperCase())]);
  return {
    header: () => table.header(),
    rows: (objects) =>
      table.rows(
        objects.map((object) => {
          const cells = columns.map((column) => {
            const text = column.cell(object, Date.now());
            return prefixed && column.name === "Name" ? `${singularOf(kind)}/${text}` : text;
          });
          return withNamespace ? [object.metadata.namespace ?? "", ...cells] : cells;
        }),
      ),
  };
}

/** `service/web`: what -o name prints, and what all commands take. */
export function nameLine(object: AnyObject): string {
  return `${singularOf(object.kind)}/${object.metadata.name}\n`;
}

function nothingFound(found: readonly { target: Target }[], { namespace }: Scope): string {
  const namespaced = found.some(({ target }) => kinds[target.kind].namespaced);
  return namespaced && namespace !== undefined ? `No resources found in ${namespace} namespace.` : "No resources found";
}
