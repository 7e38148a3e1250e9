import { AppError } from "#proto/error.ts";
import { withoutManagedFields, type AnyObject } from "#proto/kinds.ts";
import { paths } from "#proto/paths.ts";
import { toJson, toYaml } from "../output/structured.ts";
import { nameLine, tableOf, type Scope } from "./get.ts";
import type { Target } from "../targets.ts";

/** Shows what is there, then each change in a row of its own, until it is stopped or nobody reads any more. */
export async function watchTargets(targets: readonly Target[], scope: Scope): Promise<number> {
  const { client, io, namespace, options } = scope;
  const [target, ...others] = targets;
  if (!target || others.length > 0 || (target.names?.length ?? 0) > 1)
    throw new AppError("Usage", "-w follows one kind, or one object", { hint: "start one for each kind" });
  const [name] = target.names ?? [];
  const show = printer(target, scope);
  const fieldSelector = [
    ...(options.fieldSelector === undefined ? [] : [options.fieldSelector]),
    ...(name === undefined ? [] : [`metadata.name=${name}`]),
  ];
  const signal = AbortSignal.any([io.stop, io.unread]);
  // A watch goes on trying when the server is away; one that could never be reached is told at once.
  await client.transport.send({ path: paths.livez, signal });
  if (name !== undefined && !options.ignoreNotFound) await client.get(target.kind, name, { namespace, signal });
  const events = client.watch(target.kind, {
    namespace,
    labelSelector: options.selector,
    fieldSelector: fieldSelector.length > 0 ? fieldSelector.join(",") : undefined,
    signal,
  });
  // All that is there at the start goes out at once, under columns that fit.
  const first: AnyObject[] = [];
  let synced = false;
  for await (const event of events) {
    if (event.type === "SYNCED") {
      synced = true;
      if (first.length > 0) show(first);
    } else if (synced) show([event.object]);
    else first.push(event.object);
  }
  return 0;
}

function printer({ kind }: Target, scope: Scope): (objects: readonly AnyObject[]) => void {
  const { io, options } = scope;
  if (options.output === "json") return (objects) => objects.forEach((object) => io.out(toJson(withoutManagedFields(object))));
  if (options.output === "yaml") return (objects) => objects.forEach((object) => io.out(`---\n${toYaml(withoutManagedFields(object))}`));
  if (options.output === "name") return (objects) => objects.forEach((object) => io.out(nameLine(object)));
  const table = tableOf(kind, scope, { prefixed: false });
  let headed = !options.headers;
  return (objects) => {
    const body = table.rows(objects);
    io.out(headed ? body : table.header() + body);
    headed = true;
  };
}
